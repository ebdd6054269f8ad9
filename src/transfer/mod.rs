//! The shell: carries out what `plan` decided. Session pools, folder passes, the copy pipeline, recovery, events.
//!
//! Secret: how work overlaps. Invariants: nothing is appended before its intent is durable; a pass may begin anywhere, since
//! it looks before it acts; every task is joined; a stop is answered at the next safe point. Parses no bytes, judges no
//! equality.

mod account;
mod allowance;
mod audit;
mod batch;
mod bytes;
mod check;
mod copy;
mod delta;
mod event;
mod export;
mod failed;
mod flags;
mod folder;
mod forecast;
mod haste;
mod lanes;
mod look;
mod memory;
mod names;
mod namesake;
mod open;
mod otherwise;
mod pool;
mod prove;
mod reconcile;
mod removed;
mod resend;
mod shares;
mod stable;
mod standing;
mod survey;
mod turns;
mod unchanged;
mod verify;
mod windows;

pub use account::{AccountEnd, key};
pub use check::{AccountCheck, AccountPlan, FolderCheck, FolderForecast, SideCheck, check, plan};
pub use event::{Ending, Event, Events};
pub use export::{Exported, Saved, export};
pub use forecast::{CONNECTION_SPEED, Expected, MESSAGE_BYTES, expected};
pub use verify::{AccountVerdict, FolderVerdict, Level, MessageVerdict, verify, verify_telling};

use crate::checkpoint::Ledger;
use crate::config::Job;
use crate::imap::BodyRoom;
use crate::net::{Dial, Network};
use crate::pace::{HostPacers, Hosts, WallClock};
use shares::Shares;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a job is carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Accounts worked on at once; at least 1.
    pub accounts: usize,
    /// How long an outage of a host that has answered before is waited out; None: for ever.
    pub outage: Option<Duration>,
    /// How long a host is tried that has never answered yet.
    pub first_contact: Duration,
    /// Silence after which a connection counts as dead.
    pub timeout: Duration,
    /// How long the target must stay as it is before a message whose answer was lost counts as not there.
    pub settle: Duration,
    /// How long after that look the target may still store what it was sent.
    pub late: Duration,
    /// The part of the copied messages whose bytes are read back, 0 to 1.
    pub sample: f64,
    /// Messages above this many bytes go through a spool file.
    pub spool_above: u64,
    /// Bytes of small messages held in memory by the whole process.
    pub memory: u64,
    /// `\\Deleted` is carried over; else not, since the user's client would expunge the message.
    pub deleted: bool,
}

/// What a person asked for beyond the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode {
    /// Messages that were refused or unreadable are tried again.
    pub retry: bool,
    /// Messages that were removed from the target are copied again.
    pub restore: bool,
    /// Finds out by content what the target has and writes that down, and changes nothing there: for a ledger that begins
    /// anew beside a target that does not.
    pub rebuild: bool,
    /// Whatever is gone from the target was removed by its user, however much it is.
    pub accept: bool,
}

/// What all jobs of a process share: the way to hosts, the connections to them, room for bodies on their way.
#[derive(Clone)]
pub struct Shared {
    dial: Arc<dyn Dial>,
    hosts: Hosts,
    pacers: HostPacers,
    room: BodyRoom,
}

impl Shared {
    /// Takes `memory` bytes for small bodies; those above `spool_above` bytes pass through unlinked files in `state`.
    ///
    /// # Errors
    /// What hinders the directory for these files.
    pub fn new(dial: Arc<dyn Dial>, memory: u64, spool_above: u64, state: &Path) -> std::io::Result<Self> {
        let spool = state.join("spool");
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&spool)?;
        Ok(Self {
            dial,
            hosts: Hosts::default(),
            pacers: HostPacers::default(),
            room: BodyRoom::new(memory, spool_above, &spool),
        })
    }

    /// Makes hours and days begin by a clock of the caller's: for tests. Nothing may have been run before.
    #[must_use]
    pub fn by_clock(mut self, clock: WallClock) -> Self {
        self.pacers = HostPacers::by(clock);
        self
    }

    /// As [`Self::new`], over the network as it is.
    ///
    /// # Errors
    /// As there.
    pub fn over_network(memory: u64, spool_above: u64, state: &Path) -> std::io::Result<Self> {
        Self::new(Arc::new(Network::new()), memory, spool_above, state)
    }
}

/// Everything a run stands on.
pub struct Context {
    /// What is to be done.
    pub job: Arc<Job>,
    /// What has been done.
    pub ledger: Ledger,
    /// What it shares with other jobs of this process.
    pub shared: Shared,
    /// Where it is told.
    pub events: Events,
    /// Asks to stop at the next safe point.
    pub stop: CancellationToken,
    /// What was asked for beyond the job.
    pub mode: Mode,
}

/// How a job ended: its accounts, in the order of the job.
#[derive(Debug, Clone)]
pub struct JobEnd {
    /// One for each account.
    pub accounts: Vec<AccountEnd>,
}

/// From here on the job can be gone on with, whenever it is killed: the ledger knows that it was begun.
async fn begin(context: &Context) {
    let Some(account) = context.job.accounts.first() else { return };
    let begun = async {
        let id = context.ledger.account(&account::key(account), account::reference(&context.job, account)).await?;
        context.ledger.begin(id).await
    };
    if let Err(error) = begun.await {
        // It stops every account, which tells it.
        tracing::debug!(%error, "the job's begin was not written down");
    }
}

/// Runs a job until each of its accounts has come to an end. One account's failure stops no other.
pub async fn run(context: Context) -> JobEnd {
    let context = Arc::new(context);
    let job = &context.job;
    begin(&context).await;
    context.events.send(Event::JobStarted { job: job.name.clone(), accounts: job.accounts.len() }).await;
    let turns = Arc::new(Semaphore::new(job.options.accounts.max(1)));
    let shares = Arc::new(Shares::of(job));
    let mut running = JoinSet::new();
    for (at, account) in job.accounts.iter().cloned().enumerate() {
        let (context, turns, shares) = (Arc::clone(&context), Arc::clone(&turns), Arc::clone(&shares));
        running.spawn(async move {
            // Never closed.
            let _turn = turns.acquire_owned().await;
            let _counted = shares.until_it_ends(&account);
            (at, account::run(&context, &account, &shares).await)
        });
    }
    let mut ends = BTreeMap::new();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((at, end)) => drop(ends.insert(at, end)),
            // A panic in one account must not take the others along; it is told as that account's failure.
            Err(error) => tracing::error!(%error, "an account's task ended without an answer"),
        }
    }
    let accounts: Vec<AccountEnd> = (0..job.accounts.len())
        .map(|at| ends.remove(&at).unwrap_or_else(|| AccountEnd::broken(&job.accounts[at].name)))
        .collect();
    let mut endings: BTreeMap<Ending, u64> = BTreeMap::new();
    accounts.iter().for_each(|end| *endings.entry(end.ending).or_default() += 1);
    context.events.send(Event::JobDone { job: job.name.clone(), accounts: endings }).await;
    JobEnd { accounts }
}
