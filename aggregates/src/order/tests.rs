//! Given / when / then for every rule of orders.

mod fulfilment;
mod placing;
mod refunds;

use daybook_schemas::order::{Discount, Hold};
use daybook_schemas::{
    CustomerId, Label, Money, OrderId, Quantity, ReservationId, Sku, Timestamp, Token, VariantId,
};
use serde_json::json;

use super::{Action, Existing, MarkReserved, NewLine, Order, Place, Status};
use crate::testing::Scene;

type Deal = Scene<Order>;

fn gbp(amount: &str) -> Money {
    Money::parse(amount, daybook_schemas::Currency::GBP).unwrap()
}

fn line(variant: &str, quantity: u64, unit_price: &str, stocked: bool) -> NewLine {
    NewLine {
        variant_id: VariantId::new(variant).unwrap(),
        sku: Sku::new(variant.to_uppercase()).unwrap(),
        name: Label::new(variant).unwrap(),
        brand: None,
        category: Label::new("things").unwrap(),
        attributes: Vec::new(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: gbp(unit_price),
        compare_at: None,
        discounts: Vec::new(),
        tax: None,
        stocked,
    }
}

fn discount(amount: &str) -> Discount {
    Discount { reason: Label::new("voucher").unwrap(), amount: gbp(amount) }
}

fn place(lines: Vec<NewLine>) -> Place {
    Place {
        order_id: OrderId::new("o1").unwrap(),
        order_number: None,
        customer_id: Some(CustomerId::new("c1").unwrap()),
        lines,
        payment_method: Token::new("card").unwrap(),
        shipping_address: None,
        billing_address: None,
        placed_at: None,
    }
}

fn hold(variant: &str, quantity: u64) -> Hold {
    Hold {
        variant_id: VariantId::new(variant).unwrap(),
        reservation_id: ReservationId::new("o1").unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
    }
}

fn reserve(holds: Vec<Hold>) -> Action {
    Action::MarkReserved(MarkReserved { holds, expires_at: Timestamp::from_secs(2_000) })
}

fn absent() -> Deal {
    Scene::new(Action::parse)
}

fn order(deal: &Deal) -> &Existing {
    deal.state.existing().unwrap()
}

fn placed(lines: Vec<NewLine>) -> Deal {
    let mut deal = absent();
    deal.act(Action::Place(Box::new(place(lines)))).unwrap();
    deal
}

/// Three pens at 2.00, two pads at 1.25 of which one may be shipped later, and postage.
fn paid() -> Deal {
    let mut deal =
        placed(vec![line("pen", 3, "2", true), line("pad", 2, "1.25", true), line("postage", 1, "3", false)]);
    deal.act(reserve(vec![hold("pen", 3), hold("pad", 2)])).unwrap();
    deal.ok("pay", json!({"payment_reference": "p1"}));
    deal
}

fn shipped() -> Deal {
    let mut deal = paid();
    deal.ok("ship", json!({"shipment_id": "s1"}));
    deal
}

mod framework {
    use cqrs_es::mem_store::MemStore;
    use cqrs_es::{CqrsFramework, EventStore};

    use super::*;

    #[tokio::test]
    async fn runs_under_the_stock_framework() {
        let store = MemStore::<Order>::default();
        let cqrs = CqrsFramework::new(store.clone(), Vec::new(), ());
        let actions = [
            Action::Place(Box::new(place(vec![line("pen", 1, "2", true)]))),
            reserve(vec![hold("pen", 1)]),
            Action::parse("pay", b"").unwrap().unwrap(),
        ];
        for action in actions {
            let command = crate::Command {
                now: Timestamp::from_secs(1),
                fresh_id: Token::new("fresh").unwrap(),
                roles: crate::Roles::ALL,
                action,
            };
            cqrs.execute("o1", command).await.unwrap();
        }
        let names: Vec<_> =
            store.load_events("o1").await.unwrap().iter().map(|event| event.payload.wire_name()).collect();
        assert_eq!(names, ["order.placed", "order.reserved", "order.paid"]);
    }
}
