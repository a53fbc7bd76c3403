//! Money: an exact decimal with a currency.
//!
//! **Rounding rule.** Prices, line totals and sums are never rounded: quantity × unit price and every sum keep all digits.
//! Only a quotient or a percentage (tax, discount share, average) is rounded, once, half to even, to the minor unit of the
//! currency ([`Money::rounded`]).

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Invalid, Quantity};

/// Most digits after the decimal point that an amount may have.
pub const MAX_SCALE: u32 = 6;

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Pound sterling.
    pub const GBP: Self = Self(*b"GBP");

    /// Parses three capital letters.
    pub fn new(code: &str) -> Result<Self, Invalid> {
        match code.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(Invalid(format!(
                "a currency is three capital letters (ISO 4217), got {:?}",
                code.chars().take(10).collect::<String>()
            ))),
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three ASCII letters by construction")
    }

    /// Digits after the decimal point of the currency's minor unit (ISO 4217).
    #[must_use]
    pub const fn minor_digits(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF"
            | b"UGX" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Currency {
    type Err = Invalid;

    fn from_str(code: &str) -> Result<Self, Invalid> {
        Self::new(code)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&code).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Z]{3}$"})
    }
}

/// Why two amounts do not combine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("amounts in {0} and {1} do not add up")]
    CurrencyMismatch(Currency, Currency),
    #[error("an amount is below 10^15 in size")]
    TooLarge,
}

/// An amount in a currency: up to 6 digits after the point, below 10^15 in size, in canonical form (at least the minor
/// unit's digits, no further trailing zeros). In JSON `{"amount": "12.50", "currency": "GBP"}`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Wire", into = "Wire")]
#[schemars(with = "Wire")]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

/// The JSON form of [`Money`].
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Money")]
struct Wire {
    #[serde(with = "decimal_text")]
    #[schemars(with = "String", regex(pattern = r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$"))]
    amount: Decimal,
    currency: Currency,
}

impl TryFrom<Wire> for Money {
    type Error = Invalid;
    fn try_from(wire: Wire) -> Result<Self, Invalid> {
        Self::new(wire.amount, wire.currency)
    }
}

impl From<Money> for Wire {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}

impl Money {
    /// Checks the bounds and brings the amount to canonical form.
    pub fn new(amount: Decimal, currency: Currency) -> Result<Self, Invalid> {
        if amount.abs() >= limit() {
            return Err(Invalid(MoneyError::TooLarge.to_string()));
        }
        let normal = amount.normalize();
        if normal.scale() > MAX_SCALE {
            return Err(Invalid(format!(
                "an amount has at most {MAX_SCALE} digits after the point, got {amount}"
            )));
        }
        Ok(Self::canonical(normal, currency))
    }

    /// Parses an amount such as `12.50`.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self, Invalid> {
        Self::new(parse_decimal(amount)?, currency)
    }

    /// No money.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::canonical(Decimal::ZERO, currency)
    }

    fn canonical(amount: Decimal, currency: Currency) -> Self {
        let mut amount = amount.normalize();
        if amount.is_zero() {
            amount = Decimal::ZERO;
        }
        if amount.scale() < currency.minor_digits() {
            amount.rescale(currency.minor_digits());
        }
        Self { amount, currency }
    }

    /// The number.
    #[must_use]
    pub const fn amount(self) -> Decimal {
        self.amount
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.amount.is_zero()
    }

    #[must_use]
    pub fn is_negative(self) -> bool {
        self.amount.is_sign_negative() && !self.amount.is_zero()
    }

    /// Exact sum.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let sum = self
            .amount
            .checked_add(other.amount)
            .filter(|s| s.abs() < limit())
            .ok_or(MoneyError::TooLarge)?;
        Ok(Self::canonical(sum, self.currency))
    }

    /// Exact difference.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.plus(other.negated())
    }

    /// Exact product with a count.
    pub fn times(self, quantity: Quantity) -> Result<Self, MoneyError> {
        let product = self
            .amount
            .checked_mul(Decimal::from(quantity.get()))
            .filter(|p| p.abs() < limit())
            .ok_or(MoneyError::TooLarge)?;
        Ok(Self::canonical(product, self.currency))
    }

    /// The same amount with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::canonical(-self.amount, self.currency)
    }

    /// A quotient or percentage, rounded half to even to the minor unit: the one place where digits are given up.
    #[must_use]
    pub fn rounded(amount: Decimal, currency: Currency) -> Self {
        Self::canonical(
            amount.round_dp_with_strategy(currency.minor_digits(), RoundingStrategy::MidpointNearestEven),
            currency,
        )
    }

    /// The mean over `count` things, rounded; zero over none.
    #[must_use]
    pub fn average(self, count: u64) -> Self {
        match self.amount.checked_div(Decimal::from(count)) {
            Some(mean) => Self::rounded(mean, self.currency),
            None => Self::zero(self.currency),
        }
    }

    /// Compares amounts of one currency; `None` across currencies.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<std::cmp::Ordering> {
        (self.currency == other.currency).then(|| self.amount.cmp(&other.amount))
    }
}

fn limit() -> Decimal {
    Decimal::from(1_000_000_000_000_000_i64)
}

/// Parses a plain decimal: digits, an optional sign and point; no exponent, no grouping.
pub fn parse_decimal(text: &str) -> Result<Decimal, Invalid> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.len() <= 32
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().next().is_some_and(|b| b.is_ascii_digit())
        && digits.bytes().last().is_some_and(|b| b.is_ascii_digit());
    plain.then(|| Decimal::from_str_exact(text).ok()).flatten().ok_or_else(|| {
        Invalid(format!(
            "an amount is a decimal string such as \"12.50\", got {:?}",
            text.chars().take(40).collect::<String>()
        ))
    })
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Decimals as JSON strings; numbers are refused, because JSON readers turn them into floats.
pub mod decimal_text {
    use super::{Decimal, Deserializer, Serializer, fmt, parse_decimal};

    pub fn serialize<S: Serializer>(value: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal string such as \"12.50\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                parse_decimal(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gbp(amount: &str) -> Money {
        Money::parse(amount, Currency::GBP).unwrap()
    }

    #[test]
    fn one_amount_has_one_form() {
        assert_eq!(gbp("12.5").to_string(), "12.50 GBP");
        assert_eq!(gbp("12.500").to_string(), "12.50 GBP");
        assert_eq!(gbp("0.001").to_string(), "0.001 GBP");
        assert_eq!(gbp("-0.00").to_string(), "0.00 GBP");
        assert_eq!(Money::parse("5", Currency::new("JPY").unwrap()).unwrap().to_string(), "5 JPY");
    }

    #[test]
    fn sums_and_products_are_exact() {
        assert_eq!(gbp("0.001").times(Quantity::new(1_000).unwrap()).unwrap(), gbp("1"));
        assert_eq!(gbp("0.1").plus(gbp("0.2")).unwrap(), gbp("0.3"));
        assert_eq!(
            gbp("1").plus(Money::zero(Currency::new("EUR").unwrap())),
            Err(MoneyError::CurrencyMismatch(Currency::GBP, Currency::new("EUR").unwrap()))
        );
    }

    #[test]
    fn only_quotients_are_rounded_half_to_even() {
        assert_eq!(gbp("0.05").average(2), gbp("0.02"));
        assert_eq!(gbp("0.15").average(2), gbp("0.08"));
        assert_eq!(gbp("1").average(0), gbp("0"));
    }

    #[test]
    fn refuses_floats_exponents_and_excess() {
        for text in [
            "",
            ".",
            "1e3",
            "1,000",
            "+1",
            ".5",
            "5.",
            "1.2.3",
            "--1",
            "0.0000001",
            "1000000000000000",
            "NaN",
        ] {
            assert!(Money::parse(text, Currency::GBP).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Money>(r#"{"amount": 12.5, "currency": "GBP"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount": "12.5", "currency": "gbp"}"#).is_err());
    }
}
