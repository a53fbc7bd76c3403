//! The two macros of the contract: validated text newtypes, and event enums with explicit wire names.

/// Declares newtypes over a short string with a rule. The rule gives the reason when a text breaks
/// it. With a fourth argument: what brings a text to its normal form first.
macro_rules! text_newtypes {
    ($( $(#[$meta:meta])* $name:ident : $rule:expr, $schema:expr $(, $normal:path)?; )*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(smol_str::SmolStr);

        impl $name {
            /// Parses the text; the error says what is allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self, $crate::Invalid> {
                let text = text.as_ref();
                $( let text: &str = &$normal(text); )?
                let rule: fn(&str) -> Result<(), String> = $rule;
                rule(text).map_err(|reason| $crate::Invalid(reason))?;
                Ok(Self(smol_str::SmolStr::new(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.0.as_str())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Invalid;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let make: fn() -> schemars::Schema = || $schema;
                make()
            }
        }
    )*};
}
pub(crate) use text_newtypes;

/// Declares the event enum of one aggregate: variant, payload, wire name, current version.
///
/// The enum's own serde form is externally tagged by wire name (`{"order.paid": {…}}`), which is what the stock
/// `postgres-es` reader expects; the log keeps the wire name outside and stores the payload alone.
macro_rules! events {
    ($(#[$meta:meta])* $aggregate:literal { $( $variant:ident = $wire:literal v $version:literal, )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[allow(clippy::large_enum_variant, reason = "events are moved into bytes and states, never kept in bulk")]
        pub enum Event {
            $( #[serde(rename = $wire)] $variant($variant), )*
        }

        impl Event {
            /// The aggregate these events belong to; streams are named `{AGGREGATE}-{id}`.
            pub const AGGREGATE: &'static str = $aggregate;

            /// The name that stands in the log. Never derived from Rust names, never changed.
            #[must_use]
            pub const fn wire_name(&self) -> &'static str {
                match self { $( Self::$variant(_) => $wire, )* }
            }

            /// The schema version that this build writes.
            #[must_use]
            pub const fn version(&self) -> u16 {
                match self { $( Self::$variant(_) => $version, )* }
            }

            /// The payload as JSON, without the type.
            #[must_use]
            pub fn to_data(&self) -> Vec<u8> {
                let mut data = Vec::with_capacity(192);
                let written = match self { $( Self::$variant(payload) => serde_json::to_writer(&mut data, payload), )* };
                written.expect("payloads have string keys and no failing serializers, and a Vec takes every write");
                data
            }

            /// Decodes a payload of the current version straight into its struct. `None`: not a type of this aggregate.
            pub fn from_data(wire_name: &str, data: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                Some(match wire_name {
                    $( $wire => serde_json::from_slice(data).map(Self::$variant), )*
                    _ => return None,
                })
            }

            /// Every type with its current version and JSON Schema.
            #[must_use]
            pub fn specs() -> Vec<$crate::catalogue::EventSpec> {
                vec![ $( $crate::catalogue::EventSpec {
                    aggregate: $aggregate,
                    wire_name: $wire,
                    version: $version,
                    schema: || schemars::schema_for!($variant),
                }, )* ]
            }
        }

        $( impl From<$variant> for Event {
            fn from(payload: $variant) -> Self { Self::$variant(payload) }
        } )*

        impl cqrs_es::DomainEvent for Event {
            fn event_type(&self) -> String { self.wire_name().to_owned() }
            fn event_version(&self) -> String { self.version().to_string() }
        }
    };
}
pub(crate) use events;
