//! A disk in memory that fails as real ones do: for tests of this and other crates.
//!
//! Every operation that changes something is a step. A plan says at which step the power goes, or which step fails and
//! how. After that [`FaultStorage::restart`] gives what a real disk could hold: what was synced, and of the rest any
//! part, by sectors of some size, in any order; of creations, renames and removals since the last sync of the folder any too.

#![allow(clippy::unwrap_used, reason = "a test double; a broken one must stop the test")]

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::storage::{Storage, StorageFile};

/// How finely unsynced writes tear: at least as finely as any disk does.
const SECTORS: [usize; 4] = [8, 64, 512, 4096];

/// How many of 16 unsynced sectors survive: a tear may take or leave nearly everything.
const SURVIVORS: [usize; 5] = [0, 1, 8, 15, 16];

/// What goes wrong, and when. Steps count from 1; the default is a disk without faults.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    /// The power goes at this step: a write is done in part, everything after it fails.
    pub crash_at: Option<u64>,
    /// These steps fail with this error, and leave a write done in part.
    pub fail: Option<(std::ops::Range<u64>, io::ErrorKind)>,
    /// These calls of `sync_data` fail, counted by themselves from 1.
    pub fail_syncs: Option<std::ops::Range<u64>>,
    /// Room on the disk in bytes: a write that makes files larger than that together fails for want of room.
    pub capacity: Option<usize>,
    /// Reads fail with this error.
    pub fail_reads: Option<io::ErrorKind>,
    /// Writes and reads are cut short at random, as the system may do at any time.
    pub short: bool,
}

/// The disk.
#[derive(Clone)]
pub struct FaultStorage {
    disk: Arc<Mutex<Disk>>,
    locked: Arc<AtomicBool>,
}

struct Disk {
    plan: FaultPlan,
    dice: Dice,
    steps: u64,
    syncs: u64,
    dead: bool,
    names: HashMap<String, Arc<Mutex<Contents>>>,
    /// Names as of the last sync of the folder, and what was done to them since.
    synced_names: HashMap<String, Arc<Mutex<Contents>>>,
    name_changes: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, Arc<Mutex<Contents>>),
    Rename(String, String, Arc<Mutex<Contents>>),
    Remove(String),
}

#[derive(Default)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// A xorshift generator.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound.max(1) as u64).unwrap()
    }
}

impl FaultStorage {
    /// An empty disk; `seed` decides everything that is left to chance.
    #[must_use]
    pub fn new(seed: u64, plan: FaultPlan) -> Self {
        Self::with(seed, plan, HashMap::new())
    }

    fn with(seed: u64, plan: FaultPlan, names: HashMap<String, Arc<Mutex<Contents>>>) -> Self {
        let disk = Disk {
            plan,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            steps: 0,
            syncs: 0,
            dead: false,
            synced_names: names.clone(),
            names,
            name_changes: Vec::new(),
        };
        Self { disk: Arc::new(Mutex::new(disk)), locked: Arc::default() }
    }

    /// Steps done so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.disk.lock().steps
    }

    /// Calls of `sync_data` so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.disk.lock().dead
    }

    /// Changes what goes wrong from now on.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.disk.lock().plan = plan;
    }

    /// What the disk holds when the power comes back.
    #[must_use]
    pub fn restart(&self, seed: u64, plan: FaultPlan) -> Self {
        let mut disk = self.disk.lock();
        disk.dead = true;
        let mut dice = Dice(seed.wrapping_mul(0xd134_2543_de82_ef95) | 1);
        let mut names = disk.synced_names.clone();
        // All of them up to some point, as a journal keeps them; or any, which is what POSIX promises.
        let (journal, kept) = (dice.below(2) == 0, dice.below(disk.name_changes.len() + 1));
        for (i, change) in disk.name_changes.iter().enumerate() {
            let survives = if journal { i < kept } else { dice.below(2) == 0 };
            if survives {
                apply(&mut names, change.clone());
            }
        }
        let sector = SECTORS[dice.below(SECTORS.len())];
        let survivors = SURVIVORS[dice.below(SURVIVORS.len())];
        // In the order of names, so that a seed always gives the same.
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let surviving = names.into_iter().map(|(name, contents)| {
            let contents = contents.lock();
            let mut bytes = contents.synced.clone();
            for (offset, written) in &contents.unsynced {
                let mut at = 0;
                while at < written.len() {
                    let end = written.len().min(at + sector - (offset + at) % sector);
                    if dice.below(16) < survivors {
                        put(&mut bytes, offset + at, &written[at..end]);
                    }
                    at = end;
                }
            }
            (name, Arc::new(Mutex::new(Contents { now: bytes.clone(), synced: bytes, unsynced: Vec::new() })))
        });
        Self::with(seed, plan, surviving.collect())
    }

    /// Bytes in all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.disk.lock().used()
    }

    /// The names and contents of all files.
    #[must_use]
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let disk = self.disk.lock();
        let mut files: Vec<_> = disk.names.iter().map(|(n, c)| (n.clone(), c.lock().now.clone())).collect();
        files.sort();
        files
    }

    /// A disk without faults that holds these files.
    #[must_use]
    pub fn from_files(files: &[(String, Vec<u8>)]) -> Self {
        let contents =
            |bytes: &Vec<u8>| Contents { now: bytes.clone(), synced: bytes.clone(), unsynced: Vec::new() };
        let names = files.iter().map(|(name, bytes)| (name.clone(), Arc::new(Mutex::new(contents(bytes)))));
        Self::with(1, FaultPlan::default(), names.collect())
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, part: &[u8]) {
    if bytes.len() < offset + part.len() {
        bytes.resize(offset + part.len(), 0);
    }
    bytes[offset..offset + part.len()].copy_from_slice(part);
}

fn apply(names: &mut HashMap<String, Arc<Mutex<Contents>>>, change: NameChange) {
    match change {
        NameChange::Create(name, contents) => {
            names.insert(name, contents);
        }
        NameChange::Rename(from, to, contents) => {
            names.remove(&from);
            names.insert(to, contents);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
    }
}

/// What becomes of a step.
enum Outcome {
    Done,
    /// Fails, after a part of a write.
    Fails(io::Error),
}

impl Disk {
    fn check_alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn step(&mut self) -> io::Result<Outcome> {
        self.check_alive()?;
        self.steps += 1;
        if self.plan.crash_at == Some(self.steps) {
            self.dead = true;
            return Ok(Outcome::Fails(io::Error::other("the power is gone")));
        }
        if let Some((steps, kind)) = &self.plan.fail
            && steps.contains(&self.steps)
        {
            return Ok(Outcome::Fails((*kind).into()));
        }
        Ok(Outcome::Done)
    }

    fn used(&self) -> usize {
        self.names.values().map(|contents| contents.lock().now.len()).sum()
    }

    /// A step that is done as a whole or not at all.
    fn whole_step(&mut self) -> io::Result<()> {
        match self.step()? {
            Outcome::Done => Ok(()),
            Outcome::Fails(error) => Err(error),
        }
    }

    fn change_names(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.name_changes.push(change);
    }
}

impl Storage for FaultStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        disk.check_alive()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut disk = self.disk.lock();
        disk.whole_step()?;
        let contents = Arc::new(Mutex::new(Contents::default()));
        disk.change_names(NameChange::Create(name.to_owned(), contents.clone()));
        Ok(Arc::new(FaultFile { disk: self.disk.clone(), contents }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let disk = self.disk.lock();
        disk.check_alive()?;
        let contents = disk.names.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultFile { disk: self.disk.clone(), contents }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.whole_step()?;
        let contents = disk.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        disk.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), contents));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.whole_step()?;
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_names(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.whole_step()?;
        disk.synced_names = disk.names.clone();
        disk.name_changes.clear();
        Ok(())
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock(self.locked.clone())))
    }

    fn describe(&self) -> String {
        "a disk in memory".into()
    }
}

struct Unlock(Arc<AtomicBool>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

struct FaultFile {
    disk: Arc<Mutex<Disk>>,
    contents: Arc<Mutex<Contents>>,
}

impl StorageFile for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.check_alive()?;
        if let Some(kind) = disk.plan.fail_reads {
            return Err(kind.into());
        }
        let contents = self.contents.lock();
        let start = usize::try_from(offset).unwrap().min(contents.now.len());
        let mut length = buffer.len().min(contents.now.len() - start);
        if disk.plan.short && length > 1 && disk.dice.below(4) == 0 {
            length = 1 + disk.dice.below(length);
        }
        buffer[..length].copy_from_slice(&contents.now[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let outcome = disk.step()?;
        let mut length = bytes.len();
        let cut_short = disk.plan.short && length > 1 && disk.dice.below(4) == 0;
        if cut_short || matches!(outcome, Outcome::Fails(_)) {
            length = disk.dice.below(length) + usize::from(cut_short);
        }
        let length = length.min(bytes.len());
        let offset = usize::try_from(offset).unwrap();
        let used = disk.used();
        let mut contents = self.contents.lock();
        let grown = (offset + length).saturating_sub(contents.now.len());
        if grown > 0 && disk.plan.capacity.is_some_and(|capacity| used + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut contents.now, offset, &bytes[..length]);
        contents.unsynced.push((offset, bytes[..length].to_vec()));
        match outcome {
            Outcome::Done => Ok(length),
            Outcome::Fails(error) => Err(error),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.whole_step()?;
        disk.syncs += 1;
        if disk.plan.fail_syncs.as_ref().is_some_and(|syncs| syncs.contains(&disk.syncs)) {
            return Err(io::Error::other("the disk lost what it was given"));
        }
        let mut contents = self.contents.lock();
        contents.synced = contents.now.clone();
        contents.unsynced.clear();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.lock().check_alive()?;
        Ok(self.contents.lock().now.len() as u64)
    }
}
