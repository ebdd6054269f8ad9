//! The fence: which room may import which, what each never touches, and how long a file may be.
//!
//! It reads every path in `src` with a parser: imports, inline paths, attributes, and the tokens of macros. A path is followed
//! through aliases, globs and re-exports to where the item is defined; each room on the way counts as imported.
//!
//! To move a wall, change [`ROOMS`] in the same commit as the code.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

#[path = "architecture/paths.rs"]
mod paths;

use paths::{Place, Source, Sources};
use std::fs;
use std::path::{Path, PathBuf};

/// A room: its name, the rooms it may import, and what it never touches.
struct Room {
    name: &'static str,
    imports: &'static [&'static str],
    /// Single items of rooms it may not import else.
    items: &'static [(&'static str, &'static str)],
    /// Paths outside the crate.
    never: &'static [&'static str],
}

const fn room(name: &'static str, imports: &'static [&'static str]) -> Room {
    Room { name, imports, items: &[], never: &[] }
}

/// What a room without input and output, clock and chance never touches.
const PURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "futures_util",
    "rusqlite",
    "tracing",
    "log",
    "fastrand",
    "tempfile",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// The table. A room may always import itself.
const ROOMS: &[Room] = &[
    Room { never: &["tokio", "tokio_util", "futures_util", "rusqlite", "tracing"], ..room("rows", &[]) },
    // Values, wherever their rows lie.
    Room { never: PURE, ..room("mail", &["rows"]) },
    room("failure", &["mail"]),
    // A failure names its side.
    Room { items: &[("mail", "Side")], ..room("net", &["failure"]) },
    room("provider", &["mail", "failure"]),
    Room { items: &[("mail", "Side")], ..room("auth", &["failure", "net", "provider"]) },
    room("imap", &["rows", "mail", "failure", "net", "provider", "auth"]),
    Room { never: PURE, ..room("plan", &["rows", "mail", "failure", "provider"]) },
    Room { items: &[("imap", "Appended")], ..room("checkpoint", &["mail", "failure"]) },
    room("pace", &["mail", "failure"]),
    // Of the rooms it configures, their option types.
    Room {
        never: &["tokio"],
        ..room("config", &["mail", "failure", "net", "provider", "auth", "plan", "pace", "transfer"])
    },
    room("discover", &["failure", "net", "provider", "auth", "imap"]),
    room(
        "transfer",
        &[
            "rows",
            "mail",
            "failure",
            "net",
            "provider",
            "auth",
            "imap",
            "plan",
            "checkpoint",
            "pace",
            "config",
            "discover",
        ],
    ),
    room("report", &["mail", "failure", "plan", "checkpoint", "transfer"]),
    room("daemon", &["mail", "failure", "net", "config", "transfer", "report", "checkpoint"]),
    Room {
        items: &[("mail", "Side"), ("net", "Network")],
        ..room(
            "cli",
            &["failure", "provider", "auth", "discover", "config", "checkpoint", "transfer", "report", "daemon"],
        )
    },
    room("main", &["cli"]),
];

/// Crates that one room alone knows.
const ONLY: &[(&str, &str)] =
    &[("async_imap", "imap"), ("rusqlite", "checkpoint"), ("governor", "pace"), ("clap", "cli")];

/// Names that say nothing about what a module hides.
const NAMES_NEVER: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];
const FILE_LINES_MAX: usize = 800;
const MAIN_LINES_MAX: usize = 20;

/// Gives a line for every import that is not in the table, and every path that is never touched.
fn imports_refused(files: &[(&str, &str)]) -> Vec<String> {
    let sources = Sources::parse(files);
    let mut refused: Vec<String> = sources.all().flat_map(|source| refused_in(&sources, source)).collect();
    refused.sort();
    refused.dedup();
    refused
}

fn refused_in(sources: &Sources, source: &Source) -> Vec<String> {
    // The map itself shows every room.
    let Some(name) = source.room() else { return Vec::new() };
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        return vec![format!("{}: the room {name} is not in the table", source.file)];
    };
    let mut refused = Vec::new();
    for found in &source.found {
        for place in sources.places(found) {
            if let Some(why) = why_refused(room, &place) {
                refused.push(format!("{}: {why}, by `{}`", source.file, found.written()));
            }
        }
    }
    refused.extend(source.evasions.iter().map(|evasion| format!("{}: {evasion} hides what is imported", source.file)));
    refused
}

fn why_refused(room: &Room, place: &Place) -> Option<String> {
    let name = room.name;
    match place {
        Place::Inside { path, .. } if path.is_empty() => Some(format!("{name} imports the whole crate")),
        Place::Inside { path, .. } => {
            let (other, item) = (path[0].as_str(), &path[1..]);
            let is_item = |(of, one): &(&str, &str)| *of == other && item.iter().any(|part| part == one);
            let is_allowed = other == name || room.imports.contains(&other) || room.items.iter().any(is_item);
            (!is_allowed).then(|| format!("{name} imports {other}"))
        }
        Place::Outside { path, is_glob } => {
            let owner = ONLY.iter().find(|(outside, owner)| path[0] == *outside && *owner != name);
            let is_touched = |never: &&&str| {
                let mut parts = never.split("::").zip(path);
                let is_same = parts.all(|(part, other)| part == other);
                is_same && (*is_glob || never.split("::").count() <= path.len())
            };
            let never = room.never.iter().find(is_touched);
            owner
                .map(|(outside, owner)| format!("{name} uses {outside}, which is for {owner} alone"))
                .or_else(|| never.map(|never| format!("{name} uses {never}")))
        }
    }
}

/// Gives a line for every file that is too long or named for nothing.
fn shapes_refused(files: &[(&str, &str)]) -> Vec<String> {
    let mut refused = Vec::new();
    for (file, text) in files {
        let lines = text.lines().count();
        let lines_max = if *file == "src/main.rs" { MAIN_LINES_MAX } else { FILE_LINES_MAX };
        if lines > lines_max {
            refused.push(format!("{file}: {lines} lines, {lines_max} are the most"));
        }
        let sources = Sources::parse(&[(file, text)]);
        for name in sources.module_names().into_iter().filter(|name| NAMES_NEVER.contains(name)) {
            refused.push(format!("{file}: {name} says nothing about what is hidden there"));
        }
    }
    refused
}

/// Reads every Rust file below some directories of the project.
fn read(directories: &[&str]) -> Vec<(String, String)> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    directories.iter().for_each(|directory| walk(&root.join(directory), &mut files));
    files.sort();
    let name = |file: &Path| file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|file| (name(file), fs::read_to_string(file).unwrap())).collect()
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect()
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let files = read(&["src"]);
    assert!(files.len() > ROOMS.len() / 2, "the source is not found");
    let refused = imports_refused(&borrowed(&files));
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
}

#[test]
fn files_are_short_and_named_for_what_they_hide() {
    let files = read(&["src", "tests", "examples", "benches"]);
    let refused = shapes_refused(&borrowed(&files));
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
}

#[test]
fn every_room_of_the_table_knows_its_neighbours() {
    for room in ROOMS {
        let others = room.imports.iter().chain(room.items.iter().map(|(other, _)| other));
        for other in others.chain(ONLY.iter().map(|(_, owner)| owner)) {
            assert!(ROOMS.iter().any(|one| one.name == *other), "{}: no room {other}", room.name);
        }
    }
}

/// Checks what is refused in one file, beside others that are in order, by the reasons before the comma.
#[track_caller]
fn check(others: &[(&str, &str)], file: &str, text: &str, expected: &[&str]) {
    let mut files = others.to_vec();
    files.push((file, text));
    let refused = imports_refused(&files);
    let prefix = format!("{file}: ");
    let mut reasons: Vec<&str> =
        refused.iter().map(|line| line.strip_prefix(&prefix).unwrap().split(", by").next().unwrap()).collect();
    reasons.dedup();
    assert_eq!(reasons, expected, "{text}\n{refused:?}");
}

#[test]
fn an_upward_import_is_caught_however_it_is_written() {
    let table = [
        "use crate::transfer::Options;",
        "use crate::{mail::Uid, transfer::{Options as O, Event}};",
        "use crate::transfer as t;",
        "use crate::transfer::*;",
        "use super::super::transfer::Options;",
        "use self::super::super::transfer::Options;",
        "pub use crate::transfer::Options;",
        "pub(crate) use mailhaul::transfer::Options;",
        "fn f() { use crate::transfer::Options; }",
        "mod inner { use super::super::super::transfer::Options; }",
        "mod inner { mod deeper { fn f() { crate::transfer::run() } } }",
        "#[cfg(test)] mod tests { use crate::transfer::Options; }",
    ];
    for text in table {
        check(&[], "src/plan/messages.rs", text, &["plan imports transfer"]);
    }
    check(&[], "src/plan/mod.rs", "use super::transfer::Options;", &["plan imports transfer"]);
    check(&[], "src/failure.rs", "use super::net;", &["failure imports net"]);
    check(&[], "src/main.rs", "fn main() { mailhaul::transfer::run() }", &["main imports transfer"]);
}

#[test]
fn an_inline_path_is_caught_wherever_it_stands() {
    let table = [
        "fn f() { crate::imap::connect(); }",
        "fn f() { let _ = crate::imap::Session { a: 1 }; }",
        "fn f(x: crate::imap::Session) {}",
        "fn f() -> Option<Vec<crate::imap::Session>> { None }",
        "fn f<T>() where T: Into<crate::imap::Session> {}",
        "fn f(x: u8) { match x { crate::imap::LIMIT => (), _ => () } }",
        "struct S { x: Box<dyn crate::imap::Dial> }",
        "impl crate::imap::Dial for u8 {}",
        "impl From<crate::imap::Session> for u8 {}",
        "const X: usize = crate::imap::LIMIT;",
        "fn f() { <crate::imap::Session as Clone>::clone(); }",
        "#[derive(serde::Serialize)] struct S { #[serde(with = \"crate::imap::flags\")] x: u8 }",
        "#[crate::imap::attribute] fn f() {}",
        "enum E { A = crate::imap::LIMIT }",
    ];
    for text in table {
        check(&[], "src/report/mod.rs", text, &["report imports imap"]);
    }
}

#[test]
fn a_path_in_a_macro_is_caught() {
    let table = [
        "fn f() { vec![crate::imap::connect()]; }",
        "fn f() { assert_eq!(1, { let x: crate :: imap :: Session = todo(); x }); }",
        "macro_rules! m { () => { $crate::imap::connect() } }",
        "macro_rules! m { () => { use crate::{mail::Uid, imap::Session}; } }",
        "fn f() { println!(\"{}\", super::imap::LIMIT); }",
        "thread_local! { static X: Vec::<crate::imap::Session> = Vec::new(); }",
    ];
    for text in table {
        check(&[], "src/report/mod.rs", text, &["report imports imap"]);
    }
    check(&[], "src/plan/mod.rs", "fn f() { vec![tokio::spawn(x)]; }", &["plan uses tokio"]);
}

#[test]
fn a_reexport_counts_as_the_room_it_comes_from() {
    let users = [
        "use crate::transfer::Session;",
        "use crate::transfer::{self, Options}; fn f(x: transfer::Session) {}",
        "use crate::transfer as t; fn f(x: t::Session) {}",
        "fn f() { vec![crate::transfer::Session::new()]; }",
        "mod inner { use super::*; use crate::transfer; fn f(x: transfer::Session) {} }",
    ];
    let reexports = [
        "pub use crate::imap::Session; pub struct Options;",
        "pub use crate::imap::{Session, Source}; pub struct Options;",
        "pub use crate::imap::*; pub struct Options;",
        "pub use crate::imap::Connection as Session; pub struct Options;",
        "pub type Session = crate::imap::Session; pub struct Options;",
        "mod pool; pub use pool::Session; pub struct Options;",
        "use crate::imap; pub use imap::Session; pub struct Options;",
    ];
    let pool = ("src/transfer/pool.rs", "pub use crate::imap::Session;");
    let imap = ("src/imap/mod.rs", "pub struct Session; pub struct Source; pub struct Connection;");
    for reexport in reexports {
        for user in users {
            let others = [imap, pool, ("src/transfer/mod.rs", reexport)];
            check(&others, "src/report/mod.rs", user, &["report imports imap"]);
        }
        let others = [imap, pool, ("src/transfer/mod.rs", reexport)];
        check(&others, "src/report/mod.rs", "use crate::transfer::Options;", &[]);
    }
    let others = [imap, ("src/transfer/mod.rs", "pub use crate::imap::Session;")];
    check(&others, "src/report/mod.rs", "use crate::transfer::*;", &["report imports imap"]);
}

#[test]
fn the_root_of_the_crate_is_no_way_around() {
    let root = ("src/lib.rs", "pub mod mail; pub mod imap; pub use imap::Session; pub use crate::mail::Uid;");
    check(&[root], "src/report/mod.rs", "use crate::Session;", &["report imports imap"]);
    check(&[root], "src/report/mod.rs", "use crate::Uid;", &[]);
    for text in ["use crate as root;", "use crate::*;", "use super::*;", "use crate::{self as root};"] {
        check(&[], "src/report/mod.rs", text, &["report imports the whole crate"]);
    }
    check(&[], "src/report/mod.rs", "use crate::cellar::Wine;", &["report imports cellar"]);
    check(&[], "src/cellar/mod.rs", "", &["the room cellar is not in the table"]);
}

#[test]
fn of_some_rooms_only_one_item_may_be_imported() {
    let imap = ("src/imap/mod.rs", "mod append; pub use append::Appended; pub struct Session;");
    let append = ("src/imap/append.rs", "pub struct Appended;");
    let file = "src/checkpoint/mod.rs";
    for text in ["use crate::imap::Appended;", "fn f(x: crate::imap::Appended) { crate::imap::Appended::target(&x); }"]
    {
        check(&[imap, append], file, text, &[]);
    }
    for text in ["use crate::imap::{Appended, Session};", "use crate::imap;", "use crate::imap::*;"] {
        check(&[imap, append], file, text, &["checkpoint imports imap"]);
    }
}

#[test]
fn what_a_room_never_touches_is_caught() {
    let table = [
        ("src/plan/mod.rs", "use std::time::Instant;", "plan uses std::time::Instant"),
        ("src/plan/mod.rs", "use std::time::{Duration, SystemTime};", "plan uses std::time::SystemTime"),
        ("src/plan/mod.rs", "use std::time; fn f() { time::Instant::now(); }", "plan uses std::time::Instant"),
        ("src/plan/mod.rs", "use std as s; fn f() { s::fs::read(x); }", "plan uses std::fs"),
        ("src/plan/mod.rs", "use std::fs as disk; fn f() { disk::read(x); }", "plan uses std::fs"),
        ("src/plan/mod.rs", "async fn f() { ::tokio::task::yield_now().await }", "plan uses tokio"),
        ("src/plan/mod.rs", "#[tokio::test] async fn f() {}", "plan uses tokio"),
        ("src/mail/date.rs", "extern crate fastrand as chance;", "mail uses fastrand"),
        ("src/mail/date.rs", "#[tracing::instrument] fn f() {}", "mail uses tracing"),
        ("src/daemon/mod.rs", "use clap::Parser;", "daemon uses clap, which is for cli alone"),
        ("src/report/mod.rs", "use async_imap::Session;", "report uses async_imap, which is for imap alone"),
        ("src/transfer/mod.rs", "use rusqlite::Connection;", "transfer uses rusqlite, which is for checkpoint alone"),
        ("src/imap/mod.rs", "use governor::Quota;", "imap uses governor, which is for pace alone"),
        ("src/config/mod.rs", "use tokio::fs;", "config uses tokio"),
    ];
    for (file, text, expected) in table {
        check(&[], file, text, &[expected]);
    }
    let both = ["plan uses std::time::Instant"];
    check(&[], "src/plan/mod.rs", "use std::time::*;", &both);
}

#[test]
fn what_the_table_allows_is_let_through() {
    let table = [
        ("src/plan/mod.rs", "use crate::{mail::{Uid, Side}, failure, provider::Family}; use std::time::Duration;"),
        ("src/plan/messages.rs", "use super::Rules; use crate::plan::Order; fn f() { super::super::mail::Uid::MIN; }"),
        ("src/transfer/mod.rs", "use crate::{checkpoint, imap, pace, plan}; use tokio::time::Instant;"),
        ("src/imap/mod.rs", "use async_imap::Client; mod wire { use super::Client; use super::super::net::Dial; }"),
        ("src/config/mod.rs", "use crate::{auth::SignIn, mail::Digest, net::Endpoint, pace::Limits, plan, transfer};"),
        ("src/cli/mod.rs", "use clap::Parser; #[derive(clap::Args)] struct A; fn f() { crate::daemon::run() }"),
        ("src/main.rs", "fn main() -> std::process::ExitCode { mailhaul::cli::main() }"),
        (
            "src/mail/mod.rs",
            "//! See [`crate::imap`].\n/// Not `crate::transfer::run`.\nuse std::fmt; pub(in crate::mail) fn f() {}",
        ),
        ("src/plan/mod.rs", "#[cfg(test)] mod tests { use super::*; use proptest::prelude::*; use crate::mail::Uid; }"),
        ("src/lib.rs", "pub mod cli; pub use crate::transfer::run;"),
    ];
    for (file, text) in table {
        check(&[], file, text, &[]);
    }
}

#[test]
fn files_from_elsewhere_are_caught() {
    check(&[], "src/plan/mod.rs", "#[path = \"../imap/wire.rs\"] mod wire;", &["#[path] hides what is imported"]);
    check(&[], "src/plan/mod.rs", "include!(\"../imap/wire.rs\");", &["include! hides what is imported"]);
}

#[test]
fn long_files_and_empty_names_are_caught() {
    let long = "\n".repeat(FILE_LINES_MAX + 1);
    let main = "\n".repeat(MAIN_LINES_MAX + 1);
    let files = [
        ("src/plan/mod.rs", long.as_str()),
        ("src/main.rs", main.as_str()),
        ("src/plan/util.rs", ""),
        ("src/common/mod.rs", ""),
        ("src/plan/folders.rs", "mod helpers { }"),
        ("src/imap/wire.rs", "mod parse { }"),
    ];
    let refused = shapes_refused(&files);
    let names: Vec<&str> = refused.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        names,
        ["src/plan/mod.rs", "src/main.rs", "src/plan/util.rs", "src/common/mod.rs", "src/plan/folders.rs"]
    );
}

/// What `impl Session<…>` blocks of the room `imap` offer to everybody, by the end they are for.
fn session_methods(files: &[(String, String)]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (_, text) in files {
        for item in syn::parse_file(text).unwrap().items {
            let syn::Item::Impl(block) = item else { continue };
            let syn::Type::Path(of) = &*block.self_ty else { continue };
            let Some(last) = of.path.segments.last().filter(|last| last.ident == "Session" && block.trait_.is_none())
            else {
                continue;
            };
            let syn::PathArguments::AngleBracketed(ends) = &last.arguments else { continue };
            let Some(syn::GenericArgument::Type(syn::Type::Path(end))) = ends.args.first() else { continue };
            let end = end.path.segments.last().unwrap().ident.to_string();
            for method in block.items {
                if let syn::ImplItem::Fn(method) = method
                    && matches!(method.vis, syn::Visibility::Public(_))
                {
                    found.push((end.clone(), method.sig.ident.to_string()));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_session_can_do_to_both_ends_what_changes_nothing_and_the_rest_has_its_proof() {
    const BOTH: &[&str] = &[
        "append_limit",
        "capabilities",
        "changes",
        "entries",
        "examine",
        "family",
        "fetch_bodies",
        "flags",
        "folders",
        "headers",
        "heed",
        "is_usable",
        "leave",
        "list",
        "listing",
        "logout",
        "look",
        "namespace",
        "noop",
        "open",
        "recipients",
        "states",
        "status",
        "subjects",
    ];
    let files = read(&["src/imap"]);
    let methods = session_methods(&files);
    let of = |end: &str| -> Vec<&str> {
        methods.iter().filter(|(one, _)| one == end).map(|(_, method)| method.as_str()).collect()
    };
    assert_eq!(of("E"), BOTH, "a method that a source has too: does it change nothing?");
    assert_eq!(of("Source"), Vec::<&str>::new());
    let proofs = files.iter().find(|(file, _)| file.ends_with("proofs.rs")).unwrap();
    for method in of("Target") {
        assert!(proofs.1.contains(&format!("session.{method}(")), "{method} has no proof that a source lacks it");
    }
    assert_eq!(methods.len(), BOTH.len() + of("Target").len(), "{methods:?}");
}
