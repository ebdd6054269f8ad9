//! Job files: from TOML to a [`Job`] that cannot be wrong.
//!
//! Secret: the file's form. What was written (`raw`) and what it means (`meaning`) are two steps; all errors of a file
//! come at once, each with file, line and key. Unchecked text lives in `reader`, `raw` and `accounts` alone.
//!
//! Invariants: no error and no warning shows the value of a secret; every default comes from [`DEFAULT`], the file that
//! explains it; a secret that is not there is found before any connection. Never connects, never runs a program, never
//! reads a secret's file.

mod accounts;
mod context;
mod daemon;
mod error;
mod folders;
mod host;
mod limits;
mod mailboxes;
mod meaning;
mod raw;
mod reader;
mod secret;
mod times;
mod value;

#[cfg(test)]
mod tests;

pub use context::{Context, Patience, SecretFile, Surroundings, System};
pub use daemon::{DaemonConfig, load_daemon, parse_daemon};
pub use error::{Error, Errors};

use crate::{auth::SignIn, mail::Digest, net::Endpoint, pace::DayAllowance, pace::Limits, pace::Rates, plan, transfer};
use error::{Fault, Place};
use meaning::Origin;
use reader::{Given, Reader, Written};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};

/// Every key of a job file with its default, its range and what it means: read beneath each job file.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// Gives a commented job file to start from; its blanks, `""`, are refused until they are filled in.
#[must_use]
pub fn template() -> &'static str {
    include_str!("template.toml")
}

/// Reads a job file.
///
/// # Errors
/// All that is wrong with it, its accounts file and what they name; nothing has been connected to.
pub fn load(path: &Path, context: &Context) -> Result<Job, Errors> {
    let text = read_text(path, context, "mailhaul init writes a job file to start from").map_err(Errors::one)?;
    parse(&text, path, context)
}

/// Reads a job file's text; `path` says where it lies, for messages and for the paths in it.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, context: &Context) -> Result<Job, Errors> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let mut hash = Sha256::new_with_prefix(text);
    let mut reader = Reader::new(path, &directory, without_mark(text), raw::SCHEMA);
    let written = raw::read(&mut reader, &directory);
    let mut errors = std::mem::take(&mut reader.errors);
    let defaults = default_layer(&directory, &mut errors);
    let mut job = None;
    if let (Some(mut written), Some(defaults)) = (written, defaults) {
        let accounts = accounts_of(&mut written, path, &directory, context, &mut hash, &mut errors);
        let digest = Digest(hash.finalize().into());
        let origin = Origin { path, absolute, digest, context };
        job = meaning::job(&written, &accounts, &defaults, &origin, &mut errors);
    }
    match (Errors::new(errors), job) {
        (None, Some(job)) => Ok(job),
        (Some(errors), _) => Err(errors),
        (None, None) => Err(Errors::one(Place::file(Path::new(DEFAULT_NAME)).error("lacks a default"))),
    }
}

const DEFAULT_NAME: &str = "config/default.toml";

/// Reads [`DEFAULT`], by the same way as any job file.
fn default_layer(directory: &Path, errors: &mut Vec<Error>) -> Option<raw::Job> {
    let mut reader = Reader::new(Path::new(DEFAULT_NAME), directory, DEFAULT, raw::SCHEMA);
    let defaults = raw::read(&mut reader, directory);
    errors.append(&mut reader.errors);
    defaults
}

/// Gives the accounts, from the job file or from the file it names.
fn accounts_of(
    written: &mut raw::Job,
    path: &Path,
    directory: &Path,
    context: &Context,
    hash: &mut Sha256,
    errors: &mut Vec<Error>,
) -> Vec<raw::Account> {
    let refuse = |errors: &mut Vec<Error>, place: &Place, fault: Fault| errors.push(place.error(fault));
    match (std::mem::take(&mut written.accounts), &written.accounts_file) {
        (Given::Good(list), Given::Absent) => {
            if list.value.is_empty() {
                let hint = "write [[account]] with source and target, or accounts = \"FILE.csv\"";
                refuse(errors, &list.place, Fault::new("holds no account").hint(hint));
            }
            list.value
        }
        (Given::Absent, Given::Good(Written { value, place })) => {
            let named = value.strip_prefix(directory).ok().and_then(|rest| Some(path.parent()?.join(rest)));
            let file = named.as_deref().unwrap_or(value);
            let text = match read_text(value, context, context::NOT_THERE_HINT) {
                Ok(text) => text,
                Err(error) if error.line > 0 => {
                    errors.push(Error { file: file.to_owned(), ..error });
                    return Vec::new();
                }
                Err(error) => {
                    let fault = Fault::new(format!("{} {}", file.display(), error.message));
                    refuse(errors, place, fault.hint(error.hint));
                    return Vec::new();
                }
            };
            hash.update(text.as_bytes());
            let before = errors.len();
            let list = accounts::read(without_mark(&text), file, directory, errors).unwrap_or_default();
            if list.is_empty() && errors.len() == before {
                let fault =
                    Fault::new("holds no account").hint("below the first line, write one line for each account");
                refuse(errors, &Place::file(file), fault);
            }
            list
        }
        (Given::Absent, Given::Absent) => {
            let hint = "write [[account]] with source and target, or accounts = \"FILE.csv\" at the top of the file";
            refuse(errors, &written.place, Fault::new("no account is there").hint(hint));
            Vec::new()
        }
        (Given::Good(list), Given::Good(file)) => {
            let fault = Fault::new(format!("accounts beside [[account]] (line {})", list.place.line));
            refuse(errors, &file.place, fault.hint("keep one of the two"));
            list.value
        }
        (Given::Good(list), Given::Bad) => list.value,
        (Given::Bad, _) | (_, Given::Bad) => Vec::new(),
    }
}

/// Reads a file of UTF-8; an error of the whole file has a message that follows the file's name.
/// `not_there` is the hint where there is no such file.
fn read_text(path: &Path, context: &Context, not_there: &str) -> Result<String, Error> {
    let place = Place::file(path);
    let bytes = match context.surroundings.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let hint = if error.kind() == io::ErrorKind::NotFound { not_there } else { context::io_hint(&error) };
            return Err(place.error(Fault::new(context::io_text(&error)).hint(hint)));
        }
    };
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let what = if utf16 { "is UTF-16, not UTF-8" } else { "is not UTF-8 from here on" };
        Place { line, ..place }.error(Fault::new(what).hint("save the file as UTF-8 (in Excel: CSV UTF-8)"))
    })
}

/// Leaves out a byte order mark.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A job: the mailbox pairs of one customer and how they are moved.
#[derive(Clone)]
pub struct Job {
    /// For people.
    pub name: String,
    /// Where it was read from, absolute.
    pub path: PathBuf,
    /// Of the file's bytes, followed by those of its accounts file where there is one.
    pub digest: Digest,
    /// In what order messages are copied.
    pub order: plan::Order,
    /// What it says about folders.
    pub folders: plan::FolderRules,
    /// For each account on the source.
    pub source_limits: Limits,
    /// For each account on the target.
    pub target_limits: Limits,
    /// Connections to one host by all accounts together; None: no limit.
    pub host_connections: Option<usize>,
    /// What may pass to one host, and from it, for all accounts together.
    pub host_rates: Rates,
    /// How it is carried out.
    pub options: transfer::Options,
    /// At least one; no two with the same source or target mailbox.
    pub accounts: Vec<Account>,
    /// What is accepted and not advised, for the person who runs it.
    pub warnings: Vec<String>,
}

/// One mailbox pair.
#[derive(Clone)]
pub struct Account {
    /// For people: `name` of the job file, or the source user; no two of a job are the same.
    pub name: String,
    /// Where mail is read.
    pub source: Mailbox,
    /// Where mail is written.
    pub target: Mailbox,
}

/// One end of an account.
#[derive(Clone)]
pub struct Mailbox {
    /// Its server.
    pub endpoint: Endpoint,
    /// Who signs in.
    pub sign_in: SignIn,
    /// What goes over the line is compressed where the server can do that.
    pub compress: bool,
    /// What may be fetched from it, or sent to it, in a day; None: no limit.
    pub bytes_per_day: Option<DayAllowance>,
    /// The same from its host, or to it, by all accounts together.
    pub host_bytes_per_day: Option<DayAllowance>,
}
