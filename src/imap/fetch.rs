//! Bodies from a server, one command at a time, each body handed on as soon as it is whole.
//!
//! One at a time, since Dovecot answers pipelined FETCH commands interleaved when its output is full, and the order of
//! messages is kept.

use super::body::{Body, BodyRoom, BodyWriter};
use super::connection::{Completion, Line, sort_line};
use super::error::{ImapError, Refusal};
use super::session::{BodySeen, End, Session, parse_fetch, uid_sets};
use super::token::starts_with;
use super::wire::{BodySink, Broken};
use crate::failure::Failure;
use crate::mail::Uid;
use crate::provider::{Phase, Status};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Messages in one command: enough to hide a round trip, few enough that a refusal costs little.
const MESSAGES_PER_COMMAND: usize = 500;
/// UIDs in one command where they are not in a row: eleven bytes each at the most (RFC 2683: 1,000 bytes a command).
const SCATTERED_PER_COMMAND: usize = 70;
/// Bytes asked for in one command, by the sizes the server told.
const BYTES_PER_COMMAND: u64 = 4 << 20;

/// Holds a transfer back to its limits. The wire asks before it moves anything.
pub trait Brake: Send + Sync {
    /// Waits until `count` messages may move.
    fn messages(&self, count: u32) -> impl Future<Output = ()> + Send;
    /// Waits until `count` bytes of bodies may move.
    fn bytes(&self, count: u64) -> impl Future<Output = ()> + Send;
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
    /// No message of more bytes can ever be afforded. None: any can.
    fn message_max(&self) -> Option<u64> {
        None
    }
}

/// Holds commands back to their limits, whatever they are. One for all connections of a side.
pub trait CommandBrake: Send + Sync {
    /// Waits until one command may be sent.
    fn command(&self) -> BoxFuture<'_, ()>;
}

/// What holds a connection's commands back; None: nothing does.
pub(super) type Turns = Option<Arc<dyn CommandBrake>>;

/// Waits until one command may be sent.
pub(super) async fn turn(turns: &Turns) {
    if let Some(brake) = turns {
        brake.command().await;
    }
}

/// A body that was asked for.
pub struct Fetched {
    /// Its number.
    pub uid: Uid,
    /// None: the server lists the message and gives no body (`NIL`).
    pub body: Option<Body>,
}

/// Messages that did not come: with the server's words where their FETCH was refused, without where it said OK and passed
/// over them.
pub type RefusedFetch = (Vec<Uid>, Option<Refusal>);

struct Sink<'a, B> {
    room: &'a BodyRoom,
    brake: &'a B,
    writer: Option<BodyWriter>,
    /// Bytes that may still come without asking the brake again.
    paid: u64,
    /// Bytes that were taken out of what can be afforded, and have not come.
    afforded: u64,
}

impl<B: Brake> Sink<'_, B> {
    /// Waits until a command for so many bytes may be sent, as far as they may all come at once: what is beyond is paid for
    /// while it comes.
    async fn pay(&mut self, bytes: u64) -> Result<(), Broken> {
        let lack = bytes.saturating_sub(self.afforded);
        self.brake.afford(lack).await.map_err(Broken::held)?;
        self.afforded += lack;
        let lack = bytes.min(self.brake.burst().1).saturating_sub(self.paid);
        self.brake.bytes(lack).await;
        self.paid += lack;
        Ok(())
    }
}

impl<B: Brake> BodySink for Sink<'_, B> {
    async fn begin(&mut self, text: &[u8], size: u64) -> Result<bool, Broken> {
        let body = text.len() >= 7 && starts_with(&text[text.len() - 7..], b"BODY[] ");
        if body && self.writer.is_none() {
            // The size that was told before may be less than what comes, or none was.
            self.brake.afford(size.saturating_sub(self.afforded)).await.map_err(Broken::held)?;
            self.afforded = self.afforded.saturating_sub(size);
            self.writer = Some(self.room.writer(size).await?);
            return Ok(true);
        }
        Ok(false)
    }

    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let count = bytes.len() as u64;
        let lack = count.saturating_sub(self.paid);
        if lack > 0 {
            // What is not read, the server cannot send for long.
            self.brake.bytes(lack).await;
        }
        self.paid = self.paid.saturating_sub(count);
        writer.chunk(bytes).await
    }
}

impl<E: End> Session<E> {
    /// Fetches whole messages of the open folder, marking nothing as read (BODY.PEEK[]), and hands them to `out`.
    ///
    /// `wanted`: UIDs ascending or descending, with the sizes the server told. Ends early when nobody takes from `out`.
    /// Gives the messages that have not come.
    ///
    /// # Errors
    /// A broken connection; what has come by then has been handed on.
    pub async fn fetch_bodies(
        &mut self,
        wanted: &[(Uid, u64)],
        room: &BodyRoom,
        brake: &impl Brake,
        out: &mpsc::Sender<Fetched>,
    ) -> Result<Vec<RefusedFetch>, ImapError> {
        if std::mem::replace(&mut self.connection.poisoned, true) {
            return Err(ImapError::Poisoned);
        }
        let mut fetch = Fetching { open: BTreeSet::new(), under_way: BTreeMap::new(), refused: Vec::new() };
        match self.fetch_all(wanted, room, brake, out, &mut fetch).await {
            Ok(whole) => {
                self.connection.poisoned = !whole;
                if whole && !fetch.open.is_empty() {
                    fetch.refused.push((fetch.open.into_iter().collect(), None));
                }
                Ok(fetch.refused)
            }
            Err(broken) => Err(self.connection.broken("fetch messages", Phase::Fetch, broken)),
        }
    }

    /// Gives false where the taker went away with commands still under way.
    async fn fetch_all(
        &mut self,
        wanted: &[(Uid, u64)],
        room: &BodyRoom,
        brake: &impl Brake,
        out: &mpsc::Sender<Fetched>,
        fetch: &mut Fetching,
    ) -> Result<bool, Broken> {
        let mut wanted = fetch.affordable(wanted, brake.message_max());
        let mut sink = Sink { room, brake, writer: None, paid: 0, afforded: 0 };
        loop {
            if fetch.under_way.is_empty()
                && let Some((uids, bytes)) = take_group(&mut wanted, brake.burst())
            {
                brake.messages(uids.len() as u32).await;
                sink.pay(bytes).await?;
                self.ask(uids, fetch).await?;
            }
            if fetch.under_way.is_empty() {
                return Ok(true);
            }
            let wire = &mut self.connection.wire;
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
                        (BodySeen::Inline(bytes), _) => Some(whole(room, &bytes).await?),
                        (BodySeen::Nil, _) => None,
                        _ => continue,
                    };
                    if let Some(uid) = seen.uid
                        && fetch.open.remove(&uid)
                    {
                        if out.send(Fetched { uid, body }).await.is_err() {
                            return Ok(false);
                        }
                        self.connection.wire.reader.heard();
                    }
                }
            }
        }
    }

    async fn ask(&mut self, uids: Vec<Uid>, fetch: &mut Fetching) -> Result<(), Broken> {
        let mut sorted = uids;
        sorted.sort_unstable();
        for set in uid_sets(&sorted) {
            turn(&self.connection.turns).await;
            let tag = self.connection.next_tag();
            self.connection.wire.write(format!("{tag} UID FETCH {set} (UID BODY.PEEK[])\r\n").as_bytes()).await?;
            fetch.under_way.insert(tag.into_bytes(), sorted.clone());
        }
        fetch.open.extend(sorted);
        Ok(())
    }
}

struct Fetching {
    /// Asked for and not come.
    open: BTreeSet<Uid>,
    /// By tag.
    under_way: BTreeMap<Vec<u8>, Vec<Uid>>,
    refused: Vec<RefusedFetch>,
}

impl Fetching {
    /// Gives what is to be asked for: without messages that can never be afforded, which count as refused.
    fn affordable(&mut self, wanted: &[(Uid, u64)], message_max: Option<u64>) -> VecDeque<(Uid, u64)> {
        let max = message_max.unwrap_or(u64::MAX);
        let (wanted, beyond): (VecDeque<_>, VecDeque<_>) = wanted.iter().copied().partition(|(_, size)| *size <= max);
        if !beyond.is_empty() {
            let words = format!("the message is larger than what bytes_per_day allows to fetch in a day: {max} bytes");
            let refusal = Refusal { phase: Phase::Fetch, status: Status::No, words: words.into_bytes() };
            self.refused.push((beyond.into_iter().map(|(uid, _)| uid).collect(), Some(refusal)));
        }
        wanted
    }

    fn ended(&mut self, tag: &[u8], completion: Completion) -> Result<(), Broken> {
        let Some(uids) = self.under_way.remove(tag) else {
            return Err(Broken::Protocol(format!("an answer to \"{}\"", crate::failure::harmless(tag))));
        };
        if completion.status != Status::Ok {
            let missing = uids.into_iter().filter(|uid| self.open.remove(uid)).collect();
            let refusal = Refusal { phase: Phase::Fetch, status: completion.status, words: completion.words };
            self.refused.push((missing, Some(refusal)));
        }
        Ok(())
    }
}

async fn whole(room: &BodyRoom, bytes: &[u8]) -> Result<Body, Broken> {
    let mut writer = room.writer(bytes.len() as u64).await?;
    writer.chunk(bytes).await?;
    writer.finish().await
}

/// Takes what goes into the next command, by number, bytes, length, and what the brake lets pass at once.
fn take_group(wanted: &mut VecDeque<(Uid, u64)>, burst: (u32, u64)) -> Option<(Vec<Uid>, u64)> {
    let messages_max = MESSAGES_PER_COMMAND.min(burst.0.max(1) as usize);
    let bytes_max = BYTES_PER_COMMAND.min(burst.1);
    let (first, mut bytes) = wanted.pop_front()?;
    let mut uids = vec![first];
    while let Some((uid, size)) = wanted.front() {
        let fits = uids.len() < messages_max
            && bytes.saturating_add(*size) <= bytes_max
            && (uids.len() < SCATTERED_PER_COMMAND || in_a_row(&uids, *uid));
        if !fits {
            break;
        }
        uids.push(*uid);
        bytes += size;
        wanted.pop_front();
    }
    Some((uids, bytes))
}

/// Says whether these UIDs and one more make a single range.
fn in_a_row(uids: &[Uid], next: Uid) -> bool {
    let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return true };
    let span = |from: Uid, to: Uid| to.value().checked_sub(from.value()).map(|span| span as usize);
    span(*first, next) == Some(uids.len()) && span(*first, *last) == Some(uids.len() - 1)
}
