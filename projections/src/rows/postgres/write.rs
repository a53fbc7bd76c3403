//! A commit's rows as few statements: many rows of a table in each.

use std::borrow::Cow;
use std::fmt::Write;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::connection::Connection;
use super::text::to_stored;
use crate::model::{LetterChange, StoreError};
use crate::rows::select::stored_key;
use crate::rows::spec::{ColumnKind, IndexValue, KeyKind, TableSpec};
use crate::rows::store::{RowChange, RowWrite};

/// The most rows of one statement,
const CHUNK_ROWS: usize = 4_096;
/// and the most bytes of documents, unless a single one has more.
const CHUNK_BYTES: usize = 4 << 20;

/// The statements that one table is written with. Parameters are arrays, an element a row.
pub(super) struct TableSql {
    upsert: Statement,
    replace: Statement,
    delete: Statement,
}

/// Text, and which parameters follow the keys.
struct Statement {
    sql: String,
    docs: bool,
    columns: bool,
}

impl TableSql {
    pub(super) fn new(schema: &str, table: &TableSpec) -> Self {
        let name = format!("{schema}.{}", table.name);
        let key = match table.key {
            KeyKind::Text => "text",
            KeyKind::Position => "bigint",
        };
        let (mut columns, mut arrays, mut sets) = (String::new(), String::new(), String::new());
        for (i, column) in table.columns.iter().enumerate() {
            let kind = match column.kind {
                ColumnKind::Text => "text",
                ColumnKind::Integer => "bigint",
            };
            write!(columns, ", {}", column.name).expect("a String takes every write");
            write!(arrays, ", ${}::{kind}[]", i + 3).expect("a String takes every write");
            write!(sets, ", {0} = excluded.{0}", column.name).expect("a String takes every write");
        }
        let upsert = format!(
            "INSERT INTO {name} (key, doc{columns}) SELECT * FROM unnest($1::{key}[], $2::text[]{arrays}) \
             ON CONFLICT (key) DO UPDATE SET doc = excluded.doc{sets}"
        );
        let replace = format!(
            "UPDATE {name} t SET doc = u.doc FROM unnest($1::{key}[], $2::text[]) u (key, doc) WHERE t.key = u.key"
        );
        let delete = format!("DELETE FROM {name} WHERE key = ANY ($1::{key}[])");
        Self {
            upsert: Statement { sql: upsert, docs: true, columns: true },
            replace: Statement { sql: replace, docs: true, columns: false },
            delete: Statement { sql: delete, docs: false, columns: false },
        }
    }
}

/// The same change of several rows of one table.
#[derive(Default)]
struct Group<'a> {
    keys: Vec<&'a str>,
    docs: Vec<&'a str>,
    indexes: Vec<&'a [IndexValue]>,
    bytes: usize,
}

impl<'a> Group<'a> {
    fn push(&mut self, key: &'a str, doc: &'a [u8], index: &'a [IndexValue]) {
        self.keys.push(key);
        self.docs.push(std::str::from_utf8(doc).expect("JSON is UTF-8"));
        self.indexes.push(index);
        self.bytes += doc.len();
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES
    }
}

/// Writes rows of one table within a transaction.
pub(super) fn write_table(
    connection: &mut Connection,
    table: &TableSpec,
    sql: &TableSql,
    writes: &[RowWrite],
) -> Result<(), StoreError> {
    let (mut upserts, mut replaces, mut deletes) = (Group::default(), Group::default(), Group::default());
    for write in writes {
        let key = write.key.as_str();
        let (group, text) = match &write.change {
            RowChange::Upsert { doc, index } => {
                upserts.push(key, doc, index);
                (&mut upserts, &sql.upsert)
            }
            RowChange::Replace { doc } => {
                replaces.push(key, doc, &[]);
                (&mut replaces, &sql.replace)
            }
            RowChange::Delete => {
                deletes.push(key, b"", &[]);
                (&mut deletes, &sql.delete)
            }
        };
        if group.is_full() {
            send(connection, table, text, std::mem::take(group))?;
        }
    }
    // In this order whatever the rows were: each row is in one group only.
    for (group, text) in [(upserts, &sql.upsert), (replaces, &sql.replace), (deletes, &sql.delete)] {
        send(connection, table, text, group)?;
    }
    Ok(())
}

fn send(
    connection: &mut Connection,
    table: &TableSpec,
    statement: &Statement,
    group: Group<'_>,
) -> Result<(), StoreError> {
    if group.keys.is_empty() {
        return Ok(());
    }
    let mut query = bind_keys(sqlx::query(&statement.sql), table, &group.keys)?;
    if statement.docs {
        query = query.bind(group.docs);
    }
    if statement.columns {
        query = bind_columns(query, table, &group.indexes);
    }
    let (limited, inner) = connection.split();
    limited.run(query.execute(inner)).map(|_| ())
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

fn bind_keys<'q>(query: Bound<'q>, table: &TableSpec, keys: &[&'q str]) -> Result<Bound<'q>, StoreError> {
    match table.key {
        KeyKind::Text => Ok(query.bind(keys.iter().map(|key| to_stored(key)).collect::<Vec<Cow<'q, str>>>())),
        KeyKind::Position => {
            let positions: Result<Vec<i64>, StoreError> = keys
                .iter()
                .map(|key| match stored_key(table, key)? {
                    IndexValue::Integer(position) => Ok(position),
                    IndexValue::Null | IndexValue::Text(_) => {
                        unreachable!("keys of such a table are integers")
                    }
                })
                .collect();
            Ok(query.bind(positions?))
        }
    }
}

fn bind_columns<'q>(mut query: Bound<'q>, table: &TableSpec, rows: &[&'q [IndexValue]]) -> Bound<'q> {
    for (i, column) in table.columns.iter().enumerate() {
        let values = rows.iter().map(|row| &row[i]);
        query = match column.kind {
            ColumnKind::Text => query.bind(
                values
                    .map(|value| match value {
                        IndexValue::Text(text) => Some(to_stored(text)),
                        IndexValue::Null => None,
                        IndexValue::Integer(_) => unreachable!("views give their columns as declared"),
                    })
                    .collect::<Vec<Option<Cow<'q, str>>>>(),
            ),
            ColumnKind::Integer => query.bind(
                values
                    .map(|value| match value {
                        IndexValue::Integer(number) => Some(*number),
                        IndexValue::Null => None,
                        IndexValue::Text(_) => unreachable!("views give their columns as declared"),
                    })
                    .collect::<Vec<Option<i64>>>(),
            ),
        };
    }
    query
}

/// Writes changes of the dead-letter queue within a transaction.
pub(super) fn write_letters(
    connection: &mut Connection,
    schema: &str,
    letters: &[LetterChange],
) -> Result<(), StoreError> {
    // The last word on a position counts; the others never were.
    let mut last = std::collections::BTreeMap::new();
    for change in letters {
        match change {
            LetterChange::Park(letter) => last.insert(letter.position.cast_signed(), Some(letter)),
            LetterChange::Drop(position) => last.insert(position.cast_signed(), None),
        };
    }
    let (mut parked, mut texts, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for (position, letter) in last {
        match letter {
            Some(letter) => {
                parked.push(position);
                texts.push(serde_json::to_string(letter).expect("a letter has string keys and plain values"));
            }
            None => dropped.push(position),
        }
    }
    if !parked.is_empty() {
        let sql = format!(
            "INSERT INTO {schema}.daybook_letters (position, letter) SELECT * FROM unnest($1::bigint[], $2::text[]) \
             ON CONFLICT (position) DO UPDATE SET letter = excluded.letter"
        );
        let (limited, inner) = connection.split();
        limited.run(sqlx::query(&sql).bind(parked).bind(texts).execute(inner))?;
    }
    if !dropped.is_empty() {
        let sql = format!("DELETE FROM {schema}.daybook_letters WHERE position = ANY ($1::bigint[])");
        let (limited, inner) = connection.split();
        limited.run(sqlx::query(&sql).bind(dropped).execute(inner))?;
    }
    Ok(())
}
