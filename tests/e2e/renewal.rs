//! Read models that can't be read: what is damaged waits for an operator, what another version has left is built anew.

use serde_json::{Value, json};

use crate::backend::read_models_on_postgres;
use crate::harness::{Server, run};

/// A read model whose file is ruined takes only its own queries away, says what to do, and that helps.
#[tokio::test]
async fn a_ruined_read_model_is_rebuilt_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 5})).await;
    server.stop();
    for ending in ["", "-wal", "-shm"] {
        let file = folder.path().join(format!("projections/inventory@1.sqlite{ending}"));
        if file.exists() {
            std::fs::write(&file, "no database at all, but long enough to look like the head of one")
                .unwrap();
        }
    }
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    let answer = client.send("GET", "/v1/inventory/v", &[], &[]).await;
    assert_eq!((answer.status, answer.code().as_deref()), (503, Some("projection_halted")));
    let detail = answer.json().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("daybook projections rebuild"), "{detail}");
    assert_eq!(client.status("/readyz").await, 503);
    assert_eq!(client.get("/v1/orders").await["orders"], json!([]));
    let rebuilt = run(folder.path(), &["projections", "rebuild", "inventory", "--server", &server.url()]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    assert_eq!(client.get("/v1/inventory/v").await["on_hand"], 5);
    assert_eq!(client.status("/readyz").await, 200);
    server.stop();
}

/// After an upgrade read models can be of a form that the program does not read any more. It builds them anew by itself.
#[tokio::test]
async fn read_models_of_another_version_are_built_anew_by_themselves() {
    if read_models_on_postgres() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect().await;
    client.command("inventory/v/receive", json!({"quantity": 5})).await;
    server.until_projected().await;
    server.stop();
    let stores = folder.path().join("projections");
    rusqlite::Connection::open(stores.join("inventory@1.sqlite"))
        .unwrap()
        .execute("UPDATE daybook_meta SET value = 'another' WHERE name = 'fingerprint'", ())
        .unwrap();
    let index = stores.join("search@1/meta.json");
    let mut meta: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let mut payload: Value = serde_json::from_str(meta["payload"].as_str().unwrap()).unwrap();
    payload["format"] = json!(0);
    meta["payload"] = json!(payload.to_string());
    std::fs::write(&index, meta.to_string()).unwrap();

    let server = Server::start(folder.path());
    server.until_ready().await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/v1/inventory/v").await["on_hand"], 5);
    let list = client.get("/v1/projections").await;
    let generations: Vec<_> = list["projections"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["generation"] != 1)
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(generations, ["inventory", "search"]);
    let swaps = client.get("/v1/events?type=operations.projection_swapped").await;
    assert_eq!(swaps["events"].as_array().unwrap().len(), 2);
    server.stop();
}
