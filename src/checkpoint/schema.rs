//! The tables, format by format.

use super::error::Fault;
use super::sums;
use rusqlite::Connection;

/// "mhld": what makes a SQLite file a ledger.
pub(super) const APPLICATION_ID: i32 = 0x6d68_6c64;

/// One step from a format to the next.
pub(super) struct Step {
    /// The first version of mailhaul that reads the format this step leads to.
    pub(super) needs: &'static str,
    /// What it changes.
    pub(super) sql: &'static str,
}

/// Every format there ever was: step N leads to format N + 1. Steps are added, never changed.
pub(super) const STEPS: &[Step] = &[
    Step { needs: "0.1.0", sql: FORMAT_1 },
    Step { needs: "0.2.0", sql: FORMAT_2 },
    Step { needs: "0.2.0", sql: FORMAT_3 },
    Step { needs: "0.2.0", sql: FORMAT_4 },
    Step { needs: "0.2.0", sql: FORMAT_5 },
];

/// Codes of `stage` and `evidence` are in `codec`. Times are milliseconds since 1970.
const FORMAT_1: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source_host TEXT NOT NULL,
    source_user TEXT NOT NULL,
    target_host TEXT NOT NULL,
    target_user TEXT NOT NULL,
    name TEXT NOT NULL,
    job_name TEXT NOT NULL,
    job_path BLOB NOT NULL,
    job_digest BLOB NOT NULL,
    state TEXT NOT NULL,                        -- JSON of AccountState
    started INTEGER,
    ended INTEGER,
    source_reached INTEGER NOT NULL DEFAULT 0,
    target_reached INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source_host, source_user, target_host, target_user)
) STRICT;
CREATE INDEX accounts_target ON accounts (target_host);

CREATE TABLE folders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES accounts (id),
    source BLOB NOT NULL,                       -- wire names; the inbox in capitals
    target BLOB NOT NULL,
    path TEXT NOT NULL,                         -- JSON of the parts
    current INTEGER NOT NULL DEFAULT 1,         -- 0: the source folder goes to another target folder now
    validity INTEGER,                           -- the source's UIDVALIDITY last worked under
    watermark TEXT,                             -- JSON of both folder states
    UNIQUE (account, source, target)
) STRICT;

CREATE TABLE records (
    folder INTEGER NOT NULL REFERENCES folders (id),
    validity INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    evidence INTEGER NOT NULL,
    target_validity INTEGER,
    target_uid INTEGER,
    floor_validity INTEGER,
    floor_uid INTEGER,
    size INTEGER NOT NULL,
    digest BLOB,
    header BLOB,
    date INTEGER,                               -- seconds since 1970
    zone INTEGER,                               -- minutes east of Greenwich
    flags TEXT NOT NULL,
    risky INTEGER NOT NULL DEFAULT 0,           -- 1: the copy's bytes are to be read back
    PRIMARY KEY (folder, validity, uid)
) STRICT, WITHOUT ROWID;
-- Answers what people ask, and finds open intents, without reading the rows.
CREATE INDEX records_stage ON records (folder, validity, stage, evidence, size);
CREATE INDEX records_target ON records (folder, target_validity, target_uid) WHERE target_uid IS NOT NULL;
CREATE INDEX records_unplaced ON records (folder, validity, uid) WHERE stage = 1 AND target_uid IS NULL;

CREATE TABLE troubles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder INTEGER NOT NULL,
    validity INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    kind TEXT NOT NULL,
    words TEXT NOT NULL,
    subject TEXT NOT NULL,
    date_header TEXT NOT NULL,
    size INTEGER NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (folder, validity, uid),
    FOREIGN KEY (folder, validity, uid) REFERENCES records (folder, validity, uid) ON DELETE CASCADE
) STRICT;

CREATE TABLE losses (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder INTEGER NOT NULL REFERENCES folders (id),
    validity INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (folder, validity, uid, kind, text)
) STRICT;
";

/// What may still arrive, what is on the target beyond the source's messages, and what shows that the file is sound.
const FORMAT_2: &str = "
CREATE TABLE suspects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder INTEGER NOT NULL REFERENCES folders (id),
    validity INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    floor_validity INTEGER NOT NULL,
    floor_uid INTEGER NOT NULL,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    date INTEGER,
    zone INTEGER,
    flags TEXT NOT NULL,
    risky INTEGER NOT NULL,
    since INTEGER NOT NULL,
    looked INTEGER                              -- the target's UIDNEXT at the last look
) STRICT;
CREATE INDEX suspects_folder ON suspects (folder);

CREATE TABLE surplus (
    folder INTEGER NOT NULL REFERENCES folders (id),
    target_validity INTEGER NOT NULL,
    target_uid INTEGER NOT NULL,
    uid INTEGER NOT NULL,                       -- the source message it is a copy or a part of
    kind TEXT NOT NULL,
    PRIMARY KEY (folder, target_validity, target_uid)
) STRICT, WITHOUT ROWID;

-- The sums themselves, and the triggers that keep them, are made anew after every step: see `sums::install`.
CREATE TABLE sums (
    name TEXT PRIMARY KEY,                      -- of the table
    sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Under which source UIDVALIDITY the message has its number of which a surplus is a copy or a part.
const FORMAT_3: &str = "
ALTER TABLE surplus ADD COLUMN validity INTEGER NOT NULL DEFAULT 1;
UPDATE surplus SET validity = COALESCE((SELECT validity FROM folders WHERE id = folder), 1);
";

/// Which records stand for messages that had left the source when the folder was remembered.
const FORMAT_4: &str = "
ALTER TABLE folders ADD COLUMN left_behind TEXT;
";

/// What was let go of the daily allowances of providers, and what lies ahead in a folder.
const FORMAT_5: &str = "
CREATE TABLE allowances (
    side TEXT NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,                         -- empty: all users of the host together
    day INTEGER NOT NULL,                       -- when it began, in seconds since 1970
    bytes INTEGER NOT NULL,
    PRIMARY KEY (side, host, user, day)
) STRICT, WITHOUT ROWID;

-- What the source listed in the folder when it was last looked at; NULL: not known.
ALTER TABLE folders ADD COLUMN listed INTEGER;
ALTER TABLE folders ADD COLUMN listed_bytes INTEGER;
";

/// Gives the newest format of these steps.
pub(super) fn newest(steps: &[Step]) -> i64 {
    steps.len() as i64
}

/// Brings a file from one format to the newest, in one transaction; nothing to do where it has it.
///
/// The format is read again inside: another process may have done it in the meantime.
pub(super) fn migrate(connection: &mut Connection, steps: &[Step]) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = usize::try_from(found).ok().and_then(|found| steps.get(found..)).unwrap_or_default();
    let Some(last) = missing.last() else { return Ok(()) };
    // A step may change rows that have sums already.
    sums::register(&transaction)?;
    for step in missing {
        transaction.execute_batch(step.sql)?;
    }
    transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('needs', ?1)", [last.needs])?;
    sums::install(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest(steps))?;
    Ok(transaction.commit()?)
}

/// Gives the first version of mailhaul that reads this file; empty where it does not say.
pub(super) fn needs(connection: &Connection) -> String {
    connection.query_row("SELECT value FROM meta WHERE key = 'needs'", [], |row| row.get(0)).unwrap_or_default()
}
