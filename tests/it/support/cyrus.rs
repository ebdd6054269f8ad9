//! A Cyrus 3.6 of the test's own, from packages that `tests/servers` unpacks.
//!
//! What it logs goes to syslog, wherever that is: only its output is kept.

use super::Identity;
use super::authority::{Authority, Certificate};
pub(crate) use super::launch::PASSWORD;
use super::launch::{Kind, Launched, Ports, Recipe};
use super::scratch::Scratch;
use super::unpacked::Unpacked;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

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
pub(crate) type Cyrus = Launched<Cyrus36>;

/// Cyrus 3.6 as a kind of server.
pub(crate) struct Cyrus36;

impl Kind for Cyrus36 {
    type Options = Options;

    fn available() -> Result<(), String> {
        unpacked().available("imapd")
    }

    fn prepare(scratch: &Scratch, ports: Ports, options: &Options) -> Recipe {
        let programs = unpacked().copy_to(scratch);
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
        let mut arguments: Vec<OsString> = vec![programs.path("master").into()];
        for (option, value) in [("-C", imapd), ("-M", cyrus), ("-p", pid)] {
            arguments.extend([option.into(), value.into()]);
        }
        Recipe {
            arguments,
            environment: vec![("LD_LIBRARY_PATH".into(), programs.library_path())],
            greeting: scratch.name(),
            stops_by_killing: false,
        }
    }
}

fn unpacked() -> Unpacked {
    let programs = ["lib/cyrus/bin/master", "lib/cyrus/bin/imapd", "lib/cyrus/bin/ctl_cyrusdb", "sbin/saslpasswd2"];
    Unpacked::find("Cyrus", &programs, &["libcyrus"])
}

/// Sign-in looks names up under the server's own name, which is that of the scratch directory.
fn add_user(scratch: &Scratch, programs: &Unpacked, user: &str, password: &str) {
    let mut child = programs
        .command("saslpasswd2")
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

fn cyrus_configuration(imapd: &Path, ports: Ports, programs: &Unpacked) -> String {
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
        ctl = programs.path("ctl_cyrusdb").display(),
        program = programs.path("imapd").display(),
        conf = imapd.display(),
        imap = ports.imap,
        imaps = ports.imaps,
    )
}
