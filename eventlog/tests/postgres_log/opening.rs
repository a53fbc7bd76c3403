//! What can be wrong at the start, and that the error names what to do.

use daybook_eventlog::postgres::{ConnectError, PostgresLog, PostgresOptions};
use daybook_eventlog::{EventLog, Expected};
use sqlx::postgres::PgConnectOptions;

use crate::support::{Database, append, happened, stream};

async fn error_of(options: PostgresOptions) -> ConnectError {
    PostgresLog::connect(options).await.err().expect("an error")
}

/// The URL with another user, password, port or database.
fn url_with(url: &str, user: &str, password: &str, port: Option<u16>, database: &str) -> String {
    let options: PgConnectOptions = url.parse().unwrap();
    let port = port.unwrap_or(options.get_port());
    format!("postgres://{user}:{password}@{}:{port}/{database}", options.get_host())
}

#[tokio::test]
async fn errors_name_what_to_do() {
    let Some(database) = Database::fresh() else { return };
    let options = |url: String| PostgresOptions { url, ..database.options() };
    let url = &database.url;

    let refused = error_of(options(url_with(url, "daybook", "wrong", None, "postgres"))).await;
    assert!(matches!(refused, ConnectError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("password"), "{refused}");
    assert!(!refused.to_string().contains("wrong@"), "no password in messages");

    let missing = error_of(options(url_with(url, "daybook", "daybook", None, "nowhere"))).await;
    assert!(matches!(missing, ConnectError::NoDatabase { .. }), "{missing}");
    assert!(missing.to_string().contains("createdb"), "{missing}");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = error_of(options(url_with(url, "daybook", "daybook", Some(free), "postgres"))).await;
    assert!(matches!(silent, ConnectError::Unreachable { .. }), "{silent}");
    assert!(silent.to_string().contains(&free.to_string()), "{silent}");

    let bad = error_of(options("localhost/daybook".into())).await;
    assert!(matches!(bad, ConnectError::Url(_)), "{bad}");
    assert!(bad.to_string().contains("postgres://USER"), "{bad}");
}

#[tokio::test]
async fn a_user_with_few_rights_writes_once_the_tables_are_there() {
    let Some(database) = Database::fresh() else { return };
    let schema = &database.schema;
    let role = format!("r{schema}");
    database.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'few'")).await;
    let url = url_with(&database.url, &role, "few", None, "postgres");
    let few = || PostgresOptions { url: url.clone(), ..database.options() };
    let error = error_of(few()).await;
    assert!(matches!(error, ConnectError::Rights { .. }), "{error}");
    assert!(error.to_string().contains(&role), "{error}");

    database.log().await.close().await;
    let error = error_of(few()).await;
    assert!(error.to_string().contains("USAGE on the schema"), "{error}");
    database
        .run(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT SELECT, INSERT ON events TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON snapshots TO {role};
             GRANT SELECT, UPDATE ON event_log_head TO {role};
             GRANT SELECT, INSERT, UPDATE ON event_log_leases TO {role};
             GRANT SELECT ON _sqlx_migrations TO {role};"
        ))
        .await;
    let log = PostgresLog::connect(few()).await.unwrap();
    let appended = log.append(append(&stream("a-1"), Expected::Exact(0), vec![happened(1)])).await.unwrap();
    assert_eq!(appended.first, 1);
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused() {
    let Some(database) = Database::fresh() else { return };
    database.log().await.close().await;
    database
        .run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (77, 'later', true, '', 0)",
        )
        .await;
    let error = error_of(database.options()).await;
    assert!(matches!(error, ConnectError::Newer { found: 77, .. }), "{error}");
    assert!(error.to_string().contains("newer Daybook"), "{error}");
    database
        .run("DELETE FROM _sqlx_migrations WHERE version = 77; UPDATE _sqlx_migrations SET checksum = ''")
        .await;
    let error = error_of(database.options()).await;
    assert!(matches!(error, ConnectError::Altered { version: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_database_that_is_not_in_utf8_is_refused() {
    let Some(database) = Database::fresh() else { return };
    let name = format!("ascii_{}", database.schema);
    database.run(&format!("CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")).await;
    let url = url_with(&database.url, "daybook", "daybook", None, &name);
    let error = error_of(PostgresOptions::new(url)).await;
    assert!(error.to_string().contains("ENCODING 'UTF8'"), "{error}");
    database.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

#[tokio::test]
async fn several_daybooks_may_start_on_an_empty_database_at_once() {
    let Some(database) = Database::fresh() else { return };
    let starting: Vec<_> = (0..4).map(|_| tokio::spawn(PostgresLog::connect(database.options()))).collect();
    for start in starting {
        let log = start.await.unwrap().unwrap();
        log.append(append(&stream("a-1"), Expected::Any, vec![happened(1)])).await.unwrap();
    }
    assert_eq!(database.log().await.head().await.unwrap().events, 4);
}

#[tokio::test]
async fn tls_is_used_and_checked_as_the_url_asks() {
    let Some(database) = Database::fresh() else { return };
    let Ok(ca) = std::env::var("DAYBOOK_TEST_POSTGRES_CA") else {
        println!("skipped: DAYBOOK_TEST_POSTGRES_CA is not set");
        return;
    };
    let with = |parameters: &str| PostgresOptions {
        url: format!("{}?{parameters}", database.url),
        ..database.options()
    };
    let log = PostgresLog::connect(with(&format!("sslmode=verify-full&sslrootcert={ca}"))).await.unwrap();
    let encrypted: bool = sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(log.pool())
        .await
        .unwrap();
    assert!(encrypted);
    log.append(append(&stream("a-1"), Expected::Exact(0), vec![happened(1)])).await.unwrap();

    // Nobody of the system's authorities vouches for the test's certificate.
    let error = error_of(with("sslmode=verify-full")).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("sslrootcert"), "{error}");
    let error = error_of(with("sslmode=verify-full&sslrootcert=/nonexistent/ca.pem")).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
}
