//! What passes to and from one host, over all accounts and jobs of the process.

use super::Rates;
use super::bucket::{Leave, Pacer};
use super::clock::WallClock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The pacers of all hosts, and the clock they go by. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct HostPacers {
    clock: WallClock,
    hosts: Arc<Mutex<HashMap<String, Arc<Known>>>>,
}

/// The pacers of one host: two jobs may ask for it with different limits.
#[derive(Debug, Default)]
struct Known(Mutex<Vec<Asked>>);

#[derive(Debug)]
struct Asked {
    rates: Rates,
    pacer: Pacer,
    /// One for each that asked with these limits, beside its own.
    users: Arc<()>,
}

impl Asked {
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.users) > 1
    }
}

/// What holds back who works with a host. Clones share it.
#[derive(Debug, Clone)]
pub struct HostPace {
    known: Arc<Known>,
    _user: Arc<()>,
}

impl HostPacers {
    /// Makes them go by a clock.
    #[must_use]
    pub fn by(clock: WallClock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Gives the clock.
    #[must_use]
    pub fn clock(&self) -> WallClock {
        self.clock
    }

    /// Gives what holds back who works with a host, whatever the case of its name. As long as it is in use under several
    /// limits, all of them count for everybody, that is the lowest.
    #[must_use]
    pub fn pace(&self, host: &str, rates: &Rates) -> HostPace {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::clone(hosts.entry(host.to_lowercase()).or_default());
        drop(hosts);
        let user = known.join(rates, self.clock);
        HostPace { known, _user: user }
    }
}

impl Known {
    fn join(&self, rates: &Rates, clock: WallClock) -> Arc<()> {
        let mut list = self.list();
        // Those nobody uses any more go, but for the one that is asked for: it knows what has just passed.
        list.retain(|asked| asked.rates == *rates || asked.is_used());
        if let Some(asked) = list.iter().find(|asked| asked.rates == *rates) {
            return Arc::clone(&asked.users);
        }
        let users = Arc::new(());
        list.push(Asked { rates: rates.clone(), pacer: Pacer::new(rates, clock), users: Arc::clone(&users) });
        users
    }

    fn list(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostPace {
    /// Gives those that hold something back and that somebody uses.
    fn pacers(&self) -> Vec<Pacer> {
        let list = self.known.list();
        list.iter().filter(|asked| asked.pacer.holds() && asked.is_used()).map(|asked| asked.pacer.clone()).collect()
    }

    /// Waits until `count` messages may pass.
    pub async fn messages(&self, count: u32) -> Vec<Leave> {
        let mut leaves = Vec::new();
        for pacer in self.pacers() {
            leaves.push(pacer.messages(count).await);
        }
        leaves
    }

    /// Waits until `count` bytes may pass.
    pub async fn bytes(&self, count: u64) -> Vec<Leave> {
        let mut leaves = Vec::new();
        for pacer in self.pacers() {
            leaves.push(pacer.bytes(count).await);
        }
        leaves
    }

    /// Waits until `count` commands may pass.
    pub async fn commands(&self, count: u32) -> Vec<Leave> {
        let mut leaves = Vec::new();
        for pacer in self.pacers() {
            leaves.push(pacer.commands(count).await);
        }
        leaves
    }

    /// Says whether it holds commands back, ever.
    #[must_use]
    pub fn holds_commands(&self) -> bool {
        self.pacers().iter().any(Pacer::holds_commands)
    }

    /// Gives how many messages and bytes pass at once now, at the most.
    #[must_use]
    pub fn burst(&self) -> (u32, u64) {
        let bursts = self.pacers();
        bursts.iter().map(Pacer::burst).fold((u32::MAX, u64::MAX), |a, b| (a.0.min(b.0), a.1.min(b.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::Instant;

    fn rates(messages_per_second: f64) -> Rates {
        Rates { messages_per_second: Some(messages_per_second).into(), ..Rates::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn two_accounts_share_what_a_host_takes() {
        let hosts = HostPacers::default();
        let begin = Instant::now();
        let mut accounts = tokio::task::JoinSet::new();
        for host in ["mail.example:993", "Mail.Example:993"] {
            let pace = hosts.pace(host, &rates(10.0));
            accounts.spawn(async move {
                let mut passed = 0;
                while begin.elapsed() < Duration::from_secs(60) {
                    pace.messages(1).await;
                    passed += 1;
                }
                passed
            });
        }
        let passed = accounts.join_all().await;
        let total: u32 = passed.iter().sum();
        assert!((10 * 60 * 9 / 10..=10 * 61 + 2).contains(&total), "{passed:?}");
        assert!(passed.iter().all(|passed| *passed > total / 3), "they take turns: {passed:?}");
        let other = hosts.pace("other.example:993", &rates(10.0));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        other.messages(9).await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "another host is another bucket");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_limits_in_use_the_lower_counts_for_everybody() {
        let hosts = HostPacers::default();
        let slow = hosts.pace("a", &rates(1.0));
        let fast = hosts.pace("a", &rates(100.0));
        let begin = Instant::now();
        fast.messages(31).await;
        assert!(begin.elapsed() >= Duration::from_secs(30), "{:?}", begin.elapsed());
        assert_eq!(fast.burst().0, 1);
        drop(slow);
        let begin = Instant::now();
        fast.messages(200).await;
        assert!(begin.elapsed() <= Duration::from_secs(2), "the lower limit went with its last user");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_again_finds_no_new_burst() {
        let hosts = HostPacers::default();
        let begin = Instant::now();
        for _ in 0..20 {
            hosts.pace("a", &rates(5.0)).messages(5).await;
        }
        assert!(begin.elapsed() >= Duration::from_secs(19), "{:?}", begin.elapsed());
        hosts.pace("a", &rates(6.0)).messages(6).await;
        assert!(begin.elapsed() >= Duration::from_millis(19_900), "{:?}", begin.elapsed());
    }
}
