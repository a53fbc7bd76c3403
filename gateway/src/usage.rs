//! What the caller has to put right: exit status 2, as for a command line that can't be read.

use std::error::Error;
use std::path::Path;
use std::{fmt, io};

/// A mistake in the command line, in the settings, or in a name that they give: the same again will fail again.
#[derive(Debug)]
pub(crate) struct Usage(anyhow::Error);

impl Usage {
    /// Marks an error; its text stays as it is.
    pub(crate) fn of(error: impl Into<anyhow::Error>) -> anyhow::Error {
        anyhow::Error::new(Self(error.into()))
    }

    /// Whether an error is one, whatever was said on top of it.
    pub(crate) fn is(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some()
    }
}

/// A file that was named and can't be opened. That it isn't there, or not for us, is a mistake; a disk that fails is none.
pub(crate) fn cannot_open(path: &Path, error: io::Error) -> anyhow::Error {
    let named = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidFilename
    );
    let error = anyhow::Error::new(error).context(format!("cannot open {}", path.display()));
    if named { Usage::of(error) } else { error }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Usage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Returns early with a [`Usage`] error of this text.
macro_rules! mistake {
    ($($text:tt)*) => {
        return Err($crate::usage::Usage::of(anyhow::anyhow!($($text)*)))
    };
}
pub(crate) use mistake;

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_mistake_is_known_under_what_is_said_on_top_of_it_and_keeps_its_text() {
        let cause = anyhow::anyhow!("no such thing").context("reading the setting");
        let error = Usage::of(cause);
        assert_eq!(format!("{error:#}"), "reading the setting: no such thing");
        let wrapped = Err::<(), _>(error).context("starting").unwrap_err();
        assert!(Usage::is(&wrapped));
        assert_eq!(format!("{wrapped:#}"), "starting: reading the setting: no such thing");
        assert!(!Usage::is(&anyhow::anyhow!("a disk failed")));
    }
}
