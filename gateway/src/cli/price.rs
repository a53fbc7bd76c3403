//! `price`: what a buyer pays for a variant as of a time.

use daybook_commands::clock::{Clock, SystemClock};
use daybook_replay::prices;
use daybook_schemas::prices::Wanted;

use super::args::{Format, Global, Price};
use super::remote::ask;
use super::{Outcome, print_json, print_line};
use crate::config::Config;
use crate::node::log::{Log, Opening};

pub(super) async fn run(global: &Global, config: Config, args: Price) -> anyhow::Result<Outcome> {
    let value = match &global.server {
        Some(url) => {
            let mut query = Vec::new();
            query.extend(args.at.map(|at| format!("as_of={at}")));
            query.extend(args.currency.map(|currency| format!("currency={currency}")));
            query.extend(args.channel.map(|channel| format!("channel={channel}")));
            query.extend(args.customer_group.map(|group| format!("customer_group={group}")));
            let path = format!("/v1/variants/{}/price?{}", args.variant, query.join("&"));
            ask(global, url, "GET", &path, None).await?
        }
        None => {
            let Price { variant, at, currency, channel, customer_group } = args;
            let wanted = Wanted { currency, channel, customer_group };
            let log = Log::open(&config, Opening::Read).await?;
            let at = at.unwrap_or_else(|| SystemClock.now());
            let price = prices::effective(&*log, &variant, &wanted, at).await;
            log.close().await;
            serde_json::to_value(price?)?
        }
    };
    if global.format == Format::Json {
        return print_json(&value);
    }
    print_line(format_args!("{}", serde_json::to_string_pretty(&value)?))?;
    Ok(Outcome::Done)
}
