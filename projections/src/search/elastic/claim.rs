//! Whose turn it is to write an index that several processes share. The control document names the writer; to write it anew says that
//! the writer is alive.
//!
//! Who sees the document unchanged for as long as a claim lasts, by its own clock, takes over. No clock is compared with another one's.
//! That only makes it likely that one process writes at a time. What makes it certain that one decides is that each write of the
//! document names the one before; what makes a late write of rows harmless is their version (`control`, `bulk`).

use std::time::{Duration, Instant};

use super::control::{self, ReadError, State, WriteError, Written};
use super::model::{ElasticModel, not_ours};
use crate::model::{Claim, StoreError};
use crate::writer::writer_name;

/// Others do not look more often than this how far the writer is.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// How often it is tried to write between two writes of a busy writer, to take its turn from it.
const SEIZE_TRIES: usize = 50;
/// How long the end of a model may take.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// What a process knows of who writes.
pub(super) struct Lease {
    writer: String,
    time: Duration,
    /// When the control document was last written here.
    pub(super) renewed: Instant,
    /// The last write that was seen of another process, and since when.
    seen: Option<(Written, Instant)>,
    looked: Option<Instant>,
}

impl Lease {
    pub(super) fn new(time: Duration) -> Self {
        Self { writer: writer_name(), time, renewed: Instant::now(), seen: None, looked: None }
    }

    /// The rest of the time is for a renewal that comes late.
    fn renew_after(&self) -> Duration {
        self.time / 3
    }

    fn is_due(&self) -> bool {
        self.renewed.elapsed() >= self.renew_after()
    }

    fn looked_just_now(&self) -> bool {
        self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY)
    }

    /// Takes note of what was seen; whether its writer has had its time.
    fn has_run_out(&mut self, written: Written) -> bool {
        let now = Instant::now();
        self.looked = Some(now);
        match self.seen {
            Some((known, since)) if known == written => now.duration_since(since) >= self.time,
            _ => {
                self.seen = Some((written, now));
                false
            }
        }
    }
}

impl ElasticModel {
    /// Renews the claim, or takes it if nobody has it, if it has run out, or, with `force`, in any case.
    pub(super) fn claim_shared(&mut self, force: bool) -> Result<Claim, StoreError> {
        let Some(lease) = &self.lease else { return Ok(Claim::Held) };
        if self.written.is_some() {
            if !lease.is_due() {
                return Ok(Claim::Held);
            }
            let same = self.state.clone();
            match self.write_control(same) {
                Ok(()) => return Ok(Claim::Held),
                Err(WriteError::Conflict(_)) => self.written = None,
                Err(WriteError::Store(error)) => {
                    self.written = None;
                    return Err(error);
                }
            }
        } else if !force && lease.looked_just_now() {
            return Ok(Claim::Elsewhere);
        }
        self.take(force)
    }

    /// Takes the claim from whoever has it.
    pub(super) fn seize_shared(&mut self) -> Result<Claim, StoreError> {
        let mut claim = self.claim_shared(false)?;
        for _ in 0..SEIZE_TRIES {
            if claim != Claim::Elsewhere {
                break;
            }
            claim = self.claim_shared(true)?;
        }
        if claim == Claim::Elsewhere { Err(not_ours()) } else { Ok(claim) }
    }

    pub(super) fn renewal_due(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        let soon = Instant::now() + lease.renew_after() / 8;
        Some(if self.written.is_some() { lease.renewed + lease.renew_after() } else { soon })
    }

    fn take(&mut self, force: bool) -> Result<Claim, StoreError> {
        let seen = self.look()?;
        let Some(lease) = &mut self.lease else { return Ok(Claim::Held) };
        let run_out = lease.has_run_out(seen.written);
        let free = seen.state.writer.as_ref().is_none_or(|writer| *writer == lease.writer);
        let writer = lease.writer.clone();
        if !(free || run_out || force) {
            self.stand_at(seen.state);
            return Ok(Claim::Elsewhere);
        }
        let (state, written) = match control::read(&self.server, &self.alias) {
            Ok(read) => read,
            Err(ReadError::Missing) => return Err(not_ours()),
            Err(ReadError::Store(error)) => return Err(error),
        };
        // Its writer is there after all. Who uses force meant whoever it is.
        if written != seen.written && !force {
            self.stand_at(State { batch: None, ..state });
            return Ok(Claim::Elsewhere);
        }
        let before = self.state.checkpoint;
        if state.checkpoint < before {
            tracing::error!(
                checkpoint = state.checkpoint,
                before,
                "the search index was lost or restored; filling it again"
            );
        }
        self.written = Some(written);
        let epoch = state.epoch + 1;
        tracing::info!(
            index = &*self.alias,
            epoch,
            force,
            "this process writes the search index from now on"
        );
        if let Err(error) = self.write_control(State { writer: Some(writer), epoch, ..state }) {
            self.written = None;
            return match error {
                // Another process was quicker.
                WriteError::Conflict(_) => Ok(Claim::Elsewhere),
                WriteError::Store(error) => Err(error),
            };
        }
        self.attempt(Self::finish)?;
        self.show();
        Ok(Claim::Taken)
    }

    /// Learns where the index stands, while another process writes it.
    pub(super) fn follow(&mut self) -> Result<(), StoreError> {
        let seen = self.look()?;
        self.stand_at(seen.state);
        Ok(())
    }

    fn stand_at(&mut self, state: State) {
        self.written = None;
        self.state = state;
        self.show();
    }

    /// In the middle of a long batch: says that the writer is still there, and learns whether it still is the writer.
    pub(super) fn still_writing(&mut self) -> Result<(), StoreError> {
        if self.lease.as_ref().is_some_and(Lease::is_due) {
            self.write_control(self.state.clone())?;
        }
        Ok(())
    }
}

impl Drop for ElasticModel {
    fn drop(&mut self) {
        // Others need not wait until the claim runs out. If this fails, they do.
        if let (Some(_), Some(written)) = (&self.lease, self.written) {
            let state = State { writer: None, ..self.state.clone() };
            let request = control::request(&self.alias, &state, Some(written));
            let _ = self.server.call_within(request, RELEASE_WAIT);
        }
    }
}
