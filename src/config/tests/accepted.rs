//! Good job files and what they mean.

use super::*;
use crate::auth::{Credential, Secret, SecretSource};
use crate::net::{Fingerprint, Tls};
use crate::pace::Rate;
use std::time::Duration;

fn password(mailbox: &Mailbox) -> &SecretSource {
    match &mailbox.sign_in.credential {
        Credential::Password(source) | Credential::Token(source) => source,
    }
}

/// A job that says nearly all a job can say.
const MANUAL: &str = r#"
name = "acme to microsoft 365"
order = "newest"

[source]
host = "imap.old.example"
port = 1993
tls = "implicit"
ca_file = "ca.pem"

[target]
provider = "microsoft365"

[limits]
messages_per_second = 10
bytes_per_second = "1 MiB"
connections = 4
[limits.target]
messages_per_second = 0.5
bytes_per_second = "unlimited"
[limits.host]
connections = "unlimited"

[folders]
include = ["INBOX", "Archive/**"]
exclude = ["Calendar", "Contacts/*"]
rename = { "Sent Items" = "Sent", Alt = "Neu/Alt" }
shared = true

[transfer]
accounts = 2
outage = "90m"
first_contact = "0s"
timeout = "1m 30s"
settle = "0s"
late = "1m"
sample = 0.25
spool_above = "300 KiB"
memory = "64MB"

[[account]]
source = { user = "info@acme.example", password = { env = "INFO_OLD" } }
target = { user = "info@acme.example", token = { command = "./get-token 'info@acme.example'" } }

[[account]]
name = "boss"
source = { user = "boss@acme.example", password = { file = "secrets/boss" }, host = "127.0.0.1", tls = "none" }
target = { user = "boss@acme.example", password = "open secret" }
"#;

#[test]
fn a_job_means_what_it_says() {
    let job = job(MANUAL);
    assert_eq!((job.name.as_str(), job.order), ("acme to microsoft 365", plan::Order::Newest));
    let rates = |messages, bytes| Rates {
        messages_per_second: Some(messages).into(),
        bytes_per_second: Rate::from(bytes),
        commands_per_second: Rate::from(None),
    };
    assert_eq!(job.source_limits, Limits { rates: rates(10.0, Some(1048576.0)), connections: 4 });
    assert_eq!(job.target_limits, Limits { rates: rates(0.5, None), connections: 4 });
    assert_eq!(job.host_connections, None);
    assert_eq!(job.folders.include, ["INBOX", "Archive/**"]);
    assert_eq!(job.folders.exclude, ["Calendar", "Contacts/*"]);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(job.folders.rename, [pair("Sent Items", "Sent"), pair("Alt", "Neu/Alt")]);
    assert!(job.folders.shared);
    let options = transfer::Options {
        deleted: false,
        accounts: 2,
        outage: Some(Duration::from_secs(5400)),
        first_contact: Duration::ZERO,
        timeout: Duration::from_secs(90),
        settle: Duration::ZERO,
        late: Duration::from_secs(60),
        sample: 0.25,
        spool_above: 300 << 10,
        memory: 64_000_000,
    };
    assert_eq!(job.options, options);

    assert_eq!(
        job.warnings,
        [
            "/jobs/job.toml:48: account[2].target.password: a secret is written in the file itself\n  hint: better { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }"
        ]
    );
}

#[test]
fn accounts_mean_what_they_say() {
    let job = job(MANUAL);
    let [info, boss] = &job.accounts[..] else { panic!("two accounts") };
    assert_eq!((info.name.as_str(), boss.name.as_str()), ("info@acme.example", "boss"));
    assert_eq!((info.source.endpoint.host.as_str(), info.source.endpoint.port), ("imap.old.example", 1993));
    assert_eq!(info.source.endpoint.trust.ca_file.as_deref(), Some(Path::new("/jobs/ca.pem")));
    assert!(*password(&info.source) == SecretSource::Env("INFO_OLD".to_owned()));
    assert_eq!((info.target.endpoint.host.as_str(), info.target.endpoint.port), ("outlook.office365.com", 993));
    assert!(matches!(info.target.sign_in.credential, Credential::Token(_)));
    let argv = vec!["/jobs/./get-token".to_owned(), "info@acme.example".to_owned()];
    assert!(*password(&info.target) == SecretSource::Command { argv, directory: "/jobs".into() });
    assert!(*password(&boss.source) == SecretSource::File("/jobs/secrets/boss".into()));
    assert!(*password(&boss.target) == SecretSource::Plain(Secret::new("open secret".to_owned())));
}

/// The endpoints of one account: what the job says of the source, and the account.
fn endpoint(section: &str, account: &str) -> Endpoint {
    let text = format!(
        "[source]\n{section}\n[target]\nhost = \"new.example\"\n[[account]]\n\
         source = {{ user = \"info\", password = {{ env = \"A\" }}, {account} }}\n\
         target = {{ user = \"info\", password = {{ env = \"A\" }} }}\n"
    );
    job(&text).accounts[0].source.endpoint.clone()
}

#[test]
fn what_is_nearer_comes_first() {
    for (section, account, expected) in [
        ("host = \"a.example\"", "", ("a.example", 993, Tls::Implicit)),
        ("host = \"a.example\"\ntls = \"starttls\"", "", ("a.example", 143, Tls::StartTls)),
        ("host = \"127.0.0.1\"\ntls = \"none\"", "", ("127.0.0.1", 143, Tls::None)),
        ("host = \"a.example\"\nport = 1993", "host = \"b.example\"", ("b.example", 1993, Tls::Implicit)),
        ("host = \"a.example\"\nport = 1993", "provider = \"gmail\"", ("imap.gmail.com", 993, Tls::Implicit)),
        ("provider = \"proton-bridge\"", "", ("127.0.0.1", 1143, Tls::StartTls)),
        ("provider = \"proton-bridge\"", "host = \"b.example\"", ("b.example", 993, Tls::Implicit)),
        ("provider = \"proton-bridge\"", "port = 1144", ("127.0.0.1", 1144, Tls::StartTls)),
        ("provider = \"gmail\"\nport = 1993", "", ("imap.gmail.com", 1993, Tls::Implicit)),
        ("provider = \"gmail\"\ntls = \"starttls\"", "", ("imap.gmail.com", 143, Tls::StartTls)),
        ("provider = \"gmail\"\nhost = \"relay.example\"", "", ("relay.example", 993, Tls::Implicit)),
        ("tls = \"starttls\"", "host = \"IMAP.B.example.\"", ("imap.b.example", 143, Tls::StartTls)),
        ("", "host = \"::1\", tls = \"none\"", ("::1", 143, Tls::None)),
    ] {
        let Endpoint { host, port, tls, .. } = endpoint(section, account);
        assert_eq!((host.as_str(), port, tls), expected, "{section} / {account}");
    }
    let slow = "host = \"a.example\"\nconnect_timeout = \"5s\"";
    assert_eq!(endpoint(slow, "provider = \"gmail\"").connect_timeout, Duration::from_secs(5));
}

#[test]
fn trust_goes_with_the_server_it_was_written_for() {
    let pin = Some(Fingerprint([0xab; 32]));
    let with_colons = format!("host = \"a.example\"\npin = \"SHA256:{}AB\"", "AB:".repeat(31));
    let plain = format!("host = \"a.example\"\npin = \"sha256:{}\"", "ab".repeat(32));
    for section in [&with_colons, &plain] {
        assert_eq!(endpoint(section, "").trust.pin, pin);
        assert_eq!(endpoint(section, "host = \"b.example\"").trust.pin, pin, "a pin is not lost by accident");
        assert_eq!(endpoint(section, "provider = \"gmail\"").trust.pin, None);
        assert_eq!(endpoint(section, "host = \"localhost\", tls = \"none\"").trust.pin, None);
    }
    let authority = "host = \"a.example\"\nca_file = \"ca.pem\"";
    assert_eq!(endpoint(authority, "").trust.ca_file.as_deref(), Some(Path::new("/jobs/ca.pem")));
    assert_eq!(endpoint(authority, "provider = \"gmail\"").trust.ca_file, None);
    let pinned = format!("pin = \"sha256:{}\"", "ab".repeat(32));
    assert_eq!(endpoint(authority, &pinned).trust, crate::net::Trust { ca_file: None, pin });
}

#[test]
fn an_administrator_signs_in_for_all_who_bring_no_secret() {
    let job = job(r#"
[source]
host = "a.example"
admin = "master"
password = { env = "MASTER" }
[target]
host = "b.example"
token = { command = ["get-token"] }
[[account]]
source = { user = "one" }
target = { user = "one" }
[[account]]
source = { user = "two", password = { env = "TWO" } }
target = { user = "two", password = { env = "TWO" } }
"#);
    let [one, two] = &job.accounts[..] else { panic!("two accounts") };
    assert_eq!(one.source.sign_in.admin.as_deref(), Some("master"));
    assert!(*password(&one.source) == SecretSource::Env("MASTER".to_owned()));
    assert!(matches!(one.target.sign_in.credential, Credential::Token(_)));
    assert_eq!(two.source.sign_in.admin, None);
    assert!(*password(&two.source) == SecretSource::Env("TWO".to_owned()));
    assert!(matches!(two.target.sign_in.credential, Credential::Password(_)));
}

#[test]
fn accounts_files_are_read_in_many_dialects() {
    let text = format!("accounts = \"acme.csv\"\n{SERVERS}");
    let rows = [
        "source_user,source_password_env,target_user,target_password_file,name\none,ONE,eins,secrets/eins,First\ntwo,TWO,zwei,secrets/zwei,\n",
        "\u{feff}Source User;source-password-env;target_user;target_password_file;NAME\r\none;ONE;eins;secrets/eins;First\r\n;;;;\r\n\r\ntwo;TWO;zwei;secrets/zwei;",
        "name\ttarget_user\ttarget_password_file\tsource_user\tsource_password_env\n\"First\"\t eins \tsecrets/eins\tone\tONE\n\tzwei\tsecrets/zwei\ttwo\tTWO",
    ];
    for table in rows {
        let Ok(job) = read(&text, &[("acme.csv", table.as_bytes())]) else { panic!("{table}") };
        let [one, two] = &job.accounts[..] else { panic!("two accounts: {table}") };
        assert_eq!((one.name.as_str(), two.name.as_str()), ("First", "two"));
        assert_eq!((one.source.sign_in.user.as_str(), one.target.sign_in.user.as_str()), ("one", "eins"));
        assert!(*password(&two.source) == SecretSource::Env("TWO".to_owned()));
        assert!(*password(&two.target) == SecretSource::File("/jobs/secrets/zwei".into()));
        assert_eq!(two.source.endpoint.host, "imap.old.example");
    }
    let table = "source_user,source_password,source_host,source_port,source_tls,source_admin,target_user,target_token_command,target_provider\n\
                 one,\"a,\"\"b\"\" c\",b.example,1143,starttls,root,eins,get-token eins,gmail\n";
    let Ok(job) = read(&text, &[("acme.csv", table.as_bytes())]) else { panic!("{table}") };
    let Account { source, target, .. } = &job.accounts[0];
    assert!(*password(source) == SecretSource::Plain(Secret::new("a,\"b\" c".to_owned())));
    assert_eq!(
        (source.endpoint.host.as_str(), source.endpoint.port, source.endpoint.tls),
        ("b.example", 1143, Tls::StartTls)
    );
    assert_eq!(source.sign_in.admin.as_deref(), Some("root"));
    assert_eq!(target.endpoint.host, "imap.gmail.com");
    assert!(
        matches!(&target.sign_in.credential, Credential::Token(SecretSource::Command { argv, .. }) if argv == &["get-token", "eins"])
    );
}

#[test]
fn a_digest_changes_with_the_job_and_with_its_accounts() {
    let text = format!("{SERVERS}{ACCOUNT}");
    let sha256 = |text: &str| Digest(Sha256::digest(text).into());
    assert_eq!(job(&text).digest, sha256(&text));
    let text = format!("accounts = \"a.csv\"\n{SERVERS}");
    let digest = |table: &str| read(&text, &[("a.csv", table.as_bytes())]).ok().unwrap().digest;
    let table = "source_user,source_password_env,target_user,target_password_env\na,A,b,B\n";
    assert_eq!(digest(table), sha256(&format!("{text}{table}")));
    assert_ne!(digest(table), digest(&table.replace("b,B", "c,B")));
}

#[test]
fn accounts_without_a_name_can_be_told_apart() {
    let account = |name: &str, host: &str, target: &str| {
        format!(
            "[[account]]\n{name}\nsource = {{ user = \"info\", host = \"{host}\", password = {{ env = \"A\" }} }}\ntarget = {{ user = \"{target}\", password = {{ env = \"A\" }} }}\n"
        )
    };
    let text = format!(
        "[target]\nhost = \"new.example\"\n{}{}{}{}",
        account("", "a.example", "1"),
        account("", "b.example", "2"),
        account("name = \"info at c.example\"", "x.example", "3"),
        account("", "c.example", "4"),
    );
    let names: Vec<String> = job(&text).accounts.into_iter().map(|account| account.name).collect();
    assert_eq!(names, ["info", "info at b.example", "info at c.example", "info (2)"]);
}

#[test]
fn what_is_not_advised_is_accepted_and_said() {
    let warnings = |section: &str, source: &str, more: &str| {
        let text = format!(
            "[source]\nhost = \"a.example\"\n{section}\n[target]\nhost = \"b.example\"\n[[account]]\nsource = {{ user = \"info\", {source} }}\n\
             target = {{ user = \"info\", password = {{ env = \"B\" }} }}\n{more}"
        );
        job(&text).warnings.join("\n").replace("/jobs/", "")
    };
    let env = "password = { env = \"A\" }";
    insta::assert_snapshot!(warnings("tls = \"none\"\nplaintext = \"allowed\"", env, ""), @r#"
    job.toml:3: source.tls: without TLS the password and all mail can be read on the way to a.example
    "#);
    insta::assert_snapshot!(warnings("port = 143", env, ""), @r#"
    job.toml:3: source.port: port 143 usually speaks plain text first: tls = "starttls"
    "#);
    insta::assert_snapshot!(warnings("port = 993\ntls = \"starttls\"", env, ""), @r#"
    job.toml:3: source.port: port 993 usually speaks TLS from the first byte: tls = "implicit"
    "#);
    insta::assert_snapshot!(warnings("port = 995", env, ""), @r#"
    job.toml:3: source.port: this is usually POP3's port; IMAP is at 993 or 143
    "#);
    insta::assert_snapshot!(warnings("", "password = { file = \"open\" }", ""), @r#"
    job.toml:7: account[1].source.password: others on this machine may read open
      hint: close it with: chmod 600
    "#);
    let more = "[[account]]\nsource = { user = \"Info\", password = \"a\" }\ntarget = { user = \"other\", password = \"b\" }\n";
    insta::assert_snapshot!(warnings("", env, more), @r#"
    job.toml:10: account[2].source.user: differs from the user in line 7 in upper and lower case only
      hint: most servers take both for one mailbox
    job.toml:10: account[2].source.password: 2 secrets, this one and others below, are written in the file itself
      hint: better { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }
    "#);
}

#[test]
fn every_example_is_a_job() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let table = std::fs::read(directory.join("acme.csv")).unwrap();
        let files: [(&str, &[u8]); 3] =
            [("acme.csv", &table), ("old-host-ca.pem", CERTIFICATE), ("certificates/own-ca.pem", CERTIFICATE)];
        match parse(&text, Path::new("/jobs/example.toml"), &context(&files)) {
            Ok(job) => assert_eq!(job.warnings, Vec::<String>::new(), "{}", path.display()),
            Err(errors) => panic!("{}: {errors}", path.display()),
        }
    }
    assert!(count >= 8, "{count} examples");
}

#[test]
#[cfg(unix)]
fn the_machine_itself_is_asked() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "x").unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let file = || System.secret_file(&path).unwrap();
    mode(0o600);
    assert_eq!(file(), SecretFile { is_directory: false, is_empty: false, is_open_to_others: false });
    assert!(!System.has_program(path.to_str().unwrap()));
    mode(0o740);
    assert!(file().is_open_to_others);
    assert!(System.has_program(path.to_str().unwrap()));
    std::fs::write(&path, "").unwrap();
    assert!(file().is_empty);
    assert!(System.secret_file(directory.path()).unwrap().is_directory);
    assert!(System.secret_file(&directory.path().join("none")).is_err());
    assert!(System.is_directory(directory.path()) && !System.is_directory(&path));
    assert!(System.has_program("sh") && !System.has_program("mailhaul-no-such-program"));
    assert!(System.has_variable("PATH") && !System.has_variable("MAILHAUL_NO_SUCH_VARIABLE"));

    let job_path = directory.path().join("job.toml");
    std::fs::write(
        &job_path,
        format!("{SERVERS}{ACCOUNT}")
            .replace("env = \"OLD\"", "env = \"PATH\"")
            .replace("env = \"NEW\"", "command = \"sh\""),
    )
    .unwrap();
    assert_eq!(load(&job_path, &Context::terminal()).ok().unwrap().path, job_path);
    let daemon_path = directory.path().join("daemon.toml");
    std::fs::write(&daemon_path, "jobs = \".\"\n").unwrap();
    assert_eq!(load_daemon(&daemon_path).unwrap().poll, Duration::from_secs(5));
}

/// Gives the messages a second that a job allows at some times of November 2026, whose 2nd is a Monday.
#[track_caller]
fn check_times(limits: &str, of: fn(&Job) -> &Rates, expected: &[(&str, Option<f64>)]) {
    let job = job(&format!("{SERVERS}{limits}\n{ACCOUNT}"));
    for (time, rate) in expected {
        let at = humantime::parse_rfc3339(&format!("2026-11-{time}:00Z")).unwrap();
        assert_eq!(of(&job).messages_per_second.at(at), *rate, "{time}");
    }
}

#[test]
fn the_nearest_table_counts_and_its_hours_before_what_it_says_else() {
    const LIMITS: &str = r#"
[limits]
utc_offset = "+01:00"
messages_per_second = 20
[[limits.times]]
days = "mon-fri"
hours = "08:00-18:00"
messages_per_second = 5
[[limits.times]]
days = "mon"
bytes_per_second = "1 MiB"
[limits.target]
messages_per_second = 10
[[limits.source.times]]
hours = "12:00-13:00"
messages_per_second = "unlimited"
[limits.host]
messages_per_second = 100
[[limits.host.times]]
days = "sat,sun"
messages_per_second = 200
"#;
    let source = [
        ("02T06:59", Some(20.0)),
        ("02T07:00", Some(5.0)),
        ("02T11:00", None),
        ("02T12:00", Some(5.0)),
        ("02T17:00", Some(20.0)),
        ("07T09:00", Some(20.0)),
        ("07T11:30", None),
    ];
    check_times(LIMITS, |job| &job.source_limits.rates, &source);
    check_times(LIMITS, |job| &job.target_limits.rates, &[("02T09:00", Some(5.0)), ("02T20:00", Some(10.0))]);
    let host =
        [("06T22:59", Some(100.0)), ("06T23:00", Some(200.0)), ("08T22:59", Some(200.0)), ("08T23:00", Some(100.0))];
    check_times(LIMITS, |job| &job.host_rates, &host);
}

#[test]
fn a_days_allowance_is_what_is_written_or_what_the_provider_is_known_to_allow() {
    use crate::pace::DayBegin::{Pacific, Utc};
    let gmail = "[source]\nhost = \"imap.old.example\"\n[target]\nprovider = \"gmail\"\n";
    let of = |servers: &str, limits: &str| {
        let job = job(&format!("{servers}{limits}\n{ACCOUNT}"));
        let days = [
            job.accounts[0].source.bytes_per_day,
            job.accounts[0].target.bytes_per_day,
            job.accounts[0].target.host_bytes_per_day,
        ];
        days.map(|day| day.map(|day| (day.bytes, day.begins)))
    };
    assert_eq!(of(SERVERS, ""), [None; 3]);
    assert_eq!(of(gmail, ""), [None, Some((500_000_000, Pacific)), None]);
    let old_name = "[source]\nhost = \"imap.googlemail.com\"\n[target]\nhost = \"imap.new.example\"\n";
    assert_eq!(of(old_name, ""), [Some((2_500_000_000, Pacific)), None, None]);
    let shared = "[limits.host]\nbytes_per_day = \"4 MB\"";
    assert_eq!(of(gmail, shared)[2], Some((4_000_000, Pacific)));
    let swapped = "[source]\nhost = \"IMAP.gmail.com\"\n[target]\nhost = \"imap.new.example\"\n";
    assert_eq!(of(swapped, ""), [Some((2_500_000_000, Pacific)), None, None]);
    assert_eq!(of(gmail, "[limits.target]\nbytes_per_day = \"unlimited\""), [None; 3]);
    assert_eq!(of(gmail, "[limits.target]\nbytes_per_day = \"1 GB\""), [None, Some((1_000_000_000, Pacific)), None]);
    let both = "[limits]\nbytes_per_day = \"2 MB\"\nutc_offset = \"+01:00\"\nday_begins = \"06:00\"\n\
                [limits.source]\nbytes_per_day = \"3 MB\"\nday_begins = \"00:00 -08:00\"\n\
                [limits.host]\nbytes_per_day = \"4 MB\"";
    assert_eq!(
        of(SERVERS, both),
        [Some((3_000_000, Utc(480))), Some((2_000_000, Utc(300))), Some((4_000_000, Utc(300)))]
    );
    let plain = "[limits]\nbytes_per_day = \"2 MB\"\nutc_offset = \"+01:00\"";
    assert_eq!(of(SERVERS, plain), [Some((2_000_000, Utc(1380))), Some((2_000_000, Utc(1380))), None]);
}
