//! Accounts and their folders: who they are, how far they came.

use super::Ledger;
use super::codec;
use super::error::{Fault, LedgerError};
use super::writer::About;
use crate::failure::Failure;
use crate::mail::{Digest, Evidence, Fate, FolderPath, FolderState, ModSeq, Side, Uid, UidValidity, WireName};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

/// An account in one ledger; stays the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AccountId(pub(super) i64);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A folder of an account together with where it goes; stays the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FolderId(pub(super) i64);

/// What an account is known by, whatever the job file is called: host and user of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AccountKey {
    pub(super) source_host: String,
    pub(super) source_user: String,
    pub(super) target_host: String,
    pub(super) target_user: String,
}

impl AccountKey {
    /// Makes a key. Hosts lose case and a trailing dot; a port counts only where it is neither 993 nor 143.
    #[must_use]
    pub fn new(
        source_host: &str,
        source_port: u16,
        source_user: &str,
        target_host: &str,
        target_port: u16,
        target_user: &str,
    ) -> Self {
        Self {
            source_host: host(source_host, source_port),
            source_user: source_user.to_owned(),
            target_host: host(target_host, target_port),
            target_user: target_user.to_owned(),
        }
    }

    /// Gives the source's host, with its port where that is no usual one.
    #[must_use]
    pub fn source_host(&self) -> &str {
        &self.source_host
    }

    /// Gives who signs in at the source.
    #[must_use]
    pub fn source_user(&self) -> &str {
        &self.source_user
    }

    /// Gives the target's host, with its port where that is no usual one.
    #[must_use]
    pub fn target_host(&self) -> &str {
        &self.target_host
    }

    /// Gives who signs in at the target.
    #[must_use]
    pub fn target_user(&self) -> &str {
        &self.target_user
    }
}

fn host(host: &str, port: u16) -> String {
    let host = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    match port {
        993 | 143 => host,
        _ if host.contains(':') => format!("[{host}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

/// The job an account belongs to, so that `resume` needs no arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobReference {
    /// The job's name, for people.
    pub name: String,
    /// Its file, absolute.
    pub path: PathBuf,
    /// Of the file's bytes.
    #[serde(serialize_with = "as_text")]
    pub digest: Digest,
    /// The account's name, for people.
    pub account_name: String,
}

fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

/// What stopped an account, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// Where; None: on this machine.
    pub side: Option<Side>,
    /// The name of a [`crate::failure::Kind`].
    pub kind: String,
    /// A fragment after "failed to".
    pub text: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl From<&Failure> for FailureNote {
    fn from(failure: &Failure) -> Self {
        let kind = serde_json::to_value(failure.kind).ok();
        let kind = kind.and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        Self { side: failure.side, kind, text: failure.text.clone(), hint: failure.hint.clone() }
    }
}

/// Where an account stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub enum AccountState {
    /// Known, and not begun.
    New,
    /// A process works on it.
    Running {
        /// Since when.
        since: SystemTime,
    },
    /// A process works on it and waits for one of its hosts, which cannot be reached.
    Waiting {
        /// Since when the process works on it.
        since: SystemTime,
        /// Which host.
        side: Side,
        /// Since when it cannot be reached.
        outage: SystemTime,
        /// Why: a fragment after "failed to".
        why: String,
    },
    /// Every message is on the target, and that is proven.
    Complete {
        /// Since when.
        at: SystemTime,
    },
    /// Done but for messages that are listed.
    Exceptions {
        /// Since when.
        at: SystemTime,
    },
    /// Stopped in the middle, by a person or by a kill.
    Interrupted,
    /// Something stopped it that needs a person.
    Failed(FailureNote),
    /// It waits for a server: an allowance that is spent, an outage.
    Parked {
        /// When it may go on; None: not known.
        until: Option<SystemTime>,
        /// What it waits for.
        why: String,
    },
}

/// What both sides of a folder were when the last pass that ended clean looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// Before the listing.
    pub source: FolderState,
    /// After the last change of ours.
    pub target: FolderState,
    /// `\\Deleted` was carried over: where it is to be and was not, or the other way, the folder is not as it should be.
    pub deleted: bool,
}

/// How a [`Watermark`] is kept: what came later is left out where it is as it was before.
#[derive(Serialize, Deserialize)]
struct Kept(Plain, Plain, #[serde(default)] bool);

/// Columns of a [`FolderState`] as they are kept: messages, UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ.
type Plain = (u32, Option<u32>, Option<u32>, Option<u64>);

impl Watermark {
    fn pack(&self) -> rusqlite::Result<String> {
        let plain = |state: &FolderState| -> Plain {
            let validity = state.uid_validity.map(UidValidity::value);
            (state.messages, validity, state.uid_next.map(Uid::value), state.highest_modseq.map(ModSeq::value))
        };
        let sides = (plain(&self.source), plain(&self.target));
        if self.deleted { codec::of_json(&Kept(sides.0, sides.1, true)) } else { codec::of_json(&sides) }
    }

    fn unpack(text: &str, column: usize) -> rusqlite::Result<Self> {
        let state = |(messages, validity, next, modseq): Plain| FolderState {
            messages,
            uid_validity: validity.and_then(UidValidity::new),
            uid_next: next.and_then(Uid::new),
            highest_modseq: modseq.and_then(ModSeq::new),
        };
        let Kept(source, target, deleted) = codec::json(text, column)?;
        Ok(Self { source: state(source), target: state(target), deleted })
    }
}

/// Records of messages that had left the source when a pass ended clean: they stay, and count no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Left {
    /// Ascending.
    pub uids: Vec<Uid>,
    /// How many, by fate and evidence.
    pub counts: Vec<(Fate, Evidence, u64)>,
}

impl Left {
    /// Adds a record, after all with lower UIDs. One that is told to be gone is counted nowhere anyway.
    pub fn add(&mut self, uid: Uid, fate: Fate, evidence: Evidence) {
        self.uids.push(uid);
        if fate == Fate::Gone {
            return;
        }
        match self.counts.iter_mut().find(|(of, by, _)| (*of, *by) == (fate, evidence)) {
            Some((.., count)) => *count += 1,
            None => self.counts.push((fate, evidence, 1)),
        }
    }

    fn pack(&self) -> rusqlite::Result<Option<String>> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for uid in self.uids.iter().map(|uid| uid.value()) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == uid => *last = uid,
                _ => ranges.push((uid, uid)),
            }
        }
        let text = codec::of_json(&(ranges, &self.counts))?;
        Ok((!self.uids.is_empty()).then_some(text))
    }

    fn unpack(text: &str, column: usize) -> rusqlite::Result<Self> {
        let (ranges, counts): (Vec<(u32, u32)>, _) = codec::json(text, column)?;
        Ok(Self {
            uids: ranges.into_iter().flat_map(|(first, last)| first..=last).filter_map(Uid::new).collect(),
            counts,
        })
    }
}

/// A folder as the ledger knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderRow {
    /// What records are kept under.
    pub id: FolderId,
    /// None: no pass has ended clean, or it was forgotten.
    pub remembered: Option<Watermark>,
}

impl Ledger {
    /// Finds an account or begins it, and remembers the job it belongs to now.
    pub async fn account(&self, key: &AccountKey, job: JobReference) -> Result<AccountId, LedgerError> {
        let wanted = (key.clone(), job.clone());
        // A second run that changes nothing writes nothing.
        if let Some(id) = self.read_written(move |connection| find_account(connection, &wanted.0, &wanted.1)).await? {
            return Ok(AccountId(id));
        }
        let key = key.clone();
        let id = self.write(move |connection| {
            let new = codec::of_json(&AccountState::New)?;
            let job_path = codec::of_path(&job.path);
            let id = connection.query_row(
                "INSERT INTO accounts
                     (source_host, source_user, target_host, target_user, name, job_name, job_path, job_digest, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT DO UPDATE SET name = excluded.name, job_name = excluded.job_name,
                     job_path = excluded.job_path, job_digest = excluded.job_digest
                 RETURNING id",
                params![
                    key.source_host,
                    key.source_user,
                    key.target_host,
                    key.target_user,
                    job.account_name,
                    job.name,
                    job_path,
                    job.digest.0,
                    new
                ],
                |row| row.get(0),
            )?;
            Ok(id)
        });
        id.await.map(AccountId)
    }

    /// Remembers that an account was begun, where nobody has begun it before: durable when it returns. Its state is
    /// Interrupted until it is Running.
    pub async fn begin(&self, account: AccountId) -> Result<(), LedgerError> {
        const SQL: &str = "SELECT state FROM accounts WHERE id = ?1";
        let state: Option<String> = self
            .read_written(move |connection| Ok(connection.query_row(SQL, [account.0], |row| row.get(0)).optional()?))
            .await?;
        match state.map(|text| codec::json(&text, 0)).transpose() {
            Ok(Some(AccountState::New)) => self.set_account_state(account, AccountState::Interrupted).await,
            _ => Ok(()),
        }
    }

    /// Remembers where an account stands. A Running or Waiting one whose lock is free reads as
    /// Interrupted.
    pub async fn set_account_state(&self, account: AccountId, state: AccountState) -> Result<(), LedgerError> {
        self.write(move |connection| {
            let (started, ended) = match &state {
                AccountState::New => (None, None),
                AccountState::Running { since } | AccountState::Waiting { since, .. } => (Some(*since), None),
                AccountState::Complete { at } | AccountState::Exceptions { at } => (None, Some(*at)),
                _ => (None, Some(SystemTime::now())),
            };
            let changed = connection.execute(
                "UPDATE accounts SET state = ?2, started = COALESCE(?3, started), ended = ?4 WHERE id = ?1",
                params![account.0, codec::of_json(&state)?, started.map(codec::of_time), ended.map(codec::of_time)],
            )?;
            known(changed, || format!("account {account}"))
        })
        .await
        .map(drop)
    }

    /// Remembers that a side has answered a sign-in.
    pub async fn reached(&self, account: AccountId, side: Side) -> Result<(), LedgerError> {
        if self.has_reached(account, side).await? {
            return Ok(());
        }
        let sql = match side {
            Side::Source => "UPDATE accounts SET source_reached = 1 WHERE id = ?1",
            Side::Target => "UPDATE accounts SET target_reached = 1 WHERE id = ?1",
        };
        self.write(move |connection| known(connection.execute(sql, [account.0])?, || format!("account {account}")))
            .await
            .map(drop)
    }

    /// Says whether a side has ever answered a sign-in.
    pub async fn has_reached(&self, account: AccountId, side: Side) -> Result<bool, LedgerError> {
        let sql = match side {
            Side::Source => "SELECT source_reached FROM accounts WHERE id = ?1",
            Side::Target => "SELECT target_reached FROM accounts WHERE id = ?1",
        };
        self.read_written(move |connection| {
            let found = connection.query_row(sql, [account.0], |row| row.get(0)).optional()?;
            found.ok_or_else(|| LedgerError::Unknown(format!("account {account}")).into())
        })
        .await
    }

    /// Finds a folder or begins it. From now on this is where the source folder goes; under another target name it keeps
    /// its records, and they no longer count.
    pub async fn folder(
        &self,
        account: AccountId,
        source: &WireName,
        target: &WireName,
        path: &FolderPath,
    ) -> Result<FolderRow, LedgerError> {
        let (source, target) = (folded(source), folded(target));
        let path = codec::of_json(path).map_err(|error| self.inner.place.fault(error.into()))?;
        let wanted = (source.clone(), target.clone(), path.clone());
        // Before it is read: what is committed in between was not seen.
        let lags = self.lags();
        let found =
            self.read_written(move |connection| find_folder(connection, account, &wanted.0, &wanted.1, &wanted.2));
        let id = match found.await? {
            Some(row) if !lags => return Ok(row),
            Some(row) => row.id,
            None => {
                let begin = move |connection: &Connection| begin_folder(connection, account, &source, &target, &path);
                FolderId(self.write(begin).await?)
            }
        };
        self.read_of(id, move |connection| {
            Ok(connection.prepare_cached(&format!("{FOLDER} WHERE id = ?1"))?.query_row([id.0], folder_row)?)
        })
        .await
    }

    /// Begins folders as [`Self::folder`] does, all of them together: with how many messages the source lists in each.
    pub async fn begin_folders(
        &self,
        account: AccountId,
        folders: Vec<(WireName, WireName, FolderPath, Option<u64>)>,
    ) -> Result<(), LedgerError> {
        if folders.is_empty() {
            return Ok(());
        }
        let folders = folders.into_iter().map(|(source, target, path, listed)| {
            let path = codec::of_json(&path).map_err(|error| self.inner.place.fault(error.into()))?;
            Ok((folded(&source), folded(&target), path, listed.map(codec::of_size)))
        });
        let folders = folders.collect::<Result<Vec<_>, LedgerError>>()?;
        self.write(move |connection| {
            for (source, target, path, listed) in &folders {
                let id = begin_folder(connection, account, source, target, path)?;
                if listed.is_some() {
                    set_listed(connection, id, *listed, None)?;
                }
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Remembers what both sides were, or forgets it.
    pub async fn set_watermark(&self, folder: FolderId, watermark: Option<Watermark>) -> Result<(), LedgerError> {
        self.write(move |connection| set_watermark(connection, folder, watermark.as_ref())).await.map(drop)
    }

    /// Remembers what both sides were, and which records stand for nothing at the source. Queued, as
    /// [`Self::landed`] is: what is not remembered is looked at again.
    pub async fn remember(&self, folder: FolderId, watermark: Watermark, left: Left) -> Result<(), LedgerError> {
        const SQL: &str = "UPDATE folders SET left_behind = ?2 WHERE id = ?1";
        self.queue(folder, move |connection| {
            set_watermark(connection, folder, Some(&watermark))?;
            connection.prepare_cached(SQL)?.execute(params![folder.0, left.pack()?])?;
            Ok(0)
        })
        .await
    }

    /// Remembers how many messages the source lists in a folder, and their bytes. Queued, for people to read.
    pub async fn set_listed(&self, folder: FolderId, messages: u64, bytes: u64) -> Result<(), LedgerError> {
        let (messages, bytes) = (codec::of_size(messages), codec::of_size(bytes));
        self.queue(About::Shown, move |connection| {
            set_listed(connection, folder.0, Some(messages), Some(bytes))?;
            Ok(0)
        })
        .await
    }

    /// Gives the job file an account was last run from, for the lock to name.
    pub(super) async fn lock_facts(&self, account: AccountId) -> Result<(AccountKey, PathBuf), LedgerError> {
        self.read_written(move |connection| {
            let facts = connection.query_row(
                "SELECT source_host, source_user, target_host, target_user, job_path FROM accounts WHERE id = ?1",
                [account.0],
                |row| Ok((account_key(row, 0)?, codec::path(row.get(4)?))),
            );
            facts.optional()?.ok_or_else(|| LedgerError::Unknown(format!("account {account}")).into())
        })
        .await
    }
}

/// Reads a key from four columns.
pub(super) fn account_key(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<AccountKey> {
    Ok(AccountKey {
        source_host: row.get(column)?,
        source_user: row.get(column + 1)?,
        target_host: row.get(column + 2)?,
        target_user: row.get(column + 3)?,
    })
}

/// Refuses a change that met no row.
pub(super) fn known(changed: usize, what: impl FnOnce() -> String) -> Result<i64, Fault> {
    if changed == 0 { Err(LedgerError::Unknown(what()).into()) } else { Ok(0) }
}

/// Gives the bytes a folder is kept under: the inbox has no case.
fn folded(name: &WireName) -> Vec<u8> {
    if name.is_inbox() { b"INBOX".to_vec() } else { name.as_bytes().to_vec() }
}

const FOLDER: &str = "SELECT id, watermark FROM folders";

fn folder_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<FolderRow> {
    Ok(FolderRow { id: FolderId(row.get(0)?), remembered: watermark(row, 1)? })
}

/// Reads a watermark from a column.
pub(super) fn watermark(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Watermark>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| Watermark::unpack(&text, column)).transpose()
}

fn set_watermark(connection: &Connection, folder: FolderId, watermark: Option<&Watermark>) -> Result<i64, Fault> {
    let text = watermark.map(Watermark::pack).transpose()?;
    let validity = watermark.and_then(|watermark| watermark.source.uid_validity);
    // A folder that became empty under a new UIDVALIDITY has no record to say so.
    const SQL: &str =
        "UPDATE folders SET watermark = ?2, validity = COALESCE(?3, validity), left_behind = NULL WHERE id = ?1";
    let values = params![folder.0, text, validity.map(UidValidity::value)];
    let changed = connection.prepare_cached(SQL)?.execute(values)?;
    known(changed, || format!("folder {}", folder.0))
}

/// Reads what is left behind from a column.
pub(super) fn left(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Left> {
    let text: Option<String> = row.get(column)?;
    Ok(text.map(|text| Left::unpack(&text, column)).transpose()?.unwrap_or_default())
}

/// Begins a folder, or has it count again; gives its number. Under other target names the source folder counts no more.
fn begin_folder(
    connection: &Connection,
    account: AccountId,
    source: &[u8],
    target: &[u8],
    path: &str,
) -> Result<i64, Fault> {
    const BEGIN: &str = "INSERT INTO folders (account, source, target, path) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET path = excluded.path, current = 1 RETURNING id";
    const OTHERS: &str = "UPDATE folders SET current = 0 WHERE account = ?1 AND source = ?2 AND id <> ?3";
    let begun = params![account.0, source, target, path];
    let id: i64 = connection.prepare_cached(BEGIN)?.query_row(begun, |row| row.get(0))?;
    connection.prepare_cached(OTHERS)?.execute(params![account.0, source, id])?;
    Ok(id)
}

/// A second run that changes nothing writes nothing. Without their bytes nothing changes where the number is known.
fn set_listed(connection: &Connection, folder: i64, messages: Option<i64>, bytes: Option<i64>) -> Result<(), Fault> {
    const SQL: &str = "UPDATE folders SET listed = ?2, listed_bytes = ?3
         WHERE id = ?1 AND (listed IS NOT ?2 OR ?3 IS NOT NULL AND listed_bytes IS NOT ?3)";
    connection.prepare_cached(SQL)?.execute(params![folder, messages, bytes])?;
    Ok(())
}

/// Finds a folder that needs no change.
fn find_folder(
    connection: &Connection,
    account: AccountId,
    source: &[u8],
    target: &[u8],
    path: &str,
) -> Result<Option<FolderRow>, Fault> {
    let sql = format!("{FOLDER} WHERE account = ?1 AND source = ?2 AND target = ?3 AND path = ?4 AND current = 1");
    let wanted = params![account.0, source, target, path];
    Ok(connection.prepare_cached(&sql)?.query_row(wanted, folder_row).optional()?)
}

/// Finds an account that needs no change.
fn find_account(connection: &Connection, key: &AccountKey, job: &JobReference) -> Result<Option<i64>, Fault> {
    let found = connection.query_row(
        "SELECT id FROM accounts
         WHERE source_host = ?1 AND source_user = ?2 AND target_host = ?3 AND target_user = ?4
             AND name = ?5 AND job_name = ?6 AND job_path = ?7 AND job_digest = ?8",
        params![
            key.source_host,
            key.source_user,
            key.target_host,
            key.target_user,
            job.account_name,
            job.name,
            codec::of_path(&job.path),
            job.digest.0
        ],
        |row| row.get(0),
    );
    Ok(found.optional()?)
}
