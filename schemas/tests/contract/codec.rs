//! What is written is read back the same, for any values.

use std::collections::BTreeSet;

use daybook_schemas::inventory::{self, Allocation};
use daybook_schemas::order::{self, LineRefund};
use daybook_schemas::variant::{self, Price, PriceType};
use daybook_schemas::{
    AnyEvent, Currency, CustomerId, LocationId, Money, OrderId, ProductId, Quantity, RefundId, ReservationId,
    Text, Timestamp, ValueId, configuration,
};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn money() -> impl Strategy<Value = Money> {
    let currency = prop_oneof!["GBP", "EUR", "JPY", "KWD"].prop_map(|code| Currency::new(&code).unwrap());
    (-999_999_999_999_999_i64..=999_999_999_999_999, 0..=6_u32, currency)
        .prop_map(|(units, scale, currency)| Money::new(Decimal::new(units, scale), currency).unwrap())
}

fn time() -> impl Strategy<Value = Timestamp> {
    (i64::MIN..=i64::MAX).prop_map(|micros| Timestamp::from_micros(micros / 40_000))
}

fn quantity() -> impl Strategy<Value = Quantity> {
    (1..=u64::from(Quantity::MAX)).prop_map(|count| Quantity::new(count).unwrap())
}

const ID: &str = "[A-Za-z0-9._~-]{1,64}";

fn text() -> impl Strategy<Value = Text> {
    "[^\\p{C}]{0,80}".prop_map(|text| Text::new(text).unwrap())
}

fn reserved() -> impl Strategy<Value = inventory::Event> {
    let allocation = (ID, quantity()).prop_map(|(location, quantity)| Allocation {
        location: LocationId::new(location).unwrap(),
        quantity,
    });
    let allocations = proptest::collection::vec(allocation, 1..4);
    let option = |id: &'static str| proptest::option::of(id);
    (ID, option(ID), option(ID), quantity(), allocations, time()).prop_map(
        |(id, customer, order, quantity, allocations, expires_at)| {
            inventory::Reserved {
                reservation_id: ReservationId::new(id).unwrap(),
                customer_id: customer.map(|id| CustomerId::new(id).unwrap()),
                order_id: order.map(|id| OrderId::new(id).unwrap()),
                quantity,
                allocations,
                expires_at,
            }
            .into()
        },
    )
}

fn price_changed() -> impl Strategy<Value = variant::Event> {
    let price =
        || {
            let kind =
                prop_oneof![Just(PriceType::Regular), Just(PriceType::Sale), Just(PriceType::Clearance)];
            (money(), proptest::option::of(money()), kind)
                .prop_map(|(amount, compare_at, price_type)| Price { amount, compare_at, price_type })
        };
    (price(), proptest::option::of(price()), time(), proptest::option::of(time()), text()).prop_map(
        |(price, previous, effective_from, effective_to, reason)| {
            variant::PriceChanged { price, previous, effective_from, effective_to, reason, schedule_id: None }
                .into()
        },
    )
}

fn refunded() -> impl Strategy<Value = order::Event> {
    let line = (any::<u32>(), quantity(), money()).prop_map(|(line_id, quantity, amount)| LineRefund {
        line_id,
        quantity,
        amount,
    });
    (ID, proptest::collection::vec(line, 0..4), money(), proptest::option::of(text()), time()).prop_map(
        |(id, lines, amount, reason, refunded_at)| {
            let refund_id = RefundId::new(id).unwrap();
            order::Refunded { refund_id, return_id: None, lines, amount, reason, refunded_at }.into()
        },
    )
}

/// A product and the values of one of its variants; `ids` is the pattern that all of their ids match.
fn configuration(ids: &'static str) -> impl Strategy<Value = (ProductId, BTreeSet<ValueId>)> {
    let values = proptest::collection::btree_set(ids.prop_map(|id| ValueId::new(id).unwrap()), 1..8);
    (ids.prop_map(|id| ProductId::new(id).unwrap()), values)
}

proptest! {
    #[test]
    fn events_are_read_back_the_same(
        event in prop_oneof![
            reserved().prop_map(AnyEvent::from),
            price_changed().prop_map(AnyEvent::from),
            refunded().prop_map(AnyEvent::from),
        ]
    ) {
        let data = event.to_data();
        let read = AnyEvent::decode(event.wire_name(), event.version(), &data).unwrap();
        prop_assert_eq!(&read, &event);
        // One event has one form: the notary's chain depends on it.
        prop_assert_eq!(read.to_data(), data);
    }

    #[test]
    fn times_keep_their_order_and_their_text(a in time(), b in time()) {
        prop_assert_eq!(Timestamp::parse(&a.to_string()).unwrap(), a);
        prop_assert_eq!(a.date(), &a.to_string()[..10]);
        prop_assert_eq!(a < b, a.as_micros() < b.as_micros());
    }

    #[test]
    fn sums_undo_themselves(a in money(), b in money()) {
        if let Ok(sum) = a.plus(b) {
            prop_assert_eq!(sum.minus(b).unwrap(), a);
        }
    }

    #[test]
    fn the_configuration_hash_does_not_depend_on_order_or_repetition(
        product in ID,
        values in proptest::collection::vec(ID, 0..12),
        shift in 0..12_usize,
    ) {
        let product = ProductId::new(product).unwrap();
        let values: Vec<ValueId> = values.iter().map(|id| ValueId::new(id).unwrap()).collect();
        let mut other = values.clone();
        other.rotate_left(shift % values.len().max(1));
        other.extend(values.first().cloned());
        prop_assert_eq!(configuration::hash(&product, &values), configuration::hash(&product, &other));
    }

    // Of so few ids that a product is often named as a value is, and that the two are often the same.
    #[test]
    fn configurations_share_a_hash_only_if_they_are_the_same(a in configuration("[ab.]{1,2}"), b in configuration("[ab.]{1,2}")) {
        let hash = |(product, values): &(ProductId, BTreeSet<ValueId>)| configuration::hash(product, values);
        prop_assert_eq!(hash(&a) == hash(&b), a == b);
    }

    #[test]
    fn a_value_more_is_another_hash(configuration in configuration(ID)) {
        let (product, values) = configuration;
        let values = Vec::from_iter(values);
        prop_assert_ne!(configuration::hash(&product, &values), configuration::hash(&product, &values[1..]));
    }
}
