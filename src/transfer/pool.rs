//! The connections of one side of one account: opened when needed, used again, waited for when the host cannot be used.
//!
//! Invariants: never more connections than the limits and the host's learned wall allow; whoever takes from both sides
//! takes from the source first, so that nobody waits in a circle; a session that broke is never used again.

use super::allowance::Purses;
use super::haste::{End as Until, Heed, PoolBrake};
use super::standing::Standing;
use super::{Event, Events};
use crate::auth::{Credential, Keychain};
use crate::checkpoint::{AccountId, Ledger};
use crate::config::Mailbox;
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{CommandBrake, End, Haste, ImapError, Manners, Opening, Session};
use crate::mail::Side;
use crate::net::Dial;
use crate::pace::{
    Attempt, Backoff, Breaker, Gate, Hold, HostPace, Limits, PAUSE_MIN, Pacer, Patience, Permit, WallClock,
};
use crate::provider::{Crowd, Phase, crowd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Left to the user's own programs of the connections that a server allows a user: a desktop and a telephone.
const SPARE: u32 = 2;
/// A sign-in that went well before and is refused now is tried again so often, each time after [`DOUBT`]: small hosts hide
/// their limits so, and Yahoo refuses at random.
const DOUBTS_MAX: u32 = 2;
const DOUBT: Duration = Duration::from_secs(60);
/// A message that is half sent when somebody stops may take so much longer at the pace of its limits.
const FINISH: Duration = Duration::from_secs(10);

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
    pub(super) breaker: Breaker,
    pub(super) patience: Patience,
    pub(super) timeout: Duration,
    pub(super) events: Events,
    pub(super) stop: CancellationToken,
    pub(super) ledger: Ledger,
    pub(super) id: AccountId,
    pub(super) standing: Arc<Standing>,
    /// The host has answered a sign-in of this account before.
    pub(super) reached: bool,
}

pub(super) struct Pool<E> {
    parts: PoolParts,
    keychain: Keychain,
    /// The account's own connections: as many as its limits and the server's limit for one user allow.
    places: Gate,
    idle: Arc<Mutex<Vec<Held<E>>>>,
    /// A session was given back: whoever waits for a new one may take it instead.
    returned: Notify,
    /// One for each open session beside its own: how many there are.
    alive: Arc<()>,
    reached: AtomicBool,
    /// The first session of all is asked for its folders.
    listed: AtomicBool,
    manners: Manners,
    /// It has signed in since it was made.
    entered: AtomicBool,
    /// It has no session, and the last attempt to open one failed.
    refuses: AtomicBool,
    /// When the last lock-out ended that was waited for.
    freed: Mutex<Option<Instant>>,
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
    place: Permit,
}

impl<E> Lease<E> {
    fn of(held: Held<E>, place: Permit) -> Self {
        Self { session: held.session, permit: held.permit, alive: held.alive, place }
    }
}

/// Gives how long to wait before the next try; None: longer than patience lasts. A time that a server named is kept whole
/// or not at all; one that is known for its words grows from try to try, so that forty accounts do not come back together.
pub(super) fn delay(
    failure: &Failure,
    patience: Patience,
    since: Duration,
    reached: bool,
    backoff: &mut Backoff,
) -> Option<Duration> {
    if failure.kind == Kind::AllowanceSpent {
        // The account parks: others need its place, and nothing is to be found out meanwhile.
        return None;
    }
    let (patience, reached) = match failure.kind {
        Kind::Throttled => (patience.asked(), true),
        _ => (patience, reached),
    };
    let Some(least) = failure.wait else {
        return patience.decide(since, reached, backoff.next().unwrap_or(PAUSE_MIN).max(PAUSE_MIN));
    };
    let time = if failure.named { least } else { backoff.from(least) };
    patience.decide(since, reached, time).filter(|delay| *delay >= least)
}

/// A server that met an error of its own over a folder is asked again, three times in a row by each who meets it; then it has
/// refused the folder.
pub(super) fn insist(failure: Failure, faults: &mut u32) -> Failure {
    const FAULTS_MAX: u32 = 3;
    if failure.kind != Kind::FolderUnreadable {
        return failure;
    }
    *faults += 1;
    if *faults <= FAULTS_MAX { failure } else { Failure { kind: Kind::FolderRefused, ..failure } }
}

/// Whether one stands in line where all places are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Join,
    /// Somebody in that line may wait for what this one holds.
    Skip,
}

/// What a failed attempt tells of the host.
enum Told {
    /// It is there: what went wrong is between it and this account.
    Answer,
    Crowded(Crowd),
    /// It takes no one, as far as this attempt shows.
    Down,
    /// It hung up, and others are connected.
    HungUp,
    /// It takes nobody from here, whoever signs in: each that tries makes it last.
    LockedOut,
    Nothing,
}

/// What has been tried for one lease.
#[derive(Default)]
struct Tries {
    trouble: Option<Instant>,
    backoff: Backoff,
    fresh_token: bool,
    doubts: u32,
    /// It waits for the end of a lock-out.
    locked: bool,
}

impl<E: End> Pool<E> {
    pub(super) fn new(parts: PoolParts) -> Self {
        let (account, stop) = (parts.account.clone(), parts.stop.clone());
        let heed = Heed { account, side: E::SIDE, hold: Hold::default(), stop };
        let idle: Arc<Mutex<Vec<Held<E>>>> = Arc::default();
        let unused = Arc::downgrade(&idle);
        parts.gate.when_wanted(move || {
            let unused = unused.upgrade();
            unused.and_then(|idle| idle.lock().unwrap_or_else(PoisonError::into_inner).pop()).is_some()
        });
        // What is half sent may be finished: it was paid for. What is fetched is fetched again.
        let grace = if E::SIDE == Side::Target { FINISH } else { Duration::ZERO };
        let brake = PoolBrake {
            heed,
            end: Until::after(&parts.stop, grace),
            account: Pacer::new(&parts.limits.rates, parts.clock),
            host: parts.host.clone(),
            // What a target is sent is paid for before its intent; what is read back there is not what it counts.
            paid: Some(parts.purses.clone()),
            fetched: (E::SIDE == Side::Source).then(|| parts.purses.clone()),
        };
        let commands: Option<Arc<dyn CommandBrake>> =
            if brake.holds_commands() { Some(Arc::new(brake.clone())) } else { None };
        Self {
            keychain: Keychain::new(&parts.mailbox.sign_in.credential),
            places: Gate::new(Some(parts.limits.connections)),
            idle,
            alive: Arc::default(),
            returned: Notify::new(),
            reached: AtomicBool::new(parts.reached),
            listed: AtomicBool::new(false),
            manners: Manners::new(parts.mailbox.compress),
            entered: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            freed: Mutex::default(),
            brake,
            commands,
            parts,
        }
    }

    /// Takes a session: an idle one, or a new one. Waits for a place, and for the host as long as patience lasts.
    pub(super) async fn take(&self) -> Result<Lease<E>, Failure> {
        self.take_in(Line::Join, watch::Sender::new(false)).await
    }

    /// As [`Self::take`]; tells while it has a place at the host and opens a session there.
    pub(super) async fn take_telling(&self, opens: watch::Sender<bool>) -> Result<Lease<E>, Failure> {
        self.take_in(Line::Join, opens).await
    }

    /// As [`Self::take`], for who holds a session of the other side: waits for no place that another may have who waits for
    /// that one.
    pub(super) async fn take_beside(&self) -> Result<Lease<E>, Failure> {
        self.take_in(Line::Skip, watch::Sender::new(false)).await
    }

    async fn take_in(&self, line: Line, opens: watch::Sender<bool>) -> Result<Lease<E>, Failure> {
        let mut place = self.place(line).await?;
        let mut tries = Tries::default();
        loop {
            let idle = self.idle().pop();
            if let Some(held) = idle {
                self.parts.standing.is_up(E::SIDE).await?;
                return Ok(Lease::of(held, place));
            }
            let Some((attempt, mut permit)) = Box::pin(self.may_open(line, &mut tries)).await? else { continue };
            self.note_lock(&mut tries);
            opens.send_replace(true);
            let (failure, told) = match self.open(attempt.is_probe()).await {
                Ok(session) => {
                    attempt.reached();
                    self.note_lock(&mut tries);
                    permit.enter();
                    self.refuses.store(false, Ordering::Relaxed);
                    let alive = Arc::clone(&self.alive);
                    self.places.took(self.alive());
                    self.parts.standing.is_up(E::SIDE).await?;
                    return Ok(Lease { session, permit, alive, place });
                }
                Err(refused) => refused,
            };
            opens.send_replace(false);
            self.refuses.store(self.alive() == 0, Ordering::Relaxed);
            // Before the place goes to the next, who would be refused in turn.
            self.learn(attempt, &told, &failure);
            self.note_lock(&mut tries);
            drop(permit);
            if self.may_be_old(&failure) && !std::mem::replace(&mut tries.fresh_token, true) {
                continue;
            }
            if matches!(told, Told::Crowded(_) | Told::HungUp) && self.alive() > 0 {
                // Others have what the host gives us: this place is closed, and one of theirs is waited for.
                drop(place);
                if line == Line::Join {
                    self.pause(&failure).await?;
                }
                place = self.place(line).await?;
                continue;
            }
            self.wait_after(failure, &told, &mut tries).await?;
        }
    }

    /// Lets the account have so many sessions, of those that its limits allow.
    pub(super) fn share(&self, connections: usize) {
        self.places.allow(connections.min(self.parts.limits.connections));
    }

    async fn place(&self, line: Line) -> Result<Permit, Failure> {
        if line == Line::Skip {
            return self.places.try_acquire().ok_or_else(|| self.taken());
        }
        tokio::select! {
            place = self.places.acquire() => Ok(place),
            () = self.parts.stop.cancelled() => Err(self.stopped()),
        }
    }

    /// Waits until a connection may be opened: until this account may ask, has a place at the host, and the host is up or it is
    /// this one's turn to find out. In this order: the turn is everybody's, and who has it keeps it from all. None: all has
    /// to be looked at again.
    async fn may_open(&self, line: Line, tries: &mut Tries) -> Result<Option<(Attempt, Permit)>, Failure> {
        let PoolParts { breaker, gate, stop, .. } = &self.parts;
        self.brake.heed.pauses().await;
        let left = self.patience_left(line, tries).await?;
        let is_down = left.is_some();
        let place = async {
            let permit = match line {
                Line::Skip => gate.try_acquire().ok_or_else(|| self.taken())?,
                Line::Join => gate.acquire().await,
            };
            // Lost while a place was waited for: that has its own patience.
            let is_lost = !is_down && breaker.outage().is_some();
            let leave = if is_lost { None } else { Some((breaker.enter().await, permit)) };
            Ok::<_, Failure>(leave)
        };
        let over = async {
            match left {
                Some((left, failure)) => {
                    tokio::time::sleep(left).await;
                    failure
                }
                None => std::future::pending().await,
            }
        };
        let found = tokio::select! {
            found = place => found?,
            () = self.returned.notified() => None,
            failure = over => return Err(self.unreached(failure)),
            () = stop.cancelled() => return Err(self.stopped()),
        };
        Ok(found.filter(|_| self.brake.heed.pause().is_none()))
    }

    /// Gives for how long a host that is down is still waited for, and what is wrong with it. None: it is up.
    async fn patience_left(&self, line: Line, tries: &mut Tries) -> Result<Option<(Duration, Failure)>, Failure> {
        let Some(outage) = self.parts.breaker.outage() else { return Ok(None) };
        // Who is at work does not wait.
        if self.alive() == 0 {
            self.parts.standing.is_down(E::SIDE, &outage).await?;
        }
        let since = self.lasts(*tries.trouble.get_or_insert_with(Instant::now));
        let (mut failure, mut patience) = (outage.failure, self.parts.patience);
        let reached = self.is_no_misspelling(&failure);
        if failure.kind == Kind::LockedOut {
            // Its time is known, and may be as long as an outage is waited for. Whoever has not heard it himself is not to blame.
            (failure.kind, failure.wait, patience) = (Kind::Unavailable, None, patience.asked());
            tries.locked = true;
        }
        match patience.decide(since, reached, Duration::MAX).filter(|_| line == Line::Join) {
            Some(left) => Ok(Some((left, failure))),
            None => Err(self.unreached(failure)),
        }
    }

    /// Notes the end of a lock-out that was waited for: what went before says nothing of how long anything else has lasted.
    fn note_lock(&self, tries: &mut Tries) {
        let outage = self.parts.breaker.outage();
        if tries.locked && outage.is_none_or(|outage| outage.failure.kind != Kind::LockedOut) {
            tries.locked = false;
            *self.freed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Gives for how long a trouble has lasted, but for what was waited until the host took people from here again.
    pub(super) fn lasts(&self, trouble: Instant) -> Duration {
        let freed = *self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        freed.map_or(trouble, |freed| freed.max(trouble)).elapsed()
    }

    /// Says whether there is such a host, most likely: it has answered before, or says itself why it takes nobody.
    fn is_no_misspelling(&self, failure: &Failure) -> bool {
        self.has_been_reached() || !failure.kind.is_outage()
    }

    /// Waits until one more may be tried where others are connected, or one of these gives its session back.
    async fn pause(&self, failure: &Failure) -> Result<(), Failure> {
        tokio::select! {
            () = tokio::time::sleep(failure.wait.unwrap_or_default().max(PAUSE_MIN)) => Ok(()),
            () = self.returned.notified() => Ok(()),
            () = self.parts.stop.cancelled() => Err(self.stopped()),
        }
    }

    /// Lets everybody know what an attempt has shown.
    fn learn(&self, attempt: Attempt, told: &Told, failure: &Failure) {
        let gate = &self.parts.gate;
        match told {
            Told::Down | Told::LockedOut => {
                gate.suspect_none();
                return attempt.lost(failure);
            }
            Told::Nothing => return,
            Told::Answer => {}
            Told::Crowded(Crowd::Account(stated)) => {
                let spared = stated.map_or(usize::MAX, |max| max.saturating_sub(SPARE) as usize);
                self.places.learn_wall(self.alive().max(1).min(spared));
            }
            Told::Crowded(Crowd::Host) => gate.learn_wall(gate.entered()),
            // That somebody hangs up says of nobody that he is there.
            Told::HungUp => return gate.suspect_wall(gate.entered()),
        }
        attempt.reached();
    }

    /// A token may be too old without the server saying so: a new one is asked for once.
    fn may_be_old(&self, failure: &Failure) -> bool {
        matches!(failure.kind, Kind::SignInRefused | Kind::TokenExpired)
            && matches!(self.parts.mailbox.sign_in.credential, Credential::Token(_))
    }

    /// Waits before the next try; an error where there is none. A host that is down is waited for elsewhere.
    async fn wait_after(&self, failure: Failure, told: &Told, tries: &mut Tries) -> Result<(), Failure> {
        let since = self.lasts(*tries.trouble.get_or_insert_with(Instant::now));
        let patience = if tries.locked { self.parts.patience.asked() } else { self.parts.patience };
        // A refusal is an answer, and so is a lock-out: this host is no misspelt one.
        let reached = self.is_no_misspelling(&failure)
            || tries.locked
            || matches!(told, Told::Answer | Told::Crowded(_) | Told::HungUp);
        let in_doubt =
            failure.kind == Kind::SignInRefused && self.entered.load(Ordering::Relaxed) && tries.doubts < DOUBTS_MAX;
        tries.doubts += u32::from(in_doubt);
        let delay = match failure.remedy() {
            _ if matches!(told, Told::Down) => {
                return match patience.decide(since, reached, Duration::MAX) {
                    Some(_) => Ok(()),
                    None => Err(self.unreached(failure)),
                };
            }
            _ if in_doubt => patience.decide(since, reached, DOUBT).filter(|delay| *delay == DOUBT),
            Remedy::Reconnect | Remedy::Later | Remedy::FewerConnections => {
                delay(&failure, patience, since, reached, &mut tries.backoff)
            }
            Remedy::Again | Remedy::Refresh | Remedy::Skip | Remedy::Ask => None,
        };
        match delay {
            Some(delay) => self.wait(delay, &failure).await,
            None => Err(self.unreached(failure)),
        }
    }

    /// Adds what most likely is the cause where a host has never answered.
    fn unreached(&self, mut failure: Failure) -> Failure {
        if !self.has_been_reached() && failure.kind.is_outage() && failure.hint.is_empty() {
            failure.hint = "check host, port and tls in the job file".to_owned();
        }
        failure
    }

    fn taken(&self) -> Failure {
        let host = &self.parts.mailbox.endpoint.host;
        Failure::new(E::SIDE, Kind::TooManyConnections, format!("connect to {host} again: others have its connections"))
    }

    /// How many sessions there are.
    fn alive(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }

    /// Waits, and says so; ends at once when somebody asks to stop. A server that is asked less is asked less by all.
    pub(super) async fn wait(&self, delay: Duration, failure: &Failure) -> Result<(), Failure> {
        if delay.is_zero() {
            return Ok(());
        }
        if failure.kind == Kind::Throttled {
            self.brake.heed.keep(delay);
        }
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

    async fn open(&self, is_probe: bool) -> Result<Session<E>, (Failure, Told)> {
        let parts = &self.parts;
        let opening = Opening {
            dial: &*parts.dial,
            endpoint: &parts.mailbox.endpoint,
            sign_in: &parts.mailbox.sign_in,
            keychain: &self.keychain,
            timeout: parts.timeout,
            lists: !self.listed.load(Ordering::Relaxed),
            manners: &self.manners,
            commands: self.commands.as_ref(),
        };
        let session = tokio::select! {
            session = Session::<E>::open(opening) => session,
            () = parts.stop.cancelled() => return Err((self.stopped(), Told::Nothing)),
        };
        let mut session = session.map_err(|error| {
            let told = self.told(&error, is_probe);
            (self.explain(error.failure(E::SIDE)), told)
        })?;
        self.listed.store(true, Ordering::Relaxed);
        session.heed(Arc::new(self.brake.heed.clone()));
        let endpoint = &parts.mailbox.endpoint;
        tracing::info!(account = parts.account, side = %E::SIDE, host = endpoint.host, port = endpoint.port, "signed in");
        self.entered.store(true, Ordering::Relaxed);
        if !self.reached.swap(true, Ordering::Relaxed) {
            parts.ledger.reached(parts.id, E::SIDE).await.map_err(|error| (error.into(), Told::Nothing))?;
        }
        Ok(session)
    }

    /// Tells what a failed attempt shows of the host.
    fn told(&self, error: &ImapError, is_probe: bool) -> Told {
        let is_alone = self.parts.gate.entered() == 0;
        let kind = error.failure(E::SIDE).kind;
        match (error, kind) {
            (_, Kind::HostUnknown) => Told::Down,
            (_, Kind::LockedOut) => Told::LockedOut,
            (ImapError::Refused { refusal, .. }, Kind::TooManyConnections) => {
                match crowd(refusal.phase, &refusal.words) {
                    Crowd::Host if is_alone => Told::Down,
                    crowd => Told::Crowded(crowd),
                }
            }
            // In answer to a sign-in it is the account that is unavailable.
            (ImapError::Refused { refusal, .. }, kind) if kind != Kind::Lost && refusal.phase != Phase::Greeting => {
                Told::Answer
            }
            (_, Kind::Unreachable | Kind::Lost | Kind::Unavailable | Kind::Silent) if is_alone || is_probe => {
                Told::Down
            }
            // Some close their port to one more.
            (_, Kind::Unreachable | Kind::Lost | Kind::Unavailable) => Told::HungUp,
            _ => Told::Nothing,
        }
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

    /// Says whether the host has ever answered a sign-in of this account.
    pub(super) fn has_been_reached(&self) -> bool {
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
        // Who waits with fewer connections has a better use for this one.
        if session.is_usable() && !self.parts.gate.is_wanted() {
            self.idle().push(Held { session, permit, alive });
        }
        drop(place);
        self.returned.notify_one();
    }

    /// Says whether somebody waits for a connection who has fewer, or another folder of this account.
    pub(super) fn is_wanted(&self) -> bool {
        self.places.is_waited_for() || self.parts.gate.is_wanted()
    }

    /// Says whether the host cannot be reached, or takes nobody of this account.
    pub(super) fn is_down(&self) -> bool {
        self.parts.breaker.outage().is_some() || self.refuses.load(Ordering::Relaxed)
    }

    /// Says whether the account may have one session more now: folders whose copies are proven hold some.
    pub(super) fn has_place(&self) -> bool {
        self.places.has_room()
    }

    /// Gives the host's gate, as this account knows it.
    pub(super) fn gate(&self) -> Gate {
        self.parts.gate.clone()
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
        // Who is not to ask anything says no goodbye either, nor who would have to wait for it.
        let hasty = self.commands.is_some() && self.parts.stop.is_cancelled();
        let polite = idle.into_iter().filter(|_| !hasty && self.brake.heed.hold.left().is_none());
        futures_util::future::join_all(polite.map(|held| held.session.logout())).await;
    }
}
