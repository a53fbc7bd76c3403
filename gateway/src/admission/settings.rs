//! The section `[admission]` of `daybook.toml`.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use governor::Quota;
use serde::{Deserialize, Serialize};

use super::client;

/// How often customers, client addresses and variants may be asked for. The defaults are those of the requirements.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "File")]
pub struct Settings {
    /// `reserve` and `place` requests that name the customer, by customer.
    pub customer: Bucket,
    /// `reserve` and `place` requests without an API key, or with a public one, by client address (IPv6: by /64).
    pub ip: Bucket,
    /// `reserve` and `place` requests, by each variant that they ask for.
    pub variant: Bucket,
    /// Whether connections from this machine itself are free of the limits by address and by variant, as long as no proxy is
    /// trusted.
    pub exempt_local: bool,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// The one field that those proxies set; the other is not looked at, because they pass it on from whoever sent it.
    pub forwarded_header: ForwardedHeader,
    /// Most keys each limit keeps a state for. Beyond, new keys are let through uncounted, known ones stay limited.
    pub tracked_keys: usize,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    pub enabled: bool,
    /// Tokens that come back in `per_seconds`, evenly.
    pub requests: NonZeroU32,
    pub per_seconds: NonZeroU32,
    /// Tokens of a full bucket.
    pub burst: NonZeroU32,
}

/// The field with the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: a list of addresses.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// A network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

const fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("a constant above zero")
}

impl Default for Settings {
    fn default() -> Self {
        let bucket = |requests, per_seconds, burst| Bucket {
            enabled: true,
            requests: number(requests),
            per_seconds: number(per_seconds),
            burst: number(burst),
        };
        Self {
            customer: bucket(10, 60, 10),
            ip: bucket(50, 60, 50),
            // The burst is the crowd at the opening of a sale: each of 10,000 buyers gets an answer from the stock itself.
            variant: bucket(1_000, 1, 10_000),
            exempt_local: true,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            tracked_keys: 1_000_000,
        }
    }
}

/// As written: what is left out is as by default; a rate without `burst` gets one of the same number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    customer: BucketFile,
    #[serde(default)]
    ip: BucketFile,
    #[serde(default)]
    variant: BucketFile,
    exempt_local: Option<bool>,
    trusted_proxies: Option<Vec<Network>>,
    forwarded_header: Option<ForwardedHeader>,
    tracked_keys: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BucketFile {
    enabled: Option<bool>,
    requests: Option<NonZeroU32>,
    per_seconds: Option<NonZeroU32>,
    burst: Option<NonZeroU32>,
}

impl BucketFile {
    fn over(self, name: &str, default: Bucket) -> anyhow::Result<Bucket> {
        let changed = self.requests.is_some() || self.per_seconds.is_some();
        let requests = self.requests.unwrap_or(default.requests);
        let bucket = Bucket {
            enabled: self.enabled.unwrap_or(default.enabled),
            requests,
            per_seconds: self.per_seconds.unwrap_or(default.per_seconds),
            burst: self.burst.unwrap_or(if changed { requests } else { default.burst }),
        };
        bucket.check().with_context(|| format!("admission.{name}"))?;
        Ok(bucket)
    }
}

impl TryFrom<File> for Settings {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        let default = Self::default();
        let of = |bucket: BucketFile, name, default| {
            bucket.over(name, default).map_err(|error| format!("{error:#}"))
        };
        let tracked_keys = file.tracked_keys.unwrap_or(default.tracked_keys);
        if tracked_keys == 0 {
            return Err("admission.tracked_keys is at least 1; a limit is switched off with enabled = false"
                .to_owned());
        }
        Ok(Self {
            customer: of(file.customer, "customer", default.customer)?,
            ip: of(file.ip, "ip", default.ip)?,
            variant: of(file.variant, "variant", default.variant)?,
            exempt_local: file.exempt_local.unwrap_or(default.exempt_local),
            trusted_proxies: file.trusted_proxies.unwrap_or_default(),
            forwarded_header: file.forwarded_header.unwrap_or(default.forwarded_header),
            tracked_keys,
        })
    }
}

impl Bucket {
    /// How long one token takes to come back.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.per_seconds.get().into()) / self.requests.get()
    }

    /// Time in which `requests` come back.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.per_seconds.get().into())
    }

    pub(super) fn quota(&self) -> Quota {
        Quota::with_period(self.period()).expect("the settings were checked").allow_burst(self.burst)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.period().is_zero(),
            "requests = {} in {} s is more than one a nanosecond; a limit is switched off with enabled = false",
            self.requests,
            self.per_seconds
        );
        // A bucket that takes centuries to fill overflows the arithmetic on nanoseconds.
        let fills = self.period().checked_mul(self.burst.get());
        ensure!(
            fills.is_some_and(|time| time <= Duration::from_secs(366 * 86_400)),
            "burst = {} takes more than a year to come back",
            self.burst
        );
        Ok(())
    }
}

impl Network {
    /// Whether the address lies in it. An IPv4 address in IPv6 clothing is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, client::plain(address)) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                network.to_bits().checked_shr(shift).unwrap_or(0)
                    == address.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                network.to_bits().checked_shr(shift).unwrap_or(0)
                    == address.to_bits().checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || format!("{text:?} is no network such as 10.0.0.0/8 or ::1");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().with_context(wrong)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).with_context(wrong)?;
        if bits > most {
            bail!(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: anyhow::Error| format!("admission.trusted_proxies: {error}"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}
