//! A job between two servers, run by the library in this process.

use super::scratch::Scratch;
use mailhaul::checkpoint::Ledger;
use mailhaul::config::{self, Context as Reading, Job};
use mailhaul::net::{Dial, Network};
use mailhaul::transfer::{self, Context, Event, Events, JobEnd, Mode, Shared};
use mailhaul_testserver::Held;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One end of every account of a job.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// A line such as `ca_file = "…"` or `tls = "none"`.
    pub(crate) tls: String,
    pub(crate) password: String,
}

impl Side {
    /// A server with TLS from the first byte, by a CA of its own.
    pub(crate) fn tls(port: u16, ca_file: &Path) -> Self {
        let tls = format!("ca_file = \"{}\"", ca_file.display());
        Self { host: "localhost".to_owned(), port, tls, password: "pass".to_owned() }
    }

    /// A server of tests/server in plain text.
    pub(crate) fn plain(port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, tls: "tls = \"none\"".to_owned(), password: "pass".to_owned() }
    }
}

/// A job file, a state directory and both sides.
pub(crate) struct Haul {
    directory: Scratch,
    source: Side,
    target: Side,
    users: Vec<(String, String)>,
    /// Lines before the first table.
    top: String,
    /// Lines behind the tables of both sides.
    pub(crate) extra: String,
}

/// What a run came to, and what it told.
pub(crate) struct Ran {
    pub(crate) end: JobEnd,
    pub(crate) events: Vec<Event>,
}

impl Haul {
    pub(crate) fn new(source: Side, target: Side) -> Self {
        Self { directory: Scratch::new(), source, target, users: Vec::new(), top: String::new(), extra: String::new() }
    }

    /// Keeps files and state in memory, where the machine has a place for that.
    pub(crate) fn in_memory(mut self) -> Self {
        self.directory = Scratch::quick();
        self
    }

    /// Adds an account.
    pub(crate) fn user(mut self, source: &str, target: &str) -> Self {
        self.users.push((source.to_owned(), target.to_owned()));
        self
    }

    /// Adds keys outside of all tables.
    pub(crate) fn on_top(mut self, keys: &str) -> Self {
        self.top.push_str(keys);
        self.top.push('\n');
        self
    }

    /// Adds tables or keys, such as `[transfer]\nsample = "100%"`.
    pub(crate) fn with(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self.extra.push('\n');
        self
    }

    /// Goes on with another source, or with another name for the same.
    pub(crate) fn take_from(&mut self, source: Side) {
        self.source = source;
    }

    /// Gives the ports of source and target.
    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.source.port, self.target.port)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes the job file and gives its path.
    pub(crate) fn job_file(&self) -> PathBuf {
        let mut text = format!("name = \"test\"\n{}", self.top);
        for (table, side) in [("source", &self.source), ("target", &self.target)] {
            writeln!(text, "[{table}]\nhost = \"{}\"\nport = {}\n{}", side.host, side.port, side.tls).unwrap();
        }
        text.push_str(&self.extra);
        for (source, target) in &self.users {
            writeln!(
                text,
                "[[account]]\nsource = {{ user = \"{source}\", password = \"{}\" }}\ntarget = {{ user = \"{target}\", password = \"{}\" }}",
                self.source.password, self.target.password
            )
            .unwrap();
        }
        let path = self.directory.path().join("job.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn job(&self) -> Job {
        let path = self.job_file();
        let mut job = config::load(&path, &Reading::terminal()).unwrap_or_else(|errors| panic!("{errors}"));
        // What comes late comes soon here.
        if !self.extra.contains("late =") {
            job.options.late = std::time::Duration::from_secs(1);
        }
        job
    }

    /// Everything a run stands on, and what it tells.
    pub(crate) fn context(&self) -> (Context, tokio::sync::mpsc::Receiver<Event>) {
        self.context_over(Ledger::open(&self.state()).unwrap(), Arc::new(Network::new()))
    }

    /// As [`Self::context`], with a ledger that is open and another way to the servers.
    pub(crate) fn context_over(
        &self,
        ledger: Ledger,
        dial: Arc<dyn Dial>,
    ) -> (Context, tokio::sync::mpsc::Receiver<Event>) {
        let job = self.job();
        let (events, received) = Events::channel();
        let context = Context {
            shared: Shared::new(dial, job.options.memory, job.options.spool_above, &self.state()).unwrap(),
            job: Arc::new(job),
            ledger,
            events,
            stop: CancellationToken::new(),
            mode: Mode::default(),
        };
        (context, received)
    }

    /// Runs the job to its end.
    pub(crate) async fn run(&self) -> Ran {
        self.run_in(Mode::default()).await
    }

    /// Runs the job until a server is held, and drops it there as it is.
    pub(crate) async fn run_dropped_at(&self, held: Held) {
        let (context, _events) = self.context();
        let ledger = context.ledger.clone();
        let running = tokio::spawn(transfer::run(context));
        held.reached().await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        // Its tasks may live a moment longer: what they hear then is not written down.
        ledger.close().await.unwrap();
        drop(held);
    }

    pub(crate) async fn run_in(&self, mode: Mode) -> Ran {
        let ledger = Ledger::open(&self.state()).unwrap();
        let ran = self.run_over(ledger.clone(), Arc::new(Network::new()), mode).await;
        ledger.close().await.unwrap();
        ran
    }

    /// Runs the job over another way to its servers, with a ledger that is open and stays so.
    pub(crate) async fn run_over(&self, ledger: Ledger, dial: Arc<dyn Dial>, mode: Mode) -> Ran {
        let (mut context, mut received) = self.context_over(ledger, dial);
        context.mode = mode;
        let collect = async {
            let mut events = Vec::new();
            while let Some(event) = received.recv().await {
                events.push(event);
            }
            events
        };
        let (end, events) = tokio::join!(transfer::run(context), collect);
        Ran { end, events }
    }
}

impl Ran {
    /// Gives how many messages the target acknowledged.
    pub(crate) fn copied(&self) -> u64 {
        let copied = |event: &Event| match event {
            Event::Copied { messages, .. } => *messages,
            _ => 0,
        };
        self.events.iter().map(copied).sum()
    }

    /// Gives what was listed message by message: folder, in modified UTF-7, and UID.
    pub(crate) fn listed(&self) -> std::collections::BTreeSet<String> {
        let line = |event: &Event| match event {
            Event::MessageFailed { folder, uid, .. } | Event::MessageChanged { folder, uid, .. } => {
                let parts: Vec<String> = folder.split('/').map(str::to_owned).collect();
                Some(format!("{} {uid}", super::fill::joined("", '/', &parts)))
            }
            _ => None,
        };
        self.events.iter().filter_map(line).collect()
    }

    /// Checks that every account is complete, and says what is not.
    pub(crate) fn assert_complete(&self) {
        for account in &self.end.accounts {
            let told: Vec<_> = self
                .events
                .iter()
                .filter(|event| {
                    matches!(event, Event::MessageFailed { .. } | Event::MessageChanged { .. } | Event::Waiting { .. })
                })
                .take(20)
                .collect();
            assert_eq!(account.ending, transfer::Ending::Complete, "{account:#?}\n{told:#?}");
        }
    }
}
