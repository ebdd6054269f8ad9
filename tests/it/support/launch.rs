//! One server's process group: started, watched, stopped, killed.
//!
//! A shell stands between us and the server and reads a pipe that only we hold open. It takes the server down when it is
//! told to, and also when the pipe closes because this process is gone: killed, timed out, or at its end with servers in
//! statics. Then it removes the scratch directory too, which nobody else would.

use super::client::{Address, Client};
use super::scratch::Scratch;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::marker::PhantomData;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// `$1` is the scratch directory, the rest the server's arguments. `setsid` gives the server a process group of its own.
const WATCH: &str = r#"
scratch=$1; shift
exec 3<&0
setsid "$@" </dev/null 3<&- &
server=$!
(
  read -r word <&3 || : >"$scratch/orphaned"
  if [ "$word" = stop ]; then
    kill -s TERM "$server"
    for i in $(seq 100); do kill -s 0 "$server" && sleep 0.1; done
  fi
  kill -s KILL -- "-$server"
) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$server"
kill -s KILL -- "-$server" 2>/dev/null
kill -s KILL "$watcher" 2>/dev/null
if [ -e "$scratch/orphaned" ]; then rm -rf "$scratch"; fi
"#;

/// How long a server may take to answer. A fraction of a second is usual; a loaded machine takes some.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it answers.
const GLANCE: Duration = Duration::from_millis(5);
/// How often other ports are tried when somebody else took the chosen ones.
const PORTS_ATTEMPTS: usize = 8;
/// Below Linux's ports for outgoing connections (32768 and up), so that none of those takes a port whose server is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// Where a server listens: plain text with STARTTLS, and TLS from the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(super) imap: u16,
    pub(super) imaps: u16,
}

/// What is needed to bring a server up.
pub(crate) struct Recipe {
    /// The server and its arguments; it stays in the foreground.
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Its greeting holds this and no other server's does.
    pub(super) greeting: String,
    /// Told to stop, it kills all its processes and waits for them; killed itself, it might leave some for a moment.
    pub(super) stops_by_killing: bool,
}

/// A kind of server.
pub(crate) trait Kind {
    /// How one differs from the usual one.
    type Options: Default;

    /// Says why there can be none here.
    fn available() -> Result<(), String>;
    /// Writes all that a server reads into its scratch directory; once per attempt to find ports.
    fn prepare(scratch: &Scratch, ports: Ports, options: &Self::Options) -> Recipe;
}

/// The password of every user, on every server.
pub(crate) const PASSWORD: &str = "pass";

/// A running server, taken down when dropped; or one that did run and can again on the same ports and store.
pub(crate) struct Launched<K> {
    running: Option<Running>,
    pub(super) scratch: Scratch,
    ports: Ports,
    recipe: Recipe,
    kind: PhantomData<K>,
}

impl<K: Kind> Launched<K> {
    /// Says why there can be none here.
    pub(crate) fn available() -> Result<(), String> {
        super::find_program("setsid").ok_or("no program setsid")?;
        K::available()
    }

    /// Starts one on free ports. Panics with what it said if it does not come up; ask [`Launched::available`] first.
    pub(crate) fn start(options: K::Options) -> Self {
        let scratch = Scratch::new();
        scratch.directory("log");
        for _ in 0..PORTS_ATTEMPTS {
            let ports = Ports { imap: free_port(), imaps: free_port() };
            let recipe = K::prepare(&scratch, ports, &options);
            match Running::begin(&scratch, ports, &recipe) {
                Ok(running) => return Self { running: Some(running), scratch, ports, recipe, kind: PhantomData },
                Err(reason) if reason.contains("in use") => (),
                Err(reason) => panic!("{reason}"),
            }
        }
        panic!("no free ports in {PORTS_ATTEMPTS} attempts");
    }

    /// Starts one, or skips the running test.
    pub(crate) fn start_or_skip(options: K::Options) -> Option<Self> {
        super::is_available(Self::available()).then(|| Self::start(options))
    }
}

impl<K> Launched<K> {
    /// Gives the port of plain text and STARTTLS on 127.0.0.1.
    pub(crate) fn imap(&self) -> u16 {
        self.ports.imap
    }

    /// Gives the port of implicit TLS on 127.0.0.1.
    pub(crate) fn imaps(&self) -> u16 {
        self.ports.imaps
    }

    /// Gives the authority to trust, in PEM.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.scratch.join("ca.pem")
    }

    /// Gives the address of implicit TLS.
    pub(crate) fn address(&self) -> Address {
        Address::tls(self.imaps(), &self.ca_file())
    }

    /// Signs in over TLS.
    pub(crate) fn client(&self, user: &str) -> Client {
        Client::sign_in(&self.address(), user, PASSWORD)
    }

    /// Starts it again on its ports, with its mail.
    pub(crate) fn start_again(&mut self) {
        assert!(self.running.is_none(), "the server runs");
        match Running::begin(&self.scratch, self.ports, &self.recipe) {
            Ok(running) => self.running = Some(running),
            Err(reason) => panic!("{reason}"),
        }
    }

    /// Takes it down in order; its clients see their connections closed. Nothing if it is down.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.end(STOP);
        }
    }

    /// Takes it down with all its processes at once, by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Gives what it has said so far, in all its log files.
    pub(crate) fn log(&self) -> String {
        log(&self.scratch)
    }
}

impl<K> Drop for Launched<K> {
    fn drop(&mut self) {
        // A Dovecot told to stop takes a second.
        self.kill();
        if thread::panicking() {
            let server = self.recipe.arguments[0].display();
            eprintln!("--- {server} on ports {} and {}\n{}---", self.ports.imap, self.ports.imaps, self.log());
        }
    }
}

/// The shell that watches a server, and the pipe by which it is told what to do.
struct Running {
    shell: Child,
    orders: Option<ChildStdin>,
    kill: &'static [u8],
}

const STOP: &[u8] = b"stop\n";
const KILL: &[u8] = b"kill\n";

impl Running {
    fn begin(scratch: &Scratch, ports: Ports, recipe: &Recipe) -> Result<Self, String> {
        let output = scratch.join("log/output");
        let output = File::options().create(true).append(true).open(output).expect("a file for output");
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(scratch.path())
            .args(&recipe.arguments)
            .envs(recipe.environment.iter().cloned())
            .current_dir(scratch.path())
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a file for output"))
            .stderr(output)
            // Out of reach of a terminal's Ctrl-C: the pipe tells it that we are gone.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("failed to run sh: {error}"))?;
        let orders = shell.stdin.take();
        let mut running = Self { shell, orders, kill: if recipe.stops_by_killing { STOP } else { KILL } };
        match running.wait_until_it_answers(ports, recipe) {
            Ok(()) => Ok(running),
            Err(reason) => {
                running.end(running.kill);
                Err(format!("{}: {reason}\n{}", recipe.arguments[0].display(), log(scratch)))
            }
        }
    }

    fn wait_until_it_answers(&mut self, ports: Ports, recipe: &Recipe) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            match Client::connect(&Address::plain(ports.imap)).map(|client| client.greeting().to_string()) {
                Ok(greeting) if greeting.contains(&recipe.greeting) => {
                    match TcpStream::connect(("127.0.0.1", ports.imaps)) {
                        // Courier has a process for each port.
                        Err(_) if begin.elapsed() < PATIENCE => thread::sleep(GLANCE),
                        _ => return Ok(()),
                    }
                }
                Ok(greeting) => return Err(format!("port in use, another server answers: {greeting}")),
                Err(_) if self.has_ended() => return Err("the server ended at its start".into()),
                Err(error) if begin.elapsed() > PATIENCE => return Err(format!("no answer: {error}")),
                Err(_) => thread::sleep(GLANCE),
            }
        }
    }

    fn has_ended(&mut self) -> bool {
        self.shell.try_wait().is_ok_and(|status| status.is_some())
    }

    fn end(&mut self, order: &[u8]) {
        let Some(mut orders) = self.orders.take() else { return };
        // Fails where the server has ended by itself.
        let _ = orders.write_all(order);
        let _ = self.shell.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(self.kill);
    }
}

fn log(scratch: &Scratch) -> String {
    let entries = fs::read_dir(scratch.join("log")).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().map(|file| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()).collect()
}

/// Finds a port that is free on 127.0.0.1 and was given to nobody else in this process.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut chance = fastrand::Rng::new();
    loop {
        let port = chance.u16(PORTS);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}
