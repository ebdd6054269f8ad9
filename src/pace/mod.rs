//! When may we ask again: buckets for messages and bytes, gates for connections, holds after a server's word, breakers for
//! hosts that are down, backoff, patience, the clock.
//!
//! Secret: time. Every wait is on tokio's clock, so that a test that pauses it sees every wait and none takes long.
//!
//! Invariants:
//! - Over any span of T seconds no more passes than T seconds' worth and one second's worth on top.
//! - Who asked first is served first; a connection to a host goes to whoever has fewest of them.
//! - A time that a server named is kept whole, by all whom it was said to.
//! - Where there is no limit there is no wait.
//!
//! Knows nothing of IMAP or of job files, and decides nothing but how long.

mod breaker;
mod bucket;
mod gate;
mod hold;
mod patience;

pub use breaker::{Attempt, Breaker, Outage};
pub use bucket::Pacer;
pub use gate::{Gate, Hosts, Permit};
pub use hold::Hold;
pub use patience::{Backoff, Patience};

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
