//! Job files as they are typed.

use super::exit::Exit;
use super::tell::{self, Refusal};
use crate::checkpoint::AccountSummary;
use crate::config::{self, Context, Job};
use std::path::{Path, PathBuf};

/// A job and the path it was typed as.
pub(super) struct Typed {
    pub(super) path: PathBuf,
    pub(super) job: Job,
}

/// Reads all of them, or says everything that is wrong with any. Nothing is connected to.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<Typed>, Refusal> {
    let mut jobs = Vec::new();
    let mut wrong = Vec::new();
    for path in paths {
        match config::load(path, &Context::terminal()) {
            Ok(job) => jobs.push(Typed { path: path.clone(), job }),
            Err(errors) => wrong.push(errors.to_string()),
        }
    }
    if !wrong.is_empty() {
        return Err(Refusal::new(Exit::Unusable, wrong.join("\n")));
    }
    for typed in &jobs {
        warn(typed);
    }
    Ok(jobs)
}

/// Reads one.
pub(super) fn load_one(path: &Path) -> Result<Typed, Refusal> {
    let mut jobs = load(&[path.to_owned()])?;
    jobs.pop().ok_or_else(|| Refusal::new(Exit::Internal, "failed to read the job file"))
}

/// Says what is accepted and not advised.
fn warn(typed: &Typed) {
    for warning in &typed.job.warnings {
        tell::note(&format!("warning: {warning}"));
    }
}

/// Gives the accounts that were last run from a job file. The file is not read: its secrets need not be at hand.
pub(super) fn accounts_of(path: &Path, accounts: Vec<AccountSummary>) -> Result<Vec<AccountSummary>, Refusal> {
    let here = whole(path);
    let found: Vec<AccountSummary> = accounts.into_iter().filter(|account| whole(&account.job.path) == here).collect();
    if found.is_empty() && !path.exists() {
        let text = format!("{}: is not there, and nothing was ever run from it", path.display());
        return Err(Refusal::new(Exit::Unusable, text));
    }
    Ok(found)
}

/// Gives a path by which two that name the same file are the same.
pub(super) fn whole(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}
