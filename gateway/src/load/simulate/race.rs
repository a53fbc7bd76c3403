//! A race of which one may win.

use serde_json::json;

use super::rush::rush;
use super::{Report, check};
use crate::load::client::Target;

/// `clients` connections create the same configuration, and the same SKU, under different ids at once.
pub async fn duplicate_config(server: &Target, clients: u32, run: &str) -> anyhow::Result<Report> {
    let bodies = (0..clients)
        .map(|client| {
            let body = json!({
                "product_id": format!("duplicate-{run}"), "name": "Duplicate", "brand": "Simulation", "category": "Simulation",
                "attributes": [{"type": "color", "value": "Navy"}, {"type": "size", "value": "M"}],
                "sku": {"strategy": "manual", "value": format!("DUP-{run}")},
            });
            (format!("/v1/commands/variant/duplicate-{run}-{client}/create"), body)
        })
        .collect();
    let rush = rush(server, bodies).await?;
    let accepted = rush.outcomes.get("accepted").copied().unwrap_or(0);
    let refused = ["duplicate_configuration", "duplicate_sku"]
        .iter()
        .filter_map(|code| rush.outcomes.get(*code))
        .sum::<u64>();
    let mut created = 0;
    let mut connection = server.connect().await?;
    for client in 0..clients {
        let stream = connection.get(&format!("/v1/streams/variant-duplicate-{run}-{client}")).await?;
        created += u32::from(stream.status == 200);
    }
    let checks = vec![
        check(format!("one variant stands in the log: {created}"), created == 1),
        check(format!("one of {clients} won: {accepted}"), accepted == 1),
        check(format!("all others were told why: {refused}"), refused == u64::from(clients) - 1),
    ];
    Ok(rush.report("duplicate-config", None, checks))
}
