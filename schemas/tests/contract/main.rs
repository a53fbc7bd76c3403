//! The tests of the contract over its files: JSON Schemas, golden fixtures; and of its codec over any values.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect is to fail")]

mod codec;
mod compatibility;
mod configuration;
mod fixtures;
mod json_schemas;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use daybook_schemas::EventSpec;

/// A folder of this crate.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// `aggregate/event.v1` for every version of every event that was ever written.
fn versions() -> Vec<(EventSpec, u16, String)> {
    let mut all = Vec::new();
    for spec in daybook_schemas::catalogue::specs() {
        let event = spec.wire_name.split_once('.').expect("wire names have a dot").1;
        for version in 1..=spec.version {
            all.push((spec, version, format!("{}/{event}.v{version}", spec.aggregate)));
        }
    }
    all
}

/// Every file below a folder, relative to it.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for aggregate in std::fs::read_dir(root).expect("the folder is checked in") {
        let aggregate = aggregate.expect("a readable folder").path();
        for file in std::fs::read_dir(&aggregate).expect("a folder an aggregate") {
            let path = file.expect("a readable folder").path();
            let relative = path.strip_prefix(root).expect("below the root");
            found.insert(relative.to_str().expect("plain names").to_owned());
        }
    }
    found
}
