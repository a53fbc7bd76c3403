//! What a table of rows looks like: a key, a document, and copies of some of its fields in indexed columns.

use sha2::{Digest, Sha256};
use smol_str::SmolStr;

/// How the key of a table is stored. In [`RowKey`](crate::model::RowKey) it is text in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Any text.
    Text,
    /// A position of the log, as 20 digits with leading zeros; stored as an integer, so that rows that arrive in log
    /// order cost an append.
    Position,
}

/// The type of an indexed column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Text,
    Integer,
}

/// A column beside the document, for lookups and orders only: all it holds stands in the document too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

impl Column {
    /// A column of text, compared by bytes.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Text }
    }

    /// A column of 64-bit integers.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Integer }
    }
}

/// A table. Names are `[a-z_]+` and come from code, never from input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSpec {
    pub name: &'static str,
    pub key: KeyKind,
    pub columns: &'static [Column],
    /// Each a list of columns; the key follows as the last. Rows whose first column is null are not in the index.
    pub indexes: &'static [&'static [&'static str]],
    /// What its documents are much like, for tables with a row for every variant or event: SQLite compresses them by it. A
    /// dictionary of zstd (`zstd --train` over some thousand documents); without one, documents are stored as text.
    pub dictionary: Option<&'static [u8]>,
}

impl TableSpec {
    /// A table with a text key and no columns.
    #[must_use]
    pub const fn plain(name: &'static str) -> Self {
        Self { name, key: KeyKind::Text, columns: &[], indexes: &[], dictionary: None }
    }

    /// The place of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// The value of an indexed column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IndexValue {
    Null,
    Integer(i64),
    Text(SmolStr),
}

impl From<i64> for IndexValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for IndexValue {
    fn from(value: &str) -> Self {
        Self::Text(SmolStr::new(value))
    }
}

impl<T: Into<IndexValue>> From<Option<T>> for IndexValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// All that a store has to know of a read model.
#[derive(Debug, Clone, Copy)]
pub struct StoreSpec {
    /// The projection.
    pub name: &'static str,
    /// Counts up whenever the same events would give other rows.
    pub version: u32,
    pub tables: &'static [&'static TableSpec],
}

impl StoreSpec {
    /// Digest of name, version and tables: a store with another one was written by other code.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let text = format!("{} {} {:?}", self.name, self.version, self.tables);
        daybook_schemas::configuration::hex(&Sha256::digest(text.as_bytes()))
    }

    /// The table with this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&'static TableSpec> {
        self.tables.iter().copied().find(|table| table.name == name)
    }
}

/// The text form of a position key: 20 digits, so that byte order is log order.
#[must_use]
pub fn position_key(position: u64) -> SmolStr {
    smol_str::format_smolstr!("{position:020}")
}
