//! A client's connection: one that takes no byte of its answers is not waited for without end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

/// How long a client may take nothing once the server stops.
const AT_THE_END: Duration = Duration::from_secs(1);

/// What is known of a connection from outside.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// A request is being answered: its head is there, and its answer is not all handed over.
    answering: AtomicBool,
    /// The client does not take what is written.
    blocked: AtomicBool,
}

impl Progress {
    /// Whether nothing would be lost to a client if the connection ended now: at most it has sent a part of a head.
    pub(super) fn is_idle(&self) -> bool {
        !self.answering.load(Ordering::Relaxed) && !self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn set_answering(&self, answering: bool) {
        self.answering.store(answering, Ordering::Relaxed);
    }
}

/// A stream that fails with `TimedOut` when nothing could be written for as long as `patience`.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    stopping: watch::Receiver<bool>,
    progress: Arc<Progress>,
    /// Runs while the client takes nothing; and whether it is that of a server that stops.
    timer: Option<(Pin<Box<Sleep>>, bool)>,
}

impl<S> Patient<S> {
    pub(super) const fn new(
        stream: S,
        patience: Duration,
        stopping: watch::Receiver<bool>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { stream, patience, stopping, progress, timer: None }
    }

    fn timed<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.timer.take().is_some() {
                self.progress.blocked.store(false, Ordering::Relaxed);
            }
            return outcome;
        }
        let stopping = *self.stopping.borrow();
        if self.timer.as_ref().is_none_or(|(_, at_the_end)| stopping && !at_the_end) {
            let limit = if stopping { AT_THE_END.min(self.patience) } else { self.patience };
            self.timer = Some((Box::pin(tokio::time::sleep(limit)), stopping));
            self.progress.blocked.store(true, Ordering::Relaxed);
        }
        match self.timer.as_mut().map(|(timer, _)| timer.as_mut().poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.timed(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_be_slow_and_not_away() {
        let (near, mut far) = tokio::io::duplex(4);
        let (stop, stopping) = watch::channel(false);
        let progress = Arc::new(Progress::default());
        let mut patient = Patient::new(near, Duration::from_secs(10), stopping, Arc::clone(&progress));
        let writer = tokio::spawn(async move {
            let written = patient.write_all(b"twelve bytes").await;
            (patient, written)
        });
        let mut bytes = [0; 12];
        for half in bytes.chunks_mut(4) {
            tokio::time::sleep(Duration::from_secs(9)).await;
            far.read_exact(half).await.unwrap();
        }
        let (mut patient, written) = writer.await.unwrap();
        written.unwrap();
        assert!(progress.is_idle());
        let began = tokio::time::Instant::now();
        let error = patient.write_all(b"nobody takes this").await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
        assert!(!progress.is_idle());
        stop.send_replace(true);
        let began = tokio::time::Instant::now();
        patient.write_all(b"nor this").await.unwrap_err();
        assert_eq!(began.elapsed(), AT_THE_END);
    }
}
