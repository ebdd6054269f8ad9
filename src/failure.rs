//! What went wrong: on which side, how much of the work it stops, and what is done about it.
//!
//! Secret: the one exhaustive match from a kind of failure to an act. Rooms that meet a failure name its [`Kind`];
//! none of them decides what follows. A kind is never recognised by its text again.

use crate::mail::Side;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How much of the work a failure stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One message; the folder goes on.
    Message,
    /// One folder; the account goes on.
    Folder,
    /// One connection; another takes its place.
    Session,
    /// One account; the job goes on.
    Account,
    /// Everything.
    Job,
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Try once more, alone.
    Again,
    /// Try when the time has come: the server's own, or a growing one.
    Later,
    /// Use fewer connections, then go on.
    FewerConnections,
    /// Open a new connection and look what has arrived.
    Reconnect,
    /// Get a new token, then sign in again.
    Refresh,
    /// Leave it out, and say so.
    Skip,
    /// A person has to do something.
    Ask,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The host's name has no address.
    HostUnknown,
    /// Nobody listens on that port, or no way leads there.
    Unreachable,
    /// The server accepted the connection, or had it for long, and says nothing within the time allowed.
    Silent,
    /// The connection broke.
    Lost,
    /// The certificate's time is over or has not begun.
    CertificateExpired,
    /// The certificate is for other names.
    CertificateName,
    /// Nobody we trust has signed the certificate, or it is not the pinned one.
    CertificateUntrusted,
    /// The TLS handshake failed otherwise.
    TlsFailed,
    /// The server offers no TLS where the job asks for it, or speaks plain text on the port.
    TlsMissing,
    /// A password or token could not be got from where the job says it is.
    SecretMissing,
    /// The server refused the user name or the secret.
    SignInRefused,
    /// Too many wrong passwords came from this machine: for a while the host takes no sign-in from it at all.
    LockedOut,
    /// The access token is too old.
    TokenExpired,
    /// Signed in, but this mailbox cannot be opened.
    MailboxClosed,
    /// The host takes no further connection.
    TooManyConnections,
    /// The server asks to wait.
    Throttled,
    /// What the job allows to be moved in a day has been moved.
    AllowanceSpent,
    /// The server is busy or down and says so.
    Unavailable,
    /// The target mailbox is full.
    MailboxFull,
    /// What the server sends is no IMAP, or more than the bounds allow.
    Protocol,
    /// The server refused one message.
    MessageRefused,
    /// The source lists a message and gives no body for it.
    MessageUnreadable,
    /// The target acknowledged a message and does not show it.
    Missing,
    /// The server refused one folder.
    FolderRefused,
    /// The server met an error of its own as it opened or listed a folder.
    FolderUnreadable,
    /// Many copies, or their whole folder, have gone from the target since the last look.
    CopiesGone,
    /// A command was refused for a reason that is none of the others.
    CommandRefused,
    /// Source and target are the same mailbox.
    SameMailbox,
    /// Another process has this account.
    AccountBusy,
    /// The ledger cannot be read or written.
    State,
    /// The user asked to stop.
    Stopped,
}

impl Kind {
    /// Gives how much this stops and what is done about it.
    #[must_use]
    pub fn act(self) -> (Scope, Remedy) {
        match self {
            Self::HostUnknown | Self::Unreachable | Self::Silent | Self::Lost => (Scope::Session, Remedy::Reconnect),
            Self::CertificateExpired
            | Self::CertificateName
            | Self::CertificateUntrusted
            | Self::TlsFailed
            | Self::TlsMissing
            | Self::SecretMissing
            | Self::SignInRefused
            | Self::LockedOut
            | Self::MailboxClosed
            | Self::MailboxFull
            | Self::SameMailbox
            | Self::AccountBusy => (Scope::Account, Remedy::Ask),
            Self::TokenExpired => (Scope::Session, Remedy::Refresh),
            Self::TooManyConnections => (Scope::Session, Remedy::FewerConnections),
            Self::Throttled | Self::Unavailable | Self::AllowanceSpent => (Scope::Account, Remedy::Later),
            Self::Protocol => (Scope::Session, Remedy::Reconnect),
            Self::MessageRefused => (Scope::Message, Remedy::Again),
            Self::MessageUnreadable | Self::Missing => (Scope::Message, Remedy::Again),
            Self::FolderUnreadable => (Scope::Folder, Remedy::Again),
            Self::FolderRefused | Self::CommandRefused => (Scope::Folder, Remedy::Skip),
            Self::CopiesGone => (Scope::Folder, Remedy::Ask),
            Self::State => (Scope::Job, Remedy::Ask),
            Self::Stopped => (Scope::Job, Remedy::Later),
        }
    }

    /// Says whether the host itself cannot be used just now: what an outage looks like.
    #[must_use]
    pub fn is_outage(self) -> bool {
        matches!(self, Self::HostUnknown | Self::Unreachable | Self::Silent | Self::Lost | Self::Unavailable)
    }
}

/// One failure, told so that a person can act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Where; None: on this machine.
    pub side: Option<Side>,
    /// What.
    pub kind: Kind,
    /// A fragment after "failed to …": what was tried, and the server's words, made harmless. Never a secret.
    pub text: String,
    /// What to do next; empty where nothing can be said.
    pub hint: String,
    /// The time a server named, or one that is known for its words; only with [`Remedy::Later`], [`Remedy::FewerConnections`]
    /// and [`Remedy::Again`], and with [`Kind::LockedOut`], for all who would sign in there.
    #[serde(skip)]
    pub wait: Option<Duration>,
    /// The server named that time: it is kept as it is. A known one grows from try to try.
    #[serde(skip)]
    pub named: bool,
}

impl Failure {
    /// Makes a failure without hint or time.
    #[must_use]
    pub fn new(side: impl Into<Option<Side>>, kind: Kind, text: impl Into<String>) -> Self {
        Self { side: side.into(), kind, text: text.into(), hint: String::new(), wait: None, named: false }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds the time a server named, or one that is known for its words.
    #[must_use]
    pub fn with_wait(mut self, wait: Option<Duration>, named: bool) -> Self {
        (self.wait, self.named) = (wait, named);
        self
    }

    /// Gives how much this stops.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.kind.act().0
    }

    /// Gives what is done about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        self.kind.act().1
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(side) = self.side {
            write!(f, "{side}: ")?;
        }
        write!(f, "failed to {}", self.text)?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Says whether a character could make a terminal or a page do something, show another order, or hide text: control codes,
/// bidirectional and zero-width ones, tags.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Makes words of a server fit for a terminal, a log and a page: no control codes, no line ends, at most 300 characters.
#[must_use]
pub fn harmless(words: &[u8]) -> String {
    /// Room for a whole IMAP response line of the usual length; a hostile one is cut.
    const CHARACTERS_MAX: usize = 300;
    let text = String::from_utf8_lossy(words);
    let clean = |c: char| if steers(c) { '\u{fffd}' } else { c };
    let mut out: String = text.trim().chars().take(CHARACTERS_MAX).map(clean).collect();
    if text.trim().chars().nth(CHARACTERS_MAX).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_words_cannot_steer_a_terminal() {
        let words = harmless(b"NO \x1b]0;owned\x07\r\n\xe2\x80\xaeabc\xff ok ");
        assert_eq!(words, "NO \u{fffd}]0;owned\u{fffd}\u{fffd}\u{fffd}\u{fffd}abc\u{fffd} ok");
        assert_eq!(harmless("a\u{61c}b\u{ad}c\u{e0041}\u{9b}".as_bytes()), "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}");
        assert!(harmless(&[b'x'; 10_000]).chars().count() <= 301);
    }

    #[test]
    fn a_failure_says_side_what_and_hint() {
        let failure =
            Failure::new(Side::Source, Kind::Unreachable, "connect to a:1: refused").with_hint("check the port");
        assert_eq!(failure.to_string(), "source: failed to connect to a:1: refused\n  hint: check the port");
    }
}
