//! Where generations live, which one is live, and the swap from one to the next.
//!
//! ```text
//! <folder>/projections.json          live 3, previous 2
//! <folder>/inventory@2.sqlite        kept for a rollback
//! <folder>/inventory@3.sqlite        what queries read
//! <folder>/inventory@4.sqlite        being built
//! ```
//!
//! A swap is one atomic write of the manifest and one atomic pointer in the process: a query takes the [`Generation`]
//! once and finishes on it, also when another goes live meanwhile.
//!
//! Where several processes share the stores, their numbers are in a [`Ledger`] that all of them see. One process swaps; the others
//! notice (`watch`) and follow.

mod error;
mod kind;
mod ledger;
mod manifest;
mod slot;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use daybook_eventlog::{EventLog, Position};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

pub use error::GenerationError;
pub use kind::{Opened, QueryHandle, ReadModelKind, Registry, RowKind};
pub use ledger::Ledger;
pub use manifest::{Generations, Manifest};
use slot::Slot;

use crate::model::StoreError;
use crate::runner::{self, ProjectionHandle, ProjectionStatus, RunnerOptions};

/// A generation with its runner. Queries take it once and use its `queries` and its `handle` together, so that waiting and
/// reading mean the same store.
pub struct Generation {
    pub number: u64,
    pub handle: ProjectionHandle,
    pub queries: QueryHandle,
    pub place: PathBuf,
}

/// What a swap or a rollback did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swapped {
    pub from: u64,
    pub to: u64,
    /// The checkpoint that the new one had, at or beyond that of the old one.
    pub position: Position,
}

/// A projection that this program can't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outdated {
    pub name: &'static str,
    /// Whether other processes read the same store.
    pub shared: bool,
}

/// Which of the processes that run a projection is told to have it stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It takes the writing as well, so that nobody goes on until all have seen what is on record.
    First,
    Later,
}

/// All projections of a process, running.
pub struct Projections {
    core: Arc<Core>,
}

/// What the watch over swaps of other processes needs of [`Projections`].
struct Core {
    folder: PathBuf,
    slots: Vec<Slot>,
    log: Arc<dyn EventLog>,
    runtime: Handle,
    /// Nothing is to be started any more.
    stopping: AtomicBool,
}

impl Projections {
    /// Opens the live generation of every projection (the first, where there is none) and starts its runner. A store that cannot be
    /// opened does not keep the others from running: its projection shows as halted, and can be rebuilt.
    pub fn open(
        folder: &Path,
        registry: &Registry,
        log: Arc<dyn EventLog>,
        runtime: Handle,
    ) -> Result<Self, GenerationError> {
        std::fs::create_dir_all(folder).map_err(|source| files(folder, source))?;
        let manifest: Arc<dyn Ledger> = Arc::new(Mutex::new(Manifest::load(folder)?));
        let stopping = AtomicBool::new(false);
        let mut core = Core { folder: folder.to_owned(), slots: Vec::new(), log, runtime, stopping };
        for kind in registry.kinds() {
            let slot = core.open_slot(kind, &manifest)?;
            core.slots.push(slot);
        }
        let core = Arc::new(core);
        watch::start(&core).map_err(|source| files(folder, source))?;
        Ok(Self { core })
    }

    /// The folder of all generations.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.core.folder
    }

    /// The log that the projections follow.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.core.log
    }

    /// The names, in a fixed order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.core.slots.iter().map(|slot| slot.kind.name()).collect()
    }

    /// What kind of read model a projection is.
    pub fn kind(&self, name: &str) -> Result<Arc<dyn ReadModelKind>, GenerationError> {
        Ok(Arc::clone(&self.core.slot(name)?.kind))
    }

    /// The generation that queries read.
    pub fn live(&self, name: &str) -> Result<Arc<Generation>, GenerationError> {
        let slot = self.core.slot(name)?;
        if let Some(live) = slot.live.load_full() {
            return Ok(live);
        }
        Err(match slot.fault.lock().clone() {
            Some((_, fault)) => GenerationError::Store(fault),
            None => GenerationError::NotOpen(name.to_owned()),
        })
    }

    /// The projections whose live generation another version of the program has written, so that this one can't read it.
    #[must_use]
    pub fn outdated(&self) -> Vec<Outdated> {
        let outdated = |slot: &&Slot| {
            slot.live.load().is_none() && matches!(*slot.fault.lock(), Some((_, StoreError::Outdated(_))))
        };
        let found = self.core.slots.iter().filter(outdated);
        found.map(|slot| Outdated { name: slot.kind.name(), shared: slot.shared }).collect()
    }

    /// Waits until nobody compares the projection with a replay, and keeps others from it until the guard is dropped: a
    /// projection has one shadow.
    pub async fn proof(&self, name: &str) -> Result<OwnedMutexGuard<()>, GenerationError> {
        let proving = Arc::clone(&self.core.slot(name)?.proving);
        Ok(proving.lock_owned().await)
    }

    /// The generation that a rebuild is filling in this process.
    pub fn building(&self, name: &str) -> Result<Option<Arc<Generation>>, GenerationError> {
        Ok(self.core.slot(name)?.building.load_full())
    }

    /// The state of every projection's live generation.
    #[must_use]
    pub fn status(&self) -> Vec<ProjectionStatus> {
        self.core.slots.iter().map(|slot| self.core.slot_status(slot)).collect()
    }

    /// Has a projection stand still for an operator: in every process, through swaps and restarts, until [`Projections::resume`].
    /// Returns when nothing is uncommitted here; other processes follow within about a second.
    pub async fn pause(&self, name: &str) -> Result<(), GenerationError> {
        let slot = self.core.slot(name)?;
        // On record first: whatever fails afterwards, the next start keeps to it.
        slot.record_pause(true)?;
        self.core.settle_pause(slot, Told::First).await
    }

    /// Has a projection go on after [`Projections::pause`], or try again after a halt.
    pub async fn resume(&self, name: &str) -> Result<(), GenerationError> {
        let slot = self.core.slot(name)?;
        slot.record_pause(false)?;
        self.core.settle_pause(slot, Told::First).await?;
        Ok(self.live(name)?.handle.resume().await?)
    }

    /// The state of one projection.
    pub fn status_of(&self, name: &str) -> Result<ProjectionStatus, GenerationError> {
        self.core.slot(name).map(|slot| self.core.slot_status(slot))
    }

    /// Starts the next generation of a projection beside the live one, or goes on with one that an ended process left.
    /// One at a time; asked again, it gives the same.
    pub async fn begin_rebuild(&self, name: &str) -> Result<Arc<Generation>, GenerationError> {
        let slot = self.core.slot(name)?;
        let _changing = slot.changing.lock().await;
        let before = slot.generations()?;
        if let Some(building) = slot.building.load_full() {
            if before.building == Some(building.number) {
                return Ok(building);
            }
            // Another process has made it live, or has given it up.
            slot.building.store(None);
            building.handle.stop().await;
        }
        if let Some(left) = before.building {
            match self.core.run(&slot.kind, left, false) {
                Ok(building) => {
                    slot.building.store(Some(Arc::clone(&building)));
                    return Ok(building);
                }
                Err(error) if slot.shared && error.is_retryable() => return Err(error.into()),
                Err(_) => self.core.remove(slot, left)?,
            }
        }
        let mut generations = before.clone();
        generations.last += 1;
        generations.building = Some(generations.last);
        slot.replace(&before, &generations)?;
        let building = self.core.run(&slot.kind, generations.last, false)?;
        slot.building.store(Some(Arc::clone(&building)));
        Ok(building)
    }

    /// Gives up the generation being built and removes it.
    pub async fn abandon_rebuild(&self, name: &str) -> Result<(), GenerationError> {
        let slot = self.core.slot(name)?;
        let _changing = slot.changing.lock().await;
        if let Some(building) = slot.building.swap(None) {
            building.handle.stop().await;
        }
        let before = slot.generations()?;
        let mut generations = before.clone();
        if let Some(number) = generations.building.take() {
            if slot.shared {
                // Another process may have made it live since: never remove what may be in use.
                slot.replace(&before, &generations)?;
                self.core.remove(slot, number)?;
            } else {
                self.core.remove(slot, number)?;
                slot.replace(&before, &generations)?;
            }
        }
        Ok(())
    }

    /// Makes the generation being built the live one, once it has reached what the live one shows (at most `timeout`). The old one
    /// is stopped and kept for a rollback; one kept before goes.
    pub async fn swap(
        &self,
        name: &str,
        next: &Arc<Generation>,
        timeout: Duration,
    ) -> Result<Swapped, GenerationError> {
        let slot = self.core.slot(name)?;
        let _changing = slot.changing.lock().await;
        let is_building = slot.building.load_full().is_some_and(|building| Arc::ptr_eq(&building, next));
        if !is_building || slot.generations()?.building != Some(next.number) {
            return Err(GenerationError::NotBuilding { name: name.to_owned(), generation: next.number });
        }
        let swapped = self.core.go_live(slot, next, timeout).await?;
        slot.building.store(None);
        Ok(swapped)
    }

    /// Goes back to the generation that was live before, once it has caught up (at most `timeout`). What was live is kept as
    /// the previous one.
    pub async fn rollback(&self, name: &str, timeout: Duration) -> Result<Swapped, GenerationError> {
        let slot = self.core.slot(name)?;
        let _changing = slot.changing.lock().await;
        let previous = slot.generations()?.previous;
        let previous = previous.ok_or_else(|| GenerationError::NoPrevious(name.to_owned()))?;
        let generation = self.core.run(&slot.kind, previous, false)?;
        let gone_live = self.core.go_live(slot, &generation, timeout).await;
        if gone_live.is_err() {
            generation.handle.stop().await;
        }
        gone_live
    }

    /// Removes the previous generation. Its number, if there was one.
    pub async fn cleanup(&self, name: &str) -> Result<Option<u64>, GenerationError> {
        let slot = self.core.slot(name)?;
        let _changing = slot.changing.lock().await;
        let before = slot.generations()?;
        let mut generations = before.clone();
        let Some(previous) = generations.previous.take() else {
            return Ok(None);
        };
        if slot.shared {
            slot.replace(&before, &generations)?;
            self.core.remove(slot, previous)?;
        } else {
            self.core.remove(slot, previous)?;
            slot.replace(&before, &generations)?;
        }
        Ok(Some(previous))
    }

    /// Commits everything and ends all runners.
    pub async fn stop(&self) {
        self.core.stopping.store(true, Ordering::SeqCst);
        for slot in &self.core.slots {
            for generation in [slot.live.load_full(), slot.building.load_full()].into_iter().flatten() {
                generation.handle.stop().await;
            }
        }
    }
}

impl Core {
    fn open_slot(
        &self,
        kind: &Arc<dyn ReadModelKind>,
        manifest: &Arc<dyn Ledger>,
    ) -> Result<Slot, GenerationError> {
        let name = kind.name();
        let shared = kind.ledger();
        let slot = Slot {
            kind: Arc::clone(kind),
            shared: shared.is_some(),
            ledger: shared.unwrap_or_else(|| Arc::clone(manifest)),
            live: ArcSwapOption::empty(),
            building: ArcSwapOption::empty(),
            fault: Mutex::new(None),
            changing: tokio::sync::Mutex::new(()),
            proving: Arc::default(),
            pausing: tokio::sync::Mutex::new(()),
        };
        let generations = match slot.recorded() {
            Ok(generations) => generations,
            // A server that is away, or another's: its projection shows as halted, and is followed when that has passed.
            Err(GenerationError::Store(error)) if slot.shared => {
                tracing::error!(projection = name, %error, "which generation is live is not known");
                *slot.fault.lock() = Some((0, error));
                return Ok(slot);
            }
            Err(error) => return Err(error),
        };
        match self.run(kind, generations.live, generations.paused) {
            Ok(generation) => {
                slot.live.store(Some(generation));
                slot.kind.went_live(generations.live);
            }
            Err(error) => {
                tracing::error!(projection = name, generation = generations.live, %error, "cannot open the read model");
                *slot.fault.lock() = Some((generations.live, error));
            }
        }
        Ok(slot)
    }

    fn run(
        &self,
        kind: &Arc<dyn ReadModelKind>,
        number: u64,
        held: bool,
    ) -> Result<Arc<Generation>, StoreError> {
        let place = kind.place(&self.folder, number);
        let Opened { model, queries } = kind.open(&place, number)?;
        let log = Arc::clone(&self.log);
        let options = RunnerOptions { held, ..kind.options() };
        let handle = runner::start(kind.name(), number, model, log, &self.runtime, options)?;
        Ok(Arc::new(Generation { number, handle, queries, place }))
    }

    /// Does with the live generation what the ledger says about standing still. Whoever changes either of them comes here afterwards,
    /// so that the last one finds both as they stay.
    async fn settle_pause(&self, slot: &Slot, who: Told) -> Result<(), GenerationError> {
        let _one = slot.pausing.lock().await;
        let paused = slot.generations()?.paused;
        let Some(live) = slot.live.load_full() else { return Ok(()) };
        match (paused, live.handle.is_held(), who) {
            (true, false, Told::First) => live.handle.pause().await?,
            (true, false, Told::Later) => live.handle.pause_here().await?,
            (false, true, _) => live.handle.resume().await?,
            (true, true, _) | (false, false, _) => {}
        }
        Ok(())
    }

    fn slot(&self, name: &str) -> Result<&Slot, GenerationError> {
        let slot = self.slots.iter().find(|slot| slot.kind.name() == name);
        slot.ok_or_else(|| GenerationError::Unknown(name.to_owned()))
    }

    fn slot_status(&self, slot: &Slot) -> ProjectionStatus {
        let building = slot
            .building
            .load_full()
            .map(|next| runner::Building { generation: next.number, checkpoint: next.handle.checkpoint() });
        if let Some(live) = slot.live.load_full() {
            return ProjectionStatus { building, ..live.handle.status() };
        }
        let head = *self.log.watch_head().borrow();
        let name = slot.kind.name();
        let fault = slot.fault.lock().clone();
        ProjectionStatus {
            name: name.to_owned(),
            generation: fault.as_ref().map_or(0, |(generation, _)| *generation),
            checkpoint: 0,
            head,
            lag: head,
            state: "halted",
            reason: fault.map(|(_, fault)| fault.to_string()),
            dead_letters: 0,
            retries: 0,
            events: 0,
            building,
        }
    }

    async fn go_live(
        &self,
        slot: &Slot,
        next: &Arc<Generation>,
        timeout: Duration,
    ) -> Result<Swapped, GenerationError> {
        let name = slot.kind.name();
        let old = slot.live.load_full();
        let mut turn = None;
        if let Some(old) = &old {
            // Somebody else's work on it is waited for.
            turn = Some(old.handle.take_turn().await);
            // Readers of the new one must not fall behind what the old one has shown.
            let _ = old.handle.lend().await;
            if let Err(error) = next.handle.wait_for(old.handle.checkpoint(), timeout).await {
                let _ = old.handle.take_back().await;
                return Err(error.into());
            }
        }
        // Taken anew: another process may have swapped while this one waited.
        let record = || -> Result<(u64, Option<u64>), GenerationError> {
            let before = slot.generations()?;
            let mut after = before.clone();
            let obsolete = before.previous.filter(|previous| *previous != next.number);
            after.live = next.number;
            after.previous = Some(before.live);
            if after.building == Some(next.number) {
                after.building = None;
            } else if before.previous != Some(next.number) {
                return Err(GenerationError::NotBuilding { name: name.to_owned(), generation: next.number });
            }
            slot.replace(&before, &after)?;
            Ok((before.live, obsolete))
        };
        let (from, obsolete) = match record() {
            Ok(recorded) => recorded,
            Err(error) => {
                if let Some(old) = &old {
                    let _ = old.handle.take_back().await;
                }
                return Err(error);
            }
        };
        slot.live.store(Some(Arc::clone(next)));
        slot.kind.went_live(next.number);
        *slot.fault.lock() = None;
        // What an operator has paused stays so, whichever generation is live. The swap is done, whatever comes of it.
        if let Err(error) = self.settle_pause(slot, Told::First).await {
            tracing::warn!(projection = name, %error, "whether the new generation is to stand still is not known");
        }
        drop(turn);
        if let Some(old) = old {
            old.handle.stop().await;
        }
        if let Some(obsolete) = obsolete {
            self.remove(slot, obsolete)?;
        }
        Ok(Swapped { from, to: next.number, position: next.handle.checkpoint() })
    }

    fn remove(&self, slot: &Slot, number: u64) -> Result<(), GenerationError> {
        let place = slot.kind.place(&self.folder, number);
        slot.kind.remove(&place).map_err(|source| files(&place, source))
    }
}

fn files(path: &Path, source: std::io::Error) -> GenerationError {
    GenerationError::Files { path: path.to_owned(), source }
}
