//! Finding the index of a generation, or making it: where it stands, whether it is of this build, and whose it is.

use super::control::{self, ReadError, State, Written};
use super::ledger::ElasticLedger;
use super::mapping;
use super::model::ElasticModel;
use super::server::{Failure, Method, Request};
use crate::model::StoreError;

impl ElasticModel {
    /// Reads where the index stands, makes it if it is not there, and finishes what was being written.
    pub(super) fn recover(&mut self) -> Result<(), StoreError> {
        let (state, written) = match control::read(&self.server, &self.alias) {
            Ok(read) => {
                self.check_mapping()?;
                self.check_owner(&read.0)?;
                read
            }
            Err(ReadError::Missing) => self.create()?,
            Err(ReadError::Store(error)) => return Err(error),
        };
        self.state = state;
        self.written = Some(written);
        self.finish()?;
        self.refresh()?;
        self.show();
        Ok(())
    }

    /// Looks where the index stands, and makes it if it is not there.
    pub(super) fn look(&mut self) -> Result<control::Seen, StoreError> {
        let seen = match control::look(&self.server, &self.alias) {
            Ok(seen) => seen,
            Err(ReadError::Store(error)) => return Err(error),
            Err(ReadError::Missing) => {
                self.checked = false;
                // Not one that was given up: nobody would remove it again.
                ElasticLedger::new(self.server.clone(), &self.options).check_on_record(self.generation)?;
                let (state, written) = self.create()?;
                control::Seen { state, deciding: false, written }
            }
        };
        if !self.checked {
            self.check_mapping()?;
            self.checked = true;
        }
        self.check_owner(&seen.state)?;
        Ok(seen)
    }

    fn check_mapping(&self) -> Result<(), StoreError> {
        let answer = self.server.call(Request::new(Method::Get, format!("{}/_mapping", self.alias)))?;
        mapping::check(&answer, &self.alias, self.generation)
    }

    fn check_owner(&self, state: &State) -> Result<(), StoreError> {
        self.options.owner.check(state.owner.as_deref(), &self.alias)
    }

    fn create(&self) -> Result<(State, Written), StoreError> {
        let body = mapping::creation(&self.options, &self.alias, self.generation);
        let index = format!("{}-data", self.alias);
        match self.server.call(Request::new(Method::Put, index).json(&body)) {
            Ok(_) => {}
            // Made but for its control document when the last try ended.
            Err(Failure::Exists(_)) => self.check_mapping()?,
            Err(other) => return Err(other.into()),
        }
        let state = State { owner: self.options.owner.name().map(str::to_owned), ..State::default() };
        let written = control::write(&self.server, &self.alias, &state, None)?;
        Ok((state, written))
    }
}
