//! The lines of an order by what they have in common, so that an order counts once for each.

use daybook_schemas::Money;

use super::{FactLine, add};
use crate::model::ProjectError;

/// The lines of an order that have something in common.
pub(crate) struct Part<'a> {
    pub(crate) first: &'a FactLine,
    totals: Vec<Money>,
    pub(crate) quantity: i64,
}

impl Part<'_> {
    /// The exact sum of the lines.
    pub(crate) fn gross(&self) -> Result<Money, ProjectError> {
        let mut sum = Money::zero(self.first.total.currency());
        for total in &self.totals {
            add(&mut sum, *total, 1)?;
        }
        Ok(sum)
    }
}

/// Lines by what `by` gives, in its order.
pub(crate) fn group<'a, K: Ord + 'a>(
    lines: &'a [FactLine],
    by: impl Fn(&'a FactLine) -> &'a K,
) -> Vec<Part<'a>> {
    let mut sorted: Vec<&FactLine> = lines.iter().collect();
    sorted.sort_by_key(|line| by(line));
    let mut parts: Vec<Part<'_>> = Vec::new();
    for line in sorted {
        match parts.last_mut().filter(|part| by(part.first) == by(line)) {
            Some(part) => {
                part.totals.push(line.total);
                part.quantity += line.quantity.as_i64();
            }
            None => {
                parts.push(Part { first: line, totals: vec![line.total], quantity: line.quantity.as_i64() })
            }
        }
    }
    parts
}
