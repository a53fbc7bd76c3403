//! What a credit answers to each command.

use daybook_schemas::credit::{BadDebtAdjusted, Event, Issued};
use daybook_schemas::{CreditId, Token};

use super::{Action, AdjustBadDebt, Command, Credit, Issue, Rejection};
use crate::Decider;

type Decision = Result<Vec<Event>, Rejection>;

impl Decider for Credit {
    type Action = Action;

    fn decide(&self, command: &Command) -> Decision {
        match &command.action {
            Action::Issue(issue) => self.issue(issue, command),
            Action::AdjustBadDebt(adjust) => self.adjust_bad_debt(adjust, command),
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + 600
    }
}

impl Credit {
    fn issue(&self, issue: &Issue, command: &Command) -> Decision {
        if issue.amount.is_negative() {
            return Err(Rejection::NegativeAmount);
        }
        let mut event = Issued {
            credit_id: id(issue.credit_id.as_ref(), &command.fresh_id),
            customer_id: issue.customer_id.clone(),
            variant_id: issue.variant_id.clone(),
            sku: issue.sku.clone(),
            name: issue.name.clone(),
            category: issue.category.clone(),
            quantity: issue.quantity,
            amount: issue.amount,
            country: issue.country.clone(),
            reference: issue.reference.clone(),
            reason: issue.reason.clone(),
            issued_at: issue.issued_at.unwrap_or(command.now),
        };
        match self {
            Self::Absent => Ok(vec![event.into()]),
            Self::Issued(booked) => {
                // A repeat need not know the id and the time that the first one was given.
                if issue.credit_id.is_none() {
                    event.credit_id = booked.credit_id.clone();
                }
                if issue.issued_at.is_none() {
                    event.issued_at = booked.issued_at;
                }
                if **booked == event { Ok(Vec::new()) } else { Err(Rejection::Duplicate) }
            }
            Self::BadDebtAdjusted(_) => Err(Rejection::Duplicate),
        }
    }

    fn adjust_bad_debt(&self, adjust: &AdjustBadDebt, command: &Command) -> Decision {
        if adjust.amount.is_zero() {
            return Err(Rejection::ZeroAdjustment);
        }
        let mut event = BadDebtAdjusted {
            credit_id: id(adjust.credit_id.as_ref(), &command.fresh_id),
            amount: adjust.amount,
            country: adjust.country.clone(),
            reference: adjust.reference.clone(),
            reason: adjust.reason.clone(),
            adjusted_at: adjust.adjusted_at.unwrap_or(command.now),
        };
        match self {
            Self::Absent => Ok(vec![event.into()]),
            Self::BadDebtAdjusted(booked) => {
                if adjust.credit_id.is_none() {
                    event.credit_id = booked.credit_id.clone();
                }
                if adjust.adjusted_at.is_none() {
                    event.adjusted_at = booked.adjusted_at;
                }
                if **booked == event { Ok(Vec::new()) } else { Err(Rejection::Duplicate) }
            }
            Self::Issued(_) => Err(Rejection::Duplicate),
        }
    }
}

fn id(given: Option<&CreditId>, fresh: &Token) -> CreditId {
    match given {
        Some(id) => id.clone(),
        None => CreditId::new(fresh.as_str()).expect("tokens and ids have one alphabet"),
    }
}
