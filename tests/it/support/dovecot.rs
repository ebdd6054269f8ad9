//! A Dovecot 2.3 of the test's own.

use super::authority::{Authority, Certificate};
pub(crate) use super::launch::PASSWORD;
use super::launch::{Kind, Launched, Ports, Recipe};
use super::scratch::Scratch;
use super::{Identity, find_program, token};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// May sign in as anybody: as `master`, or by an authorization identity of AUTHENTICATE PLAIN.
pub(crate) const MASTER: (&str, &str) = ("master", "masterpass");

/// How a Dovecot differs from the usual one.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Between the parts of a folder's name. Maildir keeps `.` on disk: no folder's name may hold it.
    pub(crate) separator: char,
    /// Before every folder's name but INBOX, such as `INBOX.`.
    pub(crate) prefix: &'static str,
    /// Where mail lies; `~` is the user's home. `mdbox:~/mdbox` lets names hold `.`.
    pub(crate) mail_location: &'static str,
    /// Announced instead of all it can do.
    pub(crate) capability: Option<&'static str>,
    /// How much a mailbox may hold.
    pub(crate) quota: Option<Quota>,
    /// What it shows.
    pub(crate) certificate: Certificate,
    /// Whether XOAUTH2 and OAUTHBEARER are offered beside passwords; see [`Dovecot::token`].
    pub(crate) oauth: bool,
    /// Connections a user may have at once from one address.
    pub(crate) connections_max: u32,
    /// Further lines of configuration, outside of any block.
    pub(crate) extra: String,
}

/// How much a mailbox may hold, in Dovecot's words, such as `4M`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) storage: &'static str,
    pub(crate) message_max: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            separator: '/',
            prefix: "",
            mail_location: "maildir:~/Maildir",
            capability: None,
            quota: None,
            certificate: Certificate::Good,
            oauth: false,
            connections_max: 200,
            extra: String::new(),
        }
    }
}

/// A running Dovecot, taken down when dropped. Every name signs in with [`PASSWORD`] and finds an empty mailbox.
pub(crate) type Dovecot = Launched<Dovecot23>;

/// Dovecot 2.3 as a kind of server.
pub(crate) struct Dovecot23;

impl Kind for Dovecot23 {
    type Options = Options;

    fn available() -> Result<(), String> {
        let program = find_program("dovecot").ok_or("Dovecot is not installed")?;
        let libraries = ["/usr/lib/dovecot/imap", "/usr/libexec/dovecot/imap"];
        if !libraries.iter().any(|imap| Path::new(imap).exists()) {
            return Err("Dovecot's IMAP part is not installed".into());
        }
        let version = Command::new(program).arg("--version").output().map_err(|error| error.to_string())?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        // 2.4 reads another language of configuration.
        if version.starts_with("2.3.") { Ok(()) } else { Err(format!("Dovecot 2.3 is needed, this is {version}")) }
    }

    fn prepare(scratch: &Scratch, ports: Ports, options: &Options) -> Recipe {
        let program = find_program("dovecot").expect("Dovecot");
        let configuration = scratch.write("dovecot.conf", &configuration(scratch, ports, options));
        Recipe {
            arguments: vec![program.into(), "-F".into(), "-c".into(), configuration.into()],
            environment: Vec::new(),
            greeting: scratch.name(),
            stops_by_killing: false,
        }
    }
}

impl Dovecot {
    /// Makes a bearer token for a user, good for so many seconds; negative: it is over. Needs [`Options::oauth`].
    pub(crate) fn token(&self, user: &str, seconds: i64) -> String {
        token::token(user, seconds)
    }

    /// Gives the directory that holds a user's mail.
    pub(crate) fn home(&self, user: &str) -> PathBuf {
        self.scratch.join("mail").join(user)
    }
}

/// Writes all that Dovecot reads, and gives its configuration.
fn configuration(scratch: &Scratch, ports: Ports, options: &Options) -> String {
    let own = Identity::own().expect("who this is");
    let mail = Identity::unprivileged().expect("who mail belongs to");
    scratch.give_to(&scratch.directory("mail"), &mail);
    let mut text = BASE.to_owned();
    text.push_str(&processes(scratch, &own));
    text.push_str(&services(ports, own.uid == 0));
    text.push_str(&certificate(scratch, options.certificate));
    text.push_str(&store(&mail, options));
    if options.oauth {
        text.push_str(&bearer(scratch));
    }
    text.push_str(&users(scratch, &mail));
    if let Some(capability) = options.capability {
        writeln!(text, "imap_capability = {capability}").expect("a string");
    }
    if let Some(quota) = options.quota {
        text.push_str(&limits(quota));
    }
    text.push_str(&options.extra);
    text
}

/// Where processes keep their files, and whom they run as.
fn processes(scratch: &Scratch, own: &Identity) -> String {
    let is_root = own.uid == 0;
    format!(
        "base_dir = {root}/run
state_dir = {root}/run
log_path = {root}/log/dovecot
login_greeting = {greeting} ready
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
",
        root = scratch.path().display(),
        greeting = scratch.name(),
        internal = if is_root { "dovecot" } else { &own.user },
        group = if is_root { "dovecot" } else { &own.group },
        login = if is_root { "dovenull" } else { &own.user },
    )
}

fn certificate(scratch: &Scratch, kind: Certificate) -> String {
    let authority = Authority::of_process();
    let shown = authority.issue(kind);
    scratch.write("ca.pem", authority.pem());
    let certificate = scratch.write("server.pem", &shown.certificate);
    let key = scratch.write("server.key", &shown.key);
    format!("ssl_cert = <{}\nssl_key = <{}\n", certificate.display(), key.display())
}

fn store(mail: &Identity, options: &Options) -> String {
    format!(
        "mail_uid = {uid}
mail_gid = {gid}
first_valid_uid = {uid}
first_valid_gid = {gid}
mail_location = {location}
mail_max_userip_connections = {connections_max}
namespace inbox {{
  inbox = yes
  separator = {separator}
  prefix = {prefix}
{SPECIAL}
}}
",
        uid = mail.uid,
        gid = mail.gid,
        location = options.mail_location,
        connections_max = options.connections_max,
        separator = options.separator,
        prefix = options.prefix,
    )
}

fn users(scratch: &Scratch, mail: &Identity) -> String {
    let masters = scratch.write("masters", &format!("{}:{{PLAIN}}{}\n", MASTER.0, MASTER.1));
    allow_reading(&masters);
    format!(
        "passdb {{
  driver = passwd-file
  master = yes
  args = scheme=PLAIN {masters}
}}
passdb {{
  driver = static
  args = password={PASSWORD}
  mechanisms = plain login
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/mail/%u allow_all_users=yes
}}
",
        masters = masters.display(),
        uid = mail.uid,
        gid = mail.gid,
        root = scratch.path().display(),
    )
}

/// What is the same for all.
const BASE: &str = "
listen = 127.0.0.1
protocols = imap
ssl = yes
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
auth_failure_delay = 0
auth_cache_size = 0
mail_fsync = never
";

const SPECIAL: &str = r"
  mailbox Drafts {
    special_use = \Drafts
  }
  mailbox Sent {
    special_use = \Sent
  }
  mailbox Junk {
    special_use = \Junk
  }
  mailbox Trash {
    special_use = \Trash
  }
  mailbox Archive {
    special_use = \Archive
  }";

fn services(ports: Ports, is_root: bool) -> String {
    // Only root may change the root directory of a process.
    let chroot = if is_root { "" } else { "chroot =" };
    format!(
        "service imap-login {{
  {chroot}
  service_count = 0
  process_min_avail = 1
  client_limit = 500
  inet_listener imap {{
    port = {}
  }}
  inet_listener imaps {{
    port = {}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 500
  service_count = 100
}}
service auth {{
  client_limit = 2000
}}
service anvil {{
  {chroot}
  client_limit = 2000
  # No growing wait after wrong passwords: tests give many.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
",
        ports.imap, ports.imaps
    )
}

/// Tokens are believed for their signature; nobody is asked.
fn bearer(scratch: &Scratch) -> String {
    let keys = scratch.directory("keys/default/HS256");
    scratch.write("keys/default/HS256/default", &token::key_file());
    allow_reading(&keys.join("default"));
    let keys = scratch.join("keys");
    let settings = format!(
        "introspection_mode = local
local_validation_key_dict = fs:posix:prefix={}/
username_attribute = email
",
        keys.display()
    );
    let settings = scratch.write("oauth2.conf", &settings);
    allow_reading(&settings);
    format!(
        "auth_mechanisms = $auth_mechanisms xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {}
}}
",
        settings.display()
    )
}

fn limits(quota: Quota) -> String {
    format!(
        "mail_plugins = $mail_plugins quota
protocol imap {{
  mail_plugins = $mail_plugins imap_quota
}}
plugin {{
  quota = count:User quota
  quota_rule = *:storage={}
  quota_vsizes = yes
  quota_max_mail_size = {}
}}
",
        quota.storage, quota.message_max
    )
}

/// The process that checks passwords runs without rights.
fn allow_reading(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("its mode");
}
