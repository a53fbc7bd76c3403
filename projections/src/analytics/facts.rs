//! What analytics remember of each order, and what each event means for the figures.

use daybook_eventlog::RecordedEvent;
use daybook_schemas::credit::Issued;
use daybook_schemas::order::{Event, Placed, Refunded};
use daybook_schemas::{
    AnyEvent, Currency, CustomerId, Label, Money, Quantity, Sku, Timestamp, VariantId, credit,
};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::UNKNOWN;
use crate::model::{ProjectError, Projected};
use crate::rows::{Rows, TableSpec, View};
use crate::streams;

pub(crate) static ORDER_FACTS: TableSpec = TableSpec::plain("order_facts");

/// An order as far as figures need it: later events name only lines and amounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderFacts {
    /// Absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    pub country: SmolStr,
    pub payment_method: SmolStr,
    pub placed_at: Timestamp,
    pub total: Money,
    pub lines: Vec<FactLine>,
    /// Whether the order counts now.
    pub counted: bool,
    pub paid: bool,
    pub revision: u64,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactLine {
    pub line_id: u32,
    pub variant_id: VariantId,
    pub sku: Sku,
    pub name: Label,
    pub category: Label,
    pub quantity: Quantity,
    pub total: Money,
}

impl View for OrderFacts {
    const TABLE: &'static TableSpec = &ORDER_FACTS;
}

impl OrderFacts {
    fn new(event: &Placed, revision: u64) -> Self {
        let country = event.shipping_address.as_ref().map_or(UNKNOWN, |address| address.country.as_str());
        let lines = event.lines.iter().map(|line| FactLine {
            line_id: line.line_id,
            variant_id: line.variant_id.clone(),
            sku: line.sku.clone(),
            name: line.name.clone(),
            category: line.category.clone(),
            quantity: line.quantity,
            total: line.total,
        });
        Self {
            customer_id: event.customer_id.clone(),
            country: country.into(),
            payment_method: event.payment_method.as_str().into(),
            placed_at: event.placed_at,
            total: event.total,
            lines: lines.collect(),
            counted: true,
            paid: false,
            revision,
        }
    }

    /// The one currency of the order.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.total.currency()
    }

    /// Units of all lines.
    #[must_use]
    pub fn units(&self) -> i64 {
        self.lines.iter().map(|line| line.quantity.as_i64()).sum()
    }

    fn line(&self, line_id: u32) -> Result<&FactLine, ProjectError> {
        let found = self.lines.iter().find(|line| line.line_id == line_id);
        found.ok_or_else(|| ProjectError::Rejected(format!("the order has no line {line_id}")))
    }
}

/// What an event means for the figures.
pub(crate) enum Movement {
    /// The order counts from now on (`sign` 1) or no longer (−1), both at its `placed_at`.
    Order { order_id: SmolStr, facts: OrderFacts, sign: i64 },
    /// Money was given back at `at`.
    Refund(Refund),
}

/// Money given back.
pub(crate) struct Refund {
    pub(crate) at: Timestamp,
    /// Of a credit without an order.
    pub(crate) credit_id: Option<SmolStr>,
    pub(crate) customer_id: Option<CustomerId>,
    pub(crate) country: SmolStr,
    pub(crate) payment_method: SmolStr,
    pub(crate) amount: Money,
    pub(crate) of: Vec<RefundOf>,
}

/// The share of one line in a refund.
pub(crate) struct RefundOf {
    pub(crate) variant_id: VariantId,
    pub(crate) sku: Sku,
    pub(crate) name: Label,
    pub(crate) category: Label,
    pub(crate) quantity: Quantity,
    pub(crate) amount: Money,
}

/// The events that figures come from.
pub(crate) fn handles(event_type: &str) -> bool {
    event_type.starts_with("order.") || event_type.starts_with("credit.")
}

/// Notes the event in the order's facts, and says what it means for the figures.
pub(crate) fn movement(
    model: &'static str,
    event: &Projected,
    rows: &mut Rows<'_>,
) -> Result<Option<Movement>, ProjectError> {
    let order = match &event.event {
        AnyEvent::Order(order) => order,
        AnyEvent::Credit(credit::Event::Issued(issued)) => {
            return Ok(Some(Movement::Refund(credited(issued))));
        }
        AnyEvent::Credit(credit::Event::BadDebtAdjusted(_))
        | AnyEvent::Variant(_)
        | AnyEvent::Inventory(_)
        | AnyEvent::Claim(_)
        | AnyEvent::Sequence(_)
        | AnyEvent::Idempotency(_)
        | AnyEvent::Size(_)
        | AnyEvent::Color(_)
        | AnyEvent::AttributeType(_)
        | AnyEvent::AttributeValue(_)
        | AnyEvent::Category(_)
        | AnyEvent::Product(_)
        | AnyEvent::Operations(_) => return Ok(None),
    };
    let recorded = &event.recorded;
    let key = streams::key(recorded, "order-")?;
    let mut found = None;
    let fold = |facts: Option<OrderFacts>| {
        streams::follows(model, recorded, facts.as_ref().map_or(0, |facts| facts.revision))?;
        let (facts, movement) = match (facts, order) {
            (None, Event::Placed(placed)) => {
                let facts = OrderFacts::new(placed, recorded.revision);
                let movement = Movement::Order { order_id: key.into(), facts: facts.clone(), sign: 1 };
                (facts, Some(movement))
            }
            (None, _) => return Err(streams::nothing_there(recorded)),
            (Some(mut facts), order) => {
                facts.revision = recorded.revision;
                let movement = follow_up(key, &mut facts, order)?;
                (facts, movement)
            }
        };
        found = movement;
        Ok(Some(facts))
    };
    if recorded.revision == 1 { rows.fold_first(key, fold) } else { rows.fold(key, fold) }?;
    Ok(found)
}

fn follow_up(
    order_id: &str,
    facts: &mut OrderFacts,
    event: &Event,
) -> Result<Option<Movement>, ProjectError> {
    let count = |facts: &mut OrderFacts, counted: bool| {
        if facts.counted == counted {
            return None;
        }
        facts.counted = counted;
        let sign = if counted { 1 } else { -1 };
        Some(Movement::Order { order_id: order_id.into(), facts: facts.clone(), sign })
    };
    Ok(match event {
        Event::Placed(_) => return Err(ProjectError::Rejected("an order is placed once".to_owned())),
        Event::Paid(_) => {
            facts.paid = true;
            count(facts, true)
        }
        Event::PaymentFailed(_) | Event::Cancelled(_) if !facts.paid => count(facts, false),
        Event::Refunded(event) => Some(Movement::Refund(refunded(facts, event)?)),
        Event::PaymentFailed(_)
        | Event::Cancelled(_)
        | Event::Reserved(_)
        | Event::Shipped(_)
        | Event::Delivered(_)
        | Event::Completed(_)
        | Event::ReturnRequested(_)
        | Event::ReturnReceived(_) => None,
    })
}

fn refunded(facts: &OrderFacts, event: &Refunded) -> Result<Refund, ProjectError> {
    let of = event.lines.iter().map(|refund| {
        let line = facts.line(refund.line_id)?;
        Ok(RefundOf {
            variant_id: line.variant_id.clone(),
            sku: line.sku.clone(),
            name: line.name.clone(),
            category: line.category.clone(),
            quantity: refund.quantity,
            amount: refund.amount,
        })
    });
    Ok(Refund {
        at: event.refunded_at,
        credit_id: None,
        customer_id: facts.customer_id.clone(),
        country: facts.country.clone(),
        payment_method: facts.payment_method.clone(),
        amount: event.amount,
        of: of.collect::<Result<_, ProjectError>>()?,
    })
}

fn credited(event: &Issued) -> Refund {
    Refund {
        at: event.issued_at,
        credit_id: Some(event.credit_id.as_str().into()),
        customer_id: event.customer_id.clone(),
        country: event.country.as_ref().map_or(UNKNOWN, Label::as_str).into(),
        payment_method: UNKNOWN.into(),
        amount: event.amount,
        of: vec![RefundOf {
            variant_id: event.variant_id.clone(),
            sku: event.sku.clone(),
            name: event.name.clone(),
            category: event.category.clone(),
            quantity: event.quantity,
            amount: event.amount,
        }],
    }
}

/// Notes that an event of an order was given up.
pub(crate) fn pass_over(event: &RecordedEvent, rows: &mut Rows<'_>) -> Result<(), ProjectError> {
    let Some(key) = event.stream().strip_prefix("order-") else {
        return Ok(());
    };
    rows.fold(key, |facts: Option<OrderFacts>| {
        let mut facts = facts.ok_or_else(|| streams::nothing_there(event))?;
        facts.revision = event.revision;
        Ok(Some(facts))
    })
}
