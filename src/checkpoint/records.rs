//! What is known of every message: intents, what landed, what ended otherwise.
//!
//! ```text
//!            intend                    landed (tagged OK, or found by looking)
//! (unknown) ────────▶ Intended ─────────────────────────▶ Settled(Copied | Adopted)
//!     ▲                 │  ▲                                    │
//!     │ retract         │  └───────────── intend ─────┐         │ settle (Removed, Missing, Gone)
//!     └─────────────────┤                             │         ▼
//!                       └── settle (Refused, …) ──▶ Settled(anything but Copied, Adopted)
//! ```

use super::accounts::FolderId;
use super::codec::{self, ADOPTED};
use super::error::{Fault, LedgerError};
use super::rows::{ROWS, follows, intend, is_next, land, land_run};
use super::{Ledger, LossKind};
use crate::imap::Appended;
use crate::mail::{Evidence, Fate, Flags, InternalDate, Record, Stage, Uid, UidValidity, Uids};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use std::time::SystemTime;

/// Of each text kept with a [`Trouble`] or a loss; longer ones are cut. A header line may have 998 (RFC 5322, 2.1.1).
const TEXT_BYTES_MAX: usize = 1000;

/// Why a message counts as being on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// The target said so.
    Acknowledged(Appended),
    /// It was seen there: nothing is proven of it yet.
    Found {
        /// Where.
        target: (UidValidity, Uid),
        /// Its bytes are not those that were sent, as far as is known: they are read back.
        altered: bool,
    },
}

/// A fate that needs no proof of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// See [`Fate::Excluded`].
    Excluded,
    /// See [`Fate::Refused`].
    Refused,
    /// See [`Fate::Unreadable`].
    Unreadable,
    /// See [`Fate::Gone`].
    Gone,
    /// See [`Fate::Removed`].
    Removed,
    /// See [`Fate::Missing`].
    Missing,
}

impl From<Ending> for Fate {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Excluded => Self::Excluded,
            Ending::Refused => Self::Refused,
            Ending::Unreadable => Self::Unreadable,
            Ending::Gone => Self::Gone,
            Ending::Removed => Self::Removed,
            Ending::Missing => Self::Missing,
        }
    }
}

/// What a person has to know of a message that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The name of a [`crate::failure::Kind`].
    pub kind: String,
    /// The server's words, made harmless.
    pub words: String,
    /// The message's subject, made harmless; may be empty.
    pub subject: String,
    /// Its Date field, made harmless; may be empty.
    pub date_header: String,
    /// Bytes.
    pub size: u64,
}

/// The end of a message that did not land, or no longer is where it landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The message.
    pub source_uid: Uid,
    /// What became of it.
    pub fate: Ending,
    /// RFC822.SIZE; used where no record is there yet.
    pub size: u64,
    /// INTERNALDATE; used where no record has one yet.
    pub date: Option<InternalDate>,
    /// Listed by [`Ledger::troubles`] until the message lands or is settled anew.
    pub trouble: Option<Trouble>,
}

/// What is known of messages that have gone from the target, from before the source's UIDVALIDITY changed.
#[derive(Debug, Clone, Default)]
pub struct Recalled {
    /// Those that are gone, each known by its source UID of then; several may have the same.
    pub removed: Vec<Record>,
    /// How many of them went since the last look.
    pub gone: u64,
    /// How many copies there were at that look.
    pub were: u64,
}

impl Ledger {
    /// Writes down what is about to be appended; durable when it returns. The records' stage, target and evidence are not
    /// looked at, and of their flags only what can be sent is kept.
    ///
    /// An intent that is open already is replaced, and the lower floor stays. One that has landed is refused, and with it
    /// the whole batch ([`LedgerError::Landed`]).
    pub async fn intend(
        &self,
        folder: FolderId,
        validity: UidValidity,
        records: Vec<Record>,
    ) -> Result<(), LedgerError> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            work_under(connection, folder, validity)?;
            let (rows, rest) = records.as_chunks::<ROWS>();
            rows.iter().try_for_each(|rows| intend(connection, folder, validity, rows))?;
            rest.chunks(1).try_for_each(|row| intend(connection, folder, validity, row))?;
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Marks intents as landed. Queued: durable with the next commit, at the latest after 200 ms; lost by a kill, it costs
    /// a look.
    ///
    /// An acknowledgement without an intent, or a find without any record, is refused: see [`Self::flush`].
    pub async fn landed(
        &self,
        folder: FolderId,
        validity: UidValidity,
        messages: Vec<(Uid, Landed)>,
    ) -> Result<(), LedgerError> {
        if messages.is_empty() {
            return Ok(());
        }
        self.queue(folder, move |connection| {
            let is_troubled = is_troubled(connection, folder)?;
            for run in messages.chunk_by(|one, next| follows(*one, *next)) {
                if !land_run(connection, folder, validity, run)? {
                    run.iter().try_for_each(|(uid, landed)| land(connection, folder, validity, *uid, *landed))?;
                }
                for (uid, _) in run.iter().filter(|_| is_troubled) {
                    forget_trouble(connection, folder, validity, *uid)?;
                }
            }
            Ok(0)
        })
        .await
    }

    /// Takes over messages that were on the target before us and have no record yet: their fate is Adopted. Each record
    /// has to name its target UID; its flags are the agreed ones, none where there is no base.
    pub async fn adopt(
        &self,
        folder: FolderId,
        validity: UidValidity,
        records: Vec<Record>,
    ) -> Result<(), LedgerError> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            work_under(connection, folder, validity)?;
            let mut insert = connection.prepare_cached(ADOPT)?;
            for record in &records {
                let uid = record.source_uid;
                if record.target.is_none() {
                    return Err(LedgerError::Unknown(format!("the target UID of source UID {uid}")).into());
                }
                put(&mut insert, folder, validity, record, ADOPTED)?;
                forget_trouble(connection, folder, validity, uid)?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Writes down under new numbers that messages had been removed from the target before: each record is as it was, but for
    /// its number. Durable when it returns.
    pub async fn removed_before(
        &self,
        folder: FolderId,
        validity: UidValidity,
        records: Vec<Record>,
    ) -> Result<(), LedgerError> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            work_under(connection, folder, validity)?;
            let mut insert = connection.prepare_cached(ADOPT)?;
            for record in &records {
                let record = Record { evidence: Evidence::None, ..record.clone() };
                put(&mut insert, folder, validity, &record, codec::of_fate(Fate::Removed))?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Writes down what became of messages that did not land; durable when it returns. What is known of a message from
    /// before stays, its target UID too but where it is gone from the source; only the evidence is void.
    pub async fn settle(
        &self,
        folder: FolderId,
        validity: UidValidity,
        settlements: Vec<Settlement>,
    ) -> Result<(), LedgerError> {
        if settlements.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            work_under(connection, folder, validity)?;
            for settlement in &settlements {
                settle_one(connection, folder, validity, settlement)?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Notes what a look back has shown of messages that landed. Queued, as [`Self::landed`] is.
    pub async fn prove(
        &self,
        folder: FolderId,
        validity: UidValidity,
        proofs: Vec<(Uid, Evidence)>,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "UPDATE OR FAIL records SET evidence = ?5 WHERE folder = ?1 AND validity = ?2
             AND uid BETWEEN ?3 AND ?4 AND stage IN (1, 2) AND evidence <> ?5";
        self.queue(folder, move |connection| {
            let mut update = connection.prepare_cached(SQL)?;
            for run in proofs.chunk_by(|(uid, one), (next, other)| is_next(*uid, *next) && one == other) {
                let (first, evidence) = run[0];
                let last = run[run.len() - 1].0;
                let evidence = codec::of_evidence(evidence);
                update.execute(params![folder.0, validity.value(), first.value(), last.value(), evidence])?;
            }
            Ok(0)
        })
        .await
    }

    /// Notes the flags on which both sides agree now. Queued, as [`Self::landed`] is.
    pub async fn rebase(
        &self,
        folder: FolderId,
        validity: UidValidity,
        agreed: Vec<(Uid, Flags)>,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "UPDATE records SET flags = ?4 WHERE folder = ?1 AND validity = ?2 AND uid = ?3";
        self.queue(folder, move |connection| {
            let mut update = connection.prepare_cached(SQL)?;
            for (uid, flags) in &agreed {
                update.execute(params![folder.0, validity.value(), uid.value(), flags.to_string()])?;
            }
            Ok(0)
        })
        .await
    }

    /// Takes back intents that are known not to have landed; durable when it returns. The messages are unknown then; what
    /// is no open intent stays as it is.
    pub async fn retract(&self, folder: FolderId, validity: UidValidity, uids: Vec<Uid>) -> Result<(), LedgerError> {
        const SQL: &str = "DELETE FROM records WHERE folder = ?1 AND validity = ?2 AND uid = ?3 AND stage = 0";
        if uids.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            let mut delete = connection.prepare_cached(SQL)?;
            for uid in &uids {
                delete.execute(params![folder.0, validity.value(), uid.value()])?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Notes something a message lost that does not decide its fate; the same loss twice is one. Queued, as
    /// [`Self::landed`] is.
    pub async fn note_loss(
        &self,
        folder: FolderId,
        validity: UidValidity,
        uid: Uid,
        kind: LossKind,
        text: &str,
    ) -> Result<(), LedgerError> {
        let text = cut(text).to_owned();
        self.queue(folder, move |connection| {
            work_under(connection, folder, validity)?;
            connection
                .prepare_cached(
                    "INSERT INTO losses (folder, validity, uid, kind, text) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![folder.0, validity.value(), uid.value(), kind.as_str(), text])?;
            Ok(0)
        })
        .await
    }

    /// Notes what messages that did not arrive are called: subject, Date field, and their bytes where those are not known
    /// yet. Durable when it returns.
    pub async fn name_troubles(
        &self,
        folder: FolderId,
        validity: UidValidity,
        named: Vec<(Uid, String, String, u64)>,
    ) -> Result<(), LedgerError> {
        const SQL: &str =
            "UPDATE troubles SET subject = ?4, date_header = ?5, size = CASE WHEN size = 0 THEN ?6 ELSE size END
             WHERE folder = ?1 AND validity = ?2 AND uid = ?3";
        if named.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            let mut update = connection.prepare_cached(SQL)?;
            for (uid, subject, date, size) in &named {
                let (subject, date, size) = (cut(subject), cut(date), codec::of_size(*size));
                update.execute(params![folder.0, validity.value(), uid.value(), subject, date, size])?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Gives at most `limit` records from a UID on, in UID order.
    pub async fn records(
        &self,
        folder: FolderId,
        validity: UidValidity,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<Record>, LedgerError> {
        self.select(
            "WHERE folder = ?1 AND validity = ?2 AND uid >= ?3 ORDER BY uid LIMIT ?4",
            folder,
            validity,
            from,
            limit,
        )
        .await
    }

    /// Gives the record of one message.
    pub async fn record(
        &self,
        folder: FolderId,
        validity: UidValidity,
        uid: Uid,
    ) -> Result<Option<Record>, LedgerError> {
        self.read_of(folder, move |connection| find(connection, folder, validity, uid)).await
    }

    /// Gives all open intents in UID order: after a kill at most what was on its way then.
    pub async fn intended(&self, folder: FolderId, validity: UidValidity) -> Result<Vec<Record>, LedgerError> {
        // The planner takes the primary key otherwise and reads every row.
        const REST: &str = "INDEXED BY records_stage WHERE folder = ?1 AND validity = ?2 AND stage = 0 AND uid >= ?3
            ORDER BY uid LIMIT ?4";
        self.select(REST, folder, validity, Uid::FIRST, usize::MAX).await
    }

    /// Gives at most `limit` messages from a UID on that the target acknowledged without saying where they are.
    pub async fn unplaced(
        &self,
        folder: FolderId,
        validity: UidValidity,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<Record>, LedgerError> {
        const REST: &str = "INDEXED BY records_unplaced WHERE folder = ?1 AND validity = ?2 AND stage = 1
            AND target_uid IS NULL AND uid >= ?3 ORDER BY uid LIMIT ?4";
        self.select(REST, folder, validity, from, limit).await
    }

    /// Gives the UIDs of a target folder that a record holds, or that are known to be surplus, ascending: four bytes each.
    ///
    /// Records of every source folder and of every account that goes into the same target folder count, under any source
    /// UIDVALIDITY: what one of them holds, no other may claim.
    pub async fn paired(&self, folder: FolderId, target_validity: UidValidity) -> Result<Vec<Uid>, LedgerError> {
        self.held(self.siblings(folder, false).await?, target_validity).await
    }

    async fn held(&self, by: Vec<FolderId>, target_validity: UidValidity) -> Result<Vec<Uid>, LedgerError> {
        const HELD: &str =
            "SELECT target_uid FROM records WHERE folder = ?1 AND target_validity = ?2 AND target_uid IS NOT NULL
             UNION ALL SELECT target_uid FROM surplus WHERE folder = ?1 AND target_validity = ?2";
        self.read(move |connection| {
            let mut uids = Vec::new();
            let mut held = connection.prepare_cached(HELD)?;
            for folder in by {
                let mut rows = held.query(params![folder.0, target_validity.value()])?;
                while let Some(row) = rows.next()? {
                    uids.push(codec::uid(row, 0)?);
                }
            }
            uids.sort_unstable();
            uids.dedup();
            Ok(uids)
        })
        .await
    }

    /// Gives the UIDs of a target folder that records of *other* source folders hold, ascending: what several folders or
    /// accounts go into is shared out among them.
    pub async fn held_by_others(
        &self,
        folder: FolderId,
        target_validity: UidValidity,
    ) -> Result<Vec<Uid>, LedgerError> {
        self.held(self.siblings(folder, true).await?, target_validity).await
    }

    /// Gives the UIDs of a target folder that other names of this mailbox hold, ascending.
    pub async fn held_by_namesakes(
        &self,
        folder: FolderId,
        target_validity: UidValidity,
    ) -> Result<Vec<Uid>, LedgerError> {
        let others = self.siblings(folder, true).await?;
        let mut namesakes = self.siblings(folder, false).await?;
        namesakes.retain(|sibling| *sibling != folder && !others.contains(sibling));
        self.held(namesakes, target_validity).await
    }

    /// Gives what records under other source UIDVALIDITYs know of messages that were on the target and are not now: `here`
    /// are the UIDs the target lists under `target_validity`, ascending. With them: how many copies there were.
    pub async fn recall(
        &self,
        folder: FolderId,
        validity: UidValidity,
        target_validity: UidValidity,
        here: Uids,
    ) -> Result<Recalled, LedgerError> {
        self.read_of(folder, move |connection| {
            let removed = codec::of_fate(Fate::Removed);
            let mut recalled = Recalled::default();
            for others in OTHERS {
                let sql = format!(
                    "{SELECT} WHERE folder = ?1 AND {others}
                        AND (stage = ?4 OR stage IN (1, 2) AND target_validity = ?3 AND target_uid IS NOT NULL)"
                );
                let mut select = connection.prepare_cached(&sql)?;
                let mut rows = select.query(params![folder.0, validity.value(), target_validity.value(), removed])?;
                while let Some(row) = rows.next()? {
                    let record = record(row)?;
                    if record.stage != Stage::Settled(Fate::Removed) {
                        recalled.were += 1;
                        if record.target.is_some_and(|(_, uid)| here.has(uid)) {
                            continue;
                        }
                        recalled.gone += 1;
                    }
                    recalled.removed.push(record);
                }
            }
            Ok(recalled)
        })
        .await
    }

    /// Says how many messages a folder's records hold for being on the target, under any source UIDVALIDITY.
    pub async fn copies(&self, folder: FolderId) -> Result<u64, LedgerError> {
        self.read_of(folder, move |connection| {
            let mut count =
                connection.prepare_cached("SELECT count(*) FROM records WHERE folder = ?1 AND stage IN (1, 2)")?;
            Ok(count.query_row([folder.0], |row| row.get(0))?)
        })
        .await
    }

    /// Says whether nothing is known of any message of a folder.
    ///
    /// # Errors
    /// The file's.
    pub async fn is_unknown(&self, folder: FolderId) -> Result<bool, LedgerError> {
        self.read_of(folder, move |connection| {
            let mut any = connection.prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM records WHERE folder = ?1)")?;
            Ok(any.query_row([folder.0], |row| row.get(0))?)
        })
        .await
    }

    /// Forgets what was known of a folder's messages under this UIDVALIDITY: their UIDs mean nothing any more.
    pub async fn forget_records(&self, folder: FolderId, validity: UidValidity) -> Result<(), LedgerError> {
        self.forget_where(&["validity = ?2"], folder, validity).await
    }

    /// Forgets what was known of a folder's messages under any other UIDVALIDITY: every message has its fate under this
    /// one.
    pub async fn forget_others(&self, folder: FolderId, validity: UidValidity) -> Result<(), LedgerError> {
        self.forget_where(&OTHERS, folder, validity).await
    }

    async fn forget_where(
        &self,
        which: &'static [&'static str],
        folder: FolderId,
        validity: UidValidity,
    ) -> Result<(), LedgerError> {
        self.queue(folder, move |connection| {
            for which in which {
                for table in ["losses", "records"] {
                    let sql = format!("DELETE FROM {table} WHERE folder = ?1 AND {which}");
                    connection.prepare_cached(&sql)?.execute(params![folder.0, validity.value()])?;
                }
            }
            Ok(0)
        })
        .await
    }

    async fn select(
        &self,
        rest: &'static str,
        folder: FolderId,
        validity: UidValidity,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<Record>, LedgerError> {
        self.read_of(folder, move |connection| {
            let sql = format!("{SELECT} {rest}");
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut select = connection.prepare_cached(&sql)?;
            let rows = select.query_map(params![folder.0, validity.value(), from.value(), limit], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Any UIDVALIDITY but ?2, in two ranges of the primary key: the records under ?2 are the most, and need not be read.
pub(super) const OTHERS: [&str; 2] = ["validity < ?2", "validity > ?2"];

pub(super) const SELECT: &str =
    "SELECT uid, stage, evidence, target_validity, target_uid, floor_validity, floor_uid, size, digest,
    header, date, zone, flags, risky FROM records";

const ADOPT: &str = "
INSERT OR REPLACE INTO records (folder, validity, uid, stage, evidence, target_validity, target_uid, floor_validity,
    floor_uid, size, digest, header, date, zone, flags, risky)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

const SETTLE: &str = "
INSERT INTO records (folder, validity, uid, stage, evidence, size, date, zone, flags)
VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, '')
ON CONFLICT DO UPDATE SET stage = excluded.stage, evidence = 0, date = COALESCE(records.date, excluded.date),
    zone = COALESCE(records.zone, excluded.zone),
    target_validity = CASE excluded.stage WHEN 6 THEN NULL ELSE records.target_validity END,
    target_uid = CASE excluded.stage WHEN 6 THEN NULL ELSE records.target_uid END";

const TROUBLE: &str = "
INSERT INTO troubles (folder, validity, uid, kind, words, subject, date_header, size, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT DO UPDATE SET kind = excluded.kind, words = excluded.words, subject = excluded.subject,
    date_header = excluded.date_header, size = excluded.size, at = excluded.at";

/// Remembers under which UIDVALIDITY the folder is worked on: only its records count.
pub(super) fn work_under(connection: &Connection, folder: FolderId, validity: UidValidity) -> Result<(), Fault> {
    connection
        .prepare_cached("UPDATE folders SET validity = ?2 WHERE id = ?1 AND validity IS NOT ?2")?
        .execute(params![folder.0, validity.value()])?;
    Ok(())
}

/// Gives the columns of a place.
pub(super) fn place(place: Option<(UidValidity, Uid)>) -> (Option<u32>, Option<u32>) {
    place.map(|(validity, uid)| (validity.value(), uid.value())).unzip()
}

/// Writes all columns of a record; gives the number of rows it met.
fn put(
    statement: &mut CachedStatement<'_>,
    folder: FolderId,
    validity: UidValidity,
    record: &Record,
    stage: i64,
) -> Result<usize, Fault> {
    let (target_validity, target_uid) = place(record.target);
    let (floor_validity, floor_uid) = place(record.floor);
    Ok(statement.execute(params![
        folder.0,
        validity.value(),
        record.source_uid.value(),
        stage,
        codec::of_evidence(record.evidence),
        target_validity,
        target_uid,
        floor_validity,
        floor_uid,
        codec::of_size(record.size),
        record.digest.map(|digest| digest.0),
        record.header.map(|digest| digest.0),
        record.date.map(InternalDate::unix),
        record.date.map(InternalDate::zone),
        record.flags.to_string(),
        record.risky,
    ])?)
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let (date, zone): (Option<i64>, Option<i16>) = (row.get(10)?, row.get(11)?);
    let flags = row.get_ref(12)?.as_str()?;
    Ok(Record {
        source_uid: codec::uid(row, 0)?,
        stage: codec::stage(row, 1)?,
        evidence: codec::evidence(row, 2)?,
        target: codec::place(row, 3)?,
        floor: codec::place(row, 5)?,
        size: codec::size(row, 7)?,
        digest: codec::digest(row, 8)?,
        header: codec::digest(row, 9)?,
        date: date.zip(zone).and_then(|(unix, zone)| InternalDate::new(unix, zone)),
        flags: Flags::parse(flags),
        risky: row.get(13)?,
    })
}

pub(super) fn find(
    connection: &Connection,
    folder: FolderId,
    validity: UidValidity,
    uid: Uid,
) -> Result<Option<Record>, Fault> {
    let sql = format!("{SELECT} WHERE folder = ?1 AND validity = ?2 AND uid = ?3");
    let mut select = connection.prepare_cached(&sql)?;
    Ok(select.query_row(params![folder.0, validity.value(), uid.value()], record).optional()?)
}

pub(super) fn settle_one(
    connection: &Connection,
    folder: FolderId,
    validity: UidValidity,
    settlement: &Settlement,
) -> Result<(), Fault> {
    let uid = settlement.source_uid;
    connection.prepare_cached(SETTLE)?.execute(params![
        folder.0,
        validity.value(),
        uid.value(),
        codec::of_fate(settlement.fate.into()),
        codec::of_size(settlement.size),
        settlement.date.map(InternalDate::unix),
        settlement.date.map(InternalDate::zone),
    ])?;
    let Some(trouble) = &settlement.trouble else { return forget_trouble(connection, folder, validity, uid) };
    connection.prepare_cached(TROUBLE)?.execute(params![
        folder.0,
        validity.value(),
        uid.value(),
        trouble.kind,
        cut(&trouble.words),
        cut(&trouble.subject),
        cut(&trouble.date_header),
        codec::of_size(trouble.size),
        codec::of_time(SystemTime::now()),
    ])?;
    Ok(())
}

/// Says whether any message of a folder is listed with its trouble.
fn is_troubled(connection: &Connection, folder: FolderId) -> Result<bool, Fault> {
    let mut any = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM troubles WHERE folder = ?1)")?;
    Ok(any.query_row([folder.0], |row| row.get(0))?)
}

fn forget_trouble(connection: &Connection, folder: FolderId, validity: UidValidity, uid: Uid) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM troubles WHERE folder = ?1 AND validity = ?2 AND uid = ?3")?
        .execute(params![folder.0, validity.value(), uid.value()])?;
    Ok(())
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
