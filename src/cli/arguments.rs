//! What can be typed, and the help that teaches it.

use crate::transfer::Level;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const LONG_ABOUT: &str = "\
Moves mailboxes from one IMAP server to another: every message once, byte for byte, with its flags, keywords, date and \
folder, and proves it. The source is only read. Interrupted at any point, it goes on where it stopped.

A first migration:

  mailhaul init job.toml         write a job file to start from; fill in its blanks
  mailhaul check job.toml        sign in on both sides and look; nothing is written
  mailhaul run job.toml          migrate
  mailhaul verify job.toml       compare both sides
";

const AFTER_HELP: &str = "\
Exit code 0 means complete and nothing else does: mailhaul help exit-codes lists them all.
What has been done is kept in the state directory (--state DIR), never a password.";

/// Moves mailboxes from one IMAP server to another, and proves it
#[derive(Debug, Parser)]
#[command(
    name = "mailhaul",
    version,
    about,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// Directory where it is kept what has been done; default: the platform's state directory
    #[arg(long, global = true, value_name = "DIR", env = "MAILHAUL_STATE", hide_env_values = true)]
    pub(super) state: Option<PathBuf>,
    /// Log more to standard error; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// What to log without -v: error, warn, info, debug, trace, or by part: "warn,mailhaul::imap=debug"; default: warn
    #[arg(long, global = true, value_name = "FILTER", env = "MAILHAUL_LOG", hide_env_values = true)]
    pub(super) log_level: Option<String>,
    /// Log one JSON object per line
    #[arg(long, global = true)]
    pub(super) log_json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a commented job file to start from
    #[command(after_help = "\
Examples:
  mailhaul init                      write job.toml
  mailhaul init customers/acme.toml  write it elsewhere; a file that is there is left alone
  mailhaul init --full               print every key with its meaning and default")]
    Init(Init),
    /// Sign in on both sides, look at folders and sizes, warn of what is odd; writes nothing
    #[command(after_help = "\
Examples:
  mailhaul check acme.toml
  mailhaul check acme.toml other.toml
  mailhaul check acme.toml --json | jq '.accounts[].failures'

Nothing is written on either server, and nothing is kept. The forecast goes by the limits of the job
file and by numbers of messages alone; plan knows better. Exit code 0 means that a run can begin.")]
    Check(Check),
    /// Show what a run would do, without doing it
    #[command(after_help = "\
Examples:
  mailhaul plan acme.toml
  mailhaul plan acme.toml --json > plan.json

Both sides are listed and compared with what has been done already. Nothing is written on either server.")]
    Plan(OneJob),
    /// Migrate; picks up where it stopped, always
    #[command(after_help = "\
Examples:
  mailhaul run acme.toml
  mailhaul run acme.toml other.toml          one job after the other
  mailhaul run acme.toml --failed            try failed messages again, and nothing else
  mailhaul run acme.toml --json > log.jsonl  one JSON object per event

Run it again at any time: what has arrived is not copied again. Ctrl-C stops at the next safe
point, a second one at once; either way mailhaul resume goes on. A terminal gets a live view, a
pipe gets plain lines on standard error; the summary goes to standard output.")]
    Run(Run),
    /// After a failure: go on with whatever is interrupted, failed or parked
    #[command(after_help = "\
Examples:
  mailhaul resume                    go on with all jobs
  mailhaul resume acme.toml          go on with this one

Accounts that are complete are left out. The job files are found where they were when they were run.")]
    Resume(Resume),
    /// Show where each account stands; works beside a run
    #[command(after_help = "\
Examples:
  mailhaul status
  mailhaul status acme.toml --json

No server is asked: this is what the state directory knows, and when the rest will be done under the
limits of the job file.")]
    Status(Resume),
    /// Compare both sides, message by message
    #[command(after_help = "\
Examples:
  mailhaul verify acme.toml                              sizes, flags and dates of all messages
  mailhaul verify acme.toml --level bytes                every byte; reads both mailboxes whole
  mailhaul verify acme.toml --level bytes --sample 1%    the bytes of one message in a hundred
  mailhaul verify acme.toml --messages acme.jsonl        a JSON object for every source message too

Reads only. Exit code 0: complete. 3: complete but for losses that are explained: refused,
unreadable, removed by their user, or listed by a run. 6: something is missing or differs that
nothing explains. Whatever is not simply complete is listed.")]
    Verify(Verify),
    /// List the messages that are not on the target, why, and what to do
    #[command(after_help = "\
Examples:
  mailhaul failed acme.toml
  mailhaul failed acme.toml --json | jq -r .subject
  mailhaul failed acme.toml --export lost    save each as a file, with a manifest

--export signs in to the source alone and reads each message: byte for byte as the source gives it,
<number>.eml in DIR, and manifest.jsonl with a line for each, also for those the source does not give
(exit code 3). Files that are there are left alone.

With --json, one object per line: what = \"failed\" is not there, what = \"changed\" arrived and
lost something, what = \"surplus\" is too many on the target.

To try them again: mailhaul run acme.toml --failed")]
    Failed(Failed),
    /// Watch a directory of job files and run what appears or changes
    #[command(after_help = "\
Examples:
  mailhaul daemon --config /etc/mailhaul/daemon.toml

Killed or restarted, it goes on where it stopped. SIGTERM lets it end at the next safe point.")]
    Daemon(Daemon),
    /// Look after what is kept of what has been done: show, back up, rebuild, purge
    #[command(after_help = "\
Examples:
  mailhaul state                          where it is, how large, which accounts
  mailhaul state backup /safe/mail.ledger
  mailhaul state rebuild acme.toml
  mailhaul state purge acme.toml

Never copy the file itself while mailhaul works: a copy without its log is an old one.")]
    State(State),
    /// List what the exit codes mean
    #[command(after_help = super::exit::table())]
    ExitCodes,
}

#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// Where to write it
    #[arg(default_value = "job.toml", conflicts_with = "full")]
    pub(super) path: PathBuf,
    /// Print the file of all keys instead, with meaning, range and default of each
    #[arg(long)]
    pub(super) full: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Job files
    #[arg(required = true, value_name = "JOB")]
    pub(super) jobs: Vec<PathBuf>,
    /// Print a JSON document for each job
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct OneJob {
    /// Job file
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Failed {
    /// Job file
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Save the messages as files in this directory, with a manifest
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    pub(super) export: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Job files
    #[arg(required = true, value_name = "JOB")]
    pub(super) jobs: Vec<PathBuf>,
    /// Only try messages again that were refused, unreadable or missing; new mail waits for a run without this
    #[arg(long)]
    pub(super) failed: bool,
    /// Copy messages again that their user removed from the target
    #[arg(long)]
    pub(super) restore_removed: bool,
    /// Take whatever is gone from the target as removed by its user
    #[arg(long, conflicts_with = "restore_removed")]
    pub(super) accept_removed: bool,
    /// Print one JSON object per event
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// Job file; without one: all that were ever run
    #[arg(value_name = "JOB")]
    pub(super) job: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Job file
    #[arg(value_name = "JOB")]
    pub(super) job: PathBuf,
    /// How closely to compare
    #[arg(long, value_enum, default_value_t = Closeness::Headers)]
    pub(super) level: Closeness,
    /// With --level bytes: the part of the messages whose bytes are compared, "1%" or 0.01 (default: all)
    #[arg(long, value_name = "PART", value_parser = part)]
    pub(super) sample: Option<f64>,
    /// Print a JSON document
    #[arg(long)]
    pub(super) json: bool,
    /// Write a JSON object for every source message to this file, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) messages: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// The daemon's own file; config/daemon.toml is an example
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct State {
    #[command(subcommand)]
    pub(super) command: Option<StateCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Show where it is, how large, which accounts
    Show,
    /// Write a copy that is whole, also while mailhaul works
    #[command(after_help = "\
Examples:
  mailhaul state backup /safe/mail.ledger
  mailhaul state backup /safe/mail.ledger --overwrite

The copy is read whole and checked before it gets its name, and only you can read it. It holds no
password.

To restore it: stop mailhaul, move ledger.sqlite, ledger.sqlite-wal and ledger.sqlite-shm out of the
state directory as far as they are there, and put the copy in their place as ledger.sqlite. What was
copied after the backup was made is found by content then, and does not arrive twice.")]
    Backup(Backup),
    /// Set a damaged ledger aside and find out from both servers what has been done
    #[command(after_help = "\
Examples:
  mailhaul state rebuild acme.toml      set it aside, look at both sides of every account
  mailhaul state rebuild                set it aside; mailhaul resume looks, then goes on

The damaged file keeps all it has under another name. Nothing is copied and nothing is changed on
either server. What is on the target already is matched by content and does not arrive twice. What
only the old ledger knew is gone: messages that somebody removed from the target since they were
copied count as not copied yet, and the next run copies them again.")]
    Rebuild(Rebuild),
    /// Forget accounts that are complete
    #[command(after_help = "\
Examples:
  mailhaul state purge acme.toml                     all complete accounts of a job
  mailhaul state purge --account info@acme.example   one of them
  mailhaul state purge --older-than 90 --yes         what has been complete for 90 days

The mail itself is left alone, on both sides. Accounts that are not complete, or that a process works
on, are kept. If a job is run again after that, it finds out by content what the target has.")]
    Purge(Purge),
}

#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// Where to write it
    pub(super) file: PathBuf,
    /// Put it in the place of a file that is there
    #[arg(long)]
    pub(super) overwrite: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rebuild {
    /// Job files whose accounts are looked at
    #[arg(value_name = "JOB")]
    pub(super) jobs: Vec<PathBuf>,
    /// Set the ledger aside though nothing is wrong with it
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Purge {
    /// Job file: its accounts
    #[arg(value_name = "JOB", required_unless_present_any = ["accounts", "older_than"])]
    pub(super) job: Option<PathBuf>,
    /// Account, by its name; more than once for several
    #[arg(long = "account", value_name = "NAME")]
    pub(super) accounts: Vec<String>,
    /// Only what has been complete for so many days
    #[arg(long, value_name = "DAYS")]
    pub(super) older_than: Option<u32>,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
}

/// [`Level`], as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Closeness {
    /// Every message has a copy
    Counts,
    /// Size, flags and date of every copy are equal too
    Headers,
    /// The bytes are equal too
    Bytes,
}

impl From<Closeness> for Level {
    fn from(closeness: Closeness) -> Self {
        match closeness {
            Closeness::Counts => Self::Counts,
            Closeness::Headers => Self::Headers,
            Closeness::Bytes => Self::Bytes,
        }
    }
}

/// Reads a part of a whole.
fn part(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    match value {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected \"0%\" to \"100%\", or 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_part_is_a_percentage_or_a_fraction() {
        for (text, value) in [("1%", Some(0.01)), ("100 %", Some(1.0)), ("0.5", Some(0.5)), ("0", Some(0.0))] {
            assert_eq!(part(text).ok(), value, "{text}");
        }
        for text in ["101%", "-1%", "2", "x", "", "%", "NaN"] {
            assert!(part(text).is_err(), "{text}");
        }
    }
}
