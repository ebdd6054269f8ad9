//! A way to a server that counts how often a client has to wait: it stands in between in plain text and looks at who speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What was counted since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) connections: u64,
    /// Bursts of commands that were sent after something was heard, the greeting included: each costs a round trip.
    pub(crate) flights: u64,
    /// Both ways together.
    pub(crate) bytes: u64,
}

/// Listens on a port of its own until it is dropped.
pub(crate) struct Flights {
    port: u16,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    flights: AtomicU64,
    bytes: AtomicU64,
}

impl Flights {
    /// Leads to a port on 127.0.0.1.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                counted.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, server, Arc::clone(&counted)));
            }
        });
        Self { port, counts, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Gives what was counted, and begins anew.
    pub(crate) fn take(&self) -> Counted {
        let take = |count: &AtomicU64| count.swap(0, Ordering::SeqCst);
        let Counts { connections, flights, bytes } = &*self.counts;
        Counted { connections: take(connections), flights: take(flights), bytes: take(bytes) }
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, counts: Arc<Counts>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let heard = AtomicBool::new(false);
    let sent = |count: usize| {
        counts.bytes.fetch_add(count as u64, Ordering::SeqCst);
        if heard.swap(false, Ordering::SeqCst) {
            counts.flights.fetch_add(1, Ordering::SeqCst);
        }
    };
    let told = |count: usize| {
        counts.bytes.fetch_add(count as u64, Ordering::SeqCst);
        heard.store(true, Ordering::SeqCst);
    };
    tokio::select! {
        () = pass(from_client, to_server, sent) => {}
        () = pass(from_server, to_client, told) => {}
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, seen: impl Fn(usize)) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut bytes).await {
        if count == 0 {
            return;
        }
        // Before it goes on: what it leads to comes later.
        seen(count);
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
