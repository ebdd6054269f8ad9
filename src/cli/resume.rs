//! Going on after a failure: finding what is unfinished, with or without being told where.

use super::arguments::Resume;
use super::exit::Exit;
use super::ground::{Ground, shell};
use super::jobs::{self, Typed, whole};
use super::run::carry_out;
use super::tell::{self, Refusal};
use crate::checkpoint::{AccountState, AccountSummary};
use crate::config::{self, Job};
use crate::report;
use crate::transfer::{self, Mode};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// `mailhaul resume`.
pub(super) async fn resume(ground: &Ground, arguments: &Resume) -> Result<Exit, Refusal> {
    let known = match ground.ledger_to_read()? {
        Some(ledger) => ledger.accounts().await?,
        None => Vec::new(),
    };
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    if let Some(path) = &arguments.job {
        found.push(jobs::load_one(path)?);
    } else {
        for path in begun(&known) {
            match jobs::load_one(&path) {
                Ok(typed) => found.push(typed),
                Err(_) if is_finished(&path, &known) => {}
                Err(refusal) => {
                    tell::error(&if path.exists() { refusal.text } else { gone(ground, &path, &known) });
                    wrong.push(refusal.exit);
                }
            }
        }
    }
    let mut jobs = Vec::new();
    for typed in found {
        let Typed { path, mut job } = typed;
        let todo = todo(&job, &known);
        if arguments.job.is_some() && todo.is_unknown {
            let (path, command) = (path.display(), ground.command(&format!("run {}", shell(&path))));
            let text = format!("{path}: nothing of it has been run yet\n  hint: {command}");
            return Err(Refusal::new(Exit::Unusable, text));
        }
        todo.tell(ground, &path, &job);
        if !todo.accounts.is_empty() {
            job.accounts = todo.accounts;
            jobs.push(Typed { path, job });
        }
    }
    if jobs.is_empty() {
        return nothing(arguments.json, Exit::together(wrong));
    }
    carry_out(ground, jobs, Mode::default(), arguments.json, wrong).await
}

fn nothing(json: bool, exit: Exit) -> Result<Exit, Refusal> {
    let text = match json {
        true => report::run_ended(SystemTime::now(), exit.code(), exit.meaning(), &[]),
        false => "nothing to resume".to_owned(),
    };
    if json || exit == Exit::Complete {
        tell::print(&(text + "\n"))?;
    }
    Ok(exit)
}

/// Says that a job file is not where it was.
fn gone(ground: &Ground, path: &Path, known: &[AccountSummary]) -> String {
    let unfinished = known.iter().filter(|account| account.job.path == path && !is_done(&account.state));
    let names: Vec<String> = unfinished.map(|account| clean(&account.job.account_name)).collect();
    let command = ground.command("run JOB");
    format!(
        "{}: is not there any more, and unfinished are: {}\n  hint: put it back, or name it where it is now: {command}",
        path.display(),
        names.join(", ")
    )
}

/// Gives the job files of which an account has ever been begun, in the order in which they were first seen.
fn begun(known: &[AccountSummary]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for account in known.iter().filter(|account| account.state != AccountState::New) {
        if !paths.contains(&account.job.path) {
            paths.push(account.job.path.clone());
        }
    }
    paths
}

/// Says whether all that is known of a job file is done: then nobody misses it.
fn is_finished(path: &Path, known: &[AccountSummary]) -> bool {
    known.iter().filter(|account| account.job.path == path).all(|account| is_done(&account.state))
}

fn is_done(state: &AccountState) -> bool {
    matches!(state, AccountState::Complete { .. } | AccountState::Exceptions { .. })
}

/// What is left of a job.
struct Todo {
    accounts: Vec<config::Account>,
    /// The ledger knows none of its accounts.
    is_unknown: bool,
    /// The file is another than the one that was run.
    is_changed: bool,
    /// Names of accounts another process works on.
    running: Vec<String>,
    /// Accounts that the file did not have when it was run.
    added: usize,
}

/// Finds what is left of a job: what is interrupted, failed or parked, and what its run did not come to. Accounts that were
/// written into the file since do not begin by themselves, unless others of it go on.
fn todo(job: &Job, known: &[AccountSummary]) -> Todo {
    let of_file: Vec<&AccountSummary> =
        known.iter().filter(|account| whole(&account.job.path) == whole(&job.path)).collect();
    let is_changed = !of_file.is_empty() && of_file.iter().any(|account| account.job.digest != job.digest);
    let mut left = Vec::new();
    let mut running = Vec::new();
    let (mut unfinished, mut begun, mut unknown) = (0, 0, 0);
    for account in &job.accounts {
        let key = transfer::key(account);
        let state = known.iter().find(|known| known.key == key).map(|known| &known.state);
        begun += usize::from(!matches!(state, None | Some(AccountState::New)));
        match state {
            Some(AccountState::Complete { .. } | AccountState::Exceptions { .. }) => {}
            Some(AccountState::Running { .. } | AccountState::Waiting { .. }) => running.push(account.name.clone()),
            Some(AccountState::Interrupted | AccountState::Failed(_) | AccountState::Parked { .. }) => {
                unfinished += 1;
                left.push(account.clone());
            }
            Some(AccountState::New) => left.push(account.clone()),
            None => {
                unknown += 1;
                left.push(account.clone());
            }
        }
    }
    let goes_on = unfinished > 0 || (begun > 0 && !is_changed);
    Todo {
        added: if goes_on { 0 } else { left.len() },
        accounts: if goes_on { left } else { Vec::new() },
        is_unknown: unknown == job.accounts.len(),
        is_changed,
        running,
    }
}

impl Todo {
    /// Says what a person might not expect.
    fn tell(&self, ground: &Ground, path: &Path, job: &Job) {
        let file = path.display();
        if self.is_changed && !self.accounts.is_empty() {
            tell::note(&format!("note: {file} has changed since it was run"));
        }
        for name in &self.running {
            tell::note(&format!("note: {} of {file} is left out: another process works on it", clean(name)));
        }
        if self.added > 0 && self.is_changed {
            let command = ground.command(&format!("run {}", shell(path)));
            let number = self.added;
            tell::note(&format!("note: {number} accounts of {} were never run\n  hint: {command}", clean(&job.name)));
        }
    }
}

fn clean(name: &str) -> String {
    crate::failure::harmless(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{FailureNote, JobReference, Ledger};

    fn job(users: &[&str], more: &str) -> Job {
        let mut text = format!("{more}\n[source]\nhost = \"old.example\"\n[target]\nhost = \"new.example\"\n");
        for user in users {
            let side = format!("{{ user = \"{user}\", password = \"x\" }}");
            text.push_str(&format!("[[account]]\nsource = {side}\ntarget = {side}\n"));
        }
        config::parse(&text, Path::new("/jobs/acme.toml"), &config::Context::terminal()).unwrap()
    }

    /// Gives the names of what would be gone on with, after a run of `ran` with these states.
    async fn check(ran: &Job, states: &[(&str, AccountState)], now: &Job) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        for (user, state) in states {
            let account = ran.accounts.iter().find(|account| account.name == *user).unwrap();
            let reference = JobReference {
                name: ran.name.clone(),
                path: ran.path.clone(),
                digest: ran.digest,
                account_name: account.name.clone(),
            };
            let id = ledger.account(&transfer::key(account), reference).await.unwrap();
            ledger.set_account_state(id, state.clone()).await.unwrap();
        }
        let known = ledger.accounts().await.unwrap();
        todo(now, &known).accounts.into_iter().map(|account| account.name).collect()
    }

    fn complete() -> AccountState {
        AccountState::Complete { at: SystemTime::UNIX_EPOCH }
    }

    #[tokio::test]
    async fn only_what_is_unfinished_goes_on() {
        let all = job(&["a", "b", "c", "d", "e", "f"], "");
        let note = FailureNote { side: None, kind: "lost".into(), text: "x".into(), hint: String::new() };
        let states = [
            ("a", complete()),
            ("b", AccountState::Exceptions { at: SystemTime::UNIX_EPOCH }),
            ("c", AccountState::Failed(note)),
            ("d", AccountState::Parked { until: None, why: "x".into() }),
            // Whoever said so was killed: its lock is free.
            ("e", AccountState::Running { since: SystemTime::UNIX_EPOCH }),
        ];
        assert_eq!(check(&all, &states, &all).await, ["c", "d", "e", "f"]);
    }

    #[tokio::test]
    async fn what_a_killed_run_did_not_come_to_goes_on_too() {
        let all = job(&["a", "b"], "");
        assert_eq!(check(&all, &[("a", complete())], &all).await, ["b"]);
        assert_eq!(check(&all, &[("a", complete()), ("b", AccountState::New)], &all).await, ["b"]);
    }

    #[tokio::test]
    async fn what_was_never_begun_does_not_begin_by_itself() {
        let all = job(&["a", "b"], "");
        assert!(check(&all, &[("a", AccountState::New)], &all).await.is_empty());
        assert!(check(&all, &[], &all).await.is_empty());
        let grown = job(&["a", "b", "c"], "");
        assert!(check(&all, &[("a", complete()), ("b", complete())], &grown).await.is_empty());
        assert_eq!(check(&all, &[("a", AccountState::Interrupted), ("b", complete())], &grown).await, ["a", "c"]);
    }
}
