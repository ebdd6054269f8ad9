//! The program as a person meets it: typed, in a home of its own.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A home with nothing in it.
struct Home(TempDir);

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
        command.args(arguments).current_dir(self.path()).env_clear().env("HOME", self.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.ended(self.command(arguments).output().unwrap())
    }

    /// Takes what differs from home to home out of what was said.
    fn ended(&self, output: Output) -> Ended {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(self.path().to_str().unwrap(), "[HOME]");
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn state(&self) -> PathBuf {
        self.path().join(".local/state/mailhaul")
    }
}

/// A job for one account whose servers are on these ports.
fn job(source: u16, target: u16) -> String {
    format!(
        r#"
source = {{ host = "127.0.0.1", port = {source}, tls = "none" }}
target = {{ host = "127.0.0.1", port = {target}, tls = "none" }}

[transfer]
first_contact = "200ms"

[[account]]
source = {{ user = "info", password = "hunter2" }}
target = {{ user = "info", password = "hunter2" }}
"#
    )
}

/// Gives a port nobody listens on.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn help_teaches_the_first_migration() {
    let ended = Home::new().run(&["--help"]);
    assert_eq!(ended.code, 0);
    insta::assert_snapshot!(ended.stdout, @r#"
    Moves mailboxes from one IMAP server to another: every message once, byte for byte, with its flags,
    keywords, date and folder, and proves it. The source is only read. Interrupted at any point, it goes
    on where it stopped.

    A first migration:

      mailhaul init job.toml         write a job file to start from; fill in its blanks
      mailhaul check job.toml        sign in on both sides and look; nothing is written
      mailhaul run job.toml          migrate
      mailhaul verify job.toml       compare both sides

    Usage: mailhaul [OPTIONS] <COMMAND>

    Commands:
      init        Write a commented job file to start from
      check       Sign in on both sides, look at folders and sizes, warn of what is odd; writes nothing
      plan        Show what a run would do, without doing it
      run         Migrate; picks up where it stopped, always
      resume      After a failure: go on with whatever is interrupted, failed or parked
      status      Show where each account stands; works beside a run
      verify      Compare both sides, message by message
      failed      List the messages that are not on the target, why, and what to do
      daemon      Watch a directory of job files and run what appears or changes
      state       Look after what is kept of what has been done: show, back up, rebuild, purge
      exit-codes  List what the exit codes mean
      help        Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Options of every command:
          --state <DIR>
              Directory where it is kept what has been done; default: the platform's state directory
              
              [env: MAILHAUL_STATE]

      -v, --verbose...
              Log more to standard error; twice for even more

          --log-level <FILTER>
              What to log without -v: error, warn, info, debug, trace, or by part:
              "warn,mailhaul::imap=debug"; default: warn
              
              [env: MAILHAUL_LOG]

          --log-json
              Log one JSON object per line

    Exit code 0 means complete and nothing else does: mailhaul help exit-codes lists them all.
    What has been done is kept in the state directory (--state DIR), never a password.
    "#);
    assert_eq!(Home::new().run(&[]).code, 2);
}

#[test]
fn every_command_has_help_with_examples() {
    let home = Home::new();
    let help = |command: &str| {
        let ended = home.run(&[command, "--help"]);
        assert_eq!(ended.code, 0, "{command}");
        ended.stdout
    };
    insta::assert_snapshot!(help("init"), @r#"
    Write a commented job file to start from

    Usage: mailhaul init [OPTIONS] [PATH]

    Arguments:
      [PATH]  Where to write it [default: job.toml]

    Options:
          --full  Print the file of all keys instead, with meaning, range and default of each
      -h, --help  Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul init                      write job.toml
      mailhaul init customers/acme.toml  write it elsewhere; a file that is there is left alone
      mailhaul init --full               print every key with its meaning and default
    "#);
    insta::assert_snapshot!(help("check"), @r#"
    Sign in on both sides, look at folders and sizes, warn of what is odd; writes nothing

    Usage: mailhaul check [OPTIONS] <JOB>...

    Arguments:
      <JOB>...  Job files

    Options:
          --json  Print a JSON document for each job
      -h, --help  Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul check acme.toml
      mailhaul check acme.toml other.toml
      mailhaul check acme.toml --json | jq '.accounts[].failures'

    Nothing is written on either server, and nothing is kept. The forecast goes by the limits of the job
    file and by numbers of messages alone; plan knows better. Exit code 0 means that a run can begin.
    "#);
    insta::assert_snapshot!(help("plan"), @r#"
    Show what a run would do, without doing it

    Usage: mailhaul plan [OPTIONS] <JOB>

    Arguments:
      <JOB>  Job file

    Options:
          --json  Print JSON
      -h, --help  Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul plan acme.toml
      mailhaul plan acme.toml --json > plan.json

    Both sides are listed and compared with what has been done already. Nothing is written on either
    server.
    "#);
    insta::assert_snapshot!(help("run"), @r#"
    Migrate; picks up where it stopped, always

    Usage: mailhaul run [OPTIONS] <JOB>...

    Arguments:
      <JOB>...  Job files

    Options:
          --failed           Only try messages again that were refused, unreadable or missing; new mail
                             waits for a run without this
          --restore-removed  Copy messages again that their user removed from the target
          --accept-removed   Take whatever is gone from the target as removed by its user
          --json             Print one JSON object per event
      -h, --help             Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul run acme.toml
      mailhaul run acme.toml other.toml          one job after the other
      mailhaul run acme.toml --failed            try failed messages again, and nothing else
      mailhaul run acme.toml --json > log.jsonl  one JSON object per event

    Run it again at any time: what has arrived is not copied again. Ctrl-C stops at the next safe
    point, a second one at once; either way mailhaul resume goes on. A terminal gets a live view, a
    pipe gets plain lines on standard error; the summary goes to standard output.
    "#);
    insta::assert_snapshot!(help("resume"), @r#"
    After a failure: go on with whatever is interrupted, failed or parked

    Usage: mailhaul resume [OPTIONS] [JOB]

    Arguments:
      [JOB]  Job file; without one: all that were ever run

    Options:
          --json  Print JSON
      -h, --help  Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul resume                    go on with all jobs
      mailhaul resume acme.toml          go on with this one

    Accounts that are complete are left out. The job files are found where they were when they were run.
    "#);
    insta::assert_snapshot!(help("status"), @r#"
    Show where each account stands; works beside a run

    Usage: mailhaul status [OPTIONS] [JOB]

    Arguments:
      [JOB]  Job file; without one: all that were ever run

    Options:
          --json  Print JSON
      -h, --help  Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul status
      mailhaul status acme.toml --json

    No server is asked: this is what the state directory knows, and when the rest will be done under the
    limits of the job file.
    "#);
    insta::assert_snapshot!(help("verify"), @r#"
    Compare both sides, message by message

    Usage: mailhaul verify [OPTIONS] <JOB>

    Arguments:
      <JOB>
              Job file

    Options:
          --level <LEVEL>
              How closely to compare

              Possible values:
              - counts:  Every message has a copy
              - headers: Size, flags and date of every copy are equal too
              - bytes:   The bytes are equal too
              
              [default: headers]

          --sample <PART>
              With --level bytes: the part of the messages whose bytes are compared, "1%" or 0.01
              (default: all)

          --json
              Print a JSON document

          --messages <FILE>
              Write a JSON object for every source message to this file, one a line

      -h, --help
              Print help (see a summary with '-h')

    Options of every command:
          --state <DIR>
              Directory where it is kept what has been done; default: the platform's state directory
              
              [env: MAILHAUL_STATE]

      -v, --verbose...
              Log more to standard error; twice for even more

          --log-level <FILTER>
              What to log without -v: error, warn, info, debug, trace, or by part:
              "warn,mailhaul::imap=debug"; default: warn
              
              [env: MAILHAUL_LOG]

          --log-json
              Log one JSON object per line

    Examples:
      mailhaul verify acme.toml                              sizes, flags and dates of all messages
      mailhaul verify acme.toml --level bytes                every byte; reads both mailboxes whole
      mailhaul verify acme.toml --level bytes --sample 1%    the bytes of one message in a hundred
      mailhaul verify acme.toml --messages acme.jsonl        a JSON object for every source message too

    Reads only. Exit code 0: complete. 3: complete but for losses that are explained: refused,
    unreadable, removed by their user, or listed by a run. 6: something is missing or differs that
    nothing explains. Whatever is not simply complete is listed.
    "#);
    insta::assert_snapshot!(help("failed"), @r#"
    List the messages that are not on the target, why, and what to do

    Usage: mailhaul failed [OPTIONS] <JOB>

    Arguments:
      <JOB>  Job file

    Options:
          --json          Print JSON
          --export <DIR>  Save the messages as files in this directory, with a manifest
      -h, --help          Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul failed acme.toml
      mailhaul failed acme.toml --json | jq -r .subject
      mailhaul failed acme.toml --export lost    save each as a file, with a manifest

    --export signs in to the source alone and reads each message: byte for byte as the source gives it,
    <number>.eml in DIR, and manifest.jsonl with a line for each, also for those the source does not
    give
    (exit code 3). Files that are there are left alone.

    With --json, one object per line: what = "failed" is not there, what = "changed" arrived and
    lost something, what = "surplus" is too many on the target.

    To try them again: mailhaul run acme.toml --failed
    "#);
    insta::assert_snapshot!(help("daemon"), @r#"
    Watch a directory of job files and run what appears or changes

    Usage: mailhaul daemon [OPTIONS] --config <FILE>

    Options:
          --config <FILE>  The daemon's own file; config/daemon.toml is an example
      -h, --help           Print help

    Options of every command:
          --state <DIR>         Directory where it is kept what has been done; default: the platform's
                                state directory [env: MAILHAUL_STATE]
      -v, --verbose...          Log more to standard error; twice for even more
          --log-level <FILTER>  What to log without -v: error, warn, info, debug, trace, or by part:
                                "warn,mailhaul::imap=debug"; default: warn [env: MAILHAUL_LOG]
          --log-json            Log one JSON object per line

    Examples:
      mailhaul daemon --config /etc/mailhaul/daemon.toml

    Killed or restarted, it goes on where it stopped. SIGTERM lets it end at the next safe point.
    "#);
    for (command, words) in [
        ("show", "Show where it is"),
        ("backup", "put the copy in their place as ledger.sqlite"),
        ("rebuild", "the next run copies them again"),
        ("purge", "The mail itself is left alone"),
    ] {
        let ended = home.run(&["state", command, "--help"]);
        assert_eq!((ended.code, ended.stdout.contains(words)), (0, true), "{command}: {}", ended.stdout);
    }
    let codes = home.run(&["help", "exit-codes"]);
    assert!(codes.stdout.contains(&home.run(&["exit-codes"]).stdout), "{}", codes.stdout);
}

#[test]
fn a_job_file_is_written_once() {
    let home = Home::new();
    let ended = home.run(&["init"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "wrote job.toml; fill in its blanks, then:\n  mailhaul check job.toml\n")
    );
    let written = std::fs::read_to_string(home.path().join("job.toml")).unwrap();
    assert_eq!(written, mailhaul::config::template());
    let again = home.run(&["init"]);
    insta::assert_snapshot!(again.stderr, @"
    error: job.toml: is there already, and is left alone
      hint: name another file
    ");
    assert_eq!(again.code, 2);
    assert_eq!(home.run(&["init", "no/such/job.toml"]).code, 2);
    assert_eq!(home.run(&["init", "--full"]).stdout, mailhaul::config::DEFAULT);
    // Its blanks are refused until they are filled in.
    assert_eq!(home.run(&["check", "job.toml"]).code, 2);
}

#[test]
fn broken_job_files_are_refused_with_file_and_line_before_anything_is_done() {
    let home = Home::new();
    home.write("unknown.toml", "[source]\nhots = \"a\"\n");
    home.write("syntax.toml", "name = \"a\"\n[source\n");
    home.write("port.toml", &job(1, 2).replace("port = 1,", "port = 70000,"));
    home.write("same.toml", &job(1, 1));
    let ended = home.run(&["run", "unknown.toml", "syntax.toml", "port.toml", "same.toml", "missing.toml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    insta::assert_snapshot!(ended.stderr, @r#"
    error: unknown.toml:1: no account is there
      hint: write [[account]] with source and target, or accounts = "FILE.csv" at the top of the file
    unknown.toml:2: source.hots: unknown key
      hint: did you mean "host"?
    syntax.toml:2: not valid TOML: unclosed table
      hint: close what was opened here: ], ]] or }
    port.toml:2: source.port: 70000 is out of range: expected 1 to 65535
      hint: IMAP is at 993 (implicit TLS) or 143 (STARTTLS)
    same.toml:10: account[1].target.user: source and target are the same mailbox: "info" at 127.0.0.1
      hint: look at host, port and user of both sides
    missing.toml: is not there
      hint: mailhaul init writes a job file to start from
    "#);
    for command in ["check", "plan", "verify", "resume"] {
        let ended = home.run(&[command, "unknown.toml"]);
        assert_eq!(ended.code, 2, "{command}");
        assert!(ended.stderr.contains("unknown.toml:2: source.hots"), "{command}: {}", ended.stderr);
    }
    assert!(!home.state().exists());
}

#[test]
fn a_command_line_that_cannot_be_used_ends_with_2() {
    let home = Home::new();
    home.write("job.toml", &job(1, 2));
    for arguments in [
        &["rnu"][..],
        &["run"],
        &["verify", "job.toml", "--sample", "200%"],
        &["verify", "job.toml", "--sample", "1%"],
        &["status", "missing.toml"],
        &["failed", "missing.toml"],
        &["daemon", "--config", "missing.toml"],
        &["status", "--log-level", "mailhaul=loud"],
    ] {
        let ended = home.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn where_nothing_was_run_nothing_stands_and_nothing_is_made() {
    let home = Home::new();
    home.write("job.toml", &job(1, 2));
    for (arguments, said) in [
        (&["status"][..], "nothing has been run yet\n"),
        (&["status", "job.toml"], "nothing has been run yet\n"),
        (&["status", "--json"], "[]\n"),
        (&["failed", "job.toml"], "nothing has been run yet\n"),
        (&["failed", "job.toml", "--json"], ""),
        (&["resume"], "nothing to resume\n"),
    ] {
        let ended = home.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, said, ""), "{arguments:?}");
    }
    let ended = home.run(&["resume", "job.toml"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("nothing of it has been run yet"), "{}", ended.stderr);
    assert!(!home.state().exists());
}

#[test]
fn a_closed_port_ends_soon_with_its_own_code_and_is_gone_on_with() {
    let home = Home::new();
    let (source, target) = (closed_port(), closed_port());
    home.write("job.toml", &job(source, target));
    let steady = |text: &str| text.replace(&source.to_string(), "[SOURCE]").replace(&target.to_string(), "[TARGET]");
    let ended = home.run(&["run", "job.toml"]);
    assert_eq!(ended.code, 12, "{}", ended.stderr);
    insta::assert_snapshot!(steady(&ended.stdout), @r#"
    job: 1 account: 1 parked

    ! info: parked
        source: failed to connect to 127.0.0.1:[SOURCE]: nobody listens on that port
        hint: check host and port = [SOURCE]: IMAP is on 993 with tls = "implicit", on 143 with tls = "starttls"

    next:
      mailhaul resume
    "#);
    assert!(ended.stderr.contains("Z info: begins\n"), "{}", ended.stderr);
    for (command, said) in [("status", "parked"), ("status", "info"), ("failed", "no message has failed")] {
        let ended = home.run(&[command, "job.toml"]);
        assert_eq!(ended.code, 0);
        assert!(ended.stdout.contains(said), "{command}: {}", ended.stdout);
    }
    assert_eq!(home.run(&["resume"]).code, 12);
    assert_eq!(home.run(&["plan", "job.toml"]).code, 12);
    // The ledger and all that was said hold no password.
    let ledger = std::fs::read(home.state().join("ledger.sqlite")).unwrap();
    assert!(!ledger.windows(7).any(|bytes| bytes == b"hunter2"));
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("hunter2"));
    std::fs::remove_file(home.path().join("job.toml")).unwrap();
    let ended = home.run(&["resume"]);
    assert_eq!(ended.code, 2);
    insta::assert_snapshot!(ended.stderr, @"
    error: [HOME]/job.toml: is not there any more, and unfinished are: info
      hint: put it back, or name it where it is now: mailhaul run JOB
    ");
}

#[test]
fn programs_get_an_object_per_line_and_the_code_last() {
    let home = Home::new();
    home.write("job.toml", &job(closed_port(), closed_port()));
    let ended = home.run(&["run", "job.toml", "--json"]);
    let objects: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(objects.iter().all(|object| object["time"].is_string()));
    let named = |name: &str| objects.iter().filter(|object| object["event"] == name).count();
    assert_eq!((named("job-started"), named("account-done"), named("job-done")), (1, 1, 1));
    let last = objects.last().unwrap();
    assert_eq!((last["event"].as_str(), last["code"].as_i64()), (Some("run-ended"), Some(12)));
    assert_eq!(last["next"][0], "mailhaul resume");
}

#[test]
fn a_check_keeps_nothing() {
    let home = Home::new();
    home.write("job.toml", &job(closed_port(), closed_port()));
    let ended = home.run(&["check", "job.toml"]);
    assert_eq!(ended.code, 12);
    assert!(ended.stdout.starts_with("✗ info: not ready\n  ✗ source: failed to connect"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("failed to connect").count(), 2, "{}", ended.stdout);
    let ended = home.run(&["check", "job.toml", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(answer["accounts"][0]["failures"][0]["kind"], "unreachable");
    assert!(!home.state().exists());
}

#[test]
fn a_signal_stops_a_run_and_says_how_to_go_on() {
    let home = Home::new();
    // Accepts and says nothing.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    home.write("job.toml", &job(port, closed_port()));
    let run = home.command(&["run", "job.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _connection = server.accept().unwrap();
    let kill = Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let ended = home.ended(run.wait_with_output().unwrap());
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stderr.contains("stopping at the next safe point; press again to stop at once\n"));
    insta::assert_snapshot!(ended.stdout, @"
    job: 1 account: 1 stopped

    ! info: stopped

    next:
      mailhaul resume
    ");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = home.command(&["init", "--full"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let ended = home.ended(output.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn state_lies_where_it_is_said_to() {
    let home = Home::new();
    home.write("job.toml", &job(closed_port(), closed_port()));
    let ended = home.run(&["run", "job.toml", "--state", "my state"]);
    assert_eq!(ended.code, 12);
    assert!(ended.stdout.contains("mailhaul resume --state 'my state'\n"), "{}", ended.stdout);
    assert!(home.path().join("my state/ledger.sqlite").exists());
    let ended = home.ended(home.command(&["status"]).env("MAILHAUL_STATE", "my state").output().unwrap());
    assert!(ended.stdout.contains("parked"), "{}", ended.stdout);
    home.write("file", "");
    let ended = home.run(&["run", "job.toml", "--state", "file"]);
    assert_eq!(ended.code, 25, "{}", ended.stderr);
}
