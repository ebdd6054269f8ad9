//! What the clock on the wall says: for days and hours of the day. Nothing is waited by it.

use std::time::SystemTime;
use tokio::time::Instant;

/// Wall time. The system's, or one that begins where a test says and goes on with tokio's clock, also a paused one.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock {
    set: Option<(SystemTime, Instant)>,
}

impl WallClock {
    /// Makes one that says `time` now.
    #[must_use]
    pub fn starting_at(time: SystemTime) -> Self {
        Self { set: Some((time, Instant::now())) }
    }

    /// Says what time it is.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        match self.set {
            Some((time, since)) => time + since.elapsed(),
            None => SystemTime::now(),
        }
    }
}

/// Gives seconds since 1970; what lies before counts as 1970.
pub(super) fn unix(time: SystemTime) -> i64 {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX / 2)
}
