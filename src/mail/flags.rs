//! Flags and keywords of a message.

use std::collections::BTreeSet;
use std::fmt;

/// The five flags a client may set (RFC 9051, 2.3.2). `\Recent` is not one: only a server gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SystemFlag {
    /// `\Seen`
    Seen = 1,
    /// `\Answered`
    Answered = 2,
    /// `\Flagged`
    Flagged = 4,
    /// `\Deleted`
    Deleted = 8,
    /// `\Draft`
    Draft = 16,
}

impl SystemFlag {
    /// All five, in the order in which they are written.
    pub const ALL: [Self; 5] = [Self::Seen, Self::Answered, Self::Flagged, Self::Deleted, Self::Draft];

    /// Gives the flag as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
        }
    }
}

/// Longer ones are nobody's: servers take 50 to 200 bytes, and a command line has to hold them.
const KEYWORD_BYTES_MAX: usize = 1000;

/// A keyword that can be sent: an atom without a leading backslash. Equal regardless of ASCII case, as servers treat it.
#[derive(Debug, Clone)]
pub struct Keyword(String);

impl Keyword {
    /// Makes a keyword of an atom (RFC 9051, 9: `flag-keyword`).
    ///
    /// None for what is no atom, or longer than 1,000 bytes. `]` is taken though the grammar lets no atom hold it: servers
    /// give it, and some take it; see [`Self::is_atom`].
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let atom = |&byte: &u8| byte > b' ' && byte < 0x7f && !b"(){%*\"\\".contains(&byte);
        ((1..=KEYWORD_BYTES_MAX).contains(&text.len()) && text.iter().all(atom))
            .then(|| Self(String::from_utf8_lossy(text).into_owned()))
    }

    /// Gives the keyword as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether every server has to be able to read it: the grammar gives `]` another meaning (RFC 3501, 9: `atom`).
    #[must_use]
    pub fn is_atom(&self) -> bool {
        !self.0.contains(']')
    }

    /// Says whether it is letters and digits, after a `$` perhaps: others are refused by some servers, such as
    /// `domain.com` and `$X-ME-Annot-2` by iCloud.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.strip_prefix('$').unwrap_or(&self.0).bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

/// The flags of one message that can be carried over: system flags and keywords, `\Recent` left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flags {
    /// Bits of [`SystemFlag`].
    system: u8,
    keywords: BTreeSet<Keyword>,
    /// What a server gave that no client may send: invented system flags, keywords that are no atoms.
    unsendable: BTreeSet<String>,
}

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self { system: 0, keywords: BTreeSet::new(), unsendable: BTreeSet::new() };

    /// Collects flags as a server wrote them.
    pub fn from_wire<'a>(flags: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Self::default();
        flags.into_iter().for_each(|flag| all.add_wire(flag));
        all
    }

    fn add_wire(&mut self, flag: &[u8]) {
        if flag.eq_ignore_ascii_case(b"\\Recent") || flag.is_empty() {
            return;
        }
        if let Some(system) =
            SystemFlag::ALL.into_iter().find(|known| flag.eq_ignore_ascii_case(known.as_str().as_bytes()))
        {
            return self.insert(system);
        }
        match Keyword::new(flag) {
            Some(keyword) => self.insert_keyword(keyword),
            None => drop(self.unsendable.insert(printable(flag))),
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::from_wire(text.split(' ').map(str::as_bytes))
    }

    /// Adds a system flag.
    pub fn insert(&mut self, flag: SystemFlag) {
        self.system |= flag as u8;
    }

    /// Adds a keyword; the spelling that came first stays.
    pub fn insert_keyword(&mut self, keyword: Keyword) {
        if !self.keywords.contains(&keyword) {
            self.keywords.insert(keyword);
        }
    }

    /// Says whether a system flag is set.
    #[must_use]
    pub fn has(&self, flag: SystemFlag) -> bool {
        self.system & flag as u8 != 0
    }

    /// Gives the keywords, in an order that does not depend on case.
    pub fn keywords(&self) -> impl Iterator<Item = &Keyword> {
        self.keywords.iter()
    }

    /// Gives what the server holds and nobody can send, fit for print; invented system flags begin with a backslash and a
    /// letter, 8-bit bytes are written `\\xfc`.
    pub fn unsendable(&self) -> impl Iterator<Item = &str> {
        self.unsendable.iter().map(String::as_str)
    }

    /// Says whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.system == 0 && self.keywords.is_empty()
    }

    /// Gives these without what is in `other` (of what can be sent).
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            system: self.system & !other.system,
            keywords: self.keywords.difference(&other.keywords).cloned().collect(),
            unsendable: BTreeSet::new(),
        }
    }

    /// Gives what is in both (of what can be sent).
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self {
            system: self.system & other.system,
            keywords: self.keywords.intersection(&other.keywords).cloned().collect(),
            unsendable: BTreeSet::new(),
        }
    }

    /// Gives what is in either (of what can be sent).
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            system: self.system | other.system,
            keywords: self.keywords.union(&other.keywords).cloned().collect(),
            unsendable: BTreeSet::new(),
        }
    }

    /// Gives these without one system flag.
    #[must_use]
    pub fn without_system(mut self, flag: SystemFlag) -> Self {
        self.system &= !(flag as u8);
        self
    }

    /// Gives these, and what `other` holds that cannot be sent.
    #[must_use]
    pub fn with_unsendable_of(mut self, other: &Self) -> Self {
        self.unsendable.extend(other.unsendable.iter().cloned());
        self
    }

    /// Gives the system flags alone.
    #[must_use]
    pub fn system_only(&self) -> Self {
        Self { system: self.system, ..Self::default() }
    }

    /// Gives the keywords alone that `keep` says.
    #[must_use]
    pub fn keywords_only(&self, keep: impl Fn(&Keyword) -> bool) -> Self {
        let keywords = self.keywords.iter().filter(|keyword| keep(keyword)).cloned().collect();
        Self { keywords, ..Self::default() }
    }

    /// Gives each flag by itself, in the order in which they are written.
    #[must_use]
    pub fn singles(&self) -> Vec<Self> {
        let system = SystemFlag::ALL.into_iter().filter(|flag| self.has(*flag));
        let system = system.map(|flag| Self { system: flag as u8, ..Self::default() });
        let keyword = |keyword: &Keyword| Self { keywords: BTreeSet::from([keyword.clone()]), ..Self::default() };
        system.chain(self.keywords.iter().map(keyword)).collect()
    }

    /// Gives the same in parts that are written in at most `bytes` each; a single longer flag is a part by itself.
    #[must_use]
    pub fn parts(&self, bytes: usize) -> Vec<Self> {
        let mut parts: Vec<(Self, usize)> = Vec::new();
        for single in self.singles() {
            let length = single.to_string().len() + 1;
            match parts.last_mut().filter(|(_, filled)| filled + length <= bytes) {
                Some((part, filled)) => (*part, *filled) = (part.union(&single), *filled + length),
                None => parts.push((single, length)),
            }
        }
        parts.into_iter().map(|(part, _)| part).collect()
    }

    /// Says whether both carry the same, of what can be sent.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.system == other.system && self.keywords == other.keywords
    }
}

fn printable(flag: &[u8]) -> String {
    let byte = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    flag.iter().map(byte).collect()
}

/// What can be sent, separated by spaces: the inside of a flag list (RFC 9051, 9: `flag-list`).
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = SystemFlag::ALL.into_iter().filter(|flag| self.has(*flag)).map(|flag| -> &str { flag.as_str() });
        let all = system.chain(self.keywords.iter().map(Keyword::as_str));
        all.enumerate().try_for_each(|(i, flag)| write!(f, "{}{flag}", if i == 0 { "" } else { " " }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Flags {
        Flags::parse(text)
    }

    #[test]
    fn recent_and_invented_system_flags_are_never_sent() {
        let all = flags("\\Seen \\RECENT \\X-EON-HAS-ATTACHMENT $Forwarded \\*");
        assert_eq!(all.to_string(), "\\Seen $Forwarded");
        assert_eq!(all.unsendable().count(), 2);
    }

    #[test]
    fn case_makes_no_other_flag() {
        assert_eq!(flags("\\SEEN $MDNSent"), flags("\\Seen $mdnsent"));
        assert_eq!(flags("$MDNSent $mdnsent").to_string(), "$MDNSent");
    }

    #[test]
    fn a_keyword_that_is_no_atom_is_kept_apart() {
        let all = Flags::from_wire([&b"gr\xfcn"[..], b"a b", b"domain.com", b"a]b"]);
        assert_eq!(all.to_string(), "a]b domain.com");
        assert_eq!(all.unsendable().collect::<Vec<_>>(), ["a b", "gr\\xfcn"]);
    }

    #[test]
    fn f33_an_invented_system_flag_is_told_as_the_server_wrote_it() {
        let all = Flags::from_wire([&b"\\X-EON-HAS-ATTACHMENT"[..], b"\\Seen", b"a\"b", b"a(b"]);
        assert_eq!(all.unsendable().collect::<Vec<_>>(), ["\\X-EON-HAS-ATTACHMENT", "a\"b", "a(b"]);
    }

    #[test]
    fn keywords_too_long_for_any_server_are_kept_apart() {
        assert!(Keyword::new(&[b'k'; 1000]).is_some());
        assert!(Keyword::new(&[b'k'; 1001]).is_none());
    }

    #[test]
    fn parts_together_are_the_whole_and_short() {
        let all = flags("\\Seen \\Draft alpha beta gamma a-keyword-of-many-letters");
        for bytes in [1, 12, 20, 1000] {
            let parts = all.parts(bytes);
            let whole = parts.iter().fold(Flags::default(), |sum, part| sum.union(part));
            assert!(whole.same(&all), "{bytes}");
            assert!(parts.iter().all(|part| part.to_string().len() < bytes || part.singles().len() == 1), "{bytes}");
        }
        assert_eq!(all.parts(1).len(), all.singles().len());
        assert_eq!(all.parts(1000).len(), 1);
    }

    #[test]
    fn plain_keywords_are_letters_and_digits() {
        for (keyword, plain, atom) in
            [("$Forwarded", true, true), ("Junk", true, true), ("domain.com", false, true), ("a]b", false, false)]
        {
            let keyword = Keyword::new(keyword.as_bytes()).unwrap();
            assert_eq!((keyword.is_plain(), keyword.is_atom()), (plain, atom), "{}", keyword.as_str());
        }
    }

    #[test]
    fn differences_are_of_what_can_be_sent() {
        let (left, right) = (flags("\\Seen \\Draft a b"), flags("\\Seen B c"));
        assert_eq!(left.without(&right).to_string(), "\\Draft a");
        assert_eq!(left.common(&right).to_string(), "\\Seen b");
        assert_eq!(left.union(&right).to_string(), "\\Seen \\Draft a b c");
    }
}
