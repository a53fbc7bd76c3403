//! The service Streams: each call handed to the module that does it.

use std::net::SocketAddr;
use std::sync::Arc;

use daybook_eventlog::EventLog;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::proto::streams::streams_server::Streams;
use crate::proto::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp,
    TombstoneReq, TombstoneResp,
};
use crate::write::Writer;
use crate::{append, batch, read};

/// How many replies may wait for a client.
const REPLIES: usize = 128;

/// What every call works with.
pub(crate) struct Context {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) writer: Writer,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) advertise: Option<SocketAddr>,
    /// Names this server among the members of its cluster.
    pub(crate) instance: Uuid,
}

impl Context {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        stop: watch::Receiver<bool>,
        advertise: Option<SocketAddr>,
    ) -> Self {
        let name = format!("daybook:{}:{advertise:?}", std::process::id());
        let instance = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
        Self { writer: Writer::new(log.clone()), log, stop, advertise, instance }
    }

    /// The time at which an event of a client is recorded, in microseconds since 1970.
    #[allow(
        clippy::disallowed_methods,
        clippy::unused_self,
        reason = "this server is the writer of its clients' events; no decision depends on the time"
    )]
    pub(crate) fn now_us(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Returns when the server is told to stop, or whoever could tell it is gone.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    let _told_or_gone = stop.wait_for(|stop| *stop).await;
}

/// What open calls end with when the server stops.
pub(crate) fn stopping() -> Status {
    Status::unavailable("the server is stopping")
}

/// The calls of `event_store.client.streams.Streams`.
pub(crate) struct StreamsService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Streams for StreamsService {
    type ReadStream = ReceiverStream<Result<ReadResp, Status>>;
    type BatchAppendStream = ReceiverStream<Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let plan = read::Plan::parse(request.into_inner())?;
        let (replies, received) = mpsc::channel(REPLIES);
        tokio::spawn(read::run(self.0.clone(), plan, replies));
        Ok(Response::new(ReceiverStream::new(received)))
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        tokio::select! {
            reply = append::append(&self.0, request.into_inner()) => reply.map(Response::new),
            () = stopped(self.0.stop.clone()) => Err(stopping()),
        }
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let (replies, received) = mpsc::channel(REPLIES);
        tokio::spawn(batch::batch_append(self.0.clone(), request.into_inner(), replies));
        Ok(Response::new(ReceiverStream::new(received)))
    }

    async fn delete(&self, _request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Err(never_deletes())
    }

    async fn tombstone(&self, _request: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        Err(never_deletes())
    }
}

fn never_deletes() -> Status {
    Status::unimplemented("a Daybook log never deletes: append an event that says what has ended")
}
