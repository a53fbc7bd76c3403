//! Time travel: any aggregate as of a revision or a time, folded from its stream.

use daybook_aggregates::{
    Decider, attribute_type, attribute_value, category, color, credit, inventory, order, product, size,
    variant,
};
use daybook_eventlog::{EventLog, ReadError, StreamId};
use daybook_schemas::{AnyEvent, DecodeError, Timestamp};
use serde::{Deserialize, Serialize};

const PAGE: usize = 4_096;

/// As of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Now,
    /// After this revision.
    Revision(u64),
    /// After the last event recorded at or before this time.
    Time(Timestamp),
}

/// An aggregate's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateReport {
    pub aggregate: String,
    pub id: String,
    pub stream: String,
    /// Revision of the last event folded.
    pub revision: u64,
    #[serde(with = "daybook_projections::position_text")]
    pub position: u64,
    pub recorded_at: Timestamp,
    pub state: serde_json::Value,
}

/// Why there is no state to show.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "there is no aggregate {0:?}; there are variant, product, inventory, order, credit, size, color, attribute_type, attribute_value and category"
    )]
    UnknownAggregate(String),
    #[error("an id is 1 to 64 characters of A-Z a-z 0-9 . _ ~ -, got {0:?}")]
    Id(String),
    #[error("{aggregate} {id} has no events as of then")]
    NotFound { aggregate: String, id: String },
    #[error("{aggregate} {id} is at revision {actual}, which is before {asked}")]
    Beyond { aggregate: String, id: String, asked: u64, actual: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("event {revision} of {stream} cannot be read")]
    Decode {
        stream: String,
        revision: u64,
        #[source]
        source: DecodeError,
    },
    #[error("event {revision} of {stream} belongs to another aggregate")]
    Foreign { stream: String, revision: u64 },
}

/// The aggregates that there are.
const AGGREGATES: [&str; 10] = [
    "variant",
    "inventory",
    "order",
    "credit",
    "product",
    "size",
    "color",
    "attribute_type",
    "attribute_value",
    "category",
];

/// Whether there can be such an aggregate at all.
pub fn check(aggregate: &str, id: &str) -> Result<(), StateError> {
    if !AGGREGATES.contains(&aggregate) {
        return Err(StateError::UnknownAggregate(aggregate.to_owned()));
    }
    stream_of(aggregate, id).map(drop)
}

/// Folds a stream as far as `as_of`.
pub async fn state(
    log: &dyn EventLog,
    aggregate: &str,
    id: &str,
    as_of: AsOf,
) -> Result<StateReport, StateError> {
    match aggregate {
        "variant" => {
            fold::<variant::Variant>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Variant(e) = e { Some(e) } else { None }
            })
            .await
        }
        "inventory" => {
            fold::<inventory::Inventory>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Inventory(e) = e { Some(e) } else { None }
            })
            .await
        }
        "order" => {
            fold::<order::Order>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Order(e) = e { Some(e) } else { None }
            })
            .await
        }
        "credit" => {
            fold::<credit::Credit>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Credit(e) = e { Some(e) } else { None }
            })
            .await
        }
        "product" => {
            fold::<product::Product>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Product(e) = e { Some(e) } else { None }
            })
            .await
        }
        "size" => {
            fold::<size::Size>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Size(e) = e { Some(e) } else { None }
            })
            .await
        }
        "color" => {
            fold::<color::Color>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Color(e) = e { Some(e) } else { None }
            })
            .await
        }
        "attribute_type" => {
            fold::<attribute_type::AttributeType>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::AttributeType(e) = e { Some(e) } else { None }
            })
            .await
        }
        "attribute_value" => {
            fold::<attribute_value::AttributeValue>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::AttributeValue(e) = e { Some(e) } else { None }
            })
            .await
        }
        "category" => {
            fold::<category::Category>(log, aggregate, id, as_of, |e| {
                if let AnyEvent::Category(e) = e { Some(e) } else { None }
            })
            .await
        }
        other => Err(StateError::UnknownAggregate(other.to_owned())),
    }
}

fn stream_of(aggregate: &str, id: &str) -> Result<StreamId, StateError> {
    daybook_schemas::Token::new(id).map_err(|_| StateError::Id(id.to_owned()))?;
    StreamId::new(format!("{aggregate}-{id}")).map_err(|_| StateError::Id(id.to_owned()))
}

async fn fold<A: Decider>(
    log: &dyn EventLog,
    aggregate: &str,
    id: &str,
    as_of: AsOf,
    own: fn(AnyEvent) -> Option<A::Event>,
) -> Result<StateReport, StateError> {
    let stream = stream_of(aggregate, id)?;
    let mut state = A::default();
    let mut last = None;
    let mut from = 1;
    'pages: loop {
        let page = log.read_stream(&stream, from, PAGE).await?;
        for event in &page {
            let wanted = match as_of {
                AsOf::Now => true,
                AsOf::Revision(revision) => event.revision <= revision,
                AsOf::Time(time) => event.recorded_at <= time.as_micros(),
            };
            if !wanted {
                break 'pages;
            }
            let at = || (stream.to_string(), event.revision);
            let decoded =
                AnyEvent::decode(event.event_type(), event.version, event.data()).map_err(|source| {
                    let (stream, revision) = at();
                    StateError::Decode { stream, revision, source }
                })?;
            let own = own(decoded).ok_or_else(|| {
                let (stream, revision) = at();
                StateError::Foreign { stream, revision }
            })?;
            state.apply(own);
            last = Some((event.revision, event.position, event.recorded_at));
        }
        if page.len() < PAGE {
            break;
        }
        from += PAGE as u64;
    }
    let (revision, position, recorded_at) =
        last.ok_or_else(|| StateError::NotFound { aggregate: aggregate.to_owned(), id: id.to_owned() })?;
    if let AsOf::Revision(asked) = as_of
        && asked > revision
    {
        let (aggregate, id) = (aggregate.to_owned(), id.to_owned());
        return Err(StateError::Beyond { aggregate, id, asked, actual: revision });
    }
    Ok(StateReport {
        aggregate: aggregate.to_owned(),
        id: id.to_owned(),
        stream: stream.to_string(),
        revision,
        position,
        recorded_at: Timestamp::from_micros(recorded_at),
        state: serde_json::to_value(&state).expect("states are plain data with string keys"),
    })
}

#[cfg(test)]
mod tests {
    use daybook_eventlog::MemoryLog;

    use super::*;

    #[tokio::test]
    async fn what_is_checked_beforehand_is_what_there_is() {
        let log = MemoryLog::new();
        for aggregate in AGGREGATES {
            check(aggregate, "x").unwrap();
            let found = state(&log, aggregate, "x", AsOf::Now).await;
            assert!(matches!(found, Err(StateError::NotFound { .. })), "{aggregate}: {found:?}");
        }
        assert!(matches!(check("spaceship", "x"), Err(StateError::UnknownAggregate(_))));
        assert!(matches!(check("order", "no id"), Err(StateError::Id(_))));
    }
}
