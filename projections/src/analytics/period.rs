//! Periods: everything, a year, a month, a day; in UTC.

use std::fmt;

use daybook_schemas::Timestamp;
use smol_str::SmolStr;

/// A period as queries name it: `all`, `2011`, `2011-11` or `2011-11-04`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Period(SmolStr);

/// A text that is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a period is `all`, a year (2011), a month (2011-11) or a day (2011-11-04), got {0:?}")]
pub struct PeriodError(pub String);

impl Period {
    /// Parses a period.
    pub fn parse(text: &str) -> Result<Self, PeriodError> {
        if text == "all" || is_date_prefix(text) {
            return Ok(Self(SmolStr::new(text)));
        }
        Err(PeriodError(text.chars().take(40).collect()))
    }

    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self(SmolStr::new_static("all"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a day (`2011-11-04`) lies in the period.
    #[must_use]
    pub fn contains(&self, day: &str) -> bool {
        self.0 == "all" || day.starts_with(self.0.as_str())
    }

    /// What the days of the period have in common: nothing, for all of them.
    #[must_use]
    pub fn day_prefix(&self) -> &str {
        if self.0 == "all" { "" } else { self.as_str() }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the text is a year, month or day that there is.
fn is_date_prefix(text: &str) -> bool {
    let completed = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        _ => return false,
    };
    text.is_ascii() && Timestamp::parse(&completed).is_ok_and(|at| at.to_string() == completed)
}

/// The four periods that a day lies in: `all`, year, month, day.
#[must_use]
pub(crate) fn periods_of(day: &str) -> [&str; 4] {
    ["all", &day[..4], &day[..7], day]
}

/// In which of the day's four periods there is any of the days of `entries`, which are in order.
pub(crate) fn presence<T>(entries: &[T], day_of: impl Fn(&T) -> &str, day: &str) -> [bool; 4] {
    periods_of(day).map(|period| {
        let prefix = if period == "all" { "" } else { period };
        let from = entries.partition_point(|entry| day_of(entry) < prefix);
        entries.get(from).is_some_and(|entry| day_of(entry).starts_with(prefix))
    })
}

/// By how much the unique customers of each period change when one customer's presence does.
pub(crate) fn newcomers(before: [bool; 4], after: [bool; 4]) -> [i64; 4] {
    std::array::from_fn(|at| i64::from(after[at]) - i64::from(before[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_dates_or_their_beginnings() {
        for text in ["all", "2011", "2011-11", "2012-02-29"] {
            assert_eq!(Period::parse(text).unwrap().as_str(), text);
        }
        for text in
            ["", "ALL", "11", "2011-13", "2011-02-29", "2011-1", "2011-11-4", "2011/11", "20é", "2011-11-04T"]
        {
            assert!(Period::parse(text).is_err(), "{text}");
        }
        assert!(Period::parse("2011-11").unwrap().contains("2011-11-04"));
        assert!(!Period::parse("2011-11").unwrap().contains("2011-12-04"));
    }
}
