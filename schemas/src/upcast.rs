//! Upcasters: pure steps from version n of a payload to version n + 1. A step is never changed once released.

use serde_json::{Map, Value, json};

type Fields = Map<String, Value>;

/// One step for one type.
struct Step {
    wire_name: &'static str,
    from: u16,
    apply: fn(Fields) -> Result<Fields, String>,
}

const STEPS: &[Step] = &[
    Step { wire_name: "variant.price_changed", from: 1, apply: price_changed_v1_to_v2 },
    // Version 2 says who locked, where that is known; of what was written before it is not.
    Step { wire_name: "variant.locked", from: 1, apply: Ok },
    // Version 2 says which types count the variant; what was written before it was counted by none.
    Step { wire_name: "variant.references_bound", from: 1, apply: Ok },
    // Version 2 says why, where that was said; of what was written before it is not.
    Step { wire_name: "attribute_type.changed", from: 1, apply: Ok },
    Step { wire_name: "attribute_type.segmentation_changed", from: 1, apply: Ok },
    Step { wire_name: "attribute_value.changed", from: 1, apply: Ok },
    Step { wire_name: "attribute_value.segmentation_changed", from: 1, apply: Ok },
    Step { wire_name: "category.changed", from: 1, apply: Ok },
    Step { wire_name: "category.schema_changed", from: 1, apply: Ok },
    Step { wire_name: "category.segmentation_changed", from: 1, apply: Ok },
    Step { wire_name: "color.changed", from: 1, apply: Ok },
    Step { wire_name: "size.changed", from: 1, apply: Ok },
    Step { wire_name: "variant.details_changed", from: 1, apply: Ok },
    Step { wire_name: "variant.segmentation_changed", from: 1, apply: Ok },
];

/// Brings a payload from version `from` to version `to` by all steps between. Errors say what the payload lacks.
pub fn to_current(wire_name: &str, from: u16, to: u16, payload: Value) -> Result<Value, String> {
    let Value::Object(mut fields) = payload else {
        return Err("the payload is not a JSON object".to_owned());
    };
    for version in from..to {
        let step = STEPS
            .iter()
            .find(|step| step.wire_name == wire_name && step.from == version)
            .ok_or_else(|| format!("no upcaster from version {version}"))?;
        fields = (step.apply)(fields)?;
    }
    Ok(Value::Object(fields))
}

/// Version 1 had the amount at the top, `changed_at` for the time, and knew neither types nor previous prices.
fn price_changed_v1_to_v2(mut old: Fields) -> Result<Fields, String> {
    let mut take = |name: &str| old.remove(name).ok_or_else(|| format!("missing field `{name}`"));
    let amount = take("amount")?;
    let currency = take("currency")?;
    let changed_at = take("changed_at")?;
    let reason = take("reason")?;
    if let Some(unknown) = old.keys().next() {
        return Err(format!("unknown field `{unknown}`"));
    }
    let mut new = Fields::new();
    new.insert(
        "price".to_owned(),
        json!({"amount": {"amount": amount, "currency": currency}, "price_type": "regular"}),
    );
    new.insert("effective_from".to_owned(), changed_at);
    new.insert("reason".to_owned(), reason);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use crate::{AnyEvent, Currency, DecodeError, Money, variant};

    #[test]
    fn an_old_price_change_is_read() {
        let data = br#"{"amount":"12.50","currency":"GBP","changed_at":"2011-11-04T10:00:00Z","reason":"sale ended"}"#;
        let AnyEvent::Variant(variant::Event::PriceChanged(event)) =
            AnyEvent::decode("variant.price_changed", 1, data).unwrap()
        else {
            panic!("another event");
        };
        assert_eq!(event.price.amount, Money::parse("12.50", Currency::GBP).unwrap());
        assert_eq!(event.previous, None);
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let decode = |name: &str, version, data: &[u8]| AnyEvent::decode(name, version, data).unwrap_err();
        assert!(matches!(decode("variant.exploded", 1, b"{}"), DecodeError::UnknownType { .. }));
        assert!(matches!(
            decode("variant.price_changed", 3, b"{}"),
            DecodeError::NewerVersion { found: 3, known: 2, .. }
        ));
        assert!(matches!(decode("variant.price_changed", 1, b"{}"), DecodeError::Payload { .. }));
        assert!(matches!(decode("order.completed", 1, b"[1"), DecodeError::Payload { .. }));
        assert!(matches!(
            decode("order.completed", 1, br#"{"completed_at":"2011-11-04T10:00:00Z","x":1}"#),
            DecodeError::Payload { .. }
        ));
    }
}
