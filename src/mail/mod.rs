//! The nouns of mail, as RFC 9051 names them.
//!
//! Secret: how these values are packed, so that a million of them stay small. Values only: no input or output but where
//! [`crate::rows`] keeps the bulk of a listing, no clock, no async, no logging.

mod date;
mod flags;
mod folder;
mod key;
mod listing;
mod record;
mod uids;

pub use date::{Day, InternalDate};
pub(crate) use date::{civil, days};
pub use flags::{Flags, Keyword, SystemFlag};
pub use folder::{Folder, FolderPath, FolderState, Role, WireName};
pub use key::{KEY_FIELDS, Likeness, digest, header_digest};
pub use listing::{Entry, Growing, Listing, Unsorted};
pub use record::{Record, Stage};
pub use uids::Uids;

use crate::rows::Row;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;

/// One of the two ends of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where mail is read, and nothing is ever changed.
    Source,
    /// Where mail is written.
    Target,
}

impl Side {
    /// Gives the other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// A message's number in one folder under one [`UidValidity`] (RFC 9051, 2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(NonZeroU32);

impl Uid {
    /// The smallest one, also the floor when nothing better is known.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The largest one there can be.
    pub const LAST: Self = Self(NonZeroU32::MAX);

    /// Makes a UID; zero is none.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// Gives the number.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

impl Row for Uid {
    const BYTES: usize = 4;

    fn pack(&self, to: &mut [u8]) {
        self.value().pack(to);
    }

    fn unpack(from: &[u8]) -> Option<Self> {
        Self::new(u32::unpack(from)?)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The epoch of a folder's UIDs: when it changes, every UID known before means nothing (RFC 9051, 2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UidValidity(NonZeroU32);

impl UidValidity {
    /// The smallest one.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Makes a UIDVALIDITY; zero is none.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// Gives the number.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for UidValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A folder's modification sequence (RFC 7162, 3.1); never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModSeq(u64);

impl ModSeq {
    /// Makes a modification sequence; zero is none.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        (value != 0).then_some(Self(value))
    }

    /// Gives the number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

/// SHA-256 over bytes: of a whole message as the literal gave it, or of a normalised set of its header fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of one source message. Per folder the fates add up to the source's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// We appended it and the target said OK.
    Copied,
    /// It was on the target already.
    Adopted,
    /// A rule of the job left it out.
    Excluded,
    /// The target said no, in words that are kept.
    Refused,
    /// The source lists it and gives no body for it.
    Unreadable,
    /// A fresh listing of the source no longer has it.
    Gone,
    /// It was on the target and its user took it away.
    Removed,
    /// It should be on the target and is not.
    Missing,
}

/// What stands behind a [`Fate`], from nothing to equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Nothing but the server's word.
    None,
    /// It is one of the right number.
    Counted,
    /// UID, size, flags and date were read back and agree.
    MetadataEqual,
    /// Its bytes were read back and are the source's.
    BytesEqual,
    /// Its bytes were read back and are not the source's.
    BytesAltered,
}
