//! What one reservation costs the decision thread: decide, encode, apply, on a stream with many holds.
//!
//! `cargo bench -p daybook-aggregates` prints the time of one command with 1, 10,000 and 1,000,000 holds on record.

use std::hint::black_box;

use cqrs_es::Aggregate;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use daybook_aggregates::inventory::{Action, Adjust, Inventory, Reserve};
use daybook_aggregates::{Command, Decider, Roles};
use daybook_schemas::{CustomerId, LocationId, Quantity, Text, Timestamp, Token};

fn command(action: Action, number: u64) -> Command<Action> {
    let micros = i64::try_from(number).expect("a small number");
    Command {
        now: Timestamp::from_micros(micros),
        fresh_id: Token::new(format!("01930000-0000-7000-8000-{number:012x}")).expect("a UUID"),
        roles: Roles::ALL,
        action,
    }
}

fn reserve(number: u64) -> Command<Action> {
    let customer = CustomerId::new(format!("01940000-0000-7000-8000-{number:012x}")).expect("a UUID");
    let action = Action::Reserve(Reserve {
        reservation_id: None,
        customer_id: Some(customer),
        quantity: Quantity::new(1).expect("in bounds"),
        ttl_seconds: 86_400,
        order_id: None,
        location: None,
        customer_active_holds: Some(0),
    });
    command(action, number)
}

/// Decides, encodes and applies; the bytes that would be written.
fn run(state: &mut Inventory, command: &Command<Action>) -> usize {
    let events = state.decide(command).expect("there is stock enough");
    let mut bytes = 0;
    for event in events {
        bytes += black_box(event.to_data()).len();
        state.apply(event);
    }
    bytes
}

fn stocked(holds: u64) -> Inventory {
    let mut state = Inventory::default();
    let receive = Adjust {
        location: LocationId::default(),
        delta: 1_000_000_000_000,
        reason: Text::new("opening stock").expect("a short text"),
        reference: None,
    };
    run(&mut state, &command(Action::Adjust(receive), 0));
    for number in 0..holds {
        run(&mut state, &reserve(number));
    }
    state
}

fn reservations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reserve: decide + encode + apply");
    for holds in [1, 10_000, 1_000_000] {
        let mut state = stocked(holds);
        let mut number = holds;
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            bencher.iter_batched(
                || {
                    number += 1;
                    reserve(number)
                },
                |command| run(&mut state, &command),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn refusals(criterion: &mut Criterion) {
    let sold_out = Inventory::default();
    let command = reserve(1);
    criterion.bench_function("reserve: refused, sold out", |bencher| {
        bencher.iter(|| black_box(sold_out.decide(black_box(&command))).is_err());
    });
}

criterion_group!(benches, reservations, refusals);
criterion_main!(benches);
