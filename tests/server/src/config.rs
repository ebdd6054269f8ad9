//! What kind of server this is: who may sign in, what it offers, what it refuses.
//!
//! Secret: none; plain values with defaults that describe a capable, well-behaved server. Anything that goes wrong on
//! purpose is in [`crate::faults`].

use crate::budget::Budget;
use crate::store::Layout;
use crate::tls::{Ca, CertKind};

/// Everything a server is told before it starts. Change fields of the default, or chain the `with_…` methods.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who may sign in.
    pub users: Vec<User>,
    /// How connections over the socket are protected; in-memory connections are plain text.
    pub tls: TlsMode,
    /// Which certificate is shown.
    pub certificate: CertKind,
    /// Who signs the certificate; a fresh one if none is given.
    pub ca: Option<Ca>,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Hierarchy separator and prefix, for the store that [`crate::Server::start`] makes.
    pub layout: Layout,
    /// What CAPABILITY announces and commands obey.
    pub features: Features,
    /// Which SASL mechanisms are offered.
    pub mechanisms: Vec<Mechanism>,
    /// Whether the LOGIN command may be used; if not, LOGINDISABLED is announced.
    pub login: bool,
    /// Whether passwords are accepted before STARTTLS in [`TlsMode::StartTls`].
    pub plaintext_auth: bool,
    /// Whether the greeting and the answer to a sign-in carry CAPABILITY as a response code.
    pub announce_capabilities: bool,
    /// Words of the greeting.
    pub greeting: String,
    /// What ID answers, pairs of field and value.
    pub id: Vec<(String, String)>,
    /// Words appended to CAPABILITY after sign-in.
    pub extra_capabilities: Vec<String>,
    /// Connections one user may hold; further ones are refused with `too_many_text`. In-memory ones count too.
    pub connections_per_user: Option<usize>,
    /// Status and text for a refused connection: `NO …` or `BYE …`. None says what Dovecot 2.3 says.
    pub too_many_text: Option<String>,
    /// Bytes a user may store; enforced on APPEND and COPY with `NO [OVERQUOTA]`, and announces QUOTA.
    pub quota_bytes: Option<u64>,
    /// Which keywords a mailbox takes.
    pub keywords: Keywords,
    /// What PERMANENTFLAGS is in answer to SELECT, in place of what `keywords` makes of it; empty: it is left out.
    pub permanent_flags: Option<String>,
    /// Whether the date of an APPEND is kept; if not, messages are dated as they come in.
    pub dates_kept: bool,
    /// Whether INTERNALDATE comes back with the zone it was given; if not, as the same instant in +0000.
    pub zone_kept: bool,
    /// Whether bytes of 128 and more in a header become `X` on APPEND, as Cyrus does with `munge8bit`.
    pub munge_eight_bit_headers: bool,
    /// Whether a NUL becomes 0x80 on APPEND, as in Dovecot 2.3.
    pub nul_becomes_80: bool,
    /// What becomes of a message whose Message-ID its mailbox has already.
    pub doubles: Doubles,
    /// Whether a message with NUL is refused, with Cyrus's words.
    pub refuse_nul: bool,
    /// Whether a message with LF not after CR is refused, with Cyrus's words.
    pub refuse_bare_lf: bool,
    /// Whether an empty message is refused, as by Dovecot.
    pub refuse_empty: bool,
    /// Whether nothing can be appended to the folder that is open by EXAMINE, as in Courier.
    pub refuse_append_while_examined: bool,
    /// Whether UIDs last; if not, each SELECT and EXAMINE says UIDNOTSTICKY and numbers the folder anew, the first message
    /// last, under another UIDVALIDITY (RFC 4315 section 2).
    pub uids_last: bool,
    /// Whether a session goes on under the new numbers where its folder is numbered anew; if not, the folder is gone for it.
    pub follows_new_uids: bool,
    /// After how long without a command a connection is closed with BYE.
    pub idle_max: Option<std::time::Duration>,
    /// Whether names with `"` or `\` are sent as literals, as Dovecot does; if not, quoted and escaped.
    pub hostile_names_as_literals: bool,
    /// Commands refused for a mailbox's name: the verb, what the name on the wire holds, status and text of the answer. For
    /// CREATE, EXAMINE, SELECT and STATUS.
    pub refused_names: Vec<(String, String, String)>,
    /// How LIST writes INBOX.
    pub inbox_name: String,
    /// Whether mailbox names must be valid modified UTF-7 (RFC 3501 section 5.1.3).
    pub strict_utf7: bool,
    /// Whether the literal after an APPEND refused with BAD is read as commands when it is non-synchronising, as
    /// Dovecot 2.3 does; if not, it is skipped.
    pub executes_refused_literals: bool,
    /// Longest command line, without literals; more is answered BAD.
    pub line_bytes_max: usize,
    /// How much a user may ask before the server wants to be left alone.
    pub budget: Option<Budget>,
    /// After so many NO and BAD a connection is closed with this text: Exchange closes it at ten.
    pub errors_max: Option<(u32, String)>,
    /// Connections in all, whoever signs in; on a further one the server hangs up without a word.
    pub connections_max: Option<u64>,
    /// RFC822.SIZE is this much more than a message has.
    pub size_estimate: i64,
    /// Everything is written in pieces of this many bytes, each flushed by itself.
    pub split_bytes: Option<usize>,
    /// Whether every piece of mail is noted with its time: see [`crate::Server::traffic`].
    pub logs_traffic: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            users: Vec::new(),
            tls: TlsMode::Implicit,
            certificate: CertKind::Good,
            ca: None,
            port: 0,
            layout: Layout::default(),
            features: Features::default(),
            mechanisms: vec![Mechanism::Plain, Mechanism::XOauth2, Mechanism::OauthBearer],
            login: true,
            plaintext_auth: false,
            announce_capabilities: true,
            greeting: "IMAP server ready".to_owned(),
            id: vec![("name".to_owned(), "mailhaul-testserver".to_owned())],
            extra_capabilities: Vec::new(),
            connections_per_user: None,
            too_many_text: None,
            quota_bytes: None,
            keywords: Keywords::Any,
            permanent_flags: None,
            dates_kept: true,
            zone_kept: true,
            munge_eight_bit_headers: false,
            nul_becomes_80: false,
            doubles: Doubles::Kept,
            refuse_nul: false,
            refuse_bare_lf: false,
            refuse_empty: true,
            refuse_append_while_examined: false,
            uids_last: true,
            follows_new_uids: false,
            idle_max: None,
            hostile_names_as_literals: false,
            refused_names: Vec::new(),
            inbox_name: "INBOX".to_owned(),
            strict_utf7: false,
            executes_refused_literals: false,
            line_bytes_max: 65_536,
            budget: None,
            errors_max: None,
            connections_max: None,
            size_estimate: 0,
            split_bytes: None,
            logs_traffic: false,
        }
    }
}

impl Config {
    /// Gives a server over TLS with one user.
    pub fn with_user(user: &str, password: &str) -> Self {
        Config::default().user(user, password)
    }

    /// Gives a server in plain text with one user, password `pass`: what most tests want.
    pub fn plain(user: &str) -> Self {
        Config { tls: TlsMode::None, ..Config::with_user(user, "pass") }
    }

    /// Adds a user with a password.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push(User::new(name, password));
        self
    }

    /// Adds a user who signs in with a bearer token; for a known user the token is added to the others.
    pub fn token(mut self, name: &str, token: &str) -> Self {
        match self.users.iter_mut().find(|user| user.name == name) {
            Some(user) => user.tokens.push(token.to_owned()),
            None => self.users.push(User {
                name: name.to_owned(),
                password: None,
                tokens: vec![token.to_owned()],
                admin: false,
            }),
        }
        self
    }

    /// Adds a user who may act for every other one by SASL PLAIN with an authorization identity.
    pub fn admin(mut self, name: &str, password: &str) -> Self {
        self.users.push(User { admin: true, ..User::new(name, password) });
        self
    }

    /// Sets the protection of connections.
    pub fn with_tls(mut self, tls: TlsMode) -> Self {
        self.tls = tls;
        self
    }

    /// Sets the certificate shown.
    pub fn with_certificate(mut self, kind: CertKind) -> Self {
        self.certificate = kind;
        self
    }

    /// Sets the signer of the certificate, so that two servers share one.
    pub fn with_ca(mut self, ca: &Ca) -> Self {
        self.ca = Some(ca.clone());
        self
    }

    /// Sets the port.
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets separator and prefix.
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Refuses a command for every mailbox whose name on the wire holds `part`.
    pub fn refusing(mut self, verb: &str, part: &str, text: &str) -> Self {
        self.refused_names.push((verb.to_owned(), part.to_owned(), text.to_owned()));
        self
    }

    /// Changes features in place.
    pub fn features(mut self, change: impl FnOnce(&mut Features)) -> Self {
        change(&mut self.features);
        self
    }
}

/// Who may sign in, and how.
#[derive(Debug, Clone)]
pub struct User {
    /// The name, which is also the name of the account in the store.
    pub name: String,
    /// For LOGIN and PLAIN.
    pub password: Option<String>,
    /// For XOAUTH2 and OAUTHBEARER.
    pub tokens: Vec<String>,
    /// Whether this user may act for others (SASL PLAIN with authzid).
    pub admin: bool,
}

impl User {
    /// Makes a user with a password.
    pub fn new(name: &str, password: &str) -> Self {
        User { name: name.to_owned(), password: Some(password.to_owned()), tokens: Vec::new(), admin: false }
    }
}

/// How connections are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS from the first byte.
    Implicit,
    /// Plain text up to STARTTLS.
    StartTls,
    /// Plain text.
    None,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// XOAUTH2, as Google and Microsoft describe it.
    XOauth2,
    /// OAUTHBEARER (RFC 7628).
    OauthBearer,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::XOauth2 => "XOAUTH2",
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// Which literals the client may send without waiting (RFC 7888).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literals {
    /// LITERAL+: any size.
    Plus,
    /// LITERAL-: up to 4096 bytes.
    Minus,
    /// None: each waits for the server's `+`.
    Synchronising,
}

/// What an APPEND does with a message whose Message-ID the mailbox has already. It is answered with OK whatever it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubles {
    /// Stores it, like any other.
    Kept,
    /// Stores nothing; APPENDUID tells a UID that no message gets.
    Dropped,
    /// Stores nothing, as Gmail does; APPENDUID tells where the message is that was there before.
    TakenForTheFirst,
}

/// Which keywords a mailbox takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keywords {
    /// All; PERMANENTFLAGS has `\*`.
    Any,
    /// Only these, others are left out in silence.
    Only(Vec<String>),
    /// Only these, a command with another is answered with this status and text (`NO …`, `BAD …`).
    OnlyOrRefuse(Vec<String>, String),
    /// All, as PERMANENTFLAGS says with `\*`; yet these, system flags among them, are left out in silence.
    AllBut(Vec<String>),
    /// All, as PERMANENTFLAGS says with `\*`; yet a command with one of these is answered with this status and text.
    AllOrRefuse(Vec<String>, String),
}

/// Extensions, each of which can be switched off; CAPABILITY and the commands follow.
#[derive(Debug, Clone)]
pub struct Features {
    /// APPENDUID, COPYUID, UID EXPUNGE (RFC 4315).
    pub uidplus: bool,
    /// LITERAL+, LITERAL- or neither (RFC 7888).
    pub literals: Literals,
    /// MULTIAPPEND (RFC 3502).
    pub multiappend: bool,
    /// CONDSTORE (RFC 7162).
    pub condstore: bool,
    /// QRESYNC (RFC 7162), of which FETCH with VANISHED; needs `condstore` and `enable`. Off unless asked for.
    pub qresync: bool,
    /// SPECIAL-USE and CREATE-SPECIAL-USE (RFC 6154).
    pub special_use: bool,
    /// LIST-STATUS (RFC 5819); needs `list_extended`.
    pub list_status: bool,
    /// LIST-EXTENDED (RFC 5258).
    pub list_extended: bool,
    /// CHILDREN (RFC 3348).
    pub children: bool,
    /// NAMESPACE (RFC 2342).
    pub namespace: bool,
    /// ID (RFC 2971).
    pub id: bool,
    /// UNSELECT (RFC 3691).
    pub unselect: bool,
    /// ENABLE (RFC 5161).
    pub enable: bool,
    /// SASL-IR (RFC 4959).
    pub sasl_ir: bool,
    /// ESEARCH (RFC 4731).
    pub esearch: bool,
    /// IDLE (RFC 2177).
    pub idle: bool,
    /// MOVE (RFC 6851).
    pub moves: bool,
    /// STATUS=SIZE (RFC 8438).
    pub status_size: bool,
    /// APPENDLIMIT=n (RFC 7889), enforced with `NO [TOOBIG]`.
    pub append_limit: Option<u64>,
    /// Whether the limit is told folder by folder, in STATUS (RFC 7889 section 4).
    pub append_limit_by_folder: bool,
}

impl Default for Features {
    fn default() -> Self {
        Features {
            uidplus: true,
            literals: Literals::Plus,
            multiappend: true,
            condstore: true,
            qresync: false,
            special_use: true,
            list_status: true,
            list_extended: true,
            children: true,
            namespace: true,
            id: true,
            unselect: true,
            enable: true,
            sasl_ir: true,
            esearch: true,
            idle: true,
            moves: true,
            status_size: true,
            append_limit: None,
            append_limit_by_folder: false,
        }
    }
}

impl Features {
    /// Gives a server with nothing but IMAP4rev1.
    pub fn bare() -> Self {
        Features {
            uidplus: false,
            literals: Literals::Synchronising,
            multiappend: false,
            condstore: false,
            qresync: false,
            special_use: false,
            list_status: false,
            list_extended: false,
            children: false,
            namespace: false,
            id: false,
            unselect: false,
            enable: false,
            sasl_ir: false,
            esearch: false,
            idle: false,
            moves: false,
            status_size: false,
            append_limit: None,
            append_limit_by_folder: false,
        }
    }
}
