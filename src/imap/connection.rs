//! One connection, two planes. async-imap speaks through a bridge that shows it only how each of its commands ended; our own
//! commands go straight to the wire.
//!
//! ```text
//!   async_imap::Session ─ duplex ─ bridge ─┐
//!                                          ├─ Wire ─ socket
//!   command(), fetch, append ──────────────┘
//! ```
//!
//! Invariants: a command succeeded only if its tagged OK was seen here; a future dropped in mid-command leaves the
//! connection poisoned; async-imap never sees untagged data, so nothing a server sends can confuse it.

use super::append::Taken;
use super::error::{ImapError, Refusal};
use super::fetch::{Turns, turn};
use super::token::{Response, Tokens, Value, starts_with};
use super::wire::{Broken, Wire};
use crate::net::BoxedIo;
use crate::provider::{Phase, Status};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Untagged answers to one control command, all together; SELECT gives a few kB.
pub(super) const UNTAGGED_MAX: usize = 4 << 20;
/// Untagged answers to one of our own commands, all together: LIST with states of 50,000 folders gives 20 MB.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Capabilities kept of a list; servers have fifty.
const CAPABILITIES_MAX: usize = 1000;
/// async-imap's commands pass through here; the longest is a sign-in with a token of a few kB.
const BRIDGE: usize = 64 * 1024;

/// What a server says it can do (RFC 9051, 7.2.2), in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<String>);

impl Capabilities {
    pub(super) fn parse(words: &[u8]) -> Self {
        let words = words.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let words = words.take(CAPABILITIES_MAX);
        Self(words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect())
    }

    /// Says whether a capability is announced; `name` in upper case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Gives all of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Gives the largest message the server takes, in bytes, where it says so (RFC 7889).
    #[must_use]
    pub fn append_limit(&self) -> Option<u64> {
        self.0.iter().find_map(|name| name.strip_prefix("APPENDLIMIT=")?.parse().ok())
    }
}

/// How a command ended.
#[derive(Debug, Clone)]
pub(super) struct Completion {
    pub(super) status: Status,
    pub(super) words: Vec<u8>,
}

/// What one line from the server is.
pub(super) enum Line {
    Continuation,
    Tagged(Vec<u8>, Completion),
    Untagged,
}

/// Tells tagged lines and continuations from data.
pub(super) fn sort_line(response: &Response) -> Result<Line, Broken> {
    let text = &response.text;
    if text.starts_with(b"* ") {
        return Ok(Line::Untagged);
    }
    if text.first() == Some(&b'+') {
        return Ok(Line::Continuation);
    }
    let mut tokens = Tokens::new(response);
    let tag = tokens.word().to_vec();
    let rest = tokens.rest().trim_ascii_start();
    let status = [(&b"OK"[..], Status::Ok), (b"NO", Status::No), (b"BAD", Status::Bad)];
    // Exchange has been seen to write "BADRequest is throttled": the word may be glued to what follows.
    let known = |(word, _): &(&[u8], Status)| {
        let next = rest.get(word.len());
        starts_with(rest, word) && next.is_none_or(|next| *next == b' ' || *next == b'[' || **word == b"BAD"[..])
    };
    match status.iter().find(|status| known(status)) {
        Some((word, status)) => {
            Ok(Line::Tagged(tag, Completion { status: *status, words: rest[word.len()..].trim_ascii_start().to_vec() }))
        }
        None => Err(Broken::Protocol(format!("\"{}\"", crate::failure::harmless(text)))),
    }
}

/// A piece of a command.
pub(super) enum Part<'a> {
    Text(&'a str),
    /// A mailbox name or other string: quoted where it can be, a literal otherwise.
    Name(&'a [u8]),
}

pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) session: Option<async_imap::Session<DuplexStream>>,
    far: DuplexStream,
    pub(super) capabilities: Capabilities,
    pub(super) poisoned: bool,
    pub(super) turns: Turns,
    pub(super) taken: Taken,
    bye: Option<Vec<u8>>,
    tag: u32,
    /// How many commands have been sent.
    pub(super) asked: u64,
}

impl Connection {
    /// Takes a stream; gives async-imap's end of the bridge with it.
    pub(super) fn new(io: BoxedIo, timeout: Duration) -> (Self, DuplexStream) {
        let (near, far) = tokio::io::duplex(BRIDGE);
        let connection = Self {
            wire: Wire::new(io, timeout),
            session: None,
            far,
            capabilities: Capabilities::default(),
            poisoned: false,
            turns: None,
            taken: Taken::default(),
            bye: None,
            tag: 0,
            asked: 0,
        };
        (connection, near)
    }

    /// Runs an async-imap call. Gives the untagged responses it brought, and the words of its tagged OK.
    pub(super) async fn control<R, E>(
        &mut self,
        what: &str,
        phase: Phase,
        call: impl Future<Output = Result<R, E>>,
    ) -> Result<(Result<R, E>, Vec<Response>, Vec<u8>), ImapError> {
        if std::mem::replace(&mut self.poisoned, true) {
            return Err(ImapError::Poisoned);
        }
        self.asked += 1;
        let mut untagged = Vec::new();
        let mut ended = None;
        let called = {
            let bridge = bridge(&mut self.wire, &mut self.far, &self.turns, &mut untagged, &mut ended);
            tokio::pin!(call);
            tokio::select! {
                biased;
                called = &mut call => Ok(called),
                broken = bridge => Err(broken),
            }
        };
        self.note(&untagged);
        let called = match called {
            Ok(called) => called,
            Err(broken) => return Err(self.broken(what, phase, broken)),
        };
        let Some(completion) = ended else {
            return Err(Broken::Protocol("no command was sent".to_owned()).during(what));
        };
        self.poisoned = false;
        let words = self.completed(what, phase, completion)?;
        Ok((called, untagged, words))
    }

    /// Runs one command of our own; every untagged response goes to `take`. Gives the words of the tagged OK.
    pub(super) async fn command(
        &mut self,
        what: &str,
        phase: Phase,
        parts: &[Part<'_>],
        mut take: impl FnMut(&Response),
    ) -> Result<Vec<u8>, ImapError> {
        if std::mem::replace(&mut self.poisoned, true) {
            return Err(ImapError::Poisoned);
        }
        if let Err(broken) = turn(&self.turns).await {
            // Nothing was sent.
            self.poisoned = false;
            return Err(broken.during(what));
        }
        let tag = self.next_tag();
        match self.exchange(&tag, parts, &mut take).await {
            Ok(completion) => {
                self.poisoned = false;
                self.completed(what, phase, completion)
            }
            Err(broken) => Err(self.broken(what, phase, broken)),
        }
    }

    async fn exchange(
        &mut self,
        tag: &str,
        parts: &[Part<'_>],
        take: &mut impl FnMut(&Response),
    ) -> Result<Completion, Broken> {
        let mut segments = self.segments(tag, parts).into_iter();
        if let Some(first) = segments.next() {
            self.wire.write(&first).await?;
        }
        let mut size = 0;
        loop {
            let response = self.wire.response().await?;
            match sort_line(&response)? {
                Line::Untagged => {
                    size += response.size();
                    if size > ANSWER_BYTES_MAX {
                        return Err(too_much(ANSWER_BYTES_MAX));
                    }
                    self.note(std::slice::from_ref(&response));
                    take(&response);
                }
                Line::Continuation => match segments.next() {
                    Some(segment) => self.wire.write(&segment).await?,
                    None => return Err(Broken::Protocol("it asks for more of a command that was whole".to_owned())),
                },
                Line::Tagged(of, completion) if of == tag.as_bytes() => return Ok(completion),
                Line::Tagged(of, _) => {
                    return Err(Broken::Protocol(format!("an answer to \"{}\"", crate::failure::harmless(&of))));
                }
            }
        }
    }

    /// Cuts a command where the server has to ask for a literal.
    fn segments(&self, tag: &str, parts: &[Part<'_>]) -> Vec<Vec<u8>> {
        let mut segments = vec![format!("{tag} ").into_bytes()];
        let mut current = segments.pop().unwrap_or_default();
        for part in parts {
            match part {
                Part::Text(text) => current.extend_from_slice(text.as_bytes()),
                Part::Name(name) if quotable(name) => push_quoted(&mut current, name),
                Part::Name(name) if self.capabilities.has("LITERAL+") => {
                    current.extend_from_slice(format!("{{{}+}}\r\n", name.len()).as_bytes());
                    current.extend_from_slice(name);
                }
                Part::Name(name) => {
                    current.extend_from_slice(format!("{{{}}}\r\n", name.len()).as_bytes());
                    segments.push(std::mem::replace(&mut current, name.to_vec()));
                }
            }
        }
        current.extend_from_slice(b"\r\n");
        segments.push(current);
        segments
    }

    /// Writes a command, without its tag, as one line; None where the server has to ask for a part of it.
    pub(super) fn one_line(&self, parts: &[Part<'_>]) -> Option<Vec<u8>> {
        let mut segments = self.segments("", parts);
        let line = segments.pop().filter(|_| segments.is_empty())?;
        Some(line.strip_prefix(b" ").and_then(|line| line.strip_suffix(b"\r\n"))?.to_vec())
    }

    pub(super) fn next_tag(&mut self) -> String {
        self.tag = self.tag.wrapping_add(1);
        self.asked += 1;
        format!("X{}", self.tag)
    }

    fn completed(&mut self, what: &str, phase: Phase, completion: Completion) -> Result<Vec<u8>, ImapError> {
        if completion.status == Status::Ok {
            if let Some(capabilities) = capability_code(&completion.words) {
                self.capabilities = capabilities;
            }
            return Ok(completion.words);
        }
        let refusal = Refusal { phase, status: completion.status, words: completion.words };
        Err(ImapError::Refused { what: what.to_owned(), refusal })
    }

    /// Remembers a BYE: its words explain the end of the connection that follows.
    pub(super) fn note(&mut self, untagged: &[Response]) {
        for response in untagged {
            if let Some(words) = bye(response) {
                self.bye = Some(words.to_vec());
            }
        }
    }

    pub(super) fn broken(&mut self, what: &str, phase: Phase, broken: Broken) -> ImapError {
        match (broken, self.bye.take()) {
            (Broken::Eof | Broken::Io(_), Some(words)) => {
                ImapError::Refused { what: what.to_owned(), refusal: Refusal { phase, status: Status::Bye, words } }
            }
            (broken, _) => broken.during(what),
        }
    }
}

/// Carries async-imap's commands to the wire; shows it continuations and how its commands ended. Comes to an end only when
/// the connection breaks.
async fn bridge(
    wire: &mut Wire,
    far: &mut DuplexStream,
    turns: &Turns,
    untagged: &mut Vec<Response>,
    ended: &mut Option<Completion>,
) -> Broken {
    let mut size = 0;
    // Of the command under way: what the client adds to it later has none.
    let mut tag: Option<Vec<u8>> = None;
    loop {
        let mut command = Vec::new();
        while !command.ends_with(b"\r\n") {
            // async-imap acts at once, or has been shown something it waits behind for ever.
            match tokio::time::timeout(wire.timeout, far.read_buf(&mut command)).await {
                Ok(Ok(0)) => return Broken::Eof,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Broken::Io(error),
                Err(_) => return Broken::Silent(wire.timeout),
            }
        }
        if tag.is_none()
            && let Err(broken) = turn(turns).await
        {
            return broken;
        }
        let asked = tag.get_or_insert_with(|| command.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec());
        if let Err(broken) = wire.write(&command).await {
            return broken;
        }
        let shown = loop {
            let response = match wire.response().await {
                Ok(response) => response,
                Err(broken) => return broken,
            };
            match sort_line(&response) {
                Err(broken) => return broken,
                Ok(Line::Continuation) => break challenge(&response.text),
                Ok(Line::Untagged) => {
                    size += response.size();
                    untagged.push(response);
                    if size > UNTAGGED_MAX {
                        return too_much(UNTAGGED_MAX);
                    }
                }
                Ok(Line::Tagged(of, _)) if of != *asked => {
                    return Broken::Protocol(format!("an answer to \"{}\"", crate::failure::harmless(&of)));
                }
                Ok(Line::Tagged(of, completion)) => {
                    tag = None;
                    let status: &[u8] = match completion.status {
                        Status::Ok => b" OK",
                        Status::No => b" NO",
                        Status::Bad | Status::Bye => b" BAD",
                    };
                    *ended = Some(completion);
                    break [&of, status, b" done\r\n"].concat();
                }
            }
        };
        if let Err(error) = far.write_all(&shown).await {
            return Broken::Io(error);
        }
    }
}

pub(super) fn too_much(bytes_max: usize) -> Broken {
    Broken::Protocol(format!("more than {bytes_max} bytes in answer to one command"))
}

/// Gives a continuation as async-imap can take it: what is no base64 becomes empty.
fn challenge(text: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let words = text[1..].trim_ascii();
    let valid = base64::engine::general_purpose::STANDARD.decode(words).is_ok();
    [&b"+ "[..], if valid { words } else { b"" }, b"\r\n"].concat()
}

/// Gives the words with which a server hangs up. hMailServer leaves out the status: "* Too many invalid logon attempts."
/// (IMAPConnection.cpp).
fn bye(response: &Response) -> Option<&[u8]> {
    let text = &response.text;
    match starts_with(text, b"* BYE") {
        true => Some(text[5..].trim_ascii()),
        false => starts_with(text, b"* Too many ").then(|| text[2..].trim_ascii()),
    }
}

/// Reads `[CAPABILITY …]` at the start of a status line's words.
pub(super) fn capability_code(words: &[u8]) -> Option<Capabilities> {
    if !starts_with(words, b"[CAPABILITY ") {
        return None;
    }
    let inside = &words[12..];
    let end = inside.iter().position(|byte| *byte == b']')?;
    Some(Capabilities::parse(&inside[..end]))
}

/// Finds a numeric response code such as `[UIDNEXT 5]` in the words of a status line.
pub(super) fn numeric_code(words: &[u8], name: &[u8]) -> Option<u64> {
    let inside = words.strip_prefix(b"[")?;
    if !starts_with(inside, name) || inside.get(name.len()) != Some(&b' ') {
        return None;
    }
    let digits = inside[name.len() + 1..].split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A quoted string can hold it: no control and no 8-bit bytes (RFC 9051, 9: `quoted`).
pub(super) fn quotable(name: &[u8]) -> bool {
    name.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

pub(super) fn push_quoted(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    for byte in name {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Gives the values after `* WORD` of an untagged response.
pub(super) fn untagged<'a>(response: &'a Response, word: &[u8]) -> Option<Tokens<'a>> {
    let mut tokens = Tokens::new(response);
    (tokens.word() == b"*" && tokens.word().eq_ignore_ascii_case(word)).then_some(tokens)
}

/// Gives number and values of `* n WORD …`.
pub(super) fn numbered<'a>(response: &'a Response, word: &[u8]) -> Option<(u32, Tokens<'a>)> {
    let mut tokens = Tokens::new(response);
    if tokens.word() != b"*" {
        return None;
    }
    let number = std::str::from_utf8(tokens.word()).ok()?.parse().ok()?;
    tokens.word().eq_ignore_ascii_case(word).then_some((number, tokens))
}

/// A name in upper case. Longer ones than any that is looked for are cut.
pub(super) struct Upper {
    bytes: [u8; 16],
    length: usize,
}

impl Upper {
    fn of(name: &[u8]) -> Self {
        let mut bytes = [0; 16];
        let length = name.len().min(bytes.len());
        bytes[..length].copy_from_slice(&name[..length]);
        bytes.make_ascii_uppercase();
        Self { bytes, length }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads `name value name value …` of a parenthesised list.
pub(super) fn pairs<'v, 'a>(values: &'v [Value<'a>]) -> impl Iterator<Item = (Upper, &'v Value<'a>)> {
    values.chunks_exact(2).filter_map(|pair| Some((Upper::of(pair[0].name()?), &pair[1])))
}
