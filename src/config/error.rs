//! What is wrong with a file, and where.

use crate::failure::steers;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing wrong with a job file, its accounts file or the daemon's file. Holds no secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The file, as it was named.
    pub file: PathBuf,
    /// From 1; 0: the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0: the line or file as a whole.
    pub column: usize,
    /// Path of the key, or the name of the CSV column; empty where none is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to type instead; empty where nothing can be said.
    pub hint: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", plain(&self.file.display().to_string()))?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", plain(&self.message))?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", plain(&self.hint))?;
        }
        Ok(())
    }
}

/// Escapes what steers a terminal: a path or a name may hold it, and accounts files come from customers.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

impl std::error::Error for Error {}

/// All that is wrong with a file; never empty, in the order of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

/// As many as a person reads; a broken accounts file of thousands of lines has them all in [`Errors::iter`].
const SHOWN_MAX: usize = 50;

impl Errors {
    /// Orders what was found; the same thing said twice is said once. None where there is nothing.
    pub(super) fn new(mut found: Vec<Error>) -> Option<Self> {
        found.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let mut list: Vec<Error> = Vec::with_capacity(found.len());
        for error in found {
            // Only errors of one place can be the same, and they stand together now.
            let same_place = list.iter().rev().take_while(|e| (e.line, e.column) == (error.line, error.column));
            if same_place.into_iter().all(|earlier| *earlier != error) {
                list.push(error);
            }
        }
        (!list.is_empty()).then_some(Self(list))
    }

    /// Makes the list of a single one.
    pub(super) fn one(error: Error) -> Self {
        Self(vec![error])
    }

    /// Goes through them.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(SHOWN_MAX).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

impl std::error::Error for Errors {}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) key: String,
}

impl Place {
    /// The file as a whole.
    pub(super) fn file(file: &Path) -> Self {
        Self { file: file.into(), line: 0, column: 0, key: String::new() }
    }

    /// The same line, speaking of a key below this one.
    pub(super) fn below(&self, name: &str) -> Self {
        Self { key: join(&self.key, name), ..self.clone() }
    }

    /// Says what is wrong here.
    pub(super) fn error(&self, fault: impl Into<Fault>) -> Error {
        let Fault { message, hint } = fault.into();
        let Self { file, line, column, key } = self.clone();
        Error { file: file.to_path_buf(), line, column, key, message, hint }
    }
}

/// What is wrong with a value, wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: String::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// Joins a key to the path of its table, quoted where TOML would want it quoted.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = if bare { name.to_owned() } else { shown(name) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Quotes what somebody wrote: on one line, no control codes, not too long.
pub(super) fn shown(written: &str) -> String {
    /// Room for a long mail address.
    const CHARACTERS_MAX: usize = 80;
    let mut text: String = written.chars().take(CHARACTERS_MAX).collect();
    if text.len() < written.len() {
        text.push('…');
    }
    format!("{text:?}")
}

/// Finds what was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// What people write who come from other programs.
    const ALIASES: &[(&str, &str)] = &[
        ("server", "host"),
        ("imap", "host"),
        ("address", "host"),
        ("ssl", "tls"),
        ("security", "tls"),
        ("encryption", "tls"),
        ("login", "user"),
        ("email", "user"),
        ("pass", "password"),
        ("passwd", "password"),
        ("destination", "target"),
        ("mapping", "rename"),
        ("cmd", "command"),
        ("path", "file"),
    ];
    /// Below this, Jaro-Winkler finds likeness between strangers.
    const LIKENESS_MIN: f64 = 0.82;
    let word = word.to_lowercase().replace(['-', ' '], "_");
    let meant = ALIASES.iter().find(|(alias, _)| *alias == word).map(|(_, key)| *key);
    let likeness = |key: &str| {
        if Some(key) == meant { 2.0 } else { strsim::jaro_winkler(&word, &key.replace('-', "_")) }
    };
    known
        .into_iter()
        .map(|key| (likeness(key), key))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

/// Lists names for a person: `a, b or c`.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_holds_steers_no_terminal() {
        let fault = Fault::new("others may read /x\u{1b}[2J").hint("chmod 600 /x\u{202e}");
        let said = Place::file(Path::new("a\n.csv")).error(fault).to_string();
        assert_eq!(said, "a\\u{a}.csv: others may read /x\\u{1b}[2J\n  hint: chmod 600 /x\\u{202e}");
    }
}
