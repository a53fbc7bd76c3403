//! Events a second by events a commit, and how long a lone append takes.

use std::time::Instant;

use crate::contenders::{Bare, Contender, Input, Segment};
use crate::events::median;

const ROUNDS: usize = 7;

/// Long enough that a round is not decided by one slow sync.
const EVENTS_A_ROUND: usize = 60_000;
const LONE_APPENDS: usize = 400;

pub fn measure() {
    let input = Input::new();
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Bare::new()), Box::new(Segment::new(false)), Box::new(Segment::new(true))];
    #[cfg(feature = "sqlite")]
    contenders.push(Box::new(crate::contenders::Sqlite::new()));
    #[cfg(feature = "fjall")]
    contenders.push(Box::new(crate::contenders::Fjall::new()));
    #[cfg(feature = "umadb")]
    contenders.push(Box::new(crate::contenders::UmaDb::new(false)));
    #[cfg(feature = "umadb")]
    contenders.push(Box::new(crate::contenders::UmaDb::new(true)));
    let mut next = lone_appends(&input, &mut contenders);
    for size in [64, 256] {
        let commits = EVENTS_A_ROUND / size;
        let mut rates = vec![Vec::new(); contenders.len()];
        for round in 0..=ROUNDS {
            for (contender, rates) in contenders.iter_mut().zip(&mut rates) {
                let start = Instant::now();
                contender.run(&input, next, commits, size);
                let rate = (commits * size) as f64 / start.elapsed().as_secs_f64();
                // The first round warms up.
                if round > 0 {
                    rates.push(rate);
                }
            }
            next += (commits * size) as u64;
        }
        let bare = (median(rates[0].clone()), best(&rates[0]));
        for (contender, rates) in contenders.iter().zip(rates) {
            let (middle, best) = (median(rates.clone()), best(&rates));
            println!(
                "append {size:>3} a commit  {:<26} median {middle:>9.0} events/s ({:>3.0} % of the bare file)  best {best:>9.0} ({:>3.0} %)",
                contender.name(),
                100.0 * middle / bare.0,
                100.0 * best / bare.1
            );
        }
    }
}

/// Two million events of the segment log alone.
pub fn profile(size: usize) {
    let input = Input::new();
    let mut segment = Segment::new(true);
    let commits = 2_000_000 / size;
    let start = Instant::now();
    segment.run(&input, 0, commits, size);
    println!("{:.0} events/s", (commits * size) as f64 / start.elapsed().as_secs_f64());
}

fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

/// Takes turns after every few appends, so that all meet the same disk.
fn lone_appends(input: &Input, contenders: &mut [Box<dyn Contender>]) -> u64 {
    let mut times = vec![Vec::new(); contenders.len()];
    let mut next = 0;
    for _ in 0..LONE_APPENDS / 20 {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            for n in next..next + 20 {
                let start = Instant::now();
                contender.run(input, n, 1, 1);
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        next += 20;
    }
    let bare = median(times[0].clone());
    for (contender, times) in contenders.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (p10, p50, p99) =
            (times[times.len() / 10], times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "append   1 a commit  {:<26} p10 {p10:>7.0} µs  p50 {p50:>7.0} µs ({:.2} of the bare file)  p99 {p99:>7.0} µs",
            contender.name(),
            p50 / bare
        );
    }
    next
}
