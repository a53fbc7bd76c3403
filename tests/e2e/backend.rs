//! On which backends the tests run. Each data folder gets its own share of each.
//!
//! - `DAYBOOK_TEST_LOG`: `embedded` (the default); `postgres`, a schema of the server that `DAYBOOK_TEST_POSTGRES_URL` names;
//!   `kurrent`, a second Daybook that serves the KurrentDB protocol over its segment files
//! - `DAYBOOK_TEST_SEARCH`: `embedded` (the default) or `elasticsearch`, an index at `DAYBOOK_TEST_ELASTICSEARCH_URL`
//! - `DAYBOOK_TEST_RELAY`: unset, or `nats`, a stream at `DAYBOOK_TEST_NATS_URL`
//! - `DAYBOOK_TEST_READ_MODELS`: `sqlite` (the default) or `postgres`, schemas of the same server as the log's

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use crate::own_server::Kind;

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

/// Whether the environment wants the read models of tables on PostgreSQL, too.
pub fn read_models_on_postgres() -> bool {
    match std::env::var("DAYBOOK_TEST_READ_MODELS").unwrap_or_default().as_str() {
        "" | "sqlite" => false,
        "postgres" => true,
        other => panic!("DAYBOOK_TEST_READ_MODELS={other:?}: choose sqlite or postgres"),
    }
}

/// For tests that reach into the files of read models; says aloud that they do not run.
pub fn read_models_are_files() -> bool {
    if read_models_on_postgres() {
        println!("skipped: it damages the files of read models");
    }
    !read_models_on_postgres()
}

type Settings = Vec<(&'static str, String)>;

/// The environment that gives a Daybook on this data folder its backends.
pub fn settings(data: &Path) -> Settings {
    let mut settings = log_settings(data);
    let needed = "the chosen backend needs its server";
    if read_models_on_postgres() {
        settings.extend(read_model_settings(&postgres_url().expect(needed), data));
    }
    match std::env::var("DAYBOOK_TEST_SEARCH").unwrap_or_default().as_str() {
        "" | "embedded" => {}
        "elasticsearch" => {
            settings.extend(elastic_settings(&server_url(Kind::Elasticsearch).expect(needed), data));
        }
        other => panic!("DAYBOOK_TEST_SEARCH={other:?}: choose embedded or elasticsearch"),
    }
    match std::env::var("DAYBOOK_TEST_RELAY").unwrap_or_default().as_str() {
        "" => {}
        "nats" => settings.extend(relay_settings(&server_url(Kind::Nats).expect(needed), data)),
        other => panic!("DAYBOOK_TEST_RELAY={other:?}: choose nats"),
    }
    settings
}

fn log_settings(data: &Path) -> Settings {
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
pub fn server_url(kind: Kind) -> Option<String> {
    let variable = format!("DAYBOOK_TEST_{}_URL", kind.name().to_uppercase());
    let url = std::env::var(&variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("DAYBOOK_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        assert!(!required, "DAYBOOK_TEST_REQUIRE_SERVERS=1, but {variable} is not set");
        println!("skipped: {variable} is not set");
    }
    url
}

pub fn postgres_url() -> Option<String> {
    server_url(Kind::Postgres)
}

/// A name that no other folder has on the servers.
fn share_of(owner: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    (owner, std::process::id()).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Search in an index that belongs to the folder `owner`.
pub fn elastic_settings(url: &str, owner: &Path) -> Settings {
    vec![
        ("DAYBOOK_SEARCH_BACKEND", "elasticsearch".into()),
        ("DAYBOOK_SEARCH_URL", url.to_owned()),
        ("DAYBOOK_SEARCH_PREFIX", format!("e2e-{}", share_of(owner))),
    ]
}

/// Events on a stream that belongs to the folder `owner`.
pub fn relay_settings(url: &str, owner: &Path) -> Settings {
    vec![("DAYBOOK_RELAY_URL", url.to_owned()), ("DAYBOOK_RELAY_PREFIX", relay_prefix(owner))]
}

pub fn relay_prefix(owner: &Path) -> String {
    format!("e2e-{}", share_of(owner))
}

/// A log in a schema that belongs to the folder `owner`.
pub fn postgres_settings(url: &str, owner: &Path) -> Settings {
    vec![
        ("DAYBOOK_LOG_BACKEND", "postgres".into()),
        ("DAYBOOK_LOG_URL", url.to_owned()),
        ("DAYBOOK_LOG_SCHEMA", format!("e2e_{}", share_of(owner))),
    ]
}

/// Read models in schemas that belong to the folder `owner`.
pub fn read_model_settings(url: &str, owner: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("DAYBOOK_READ_MODELS_BACKEND", "postgres".into()),
        ("DAYBOOK_READ_MODELS_URL", url.to_owned()),
        ("DAYBOOK_READ_MODELS_SCHEMA", format!("rm_{}", share_of(owner))),
        // Many gateways of many tests share the server.
        ("DAYBOOK_READ_MODELS_POOL", "4".into()),
    ]
}

/// All that several gateways can share, in shares of the folder `owner`: the log, the read models of tables, and, where there is a
/// server for it, search. `None`, said aloud, without PostgreSQL.
pub fn shared_settings(owner: &Path) -> Option<Settings> {
    let url = postgres_url()?;
    let mut settings = postgres_settings(&url, owner);
    settings.extend(read_model_settings(&url, owner));
    settings.extend(server_url(Kind::Elasticsearch).iter().flat_map(|url| elastic_settings(url, owner)));
    Some(settings)
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
