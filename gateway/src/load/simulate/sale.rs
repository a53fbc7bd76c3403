//! Sales: more buyers than units, and buyers who want more than their share.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::json;

use super::rush::rush;
use super::{Report, check, holders, inventory, receive, reserved_in_log};
use crate::load::client::Target;
use crate::load::latency::Latencies;

/// `buyers` connections ask for one unit of a variant with `units` in stock, all at once.
pub async fn flash_sale(server: &Target, buyers: u32, units: u32, run: &str) -> anyhow::Result<Report> {
    let variant = format!("flash-{run}");
    receive(server, &variant, units).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let bystanders = bystanders_apart(server.clone(), run.to_owned(), stopped);
    let path = format!("/v1/commands/inventory/{variant}/reserve");
    let bodies = (0..buyers)
        .map(|buyer| {
            (
                path.clone(),
                json!({"customer_id": format!("buyer-{run}-{buyer}"), "quantity": 1, "ttl_seconds": 600}),
            )
        })
        .collect();
    let rush = rush(server, bodies).await?;
    stop.send_replace(true);
    let bystanders = bystanders.await.context("the bystanders' thread failed")??;
    let sold = rush.outcomes.get("accepted").copied().unwrap_or(0);
    let (reserved, duplicates) = reserved_in_log(server, &variant).await?;
    let view = inventory(server, &variant).await?;
    let expected = u64::from(units.min(buyers));
    let checks = vec![
        check(format!("every one of {buyers} buyers was answered"), rush.answered == u64::from(buyers)),
        check(
            format!("oversold = 0: {reserved} units held in the log, {units} in stock"),
            reserved <= u64::from(units),
        ),
        check(
            format!("exactly {expected} sold: {sold} by the replies, {reserved} by the log"),
            sold == expected && reserved == expected,
        ),
        check("no customer holds twice".to_owned(), duplicates == 0),
        check(
            format!("the inventory view agrees: available {}", view["available"]),
            view["available"] == json!(u64::from(units) - reserved.min(u64::from(units))),
        ),
    ];
    Ok(rush.report("flash-sale", Some(bystanders.percentiles()), checks))
}

/// `bots` customers each try to hoard: ten times the same variant, then as many others as they can.
pub async fn bots(server: &Target, bots: u32, units: u32, run: &str) -> anyhow::Result<Report> {
    let variants: Vec<String> = (0..8).map(|n| format!("bots-{run}-{n}")).collect();
    for variant in &variants {
        receive(server, variant, units).await?;
    }
    let mut bodies = Vec::new();
    for bot in 0..bots {
        let body = json!({"customer_id": format!("bot-{run}-{bot}"), "quantity": 1, "ttl_seconds": 600});
        let hoard = std::iter::repeat_n(&variants[0], 10).chain(&variants[1..]);
        bodies
            .extend(hoard.map(|variant| (format!("/v1/commands/inventory/{variant}/reserve"), body.clone())));
    }
    let asked = bodies.len() as u64;
    let rush = rush(server, bodies).await?;
    let mut holds: BTreeMap<String, u32> = BTreeMap::new();
    let mut checks =
        vec![check(format!("every one of {asked} requests was answered"), rush.answered == asked)];
    for variant in &variants {
        let (reserved, duplicates) = reserved_in_log(server, variant).await?;
        checks.push(check(
            format!("{variant}: {reserved} held of {units}, no bot twice"),
            reserved <= u64::from(units) && duplicates == 0,
        ));
        for customer in holders(server, variant).await? {
            *holds.entry(customer).or_default() += 1;
        }
    }
    let most = holds.values().copied().max().unwrap_or(0);
    checks.push(check(format!("no bot holds more than 5 reservations: the greediest has {most}"), most <= 5));
    let code = "too_many_reservations";
    let refused = rush.outcomes.get(code).copied().unwrap_or(0)
        + rush.outcomes.get("rate_limited").copied().unwrap_or(0);
    checks.push(check(
        format!("bots at their limits were refused ({code} or rate_limited): {refused} times"),
        refused > 0,
    ));
    Ok(rush.report("bots", None, checks))
}

/// The bystanders on a thread of their own: beside ten thousand buyers on one runtime they would measure how long this client takes to
/// look at their answers, not how long the server does.
fn bystanders_apart(
    server: Target,
    run: String,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> tokio::task::JoinHandle<anyhow::Result<Latencies>> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(bystanders(server, run, stopped))
    })
}

/// Commands on other variants, one after the other on a few connections, until told to stop.
async fn bystanders(
    server: Target,
    run: String,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<Latencies> {
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..4 {
        let (server, run, stopped) = (server.clone(), run.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut connection = server.connect().await?;
            let mut latencies = Latencies::default();
            let mut count = 0_u32;
            while !*stopped.borrow() {
                let path = format!("/v1/commands/inventory/other-{run}-{lane}-{}/receive", count % 64);
                let began = Instant::now();
                let answer = connection.post(&path, &json!({"quantity": 1})).await?;
                ensure!(answer.status < 300, "a bystander was refused: {:?}", answer.code());
                latencies.record(began.elapsed());
                count += 1;
            }
            Ok(latencies)
        });
    }
    let mut all = Latencies::default();
    while let Some(lane) = tasks.join_next().await {
        all.merge(&lane.context("a bystander's task failed")??);
    }
    Ok(all)
}
