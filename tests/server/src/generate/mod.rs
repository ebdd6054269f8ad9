//! Mailboxes made up, the same ones for the same seed: names, messages, flags and dates that migrations stumble over.
//!
//! Secret: the numbers behind them (a generator of its own, so that no dependency can change what a seed means) and an
//! encoder of modified UTF-7 that shares nothing with mailhaul's. Every kind of name and message comes up before chance
//! has a say, so that small mailboxes are nasty too.

mod folders;
mod messages;

use crate::store::{Layout, NewMessage};

/// What may come up.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// How wire names are built.
    pub layout: Layout,
    /// Leaves out names that some servers cannot hold: `"`, `\`, `%`, `*`, braces, emoji, spaces at the ends, names that
    /// differ only in case or in Unicode form.
    pub tame: bool,
    /// Messages without any header.
    pub headerless: bool,
    /// Messages with NUL.
    pub nul: bool,
    /// Messages with bytes of 128 and more in headers.
    pub eight_bit_headers: bool,
    /// Messages with LF not after CR.
    pub bare_lf: bool,
    /// `\Deleted` among the flags.
    pub deleted: bool,
    /// Text is drawn out until a message has about so many bytes; 0 leaves messages as short as they are.
    pub body_bytes: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            layout: Layout::default(),
            tame: false,
            headerless: true,
            nul: false,
            eight_bit_headers: false,
            bare_lf: false,
            deleted: true,
            body_bytes: 0,
        }
    }
}

impl GenerateOptions {
    /// Leaves out names that some servers cannot hold.
    pub fn tame() -> Self {
        GenerateOptions { tame: true, ..GenerateOptions::default() }
    }
}

/// A folder made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFolder {
    /// Its name, part by part, without the prefix of the namespace.
    pub path: Vec<String>,
    /// Its name on the wire: prefix, modified UTF-7, separators.
    pub wire_name: Vec<u8>,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// Its SPECIAL-USE attribute.
    pub special_use: Option<String>,
    /// Its messages, in UID order.
    pub messages: Vec<GeneratedMessage>,
}

/// A message made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedMessage {
    /// What is odd about it, for reports.
    pub kind: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// System flags.
    pub flags: Vec<String>,
    /// Keywords.
    pub keywords: Vec<String>,
    /// INTERNALDATE in the form of RFC 3501, without quotes.
    pub internaldate: String,
}

impl From<&GeneratedMessage> for NewMessage {
    fn from(message: &GeneratedMessage) -> Self {
        NewMessage {
            body: message.bytes.clone().into(),
            flags: message.flags.iter().chain(&message.keywords).cloned().collect(),
            date: Some(message.internaldate.clone()),
            uid: None,
        }
    }
}

/// Makes a mailbox of more than 20 folders with so many messages in all.
pub fn mailbox(seed: u64, messages: usize, options: &GenerateOptions) -> Vec<GeneratedFolder> {
    let mut numbers = Numbers::new(seed);
    let mut folders = folders::tree(options);
    let filled: Vec<usize> = (0..folders.len()).filter(|&at| !folders[at].path[0].starts_with("Empty")).collect();
    let mut maker = messages::Maker::new(seed, options);
    for number in 0..messages {
        // Each folder gets one before chance decides; a quarter goes to INBOX, which comes first.
        let at = match filled.get(number) {
            Some(&at) => at,
            None if numbers.below(4) == 0 => filled[0],
            None => filled[numbers.below(filled.len() as u64) as usize],
        };
        let message = maker.make(number, &mut numbers, &folders[at].messages);
        folders[at].messages.push(message);
    }
    folders
}

/// Writes a name in modified UTF-7 (RFC 3501 section 5.1.3).
pub fn modified_utf7(name: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
    let mut out = Vec::new();
    let mut rest = name;
    while let Some(next) = rest.chars().next() {
        if (' '..='~').contains(&next) {
            out.extend_from_slice(if next == '&' { b"&-" } else { std::slice::from_ref(&rest.as_bytes()[0]) });
            rest = &rest[1..];
            continue;
        }
        let end = rest.find(|c| (' '..='~').contains(&c)).unwrap_or(rest.len());
        let bytes: Vec<u8> = rest[..end].encode_utf16().flat_map(u16::to_be_bytes).collect();
        out.push(b'&');
        for group in bytes.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
            for place in 0..=group.len() {
                out.push(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
            }
        }
        out.push(b'-');
        rest = &rest[end..];
    }
    out
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Numbers {
    state: u64,
}

impl Numbers {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Numbers { state: seed }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a limit; 0 for no limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw().checked_rem(limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;
    use crate::{dates, names};

    #[test]
    fn the_same_seed_gives_the_same_mailbox() {
        let options = GenerateOptions::default();
        assert_eq!(mailbox(7, 300, &options), mailbox(7, 300, &options));
        assert_ne!(mailbox(7, 300, &options), mailbox(8, 300, &options));
    }

    #[test]
    fn mailboxes_hold_all_that_is_nasty() {
        let options = GenerateOptions { nul: true, eight_bit_headers: true, bare_lf: true, ..Default::default() };
        let folders = mailbox(1, 500, &options);
        assert!(folders.len() > 20);
        assert_eq!(folders.iter().map(|folder| folder.messages.len()).sum::<usize>(), 500);
        assert!(folders.iter().any(|folder| folder.messages.is_empty()));
        assert!(folders.iter().any(|folder| !folder.subscribed));
        for wanted in ['"', '\\', '&', ' ', '%', '*', 'ü', '日'] {
            assert!(folders.iter().any(|folder| folder.path.iter().any(|part| part.contains(wanted))), "{wanted}");
        }
        let all: Vec<&GeneratedMessage> = folders.iter().flat_map(|folder| &folder.messages).collect();
        let flags: BTreeSet<_> = all.iter().map(|message| &message.flags).collect();
        assert_eq!(flags.len(), 32);
        let kinds: BTreeSet<_> = all.iter().map(|message| message.kind).collect();
        assert!(kinds.len() >= 18, "{kinds:?}");
        assert!(all.iter().any(|message| message.bytes.contains(&0)));
        assert!(all.iter().all(|message| dates::instant(&message.internaldate).is_some_and(|at| at > 0)));
        let twins = folders.iter().any(|folder| {
            let distinct: HashSet<_> = folder.messages.iter().map(|message| &message.bytes).collect();
            distinct.len() < folder.messages.len()
        });
        assert!(twins);
    }

    #[test]
    fn without_the_switches_messages_are_clean() {
        let options = GenerateOptions { headerless: false, ..GenerateOptions::tame() };
        for folder in mailbox(3, 400, &options) {
            assert!(!folder.wire_name.iter().any(|byte| b"\"\\%*{}".contains(byte)));
            for message in &folder.messages {
                let header = crate::mime::header(&message.bytes);
                assert!(!message.bytes.contains(&0) && header.is_ascii(), "{}", message.kind);
                let bare = message.bytes.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
                assert!(!bare, "{}", message.kind);
            }
        }
    }

    #[test]
    fn wire_names_are_modified_utf7_and_unique() {
        for layout in [Layout::default(), Layout::inbox_dot()] {
            let folders = mailbox(1, 0, &GenerateOptions { layout, ..GenerateOptions::default() });
            let names: HashSet<_> = folders.iter().map(|folder| &folder.wire_name).collect();
            assert_eq!(names.len(), folders.len());
            assert!(folders.iter().all(|folder| names::is_modified_utf7(&folder.wire_name)));
        }
        assert_eq!(modified_utf7("~peter/mail/台北/日本語"), b"~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(modified_utf7("R&D ä"), b"R&-D &AOQ-");
        assert_eq!(modified_utf7("😀"), b"&2D3eAA-");
    }

    #[test]
    fn messages_can_be_drawn_out() {
        let options = GenerateOptions { body_bytes: 8000, ..GenerateOptions::default() };
        let folders = mailbox(1, 200, &options);
        let bytes: usize = folders.iter().flat_map(|folder| &folder.messages).map(|message| message.bytes.len()).sum();
        assert!((200 * 7000..200 * 13_000).contains(&bytes), "{bytes}");
    }
}
