//! The macro that declares the commands of an aggregate once: the enum, the names in routes, parsing, the OpenAPI list.

/// One command as the API describes it.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// The name in the route, kebab-case.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// The JSON Schema of the body.
    pub schema: fn() -> schemars::Schema,
    /// Meant for Daybook's own timers: left out of the public description.
    pub internal: bool,
}

/// Declares `Action` with its routes.
///
/// - `routed`: from a client's body straight into the action
/// - `internal`: the same, but meant for timers
/// - `described`: has a route and a body, but facts must be looked up before there is an action: `parse` gives `None`
/// - `composed`: made by other code only, no route
macro_rules! actions {
    (
        $(#[$meta:meta])*
        routed { $( $name:literal: $variant:ident($body:ty), $summary:literal; )* }
        internal { $( $iname:literal: $ivariant:ident($ibody:ty), $isummary:literal; )* }
        described { $( $dname:literal: $dbody:ty, $dsummary:literal; )* }
        composed { $( $(#[$cmeta:meta])* $cvariant:ident($cbody:ty), )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum Action {
            $( #[doc = $summary] $variant($body), )*
            $( #[doc = $isummary] $ivariant($ibody), )*
            $( $(#[$cmeta])* $cvariant($cbody), )*
        }

        impl Action {
            /// Every command that has a route.
            pub const NAMES: &[&str] = &[ $( $name, )* $( $iname, )* $( $dname, )* ];

            /// Parses the JSON body of a command; an empty body stands for `{}`. `None`: no such command, or one whose
            /// action needs looked-up facts (see [`Self::specs`]).
            pub fn parse(command: &str, body: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                let body = ::daybook_schemas::body::or_empty(body);
                Some(match command {
                    $( $name => ::daybook_schemas::body::from_slice::<$body>(body).map(Self::$variant), )*
                    $( $iname => ::daybook_schemas::body::from_slice::<$ibody>(body).map(Self::$ivariant), )*
                    _ => return None,
                })
            }

            /// Every command that has a route, with its schema.
            #[must_use]
            pub fn specs() -> Vec<$crate::CommandSpec> {
                vec![
                    $( $crate::CommandSpec { name: $name, summary: $summary, schema: || schemars::schema_for!($body), internal: false }, )*
                    $( $crate::CommandSpec { name: $iname, summary: $isummary, schema: || schemars::schema_for!($ibody), internal: true }, )*
                    $( $crate::CommandSpec { name: $dname, summary: $dsummary, schema: || schemars::schema_for!($dbody), internal: false }, )*
                ]
            }
        }
    };
}
pub(crate) use actions;
