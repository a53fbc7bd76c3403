//! The placing of an order: numbers of lines, totals, and what a repeat is.

use daybook_schemas::order::{Event, Line, Placed};
use daybook_schemas::{Label, Money};

use super::{Command, Existing, MAX_LINES, NewLine, Order, Place, Rejection};

impl Order {
    pub(super) fn place(&self, place: &Place, command: &Command) -> Result<Vec<Event>, Rejection> {
        if !(1..=MAX_LINES).contains(&place.lines.len()) {
            return Err(Rejection::LineCount(place.lines.len()));
        }
        let mut lines = Vec::with_capacity(place.lines.len());
        let mut total = Money::zero(place.lines[0].unit_price.currency());
        for (line_id, new) in (1..).zip(&place.lines) {
            if new.unit_price.currency() != total.currency() {
                let (found, expected) = (new.unit_price.currency(), total.currency());
                return Err(Rejection::MixedCurrencies { line: line_id, found, expected });
            }
            let line = line(line_id, new)?;
            total = total.plus(line.total)?;
            lines.push(line);
        }
        let number = || Label::new(place.order_id.as_str()).expect("an id is a short text on one line");
        let placed = Placed {
            order_id: place.order_id.clone(),
            order_number: place.order_number.clone().unwrap_or_else(number),
            customer_id: place.customer_id.clone(),
            lines,
            total,
            payment_method: place.payment_method.clone(),
            shipping_address: place.shipping_address.clone(),
            billing_address: place.billing_address.clone(),
            placed_at: place.placed_at.unwrap_or(command.now),
        };
        match self {
            Self::Absent => Ok(vec![placed.into()]),
            Self::Existing(existing) if existing.repeats(&placed) => Ok(Vec::new()),
            Self::Existing(_) => Err(Rejection::DuplicateOrder),
        }
    }
}

impl Existing {
    /// Whether the order is the same but for the time of placing.
    #[must_use]
    pub fn repeats(&self, placed: &Placed) -> bool {
        self.order_id == placed.order_id
            && self.order_number == placed.order_number
            && self.customer_id == placed.customer_id
            && self.payment_method == placed.payment_method
            && self.shipping_address == placed.shipping_address
            && self.billing_address == placed.billing_address
            && self.lines.iter().map(|state| &state.line).eq(&placed.lines)
    }
}

/// The line with its total: quantity × unit price − discounts + tax.
fn line(line_id: u32, new: &NewLine) -> Result<Line, Rejection> {
    let negative = Rejection::NegativeAmount(line_id);
    if new.unit_price.is_negative() || new.tax.is_some_and(Money::is_negative) {
        return Err(negative);
    }
    let mut total = new.unit_price.times(new.quantity)?;
    for discount in &new.discounts {
        if discount.amount.is_negative() || discount.amount.is_zero() {
            return Err(negative);
        }
        total = total.minus(discount.amount)?;
    }
    if total.is_negative() {
        return Err(Rejection::DiscountTooLarge(line_id));
    }
    if let Some(tax) = new.tax {
        total = total.plus(tax)?;
    }
    Ok(Line {
        line_id,
        variant_id: new.variant_id.clone(),
        sku: new.sku.clone(),
        name: new.name.clone(),
        brand: new.brand.clone(),
        category: new.category.clone(),
        attributes: new.attributes.clone(),
        quantity: new.quantity,
        unit_price: new.unit_price,
        compare_at: new.compare_at,
        discounts: new.discounts.clone(),
        tax: new.tax,
        total,
        stocked: new.stocked,
    })
}
