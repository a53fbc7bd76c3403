//! `[read_models]`: where the read models of tables are kept.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::secret::SecretUrl;
use super::{Env, Pick, env_value};

/// Where read models of tables are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadModelBackend {
    /// SQLite files in the data folder.
    #[default]
    Sqlite,
    /// A PostgreSQL database; gateways on one event log may share it.
    Postgres,
}

impl std::str::FromStr for ReadModelBackend {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            _ => Err("choose sqlite or postgres"),
        }
    }
}

/// The store of read models in force.
#[derive(Debug, Clone, Default)]
pub enum ReadModelConfig {
    #[default]
    Sqlite,
    Postgres(ReadModelServer),
}

/// A PostgreSQL database for read models.
#[derive(Debug, Clone)]
pub struct ReadModelServer {
    /// With what `tls_ca` adds to it.
    pub url: SecretUrl,
    /// The schema of the numbers of generations; the name of each generation's schema begins with it.
    pub schema: String,
    /// Connections for queries. Each projection has one more for writing.
    pub pool: usize,
    pub connect_timeout: Duration,
    /// The longest wait for a query.
    pub query_timeout: Duration,
    /// The longest wait for one statement of a commit.
    pub write_timeout: Duration,
}

/// `[read_models]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadModelSection {
    backend: Option<ReadModelBackend>,
    url: Option<SecretUrl>,
    url_file: Option<PathBuf>,
    schema: Option<String>,
    pool: Option<usize>,
    tls_ca: Option<PathBuf>,
    connect_timeout_ms: Option<u64>,
    query_timeout_ms: Option<u64>,
    write_timeout_ms: Option<u64>,
}

const SCHEMA: &str = "daybook";
const POOL: usize = 16;
const CONNECT_MS: u64 = 5_000;
const QUERY_MS: u64 = 5_000;
const WRITE_MS: u64 = 30_000;
/// Longest time that a timeout may be set to.
const LONGEST_MS: u64 = 600_000;

/// Settings that only a server has a use for, with their variables.
const OF_SERVER: [(&str, &str); 7] = [
    ("url", "DAYBOOK_READ_MODELS_URL"),
    ("schema", "DAYBOOK_READ_MODELS_SCHEMA"),
    ("pool", "DAYBOOK_READ_MODELS_POOL"),
    ("tls_ca", "DAYBOOK_READ_MODELS_TLS_CA"),
    ("connect_timeout_ms", "DAYBOOK_READ_MODELS_CONNECT_TIMEOUT_MS"),
    ("query_timeout_ms", "DAYBOOK_READ_MODELS_QUERY_TIMEOUT_MS"),
    ("write_timeout_ms", "DAYBOOK_READ_MODELS_WRITE_TIMEOUT_MS"),
];

impl ReadModelSection {
    /// The first setting that only a server has a use for.
    fn first_of_server(&self, env: Env<'_>) -> Option<&'static str> {
        let in_file = [
            self.url.is_some(),
            self.schema.is_some(),
            self.pool.is_some(),
            self.tls_ca.is_some(),
            self.connect_timeout_ms.is_some(),
            self.query_timeout_ms.is_some(),
            self.write_timeout_ms.is_some(),
        ];
        let given =
            OF_SERVER.iter().zip(in_file).find(|((_, variable), file)| *file || env(variable).is_some());
        given.map(|((name, _), _)| *name).or_else(|| self.url_file.as_ref().map(|_| "url_file"))
    }
}

impl ReadModelConfig {
    pub(super) fn load(section: ReadModelSection, pick: &mut Pick<'_>, env: Env<'_>) -> anyhow::Result<Self> {
        let setting = env_value(env, "DAYBOOK_READ_MODELS_BACKEND")?;
        let backend =
            pick.one("read_models.backend", None, "", setting, section.backend, ReadModelBackend::default);
        if backend == ReadModelBackend::Sqlite {
            if let Some(setting) = section.first_of_server(env) {
                bail!(
                    "read_models.{setting} is set, but read_models.backend is \"sqlite\", which has no use for it: set \
                     read_models.backend to \"postgres\", or remove read_models.{setting}"
                );
            }
            return Ok(Self::Sqlite);
        }
        let url = url(&section, pick, env)?;
        let schema = env_value(env, "DAYBOOK_READ_MODELS_SCHEMA")?;
        let schema = pick.one("read_models.schema", None, "", schema, section.schema, || SCHEMA.to_owned());
        let pool = env_value(env, "DAYBOOK_READ_MODELS_POOL")?;
        let pool = pick.one("read_models.pool", None, "", pool, section.pool, || POOL);
        if !(1..=1_000).contains(&pool) {
            bail!("read_models.pool is {pool}: a number of connections from 1 to 1000");
        }
        let url = with_authority(url, section.tls_ca, pick, env)?;
        let mut timeout = |setting, variable, file: Option<u64>, default: u64| -> anyhow::Result<Duration> {
            let ms = pick.one(setting, None, "", env_value(env, variable)?, file, || default);
            if !(1..=LONGEST_MS).contains(&ms) {
                bail!("{setting} is {ms}: a time from 1 to {LONGEST_MS} milliseconds");
            }
            Ok(Duration::from_millis(ms))
        };
        Ok(Self::Postgres(ReadModelServer {
            url,
            schema,
            pool,
            connect_timeout: timeout(
                "read_models.connect_timeout_ms",
                "DAYBOOK_READ_MODELS_CONNECT_TIMEOUT_MS",
                section.connect_timeout_ms,
                CONNECT_MS,
            )?,
            query_timeout: timeout(
                "read_models.query_timeout_ms",
                "DAYBOOK_READ_MODELS_QUERY_TIMEOUT_MS",
                section.query_timeout_ms,
                QUERY_MS,
            )?,
            write_timeout: timeout(
                "read_models.write_timeout_ms",
                "DAYBOOK_READ_MODELS_WRITE_TIMEOUT_MS",
                section.write_timeout_ms,
                WRITE_MS,
            )?,
        }))
    }
}

fn url(section: &ReadModelSection, pick: &mut Pick<'_>, env: Env<'_>) -> anyhow::Result<SecretUrl> {
    if section.url.is_some() && section.url_file.is_some() {
        bail!("read_models.url and read_models.url_file are both set: keep one");
    }
    let env = env_value::<SecretUrl>(env, "DAYBOOK_READ_MODELS_URL")?;
    let file = match (&env, &section.url_file) {
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("read_models.url_file names {}, which can't be read", path.display())
            })?;
            Some(SecretUrl::new(text.trim()))
        }
        _ => section.url.clone(),
    };
    let env = env.map(|(name, url)| (name, Some(url)));
    pick.one("read_models.url", None, "", env, file.map(Some), || None).context(
        "read_models.backend is \"postgres\", but read_models.url is not set: write where the server is, \
         postgres://USER:PASSWORD@HOST:5432/DATABASE, under [read_models] or into DAYBOOK_READ_MODELS_URL",
    )
}

/// The URL with TLS on, if a certificate authority is named.
fn with_authority(
    url: SecretUrl,
    file: Option<PathBuf>,
    pick: &mut Pick<'_>,
    env: Env<'_>,
) -> anyhow::Result<SecretUrl> {
    let env = env_value::<PathBuf>(env, "DAYBOOK_READ_MODELS_TLS_CA")?.map(|(name, ca)| (name, Some(ca)));
    let Some(file) = pick.one("read_models.tls_ca", None, "", env, file.map(Some), || None) else {
        return Ok(url);
    };
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("read_models.tls_ca names {}, which can't be read", file.display()))?;
    if !text.contains("-----BEGIN CERTIFICATE") {
        bail!("read_models.tls_ca names {}, which holds no certificate in PEM form", file.display());
    }
    let file = file.display().to_string();
    Ok(url.with_parameter("sslmode", "verify-full").with_parameter("sslrootcert", &file))
}
