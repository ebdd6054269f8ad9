//! Where a secret comes from, as it is written.
//!
//! Invariant: no fault names a secret's value, nor anything that could be one by mistake.

use super::error::Fault;
use super::reader::{Given, Reader, SECRET, SECRET_FORMS, Table, Written, path};
use super::value::{self, Read};
use crate::auth::{Secret, SecretSource};
use std::path::Path;
use toml::de::DeValue;

/// The keys of a secret's table.
pub(super) const KEYS: &[&str] = &["env", "file", "command"];

/// Reads `password` or `token`.
pub(super) fn read(
    table: &Table<'_>,
    reader: &mut Reader<'_>,
    name: &'static str,
    directory: &Path,
) -> Given<SecretSource> {
    let written = table.read(reader, name, |value| match value {
        DeValue::String(text) => plain(text).map(Some),
        DeValue::Table(_) => Ok(None),
        _ => Err(value::wrong_type("a string or a table", value).hint(format!("write {SECRET_FORMS}"))),
    });
    let place = match written {
        Given::Good(Written { value: Some(value), place }) => return Given::Good(Written { value, place }),
        Given::Good(Written { value: None, place }) => place,
        Given::Bad => return Given::Bad,
        Given::Absent => return Given::Absent,
    };
    let table = table.table(reader, name, SECRET);
    let sources = [
        table.read(reader, "env", |value| {
            value
                .as_str()
                .ok_or_else(|| value::wrong_type("a string", value).hint(format!("write {SECRET_FORMS}")))
                .and_then(variable)
        }),
        table.read(reader, "file", |value| file(&value::text(value, r#""secrets/info""#)?, directory)),
        table.read(reader, "command", |value| command(value, directory)),
    ];
    if sources.iter().filter(|source| !source.is_absent()).count() > 1 {
        reader.refuse(&place, Fault::new("comes from more than one place").hint("keep one of env, file and command"));
        return Given::Bad;
    }
    match sources.into_iter().find(|source| !source.is_absent()) {
        Some(Given::Good(Written { value, .. })) => Given::Good(Written { value, place }),
        Some(_) => Given::Bad,
        None if table.is_empty() => {
            reader.refuse(
                &place,
                Fault::new("says nothing about where it comes from").hint(format!("write {SECRET_FORMS}")),
            );
            Given::Bad
        }
        // An unknown key: noted already.
        None => Given::Bad,
    }
}

/// Takes a secret that is written out.
pub(super) fn plain(text: &str) -> Read<SecretSource> {
    if text.is_empty() {
        return Err(Fault::new("is empty").hint(format!("write {SECRET_FORMS}")));
    }
    if text.contains(['\0', '\r', '\n']) {
        return Err(Fault::new("holds a line end or NUL, which no server takes").hint("remove it"));
    }
    Ok(SecretSource::Plain(Secret::new(text.to_owned())))
}

/// Takes the name of an environment variable.
pub(super) fn variable(name: &str) -> Read<SecretSource> {
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits {
        return Ok(SecretSource::Env(name.to_owned()));
    }
    // Not shown: here people put the secret itself.
    let hint = if name.starts_with('$') {
        "leave out the dollar sign"
    } else {
        "letters, digits and _ make a name, such as INFO_OLD"
    };
    Err(Fault::new("is no name of an environment variable").hint(hint))
}

/// Takes the path of a file.
pub(super) fn file(text: &str, directory: &Path) -> Read<SecretSource> {
    path(text, directory).map(SecretSource::File)
}

fn command(value: &DeValue<'_>, directory: &Path) -> Read<SecretSource> {
    const HINT: &str = r#"write command = ["program", "argument"]"#;
    let argv = match value {
        DeValue::String(text) => return command_line(text, directory),
        DeValue::Array(array) => array
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(|| item.get_ref()))
            .collect::<Result<Vec<String>, _>>()
            .map_err(|item| value::wrong_type("a list of strings", item).hint(HINT))?,
        _ => return Err(value::wrong_type("a string or a list of strings", value).hint(HINT)),
    };
    program(argv, directory)
}

/// Takes a program and its arguments in one string.
pub(super) fn command_line(text: &str, directory: &Path) -> Read<SecretSource> {
    program(words(text)?, directory)
}

fn program(mut argv: Vec<String>, directory: &Path) -> Read<SecretSource> {
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(Fault::new("holds NUL").hint("remove it"));
    }
    let Some(program) = argv.first_mut().filter(|program| !program.trim().is_empty()) else {
        return Err(Fault::new("names no program").hint(r#"write command = ["program", "argument"]"#));
    };
    // A bare name is looked for in PATH; a path means the same wherever the process is started.
    if program.contains(std::path::MAIN_SEPARATOR) || program.contains('/') {
        let whole = path(program, directory)?;
        match whole.into_os_string().into_string() {
            Ok(text) => *program = text,
            Err(_) => {
                return Err(Fault::new("stands in a directory whose name is no UTF-8").hint("move it to another"));
            }
        }
    }
    Ok(SecretSource::Command { argv, directory: directory.to_owned() })
}

/// Splits a command at blanks outside quotes. What only a shell would understand is refused, not passed on.
fn words(text: &str) -> Read<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | ';' | '<' | '>' | '`' | '$' | '\\') => {
                let fault = Fault::new(format!("holds {c:?}, and no shell is used"));
                return Err(fault.hint(r#"put it in quotes, or write command = ["sh", "-c", "…"]"#));
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Fault::new("has a quote that is not closed").hint(r#"write command = ["program", "argument"]"#));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_blanks_outside_quotes() {
        for (written, expected) in [
            ("pass show mail/info", vec!["pass", "show", "mail/info"]),
            ("  a   b ", vec!["a", "b"]),
            (r#"op read "op://Vault/My Item/pw""#, vec!["op", "read", "op://Vault/My Item/pw"]),
            ("a '' 'b c'd", vec!["a", "", "b cd"]),
            ("sh -c 'a | b'", vec!["sh", "-c", "a | b"]),
        ] {
            assert_eq!(words(written).unwrap(), expected, "{written}");
        }
        for written in ["a | b", "a $HOME", "a; b", "a > b", "`a`", "a \"b"] {
            assert!(words(written).is_err(), "{written}");
        }
    }

    #[test]
    fn a_program_with_a_path_does_not_depend_on_where_we_run() {
        let directory = Path::new("/jobs");
        for (written, expected) in
            [("./token a", "/jobs/./token"), ("bin/token", "/jobs/bin/token"), ("token", "token"), ("/bin/t", "/bin/t")]
        {
            let Ok(SecretSource::Command { argv, .. }) = command_line(written, directory) else { panic!("{written}") };
            assert_eq!(argv[0], expected);
        }
    }
}
