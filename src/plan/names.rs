//! Folder names as a target can hold them, and back.
//!
//! What cannot stand becomes `=` and two hexadecimal digits for each byte of its UTF-8: `a.b` is `a=2Eb`. That outlives
//! targets that fold case or normalise, and leads back without any list ([`unescape`]). A name that merely looks escaped
//! is escaped itself; no other name changes. An empty part is `=`.
//!
//! What is too long ends in `=_` and a digest of what it was. That does not lead back: the folder map and the ledger keep
//! the pair.

use super::TargetShape;
use crate::mail::FolderPath;
use crate::provider::Fold;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

/// How much is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// What the target is known not to hold.
    Known,
    /// What servers are seen to refuse.
    Doubtful,
    /// All but letters and digits of ASCII, and the first of those: no reserved word is left.
    Everything,
}

/// A path as the target can hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) path: FolderPath,
    pub(super) shortened: bool,
}

/// What is refused for its length is tried again with this many bytes at the most: a Maildir keeps a whole path as one
/// name of a file, of 255 bytes.
const CAREFUL_MAX: usize = 200;

/// Gives the name that escaping made this of; None for one that was shortened, or that nothing made.
#[must_use]
pub fn unescape(part: &str) -> Option<String> {
    if part == "=" {
        return Some(String::new());
    }
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1), bytes.get(at + 2)) {
            (b'=', Some(b'_'), _) => return None,
            (b'=', Some(high), Some(low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(u8::from_str_radix(&part[at + 1..at + 3], 16).ok()?);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// Gives the path at the source that a target of this shape keeps under this one; None where a part was shortened. On a
/// target below the inbox, what lay below the inbox comes back beside it.
#[must_use]
pub fn original(path: &FolderPath, shape: TargetShape) -> Option<FolderPath> {
    if path.is_inbox() {
        return Some(path.clone());
    }
    let parts: Vec<&str> = match shape.separator {
        Some(_) => path.parts().iter().map(String::as_str).collect(),
        None => path.parts().iter().flat_map(|part| part.split('/')).collect(),
    };
    parts.into_iter().map(unescape).collect::<Option<Vec<_>>>().map(FolderPath::new)
}

/// Writes a part with all that `must` names escaped, by its place among the characters.
fn escape(part: &str, must: impl Fn(&[char], usize) -> bool) -> String {
    let chars: Vec<char> = part.chars().collect();
    let mut out = String::with_capacity(part.len());
    if chars.is_empty() {
        out.push('=');
    }
    for (at, c) in chars.iter().enumerate() {
        if must(&chars, at) || looks_escaped(&chars, at) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("={byte:02X}")));
        } else {
            out.push(*c);
        }
    }
    out
}

fn looks_escaped(chars: &[char], at: usize) -> bool {
    chars[at] == '='
        && match chars[at + 1..] {
            [] => at == 0,
            ['_', ..] => true,
            [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
            _ => false,
        }
}

/// Gives a path below `place`, which is the target's own and stays as it is, in a form the target can hold.
pub(super) fn fit(place: &[String], tail: &[String], shape: TargetShape, care: Care) -> Fitted {
    let separator = shape.separator.map_or('/', char::from);
    let at_top = place.is_empty();
    let mut parts = Vec::with_capacity(tail.len());
    let mut shortened = false;
    let rules = &shape.names;
    let (part_max, name_max) = match care {
        Care::Known => (rules.part_max, rules.name_max),
        Care::Doubtful | Care::Everything => (rules.part_max.min(CAREFUL_MAX), rules.name_max.min(CAREFUL_MAX)),
    };
    for (depth, part) in tail.iter().enumerate() {
        let first = at_top && depth == 0;
        // Only the inbox is called so; below it lie folders where the target has them there.
        let inbox = first && part.eq_ignore_ascii_case("INBOX");
        let leads_below = part == "INBOX" && tail.len() > 1 && !shape.below_inbox;
        let reserved = first && rules.reserved.contains(&part.to_lowercase().as_str());
        let whole = inbox && !(leads_below && care != Care::Everything) || reserved;
        let escaped = escape(part, |chars, at| must(chars, at, shape, separator, care) || at == 0 && whole);
        let long = wire_length(&escaped).max(escaped.len()) > part_max;
        shortened |= long;
        parts.push(if long { shorten(&escaped, std::slice::from_ref(part), part_max) } else { escaped });
    }
    shortened |= cut_tail(place, tail, &mut parts, name_max);
    let mut all = [place, &parts].concat();
    if shape.separator.is_none() {
        all = vec![all.join("/")];
    }
    Fitted { path: FolderPath::new(all), shortened }
}

/// Makes one part of the last ones where the whole is too long: what lies above keeps its place.
fn cut_tail(place: &[String], tail: &[String], parts: &mut Vec<String>, name_max: usize) -> bool {
    /// Room for a digest and a word.
    const ROOM: usize = 40;
    let length = |parts: &[String]| parts.iter().map(|part| wire_length(part) + 1).sum::<usize>();
    let before = length(place);
    if before + length(parts) <= name_max + 1 {
        return false;
    }
    let fits = |kept: &usize| before + length(&parts[..*kept]) + ROOM <= name_max;
    let kept = (0..parts.len()).rev().find(fits).unwrap_or(0);
    let room = name_max.saturating_sub(before + length(&parts[..kept])).max(ROOM);
    let last = shorten(&parts[kept], &tail[kept..], room);
    parts.truncate(kept);
    parts.push(last);
    true
}

/// Cuts a part to so many bytes, its digest included. `of`: what it stands for.
fn shorten(escaped: &str, of: &[String], bytes_max: usize) -> String {
    let mut digest = Sha256::new();
    for part in of {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let end: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let room = bytes_max.saturating_sub(end.len() + 2);
    let mut stem = String::new();
    for c in escaped.chars() {
        stem.push(c);
        if wire_length(&stem).max(stem.len()) > room {
            stem.pop();
            break;
        }
    }
    // Half an escape would read as part of the name.
    if let Some(at) = stem.rfind('=').filter(|at| at + 3 > stem.len()) {
        stem.truncate(at);
    }
    format!("{}=_{end}", stem.trim_end())
}

fn must(chars: &[char], at: usize, shape: TargetShape, separator: char, care: Care) -> bool {
    let c = chars[at];
    let rules = &shape.names;
    // RFC 5198, which RFC 9051 holds names to, knows no controls and no line ends in them.
    let known = c == separator
        || c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || rules.refused.contains(c)
        || at == 0 && rules.refused_first.contains(c)
        || rules.tidy_spaces && untidy(chars, at);
    match care {
        Care::Known => known,
        Care::Doubtful => known || untidy(chars, at) || hidden(c) || c.is_ascii_punctuation() && !HARMLESS.contains(c),
        Care::Everything => at == 0 || known || !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')),
    }
}

/// Punctuation that every server measured takes anywhere.
const HARMLESS: &str = "-_()',&+@=";

fn untidy(chars: &[char], at: usize) -> bool {
    let end = at == 0 || at + 1 == chars.len();
    chars[at].is_whitespace() && (chars[at] != ' ' || end || chars[at - 1] == ' ')
}

/// Without width, or turning the order of reading.
fn hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Gives how many bytes a part takes in modified UTF-7 (RFC 3501, 5.1.3).
fn wire_length(part: &str) -> usize {
    let shift = |units: usize| if units == 0 { 0 } else { 2 + (units * 16).div_ceil(6) };
    let (mut length, mut units) = (0, 0);
    for c in part.chars() {
        if matches!(c, ' '..='~') {
            length += shift(units) + 1 + usize::from(c == '&');
            units = 0;
        } else {
            units += c.len_utf16();
        }
    }
    length + shift(units)
}

/// Gives what two paths share that the target is known to take for one folder.
pub(super) fn key(path: &FolderPath, shape: TargetShape) -> FolderPath {
    folded(path, shape.names.case == Fold::Always, shape.names.form == Fold::Always)
}

/// Gives what two paths share that the target may take for one folder, as far as is known.
pub(super) fn doubtful_key(path: &FolderPath, shape: TargetShape) -> FolderPath {
    folded(path, shape.names.case != Fold::Never, shape.names.form != Fold::Never)
}

/// Gives a path with its differences of case or normal form taken away.
#[must_use]
pub fn folded(path: &FolderPath, case: bool, form: bool) -> FolderPath {
    let fold = |part: &String| match (case, form) {
        (false, false) => part.clone(),
        (true, false) => part.to_lowercase(),
        (false, true) => part.nfc().collect(),
        // Lower case letters may compose where upper case ones did not.
        (true, true) => part.nfc().collect::<String>().to_lowercase().nfc().collect(),
    };
    FolderPath::new(path.parts().iter().map(fold).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Family, NameRules};
    use proptest::prelude::*;

    fn shape(separator: Option<u8>, below_inbox: bool, names: NameRules) -> TargetShape {
        TargetShape { separator, below_inbox, names }
    }

    const SLASH: TargetShape = TargetShape { separator: Some(b'/'), below_inbox: false, names: NameRules::STANDARD };

    fn check(family: Family, care: Care, path: &[&str], expected: &str) {
        let tail: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let fitted = fit(&[], &tail, shape(Some(b'.'), false, family.name_rules()), care);
        assert_eq!(fitted.path.parts().join("|"), expected);
    }

    #[test]
    fn only_what_cannot_stand_is_escaped() {
        for (family, path, expected) in [
            (Family::Unknown, &["Person K."][..], "Person K=2E"),
            (Family::Unknown, &["a/b", "c.d"], "a/b|c=2Ed"),
            (Family::Unknown, &["a\tb", "\u{85}"], "a=09b|=C2=85"),
            (Family::Unknown, &["a=b", "a=2", "a=zz", "=="], "a=b|a=2|a=zz|=="),
            (Family::Unknown, &["a=2Eb", "=", "", "x=_y", "a=2e"], "a=3D2Eb|=3D|=|x=3D_y|a=3D2e"),
            (Family::Unknown, &["inbox"], "=69nbox"),
            (Family::Unknown, &["INBOX", "INBOX"], "INBOX|INBOX"),
            (Family::Unknown, &["x", "Inbox"], "x|Inbox"),
            (Family::Dovecot, &["~a", "~b~"], "=7Ea|=7Eb~"),
            (Family::Gmail, &[" a  b ", "x^"], "=20a =20b=20|x=5E"),
            (Family::Exchange, &["Files"], "=46iles"),
            (Family::Exchange, &["a", "Files"], "a|Files"),
        ] {
            check(family, Care::Known, path, expected);
        }
        check(
            Family::Unknown,
            Care::Doubtful,
            &["R&D (old)", "a;b", "Grüße", "x\u{3000}y"],
            "R&D (old)|a=3Bb|Grüße|x=E3=80=80y",
        );
        check(Family::Unknown, Care::Everything, &["cur", "é"], "=63ur|=C3=A9");
    }

    #[test]
    fn what_is_below_the_inbox_is_never_the_inbox() {
        let courier = shape(Some(b'.'), true, NameRules::STANDARD);
        let fitted = fit(&[], &["INBOX".to_owned()], courier, Care::Known);
        assert_eq!(fitted.path, FolderPath::new(vec!["=49NBOX".to_owned()]));
    }

    #[test]
    fn a_long_name_is_cut_the_same_way_every_time_and_says_so() {
        let part = |c: char, count: usize| std::iter::repeat_n(c, count).collect::<String>();
        let long =
            |path: &[String]| fit(&[], path, shape(Some(b'/'), false, Family::Dovecot.name_rules()), Care::Known);
        let once = long(&[part('x', 300), "a".into()]);
        assert_eq!(once, long(&[part('x', 300), "a".into()]));
        assert!(once.shortened && once.path.parts()[0].len() <= 255 && once.path.parts()[1] == "a", "{once:?}");
        assert_ne!(once, long(&[part('x', 301), "a".into()]));
        assert_eq!(original(&once.path, SLASH), None);
        assert!(!long(&[part('x', 255)]).shortened);
        // Too long as a whole: what lies above keeps its place.
        let deep: Vec<String> = (0..8).map(|at| format!("Müller Müller Müller {at}")).collect();
        let careful = fit(&[], &deep, SLASH, Care::Doubtful);
        assert!(careful.shortened && careful.path.parts()[..3] == deep[..3], "{careful:?}");
        assert_ne!(careful, fit(&[], &deep[..7], SLASH, Care::Doubtful));
        let wire: usize = careful.path.parts().iter().map(|part| wire_length(part) + 1).sum();
        assert!(wire <= CAREFUL_MAX + 1, "{wire}");
    }

    #[test]
    fn lengths_are_those_of_the_wire() {
        for (name, wire) in
            [("B&APw-ro", "Büro"), ("R&-D", "R&D"), ("&2D3eAA-", "😀"), ("&AMkA6Q-x&AOk-", "Ééxé"), ("", "")]
        {
            assert_eq!(wire_length(wire), name.len(), "{wire}");
        }
    }

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[=_0-9A-Fa-f./~ ]{0,6}", "(?i)inbox|=49NBOX|=|", "[a-zA-Zé\u{308}u]{1,4}"]
    }

    fn any_shape() -> impl Strategy<Value = TargetShape> {
        let separator = prop::option::of(prop::sample::select(vec![b'.', b'/', b'\\', b'=']));
        let families = vec![Family::Unknown, Family::Gmail, Family::Exchange, Family::Dovecot, Family::Cyrus];
        (separator, any::<bool>(), prop::sample::select(families)).prop_map(|(separator, below_inbox, family)| {
            // A separator that is our own mark is nobody's.
            shape(separator.filter(|byte| *byte != b'='), below_inbox, family.name_rules())
        })
    }

    proptest! {
        #[test]
        fn every_name_leads_back(
            path in prop::collection::vec(part(), 1..4),
            shape in any_shape(),
            care in prop::sample::select(vec![Care::Known, Care::Doubtful, Care::Everything]),
        ) {
            let fitted = fit(&[], &path, shape, care);
            let back = original(&fitted.path, shape);
            if fitted.shortened {
                prop_assert_eq!(back, None);
            } else if !fitted.path.is_inbox() {
                prop_assert_eq!(back, Some(FolderPath::new(path.clone())));
            }
            prop_assert!(!fitted.path.is_inbox());
            for part in fitted.path.parts() {
                prop_assert!(!part.chars().any(char::is_control) && !part.is_empty());
                if let Some(separator) = shape.separator {
                    prop_assert!(!part.contains(char::from(separator)));
                }
            }
        }

        #[test]
        fn a_name_that_needs_nothing_stays(part in "[a-zA-Z0-9éü日 _-]{1,20}") {
            prop_assume!(!part.eq_ignore_ascii_case("INBOX"));
            prop_assert_eq!(fit(&[], std::slice::from_ref(&part), SLASH, Care::Known).path, FolderPath::new(vec![part]));
        }

        #[test]
        fn two_names_never_become_one(one in part(), other in part(), shape in any_shape()) {
            prop_assume!(one != other);
            let fitted = |part: &String| fit(&[], std::slice::from_ref(part), shape, Care::Known).path;
            prop_assert_ne!(fitted(&one), fitted(&other));
        }
    }
}
