//! What a run tells while it goes on: one value per thing that happened. Whoever shows them decides how.

use crate::checkpoint::SurplusKind;
use crate::failure::Failure;
use crate::mail::{Evidence, Fate, Side};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// One thing that happened. Accounts and folders go by the names people know them by.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A job begins.
    JobStarted {
        /// Its name.
        job: String,
        /// How many accounts it has.
        accounts: usize,
    },
    /// An account begins.
    AccountStarted {
        /// Its name.
        account: String,
    },
    /// Both sides are open, and it is known where everything goes.
    FoldersMapped {
        /// Its name.
        account: String,
        /// How many folders hold mail to look at.
        folders: usize,
        /// For a person.
        warnings: Vec<String>,
    },
    /// The target refused a folder's name: it gets another, there and from now on.
    FolderRenamed {
        /// Its account.
        account: String,
        /// Its path at the source.
        folder: String,
        /// Its path on the target.
        target: String,
        /// What the target said to the name before.
        failure: Failure,
    },
    /// It is known what is to be done in a folder.
    FolderPlanned {
        /// Its account.
        account: String,
        /// Its path at the source.
        folder: String,
        /// Messages at the source.
        messages: u64,
        /// Of those, to be copied.
        to_copy: u64,
        /// Their bytes, by the sizes the source tells.
        bytes: u64,
    },
    /// Messages have been acknowledged by the target.
    Copied {
        /// The account.
        account: String,
        /// The folder's path at the source.
        folder: String,
        /// How many since the last of these.
        messages: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A message has not arrived and will not without a person.
    MessageFailed {
        /// The account.
        account: String,
        /// The folder's path at the source.
        folder: String,
        /// Its UID at the source.
        uid: u32,
        /// Refused, unreadable or missing.
        fate: Fate,
        /// Its subject, for people.
        subject: String,
        /// Bytes.
        size: u64,
        /// The server's words.
        words: String,
    },
    /// A message has arrived and something of it has not.
    MessageChanged {
        /// The account.
        account: String,
        /// The folder's path at the source.
        folder: String,
        /// Its UID at the source.
        uid: u32,
        /// What is other than it was.
        what: String,
    },
    /// The target holds something that no source message stands behind: a second copy, or a part of one.
    Surplus {
        /// The account.
        account: String,
        /// The folder's path at the source.
        folder: String,
        /// UID at the source of the message it is a copy or a part of.
        uid: u32,
        /// Its UID on the target.
        target_uid: u32,
        /// What it is.
        kind: SurplusKind,
        /// It was ours beyond doubt and is gone again; else it is left for a person.
        removed: bool,
    },
    /// The account waits for a server.
    Waiting {
        /// The account.
        account: String,
        /// For which.
        side: Side,
        /// For how long, in seconds.
        seconds: u64,
        /// Why.
        why: String,
    },
    /// The account waits for a host that cannot be reached: told once, to every account that needs it.
    Unreachable {
        /// The account.
        account: String,
        /// Which of its hosts.
        side: Side,
        /// Since when nobody reaches it.
        #[serde(serialize_with = "as_stamp")]
        since: SystemTime,
        /// Why.
        why: String,
    },
    /// The host that the account waited for has answered, and it goes on.
    Reachable {
        /// The account.
        account: String,
        /// Which of its hosts.
        side: Side,
    },
    /// A folder is done.
    FolderDone {
        /// The account.
        account: String,
        /// Its path at the source.
        folder: String,
        /// Its source messages by fate; they add up to its count.
        fates: BTreeMap<Fate, u64>,
        /// Those on the target by evidence.
        evidence: BTreeMap<Evidence, u64>,
        /// Nothing had changed since the last run: it was not opened.
        unchanged: bool,
    },
    /// A folder was given up.
    FolderFailed {
        /// The account.
        account: String,
        /// Its path at the source.
        folder: String,
        /// Why.
        failure: Failure,
    },
    /// An account is done, or was given up.
    AccountDone {
        /// Its name.
        account: String,
        /// How it stands.
        ending: Ending,
        /// What stopped it.
        failure: Option<Failure>,
        /// Its source messages by fate.
        fates: BTreeMap<Fate, u64>,
        /// Those on the target by evidence.
        evidence: BTreeMap<Evidence, u64>,
        /// Messages on the target that no source message stands behind: second copies, or parts of one.
        surplus: u64,
    },
    /// All accounts have ended.
    JobDone {
        /// Its name.
        job: String,
        /// Accounts by how they stand.
        accounts: BTreeMap<Ending, u64>,
    },
}

/// RFC 3339 in UTC, to the second.
fn as_stamp<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

/// How an account stands at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Every source message is on the target, with its flags and date, and that was read back.
    Complete,
    /// Done but for messages or folders that are listed.
    Exceptions,
    /// Somebody asked to stop.
    Stopped,
    /// It waits for a server longer than this run does.
    Parked,
    /// A person has to do something.
    Failed,
}

/// Where events go. Nobody listening is fine.
#[derive(Debug, Clone)]
pub struct Events(Option<mpsc::Sender<Event>>);

/// Events that wait to be shown; a slow terminal holds a run back rather than filling memory.
const WAITING_MAX: usize = 1024;

impl Events {
    /// Makes both ends.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(Some(sender)), receiver)
    }

    /// Makes one that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self(None)
    }

    pub(super) async fn send(&self, event: Event) {
        tracing::debug!(?event);
        if let Some(sender) = &self.0 {
            drop(sender.send(event).await);
        }
    }
}
