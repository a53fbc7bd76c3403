//! Decisions over several streams: each a pure function of the states it reads, in a file of its own. Their writes go
//! to the log in one append, so they stand together or not at all.
//!
//! - [`create`]: a variant with the claims on its SKU and configuration
//! - [`check`]: what speaks against creating a variant, or against a step of its lifecycle
//! - [`archive`]: a variant out of the catalogue, if its stock is empty; gives the configuration back
//! - [`govern`]: a variant's steps and edits that look at master data; [`generate`]: variants from the options of a product
//! - [`masters`]: master data with its claims, tree and usage counts
//! - [`place`]: an order, and a hold for it on every variant
//! - [`record`]: an order of the past, from placing to delivery at once
//! - [`pay`]: an order's holds become sales, or the order is called off and refunded
//! - [`give_back`]: holds or goods of an order go back: cancelled, payment failed, returned
//! - [`hold`]: holds as they are asked for from outside, and the ids of those of orders; [`for_sale`]: of which variants
//! - [`number`]: the number of an order, which no other has
//! - [`lines`]: snapshots of variants for the lines of an order

pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod create;
mod for_sale;
pub(crate) mod generate;
pub(crate) mod give_back;
pub(crate) mod govern;
pub(crate) mod hold;
pub(crate) mod lines;
pub(crate) mod masters;
mod number;
pub(crate) mod pay;
pub(crate) mod place;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use daybook_aggregates::{Kind, Refusal, RefusalItem};

use crate::error::CommandError;
use crate::workspace::Halt;

fn refusal(code: &'static str, kind: Kind, detail: impl Into<String>) -> Refusal {
    Refusal { code, kind, detail: detail.into(), errors: Vec::new() }
}

/// Reasons against a command, each about a line or a variant; all are reported together.
#[derive(Default)]
pub(crate) struct Reasons {
    items: Vec<RefusalItem>,
    kind: Option<Kind>,
    mixed: bool,
}

impl Reasons {
    fn add(&mut self, refusal: Refusal, subject: &str) {
        self.mixed |= self.items.first().is_some_and(|first| first.code != refusal.code);
        self.kind.get_or_insert(refusal.kind);
        self.items.push(RefusalItem {
            code: refusal.code,
            detail: refusal.detail,
            subject: Some(subject.to_owned()),
        });
    }

    /// Whether there is a reason against this already: then there is no point in looking for more.
    fn is_against(&self, subject: &str) -> bool {
        self.items.iter().any(|item| item.subject.as_deref() == Some(subject))
    }

    /// Notes the refusal of a part and goes on; anything else halts.
    fn collect<T>(&mut self, result: Result<T, Halt>, subject: &str) -> Result<Option<T>, Halt> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Halt::Refused(CommandError::Refused(refusal))) => {
                self.add(*refusal, subject);
                Ok(None)
            }
            Err(halt) => Err(halt),
        }
    }

    /// Refuses if there was any reason: with its code if all have the same, else as `unprocessable`.
    fn check(self) -> Result<(), Halt> {
        let (Some(first), Some(kind)) = (self.items.first(), self.kind) else { return Ok(()) };
        let (code, kind) =
            if self.mixed { ("unprocessable", Kind::Unprocessable) } else { (first.code, kind) };
        let subject = first.subject.as_deref().unwrap_or_default();
        let detail = match self.items.len() {
            1 => format!("{subject}: {}", first.detail),
            several => format!("{subject}: {} (and {} more, see errors)", first.detail, several - 1),
        };
        Err(Refusal { code, kind, detail, errors: self.items }.into())
    }
}
