//! Connections to one host, over all accounts, and the wall that a host teaches us.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a host has to be quiet before one connection more is tried.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// The gates of all hosts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    gates: Arc<Mutex<HashMap<String, Gate>>>,
}

impl Hosts {
    /// Gives the gate of a host, whatever the case of its name. None: no limit. Asked for with two limits, the lower
    /// counts.
    #[must_use]
    pub fn gate(&self, host: &str, max: Option<usize>) -> Gate {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(host.to_lowercase()).or_default();
        gate.bound(max);
        gate.clone()
    }
}

/// Lets so many connections to one host exist at once. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Whose turn it is, first come, first served: only one waits for `freed`.
    turn: tokio::sync::Mutex<()>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    /// What may be held at most, ever. None: no limit.
    max: Option<usize>,
    /// What the host has taught, at least 1, and since when it has been quiet.
    wall: Option<(usize, Instant)>,
}

impl State {
    /// Gives what may be held now; raises the wall by one for every quiet time that has gone by.
    fn limit(&mut self) -> Option<usize> {
        let Some((wall, since)) = &mut self.wall else { return self.max };
        while since.elapsed() >= QUIET {
            *wall += 1;
            *since += QUIET;
        }
        match self.max {
            Some(max) if *wall >= max => {
                self.wall = None;
                Some(max)
            }
            _ => Some(*wall),
        }
    }

    fn take(&mut self) -> bool {
        let free = self.limit().is_none_or(|limit| self.held < limit);
        self.held += usize::from(free);
        free
    }
}

impl Gate {
    /// Waits until a connection may be opened.
    ///
    /// Who waits here while holding what others wait for may wait for ever: every account takes its first connections in
    /// the same order, source then target, and further ones with [`Self::try_acquire`] or without needing them to go on.
    pub async fn acquire(&self) -> Permit {
        let _turn = self.inner.turn.lock().await;
        loop {
            let higher = {
                let mut state = self.state();
                if state.take() {
                    return Permit { gate: self.clone() };
                }
                state.wall.map(|(_, since)| since + QUIET)
            };
            match higher {
                Some(time) => drop(tokio::time::timeout_at(time, self.inner.freed.notified()).await),
                None => self.inner.freed.notified().await,
            }
        }
    }

    /// Takes a permit only where one is free and nobody waits.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        let _turn = self.inner.turn.try_lock().ok()?;
        self.state().take().then(|| Permit { gate: self.clone() })
    }

    /// Learns that the host takes no more than `connections`: from now on no more are opened, and 1 at least. Those that
    /// are open stay. After ten minutes without another refusal one more is allowed, up to the limit given.
    pub fn learn_wall(&self, connections: usize) {
        let mut state = self.state();
        let limit = state.limit().map_or(connections, |limit| limit.min(connections));
        state.wall = Some((limit.max(1), Instant::now()));
    }

    /// Gives how many connections exist: one fewer than this is what the host took when it refuses the newest.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state().held
    }

    /// Gives how many may exist now. None: no limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.state().limit()
    }

    fn bound(&self, max: Option<usize>) {
        let mut state = self.state();
        let max = max.map(|max| max.max(1));
        state.max = match (state.max, max) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to hold one connection, as long as it lives.
#[derive(Debug)]
pub struct Permit {
    gate: Gate,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.state().held -= 1;
        self.gate.inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fill(gate: &Gate, count: usize) -> Vec<Permit> {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(gate.acquire().await);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_has_one_gate_and_its_lowest_limit() {
        let hosts = Hosts::default();
        let gate = hosts.gate("Mail.example", Some(3));
        assert_eq!(hosts.gate("mail.EXAMPLE", None).limit(), Some(3));
        assert_eq!(hosts.gate("mail.example", Some(2)).limit(), Some(2));
        assert_eq!(hosts.gate("mail.example", Some(9)).limit(), Some(2));
        assert_eq!(hosts.gate("other.example", Some(0)).limit(), Some(1));
        let _held = fill(&gate, 2).await;
        assert!(hosts.gate("mail.example", None).try_acquire().is_none());
        assert!(hosts.gate("third.example", None).try_acquire().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_turn_and_never_too_many() {
        let gate = Hosts::default().gate("a", Some(2));
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut users = tokio::task::JoinSet::new();
        for user in 0..20 {
            let (gate, told) = (gate.clone(), told.clone());
            users.spawn(async move {
                let _permit = gate.acquire().await;
                assert!(gate.held() <= 2);
                told.send(user).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            });
        }
        while let Some(done) = users.join_next().await {
            done.unwrap();
        }
        drop(told);
        let mut served = Vec::new();
        while let Some(user) = order.recv().await {
            served.push(user);
        }
        assert_eq!(served, (0..20).collect::<Vec<_>>());
        assert_eq!(gate.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_is_learnt_and_tried_again_after_a_quiet_time() {
        let gate = Hosts::default().gate("a", Some(5));
        let mut held = fill(&gate, 5).await;
        gate.learn_wall(2);
        held.truncate(2);
        assert!(gate.try_acquire().is_none());
        let begin = Instant::now();
        held.push(gate.acquire().await);
        assert!((QUIET..QUIET + Duration::from_millis(5)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        gate.learn_wall(4);
        assert_eq!(gate.limit(), Some(3), "a later wall never raises the limit");
        tokio::time::advance(QUIET * 9 / 10).await;
        gate.learn_wall(3);
        tokio::time::advance(QUIET * 9 / 10).await;
        assert_eq!(gate.limit(), Some(3), "the quiet time begins anew");
        tokio::time::advance(QUIET * 7).await;
        assert_eq!(gate.limit(), Some(5), "never above the limit given");
        gate.learn_wall(0);
        assert_eq!(gate.limit(), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_without_limit_can_have_a_wall() {
        let gate = Hosts::default().gate("a", None);
        let held = fill(&gate, 100).await;
        gate.learn_wall(held.len() - 1);
        assert_eq!(gate.limit(), Some(99));
        drop(held);
        let _held = fill(&gate, 99).await;
        assert!(gate.try_acquire().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_no_place() {
        let gate = Hosts::default().gate("a", Some(1));
        let held = gate.acquire().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), gate.acquire()).await.is_err());
        drop(held);
        drop(gate.acquire().await);
        assert_eq!(gate.held(), 0);
    }
}
