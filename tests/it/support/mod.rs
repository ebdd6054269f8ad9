//!
//! Secret: how a server is brought up and taken down. Everything a server writes lies in a scratch directory of its own,
//! and it dies with the process that started it, however that ends.
//!
//! Never: reaches beyond loopback, reads configuration of the system, uses what it is there to judge.
#![allow(dead_code, reason = "a helper may wait for its test")]

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod compare;
pub(crate) mod courier;
pub(crate) mod cyrus;
pub(crate) mod dovecot;
pub(crate) mod fill;
pub(crate) mod flights;
pub(crate) mod haul;
pub(crate) mod judge;
pub(crate) mod launch;
pub(crate) mod nasty;
pub(crate) mod proxy;
pub(crate) mod response;
mod scratch;
mod token;
mod unpacked;

pub(crate) use courier::Courier;
pub(crate) use cyrus::Cyrus;
pub(crate) use dovecot::Dovecot;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Says that a test cannot be run here and why: on stderr, and in the list that `tests/run` prints at its end.
pub(crate) fn skip(name: &str, reason: &str) {
    eprintln!("skipped: {name}: {reason}");
    let Some(list) = std::env::var_os("MAILHAUL_SKIPPED") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(list).expect("the list of skipped tests");
    // One write, so that lines of tests that run at once stay whole.
    file.write_all(format!("{name}: {reason}\n").as_bytes()).expect("the list of skipped tests");
}

/// Skips the running test, by its own name, unless `available`.
pub(crate) fn is_available(available: Result<(), String>) -> bool {
    let Err(reason) = available else { return true };
    skip(std::thread::current().name().unwrap_or("a test"), &reason);
    false
}

/// Gives where `tests/servers` unpacks what cannot be installed.
fn servers_directory() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join(std::env::var_os("MAILHAUL_SERVERS").unwrap_or_else(|| "target/servers".into()))
}

/// Finds a program in PATH, or where programs of the system's administrator are.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(known).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Whom servers run as.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    user: String,
    group: String,
    uid: u32,
    gid: u32,
}

impl Identity {
    /// Gives who runs this process.
    fn own() -> Result<Self, String> {
        Ok(Self { user: id(&["-un"])?, group: id(&["-gn"])?, uid: number(&["-u"])?, gid: number(&["-g"])? })
    }

    /// Gives a user without rights, where this process may become one; else who runs it.
    fn unprivileged() -> Result<Self, String> {
        let own = Self::own()?;
        if own.uid != 0 {
            return Ok(own);
        }
        let nobody = "nobody";
        Ok(Self {
            user: nobody.into(),
            group: id(&["-gn", nobody])?,
            uid: number(&["-u", nobody])?,
            gid: number(&["-g", nobody])?,
        })
    }
}

fn id(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("id").args(arguments).output().map_err(|error| format!("no program id: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(text) } else { Err(format!("id {} fails", arguments.join(" "))) }
}

fn number(arguments: &[&str]) -> Result<u32, String> {
    let text = id(arguments)?;
    text.parse().map_err(|_| format!("id {} says {text}", arguments.join(" ")))
}
