//! `[log]`: which event log Daybook runs on, and how to reach it. `[kurrent_server]`: serving it to other clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::secret::{Secret, SecretUrl};
use super::server::{self, UrlNames};
use super::{Env, Pick, env_value, is_loopback};

/// Where events are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogBackend {
    /// Segment files in the data folder; one process.
    #[default]
    Segment,
    /// A PostgreSQL database; several gateways may share it.
    Postgres,
    /// A KurrentDB/EventStoreDB server, or a Daybook that serves its protocol; several gateways may share it.
    Kurrent,
}

impl LogBackend {
    /// Whether other processes may write to the same log.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Postgres | Self::Kurrent)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Postgres => "postgres",
            Self::Kurrent => "kurrent",
        }
    }
}

impl std::str::FromStr for LogBackend {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "segment" => Ok(Self::Segment),
            "postgres" => Ok(Self::Postgres),
            "kurrent" => Ok(Self::Kurrent),
            _ => Err("choose segment, postgres or kurrent"),
        }
    }
}

/// The event log in force. What the backend does not use has its default.
#[derive(Debug, Clone)]
pub struct LogConfig {
    pub backend: LogBackend,
    /// There whenever the backend is a server.
    pub url: Option<SecretUrl>,
    /// PostgreSQL: the schema of the tables.
    pub schema: String,
    /// PostgreSQL: connections for reading. Writing and listening have one each besides.
    pub pool: u32,
    /// The certificate authority, in PEM, that must have signed the server's certificate.
    pub tls_ca: Option<PathBuf>,
    /// PostgreSQL: the longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for one reply of the server.
    pub request_timeout: Duration,
    /// How long an append is retried, over reconnections, before the command fails as `unavailable`.
    pub append_timeout: Duration,
}

impl Default for LogConfig {
    /// The log in the data folder.
    fn default() -> Self {
        Self {
            backend: LogBackend::Segment,
            url: None,
            schema: SCHEMA.to_owned(),
            pool: POOL,
            tls_ca: None,
            connect_timeout: Duration::from_millis(CONNECT_MS),
            request_timeout: Duration::from_millis(REQUEST_MS),
            append_timeout: Duration::from_millis(APPEND_MS),
        }
    }
}

/// Serving the KurrentDB protocol.
#[derive(Debug, Clone)]
pub struct KurrentServer {
    pub listen: SocketAddr,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// What clients that ask for the cluster's members are sent to.
    pub advertise: Option<SocketAddr>,
}

/// `[log]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogSection {
    backend: Option<LogBackend>,
    url: Option<SecretUrl>,
    url_file: Option<PathBuf>,
    schema: Option<String>,
    pool: Option<u32>,
    tls_ca: Option<PathBuf>,
    connect_timeout_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
    append_timeout_ms: Option<u64>,
}

/// `[kurrent_server]` as it stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KurrentSection {
    listen: Option<SocketAddr>,
    user: Option<String>,
    password: Option<Secret>,
    advertise: Option<SocketAddr>,
}

const SCHEMA: &str = "public";
/// A projection reads on one, a dozen of other readers now and then.
const POOL: u32 = 16;
const CONNECT_MS: u64 = 5_000;
const REQUEST_MS: u64 = 10_000;
const APPEND_MS: u64 = 15_000;

impl LogConfig {
    pub(super) fn load(section: LogSection, pick: &mut Pick<'_>, env: Env<'_>) -> anyhow::Result<Self> {
        let backend = pick.one(
            "log.backend",
            None,
            "",
            env_value(env, "DAYBOOK_LOG_BACKEND")?,
            section.backend,
            LogBackend::default,
        );
        let mut reader = Reader { backend, pick, env };
        let (servers, postgres) =
            ([LogBackend::Postgres, LogBackend::Kurrent].as_slice(), [LogBackend::Postgres].as_slice());
        let url = reader.url(section.url, section.url_file)?;
        let schema = reader
            .setting("log.schema", "DAYBOOK_LOG_SCHEMA", postgres, section.schema, || SCHEMA.to_owned())?;
        let pool = reader.setting("log.pool", "DAYBOOK_LOG_POOL", postgres, section.pool, || POOL)?;
        if !(1..=1_000).contains(&pool) {
            bail!("log.pool is {pool}: a number of connections from 1 to 1000");
        }
        let tls_ca = reader.optional("log.tls_ca", "DAYBOOK_LOG_TLS_CA", servers, section.tls_ca)?;
        if let Some(file) = &tls_ca {
            server::check_authority("log.tls_ca", file)?;
        }
        let connect_timeout = reader.timeout(
            "log.connect_timeout_ms",
            "DAYBOOK_LOG_CONNECT_TIMEOUT_MS",
            postgres,
            section.connect_timeout_ms,
            CONNECT_MS,
        )?;
        let request_timeout = reader.timeout(
            "log.request_timeout_ms",
            "DAYBOOK_LOG_REQUEST_TIMEOUT_MS",
            servers,
            section.request_timeout_ms,
            REQUEST_MS,
        )?;
        let append_timeout = reader.timeout(
            "log.append_timeout_ms",
            "DAYBOOK_LOG_APPEND_TIMEOUT_MS",
            servers,
            section.append_timeout_ms,
            APPEND_MS,
        )?;
        Ok(Self { backend, url, schema, pool, tls_ca, connect_timeout, request_timeout, append_timeout })
    }

    /// The server's address with what `tls_ca` adds to it, in the words of the backend's own URLs.
    #[must_use]
    pub fn server_url(&self) -> Option<SecretUrl> {
        let url = self.url.clone()?;
        let Some(ca) = self.tls_ca.as_ref().map(|ca| ca.display().to_string()) else { return Some(url) };
        Some(match self.backend {
            LogBackend::Segment => url,
            LogBackend::Postgres => {
                url.with_parameter("sslmode", "verify-full").with_parameter("sslrootcert", &ca)
            }
            LogBackend::Kurrent => url.with_parameter("tls", "true").with_parameter("tlsCaFile", &ca),
        })
    }
}

/// Reads settings of a backend; one that the backend has no use for is a mistake, and is named.
struct Reader<'a, 'p> {
    backend: LogBackend,
    pick: &'a mut Pick<'p>,
    env: Env<'a>,
}

impl Reader<'_, '_> {
    fn check_use(&self, setting: &str, used_by: &[LogBackend], given: bool) -> anyhow::Result<bool> {
        let used = used_by.contains(&self.backend);
        if given && !used {
            let users: Vec<_> = used_by.iter().map(|backend| format!("{:?}", backend.name())).collect();
            bail!(
                "{setting} is set, but log.backend is {:?}, which has no use for it: set log.backend to {}, or remove {setting}",
                self.backend.name(),
                users.join(" or ")
            );
        }
        Ok(used)
    }

    fn setting<T: Serialize + std::str::FromStr>(
        &mut self,
        setting: &'static str,
        variable: &'static str,
        used_by: &[LogBackend],
        file: Option<T>,
        default: impl FnOnce() -> T,
    ) -> anyhow::Result<T>
    where
        T::Err: std::fmt::Display,
    {
        let env = env_value(self.env, variable)?;
        if !self.check_use(setting, used_by, env.is_some() || file.is_some())? {
            return Ok(default());
        }
        Ok(self.pick.one(setting, None, "", env, file, default))
    }

    fn optional(
        &mut self,
        setting: &'static str,
        variable: &'static str,
        used_by: &[LogBackend],
        file: Option<PathBuf>,
    ) -> anyhow::Result<Option<PathBuf>> {
        let env = env_value::<PathBuf>(self.env, variable)?.map(|(name, value)| (name, Some(value)));
        if !self.check_use(setting, used_by, env.is_some() || file.is_some())? {
            return Ok(None);
        }
        Ok(self.pick.one(setting, None, "", env, file.map(Some), || None))
    }

    fn timeout(
        &mut self,
        setting: &'static str,
        variable: &'static str,
        used_by: &[LogBackend],
        file: Option<u64>,
        default_ms: u64,
    ) -> anyhow::Result<Duration> {
        let ms = self.setting(setting, variable, used_by, file, || default_ms)?;
        server::check_timeout(setting, ms)
    }

    fn url(&mut self, file: Option<SecretUrl>, named: Option<PathBuf>) -> anyhow::Result<Option<SecretUrl>> {
        let names = UrlNames { url: "log.url", url_file: "log.url_file", variable: "DAYBOOK_LOG_URL" };
        let servers = [LogBackend::Postgres, LogBackend::Kurrent];
        let given = file.is_some() || named.is_some() || (self.env)(names.variable).is_some();
        if !self.check_use(names.url, &servers, given)? {
            return Ok(None);
        }
        let Some(url) = server::url(self.pick, self.env, names, file, named)? else {
            bail!(
                "log.backend is {:?}, but log.url is not set: write where the server is, {}, under [log] or into DAYBOOK_LOG_URL",
                self.backend.name(),
                match self.backend {
                    LogBackend::Kurrent => "kurrentdb://USER:PASSWORD@HOST:2113?tls=true",
                    LogBackend::Postgres | LogBackend::Segment =>
                        "postgres://USER:PASSWORD@HOST:5432/DATABASE",
                }
            );
        };
        Ok(Some(url))
    }
}

impl KurrentServer {
    /// `None`: the protocol is not served.
    pub(super) fn load(
        section: KurrentSection,
        flag: Option<SocketAddr>,
        pick: &mut Pick<'_>,
        env: Env<'_>,
    ) -> anyhow::Result<Option<Self>> {
        let variable = env_value(env, "DAYBOOK_KURRENT_LISTEN")?;
        let Some(listen) = flag.or(variable.map(|(_, value)| value)).or(section.listen) else {
            if section.user.is_some() || section.password.is_some() || section.advertise.is_some() {
                bail!(
                    "kurrent_server.listen is not set: say where to serve the protocol, or remove [kurrent_server]"
                );
            }
            return Ok(None);
        };
        pick.one("kurrent_server.listen", flag, "--kurrent-listen", variable, section.listen, || listen);
        let mut optional = |setting, variable, file: Option<String>| -> anyhow::Result<Option<String>> {
            let env = env_value::<String>(env, variable)?.map(|(name, value)| (name, Some(value)));
            Ok(pick.one(setting, None, "", env, file.map(Some), || None))
        };
        let user = optional("kurrent_server.user", "DAYBOOK_KURRENT_USER", section.user)?;
        let env_password = env_value::<Secret>(env, "DAYBOOK_KURRENT_PASSWORD")?.map(|(n, v)| (n, Some(v)));
        let password =
            pick.one("kurrent_server.password", None, "", env_password, section.password.map(Some), || None);
        let advertise =
            pick.one("kurrent_server.advertise", None, "", None, section.advertise.map(Some), || None);
        if user.is_some() != password.is_some() {
            bail!("kurrent_server.user and kurrent_server.password go together: set both, or none");
        }
        if user.as_ref().is_some_and(|user| user.is_empty() || user.contains(':')) {
            bail!("kurrent_server.user: a name without a colon");
        }
        Ok(Some(Self { listen, user, password, advertise }))
    }

    pub(super) fn check_exposure(&self) -> anyhow::Result<()> {
        if !is_loopback(self.listen.ip()) && self.user.is_none() {
            bail!(
                "refusing to serve the KurrentDB protocol on {} to everyone: set kurrent_server.user and \
                 kurrent_server.password, or listen on 127.0.0.1",
                self.listen
            );
        }
        Ok(())
    }
}
