//! Where the stores of rows live.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::spec::StoreSpec;
use super::sqlite::SqliteStore;
use super::store::RowStore;
use crate::generations::Ledger;
use crate::model::StoreError;

/// Keeps stores of rows, one for each generation of each projection.
pub trait RowEngine: Send + Sync + 'static {
    /// What a generation's store is called; `folder` is that of all projections.
    fn place(&self, folder: &Path, projection: &str, generation: u64) -> PathBuf;

    /// Opens the store, or creates it with checkpoint 0. Errors as those of [`SqliteStore::open`].
    fn open(&self, place: &Path, spec: StoreSpec, generation: u64) -> Result<Box<dyn RowStore>, StoreError>;

    /// Removes a store that nobody writes; one that is not there is no error.
    fn remove(&self, place: &Path) -> std::io::Result<()>;

    /// Where the numbers of generations are kept, if several processes share the stores; else they are in the folder.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        None
    }

    /// Where a store that only this process uses, and removes again, is kept: the shadow of a reconciliation.
    fn private(&self) -> Option<Arc<dyn RowEngine>> {
        None
    }
}

/// SQLite files in the folder of projections.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteFiles;

impl RowEngine for SqliteFiles {
    fn place(&self, folder: &Path, projection: &str, generation: u64) -> PathBuf {
        folder.join(format!("{projection}@{generation}.sqlite"))
    }

    fn open(&self, place: &Path, spec: StoreSpec, generation: u64) -> Result<Box<dyn RowStore>, StoreError> {
        Ok(Box::new(SqliteStore::open(place, spec, generation)?))
    }

    fn remove(&self, place: &Path) -> std::io::Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = place.as_os_str().to_owned();
            file.push(suffix);
            match std::fs::remove_file(PathBuf::from(file)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}
