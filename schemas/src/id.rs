//! Identifiers: `[A-Za-z0-9._~-]{1,64}`, UUIDv7 unless the client gives its own.

use crate::macros::text_newtypes;

/// Longest identifier in characters.
pub const MAX_LEN: usize = 64;

/// Whether the character may stand in an identifier (the unreserved characters of RFC 3986).
#[must_use]
pub const fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-')
}

pub(crate) fn id_rule(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_LEN || !text.chars().all(is_id_char) {
        return Err(format!(
            "an id is 1 to {MAX_LEN} characters of A-Z a-z 0-9 . _ ~ -, got {:?}",
            text.chars().take(80).collect::<String>()
        ));
    }
    Ok(())
}

pub(crate) fn id_schema() -> schemars::Schema {
    schemars::json_schema!({"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$"})
}

text_newtypes! {
    /// A variant: one sellable configuration of a product.
    VariantId: id_rule, id_schema();
    /// A product, of which variants are configurations.
    ProductId: id_rule, id_schema();
    /// A category of the master data.
    CategoryId: id_rule, id_schema();
    /// An order.
    OrderId: id_rule, id_schema();
    /// A customer. Guests have none.
    CustomerId: id_rule, id_schema();
    /// A hold on stock.
    ReservationId: id_rule, id_schema();
    /// A place where stock lies.
    LocationId: id_rule, id_schema();
    /// A credit note or write-off without an order.
    CreditId: id_rule, id_schema();
    /// A parcel of an order.
    ShipmentId: id_rule, id_schema();
    /// A return of an order.
    ReturnId: id_rule, id_schema();
    /// A refund of an order.
    RefundId: id_rule, id_schema();
    /// A price change that is to take effect later.
    ScheduleId: id_rule, id_schema();
    /// An attribute value in the master data.
    ValueId: id_rule, id_schema();
    /// A command, unique; the same on a retry with the same idempotency key.
    CommandId: id_rule, id_schema();
    /// A short machine-readable word: channel, region, attribute type, payment method.
    Token: id_rule, id_schema();
}

impl LocationId {
    /// The location that is meant when none is named.
    #[must_use]
    pub fn default_location() -> Self {
        Self::new("default").expect("a constant that keeps the rule")
    }
}

impl Default for LocationId {
    fn default() -> Self {
        Self::default_location()
    }
}
