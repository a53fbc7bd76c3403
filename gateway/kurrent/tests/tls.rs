//! TLS is switched on and off by the connection string. The server stands behind a terminator, as in production.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use daybook_eventlog::kurrent::{ConnectError, KurrentLog, KurrentOptions};
use daybook_eventlog::{EventLog, Expected, MemoryLog};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::common::{PATIENCE, Server, event, one};

/// Speaks TLS to clients and plain text to the server; gives its address and its certificate in PEM form.
async fn terminate_tls(server: SocketAddr) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                let _cut = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, made.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_reached_by_tls_with_its_certificate_only() {
    let server = Server::start(Arc::new(MemoryLog::new()));
    let (address, certificate) = terminate_tls(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let url = |parameters: &str| {
        let port = address.port();
        format!("kurrentdb://localhost:{port}?maxDiscoverAttempts=2&discoveryInterval=50{parameters}")
    };
    let trusted = url(&format!("&tlsCaFile={}", ca.display()));
    for (n, url) in (0..).zip([trusted, url("&tlsVerifyCert=false")]) {
        let log = timeout(PATIENCE, KurrentLog::connect(KurrentOptions::new(url))).await.unwrap().unwrap();
        log.append(one("s", Expected::Exact(n), vec![event(n.into())])).await.unwrap();
        log.close().await;
    }
    let unknown = timeout(PATIENCE, KurrentLog::connect(KurrentOptions::new(url("")))).await.unwrap();
    assert!(matches!(unknown.err(), Some(ConnectError::Unreachable { .. })));
    assert_eq!(server.log.head().await.unwrap().events, 2);
}
