//! The numbers of generations, in an index of their own: every process on one log sees the same, and a change that another one made
//! first is noticed.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::NAME;
use super::ElasticOptions;
use super::control::Written;
use super::owner::Owner;
use super::server::{Failure, Method, Request, Server};
use crate::generations::{GenerationError, Generations, Ledger};
use crate::model::StoreError;

/// The one document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    generations: Generations,
    /// Whose they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

/// The document `<prefix>-search-ledger/_doc/search`.
pub(super) struct ElasticLedger {
    server: Server,
    index: String,
    owner: Owner,
    replicas: u32,
}

impl ElasticLedger {
    pub(super) fn new(server: Server, options: &ElasticOptions) -> Self {
        Self { server, index: options.ledger(), owner: options.owner.clone(), replicas: options.replicas }
    }

    /// [`StoreError::Damaged`] if the ledger does not know the generation: it was given up.
    pub(super) fn check_on_record(&self, generation: u64) -> Result<(), StoreError> {
        // Without a ledger nobody has given anything up.
        let Some((Record { generations: known, .. }, _)) = self.read()? else { return Ok(()) };
        if [Some(known.live), known.previous, known.building].contains(&Some(generation)) {
            return Ok(());
        }
        Err(StoreError::Damaged(format!("generation {generation} of search was removed by another process")))
    }

    fn path(&self) -> String {
        format!("{}/_doc/{NAME}", self.index)
    }

    fn read(&self) -> Result<Option<(Record, Written)>, StoreError> {
        let mut answer = match self.server.call(Request::new(Method::Get, self.path())) {
            Ok(answer) => answer,
            Err(Failure::Missing(_)) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        let record = serde_json::from_value(answer["_source"].take()).map_err(|error| {
            StoreError::Damaged(format!("the document in {} is not readable: {error}", self.index))
        })?;
        Ok(Some((record, Written::of(&answer)?)))
    }

    /// Whether it was this write that came after the one before; `None`: the first.
    fn write(&self, record: &Record, after: Option<Written>) -> Result<bool, StoreError> {
        let request = Written::after(after, Request::new(Method::Put, self.path()));
        match self.server.call(request.json(&json!(record))) {
            Ok(_) => Ok(true),
            Err(Failure::Conflict(_)) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    fn create(&self) -> Result<(), StoreError> {
        let body = json!({
            "settings": {"number_of_shards": 1, "number_of_replicas": self.replicas},
            "mappings": {"dynamic": false},
        });
        match self.server.call(Request::new(Method::Put, self.index.clone()).json(&body)) {
            Ok(_) | Err(Failure::Exists(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }
}

impl Ledger for ElasticLedger {
    /// Also puts on record whose it is, once that is known.
    fn get(&self, _projection: &str) -> Result<Option<Generations>, GenerationError> {
        let Some((mut record, written)) = self.read()? else { return Ok(None) };
        self.owner.check(record.owner.as_deref(), &self.index)?;
        if record.owner.is_none() && self.owner.name().is_some() {
            record.owner = self.owner.name().map(str::to_owned);
            if !self.write(&record, Some(written))? {
                return Err(GenerationError::Changed(NAME.to_owned()));
            }
        }
        Ok(Some(record.generations))
    }

    fn replace(
        &self,
        projection: &str,
        before: Option<&Generations>,
        after: &Generations,
    ) -> Result<(), GenerationError> {
        let known = self.read()?;
        if let Some((record, _)) = &known {
            self.owner.check(record.owner.as_deref(), &self.index)?;
        }
        let changed = || GenerationError::Changed(projection.to_owned());
        if known.as_ref().map(|(record, _)| &record.generations) != before {
            return Err(changed());
        }
        if known.is_none() {
            self.create()?;
        }
        let (recorded, written) = known.map(|(record, written)| (record.owner, written)).unzip();
        let owner = self.owner.name().map(str::to_owned).or(recorded.flatten());
        let record = Record { generations: after.clone(), owner };
        if self.write(&record, written)? { Ok(()) } else { Err(changed()) }
    }
}
