//! What a job file does not say itself: who runs it, and whether what it names is there.
//!
//! Secret: the operating system. [`Surroundings`] is the one seam for tests.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

/// Who waits for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A person: an outage is waited out as config/default.toml says.
    Terminal,
    /// Nobody: an outage is waited out for ever unless the job says otherwise.
    Daemon,
}

/// What a job file does not say itself.
#[derive(Clone)]
pub struct Context {
    /// Who waits.
    pub patience: Patience,
    /// What lies around the file.
    pub surroundings: Arc<dyn Surroundings>,
}

impl Context {
    /// Makes the context of a command that a person types.
    #[must_use]
    pub fn terminal() -> Self {
        Self { patience: Patience::Terminal, surroundings: Arc::new(System) }
    }

    /// Makes the context of the daemon.
    #[must_use]
    pub fn daemon() -> Self {
        Self { patience: Patience::Daemon, surroundings: Arc::new(System) }
    }
}

/// Answers whether what a job file names is there. Gives no secret away: none is read.
pub trait Surroundings: Send + Sync {
    /// Says whether an environment variable is set and not empty.
    fn has_variable(&self, name: &str) -> bool;

    /// Says whether a program can be run: a path, or a name looked for in `PATH`.
    fn has_program(&self, program: &str) -> bool;

    /// Looks at the file of a secret, without reading it.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    fn secret_file(&self, path: &Path) -> io::Result<SecretFile>;

    /// Reads a file that holds no secret alone: a job, its accounts, certificates.
    ///
    /// # Errors
    /// Whatever keeps it from being read, and `FileTooLarge` where it is larger than any such file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Says whether a directory is there.
    fn is_directory(&self, path: &Path) -> bool;
}

/// What is seen of a secret's file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFile {
    /// It is a directory.
    pub is_directory: bool,
    /// It is a plain file without content.
    pub is_empty: bool,
    /// Its group or everybody may read it.
    pub is_open_to_others: bool,
}

/// The machine we run on.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Surroundings for System {
    fn has_variable(&self, name: &str) -> bool {
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    }

    fn has_program(&self, program: &str) -> bool {
        let path = Path::new(program);
        if path.components().count() > 1 {
            return is_executable(path);
        }
        let directories = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&directories).any(|directory| {
            let whole = directory.join(path);
            is_executable(&whole) || is_executable(&whole.with_added_extension("exe"))
        })
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        let about = path.metadata()?;
        // A named pipe would wait for its writer.
        if about.is_file() {
            File::open(path)?;
        }
        Ok(SecretFile {
            is_directory: about.is_dir(),
            // A pipe has no length until it is read.
            is_empty: about.is_file() && about.len() == 0,
            is_open_to_others: about.is_file() && is_open_to_others(&about),
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        /// Far more than a hundred thousand accounts need.
        const BYTES_MAX: u64 = 64 << 20;
        let mut bytes = Vec::new();
        File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

#[cfg(unix)]
fn is_open_to_others(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    about.permissions().mode() & 0o044 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

/// Says why a file cannot be used, in words that follow its name.
pub(super) fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::FileTooLarge => "is too large".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// What is usually behind a file that is not there.
pub(super) const NOT_THERE_HINT: &str = "relative paths begin at the job file's directory";

/// Says what to do about a file that cannot be used.
pub(super) fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => NOT_THERE_HINT,
        io::ErrorKind::PermissionDenied => "let the user that runs mailhaul read it",
        _ => "name a plain file",
    }
}
