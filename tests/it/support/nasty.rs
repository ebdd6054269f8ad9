//! Mail that nobody would send and somebody has kept: the same for the same seed.

use fastrand::Rng;

/// Whole messages that are odd as they stand.
const ODD: &[&[u8]] = &[
    b"",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b".",
    b".\r\n",
    b"x",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r\n\r\r\n",
    b"\0",
    b"\0\0\0\0",
    b"Subject: only a header",
    b"Subject: only a header\r\n",
    b"Subject: only a header\r\n\r\n",
    b"Subject: ends in CR\r\n\r\nx\r",
    b"Subject: ends in CRCRLF\r\n\r\nx\r\r\n",
    b"Subject: ends in NUL\r\n\r\nx\0",
    b": no name\r\n\r\nx\r\n",
    b"no colon\r\n\r\nx\r\n",
    b"A b: space in the name\r\n\r\nx\r\n",
    b"A\t: tab before the colon\r\n\r\nx\r\n",
    b"\x01\x02: control in the name\r\n\r\nx\r\n",
    b"\xfc\xf6: eight bits in the name\r\n\r\nx\r\n",
    b" begins with a fold\r\nSubject: x\r\n\r\nx\r\n",
    b"\tbegins with a tab\r\n\r\nx\r\n",
    b"Subject: folded into nothing\r\n \r\n\t\r\n\r\nx\r\n",
    b"Subject: \xfcber 8 bits \xe4\r\n\r\nx\r\n",
    b"Subject: 8 bits folded\r\n \xc3\xbc\r\n\r\nx\r\n",
    b"Subject: NUL \0 in the header\r\n\r\nx\r\n",
    b"Subject: bare LF in the header\nTo: a\r\n\r\nx\r\n",
    b"Subject: bare CR \r in the header\r\n\r\nx\r\n",
    b"From a@b Mon Jan  5 10:00:00 2015\r\nSubject: From line first\r\n\r\nx\r\n",
    b">From a@b Mon Jan  5 10:00:00 2015\r\nSubject: quoted From line first\r\n\r\nx\r\n",
    b"Subject: From in the body\r\n\r\nFrom here on\r\n>From here\r\n\r\nFrom a@b Mon Jan  5 10:00:00 2015\r\n",
    b"Status: RO\r\nX-Status: F\r\nX-UID: 7\r\nX-Keywords: a\r\nContent-Length: 3\r\nX-IMAP: 1 2\r\n\r\nmore than 3\r\n",
    b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\nX-IMAPbase: 1 2\r\n\r\nx\r\n",
    b"Bcc: hidden@x\r\nReturn-Path: <a>\r\nDelivered-To: x\r\nX-IMAP-Sender: x\r\n\r\nx\r\n",
    b"Subject: a literal {12}\r\n\r\n)\r\nt1 OK done\r\nA1 BAD no\r\n* 3 FETCH (UID 3 BODY[] {5}\r\nhello)\r\n* BYE\r\n+ go\r\n{10}",
    b"Subject: ends like a literal\r\n\r\n{3}\r\n",
    b"Subject: ends like a literal\r\n\r\n{3+}",
    b"Subject: commands\r\n\r\na1 DELETE INBOX\r\na2 LOGOUT\r\na3 APPEND INBOX {3}\r\nabc\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.x\r\n\r\n.\r\n",
    b"Subject: trailing space \t \r\n\r\n \r\n\t\r\nx \r\n  ",
    b"Subject: control\r\n\r\n\x01\x02\x03\x07\x08\x0b\x0c\x0e\x1a\x1b[31m\x7f\x80\x9b31m\xff\xfe\r\n",
    b"Message-ID: <[x]@..>\r\nMessage-ID: <>\r\nMessage-ID: \xfc\r\nDate: 12-FEB-25\r\nSubject:\r\n\r\nx\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n====\r\n\xff\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n=0D=0A= \r\n",
    b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n----\r\n",
    b"Content-Type: message/rfc822\r\n\r\n\r\n\r\n\r\n",
    b"Content-Type: text/plain; charset=\"\r\n\r\nunclosed\r\n",
];

/// What is put at random places.
const BITS: &[&[u8]] = &[
    b"\0",
    b"\r",
    b"\n",
    b"\r\r\n",
    b"\n\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\xfc",
    b"\xc3\xbc",
    b"\x1b[0m",
    b"\x1a",
    b".\r\n",
    b"\r\n.\r\n",
    b"\r\nFrom ",
    b")",
    b"{9}\r\n",
    b"\r\nt1 OK\r\n",
    b" ",
    b"\t",
    b":",
    b"\"",
    b"\\",
    b"\x7f",
];

/// Makes every odd message and so many more that are broken by chance.
pub(crate) fn mail(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut chance = Rng::with_seed(seed);
    let mut all: Vec<Vec<u8>> = ODD.iter().map(|message| message.to_vec()).collect();
    for length in [998, 9_999, 16_384, 65_536, 300_000] {
        let line = |filler: u8| vec![filler; length];
        all.push([b"Subject: ".as_slice(), &line(b'h'), b"\r\n\r\nx\r\n"].concat());
        all.push([b"Subject: long\r\n\r\n".as_slice(), &line(b'b'), b"\r\nend"].concat());
        all.push([b"Subject: long\r\n\r\n".as_slice(), &line(0xe4), b"\r\n"].concat());
        all.push([b"Subject: folds\r\n".as_slice(), &b" f\r\n".repeat(length / 4), b"\r\nx\r\n"].concat());
    }
    all.extend((0..count).map(|number| broken(&mut chance, seed, number)));
    all
}

fn broken(chance: &mut Rng, seed: u64, number: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for field in ["From", "To", "Subject", "Date", "X-Long", "MIME-Version"] {
        message.extend_from_slice(format!("{field}: {seed} {number}").as_bytes());
        for _ in 0..chance.usize(0..4) {
            let fold: &[u8] = [b"\r\n ".as_slice(), b"\r\n\t", b" \r\n  ", b" "][chance.usize(0..4)];
            message.extend_from_slice(fold);
            message.extend((0..chance.usize(0..60)).map(|_| chance.u8(b'!'..=b'~')));
        }
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"\r\n");
    for _ in 0..chance.usize(0..12) {
        message.extend((0..chance.usize(0..90)).map(|_| chance.u8(b' '..=b'~')));
        message.extend_from_slice(b"\r\n");
    }
    for _ in 0..chance.usize(0..4) {
        let at = chance.usize(0..=message.len());
        message.splice(at..at, BITS[chance.usize(0..BITS.len())].iter().copied());
    }
    if chance.u8(0..4) == 0 {
        message.truncate(chance.usize(0..=message.len()));
    }
    message
}
