//! Addresses of servers that may hold a password, which is never shown.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// A URL as it was configured. Shown, logged and serialized without passwords.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

/// What stands for a secret.
const HIDDEN: &str = "***";

impl SecretUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole, for the client that connects with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Without what may be secret. Passwords may hold any of the characters that divide a URL, written down as they are, so in doubt
    /// it hides too much: whatever stands before the last `@`, but a user's plain name before a colon (without a password it is
    /// a token), all of it where that `@` may be part of a parameter, and every parameter whose name speaks of a secret.
    #[must_use]
    pub fn redacted(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return HIDDEN.to_owned() };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((before, _)) if before.contains(['?', '#']) => return format!("{scheme}://{HIDDEN}"),
            Some((before, rest)) => (redacted_user(before), rest),
            None => (String::new(), rest),
        };
        let Some((place, query)) = rest.split_once('?') else { return format!("{scheme}://{user}{rest}") };
        let parameters: Vec<_> = query.split('&').map(redacted_parameter).collect();
        format!("{scheme}://{user}{place}?{}", parameters.join("&"))
    }

    /// The URL with a parameter more, unless it names that parameter already.
    #[must_use]
    pub fn with_parameter(&self, name: &str, value: &str) -> Self {
        let given = self.0.split_once('?').is_some_and(|(_, query)| {
            query.split('&').any(|pair| pair.split('=').next().is_some_and(|n| n.eq_ignore_ascii_case(name)))
        });
        if given {
            return self.clone();
        }
        let separator = if self.0.contains('?') { '&' } else { '?' };
        Self(format!("{}{separator}{name}={}", self.0, percent_encoded(value)))
    }
}

fn redacted_user(user: &str) -> String {
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    match user.split_once(':') {
        Some((name, _)) if plain(name) => format!("{name}:{HIDDEN}@"),
        _ => format!("{HIDDEN}@"),
    }
}

fn redacted_parameter(pair: &str) -> String {
    const SECRETS: [&str; 9] = ["pass", "pwd", "secret", "token", "user", "auth", "cred", "key", "%"];
    let Some((name, _)) = pair.split_once('=') else { return HIDDEN.to_owned() };
    let lower = name.to_ascii_lowercase();
    if SECRETS.iter().any(|word| lower.contains(word)) {
        return format!("{name}={HIDDEN}");
    }
    pair.to_owned()
}

/// A message of somebody else, without any URL that it quotes.
pub(super) fn without_urls(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("://") {
        let begin = rest[..at].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |before| before + 1);
        shown.push_str(&rest[..begin]);
        shown.push_str(HIDDEN);
        // A password may hold blanks: only a quotation mark ends it for sure.
        let end = rest[at..].find(['"', '\'', '`', '\n']).map_or(rest.len(), |length| at + length);
        rest = &rest[end..];
    }
    shown.push_str(rest);
    shown
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().fold(String::new(), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

impl FromStr for SecretUrl {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_shown() {
        for url in [
            "postgres://ada:hunter2@db:5432/shop",
            "postgres://ada:hun/ter2@db/shop",
            "postgres://ada:h@unter2@db/shop?sslmode=require",
            "postgres://ada:h?unter2@db/shop",
            "postgres://db/shop?user=ada&password=hunter2&sslmode=require",
            "esdb://admin:hunter2@a:1,b:2?tls=true&defaultUserPassword=hunter2",
            "hunter2",
            "ada:hunter2@db",
            "nats://hunter2@h:4222",
            "nats://hun:ter2/x@h:4222",
            "postgres://ada:hunter2@db/shop?application_name=a@b",
            "postgres://db/shop?password=hunter2&application_name=a@b",
            "postgres://db/shop?application_name=a&password=h@unter2",
            "postgres://db:5432/shop?p%61ssword=hunter2&a=b",
            "nats://h:4222?hunter2",
        ] {
            let url = SecretUrl::new(url);
            for shown in [url.to_string(), format!("{url:?}"), serde_json::to_string(&url).unwrap()] {
                assert!(!shown.contains("unter2") && !shown.contains("ter2"), "{shown}");
            }
        }
        assert_eq!(
            SecretUrl::new("postgres://ada:x@db:5/shop?a=b").redacted(),
            "postgres://ada:***@db:5/shop?a=b"
        );
        assert_eq!(SecretUrl::new("esdb://a:1?tls=false").redacted(), "esdb://a:1?tls=false");
        assert_eq!(format!("{:?}", Secret("hunter2".into())), "***");
    }

    #[test]
    fn a_message_quotes_no_url() {
        assert_eq!(without_urls("unknown field `urll`"), "unknown field `urll`");
        assert_eq!(
            without_urls("invalid type: string \"nats://hun ter2@h\", expected `a`; or 'esdb://x' either"),
            "invalid type: string \"***\", expected `a`; or '***' either"
        );
        assert_eq!(without_urls("postgres://ada:hunter2@db"), "***");
    }

    #[test]
    fn a_parameter_is_added_unless_it_is_there() {
        let add = |url: &str| SecretUrl::new(url).with_parameter("sslrootcert", "/my ca.pem").0;
        assert_eq!(add("postgres://h/d"), "postgres://h/d?sslrootcert=/my%20ca.pem");
        assert_eq!(add("postgres://h/d?a=b"), "postgres://h/d?a=b&sslrootcert=/my%20ca.pem");
        assert_eq!(add("postgres://h/d?SslRootCert=x"), "postgres://h/d?SslRootCert=x");
    }
}
