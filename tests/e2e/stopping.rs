//! SIGTERM: what was received is answered, and no client that is slow or silent holds the end up.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{DEADLINE, Server};

/// No setting ends what is under way before the 20 s that it has at a stop.
const FOR_EVER: &str =
    "[limits]\nheader_timeout_ms = 3600000\nbody_timeout_ms = 3600000\nwrite_timeout_ms = 3600000\n";

fn start(folder: &std::path::Path, settings: &str) -> Server {
    let file = folder.join("daybook.toml");
    std::fs::write(&file, settings).unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    Server::start_logged(&folder.join("data"), &arguments, &folder.join("log"))
}

async fn open(server: &Server, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn until(stream: &mut TcpStream, answer: &mut String, word: &str) {
    let mut bytes = [0; 4_096];
    while !answer.contains(word) {
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut bytes)).await;
        let length = read.expect("an answer").unwrap();
        assert!(length > 0, "it ended before {word}: {answer}");
        answer.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

const BATCH: &str = "POST /v1/commands HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";

fn receive(variant: &str) -> String {
    let line =
        json!({"aggregate": "inventory", "id": variant, "command": "receive", "data": {"quantity": 1}});
    format!("{line}\n")
}

/// The answers of a batch: each line's status and code.
fn results(answer: &str) -> Vec<(u64, u64, Option<String>)> {
    let lines = answer.lines().filter(|line| line.starts_with('{'));
    let values = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    values
        .map(|value| {
            let code = value["code"].as_str().map(str::to_owned);
            (value["line"].as_u64().unwrap(), value["status"].as_u64().unwrap(), code)
        })
        .collect()
}

/// Every kind of client that waits, or has the server wait, at once. For any of them the server would otherwise take the 20 s that it
/// has at most, and say so.
#[tokio::test]
async fn nobody_who_waits_holds_a_stop_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path(), FOR_EVER);
    let mut batch = open(&server, BATCH).await;
    let mut answered = String::new();
    batch.write_all(chunk(&receive("a")).as_bytes()).await.unwrap();
    batch.write_all(chunk(&(receive("b") + "{\"aggregate\": \"inven")).as_bytes()).await.unwrap();
    until(&mut batch, &mut answered, "\"line\":2").await;
    let body = open(
        &server,
        "POST /v1/commands/inventory/v/receive HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n\r\n{\"quantity\"",
    )
    .await;
    let mut events =
        open(&server, "GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n").await;
    let mut seen = String::new();
    until(&mut events, &mut seen, "inventory-b").await;
    // Longer than it waits for a position: asked again and again until the server stops.
    let polls = {
        let address = server.address;
        tokio::spawn(async move {
            loop {
                let Ok(mut stream) = TcpStream::connect(address).await else { return String::new() };
                let ask =
                    "GET /v1/orders?min_position=99999 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
                if stream.write_all(ask.as_bytes()).await.is_err() {
                    return String::new();
                }
                let answer = rest(stream).await;
                if !answer.contains("projection_behind") {
                    return answer;
                }
            }
        })
    };
    let head = open(&server, "GET /healthz HTTP/1.1\r\nhost: x\r\nhalf-a-he").await;
    let idle = open(&server, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // A reader of much that takes nothing of it.
    let mut lines = String::new();
    for n in 0..2_000 {
        lines.push_str(&receive(&format!("v-{n}")));
    }
    let mut client = server.connect().await;
    for _ in 0..8 {
        assert_eq!(client.send("POST", "/v1/commands", &[], lines.as_bytes()).await.status, 200);
    }
    let deaf =
        open(&server, "GET /v1/events?from=0 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n").await;
    deaf.readable().await.unwrap();

    server.terminate();
    let status = tokio::task::spawn_blocking(move || {
        let status = server.wait_for_exit();
        (server, status)
    });
    answered.push_str(&rest(batch).await);
    assert_eq!(
        results(&answered),
        [(1, 201, None), (2, 201, None), (3, 503, Some("unavailable".to_owned()))],
        "{answered}"
    );
    assert!(answered.ends_with("0\r\n\r\n"), "the answer came to its end: {answered}");
    let refused = rest(body).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("stopping"), "{refused}");
    assert!(rest(events).await.ends_with("0\r\n\r\n"), "the stream of events came to its end");
    let poll = polls.await.unwrap();
    assert!(poll.is_empty() || poll.starts_with("HTTP/1.1 503"), "{poll}");
    assert_eq!(rest(head).await, "");
    assert!(rest(idle).await.starts_with("HTTP/1.1 200"));
    let (_server, status) = status.await.unwrap();
    assert!(status.success(), "{status}");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("nothing is left undone") && !log.contains("still open"), "{log}");
    drop(deaf);
}

#[tokio::test]
async fn a_line_that_does_not_come_and_an_answer_that_is_not_taken_end_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "[limits]\nbody_timeout_ms = 300\nwrite_timeout_ms = 300\n");
    let mut batch = open(&server, BATCH).await;
    batch.write_all(chunk(&(receive("a") + "{\"aggreg")).as_bytes()).await.unwrap();
    let answered = rest(batch).await;
    assert_eq!(
        results(&answered),
        [(1, 201, None), (2, 408, Some("request_timeout".to_owned()))],
        "{answered}"
    );

    // It goes on sending, and reads nothing of what it is told. The server reads no more of it, and then closes.
    let mut deaf = open(&server, BATCH).await;
    let more = chunk(&"[]\n".repeat(10_000));
    let closed = async { while deaf.write_all(more.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(DEADLINE, closed).await.expect("the server closes the connection");
    server.stop();
}
