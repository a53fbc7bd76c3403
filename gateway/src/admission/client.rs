//! Whose request it is: the other end of the connection, or, behind trusted proxies, the right-most address that none of them has.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, header};

use super::settings::{ForwardedHeader, Network, Settings};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is limited by address: an IPv4 address, or the /64 that an IPv6 customer usually has to themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl ClientKey {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match plain(address) {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// An IPv4 address in IPv6 clothing as the IPv4 address that it is.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    plain(address).is_loopback()
}

/// The proxies whose word is taken.
#[derive(Debug)]
pub(super) struct Proxies {
    trusted: Vec<Network>,
    header: ForwardedHeader,
}

impl Proxies {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { trusted: settings.trusted_proxies.clone(), header: settings.forwarded_header }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether somebody forwarded the request.
    pub(super) fn forwarded(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED)
    }

    /// The client's address. Each proxy appends whom it heard from, so the list is read from its right end, and only as far as
    /// it was written by trusted proxies; what stands further left, anyone may have made up.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        if !self.trusts(peer) {
            return client;
        }
        let name = match self.header {
            ForwardedHeader::XForwardedFor => &X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => &header::FORWARDED,
        };
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        for line in lines.into_iter().rev() {
            // A field that is no text says nothing, and neither does what stands left of it.
            let Ok(line) = line.to_str() else { return client };
            for hop in split_unquoted(line, ',').into_iter().rev() {
                let address = match self.header {
                    ForwardedHeader::XForwardedFor => address_of(hop),
                    ForwardedHeader::Forwarded => forwarded_for(hop),
                };
                // An unknown or hidden hop: the last proxy that is known stands for all behind it.
                let Some(address) = address else { return client };
                client = address;
                if !self.trusts(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// Splits at separators outside of quotes.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c| {
        let ends = c == separator && !quoted;
        match c {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
        ends
    })
    .collect()
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    split_unquoted(element, ';').into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| address_of(value.trim().trim_matches('"')))?
    })
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`, `2001:db8::1`.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    if let Some(rest) = hop.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_fits = port.is_empty() || port.strip_prefix(':')?.parse::<u16>().is_ok();
        return address.parse::<Ipv6Addr>().ok().filter(|_| port_fits).map(IpAddr::V6);
    }
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<std::net::SocketAddrV4>().ok().map(|address| IpAddr::V4(*address.ip())))
}
