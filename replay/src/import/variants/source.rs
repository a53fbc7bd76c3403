//! Rows of a file: NDJSON or CSV, plain, gzip or zstd. What it is shows in its first bytes, not in its name.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::row::{Columns, Row};

const BUFFER: usize = 1 << 18;
/// Longest row, in bytes: more is no variant.
const MAX_ROW: u64 = 1 << 20;

/// Why a file can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("reading failed")]
    Io(#[from] io::Error),
    #[error("the file is no CSV")]
    Csv(#[from] csv::Error),
    #[error("the header is not understood: {0}")]
    Header(String),
    #[error("row {0} is longer than a megabyte")]
    TooLong(u64),
}

/// The rows of a file, one after the other, with a hash over those read so far.
pub struct Source {
    rows: Rows,
    number: u64,
    hash: Sha256,
}

enum Rows {
    Lines { input: Box<dyn BufRead + Send>, line: Vec<u8> },
    Csv { reader: Box<csv::Reader<Bounded>>, left: Arc<AtomicU64>, columns: Columns, record: ByteRecord },
}

/// A row that was read, whether or not it can be understood.
#[derive(Debug)]
pub struct Numbered {
    /// From 1; the header of a CSV file does not count.
    pub number: u64,
    /// The row, or what is wrong with it.
    pub row: Result<Row, String>,
    /// As it stands in the file; a CSV row with commas between its cells.
    pub raw: Box<[u8]>,
}

impl Numbered {
    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.raw.len() + self.row.as_ref().map_or(0, |row| row.body.len())
    }
}

impl Source {
    /// Looks at the first bytes.
    pub fn open(input: impl Read + Send + 'static) -> Result<Self, SourceError> {
        Self::counted(input, Arc::default())
    }

    /// Like [`Source::open`]; `used` says how many bytes of the file, as it is stored, went into rows by now.
    pub fn counted(input: impl Read + Send + 'static, used: Arc<AtomicU64>) -> Result<Self, SourceError> {
        let mut input = decompressed(input, used)?;
        let first = input.fill_buf()?.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        let rows = if first.is_none_or(|first| first == b'{') {
            Rows::Lines { input, line: Vec::new() }
        } else {
            let left = Arc::new(AtomicU64::new(MAX_ROW));
            let input = Bounded { inner: input, left: Arc::clone(&left) };
            let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
            let header = reader.byte_headers().map_err(|error| match left.load(Ordering::Relaxed) {
                0 => SourceError::Header("it is longer than a megabyte".to_owned()),
                _ => error.into(),
            })?;
            let columns = Columns::of_header(header).map_err(SourceError::Header)?;
            Rows::Csv { reader: Box::new(reader), left, columns, record: ByteRecord::new() }
        };
        Ok(Self { rows, number: 0, hash: Sha256::new() })
    }

    /// The next row. `None`: there are no more.
    pub fn read(&mut self) -> Result<Option<Numbered>, SourceError> {
        if !self.advance()? {
            return Ok(None);
        }
        let (row, raw) = match &self.rows {
            Rows::Lines { line, .. } => (Row::of_line(line), line.as_slice().into()),
            Rows::Csv { columns, record, .. } => (columns.row(record), joined(record)),
        };
        Ok(Some(Numbered { number: self.number, row, raw }))
    }

    /// Passes over rows without understanding them. Gives how many there were.
    pub fn skip(&mut self, count: u64) -> Result<u64, SourceError> {
        let before = self.number;
        while self.number - before < count && self.advance()? {}
        Ok(self.number - before)
    }

    /// SHA-256 over all rows read so far, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        daybook_schemas::configuration::hex(&self.hash.clone().finalize())
    }

    fn advance(&mut self) -> Result<bool, SourceError> {
        match &mut self.rows {
            Rows::Lines { input, line } => loop {
                line.clear();
                if input.by_ref().take(MAX_ROW + 1).read_until(b'\n', line)? == 0 {
                    return Ok(false);
                }
                if line.len() as u64 > MAX_ROW {
                    return Err(SourceError::TooLong(self.number + 1));
                }
                line.truncate(line.trim_ascii_end().len());
                if !line.is_empty() {
                    self.hash.update(&line);
                    self.hash.update(b"\n");
                    break;
                }
            },
            Rows::Csv { reader, left, record, .. } => {
                left.store(MAX_ROW, Ordering::Relaxed);
                match reader.read_byte_record(record) {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(_) if left.load(Ordering::Relaxed) == 0 => {
                        return Err(SourceError::TooLong(self.number + 1));
                    }
                    Err(error) => return Err(error.into()),
                }
                for cell in record.iter() {
                    self.hash.update((cell.len() as u64).to_le_bytes());
                    self.hash.update(cell);
                }
                self.hash.update(b"\n");
            }
        }
        self.number += 1;
        Ok(true)
    }
}

fn joined(record: &ByteRecord) -> Box<[u8]> {
    record.iter().collect::<Vec<_>>().join(b",".as_slice()).into()
}

fn decompressed(
    input: impl Read + Send + 'static,
    used: Arc<AtomicU64>,
) -> io::Result<Box<dyn BufRead + Send>> {
    let mut input = Counting { inner: BufReader::with_capacity(BUFFER, input), used };
    let start = input.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input))));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(input)?)));
    }
    Ok(Box::new(input))
}

/// Passes on so many bytes and fails after them: a quotation mark that nothing closes would make one row of the whole rest.
struct Bounded {
    inner: Box<dyn BufRead + Send>,
    left: Arc<AtomicU64>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other("the row is too long"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        self.left.store(left - n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Counts the bytes that are used. What is read ahead does not count: a small compressed file is read in one go, long before its
/// rows are.
struct Counting<R> {
    inner: R,
    used: Arc<AtomicU64>,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.used.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.used.fetch_add(amount as u64, Ordering::Relaxed);
        self.inner.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NDJSON: &str = "{\"id\":\"a\",\"data\":{}}\n\n{\"id\":\"b\",\"data\":{}}\nnot json";
    const CSV: &str = "id,product_id,name,brand,category\na,p,\"N, or\nso\",B,C\nb,p,N,B,C\n";

    fn ids(bytes: Vec<u8>) -> Vec<Option<String>> {
        let mut source = Source::open(io::Cursor::new(bytes)).unwrap();
        let mut ids = Vec::new();
        while let Some(row) = source.read().unwrap() {
            assert_eq!(row.number, ids.len() as u64 + 1);
            ids.push(row.row.ok().map(|row| row.id));
        }
        ids
    }

    #[test]
    fn forms_and_compressions_are_told_apart_by_their_bytes() {
        let gzip = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        for pack in [|text: &str| text.as_bytes().to_vec(), gzip, zstd] {
            assert_eq!(ids(pack(NDJSON)), [a.clone(), b.clone(), None], "a bad row does not end the file");
            assert_eq!(ids(pack(CSV)), [a.clone(), b.clone()]);
        }
        assert!(ids(Vec::new()).is_empty());
    }

    /// A file that is read in one go is not done before its rows are.
    #[test]
    fn what_is_read_ahead_is_not_counted() {
        let rows: String = (0..20_000).map(|n| format!("{{\"id\":\"{n}\",\"data\":{{}}}}\n")).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(rows.as_bytes()).unwrap();
        for packed in
            [rows.as_bytes().to_vec(), gzip.finish().unwrap(), zstd::encode_all(rows.as_bytes(), 1).unwrap()]
        {
            let (used, all) = (Arc::new(AtomicU64::new(0)), packed.len() as u64);
            assert!(rows.len() > BUFFER);
            let mut source = Source::counted(io::Cursor::new(packed), Arc::clone(&used)).unwrap();
            assert_eq!(source.skip(1_000).unwrap(), 1_000);
            assert!(used.load(Ordering::Relaxed) < all, "{} of {all} bytes", used.load(Ordering::Relaxed));
            source.skip(u64::MAX).unwrap();
            assert_eq!(used.load(Ordering::Relaxed), all);
        }
    }

    #[test]
    fn the_hash_says_which_rows_were_passed_over() {
        for text in [NDJSON, CSV] {
            let open = || Source::open(io::Cursor::new(text.as_bytes())).unwrap();
            let (mut read, mut skipped) = (open(), open());
            read.read().unwrap();
            assert_eq!(skipped.skip(1).unwrap(), 1);
            assert_eq!(read.hash(), skipped.hash());
            read.read().unwrap();
            assert_ne!(read.hash(), skipped.hash());
            assert_eq!(skipped.skip(10).unwrap(), if text == CSV { 1 } else { 2 }, "no more than there are");
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        let endless = io::Cursor::new(b"{".to_vec()).chain(io::repeat(b'x'));
        let mut source = Source::open(endless).unwrap();
        assert!(matches!(source.read(), Err(SourceError::TooLong(1))));
    }

    #[test]
    fn a_cell_without_end_is_not_read_to_its_end() {
        let header = "id,product_id,name,brand,category\n";
        let open = |start: &str| {
            let start = io::Cursor::new(format!("{header}{start}").into_bytes());
            Source::open(start.chain(io::repeat(b'x')))
        };
        let mut source = open("a,p,N,B,C\nb,p,\"").unwrap();
        assert!(source.read().unwrap().is_some());
        assert!(matches!(source.read(), Err(SourceError::TooLong(2))));
        let endless = io::Cursor::new(b"id,\"".to_vec()).chain(io::repeat(b'x'));
        assert!(matches!(Source::open(endless), Err(SourceError::Header(_))));
        // Long rows, which together are more than one may be.
        let long = format!("a,p,{},B,C\n", "n".repeat(900_000));
        let rows = ids(format!("{header}{}", long.repeat(4)).into_bytes());
        assert_eq!(rows.len(), 4);
    }
}
