//! The daemon's own file: where its jobs and its state lie, and how often it looks.

use super::error::{Errors, Fault, Place};
use super::reader::{Given, Reader, Schema, Written};
use super::{Context, read_text, value, without_mark};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the daemon is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonConfig {
    /// The directory of job files; absolute, and there when the file was read.
    pub jobs: PathBuf,
    /// Where the ledger lies; None: in the platform's state directory.
    pub state: Option<PathBuf>,
    /// Time between two looks into `jobs`.
    pub poll: Duration,
}

/// The example file, whose values are the defaults.
const DEFAULT: &str = include_str!("../../config/daemon.toml");
const DEFAULT_NAME: &str = "config/daemon.toml";

const SCHEMA: Schema = &[("", &["jobs", "state", "poll"])];

/// Reads the daemon's file.
///
/// # Errors
/// All that is wrong with it.
pub fn load_daemon(path: &Path) -> Result<DaemonConfig, Errors> {
    let context = Context::daemon();
    let text = read_text(path, &context, "config/daemon.toml is an example").map_err(Errors::one)?;
    parse_daemon(&text, path, &context)
}

/// Reads the text of the daemon's file; `path` says where it lies.
///
/// # Errors
/// As [`load_daemon`].
pub fn parse_daemon(text: &str, path: &Path, context: &Context) -> Result<DaemonConfig, Errors> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    let mut reader = Reader::new(path, directory, without_mark(text), SCHEMA);
    let mut default_reader = Reader::new(Path::new(DEFAULT_NAME), directory, DEFAULT, SCHEMA);
    let written = read(&mut reader);
    let defaults = read(&mut default_reader);
    let mut errors = reader.errors;
    errors.append(&mut default_reader.errors);
    let mut config = None;
    if let (Some(written), Some(defaults)) = (written, defaults) {
        if let Some(Written { value, place }) = written.jobs.good()
            && !context.surroundings.is_directory(value)
        {
            let fault = Fault::new(format!("{} is no directory", value.display()));
            errors.push(place.error(fault.hint("make it with mkdir; relative paths begin at this file's directory")));
        }
        if written.jobs.is_absent() {
            let hint = r#"write jobs = "DIRECTORY", where job files will be put"#;
            errors.push(written.place.error(Fault::new("jobs is missing").hint(hint)));
        }
        config = written.jobs.value().zip(written.poll.or(&defaults.poll).value()).map(|(jobs, poll)| DaemonConfig {
            jobs: jobs.clone(),
            state: written.state.value().cloned(),
            poll: *poll,
        });
    }
    match (Errors::new(errors), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        (None, None) => Err(Errors::one(Place::file(Path::new(DEFAULT_NAME)).error("lacks a default"))),
    }
}

struct Raw {
    place: Place,
    jobs: Given<PathBuf>,
    state: Given<PathBuf>,
    poll: Given<Duration>,
}

fn read(reader: &mut Reader<'_>) -> Option<Raw> {
    /// Often enough for a test, seldom enough for a disk.
    const RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(24 * 3600));
    let document = reader.document()?;
    let root = reader.root(&document);
    Some(Raw {
        jobs: root.path(reader, "jobs", r#""/etc/mailhaul/jobs""#),
        state: root.path(reader, "state", r#""/var/lib/mailhaul""#),
        poll: root.read(reader, "poll", |value| value::duration(value, RANGE, r#""5s""#)),
        place: root.place,
    })
}
