//! What a provider takes or gives in a day: an allowance, taken in slices that are on the books before they are used.
//!
//! ```text
//!   allowance of the day ─ Book: a slice, durable ─▶ Purse ─ spend ─▶ message
//!                            ▲                          │
//!                            └──── what is left of it ──┘ give_back
//! ```
//! Invariants: what the book has let go never exceeds the allowance of its day, whoever asks and whenever a process dies;
//! nothing is spent that the book has not let go; what is left of yesterday's slice is worth nothing today.

use super::clock::{WallClock, unix};
use crate::failure::Failure;
use crate::mail::{Day, civil, days};
use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::time::Instant;

const DAY_SECONDS: i64 = 24 * 3600;
/// A slice is this part of a day's allowance: a kill loses no more than that of the day.
const SLICES: u64 = 64;
/// And no more than this: a kill loses little, and the book is written once for so many bytes.
const SLICE_MAX: u64 = 4 << 20;

/// Bytes in a day, and when that day begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayAllowance {
    /// So many.
    pub bytes: u64,
    /// When the day begins.
    pub begins: DayBegin,
}

/// When a provider's day begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayBegin {
    /// So many minutes after midnight UTC, below 1440.
    Utc(u16),
    /// At midnight on the Pacific coast of the United States: 07:00 UTC in summer and 08:00 in winter.
    Pacific,
}

impl DayBegin {
    /// Gives when the day with this number since 1970 begins, in seconds.
    fn of(self, day: i64) -> i64 {
        const HOUR: i64 = 3600;
        let after = match self {
            Self::Utc(minutes) => i64::from(minutes) * 60,
            Self::Pacific if is_summer(day) => 7 * HOUR,
            Self::Pacific => 8 * HOUR,
        };
        day * DAY_SECONDS + after
    }
}

/// Says whether summer time holds at the midnight a day begins with: it begins at two o'clock on the second Sunday of March and
/// ends at two on the first of November (15 U.S.C. 260a).
fn is_summer(day: i64) -> bool {
    let (year, ..) = civil(day);
    // The first day of 1970 was a Thursday.
    let sunday = |day: i64| day + (3 - day).rem_euclid(7);
    sunday(days(year, 3, 1)) + 7 < day && day <= sunday(days(year, 11, 1))
}

impl DayAllowance {
    /// Gives when the day of a time began, in seconds since 1970: the day's name.
    #[must_use]
    pub fn day(&self, time: SystemTime) -> i64 {
        self.begins.of(self.number(time))
    }

    /// Gives the same with the days beside it.
    #[must_use]
    pub fn whole_day(&self, time: SystemTime) -> Day {
        let number = self.number(time);
        let begin = |number| self.begins.of(number);
        Day { before: begin(number - 1), begins: begin(number), ends: begin(number + 1) }
    }

    fn number(&self, time: SystemTime) -> i64 {
        let time = unix(time);
        let today = time.div_euclid(DAY_SECONDS);
        if self.begins.of(today) <= time { today } else { today - 1 }
    }

    /// Gives when the day of a time ends.
    #[must_use]
    pub fn end(&self, time: SystemTime) -> SystemTime {
        let end = self.begins.of(self.number(time) + 1);
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(end).unwrap_or_default())
    }

    fn slice(&self) -> u64 {
        (self.bytes / SLICES).clamp(1, SLICE_MAX)
    }
}

/// What is asked of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Of which day.
    pub day: Day,
    /// With less than this nothing can be done.
    pub least: u64,
    /// What is asked for; at least `least`.
    pub wanted: u64,
    /// What all slices of the day may be together.
    pub allowance: u64,
}

/// Where slices are written down: one owner's, who may be in several places at once.
pub trait Book: Send + Sync {
    /// Lets go of a slice: between `least` and `wanted` bytes, or 0 where the day has no more. Durable when it returns.
    fn lease(&self, slice: Slice) -> BoxFuture<'_, Result<u64, Failure>>;
    /// Takes back what was let go and not used.
    fn give_back(&self, day: i64, bytes: u64) -> BoxFuture<'_, Result<(), Failure>>;
}

/// Why nothing can be spent.
#[derive(Debug, Clone)]
pub enum Unpaid {
    /// The day's allowance is spent, or what is left of it is less than was asked for.
    Spent {
        /// When it returns.
        until: SystemTime,
        /// How long until then.
        wait: Duration,
    },
    /// The book cannot be written.
    Book(Failure),
}

/// The slice that is being used up.
pub struct Purse {
    allowance: DayAllowance,
    clock: WallClock,
    book: Box<dyn Book>,
    held: Mutex<Held>,
    /// Put back by who could not wait.
    returned: std::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    day: i64,
    bytes: u64,
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Purse").field(&self.allowance).finish()
    }
}

impl Purse {
    /// Makes an empty purse: nothing is let go before it is needed.
    #[must_use]
    pub fn new(allowance: DayAllowance, clock: WallClock, book: Box<dyn Book>) -> Self {
        Self { allowance, clock, book, held: Mutex::default(), returned: std::sync::Mutex::default() }
    }

    /// Gives what it is filled from.
    #[must_use]
    pub fn allowance(&self) -> DayAllowance {
        self.allowance
    }

    /// Takes `bytes` out, which may then be used; fills it first where too little is in it.
    ///
    /// # Errors
    /// The day has no more, or the book cannot be written: nothing is taken.
    pub async fn spend(&self, bytes: u64) -> Result<(), Unpaid> {
        if bytes == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        let day = self.allowance.day(now);
        let mut held = self.held.lock().await;
        if held.day != day {
            *held = Held { day, bytes: 0 };
        }
        held.bytes += self.returned(day);
        let least = bytes.saturating_sub(held.bytes);
        if least > 0 {
            let wanted = least.max(self.allowance.slice());
            let day = self.allowance.whole_day(now);
            let slice = Slice { day, least, wanted, allowance: self.allowance.bytes };
            let got = self.book.lease(slice).await.map_err(Unpaid::Book)?;
            if got < least {
                let until = self.allowance.end(now);
                return Err(Unpaid::Spent { until, wait: until.duration_since(now).unwrap_or_default() });
            }
            held.bytes += got;
        }
        held.bytes -= bytes;
        Ok(())
    }

    /// Puts back what was taken out and not used.
    pub async fn refund(&self, bytes: u64) {
        let day = self.allowance.day(self.clock.now());
        let mut held = self.held.lock().await;
        if held.day == day {
            held.bytes += bytes;
        }
    }

    /// Puts back what was taken out after `since` and not used, if that was on this day.
    pub fn put_back(&self, bytes: u64, since: Instant) {
        let now = self.clock.now();
        let day = self.allowance.day(now);
        if bytes == 0 || now.checked_sub(since.elapsed()).is_none_or(|since| self.allowance.day(since) != day) {
            return;
        }
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        if returned.day != day {
            *returned = Held { day, bytes: 0 };
        }
        returned.bytes += bytes;
    }

    fn returned(&self, day: i64) -> u64 {
        let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        if returned.day == day { std::mem::take(&mut returned.bytes) } else { 0 }
    }

    /// Empties it: what is left of the slice is there for others again.
    ///
    /// # Errors
    /// The book cannot be written.
    pub async fn give_back(&self) -> Result<(), Failure> {
        let mut held = self.held.lock().await;
        let left = std::mem::take(&mut held.bytes) + self.returned(held.day);
        if left > 0 { self.book.give_back(held.day, left).await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex as StdMutex};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A book that outlives the process: what was let go, by day.
    #[derive(Clone, Default)]
    struct Paper(Arc<StdMutex<BTreeMap<i64, u64>>>);

    impl Book for Paper {
        fn lease(&self, slice: Slice) -> BoxFuture<'_, Result<u64, Failure>> {
            let mut days = self.0.lock().unwrap();
            let gone = days.entry(slice.day.begins).or_default();
            let got = slice.wanted.min(slice.allowance.saturating_sub(*gone));
            let got = if got < slice.least { 0 } else { got };
            *gone += got;
            Box::pin(std::future::ready(Ok(got)))
        }

        fn give_back(&self, day: i64, bytes: u64) -> BoxFuture<'_, Result<(), Failure>> {
            *self.0.lock().unwrap().get_mut(&day).unwrap() -= bytes;
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn time(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    fn purse(bytes: u64, clock: WallClock, paper: &Paper) -> Purse {
        Purse::new(DayAllowance { bytes, begins: DayBegin::Utc(0) }, clock, Box::new(paper.clone()))
    }

    #[test]
    fn a_day_in_california_begins_an_hour_earlier_in_summer() {
        let allowance = DayAllowance { bytes: 1, begins: DayBegin::Pacific };
        for (at, day, end) in [
            ("2026-01-15T07:59:59Z", "2026-01-14T08:00:00Z", "2026-01-15T08:00:00Z"),
            ("2026-07-15T07:00:00Z", "2026-07-15T07:00:00Z", "2026-07-16T07:00:00Z"),
            ("2026-07-15T06:59:59Z", "2026-07-14T07:00:00Z", "2026-07-15T07:00:00Z"),
            // On the 8th of March 2026 the clocks go forward, on the 1st of November back.
            ("2026-03-08T12:00:00Z", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-03-09T07:00:00Z", "2026-03-09T07:00:00Z", "2026-03-10T07:00:00Z"),
            ("2026-11-01T12:00:00Z", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
            ("2026-11-02T07:30:00Z", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
            ("2027-03-14T12:00:00Z", "2027-03-14T08:00:00Z", "2027-03-15T07:00:00Z"),
        ] {
            assert_eq!(allowance.day(time(at)), unix(time(day)), "{at}");
            assert_eq!(allowance.end(time(at)), time(end), "{at}");
        }
    }

    #[test]
    fn the_days_beside_a_day_are_those_of_the_times_before_and_after_it() {
        for (begins, at, hours) in [
            (DayBegin::Utc(480), "2026-03-09T12:00:00Z", [24, 24]),
            (DayBegin::Pacific, "2026-07-15T12:00:00Z", [24, 24]),
            (DayBegin::Pacific, "2026-03-08T12:00:00Z", [24, 23]),
            (DayBegin::Pacific, "2026-03-09T12:00:00Z", [23, 24]),
            (DayBegin::Pacific, "2026-11-01T12:00:00Z", [24, 25]),
            (DayBegin::Pacific, "2026-11-02T12:00:00Z", [25, 24]),
        ] {
            let allowance = DayAllowance { bytes: 1, begins };
            let day = allowance.whole_day(time(at));
            assert_eq!(day.begins, allowance.day(time(at)), "{at}");
            assert_eq!([day.begins - day.before, day.ends - day.begins], hours.map(|hours| hours * 3600), "{at}");
            assert_eq!(day.ends, unix(allowance.end(time(at))), "{at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_back_counts_for_the_day_on_which_it_was_paid() {
        let paper = Paper::default();
        let clock = WallClock::starting_at(time("2026-11-02T22:00:00Z"));
        let purse = purse(100, clock, &paper);
        let begun = Instant::now();
        purse.spend(100).await.unwrap();
        assert!(purse.spend(40).await.is_err());
        purse.put_back(40, begun);
        purse.spend(40).await.unwrap();
        purse.put_back(10, begun);
        purse.give_back().await.unwrap();
        assert_eq!(paper.0.lock().unwrap().values().sum::<u64>(), 90);
        tokio::time::advance(3 * HOUR).await;
        purse.spend(100).await.unwrap();
        purse.put_back(50, begun);
        assert!(purse.spend(1).await.is_err(), "of yesterday");
    }

    #[test]
    fn a_day_begins_when_the_provider_says() {
        for (begins, at, day, end) in [
            (0, "2026-11-02T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"),
            (0, "2026-11-01T23:59:59Z", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
            (480, "2026-11-02T07:59:59Z", "2026-11-01T08:00:00Z", "2026-11-02T08:00:00Z"),
            (480, "2026-11-02T08:00:00Z", "2026-11-02T08:00:00Z", "2026-11-03T08:00:00Z"),
        ] {
            let allowance = DayAllowance { bytes: 1, begins: DayBegin::Utc(begins) };
            assert_eq!(allowance.day(time(at)), unix(time(day)), "{begins} {at}");
            assert_eq!(allowance.end(time(at)), time(end), "{begins} {at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_allowance_comes_back_with_the_day() {
        let (paper, clock) = (Paper::default(), WallClock::starting_at(time("2026-11-02T18:00:00Z")));
        let purse = purse(1000, clock, &paper);
        for _ in 0..10 {
            purse.spend(100).await.unwrap();
        }
        let Err(Unpaid::Spent { until, wait }) = purse.spend(1).await else { panic!("more than the allowance") };
        assert_eq!((until, wait), (time("2026-11-03T00:00:00Z"), HOUR * 6));
        tokio::time::advance(HOUR * 6 - Duration::from_secs(1)).await;
        assert!(purse.spend(1).await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        purse.spend(1000).await.unwrap();
        assert!(purse.spend(1).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_kill_between_lease_and_use_never_overspends() {
        // Killed after every so many messages, a process begins with an empty purse; what was let go stays let go.
        for lives in 1..12 {
            let (paper, clock) = (Paper::default(), WallClock::starting_at(time("2026-11-02T00:00:00Z")));
            let allowance = 64_000;
            let mut used = 0;
            'day: for _ in 0..1000 {
                let purse = purse(allowance, clock, &paper);
                for _ in 0..lives {
                    match purse.spend(300).await {
                        Ok(()) => used += 300,
                        Err(_) => break 'day,
                    }
                }
            }
            assert!(used <= allowance, "{used} with {lives} messages to a life");
            assert!(used >= allowance * 3 / 10, "a kill costs no more than a slice: {used} with {lives}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_there_for_others() {
        let (paper, clock) = (Paper::default(), WallClock::starting_at(time("2026-11-02T00:00:00Z")));
        let mut used = 0;
        loop {
            let purse = purse(64_000, clock, &paper);
            if purse.spend(10).await.is_err() {
                break;
            }
            used += 10;
            purse.give_back().await.unwrap();
        }
        assert_eq!(used, 64_000);
    }

    #[tokio::test(start_paused = true)]
    async fn two_at_once_share_one_allowance_and_yesterdays_slice_is_worth_nothing() {
        let (paper, clock) = (Paper::default(), WallClock::starting_at(time("2026-11-02T23:00:00Z")));
        let (one, other) = (purse(6400, clock, &paper), purse(6400, clock, &paper));
        let (mut used, mut spent) = (0, 0);
        while spent < 2 {
            spent = 0;
            for purse in [&one, &other] {
                match purse.spend(30).await {
                    Ok(()) => used += 30,
                    Err(_) => spent += 1,
                }
            }
        }
        assert!((6300..=6400).contains(&used), "{used}");
        tokio::time::advance(HOUR).await;
        let mut today = 0;
        while one.spend(30).await.is_ok() {
            today += 30;
        }
        assert!((6370..=6400).contains(&today), "{today}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_larger_than_a_slice_takes_what_it_needs() {
        let (paper, clock) = (Paper::default(), WallClock::starting_at(time("2026-11-02T00:00:00Z")));
        let purse = purse(100 << 20, clock, &paper);
        purse.spend(60 << 20).await.unwrap();
        assert!(purse.spend(60 << 20).await.is_err(), "what is left is too little");
        purse.spend(40 << 20).await.unwrap();
        purse.refund(5).await;
        purse.spend(5).await.unwrap();
        assert!(purse.spend(1).await.is_err());
    }
}
