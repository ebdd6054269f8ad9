//! Servers that ask for less, take no more, or are down, and runs that need nobody for it. Servers are in memory and the clock
//! is paused: hours cost nothing, and what a server says it was asked too early is counted by it.

use crate::identity::dated;
use crate::support::haul::{Haul, Ran, Side as End};
use futures_util::future::BoxFuture;
use mailhaul::checkpoint::{AccountState, Ledger};
use mailhaul::mail::{Fate, Side};
use mailhaul::net::{BoxedIo, Dial, Endpoint, NetError, Place};
use mailhaul::transfer::{Ending, Event, Mode};
use mailhaul_testserver::{Act, Budget, Config, Features, Keywords, Literals, NewMessage, Nth, Point, Rule, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

mod words;

const SOURCE: u16 = 1;
const TARGET: u16 = 2;

/// What becomes of one connection more than a source takes.
#[derive(Clone, Copy, Debug)]
enum More {
    HungUpOn,
    Told(&'static str),
    Refused,
}

/// The way to two servers in memory, one of which can be out of reach.
struct Lines {
    /// How many the source takes, by whatever stands before it.
    takes: Mutex<Option<(u64, More)>>,
    /// How often a connection to the source was begun.
    dials: AtomicUsize,
    source: Server,
    target: Server,
    down: AtomicBool,
    target_down: AtomicBool,
    /// When the source was asked for while it was out of reach.
    asked: Mutex<Vec<Instant>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Lines {
    fn new(source: Config, target: Config) -> Arc<Self> {
        Arc::new(Self {
            takes: Mutex::default(),
            dials: AtomicUsize::new(0),
            source: Server::in_memory(source).unwrap(),
            target: Server::in_memory(target).unwrap(),
            down: AtomicBool::new(false),
            target_down: AtomicBool::new(false),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        })
    }

    fn give(&self, user: &str, folder: &str, message: NewMessage) {
        self.source.account(user).add(folder, message).unwrap();
    }

    /// Runs a job between the two.
    async fn run(self: &Arc<Self>, haul: &Haul) -> Ran {
        let ledger = Ledger::open(&haul.state()).unwrap();
        let ran = haul.run_over(ledger.clone(), self.clone(), Mode::default()).await;
        ledger.close().await.unwrap();
        ran
    }

    async fn refuse(&self, endpoint: &Endpoint) -> NetError {
        self.asked.lock().unwrap().push(Instant::now());
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(now, Ordering::SeqCst);
        // As long as nobody answers.
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        NetError::Refused { at: Place::of(endpoint) }
    }

    async fn reach_source(&self, endpoint: &Endpoint) -> Result<BoxedIo, NetError> {
        use tokio::io::AsyncWriteExt;
        self.dials.fetch_add(1, Ordering::SeqCst);
        // One way there takes so long, and lets the server see who has left.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.down.load(Ordering::SeqCst) {
            return Err(self.refuse(endpoint).await);
        }
        let takes = *self.takes.lock().unwrap();
        let Some((_, more)) = takes.filter(|(takes, _)| self.source.stats().open >= *takes) else {
            return Ok(Box::new(self.source.connect()));
        };
        let words = match more {
            More::Refused => return Err(NetError::Refused { at: Place::of(endpoint) }),
            More::HungUpOn => "",
            More::Told(words) => words,
        };
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(words.as_bytes()).await.unwrap();
        Ok(Box::new(near))
    }
}

impl Dial for Lines {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        Box::pin(async move {
            match endpoint.port {
                SOURCE => self.reach_source(endpoint).await,
                _ if self.target_down.load(Ordering::SeqCst) => Err(NetError::Refused { at: Place::of(endpoint) }),
                _ => Ok(Box::new(self.target.connect()) as BoxedIo),
            }
        })
    }

    fn secure<'a>(&'a self, _: BoxedIo, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        panic!("TLS was not asked for: {endpoint:?}")
    }
}

fn haul(users: &[&str], more: &str) -> Haul {
    haul_for("1h", users, more)
}

fn haul_for(outage: &str, users: &[&str], more: &str) -> Haul {
    let options = format!("[transfer]\ntimeout = \"60s\"\noutage = \"{outage}\"\nsettle = \"100ms\"");
    let haul = Haul::new(End::plain(SOURCE), End::plain(TARGET)).in_memory().with(&format!("{options}\n{more}"));
    users.iter().fold(haul, |haul, user| haul.user(user, user))
}

fn message(at: usize) -> NewMessage {
    dated(format!("Message-ID: <{at}@x>\r\nSubject: {at}\r\n\r\nbody {at}\r\n"), at).flags("\\Seen $Forwarded")
}

/// Several folders, so that several connections are at work.
fn fill(lines: &Lines, user: &str, folders: usize, messages: usize) {
    for folder in 0..folders {
        let name = if folder == 0 { "INBOX".to_owned() } else { format!("Folder {folder}") };
        if folder > 0 {
            lines.source.account(user).create(&name).unwrap();
        }
        (0..messages).for_each(|at| lines.give(user, &name, message(folder * 1000 + at)));
    }
}

/// Folder by folder the bodies of a user, in order.
fn bodies(server: &Server, user: &str) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let account = server.account(user);
    let mut all = BTreeMap::new();
    for folder in account.folders() {
        let messages = account.messages(&folder.name).unwrap_or_default();
        let mut bodies: Vec<Vec<u8>> = messages.iter().map(|message| message.body.to_vec()).collect();
        bodies.sort();
        if !bodies.is_empty() {
            all.insert(folder.name.clone(), bodies);
        }
    }
    all
}

/// Exchange's words; the time it names is what is left.
fn throttled(commands: u64, rest: Duration) -> Budget {
    let text = "BAD Request is throttled. Suggested Backoff Time: {} milliseconds".to_owned();
    Budget { commands, warnings: 0, rest, text }
}

/// Gmail's, which name no time, after some that warn.
fn over_limits(commands: u64) -> Budget {
    let text = "NO [OVERQUOTA] Account exceeded command or bandwidth limits. x12 (Failure)".to_owned();
    Budget { commands, warnings: 3, rest: Duration::from_secs(3600), text }
}

#[tokio::test(start_paused = true)]
async fn exchange_is_migrated_to_without_a_person() {
    let budget = Some(throttled(60, Duration::from_secs(50 * 60)));
    let lines = Lines::new(Config::plain("u"), Config { budget, ..Config::exchange("u") });
    fill(&lines, "u", 4, 40);
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 3")).await;
    let end = &ran.end.accounts[0];
    assert_eq!((&end.fates, end.failure.as_ref()), (&[(Fate::Copied, 160)].into(), None), "{end:#?}");
    assert!(bodies(&lines.source, "u") == bodies(&lines.target, "u"));
    let (rests, asked_in_vain) = lines.target.rests();
    assert!(rests >= 2, "{rests}");
    assert_eq!(asked_in_vain, 0, "what one connection was told, all have kept, to the end");
    let sent: Vec<String> = lines.target.log().into_iter().map(|logged| logged.line).collect();
    let with_keyword: Vec<&String> = sent.iter().filter(|line| line.contains("$Forwarded")).collect();
    assert!(with_keyword.is_empty(), "{with_keyword:#?}");
}

#[tokio::test(start_paused = true)]
async fn exchange_is_migrated_from_without_a_person() {
    let keywords = Keywords::Any;
    let budget = Some(throttled(25, Duration::from_secs(50 * 60)));
    let source = Config { budget, keywords, permanent_flags: None, ..Config::exchange("u") };
    let lines = Lines::new(source, Config::plain("u"));
    fill(&lines, "u", 12, 15);
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 3")).await;
    ran.assert_complete();
    assert_eq!(ran.end.accounts[0].fates, [(Fate::Copied, 180)].into(), "nothing is unreadable for being put off");
    assert!(bodies(&lines.source, "u") == bodies(&lines.target, "u"));
    let (rests, asked_in_vain) = lines.source.rests();
    assert!(rests >= 2, "{rests}");
    assert_eq!(asked_in_vain, 0, "what one connection was told, all have kept, to the end");
}

#[tokio::test(start_paused = true)]
async fn gmail_is_migrated_to_without_a_person() {
    let budget = Some(over_limits(70));
    let lines = Lines::new(Config::plain("u"), Config { budget, ..Config::gmail("u") });
    fill(&lines, "u", 3, 40);
    // In one folder Gmail has one of these.
    let twin = || dated("Message-ID: <twin@x>\r\nSubject: twin\r\n\r\nother\r\n", 3);
    lines.give("u", "INBOX", twin());
    lines.give("u", "INBOX", twin());
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 3")).await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.ending, end.failure.as_ref()), (Ending::Exceptions, None), "{end:#?}");
    assert_eq!(end.fates, [(Fate::Copied, 121), (Fate::Missing, 1)].into(), "{end:#?}");
    let (rests, asked_in_vain) = lines.target.rests();
    assert!(rests >= 1, "{rests}");
    assert_eq!(asked_in_vain, 0, "an hour is known to do");
    let full = |event: &Event| matches!(event, Event::Waiting { why, .. } if why.contains("bandwidth"));
    assert!(ran.events.iter().any(full), "people are told why it waits");
}

#[tokio::test(start_paused = true)]
async fn gmail_is_migrated_from_without_a_person() {
    let budget = Some(over_limits(25));
    let lines = Lines::new(Config { budget, ..Config::gmail("u") }, Config::plain("u"));
    fill(&lines, "u", 12, 15);
    // An hour is asked for, which is no outage.
    let ran = lines.run(&haul_for("30min", &["u"], "[limits]\nconnections = 3")).await;
    ran.assert_complete();
    assert!(bodies(&lines.source, "u") == bodies(&lines.target, "u"));
    let (rests, asked_in_vain) = lines.source.rests();
    assert!(rests >= 2, "{rests}");
    assert_eq!(asked_in_vain, 0);
}

/// Gives how long the server was left alone after each command whose OK warned, but for what was on its way.
fn pauses(server: &Server, verb: &str, numbers: &[usize]) -> Vec<Duration> {
    let log = server.log();
    let warned = log.iter().filter(|logged| logged.verb == verb).enumerate();
    let mut warned: Vec<_> =
        warned.filter(|(at, _)| numbers.contains(&(at + 1))).map(|(_, logged)| logged.at).collect();
    // Asked in one go, they are answered in one: that is one word.
    warned.dedup();
    let next = |at: Instant| log.iter().map(|logged| logged.at).filter(|other| *other > at).min();
    warned.into_iter().filter_map(|at| Some(next(at)?.duration_since(at))).collect()
}

#[tokio::test(start_paused = true)]
async fn an_ok_that_asks_for_less_is_acted_on_whatever_was_asked() {
    let features = Features { literals: Literals::Synchronising, multiappend: false, ..Features::default() };
    let lines = Lines::new(Config::plain("u"), Config { features, ..Config::plain("u") });
    fill(&lines, "u", 3, 20);
    let haul = haul(&["u"], "[limits]\nconnections = 1");
    lines.run(&haul).await.assert_complete();
    // Each is heard by itself: the clock stands still while a server works, and ten minutes lie between two runs.
    for (server, verb, words) in [
        (&lines.source, "EXAMINE", "OK [READ-ONLY] Examine completed. [THROTTLED]"),
        (&lines.source, "UID FETCH", "OK Success [THROTTLED]"),
        (&lines.source, "LIST", "OK [THROTTLED] List completed."),
        (&lines.target, "APPEND", "OK [THROTTLED] Append completed."),
        (&lines.target, "EXAMINE", "OK [READ-ONLY] Examine completed. [THROTTLED]"),
        (&lines.target, "UID STORE", "OK Success [THROTTLED]"),
    ] {
        let at = lines.source.account("u").messages("INBOX").unwrap().len();
        lines.give("u", "INBOX", message(at));
        lines.source.account("u").set_flags("INBOX", 1, &[&format!("$k{at}")]).unwrap();
        [&lines.source, &lines.target].iter().for_each(|server| server.clear_log());
        let rule = server.faults().add(Point::after_execute(verb), Nth::First(2), Act::Reply(words.to_owned()));
        lines.run(&haul).await.assert_complete();
        let fired = server.faults().fired(rule) as usize;
        server.faults().clear();
        assert!(fired > 0, "{verb}");
        for (at, pause) in pauses(server, verb, &[1, 2]).into_iter().take(fired).enumerate() {
            let least = Duration::from_secs(1);
            assert!(pause >= least && pause < least * 2, "{verb} #{}: {pause:?}", at + 1);
        }
        assert!(bodies(&lines.source, "u") == bodies(&lines.target, "u"), "{verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_asked_by_one_and_all_go_on_by_themselves() {
    let users = ["a", "b", "c", "d", "e", "f"];
    let config = || users[1..].iter().fold(Config::plain("a"), |config, user| config.user(user, "pass"));
    let lines = Lines::new(config(), config());
    users.iter().for_each(|user| fill(&lines, user, 3, 4));
    let haul = haul_for("6h", &users, "[limits]\nconnections = 3");
    lines.run(&haul).await.assert_complete();
    users.iter().for_each(|user| lines.give(user, "INBOX", message(99)));

    lines.down.store(true, Ordering::SeqCst);
    let ledger = Ledger::open(&haul.state()).unwrap();
    let begin = Instant::now();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let states: Vec<AccountState> =
            ledger.accounts().await.unwrap().into_iter().map(|account| account.state).collect();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        lines.down.store(false, Ordering::SeqCst);
        states
    };
    let (ran, states) = tokio::join!(haul.run_over(ledger.clone(), lines.clone(), Mode::default()), outage);
    ledger.close().await.unwrap();
    ran.assert_complete();
    users.iter().for_each(|user| assert!(bodies(&lines.source, user) == bodies(&lines.target, user)));

    let is_told = |state: &AccountState| matches!(state, AccountState::Waiting { side: Side::Source, why, .. } if why.contains("nobody listens"));
    assert!(states.len() == 6 && states.iter().all(is_told), "status tells it while it lasts: {states:#?}");
    let told = |name: fn(&Event) -> Option<&String>| ran.events.iter().filter_map(name).cloned().collect::<Vec<_>>();
    let down = told(|event| match event {
        Event::Unreachable { account, side: Side::Source, .. } => Some(account),
        _ => None,
    });
    let up = told(|event| match event {
        Event::Reachable { account, side: Side::Source } => Some(account),
        _ => None,
    });
    for told in [down, up] {
        assert_eq!((told.len(), told.into_iter().collect::<BTreeSet<_>>().len()), (6, 6), "once to each");
    }
    let asked = lines.asked.lock().unwrap();
    let after = |seconds| asked.iter().filter(|at| at.duration_since(begin) >= Duration::from_secs(seconds)).count();
    // Each account may have begun when nobody knew; then one at a time, up to five minutes apart, half of that at least.
    assert!((6..80).contains(&asked.len()), "{}", asked.len());
    assert!((11..26).contains(&after(3600)), "{}", after(3600));
    assert!(lines.most_under_way.load(Ordering::SeqCst) <= 6, "no worker asks beside its account");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_up_on_one_more_is_taken_at_what_it_takes() {
    let config = || Config { connections_max: Some(3), ..Config::plain("a") }.user("b", "pass");
    let lines = Lines::new(config(), Config::plain("a").user("b", "pass"));
    ["a", "b"].iter().for_each(|user| fill(&lines, user, 6, 10));
    let ran = lines.run(&haul(&["a", "b"], "[limits]\nconnections = 4")).await;
    ran.assert_complete();
    ["a", "b"].iter().for_each(|user| assert!(bodies(&lines.source, user) == bodies(&lines.target, user)));
    let down = |event: &Event| matches!(event, Event::Unreachable { .. });
    assert!(!ran.events.iter().any(down), "it is no outage: {:#?}", ran.events);
}

#[tokio::test(start_paused = true)]
async fn a_wall_is_run_into_seldom_however_it_shows() {
    let users = ["a", "b", "c", "d"];
    let config = || users[1..].iter().fold(Config::plain("a"), |config, user| config.user(user, "pass"));
    let courier = More::Told("* BYE [ALERT] Maximum connection limit reached for 192.0.2.1\r\n");
    for more in [More::HungUpOn, courier, More::Refused] {
        let lines = Lines::new(config(), config());
        *lines.takes.lock().unwrap() = Some((3, more));
        users.iter().for_each(|user| fill(&lines, user, 6, 10));
        let begin = Instant::now();
        let ran = lines.run(&haul(&users, "[limits]\nconnections = 4\nmessages_per_second = 0.1")).await;
        ran.assert_complete();
        users.iter().for_each(|user| assert!(bodies(&lines.source, user) == bodies(&lines.target, user)));
        // Before anybody has signed in, nobody can tell.
        let connected = ran.events.iter().skip_while(|event| !matches!(event, Event::Copied { .. }));
        let down = connected.filter(|event| matches!(event, Event::Unreachable { .. })).count();
        let (dials, minutes) = (lines.dials.load(Ordering::SeqCst), begin.elapsed().as_secs() / 60);
        assert_eq!(down, 0, "{more:?}: others are connected");
        assert!(minutes >= 10 && dials <= 60, "{more:?}: {dials} in {minutes} minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_nobody_is_asked_by_one() {
    let users: Vec<String> = (0..20).map(|at| format!("u{at}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let config = || users[1..].iter().fold(Config::plain("u0"), |config, user| config.user(user, "pass"));
    let lines = Lines::new(config(), config());
    *lines.takes.lock().unwrap() =
        Some((0, More::Told("* BYE [ALERT] Maximum connection limit reached for 192.0.2.1\r\n")));
    users.iter().for_each(|user| fill(&lines, user, 1, 2));
    let opened = async {
        tokio::time::sleep(Duration::from_secs(1800)).await;
        lines.takes.lock().unwrap().take();
        lines.dials.load(Ordering::SeqCst)
    };
    let haul = haul(&users, "accounts = 20\n[limits]\nconnections = 2");
    let (ran, dials) = tokio::join!(lines.run(&haul), opened);
    ran.assert_complete();
    // All may have begun at once; then one at a time, a minute apart and more.
    assert!(dials <= 20 + 12, "{dials}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_behind_a_balancer_leaves_no_wall() {
    let users = ["a", "b"];
    let config = || Config::plain("a").user("b", "pass");
    let lines = Lines::new(config(), config());
    users.iter().for_each(|user| fill(&lines, user, 4, 60));
    let restart = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = lines.source.stats().open;
        lines.source.faults().add(Point::command("*"), Nth::All, Act::Drop);
        *lines.takes.lock().unwrap() = Some((0, More::HungUpOn));
        tokio::time::sleep(Duration::from_secs(60)).await;
        lines.source.faults().clear();
        lines.takes.lock().unwrap().take();
        tokio::time::sleep(Duration::from_secs(180)).await;
        (before, lines.source.stats().open)
    };
    let haul = haul(&users, "[limits]\nconnections = 4\nmessages_per_second = 0.2");
    let (ran, (before, after)) = tokio::join!(lines.run(&haul), restart);
    ran.assert_complete();
    assert!(before >= 6 && after >= before, "{before} before, {after} three minutes after");
}

#[tokio::test(start_paused = true)]
async fn accounts_that_share_a_host_begin_with_one_connection_each_and_one_that_is_alone_with_all() {
    for (users, first, then) in [(&["a", "b"][..], 2, 8), (&["a"], 4, 4)] {
        let config = || Config::plain("a").user("b", "pass");
        let lines = Lines::new(config(), config());
        users.iter().for_each(|user| fill(&lines, user, 4, 60));
        let looks = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let first = lines.source.stats().open;
            tokio::time::sleep(Duration::from_secs(57)).await;
            (first, lines.source.stats().open)
        };
        let haul = haul(users, "[limits]\nconnections = 4\nmessages_per_second = 0.2");
        let (ran, seen) = tokio::join!(lines.run(&haul), looks);
        ran.assert_complete();
        assert_eq!(seen, (first, then), "{users:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_wait_keeps_nobody_from_finding_a_host_up() {
    let config = || Config::plain("a").user("b", "pass");
    let lines = Lines::new(config(), config());
    ["a", "b"].iter().for_each(|user| fill(&lines, user, 2, 10));
    let add = |user: &str, nth: u64, act: Act| {
        lines.source.faults().push(Rule::new(Point::command("UID FETCH"), Nth::Only(nth), act).for_user(user));
    };
    // One account is told to wait when it wants a further connection; the other has lost its own.
    let words = "BAD Request is throttled. Suggested Backoff Time: 3000000 milliseconds";
    add("a", 2, Act::Delay(Duration::from_secs(2)));
    add("a", 2, Act::Reply(words.to_owned()));
    add("b", 2, Act::Delay(Duration::from_secs(1)));
    add("b", 2, Act::Drop);
    let outage = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        lines.down.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(110)).await;
        lines.down.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(780)).await;
        ["a", "b"].map(|user| bodies(&lines.source, user) == bodies(&lines.target, user))
    };
    let haul = haul(&["a", "b"], "[limits]\nconnections = 2");
    let (ran, done) = tokio::join!(lines.run(&haul), outage);
    ran.assert_complete();
    assert_eq!(done, [false, true], "after fifteen minutes");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_a_server_states_is_that_of_one_account() {
    // Two are left to the user's own programs.
    let limited = Config { connections_per_user: Some(4), ..Config::plain("u") };
    let lines = Lines::new(limited, Config::plain("u"));
    fill(&lines, "u", 8, 10);
    // Somebody's desktop.
    let mut desktop = Vec::new();
    for _ in 0..2 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut connection = lines.source.connect();
        connection.write_all(b"1 LOGIN u pass\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"in\r\n") && !String::from_utf8_lossy(&answer).contains("1 OK") {
            connection.read_buf(&mut answer).await.unwrap();
        }
        desktop.push(connection);
    }
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 6")).await;
    ran.assert_complete();
    assert!(bodies(&lines.source, "u") == bodies(&lines.target, "u"));
    assert_eq!(lines.source.stats().most_at_once["u"], 4);
    let tries =
        lines.source.log().iter().filter(|logged| matches!(logged.verb.as_str(), "LOGIN" | "AUTHENTICATE")).count();
    assert!(tries <= 2 + 6, "each of its workers tried once at the most: {tries}");
}

#[tokio::test(start_paused = true)]
async fn a_huge_mailbox_starves_no_small_one() {
    let users = ["big", "a", "b", "c", "d"];
    let config = || users[1..].iter().fold(Config::plain("big"), |config, user| config.user(user, "pass"));
    let lines = Lines::new(config(), config());
    fill(&lines, "big", 12, 20);
    users[1..].iter().for_each(|user| fill(&lines, user, 1, 3));
    let limits = "[limits]\nconnections = 2\nmessages_per_second = 5\n[limits.host]\nconnections = 2";
    let ran = lines.run(&haul(&users, limits)).await;
    ran.assert_complete();
    users.iter().for_each(|user| assert!(bodies(&lines.source, user) == bodies(&lines.target, user)));
    let done = |event: &Event| match event {
        Event::AccountDone { account, .. } => Some(account.clone()),
        _ => None,
    };
    let order: Vec<String> = ran.events.iter().filter_map(done).collect();
    assert_eq!(order.last().map(String::as_str), Some("big"), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_huge_mailbox_makes_room_in_the_middle_of_a_folder() {
    let users = ["big", "a", "b", "c", "d"];
    let config = || users[1..].iter().fold(Config::plain("big"), |config, user| config.user(user, "pass"));
    let lines = Lines::new(config(), config());
    fill(&lines, "big", 2, 300);
    users[1..].iter().for_each(|user| fill(&lines, user, 1, 3));
    // One small account after the other comes to find both connections taken.
    let limits = "accounts = 2\n[limits]\nconnections = 2\nmessages_per_second = 5\n[limits.host]\nconnections = 2";
    let ran = lines.run(&haul(&users, limits)).await;
    ran.assert_complete();
    users.iter().for_each(|user| assert!(bodies(&lines.source, user) == bodies(&lines.target, user)));
    let done = |event: &Event| match event {
        Event::AccountDone { account, .. } if account != "big" => Some(account.clone()),
        Event::FolderDone { account, .. } if account == "big" => Some(account.clone()),
        _ => None,
    };
    let order: Vec<String> = ran.events.iter().filter_map(done).collect();
    assert_eq!(order, ["a", "b", "c", "d", "big", "big"]);
}

#[tokio::test(start_paused = true)]
async fn two_accounts_with_room_for_one_never_wait_for_each_other() {
    for lost in 1..12 {
        let config = || Config::plain("a").user("b", "pass");
        let lines = Lines::new(config(), config());
        ["a", "b"].iter().for_each(|user| fill(&lines, user, 3, 5));
        // One has a target session and no source; the other gets the source and wants the target.
        lines.source.faults().add(Point::command("EXAMINE"), Nth::Only(lost), Act::Drop);
        let haul = haul(&["a", "b"], "[limits]\nconnections = 1\n[limits.host]\nconnections = 1");
        let ran = tokio::time::timeout(Duration::from_secs(24 * 3600), lines.run(&haul)).await;
        ran.unwrap_or_else(|_| panic!("EXAMINE #{lost}: both wait for ever")).assert_complete();
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_is_refused_after_it_went_well_is_tried_again_before_a_person_is_asked() {
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill(&lines, "u", 2, 10);
    lines.source.faults().add(Point::command("UID FETCH"), Nth::Only(2), Act::Drop);
    let refused = || Act::Reply("NO login incorrect".to_owned());
    lines.source.faults().add(Point::command("LOGIN"), Nth::Only(2), refused());
    lines.source.faults().add(Point::command("AUTHENTICATE"), Nth::Only(2), refused());
    let haul = haul(&["u"], "[limits]\nconnections = 1");
    let begin = Instant::now();
    lines.run(&haul).await.assert_complete();
    assert!(begin.elapsed() >= Duration::from_secs(60));

    lines.give("u", "INBOX", message(77));
    lines.source.faults().clear();
    lines.source.faults().add(Point::command("AUTHENTICATE"), Nth::All, refused());
    lines.source.faults().add(Point::command("LOGIN"), Nth::All, refused());
    let begin = Instant::now();
    let ran = lines.run(&haul).await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Failed);
    assert!(begin.elapsed() < Duration::from_secs(30), "one that never went well in this run is believed at once");
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_exchange_does_not_connect_for_a_minute_is_waited_for() {
    let lines = Lines::new(Config::plain("u"), Config::exchange("u"));
    fill(&lines, "u", 1, 10);
    let words = || Act::Reply("BAD User is authenticated but not connected.".to_owned());
    lines.target.faults().add(Point::command("LIST"), Nth::Only(1), words());
    let haul = haul(&["u"], "[limits]\nconnections = 4");
    let end = lines.run(&haul).await.end;
    assert_eq!((end.accounts[0].failure.as_ref(), &end.accounts[0].fates), (None, &[(Fate::Copied, 10)].into()));
    // Each of its connections meets it.
    for folder in 1..6 {
        let name = format!("Folder {folder}");
        lines.source.account("u").create(&name).unwrap();
        lines.give("u", &name, message(folder));
    }
    lines.target.faults().clear();
    lines.target.faults().add(Point::command("EXAMINE"), Nth::First(5), words());
    let end = lines.run(&haul).await.end;
    assert_eq!((end.accounts[0].failure.as_ref(), &end.accounts[0].fates), (None, &[(Fate::Copied, 15)].into()));
    lines.give("u", "INBOX", message(77));
    lines.target.faults().add(Point::command("LIST"), Nth::All, words());
    let end = lines.run(&haul).await.end;
    assert_eq!(end.accounts[0].ending, Ending::Failed, "then it needs a person");
}

/// One folder of large messages: some to a command, and several commands to come.
fn fill_large(lines: &Lines, messages: usize) {
    let rest = "0123456789abcdef".repeat(12_500);
    for at in 0..messages {
        let text = format!("Message-ID: <{at}@x>\r\nSubject: {at}\r\n\r\n{rest}\r\n");
        lines.give("u", "INBOX", dated(text, at));
    }
}

fn asked_for_bodies(lines: &Lines) -> Vec<String> {
    let log = lines.source.log();
    log.into_iter().map(|logged| logged.line).filter(|line| line.contains("BODY.PEEK[]")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_unavailable_when_asked_for_messages_is_waited_for() {
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill_large(&lines, 100);
    // All that has a body is out of reach for half an hour, and the folder can be listed.
    let busy = || Act::Reply("NO [UNAVAILABLE] Busy".to_owned());
    let rules: Vec<_> = (30..=100)
        .map(|uid| Rule::new(Point::FetchBody(uid), Nth::All, busy()))
        .map(|rule| lines.source.faults().push(rule))
        .collect();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(1800)).await;
        rules.iter().for_each(|rule| lines.source.faults().remove(*rule));
        asked_for_bodies(&lines).len()
    };
    let haul = haul_for("6h", &["u"], "[limits]\nconnections = 1");
    let (ran, asked) = tokio::join!(lines.run(&haul), outage);
    ran.assert_complete();
    assert_eq!(ran.end.accounts[0].fates, [(Fate::Copied, 100)].into());
    assert!(asked < 120, "it is asked ever less often: {asked}");
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_asked_for_once_a_source_is_unavailable() {
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill_large(&lines, 200);
    lines.source.faults().add(Point::FetchBody(25), Nth::Only(1), Act::Reply("NO [UNAVAILABLE] Busy".to_owned()));
    let begin = Instant::now();
    let asked_at_once = async {
        tokio::time::sleep(Duration::from_millis(25)).await;
        asked_for_bodies(&lines).len()
    };
    let haul = haul(&["u"], "[limits]\nconnections = 1");
    let (ran, asked) = tokio::join!(lines.run(&haul), asked_at_once);
    ran.assert_complete();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    // Twenty commands in all; a few were under way.
    assert!((3..10).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_alone_again_and_again_is_listed_and_the_others_arrive() {
    for (words, seconds) in [
        ("NO [UNAVAILABLE] Busy", 70),
        ("NO [UNAVAILABLE] UID FETCH Server error - Please try again later", 70),
        ("NO [SERVERBUG] Internal error occurred.", 70),
        ("NO The requested message could not be converted to an RFC-822 compatible format.", 0),
    ] {
        for tries in [1_u64, 3, u64::MAX] {
            let lines = Lines::new(Config::plain("u"), Config::plain("u"));
            fill_large(&lines, 40);
            // Two of them, and each is refused so often in company and alone.
            for uid in [12, 13] {
                lines.source.faults().add(Point::FetchBody(uid), Nth::First(tries), Act::Reply(words.to_owned()));
            }
            let begin = Instant::now();
            let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 1")).await;
            let (end, took) = (&ran.end.accounts[0], begin.elapsed().as_secs());
            assert_eq!(end.failure, None, "{words} {tries}");
            if tries == u64::MAX {
                assert_eq!(end.fates, [(Fate::Copied, 38), (Fate::Unreadable, 2)].into(), "{words}");
                assert!((seconds..seconds + 120).contains(&took), "{words}: {took} s");
            } else if seconds > 0 {
                assert_eq!(end.fates, [(Fate::Copied, 40)].into(), "{words} {tries}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_for_which_a_target_is_unavailable_keeps_no_other_back() {
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill(&lines, "u", 1, 40);
    let busy = || Act::Reply("NO [UNAVAILABLE] Server Unavailable. 15".to_owned());
    let rule = lines.target.faults().add(Point::AppendContaining(b"Subject: 5\r\n".to_vec()), Nth::All, busy());
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 1")).await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.ending, end.fates.get(&Fate::Copied)), (Ending::Parked, Some(&39)), "{end:#?}");
    lines.target.faults().remove(rule);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_wants_to_be_asked_nothing_is_not_kept_awake() {
    let features = Features { multiappend: false, ..Features::default() };
    let lines = Lines::new(Config::plain("u"), Config { features, ..Config::plain("u") });
    fill_large(&lines, 6);
    let slower = "OK Done. Request is throttled. Suggested Backoff Time: 900000 milliseconds".to_owned();
    lines.target.faults().add(Point::after_execute("APPEND"), Nth::Only(3), Act::Reply(slower));
    // Between two messages the target has nothing to do.
    lines.source.faults().add(Point::FetchBody(5), Nth::Only(1), Act::Delay(Duration::from_secs(400)));
    let options = "[transfer]\ntimeout = \"600s\"\nsettle = \"100ms\"\n[limits]\nconnections = 1";
    let haul = Haul::new(End::plain(SOURCE), End::plain(TARGET)).in_memory().with(options).user("u", "u");
    lines.run(&haul).await.assert_complete();
    let log = lines.target.log();
    let at = log.iter().filter(|logged| logged.verb == "APPEND").nth(2).unwrap().at;
    let early = log.iter().filter(|logged| logged.at > at && logged.at.duration_since(at) < Duration::from_secs(900));
    let early: Vec<_> = early.map(|logged| logged.line.clone()).collect();
    assert!(early.is_empty(), "{early:#?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_the_only_connection_gives_it_to_others_for_a_turn() {
    let config = || Config::plain("big").user("a", "pass");
    let lines = Lines::new(config(), config());
    fill(&lines, "big", 1, 300);
    fill(&lines, "a", 1, 3);
    let limits = "[limits]\nconnections = 1\nmessages_per_second = 0.1\n[limits.host]\nconnections = 1";
    let ran = lines.run(&haul(&["big", "a"], limits)).await;
    ran.assert_complete();
    ["big", "a"].iter().for_each(|user| assert!(bodies(&lines.source, user) == bodies(&lines.target, user)));
    let done = |event: &Event| match event {
        Event::AccountDone { account, .. } => Some(account.clone()),
        _ => None,
    };
    let order: Vec<String> = ran.events.iter().filter_map(done).collect();
    assert_eq!(order, ["a", "big"]);
}

/// The source hangs up on who does nothing, and one connection to each side is all there is.
fn one_waits_for_the_target(hangs_up: Act) -> (Arc<Lines>, Haul) {
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill(&lines, "u", 2, 20);
    lines.source.faults().add(Point::command("NOOP"), Nth::All, hangs_up);
    let options = "[transfer]\ntimeout = \"1h\"\noutage = \"5m\"\nsettle = \"100ms\"\n[limits]\nconnections = 1";
    let haul = Haul::new(End::plain(SOURCE), End::plain(TARGET)).in_memory().with(options).user("u", "u");
    (lines, haul)
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_up_on_a_folder_that_waits_for_the_target_costs_nothing() {
    let words = ["Session invalidated - AccessTokenExpired", "[UNAVAILABLE] Server shutting down."];
    for hangs_up in words.map(|words| Act::Bye(words.to_owned())).into_iter().chain([Act::Drop]) {
        let (lines, haul) = one_waits_for_the_target(hangs_up);
        // The copies of one folder are read back, and the next one is open at the source.
        let held = lines.target.faults().hold(Point::command("UID FETCH"), Nth::Only(1));
        let (ran, ()) = tokio::join!(lines.run(&haul), async {
            held.reached().await;
            tokio::time::sleep(Duration::from_secs(15 * 60)).await;
            held.release();
        });
        ran.assert_complete();
        assert_eq!(ran.copied(), 40);
        let asked = |verb: &str| lines.source.log().iter().filter(|logged| logged.verb == verb).count();
        assert!(asked("NOOP") >= 5, "{}", asked("NOOP"));
        assert!(asked("UID FETCH") < 20, "they are asked for together");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_up_makes_no_wait_for_a_target_that_takes_nobody_longer() {
    for is_down in [true, false] {
        let (lines, haul) = one_waits_for_the_target(Act::Drop);
        let held = lines.target.faults().hold(Point::command("UID FETCH"), Nth::Only(1));
        let run = async {
            let begun = Instant::now();
            let ran = tokio::time::timeout(Duration::from_secs(24 * 3600), lines.run(&haul)).await.unwrap();
            (ran, begun.elapsed())
        };
        let ((ran, took), ()) = tokio::join!(run, async {
            held.reached().await;
            lines.target_down.store(is_down, Ordering::SeqCst);
            let refused = || Act::Reply("NO [UNAVAILABLE] Account is temporarily unavailable.".to_owned());
            lines.target.faults().add(Point::command("LOGIN"), Nth::All, refused());
            lines.target.faults().add(Point::command("AUTHENTICATE"), Nth::All, refused());
            lines.target.faults().add(Point::command("UID FETCH"), Nth::All, Act::Drop);
            held.release();
        });
        assert_eq!(ran.end.accounts[0].ending, Ending::Parked);
        assert!(took < Duration::from_secs(20 * 60), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_under_way_gets_more_connections_when_its_host_has_them_again() {
    const MESSAGES: usize = 4000;
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill(&lines, "u", 1, MESSAGES);
    for uid in 1..=MESSAGES as u32 {
        lines.source.faults().add(Point::FetchBody(uid), Nth::All, Act::Delay(Duration::from_secs(1)));
    }
    *lines.takes.lock().unwrap() =
        Some((1, More::Told("* BYE [ALERT] Maximum connection limit reached for 192.0.2.1\r\n")));
    let again = async {
        tokio::time::sleep(Duration::from_secs(300)).await;
        lines.takes.lock().unwrap().take();
        lines.source.stats().most_open
    };
    let haul = haul(&["u"], "[limits]\nconnections = 4");
    let (ran, before) = tokio::join!(lines.run(&haul), again);
    ran.assert_complete();
    let stats = lines.source.stats();
    assert!(before == 1 && stats.most_open > 1, "{before}, then {stats:?}");
}
