//! Bodies to a server: APPEND commands in a window, writer and reader of the connection at work together.
//!
//! Small messages that are ready at once go in one command where MULTIAPPEND is offered (RFC 3502). All of them are stored or
//! none: refused together, they are sent again in smaller groups, since the refusal may be about one of them.
//!
//! Invariants: the bytes sent are the body's and nothing else; a literal that the server cannot stop is used only where this
//! server has taken the same keywords before and the date is one that every server knows, since some read the lines of a
//! refused literal as commands (Dovecot 2.3.19); after a BAD to such a literal the connection is given up; after a NO to a
//! synchronising one no byte of the body is sent.

use super::Appended;
use super::body::{Body, Spooled};
use super::connection::{Completion, Line, push_quoted, quotable, sort_line};
use super::error::{ImapError, Refusal};
use super::fetch::{Brake, Turns, piece_max, turn};
use super::incoming::Incoming;
use super::session::{Session, Target, uid_range};
use super::token::starts_with;
use super::wire::{Broken, NoBodies, Progress, Reader, flush, write};
use crate::mail::{Flags, InternalDate, Keyword, Uid, UidValidity, WireName};
use crate::provider::{Phase, Status};
use futures_util::FutureExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Messages without an answer: covers the round trip of a WAN (6,400 messages a second at 40 ms).
const WINDOW_MESSAGES: usize = 256;
/// KiB without an answer.
const WINDOW_KIB: u32 = 16 * 1024;
/// Messages in one command at the most, with one go on disk and in the server's index.
pub const TOGETHER_MAX: usize = 64;
/// By how much fewer go together after a refusal.
pub const APART: usize = 4;
/// Bytes in one command of several messages at the most, and of each of them.
const TOGETHER_BYTES: u64 = 1024 * 1024;
const TOGETHER_EACH: u64 = 128 * 1024;
/// A command that is not full waits so long for more, and longer while the target has others to answer: each costs the target
/// a commit, and the source a pause only where nothing else is under way.
const COMPANY: Duration = Duration::from_millis(50);
/// So long it is read on where nothing can be written any more.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Written at once.
const WRITE: usize = 48 * 1024;
/// A connection with nothing to send is kept alive; servers may hang up after 30 minutes, some do after 5 (RFC 9051, 5.4).
pub const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// A literal of at most this length needs no go-ahead under LITERAL- (RFC 7888, 5).
const LITERAL_MINUS_MAX: u64 = 4096;

/// Bytes of a refusal that are kept with each message it is about.
const WORDS_MAX: usize = 4096;
/// Instants that every server knows: some refuse a date before 1970 or after 2037.
const USUAL_DATES: Range<i64> = 0..2_145_916_800;
/// Minutes east of Greenwich that clocks have.
const USUAL_ZONES: RangeInclusive<i16> = -12 * 60..=14 * 60;
/// Keywords remembered as taken; what is beyond asks first. A mailbox has a handful.
const TAKEN_MAX: usize = 10_000;

/// A message on its way to the target.
pub struct Outgoing {
    /// Its number at the source; comes back with the answer.
    pub source_uid: Uid,
    /// Only what can be sent is.
    pub flags: Flags,
    /// None: the target will use its own time.
    pub date: Option<InternalDate>,
    /// Its bytes.
    pub body: Body,
    /// Wait for the server's go-ahead, and for its answer before the next message: for messages that were refused before.
    pub careful: bool,
}

/// The target's answer to the APPEND of one message.
pub struct Answer {
    /// The message.
    pub source_uid: Uid,
    /// Its proof, or the target's words.
    pub outcome: Result<Appended, Refusal>,
    /// It was sent with others in one command: what refused them all may be about another one.
    pub together: bool,
}

/// Where messages go, and how.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The folder's name.
    pub folder: &'a WireName,
    /// An APPENDUID under another UIDVALIDITY is not believed.
    pub validity: Option<UidValidity>,
    /// Messages in one command at the most; 1: no MULTIAPPEND.
    pub together: usize,
}

/// One unanswered command.
struct Flight {
    tag: Vec<u8>,
    /// None: a NOOP; several: all are stored or none.
    source_uids: Vec<Uid>,
    synchronising: bool,
    /// The server had the choice to refuse the literal before it came: a BAD after it is about the message alone.
    asked: bool,
    /// With keywords that the server has not taken yet.
    untried: Option<Flags>,
    _window: Option<[OwnedSemaphorePermit; 3]>,
}

/// What the reader tells a writer that waits for leave to send a literal.
#[derive(PartialEq, Eq)]
enum Go {
    Ahead,
    Refused,
}

impl Session<Target> {
    /// Appends what comes from `incoming` to a folder until that ends; every answer goes to `answers`.
    ///
    /// `stop`: nothing further is taken; what is under way is waited for.
    ///
    /// # Errors
    /// A broken connection, or a BAD: what has no answer by then may or may not be on the target.
    pub async fn append(
        &mut self,
        into: Destination<'_>,
        incoming: &Incoming,
        answers: &mpsc::UnboundedSender<Answer>,
        brake: &impl Brake,
        stop: &CancellationToken,
    ) -> Result<(), ImapError> {
        let Destination { folder, validity, together } = into;
        // Courier appends nothing to the folder that is open read-only: "Current box is selected READ-ONLY".
        self.leave().await?;
        if std::mem::replace(&mut self.connection.poisoned, true) {
            return Err(ImapError::Poisoned);
        }
        let what = format!("append to folder \"{folder}\"");
        let style = Style {
            plus: self.has("LITERAL+") && quotable(folder.as_bytes()),
            minus: self.has("LITERAL-") || self.has("IMAP4REV2"),
            window: if self.family().quirks().pipelines { WINDOW_MESSAGES } else { 1 },
        };
        let together = Together::new(if self.has("MULTIAPPEND") { together.min(style.window) } else { 1 });
        let connection = &mut self.connection;
        let mut tag = 0u32;
        let prefix = connection.next_tag();
        let next_tag = move || {
            tag += 1;
            format!("{prefix}A{tag}")
        };
        let (timeout, begun) = (connection.wire.timeout, Instant::now());
        let progress = Arc::clone(&connection.wire.reader.progress);
        progress.hold(false);
        let (read, mut wrote) = tokio::io::split(&mut connection.wire.io);
        let (flights, landing) = mpsc::unbounded_channel();
        let (go, leave) = mpsc::unbounded_channel();
        let taken = &connection.taken;
        let mut writer = Writer {
            io: &mut wrote,
            timeout,
            progress,
            buffer: Vec::new(),
            style,
            taken,
            together: &together,
            next: None,
            unsent: 0,
            flights,
            leave,
            next_tag,
            turns: &connection.turns,
            stop,
        };
        let mut bye = None;
        let known = Known { validity, taken, together: &together };
        let reader = collect(&mut connection.wire.reader, read, landing, go, known, answers, &mut bye);
        let sending = async {
            let sent = writer.send_all(folder, incoming, brake).await;
            if matches!(sent, Err(Broken::Io(_) | Broken::Eof)) {
                // Whoever hangs up may have said why.
                tokio::time::sleep(LAST_WORDS).await;
            }
            sent
        };
        let ended = tokio::try_join!(sending, reader);
        brake.unused(writer.unsent(incoming), begun);
        match ended {
            Ok(_) => {
                self.connection.poisoned = false;
                Ok(())
            }
            Err(broken) => match (broken, bye) {
                (Broken::Eof | Broken::Io(_), Some(words)) => Err(ImapError::Refused {
                    what,
                    refusal: Refusal { phase: Phase::Append, status: Status::Bye, words },
                }),
                (broken, _) => Err(broken.during(what)),
            },
        }
    }
}

/// Keywords that the server has taken on this connection, in commands that ended with OK.
#[derive(Default)]
pub(super) struct Taken(Mutex<Keywords>);

#[derive(Default)]
struct Keywords {
    known: BTreeSet<Keyword>,
    /// So many went with one message at the most.
    most: usize,
}

impl Taken {
    fn keywords(&self) -> MutexGuard<'_, Keywords> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, flags: &Flags) {
        let mut keywords = self.keywords();
        let room = TAKEN_MAX.saturating_sub(keywords.known.len());
        keywords.known.extend(flags.keywords().take(room).cloned());
        keywords.most = keywords.most.max(flags.keywords().count());
    }

    /// Says whether the server may find something in these flags that it does not take.
    fn is_untried(&self, flags: &Flags) -> bool {
        if flags.keywords().next().is_none() {
            return false;
        }
        let keywords = self.keywords();
        flags.keywords().count() > keywords.most || flags.keywords().any(|keyword| !keywords.known.contains(keyword))
    }
}

/// How many messages go in one command: fewer after a refusal, slowly more again.
struct Together {
    max: usize,
    now: AtomicUsize,
}

impl Together {
    fn new(max: usize) -> Self {
        let max = max.clamp(1, TOGETHER_MAX);
        Self { max, now: AtomicUsize::new(max) }
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    fn taken(&self) {
        self.now.store((self.now() + 1).min(self.max), Ordering::Relaxed);
    }

    fn refused(&self) {
        self.now.store((self.now() / APART).max(1), Ordering::Relaxed);
    }
}

/// What the reader of answers knows of the folder and the connection.
struct Known<'a> {
    validity: Option<UidValidity>,
    taken: &'a Taken,
    together: &'a Together,
}

fn is_usual(date: InternalDate) -> bool {
    USUAL_DATES.contains(&date.unix()) && USUAL_ZONES.contains(&date.zone())
}

#[derive(Clone, Copy)]
struct Style {
    plus: bool,
    minus: bool,
    /// Messages without an answer.
    window: usize,
}

impl Style {
    /// Says whether a literal of this length needs no go-ahead.
    fn is_free(self, length: u64) -> bool {
        self.plus || self.minus && length <= LITERAL_MINUS_MAX
    }
}

struct Writer<'a, W, N> {
    io: &'a mut W,
    timeout: Duration,
    progress: Arc<Progress>,
    buffer: Vec<u8>,
    style: Style,
    taken: &'a Taken,
    together: &'a Together,
    /// Taken and not sent: it did not go with those before it.
    next: Option<Outgoing>,
    /// Bytes that were taken and will not be sent.
    unsent: u64,
    flights: mpsc::UnboundedSender<Flight>,
    leave: mpsc::UnboundedReceiver<Go>,
    next_tag: N,
    turns: &'a Turns,
    stop: &'a CancellationToken,
}

impl<W: AsyncWrite + Unpin, N: FnMut() -> String> Writer<'_, W, N> {
    async fn send_all(&mut self, folder: &WireName, incoming: &Incoming, brake: &impl Brake) -> Result<(), Broken> {
        let messages = Arc::new(Semaphore::new(self.style.window));
        let kib = Arc::new(Semaphore::new(WINDOW_KIB as usize));
        let commands = Arc::new(Semaphore::new(self.style.window));
        loop {
            if self.stop.is_cancelled() {
                self.flush().await?;
                break;
            }
            let outgoing = match self.next.take().or_else(|| incoming.try_next()) {
                Some(outgoing) => outgoing,
                None => {
                    self.flush().await?;
                    let next = tokio::select! {
                        next = tokio::time::timeout(KEEP_ALIVE, incoming.next()) => next,
                        () = self.stop.cancelled() => Ok(None),
                    };
                    match next {
                        Ok(Some(outgoing)) => outgoing,
                        Ok(None) => break,
                        // Who wants to be asked nothing is asked nothing.
                        Err(_) if brake.is_held() => continue,
                        Err(_) => {
                            let turns = self.turns;
                            if self.hold(turn(turns)).await?.is_err() {
                                break;
                            }
                            self.keep_alive().await?;
                            continue;
                        }
                    }
                }
            };
            // Who got no leave is stopping: what was sent is waited for, as at the top.
            let length = outgoing.body.length();
            if self.hold(brake.messages(1)).await?.is_err() {
                self.unsent += length;
                self.flush().await?;
                break;
            }
            let group = self.gather(outgoing, incoming, brake, &commands).await?;
            let turns = self.turns;
            if self.hold(turn(turns)).await?.is_err() {
                self.unsent += group.iter().map(|outgoing| outgoing.body.length()).sum::<u64>();
                self.flush().await?;
                break;
            }
            let careful = group[0].careful;
            let size = group.iter().map(|outgoing| outgoing.body.length() / 1024 + 1).sum::<u64>();
            let size = u32::try_from(size).unwrap_or(u32::MAX).min(WINDOW_KIB);
            // The whole window: nothing else is under way beside it.
            let places = if careful { self.style.window } else { group.len() } as u32;
            let window =
                [self.place(&messages, places).await?, self.place(&kib, size).await?, self.place(&commands, 1).await?];
            self.send(folder, group, window, brake).await?;
            if careful {
                self.flush().await?;
                drop(self.place(&messages, places).await?);
            }
        }
        // Dropping the sender tells the reader that nothing further comes.
        let (closed, _) = mpsc::unbounded_channel();
        self.flights = closed;
        Ok(())
    }

    /// Takes what is ready and may go with this message in one command, and what gets ready in time. Where messages are counted
    /// by time, each has its own.
    async fn gather(
        &mut self,
        first: Outgoing,
        incoming: &Incoming,
        brake: &impl Brake,
        commands: &Arc<Semaphore>,
    ) -> Result<Vec<Outgoing>, Broken> {
        let (messages, bytes) = brake.burst();
        let most = if messages == u32::MAX && self.may_join(&first) { self.together.now() } else { 1 };
        let room = TOGETHER_BYTES.min(bytes);
        let (mut length, until) = (first.body.length(), Instant::now() + COMPANY);
        let mut group = vec![first];
        while group.len() < most {
            let next = match incoming.try_next() {
                Some(next) => next,
                None => {
                    self.flush().await?;
                    match self.next_in_time(incoming, commands, until).await {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            length += next.body.length();
            let may_join = length <= room && self.may_join(&next);
            if !may_join || brake.messages(1).now_or_never().is_none_or(|leave| leave.is_err()) {
                self.next = Some(next);
                break;
            }
            group.push(next);
        }
        Ok(group)
    }

    /// Gives the next message if it gets ready by then, or while the target has more than one command to answer.
    async fn next_in_time(&self, incoming: &Incoming, commands: &Arc<Semaphore>, until: Instant) -> Option<Outgoing> {
        let late = async {
            // Never closed: it comes when all but one are back.
            drop(commands.acquire_many(self.style.window as u32 - 1).await);
            tokio::time::sleep_until(until).await;
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            next = incoming.next() => next,
            () = late => None,
        }
    }

    /// Says whether a message may share a command: nothing about it is known to be refused by anybody.
    fn may_join(&self, outgoing: &Outgoing) -> bool {
        let length = outgoing.body.length();
        // A literal without bytes would take the others back (RFC 3502, 6.3.11).
        !outgoing.careful
            && (1..=TOGETHER_EACH).contains(&length)
            && self.style.is_free(length)
            && !self.taken.is_untried(&outgoing.flags)
            && outgoing.date.is_none_or(is_usual)
            && !outgoing.body.traits().is_risky()
    }

    /// Gives the bytes of what was taken or waits to be, and will not be sent. What another session waits for is its own.
    fn unsent(self, incoming: &Incoming) -> u64 {
        let mut queue = incoming.try_lock();
        if let Some(queue) = &mut queue {
            queue.close();
        }
        let waiting = std::iter::from_fn(|| queue.as_mut()?.try_recv().ok());
        self.unsent + self.next.into_iter().chain(waiting).map(|outgoing| outgoing.body.length()).sum::<u64>()
    }

    /// Waits for room in the window; what is written must be on its way before one waits for answers.
    async fn place(&mut self, window: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Broken> {
        if let Ok(permit) = Arc::clone(window).try_acquire_many_owned(count) {
            return Ok(permit);
        }
        self.flush().await?;
        Arc::clone(window).acquire_many_owned(count).await.map_err(|_| Broken::Eof)
    }

    async fn send(
        &mut self,
        folder: &WireName,
        group: Vec<Outgoing>,
        window: [OwnedSemaphorePermit; 3],
        brake: &impl Brake,
    ) -> Result<(), Broken> {
        let first = &group[0];
        let untried = self.taken.is_untried(&first.flags).then(|| first.flags.clone());
        let proven = untried.is_none() && first.date.is_none_or(is_usual);
        let synchronising = first.careful || !self.style.is_free(first.body.length()) || !proven;
        let tag = (self.next_tag)();
        let flight = Flight {
            tag: tag.clone().into_bytes(),
            source_uids: group.iter().map(|outgoing| outgoing.source_uid).collect(),
            synchronising,
            asked: synchronising,
            untried,
            _window: Some(window),
        };
        self.flights.send(flight).map_err(|_| Broken::Eof)?;
        self.buffer.extend_from_slice(tag.as_bytes());
        self.buffer.extend_from_slice(b" APPEND ");
        push_quoted(&mut self.buffer, folder.as_bytes());
        for outgoing in group {
            self.announce(&outgoing, synchronising);
            if synchronising {
                self.flush().await?;
                if self.leave.recv().await.ok_or(Broken::Eof)? == Go::Refused {
                    self.unsent += outgoing.body.length();
                    return Ok(());
                }
            }
            self.literal(outgoing, brake).await?;
        }
        self.buffer.extend_from_slice(b"\r\n");
        self.write_if_large().await
    }

    /// What stands before the bytes of a message.
    fn announce(&mut self, outgoing: &Outgoing, synchronising: bool) {
        self.buffer.push(b' ');
        if !outgoing.flags.is_empty() {
            self.buffer.extend_from_slice(format!("({}) ", outgoing.flags).as_bytes());
        }
        if let Some(date) = outgoing.date {
            self.buffer.extend_from_slice(format!("\"{date}\" ").as_bytes());
        }
        let (length, plus) = (outgoing.body.length(), if synchronising { "" } else { "+" });
        self.buffer.extend_from_slice(format!("{{{length}{plus}}}\r\n").as_bytes());
    }

    async fn literal(&mut self, mut outgoing: Outgoing, brake: &impl Brake) -> Result<(), Broken> {
        let length = outgoing.body.length();
        let (mut sent, mut spooled) = (0, Spooled::default());
        while sent < length {
            let most = piece_max(brake.burst().1);
            let piece = outgoing.body.piece(most, sent, &mut spooled).await.map_err(Broken::Local)?;
            self.hold(brake.bytes(piece.len() as u64)).await?.map_err(Broken::held)?;
            self.put(piece).await?;
            sent += piece.len() as u64;
        }
        Ok(())
    }

    /// Adds to what goes out next; what is much by itself goes from where it lies.
    async fn put(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.len() < WRITE {
            self.buffer.extend_from_slice(bytes);
            return self.write_if_large().await;
        }
        self.write_out().await?;
        write(self.io, bytes, self.timeout, &self.progress).await
    }

    async fn keep_alive(&mut self) -> Result<(), Broken> {
        let tag = (self.next_tag)();
        let tag_bytes = tag.clone().into_bytes();
        let flight = Flight {
            tag: tag_bytes,
            source_uids: Vec::new(),
            synchronising: false,
            asked: true,
            untried: None,
            _window: None,
        };
        self.flights.send(flight).map_err(|_| Broken::Eof)?;
        self.buffer.extend_from_slice(format!("{tag} NOOP\r\n").as_bytes());
        self.flush().await
    }

    /// Waits for leave to go on. What has leave already goes out meanwhile: kept back, it would come in one burst with the
    /// rest. Who waits for leave may be the one whose turn it is: however slowly the other end takes bytes, it is looked at.
    async fn hold<L>(&mut self, leave: impl Future<Output = L>) -> Result<L, Broken> {
        let mut leave = std::pin::pin!(leave);
        if let Some(leave) = leave.as_mut().now_or_never() {
            return Ok(leave);
        }
        let progress = Arc::clone(&self.progress);
        let flush = async {
            self.flush().await?;
            progress.hold(true);
            Ok(())
        };
        let held = tokio::try_join!(async { Ok(leave.await) }, flush);
        progress.hold(false);
        Ok(held?.0)
    }

    async fn write_if_large(&mut self) -> Result<(), Broken> {
        if self.buffer.len() >= WRITE { self.write_out().await } else { Ok(()) }
    }

    async fn write_out(&mut self) -> Result<(), Broken> {
        write(self.io, &self.buffer, self.timeout, &self.progress).await?;
        self.buffer.clear();
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        self.write_out().await?;
        flush(self.io, self.timeout).await
    }
}

/// Reads answers until every command has its own and no further one will come.
async fn collect(
    reader: &mut Reader,
    mut io: impl AsyncRead + Unpin,
    mut landing: mpsc::UnboundedReceiver<Flight>,
    go: mpsc::UnboundedSender<Go>,
    known: Known<'_>,
    answers: &mpsc::UnboundedSender<Answer>,
    bye: &mut Option<Vec<u8>>,
) -> Result<(), Broken> {
    let mut under_way: BTreeMap<Vec<u8>, Flight> = BTreeMap::new();
    while let Some(flight) = landing.recv().await {
        under_way.insert(flight.tag.clone(), flight);
        reader.heard();
        while !under_way.is_empty() {
            let response = reader.response(&mut io, &mut NoBodies).await?;
            while let Ok(flight) = landing.try_recv() {
                under_way.insert(flight.tag.clone(), flight);
            }
            let (tag, completion) = match sort_line(&response)? {
                Line::Untagged => {
                    if starts_with(&response.text, b"* BYE") {
                        *bye = Some(response.text[5..].trim_ascii().to_vec());
                    }
                    continue;
                }
                Line::Continuation => {
                    // One go-ahead belongs to one literal: the flight that waited for it is no longer waiting.
                    if let Some(flight) = under_way.values_mut().find(|flight| flight.synchronising) {
                        reader.heard();
                        flight.synchronising = false;
                        drop(go.send(Go::Ahead));
                    }
                    continue;
                }
                Line::Tagged(tag, completion) => (tag, completion),
            };
            let Some(flight) = under_way.remove(&tag) else {
                return Err(Broken::Protocol(format!("an answer to \"{}\"", crate::failure::harmless(&tag))));
            };
            reader.heard();
            if flight.source_uids.is_empty() {
                continue;
            }
            let stopped = flight.synchronising;
            let (bad, ok) = (completion.status == Status::Bad, completion.status == Status::Ok);
            flight.untried.iter().filter(|_| ok).for_each(|flags| known.taken.add(flags));
            answer(flight.source_uids, completion, &known, answers);
            if stopped {
                drop(go.send(Go::Refused));
            } else if bad && !flight.asked {
                return Err(Broken::Protocol("it refused a command whose literal was on its way".to_owned()));
            }
        }
    }
    Ok(())
}

/// Tells what the end of a command means for each of its messages.
fn answer(source_uids: Vec<Uid>, completion: Completion, known: &Known<'_>, answers: &mpsc::UnboundedSender<Answer>) {
    let together = source_uids.len() > 1;
    let placed = match completion.status {
        Status::Ok => Some(append_uids(&completion.words, known.validity, source_uids.len())),
        _ => None,
    };
    match placed {
        Some(_) => known.together.taken(),
        None if together => known.together.refused(),
        None => {}
    }
    for (at, source_uid) in source_uids.into_iter().enumerate() {
        let outcome = match &placed {
            Some(targets) => Ok(Appended { target: targets.get(at).copied() }),
            None => {
                let words = completion.words[..completion.words.len().min(WORDS_MAX)].to_vec();
                Err(Refusal { phase: Phase::Append, status: completion.status, words })
            }
        };
        drop(answers.send(Answer { source_uid, outcome, together }));
    }
}

/// Reads `[APPENDUID validity uids]` (RFC 4315, 3). Empty for another number of UIDs than `count`, a zero, a range that falls,
/// or another UIDVALIDITY than the folder's.
fn append_uids(words: &[u8], expected: Option<UidValidity>, count: usize) -> Vec<(UidValidity, Uid)> {
    read_append_uids(words, expected, count).filter(|uids| uids.len() == count).unwrap_or_default()
}

fn read_append_uids(words: &[u8], expected: Option<UidValidity>, count: usize) -> Option<Vec<(UidValidity, Uid)>> {
    if !starts_with(words, b"[APPENDUID ") {
        return None;
    }
    let inside = words[11..].split(|byte| *byte == b']').next()?;
    let mut parts = std::str::from_utf8(inside).ok()?.split(' ');
    let validity = UidValidity::new(parts.next()?.parse().ok()?)?;
    let set = parts.next().filter(|_| parts.next().is_none())?;
    let mut uids = Vec::with_capacity(count);
    for range in set.split(',') {
        let (first, last) = uid_range(range)?;
        if last < first || (last - first) as usize >= count - uids.len() {
            return None;
        }
        for uid in first..=last {
            uids.push((validity, Uid::new(uid)?));
        }
    }
    expected.is_none_or(|expected| expected == validity).then_some(uids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_target_that_takes_nothing_keeps_no_other_from_a_shared_limit() {
        // As a limit does: one after the other, each after a while.
        let limit = tokio::sync::Mutex::new(());
        let leave_of_limit = async || {
            let _turn = limit.lock().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let (mut io, _full) = tokio::io::duplex(16);
        let (flights, _landing) = mpsc::unbounded_channel();
        let (_go, leave) = mpsc::unbounded_channel();
        let mut writer = Writer {
            io: &mut io,
            timeout: Duration::from_secs(60),
            progress: Arc::default(),
            buffer: vec![b'x'; 1000],
            style: Style { plus: true, minus: false, window: 1 },
            taken: &Taken::default(),
            together: &Together::new(1),
            next: None,
            unsent: 0,
            flights,
            leave,
            next_tag: String::new,
            turns: &None,
            stop: &CancellationToken::new(),
        };
        let begin = Instant::now();
        let other = async {
            tokio::task::yield_now().await;
            leave_of_limit().await;
            begin.elapsed()
        };
        let (held, waited) = tokio::join!(writer.hold(leave_of_limit()), other);
        assert!(held.is_err(), "nothing is taken");
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    }

    #[test]
    fn keywords_that_were_taken_need_no_leave_and_others_do() {
        let taken = Taken::default();
        let untried = |flags: &str| taken.is_untried(&Flags::parse(flags));
        assert!(!untried("\\Seen") && untried("a"));
        taken.add(&Flags::parse("\\Seen a b"));
        assert!(!untried("b") && !untried("A") && !untried("b a \\Flagged"));
        assert!(untried("c") && untried("a c"));
        taken.add(&Flags::parse("c"));
        assert!(!untried("a c"));
        assert!(untried("a b c"), "never so many at once");
    }

    #[test]
    fn an_append_uid_that_does_not_fit_is_ignored() {
        let validity = UidValidity::new(7).unwrap();
        let uid = |value| Some((validity, Uid::new(value).unwrap()));
        for (words, expected) in [
            (&b"[APPENDUID 7 12] done"[..], uid(12)),
            (b"[appenduid 7 12] done", uid(12)),
            (b"[APPENDUID 8 12] done", None),
            (b"[APPENDUID 7 12:13] done", None),
            (b"[APPENDUID 7 0] done", None),
            (b"[APPENDUID 7] done", None),
            (b"[APPENDUID 7 12 13] done", None),
            (b"done", None),
        ] {
            let found = append_uids(words, Some(validity), 1);
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{}", words.escape_ascii());
        }
    }

    #[test]
    fn the_uids_of_several_messages_fit_or_are_ignored() {
        let validity = UidValidity::new(7).unwrap();
        for (words, expected) in [
            (&b"[APPENDUID 7 12:14] done"[..], &[12, 13, 14][..]),
            (b"[APPENDUID 7 12,20:21] done", &[12, 20, 21]),
            (b"[APPENDUID 7 12,5,9] done", &[12, 5, 9]),
            (b"[APPENDUID 7 12:13] done", &[]),
            (b"[APPENDUID 7 12:15] done", &[]),
            (b"[APPENDUID 7 1:4294967295] done", &[]),
            (b"[APPENDUID 7 14:12] done", &[]),
            (b"[APPENDUID 7 12,,13] done", &[]),
            (b"[APPENDUID 7 0:2] done", &[]),
            (b"[APPENDUID 8 12:14] done", &[]),
        ] {
            let found = append_uids(words, Some(validity), 3);
            let found: Vec<u32> = found.into_iter().map(|(_, uid)| uid.value()).collect();
            assert_eq!(found, expected, "{}", words.escape_ascii());
        }
    }
}
