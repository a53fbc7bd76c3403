//! Follows what other processes do to shared generations: a swap or rollback of theirs goes live here as well.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Core, Generation, GenerationError, Slot, Told};

/// How often the ledger is looked at: the longest time that this process answers from the generation before.
const PACE: Duration = Duration::from_secs(1);
/// How long a new generation may take to reach what the one before has shown here, before it is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the thread, if any projection is shared. It ends when the projections are dropped.
pub(super) fn start(core: &Arc<Core>) -> std::io::Result<()> {
    if !core.slots.iter().any(|slot| slot.shared) {
        return Ok(());
    }
    let core = Arc::downgrade(core);
    std::thread::Builder::new().name("generations".to_owned()).spawn(move || watch(&core))?;
    Ok(())
}

fn watch(core: &Weak<Core>) {
    loop {
        // Not by the runtime's clock: the runtime may end first.
        std::thread::park_timeout(PACE);
        let Some(core) = core.upgrade() else { return };
        if core.stopping.load(Ordering::SeqCst) {
            return;
        }
        let runtime = core.runtime.clone();
        for slot in core.slots.iter().filter(|slot| slot.shared) {
            if let Err(error) = runtime.block_on(core.follow(slot)) {
                let projection = slot.kind.name();
                tracing::warn!(projection, %error, "cannot follow the generations of a shared read model");
            }
        }
    }
}

impl Core {
    /// Goes over to the generation that the ledger names, if that is another one than is live here; pauses and resumes as it says.
    pub(super) async fn follow(&self, slot: &Slot) -> Result<(), GenerationError> {
        let live = slot.live.load_full();
        let recorded = slot.recorded()?;
        let number = recorded.live;
        if let Some(live) = live.as_ref().filter(|live| live.number == number) {
            if live.handle.is_held() != recorded.paused {
                self.settle_pause(slot, Told::Later).await?;
            }
            return Ok(());
        }
        // What cannot be read stays so until somebody rebuilds it; a server that was not there may be there again.
        if slot.fault.lock().as_ref().is_some_and(|(known, fault)| *known == number && !fault.is_retryable())
        {
            return Ok(());
        }
        // This process may be changing them itself.
        let Ok(_changing) = slot.changing.try_lock() else { return Ok(()) };
        if self.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (live, number) = (slot.live.load_full(), slot.generations()?.live);
        if live.as_ref().is_some_and(|live| live.number == number) {
            return Ok(());
        }
        let built_here = slot.building.load_full().filter(|building| building.number == number);
        // Also one that stands still: how far the other process has brought it is shown all the same.
        let next = match built_here {
            Some(next) => next,
            None => self.run(&slot.kind, number, false)?,
        };
        if let Some(live) = &live {
            show_no_less(live, &next).await?;
        }
        slot.live.store(Some(Arc::clone(&next)));
        slot.kind.went_live(number);
        *slot.fault.lock() = None;
        if let Some(live) = live {
            live.handle.stop().await;
        }
        // The end of all may have come meanwhile, and seen the old one only.
        if self.stopping.load(Ordering::SeqCst) {
            next.handle.stop().await;
        }
        self.settle_pause(slot, Told::Later).await?;
        slot.building.store(slot.building.load_full().filter(|building| !Arc::ptr_eq(building, &next)));
        tracing::info!(
            projection = slot.kind.name(),
            generation = number,
            "another process made a generation live"
        );
        Ok(())
    }
}

/// Waits until the new generation shows all that the old one has shown here.
async fn show_no_less(old: &Generation, next: &Generation) -> Result<(), GenerationError> {
    // One that has ended cannot be paused, and shows nothing more either.
    let _ = old.handle.lend_here().await;
    if let Err(error) = next.handle.wait_for(old.handle.checkpoint(), PATIENCE).await {
        let _ = old.handle.take_back().await;
        next.handle.stop().await;
        return Err(error.into());
    }
    Ok(())
}
