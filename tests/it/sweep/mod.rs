//! A migration stopped, or misled, at every step it has; and the end that is the same every time.
//!
//! A recording run tells at which points there is something to stop: every command at both servers (received, executed,
//! answered), every literal (begun, half-way), every commit of the ledger (before, after). Then there is one run for each
//! of them. Servers, wires and state are in memory and the clock is paused, so that waiting costs nothing and thousands
//! of runs fit into a minute.
//!
//! `MAILHAUL_SWEEP_ONLY="pass 1: target: command APPEND #3"` runs only points whose name holds that text; how a point is
//! called is in the message of its failure.

mod abort;
mod crash;
mod fault;
mod kills;
mod late;
mod mixes;
mod world;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Failures that are shown; the rest would say nothing new.
const SHOWN_MAX: usize = 12;

/// Whether a case came to what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Reached,
    /// The run was a little shorter than the one that was recorded: some commits gather what others make one by one.
    NotReached,
}

/// Says something to who waits for the tests, whatever is captured.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Makes a runtime whose clock stands still and jumps ahead where everybody waits.
fn paused_clock() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Runs a future on such a runtime of its own.
fn on_a_paused_clock<T>(future: impl Future<Output = T>) -> T {
    paused_clock().block_on(future)
}

/// Says whether everything is to be tried, however long it takes; else what differs little is tried in turns.
fn is_exhaustive() -> bool {
    std::env::var("MAILHAUL_SWEEP").is_ok_and(|how| how == "all")
}

/// What is tried with many cases.
struct Trial {
    what: String,
    /// Cases that may miss what they are about: of the steps of a run, chance has a hand in how many commits there are.
    missed_max: usize,
}

/// Tries all cases, several at a time, and panics with those that failed. A case is named, and counted by its kind.
fn try_all<C: Sync>(
    trial: &Trial,
    cases: &[C],
    named: impl Fn(&C) -> (String, String) + Sync,
    run: impl Fn(&C) -> Result<Tried, String> + Sync,
) {
    let only = std::env::var("MAILHAUL_SWEEP_ONLY").unwrap_or_default();
    let wanted: Vec<&C> = cases.iter().filter(|case| named(case).0.contains(&only)).collect();
    let begun = std::time::Instant::now();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let tally: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let not_reached = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (name, kind) = named(case);
            let ended = catch_unwind(AssertUnwindSafe(|| run(case))).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                Err(text.unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>())))
            });
            match ended {
                Ok(Tried::Reached) => *tally.lock().unwrap().entry(kind).or_default() += 1,
                Ok(Tried::NotReached) => drop(not_reached.fetch_add(1, Ordering::Relaxed)),
                Err(why) => failures.lock().unwrap().push(format!("{name}\n{why}")),
            }
        }
    };
    // Each waits for the ledger's thread much of the time.
    let threads = 2 * std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (tally, not_reached) = (tally.into_inner().unwrap(), not_reached.into_inner());
    let kinds: Vec<String> = tally.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let (count, seconds) = (tally.values().sum::<usize>(), begun.elapsed().as_secs());
    let what = &trial.what;
    say(&format!("{what}: {count} points, {not_reached} not reached, {seconds} s: {}", kinds.join(", ")));
    let failures = failures.into_inner().unwrap();
    let shown = failures.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{what}: {} of {} failed\n\n{shown}", failures.len(), wanted.len());
    assert!(not_reached <= trial.missed_max, "{what}: {not_reached} of {} were not reached", wanted.len());
}
