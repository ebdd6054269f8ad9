//! What the ledger refuses and what goes wrong with its file.

use crate::failure::{Failure, Kind};
use crate::mail::{Fate, Uid};
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why the ledger could not be used. Texts are fragments after "failed to".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The state directory cannot be made or entered.
    #[error("use the state directory {path}: {why}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The state directory lies where locks and commits cannot be trusted.
    #[error("keep the ledger in {path}: it lies on a network file system ({kind})")]
    Network {
        /// The directory.
        path: PathBuf,
        /// The file system's type, such as `nfs4`.
        kind: String,
    },
    /// The file is something else.
    #[error("read the ledger {path}: {why}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The file has lost something.
    #[error("read the ledger {path}: it is damaged ({why})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        why: String,
    },
    /// A later mailhaul wrote it.
    #[error("read the ledger {path}: it has format {found}, and this mailhaul knows formats up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this program reads.
        known: i64,
        /// The first version of mailhaul that reads it, as the file says; empty where it does not say.
        needs: String,
    },
    /// An earlier mailhaul wrote it, and it was opened for reading only.
    #[error("read the ledger {path}: its format {found} is an old one")]
    Older {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// Another process works on this account, or on the same target mailbox.
    #[error("take the account: {}", holder(*.pid, *.since, .what))]
    Busy {
        /// Who; None where it has not said yet.
        pid: Option<u32>,
        /// Since when.
        since: Option<SystemTime>,
        /// The job file it works on and which lock it holds.
        what: String,
    },
    /// The file could not be read or written.
    #[error("use the ledger {path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// SQLite's or the system's words.
        why: String,
    },
    /// Another process has the ledger open, and what was asked for needs it alone.
    #[error("set the ledger {path} aside: another process has it open")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The backup would take the place of a file that is there.
    #[error("write the backup {path}: there is a file of this name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The account may not be forgotten: work on it is left.
    #[error("forget account {0}: it is not complete")]
    Unfinished(String),
    /// The ledger was opened for reading.
    #[error("write to the ledger: it was opened for reading")]
    ReadOnly,
    /// The ledger was closed.
    #[error("use the ledger: it is closed")]
    Closed,
    /// No such account, folder or record.
    #[error("find {0} in the ledger")]
    Unknown(String),
    /// Appending it again would double it: it has to be settled otherwise first.
    #[error("intend source UID {uid}: it has landed before ({fate:?})")]
    Landed {
        /// The message.
        uid: Uid,
        /// What the ledger says of it.
        fate: Fate,
    },
    /// An acknowledgement of what was never intended.
    #[error("mark source UID {uid} as landed: no intent of it is known")]
    NotIntended {
        /// The message.
        uid: Uid,
    },
}

impl LedgerError {
    /// Gives what to do next; empty where nothing can be said.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { .. } => "name a directory that you may write to: --state DIR".to_owned(),
            Self::Network { .. } => {
                "commits and locks cannot be trusted there; name a directory on a local disk: --state DIR".to_owned()
            }
            Self::Foreign { .. } => "name another directory: --state DIR; or, if the ledger should be there: \
                                     mailhaul state rebuild"
                .to_owned(),
            Self::Damaged { .. } => {
                "put a backup in its place, or: mailhaul state rebuild, which sets it aside and finds \
                                     out from both servers what has been done"
                    .to_owned()
            }
            Self::Newer { needs, .. } if needs.is_empty() => "use a later version of mailhaul".to_owned(),
            Self::Newer { needs, .. } => format!("use mailhaul {needs} or later"),
            Self::Older { .. } => "mailhaul run or resume brings it up to date".to_owned(),
            Self::Busy { .. } | Self::InUse { .. } => "wait until it is done, or stop it".to_owned(),
            Self::File { .. } => {
                "see that the disk has room and works, and that you may write there, then: mailhaul resume".to_owned()
            }
            Self::Exists { .. } => "name another file, or say --overwrite".to_owned(),
            Self::Unfinished(_) => "mailhaul resume goes on with it".to_owned(),
            _ => String::new(),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let kind = if matches!(error, LedgerError::Busy { .. } | LedgerError::InUse { .. }) {
            Kind::AccountBusy
        } else {
            Kind::State
        };
        Self::new(None, kind, error.to_string()).with_hint(error.hint())
    }
}

fn holder(pid: Option<u32>, since: Option<SystemTime>, what: &str) -> String {
    let mut text = pid.map_or_else(|| "another process has it".to_owned(), |pid| format!("process {pid} has it"));
    if let Some(since) = since {
        text.push_str(&format!(" since {}", humantime::format_rfc3339_seconds(since)));
    }
    if !what.is_empty() {
        text.push_str(&format!(", {what}"));
    }
    text
}

/// What goes wrong in a piece of work on a connection.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file's: ends the ledger.
    Sqlite(rusqlite::Error),
    /// The request's: ends that request alone.
    Refused(LedgerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => {
                Self::Refused(LedgerError::Unknown(format!("the account, folder or record ({error})")))
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error)
    }
}

/// Says what an error of SQLite means for the file.
pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error {
        // A value that is none of ours stands in a column: nothing else writes there.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => return LedgerError::Damaged { path, why },
        _ => {}
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => LedgerError::Foreign { path, why: "it is no SQLite database".to_owned() },
        Some(ErrorCode::DatabaseCorrupt) => LedgerError::Damaged { path, why },
        _ => LedgerError::File { path, why },
    }
}
