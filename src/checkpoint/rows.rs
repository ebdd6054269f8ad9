//! How intents and answers are written: many rows in one statement where they follow each other.
//!
//! What SQLite keeps to undo a statement it keeps once for all of its rows; a row by itself costs three times as much.

use super::accounts::{FolderId, known};
use super::codec::{self, COPIED, INTENDED};
use super::error::{Fault, LedgerError};
use super::records::{Landed, find, place};
use crate::mail::{Evidence, InternalDate, Record, Stage, Uid, UidValidity};
use rusqlite::{Connection, params};

/// Rows in one statement: what SQLite keeps to undo a statement is kept once for all of them.
pub(super) const ROWS: usize = 16;

const INTEND: &str = "
INSERT INTO records (folder, validity, uid, stage, evidence, floor_validity, floor_uid, size, digest, header, date, zone,
    flags, risky)
VALUES ";

/// Meets no row where the message has landed. A floor that is NULL is the lowest.
const INTEND_ANEW: &str = "
ON CONFLICT DO UPDATE SET stage = excluded.stage, evidence = 0, target_validity = NULL, target_uid = NULL,
    floor_validity = CASE WHEN records.stage = 0 AND records.floor_uid IS NULL THEN NULL
        ELSE excluded.floor_validity END,
    floor_uid = CASE WHEN records.stage = 0 AND records.floor_uid IS NULL THEN NULL
        WHEN records.stage = 0 AND records.floor_validity = excluded.floor_validity
            THEN min(records.floor_uid, excluded.floor_uid)
        ELSE excluded.floor_uid END,
    size = excluded.size, digest = excluded.digest, header = excluded.header, date = excluded.date,
    zone = excluded.zone, flags = excluded.flags, risky = excluded.risky
WHERE records.stage NOT IN (1, 2)";

/// Writes intents down.
pub(super) fn intend(
    connection: &Connection,
    folder: FolderId,
    validity: UidValidity,
    records: &[Record],
) -> Result<(), Fault> {
    /// Parameters of a row, behind those that all rows share.
    const OF_ROW: usize = 10;
    const SHARED: usize = 2;
    let row = |row: usize| {
        let first = SHARED + row * OF_ROW + 1;
        let others: Vec<String> = (first + 1..first + OF_ROW).map(|number| format!("?{number}")).collect();
        format!("(?1, ?2, ?{first}, {INTENDED}, 0, {})", others.join(", "))
    };
    let rows: Vec<String> = (0..records.len()).map(row).collect();
    let mut insert = connection.prepare_cached(&format!("{INTEND}{}{INTEND_ANEW}", rows.join(", ")))?;
    insert.raw_bind_parameter(1, folder.0)?;
    insert.raw_bind_parameter(2, validity.value())?;
    for (at, record) in records.iter().enumerate() {
        let first = SHARED + at * OF_ROW + 1;
        let (floor_validity, floor_uid) = place(record.floor);
        insert.raw_bind_parameter(first, record.source_uid.value())?;
        insert.raw_bind_parameter(first + 1, floor_validity)?;
        insert.raw_bind_parameter(first + 2, floor_uid)?;
        insert.raw_bind_parameter(first + 3, codec::of_size(record.size))?;
        insert.raw_bind_parameter(first + 4, record.digest.map(|digest| digest.0))?;
        insert.raw_bind_parameter(first + 5, record.header.map(|digest| digest.0))?;
        insert.raw_bind_parameter(first + 6, record.date.map(InternalDate::unix))?;
        insert.raw_bind_parameter(first + 7, record.date.map(InternalDate::zone))?;
        insert.raw_bind_parameter(first + 8, record.flags.to_string())?;
        insert.raw_bind_parameter(first + 9, record.risky)?;
    }
    if insert.raw_execute()? == records.len() {
        return Ok(());
    }
    for record in records {
        let uid = record.source_uid;
        if let Some(Stage::Settled(fate)) = find(connection, folder, validity, uid)?.map(|record| record.stage) {
            return Err(LedgerError::Landed { uid, fate }.into());
        }
    }
    Err(LedgerError::Unknown("an intent that was not written".to_owned()).into())
}

/// Says whether a UID is the one after another.
pub(super) fn is_next(uid: Uid, next: Uid) -> bool {
    uid.value().checked_add(1) == Some(next.value())
}

/// Says whether a message and its copy are the next ones on both sides.
pub(super) fn follows((uid, landed): (Uid, Landed), (next_uid, next): (Uid, Landed)) -> bool {
    let (Landed::Acknowledged(landed), Landed::Acknowledged(next)) = (landed, next) else { return false };
    let (Some((validity, target)), Some((next_validity, next))) = (landed.target(), next.target()) else {
        return false;
    };
    is_next(uid, next_uid) && is_next(target, next) && validity == next_validity
}

/// Marks messages that follow each other on both sides as landed. Gives false where one of them has to be looked at alone.
pub(super) fn land_run(
    connection: &Connection,
    folder: FolderId,
    validity: UidValidity,
    run: &[(Uid, Landed)],
) -> Result<bool, Fault> {
    const HELD: &str = "SELECT EXISTS (SELECT 1 FROM records WHERE folder = ?1 AND target_validity = ?3
        AND target_uid BETWEEN ?4 AND ?5 AND stage >= 1 AND validity = ?2 AND uid <> target_uid - ?6)";
    const LAND: &str =
        "UPDATE OR FAIL records SET stage = ?5, evidence = ?6, target_validity = ?7, target_uid = uid + ?8
        WHERE folder = ?1 AND validity = ?2 AND uid BETWEEN ?3 AND ?4 AND stage IN (0, 1)";
    let ends = (run[0], run[run.len() - 1]);
    let ((first, Landed::Acknowledged(proof)), (last, _)) = ends else { return Ok(false) };
    let Some((target_validity, target)) = proof.target().filter(|_| run.len() > 1) else { return Ok(false) };
    let (folder, validity, target_validity) = (folder.0, validity.value(), target_validity.value());
    let apart = i64::from(target.value()) - i64::from(first.value());
    let target_last = i64::from(last.value()) + apart;
    let values = params![folder, validity, target_validity, target.value(), target_last, apart];
    if connection.prepare_cached(HELD)?.query_row(values, |row| row.get(0))? {
        return Ok(false);
    }
    let evidence = codec::of_evidence(Evidence::None);
    let values = params![folder, validity, first.value(), last.value(), COPIED, evidence, target_validity, apart];
    Ok(connection.prepare_cached(LAND)?.execute(values)? == run.len())
}

/// Marks a message as landed.
pub(super) fn land(
    connection: &Connection,
    folder: FolderId,
    validity: UidValidity,
    uid: Uid,
    landed: Landed,
) -> Result<(), Fault> {
    // An acknowledgement without a place does not take away a place that a look has found.
    const ACKNOWLEDGED: &str = "UPDATE OR FAIL records SET stage = ?4, evidence = ?5,
            target_validity = COALESCE(?6, target_validity), target_uid = COALESCE(?7, target_uid),
            risky = risky OR ?8
        WHERE folder = ?1 AND validity = ?2 AND uid = ?3 AND stage IN (0, 1)";
    // Without a digest the mark is said of the copy, and this may be another one.
    const FOUND: &str = "UPDATE OR FAIL records SET stage = ?4, evidence = ?5, target_validity = ?6, target_uid = ?7,
            risky = ?8 OR (risky AND digest IS NOT NULL)
        WHERE folder = ?1 AND validity = ?2 AND uid = ?3";
    let (sql, target, altered) = match landed {
        Landed::Acknowledged(proof) => {
            // One copy stands for one message: where it is is not known then, and it is looked for.
            let target = match proof.target() {
                Some(target) if is_held(connection, folder, (validity, uid), target)? => None,
                target => target,
            };
            (ACKNOWLEDGED, target, false)
        }
        Landed::Found { target, altered } => (FOUND, Some(target), altered),
    };
    let changed = connection.prepare_cached(sql)?.execute(params![
        folder.0,
        validity.value(),
        uid.value(),
        COPIED,
        codec::of_evidence(Evidence::None),
        target.map(|(validity, _)| validity.value()),
        target.map(|(_, uid)| uid.value()),
        altered,
    ])?;
    match (changed, landed) {
        (0, Landed::Acknowledged(_)) => Err(LedgerError::NotIntended { uid }.into()),
        _ => known(changed, || format!("source UID {uid}")).map(drop),
    }
}

/// Says whether a target message is the copy of another source message.
fn is_held(
    connection: &Connection,
    folder: FolderId,
    (validity, uid): (UidValidity, Uid),
    (target_validity, target_uid): (UidValidity, Uid),
) -> Result<bool, Fault> {
    const HELD: &str =
        "SELECT EXISTS (SELECT 1 FROM records WHERE folder = ?1 AND target_validity = ?2 AND target_uid = ?3
        AND stage >= 1 AND validity = ?4 AND uid <> ?5)";
    let values = params![folder.0, target_validity.value(), target_uid.value(), validity.value(), uid.value()];
    Ok(connection.prepare_cached(HELD)?.query_row(values, |row| row.get(0))?)
}
