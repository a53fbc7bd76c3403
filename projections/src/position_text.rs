//! Positions as JSON strings: they may pass 2^53, where readers of JSON numbers begin to round. For `#[serde(with = …)]`.

use std::fmt;

use daybook_eventlog::Position;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// Writes a string.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
pub fn serialize<S: Serializer>(position: &Position, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(position)
}

/// Reads a string, or the number that earlier versions wrote in some places.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Position, D::Error> {
    deserializer.deserialize_any(Either)
}

struct Either;

impl Visitor<'_> for Either {
    type Value = Position;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position: a string of digits")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Position, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Position, E> {
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Report {
        #[serde(with = "super")]
        position: Position,
    }

    #[test]
    fn positions_are_written_as_strings_and_read_in_both_forms() {
        let report = Report { position: u64::MAX };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(text, r#"{"position":"18446744073709551615"}"#);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        assert_eq!(serde_json::from_str::<Report>(r#"{"position":7}"#).unwrap(), Report { position: 7 });
        for wrong in
            [r#"{"position":"x"}"#, r#"{"position":-1}"#, r#"{"position":""}"#, r#"{"position":null}"#]
        {
            assert!(serde_json::from_str::<Report>(wrong).is_err(), "{wrong}");
        }
    }
}
