//! What is shipped for deployment is what this binary understands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::harness::binary;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// What `daybook config` makes of a file, as JSON text.
fn config(file: &Path, environment: &[(String, String)]) -> String {
    let output = binary()
        .args(["config", "--format", "json", "--config"])
        .arg(file)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn setting(config: &str, name: &str) -> Value {
    let config: Value = serde_json::from_str(config).unwrap();
    config["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["setting"] == name)
        .unwrap_or_else(|| panic!("{name}"))["value"]
        .clone()
}

#[test]
fn every_example_of_a_configuration_is_one() {
    let url =
        |backend| if backend == "postgres" { "postgres://daybook:hunter2@postgres/daybook" } else { "" };
    for (name, backend) in [
        ("embedded", "segment"),
        ("postgres", "postgres"),
        ("kurrent", "kurrent"),
        ("kurrent-server", "segment"),
        ("full", "postgres"),
    ] {
        let environment = match url(backend) {
            "" => Vec::new(),
            url => vec![("DAYBOOK_LOG_URL".to_owned(), url.to_owned())],
        };
        let shown = config(&deploy().join(format!("examples/{name}.toml")), &environment);
        assert_eq!(setting(&shown, "log.backend"), backend, "{name}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let environment = [("DAYBOOK_LOG_URL".to_owned(), url("postgres").to_owned())];
    let full = config(&deploy().join("examples/full.toml"), &environment);
    assert_eq!(setting(&full, "search.backend"), "elasticsearch");
    assert_eq!(setting(&full, "relay.url"), "nats://nats:4222");
    let files = std::fs::read_dir(deploy().join("examples")).unwrap().count();
    assert_eq!(files, 5, "an example that is not tested");
}

fn keys(map: &Yaml) -> BTreeSet<String> {
    map.as_hash()
        .map(|hash| hash.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}

/// A field of a service, its own or merged in.
fn field<'y>(service: &'y Yaml, name: &str) -> &'y Yaml {
    if service[name].is_badvalue() { &service["<<"][name] } else { &service[name] }
}

#[test]
fn the_compose_file_holds_together_and_its_gateways_start_with_a_valid_configuration() {
    let text = std::fs::read_to_string(deploy().join("compose.yaml")).unwrap();
    let compose = YamlLoader::load_from_str(&text).unwrap().remove(0);
    let services = keys(&compose["services"]);
    for name in ["gateway-a", "gateway-b", "postgres", "kurrentdb", "nats", "elasticsearch"] {
        assert!(services.contains(name), "{name}");
    }
    let mut mounted = Vec::new();
    for name in &services {
        let service = &compose["services"][name.as_str()];
        assert!(!field(service, "image").is_badvalue(), "{name} has no image");
        for volume in field(service, "volumes").as_vec().into_iter().flatten() {
            let volume = volume.as_str().unwrap().split(':').next().unwrap().to_owned();
            assert!(keys(&compose["volumes"]).contains(&volume), "{name}: {volume}");
            mounted.push(volume);
        }
        for needed in keys(field(service, "depends_on")) {
            assert!(services.contains(&needed), "{name}: {needed}");
            assert!(
                !compose["services"][needed.as_str()]["healthcheck"].is_badvalue(),
                "{needed} tells no health"
            );
        }
    }
    let different: BTreeSet<_> = mounted.iter().collect();
    assert_eq!(different.len(), mounted.len(), "two services share a folder");

    let gateway = &compose["services"]["gateway-a"];
    let dockerfile = field(gateway, "build")["dockerfile"].as_str().unwrap();
    assert!(deploy().join("..").join(dockerfile).is_file());
    let file = deploy().join(compose["configs"]["daybook"]["file"].as_str().unwrap());
    for name in ["gateway-a", "gateway-b"] {
        let prefix = &compose["services"][name]["environment"]["DAYBOOK_SEARCH_PREFIX"];
        assert!(prefix.is_badvalue(), "the gateways share an index");
    }
    let environment: Vec<_> = compose["x-log-url"]
        .as_hash()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().unwrap();
            // The one variable that is to be set, with the text of its complaint.
            let (before, rest) = value.split_once("${POSTGRES_PASSWORD").unwrap();
            let after = rest.split_once('}').unwrap().1;
            (name.as_str().unwrap().to_owned(), format!("{before}hunter2{after}"))
        })
        .collect();
    let shown = config(&file, &environment);
    assert_eq!(setting(&shown, "log.backend"), "postgres");
    assert_eq!(setting(&shown, "log.url"), "postgres://daybook:***@postgres:5432/daybook");
    let users = setting(&shown, "api_keys");
    assert!(!users.as_array().unwrap().is_empty(), "a gateway for strangers needs keys");
}

#[test]
fn docker_compose_takes_the_file() {
    let there = Command::new("docker").args(["compose", "version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no docker compose");
        return;
    }
    let output = Command::new("docker")
        .args(["compose", "--file", "compose.yaml", "--env-file", "secrets.example.env", "config", "--quiet"])
        .current_dir(deploy())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
