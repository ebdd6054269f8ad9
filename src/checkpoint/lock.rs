//! Who works on an account: locks of the operating system, freed by it when the holder dies.
//!
//! One file stands for the ledger as a whole, shared by those who write it. Two files stand for an account: one for itself, one for its target mailbox, so that two sources are never copied into
//! one mailbox at once. Their text says who holds them; it is for people and decides nothing.

use super::accounts::{AccountId, AccountKey};
use super::error::LedgerError;
use super::{Ledger, blocking, codec, file};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// `status` holds a lock for microseconds to see whether it is free: tried again so often before it counts as held.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// Of the text in a lock file; ours are far shorter.
const HOLDER_BYTES_MAX: u64 = 8192;

/// The right to work on one account and to write to its target mailbox, as long as it lives.
#[derive(Debug)]
pub struct AccountLock {
    _account: File,
    _target: File,
}

/// What a lock file says.
#[derive(Serialize, Deserialize, Default)]
struct Holder {
    pid: Option<u32>,
    /// Milliseconds since 1970.
    since: Option<i64>,
    what: String,
}

impl Ledger {
    /// Takes an account and its target mailbox, or says who has them.
    pub async fn lock(&self, account: AccountId) -> Result<AccountLock, LedgerError> {
        let (key, job) = self.lock_facts(account).await?;
        let paths = [self.account_lock(account), self.target_lock(&key)];
        let inner = std::sync::Arc::clone(&self.inner);
        blocking(move || {
            let since = Some(codec::of_time(SystemTime::now()));
            let what = format!("for {} into {} at {}", job.display(), key.target_user, key.target_host);
            let holder = Holder { pid: Some(std::process::id()), since, what };
            let take = |path| {
                take(path, &holder).map_err(|error| match error {
                    Refused::Busy(busy) => busy,
                    Refused::Io(error) => inner.place.failed(error),
                })
            };
            let [account, target] = &paths;
            Ok(AccountLock { _account: take(account)?, _target: take(target)? })
        })
        .await
    }

    /// Gives the lock file of an account.
    pub(super) fn account_lock(&self, account: AccountId) -> PathBuf {
        self.inner.place.locks().join(format!("{account}.lock"))
    }

    fn target_lock(&self, key: &AccountKey) -> PathBuf {
        // Users without case: `Info@x` and `info@x` are one mailbox nearly everywhere, and excluding too much is harmless.
        let text = format!("{}\0{}", key.target_host, key.target_user.to_lowercase());
        let hash: String = Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.inner.place.locks().join(format!("target-{hash}.lock"))
    }
}

/// Says whether somebody holds a lock.
pub(super) fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Taken for the time of opening: who opens sees whether others have the ledger open, and decides alone.
pub(super) struct Entry {
    _turn: File,
    presence: File,
    /// No other process has the ledger open for writing.
    pub(super) is_alone: bool,
}

/// Says to others that the ledger is open for writing, as long as it lives: it was sound, and is no longer what a look at
/// the file alone would find.
#[derive(Debug)]
pub(super) struct Presence(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Entry {
    /// Waits until nobody else is opening the ledger.
    pub(super) fn wait(locks: &Path) -> io::Result<Self> {
        let turn = lock_file(&locks.join("opening.lock"))?;
        turn.lock()?;
        Self::with(turn, locks)
    }

    /// None: somebody is opening the ledger.
    pub(super) fn at_once(locks: &Path) -> Option<Self> {
        let turn = lock_file(&locks.join("opening.lock")).ok()?;
        turn.try_lock().ok()?;
        Self::with(turn, locks).ok()
    }

    fn with(turn: File, locks: &Path) -> io::Result<Self> {
        let presence = lock_file(&locks.join("ledger.lock"))?;
        let is_alone = match presence.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        Ok(Self { _turn: turn, presence, is_alone })
    }

    pub(super) fn stay(self) -> io::Result<Presence> {
        self.presence.lock_shared()?;
        Ok(Presence(self.presence))
    }
}

/// Opens a lock file and makes it where it is missing.
fn lock_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file::private(path, 0o600)?;
    Ok(file)
}

enum Refused {
    Busy(LedgerError),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn take(path: &Path, holder: &Holder) -> Result<File, Refused> {
    let mut file = lock_file(path)?;
    for left in (0..TRIES).rev() {
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(&serde_json::to_vec(holder).map_err(io::Error::from)?)?;
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) if left > 0 => std::thread::sleep(TRY_AGAIN),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    let mut text = String::new();
    // Where it cannot be read or says nothing, that it is held is all we know.
    let _ = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
    let Holder { pid, since, what } = serde_json::from_str(&text).unwrap_or_default();
    Err(Refused::Busy(LedgerError::Busy { pid, since: since.map(codec::time), what }))
}
