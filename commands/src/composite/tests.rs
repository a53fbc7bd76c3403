//! Given / when / then without any log: states in a table, decided on by one command after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use daybook_aggregates::inventory::Inventory;
use daybook_aggregates::{Role, Roles};
use daybook_eventlog::StreamId;
use daybook_schemas::{Timestamp, Token};
use hashbrown::HashMap;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::encode::Encoder;
use crate::engine::table::Table;
use crate::error::CommandError;
use crate::holds::HoldIndex;
use crate::op::Op;
use crate::state::StreamState;
use crate::workspace::{Context, Halt, Known, Scratch, Workspace, stream};

mod for_sale;
mod generation;
mod holds;
mod late_money;
mod masters;
mod numbers;

struct World {
    table: Table,
    holds: HoldIndex,
    now: Timestamp,
    sequential: bool,
    commands: u128,
    /// Streams that are in the log and not in memory.
    cold: HashMap<StreamId, StreamState>,
    /// How often decisions waited for streams.
    waits: usize,
    /// Every stream that has events.
    written: BTreeSet<String>,
}

/// `stream type` of every event, or the refusal.
type Outcome = Result<Vec<String>, CommandError>;

impl World {
    fn given(commands: &[(&str, Value)]) -> Self {
        let mut world = Self {
            table: Table::new(usize::MAX),
            holds: HoldIndex::default(),
            now: Timestamp::from_secs(1_000_000),
            sequential: false,
            commands: 0,
            cold: HashMap::new(),
            waits: 0,
            written: BTreeSet::new(),
        };
        for (path, body) in commands {
            world.when(path, body).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        }
        world
    }

    fn when(&mut self, path: &str, body: &Value) -> Outcome {
        self.by(Roles::ALL, path, body)
    }

    /// Decides; streams that are asked for and not there are absent.
    fn by(&mut self, roles: Roles, path: &str, body: &Value) -> Outcome {
        let parts: Vec<&str> = path.split('/').collect();
        let id = Token::new(parts[1]).unwrap();
        self.commands += 1;
        let fresh_id = Token::new(format!("fresh-{}", self.commands)).unwrap();
        let body = body.to_string();
        let principal = crate::Principal { name: daybook_schemas::Label::new("test").unwrap(), roles };
        let mut op = Op::parse(parts[0], &id, parts[2], body.as_bytes(), &fresh_id, &principal, 5)?;
        let main = stream::of(parts[0], &id);
        loop {
            let mut scratch = Scratch::default();
            let context = Context {
                now: self.now,
                fresh_id: fresh_id.clone(),
                roles,
                sequential: self.sequential,
                shared: false,
                claim_timeout: Duration::from_secs(60),
            };
            let command = Uuid::from_u128(self.commands);
            let encoder = Encoder {
                command,
                main: main.clone(),
                first_event_id: command,
                recorded_at: self.now,
                metadata: bytes::Bytes::new(),
            };
            let mut workspace = Workspace::new(
                &mut self.table,
                &self.holds,
                &mut scratch,
                encoder,
                context,
                1,
                Known::default(),
            );
            match op.decide(&mut workspace, &main) {
                Ok(()) => workspace.finish(),
                Err(Halt::Refused(error)) => return Err(error),
                Err(Halt::Fence(stream)) => panic!("nothing is in flight, but {stream} was to be durable"),
                Err(Halt::Wait | Halt::Rest(_)) => {
                    self.waits += 1;
                    for missing in scratch.missing {
                        let absent = || StreamState::initial(missing.as_str()).unwrap();
                        let state = self.cold.remove(&missing).unwrap_or_else(absent);
                        self.table.put(&missing, state, 0);
                    }
                    continue;
                }
            }
            return Ok(self.keep(scratch));
        }
    }

    fn sku(&self, variant: &str) -> String {
        let stream = StreamId::new(format!("variant-{variant}")).unwrap();
        let state = self.table.get(&stream).and_then(|slot| slot.state.as_ref()).unwrap();
        let variant = <daybook_aggregates::variant::Variant as crate::state::Resident>::of(state).unwrap();
        variant.existing().unwrap().sku.to_string()
    }

    /// The ids of the holds on record of a variant's stock.
    fn hold_ids(&self, variant: &str) -> Vec<String> {
        let stream = StreamId::new(format!("inventory-{variant}")).unwrap();
        let state = self.table.get(&stream).and_then(|slot| slot.state.as_ref()).unwrap();
        let stock = <Inventory as crate::state::Resident>::of(state).unwrap();
        stock.holds().map(|hold| hold.reservation_id.to_string()).collect()
    }

    /// Has the streams of these names read anew. Their revisions, which nothing here looks at, are forgotten.
    fn cool(&mut self, streams: impl IntoIterator<Item = String>) {
        for name in streams {
            let stream = StreamId::new(name).unwrap();
            let state = self.table.forget(&stream).unwrap();
            self.cold.insert(stream, state);
        }
    }

    /// Has every stream read anew, also those that have no events.
    fn cool_all(&mut self) {
        let mut table = std::mem::replace(&mut self.table, Table::new(usize::MAX));
        for name in &self.written {
            let stream = StreamId::new(name.clone()).unwrap();
            if let Some(state) = table.forget(&stream) {
                self.cold.insert(stream, state);
            }
        }
    }

    fn keep(&mut self, scratch: Scratch) -> Vec<String> {
        let mut events = Vec::new();
        for write in scratch.writes {
            self.written.insert(write.stream.as_str().to_owned());
            let slot = self.table.get_mut(&write.stream).unwrap();
            slot.revision += write.encoded.len() as u64;
            slot.recorded_at = Some(self.now);
            events.extend(write.encoded.iter().map(|event| format!("{} {}", write.stream, event.event_type)));
        }
        for (stream, change) in scratch.changes {
            self.holds.change(&stream, change, self.now);
        }
        events
    }
}

#[test]
fn all_values_of_a_matrix_are_waited_for_together() {
    let mut world = World::given(&[]);
    for (id, data_type) in [("color", "color"), ("fabric", "text")] {
        let body = json!({"name": id, "data_type": data_type});
        world.when(&format!("attribute_type/{id}/create"), &body).unwrap();
        world.when(&format!("attribute_type/{id}/activate"), &json!({})).unwrap();
    }
    world.waits = 0;
    let values = |kind: &str| (0..20).map(|n| json!({"value": format!("{kind} {n}")})).collect::<Vec<_>>();
    let body = json!({
        "name": "Tee", "brand": "Acme", "category": "Shirts",
        "options": [{"type": "color", "values": values("c")}, {"type": "fabric", "values": values("f")}],
    });
    let refused = world.when("product/tee/generate-variants", &body).unwrap_err();
    assert_eq!(refused.code(), "unprocessable", "{refused:?}");
    assert!(world.waits <= 4, "waited {} times", world.waits);
}

#[test]
fn all_children_of_a_category_are_waited_for_together() {
    let mut world = World::given(&[("category/top/create", json!({"name": "Top"}))]);
    for n in 0..50 {
        let body = json!({"name": format!("Child {n}"), "parent_id": "top"});
        world.when(&format!("category/c{n}/create"), &body).unwrap();
    }
    world.cool((0..50).map(|n| format!("category-c{n}")));
    world.waits = 0;
    world.when("category/top/archive", &json!({})).unwrap_err();
    assert_eq!(world.waits, 1);
}

fn code(outcome: Outcome) -> &'static str {
    outcome.unwrap_err().code()
}

fn create(product: &str) -> Value {
    json!({"product_id": product, "name": product, "brand": "Acme", "category": "Shirts",
           "price": {"amount": "10.00", "currency": "GBP"}})
}

fn on_sale(variant: &str, units: u32) -> [(String, Value); 4] {
    [
        (format!("variant/{variant}/create"), create(variant)),
        (format!("variant/{variant}/submit"), json!({})),
        (format!("variant/{variant}/activate"), json!({})),
        (format!("inventory/{variant}/receive"), json!({"quantity": units})),
    ]
}

fn shop(variants: &[(&str, u32)]) -> World {
    let commands: Vec<_> = variants.iter().flat_map(|(variant, units)| on_sale(variant, *units)).collect();
    let commands: Vec<(&str, Value)> =
        commands.iter().map(|(path, body)| (path.as_str(), body.clone())).collect();
    World::given(&commands)
}

fn order(lines: &Value) -> Value {
    json!({"customer_id": "c", "payment_method": "card", "lines": lines})
}

#[test]
fn a_variant_takes_its_claims() {
    let events = World::given(&[]).when("variant/v/create", &create("p")).unwrap();
    assert_eq!(events.len(), 3);
    assert!(events[0].starts_with("claim-config-") && events[1].starts_with("claim-sku-V-"));
    assert_eq!(events[2], "variant-v variant.created");
}

#[test]
fn a_claim_without_its_variant_passes_on_only_where_streams_are_written_one_by_one() {
    for (sequential, secs, expected) in [(false, 60, false), (true, 59, false), (true, 60, true)] {
        let mut world = World::given(&[("variant/v/create", create("p"))]);
        // As if the last stream had never been written.
        let variant = StreamId::new("variant-v").unwrap();
        world.table.put(&variant, StreamState::initial("variant-v").unwrap(), 0);
        (world.sequential, world.now) = (sequential, world.now.plus_secs(secs));
        assert_eq!(world.when("variant/w/create", &create("p")).is_ok(), expected, "{sequential} {secs}");
    }
}

#[test]
fn archiving_looks_at_the_stock_and_gives_the_configuration_back() {
    let mut world =
        World::given(&[("variant/v/create", create("p")), ("inventory/v/receive", json!({"quantity": 1}))]);
    assert_eq!(code(world.when("variant/v/archive", &json!({}))), "stock_left");
    world.when("inventory/v/sell", &json!({"quantity": 1})).unwrap();
    let events = world.when("variant/v/archive", &json!({})).unwrap();
    assert_eq!(events[0], "variant-v variant.archived");
    assert!(events[1].ends_with("claim.released"));
    assert_eq!(world.when("variant/v/archive", &json!({})).unwrap(), [""; 0]);
}

/// Whatever a step would say, its check says, and nothing happens.
#[test]
fn a_step_that_is_checked_is_not_taken() {
    let mut unpriced = create("p");
    unpriced.as_object_mut().unwrap().remove("price");
    let mut world = World::given(&[("category/shirts/create", json!({"name": "Shirts"}))]);
    world.when("category/shirts/activate", &json!({})).unwrap();
    world.when("variant/v/create", &unpriced).unwrap();
    world.when("category/shirts/deprecate", &json!({})).unwrap();
    let check = |world: &mut World, step: &str| world.when("variant/v/check-step", &json!({"step": step}));
    assert_eq!(check(&mut world, "submit").unwrap(), [""; 0]);
    assert_eq!(code(check(&mut world, "activate")), "invalid_transition");
    world.when("variant/v/submit", &json!({})).unwrap();
    let told = |error: CommandError| match error {
        CommandError::Refused(refusal) => refusal.errors.iter().map(|error| error.code).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let checked = told(check(&mut world, "activate").unwrap_err());
    assert_eq!(checked.len(), 2, "no price, and a category that is not live: {checked:?}");
    assert_eq!(checked, told(world.when("variant/v/activate", &json!({})).unwrap_err()));
    world.when("variant/v/reject", &json!({})).unwrap();
    world.when("inventory/v/receive", &json!({"quantity": 1})).unwrap();
    assert_eq!(code(check(&mut world, "archive")), "stock_left");
    world.when("inventory/v/sell", &json!({"quantity": 1})).unwrap();
    for _ in 0..2 {
        assert_eq!(check(&mut world, "archive").unwrap(), [""; 0]);
    }
    assert_eq!(world.when("variant/v/archive", &json!({})).unwrap()[0], "variant-v variant.archived");
    for wrong in ["lock", "create", "change-price", "nothing"] {
        assert_eq!(code(check(&mut world, wrong)), "invalid_request", "{wrong}");
    }
    let merchandiser = Roles::of([Role::Merchandiser]);
    let body = json!({"step": "reactivate"});
    assert_eq!(code(world.by(merchandiser, "variant/none/check-step", &body)), "not_found");
}

#[test]
fn only_operators_set_prices_and_record_the_past() {
    let mut world = shop(&[("a", 5)]);
    let priced =
        json!([{"variant_id": "a", "quantity": 1, "unit_price": {"amount": "1.00", "currency": "GBP"}}]);
    let storefront = Roles::of([Role::Storefront]);
    let money = json!({"amount": "1.00", "currency": "GBP"});
    for word in [json!({"discounts": [{"reason": "sale", "amount": money}]}), json!({"tax": money})] {
        let mut line = json!({"variant_id": "a", "quantity": 1});
        line.as_object_mut().unwrap().extend(word.as_object().unwrap().clone());
        assert_eq!(
            code(world.by(storefront, "order/1/place", &order(&json!([line])))),
            "forbidden",
            "{word}"
        );
    }
    assert_eq!(code(world.by(storefront, "order/1/place", &order(&priced))), "forbidden");
    assert!(world.by(Roles::of([Role::Operator]), "order/1/place", &order(&priced)).is_ok());
    let past = json!({"payment_method": "card", "placed_at": "2011-11-04T10:00:00Z", "lines": priced});
    assert_eq!(code(world.by(storefront, "order/2/record", &past)), "forbidden");
}

#[test]
fn what_is_taken_off_and_put_on_a_line_adds_up_and_is_part_of_what_a_repeat_says() {
    let mut world = shop(&[("a", 5)]);
    let money = |amount: &str| json!({"amount": amount, "currency": "GBP"});
    let line = |discount: &str, tax: &str| {
        let discounts = json!([{"reason": "sale", "amount": money(discount)}, {"reason": "trade", "amount": money("0.50")}]);
        order(&json!([{"variant_id": "a", "quantity": 2, "discounts": discounts, "tax": money(tax)}]))
    };
    assert_eq!(
        code(world.when("order/1/place", &line("19.51", "0"))),
        "unprocessable",
        "more than the price"
    );
    assert_eq!(code(world.when("order/1/place", &line("-1", "0"))), "unprocessable");
    world.when("order/1/place", &line("1.25", "3.65")).unwrap();
    // 2 × 10.00 − 1.25 − 0.50 + 3.65
    let wrong = json!({"amount": money("20.00")});
    assert_eq!(code(world.when("order/1/pay", &wrong)), "unprocessable");
    assert_eq!(world.when("order/1/place", &line("1.25", "3.65")).unwrap(), [""; 0]);
    for other in [line("1.26", "3.65"), line("1.25", "3.66")] {
        assert_eq!(code(world.when("order/1/place", &other)), "duplicate_order");
    }
    world.when("order/1/pay", &json!({"amount": money("21.90")})).unwrap();
}

#[test]
fn a_refused_line_changes_nothing_anywhere() {
    let mut world = shop(&[("a", 5), ("b", 1)]);
    let lines = json!([{"variant_id": "a", "quantity": 5}, {"variant_id": "b", "quantity": 2}]);
    assert_eq!(code(world.when("order/1/place", &order(&lines))), "insufficient_stock");
    assert!(world.when("inventory/a/sell", &json!({"quantity": 5})).is_ok());
}

#[test]
fn a_payment_after_the_deadline_takes_the_goods_anew_or_calls_the_order_off() {
    for (sold_meanwhile, last) in [(2, "order-1 order.paid"), (3, "order-1 order.refunded")] {
        let mut world = shop(&[("a", 5)]);
        let lines = json!([{"variant_id": "a", "quantity": 3}]);
        world.when("order/1/place", &order(&lines)).unwrap();
        world.now = world.now.plus_secs(60);
        world.when("inventory/a/sell", &json!({"quantity": sold_meanwhile})).unwrap();
        let events = world.when("order/1/pay", &json!({})).unwrap();
        assert!(events.contains(&last.to_owned()), "{events:?}");
        assert_eq!(events.contains(&"inventory-a inventory.confirmed".to_owned()), sold_meanwhile == 2);
        let left = 5 - sold_meanwhile - if sold_meanwhile == 2 { 3 } else { 0 };
        assert_eq!(world.when("inventory/a/sell", &json!({"quantity": 1})).is_ok(), left > 0);
    }
}

#[test]
fn goods_of_a_cancelled_or_returned_order_go_back() {
    let mut world = shop(&[("a", 5)]);
    let lines = json!([{"variant_id": "a", "quantity": 3}, {"variant_id": "a", "quantity": 2}]);
    world.when("order/1/place", &order(&lines)).unwrap();
    world.when("order/1/pay", &json!({})).unwrap();
    let events = world.when("order/1/cancel", &json!({})).unwrap();
    assert!(events.contains(&"inventory-a inventory.returned".to_owned()), "{events:?}");
    world.when("order/2/place", &order(&lines)).unwrap();
    world.when("order/2/pay", &json!({})).unwrap();
    world.when("order/2/ship", &json!({})).unwrap();
    let part =
        json!({"return_id": "r", "lines": [{"line_id": 1, "quantity": 1}, {"line_id": 2, "quantity": 1}]});
    world.when("order/2/request-return", &part).unwrap();
    world.when("order/2/receive-return", &json!({"return_id": "r"})).unwrap();
    assert!(world.when("inventory/a/sell", &json!({"quantity": 2})).is_ok());
    assert_eq!(code(world.when("inventory/a/sell", &json!({"quantity": 1}))), "insufficient_stock");
}
