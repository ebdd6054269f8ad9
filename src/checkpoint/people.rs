//! What people ask: where every account stands, what is listed as failed or lost.
//!
//! Counted are the records of folders where they go now, under the source's UIDVALIDITY last worked under.

use super::accounts::{
    AccountId, AccountKey, AccountState, FolderId, JobReference, Left, Watermark, account_key, left, watermark,
};
use super::error::{Fault, LedgerError};
use super::{Ledger, codec, lock};
use crate::mail::{Digest, Evidence, Fate, FolderPath, Stage, Uid, UidValidity, WireName};
use rusqlite::{Connection, Params, Row, params};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What became of the messages of a folder or an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// By fate; what is missing has none.
    pub fates: BTreeMap<Fate, Count>,
    /// By evidence, of those that are on the target (copied and adopted).
    pub evidence: BTreeMap<Evidence, Count>,
    /// Open intents.
    pub intended: Count,
}

impl Totals {
    /// Gives how many have a fate.
    #[must_use]
    pub fn of(&self, fate: Fate) -> Count {
        self.fates.get(&fate).copied().unwrap_or_default()
    }

    /// Adds those of another folder or account.
    pub fn add(&mut self, other: &Self) {
        other.fates.iter().for_each(|(fate, count)| self.fates.entry(*fate).or_default().add(*count));
        other.evidence.iter().for_each(|(evidence, count)| self.evidence.entry(*evidence).or_default().add(*count));
        self.intended.add(other.intended);
    }

    fn count(&mut self, stage: Stage, evidence: Evidence, count: Count) {
        let Stage::Settled(fate) = stage else { return self.intended.add(count) };
        self.fates.entry(fate).or_default().add(count);
        if matches!(fate, Fate::Copied | Fate::Adopted) {
            self.evidence.entry(evidence).or_default().add(count);
        }
    }
}

/// One account, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountSummary {
    /// Its number in this ledger.
    pub id: AccountId,
    /// Both mailboxes.
    pub key: AccountKey,
    /// Its name and the job it was last run from.
    pub job: JobReference,
    /// Where it stands; Interrupted where it says Running and nobody works on it.
    pub state: AccountState,
    /// Of all its folders.
    pub totals: Totals,
    /// When it last began to run.
    pub started: Option<SystemTime>,
    /// When that ended; None while it runs, and after a kill.
    pub ended: Option<SystemTime>,
}

/// One folder of an account, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderSummary {
    /// Its number in this ledger.
    pub id: FolderId,
    /// At the source.
    pub source: WireName,
    /// At the target.
    pub target: WireName,
    /// At the source, for people.
    pub path: FolderPath,
    /// The source's UIDVALIDITY that was last worked under; None: no message was ever looked at.
    pub validity: Option<UidValidity>,
    /// What both sides were when the last pass ended clean; None: it did not, or that was forgotten.
    pub remembered: Option<Watermark>,
    /// Records of messages that had left the source by then.
    pub left: Left,
    /// Messages that the source had in it when it was last looked at, and their bytes where it told them; None: not known.
    pub listed: Option<(u64, Option<u64>)>,
    /// What became of its messages.
    pub totals: Totals,
}

/// One message that did not arrive, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TroubleNote {
    /// Its place in the list: to go on after it.
    pub number: u64,
    /// Its folder.
    pub folder: FolderId,
    /// The folder's path at the source.
    pub path: FolderPath,
    /// The source's UIDVALIDITY.
    pub validity: UidValidity,
    /// The message.
    pub source_uid: Uid,
    /// What became of it; Intended where it is being tried again.
    pub stage: Stage,
    /// The name of a [`crate::failure::Kind`].
    pub kind: String,
    /// The server's words.
    pub words: String,
    /// Subject; may be empty.
    pub subject: String,
    /// Date field; may be empty.
    pub date_header: String,
    /// Bytes.
    pub size: u64,
    /// When it was settled so.
    pub at: SystemTime,
}

/// What a message can lose on the way though it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// A keyword the target cannot keep.
    Keyword,
    /// A system flag no client may set, or the target cannot keep.
    SystemFlag,
    /// INTERNALDATE is another instant, or none.
    Date,
    /// INTERNALDATE is the same instant in another zone.
    Zone,
    /// The target stored other bytes.
    Bytes,
}

impl LossKind {
    const ALL: [Self; 5] = [Self::Keyword, Self::SystemFlag, Self::Date, Self::Zone, Self::Bytes];

    /// Gives the name it is kept under.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::SystemFlag => "system-flag",
            Self::Date => "date",
            Self::Zone => "zone",
            Self::Bytes => "bytes",
        }
    }
}

/// Something a message lost, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Its place in the list: to go on after it.
    pub number: u64,
    /// The folder's path at the source.
    pub path: FolderPath,
    /// The message.
    pub source_uid: Uid,
    /// What sort.
    pub kind: LossKind,
    /// What exactly: the keyword, the date.
    pub text: String,
}

impl Ledger {
    /// Gives every account, in the order in which they were first seen.
    pub async fn accounts(&self) -> Result<Vec<AccountSummary>, LedgerError> {
        let sql = format!("{ACCOUNTS} ORDER BY id");
        let found = self.read(move |connection| summaries(connection, &sql, [])).await?;
        Ok(self.with_locks(found))
    }

    /// Gives the other accounts that go into a target mailbox. The host is as [`AccountKey::target_host`] gives it; the
    /// user has no case here.
    pub async fn others_into(
        &self,
        target_host: &str,
        target_user: &str,
        except: AccountId,
    ) -> Result<Vec<AccountSummary>, LedgerError> {
        let (host, user) = (target_host.to_owned(), target_user.to_owned());
        let sql =
            format!("{ACCOUNTS} WHERE target_host = ?1 AND lower(target_user) = lower(?2) AND id <> ?3 ORDER BY id");
        let found = self.read(move |connection| summaries(connection, &sql, params![host, user, except.0])).await?;
        Ok(self.with_locks(found))
    }

    /// Gives the folders of an account that are worked on, by path.
    pub async fn folders(&self, account: AccountId) -> Result<Vec<FolderSummary>, LedgerError> {
        const SQL: &str = "SELECT id, source, target, path, watermark, validity, left_behind, listed, listed_bytes
            FROM folders WHERE account = ?1 AND current = 1 ORDER BY path";
        self.read_shown(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map([account.0], folder)?;
            let mut folders = rows.collect::<Result<Vec<_>, _>>()?;
            let mut totals = totals_of_folders(connection, account)?;
            for folder in &mut folders {
                folder.totals = totals.remove(&folder.id).unwrap_or_default();
            }
            Ok(folders)
        })
        .await
    }

    /// Gives the messages of a folder that were settled with a trouble at this time or since, ascending.
    pub async fn troubled_since(
        &self,
        folder: FolderId,
        validity: UidValidity,
        since: SystemTime,
    ) -> Result<Vec<Uid>, LedgerError> {
        const SQL: &str = "SELECT uid FROM troubles WHERE folder = ?1 AND validity = ?2 AND at >= ?3 ORDER BY uid";
        self.read_of(folder, move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let values = params![folder.0, validity.value(), codec::of_time(since)];
            let rows = select.query_map(values, |row| codec::uid(row, 0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives at most `limit` messages of an account that did not arrive, those whose number comes after `after`; 0: all.
    pub async fn troubles(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<TroubleNote>, LedgerError> {
        const SQL: &str = "SELECT t.id, t.folder, f.path, t.uid, r.stage, t.kind, t.words, t.subject, t.date_header,
                t.size, t.at, t.validity
            FROM troubles AS t
            JOIN folders AS f ON f.id = t.folder AND f.validity = t.validity
            JOIN records AS r ON r.folder = t.folder AND r.validity = t.validity AND r.uid = t.uid
            WHERE f.account = ?1 AND f.current = 1 AND t.id > ?2 ORDER BY t.id LIMIT ?3";
        self.window(SQL, account, after, limit, trouble).await
    }

    /// Gives at most `limit` losses of an account, those whose number comes after `after`; 0: all.
    pub async fn losses(&self, account: AccountId, after: u64, limit: usize) -> Result<Vec<Loss>, LedgerError> {
        const SQL: &str = "SELECT l.id, f.path, l.uid, l.kind, l.text
            FROM losses AS l
            JOIN folders AS f ON f.id = l.folder AND f.validity = l.validity
            WHERE f.account = ?1 AND f.current = 1 AND l.id > ?2 ORDER BY l.id LIMIT ?3";
        self.window(SQL, account, after, limit, loss).await
    }

    /// Gives why messages of a folder did not arrive, from one source UID to another: the server's words for each.
    pub async fn words(
        &self,
        folder: FolderId,
        validity: UidValidity,
        (first, last): (Uid, Uid),
    ) -> Result<BTreeMap<Uid, String>, LedgerError> {
        const SQL: &str =
            "SELECT uid, words FROM troubles WHERE folder = ?1 AND validity = ?2 AND uid BETWEEN ?3 AND ?4";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let bounds = params![folder.0, validity.value(), first.value(), last.value()];
            let rows = select.query_map(bounds, |row| Ok((codec::uid(row, 0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives what messages of a folder lost, from one source UID to another.
    pub async fn lost(
        &self,
        folder: FolderId,
        validity: UidValidity,
        (first, last): (Uid, Uid),
    ) -> Result<Vec<Loss>, LedgerError> {
        const SQL: &str = "SELECT l.id, f.path, l.uid, l.kind, l.text
            FROM losses AS l JOIN folders AS f ON f.id = l.folder
            WHERE l.folder = ?1 AND l.validity = ?2 AND l.uid BETWEEN ?3 AND ?4 ORDER BY l.uid";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map(params![folder.0, validity.value(), first.value(), last.value()], loss)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives at most `limit` messages of a folder that did not arrive and of which nobody knows what they are called, those
    /// after a UID.
    pub async fn nameless(
        &self,
        folder: FolderId,
        validity: UidValidity,
        after: Option<Uid>,
        limit: usize,
    ) -> Result<Vec<Uid>, LedgerError> {
        const SQL: &str = "SELECT uid FROM troubles
            WHERE folder = ?1 AND validity = ?2 AND uid > ?3 AND subject = '' AND date_header = ''
            ORDER BY uid LIMIT ?4";
        let (after, limit) = (after.map_or(0, Uid::value), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read_of(folder, move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map(params![folder.0, validity.value(), after, limit], |row| codec::uid(row, 0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives what one message lost, as it was noted.
    pub async fn losses_of(
        &self,
        folder: FolderId,
        validity: UidValidity,
        uid: Uid,
    ) -> Result<Vec<(LossKind, String)>, LedgerError> {
        const SQL: &str = "SELECT kind, text FROM losses WHERE folder = ?1 AND validity = ?2 AND uid = ?3 ORDER BY id";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map(params![folder.0, validity.value(), uid.value()], |row| {
                Ok((loss_kind(row, 0)?, row.get(1)?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn window<T: Send + 'static>(
        &self,
        sql: &'static str,
        account: AccountId,
        after: u64,
        limit: usize,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let window = (codec::of_size(after), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read(move |connection| {
            let mut select = connection.prepare_cached(sql)?;
            let rows = select.query_map(params![account.0, window.0, window.1], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// A process that was killed could not say so.
    fn with_locks(&self, mut found: Vec<AccountSummary>) -> Vec<AccountSummary> {
        for account in &mut found {
            let running = matches!(account.state, AccountState::Running { .. } | AccountState::Waiting { .. });
            if running && !lock::is_held(&self.account_lock(account.id)) {
                account.state = AccountState::Interrupted;
            }
        }
        found
    }
}

const ACCOUNTS: &str = "SELECT id, source_host, source_user, target_host, target_user, name, job_name, job_path,
    job_digest, state, started, ended FROM accounts";

fn summaries(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<AccountSummary>, Fault> {
    let mut select = connection.prepare_cached(sql)?;
    let mut found = select.query_map(params, summary)?.collect::<Result<Vec<_>, _>>()?;
    for account in &mut found {
        account.totals = totals_of_account(connection, account.id)?;
    }
    Ok(found)
}

fn summary(row: &Row<'_>) -> rusqlite::Result<AccountSummary> {
    let state: String = row.get(9)?;
    let (started, ended): (Option<i64>, Option<i64>) = (row.get(10)?, row.get(11)?);
    Ok(AccountSummary {
        id: AccountId(row.get(0)?),
        key: account_key(row, 1)?,
        job: JobReference {
            account_name: row.get(5)?,
            name: row.get(6)?,
            path: codec::path(row.get(7)?),
            digest: Digest(row.get(8)?),
        },
        state: codec::json(&state, 9)?,
        totals: Totals::default(),
        started: started.map(codec::time),
        ended: ended.map(codec::time),
    })
}

/// Counts from the index alone. `total` is a float: sums beyond 2^63, which a lying server can cause, are no error.
const COUNT: &str = "r.stage, r.evidence, count(*), total(r.size)
    FROM folders AS f JOIN records AS r ON r.folder = f.id AND r.validity = f.validity
    WHERE f.account = ?1 AND f.current = 1";

fn count(totals: &mut Totals, row: &Row<'_>, column: usize) -> rusqlite::Result<()> {
    let count = Count { messages: codec::size(row, column + 2)?, bytes: row.get::<_, f64>(column + 3)? as u64 };
    totals.count(codec::stage(row, column)?, codec::evidence(row, column + 1)?, count);
    Ok(())
}

fn totals_of_account(connection: &Connection, account: AccountId) -> Result<Totals, Fault> {
    let mut totals = Totals::default();
    let mut select = connection.prepare_cached(&format!("SELECT {COUNT} GROUP BY r.stage, r.evidence"))?;
    let mut rows = select.query([account.0])?;
    while let Some(row) = rows.next()? {
        count(&mut totals, row, 0)?;
    }
    Ok(totals)
}

/// All folders of an account in one go: asked for each, it would cost each of them once more with every folder.
fn totals_of_folders(connection: &Connection, account: AccountId) -> Result<BTreeMap<FolderId, Totals>, Fault> {
    let mut totals: BTreeMap<FolderId, Totals> = BTreeMap::new();
    let sql = format!("SELECT r.folder, {COUNT} GROUP BY r.folder, r.stage, r.evidence");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query([account.0])?;
    while let Some(row) = rows.next()? {
        count(totals.entry(FolderId(row.get(0)?)).or_default(), row, 1)?;
    }
    Ok(totals)
}

fn folder(row: &Row<'_>) -> rusqlite::Result<FolderSummary> {
    Ok(FolderSummary {
        id: FolderId(row.get(0)?),
        source: WireName::new(row.get::<_, Vec<u8>>(1)?),
        target: WireName::new(row.get::<_, Vec<u8>>(2)?),
        path: path(row, 3)?,
        remembered: watermark(row, 4)?,
        left: left(row, 6)?,
        validity: row.get::<_, Option<u32>>(5)?.and_then(UidValidity::new),
        listed: row
            .get::<_, Option<i64>>(7)?
            .map(i64::unsigned_abs)
            .zip(Some(row.get::<_, Option<i64>>(8)?.map(i64::unsigned_abs))),
        totals: Totals::default(),
    })
}

fn trouble(row: &Row<'_>) -> rusqlite::Result<TroubleNote> {
    Ok(TroubleNote {
        number: codec::size(row, 0)?,
        folder: FolderId(row.get(1)?),
        path: path(row, 2)?,
        source_uid: codec::uid(row, 3)?,
        stage: codec::stage(row, 4)?,
        kind: row.get(5)?,
        words: row.get(6)?,
        subject: row.get(7)?,
        date_header: row.get(8)?,
        size: codec::size(row, 9)?,
        at: codec::time(row.get(10)?),
        validity: codec::validity(row, 11)?,
    })
}

fn loss(row: &Row<'_>) -> rusqlite::Result<Loss> {
    Ok(Loss {
        number: codec::size(row, 0)?,
        path: path(row, 1)?,
        source_uid: codec::uid(row, 2)?,
        kind: loss_kind(row, 3)?,
        text: row.get(4)?,
    })
}

fn loss_kind(row: &Row<'_>, column: usize) -> rusqlite::Result<LossKind> {
    let kind: String = row.get(column)?;
    let known = LossKind::ALL.into_iter().find(|known| known.as_str() == kind);
    known.ok_or(rusqlite::Error::InvalidColumnType(column, kind, rusqlite::types::Type::Text))
}

fn path(row: &Row<'_>, column: usize) -> rusqlite::Result<FolderPath> {
    codec::json(row.get_ref(column)?.as_str()?, column)
}
