//! On which event log the tests run: `DAYBOOK_TEST_LOG` is `embedded` (the default), `postgres` or `kurrent`. Every data
//! folder gets a log of its own: a schema of the PostgreSQL server that `DAYBOOK_TEST_POSTGRES_URL` names, or a second
//! Daybook that serves the KurrentDB protocol over its segment files.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Postgres,
    Kurrent,
}

/// What the environment chose.
pub fn backend() -> Backend {
    match std::env::var("DAYBOOK_TEST_LOG").unwrap_or_default().as_str() {
        "" | "embedded" => Backend::Embedded,
        "postgres" => Backend::Postgres,
        "kurrent" => Backend::Kurrent,
        other => panic!("DAYBOOK_TEST_LOG={other:?}: choose embedded, postgres or kurrent"),
    }
}

/// The environment that gives a Daybook on this data folder its log.
pub fn settings(data: &Path) -> Vec<(&'static str, String)> {
    match backend() {
        Backend::Embedded => Vec::new(),
        Backend::Postgres => {
            postgres_settings(&postgres_url().expect("DAYBOOK_TEST_LOG=postgres needs a server"), data)
        }
        Backend::Kurrent => {
            vec![("DAYBOOK_LOG_BACKEND", "kurrent".into()), ("DAYBOOK_LOG_URL", kurrent_url(data))]
        }
    }
}

/// The server that the environment names; `None`, said aloud, where there is none.
pub fn postgres_url() -> Option<String> {
    let url = std::env::var("DAYBOOK_TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "DAYBOOK_TEST_REQUIRE_SERVERS=1, but DAYBOOK_TEST_POSTGRES_URL is not set");
        println!("skipped: DAYBOOK_TEST_POSTGRES_URL is not set");
    }
    url
}

/// A log in a schema that belongs to the folder `owner`.
pub fn postgres_settings(url: &str, owner: &Path) -> Vec<(&'static str, String)> {
    let mut hasher = DefaultHasher::new();
    (owner, std::process::id()).hash(&mut hasher);
    vec![
        ("DAYBOOK_LOG_BACKEND", "postgres".into()),
        ("DAYBOOK_LOG_URL", url.to_owned()),
        ("DAYBOOK_LOG_SCHEMA", format!("e2e_{:016x}", hasher.finish())),
    ]
}

/// Servers of the protocol by the data folder whose log they keep. They end with this process.
static SERVERS: LazyLock<Mutex<HashMap<PathBuf, (Child, String)>>> = LazyLock::new(Mutex::default);

/// Ends what it started when its standard input does, which is when this process is gone, however that happens.
const KEEPER: &str = r#"
"$1" serve --listen 127.0.0.1:0 --kurrent-listen 127.0.0.1:0 --data "$2/data" </dev/null &
server=$!
cat >/dev/null
kill -9 "$server"
rm -rf "$2"
"#;

fn kurrent_url(data: &Path) -> String {
    let mut servers = SERVERS.lock().unwrap();
    let (_, url) = servers.entry(data.to_owned()).or_insert_with(|| {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut child = Command::new("sh")
            .args(["-c", KEEPER, "sh", env!("CARGO_BIN_EXE_daybook")])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = loop {
            let line = lines.next().expect("a line that says where the protocol is served").expect("text");
            if let Some(url) = line.strip_prefix("KurrentDB protocol on ") {
                break url.to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        (child, url)
    });
    url.clone()
}
