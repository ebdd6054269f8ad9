//! A Courier 5 of the test's own, from packages that `tests/servers` unpacks.
//!
//! Its paths below `/etc` and `/run` are compiled in: it runs where the scratch directory is mounted over them, which
//! nobody else sees. Names are below `INBOX.`, with `.` between their parts.

use super::authority::{Authority, Certificate};
pub(crate) use super::launch::PASSWORD;
use super::launch::{Kind, Launched, Ports, Recipe};
use super::scratch::Scratch;
use super::unpacked::Unpacked;
use super::{Identity, find_program};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// How a Courier differs from the usual one.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How many users there are: `u0001`, `u0002` and so on.
    pub(crate) users: usize,
    /// What it shows.
    pub(crate) certificate: Certificate,
}

impl Default for Options {
    fn default() -> Self {
        Self { users: 5, certificate: Certificate::Good }
    }
}

/// A running Courier, taken down when dropped.
pub(crate) type Courier = Launched<Courier5>;

/// Courier 5 as a kind of server.
pub(crate) struct Courier5;

impl Kind for Courier5 {
    type Options = Options;

    fn available() -> Result<(), String> {
        unpacked().available("couriertcpd")?;
        find_program("setpriv").ok_or("no program setpriv")?;
        let is_private = Command::new("unshare").args(private()).arg("true").stderr(Stdio::null()).status();
        let is_private = is_private.is_ok_and(|status| status.success());
        if is_private { Ok(()) } else { Err("nothing can be mounted for Courier alone (unshare fails)".into()) }
    }

    fn prepare(scratch: &Scratch, ports: Ports, options: &Options) -> Recipe {
        let programs = unpacked().copy_to(scratch);
        let authority = Authority::of_process();
        let shown = authority.issue(options.certificate);
        let owner = Identity::unprivileged().expect("who mail belongs to");
        for directory in ["etc/courier/shared", "run/courier/authdaemon"] {
            scratch.directory(directory);
        }
        for file in ["passwd", "group", "nsswitch.conf", "ld.so.cache"] {
            // What is not there is not needed.
            let _ = fs::copy(format!("/etc/{file}"), scratch.join("etc").join(file));
        }
        scratch.write("ca.pem", authority.pem());
        scratch.write("server.pem", &format!("{}{}", shown.certificate, shown.key));
        scratch.write("etc/courier/authdaemonrc", AUTHENTICATION);
        write_users(scratch, &programs, options.users, &owner);
        scratch.give_to(scratch.path(), &owner);
        let mut arguments: Vec<OsString> = ["sh", "-c", OUTSIDE, "sh"].map(OsString::from).to_vec();
        arguments.push(scratch.path().into());
        arguments.push(INSIDE.into());
        arguments.extend(private().map(OsString::from));
        let environment = environment(scratch, &programs, ports, &owner);
        Recipe { arguments, environment, greeting: scratch.name(), stops_by_killing: true }
    }
}

fn unpacked() -> Unpacked {
    let programs = [
        "bin/imapd",
        "bin/couriertls",
        "sbin/couriertcpd",
        "lib/courier/courier/imaplogin",
        "lib/courier/courier-authlib/authdaemond",
        "lib/courier/courier-authlib/makedatprog",
    ];
    Unpacked::find("Courier", &programs, &["libcourierauth", "libauthuserdb"])
}

/// What `unshare` is told: without root's rights one is root in a world of one's own, and owns there what is one's own.
fn private() -> [&'static str; 5] {
    let is_root = Identity::own().is_ok_and(|own| own.uid == 0);
    [if is_root { "--mount" } else { "-rm" }, "--pid", "--fork", "--propagation", "private"]
}

/// couriertcpd leaves its process group, so that all run in a world of processes of their own, which ends with its first
/// one; that one ends with the pipe.
const OUTSIDE: &str = r#"
mkfifo "$1/leash" 2>/dev/null
scratch=$1 inside=$2
shift 2
unshare "$@" sh -c "$inside" sh "$scratch" <"$scratch/leash" &
exec 3>"$scratch/leash"
trap : TERM
wait
exec 3>&-
wait
"#;

const INSIDE: &str = r#"
set -e
mount --bind "$1/etc" /etc
mount --bind "$1/run" /run
exec $AS sh -c '
  exec 3<&0 </dev/null
  bin=$1/bin
  socket=/run/courier/authdaemon/socket
  rm -f "$socket"
  "$bin/authdaemond" 3<&- &
  until [ -S "$socket" ]; do sleep 0.02; done
  serve() { "$bin/couriertcpd" -address=127.0.0.1 -maxprocs=200 -maxperip=200 -nodnslookup -noidentlookup "$@" 3<&-; }
  IMAP_TLS=1 serve "$IMAPS_PORT" "$COURIERTLS" -server -tcpd "$bin/imaplogin" "$bin/imapd" Maildir &
  serve "$IMAP_PORT" "$bin/imaplogin" "$bin/imapd" Maildir &
  read -r end <&3
' sh "$1"
"#;

const AUTHENTICATION: &str = "authmodulelist=\"authuserdb\"
authmodulelistorig=\"authuserdb\"
daemons=3
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
DEFAULTOPTIONS=\"\"
LOGGEROPTS=\"\"
";

/// What Courier's own start scripts export: as Debian sets it up, but that no folder is emptied by itself.
fn environment(scratch: &Scratch, programs: &Unpacked, ports: Ports, owner: &Identity) -> Vec<(OsString, OsString)> {
    const CAPABILITY: &str =
        "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE AUTH=PLAIN";
    // Its greeting has no name, only capabilities.
    let capability = format!("{CAPABILITY} X-{}", scratch.name());
    let is_root = Identity::own().is_ok_and(|own| own.uid == 0);
    let user = format!("setpriv --reuid={} --regid={} --clear-groups", owner.uid, owner.gid);
    let own = [
        ("AS", if is_root { user } else { String::new() }),
        ("IMAP_PORT", ports.imap.to_string()),
        ("IMAPS_PORT", ports.imaps.to_string()),
        ("COURIERTLS", programs.path("couriertls").display().to_string()),
        ("TLS_CERTFILE", scratch.join("server.pem").display().to_string()),
        ("IMAP_CAPABILITY", capability.clone()),
        ("IMAP_CAPABILITY_TLS", capability),
    ];
    let same = [
        ("TLS_VERIFYPEER", "NONE"),
        ("TLS_PROTOCOL", "TLSv1.2+"),
        ("TLS_STARTTLS_PROTOCOL", "TLSv1.2+"),
        ("IMAP_STARTTLS", "YES"),
        ("IMAP_TLS_REQUIRED", "0"),
        ("IMAP_KEYWORDS", "1"),
        ("IMAP_ACL", "1"),
        ("IMAP_CHECK_ALL_FOLDERS", "0"),
        ("IMAP_OBSOLETE_CLIENT", "0"),
        ("IMAP_MAILBOX_SANITY_CHECK", "1"),
        ("IMAP_TRASHFOLDERNAME", "Trash"),
        ("IMAP_SHAREDINDEXFILE", "/etc/courier/shared/index"),
        ("MAILDIRPATH", "Maildir"),
    ];
    let mut all: Vec<(OsString, OsString)> = vec![("LD_LIBRARY_PATH".into(), programs.library_path())];
    all.extend(own.into_iter().map(|(name, value)| (name.into(), value.into())));
    all.extend(same.map(|(name, value)| (name.into(), value.into())));
    all
}

/// Writes the two databases that sign-in looks names up in, and an empty mailbox for each user.
fn write_users(scratch: &Scratch, programs: &Unpacked, count: usize, owner: &Identity) {
    let is_root = Identity::own().is_ok_and(|own| own.uid == 0);
    let (uid, gid) = if is_root { (owner.uid, owner.gid) } else { (0, 0) };
    let hash = format!("{{SHA256}}{}", STANDARD.encode(Sha256::digest(PASSWORD)));
    let (mut places, mut passwords) = (String::new(), String::new());
    for user in (1..=count).map(|number| format!("u{number:04}")) {
        let home = scratch.join("mail").join(&user).display().to_string();
        for part in ["cur", "new", "tmp"] {
            scratch.directory(&format!("mail/{user}/Maildir/{part}"));
        }
        writeln!(places, "{user}\tuid={uid}|gid={gid}|home={home}|mail={home}/Maildir").expect("a string");
        writeln!(passwords, "{user}\timappw={hash}|systempw={hash}").expect("a string");
    }
    for (name, lines) in [("userdb", places), ("userdbshadow", passwords)] {
        let mut child = programs
            .command("makedatprog")
            .arg("-")
            .arg(scratch.join("etc/courier/new"))
            .arg(scratch.join("etc/courier").join(format!("{name}.dat")))
            .stdin(Stdio::piped())
            .spawn()
            .expect("makedatprog");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(format!("{lines}.\n").as_bytes()).expect("makedatprog reads");
        drop(input);
        assert!(child.wait().expect("makedatprog").success(), "makedatprog refuses {name}");
    }
}
