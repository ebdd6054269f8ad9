//! Where each account stands, from the ledger.

use super::paint::Paint;
use super::table::{Align, Table};
use super::words::{bytes, clean, count, stamp, state};
use crate::checkpoint::{AccountState, AccountSummary, Count};
use crate::mail::{Evidence, Fate};
use crate::transfer::Ending;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// Gives a table for each job, with what stopped its accounts below.
#[must_use]
pub fn status(accounts: &[AccountSummary], paint: Paint) -> String {
    let mut paths: Vec<&Path> = Vec::new();
    for account in accounts {
        if !paths.contains(&account.job.path.as_path()) {
            paths.push(&account.job.path);
        }
    }
    let jobs = paths.into_iter().map(|path| {
        let of_job: Vec<&AccountSummary> = accounts.iter().filter(|account| account.job.path == path).collect();
        job(&of_job, paint)
    });
    jobs.collect::<Vec<_>>().join("\n")
}

fn job(accounts: &[&AccountSummary], paint: Paint) -> String {
    let mut text = String::new();
    if let Some(first) = accounts.first() {
        text = format!("{} ({})\n", clean(&first.job.name), clean(&first.job.path.display().to_string()));
    }
    let mut table = Table::new(&[
        ("", Align::Left),
        ("ACCOUNT", Align::Left),
        ("STATE", Align::Left),
        ("COPIED", Align::Right),
        ("THERE ALREADY", Align::Right),
        ("FAILED", Align::Right),
        ("LEFT OUT", Align::Right),
        ("OPEN", Align::Right),
        ("SIZE", Align::Right),
        ("SINCE", Align::Left),
    ])
    .indented(2);
    for account in accounts {
        let numbers = Numbers::of(account);
        table.row([
            mark(&account.state, paint),
            clean(&account.job.account_name),
            state(&account.state).to_owned(),
            count(numbers.copied),
            unless_none(numbers.adopted),
            unless_none(numbers.failed),
            unless_none(numbers.left_out),
            unless_none(numbers.open),
            bytes(numbers.bytes),
            since(account).map(stamp).unwrap_or_default(),
        ]);
    }
    table.lines().iter().for_each(|line| text.push_str(&format!("{line}\n")));
    for account in accounts {
        for line in notes(account) {
            text.push_str(&format!("  {}: {line}\n", clean(&account.job.account_name)));
        }
    }
    text
}

fn unless_none(number: u64) -> String {
    if number == 0 { String::new() } else { count(number) }
}

fn mark(state: &AccountState, paint: Paint) -> String {
    match state {
        AccountState::Complete { .. } => paint.mark(Ending::Complete),
        AccountState::Exceptions { .. } => paint.mark(Ending::Exceptions),
        AccountState::Interrupted => paint.mark(Ending::Stopped),
        AccountState::Parked { .. } => paint.mark(Ending::Parked),
        AccountState::Failed(_) => paint.mark(Ending::Failed),
        AccountState::New | AccountState::Running { .. } | AccountState::Waiting { .. } => String::new(),
    }
}

/// Gives what a person has to know beyond the state, a line each.
fn notes(account: &AccountSummary) -> Vec<String> {
    match &account.state {
        AccountState::Failed(note) => {
            let side = note.side.map(|side| format!("{side}: ")).unwrap_or_default();
            let mut lines = vec![format!("{side}failed to {}", clean(&note.text))];
            if !note.hint.is_empty() {
                lines.push(format!("hint: {}", clean(&note.hint)));
            }
            lines
        }
        AccountState::Parked { until, why } => {
            let until = until.map(|until| format!(" until {}", stamp(until))).unwrap_or_default();
            vec![format!("parked{until}: failed to {}", clean(why))]
        }
        AccountState::Waiting { side, outage, why, .. } => {
            vec![format!("{side} unreachable since {}: failed to {}", stamp(*outage), clean(why))]
        }
        _ => Vec::new(),
    }
}

fn since(account: &AccountSummary) -> Option<SystemTime> {
    match &account.state {
        AccountState::Running { since } | AccountState::Waiting { since, .. } => Some(*since),
        AccountState::Complete { at } | AccountState::Exceptions { at } => Some(*at),
        _ => account.ended.or(account.started),
    }
}

/// The fates of an account as a table has room for them.
struct Numbers {
    copied: u64,
    adopted: u64,
    failed: u64,
    left_out: u64,
    open: u64,
    bytes: u64,
}

impl Numbers {
    fn of(account: &AccountSummary) -> Self {
        let totals = &account.totals;
        let sum = |fates: &[Fate]| fates.iter().map(|fate| totals.of(*fate).messages).sum();
        Self {
            copied: totals.of(Fate::Copied).messages,
            adopted: totals.of(Fate::Adopted).messages,
            failed: sum(&[Fate::Refused, Fate::Unreadable, Fate::Missing]),
            left_out: sum(&[Fate::Excluded, Fate::Removed, Fate::Gone]),
            open: totals.intended.messages,
            bytes: totals.of(Fate::Copied).bytes.saturating_add(totals.of(Fate::Adopted).bytes),
        }
    }
}

/// An account as programs read it.
#[derive(Serialize)]
struct Standing<'a> {
    account: &'a str,
    job: &'a str,
    job_file: String,
    source_host: &'a str,
    source_user: &'a str,
    target_host: &'a str,
    target_user: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    fates: &'a BTreeMap<Fate, Count>,
    evidence: &'a BTreeMap<Evidence, Count>,
    open: Count,
    started: Option<String>,
    ended: Option<String>,
}

/// Gives the same for programs: a list of accounts.
#[must_use]
pub fn status_json(accounts: &[AccountSummary]) -> String {
    super::json::document(&accounts.iter().map(Standing::of).collect::<Vec<_>>())
}

impl<'a> Standing<'a> {
    fn of(account: &'a AccountSummary) -> Self {
        Self {
            account: &account.job.account_name,
            job: &account.job.name,
            job_file: account.job.path.display().to_string(),
            source_host: account.key.source_host(),
            source_user: account.key.source_user(),
            target_host: account.key.target_host(),
            target_user: account.key.target_user(),
            state: name(&account.state),
            notes: notes(account),
            fates: &account.totals.fates,
            evidence: &account.totals.evidence,
            open: account.totals.intended,
            started: account.started.map(stamp),
            ended: account.ended.map(stamp),
        }
    }
}

/// The name of a state, for programs.
fn name(state: &AccountState) -> &'static str {
    match state {
        AccountState::New => "new",
        AccountState::Running { .. } => "running",
        AccountState::Waiting { .. } => "waiting",
        AccountState::Complete { .. } => "complete",
        AccountState::Exceptions { .. } => "exceptions",
        AccountState::Interrupted => "interrupted",
        AccountState::Failed(_) => "failed",
        AccountState::Parked { .. } => "parked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{AccountKey, FailureNote, JobReference, Ledger};
    use crate::mail::{Digest, Side};
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + seconds)
    }

    async fn accounts() -> Vec<AccountSummary> {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        let failure = FailureNote {
            side: Some(Side::Target),
            kind: "sign-in-refused".into(),
            text: "sign in: NO \u{1b}[31mwrong".into(),
            hint: "check the password".into(),
        };
        let states = [
            ("info@acme.example", "acme", AccountState::Complete { at: at(0) }),
            ("受信@acme.example", "acme", AccountState::Failed(failure)),
            ("late@acme.example", "acme", AccountState::New),
            ("a@b.example", "b", AccountState::Parked { until: Some(at(60)), why: "copy: NO quota".into() }),
        ];
        for (user, job, state) in states {
            let key = AccountKey::new("old.example", 993, user, "new.example", 1993, user);
            let path = format!("/jobs/{job}.toml").into();
            let job = JobReference { name: job.into(), path, digest: Digest([1; 32]), account_name: user.to_owned() };
            let id = ledger.account(&key, job).await.unwrap();
            ledger.set_account_state(id, state).await.unwrap();
        }
        let mut accounts = ledger.accounts().await.unwrap();
        // The clock of this machine is no part of what is seen.
        accounts.iter_mut().for_each(|account| account.ended = account.ended.map(|_| at(9)));
        let copied = Count { messages: 12_345, bytes: 1_288_490_189 };
        accounts[0].totals.fates = [(Fate::Copied, copied), (Fate::Refused, Count { messages: 2, bytes: 9 })].into();
        accounts
    }

    #[tokio::test]
    async fn status_shows_every_job_and_what_stopped_its_accounts() {
        insta::assert_snapshot!(status(&accounts().await, Paint::plain()), @"
        acme (/jobs/acme.toml)
             ACCOUNT            STATE      COPIED  FAILED     SIZE  SINCE
          ✓  info@acme.example  complete   12,345       2  1.2 GiB  2026-01-02T03:04:05Z
          ✗  受信@acme.example  failed          0              0 B  2026-01-02T03:04:14Z
             late@acme.example  not begun       0              0 B
          受信@acme.example: target: failed to sign in: NO �[31mwrong
          受信@acme.example: hint: check the password

        b (/jobs/b.toml)
             ACCOUNT      STATE   COPIED  SIZE  SINCE
          !  a@b.example  parked       0   0 B  2026-01-02T03:04:14Z
          a@b.example: parked until 2026-01-02T03:05:05Z: failed to copy: NO quota
        ");
    }

    #[tokio::test]
    async fn status_tells_of_an_outage_while_it_lasts() {
        let mut account = accounts().await.remove(2);
        let why = "connect to old.example:993: nobody listens".to_owned();
        account.state = AccountState::Waiting { since: at(0), side: Side::Source, outage: at(60), why };
        let text = status(std::slice::from_ref(&account), Paint::plain());
        let note =
            "source unreachable since 2026-01-02T03:05:05Z: failed to connect to old.example:993: nobody listens";
        assert!(text.contains("  waiting  ") && text.contains(&format!("late@acme.example: {note}")), "{text}");
        let all: Vec<serde_json::Value> = serde_json::from_str(&status_json(&[account])).unwrap();
        assert_eq!((&all[0]["state"], &all[0]["notes"][0]), (&"waiting".into(), &note.into()));
    }

    #[tokio::test]
    async fn status_for_programs_is_a_list() {
        let accounts = accounts().await;
        insta::assert_snapshot!(status_json(&accounts[..1]), @r#"
        [
          {
            "account": "info@acme.example",
            "job": "acme",
            "job_file": "/jobs/acme.toml",
            "source_host": "old.example",
            "source_user": "info@acme.example",
            "target_host": "new.example:1993",
            "target_user": "info@acme.example",
            "state": "complete",
            "fates": {
              "copied": {
                "messages": 12345,
                "bytes": 1288490189
              },
              "refused": {
                "messages": 2,
                "bytes": 9
              }
            },
            "evidence": {},
            "open": {
              "messages": 0,
              "bytes": 0
            },
            "started": null,
            "ended": "2026-01-02T03:04:14Z"
          }
        ]
        "#);
        let all: Vec<serde_json::Value> = serde_json::from_str(&status_json(&accounts)).unwrap();
        assert_eq!(
            all.iter().map(|one| one["state"].as_str().unwrap()).collect::<Vec<_>>(),
            ["complete", "failed", "new", "parked"]
        );
        assert_eq!(all[1]["notes"][1], "hint: check the password");
    }
}
