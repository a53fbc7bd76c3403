//! The data folder: that it is one, that it belongs to this log, and that nobody else uses it.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use daybook_eventlog::{EventLog, Filter, ReadError};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::config::{Config, LogBackend};
use crate::usage::{Usage, mistake};

/// Files and folders that Daybook makes; one of them makes a folder its own.
const OWN: [&str; 3] = ["log", "projections", IDENTITY];

/// Which log the folder belongs to.
const IDENTITY: &str = "log.json";

/// What a first start leaves that did not reach its log: with nothing else beside them the folder is as good as empty.
const BEGUN: [&str; 2] = ["lock", "log.json.new"];

/// Refuses a folder that holds something else.
pub(super) fn check(data: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("data folder {}", data.display())),
    };
    let names: Vec<_> =
        entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.file_name()).collect();
    let own = names.iter().any(|name| OWN.iter().any(|own| name == own));
    if own || names.iter().all(|name| BEGUN.iter().any(|begun| name == begun)) {
        return Ok(());
    }
    mistake!(
        "{} is no Daybook data folder: it holds other files ({}); name an empty or a new folder with --data",
        data.display(),
        names.iter().take(3).map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(", ")
    )
}

/// Refuses a folder without data: an operator who names a wrong one does not want an empty log, or read models of nothing. Where the log
/// lies on a server, what a folder holds is built from it, and an operator may work with a new one.
pub(super) fn check_exists(config: &Config) -> anyhow::Result<()> {
    if config.log.backend.is_shared() || config.data.join("log").is_dir() {
        return Ok(());
    }
    mistake!(
        "there is no Daybook data in {}; name the folder with --data, or make one with `daybook serve` or `daybook import`",
        config.data.display()
    )
}

/// Held while a process uses the folder; the system lets go of it when the process ends.
pub(super) struct Lock(#[expect(dead_code, reason = "open for as long as the lock is held")] File);

impl Lock {
    /// Makes the folder, and takes it. The segment log has a lock of its own, so this one is for logs on a server.
    pub(super) fn take(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data).with_context(|| format!("data folder {}", data.display()))?;
        let path = data.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "the data folder {} is in use by another process; each gateway on a shared log needs a folder of its own (--data)",
                data.display()
            ),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    backend: LogBackend,
    /// Id of the log's first event, once there is one.
    first_event: Option<String>,
    /// Names this folder to servers that keep something for it.
    #[serde(default)]
    folder: String,
}

/// Refuses a folder of another backend, before a log of this one is made in it.
pub(super) fn check_backend(config: &Config) -> anyhow::Result<()> {
    let backend = config.log.backend;
    match known(config)? {
        Some(known) if known.backend != backend => {
            Err(other_log(config, &format!("a log with backend {:?}", known.backend.name())))
        }
        None if backend.is_shared() && config.data.join("log").is_dir() => {
            Err(other_log(config, "segment files of its own"))
        }
        _ => Ok(()),
    }
}

/// What the folder knows of itself and its log.
#[derive(Debug, Clone)]
pub(super) struct Belonging {
    path: PathBuf,
    identity: Identity,
}

impl Belonging {
    /// Makes sure that the read models and snapshots in the folder are of this log: those of another would be answered from
    /// without a word, since positions mean nothing across logs.
    pub(super) async fn check(config: &Config, log: &dyn EventLog) -> anyhow::Result<Self> {
        let known = known(config)?;
        let first_event = first_event(log).await.context("the first event of the log")?;
        if known.as_ref().is_some_and(|known| known.first_event.is_some() && known.first_event != first_event)
        {
            return Err(other_log(config, "a log that begins with another event"));
        }
        let folder = known.as_ref().map(|known| known.folder.clone()).filter(|folder| !folder.is_empty());
        let folder = folder.unwrap_or_else(new_name);
        let identity = Identity { backend: config.log.backend, first_event, folder };
        let belonging = Self { path: config.data.join(IDENTITY), identity };
        if known.as_ref() != Some(&belonging.identity) {
            belonging.write().with_context(|| format!("cannot write {}", belonging.path.display()))?;
        }
        Ok(belonging)
    }

    /// The folder's own name.
    #[cfg(feature = "elastic")]
    pub(super) fn name(&self) -> &str {
        &self.identity.folder
    }

    /// The first event of the log, if it had one when last asked.
    #[cfg(feature = "elastic")]
    pub(super) fn first_event(&self) -> Option<&str> {
        self.identity.first_event.as_deref()
    }

    /// Whether it is on record which log this is: not before there is a first event.
    pub(super) const fn is_settled(&self) -> bool {
        self.identity.first_event.is_some()
    }

    /// Puts the log's first event on record, if there is one by now.
    pub(super) async fn settle(&mut self, log: &dyn EventLog) -> Result<(), ReadError> {
        if self.is_settled() {
            return Ok(());
        }
        self.identity.first_event = first_event(log).await?;
        if self.is_settled()
            && let Err(error) = self.write()
        {
            self.identity.first_event = None;
            return Err(ReadError::Unavailable(format!("cannot write {}: {error}", self.path.display())));
        }
        Ok(())
    }

    fn write(&self) -> std::io::Result<()> {
        let beside = self.path.with_extension("json.new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(&self.identity)?)?;
        file.sync_data()?;
        std::fs::rename(beside, &self.path)?;
        // The name must last as surely as what is written below it afterwards.
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

pub(super) async fn first_event(log: &dyn EventLog) -> Result<Option<String>, ReadError> {
    let page = log.read_all(0, &Filter::default(), 1, 1).await?;
    Ok(page.events.first().map(|event| event.event_id.to_string()))
}

/// A name that no other folder has. The keys of the standard library's hashers come from the system's source of randomness.
fn new_name() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8))
}

fn known(config: &Config) -> anyhow::Result<Option<Identity>> {
    let path = config.data.join(IDENTITY);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?,
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn other_log(config: &Config, what: &str) -> anyhow::Error {
    Usage::of(anyhow::anyhow!(
        "the data folder {} belongs to {what}, not to the log that log.backend = {:?} and log.url name; name another folder \
         with --data (read models are built anew in it), or the right log",
        config.data.display(),
        config.log.backend.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::node::Node;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_folder_knows_its_log_before_anything_in_it_is_of_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let flags = Flags { data: Some(folder.path().join("data")), ..Flags::default() };
        let config = Config::load_with(&flags, |_| None).unwrap();
        let node = Node::open(&config).await.unwrap();
        assert_eq!(known(&config).unwrap().unwrap().first_event, None);
        let body = r#"{"quantity":1}"#;
        let principal = daybook_commands::Principal::system();
        let request = daybook_commands::Request::new("inventory", "v", "receive", body, principal);
        node.dispatcher().dispatch(request).await.unwrap();
        node.wait_until_current(|_, _| {}).await.unwrap();
        let first = first_event(&**node.log()).await.unwrap();
        assert!(first.is_some());
        assert_eq!(
            known(&config).unwrap().unwrap().first_event,
            first,
            "while it runs: it may be killed now"
        );
        node.close().await;
        std::fs::rename(config.data.join("log"), folder.path().join("elsewhere")).unwrap();
        let error = Node::open(&config).await.err().unwrap();
        assert!(error.to_string().contains("begins with another event"), "{error:#}");
    }

    #[test]
    fn a_folder_with_what_a_failed_first_start_left_is_as_good_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        drop(Lock::take(folder.path()).unwrap());
        check(folder.path()).unwrap();
        File::create(folder.path().join("log.json.new")).unwrap();
        check(folder.path()).unwrap();
        File::create(folder.path().join("thesis.tex")).unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.contains("thesis.tex") && error.contains("no Daybook data folder"), "{error}");
        File::create(folder.path().join(IDENTITY)).unwrap();
        check(folder.path()).unwrap();
    }
}
