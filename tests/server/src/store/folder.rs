//! One folder and its messages: UIDs upwards, mod-sequences, who saw what first.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use crate::dates;

/// Bytes of a message, shared and not copied.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Body(Arc<Vec<u8>>);

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body(Arc::new(bytes))
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Body {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// Flags and keywords, see [`normalise_flags`].
    pub flags: Vec<String>,
    /// INTERNALDATE, as it was given.
    pub date: String,
    /// Its bytes.
    pub body: Body,
    /// When it last changed (RFC 7162).
    pub modseq: u64,
}

impl Message {
    /// Tells whether it has a flag or keyword, in any case.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own.eq_ignore_ascii_case(flag))
    }
}

/// A message to be added.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its bytes.
    pub body: Body,
    /// Flags and keywords.
    pub flags: Vec<String>,
    /// INTERNALDATE; now if none is given.
    pub date: Option<String>,
    /// Its UID, if it shall not be UIDNEXT; a smaller one than UIDNEXT is not used.
    pub uid: Option<u32>,
}

impl NewMessage {
    /// Describes a message without flags, dated now.
    pub fn new(body: impl Into<Body>) -> Self {
        NewMessage { body: body.into(), flags: Vec::new(), date: None, uid: None }
    }

    /// Gives it flags and keywords, separated by spaces.
    pub fn flags(mut self, flags: &str) -> Self {
        self.flags = flags.split_ascii_whitespace().map(str::to_owned).collect();
        self
    }

    /// Gives it an INTERNALDATE.
    pub fn date(mut self, date: &str) -> Self {
        self.date = Some(date.to_owned());
        self
    }

    /// Gives it a UID.
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }
}

impl From<&Message> for NewMessage {
    fn from(message: &Message) -> Self {
        NewMessage {
            body: message.body.clone(),
            flags: message.flags.clone(),
            date: Some(message.date.clone()),
            uid: None,
        }
    }
}

/// The five system flags a client may set, in the order they are told.
pub(crate) const SYSTEM_FLAGS: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

/// Brings flags into the form they are kept in: system flags first and in their own case, keywords in order of their
/// letters, none twice, no `\Recent`.
pub fn normalise_flags(flags: Vec<String>) -> Vec<String> {
    let mut system = Vec::new();
    let mut keywords: Vec<String> = Vec::new();
    for flag in flags {
        match SYSTEM_FLAGS.iter().position(|known| known.eq_ignore_ascii_case(&flag)) {
            Some(at) => system.push(at),
            None if flag.eq_ignore_ascii_case("\\Recent") => {}
            None if keywords.iter().any(|known| known.eq_ignore_ascii_case(&flag)) => {}
            None => keywords.push(flag),
        }
    }
    system.sort_unstable();
    system.dedup();
    keywords.sort_unstable();
    system.into_iter().map(|at| SYSTEM_FLAGS[at].to_owned()).chain(keywords).collect()
}

/// A folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) id: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    /// Mod-sequence of the latest change.
    pub(crate) highest_modseq: u64,
    /// UIDs upwards.
    pub(crate) messages: Vec<Arc<Message>>,
    pub(crate) attributes: Vec<String>,
    pub(crate) special_use: Vec<String>,
    /// Messages from this UID on were seen by no session that may take `\Recent` away.
    pub(crate) first_recent: u32,
    /// Counts expunges, so that sessions need not compare lists.
    pub(crate) expunges: u64,
    /// Keywords ever used here, in the spelling used first.
    pub(crate) keywords: BTreeSet<String>,
    /// Every change of flags, mod-sequences upwards, so that sessions need not look at all messages.
    changes: Vec<(u64, u32)>,
    /// Every expunge: the mod-sequence under which a UID went.
    gone: Vec<(u64, u32)>,
    bytes: u64,
}

impl Folder {
    pub(crate) fn new(id: u64, name: &[u8], uid_validity: u32) -> Self {
        Folder {
            id,
            name: name.to_vec(),
            uid_validity,
            uid_next: 1,
            highest_modseq: 1,
            messages: Vec::new(),
            attributes: Vec::new(),
            special_use: Vec::new(),
            first_recent: 1,
            expunges: 0,
            keywords: BTreeSet::new(),
            changes: Vec::new(),
            gone: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn selectable(&self) -> bool {
        !self.attributes.iter().any(|attribute| {
            attribute.eq_ignore_ascii_case("\\Noselect") || attribute.eq_ignore_ascii_case("\\NonExistent")
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn next_modseq(&mut self) -> u64 {
        self.highest_modseq += 1;
        self.highest_modseq
    }

    /// Stores a message and gives its UID.
    pub(crate) fn push(&mut self, message: NewMessage) -> u32 {
        let uid = message.uid.unwrap_or(0).max(self.uid_next);
        self.uid_next = uid.saturating_add(1);
        let modseq = self.next_modseq();
        let flags = self.spelled(normalise_flags(message.flags));
        self.bytes += message.body.len() as u64;
        self.messages.push(Arc::new(Message {
            uid,
            flags,
            date: message.date.unwrap_or_else(dates::now),
            body: message.body,
            modseq,
        }));
        uid
    }

    pub(crate) fn message(&self, uid: u32) -> Option<&Arc<Message>> {
        self.position(uid).map(|at| &self.messages[at])
    }

    /// Replaces flags under a mod-sequence taken from [`Folder::next_modseq`].
    pub(crate) fn set_flags(&mut self, uid: u32, flags: Vec<String>, modseq: u64) {
        let flags = self.spelled(normalise_flags(flags));
        if let Some(at) = self.position(uid) {
            let message = Arc::make_mut(&mut self.messages[at]);
            message.flags = flags;
            message.modseq = modseq;
            self.changes.push((modseq, uid));
        }
    }

    /// UIDs whose flags changed after a mod-sequence.
    pub(crate) fn changed_since(&self, modseq: u64) -> BTreeSet<u32> {
        let from = self.changes.partition_point(|&(at, _)| at <= modseq);
        self.changes[from..].iter().map(|&(_, uid)| uid).collect()
    }

    /// UIDs that went after a mod-sequence.
    pub(crate) fn gone_since(&self, modseq: u64) -> BTreeSet<u32> {
        self.gone.iter().filter(|(at, _)| *at > modseq).map(|&(_, uid)| uid).collect()
    }

    /// Takes messages out for good and gives them.
    pub(crate) fn expunge(&mut self, uids: &BTreeSet<u32>) -> Vec<Arc<Message>> {
        let (gone, kept) = std::mem::take(&mut self.messages).into_iter().partition(|m| uids.contains(&m.uid));
        self.messages = kept;
        let gone: Vec<Arc<Message>> = gone;
        if !gone.is_empty() {
            self.expunges += 1;
            let modseq = self.next_modseq();
            self.gone.extend(gone.iter().map(|message| (modseq, message.uid)));
            self.bytes -= gone.iter().map(|message| message.body.len() as u64).sum::<u64>();
        }
        gone
    }

    pub(crate) fn renumber(&mut self) {
        self.uid_validity = self.uid_validity.wrapping_add(1).max(1);
        self.uid_next = 1;
        self.first_recent = 1;
        self.bytes = 0;
        self.expunges += 1;
        for message in std::mem::take(&mut self.messages) {
            self.push(NewMessage::from(&*message));
        }
    }

    pub(crate) fn set_back(&mut self, last: u32) {
        self.expunge(&(last + 1..self.uid_next).collect());
        self.uid_next = last + 1;
    }

    /// Numbers all messages anew and in another order: the first comes last.
    pub(crate) fn reorder(&mut self) {
        if !self.messages.is_empty() {
            self.messages.rotate_left(1);
        }
        self.renumber();
    }

    /// Takes `\Recent` from the messages that have it: the first UID that had it.
    pub(crate) fn take_recent(&mut self) -> u32 {
        std::mem::replace(&mut self.first_recent, self.uid_next)
    }

    fn position(&self, uid: u32) -> Option<usize> {
        self.messages.binary_search_by_key(&uid, |message| message.uid).ok()
    }

    fn spelled(&mut self, flags: Vec<String>) -> Vec<String> {
        let mut spelled = Vec::with_capacity(flags.len());
        for flag in flags {
            if flag.starts_with('\\') {
                spelled.push(flag);
                continue;
            }
            match self.keywords.iter().find(|known| known.eq_ignore_ascii_case(&flag)) {
                Some(known) => spelled.push(known.clone()),
                None => {
                    self.keywords.insert(flag.clone());
                    spelled.push(flag);
                }
            }
        }
        spelled
    }
}
