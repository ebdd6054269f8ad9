//! Patterns of a job file: `*` within one part of a path, `**` across parts.

/// Says whether a pattern matches a path joined by `/`, or a folder above it.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern = if pattern.eq_ignore_ascii_case("INBOX") { "INBOX" } else { pattern };
    let whole = std::iter::once(path.len());
    let above = path.match_indices('/').map(|(at, _)| at);
    above.chain(whole).any(|end| glob(pattern.as_bytes(), &path.as_bytes()[..end]))
}

/// Remembers the last star only, so that no pattern takes exponential time; `**` also takes `/`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let width = pattern.len() + 1;
    // reach[p]: the pattern up to p matches the text so far.
    let mut reach = vec![false; width];
    reach[0] = true;
    spread(pattern, &mut reach);
    for byte in text {
        let mut next = vec![false; width];
        let mut at = 0;
        while at < pattern.len() {
            if pattern[at] == b'*' {
                let double = pattern.get(at + 1) == Some(&b'*');
                let end = at + 1 + usize::from(double);
                if reach[at] && (double || *byte != b'/') {
                    next[at] = true;
                }
                at = end;
            } else {
                next[at + 1] |= reach[at] && pattern[at] == *byte;
                at += 1;
            }
        }
        reach = next;
        spread(pattern, &mut reach);
    }
    reach[pattern.len()]
}

/// A star also stands for nothing.
fn spread(pattern: &[u8], reach: &mut [bool]) {
    let mut at = 0;
    while at < pattern.len() {
        let end = match (pattern[at], pattern.get(at + 1)) {
            (b'*', Some(b'*')) => at + 2,
            _ => at + 1,
        };
        if pattern[at] == b'*' && reach[at] {
            reach[end] = true;
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths_and_what_lies_below() {
        for (pattern, path, expected) in [
            ("Calendar", "Calendar", true),
            ("Calendar", "Calendar/Birthdays", true),
            ("Calendar", "Calendars", false),
            ("Contacts/*", "Contacts", false),
            ("Contacts/*", "Contacts/a/b", true),
            ("*/Trash", "a/Trash", true),
            ("*/Trash", "a/b/Trash", false),
            ("**/Trash", "a/b/Trash", true),
            ("*", "anything/at/all", true),
            ("a*c", "abbc", true),
            ("a*c", "ab/c", false),
            ("a**c", "ab/c", true),
            ("inbox", "INBOX", true),
            ("", "x", false),
            ("*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
