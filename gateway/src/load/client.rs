//! A bare HTTP/1.1 client: one keep-alive connection, one request at a time.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer. The body is what `Content-Length` covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> io::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).map_err(invalid)
    }

    /// The stable code of a problem document.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        Some(self.json().ok()?.get("code")?.as_str()?.to_owned())
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A whole request in wire form, to be sent as often as wanted.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nhost: daybook\r\ncontent-length: {}\r\n", body.len())
            .into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(2_048) })
    }

    /// Sends a request in wire form and waits for the answer.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// `POST` of a JSON body.
    pub async fn post(&mut self, path: &str, body: &serde_json::Value) -> io::Result<Answer> {
        self.send(&request(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        ))
        .await
    }

    /// `GET`.
    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(&request("GET", path, &[], &[])).await
    }

    fn take_answer(&mut self) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(body_start) = head.parse(&self.received).map_err(invalid)? else {
            return Ok(None);
        };
        let length = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok())
            .ok_or_else(|| invalid("an answer without content-length"))?;
        let end = body_start + length;
        if self.received.len() < end {
            return Ok(None);
        }
        let status = head.code.ok_or_else(|| invalid("an answer without status"))?;
        let body = self.received[body_start..end].to_vec();
        self.received.drain(..end);
        Ok(Some(Answer { status, body }))
    }
}

/// The socket address of `http://HOST:PORT`.
pub fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(|| anyhow::anyhow!("a server is given as http://HOST:PORT, got {url:?}"))?;
    host.to_socket_addrs()
        .map_err(|e| anyhow::anyhow!("server {url:?}: {e}"))?
        .next()
        .ok_or_else(|| anyhow::anyhow!("server {url:?} has no address"))
}
