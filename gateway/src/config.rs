//! What is in force, and where it came from: defaults, then `daybook.toml`, then `DAYBOOK_…` in the environment, then flags.

mod log;
mod read_models;
mod relay;
mod search;
mod secret;
mod server;
#[cfg(test)]
mod server_tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use daybook_aggregates::{Role, Roles};
use daybook_schemas::{Currency, Label};
use serde::{Deserialize, Serialize};

use crate::admission;
pub use log::{KurrentServer, LogBackend, LogConfig};
pub use read_models::{ReadModelBackend, ReadModelConfig, ReadModelServer};
pub use relay::RelayConfig;
pub use search::{SearchBackend, SearchConfig};
pub use secret::{Secret, SecretUrl};

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    pub data: PathBuf,
    pub listen: SocketAddr,
    /// What analytics queries report in that name none; unset: the currency of most orders.
    pub currency: Option<Currency>,
    pub api_keys: Vec<ApiKey>,
    /// Whom requests without credentials act as; only on a loopback address without configured keys.
    pub local_principal: LocalPrincipal,
    pub limits: Limits,
    pub admission: admission::Settings,
    pub memory: Memory,
    /// Whether operators may damage read models of a running server on purpose, to see that it is found. Unless set: only where
    /// no credentials are needed, which is on a loopback address.
    pub allow_drift_injection: Option<bool>,
    pub log: LogConfig,
    pub search: SearchConfig,
    /// Whether and where events are published.
    pub relay: Option<RelayConfig>,
    pub read_models: ReadModelConfig,
    /// Whether and where the KurrentDB protocol is served.
    pub kurrent_server: Option<KurrentServer>,
    /// Every setting with its value and where it came from, in the order of the configuration file.
    pub provenance: Vec<Provenance>,
}

/// A bearer token's holder. The token itself is nowhere; `sha256` is its SHA-256 in hexadecimal.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    pub name: Label,
    pub sha256: String,
    pub roles: Vec<Role>,
    /// In the hands of buyers (in a page or an app), not of a service that acts for many of them: limited by client address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// The principal of the loopback default.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LocalPrincipal {
    pub name: Label,
    pub roles: Vec<Role>,
}

/// Bounds on what clients may ask.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body, bytes.
    pub body_bytes: usize,
    /// Header fields of a request, bytes together.
    pub head_bytes: usize,
    /// How long a request's head, and silence on an open connection, may take, milliseconds.
    pub header_timeout_ms: u64,
    /// How long a command's body, and a line of many commands, may take, milliseconds.
    pub body_timeout_ms: u64,
    /// How long a client may take no byte of its answer, milliseconds.
    pub write_timeout_ms: u64,
    /// Commands waiting for a decision before new ones are refused with 503.
    pub queued_commands: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            head_bytes: 16 << 10,
            header_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            queued_commands: 65_536,
        }
    }
}

/// Memory budgets.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Aggregate states kept for decisions, MiB. Active holds are part of them (some 500 bytes each): where those of all
    /// variants on sale do not fit, streams are read again and again.
    pub state_cache_mib: usize,
    /// Buffer of the search index writer, MiB.
    pub search_writer_mib: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state_cache_mib: 512, search_writer_mib: 32 }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Serialize)]
pub struct Provenance {
    pub setting: &'static str,
    pub value: serde_json::Value,
    pub source: String,
}

/// `daybook.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    currency: Option<Currency>,
    #[serde(default)]
    api_keys: Vec<ApiKey>,
    local_principal: Option<LocalPrincipal>,
    limits: Option<Limits>,
    admission: Option<admission::Settings>,
    memory: Option<Memory>,
    allow_drift_injection: Option<bool>,
    #[serde(default)]
    log: log::LogSection,
    #[serde(default)]
    search: search::SearchSection,
    #[serde(default)]
    relay: relay::RelaySection,
    #[serde(default)]
    read_models: read_models::ReadModelSection,
    #[serde(default)]
    kurrent_server: log::KurrentSection,
}

/// What the command line says; it wins over everything.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub data: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub kurrent_listen: Option<SocketAddr>,
}

/// The environment, by name.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads the configuration. A named file must exist; `daybook.toml` in the working folder may.
    pub fn load(flags: &Flags) -> anyhow::Result<Self> {
        Self::load_with(flags, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(crate) fn load_with(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let named = flags.config.clone().or_else(|| env("DAYBOOK_CONFIG").map(PathBuf::from));
        let (file, path) = read_file(named.as_deref())?;
        let from_file = format!("file {}", path.display());
        let mut provenance = Vec::new();
        let mut pick = Pick { provenance: &mut provenance, from_file: &from_file };

        let data = pick.one(
            "data",
            flags.data.clone(),
            "--data",
            env_value(&env, "DAYBOOK_DATA")?,
            file.data,
            || PathBuf::from("daybook-data"),
        );
        let listen = pick.one(
            "listen",
            flags.listen,
            "--listen",
            env_value(&env, "DAYBOOK_LISTEN")?,
            file.listen,
            || SocketAddr::from(([127, 0, 0, 1], 7700)),
        );
        let currency = env("DAYBOOK_CURRENCY")
            .map(|text| Currency::new(&text).context("DAYBOOK_CURRENCY"))
            .transpose()?
            .map(|value| ("DAYBOOK_CURRENCY", value));
        let currency = pick.one(
            "currency",
            None,
            "",
            currency.map(|(name, value)| (name, Some(value))),
            file.currency.map(Some),
            || None,
        );
        let local_principal =
            pick.one("local_principal", None, "", None, file.local_principal, || LocalPrincipal {
                name: Label::new("local").expect("a constant that keeps the rule"),
                roles: vec![
                    Role::Viewer,
                    Role::Storefront,
                    Role::Merchandiser,
                    Role::Approver,
                    Role::BrandOwner,
                    Role::Operator,
                ],
            });
        let limits = pick.one("limits", None, "", None, file.limits, Limits::default);
        let admission = pick.one("admission", None, "", None, file.admission, admission::Settings::default);
        let memory = pick.one("memory", None, "", None, file.memory, Memory::default);
        let allow_drift_injection =
            pick.one("allow_drift_injection", None, "", None, file.allow_drift_injection.map(Some), || None);
        let keys = (!file.api_keys.is_empty()).then_some(file.api_keys);
        let api_keys = pick.one("api_keys", None, "", None, keys, Vec::new);
        for key in &api_keys {
            check_key(key)?;
        }
        let log = LogConfig::load(file.log, &mut pick, &env)?;
        let read_models = ReadModelConfig::load(file.read_models, &mut pick, &env)?;
        let search = SearchConfig::load(file.search, &mut pick, &env)?;
        let relay = RelayConfig::load(file.relay, &mut pick, &env)?;
        let kurrent_server = KurrentServer::load(file.kurrent_server, flags.kurrent_listen, &mut pick, &env)?;
        Ok(Self {
            data,
            listen,
            currency,
            api_keys,
            local_principal,
            limits,
            admission,
            memory,
            allow_drift_injection,
            log,
            search,
            relay,
            read_models,
            kurrent_server,
            provenance,
        })
    }

    /// Whether requests need credentials.
    #[must_use]
    pub fn needs_credentials(&self) -> bool {
        !self.api_keys.is_empty()
    }

    /// Whether operators may damage read models on purpose.
    #[must_use]
    pub fn allows_drift(&self) -> bool {
        self.allow_drift_injection
            .unwrap_or_else(|| !self.needs_credentials() && is_loopback(self.listen.ip()))
    }

    /// Refuses to serve strangers without credentials.
    pub fn check_exposure(&self) -> anyhow::Result<()> {
        if !is_loopback(self.listen.ip()) && !self.needs_credentials() {
            bail!(
                "refusing to listen on {} without credentials: add [[api_keys]] to daybook.toml, or listen on 127.0.0.1",
                self.listen
            );
        }
        self.kurrent_server.as_ref().map_or(Ok(()), KurrentServer::check_exposure)
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

fn check_key(key: &ApiKey) -> anyhow::Result<()> {
    let hex = key.sha256.len() == 64
        && key.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !hex {
        bail!(
            "api_keys {:?}: sha256 is 64 lower-case hexadecimal digits (printf %s TOKEN | sha256sum)",
            key.name
        );
    }
    if key.roles.is_empty() {
        bail!("api_keys {:?}: roles is empty; name at least one", key.name);
    }
    if key.roles.contains(&Role::System) {
        bail!("api_keys {:?}: the role system is Daybook's own", key.name);
    }
    Ok(())
}

fn read_file(named: Option<&Path>) -> anyhow::Result<(File, PathBuf)> {
    let path = named.map_or_else(|| PathBuf::from("daybook.toml"), Path::to_path_buf);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let file = toml::from_str(&text).map_err(|error| mistake(&text, &error));
            Ok((file.with_context(|| format!("configuration file {}", path.display()))?, path))
        }
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Ok((File::default(), path))
        }
        Err(error) => Err(error).with_context(|| format!("configuration file {}", path.display())),
    }
}

/// Line and setting of a mistake. The parser's own text quotes the line, and the line may hold a password.
fn mistake(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let message = secret::without_urls(error.message());
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return anyhow::anyhow!(message);
    };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default();
    let setting = line.split_once('=').map(|(name, _)| name.trim()).filter(|name| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !name.is_empty() && name.bytes().all(plain)
    });
    match setting {
        Some(setting) => anyhow::anyhow!("line {}, {setting}: {message}", number + 1),
        None => anyhow::anyhow!("line {}: {message}", number + 1),
    }
}

fn env_value<T: std::str::FromStr>(
    env: Env<'_>,
    name: &'static str,
) -> anyhow::Result<Option<(&'static str, T)>>
where
    T::Err: fmt::Display,
{
    env(name)
        .map(|text| {
            text.parse().map(|value| (name, value)).map_err(|e| anyhow::anyhow!("{name}={text:?}: {e}"))
        })
        .transpose()
}

/// Chooses the strongest source of a setting and notes it.
struct Pick<'a> {
    provenance: &'a mut Vec<Provenance>,
    from_file: &'a str,
}

impl Pick<'_> {
    fn one<T: Serialize>(
        &mut self,
        setting: &'static str,
        flag: Option<T>,
        flag_name: &str,
        env: Option<(&'static str, T)>,
        file: Option<T>,
        default: impl FnOnce() -> T,
    ) -> T {
        let (value, source) = match (flag, env, file) {
            (Some(value), _, _) => (value, format!("flag {flag_name}")),
            (None, Some((name, value)), _) => (value, format!("environment {name}")),
            (None, None, Some(value)) => (value, self.from_file.to_owned()),
            (None, None, None) => (default(), "default".to_owned()),
        };
        let shown = serde_json::to_value(&value).expect("settings are plain data");
        self.provenance.push(Provenance { setting, value: shown, source });
        value
    }
}

impl LocalPrincipal {
    /// The roles as a set.
    #[must_use]
    pub fn role_set(&self) -> Roles {
        Roles::of(self.roles.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)], flags: Flags) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daybook.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags { config: Some(path), ..flags };
        Config::load_with(&flags, |name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        let flags = Flags { data: Some("from-flag".into()), ..Flags::default() };
        let env = [("DAYBOOK_DATA", "from-env"), ("DAYBOOK_LISTEN", "127.0.0.1:1")];
        let config =
            load("data = 'from-file'\nlisten = '127.0.0.1:2'\ncurrency = 'EUR'", &env, flags).unwrap();
        assert_eq!(config.data, PathBuf::from("from-flag"));
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.currency, Some(Currency::new("EUR").unwrap()));
        let sources: Vec<_> =
            config.provenance.iter().map(|p| p.source.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(sources[..3], ["flag", "environment", "file"]);
        assert!(sources[3..].iter().all(|source| source == "default"), "{sources:?}");
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (file, word) in [
            ("lissten = '127.0.0.1:1'", "lissten"),
            ("listen = 'everywhere'", "listen"),
            ("currency = 'pounds'", "capital"),
            ("[[api_keys]]\nname = 'a'\nsha256 = 'xyz'\nroles = ['operator']", "sha256sum"),
            ("[[api_keys]]\nname = 'a'\nsha256 = 'xyz'\nroles = ['king']", "king"),
            ("[limits]\nbody_byte = 1", "body_byte"),
            ("[admission.customer]\nrequest = 1", "request"),
            ("[admission]\ntrusted_proxies = ['10.0.0.0/40']", "trusted_proxies"),
        ] {
            let error = format!("{:#}", load(file, &[], Flags::default()).unwrap_err());
            assert!(error.contains(word), "{file}: {error}");
        }
        let error = format!("{:#}", load("", &[("DAYBOOK_LISTEN", "x")], Flags::default()).unwrap_err());
        assert!(error.contains("DAYBOOK_LISTEN"), "{error}");
    }

    #[test]
    fn the_sample_in_the_readme_is_what_is_understood_and_its_limits_are_the_defaults() {
        let readme = include_str!("../../README.md");
        let sample = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = load(&sample.replace('…', &"0".repeat(64)), &[], Flags::default()).unwrap();
        assert_eq!(config.admission, admission::Settings::default());
        assert_eq!(config.limits.body_bytes, Limits::default().body_bytes);
    }

    #[test]
    fn strangers_need_credentials() {
        assert!(load("listen = '0.0.0.0:1'", &[], Flags::default()).unwrap().check_exposure().is_err());
        assert!(load("listen = '[::1]:1'", &[], Flags::default()).unwrap().check_exposure().is_ok());
        let key = format!(
            "listen = '0.0.0.0:1'\n[[api_keys]]\nname = 'a'\nsha256 = '{}'\nroles = ['operator']",
            "0".repeat(64)
        );
        assert!(load(&key, &[], Flags::default()).unwrap().check_exposure().is_ok());
    }
}
