//! Content negotiation (RFC 9110, 12.5.1), as far as it matters here: server-sent events or JSON, and the format of metrics.

use axum::http::{HeaderMap, header};

/// Whether the client would rather have server-sent events than JSON. One that leaves it open gets JSON.
pub(super) fn wants_event_stream(headers: &HeaderMap) -> bool {
    let ranges = ranges(headers);
    let (stream, named) = quality(&ranges, "text", "event-stream");
    let (json, _) = quality(&ranges, "application", "json");
    stream > json || (named && stream == json && stream > 0)
}

/// Whether the client asks for metrics as `OpenMetrics`, at least as much as for plain text.
pub(super) fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let ranges = ranges(headers);
    let (open, named) = quality(&ranges, "application", "openmetrics-text");
    let (text, _) = quality(&ranges, "text", "plain");
    named && open > 0 && open >= text
}

fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Range::parse)
        .collect()
}

/// A media range with its weight.
struct Range<'a> {
    kind: &'a str,
    sub: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, sub) = parts.next()?.split_once('/')?;
        let weight =
            parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let quality = match weight {
            None => 1_000,
            Some((_, weight)) => thousandths(weight.trim())?,
        };
        Some(Self { kind, sub, quality })
    }

    /// How closely it describes a type: 3 its name, 2 all of its kind, 1 everything, 0 not at all.
    fn closeness(&self, kind: &str, sub: &str) -> u8 {
        let (same_kind, same_sub) =
            (self.kind.eq_ignore_ascii_case(kind), self.sub.eq_ignore_ascii_case(sub));
        match (same_kind, same_sub) {
            (true, true) => 3,
            (true, false) if self.sub == "*" => 2,
            (false, _) if self.kind == "*" && self.sub == "*" => 1,
            _ => 0,
        }
    }
}

/// `1`, `0.8`, `0.333`.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1_000),
        _ => None,
    }
}

/// The weight of a type, and whether a range names it. The closest range counts; a type that none describes is not wanted.
fn quality(ranges: &[Range<'_>], kind: &str, sub: &str) -> (u16, bool) {
    let closest = ranges
        .iter()
        .map(|range| (range.closeness(kind, sub), range.quality))
        .filter(|(closeness, _)| *closeness > 0)
        .max();
    closest.map_or((0, false), |(closeness, quality)| (quality, closeness == 3))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wants(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        wants_event_stream(&headers)
    }

    #[test]
    fn metrics_are_plain_text_unless_the_other_format_is_named() {
        let wants = |value| {
            wants_openmetrics(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]))
        };
        // What Prometheus sends.
        assert!(wants(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(wants("application/openmetrics-text"));
        for text in [
            "",
            "*/*",
            "text/plain",
            "text/html, application/*",
            "application/openmetrics-text;q=0.2, text/plain",
            "application/openmetrics-text;q=0",
        ] {
            assert!(!wants(text), "{text}");
        }
    }

    #[test]
    fn a_stream_goes_to_those_who_want_one() {
        for stream in [
            "text/event-stream",
            "Text/Event-Stream",
            " text/event-stream ; charset=utf-8 ; Q=0.1",
            "application/json;q=0.5, text/event-stream;q=0.8",
            "application/json, text/event-stream",
            "text/*",
            "*/*;q=0.1, text/event-stream",
            "application/json;q=0, */*",
        ] {
            assert!(wants(&[stream]), "{stream}");
        }
        assert!(wants(&["application/json;q=0.2", "text/event-stream"]));
    }

    #[test]
    fn all_others_get_json() {
        for json in [
            "",
            "*/*",
            "application/json",
            "text/html, */*;q=0.8",
            "text/event-stream;q=0",
            "text/event-stream;q=0.0, */*",
            "text/event-stream;q=0.5, application/json",
            "text/event-streams",
            "x-text/event-stream-not",
            "text/event-stream;q=2",
        ] {
            assert!(!wants(&[json]), "{json}");
        }
        assert!(!wants(&[]));
    }
}
