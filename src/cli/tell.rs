//! What commands say: results, errors, and what the ledger knows.

use super::arguments::{Failed, Resume};
use super::exit::Exit;
use super::ground::{Ground, shell};
use super::jobs::accounts_of;
use crate::checkpoint::{AccountSummary, Ledger, LedgerError};
use crate::config;
use crate::failure::{Failure, harmless};
use crate::report::{self, Untold};
use crate::transfer;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) exit: Exit,
    /// For people; of several lines.
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::new(Exit::of_kind(failure.kind), failure.to_string())
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Failure::from(error).into()
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Internal, format!("failed to write the result: {error}"))
    }
}

impl From<Untold> for Refusal {
    fn from(untold: Untold) -> Self {
        match untold {
            Untold::Ledger(error) => error.into(),
            Untold::Output(error) => error.into(),
        }
    }
}

/// Says on standard error what went wrong.
pub(super) fn error(text: &str) {
    note(&format!("error: {text}"));
}

/// Says something on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a result to standard output. A reader that went away has read enough.
pub(super) fn print(text: &str) -> Result<(), Refusal> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `mailhaul status`.
pub(super) async fn status(ground: &Ground, arguments: &Resume) -> Result<Exit, Refusal> {
    let ledger = ground.ledger_to_read()?;
    let accounts = match &ledger {
        Some(ledger) => ledger.accounts().await?,
        None => Vec::new(),
    };
    let accounts = match &arguments.job {
        Some(job) => accounts_of(job, accounts)?,
        None => accounts,
    };
    if arguments.json {
        print(&report::status_json(&accounts))?;
    } else if accounts.is_empty() {
        print("nothing has been run yet\n")?;
    } else {
        print(&report::status(&accounts, ground.paint()))?;
        if let Some(ledger) = &ledger {
            print(&ahead(ledger, &accounts).await?)?;
        }
    }
    Ok(Exit::Complete)
}

/// Says what lies ahead of the jobs whose files are where they were and can be read: their limits decide.
async fn ahead(ledger: &Ledger, accounts: &[AccountSummary]) -> Result<String, Refusal> {
    let paths: BTreeSet<&Path> = accounts.iter().map(|account| account.job.path.as_path()).collect();
    let mut text = String::new();
    for path in paths {
        let Ok(job) = config::load(path, &config::Context::terminal()) else { continue };
        let job = Arc::new(job);
        let expected = transfer::expected(Arc::clone(&job), ledger, accounts).await?;
        let open = job.accounts.iter().zip(expected);
        let open: Vec<_> = open.filter_map(|(account, expected)| Some((account.name.as_str(), expected?))).collect();
        if !open.is_empty() {
            text.push_str(&format!("\nahead of {}:\n{}", harmless(job.name.as_bytes()), report::outlook(&open)));
        }
    }
    Ok(text)
}

/// `mailhaul failed`.
pub(super) async fn failed(ground: &Ground, arguments: &Failed) -> Result<Exit, Refusal> {
    let Some(ledger) = ground.ledger_to_read()? else {
        let found = accounts_of(&arguments.job, Vec::new());
        return found.and_then(|_| nothing_failed(arguments, "nothing has been run yet\n"));
    };
    let accounts = accounts_of(&arguments.job, ledger.accounts().await?)?;
    if accounts.is_empty() {
        return nothing_failed(arguments, "nothing has been run yet\n");
    }
    let mut out = Patient::default();
    if arguments.json {
        report::failed_json(&ledger, &accounts, &mut out).await?;
        return Ok(Exit::Complete);
    }
    let number = report::failed(&ledger, &accounts, &mut out).await?;
    if number > 0 {
        let retry = ground.command(&format!("run {} --failed", shell(&arguments.job)));
        let save = ground.command(&format!("failed {} --export DIR", shell(&arguments.job)));
        print(&format!("to try them again:\n  {retry}\nto save them as files:\n  {save}\n"))?;
    } else {
        print("no message has failed\n")?;
    }
    Ok(Exit::Complete)
}

fn nothing_failed(arguments: &Failed, text: &str) -> Result<Exit, Refusal> {
    print(if arguments.json { "" } else { text }).map(|()| Exit::Complete)
}

/// Standard output for a long list: a reader that went away is not told any more, and is no error.
#[derive(Default)]
struct Patient {
    is_gone: bool,
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_gone {
            return Ok(bytes.len());
        }
        match io::stdout().write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_gone = true;
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match io::stdout().flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}
