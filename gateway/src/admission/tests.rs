use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::settings::{ForwardedHeader, Network};
use super::*;

/// Stands still unless told to go on.
#[derive(Clone)]
struct TestClock(Arc<Mutex<Duration>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for TestClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        *self.0.lock()
    }
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

fn settings(text: &str) -> Settings {
    toml::from_str(text).unwrap()
}

fn reserve(customer: &str) -> String {
    format!(r#"{{"customer_id":"{customer}","quantity":1}}"#)
}

fn limited(reason: NotAdmitted) -> Refused {
    match reason {
        NotAdmitted::Limited(refused) => refused,
        NotAdmitted::Unreadable(error) => panic!("{error}"),
    }
}

struct Gate {
    admission: Admission<TestClock>,
    clock: TestClock,
}

impl Gate {
    fn new(text: &str) -> Self {
        let clock = TestClock::new();
        Self { admission: Admission::new(&settings(text), &clock), clock }
    }

    /// A hold asked for by a stranger.
    fn reserve(&self, peer: IpAddr, variant: &str, customer: &str) -> Result<Admitted, Refused> {
        let caller = self.admission.caller(Some(peer), &HeaderMap::new(), false);
        let admitted =
            self.admission.admit(caller, "inventory", variant, "reserve", reserve(customer).as_bytes());
        admitted.map_err(limited)
    }
}

#[test]
fn a_customer_gets_ten_requests_and_then_one_every_six_seconds() {
    let gate = Gate::new("[ip]\nenabled = false");
    for remaining in (0..10).rev() {
        assert_eq!(gate.reserve(PEER, "v", "ada").unwrap().0[0].unwrap().remaining, remaining);
    }
    let refused = gate.reserve(PEER, "v", "ada").unwrap_err();
    assert_eq!((refused.left.limit, refused.retry_after()), ("customer", 6));
    assert!(gate.reserve(PEER, "v", "bob").is_ok(), "others are not touched");
    gate.clock.advance(Duration::from_millis(5_999));
    assert_eq!(gate.reserve(PEER, "v", "ada").unwrap_err().retry_after(), 1);
    gate.clock.advance(Duration::from_millis(1));
    assert!(gate.reserve(PEER, "v", "ada").is_ok());
    assert!(gate.reserve(PEER, "v", "ada").is_err());
}

#[test]
fn who_is_over_their_own_limit_takes_nothing_from_the_others() {
    let gate = Gate::new("[ip]\nrequests = 15\n[variant]\nrequests = 20\nper_seconds = 60");
    for _ in 0..100 {
        let _ = gate.reserve(PEER, "v", "ada");
    }
    // Ten of fifteen went to ada.
    for n in 0..5 {
        assert!(gate.reserve(PEER, "v", &format!("c{n}")).is_ok());
    }
    assert_eq!(gate.reserve(PEER, "v", "c5").unwrap_err().left.limit, "ip");
    let elsewhere = "203.0.113.10".parse().unwrap();
    for n in 0..5 {
        assert!(gate.reserve(elsewhere, "v", &format!("d{n}")).is_ok());
    }
    assert_eq!(gate.reserve(elsewhere, "v", "d5").unwrap_err().left.limit, "variant");
    assert!(gate.reserve(elsewhere, "w", "d6").is_ok());
}

#[test]
fn an_order_counts_once_for_its_customer_and_once_for_each_variant() {
    let gate = Gate::new("[variant]\nrequests = 3\nper_seconds = 60");
    let caller = gate.admission.caller(Some(PEER), &HeaderMap::new(), true);
    let place = |customer: &str, variants: &[&str]| {
        let lines: Vec<_> =
            variants.iter().map(|v| serde_json::json!({"variant_id": v, "quantity": 1})).collect();
        let body = serde_json::json!({"customer_id": customer, "lines": lines, "payment_method": "card"});
        gate.admission.admit(caller, "order", "o", "place", body.to_string().as_bytes()).map_err(limited)
    };
    let admitted = place("ada", &["a", "a", "b"]).unwrap();
    assert_eq!(admitted.0[0].unwrap().remaining, 9);
    assert_eq!(admitted.0[2].unwrap().remaining, 2);
    place("bob", &["a"]).unwrap();
    place("cyd", &["a"]).unwrap();
    assert_eq!(place("dan", &["b", "a"]).unwrap_err().left.limit, "variant");
}

#[test]
fn ids_are_the_same_however_they_are_written() {
    let gate = Gate::new("[customer]\nrequests = 1");
    let caller = gate.admission.caller(Some(PEER), &HeaderMap::new(), true);
    let admit = |body: &str| gate.admission.admit(caller, "inventory", "v", "reserve", body.as_bytes());
    assert!(admit(r#"{"customer_id": "ada", "quantity": 1}"#).is_ok());
    assert!(admit(r#"{"quantity": 2, "c\u0075stomer_id": "\u0061da"}"#).is_err());
}

#[test]
fn what_is_no_sale_request_is_not_counted() {
    let gate = Gate::new("[customer]\nrequests = 1\n[ip]\nrequests = 1\n[variant]\nrequests = 1");
    let caller = gate.admission.caller(Some(PEER), &HeaderMap::new(), false);
    for (aggregate, command, body) in [
        ("inventory", "receive", r#"{"quantity": 1}"#),
        ("inventory", "release", r#"{"reservation_id": "r"}"#),
        ("order", "pay", "{}"),
        ("inventory", "receive", "["),
    ] {
        for _ in 0..3 {
            let admitted = gate.admission.admit(caller, aggregate, "v", command, body.as_bytes());
            assert_eq!(admitted.map_err(limited), Ok(Admitted::default()), "{aggregate} {command} {body}");
        }
    }
}

#[test]
fn a_sale_request_that_cannot_be_counted_is_not_let_through() {
    let gate = Gate::new("[customer]\nrequests = 1\n[ip]\nrequests = 1\n[variant]\nrequests = 1");
    for service in [false, true] {
        let caller = gate.admission.caller(Some(PEER), &HeaderMap::new(), service);
        for (aggregate, command, body) in [
            ("inventory", "reserve", "{"),
            ("inventory", "reserve", r#"["r", "ada", 1]"#),
            ("inventory", "reserve", r#"{"customer_id": ["ada"], "quantity": 1}"#),
            ("inventory", "reserve", r#"{"customer_id": 7, "quantity": 1}"#),
            ("inventory", "reserve", r#"{"customer_id": "a", "customer_id": "b", "quantity": 1}"#),
            ("order", "place", r#"{"customer_id": "a"}"#),
            ("order", "place", r#"["ada", [{"variant_id": "v", "quantity": 1}], "card"]"#),
            ("order", "place", r#"{"lines": [["v", 1]]}"#),
            ("order", "place", r#"{"lines": {"variant_id": "v"}}"#),
        ] {
            let admitted = gate.admission.admit(caller, aggregate, "v", command, body.as_bytes());
            assert!(matches!(admitted, Err(NotAdmitted::Unreadable(_))), "{aggregate} {command} {body}");
        }
    }
    assert!(gate.reserve(PEER, "v", "ada").is_ok(), "nothing was counted");
}

#[test]
fn services_and_this_machine_are_not_limited_by_address() {
    let gate = Gate::new("[ip]\nrequests = 1\n[variant]\nrequests = 2\nper_seconds = 60");
    let admit = |peer, service, customer: &str| {
        let caller = gate.admission.caller(peer, &HeaderMap::new(), service);
        let body = reserve(customer);
        gate.admission.admit(caller, "inventory", "v", "reserve", body.as_bytes()).map_err(limited)
    };
    for n in 0..9 {
        assert!(admit(Some("127.0.0.1".parse().unwrap()), false, &format!("a{n}")).is_ok());
        assert!(admit(Some("::ffff:127.0.0.1".parse().unwrap()), false, &format!("b{n}")).is_ok());
        assert!(admit(None, false, &format!("c{n}")).is_ok());
    }
    assert!(admit(Some(PEER), true, "d0").is_ok());
    assert!(admit(Some(PEER), true, "d1").is_ok());
    assert_eq!(admit(Some(PEER), true, "d2").unwrap_err().left.limit, "variant");
}

#[test]
fn this_machine_is_limited_once_a_proxy_is_trusted() {
    let gate = Gate::new("trusted_proxies = ['10.0.0.1']\n[ip]\nrequests = 1");
    let local = "127.0.0.1".parse().unwrap();
    assert!(gate.reserve(local, "v", "a").is_ok());
    assert!(gate.reserve(local, "v", "b").is_err());
    let gate = Gate::new("exempt_local = false\n[ip]\nrequests = 1");
    assert!(gate.reserve(local, "v", "a").is_ok());
    assert!(gate.reserve(local, "v", "b").is_err());
}

fn client(text: &str, peer: &str, fields: &[(&'static str, &str)]) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    Proxies::new(&settings(text)).client(peer.parse().unwrap(), &headers).to_string()
}

#[test]
fn only_trusted_proxies_are_believed_and_only_about_whom_they_heard() {
    let trust = "trusted_proxies = ['10.0.0.0/8', '192.0.2.1', '2001:db8:1::/48']";
    let xff = |value| [("x-forwarded-for", value)];
    // Nobody is trusted, or not this peer.
    assert_eq!(client("", "203.0.113.9", &xff("1.1.1.1")), "203.0.113.9");
    assert_eq!(client(trust, "203.0.113.9", &xff("1.1.1.1")), "203.0.113.9");
    // The right-most that is no proxy of ours; what the client itself sent stands left of it.
    assert_eq!(client(trust, "10.1.2.3", &xff("198.51.100.7")), "198.51.100.7");
    assert_eq!(client(trust, "10.1.2.3", &xff("6.6.6.6, 198.51.100.7")), "198.51.100.7");
    assert_eq!(
        client(trust, "::ffff:10.1.2.3", &xff("6.6.6.6, 198.51.100.7, 192.0.2.1, 10.9.9.9")),
        "198.51.100.7"
    );
    assert_eq!(client(trust, "2001:db8:1::5", &xff("198.51.100.7:4711")), "198.51.100.7");
    let twice = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "198.51.100.7, 10.0.0.2")];
    assert_eq!(client(trust, "10.1.2.3", &twice), "198.51.100.7");
    // Only proxies, or nothing: the last one known.
    assert_eq!(client(trust, "10.1.2.3", &xff("10.0.0.2, 10.0.0.3")), "10.0.0.2");
    assert_eq!(client(trust, "10.1.2.3", &[]), "10.1.2.3");
    // Nonsense ends the walk.
    assert_eq!(client(trust, "10.1.2.3", &xff("6.6.6.6, unknown, 10.0.0.2")), "10.0.0.2");
    assert_eq!(client(trust, "10.1.2.3", &xff("6.6.6.6, \u{ff}")), "10.1.2.3");
    // The other field was passed on from whoever sent it.
    assert_eq!(client(trust, "10.1.2.3", &[("forwarded", "for=6.6.6.6")]), "10.1.2.3");
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    let trust = "trusted_proxies = ['10.0.0.0/8']\nforwarded_header = 'forwarded'";
    for (value, expected) in [
        ("for=198.51.100.7", "198.51.100.7"),
        ("for=6.6.6.6, For=\"198.51.100.7:4711\";proto=https;by=10.0.0.1", "198.51.100.7"),
        ("proto=http;FOR=\"[2001:db8::17]:47011\"", "2001:db8::17"),
        ("for=6.6.6.6;host=\"a,for=7.7.7.7\", for=10.0.0.4", "6.6.6.6"),
        ("for=6.6.6.6, for=_hidden", "10.1.2.3"),
        ("for=6.6.6.6, for=unknown, for=10.0.0.4", "10.0.0.4"),
        ("for=6.6.6.6, proto=https", "10.1.2.3"),
        ("for=\"[2001:db8::17]junk\"", "10.1.2.3"),
        ("", "10.1.2.3"),
    ] {
        assert_eq!(client(trust, "10.1.2.3", &[("forwarded", value)]), expected, "{value}");
    }
    assert_eq!(client(trust, "10.1.2.3", &[("x-forwarded-for", "6.6.6.6")]), "10.1.2.3");
}

#[test]
fn an_ipv6_customer_is_one_whichever_of_their_addresses_they_use() {
    let key = |text: &str| ClientKey::of(text.parse().unwrap());
    assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::1"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn a_million_made_up_customers_take_bounded_memory_and_leave_nothing() {
    let gate = Gate::new("tracked_keys = 20000\n[ip]\nenabled = false\n[variant]\nenabled = false");
    let limit = gate.admission.customer.as_ref().unwrap();
    // A real customer at the limit stays limited through it all.
    for _ in 0..10 {
        limit.take("ada").unwrap();
    }
    for n in 0..1_000_000_u32 {
        assert!(limit.take(n).is_ok());
        if n % 50_000 == 0 {
            assert!(limit.take("ada").is_err());
        }
    }
    assert!(limit.tracked() > 10_000 && limit.tracked() <= 20_000 + 256, "{}", limit.tracked());
    assert!(limit.take("ada").is_err());
    // Their buckets are full again: others' requests sweep them away.
    gate.clock.advance(Duration::from_secs(61));
    for n in 0..200_000_u32 {
        limit.take(n % 100).ok();
    }
    for shard in 0..400_000_u32 {
        limit.take(shard % 5_000).ok();
    }
    assert!(limit.tracked() <= 10_000, "{}", limit.tracked());
    assert!(limit.take("ada").is_ok());
}

#[test]
fn fields_and_words_tell_what_is_left_and_when_there_is_more() {
    let gate = Gate::new("[variant]\nrequests = 1000\nburst = 2");
    let fields = |headers: &HeaderMap| {
        ["ratelimit-policy", "ratelimit"].map(|name| headers[name].to_str().unwrap().to_owned())
    };
    let mut headers = HeaderMap::new();
    gate.reserve(PEER, "v", "ada").unwrap().mark(&mut headers);
    assert_eq!(
        fields(&headers),
        [
            r#""customer";q=10;w=60, "ip";q=50;w=60, "variant";q=1000;w=1"#,
            r#""customer";r=9;t=6, "ip";r=49;t=2, "variant";r=1;t=1"#
        ]
    );
    gate.reserve(PEER, "v", "bob").unwrap();
    let refused = gate.reserve(PEER, "v", "cyd").unwrap_err();
    refused.mark(&mut headers);
    assert_eq!(fields(&headers), [r#""variant";q=1000;w=1"#, r#""variant";r=0;t=1"#]);
    assert_eq!(refused.detail(), "at most 1000 sale requests a second for one variant; try again in 1 s");
    let mut none = HeaderMap::new();
    Admitted::default().mark(&mut none);
    assert!(none.is_empty());
}

#[test]
fn settings_fill_in_defaults_and_refuse_nonsense() {
    assert_eq!(settings(""), Settings::default());
    let some = settings(
        "forwarded_header = 'forwarded'\n[customer]\nrequests = 20\n[variant]\nburst = 7\n[ip]\nenabled = false",
    );
    assert_eq!(
        (some.customer.requests.get(), some.customer.burst.get(), some.customer.per_seconds.get()),
        (20, 20, 60)
    );
    assert_eq!((some.variant.requests.get(), some.variant.burst.get()), (1_000, 7));
    assert!(!some.ip.enabled && some.forwarded_header == ForwardedHeader::Forwarded);
    for (text, word) in [
        ("[customer]\nrequests = 0", "requests"),
        ("[variant]\nrequests = 4000000000", "admission.variant"),
        ("[customer]\nrequests = 1\nper_seconds = 40000000", "admission.customer"),
        ("[person]\nrequests = 1", "person"),
        ("trusted_proxies = ['10.0.0.0/33']", "10.0.0.0/33"),
        ("trusted_proxies = ['everyone']", "everyone"),
        ("forwarded_header = 'x-real-ip'", "x-real-ip"),
        ("tracked_keys = 0", "tracked_keys"),
    ] {
        let parsed: Result<Settings, _> = toml::from_str(text);
        let error = match parsed {
            Err(error) => error.to_string(),
            Ok(settings) => panic!("{text}: {settings:?}"),
        };
        assert!(error.contains(word), "{text}: {error}");
    }
}

proptest! {
    /// Against a plain bucket that counts in nanoseconds.
    #[test]
    fn a_bucket_gives_what_a_plain_token_bucket_gives(
        requests in 1_u32..50,
        burst in 1_u32..60,
        steps in proptest::collection::vec((0_u64..20_000_000_000, 1_u32..30), 1..60),
    ) {
        let gate = Gate::new(&format!("[customer]\nrequests = {requests}\nburst = {burst}"));
        let limit = gate.admission.customer.as_ref().unwrap();
        let period = 60_000_000_000 / u64::from(requests);
        let full = period * u64::from(burst);
        let mut filled = full;
        for (pause, tries) in steps {
            gate.clock.advance(Duration::from_nanos(pause));
            filled = full.min(filled + pause);
            for _ in 0..tries {
                let expected = filled >= period;
                if expected {
                    filled -= period;
                }
                let got = limit.take("c");
                prop_assert_eq!(got.is_ok(), expected);
                if let Ok(left) = got {
                    prop_assert_eq!(u64::from(left.remaining), filled / period);
                }
            }
        }
    }

    #[test]
    fn no_forwarded_field_makes_it_panic(value in "[ -~]{0,80}", element in "[\"\\\\,;=\\[\\]:for0-9.]{0,60}") {
        for text in [value, element] {
            for header in ["x-forwarded-for", "forwarded"] {
                let trust = format!("trusted_proxies = ['10.0.0.0/8']\nforwarded_header = '{header}'");
                client(&trust, "10.0.0.1", &[(header, &text)]);
            }
        }
    }

    #[test]
    fn a_network_holds_what_shares_its_bits(address: u32, other: u32, bits in 0_u32..=32) {
        let network: Network = format!("{}/{bits}", std::net::Ipv4Addr::from_bits(address)).parse().unwrap();
        let same = (0..bits).all(|bit| (address ^ other) >> (31 - bit) & 1 == 0);
        prop_assert_eq!(network.contains(std::net::Ipv4Addr::from_bits(other).into()), same);
    }
}
