//! What the ledger knows of one source message.

use super::{Digest, Evidence, Fate, Flags, InternalDate, Uid, UidValidity};

/// How far one message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It may or may not have been appended: written before the APPEND, and no answer is known.
    Intended,
    /// Its fate is known.
    Settled(Fate),
}

/// What the ledger knows of one source message, under one source UIDVALIDITY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number in the source folder.
    pub source_uid: Uid,
    /// How far it has come.
    pub stage: Stage,
    /// Where it is on the target; None: not known, or nowhere. Void under another UIDVALIDITY.
    pub target: Option<(UidValidity, Uid)>,
    /// With [`Stage::Intended`]: no UID below this one can be our copy, under the UIDVALIDITY with it.
    pub floor: Option<(UidValidity, Uid)>,
    /// Length of the source's literal; RFC822.SIZE where the body was never fetched.
    pub size: u64,
    /// Of the source's bytes; None where the body was never fetched.
    pub digest: Option<Digest>,
    /// Of the normalised header fields; None where they were never seen or there are none.
    pub header: Option<Digest>,
    /// INTERNALDATE at the source.
    pub date: Option<InternalDate>,
    /// The flags on which both sides last agreed: the base of the three-way merge.
    pub flags: Flags,
    /// Some server is known to alter such a message without a word: its copy is read back, whatever the sample. Without a
    /// digest to compare with: the copy that was found has other bytes.
    pub risky: bool,
    /// What stands behind the fate.
    pub evidence: Evidence,
}
