//! When may we ask again: buckets for messages, bytes and commands, a day's allowance, gates for connections, holds after a
//! server's word, breakers for hosts that are down, backoff, patience, the clock.
//!
//! Secret: time. Every wait is on tokio's clock, so that a test that pauses it sees every wait and none takes long; what day
//! and hour it is says one [`WallClock`], which a test sets.
//!
//! Invariants:
//! - Over any span of T seconds no more passes than T seconds' worth and one second's worth on top.
//! - Who asked first is served first; a connection to a host goes to whoever has fewest of them.
//! - A time that a server named is kept whole, by all whom it was said to.
//! - Where there is no limit there is no wait.
//! - Another hour's limit counts from that hour on, also for who waits already.
//!
//! Knows nothing of IMAP or of job files, and decides nothing but how long.

mod breaker;
mod bucket;
mod clock;
mod day;
mod forecast;
mod gate;
mod hold;
mod host;
mod patience;
mod rate;

pub use breaker::{Attempt, Breaker, Outage};
pub use bucket::{Leave, Pacer};
pub use clock::WallClock;
pub use day::{Book, DayAllowance, DayBegin, Purse, Slice, Unpaid};
pub use forecast::{CONNECTION_BYTES, CONNECTION_MESSAGES, HostLane, Lane, Load, Outlook, forecast};
pub use gate::{Gate, Hosts, Permit};
pub use hold::Hold;
pub use host::{HostPace, HostPacers};
pub use patience::{Backoff, PAUSE_MIN, Patience};
pub use rate::{Days, Rate, Window};

/// Limits of one side for each account.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// How much of what in which time.
    pub rates: Rates,
    /// Connections an account may hold to this side at once; at least 1.
    pub connections: usize,
}

/// How much may pass in which time: for one account on one side, or for all accounts on one host together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rates {
    /// Messages fetched (source) or appended (target) a second.
    pub messages_per_second: Rate,
    /// Bytes of message bodies a second.
    pub bytes_per_second: Rate,
    /// Commands a second, those of the sign-in included.
    pub commands_per_second: Rate,
}
