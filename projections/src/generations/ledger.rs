//! Where the numbers of generations are kept: a file, or a place that several processes share.

use parking_lot::Mutex;

use super::GenerationError;
use super::manifest::{Generations, Manifest};

/// Keeps the [`Generations`] of projections. Every change is durable, whole, before it counts.
pub trait Ledger: Send + Sync {
    /// The numbers of a projection; `None` for one that is not on record.
    fn get(&self, projection: &str) -> Result<Option<Generations>, GenerationError>;

    /// Replaces the numbers `before`, as they were read, by `after`: [`GenerationError::Changed`] if they are others by now, since
    /// another process has changed them.
    fn replace(
        &self,
        projection: &str,
        before: Option<&Generations>,
        after: &Generations,
    ) -> Result<(), GenerationError>;
}

/// The file of a folder that one process has for itself.
impl Ledger for Mutex<Manifest> {
    fn get(&self, projection: &str) -> Result<Option<Generations>, GenerationError> {
        Ok(self.lock().get(projection).cloned())
    }

    fn replace(
        &self,
        projection: &str,
        before: Option<&Generations>,
        after: &Generations,
    ) -> Result<(), GenerationError> {
        let mut manifest = self.lock();
        if manifest.get(projection) != before {
            return Err(GenerationError::Changed(projection.to_owned()));
        }
        manifest.set(projection, after.clone())
    }
}
