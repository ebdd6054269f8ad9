//! Broken job files and the whole text of what is said about them.

use super::{ACCOUNT, SERVERS, context, refused, refused_with};
use crate::config::{Context, load, parse_daemon};
use insta::assert_snapshot;
use std::path::Path;

/// A good job with more at its end.
fn with(more: &str) -> String {
    refused(&format!("{SERVERS}{ACCOUNT}{more}"))
}

/// A good job whose source says more; the first line is 1.
fn source(more: &str) -> String {
    refused(&format!("[source]\n{more}\n[target]\nhost = \"imap.new.example\"\n{ACCOUNT}"))
}

/// A good job but for its only account.
fn account(source: &str, target: &str) -> String {
    refused(&format!("{SERVERS}[[account]]\nsource = {source}\ntarget = {target}\n"))
}

const GOOD: &str = r#"{ user = "info", password = { env = "NEW" } }"#;

#[test]
fn unknown_keys_are_told_with_the_nearest_known_one() {
    assert_snapshot!(source("host = \"a.example\"\nprot = 993"), @r#"
    job.toml:3: source.prot: unknown key
      hint: did you mean "port"?
    "#);
    assert_snapshot!(source("hots = \"a.example\""), @r#"
    job.toml:2: source.hots: unknown key
      hint: did you mean "host"?
    "#);
    assert_snapshot!(with("[transfers]\nsample = 1"), @r#"
    job.toml:8: transfers: unknown key
      hint: did you mean "transfer"?
    "#);
    assert_snapshot!(with("[folders]\nzzz = 1"), @r#"
    job.toml:9: folders.zzz: unknown key
      hint: known here: include, exclude, rename, shared
    "#);
    assert_snapshot!(with("[transfer]\nexclude = []\n\"odd key\" = 1"), @r#"
    job.toml:9: transfer.exclude: unknown key
      hint: "exclude" belongs in [folders]
    job.toml:10: transfer."odd key": unknown key
      hint: known here: accounts, outage, first_contact, timeout, settle, late, sample, spool_above, memory, copy_deleted
    "#);
    assert_snapshot!(source("host = \"a.example\"\nuser = \"info\""), @r#"
    job.toml:3: source.user: unknown key
      hint: "user" belongs in [[account]] source = { … } or in [[account]] target = { … }
    "#);
    assert_snapshot!(account(r#"{ username = "info", password = { enviroment = "OLD" } }"#, GOOD), @r#"
    job.toml:6: account[1].source.username: unknown key
      hint: did you mean "user"?
    job.toml:6: account[1].source.password: unknown key
      hint: did you mean "env"?
    "#);
}

#[test]
fn wrong_types_are_told_with_an_example() {
    assert_snapshot!(source("host = 5\nport = \"993\"\ntls = true\nca_file = []\nconnect_timeout = 20"), @r#"
    job.toml:2: source.host: expected a string, found an integer
      hint: write host = "imap.example.com"
    job.toml:3: source.port: expected an integer, found a string
      hint: write the port without quotes, such as 993
    job.toml:4: source.tls: expected a string, found a boolean
      hint: write "implicit", "starttls" or "none"
    job.toml:5: source.ca_file: expected a string, found an array
      hint: write it in quotes, such as "host-ca.pem"
    job.toml:6: source.connect_timeout: expected a time with its unit, found an integer
      hint: write "20s" for seconds
    "#);
    assert_snapshot!(with("[limits]\nmessages_per_second = \"ten\"\nbytes_per_second = true\nconnections = 2.5"), @r#"
    job.toml:9: limits.messages_per_second: expected a number or "unlimited", found a string
      hint: write a number without quotes, such as 10
    job.toml:10: limits.bytes_per_second: expected a size, found a boolean
      hint: write a size such as "1 MiB"
    job.toml:11: limits.connections: expected an integer, found a float
      hint: write a whole number without quotes, such as 3
    "#);
    assert_snapshot!(with("[folders]\ninclude = \"INBOX\"\nexclude = [1, \"a\"]\nrename = [\"a\"]\nshared = \"yes\""), @r#"
    job.toml:9: folders.include: expected a list of strings, found a string
      hint: write a list of strings, such as ["Calendar", "Archive/*"]
    job.toml:10: folders.exclude: expected a string, found an integer
      hint: write a list of strings, such as ["Calendar", "Archive/*"]
    job.toml:11: folders.rename: expected a table of names, found an array
      hint: write { "Sent Items" = "Sent" }
    job.toml:12: folders.shared: expected true or false, found a string
      hint: write true or false without quotes
    "#);
    assert_snapshot!(refused("name = 1\norder = \"oldst\"\nsource = \"a\"\n[account]\nuser = 1"), @r#"
    job.toml:1: name: expected a string, found an integer
      hint: write it in quotes, such as "acme to microsoft 365"
    job.toml:2: order: expected "oldest", "exact" or "newest", found "oldst"
      hint: did you mean "oldest"?
    job.toml:3: source: expected a table, found a string
      hint: write it in [source]
    job.toml:4: account: expected a list of tables, found a table
      hint: write [[account]] with two brackets: it may stand many times
    "#);
    assert_snapshot!(account("\"info\"", r#"{ user = 1, password = 12345 }"#), @r#"
    job.toml:6: account[1].source: expected a table, found a string
      hint: write it in [[account]] source = { … }
    job.toml:7: account[1].target.user: expected a string, found an integer
      hint: write it in quotes, such as "info@acme.example"
    job.toml:7: account[1].target.password: expected a string or a table, found an integer
      hint: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }
    "#);
}

#[test]
fn what_is_missing_is_told_with_its_table() {
    assert_snapshot!(refused(""), @r#"
    job.toml:1: no account is there
      hint: write [[account]] with source and target, or accounts = "FILE.csv" at the top of the file
    "#);
    assert_snapshot!(refused(SERVERS), @r#"
    job.toml:1: no account is there
      hint: write [[account]] with source and target, or accounts = "FILE.csv" at the top of the file
    "#);
    assert_snapshot!(refused(&format!("account = []\n{SERVERS}")), @r#"
    job.toml:1: account: holds no account
      hint: write [[account]] with source and target, or accounts = "FILE.csv"
    "#);
    assert_snapshot!(refused(ACCOUNT), @r#"
    job.toml:2: account[1].source: host is missing
      hint: write it here or in [source]: host = "imap.example.com" or provider = "gmail"
    job.toml:3: account[1].target: host is missing
      hint: write it here or in [target]: host = "imap.example.com" or provider = "gmail"
    "#);
    assert_snapshot!(source("tls = \"starttls\""), @r#"
    job.toml:1: source: host is missing
      hint: write [source] with host = "imap.example.com" or provider = "gmail"
    "#);
    assert_snapshot!(account("{}", r#"{ user = "info" }"#), @r#"
    job.toml:6: account[1].source: user is missing
      hint: write source = { user = "…", password = … }
    job.toml:6: account[1].source: password or token is missing
      hint: write password = { env = "NAME" }, or token = { command = ["program"] }
    job.toml:7: account[1].target: password or token is missing
      hint: write password = { env = "NAME" }, or token = { command = ["program"] }
    "#);
    assert_snapshot!(refused(&format!("{SERVERS}[[account]]\nname = \"x\"\n")), @r#"
    job.toml:5: account[1].source: user is missing
      hint: write source = { user = "…", password = … }
    job.toml:5: account[1].source: password or token is missing
      hint: write password = { env = "NAME" }, or token = { command = ["program"] }
    job.toml:5: account[1].target: user is missing
      hint: write target = { user = "…", password = … }
    job.toml:5: account[1].target: password or token is missing
      hint: write password = { env = "NAME" }, or token = { command = ["program"] }
    "#);
}

#[test]
fn syntax_errors_are_told_without_the_line_they_are_in() {
    assert_snapshot!(source("host = imap.old.example\nport = = 3"), @r#"
    job.toml:2: not valid TOML: invalid float
      hint: text is put in double quotes
    job.toml:3: not valid TOML: extra `=`
      hint: a line is [table], key = value or # comment
    "#);
    assert_snapshot!(account(r#"{ user = "info", password = hunter2 }"#, GOOD), @r#"
    job.toml:6: not valid TOML: string values must be quoted
      hint: text is put in double quotes
    "#);
    assert_snapshot!(source("host = \"a\"\nhost = \"b\""), @r#"
    job.toml:3: not valid TOML: duplicate key
      hint: a key stands once in a table: remove one, or join the two
    "#);
    assert_snapshot!(source("host = \"a"), @r#"
    job.toml:2: not valid TOML: invalid basic string
      hint: close the string with the quote it begins with; in double quotes a backslash is written \\
    "#);
}

#[test]
fn ports_and_numbers_have_ranges() {
    assert_snapshot!(source("host = \"a.example\"\nport = 0"), @r#"
    job.toml:3: source.port: 0 is out of range: expected 1 to 65535
      hint: IMAP is at 993 (implicit TLS) or 143 (STARTTLS)
    "#);
    assert_snapshot!(source("host = \"a.example\"\nport = 65536"), @r#"
    job.toml:3: source.port: 65536 is out of range: expected 1 to 65535
      hint: IMAP is at 993 (implicit TLS) or 143 (STARTTLS)
    "#);
    assert_snapshot!(source("host = \"a.example\"\nport = -1"), @r#"
    job.toml:3: source.port: -1 is out of range: expected 1 to 65535
      hint: IMAP is at 993 (implicit TLS) or 143 (STARTTLS)
    "#);
    assert_snapshot!(with("[limits]\nmessages_per_second = 0\nbytes_per_second = -5\nconnections = 0\nhost = { connections = 0 }"), @r#"
    job.toml:9: limits.messages_per_second: 0 is out of range: expected 0.001 to 100000 messages a second
      hint: write a number such as 10, or "unlimited"
    job.toml:10: limits.bytes_per_second: out of range: expected 1 KiB to 1 TiB
      hint: write a size such as "1 MiB"
    job.toml:11: limits.connections: 0 is out of range: expected 1 to 100
      hint: write a whole number such as 3
    job.toml:12: limits.host.connections: 0 is out of range: expected 1 to 10000
      hint: write a whole number such as 20
    "#);
    assert_snapshot!(with("[limits.source]\nmessages_per_second = nan\nbytes_per_second = \"10 Mb\"\nconnections = 99999999999999999999\n"), @r#"
    job.toml:9: limits.source.messages_per_second: NaN is out of range: expected 0.001 to 100000 messages a second
      hint: write a number such as 10, or "unlimited"
    job.toml:10: limits.source.bytes_per_second: no unit of bytes is called "Mb"
      hint: sizes are in bytes, not bits: write KiB, MiB, GiB, kB, MB or GB
    job.toml:11: limits.source.connections: 99999999999999999999 is out of range: expected 1 to 100
      hint: write a whole number such as 3
    "#);
    assert_snapshot!(with("[limits.target]\nbytes_per_second = \"1 MiB/s\"\nmessages_per_second = \"none\""), @r#"
    job.toml:9: limits.target.bytes_per_second: no unit of bytes is called "MiB/s"
      hint: leave out "/s": it is always by the second
    job.toml:10: limits.target.messages_per_second: expected a number or "unlimited", found "none"
      hint: write "unlimited"
    "#);
    assert_snapshot!(with("[transfer]\nsample = 5\naccounts = 0\noutage = \"for ever\"\ntimeout = \"0s\"\nfirst_contact = \"soon\""), @r#"
    job.toml:9: transfer.sample: 5 is out of range: expected 0% to 100%, or 0 to 1
      hint: write "5%" or 0.05
    job.toml:10: transfer.accounts: 0 is out of range: expected 1 to 1000
      hint: write a whole number such as 8
    job.toml:11: transfer.outage: expected a time or "forever", found "for ever"
      hint: write "forever"
    job.toml:12: transfer.timeout: "0s" is out of range: expected 100ms to 1h
      hint: write a time such as "120s"
    job.toml:13: transfer.first_contact: expected a time, found "soon"
      hint: write a time such as "15s"
    "#);
    assert_snapshot!(with("[transfer]\nsample = \"120%\"\nspool_above = \"64 MiB\"\nmemory = \"1 KB\""), @r#"
    job.toml:9: transfer.sample: "120%" is out of range: expected 0% to 100%, or 0 to 1
      hint: write "1%" or 0.01
    job.toml:11: transfer.memory: out of range: expected 1 MiB to 1 TiB
      hint: write a size such as "32 MiB"
    "#);
    assert_snapshot!(with("[transfer]\nspool_above = \"64 MiB\""), @r#"
    job.toml:9: transfer.spool_above: spool_above is more than memory: a message below it would not fit
      hint: lower spool_above or raise memory
    "#);
}

#[test]
fn hosts_are_names_alone() {
    assert_snapshot!(source("host = \"imap://imap.old.example/INBOX\""), @r#"
    job.toml:2: source.host: "imap://imap.old.example/INBOX" is a URL, not a host
      hint: write host = "imap.old.example"; the port and tls have keys of their own
    "#);
    assert_snapshot!(source("host = \"imap.old.example:993\""), @r#"
    job.toml:2: source.host: "imap.old.example:993" holds a port
      hint: write host = "imap.old.example" and port = 993
    "#);
    assert_snapshot!(source("host = \"[::1]:143\""), @r#"
    job.toml:2: source.host: "[::1]:143" has brackets
      hint: write host = "::1" and port = 143
    "#);
    assert_snapshot!(source("host = \"info@old.example\""), @r#"
    job.toml:2: source.host: "info@old.example" is a mail address, not a host
      hint: write the IMAP server's name, perhaps "imap.old.example"
    "#);
    assert_snapshot!(source("host = \"\""), @r#"
    job.toml:2: source.host: is empty
      hint: write the server's name, such as "imap.example.com"
    "#);
    assert_snapshot!(source("host = \"bücher.example\""), @r#"
    job.toml:2: source.host: "bücher.example" has letters outside ASCII
      hint: write the name's ASCII form, which begins with xn--
    "#);
    assert_snapshot!(source("host = \"imap..example\""), @r#"
    job.toml:2: source.host: "imap..example" is no host name and no address
      hint: write the server's name, such as "imap.example.com"
    "#);
}

#[test]
fn providers_are_known_by_name() {
    assert_snapshot!(source("provider = \"gmial\""), @r#"
    job.toml:2: source.provider: no provider is called "gmial"
      hint: did you mean "gmail"?
    "#);
    assert_snapshot!(source("provider = \"acme\""), @r#"
    job.toml:2: source.provider: no provider is called "acme"
      hint: known are microsoft365, outlook, gmail, google-workspace, rackspace, yahoo, aol, icloud, fastmail, zoho, godaddy, titan, ionos, hostinger, ovh, gandi, infomaniak, gmx, web.de or proton-bridge; for any other server write host = …
    "#);
}

#[test]
fn protection_is_not_left_out_by_accident() {
    assert_snapshot!(source("host = \"a.example\"\ntls = \"none\""), @r#"
    job.toml:3: source.tls: without TLS the password and all mail can be read on the way to a.example
      hint: write tls = "implicit" or "starttls"; if it has to be, plaintext = "allowed" beside it
    "#);
    assert_snapshot!(source("host = \"a.example\"\ntls = \"ssl\""), @r#"
    job.toml:3: source.tls: expected "implicit", "starttls" or "none", found "ssl"
      hint: write "implicit" for TLS from the first byte, as on port 993
    "#);
    assert_snapshot!(source("host = \"a.example\"\nplaintext = \"yes\""), @r#"
    job.toml:3: source.plaintext: expected "allowed" or "refused", found "yes"
      hint: write "allowed" or "refused"
    "#);
    assert_snapshot!(source("host = \"a.example\"\nca_file = \"no-such.pem\""), @r#"
    job.toml:3: source.ca_file: no-such.pem is not there
      hint: relative paths begin at the job file's directory
    "#);
    assert_snapshot!(source("host = \"a.example\"\nca_file = \"key.pem\""), @r#"
    job.toml:3: source.ca_file: key.pem holds no certificate in PEM
      hint: it has to have a line -----BEGIN CERTIFICATE-----
    "#);
    assert_snapshot!(source("host = \"a.example\"\nca_file = \"ca.der\""), @r#"
    job.toml:3: source.ca_file: ca.der holds no certificate in PEM
      hint: convert it: openssl x509 -inform der -in FILE -out FILE.pem
    "#);
    assert_snapshot!(source("host = \"a.example\"\nca_file = \"~/ca.pem\""), @r#"
    job.toml:3: source.ca_file: begins with ~, which only a shell understands
      hint: write the whole path
    "#);
    assert_snapshot!(source("host = \"a.example\"\npin = \"sha256:abcd\""), @r#"
    job.toml:3: source.pin: has 4 hexadecimal digits, expected 64
      hint: write "sha256:HEX" with the 64 digits that `openssl x509 -noout -fingerprint -sha256` prints
    "#);
    assert_snapshot!(source("host = \"a.example\"\npin = \"AB:CD\""), @r#"
    job.toml:3: source.pin: expected a fingerprint that begins with "sha256:"
      hint: write "sha256:HEX" with the 64 digits that `openssl x509 -noout -fingerprint -sha256` prints
    "#);
    let pin = format!("pin = \"sha256:{}\"", "ab".repeat(32));
    assert_snapshot!(source(&format!("host = \"a.example\"\nca_file = \"ca.pem\"\n{pin}")), @r#"
    job.toml:4: source.pin: a pin beside a ca_file: with a pin, that certificate alone counts
      hint: keep one of the two
    "#);
    assert_snapshot!(source(&format!("host = \"localhost\"\ntls = \"none\"\n{pin}")), @r#"
    job.toml:4: source.pin: has no meaning with tls = "none"
      hint: remove it, or write tls = "implicit" or "starttls"
    "#);
}

#[test]
fn missing_secrets_are_told_before_any_connection() {
    assert_snapshot!(account(r#"{ user = "info", password = { env = "INFO_UNSET" } }"#, r#"{ user = "info", password = { file = "no-such/info" } }"#), @r#"
    job.toml:6: account[1].source.password: missing secret: the environment variable INFO_UNSET is not set or empty
      hint: set INFO_UNSET before mailhaul is started
    job.toml:7: account[1].target.password: missing secret: no-such/info is not there
      hint: relative paths begin at the job file's directory
    "#);
    assert_snapshot!(account(r#"{ user = "info", token = { command = "no-such-program info" } }"#, r#"{ user = "info", password = { file = "closed" } }"#), @r#"
    job.toml:6: account[1].source.token: missing secret: there is no program "no-such-program"
      hint: write its whole path, or ./name for one beside the job file
    job.toml:7: account[1].target.password: missing secret: closed may not be read by this user
      hint: let the user that runs mailhaul read it
    "#);
    assert_snapshot!(account(r#"{ user = "info", password = { file = "empty" } }"#, r#"{ user = "info", password = { file = "a-directory" } }"#), @r#"
    job.toml:6: account[1].source.password: missing secret: empty is empty
      hint: write the secret into its first line
    job.toml:7: account[1].target.password: missing secret: a-directory is a directory
      hint: name a file in it
    "#);
    assert_snapshot!(account(r#"{ user = "info", password = { keyring = "mail" } }"#, r#"{ user = "info", password = {} }"#), @r#"
    job.toml:6: account[1].source.password.keyring: the keyring cannot be read yet
      hint: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }
    job.toml:7: account[1].target.password: says nothing about where it comes from
      hint: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }
    "#);
    assert_snapshot!(account(r#"{ user = "info", password = "" }"#, r#"{ user = "info", password = { env = "A", file = "b" } }"#), @r#"
    job.toml:6: account[1].source.password: is empty
      hint: write { env = "NAME" }, { file = "path" } or { command = ["program", "argument"] }
    job.toml:7: account[1].target.password: comes from more than one place
      hint: keep one of env, file and command
    "#);
    assert_snapshot!(account(r#"{ user = "info", password = { env = "$OLD" } }"#, r#"{ user = "info", password = { command = "pass show info | head -1" } }"#), @r#"
    job.toml:6: account[1].source.password.env: is no name of an environment variable
      hint: leave out the dollar sign
    job.toml:7: account[1].target.password.command: holds '|', and no shell is used
      hint: put it in quotes, or write command = ["sh", "-c", "…"]
    "#);
    assert_snapshot!(account(r#"{ user = "info", password = { command = [] } }"#, r#"{ user = "info", password = { command = ["a", 1] } }"#), @r#"
    job.toml:6: account[1].source.password.command: names no program
      hint: write command = ["program", "argument"]
    job.toml:7: account[1].target.password.command: expected a list of strings, found an integer
      hint: write command = ["program", "argument"]
    "#);
}

#[test]
fn sign_in_is_by_one_thing() {
    assert_snapshot!(account(r#"{ user = "info", password = { env = "A" }, token = { env = "B" } }"#, GOOD), @r#"
    job.toml:6: account[1].source.token: a token beside a password
      hint: keep one of the two
    "#);
    assert_snapshot!(account(r#"{ user = "info", admin = "master", token = { env = "B" } }"#, GOOD), @r#"
    job.toml:6: account[1].source.admin: an administrator signs in with a password, not with a token
      hint: remove admin: the token says who signs in
    "#);
    assert_snapshot!(account(r#"{ user = "info", admin = "master" }"#, GOOD), @r#"
    job.toml:6: account[1].source.admin: an administrator without a password
      hint: write the administrator's password beside admin, in the same table
    "#);
    assert_snapshot!(account(r#"{ user = "info\r\nA1 LOGOUT", password = { env = "A" } }"#, r#"{ user = " info", password = { env = "A" } }"#), @r#"
    job.toml:6: account[1].source.user: holds a control character (a line end, a tab or NUL)
      hint: write it on one line
    job.toml:7: account[1].target.user: begins or ends with a blank
      hint: remove the blank
    "#);
    assert_snapshot!(account(r#"{ user = "in\u0000fo", password = { env = "A" } }"#, r#"{ user = "", password = "two\nlines" }"#), @r#"
    job.toml:6: account[1].source.user: holds a control character (a line end, a tab or NUL)
      hint: write it on one line
    job.toml:7: account[1].target.user: is empty
      hint: fill it in, or remove it
    job.toml:7: account[1].target.password: holds a line end or NUL, which no server takes
      hint: remove it
    "#);
}

#[test]
fn a_mailbox_stands_in_a_job_once() {
    assert_snapshot!(with(ACCOUNT), @r#"
    job.toml:9: account[2].source.user: the same source mailbox as in line 6: "info" at imap.old.example
      hint: an account stands in a job once: remove one of the two
    job.toml:10: account[2].target.user: the same target mailbox as in line 7: "info" at imap.new.example
      hint: two sources cannot go into one target: give each its own
    "#);
    let other = |source: &str, target: &str| {
        with(&format!(
            "[[account]]\nsource = {{ user = \"{source}\", password = {{ env = \"A\" }} }}\ntarget = {{ user = \"{target}\", password = {{ env = \"B\" }} }}\n"
        ))
    };
    assert_snapshot!(other("bob", "info"), @r#"
    job.toml:10: account[2].target.user: the same target mailbox as in line 7: "info" at imap.new.example
      hint: two sources cannot go into one target: give each its own
    "#);
    assert_snapshot!(other("info", "bob"), @r#"
    job.toml:9: account[2].source.user: the same source mailbox as in line 6: "info" at imap.old.example
      hint: an account stands in a job once: remove one of the two
    "#);
    let named = |name: &str, user: &str| {
        ACCOUNT.replace("info", user).replace("[[account]]", &format!("[[account]]\nname = \"{name}\""))
    };
    assert_snapshot!(refused(&format!("{SERVERS}{}{}", named("x", "a"), named("x", "b"))), @r#"
    job.toml:10: account[2].name: another account is called "x" (line 6)
      hint: give each account a name of its own, or none: then its user is its name
    "#);
}

#[test]
fn source_and_target_differ() {
    let same = |source: &str, target: &str| {
        refused(&format!("[source]\nhost = \"{source}\"\n[target]\nhost = \"{target}\"\n{ACCOUNT}"))
    };
    assert_snapshot!(same("imap.a.example", "IMAP.A.Example."), @r#"
    job.toml:7: account[1].target.user: source and target are the same mailbox: "info" at imap.a.example
      hint: look at host, port and user of both sides
    "#);
    assert_snapshot!(refused(&format!("[source]\nhost = \"a.example\"\n[target]\nhost = \"a.example\"\ntls = \"starttls\"\n{ACCOUNT}")), @r#"
    job.toml:8: account[1].target.user: source and target are the same mailbox: "info" at a.example
      hint: look at host, port and user of both sides
    "#);
    assert_snapshot!(refused(r#"
[source]
host = "a.example"
[target]
host = "a.example"
[[account]]
source = { user = "old", password = { env = "A" } }
target = { user = "new", password = { env = "A" } }
[[account]]
source = { user = "new", password = { env = "A" } }
target = { user = "newest", password = { env = "A" } }
"#), @r#"
    job.toml:8: account[1].target.user: this target is the source of the account in line 10: "new" at a.example
      hint: what arrives would go on or not, by chance: make two jobs of it
    "#);
}

#[test]
fn folder_rules_make_sense() {
    assert_snapshot!(with("[folders]\ninclude = [\"\", \"a//b\"]\nexclude = [\"/a\", \"b/\", \"***\", \"a\\nb\"]"), @r#"
    job.toml:9: folders.include: is empty
      hint: write a folder's path, such as "Archive/2020"
    job.toml:9: folders.include: "a//b" has an empty part
      hint: write one / between two parts
    job.toml:10: folders.exclude: "/a" begins with /
      hint: write "a"
    job.toml:10: folders.exclude: "b/" ends with /
      hint: write "b": what lies below a folder goes with it
    job.toml:10: folders.exclude: "***" has more than two stars together
      hint: * stands for anything within one part of a path, ** for anything at all
    job.toml:10: folders.exclude: holds a control character (a line end, a tab or NUL)
      hint: remove it
    "#);
    assert_snapshot!(with("[folders]\ninclude = [\"INBOX\"]\nexclude = [\"Trash\", \"inbox\"]"), @r#"
    job.toml:10: folders.exclude: "inbox" is excluded and included
      hint: remove it here or in line 9
    "#);
    assert_snapshot!(with("[folders.rename]\n\"Sent Items\" = \"Sent\"\nGesendet = \"Sent\""), @r#"
    job.toml:10: folders.rename.Gesendet: "Sent Items" and "Gesendet" would both become "Sent"
      hint: two folders cannot become one: give each a name of its own
    "#);
    assert_snapshot!(with("[folders.rename]\n\"Archive/*\" = \"Old\"\ninbox = \"A\"\nINBOX = \"B\"\nC = \"\"\nD = 1"), @r#"
    job.toml:9: folders.rename."Archive/*": "Archive/*" holds a star, and a rename is of one folder
      hint: write the folder's path; what lies below goes with it
    job.toml:11: folders.rename.INBOX: the same folder as "inbox", renamed twice
      hint: keep one of the two
    job.toml:12: folders.rename.C: is empty
      hint: write a folder's path, such as "Archive/2020"
    job.toml:13: folders.rename.D: expected a folder's name, found an integer
      hint: write { "Sent Items" = "Sent" }
    "#);
}

#[test]
fn all_errors_of_a_file_come_at_once() {
    assert_snapshot!(refused(r#"
order = "random"
nmae = "acme"
accounts = 7
[source]
host = "imap.old.example:993"
port = 99999
[target]
provider = "fastmale"
[limits]
conections = 4
[transfer]
sample = "2"
"#), @r#"
    job.toml:2: order: expected "oldest", "exact" or "newest", found "random"
      hint: write "oldest", "exact" or "newest"
    job.toml:3: nmae: unknown key
      hint: did you mean "name"?
    job.toml:4: accounts: expected a string, found an integer
      hint: write it in quotes, such as "acme.csv"
    job.toml:6: source.host: "imap.old.example:993" holds a port
      hint: write host = "imap.old.example" and port = 993
    job.toml:7: source.port: 99999 is out of range: expected 1 to 65535
      hint: IMAP is at 993 (implicit TLS) or 143 (STARTTLS)
    job.toml:9: target.provider: no provider is called "fastmale"
      hint: did you mean "fastmail"?
    job.toml:11: limits.conections: unknown key
      hint: did you mean "connections"?
    job.toml:13: transfer.sample: expected a percentage, found "2"
      hint: write "1%" or 0.01
    "#);
}

#[test]
fn accounts_come_from_one_place() {
    assert_snapshot!(refused_with(&format!("accounts = \"a.csv\"\n{SERVERS}{ACCOUNT}"), &[]), @r#"
    job.toml:1: accounts: accounts beside [[account]] (line 6)
      hint: keep one of the two
    "#);
    assert_snapshot!(refused_with(&format!("accounts = \"a.csv\"\n{SERVERS}"), &[]), @r#"
    job.toml:1: accounts: a.csv is not there
      hint: relative paths begin at the job file's directory
    "#);
}

/// A good job but for its accounts file.
fn csv(table: &str) -> String {
    refused_with(&format!("accounts = \"acme.csv\"\n{SERVERS}"), &[("acme.csv", table.as_bytes())])
}

#[test]
fn accounts_files_are_told_by_line_and_column() {
    assert_snapshot!(csv(""), @r#"
    acme.csv: is empty
      hint: the first line names the columns: source_user,source_password_env,target_user,…
    "#);
    assert_snapshot!(csv("source_user,source_password_env,target_user,target_password_env\n"), @r#"
    acme.csv: holds no account
      hint: below the first line, write one line for each account
    "#);
    assert_snapshot!(csv("a@x.example,hunter2,a@y.example,hunter3\n"), @r#"
    acme.csv:1: the first line does not name the columns
      hint: begin with a line such as source_user,source_password_env,target_user,target_password_env
    "#);
    assert_snapshot!(csv("source_user,source_pasword,hunter2,target_password\na,b,c,d\n"), @r#"
    acme.csv:1: column 2 has a name that is not known
      hint: did you mean source_password?
    acme.csv:1: column 3 has a name that is not known
      hint: columns are name, and source_… and target_… with user, password, password_env, password_file, host, …
    acme.csv:1: column target_user is missing
      hint: add it to the first line and to every other
    "#);
    assert_snapshot!(csv("source_user,source_password_env,target_user,target_password_env\na,A_UNSET,,B\n\nb,B,c\nc,C,d,D\nc,C,e,\n"), @r#"
    acme.csv:2: target_user: is empty
      hint: write the user's name
    acme.csv:2: source_password_env: missing secret: the environment variable A_UNSET is not set or empty
      hint: set A_UNSET before mailhaul is started
    acme.csv:4: has 3 cells, expected 4 as in the first line
      hint: put a cell in double quotes if it holds a separator, and close every quote
    acme.csv:6: target: password or token is missing
      hint: fill in target_password_env, target_password_file or target_token_command
    "#);
    assert_snapshot!(csv("source_user;source_password;source_password_env;source_port;source_tls;target_user;target_password\r\na;x;Y;0;ssl;b; z \r\n"), @r#"
    acme.csv:2: source_port: is no port: expected 1 to 65535
      hint: IMAP is at 993 (implicit TLS) or 143 (STARTTLS)
    acme.csv:2: source_tls: expected "implicit", "starttls" or "none", found "ssl"
      hint: write "implicit" for TLS from the first byte, as on port 993
    acme.csv:2: source_password: comes from more than one column
      hint: keep one of source_password, source_password_env, source_password_file and source_password_command
    acme.csv:2: target_password: begins or ends with a blank
      hint: remove the blank, or put the secret in a file and name it in target_password_file
    "#);
    assert_snapshot!(csv("source_user,source_password,target_user,target_password\na,\"x,b,y\nc,x,d,y\n"), @r#"
    acme.csv:2: has 2 cells, expected 4 as in the first line
      hint: put a cell in double quotes if it holds a separator, and close every quote
    "#);
    assert_snapshot!(csv("source_user,source_user,source_password_env,target_user\na,b,C,d\n"), @r#"
    acme.csv:1: source_user: stands twice in the first line
      hint: remove one
    acme.csv:2: target: password or token is missing
      hint: fill in target_password_env, target_password_file or target_token_command
    "#);
    assert_snapshot!(refused_with(&format!("accounts = \"acme.csv\"\n{SERVERS}"), &[("acme.csv", b"name\n\xfc\n")]), @r#"
    acme.csv:2: is not UTF-8 from here on
      hint: save the file as UTF-8 (in Excel: CSV UTF-8)
    "#);
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let load = |name: &str, files: &[(&str, &[u8])]| match load(&Path::new("/jobs").join(name), &context(files)) {
        Ok(_) => panic!("accepted"),
        Err(errors) => errors.to_string(),
    };
    assert_snapshot!(load("job.toml", &[]), @r#"
    /jobs/job.toml: is not there
      hint: mailhaul init writes a job file to start from
    "#);
    assert_snapshot!(load("job.toml", &[("job.toml", b"name = 1\n# \xe4")]), @r#"
    /jobs/job.toml:2: is not UTF-8 from here on
      hint: save the file as UTF-8 (in Excel: CSV UTF-8)
    "#);
    assert_snapshot!(load("job.toml", &[("job.toml", b"\xff\xfen\0a\0")]), @r#"
    /jobs/job.toml:1: is UTF-16, not UTF-8
      hint: save the file as UTF-8 (in Excel: CSV UTF-8)
    "#);
}

#[test]
fn the_daemons_file_is_told_the_same_way() {
    let daemon = |text: &str| {
        let context = Context { patience: crate::config::Patience::Daemon, ..context(&[]) };
        match parse_daemon(text, Path::new("/jobs/daemon.toml"), &context) {
            Ok(_) => panic!("accepted"),
            Err(errors) => errors.to_string(),
        }
    };
    assert_snapshot!(daemon(""), @r#"
    /jobs/daemon.toml:1: jobs is missing
      hint: write jobs = "DIRECTORY", where job files will be put
    "#);
    assert_snapshot!(daemon("job = \"a\"\npoll = 5\nstate = \"\""), @r#"
    /jobs/daemon.toml:1: job: unknown key
      hint: did you mean "jobs"?
    /jobs/daemon.toml:2: poll: expected a time with its unit, found an integer
      hint: write "5s" for seconds
    /jobs/daemon.toml:3: state: is empty
      hint: write it on one line, such as "/var/lib/mailhaul"
    "#);
    assert_snapshot!(daemon("jobs = \"no-such\"\npoll = \"1ms\""), @r#"
    /jobs/daemon.toml:1: jobs: /jobs/no-such is no directory
      hint: make it with mkdir; relative paths begin at this file's directory
    /jobs/daemon.toml:2: poll: "1ms" is out of range: expected 100ms to 1day
      hint: write a time such as "5s"
    "#);
}

#[test]
fn of_very_many_errors_the_first_are_shown() {
    let table =
        format!("source_user,source_password_env,target_user,target_password_env\n{}", "a,A_UNSET,b\n".repeat(60));
    let said = csv(&table);
    assert_eq!(said.matches("has 3 cells").count(), 50);
    assert!(said.ends_with("\n… and 10 more"), "{said}");
}

#[test]
fn hours_are_told_where_they_stand() {
    let table = r#"[limits]
commands_per_second = "fast"
utc_offset = "CET"
[[limits.times]]
days = "mon-fry"
hours = "8-18"
messages_per_second = 0
[[limits.times]]
hours = "08:00-08:00"
[[limits.times]]
messages_per_second = 5
[limits.source.times]
days = "mon"
[limits.host]
times = [{ day = "mon", hours = "24:00-25:00", commands_per_second = 1 }]"#;
    assert_snapshot!(with(table), @r#"
    job.toml:9: limits.commands_per_second: expected a number or "unlimited", found a string
      hint: write a number without quotes, such as 10
    job.toml:10: limits.utc_offset: no offset from UTC is "CET"
      hint: write hours and minutes east of Greenwich, such as "+01:00" or "-08:00"
    job.toml:12: limits.times[1].days: no day is called "fry": expected mon, tue, wed, thu, fri, sat or sun
      hint: did you mean "fri"?
    job.toml:13: limits.times[1].hours: no time of day is "8"
      hint: write hours = "08:00-18:00"
    job.toml:14: limits.times[1].messages_per_second: 0 is out of range: expected 0.001 to 100000 messages a second
      hint: write a number such as 10, or "unlimited"
    job.toml:15: limits.times[2]: says no limit for these hours
      hint: write messages_per_second, bytes_per_second or commands_per_second: a number or "unlimited"
    job.toml:16: limits.times[2].hours: "08:00-08:00" begins when it ends
      hint: write "00:00-24:00" for the whole day
    job.toml:17: limits.times[3]: says neither days nor hours
      hint: write days = "mon-fri" or hours = "08:00-18:00", or both
    job.toml:19: limits.source.times: expected a list of tables, found a table
      hint: write [[limits.source.times]] with two brackets: it may stand many times
    job.toml:22: limits.host.times[1].day: unknown key
      hint: did you mean "days"?
    job.toml:22: limits.host.times[1].hours: no time of day is "25:00"
      hint: write hours = "08:00-18:00"
    "#);
    assert_snapshot!(with("[limits]\nbytes_per_day = \"500 MB/day\"\nday_begins = \"midnight\"\n[limits.host]\nbytes_per_day = 5\nday_begins = \"00:00 PST\""), @r#"
    job.toml:9: limits.bytes_per_day: no unit of bytes is called "MB/day"
      hint: leave out what follows the slash: it is always by the day
    job.toml:10: limits.day_begins: no time of day is "midnight"
      hint: write a time, such as "00:00", or a time and an offset, such as "00:00 -08:00"
    job.toml:12: limits.host.bytes_per_day: out of range: expected 1 MiB to 1024 TiB
      hint: write a size such as "500 MB"
    job.toml:13: limits.host.day_begins: no offset from UTC is "PST"
      hint: write hours and minutes east of Greenwich, such as "+01:00" or "-08:00"
    "#);
}
