//! How values stand in columns.

use crate::mail::{Digest, Evidence, Fate, Stage, Uid, UidValidity};
use rusqlite::Row;
use rusqlite::types::Type;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Stands for [`Stage::Intended`]; the fates follow.
pub(super) const INTENDED: i64 = 0;
/// Stands for `Settled(Copied)`; the schema's partial index knows it too.
pub(super) const COPIED: i64 = 1;
/// Stands for `Settled(Adopted)`.
pub(super) const ADOPTED: i64 = 2;

const FATES: [(Fate, i64); 8] = [
    (Fate::Copied, COPIED),
    (Fate::Adopted, ADOPTED),
    (Fate::Excluded, 3),
    (Fate::Refused, 4),
    (Fate::Unreadable, 5),
    (Fate::Gone, 6),
    (Fate::Removed, 7),
    (Fate::Missing, 8),
];

const EVIDENCE: [(Evidence, i64); 5] = [
    (Evidence::None, 0),
    (Evidence::Counted, 1),
    (Evidence::MetadataEqual, 2),
    (Evidence::BytesEqual, 3),
    (Evidence::BytesAltered, 4),
];

pub(super) fn of_fate(fate: Fate) -> i64 {
    FATES.iter().find(|(known, _)| *known == fate).map_or(-1, |(_, code)| *code)
}

pub(super) fn of_evidence(evidence: Evidence) -> i64 {
    EVIDENCE.iter().find(|(known, _)| *known == evidence).map_or(-1, |(_, code)| *code)
}

pub(super) fn stage(row: &Row<'_>, column: usize) -> rusqlite::Result<Stage> {
    let code: i64 = row.get(column)?;
    if code == INTENDED {
        return Ok(Stage::Intended);
    }
    let fate = FATES.iter().find(|(_, known)| *known == code).map(|(fate, _)| *fate);
    fate.map(Stage::Settled).ok_or_else(|| strange(column, "no stage has this code"))
}

pub(super) fn evidence(row: &Row<'_>, column: usize) -> rusqlite::Result<Evidence> {
    let code: i64 = row.get(column)?;
    let evidence = EVIDENCE.iter().find(|(_, known)| *known == code).map(|(evidence, _)| *evidence);
    evidence.ok_or_else(|| strange(column, "no evidence has this code"))
}

pub(super) fn uid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uid> {
    Uid::new(row.get(column)?).ok_or_else(|| strange(column, "a UID is never 0"))
}

pub(super) fn validity(row: &Row<'_>, column: usize) -> rusqlite::Result<UidValidity> {
    UidValidity::new(row.get(column)?).ok_or_else(|| strange(column, "a UIDVALIDITY is never 0"))
}

/// Reads a UIDVALIDITY and the UID in the column after it.
pub(super) fn place(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<(UidValidity, Uid)>> {
    let (validity, uid): (Option<u32>, Option<u32>) = (row.get(column)?, row.get(column + 1)?);
    Ok(validity.and_then(UidValidity::new).zip(uid.and_then(Uid::new)))
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(Digest))
}

/// Packs a size; SQLite's numbers end at 2^63, mail does long before.
pub(super) fn of_size(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn size(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

/// Packs an instant: milliseconds since 1970, and 1970 for what was before.
pub(super) fn of_time(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn time(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs())
}

/// Packs what has a JSON form.
pub(super) fn of_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// Packs a path, which on Unix is bytes and no text.
pub(super) fn of_path(path: &Path) -> Vec<u8> {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    #[cfg(not(unix))]
    return path.to_string_lossy().into_owned().into_bytes();
}

pub(super) fn path(bytes: Vec<u8>) -> PathBuf {
    #[cfg(unix)]
    return PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes));
    #[cfg(not(unix))]
    return PathBuf::from(String::from_utf8_lossy(&bytes).into_owned());
}

fn strange(column: usize, why: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, why.into())
}
