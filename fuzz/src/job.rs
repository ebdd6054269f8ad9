//! Job files: any text, and any accounts file beside it. Read it is, or refused with errors that point into it.
//!
//! The input is cut at 0xFF: the job file, then its accounts file.

use mailhaul::config::{self, Context, Patience, SecretFile, Surroundings};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where the job file is.
const JOB: &str = "/jobs/job.toml";

/// Tries one input.
pub(super) fn run(input: &[u8]) {
    let mut files = input.splitn(2, |byte| *byte == 0xff);
    let job = files.next().unwrap_or_default();
    let accounts = files.next().unwrap_or_default().to_vec();
    let Ok(text) = std::str::from_utf8(job) else { return };
    let surroundings = Arc::new(Beside { job: job.to_vec(), accounts: accounts.clone() });
    for patience in [Patience::Terminal, Patience::Daemon] {
        let context = Context { patience, surroundings: Arc::clone(&surroundings) as Arc<dyn Surroundings> };
        match config::parse(text, Path::new(JOB), &context) {
            Ok(job) => {
                assert!(!job.accounts.is_empty() && !job.name.is_empty());
                job.warnings.iter().for_each(|warning| check_said(warning));
            }
            Err(errors) => {
                assert!(errors.iter().next().is_some());
                errors.iter().for_each(|error| check_error(error, text, &accounts));
                check_said(&errors.to_string());
            }
        }
    }
    let context = Context { patience: Patience::Daemon, surroundings };
    let _ = config::parse_daemon(text, Path::new("/jobs/daemon.toml"), &context);
}

fn check_said(text: &str) {
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(steers), "{text:?}");
}

/// An error points at a line and a column that are there.
fn check_error(error: &config::Error, job: &str, accounts: &[u8]) {
    assert!(!error.message.is_empty());
    if error.line == 0 {
        return;
    }
    let is_job = error.file == Path::new(JOB);
    let lines = if is_job { job.as_bytes() } else { accounts };
    // Line ends of all kinds, and the place just behind the last one.
    let last = lines.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    assert!(error.line <= last, "{error:?}");
    if let Some(line) = job.split('\n').nth(error.line - 1).filter(|_| is_job) {
        assert!(error.column <= line.chars().count() + 1, "{error:?} {line:?}");
    }
}

/// Surroundings with an accounts file, and where every secret is.
struct Beside {
    job: Vec<u8>,
    accounts: Vec<u8>,
}

impl Surroundings for Beside {
    fn has_variable(&self, name: &str) -> bool {
        name.len().is_multiple_of(2)
    }

    fn has_program(&self, program: &str) -> bool {
        program.len().is_multiple_of(2)
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        let is_open_to_others = path.as_os_str().len().is_multiple_of(2);
        Ok(SecretFile { is_directory: false, is_empty: false, is_open_to_others })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // A job may name itself as its accounts file.
        Ok(if path == Path::new(JOB) { self.job.clone() } else { self.accounts.clone() })
    }

    fn is_directory(&self, _: &Path) -> bool {
        true
    }
}
