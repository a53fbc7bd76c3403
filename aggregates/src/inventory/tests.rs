//! Given / when / then for every rule of stock.

mod holds;
mod model;
mod movements;

use daybook_schemas::{CustomerId, LocationId, ReservationId};
use serde_json::json;

use super::{Action, Event, Inventory, LocationStock};
use crate::testing::Scene;

type Stock = Scene<Inventory>;

fn empty() -> Stock {
    Scene::new(Action::parse)
}

/// Stock with units at the default location.
fn with(units: u32) -> Stock {
    let mut stock = empty();
    stock.ok("receive", json!({"quantity": units}));
    stock
}

fn at(stock: &Stock, location: &str) -> LocationStock {
    let location = LocationId::new(location).unwrap();
    stock.state.location(&location).cloned().unwrap_or_else(|| LocationStock::empty(location))
}

fn reservation(id: &str) -> ReservationId {
    ReservationId::new(id).unwrap()
}

fn customer(id: &str) -> CustomerId {
    CustomerId::new(id).unwrap()
}

/// A reservation of `quantity` for a customer under a given id.
fn hold(id: &str, customer: &str, quantity: u32) -> serde_json::Value {
    json!({"reservation_id": id, "customer_id": customer, "quantity": quantity})
}

mod framework {
    use cqrs_es::mem_store::MemStore;
    use cqrs_es::test::TestFramework;
    use cqrs_es::{CqrsFramework, EventStore};
    use daybook_schemas::inventory::Received;
    use daybook_schemas::{Quantity, Timestamp, Token};

    use super::super::{Receive, Sell};
    use super::*;
    use crate::{Command, Roles};

    fn command(action: Action) -> Command<Action> {
        Command {
            now: Timestamp::from_secs(1_000),
            fresh_id: Token::new("fresh").unwrap(),
            roles: Roles::ALL,
            action,
        }
    }

    fn receive(units: u64) -> Command<Action> {
        command(Action::Receive(Receive {
            location: LocationId::default(),
            quantity: Quantity::new(units).unwrap(),
            reference: None,
        }))
    }

    fn sell(units: u64) -> Command<Action> {
        command(Action::Sell(Sell {
            location: LocationId::default(),
            quantity: Quantity::new(units).unwrap(),
            reference: None,
        }))
    }

    fn received(units: u64) -> Event {
        Received {
            location: LocationId::default(),
            quantity: Quantity::new(units).unwrap(),
            from_incoming: 0,
            reference: None,
        }
        .into()
    }

    #[test]
    fn runs_under_the_stock_test_framework() {
        TestFramework::<Inventory>::with(())
            .given_no_previous_events()
            .when(receive(3))
            .then_expect_events(vec![received(3)]);
        TestFramework::<Inventory>::with(())
            .given(vec![received(3)])
            .when(sell(4))
            .then_expect_error_message("asked for 4, available are 3 at location default");
    }

    #[tokio::test]
    async fn runs_under_the_stock_framework() {
        let store = MemStore::<Inventory>::default();
        let cqrs = CqrsFramework::new(store.clone(), Vec::new(), ());
        cqrs.execute("v1", receive(3)).await.unwrap();
        cqrs.execute("v1", sell(2)).await.unwrap();
        cqrs.execute("v1", sell(2)).await.unwrap_err();
        let names: Vec<_> =
            store.load_events("v1").await.unwrap().iter().map(|e| e.payload.wire_name()).collect();
        assert_eq!(names, ["inventory.received", "inventory.sold"]);
    }
}
