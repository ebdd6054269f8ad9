//! When may we ask again: buckets for messages, bytes and connections, backoff, the clock.
//!
//! Secret: time. Knows nothing of IMAP or of job files.

/// Limits of one side for each account. None: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Messages fetched (source) or appended (target) a second.
    pub messages_per_second: Option<f64>,
    /// Bytes of message bodies a second.
    pub bytes_per_second: Option<u64>,
    /// Connections an account may hold to this side at once; at least 1.
    pub connections: usize,
}
