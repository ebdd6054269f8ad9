//! The directory of job files: what lies in it, and what of that can be read.
//!
//! Polled, since notifications are unknown to some file systems and lost on others. A file is read when it has looked the
//! same twice, so that a half-written one is left alone.

use super::schedule::Stamp;
use crate::config::{self, Context, Errors, Job};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one look saw.
pub(super) struct Look {
    /// Every job file.
    pub(super) stamps: BTreeMap<PathBuf, Stamp>,
    /// The same files, read where they had settled.
    pub(super) files: BTreeMap<PathBuf, Read>,
}

/// A file, read.
pub(super) enum Read {
    /// It differs from the last look, or changed while it was read.
    Unsettled,
    /// It is no job.
    Broken(Errors),
    /// It is one.
    Good(Stamp, Arc<Job>),
}

/// Looks into the directory; `before` is what the last look saw. Blocks.
pub(super) fn look(directory: &Path, before: &BTreeMap<PathBuf, Stamp>) -> io::Result<Look> {
    let stamps = list(directory)?;
    let read = |(path, stamp): (&PathBuf, &Stamp)| (path.clone(), read(path, *stamp, before.get(path).copied()));
    let files = stamps.iter().map(read).collect();
    Ok(Look { stamps, files })
}

fn read(path: &Path, stamp: Stamp, before: Option<Stamp>) -> Read {
    if before != Some(stamp) {
        return Read::Unsettled;
    }
    // Read anew at every look: an accounts file or a secret's file may have come, and neither shows in the stamp.
    let loaded = config::load(path, &Context::daemon());
    match loaded {
        _ if stamp_of(path) != Some(stamp) => Read::Unsettled,
        Ok(job) => Read::Good(stamp, Arc::new(job)),
        Err(errors) => Read::Broken(errors),
    }
}

fn list(directory: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_job_file(&entry.file_name()) {
            // Gone since it was listed, or a link to nothing: not there.
            found.extend(stamp_of(&entry.path()).map(|stamp| (entry.path(), stamp)));
        }
    }
    Ok(found)
}

/// Gives the stamp of a plain file.
fn stamp_of(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Stamp { bytes: about.len(), modified: about.modified().ok() })
}

/// Says whether a name is one of a job: `*.toml`, but for what editors and copying programs leave beside it.
fn is_job_file(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    !name.starts_with(['.', '#', '~']) && name.ends_with(".toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_jobs_are_taken() {
        for name in ["a.toml", "acme to 365.toml", "ü.toml", "a.b.toml"] {
            assert!(is_job_file(OsStr::new(name)), "{name}");
        }
        for name in [".a.toml", ".toml", "a.toml~", "~a.toml", "#a.toml#", "a.toml.tmp", "a.tmp", "toml", "a.TOML", ""]
        {
            assert!(!is_job_file(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_file_is_read_when_it_looked_the_same_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        fs::create_dir(directory.path().join("directory.toml")).unwrap();
        fs::write(&path, "order = \"old").unwrap();
        let first = look(directory.path(), &BTreeMap::new()).unwrap();
        assert!(matches!(first.files[&path], Read::Unsettled));
        assert_eq!(first.files.len(), 1);
        fs::write(&path, "order = \"oldest\"").unwrap();
        let second = look(directory.path(), &first.stamps).unwrap();
        assert!(matches!(second.files[&path], Read::Unsettled));
        let third = look(directory.path(), &second.stamps).unwrap();
        assert!(matches!(third.files[&path], Read::Broken(_)));
    }
}
