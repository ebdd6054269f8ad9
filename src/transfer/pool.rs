//! The connections of one side of one account: opened when needed, used again, waited for when the host cannot be used.
//!
//! Invariants: never more connections than the limits and the host's learned wall allow; whoever takes from both sides
//! takes from the source first, so that nobody waits in a circle; a session that broke is never used again.

use super::allowance::Purses;
use super::{Event, Events};
use crate::auth::{Credential, Keychain};
use crate::checkpoint::{AccountId, Ledger};
use crate::config::Mailbox;
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{Brake, CommandBrake, End, Opening, Session};
use crate::mail::Side;
use crate::net::Dial;
use crate::pace::{Backoff, Gate, HostPace, Limits, Pacer, Patience, Permit, WallClock};
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Everything a pool is made of.
pub(super) struct PoolParts {
    pub(super) account: String,
    pub(super) mailbox: Mailbox,
    pub(super) limits: Limits,
    /// What holds all accounts of this side's host back together.
    pub(super) host: HostPace,
    pub(super) clock: WallClock,
    pub(super) purses: Purses,
    pub(super) dial: Arc<dyn Dial>,
    pub(super) gate: Gate,
    pub(super) patience: Patience,
    pub(super) timeout: Duration,
    pub(super) events: Events,
    pub(super) stop: CancellationToken,
    pub(super) ledger: Ledger,
    pub(super) id: AccountId,
    /// The host has answered a sign-in of this account before.
    pub(super) reached: bool,
}

pub(super) struct Pool<E> {
    parts: PoolParts,
    keychain: Keychain,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Held<E>>>,
    /// A session was given back: whoever waits for a new one may take it instead.
    returned: Notify,
    /// One for each open session beside its own: how many there are.
    alive: Arc<()>,
    reached: AtomicBool,
    pub(super) brake: PoolBrake,
    /// None: no limit holds commands back.
    commands: Option<Arc<dyn CommandBrake>>,
}

/// An open session and its right to be.
struct Held<E> {
    session: Session<E>,
    permit: Permit,
    alive: Arc<()>,
}

/// A session out of a pool. Given back with [`Pool::keep`]; dropped, its connection is closed.
pub(super) struct Lease<E> {
    pub(super) session: Session<E>,
    permit: Permit,
    alive: Arc<()>,
    place: OwnedSemaphorePermit,
}

impl<E> Lease<E> {
    fn of(held: Held<E>, place: OwnedSemaphorePermit) -> Self {
        Self { session: held.session, permit: held.permit, alive: held.alive, place }
    }
}

/// Gives how long to wait before the next try; None: longer than patience lasts. A time that a server named is kept whole
/// or not at all.
pub(super) fn delay(
    failure: &Failure,
    patience: Patience,
    since: Duration,
    reached: bool,
    backoff: &mut Backoff,
) -> Option<Duration> {
    /// However early a try is: a host is not asked in a tight loop.
    const PAUSE_MIN: Duration = Duration::from_millis(200);
    match failure.wait {
        // The account parks: others need its place, and nothing is to be found out meanwhile.
        _ if failure.kind == Kind::AllowanceSpent => None,
        Some(named) => patience.decide(since, reached, named).filter(|delay| *delay >= named),
        None => patience.decide(since, reached, backoff.next().unwrap_or(PAUSE_MIN).max(PAUSE_MIN)),
    }
}

/// The limits of a side, as the wire asks for them: the account's own, then what it shares with others on the host.
#[derive(Clone)]
pub(super) struct PoolBrake {
    account: Pacer,
    host: HostPace,
    /// What pays for bodies that are fetched; None: they cost nothing.
    fetched: Option<Purses>,
}

impl Brake for PoolBrake {
    async fn messages(&self, count: u32) {
        self.account.messages(count).await;
        self.host.messages(count).await;
    }

    async fn bytes(&self, count: u64) {
        self.account.bytes(count).await;
        self.host.bytes(count).await;
    }

    fn burst(&self) -> (u32, u64) {
        /// A command asks for no more than this part of a day's allowance, or what is left of it at the end is of no use.
        const PART_OF_DAY: u64 = 64;
        let (account, host) = (self.account.burst(), self.host.burst());
        let of_day = self.message_max().map_or(u64::MAX, |day| (day / PART_OF_DAY).max(1));
        (account.0.min(host.0), account.1.min(host.1).min(of_day))
    }

    async fn afford(&self, bytes: u64) -> Result<(), Failure> {
        match &self.fetched {
            Some(purses) => purses.spend(bytes).await,
            None => Ok(()),
        }
    }

    fn message_max(&self) -> Option<u64> {
        self.fetched.as_ref()?.message_max()
    }
}

impl CommandBrake for PoolBrake {
    fn command(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.account.commands(1).await;
            self.host.commands(1).await;
        })
    }
}

impl<E: End> Pool<E> {
    pub(super) fn new(parts: PoolParts) -> Self {
        let brake = PoolBrake {
            account: Pacer::new(&parts.limits.rates, parts.clock),
            host: parts.host.clone(),
            // What a target is sent is paid for before its intent; what is read back there is not what it counts.
            fetched: (E::SIDE == Side::Source).then(|| parts.purses.clone()),
        };
        let commands: Option<Arc<dyn CommandBrake>> =
            match brake.account.holds_commands() || brake.host.holds_commands() {
                true => Some(Arc::new(brake.clone())),
                false => None,
            };
        Self {
            keychain: Keychain::new(&parts.mailbox.sign_in.credential),
            places: Arc::new(Semaphore::new(parts.limits.connections.max(1))),
            idle: Mutex::default(),
            alive: Arc::default(),
            returned: Notify::new(),
            reached: AtomicBool::new(parts.reached),
            brake,
            commands,
            parts,
        }
    }

    /// Takes a session: an idle one, or a new one. Waits for a place, and for the host as long as patience lasts.
    pub(super) async fn take(&self) -> Result<Lease<E>, Failure> {
        let mut place = self.place().await?;
        let mut trouble = None;
        let mut backoff = Backoff::default();
        let mut fresh_token = false;
        loop {
            if let Some(held) = self.idle().pop() {
                return Ok(Lease::of(held, place));
            }
            let permit = tokio::select! {
                permit = self.parts.gate.acquire() => permit,
                () = self.returned.notified() => continue,
                () = self.parts.stop.cancelled() => return Err(self.stopped()),
            };
            let mut failure = match self.open().await {
                Ok(session) => {
                    let alive = Arc::clone(&self.alive);
                    return Ok(Lease { session, permit, alive, place });
                }
                Err(failure) => failure,
            };
            drop(permit);
            let refresh = matches!(failure.kind, Kind::SignInRefused | Kind::TokenExpired)
                && matches!(self.parts.mailbox.sign_in.credential, Credential::Token(_));
            if refresh && !std::mem::replace(&mut fresh_token, true) {
                continue;
            }
            if failure.kind == Kind::TooManyConnections {
                self.parts.gate.learn_wall(self.parts.gate.held());
                if Arc::strong_count(&self.alive) > 1 {
                    // Others have what the host gives us: this place is closed, and one of theirs is waited for.
                    place.forget();
                    place = self.place().await?;
                    continue;
                }
            }
            let began = *trouble.get_or_insert_with(Instant::now);
            let Some(delay) = self.delay(&failure, began, &mut backoff) else {
                if !self.has_been_reached() && failure.kind.is_outage() && failure.hint.is_empty() {
                    failure.hint = "check host, port and tls in the job file".to_owned();
                }
                return Err(failure);
            };
            self.wait(delay, &failure).await?;
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place.map_err(|_| self.stopped()),
            () = self.parts.stop.cancelled() => Err(self.stopped()),
        }
    }

    /// Gives how long to wait before the next try; None: it is for a person to mend.
    fn delay(&self, failure: &Failure, began: Instant, backoff: &mut Backoff) -> Option<Duration> {
        match failure.remedy() {
            Remedy::Reconnect | Remedy::Later | Remedy::FewerConnections => {}
            Remedy::Again | Remedy::Refresh | Remedy::Skip | Remedy::Ask => return None,
        }
        delay(failure, self.parts.patience, began.elapsed(), self.has_been_reached(), backoff)
    }

    /// Waits, and says so; ends at once when somebody asks to stop.
    pub(super) async fn wait(&self, delay: Duration, failure: &Failure) -> Result<(), Failure> {
        self.parts
            .events
            .send(Event::Waiting {
                account: self.parts.account.clone(),
                side: E::SIDE,
                seconds: delay.as_secs_f64().ceil() as u64,
                why: failure.text.clone(),
            })
            .await;
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            () = self.parts.stop.cancelled() => Err(self.stopped()),
        }
    }

    async fn open(&self) -> Result<Session<E>, Failure> {
        let parts = &self.parts;
        let opening = Opening {
            dial: &*parts.dial,
            endpoint: &parts.mailbox.endpoint,
            sign_in: &parts.mailbox.sign_in,
            keychain: &self.keychain,
            timeout: parts.timeout,
            commands: self.commands.as_ref(),
        };
        let session = tokio::select! {
            session = Session::<E>::open(opening) => session,
            () = parts.stop.cancelled() => return Err(self.stopped()),
        };
        let session = session.map_err(|error| self.explain(error.failure(E::SIDE)))?;
        let endpoint = &parts.mailbox.endpoint;
        tracing::info!(account = parts.account, side = %E::SIDE, host = endpoint.host, port = endpoint.port, "signed in");
        if !self.reached.swap(true, Ordering::Relaxed) {
            parts.ledger.reached(parts.id, E::SIDE).await?;
        }
        Ok(session)
    }

    /// Adds what the user can do about a refused sign-in.
    fn explain(&self, failure: Failure) -> Failure {
        if failure.kind != Kind::SignInRefused || !failure.hint.is_empty() {
            return failure;
        }
        let host = &self.parts.mailbox.endpoint.host;
        let hint = crate::provider::sign_in_hint(host, crate::provider::Family::Unknown, failure.text.as_bytes());
        failure.with_hint(hint)
    }

    fn has_been_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> Failure {
        Failure::new(None, Kind::Stopped, "go on: asked to stop")
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Held<E>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a session back for others.
    pub(super) fn keep(&self, lease: Lease<E>) {
        let Lease { session, permit, alive, place } = lease;
        if session.is_usable() {
            self.idle().push(Held { session, permit, alive });
        }
        drop(place);
        self.returned.notify_one();
    }

    /// Pays for a message that is to be appended.
    ///
    /// # Errors
    /// A day's allowance is spent.
    pub(super) async fn pay(&self, bytes: u64) -> Result<(), Failure> {
        self.parts.purses.spend(bytes).await
    }

    /// Gives when a day's allowance that was found to be spent returns.
    pub(super) fn spent_until(&self) -> Option<SystemTime> {
        self.parts.purses.until()
    }

    /// Gives the bytes of the largest message that a day's allowance can ever pay for. None: any.
    pub(super) fn message_max(&self) -> Option<u64> {
        self.parts.purses.message_max()
    }

    /// Closes all idle connections, politely.
    pub(super) async fn close(&self) {
        self.parts.purses.give_back().await;
        let idle = std::mem::take(&mut *self.idle());
        for held in idle {
            held.session.logout().await;
        }
    }
}
