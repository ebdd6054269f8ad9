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
/// them so), sorted. `header` may be a whole message: reading ends at the first empty line.
#[must_use]
pub fn header_digest(header: &[u8]) -> Option<Digest> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for line in header.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') {
            if open && let Some(field) = fields.last_mut() {
                push_normal(field, line);
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let name = colon.map(|colon| line[..colon].trim_ascii_end());
        open = name.is_some_and(|name| KEY_FIELDS.iter().any(|key| name.eq_ignore_ascii_case(key.as_bytes())));
        if open && let (Some(name), Some(colon)) = (name, colon) {
            let mut field = name.to_ascii_lowercase();
            field.push(b':');
            push_normal(&mut field, &line[colon + 1..]);
            fields.push(field);
        }
    }
    fields.sort();
    (!fields.is_empty()).then(|| digest(&fields.join(&b"\n"[..])))
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

    #[test]
    fn a_target_that_munges_8_bit_headers_keeps_the_key() {
        assert_eq!(header_digest(b"Subject: gr\xfcn\r\n\r\n"), header_digest(b"Subject: grXn\r\n\r\n"));
    }
}
