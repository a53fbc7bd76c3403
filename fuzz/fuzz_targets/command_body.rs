//! A short history of commands as lines `aggregate/command BODY`, with any bytes as bodies: each is parsed, and what parses is
//! decided on the state that the lines before it left. Never a panic, and what is decided can be applied and written.
#![no_main]

use daybook_aggregates::{Command, Decider, Roles, credit, inventory, order, variant};
use daybook_schemas::{Currency, Money};
use libfuzzer_sys::fuzz_target;

/// Longest history; more lines find nothing new and only slow each run down.
const MAX_COMMANDS: usize = 32;

#[derive(Default)]
struct Shop {
    variant: variant::Variant,
    inventory: inventory::Inventory,
    order: order::Order,
    credit: credit::Credit,
}

impl Shop {
    fn send(&mut self, aggregate: &[u8], command: &str, body: &[u8], second: u32) {
        match aggregate {
            b"variant" => decide(&mut self.variant, variant::Action::parse(command, body), second),
            b"inventory" => decide(&mut self.inventory, inventory::Action::parse(command, body), second),
            b"order" if command == "place" => {
                let action = order::PlaceBody::parse(body).map(|body| order::Action::Place(Box::new(with_facts(body))));
                decide(&mut self.order, Some(action), second);
            }
            b"order" => decide(&mut self.order, order::Action::parse(command, body), second),
            b"credit" => decide(&mut self.credit, credit::Action::parse(command, body), second),
            _ => {}
        }
    }
}

/// What the dispatcher would look up of each line's variant.
fn with_facts(body: order::PlaceBody) -> order::Place {
    let line = |line: order::PlaceLineBody| order::NewLine {
        sku: "SKU-1".parse().expect("a SKU"),
        name: "Shirt".parse().expect("a name"),
        brand: None,
        category: "Shirts".parse().expect("a category"),
        attributes: Vec::new(),
        unit_price: Money::parse("39.90", Currency::GBP).expect("an amount"),
        compare_at: None,
        discounts: Vec::new(),
        tax: None,
        stocked: true,
        variant_id: line.variant_id,
        quantity: line.quantity,
    };
    order::Place {
        order_id: "o-1".parse().expect("an id"),
        order_number: body.order_number,
        customer_id: body.customer_id,
        lines: body.lines.into_iter().map(line).collect(),
        payment_method: body.payment_method,
        shipping_address: body.shipping_address,
        billing_address: body.billing_address,
        placed_at: body.placed_at,
    }
}

fn decide<A: Decider>(
    state: &mut A,
    parsed: Option<Result<A::Action, impl std::error::Error>>,
    second: u32,
) {
    let Some(Ok(action)) = parsed else { return };
    let now = format!("2026-01-01T00:00:{second:02}Z").parse().expect("a time");
    let fresh_id = format!("fresh-{second}").parse().expect("a token");
    let command = Command { now, fresh_id, roles: Roles::ALL, action };
    if let Ok(events) = state.decide(&command) {
        events.into_iter().for_each(|event| state.apply(event));
    }
}

fuzz_target!(|input: &[u8]| {
    let mut shop = Shop::default();
    for (second, line) in (0..).zip(input.split(|byte| *byte == b'\n').take(MAX_COMMANDS)) {
        let (route, body) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
        let mut parts = route.splitn(2, |byte| *byte == b'/');
        if let (Some(aggregate), Some(Ok(command))) = (parts.next(), parts.next().map(std::str::from_utf8)) {
            shop.send(aggregate, command, body, second);
        }
    }
});
