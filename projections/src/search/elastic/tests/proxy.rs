//! A proxy that loses one request, before or after the server has seen it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which part of an exchange is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Request,
    Answer,
}

/// Counts exchanges, and cuts the connection in the one with a given number.
pub(super) struct Proxy {
    pub(super) url: String,
    pub(super) seen: Arc<AtomicUsize>,
}

impl Proxy {
    pub(super) fn new(server: &str, number: usize, lost: Lost) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.trim_start_matches("http://").to_owned();
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        // Ends with the test process: nothing tells the listener when the test is over.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (server, counter) = (server.clone(), Arc::clone(&counter));
                std::thread::spawn(move || {
                    // A connection that ends early is what this is for; said, since it may also be the server's doing.
                    if let Err(error) = exchange(&mut client.unwrap(), &server, &counter, number, lost) {
                        println!("the proxy gave up an exchange: {error}");
                    }
                });
            }
        });
        Self { url, seen }
    }
}

/// One request a connection.
fn exchange(
    client: &mut TcpStream,
    server: &str,
    seen: &AtomicUsize,
    number: usize,
    lost: Lost,
) -> std::io::Result<()> {
    let request = read_message(client)?;
    if request.is_empty() {
        return Ok(());
    }
    let this = seen.fetch_add(1, Ordering::SeqCst) == number;
    if this && lost == Lost::Request {
        return client.shutdown(Shutdown::Both);
    }
    let mut upstream = TcpStream::connect(server)?;
    let head = request.windows(2).position(|pair| pair == b"\r\n").unwrap_or(0);
    upstream.write_all(&request[..head])?;
    upstream.write_all(b"\r\nConnection: close")?;
    upstream.write_all(&request[head..])?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if !(this && lost == Lost::Answer) {
        client.write_all(&answer)?;
    }
    client.shutdown(Shutdown::Both)
}

/// Head and body of a message with a content length, or without a body.
fn read_message(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut byte = [0];
    while !message.ends_with(b"\r\n\r\n") {
        if from.read(&mut byte)? == 0 {
            return Ok(Vec::new());
        }
        message.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&message).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    from.read_exact(&mut body)?;
    message.extend(body);
    Ok(message)
}
