//! Bodies to a server: APPEND commands in a window, writer and reader of the connection at work together.
//!
//! Invariants: the bytes sent are the body's and nothing else; a literal that the server cannot stop is used only where this
//! server has taken the same flags before and the date is one that every server knows, since some read the lines of a
//! refused literal as commands (Dovecot 2.3.19); after a BAD to such a literal the connection is given up; after a NO to a
//! synchronising one no byte of the body is sent.

use super::Appended;
use super::body::Body;
use super::connection::{Line, push_quoted, quotable, sort_line};
use super::error::{ImapError, Refusal};
use super::fetch::{Brake, Turns, turn};
use super::session::{Session, Target};
use super::token::starts_with;
use super::wire::{Broken, NoBodies, Progress, Reader, flush, write};
use crate::mail::{Flags, InternalDate, Uid, UidValidity, WireName};
use crate::provider::{Phase, Status};
use futures_util::FutureExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Commands without an answer: covers the round trip of a WAN (2,500 messages a second at 40 ms).
const WINDOW_MESSAGES: usize = 128;
/// KiB without an answer.
const WINDOW_KIB: u32 = 16 * 1024;
/// Written at once.
const WRITE: usize = 48 * 1024;
/// A connection with nothing to send is kept alive; servers may hang up after 30 minutes, some do after 5 (RFC 9051, 5.4).
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// A literal of at most this length needs no go-ahead under LITERAL- (RFC 7888, 5).
const LITERAL_MINUS_MAX: u64 = 4096;

/// Instants that every server knows: some refuse a date before 1970 or after 2037.
const USUAL_DATES: Range<i64> = 0..2_145_916_800;
/// Minutes east of Greenwich that clocks have.
const USUAL_ZONES: RangeInclusive<i16> = -12 * 60..=14 * 60;
/// Sets of keywords remembered as taken; what is beyond asks first. A mailbox has a handful.
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

/// The target's answer to one APPEND.
pub struct Answer {
    /// The message.
    pub source_uid: Uid,
    /// Its proof, or the target's words.
    pub outcome: Result<Appended, Refusal>,
}

/// One unanswered command.
struct Flight {
    tag: Vec<u8>,
    /// None: a NOOP.
    source_uid: Option<Uid>,
    synchronising: bool,
    /// The server had the choice to refuse the literal before it came: a BAD after it is about the message alone.
    asked: bool,
    /// With keywords that the server has not taken yet.
    untried: Option<Flags>,
    _window: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
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
    /// `validity`: an APPENDUID under another UIDVALIDITY is not believed. `stop`: nothing further is taken; what is under
    /// way is waited for.
    ///
    /// # Errors
    /// A broken connection, or a BAD: what has no answer by then may or may not be on the target.
    pub async fn append(
        &mut self,
        folder: &WireName,
        validity: Option<UidValidity>,
        incoming: &mut mpsc::Receiver<Outgoing>,
        answers: &mpsc::UnboundedSender<Answer>,
        brake: &impl Brake,
        stop: &CancellationToken,
    ) -> Result<(), ImapError> {
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
        let connection = &mut self.connection;
        let mut tag = 0u32;
        let prefix = connection.next_tag();
        let next_tag = move || {
            tag += 1;
            format!("{prefix}A{tag}")
        };
        let timeout = connection.wire.timeout;
        let progress = Arc::clone(&connection.wire.reader.progress);
        progress.hold(false);
        let (read, mut wrote) = tokio::io::split(&mut connection.wire.io);
        let (flights, landing) = mpsc::unbounded_channel();
        let (go, leave) = mpsc::unbounded_channel();
        let taken = Taken::default();
        let mut writer = Writer {
            io: &mut wrote,
            timeout,
            progress,
            buffer: Vec::new(),
            style,
            taken: &taken,
            flights,
            leave,
            next_tag,
            turns: &connection.turns,
            stop,
        };
        let mut bye = None;
        let reader = collect(&mut connection.wire.reader, read, landing, go, (validity, &taken), answers, &mut bye);
        let ended = tokio::try_join!(writer.send_all(folder, incoming, brake), reader);
        drop(writer);
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

/// Flags that the server has taken on this connection, in commands that ended with OK.
#[derive(Default)]
struct Taken(Mutex<BTreeSet<Flags>>);

impl Taken {
    fn set(&self) -> MutexGuard<'_, BTreeSet<Flags>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, flags: Flags) {
        let mut set = self.set();
        if set.len() < TAKEN_MAX {
            set.insert(flags);
        }
    }

    /// Says whether the server may find something in these flags that it does not take.
    fn is_untried(&self, flags: &Flags) -> bool {
        flags.keywords().next().is_some() && !self.set().contains(flags)
    }
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

struct Writer<'a, W, N> {
    io: &'a mut W,
    timeout: Duration,
    progress: Arc<Progress>,
    buffer: Vec<u8>,
    style: Style,
    taken: &'a Taken,
    flights: mpsc::UnboundedSender<Flight>,
    leave: mpsc::UnboundedReceiver<Go>,
    next_tag: N,
    turns: &'a Turns,
    stop: &'a CancellationToken,
}

impl<W: AsyncWrite + Unpin, N: FnMut() -> String> Writer<'_, W, N> {
    async fn send_all(
        &mut self,
        folder: &WireName,
        incoming: &mut mpsc::Receiver<Outgoing>,
        brake: &impl Brake,
    ) -> Result<(), Broken> {
        let messages = Arc::new(Semaphore::new(self.style.window));
        let kib = Arc::new(Semaphore::new(WINDOW_KIB as usize));
        loop {
            if self.stop.is_cancelled() {
                self.flush().await?;
                break;
            }
            let outgoing = match incoming.try_recv() {
                Ok(outgoing) => outgoing,
                Err(_) => {
                    self.flush().await?;
                    let next = tokio::select! {
                        next = tokio::time::timeout(KEEP_ALIVE, incoming.recv()) => next,
                        () = self.stop.cancelled() => Ok(None),
                    };
                    match next {
                        Ok(Some(outgoing)) => outgoing,
                        Ok(None) => break,
                        Err(_) => {
                            turn(self.turns).await;
                            self.keep_alive().await?;
                            continue;
                        }
                    }
                }
            };
            let turns = self.turns;
            let held = async {
                brake.messages(1).await;
                turn(turns).await;
            };
            self.hold(held).await?;
            let careful = outgoing.careful;
            let size = u32::try_from(outgoing.body.length() / 1024 + 1).unwrap_or(u32::MAX).min(WINDOW_KIB);
            // The whole window: nothing else is under way beside it.
            let places = if careful { self.style.window as u32 } else { 1 };
            let window = (self.place(&messages, places).await?, self.place(&kib, size).await?);
            self.send(folder, outgoing, window, brake).await?;
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
        mut outgoing: Outgoing,
        window: (OwnedSemaphorePermit, OwnedSemaphorePermit),
        brake: &impl Brake,
    ) -> Result<(), Broken> {
        let length = outgoing.body.length();
        let free = self.style.plus || self.style.minus && length <= LITERAL_MINUS_MAX;
        let untried = self.taken.is_untried(&outgoing.flags).then(|| outgoing.flags.clone());
        let proven = untried.is_none() && outgoing.date.is_none_or(is_usual);
        let synchronising = outgoing.careful || !free || !proven;
        let tag = (self.next_tag)();
        let flight = Flight {
            tag: tag.clone().into_bytes(),
            source_uid: Some(outgoing.source_uid),
            synchronising,
            asked: synchronising,
            untried,
            _window: Some(window),
        };
        self.flights.send(flight).map_err(|_| Broken::Eof)?;
        self.line(&tag, folder, &outgoing);
        self.buffer.extend_from_slice(format!("{{{length}{}}}\r\n", if synchronising { "" } else { "+" }).as_bytes());
        if synchronising {
            self.flush().await?;
            if self.leave.recv().await.ok_or(Broken::Eof)? == Go::Refused {
                return Ok(());
            }
        }
        let (mut sent, mut piece) = (0, Vec::new());
        while sent < length {
            outgoing.body.read(sent, &mut piece).await.map_err(Broken::Io)?;
            if piece.is_empty() {
                return Err(Broken::Io(std::io::Error::other("the spool file is shorter than the message")));
            }
            self.hold(brake.bytes(piece.len() as u64)).await?;
            self.buffer.extend_from_slice(&piece);
            sent += piece.len() as u64;
            self.write_if_large().await?;
        }
        self.buffer.extend_from_slice(b"\r\n");
        self.write_if_large().await
    }

    fn line(&mut self, tag: &str, folder: &WireName, outgoing: &Outgoing) {
        self.buffer.extend_from_slice(tag.as_bytes());
        self.buffer.extend_from_slice(b" APPEND ");
        push_quoted(&mut self.buffer, folder.as_bytes());
        self.buffer.push(b' ');
        if !outgoing.flags.is_empty() {
            self.buffer.extend_from_slice(format!("({}) ", outgoing.flags).as_bytes());
        }
        if let Some(date) = outgoing.date {
            self.buffer.extend_from_slice(format!("\"{date}\" ").as_bytes());
        }
    }

    async fn keep_alive(&mut self) -> Result<(), Broken> {
        let tag = (self.next_tag)();
        let tag_bytes = tag.clone().into_bytes();
        let flight = Flight {
            tag: tag_bytes,
            source_uid: None,
            synchronising: false,
            asked: true,
            untried: None,
            _window: None,
        };
        self.flights.send(flight).map_err(|_| Broken::Eof)?;
        self.buffer.extend_from_slice(format!("{tag} NOOP\r\n").as_bytes());
        self.flush().await
    }

    /// Waits for leave to go on. What has leave already goes out before: kept back, it would come in one burst with the rest.
    async fn hold(&mut self, leave: impl Future<Output = ()>) -> Result<(), Broken> {
        let mut leave = std::pin::pin!(leave);
        if leave.as_mut().now_or_never().is_some() {
            return Ok(());
        }
        self.flush().await?;
        self.progress.hold(true);
        leave.await;
        self.progress.hold(false);
        Ok(())
    }

    async fn write_if_large(&mut self) -> Result<(), Broken> {
        if self.buffer.len() >= WRITE {
            write(self.io, &self.buffer, self.timeout, &self.progress).await?;
            self.buffer.clear();
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        if !self.buffer.is_empty() {
            write(self.io, &self.buffer, self.timeout, &self.progress).await?;
            self.buffer.clear();
        }
        flush(self.io, self.timeout).await
    }
}

/// Reads answers until every command has its own and no further one will come.
async fn collect(
    reader: &mut Reader,
    mut io: impl AsyncRead + Unpin,
    mut landing: mpsc::UnboundedReceiver<Flight>,
    go: mpsc::UnboundedSender<Go>,
    (validity, taken): (Option<UidValidity>, &Taken),
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
            let Some(source_uid) = flight.source_uid else { continue };
            let stopped = flight.synchronising;
            let bad = completion.status == Status::Bad;
            let outcome = match completion.status {
                Status::Ok => {
                    flight.untried.into_iter().for_each(|flags| taken.add(flags));
                    Ok(Appended { target: append_uid(&completion.words, validity) })
                }
                status => Err(Refusal { phase: Phase::Append, status, words: completion.words }),
            };
            drop(answers.send(Answer { source_uid, outcome }));
            if stopped {
                drop(go.send(Go::Refused));
            } else if bad && !flight.asked {
                return Err(Broken::Protocol("it refused a command whose literal was on its way".to_owned()));
            }
        }
    }
    Ok(())
}

/// Reads `[APPENDUID validity uid]` (RFC 4315). None for a set, a zero, or another UIDVALIDITY than the folder's.
fn append_uid(words: &[u8], expected: Option<UidValidity>) -> Option<(UidValidity, Uid)> {
    if !starts_with(words, b"[APPENDUID ") {
        return None;
    }
    let inside = words[11..].split(|byte| *byte == b']').next()?;
    let mut numbers = std::str::from_utf8(inside).ok()?.split(' ').map(str::parse::<u32>);
    let validity = UidValidity::new(numbers.next()?.ok()?)?;
    let uid = Uid::new(numbers.next()?.ok()?)?;
    (numbers.next().is_none() && expected.is_none_or(|expected| expected == validity)).then_some((validity, uid))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(append_uid(words, Some(validity)), expected, "{}", words.escape_ascii());
        }
    }
}
