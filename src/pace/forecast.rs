//! When it will be done: what is left to move, under the limits, in the hours and days they have.
//!
//! Pure: a river, not a queue of messages. Time goes from one moment at which something changes to the next: an account is
//! done, an hour begins, an allowance is spent, a day returns.

use super::Rates;
use super::day::DayAllowance;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Messages a second that one connection is taken to move where no limit says less: a guess, for a line of usual length.
pub const CONNECTION_MESSAGES: f64 = 20.0;
/// Bytes a second of the same.
pub const CONNECTION_BYTES: f64 = (2 << 20) as f64;

/// Beyond this nobody plans.
const YEARS_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// Ten years of days and of a time table with ten edges a day.
const STEPS_MAX: usize = 50_000;
/// The least step: what is smaller is noise of the arithmetic.
const STEP_MIN: Duration = Duration::from_millis(10);
/// Bytes below which an allowance counts as spent, and work as done.
const REST: f64 = 1.0;

/// What is left to move for one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where it is fetched, then where it is sent.
    pub lanes: [Lane; 2],
}

/// What holds an account back on one side.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Its own limits.
    pub rates: Rates,
    /// Connections it may hold.
    pub connections: usize,
    /// Its own allowance, and what is spent of today's.
    pub day: Option<(DayAllowance, u64)>,
    /// The host it shares with others: a key of [`Outlook::hosts`].
    pub host: String,
}

/// What holds all accounts on one host back together, in one direction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostLane {
    /// Its limits.
    pub rates: Rates,
    /// Connections to it. None: no limit.
    pub connections: Option<usize>,
    /// Its allowance, and what is spent of today's.
    pub day: Option<(DayAllowance, u64)>,
}

/// All that is known of what lies ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// When it begins.
    pub now: SystemTime,
    /// Accounts worked on at once.
    pub at_once: usize,
    /// What is left, account by account, in the order of the job.
    pub loads: Vec<Load>,
    /// Every host that a lane names.
    pub hosts: BTreeMap<String, HostLane>,
}

/// Gives when each account will be done. None: not within ten years.
#[must_use]
pub fn forecast(outlook: &Outlook) -> Vec<Option<SystemTime>> {
    let mut river = River::new(outlook);
    for _ in 0..STEPS_MAX {
        if river.is_done() || river.now > outlook.now + YEARS_MAX {
            break;
        }
        river.step();
    }
    river.accounts.iter().map(|account| account.done).collect()
}

struct River<'a> {
    outlook: &'a Outlook,
    now: SystemTime,
    accounts: Vec<Account>,
    /// Of the accounts, source and target; then of the hosts.
    own: Vec<[Option<Purse>; 2]>,
    shared: BTreeMap<&'a str, Purse>,
}

struct Account {
    messages: f64,
    bytes: f64,
    parked: Option<SystemTime>,
    done: Option<SystemTime>,
}

#[derive(Clone, Copy)]
struct Purse {
    allowance: DayAllowance,
    left: f64,
    end: SystemTime,
}

impl Purse {
    fn new((allowance, spent): (DayAllowance, u64), now: SystemTime) -> Self {
        Self { allowance, left: allowance.bytes.saturating_sub(spent) as f64, end: allowance.end(now) }
    }

    fn look(&mut self, now: SystemTime) {
        if now >= self.end {
            *self = Self::new((self.allowance, 0), now);
        }
    }
}

impl<'a> River<'a> {
    fn new(outlook: &'a Outlook) -> Self {
        let now = outlook.now;
        let account = |load: &Load| Account {
            messages: load.messages as f64,
            bytes: load.bytes as f64,
            parked: None,
            done: (load.messages == 0).then_some(now),
        };
        let purse = |day: Option<(DayAllowance, u64)>| day.map(|day| Purse::new(day, now));
        let own = |load: &Load| [purse(load.lanes[0].day), purse(load.lanes[1].day)];
        let shared = outlook.hosts.iter().filter_map(|(host, lane)| Some((host.as_str(), purse(lane.day)?)));
        Self {
            outlook,
            now,
            accounts: outlook.loads.iter().map(account).collect(),
            own: outlook.loads.iter().map(own).collect(),
            shared: shared.collect(),
        }
    }

    fn is_done(&self) -> bool {
        self.accounts.iter().all(|account| account.done.is_some())
    }

    /// Goes on to the next moment at which something changes.
    fn step(&mut self) {
        let now = self.now;
        self.own.iter_mut().flatten().flatten().for_each(|purse| purse.look(now));
        self.shared.values_mut().for_each(|purse| purse.look(now));
        self.park();
        let active = self.active();
        let flows: Vec<(usize, f64)> = active.iter().map(|at| (*at, self.seconds_left(*at, &active))).collect();
        let time = self.until_change(&flows).max(STEP_MIN);
        self.now += time;
        for (at, seconds) in flows {
            let part = (time.as_secs_f64() / seconds).min(1.0);
            let account = &mut self.accounts[at];
            let bytes = account.bytes * part;
            account.messages -= account.messages * part;
            account.bytes -= bytes;
            if part >= 1.0 || account.messages < 1e-6 && account.bytes < REST {
                account.done = Some(self.now);
            }
            for (side, lane) in self.outlook.loads[at].lanes.iter().enumerate() {
                let shared = self.shared.get_mut(lane.host.as_str());
                self.own[at][side].iter_mut().chain(shared).for_each(|purse| purse.left -= bytes);
            }
        }
    }

    /// Parks who has nothing left to spend, and takes up again whose day has come.
    fn park(&mut self) {
        for (at, load) in self.outlook.loads.iter().enumerate() {
            let shared = load.lanes.iter().filter_map(|lane| self.shared.get(lane.host.as_str()));
            let own = self.own[at].iter().flatten();
            let spent = own.chain(shared).filter(|purse| purse.left < REST).map(|purse| purse.end).max();
            self.accounts[at].parked = spent;
        }
    }

    /// Gives those that are worked on: the first that have a place.
    fn active(&self) -> Vec<usize> {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut active = Vec::new();
        for (at, account) in self.accounts.iter().enumerate() {
            if account.done.is_some() || account.parked.is_some() || active.len() >= self.outlook.at_once.max(1) {
                continue;
            }
            let hosts = self.outlook.loads[at].lanes.each_ref().map(|lane| lane.host.as_str());
            let free = |host: &str| {
                let max = self.outlook.hosts.get(host).and_then(|host| host.connections);
                max.is_none_or(|max| places.get(host).copied().unwrap_or(0) < max.max(1))
            };
            if hosts.iter().all(|host| free(host)) {
                hosts.iter().for_each(|host| *places.entry(host).or_default() += 1);
                active.push(at);
            }
        }
        active
    }

    /// Gives how long an account would take at what holds now.
    fn seconds_left(&self, at: usize, active: &[usize]) -> f64 {
        let load = &self.outlook.loads[at];
        let (mut messages, mut bytes) = (f64::MAX, f64::MAX);
        for (side, lane) in load.lanes.iter().enumerate() {
            let sharing =
                active.iter().filter(|other| self.outlook.loads[**other].lanes[side].host == lane.host).count();
            let share = 1.0 / sharing.max(1) as f64;
            let host = self.outlook.hosts.get(&lane.host);
            let connections = host.and_then(|host| host.connections).map_or(f64::MAX, |all| all as f64 * share);
            let connections = connections.min(lane.connections as f64).max(1.0);
            messages = messages.min(connections * CONNECTION_MESSAGES);
            bytes = bytes.min(connections * CONNECTION_BYTES);
            let host = host.map(|host| (&host.rates, share));
            for (rates, share) in [(&lane.rates, 1.0)].into_iter().chain(host) {
                let now = |rate: &super::Rate| rate.at(self.now).map_or(f64::MAX, |rate| rate * share);
                messages = messages.min(now(&rates.messages_per_second));
                bytes = bytes.min(now(&rates.bytes_per_second));
                if side == 1 {
                    // An APPEND for each message; a FETCH asks for many.
                    messages = messages.min(now(&rates.commands_per_second));
                }
            }
        }
        let account = &self.accounts[at];
        (account.messages / messages).max(account.bytes / bytes).max(1e-9)
    }

    /// Gives how long what holds now goes on holding.
    fn until_change(&self, flows: &[(usize, f64)]) -> Duration {
        let mut least = f64::MAX;
        let mut shared: BTreeMap<&str, f64> = BTreeMap::new();
        for (at, seconds) in flows {
            least = least.min(*seconds);
            let speed = self.accounts[*at].bytes / seconds;
            for (side, lane) in self.outlook.loads[*at].lanes.iter().enumerate() {
                if let Some(purse) = &self.own[*at][side] {
                    least = least.min(purse.left / speed);
                }
                *shared.entry(&lane.host).or_default() += speed;
            }
        }
        for (host, speed) in shared {
            if let Some(purse) = self.shared.get(host) {
                least = least.min(purse.left / speed);
            }
        }
        let change = Duration::try_from_secs_f64(least).unwrap_or(YEARS_MAX);
        let purses = self.own.iter().flatten().flatten().chain(self.shared.values());
        let days = purses.map(|purse| purse.end.duration_since(self.now).unwrap_or_default());
        change.min(self.next_hour().unwrap_or(YEARS_MAX)).min(days.min().unwrap_or(YEARS_MAX))
    }

    fn next_hour(&self) -> Option<Duration> {
        let own = self.outlook.loads.iter().flat_map(|load| load.lanes.iter().map(|lane| &lane.rates));
        let all = own.chain(self.outlook.hosts.values().map(|host| &host.rates));
        let rates =
            all.flat_map(|rates| [&rates.messages_per_second, &rates.bytes_per_second, &rates.commands_per_second]);
        rates.filter_map(|rate| rate.change_after(self.now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::day::DayBegin;
    use super::super::{Days, Rate, Window};
    use super::*;

    const MB: u64 = 1_000_000;

    fn time(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    fn lane(rates: Rates, day: Option<(u64, u64)>) -> Lane {
        let day = day.map(|(bytes, spent)| (DayAllowance { bytes, begins: DayBegin::Utc(0) }, spent));
        Lane { rates, connections: 3, day, host: "h".to_owned() }
    }

    fn load(messages: u64, bytes: u64, target: Lane) -> Load {
        let source = Lane { host: "s".to_owned(), ..lane(Rates::default(), None) };
        Load { messages, bytes, lanes: [source, target] }
    }

    fn messages(rate: impl Into<Rate>) -> Rates {
        Rates { messages_per_second: rate.into(), ..Rates::default() }
    }

    /// Checks when each of the loads is done, to the minute, beginning on a Monday morning.
    #[track_caller]
    fn check(loads: Vec<Load>, at_once: usize, host: HostLane, expected: &[&str]) {
        let hosts = BTreeMap::from([("h".to_owned(), host), ("s".to_owned(), HostLane::default())]);
        let outlook = Outlook { now: time("2026-11-02T06:00:00Z"), at_once, loads, hosts };
        let done: Vec<SystemTime> = forecast(&outlook).into_iter().map(Option::unwrap).collect();
        let expected: Vec<SystemTime> = expected.iter().map(|at| time(&format!("2026-11-{at}:00Z"))).collect();
        let near = |(a, b): (&SystemTime, &SystemTime)| {
            a.duration_since(*b).or_else(|_| b.duration_since(*a)).unwrap() < Duration::from_secs(60)
        };
        let said: Vec<String> = done.iter().map(|at| humantime::format_rfc3339_seconds(*at).to_string()).collect();
        assert!(done.len() == expected.len() && done.iter().zip(&expected).all(near), "{said:?}");
    }

    #[test]
    fn the_narrowest_limit_decides() {
        let rates = Rates { bytes_per_second: Some(1e6).into(), ..messages(Some(10.0)) };
        check(vec![load(36_000, MB, lane(rates.clone(), None))], 8, HostLane::default(), &["02T07:00"]);
        check(vec![load(10, 3600 * MB, lane(rates, None))], 8, HostLane::default(), &["02T07:00"]);
        // Three connections of twenty messages each where nothing is said.
        check(vec![load(216_000, MB, lane(Rates::default(), None))], 8, HostLane::default(), &["02T07:00"]);
        check(vec![load(0, 0, lane(Rates::default(), None))], 8, HostLane::default(), &["02T06:00"]);
        let commands = Rates { commands_per_second: Some(5.0).into(), ..Rates::default() };
        check(vec![load(18_000, MB, lane(commands, None))], 8, HostLane::default(), &["02T07:00"]);
    }

    #[test]
    fn a_days_allowance_makes_days() {
        // 100 MB are left of today, then 500 MB each day.
        let one = load(12_000, 1200 * MB, lane(Rates::default(), Some((500 * MB, 400 * MB))));
        check(vec![one], 8, HostLane::default(), &["05T00:00"]);
        let shared = HostLane {
            day: Some((DayAllowance { bytes: 500 * MB, begins: DayBegin::Utc(0) }, 0)),
            ..HostLane::default()
        };
        let loads = (0..2).map(|_| load(10, 400 * MB, lane(Rates::default(), None))).collect();
        check(loads, 1, shared, &["02T06:01", "03T00:00"]);
    }

    #[test]
    fn hours_count_as_they_come() {
        let window = Window { days: Days::ALL, from: 8 * 60, until: 18 * 60, utc_offset: 0 };
        let rate = Rate::new(Some(10.0), vec![(window, Some(1.0))]);
        // Two hours at ten, ten at one, one at ten.
        let one = load(72_000 + 36_000 + 36_000, MB, lane(messages(rate), None));
        check(vec![one], 8, HostLane::default(), &["02T19:00"]);
    }

    #[test]
    fn accounts_share_a_host_and_take_turns() {
        let host = HostLane { rates: messages(Some(10.0)), ..HostLane::default() };
        let loads =
            || vec![load(18_000, MB, lane(Rates::default(), None)), load(36_000, MB, lane(Rates::default(), None))];
        check(loads(), 8, host.clone(), &["02T07:00", "02T07:30"]);
        check(loads(), 1, host, &["02T06:30", "02T07:30"]);
        let two = HostLane { connections: Some(2), ..HostLane::default() };
        let loads = (0..3).map(|_| load(72_000, MB, lane(Rates::default(), None))).collect();
        check(loads, 8, two, &["02T07:00", "02T07:00", "02T07:30"]);
    }

    #[test]
    fn what_never_ends_is_no_time() {
        let never = load(1_000_000, 1000 * MB, lane(messages(Some(0.001)), None));
        let hosts = BTreeMap::from([("h".to_owned(), HostLane::default()), ("s".to_owned(), HostLane::default())]);
        let outlook = Outlook { now: time("2026-11-02T06:00:00Z"), at_once: 1, loads: vec![never], hosts };
        assert_eq!(forecast(&outlook), [None]);
    }
}
