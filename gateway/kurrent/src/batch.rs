//! The call BatchAppend: many writes pipelined on one call, each atomic, tried in the order in which they were
//! completed, replied to in that order. A refused write does not end the call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use daybook_eventlog::rules::MAX_APPEND_BYTES;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use prost::Message;
use prost_types::Any;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::event::{Proposed, parse_id, parse_stream, wire_revision};
use crate::proto::streams::batch_append_req::options::{DeadlineOption, ExpectedStreamPosition as Asked};
use crate::proto::streams::batch_append_req::{Options, ProposedMessage};
use crate::proto::streams::batch_append_resp::{ExpectedStreamPosition, Result as Outcome, Success, success};
use crate::proto::streams::{BatchAppendReq, BatchAppendResp};
use crate::proto::{rpc, shared};
use crate::service::{Context, stopped, stopping};
use crate::write::{Expectation, Refusal, Written};

/// How many writes may wait for the log; further ones wait in the connection.
const MAX_IN_FLIGHT: usize = 256;

/// How many unfinished writes, and how many bytes of them, a call may hold.
const MAX_UNFINISHED: usize = 1024;
const MAX_UNFINISHED_BYTES: usize = 8 * MAX_APPEND_BYTES;

/// A longer time limit is none: some clients send a point in time where the protocol wants a span.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

type Reply = Result<BatchAppendResp, Status>;

/// Takes writes until the client ends the call or the server stops; `replies` carries the outcomes.
pub(crate) async fn batch_append(
    context: Arc<Context>,
    requests: Streaming<BatchAppendReq>,
    replies: mpsc::Sender<Reply>,
) {
    let (tried, outcomes) = mpsc::channel(MAX_IN_FLIGHT);
    let replying = tokio::spawn(reply_in_order(outcomes, replies.clone()));
    let taken = tokio::select! {
        taken = take_writes(&context, requests, &tried) => taken,
        () = stopped(context.stop.clone()) => Err(stopping()),
        () = replies.closed() => Ok(()),
    };
    drop(tried);
    // What was tried is replied to before the call ends; the task ends by itself when the client is gone.
    if replying.await.is_ok()
        && let Err(status) = taken
    {
        let _client_is_gone = replies.send(Err(status)).await;
    }
}

async fn reply_in_order(
    mut outcomes: mpsc::Receiver<BoxFuture<'static, BatchAppendResp>>,
    replies: mpsc::Sender<Reply>,
) {
    while let Some(outcome) = outcomes.recv().await {
        if replies.send(Ok(outcome.await)).await.is_err() {
            return;
        }
    }
}

async fn take_writes(
    context: &Context,
    mut requests: Streaming<BatchAppendReq>,
    tried: &mpsc::Sender<BoxFuture<'static, BatchAppendResp>>,
) -> Result<(), Status> {
    let mut unfinished: HashMap<Uuid, Unfinished> = HashMap::new();
    let mut held = 0;
    while let Some(request) = requests.message().await? {
        let id = parse_id(request.correlation_id.as_ref())?;
        let write = unfinished.entry(id).or_insert_with(|| Unfinished {
            correlation: request.correlation_id.clone(),
            ..Default::default()
        });
        if let Some(options) = request.options {
            write.options = Some(options);
        }
        for message in request.proposed_messages {
            let event = proposed(message);
            write.bytes += event.len_bytes();
            held += event.len_bytes();
            if write.bytes <= MAX_APPEND_BYTES {
                write.events.push(event);
            } else {
                // Refused at its end, so that the other writes of the call go on.
                write.events.clear();
            }
        }
        if held > MAX_UNFINISHED_BYTES || unfinished.len() > MAX_UNFINISHED {
            return Err(Status::resource_exhausted("too many unfinished writes in one call"));
        }
        if request.is_final
            && let Some(write) = unfinished.remove(&id)
        {
            held -= write.bytes;
            if tried.send(write.begin(context).await).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn proposed(message: ProposedMessage) -> Proposed {
    Proposed {
        id: message.id,
        metadata: message.metadata,
        custom_metadata: message.custom_metadata,
        data: message.data,
    }
}

/// A write of which more is to come.
#[derive(Default)]
struct Unfinished {
    correlation: Option<shared::Uuid>,
    options: Option<Options>,
    events: Vec<Proposed>,
    bytes: usize,
}

impl Unfinished {
    /// Queues the write and gives the future of its reply.
    async fn begin(self, context: &Context) -> BoxFuture<'static, BatchAppendResp> {
        let options = self.options.unwrap_or_default();
        let address = Address {
            correlation: self.correlation,
            stream: options.stream_identifier.clone().unwrap_or_default(),
            asked: options.expected_stream_position,
        };
        let stream = parse_stream(options.stream_identifier.as_ref());
        let (stream, expectation) = match (stream, expectation(options.expected_stream_position)) {
            (Ok(stream), Ok(expectation)) => (stream, expectation),
            (Err(status), _) | (_, Err(status)) => {
                return ready(address.reply(Err(failed(&status)))).boxed();
            }
        };
        let outcome = if self.bytes > MAX_APPEND_BYTES {
            ready(Err(Refusal::TooLarge)).boxed()
        } else {
            context.writer.begin(stream, expectation, self.events, context.now_us()).await
        };
        let limit = time_limit(options.deadline_option.as_ref()).unwrap_or(LONGEST_DEADLINE);
        async move {
            let outcome = match tokio::time::timeout(limit, outcome).await {
                Ok(outcome) => outcome.map_err(|refusal| refused(refusal, expectation)),
                Err(_) => {
                    Err(with_details(Code::DeadlineExceeded, "Timeout", "Timeout", &shared::Timeout {}))
                }
            };
            address.reply(outcome)
        }
        .boxed()
    }
}

/// What a reply repeats of the request.
struct Address {
    correlation: Option<shared::Uuid>,
    stream: shared::StreamIdentifier,
    asked: Option<Asked>,
}

impl Address {
    fn reply(self, outcome: Result<Written, rpc::Status>) -> BatchAppendResp {
        let result = match outcome {
            Ok(written) => Outcome::Success(succeeded(written)),
            Err(status) => Outcome::Error(status),
        };
        let expected = self.asked.map(|asked| match asked {
            Asked::StreamPosition(last) => ExpectedStreamPosition::StreamPosition(last),
            Asked::NoStream(()) => ExpectedStreamPosition::NoStream(()),
            Asked::Any(()) => ExpectedStreamPosition::Any(()),
            Asked::StreamExists(()) => ExpectedStreamPosition::StreamExists(()),
        });
        BatchAppendResp {
            correlation_id: self.correlation,
            result: Some(result),
            stream_identifier: Some(self.stream),
            expected_stream_position: expected,
        }
    }
}

/// The span after which the client no longer waits. Points in time are the client's own affair: the clocks differ.
fn time_limit(option: Option<&DeadlineOption>) -> Option<Duration> {
    match option {
        Some(DeadlineOption::Deadline(span)) => {
            Duration::try_from(*span).ok().filter(|span| !span.is_zero() && *span <= LONGEST_DEADLINE)
        }
        Some(DeadlineOption::Deadline21100(_)) | None => None,
    }
}

fn expectation(asked: Option<Asked>) -> Result<Expectation, Status> {
    match asked {
        Some(Asked::StreamPosition(last)) => Ok(Expectation::Exact(last)),
        Some(Asked::NoStream(())) => Ok(Expectation::NoStream),
        Some(Asked::Any(())) => Ok(Expectation::Any),
        Some(Asked::StreamExists(())) => Ok(Expectation::StreamExists),
        None => Err(Status::invalid_argument("an append says which revision it expects")),
    }
}

fn succeeded(written: Written) -> Success {
    let current = match written.revision {
        0 => success::CurrentRevisionOption::NoStream(()),
        revision => success::CurrentRevisionOption::CurrentRevision(wire_revision(revision)),
    };
    let position = match written.position {
        Some(position) => success::PositionOption::Position(shared::AllStreamPosition {
            commit_position: position,
            prepare_position: position,
        }),
        None => success::PositionOption::NoPosition(()),
    };
    Success { current_revision_option: Some(current), position_option: Some(position) }
}

/// A refusal with the details that clients unpack.
fn refused(refusal: Refusal, expectation: Expectation) -> rpc::Status {
    match refusal {
        Refusal::WrongExpectation { current } => {
            let details = wrong_expectation(expectation, current);
            with_details(Code::AlreadyExists, "WrongExpectedVersion", "WrongExpectedVersion", &details)
        }
        Refusal::TooLarge => {
            let max = u32::try_from(MAX_APPEND_BYTES).expect("the limit is some MiB");
            let details = shared::MaximumAppendSizeExceeded { max_append_size: max };
            with_details(
                Code::InvalidArgument,
                "Maximum Append Size Exceeded",
                "MaximumAppendSizeExceeded",
                &details,
            )
        }
        Refusal::Failed(status) => failed(&status),
    }
}

fn failed(status: &Status) -> rpc::Status {
    if status.code() == Code::InvalidArgument {
        let details = shared::BadRequest { message: status.message().to_owned() };
        return with_details(Code::InvalidArgument, status.message(), "BadRequest", &details);
    }
    with_details(status.code(), status.message(), "Unknown", &shared::Unknown {})
}

fn wrong_expectation(expectation: Expectation, current: u64) -> shared::WrongExpectedVersion {
    use shared::wrong_expected_version::{
        CurrentStreamRevisionOption as Current, ExpectedStreamPositionOption as Expected,
    };
    let current = match current {
        0 => Current::CurrentNoStream(()),
        revision => Current::CurrentStreamRevision(wire_revision(revision)),
    };
    let expected = match expectation {
        Expectation::Exact(last) => Expected::ExpectedStreamPosition(last),
        Expectation::NoStream => Expected::ExpectedNoStream(()),
        Expectation::Any => Expected::ExpectedAny(()),
        Expectation::StreamExists => Expected::ExpectedStreamExists(()),
    };
    shared::WrongExpectedVersion {
        current_stream_revision_option: Some(current),
        expected_stream_position_option: Some(expected),
    }
}

/// `name` is that of the details' message in the protocol, by which clients know what to unpack.
fn with_details(code: Code, message: &str, name: &str, details: &impl Message) -> rpc::Status {
    let details = Any {
        type_url: format!("type.googleapis.com/event_store.client.{name}"),
        value: details.encode_to_vec(),
    };
    rpc::Status { code: code as i32, message: message.to_owned(), details: Some(details) }
}
