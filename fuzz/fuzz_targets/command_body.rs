//! Any bytes as the body of any command: parsed, and what parses is decided on an empty and on its own state. Never a panic.
#![no_main]

use daybook_aggregates::{Command, Decider, Roles, credit, inventory, order, variant};
use libfuzzer_sys::fuzz_target;

fn decide<A: Decider>(action: A::Action)
where
    A::Action: Clone,
{
    let command = Command {
        now: "2026-01-01T00:00:00Z".parse().expect("a constant"),
        fresh_id: "fresh".parse().expect("a constant"),
        roles: Roles::ALL,
        action,
    };
    let mut state = A::default();
    for _ in 0..3 {
        match state.decide(&command) {
            Ok(events) => events.into_iter().for_each(|event| state.apply(event)),
            Err(_) => return,
        }
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (command, body) = input;
    let pick = |names: &'static [&'static str]| names[usize::from(command) % names.len()];
    if let Some(Ok(action)) = variant::Action::parse(pick(variant::Action::NAMES), body) {
        decide::<variant::Variant>(action);
    }
    if let Some(Ok(action)) = inventory::Action::parse(pick(inventory::Action::NAMES), body) {
        decide::<inventory::Inventory>(action);
    }
    if let Some(Ok(action)) = order::Action::parse(pick(order::Action::NAMES), body) {
        decide::<order::Order>(action);
    }
    if let Some(Ok(action)) = credit::Action::parse(pick(credit::Action::NAMES), body) {
        decide::<credit::Credit>(action);
    }
    let _ = order::PlaceBody::parse(body);
});
