//! The dead-letter queue. An event that a projector rejects is parked, and so is everything that follows it in its
//! stream: order within a stream is never given up. The rest of the log goes on.

use daybook_eventlog::{Filter, Position, RecordedEvent};
use serde::Serialize;

use super::engine::{Engine, StepError, apply};
use crate::model::{DeadLetter, LetterChange, ProjectError};

/// What a retry came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LettersRetried {
    /// Events that are in the read model now.
    pub applied: usize,
    /// Events that stay parked.
    pub parked: usize,
}

/// Why a letter was not discarded.
pub(super) enum DiscardError {
    Refused(String),
    Failed(StepError),
}

impl Engine {
    /// Applies parked events again, stream by stream in order, until one is rejected. Between commits only.
    pub(super) fn retry_letters(&mut self, stream: Option<&str>) -> Result<LettersRetried, StepError> {
        self.become_writer()?;
        let mut streams: Vec<String> = Vec::new();
        for letter in self.letters.values() {
            if stream.is_none_or(|wanted| wanted == letter.stream) && !streams.contains(&letter.stream) {
                streams.push(letter.stream.clone());
            }
        }
        let mut retried = LettersRetried::default();
        for stream in streams {
            retried.applied += self.retry_stream(&stream)?;
        }
        self.rebuild_parked();
        retried.parked = self.letters.len();
        Ok(retried)
    }

    /// Whoever else writes the read model stops; its letters are then the ones that count.
    fn become_writer(&mut self) -> Result<(), StepError> {
        match self.seize()? {
            true => Ok(()),
            false => {
                Err(StepError::Retry("another process writes the read model, and does not let go".to_owned()))
            }
        }
    }

    fn retry_stream(&mut self, stream: &str) -> Result<usize, StepError> {
        let letters: Vec<DeadLetter> =
            self.letters.values().filter(|letter| letter.stream == stream).cloned().collect();
        let mut applied = 0;
        for letter in letters {
            let event = self.read_event(letter.position)?;
            match apply(&mut *self.model, event) {
                Ok(()) => {
                    self.pending_letters.push(LetterChange::Drop(letter.position));
                    self.commit()?;
                    applied += 1;
                }
                Err(ProjectError::Store(error)) => {
                    self.rollback();
                    return Err(error.into());
                }
                Err(error) => {
                    self.rollback();
                    let now = DeadLetter { reason: error.to_string(), blocked: false, ..letter.clone() };
                    if now != letter {
                        self.pending_letters.push(LetterChange::Park(now));
                        self.commit()?;
                    }
                    break;
                }
            }
        }
        Ok(applied)
    }

    /// Gives up the first parked event of a stream: the read model notes its revision as seen. Between commits only.
    pub(super) fn discard_letter(&mut self, position: Position) -> Result<DeadLetter, DiscardError> {
        self.become_writer().map_err(DiscardError::Failed)?;
        let letter = self
            .letters
            .get(&position)
            .cloned()
            .ok_or_else(|| DiscardError::Refused(format!("no event is parked at position {position}")))?;
        let first = self.letters.values().find(|other| other.stream == letter.stream);
        if let Some(first) = first.filter(|first| first.position != position) {
            return Err(DiscardError::Refused(format!(
                "the event at position {position} stands behind the one at {} of the same stream: discard that one first",
                first.position
            )));
        }
        let event = self.read_event(position).map_err(DiscardError::Failed)?;
        if let Err(error) = self.model.pass_over(&event) {
            self.rollback();
            return Err(DiscardError::Refused(format!(
                "the event at position {position} cannot be given up: {error}"
            )));
        }
        self.pending_letters.push(LetterChange::Drop(position));
        self.commit().map_err(DiscardError::Failed)?;
        self.rebuild_parked();
        Ok(letter)
    }

    fn read_event(&self, position: Position) -> Result<RecordedEvent, StepError> {
        let filter = Filter::default();
        let read = self.log.read_all(position - 1, &filter, 1, usize::MAX);
        let page = self.runtime.block_on(read)?;
        page.events
            .into_iter()
            .next()
            .filter(|event| event.position == position)
            .ok_or_else(|| StepError::Halt(format!("the log has no event at position {position}")))
    }
}
