//! Copies of a running server's log and catalogue: the same as at rest, and never a part that passes for the whole.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Server, run, run_json};

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

async fn fill(server: &Server, variants: u32) {
    let mut client = server.connect().await;
    for n in 0..variants {
        let variant = json!({"product_id": "shirt", "name": "Shirt", "brand": "Weaver", "category": "Shirts",
            "attributes": [{"type": "size", "value": n.to_string()}], "price": {"amount": "5.00", "currency": "GBP"}});
        client.command(&format!("variant/v-{n}/create"), variant).await;
    }
}

#[tokio::test]
async fn a_servers_copies_are_those_of_its_folder_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copies) = (folder.path().join("data"), folder.path().join("copies"));
    std::fs::create_dir(&copies).unwrap();
    let server = Server::start(&data);
    fill(&server, 50).await;
    let url = server.url();
    let place = |name: &str| copies.join(name).to_str().unwrap().to_owned();
    let remote = |arguments: &[&str]| run(&data, &[arguments, &["--server", &url]].concat());
    // Those of one creation lie in one append, inside of which no copy begins.
    let event = run_json(&data, &["log", "stream", "variant-v-9", "--server", &url]);
    let position: u64 = event["position"].as_str().unwrap().parse().unwrap();
    let from: Vec<String> =
        [0, 9_999].into_iter().chain(position - 3..position + 3).map(|n| n.to_string()).collect();
    let copy = |name: &str, from: &str, more: &[&str]| {
        let file = place(&format!("{name}-{from}"));
        let output = run(&data, &[&["log", "export", &file, "--from", from], more].concat());
        match output.status.code() {
            Some(0) => Ok(std::fs::read(file).unwrap()),
            Some(2) => {
                let text = String::from_utf8(output.stderr).unwrap();
                let known = ["inside of an append", "beyond the head", "the log ends at"];
                assert!(known.iter().any(|reason| text.contains(reason)), "{text}");
                Err(2)
            }
            _ => panic!("{output:?}"),
        }
    };
    let remote_copies: Vec<_> = from.iter().map(|from| copy("remote", from, &["--server", &url])).collect();
    assert!(remote_copies[0].is_ok() && remote_copies[1].is_err());
    assert!(remote_copies[2..].iter().any(Result::is_ok) && remote_copies[2..].iter().any(Result::is_err));
    let again = remote(&["log", "export", &place("remote-0")]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(remote(&["export", "variants", "--out", &place("rows.ndjson")]).status.success());
    let piped = remote(&["export", "variants"]);
    server.stop();

    for (from, remote) in from.iter().zip(remote_copies) {
        assert!(copy("rest", from, &[]) == remote, "from {from}");
    }
    assert!(run(&data, &["export", "variants", "--out", &place("rows-at-rest.ndjson")]).status.success());
    let rows = std::fs::read(place("rows.ndjson")).unwrap();
    assert_eq!(rows.split(|byte| *byte == b'\n').count(), 51);
    assert!(rows == std::fs::read(place("rows-at-rest.ndjson")).unwrap());
    assert!(rows == piped.stdout);

    let restored = folder.path().join("restored");
    assert!(run(&restored, &["log", "import", &place("remote-0")]).status.success());
    let root = |data: &Path| run_json(data, &["verify"])["root"].clone();
    assert_eq!(root(&restored), root(&data));
    let left = names(&copies);
    assert!(left.iter().all(|name| !name.ends_with(".part")), "{left:?}");
}

/// Takes requests to `upstream`, and lets only so many bytes of each answer through.
async fn cutting(upstream: SocketAddr, after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(upstream).await.unwrap();
            let mut request = vec![0; 4_096];
            let length = client.read(&mut request).await.unwrap();
            server.write_all(&request[..length]).await.unwrap();
            let mut answer = vec![0; after];
            server.read_exact(&mut answer).await.unwrap();
            client.write_all(&answer).await.unwrap();
        }
    });
    address
}

/// Answers every request with these bytes as a whole body.
async fn saying(body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let _ = client.read(&mut request).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            client.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_does_not_come_to_its_end_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copies) = (folder.path().join("data"), folder.path().join("copies"));
    std::fs::create_dir(&copies).unwrap();
    let server = Server::start(&data);
    fill(&server, 30).await;
    let file = copies.join("copy");
    let file = file.to_str().unwrap();
    let failed = |arguments: &[&str], from: SocketAddr, word: &str| {
        let output = run(&data, &[arguments, &["--server", &format!("http://{from}")]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{output:?}");
        assert!(names(&copies).is_empty(), "{:?}", names(&copies));
    };
    for after in [0, 20, 400, 1_000] {
        let cut = cutting(server.address, after).await;
        failed(&["log", "export", file], cut, "not all of the server's answer");
    }
    // The request for the position before it is cut, too.
    failed(&["export", "variants", "--out", file], cutting(server.address, 20).await, "the server's answer");

    run(&data, &["log", "export", file, "--server", &server.url()]);
    let whole = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    for length in [0, 50, whole.len() - 48, whole.len() - 1] {
        failed(&["log", "export", file], saying(whole[..length].to_vec()).await, "no export");
    }
    failed(&["log", "export", file, "--from", "1"], saying(whole).await, "another position");
    server.stop();
}
