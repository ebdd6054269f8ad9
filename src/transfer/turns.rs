//! Which folders of an account are fetched: as many at once as it has connections for, but for one that is kept free.
//!
//! A folder has its turn until all of it has come from the source. What is left to be sent and proven then has its connections
//! to itself, and the next folder is fetched over those that are free: neither side waits for the other at each folder's end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Of fewer connections none is kept free.
const KEPT_FREE_FROM: usize = 3;
/// Where no turn has ended for so long, what is kept free is given away: so large folders have no use for it.
const LONG: Duration = Duration::from_secs(3);

/// The turns of one account.
pub(super) struct Turns {
    free: Arc<Semaphore>,
    ended: Arc<Notify>,
    kept: Mutex<Kept>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    NotYet,
    Free,
    Given,
}

struct Held {
    _permit: OwnedSemaphorePermit,
    ended: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ended.notify_one();
    }
}

/// A folder's turn, or none. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<Mutex<Option<Held>>>);

impl Turn {
    pub(super) fn end(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Turns {
    pub(super) fn none() -> Self {
        Self { free: Arc::new(Semaphore::new(0)), ended: Arc::default(), kept: Mutex::new(Kept::NotYet) }
    }

    /// So many more, which makes `all`, while `folders` have none.
    pub(super) fn add(&self, more: usize, all: usize, folders: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let keeps = *kept == Kept::NotYet && more > 0 && all >= KEPT_FREE_FROM && folders > more;
        if keeps {
            *kept = Kept::Free;
        }
        self.free.add_permits(more - usize::from(keeps));
    }

    /// Waits until no turn has ended for long, and gives what was kept free; for ever where nothing is.
    pub(super) async fn give(&self) {
        let is_free = *self.kept.lock().unwrap_or_else(PoisonError::into_inner) == Kept::Free;
        while is_free && tokio::time::timeout(LONG, self.ended.notified()).await.is_ok() {}
        if !is_free {
            std::future::pending::<()>().await;
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::Given;
        self.free.add_permits(1);
    }

    /// Waits for this folder's turn, unless it has it.
    pub(super) async fn wait(&self, turn: &Turn) {
        let held = match turn.take() {
            Some(held) => Some(held),
            // Never closed.
            None => {
                let permit = Arc::clone(&self.free).acquire_owned().await.ok();
                permit.map(|permit| Held { _permit: permit, ended: Arc::clone(&self.ended) })
            }
        };
        *turn.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Gives turns to so many folders as get one at once.
    async fn at_once(turns: &Turns) -> Vec<Turn> {
        let mut all = Vec::new();
        loop {
            let turn = Turn::default();
            if tokio::time::timeout(Duration::ZERO, turns.wait(&turn)).await.is_err() {
                return all;
            }
            all.push(turn);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_is_kept_free_while_turns_end() {
        let turns = Turns::none();
        turns.add(4, 4, 20);
        let mut held = at_once(&turns).await;
        assert_eq!(held.len(), 3);
        let ending = async {
            for _ in 0..10 {
                tokio::time::sleep(LONG / 2).await;
                held.pop().unwrap().end();
                held.extend(at_once(&turns).await);
                assert_eq!(held.len(), 3);
            }
            Instant::now()
        };
        let giving = async {
            turns.give().await;
            Instant::now()
        };
        let (last, given) = tokio::join!(ending, giving);
        assert_eq!(given - last, LONG);
        assert_eq!(at_once(&turns).await.len(), 1);
        assert!(tokio::time::timeout(LONG * 10, turns.give()).await.is_err(), "there is one");
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_kept_free_of_few_or_for_few() {
        for (more, folders) in [(2, 20), (4, 4), (1, 20)] {
            let turns = Turns::none();
            turns.add(more, more, folders);
            assert_eq!(at_once(&turns).await.len(), more, "{more} for {folders}");
        }
        let growing = Turns::none();
        let mut held = Vec::new();
        for all in 1..=5 {
            growing.add(1, all, 20);
            held.extend(at_once(&growing).await);
        }
        assert_eq!(held.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_turn_does_not_wait_for_one() {
        let turns = Turns::none();
        turns.add(1, 1, 2);
        let turn = Turn::default();
        turns.wait(&turn).await;
        turns.wait(&turn).await;
        let copy = turn.clone();
        assert!(at_once(&turns).await.is_empty());
        copy.end();
        assert_eq!(at_once(&turns).await.len(), 1, "the folder's turn is one, whoever ends it");
    }
}
