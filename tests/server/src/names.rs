//! Mailbox names: LIST patterns, and the strict reading of modified UTF-7.

/// Tells whether a name matches a LIST pattern: `*` is anything, `%` anything but the separator (RFC 3501 section 6.3.8).
pub(crate) fn matches(pattern: &[u8], name: &[u8], separator: u8) -> bool {
    // The set of places in the pattern that the name so far can have led to; linear for every pattern.
    let mut at = vec![false; pattern.len() + 1];
    at[0] = true;
    skip_wildcards(pattern, &mut at);
    for &byte in name {
        let mut next = vec![false; pattern.len() + 1];
        for (place, &wild) in pattern.iter().enumerate() {
            if !at[place] {
                continue;
            }
            match wild {
                b'*' => next[place] = true,
                b'%' => next[place] = byte != separator,
                literal => next[place + 1] = next[place + 1] || literal == byte,
            }
        }
        skip_wildcards(pattern, &mut next);
        at = next;
    }
    at[pattern.len()]
}

fn skip_wildcards(pattern: &[u8], at: &mut [bool]) {
    for (place, wild) in pattern.iter().enumerate() {
        if at[place] && matches!(wild, b'*' | b'%') {
            at[place + 1] = true;
        }
    }
}

/// Tells whether a name is well-formed modified UTF-7 in its only spelling (RFC 3501 section 5.1.3).
pub(crate) fn is_modified_utf7(name: &[u8]) -> bool {
    let mut rest = name;
    let mut after_base64 = false;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'&' {
            if !(0x20..0x7f).contains(&byte) {
                return false;
            }
            (rest, after_base64) = (tail, false);
            continue;
        }
        let Some(end) = tail.iter().position(|&byte| byte == b'-') else { return false };
        let (inside, after) = (&tail[..end], &tail[end + 1..]);
        // Two stretches of base64 in a row could have been one: not the only spelling.
        if !inside.is_empty() && (after_base64 || !is_shift_sequence(inside)) {
            return false;
        }
        (rest, after_base64) = (after, !inside.is_empty());
    }
    true
}

fn is_shift_sequence(base64: &[u8]) -> bool {
    let mut bits = 0_u32;
    let mut held = 0_u32;
    let mut units = Vec::new();
    for &byte in base64 {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b',' => 63,
            _ => return false,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 16 {
            bits -= 16;
            units.push((held >> bits) as u16);
            held &= (1 << bits) - 1;
        }
    }
    let printable = units.iter().any(|unit| (0x20..0x7f).contains(unit));
    bits < 6 && held == 0 && !units.is_empty() && !printable && String::from_utf16(&units).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_rfc_3501_says() {
        for (pattern, name, expected) in [
            ("*", "a/b/c", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a", false),
            ("%/%", "a/b", true),
            ("*b", "a/bb", true),
            ("a*c%", "a/b/cd", true),
            ("a*c%", "a/b/c/d", false),
            ("", "", true),
            ("INBOX", "INBOX", true),
            ("%%%", "abc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes(), b'/'), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn modified_utf7_has_one_spelling() {
        for good in ["INBOX", "a&-b", "&AOQ-", "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "&2D3eAA-"] {
            assert!(is_modified_utf7(good.as_bytes()), "{good}");
        }
        for bad in ["a&b", "&AGE-", "&AOQ", "&A-", "&AOR-", "&AOQ-&AOQ-", "\u{e4}", "&2D0-", "&AO/-"] {
            assert!(!is_modified_utf7(bad.as_bytes()), "{bad}");
        }
    }
}
