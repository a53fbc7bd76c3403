//! Splits a request body into lines with a bound on each.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use tokio::time::timeout;

use super::extract::too_slow;
use super::problem::Problem;

struct State {
    chunks: axum::body::BodyDataStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been looked at for a line feed.
    searched: usize,
    ended: bool,
}

/// The non-empty lines of a body, in order. A line over `limit` bytes, a body that breaks off, or one of which nothing comes for
/// `patience` while it is waited for, is the last item.
pub(super) fn lines(
    body: Body,
    limit: usize,
    patience: Duration,
) -> impl Stream<Item = Result<Vec<u8>, Problem>> + Send {
    let state = State { chunks: body.into_data_stream(), buffer: Vec::new(), searched: 0, ended: false };
    futures::stream::unfold(state, move |mut state| async move {
        loop {
            if let Some(line) = state.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some((Ok(line), state));
            }
            if state.ended {
                return None;
            }
            if state.buffer.len() > limit {
                state.give_up();
                return Some((Err(Problem::invalid(format!("a line is at most {limit} bytes"))), state));
            }
            let Ok(chunk) = timeout(patience, state.chunks.next()).await else {
                state.give_up();
                return Some((Err(too_slow(patience)), state));
            };
            match chunk {
                Some(Ok(chunk)) => state.push(&chunk),
                Some(Err(_)) => {
                    state.give_up();
                    return Some((Err(Problem::invalid("the request body broke off")), state));
                }
                None => {
                    state.ended = true;
                    state.buffer.push(b'\n');
                }
            }
        }
    })
}

impl State {
    /// Nothing more is read, and what was read is dropped.
    fn give_up(&mut self) {
        self.ended = true;
        self.buffer.clear();
        self.searched = 0;
    }

    fn push(&mut self, chunk: &Bytes) {
        self.buffer.extend_from_slice(chunk);
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(offset) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + offset;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(end);
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(text: &str, limit: usize) -> Vec<Result<String, &'static str>> {
        let chunks: Vec<Result<Bytes, std::io::Error>> =
            text.as_bytes().chunks(3).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        lines(Body::from_stream(futures::stream::iter(chunks)), limit, Duration::from_secs(60))
            .map(|line| line.map(|l| String::from_utf8(l).unwrap()).map_err(|p| p.code))
            .collect()
            .await
    }

    #[tokio::test]
    async fn lines_come_in_order_without_blank_ones() {
        assert_eq!(
            collect("one\n\ntwo\r\nthree", 10).await,
            [Ok("one".into()), Ok("two\r".into()), Ok("three".into())]
        );
        assert!(collect("", 10).await.is_empty());
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_ends_with_a_problem_after_what_came() {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"one\ntw"))]);
        let body = Body::from_stream(first.chain(futures::stream::pending()));
        let lines: Vec<_> = lines(body, 10, Duration::from_millis(10)).collect().await;
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].as_deref().unwrap(), b"one");
        assert_eq!(lines[1].as_ref().unwrap_err().code, "request_timeout");
    }

    #[tokio::test]
    async fn a_line_over_the_limit_ends_the_body() {
        assert_eq!(collect("ok\n0123456789ab\nmore", 6).await, [Ok("ok".into()), Err("invalid_request")]);
    }
}
