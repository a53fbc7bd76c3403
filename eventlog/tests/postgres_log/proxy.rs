//! A TCP proxy before the server, to cut connections and to lose replies.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything passes.
    Open,
    /// What the server says is thrown away.
    LoseReplies,
    /// New connections are closed at once.
    Refuse,
}

pub(crate) struct Proxy {
    port: u16,
    upstream: (String, u16),
    mode: Arc<watch::Sender<Mode>>,
    /// Counts cuts; each ends every connection.
    cuts: Arc<watch::Sender<u64>>,
}

impl Proxy {
    /// Before the server at this URL.
    pub(crate) async fn before(url: &str) -> Self {
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let upstream = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, cuts) = (Arc::new(watch::channel(Mode::Open).0), Arc::new(watch::channel(0).0));
        let proxy = Self { port, upstream: upstream.clone(), mode: mode.clone(), cuts: cuts.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *mode.borrow() != Mode::Refuse
                    && let Ok(server) = TcpStream::connect(&upstream).await
                {
                    tokio::spawn(relay(client, server, mode.subscribe(), cuts.subscribe()));
                }
            }
        });
        proxy
    }

    /// The URL through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let direct = format!("@{}:{}/", self.upstream.0, self.upstream.1);
        assert!(url.contains(&direct), "the server's URL names host and port");
        url.replace(&direct, &format!("@127.0.0.1:{}/", self.port))
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mode: watch::Receiver<Mode>,
    mut cuts: watch::Receiver<u64>,
) {
    let (mut from_client, mut from_server) = ([0; 16_384], [0; 16_384]);
    loop {
        tokio::select! {
            _ = cuts.changed() => return,
            read = client.read(&mut from_client) => match read {
                Ok(n) if n > 0 => if server.write_all(&from_client[..n]).await.is_err() { return },
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(n) if n > 0 => {
                    let lost = *mode.borrow() == Mode::LoseReplies;
                    if !lost && client.write_all(&from_server[..n]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
}
