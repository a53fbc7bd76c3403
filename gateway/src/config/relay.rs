//! `[relay]`: whether every event is published on NATS JetStream, and where.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;

use super::secret::SecretUrl;
use super::server::{self, UrlNames};
use super::{Env, Pick, env_value};

/// The relay in force.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    pub url: SecretUrl,
    /// The certificate authority, in PEM, that must have signed the server's certificate; there, TLS is on.
    pub tls_ca: Option<PathBuf>,
    /// First part of every subject, and the name of the stream.
    pub prefix: String,
    /// `source` of every CloudEvent: a URI reference that names this shop's log.
    pub source: String,
    /// Oldest event kept on the server.
    pub max_age: Duration,
    /// Most bytes kept on the server; `None`: no limit.
    pub max_bytes: Option<u64>,
    /// Copies of the stream in a cluster of servers.
    pub replicas: u32,
    /// The longest wait for one reply of the server.
    pub request_timeout: Duration,
}

/// `[relay]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelaySection {
    url: Option<SecretUrl>,
    url_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    prefix: Option<String>,
    source: Option<String>,
    max_age_hours: Option<u64>,
    max_bytes: Option<u64>,
    replicas: Option<u32>,
    request_timeout_ms: Option<u64>,
}

const PREFIX: &str = "daybook";
const SOURCE: &str = "/daybook";
const MAX_AGE_HOURS: u64 = 7 * 24;
const REQUEST_MS: u64 = 5_000;

impl RelayConfig {
    /// `None`: nothing is published.
    pub(super) fn load(
        section: RelaySection,
        pick: &mut Pick<'_>,
        env: Env<'_>,
    ) -> anyhow::Result<Option<Self>> {
        let names = UrlNames { url: "relay.url", url_file: "relay.url_file", variable: "DAYBOOK_RELAY_URL" };
        let others = others_given(&section, env);
        let Some(url) = server::url(pick, env, names, section.url, section.url_file)? else {
            if let Some(setting) = others {
                bail!(
                    "{setting} is set, but relay.url is not: write where the NATS server is, nats://HOST:4222, under \
                     [relay] or into DAYBOOK_RELAY_URL, or remove {setting}"
                );
            }
            return Ok(None);
        };
        let scheme = url.expose().split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("nats" | "tls")) {
            bail!("relay.url is {url}: nats://HOST:4222, or tls://HOST:4222");
        }
        let tls_ca = server::optional(pick, env, "relay.tls_ca", "DAYBOOK_RELAY_TLS_CA", section.tls_ca)?;
        if let Some(file) = &tls_ca {
            server::check_authority("relay.tls_ca", file)?;
        }
        let prefix = env_value(env, "DAYBOOK_RELAY_PREFIX")?;
        let prefix = pick.one("relay.prefix", None, "", prefix, section.prefix, || PREFIX.to_owned());
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !(1..=100).contains(&prefix.len()) || !prefix.chars().all(legal) {
            bail!("relay.prefix is {prefix:?}: 1 to 100 letters, digits, - and _");
        }
        let source = env_value(env, "DAYBOOK_RELAY_SOURCE")?;
        let source = pick.one("relay.source", None, "", source, section.source, || SOURCE.to_owned());
        if source.is_empty() || source.contains(|c: char| c.is_whitespace() || c.is_control()) {
            bail!("relay.source is {source:?}: a URI reference, such as /shops/1");
        }
        let hours = env_value(env, "DAYBOOK_RELAY_MAX_AGE_HOURS")?;
        let hours = pick.one("relay.max_age_hours", None, "", hours, section.max_age_hours, || MAX_AGE_HOURS);
        if !(1..=1_000_000).contains(&hours) {
            bail!("relay.max_age_hours is {hours}: a time from 1 to 1000000 hours");
        }
        let max_bytes =
            server::optional(pick, env, "relay.max_bytes", "DAYBOOK_RELAY_MAX_BYTES", section.max_bytes)?;
        if max_bytes.is_some_and(|bytes| i64::try_from(bytes).is_err() || bytes == 0) {
            bail!("relay.max_bytes: a number of bytes, or nothing");
        }
        let replicas = env_value(env, "DAYBOOK_RELAY_REPLICAS")?;
        let replicas = pick.one("relay.replicas", None, "", replicas, section.replicas, || 1);
        if !(1..=5).contains(&replicas) {
            bail!("relay.replicas is {replicas}: a number of copies from 1 to 5");
        }
        let request_timeout = server::timeout(
            pick,
            env,
            "relay.request_timeout_ms",
            "DAYBOOK_RELAY_REQUEST_TIMEOUT_MS",
            section.request_timeout_ms,
            REQUEST_MS,
        )?;
        let max_age = Duration::from_secs(hours * 3_600);
        Ok(Some(Self { url, tls_ca, prefix, source, max_age, max_bytes, replicas, request_timeout }))
    }
}

/// A setting of a relay that would say nothing without an address.
fn others_given(section: &RelaySection, env: Env<'_>) -> Option<&'static str> {
    let given = |variable: &str| env(variable).is_some();
    [
        ("relay.tls_ca", section.tls_ca.is_some() || given("DAYBOOK_RELAY_TLS_CA")),
        ("relay.prefix", section.prefix.is_some() || given("DAYBOOK_RELAY_PREFIX")),
        ("relay.source", section.source.is_some() || given("DAYBOOK_RELAY_SOURCE")),
        ("relay.max_age_hours", section.max_age_hours.is_some() || given("DAYBOOK_RELAY_MAX_AGE_HOURS")),
        ("relay.max_bytes", section.max_bytes.is_some() || given("DAYBOOK_RELAY_MAX_BYTES")),
        ("relay.replicas", section.replicas.is_some() || given("DAYBOOK_RELAY_REPLICAS")),
        (
            "relay.request_timeout_ms",
            section.request_timeout_ms.is_some() || given("DAYBOOK_RELAY_REQUEST_TIMEOUT_MS"),
        ),
    ]
    .into_iter()
    .find_map(|(setting, given)| given.then_some(setting))
}
