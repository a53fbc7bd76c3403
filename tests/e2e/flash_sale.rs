//! The simulations that ship with the product, run as their users run them.

use serde_json::json;

use crate::backend::{Backend, backend};
use crate::harness::{Server, run, run_json};

#[test]
fn simulations_hold_on_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for arguments in [
        &["simulate", "flash-sale", "--buyers", "2000", "--units", "100"][..],
        &["simulate", "bots"],
        &["simulate", "duplicate-config"],
        &["simulate", "outage", "--commands", "50"],
        &["simulate", "drift", "--share", "0.2", "--repair"],
        &["load", "--connections", "4", "--variants", "3", "--warm-up", "0", "--duration", "1"],
        &["load", "--connections", "4", "--rate", "200", "--warm-up", "0", "--duration", "1"],
    ] {
        let output = run(folder.path(), &[arguments, &["--server", &server.url()]].concat());
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        // The server's metrics say how long its commits took.
        assert!(arguments[0] != "load" || printed.contains("commits of the log: "), "{printed}");
    }
    server.stop();
}

#[tokio::test]
async fn drift_at_rest_is_found_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Nothing is made where there is nothing. A log on a server is there in any case, and takes a folder for its read models.
    let none = run(&data, &["simulate", "drift"]);
    assert_eq!(none.status.code(), Some(if backend() == Backend::Embedded { 2 } else { 1 }));
    assert!(!data.exists() || backend() != Backend::Embedded);
    let server = Server::start(&data);
    let mut client = server.connect().await;
    for n in 0..30 {
        let body = json!({"product_id": format!("p{n}"), "name": format!("Thing {n}"), "brand": "B", "category": "C", "attributes": []});
        client.command(&format!("variant/v{n}/create"), body).await;
        client.command(&format!("inventory/v{n}/receive"), json!({"quantity": 7})).await;
    }
    server.stop();
    for name in ["catalogue", "audit", "search"] {
        let report =
            run_json(&data, &["simulate", "drift", "--projection", name, "--share", "0.2", "--repair"]);
        let checks = report["checks"].as_array().unwrap();
        assert!(checks.len() == 3 && checks.iter().all(|check| check["held"] == true), "{name}: {report}");
    }
    let left = run_json(&data, &["simulate", "drift", "--share", "0.1"]);
    let checks = left["checks"].as_array().unwrap();
    assert!(checks.len() == 2 && checks.iter().all(|check| check["held"] == true), "{left}");
    // The damage stays until somebody repairs it, and a second drill on top of it is refused.
    assert_eq!(run(&data, &["reconcile"]).status.code(), Some(3));
    let again = run(&data, &["simulate", "drift"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("drifted already"), "{again:?}");
    assert_eq!(run(&data, &["reconcile", "--repair"]).status.code(), Some(3));
    assert_eq!(run(&data, &["reconcile"]).status.code(), Some(0));
}

#[test]
fn a_server_for_strangers_does_not_let_itself_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daybook.toml");
    std::fs::write(&file, "allow_drift_injection = false\n").unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    let server = Server::start_with(&folder.path().join("data"), &arguments);
    let output = run(folder.path(), &["simulate", "drift", "--server", &server.url()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("allow_drift_injection"), "{output:?}");
    server.stop();
}
