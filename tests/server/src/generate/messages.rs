//! The messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{GenerateOptions, GeneratedMessage, Numbers};
use crate::dates;

type Make = fn(&mut Draft<'_>) -> Vec<u8>;

/// Kinds that every server should hold.
const CLEAN: &[(&str, Make)] = &[
    ("plain", plain),
    ("multipart with base64", multipart),
    ("8-bit body", eight_bit_body),
    ("long lines", long_lines),
    ("equal headers, other body", equal_headers),
    ("twin", plain),
    ("no final CRLF", no_final_crlf),
    ("looks like IMAP", looks_like_imap),
    ("ends like a literal", ends_like_literal),
    ("empty body", empty_body),
    ("dots", dots),
    ("odd header fields", odd_fields),
    ("no Message-ID", no_message_id),
    ("From lines", from_lines),
    ("many header lines", many_fields),
];

const HEADERLESS: &[(&str, Make)] = &[("no headers", no_headers), ("empty header", empty_header)];
const NUL: (&str, Make) = ("NUL", nul);
const EIGHT_BIT_HEADER: (&str, Make) = ("8-bit header", eight_bit_header);
const BARE_LF: (&str, Make) = ("bare LF", bare_lf);

const WORDS: [&str; 16] = [
    "invoice", "meeting", "tomorrow", "Rechnung", "offer", "please", "attached", "holiday", "server", "budget",
    "draft", "answer", "weekend", "report", "customer", "thanks",
];
const FLAGS: [&str; 5] = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted"];
const KEYWORDS: [&str; 6] = ["$Forwarded", "$MDNSent", "NonJunk", "Junk", "$label1", "Own-Label"];
/// Minutes east of Greenwich, the farthest and the oddest among them.
const ZONES: [i64; 11] = [0, 60, 120, -300, -480, 330, 345, 765, -210, 840, -720];

/// Makes one message after the other.
pub(super) struct Maker<'a> {
    seed: u64,
    options: &'a GenerateOptions,
    kinds: Vec<(&'static str, Make)>,
}

/// What a kind works with.
struct Draft<'a> {
    id: String,
    numbers: &'a mut Numbers,
    body_bytes: usize,
}

impl<'a> Maker<'a> {
    pub(super) fn new(seed: u64, options: &'a GenerateOptions) -> Self {
        let mut kinds = CLEAN.to_vec();
        if options.headerless {
            kinds.extend_from_slice(HEADERLESS);
        }
        let switched = [(options.nul, NUL), (options.eight_bit_headers, EIGHT_BIT_HEADER), (options.bare_lf, BARE_LF)];
        kinds.extend(switched.into_iter().filter(|(on, _)| *on).map(|(_, kind)| kind));
        Maker { seed, options, kinds }
    }

    /// Makes the message of a number; `before` are those already in its folder.
    pub(super) fn make(
        &mut self,
        number: usize,
        numbers: &mut Numbers,
        before: &[GeneratedMessage],
    ) -> GeneratedMessage {
        let (kind, make) = match self.kinds.get(number) {
            Some(&kind) => kind,
            // One in three is plain, as in life.
            None if numbers.below(3) == 0 => self.kinds[0],
            None => self.kinds[numbers.below(self.kinds.len() as u64) as usize],
        };
        let twin = before.last().filter(|_| kind == "twin");
        let bytes = match twin {
            Some(twin) => twin.bytes.clone(),
            None => {
                make(&mut Draft { id: format!("{number}.{}", self.seed), numbers, body_bytes: self.options.body_bytes })
            }
        };
        let flag_bits = number % 32;
        let picked = FLAGS.iter().enumerate().filter(|(bit, _)| flag_bits >> bit & 1 == 1).map(|(_, flag)| *flag);
        let flags = picked.filter(|flag| self.options.deleted || *flag != "\\Deleted").map(str::to_owned).collect();
        let keyword_bits = if numbers.below(2) == 0 { 0 } else { numbers.below(64) };
        let keywords = KEYWORDS.iter().enumerate().filter(|(bit, _)| keyword_bits >> bit & 1 == 1);
        let keywords = keywords.map(|(_, keyword)| (*keyword).to_owned()).collect();
        GeneratedMessage { kind, bytes, flags, keywords, internaldate: date(numbers) }
    }
}

/// From 1970-01-03, so that no zone leads before the epoch, to the end of 2024.
fn date(numbers: &mut Numbers) -> String {
    let at = 2 * 86_400 + numbers.below(1_735_000_000 - 2 * 86_400).cast_signed();
    dates::format(at, ZONES[numbers.below(ZONES.len() as u64) as usize])
}

impl Draft<'_> {
    fn word(&mut self) -> &'static str {
        WORDS[self.numbers.below(WORDS.len() as u64) as usize]
    }

    /// The usual fields, without the empty line.
    fn fields(&mut self) -> Vec<u8> {
        let (subject, more) = (self.word(), self.word());
        let date = date(self.numbers);
        format!(
            "From: Ann Example <ann@example.test>\r\nTo: bob@example.test\r\nSubject: {subject} {more}\r\n\
             Date: {}\r\nMessage-ID: <{}@example.test>\r\nMIME-Version: 1.0\r\n",
            date.trim_start().replacen('-', " ", 2),
            self.id
        )
        .into_bytes()
    }

    fn head(&mut self, more: &str) -> Vec<u8> {
        let mut head = self.fields();
        head.extend_from_slice(more.as_bytes());
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Lines of words: some, or as many as the options ask for.
    fn text(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut lines = 1 + self.numbers.below(12);
        while lines > 0 || text.len() < self.body_bytes {
            for _ in 0..=self.numbers.below(9) {
                text.extend_from_slice(self.word().as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(b".\r\n");
            lines = lines.saturating_sub(1);
        }
        text
    }

    fn with_text(&mut self, mut head: Vec<u8>) -> Vec<u8> {
        head.extend(self.text());
        head
    }
}

fn plain(draft: &mut Draft<'_>) -> Vec<u8> {
    let head = draft.head("Content-Type: text/plain; charset=us-ascii\r\n");
    draft.with_text(head)
}

fn multipart(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.head("Content-Type: multipart/mixed; boundary=\"=-b-=\"\r\n");
    bytes.extend_from_slice(b"This is a message in parts.\r\n--=-b-=\r\nContent-Type: text/plain\r\n\r\n");
    bytes.extend(draft.text());
    bytes.extend_from_slice(
        b"--=-b-=\r\nContent-Type: application/octet-stream; name=\"data.bin\"\r\n\
          Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"data.bin\"\r\n\r\n",
    );
    let count = 200 + draft.numbers.below(3000);
    let data: Vec<u8> = (0..count).map(|_| draft.numbers.draw() as u8).collect();
    for line in BASE64.encode(data).as_bytes().chunks(76) {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"--=-b-=--\r\n");
    bytes
}

fn eight_bit_body(draft: &mut Draft<'_>) -> Vec<u8> {
    let latin1 = draft.numbers.below(2) == 0;
    let charset = if latin1 { "iso-8859-1" } else { "utf-8" };
    let mut bytes =
        draft.head(&format!("Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n"));
    let greeting: &[u8] =
        if latin1 { b"Gr\xfc\xdfe aus K\xf6ln\r\n" } else { "Grüße, 日本語, 😀\r\n".as_bytes() };
    bytes.extend_from_slice(greeting);
    bytes.extend((0x80..=0xff_u8).flat_map(|byte| [byte, b' ']));
    bytes.extend_from_slice(b"\r\n");
    draft.with_text(bytes)
}

fn long_lines(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.head("");
    let count = 1000 + draft.numbers.below(3000) as usize;
    bytes.extend(std::iter::repeat_n(b'x', count));
    bytes.extend_from_slice(b"\r\n");
    draft.with_text(bytes)
}

fn equal_headers(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = b"From: quota@example.test\r\nTo: bob@example.test\r\nSubject: Your mailbox is nearly full\r\n\
        Date: Mon, 5 Jan 2015 10:00:00 +0000\r\nMessage-ID: <quota@example.test>\r\n\r\n"
        .to_vec();
    bytes.extend_from_slice(format!("Warning {}\r\n", draft.id).as_bytes());
    draft.with_text(bytes)
}

fn no_final_crlf(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = plain(draft);
    bytes.extend_from_slice(b"the end");
    bytes
}

fn looks_like_imap(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.head("X-Odd: )\r\nX-Literal: {12}\r\n");
    bytes.extend_from_slice(
        b")\r\nA1 OK APPEND completed\r\nA0001 OK Fetch completed.\r\n* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n\
          * BYE Logging out\r\n+ OK\r\n{12}\r\n BODY[] {3}\r\n\\\"\r\n~{5}\r\na LOGOUT\r\n",
    );
    bytes.extend(draft.text());
    bytes.extend_from_slice(b")\r\n");
    bytes
}

fn ends_like_literal(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = plain(draft);
    let end: &[u8] = if draft.numbers.below(2) == 0 { b"{10}" } else { b"{10}\r\n" };
    bytes.extend_from_slice(end);
    bytes
}

fn empty_body(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.fields();
    // With the empty line or without it.
    if draft.numbers.below(2) == 0 {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn dots(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.head("");
    bytes.extend_from_slice(b".\r\n..\r\n.leading\r\n\r\n.\r\n");
    draft.with_text(bytes)
}

fn odd_fields(draft: &mut Draft<'_>) -> Vec<u8> {
    let head = draft.head(
        "Subject:\r\nsubject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n folded\r\n\tand folded again\r\nX-Empty: \r\n\
         References: <a@x>\r\n <b@x>\r\nStatus: RO\r\nX-UID: 12\r\nContent-Length: 3\r\nX-Quote: \"a\\\"b\r\n",
    );
    draft.with_text(head)
}

fn no_message_id(draft: &mut Draft<'_>) -> Vec<u8> {
    let bytes = format!("From: ann@example.test\r\nSubject: {}\r\nDate: 12-FEB-25\r\n\r\n", draft.id).into_bytes();
    draft.with_text(bytes)
}

fn from_lines(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.head("");
    bytes.extend_from_slice(
        b"From ann@example.test Mon Jan  5 10:00:00 2015\r\n>From here on\r\nFrom: not a header\r\n",
    );
    draft.with_text(bytes)
}

fn many_fields(draft: &mut Draft<'_>) -> Vec<u8> {
    let received: String = (0..60)
        .map(|hop| format!("Received: from h{hop}.example.test by h{}.example.test;\r\n\tid {}\r\n", hop + 1, draft.id))
        .collect();
    let mut bytes = received.into_bytes();
    bytes.extend(draft.head(""));
    draft.with_text(bytes)
}

fn no_headers(draft: &mut Draft<'_>) -> Vec<u8> {
    let bytes = format!("Just a text without headers, number {}\r\n\r\nand a second paragraph\r\n", draft.id);
    draft.with_text(bytes.into_bytes())
}

fn empty_header(draft: &mut Draft<'_>) -> Vec<u8> {
    let bytes = format!("\r\nA text after an empty header, number {}\r\n", draft.id);
    draft.with_text(bytes.into_bytes())
}

fn nul(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = plain(draft);
    bytes.extend_from_slice(b"a NUL \0 and padding\0\0\0\r\n");
    bytes
}

fn eight_bit_header(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = draft.fields();
    bytes.extend_from_slice(b"X-Name: J\xf6rg M\xfcller\r\nX-Utf8: ");
    bytes.extend_from_slice("Grüße\r\n\r\n".as_bytes());
    draft.with_text(bytes)
}

fn bare_lf(draft: &mut Draft<'_>) -> Vec<u8> {
    let mut bytes = plain(draft);
    bytes.extend_from_slice(b"one line\nand another\n\nbare\n");
    bytes
}
