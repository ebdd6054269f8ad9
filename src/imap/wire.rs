//! The stream both planes share: reads responses piece by piece, writes commands whole.
//!
//! Invariants: memory is bounded by the constants below whatever the server sends; every wait for the server ends after
//! the progress timeout; nothing is read beyond what was asked for but into this buffer.

use super::error::ImapError;
use super::haste::Heed;
use super::token::{Literal, MARK, Response, starts_with};
use crate::failure::Failure;
use crate::net::BoxedIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// A response's text without its literals: the longest known ones are LIST names and keyword lists of a few kB.
pub(super) const TEXT_MAX: usize = 1 << 20;
/// A literal kept with its response: headers mostly; what is beyond is read and dropped.
pub(super) const INLINE_MAX: usize = 1 << 20;
/// All literals of one response together.
const LITERALS_MAX: usize = 64;
/// One read from the socket: a few TLS records.
const BUFFER: usize = 64 * 1024;

/// A response has begun and does not end: in each stretch of waiting of this length so many bytes have to come. Slower than
/// any line that mail can be moved over; a server that is at work and says so now and then does it in whole lines.
const STRETCH: Duration = Duration::from_secs(300);
const STRETCH_BYTES_MIN: u64 = 30_000;
/// Nothing that was asked for has come, whatever else is said meanwhile: servers have been seen to build the index of a large
/// folder for half an hour.
const ANSWER_MAX: Duration = Duration::from_secs(2 * 3600);
/// The length of a body: RFC 3501 has 32 bits for it, and no server takes such a message.
const BODY_MAX: u64 = u32::MAX as u64;
/// Any other literal, most of which is dropped: reading on through more than this only serves who sends it.
const DROPPED_MAX: u64 = 64 << 20;

/// Why reading or writing stopped; the caller says what was being done.
#[derive(Debug)]
pub(super) enum Broken {
    Io(std::io::Error),
    Eof,
    Silent(Duration),
    Protocol(String),
    /// A file of ours cannot be written or read: the server is not to blame.
    Local(std::io::Error),
    /// Something here holds it back for long: the connection is in order and of no use.
    Held(Box<Failure>),
}

impl Broken {
    pub(super) fn held(failure: Failure) -> Self {
        Self::Held(Box::new(failure))
    }

    pub(super) fn during(self, what: impl Into<String>) -> ImapError {
        let what = what.into();
        match self {
            Self::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                ImapError::Closed { what, why: "timed out".to_owned() }
            }
            Self::Io(error) => ImapError::Closed { what, why: error.to_string() },
            Self::Local(error) => ImapError::Local { what, why: error.to_string() },
            Self::Eof => ImapError::Closed { what, why: "closed by the server".to_owned() },
            Self::Silent(waited) => ImapError::Silent { what, waited },
            Self::Protocol(why) => ImapError::Protocol { what, why },
            Self::Held(failure) => ImapError::Held(failure),
        }
    }
}

/// The read buffer and how long to wait for more.
pub(super) struct Reader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    timeout: Duration,
    /// When something that was asked for came last, or was asked for.
    heard: Instant,
    stretch: Stretch,
    /// Counts what is being written meanwhile: a server that takes bytes is not silent.
    pub(super) progress: Arc<Progress>,
    /// Hears what the server says of our haste.
    pub(super) heed: Heed,
}

/// The current stretch of waiting within a response.
#[derive(Default)]
struct Stretch {
    waited: Duration,
    bytes: u64,
}

/// What the writing half of a connection is doing, for the reading half to see.
#[derive(Default)]
pub(super) struct Progress {
    wrote: AtomicU64,
    held: AtomicBool,
}

impl Progress {
    /// Something was taken by the other end.
    pub(super) fn wrote(&self) {
        self.wrote.fetch_add(1, Ordering::Relaxed);
    }

    /// Says whether it is we who hold back what the server waits for.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
        self.wrote();
    }
}

/// Takes the content of body literals, which may be of any size.
pub(super) trait BodySink {
    /// Says whether the literal at the end of `text` is to be streamed; its length is `size`.
    async fn begin(&mut self, text: &[u8], size: u64) -> Result<bool, Broken>;
    /// So many bytes are read at once at the most.
    fn piece(&self) -> usize {
        BUFFER
    }
    /// Takes the next bytes of it.
    async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Broken>;
}

/// For commands whose answers hold no bodies.
pub(super) struct NoBodies;

impl BodySink for NoBodies {
    async fn begin(&mut self, _: &[u8], _: u64) -> Result<bool, Broken> {
        Ok(false)
    }

    async fn chunk(&mut self, _: &[u8]) -> Result<(), Broken> {
        Ok(())
    }
}

impl Reader {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            timeout,
            heard: Instant::now(),
            stretch: Stretch::default(),
            progress: Arc::default(),
            heed: Heed::default(),
        }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Gives what was read and belongs to no response yet.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.buffer[self.start..self.end].to_vec();
        (self.start, self.end) = (0, 0);
        rest
    }

    /// Notes that something was asked for, or that something came that had been: the time for an answer runs anew.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Reads what is there, `most` bytes of it at the most.
    async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin), most: usize) -> Result<(), Broken> {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        let room = self.end.saturating_add(most).min(self.buffer.len());
        loop {
            if self.heard.elapsed() > ANSWER_MAX {
                return Err(Broken::Silent(ANSWER_MAX));
            }
            let (before, begun) = (self.progress.wrote.load(Ordering::Relaxed), Instant::now());
            match tokio::time::timeout(self.timeout, io.read(&mut self.buffer[self.end..room])).await {
                Ok(read) => {
                    let count = read.map_err(Broken::Io)?;
                    self.end += count;
                    if count == 0 {
                        return Err(Broken::Eof);
                    }
                    return self.waited(begun.elapsed(), count as u64);
                }
                Err(_) => {
                    let moved = self.progress.wrote.load(Ordering::Relaxed) != before;
                    if !moved && !self.progress.held.load(Ordering::Relaxed) {
                        return Err(Broken::Silent(self.timeout));
                    }
                    self.heard();
                }
            }
        }
    }

    /// Counts what came after some waiting; an error where it is too little in too long.
    fn waited(&mut self, time: Duration, bytes: u64) -> Result<(), Broken> {
        self.stretch.waited += time;
        self.stretch.bytes += bytes;
        if self.stretch.waited < STRETCH {
            return Ok(());
        }
        if self.stretch.bytes < STRETCH_BYTES_MIN {
            return Err(Broken::Silent(self.stretch.waited));
        }
        self.stretch = Stretch::default();
        Ok(())
    }

    /// Reads one whole response: a line with all its literals.
    pub(super) async fn response(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        bodies: &mut impl BodySink,
    ) -> Result<Response, Broken> {
        let mut response = Response::default();
        if self.is_empty() {
            // However long a server thinks before it says something: `timeout` is for that.
            self.fill(io, bodies.piece()).await?;
        }
        self.stretch = Stretch::default();
        loop {
            self.line(io, &mut response.text, bodies.piece()).await?;
            let literal = if is_prose(&response.text) { None } else { literal_at_end(&response.text) };
            let Some((at, size)) = literal else {
                self.heed.hear(&response.text);
                return Ok(response);
            };
            if response.literals.len() == LITERALS_MAX {
                return Err(Broken::Protocol(format!("more than {LITERALS_MAX} literals in one response")));
            }
            if size > BODY_MAX {
                return Err(Broken::Protocol(format!("a literal of {size} bytes")));
            }
            let literal = if bodies.begin(&response.text[..at], size).await? {
                self.stream(io, size, bodies).await?;
                Literal::Body
            } else if size > DROPPED_MAX {
                return Err(Broken::Protocol(format!("a literal of {size} bytes where no message was asked for")));
            } else {
                Literal::Inline(self.inline(io, size).await?)
            };
            response.text.truncate(at);
            response.text.push(MARK);
            response.literals.push((at, literal));
        }
    }

    /// Adds a line to `out`, without its end.
    async fn line(&mut self, io: &mut (impl AsyncRead + Unpin), out: &mut Vec<u8>, most: usize) -> Result<(), Broken> {
        loop {
            let ready = &self.buffer[self.start..self.end];
            let found = memchr::memchr(b'\n', ready);
            let take = found.unwrap_or(ready.len());
            if out.len() + take > TEXT_MAX {
                return Err(Broken::Protocol(format!("a line of more than {TEXT_MAX} bytes")));
            }
            out.extend_from_slice(&ready[..take]);
            self.start += take + usize::from(found.is_some());
            if found.is_some() {
                if out.last() == Some(&b'\r') {
                    out.pop();
                }
                return Ok(());
            }
            self.fill(io, most).await?;
        }
    }

    async fn stream(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        size: u64,
        bodies: &mut impl BodySink,
    ) -> Result<(), Broken> {
        let mut left = size;
        while left > 0 {
            let piece = bodies.piece();
            if self.is_empty() {
                self.fill(io, piece).await?;
            }
            let take = left.min((self.end - self.start).min(piece) as u64) as usize;
            bodies.chunk(&self.buffer[self.start..self.start + take]).await?;
            // Whoever takes the bytes may keep us waiting, and a large message takes its time.
            self.heard();
            self.start += take;
            left -= take as u64;
        }
        Ok(())
    }

    async fn inline(&mut self, io: &mut (impl AsyncRead + Unpin), size: u64) -> Result<Vec<u8>, Broken> {
        struct Keep(Vec<u8>);
        impl BodySink for Keep {
            async fn begin(&mut self, _: &[u8], _: u64) -> Result<bool, Broken> {
                Ok(true)
            }
            async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Broken> {
                let room = INLINE_MAX.saturating_sub(self.0.len()).min(bytes.len());
                self.0.extend_from_slice(&bytes[..room]);
                Ok(())
            }
        }
        let mut keep = Keep(Vec::new());
        self.stream(io, size, &mut keep).await?;
        Ok(keep.0)
    }
}

/// Says whether a response ends in words for people, in which `{12}` is no literal: status lines and continuations.
fn is_prose(text: &[u8]) -> bool {
    let Some(data) = text.strip_prefix(b"* ") else { return true };
    [&b"OK "[..], b"NO ", b"BAD ", b"BYE ", b"PREAUTH "].iter().any(|status| starts_with(data, status))
}

/// Finds `{n}`, `{n+}` or `~{n}` at the end of a line: where it begins, and n.
pub(super) fn literal_at_end(text: &[u8]) -> Option<(usize, u64)> {
    let inside = text.strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    let open = inside.iter().rposition(|byte| !byte.is_ascii_digit())?;
    if inside[open] != b'{' || open + 1 == inside.len() {
        return None;
    }
    let size = std::str::from_utf8(&inside[open + 1..]).ok()?.parse().ok()?;
    let at = if open > 0 && inside[open - 1] == b'~' { open - 1 } else { open };
    Some((at, size))
}

/// The connection's bytes, both ways.
pub(super) struct Wire {
    pub(super) io: BoxedIo,
    pub(super) reader: Reader,
    pub(super) timeout: Duration,
}

impl Wire {
    pub(super) fn new(io: BoxedIo, timeout: Duration) -> Self {
        Self { io, reader: Reader::new(timeout), timeout }
    }

    /// Sends a command, or what belongs to one, as soon as the server may be asked.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.reader.heed.ready().await;
        self.write_at_once(bytes).await
    }

    /// As [`Self::write`], for who has waited until the server may be asked, and holds what others wait for.
    pub(super) async fn write_at_once(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.reader.heard();
        write(&mut self.io, bytes, self.timeout, &self.reader.progress).await?;
        flush(&mut self.io, self.timeout).await
    }

    pub(super) async fn response(&mut self) -> Result<Response, Broken> {
        self.reader.response(&mut self.io, &mut NoBodies).await
    }
}

/// Writes all bytes; the time allowed runs anew with every piece the other end takes.
pub(super) async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    timeout: Duration,
    progress: &Progress,
) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let wrote = tokio::time::timeout(timeout, io.write(bytes)).await;
        match wrote.map_err(|_| Broken::Silent(timeout))?.map_err(Broken::Io)? {
            0 => return Err(Broken::Eof),
            n => {
                progress.wrote();
                bytes = &bytes[n..];
            }
        }
    }
    Ok(())
}

pub(super) async fn flush(io: &mut (impl AsyncWrite + Unpin), timeout: Duration) -> Result<(), Broken> {
    tokio::time::timeout(timeout, io.flush()).await.map_err(|_| Broken::Silent(timeout))?.map_err(Broken::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_found_at_the_end_of_a_line_only() {
        for (line, found) in [
            (&b"* 1 FETCH (BODY[] {12}"[..], Some((18, 12))),
            (b"* 1 FETCH (BODY[] {12+}", Some((18, 12))),
            (b"* 1 FETCH (BINARY[] ~{0}", Some((20, 0))),
            (b"* OK {12} x", None),
            (b"{}", None),
            (b"12}", None),
            (b"{99999999999999999999999}", None),
            (b"}", None),
        ] {
            assert_eq!(literal_at_end(line), found, "{}", line.escape_ascii());
        }
    }

    async fn read(bytes: &[u8]) -> Result<Response, Broken> {
        let mut io = bytes;
        Reader::new(Duration::from_secs(1)).response(&mut io, &mut NoBodies).await
    }

    #[tokio::test]
    async fn a_response_is_a_line_with_its_literals() {
        let response = read(b"* LIST () \"/\" {3}\r\na\"b\r\n* next\r\n").await.unwrap();
        assert_eq!(response.text, b"* LIST () \"/\" \x01");
        assert_eq!(response.literals, [(14, Literal::Inline(b"a\"b".to_vec()))]);
    }

    #[tokio::test]
    async fn words_for_people_hold_no_literal() {
        for line in ["* OK use {12}", "* BYE {3}", "A1 NO [X] {9}", "+ {4}"] {
            assert_eq!(read(format!("{line}\r\n").as_bytes()).await.unwrap().text, line.as_bytes());
        }
    }

    #[tokio::test]
    async fn an_end_within_a_response_is_an_error() {
        for bytes in [&b""[..], b"* OK", b"* LIST {3}\r\na", b"* LIST {3}\r\nabc"] {
            assert!(matches!(read(bytes).await, Err(Broken::Eof)), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_and_a_long_literal_is_cut() {
        assert!(matches!(read(&vec![b'x'; TEXT_MAX + BUFFER]).await, Err(Broken::Protocol(_))));
        let mut long = format!("* X {{{}}}\r\n", 3 * INLINE_MAX).into_bytes();
        long.extend(vec![b'y'; 3 * INLINE_MAX]);
        long.extend(b" end\r\n");
        let response = read(&long).await.unwrap();
        assert_eq!(response.text, b"* X \x01 end");
        assert!(matches!(&response.literals[0].1, Literal::Inline(bytes) if bytes.len() == INLINE_MAX));
    }

    /// What a server sends that gives `bytes` every `pause`, for ever, after `first`.
    async fn drip(first: &[u8], bytes: &'static [u8], pause: Duration) -> (Broken, Duration) {
        let (mut near, mut far) = tokio::io::duplex(1 << 16);
        let first = first.to_vec();
        let server = tokio::spawn(async move {
            far.write_all(&first).await.unwrap();
            while far.write_all(bytes).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        });
        let (mut reader, begun) = (Reader::new(Duration::from_secs(60)), Instant::now());
        let broken = loop {
            if let Err(broken) = reader.response(&mut near, &mut NoBodies).await {
                break broken;
            }
        };
        drop(near);
        server.await.unwrap();
        (broken, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_never_ends_is_given_up() {
        let second = Duration::from_secs(1);
        for first in [&b"* OK "[..], b"* LIST () \"/\" {1000000}\r\n"] {
            let (broken, took) = drip(first, b"x", second).await;
            assert!(matches!(broken, Broken::Silent(_)), "{broken:?}");
            assert!(took < 2 * STRETCH, "{took:?}");
        }
        // As slow as mail is ever moved: it comes to its end, and the line behind it is too long at last.
        let (broken, _) = drip(b"", &[b'x'; 1000], 5 * second).await;
        assert!(matches!(broken, Broken::Protocol(_)), "{broken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_only_ever_says_it_is_at_work_is_given_up() {
        let (broken, took) = drip(b"", b"* OK Still here\r\n", Duration::from_secs(15)).await;
        assert!(matches!(broken, Broken::Silent(ANSWER_MAX)), "{broken:?}");
        assert!(took < ANSWER_MAX + STRETCH, "{took:?}");
    }

    #[tokio::test]
    async fn a_literal_beyond_all_mail_is_not_read() {
        for size in [DROPPED_MAX + 1, BODY_MAX, 10 << 30] {
            let text = format!("* LIST () \"/\" {{{size}}}\r\nx");
            assert!(matches!(read(text.as_bytes()).await, Err(Broken::Protocol(_))), "{size}");
        }
    }
}
