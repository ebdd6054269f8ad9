//! How fast mailboxes move, beside others: the program, mbsync, and a client that only pipelines, between the same servers in
//! the same run.
//!
//! ```text
//! benches/run [small] [large] [accounts] [--runs N] [--part P] [--on DIR] [--line MS,MBIT]
//! ```
//!
//! Two Dovecots of its own hold the mail, in memory or in `DIR`. Every peer copies into users of its own, one after the other,
//! `N` times (5); what is printed are medians, and how many times as fast as each of the others the program was. `--part 0.1`
//! takes a tenth of the messages. `--line 40,100` leads every connection over a line of 40 ms there and back, and 100 Mbit/s.

#[path = "../../tests/it/support/mod.rs"]
#[allow(unused, unreachable_pub, clippy::unwrap_used, clippy::expect_used, reason = "made for the tests")]
mod support;

mod line;
mod raw;

use line::Line;
use raw::Server;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use support::dovecot::{self, Dovecot};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Mailboxes that are moved.
struct Workload {
    name: &'static str,
    /// Of each of them: folders, and what lies in each.
    users: usize,
    folders: usize,
    /// How many messages of how many bytes.
    messages: &'static [(usize, usize)],
}

const WORKLOADS: [Workload; 3] = [
    Workload { name: "small", users: 1, folders: 20, messages: &[(500, 8_000)] },
    Workload { name: "large", users: 1, folders: 2, messages: &[(250, 2_000_000), (5, 25_000_000)] },
    Workload { name: "accounts", users: 20, folders: 5, messages: &[(200, 10_000)] },
];

struct Options {
    workloads: Vec<String>,
    runs: usize,
    part: f64,
    on: PathBuf,
    line: Option<(Duration, f64)>,
}

fn options() -> Result<Options> {
    let memory = Path::new("/dev/shm");
    let on = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let mut options = Options { workloads: Vec::new(), runs: 5, part: 1.0, on, line: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            // Of cargo.
            "--bench" => {}
            "--runs" => options.runs = value()?.parse()?,
            "--part" => options.part = value()?.parse()?,
            "--on" => options.on = value()?.into(),
            "--line" => {
                let value = value()?;
                let (ms, mbit) = value.split_once(',').ok_or("--line wants MS,MBIT")?;
                options.line = Some((Duration::from_secs_f64(ms.parse::<f64>()? / 2000.0), mbit.parse()?));
            }
            name if WORKLOADS.iter().any(|workload| workload.name == name) => options.workloads.push(word),
            _ => return Err(format!("unknown: {word}").into()),
        }
    }
    if options.workloads.is_empty() {
        options.workloads = WORKLOADS.iter().map(|workload| workload.name.to_owned()).collect();
    }
    Ok(options)
}

/// The servers, and where they are reached.
struct World {
    source: Dovecot,
    target: Dovecot,
    at_source: Server,
    at_target: Server,
    mail: tempfile::TempDir,
    /// Kept open.
    _lines: Vec<Line>,
}

impl World {
    fn new(options: &Options) -> Result<Self> {
        let mail = tempfile::Builder::new().prefix("mailhaul-bench-").tempdir_in(&options.on)?;
        std::fs::set_permissions(mail.path(), std::fs::Permissions::from_mode(0o777))?;
        let start = |side: &str| -> Result<Dovecot> {
            let place = mail.path().join(side);
            std::fs::create_dir(&place)?;
            std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777))?;
            let location = format!("maildir:{}/%u", place.display());
            let options = dovecot::Options { mail_location: location.leak(), ..dovecot::Options::default() };
            Ok(Dovecot::start(options))
        };
        let (source, target) = (start("source")?, start("target")?);
        let mut lines = Vec::new();
        let mut reach = |port: u16, authority: PathBuf| -> Result<Server> {
            let Some((delay, mbit)) = options.line else { return Ok(Server { port, authority }) };
            let line = Line::open(port, delay, mbit)?;
            let port = line.port();
            lines.push(line);
            Ok(Server { port, authority })
        };
        let at_source = reach(source.imaps(), source.ca_file())?;
        let at_target = reach(target.imaps(), target.ca_file())?;
        Ok(Self { source, target, at_source, at_target, mail, _lines: lines })
    }

    /// Puts mail into the mailboxes of the source; gives how many messages there are.
    fn fill(&self, workload: &Workload, part: f64) -> Result<usize> {
        let near = Server { port: self.source.imaps(), authority: self.source.ca_file() };
        let mut total = 0;
        for user in 0..workload.users {
            let mut client = raw::Client::sign_in(&near, &user_of(workload, user))?;
            for folder in 0..workload.folders {
                let name = if folder == 0 { "INBOX".to_owned() } else { format!("folder {folder}") };
                let mut sizes = Vec::new();
                for (count, bytes) in workload.messages {
                    sizes.extend((0..((*count as f64 * part).ceil() as usize)).map(|_| *bytes));
                }
                total += sizes.len();
                client.fill(&name, &sizes)?;
            }
        }
        Ok(total)
    }

    fn forget(&self, user: &str) -> Result<()> {
        let place = self.mail.path().join("target").join(user);
        if place.exists() {
            std::fs::remove_dir_all(place)?;
        }
        Ok(())
    }
}

fn user_of(workload: &Workload, number: usize) -> String {
    format!("{}{number}", workload.name)
}

/// Who moves mail: gives how long it took, and how long it took again where nothing had changed.
#[derive(Clone, Copy, PartialEq)]
enum Peer {
    Raw { together: bool },
    Mbsync,
    Mailhaul,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Raw { together: true } => "raw, MULTIAPPEND",
            Self::Raw { together: false } => "raw, APPEND",
            Self::Mbsync => "mbsync",
            Self::Mailhaul => "mailhaul",
        }
    }

    fn target_user(self, workload: &Workload, number: usize) -> String {
        let peer: String = self.name().chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{}-{}", user_of(workload, number), peer.to_lowercase())
    }

    fn run(self, world: &World, workload: &Workload) -> Result<Took> {
        let home = tempfile::tempdir()?;
        let users: Vec<(String, String)> =
            (0..workload.users).map(|number| (user_of(workload, number), self.target_user(workload, number))).collect();
        let took = match self {
            Self::Raw { together } => {
                let begin = Instant::now();
                for (source, target) in &users {
                    raw::copy((&world.at_source, source), (&world.at_target, target), together)?;
                }
                Took { first: begin.elapsed(), again: None, peak: None }
            }
            Self::Mbsync => {
                let config = home.path().join("mbsyncrc");
                std::fs::write(&config, mbsync_file(world, &users, home.path()))?;
                let command = [&["mbsync", "-q", "-a", "-c"], &[path(&config)][..]].concat();
                Took::of(home.path(), &command)?
            }
            Self::Mailhaul => {
                let (job, state) = (home.path().join("job.toml"), home.path().join("state"));
                std::fs::write(&job, job_file(world, &users))?;
                let command = [env!("CARGO_BIN_EXE_mailhaul"), "run", path(&job), "--state", path(&state)];
                Took::of(home.path(), &command)?
            }
        };
        users.iter().try_for_each(|(_, target)| world.forget(target))?;
        Ok(took)
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

struct Took {
    first: Duration,
    again: Option<Duration>,
    /// Peak resident KiB of the first.
    peak: Option<u64>,
}

impl Took {
    /// Runs a command twice.
    fn of(home: &Path, command: &[&str]) -> Result<Self> {
        let (first, peak) = Self::once(home, command)?;
        let (again, _) = Self::once(home, command)?;
        Ok(Self { first, again: Some(again), peak })
    }

    fn once(home: &Path, command: &[&str]) -> Result<(Duration, Option<u64>)> {
        let told = home.join("peak");
        let time = Path::new("/usr/bin/time");
        let mut run = match time.exists() {
            true => {
                let mut run = Command::new(time);
                run.args(["-q", "-f", "%M", "-o", path(&told)]).args(command);
                run
            }
            false => {
                let mut run = Command::new(command[0]);
                run.args(&command[1..]);
                run
            }
        };
        let begin = Instant::now();
        let output = run.env("HOME", home).stdin(Stdio::null()).output()?;
        let took = begin.elapsed();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed: {}: {said}", command[0], output.status).into());
        }
        let peak = std::fs::read_to_string(told).ok().and_then(|text| text.trim().parse().ok());
        Ok((took, peak))
    }
}

fn job_file(world: &World, users: &[(String, String)]) -> String {
    let mut text = "name = \"bench\"\n".to_owned();
    for (side, server) in [("source", &world.at_source), ("target", &world.at_target)] {
        let (port, authority) = (server.port, server.authority.display());
        let _ = write!(text, "[{side}]\nhost = \"localhost\"\nport = {port}\nca_file = \"{authority}\"\n");
    }
    for (source, target) in users {
        let one = |user: &str| format!("{{ user = \"{user}\", password = \"{}\" }}", dovecot::PASSWORD);
        let _ = write!(text, "[[account]]\nsource = {}\ntarget = {}\n", one(source), one(target));
    }
    text
}

fn mbsync_file(world: &World, users: &[(String, String)], home: &Path) -> String {
    let store = |name: &str, server: &Server, user: &str| {
        format!(
            "IMAPStore {name}\nHost localhost\nPort {}\nUser {user}\nPass {}\nSSLType IMAPS\nCertificateFile {}\n\
             SystemCertificates no\nTimeout 300\n\n",
            server.port,
            dovecot::PASSWORD,
            server.authority.display()
        )
    };
    let mut text = String::new();
    for (number, (source, target)) in users.iter().enumerate() {
        let state = home.join(format!("state{number}/"));
        let _ = std::fs::create_dir(&state);
        text.push_str(&store(&format!("s{number}"), &world.at_source, source));
        text.push_str(&store(&format!("t{number}"), &world.at_target, target));
        let _ = write!(
            text,
            "Channel c{number}\nFar :s{number}:\nNear :t{number}:\nPatterns *\nCreate Near\nSync Pull\n\
             CopyArrivalDate yes\nSyncState {}\n\n",
            state.display()
        );
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(options: &Options, workload: &Workload) -> Result<()> {
    let world = World::new(options)?;
    let messages = world.fill(workload, options.part)?;
    let mut peers = vec![Peer::Mailhaul, Peer::Raw { together: true }, Peer::Raw { together: false }];
    match support::find_program("mbsync") {
        Some(_) => peers.push(Peer::Mbsync),
        None => println!("mbsync is not installed: measured without it"),
    }
    let line = options.line.map(|(delay, mbit)| format!(", {:?} and {mbit} Mbit/s", delay * 2)).unwrap_or_default();
    println!(
        "\n{}: {messages} messages{line}, in {}, medians of {}",
        workload.name,
        options.on.display(),
        options.runs
    );
    let mut took: Vec<Vec<Took>> = peers.iter().map(|_| Vec::new()).collect();
    // In turn, so that what else the machine does meets all of them.
    for _ in 0..options.runs {
        for (peer, took) in peers.iter().zip(&mut took) {
            took.push(peer.run(&world, workload)?);
        }
    }
    println!("  {:<18}{:>9}{:>12}{:>10}{:>10}{:>12}", "", "seconds", "messages/s", "again", "peak MiB", "mailhaul is");
    let firsts: Vec<f64> =
        took.iter().map(|took| median(took.iter().map(|took| took.first.as_secs_f64()).collect())).collect();
    for ((peer, took), first) in peers.iter().zip(&took).zip(&firsts) {
        let again = took.iter().filter_map(|took| took.again).map(|again| again.as_secs_f64()).collect::<Vec<_>>();
        let again = if again.is_empty() { String::new() } else { format!("{:.2}", median(again)) };
        let peak =
            took.iter().filter_map(|took| took.peak).max().map_or(String::new(), |peak| (peak / 1024).to_string());
        let speed = messages as f64 / first;
        let ratio = format!("{:.2} x", first / firsts[0]);
        println!("  {:<18}{first:>9.2}{speed:>12.0}{again:>10}{peak:>10}{ratio:>12}", peer.name());
    }
    drop(world.target);
    Ok(())
}

fn main() -> ExitCode {
    let measured = options().and_then(|options| {
        Dovecot::available()?;
        let chosen = WORKLOADS.iter().filter(|workload| options.workloads.iter().any(|name| name == workload.name));
        chosen.into_iter().try_for_each(|workload| measure(&options, workload))
    });
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
