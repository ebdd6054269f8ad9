//! What happens, as lines of a log. Names and words of servers are made harmless; subjects and secrets never get here.

use crate::config::Errors;
use crate::failure::{Failure, harmless};
use crate::mail::Fate;
use crate::transfer::{Ending, Event};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// Of one broken file; an accounts file can have thousands of bad lines.
const ERRORS_MAX: usize = 20;

/// Tells what a run tells, until it has ended.
pub(super) async fn follow(job: String, mut events: Receiver<Event>) {
    while let Some(event) = events.recv().await {
        tell(&job, event);
    }
}

fn tell(job: &str, event: Event) {
    match event {
        Event::JobStarted { accounts, .. } => tracing::info!(job, accounts, "begins"),
        Event::AccountStarted { account } => tracing::info!(job, account, "account begins"),
        Event::FoldersMapped { account, folders, warnings } => {
            tracing::info!(job, account, folders, "both sides are open");
            for warning in warnings {
                tracing::warn!(job, account, "{}", harmless(warning.as_bytes()));
            }
        }
        Event::FolderRenamed { account, folder, target, failure } => {
            let (folder, target) = (harmless(folder.as_bytes()), harmless(target.as_bytes()));
            tracing::warn!(job, account, folder, target, why = %failure, "folder goes elsewhere");
        }
        Event::FolderPlanned { account, folder, messages, to_copy, bytes } => {
            let folder = harmless(folder.as_bytes());
            tracing::debug!(job, account, folder, messages, to_copy, bytes, "folder begins");
        }
        Event::Copied { account, folder, messages, bytes } => {
            let folder = harmless(folder.as_bytes());
            tracing::debug!(job, account, folder, messages, bytes, "copied");
        }
        Event::MessageFailed { account, folder, uid, fate, size, words, .. } => {
            let (folder, words) = (harmless(folder.as_bytes()), harmless(words.as_bytes()));
            tracing::warn!(job, account, folder, uid, size, fate = name(fate), words, "message did not arrive");
        }
        Event::MessageChanged { account, folder, uid, what } => {
            let (folder, what) = (harmless(folder.as_bytes()), harmless(what.as_bytes()));
            tracing::debug!(job, account, folder, uid, what, "message arrived changed");
        }
        Event::Surplus { account, folder, uid, target_uid, removed, .. } => {
            let folder = harmless(folder.as_bytes());
            tracing::warn!(job, account, folder, uid, target_uid, removed, "the target holds a message too many");
        }
        Event::Waiting { account, side, seconds, why } => {
            tracing::info!(job, account, %side, seconds, why = harmless(why.as_bytes()), "waits");
        }
        Event::Unreachable { account, side, since, why } => {
            let since = humantime::format_rfc3339_seconds(since).to_string();
            tracing::warn!(job, account, %side, since, why = harmless(why.as_bytes()), "host is unreachable");
        }
        Event::Reachable { account, side } => tracing::info!(job, account, %side, "host answers again"),
        Event::FolderDone { account, folder, fates, unchanged, .. } => {
            let (folder, messages) = (harmless(folder.as_bytes()), sums(&fates));
            if unchanged {
                tracing::debug!(job, account, folder, messages, "folder is as it was");
            } else {
                tracing::info!(job, account, folder, messages, "folder is done");
            }
        }
        Event::FolderFailed { account, folder, failure } => {
            let folder = harmless(folder.as_bytes());
            tracing::warn!(job, account, folder, hint = failure.hint, "folder was given up: {}", text(&failure));
        }
        Event::AccountDone { account, ending, failure, fates, .. } => {
            account_done(job, &account, ending, failure.as_ref(), &sums(&fates));
        }
        Event::JobDone { accounts, .. } => {
            let counted: Vec<_> = accounts.iter().map(|(ending, count)| format!("{count} {}", word(*ending))).collect();
            tracing::info!(job, accounts = counted.join(", "), "ended");
        }
    }
}

fn account_done(job: &str, account: &str, ending: Ending, failure: Option<&Failure>, messages: &str) {
    let (why, hint) = failure.map(|failure| (text(failure), failure.hint.as_str())).unwrap_or_default();
    match ending {
        Ending::Complete => tracing::info!(job, account, messages, "account is complete"),
        Ending::Exceptions => tracing::warn!(job, account, messages, "account is done but for what is listed"),
        Ending::Stopped => tracing::info!(job, account, messages, "account was stopped"),
        Ending::Parked => tracing::warn!(job, account, messages, hint, "account waits for a server: {why}"),
        Ending::Failed => tracing::error!(job, account, messages, hint, "account needs a person: {why}"),
    }
}

/// Tells that a file is no job.
pub(super) fn broken(errors: &Errors) {
    for error in errors.iter().take(ERRORS_MAX) {
        let (file, line, key, hint) = (error.file.display(), error.line, error.key.as_str(), error.hint.as_str());
        tracing::error!(%file, line, key, hint, "the job file cannot be used: {}", error.message);
    }
    let more = errors.iter().count().saturating_sub(ERRORS_MAX);
    if let Some(error) = errors.iter().next().filter(|_| more > 0) {
        tracing::error!(file = %error.file.display(), more, "the job file has further errors: mailhaul check shows all");
    }
}

/// Tells that accounts are tried again by themselves.
pub(super) fn again(file: &Path, accounts: usize, after: Duration) {
    let after = humantime::format_duration(Duration::from_secs(after.as_secs())).to_string();
    tracing::info!(file = %file.display(), accounts, after, "tried again by itself");
}

/// Says what went wrong, without the hint.
fn text(failure: &Failure) -> String {
    let side = failure.side.map(|side| format!("{side}: ")).unwrap_or_default();
    harmless(format!("{side}failed to {}", failure.text).as_bytes())
}

fn sums(fates: &BTreeMap<Fate, u64>) -> String {
    let sums: Vec<_> = fates.iter().map(|(fate, count)| format!("{count} {}", name(*fate))).collect();
    if sums.is_empty() { "none".to_owned() } else { sums.join(", ") }
}

fn name(fate: Fate) -> &'static str {
    match fate {
        Fate::Copied => "copied",
        Fate::Adopted => "adopted",
        Fate::Excluded => "excluded",
        Fate::Refused => "refused",
        Fate::Unreadable => "unreadable",
        Fate::Gone => "gone",
        Fate::Removed => "removed",
        Fate::Missing => "missing",
    }
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Exceptions => "with exceptions",
        Ending::Stopped => "stopped",
        Ending::Parked => "parked",
        Ending::Failed => "failed",
    }
}
