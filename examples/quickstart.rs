//! A whole migration on this machine: `cargo run --release --example quickstart`
//!
//! Two IMAP servers in this process speak TLS on loopback sockets. The engine is the real one: each of its commands runs as
//! a process of its own, which is this program again with [`ENGINE`] before mailhaul's own arguments. One is killed half
//! way. At the end both mailboxes are compared here, without the engine.
//!
//! With `-- --stay` the servers stay up until Ctrl-C, so that further commands can be tried on them.

use mailhaul_testserver::generate::{self, GenerateOptions, GeneratedFolder};
use mailhaul_testserver::{Account, Ca, Config, Layout, Server, dates};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// The first argument of a process that is to be the engine.
const ENGINE: &str = "--as-mailhaul";
const MESSAGES: usize = 3000;
/// The same seed makes the same mailbox.
const SEED: u64 = 7;
const OLD_USER: &str = "anna@old.example";
const NEW_USER: &str = "anna@new.example";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == ENGINE).is_some() {
        return mailhaul::cli::main_with(std::iter::once(OsString::from("mailhaul")).chain(arguments));
    }
    let stay = arguments.any(|argument| argument == "--stay");
    let ran = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(quickstart(stay)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nThe quickstart failed to {error}");
            ExitCode::FAILURE
        }
    }
}

async fn quickstart(stay: bool) -> Result<bool, Box<dyn Error>> {
    title("Two IMAP servers on this machine");
    let ca = Ca::new()?;
    let source = Server::start(Config::with_user(OLD_USER, "old secret").with_ca(&ca)).await?;
    let target_layout = Layout::inbox_dot();
    let config = Config::with_user(NEW_USER, "new secret").with_ca(&ca).with_layout(target_layout.clone());
    let target = Server::start(config).await?;
    let (old, new) = (source.account(OLD_USER), target.account(NEW_USER));
    // A mark as deleted is left out by default, so none is made.
    let options = GenerateOptions { body_bytes: 4000, deleted: false, ..GenerateOptions::default() };
    let folders = generate::mailbox(SEED, MESSAGES, &options);
    old.fill(&folders).map_err(|error| format!("fill the source: {error}"))?;
    println!("source  localhost:{}, TLS, folders as in a/b, {}", source.port(), holdings(&old));
    println!("target  localhost:{}, TLS, folders as in INBOX.a.b, {}", target.port(), holdings(&new));
    println!("Among the folders: {}", some_names(&folders));

    let place = Place::make(&ca, source.port(), target.port())?;
    title("mailhaul run, killed with SIGKILL half way");
    let half = MESSAGES as u64 / 2;
    let mut run = place.engine(&["run", &place.job()], "run")?;
    let survived = tokio::select! {
        ended = run.wait() => Some(ended?),
        () = arrived(&target, half) => None,
    };
    if let Some(status) = survived {
        place.show("run.log")?;
        return Err(format!("interrupt the run: it ended before, with {status}").into());
    }
    run.kill().await?;
    println!("killed after {} of {MESSAGES} messages had arrived", target.stats().messages_stored);

    place.command("mailhaul status", &["status", &place.job()], "status").await?;
    let resumed = place.command("mailhaul resume", &["resume"], "resume").await?;
    let verify = ["verify", &place.job(), "--level", "bytes"];
    let verified = place.command("mailhaul verify --level bytes", &verify, "verify").await?;

    title("Both mailboxes compared by this program, without the engine");
    let differences = compare(&old, &new, &folders, &GenerateOptions { layout: target_layout, ..options })?;
    println!("source  {}", holdings(&old));
    println!("target  {}", holdings(&new));
    differences.iter().take(20).for_each(|difference| println!("  {difference}"));
    if differences.is_empty() {
        println!(
            "Equal: folders, subscriptions, and of each message bytes, flags, keywords, date and how often it is there."
        );
    }
    let is_good = differences.is_empty() && resumed && verified;
    title(if is_good { "Verdict: nothing lost, nothing twice, nothing changed" } else { "Verdict: NOT EQUAL" });
    println!("job file  {}", place.job());
    println!("state     {}", place.state().display());
    println!("logs      {}", place.0.display());
    if stay {
        println!("\nThe servers stay up until Ctrl-C. In another terminal, for example:");
        println!("  cargo run --release -- plan {} --state {}", place.job(), place.state().display());
        tokio::signal::ctrl_c().await?;
    }
    source.stop().await;
    target.stop().await;
    Ok(is_good)
}

/// The directory of job file, passwords, state and logs.
struct Place(PathBuf);

impl Place {
    /// Makes it, with all that a migration needs.
    fn make(ca: &Ca, source: u16, target: u16) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::Builder::new().prefix("mailhaul-quickstart-").tempdir()?.keep();
        let secret = |name: &str, text: &str| -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(directory.join(name))?.write_all(text.as_bytes())
        };
        secret("old-password", "old secret\n")?;
        secret("new-password", "new secret\n")?;
        fs::write(directory.join("ca.pem"), ca.pem())?;
        let job = format!(
            r#"name = "quickstart"

[source]
host = "localhost"
port = {source}
ca_file = "ca.pem"

[target]
host = "localhost"
port = {target}
ca_file = "ca.pem"

[[account]]
name = "anna"
source = {{ user = "{OLD_USER}", password = {{ file = "old-password" }} }}
target = {{ user = "{NEW_USER}", password = {{ file = "new-password" }} }}
"#
        );
        fs::write(directory.join("job.toml"), job)?;
        Ok(Self(directory))
    }

    fn job(&self) -> String {
        self.0.join("job.toml").display().to_string()
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Starts the engine as a process of its own. Results go to `LOG.txt`, what it tells on the way to `LOG.log`.
    fn engine(&self, arguments: &[&str], log: &str) -> Result<tokio::process::Child, Box<dyn Error>> {
        let child = Command::new(std::env::current_exe()?)
            .arg(ENGINE)
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.0.join(format!("{log}.txt")))?)
            .stderr(fs::File::create(self.0.join(format!("{log}.log")))?)
            .kill_on_drop(true)
            .spawn()?;
        Ok(child)
    }

    /// Runs the engine to its end and shows the result; tells whether it is success.
    async fn command(&self, name: &str, arguments: &[&str], log: &str) -> Result<bool, Box<dyn Error>> {
        title(name);
        let status = self.engine(arguments, log)?.wait().await?;
        self.show(&format!("{log}.txt"))?;
        if !status.success() {
            println!("ended with {status}");
            self.show(&format!("{log}.log"))?;
        }
        Ok(status.success())
    }

    /// Shows how a file begins.
    fn show(&self, name: &str) -> Result<(), Box<dyn Error>> {
        const LINES_MAX: usize = 8;
        let text = fs::read_to_string(self.0.join(name))?;
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().take(LINES_MAX).for_each(|line| println!("  {line}"));
        if lines.len() > LINES_MAX {
            println!("  … {} lines more in {name}", lines.len() - LINES_MAX);
        }
        Ok(())
    }
}

/// Waits until so many messages have arrived.
async fn arrived(server: &Server, messages: u64) {
    while server.stats().messages_stored < messages {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What makes two messages the same.
type Same = (Vec<u8>, Vec<String>, Option<i64>);

/// Gives what differs. `expected` says how the target writes names; the messages are those the source really holds.
fn compare(
    old: &Account,
    new: &Account,
    folders: &[GeneratedFolder],
    expected: &GenerateOptions,
) -> Result<Vec<String>, Box<dyn Error>> {
    let names = generate::mailbox(SEED, 0, expected);
    let mut differences = Vec::new();
    for (here, there) in folders.iter().zip(&names) {
        let path = here.path.join("/");
        let Some(found) = new.folder(&there.wire_name) else {
            differences.push(format!("{path:?} is missing"));
            continue;
        };
        if old.folder(&here.wire_name).is_some_and(|folder| folder.subscribed != found.subscribed) {
            differences.push(format!("{path:?}: the subscription differs"));
        }
        let mut surplus: BTreeMap<Same, i64> = BTreeMap::new();
        for (account, name, count) in [(old, &here.wire_name, -1), (new, &there.wire_name, 1)] {
            for message in account.messages(name).map_err(|error| format!("read {path:?}: {error}"))? {
                let flags = message.flags.iter().map(|flag| flag.to_lowercase()).collect();
                let same = (message.body.to_vec(), flags, dates::instant(&message.date));
                *surplus.entry(same).or_default() += count;
            }
        }
        let (missing, more) = surplus.values().fold((0, 0), |(less, more), n| (less - n.min(&0), more + n.max(&0)));
        if missing + more > 0 {
            differences.push(format!("{path:?}: {missing} messages are missing or changed, {more} are too many"));
        }
    }
    // Or the parent of one.
    let is_known = |name: &[u8]| names.iter().any(|folder| folder.wire_name.starts_with(name));
    for folder in new.folders().iter().filter(|folder| !is_known(&folder.name)) {
        differences.push(format!("{:?} is too much", String::from_utf8_lossy(&folder.name)));
    }
    Ok(differences)
}

fn holdings(account: &Account) -> String {
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let (messages, folders) = (counted(account.count(), "message"), counted(account.folders().len(), "folder"));
    format!("{messages} ({} KiB) in {folders}", account.bytes() / 1024)
}

fn some_names(folders: &[GeneratedFolder]) -> String {
    let odd = |folder: &&GeneratedFolder| folder.path.join("").chars().any(|c| !c.is_ascii_alphanumeric());
    let names = folders.iter().filter(odd).step_by(5).map(|folder| format!("“{}”", folder.path.join("/")));
    names.collect::<Vec<_>>().join(", ")
}

fn title(text: &str) {
    println!("\n== {text}");
}
