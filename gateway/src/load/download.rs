//! Long answers, written on as they come.

use std::io::{self, Write};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Answer, Connection};

/// How long nothing at all may come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What of the body is still to come.
enum Rest {
    Bytes(u64),
    Chunks(Chunk),
}

/// Where in a chunked body the next byte stands.
enum Chunk {
    /// Before the line with a chunk's size.
    Size,
    /// So many bytes before a chunk's end.
    Data(u64),
    /// Before the line end behind a chunk; of the last one if it was empty.
    End { last: bool },
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Writes what is here of so many bytes; how many these are.
fn take(here: &[u8], left: &mut u64, out: &mut dyn Write) -> io::Result<usize> {
    let length = usize::try_from(*left).map_or(here.len(), |left| left.min(here.len()));
    out.write_all(&here[..length])?;
    *left -= length as u64;
    Ok(length)
}

impl Connection {
    /// Sends a request and writes the body of a success to `out` as it comes, however long it is. An answer that is no success is
    /// given whole. Breaks off with an error if the body ends before its end.
    pub async fn send_into(&mut self, request: &[u8], out: &mut (dyn Write + Send)) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        let (status, mut rest) = loop {
            if let Some((status, length, rest)) = self.head()? {
                if !(200..300).contains(&status) {
                    break (status, None);
                }
                self.received.drain(..length);
                break (status, Some(rest));
            }
            self.read_more().await?;
        };
        let Some(rest) = &mut rest else {
            loop {
                if let Some(answer) = self.take_answer()? {
                    return Ok(answer);
                }
                self.read_more().await?;
            }
        };
        while !self.write_out(rest, out)? {
            self.read_more().await?;
        }
        Ok(Answer { status, hints: Vec::new(), body: Vec::new() })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received));
        match read.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Status, length of the head, and how the body comes, once the head is there.
    fn head(&self) -> io::Result<Option<(u16, usize, Rest)>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.received).map_err(|_| invalid("no answer of HTTP/1.1"))?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let status = head.code.ok_or_else(|| invalid("an answer without status"))?;
        let field = |name: &str| {
            let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let rest = match field("content-length") {
            Some(bytes) => Rest::Bytes(bytes.trim().parse().map_err(|_| invalid("a length that is none"))?),
            None => Rest::Chunks(Chunk::Size),
        };
        Ok(Some((status, length, rest)))
    }

    /// Writes what has come of the body; whether that was its end.
    fn write_out(&mut self, rest: &mut Rest, out: &mut dyn Write) -> io::Result<bool> {
        let mut at = 0;
        let ended = match rest {
            Rest::Bytes(left) => {
                at += take(&self.received, left, out)?;
                *left == 0
            }
            Rest::Chunks(chunk) => loop {
                match chunk {
                    Chunk::Data(left) => {
                        at += take(&self.received[at..], left, out)?;
                        if *left > 0 {
                            break false;
                        }
                        *chunk = Chunk::End { last: false };
                    }
                    Chunk::Size => {
                        let parsed = httparse::parse_chunk_size(&self.received[at..]);
                        match parsed.map_err(|_| invalid("a chunk without size"))? {
                            httparse::Status::Partial => break false,
                            httparse::Status::Complete((length, size)) => {
                                at += length;
                                *chunk =
                                    if size == 0 { Chunk::End { last: true } } else { Chunk::Data(size) };
                            }
                        }
                    }
                    // Trailers are not asked for.
                    Chunk::End { last } => match self.received[at..] {
                        [b'\r', b'\n', ..] => {
                            at += 2;
                            if *last {
                                break true;
                            }
                            *chunk = Chunk::Size;
                        }
                        [] | [b'\r'] => break false,
                        _ => return Err(invalid("a chunk of another length")),
                    },
                }
            },
        };
        self.received.drain(..at);
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What arrives of an answer that comes in pieces of this size, and that the server then closes.
    async fn receive(answer: &[u8], piece: usize) -> (io::Result<Answer>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pieces: Vec<Vec<u8>> = answer.chunks(piece).map(<[u8]>::to_vec).collect();
        let server = tokio::spawn(async move {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 3];
            stream.read_exact(&mut request).await.unwrap();
            for piece in pieces {
                stream.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut out = Vec::new();
        let answer = Connection::open(address).await.unwrap().send_into(b"ask", &mut out).await;
        server.await.unwrap();
        (answer, out)
    }

    #[tokio::test]
    async fn a_body_arrives_however_it_is_cut_and_never_passes_for_whole_without_its_end() {
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\nb\r\n two\r\nthree\r\n0\r\n\r\n";
        let known = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\none two\r\nthree";
        for (answer, body) in [(&chunked[..], &b"one two\r\nthree"[..]), (&known[..], b"one two\r\nthree")] {
            for piece in [1, 2, 7, answer.len()] {
                let (status, out) = receive(answer, piece).await;
                assert_eq!((status.unwrap().status, &out[..]), (200, body), "in pieces of {piece}");
            }
            for cut in 1..answer.len() {
                let (status, _) = receive(&answer[..cut], answer.len()).await;
                assert_eq!(status.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_is_no_body_to_be_written() {
        let (answer, out) = receive(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno", 5).await;
        assert_eq!((answer.unwrap().body, out), (b"no".to_vec(), Vec::new()));
    }
}
