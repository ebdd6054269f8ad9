//! Connections to one host, over all accounts, and the wall that a host teaches us.
//!
//! A place goes to whoever has fewest, then to whoever asked first: a mailbox of a million messages with four connections
//! keeps no other account from its first. Who has more than another who waits gives way: what it holds idle is closed, and
//! what it works with is given up at a safe point ([`Gate::give_way`]).

use super::Breaker;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How long a host has to be quiet before one connection more is tried.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// The same where the host has said nothing and hung up, for the first time: it may have been chance. Doubles up to the other.
const QUIET_MIN: Duration = Duration::from_secs(60);

/// So long somebody waits for a connection of one who has no more than one more: then they take turns.
const TURN: Duration = Duration::from_secs(10 * 60);
/// What was promised is given by then, or somebody else is asked: whoever promised may have come to an end otherwise.
const PROMISE: Duration = Duration::from_secs(60);

/// The gates of all hosts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    hosts: Arc<Mutex<HashMap<String, Host>>>,
}

/// What is known of one, by whatever gate.
type Host = (Arc<Inner>, Breaker);

impl Hosts {
    /// Gives the gate of a host, whatever the case of its name, for one more who holds connections: an account. None: no
    /// limit. Of all limits that it was asked for with, the lowest counts, as long as that gate is there.
    #[must_use]
    pub fn gate(&self, host: &str, max: Option<usize>) -> Gate {
        let gate = Gate::of(self.host(host).0);
        gate.bound(max);
        gate
    }

    /// Gives what is known of a host's being there, for all accounts.
    #[must_use]
    pub fn breaker(&self, host: &str) -> Breaker {
        self.host(host).1
    }

    fn host(&self, host: &str) -> Host {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(host.to_lowercase()).or_default().clone()
    }
}

/// Lets so many connections to one host exist at once. Clones share it, and hold together.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
    holder: Arc<Holder>,
}

/// One of those who hold connections.
#[derive(Debug)]
struct Holder {
    id: u64,
    inner: Weak<Inner>,
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade() else { return };
        let (idle, bound) = {
            let mut state = inner.state();
            (state.idle.remove(&self.id), state.bounds.remove(&self.id))
        };
        // What closes connections may hold some: not under the lock.
        drop(idle);
        if bound.is_some() {
            inner.serve();
            inner.changed.notify_waiters();
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Somebody waits, or the wall is another.
    changed: Notify,
}

/// Closes one connection that is not in use, and says whether there was one.
type CloseIdle = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    /// By holder; who has none is not in it.
    held: BTreeMap<u64, usize>,
    /// Those of them that have signed in: what the host has taken.
    entered: usize,
    /// What may be held at most, by whose limit that is; who has none is not in it.
    bounds: BTreeMap<u64, usize>,
    wall: Option<Wall>,
    /// How long after a silent hang-up the next one is taken for the wall.
    quiet: Option<Duration>,
    /// In the order in which they came.
    waiting: Vec<Waiter>,
    idle: BTreeMap<u64, CloseIdle>,
    next: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("held", &self.held).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What a host has taught: at least 1, since when it has been quiet, and how long it has to be.
#[derive(Debug, Clone, Copy)]
struct Wall {
    limit: usize,
    since: Instant,
    quiet: Duration,
    /// The host has said nothing: there is no wall after all if it takes more than these. None: it has.
    suspected: Option<usize>,
}

struct Waiter {
    holder: u64,
    leave: oneshot::Sender<Permit>,
    since: Instant,
    /// When somebody promised to give up a connection for this one.
    promised: Option<Instant>,
}

impl Waiter {
    /// Says whether who holds `own` is to give up one for this waiter, who holds `held`: where it would still have as many
    /// then, or has had its turn; unless somebody else does.
    fn may_ask(&self, own: usize, held: usize) -> bool {
        (held + 1 < own || held < own && self.since.elapsed() >= TURN)
            && self.promised.is_none_or(|promised| promised.elapsed() >= PROMISE)
    }
}

impl State {
    /// Gives what may be held at most, ever. None: no limit.
    fn max(&self) -> Option<usize> {
        self.bounds.values().min().copied()
    }

    /// Gives what may be held now; raises the wall by one for every quiet time that has gone by.
    fn limit(&mut self) -> Option<usize> {
        let max = self.max();
        let Some(wall) = &mut self.wall else { return max };
        while wall.since.elapsed() >= wall.quiet {
            wall.limit += 1;
            wall.since += wall.quiet;
        }
        // A lower limit may be there for a while only: the wall is remembered beyond it.
        Some(max.map_or(wall.limit, |max| max.min(wall.limit)))
    }

    /// There is no wall, and what was taken for one was chance.
    fn fall(&mut self) {
        (self.wall, self.quiet) = (None, None);
    }

    /// The host has taken so many at once: its wall is no lower.
    fn took(&mut self, connections: usize) {
        let Some(wall) = &mut self.wall else { return };
        wall.limit = wall.limit.max(connections);
        if wall.suspected.is_some_and(|suspected| connections > suspected) {
            self.fall();
        }
    }

    fn total(&self) -> usize {
        self.held.values().sum()
    }

    fn of(&self, holder: u64) -> usize {
        self.held.get(&holder).copied().unwrap_or(0)
    }

    fn is_free(&mut self) -> bool {
        let total = self.total();
        self.limit().is_none_or(|limit| total < limit)
    }

    /// Those who have given up waiting are not counted.
    fn is_waited_for(&mut self) -> bool {
        self.waiting.retain(|waiter| !waiter.leave.is_closed());
        !self.waiting.is_empty()
    }

    /// Takes out whoever is next: who has fewest, of those who came first.
    fn next_waiter(&mut self) -> Option<Waiter> {
        if !self.is_waited_for() || !self.is_free() {
            return None;
        }
        let order = |at: &usize| (self.of(self.waiting[*at].holder), *at);
        let at = (0..self.waiting.len()).min_by_key(order)?;
        Some(self.waiting.remove(at))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, state: &mut State, holder: u64) -> Permit {
        *state.held.entry(holder).or_default() += 1;
        Permit { inner: Arc::clone(self), holder, entered: false }
    }

    /// Gives what is free to those who wait for it.
    fn serve(self: &Arc<Self>) {
        loop {
            let (waiter, permit) = {
                let mut state = self.state();
                let Some(waiter) = state.next_waiter() else { return };
                let permit = self.take(&mut state, waiter.holder);
                (waiter, permit)
            };
            // Nobody there any more: it comes back by being dropped, outside of the lock.
            drop(waiter.leave.send(permit));
        }
    }
}

impl Gate {
    /// Makes one of its own.
    #[must_use]
    pub fn new(max: Option<usize>) -> Self {
        let gate = Self::of(Arc::default());
        gate.bound(max);
        gate
    }

    fn of(inner: Arc<Inner>) -> Self {
        let id = {
            let mut state = inner.state();
            state.next += 1;
            state.next
        };
        let holder = Arc::new(Holder { id, inner: Arc::downgrade(&inner) });
        Self { inner, holder }
    }

    /// Waits until a connection may be opened.
    ///
    /// Who waits here while holding what others wait for may wait for ever: every account takes its first connections in
    /// the same order, source then target, and further ones with [`Self::try_acquire`] or without needing them to go on.
    pub async fn acquire(&self) -> Permit {
        let mut turn = {
            let mut state = self.state();
            if !state.is_waited_for() && state.is_free() {
                return self.inner.take(&mut state, self.holder.id);
            }
            let (leave, turn) = oneshot::channel();
            state.waiting.push(Waiter { holder: self.holder.id, leave, since: Instant::now(), promised: None });
            turn
        };
        self.close_idle();
        self.inner.changed.notify_waiters();
        loop {
            let changed = self.inner.changed.notified();
            self.inner.serve();
            let higher = self.state().wall.map(|wall| wall.since + wall.quiet);
            let rises = async {
                match higher {
                    Some(time) => tokio::time::sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender is dropped only with the permit in it.
                permit = &mut turn => if let Ok(permit) = permit { return permit },
                () = changed => {}
                () = rises => {}
            }
        }
    }

    /// Takes a permit only where one is free and nobody waits.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut state = self.state();
        (!state.is_waited_for() && state.is_free()).then(|| self.inner.take(&mut state, self.holder.id))
    }

    /// Says whether [`Self::try_acquire`] would give one now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let mut state = self.state();
        !state.is_waited_for() && state.is_free()
    }

    /// Has `close` called where somebody waits who has fewer: it closes one connection that is not in use, if there is one.
    pub fn when_wanted(&self, close: impl Fn() -> bool + Send + Sync + 'static) {
        self.state().idle.insert(self.holder.id, Arc::new(close));
    }

    /// Says whether somebody waits who has fewer than this one.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        let mut state = self.state();
        let own = state.of(self.holder.id);
        state.is_waited_for() && state.waiting.iter().any(|waiter| state.of(waiter.holder) < own)
    }

    /// Says whether anybody waits.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.state().is_waited_for()
    }

    /// Waits until somebody waits who would still not have more than this one with one connection fewer: one of them is to be
    /// given up for it, at the next safe point. Only one of all who wait here hears of it.
    pub async fn give_way(&self) {
        loop {
            let changed = self.inner.changed.notified();
            if self.promise() {
                return;
            }
            // Who waits may have waited long enough by then.
            drop(tokio::time::timeout(PROMISE, changed).await);
        }
    }

    fn promise(&self) -> bool {
        let mut state = self.state();
        state.is_waited_for();
        let own = state.of(self.holder.id);
        let held = state.held.clone();
        let asks = |waiter: &&mut Waiter| waiter.may_ask(own, held.get(&waiter.holder).copied().unwrap_or(0));
        let asking = state.waiting.iter_mut().find(asks);
        asking.map(|waiter| waiter.promised = Some(Instant::now())).is_some()
    }

    /// Asks those who have more than this one for what they do not use, until one has given something.
    fn close_idle(&self) {
        let able: Vec<CloseIdle> = {
            let state = self.state();
            let own = state.of(self.holder.id);
            let mut able: Vec<_> = state.idle.iter().filter(|(id, _)| state.of(**id) > own).collect();
            able.sort_by_key(|(id, _)| std::cmp::Reverse(state.of(**id)));
            able.into_iter().map(|(_, close)| Arc::clone(close)).collect()
        };
        // It drops a permit: not under the lock.
        let _ = able.iter().any(|close| close());
    }

    /// Learns that the host takes no more than `connections`: from now on no more are opened, and 1 at least. Those that
    /// are open stay. After ten minutes without another refusal one more is allowed, up to the limit given.
    pub fn learn_wall(&self, connections: usize) {
        self.wall(connections, QUIET, None);
    }

    /// Learns that the host hung up on a connection beyond these without a word: taken for a wall, and tried again sooner, since
    /// it may have been chance. Each time it happens the next try is later, until the host takes one more than these.
    pub fn suspect_wall(&self, connections: usize) {
        let quiet = {
            let mut state = self.state();
            let quiet = state.quiet.map_or(QUIET_MIN, |quiet| (quiet * 2).min(QUIET));
            state.quiet = Some(quiet);
            quiet
        };
        let connections = connections.max(1);
        self.wall(connections, quiet, Some(connections));
    }

    /// Learns that the host takes nobody: who was hung up on met no wall.
    pub fn suspect_none(&self) {
        let mut state = self.state();
        if state.wall.is_some_and(|wall| wall.suspected.is_some()) {
            state.fall();
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Learns that the host has taken so many connections at once: its wall is no lower.
    pub fn took(&self, connections: usize) {
        self.state().took(connections);
        self.inner.changed.notify_waiters();
    }

    fn wall(&self, connections: usize, quiet: Duration, suspected: Option<usize>) {
        {
            let mut state = self.state();
            // It rises by what has gone by since.
            state.limit();
            let limit = state.wall.map_or(connections, |wall| wall.limit.min(connections));
            state.wall = Some(Wall { limit: limit.max(1), since: Instant::now(), quiet, suspected });
        }
        self.inner.changed.notify_waiters();
    }

    /// Gives how many connections exist or are being opened.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state().total()
    }

    /// Gives how many have signed in ([`Permit::enter`]): what the host took when it refuses one more.
    #[must_use]
    pub fn entered(&self) -> usize {
        self.state().entered
    }

    /// Gives how many may exist now. None: no limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.state().limit()
    }

    /// Lets so many be held from now on, 1 at least, whatever this one's limit was before; who holds more keeps them.
    pub fn allow(&self, connections: usize) {
        self.bound(Some(connections));
        self.inner.changed.notify_waiters();
    }

    fn bound(&self, max: Option<usize>) {
        if let Some(max) = max {
            self.state().bounds.insert(self.holder.id, max.max(1));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }
}

/// The right to hold one connection, as long as it lives.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    holder: u64,
    entered: bool,
}

impl Permit {
    /// The host has taken this connection: whatever it may have refused meanwhile, it takes so many.
    pub fn enter(&mut self) {
        if std::mem::replace(&mut self.entered, true) {
            return;
        }
        let mut state = self.inner.state();
        state.entered += 1;
        let entered = state.entered;
        state.took(entered);
        drop(state);
        self.inner.changed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.inner.state();
            state.entered -= usize::from(self.entered);
            if let Some(held) = state.held.get_mut(&self.holder) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.holder);
                }
            }
        }
        self.inner.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets every task that can go on do so.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

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
        let lower = hosts.gate("mail.example", Some(2));
        assert_eq!((gate.limit(), lower.limit()), (Some(2), Some(2)));
        assert_eq!(hosts.gate("mail.example", Some(9)).limit(), Some(2));
        assert_eq!(hosts.gate("other.example", Some(0)).limit(), Some(1));
        let _held = fill(&gate, 2).await;
        assert!(hosts.gate("mail.example", None).try_acquire().is_none());
        assert!(hosts.gate("third.example", None).try_acquire().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_goes_with_whoever_had_it() {
        let hosts = Hosts::default();
        let (narrow, wide) = (hosts.gate("a", Some(2)), hosts.gate("a", Some(20)));
        let again = narrow.clone();
        let mut held = fill(&narrow, 2).await;
        let waits = tokio::spawn({
            let wide = wide.clone();
            async move { fill(&wide, 3).await }
        });
        settle().await;
        drop(narrow);
        settle().await;
        assert!(!waits.is_finished(), "it is there as long as one of its clones");
        drop(again);
        let begin = Instant::now();
        held.extend(waits.await.unwrap());
        assert_eq!((begin.elapsed(), wide.held(), wide.limit()), (Duration::ZERO, 5, Some(20)));
        drop(wide);
        assert_eq!(hosts.gate("a", None).limit(), None);
        // The same job, edited.
        let edited = hosts.gate("a", Some(4));
        assert_eq!(edited.limit(), Some(4));
        edited.allow(6);
        assert_eq!(edited.limit(), Some(6));
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
    async fn a_wall_is_remembered_beyond_a_lower_limit() {
        let hosts = Hosts::default();
        let gate = hosts.gate("a", Some(20));
        gate.learn_wall(5);
        let lower = hosts.gate("a", Some(4));
        assert_eq!(gate.limit(), Some(4));
        gate.learn_wall(7);
        drop(lower);
        assert_eq!(gate.limit(), Some(5));
        let lower = hosts.gate("b", Some(4));
        let gate = hosts.gate("b", Some(20));
        gate.learn_wall(7);
        drop(lower);
        assert_eq!(gate.limit(), Some(7));
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

    #[tokio::test(start_paused = true)]
    async fn a_first_connection_comes_before_anybodys_second() {
        let hosts = Hosts::default();
        let (big, small) = (hosts.gate("a", Some(2)), hosts.gate("a", None));
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut held = fill(&big, 2).await;
        for (name, gate) in [("big", big.clone()), ("big", big.clone()), ("small", small.clone()), ("small", small)] {
            let told = told.clone();
            tokio::spawn(async move {
                let permit = gate.acquire().await;
                told.send((name, permit)).unwrap();
            });
            settle().await;
        }
        let mut given = Vec::new();
        for _ in 0..4 {
            drop(held.pop().unwrap());
            let (name, permit) = order.recv().await.unwrap();
            given.push(name);
            held.push(permit);
            // The oldest goes first.
            held.rotate_left(1);
        }
        assert_eq!(given, ["small", "big", "small", "big"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_more_gives_up_what_it_does_not_use() {
        let hosts = Hosts::default();
        let (rich, poor) = (hosts.gate("a", Some(3)), hosts.gate("a", None));
        let idle = Arc::new(Mutex::new(fill(&rich, 3).await));
        let pool = Arc::downgrade(&idle);
        rich.when_wanted(move || {
            let idle = pool.upgrade().and_then(|idle| idle.lock().unwrap().pop());
            idle.is_some()
        });
        let first = poor.acquire().await;
        assert_eq!((idle.lock().unwrap().len(), rich.is_wanted()), (2, false));
        // With one each, or with as many, nobody is asked for anything.
        drop(idle.lock().unwrap().pop());
        let second = poor.acquire().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), poor.acquire()).await.is_err());
        assert_eq!(idle.lock().unwrap().len(), 1);
        drop((first, second));
        assert_eq!(rich.held(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_of_the_richest_is_given_up_for_each_who_has_none() {
        let hosts = Hosts::default();
        let (rich, poor) = (hosts.gate("a", Some(4)), hosts.gate("a", None));
        let mut held = fill(&rich, 4).await;
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let rich = rich.clone();
                tokio::spawn(async move { rich.give_way().await })
            })
            .collect();
        settle().await;
        assert!(workers.iter().all(|worker| !worker.is_finished()));
        let waits = tokio::spawn({
            let poor = poor.clone();
            async move { poor.acquire().await }
        });
        settle().await;
        assert_eq!(workers.iter().filter(|worker| worker.is_finished()).count(), 1, "one is enough");
        assert!(rich.is_wanted());
        drop(held.pop());
        let _first = waits.await.unwrap();
        settle().await;
        assert_eq!(workers.iter().filter(|worker| worker.is_finished()).count(), 1);
        workers.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_only_connection_gives_it_up_when_somebody_has_waited_for_long() {
        let hosts = Hosts::default();
        let (one, other) = (hosts.gate("a", Some(1)), hosts.gate("a", None));
        let _held = fill(&one, 1).await;
        let _waits = tokio::spawn(async move { other.acquire().await });
        settle().await;
        let begin = Instant::now();
        one.give_way().await;
        let waited = begin.elapsed();
        assert!((TURN..TURN + PROMISE).contains(&waited), "{waited:?}");
        // It came to nothing.
        one.give_way().await;
        assert!(begin.elapsed() >= waited + PROMISE && begin.elapsed() <= waited + PROMISE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_hang_up_is_tried_again_soon_and_ever_later() {
        let gate = Hosts::default().gate("a", None);
        let _held = fill(&gate, 3).await;
        let mut waits = Vec::new();
        for _ in 0..6 {
            gate.suspect_wall(3);
            let begin = Instant::now();
            drop(gate.acquire().await);
            waits.push(begin.elapsed().as_secs());
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_is_no_lower_than_what_has_signed_in() {
        let gate = Hosts::default().gate("a", None);
        let mut held = fill(&gate, 6).await;
        held[0].enter();
        held[0].enter();
        assert_eq!(gate.entered(), 1);
        // Two are refused while others are still at their sign-in.
        for _ in 0..2 {
            gate.learn_wall(gate.entered());
            drop(held.pop());
        }
        assert_eq!(gate.limit(), Some(1));
        held.iter_mut().for_each(Permit::enter);
        assert_eq!(gate.limit(), Some(4), "the host takes four");
        drop(held);
        assert_eq!((gate.entered(), gate.limit()), (0, Some(4)));
        gate.suspect_none();
        assert_eq!(gate.limit(), Some(4), "that one was told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspected_wall_falls_where_one_more_is_taken_or_nobody() {
        let gate = Hosts::default().gate("a", Some(40));
        let mut held = fill(&gate, 2).await;
        held.iter_mut().for_each(Permit::enter);
        for _ in 0..4 {
            gate.suspect_wall(gate.entered());
        }
        assert_eq!(gate.limit(), Some(2));
        let begin = Instant::now();
        held.push(gate.acquire().await);
        assert_eq!((begin.elapsed().as_secs(), gate.limit()), (480, Some(3)));
        held[2].enter();
        assert_eq!(gate.limit(), Some(40), "it was chance");
        gate.suspect_wall(gate.entered());
        assert_eq!(gate.limit(), Some(3));
        let begin = Instant::now();
        drop(gate.acquire().await);
        assert_eq!(begin.elapsed().as_secs(), 60, "and the next is the first again");
        gate.suspect_none();
        assert_eq!(gate.limit(), Some(40), "who takes nobody has no wall");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_that_is_learnt_while_somebody_waits_rises_for_it() {
        let gate = Hosts::default().gate("a", Some(2));
        let mut held = fill(&gate, 2).await;
        let waits = tokio::spawn({
            let gate = gate.clone();
            async move { gate.acquire().await }
        });
        settle().await;
        gate.learn_wall(1);
        held.truncate(1);
        let begin = Instant::now();
        let _permit = waits.await.unwrap();
        assert!((QUIET..QUIET + Duration::from_millis(5)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_comes_as_its_taker_leaves_is_not_lost() {
        let gate = Hosts::default().gate("a", Some(1));
        for _ in 0..3 {
            let held = gate.acquire().await;
            let mut waits = Box::pin(gate.acquire());
            assert!(tokio::time::timeout(Duration::ZERO, &mut waits).await.is_err());
            // It is on its way to one who is gone before it looks.
            drop(held);
            drop(waits);
            assert_eq!(gate.held(), 0);
        }
    }
}
