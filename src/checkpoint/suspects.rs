//! What may still arrive, and what is on the target beyond the source's messages.
//!
//! A *suspect* is a message that was sent, whose answer was lost and that was not there when it was looked for: the target
//! may store it yet. A *surplus* is a message on the target that we put there, or let be put there, and that no source
//! message stands behind: a second copy, or the remnant of one that was cut off.

use super::accounts::{AccountId, FolderId};
use super::codec;
use super::error::{Fault, LedgerError};
use super::records::{OTHERS, SELECT, record, settle_one};
use super::writer::About;
use super::{Ending, FolderSummary, Ledger, Settlement};
use crate::mail::{Digest, Flags, FolderPath, InternalDate, Record, Uid, UidValidity};
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use std::time::SystemTime;

/// A message that was sent, is not there, and may arrive yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// Names it.
    pub id: u64,
    /// The message at the source, under the UIDVALIDITY it had.
    pub source: (UidValidity, Uid),
    /// No target UID below can be it.
    pub floor: (UidValidity, Uid),
    /// Bytes sent.
    pub size: u64,
    /// Of all bytes.
    pub digest: Digest,
    /// INTERNALDATE as sent.
    pub date: Option<InternalDate>,
    /// As sent.
    pub flags: Flags,
    /// When it was found absent.
    pub since: SystemTime,
    /// The folder's UIDNEXT when it was last looked for.
    pub looked: Option<Uid>,
}

/// What a surplus message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SurplusKind {
    /// Another copy of a message that has its copy.
    Copy,
    /// The beginning of a message, cut off.
    Remnant,
}

impl SurplusKind {
    const ALL: [Self; 2] = [Self::Copy, Self::Remnant];

    /// Gives the name it is kept under.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Remnant => "remnant",
        }
    }
}

/// A message on the target that no source message stands behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surplus {
    /// Where it is.
    pub target: (UidValidity, Uid),
    /// The source message it is a copy or a part of, under the UIDVALIDITY it had.
    pub source: (UidValidity, Uid),
    /// What it is.
    pub kind: SurplusKind,
}

/// A surplus message, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurplusNote {
    /// The folder's path at the source.
    pub path: FolderPath,
    /// What is there.
    pub surplus: Surplus,
}

impl Ledger {
    /// Takes back intents that were looked for and not found, and remembers each as a [`Suspect`]; durable when it returns.
    /// `floor`: where a record has none. What is no open intent stays as it is.
    pub async fn give_up(
        &self,
        folder: FolderId,
        validity: UidValidity,
        floor: (UidValidity, Uid),
        uids: Vec<Uid>,
    ) -> Result<(), LedgerError> {
        const SUSPECT: &str = "
            INSERT INTO suspects (folder, validity, uid, floor_validity, floor_uid, size, digest, date, zone, flags, risky,
                since)
            SELECT folder, validity, uid, COALESCE(floor_validity, ?4), COALESCE(floor_uid, ?5), size, digest, date, zone,
                flags, risky, ?6
            FROM records WHERE folder = ?1 AND validity = ?2 AND uid = ?3 AND stage = 0 AND digest IS NOT NULL";
        const RETRACT: &str = "DELETE FROM records WHERE folder = ?1 AND validity = ?2 AND uid = ?3 AND stage = 0";
        if uids.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            let now = codec::of_time(SystemTime::now());
            let mut suspect = connection.prepare_cached(SUSPECT)?;
            let mut retract = connection.prepare_cached(RETRACT)?;
            for uid in &uids {
                let message = (folder.0, validity.value(), uid.value());
                let (epoch, first) = (floor.0.value(), floor.1.value());
                suspect.execute(params![message.0, message.1, message.2, epoch, first, now])?;
                retract.execute(message)?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// As [`Self::give_up`], with all open intents from under other source UIDVALIDITYs than this one, or from under all:
    /// their messages have other numbers now, or none that last.
    pub async fn give_up_earlier(
        &self,
        folder: FolderId,
        except: Option<UidValidity>,
        floor: (UidValidity, Uid),
    ) -> Result<(), LedgerError> {
        // No UIDVALIDITY is 0.
        let except = except.map_or(0, UidValidity::value);
        let earlier: Vec<UidValidity> = self
            .read_of(folder, move |connection| {
                let mut earlier = Vec::new();
                for others in OTHERS {
                    let sql =
                        format!("SELECT DISTINCT validity FROM records WHERE folder = ?1 AND {others} AND stage = 0");
                    let mut select = connection.prepare_cached(&sql)?;
                    let rows = select.query_map(params![folder.0, except], |row| codec::validity(row, 0))?;
                    earlier.extend(rows.collect::<Result<Vec<_>, _>>()?);
                }
                Ok(earlier)
            })
            .await?;
        for validity in earlier {
            let intended = self.intended(folder, validity).await?;
            let uids = intended.iter().map(|record| record.source_uid).collect();
            self.give_up(folder, validity, floor, uids).await?;
        }
        Ok(())
    }

    /// Gives the records of messages that had these bytes when they were sent.
    pub async fn of_bytes(
        &self,
        folder: FolderId,
        validity: UidValidity,
        digest: Digest,
    ) -> Result<Vec<Record>, LedgerError> {
        const REST: &str = "WHERE folder = ?1 AND validity = ?2 AND digest = ?3 ORDER BY uid";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} {REST}"))?;
            let rows = select.query_map(params![folder.0, validity.value(), digest.0], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives the suspects of one folder, the oldest first.
    pub async fn suspects(&self, folder: FolderId) -> Result<Vec<Suspect>, LedgerError> {
        const SQL: &str = "SELECT id, validity, uid, floor_validity, floor_uid, size, digest, date, zone, flags, since,
            looked FROM suspects WHERE folder = ?1 ORDER BY id";
        self.read_of(folder, move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map([folder.0], suspect)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives the folders of an account that have suspects.
    pub async fn suspected(&self, account: AccountId) -> Result<Vec<FolderSummary>, LedgerError> {
        const SQL: &str = "SELECT DISTINCT folder FROM suspects JOIN folders ON folders.id = folder WHERE account = ?1";
        let ids: Vec<i64> = self
            .read(move |connection| {
                let mut select = connection.prepare_cached(SQL)?;
                let rows = select.query_map([account.0], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let folders = self.folders(account).await?;
        Ok(folders.into_iter().filter(|folder| ids.contains(&folder.id.0)).collect())
    }

    /// Says whether some source folder that goes into the same target folder, of any account, waits for a message of these
    /// bytes: sent, and not placed.
    pub async fn is_awaited(&self, folder: FolderId, digest: Digest) -> Result<bool, LedgerError> {
        const SQL: &str = "SELECT EXISTS (
            SELECT 1 FROM folders AS this
            JOIN accounts AS mine ON mine.id = this.account
            JOIN accounts AS theirs
                ON theirs.target_host = mine.target_host AND lower(theirs.target_user) = lower(mine.target_user)
            JOIN folders AS other ON other.account = theirs.id AND other.target = this.target
            JOIN records AS r ON r.folder = other.id
            WHERE this.id = ?1 AND r.digest = ?2 AND (r.stage = 0 OR r.stage = 1 AND r.target_uid IS NULL))";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            Ok(select.query_row(params![folder.0, digest.0], |row| row.get(0))?)
        })
        .await
    }

    /// Gives the suspects of a folder of whose bytes it, or another that goes into the same target folder, has a message that was
    /// sent, and of which nobody knows yet where it is: what looks like a late copy of the one may be the first of the other.
    /// What the same mailbox knows under another name of its host was taken over from there.
    pub async fn in_doubt(&self, folder: FolderId) -> Result<Vec<u64>, LedgerError> {
        // Messages are gone through once, whatever the planner thinks of their number.
        const SQL: &str = "SELECT DISTINCT s.id FROM records AS r
            CROSS JOIN suspects AS s ON s.folder = ?1 AND s.digest = r.digest
            WHERE r.folder = ?2 AND r.stage IN (0, 1) AND r.target_uid IS NULL";
        let mut by = self.siblings(folder, true).await?;
        by.push(folder);
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let mut found = Vec::new();
            for by in by {
                let ids = select.query_map([folder.0, by.0], |row| row.get::<_, i64>(0))?;
                for id in ids {
                    found.push(id?.cast_unsigned());
                }
            }
            Ok(found)
        })
        .await
    }

    /// Notes that suspects were looked for when the folder's UIDNEXT was this. Queued, as [`Self::landed`] is.
    pub async fn looked_for(&self, suspects: Vec<u64>, uid_next: Option<Uid>) -> Result<(), LedgerError> {
        self.queue(About::All, move |connection| {
            let mut update = connection.prepare_cached("UPDATE suspects SET looked = ?2 WHERE id = ?1")?;
            let next = uid_next.map_or(0, Uid::value);
            for id in &suspects {
                update.execute(params![codec::of_size(*id), next])?;
            }
            Ok(0)
        })
        .await
    }

    /// Forgets suspects: they have come, or cannot come any more. Durable when it returns.
    pub async fn clear_suspects(&self, suspects: Vec<u64>) -> Result<(), LedgerError> {
        if suspects.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            let mut delete = connection.prepare_cached("DELETE FROM suspects WHERE id = ?1")?;
            for id in &suspects {
                delete.execute([codec::of_size(*id)])?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Notes what is on the target beyond the source's messages; durable when it returns.
    pub async fn note_surplus(&self, folder: FolderId, surplus: Vec<Surplus>) -> Result<(), LedgerError> {
        if surplus.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            surplus.iter().try_for_each(|surplus| insert(connection, folder, surplus))?;
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Turns copies that were cut off into surplus: their source messages have no copy any more. Durable when it returns.
    pub async fn cut_off(&self, folder: FolderId, copies: Vec<Surplus>) -> Result<(), LedgerError> {
        if copies.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            for surplus in &copies {
                insert(connection, folder, surplus)?;
                let ((validity, source_uid), fate) = (surplus.source, Ending::Gone);
                let without = Settlement { source_uid, fate, size: 0, date: None, trouble: None };
                settle_one(connection, folder, validity, &without)?;
            }
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Gives what is known to be surplus in a folder, by target UID.
    pub async fn surplus(&self, folder: FolderId) -> Result<Vec<Surplus>, LedgerError> {
        const SQL: &str = "SELECT target_validity, target_uid, validity, uid, kind FROM surplus WHERE folder = ?1 ORDER BY target_uid";
        self.read_of(folder, move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map([folder.0], |row| surplus(row, 0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives what is known to be surplus in an account, by folder.
    pub async fn surpluses(&self, account: AccountId) -> Result<Vec<SurplusNote>, LedgerError> {
        const SQL: &str = "SELECT f.path, s.target_validity, s.target_uid, s.validity, s.uid, s.kind
            FROM surplus AS s JOIN folders AS f ON f.id = s.folder
            WHERE f.account = ?1 AND f.current = 1 ORDER BY f.path, s.target_uid";
        self.read(move |connection| {
            let mut select = connection.prepare_cached(SQL)?;
            let rows = select.query_map([account.0], |row| {
                let path = codec::json(row.get_ref(0)?.as_str()?, 0)?;
                Ok(SurplusNote { path, surplus: surplus(row, 1)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Forgets surplus that is on the target no more. Queued, as [`Self::landed`] is.
    pub async fn forget_surplus(&self, folder: FolderId, gone: Vec<(UidValidity, Uid)>) -> Result<(), LedgerError> {
        const SQL: &str = "DELETE FROM surplus WHERE folder = ?1 AND target_validity = ?2 AND target_uid = ?3";
        if gone.is_empty() {
            return Ok(());
        }
        self.queue(folder, move |connection| {
            let mut delete = connection.prepare_cached(SQL)?;
            for (validity, uid) in &gone {
                delete.execute(params![folder.0, validity.value(), uid.value()])?;
            }
            Ok(0)
        })
        .await
    }
}

fn insert(connection: &Connection, folder: FolderId, surplus: &Surplus) -> Result<(), Fault> {
    const SQL: &str = "INSERT INTO surplus (folder, target_validity, target_uid, validity, uid, kind)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let Surplus { target, source, kind } = surplus;
    let (target, source) = ((target.0.value(), target.1.value()), (source.0.value(), source.1.value()));
    let values = params![folder.0, target.0, target.1, source.0, source.1, kind.as_str()];
    connection.prepare_cached(SQL)?.execute(values)?;
    Ok(())
}

fn suspect(row: &Row<'_>) -> rusqlite::Result<Suspect> {
    let place = |column| codec::place(row, column)?.ok_or(rusqlite::Error::InvalidQuery);
    let (date, zone): (Option<i64>, Option<i16>) = (row.get(7)?, row.get(8)?);
    Ok(Suspect {
        id: codec::size(row, 0)?,
        source: place(1)?,
        floor: place(3)?,
        size: codec::size(row, 5)?,
        digest: codec::digest(row, 6)?.ok_or(rusqlite::Error::InvalidQuery)?,
        date: date.zip(zone).and_then(|(unix, zone)| InternalDate::new(unix, zone)),
        flags: Flags::parse(row.get_ref(9)?.as_str()?),
        since: codec::time(row.get(10)?),
        looked: row.get::<_, Option<u32>>(11)?.and_then(Uid::new),
    })
}

fn surplus(row: &Row<'_>, column: usize) -> rusqlite::Result<Surplus> {
    let kind: String = row.get(column + 4)?;
    let known = SurplusKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let strange = || rusqlite::Error::InvalidColumnType(column + 4, kind.clone(), rusqlite::types::Type::Text);
    let place = |column| codec::place(row, column)?.ok_or(rusqlite::Error::InvalidQuery);
    Ok(Surplus { target: place(column)?, source: place(column + 2)?, kind: known.ok_or_else(strange)? })
}
