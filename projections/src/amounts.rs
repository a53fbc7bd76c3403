//! Amounts in views: prices as clients see them, and integers that sort like amounts.

use daybook_schemas::variant::{Price, PriceType};
use daybook_schemas::{Currency, Money};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A price in a view: `{"amount": "12.50", "currency": "GBP", "compare_at": "15.00", "price_type": "sale"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceView {
    #[serde(with = "daybook_schemas::money::decimal_text")]
    #[schemars(with = "String")]
    pub amount: Decimal,
    pub currency: Currency,
    /// The crossed-out price, in the same currency.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_decimal_text")]
    #[schemars(with = "Option<String>")]
    pub compare_at: Option<Decimal>,
    pub price_type: PriceType,
}

impl From<Price> for PriceView {
    fn from(price: Price) -> Self {
        Self {
            amount: price.amount.amount(),
            currency: price.currency(),
            compare_at: price.compare_at.map(Money::amount),
            price_type: price.price_type,
        }
    }
}

impl PriceView {
    /// The price that it shows.
    #[must_use]
    pub fn price(&self) -> Price {
        let compare_at = self.compare_at.map(|amount| Money::new(amount, self.currency));
        let compare_at = compare_at.map(|money| money.expect("it was made of one"));
        Price { amount: self.money(), compare_at, price_type: self.price_type }
    }

    /// The amount with its currency.
    #[must_use]
    pub fn money(&self) -> Money {
        Money::new(self.amount, self.currency).expect("it was made of one")
    }
}

/// An amount in millionths, for order only: exact below 9.2 × 10^12, the largest integer beyond.
#[must_use]
pub fn micros(amount: Decimal) -> i64 {
    let scaled = amount.checked_mul(Decimal::from(1_000_000)).and_then(|micros| micros.trunc().to_i64());
    scaled.unwrap_or(if amount.is_sign_negative() { i64::MIN + 1 } else { i64::MAX })
}

mod optional_decimal_text {
    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Text(#[serde(with = "daybook_schemas::money::decimal_text")] Decimal);

    #[allow(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Decimal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(amount) => daybook_schemas::money::decimal_text::serialize(amount, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Decimal>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_sort_like_amounts_and_saturate() {
        let micros_of = |text: &str| micros(text.parse().unwrap());
        assert_eq!(micros_of("12.345678"), 12_345_678);
        assert_eq!(micros_of("-0.000001"), -1);
        assert_eq!(micros_of("999999999999999"), i64::MAX);
        assert_eq!(micros_of("-999999999999999"), i64::MIN + 1);
    }
}
