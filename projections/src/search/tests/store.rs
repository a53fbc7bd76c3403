//! Checkpoints, crashes, rebuilds, scans, damage and repair.

use std::fs;

use daybook_schemas::variant;
use tantivy::schema::Value;
use tantivy::{DocAddress, Index, IndexWriter, TantivyDocument};

use super::super::document::SearchDocument;
use super::super::schema::{self, key_term};
use super::super::{SearchModel, SearchOptions};
use super::generate::log;
use super::{Log, created, ids, open, project, search};
use crate::model::{ReadModel, RowAccess, RowKey, StoreError};

type Table = Vec<(String, Vec<u8>)>;

/// All rows, read in pages.
fn rows(access: &dyn RowAccess, table: &str, page: usize) -> Table {
    let mut all: Table = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let next = access.scan(table, after.as_deref(), page).unwrap();
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

fn all_rows(model: &SearchModel) -> Vec<Table> {
    let snapshot = model.snapshot().unwrap();
    snapshot.tables().into_iter().map(|table| rows(&*snapshot, table, 7)).collect()
}

#[test]
fn a_rebuild_gives_the_same_rows_however_the_log_is_cut() {
    let log = log(3, 120, 1_500);
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut whole = open(one.path());
    project(&mut whole, &log.events);
    let mut cut = open(many.path());
    for chunk in log.events.chunks(37) {
        project(&mut cut, chunk);
    }
    assert_eq!(all_rows(&whole), all_rows(&cut));
    assert!(all_rows(&whole).iter().all(|table| table.len() > 50));
    assert!(all_rows(&whole).iter().all(|table| table.is_sorted_by(|a, b| a.0 < b.0)));
}

#[test]
fn after_a_crash_the_store_is_as_of_its_checkpoint() {
    let log = log(4, 60, 900);
    let (folder, straight) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut expected = open(straight.path());
    project(&mut expected, &log.events);
    let mut at = 0;
    for step in 1.. {
        let mut model = open(folder.path());
        assert_eq!(model.checkpoint(), at as u64);
        let next = (at + 90).min(log.events.len());
        project(&mut model, &log.events[at..next]);
        at = next;
        if at == log.events.len() {
            assert_eq!(all_rows(&model), all_rows(&expected));
            return;
        }
        // Events that are applied, even given to the engine, but not committed.
        for event in log.events[at..].iter().take(step * 11) {
            if model.handles(event.recorded.event_type()) {
                model.apply(event).unwrap();
            }
        }
        if step % 2 == 0 {
            model.rollback();
            assert_eq!(model.pending_bytes(), 0);
        }
    }
}

/// A commit writes its files and then the list of those that count. Killed between the two, it leaves files with the very names that it takes
/// when it is made again.
#[test]
fn files_that_a_killed_commit_has_left_are_no_obstacle() {
    let log = log(4, 60, 900);
    let (before, later) = log.events.split_at(600);
    // So few documents that no merge begins and takes away what is to be left behind.
    let later = &later[..12];
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copy = |name: &std::ffi::OsStr| {
        fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    };
    let files = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut model = open(folder.path());
    project(&mut model, before);
    model.close().unwrap();
    files().for_each(|name| copy(&name));
    let mut model = open(folder.path());
    project(&mut model, later);
    for name in files().filter(|name| name != "meta.json") {
        copy(&name);
    }
    let left = fs::read_dir(killed.path()).unwrap().map(|entry| entry.unwrap().path());
    assert!(left.filter(|path| path.extension().is_some_and(|kind| kind == "del")).count() > 0);

    let mut again = open(killed.path());
    assert_eq!(again.checkpoint(), 600);
    project(&mut again, later);
    assert_eq!(all_rows(&again), all_rows(&model));
}

#[test]
fn a_snapshot_is_not_disturbed_by_later_commits() {
    let log = log(5, 40, 600);
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    project(&mut model, &log.events[..300]);
    let snapshot = model.snapshot().unwrap();
    let before = rows(&*snapshot, "documents", 5);
    project(&mut model, &log.events[300..]);
    assert_eq!((rows(&*snapshot, "documents", 5), snapshot.checkpoint()), (before, 300));
    assert_ne!(rows(&*model.snapshot().unwrap(), "documents", 5), rows(&*snapshot, "documents", 5));
}

#[test]
fn readers_see_a_commit_when_it_returns_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let reader = model.reader();
    let mut log = Log::default();
    log.sell(created("v", "lantern"));
    log.events.iter().for_each(|event| model.apply(event).unwrap());
    assert!(model.pending_bytes() > 0);
    assert_eq!((reader.position(), search(&model, &[]).total), (0, 0));
    model.commit(log.head()).unwrap();
    assert_eq!((reader.position(), search(&model, &[]).total, model.pending_bytes()), (3, 1, 0));
}

#[test]
fn variants_of_a_product_stand_one_after_the_other() {
    let mut log = Log::default();
    for number in 0..60 {
        let product_id = daybook_schemas::ProductId::new(format!("p{}", number % 5)).unwrap();
        log.sell(variant::Created { product_id, ..created(&format!("v{number}"), "lantern") });
    }
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    project(&mut model, &log.events);
    let (_, fields) = schema::build();
    let searcher = Index::open_in_dir(folder.path()).unwrap().reader().unwrap().searcher();
    let [segment] = searcher.segment_readers() else { panic!("one commit of few rows is one segment") };
    let products = (0..segment.max_doc()).map(|doc| {
        let document: TantivyDocument = searcher.doc(DocAddress::new(0, doc)).unwrap();
        let row: SearchDocument =
            serde_json::from_str(document.get_first(fields.row).and_then(|row| row.as_str()).unwrap())
                .unwrap();
        row.listing.unwrap().product_id.to_string()
    });
    assert!(products.collect::<Vec<_>>().is_sorted());
}

/// Ways to damage an index behind the model's back, by one document.
fn damage(folder: &std::path::Path, change: impl FnOnce(&IndexWriter, &schema::Fields)) {
    let (_, fields) = schema::build();
    let index = Index::open_in_dir(folder).unwrap();
    let payload = index.load_metas().unwrap().payload.unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 16_000_000).unwrap();
    change(&writer, &fields);
    let mut commit = writer.prepare_commit().unwrap();
    commit.set_payload(&payload);
    commit.commit().unwrap();
}

fn differing(actual: &Table, expected: &Table) -> Vec<String> {
    let differs = |a: &Table, b: &Table| -> Vec<String> {
        a.iter().filter(|row| !b.contains(row)).map(|(key, _)| key.clone()).collect()
    };
    let mut keys = differs(actual, expected);
    keys.extend(differs(expected, actual));
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[test]
fn damage_shows_in_the_scan_and_is_repaired() {
    let mut log = Log::default();
    ["a", "b", "c"].iter().for_each(|id| log.sell(created(id, "lantern")));
    log.order(1, &[("a", 5)]);
    let changed = |id: &str, change: &dyn Fn(&mut SearchDocument), rows: &Table| {
        let json = &rows.iter().find(|(key, _)| key == id).unwrap().1;
        let mut row: SearchDocument = serde_json::from_slice(json).unwrap();
        change(&mut row);
        row
    };
    type Change<'a> = Box<dyn Fn(&IndexWriter, &schema::Fields, &Table) + 'a>;
    let cases: Vec<(&str, Vec<&str>, Change<'_>)> = vec![
        ("deleted", vec!["b"], Box::new(|w, f, _| assert!(w.delete_term(key_term(f, "documents", "b")) > 0))),
        (
            "stale copy beside",
            vec!["a"],
            Box::new(|w, f, rows| {
                let stale = changed("a", &|row| row.in_stock = true, rows);
                w.add_document(schema::document(f, &stale)).unwrap();
            }),
        ),
        (
            "identical copy beside",
            vec!["a"],
            Box::new(|w, f, rows| {
                w.add_document(schema::document(f, &changed("a", &|_| {}, rows))).unwrap();
            }),
        ),
        (
            "extra",
            vec!["z"],
            Box::new(|w, f, rows| {
                let extra =
                    changed("c", &|row| row.variant_id = daybook_schemas::VariantId::new("z").unwrap(), rows);
                w.add_document(schema::document(f, &extra)).unwrap();
            }),
        ),
        (
            "row and copies differ",
            vec!["c"],
            Box::new(|w, f, rows| {
                let row = changed("c", &|_| {}, rows);
                let mut lying = TantivyDocument::new();
                lying.add_text(f.key, "dc");
                lying.add_text(f.row, schema::to_json(&row));
                w.delete_term(key_term(f, "documents", "c"));
                w.add_document(lying).unwrap();
            }),
        ),
    ];
    for (name, keys, change) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut model = open(folder.path());
        project(&mut model, &log.events);
        let expected = all_rows(&model);
        drop(model);
        damage(folder.path(), |writer, fields| change(writer, fields, &expected[0]));
        let mut model = open(folder.path());
        assert_eq!(differing(&all_rows(&model)[0], &expected[0]), keys, "{name}");
        let repairs: Vec<(RowKey, Option<Vec<u8>>)> = keys
            .iter()
            .map(|key| {
                let row = expected[0].iter().find(|(k, _)| k == key).map(|(_, json)| json.clone());
                (RowKey { table: "documents", key: (*key).to_owned() }, row)
            })
            .collect();
        model.repair(&repairs).unwrap();
        assert_eq!((all_rows(&model), model.checkpoint()), (expected, log.head()), "{name}");
        assert_eq!(search(&model, &[]).total, 3, "{name}");
        let access = model.snapshot().unwrap();
        assert!(access.get(&RowKey { table: "counters", key: "a".to_owned() }).unwrap().is_some());
        assert!(access.get(&RowKey { table: "documents", key: "z".to_owned() }).unwrap().is_none());
    }
}

#[test]
fn a_foreign_or_damaged_folder_is_refused() {
    let refused = |folder: &std::path::Path, generation: u64| match SearchModel::open(
        folder,
        SearchOptions { generation, ..SearchOptions::default() },
    ) {
        Err(StoreError::Damaged(text) | StoreError::Outdated(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    };
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("notes.txt"), "x").unwrap();
    assert!(refused(foreign.path(), 1).contains("no search index"));

    let other_schema = tempfile::tempdir().unwrap();
    Index::create_in_dir(other_schema.path(), tantivy::schema::Schema::builder().build()).unwrap();
    assert!(refused(other_schema.path(), 1).contains("another build"));

    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    log.sell(created("v", "lantern"));
    project(&mut model, &log.events);
    assert!(matches!(
        SearchModel::open(folder.path(), SearchOptions::default()),
        Err(StoreError::Unavailable(_))
    ));
    drop(model);
    assert!(refused(folder.path(), 2).contains("generation 1, not 2"));
    fs::write(folder.path().join("meta.json"), "{").unwrap();
    refused(folder.path(), 1);
}

#[test]
fn sales_rewrite_a_document_only_now_and_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = open(folder.path());
    let mut log = Log::default();
    log.sell(created("v", "lantern"));
    project(&mut model, &log.events);
    let mut popularities = std::collections::BTreeSet::new();
    for number in 0..200 {
        let from = log.events.len();
        log.order(number, &[("v", 1)]);
        project(&mut model, &log.events[from..]);
        popularities.insert(search(&model, &[]).hits[0].popularity);
    }
    assert_eq!(popularities.last(), Some(&192));
    assert!(popularities.len() <= 26, "{popularities:?}");
    let counter =
        model.snapshot().unwrap().get(&RowKey { table: "counters", key: "v".to_owned() }).unwrap().unwrap();
    assert_eq!(String::from_utf8(counter).unwrap(), r#"{"variant_id":"v","units":200}"#);
    assert_eq!(ids(&search(&model, &[])), ["v"]);
}
