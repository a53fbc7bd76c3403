//! What a row means.
//!
//! NDJSON: one command a line, as `POST /v1/commands` takes them, where `aggregate` (`variant`) and `command` (`create`) may be
//! left out:
//!
//! ```json
//! {"id": "tee-navy-m", "data": {"product_id": "tee", "name": "Tee", "brand": "Acme", "category": "Shirts", "lifecycle": "active",
//!   "attributes": [{"type": "color", "value": "Navy"}], "price": {"amount": "12.50", "currency": "GBP"}}}
//! ```
//!
//! CSV: a header, then a variant a row. `product_id`, `name`, `brand`, `category` are needed; the others may be left out, and an
//! empty cell is as good as none:
//!
//! | column | is |
//! |---|---|
//! | `id` | the variant's id |
//! | `product_id`, `product_group`, `name`, `brand`, `category`, `description`, `lifecycle` | the fields of the command |
//! | `sku`, `sku_template` | a given SKU, or the template that makes it; neither: `auto` |
//! | `price`, `currency`, `compare_at` | the price |
//! | `channels`, `regions` | names with a `|` between them |
//! | `attr.T`, `attr.T.id`, `attr.T.display`, `attr.T.hex`, `attr.T.rank` | the attribute of type `T`: value, value id, and what customers see |
//! | `attr.T[]`, `attr.T[].id`, … | the same of a type that a variant may have several values of, with a `|` between them: `wool|silk` |
//!
//! In a cell of a list `\|` is a `|` and `\\` a `\`. What stands beside the values has as many places as there are values; a place may be empty.
//!
//! Without an id, a variant's id follows from its product and configuration, as that of a generated one does.

use std::borrow::Cow;

use bytes::Bytes;
use csv::ByteRecord;
use daybook_aggregates::variant::{Create, configuration, derived_id};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A row as a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The variant's id.
    pub id: String,
    /// The body of `variant/create`.
    pub body: Bytes,
}

/// A line of NDJSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// `variant`, if it is there.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// `create`, if it is there.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Cow<'a, str>>,
    /// The body of the command.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

impl Row {
    /// Reads a line of NDJSON. The error says what is wrong with it.
    pub fn of_line(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let other = |given: Option<&str>, expected| given.is_some_and(|given| given != expected);
        if other(line.aggregate.as_deref(), "variant") || other(line.command.as_deref(), "create") {
            return Err("a row is the command create of a variant".to_owned());
        }
        Self::new(line.id.map(Cow::into_owned), Bytes::copy_from_slice(line.data.get().as_bytes()))
    }

    fn new(id: Option<String>, body: Bytes) -> Result<Self, String> {
        let id = match id {
            Some(id) => id,
            None => {
                let create: Create = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
                let (_, hash) = configuration(&create).map_err(|rejection| rejection.to_string())?;
                derived_id(&create.product_id, &hash).to_string()
            }
        };
        Ok(Self { id, body })
    }
}

/// The header of a CSV file.
#[derive(Debug)]
pub struct Columns {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    /// A field of the command under its own name.
    Field(&'static str),
    Id,
    Sku,
    SkuTemplate,
    Price,
    Currency,
    CompareAt,
    List(&'static str),
    Attribute {
        kind: String,
        part: Part,
        /// Whether a cell has several, one for each value.
        list: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    Id,
    Display,
    Hex,
    Rank,
}

const FIELDS: [&str; 7] =
    ["product_id", "product_group", "name", "brand", "category", "description", "lifecycle"];
const NEEDED: [&str; 4] = ["product_id", "name", "brand", "category"];

impl Column {
    fn of(name: &str) -> Option<Self> {
        if let Some(field) = FIELDS.into_iter().find(|field| *field == name) {
            return Some(Self::Field(field));
        }
        if let Some(attribute) = name.strip_prefix("attr.") {
            let (kind, part) = match attribute.rsplit_once('.') {
                Some((kind, "id")) => (kind, Part::Id),
                Some((kind, "display")) => (kind, Part::Display),
                Some((kind, "hex")) => (kind, Part::Hex),
                Some((kind, "rank")) => (kind, Part::Rank),
                Some(_) | None => (attribute, Part::Value),
            };
            let (kind, list) = kind.strip_suffix("[]").map_or((kind, false), |kind| (kind, true));
            return (!kind.is_empty()).then(|| Self::Attribute { kind: kind.to_owned(), part, list });
        }
        Some(match name {
            "id" => Self::Id,
            "sku" => Self::Sku,
            "sku_template" => Self::SkuTemplate,
            "price" => Self::Price,
            "currency" => Self::Currency,
            "compare_at" => Self::CompareAt,
            "channels" => Self::List("channels"),
            "regions" => Self::List("regions"),
            _ => return None,
        })
    }
}

impl Column {
    /// Whether this has several values of a type, of which the other has one.
    fn is_list_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Attribute { kind, list: true, .. }, Self::Attribute { kind: other, list: false, .. }) => {
                kind == other
            }
            _ => false,
        }
    }
}

impl Columns {
    /// Reads the header. The error says what is wrong with it.
    pub fn of_header(header: &ByteRecord) -> Result<Self, String> {
        let mut columns = Vec::with_capacity(header.len());
        for (at, name) in header.iter().enumerate() {
            let name = std::str::from_utf8(name).map_err(|_| "the header is no UTF-8".to_owned())?;
            let name = if at == 0 { name.trim_start_matches('\u{feff}') } else { name }.trim();
            let column = Column::of(name).ok_or_else(|| format!("unknown column {name:?}"))?;
            if columns.contains(&column) {
                return Err(format!("the column {name:?} is there twice"));
            }
            if columns.iter().any(|other| column.is_list_of(other) || other.is_list_of(&column)) {
                return Err(format!("the column {name:?} is there as a list and as one value"));
            }
            columns.push(column);
        }
        let missing = NEEDED.into_iter().find(|needed| !columns.contains(&Column::Field(needed)));
        match missing {
            Some(missing) => Err(format!("the column {missing} is missing")),
            None => Ok(Self { columns }),
        }
    }

    /// Reads a row. The error says what is wrong with it.
    pub fn row(&self, record: &ByteRecord) -> Result<Row, String> {
        if record.len() != self.columns.len() {
            return Err(format!("{} cells, where the header has {}", record.len(), self.columns.len()));
        }
        let mut cells = Cells::default();
        for (column, cell) in self.columns.iter().zip(record) {
            let cell = std::str::from_utf8(cell).map_err(|_| "a cell is no UTF-8".to_owned())?;
            if !cell.is_empty() {
                cells.take(column, cell)?;
            }
        }
        let id = cells.id.take();
        let body = serde_json::to_vec(&cells.body()?).expect("a JSON value with string keys serializes");
        Row::new(id, body.into())
    }
}

/// The cells of a row that have something in them.
#[derive(Default)]
struct Cells {
    id: Option<String>,
    body: Map<String, Value>,
    price: Map<String, Value>,
    /// The values of each type, in the order of the header.
    attributes: Vec<(String, Vec<Map<String, Value>>)>,
}

impl Cells {
    fn take(&mut self, column: &Column, cell: &str) -> Result<(), String> {
        match column {
            Column::Field(name) => {
                self.body.insert((*name).to_owned(), cell.into());
            }
            Column::Id => self.id = Some(cell.to_owned()),
            Column::Sku => self.sku(json!({"strategy": "manual", "value": cell}))?,
            Column::SkuTemplate => self.sku(json!({"strategy": "template", "template": cell}))?,
            Column::Price => {
                self.price.insert("amount".to_owned(), cell.into());
            }
            Column::Currency => {
                self.price.insert("currency".to_owned(), cell.into());
            }
            Column::CompareAt => {
                self.price.insert("compare_at".to_owned(), cell.into());
            }
            Column::List(name) => {
                self.body.insert((*name).to_owned(), cell.split('|').map(str::trim).collect());
            }
            Column::Attribute { kind, part, list: false } => {
                self.attribute(kind, *part, &[cell.to_owned()])?
            }
            Column::Attribute { kind, part, list: true } => self.attribute(kind, *part, &places(cell)?)?,
        }
        Ok(())
    }

    fn sku(&mut self, sku: Value) -> Result<(), String> {
        match self.body.insert("sku".to_owned(), sku) {
            Some(_) => Err("a row has a SKU or a template for it, not both".to_owned()),
            None => Ok(()),
        }
    }

    fn attribute(&mut self, kind: &str, part: Part, cells: &[String]) -> Result<(), String> {
        let at = self.attributes.iter().position(|(other, _)| other == kind).unwrap_or_else(|| {
            self.attributes.push((kind.to_owned(), Vec::new()));
            self.attributes.len() - 1
        });
        let values = &mut self.attributes[at].1;
        if values.is_empty() {
            values.resize_with(cells.len(), || Map::from_iter([("type".to_owned(), kind.into())]));
        }
        if values.len() != cells.len() {
            return Err(format!(
                "the columns of the attribute {kind} have {} and {} places",
                values.len(),
                cells.len()
            ));
        }
        for (value, cell) in values.iter_mut().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            let (name, said) = part.said(cell)?;
            value.insert(name.to_owned(), said);
        }
        Ok(())
    }

    fn body(mut self) -> Result<Value, String> {
        for (kind, values) in &self.attributes {
            if values.iter().any(|attribute| !attribute.contains_key("value")) {
                return Err(format!("the attribute {kind} has no value"));
            }
        }
        if !self.attributes.is_empty() {
            let attributes = self.attributes.into_iter().flat_map(|(_, values)| values);
            self.body.insert("attributes".to_owned(), attributes.map(Value::Object).collect());
        }
        if self.price.contains_key("amount") {
            self.body.insert("price".to_owned(), self.price.into());
        }
        Ok(self.body.into())
    }
}

impl Part {
    /// The field of the attribute that a cell says.
    fn said(self, cell: &str) -> Result<(&'static str, Value), String> {
        Ok(match self {
            Self::Value => ("value", cell.into()),
            Self::Id => ("value_id", cell.into()),
            Self::Display => ("display", cell.into()),
            Self::Hex => ("hex", cell.into()),
            Self::Rank => {
                let rank: i32 = cell.parse().map_err(|_| format!("the rank {cell:?} is no whole number"))?;
                ("rank", rank.into())
            }
        })
    }
}

/// What stands between the `|` of a cell, without blanks around it.
fn places(cell: &str) -> Result<Vec<String>, String> {
    let mut places = vec![String::new()];
    let mut characters = cell.chars();
    while let Some(character) = characters.next() {
        let last = places.last_mut().expect("there is one from the beginning");
        match character {
            '|' => places.push(String::new()),
            '\\' => match characters.next() {
                Some(escaped @ ('|' | '\\')) => last.push(escaped),
                _ => return Err(format!("in the list {cell:?} a \\ stands before no | and no \\")),
            },
            character => last.push(character),
        }
    }
    Ok(places.iter().map(|place| place.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &[&str]) -> Result<Columns, String> {
        Columns::of_header(&ByteRecord::from(header))
    }

    fn body(row: &Row) -> Value {
        serde_json::from_slice(&row.body).unwrap()
    }

    #[test]
    fn a_line_is_a_command_with_less_around_it() {
        let data = json!({"product_id": "tee", "name": "Tee", "brand": "Acme", "category": "Shirts"});
        for line in [
            json!({"id": "a", "data": data}),
            json!({"aggregate": "variant", "id": "a", "command": "create", "data": data}),
        ] {
            let row = Row::of_line(line.to_string().as_bytes()).unwrap();
            assert_eq!((row.id.as_str(), body(&row)), ("a", data.clone()));
        }
        for (line, part) in [
            (json!({"aggregate": "order", "id": "a", "data": data}), "create of a variant"),
            (json!({"id": "a", "data": data, "more": 1}), "unknown field"),
            (json!({"id": "a"}), "missing field"),
            (json!({"data": {"product_id": "tee"}}), "missing field"),
        ] {
            let error = Row::of_line(line.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn without_an_id_the_same_configuration_has_the_same_id() {
        let line = |attributes: Value| {
            let data = json!({"product_id": "tee", "name": "Tee", "brand": "Acme", "category": "Shirts", "attributes": attributes});
            Row::of_line(json!({"data": data}).to_string().as_bytes()).unwrap().id
        };
        let (navy, m) = (json!({"type": "color", "value": "Navy"}), json!({"type": "size", "value": "M"}));
        assert_eq!(line(json!([navy, m])), line(json!([m, navy])));
        assert_ne!(line(json!([navy, m])), line(json!([navy])));
        assert!(line(json!([navy])).starts_with("tee-"));
    }

    #[test]
    fn cells_become_the_fields_of_the_command() {
        let header = [
            "id",
            "product_id",
            "name",
            "brand",
            "category",
            "sku",
            "price",
            "currency",
            "channels",
            "attr.color",
            "attr.color.hex",
            "attr.size",
            "attr.size.rank",
        ];
        let columns = columns(&header).unwrap();
        let cells = [
            "a",
            "tee",
            "Tee, \"big\"",
            "Acme",
            "Shirts",
            "T-1",
            "12.50",
            "GBP",
            "web|store",
            "Navy",
            "#000080",
            "M",
            "3",
        ];
        let row = columns.row(&ByteRecord::from(cells.as_slice())).unwrap();
        assert_eq!(row.id, "a");
        assert_eq!(
            body(&row),
            json!({
                "product_id": "tee", "name": "Tee, \"big\"", "brand": "Acme", "category": "Shirts",
                "sku": {"strategy": "manual", "value": "T-1"}, "price": {"amount": "12.50", "currency": "GBP"},
                "channels": ["web", "store"],
                "attributes": [{"type": "color", "value": "Navy", "hex": "#000080"}, {"type": "size", "value": "M", "rank": 3}],
            })
        );
        let empty = ["a", "tee", "Tee", "Acme", "Shirts", "", "", "GBP", "", "", "", "", ""];
        let row = columns.row(&ByteRecord::from(empty.as_slice())).unwrap();
        assert_eq!(
            body(&row),
            json!({"product_id": "tee", "name": "Tee", "brand": "Acme", "category": "Shirts"})
        );
        let hex_alone = ["a", "tee", "Tee", "Acme", "Shirts", "", "", "", "", "", "#000080", "", ""];
        assert!(
            columns.row(&ByteRecord::from(hex_alone.as_slice())).unwrap_err().contains("color has no value")
        );
        let short = ["a", "tee"];
        assert!(columns.row(&ByteRecord::from(short.as_slice())).unwrap_err().contains("2 cells"));
    }

    #[test]
    fn a_list_has_several_values_of_one_type() {
        let header = [
            "product_id",
            "name",
            "brand",
            "category",
            "attr.fabric[].hex",
            "attr.fabric[]",
            "attr.fabric[].display",
        ];
        let columns = columns(&header).unwrap();
        let row = |hex: &str, values: &str, display: &str| {
            columns.row(&ByteRecord::from(["tee", "Tee", "Acme", "Shirts", hex, values, display].as_slice()))
        };
        let attributes = |hex: &str, values: &str, display: &str| {
            body(&row(hex, values, display).unwrap())["attributes"].clone()
        };
        assert_eq!(
            attributes("", "Wool | Silk", "Merino|"),
            json!([{"type": "fabric", "value": "Wool", "display": "Merino"}, {"type": "fabric", "value": "Silk"}])
        );
        assert_eq!(
            attributes("#ffffff", "Wool", ""),
            json!([{"type": "fabric", "value": "Wool", "hex": "#ffffff"}])
        );
        assert_eq!(attributes("", "a\\|b|c\\\\", "")[0]["value"], "a|b");
        assert_eq!(attributes("", "a\\|b|c\\\\", "")[1]["value"], "c\\");
        assert!(attributes("", "", "").is_null(), "an empty cell is as good as none");
        // The order of the values makes no other variant.
        assert_eq!(row("", "Wool|Silk", "").unwrap().id, row("", "Silk|Wool", "").unwrap().id);
        for (refused, part) in [
            (row("", "Wool||Silk", ""), "fabric has no value"),
            (row("", "Wool|Silk", "Merino"), "2 and 1 places"),
            (row("#ffffff", "Wool|Silk", ""), "1 and 2 places"),
            (row("", "Wool\\", ""), "before no |"),
        ] {
            let error = refused.unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_header_that_is_not_understood_is_refused() {
        for (header, part) in [
            (vec!["product_id", "name", "brand"], "category is missing"),
            (vec!["product_id", "name", "brand", "category", "colour"], "unknown column \"colour\""),
            (vec!["product_id", "name", "brand", "category", "name"], "there twice"),
            (
                vec!["product_id", "name", "brand", "category", "attr.a", "attr.a[].id"],
                "as a list and as one value",
            ),
            (vec!["product_id", "name", "brand", "category", "attr.[]"], "unknown column"),
        ] {
            let error = columns(&header).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
