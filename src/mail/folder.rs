//! Folders: the name on the wire, the path a person reads, the role.

use super::{ModSeq, Uid, UidValidity};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A folder's name exactly as the server wrote it: its identity on that server.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireName(Vec<u8>);

impl WireName {
    /// Takes the bytes between the quotes, unescaped.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Gives the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Says whether this is the inbox, which has no case (RFC 9051, 5.1).
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.0.eq_ignore_ascii_case(b"INBOX")
    }
}

impl fmt::Display for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A folder's path as a person reads it: decoded, prefix and separator taken away. The inbox is `INBOX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FolderPath(Vec<String>);

impl FolderPath {
    /// The inbox.
    #[must_use]
    pub fn inbox() -> Self {
        Self(vec!["INBOX".to_owned()])
    }

    /// Makes a path of its parts; an empty part is possible, servers have them.
    #[must_use]
    pub fn new(parts: Vec<String>) -> Self {
        Self(parts)
    }

    /// Gives the parts, outermost first.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// Says whether this is the inbox itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        matches!(&self.0[..], [only] if only == "INBOX")
    }

    /// Says whether `other` is this folder or lies below it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

/// The parts joined by `/`: for people and for rules in a job file, never for a server.
impl fmt::Display for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// What a folder is for (RFC 6154; `Important` from RFC 8457).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Role {
    Inbox,
    All,
    Archive,
    Drafts,
    Flagged,
    Important,
    Junk,
    Sent,
    Trash,
}

impl Role {
    /// Reads a LIST attribute.
    #[must_use]
    pub fn from_attribute(attribute: &[u8]) -> Option<Self> {
        const TABLE: [(&[u8], Role); 8] = [
            (b"\\All", Role::All),
            (b"\\Archive", Role::Archive),
            (b"\\Drafts", Role::Drafts),
            (b"\\Flagged", Role::Flagged),
            (b"\\Important", Role::Important),
            (b"\\Junk", Role::Junk),
            (b"\\Sent", Role::Sent),
            (b"\\Trash", Role::Trash),
        ];
        TABLE.into_iter().find(|(name, _)| attribute.eq_ignore_ascii_case(name)).map(|(_, role)| role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbox => "inbox",
            Self::All => "all",
            Self::Archive => "archive",
            Self::Drafts => "drafts",
            Self::Flagged => "flagged",
            Self::Important => "important",
            Self::Junk => "junk",
            Self::Sent => "sent",
            Self::Trash => "trash",
        })
    }
}

/// One folder as a server listed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Identity on its server.
    pub name: WireName,
    /// For people and rules.
    pub path: FolderPath,
    /// Hierarchy separator; None: a flat name.
    pub separator: Option<u8>,
    /// From its attributes, or from its name where the server gives none.
    pub role: Option<Role>,
    /// False for `\Noselect` and `\NonExistent`.
    pub selectable: bool,
    /// In the list of subscriptions.
    pub subscribed: bool,
    /// Lies in another user's or a shared namespace (RFC 2342).
    pub shared: bool,
    /// From LIST-STATUS or STATUS, where it was asked for.
    pub state: Option<FolderState>,
}

/// What a server says about a folder as a whole: STATUS, or the answers to EXAMINE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderState {
    /// How many messages.
    pub messages: u32,
    /// None: the server has no lasting UIDs there.
    pub uid_validity: Option<UidValidity>,
    /// None: not said.
    pub uid_next: Option<Uid>,
    /// None: not offered, or NOMODSEQ.
    pub highest_modseq: Option<ModSeq>,
}
