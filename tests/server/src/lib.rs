//! An IMAP4rev1 server in the process, for tests, examples and benchmarks.
//!
//! It speaks to clients over loopback TLS, STARTTLS, plain text or in-memory streams; it keeps mail in memory; it is
//! strict about syntax, follows the RFCs where they decide and Dovecot 2.3 where they leave a choice; every extension can
//! be switched off ([`Features`]); and it fails on demand ([`Faults`]). Nothing of mailhaul is in it, so that it stays an
//! independent witness.
//!
//! | module | what lives there |
//! |---|---|
//! | `config` | users, TLS, switches |
//! | `persona` | configurations that are providers |
//! | `budget` | how much a user may ask before the server wants to be left alone |
//! | `store` | folders and messages, for sessions and for tests |
//! | `faults` | rules of what goes wrong where |
//! | `log` | what was asked, counters |
//! | `tls` | certificates, good and bad |
//! | `generate` | mailboxes with nasty names and messages, the same ones for the same seed |
//! | `session` | the commands |
//! | `parser`, `names`, `dates`, `mime`, `wire` | syntax, LIST patterns, dates, message sections, bytes |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use mailhaul_testserver::{Config, NewMessage, Server};
//!
//! let server = Server::start(Config::with_user("ann", "secret")).await?;
//! let ann = server.account("ann");
//! ann.create("Sent").map_err(std::io::Error::other)?;
//! ann.add("Sent", NewMessage::new("Subject: hello\r\n\r\nhello\r\n").flags("\\Seen $Forwarded"))
//!     .map_err(std::io::Error::other)?;
//! println!("port {}, trusted through {} bytes of PEM", server.port(), server.ca_pem().len());
//! server.stop().await;
//! # Ok(()) }
//! ```

mod budget;
mod config;
pub mod dates;
mod faults;
pub mod generate;
mod log;
mod mime;
mod names;
mod parser;
mod persona;
mod session;
mod store;
mod tls;
mod wire;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use budget::Budget;
pub use config::{Config, Doubles, Features, Keywords, Literals, Mechanism, TlsMode, User};
pub use faults::{Act, Falsehood, Faults, Gate, Held, Lie, Nth, Point, Rule, RuleId};
pub use log::{Logged, Moved, Stats};
pub use store::{
    Account, Body, FolderInfo, FolderSpec, Layout, Message, NewMessage, Store, StoreError, normalise_flags,
};
pub use tls::{Ca, CertKind};

use budget::Budgets;
use log::Log;
use session::Session;
use wire::{Stream, Wire};

/// Bytes an in-memory connection holds in each direction.
const DUPLEX_BYTES: usize = 64 * 1024;

/// A running server. When it is dropped, its tasks are aborted and its port is given back as soon as the runtime gets to
/// it; [`Server::stop`] waits for that.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    addr: Option<SocketAddr>,
    ca: Option<Ca>,
}

/// What the connections of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) users: Mutex<Vec<User>>,
    pub(crate) faults: Faults,
    pub(crate) budgets: Budgets,
    pub(crate) log: Log,
    pub(crate) tls: Option<TlsAcceptor>,
    tasks: Mutex<JoinSet<()>>,
    next_connection: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server on 127.0.0.1 with an empty account for each user.
    pub async fn start(config: Config) -> io::Result<Server> {
        let store = Store::new(config.layout.clone());
        Server::start_with(config, store).await
    }

    /// Starts a server on 127.0.0.1 with a store that exists, perhaps on the port of the server that had it. Names are
    /// built as the store's layout says, not the configuration's.
    pub async fn start_with(config: Config, store: Store) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let addr = listener.local_addr()?;
        let mut server = Server::make(config, store)?;
        server.addr = Some(addr);
        let shared = server.shared.clone();
        server.shared.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A failure costs speed alone.
                let _ = stream.set_nodelay(true);
                shared.serve(Stream::Tcp(stream));
            }
        });
        Ok(server)
    }

    /// Makes a server without a socket, reached by [`Server::connect`] alone; needs a runtime only for that.
    pub fn in_memory(config: Config) -> io::Result<Server> {
        let store = Store::new(config.layout.clone());
        Server::in_memory_with(config, store)
    }

    /// Makes a server without a socket on a store that exists.
    pub fn in_memory_with(config: Config, store: Store) -> io::Result<Server> {
        Server::make(Config { tls: TlsMode::None, ..config }, store)
    }

    fn make(config: Config, store: Store) -> io::Result<Server> {
        let (ca, tls) = match config.tls {
            TlsMode::None => (config.ca.clone(), None),
            TlsMode::Implicit | TlsMode::StartTls => {
                let ca = config.ca.clone().map_or_else(Ca::new, Ok)?;
                let acceptor = ca.acceptor(config.certificate)?;
                (Some(ca), Some(acceptor))
            }
        };
        for user in &config.users {
            store.account(&user.name);
        }
        let shared = Shared {
            users: Mutex::new(config.users.clone()),
            config,
            store,
            faults: Faults::default(),
            budgets: Budgets::default(),
            log: Log::default(),
            tls,
            tasks: Mutex::new(JoinSet::new()),
            next_connection: AtomicU64::new(1),
        };
        Ok(Server { shared: Arc::new(shared), addr: None, ca })
    }

    /// Where it listens; 127.0.0.1 and port 0 for a server without a socket.
    pub fn addr(&self) -> SocketAddr {
        self.addr.unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The authority behind its certificate, in PEM; empty for a server without TLS.
    pub fn ca_pem(&self) -> &str {
        self.ca.as_ref().map_or("", Ca::pem)
    }

    /// Opens an in-memory connection in plain text; the same commands, faults and log as over a socket.
    pub fn connect(&self) -> DuplexStream {
        // A buffer of the size of the pieces makes the client see them one by one.
        let bytes = self.shared.config.split_bytes.map_or(DUPLEX_BYTES, |piece| piece.max(1));
        let (client, server) = tokio::io::duplex(bytes);
        self.shared.serve(Stream::Memory(server));
        client
    }

    /// All mail.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// One user's mail.
    pub fn account(&self, user: &str) -> Account {
        self.shared.store.account(user)
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Commands received so far.
    pub fn log(&self) -> Vec<Logged> {
        self.shared.log.lines()
    }

    /// Forgets the commands received so far; counters stay.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.shared.log.stats()
    }

    /// How often users had to rest ([`Budget`]), and how many commands came in a rest all the same, but for those that were on their way when it began.
    pub fn rests(&self) -> (u64, u64) {
        self.shared.budgets.told()
    }

    /// What moved for a user, and when; nothing unless the configuration says so.
    pub fn traffic(&self, user: &str) -> Vec<(tokio::time::Instant, Moved)> {
        self.shared.log.traffic(user)
    }

    /// Replaces a user's password, or adds the user.
    pub fn set_password(&self, user: &str, password: &str) {
        self.change_user(user, |user| user.password = Some(password.to_owned()));
    }

    /// Replaces the tokens a user may sign in with, or adds the user; sessions signed in before go on.
    pub fn set_tokens(&self, user: &str, tokens: &[&str]) {
        self.change_user(user, |user| user.tokens = tokens.iter().map(|token| (*token).to_owned()).collect());
    }

    /// Waits until no connection is open: until all that clients sent before they left is executed.
    pub async fn abandoned(&self) {
        self.shared.log.no_connection().await;
    }

    /// Ends all connections and waits until the port is free.
    pub async fn stop(self) {
        let mut tasks = std::mem::take(&mut *self.shared.tasks());
        tasks.shutdown().await;
        // What a session was about to spawn when it ended.
        self.shared.tasks().abort_all();
    }

    fn change_user(&self, name: &str, change: impl FnOnce(&mut User)) {
        let mut users = self.shared.users.lock().unwrap_or_else(PoisonError::into_inner);
        match users.iter_mut().find(|user| user.name == name) {
            Some(user) => change(user),
            None => {
                let mut user = User { name: name.to_owned(), password: None, tokens: Vec::new(), admin: false };
                change(&mut user);
                users.push(user);
            }
        }
        drop(users);
        self.shared.store.account(name);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.tasks().abort_all();
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, stream: Stream) {
        let connection = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let wire = Wire::new(stream, self.clone(), connection);
        self.spawn(Box::pin(Session::new(wire, self.clone()).run()));
    }

    /// Runs something that ends with the server.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        // Otherwise the set keeps one entry for every connection there ever was.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
