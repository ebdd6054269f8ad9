//! Many jobs for long: watches a directory of job files, runs what appears or changes, tries again what waits, drains.
//!
//! Secret: when a job is run. What to do is decided in `schedule` from values alone; here it is done. One loop turns looks
//! into the directory, runs that ended and the wish to stop into one `Input` after the other.
//!
//! Invariants: one daemon for a state directory; no file has two runs; a file that was only half written is not read; a
//! look that fails is no empty directory; every run is joined before the ledger is closed. Never writes to a job file.

mod lock;
mod schedule;
mod tell;
mod watch;

#[cfg(test)]
mod tests;

use crate::checkpoint::{Ledger, LedgerError};
use crate::config::{DaemonConfig, Job};
use crate::failure::{Failure, Kind};
use crate::net::Dial;
use crate::transfer::{self, AccountEnd, Events, JobEnd, Shared};
use lock::DaemonLock;
use schedule::{Act, Again, Remembered, Seen, Standing, Version, Which};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Jobs at once. Each works on several accounts, and one that waits out an outage keeps its place: enough that a few of
/// those hold nobody up, few enough that eight accounts each stay below the usual 1,024 open files.
const JOBS_MAX: usize = 8;
/// Bytes of small messages that all jobs together hold in memory, and the size above which a message goes through a spool
/// file: the defaults of a job file, which cannot say it for the other jobs.
const MEMORY: u64 = 32 << 20;
const SPOOL_ABOVE: u64 = 1 << 20;
/// The longest wait for a file to settle, where looks are further apart.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Why the daemon could not begin or go on. Texts are fragments after "failed to".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// A directory can neither be found nor made.
    #[error("make the directory {path}: {why}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Another daemon works on this state directory.
    #[error("be the daemon of {}: {}", .state.display(), holder(*.pid, .since, .jobs))]
    Busy {
        /// The state directory.
        state: PathBuf,
        /// Who; None where it has not said yet.
        pid: Option<u32>,
        /// Since when, in RFC 3339; may be empty.
        since: String,
        /// What it watches; may be empty.
        jobs: PathBuf,
    },
    /// The lock cannot be taken for another reason.
    #[error("lock {path}: {why}")]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// The ledger cannot be used, or no longer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn holder(pid: Option<u32>, since: &str, jobs: &Path) -> String {
    let mut text = pid.map_or_else(|| "another process has it".to_owned(), |pid| format!("process {pid} has it"));
    if !since.is_empty() {
        text.push_str(&format!(" since {since}"));
    }
    if !jobs.as_os_str().is_empty() {
        text.push_str(&format!(", watching {}", jobs.display()));
    }
    text
}

impl DaemonError {
    /// Gives what sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Busy { .. } => Kind::AccountBusy,
            Self::Directory { .. } | Self::Lock { .. } => Kind::State,
            Self::Ledger(error) => Failure::from(error.clone()).kind,
        }
    }

    /// Gives what to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { .. } => "make it yourself, for the user that runs the daemon".to_owned(),
            Self::Busy { .. } => {
                "put the job file into the directory that daemon watches, or name another one: --state DIR".to_owned()
            }
            Self::Lock { .. } => "name a directory that you may write to: --state DIR".to_owned(),
            Self::Ledger(error) => error.hint(),
        }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self::new(None, error.kind(), error.to_string()).with_hint(error.hint())
    }
}

/// Watches `config.jobs` and runs what lies there, with the ledger in `state`, until `stop`; then lets every run come to
/// its next safe point. `state` counts, whatever `config.state` says.
///
/// # Errors
/// What keeps it from beginning, and a ledger that can no longer be written.
pub async fn serve(
    config: DaemonConfig,
    state: &Path,
    dial: Arc<dyn Dial>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut daemon = Daemon::open(config, state, dial, stop).await?;
    let served = daemon.until_stop().await;
    let closed = daemon.drain().await;
    served.and(closed)
}

/// One thing that happened.
enum Input {
    /// Somebody asked to stop.
    Stop,
    /// It is time to look.
    Look,
    /// A run has ended.
    Ended(Result<(Id, JobEnd), JoinError>),
}

struct Daemon {
    config: DaemonConfig,
    ledger: Ledger,
    shared: Shared,
    stop: CancellationToken,
    _lock: DaemonLock,
    files: Files,
    standings: BTreeMap<PathBuf, Standing>,
    runs: JoinSet<JobEnd>,
    running: HashMap<Id, PathBuf>,
    /// Of the runs, by file.
    stops: BTreeMap<PathBuf, CancellationToken>,
    next_look: Instant,
}

/// What is known of the directory.
#[derive(Default)]
struct Files {
    stamps: BTreeMap<PathBuf, schedule::Stamp>,
    seen: BTreeMap<PathBuf, Seen>,
    jobs: BTreeMap<PathBuf, Arc<Job>>,
    /// What was told of files that cannot be used: once is enough.
    told: BTreeMap<PathBuf, String>,
    /// What was told of the directory itself.
    trouble: Option<String>,
    /// Those the first look saw, as long as they are there. None: nothing has been looked at.
    first: Option<BTreeSet<PathBuf>>,
    /// What the ledger said then.
    remembered: Vec<Remembered>,
}

impl Daemon {
    async fn open(
        config: DaemonConfig,
        state: &Path,
        dial: Arc<dyn Dial>,
        stop: CancellationToken,
    ) -> Result<Self, DaemonError> {
        let (jobs, state) = (config.jobs.clone(), state.to_owned());
        let opened = blocking(move || {
            make_directory(&jobs)?;
            let ledger = Ledger::open(&state)?;
            let lock = DaemonLock::take(&state, &jobs)?;
            let shared = Shared::new(dial, MEMORY, SPOOL_ABOVE, &state)
                .map_err(|error| DaemonError::Directory { path: state.join("spool"), why: error.to_string() })?;
            Ok::<_, DaemonError>((ledger, lock, shared))
        });
        let (ledger, lock, shared) = opened.await?;
        let remembered = ledger.accounts().await?.into_iter().map(Remembered::from).collect();
        tracing::info!(jobs = %config.jobs.display(), ledger = %ledger.path().display(), "watches for job files");
        Ok(Self {
            shared,
            files: Files { remembered, ..Files::default() },
            standings: BTreeMap::new(),
            runs: JoinSet::new(),
            running: HashMap::new(),
            stops: BTreeMap::new(),
            next_look: Instant::now(),
            _lock: lock,
            config,
            ledger,
            stop,
        })
    }

    async fn until_stop(&mut self) -> Result<(), DaemonError> {
        loop {
            match self.input().await {
                Input::Stop => return Ok(()),
                Input::Look => self.look().await,
                Input::Ended(ended) => self.ended(ended).await?,
            }
            self.act();
        }
    }

    async fn input(&mut self) -> Input {
        let due = schedule::next_due(Instant::now(), &self.standings);
        let wake = due.map_or(self.next_look, |due| due.min(self.next_look));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Input::Stop,
            Some(ended) = self.runs.join_next_with_id() => Input::Ended(ended),
            () = tokio::time::sleep_until(wake) => Input::Look,
        }
    }

    /// Sees what lies in the directory. One that cannot be read is told once and changes nothing.
    async fn look(&mut self) {
        let (directory, before) = (self.config.jobs.clone(), self.files.stamps.clone());
        match blocking(move || watch::look(&directory, &before)).await {
            Ok(look) => self.files.take(look),
            Err(error) => self.files.unreadable(&self.config.jobs, &error),
        }
        let is_unsettled = self.files.seen.values().any(|seen| *seen == Seen::Unsettled);
        let pause = if is_unsettled { self.config.poll.min(SETTLE_MAX) } else { self.config.poll };
        self.next_look = Instant::now() + pause;
    }

    fn act(&mut self) {
        let room = JOBS_MAX.saturating_sub(self.running.len());
        for act in schedule::decide(Instant::now(), &self.files.seen, &self.standings, room) {
            match act {
                Act::Start { file, accounts } => self.start(file, &accounts),
                Act::Stop { file } => self.stop_run(&file),
                Act::Settle { file } => self.settle(file),
                Act::Forget { file } => drop(self.standings.remove(&file)),
            }
        }
    }

    fn start(&mut self, file: PathBuf, accounts: &Which) {
        let Some((job, version)) = self.files.job(&file) else { return };
        let (again, job) = match (accounts, self.standings.remove(&file)) {
            (Which::Only(names), Some(Standing::Ended { again, .. })) => (again, part(&job, names)),
            _ => {
                job.warnings.iter().for_each(|warning| tracing::warn!(file = %file.display(), "{warning}"));
                (Again::new(), job)
            }
        };
        let stop = self.stop.child_token();
        let (events, told) = Events::channel();
        let name = job.name.clone();
        let context = transfer::Context {
            job,
            ledger: self.ledger.clone(),
            shared: self.shared.clone(),
            events,
            stop: stop.clone(),
            mode: transfer::Mode::default(),
        };
        let run = async move { tokio::join!(transfer::run(context), tell::follow(name, told)).0 };
        let id = self.runs.spawn(Box::pin(run)).id();
        self.running.insert(id, file.clone());
        self.stops.insert(file.clone(), stop);
        self.standings.insert(file, Standing::Running { version, stopping: false, again });
    }

    fn stop_run(&mut self, file: &Path) {
        tracing::info!(file = %file.display(), "changed or taken away: its run stops at the next safe point");
        if let Some(stop) = self.stops.get(file) {
            stop.cancel();
        }
        if let Some(Standing::Running { stopping, .. }) = self.standings.get_mut(file) {
            *stopping = true;
        }
    }

    fn settle(&mut self, file: PathBuf) {
        let Some((job, version)) = self.files.job(&file) else { return };
        tracing::info!(job = job.name, "is complete since an earlier run; touch its file to run it again");
        self.standings.insert(file, Standing::Ended { version, again: Again::new() });
    }

    /// Remembers how a run ended.
    async fn ended(&mut self, ended: Result<(Id, JobEnd), JoinError>) -> Result<(), DaemonError> {
        let (id, ends) = match ended {
            Ok((id, end)) => (id, end.accounts),
            Err(error) => {
                tracing::error!(%error, "a run ended without an answer; please report this with the log");
                (error.id(), Vec::new())
            }
        };
        let Some(file) = self.running.remove(&id) else { return Ok(()) };
        self.stops.remove(&file);
        if let Some(Standing::Running { version, stopping, again }) = self.standings.remove(&file) {
            let now = Instant::now();
            let again = schedule::after(now, &again, &ends, stopping);
            if let Some(due) = again.values().map(|turn| turn.due).min().filter(|_| !stopping) {
                tell::again(&file, again.len(), due - now);
            }
            self.standings.insert(file, Standing::Ended { version, again });
        }
        self.check_ledger(&ends).await
    }

    /// A ledger that broke stays broken: going on would fail every account in turn.
    async fn check_ledger(&self, ends: &[AccountEnd]) -> Result<(), DaemonError> {
        if !ends.iter().any(|end| end.failure.as_ref().is_some_and(|failure| failure.kind == Kind::State)) {
            return Ok(());
        }
        match self.ledger.flush().await {
            Err(
                error @ (LedgerError::File { .. }
                | LedgerError::Damaged { .. }
                | LedgerError::Foreign { .. }
                | LedgerError::Closed),
            ) => Err(error.into()),
            // A request that was refused concerns its account alone.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends all runs at their next safe point, waits for them and closes the ledger.
    async fn drain(mut self) -> Result<(), DaemonError> {
        self.stops.values().for_each(CancellationToken::cancel);
        if !self.running.is_empty() {
            tracing::info!(jobs = self.running.len(), "stops at the next safe point");
        }
        while let Some(ended) = self.runs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a run ended without an answer; please report this with the log");
            }
        }
        self.ledger.close().await?;
        tracing::info!("has stopped; what is unfinished goes on at the next start");
        Ok(())
    }
}

impl Files {
    fn take(&mut self, look: watch::Look) {
        if self.trouble.take().is_some() {
            tracing::info!("the directory of job files can be read again");
        }
        let first = self.first.get_or_insert_with(|| look.stamps.keys().cloned().collect());
        first.retain(|path| look.stamps.contains_key(path));
        self.told.retain(|path, _| look.stamps.contains_key(path));
        self.stamps = look.stamps;
        self.jobs.clear();
        self.seen = BTreeMap::new();
        for (path, read) in look.files {
            let seen = self.seen_as(&path, read);
            self.seen.insert(path, seen);
        }
    }

    fn seen_as(&mut self, path: &Path, read: watch::Read) -> Seen {
        match read {
            watch::Read::Unsettled => Seen::Unsettled,
            watch::Read::Broken(errors) => {
                let text = errors.to_string();
                if self.told.insert(path.to_owned(), text.clone()) != Some(text) {
                    tell::broken(&errors);
                }
                Seen::Broken
            }
            watch::Read::Good(stamp, job) => {
                self.told.remove(path);
                let version = Version { digest: job.digest, stamp };
                let done = self.first.as_ref().is_some_and(|first| first.contains(path)) && {
                    let keys: Vec<_> = job.accounts.iter().map(transfer::key).collect();
                    schedule::is_done(&job.path, job.digest, &keys, &self.remembered)
                };
                self.jobs.insert(path.to_owned(), job);
                Seen::Good { version, done }
            }
        }
    }

    fn unreadable(&mut self, directory: &Path, error: &io::Error) {
        let text = error.to_string();
        if self.trouble.as_ref() != Some(&text) {
            tracing::error!(directory = %directory.display(), "the directory of job files cannot be read: {text}");
            self.trouble = Some(text);
        }
    }

    fn job(&self, file: &Path) -> Option<(Arc<Job>, Version)> {
        match self.seen.get(file)? {
            Seen::Good { version, .. } => Some((Arc::clone(self.jobs.get(file)?), *version)),
            Seen::Unsettled | Seen::Broken => None,
        }
    }
}

/// Gives a job with some of its accounts.
fn part(job: &Job, names: &BTreeSet<String>) -> Arc<Job> {
    let mut job = job.clone();
    job.accounts.retain(|account| names.contains(&account.name));
    Arc::new(job)
}

/// Makes the directory where it is missing, for its owner alone: job files may hold secrets.
fn make_directory(path: &Path) -> Result<(), DaemonError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| DaemonError::Directory { path: path.to_owned(), why: error.to_string() })
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}
