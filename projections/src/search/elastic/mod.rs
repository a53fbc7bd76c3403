//! Search on Elasticsearch: the same rows, the same tokens, the same answers as the embedded engine.
//!
//! - [`kind`]: a projection with an index for each generation, behind an alias
//! - `model`: events into rows; `fold`: one variant's events; `control`: what makes a commit all or nothing; `bulk`: writing
//! - `opening`: finding an index or making it; `owner`: whose indices they are
//! - `claim`: which of several processes writes; `ledger`: the numbers of generations they share
//! - `mapping`: rows as documents of the server; `rows`: reading them back for reconciliation
//! - `query`: a search as one request; `dictionary`: what its words mean in the index
//! - `server`: requests that end in time, behind a circuit breaker; the only place that knows the client library
//!
//! Invariants, and what keeps them:
//!
//! 1. Rows and checkpoint move together. A batch is decided by one write of the control document before its first row is
//!    written; whoever comes after a crash finishes it first.
//! 2. Redelivery is harmless, deletes included: rows carry the batch's number as an external version, a later decision a higher one, and
//!    what is deleted leaves a document with its version.
//! 3. The checkpoint is never ahead of what is durable: the server answers a write when its transaction log is on disk
//!    (`index.translog.durability: request`, its default), and the checkpoint is written after the rows. A refresh makes a
//!    commit visible, no more; a flush only shortens the server's recovery.
//! 4. Two writers of one index cannot both go on: each write of the control document names the one before. Where processes share an
//!    index, one has the turn, and the next takes it over with what was decided (`claim`).
//! 5. An index belongs to one owner, a log or a data folder (`owner`): positions of one log mean nothing in another.
//! 6. An index that is lost is filled again from the log, and said to be.
//!
//! Where answers may differ from the embedded engine's is in `docs/adr/0062-search-on-elasticsearch.md`.

mod bulk;
mod claim;
mod control;
mod dictionary;
mod fold;
pub mod kind;
mod ledger;
mod mapping;
mod model;
mod opening;
mod owner;
mod query;
mod rows;
mod server;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use kind::ElasticKind;
pub use model::ElasticModel;
pub use owner::Owner;

use super::Synonyms;
use crate::model::StoreError;

/// Which server, and what the indices are like.
#[derive(Clone)]
pub struct ElasticOptions {
    /// `http://host:9200` or `https://user:password@host:9200`; never shown in messages.
    pub url: String,
    /// The certificate authority, in PEM, that must have signed the server's certificate, in place of the usual ones.
    pub tls_ca: Option<PathBuf>,
    /// Begins the names of all indices; two owners on one server need two of them.
    pub prefix: String,
    /// Parts of an index. One takes 20 million variants; with several, a commit shows in one after the other.
    pub shards: u32,
    /// Copies of each part beside the first.
    pub replicas: u32,
    /// How long an answer is waited for.
    pub timeout: Duration,
    pub synonyms: Synonyms,
    /// Who the indices belong to: another owner's are refused.
    pub owner: Owner,
    /// How long a writer that is not heard of keeps others from writing, where several share an index. It renews its claim three times as
    /// often.
    pub claim_time: Duration,
}

impl Default for ElasticOptions {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:9200".to_owned(),
            tls_ca: None,
            prefix: "daybook".to_owned(),
            shards: 1,
            replicas: 0,
            timeout: Duration::from_secs(30),
            synonyms: Synonyms::default(),
            owner: Owner::default(),
            claim_time: Duration::from_secs(6),
        }
    }
}

impl ElasticOptions {
    fn check(&self) -> Result<(), StoreError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if self.prefix.is_empty()
            || self.prefix.len() > 100
            || !self.prefix.starts_with(|c: char| c.is_ascii_lowercase())
            || !self.prefix.chars().all(legal)
        {
            return Err(StoreError::Damaged(format!(
                "[search] prefix: {:?} is not 1 to 100 lower-case letters, digits, - and _, a letter first",
                self.prefix
            )));
        }
        if self.shards == 0 {
            return Err(StoreError::Damaged("[search] shards: at least 1".to_owned()));
        }
        Ok(())
    }

    /// The alias that reads and writes of a generation go through. Writes insist on an alias, so that a write to an index
    /// that is gone never makes an empty one.
    fn alias_of(&self, generation: u64) -> String {
        format!("{}-search-{generation}", self.prefix)
    }

    /// The index that keeps the numbers of generations, where several processes share them.
    fn ledger(&self) -> String {
        format!("{}-search-ledger", self.prefix)
    }
}
