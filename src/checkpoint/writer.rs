//! The one thread that writes: gathers what is waiting, commits it together, then answers.

use super::accounts::FolderId;
use super::error::{Fault, LedgerError};
use super::file::Place;
use super::sums::Tally;
use rusqlite::{Connection, TransactionBehavior};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long queued work may wait for somebody who needs a commit anyway.
const QUEUED_MAX: Duration = Duration::from_millis(200);
/// Requests in one commit: bounds how long the first of them waits.
const BATCH_MAX: usize = 1024;

/// Something to do in a transaction; what it gives is the answer to who waits. Done again where the transaction was undone.
pub(super) type Work = Box<dyn Fn(&Connection) -> Result<i64, Fault> + Send>;

/// Where the answer goes.
pub(super) type Reply = SyncSender<Result<i64, LedgerError>>;

/// What queued work is about: who reads of it waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// Anything.
    All,
    /// What is known of a folder.
    Folder(FolderId),
    /// What only people read.
    Shown,
}

impl From<FolderId> for About {
    fn from(folder: FolderId) -> Self {
        Self::Folder(folder)
    }
}

/// Who is told of a commit.
enum Told {
    Asker(Reply),
    /// Nobody waits; who reads has to know.
    Readers(About),
}

/// A hook at every commit, counted from 1: tests stop a run there as a kill would.
pub trait Steps: Send {
    /// Is called before a commit; on `Break` nothing of it is written and the ledger is dead.
    fn before_commit(&self, commit: u64) -> ControlFlow<()> {
        let _ = commit;
        ControlFlow::Continue(())
    }

    /// Is called after a commit; on `Break` it is durable, nobody is told, and the ledger is dead.
    fn after_commit(&self, commit: u64) -> ControlFlow<()> {
        let _ = commit;
        ControlFlow::Continue(())
    }
}

/// What is asked of the writer.
pub(super) enum Request {
    /// Answered when it is durable.
    Durable(Work, Reply),
    /// Not answered.
    Queued(Work, About),
    /// Commit, then end.
    Close,
}

/// What the handles see of the writer.
#[derive(Default)]
pub(super) struct Shared {
    /// Queued requests that may not be committed yet: how many.
    queued: Mutex<BTreeMap<About, u64>>,
    /// What ended the writer.
    broken: OnceLock<LedgerError>,
    /// The first queued request that was refused.
    refusal: Mutex<Option<LedgerError>>,
}

impl Shared {
    /// Counts what is about to be queued: before it is, so that no reader misses it.
    pub(super) fn queues(&self, about: About) {
        *self.queued().entry(about).or_default() += 1;
    }

    /// Says whether something queued may not be committed yet, beside what only people read.
    pub(super) fn lags(&self) -> bool {
        self.queued().keys().any(|about| *about != About::Shown)
    }

    /// As [`Self::lags`], with what only people read.
    pub(super) fn lags_at_all(&self) -> bool {
        !self.queued().is_empty()
    }

    /// As [`Self::lags`], of what may be about this folder.
    pub(super) fn lags_of(&self, folder: FolderId) -> bool {
        let queued = self.queued();
        [About::Folder(folder), About::All].iter().any(|about| queued.contains_key(about))
    }

    fn committed(&self, about: About) {
        if let Entry::Occupied(mut count) = self.queued().entry(about) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn queued(&self) -> MutexGuard<'_, BTreeMap<About, u64>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives why there is no writer any more.
    pub(super) fn ended(&self) -> LedgerError {
        self.broken.get().cloned().unwrap_or(LedgerError::Closed)
    }

    /// Says whether the file has failed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    pub(super) fn take_refusal(&self) -> Option<LedgerError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn refuse(&self, error: LedgerError) {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// The writer's side of the channel.
pub(super) struct Writer {
    connection: Connection,
    place: Place,
    shared: Arc<Shared>,
    steps: Box<dyn Steps>,
    tally: Tally,
    commits: u64,
}

/// What is committed next.
#[derive(Default)]
struct Batch {
    requests: Vec<(Work, Told)>,
    /// When it has to be committed at the latest; None: nothing is waiting.
    due: Option<Instant>,
    closing: bool,
}

impl Batch {
    fn add(&mut self, request: Request) {
        let due = match request {
            Request::Durable(work, reply) => {
                self.requests.push((work, Told::Asker(reply)));
                Instant::now()
            }
            Request::Queued(work, about) => {
                self.requests.push((work, Told::Readers(about)));
                Instant::now() + QUEUED_MAX
            }
            Request::Close => {
                self.closing = true;
                return;
            }
        };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    fn is_ready(&self) -> bool {
        self.closing || self.requests.len() >= BATCH_MAX || self.due.is_some_and(|due| due <= Instant::now())
    }
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        place: Place,
        shared: Arc<Shared>,
        steps: Box<dyn Steps>,
    ) -> rusqlite::Result<Self> {
        let tally = Tally::of(&connection)?;
        Ok(Self { connection, place, shared, steps, tally, commits: 0 })
    }

    /// Works until told to close, until every handle is gone, or until the file fails.
    pub(super) fn run(mut self, inbox: &Receiver<Request>) {
        let mut batch = Batch::default();
        loop {
            gather(inbox, &mut batch);
            if !batch.is_ready() {
                continue;
            }
            let Batch { requests, closing, .. } = std::mem::take(&mut batch);
            if !requests.is_empty() && self.commit(requests).is_break() {
                return;
            }
            if closing {
                break;
            }
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the ledger was not closed cleanly; nothing is lost");
        }
    }

    fn commit(&mut self, requests: Vec<(Work, Told)>) -> ControlFlow<()> {
        self.commits += 1;
        self.steps.before_commit(self.commits)?;
        let (works, told): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let answers = match self.transact(&works) {
            Ok(answers) => answers,
            Err(fault) => {
                let error = self.place.fault(fault);
                tracing::error!(%error, "the ledger can no longer be written");
                let _ = self.shared.broken.set(error.clone());
                for told in told {
                    if let Told::Asker(reply) = told {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
                return ControlFlow::Break(());
            }
        };
        self.steps.after_commit(self.commits)?;
        for (told, answer) in told.into_iter().zip(answers) {
            match told {
                // Who no longer waits needs no answer.
                Told::Asker(reply) => drop(reply.send(answer)),
                Told::Readers(about) => {
                    self.shared.committed(about);
                    if let Err(error) = answer {
                        self.shared.refuse(error);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Does all the work in one transaction; a piece that is refused leaves no trace in it.
    fn transact(&mut self, works: &[Work]) -> Result<Vec<Result<i64, LedgerError>>, Fault> {
        // Refusals are rare, and what it takes to undo a piece alone costs as much as the piece.
        match self.all_or_nothing(works)? {
            Some(answers) => Ok(answers),
            None => self.each_for_itself(works),
        }
    }

    /// None: a piece was refused, and nothing is done.
    fn all_or_nothing(&mut self, works: &[Work]) -> Result<Option<Vec<Result<i64, LedgerError>>>, Fault> {
        self.tally.clear();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            match work(&transaction) {
                Ok(answer) => answers.push(Ok(answer)),
                Err(Fault::Refused(_)) => return Ok(None),
                Err(fault) => return Err(fault),
            }
        }
        self.tally.write(&transaction)?;
        transaction.commit()?;
        Ok(Some(answers))
    }

    fn each_for_itself(&mut self, works: &[Work]) -> Result<Vec<Result<i64, LedgerError>>, Fault> {
        self.tally.clear();
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            let before = self.tally.now();
            let savepoint = transaction.savepoint()?;
            answers.push(match work(&savepoint) {
                Ok(answer) => {
                    savepoint.commit()?;
                    Ok(answer)
                }
                Err(Fault::Refused(error)) => {
                    savepoint.finish()?;
                    self.tally.set(before);
                    Err(error)
                }
                Err(fault) => return Err(fault),
            });
        }
        self.tally.write(&transaction)?;
        transaction.commit()?;
        Ok(answers)
    }
}

/// Waits for a request or for the batch's time, then takes what else is there.
fn gather(inbox: &Receiver<Request>, batch: &mut Batch) {
    let first = match batch.due {
        None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
    };
    match first {
        Ok(request) => batch.add(request),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => batch.closing = true,
    }
    while !batch.closing && batch.requests.len() < BATCH_MAX {
        match inbox.try_recv() {
            Ok(request) => batch.add(request),
            Err(_) => break,
        }
    }
}
