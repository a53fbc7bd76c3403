//! Which events a reader of the whole log asks for.

use daybook_eventlog::{Filter, RecordedEvent};
use fancy_regex::Regex;
use tonic::Status;

use crate::proto::streams::read_req::options::FilterOptions;
use crate::proto::streams::read_req::options::filter_options::{Expression, Filter as On, Window};

/// Without a window of the client's own: the checkpoints of EventStoreDB's default.
const DEFAULT_WINDOW: u64 = 32;

/// A client's filter, ready to use.
pub(crate) struct EventFilter {
    on_stream: bool,
    rule: Rule,
    /// After about so many events passed over, the client is told how far the server is.
    pub(crate) checkpoint_every: u64,
}

enum Rule {
    Prefixes(Vec<String>),
    Regex(Box<Regex>),
}

impl EventFilter {
    pub(crate) fn parse(options: FilterOptions) -> Result<Self, Status> {
        let (on_stream, expression) = match options.filter {
            Some(On::StreamIdentifier(expression)) => (true, expression),
            Some(On::EventType(expression)) => (false, expression),
            None => return Err(Status::invalid_argument("a filter is on stream names or on event types")),
        };
        let window = match options.window {
            Some(Window::Max(0)) => return Err(Status::invalid_argument("a window of 0 events")),
            Some(Window::Max(events)) => u64::from(events),
            Some(Window::Count(_)) | None => DEFAULT_WINDOW,
        };
        let checkpoint_every = window * u64::from(options.checkpoint_interval_multiplier.max(1));
        Ok(Self { on_stream, rule: Rule::parse(expression)?, checkpoint_every })
    }

    /// What of the filter the log can do itself.
    pub(crate) fn for_log(&self) -> Filter {
        match &self.rule {
            Rule::Prefixes(prefixes) if self.on_stream => {
                Filter { types: Vec::new(), stream_prefixes: prefixes.clone() }
            }
            Rule::Prefixes(_) | Rule::Regex(_) => Filter::default(),
        }
    }

    /// Whether the client wants the event. An error if the expression is too hard to match.
    pub(crate) fn matches(&self, event: &RecordedEvent) -> Result<bool, Status> {
        let name = if self.on_stream { event.stream() } else { event.event_type() };
        match &self.rule {
            Rule::Prefixes(prefixes) => Ok(prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))),
            Rule::Regex(regex) => regex.is_match(name).map_err(|error| {
                Status::resource_exhausted(format!("the filter's expression failed on {name:?}: {error}"))
            }),
        }
    }
}

impl Rule {
    fn parse(expression: Expression) -> Result<Self, Status> {
        let prefixes: Vec<_> = expression.prefix.into_iter().filter(|prefix| !prefix.is_empty()).collect();
        match (expression.regex.as_str(), prefixes.is_empty()) {
            (_, false) => Ok(Self::Prefixes(prefixes)),
            ("", true) => Err(Status::invalid_argument("a filter has a regular expression or prefixes")),
            (regex, true) => match Regex::new(regex) {
                Ok(regex) => Ok(Self::Regex(Box::new(regex))),
                Err(error) => {
                    Err(Status::invalid_argument(format!("the filter's expression {regex:?}: {error}")))
                }
            },
        }
    }
}
