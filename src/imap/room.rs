//! Who may hold how much of a memory that many share.
//!
//! Each has a part, and one part more than there are sharers is cut: an account that moves ten kilobytes a second would else
//! hold for an hour what others need for a second. Who took more before others came keeps it until it is used; a newcomer may
//! always hold one body.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// One sharer's part. Ends with the last who holds something of it.
pub(super) struct Part {
    /// How many there are.
    sharers: Arc<AtomicUsize>,
    budget: u64,
    used: Mutex<u64>,
    freed: Notify,
}

impl Part {
    pub(super) fn new(sharers: &Arc<AtomicUsize>, budget: u64) -> Arc<Self> {
        sharers.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { sharers: Arc::clone(sharers), budget, used: Mutex::new(0), freed: Notify::new() })
    }

    /// Gives how many bytes this one may hold now.
    pub(super) fn bytes_max(&self) -> u64 {
        self.budget / (self.sharers.load(Ordering::Relaxed) as u64 + 1)
    }

    /// Waits until so many bytes fit into the part; where it holds nothing, they do, however many others have come.
    pub(super) async fn take(self: &Arc<Self>, bytes: u64) -> Held {
        loop {
            let freed = self.freed.notified();
            if let Some(held) = self.take_at_once(bytes) {
                return held;
            }
            freed.await;
        }
    }

    /// As [`Self::take`]; None where they do not fit now.
    pub(super) fn take_at_once(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let mut used = self.used();
        let fits = *used == 0 || *used + bytes <= self.bytes_max();
        fits.then(|| {
            *used += bytes;
            Held { part: Arc::clone(self), bytes }
        })
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.sharers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of a part that are in use, as long as it lives.
pub(super) struct Held {
    part: Arc<Part>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.part.used() -= self.bytes;
        self.part.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn fits(part: &Arc<Part>, bytes: u64) -> Option<Held> {
        tokio::time::timeout(Duration::from_secs(1), part.take(bytes)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_finds_something_however_slow_the_others_are() {
        let sharers = Arc::default();
        let mut slow = Vec::new();
        for at in 0..20 {
            let part = Part::new(&sharers, 32_000);
            let mut held = Vec::new();
            while let Some(one) = fits(&part, 100).await {
                held.push(one);
            }
            assert!(!held.is_empty(), "number {at} has nothing");
            slow.push((part, held));
        }
        let held: u64 = slow.iter().map(|(part, _)| *part.used()).sum();
        assert!(held < 32_000 * 4, "{held}");
        assert_eq!(*slow[0].1[0].part.used(), 16_000, "who is alone has half");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_taken_by_who_waits() {
        let sharers = Arc::default();
        let part = Part::new(&sharers, 100);
        let held = part.take(50).await;
        assert!(fits(&part, 1).await.is_none());
        let (waited, ()) = tokio::join!(part.take(20), async { drop(held) });
        assert_eq!(*part.used(), 20);
        // More than the part, and nothing else is in it.
        drop(waited);
        assert!(fits(&part, 70).await.is_some());
        drop(part);
        assert_eq!(sharers.load(Ordering::Relaxed), 0);
    }
}
