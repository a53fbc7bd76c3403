//! The store and the cache: atomic commits, crashes at any point, damage, snapshots, queries.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::model::{DeadLetter, LetterChange, ProjectError, Projected, ReadModel, RowKey};
use crate::testing::{On, Stores, dump, each_engine};

static THINGS: TableSpec = TableSpec {
    name: "things",
    key: KeyKind::Text,
    columns: &[Column::text("colour"), Column::integer("size")],
    indexes: &[&["colour", "size"]],
    dictionary: None,
};
static EVENTS: TableSpec = TableSpec {
    name: "events",
    key: KeyKind::Position,
    columns: &[Column::text("kind")],
    indexes: &[&["kind"]],
    dictionary: None,
};
static TABLES: &[&TableSpec] = &[&THINGS, &EVENTS];

const SPEC: StoreSpec = StoreSpec { name: "test", version: 1, tables: TABLES };

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Thing {
    colour: Option<String>,
    size: i64,
}

impl View for Thing {
    const TABLE: &'static TableSpec = &THINGS;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.colour.as_deref().into(), self.size.into()]
    }
}

fn thing(colour: &str, size: i64) -> Thing {
    Thing { colour: Some(colour.to_owned()), size }
}

struct NoProjector;

impl Projector for NoProjector {
    fn spec(&self) -> StoreSpec {
        SPEC
    }
    fn handles(&self, _: &str) -> bool {
        false
    }
    fn project(&self, _: &Projected, _: &mut Rows<'_>) -> Result<(), ProjectError> {
        Ok(())
    }
}

fn open(stores: &Stores) -> Box<dyn RowStore> {
    stores.open("test", SPEC)
}

fn open_file(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SPEC, 1).unwrap()
}

fn upsert(key: &str, thing: &Thing) -> RowWrite {
    let change = RowChange::Upsert { doc: serde_json::to_vec(thing).unwrap(), index: thing.index() };
    RowWrite { table: &THINGS, key: key.into(), change }
}

fn commit(store: &mut dyn RowStore, checkpoint: u64, writes: &[RowWrite]) {
    store.commit(&Batch { checkpoint, writes, letters: &[] }).unwrap();
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test@1.sqlite");
    (folder, path)
}

fn rows_and_checkpoint_survive_reopening(on: On) {
    let stores = on.stores();
    let mut store = open(&stores);
    assert_eq!(store.checkpoint(), 0);
    commit(&mut *store, 7, &[upsert("a", &thing("red", 1)), upsert("b", &thing("blue", 2))]);
    let delete = RowWrite { table: &THINGS, key: "b".into(), change: RowChange::Delete };
    commit(&mut *store, 9, &[delete]);
    drop(store);
    let store = open(&stores);
    assert_eq!(store.checkpoint(), 9);
    let rows = dump(&*store.snapshot().unwrap());
    assert_eq!(rows, [r#"things/a {"doc":{"colour":"red","size":1},"index":{"colour":"red","size":1}}"#]);
}

fn dead_letters_commit_with_the_rows(on: On) {
    let stores = on.stores();
    let letter = |position| DeadLetter {
        position,
        stream: "s-1".to_owned(),
        revision: position,
        event_type: "x.y".to_owned(),
        reason: "because".to_owned(),
        blocked: false,
    };
    let mut store = open(&stores);
    let letters = [LetterChange::Park(letter(4)), LetterChange::Park(letter(5))];
    store.commit(&Batch { checkpoint: 5, writes: &[], letters: &letters }).unwrap();
    let letters = [LetterChange::Drop(4)];
    store.commit(&Batch { checkpoint: 6, writes: &[], letters: &letters }).unwrap();
    assert_eq!(open(&stores).dead_letters().unwrap(), [letter(5)]);
}

#[test]
fn a_foreign_or_damaged_file_says_what_to_do() {
    let (_folder, path) = file();
    std::fs::write(&path, "this is no database, but long enough to look like a file of one".repeat(100))
        .unwrap();
    let error = SqliteStore::open(&path, SPEC, 1).err().unwrap();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("daybook projections rebuild"), "{error}");

    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(SqliteStore::open(&path, SPEC, 1), Err(StoreError::Damaged(_))));
}

fn another_projection_generation_or_version_is_told_apart(on: On) {
    let stores = on.stores();
    drop(open(&stores));
    let place = stores.place("test");
    let reopen = |spec, generation| stores.engine.open(&place, spec, generation).err();
    assert!(matches!(reopen(SPEC, 2), Some(StoreError::Damaged(_))));
    let renamed = StoreSpec { name: "other", ..SPEC };
    assert!(matches!(reopen(renamed, 1), Some(StoreError::Damaged(_))));
    let newer = StoreSpec { version: 2, ..SPEC };
    assert!(matches!(reopen(newer, 1), Some(StoreError::Outdated(_))));
    assert!(reopen(SPEC, 1).is_none());
}

fn a_snapshot_stands_still_and_queries_move_on(on: On) {
    let stores = on.stores();
    let mut store = open(&stores);
    commit(&mut *store, 1, &[upsert("a", &thing("red", 1))]);
    let snapshot = store.snapshot().unwrap();
    let reader = store.reader();
    let before = reader.begin().unwrap();
    commit(&mut *store, 2, &[upsert("a", &thing("green", 1)), upsert("b", &thing("red", 5))]);
    assert_eq!((snapshot.checkpoint(), dump(&*snapshot).len()), (1, 1));
    assert_eq!(before.checkpoint(), 1);
    assert_eq!(before.count(&Select::all(&THINGS, 0)).unwrap(), 1);
    drop(before);
    let after = reader.begin().unwrap();
    assert_eq!(after.checkpoint(), 2);
    assert_eq!(after.count(&Select::all(&THINGS, 0).equal("colour", "red")).unwrap(), 1);
}

fn damage_to_an_indexed_copy_or_a_document_shows_in_the_scan_and_can_be_repaired(on: On) {
    let stores = on.stores();
    let mut store = open(&stores);
    commit(
        &mut *store,
        3,
        &[upsert("a", &thing("red", 1)), upsert("b", &thing("blue", 2)), upsert("c", &thing("blue", 3))],
    );
    let sound = dump(&*store.snapshot().unwrap());
    for damage in [
        "UPDATE things SET size = 7 WHERE key = 'a'",
        "UPDATE things SET colour = NULL WHERE key = 'a'",
        "UPDATE things SET doc = 'not json' WHERE key = 'b'",
        "UPDATE things SET doc = replace(doc, '2', '3') WHERE key = 'b'",
        "DELETE FROM things WHERE key = 'c'",
        "INSERT INTO things (key, doc) VALUES ('', '{}')",
        "INSERT INTO things (key, doc) VALUES ('zzz', '{}')",
    ] {
        let snapshot = store.snapshot().unwrap();
        let rows: Vec<(String, Vec<u8>)> = snapshot.scan("things", None, 100).unwrap();
        stores.meddle(&stores.place("test"), damage);
        let damaged = store.snapshot().unwrap();
        assert_ne!(dump(&*damaged), sound, "{damage}");
        let mut repair: Vec<(RowKey, Option<Vec<u8>>)> = Vec::new();
        for (key, _) in damaged.scan("things", None, 100).unwrap() {
            repair.push((RowKey { table: "things", key }, None));
        }
        repair.retain(|(row, _)| rows.iter().all(|(key, _)| *key != row.key));
        repair.extend(rows.into_iter().map(|(key, json)| (RowKey { table: "things", key }, Some(json))));
        store.repair(&repair).unwrap();
        assert_eq!(dump(&*store.snapshot().unwrap()), sound, "{damage}");
        assert_eq!(store.checkpoint(), 3);
    }
}

fn pages_continue_exactly_under_ties_in_both_directions(on: On) {
    let stores = on.stores();
    let mut store = open(&stores);
    let writes: Vec<RowWrite> = (0..50)
        .map(|i| upsert(&format!("k{i:02}"), &thing(if i % 2 == 0 { "red" } else { "blue" }, i % 5)))
        .collect();
    commit(&mut *store, 1, &writes);
    let reader = store.reader();
    let rows = reader.begin().unwrap();
    for descending in [false, true] {
        let mut select = Select::all(&THINGS, 100).equal("colour", "red").order_by("size");
        select.descending = descending;
        let whole = select_views::<Thing>(&*rows, &select).unwrap();
        assert_eq!(whole.len(), 25);
        select.limit = 3;
        let mut paged: Vec<(String, Thing)> = Vec::new();
        loop {
            let after = paged.last().map(|(key, thing)| vec![thing.size.into(), key.as_str().into()]);
            let page = select_views::<Thing>(&*rows, &select.clone().after(after)).unwrap();
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, whole);
    }
}

fn position_keys_sort_like_positions(on: On) {
    let stores = on.stores();
    let mut store = open(&stores);
    let write = |position: u64| RowWrite {
        table: &EVENTS,
        key: position_key(position),
        change: RowChange::Upsert { doc: b"{}".to_vec(), index: vec!["k".into()] },
    };
    commit(&mut *store, 1, &[write(1_000), write(9), write(10)]);
    let keys: Vec<String> =
        store.snapshot().unwrap().scan("events", None, 10).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [position_key(9), position_key(10), position_key(1_000)]);
    let after = store.snapshot().unwrap().scan("events", Some(&keys[0]), 1).unwrap();
    assert_eq!(after[0].0, keys[1]);
}

/// A crash leaves the file and some first part of the write-ahead log. Whatever part: the store opens, at the checkpoint of some commit,
/// with exactly the rows of that commit.
#[test]
fn a_crash_at_any_byte_of_a_commit_leaves_some_commit_whole() {
    let (folder, path) = file();
    let mut store = open_file(&path);
    let mut states = vec![dump(&*store.snapshot().unwrap())];
    for checkpoint in 1..=6_u64 {
        let size = i64::try_from(checkpoint).unwrap();
        let writes: Vec<RowWrite> =
            (0..checkpoint).map(|i| upsert(&format!("k{i}"), &thing("red", size))).collect();
        commit(&mut store, checkpoint, &writes);
        states.push(dump(&*store.snapshot().unwrap()));
    }
    let wal = std::fs::read(folder.path().join("test@1.sqlite-wal")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for length in (0..wal.len()).step_by(509).chain([wal.len()]) {
        let crashed = tempfile::tempdir().unwrap();
        let copy = crashed.path().join("test@1.sqlite");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::write(crashed.path().join("test@1.sqlite-wal"), &wal[..length]).unwrap();
        // Cut within the store's creation, there is nothing yet, and it is created anew.
        let store = open_file(&copy);
        let checkpoint = usize::try_from(store.checkpoint()).unwrap();
        assert_eq!(dump(&*store.snapshot().unwrap()), states[checkpoint], "cut at {length}");
        seen.insert(checkpoint);
    }
    assert_eq!(seen.len(), 7, "the cuts reached every commit");
}

fn what_is_not_committed_is_as_if_it_had_never_been(on: On) {
    let stores = on.stores();
    let mut cache = cache::Cache::new(1 << 20);
    let mut store = open(&stores);
    let mut rows = Rows { cache: &mut cache, store: &mut *store };
    rows.put("a", Some(thing("red", 1))).unwrap();
    let writes = cache.writes();
    commit(&mut *store, 1, &writes);
    cache.committed();
    let mut rows = Rows { cache: &mut cache, store: &mut *store };
    let failed = rows.fold("a", |_: Option<Thing>| Err(ProjectError::Rejected("no".to_owned())));
    assert!(failed.is_err());
    rows.put("b", Some(thing("blue", 2))).unwrap();
    cache.rollback();
    assert_eq!(cache.pending_bytes(), 0);
    let mut rows = Rows { cache: &mut cache, store: &mut *store };
    assert_eq!(rows.get::<Thing>("a").unwrap(), Some(&thing("red", 1)));
    assert_eq!(rows.get::<Thing>("b").unwrap(), None);
}

#[derive(Debug, Serialize, Deserialize)]
struct Happened {
    kind: String,
}

impl View for Happened {
    const TABLE: &'static TableSpec = &EVENTS;

    fn index(&self) -> Vec<IndexValue> {
        vec![self.kind.as_str().into()]
    }
}

fn appended_rows_are_written_once_or_not_at_all(on: On) {
    let stores = on.stores();
    let mut cache = cache::Cache::new(1 << 20);
    let mut store = open(&stores);
    let mut append = |cache: &mut cache::Cache, position: u64, kind: &str| {
        let mut rows = Rows { cache, store: &mut *store };
        rows.append(position, &Happened { kind: kind.to_owned() });
    };
    append(&mut cache, 3, "seen and rolled back");
    assert!(cache.pending_bytes() > 0);
    cache.rollback();
    assert_eq!(cache.pending_bytes(), 0);
    // A parked event that is tried again comes after younger ones.
    append(&mut cache, 11, "b");
    append(&mut cache, 2, "a");
    let writes = cache.writes();
    commit(&mut *store, 11, &writes);
    cache.committed();
    assert!(cache.writes().is_empty());
    let rows = dump(&*store.snapshot().unwrap());
    let row = |position, kind| {
        format!(
            r#"events/{} {{"doc":{{"kind":"{kind}"}},"index":{{"kind":"{kind}"}}}}"#,
            position_key(position)
        )
    };
    assert_eq!(rows, [row(2, "a"), row(11, "b")]);
}

fn a_repair_refuses_to_run_over_uncommitted_changes(on: On) {
    let stores = on.stores();
    let mut model = RowModel::new(NoProjector, open(&stores));
    assert!(model.repair(&[(RowKey { table: "things", key: "x".to_owned() }, None)]).is_ok());
    assert!(matches!(
        model.repair(&[(RowKey { table: "nothing", key: "x".to_owned() }, None)]),
        Err(StoreError::Damaged(_))
    ));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, i64),
    Delete(u8),
    Grow(u8),
    Commit,
    Rollback,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<u8>(), 0..5_i64).prop_map(|(key, size)| Step::Put(key % 12, size)),
        2 => any::<u8>().prop_map(|key| Step::Delete(key % 12)),
        4 => any::<u8>().prop_map(|key| Step::Grow(key % 12)),
        2 => Just(Step::Commit),
        1 => Just(Step::Rollback),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The cache, however small, over the store is a map; commits make it last, rollbacks take it back.
fn rows_behave_like_a_map(on: On) {
    let stores = on.stores();
    let number = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(on.cases(64)), |(steps in steps())| {
        number.set(number.get() + 1);
        let mut store = stores.open(&format!("test{}", number.get()), SPEC);
        // So small that rows are dropped from memory all the time.
        let mut cache = cache::Cache::new(400);
        let (mut now, mut committed) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
        let mut checkpoint = 0;
        for step in steps {
            let mut rows = Rows { cache: &mut cache, store: &mut *store };
            match step {
                Step::Put(key, size) => {
                    rows.put(&format!("k{key:02}"), Some(thing("red", size))).unwrap();
                    now.insert(format!("k{key:02}"), thing("red", size));
                }
                Step::Delete(key) => {
                    rows.fold(&format!("k{key:02}"), |_: Option<Thing>| Ok(None)).unwrap();
                    now.remove(&format!("k{key:02}"));
                }
                Step::Grow(key) => {
                    rows.fold(&format!("k{key:02}"), |thing: Option<Thing>| {
                        Ok(thing.map(|thing| Thing { size: thing.size + 1, ..thing }))
                    }).unwrap();
                    now.entry(format!("k{key:02}")).and_modify(|thing| thing.size += 1);
                }
                Step::Commit => {
                    checkpoint += 1;
                    let writes = cache.writes();
                    store.commit(&Batch { checkpoint, writes: &writes, letters: &[] }).unwrap();
                    cache.committed();
                    committed = now.clone();
                }
                Step::Rollback => {
                    cache.rollback();
                    now = committed.clone();
                }
            }
            let mut rows = Rows { cache: &mut cache, store: &mut *store };
            for last in [false, true] {
                let expected = if last { now.keys().next_back() } else { now.keys().next() };
                let edge = rows.edge_key::<Thing>("k", last).unwrap();
                prop_assert_eq!(edge.as_ref(), expected);
            }
        }
        let reader = store.reader();
        let stored = select_views::<Thing>(&*reader.begin().unwrap(), &Select::all(&THINGS, 100)).unwrap();
        prop_assert_eq!(stored, committed.into_iter().collect::<Vec<_>>());
    });
}

each_engine!(
    rows_and_checkpoint_survive_reopening,
    dead_letters_commit_with_the_rows,
    another_projection_generation_or_version_is_told_apart,
    a_snapshot_stands_still_and_queries_move_on,
    damage_to_an_indexed_copy_or_a_document_shows_in_the_scan_and_can_be_repaired,
    pages_continue_exactly_under_ties_in_both_directions,
    position_keys_sort_like_positions,
    what_is_not_committed_is_as_if_it_had_never_been,
    appended_rows_are_written_once_or_not_at_all,
    a_repair_refuses_to_run_over_uncommitted_changes,
    rows_behave_like_a_map,
);
