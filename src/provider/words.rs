//! What a server means by a refusal.
//!
//! The order: texts that are known, in the order of the table; then response codes wherever they stand in the line (Gmail
//! puts them last); then the phase. BAD is no better known than NO: Exchange and iCloud throttle by BAD.

use crate::failure::Kind;
use std::time::Duration;

/// What was being done when the words came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The first line of a connection, or BYE in its place.
    Greeting,
    /// LOGIN, AUTHENTICATE.
    SignIn,
    /// LIST, LSUB, NAMESPACE, STATUS.
    List,
    /// SELECT, EXAMINE, and what lists the messages of an open folder.
    Open,
    /// CREATE, SUBSCRIBE.
    Create,
    /// FETCH, SEARCH.
    Fetch,
    /// APPEND.
    Append,
    /// Any other command, or none: an untagged line between commands.
    Other,
}

/// The status word before the text (RFC 9051, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Status {
    Ok,
    No,
    Bad,
    Bye,
}

/// One status response.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// What was being done.
    pub phase: Phase,
    /// The status word.
    pub status: Status,
    /// The whole line after it, the code in brackets included.
    pub text: &'a [u8],
}

/// What the words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What went wrong.
    pub kind: Kind,
    /// The time the server named, or a known one for these words; only with [`Kind::Throttled`], [`Kind::Unavailable`],
    /// [`Kind::TooManyConnections`], [`Kind::LockedOut`] and, where it may be read in a while, [`Kind::MessageUnreadable`] and
    /// [`Kind::FolderUnreadable`].
    pub wait: Option<Duration>,
    /// It is the server that named the time: it is kept as it is, and does not grow.
    pub named: bool,
    /// What to do next, where these words alone tell it; else empty.
    pub hint: &'static str,
}

/// Tells what a refusal means. An OK is no refusal: see [`slower`].
///
/// A refused sign-in is [`Kind::SignInRefused`] for an old token too, since Google and Microsoft say the same words for
/// both: whoever signed in by a token gets a new one, once, before believing it.
#[must_use]
pub fn classify(words: &Words<'_>) -> Verdict {
    let line = lower(words.text);
    let known = TABLE.iter().find(|row| row.fits(words.phase, &line));
    if let Some(row) = known {
        let wait = row.wait.time(&line);
        let named = wait.is_some() && matches!(row.wait, Wait::Milliseconds(_));
        return Verdict { kind: row.kind, wait, named, hint: row.hint };
    }
    let (kind, wait) = by_code(words.phase, &line).unwrap_or_else(|| (by_phase(words.phase, words.status), None));
    let hint = if kind == Kind::MailboxFull { FULL } else { "" };
    Verdict { kind, wait: wait.map(Duration::from_secs), named: false, hint }
}

/// What a server asks for that wants to be asked less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slower {
    /// Nothing is to be asked for this long.
    For(Duration),
    /// Less, for a while.
    Somewhat,
}

/// Says whether a status line asks for less haste, whatever its status: `[THROTTLED]` right after OK (Dovecot 2.4) or at its
/// end (Gmail), or words that are known.
#[must_use]
pub fn slower(status: Status, text: &[u8]) -> Option<Slower> {
    let line = lower(text);
    if let Some(row) = TABLE.iter().find(|row| row.kind == Kind::Throttled && row.fits(Phase::Other, &line)) {
        // It was done all the same: then only a time that the line names is kept.
        let wait = row.wait.time(&line).filter(|_| status != Status::Ok || matches!(row.wait, Wait::Milliseconds(_)));
        return Some(wait.map_or(Slower::Somewhat, Slower::For));
    }
    if !codes(&line).any(|code| code == b"throttled") {
        return None;
    }
    match status {
        Status::Ok => Some(Slower::Somewhat),
        _ => Some(Slower::For(Duration::from_secs(THROTTLED_SECONDS))),
    }
}

/// Whose connections are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// Those of this user; where the server says so, with how many it may have.
    Account(Option<u32>),
    /// Those of this machine, or of everybody.
    Host,
}

/// Tells whose connections are too many by a refusal. Before the sign-in nobody has said who he is; in answer to it they are
/// the user's, unless the words name an address: Dovecot and Gmail count by user, Courier by address, Cyrus by both and
/// says which is over.
#[must_use]
pub fn crowd(phase: Phase, text: &[u8]) -> Crowd {
    let line = lower(text);
    let stated = connections_max(text);
    if phase == Phase::Greeting {
        return Crowd::Host;
    }
    let Some(at) = memchr::memmem::find(&line, b"too many open connections (") else {
        let by_address = ["address", " ip", "this host", "per host"].iter().any(|words| holds(&line, words));
        let by_host = stated.is_none() && (by_address || names_address(&line));
        return if by_host { Crowd::Host } else { Crowd::Account(stated) };
    };
    let counts = line[at..].split(|byte| matches!(byte, b'(' | b',' | b')')).skip(1);
    let mut over = counts.filter_map(|part| {
        let words: Vec<&[u8]> = part.trim_ascii().split(|byte| *byte == b' ').collect();
        let number = |at: usize| std::str::from_utf8(words.get(at)?).ok()?.parse::<u32>().ok();
        (number(0)? > number(2)?).then(|| (words.get(3) == Some(&&b"for"[..]), number(2)))
    });
    match over.next() {
        Some((false, _)) => Crowd::Host,
        Some((true, max)) => Crowd::Account(max),
        None => Crowd::Account(None),
    }
}

fn names_address(line: &[u8]) -> bool {
    let is_address = |word: &[u8]| {
        let word = std::str::from_utf8(word).unwrap_or_default().trim_matches(['.', ',', '(', ')', '[', ']']);
        word.parse::<std::net::IpAddr>().is_ok()
    };
    line.split(|byte| *byte == b' ').any(is_address)
}

/// Says whether a CREATE was refused because the folder is there (RFC 5530, or the words of older servers).
#[must_use]
pub fn already_exists(text: &[u8]) -> bool {
    let line = lower(text);
    holds(&line, "[alreadyexists]") || holds(&line, "already exists")
}

/// Says whether a refused CREATE, or EXAMINE of what was created, can be about the name: nobody may, no more and no room are
/// not (RFC 5530).
#[must_use]
pub fn refuses_name(text: &[u8]) -> bool {
    let line = lower(text);
    let others = [
        "[noperm]",
        "[limit]",
        "[overquota",
        "permission denied",
        "access denied",
        "quota",
        "too many",
        "mailbox is full",
    ];
    !others.iter().any(|words| holds(&line, words))
}

/// Says whether a refusal to open a folder is for its not being there.
#[must_use]
pub fn says_missing(text: &[u8]) -> bool {
    let line = lower(text);
    let known = [
        "[nonexistent]",
        "[trycreate]",
        "does not exist",
        "doesn't exist",
        "non-existent",
        "nonexistent",
        "not found",
        "no such",
        "unknown mailbox",
        "unknown folder",
    ];
    known.iter().any(|words| holds(&line, words))
}

/// Reads how many connections a server allows, where a refusal says so (Dovecot's `mail_max_userip_connections=10`).
#[must_use]
pub fn connections_max(text: &[u8]) -> Option<u32> {
    number_after(&lower(text), "mail_max_userip_connections=").and_then(|number| u32::try_from(number).ok())
}

/// Takes the part of a line that is looked at: real ones are a few hundred bytes long.
fn lower(text: &[u8]) -> Vec<u8> {
    const LINE_MAX: usize = 4096;
    text[..text.len().min(LINE_MAX)].to_ascii_lowercase()
}

fn holds(line: &[u8], part: &str) -> bool {
    memchr::memmem::find(line, part.as_bytes()).is_some()
}

fn number_after(line: &[u8], part: &str) -> Option<u64> {
    let rest = &line[memchr::memmem::find(line, part.as_bytes())? + part.len()..];
    let digits = rest.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// The words do not tell.
    Untold,
    /// This long is known to do.
    Seconds(u64),
    /// The line names it in milliseconds after this part.
    Milliseconds(&'static str),
}

impl Wait {
    fn time(self, line: &[u8]) -> Option<Duration> {
        /// Real ones reach 50 minutes. A day is for a server that would hold us for ever.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        match self {
            Self::Untold => None,
            Self::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            Self::Milliseconds(part) => number_after(line, part).map(|number| Duration::from_millis(number).min(DAY)),
        }
    }
}

/// Words that are known.
struct Row {
    /// In lower case; `*` stands for anything between two parts. `^` in front: only where the text begins, for words that
    /// a user's folder could be called too, since servers quote names at the end.
    text: &'static str,
    /// Where the words mean this; empty: anywhere.
    phases: &'static [Phase],
    kind: Kind,
    wait: Wait,
    hint: &'static str,
}

const fn row(text: &'static str, phases: &'static [Phase], kind: Kind) -> Row {
    Row { text, phases, kind, wait: Wait::Untold, hint: "" }
}

impl Row {
    const fn after(self, seconds: u64) -> Self {
        Self { wait: Wait::Seconds(seconds), ..self }
    }

    const fn after_named(self, part: &'static str) -> Self {
        Self { wait: Wait::Milliseconds(part), ..self }
    }

    const fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    fn fits(&self, phase: Phase, line: &[u8]) -> bool {
        let (mut rest, text) = match self.text.strip_prefix('^') {
            Some(text) => (beginning(line, text.len()), text),
            None => (line, self.text),
        };
        (self.phases.is_empty() || self.phases.contains(&phase))
            && text.split('*').all(|part| match memchr::memmem::find(rest, part.as_bytes()) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            })
    }
}

/// Gives the first bytes after the response codes in front.
fn beginning(line: &[u8], length: usize) -> &[u8] {
    let mut text = line.trim_ascii_start();
    while let Some(end) = text.iter().position(|&byte| byte == b']').filter(|_| text.starts_with(b"[")) {
        text = text[end + 1..].trim_ascii_start();
    }
    &text[..length.min(text.len())]
}

const ANY: &[Phase] = &[];
const BEFORE: &[Phase] = &[Phase::Greeting, Phase::SignIn];
const SIGN_IN: &[Phase] = &[Phase::SignIn];
const FOLDERS: &[Phase] = &[Phase::List, Phase::Open, Phase::Create];
const FOLDERS_READ: &[Phase] = &[Phase::List, Phase::Open];
const FETCH: &[Phase] = &[Phase::Fetch];
const APPEND: &[Phase] = &[Phase::Append];
const CREATE: &[Phase] = &[Phase::Create];
const FILLS: &[Phase] = &[Phase::Append, Phase::Create];
const WRITES: &[Phase] = &[Phase::Append, Phase::Create, Phase::Other];

const APP_PASSWORD: &str = "use an app password (it needs 2-step verification) or a token";
const BROWSER: &str = "sign in once with a web browser and confirm what it asks, then run again";
const TOO_LARGE: &str = "raise the target's limit for one message, then run --failed";
const FULL: &str = "make room in the target mailbox or raise its quota, then resume";
const MAILBOX: &str = "check that the mailbox has a licence and IMAP switched on, and that the token is for it or its \
                       owner has Full Access";
const FORM: &str = "the target takes no message of this form; it is kept as it is and listed";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Exchange 2010 to Exchange Online, also glued to the status word ("BADRequest is throttled"): imapsync
    // FAQ.Office365. Waits of 92 s to 50 min are seen.
    row("request is throttled", ANY, Kind::Throttled).after_named("suggested backoff time:"),
    // Exchange: full mailbox (QuotaExceededException in its log) or load; the words do not tell which. imapsync
    // FAQ.Exchange, imapfilter 146.
    row("server unavailable. 15", APPEND, Kind::Unavailable).after(60)
        .hint("if it stays so, the target mailbox is probably full"),
    row("server unavailable. 15", ANY, Kind::Unavailable).after(60),
    // Exchange, at the first command after a sign-in that went well: node-imap 523, email-oauth2-proxy 74, MailKit 1494.
    row("user is authenticated but not connected", ANY, Kind::MailboxClosed).hint(MAILBOX),
    // Exchange Online, at the end of a token's life, also in mid-APPEND: aioimaplib 83, imap-backup 198.
    row("accesstokenexpired", ANY, Kind::TokenExpired),
    // Exchange, idle or forced: node-imap 561. After ten errors or trouble with the token: MailKit 849.
    row("connection is closed. 13", ANY, Kind::Lost),
    row("connection closed. 14", ANY, Kind::Lost),
    // Exchange: too large, a line too long, a full mailbox or a keyword. imapsync FAQ.Office365, node-imap 602.
    row("command argument error", APPEND, Kind::MessageRefused)
        .hint("Exchange says this of a message too large, a line over 10,000 bytes or a full mailbox"),
    row("command argument error", ANY, Kind::CommandRefused),
    row("maximum size of appendable message", APPEND, Kind::MessageRefused)
        .hint("raise it with Set-Mailbox -MaxReceiveSize 150MB on the mailbox that signs in, then run --failed"),
    // Exchange: at sign-in, LOGIN without TLS; later, a connection that lost its sign-in. imapsync FAQ.Exchange.
    row("command received in invalid state", SIGN_IN, Kind::SignInRefused).hint("sign in over TLS: tls = \"implicit\""),
    row("command received in invalid state", ANY, Kind::Lost),
    // Exchange Online, for "Files": imapsync FAQ.Office365.
    row("folder name is reserved", ANY, Kind::FolderRefused).hint("give it another name under [folders] rename"),
    // Exchange as source: public code that handles it.
    row("could not be converted to an rfc-822", FETCH, Kind::MessageUnreadable),
    // Exchange 5.5 to 2003, with [REFERRAL imap://…].
    row("no replica for that mailbox on this server", ANY, Kind::MailboxClosed)
        .hint("the mailbox is on another server of that host: ask which"),

    // Gmail, in answer to LOGIN: runt 1, wildduck 35.
    row("too many simultaneous connections", ANY, Kind::TooManyConnections).after(60),
    // Gmail, the day's bandwidth, with [OVERQUOTA] though nothing is full: ha-email-sensor 16, mailcow 1554.
    row("exceeded command or bandwidth limits", ANY, Kind::Throttled).after(3600),
    // Gmail, after 24 h or at the end of a token's life: imap-backup 92.
    row("session expired, please login again", ANY, Kind::Lost),
    // Gmail: node-imap 715, flowcrypt-android 183.
    row("^system error", ANY, Kind::Unavailable).after(30),
    row("^temporary system error", ANY, Kind::Unavailable).after(30),
    row("application-specific password required", SIGN_IN, Kind::SignInRefused).hint(APP_PASSWORD),
    row("log in via your web browser", SIGN_IN, Kind::SignInRefused).hint(BROWSER),
    row("web login required", SIGN_IN, Kind::SignInRefused).hint(BROWSER),
    row("[webalert", SIGN_IN, Kind::SignInRefused).hint(BROWSER),
    row("not enabled for imap", SIGN_IN, Kind::SignInRefused).hint("switch IMAP on in the account's settings"),
    // Gmail: [Gmail] itself is \Noselect. imapsync FAQ.Gmail.
    row("unknown mailbox: [gmail]", FOLDERS, Kind::FolderRefused),
    row("folder contains excess whitespace", ANY, Kind::FolderRefused)
        .hint("give it a name without spaces at its ends under [folders] rename"),

    // Yahoo and AOL, for a single message that may stay broken for days: imapsync 119, mutt-wizard 764.
    row("uid fetch*server error", FETCH, Kind::MessageUnreadable).after(10),
    row("service is temporarily not available", ANY, Kind::Unavailable).after(30),
    // Yahoo: a message without a line end at its end: imapsync 209.
    row("additional arguments found after last expected argument", APPEND, Kind::MessageRefused)
        .hint("Yahoo refuses a message without a line end at its end"),

    // Dovecot, at sign-in (Rackspace, cPanel and others): node-imap 606.
    row("maximum number of connections", ANY, Kind::TooManyConnections).after(30),
    // Dovecot's proxy, its backend is down: login-proxy.h. Its own, the passwords' store is down: login-common.h.
    row("account is temporarily unavailable", ANY, Kind::Unavailable).after(300),
    row("temporary authentication failure", BEFORE, Kind::Unavailable).after(60),
    row("internal error occurred", BEFORE, Kind::Unavailable).after(60),
    row("timeout while waiting for lock", ANY, Kind::Unavailable).after(10),
    // Dovecot: imap-client.c.
    row("disconnected for inactivity", ANY, Kind::Lost),
    row("too many invalid imap commands", ANY, Kind::Protocol),

    // A full mailbox, by Dovecot and others: its quota plugins.
    row("mailbox for user is full", FILLS, Kind::MailboxFull).hint(FULL),
    row("not enough disk quota", FILLS, Kind::MailboxFull).hint(FULL),
    row("quota exceeded", APPEND, Kind::MailboxFull).hint(FULL),
    row("over quota", APPEND, Kind::MailboxFull).hint(FULL),
    row("mailbox is full", APPEND, Kind::MailboxFull).hint(FULL),
    row("^quota exceeded", CREATE, Kind::MailboxFull).hint(FULL),
    row("^over quota", CREATE, Kind::MailboxFull).hint(FULL),
    row("^mailbox is full", CREATE, Kind::MailboxFull).hint(FULL),
    row("blocks limit exceeded", FILLS, Kind::MailboxFull).hint(FULL),
    row("inode limit exceeded", FILLS, Kind::MailboxFull).hint(FULL),
    row("too many messages in the mailbox", FILLS, Kind::MailboxFull).hint(FULL),
    // hMailServer: IMAPCommandAppend.cpp.
    row("your quota has been exceeded", FILLS, Kind::MailboxFull).hint(FULL),

    // Too large: Dovecot, Cyrus (imap_err.et), hMailServer ("fixed maximum message size"), Proton Bridge, iCloud.
    row("message size exceeds", APPEND, Kind::MessageRefused).hint(TOO_LARGE),
    row("maximum message size exceeded", APPEND, Kind::MessageRefused).hint(TOO_LARGE),
    row("cannot upload message, toobig", APPEND, Kind::MessageRefused).hint(TOO_LARGE),
    row("[toobig]", APPEND, Kind::MessageRefused).hint(TOO_LARGE),

    // Cyrus: imapd.c, imap_err.et.
    row("too many open connections", ANY, Kind::TooManyConnections).after(30),
    row("message contains nul", APPEND, Kind::MessageRefused).hint(FORM),
    row("contains bare newlines", APPEND, Kind::MessageRefused).hint(FORM),
    row("contains invalid header", APPEND, Kind::MessageRefused).hint(FORM),
    row("contains non-ascii characters in headers", APPEND, Kind::MessageRefused).hint(FORM),
    row("no header/body separator", APPEND, Kind::MessageRefused).hint(FORM),
    row("too many user flags in mailbox", APPEND, Kind::MessageRefused).hint("the target folder has room for no more keywords"),
    row("too many identical emails", APPEND, Kind::MessageRefused),
    row("server(s) unavailable to complete operation", ANY, Kind::Unavailable).after(30),
    row("^retry operation", ANY, Kind::Unavailable).after(10),
    row("^mailbox is locked", ANY, Kind::Unavailable).after(10),
    row("^mailbox is currently reserved", ANY, Kind::Unavailable).after(10),
    row("mailbox has an invalid format", ANY, Kind::FolderRefused).hint("the folder is broken: ask the host to rebuild it"),
    row("mailbox format corruption", ANY, Kind::FolderRefused).hint("the folder is broken: ask the host to rebuild it"),

    // Zimbra, at 25 equal commands in a row, five errors in a row, or a locked shared folder: ImapHandler.java.
    row("zimbra imap4rev1 server*connection", ANY, Kind::Lost),
    row("undergoing maintenance", ANY, Kind::Unavailable).after(600),
    row("password must be changed", SIGN_IN, Kind::SignInRefused).hint("the password has expired: set a new one"),
    row("does not have imap access enabled", SIGN_IN, Kind::SignInRefused).hint("switch IMAP on for the account"),

    // Courier: couriertcpd, four for each address unless set otherwise.
    row("maximum connection limit reached", ANY, Kind::TooManyConnections).after(60),
    // hMailServer: the address may be banned now, for an hour unless set otherwise.
    row("too many invalid logon attempts", BEFORE, Kind::LockedOut).after(3600)
        .hint("the host may have locked this machine out: wait, then check user and password before the next run"),
    // Stalwart, RFC 9738 servers: the batch was too large, each alone will do.
    row("too many messages to append", APPEND, Kind::MessageRefused),
    row("[messagelimit", APPEND, Kind::MessageRefused),
    // Stalwart: its limits surface as failed sign-ins too (imap-server 12).
    row("too many concurrent", BEFORE, Kind::TooManyConnections).after(60),
    row("too many connections", BEFORE, Kind::TooManyConnections).after(60),
    row("too many requests", BEFORE, Kind::Throttled).after(60),
    row("^too many connections", ANY, Kind::TooManyConnections).after(60),
    row("^too many concurrent", ANY, Kind::TooManyConnections).after(60),
    row("^too many requests", ANY, Kind::Throttled).after(60),
    // Proton Bridge: gluon connector.go, imapsync 403.
    row("operation not allowed", APPEND, Kind::MessageRefused),
    row("invalid rfc5322 message", APPEND, Kind::MessageRefused).hint(FORM),
    // Any, from a scanner: imapsync FAQ.Virus.
    row("contains a virus", APPEND, Kind::MessageRefused).hint("the target's scanner refuses this message"),
    // Flags: Courier, Zimbra and others. imapsync FAQ.Flags.
    row("invalid system flag", APPEND, Kind::MessageRefused).hint("the target refuses one of its flags"),
    row("invalid flag list", APPEND, Kind::MessageRefused).hint("the target refuses one of its flags"),
    // Hosts with cPanel: cPHulk, by country.
    row("country is blacklisted", BEFORE, Kind::SignInRefused).hint("the host refuses this machine's country: ask it for an exception"),
];

/// After a NO [THROTTLED], which names no time.
const THROTTLED_SECONDS: u64 = 60;

/// Judges by the first known response code, wherever it stands (RFC 5530 unless said otherwise).
fn by_code(phase: Phase, line: &[u8]) -> Option<(Kind, Option<u64>)> {
    codes(line).find_map(|code| judge(phase, code, line))
}

fn judge(phase: Phase, code: &[u8], line: &[u8]) -> Option<(Kind, Option<u64>)> {
    let writes = WRITES.contains(&phase);
    let early = BEFORE.contains(&phase);
    Some(match code {
        b"throttled" => (Kind::Throttled, Some(THROTTLED_SECONDS)),
        b"unavailable" | b"inuse" if holds(line, "connection") && early => (Kind::TooManyConnections, Some(30)),
        b"unavailable" => (Kind::Unavailable, None),
        b"inuse" => (Kind::Unavailable, Some(10)),
        b"overquota" if writes => (Kind::MailboxFull, None),
        // Nobody's mailbox is full by reading: a limit of traffic.
        b"overquota" => (Kind::Throttled, Some(3600)),
        // RFC 9051, 7.1. At sign-in a limit is one of connections; at APPEND one of the message.
        b"limit" if early || holds(line, "connection") => (Kind::TooManyConnections, Some(60)),
        b"toobig" if phase == Phase::Append => (Kind::MessageRefused, None),
        b"authenticationfailed" | b"expired" => (Kind::SignInRefused, None),
        b"authorizationfailed" => (Kind::MailboxClosed, None),
        b"privacyrequired" | b"logindisabled" => (Kind::TlsMissing, None),
        b"serverbug" if early => (Kind::Unavailable, None),
        b"serverbug" | b"expungeissued" if phase == Phase::Fetch => (Kind::MessageUnreadable, Some(10)),
        // Dovecot says this of any error of its own: of this folder and of this moment, as far as can be known.
        b"serverbug" if FOLDERS_READ.contains(&phase) => (Kind::FolderUnreadable, Some(10)),
        b"corruption" if phase == Phase::Fetch => (Kind::MessageUnreadable, None),
        b"corruption" | b"trycreate" | b"nonexistent" => (Kind::FolderRefused, None),
        // RFC 3501's word for what it could not parse of a message.
        b"parse" if phase == Phase::Fetch => (Kind::MessageUnreadable, None),
        // SERVERBUG, CONTACTADMIN, NOPERM, CANNOT, LIMIT, CLIENTBUG, ALERT: the phase tells more.
        _ => return None,
    })
}

/// Gives what stands after each `[`, up to a space or `]`.
fn codes(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b'[').skip(1).map(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b']' | b' ')).unwrap_or(rest.len());
        &rest[..end]
    })
}

fn by_phase(phase: Phase, status: Status) -> Kind {
    match (phase, status) {
        (Phase::Greeting, _) => Kind::Unavailable,
        (_, Status::Bye) => Kind::Lost,
        (Phase::SignIn, _) => Kind::SignInRefused,
        (Phase::List | Phase::Open | Phase::Create, _) => Kind::FolderRefused,
        (Phase::Append, _) => Kind::MessageRefused,
        (Phase::Fetch | Phase::Other, _) => Kind::CommandRefused,
    }
}

#[cfg(test)]
mod tests;
