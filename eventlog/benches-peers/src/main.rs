//! The event log beside its peers, in one run: same events, same durability (synced before the reply), same batches.
//!
//! - `cargo run --release --features peers -- appends`: seven rounds in which all contenders take turns, so that whatever
//!   else the machine does meets all of them. Without the feature the bare file and the segment log only.
//! - `cargo run --release -- large [STREAMS]`: a log of STREAMS streams (default 10,000,000) and twice as many events.
//! - `cargo run --release -- open`: its last part alone, opening after a kill.
//! - `cargo run --release -- profile SIZE`: the segment log alone at SIZE events a commit, for a profiler.
//!
//! UmaDB's crates need `protoc` (Debian: protobuf-compiler) to build. `DAYBOOK_BENCH_DIR` names the disk to measure.

mod appends;
mod contenders;
mod events;
mod large;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["appends"] => {
            conditions();
            appends::measure();
        }
        ["large", ref streams @ ..] if streams.len() < 2 => {
            conditions();
            large::measure(streams.first().map_or(10_000_000, |n| n.parse().expect("a number of streams")));
        }
        ["profile", size] => appends::profile(size.parse().expect("a number of events")),
        ["read", folder, streams] => {
            large::reads(Path::new(folder), streams.parse().expect("a number of streams"))
        }
        ["open"] => {
            conditions();
            large::open_after_kill();
        }
        ["fill-unsealed", folder] => large::fill_unsealed(Path::new(folder)),
        _ => {
            eprintln!("usage: daybook-eventlog-peers appends | large [STREAMS] | open | profile SIZE");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// The allocator of the product, for all contenders.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the figures depend on.
fn conditions() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores ({}), {}",
        model.rsplit(": ").next().unwrap_or_default(),
        memory.lines().next().unwrap_or_default()
    );
    println!("load before the run: {}", read("/proc/loadavg").trim());
}
