//! Basic authentication, as the protocol's clients send it when their connection string names a user.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// A user who may do everything.
#[derive(Clone)]
pub struct Credentials {
    /// Without a colon.
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Lets calls through that carry the credentials, if there are any to carry.
#[derive(Clone)]
pub(crate) struct Check {
    /// The value of the `authorization` header after the word Basic, decoded.
    wanted: Option<Arc<[u8]>>,
}

impl Check {
    pub(crate) fn new(credentials: Option<Credentials>) -> Self {
        let wanted =
            credentials.map(|wanted| format!("{}:{}", wanted.user, wanted.password).into_bytes().into());
        Self { wanted }
    }

    fn admits(&self, header: Option<&str>) -> bool {
        let Some(wanted) = &self.wanted else { return true };
        let Some((scheme, value)) = header.and_then(|header| header.split_once(' ')) else { return false };
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        STANDARD.decode(value.trim()).is_ok_and(|given| given.ct_eq(wanted).into())
    }
}

impl Interceptor for Check {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if self.admits(header) {
            return Ok(request);
        }
        Err(Status::unauthenticated("give the user and password of this server in the connection string"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Credentials};

    #[test]
    fn only_the_right_password_is_admitted() {
        let check = Check::new(Some(Credentials { user: "admin".into(), password: "pa:ss".into() }));
        // admin:pa:ss and admin:wrong
        assert!(check.admits(Some("Basic YWRtaW46cGE6c3M=")));
        assert!(!check.admits(Some("Basic YWRtaW46d3Jvbmc=")));
        assert!(!check.admits(Some("Bearer YWRtaW46cGE6c3M=")));
        assert!(!check.admits(None));
        assert!(Check::new(None).admits(None));
    }
}
