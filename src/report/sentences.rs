//! Events as sentences: the same words in a terminal and in a log.

use super::words::{bytes, clean, count, counted, ending, evidence, fate, quoted, span, stamp};
use crate::checkpoint::SurplusKind;
use crate::failure::Failure;
use crate::mail::{Evidence, Fate};
use crate::transfer::{Ending, Event};
use std::collections::BTreeMap;
use std::time::Duration;

/// Gives what an event says, a line each and without line ends. Nothing is said of folders with nothing to do, nor for
/// [`Event::Copied`], which is summed up.
pub(super) fn sentences(event: &Event) -> Vec<String> {
    match event {
        Event::JobStarted { job, accounts } => {
            vec![format!("{}: begins with {}", clean(job), counted(*accounts as u64, "account"))]
        }
        Event::AccountStarted { account } => vec![format!("{}: begins", clean(account))],
        Event::FoldersMapped { account, folders, warnings } => {
            let account = clean(account);
            let mut lines = vec![format!("{account}: {}", counted(*folders as u64, "folder"))];
            lines.extend(warnings.iter().map(|warning| format!("{account}: warning: {}", clean(warning))));
            lines
        }
        Event::FolderRenamed { account, folder, target, failure } => {
            let why = one_line(failure);
            vec![format!("{}: {} goes to {}: {why}", clean(account), quoted(folder), quoted(target))]
        }
        Event::FolderPlanned { to_copy: 0, .. } | Event::FolderDone { unchanged: true, .. } => Vec::new(),
        Event::FolderPlanned { account, folder, messages, to_copy, bytes: size } => {
            let what = format!("{} of {} to copy ({})", count(*to_copy), counted(*messages, "message"), bytes(*size));
            vec![format!("{}: {}: {what}", clean(account), quoted(folder))]
        }
        Event::MessageFailed { account, folder, uid, fate: what, subject, size, words } => {
            let (account, folder) = (clean(account), quoted(folder));
            let about = match subject.is_empty() {
                true => bytes(*size),
                false => format!("{}, {}", quoted(subject), bytes(*size)),
            };
            vec![format!("{account}: {folder} uid {uid}: {}: {} ({about})", fate(*what), clean(words))]
        }
        Event::MessageChanged { account, folder, uid, what } => {
            vec![format!("{}: {} uid {uid}: {}", clean(account), quoted(folder), clean(what))]
        }
        Event::Surplus { account, folder, uid, target_uid, kind, removed } => {
            let what = match kind {
                SurplusKind::Copy => "a second copy of uid",
                SurplusKind::Remnant => "a part of uid",
            };
            let then = if *removed { "removed again" } else { "left for you to remove" };
            let place = format!("{}: {}", clean(account), quoted(folder));
            vec![format!("{place}: the target has {what} {uid}, as its uid {target_uid}: {then}")]
        }
        Event::Waiting { account, side, seconds, why } => {
            let time = span(Duration::from_secs(*seconds));
            vec![format!("{}: waits {time} for the {side}: failed to {}", clean(account), clean(why))]
        }
        Event::Unreachable { account, side, since, why } => {
            let since = stamp(*since);
            vec![format!("{}: {side} unreachable since {since}: failed to {}", clean(account), clean(why))]
        }
        Event::Reachable { account, side } => vec![format!("{}: {side} answers again", clean(account))],
        Event::FolderDone { account, folder, fates, .. } => {
            vec![format!("{}: {}: done: {}", clean(account), quoted(folder), of_fates(fates))]
        }
        Event::FolderFailed { account, folder, failure } => {
            vec![format!("{}: {}: given up: {}", clean(account), quoted(folder), one_line(failure))]
        }
        Event::AccountDone { account, ending: end, failure, fates, .. } => {
            vec![account_done(account, *end, failure.as_ref(), fates)]
        }
        Event::JobDone { job, accounts } => vec![format!("{}: ended: {}", clean(job), of_endings(accounts))],
        Event::Copied { .. } => Vec::new(),
    }
}

/// Says how an account ended, on one line.
pub(super) fn account_done(
    account: &str,
    end: Ending,
    failure: Option<&Failure>,
    fates: &BTreeMap<Fate, u64>,
) -> String {
    let rest = match failure {
        // Whoever asked to stop knows why.
        Some(failure) if end != Ending::Stopped => one_line(failure),
        _ => of_fates(fates),
    };
    format!("{}: {}: {rest}", clean(account), ending(end))
}

/// Gives a failure without line ends: side, what failed, what to do.
pub(super) fn one_line(failure: &Failure) -> String {
    let side = failure.side.map(|side| format!("{side}: ")).unwrap_or_default();
    let hint = if failure.hint.is_empty() { String::new() } else { format!(" ({})", clean(&failure.hint)) };
    format!("{side}failed to {}{hint}", clean(&failure.text))
}

/// Gives a failure on two lines, the second with what to do.
pub(super) fn failure_lines(failure: &Failure) -> Vec<String> {
    let side = failure.side.map(|side| format!("{side}: ")).unwrap_or_default();
    let mut lines = vec![format!("{side}failed to {}", clean(&failure.text))];
    if !failure.hint.is_empty() {
        lines.push(format!("hint: {}", clean(&failure.hint)));
    }
    lines
}

/// Gives messages by what became of them: `3 copied, 1 refused by the target`.
pub(super) fn of_fates(fates: &BTreeMap<Fate, u64>) -> String {
    listed(fates.iter().map(|(key, number)| (fate(*key), *number)), "no messages")
}

/// Gives messages by what stands behind it; empty where there are none.
pub(super) fn of_evidence(by_evidence: &BTreeMap<Evidence, u64>) -> String {
    listed(by_evidence.iter().map(|(key, number)| (evidence(*key), *number)), "")
}

/// Gives accounts by how they ended.
pub(super) fn of_endings(endings: &BTreeMap<Ending, u64>) -> String {
    listed(endings.iter().map(|(key, number)| (ending(*key), *number)), "no accounts")
}

fn listed<'a>(numbers: impl Iterator<Item = (&'a str, u64)>, nothing: &str) -> String {
    let parts: Vec<String> =
        numbers.filter(|(_, number)| *number > 0).map(|(word, number)| format!("{} {word}", count(number))).collect();
    if parts.is_empty() { nothing.to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Side;

    #[test]
    fn an_outage_is_told_by_its_begin_and_its_end() {
        let since = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let (account, why) = (|| "a@b.example".to_owned(), "connect to a:993: nobody listens".to_owned());
        let down = Event::Unreachable { account: account(), side: Side::Target, since, why };
        let words = "target unreachable since 2026-01-02T03:04:05Z: failed to connect to a:993: nobody listens";
        assert_eq!(sentences(&down), [format!("a@b.example: {words}")]);
        let up = Event::Reachable { account: account(), side: Side::Target };
        assert_eq!(sentences(&up), ["a@b.example: target answers again"]);
        let json = serde_json::to_value(&down).unwrap();
        assert_eq!((&json["event"], &json["since"]), (&"unreachable".into(), &"2026-01-02T03:04:05Z".into()));
    }
}
