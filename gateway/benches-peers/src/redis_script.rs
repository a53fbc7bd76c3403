//! Redis: one Lua script, appended to its file and synced before it is answered (`appendfsync always`).

use std::future::Future;
use std::pin::Pin;

use anyhow::{Context, ensure};
use redis::aio::MultiplexedConnection;

use crate::measure::{Dice, Reserve, Settings, measure};
use crate::{Contender, ITEMS, UNITS};

/// Takes a unit if there is one, and keeps who holds it until the hold runs out.
const SCRIPT: &str = "
local left = tonumber(redis.call('GET', KEYS[1]))
local quantity = tonumber(ARGV[1])
if left < quantity then return 0 end
redis.call('DECRBY', KEYS[1], quantity)
redis.call('SET', KEYS[2], quantity, 'EX', ARGV[2])
return 1
";

pub(crate) const NAME: &str = "Redis Lua, appendfsync always";

pub(crate) struct RedisScript {
    client: redis::Client,
}

/// The server's version and how durable it is; refuses one that is not.
pub(crate) async fn conditions(url: &str) -> anyhow::Result<String> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let (_, sync): (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(&mut connection).await?;
    let (_, append): (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("appendonly").query_async(&mut connection).await?;
    ensure!(
        append == "yes" && sync == "always",
        "the Redis server acknowledges before it syncs; start it with --appendonly yes --appendfsync always"
    );
    let server: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = server.lines().find_map(|line| line.strip_prefix("redis_version:")).context("a version")?;
    Ok(format!("Redis {}, appendfsync {sync}", version.trim()))
}

impl RedisScript {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut stock = redis::pipe();
        for item in 0..ITEMS {
            stock.set(format!("stock:{item}"), UNITS).ignore();
        }
        stock.query_async::<()>(&mut connection).await?;
        Ok(Self { client })
    }

    async fn run(&self, settings: Settings, items: u64, round: u64) -> anyhow::Result<f64> {
        let mut connections = Vec::new();
        for _ in 0..settings.clients {
            connections.push(self.client.get_multiplexed_async_connection().await?);
        }
        measure(settings.clients, settings, |number| Client {
            connection: connections.pop().expect("a connection for each client"),
            script: redis::Script::new(SCRIPT),
            prefix: format!("hold:{items}-{round}-{number}"),
            items,
            dice: Dice::new(number),
            count: 0,
        })
        .await
    }
}

struct Client {
    connection: MultiplexedConnection,
    script: redis::Script,
    prefix: String,
    items: u64,
    dice: Dice,
    count: u64,
}

impl Reserve for Client {
    async fn reserve(&mut self) -> anyhow::Result<()> {
        self.count += 1;
        let taken: i64 = self
            .script
            .key(format!("stock:{}", self.dice.roll(self.items)))
            .key(format!("{}-{}", self.prefix, self.count))
            .arg(1)
            .arg(3_600)
            .invoke_async(&mut self.connection)
            .await?;
        ensure!(taken == 1, "sold out");
        Ok(())
    }
}

impl Contender for RedisScript {
    fn name(&self) -> &'static str {
        NAME
    }

    fn round(
        &mut self,
        settings: Settings,
        items: u64,
        round: u64,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + '_>> {
        Box::pin(self.run(settings, items, round))
    }
}
