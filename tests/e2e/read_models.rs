//! The same import gives the same read models on every event log, row by row.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;

use crate::backend::{Backend, backend};
use crate::harness::{binary, run_json, sample};

/// Read models whose rows are facts about the shop. The audit view lists events by position, which is the log's own affair.
const STORES: [&str; 6] = ["catalogue", "inventory", "orders", "sales", "products", "customers"];

/// What is not the same in two logs of one history: places in the log, and the time of writing.
const OF_THE_LOG: [&str; 4] = ["position", "recorded_at", "updated_at", "last_movement"];

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_THE_LOG.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Rows by table and key.
type Tables = BTreeMap<String, BTreeMap<String, Value>>;

/// Every row of every table, without what is the log's own.
fn tables(data: &Path) -> Tables {
    let mut tables = Tables::new();
    for store in STORES {
        let file = data.join(format!("projections/{store}@1.sqlite"));
        let connection = Connection::open(&file).unwrap();
        let names: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'daybook%' AND name NOT LIKE 'sqlite%'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(!names.is_empty(), "{store}");
        for table in names {
            let mut statement = connection.prepare(&format!("SELECT key, doc FROM {table}")).unwrap();
            let mut rows = statement.query([]).unwrap();
            let mut docs = BTreeMap::new();
            while let Some(row) = rows.next().unwrap() {
                let mut doc: Value = match row.get_ref(1).unwrap() {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => serde_json::from_slice(bytes).unwrap(),
                    other => panic!("{store}.{table}: {other:?}"),
                };
                strip(&mut doc);
                let key: rusqlite::types::Value = row.get(0).unwrap();
                docs.insert(format!("{key:?}"), doc);
            }
            tables.insert(format!("{store}.{table}"), docs);
        }
    }
    tables
}

/// The rows that are not the same in both, in words; at most a few of each table.
fn differences(mine: &Tables, theirs: &Tables) -> Vec<String> {
    let mut found = Vec::new();
    for table in mine.keys().chain(theirs.keys().filter(|table| !mine.contains_key(*table))) {
        let (empty, mut count) = (BTreeMap::new(), 0);
        let (mine, theirs) = (mine.get(table).unwrap_or(&empty), theirs.get(table).unwrap_or(&empty));
        for key in mine.keys().chain(theirs.keys().filter(|key| !mine.contains_key(*key))) {
            if mine.get(key) != theirs.get(key) {
                count += 1;
                if count <= 3 {
                    found.push(format!("{table} {key}: {:?} against {:?}", mine.get(key), theirs.get(key)));
                }
            }
        }
        if count > 0 {
            found.push(format!("{table}: {count} of {} rows", mine.len()));
        }
    }
    found
}

#[test]
fn the_sample_gives_the_read_models_of_the_embedded_log() {
    if backend() == Backend::Embedded {
        println!("skipped: it compares another log with the embedded one; set DAYBOOK_TEST_LOG");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (embedded, other) = (folder.path().join("embedded"), folder.path().join("other"));
    let file = sample();
    let import = ["import", "online-retail", file.to_str().unwrap()];
    let mine = run_json(&other, &import);
    let output = binary().args(import).args(["--format", "json", "--data"]).arg(&embedded).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(mine, theirs, "the reports");
    let (mine, theirs) = (tables(&other), tables(&embedded));
    assert!(mine.values().map(BTreeMap::len).sum::<usize>() > 1_000, "nothing to compare");
    assert_eq!(differences(&mine, &theirs), Vec::<String>::new());
    assert_eq!(run_json(&other, &["reconcile"])["clean"], true);
}
