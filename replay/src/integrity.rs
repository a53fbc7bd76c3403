//! Whether those who refer to each other agree, where each stream by itself is sound: variants with the master data that they are bound
//! to, usage counts with the users, configuration hashes with the configurations, and what is unique with itself.
//!
//! It looks at read models, so it says something about the log only as far as these are equal to it: reconcile them first. What is found is
//! looked at once more at a later position, so that what was half written when the first look was taken is no finding.
//!
//! | finding | is | repair |
//! |---|---|---|
//! | `usage_count` | a record says another number of users than there are | the command `recount`, on the very revision that was wrong |
//! | `orphaned_reference` | variants are bound to a record that is not there | – |
//! | `configuration_hash` | a variant's hash is not that of its product and attribute values | – |
//! | `duplicate_configuration`, `duplicate_sku` | two variants have one, and neither is archived (SKU: whether or not) | – |

use std::sync::Arc;

use daybook_commands::{CommandError, Dispatcher, Principal, Request};
use daybook_eventlog::{Position, ReadError};
use daybook_projections::catalogue::query::{Unique, in_order_of};
use daybook_projections::generations::{GenerationError, Projections};
use daybook_projections::masters::query::{Usage, usages};
use daybook_projections::model::StoreError;
use daybook_projections::rows::{ReadTransaction, RowReader};
use daybook_projections::runner::RunnerError;
use daybook_projections::{catalogue, masters};
use daybook_schemas::configuration;
use daybook_schemas::variant::Lifecycle;
use serde::{Deserialize, Serialize};

use crate::paused::{Reached, reach};

/// Variants a page.
const PAGE: usize = 1_000;
/// Findings listed of each look; the others are counted.
const LISTED: usize = 1_000;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Variants and records of master data that were looked at.
    pub checked: u64,
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    pub repaired: u64,
    /// Why nothing was looked at, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Integrity {
    /// Nothing was found.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }
}

/// Two sides that do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: Kind,
    /// The stream that it is about.
    pub key: String,
    /// What the rest of the catalogue gives.
    pub expected: String,
    /// What the stream says.
    pub actual: String,
    #[serde(default)]
    pub repaired: bool,
    /// The revision that was looked at, for a repair of exactly that.
    #[serde(skip)]
    revision: u64,
}

/// What does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    UsageCount,
    OrphanedReference,
    ConfigurationHash,
    DuplicateConfiguration,
    DuplicateSku,
}

/// Why it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum IntegrityError {
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the read model {0} has no rows")]
    NoRows(&'static str),
    #[error("the usage count of {key} could not be put right")]
    Repair { key: String, source: CommandError },
    #[error("the reading thread failed")]
    Thread(#[from] tokio::task::JoinError),
}

/// Looks at all of the catalogue and the master data, and puts right what can be, if asked to. Where one of the two is paused they are
/// not of one time, and nothing is looked at.
pub async fn check(
    projections: &Projections,
    dispatcher: &Dispatcher,
    repair: bool,
) -> Result<Integrity, IntegrityError> {
    let mut found = look(projections).await?;
    if !found.is_clean() {
        let again = look(projections).await?;
        // A record that changed between the looks is a finding if it is wrong now: the key counts, not the numbers.
        let still = |finding: &Finding| {
            found.findings.iter().any(|before| before.kind == finding.kind && before.key == finding.key)
        };
        let findings = again.findings.iter().filter(|finding| still(finding) || found.more > 0).cloned();
        found = Integrity { findings: findings.collect(), ..again };
    }
    if repair {
        for finding in found.findings.iter_mut().filter(|finding| finding.kind == Kind::UsageCount) {
            finding.repaired = recount(dispatcher, finding).await?;
            found.repaired += u64::from(finding.repaired);
        }
    }
    Ok(found)
}

/// Gives whether it is right now. On a record that has moved on since, another look is due first.
async fn recount(dispatcher: &Dispatcher, finding: &Finding) -> Result<bool, IntegrityError> {
    let Some((aggregate, id)) = finding.key.split_once('-') else { return Ok(false) };
    let body = format!("{{\"in_use\":{}}}", finding.expected);
    let request =
        Request::new(aggregate, id, "recount", body, Principal::system()).if_match(finding.revision);
    match dispatcher.dispatch(request).await {
        Ok(_) => Ok(true),
        Err(CommandError::StaleRevision { .. }) => Ok(false),
        Err(source) => Err(IntegrityError::Repair { key: finding.key.clone(), source }),
    }
}

async fn look(projections: &Projections) -> Result<Integrity, IntegrityError> {
    let head = projections.log().head().await?.position;
    let (masters, catalogue) = match (
        reader(projections, masters::NAME, head).await?,
        reader(projections, catalogue::NAME, head).await?,
    ) {
        (Ok(masters), Ok(catalogue)) => (masters, catalogue),
        (Err(reason), _) | (_, Err(reason)) => {
            return Ok(Integrity { skipped: Some(reason), ..Integrity::default() });
        }
    };
    let looked = tokio::task::spawn_blocking(move || {
        let mut found = Integrity::default();
        users(&*masters.begin()?, &mut found)?;
        let rows = catalogue.begin()?;
        variants(&*rows, Unique::ConfigHash, &mut found)?;
        variants(&*rows, Unique::Sku, &mut found)?;
        Ok(found)
    });
    looked.await?
}

/// The rows of a read model, or why they can't be looked at.
async fn reader(
    projections: &Projections,
    name: &'static str,
    head: Position,
) -> Result<Result<Arc<dyn RowReader>, String>, IntegrityError> {
    let live = projections.live(name)?;
    if let Reached::Paused(position) = reach(&live.handle, head).await? {
        return Ok(Err(format!("the read model {name} is paused at position {position}")));
    }
    live.queries.rows().map(Ok).ok_or(IntegrityError::NoRows(name))
}

impl Integrity {
    fn find(&mut self, finding: Finding) {
        if self.findings.len() < LISTED { self.findings.push(finding) } else { self.more += 1 }
    }
}

fn users(rows: &dyn ReadTransaction, found: &mut Integrity) -> Result<(), IntegrityError> {
    usages(rows, &mut |Usage { aggregate, id, said, users }| {
        found.checked += 1;
        let key = format!("{aggregate}-{id}");
        let finding = |kind, actual: String, revision| {
            let expected = users.to_string();
            Finding { kind, key: key.clone(), expected, actual, repaired: false, revision }
        };
        match said {
            Some((in_use, revision)) if in_use != users => {
                found.find(finding(Kind::UsageCount, in_use.to_string(), revision));
            }
            Some(_) => {}
            None => found.find(finding(Kind::OrphanedReference, "not there".to_owned(), 0)),
        }
    })?;
    Ok(())
}

/// Variants in the order of what is unique: those that share it are neighbours.
fn variants(rows: &dyn ReadTransaction, unique: Unique, found: &mut Integrity) -> Result<(), IntegrityError> {
    let kind = match unique {
        Unique::ConfigHash => Kind::DuplicateConfiguration,
        Unique::Sku => Kind::DuplicateSku,
    };
    let mut last = None;
    // The last value, and who has it: of configurations, who is not archived.
    let mut holder: Option<(String, String)> = None;
    loop {
        let page = in_order_of(rows, unique, last.as_ref(), PAGE)?;
        for variant in &page {
            let value = match unique {
                Unique::ConfigHash => variant.config_hash.as_str(),
                Unique::Sku => variant.sku.as_str(),
            };
            let key = format!("variant-{}", variant.variant_id);
            if unique == Unique::ConfigHash {
                found.checked += 1;
                let ids = variant.attributes.iter().map(|attribute| &attribute.value_id);
                let expected = configuration::hash(&variant.product_id, ids);
                if expected != variant.config_hash {
                    let (kind, actual) = (Kind::ConfigurationHash, variant.config_hash.clone());
                    found.find(Finding {
                        kind,
                        key: key.clone(),
                        expected,
                        actual,
                        repaired: false,
                        revision: 0,
                    });
                }
                if variant.lifecycle == Lifecycle::Archived {
                    continue;
                }
            }
            match &holder {
                Some((held, by)) if held == value => {
                    let (expected, actual) = (format!("only {by} has it"), value.to_owned());
                    found.find(Finding { kind, key, expected, actual, repaired: false, revision: 0 });
                }
                _ => holder = Some((value.to_owned(), key)),
            }
        }
        match page.into_iter().next_back() {
            Some(variant) => last = Some(variant),
            None => return Ok(()),
        }
    }
}
