//! All event types at once.

use serde_json::Value;

use crate::{
    attribute_type, attribute_value, category, claim, color, credit, idempotency, inventory, operations,
    order, product, sequence, size, upcast, variant,
};

/// One event type as this build knows it.
#[derive(Clone, Copy)]
pub struct EventSpec {
    pub aggregate: &'static str,
    pub wire_name: &'static str,
    /// The version this build writes; it reads this and every earlier one.
    pub version: u16,
    /// The JSON Schema of the payload in that version.
    pub schema: fn() -> schemars::Schema,
}

/// Why a stored payload is no event. A projector that meets one stops; it never skips.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown event type {wire_name:?}: written by a newer Daybook, or the log is foreign")]
    UnknownType { wire_name: String },
    #[error("event type {wire_name} has version {found}, this build reads up to {known}: upgrade Daybook")]
    NewerVersion { wire_name: String, found: u16, known: u16 },
    #[error("payload of {wire_name} v{version} does not fit its schema: {reason}")]
    Payload { wire_name: String, version: u16, reason: String },
}

macro_rules! any_event {
    ($( $variant:ident => $module:ident, )*) => {
        /// An event of any aggregate.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyEvent {
            $( $variant($module::Event), )*
        }

        $( impl From<$module::Event> for AnyEvent {
            fn from(event: $module::Event) -> Self { Self::$variant(event) }
        } )*

        impl AnyEvent {
            /// The name that stands in the log.
            #[must_use]
            pub const fn wire_name(&self) -> &'static str {
                match self { $( Self::$variant(event) => event.wire_name(), )* }
            }

            /// The schema version that this build writes.
            #[must_use]
            pub const fn version(&self) -> u16 {
                match self { $( Self::$variant(event) => event.version(), )* }
            }

            /// The payload as JSON, without the type.
            #[must_use]
            pub fn to_data(&self) -> Vec<u8> {
                match self { $( Self::$variant(event) => event.to_data(), )* }
            }
        }

        /// Every event type that this build knows.
        #[must_use]
        pub fn specs() -> Vec<EventSpec> {
            let mut all = Vec::new();
            $( all.extend($module::Event::specs()); )*
            all
        }

        fn decode_current(wire_name: &str, data: &[u8]) -> Option<Result<AnyEvent, serde_json::Error>> {
            let (aggregate, _) = wire_name.split_once('.')?;
            match aggregate {
                $( $module::Event::AGGREGATE => $module::Event::from_data(wire_name, data).map(|e| e.map(AnyEvent::$variant)), )*
                _ => None,
            }
        }
    };
}

any_event! {
    Variant => variant,
    Inventory => inventory,
    Order => order,
    Credit => credit,
    Claim => claim,
    Sequence => sequence,
    Idempotency => idempotency,
    Operations => operations,
    Size => size,
    Color => color,
    AttributeType => attribute_type,
    AttributeValue => attribute_value,
    Category => category,
    Product => product,
}

impl AnyEvent {
    /// Decodes a stored payload of any version that was ever written, upcasting old ones.
    pub fn decode(wire_name: &str, version: u16, data: &[u8]) -> Result<Self, DecodeError> {
        let known = current_version(wire_name)
            .ok_or_else(|| DecodeError::UnknownType { wire_name: wire_name.to_owned() })?;
        let payload_error =
            |reason: String| DecodeError::Payload { wire_name: wire_name.to_owned(), version, reason };
        if version > known || version == 0 {
            return Err(DecodeError::NewerVersion { wire_name: wire_name.to_owned(), found: version, known });
        }
        let decoded = if version == known {
            decode_current(wire_name, data)
        } else {
            let old: Value = serde_json::from_slice(data).map_err(|e| payload_error(e.to_string()))?;
            let new = upcast::to_current(wire_name, version, known, old).map_err(payload_error)?;
            let bytes = serde_json::to_vec(&new).map_err(|e| payload_error(e.to_string()))?;
            decode_current(wire_name, &bytes)
        };
        decoded
            .ok_or_else(|| DecodeError::UnknownType { wire_name: wire_name.to_owned() })?
            .map_err(|e| payload_error(e.to_string()))
    }
}

/// The version this build writes of a type; `None` if it does not know the type.
#[must_use]
pub fn current_version(wire_name: &str) -> Option<u16> {
    use std::collections::HashMap;
    use std::sync::LazyLock;
    static VERSIONS: LazyLock<HashMap<&'static str, u16>> =
        LazyLock::new(|| specs().into_iter().map(|spec| (spec.wire_name, spec.version)).collect());
    VERSIONS.get(wire_name).copied()
}
