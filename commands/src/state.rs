//! The state of any stream that decisions look at.

use cqrs_es::Aggregate as _;
use daybook_aggregates::Decider;
use daybook_aggregates::attribute_type::AttributeType;
use daybook_aggregates::attribute_value::AttributeValue;
use daybook_aggregates::category::Category;
use daybook_aggregates::claim::Claim;
use daybook_aggregates::color::Color;
use daybook_aggregates::credit::Credit;
use daybook_aggregates::inventory::{Inventory, Undo, Undone};
use daybook_aggregates::order::Order;
use daybook_aggregates::product::Product;
use daybook_aggregates::sequence::Sequence;
use daybook_aggregates::size::Size;
use daybook_aggregates::variant::Variant;
use daybook_schemas::idempotency::Recorded;
use daybook_schemas::{AnyEvent, idempotency};
use serde::{Deserialize, Serialize};

/// Version of what a snapshot holds: a new one for every change of a state's fields or of their meaning, in any aggregate.
pub(crate) const SNAPSHOT_VERSION: u32 = 4;

/// What a stream has come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum StreamState {
    Variant(Box<Variant>),
    Inventory(Box<Inventory>),
    Order(Box<Order>),
    Credit(Box<Credit>),
    Claim(Box<Claim>),
    Sequence(Box<Sequence>),
    Size(Box<Size>),
    Color(Box<Color>),
    AttributeType(Box<AttributeType>),
    AttributeValue(Box<AttributeValue>),
    Category(Box<Category>),
    Product(Box<Product>),
    /// The newest record of an idempotency key.
    Key(Option<Box<Recorded>>),
}

impl StreamState {
    /// The state before the first event of a stream with this name. `None`: no stream that decisions look at.
    pub(crate) fn initial(stream: &str) -> Option<Self> {
        let (kind, _) = stream.split_once('-')?;
        Some(match kind {
            "variant" => Self::Variant(Box::default()),
            "inventory" => Self::Inventory(Box::default()),
            "order" => Self::Order(Box::default()),
            "credit" => Self::Credit(Box::default()),
            "claim" => Self::Claim(Box::default()),
            "sequence" => Self::Sequence(Box::default()),
            "size" => Self::Size(Box::default()),
            "color" => Self::Color(Box::default()),
            "attribute_type" => Self::AttributeType(Box::default()),
            "attribute_value" => Self::AttributeValue(Box::default()),
            "category" => Self::Category(Box::default()),
            "product" => Self::Product(Box::default()),
            "idempotency" => Self::Key(None),
            _ => return None,
        })
    }

    /// Takes an event in. For an event of another aggregate gives its wire name.
    pub(crate) fn apply(&mut self, event: AnyEvent) -> Result<(), &'static str> {
        match (self, event) {
            (Self::Variant(state), AnyEvent::Variant(event)) => state.apply(event),
            (Self::Inventory(state), AnyEvent::Inventory(event)) => state.apply(event),
            (Self::Order(state), AnyEvent::Order(event)) => state.apply(event),
            (Self::Credit(state), AnyEvent::Credit(event)) => state.apply(event),
            (Self::Claim(state), AnyEvent::Claim(event)) => state.apply(event),
            (Self::Sequence(state), AnyEvent::Sequence(event)) => state.apply(event),
            (Self::Size(state), AnyEvent::Size(event)) => state.apply(event),
            (Self::Color(state), AnyEvent::Color(event)) => state.apply(event),
            (Self::AttributeType(state), AnyEvent::AttributeType(event)) => state.apply(event),
            (Self::AttributeValue(state), AnyEvent::AttributeValue(event)) => state.apply(event),
            (Self::Category(state), AnyEvent::Category(event)) => state.apply(event),
            (Self::Product(state), AnyEvent::Product(event)) => state.apply(event),
            (Self::Key(state), AnyEvent::Idempotency(idempotency::Event::Recorded(record))) => {
                *state = Some(Box::new(record));
            }
            (_, other) => return Err(other.wire_name()),
        }
        Ok(())
    }

    /// The same, with what takes it back where that is cheaper than reading the stream again.
    pub(crate) fn apply_undoable(&mut self, event: AnyEvent) -> Result<Option<Undo>, &'static str> {
        match (self, event) {
            (Self::Inventory(state), AnyEvent::Inventory(event)) => Ok(Some(state.apply_undoable(event))),
            (state, event) => state.apply(event).map(|()| None),
        }
    }

    /// Takes an event back. Gives the holds that come and go with it.
    pub(crate) fn undo(&mut self, undo: Undo) -> Vec<Undone> {
        match self {
            Self::Inventory(state) => state.undo(undo),
            _ => Vec::new(),
        }
    }

    /// About how many bytes of memory it holds.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Variant(state) => state.size_bytes(),
            Self::Inventory(state) => state.size_bytes(),
            Self::Order(state) => state.size_bytes(),
            Self::Credit(state) => state.size_bytes(),
            Self::Claim(state) => state.size_bytes(),
            Self::Sequence(state) => state.size_bytes(),
            Self::Size(state) => state.size_bytes(),
            Self::Color(state) => state.size_bytes(),
            Self::AttributeType(state) => state.size_bytes(),
            Self::AttributeValue(state) => state.size_bytes(),
            Self::Category(state) => state.size_bytes(),
            Self::Product(state) => state.size_bytes(),
            Self::Key(None) => 0,
            Self::Key(Some(record)) => {
                size_of::<Recorded>() + record.request_hash.capacity() + record.stream.capacity()
            }
        }
    }
}

/// A decider whose state the dispatcher keeps.
pub(crate) trait Resident: Decider {
    /// The state, if the stream is one of this aggregate.
    fn of(state: &StreamState) -> Option<&Self>;
}

macro_rules! resident {
    ($( $name:ident )*) => {$(
        impl Resident for $name {
            fn of(state: &StreamState) -> Option<&Self> {
                match state {
                    StreamState::$name(state) => Some(state),
                    _ => None,
                }
            }
        }
    )*};
}

resident! {
    Variant Inventory Order Credit Claim Sequence Size Color AttributeType AttributeValue Category Product
}
