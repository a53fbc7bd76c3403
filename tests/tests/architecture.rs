//! The folders are the architecture: each layer imports only what lies below it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Who may import whom, apart from dev-dependencies.
const LAYERS: &[(&str, &[&str])] = &[
    ("daybook-schemas", &[]),
    ("daybook-eventlog", &[]),
    ("daybook-aggregates", &["daybook-schemas"]),
    ("daybook-commands", &["daybook-aggregates", "daybook-schemas", "daybook-eventlog"]),
    ("daybook-projections", &["daybook-schemas", "daybook-eventlog"]),
    (
        "daybook-replay",
        &[
            "daybook-eventlog",
            "daybook-schemas",
            "daybook-projections",
            "daybook-aggregates",
            "daybook-commands",
        ],
    ),
    ("daybook-kurrent", &["daybook-eventlog"]),
    (
        "daybook-gateway",
        &[
            "daybook-eventlog",
            "daybook-schemas",
            "daybook-projections",
            "daybook-aggregates",
            "daybook-commands",
            "daybook-replay",
            "daybook-kurrent",
        ],
    ),
    ("daybook-tests", &[]),
];

/// Crates that a layer must not use at all, and why.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("daybook-aggregates", "tokio", "decisions are synchronous"),
    ("daybook-aggregates", "rand", "decisions are deterministic"),
    ("daybook-schemas", "tokio", "the contract does no IO"),
    ("daybook-projections", "axum", "HTTP belongs to the gateway"),
    ("daybook-commands", "axum", "HTTP belongs to the gateway"),
    ("daybook-commands", "rusqlite", "commands never read a read model to decide"),
];

fn workspace() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let imports = |package: &Value| -> BTreeSet<String> {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|d| d["kind"].as_str() != Some("dev"))
            .map(|d| d["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    packages
        .iter()
        .map(|package| (package["name"].as_str().expect("a name").to_owned(), imports(package)))
        .collect()
}

#[test]
fn every_layer_imports_only_what_it_may() {
    let found = workspace();
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    for (package, imports) in &found {
        let allowed = LAYERS
            .iter()
            .find_map(|(name, allowed)| (name == package).then_some(*allowed))
            .unwrap_or_else(|| panic!("{package} is new: say in LAYERS what it may import"));
        for import in imports.iter().filter(|import| known.contains(import.as_str())) {
            assert!(allowed.contains(&import.as_str()), "{package} must not import {import}");
        }
    }
}

#[test]
fn layers_stay_free_of_what_does_not_belong_there() {
    let found = workspace();
    for (package, import, reason) in FORBIDDEN {
        assert!(!found[*package].contains(*import), "{package} uses {import}, but {reason}");
    }
}
