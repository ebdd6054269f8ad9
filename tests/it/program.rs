//! The program as a whole, between servers: killed, misled, watched for what it must not tell.

use crate::support::client::{Address, Client};
use crate::support::compare;
use crate::support::fill::{fill, joined};
use crate::support::haul::Side;
use crate::support::{Dovecot, dovecot};
use base64::Engine as _;
use mailhaul_testserver::generate::{self, GenerateOptions, GeneratedFolder};
use mailhaul_testserver::{Act, Nth, Point};
use mailhaul_testserver::{Ca, CertKind, Config, Features, Literals, NewMessage, Server, TlsMode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read as _};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer takes nothing here, even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program in a home of its own, with nothing of the surroundings but a PATH.
pub(crate) struct Program {
    home: TempDir,
    environment: Vec<(&'static str, String)>,
}

/// How a command ended and all it said.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A started program; killed at the latest when the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Program {
    pub(crate) fn new() -> Self {
        let environment = vec![("PASSWORD", "pass".to_owned())];
        Self { home: tempfile::tempdir().unwrap(), environment }
    }

    fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A command line, followed by where state is kept.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
        command.args(line.split(' ')).arg("--state").arg(self.state()).current_dir(self.home.path());
        command.env_clear().env("HOME", self.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        let output = self.command(line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts it with standard output to be read, and standard error in a file.
    pub(crate) fn start(&self, line: &str) -> Running {
        let log = File::options().create(true).append(true).open(self.path("stderr.log")).unwrap();
        Running(self.command(line).stdout(Stdio::piped()).stderr(log).spawn().unwrap())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap_or_default()
    }

    /// Runs until so many messages were acknowledged, and kills it there.
    fn kill_after(&self, line: &str, messages: u64) {
        let mut running = self.start(line);
        let mut copied = 0;
        for line in BufReader::new(running.0.stdout.take().unwrap()).lines() {
            copied += copied_in(&line.unwrap());
            if copied >= messages {
                break;
            }
        }
        running.kill();
        assert!(copied >= messages, "{line} ended after {copied} of {messages}:\n{}", self.log());
    }

    /// Runs to the end, which must be good, and gives how many messages were copied.
    fn complete(&self, line: &str) -> u64 {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}: {}{}", ended.stdout, ended.stderr);
        ended.stdout.lines().map(copied_in).sum()
    }

    /// Gives the state of the only account there is, once there is one.
    fn standing(&self) -> Option<String> {
        let ended = self.run("status --json");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let accounts: Value = serde_json::from_str(&ended.stdout).unwrap();
        Some(accounts[0]["state"].as_str()?.to_owned())
    }
}

impl Running {
    /// Ends it at once, in mid-run.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        assert_eq!(self.0.wait().unwrap().signal(), Some(9), "it had ended by itself");
    }

    /// Asks it to end, which it does as one that is done.
    fn terminate(&mut self) {
        let kill = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads how many messages an event says were copied.
pub(crate) fn copied_in(line: &str) -> u64 {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return 0 };
    if event["event"] == "copied" { event["messages"].as_u64().unwrap() } else { 0 }
}

/// One end of an account, as an inline table.
fn end(side: &Side, user: &str, password: &str, more: &str) -> String {
    let Side { host, port, tls, .. } = side;
    let tls = if tls.is_empty() { String::new() } else { format!(", {tls}") };
    format!("{{ user = \"{user}\", password = {password}, host = \"{host}\", port = {port}{tls}{more} }}")
}

/// A password that is in the environment.
const BY_ENVIRONMENT: &str = "{ env = \"PASSWORD\" }";

/// A job of one account, both passwords from the environment.
pub(crate) fn job(source: &Side, target: &Side, user: &str, extra: &str) -> String {
    let (source, target) = (end(source, user, BY_ENVIRONMENT, ""), end(target, user, BY_ENVIRONMENT, ""));
    format!("{extra}\n[[account]]\nsource = {source}\ntarget = {target}\n")
}

/// So slow that a run can be caught in the middle.
const SLOW: &str = "[limits.target]\nmessages_per_second = 300\n[transfer]\nlate = \"2s\"";

fn generated(seed: u64, messages: usize) -> Vec<GeneratedFolder> {
    generate::mailbox(seed, messages, &GenerateOptions { deleted: false, ..GenerateOptions::default() })
}

/// Gives how many messages a mailbox holds.
fn count(client: &mut Client) -> u64 {
    let folders = client.list();
    let real = folders.iter().filter(|folder| !folder.attributes.iter().any(|one| one == "\\noselect"));
    real.map(|folder| client.status(&folder.name, "MESSAGES")[0]).sum()
}

/// Asks again and again until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        // Another process is watched from outside: it sends no event.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills one run after the other, each after so many messages of its own, lets the last one end, and compares.
fn check_kills(program: &Program, kills: &[u64], source: &Address, target: &Address) {
    let mut line = "run job.toml --json";
    for messages in kills {
        program.kill_after(line, *messages);
        line = "resume --json";
    }
    program.complete("resume");
    let client = |address| Client::sign_in(address, "anna", "pass");
    compare::assert_same(&mut client(source), &mut client(target));
    assert_eq!(program.complete("run job.toml --json"), 0);
}

#[test]
fn a_kill_in_mid_run_and_resume_without_arguments_end_equal() {
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let target = Dovecot::start(dovecot::Options::default());
    fill(&mut source.client("anna"), &generated(21, 600), |path| joined("", '/', path));
    let sides = [&source, &target].map(|server| Side::tls(server.imaps(), &server.ca_file()));
    let program = Program::new();
    program.write("job.toml", &job(&sides[0], &sides[1], "anna", SLOW));
    check_kills(&program, &[5, 145, 250], &source.address(), &target.address());
}

#[tokio::test(flavor = "multi_thread")]
async fn f70_a_kill_in_mid_run_makes_no_second_copy_where_uids_are_not_told() {
    let without = Features { uidplus: false, ..Features::default() };
    let literals = Literals::Synchronising;
    let weak = Features { literals, multiappend: false, condstore: false, ..without.clone() };
    for features in [without, weak] {
        let source = Server::start(Config::plain("anna")).await.unwrap();
        let target = Server::start(Config { features, ..Config::plain("anna") }).await.unwrap();
        source.account("anna").fill(&generated(22, 400)).unwrap();
        let program = Program::new();
        program.write("job.toml", &job(&Side::plain(source.port()), &Side::plain(target.port()), "anna", SLOW));
        let [source, target] = [source.port(), target.port()].map(Address::plain);
        check_kills(&program, &[1, 20, 3, 45, 8, 30, 60, 2, 40], &source, &target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_several_connections_share_a_folder_loses_nothing_and_brings_nothing_twice() {
    let source = Server::start(Config::plain("anna")).await.unwrap();
    let mut config = Config::plain("anna");
    config.greeting = "Dovecot ready.".to_owned();
    let target = Server::start(config).await.unwrap();
    for number in 0..2000 {
        let text = format!("Subject: {number}\r\n\r\n{}\r\n", "so it goes. ".repeat(300));
        source.account("anna").add("INBOX", NewMessage::new(text.into_bytes())).unwrap();
    }
    target.faults().add(Point::command("APPEND"), Nth::First(60), Act::Delay(Duration::from_millis(300)));
    let program = Program::new();
    program.write("job.toml", &job(&Side::plain(source.port()), &Side::plain(target.port()), "anna", ""));
    let addresses = [source.port(), target.port()].map(Address::plain);
    check_kills(&program, &[300, 500], &addresses[0], &addresses[1]);
    assert!(target.stats().most_at_once["anna"] > 1, "several at once");
}

/// Gives the most memory a process has had resident, in KiB; None where the system does not say.
fn resident_max(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn f83_memory_stays_flat_over_many_messages_and_one_that_is_huge() {
    /// For the whole process, in KiB.
    const RESIDENT_MAX: u64 = 100 * 1024;
    let (source, target) = (Server::start(Config::plain("u")), Server::start(Config::plain("u")));
    let (source, target) = (source.await.unwrap(), target.await.unwrap());
    let account = source.account("u");
    for number in 0..20_000 {
        let text = format!("Subject: {number}\r\nMessage-ID: <{number}@x>\r\n\r\n{}\r\n", "text ".repeat(40));
        account.add("INBOX", NewMessage::new(text.into_bytes())).unwrap();
    }
    account.create("Huge").unwrap();
    let huge = [&b"Subject: huge\r\n\r\n"[..], &b"0123456789abcdef\r\n".repeat(100 * 1024 * 1024 / 18)].concat();
    account.add("Huge", NewMessage::new(huge)).unwrap();
    let program = Program::new();
    program.write("job.toml", &job(&Side::plain(source.port()), &Side::plain(target.port()), "u", ""));
    let mut running = program.start("run job.toml --json");
    let mut most = 0;
    for _ in BufReader::new(running.0.stdout.take().unwrap()).lines() {
        most = most.max(resident_max(running.0.id()).unwrap_or(0));
    }
    assert_eq!(running.0.wait().unwrap().code(), Some(0), "{}", program.log());
    assert_eq!(target.account("u").count(), 20_001);
    assert!(most < RESIDENT_MAX, "{most} KiB");
}

#[test]
fn the_daemon_migrates_a_dropped_job_and_finishes_it_after_a_kill() {
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let target = Dovecot::start(dovecot::Options::default());
    fill(&mut source.client("anna"), &generated(23, 400), |path| joined("", '/', path));
    let sides = [&source, &target].map(|server| Side::tls(server.imaps(), &server.ca_file()));
    let program = Program::new();
    std::fs::create_dir(program.path("jobs")).unwrap();
    program.write("daemon.toml", "jobs = \"jobs\"\npoll = \"100ms\"\n");
    // Slower still: looking at the target takes its time.
    program.write("dropped", &job(&sides[0], &sides[1], "anna", &SLOW.replace("300", "100")));

    let mut daemon = program.start("daemon --config daemon.toml");
    std::fs::rename(program.path("dropped"), program.path("jobs/anna.toml")).unwrap();
    let mut client = target.client("anna");
    wait_until("a part has arrived", || count(&mut client) >= 100);
    daemon.kill();
    assert!(count(&mut client) < 400);

    let mut daemon = program.start("daemon --config daemon.toml");
    wait_until("it is complete", || program.standing().as_deref() == Some("complete"));
    compare::assert_same(&mut source.client("anna"), &mut client);
    daemon.terminate();
}

/// A way to fail: what the bad account's server is like, and the code it comes to.
struct Way {
    name: &'static str,
    code: i32,
    side: Side,
    password: &'static str,
    /// Tried on the target too.
    both: bool,
}

impl Way {
    fn new(name: &'static str, code: i32, host: &str, port: u16, tls: &str) -> Self {
        let side = Side { host: host.to_owned(), port, tls: tls.to_owned(), password: String::new() };
        Self { name, code, side, password: BY_ENVIRONMENT, both: false }
    }

    fn wrong_password(mut self) -> Self {
        self.password = "{ env = \"WRONG\" }";
        self
    }

    fn on_both(mut self) -> Self {
        self.both = true;
        self
    }
}

/// Runs a job of a bad account and a good one; gives why the bad one failed, as it was said.
fn check_way(way: &Way, is_source: bool, source: &Side, target: &Side) -> String {
    let program = Program::new().with("WRONG", "no such password");
    let bad = end(&way.side, "bad", way.password, ", connect_timeout = \"1s\"");
    let other = end(if is_source { target } else { source }, "bad", BY_ENVIRONMENT, "");
    let (bad_source, bad_target) = if is_source { (bad, other) } else { (other, bad) };
    let mut text = job(source, target, "good", "[transfer]\ntimeout = \"1s\"\nfirst_contact = \"500ms\"");
    writeln!(text, "[[account]]\nsource = {bad_source}\ntarget = {bad_target}").unwrap();
    program.write("job.toml", &text);

    let ended = program.run("run job.toml");
    let side = if is_source { "source" } else { "target" };
    let all = format!("{}, {side}:\n{}{}", way.name, ended.stdout, ended.stderr);
    assert_eq!(ended.code, way.code, "{all}");
    let mut lines = ended.stdout.lines().skip_while(|line| !line.contains(" bad: "));
    assert!(lines.next().is_some(), "no account: {all}");
    let reason = lines.next().unwrap().trim();
    assert!(reason.starts_with(&format!("{side}: ")), "no side: {all}");
    let hint = lines.find(|line| line.trim_start().starts_with("hint: ")).unwrap_or_else(|| panic!("no hint: {all}"));
    let standing: Value = serde_json::from_str(&program.run("status --json").stdout).unwrap();
    let good = standing.as_array().unwrap().iter().find(|account| account["account"] == "good").unwrap();
    assert_eq!(good["state"], "complete", "{all}");
    format!("{reason}\n{hint}").replace(&way.side.port.to_string(), "PORT").replace(&way.side.host, "HOST")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_fail_has_its_own_words_and_exit_code() {
    let plain = || Config::plain("good").user("bad", "pass");
    let [source, target] = [Server::start(plain()).await.unwrap(), Server::start(plain()).await.unwrap()];
    source.account("good").fill(&generated(24, 5)).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let ca = Ca::new().unwrap();
    std::fs::write(scratch.path().join("ca.pem"), ca.pem()).unwrap();
    let trusted = format!("ca_file = \"{}\"", scratch.path().join("ca.pem").display());
    let shows = |kind| plain().with_tls(TlsMode::Implicit).with_ca(&ca).with_certificate(kind);
    let expired = Server::start(shows(CertKind::Expired)).await.unwrap();
    let misnamed = Server::start(shows(CertKind::WrongName)).await.unwrap();
    let good = Server::start(shows(CertKind::Good)).await.unwrap();
    // Connections wait in its queue, taken by the system and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (silent.local_addr().unwrap().port(), silent);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();

    let none = "tls = \"none\"";
    let ways = [
        Way::new("wrong password", 10, "127.0.0.1", good.port(), &trusted).wrong_password().on_both(),
        Way::new("no such host", 11, "does-not-exist.invalid", 993, ""),
        Way::new("closed port", 12, "127.0.0.1", closed, none).on_both(),
        Way::new("silence", 13, "127.0.0.1", silent.0, none),
        Way::new("silence in TLS", 13, "127.0.0.1", silent.0, ""),
        Way::new("expired", 14, "localhost", expired.port(), &trusted).on_both(),
        Way::new("wrong name", 15, "localhost", misnamed.port(), &trusted),
        Way::new("unknown issuer", 16, "localhost", good.port(), ""),
        Way::new("TLS to plain text", 17, "localhost", source.port(), ""),
        Way::new("no STARTTLS", 17, "localhost", source.port(), "tls = \"starttls\""),
    ];
    let (source, target) = (Side::plain(source.port()), Side::plain(target.port()));
    let mut said = BTreeMap::new();
    for way in &ways {
        let words = check_way(way, true, &source, &target);
        if let Some(other) = said.insert(words.clone(), way.name) {
            panic!("{other} and {} sound alike: {words}", way.name);
        }
        if way.both {
            let on_target = check_way(way, false, &source, &target);
            assert_ne!(on_target, words, "{}", way.name);
        }
    }
}

/// What is looked for everywhere.
const MARKER: &str = "Zq7xSesame93Kw";

/// Gives what must not be anywhere: the secret, and what a sign-in makes of it.
fn forms(user: &str) -> Vec<Vec<u8>> {
    let base64 = |text: String| base64::engine::general_purpose::STANDARD.encode(text).into_bytes();
    let all = vec![MARKER.into(), base64(MARKER.to_owned()), base64(format!("\0{user}\0{MARKER}"))];
    // A debug form of bytes, and what is left of base64 without its end.
    let listed = format!("{:?}", MARKER.as_bytes());
    all.into_iter().chain([listed.trim_matches(['[', ']']).into()]).collect()
}

fn assert_secret_free(bytes: &[u8], place: &str) {
    for form in forms("anna") {
        let is_there = bytes.windows(form.len()).any(|window| window == form);
        assert!(!is_there, "{place} holds {}", form.escape_ascii());
    }
}

/// Reads every file below a directory.
fn each_file(directory: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { each_file(&path, each) } else { each(&path, &std::fs::read(&path).unwrap()) }
    }
}

/// Runs with everything logged, and looks for the secret in all that comes of it.
fn check_secret(what: &str, password: &str, source: &Side, target: &Side, code: i32) {
    let program = Program::new().with("MARKER", MARKER).with("RUST_LOG", "trace").with("MAILHAUL_LOG", "trace");
    program.write("secret", MARKER);
    let (source, target) = (end(source, "anna", password, ""), end(target, "anna", password, ""));
    program.write("job.toml", &format!("[[account]]\nsource = {source}\ntarget = {target}\n"));
    for line in ["check job.toml", "run job.toml", "run job.toml -vv --json", "run job.toml -vvvv", "status --json"] {
        let place = format!("{what}: {line}");
        let running = program.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Ok(typed) = std::fs::read(format!("/proc/{}/cmdline", running.id())) {
            assert_secret_free(&typed, &format!("{place}: the command line"));
        }
        let output = running.wait_with_output().unwrap();
        let expected = if line.starts_with("status") { 0 } else { code };
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{place}: {told}");
        assert!(!output.stdout.is_empty(), "{place}: {told}");
        assert_secret_free(&output.stdout, &format!("{place}: standard output"));
        assert_secret_free(&output.stderr, &format!("{place}: standard error"));
    }
    check_daemon_secret(&program, what, if code == 0 { "complete" } else { "failed" });
    let mut files = 0;
    each_file(&program.state(), &mut |path, bytes| {
        files += 1;
        assert_secret_free(bytes, &format!("{what}: {}", path.display()));
    });
    assert!(files > 0, "{what}");
}

/// The daemon logs most: it runs the same job until it stands as `standing`.
fn check_daemon_secret(program: &Program, what: &str, standing: &str) {
    std::fs::remove_dir_all(program.state()).unwrap();
    std::fs::create_dir(program.path("jobs")).unwrap();
    for file in ["job.toml", "secret"] {
        std::fs::copy(program.path(file), program.path("jobs").join(file)).unwrap();
    }
    program.write("daemon.toml", "jobs = \"jobs\"\npoll = \"100ms\"\n");
    let mut daemon = program.start("daemon --config daemon.toml -vvvv");
    wait_until(standing, || program.standing().as_deref() == Some(standing));
    daemon.terminate();
    let mut said = Vec::new();
    daemon.0.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert_secret_free(&said, &format!("{what}: the daemon's standard output"));
    let log = program.log();
    assert!(log.contains("account begins"), "{what}: {log}");
    assert_secret_free(log.as_bytes(), &format!("{what}: the daemon's log"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_anywhere() {
    let open = || Config { users: Vec::new(), ..Config::plain("anna") }.user("anna", MARKER);
    let [source, target] = [Server::start(open()).await.unwrap(), Server::start(open()).await.unwrap()];
    let refusing = Server::start(Config::plain("anna")).await.unwrap();
    source.account("anna").fill(&generated(25, 20)).unwrap();
    let [source, target, refusing] = [source.port(), target.port(), refusing.port()].map(Side::plain);
    let plain = format!("\"{MARKER}\"");
    for (what, password) in [
        ("by environment", "{ env = \"MARKER\" }"),
        ("by file", "{ file = \"secret\" }"),
        ("by command", "{ command = [\"cat\", \"secret\"] }"),
        ("in plain", &plain),
    ] {
        check_secret(what, password, &source, &target, 0);
        check_secret(&format!("{what}, wrong"), password, &refusing, &target, 10);
    }
}

#[test]
fn a_batch_of_broken_job_files_is_refused_before_any_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (source, target) = (Side::plain(port), Side { host: "localhost".to_owned(), ..Side::plain(port) });
    let good = job(&source, &target, "anna", SLOW);
    let broken = [
        ("key", "messages_per_second", "mesages_per_second", 2, "did you mean"),
        ("syntax", "[limits.target]", "[limits.target", 1, "close what was opened"),
        ("range", "= 300", "= 0", 2, ""),
        ("type", "= 300", "= [300]", 2, ""),
        ("secret", "{ env = \"PASSWORD\" }", "{ env = \"$PASSWORD\" }", 6, "leave out the dollar sign"),
        ("tls", "tls = \"none\"", "tls = \"ssl\"", 6, ""),
    ];
    let program = Program::new();
    program.write("good.toml", &good);
    let mut line = "run good.toml".to_owned();
    for (name, right, wrong, ..) in &broken {
        assert!(good.contains(right), "{name}");
        program.write(&format!("{name}.toml"), &good.replacen(right, wrong, 1));
        write!(line, " {name}.toml").unwrap();
    }
    let ended = program.run(&line);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
    for (name, _, _, number, hint) in broken {
        let place = format!("{name}.toml:{number}: ");
        let mut lines = ended.stderr.lines().skip_while(|line| !line.contains(&place));
        assert!(lines.next().is_some(), "{place} is not named:\n{}", ended.stderr);
        let next = lines.next().unwrap_or_default();
        assert!(next.starts_with("  hint: ") && next.contains(hint), "{place} has no hint:\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("good.toml"), "{}", ended.stderr);
    assert!(!program.state().exists());
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it was connected to");
}

/// What a source may be asked, by verb: nothing of it changes anything.
const READ_ONLY: [&str; 16] = [
    "AUTHENTICATE",
    "CAPABILITY",
    "CLOSE",
    "ENABLE",
    "EXAMINE",
    "FETCH",
    "ID",
    "LIST",
    "LOGIN",
    "LOGOUT",
    "LSUB",
    "NAMESPACE",
    "NOOP",
    "STATUS",
    "UID FETCH",
    "UNSELECT",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_command_changes_anything_at_the_source() {
    for features in [Features::default(), Features::bare()] {
        let source = Server::start(Config { features, ..Config::plain("u") }).await.unwrap();
        let target = Server::start(Config::plain("u")).await.unwrap();
        source.account("u").fill(&generated(31, 80)).unwrap();
        // One is refused, so that there is something to try again, and one is changed between two runs.
        source.account("u").add("INBOX", NewMessage::new(b"Subject: poison\r\n\r\npoison\r\n".to_vec())).unwrap();
        let refuses = Act::Reply("NO it is a virus".to_owned());
        target.faults().add(Point::AppendContaining(b"poison".to_vec()), Nth::All, refuses);
        let program = Program::new();
        program.write("job.toml", &job(&Side::plain(source.port()), &Side::plain(target.port()), "u", ""));
        for line in [
            "check job.toml",
            "plan job.toml",
            "run job.toml",
            "run job.toml",
            "run job.toml --failed",
            "resume",
            "verify job.toml --level counts",
            "verify job.toml",
            "verify job.toml --level bytes",
            "failed job.toml",
            "status",
        ] {
            let ended = program.run(line);
            assert!(![2, 101].contains(&ended.code), "{line}: {} {}{}", ended.code, ended.stdout, ended.stderr);
        }
        let log = source.log();
        assert!(log.iter().any(|one| one.verb == "UID FETCH"));
        for one in log {
            assert!(READ_ONLY.contains(&one.verb.as_str()), "{}", one.line);
            // BODY[] without PEEK marks a message as read.
            assert!(!one.line.to_uppercase().contains(" BODY[") && !one.line.contains("(BODY["), "{}", one.line);
        }
    }
}

/// Says whether a character makes a terminal do something, or text look as if it were another.
fn steers(c: char) -> bool {
    c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{61c}' | '\u{e0041}')
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_server_says_steers_a_terminal() {
    const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}abc\u{61c}\u{e0041}";
    let greeting = format!("hello {EVIL}");
    let id = vec![("name".to_owned(), EVIL.to_owned())];
    let config = || Config { greeting: greeting.clone(), id: id.clone(), ..Config::plain("u") };
    let source = Server::start(config()).await.unwrap();
    let target = Server::start(config()).await.unwrap();
    // ESC, a line end, C1, a bidirectional override and a tag, in modified UTF-7.
    for name in ["a&ABs-[2J", "b&AAoACg-c", "c&AJs-31m", "d&IC4-x", "e&BhzbQNxB-"] {
        let account = source.account("u");
        account.create(name).unwrap();
        let text = format!("Subject: poison {EVIL}\r\nDate: {EVIL}\r\n\r\npoison\r\n");
        account.add(name, NewMessage::new(text.into_bytes()).flags("$strange")).unwrap();
        account.add(name, NewMessage::new(b"Subject: fine\r\n\r\nfine\r\n".to_vec())).unwrap();
    }
    let refuses = Act::Reply(format!("NO [X{EVIL}] {EVIL}"));
    target.faults().add(Point::AppendContaining(b"poison".to_vec()), Nth::All, refuses.clone());
    target.faults().add(Point::command("CREATE"), Nth::Only(2), refuses);
    let program = Program::new();
    program.write("job.toml", &job(&Side::plain(source.port()), &Side::plain(target.port()), "u", ""));
    let commands = ["check job.toml", "plan job.toml", "run job.toml", "verify job.toml", "failed job.toml", "status"];
    for line in commands.iter().flat_map(|line| [(*line).to_owned(), format!("{line} --json"), format!("{line} -vv")]) {
        let ended = program.run(&line);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.is_empty() && !said.contains(steers), "{line}: {said:?}");
        assert!(!said.contains("\nc\""), "a line end of a name: {line}: {said}");
        if line.ends_with("--json") {
            let documents = serde_json::Deserializer::from_str(&ended.stdout).into_iter::<Value>();
            documents.for_each(|document| drop(document.unwrap_or_else(|error| panic!("{line}: {error}: {said}"))));
        }
    }
}
