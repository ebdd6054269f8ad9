//! A host that is down is asked by one at a time and ever less often; everybody else waits for what that one finds.
//!
//! ```text
//!            lost()                    probe fails: next() grows
//!   up ───────────────▶ down ─ due ─▶ probing ──┐
//!    ▲                    ▲                     │
//!    │                    └─────────────────────┤
//!    └──────────── reached(), by whomever ◀─────┘
//! ```

use super::{Backoff, PAUSE_MIN};
use crate::failure::{Failure, Kind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::Instant;

/// Since when a host cannot be reached, and why.
#[derive(Debug, Clone)]
pub struct Outage {
    /// When it was first found out.
    pub since: SystemTime,
    /// What the last probe met.
    pub failure: Failure,
}

/// What all accounts of a host know of its being there. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    down: Mutex<Option<Down>>,
    /// Whose turn it is to probe, first come, first served.
    turn: Arc<tokio::sync::Mutex<()>>,
    up: Notify,
}

#[derive(Debug)]
struct Down {
    outage: Outage,
    due: Instant,
    backoff: Backoff,
}

impl Down {
    fn is_locked(&self) -> bool {
        self.outage.failure.kind == Kind::LockedOut
    }
}

/// The right to ask a host once. Dropped without a word, it says nothing of the host.
#[derive(Debug)]
pub struct Attempt {
    breaker: Breaker,
    /// None: the host is up as far as anybody knows.
    probe: Option<OwnedMutexGuard<()>>,
}

impl Breaker {
    /// Gives what is wrong; None: nothing is known to be.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.down().as_ref().map(|down| down.outage.clone())
    }

    /// Waits until the host may be asked: it is up, or a probe is due and nobody else makes it.
    pub async fn enter(&self) -> Attempt {
        if self.outage().is_none() {
            return Attempt { breaker: self.clone(), probe: None };
        }
        let turn = Arc::clone(&self.inner.turn).lock_owned().await;
        loop {
            let up = self.inner.up.notified();
            tokio::pin!(up);
            // From here on no change is missed.
            up.as_mut().enable();
            let due = match self.down().as_ref() {
                None => return Attempt { breaker: self.clone(), probe: None },
                Some(down) => down.due,
            };
            if due <= Instant::now() {
                return Attempt { breaker: self.clone(), probe: Some(turn) };
            }
            drop(tokio::time::timeout_at(due, up).await);
        }
    }

    fn down(&self) -> MutexGuard<'_, Option<Down>> {
        self.inner.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Says whether the host was down when this attempt began.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The host has answered: whoever waits goes on. An answer that was under way when the host locked this machine out says
    /// nothing of that.
    pub fn reached(self) {
        let mut down = self.breaker.down();
        if self.probe.is_some() || down.as_ref().is_some_and(|down| !down.is_locked()) {
            *down = None;
            self.breaker.inner.up.notify_waiters();
        }
    }

    /// The host cannot be reached: from now on it is probed.
    pub fn lost(self, failure: &Failure) {
        let mut down = self.breaker.down();
        match down.as_mut() {
            Some(known) if self.probe.is_some() || failure.kind == Kind::LockedOut => {
                // Silence is how some lock out.
                if !known.is_locked() {
                    known.outage.failure = failure.clone();
                }
                known.due = next(&mut known.backoff, &known.outage.failure);
            }
            // What was under way when it was found out tells nothing new.
            Some(_) => {}
            None => {
                let mut backoff = Backoff::default();
                let due = next(&mut backoff, failure);
                let outage = Outage { since: SystemTime::now(), failure: failure.clone() };
                *down = Some(Down { outage, due, backoff });
            }
        }
    }
}

/// A time that is known for a host's words is kept here too.
fn next(backoff: &mut Backoff, failure: &Failure) -> Instant {
    let pause = match failure.wait {
        Some(least) => backoff.from(least),
        None => backoff.next().unwrap_or(PAUSE_MIN),
    };
    Instant::now() + pause.max(PAUSE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Side;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn failure(text: &str) -> Failure {
        Failure::new(Side::Source, Kind::Unreachable, text)
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_locks_out_is_left_alone_whatever_else_was_under_way() {
        let (breaker, hour) = (Breaker::default(), Duration::from_secs(3600));
        let locked = Failure::new(Side::Source, Kind::LockedOut, "sign in").with_wait(Some(hour), false);
        let [first, answered, also_locked, lost] =
            [breaker.enter().await, breaker.enter().await, breaker.enter().await, breaker.enter().await];
        first.lost(&locked);
        answered.reached();
        also_locked.lost(&locked);
        lost.lost(&failure("hung up"));
        for _ in 0..3 {
            let begin = Instant::now();
            let probe = breaker.enter().await;
            assert!((hour..hour * 5 / 4).contains(&begin.elapsed()), "{:?}", begin.elapsed());
            probe.lost(&failure("hung up"));
            assert_eq!(breaker.outage().unwrap().failure, locked);
        }
        breaker.enter().await.reached();
        assert!(breaker.outage().is_none());

        // Said by one of those under way when the host seemed to be away only.
        let (lost, locks) = (breaker.enter().await, breaker.enter().await);
        lost.lost(&failure("hung up"));
        locks.lost(&locked);
        assert_eq!(breaker.outage().unwrap().failure, locked);
    }

    #[tokio::test(start_paused = true)]
    async fn forty_accounts_ask_a_dead_host_one_at_a_time_and_ever_less_often() {
        let (breaker, tries) = (Breaker::default(), Arc::new(Mutex::new(Vec::new())));
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        breaker.enter().await.lost(&failure("first"));
        let begin = Instant::now();
        let mut accounts = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (breaker, tries) = (breaker.clone(), Arc::clone(&tries));
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            accounts.spawn(async move {
                loop {
                    let attempt = breaker.enter().await;
                    if begin.elapsed() > Duration::from_secs(3 * 3600) {
                        return attempt.reached();
                    }
                    most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tries.lock().unwrap().push(begin.elapsed());
                    // As long as a connection may take.
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    inside.fetch_sub(1, Ordering::Relaxed);
                    attempt.lost(&failure("refused"));
                }
            });
        }
        while let Some(ended) = accounts.join_next().await {
            ended.unwrap();
        }
        assert_eq!(most.load(Ordering::Relaxed), 1, "one probe at a time");
        let tries = tries.lock().unwrap();
        let within = |from: u64, to: u64| {
            tries.iter().filter(|at| (Duration::from_secs(from)..Duration::from_secs(to)).contains(*at)).count()
        };
        assert!(within(0, 60) > 1, "{tries:?}");
        // A probe takes its time, and then five minutes at the most, and half of that at least.
        let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0] - Duration::from_secs(20)).collect();
        assert!(gaps[..8].is_sorted(), "{gaps:?}");
        let (least, most) = (Duration::from_secs(150), Duration::from_millis(300_005));
        assert!(gaps[8..].iter().all(|gap| (least..most).contains(gap)), "{gaps:?}");
        assert!(gaps[8..].windows(2).any(|pair| pair[0] != pair[1]), "by chance: {gaps:?}");
        assert!((22..=43).contains(&within(3600, 3 * 3600)), "{}", within(3600, 3 * 3600));
        assert!(breaker.outage().is_none(), "the first who reaches it lets everybody go on");
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_finds_out_all_know_at_once() {
        let breaker = Breaker::default();
        breaker.enter().await.lost(&failure("refused"));
        let since = breaker.outage().unwrap().since;
        // Ten minutes of it: the next probe is minutes away at times.
        for _ in 0..12 {
            breaker.enter().await.lost(&failure("still refused"));
        }
        let outage = breaker.outage().unwrap();
        assert_eq!((outage.since, outage.failure.text.as_str()), (since, "still refused"));
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                tokio::spawn({
                    let breaker = breaker.clone();
                    async move { breaker.enter().await.is_probe() }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        // Somebody's attempt from before comes through.
        Attempt { breaker: breaker.clone(), probe: None }.reached();
        let begin = Instant::now();
        for waiter in waiting {
            assert!(!waiter.await.unwrap());
        }
        assert!(begin.elapsed() < Duration::from_millis(5), "nobody waits for a probe any more: {:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_probing_leaves_the_turn_to_the_next() {
        let breaker = Breaker::default();
        breaker.enter().await.lost(&failure("refused"));
        drop(breaker.enter().await);
        let waiter = breaker.enter();
        assert!(tokio::time::timeout(Duration::from_millis(1), waiter).await.is_ok());
        // Dropped as it waits for its turn, too.
        let probe = breaker.enter().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), breaker.enter()).await.is_err());
        drop(probe);
        assert!(breaker.enter().await.is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_is_known_for_a_hosts_words_is_kept_before_the_next_probe() {
        let breaker = Breaker::default();
        for least in [60, 120, 240] {
            breaker.enter().await.lost(&failure("too many").with_wait(Some(Duration::from_secs(60)), false));
            let begin = Instant::now();
            assert!(breaker.enter().await.is_probe());
            assert!((least..least + 16).contains(&begin.elapsed().as_secs()), "{least}: {:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_under_way_when_a_host_was_lost_makes_no_delay_longer() {
        let breaker = Breaker::default();
        let under_way: Vec<_> = futures_util::future::join_all((0..40).map(|_| breaker.enter())).await;
        under_way.into_iter().for_each(|attempt| attempt.lost(&failure("refused")));
        let begin = Instant::now();
        assert!(breaker.enter().await.is_probe());
        assert!(begin.elapsed() <= Duration::from_secs(1) + Duration::from_millis(5), "{:?}", begin.elapsed());
    }
}
