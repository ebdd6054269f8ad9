//! When one side of an account may be asked again: what one of its connections is told holds for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The shortest pause after an answer that asks for less haste, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// After so long without a pause the next one begins anew. Gmail goes on asking for about so long.
const FORGIVEN: Duration = Duration::from_secs(10 * 60);

/// Holds back all connections of one side of an account. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Hold {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
}

impl Hold {
    /// Nothing is asked for this long: a time that a server named, kept whole. A longer one that runs is not shortened.
    pub fn keep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state();
        state.until = Some(state.until.map_or(until, |known| known.max(until)));
    }

    /// Nothing is asked for as long as was worked since the last pause: who goes on asking for less is asked half as much.
    /// Answers that were under way when a pause began say nothing new.
    pub fn halve(&self) {
        let now = Instant::now();
        let mut state = self.state();
        if state.until.is_some_and(|until| until > now) {
            return;
        }
        let worked = state.until.map(|until| now.duration_since(until)).filter(|worked| *worked < FORGIVEN);
        state.until = Some(now + worked.unwrap_or_default().clamp(PAUSES.0, PAUSES.1));
    }

    /// Gives how long nothing is asked from now on; None: it may be asked.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let until = self.state().until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Waits until it may be asked, however often that is put off meanwhile.
    pub async fn over(&self) {
        while let Some(left) = self.left() {
            tokio::time::sleep(left).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn waited(hold: &Hold) -> Duration {
        let begin = Instant::now();
        hold.over().await;
        begin.elapsed()
    }

    /// tokio's timers count in milliseconds, rounded up.
    fn assert_about(found: Duration, expected: Duration) {
        assert!((expected..expected + Duration::from_millis(5)).contains(&found), "{found:?} for {expected:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_time_is_kept_whole_by_all() {
        let hold = Hold::default();
        assert_eq!(waited(&hold).await, Duration::ZERO);
        hold.keep(SECOND * 300);
        hold.keep(SECOND * 3);
        hold.halve();
        let others: Vec<_> = (0..3).map(|_| hold.clone()).collect();
        let waits = others.iter().map(waited);
        for found in futures_util::future::join_all(waits).await {
            assert_about(found, SECOND * 300);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_time_that_comes_meanwhile_is_waited_for_too() {
        let hold = Hold::default();
        hold.keep(SECOND * 2);
        let longer = async {
            tokio::time::sleep(SECOND).await;
            hold.keep(SECOND * 10);
        };
        let (found, ()) = tokio::join!(waited(&hold), longer);
        assert_about(found, SECOND * 11);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_less_is_asked_half_as_much() {
        let hold = Hold::default();
        for (worked, expected) in [(0, 1), (0, 1), (5, 5), (5, 5), (59, 59), (300, 60), (600, 1)] {
            tokio::time::sleep(SECOND * worked).await;
            hold.halve();
            // What else was under way is answered alike.
            hold.halve();
            assert_about(waited(&hold).await, SECOND * expected);
        }
    }
}
