//! The program itself, killed by SIGKILL at random moments between real servers, gone on with each time until it is done.
//! Then anew, with another mailbox.
//!
//! `tests/sweep` is the long form. Of the same seed are mailboxes and intentions; the moment at which a signal arrives is
//! its own chance.

use super::say;
use crate::program::{Program, copied_in, job};
use crate::support::client::Client;
use crate::support::compare::{Comparison, Kind};
use crate::support::fill::{fill, joined};
use crate::support::haul::Side;
use crate::support::{Cyrus, Dovecot, cyrus, dovecot, is_available};
use mailhaul_testserver::generate::{self, GenerateOptions, GeneratedFolder};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Kills where nobody asks for more.
const KILLS: usize = 6;
/// Kills of one migration at the most: then it may end.
const KILLS_OF_ONE: usize = 12;
/// The last moment of a kill by the clock; once something was killed, beyond the time for which a target is watched that
/// may still change.
const MOMENTS_MAX: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(3500)];
/// Messages of a mailbox.
const MESSAGES: usize = 200;
/// So slow that there is a middle to be killed in.
const SLOW: &str = "[limits.target]\nmessages_per_second = 200\n[transfer]\nlate = \"2s\"";
/// How a run ends that lists exceptions: what a Cyrus does not take as it is.
const EXCEPTIONS: i32 = mailhaul::cli::Exit::Exceptions as i32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Dovecot,
    Cyrus,
}

enum Host {
    Dovecot(Dovecot),
    Cyrus(Cyrus),
}

impl Host {
    fn start(family: Family) -> Self {
        match family {
            Family::Dovecot => Self::Dovecot(Dovecot::start(dovecot::Options::default())),
            Family::Cyrus => {
                Self::Cyrus(Cyrus::start(cyrus::Options { alternative_namespace: true, ..Default::default() }))
            }
        }
    }

    fn side(&self) -> Side {
        match self {
            Self::Dovecot(server) => Side::tls(server.imaps(), &server.ca_file()),
            Self::Cyrus(server) => Side::tls(server.imaps(), &server.ca_file()),
        }
    }

    fn client(&self) -> Client {
        match self {
            Self::Dovecot(server) => server.client(USER),
            Self::Cyrus(server) => server.client(USER),
        }
    }
}

/// Known to both.
const USER: &str = "u0001";

/// What has been tried.
#[derive(Default)]
struct Totals {
    kills: usize,
    migrations: usize,
    messages: usize,
    /// By what the program had told last.
    moments: BTreeMap<String, usize>,
}

/// When a run is killed.
enum Moment {
    After(Duration),
    Copied(u64),
}

/// How a run came to its end.
enum Run {
    /// What it had told last.
    Killed(String),
    Ended(i32),
}

fn mailbox(seed: u64, pair: (Family, Family)) -> Vec<GeneratedFolder> {
    if pair == (Family::Dovecot, Family::Dovecot) {
        return generate::mailbox(seed, MESSAGES, &GenerateOptions { deleted: false, ..GenerateOptions::default() });
    }
    // What a Cyrus can hold.
    let options = GenerateOptions { deleted: false, headerless: false, ..GenerateOptions::tame() };
    let mut folders = generate::mailbox(seed, MESSAGES, &options);
    folders.retain(|folder| !folder.path.join("").contains(';'));
    folders
}

/// Runs and kills it at a moment, if it has not ended before.
fn run_and_kill(program: &Program, line: &str, moment: &Moment) -> Run {
    let mut running = program.start(line);
    let (send, lines) = mpsc::channel();
    let stdout = BufReader::new(running.0.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let deadline = Instant::now() + if let Moment::After(time) = moment { *time } else { Duration::from_secs(120) };
    let (mut last, mut copied) = ("nothing".to_owned(), 0);
    // It ends with the moment or with the program.
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        copied += copied_in(&line);
        let event = serde_json::from_str::<serde_json::Value>(&line).ok();
        last = event.and_then(|event| Some(event["event"].as_str()?.to_owned())).unwrap_or(last);
        if matches!(moment, Moment::Copied(wanted) if copied >= *wanted) {
            break;
        }
    }
    // It may have ended by itself.
    let _ = running.0.kill();
    let status = running.0.wait().unwrap();
    reading.join().unwrap();
    match status.signal() {
        Some(9) => Run::Killed(last),
        Some(_) => panic!("{status}: {}", program.log()),
        None => Run::Ended(status.code().unwrap()),
    }
}

/// Migrates one mailbox, killed again and again.
fn migrate(seed: u64, pair: (Family, Family), kills_max: usize, totals: &mut Totals) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let hosts = (Host::start(pair.0), Host::start(pair.1));
    let folders = mailbox(seed, pair);
    fill(&mut hosts.0.client(), &folders, |path| joined("", '/', path));
    let program = Program::new();
    program.write("job.toml", &job(&hosts.0.side(), &hosts.1.side(), USER, SLOW));
    let fine = |code: i32| code == 0 || pair.1 == Family::Cyrus && code == EXCEPTIONS;
    let (mut line, mut kills, mut ended) = ("run job.toml --json", 0, None);
    while kills < kills_max && ended.is_none() {
        let moment = match chance.bool() {
            true => Moment::After(MOMENTS_MAX[kills.min(1)].mul_f64(chance.f64())),
            false => Moment::Copied(chance.u64(1..60)),
        };
        match run_and_kill(&program, line, &moment) {
            Run::Killed(last) => {
                kills += 1;
                // Once it has begun, going on needs no arguments.
                line = if last == "nothing" { line } else { "resume --json" };
                *totals.moments.entry(last).or_default() += 1;
            }
            Run::Ended(code) => {
                assert!(fine(code), "seed {seed}, {pair:?}, {kills} kills: exit code {code}: {}", program.log());
                ended = Some(code);
            }
        }
    }
    let what = format!("seed {seed}, {pair:?}, {kills} kills");
    for line in ["run job.toml --json", "run job.toml --json"] {
        let ran = program.run(line);
        assert!(fine(ran.code), "{what}: exit code {}: {}{}", ran.code, ran.stdout, ran.stderr);
        let copied: u64 = ran.stdout.lines().map(copied_in).sum();
        assert!(ended.is_none() || copied == 0, "{what}: a run after the last copied {copied}");
        ended = Some(ran.code);
    }
    let mut differences = Comparison::default().differences(&mut hosts.0.client(), &mut hosts.1.client());
    // A Cyrus makes parents, and has its own idea of dates that no calendar knows; the run lists them.
    let known = |kind| pair.1 == Family::Cyrus && matches!(kind, Kind::FolderSurplus | Kind::Date);
    differences.retain(|one| !known(one.kind));
    let lines: String = differences.iter().map(|one| format!("{one}\n")).collect();
    assert!(differences.is_empty(), "{what}:\n{lines}{}", program.log());
    totals.kills += kills;
    totals.migrations += 1;
    totals.messages += folders.iter().map(|folder| folder.messages.len()).sum::<usize>();
}

#[test]
fn the_program_killed_at_random_loses_nothing_and_doubles_nothing() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let kills = number("MAILHAUL_SWEEP_KILLS").map_or(KILLS, |kills| kills as usize);
    let minutes = number("MAILHAUL_SWEEP_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let servers = std::env::var("MAILHAUL_SWEEP_SERVERS").unwrap_or_else(|_| "dovecot,cyrus".to_owned());
    let mut pairs = Vec::new();
    let dovecot = servers.contains("dovecot") && is_available(Dovecot::available());
    let cyrus = servers.contains("cyrus") && is_available(Cyrus::available());
    if dovecot {
        pairs.push((Family::Dovecot, Family::Dovecot));
    }
    if dovecot && cyrus {
        pairs.extend([(Family::Dovecot, Family::Cyrus), (Family::Cyrus, Family::Dovecot)]);
    }
    if pairs.is_empty() {
        return;
    }
    let first = number("MAILHAUL_SWEEP_SEED").unwrap_or(1000);
    let (mut totals, begun) = (Totals::default(), Instant::now());
    // The short form gives each pair its part.
    let of_one = kills.div_ceil(pairs.len()).min(KILLS_OF_ONE);
    for seed in first.. {
        if totals.kills >= kills || minutes.is_some_and(|minutes| begun.elapsed() >= minutes) {
            break;
        }
        let pair = pairs[(seed - first) as usize % pairs.len()];
        migrate(seed, pair, of_one.min(kills - totals.kills), &mut totals);
        let Totals { kills, migrations, messages, moments } = &totals;
        let moments: Vec<String> = moments.iter().map(|(moment, count)| format!("{count} after {moment}")).collect();
        let seconds = begun.elapsed().as_secs();
        let moments = moments.join(", ");
        say(&format!("kills: {kills} in {migrations} migrations of {messages} messages, {seconds} s: {moments}"));
    }
}
