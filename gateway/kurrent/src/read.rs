//! The call Read: what the client asks for, and reads that end. Subscriptions are in [`crate::follow`].

use std::sync::Arc;

use daybook_eventlog::{Filter, Position, RecordedEvent, Revision, StreamId};
use tokio::sync::mpsc;
use tonic::Status;

use crate::backwards;
use crate::event::{parse_stream, stream_to_proto, to_reply, wire_revision};
use crate::filter::EventFilter;
use crate::follow;
use crate::proto::streams::read_req::Options;
use crate::proto::streams::read_req::options::all_options::AllOption;
use crate::proto::streams::read_req::options::stream_options::RevisionOption;
use crate::proto::streams::read_req::options::uuid_option::Content as UuidContent;
use crate::proto::streams::read_req::options::{
    AllOptions, CountOption, FilterOption, ReadDirection, StreamOption, StreamOptions,
};
use crate::proto::streams::read_resp::{Content, StreamNotFound};
use crate::proto::streams::{ReadReq, ReadResp};
use crate::service::{Context, stopped, stopping};
use crate::write::read_status;

/// How many events, and about how many bytes of them, are read from the log at once.
pub(crate) const PAGE_EVENTS: usize = 512;
pub(crate) const PAGE_BYTES: usize = 4 << 20;

/// Where a read begins, in the unit of what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Start,
    At(u64),
    End,
}

pub(crate) enum Source {
    Stream(StreamId),
    All(Option<EventFilter>),
}

enum Extent {
    Forwards(u64),
    Backwards(u64),
    Following,
}

/// A read as asked for.
pub(crate) struct Plan {
    source: Source,
    from: From,
    extent: Extent,
    structured_ids: bool,
    /// Whether the client knows the messages that came after version 20.10.
    modern: bool,
}

/// Why a read ended early.
pub(crate) enum Ended {
    Failed(Status),
    ClientIsGone,
}

impl std::convert::From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

impl Plan {
    pub(crate) fn parse(request: ReadReq) -> Result<Self, Status> {
        let Some(options) = request.options else {
            return Err(Status::invalid_argument("a read has options"));
        };
        let backwards = options.read_direction() == ReadDirection::Backwards;
        let extent = match (&options.count_option, backwards) {
            (Some(CountOption::Count(count)), false) => Extent::Forwards(*count),
            (Some(CountOption::Count(count)), true) => Extent::Backwards(*count),
            (Some(CountOption::Subscription(_)), false) => Extent::Following,
            (Some(CountOption::Subscription(_)), true) => {
                return Err(Status::invalid_argument("a subscription reads forwards"));
            }
            (None, _) => return Err(Status::invalid_argument("a read has a count or is a subscription")),
        };
        let structured_ids = matches!(
            options.uuid_option.as_ref().and_then(|option| option.content.as_ref()),
            Some(UuidContent::Structured(_))
        );
        let modern = options.control_option.as_ref().is_some_and(|control| control.compatibility >= 1);
        let (source, from) = parse_source(options)?;
        Ok(Self { source, from, extent, structured_ids, modern })
    }
}

fn parse_source(options: Options) -> Result<(Source, From), Status> {
    match options.stream_option {
        Some(StreamOption::Stream(StreamOptions { stream_identifier, revision_option })) => {
            let from = match revision_option {
                Some(RevisionOption::Revision(revision)) => From::At(revision),
                Some(RevisionOption::End(_)) => From::End,
                Some(RevisionOption::Start(_)) | None => From::Start,
            };
            Ok((Source::Stream(parse_stream(stream_identifier.as_ref())?), from))
        }
        Some(StreamOption::All(AllOptions { all_option })) => {
            let from = match all_option {
                Some(AllOption::Position(position)) => From::At(position.commit_position),
                Some(AllOption::End(_)) => From::End,
                Some(AllOption::Start(_)) | None => From::Start,
            };
            let filter = match options.filter_option {
                Some(FilterOption::Filter(filter)) => Some(EventFilter::parse(filter)?),
                Some(FilterOption::NoFilter(_)) | None => None,
            };
            Ok((Source::All(filter), from))
        }
        None => Err(Status::invalid_argument("a read is of a stream or of $all")),
    }
}

/// Reads until all is read, the client is gone or the server stops.
pub(crate) async fn run(context: Arc<Context>, plan: Plan, replies: mpsc::Sender<Result<ReadResp, Status>>) {
    let reader = Reader { context: &context, replies: &replies, structured_ids: plan.structured_ids };
    let ended = tokio::select! {
        ended = reader.read(&plan) => ended,
        () = stopped(context.stop.clone()) => Err(Ended::Failed(stopping())),
        () = replies.closed() => Err(Ended::ClientIsGone),
    };
    if let Err(Ended::Failed(status)) = ended {
        let _client_is_gone = replies.send(Err(status)).await;
    }
}

/// A read under way.
pub(crate) struct Reader<'a> {
    pub(crate) context: &'a Context,
    replies: &'a mpsc::Sender<Result<ReadResp, Status>>,
    structured_ids: bool,
}

impl Reader<'_> {
    async fn read(&self, plan: &Plan) -> Result<(), Ended> {
        match (&plan.source, &plan.extent) {
            (Source::Stream(stream), Extent::Following) => follow::stream(self, stream, plan.from).await,
            (Source::All(filter), Extent::Following) => follow::all(self, filter.as_ref(), plan.from).await,
            (Source::All(filter), Extent::Forwards(count)) => {
                self.all_forwards(filter.as_ref(), plan.from, *count).await
            }
            (Source::All(filter), Extent::Backwards(count)) => {
                backwards::all(self, filter.as_ref(), plan.from, *count).await
            }
            (Source::Stream(stream), Extent::Forwards(count)) => {
                let last = self.last_or_not_found(stream).await?;
                if let Some(last) = last {
                    self.stream_forwards(stream, last, plan.from, *count).await?;
                    if plan.modern {
                        self.send(Content::LastStreamPosition(wire_revision(last))).await?;
                    }
                }
                Ok(())
            }
            (Source::Stream(stream), Extent::Backwards(count)) => {
                match self.last_or_not_found(stream).await? {
                    Some(last) => self.stream_backwards(stream, last, plan.from, *count).await,
                    None => Ok(()),
                }
            }
        }
    }

    pub(crate) async fn send(&self, content: Content) -> Result<(), Ended> {
        let reply = ReadResp { content: Some(content) };
        self.replies.send(Ok(reply)).await.map_err(|_| Ended::ClientIsGone)
    }

    pub(crate) async fn send_event(&self, event: &RecordedEvent) -> Result<(), Ended> {
        let reply = to_reply(event, self.structured_ids);
        self.replies.send(Ok(reply)).await.map_err(|_| Ended::ClientIsGone)
    }

    pub(crate) async fn revision(&self, stream: &StreamId) -> Result<Revision, Ended> {
        Ok(self.context.log.stream_revision(stream).await.map_err(|error| read_status(&error))?)
    }

    pub(crate) async fn page_of_stream(
        &self,
        stream: &StreamId,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, Ended> {
        let limit = limit.min(PAGE_EVENTS);
        Ok(self.context.log.read_stream(stream, from, limit).await.map_err(|error| read_status(&error))?)
    }

    pub(crate) async fn head(&self) -> Result<Position, Ended> {
        Ok(self.context.log.head().await.map_err(|error| read_status(&error))?.position)
    }

    /// The stream's revision; if there is no stream the client is told so.
    async fn last_or_not_found(&self, stream: &StreamId) -> Result<Option<Revision>, Ended> {
        let last = self.revision(stream).await?;
        if last > 0 {
            return Ok(Some(last));
        }
        let not_found = StreamNotFound { stream_identifier: Some(stream_to_proto(stream)) };
        self.send(Content::StreamNotFound(not_found)).await?;
        Ok(None)
    }

    async fn stream_forwards(
        &self,
        stream: &StreamId,
        last: Revision,
        from: From,
        count: u64,
    ) -> Result<(), Ended> {
        let mut next = match from {
            From::Start => 1,
            From::At(revision) => revision.saturating_add(1),
            From::End => last + 1,
        };
        let end = last.min(next.saturating_sub(1).saturating_add(count));
        while next <= end {
            let wanted = usize::try_from(end - next + 1).unwrap_or(usize::MAX);
            for event in self.page_of_stream(stream, next, wanted).await? {
                self.send_event(&event).await?;
                next = event.revision + 1;
            }
        }
        Ok(())
    }

    async fn stream_backwards(
        &self,
        stream: &StreamId,
        last: Revision,
        from: From,
        count: u64,
    ) -> Result<(), Ended> {
        let mut high = match from {
            From::Start => 1,
            From::At(revision) => revision.saturating_add(1).min(last),
            From::End => last,
        };
        let end = high.saturating_sub(count);
        while high > end {
            let low = end.max(high.saturating_sub(PAGE_EVENTS as u64)) + 1;
            let mut events = Vec::new();
            let mut next = low;
            while next <= high {
                let wanted = usize::try_from(high - next + 1).unwrap_or(PAGE_EVENTS);
                let page = self.page_of_stream(stream, next, wanted).await?;
                next = page.last().map_or(high, |event| event.revision) + 1;
                events.extend(page);
            }
            for event in events.iter().rev() {
                self.send_event(event).await?;
            }
            high = low - 1;
        }
        Ok(())
    }

    async fn all_forwards(&self, filter: Option<&EventFilter>, from: From, count: u64) -> Result<(), Ended> {
        let for_log = filter.map_or_else(Filter::default, EventFilter::for_log);
        let mut after = match from {
            From::Start => 0,
            // The event at the position is part of the read.
            From::At(position) => position.saturating_sub(1),
            From::End => return Ok(()),
        };
        let mut left = count;
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
            let page = self.context.log.read_all(after, &for_log, limit, PAGE_BYTES).await;
            let page = page.map_err(|error| read_status(&error))?;
            for event in &page.events {
                if wanted(filter, event)? {
                    self.send_event(event).await?;
                    left -= 1;
                }
            }
            if page.at_head {
                return Ok(());
            }
            after = page.scanned_to;
        }
        Ok(())
    }
}

/// Whether a filter, if there is one, selects the event.
pub(crate) fn wanted(filter: Option<&EventFilter>, event: &RecordedEvent) -> Result<bool, Status> {
    filter.map_or(Ok(true), |filter| filter.matches(event))
}
