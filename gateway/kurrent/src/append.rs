//! The call Append: one write, its events streamed by the client.

use daybook_eventlog::rules::MAX_APPEND_BYTES;
use tonic::metadata::MetadataValue;
use tonic::{Status, Streaming};

use crate::event::{Proposed, parse_stream, wire_revision};
use crate::proto::shared::Empty;
use crate::proto::streams::append_req::options::ExpectedStreamRevision;
use crate::proto::streams::append_req::{self, Content};
use crate::proto::streams::append_resp::{
    self, Result as Outcome, Success, WrongExpectedVersion, success, wrong_expected_version as wrong,
};
use crate::proto::streams::{AppendReq, AppendResp};
use crate::service::Context;
use crate::write::{Expectation, Refusal, Written};

/// Reads the write to its end, tries it, and replies. A wrong expectation is a reply, not an error.
pub(crate) async fn append(
    context: &Context,
    mut requests: Streaming<AppendReq>,
) -> Result<AppendResp, Status> {
    let options = match requests.message().await?.and_then(|first| first.content) {
        Some(Content::Options(options)) => options,
        _ => return Err(Status::invalid_argument("an append begins with its options")),
    };
    let stream = parse_stream(options.stream_identifier.as_ref())?;
    let expectation = expectation(&options)?;
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(request) = requests.message().await? {
        let Some(Content::ProposedMessage(message)) = request.content else {
            return Err(Status::invalid_argument("the options of an append come once, before its events"));
        };
        let event = Proposed {
            id: message.id,
            metadata: message.metadata,
            custom_metadata: message.custom_metadata,
            data: message.data,
        };
        bytes += event.len_bytes();
        if bytes > MAX_APPEND_BYTES {
            return Err(too_large());
        }
        events.push(event);
    }
    let outcome = context.writer.begin(stream, expectation, events, context.now_us()).await.await;
    match outcome {
        Ok(written) => Ok(AppendResp { result: Some(Outcome::Success(success(written))) }),
        Err(Refusal::WrongExpectation { current }) => {
            let refused = wrong_expectation(expectation, current);
            Ok(AppendResp { result: Some(Outcome::WrongExpectedVersion(refused)) })
        }
        Err(Refusal::TooLarge) => Err(too_large()),
        Err(Refusal::Failed(status)) => Err(status),
    }
}

/// The status for more than the log takes at once, marked as clients look for it.
fn too_large() -> Status {
    let mut status = Status::invalid_argument(format!("an append of more than {MAX_APPEND_BYTES} bytes"));
    let marks = status.metadata_mut();
    marks.insert("exception", MetadataValue::from_static("maximum-append-size-exceeded"));
    marks.insert("maximum-append-size", MetadataValue::from(MAX_APPEND_BYTES as u64));
    status
}

fn expectation(options: &append_req::Options) -> Result<Expectation, Status> {
    match options.expected_stream_revision {
        Some(ExpectedStreamRevision::Revision(last)) => Ok(Expectation::Exact(last)),
        Some(ExpectedStreamRevision::NoStream(_)) => Ok(Expectation::NoStream),
        Some(ExpectedStreamRevision::Any(_)) => Ok(Expectation::Any),
        Some(ExpectedStreamRevision::StreamExists(_)) => Ok(Expectation::StreamExists),
        None => Err(Status::invalid_argument("an append says which revision it expects")),
    }
}

fn success(written: Written) -> Success {
    let current = match written.revision {
        0 => success::CurrentRevisionOption::NoStream(Empty {}),
        revision => success::CurrentRevisionOption::CurrentRevision(wire_revision(revision)),
    };
    let position = match written.position {
        Some(position) => success::PositionOption::Position(append_resp::Position {
            commit_position: position,
            prepare_position: position,
        }),
        None => success::PositionOption::NoPosition(Empty {}),
    };
    Success { current_revision_option: Some(current), position_option: Some(position) }
}

/// The refusal for clients up to 20.6.0 and for later ones.
fn wrong_expectation(expectation: Expectation, current: u64) -> WrongExpectedVersion {
    use wrong::{
        CurrentRevisionOption as Current, CurrentRevisionOption2060 as OldCurrent,
        ExpectedRevisionOption as Expected, ExpectedRevisionOption2060 as OldExpected,
    };
    let (current, old_current) = match current {
        0 => (Current::CurrentNoStream(Empty {}), OldCurrent::NoStream2060(Empty {})),
        revision => {
            let last = wire_revision(revision);
            (Current::CurrentRevision(last), OldCurrent::CurrentRevision2060(last))
        }
    };
    let (expected, old_expected) = match expectation {
        Expectation::Exact(last) => {
            (Expected::ExpectedRevision(last), Some(OldExpected::ExpectedRevision2060(last)))
        }
        Expectation::NoStream => (Expected::ExpectedNoStream(Empty {}), None),
        Expectation::Any => (Expected::ExpectedAny(Empty {}), Some(OldExpected::Any2060(Empty {}))),
        Expectation::StreamExists => {
            (Expected::ExpectedStreamExists(Empty {}), Some(OldExpected::StreamExists2060(Empty {})))
        }
    };
    WrongExpectedVersion {
        current_revision_option_20_6_0: Some(old_current),
        expected_revision_option_20_6_0: old_expected,
        current_revision_option: Some(current),
        expected_revision_option: Some(expected),
    }
}
