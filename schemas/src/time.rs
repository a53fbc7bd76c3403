//! Instants in UTC with microseconds.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Invalid;

/// An instant: microseconds since 1970-01-01T00:00:00Z, between the years 1900 and 9998. RFC 3339 in JSON, always UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

const MIN_MICROS: i64 = -2_208_988_800_000_000; // 1900-01-01T00:00:00Z
const MAX_MICROS: i64 = 253_370_764_799_999_999; // 9998-12-31T23:59:59.999999Z

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the epoch; clamps to the years 1900 to 9998.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < MIN_MICROS {
            Self(MIN_MICROS)
        } else if micros > MAX_MICROS {
            Self(MAX_MICROS)
        } else {
            Self(micros)
        }
    }

    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 with any offset.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid(format!(
                "a time is RFC 3339 such as 2011-11-04T10:00:00Z, between the years 1900 and 9998, got {:?}",
                text.chars().take(40).collect::<String>()
            ))
        };
        let parsed: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
        let micros = parsed.as_microsecond();
        if (MIN_MICROS..=MAX_MICROS).contains(&micros) { Ok(Self(micros)) } else { Err(invalid()) }
    }

    /// This instant moved by a number of seconds, saturating.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        Self::from_micros(self.0.saturating_add(secs.saturating_mul(1_000_000)))
    }

    /// The day in UTC as `2011-11-04`. Its first seven characters are the month, its first four the year.
    #[must_use]
    pub fn date(self) -> String {
        let (year, month, day) = civil_from_days(self.0.div_euclid(86_400_000_000));
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// Gregorian date of a day count since 1970-01-01; Howard Hinnant, "chrono-compatible low-level date algorithms".
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Rendered::new(*self).as_str())
    }
}

/// The text of an instant, written without the formatting machinery: nearly every event has one, and `write!` stood out in a
/// profile of reservations.
struct Rendered {
    bytes: [u8; 27],
    length: usize,
}

impl Rendered {
    fn new(at: Timestamp) -> Self {
        let (year, month, day) = civil_from_days(at.0.div_euclid(86_400_000_000));
        let micros = at.0.rem_euclid(86_400_000_000);
        let secs = micros / 1_000_000;
        let mut text = Self { bytes: *b"0000-00-00T00:00:00.000000Z", length: 27 };
        text.put(0, 4, year);
        text.put(5, 2, month);
        text.put(8, 2, day);
        text.put(11, 2, secs / 3_600);
        text.put(14, 2, secs / 60 % 60);
        text.put(17, 2, secs % 60);
        match micros % 1_000_000 {
            0 => {
                text.bytes[19] = b'Z';
                text.length = 20;
            }
            fraction => text.put(20, 6, fraction),
        }
        text
    }

    /// Writes the decimal digits of a number that has at most so many.
    fn put(&mut self, at: usize, digits: usize, mut number: i64) {
        for place in self.bytes[at..at + digits].iter_mut().rev() {
            *place =
                b'0' + u8::try_from(number % 10).expect("a digit: years and clock values are not negative");
            number /= 10;
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("digits and ASCII marks")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Rendered::new(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        for text in [
            "1900-01-01T00:00:00Z",
            "1969-12-31T23:59:59.000001Z",
            "1970-01-01T00:00:00.100000Z",
            "2011-11-04T10:00:00Z",
            "2000-02-29T23:59:59.999999Z",
            "9998-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Timestamp::parse("2011-11-04T12:00:00+02:00").unwrap().to_string(),
            "2011-11-04T10:00:00Z"
        );
        assert_eq!(Timestamp::parse("2012-02-29T01:00:00Z").unwrap().date(), "2012-02-29");
    }

    #[test]
    fn refuses_other_forms() {
        for text in ["", "2011-11-04", "2011-11-04 10:00", "1066-10-14T00:00:00Z", "2011-13-04T10:00:00Z"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }
}
