//! The real servers themselves: what the other tests take for granted about them.

use crate::support::authority::Certificate;
use crate::support::client::{Address, Client, quote};
use crate::support::compare::{self, Comparison, Kind};
use crate::support::response::Status;
use crate::support::{Courier, Cyrus, Dovecot, courier, cyrus, dovecot, is_available};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

const MAIL: &[u8] = b"Subject: kept\r\n\r\nkept\r\n";

#[test]
fn two_dovecots_run_at_once_with_a_store_each() {
    let Some(one) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let other = Dovecot::start(dovecot::Options { prefix: "INBOX.", separator: '.', ..Default::default() });
    one.client("info").store("INBOX", "\\Seen", "", MAIL);
    assert_eq!(one.client("info").status("INBOX", "MESSAGES UNSEEN"), [1, 0]);
    assert_eq!(other.client("info").status("INBOX", "MESSAGES"), [0]);
    other.client("info").ok("CREATE INBOX.a.b");
    let names: Vec<String> = other.client("info").list().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, ["INBOX", "INBOX.a", "INBOX.a.b"]);
}

#[test]
fn dovecot_starts_again_with_its_mail_and_ports() {
    let Some(mut server) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    server.client("info").store("INBOX", "", "", MAIL);
    let address = server.address();
    for take_down in [Dovecot::stop, Dovecot::kill] {
        let mut client = server.client("info");
        take_down(&mut server);
        client.command("NOOP").and_then(|_| client.command("NOOP")).expect_err("the connection is closed");
        assert!(Client::connect(&address).is_err());
        server.start_again();
        assert_eq!(Client::sign_in(&address, "info", dovecot::PASSWORD).fetch_all("INBOX")[0].body, MAIL);
    }
}

#[test]
fn cyrus_starts_again_with_its_mail_and_ports() {
    let Some(mut server) = Cyrus::start_or_skip(cyrus::Options::default()) else { return };
    server.client("u0001").store("INBOX", "\\Flagged", "", MAIL);
    for take_down in [Cyrus::stop, Cyrus::kill] {
        take_down(&mut server);
        assert!(Client::connect(&server.address()).is_err());
        server.start_again();
        assert_eq!(server.client("u0001").fetch_all("INBOX")[0].body, MAIL);
    }
}

#[test]
fn courier_starts_again_with_its_mail_and_ports() {
    let Some(mut server) = Courier::start_or_skip(courier::Options::default()) else { return };
    server.client("u0001").store("INBOX", "\\Flagged $Label", "", MAIL);
    for take_down in [Courier::stop, Courier::kill] {
        take_down(&mut server);
        assert!(Client::connect(&server.address()).is_err());
        server.start_again();
        let kept = &server.client("u0001").fetch_all("INBOX")[0];
        assert_eq!((kept.body.as_slice(), kept.flags.len()), (MAIL, 2));
        assert!(server.client("u0002").fetch_all("INBOX").is_empty());
    }
}

#[test]
fn cyrus_has_both_namespaces() {
    for (alternative_namespace, name) in [(false, "INBOX.Sent"), (true, "Sent")] {
        let options = cyrus::Options { alternative_namespace, ..Default::default() };
        let Some(server) = Cyrus::start_or_skip(options) else { return };
        let mut client = server.client("u0005");
        client.ok(&format!("CREATE {name}"));
        let names: Vec<String> = client.list().into_iter().map(|listed| listed.name).collect();
        assert_eq!(names, ["INBOX", name]);
    }
}

#[test]
fn no_process_and_no_file_outlives_a_server() {
    if is_available(Dovecot::available()) {
        let server = Dovecot::start(dovecot::Options::default());
        let client = server.client("info");
        assert_gone(server.ca_file().parent().unwrap(), || drop(server));
        drop(client);
    }
    if is_available(Cyrus::available()) {
        let server = Cyrus::start(cyrus::Options::default());
        let client = server.client("u0001");
        assert_gone(server.ca_file().parent().unwrap(), || drop(server));
        drop(client);
    }
    if is_available(Courier::available()) {
        let server = Courier::start(courier::Options::default());
        let client = server.client("u0001");
        assert_gone(server.ca_file().parent().unwrap(), || drop(server));
        drop(client);
    }
}

/// Checks that processes name the directory before `act` and none does after.
fn assert_gone(directory: &Path, act: impl FnOnce()) {
    let directory = directory.to_owned();
    assert!(directory.exists());
    assert_ne!(processes_in(&directory), Vec::<String>::new(), "nothing is found where something runs");
    act();
    // SIGKILL has been sent to all; the kernel may take a moment on a loaded machine.
    let begin = Instant::now();
    while !processes_in(&directory).is_empty() && begin.elapsed() < Duration::from_secs(10) {
        thread::yield_now();
    }
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}

/// Gives the command lines of processes that name a directory or work in it.
fn processes_in(directory: &Path) -> Vec<String> {
    let name = directory.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let line_of = |process: std::path::PathBuf| {
        let line = String::from_utf8_lossy(&fs::read(process.join("cmdline")).ok()?).replace('\0', " ");
        let works_here = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        // Without a command line it has ended and waits to be counted.
        (!line.is_empty() && (works_here || line.contains(&name))).then_some(line)
    };
    processes.filter_map(line_of).collect()
}

#[test]
fn a_server_dies_with_its_owner() {
    if !is_available(Dovecot::available()) {
        return;
    }
    // The owner is this very test binary, started again to leave a server behind.
    let me = std::env::current_exe().unwrap();
    let mut owner = std::process::Command::new(me)
        .args(["servers::leaves_a_server_behind", "--exact", "--nocapture"])
        .env(LEAVE, "1")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(owner.stdout.take().unwrap());
    let lines = std::io::BufRead::lines(output).map_while(Result::ok);
    let said = lines.filter_map(|line| line.split_once("left: ").map(|(_, rest)| rest.to_owned())).next().unwrap();
    let (port, directory) = said.split_once(' ').unwrap();
    let address = Address::plain(port.parse().unwrap());
    assert!(Client::connect(&address).is_ok());
    owner.kill().unwrap();
    owner.wait().unwrap();
    while Path::new(directory).exists() {
        thread::yield_now();
    }
    assert!(Client::connect(&address).is_err());
}

/// Set in the process that [`a_server_dies_with_its_owner`] kills.
const LEAVE: &str = "MAILHAUL_TEST_LEAVE";

#[test]
fn leaves_a_server_behind() {
    if std::env::var_os(LEAVE).is_none() {
        return;
    }
    let server = Dovecot::start(dovecot::Options::default());
    println!("left: {} {}", server.imap(), server.ca_file().parent().unwrap().display());
    thread::park();
}

#[test]
fn certificates_are_what_they_are_called() {
    let expected = [
        (Certificate::Good, None),
        (Certificate::Expired, Some("expired")),
        (Certificate::WrongName, Some("not valid for name")),
        (Certificate::SelfSigned, Some("UnknownIssuer")),
    ];
    for (certificate, complaint) in expected {
        let options = dovecot::Options { certificate, ..Default::default() };
        let Some(server) = Dovecot::start_or_skip(options) else { return };
        let error = Client::connect(&server.address()).err().map(|error| error.to_string());
        match (complaint, error) {
            (None, None) => (),
            (Some(complaint), Some(error)) => assert!(error.contains(complaint), "{certificate:?}: {error}"),
            (_, error) => panic!("{certificate:?}: {error:?}"),
        }
    }
}

#[test]
fn dovecot_limits_what_it_is_told_to() {
    let options = dovecot::Options {
        quota: Some(dovecot::Quota { storage: "10k", message_max: "5k" }),
        capability: Some("IMAP4rev1"),
        connections_max: 2,
        ..Default::default()
    };
    let Some(server) = Dovecot::start_or_skip(options) else { return };
    let mut client = server.client("info");
    let reply = client.ok("CAPABILITY");
    assert_eq!(reply.all("CAPABILITY").next().unwrap().to_string(), "* CAPABILITY IMAP4rev1");
    assert!(client.append("INBOX", "", "", &[b'x'; 6000]).unwrap().done.has_code("LIMIT"));
    for _ in 0..2 {
        client.store("INBOX", "", "", &[b'x'; 4500]);
    }
    assert!(client.append("INBOX", "", "", &[b'x'; 4500]).unwrap().done.has_code("OVERQUOTA"));
    let _second = server.client("info");
    let mut third = Client::connect(&server.address()).unwrap();
    let refused = third.command(format!("LOGIN info {}", dovecot::PASSWORD)).unwrap();
    assert_eq!(refused.done.status, Some(Status::No));
    assert!(refused.done.has_code("LIMIT"), "{}", refused.done);
}

#[test]
fn comparer_sees_the_same_mail_across_namespaces_and_every_planted_difference() {
    let Some(one) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let other = Dovecot::start(dovecot::Options { prefix: "INBOX.", separator: '.', ..Default::default() });
    let (mut source, mut target) = (one.client("info"), other.client("info"));
    for (client, folder) in [(&mut source, "Work/&AOQ-/\"x"), (&mut target, "INBOX.Work.&AOQ-.\"x")] {
        client.ok(&format!("CREATE {}", quote(folder)));
        client.ok(&format!("SUBSCRIBE {}", quote(folder)));
        client.store(folder, "\\Seen $Label", "01-Feb-2021 03:04:05 +0100", MAIL);
        client.store("INBOX", "", "01-Feb-2021 03:04:05 +0100", b"From a\r\nb\r\n");
    }
    compare::assert_same(&mut source, &mut target);

    let kinds = |source: &mut Client, target: &mut Client| -> Vec<Kind> {
        let differences = Comparison::default().differences(source, target);
        differences.into_iter().map(|difference| difference.kind).collect()
    };
    target.select("INBOX");
    target.ok("UID STORE 1 +FLAGS (\\Flagged)");
    assert_eq!(kinds(&mut source, &mut target), [Kind::Flags]);
    target.store("INBOX", "\\Flagged", "01-Feb-2021 03:04:05 +0100", b"From a\r\nb\r\n");
    assert_eq!(kinds(&mut source, &mut target), [Kind::Flags, Kind::Surplus]);
    target.ok("UNSUBSCRIBE \"INBOX.Work.&AOQ-.\\\"x\"");
    target.ok("CREATE INBOX.New");
    let found = kinds(&mut source, &mut target);
    assert_eq!(found, [Kind::Flags, Kind::Surplus, Kind::FolderSurplus, Kind::Subscription]);
}

#[test]
fn dovecot_believes_tokens_until_they_are_over() {
    let options = dovecot::Options { oauth: true, ..Default::default() };
    let Some(server) = Dovecot::start_or_skip(options) else { return };
    let bearer = |user: &str, token: &str| STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"));
    let bearer_new = |user: &str, token: &str| STANDARD.encode(format!("n,a={user},\x01auth=Bearer {token}\x01\x01"));
    let token = server.token("info", 60);
    for command in
        [format!("XOAUTH2 {}", bearer("info", &token)), format!("OAUTHBEARER {}", bearer_new("info", &token))]
    {
        Client::connect(&server.address()).unwrap().ok(&format!("AUTHENTICATE {command}"));
    }
    let mut client = Client::connect(&server.address()).unwrap();
    let tag = client.begin(format!("AUTHENTICATE XOAUTH2 {}", bearer("info", &server.token("info", -60)))).unwrap();
    assert_eq!(client.read().unwrap().tag, "+", "why it is refused, which has to be answered");
    client.send(b"\r\n").unwrap();
    assert_eq!(client.finish(&tag).unwrap().done.status, Some(Status::No));
    client.ok(&format!("LOGIN info {}", dovecot::PASSWORD));
}

#[test]
fn masters_sign_in_for_others() {
    let plain = |(name, password): (&str, &str), user: &str| STANDARD.encode(format!("{user}\0{name}\0{password}"));
    if let Some(server) = Dovecot::start_or_skip(dovecot::Options::default()) {
        server.client("info").ok("CREATE Mine");
        let mut client = Client::connect(&server.address()).unwrap();
        client.ok(&format!("AUTHENTICATE PLAIN {}", plain(dovecot::MASTER, "info")));
        assert_eq!(client.list().len(), 2);
    }
    if let Some(server) = Cyrus::start_or_skip(cyrus::Options::default()) {
        server.client("u0001").ok("CREATE INBOX.Mine");
        let mut client = Client::connect(&server.address()).unwrap();
        client.ok(&format!("AUTHENTICATE PLAIN {}", plain(cyrus::ADMIN, "u0001")));
        assert_eq!(client.list().len(), 2);
    }
}
