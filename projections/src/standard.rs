//! The read models of Daybook as projections, but for search, which brings its own kind.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Audit;
use crate::catalogue::Catalogue;
use crate::customers::Customers;
use crate::generations::{Registry, RowKind};
use crate::inventory::Inventory;
use crate::masters::Masters;
use crate::orders::Orders;
use crate::products::Products;
use crate::rows::{RowEngine, SqliteFiles};
use crate::runner::RunnerOptions;
use crate::sales::Sales;

/// Rows of the audit view are written once and never folded again.
const AUDIT_CACHE_BYTES: usize = 1 << 20;

/// All read models of tables, in SQLite files. The search projection is added with [`Registry::with`].
#[must_use]
pub fn registry() -> Registry {
    let files: Arc<dyn RowEngine> = Arc::new(SqliteFiles);
    registry_on(&files)
}

/// All read models of tables, with stores kept by `engine`.
#[must_use]
pub fn registry_on(engine: &Arc<dyn RowEngine>) -> Registry {
    // Nobody waits for these, and each commit writes pages all over an index: fewer, larger ones.
    let unhurried = RunnerOptions {
        pace: Duration::from_millis(250),
        max_pending_time: Duration::from_secs(3),
        ..RunnerOptions::default()
    };
    Registry::new()
        .with(RowKind::new(|| Catalogue).on(engine))
        .with(RowKind::new(|| Masters).on(engine))
        .with(RowKind::new(|| Inventory).on(engine))
        .with(RowKind::new(|| Orders).on(engine))
        .with(
            RowKind::new(|| Audit)
                .on(engine)
                .with_options(unhurried.clone())
                .with_cache_bytes(AUDIT_CACHE_BYTES),
        )
        .with(RowKind::new(|| Sales).on(engine).with_options(unhurried.clone()))
        .with(RowKind::new(|| Products).on(engine).with_options(unhurried.clone()))
        .with(RowKind::new(|| Customers).on(engine).with_options(unhurried))
}
