//! The same import gives the same read models on every event log and every engine, digest by digest.

use std::path::Path;

use serde_json::Value;

use crate::backend::{Backend, backend, postgres_url, read_model_settings, read_models_on_postgres};
use crate::harness::{binary, data_set, run_json, run_on, sample};

/// What is said of each table: projection, table, rows, digest.
fn tables(report: &Value) -> Vec<[String; 4]> {
    let mut tables = Vec::new();
    for projection in report["projections"].as_array().unwrap() {
        for table in projection["tables"].as_array().unwrap() {
            tables.push(
                [&projection["name"], &table["table"], &table["rows"], &table["digest"]]
                    .map(Value::to_string),
            );
        }
    }
    tables
}

/// Imports into a folder of its own on the embedded log and SQLite; the report and the digests.
fn embedded(data: &Path, file: &Path) -> (Value, Value) {
    let json = |arguments: &[&str]| -> Value {
        let output =
            binary().args(arguments).args(["--format", "json", "--data"]).arg(data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let report = json(&["import", "online-retail", file.to_str().unwrap()]);
    (report, json(&["projections", "digest", "--facts"]))
}

#[test]
fn the_sample_gives_the_read_models_of_the_embedded_log() {
    if backend() == Backend::Embedded && !read_models_on_postgres() {
        println!("skipped: it compares other backends with the embedded ones; set DAYBOOK_TEST_LOG");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (here, other) = (folder.path().join("embedded"), folder.path().join("other"));
    let file = sample();
    let mine = run_json(&other, &["import", "online-retail", file.to_str().unwrap()]);
    let (theirs, expected) = embedded(&here, &file);
    assert_eq!(mine, theirs, "the reports");
    let digests = run_json(&other, &["projections", "digest", "--facts"]);
    assert!(tables(&digests).len() > 8, "{digests}");
    assert_eq!(tables(&digests), tables(&expected));
    assert_eq!(run_json(&other, &["reconcile"])["clean"], true);
}

/// On one log even positions are the same, so that rows are equal byte by byte.
#[test]
fn read_models_on_postgresql_have_the_bytes_of_those_in_files() {
    let Some(url) = postgres_url() else { return };
    if backend() != Backend::Embedded {
        println!("skipped: it needs two logs with the same positions");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (files, server) = (folder.path().join("files"), folder.path().join("server"));
    embedded(&files, &sample());
    // The log alone moves over: what the read models say of it is built anew.
    std::fs::create_dir(&server).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-R").arg(files.join("log")).arg(&server).status().unwrap();
    assert!(copied.success());
    let digest = |data: &Path, settings: &[(&'static str, String)]| -> Value {
        let output = run_on(data, settings, &["projections", "digest", "--format", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let there = digest(&server, &read_model_settings(&url, &server));
    assert_eq!(tables(&digest(&files, &[])), tables(&there));
}

/// The whole data set, where it is at hand and time is: with `--ignored`, on the backends that the environment names.
#[test]
#[ignore = "minutes: the whole data set twice"]
fn the_whole_data_set_gives_the_read_models_of_the_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let (here, other) = (folder.path().join("embedded"), folder.path().join("other"));
    let file = data_set();
    let mine = run_json(&other, &["import", "online-retail", file.to_str().unwrap()]);
    let (theirs, expected) = embedded(&here, &file);
    assert_eq!(mine, theirs, "the reports");
    assert_eq!(tables(&run_json(&other, &["projections", "digest", "--facts"])), tables(&expected));
}
