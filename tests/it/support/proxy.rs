//! A way to a real server that loses answers: it stands between client and server in plain text, reads both well enough to
//! know commands from literals, and now and then cuts the connection in place of the tagged answer to an APPEND.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Listens on a port of its own until it is dropped.
pub(crate) struct Proxy {
    port: u16,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// What the two directions of a connection tell each other.
type Tags = Arc<std::sync::Mutex<BTreeSet<Vec<u8>>>>;

impl Proxy {
    /// Leads to a port on 127.0.0.1 and loses the answer to every `each`-th APPEND.
    pub(crate) async fn start(server: u16, each: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (count, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let (count, lost) = (Arc::clone(&count), Arc::clone(&counted));
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let doomed = Tags::default();
                    // The first direction that ends takes the other along, and with it the connection.
                    tokio::select! {
                        () = commands(from_client, to_server, &doomed, &count, each) => {}
                        () = answers(from_server, to_client, &doomed, &lost) => {}
                    }
                });
            }
        });
        Self { port, lost, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Gives how many answers were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn commands(from: OwnedReadHalf, mut to: OwnedWriteHalf, doomed: &Tags, count: &AtomicU64, each: u64) {
    let mut from = BufReader::new(from);
    let mut in_command = false;
    while let Some(line) = line(&mut from).await {
        if !in_command {
            let mut words = line.split(|byte| *byte == b' ');
            let tag = words.next().unwrap_or_default().to_vec();
            let is_append = words.next().is_some_and(|verb| verb.eq_ignore_ascii_case(b"APPEND"));
            if is_append && (count.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(each) {
                doomed.lock().unwrap().insert(tag);
            }
        }
        in_command = literal(&line).is_some();
        if !pass(&mut from, &mut to, &line).await {
            return;
        }
    }
}

async fn answers(from: OwnedReadHalf, mut to: OwnedWriteHalf, doomed: &Tags, lost: &AtomicU64) {
    let mut from = BufReader::new(from);
    while let Some(line) = line(&mut from).await {
        let tag = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if doomed.lock().unwrap().contains(tag) {
            lost.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if !pass(&mut from, &mut to, &line).await {
            return;
        }
    }
}

async fn line(from: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await.ok().filter(|read| *read > 0)?;
    Some(line)
}

/// Sends a line on, and the literal that it announces.
async fn pass(from: &mut BufReader<OwnedReadHalf>, to: &mut OwnedWriteHalf, line: &[u8]) -> bool {
    if to.write_all(line).await.is_err() {
        return false;
    }
    let Some(size) = literal(line) else { return true };
    tokio::io::copy(&mut from.take(size), to).await.is_ok_and(|sent| sent == size)
}

/// Gives the size of a literal that follows a line.
fn literal(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?.strip_suffix(b"}")?;
    let digits = &line[line.iter().rposition(|byte| *byte == b'{')? + 1..];
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    std::str::from_utf8(digits).ok()?.parse().ok()
}
