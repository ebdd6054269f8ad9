//! Messages, bytes and commands a second, as the time table has it.

use super::Rates;
use super::clock::WallClock;
use super::rate::Rate;
use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

/// What bytes are counted in, so that a bucket's 32 bits hold a second's worth of any line.
const CELL_BYTES: u64 = 1024;
/// A cell takes a nanosecond at least and, so that waits stay far from the clock's end, 10,000 s at most.
const CELLS_PER_SECOND: (f64, f64) = (1e-4, 1e9);
/// Seconds' worth that a bucket holds: the rest of one is for what was paid for and is still under way on some connections.
const BURST: f64 = 0.9;
/// A long wait is made in so many pieces of a full bucket: a late wake-up is then made good from the rest of it.
const PIECES: u32 = 4;
/// The time table is looked at again after this long at the latest: the wall's clock may be set, and a machine that slept
/// finds it far ahead.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Lets messages, bytes and commands pass at the pace of their limits: of one account on one side, or of a host. Clones
/// share it.
#[derive(Debug, Clone, Default)]
pub struct Pacer {
    messages: Option<Arc<Bucket>>,
    bytes: Option<Arc<Bucket>>,
    commands: Option<Arc<Bucket>>,
}

impl Pacer {
    /// Makes a pacer whose buckets are empty: what passed before it, in another job or life of the process, is not known.
    #[must_use]
    pub fn new(rates: &Rates, clock: WallClock) -> Self {
        let bucket =
            |rate: &Rate, unit| (!rate.is_unlimited()).then(|| Arc::new(Bucket::new(rate.clone(), unit, clock)));
        Self {
            messages: bucket(&rates.messages_per_second, 1),
            bytes: bucket(&rates.bytes_per_second, CELL_BYTES),
            commands: bucket(&rates.commands_per_second, 1),
        }
    }

    /// Waits until `count` messages may pass, which is when the last of them may.
    pub async fn messages(&self, count: u32) -> Leave {
        Leave::of(&self.messages, count.into()).await
    }

    /// Waits until `count` bytes may pass. A large message is asked for in the pieces in which it goes over the wire, or
    /// all of it goes at full speed after one long wait.
    pub async fn bytes(&self, count: u64) -> Leave {
        Leave::of(&self.bytes, count).await
    }

    /// Waits until `count` commands may pass.
    pub async fn commands(&self, count: u32) -> Leave {
        Leave::of(&self.commands, count.into()).await
    }

    /// Says whether it holds anything back, ever.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some() || self.commands.is_some()
    }

    /// Says whether it holds commands back, ever.
    #[must_use]
    pub fn holds_commands(&self) -> bool {
        self.commands.is_some()
    }

    /// Gives how many messages and how many bytes pass at once now, at the most: what a bucket holds, 1 at least.
    #[must_use]
    pub fn burst(&self) -> (u32, u64) {
        let now = |bucket: &Option<Arc<Bucket>>| {
            let rate = bucket.as_ref().and_then(|bucket| bucket.rate.at(bucket.clock.now()))?;
            Some((rate * BURST).max(1.0))
        };
        let (messages, bytes) = (now(&self.messages), now(&self.bytes));
        (messages.map_or(u32::MAX, |most| most as u32), bytes.map_or(u64::MAX, |most| most as u64))
    }
}

/// Leave to pass now. Who has to wait for another one keeps this until both are there: nobody else gets one meanwhile, and what
/// gathers in the bucket beyond its size, with what was taken still in it, is lost. Else both would pass in one burst.
#[derive(Debug, Default)]
pub struct Leave {
    _held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    turn: OwnedMutexGuard<Turn>,
    cells: u64,
}

impl Leave {
    async fn of(bucket: &Option<Arc<Bucket>>, units: u64) -> Self {
        match bucket {
            Some(bucket) => Self { _held: Some(bucket.take(units).await) },
            None => Self::default(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let cells = self.cells;
        if let Some(flow) = &mut self.turn.flow {
            flow.lose_beside(cells);
        }
    }
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// What a cell is worth.
    unit: u64,
    clock: WallClock,
    /// Whose turn it is, first come, first served.
    turn: Arc<tokio::sync::Mutex<Turn>>,
}

#[derive(Debug)]
struct Turn {
    /// What is paid for and not used of the last cell.
    spare: u64,
    /// What holds now. None: no limit.
    flow: Option<Flow>,
    /// When to look whether another rate holds. None: this one always does.
    until: Option<Instant>,
}

impl Bucket {
    fn new(rate: Rate, unit: u64, clock: WallClock) -> Self {
        let mut turn = Turn { spare: 0, flow: None, until: Some(Instant::now()) };
        turn.look(&rate, unit, clock);
        Self { rate, unit, clock, turn: Arc::new(tokio::sync::Mutex::new(turn)) }
    }

    /// Takes units out of cells; what is left of the last cell serves the next call.
    async fn take(&self, units: u64) -> Held {
        let mut turn = Arc::clone(&self.turn).lock_owned().await;
        let missing = units.saturating_sub(turn.spare);
        let cells = missing.div_ceil(self.unit);
        let mut left = cells;
        while left > 0 {
            turn.look(&self.rate, self.unit, self.clock);
            let Turn { flow: Some(flow), until, .. } = &mut *turn else { break };
            let piece = u32::try_from(left).map_or(flow.piece, |left| NonZeroU32::new(left).unwrap_or(flow.piece));
            let piece = piece.min(flow.piece);
            match flow.take(piece) {
                Some(ready) => tokio::time::sleep_until(until.map_or(ready, |until| until.min(ready))).await,
                None => left -= u64::from(piece.get()),
            }
        }
        // As units <= spare + cells * unit, this is never below 0, and below `unit`.
        turn.spare = if missing == 0 { turn.spare - units } else { cells.saturating_mul(self.unit) - missing };
        Held { turn, cells }
    }
}

impl Turn {
    /// Goes over to another rate where its time has come. A bucket begins empty, since the last one may have been full: else
    /// two bursts would follow each other.
    fn look(&mut self, rate: &Rate, unit: u64, clock: WallClock) {
        if self.until.is_none_or(|until| Instant::now() < until) {
            return;
        }
        let now = clock.now();
        let cells_per_second = rate.at(now).map(|rate| rate / unit as f64);
        if self.flow.as_ref().map(|flow| flow.cells_per_second) != cells_per_second {
            self.flow = cells_per_second.map(Flow::new);
        }
        self.until = rate.change_after(now).map(|change| Instant::now() + change.min(LOOK_AGAIN));
    }
}

/// One rate, as long as it holds.
#[derive(Debug)]
struct Flow {
    cells_per_second: f64,
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>,
    piece: NonZeroU32,
    burst: NonZeroU32,
    /// What was left in the bucket when something was taken last.
    left: (u32, Instant),
}

impl Flow {
    fn new(cells_per_second: f64) -> Self {
        let (least, most) = CELLS_PER_SECOND;
        let rate = if cells_per_second > least { cells_per_second.min(most) } else { least };
        // Rounded up, so that the limit is kept.
        let period = Duration::from_nanos((1e9 / rate).ceil() as u64);
        let burst = NonZeroU32::new((rate * BURST) as u32).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::with_period(period).map_or_else(|| Quota::per_second(burst), |quota| quota.allow_burst(burst));
        let limiter = RateLimiter::direct_with_clock(quota, Ticks).with_middleware();
        drop(limiter.check_n(burst));
        let piece = NonZeroU32::new(burst.get() / PIECES).unwrap_or(NonZeroU32::MIN);
        Self { cells_per_second, limiter, piece, burst, left: (0, Instant::now()) }
    }

    /// Takes cells; gives when they will be there, where they are not.
    fn take(&mut self, cells: NonZeroU32) -> Option<Instant> {
        match self.limiter.check_n(cells) {
            Ok(Err(wait)) => return Some(wait.earliest_possible().0),
            Ok(Ok(state)) => self.left = (state.remaining_burst_capacity(), Instant::now()),
            // More than a bucket holds: cannot come, a piece is a bucket at most.
            Err(_) => {}
        }
        None
    }

    /// Takes out what would not be there if so many cells had only been taken now.
    fn lose_beside(&mut self, cells: u64) {
        let (left, at) = self.left;
        let gathered = (at.elapsed().as_secs_f64() * self.cells_per_second) as u32;
        let there = left.saturating_add(gathered).min(self.burst.get());
        let room = u64::from(self.burst.get()).saturating_sub(cells);
        let over = u64::from(there).saturating_sub(room);
        if let Some(over) = u32::try_from(over).ok().and_then(NonZeroU32::new) {
            self.take(over);
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
    use super::super::rate::{Days, Window};
    use super::*;

    fn pacer(messages_per_second: Option<f64>, bytes_per_second: Option<u64>) -> Pacer {
        let bytes_per_second = bytes_per_second.map(|rate| rate as f64).into();
        let rates = Rates { messages_per_second: messages_per_second.into(), bytes_per_second, ..Rates::default() };
        Pacer::new(&rates, WallClock::default())
    }

    /// Checks that the amounts that passed, each with its second, kept to `limit` a second over every ten seconds, and
    /// used nine tenths of it. `slack` is what one call may take at once.
    fn check(passed: &[(f64, f64)], limit: f64, slack: f64) {
        check_kept(passed, limit, slack);
        let (span, total) = (passed.last().unwrap().0, passed.iter().map(|(_, n)| n).sum::<f64>());
        assert!(total >= limit * span * 0.9, "only {total} in {span} s at {limit}/s");
    }

    /// The first half of that.
    fn check_kept(passed: &[(f64, f64)], limit: f64, slack: f64) {
        let (mut first, mut sum) = (0, 0.0);
        for (time, amount) in passed {
            sum += amount;
            while time - passed[first].0 >= 10.0 {
                sum -= passed[first].1;
                first += 1;
            }
            assert!(sum <= limit * 10.0 + limit.max(slack) + 1e-6, "{sum} in ten seconds up to {time} at {limit}/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_less_than_one_seconds_worth() {
        for (rate, burst) in [(10.0, 9), (2.5, 2), (1.0, 1), (0.33, 1), (1000.0, 900)] {
            let pacer = pacer(Some(rate), None);
            let begin = Instant::now();
            pacer.messages(1).await;
            assert!(begin.elapsed() > Duration::ZERO, "it begins empty: {rate}");
            tokio::time::sleep(Duration::from_secs(10)).await;
            let begin = Instant::now();
            for _ in 0..burst {
                pacer.messages(1).await;
            }
            assert_eq!(begin.elapsed(), Duration::ZERO, "{rate}");
            pacer.messages(1).await;
            assert!(begin.elapsed() > Duration::ZERO, "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_keep_to_the_limit_and_use_it() {
        for rate in [0.33, 1.0, 2.5, 7.0, 100.0, 3000.0] {
            let pacer = pacer(Some(rate), None);
            let (begin, mut passed) = (Instant::now(), Vec::new());
            while begin.elapsed() < Duration::from_secs(60) {
                pacer.messages(1).await;
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
        assert!((99.9..100.1).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_no_wait() {
        let pacer = pacer(None, None);
        let begin = Instant::now();
        pacer.bytes(u64::MAX).await;
        pacer.messages(1).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_limits_wait_and_do_not_panic() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
            pacer(Some(rate), None).messages(1).await;
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
                    pacer.messages(1).await;
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
        pacer.messages(1).await;
        assert!(tokio::time::timeout(Duration::from_millis(10), pacer.messages(1)).await.is_err());
        let begin = Instant::now();
        pacer.messages(1).await;
        assert!(begin.elapsed() <= Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::from_millis(10), pacer.bytes(1 << 30)).await.is_err());
        pacer.bytes(1024).await;
        assert!(begin.elapsed() <= Duration::from_secs(3));
    }

    /// A clock that says a time of a Monday.
    fn clock(hour: &str) -> WallClock {
        WallClock::starting_at(humantime::parse_rfc3339(&format!("2026-11-02T{hour}Z")).unwrap())
    }

    /// `office` from 8 to 18 o'clock on weekdays, else `always`.
    fn by_the_hour(always: Option<f64>, office: Option<f64>, clock: WallClock) -> Pacer {
        let window = Window { days: Days::new(0..5), from: 8 * 60, until: 18 * 60, utc_offset: 0 };
        let rate = Rate::new(always, vec![(window, office)]);
        Pacer::new(&Rates { messages_per_second: rate, ..Rates::default() }, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn the_hour_decides_within_a_run() {
        let pacer = by_the_hour(Some(50.0), Some(5.0), clock("07:59:30"));
        let (begin, mut passed) = (Instant::now(), Vec::new());
        while begin.elapsed() < Duration::from_secs(90) {
            pacer.messages(1).await;
            passed.push((begin.elapsed().as_secs_f64(), 1.0));
        }
        let before = passed.partition_point(|(time, _)| *time < 30.0);
        check(&passed[..before], 50.0, 1.0);
        check(&passed[before..].iter().map(|(time, n)| (time - 30.0, *n)).collect::<Vec<_>>(), 5.0, 1.0);
        let around = passed.iter().filter(|(time, _)| (29.5..30.5).contains(time)).count();
        assert!(around <= 28, "the slower hour begins with no burst: {around}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_when_the_hour_comes_wakes_up() {
        for (always, office) in [(None, Some(0.001)), (Some(100.0), Some(0.001))] {
            let pacer = by_the_hour(always, office, clock("17:59:00"));
            let begin = Instant::now();
            // At the rate of the day it would take half an hour.
            pacer.messages(2).await;
            let waited = begin.elapsed();
            assert!((Duration::from_secs(60)..Duration::from_millis(60_100)).contains(&waited), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_without_limit_is_no_wait_and_ends() {
        let pacer = by_the_hour(Some(1.0), None, clock("17:59:00"));
        let begin = Instant::now();
        pacer.messages(100_000).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(60)).await;
        pacer.messages(10).await;
        let waited = begin.elapsed().as_secs_f64();
        assert!((69.9..70.2).contains(&waited), "{waited}");
        assert_eq!(pacer.burst().0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn commands_have_a_bucket_of_their_own() {
        let pacer =
            Pacer::new(&Rates { commands_per_second: Some(4.0).into(), ..Rates::default() }, WallClock::default());
        assert!(pacer.holds_commands());
        let (begin, mut passed) = (Instant::now(), Vec::new());
        while begin.elapsed() < Duration::from_secs(30) {
            pacer.commands(1).await;
            pacer.messages(1000).await;
            passed.push((begin.elapsed().as_secs_f64(), 1.0));
        }
        check(&passed, 4.0, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_gathers_while_another_limit_is_waited_for_makes_no_second_burst() {
        let pacer = pacer(Some(50.0), Some(300 << 10));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (begin, mut passed) = (Instant::now(), Vec::new());
        let groups = [(1, 300 << 10), (40, 280 << 10), (50, 0)];
        for (count, length) in groups.into_iter().chain(std::iter::repeat_n((1, 0), 600)) {
            let leaves = (pacer.messages(count).await, pacer.bytes(length).await);
            passed.push((begin.elapsed().as_secs_f64(), f64::from(count)));
            drop(leaves);
        }
        check(&passed, 50.0, 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_a_moment_costs_nothing() {
        let pacer = pacer(Some(50.0), None);
        let begin = Instant::now();
        for _ in 0..500 {
            let leave = pacer.messages(1).await;
            tokio::time::sleep(Duration::from_millis(15)).await;
            drop(leave);
        }
        let seconds = begin.elapsed().as_secs_f64();
        assert!((9.9..10.3).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_take_the_time_of_many() {
        let pacer = pacer(Some(50.0), None);
        let begin = Instant::now();
        pacer.messages(500).await;
        let waited = begin.elapsed().as_secs_f64();
        assert!((9.9..10.1).contains(&waited), "{waited}");
    }
}
