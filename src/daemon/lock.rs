//! One daemon for a state directory: a lock of the operating system, freed by it when the holder dies. The file's text says
//! who holds it; it is for people and decides nothing.

use super::DaemonError;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Of the text of a lock file; ours are far shorter.
const HOLDER_BYTES_MAX: u64 = 8192;

/// The right to be the daemon of a state directory, as long as it lives.
#[derive(Debug)]
pub(super) struct DaemonLock {
    _file: File,
}

/// What the file says.
#[derive(Serialize, Deserialize, Default)]
struct Holder {
    pid: Option<u32>,
    /// RFC 3339.
    since: String,
    jobs: PathBuf,
}

impl DaemonLock {
    /// Takes the lock or says who has it. Blocks for no longer than the disk does.
    pub(super) fn take(state: &Path, jobs: &Path) -> Result<Self, DaemonError> {
        let path = state.join("daemon.lock");
        let failed = |error: io::Error| DaemonError::Lock { path: path.clone(), why: error.to_string() };
        let mut file = open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy(file, state)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let since = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let holder = Holder { pid: Some(std::process::id()), since, jobs: jobs.to_owned() };
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&serde_json::to_vec(&holder)?)
        };
        write().map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn busy(file: File, state: &Path) -> DaemonError {
    let mut text = String::new();
    // Where it cannot be read or says nothing yet, that it is held is all we know.
    let _ = file.take(HOLDER_BYTES_MAX).read_to_string(&mut text);
    let Holder { pid, since, jobs } = serde_json::from_str(&text).unwrap_or_default();
    DaemonError::Busy { state: state.to_owned(), pid, since, jobs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_daemon_is_told_who_the_first_is() {
        let state = tempfile::tempdir().unwrap();
        let first = DaemonLock::take(state.path(), Path::new("/jobs")).unwrap();
        let refused = DaemonLock::take(state.path(), Path::new("/other")).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(&format!("process {} has it since ", std::process::id())), "{text}");
        assert!(text.ends_with(", watching /jobs"), "{text}");
        drop(first);
        DaemonLock::take(state.path(), Path::new("/other")).unwrap();
    }
}
