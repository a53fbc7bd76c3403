//! The same events give the same rows, byte by byte, and the same queries the same answers, on both engines.

use std::ops::Bound;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::rows::store::{Batch, Select};
use crate::rows::{RowStore, position_key};
use crate::testing::orders::{happenings, live};
use crate::testing::{World, dump};

/// Text as it may come from outside, with all that sorts oddly somewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,3}",
        "[a-cA-CäÄéz\u{0}\u{1}\u{2} _%'\"\\\\-]{0,4}",
        Just("\u{10ffff}".to_owned()),
        Just("\u{e000}".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = IndexValue> {
    prop_oneof![4 => text().prop_map(|text| IndexValue::from(text.as_str())), 1 => Just(IndexValue::Null)]
}

fn number() -> impl Strategy<Value = IndexValue> {
    prop_oneof![
        6 => (-3..4_i64).prop_map(IndexValue::Integer),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX)].prop_map(IndexValue::Integer),
        1 => Just(IndexValue::Null),
    ]
}

fn write() -> impl Strategy<Value = RowWrite> {
    let thing =
        (text(), value(), number(), "[a-z\u{0}\"]{0,5}").prop_map(|(key, colour, size, doc)| RowWrite {
            table: &THINGS,
            key: key.into(),
            change: RowChange::Upsert { doc: serde_json::to_vec(&doc).unwrap(), index: vec![colour, size] },
        });
    let event = (0..20_u64, value()).prop_map(|(position, kind)| RowWrite {
        table: &EVENTS,
        key: position_key(position),
        change: RowChange::Upsert { doc: b"{}".to_vec(), index: vec![kind] },
    });
    let replace = text().prop_map(|key| RowWrite {
        table: &THINGS,
        key: key.into(),
        change: RowChange::Replace { doc: b"[1]".to_vec() },
    });
    let delete =
        text().prop_map(|key| RowWrite { table: &THINGS, key: key.into(), change: RowChange::Delete });
    prop_oneof![6 => thing, 2 => event, 1 => replace, 1 => delete]
}

fn bound(value: impl Strategy<Value = IndexValue> + Clone) -> impl Strategy<Value = Bound<IndexValue>> {
    prop_oneof![
        value.clone().prop_map(Bound::Included),
        value.prop_map(Bound::Excluded),
        Just(Bound::Unbounded)
    ]
}

fn query() -> impl Strategy<Value = Select> {
    let text_value = text().prop_map(|text| IndexValue::from(text.as_str())).boxed();
    let number_value = number().boxed();
    let range = prop_oneof![
        Just(None),
        (bound(text_value.clone()), bound(text_value.clone())).prop_map(|(from, to)| Some(("key", from, to))),
        (bound(number_value.clone()), bound(number_value)).prop_map(|(from, to)| Some(("size", from, to))),
        (bound(text_value.clone()), bound(text_value)).prop_map(|(from, to)| Some(("colour", from, to))),
    ];
    let order =
        prop_oneof![Just(vec![]), Just(vec!["size"]), Just(vec!["colour"]), Just(vec!["colour", "size"])];
    (proptest::option::of(value()), range, order, any::<bool>(), 1..12_usize).prop_map(
        |(colour, range, order, descending, limit)| {
            let equals = colour.map(|colour| ("colour", colour)).into_iter().collect();
            Select { table: &THINGS, equals, range, order, descending, after: None, limit }
        },
    )
}

/// The values that a page is continued after.
fn place_of(select: &Select, key: &str, doc_of: &dyn Fn(&str) -> Vec<IndexValue>) -> Vec<IndexValue> {
    let index = doc_of(key);
    let of = |column: &&str| index[THINGS.column(column).unwrap()].clone();
    select.order.iter().map(of).chain([key.into()]).collect()
}

/// The last write of each key, in the order that commits have.
fn as_a_commit(mut writes: Vec<RowWrite>) -> Vec<RowWrite> {
    let mut last = std::collections::BTreeMap::new();
    for write in writes.drain(..) {
        last.insert((write.table.name, write.key.clone()), write);
    }
    last.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_query_means_the_same_on_both_engines(
        batches in proptest::collection::vec(proptest::collection::vec(write(), 1..30), 1..4),
        queries in proptest::collection::vec(query(), 30),
    ) {
        if postgres_url().is_none() {
            return Ok(());
        }
        let both = [On::Sqlite.stores(), On::Postgres.stores()];
        let mut opened: Vec<Box<dyn RowStore>> = both.iter().map(|stores| stores.open("test", SPEC)).collect();
        let mut index = std::collections::HashMap::new();
        for (writes, checkpoint) in batches.into_iter().zip(1..) {
            let writes = as_a_commit(writes);
            for write in &writes {
                if let RowChange::Upsert { index: values, .. } = &write.change {
                    index.insert((write.table.name, write.key.to_string()), values.clone());
                }
            }
            for store in &mut opened {
                store.commit(&Batch { checkpoint, writes: &writes, letters: &[] }).unwrap();
            }
        }
        let dumps: Vec<Vec<String>> = opened.iter().map(|store| dump(&*store.snapshot().unwrap())).collect();
        prop_assert_eq!(&dumps[0], &dumps[1]);
        let readers: Vec<_> = opened.iter().map(|store| store.reader()).collect();
        let doc_of = |key: &str| index[&("things", key.to_owned())].clone();
        for select in queries {
            let mut after = None;
            // Page after page, and what comes after a null as well.
            for _ in 0..4 {
                let page = select.clone().after(after.take());
                let answers: Vec<_> = readers
                    .iter()
                    .map(|reader| {
                        let rows = reader.begin().unwrap();
                        (rows.select(&page).unwrap(), rows.count(&page).unwrap())
                    })
                    .collect();
                prop_assert_eq!(&answers[0], &answers[1], "{:?}", page);
                let Some(last) = answers[0].0.last() else { break };
                after = Some(place_of(&select, &last.key, &doc_of));
            }
        }
        for prefix in ["", "a", "b", "A"] {
            for descending in [false, true] {
                let keys: Vec<_> = opened.iter_mut().map(|store| store.keys(&THINGS, prefix, descending, 5).unwrap()).collect();
                prop_assert_eq!(&keys[0], &keys[1]);
            }
        }
    }
}

proptest! {
    // Each makes fourteen stores.
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Every read model, whatever happened and wherever its commits fell.
    #[test]
    fn every_read_model_has_the_same_digest_on_both_engines(
        happenings in happenings(),
        page in 1..40_usize,
    ) {
        if postgres_url().is_none() {
            return Ok(());
        }
        let world = World::new();
        live(&world, &happenings);
        crate::testing::stock_and_variants(&world, happenings.len());
        let database = On::Postgres.stores();
        let mut rows = 0;
        for name in crate::standard::registry().kinds().iter().map(|kind| kind.name()) {
            let digests: Vec<(usize, String)> = [&world.stores, &database]
                .into_iter()
                .zip([4_096, page])
                .map(|(stores, page)| {
                    let rows = world.rows_of(name, stores, page);
                    let digest = Sha256::digest(rows.join("\n").as_bytes());
                    (rows.len(), daybook_schemas::configuration::hex(&digest))
                })
                .collect();
            prop_assert_eq!(&digests[0], &digests[1], "{}", name);
            rows += digests[0].0;
        }
        prop_assert!(rows > 3);
    }
}
