//! What happened: commands with their cost, and counters.
//!
//! Secret: how it is collected. Passwords and tokens never get in: the arguments of LOGIN and AUTHENTICATE, and lines
//! answering a challenge, are left out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

/// One command, as received.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Which connection, counted from 1.
    pub connection: u64,
    /// Who was signed in.
    pub user: Option<String>,
    /// The command without its literals' bytes, lines of one command joined.
    pub line: String,
    /// The verb in upper case, `UID FETCH` as two words; empty if the line could not be read.
    pub verb: String,
    /// Bytes of the command, literals included.
    pub bytes_in: u64,
    /// When its first line was complete.
    pub at: Instant,
}

/// What moved at one moment, for one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// Messages whose bodies were sent by FETCH, counted as they begin, and messages that were stored by APPEND.
    pub messages: u64,
    /// Bytes received from the client, whatever they are.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

/// Counters since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// The most that were open at once.
    pub most_open: u64,
    /// Commands received.
    pub commands: u64,
    /// APPEND commands executed (a MULTIAPPEND is one).
    pub appends: u64,
    /// Messages stored by APPEND.
    pub messages_stored: u64,
    /// Their bytes.
    pub bytes_stored: u64,
    /// Body literals sent by FETCH.
    pub bodies_sent: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// For each user, the most connections signed in at once.
    pub most_at_once: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    state: Mutex<State>,
    open: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Logged>,
    /// How many lines were forgotten, so that places stay valid.
    cleared: usize,
    stats: Stats,
    signed_in: BTreeMap<String, usize>,
    traffic: Vec<(Instant, String, Moved)>,
}

impl Log {
    /// Notes a command and gives its place, for [`Log::add`].
    pub(crate) fn push(&self, logged: Logged) -> usize {
        let mut state = self.lock();
        state.stats.commands += 1;
        state.lines.push(logged);
        state.cleared + state.lines.len() - 1
    }

    /// Adds another line and the bytes of a literal to a command.
    pub(crate) fn add(&self, at: usize, text: &[u8], bytes: u64) {
        let mut state = self.lock();
        let Some(at) = at.checked_sub(state.cleared) else { return };
        if let Some(logged) = state.lines.get_mut(at) {
            logged.line.push_str(&String::from_utf8_lossy(text));
            logged.bytes_in += bytes;
        }
    }

    pub(crate) fn lines(&self) -> Vec<Logged> {
        self.lock().lines.clone()
    }

    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.cleared += state.lines.len();
        state.lines.clear();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut state = self.lock();
        change(&mut state.stats);
        let open = state.stats.open;
        drop(state);
        self.open.send_if_modified(|known| std::mem::replace(known, open) != open);
    }

    /// Notes what moved just now for a user.
    pub(crate) fn moved(&self, user: Option<&str>, moved: Moved) {
        let Some(user) = user else { return };
        self.lock().traffic.push((Instant::now(), user.to_owned(), moved));
    }

    /// What moved for a user, and when.
    pub(crate) fn traffic(&self, user: &str) -> Vec<(Instant, Moved)> {
        let state = self.lock();
        state.traffic.iter().filter(|(_, of, _)| of == user).map(|(at, _, moved)| (*at, moved.clone())).collect()
    }

    /// Waits until no connection is open.
    pub(crate) async fn no_connection(&self) {
        // An error means that the log is gone, and its connections with it.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Takes one of a user's places, unless all `limit` are taken.
    pub(crate) fn sign_in(&self, user: &str, limit: Option<usize>) -> bool {
        let mut state = self.lock();
        let held = state.signed_in.entry(user.to_owned()).or_default();
        if limit.is_some_and(|limit| *held >= limit) {
            return false;
        }
        *held += 1;
        let held = *held;
        let most = state.stats.most_at_once.entry(user.to_owned()).or_default();
        *most = held.max(*most);
        true
    }

    pub(crate) fn sign_out(&self, user: &str) {
        if let Some(held) = self.lock().signed_in.get_mut(user) {
            *held = held.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
