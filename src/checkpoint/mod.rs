//! What is done, durable before it is believed: the ledger of every account, and the locks on them.
//!
//! Secret: one SQLite file, its tables and how they become durable. One thread owns the connection that writes; the
//! requests waiting for it are committed together, so forty accounts share one `fsync`.
//!
//! Invariants:
//! - What [`Ledger::intend`] was given is on the disk when it returns, and what [`Ledger::lease`] gives.
//! - A record is `Settled(Copied)` only through [`Landed`]: the target's tagged OK, or a look that found the message.
//! - A message that has landed is not intended again unless it was settled otherwise in between.
//! - After an error of the file nothing more is written: every later call that writes fails with the same error, and so does
//!   every one that would have to see what was lost.
//! - Directory and files are readable by their owner alone; no secret is ever among what they hold.
//! - No answer comes from a file in which a byte is not what was written: it is read whole, and compared with sums that
//!   are kept with every change, before it is believed. A file that is as it was left by who last did so is not read whole
//!   again on the same day.
//!
//! It never decides what is right to do, and it never makes a new file in place of a damaged one.

mod accounts;
mod allowances;
mod codec;
mod error;
mod file;
mod lock;
mod namesakes;
mod people;
mod records;
mod rows;
mod schema;
mod seal;
mod sums;
mod suspects;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

pub use accounts::{
    AccountId, AccountKey, AccountState, FailureNote, FolderId, FolderRow, JobReference, Left, Watermark,
};
pub use allowances::AllowanceOwner;
pub use error::LedgerError;
pub use lock::AccountLock;
pub use namesakes::same_user;
pub use people::{AccountSummary, Count, FolderSummary, Loss, LossKind, Totals, TroubleNote};
pub use records::{Ending, Landed, Recalled, Settlement, Trouble};
pub use suspects::{Surplus, SurplusKind, SurplusNote, Suspect};
pub use upkeep::{SetAside, StateFacts};
pub use writer::Steps;

use error::Fault;
use file::{Opened, Place};
use lock::Presence;
use rusqlite::Connection;
use std::fmt;
use std::path::Path;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;
use tokio::sync::Semaphore;
use writer::{About, Request, Shared, Work, Writer};

/// How many read at once, each with a connection that has a cache of its own: a million messages in many folders are to take
/// no more memory than ten thousand.
const READERS: usize = 2;
/// Requests waiting for the writer; one more waits outside.
const REQUESTS_MAX: usize = 1024;

/// The ledger of one state directory. Clones are handles to the same one; dropping the last writes what is queued.
///
/// Calls that wait do so on tokio's blocking threads: a paused clock stands still meanwhile.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    /// None: opened for reading.
    writer: Option<Handle>,
    readers: Mutex<Vec<Connection>>,
    /// Held by who reads.
    reads: Arc<Semaphore>,
}

struct Handle {
    requests: SyncSender<Request>,
    shared: Arc<Shared>,
    /// None once joined.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Given up after the writer has ended, with when the file was last read whole. None once that is done.
    presence: Mutex<Option<(Presence, Option<SystemTime>)>>,
}

impl Ledger {
    /// Opens the ledger of a state directory and makes both where they are missing.
    ///
    /// Refused: a network file system, a file that is no ledger or damaged, a format newer than this program. Reads the
    /// whole file to know, unless another process has done so and still has it open, or it is as it was left after that.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        struct NoSteps;
        impl Steps for NoSteps {}
        Self::open_with(directory, NoSteps)
    }

    /// Opens as [`Self::open`] does, with a hook at every commit: for tests that stop there.
    pub fn open_with(directory: &Path, steps: impl Steps + 'static) -> Result<Self, LedgerError> {
        let place = Place::prepare(directory)?;
        let Opened { connection, presence, looked } = place.connect_writer()?;
        let (requests, inbox) = mpsc::sync_channel(REQUESTS_MAX);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(connection, place.clone(), Arc::clone(&shared), Box::new(steps));
        let writer = writer.map_err(|error| place.fault(error.into()))?;
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(|error| place.failed(error))?;
        let presence = Mutex::new(Some((presence, looked)));
        let writer = Some(Handle { requests, shared, thread: Mutex::new(Some(thread)), presence });
        Ok(Self::of(place, writer, Vec::new()))
    }

    /// Opens for reading, also beside a process that writes. None: there is no ledger yet.
    pub fn open_read_only(directory: &Path) -> Result<Option<Self>, LedgerError> {
        let Some(place) = Place::existing(directory)? else { return Ok(None) };
        let reader = place.connect_first_reader()?;
        Ok(Some(Self::of(place, None, vec![reader])))
    }

    fn of(place: Place, writer: Option<Handle>, readers: Vec<Connection>) -> Self {
        let reads = Arc::new(Semaphore::new(READERS));
        Self { inner: Arc::new(Inner { place, writer, readers: Mutex::new(readers), reads }) }
    }

    /// Gives the file, for people: where the state lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.place.file()
    }

    /// Waits until everything queued is durable.
    ///
    /// Gives the first queued request that was refused since the last flush, such as a [`Landed`] for a message that was
    /// never intended.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        let Some(writer) = &self.inner.writer else { return Ok(()) };
        self.write(|_| Ok(0)).await?;
        writer.shared.take_refusal().map_or(Ok(()), Err)
    }

    /// Makes everything queued durable and ends the writer; other handles fail with [`LedgerError::Closed`] from then on.
    pub async fn close(self) -> Result<(), LedgerError> {
        let flushed = self.flush().await;
        blocking(move || {
            self.inner.end();
            Ok(())
        })
        .await?;
        flushed
    }

    /// Waits until the work is durable.
    async fn write(
        &self,
        work: impl Fn(&Connection) -> Result<i64, Fault> + Send + 'static,
    ) -> Result<i64, LedgerError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let writer = inner.writer.as_ref().ok_or(LedgerError::ReadOnly)?;
            let (reply, answer) = mpsc::sync_channel(1);
            writer.requests.send(Request::Durable(Box::new(work), reply)).map_err(|_| writer.shared.ended())?;
            answer.recv().unwrap_or_else(|_| Err(writer.shared.ended()))
        })
        .await
    }

    /// Hands work over that is about a folder, or about any; waits only where too much is waiting already.
    async fn queue(
        &self,
        about: impl Into<About>,
        work: impl Fn(&Connection) -> Result<i64, Fault> + Send + 'static,
    ) -> Result<(), LedgerError> {
        let (work, about): (Work, _) = (Box::new(work), about.into());
        let writer = self.inner.writer.as_ref().ok_or(LedgerError::ReadOnly)?;
        writer.shared.queues(about);
        match writer.requests.try_send(Request::Queued(work, about)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(writer.shared.ended()),
            Err(TrySendError::Full(request)) => {
                let (requests, shared) = (writer.requests.clone(), Arc::clone(&writer.shared));
                blocking(move || requests.send(request).map_err(|_| shared.ended())).await
            }
        }
    }

    /// Reads in one snapshot that holds everything queued before, but for what only people read.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.catch_up(Shared::lags).await?;
        self.read_written(work).await
    }

    /// As [`Self::read`], with what only people read.
    async fn read_shown<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.catch_up(Shared::lags_at_all).await?;
        self.read_written(work).await
    }

    /// As [`Self::read`], what is about one folder: what is queued for others is not waited for.
    async fn read_of<T: Send + 'static>(
        &self,
        folder: FolderId,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.catch_up(|shared| shared.lags_of(folder)).await?;
        self.read_written(work).await
    }

    /// Makes what is queued durable where it lags so.
    async fn catch_up(&self, lags: impl FnOnce(&Shared) -> bool) -> Result<(), LedgerError> {
        if self.inner.writer.as_ref().is_some_and(|writer| lags(&writer.shared)) {
            self.write(|_| Ok(0)).await?;
        }
        Ok(())
    }

    fn lags(&self) -> bool {
        self.inner.writer.as_ref().is_some_and(|writer| writer.shared.lags())
    }

    /// Reads in one snapshot what is committed: for what is never queued, or where nothing of it lags.
    async fn read_written<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let inner = Arc::clone(&self.inner);
        let turn = Arc::clone(&inner.reads).acquire_owned().await.map_err(|_| LedgerError::Closed)?;
        blocking(move || {
            let answer = inner.read(work);
            drop(turn);
            answer
        })
        .await
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ledger").field(&self.path()).finish()
    }
}

impl Inner {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, LedgerError> {
        let kept = self.readers().pop();
        let mut reader = match kept {
            Some(reader) => reader,
            None if self.writer.is_some() => self.place.connect_reader()?,
            None => self.place.connect_read_only()?,
        };
        let snapshot = reader.transaction().map_err(|error| self.place.fault(error.into()))?;
        let answer = work(&snapshot).map_err(|fault| self.place.fault(fault));
        drop(snapshot);
        let mut readers = self.readers();
        readers.push(reader);
        answer
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the writer and waits for it. What is queued becomes durable.
    fn end(&self) {
        // The writer's connection has to be the last one, so that it folds the log into the file.
        self.readers().clear();
        let Some(writer) = &self.writer else { return };
        let thread = writer.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = writer.requests.send(Request::Close);
            if thread.join().is_err() {
                tracing::error!("the ledger's writer panicked");
            }
        }
        let presence = writer.presence.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((presence, looked)) = presence {
            // After an error of the file nothing is said for it.
            self.place.leave(presence, looked.filter(|_| !writer.shared.is_broken()));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(LedgerError::Closed),
    }
}
