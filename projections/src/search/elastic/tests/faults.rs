//! A server of its own, killed, frozen and emptied under a running projection: it catches up, and says what it waits for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::super::tests::generate::log;
use super::super::super::{NAME, SearchError, SearchReader, SearchRequest};
use super::*;
use crate::generations::{Projections, Registry};
use crate::model::StoreError;
use crate::search::elastic::ElasticKind;
use crate::testing::{World, eventually};

/// A private server, ended with the test.
struct Private {
    folder: PathBuf,
    url: String,
}

impl Private {
    fn start() -> Self {
        // The server's user has to reach it: not below a folder of the test's own user alone.
        let folder = std::env::temp_dir().join(format!("daybook-elastic-{}", std::process::id()));
        let url =
            Self::script(&folder, "start_elasticsearch \"$1\" && echo \"$DAYBOOK_TEST_ELASTICSEARCH_URL\"");
        Self { folder, url: url.trim().to_owned() }
    }

    fn script(folder: &Path, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers.sh");
        let output = Command::new("bash")
            .args(["-c", &format!(". '{}' && {command}", script.display()), "bash"])
            .arg(folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.folder.join("logs/pid")).unwrap();
        assert!(Command::new("kill").args([&format!("-{name}"), pid.trim()]).status().unwrap().success());
    }

    fn restart(&self) {
        Self::script(&self.folder, "restart_elasticsearch \"$1\" immediate");
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A frozen one would not hear of its end.
        self.signal("CONT");
        Self::script(&self.folder, "stop_elasticsearch \"$1\"");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Shop {
    world: World,
    log: Log,
    projections: Projections,
    appended: usize,
}

impl Shop {
    /// Appends so many more events; the position of the last.
    fn append(&mut self, count: usize) -> u64 {
        let next = self.appended.saturating_add(count).min(self.log.events.len());
        for event in &self.log.events[self.appended..next] {
            self.world.append(event.recorded.stream(), event.event.clone());
        }
        self.appended = next;
        next as u64
    }

    fn state(&self) -> (String, String) {
        let status = self.projections.status().remove(0);
        (status.state.to_owned(), status.reason.unwrap_or_default())
    }

    fn wait(&self, position: u64) {
        let live = self.projections.live(NAME).unwrap();
        let waited = live.handle.wait_for(position, Duration::from_secs(120));
        self.world.runtime.block_on(waited).unwrap();
    }

    fn reader(&self) -> std::sync::Arc<SearchReader> {
        self.projections.live(NAME).unwrap().queries.other().unwrap()
    }

    fn rows(&self) -> Vec<(String, String)> {
        let live = self.projections.live(NAME).unwrap();
        self.world.runtime.block_on(live.handle.with_model(|model| rows(model))).unwrap()
    }
}

#[test]
fn killed_frozen_and_emptied_the_index_catches_up() {
    if url().is_none() {
        return;
    }
    let server = Private::start();
    let place = Place::new(server.url.clone());
    let options = ElasticOptions { timeout: Duration::from_secs(10), ..place.options.clone() };
    let world = World::new();
    let registry = Registry::new().with(ElasticKind::new(options).unwrap());
    let runtime = world.runtime.handle().clone();
    let projections = Projections::open(world.folder(), &registry, world.log(), runtime).unwrap();
    let mut shop = Shop { world, log: log(70, 200, 4_000), projections, appended: 0 };

    // Killed in the middle of the work, and started again while more comes in.
    let at = shop.append(800);
    server.signal("KILL");
    shop.append(400);
    eventually("the projection waits for the server", || shop.state().0 == "retrying");
    server.restart();
    shop.append(400);
    shop.wait(at + 800);

    // Frozen: what is asked fails in time, and soon at once.
    server.signal("STOP");
    let at = shop.append(400);
    eventually("the projection says what it waits for", || {
        shop.state().1.contains("Elasticsearch does not answer")
    });
    let reader = shop.reader();
    let failed = reader.search(&SearchRequest::default()).unwrap_err();
    assert!(matches!(failed, SearchError::Store(StoreError::Unavailable(_))), "{failed}");
    eventually("searches are not even tried", || {
        let asked = Instant::now();
        let failed = reader.search(&SearchRequest::default()).unwrap_err();
        failed.to_string().contains("not tried") && asked.elapsed() < Duration::from_secs(1)
    });
    server.signal("CONT");
    shop.wait(at);

    // Emptied behind our back.
    let live = shop.projections.live(NAME).unwrap();
    let before = live.handle.status().retries;
    place.server.call(Request::new(Method::Delete, format!("{}-data", place.alias()))).unwrap();
    shop.append(1);
    eventually("the loss is noticed", || live.handle.status().retries > before);
    let end = shop.append(usize::MAX);
    shop.wait(end);
    assert_eq!(shop.rows(), expected_rows(&shop.log));
    rebuilt_beside_and_swapped(&shop, &place);
    shop.world.runtime.block_on(shop.projections.stop());
}

/// A second generation, the alias that follows it, and the way back.
fn rebuilt_beside_and_swapped(shop: &Shop, place: &Place) {
    let alias = format!("{}-search", place.options.prefix);
    let named = || -> Vec<String> {
        let answer = place.server.call(Request::new(Method::Get, format!("_alias/{alias}")));
        answer.map(|indices| indices.as_object().unwrap().keys().cloned().collect()).unwrap_or_default()
    };
    let index = |generation| vec![format!("{}-data", place.options.alias_of(generation))];
    let time = Duration::from_secs(60);
    let swapped = shop.world.runtime.block_on(async {
        let next = shop.projections.begin_rebuild(NAME).await.unwrap();
        shop.projections.swap(NAME, &next, time).await.unwrap()
    });
    assert_eq!((swapped.from, swapped.to), (1, 2));
    eventually("the alias names the new generation", || named() == index(2));
    assert_eq!(shop.rows(), expected_rows(&shop.log));
    shop.world.runtime.block_on(shop.projections.rollback(NAME, time)).unwrap();
    eventually("the alias is back", || named() == index(1));
    shop.world.runtime.block_on(shop.projections.cleanup(NAME)).unwrap();
    let gone =
        place.server.call(Request::new(Method::Get, format!("{}/_mapping", place.options.alias_of(2))));
    assert!(gone.is_err(), "{}", json!(gone.ok()));
}
