//! A bare HTTP/1.1 client: one keep-alive connection, one request at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::usage::Usage;

const HINTS: [&str; 4] = ["retry-after", "ratelimit", "ratelimit-policy", "daybook-position"];

/// Where a server is, and the API key to send.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    authorization: Arc<str>,
}

impl Target {
    /// With an API key, if the server wants one.
    #[must_use]
    pub fn new(address: SocketAddr, api_key: Option<&str>) -> Self {
        let authorization =
            api_key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
        Self { address, authorization: authorization.into() }
    }

    /// A new connection.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let mut connection = Connection::open(self.address).await.map_err(|error| {
            anyhow::Error::new(error).context(format!("no server answers at {}", self.address))
        })?;
        connection.authorization = Arc::clone(&self.authorization);
        Ok(connection)
    }

    /// The line of the request's head, with its end, or nothing.
    #[must_use]
    pub fn authorization_line(&self) -> String {
        self.authorization.to_string()
    }
}

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TcpStream,
    pub(super) received: Vec<u8>,
    authorization: Arc<str>,
}

/// An answer with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// What limits and retries are told by (`retry-after`, `ratelimit`, `ratelimit-policy`), and how current the answer of a
    /// query is (`daybook-position`), where they are sent.
    pub hints: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> io::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).map_err(invalid)
    }

    /// A header field of [`Answer::hints`].
    #[must_use]
    pub fn hint(&self, name: &str) -> Option<&str> {
        self.hints.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The stable code of a problem document.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        Some(self.json().ok()?.get("code")?.as_str()?.to_owned())
    }
}

fn hint(header: &httparse::Header<'_>) -> Option<(String, String)> {
    let name = HINTS.into_iter().find(|name| name.eq_ignore_ascii_case(header.name))?;
    Some((name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
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
        Ok(Self { stream, received: Vec::with_capacity(2_048), authorization: Arc::from("") })
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

    /// Sends a request in wire form and waits for the answer, of which a success is not looked at any further: `None`. Costs
    /// the generator of a load next to nothing.
    pub async fn send_unread(&mut self, request: &[u8]) -> io::Result<Option<Answer>> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(length) = whole_success(&self.received) {
                self.received.drain(..length);
                return Ok(None);
            }
            if let Some(answer) = self.take_answer()? {
                return Ok(Some(answer));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// `POST` of a JSON body.
    pub async fn post(&mut self, path: &str, body: &serde_json::Value) -> io::Result<Answer> {
        self.send(&self.own_request("POST", path, body.to_string().as_bytes())).await
    }

    /// `GET`.
    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(&self.own_request("GET", path, &[])).await
    }

    /// A request of JSON in wire form, with the target's API key.
    #[must_use]
    pub fn own_request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let headers = [("content-type", "application/json")];
        let key = self.authorization.trim_end().split_once(": ");
        request(method, path, &headers.into_iter().chain(key).collect::<Vec<_>>(), body)
    }

    pub(super) fn take_answer(&mut self) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(body_start) = head.parse(&self.received).map_err(invalid)? else {
            return Ok(None);
        };
        let field = |name: &str| {
            let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
        };
        let (body, end) = match field("content-length") {
            Some(length) => {
                let end = body_start + length.parse::<usize>().map_err(invalid)?;
                let Some(body) = self.received.get(body_start..end) else { return Ok(None) };
                (body.to_vec(), end)
            }
            None if field("transfer-encoding").as_deref() == Some("chunked") => {
                match chunked(&self.received[body_start..])? {
                    Some((body, length)) => (body, body_start + length),
                    None => return Ok(None),
                }
            }
            None => return Err(invalid("an answer of unknown length")),
        };
        let status = head.code.ok_or_else(|| invalid("an answer without status"))?;
        let hints = head.headers.iter().filter_map(hint).collect();
        self.received.drain(..end);
        Ok(Some(Answer { status, hints, body }))
    }
}

/// How many bytes the answer takes if it is a success, of known length, and all there.
fn whole_success(received: &[u8]) -> Option<usize> {
    if !received.starts_with(b"HTTP/1.1 2") {
        return None;
    }
    let head = memchr::memmem::find(received, b"\r\n\r\n")? + 4;
    const FIELD: &[u8] = b"\r\ncontent-length: ";
    let digits = &received[memchr::memmem::find(&received[..head], FIELD)? + FIELD.len()..head];
    let body = digits
        .iter()
        .map_while(|byte| char::from(*byte).to_digit(10))
        .try_fold(0_usize, |length, digit| length.checked_mul(10)?.checked_add(digit as usize))?;
    head.checked_add(body).filter(|whole| received.len() >= *whole)
}

/// The joined chunks and how many bytes they took; `None` if some are still to come.
fn chunked(mut rest: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (whole, mut body) = (rest.len(), Vec::new());
    loop {
        let httparse::Status::Complete((head, size)) =
            httparse::parse_chunk_size(rest).map_err(|_| invalid("a chunk without size"))?
        else {
            return Ok(None);
        };
        let size = usize::try_from(size).map_err(invalid)?;
        // A line end follows each chunk, the last and empty one too: trailers are not asked for.
        let Some(chunk) = rest.get(head..head + size + 2) else { return Ok(None) };
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[head + size + 2..];
        if size == 0 {
            return Ok(Some((body, whole - rest.len())));
        }
    }
}

/// The socket address of `http://HOST:PORT`.
pub fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .ok_or_else(|| Usage::of(anyhow::anyhow!("a server is given as http://HOST:PORT, got {url:?}")))?;
    host.to_socket_addrs()
        .map_err(|e| anyhow::anyhow!("server {url:?}: {e}"))?
        .next()
        .ok_or_else(|| anyhow::anyhow!("server {url:?} has no address"))
}

#[cfg(test)]
mod tests {
    use super::whole_success;

    #[test]
    fn only_a_whole_success_of_known_length_is_passed_over() {
        let answer =
            b"HTTP/1.1 201 Created\r\ncontent-length: 12\r\netag: \"1\"\r\n\r\n{\"a\": true}\nHTTP/1.1";
        let whole = answer.len() - b"HTTP/1.1".len();
        for length in 0..=answer.len() {
            let expected = (length >= whole).then_some(whole);
            assert_eq!(whole_success(&answer[..length]), expected, "{length} bytes");
        }
        // Left to the careful parser.
        for other in [
            &b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        ] {
            assert_eq!(whole_success(other), None);
        }
    }
}
