//! Identity by content: digests of a message's bytes and of its header.

use super::Digest;
use sha2::{Digest as _, Sha256};

/// Header fields that stay the same when a server rewrites a message's outside: trace and delivery fields are not among
/// them.
pub const KEY_FIELDS: [&str; 7] = ["Message-ID", "Date", "From", "To", "Cc", "Subject", "In-Reply-To"];

/// Gives the digest of a whole message.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Gives the digest of the normalised [`KEY_FIELDS`] of a header, or None where it has none of them.
///
/// Normal form: names in lower case, folded lines joined, white space collapsed, bytes beyond ASCII as `X` (Cyrus stores
/// them so), sorted. A Message-ID that imapsync gave to a message without one is none. `header` may be a whole message:
/// reading ends at the first empty line.
#[must_use]
pub fn header_digest(header: &[u8]) -> Option<Digest> {
    /// The fields of most messages take less.
    const ROOM: usize = 1024;
    // One after the other, so that a message costs few allocations; each ends where the next begins.
    let (mut text, mut starts) = (Vec::with_capacity(header.len().min(ROOM)), Vec::with_capacity(KEY_FIELDS.len()));
    let mut open = false;
    for line in lines(header) {
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') {
            if open {
                push_normal(&mut text, line);
            }
            continue;
        }
        let colon = memchr::memchr(b':', line);
        let name = colon.map(|colon| line[..colon].trim_ascii_end());
        open = name.is_some_and(|name| KEY_FIELDS.iter().any(|key| name.eq_ignore_ascii_case(key.as_bytes())));
        if open && let (Some(name), Some(colon)) = (name, colon) {
            starts.push(text.len());
            text.extend(name.iter().map(u8::to_ascii_lowercase));
            text.push(b':');
            push_normal(&mut text, &line[colon + 1..]);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let mut fields: Vec<&[u8]> = starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect();
    fields.retain(|field| !is_given(field));
    fields.sort_unstable();
    let (first, others) = fields.split_first()?;
    let mut sha = Sha256::new_with_prefix(first);
    for field in others {
        sha.update(b"\n");
        sha.update(field);
    }
    Some(Digest(sha.finalize().into()))
}

/// Gives the lines of a header without their ends.
fn lines(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = memchr::memchr(b'\n', bytes);
        rest = end.map(|end| &bytes[end + 1..]);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

/// Says whether a line is one that imapsync adds to messages without Message-ID and Received: `Message-Id: <12@imapsync>`.
fn is_given(line: &[u8]) -> bool {
    const NAME: &[u8] = b"message-id:";
    let Some((name, value)) = line.split_at_checked(NAME.len()) else { return false };
    let number = value.trim_ascii().strip_prefix(b"<").and_then(|value| value.strip_suffix(b"@imapsync>"));
    name.eq_ignore_ascii_case(NAME) && number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

/// Says whether a line is the mark by which mbsync finds again what it has appended: `X-TUID: ` and twelve characters.
fn is_tuid(line: &[u8]) -> bool {
    line.len() == 20 && line.starts_with(b"X-TUID: ")
}

/// Takes a message's bytes and gives a digest that is the same for all that servers and tools are known to make of it:
/// other line ends, none at the end, NUL as 0x80 (Dovecot), bytes beyond ASCII in the header as `X` (Cyrus), lines that
/// imapsync and mbsync add to the header.
///
/// Two messages of equal likeness are one message in two dresses; they need not have equal bytes.
pub struct Likeness {
    sha: Sha256,
    /// The line that is being read, while it may be one to leave out.
    line: Vec<u8>,
    /// The line is too long for that, and its beginning is taken already.
    long: bool,
    in_header: bool,
    /// What is read begins a line.
    at_start: bool,
    /// CRs that may belong to a line end.
    returns: usize,
}

impl Default for Likeness {
    fn default() -> Self {
        Self { sha: Sha256::new(), line: Vec::new(), long: false, in_header: true, at_start: true, returns: 0 }
    }
}

impl Likeness {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut from = 0;
        for at in memchr::memchr3_iter(b'\r', b'\n', 0, bytes) {
            self.plain(&bytes[from..at]);
            from = at + 1;
            match bytes[at] {
                b'\r' => self.returns += 1,
                b'\n' => self.end_line(),
                _ => self.plain(&[0x80]),
            }
        }
        self.plain(&bytes[from..]);
    }

    /// Gives the digest.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        if !self.at_start {
            self.end_line();
        }
        Digest(self.sha.finalize().into())
    }

    fn plain(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for _ in 0..std::mem::take(&mut self.returns) {
            self.put(b"\r");
        }
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        /// No line to leave out is longer.
        const LINE_MAX: usize = 64;
        self.at_start = false;
        if !self.in_header {
            return self.sha.update(bytes);
        }
        self.line.extend(bytes.iter().map(|byte| if byte.is_ascii() { *byte } else { b'X' }));
        if self.long || self.line.len() > LINE_MAX {
            self.long = true;
            self.sha.update(std::mem::take(&mut self.line));
        }
    }

    fn end_line(&mut self) {
        self.returns = 0;
        let line = std::mem::take(&mut self.line);
        let left_out = self.in_header && !std::mem::take(&mut self.long) && (is_given(&line) || is_tuid(&line));
        // The line that ends the header is empty in every dress, also where all before it was added.
        self.in_header &= !(self.at_start && line.is_empty());
        self.at_start = true;
        if !left_out {
            self.sha.update(&line);
            self.sha.update(b"\n");
        }
    }
}

fn push_normal(field: &mut Vec<u8>, text: &[u8]) {
    for word in text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
        field.push(b' ');
        field.extend(word.iter().map(|byte| if byte.is_ascii() { *byte } else { b'X' }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_order_and_trace_fields_do_not_matter() {
        let one = b"Received: a\r\nMessage-ID: <1@x>\r\nSubject: a b\r\n c\r\nDate: now\r\n\r\nbody";
        let two = b"X-New: 1\nDATE:now\nsubject :  a\n\tb c \nmessage-id:\n <1@x>\n\nother";
        assert_eq!(header_digest(one), header_digest(two));
        assert!(header_digest(one).is_some());
    }

    #[test]
    fn other_values_make_another_key_and_no_field_makes_none() {
        assert_ne!(header_digest(b"Subject: a\r\n\r\n"), header_digest(b"Subject: b\r\n\r\n"));
        assert_eq!(header_digest(b"X-A: 1\r\n\r\nSubject: in the body"), None);
        assert_eq!(header_digest(b"\r\nbody"), None);
        assert_eq!(header_digest(b""), None);
        assert_eq!(header_digest(b" leading\r\n\xff\xfe"), None);
    }

    fn likeness(message: &[u8], piece: usize) -> Digest {
        let mut likeness = Likeness::default();
        message.chunks(piece).for_each(|chunk| likeness.update(chunk));
        likeness.finish()
    }

    #[test]
    fn one_message_in_all_its_dresses_has_one_likeness() {
        let message = &b"Subject: gr\xfcn\r\nX-Long: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n\r\na\0b\r\nMessage-Id: <1@imapsync>\r\n\r\nend\r\n"[..];
        let text = |from: &[u8], to: &[u8]| -> Vec<u8> {
            let mut out = Vec::new();
            let mut rest = message;
            while let Some(at) = memchr::memmem::find(rest, from) {
                out.extend_from_slice(&rest[..at]);
                out.extend_from_slice(to);
                rest = &rest[at + from.len()..];
            }
            [out, rest.to_vec()].concat()
        };
        let dresses = [
            text(b"\r\n", b"\n"),
            text(b"\r\n", b"\r\r\n"),
            text(b"\0", b"\x80"),
            text(b"\xfc", b"X"),
            text(b"\r\nend\r\n", b"\r\nend"),
            [b"Message-Id: <4711@imapsync>\r\n", message].concat(),
            text(b"789\r\n\r\n", b"789\r\nX-TUID: abcdefgh+/12\r\n\r\n"),
        ];
        for piece in [1, 2, 7, 1000] {
            for dress in &dresses {
                assert_ne!(dress, message);
                assert_eq!(likeness(dress, piece), likeness(message, 1000), "{piece} {}", dress.escape_ascii());
            }
        }
        for other in [text(b"end", b"and"), text(b"<1@", b"<2@"), text(b"a\0b", b"ab"), text(b"X-Long", b"Y-Long")] {
            assert_ne!(likeness(&other, 1000), likeness(message, 1000), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_message_without_header_is_alike_with_one_that_was_added() {
        for message in [&b"\r\nbody\r\n"[..], b"no header at all\r\n", b"X-A: 1\r\n\r\nbody\r\n"] {
            let given = [b"Message-Id: <7@imapsync>\r\n", message].concat();
            assert_eq!(likeness(&given, 3), likeness(message, 3), "{}", given.escape_ascii());
            assert_eq!(header_digest(&given), header_digest(message));
        }
        let own = b"Message-Id: <7@imapsync.example>\r\n\r\n";
        assert!(header_digest(own).is_some() && likeness(own, 9) != likeness(b"\r\n", 9));
    }

    #[test]
    fn a_target_that_munges_8_bit_headers_keeps_the_key() {
        assert_eq!(header_digest(b"Subject: gr\xfcn\r\n\r\n"), header_digest(b"Subject: grXn\r\n\r\n"));
    }
}
