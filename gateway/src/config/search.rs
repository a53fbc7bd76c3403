//! `[search]`: which engine searches, and how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::secret::SecretUrl;
use super::server::{self, UrlNames};
use super::{Env, Pick, env_value};

/// What searches run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchBackend {
    /// An index in the data folder.
    #[default]
    Tantivy,
    /// An Elasticsearch server.
    Elasticsearch,
}

impl std::str::FromStr for SearchBackend {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tantivy" => Ok(Self::Tantivy),
            "elasticsearch" => Ok(Self::Elasticsearch),
            _ => Err("choose tantivy or elasticsearch"),
        }
    }
}

/// The search in force. What the embedded engine has no use for has its default.
#[derive(Debug, Clone)]
pub struct SearchConfig {
    pub backend: SearchBackend,
    /// There whenever the backend is a server.
    pub url: Option<SecretUrl>,
    /// The certificate authority, in PEM, that must have signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// Begins the names of indices; two data folders on one server need two.
    pub prefix: String,
    pub shards: u32,
    pub replicas: u32,
    /// The longest wait for one reply of the server.
    pub request_timeout: Duration,
}

/// `[search]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchSection {
    backend: Option<SearchBackend>,
    url: Option<SecretUrl>,
    url_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    prefix: Option<String>,
    shards: Option<u32>,
    replicas: Option<u32>,
    request_timeout_ms: Option<u64>,
}

const PREFIX: &str = "daybook";
const REQUEST_MS: u64 = 15_000;

impl Default for SearchConfig {
    /// The index in the data folder.
    fn default() -> Self {
        Self {
            backend: SearchBackend::Tantivy,
            url: None,
            tls_ca: None,
            prefix: PREFIX.to_owned(),
            shards: 1,
            replicas: 0,
            request_timeout: Duration::from_millis(REQUEST_MS),
        }
    }
}

impl SearchConfig {
    pub(super) fn load(section: SearchSection, pick: &mut Pick<'_>, env: Env<'_>) -> anyhow::Result<Self> {
        let backend = env_value(env, "DAYBOOK_SEARCH_BACKEND")?;
        let backend = pick.one("search.backend", None, "", backend, section.backend, SearchBackend::default);
        if backend == SearchBackend::Tantivy {
            refuse_server_settings(&section, env)?;
            return Ok(Self::default());
        }
        let names =
            UrlNames { url: "search.url", url_file: "search.url_file", variable: "DAYBOOK_SEARCH_URL" };
        let url = server::url(pick, env, names, section.url, section.url_file)?;
        if url.is_none() {
            bail!(
                "search.backend is \"elasticsearch\", but search.url is not set: write where the server is, \
                 https://USER:PASSWORD@HOST:9200, under [search] or into DAYBOOK_SEARCH_URL"
            );
        }
        let tls_ca = server::optional(pick, env, "search.tls_ca", "DAYBOOK_SEARCH_TLS_CA", section.tls_ca)?;
        if let Some(file) = &tls_ca {
            server::check_authority("search.tls_ca", file)?;
        }
        let prefix = env_value(env, "DAYBOOK_SEARCH_PREFIX")?;
        let prefix = pick.one("search.prefix", None, "", prefix, section.prefix, || PREFIX.to_owned());
        check_prefix(&prefix)?;
        let shards = env_value(env, "DAYBOOK_SEARCH_SHARDS")?;
        let shards = pick.one("search.shards", None, "", shards, section.shards, || 1);
        if !(1..=1_000).contains(&shards) {
            bail!("search.shards is {shards}: a number of parts from 1 to 1000");
        }
        let replicas = env_value(env, "DAYBOOK_SEARCH_REPLICAS")?;
        let replicas = pick.one("search.replicas", None, "", replicas, section.replicas, || 0);
        let request_timeout = server::timeout(
            pick,
            env,
            "search.request_timeout_ms",
            "DAYBOOK_SEARCH_REQUEST_TIMEOUT_MS",
            section.request_timeout_ms,
            REQUEST_MS,
        )?;
        Ok(Self { backend, url, tls_ca, prefix, shards, replicas, request_timeout })
    }
}

/// A server's setting beside the embedded engine is a mistake, and is named.
fn refuse_server_settings(section: &SearchSection, env: Env<'_>) -> anyhow::Result<()> {
    let given = |variable: &str| env(variable).is_some();
    let of_server = [
        ("search.url", section.url.is_some() || given("DAYBOOK_SEARCH_URL")),
        ("search.url_file", section.url_file.is_some()),
        ("search.tls_ca", section.tls_ca.is_some() || given("DAYBOOK_SEARCH_TLS_CA")),
        ("search.prefix", section.prefix.is_some() || given("DAYBOOK_SEARCH_PREFIX")),
        ("search.shards", section.shards.is_some() || given("DAYBOOK_SEARCH_SHARDS")),
        ("search.replicas", section.replicas.is_some() || given("DAYBOOK_SEARCH_REPLICAS")),
        (
            "search.request_timeout_ms",
            section.request_timeout_ms.is_some() || given("DAYBOOK_SEARCH_REQUEST_TIMEOUT_MS"),
        ),
    ];
    if let Some((setting, _)) = of_server.iter().find(|(_, given)| *given) {
        bail!(
            "{setting} is set, but search.backend is \"tantivy\", which has no use for it: set search.backend to \
             \"elasticsearch\", or remove {setting}"
        );
    }
    Ok(())
}

/// What Elasticsearch takes as the beginning of an index's name.
fn check_prefix(prefix: &str) -> anyhow::Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let begins = prefix.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || prefix.len() > 100 || !prefix.chars().all(legal) {
        bail!("search.prefix is {prefix:?}: 1 to 100 lower-case letters, digits, - and _, a letter first");
    }
    Ok(())
}
