//! What each projection is: how its read model is opened, and how it is queried.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Ledger;
use crate::model::{ReadModel, StoreError};
use crate::rows::model::DEFAULT_CACHE_BYTES;
use crate::rows::{Projector, RowEngine, RowModel, RowReader, SqliteFiles};
use crate::runner::RunnerOptions;

/// A kind of read model: knows how to open or create one generation of itself.
pub trait ReadModelKind: Send + Sync + 'static {
    /// The projection's name: `[a-z]+`.
    fn name(&self) -> &'static str;

    /// The file or folder of a generation in the folder of projections.
    fn place(&self, folder: &Path, generation: u64) -> PathBuf {
        folder.join(format!("{}@{generation}", self.name()))
    }

    /// Opens the generation at `place`, or creates it empty.
    fn open(&self, place: &Path, generation: u64) -> Result<Opened, StoreError>;

    /// Called when queries read this generation, at every start and after every swap: for names that others read it by.
    fn went_live(&self, generation: u64) {
        let _ = generation;
    }

    /// Removes a generation that nobody has open for writing.
    fn remove(&self, place: &Path) -> std::io::Result<()> {
        let removed =
            if place.is_dir() { std::fs::remove_dir_all(place) } else { std::fs::remove_file(place) };
        allow_missing(removed)
    }

    /// Where the numbers of its generations are kept, if several processes share its stores; else they are in the folder.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        None
    }

    /// The kind that a shadow for comparison is made of, if another than this one: with the same rows, but in a place of this
    /// process alone.
    fn shadow(&self) -> Option<Arc<dyn ReadModelKind>> {
        None
    }

    /// How its runner reads and commits.
    fn options(&self) -> RunnerOptions {
        RunnerOptions::default()
    }
}

pub(super) fn allow_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An opened generation.
pub struct Opened {
    pub model: Box<dyn ReadModel>,
    pub queries: QueryHandle,
}

/// What queries of a generation go through.
#[derive(Clone)]
pub enum QueryHandle {
    /// Tables.
    Rows(Arc<dyn RowReader>),
    /// An engine of its own, such as a search index.
    Other(Arc<dyn Any + Send + Sync>),
}

impl QueryHandle {
    /// The row reader, if this is a read model of tables.
    #[must_use]
    pub fn rows(&self) -> Option<Arc<dyn RowReader>> {
        match self {
            Self::Rows(reader) => Some(Arc::clone(reader)),
            Self::Other(_) => None,
        }
    }

    /// The engine's own handle, if it is of this type.
    #[must_use]
    pub fn other<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        match self {
            Self::Rows(_) => None,
            Self::Other(handle) => Arc::clone(handle).downcast().ok(),
        }
    }
}

/// A read model of tables.
pub struct RowKind<P> {
    name: &'static str,
    projector: fn() -> P,
    engine: Arc<dyn RowEngine>,
    options: RunnerOptions,
    cache_bytes: usize,
}

impl<P: Projector> RowKind<P> {
    /// The kind of read model that this projector fills, in SQLite files.
    #[must_use]
    pub fn new(projector: fn() -> P) -> Self {
        Self {
            name: projector().spec().name,
            projector,
            engine: Arc::new(SqliteFiles),
            options: RunnerOptions::default(),
            cache_bytes: DEFAULT_CACHE_BYTES,
        }
    }

    /// With stores kept by another engine.
    #[must_use]
    pub fn on(mut self, engine: &Arc<dyn RowEngine>) -> Self {
        self.engine = Arc::clone(engine);
        self
    }

    /// With other runner options.
    #[must_use]
    pub fn with_options(mut self, options: RunnerOptions) -> Self {
        self.options = options;
        self
    }

    /// With another size of the cache of rows, for what is seldom read again once written.
    #[must_use]
    pub const fn with_cache_bytes(mut self, cache_bytes: usize) -> Self {
        self.cache_bytes = cache_bytes;
        self
    }
}

impl<P: Projector> ReadModelKind for RowKind<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn place(&self, folder: &Path, generation: u64) -> PathBuf {
        self.engine.place(folder, self.name, generation)
    }

    fn open(&self, place: &Path, generation: u64) -> Result<Opened, StoreError> {
        let projector = (self.projector)();
        let store = self.engine.open(place, projector.spec(), generation)?;
        let model = RowModel::with_cache(projector, store, self.cache_bytes);
        let queries = QueryHandle::Rows(model.reader());
        Ok(Opened { model: Box::new(model), queries })
    }

    fn remove(&self, place: &Path) -> std::io::Result<()> {
        self.engine.remove(place)
    }

    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.engine.ledger()
    }

    fn shadow(&self) -> Option<Arc<dyn ReadModelKind>> {
        let engine = self.engine.private()?;
        Some(Arc::new(Self { engine, options: self.options.clone(), ..*self }))
    }

    fn options(&self) -> RunnerOptions {
        self.options.clone()
    }
}

/// All projections of a process, in a fixed order.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: Vec<Arc<dyn ReadModelKind>>,
}

impl Registry {
    /// No projections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind. Names are unique.
    #[must_use]
    pub fn with(mut self, kind: impl ReadModelKind) -> Self {
        assert!(self.get(kind.name()).is_none(), "projection {} is registered once", kind.name());
        self.kinds.push(Arc::new(kind));
        self
    }

    /// The kind with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn ReadModelKind>> {
        self.kinds.iter().find(|kind| kind.name() == name)
    }

    /// All kinds.
    #[must_use]
    pub fn kinds(&self) -> &[Arc<dyn ReadModelKind>] {
        &self.kinds
    }
}
