//! Rules about folders: which patterns and names can mean something.
//!
//! How a pattern matches is `plan`'s business; here only what no folder could ever match is refused.

use super::error::{Error, Fault, shown};
use super::raw;
use super::reader::Written;
use super::value::Read;
use crate::plan::FolderRules;
use std::collections::HashMap;

/// Accepts a pattern of include or exclude.
pub(super) fn pattern(text: &str) -> Read<String> {
    path(text)?;
    if text.contains("***") {
        return Err(Fault::new(format!("{} has more than two stars together", shown(text)))
            .hint("* stands for anything within one part of a path, ** for anything at all"));
    }
    Ok(text.to_owned())
}

/// Accepts a folder's whole path, its parts joined by `/`.
fn path(text: &str) -> Read<()> {
    if text.is_empty() {
        return Err(Fault::new("is empty").hint(r#"write a folder's path, such as "Archive/2020""#));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(Fault::new("holds a control character (a line end, a tab or NUL)").hint("remove it"));
    }
    if let Some(bare) = text.strip_suffix('/') {
        return Err(Fault::new(format!("{} ends with /", shown(text)))
            .hint(format!("write {}: what lies below a folder goes with it", shown(bare))));
    }
    if let Some(bare) = text.strip_prefix('/') {
        return Err(Fault::new(format!("{} begins with /", shown(text))).hint(format!("write {}", shown(bare))));
    }
    if text.contains("//") {
        return Err(Fault::new(format!("{} has an empty part", shown(text))).hint("write one / between two parts"));
    }
    Ok(())
}

/// Puts the rules together and looks for those that contradict each other. None with errors noted.
pub(super) fn rules(written: &raw::Folders, defaults: &raw::Folders, errors: &mut Vec<Error>) -> Option<FolderRules> {
    let before = errors.len();
    let include = written.include.or(&defaults.include);
    let exclude = written.exclude.or(&defaults.exclude);
    let rename = written.rename.or(&defaults.rename);
    if let (Some(include), Some(exclude)) = (include.value(), exclude.value()) {
        for wanted in include {
            let same = |unwanted: &&Written<String>| folder_key(&unwanted.value) == folder_key(&wanted.value);
            if let Some(unwanted) = exclude.iter().find(same) {
                let fault = Fault::new(format!("{} is excluded and included", shown(&unwanted.value)));
                errors
                    .push(unwanted.place.error(fault.hint(format!("remove it here or in line {}", wanted.place.line))));
            }
        }
    }
    if let Some(pairs) = rename.value() {
        renames(pairs, errors);
    }
    if errors.len() > before {
        return None;
    }
    let values = |list: &Vec<Written<String>>| list.iter().map(|pattern| pattern.value.clone()).collect();
    Some(FolderRules {
        include: include.value().map(values)?,
        exclude: exclude.value().map(values)?,
        rename: rename.value()?.iter().map(|(from, to)| (from.value.clone(), to.value.clone())).collect(),
        shared: *written.shared.or(&defaults.shared).value()?,
    })
}

fn renames(pairs: &[(Written<String>, Written<String>)], errors: &mut Vec<Error>) {
    let mut sources: HashMap<String, &Written<String>> = HashMap::new();
    let mut targets: HashMap<String, &Written<String>> = HashMap::new();
    for (from, to) in pairs {
        for name in [from, to] {
            let star = || {
                Fault::new(format!("{} holds a star, and a rename is of one folder", shown(&name.value)))
                    .hint("write the folder's path; what lies below goes with it")
            };
            let fault = path(&name.value).err().or_else(|| name.value.contains('*').then(star));
            errors.extend(fault.map(|fault| name.place.error(fault)));
        }
        if let Some(first) = sources.insert(folder_key(&from.value), from) {
            let fault = Fault::new(format!("the same folder as {}, renamed twice", shown(&first.value)));
            errors.push(from.place.error(fault.hint("keep one of the two")));
        }
        if let Some(first) = targets.insert(folder_key(&to.value), from) {
            let fault = Fault::new(format!(
                "{} and {} would both become {}",
                shown(&first.value),
                shown(&from.value),
                shown(&to.value)
            ));
            errors.push(from.place.error(fault.hint("two folders cannot become one: give each a name of its own")));
        }
    }
}

/// Folders are the same when these are equal: case counts but for `INBOX` (RFC 9051, 5.1).
fn folder_key(path: &str) -> String {
    match path.split_once('/') {
        Some((first, rest)) if first.eq_ignore_ascii_case("INBOX") => format!("INBOX/{rest}"),
        None if path.eq_ignore_ascii_case("INBOX") => "INBOX".to_owned(),
        _ => path.to_owned(),
    }
}
