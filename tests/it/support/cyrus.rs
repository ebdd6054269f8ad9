//! A Cyrus 3.6 of the test's own, from packages that `tests/servers` unpacks.
//!
//! What it logs goes to syslog, wherever that is: only its output is kept.

use super::authority::{Authority, Certificate};
use super::client::{Address, Client};
use super::launch::{Launched, Ports, Recipe};
use super::scratch::Scratch;
use super::{Identity, find_program, servers_directory};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The password of every user.
pub(crate) const PASSWORD: &str = "pass";
/// May sign in as anybody, by an authorization identity of AUTHENTICATE PLAIN.
pub(crate) const ADMIN: (&str, &str) = ("cyrus", "cyruspass");

/// How a Cyrus differs from the usual one.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Folders beside INBOX and `/` between the parts, as Cyrus 3 is set up anew; else below `INBOX.`, with `.`.
    pub(crate) alternative_namespace: bool,
    /// How many users there are: `u0001`, `u0002` and so on.
    pub(crate) users: usize,
    /// What it shows.
    pub(crate) certificate: Certificate,
    /// Further lines for `imapd.conf`.
    pub(crate) extra: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { alternative_namespace: false, users: 5, certificate: Certificate::Good, extra: String::new() }
    }
}

/// A running Cyrus, taken down when dropped.
pub(crate) struct Cyrus {
    launched: Launched,
}

impl Cyrus {
    /// Says why there can be none here.
    pub(crate) fn available() -> Result<(), String> {
        let programs = Programs::find();
        for program in [&programs.master, &programs.imapd, &programs.ctl_cyrusdb, &programs.saslpasswd2] {
            if !program.exists() {
                return Err(format!("Cyrus is not unpacked: no {}", program.display()));
            }
        }
        find_program("setsid").ok_or("no program setsid")?;
        let output = programs.command(&programs.imapd).arg("-?").output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("shared libraries") { Err(format!("Cyrus cannot run: {}", said.trim())) } else { Ok(()) }
    }

    /// Starts one. Panics if it does not come up; ask [`Cyrus::available`] first.
    pub(crate) fn start(options: Options) -> Self {
        let programs = Programs::find();
        let launched = Launched::start(Scratch::new(), |scratch, ports| prepare(scratch, ports, &options, &programs));
        Self { launched }
    }

    /// Starts one, or skips the running test.
    pub(crate) fn start_or_skip(options: Options) -> Option<Self> {
        super::is_available(Self::available()).then(|| Self::start(options))
    }

    /// Gives the port of plain text and STARTTLS on 127.0.0.1.
    pub(crate) fn imap(&self) -> u16 {
        self.launched.ports.imap
    }

    /// Gives the port of implicit TLS on 127.0.0.1.
    pub(crate) fn imaps(&self) -> u16 {
        self.launched.ports.imaps
    }

    /// Gives the authority to trust, in PEM.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.launched.scratch.join("ca.pem")
    }

    /// Gives the address of implicit TLS.
    pub(crate) fn address(&self) -> Address {
        Address::tls(self.imaps(), &self.ca_file())
    }

    /// Signs in over TLS.
    pub(crate) fn client(&self, user: &str) -> Client {
        Client::sign_in(&self.address(), user, PASSWORD)
    }

    /// Takes it down in order; its clients see their connections closed. Nothing if it is down.
    pub(crate) fn stop(&mut self) {
        self.launched.stop();
    }

    /// Takes it down with all its processes at once, by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.launched.kill();
    }

    /// Starts it again on its ports, with its mail.
    pub(crate) fn start_again(&mut self) {
        self.launched.start_again();
    }
}

/// Where the parts of Cyrus are.
struct Programs {
    master: PathBuf,
    imapd: PathBuf,
    ctl_cyrusdb: PathBuf,
    saslpasswd2: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Programs {
    fn find() -> Self {
        let root = servers_directory();
        let directories = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
        let files = directories.flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten());
        let is_library = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libcyrus") && name.ends_with(".so.0")
        };
        let bin = root.join("usr/lib/cyrus/bin");
        Self {
            master: bin.join("master"),
            imapd: bin.join("imapd"),
            ctl_cyrusdb: bin.join("ctl_cyrusdb"),
            saslpasswd2: root.join("usr/sbin/saslpasswd2"),
            libraries: files.map(|entry| entry.path()).filter(is_library).collect(),
        }
    }

    /// Copies them to where a user without rights gets at them: the project may lie in root's own directory.
    fn copy_to(&self, scratch: &Scratch) -> Self {
        let (bin, lib) = (scratch.directory("bin"), scratch.directory("lib"));
        let copy = |file: &PathBuf, directory: &Path| {
            let copied = directory.join(file.file_name().expect("a file"));
            fs::copy(file, &copied).expect("a copied program");
            copied
        };
        Self {
            master: copy(&self.master, &bin),
            imapd: copy(&self.imapd, &bin),
            ctl_cyrusdb: copy(&self.ctl_cyrusdb, &bin),
            saslpasswd2: copy(&self.saslpasswd2, &bin),
            libraries: self.libraries.iter().map(|file| copy(file, &lib)).collect(),
        }
    }

    fn library_path(&self) -> OsString {
        let directories: BTreeSet<_> = self.libraries.iter().filter_map(|file| file.parent()).collect();
        std::env::join_paths(directories).expect("paths without colons")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", self.library_path());
        command
    }
}

fn prepare(scratch: &Scratch, ports: Ports, options: &Options, programs: &Programs) -> Recipe {
    let programs = programs.copy_to(scratch);
    let authority = Authority::of_process();
    let shown = authority.issue(options.certificate);
    let owner = Identity::unprivileged().expect("who mail belongs to");
    for directory in ["conf/socket", "spool", "run/proc", "run/lock", "run/socket"] {
        scratch.directory(directory);
    }
    scratch.write("ca.pem", authority.pem());
    scratch.write("server.pem", &format!("{}{}", shown.certificate, shown.key));
    let imapd = scratch.write("imapd.conf", &imapd_configuration(scratch, options, &owner));
    let cyrus = scratch.write("cyrus.conf", &cyrus_configuration(&imapd, ports, &programs));
    let users = (1..=options.users).map(|number| (format!("u{number:04}"), PASSWORD));
    for (user, password) in users.chain([(ADMIN.0.to_owned(), ADMIN.1)]) {
        add_user(scratch, &programs, &user, password);
    }
    scratch.give_to(scratch.path(), &owner);
    let pid = scratch.join("run/pid");
    let arguments: [&OsStr; 7] = [
        programs.master.as_ref(),
        "-C".as_ref(),
        imapd.as_ref(),
        "-M".as_ref(),
        cyrus.as_ref(),
        "-p".as_ref(),
        pid.as_ref(),
    ];
    Recipe {
        arguments: arguments.map(OsString::from).to_vec(),
        environment: vec![("LD_LIBRARY_PATH".into(), programs.library_path())],
        greeting: scratch.name(),
    }
}

/// Sign-in looks names up under the server's own name, which is that of the scratch directory.
fn add_user(scratch: &Scratch, programs: &Programs, user: &str, password: &str) {
    let mut child = programs
        .command(&programs.saslpasswd2)
        .args(["-p", "-c", "-u", &scratch.name(), "-f"])
        .arg(scratch.join("sasldb2"))
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("saslpasswd2");
    child.stdin.take().expect("a pipe").write_all(password.as_bytes()).expect("saslpasswd2 reads the password");
    assert!(child.wait().expect("saslpasswd2").success(), "saslpasswd2 refuses {user}");
}

fn imapd_configuration(scratch: &Scratch, options: &Options, owner: &Identity) -> String {
    let alternative = if options.alternative_namespace { "yes" } else { "no" };
    format!(
        "configdirectory: {root}/conf
partition-default: {root}/spool
defaultpartition: default
proc_path: {root}/run/proc
mboxname_lockpath: {root}/run/lock
idlesocket: {root}/run/socket/idle
notifysocket: {root}/run/socket/notify
lmtpsocket: {root}/run/socket/lmtp
cyrus_user: {user}
cyrus_group: {group}
servername: {name}
admins: {admin}
altnamespace: {alternative}
unixhierarchysep: {alternative}
allowplaintext: yes
autocreate_users: anyone
autocreate_quota: 0
conversations: no
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {root}/sasldb2
sasl_mech_list: PLAIN LOGIN
tls_server_cert: {root}/server.pem
tls_server_key: {root}/server.pem
maxlogins_per_user: 0
failedloginpause: 0
{extra}
",
        root = scratch.path().display(),
        user = owner.user,
        group = owner.group,
        name = scratch.name(),
        admin = ADMIN.0,
        extra = options.extra,
    )
}

fn cyrus_configuration(imapd: &Path, ports: Ports, programs: &Programs) -> String {
    format!(
        r#"START {{
  recover cmd="{ctl} -C {conf} -r"
}}
SERVICES {{
  imap cmd="{program} -C {conf} -U 30" listen="127.0.0.1:{imap}" prefork=1 maxchild=200
  imaps cmd="{program} -C {conf} -s -U 30" listen="127.0.0.1:{imaps}" prefork=1 maxchild=200
}}
EVENTS {{
  checkpoint cmd="{ctl} -C {conf} -c" period=30
}}
"#,
        ctl = programs.ctl_cyrusdb.display(),
        program = programs.imapd.display(),
        conf = imapd.display(),
        imap = ports.imap,
        imaps = ports.imaps,
    )
}
