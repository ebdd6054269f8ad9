//! What was written: a job file's keys, each by itself in its type and range, each with its place.
//!
//! Whether they fit together, and whether what they name is there, is asked in [`super::meaning`].

use super::error::Place;
use super::host::host;
use super::reader::{Given, Reader, SECRET, Schema, Table, Written};
use super::times::{self, TimeOfDay};
use super::value::{self, Read};
use super::{folders, secret};
use crate::auth::SecretSource;
use crate::net::{Fingerprint, Tls};
use crate::pace::Days;
use crate::plan::Order;
use crate::provider::Preset;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every key of a job file. What stands here is read, and config/default.toml explains it: a test holds them together.
pub(super) const SCHEMA: Schema = &[
    ("", &["name", "order", "source", "target", "limits", "folders", "transfer", "account", "accounts"]),
    ("source", SECTION),
    ("target", SECTION),
    (
        "limits",
        &[
            "messages_per_second",
            "bytes_per_second",
            "commands_per_second",
            "connections",
            "bytes_per_day",
            "day_begins",
            "utc_offset",
            "times",
            "source",
            "target",
            "host",
        ],
    ),
    ("limits.times", TIMES),
    ("limits.source", LIMITS),
    ("limits.source.times", TIMES),
    ("limits.target", LIMITS),
    ("limits.target.times", TIMES),
    ("limits.host", LIMITS),
    ("limits.host.times", TIMES),
    ("folders", &["include", "exclude", "rename", "shared"]),
    (
        "transfer",
        &[
            "accounts",
            "outage",
            "first_contact",
            "timeout",
            "settle",
            "late",
            "sample",
            "spool_above",
            "memory",
            "copy_deleted",
        ],
    ),
    ("account", &["name", "source", "target"]),
    ("account.source", MAILBOX),
    ("account.target", MAILBOX),
    (SECRET, secret::KEYS),
];

const SECTION: &[&str] = &[
    "provider",
    "host",
    "port",
    "tls",
    "ca_file",
    "pin",
    "plaintext",
    "connect_timeout",
    "compress",
    "admin",
    "password",
    "token",
];
const MAILBOX: &[&str] = &[
    "user",
    "admin",
    "password",
    "token",
    "provider",
    "host",
    "port",
    "tls",
    "ca_file",
    "pin",
    "plaintext",
    "connect_timeout",
    "compress",
];
const LIMITS: &[&str] = &[
    "messages_per_second",
    "bytes_per_second",
    "commands_per_second",
    "connections",
    "bytes_per_day",
    "day_begins",
    "times",
];
const TIMES: &[&str] = &["days", "hours", "messages_per_second", "bytes_per_second", "commands_per_second"];

/// A job file.
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) name: Given<String>,
    pub(super) order: Given<Order>,
    pub(super) source: Server,
    pub(super) target: Server,
    pub(super) limits: Limits,
    pub(super) source_limits: Limits,
    pub(super) target_limits: Limits,
    pub(super) host_limits: Limits,
    pub(super) host_connections: Given<Option<u64>>,
    pub(super) utc_offset: Given<i16>,
    pub(super) folders: Folders,
    pub(super) transfer: Transfer,
    pub(super) accounts_file: Given<PathBuf>,
    pub(super) accounts: Given<Vec<Account>>,
}

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A table of TOML.
    Table,
    /// A line of an accounts file.
    Row,
    /// Not at all.
    Nothing,
}

/// A server, and who signs in to it: `[source]`, `[target]` or one side of an account.
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) provider: Given<&'static Preset>,
    pub(super) host: Given<String>,
    pub(super) port: Given<u16>,
    pub(super) tls: Given<Tls>,
    pub(super) ca_file: Given<PathBuf>,
    pub(super) pin: Given<Fingerprint>,
    pub(super) plaintext: Given<bool>,
    pub(super) connect_timeout: Given<Duration>,
    pub(super) compress: Given<bool>,
    pub(super) user: Given<String>,
    pub(super) admin: Given<String>,
    pub(super) password: Given<SecretSource>,
    pub(super) token: Given<SecretSource>,
}

/// A table of limits. None: unlimited.
pub(super) struct Limits {
    pub(super) messages_per_second: Given<Option<f64>>,
    pub(super) bytes_per_second: Given<Option<f64>>,
    pub(super) commands_per_second: Given<Option<f64>>,
    /// Of [limits.host], whose connections may be unlimited, nothing.
    pub(super) connections: Given<u64>,
    pub(super) bytes_per_day: Given<Option<u64>>,
    pub(super) day_begins: Given<TimeOfDay>,
    pub(super) times: Vec<Hours>,
}

/// A window of a time table.
pub(super) struct Hours {
    pub(super) place: Place,
    pub(super) days: Given<Days>,
    /// Minutes after midnight.
    pub(super) hours: Given<(u16, u16)>,
    pub(super) messages_per_second: Given<Option<f64>>,
    pub(super) bytes_per_second: Given<Option<f64>>,
    pub(super) commands_per_second: Given<Option<f64>>,
}

pub(super) struct Folders {
    pub(super) include: Given<Vec<Written<String>>>,
    pub(super) exclude: Given<Vec<Written<String>>>,
    pub(super) rename: Given<Vec<(Written<String>, Written<String>)>>,
    pub(super) shared: Given<bool>,
}

pub(super) struct Transfer {
    pub(super) accounts: Given<u64>,
    pub(super) outage: Given<Option<Duration>>,
    pub(super) first_contact: Given<Duration>,
    pub(super) timeout: Given<Duration>,
    pub(super) settle: Given<Duration>,
    pub(super) late: Given<Duration>,
    pub(super) sample: Given<f64>,
    pub(super) spool_above: Given<u64>,
    pub(super) copy_deleted: Given<bool>,
    pub(super) memory: Given<u64>,
}

pub(super) struct Account {
    pub(super) place: Place,
    pub(super) name: Given<String>,
    pub(super) source: Server,
    pub(super) target: Server,
}

/// Shorter is no time for a round trip over a long line.
const TIME_MIN: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads a job file. Errors are left in `reader`; None where the file is no TOML.
pub(super) fn read(reader: &mut Reader<'_>, directory: &Path) -> Option<Job> {
    let document = reader.document()?;
    let root = reader.root(&document);
    let limits = root.table(reader, "limits", "limits");
    let source_limits = limits.table(reader, "source", "limits.source");
    let target_limits = limits.table(reader, "target", "limits.target");
    let host_limits = limits.table(reader, "host", "limits.host");
    let orders = [("oldest", Order::Oldest), ("exact", Order::Exact), ("newest", Order::Newest)];
    let source = root.table(reader, "source", "source");
    let target = root.table(reader, "target", "target");
    Some(Job {
        name: root.text(reader, "name", r#""acme to microsoft 365""#),
        order: root.read(reader, "order", |value| value::choice(value, &orders)),
        source: section(&source, reader, directory),
        target: section(&target, reader, directory),
        source_limits: side_limits(&source_limits, reader, "limits.source.times"),
        target_limits: side_limits(&target_limits, reader, "limits.target.times"),
        limits: side_limits(&limits, reader, "limits.times"),
        host_limits: self::limits(&host_limits, reader, "limits.host.times"),
        utc_offset: limits.read(reader, "utc_offset", times::utc_offset),
        host_connections: host_limits
            .read(reader, "connections", |value| value::whole_or_unlimited(value, 10_000, "20")),
        folders: folder_rules(&root.table(reader, "folders", "folders"), reader),
        transfer: transfer(&root.table(reader, "transfer", "transfer"), reader),
        accounts_file: root.path(reader, "accounts", r#""acme.csv""#),
        accounts: accounts(&root, reader, directory),
        place: root.place,
    })
}

fn section(table: &Table<'_>, reader: &mut Reader<'_>, directory: &Path) -> Server {
    server(table, reader, directory, Given::Absent)
}

fn server(table: &Table<'_>, reader: &mut Reader<'_>, directory: &Path, user: Given<String>) -> Server {
    let words = [("allowed", true), ("refused", false)];
    Server {
        place: table.place.clone(),
        form: if table.is_absent() { Form::Nothing } else { Form::Table },
        provider: table.read(reader, "provider", value::preset),
        host: table.read(reader, "host", |value| match value.as_str() {
            Some(text) => host(text),
            None => Err(value::wrong_type("a string", value).hint(r#"write host = "imap.example.com""#)),
        }),
        port: table.read(reader, "port", value::port),
        tls: table.read(reader, "tls", value::tls),
        ca_file: table.path(reader, "ca_file", r#""host-ca.pem""#),
        pin: table.read(reader, "pin", value::pin),
        plaintext: table.read(reader, "plaintext", |value| value::choice(value, &words)),
        connect_timeout: table
            .read(reader, "connect_timeout", |value| value::duration(value, (TIME_MIN, HOUR), r#""20s""#)),
        compress: table.read(reader, "compress", value::boolean),
        user,
        admin: table.read(reader, "admin", |value| user_name(value, "master")),
        password: secret::read(table, reader, "password", directory),
        token: secret::read(table, reader, "token", directory),
    }
}

fn user_name(value: &toml::de::DeValue<'_>, example: &str) -> Read<String> {
    match value.as_str() {
        Some(text) => value::user(text),
        None => Err(value::wrong_type("a string", value).hint(format!("write it in quotes, such as {example:?}"))),
    }
}

fn side_limits(table: &Table<'_>, reader: &mut Reader<'_>, times: &'static str) -> Limits {
    let connections = table.read(reader, "connections", |value| value::whole(value, 1, 100, "3"));
    Limits { connections, ..limits(table, reader, times) }
}

/// Reads what all tables of limits have; `times` names the table's time table.
fn limits(table: &Table<'_>, reader: &mut Reader<'_>, times: &'static str) -> Limits {
    let windows = match table.tables(reader, "times", times) {
        Given::Good(tables) => tables.value,
        Given::Bad | Given::Absent => Vec::new(),
    };
    Limits {
        messages_per_second: table.read(reader, "messages_per_second", value::rate),
        bytes_per_second: table.read(reader, "bytes_per_second", value::byte_rate),
        commands_per_second: table.read(reader, "commands_per_second", value::command_rate),
        connections: Given::Absent,
        bytes_per_day: table.read(reader, "bytes_per_day", value::bytes_per_day),
        day_begins: table.read(reader, "day_begins", times::day_begins),
        times: windows.iter().map(|window| hours(window, reader)).collect(),
    }
}

fn hours(table: &Table<'_>, reader: &mut Reader<'_>) -> Hours {
    Hours {
        place: table.place.clone(),
        days: table.read(reader, "days", times::days),
        hours: table.read(reader, "hours", times::hours),
        messages_per_second: table.read(reader, "messages_per_second", value::rate),
        bytes_per_second: table.read(reader, "bytes_per_second", value::byte_rate),
        commands_per_second: table.read(reader, "commands_per_second", value::command_rate),
    }
}

fn folder_rules(table: &Table<'_>, reader: &mut Reader<'_>) -> Folders {
    Folders {
        include: table.texts(reader, "include", folders::pattern),
        exclude: table.texts(reader, "exclude", folders::pattern),
        rename: table.pairs(reader, "rename"),
        shared: table.read(reader, "shared", value::boolean),
    }
}

fn transfer(table: &Table<'_>, reader: &mut Reader<'_>) -> Transfer {
    /// The smallest and largest spool threshold, and the same for the memory of the whole process.
    const SPOOL: (u64, u64) = (1 << 10, 1 << 30);
    const MEMORY: (u64, u64) = (1 << 20, 1 << 40);
    Transfer {
        accounts: table.read(reader, "accounts", |value| value::whole(value, 1, 1_000, "8")),
        outage: table.read(reader, "outage", value::patience),
        first_contact: table
            .read(reader, "first_contact", |value| value::duration(value, (Duration::ZERO, DAY), r#""15s""#)),
        timeout: table.read(reader, "timeout", |value| value::duration(value, (TIME_MIN, HOUR), r#""120s""#)),
        settle: table.read(reader, "settle", |value| value::duration(value, (Duration::ZERO, HOUR), r#""2s""#)),
        late: table.read(reader, "late", |value| value::duration(value, (Duration::ZERO, HOUR), r#""15s""#)),
        sample: table.read(reader, "sample", value::part),
        copy_deleted: table.read(reader, "copy_deleted", value::boolean),
        spool_above: table.read(reader, "spool_above", |value| value::bytes(value, SPOOL, r#""1 MiB""#)),
        memory: table.read(reader, "memory", |value| value::bytes(value, MEMORY, r#""32 MiB""#)),
    }
}

fn accounts(root: &Table<'_>, reader: &mut Reader<'_>, directory: &Path) -> Given<Vec<Account>> {
    let tables = match root.tables(reader, "account", "account") {
        Given::Good(tables) => tables,
        Given::Bad => return Given::Bad,
        Given::Absent => return Given::Absent,
    };
    let mut accounts = Vec::new();
    for table in &tables.value {
        let mut side = |name, path| {
            let table = table.table(reader, name, path);
            let user = table.read(reader, "user", |value| user_name(value, "info@acme.example"));
            server(&table, reader, directory, user)
        };
        let source = side("source", "account.source");
        let target = side("target", "account.target");
        let name = table.text(reader, "name", r#""info""#);
        accounts.push(Account { place: table.place.clone(), name, source, target });
    }
    Given::Good(Written { value: accounts, place: tables.place })
}
