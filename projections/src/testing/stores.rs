//! Where a test's rows live: the same tests run on every engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::rows::{RowEngine, RowStore, SqliteFiles, StoreSpec};

/// An engine that tests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// Makes of each named function, which takes an [`On`], one test an engine.
macro_rules! each_engine {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test]
            fn $test() {
                super::$test($crate::testing::On::Sqlite);
            })+
        }
        #[cfg(feature = "postgres")]
        mod on_postgres {
            $(#[test]
            fn $test() {
                if $crate::testing::postgres_url().is_some() {
                    super::$test($crate::testing::On::Postgres);
                }
            })+
        }
    };
}
pub(crate) use each_engine;

/// The server that the environment names (`tests/servers.sh` starts one); `None`, said aloud, where there is none.
#[cfg(feature = "postgres")]
pub(crate) fn postgres_url() -> Option<String> {
    let url = std::env::var("DAYBOOK_TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "DAYBOOK_TEST_REQUIRE_SERVERS=1, but DAYBOOK_TEST_POSTGRES_URL is not set");
        println!("skipped: DAYBOOK_TEST_POSTGRES_URL is not set");
    }
    url
}

impl On {
    /// The engine for tests that do not run on each.
    pub(crate) const fn any() -> Self {
        Self::Sqlite
    }

    pub(crate) fn stores(self) -> Stores {
        let folder = tempfile::tempdir().unwrap();
        match self {
            Self::Sqlite => Stores {
                on: self,
                folder,
                engine: Arc::new(SqliteFiles),
                #[cfg(feature = "postgres")]
                database: None,
            },
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                let database = super::postgres::Database::fresh(postgres_url().unwrap());
                Stores { on: self, folder, engine: Arc::new(database.process()), database: Some(database) }
            }
        }
    }

    /// How many cases of a property fit into a test: a store on a server takes longer to make.
    pub(crate) fn cases(self, embedded: u32) -> u32 {
        if self == Self::Sqlite { embedded } else { embedded.div_ceil(4) }
    }
}

/// A place for a test's stores, removed at its end.
pub(crate) struct Stores {
    pub(crate) on: On,
    pub(crate) folder: TempDir,
    pub(crate) engine: Arc<dyn RowEngine>,
    #[cfg(feature = "postgres")]
    pub(crate) database: Option<super::postgres::Database>,
}

impl Stores {
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.engine.place(self.folder.path(), name, 1)
    }

    /// Opens a store and claims it.
    pub(crate) fn open(&self, name: &str, spec: StoreSpec) -> Box<dyn RowStore> {
        let mut store = self.engine.open(&self.place(name), spec, 1).unwrap();
        store.claim().unwrap();
        store
    }

    /// Runs a statement on a store's tables as somebody from outside would.
    pub(crate) fn meddle(&self, place: &Path, sql: &str) {
        match self.on {
            On::Sqlite => {
                let outside = rusqlite::Connection::open(place).unwrap();
                outside.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
                outside.execute_batch(sql).unwrap();
            }
            #[cfg(feature = "postgres")]
            On::Postgres => {
                let database = self.database.as_ref().unwrap();
                database.run(&format!("SET search_path = {}; {sql}", database.schema_of(place)));
            }
        }
    }

    /// Whether the store is there.
    pub(crate) fn exists(&self, place: &Path) -> bool {
        match self.on {
            On::Sqlite => place.exists(),
            #[cfg(feature = "postgres")]
            On::Postgres => {
                let database = self.database.as_ref().unwrap();
                let sql = format!("SELECT to_regnamespace('{}')::text", database.schema_of(place));
                database.text(&sql).is_some()
            }
        }
    }
}
