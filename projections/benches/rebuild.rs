//! Rebuilds of read models from a log in memory: decode, fold, and write to SQLite in a temporary folder, on one thread.
//!
//! `cargo bench -p daybook-projections --bench rebuild` prints events a second for each read model and spread of streams.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use daybook_eventlog::memory::MemoryLog;
use daybook_eventlog::{Append, EventLog, Expected, NewEvent, StreamAppend, StreamId};
use daybook_projections::analytics::Period;
use daybook_projections::generations::{Opened, Registry};
use daybook_projections::runner::{RunnerOptions, catch_up};
use daybook_projections::{customers, sales, standard};
use daybook_schemas::Timestamp;
use serde_json::json;
use tokio::runtime::Runtime;
use uuid::Uuid;

const EVENTS: u64 = 200_000;
const ORDERS: u64 = 20_000;

struct World {
    runtime: Runtime,
    log: Arc<dyn EventLog>,
    head: u64,
}

/// An id as long as those of real use.
fn id(number: u64) -> String {
    Uuid::from_u128(u128::from(number)).to_string()
}

/// A log of these events, appended a thousand at a time.
fn world(events: impl Iterator<Item = (String, &'static str, serde_json::Value)>) -> World {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
    let mut appends = Vec::new();
    let mut head = 0;
    for (stream, event_type, data) in events {
        head += 1;
        let event = NewEvent {
            event_id: Uuid::from_u128(u128::from(head)),
            event_type,
            version: 1,
            recorded_at: 1_320_000_000_000_000 + i64::try_from(head).expect("small"),
            data: Bytes::from(data.to_string()),
            metadata: Bytes::from(
                json!({"command_id": id(head), "correlation_id": "c", "causation_id": "c", "actor": "bench"})
                    .to_string(),
            ),
        };
        let stream = StreamAppend {
            stream: StreamId::new(stream).expect("a name"),
            expected: Expected::Any,
            events: vec![event],
        };
        appends.push(Append::new(vec![stream]));
        if appends.len() == 1_000 {
            runtime.block_on(log.append_group(std::mem::take(&mut appends)));
        }
    }
    runtime.block_on(log.append_group(appends));
    World { runtime, log, head }
}

/// One receipt a stream, then reservations round robin.
fn inventory(streams: u64) -> World {
    world((0..EVENTS).map(move |i| {
        let stream = format!("inventory-{}", id(i % streams));
        if i < streams {
            return (stream, "inventory.received", json!({"location": "default", "quantity": 1_000_000}));
        }
        let deadline = Timestamp::from_micros(1_320_000_060_000_000 + i64::try_from(i).expect("small") * 25);
        let data = json!({
            "reservation_id": id(i), "customer_id": id(i % 997), "quantity": 1,
            "allocations": [{"location": "default", "quantity": 1}], "expires_at": deadline,
        });
        (stream, "inventory.reserved", data)
    }))
}

/// Orders of five lines by 5,000 customers over a year.
fn orders() -> World {
    world((0..ORDERS).map(|i| {
        let line = |n: u64| {
            let variant = (i * 7 + n * n * 131) % 4_000;
            json!({
                "line_id": n, "variant_id": format!("v{variant}"), "sku": format!("SKU-{variant}"), "name": format!("Thing {variant}"),
                "category": format!("Category {}", variant % 20), "attributes": [], "quantity": n, "stocked": true,
                "unit_price": {"amount": "2.50", "currency": "GBP"},
                "total": {"amount": format!("{}.{}0", n * 5 / 2, n % 2 * 5), "currency": "GBP"},
            })
        };
        let placed_at = Timestamp::from_micros(1_293_840_000_000_000 + i64::try_from(i).expect("small") * 1_500_000_000);
        let data = json!({
            "order_id": format!("o{i}"), "order_number": format!("N{i}"), "customer_id": format!("c{}", i * 31 % 5_000),
            "lines": (1..=5).map(line).collect::<Vec<_>>(), "total": {"amount": "37.50", "currency": "GBP"}, "payment_method": "card",
            "shipping_address": {"country": "United Kingdom"}, "placed_at": placed_at,
        });
        (format!("order-o{i}"), "order.placed", data)
    }))
}

fn build(world: &World, registry: &Registry, name: &str, folder: &std::path::Path) -> Opened {
    let kind = registry.get(name).expect("a standard projection");
    let Opened { model, queries } = kind.open(&kind.place(folder, 1), 1).expect("opens");
    let options = RunnerOptions::default();
    let log = Arc::clone(&world.log);
    let model = catch_up(name, model, log, world.runtime.handle(), options, world.head, &mut |_| {});
    Opened { model: model.expect("catches up"), queries }
}

fn rebuilds(criterion: &mut Criterion) {
    let registry = standard::registry();
    let mut group = criterion.benchmark_group("rebuild");
    group.sample_size(10);
    let mut run = |label: &str, name: &str, world: &World| {
        group.throughput(Throughput::Elements(world.head));
        group.bench_function(label, |bencher| {
            bencher.iter_batched(
                || tempfile::tempdir().expect("a folder"),
                |folder| {
                    black_box(build(world, &registry, name, folder.path()).model.checkpoint());
                    folder
                },
                BatchSize::PerIteration,
            );
        });
    };
    let hot = inventory(1);
    run("inventory, 1 stream", "inventory", &hot);
    let warm = inventory(10_000);
    run("inventory, 10,000 streams", "inventory", &warm);
    run("inventory, 100,000 streams", "inventory", &inventory(100_000));
    run("audit, 10,000 streams", "audit", &warm);
    drop((hot, warm));
    let orders = orders();
    for name in ["orders", "sales", "products", "customers"] {
        run(&format!("{name}, orders of 5 lines"), name, &orders);
    }
    group.finish();
}

fn queries(criterion: &mut Criterion) {
    let registry = standard::registry();
    let world = orders();
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = criterion.benchmark_group("query");
    let of_sales = build(&world, &registry, "sales", folder.path());
    let of_customers = build(&world, &registry, "customers", folder.path());
    let sales_rows = of_sales.queries.rows().expect("rows");
    let customer_rows = of_customers.queries.rows().expect("rows");
    group.bench_function("sales of a month, whole report", |bencher| {
        bencher.iter(|| {
            let rows = sales_rows.begin().expect("begins");
            let period = Period::parse("2011-05").expect("a month");
            black_box(sales::query::report(&*rows, &period, None).expect("reads"))
        });
    });
    group.bench_function("customer with RFM among 5,000", |bencher| {
        bencher.iter(|| {
            let rows = customer_rows.begin().expect("begins");
            black_box(customers::query::report(&*rows, "c42", None, Timestamp::EPOCH).expect("reads"))
        });
    });
    group.finish();
}

criterion_group!(benches, rebuilds, queries);
criterion_main!(benches);
