//! The daemon against a directory, a ledger and sockets of loopback; driven step by step, so that nothing waits for a clock.

use super::*;
use crate::checkpoint::{AccountState, JobReference};
use crate::net::Network;
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Config, Nth, Point, Server, TlsMode};
use std::fs;
use std::io::Write;
use std::net::TcpListener as Listener;
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tracing::Level;

/// Longer than anything here takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log that can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects what this thread tells from now on.
    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn count(&self, words: &str) -> usize {
        self.text().matches(words).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct House {
    directory: TempDir,
    log: Log,
    _collecting: tracing::subscriber::DefaultGuard,
}

impl House {
    fn new() -> Self {
        let log = Log::default();
        let collecting = log.collect();
        Self { directory: tempfile::tempdir().unwrap(), log, _collecting: collecting }
    }

    fn jobs(&self) -> PathBuf {
        self.directory.path().join("jobs")
    }

    fn file(&self) -> PathBuf {
        self.jobs().join("a.toml")
    }

    fn config(&self) -> DaemonConfig {
        DaemonConfig { jobs: self.jobs(), state: None, poll: Duration::from_millis(100) }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    async fn open(&self) -> Daemon {
        let stop = CancellationToken::new();
        Daemon::open(self.config(), &self.state(), Arc::new(Network::new()), stop).await.unwrap()
    }

    async fn states(&self) -> Vec<AccountState> {
        let ledger = Ledger::open_read_only(&self.state()).unwrap().unwrap();
        ledger.accounts().await.unwrap().into_iter().map(|account| account.state).collect()
    }

    /// Writes what a daemon before this one knew of the file's account.
    async fn remember(&self, state: AccountState) {
        let job = crate::config::load(&self.file(), &crate::config::Context::daemon()).unwrap();
        let ledger = Ledger::open(&self.state()).unwrap();
        let reference = JobReference {
            name: job.name.clone(),
            path: job.path.clone(),
            digest: job.digest,
            account_name: job.accounts[0].name.clone(),
        };
        let account = ledger.account(&transfer::key(&job.accounts[0]), reference).await.unwrap();
        ledger.set_account_state(account, state).await.unwrap();
        ledger.close().await.unwrap();
    }
}

impl Daemon {
    /// Two looks: a file has settled.
    async fn settled(&mut self) {
        self.look().await;
        self.look().await;
        self.act();
    }

    /// Waits for a run to end.
    async fn one_end(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.runs.join_next_with_id()).await.unwrap().unwrap();
        self.ended(ended).await.unwrap();
    }
}

fn job(port: u16) -> String {
    job_between(port, port)
}

fn job_between(source: u16, target: u16) -> String {
    format!(
        "[source]\nhost = \"127.0.0.1\"\nport = {source}\ntls = \"none\"\n\
         [target]\nhost = \"127.0.0.1\"\nport = {target}\ntls = \"none\"\n\
         [transfer]\nfirst_contact = \"0s\"\n\
         [[account]]\nsource = {{ user = \"a\", password = \"xyzzy-old\" }}\n\
         target = {{ user = \"b\", password = \"xyzzy-new\" }}\n"
    )
}

/// A port where nobody listens.
fn closed_port() -> u16 {
    Listener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_broken_file_is_told_once_and_read_again_when_it_changes() {
    let house = House::new();
    let mut daemon = house.open().await;
    fs::write(house.file(), "[sorce]\n").unwrap();
    daemon.settled().await;
    daemon.settled().await;
    assert_eq!(house.log.count("the job file cannot be used"), house.log.count("a.toml"));
    assert_eq!(house.log.count("sorce"), 1, "{}", house.log.text());
    let before = house.log.count("the job file cannot be used");
    fs::write(house.file(), format!("nme = \"x\"\n{}", job(closed_port()))).unwrap();
    daemon.settled().await;
    assert_eq!(house.log.count("the job file cannot be used"), before + 1);
    assert!(house.log.text().contains("line=1 key=\"nme\""), "{}", house.log.text());
    assert!(daemon.standings.is_empty());
    fs::write(house.file(), job(closed_port())).unwrap();
    daemon.settled().await;
    daemon.one_end().await;
    daemon.drain().await.unwrap();
}

#[tokio::test]
async fn a_file_that_appears_is_run_and_a_host_that_is_down_is_tried_again_later() {
    let house = House::new();
    let mut daemon = house.open().await;
    daemon.settled().await;
    assert!(daemon.standings.is_empty());
    fs::write(house.file(), job(closed_port())).unwrap();
    daemon.settled().await;
    daemon.one_end().await;
    let Standing::Ended { again, .. } = &daemon.standings[&house.file()] else { panic!() };
    assert!(again["a"].due > Instant::now() + Duration::from_secs(200));
    daemon.settled().await;
    assert!(daemon.running.is_empty(), "not before its time");
    daemon.drain().await.unwrap();
    assert!(matches!(&house.states().await[..], [AccountState::Parked { .. }]));
    assert!(house.log.text().contains("account waits for a server: source: failed to"), "{}", house.log.text());
    assert!(!house.log.text().contains("xyzzy"), "a secret was told: {}", house.log.text());
}

#[tokio::test]
async fn a_start_runs_what_was_interrupted_and_not_what_is_complete() {
    let now = std::time::SystemTime::now();
    let table = [
        (AccountState::Complete { at: now }, false),
        (AccountState::Running { since: now }, true),
        (AccountState::Parked { until: None, why: "x".to_owned() }, true),
        (AccountState::Exceptions { at: now }, true),
    ];
    for (state, expected) in table {
        let house = House::new();
        fs::create_dir(house.jobs()).unwrap();
        fs::write(house.file(), job(closed_port())).unwrap();
        house.remember(state.clone()).await;
        let mut daemon = house.open().await;
        daemon.settled().await;
        assert_eq!(daemon.running.len(), usize::from(expected), "{state:?}");
        daemon.settled().await;
        assert_eq!(daemon.running.len(), usize::from(expected), "{state:?}");
        if !expected {
            let file = fs::File::options().write(true).open(house.file()).unwrap();
            file.set_modified(now + Duration::from_secs(9)).unwrap();
            daemon.settled().await;
            assert_eq!(daemon.running.len(), 1, "it was touched");
        }
        daemon.drain().await.unwrap();
    }
}

#[tokio::test]
async fn a_complete_job_that_is_put_there_again_is_run() {
    let house = House::new();
    fs::create_dir(house.jobs()).unwrap();
    fs::write(house.file(), job(closed_port())).unwrap();
    house.remember(AccountState::Complete { at: std::time::SystemTime::now() }).await;
    let mut daemon = house.open().await;
    daemon.settled().await;
    let elsewhere = house.directory.path().join("elsewhere");
    fs::rename(house.file(), &elsewhere).unwrap();
    daemon.settled().await;
    assert!(daemon.standings.is_empty());
    fs::rename(&elsewhere, house.file()).unwrap();
    daemon.settled().await;
    assert_eq!(daemon.running.len(), 1);
    daemon.drain().await.unwrap();
}

/// A server that takes connections and says nothing.
async fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_file_that_is_taken_away_stops_its_run() {
    let house = House::new();
    let (server, port) = silent().await;
    let mut daemon = house.open().await;
    fs::write(house.file(), job(port)).unwrap();
    daemon.settled().await;
    let _connection = server.accept().await.unwrap();
    // No file for a moment because of the directory itself is no reason.
    let aside = house.directory.path().join("aside");
    fs::rename(house.jobs(), &aside).unwrap();
    daemon.settled().await;
    assert!(!daemon.stops[&house.file()].is_cancelled());
    assert_eq!(house.log.count("cannot be read"), 1);
    fs::rename(&aside, house.jobs()).unwrap();
    fs::remove_file(house.file()).unwrap();
    daemon.settled().await;
    daemon.one_end().await;
    daemon.act();
    assert!(daemon.standings.is_empty());
    daemon.drain().await.unwrap();
    assert_eq!(house.states().await, [AccountState::Interrupted]);
}

#[tokio::test]
async fn a_file_that_changes_stops_its_run_and_is_run_anew() {
    let house = House::new();
    let (server, port) = silent().await;
    let mut daemon = house.open().await;
    fs::write(house.file(), job(port)).unwrap();
    daemon.settled().await;
    let _connection = server.accept().await.unwrap();
    fs::write(house.file(), format!("name = \"other\"\n{}", job(closed_port()))).unwrap();
    daemon.settled().await;
    daemon.one_end().await;
    daemon.act();
    assert_eq!(daemon.running.len(), 1);
    daemon.one_end().await;
    assert!(house.log.text().contains("job=\"other\""), "{}", house.log.text());
    daemon.drain().await.unwrap();
}

#[tokio::test]
async fn a_stop_drains_what_runs_and_another_daemon_can_begin() {
    let house = House::new();
    let (server, port) = silent().await;
    fs::create_dir(house.jobs()).unwrap();
    fs::write(house.file(), job(port)).unwrap();
    let stop = CancellationToken::new();
    let (config, state, token) = (house.config(), house.state(), stop.clone());
    let daemon = tokio::spawn(async move { serve(config, &state, Arc::new(Network::new()), token).await });
    let _connection = tokio::time::timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    let network = || Arc::new(Network::new());
    let refused = serve(house.config(), &house.state(), network(), CancellationToken::new()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::AccountBusy);
    assert!(Failure::from(refused).to_string().contains("process"));
    stop.cancel();
    tokio::time::timeout(PATIENCE, daemon).await.unwrap().unwrap().unwrap();
    assert_eq!(house.states().await, [AccountState::Interrupted]);
    serve(house.config(), &house.state(), network(), stop).await.unwrap();
}

#[tokio::test]
async fn a_file_put_there_is_migrated_and_a_daemon_that_died_in_between_changes_nothing() {
    const MESSAGES: usize = 400;
    let house = House::new();
    let start = async |user: &str, password: &str| {
        Server::start(Config::with_user(user, password).with_tls(TlsMode::None)).await.unwrap()
    };
    let (source, target) = (start("a", "xyzzy-old").await, start("b", "xyzzy-new").await);
    let options = GenerateOptions { deleted: false, ..GenerateOptions::default() };
    source.account("a").fill(&generate::mailbox(1, MESSAGES, &options)).unwrap();
    fs::create_dir(house.jobs()).unwrap();
    fs::write(house.file(), job_between(source.port(), target.port())).unwrap();

    let mut first = house.open().await;
    let held = target.faults().hold(Point::command("APPEND"), Nth::From(MESSAGES as u64 / 8));
    first.settled().await;
    tokio::time::timeout(PATIENCE, held.reached()).await.unwrap();
    // All its tasks end where they are, and its locks are free: as after a kill.
    let Daemon { runs, ledger, _lock, .. } = first;
    drop(runs);
    drop(ledger);
    drop(_lock);
    drop(held);
    assert!(target.account("b").count() < MESSAGES);

    let mut second = house.open().await;
    second.settled().await;
    second.one_end().await;
    second.drain().await.unwrap();
    assert!(matches!(&house.states().await[..], [AccountState::Complete { .. }]), "{}", house.log.text());
    assert_eq!(target.account("b").count(), MESSAGES);

    let (connections, mut third) = (target.stats().connections, house.open().await);
    third.settled().await;
    assert!(third.running.is_empty());
    third.drain().await.unwrap();
    assert_eq!(target.stats().connections, connections, "a job that is complete asks nobody");
    assert!(!house.log.text().contains("xyzzy"), "a secret was told");
}

#[cfg(unix)]
#[tokio::test]
async fn the_directory_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new();
    house.open().await.drain().await.unwrap();
    for (path, mode) in
        [(house.jobs(), 0o700), (house.state().join("spool"), 0o700), (house.state().join("daemon.lock"), 0o600)]
    {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
}
