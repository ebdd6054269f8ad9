//! A message's bytes on their way: in memory while small, in an unlinked file only the owner can read while large.
//!
//! Invariants: all bodies in memory together stay under one budget; the digest is known before anything is sent; the
//! bytes are the literal's and nothing else.

use super::room::{Held, Part};
use super::wire::Broken;
use crate::mail::{Digest, Likeness, header_digest};
use sha2::{Digest as _, Sha256};
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Written to a spool file or read from it at once: each time is work for another thread.
const AT_ONCE: usize = 512 * 1024;
/// Gone through at once where a body is read again.
const PIECE: usize = 64 * 1024;
/// As much of a header as goes into its digest.
const HEADER_MAX: usize = 256 * 1024;

/// Where bodies may stay while they are on their way.
#[derive(Clone)]
pub struct BodyRoom {
    memory: Arc<Semaphore>,
    /// Bytes the whole budget has.
    budget: u32,
    spool_above: u64,
    spool: PathBuf,
    sharers: Arc<AtomicUsize>,
    /// None: it may all be held at once.
    part: Option<Arc<Part>>,
}

impl BodyRoom {
    /// Makes room for `memory` bytes in memory; bodies above `spool_above` bytes, or above the budget, go to files in
    /// `spool`.
    #[must_use]
    pub fn new(memory: u64, spool_above: u64, spool: &Path) -> Self {
        let budget = u32::try_from(memory).unwrap_or(u32::MAX).min(Semaphore::MAX_PERMITS as u32);
        let memory = Arc::new(Semaphore::new(budget as usize));
        Self { memory, budget, spool_above, spool: spool.to_owned(), sharers: Arc::default(), part: None }
    }

    /// Gives the part of one more who shares the memory: nobody holds so much of it that others find none.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { part: Some(Part::new(&self.sharers, self.budget.into())), ..self.clone() }
    }

    /// Waits for room in memory where the body is to stay there.
    pub(super) async fn writer(&self, size: u64) -> Result<BodyWriter, Broken> {
        let Some(small) = self.small(size) else { return self.spooling().await };
        let held = match &self.part {
            Some(part) => Some(part.take(size).await),
            None => None,
        };
        // The semaphore is never closed.
        let permit = Arc::clone(&self.memory).acquire_many_owned(small).await.map_err(|_| Broken::Eof)?;
        Ok(BodyWriter::new(Store::Memory(Vec::with_capacity(small as usize), (permit, held))))
    }

    /// Waits for nothing: where there is no room in memory the body goes to a file.
    pub(super) async fn writer_at_once(&self, size: u64) -> Result<BodyWriter, Broken> {
        let Some(small) = self.small(size) else { return self.spooling().await };
        let held = self.part.as_ref().map(|part| part.take_at_once(size));
        let has_part = held.as_ref().is_none_or(Option::is_some);
        match Arc::clone(&self.memory).try_acquire_many_owned(small) {
            Ok(permit) if has_part => {
                let room = (permit, held.flatten());
                Ok(BodyWriter::new(Store::Memory(Vec::with_capacity(small as usize), room)))
            }
            _ => self.spooling().await,
        }
    }

    /// Gives the size of a body that may stay in memory.
    fn small(&self, size: u64) -> Option<u32> {
        let most = self.part.as_ref().map_or(self.budget.into(), |part| part.bytes_max());
        u32::try_from(size).ok().filter(|_| size <= self.spool_above && size <= most)
    }

    async fn spooling(&self) -> Result<BodyWriter, Broken> {
        Ok(BodyWriter::new(Store::Spool(self.spool_file().await.map_err(Broken::Local)?)))
    }

    async fn spool_file(&self) -> std::io::Result<File> {
        let directory = self.spool.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(directory)).await;
        Ok(File::from_std(file.map_err(std::io::Error::other)??))
    }
}

enum Store {
    Memory(
        Vec<u8>,
        #[allow(dead_code, reason = "held for as long as the bytes are")] (OwnedSemaphorePermit, Option<Held>),
    ),
    Spool(File),
}

/// What is odd about a message's bytes: what some server is known to alter or refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits {
    /// A NUL: Dovecot gives 0x80 for it, Cyrus refuses it.
    pub nul: bool,
    /// An LF without CR before it: Cyrus refuses it, others add the CR.
    pub bare_lf: bool,
    /// A CR without LF after it: Dovecot drops some.
    pub bare_cr: bool,
    /// A byte beyond ASCII in the header: Cyrus stores `X`.
    pub eight_bit_header: bool,
    /// The last line has no end: some servers add one.
    pub unended: bool,
}

impl Traits {
    /// Says whether some server is known to alter such a message without a word.
    #[must_use]
    pub fn is_risky(self) -> bool {
        self != Self::default()
    }
}

#[derive(Default)]
struct Scan {
    traits: Traits,
    last: u8,
}

impl Scan {
    fn feed(&mut self, bytes: &[u8], header: bool) {
        if header && !self.traits.eight_bit_header {
            self.traits.eight_bit_header = !bytes.is_ascii();
        }
        let Some((first, rest)) = bytes.split_first() else { return };
        self.pairs(&[self.last], &[*first]);
        self.pairs(&bytes[..rest.len()], rest);
        self.last = rest.last().copied().unwrap_or(*first);
    }

    /// Looks at bytes and at the one after each of them; without a branch, so that many are compared at once.
    fn pairs(&mut self, before: &[u8], after: &[u8]) {
        let (mut nul, mut bare_lf, mut bare_cr) = (false, false, false);
        for (before, after) in before.iter().zip(after) {
            let (cr, lf) = (*before == b'\r', *after == b'\n');
            nul |= *after == 0;
            bare_lf |= lf & !cr;
            bare_cr |= cr & !lf;
        }
        self.traits.nul |= nul;
        self.traits.bare_lf |= bare_lf;
        self.traits.bare_cr |= bare_cr;
    }
}

pub(super) struct BodyWriter {
    store: Store,
    /// For the file.
    unwritten: Vec<u8>,
    length: u64,
    sha: Sha256,
    header: Vec<u8>,
    header_ended: bool,
    /// It goes on beyond what is kept.
    header_cut: bool,
    scan: Scan,
}

impl BodyWriter {
    fn new(store: Store) -> Self {
        Self {
            store,
            unwritten: Vec::new(),
            length: 0,
            sha: Sha256::new(),
            header: Vec::new(),
            header_ended: false,
            header_cut: false,
            scan: Scan::default(),
        }
    }

    pub(super) async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.length += bytes.len() as u64;
        self.sha.update(bytes);
        let (header, rest) = bytes.split_at(self.header_part(bytes));
        self.scan.feed(header, true);
        self.scan.feed(rest, false);
        match &mut self.store {
            Store::Memory(buffer, _) => buffer.extend_from_slice(bytes),
            Store::Spool(file) => {
                self.unwritten.extend_from_slice(bytes);
                if self.unwritten.len() >= AT_ONCE {
                    file.write_all(&self.unwritten).await.map_err(Broken::Local)?;
                    self.unwritten.clear();
                }
            }
        }
        Ok(())
    }

    /// Gives how many of these bytes belong to the header, and keeps them.
    fn header_part(&mut self, bytes: &[u8]) -> usize {
        if self.header_ended {
            return 0;
        }
        /// Copied at once: most headers end within a few of these, and the body is not copied with them.
        const PIECE: usize = 1024;
        let begin = self.header.len();
        let room = HEADER_MAX.saturating_sub(begin).min(bytes.len());
        for piece in bytes[..room].chunks(PIECE) {
            let from = self.header.len().saturating_sub(3);
            self.header.extend_from_slice(piece);
            if let Some(end) = header_end(&self.header[from..], from == 0) {
                self.header_ended = true;
                self.header.truncate(from + end);
                return (from + end).saturating_sub(begin);
            }
        }
        self.header_ended = self.header.len() == HEADER_MAX;
        self.header_cut = self.header_ended;
        bytes.len()
    }

    pub(super) async fn finish(mut self) -> Result<Body, Broken> {
        if let Store::Spool(mut file) = self.store {
            file.write_all(&self.unwritten).await.map_err(Broken::Local)?;
            file.flush().await.map_err(Broken::Local)?;
            // Its buffer for writing is as large as what was written at once.
            self.store = Store::Spool(File::from_std(file.into_std().await));
        }
        self.scan.traits.bare_cr |= self.scan.last == b'\r';
        self.scan.traits.unended = self.length > 0 && self.scan.last != b'\n';
        Ok(Body {
            store: self.store,
            length: self.length,
            digest: Digest(self.sha.finalize().into()),
            // Of a part it would be another than of all that a server gives of these fields.
            header: if self.header_cut { None } else { header_digest(&self.header) },
            subject: field(&self.header, b"subject"),
            date: field(&self.header, b"date"),
            traits: self.scan.traits,
        })
    }
}

/// Finds the end of the empty line that ends a header; `start`: the bytes begin a line.
fn header_end(bytes: &[u8], start: bool) -> Option<usize> {
    if start {
        if bytes.starts_with(b"\r\n") {
            return Some(2);
        }
        if bytes.first() == Some(&b'\n') {
            return Some(1);
        }
    }
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Gives a field's first line, for people; empty where there is none.
pub(super) fn field(header: &[u8], name: &[u8]) -> String {
    let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', header).map(|end| end + 1));
    let line = starts.map(|start| &header[start..]).find(|line| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && line.get(name.len()) == Some(&b':')
    });
    line.map(|line| {
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        crate::failure::harmless(&line[name.len() + 1..end])
    })
    .unwrap_or_default()
}

/// To whom a message is addressed, and whether its sender wants to know that it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients {
    /// The fields To and Cc, as they stand there.
    pub fields: String,
    /// It asks for a receipt (RFC 8098, or the older Return-Receipt-To).
    pub asks_receipt: bool,
}

impl Recipients {
    pub(super) fn read(header: &[u8]) -> Self {
        let (mut fields, mut asks_receipt, mut skipped) = (Vec::new(), false, false);
        for line in header.split_inclusive(|byte| *byte == b'\n') {
            if !line.starts_with(b" ") && !line.starts_with(b"\t") {
                skipped = [&b"disposition-notification-to:"[..], b"return-receipt-to:"]
                    .iter()
                    .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
                asks_receipt |= skipped;
            }
            if !skipped {
                fields.extend_from_slice(line);
            }
        }
        Self { fields: String::from_utf8_lossy(&fields).into_owned(), asks_receipt }
    }
}

/// What was read from a spool file, from where on.
#[derive(Default)]
pub(super) struct Spooled {
    bytes: Vec<u8>,
    from: u64,
}

/// A message's bytes, whole.
pub struct Body {
    store: Store,
    length: u64,
    digest: Digest,
    header: Option<Digest>,
    subject: String,
    date: String,
    traits: Traits,
}

impl Body {
    /// Gives the number of bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives the digest of all bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives the digest of the header's key fields ([`header_digest`]); None for a header too long to be kept.
    #[must_use]
    pub fn header(&self) -> Option<Digest> {
        self.header
    }

    /// Gives the subject as it stands in the header, for people.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Gives the Date field as it stands in the header, for people.
    #[must_use]
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Gives what is odd about it.
    #[must_use]
    pub fn traits(&self) -> Traits {
        self.traits
    }

    /// Gives the digest of the first `length` bytes, of all where there are not as many, and whether the rest holds anything
    /// but white space and NUL; where the beginning does not, any rest counts.
    ///
    /// # Errors
    /// What hinders reading the spool file.
    pub async fn beginning(&mut self, length: u64) -> std::io::Result<(Digest, bool)> {
        let mut sha = Sha256::new();
        let blank = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0);
        let (mut at, mut spooled, mut said, mut says_more) = (0, Spooled::default(), false, false);
        while at < self.length {
            let piece = self.piece(PIECE, at, &mut spooled).await?;
            let inside = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
            let (first, rest) = piece.split_at(inside);
            sha.update(first);
            said |= !blank(first);
            says_more |= !blank(rest);
            at += piece.len() as u64;
        }
        Ok((Digest(sha.finalize().into()), says_more || !said))
    }

    /// Writes the bytes to a file, as the server gave them.
    ///
    /// # Errors
    /// What hinders reading or writing; the file may hold a part then.
    pub async fn save(&mut self, file: &mut File) -> std::io::Result<()> {
        let (mut at, mut spooled) = (0, Spooled::default());
        while at < self.length {
            let piece = self.piece(PIECE, at, &mut spooled).await?;
            file.write_all(piece).await?;
            at += piece.len() as u64;
        }
        file.flush().await
    }

    /// Reads the bytes once more and gives their [`Likeness`].
    ///
    /// # Errors
    /// What hinders the spool file.
    pub async fn likeness(&mut self) -> std::io::Result<Digest> {
        let (mut likeness, mut spooled, mut at) = (Likeness::default(), Spooled::default(), 0);
        while at < self.length {
            let piece = self.piece(PIECE, at, &mut spooled).await?;
            likeness.update(piece);
            at += piece.len() as u64;
        }
        Ok(likeness.finish())
    }

    /// Gives bytes from `at` on, at most so many; `at` is 0 first, then where the last piece ended. What is read from a file stands
    /// in `spooled`. Where there are fewer than its length says, that is an error.
    pub(super) async fn piece<'a>(
        &'a mut self,
        most: usize,
        at: u64,
        spooled: &'a mut Spooled,
    ) -> std::io::Result<&'a [u8]> {
        let length = (most as u64).min(self.length - at) as usize;
        match &mut self.store {
            Store::Memory(bytes, _) => {
                let piece = bytes.get(at as usize..at as usize + length);
                piece.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
            }
            Store::Spool(file) => {
                if at == 0 {
                    file.seek(SeekFrom::Start(0)).await?;
                }
                if at == 0 || at == spooled.from + spooled.bytes.len() as u64 {
                    spooled.from = at;
                    spooled.bytes.resize((AT_ONCE as u64).min(self.length - at) as usize, 0);
                    file.read_exact(&mut spooled.bytes).await?;
                }
                let from = at.saturating_sub(spooled.from) as usize;
                let to = (from + length).min(spooled.bytes.len());
                // An empty piece would be asked for again and again.
                let piece = spooled.bytes.get(from..to).filter(|piece| !piece.is_empty());
                piece.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::digest;

    async fn body(bytes: &[u8], step: usize, spool_above: u64) -> Body {
        let room = BodyRoom::new(1 << 20, spool_above, &std::env::temp_dir());
        let mut writer = room.writer(bytes.len() as u64).await.unwrap();
        for piece in bytes.chunks(step) {
            writer.chunk(piece).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    async fn bytes(body: &mut Body) -> Vec<u8> {
        let (mut all, mut spooled) = (vec![], Spooled::default());
        while (all.len() as u64) < body.length() {
            all.extend_from_slice(body.piece(PIECE, all.len() as u64, &mut spooled).await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn bytes_and_digests_are_the_same_however_they_arrive_and_wherever_they_stay() {
        let mut message = b"Subject: x\r\nDate: d\r\n\r\n".to_vec();
        message.extend((0..200_000u32).flat_map(u32::to_be_bytes));
        for (step, spool_above) in [(1 << 20, 1 << 20), (7, 1 << 20), (65_536, 0), (1013, 1000)] {
            let mut body = body(&message, step, spool_above).await;
            assert_eq!(body.digest(), digest(&message));
            assert_eq!(body.header(), header_digest(b"Subject: x\r\nDate: d\r\n\r\n"));
            assert_eq!((body.subject(), body.date()), ("x", "d"));
            assert!(bytes(&mut body).await == message);
            for length in [0, 1, 65_536, 70_001, message.len(), message.len() + 9] {
                let beginning = &message[..length.min(message.len())];
                let says_more = length < message.len();
                assert_eq!(body.beginning(length as u64).await.unwrap(), (digest(beginning), says_more));
            }
        }
    }

    #[tokio::test]
    async fn what_ends_in_blank_lines_says_no_more_after_them() {
        let mut body = body(b"A: b\r\n\r\nc\r\n \r\n\0\r\n", 3, 1 << 20).await;
        for (length, says_more) in [(0, true), (8, true), (9, false), (11, false), (99, false)] {
            assert_eq!(body.beginning(length).await.unwrap().1, says_more, "{length}");
        }
    }

    #[tokio::test]
    async fn oddities_are_found_across_pieces() {
        let plain = Traits::default();
        for (message, traits) in [
            (&b"A: b\r\n\r\nc\r\n"[..], plain),
            (b"", plain),
            (b"A: b\r\n\r\nc\0\r\n", Traits { nul: true, ..plain }),
            (b"A: b\n\r\nc\r\n", Traits { bare_lf: true, ..plain }),
            (b"A: b\r\n\r\nc\r\r\n", Traits { bare_cr: true, ..plain }),
            (b"A: b\r\n\r\nc\r", Traits { bare_cr: true, unended: true, ..plain }),
            (b"A: \xfc\r\n\r\nc\r\n", Traits { eight_bit_header: true, ..plain }),
            (b"A: b\r\n\r\n\xfc\r\n", plain),
            (b"\r\n\xfc\r\n", plain),
            (b"A: b\r\n\r\nc", Traits { unended: true, ..plain }),
        ] {
            for step in 1..6 {
                assert_eq!(body(message, step, 1 << 20).await.traits(), traits, "{}", message.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn f06_a_header_without_end_is_not_kept_whole() {
        let room = BodyRoom::new(1 << 20, 0, &std::env::temp_dir());
        let mut writer = room.writer(u64::MAX).await.unwrap();
        for _ in 0..100 {
            writer.chunk(&b"X-A: folded\r\n ".repeat(1000)).await.unwrap();
        }
        assert!(writer.header.len() <= HEADER_MAX);
    }

    #[tokio::test]
    async fn f83_memory_is_given_back_with_the_body() {
        let room = BodyRoom::new(100, 1000, &std::env::temp_dir());
        let first = room.writer(100).await.unwrap();
        assert!(room.memory.try_acquire().is_err());
        drop(first.finish().await.unwrap());
        assert_eq!(room.memory.available_permits(), 100);
        assert!(matches!(room.writer(101).await.unwrap().store, Store::Spool(_)));
    }
}
