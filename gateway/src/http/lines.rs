//! Splits a request body into lines with a bound on each.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::extract::{server_stops, too_slow};
use super::problem::Problem;

struct State {
    chunks: axum::body::BodyDataStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been looked at for a line feed.
    searched: usize,
    ended: bool,
    stopping: watch::Receiver<bool>,
    /// Bytes that came after the server was told to stop.
    late: usize,
}

/// The non-empty lines of a body, in order. A line over `limit` bytes, a body that breaks off, or a line that does not come to its end
/// within `patience` while it is waited for, is the last item. So it is when the server stops: what is there already is still taken,
/// at most `limit` bytes of it, and then nothing is waited for.
pub(super) fn lines(
    body: Body,
    limit: usize,
    patience: Duration,
    stopping: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Vec<u8>, Problem>> + Send {
    let chunks = body.into_data_stream();
    let state = State { chunks, buffer: Vec::new(), searched: 0, ended: false, stopping, late: 0 };
    futures::stream::unfold(state, move |mut state| async move {
        let mut deadline = Instant::now() + patience;
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
            if state.late > limit {
                state.give_up();
                return Some((Err(server_stops()), state));
            }
            let mut stopping = state.stopping.clone();
            let chunk = tokio::select! {
                biased;
                chunk = timeout_at(deadline, state.chunks.next()) => chunk,
                _ = stopping.wait_for(|stopping| *stopping) => {
                    state.give_up();
                    return Some((Err(server_stops()), state));
                }
            };
            let Ok(chunk) = chunk else {
                state.give_up();
                return Some((Err(too_slow(patience)), state));
            };
            // Whoever reads the results did not ask for a line for so long: that is not held against what was there.
            let now = Instant::now();
            if now > deadline {
                deadline = now + patience;
            }
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
        if *self.stopping.borrow() {
            self.late += chunk.len();
        }
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
        let (_running, stopping) = watch::channel(false);
        lines(Body::from_stream(futures::stream::iter(chunks)), limit, Duration::from_secs(60), stopping)
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
        let (_running, stopping) = watch::channel(false);
        let lines: Vec<_> = lines(body, 10, Duration::from_millis(10), stopping).collect().await;
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].as_deref().unwrap(), b"one");
        assert_eq!(lines[1].as_ref().unwrap_err().code, "request_timeout");
    }

    /// A byte now and then keeps no line open.
    #[tokio::test(start_paused = true)]
    async fn a_line_has_to_come_to_its_end_in_time() {
        let trickle = futures::stream::unfold(0_u32, |n| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(if n == 8 { b"\n" } else { b"x" })), n + 1))
        });
        let (_running, stopping) = watch::channel(false);
        let body = Body::from_stream(trickle);
        let lines: Vec<_> = lines(body, 100, Duration::from_millis(9_500), stopping).collect().await;
        assert_eq!(lines[0].as_deref().unwrap(), b"xxxxxxxx");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].as_ref().unwrap_err().code, "request_timeout");
    }

    #[tokio::test]
    async fn a_stop_takes_what_is_there_and_waits_for_nothing() {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"one\ntwo\nthr"))]);
        let body = Body::from_stream(first.chain(futures::stream::pending()));
        let (running, stopping) = watch::channel(false);
        let mut lines = std::pin::pin!(lines(body, 1_000, Duration::from_secs(3_600), stopping));
        assert_eq!(lines.next().await.unwrap().unwrap(), b"one");
        running.send(true).unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"two");
        assert_eq!(lines.next().await.unwrap().unwrap_err().code, "unavailable");
        assert!(lines.next().await.is_none());
    }

    /// A client that never stops sending does not hold the stop up.
    #[tokio::test]
    async fn a_stop_ends_a_body_that_does_not_end() {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"more\n")));
        let (_running, stopping) = watch::channel(true);
        let body = Body::from_stream(endless);
        let lines: Vec<_> = lines(body, 1_000, Duration::from_secs(3_600), stopping).collect().await;
        assert!(lines.len() < 300, "{}", lines.len());
        assert_eq!(lines.last().unwrap().as_ref().unwrap_err().code, "unavailable");
    }

    #[tokio::test]
    async fn a_line_over_the_limit_ends_the_body() {
        assert_eq!(collect("ok\n0123456789ab\nmore", 6).await, [Ok("ok".into()), Err("invalid_request")]);
    }
}
