//! Bodies from a server, a few commands under way, each body handed on as soon as it is whole and its command's turn has come.
//!
//! Dovecot answers commands that are under way together interleaved where its output is full. What a later command gives
//! before its turn waits, in memory where there is some at once and else in a file: it holds nothing that the turn needs.

use super::body::{Body, BodyRoom, BodyWriter};
use super::connection::{Completion, Line, sort_line};
use super::error::{ImapError, Refusal};
use super::haste::Heed;
use super::session::{BodySeen, End, Session, parse_fetch, uid_sets};
use super::token::starts_with;
use super::wire::{BodySink, Broken, INLINE_MAX};
use crate::failure::{Failure, Scope};
use crate::mail::Uid;
use crate::provider::{Phase, Status};
use crate::rows::Rows;
use futures_util::future::BoxFuture;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Messages in one command: few enough that a refusal costs little.
const MESSAGES_PER_COMMAND: usize = 500;
/// Ranges in one command: 22 bytes each at the most (RFC 2683, 3.2.1.5: 1,000 bytes a command).
const RANGES_PER_COMMAND: usize = 36;
/// Bytes asked for in one command, by the sizes the server told. Where no more are under way the next one is sent: covers the
/// round trip of a WAN (400 Mbit/s at 40 ms).
const BYTES_PER_COMMAND: u64 = 2 << 20;
/// Commands under way at the most.
const COMMANDS_MAX: usize = 8;
/// Messages under way, or here before their turn, beside which no further command is sent: each may need a file.
const MESSAGES_BESIDE: usize = 256;
/// A message of which the server tells no size counts as so many bytes.
const UNKNOWN: u64 = 64 * 1024;

/// Holds a transfer back to its limits. The wire asks before it moves anything.
pub trait Brake: Send + Sync {
    /// Waits until `count` messages may move.
    ///
    /// # Errors
    /// Somebody asked to stop: they may not.
    fn messages(&self, count: u32) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Waits until `count` bytes of bodies may move.
    ///
    /// # Errors
    /// Somebody asked to stop, long enough ago that what is under way is given up.
    fn bytes(&self, count: u64) -> impl Future<Output = Result<(), Failure>> + Send;
    /// Waits until a command may go out that asks for so many messages, of which so many bytes may come at once. What it gives
    /// is dropped when that has gone out: until then nobody else gets leave for what the limits allow beside it.
    ///
    /// # Errors
    /// As those of the others.
    fn ask(&self, messages: u32, bytes: u64) -> impl Future<Output = Result<Box<dyn Send>, Failure>> + Send {
        async move {
            self.messages(messages).await?;
            self.bytes(bytes).await?;
            Ok(Box::new(()) as Box<dyn Send>)
        }
    }
    /// Says whether messages or bytes are held back by a rate now.
    fn is_paced(&self) -> bool {
        self.burst() != (u32::MAX, u64::MAX)
    }
    /// Says whether the server wants to be asked nothing now.
    fn is_held(&self) -> bool {
        false
    }
    /// At most this many messages and bytes are to be asked for at once, now.
    fn burst(&self) -> (u32, u64);
    /// Takes `bytes` of bodies out of what may be fetched at all for the time being, before they are asked for.
    ///
    /// # Errors
    /// It is spent: the failure says when there will be more.
    fn afford(&self, bytes: u64) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = bytes;
        std::future::ready(Ok(()))
    }
    /// Takes back bytes that were paid for, since then, and were not sent.
    fn unused(&self, bytes: u64, since: Instant) {
        let _ = (bytes, since);
    }
    /// Takes back bytes that [`Self::afford`] gave, since then, and that have not come.
    fn unfetched(&self, bytes: u64, since: Instant) {
        let _ = (bytes, since);
    }
    /// No message of more bytes can ever be afforded. None: any can.
    fn message_max(&self) -> Option<u64> {
        None
    }
}

/// Holds commands back to their limits, whatever they are. One for all connections of a side.
pub trait CommandBrake: Send + Sync {
    /// Waits until one command may be sent.
    ///
    /// # Errors
    /// Somebody asked to stop: it may not.
    fn command(&self) -> BoxFuture<'_, Result<(), Failure>>;
}

/// So much of a body goes over the wire at once where so many bytes pass in a burst: a part of it, or the buckets count what
/// has long been moved.
pub(super) fn piece_max(burst: u64) -> usize {
    const PARTS: u64 = 4;
    const PIECE: (u64, u64) = (1024, 64 * 1024);
    (burst / PARTS).clamp(PIECE.0, PIECE.1) as usize
}

/// What holds a connection's commands back; None: nothing does.
pub(super) type Turns = Option<Arc<dyn CommandBrake>>;

/// Waits until one command may be sent.
pub(super) async fn turn(turns: &Turns) -> Result<(), Broken> {
    match turns {
        Some(brake) => brake.command().await.map_err(Broken::held),
        None => Ok(()),
    }
}

/// A body that was asked for.
pub struct Fetched {
    /// Its number.
    pub uid: Uid,
    /// None: the server lists the message and gives no body (`NIL`).
    pub body: Option<Body>,
}

/// Messages that are to be fetched: UIDs ascending or descending, with the sizes the server told. Several sessions may take
/// from it, each a command's worth at a time. Clones share it.
#[derive(Debug, Clone)]
pub struct Wanted {
    waiting: Arc<Mutex<Waiting>>,
    retired: CancellationToken,
}

/// All that was wanted, and how far it has been taken.
#[derive(Debug)]
struct Waiting {
    all: Rows<(Uid, u64)>,
    /// Those before are taken, or next.
    at: usize,
    next: VecDeque<(Uid, u64)>,
}

impl Waiting {
    fn of(all: Rows<(Uid, u64)>) -> Self {
        Self { all, at: 0, next: VecDeque::new() }
    }

    fn left(&self) -> usize {
        self.all.len() - self.at + self.next.len()
    }

    /// Has at least one command's worth at hand, where so many are left.
    fn next(&mut self) -> &mut VecDeque<(Uid, u64)> {
        if self.next.len() < MESSAGES_PER_COMMAND {
            let to = (self.at + 2 * MESSAGES_PER_COMMAND).min(self.all.len());
            self.next.extend(self.all.range(self.at, to));
            self.at = to;
        }
        &mut self.next
    }
}

impl Wanted {
    /// Of these messages.
    #[must_use]
    pub fn of(wanted: impl IntoIterator<Item = (Uid, u64)>) -> Self {
        let waiting = Arc::new(Mutex::new(Waiting::of(wanted.into_iter().collect())));
        Self { waiting, retired: CancellationToken::new() }
    }

    /// Gives the same for a session beside the others, which takes nothing further when `retired` is cancelled.
    #[must_use]
    pub fn beside(&self, retired: CancellationToken) -> Self {
        Self { waiting: Arc::clone(&self.waiting), retired }
    }

    /// Takes one message.
    #[must_use]
    pub fn one(&self) -> Option<(Uid, u64)> {
        self.waiting().next().pop_front()
    }

    /// Gives how many messages nobody has taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.waiting().left()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what goes into the next command.
    fn take(&self, burst: (u32, u64)) -> Option<(Vec<Uid>, u64)> {
        if self.retired.is_cancelled() {
            return None;
        }
        take_group(self.waiting().next(), burst)
    }

    /// Takes out those of more bytes than these.
    fn without(&self, message_max: u64) -> Vec<Uid> {
        let mut waiting = self.waiting();
        let left = waiting.next.iter().copied().chain(waiting.all.range(waiting.at, waiting.all.len()));
        let (mut beyond, mut within) = (Vec::new(), Rows::default());
        for (uid, size) in left {
            match size > message_max {
                true => beyond.push(uid),
                false => within.push((uid, size)),
            }
        }
        *waiting = Waiting::of(within);
        beyond
    }
}

/// Messages that did not come: with the server's words where their FETCH was refused, without where it said OK and passed
/// over them.
pub type RefusedFetch = (Vec<Uid>, Option<Refusal>);

struct Sink<'a, B: Brake> {
    room: &'a BodyRoom,
    brake: &'a B,
    writer: Option<BodyWriter>,
    /// Bytes that may still come without asking the brake again.
    paid: u64,
    /// Bytes that were taken out of what can be afforded, and have not come.
    afforded: u64,
    /// Nothing was paid for before.
    since: Instant,
    /// Bodies may wait for memory: nothing that came before its turn has some.
    may_wait: bool,
}

impl<B: Brake> Sink<'_, B> {
    /// Takes what a command asks for, beside so many bytes that are under way, out of what can be afforded.
    async fn reserve(&mut self, bytes: u64, beside: u64) -> Result<(), Broken> {
        let lack = (bytes + beside).saturating_sub(self.afforded);
        self.brake.afford(lack).await.map_err(Broken::held)?;
        self.afforded += lack;
        Ok(())
    }

    /// Waits until a command for so many messages may be sent, and for their bytes, as far as they may all come at once: what is
    /// beyond is paid for while it comes. Where there is no limit nothing is paid: there may be one before they come.
    async fn pay(&mut self, messages: u32, bytes: u64) -> Result<Box<dyn Send>, Broken> {
        let burst = self.brake.burst().1;
        let lack = if burst == u64::MAX { 0 } else { bytes.min(burst).saturating_sub(self.paid) };
        let leave = self.brake.ask(messages, lack).await.map_err(Broken::held)?;
        self.paid += lack;
        Ok(leave)
    }

    /// Takes a body of this size out of what can be afforded. The size that was told before may be less, or none was.
    async fn afford(&mut self, size: u64) -> Result<(), Broken> {
        self.brake.afford(size.saturating_sub(self.afforded)).await.map_err(Broken::held)?;
        self.afforded = self.afforded.saturating_sub(size);
        Ok(())
    }

    /// Waits until what has been read may have moved.
    async fn pass(&mut self, count: u64) -> Result<(), Broken> {
        // What was paid for in a faster hour would be too much at once in this one.
        self.paid = self.paid.min(self.brake.burst().1);
        let lack = count.saturating_sub(self.paid);
        if lack > 0 {
            // What is not read, the server cannot send for long.
            self.brake.bytes(lack).await.map_err(Broken::held)?;
        }
        self.paid = self.paid.saturating_sub(count);
        Ok(())
    }

    /// Counts a body that came in one piece, as a quoted string.
    async fn took(&mut self, size: u64) -> Result<(), Broken> {
        self.afford(size).await?;
        self.pass(size).await
    }
}

/// What has not come may be fetched again, and is paid for then.
impl<B: Brake> Drop for Sink<'_, B> {
    fn drop(&mut self) {
        self.brake.unfetched(self.afforded, self.since);
    }
}

impl<B: Brake> BodySink for Sink<'_, B> {
    async fn begin(&mut self, text: &[u8], size: u64) -> Result<bool, Broken> {
        let body = text.len() >= 7 && starts_with(&text[text.len() - 7..], b"BODY[] ");
        if body && self.writer.is_none() {
            self.afford(size).await?;
            self.writer = Some(match self.may_wait {
                true => self.room.writer(size).await?,
                false => self.room.writer_at_once(size).await?,
            });
            return Ok(true);
        }
        Ok(false)
    }

    fn piece(&self) -> usize {
        piece_max(self.brake.burst().1)
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.writer.is_none() {
            return Ok(());
        }
        self.pass(bytes.len() as u64).await?;
        match &mut self.writer {
            Some(writer) => writer.chunk(bytes).await,
            None => Ok(()),
        }
    }
}

impl<E: End> Session<E> {
    /// Fetches whole messages of the open folder, marking nothing as read (BODY.PEEK[]), and hands them to `out`.
    ///
    /// Ends early when nobody takes from `out`. Gives the messages that have not come.
    ///
    /// # Errors
    /// A refusal that is not about a message: then nothing more is asked for, and the session can be used. A broken connection.
    /// What has come by then has been handed on.
    pub async fn fetch_bodies(
        &mut self,
        wanted: &Wanted,
        room: &BodyRoom,
        brake: &impl Brake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<Vec<RefusedFetch>, ImapError> {
        if std::mem::replace(&mut self.connection.poisoned, true) {
            return Err(ImapError::Poisoned);
        }
        let mut fetch = Fetching::default();
        match self.fetch_all(wanted, room, brake, out, &mut fetch).await {
            Ok(whole) => {
                self.connection.poisoned = !whole;
                match fetch.put_off {
                    Some(refusal) => Err(ImapError::refused("fetch messages".to_owned(), refusal)),
                    None => Ok(fetch.refused),
                }
            }
            Err(broken) => Err(self.connection.broken("fetch messages", Phase::Fetch, broken)),
        }
    }

    /// Gives false where the taker went away with commands still under way.
    async fn fetch_all(
        &mut self,
        wanted: &Wanted,
        room: &BodyRoom,
        brake: &impl Brake,
        out: &mpsc::Sender<Fetched>,
        fetch: &mut Fetching,
    ) -> Result<bool, Broken> {
        fetch.refuse_beyond(wanted, brake.message_max());
        let mut sink = Sink { room, brake, writer: None, paid: 0, afforded: 0, since: Instant::now(), may_wait: true };
        let mut spent = None;
        loop {
            while spent.is_none()
                && fetch.may_ask(brake.is_paced(), &self.connection.wire.reader.heed)
                && let Some((uids, bytes)) = wanted.take(brake.burst())
            {
                // What is under way when nothing more can be afforded was paid for: it comes to its end.
                spent = sink.reserve(bytes, fetch.told()).await.err();
                if spent.is_none() {
                    let leave = sink.pay(uids.len() as u32, bytes).await?;
                    self.ask(uids, bytes, fetch).await?;
                    drop(leave);
                }
            }
            if fetch.under_way.is_empty() {
                return spent.map_or(Ok(true), Err);
            }
            let wire = &mut self.connection.wire;
            sink.may_wait = !fetch.holds_any();
            let response = wire.reader.response(&mut wire.io, &mut sink).await?;
            match sort_line(&response)? {
                Line::Continuation => return Err(Broken::Protocol("it asks for more of a whole command".to_owned())),
                Line::Tagged(tag, completion) => fetch.ended(&tag, completion)?,
                Line::Untagged => {
                    self.connection.note(std::slice::from_ref(&response));
                    let writer = sink.writer.take();
                    let Some(seen) = parse_fetch(&response) else { continue };
                    let body = match (seen.body, writer) {
                        (BodySeen::Streamed, Some(writer)) => Some(writer.finish().await?),
                        // Cut, and a second one in one answer.
                        (BodySeen::Inline(bytes), _) if bytes.len() >= INLINE_MAX => {
                            return Err(Broken::Protocol("two bodies in one answer".to_owned()));
                        }
                        (BodySeen::Inline(bytes), _) => {
                            sink.took(bytes.len() as u64).await?;
                            Some(whole(room, &bytes, sink.may_wait).await?)
                        }
                        (BodySeen::Nil, _) => None,
                        _ => continue,
                    };
                    if seen.uid.is_some_and(|uid| fetch.came(uid, body)) {
                        self.connection.wire.reader.heard();
                    }
                }
            }
            for fetched in fetch.in_turn() {
                if out.send(fetched).await.is_err() {
                    return Ok(false);
                }
                // Whoever takes it may have kept us waiting.
                self.connection.wire.reader.heard();
            }
        }
    }

    async fn ask(&mut self, mut uids: Vec<Uid>, bytes: u64, fetch: &mut Fetching) -> Result<(), Broken> {
        uids.sort_unstable();
        let tag = self.connection.next_tag();
        let set = uid_sets(&uids).join(",");
        self.connection.wire.write_at_once(format!("{tag} UID FETCH {set} (UID BODY.PEEK[])\r\n").as_bytes()).await?;
        let (open, tag) = (uids.into_iter().collect(), Some(tag.into_bytes()));
        fetch.under_way.push_back(Asked { tag, open, bytes, early: Vec::new() });
        Ok(())
    }
}

/// One command that is under way, or that waits for its turn to hand on what it gave.
struct Asked {
    /// None: it has ended.
    tag: Option<Vec<u8>>,
    /// Asked for and not come.
    open: BTreeSet<Uid>,
    /// Bytes of these, as far as was told.
    bytes: u64,
    /// Came and not handed on.
    early: Vec<Fetched>,
}

impl Asked {
    /// Gives the bytes that are to come, by a guess where nothing was told.
    fn expected(&self) -> u64 {
        if self.bytes == 0 { self.open.len() as u64 * UNKNOWN } else { self.bytes }
    }
}

#[derive(Default)]
struct Fetching {
    /// In the order in which they were sent; the first has its turn.
    under_way: VecDeque<Asked>,
    refused: Vec<RefusedFetch>,
    /// The server has something against going on, whatever is asked for.
    put_off: Option<Refusal>,
}

impl Fetching {
    /// Says whether a command may be sent: beside others only where nothing holds anything back.
    fn may_ask(&self, is_paced: bool, heed: &Heed) -> bool {
        let bytes: u64 = self.under_way.iter().map(Asked::expected).sum();
        let messages: usize = self.under_way.iter().map(|asked| asked.open.len() + asked.early.len()).sum();
        if self.put_off.is_some() {
            return false;
        }
        let beside = !is_paced
            && !heed.is_held()
            && self.under_way.len() < COMMANDS_MAX
            && messages <= MESSAGES_BESIDE
            && bytes <= BYTES_PER_COMMAND;
        self.under_way.is_empty() || beside
    }

    /// Gives the bytes that are to come, as far as was told.
    fn told(&self) -> u64 {
        self.under_way.iter().map(|asked| asked.bytes).sum()
    }

    /// Says whether something waits for its turn.
    fn holds_any(&self) -> bool {
        self.under_way.iter().any(|asked| !asked.early.is_empty())
    }

    /// Takes a body; false: nobody asked for it.
    fn came(&mut self, uid: Uid, body: Option<Body>) -> bool {
        let asked = self.under_way.iter_mut().find_map(|asked| asked.open.remove(&uid).then_some(asked));
        let Some(asked) = asked else { return false };
        asked.bytes = asked.bytes.saturating_sub(body.as_ref().map_or(0, Body::length));
        asked.early.push(Fetched { uid, body });
        true
    }

    /// Gives what may be handed on now.
    fn in_turn(&mut self) -> Vec<Fetched> {
        let mut ready = Vec::new();
        while let Some(first) = self.under_way.front_mut() {
            ready.append(&mut first.early);
            if first.tag.is_some() {
                break;
            }
            self.under_way.pop_front();
        }
        ready
    }

    /// Messages that can never be afforded are not asked for: they count as refused.
    fn refuse_beyond(&mut self, wanted: &Wanted, message_max: Option<u64>) {
        let Some(max) = message_max else { return };
        let beyond = wanted.without(max);
        if !beyond.is_empty() {
            let words = format!("the message is larger than what bytes_per_day allows to fetch in a day: {max} bytes");
            let refusal = Refusal { phase: Phase::Fetch, status: Status::No, words: words.into_bytes() };
            self.refused.push((beyond, Some(refusal)));
        }
    }

    fn ended(&mut self, tag: &[u8], completion: Completion) -> Result<(), Broken> {
        let ended = self.under_way.iter_mut().find(|asked| asked.tag.as_deref() == Some(tag));
        let Some(asked) = ended else {
            return Err(Broken::Protocol(format!("an answer to \"{}\"", crate::failure::harmless(tag))));
        };
        (asked.tag, asked.bytes) = (None, 0);
        let mut refusal = match completion.status {
            Status::Ok => None,
            status => Some(Refusal { phase: Phase::Fetch, status, words: completion.words }),
        };
        if refusal.as_ref().is_some_and(|refusal| refusal.verdict().kind.act().0 > Scope::Folder) {
            self.put_off = self.put_off.take().or(refusal.take());
        }
        let missing: Vec<Uid> = std::mem::take(&mut asked.open).into_iter().collect();
        if !missing.is_empty() {
            self.refused.push((missing, refusal));
        }
        Ok(())
    }
}

async fn whole(room: &BodyRoom, bytes: &[u8], may_wait: bool) -> Result<Body, Broken> {
    let size = bytes.len() as u64;
    let mut writer = if may_wait { room.writer(size).await? } else { room.writer_at_once(size).await? };
    writer.chunk(bytes).await?;
    writer.finish().await
}

/// Takes what goes into the next command, by number, bytes, length, and what the brake lets pass at once.
fn take_group(wanted: &mut VecDeque<(Uid, u64)>, burst: (u32, u64)) -> Option<(Vec<Uid>, u64)> {
    let messages_max = MESSAGES_PER_COMMAND.min(burst.0.max(1) as usize);
    let bytes_max = BYTES_PER_COMMAND.min(burst.1);
    let (first, mut bytes) = wanted.pop_front()?;
    let unknown = |bytes: u64| if bytes == 0 { UNKNOWN } else { 0 };
    let mut untold = unknown(bytes);
    let (mut uids, mut last, mut ranges) = (vec![first], first, 1);
    while let Some((uid, size)) = wanted.front() {
        ranges += usize::from(uid.value().abs_diff(last.value()) != 1);
        let larger = bytes.saturating_add(*size).saturating_add(untold).saturating_add(unknown(*size));
        let fits = uids.len() < messages_max && larger <= bytes_max && ranges <= RANGES_PER_COMMAND;
        if !fits {
            break;
        }
        uids.push(*uid);
        untold += unknown(*size);
        (last, bytes) = (*uid, bytes + size);
        wanted.pop_front();
    }
    Some((uids, bytes))
}
