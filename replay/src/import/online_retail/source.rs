//! Reads the CSV file, plain or gzip, into rows that share their texts.

use std::io::{BufRead, BufReader, Read};

use daybook_schemas::money::parse_decimal;
use daybook_schemas::{CustomerId, Label, Timestamp, VariantId};
use flate2::read::MultiGzDecoder;
use hashbrown::HashMap;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

/// One row of the file. Texts are indexes into [`Source`]'s tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// 1 for the first row after the header.
    pub(super) number: u32,
    pub(super) invoice: u32,
    pub(super) variant: u32,
    pub(super) description: Option<u32>,
    pub(super) quantity: i64,
    pub(super) time: Timestamp,
    pub(super) price: Decimal,
    pub(super) customer: Option<u32>,
    pub(super) country: u32,
}

/// The file, read once.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) rows: Vec<Row>,
    pub(super) invoices: Vec<String>,
    pub(super) variants: Vec<VariantId>,
    pub(super) descriptions: Vec<Label>,
    pub(super) customers: Vec<CustomerId>,
    pub(super) countries: Vec<Label>,
    /// SHA-256 of the bytes as stored, in hexadecimal.
    pub(super) sha256: String,
}

/// Why a file is no Online Retail file. The row is counted from 1 after the header.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("reading the file failed")]
    Io(#[from] std::io::Error),
    #[error("the file is no CSV")]
    Csv(#[from] csv::Error),
    #[error("the header must be {expected}, got {found}")]
    Header { expected: &'static str, found: String },
    #[error("row {row}: {reason}")]
    Row { row: u32, reason: String },
}

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
const MAX_QUANTITY: i64 = 1_000_000_000;

/// Numbers the distinct values of a column.
#[derive(Default)]
struct Interner(HashMap<String, u32>);

impl Interner {
    fn intern<T>(
        &mut self,
        text: &str,
        table: &mut Vec<T>,
        make: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<u32, String> {
        if let Some(&index) = self.0.get(text) {
            return Ok(index);
        }
        let value = make(text)?;
        let index = u32::try_from(table.len()).map_err(|_| "too many distinct values".to_owned())?;
        table.push(value);
        self.0.insert(text.to_owned(), index);
        Ok(index)
    }
}

/// Passes bytes on and hashes them.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

impl Source {
    /// Reads a whole file; nothing is skipped: a row that cannot be read ends the import before it began.
    pub(super) fn read(file: impl Read) -> Result<Self, SourceError> {
        let mut reader = BufReader::with_capacity(1 << 16, Hashing { inner: file, hash: Sha256::new() });
        let gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let mut source = Self::default();
        if gzip {
            let mut decoder = MultiGzDecoder::new(&mut reader);
            source.read_csv(&mut decoder)?;
        } else {
            source.read_csv(&mut reader)?;
        }
        // What follows the last member or row belongs to the file's identity, too.
        std::io::copy(&mut reader, &mut std::io::sink())?;
        source.sha256 = daybook_schemas::configuration::hex(&reader.into_inner().hash.finalize());
        Ok(source)
    }

    fn read_csv(&mut self, input: &mut dyn Read) -> Result<(), SourceError> {
        let mut csv = csv::ReaderBuilder::new().has_headers(true).from_reader(input);
        let found = csv.headers()?.iter().collect::<Vec<_>>().join(",");
        if found.trim_start_matches('\u{feff}') != HEADER {
            return Err(SourceError::Header { expected: HEADER, found: found.chars().take(200).collect() });
        }
        let mut columns = Columns::default();
        let mut record = csv::StringRecord::new();
        let mut number = 0_u32;
        while csv.read_record(&mut record)? {
            number = number
                .checked_add(1)
                .ok_or_else(|| SourceError::Row { row: number, reason: "too many rows".into() })?;
            let row = self
                .parse_row(number, &record, &mut columns)
                .map_err(|reason| SourceError::Row { row: number, reason })?;
            self.rows.push(row);
        }
        Ok(())
    }

    fn parse_row(
        &mut self,
        number: u32,
        record: &csv::StringRecord,
        columns: &mut Columns,
    ) -> Result<Row, String> {
        let field = |index: usize| record.get(index).map(str::trim).unwrap_or_default();
        let quantity: i64 =
            field(3).parse().map_err(|_| format!("quantity {:?} is no whole number", clip(field(3))))?;
        if quantity == 0 || quantity.abs() > MAX_QUANTITY {
            return Err(format!("quantity {quantity} is zero or above {MAX_QUANTITY} in size"));
        }
        let description = clean_label(field(2));
        Ok(Row {
            number,
            invoice: columns.invoices.intern(field(0), &mut self.invoices, |text| {
                daybook_schemas::OrderId::new(text).map_err(|e| format!("invoice: {e}"))?;
                Ok(text.to_owned())
            })?,
            variant: columns.variants.intern(&variant_id(field(1)), &mut self.variants, |text| {
                VariantId::new(text).map_err(|e| format!("stock code: {e}"))
            })?,
            description: match description {
                Some(text) => Some(columns.descriptions.intern(&text, &mut self.descriptions, |text| {
                    Label::new(text).map_err(|e| format!("description: {e}"))
                })?),
                None => None,
            },
            quantity,
            time: parse_time(field(4))?,
            price: parse_price(field(5))?,
            customer: match field(6) {
                "" => None,
                text => Some(columns.customers.intern(
                    text.strip_suffix(".0").unwrap_or(text),
                    &mut self.customers,
                    |text| CustomerId::new(text).map_err(|e| format!("customer: {e}")),
                )?),
            },
            country: columns.countries.intern(field(7), &mut self.countries, |text| {
                Label::new(text).map_err(|e| format!("country: {e}"))
            })?,
        })
    }
}

#[derive(Default)]
struct Columns {
    invoices: Interner,
    variants: Interner,
    descriptions: Interner,
    customers: Interner,
    countries: Interner,
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The stock code in upper case, with every character outside the id alphabet turned into `-`.
fn variant_id(code: &str) -> String {
    code.to_uppercase().chars().map(|c| if daybook_schemas::id::is_id_char(c) { c } else { '-' }).collect()
}

/// A description as a label: control characters become spaces, over-long text is cut at 200 characters.
fn clean_label(text: &str) -> Option<String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// A unit price that stays within the bounds of money when multiplied with the largest quantity.
fn parse_price(text: &str) -> Result<Decimal, String> {
    let price = parse_decimal(text).map_err(|e| format!("unit price: {e}"))?.normalize();
    if price.abs() >= Decimal::from(1_000_000) || price.scale() > daybook_schemas::money::MAX_SCALE {
        return Err(format!("unit price {price} has more than 6 digits before or after the point"));
    }
    Ok(price)
}

/// `2010-12-01 08:26:00`, taken as UTC.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.split_once(' ')
        .and_then(|(date, time)| Timestamp::parse(&format!("{date}T{time}Z")).ok())
        .ok_or_else(|| format!("invoice date {:?} is not like 2010-12-01 08:26:00", clip(text)))
}
