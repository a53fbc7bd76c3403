//! Where an import goes on after it was broken off.

use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daybook_commands::{Dispatcher, ManualClock, Principal};
use daybook_eventlog::{EventLog, MemoryLog};
use daybook_schemas::Timestamp;

use super::*;

const ROWS: u64 = 700;
/// Rows that the first batch has, after which the place is noted.
const FIRST: u64 = 512;

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

/// Lines of which the third is no row.
fn lines() -> String {
    let line = |n: u64| match n {
        3 => "not a row\n".to_owned(),
        n => format!(
            "{{\"id\":\"v{n}\",\"data\":{{\"product_id\":\"p{n}\",\"name\":\"N\",\"brand\":\"B\",\"category\":\"C\"}}}}\n"
        ),
    };
    (1..=ROWS).map(line).collect()
}

struct Shop {
    log: Arc<dyn EventLog>,
    dispatcher: Dispatcher,
}

impl Shop {
    async fn open() -> Self {
        let log: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000_000)));
        let dispatcher = Dispatcher::start(Arc::clone(&log), Default::default(), clock).await.unwrap();
        Self { log, dispatcher }
    }

    /// Imports the lines; `broken` breaks the file off after them.
    async fn import(
        &self,
        folder: &Path,
        errors: &str,
        broken: bool,
        dry_run: bool,
    ) -> Result<Report, ImportError> {
        let open = move || -> io::Result<Box<dyn Read + Send>> {
            let lines = Cursor::new(lines().into_bytes());
            let rows: Box<dyn Read + Send> =
                if broken { Box::new(lines.chain(Broken)) } else { Box::new(lines) };
            Ok(rows)
        };
        let place = Some(folder.join("place"));
        let input = Input { open: Box::new(open), place, log: Arc::clone(&self.log) };
        let options = Options { dry_run, note_every: Duration::ZERO, ..Options::default() };
        let mut errors = Errors::new(folder.join(errors));
        import(input, &self.dispatcher, &Principal::system(), options, &mut errors, |_| {}).await
    }

    async fn break_off(&self, folder: &Path) {
        self.import(folder, "errors", true, false).await.unwrap_err();
        assert!(folder.join("place").exists());
    }
}

fn refused(folder: &Path, errors: &str) -> usize {
    std::fs::read_to_string(folder.join(errors)).unwrap().lines().count()
}

#[tokio::test]
async fn an_import_goes_on_where_it_was_broken_off() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), Shop::open().await);
    shop.break_off(folder.path()).await;
    let report = shop.import(folder.path(), "errors", false, false).await.unwrap();
    assert_eq!((report.rows, report.refused, report.resumed_after), (ROWS, 1, FIRST));
    assert_eq!(refused(folder.path(), "errors"), 1);
    assert!(!folder.path().join("place").exists());
}

#[tokio::test]
async fn a_place_is_not_believed_where_the_file_of_refused_rows_is_not_what_it_was() {
    for errors in ["errors", "elsewhere"] {
        let (folder, shop) = (tempfile::tempdir().unwrap(), Shop::open().await);
        shop.break_off(folder.path()).await;
        if errors == "errors" {
            std::fs::write(folder.path().join("errors"), "x").unwrap();
        }
        let report = shop.import(folder.path(), errors, false, false).await.unwrap();
        assert_eq!((report.rows, report.refused, report.resumed_after), (ROWS, 1, 0), "{errors}");
        assert_eq!(refused(folder.path(), errors), 1);
    }
}

#[tokio::test]
async fn a_dry_run_in_between_costs_the_place() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), Shop::open().await);
    shop.break_off(folder.path()).await;
    shop.import(folder.path(), "elsewhere", false, true).await.unwrap();
    assert!(folder.path().join("place").exists(), "another file of refused rows is nothing to it");
    shop.import(folder.path(), "errors", false, true).await.unwrap();
    assert!(!folder.path().join("place").exists());
}

#[tokio::test]
async fn a_place_of_another_log_is_not_believed() {
    let (folder, shop) = (tempfile::tempdir().unwrap(), Shop::open().await);
    shop.break_off(folder.path()).await;
    let other = Shop::open().await;
    let report = other.import(folder.path(), "errors", false, false).await.unwrap();
    assert_eq!((report.created, report.resumed_after), (ROWS - 1, 0));
}
