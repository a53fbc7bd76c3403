//! Clients that send their next request when the last is answered.

use std::future::Future;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Length of a round.
    pub(crate) seconds: u64,
    /// Clients at once.
    pub(crate) clients: u32,
}

/// Item numbers, evenly at random.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(client: u32) -> Self {
        Self((u64::from(client) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn roll(&mut self, items: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % items
    }
}

/// Runs the clients for one round after half a second of warm-up; requests answered a second.
pub(crate) async fn measure<F>(
    clients: u32,
    settings: Settings,
    mut client: impl FnMut(u32) -> F,
) -> anyhow::Result<f64>
where
    F: Reserve + Send + 'static,
{
    let from = Instant::now() + Duration::from_millis(500);
    let until = from + Duration::from_secs(settings.seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        let mut client = client(number);
        tasks.spawn(async move {
            let mut done = 0_u64;
            loop {
                client.reserve().await?;
                let now = Instant::now();
                if now >= until {
                    return anyhow::Ok(done);
                }
                done += u64::from(now >= from);
            }
        });
    }
    let mut done = 0;
    while let Some(client) = tasks.join_next().await {
        done += client??;
    }
    Ok(done as f64 / settings.seconds as f64)
}

/// A client: reserves one unit, durably.
pub(crate) trait Reserve {
    fn reserve(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}
