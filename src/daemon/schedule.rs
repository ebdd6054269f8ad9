//! What to do now: which job files to run, which runs to stop, which to forget. Values in, acts out.
//!
//! ```text
//!            ┌── complete in the ledger already ──┐
//! appears ───┤                                    ▼
//!            └────────▶ Running ── ends ──▶ Ended(again) ── a parked account is due, or the file changes ──▶ Running
//!                          │ file changes or is taken away: stopped at the next safe point, then as above
//! ```

use crate::checkpoint::{AccountKey, AccountState, AccountSummary};
use crate::failure::Kind;
use crate::mail::Digest;
use crate::transfer::{AccountEnd, Ending};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// What an account that waits for a server waits before its first further try.
const AGAIN_MIN: Duration = Duration::from_secs(5 * 60);
/// What it waits at most, unless the server itself named a longer time.
const AGAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// What a directory says of a file; as long as it is the same, the file is taken to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Length.
    pub(super) bytes: u64,
    /// Last change; None where the file system has no such thing.
    pub(super) modified: Option<SystemTime>,
}

/// A job file as it was read. The stamp counts too: a person who touches a file wants it to be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    /// Of the file and its accounts file.
    pub(super) digest: Digest,
    /// Of the job file alone.
    pub(super) stamp: Stamp,
}

/// What a look into the directory found out about a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Somebody may still be writing it.
    Unsettled,
    /// It cannot be used as it is.
    Broken,
    /// It is a job.
    Good {
        version: Version,
        /// It was there when the daemon began, and the ledger says that all its accounts are complete.
        done: bool,
    },
}

/// What has become of a file so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its run goes on.
    Running {
        version: Version,
        /// It was asked to end.
        stopping: bool,
        /// Accounts that wait since an earlier run and are no part of this one.
        again: Again,
    },
    /// Its run has ended, or none was needed.
    Ended { version: Version, again: Again },
}

/// The accounts that are tried again by themselves, by name.
pub(super) type Again = BTreeMap<String, Turn>;

/// When an account is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) due: Instant,
    /// Tries in a row that ended in waiting.
    pub(super) attempts: u32,
}

/// Which accounts of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Only(BTreeSet<String>),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Run a file's job.
    Start { file: PathBuf, accounts: Which },
    /// Ask its run to end at the next safe point.
    Stop { file: PathBuf },
    /// Take it as run: nothing is left to do.
    Settle { file: PathBuf },
    /// The file is gone and so is its run.
    Forget { file: PathBuf },
}

/// Says what to do now. `room` is how many further jobs may run.
pub(super) fn decide(
    now: Instant,
    seen: &BTreeMap<PathBuf, Seen>,
    standings: &BTreeMap<PathBuf, Standing>,
    room: usize,
) -> Vec<Act> {
    let mut acts = Vec::new();
    for (file, standing) in standings.iter().filter(|(file, _)| !seen.contains_key(*file)) {
        match standing {
            Standing::Running { stopping: true, .. } => {}
            Standing::Running { .. } => acts.push(Act::Stop { file: file.clone() }),
            Standing::Ended { .. } => acts.push(Act::Forget { file: file.clone() }),
        }
    }
    // New and changed files come before second tries; among those, who has waited longest.
    let mut starts: Vec<(Option<Instant>, &PathBuf, Which)> = Vec::new();
    for (file, found) in seen {
        let Seen::Good { version, done } = found else { continue };
        match standings.get(file) {
            None if *done => acts.push(Act::Settle { file: file.clone() }),
            None => starts.push((None, file, Which::All)),
            Some(Standing::Running { stopping: true, .. }) => {}
            Some(Standing::Running { version: running, .. }) if running.digest != version.digest => {
                acts.push(Act::Stop { file: file.clone() });
            }
            Some(Standing::Running { .. }) => {}
            Some(Standing::Ended { version: ran, .. }) if ran != version => starts.push((None, file, Which::All)),
            Some(Standing::Ended { again, .. }) => {
                let due: BTreeMap<_, _> = again.iter().filter(|(_, turn)| turn.due <= now).collect();
                let names = due.keys().map(|name| (*name).clone()).collect();
                if let Some(earliest) = due.values().map(|turn| turn.due).min() {
                    starts.push((Some(earliest), file, Which::Only(names)));
                }
            }
        }
    }
    starts.sort_by_key(|(due, file, _)| (*due, *file));
    let starts = starts.into_iter().take(room);
    acts.extend(starts.map(|(_, file, accounts)| Act::Start { file: file.clone(), accounts }));
    acts
}

/// Gives when [`decide`] may have something new to say though nothing has happened.
pub(super) fn next_due(now: Instant, standings: &BTreeMap<PathBuf, Standing>) -> Option<Instant> {
    let ended = standings.values().filter_map(|standing| match standing {
        Standing::Ended { again, .. } => Some(again),
        Standing::Running { .. } => None,
    });
    ended.flat_map(|again| again.values().map(|turn| turn.due)).filter(|due| *due > now).min()
}

/// Gives which accounts are tried again after a run: `before` as it was, `ends` of those that were part of it.
/// `stopping`: the run was asked to end.
pub(super) fn after(now: Instant, before: &Again, ends: &[AccountEnd], stopping: bool) -> Again {
    let mut again = before.clone();
    for end in ends {
        let attempts = again.remove(&end.name).map_or(0, |turn| turn.attempts);
        let is_busy = end.failure.as_ref().is_some_and(|failure| failure.kind == Kind::AccountBusy);
        let turn = match end.ending {
            Ending::Complete | Ending::Exceptions => None,
            Ending::Failed if !is_busy => None,
            // It knows the hour itself, and nobody is asked too often.
            Ending::Parked if is_spent(end) => {
                let named = end.failure.as_ref().and_then(|failure| failure.wait).unwrap_or(AGAIN_MAX);
                Some(Turn { due: now + named, attempts: 0 })
            }
            Ending::Stopped if stopping => Some(Turn { due: now, attempts }),
            Ending::Failed | Ending::Parked | Ending::Stopped => {
                let named = end.failure.as_ref().and_then(|failure| failure.wait).unwrap_or_default();
                Some(Turn { due: now + delay(attempts).max(named), attempts: attempts.saturating_add(1) })
            }
        };
        again.extend(turn.map(|turn| (end.name.clone(), turn)));
    }
    again
}

fn is_spent(end: &AccountEnd) -> bool {
    end.failure.as_ref().is_some_and(|failure| failure.kind == Kind::AllowanceSpent)
}

fn delay(attempts: u32) -> Duration {
    AGAIN_MIN.saturating_mul(2u32.saturating_pow(attempts)).min(AGAIN_MAX)
}

/// Says whether the ledger knows every account of a job as complete, under this very file.
pub(super) fn is_done(file: &Path, digest: Digest, accounts: &[AccountKey], ledger: &[Remembered]) -> bool {
    let done: BTreeSet<&AccountKey> = ledger
        .iter()
        .filter(|one| one.is_complete && one.digest == digest && one.path == file)
        .map(|one| &one.key)
        .collect();
    accounts.iter().all(|key| done.contains(key))
}

/// What the ledger remembers of an account, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) key: AccountKey,
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) is_complete: bool,
}

impl From<AccountSummary> for Remembered {
    fn from(summary: AccountSummary) -> Self {
        let is_complete = matches!(summary.state, AccountState::Complete { .. });
        Self { key: summary.key, path: summary.job.path, digest: summary.job.digest, is_complete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::mail::Side;
    use std::time::UNIX_EPOCH;

    const MINUTE: Duration = Duration::from_secs(60);

    fn version(digest: u8, second: u64) -> Version {
        let modified = Some(UNIX_EPOCH + Duration::from_secs(second));
        Version { digest: Digest([digest; 32]), stamp: Stamp { bytes: 1, modified } }
    }

    fn good(digest: u8) -> Option<Seen> {
        Some(Seen::Good { version: version(digest, 0), done: false })
    }

    fn running(digest: u8, stopping: bool) -> Option<Standing> {
        Some(Standing::Running { version: version(digest, 0), stopping, again: Again::new() })
    }

    fn ended(digest: u8, again: &[(&str, Instant)]) -> Option<Standing> {
        let again = again.iter().map(|(name, due)| ((*name).to_owned(), Turn { due: *due, attempts: 1 })).collect();
        Some(Standing::Ended { version: version(digest, 0), again })
    }

    fn file() -> PathBuf {
        PathBuf::from("/jobs/a.toml")
    }

    fn start() -> Vec<Act> {
        vec![Act::Start { file: file(), accounts: Which::All }]
    }

    fn check(now: Instant, seen: Option<Seen>, standing: Option<Standing>, expected: &[Act]) {
        let told = format!("{seen:?}, {standing:?}");
        let seen = seen.map(|seen| (file(), seen)).into_iter().collect();
        let standings = standing.map(|standing| (file(), standing)).into_iter().collect();
        assert_eq!(decide(now, &seen, &standings, 9), expected, "{told}");
    }

    #[test]
    fn each_file_gets_what_its_state_asks_for() {
        let now = Instant::now();
        let later = now + MINUTE;
        let stop = [Act::Stop { file: file() }];
        let none: &[Act] = &[];
        check(now, good(1), None, &start());
        check(now, Some(Seen::Broken), None, none);
        check(now, Some(Seen::Unsettled), None, none);
        let done = Some(Seen::Good { version: version(1, 0), done: true });
        check(now, done, None, &[Act::Settle { file: file() }]);
        // A run goes on while its file says the same, cannot be read, or is being written.
        check(now, good(1), running(1, false), none);
        check(now, Some(Seen::Good { version: version(1, 7), done: false }), running(1, false), none);
        check(now, Some(Seen::Broken), running(1, false), none);
        check(now, Some(Seen::Unsettled), running(1, false), none);
        check(now, good(2), running(1, false), &stop);
        check(now, good(2), running(1, true), none);
        check(now, None, running(1, false), &stop);
        check(now, None, running(1, true), none);
        // What has ended is run again when the file says something else, or was touched.
        check(now, good(1), ended(1, &[]), none);
        check(now, good(2), ended(1, &[]), &start());
        check(now, Some(Seen::Good { version: version(1, 7), done: false }), ended(1, &[]), &start());
        check(now, Some(Seen::Broken), ended(1, &[("x", now)]), none);
        check(now, None, ended(1, &[("x", now)]), &[Act::Forget { file: file() }]);
        // Accounts that wait are tried when they are due, and only they.
        check(now, good(1), ended(1, &[("x", later)]), none);
        let only = [Act::Start { file: file(), accounts: Which::Only(["x".to_owned()].into()) }];
        check(now, good(1), ended(1, &[("x", now), ("y", later)]), &only);
        check(now, good(2), ended(1, &[("x", later)]), &start());
    }

    #[test]
    fn new_files_come_first_and_no_more_than_there_is_room_for() {
        let now = Instant::now() + MINUTE * 10;
        let names = ["a", "b", "c", "d"].map(PathBuf::from);
        let seen = names.iter().map(|name| (name.clone(), good(1).unwrap())).collect();
        let waited = |minutes| ended(1, &[("x", now - MINUTE * minutes)]).unwrap();
        let standings = [(names[0].clone(), waited(1)), (names[1].clone(), waited(5))].into();
        let order = |room| -> Vec<PathBuf> {
            let acts = decide(now, &seen, &standings, room);
            acts.into_iter()
                .map(|act| if let Act::Start { file, .. } = act { file } else { panic!("{act:?}") })
                .collect()
        };
        assert_eq!(order(9), ["c", "d", "b", "a"].map(PathBuf::from));
        assert_eq!(order(3), ["c", "d", "b"].map(PathBuf::from));
        assert!(order(0).is_empty());
        assert_eq!(next_due(now - MINUTE * 2, &standings), Some(now - MINUTE));
        assert_eq!(next_due(now, &standings), None);
    }

    fn end(ending: Ending, failure: Option<Failure>) -> AccountEnd {
        AccountEnd {
            name: "x".to_owned(),
            ending,
            failure,
            folders_failed: Vec::new(),
            fates: BTreeMap::new(),
            evidence: BTreeMap::new(),
            surplus: 0,
        }
    }

    #[test]
    fn who_waits_for_a_server_is_tried_again_ever_more_slowly() {
        let now = Instant::now();
        let mut again = Again::new();
        let parked = [end(Ending::Parked, Some(Failure::new(Side::Source, Kind::Unreachable, "connect")))];
        let minutes: Vec<u64> = (0..40)
            .map(|_| {
                again = after(now, &again, &parked, false);
                (again["x"].due - now).as_secs() / 60
            })
            .collect();
        assert_eq!(minutes[..6], [5, 10, 20, 40, 60, 60]);
        assert_eq!(minutes[39], 60);
        let named = Failure::new(Side::Source, Kind::Throttled, "fetch").with_wait(Some(MINUTE * 600), true);
        let named = after(now, &again, &[end(Ending::Parked, Some(named))], false);
        assert_eq!(named["x"].due, now + MINUTE * 600, "a server's own time counts");
        let spent =
            Failure::new(Side::Target, Kind::AllowanceSpent, "send more today").with_wait(Some(MINUTE * 7), true);
        let spent = after(now, &again, &[end(Ending::Parked, Some(spent))], false);
        assert_eq!(spent["x"], Turn { due: now + MINUTE * 7, attempts: 0 }, "a day's return is known to the minute");
        assert!(after(now, &again, &[end(Ending::Complete, None)], false).is_empty());
    }

    #[test]
    fn what_needs_a_person_is_not_tried_again_by_itself() {
        let now = Instant::now();
        let other: Again = [("y".to_owned(), Turn { due: now, attempts: 3 })].into();
        let failed = |kind| end(Ending::Failed, Some(Failure::new(None, kind, "sign in")));
        let table = [
            (failed(Kind::SignInRefused), false, None),
            (end(Ending::Exceptions, None), false, None),
            (failed(Kind::AccountBusy), false, Some(Turn { due: now + AGAIN_MIN, attempts: 1 })),
            (end(Ending::Stopped, None), true, Some(Turn { due: now, attempts: 0 })),
            (end(Ending::Stopped, None), false, Some(Turn { due: now + AGAIN_MIN, attempts: 1 })),
        ];
        for (end, stopping, expected) in table {
            let again = after(now, &other, std::slice::from_ref(&end), stopping);
            assert_eq!(again.get("x").copied(), expected, "{end:?}");
            assert_eq!(again["y"], other["y"], "those of no part in the run stay");
        }
    }

    #[test]
    fn only_a_job_that_is_whole_under_the_same_bytes_is_done() {
        let key = |user: &str| AccountKey::new("old", 993, user, "new", 993, user);
        let one =
            |user: &str, is_complete| Remembered { key: key(user), path: file(), digest: Digest([1; 32]), is_complete };
        let elsewhere = Remembered { path: "/jobs/b.toml".into(), ..one("b", true) };
        let table = [
            (vec![one("a", true), one("b", true)], true),
            (vec![one("a", true), one("b", true), one("c", false)], true),
            (vec![one("a", true), one("b", false)], false),
            (vec![one("a", true)], false),
            (vec![one("a", true), elsewhere], false),
            (vec![one("a", true), Remembered { digest: Digest([2; 32]), ..one("b", true) }], false),
        ];
        for (ledger, expected) in table {
            assert_eq!(is_done(&file(), Digest([1; 32]), &[key("a"), key("b")], &ledger), expected, "{ledger:?}");
        }
    }
}
