//! Looking after the ledger: show, backup, rebuild, purge.

use super::arguments::{Backup, Purge, Rebuild, State, StateCommand};
use super::exit::Exit;
use super::ground::{Ground, Kit, shell};
use super::jobs::{self, Typed, accounts_of};
use super::tell::{self, Refusal};
use crate::checkpoint::{AccountState, AccountSummary, Ledger, LedgerError, SetAside};
use crate::config::Job;
use crate::failure::harmless;
use crate::report::Reporter;
use crate::transfer::{self, AccountEnd, Ending, Events, Mode};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime};
use tokio_util::task::AbortOnDropHandle;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `mailhaul state`.
pub(super) async fn state(ground: &Ground, arguments: State) -> Result<Exit, Refusal> {
    match arguments.command {
        None | Some(StateCommand::Show) => show(ground).await,
        Some(StateCommand::Backup(arguments)) => backup(ground, &arguments).await,
        Some(StateCommand::Rebuild(arguments)) => Box::pin(rebuild(ground, &arguments)).await,
        Some(StateCommand::Purge(arguments)) => purge(ground, &arguments).await,
    }
}

async fn show(ground: &Ground) -> Result<Exit, Refusal> {
    let Some(ledger) = ground.ledger_to_read()? else {
        let text = format!("nothing has been run yet: there is no ledger in {}\n", ground.state()?.display());
        return tell::print(&text).map(|()| Exit::Complete);
    };
    let (facts, accounts) = (ledger.facts().await?, ledger.accounts().await?);
    let mut standing: BTreeMap<&str, usize> = BTreeMap::new();
    accounts.iter().for_each(|account| *standing.entry(word(&account.state)).or_default() += 1);
    let standing: Vec<String> = standing.iter().map(|(word, number)| format!("{number} {word}")).collect();
    let colon = if standing.is_empty() { "" } else { ": " };
    tell::print(&format!(
        "file      {}\nsize      {} bytes\nformat    {}\naccounts  {}{colon}{}\nmessages  {}\n",
        facts.path.display(),
        facts.bytes,
        facts.format,
        accounts.len(),
        standing.join(", "),
        accounts.iter().map(messages).sum::<u64>(),
    ))?;
    Ok(Exit::Complete)
}

fn word(state: &AccountState) -> &'static str {
    match state {
        AccountState::New => "new",
        AccountState::Running { .. } => "running",
        AccountState::Waiting { .. } => "waiting",
        AccountState::Complete { .. } => "complete",
        AccountState::Exceptions { .. } => "with exceptions",
        AccountState::Interrupted => "interrupted",
        AccountState::Failed(_) => "failed",
        AccountState::Parked { .. } => "parked",
    }
}

/// Gives how many messages of an account the ledger knows.
fn messages(account: &AccountSummary) -> u64 {
    account.totals.fates.values().map(|count| count.messages).sum::<u64>() + account.totals.intended.messages
}

async fn backup(ground: &Ground, arguments: &Backup) -> Result<Exit, Refusal> {
    let Some(ledger) = ground.ledger_to_read()? else {
        return Err(Refusal::new(Exit::State, "failed to back up the ledger: nothing has been run yet"));
    };
    let bytes = ledger.backup(&arguments.file, arguments.overwrite).await?;
    tell::print(&format!("wrote {}: {bytes} bytes, read back and found whole\n", arguments.file.display()))?;
    Ok(Exit::Complete)
}

async fn rebuild(ground: &Ground, arguments: &Rebuild) -> Result<Exit, Refusal> {
    let jobs = jobs::load(&arguments.jobs)?;
    let directory = ground.state()?;
    if !arguments.force {
        refuse_sound(ground, Ledger::open_read_only(&directory))?;
    }
    match Ledger::set_aside(&directory)? {
        Some(aside) => {
            let kept = begin_anew(ground, &aside).await?;
            let file = aside.file.display();
            tell::print(&format!("set aside as {file}\n{kept}\n"))?;
        }
        None => tell::print(&format!("there is no ledger in {}\n", directory.display()))?,
    }
    let exit = if jobs.is_empty() { Exit::Complete } else { Box::pin(look_all(ground, jobs)).await? };
    tell::print(&format!(
        "not known any more: which messages were removed from the target since they were copied; they are copied again\n\
         to go on:\n  {}\n",
        match arguments.jobs.first() {
            Some(path) if arguments.jobs.len() == 1 => ground.command(&format!("run {}", shell(path))),
            _ => ground.command("resume"),
        }
    ))?;
    Ok(exit)
}

/// A ledger that can be used knows more than both servers do.
fn refuse_sound(ground: &Ground, opened: Result<Option<Ledger>, LedgerError>) -> Result<(), Refusal> {
    let (why, hint) = match opened {
        Ok(Some(ledger)) => (
            format!("rebuild {}: nothing is wrong with it", ledger.path().display()),
            format!("go on with: {}; to set it aside nevertheless: --force", ground.command("resume")),
        ),
        Err(error @ (LedgerError::Newer { .. } | LedgerError::Older { .. })) => {
            (error.to_string(), format!("{}; to set it aside nevertheless: --force", error.hint()))
        }
        Err(error @ (LedgerError::Directory { .. } | LedgerError::Network { .. })) => return Err(error.into()),
        Ok(None) | Err(_) => return Ok(()),
    };
    Err(Refusal::new(Exit::State, format!("failed to {why}\n  hint: {hint}")))
}

/// Makes a new ledger with the accounts of the old one; all of them are unfinished, so that `resume` goes on with them.
async fn begin_anew(ground: &Ground, aside: &SetAside) -> Result<String, Refusal> {
    let ledger = ground.ledger()?;
    let Some(accounts) = &aside.accounts else {
        ledger.close().await?;
        return Ok("which accounts it knew cannot be trusted: name their job files to run or rebuild".to_owned());
    };
    for (key, job) in accounts {
        let id = ledger.account(key, job.clone()).await?;
        ledger.set_account_state(id, AccountState::Interrupted).await?;
    }
    ledger.close().await?;
    Ok(format!("taken over: which accounts there are ({}), and their job files", accounts.len()))
}

async fn look_all(ground: &Ground, jobs: Vec<Typed>) -> Result<Exit, Refusal> {
    let kit = ground.kit(ground.ledger()?, &ground.state()?);
    let _signals = ground.heed_signals();
    let mut exits = Vec::new();
    for Typed { job, .. } in jobs {
        for end in Box::pin(look(ground, &kit, job)).await? {
            tell::print(&said(&end))?;
            exits.push(exit(&end));
        }
    }
    kit.close().await?;
    Ok(Exit::together(exits))
}

async fn look(ground: &Ground, kit: &Kit, job: Job) -> Result<Vec<AccountEnd>, Refusal> {
    let (events, inbox) = Events::channel();
    let context = kit.context(job, events, Mode { rebuild: true, ..Mode::default() })?;
    let follower = AbortOnDropHandle::new(tokio::spawn(Reporter::lines(ground.screen.clone()).follow(inbox)));
    let end = transfer::run(context).await;
    // Nobody sends any more. Should it have panicked, there is nothing left to show.
    let _ = follower.await;
    Ok(end.accounts)
}

fn said(end: &AccountEnd) -> String {
    let found: u64 = end.fates.values().sum();
    let name = harmless(end.name.as_bytes());
    let mut text = match (&end.failure, end.ending) {
        (Some(failure), _) => format!("{name}: not looked at to its end: {failure}\n"),
        (None, Ending::Complete) => format!("{name}: complete: all {found} messages are on the target\n"),
        (None, _) => format!("{name}: {found} messages are on the target; the rest is left for the next run\n"),
    };
    for (folder, failure) in &end.folders_failed {
        text.push_str(&format!("  {}: not looked at: {failure}\n", harmless(folder.as_bytes())));
    }
    text
}

/// What is left to be copied is no exception here: nobody asked for that.
fn exit(end: &AccountEnd) -> Exit {
    match Exit::of_end(end) {
        Exit::Exceptions if end.folders_failed.is_empty() => Exit::Complete,
        exit => exit,
    }
}

async fn purge(ground: &Ground, arguments: &Purge) -> Result<Exit, Refusal> {
    let Some(ledger) = ground.ledger_to_read()? else {
        return tell::print("nothing has been run yet\n").map(|()| Exit::Complete);
    };
    let known = ledger.accounts().await?;
    drop(ledger);
    let known = match &arguments.job {
        Some(job) => accounts_of(job, known)?,
        None => known,
    };
    for name in &arguments.accounts {
        if !known.iter().any(|account| account.job.account_name == *name) {
            let command = ground.command("status");
            let text = format!("no account is called {}\n  hint: {command}", harmless(name.as_bytes()));
            return Err(Refusal::new(Exit::Unusable, text));
        }
    }
    let named = |account: &AccountSummary| {
        arguments.accounts.is_empty() || arguments.accounts.contains(&account.job.account_name)
    };
    let (complete, others): (Vec<_>, Vec<_>) =
        known.into_iter().filter(named).partition(|account| is_due(account, arguments.older_than, SystemTime::now()));
    for account in &others {
        tell::note(&format!("kept: {}: {}", told(account), word(&account.state)));
    }
    if complete.is_empty() {
        return tell::print("there is nothing to forget\n").map(|()| Exit::Complete);
    }
    if !arguments.yes && !confirmed(&complete) {
        let text = "nothing was forgotten: the name was not typed\n  hint: --yes forgets without asking";
        return Err(Refusal::new(Exit::Unusable, text));
    }
    let ledger = ground.ledger()?;
    for account in &complete {
        ledger.forget(account.id).await?;
        tell::print(&format!("forgotten: {}: {} messages\n", told(account), messages(account)))?;
    }
    ledger.close().await?;
    tell::print("The mail itself was left alone. Run again, they find out by content what the target has.\n")?;
    Ok(Exit::Complete)
}

fn is_due(account: &AccountSummary, days: Option<u32>, now: SystemTime) -> bool {
    let AccountState::Complete { at } = account.state else { return false };
    let age = now.duration_since(at).unwrap_or_default();
    days.is_none_or(|days| age >= DAY * days)
}

fn told(account: &AccountSummary) -> String {
    let AccountSummary { job, key, .. } = account;
    let mailbox = |user: &str, host: &str| harmless(format!("{user} at {host}").as_bytes());
    format!(
        "{} of {} ({} to {})",
        harmless(job.account_name.as_bytes()),
        harmless(job.name.as_bytes()),
        mailbox(key.source_user(), key.source_host()),
        mailbox(key.target_user(), key.target_host())
    )
}

/// Asks for a name: of the account, of the job where they are several, or their number where the jobs are several.
fn confirmed(accounts: &[AccountSummary]) -> bool {
    let word = match accounts {
        [one] => one.job.account_name.clone(),
        [first, rest @ ..] if rest.iter().all(|other| other.job.path == first.job.path) => first.job.name.clone(),
        _ => accounts.len().to_string(),
    };
    for account in accounts {
        tell::note(&format!("to be forgotten: {}: {} messages", told(account), messages(account)));
    }
    let _ = write!(std::io::stderr(), "type {} to forget: ", harmless(word.as_bytes()));
    let mut line = String::new();
    // What cannot be read was not typed.
    std::io::stdin().read_line(&mut line).is_ok() && line.trim() == word.trim()
}
