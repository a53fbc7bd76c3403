//! A read model in another process, or on another machine, fed from relayed events instead of the log: the stock of every
//! variant in a SQLite file of its own.
//!
//! ```text
//! cargo run -p daybook-projections --features nats --example remote_inventory -- nats://127.0.0.1:4222 ./remote VARIANT…
//! ```
//!
//! Daybook publishes with `relay.url` in its configuration. This program catches up, prints the stock of the variants that it
//! was asked for whenever it moves, and can be killed and started again at any time: the server keeps what was
//! acknowledged, the file what was committed.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use daybook_projections::generations::{ReadModelKind, RowKind};
use daybook_projections::inventory::Inventory;
use daybook_projections::inventory::query::by_variant;
use daybook_projections::relay::{Follower, NatsOptions};
use daybook_projections::rows::RowReader;
use daybook_schemas::Timestamp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(folder)) = (arguments.next(), arguments.next().map(PathBuf::from)) else {
        return Err("usage: remote_inventory nats://HOST:4222 FOLDER [VARIANT…]".into());
    };
    let variants: Vec<String> = arguments.collect();
    std::fs::create_dir_all(&folder)?;
    let kind = RowKind::new(|| Inventory);
    let opened = kind.open(&kind.place(&folder, 1), 1)?;
    let rows = opened.queries.rows().ok_or("a read model of tables")?;
    let options = NatsOptions { url, ..NatsOptions::default() };
    // The name under which the server remembers what was acknowledged: one for each such program.
    let follower = Follower::start(&options, "remote-inventory", opened.model)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut checkpoint, mut halted) = (follower.watch_checkpoint(), follower.watch_halted());
        loop {
            let position = *checkpoint.borrow_and_update();
            print_stock(&*rows, &variants, position)?;
            tokio::select! {
                moved = checkpoint.changed() => moved?,
                reason = halted.wait_for(Option::is_some) => {
                    return Err(reason?.clone().unwrap_or_default().into());
                }
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    })
}

fn print_stock(
    rows: &dyn RowReader,
    variants: &[String],
    position: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let read = rows.begin()?;
    for variant in variants {
        let now = Timestamp::from_micros(i64::try_from(UNIX_EPOCH.elapsed()?.as_micros())?);
        match by_variant(&*read, variant, now)? {
            Some(stock) => println!(
                "position {position}, {variant}: {} on hand, {} reserved, {} available",
                stock.on_hand, stock.reserved, stock.available
            ),
            None => println!("position {position}, {variant}: none"),
        }
    }
    Ok(())
}
