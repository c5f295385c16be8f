//! A member's network: it can be taken away, and come back.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A port that leads to a server, as long as it does.
pub(crate) struct Way {
    address: SocketAddr,
    /// Cancelled when it leads nowhere.
    up: Arc<Mutex<CancellationToken>>,
    end: CancellationToken,
}

impl Way {
    pub(crate) async fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let way = Self { address: listener.local_addr()?, up: Arc::default(), end: CancellationToken::new() };
        let up = Arc::clone(&way.up);
        tokio::spawn(way.end.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                let up = up.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tokio::spawn(up.run_until_cancelled_owned(relay(client, server)));
            }
        }));
        Ok(way)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes it away: what is on it breaks, and nothing new gets through.
    pub(crate) fn set(&self, is_up: bool) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        if is_up {
            *up = CancellationToken::new();
        } else {
            up.cancel();
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.set(false);
        self.end.cancel();
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // Without delay, both ways: what is measured here is a protocol.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
