//! The connections of one side of one account: opened when needed, used again, waited for when the host cannot be used.
//!
//! Invariants: never more connections than the limits and the host's learned wall allow; whoever takes from both sides
//! takes from the source first, so that nobody waits in a circle; a session that broke is never used again.

use super::{Event, Events};
use crate::auth::{Credential, Keychain};
use crate::checkpoint::{AccountId, Ledger};
use crate::config::Mailbox;
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{Brake, End, Opening, Session};
use crate::net::Dial;
use crate::pace::{Backoff, Gate, Limits, Pacer, Patience, Permit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Everything a pool is made of.
pub(super) struct PoolParts {
    pub(super) account: String,
    pub(super) mailbox: Mailbox,
    pub(super) limits: Limits,
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
    /// The first session of all is asked for its folders.
    listed: AtomicBool,
    pub(super) brake: PoolBrake,
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
        Some(named) => patience.decide(since, reached, named).filter(|delay| *delay >= named),
        None => patience.decide(since, reached, backoff.next().unwrap_or(PAUSE_MIN).max(PAUSE_MIN)),
    }
}

/// The limits of a side, as the wire asks for them.
#[derive(Clone)]
pub(super) struct PoolBrake {
    pacer: Pacer,
    burst: (u32, u64),
}

impl Brake for PoolBrake {
    async fn messages(&self, count: u32) {
        for _ in 0..count {
            self.pacer.message().await;
        }
    }

    async fn bytes(&self, count: u64) {
        self.pacer.bytes(count).await;
    }

    fn burst(&self) -> (u32, u64) {
        self.burst
    }
}

impl<E: End> Pool<E> {
    pub(super) fn new(parts: PoolParts) -> Self {
        let messages = parts.limits.messages_per_second.map_or(u32::MAX, |rate| rate.max(1.0) as u32);
        let brake = PoolBrake {
            pacer: Pacer::new(&parts.limits),
            burst: (messages, parts.limits.bytes_per_second.unwrap_or(u64::MAX)),
        };
        Self {
            keychain: Keychain::new(&parts.mailbox.sign_in.credential),
            places: Arc::new(Semaphore::new(parts.limits.connections.max(1))),
            idle: Mutex::default(),
            alive: Arc::default(),
            returned: Notify::new(),
            reached: AtomicBool::new(parts.reached),
            listed: AtomicBool::new(false),
            brake,
            parts,
        }
    }

    /// Takes a session: an idle one, or a new one. Waits for a place, and for the host as long as patience lasts.
    pub(super) async fn take(&self) -> Result<Lease<E>, Failure> {
        self.take_telling(watch::Sender::new(false)).await
    }

    /// As [`Self::take`]; tells while it has a place at the host and opens a session there.
    pub(super) async fn take_telling(&self, opens: watch::Sender<bool>) -> Result<Lease<E>, Failure> {
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
            opens.send_replace(true);
            let mut failure = match self.open().await {
                Ok(session) => {
                    let alive = Arc::clone(&self.alive);
                    return Ok(Lease { session, permit, alive, place });
                }
                Err(failure) => failure,
            };
            opens.send_replace(false);
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
            lists: !self.listed.load(Ordering::Relaxed),
        };
        let session = tokio::select! {
            session = Session::<E>::open(opening) => session,
            () = parts.stop.cancelled() => return Err(self.stopped()),
        };
        let session = session.map_err(|error| self.explain(error.failure(E::SIDE)))?;
        self.listed.store(true, Ordering::Relaxed);
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

    /// Closes all idle connections, politely.
    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle());
        futures_util::future::join_all(idle.into_iter().map(|held| held.session.logout())).await;
    }
}
