//! Commands that begin something: a job file, the daemon.

use super::arguments::{Daemon, Init};
use super::exit::Exit;
use super::ground::{Ground, shell};
use super::tell::{self, Refusal};
use crate::net::Network;
use crate::{config, daemon as service};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;

/// `mailhaul init`.
pub(super) fn init(arguments: &Init) -> Result<Exit, Refusal> {
    if arguments.full {
        return tell::print(config::DEFAULT).map(|()| Exit::Complete);
    }
    let path = &arguments.path;
    write_new(path, config::template()).map_err(|error| {
        let path = path.display();
        let text = match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{path}: is there already, and is left alone\n  hint: name another file")
            }
            ErrorKind::NotFound => format!("{path}: its directory is not there\n  hint: make it with mkdir"),
            _ => format!("{path}: cannot be written: {error}"),
        };
        Refusal::new(Exit::Unusable, text)
    })?;
    let typed = shell(path);
    tell::print(&format!("wrote {}; fill in its blanks, then:\n  mailhaul check {typed}\n", path.display()))?;
    Ok(Exit::Complete)
}

/// Writes a file that was not there, for its owner alone: somebody may write passwords into it.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// `mailhaul daemon`.
pub(super) async fn daemon(ground: &Ground, arguments: &Daemon) -> Result<Exit, Refusal> {
    let config =
        config::load_daemon(&arguments.config).map_err(|errors| Refusal::new(Exit::Unusable, errors.to_string()))?;
    let state = ground.state_or(config.state.clone())?;
    let _signals = ground.heed_signals();
    match service::serve(config, &state, Arc::new(Network::new()), ground.stop.clone()).await {
        Ok(()) => Ok(Exit::Complete),
        Err(error) => Err(Refusal::from(crate::failure::Failure::from(error))),
    }
}
