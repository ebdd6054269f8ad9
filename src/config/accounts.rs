//! The accounts file: one mailbox pair in each line of a CSV table.
//!
//! Secret: the dialect. Separators and byte order marks are recognised; the first line names the columns. Columns and
//! cells become the same [`raw::Account`]s that `[[account]]` tables do. No cell of a secret's column is shown.

use super::error::{Error, Fault, Place, nearest};
use super::host::host;
use super::raw::{self, Server};
use super::reader::{Given, Written, path};
use super::secret;
use super::value::{self, Read};
use crate::auth::SecretSource;
use std::path::Path;
use std::sync::Arc;
use toml::de::DeValue;

/// Columns of each side, after `source_` or `target_`; besides these there is `name`.
pub(super) const COLUMNS: &[&str] = &[
    "user",
    "admin",
    "password",
    "password_env",
    "password_file",
    "password_command",
    "token",
    "token_env",
    "token_file",
    "token_command",
    "provider",
    "host",
    "port",
    "tls",
];

/// Reads the table. Errors go to `errors`; None where its form does not let accounts be told apart.
pub(super) fn read(text: &str, file: &Path, directory: &Path, errors: &mut Vec<Error>) -> Option<Vec<raw::Account>> {
    let mut table = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let file: Arc<Path> = file.into();
    let mut columns: Option<Vec<Option<String>>> = None;
    let mut accounts = Vec::new();
    let mut lines = Lines { text: text.as_bytes(), offset: 0, line: 1 };
    for record in table.records() {
        let Ok(record) = record else {
            // Only memory holds the text, it is UTF-8, and lengths may differ.
            errors.push(Place::file(&file).error(Fault::new("cannot be read as CSV").hint("save it as CSV UTF-8")));
            return None;
        };
        let line = lines.at(record.position().map_or(0, csv::Position::byte));
        let place = Place { line, ..Place::file(&file) };
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(header(&record, &place, errors)?);
            continue;
        };
        if record.len() != columns.len() {
            let fault =
                Fault::new(format!("has {} cells, expected {} as in the first line", record.len(), columns.len()));
            errors.push(
                place.error(fault.hint("put a cell in double quotes if it holds a separator, and close every quote")),
            );
            continue;
        }
        let row = Row { columns, record: &record, place: &place, directory };
        accounts.push(row.account(errors));
    }
    if columns.is_none() {
        let fault = Fault::new("is empty")
            .hint("the first line names the columns: source_user,source_password_env,target_user,…");
        errors.push(Place::file(&file).error(fault));
        return None;
    }
    Some(accounts)
}

/// Counts lines: a record's own position is before the blank lines and line ends that it begins with.
struct Lines<'a> {
    text: &'a [u8],
    offset: usize,
    line: usize,
}

impl Lines<'_> {
    /// Gives the line, from 1, of the first character at or after an offset; offsets only grow.
    fn at(&mut self, offset: u64) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        while self.text.get(self.offset).is_some_and(|byte| self.offset < offset || matches!(byte, b'\r' | b'\n')) {
            self.line += usize::from(self.text[self.offset] == b'\n');
            self.offset += 1;
        }
        self.line
    }
}

/// Finds the separator: whichever of three stands most often in the first line.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |separator: u8| first.bytes().filter(|byte| *byte == separator).count();
    // The last of equal ones wins: a comma where there is none at all.
    [b'\t', b';', b','].into_iter().max_by_key(|separator| count(*separator)).unwrap_or(b',')
}

fn known() -> impl Iterator<Item = String> {
    let sides = ["source", "target"].into_iter();
    std::iter::once("name".to_owned())
        .chain(sides.flat_map(|side| COLUMNS.iter().map(move |name| format!("{side}_{name}"))))
}

/// Reads the names of the columns. None where they cannot be used.
fn header(record: &csv::StringRecord, place: &Place, errors: &mut Vec<Error>) -> Option<Vec<Option<String>>> {
    let known: Vec<String> = known().collect();
    let before = errors.len();
    let mut columns: Vec<Option<String>> = Vec::new();
    for (index, cell) in record.iter().enumerate() {
        let name = cell.trim().to_lowercase().replace([' ', '-', '.'], "_");
        if !known.contains(&name) {
            let near = nearest(&name, known.iter().map(String::as_str));
            // Not shown: without a header, this is somebody's password.
            let fault = Fault::new(format!("column {} has a name that is not known", index + 1));
            let fault = match near {
                Some(near) => fault.hint(format!("did you mean {near}?")),
                None => fault.hint(
                    "columns are name, and source_… and target_… with user, password, password_env, password_file, host, …",
                ),
            };
            errors.push(place.error(fault));
            columns.push(near.map(str::to_owned));
        } else if columns.contains(&Some(name.clone())) {
            errors.push(place.below(&name).error(Fault::new("stands twice in the first line").hint("remove one")));
            columns.push(None);
        } else {
            columns.push(Some(name));
        }
    }
    if columns.iter().all(Option::is_none) {
        errors.truncate(before);
        let fault = Fault::new("the first line does not name the columns");
        errors.push(place.error(
            fault.hint("begin with a line such as source_user,source_password_env,target_user,target_password_env"),
        ));
        return None;
    }
    for name in ["source_user", "target_user"] {
        if !columns.iter().flatten().any(|column| column == name) {
            errors.push(place.error(
                Fault::new(format!("column {name} is missing")).hint("add it to the first line and to every other"),
            ));
        }
    }
    Some(columns)
}

/// One line of the table.
struct Row<'a> {
    columns: &'a [Option<String>],
    record: &'a csv::StringRecord,
    place: &'a Place,
    directory: &'a Path,
}

impl Row<'_> {
    fn account(&self, errors: &mut Vec<Error>) -> raw::Account {
        raw::Account {
            place: self.place.clone(),
            name: self.read("name".to_owned(), errors, |text| value::line(text).map(str::to_owned)),
            source: self.server("source", errors),
            target: self.server("target", errors),
        }
    }

    fn server(&self, side: &str, errors: &mut Vec<Error>) -> Server {
        let column = |name: &str| format!("{side}_{name}");
        let word = |text: &str| DeValue::String(text.to_owned().into());
        let mut user = self.read(column("user"), errors, value::user);
        if user.is_absent() {
            // A column that is missing altogether is said once, in the first line.
            if self.columns.iter().flatten().any(|name| *name == column("user")) {
                errors.push(
                    self.place.below(&column("user")).error(Fault::new("is empty").hint("write the user's name")),
                );
            }
            user = Given::Bad;
        }
        Server {
            place: self.place.below(side),
            form: raw::Form::Row,
            provider: self.read(column("provider"), errors, |text| value::preset(&word(text))),
            host: self.read(column("host"), errors, host),
            port: self.read(column("port"), errors, port),
            tls: self.read(column("tls"), errors, |text| value::tls(&word(text))),
            ca_file: Given::Absent,
            pin: Given::Absent,
            plaintext: Given::Absent,
            connect_timeout: Given::Absent,
            compress: Given::Absent,
            user,
            admin: self.read(column("admin"), errors, value::user),
            password: self.secret(&column("password"), errors),
            token: self.secret(&column("token"), errors),
        }
    }

    /// Reads the four columns a secret may come from.
    fn secret(&self, name: &str, errors: &mut Vec<Error>) -> Given<SecretSource> {
        let directory = self.directory;
        let found = [
            self.read_exactly(name.to_owned(), errors, |text| {
                if text.trim() != text {
                    let fault = Fault::new("begins or ends with a blank");
                    return Err(
                        fault.hint(format!("remove the blank, or put the secret in a file and name it in {name}_file"))
                    );
                }
                secret::plain(text)
            }),
            self.read(format!("{name}_env"), errors, secret::variable),
            self.read(format!("{name}_file"), errors, |text| path(text, directory).map(SecretSource::File)),
            self.read(format!("{name}_command"), errors, |text| secret::command_line(text, directory)),
        ];
        let mut given = found.into_iter().filter(|source| !source.is_absent());
        let first = given.next().unwrap_or_default();
        if given.next().is_some() {
            let fault = Fault::new("comes from more than one column")
                .hint(format!("keep one of {name}, {name}_env, {name}_file and {name}_command"));
            errors.push(self.place.below(name).error(fault));
            return Given::Bad;
        }
        first
    }

    /// Reads a cell without the blanks around it; an empty one says nothing.
    fn read<T>(&self, column: String, errors: &mut Vec<Error>, parse: impl FnOnce(&str) -> Read<T>) -> Given<T> {
        self.read_exactly(column, errors, |text| parse(text.trim()))
    }

    fn read_exactly<T>(
        &self,
        column: String,
        errors: &mut Vec<Error>,
        parse: impl FnOnce(&str) -> Read<T>,
    ) -> Given<T> {
        let index = self.columns.iter().position(|name| name.as_ref() == Some(&column));
        let Some(cell) = index.and_then(|index| self.record.get(index)).filter(|cell| !cell.trim().is_empty()) else {
            return Given::Absent;
        };
        let place = Place { key: column, ..self.place.clone() };
        match parse(cell) {
            Ok(value) => Given::Good(Written { value, place }),
            Err(fault) => {
                errors.push(place.error(fault));
                Given::Bad
            }
        }
    }
}

fn port(text: &str) -> Read<u16> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        Fault::new("is no port: expected 1 to 65535").hint("IMAP is at 993 (implicit TLS) or 143 (STARTTLS)")
    })
}
