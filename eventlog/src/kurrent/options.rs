//! Where the server is and how patiently it is used.

use std::path::Path;
use std::time::Duration;

use eventstore::ClientSettings;

/// How to reach a KurrentDB/EventStoreDB server.
#[derive(Clone)]
pub struct KurrentOptions {
    /// The connection string, as every KurrentDB client takes it: `kurrentdb://user:password@host:2113?tls=true`;
    /// several hosts, or `kurrentdb+discover://`, for a cluster; `tls=false` for plain text; `tlsCaFile=`,
    /// `userCertFile=` and `userKeyFile=` for certificates. `esdb://` means the same.
    pub url: String,
    /// The largest append in bytes; not more than the server's `MaxAppendSize`, which is 1 MiB unless configured.
    pub max_append_bytes: usize,
    /// How long the server may take for one reply.
    pub request_timeout: Duration,
    /// How long an append is retried before its caller is told that the server is unavailable.
    pub append_timeout: Duration,
    /// After so long without an event the subscription is compared with the end of the log.
    pub watchdog: Duration,
    /// How many appends may be in flight.
    pub max_in_flight: usize,
    /// How many bytes of appends may be queued before further ones are refused as overload.
    pub max_queued_bytes: usize,
}

impl std::fmt::Debug for KurrentOptions {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KurrentOptions").field("max_in_flight", &self.max_in_flight).finish_non_exhaustive()
    }
}

/// Why no log could be opened on a server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection string is not one.
    #[error("the KurrentDB connection string is wrong: {0}")]
    Url(String),
    /// A file that the connection string names can't be used.
    #[error("the KurrentDB connection string names {path} in {parameter}, which can't be used: {reason}")]
    File { parameter: &'static str, path: String, reason: String },
    /// The client could not be made.
    #[error("the KurrentDB client can't be started: {0}")]
    Client(String),
    /// There is no server, or it does not let us in.
    #[error("no use of the KurrentDB server at {server}: {reason}")]
    Unreachable { server: String, reason: String },
}

impl KurrentOptions {
    /// The server of a connection string, with patience for a server in the same data centre.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_append_bytes: 1 << 20,
            request_timeout: Duration::from_secs(5),
            append_timeout: Duration::from_secs(10),
            watchdog: Duration::from_secs(5),
            max_in_flight: 256,
            max_queued_bytes: 64 << 20,
        }
    }

    pub(super) fn settings(&self) -> Result<ClientSettings, ConnectError> {
        let url = with_known_scheme(&self.url)?;
        let settings: ClientSettings =
            url.parse().map_err(|error: eventstore::ClientSettingsParseError| {
                ConnectError::Url(format!("{}: write kurrentdb://host:port?tls=true", error.message()))
            })?;
        // The client panics in its own task on files that it can't use.
        if let Some(file) = settings.tls_ca_file() {
            check_pem("tlsCaFile", file)?;
        }
        if let Some((certificate, key)) = settings.user_certificate() {
            check_pem("userCertFile", certificate)?;
            check_pem("userKeyFile", key)?;
        }
        Ok(settings)
    }
}

/// The client knows the scheme by its former name only.
fn with_known_scheme(url: &str) -> Result<String, ConnectError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(ConnectError::Url("no scheme: write kurrentdb://host:port?tls=true".into()));
    };
    match scheme {
        "esdb" | "kurrent" | "kurrentdb" => Ok(format!("esdb://{rest}")),
        "esdb+discover" | "kurrent+discover" | "kurrentdb+discover" => Ok(format!("esdb+discover://{rest}")),
        other => {
            Err(ConnectError::Url(format!("unknown scheme {other}: use kurrentdb or kurrentdb+discover")))
        }
    }
}

fn check_pem(parameter: &'static str, path: &str) -> Result<(), ConnectError> {
    let fail = |reason: String| ConnectError::File { parameter, path: path.to_owned(), reason };
    let text = std::fs::read_to_string(Path::new(path)).map_err(|error| fail(error.to_string()))?;
    if text.contains("-----BEGIN ") { Ok(()) } else { Err(fail("not in PEM form".into())) }
}

#[cfg(test)]
mod tests {
    use super::{ConnectError, KurrentOptions};

    #[test]
    fn every_name_of_the_scheme_is_understood_and_tls_is_on_unless_switched_off() {
        for scheme in ["esdb", "kurrent", "kurrentdb"] {
            let settings = |rest: &str| KurrentOptions::new(format!("{scheme}://{rest}")).settings().unwrap();
            assert!(settings("localhost:2113").is_secure_mode_enabled());
            assert!(!settings("localhost:2113?tls=false").is_secure_mode_enabled());
            assert_eq!(settings("a:1,b:2,c:3").hosts().len(), 3);
        }
        assert!(
            KurrentOptions::new("kurrentdb+discover://db").settings().unwrap().is_dns_discovery_enabled()
        );
    }

    #[test]
    fn wrong_settings_are_named() {
        let error = |url: &str| KurrentOptions::new(url).settings().unwrap_err();
        assert!(matches!(error("localhost"), ConnectError::Url(_)));
        assert!(error("http://localhost").to_string().contains("unknown scheme http"));
        let missing = error("esdb://localhost?tlsCaFile=/nowhere/ca.pem").to_string();
        assert!(missing.contains("tlsCaFile") && missing.contains("/nowhere/ca.pem"), "{missing}");
        assert!(matches!(error("esdb://localhost?userCertFile=/nowhere/c.pem"), ConnectError::Url(_)));
    }
}
