//! Decisions: listings, records and rules in; actions and warnings out.
//!
//! Secret: what is right to do. Pure: no async, clock, disk, chance or logging; it knows neither the wire nor the ledger.
//! What it cannot decide from what it was given it asks for ([`Questions`]), and is called again with the answers.

mod audit;
mod folders;
mod glob;
mod keeping;
#[cfg(test)]
mod laws;
mod matching;
mod messages;
mod names;
mod verdict;

pub use audit::{Absence, Compared, Flaw, Listed, Place, Standing, Sums, compare, fate, standing};
pub use folders::{Because, FolderMap, FolderPair, Left, TargetShape, folders};
pub use glob::matches;
pub use keeping::{Attempt, Keeping, attempts, fitting, is_sure};
pub use matching::{
    Claim, Joined, Joining, Likely, Match, Matched, Matching, Need, Offer, Questions, Singles, same_instant,
};
pub use messages::{
    FlagChanges, FolderPlan, Merge, Rebase, Sorter, carried, is_another, is_many, merge_flags, newest_first,
};
pub use names::{folded, original, unescape};
pub use verdict::{Difference, Proof, prove, unsendable};

/// In what order messages are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// UID order, folder by folder; neighbours may change places where several connections share a folder.
    #[default]
    Oldest,
    /// The same, and no connections share a folder: the target numbers messages as the source does.
    Exact,
    /// INTERNALDATE downwards, the inbox first.
    Newest,
}

/// What a job says about folders. Patterns match a whole path joined by `/` or a folder above it; `*` stands for any
/// characters within one part, `**` also across `/`. Case counts but for `INBOX`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderRules {
    /// Only these, where there is one.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Source path to target path, with all that lies below.
    pub rename: Vec<(String, String)>,
    /// Folders of other users and shared ones too.
    pub shared: bool,
}
