//! Given / when / then for every rule of variants.

mod creation;
mod history;
mod lifecycle;
mod masters;
mod price_lists;
mod prices;

use serde_json::{Value, json};

use super::{Action, Archive, Existing, StepName, StockFacts, Variant};
use crate::testing::Scene;

type Item = Scene<Variant>;

fn absent() -> Item {
    Scene::new(Action::parse)
}

/// The body of a creation, with these fields set over it.
fn body(fields: Value) -> Value {
    let mut body = json!({"product_id": "shirt", "name": "Shirt", "brand": "Acme", "category": "shirts",
        "attributes": [{"type": "size", "value": "M", "rank": 3}, {"type": "color", "value": "Navy", "hex": "#000080"}],
        "price": {"amount": "12.50", "currency": "GBP"}});
    let Value::Object(fields) = fields else { panic!("an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// A draft with a price.
fn draft() -> Item {
    let mut item = absent();
    item.ok("create", body(json!({})));
    item
}

fn existing(item: &Item) -> &Existing {
    item.state.existing().unwrap()
}

fn archive(item: &mut Item, stock: Option<StockFacts>) -> Result<usize, crate::Refusal> {
    let archived = item.act(Action::Archive(Archive { reason: None, stock }));
    archived.map(|events| events.len()).map_err(crate::Refusal::from)
}

/// Takes the steps that lead from draft.
fn after(steps: &[StepName]) -> Item {
    let mut item = draft();
    for step in steps {
        match step {
            StepName::Archive => {
                archive(&mut item, Some(StockFacts::default())).unwrap();
            }
            step => {
                item.ok(step.as_str(), json!({}));
            }
        }
    }
    item
}

mod framework {
    use cqrs_es::mem_store::MemStore;
    use cqrs_es::{CqrsFramework, EventStore};

    use super::*;

    #[tokio::test]
    async fn runs_under_the_stock_framework() {
        let store = MemStore::<Variant>::default();
        let cqrs = CqrsFramework::new(store.clone(), Vec::new(), ());
        for (name, body) in
            [("create", body(json!({}))), ("submit", json!({})), ("approve", json!({"reason": "fine"}))]
        {
            let action = Action::parse(name, body.to_string().as_bytes()).unwrap().unwrap();
            let command = crate::Command {
                now: daybook_schemas::Timestamp::from_secs(1),
                fresh_id: daybook_schemas::Token::new("fresh").unwrap(),
                roles: crate::Roles::ALL,
                action,
            };
            cqrs.execute("v1", command).await.unwrap();
        }
        let names: Vec<_> =
            store.load_events("v1").await.unwrap().iter().map(|event| event.payload.wire_name()).collect();
        assert_eq!(names, ["variant.created", "variant.submitted", "variant.activated"]);
    }
}
