//! The ledger as a thing that people keep: copied while it is in use, set aside when it is damaged, freed of what is done.

use super::accounts::{AccountId, AccountKey, AccountState, JobReference, account_key};
use super::error::{Fault, LedgerError};
use super::file::{self, Place};
use super::lock::Entry;
use super::{Ledger, blocking, codec, schema, sums};
use crate::mail::Digest;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What a ledger is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFacts {
    /// The file.
    pub path: PathBuf,
    /// Of the file and its log.
    pub bytes: u64,
    /// The number of its format.
    pub format: i64,
}

/// What became of a ledger that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub file: PathBuf,
    /// The accounts it knew that were ever begun, in the order in which they were first seen. None: they could not be read,
    /// or could not be trusted.
    pub accounts: Option<Vec<(AccountKey, JobReference)>>,
}

impl Ledger {
    /// Gives what the ledger is, for people.
    pub async fn facts(&self) -> Result<StateFacts, LedgerError> {
        let place = self.inner.place.clone();
        self.read(move |connection| {
            let format = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let length = |path: &Path| path.metadata().map_or(0, |file| file.len());
            let bytes = length(place.file()) + length(&place.beside("-wal"));
            Ok(StateFacts { path: place.file().to_owned(), bytes, format })
        })
        .await
    }

    /// Writes a copy of all that is committed now into a new file that only its owner can read, checks it, and gives its
    /// length. Runs go on meanwhile. A file that is there is left alone unless `overwrite`; it is never half replaced.
    pub async fn backup(&self, file: &Path, overwrite: bool) -> Result<u64, LedgerError> {
        let (inner, file) = (Arc::clone(&self.inner), file.to_owned());
        if inner.writer.is_some() {
            self.flush().await?;
        }
        blocking(move || inner.place.backup(&file, overwrite)).await
    }

    /// Forgets a complete account with all its folders and records: a later run of it finds out by content what the target
    /// has. Refused: while a process works on it, and where it is not complete.
    pub async fn forget(&self, account: AccountId) -> Result<(), LedgerError> {
        let _lock = self.lock(account).await?;
        self.write(move |connection| {
            let known = connection.query_row("SELECT name, state FROM accounts WHERE id = ?1", [account.0], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            });
            let Some((name, state)) = known.optional()? else {
                return Err(LedgerError::Unknown(format!("account {account}")).into());
            };
            if !matches!(codec::json(&state, 1)?, AccountState::Complete { .. }) {
                return Err(LedgerError::Unfinished(name).into());
            }
            connection.pragma_update(None, "defer_foreign_keys", true)?;
            // Whatever table stands on folders, also one that a later format adds.
            for table in standing_on_folders(connection)? {
                let sql = format!("DELETE FROM {table} WHERE folder IN (SELECT id FROM folders WHERE account = ?1)");
                connection.execute(&sql, [account.0])?;
            }
            connection.execute("DELETE FROM folders WHERE account = ?1", [account.0])?;
            connection.execute("DELETE FROM accounts WHERE id = ?1", [account.0])?;
            Ok(0)
        })
        .await
        .map(drop)
    }

    /// Gives the ledger of a state directory another name, with its log, and reads from it which accounts it knew, if that
    /// can be trusted. None: there is nothing. Nothing is deleted; the next to open the directory makes a new ledger.
    ///
    /// Of the records nothing is taken over: one that says more than is so would be a message that is never copied, and
    /// what is so both servers can tell.
    pub fn set_aside(directory: &Path) -> Result<Option<SetAside>, LedgerError> {
        if !directory.is_dir() {
            return Ok(None);
        }
        Place::prepare(directory)?.set_aside()
    }
}

fn standing_on_folders(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut has_folder = connection.prepare("SELECT 1 FROM pragma_table_info(?1) WHERE name = 'folder'")?;
    let mut found = Vec::new();
    for table in sums::tables(connection)? {
        if has_folder.exists([&table])? {
            found.push(table);
        }
    }
    Ok(found)
}

impl Place {
    fn backup(&self, file: &Path, overwrite: bool) -> Result<u64, LedgerError> {
        let file = std::path::absolute(file).map_err(|error| in_file(file, error))?;
        let failed = |error: io::Error| in_file(&file, error);
        let exists = || LedgerError::Exists { path: file.clone() };
        if !overwrite && file.symlink_metadata().is_ok() {
            return Err(exists());
        }
        if file.canonicalize().is_ok_and(|other| other == self.file()) {
            return Err(exists());
        }
        let directory = file.parent().unwrap_or(Path::new("/"));
        // Empty and for its owner alone, before anything is in it; gone again unless it is kept.
        let new = tempfile::Builder::new().prefix(".mailhaul-backup-").tempfile_in(directory).map_err(failed)?;
        file::private(new.path(), 0o600).map_err(failed)?;
        let connection = self.connect_read_only()?;
        let path = new.path().to_str().ok_or_else(|| failed(io::Error::other("its name is no text")))?;
        let in_copy = |error: rusqlite::Error| super::error::of_sqlite(&file, &error);
        connection.execute("VACUUM INTO ?1", [path]).map_err(in_copy)?;
        let copy = Connection::open_with_flags(new.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(in_copy)?;
        let complaint = sums::complaint(&copy).map_err(|fault| match fault {
            Fault::Refused(error) => error,
            Fault::Sqlite(error) => in_copy(error),
        })?;
        if let Some(why) = complaint {
            return Err(LedgerError::Damaged { path: file, why });
        }
        drop(copy);
        new.as_file().sync_all().map_err(failed)?;
        let length = new.as_file().metadata().map_err(failed)?.len();
        let kept = if overwrite { new.persist(&file) } else { new.persist_noclobber(&file) };
        kept.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => failed(error.error),
        })?;
        file::sync_directory(directory).map_err(failed)?;
        Ok(length)
    }

    fn set_aside(&self) -> Result<Option<SetAside>, LedgerError> {
        let failed = |error: io::Error| self.failed(error);
        let entry = Entry::wait(&self.locks()).map_err(failed)?;
        if !entry.is_alone {
            return Err(LedgerError::InUse { path: self.file().to_owned() });
        }
        // The file first: a log that is left without it is refused, and set aside by the next call.
        let there: Vec<&str> =
            ["", "-wal", "-shm"].into_iter().filter(|suffix| self.beside(suffix).symlink_metadata().is_ok()).collect();
        if there.is_empty() {
            return Ok(None);
        }
        let accounts = self.known_accounts();
        let name = self.free_name().map_err(failed)?;
        for suffix in there {
            let aside = PathBuf::from(format!("{}{suffix}", name.display()));
            match std::fs::rename(self.beside(suffix), aside) {
                // The look at the accounts has cleared it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
                renamed => renamed.map_err(failed)?,
            }
        }
        file::sync_directory(name.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        Ok(Some(SetAside { file: name, accounts }))
    }

    /// Finds a name that nothing has.
    fn free_name(&self) -> io::Result<PathBuf> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
        for number in 1_u32.. {
            let more = if number == 1 { String::new() } else { format!("-{number}") };
            let name = self.file().with_file_name(format!("ledger-aside-{now}{more}.sqlite"));
            let mut is_free = true;
            for suffix in ["", "-wal", "-shm"] {
                is_free &= PathBuf::from(format!("{}{suffix}", name.display())).symlink_metadata().is_err();
            }
            if is_free {
                return Ok(name);
            }
        }
        Err(io::Error::other("there is no name left to set it aside under"))
    }

    /// Reads the accounts of a file in which other things may be wrong: what its sum vouches for.
    fn known_accounts(&self) -> Option<Vec<(AccountKey, JobReference)>> {
        self.check_begin().ok()?;
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        self.check_format(&connection).ok().filter(|format| *format == schema::newest(schema::STEPS))?;
        let read = || -> rusqlite::Result<Option<Vec<(AccountKey, JobReference)>>> {
            if !sums::is_sound(&connection, "accounts")? {
                return Ok(None);
            }
            let mut select = connection.prepare(
                "SELECT source_host, source_user, target_host, target_user, name, job_name, job_path, job_digest
                 FROM accounts WHERE state <> ?1 ORDER BY id",
            )?;
            let account = |row: &rusqlite::Row<'_>| {
                let job = JobReference {
                    account_name: row.get(4)?,
                    name: row.get(5)?,
                    path: codec::path(row.get(6)?),
                    digest: Digest(row.get(7)?),
                };
                Ok((account_key(row, 0)?, job))
            };
            let found = select
                .query_map([codec::of_json(&AccountState::New)?], account)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(Some(found))
        };
        read().unwrap_or(None)
    }
}

fn in_file(path: &Path, error: io::Error) -> LedgerError {
    LedgerError::File { path: path.to_owned(), why: error.to_string() }
}
