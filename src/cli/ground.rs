//! What commands stand on: the state directory, the terminal, signals, and everything a job needs to be carried out.
//!
//! Here alone the engine's parts are put together; no other file of this room names them.

use super::exit::Exit;
use super::tell::Refusal;
use crate::checkpoint::{Ledger, LedgerError};
use crate::config::Job;
use crate::report::{Paint, Screen};
use crate::transfer::{Context, Events, Mode, Shared};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The process as commands see it.
pub(super) struct Ground {
    /// As it was typed or stands in the environment.
    state: Option<PathBuf>,
    pub(super) screen: Screen,
    /// Asks to stop at the next safe point.
    pub(super) stop: CancellationToken,
}

impl Ground {
    pub(super) fn new(state: Option<PathBuf>) -> Self {
        Self { state, screen: Screen::default(), stop: CancellationToken::new() }
    }

    /// Gives the state directory; it need not be there yet.
    pub(super) fn state(&self) -> Result<PathBuf, Refusal> {
        self.state_or(None)
    }

    /// As [`Self::state`], with a place that counts where nobody typed one.
    pub(super) fn state_or(&self, other: Option<PathBuf>) -> Result<PathBuf, Refusal> {
        let platform = || dirs::state_dir().or_else(dirs::data_local_dir).map(|directory| directory.join("mailhaul"));
        self.state.clone().or(other).or_else(platform).ok_or_else(|| {
            let text =
                "failed to find a state directory: this user has no home directory\n  hint: name one: --state DIR";
            Refusal::new(Exit::Unusable, text)
        })
    }

    /// Gives a command as it has to be typed to mean the same state directory.
    pub(super) fn command(&self, rest: &str) -> String {
        match &self.state {
            Some(state) => format!("mailhaul {rest} --state {}", shell(state)),
            None => format!("mailhaul {rest}"),
        }
    }

    /// Opens the ledger, and makes it where there is none.
    pub(super) fn ledger(&self) -> Result<Ledger, Refusal> {
        Ledger::open(&self.state()?).map_err(Refusal::from)
    }

    /// Opens the ledger for reading, also beside a run. None: nothing has been run yet.
    pub(super) fn ledger_to_read(&self) -> Result<Option<Ledger>, Refusal> {
        match Ledger::open_read_only(&self.state()?) {
            // Written by an earlier mailhaul: opening it for writing brings it up to date.
            Err(LedgerError::Older { .. }) => self.ledger().map(Some),
            opened => opened.map_err(Refusal::from),
        }
    }

    /// Puts together what jobs of this process share. `home`: where the ledger and large messages on their way are kept.
    pub(super) fn kit(&self, ledger: Ledger, home: &Path) -> Kit {
        Kit { ledger, home: home.to_owned(), stop: self.stop.clone() }
    }

    /// Gives how results look on standard output.
    pub(super) fn paint(&self) -> Paint {
        if std::io::stdout().is_terminal() && takes_colour() { Paint::coloured() } else { Paint::plain() }
    }

    /// Gives how progress looks on standard error; None where that is no terminal.
    pub(super) fn live_paint(&self) -> Option<Paint> {
        let is_live = std::io::stderr().is_terminal() && !is_dumb();
        is_live.then(|| if takes_colour() { Paint::coloured() } else { Paint::plain() })
    }

    /// Stops at the next safe point on the first signal, at once on the second. Ends when what it gives is dropped.
    pub(super) fn heed_signals(&self) -> AbortOnDropHandle<()> {
        let (screen, stop) = (self.screen.clone(), self.stop.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let Ok(mut signals) = Signals::listen() else { return };
            signals.next().await;
            stop.cancel();
            screen.line("stopping at the next safe point; press again to stop at once");
            signals.next().await;
            screen.clear();
            // The ledger stands a kill at any instant.
            std::process::exit(Exit::Stopped.code().into());
        }))
    }
}

/// What all jobs of this process share.
pub(super) struct Kit {
    pub(super) ledger: Ledger,
    home: PathBuf,
    stop: CancellationToken,
}

impl Kit {
    /// Gives everything one job stands on. Jobs of a command line run one after the other: each has all the memory.
    pub(super) fn context(&self, job: Job, events: Events, mode: Mode) -> Result<Context, Refusal> {
        let shared =
            Shared::over_network(job.options.memory, job.options.spool_above, &self.home).map_err(|error| {
                let path = self.home.display();
                Refusal::new(Exit::State, format!("failed to make a directory in {path}: {error}\n  hint: --state DIR"))
            })?;
        let (ledger, stop) = (self.ledger.clone(), self.stop.clone());
        Ok(Context { job: Arc::new(job), ledger, shared, events, stop, mode })
    }

    /// Makes everything durable.
    pub(super) async fn close(self) -> Result<(), Refusal> {
        self.ledger.close().await.map_err(Refusal::from)
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// See no-color.org: set to anything but nothing.
fn takes_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && !is_dumb()
}

/// Gives a path as a shell reads it back.
pub(super) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@' | '%' | ',');
    let is_plain = !text.is_empty() && !text.starts_with('-') && text.chars().all(plain);
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_next_can_be_typed() {
        for (path, typed) in [
            ("jobs/acme.toml", "jobs/acme.toml"),
            ("my jobs/o'neil.toml", "'my jobs/o'\\''neil.toml'"),
            ("", "''"),
            ("-x", "'-x'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(shell(Path::new(path)), typed);
        }
        let ground = Ground::new(Some("/my state".into()));
        assert_eq!(ground.command("resume"), "mailhaul resume --state '/my state'");
        assert_eq!(Ground::new(None).command("resume"), "mailhaul resume");
    }
}
