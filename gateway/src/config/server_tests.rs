//! Settings of servers: their mistakes are named, their secrets are not shown.

use super::*;

const PASSWORD: &str = "hunter2";

fn load(file: &str, env: &[(&str, &str)]) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daybook.toml");
    std::fs::write(&path, file).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    Config::load_with(&flags, |name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
}

fn error(file: &str, env: &[(&str, &str)]) -> String {
    format!("{:#}", load(file, env).map(|config| format!("{config:?}")).unwrap_err())
}

#[test]
fn the_log_is_chosen_by_file_and_environment() {
    assert_eq!(load("", &[]).unwrap().log.backend, LogBackend::Segment);
    let file = "[log]\nbackend = 'postgres'\nurl = 'postgres://file/d'\npool = 3\nschema = 'shop'\nrequest_timeout_ms = 250";
    let log = load(file, &[("DAYBOOK_LOG_URL", "postgres://env/d"), ("DAYBOOK_LOG_APPEND_TIMEOUT_MS", "70")])
        .unwrap()
        .log;
    assert_eq!(log.url.as_ref().unwrap().expose(), "postgres://env/d");
    assert_eq!((log.pool, log.schema.as_str()), (3, "shop"));
    assert_eq!((log.request_timeout.as_millis(), log.append_timeout.as_millis()), (250, 70));
    let log = load("", &[("DAYBOOK_LOG_BACKEND", "kurrent"), ("DAYBOOK_LOG_URL", "esdb://h:1")]).unwrap().log;
    assert!(log.backend.is_shared());
}

#[test]
fn a_url_may_lie_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("url");
    std::fs::write(&secret, "postgres://h/d\n").unwrap();
    let file = format!("[log]\nbackend = 'postgres'\nurl_file = '{}'", secret.display());
    assert_eq!(load(&file, &[]).unwrap().log.url.unwrap().expose(), "postgres://h/d");
}

#[test]
fn mistakes_of_the_log_name_the_setting_and_say_what_to_do() {
    for (file, words) in [
        ("backend = 'postgres'", ["log.url", "postgres://USER"]),
        ("backend = 'kurrent'", ["log.url", "kurrentdb://USER"]),
        ("url = 'postgres://h/d'", ["log.url", "set log.backend"]),
        ("pool = 4", ["log.pool", "set log.backend"]),
        ("backend = 'mysql'", ["mysql", "segment"]),
        ("backend = 'postgres'\nurl = 'postgres://h/d'\npool = 0", ["log.pool", "1 to 1000"]),
        (
            "backend = 'postgres'\nurl = 'postgres://h/d'\nrequest_timeout_ms = 0",
            ["log.request_timeout_ms", "600000"],
        ),
        ("backend = 'kurrent'\nurl = 'esdb://h'\nschema = 'x'", ["log.schema", "\"postgres\""]),
        ("backend = 'postgres'\nurl = 'postgres://h/d'\ntls_ca = '/none.pem'", ["log.tls_ca", "/none.pem"]),
        ("backend = 'postgres'\nurl_file = '/none'", ["log.url_file", "/none"]),
        ("backend = 'postgres'\nurl = 'a://b'\nurl_file = '/none'", ["log.url_file", "keep one"]),
        ("colour = 'red'", ["colour", "backend"]),
    ] {
        let error = error(&format!("[log]\n{file}"), &[]);
        assert!(words.iter().all(|word| error.contains(word)), "{file}: {error}");
    }
    let error = error("", &[("DAYBOOK_LOG_BACKEND", "mongo")]);
    assert!(error.contains("DAYBOOK_LOG_BACKEND") && error.contains("postgres"), "{error}");
}

#[test]
fn read_models_are_in_files_or_on_a_server() {
    assert!(matches!(load("", &[]).unwrap().read_models, ReadModelConfig::Sqlite));
    let file =
        "[read_models]\nbackend = 'postgres'\nurl = 'postgres://file/d'\npool = 3\nquery_timeout_ms = 250";
    let env = [("DAYBOOK_READ_MODELS_URL", "postgres://env/d"), ("DAYBOOK_READ_MODELS_SCHEMA", "shop")];
    let ReadModelConfig::Postgres(server) = load(file, &env).unwrap().read_models else { panic!("a server") };
    assert_eq!((server.url.expose(), server.schema.as_str(), server.pool), ("postgres://env/d", "shop", 3));
    assert_eq!((server.query_timeout.as_millis(), server.write_timeout.as_millis()), (250, 30_000));
}

#[test]
fn mistakes_of_the_read_models_name_the_setting_and_say_what_to_do() {
    for (file, words) in [
        ("backend = 'postgres'", ["read_models.url", "postgres://USER"]),
        ("url = 'postgres://h/d'", ["read_models.url", "set read_models.backend"]),
        ("pool = 4", ["read_models.pool", "remove read_models.pool"]),
        ("url_file = '/none'", ["read_models.url_file", "set read_models.backend"]),
        ("backend = 'mysql'", ["mysql", "sqlite"]),
        ("backend = 'postgres'\nurl = 'postgres://h/d'\npool = 0", ["read_models.pool", "1 to 1000"]),
        (
            "backend = 'postgres'\nurl = 'postgres://h/d'\nquery_timeout_ms = 0",
            ["read_models.query_timeout_ms", "600000"],
        ),
        (
            "backend = 'postgres'\nurl = 'postgres://h/d'\ntls_ca = '/none.pem'",
            ["read_models.tls_ca", "/none.pem"],
        ),
        ("backend = 'postgres'\nurl_file = '/none'", ["read_models.url_file", "/none"]),
        ("backend = 'postgres'\nurl = 'a://b'\nurl_file = '/none'", ["read_models.url_file", "keep one"]),
        ("colour = 'red'", ["colour", "backend"]),
    ] {
        let error = error(&format!("[read_models]\n{file}"), &[]);
        assert!(words.iter().all(|word| error.contains(word)), "{file}: {error}");
    }
    let error = error("", &[("DAYBOOK_READ_MODELS_POOL", "4")]);
    assert!(error.contains("read_models.pool"), "{error}");
}

#[test]
fn secrets_are_never_printed() {
    let file = format!(
        "[log]\nbackend = 'postgres'\nurl = 'postgres://ada:{PASSWORD}@h/d'\n\
         [read_models]\nbackend = 'postgres'\nurl = 'postgres://ada:{PASSWORD}@h/d'\n\
         [kurrent_server]\nlisten = '127.0.0.1:2113'\nuser = 'admin'\npassword = '{PASSWORD}'"
    );
    let config = load(&file, &[]).unwrap();
    let shown = format!("{config:?}{}", serde_json::to_string(&config.provenance).unwrap());
    assert!(!shown.contains(PASSWORD) && shown.contains("ada:***@h/d"), "{shown}");
    // Nor by an error about something else.
    let wrong = error(&format!("{file}\n[limits]\nbody_bytes = -1"), &[]);
    assert!(wrong.contains("body_bytes"), "{wrong}");
    // Nor by one about the very line.
    for (line, word) in [
        (format!("urll = 'postgres://ada:{PASSWORD}@h/d'"), "line 3, urll"),
        (format!("pool = 'postgres://ada:{PASSWORD}@h/d'"), "line 3, pool"),
        (format!("backend = 'postgres://ada:{PASSWORD}@h/d'"), "line 3, backend"),
        (format!("url = 'postgres://ada:{PASSWORD}@h/d"), "line 3"),
        (format!("url = 'postgres://ada:{PASSWORD}@h/d' x"), "line 3"),
    ] {
        let wrong = error(&format!("[log]\n\n{line}\n"), &[]);
        assert!(wrong.contains(word) && !wrong.contains(PASSWORD), "{wrong}");
    }
}

#[test]
fn a_certificate_authority_turns_tls_on() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
    let url = |backend: &str, url: &str| {
        let file = format!("[log]\nbackend = '{backend}'\nurl = '{url}'\ntls_ca = '{}'", ca.display());
        load(&file, &[]).unwrap().log.server_url().unwrap().expose().to_owned()
    };
    let postgres = url("postgres", "postgres://h/d");
    assert!(
        postgres.contains("?sslmode=verify-full&sslrootcert=") && postgres.ends_with("ca.pem"),
        "{postgres}"
    );
    assert!(url("postgres", "postgres://h/d?sslmode=verify-ca").contains("sslmode=verify-ca&sslrootcert="));
    assert!(url("kurrent", "esdb://h").contains("?tls=true&tlsCaFile="));
}

#[test]
fn the_protocol_is_served_to_strangers_only_with_a_user() {
    let exposure = |text: &str| load(&format!("[kurrent_server]\n{text}"), &[]).unwrap().check_exposure();
    assert!(exposure("listen = '127.0.0.1:2113'").is_ok());
    let error_text = exposure("listen = '0.0.0.0:2113'").unwrap_err().to_string();
    assert!(error_text.contains("kurrent_server.user"), "{error_text}");
    assert!(exposure("listen = '0.0.0.0:2113'\nuser = 'a'\npassword = 'b'").is_ok());
    for (text, word) in [
        ("user = 'a'\npassword = 'b'", "kurrent_server.listen"),
        ("listen = '127.0.0.1:1'\nuser = 'a'", "kurrent_server.password"),
        ("listen = '127.0.0.1:1'\nuser = 'a:b'\npassword = 'c'", "colon"),
    ] {
        let error = error(&format!("[kurrent_server]\n{text}"), &[]);
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn the_search_is_chosen_by_file_and_environment() {
    assert_eq!(load("", &[]).unwrap().search.backend, SearchBackend::Tantivy);
    let file = "[search]\nbackend = 'elasticsearch'\nurl = 'https://ada:hunter2@h:9200'\nprefix = 'shop'\nreplicas = 2";
    let config = load(file, &[("DAYBOOK_SEARCH_REQUEST_TIMEOUT_MS", "70")]).unwrap();
    let search = &config.search;
    assert_eq!((search.prefix.as_str(), search.shards, search.replicas), ("shop", 1, 2));
    assert_eq!(search.request_timeout.as_millis(), 70);
    let shown = format!("{config:?}{}", serde_json::to_string(&config.provenance).unwrap());
    assert!(!shown.contains(PASSWORD) && shown.contains("ada:***@h:9200"), "{shown}");
}

#[test]
fn mistakes_of_search_and_relay_name_the_setting_and_say_what_to_do() {
    let elastic = "[search]\nbackend = 'elasticsearch'\nurl = 'http://h:9200'";
    let relay = "[relay]\nurl = 'nats://h:4222'";
    for (file, words) in [
        ("[search]\nbackend = 'elasticsearch'".to_owned(), ["search.url", "https://USER"]),
        ("[search]\nbackend = 'solr'".to_owned(), ["solr", "tantivy"]),
        ("[search]\nurl = 'http://h:9200'".to_owned(), ["search.url", "set search.backend"]),
        ("[search]\nshards = 2".to_owned(), ["search.shards", "set search.backend"]),
        (format!("{elastic}\nprefix = 'Shop'"), ["search.prefix", "lower-case"]),
        (format!("{elastic}\nshards = 0"), ["search.shards", "1 to 1000"]),
        (format!("{elastic}\nurl_file = '/none'"), ["search.url_file", "keep one"]),
        (format!("{elastic}\ntls_ca = '/none.pem'"), ["search.tls_ca", "/none.pem"]),
        (format!("{elastic}\nrequest_timeout_ms = 0"), ["search.request_timeout_ms", "600000"]),
        ("[relay]\nprefix = 'a'".to_owned(), ["relay.prefix", "relay.url"]),
        ("[relay]\nurl = 'http://h'".to_owned(), ["relay.url", "nats://HOST"]),
        (format!("{relay}\nprefix = 'a.b'"), ["relay.prefix", "letters"]),
        (format!("{relay}\nsource = ''"), ["relay.source", "URI"]),
        (format!("{relay}\nreplicas = 0"), ["relay.replicas", "1 to 5"]),
        (format!("{relay}\nmax_age_hours = 0"), ["relay.max_age_hours", "hours"]),
        (format!("{relay}\ncolour = 'red'"), ["colour", "prefix"]),
    ] {
        let error = error(&file, &[]);
        assert!(words.iter().all(|word| error.contains(word)), "{file}: {error}");
    }
    let variable = error("", &[("DAYBOOK_RELAY_SOURCE", "/x")]);
    assert!(variable.contains("relay.source"), "{variable}");
}

#[test]
fn events_are_published_where_an_address_is_given() {
    assert!(load("", &[]).unwrap().relay.is_none());
    let file = "[relay]\nurl = 'nats://ada:hunter2@h:4222'\nmax_age_hours = 2\nmax_bytes = 1000";
    let config = load(file, &[("DAYBOOK_RELAY_PREFIX", "shop")]).unwrap();
    let shown = format!("{config:?}{}", serde_json::to_string(&config.provenance).unwrap());
    assert!(!shown.contains(PASSWORD), "{shown}");
    let relay = config.relay.unwrap();
    assert_eq!(
        (relay.prefix.as_str(), relay.max_bytes, relay.max_age.as_secs()),
        ("shop", Some(1_000), 7_200)
    );
}
