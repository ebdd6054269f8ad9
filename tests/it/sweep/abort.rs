//! The same by processes that end for real: at a commit by `abort`, at a step of a server by SIGKILL from outside while
//! the server waits there.

use super::crash::{Undisturbed, resumed, same};
use super::world::{At, SHAPES, Shape, Spot, World};
use super::{Trial, Tried, paused_clock, try_all};
use mailhaul::checkpoint::{Ledger, Steps};
use mailhaul::config;
use mailhaul::mail::Side;
use mailhaul::transfer::{self, Context, Events, Mode, Shared};
use mailhaul_testserver::{Config, Layout, Nth, Server, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Tells a process what it is there for: the job file; and, where it ends by itself, the commit.
const JOB: &str = "MAILHAUL_SWEEP_JOB";
const COMMIT: &str = "MAILHAUL_SWEEP_COMMIT";

/// Ends the process at a commit.
struct Abort(Option<(At, u64)>);

impl Abort {
    fn from_environment() -> Self {
        let Ok(text) = std::env::var(COMMIT) else { return Self(None) };
        let (when, nth) = text.split_once(' ').unwrap();
        Self(Some((if when == "before" { At::BeforeCommit } else { At::AfterCommit }, nth.parse().unwrap())))
    }

    fn pass(&self, at: &At, commit: u64) -> ControlFlow<()> {
        if self.0.as_ref().is_some_and(|(when, nth)| when == at && *nth == commit) {
            std::process::abort();
        }
        ControlFlow::Continue(())
    }
}

impl Steps for Abort {
    fn before_commit(&self, commit: u64) -> ControlFlow<()> {
        self.pass(&At::BeforeCommit, commit)
    }

    fn after_commit(&self, commit: u64) -> ControlFlow<()> {
        self.pass(&At::AfterCommit, commit)
    }
}

/// What a process of its own does; without being told a job, nothing.
#[tokio::test]
async fn one_run_in_a_process_of_its_own() {
    let Some(file) = std::env::var_os(JOB).map(PathBuf::from) else { return };
    let job = config::load(&file, &config::Context::terminal()).unwrap_or_else(|errors| panic!("{errors}"));
    let state = file.with_file_name("state");
    let ledger = Ledger::open_with(&state, Abort::from_environment()).unwrap();
    let context = Context {
        shared: Shared::over_network(job.options.memory, job.options.spool_above, &state).unwrap(),
        job: Arc::new(job),
        ledger: ledger.clone(),
        events: Events::silent(),
        stop: CancellationToken::new(),
        mode: Mode::default(),
    };
    transfer::run(context).await;
    ledger.close().await.unwrap();
}

/// Runs until the spot is reached and the process is gone; no result: it was not reached.
async fn end_a_process(source: &Server, target: &Server, spot: &Spot, job: &Path) -> Option<ExitStatus> {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    let name = concat!(module_path!(), "::one_run_in_a_process_of_its_own");
    command.args(["--exact", name.split_once("::").unwrap().1]).env(JOB, job).env_remove("MAILHAUL_SKIPPED");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let held = match &spot.at {
        At::Server(side, point) => {
            let server = if *side == Side::Source { source } else { target };
            Some(server.faults().hold(point.clone(), Nth::Only(spot.nth)))
        }
        At::BeforeCommit => {
            command.env(COMMIT, format!("before {}", spot.nth));
            None
        }
        At::AfterCommit => {
            command.env(COMMIT, format!("after {}", spot.nth));
            None
        }
    };
    let mut child = command.spawn().unwrap();
    let reached = async {
        match &held {
            Some(held) => held.reached().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        () = reached => None,
        status = child.wait() => Some(status.unwrap()),
    };
    let status = match ended {
        Some(status) => status,
        None => {
            child.kill().await.unwrap();
            child.wait().await.unwrap()
        }
    };
    drop(held);
    source.abandoned().await;
    target.abandoned().await;
    (!status.success()).then_some(status)
}

fn ended_for_real(undisturbed: &Undisturbed, spot: &Spot) -> Result<Tried, String> {
    use std::os::unix::process::ExitStatusExt;
    let shape = &undisturbed.shape;
    let stores = (Store::new(Layout::default()), Store::new(Layout::inbox_dot()));
    let real = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = |config: Config, store: &Store| real.block_on(Server::start_with(config, store.clone())).unwrap();
    let (source, target) = (start(shape.source(), &stores.0), start(shape.target(), &stores.1));
    // The same mail behind other wires, for all but the run that is ended.
    let world = World::on(shape, &stores, (source.port(), target.port()));
    world.fill();
    let paused = paused_clock();
    if spot.pass == 1 {
        let ran = paused.block_on(world.run());
        same(&world.left(&ran), &undisturbed.left[0], "before the second pass")?;
        world.change();
    }
    let job = world.haul.job_file();
    let status = real.block_on(end_a_process(&source, &target, spot, &job));
    if status.is_some_and(|status| !matches!(status.signal(), Some(6 | 9))) {
        return Err(format!("the process ended otherwise: {status:?}"));
    }
    paused.block_on(resumed(undisturbed, &world, spot.pass))?;
    Ok(if status.is_some() { Tried::Reached } else { Tried::NotReached })
}

/// Every commit, and every other step once for each kind of it.
fn spots(undisturbed: &Undisturbed) -> Vec<Spot> {
    let mut kinds: BTreeMap<&At, Vec<&Spot>> = BTreeMap::new();
    for spot in &undisturbed.spots {
        kinds.entry(&spot.at).or_default().push(spot);
    }
    let mut spots = Vec::new();
    for (at, alike) in kinds {
        match at {
            At::Server(..) => spots.push(alike[alike.len() / 2].clone()),
            At::BeforeCommit | At::AfterCommit => spots.extend(alike.into_iter().cloned()),
        }
    }
    spots
}

#[test]
fn killed_for_real_and_resumed_it_ends_the_same() {
    let shapes: [Shape; 2] = [SHAPES[0], SHAPES[5]];
    let all = shapes.map(Undisturbed::of);
    let mut cases = Vec::new();
    for (at, undisturbed) in all.iter().enumerate() {
        // Where less is offered, the commits are as many and their meaning is the same.
        let wanted = spots(undisturbed).into_iter().filter(|spot| at == 0 || matches!(spot.at, At::Server(..)));
        cases.extend(wanted.map(|spot| (undisturbed, spot)));
    }
    let trial = Trial { what: "crash sweep by processes".to_owned(), missed_max: cases.len() / 6 };
    let named = |(undisturbed, spot): &(&Undisturbed, Spot)| {
        (format!("{}: {spot} (process)", undisturbed.shape.name), spot.kind().to_owned())
    };
    try_all(&trial, &cases, named, |(undisturbed, spot)| ended_for_real(undisturbed, spot));
}
