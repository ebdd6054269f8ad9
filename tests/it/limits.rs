//! Limits, measured at the servers over whole runs: on a clock that stands still while there is work to do, so that a busy
//! machine changes nothing.

use crate::program::{self, Program};
use crate::support::haul::{Haul, Ran, Side};
use mailhaul::checkpoint::{AccountState, Ledger};
use mailhaul::failure::Kind;
use mailhaul::net::{BoxedIo, Dial, Endpoint, NetError};
use mailhaul::pace::WallClock;
use mailhaul::transfer::{self, Ending, Event};
use mailhaul_testserver::{Act, Config, Features, Moved, NewMessage, Nth, Point, Server};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The way to servers in memory.
struct Wires {
    source: Arc<Server>,
    target: Arc<Server>,
}

const SOURCE: u16 = 1;
const TARGET: u16 = 2;

type Dialled<'a> = Pin<Box<dyn Future<Output = Result<BoxedIo, NetError>> + Send + 'a>>;

impl Dial for Wires {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> Dialled<'a> {
        let server = if endpoint.port == SOURCE { &self.source } else { &self.target };
        Box::pin(async move { Ok(Box::new(server.connect()) as BoxedIo) })
    }

    fn secure<'a>(&'a self, _: BoxedIo, endpoint: &'a Endpoint) -> Dialled<'a> {
        panic!("TLS was not asked for: {endpoint:?}")
    }
}

/// Two servers that note what moves, and a job between them.
pub(crate) struct World {
    pub(crate) source: Arc<Server>,
    pub(crate) target: Arc<Server>,
    haul: Haul,
}

impl World {
    pub(crate) fn new(users: &[&str], job: &str) -> Self {
        Self::of(Config::default(), users, job)
    }

    fn of(config: Config, users: &[&str], job: &str) -> Self {
        let config = users.iter().fold(config, |config, user| config.user(user, "pass"));
        let config = Config { logs_traffic: true, ..config };
        let server = || Arc::new(Server::in_memory(config.clone()).unwrap());
        let haul = Haul::new(Side::plain(SOURCE), Side::plain(TARGET)).in_memory().with(job);
        let haul = users.iter().fold(haul, |haul, user| haul.user(user, user));
        Self { source: server(), target: server(), haul }
    }

    /// Adds messages of so many bytes to a user's inbox.
    fn fill(&self, user: &str, count: usize, bytes: usize) {
        self.fill_folder(user, "INBOX", count, bytes);
    }

    pub(crate) fn fill_folder(&self, user: &str, folder: &str, count: usize, bytes: usize) {
        let account = self.source.account(user);
        for number in 0..count {
            let mut text =
                format!("From: a@x\r\nSubject: {number} of {bytes}\r\nMessage-ID: <{number}.{bytes}@{user}>\r\n\r\n");
            while text.len() < bytes {
                text.push_str("0123456789012345678901234567890123456789012345678901234567890123456789\r\n");
            }
            account.add(folder, NewMessage::new(text.as_str()).date("01-Mar-2021 04:05:06 +0000")).unwrap();
        }
    }

    fn context(&self, ledger: &Ledger, clock: &str) -> (transfer::Context, tokio::sync::mpsc::Receiver<Event>) {
        let dial = Arc::new(Wires { source: self.source.clone(), target: self.target.clone() });
        let (mut context, events) = self.haul.context_over(ledger.clone(), dial);
        let time = humantime::parse_rfc3339(clock).unwrap();
        context.shared = context.shared.by_clock(WallClock::starting_at(time));
        (context, events)
    }

    /// Runs the job from a time of the wall's clock on.
    async fn run_at(&self, clock: &str) -> Ran {
        let ledger = Ledger::open(&self.haul.state()).unwrap();
        let (context, mut received) = self.context(&ledger, clock);
        let collect = async {
            let mut events = Vec::new();
            while let Some(event) = received.recv().await {
                events.push(event);
            }
            events
        };
        let (end, events) = tokio::join!(transfer::run(context), collect);
        ledger.close().await.unwrap();
        Ran { end, events }
    }

    pub(crate) async fn run(&self) -> Ran {
        self.run_at("2026-11-02T00:00:00Z").await
    }

    /// Gives the bytes of mail a user has on the target.
    fn stored(&self, user: &str) -> u64 {
        let account = self.target.account(user);
        let messages = account.messages("INBOX").unwrap_or_default();
        messages.iter().map(|message| message.body.len() as u64).sum()
    }
}

/// Amounts with the second they passed in.
type Passed = Vec<(f64, f64)>;

fn passed(traffic: &[(Instant, Moved)], begin: Instant, amount: fn(&Moved) -> u64) -> Passed {
    let amounts = traffic.iter().map(|(at, moved)| (at.duration_since(begin).as_secs_f64(), amount(moved) as f64));
    amounts.filter(|(_, amount)| *amount > 0.0).collect()
}

/// Checks that whatever ten seconds are looked at, they kept to the limit and one second's burst on top, and that nine tenths
/// of the limit were reached over the whole. `beside`: what counts here and is not limited, such as commands among bytes of
/// mail.
#[track_caller]
fn check(what: &str, passed: &Passed, limit: f64, beside: f64) {
    check_kept(what, passed, limit, beside);
    let total: f64 = passed.iter().map(|(_, amount)| amount).sum();
    let span = passed.last().unwrap().0 - passed[0].0;
    assert!(span > 10.0, "{what}: {span} s are too short to say anything");
    assert!(total >= limit * span * 0.9, "{what}: only {total} in {span} s, at {limit} a second");
}

/// The first half of that.
#[track_caller]
fn check_kept(what: &str, passed: &Passed, limit: f64, beside: f64) {
    let (mut first, mut sum) = (0, 0.0);
    for (time, amount) in passed {
        sum += amount;
        while time - passed[first].0 >= 10.0 {
            sum -= passed[first].1;
            first += 1;
        }
        // One more: timers have whole milliseconds.
        assert!(sum <= limit * 11.0 + 1.0 + beside, "{what}: {sum} in ten seconds up to {time}, at {limit} a second");
    }
}

fn messages(moved: &Moved) -> u64 {
    moved.messages
}

fn at(seconds: f64, passed: &Passed, until: f64) -> Passed {
    passed.iter().copied().filter(|(time, _)| (seconds..until).contains(time)).collect()
}

#[tokio::test(start_paused = true)]
async fn fifty_messages_a_second_and_four_connections_are_kept_to_and_reached() {
    let job = "[limits]\nmessages_per_second = 50\nconnections = 3\n[limits.host]\nconnections = 4";
    let world = World::new(&["a", "b", "c"], job);
    for user in ["a", "b", "c"] {
        world.fill(user, 900, 300);
    }
    let begin = Instant::now();
    world.run().await.assert_complete();
    for (side, server) in [("source", &world.source), ("target", &world.target)] {
        for user in ["a", "b", "c"] {
            check(&format!("{side} of {user}"), &passed(&server.traffic(user), begin, messages), 50.0, 0.0);
        }
        let stats = server.stats();
        assert!(stats.most_open <= 4, "{side}: {stats:?}");
    }
}

/// What the wire holds is sent before it is asked whether more may come.
const ON_THE_WAY: f64 = 3.0 * 64.0 * 1024.0;

/// Checks a run at 300 KiB a second, as both servers see it.
async fn check_bytes(world: &World, users: &[&str], check: fn(&str, &Passed, f64, f64)) {
    const RATE: f64 = 300.0 * 1024.0;
    let begin = Instant::now();
    world.run().await.assert_complete();
    for user in users {
        let mail = world.stored(user) as f64;
        let came = passed(&world.target.traffic(user), begin, |moved| moved.received);
        let beside = came.iter().map(|(_, bytes)| bytes).sum::<f64>() - mail;
        assert!((0.0..mail / 10.0).contains(&beside), "{beside} beside {mail}");
        check(&format!("target of {user}"), &came, RATE, beside);
        let went = passed(&world.source.traffic(user), begin, |moved| moved.sent);
        let beside = went.iter().map(|(_, bytes)| bytes).sum::<f64>() - mail;
        assert!((0.0..mail / 10.0).contains(&beside), "{beside} beside {mail}");
        check(&format!("source of {user}"), &went, RATE, beside + ON_THE_WAY);
    }
}

#[tokio::test(start_paused = true)]
async fn three_hundred_kib_a_second_are_kept_to_and_reached() {
    let world = World::new(&["a", "b"], "[limits]\nbytes_per_second = \"300 KiB\"");
    for user in ["a", "b"] {
        world.fill(user, 250, 20_000);
        world.fill(user, 50, 5_000);
        world.fill(user, 20, 60_000);
    }
    check_bytes(&world, &["a", "b"], check).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_message_goes_in_pieces() {
    let world = World::new(&["a"], "[limits]\nbytes_per_second = \"300 KiB\"\n[transfer]\nspool_above = \"256 KiB\"");
    world.fill("a", 10, 20_000);
    world.fill("a", 2, 6 << 20);
    world.fill("a", 10, 5_000);
    check_bytes(&world, &["a"], check_kept).await;
}

#[tokio::test(start_paused = true)]
async fn eight_kib_a_second_are_kept_to_and_reached() {
    let world = World::new(&["a"], "[limits.target]\nbytes_per_second = \"8 KiB\"");
    world.fill("a", 2, 90_000);
    world.fill("a", 5, 20_000);
    let begin = Instant::now();
    world.run().await.assert_complete();
    let came = passed(&world.target.traffic("a"), begin, |moved| moved.received);
    let beside = came.iter().map(|(_, bytes)| bytes).sum::<f64>() - world.stored("a") as f64;
    assert!((0.0..4000.0).contains(&beside), "{beside}");
    check("target", &came, 8192.0, beside);

    let world = World::new(&["a"], "[limits.source]\nbytes_per_second = \"8 KiB\"");
    world.fill("a", 2, 300_000);
    let begin = Instant::now();
    world.run().await.assert_complete();
    let went = passed(&world.source.traffic("a"), begin, |moved| moved.sent);
    check_kept("source", &went, 8192.0, ON_THE_WAY + 4000.0);
}

#[tokio::test(start_paused = true)]
async fn a_slower_hour_counts_from_its_first_second_on_whatever_was_begun_before() {
    for fast in ["\"2 MiB\"", "\"unlimited\""] {
        let job = format!(
            "[limits]\nmessages_per_second = 20\nbytes_per_second = {fast}\n[[limits.times]]\nhours = \"08:00-18:00\"\nbytes_per_second = \"16 KiB\""
        );
        let world = World::new(&["a"], &job);
        world.fill("a", 14 * 20, 100_000);
        world.fill("a", 1, 1 << 20);
        let begin = Instant::now();
        world.run_at("2026-11-02T07:59:46Z").await.assert_complete();
        let went = passed(&world.source.traffic("a"), begin, |moved| moved.sent);
        check_kept(fast, &at(14.01, &went, f64::MAX), 16.0 * 1024.0, ON_THE_WAY + 20_000.0);
        let came = passed(&world.target.traffic("a"), begin, |moved| moved.received);
        check_kept(fast, &at(14.01, &came, f64::MAX), 16.0 * 1024.0, 20_000.0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_connection_keeps_to_messages_and_bytes_that_are_limited_beside_each_other() {
    let job = "[limits]\nmessages_per_second = 100\nbytes_per_second = \"1 MiB\"\nconnections = 1";
    let world = World::new(&["a"], job);
    for _ in 0..12 {
        world.fill("a", 60, 30_000);
        world.fill("a", 150, 300);
    }
    let begin = Instant::now();
    world.run().await.assert_complete();
    for (side, server) in [("source", &world.source), ("target", &world.target)] {
        check_kept(side, &passed(&server.traffic("a"), begin, messages), 100.0, 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn folders_side_by_side_keep_to_messages_and_bytes_that_are_limited_beside_each_other() {
    const RATE: f64 = 300.0 * 1024.0;
    for host in ["", ".host"] {
        let job = format!(
            "[limits{host}]\nmessages_per_second = 50\nbytes_per_second = \"300 KiB\"\n[limits.source]\nconnections = 4"
        );
        let users: &[&str] = if host.is_empty() { &["a"] } else { &["a", "b"] };
        let world = World::new(users, &job);
        for user in users {
            for folder in ["one", "two", "three", "four"] {
                world.source.account(user).create(folder).unwrap();
                for _ in 0..4 {
                    world.fill_folder(user, folder, 120, 500);
                    world.fill_folder(user, folder, 60, 16_000);
                }
            }
        }
        let begin = Instant::now();
        world.run().await.assert_complete();
        for (side, server) in [("source", &world.source), ("target", &world.target)] {
            let all = |amount: fn(&Moved) -> u64| {
                let mut all: Passed =
                    users.iter().flat_map(|user| passed(&server.traffic(user), begin, amount)).collect();
                all.sort_by(|a, b| a.0.total_cmp(&b.0));
                all
            };
            check_kept(side, &all(messages), 50.0, 0.0);
            let bytes = all(if side == "source" { |moved| moved.sent } else { |moved| moved.received });
            // In step, the folders wait for the one limit and then for the other: 22 s for each of four parts.
            let last = bytes.last().unwrap().0;
            assert!(last < 90.0 * users.len() as f64, "{side}: {last} s");
            check_kept(side, &bytes, RATE, RATE / 2.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_limit() {
    for limit in ["messages_per_second = 0.001", "bytes_per_second = \"1 KiB\"", "commands_per_second = 0.001"] {
        let world = World::new(&["a"], &format!("[limits]\n{limit}"));
        world.fill("a", 3, 1 << 20);
        let ledger = Ledger::open(&world.haul.state()).unwrap();
        let (context, _events) = world.context(&ledger, "2026-11-02T09:00:00Z");
        let stop = context.stop.clone();
        let running = tokio::spawn(transfer::run(context));
        tokio::time::sleep(Duration::from_secs(30)).await;
        let begin = Instant::now();
        stop.cancel();
        let end = running.await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(15), "{limit}: {:?}", begin.elapsed());
        assert_eq!(end.accounts[0].ending, Ending::Stopped, "{limit}: {end:?}");
        ledger.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn commands_keep_to_their_limit_from_the_sign_in_on() {
    // Together, there would be too few commands to see a rate.
    let features = Features { multiappend: false, ..Features::default() };
    let config = Config { features, ..Config::default() };
    let world =
        World::of(config, &["a"], "[limits]\ncommands_per_second = 8\n[limits.source]\ncommands_per_second = 2");
    for folder in 0..10 {
        world.source.account("a").create(format!("f{folder}")).unwrap();
    }
    world.fill("a", 200, 100);
    let begin = Instant::now();
    world.run().await.assert_complete();
    for (side, server, limit) in [("source", &world.source, 2.0), ("target", &world.target, 8.0)] {
        let asked: Passed =
            server.log().iter().map(|line| (line.at.duration_since(begin).as_secs_f64(), 1.0)).collect();
        check_kept(side, &asked, limit, 0.0);
    }
    // While there is something to append, nothing else keeps it from the limit.
    let log = world.target.log();
    let first = log.iter().position(|line| line.verb == "APPEND").unwrap();
    let last = log.iter().rposition(|line| line.verb == "APPEND").unwrap();
    let busy = log[first..=last].iter().map(|line| (line.at.duration_since(begin).as_secs_f64(), 1.0));
    check("target", &busy.collect(), 8.0, 0.0);
}

#[tokio::test(start_paused = true)]
async fn all_accounts_on_a_host_share_what_it_takes() {
    let world = World::new(&["a", "b", "c"], "[limits.host]\nmessages_per_second = 30\nbytes_per_second = \"1 MiB\"");
    for user in ["a", "b", "c"] {
        world.fill(user, 200, 300);
    }
    let begin = Instant::now();
    world.run().await.assert_complete();
    for (side, server) in [("source", &world.source), ("target", &world.target)] {
        let mut all = Passed::new();
        for user in ["a", "b", "c"] {
            let one = passed(&server.traffic(user), begin, messages);
            let half = at(0.0, &one, 10.0).len();
            assert!((60..=150).contains(&half), "{side}: {user} had {half} turns in ten seconds");
            all.extend(one);
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        check(side, &all, 30.0, 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn all_accounts_on_a_host_share_the_commands_it_takes() {
    let world = World::new(&["a", "b", "c"], "[limits.host]\ncommands_per_second = 3");
    for user in ["a", "b", "c"] {
        for folder in 0..5 {
            world.source.account(user).create(format!("f{folder}")).unwrap();
        }
        world.fill(user, 100, 300);
    }
    let begin = Instant::now();
    world.run().await.assert_complete();
    for (side, server) in [("source", &world.source), ("target", &world.target)] {
        let asked = server.log().into_iter().map(|line| (line.at.duration_since(begin).as_secs_f64(), 1.0)).collect();
        check_kept(side, &asked, 3.0, 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_hour_changes_the_limit_of_a_run_that_goes_on() {
    let job = "[limits.target]\nmessages_per_second = 40\n[[limits.target.times]]\ndays = \"mon-fri\"\nhours = \"08:00-18:00\"\nmessages_per_second = 4";
    let world = World::new(&["a"], job);
    world.fill("a", 1000, 200);
    let begin = Instant::now();
    world.run_at("2026-11-02T07:59:45Z").await.assert_complete();
    let stored = passed(&world.target.traffic("a"), begin, messages);
    check("before eight", &at(0.0, &stored, 15.0), 40.0, 0.0);
    check("from eight on", &at(15.0, &stored, f64::MAX), 4.0, 0.0);

    let slow = "[limits.target]\nmessages_per_second = \"unlimited\"\n[[limits.target.times]]\nhours = \"08:00-18:00\"\nmessages_per_second = 1";
    let world = World::new(&["a"], slow);
    world.fill("a", 1000, 200);
    let begin = Instant::now();
    world.run_at("2026-11-02T17:59:30Z").await.assert_complete();
    let stored = passed(&world.target.traffic("a"), begin, messages);
    check("before six", &at(0.0, &stored, 30.0), 1.0, 0.0);
    let last = stored.last().unwrap().0;
    assert!((30.0..40.0).contains(&last), "who waited went on at six: {last}");
}

/// Says until when an account is parked, by the ledger.
async fn parked_until(world: &World, user: &str) -> Option<SystemTime> {
    let ledger = Ledger::open(&world.haul.state()).unwrap();
    let accounts = ledger.accounts().await.unwrap();
    ledger.close().await.unwrap();
    let account = accounts.into_iter().find(|account| account.key.source_user() == user).unwrap();
    match account.state {
        AccountState::Parked { until, .. } => until,
        other => panic!("{user} is {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_day_parks_the_account_until_the_next_and_no_other() {
    const DAY: u64 = 1 << 20;
    /// Lists and words of one run, beside the mail.
    const BESIDE: u64 = 30_000;
    for side in ["source", "target"] {
        let world = World::new(
            &["a", "b"],
            &format!("[limits.{side}]\nbytes_per_day = \"1 MiB\"\nday_begins = \"00:00 -08:00\""),
        );
        world.fill("a", 80, 30_000);
        world.fill("b", 20, 1000);
        let (mut last, mut runs) = (0, 0);
        // Twice on each of three days, whose change is at eight.
        for (clock, day) in [
            ("2026-11-02T09:00:00Z", 1),
            ("2026-11-03T07:59:00Z", 1),
            ("2026-11-03T08:00:00Z", 2),
            ("2026-11-03T20:00:00Z", 2),
        ] {
            let ran = world.run_at(clock).await;
            let [a, b] = ran.end.accounts.as_slice() else { panic!("{:?}", ran.end) };
            assert_eq!((a.ending, b.ending), (Ending::Parked, Ending::Complete), "{side} {clock}: {a:?}");
            let failure = a.failure.as_ref().unwrap();
            assert_eq!(failure.kind, Kind::AllowanceSpent, "{failure:?}");
            let until = format!("2026-11-{:02}T08:00:00Z", day + 2);
            assert!(failure.text.ends_with(&format!("are spent until {until}")), "{failure:?}");
            assert_eq!(parked_until(&world, "a").await, Some(humantime::parse_rfc3339(&until).unwrap()));
            assert!(ran.events.iter().any(|event| matches!(event, Event::Waiting { account, .. } if account == "a")));
            let stored = world.stored("a");
            assert!(stored <= day * DAY, "{side} {clock}: {stored}");
            runs += 1;
            let sent: u64 = world.source.traffic("a").iter().map(|(_, moved)| moved.sent).sum();
            assert!(side == "target" || sent <= day * DAY + runs * BESIDE, "{clock}: {sent}");
            assert!(stored >= last && (last > 0 || stored >= DAY * 8 / 10), "{side} {clock}: {stored}");
            last = stored;
        }
        world.run_at("2026-11-04T08:00:00Z").await.assert_complete();
        assert_eq!(world.target.account("a").messages("INBOX").unwrap().len(), 80);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_again_and_again_sends_no_more_than_the_day_allows() {
    const DAY: u64 = 8 << 20;
    let world = World::new(&["a"], "[limits.target]\nbytes_per_day = \"8 MiB\"\nbytes_per_second = \"400 KiB\"");
    world.fill("a", 600, 20_000);
    for life in 1..40 {
        let ledger = Ledger::open(&world.haul.state()).unwrap();
        let (context, _events) = world.context(&ledger, "2026-11-02T09:00:00Z");
        let running = tokio::spawn(transfer::run(context));
        tokio::time::sleep(Duration::from_millis(life * 130)).await;
        running.abort();
        drop(running.await);
        ledger.close().await.unwrap();
    }
    world.target.abandoned().await;
    let stored = world.stored("a");
    assert!((200_000..=DAY).contains(&stored), "{stored}");
    let ran = world.run_at("2026-11-02T10:00:00Z").await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Parked, "{:?}", ran.end);
    assert!(world.stored("a") <= DAY);
    world.run_at("2026-11-03T09:00:00Z").await;
    world.run_at("2026-11-04T09:00:00Z").await.assert_complete();
    assert_eq!(world.target.account("a").messages("INBOX").unwrap().len(), 600, "none is lost or doubled");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_again_and_again_costs_the_day_what_it_moved() {
    let world = World::new(&["a"], "[limits.target]\nbytes_per_day = \"1 MiB\"\nmessages_per_second = 20");
    world.fill("a", 60, 10_000);
    world.target.faults().add(Point::command("APPEND"), Nth::Every(12), Act::Drop);
    world.run().await.assert_complete();
    assert_eq!(world.target.account("a").messages("INBOX").unwrap().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn accounts_on_one_host_share_its_day() {
    let world = World::new(&["a", "b"], "[limits.host]\nbytes_per_day = \"1 MiB\"");
    world.fill("a", 60, 20_000);
    world.fill("b", 60, 20_000);
    let ran = world.run().await;
    assert!(ran.end.accounts.iter().all(|account| account.ending == Ending::Parked), "{:?}", ran.end);
    let stored = world.stored("a") + world.stored("b");
    assert!(((1 << 20) * 8 / 10..=1 << 20).contains(&stored), "{stored}");
}

#[tokio::test(start_paused = true)]
async fn a_message_no_day_allows_is_listed_and_the_others_go_on() {
    for side in ["source", "target"] {
        let world = World::new(&["a"], &format!("[limits.{side}]\nbytes_per_day = \"1 MiB\""));
        world.fill("a", 5, 1000);
        world.fill("a", 1, 2 << 20);
        world.fill("a", 5, 1200);
        let ran = world.run().await;
        assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions, "{side}: {:?}", ran.end);
        assert_eq!(ran.listed().len(), 1, "{side}");
        assert_eq!(world.target.account("a").messages("INBOX").unwrap().len(), 10, "{side}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forecast_is_what_happens_then() {
    let job = "[limits.target]\nmessages_per_second = 10\nbytes_per_day = \"1 MiB\"";
    let world = World::new(&["a", "b"], job);
    world.fill("a", 80, 30_000);
    world.fill("b", 300, 1000);
    let look = async |world: &World, clock: &str| {
        let ledger = Ledger::open(&world.haul.state()).unwrap();
        let (context, _events) = world.context(&ledger, clock);
        let plans = transfer::plan(context).await;
        let (context, _events) = world.context(&ledger, clock);
        let checks = transfer::check(context).await;
        let known = ledger.accounts().await.unwrap();
        let job = Arc::new(world.haul.job());
        let status = transfer::expected(job, &ledger, &known).await.unwrap();
        ledger.close().await.unwrap();
        let planned: Vec<_> = plans.into_iter().map(|plan| plan.expected.unwrap()).collect();
        (planned, checks.into_iter().map(|check| check.expected.unwrap()).collect::<Vec<_>>(), status)
    };
    let (planned, checked, status) = look(&world, "2026-11-02T09:00:00Z").await;
    assert_eq!((planned[0].messages, planned[1].messages, checked[0].messages), (80, 300, 80));
    assert!(
        planned[0].bytes > 80 * 30_000 && checked[0].bytes == 80 * transfer::MESSAGE_BYTES,
        "{planned:?} {checked:?}"
    );
    // Two days' allowances are spent before it is done on the third; the other takes half a minute.
    let third_day = humantime::parse_rfc3339("2026-11-04T00:00:00Z").unwrap();
    let done = planned[0].done.unwrap().duration_since(third_day).unwrap();
    assert!(done < Duration::from_secs(60), "{planned:?}");
    assert!((28..=31).contains(&planned[1].seconds.unwrap()), "{planned:?}");
    assert_eq!(status, [None, None], "nothing was begun");

    world.run_at("2026-11-02T09:00:00Z").await;
    let (planned, _, status) = look(&world, "2026-11-02T10:00:00Z").await;
    let left = 80 - world.target.account("a").messages("INBOX").unwrap().len() as u64;
    assert_eq!((planned[0].messages, planned[1].messages), (left, 0));
    assert!(planned[0].done.unwrap().duration_since(third_day).unwrap() < Duration::from_secs(60), "{planned:?}");
    let [Some(status), None] = status.as_slice() else { panic!("{status:?}") };
    assert_eq!((status.messages, status.folders_unknown), (left, 0), "{status:?}");
    assert!(status.bytes.abs_diff(planned[0].bytes) < 1000, "{status:?} {planned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_until_when_an_account_waits_and_when_it_will_be_done() {
    let source = Server::start(Config::plain("u")).await.unwrap();
    let target = Server::start(Config::plain("u")).await.unwrap();
    for number in 0..60 {
        let text = format!("Subject: {number}\r\n\r\n{}", "0123456789\r\n".repeat(2500));
        source.account("u").add("INBOX", NewMessage::new(text.as_str())).unwrap();
    }
    let (from, to) = (Side::plain(source.port()), Side::plain(target.port()));
    let program = Program::new();
    let limits = "name = \"acme\"\n[limits.target]\nbytes_per_day = \"1 MiB\"";
    program.write("job.toml", &program::job(&from, &to, "u", limits));
    for (line, code, words) in [
        (
            "check job.toml",
            0,
            &["left to copy: 60 messages", "all accounts: done by 20", "taken that a folder lacks"][..],
        ),
        ("plan job.toml", 0, &["done by 20", "taken that each connection moves"][..]),
        ("run job.toml", 5, &["the 1 MB of bytes_per_day are spent until 20", "waits "][..]),
        ("status", 0, &["parked until 20", "ahead of acme:", "u: left to copy: ", "if it begins now"][..]),
        ("resume", 5, &["are spent until 20"][..]),
    ] {
        let ended = program.run(line);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, code, "{line}: {said}");
        words.iter().for_each(|words| assert!(said.contains(words), "{line}: {words:?} is not in\n{said}"));
    }
}
