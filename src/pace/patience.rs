//! How long until the next try, and whether there is one.

use std::time::Duration;

/// However early a try is: a host is not asked in a tight loop.
pub const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Growing delays with jitter: each lies anywhere in the upper half below a ceiling that grows to `max`. Where that doubles, none
/// is shorter than the one before it until `max` is reached, and none is shorter than half of `max` after that.
///
/// Without jitter, forty accounts that lost one host together come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    factor: f64,
    /// Delays given since the last success.
    attempt: u32,
    chance: fastrand::Rng,
}

impl Backoff {
    /// Makes one whose ceiling begins at `first` and grows by `factor` up to `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration, factor: f64) -> Self {
        Self { first, max, factor, attempt: 0, chance: fastrand::Rng::new() }
    }

    /// Makes the delays repeatable.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.chance = fastrand::Rng::with_seed(seed);
        self
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Gives the delays given since the last success.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Gives the next delay where a first one is known: it doubles from there to a quarter of an hour, or stays where it is if it
    /// is longer. At least the first, and up to a quarter of it longer by chance.
    pub fn from(&mut self, first: Duration) -> Duration {
        /// Doubled no more than this: from a minute it is sixteen.
        const DOUBLINGS_MAX: u32 = 4;
        const GROWN_MAX: Duration = Duration::from_secs(15 * 60);
        let grown = first.saturating_mul(1 << self.attempt.min(DOUBLINGS_MAX));
        self.attempt = self.attempt.saturating_add(1);
        grown.min(GROWN_MAX.max(first)) + first.mul_f64(self.chance.f64() / 4.0)
    }

    fn ceiling(&self) -> Duration {
        let exponent = i32::try_from(self.attempt).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.powi(exponent);
        // What no duration can hold is above any ceiling.
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }
}

/// From 1 s doubling to 5 minutes.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(300), 2.0)
    }
}

/// Never ends.
impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let ceiling = self.ceiling();
        self.attempt = self.attempt.saturating_add(1);
        Some(ceiling.mul_f64(0.5 + self.chance.f64() / 2.0))
    }
}

/// How long a host that cannot be used is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Where it has answered before; None: for ever.
    pub outage: Option<Duration>,
    /// Where it never has: most likely the job file is wrong.
    pub first_contact: Duration,
}

impl Patience {
    /// The same where the server is there and asks for time: Gmail's hour comes again and again for up to a day.
    #[must_use]
    pub fn asked(self) -> Self {
        /// A day where an outage is given an hour.
        const LONGER: u32 = 24;
        Self { outage: self.outage.map(|outage| outage.saturating_mul(LONGER)), ..self }
    }

    /// Says how long to wait before the next try; None: no more.
    ///
    /// `since` is how long the trouble has lasted, `reached` whether the host has ever answered a sign-in, `delay` what a
    /// [`Backoff`] proposes: shortened where it would go beyond the end, so that the last try is at the end.
    #[must_use]
    pub fn decide(&self, since: Duration, reached: bool, delay: Duration) -> Option<Duration> {
        let allowed = if reached { self.outage } else { Some(self.first_contact) };
        match allowed {
            None => Some(delay),
            Some(allowed) => allowed.checked_sub(since).filter(|left| !left.is_zero()).map(|left| delay.min(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_grow_by_chance_below_a_ceiling_that_grows_to_its_max() {
        for seed in 0..200 {
            let delays: Vec<_> = Backoff::default().with_seed(seed).take(40).collect();
            for (at, delay) in delays.iter().enumerate() {
                let ceiling = SECOND * 2_u32.pow(at.min(20) as u32);
                let ceiling = ceiling.min(SECOND * 300);
                assert!(*delay <= ceiling && *delay >= ceiling / 2, "seed {seed}, delay {at}: {delay:?}");
            }
            assert!(delays[..9].is_sorted(), "seed {seed}: they grow until the ceiling does not: {delays:?}");
            assert_ne!(delays, Backoff::default().with_seed(seed + 1).take(40).collect::<Vec<_>>());
            assert_eq!(delays, Backoff::default().with_seed(seed).take(40).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_success_begins_anew() {
        let mut backoff = Backoff::default().with_seed(1);
        assert!(backoff.by_ref().take(20).any(|delay| delay > SECOND * 2));
        backoff.reset();
        assert_eq!(backoff.attempt(), 0);
        assert!(backoff.next().unwrap() <= SECOND);
        assert_eq!(backoff.attempt(), 1);
    }

    #[test]
    fn a_known_delay_grows_and_is_never_shorter() {
        for seed in 0..50 {
            let mut backoff = Backoff::default().with_seed(seed);
            for least in [60, 120, 240, 480, 900, 900] {
                let delay = backoff.from(SECOND * 60);
                assert!((SECOND * least..SECOND * (least + 15)).contains(&delay), "seed {seed}: {delay:?}");
            }
            assert!(backoff.from(SECOND * 3600) >= SECOND * 3600);
            backoff.reset();
            assert!(backoff.from(SECOND * 60) < SECOND * 75);
        }
    }

    #[test]
    fn no_number_of_tries_is_too_many() {
        let mut backoff = Backoff { attempt: u32::MAX, ..Backoff::default() };
        assert!(backoff.next().unwrap() <= SECOND * 300);
        assert!(Backoff::new(Duration::MAX, Duration::MAX, 1e300).take(3).count() == 3);
    }

    #[test]
    fn patience_ends_where_it_was_told_to() {
        let patient = Patience { outage: Some(SECOND * 3600), first_contact: SECOND * 60 };
        let endless = Patience { outage: None, ..patient };
        for (patience, since, reached, delay, expected) in [
            (patient, 0, true, 5, Some(5)),
            (patient, 3590, true, 300, Some(10)),
            (patient, 3600, true, 5, None),
            (patient, 9999, true, 5, None),
            (patient, 59, false, 5, Some(1)),
            (patient, 60, false, 5, None),
            (endless, 1_000_000, true, 300, Some(300)),
            (endless, 61, false, 5, None),
        ] {
            let decided = patience.decide(SECOND * since, reached, SECOND * delay);
            assert_eq!(decided, expected.map(|seconds| SECOND * seconds), "{since} {reached} {delay}");
        }
        assert_eq!(patient.asked().decide(SECOND * 3600, true, SECOND * 4500), Some(SECOND * 4500));
        assert_eq!(patient.asked().decide(SECOND * 24 * 3600, true, SECOND), None);
    }
}
