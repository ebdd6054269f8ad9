//! Modified UTF-7, the form of folder names on the wire (RFC 3501, 5.1.3). Strict both ways: what decodes encodes to the
//! same bytes again.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// Writes a name: printable ASCII as it is, `&` as `&-`, everything else in shifts of UTF-16.
pub(crate) fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    let unshift = |shifted: &mut Vec<u8>, out: &mut String| {
        if !shifted.is_empty() {
            out.push('&');
            BASE64.encode_string(&*shifted, out);
            out.push('-');
            shifted.clear();
        }
    };
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            unshift(&mut shifted, &mut out);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            shifted.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    unshift(&mut shifted, &mut out);
    out
}

/// Reads a name. None for what no strict encoder writes: 8-bit or control bytes, a shift that does not end, half
/// characters, printable ASCII within a shift, two shifts in a row.
pub(crate) fn decode(wire: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(wire.len());
    let mut rest = std::str::from_utf8(wire).ok()?;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (shift, after) = rest[at + 1..].split_once('-')?;
        if shift.is_empty() {
            out.push('&');
        } else {
            let bytes = BASE64.decode(shift).ok()?;
            if bytes.len() % 2 != 0 {
                return None;
            }
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            for c in char::decode_utf16(units) {
                out.push(c.ok()?);
            }
        }
        rest = after;
    }
    out.push_str(rest);
    (encode(&out).as_bytes() == wire).then_some(out)
}

/// Reads a name for people, whatever it is: modified UTF-7, else UTF-8 as some servers send it, else Latin-1.
pub(crate) fn decode_any(wire: &[u8]) -> String {
    decode(wire).unwrap_or_else(|| match std::str::from_utf8(wire) {
        Ok(text) => text.to_owned(),
        Err(_) => wire.iter().map(|byte| char::from(*byte)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_read_and_write_alike() {
        for (wire, name) in [
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("R&-D", "R&D"),
            ("B&APw-ro", "Büro"),
            ("&2D3eAA-", "😀"),
            ("a\"b\\c", "a\"b\\c"),
            ("&AAk-", "\t"),
            ("", ""),
        ] {
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name), "{wire}");
            assert_eq!(encode(name), wire);
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for wire in [
            &b"R&D"[..],
            b"VALERIA&-MATTEO&",
            b"&AGE-",
            b"&APw-&APw-",
            b"&2D0-",
            b"&AP-",
            b"B\xc3\xbcro",
            b"&AP/-",
            b"&APx-",
            b"a\tb",
        ] {
            assert_eq!(decode(wire), None, "{}", wire.escape_ascii());
        }
        assert_eq!(decode_any(b"R&D"), "R&D");
        assert_eq!(decode_any("Büro".as_bytes()), "Büro");
        assert_eq!(decode_any(b"B\xfcro"), "Büro");
    }

    proptest! {
        #[test]
        fn every_name_survives(name in any::<String>()) {
            prop_assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }

        #[test]
        fn no_bytes_decode_to_a_name_that_encodes_otherwise(wire in prop::collection::vec(b' '..=b'~', 0..20)) {
            if let Some(name) = decode(&wire) {
                prop_assert_eq!(encode(&name).into_bytes(), wire);
            }
        }
    }
}
