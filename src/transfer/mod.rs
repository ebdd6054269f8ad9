//! The shell: carries out what `plan` decided. Session pools, folder passes, the copy pipeline, recovery, events.
//!
//! Secret: how work overlaps. Parses no bytes, judges no equality.

use std::time::Duration;

/// How a job is carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Accounts worked on at once; at least 1.
    pub accounts: usize,
    /// How long an outage of a host that has answered before is waited out; None: for ever.
    pub outage: Option<Duration>,
    /// How long a host is tried that has never answered yet.
    pub first_contact: Duration,
    /// Silence after which a connection counts as dead.
    pub timeout: Duration,
    /// The part of the copied messages whose bytes are read back, 0 to 1.
    pub sample: f64,
    /// Messages above this many bytes go through a spool file.
    pub spool_above: u64,
    /// Bytes of small messages held in memory by the whole process.
    pub memory: u64,
}
