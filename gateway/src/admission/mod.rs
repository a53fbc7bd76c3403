//! Admission: how often a customer, a client address and a variant may be asked for, so that one of them can't crowd out all others.
//!
//! Counted are **sale requests** alone: `reserve` and `place`, each line of a batch like a request of its own, and a retry that is
//! answered from the record of its idempotency key like any other. ADR 0050 says which of the three limits counts which of
//! them, and why.
//!
//! - [`settings`]: the section `[admission]` of the configuration
//! - [`limit`]: token buckets by key (GCRA, crate `governor`)
//! - `table`: their states: sharded, bounded
//! - [`ticks`]: the time that buckets fill by
//! - [`client`]: whose request it is, behind trusted proxies
//! - `sale`: which requests count, and for whom
//! - here: the three limits together, and the header fields that tell of them
//!
//! Deliberately absent: limits shared by several nodes (each node counts for itself), and the bound on a customer's holds,
//! which is a rule of the aggregates and exact.

pub mod client;
pub mod limit;
mod sale;
pub mod settings;
mod table;
#[cfg(test)]
mod tests;
pub mod ticks;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::Clock;

use client::{ClientKey, Proxies};
use limit::Limit;
use sale::Sale;
pub use settings::Settings;
use ticks::Ticks;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The three limits of one node.
pub struct Admission<C: Clock<Instant = Duration> = Ticks> {
    customer: Option<Limit<C>>,
    ip: Option<Limit<C>>,
    variant: Option<Limit<C>>,
    proxies: Proxies,
    exempt_local: bool,
    /// Whether it was said that somebody sends forwarded addresses that nobody is trusted to send.
    told: AtomicBool,
}

/// Whose request it is, for the limits: found once a request, used for each of its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The key of the limit by address; `None`: not limited by address.
    client: Option<ClientKey>,
    /// Not limited by variant either.
    local: bool,
}

/// What is left after a request was let through, for each limit that counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admitted([Option<Left>; 3]);

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub limit: &'static str,
    pub quota: u32,
    pub window: Duration,
    pub remaining: u32,
    /// Until there is more.
    pub more_in: Duration,
}

/// A request over a limit: counted nowhere, never decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// `remaining` is 0, `more_in` how long to wait.
    pub left: Left,
}

/// Why a command was not let through.
#[derive(Debug)]
pub enum NotAdmitted {
    Limited(Refused),
    /// A sale request that can't be counted, because its body has another form.
    Unreadable(serde_json::Error),
}

impl From<Refused> for NotAdmitted {
    fn from(refused: Refused) -> Self {
        Self::Limited(refused)
    }
}

impl<C: Clock<Instant = Duration> + Clone> Admission<C> {
    /// From checked settings.
    #[must_use]
    pub fn new(settings: &Settings, clock: &C) -> Self {
        let limit = |name, bucket| Limit::new(name, bucket, settings.tracked_keys, clock.clone());
        Self {
            customer: limit("customer", &settings.customer),
            ip: limit("ip", &settings.ip),
            variant: limit("variant", &settings.variant),
            proxies: Proxies::new(settings),
            exempt_local: settings.exempt_local && settings.trusted_proxies.is_empty(),
            told: AtomicBool::new(false),
        }
    }

    /// Whose request it is. `peer` is the other end of the connection, `None` where that can only be this machine; a `service`
    /// has proved to be one that acts for many customers.
    pub fn caller(&self, peer: Option<IpAddr>, headers: &HeaderMap, service: bool) -> Caller {
        let local_peer = peer.is_none_or(client::is_loopback);
        if local_peer && self.exempt_local {
            self.tell_of_untrusted_proxy(headers);
            return Caller { client: None, local: true };
        }
        let client = match (&self.ip, peer) {
            (Some(_), Some(peer)) if !service => Some(ClientKey::of(self.proxies.client(peer, headers))),
            _ => None,
        };
        Caller { client, local: false }
    }

    /// Lets a command through or not. Everything but a sale request goes through; a sale request goes through counted or not at
    /// all.
    pub fn admit(
        &self,
        caller: Caller,
        aggregate: &str,
        id: &str,
        command: &str,
        body: &[u8],
    ) -> Result<Admitted, NotAdmitted> {
        let mut admitted = Admitted::default();
        let sale = Sale::of(aggregate, id, command, body).map_err(NotAdmitted::Unreadable)?;
        let Some(sale) = sale else { return Ok(admitted) };
        // The narrowest first: who is over their own limit takes nothing from the limits that others share.
        if let (Some(limit), Some(customer)) = (&self.customer, sale.customer()) {
            admitted.0[0] = Some(limit.take(customer)?);
        }
        if let (Some(limit), Some(client)) = (&self.ip, &caller.client) {
            admitted.0[1] = Some(limit.take(client)?);
        }
        if let (Some(limit), false) = (&self.variant, caller.local) {
            let least = &mut admitted.0[2];
            for variant in sale.variants() {
                let left = limit.take(variant)?;
                *least = Some(least.filter(|least| least.remaining <= left.remaining).unwrap_or(left));
            }
        }
        Ok(admitted)
    }

    /// Requests refused by each limit, and keys whose states it keeps.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64, usize)> {
        [&self.customer, &self.ip, &self.variant]
            .into_iter()
            .flatten()
            .map(|limit| (limit.name(), limit.refused(), limit.tracked()))
    }

    /// A proxy on this machine that nobody named would hide every client behind one exempt address.
    fn tell_of_untrusted_proxy(&self, headers: &HeaderMap) {
        if !self.told.load(Ordering::Relaxed)
            && self.proxies.forwarded(headers)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "a proxy on this machine forwards requests, but admission.trusted_proxies is empty: its clients are not limited by address or variant"
            );
        }
    }
}

impl Admitted {
    /// Adds `RateLimit` and `RateLimit-Policy`, if any limit counted the request.
    pub fn mark(&self, headers: &mut HeaderMap) {
        mark(self.0.iter().flatten(), headers);
    }
}

impl Refused {
    /// Adds `RateLimit` and `RateLimit-Policy` of the limit that refused.
    pub fn mark(&self, headers: &mut HeaderMap) {
        mark(std::iter::once(&self.left), headers);
    }

    /// Whole seconds after which a retry makes sense, at least 1.
    #[must_use]
    pub fn retry_after(&self) -> u32 {
        u32::try_from(seconds(self.left.more_in)).unwrap_or(u32::MAX)
    }

    /// For people.
    #[must_use]
    pub fn detail(&self) -> String {
        let Left { limit, quota, window, .. } = self.left;
        let whose = match limit {
            "ip" => "client address",
            other => other,
        };
        let window = match window.as_secs() {
            1 => "a second".to_owned(),
            60 => "a minute".to_owned(),
            seconds => format!("in {seconds} s"),
        };
        format!(
            "at most {quota} sale requests {window} for one {whose}; try again in {} s",
            self.retry_after()
        )
    }
}

/// Structured fields of draft-ietf-httpapi-ratelimit-headers-10: `"customer";q=10;w=60` and `"customer";r=9;t=6`.
fn mark<'a>(lefts: impl Iterator<Item = &'a Left>, headers: &mut HeaderMap) {
    let (mut policy, mut state) = (Vec::with_capacity(80), Vec::with_capacity(80));
    for left in lefts {
        let Left { limit, quota, remaining, .. } = left;
        field(&mut policy, limit, (b"\";q=", (*quota).into()), (b";w=", left.window.as_secs()));
        field(&mut state, limit, (b"\";r=", (*remaining).into()), (b";t=", seconds(left.more_in)));
    }
    if policy.is_empty() {
        return;
    }
    let value = |text: Vec<u8>| HeaderValue::from_maybe_shared(Bytes::from(text)).expect("ASCII");
    headers.insert(RATE_LIMIT_POLICY, value(policy));
    headers.insert(RATE_LIMIT, value(state));
}

/// One more member of the list. Every accepted sale has such fields: they are put together by hand.
fn field(list: &mut Vec<u8>, limit: &str, (first, number): (&[u8], u64), (then, other): (&[u8], u64)) {
    let separator: &[u8] = if list.is_empty() { b"\"" } else { b", \"" };
    let mut digits = itoa::Buffer::new();
    for part in [separator, limit.as_bytes(), first, digits.format(number).as_bytes(), then] {
        list.extend_from_slice(part);
    }
    list.extend_from_slice(digits.format(other).as_bytes());
}

/// Rounded up, at least 1: nobody is told to come back too early.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
