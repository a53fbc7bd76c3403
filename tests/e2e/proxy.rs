//! A TCP proxy before a server, to cut its connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    address: SocketAddr,
    /// Turned with every cut, which ends every connection.
    cuts: Arc<watch::Sender<u64>>,
    refusing: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// Before the server at `host:port`.
    pub async fn before(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cuts, refusing) = (Arc::new(watch::channel(0).0), Arc::new(watch::channel(false).0));
        let proxy = Self { address, cuts: Arc::clone(&cuts), refusing: Arc::clone(&refusing) };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if *refusing.borrow() {
                    continue;
                }
                let Ok(mut server) = TcpStream::connect(&upstream).await else { continue };
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        proxy
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the server with this proxy in its place.
    pub fn url(&self, url: &str) -> String {
        url.replace(&place(url), &self.address.to_string())
    }

    /// Ends every connection; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection, and takes no new ones until told otherwise.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.send_replace(refuse);
        if refuse {
            self.cut();
        }
    }
}

/// `host:port` of a URL that names both.
pub fn place(url: &str) -> String {
    let after_user = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    after_user.split(['/', '?']).next().expect("a first part").to_owned()
}
