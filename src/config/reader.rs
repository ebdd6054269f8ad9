//! Tables of TOML with the place of every key, and a list of errors that grows while they are read.
//!
//! Secret: spans. Whoever reads gets [`Given`] values and never stops at an error. No value of a secret table is shown.

use super::error::{Error, Fault, Place, join, listed, nearest, shown};
use super::value::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it is written.
#[derive(Clone)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What a file says about one key.
#[derive(Clone)]
pub(super) enum Given<T> {
    /// Nothing.
    Absent,
    /// Something that cannot be used; the error is noted, no other is due.
    Bad,
    /// This.
    Good(Written<T>),
}

// Not derived: that would ask for `T: Default`.
#[allow(clippy::derivable_impls, reason = "the derive asks for T: Default")]
impl<T> Default for Given<T> {
    fn default() -> Self {
        Self::Absent
    }
}

impl<T: Clone> Given<T> {
    /// Gives what lies below where nothing is said here.
    pub(super) fn or(&self, below: &Self) -> Self {
        match self {
            Self::Absent => below.clone(),
            _ => self.clone(),
        }
    }
}

impl<T> Given<T> {
    /// Gives the value that can be used.
    pub(super) fn good(&self) -> Option<&Written<T>> {
        match self {
            Self::Good(written) => Some(written),
            _ => None,
        }
    }

    /// Gives the value that can be used, without its place.
    pub(super) fn value(&self) -> Option<&T> {
        self.good().map(|written| &written.value)
    }

    /// Says whether nothing is said.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Says whether something is said that cannot be used.
    pub(super) fn is_bad(&self) -> bool {
        matches!(self, Self::Bad)
    }
}

/// The keys each table knows, by the table's path; `""` is the file itself.
pub(super) type Schema = &'static [(&'static str, &'static [&'static str])];

/// The path of tables that say where a secret comes from, in whatever table they stand.
pub(super) const SECRET: &str = "secret";

/// Reads one file.
pub(super) struct Reader<'a> {
    file: Arc<Path>,
    directory: &'a Path,
    text: &'a str,
    /// Offsets where lines begin.
    lines: Vec<usize>,
    schema: Schema,
    pub(super) errors: Vec<Error>,
}

impl<'a> Reader<'a> {
    /// Begins to read `text`; relative paths in it are relative to `directory`.
    pub(super) fn new(file: &Path, directory: &'a Path, text: &'a str, schema: Schema) -> Self {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1)).collect();
        Self { file: file.into(), directory, text, lines, schema, errors: Vec::new() }
    }

    /// Parses TOML. None, with every error of syntax noted, where it is none: what could be made of the rest would be
    /// guesses, and a secret without quotes could be taken for a key and shown.
    pub(super) fn document(&mut self) -> Option<Spanned<DeTable<'a>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Some(document);
        }
        let mut line = 0;
        for error in errors {
            let place = self.place(error.span().map_or(0, |span| span.start), "");
            // One mistake makes more errors in the rest of its line.
            if place.line == line {
                continue;
            }
            line = place.line;
            // Only the description: the error's own text shows the line, and what stands there may be a secret.
            let description = error.message().split(", expected").next().unwrap_or_default();
            self.refuse(&place, Fault::new(format!("not valid TOML: {description}")).hint(syntax_hint(description)));
        }
        None
    }

    /// Notes what is wrong at a place.
    pub(super) fn refuse(&mut self, place: &Place, fault: impl Into<Fault>) {
        self.errors.push(place.error(fault));
    }

    /// Opens the file's own table.
    pub(super) fn root<'t>(&mut self, document: &'t Spanned<DeTable<'a>>) -> Table<'t> {
        let place = Place { line: 1, ..Place::file(&self.file) };
        self.open(Body::Good(document.get_ref()), place, "")
    }

    fn place(&self, offset: usize, key: &str) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { file: self.file.clone(), line, column: before.chars().count() + 1, key: key.to_owned() }
    }

    /// Opens a table and notes the keys nobody knows.
    fn open<'t>(&mut self, body: Body<'t>, place: Place, path: &'static str) -> Table<'t> {
        let mut table = Table { body, place, path, misspelt: Vec::new() };
        let known = self.keys(path);
        let Body::Good(entries) = body else { return table };
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let near = nearest(name, known.iter().copied());
            table.misspelt.extend(near);
            // In a secret's table the unknown word may be the secret.
            let may_show = path != SECRET || name == KEYRING;
            let shown_key = if may_show { join(&table.place.key, name) } else { table.place.key.clone() };
            let place = self.place(key.span().start, &shown_key);
            self.refuse(&place, self.unknown(path, name, near));
        }
        table
    }

    fn keys(&self, path: &str) -> &'static [&'static str] {
        self.schema.iter().find(|(table, _)| *table == path).map_or(&[], |(_, keys)| keys)
    }

    fn unknown(&self, path: &str, name: &str, near: Option<&str>) -> Fault {
        if path == SECRET && name == KEYRING {
            return Fault::new("the keyring cannot be read yet").hint(format!("write {SECRET_FORMS}"));
        }
        let fault = Fault::new("unknown key");
        let elsewhere: Vec<String> =
            self.schema.iter().filter(|(_, keys)| keys.contains(&name)).map(|(table, _)| table_text(table)).collect();
        if path != SECRET && !elsewhere.is_empty() {
            let tables = listed(elsewhere.iter().map(String::as_str));
            return fault.hint(format!("{} belongs {tables}", shown(name)));
        }
        match near {
            Some(near) => fault.hint(format!("did you mean {}?", shown(near))),
            None if path == SECRET => fault.hint(format!("write {SECRET_FORMS}")),
            None => fault.hint(format!("known here: {}", self.keys(path).join(", "))),
        }
    }
}

/// What is not there yet and will be asked for.
const KEYRING: &str = "keyring";

/// What may stand where a secret is asked for.
pub(super) const SECRET_FORMS: &str = r#"{ env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }"#;

/// Says what is usually behind an error of syntax.
fn syntax_hint(description: &str) -> &'static str {
    match description {
        "duplicate key" => "a key stands once in a table: remove one, or join the two",
        "invalid basic string" | "invalid literal string" => {
            r#"close the string with the quote it begins with; in double quotes a backslash is written \\"#
        }
        _ if description.contains("quoted") || description.starts_with("invalid ") => "text is put in double quotes",
        _ if description.starts_with("unclosed") => "close what was opened here: ], ]] or }",
        _ if description.starts_with("missing comma") => "put a comma between two values",
        _ => "a line is [table], key = value or # comment",
    }
}

fn table_text(path: &str) -> String {
    match path {
        "" => "at the top of the file, before the first [table]".to_owned(),
        SECRET => "in password = { … } or token = { … }".to_owned(),
        "account" => "in [[account]]".to_owned(),
        _ if path.ends_with(".times") => format!("in [[{path}]]"),
        _ => match path.strip_prefix("account.") {
            Some(side) => format!("in [[account]] {side} = {{ … }}"),
            None => format!("in [{path}]"),
        },
    }
}

/// What stands where a table is expected.
#[derive(Clone, Copy)]
enum Body<'t> {
    Absent,
    /// Something else; the error is noted.
    Bad,
    Good(&'t DeTable<'t>),
}

/// An open table.
pub(super) struct Table<'t> {
    body: Body<'t>,
    /// Where it begins; the place of the table around it where it is absent.
    pub(super) place: Place,
    path: &'static str,
    /// Keys that are probably meant by unknown ones: they are not missed.
    misspelt: Vec<&'static str>,
}

impl<'t> Table<'t> {
    /// Says whether nothing is written.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.body, Body::Absent)
    }

    /// Says whether no key stands in it.
    pub(super) fn is_empty(&self) -> bool {
        match self.body {
            Body::Good(entries) => entries.is_empty(),
            _ => true,
        }
    }

    /// Reads the value of a key.
    pub(super) fn read<T>(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
        parse: impl FnOnce(&'t DeValue<'t>) -> Read<T>,
    ) -> Given<T> {
        let (value, place) = match self.find(reader, name) {
            Given::Good(Written { value, place }) => (value, place),
            Given::Bad => return Given::Bad,
            Given::Absent => return Given::Absent,
        };
        match parse(value) {
            Ok(value) => Given::Good(Written { value, place }),
            Err(fault) => {
                reader.refuse(&place, fault);
                Given::Bad
            }
        }
    }

    /// Reads a string; `example` as it would be typed.
    pub(super) fn text(&self, reader: &mut Reader<'_>, name: &'static str, example: &str) -> Given<String> {
        self.read(reader, name, |value| value::text(value, example))
    }

    /// Reads a path and makes it absolute; `example` as it would be typed.
    pub(super) fn path(&self, reader: &mut Reader<'_>, name: &'static str, example: &str) -> Given<PathBuf> {
        let directory = reader.directory;
        self.read(reader, name, |value| path(&value::text(value, example)?, directory))
    }

    /// Reads a list of strings, each with its place.
    pub(super) fn texts(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Read<String>,
    ) -> Given<Vec<Written<String>>> {
        const HINT: &str = r#"write a list of strings, such as ["Calendar", "Archive/*"]"#;
        let array = self.read(reader, name, |value| match value.as_array() {
            Some(array) => Ok(array),
            None => Err(value::wrong_type("a list of strings", value).hint(HINT)),
        });
        let Given::Good(Written { value: array, place }) = array else {
            return if array.is_absent() { Given::Absent } else { Given::Bad };
        };
        let mut list = Vec::new();
        for item in array.iter() {
            let place = reader.place(item.span().start, &place.key);
            match item.get_ref().as_str() {
                Some(text) => match parse(text) {
                    Ok(value) => list.push(Written { value, place }),
                    Err(fault) => reader.refuse(&place, fault),
                },
                None => reader.refuse(&place, value::wrong_type("a string", item.get_ref()).hint(HINT)),
            }
        }
        Given::Good(Written { value: list, place })
    }

    /// Opens the table under a key; `path` names it in the schema.
    pub(super) fn table(&self, reader: &mut Reader<'_>, name: &'static str, path: &'static str) -> Table<'t> {
        let found = self.read(reader, name, |value| match value.as_table() {
            Some(table) => Ok(table),
            None => Err(value::wrong_type("a table", value).hint(format!("write it {}", table_text(path)))),
        });
        match found {
            Given::Good(Written { value, place }) => reader.open(Body::Good(value), place, path),
            Given::Bad => reader.open(Body::Bad, self.place.below(name), path),
            Given::Absent => reader.open(Body::Absent, self.place.below(name), path),
        }
    }

    /// Opens the tables of a list; their keys are counted from 1.
    pub(super) fn tables(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
        path: &'static str,
    ) -> Given<Vec<Table<'t>>> {
        let hint = format!("write [[{path}]] with two brackets: it may stand many times");
        let array = self.read(reader, name, |value| match value.as_array() {
            Some(array) => Ok(array),
            None => Err(value::wrong_type("a list of tables", value).hint(hint.as_str())),
        });
        let Given::Good(Written { value: array, place }) = array else {
            return if array.is_absent() { Given::Absent } else { Given::Bad };
        };
        let mut tables = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let place = reader.place(item.span().start, &format!("{}[{}]", place.key, index + 1));
            let body = match item.get_ref().as_table() {
                Some(table) => Body::Good(table),
                None => {
                    reader.refuse(&place, value::wrong_type("a table", item.get_ref()).hint(hint.as_str()));
                    Body::Bad
                }
            };
            tables.push(reader.open(body, place, path));
        }
        Given::Good(Written { value: tables, place })
    }

    /// Goes through the strings of a table whose keys are free, in the order of the file.
    pub(super) fn pairs(
        &self,
        reader: &mut Reader<'_>,
        name: &'static str,
    ) -> Given<Vec<(Written<String>, Written<String>)>> {
        const HINT: &str = r#"write { "Sent Items" = "Sent" }"#;
        let table = self.read(reader, name, |value| match value.as_table() {
            Some(table) => Ok(table),
            None => Err(value::wrong_type("a table of names", value).hint(HINT)),
        });
        let Given::Good(Written { value: table, place: around }) = table else {
            return if table.is_absent() { Given::Absent } else { Given::Bad };
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut pairs = Vec::new();
        for (key, item) in entries {
            let place = reader.place(key.span().start, &join(&around.key, key.get_ref()));
            let Some(text) = item.get_ref().as_str() else {
                reader.refuse(&place, value::wrong_type("a folder's name", item.get_ref()).hint(HINT));
                continue;
            };
            let from = Written { value: key.get_ref().to_string(), place: place.clone() };
            pairs.push((from, Written { value: text.to_owned(), place }));
        }
        Given::Good(Written { value: pairs, place: around })
    }

    fn find(&self, reader: &Reader<'_>, name: &'static str) -> Given<&'t DeValue<'t>> {
        debug_assert!(reader.keys(self.path).contains(&name), "{}.{name} is in no schema", self.path);
        let entries = match self.body {
            Body::Absent => return Given::Absent,
            Body::Bad => return Given::Bad,
            Body::Good(entries) => entries,
        };
        match entries.get_key_value(name) {
            Some((key, value)) => {
                let place = reader.place(key.span().start, &join(&self.place.key, name));
                Given::Good(Written { value: value.get_ref(), place })
            }
            None if self.misspelt.contains(&name) => Given::Bad,
            None => Given::Absent,
        }
    }
}

/// Makes a written path absolute.
pub(super) fn path(text: &str, directory: &Path) -> Read<PathBuf> {
    if text.starts_with("~/") || text == "~" {
        return Err(Fault::new("begins with ~, which only a shell understands").hint("write the whole path"));
    }
    Ok(directory.join(text))
}
