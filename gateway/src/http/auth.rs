//! Who is asking: an API key as bearer token, or the loopback default.

use axum::http::{HeaderMap, StatusCode, header};
use daybook_aggregates::{Role, Roles};
use daybook_commands::Principal;
use daybook_schemas::Label;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::config::{ApiKey, Config};

/// Knows every key.
#[derive(Debug)]
pub(super) struct Authenticator {
    keys: Vec<Key>,
    /// Names of keys that are in the hands of buyers.
    public: Vec<Label>,
    local: Option<Principal>,
}

#[derive(Debug)]
struct Key {
    digest: [u8; 32],
    principal: Principal,
}

impl Authenticator {
    /// From the configuration, whose digests have been checked.
    #[must_use]
    pub(super) fn new(config: &Config) -> Self {
        let keys = config
            .api_keys
            .iter()
            .map(|key| Key {
                digest: decode_digest(&key.sha256),
                principal: Principal { name: key.name.clone(), roles: roles_of(key) },
            })
            .collect::<Vec<_>>();
        let local = keys.is_empty().then(|| Principal {
            name: config.local_principal.name.clone(),
            roles: config.local_principal.role_set(),
        });
        let public = config.api_keys.iter().filter(|key| key.public).map(|key| key.name.clone()).collect();
        Self { keys, public, local }
    }

    /// Whether the principal is a service that acts for many customers: it has a key that is not public, and a role to sell with.
    pub(super) fn is_service(&self, principal: &Principal) -> bool {
        let sells = principal.roles.contains(Role::Storefront) || principal.roles.contains(Role::Operator);
        self.local.is_none() && sells && !self.is_public(principal)
    }

    /// Whether the principal's key is in the hands of buyers: it proves nobody in particular.
    pub(super) fn is_public(&self, principal: &Principal) -> bool {
        self.public.contains(&principal.name)
    }

    /// Refuses a key that is in the hands of buyers, whatever its roles.
    pub(super) fn require_inside(&self, principal: &Principal) -> Result<(), Problem> {
        if !self.is_public(principal) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            format!(
                "the API key {:?} is public: it is for what buyers do themselves",
                principal.name.as_str()
            ),
        ))
    }

    /// The principal of a request. Every key is compared, in constant time, so that timing tells nothing.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        if let Some(local) = &self.local {
            return Ok(local.clone());
        }
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| unauthenticated("send an API key: Authorization: Bearer KEY"))?;
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for key in &self.keys {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(&key.principal);
            }
        }
        found.cloned().ok_or_else(|| unauthenticated("the API key is not known"))
    }
}

/// What a key may do. One that is in the hands of buyers makes its bearer a buyer, whatever else it was given: decisions look at
/// roles, and must not find there what nobody in particular may do.
fn roles_of(key: &ApiKey) -> Roles {
    if !key.public {
        return Roles::of(key.roles.iter().copied());
    }
    let buys = [Role::Buyer, Role::Storefront, Role::Operator].iter().any(|role| key.roles.contains(role));
    Roles::of(buys.then_some(Role::Buyer))
}

/// Refuses a principal that has none of the roles.
pub(super) fn require(principal: &Principal, any_of: &[Role]) -> Result<(), Problem> {
    if any_of.iter().any(|role| principal.roles.contains(*role)) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        format!(
            "this needs one of the roles {any_of:?}; give one to the API key {:?}",
            principal.name.as_str()
        ),
    ))
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
}

fn decode_digest(hex: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).expect("the configuration was checked to be hexadecimal");
        *byte = u8::from_str_radix(pair, 16).expect("the configuration was checked to be hexadecimal");
    }
    digest
}
