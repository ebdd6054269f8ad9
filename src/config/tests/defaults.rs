//! The file of defaults says all there is, and what it says is what happens.

use super::*;
use crate::provider;
use std::collections::BTreeSet;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// The text with its commented examples made active: lines that begin with `#` and no blank.
fn uncommented(text: &str) -> String {
    let active = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '\t'])).map(str::to_owned);
    text.lines().map(|line| active(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// Every key that stands in a document, as (table, key).
fn keys(table: &DeTable<'_>, path: &str, found: &mut BTreeSet<(String, String)>) {
    for (key, value) in table {
        let key: &str = key.get_ref();
        found.insert((path.to_owned(), key.to_owned()));
        let below = match (path, key) {
            (_, "password" | "token") => reader::SECRET.to_owned(),
            ("", _) => key.to_owned(),
            _ => format!("{path}.{key}"),
        };
        match value.get_ref() {
            DeValue::Table(table) => keys(table, &below, found),
            DeValue::Array(array) => {
                array.iter().filter_map(|item| item.get_ref().as_table()).for_each(|table| keys(table, &below, found));
            }
            _ => {}
        }
    }
}

#[test]
fn every_key_is_in_the_file_of_defaults_and_no_other() {
    let text = uncommented(DEFAULT);
    let document = DeTable::parse(&text).unwrap();
    let mut found = BTreeSet::new();
    keys(document.get_ref(), "", &mut found);
    let known: BTreeSet<(String, String)> = raw::SCHEMA
        .iter()
        .flat_map(|(table, keys)| keys.iter().map(|key| ((*table).to_owned(), (*key).to_owned())))
        .collect();
    assert_eq!(found, known);
}

#[test]
fn the_examples_in_the_file_of_defaults_are_readable() {
    let text = uncommented(DEFAULT).replace(r#", file = "secrets/info", command = ["pass", "show", "info"]"#, "");
    let mut reader = Reader::new(Path::new("default.toml"), Path::new("/jobs"), &text, raw::SCHEMA);
    assert!(raw::read(&mut reader, Path::new("/jobs")).is_some());
    assert_eq!(reader.errors, []);
}

#[test]
fn every_key_that_is_known_is_read() {
    for (table, names) in raw::SCHEMA {
        for name in *names {
            // No key takes a date.
            let (header, place) = match *table {
                "" => (String::new(), (*name).to_owned()),
                "account" => ("[[account]]".to_owned(), format!("account[1].{name}")),
                "account.source" | "account.target" => {
                    (format!("[[account]]\n[{table}]"), format!("account[1].{}.{name}", &table["account.".len()..]))
                }
                table if table.ends_with(".times") => (format!("[[{table}]]"), format!("{table}[1].{name}")),
                reader::SECRET => ("[source.password]".to_owned(), format!("source.password.{name}")),
                _ => (format!("[{table}]"), format!("{table}.{name}")),
            };
            let text = format!("{header}\n{name} = 1979-05-27\n");
            let errors = read(&text, &[]).err().unwrap();
            let found = errors.iter().any(|error| error.key == place && error.message.contains("expected"));
            assert!(found, "{place} is not read:\n{errors}");
        }
    }
}

#[test]
fn the_file_of_defaults_names_every_provider_and_column() {
    let prose = DEFAULT.replace("\n# ", " ");
    for name in provider::preset_names() {
        assert!(prose.contains(&format!(" {name},")) || prose.contains(&format!(" {name}.")), "{name}");
    }
    for name in accounts::COLUMNS {
        assert!(prose.contains(&format!(" {name},")) || prose.contains(&format!(" {name}.")), "{name}");
    }
}

#[test]
fn defaults_are_what_they_are_said_to_be() {
    let job = job(&format!("{SERVERS}{ACCOUNT}"));
    assert_eq!(job.name, "job");
    assert_eq!(job.path, Path::new("/jobs/job.toml"));
    assert_eq!(job.order, plan::Order::Oldest);
    assert_eq!(job.folders, plan::FolderRules::default());
    let limits = Limits { rates: Rates::default(), connections: 4 };
    assert_eq!((job.source_limits, job.target_limits, job.host_connections), (limits.clone(), limits, Some(20)));
    assert_eq!(job.host_rates, Rates::default());
    let options = transfer::Options {
        deleted: false,
        accounts: 8,
        outage: Some(Duration::from_secs(3600)),
        first_contact: Duration::from_secs(15),
        timeout: Duration::from_secs(120),
        settle: Duration::from_secs(2),
        late: Duration::from_secs(15),
        sample: 0.01,
        spool_above: 4 << 20,
        memory: 32 << 20,
    };
    assert_eq!(job.options, options);
    let endpoint = Endpoint {
        host: "imap.old.example".to_owned(),
        port: 993,
        tls: crate::net::Tls::Implicit,
        trust: crate::net::Trust::default(),
        connect_timeout: Duration::from_secs(20),
    };
    assert_eq!(job.accounts[0].source.endpoint, endpoint);
    assert_eq!(job.accounts[0].name, "info");
    assert_eq!(job.warnings, Vec::<String>::new());
}

#[test]
fn the_daemon_waits_for_ever_unless_told_otherwise() {
    let daemon = Context { patience: Patience::Daemon, ..context(&[]) };
    let read = |more: &str| {
        parse(&format!("{SERVERS}{ACCOUNT}{more}"), Path::new("job.toml"), &daemon).ok().unwrap().options.outage
    };
    assert_eq!(read(""), None);
    assert_eq!(read("[transfer]\noutage = \"2h\""), Some(Duration::from_secs(7200)));
    assert_eq!(read("[transfer]\noutage = \"forever\""), None);
    let at_terminal = job(&format!("{SERVERS}{ACCOUNT}[transfer]\noutage = \"forever\""));
    assert_eq!(at_terminal.options.outage, None);
}

#[test]
fn the_template_is_refused_until_its_blanks_are_filled_in() {
    let errors = read(template(), &[]).err().unwrap();
    assert_eq!(errors.iter().count(), 4, "{errors}");
    let filled = template()
        .replacen("host = \"\"", "host = \"imap.old.example\"", 1)
        .replacen("host = \"\"", "host = \"imap.new.example\"", 1)
        .replace("user = \"\"", "user = \"info@acme.example\"");
    assert_eq!(job(&filled).accounts.len(), 1);
}

#[test]
fn the_daemons_example_is_readable_and_holds_its_defaults() {
    let text = include_str!("../../../config/daemon.toml");
    let daemon = parse_daemon(text, Path::new("/etc/daemon.toml"), &context(&[])).unwrap();
    let expected = DaemonConfig { jobs: "/etc/jobs".into(), state: None, poll: Duration::from_secs(5) };
    assert_eq!(daemon, expected);
    let written = "jobs = \"/srv/jobs\"\nstate = \"state\"\n";
    let expected = DaemonConfig { jobs: "/srv/jobs".into(), state: Some("/etc/state".into()), ..expected };
    assert_eq!(parse_daemon(written, Path::new("/etc/daemon.toml"), &context(&[])).unwrap(), expected);
}
