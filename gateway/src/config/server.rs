//! What the settings of all servers have in common: addresses that may lie in files of their own, authorities, patience.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::secret::SecretUrl;
use super::{Env, Pick, env_value};

/// Longest time that a timeout may be set to.
const LONGEST_MS: u64 = 600_000;

/// The names of a server's address: its setting, the setting of a file that holds it, its variable.
#[derive(Debug, Clone, Copy)]
pub(super) struct UrlNames {
    pub(super) url: &'static str,
    pub(super) url_file: &'static str,
    pub(super) variable: &'static str,
}

/// A server's address, from the environment, the configuration file, or the file that that names; `None`: nowhere.
pub(super) fn url(
    pick: &mut Pick<'_>,
    env: Env<'_>,
    names: UrlNames,
    given: Option<SecretUrl>,
    file: Option<PathBuf>,
) -> anyhow::Result<Option<SecretUrl>> {
    let UrlNames { url, url_file, variable } = names;
    if given.is_some() && file.is_some() {
        bail!("{url} and {url_file} are both set: keep one");
    }
    let env = env_value::<SecretUrl>(env, variable)?.map(|(name, value)| (name, Some(value)));
    let given = match file {
        Some(path) if env.is_none() => {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{url_file} names {}, which can't be read", path.display()))?;
            Some(SecretUrl::new(text.trim()))
        }
        _ => given,
    };
    if env.is_none() && given.is_none() {
        return Ok(None);
    }
    Ok(pick.one(url, None, "", env, given.map(Some), || None))
}

/// A setting that may be left out.
pub(super) fn optional<T: Serialize + std::str::FromStr>(
    pick: &mut Pick<'_>,
    env: Env<'_>,
    setting: &'static str,
    variable: &'static str,
    file: Option<T>,
) -> anyhow::Result<Option<T>>
where
    T::Err: std::fmt::Display,
{
    let env = env_value::<T>(env, variable)?.map(|(name, value)| (name, Some(value)));
    Ok(pick.one(setting, None, "", env, file.map(Some), || None))
}

/// A time limit in milliseconds.
pub(super) fn timeout(
    pick: &mut Pick<'_>,
    env: Env<'_>,
    setting: &'static str,
    variable: &'static str,
    file: Option<u64>,
    default_ms: u64,
) -> anyhow::Result<Duration> {
    let ms = pick.one(setting, None, "", env_value(env, variable)?, file, || default_ms);
    check_timeout(setting, ms)
}

pub(super) fn check_timeout(setting: &str, ms: u64) -> anyhow::Result<Duration> {
    if !(1..=LONGEST_MS).contains(&ms) {
        bail!("{setting} is {ms}: a time from 1 to {LONGEST_MS} milliseconds");
    }
    Ok(Duration::from_millis(ms))
}

/// Makes sure that a certificate authority's file is one.
pub(super) fn check_authority(setting: &str, file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{setting} names {}, which can't be read", file.display()))?;
    if !text.contains("-----BEGIN CERTIFICATE") {
        bail!("{setting} names {}, which holds no certificate in PEM form", file.display());
    }
    Ok(())
}
