//! The copy pipeline of one folder: fetch, write down, append, write down. The four overlap; each message goes through them
//! in this order.
//!
//! ```text
//!   source ─fetch─▶ (bodies) ─intend: durable─▶ (outgoing) ─append─▶ target
//!                                                              │
//!                                  ledger ◀─landed─ (answers) ◀┘
//! ```
//!
//! Invariant: nothing is appended before its intent is durable. What was appended and has no answer stays intended: the
//! next pass looks for it.

use super::account::Account;
use super::event::Event;
use super::lanes::{Ended, Lanes, Open, Work};
use super::pool::Lease;
use super::stable;
use super::turns::Turn;
use crate::checkpoint::{Ending, FolderId, Landed, LossKind, Settlement, Trouble};
use crate::failure::{Failure, Kind, Scope};
use crate::imap::{
    self, Answer, Brake as _, FLAG_BYTES_MAX, Fetched, Incoming, Outgoing, Refusal, RefusedFetch, Source, Target,
    Wanted,
};
use crate::mail::{
    Digest, Evidence, Fate, Flags, InternalDate, Listing, Record, Side, Stage, Uid, UidValidity, WireName,
};
use crate::pace::Gate;
use crate::plan::{self, Attempt, Keeping};
use crate::rows::Rows;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// Bodies that are whole and wait to be written down: one batch.
const BODIES_MAX: usize = 128;
/// Intents made durable together at the most.
const BATCH_MAX: usize = 256;
/// Fewer bodies than these wait for others, since each commit costs as much as many messages.
const COMPANY: usize = BODIES_MAX / 4 * 3;
/// So long, and again while the target has as many others to take as go in one command.
const MOMENT: Duration = Duration::from_millis(5);

/// How messages go out.
#[derive(Debug, Clone)]
pub(super) struct Dress<'a> {
    /// Alone, asking first.
    pub(super) careful: bool,
    /// Messages in one command at the most.
    pub(super) together: usize,
    /// What the target is known to keep.
    pub(super) keeping: &'a Keeping,
    /// What a message goes without that was refused as it is.
    pub(super) attempt: Attempt,
    /// Nothing else is asked of the source behind these messages: it is looked at again ([`stable::look_again`]) while the
    /// target takes the last of them.
    pub(super) last: bool,
    /// Further connections may share the work.
    pub(super) lanes: bool,
}

/// What a pipeline works on. UIDVALIDITYs are those under which both folders were opened.
pub(super) struct Task<'a> {
    pub(super) account: &'a Account,
    pub(super) folder: FolderId,
    /// For people.
    pub(super) path: &'a str,
    pub(super) source_validity: UidValidity,
    pub(super) target_name: &'a WireName,
    pub(super) target_validity: Option<UidValidity>,
    /// The target's UIDs mean the same when the folder is opened again.
    pub(super) target_lasts: bool,
    /// Messages in the target's folder when it was opened.
    pub(super) target_messages: u32,
    pub(super) source_name: &'a WireName,
    pub(super) source_lasts: bool,
    /// Sound lower bound of new UIDs: UIDNEXT before the first append.
    pub(super) floor: Option<(UidValidity, Uid)>,
    pub(super) listing: &'a Listing,
    /// A body above this many bytes is refused without being sent.
    pub(super) append_limit: Option<u64>,
    /// Ends when all has come from the source.
    pub(super) turn: Turn,
}

/// What a pipeline came to.
#[derive(Default)]
pub(super) struct Copied {
    /// Acknowledged by the target.
    pub(super) acknowledged: u64,
    /// Refused for themselves, with the last words: to be tried otherwise, or listed.
    pub(super) refused: BTreeMap<Uid, (Refusal, Subject)>,
    /// Refused with others in one command: to be sent again with fewer.
    pub(super) apart: Vec<Uid>,
    /// FETCH of these was refused, or brought no body.
    pub(super) unread: BTreeMap<Uid, Option<Refusal>>,
    /// The first of those that were sent and have no answer: sent alone, it is the one that was on the wire.
    pub(super) unanswered: Option<Uid>,
    /// Some went out with fewer flags than they have, which are to be stored afterwards.
    pub(super) short: bool,
    /// Asked for alone and not come when the source's connection broke, or when it put us off.
    pub(super) unfetched: Option<Uid>,
    /// Whose APPEND was refused in words that are said of a folder.
    pub(super) blamed: Option<(Uid, Refusal, Subject)>,
    /// What looking at the source again gave; None: it was not looked at.
    pub(super) checked: Option<Option<(Uid, Digest)>>,
    /// Why it ended before its end.
    pub(super) failure: Option<Failure>,
}

/// What people know a message by.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) subject: String,
    pub(super) date: String,
    pub(super) size: u64,
}

/// Copies `uids`, dressed as `dress` says. Gives the leases back where their connections can be used again.
pub(super) async fn copy(
    task: &Task<'_>,
    uids: &Rows<Uid>,
    dress: Dress<'_>,
    source: Lease<Source>,
    target: &mut Lease<Target>,
) -> (Option<Lease<Source>>, Copied) {
    let halt = task.account.stop.child_token();
    let all_came = CancellationToken::new();
    let flight = Flight::default();
    let (bodies, fetched) = mpsc::channel(BODIES_MAX);
    let size = |uid: Uid| task.listing.get(uid).and_then(|entry| entry.size).unwrap_or(0);
    let wanted = Wanted::of(uids.iter().map(|uid| (uid, size(uid))));
    let coming = Arc::new(all_came.clone().drop_guard());
    let (outgoing, sending) = mpsc::channel(BODIES_MAX);
    let incoming = Incoming::of(sending);
    let (answers, answered) = mpsc::unbounded_channel();
    let alters = target.session.family().quirks().alters_bytes;
    let Dress { careful, together, last, lanes, .. } = dress;
    let open: Arc<Open> = Arc::default();
    let shares = target.session.family().quirks().shares && task.target_lasts;
    let mut lanes = (lanes && task.source_lasts).then(|| {
        let (bodies, answers, coming) = (bodies.downgrade(), answers.downgrade(), Arc::downgrade(&coming));
        let flight = &flight;
        let (wanted, incoming, halt) = (&wanted, &incoming, &halt);
        let work = Work { task, wanted, incoming, bodies, answers, coming, halt, together, shares, flight };
        Lanes::new(work, Arc::clone(&open))
    });
    let fetching = AbortOnDropHandle::new(tokio::spawn(fetch(
        source,
        wanted.clone(),
        task.account.room.clone(),
        task.account.source.brake.clone(),
        bodies,
        (careful, coming),
    )));
    let mut stage =
        Intending { task, dress, alters, halt: &halt, all_came: &all_came, flight: &flight, copied: Copied::default() };
    // Who stops has nothing to wait for.
    let brake = task.account.target.brake.until(&halt);
    let append = async {
        let into = imap::Destination { folder: task.target_name, validity: task.target_validity, together };
        let ended = target.session.append(into, &incoming, &answers, &brake, &halt).await;
        if ended.is_err() {
            halt.cancel();
        }
        // Nobody sends any more: whoever still wants to must notice.
        incoming.close().await;
        drop(answers);
        ended
    };
    let asking = Arc::default();
    let giving = give_way(task.account.gates(), halt.clone(), Arc::clone(&asking), Arc::clone(&open));
    let _giving = AbortOnDropHandle::new(tokio::spawn(giving));
    let all = async {
        tokio::join!(
            stage.run(fetched, outgoing),
            append,
            record(task, answered, &halt, &flight),
            watch_fetch(task, uids, fetching, last, &halt),
        )
    };
    let beside = async {
        match &mut lanes {
            Some(lanes) => lanes.run().await,
            None => std::future::pending().await,
        }
    };
    let (intended, appended, recorded, watched) = tokio::select! {
        all = all => all,
        never = beside => match never {},
    };
    let mut copied = stage.copied;
    let gave_way = asking.get().filter(|_| halt.is_cancelled()).map(|side| gave_way(*side));
    let beside = lanes.map(Lanes::end).unwrap_or_default();
    let (lease, fetch_failure) = note_fetched(&mut copied, watched, beside, careful);
    let Recorded { acknowledged, refused, apart, blamed, failure } = recorded;
    (copied.acknowledged, copied.apart, copied.blamed) = (acknowledged, apart, blamed);
    copied.refused.extend(refused);
    copied.unanswered = flight.lock().first();
    let append_failure = appended.err().map(|error| error.failure(Side::Target));
    // The target's own words come before what followed from them.
    copied.failure = failure.or(append_failure).or(intended.err()).or(fetch_failure).or(gave_way);
    (lease.filter(|lease| lease.session.is_usable()), copied)
}

/// Notes what did not come, and gives why, with the first connection's lease.
fn note_fetched(
    copied: &mut Copied,
    (fetched, checked): Watched,
    beside: Ended,
    careful: bool,
) -> (Option<Lease<Source>>, Option<Failure>) {
    note_refused(copied, beside.refused);
    let (checked, check_failure) = match checked.transpose() {
        Ok(checked) => (checked, None),
        Err(failure) => (None, Some(failure)),
    };
    copied.checked = checked;
    let (lease, fetch_failure) = match fetched {
        None => (None, None),
        Some(Ok((lease, Ok(refused)))) => {
            note_refused(copied, refused);
            (lease, None)
        }
        Some(Ok((lease, Err((failure, under_way))))) => {
            copied.unfetched = under_way.filter(|_| careful);
            (lease, Some(failure))
        }
        Some(Err(_)) => (None, Some(Failure::new(Side::Source, Kind::Lost, "fetch messages: the task ended"))),
    };
    (lease, beside.failure.or(fetch_failure).or(check_failure))
}

/// Halts what is under way where another account waits for a connection and this one has several: what was sent is waited for.
/// Told before it is done. A lane that can be spared is enough.
async fn give_way(
    (source, target): (Gate, Gate),
    halt: CancellationToken,
    asking: Arc<OnceLock<Side>>,
    open: Arc<Open>,
) {
    loop {
        let side = tokio::select! {
            () = source.give_way() => Side::Source,
            () = target.give_way() => Side::Target,
        };
        if !open.retire(side) {
            let _ = asking.set(side);
            return halt.cancel();
        }
    }
}

fn gave_way(side: Side) -> Failure {
    let text = "go on at once: another account waits for a connection, and this one has several";
    Failure::new(side, Kind::TooManyConnections, text).with_wait(Some(Duration::ZERO), true)
}

/// What is between the second stage and its answer: no more than the window and the channels hold.
#[derive(Default)]
pub(super) struct Flight(Mutex<Under>);

/// By UID, and the order in which they went out.
#[derive(Default)]
struct Under {
    subjects: BTreeMap<Uid, (u64, Subject)>,
    sent: u64,
}

impl Under {
    fn insert(&mut self, uid: Uid, subject: Subject) {
        self.sent += 1;
        self.subjects.insert(uid, (self.sent, subject));
    }

    fn remove(&mut self, uid: Uid) -> Subject {
        self.subjects.remove(&uid).map(|(_, subject)| subject).unwrap_or_default()
    }

    fn first(&self) -> Option<Uid> {
        self.subjects.iter().min_by_key(|(_, (order, _))| *order).map(|(uid, _)| *uid)
    }
}

impl Flight {
    /// Gives how many messages there are, and their bytes.
    pub(super) fn waiting(&self) -> (usize, u64) {
        let under = self.lock();
        (under.subjects.len(), under.subjects.values().map(|(_, subject)| subject.size).sum())
    }

    fn lock(&self) -> MutexGuard<'_, Under> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until all has been fetched, then looks at the source again if it is asked to. A fetch that nobody waits for any more
/// is ended, wherever it is held back.
async fn watch_fetch(
    task: &Task<'_>,
    uids: &Rows<Uid>,
    fetching: AbortOnDropHandle<Fetching>,
    last: bool,
    halt: &CancellationToken,
) -> Watched {
    let all = async {
        let mut fetched = fetching.await;
        let checked = match &mut fetched {
            Ok((Some(lease), Ok(refused))) if last && refused.is_empty() => {
                let again = stable::look_again(task, uids, lease).await;
                task.turn.end();
                Some(again)
            }
            _ => None,
        };
        (Some(fetched), checked)
    };
    tokio::select! {
        biased;
        () = halt.cancelled() => (None, None),
        all = all => all,
    }
}

/// What the first connection fetched, and what looking at the source again gave. None: nobody waited for it.
type Watched = (Option<Result<Fetching, tokio::task::JoinError>>, Option<Result<Option<(Uid, Digest)>, Failure>>);

type Fetching = (Option<Lease<Source>>, Result<Vec<RefusedFetch>, (Failure, Option<Uid>)>);

async fn fetch(
    mut source: Lease<Source>,
    wanted: Wanted,
    room: crate::imap::BodyRoom,
    brake: super::haste::PoolBrake,
    bodies: mpsc::Sender<Fetched>,
    (alone, _coming): (bool, Arc<DropGuard>),
) -> Fetching {
    if !alone {
        return match source.session.fetch_bodies(&wanted, &room, &brake, &bodies).await {
            Ok(refused) => (Some(source), Ok(refused)),
            Err(error) => (Some(source), Err((error.failure(Side::Source), None))),
        };
    }
    let mut refused = Vec::new();
    while let Some(one) = wanted.one() {
        match source.session.fetch_bodies(&Wanted::of([one]), &room, &brake, &bodies).await {
            Ok(not_come) => refused.extend(not_come),
            Err(error) => return (Some(source), Err((error.failure(Side::Source), Some(one.0)))),
        }
        if !source.session.is_usable() {
            return (None, Ok(refused));
        }
    }
    (Some(source), Ok(refused))
}

fn note_refused(copied: &mut Copied, refused: Vec<RefusedFetch>) {
    for (uids, refusal) in refused {
        for uid in uids {
            copied.unread.insert(uid, refusal.clone());
        }
    }
}

/// The second stage: what has come is written down, then goes out.
struct Intending<'a> {
    task: &'a Task<'a>,
    dress: Dress<'a>,
    /// The target's family is known to alter any message: all copies are read back.
    alters: bool,
    halt: &'a CancellationToken,
    /// Nothing further is fetched.
    all_came: &'a CancellationToken,
    flight: &'a Flight,
    copied: Copied,
}

impl Intending<'_> {
    async fn run(
        &mut self,
        mut fetched: mpsc::Receiver<Fetched>,
        outgoing: mpsc::Sender<Outgoing>,
    ) -> Result<(), Failure> {
        let mut batch = Vec::new();
        loop {
            let count = tokio::select! {
                biased;
                () = self.halt.cancelled() => return Ok(()),
                count = fetched.recv_many(&mut batch, BATCH_MAX) => count,
            };
            if count == 0 {
                return Ok(());
            }
            self.await_company(&mut fetched, &mut batch).await;
            if self.halt.is_cancelled() {
                return Ok(());
            }
            let (mut records, mut ready) = self.prepare(std::mem::take(&mut batch));
            let begun = Instant::now();
            let (paid, unpaid) = self.pay(&records).await;
            records.truncate(paid);
            ready.truncate(paid);
            let ledger = &self.task.account.ledger;
            ledger.intend(self.task.folder, self.task.source_validity, records).await?;
            let mut ready = ready.into_iter();
            while let Some((message, subject)) = ready.next() {
                self.flight.lock().insert(message.source_uid, subject);
                if let Err(unsent) = outgoing.send(message).await {
                    let rest = ready.map(|(message, _)| message.body.length()).sum::<u64>();
                    self.task.account.target.brake.unused(unsent.0.body.length() + rest, begun);
                    return Ok(());
                }
            }
            unpaid?;
        }
    }

    /// Waits where few bodies have come, and takes those that come meanwhile.
    async fn await_company(&self, fetched: &mut mpsc::Receiver<Fetched>, batch: &mut Vec<Fetched>) {
        while batch.len() < COMPANY && !self.dress.careful {
            let goes_on = tokio::select! {
                () = self.halt.cancelled() => false,
                () = self.all_came.cancelled() => false,
                () = tokio::time::sleep(MOMENT) => self.flight.lock().subjects.len() >= imap::TOGETHER_MAX,
            };
            while batch.len() < BATCH_MAX
                && let Ok(body) = fetched.try_recv()
            {
                batch.push(body);
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Pays for what is to be sent, in its order. Gives how many could be, and why no more.
    async fn pay(&self, records: &[Record]) -> (usize, Result<(), Failure>) {
        for (at, record) in records.iter().enumerate() {
            if let Err(failure) = self.task.account.target.pay(record.size).await {
                return (at, Err(failure));
            }
        }
        (records.len(), Ok(()))
    }

    fn prepare(&mut self, batch: Vec<Fetched>) -> (Vec<Record>, Vec<(Outgoing, Subject)>) {
        let (mut records, mut ready) = (Vec::new(), Vec::new());
        for Fetched { uid, body } in batch {
            let Some(body) = body else {
                self.copied.unread.insert(uid, None);
                continue;
            };
            let subject =
                Subject { subject: body.subject().to_owned(), date: body.date().to_owned(), size: body.length() };
            if let Some(limit) = self.task.append_limit.filter(|limit| body.length() > *limit) {
                let words = format!("[TOOBIG] the target takes {limit} bytes at most");
                self.copied.refused.insert(uid, (said_by_us(words), subject));
                continue;
            }
            if let Some(limit) = self.task.account.target.message_max().filter(|limit| body.length() > *limit) {
                let words = format!("[TOOBIG] bytes_per_day allows {limit} bytes in a day");
                self.copied.refused.insert(uid, (said_by_us(words), subject));
                continue;
            }
            let Outside { base, flags, date } = self.outside(uid);
            let careful = self.dress.careful || !plan::is_sure(&flags, date);
            records.push(Record {
                source_uid: uid,
                stage: Stage::Intended,
                target: None,
                floor: self.task.floor,
                size: body.length(),
                digest: Some(body.digest()),
                header: body.header(),
                date: self.task.listing.get(uid).and_then(|entry| entry.date),
                flags: base,
                risky: self.alters || body.traits().is_risky(),
                evidence: Evidence::None,
            });
            ready.push((Outgoing { source_uid: uid, flags, date, body, careful }, subject));
        }
        (records, ready)
    }

    /// Gives flags and date as they are sent.
    fn outside(&mut self, uid: Uid) -> Outside {
        let entry = self.task.listing.get(uid);
        let wanted = entry.map(|entry| self.task.account.carried(entry.flags)).unwrap_or_default();
        let Dress { keeping, attempt, .. } = &self.dress;
        let base = plan::fitting(&keeping.unsuspected(&wanted).without(&attempt.without), FLAG_BYTES_MAX);
        self.copied.short |= !base.same(&wanted);
        let date = entry.and_then(|entry| entry.date).filter(|_| !attempt.without_date);
        Outside { flags: keeping.storable(&base), base, date }
    }
}

/// What is said of a message beside its bytes.
struct Outside {
    /// What goes on record: what both sides have then. What the target cannot keep belongs to it, or it would be tried
    /// again in every run; what is to be stored afterwards does not.
    base: Flags,
    /// What is sent.
    flags: Flags,
    date: Option<InternalDate>,
}

fn said_by_us(words: String) -> Refusal {
    Refusal { phase: crate::provider::Phase::Append, status: crate::provider::Status::No, words: words.into_bytes() }
}

/// What the last stage came to.
#[derive(Default)]
struct Recorded {
    acknowledged: u64,
    refused: BTreeMap<Uid, (Refusal, Subject)>,
    /// See [`Copied::apart`].
    apart: Vec<Uid>,
    /// See [`Copied::blamed`].
    blamed: Option<(Uid, Refusal, Subject)>,
    failure: Option<Failure>,
}

/// The last stage: answers are written down. A refusal that is not the message's own stops the pipeline.
async fn record(
    task: &Task<'_>,
    mut answers: mpsc::UnboundedReceiver<Answer>,
    halt: &CancellationToken,
    flight: &Flight,
) -> Recorded {
    let mut recorded = Recorded::default();
    let mut batch = Vec::new();
    while answers.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let (mut landed, mut refused) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for Answer { source_uid, outcome, together } in batch.drain(..) {
            let subject = flight.lock().remove(source_uid);
            match outcome {
                Ok(appended) => {
                    bytes += subject.size;
                    landed.push((source_uid, Landed::Acknowledged(appended)));
                }
                Err(refusal) => refused.push((source_uid, refusal, subject, together)),
            }
        }
        let ledger = &task.account.ledger;
        let messages = landed.len() as u64;
        recorded.acknowledged += messages;
        let written = async {
            ledger.landed(task.folder, task.source_validity, landed).await?;
            // A tagged NO says that nothing was stored.
            ledger.retract(task.folder, task.source_validity, refused.iter().map(|(uid, ..)| *uid).collect()).await
        };
        if let Err(error) = written.await {
            recorded.failure.get_or_insert(error.into());
            halt.cancel();
        }
        for (uid, refusal, subject, together) in refused {
            let failure =
                crate::imap::ImapError::refused(format!("append message {uid}"), refusal.clone()).failure(Side::Target);
            if failure.scope() == Scope::Message && together {
                recorded.apart.push(uid);
            } else if failure.scope() == Scope::Message {
                recorded.refused.insert(uid, (refusal, subject));
            } else {
                if failure.scope() == Scope::Folder && recorded.failure.is_none() && !together {
                    recorded.blamed = Some((uid, refusal, subject));
                }
                recorded.failure.get_or_insert(failure);
                halt.cancel();
            }
        }
        if messages > 0 {
            let (account, folder) = (task.account.name.clone(), task.path.to_owned());
            task.account.events.send(Event::Copied { account, folder, messages, bytes }).await;
        }
    }
    recorded
}

/// Writes down what will not arrive, and tells it.
pub(super) async fn settle_failed(
    task: &Task<'_>,
    failed: Vec<(Uid, Ending, Kind, String, Subject)>,
) -> Result<(), Failure> {
    let mut settlements = Vec::new();
    for (uid, fate, kind, words, subject) in failed {
        let entry = task.listing.get(uid);
        let size = if subject.size > 0 { subject.size } else { entry.and_then(|entry| entry.size).unwrap_or(0) };
        task.account
            .events
            .send(Event::MessageFailed {
                account: task.account.name.clone(),
                folder: task.path.to_owned(),
                uid: uid.value(),
                fate: Fate::from(fate),
                subject: subject.subject.clone(),
                size,
                words: words.clone(),
            })
            .await;
        let kind =
            serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        let (subject, date_header) = (subject.subject, subject.date);
        let trouble = Some(Trouble { kind, words, subject, date_header, size });
        settlements.push(Settlement { source_uid: uid, fate, size, date: entry.and_then(|entry| entry.date), trouble });
    }
    Ok(task.account.ledger.settle(task.folder, task.source_validity, settlements).await?)
}

/// Writes down that a message arrived without something, and tells it.
pub(super) async fn note_change(task: &Task<'_>, uid: Uid, kind: LossKind, what: String) -> Result<(), Failure> {
    task.account.ledger.note_loss(task.folder, task.source_validity, uid, kind, &what).await?;
    let (account, folder) = (task.account.name.clone(), task.path.to_owned());
    task.account.events.send(Event::MessageChanged { account, folder, uid: uid.value(), what }).await;
    Ok(())
}
