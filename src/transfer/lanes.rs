//! More connections for one folder: taken while much of it is left and the account has some to spare, on the side that the
//! other waits for; given back where somebody else wants one.
//!
//! Invariants: a lane takes from where the first connections take, and hands on to where they do, so that what holds for
//! one pipeline holds for all of it; where one breaks the pass fails as by the first, and the folder's next passes go without
//! lanes; what a lane has in hand when it is to end comes to its end.

use super::account::Account;
use super::copy::{Flight, Task};
use super::pool::Lease;
use super::stable::numbered_anew;
use crate::failure::Failure;
use crate::imap::{self, Answer, Brake as _, Fetched, Incoming, RefusedFetch, Source, Wanted};
use crate::mail::Side;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often it is looked whether one more is of use.
const LOOK: Duration = Duration::from_millis(250);
/// A folder that is done in this time, as far as can be told, gets no more: signing in takes as long.
const SOON: Duration = Duration::from_secs(1);
/// A side that had no further connection is asked again after this time.
const CLOSED: Duration = Duration::from_secs(10 * 60);
/// Messages, or bytes of them, that wait for the target or for its answer: it is the target that is waited for.
const PILED_UP: (usize, u64) = (192, 8 << 20);

/// Connections that no folder needs for its first, by side.
#[derive(Default)]
pub(super) struct Spare {
    source: OfSide,
    target: OfSide,
}

struct OfSide {
    left: Arc<Semaphore>,
    /// Until when nobody asks for one.
    closed: Mutex<Option<Instant>>,
}

impl Default for OfSide {
    fn default() -> Self {
        Self { left: Arc::new(Semaphore::new(0)), closed: Mutex::default() }
    }
}

impl Spare {
    fn of(&self, side: Side) -> &OfSide {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// So many more.
    pub(super) fn add(&self, side: Side, count: usize) {
        self.of(side).left.add_permits(count);
    }

    fn take(&self, side: Side) -> Option<OwnedSemaphorePermit> {
        let OfSide { left, closed } = self.of(side);
        let is_closed =
            closed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until);
        if is_closed { None } else { Arc::clone(left).try_acquire_owned().ok() }
    }

    /// Whoever takes no more is asked for no more for a while, in this folder and in any other.
    fn close(&self, side: Side) {
        *self.of(side).closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + CLOSED);
    }
}

/// What lanes take part in: a pipeline. What it ends by is not kept open.
pub(super) struct Work<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) wanted: &'a Wanted,
    pub(super) incoming: &'a Incoming,
    pub(super) bodies: mpsc::WeakSender<Fetched>,
    pub(super) answers: mpsc::WeakUnboundedSender<Answer>,
    /// Dropped by all, nothing further is fetched.
    pub(super) coming: Weak<DropGuard>,
    pub(super) halt: &'a CancellationToken,
    pub(super) together: usize,
    /// The target lets several append to one folder.
    pub(super) shares: bool,
    pub(super) flight: &'a Flight,
}

/// What lanes came to.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) refused: Vec<RefusedFetch>,
    pub(super) failure: Option<Failure>,
}

/// Lanes that can be told to come to an end, by side.
#[derive(Default)]
pub(super) struct Open(Mutex<Vec<(Side, CancellationToken, Weak<()>)>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, Vec<(Side, CancellationToken, Weak<()>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, side: Side) -> (CancellationToken, Arc<()>) {
        let (retired, alive) = (CancellationToken::new(), Arc::new(()));
        self.lock().push((side, retired.clone(), Arc::downgrade(&alive)));
        (retired, alive)
    }

    /// Has one lane take nothing further, unless one does so already. False: there is none.
    pub(super) fn retire(&self, side: Side) -> bool {
        let mut open = self.lock();
        open.retain(|(_, _, alive)| alive.strong_count() > 0);
        let mut own = open.iter().filter(|(of, ..)| *of == side);
        // One at a time: it finishes what it has under way.
        let one = own.clone().find(|(_, retired, _)| retired.is_cancelled()).or_else(|| own.next_back());
        one.map(|(_, retired, _)| retired.cancel()).is_some()
    }
}

/// The lanes of one pipeline.
pub(super) struct Lanes<'a> {
    work: Work<'a>,
    open: Arc<Open>,
    running: FuturesUnordered<BoxFuture<'a, ()>>,
    ended: Arc<Mutex<Ended>>,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(work: Work<'a>, open: Arc<Open>) -> Self {
        Self { work, open, running: FuturesUnordered::new(), ended: Arc::default() }
    }

    /// Opens lanes where they are of use, and runs them.
    pub(super) async fn run(&mut self) -> Infallible {
        let (begun, messages) = (Instant::now(), self.work.wanted.left());
        let mut look = tokio::time::interval_at(begun + LOOK, LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.look(begun, messages),
                Some(()) = self.running.next() => {}
            }
        }
    }

    pub(super) fn end(self) -> Ended {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&mut self, begun: Instant, all: usize) {
        let account = self.work.task.account;
        for (side, wanted) in [(Side::Source, account.source.is_wanted()), (Side::Target, account.target.is_wanted())] {
            if wanted {
                self.open.retire(side);
            }
        }
        let left = self.work.wanted.left();
        let done = all - left;
        // Fetched so far in that time: the rest takes as long in proportion.
        let soon = done > 0 && begun.elapsed().mul_f64(left as f64 / done as f64) < SOON;
        let held = account.source.brake.is_held() || account.target.brake.is_held();
        let limited = account.source.brake.is_paced() || account.target.brake.is_paced();
        if left == 0 || soon || held || limited || self.work.halt.is_cancelled() {
            return;
        }
        let (messages, bytes) = self.work.flight.waiting();
        let side = if messages >= PILED_UP.0 || bytes >= PILED_UP.1 { Side::Target } else { Side::Source };
        let has_place = match side {
            Side::Source => account.source.has_place(),
            Side::Target => account.target.has_place(),
        };
        let may = (side == Side::Source || self.work.shares) && has_place;
        let Some(spare) = account.spare.take(side).filter(|_| may) else { return };
        match side {
            Side::Source => self.open_source(account, spare),
            Side::Target => self.open_target(account, spare),
        }
    }

    fn open_source(&mut self, account: &'a Account, spare: OwnedSemaphorePermit) {
        let Work { task, wanted, halt, .. } = self.work;
        let (bodies, coming) = (self.work.bodies.clone(), self.work.coming.clone());
        let (retired, alive) = self.open.add(Side::Source);
        let (wanted, ended) = (wanted.beside(retired.clone()), Arc::clone(&self.ended));
        self.running.push(Box::pin(async move {
            let Some(signed_in) = unless([halt, &retired], account.source.take_beside()).await else { return };
            let Ok(mut lease) = signed_in else { return account.spare.close(Side::Source) };
            // Nothing is left of which there could be more.
            let (Some(bodies), Some(coming)) = (bodies.upgrade(), coming.upgrade()) else {
                return account.source.keep(lease);
            };
            let lane = async {
                if !is_same(task, &mut lease).await? {
                    return Ok(Vec::new());
                }
                let brake = account.source.brake.clone();
                let fetched = lease.session.fetch_bodies(&wanted, &account.room, &brake, &bodies).await;
                let refused = fetched.map_err(|error| error.failure(Side::Source))?;
                if lease.session.is_usable() && !is_same(task, &mut lease).await? {
                    // Under another UIDVALIDITY nothing that was fetched is what it was taken for.
                    halt.cancel();
                    return Err(numbered_anew(task.path, Side::Source));
                }
                account.source.keep(lease);
                Ok(refused)
            };
            let lane = tokio::select! {
                biased;
                () = halt.cancelled() => Ok(Vec::new()),
                lane = lane => lane,
            };
            // What is missing then is found by the next pass; what has come goes on.
            finish(&ended, lane);
            drop((alive, bodies, coming, spare));
        }));
    }

    fn open_target(&mut self, account: &'a Account, spare: OwnedSemaphorePermit) {
        let Work { task, incoming, halt, together, .. } = self.work;
        let answers = self.work.answers.clone();
        let (retired, alive) = self.open.add(Side::Target);
        let (incoming, ended) = (incoming.beside(retired.clone()), Arc::clone(&self.ended));
        self.running.push(Box::pin(async move {
            let Some(signed_in) = unless([halt, &retired], account.target.take_beside()).await else { return };
            let Ok(mut lease) = signed_in else { return account.spare.close(Side::Target) };
            let Some(answers) = answers.upgrade() else { return account.target.keep(lease) };
            let into = imap::Destination { folder: task.target_name, validity: task.target_validity, together };
            let brake = account.target.brake.until(halt);
            let appended = lease.session.append(into, &incoming, &answers, &brake, halt).await;
            if appended.is_err() {
                halt.cancel();
            }
            account.target.keep(lease);
            finish(&ended, appended.map(|()| Vec::new()).map_err(|error| error.failure(Side::Target)));
            drop((alive, answers, spare));
        }));
    }
}

/// None: either was cancelled before.
async fn unless<T>([one, other]: [&CancellationToken; 2], act: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = one.cancelled() => None,
        () = other.cancelled() => None,
        done = act => Some(done),
    }
}

/// Opens the folder, and says whether it is numbered as it was.
async fn is_same(task: &Task<'_>, lease: &mut Lease<Source>) -> Result<bool, Failure> {
    match lease.session.examine(task.source_name).await {
        Ok(opened) => Ok(opened.state.uid_validity == Some(task.source_validity)),
        Err(error) if error.is_refusal() => Ok(false),
        Err(error) => Err(error.failure(Side::Source)),
    }
}

fn finish(ended: &Mutex<Ended>, lane: Result<Vec<RefusedFetch>, Failure>) {
    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
    match lane {
        Ok(refused) => ended.refused.extend(refused),
        Err(failure) => drop(ended.failure.get_or_insert(failure)),
    }
}
