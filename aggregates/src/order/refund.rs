//! Refunds: for a return that arrived, for a cancelled order, out of goodwill; never more than was paid.

use daybook_schemas::order::{Event, LineRefund, Refunded};
use daybook_schemas::{Money, MoneyError, Quantity, RefundId};
use rust_decimal::Decimal;

use super::decide::refuse_repeated_lines;
use super::{Command, Existing, LineState, Refund, RefundLine, Rejection, ReturnState, Status};

impl Existing {
    pub(super) fn refund(&self, refund: &Refund, command: &Command) -> Result<Vec<Event>, Rejection> {
        if self.paid.is_none() {
            return Err(self.impossible("refund"));
        }
        let refund_id = match &refund.refund_id {
            Some(id) => id.clone(),
            None => RefundId::new(command.fresh_id.as_str()).expect("tokens and ids have one alphabet"),
        };
        if let Some(made) = self.refunds.iter().find(|made| made.refund_id == refund_id) {
            // Where nothing is said of what for, it was chosen.
            let chosen = refund.return_id.is_none() && refund.lines.is_none();
            let same = (chosen || made.return_id == refund.return_id)
                && refund.lines.as_ref().is_none_or(|lines| asks_for(lines, &made.lines));
            return if same { Ok(Vec::new()) } else { Err(Rejection::DuplicateRefund(refund_id)) };
        }
        let returned = match &refund.return_id {
            Some(id) => Some(self.return_by_id(id).ok_or_else(|| Rejection::NoSuchReturn(id.clone()))?),
            None if refund.lines.is_none() && self.status != Status::Cancelled => {
                Some(self.return_to_refund()?)
            }
            None => None,
        };
        let lines = match returned {
            Some(returned) => self.for_return(returned, refund.lines.as_deref())?,
            None => self.without_return(refund.lines.as_deref())?,
        };
        let amount =
            lines.iter().try_fold(Money::zero(self.total.currency()), |sum, line| sum.plus(line.amount))?;
        let refunded = Refunded {
            refund_id,
            return_id: returned.map(|returned| returned.return_id.clone()),
            lines,
            amount,
            reason: refund.reason.clone(),
            refunded_at: refund.refunded_at.unwrap_or(command.now),
        };
        Ok(vec![refunded.into()])
    }

    /// At most what the return covers and was not refunded for it yet.
    fn for_return(
        &self,
        returned: &ReturnState,
        lines: Option<&[RefundLine]>,
    ) -> Result<Vec<LineRefund>, Rejection> {
        if returned.received.is_none() {
            return Err(Rejection::NotReceived(returned.return_id.clone()));
        }
        let left = |line_id: u32| {
            let parts = returned.lines.iter().zip(&returned.refunded);
            let part = parts
                .filter(|(part, _)| part.line_id == line_id)
                .map(|(part, refunded)| part.quantity.get().saturating_sub(*refunded));
            part.sum::<u32>()
        };
        let everything: Vec<RefundLine>;
        let lines = match lines {
            Some(lines) => lines,
            None => {
                let open = returned.lines.iter().filter(|part| left(part.line_id) > 0);
                everything = open
                    .map(|part| RefundLine { line_id: part.line_id, quantity: None, amount: None })
                    .collect();
                if everything.is_empty() {
                    return Err(Rejection::NothingToRefund);
                }
                &everything
            }
        };
        self.line_refunds(lines, |state| left(state.line.line_id))
    }

    /// Everything of a cancelled order, or the lines named: goodwill.
    fn without_return(&self, lines: Option<&[RefundLine]>) -> Result<Vec<LineRefund>, Rejection> {
        let whole = |state: &LineState| state.line.quantity.get();
        match lines {
            Some(lines) => self.line_refunds(lines, whole),
            None => {
                let open = self.lines.iter().filter(|state| state.refunded != state.line.total);
                let everything: Vec<RefundLine> = open
                    .map(|state| RefundLine {
                        line_id: state.line.line_id,
                        quantity: None,
                        amount: state.line.total.minus(state.refunded).ok(),
                    })
                    .collect();
                if everything.is_empty() {
                    return Err(Rejection::NothingToRefund);
                }
                self.line_refunds(&everything, whole)
            }
        }
    }

    fn line_refunds(
        &self,
        lines: &[RefundLine],
        left: impl Fn(&LineState) -> u32,
    ) -> Result<Vec<LineRefund>, Rejection> {
        refuse_repeated_lines(lines.iter().map(|line| line.line_id))?;
        lines
            .iter()
            .map(|asked| {
                let state = self.line(asked.line_id).ok_or(Rejection::NoSuchLine(asked.line_id))?;
                line_refund(state, asked, left(state))
            })
            .collect()
    }
}

fn line_refund(state: &LineState, asked: &RefundLine, left: u32) -> Result<LineRefund, Rejection> {
    let line = asked.line_id;
    let quantity = match asked.quantity {
        Some(quantity) => quantity,
        None => Quantity::new(u64::from(left)).map_err(|_| Rejection::RefundsTooManyUnits {
            line,
            left,
            asked: 1,
        })?,
    };
    if quantity.get() > left {
        return Err(Rejection::RefundsTooManyUnits { line, left, asked: quantity.get() });
    }
    let left = state.line.total.minus(state.refunded)?;
    let amount = match asked.amount {
        Some(amount) => explicit(line, amount, left)?,
        None => price_of(state, quantity, left)?,
    };
    Ok(LineRefund { line_id: line, quantity, amount })
}

fn explicit(line: u32, asked: Money, left: Money) -> Result<Money, Rejection> {
    match asked.compare(left) {
        None => Err(MoneyError::CurrencyMismatch(asked.currency(), left.currency()).into()),
        Some(std::cmp::Ordering::Greater) => Err(Rejection::RefundsTooMuch { line, left, asked }),
        Some(_) if asked.is_negative() || asked.is_zero() => Err(Rejection::RefundsNothing(line)),
        Some(_) => Ok(asked),
    }
}

/// What was paid for so many units of the line: their exact share of its total, rounded to the minor unit only where the
/// division does not come out even; no more than is left.
fn price_of(state: &LineState, quantity: Quantity, left: Money) -> Result<Money, Rejection> {
    let line = &state.line;
    if quantity == line.quantity {
        return Ok(left);
    }
    let all = line.total.times(quantity)?.amount();
    let (units, currency) = (Decimal::from(line.quantity.get()), left.currency());
    let share = all.checked_div(units).ok_or(MoneyError::TooLarge)?;
    let share = match Money::new(share, currency) {
        Ok(exact) if share.checked_mul(units) == Some(all) => exact,
        Ok(_) | Err(_) => Money::rounded(share, currency),
    };
    Ok(if share.compare(left) == Some(std::cmp::Ordering::Greater) { left } else { share })
}

/// Whether a repeat asks for what was refunded; what it leaves out, it does not ask otherwise.
fn asks_for(asked: &[RefundLine], made: &[LineRefund]) -> bool {
    asked.len() == made.len()
        && asked.iter().zip(made).all(|(asked, made)| {
            asked.line_id == made.line_id
                && asked.quantity.is_none_or(|quantity| quantity == made.quantity)
                && asked.amount.is_none_or(|amount| amount == made.amount)
        })
}
