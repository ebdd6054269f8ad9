//! Messages and bytes a second, for one account on one side.

use super::Limits;
use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What bytes are counted in, so that a bucket's 32 bits hold a second's worth of any line.
const CELL_BYTES: u64 = 1024;
/// A cell takes a nanosecond at least and, so that waits stay far from the clock's end, 10,000 s at most.
const CELLS_PER_SECOND: (f64, f64) = (1e-4, 1e9);
/// A long wait is made in so many pieces of a full bucket: a late wake-up is then made good from the rest of it.
const PIECES: u32 = 4;

/// Lets messages and bytes of one account on one side pass at the pace of its limits. Clones share it.
#[derive(Debug, Clone)]
pub struct Pacer {
    messages: Option<Arc<Bucket>>,
    bytes: Option<Arc<Bucket>>,
}

impl Pacer {
    /// Makes a pacer whose buckets are full: one second's worth passes at once.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let messages = limits.messages_per_second.map(|rate| Arc::new(Bucket::new(rate)));
        let bytes = limits.bytes_per_second.map(|rate| Arc::new(Bucket::new(rate as f64 / CELL_BYTES as f64)));
        Self { messages, bytes }
    }

    /// Waits until one message may pass.
    pub async fn message(&self) {
        if let Some(bucket) = &self.messages {
            bucket.take(1, 1).await;
        }
    }

    /// Waits until `count` bytes may pass. A large message is asked for in the pieces in which it goes over the wire, or
    /// all of it goes at full speed after one long wait.
    pub async fn bytes(&self, count: u64) {
        if let Some(bucket) = &self.bytes {
            bucket.take(count, CELL_BYTES).await;
        }
    }
}

#[derive(Debug)]
struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Tick>>,
    piece: NonZeroU32,
    /// Whose turn it is, first come, first served; within, the units of a cell that are paid for and not used.
    turn: tokio::sync::Mutex<u64>,
}

impl Bucket {
    fn new(cells_per_second: f64) -> Self {
        let (least, most) = CELLS_PER_SECOND;
        let rate = if cells_per_second > least { cells_per_second.min(most) } else { least };
        // Rounded up, so that the limit is kept.
        let period = Duration::from_nanos((1e9 / rate).ceil() as u64);
        let burst = NonZeroU32::new(rate as u32).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(period).map_or_else(|| Quota::per_second(burst), |quota| quota.allow_burst(burst));
        let piece = NonZeroU32::new(burst.get() / PIECES).unwrap_or(NonZeroU32::MIN);
        Self { limiter: RateLimiter::direct_with_clock(quota, Ticks), piece, turn: tokio::sync::Mutex::new(0) }
    }

    /// Takes units out of cells of `cell` units; what is left of the last cell serves the next call.
    async fn take(&self, units: u64, cell: u64) {
        let mut spare = self.turn.lock().await;
        let missing = units.saturating_sub(*spare);
        let cells = missing.div_ceil(cell);
        let mut left = cells;
        while left > 0 {
            let piece = u32::try_from(left).map_or(self.piece, |left| NonZeroU32::new(left).unwrap_or(self.piece));
            let piece = piece.min(self.piece);
            self.pass(piece).await;
            left -= u64::from(piece.get());
        }
        // As units <= spare + cells * cell, this is never below 0, and below `cell`.
        *spare = if missing == 0 { *spare - units } else { cells.saturating_mul(cell) - missing };
    }

    async fn pass(&self, cells: NonZeroU32) {
        // The outer error, more cells than a bucket holds, cannot come: a piece is at most a bucket.
        while let Ok(Err(wait)) = self.limiter.check_n(cells) {
            tokio::time::sleep_until(wait.earliest_possible().0).await;
        }
    }
}

/// tokio's clock, for governor.
#[derive(Debug, Clone, Copy)]
struct Ticks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(Instant);

impl Clock for Ticks {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Tick(Instant::now())
    }
}

impl Add<Nanos> for Tick {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, nanos: Nanos) -> Self {
        Self(self.0.checked_sub(nanos.into()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(messages_per_second: Option<f64>, bytes_per_second: Option<u64>) -> Pacer {
        Pacer::new(&Limits { messages_per_second, bytes_per_second, connections: 1 })
    }

    /// Checks that the amounts that passed, each with its second, kept to `limit` a second over every ten seconds, and
    /// used nine tenths of it. `slack` is what one call may take at once.
    fn check(passed: &[(f64, f64)], limit: f64, slack: f64) {
        let (mut first, mut sum) = (0, 0.0);
        for (time, amount) in passed {
            sum += amount;
            while time - passed[first].0 >= 10.0 {
                sum -= passed[first].1;
                first += 1;
            }
            assert!(sum <= limit * 10.0 + limit.max(slack) + 1e-6, "{sum} in ten seconds up to {time} at {limit}/s");
        }
        let (span, total) = (passed.last().unwrap().0, passed.iter().map(|(_, n)| n).sum::<f64>());
        assert!(total >= limit * span * 0.9, "only {total} in {span} s at {limit}/s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_seconds_worth() {
        for (rate, burst) in [(10.0, 10), (2.5, 2), (1.0, 1), (0.33, 1), (1000.0, 1000)] {
            let pacer = pacer(Some(rate), None);
            let begin = Instant::now();
            for _ in 0..burst {
                pacer.message().await;
            }
            assert_eq!(begin.elapsed(), Duration::ZERO, "{rate}");
            pacer.message().await;
            assert!(begin.elapsed() > Duration::ZERO, "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_keep_to_the_limit_and_use_it() {
        for rate in [0.33, 1.0, 2.5, 7.0, 100.0, 3000.0] {
            let pacer = pacer(Some(rate), None);
            let (begin, mut passed) = (Instant::now(), Vec::new());
            while begin.elapsed() < Duration::from_secs(60) {
                pacer.message().await;
                passed.push((begin.elapsed().as_secs_f64(), 1.0));
            }
            check(&passed, rate, 1.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_keep_to_the_limit_and_use_it_whatever_their_pieces() {
        for (rate, piece) in [(500, 700), (2000, 1), (100_000, 1500), (1 << 20, 65_536), (1 << 20, 3 << 20)] {
            let pacer = pacer(None, Some(rate));
            let (begin, mut passed) = (Instant::now(), Vec::new());
            while begin.elapsed() < Duration::from_secs(30) {
                pacer.bytes(piece).await;
                passed.push((begin.elapsed().as_secs_f64(), piece as f64));
            }
            check(&passed, rate as f64, (piece + CELL_BYTES) as f64);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_far_larger_than_a_bucket_passes_in_its_time() {
        let pacer = pacer(None, Some(1 << 20));
        let begin = Instant::now();
        pacer.bytes(100 << 20).await;
        let seconds = begin.elapsed().as_secs_f64();
        assert!((98.9..100.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_no_wait() {
        let pacer = pacer(None, None);
        let begin = Instant::now();
        pacer.bytes(u64::MAX).await;
        pacer.message().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_limits_wait_and_do_not_panic() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
            pacer(Some(rate), None).message().await;
        }
        pacer(None, Some(u64::MAX)).bytes(1 << 40).await;
        let stuck = pacer(None, Some(0));
        stuck.bytes(1).await;
        assert!(tokio::time::timeout(Duration::from_secs(60), stuck.bytes(4096)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_users_share_one_limit_in_turn() {
        let pacer = pacer(Some(10.0), None);
        let begin = Instant::now();
        let mut users = tokio::task::JoinSet::new();
        for user in 0..8 {
            let pacer = pacer.clone();
            users.spawn(async move {
                let mut passed = Vec::new();
                for _ in 0..50 {
                    pacer.message().await;
                    passed.push((begin.elapsed().as_secs_f64(), 1.0));
                    tokio::task::yield_now().await;
                }
                (user, passed)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = users.join_next().await {
            let (user, passed) = done.unwrap();
            let last = passed.last().unwrap().0;
            assert!(last > 36.0, "user {user} was served before the others, at {last}");
            all.extend(passed);
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        check(&all, 10.0, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_holds_up_nobody() {
        let pacer = pacer(Some(1.0), Some(1024));
        pacer.message().await;
        assert!(tokio::time::timeout(Duration::from_millis(10), pacer.message()).await.is_err());
        let begin = Instant::now();
        pacer.message().await;
        assert!(begin.elapsed() <= Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::from_millis(10), pacer.bytes(1 << 30)).await.is_err());
        pacer.bytes(1024).await;
        assert!(begin.elapsed() <= Duration::from_secs(3));
    }
}
