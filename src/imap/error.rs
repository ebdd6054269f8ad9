//! What can go wrong on the wire, and its translation into a [`Failure`].

use crate::auth::AuthError;
use crate::failure::{Failure, Kind, Remedy, harmless};
use crate::mail::Side;
use crate::net::{Endpoint, NetError};
use crate::provider::{self, Phase, Status, Words};
use std::time::Duration;

/// A tagged NO or BAD, or a BYE, with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was being done.
    pub phase: Phase,
    /// NO, BAD or BYE.
    pub status: Status,
    /// The line after the status, response code included, as it came.
    pub words: Vec<u8>,
}

impl Refusal {
    /// Gives the name of the response code (RFC 9051, 7.1), upper case: `OVERQUOTA`.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let inside = self.words.strip_prefix(b"[")?;
        let end = inside.iter().position(|byte| matches!(byte, b' ' | b']'))?;
        Some(String::from_utf8_lossy(&inside[..end]).to_ascii_uppercase())
    }

    /// Gives the words, fit for people.
    #[must_use]
    pub fn text(&self) -> String {
        let status = match self.status {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::Bye => "BYE",
        };
        format!("{status} {}", harmless(&self.words))
    }

    /// Gives what kind of failure this is, and the time the server named.
    #[must_use]
    pub fn verdict(&self) -> provider::Verdict {
        provider::classify(&Words { phase: self.phase, status: self.status, text: &self.words })
    }
}

/// What can go wrong with a session.
#[derive(Debug, thiserror::Error)]
pub enum ImapError {
    /// No connection came about.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The secret could not be got.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The server said no to a command, or goodbye.
    #[error("{what}: the server answered \"{}\"", refusal.text())]
    Refused {
        /// A fragment: what was asked.
        what: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// The connection ended where an answer was due.
    #[error("{what}: the connection was lost ({why})")]
    Closed {
        /// A fragment: what was being done.
        what: String,
        /// The operating system's words.
        why: String,
    },
    /// Nothing came for too long.
    #[error("{what}: the server said nothing for {}", humantime::format_duration(*waited))]
    Silent {
        /// A fragment: what was being done.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// What came is no IMAP, or exceeds a bound.
    #[error("{what}: the server's answer cannot be understood: {why}")]
    Protocol {
        /// A fragment: what was being done.
        what: String,
        /// What was found.
        why: String,
    },
    /// The server offers no STARTTLS.
    #[error("sign in to {host}: the server offers no STARTTLS on this port")]
    NoStartTls {
        /// Host and port.
        host: String,
    },
    /// What is left to do is held back for long by a limit of the job's own.
    #[error("{}", .0.text)]
    Held(Box<Failure>),
    /// A spool file cannot be written or read.
    #[error("{what}: a file in the state directory's spool cannot be used: {why}")]
    Local {
        /// A fragment: what was being done.
        what: String,
        /// The operating system's words.
        why: String,
    },
    /// A session whose last command did not come to its end cannot be used again.
    #[error("use a connection whose last command was interrupted")]
    Poisoned,
}

impl ImapError {
    /// Makes the error of one refused command.
    #[must_use]
    pub fn refused(what: String, refusal: Refusal) -> Self {
        Self::Refused { what, refusal }
    }

    /// Translates, for people and for the act that follows.
    #[must_use]
    pub fn failure(&self, side: Side) -> Failure {
        match self {
            Self::Net(error) => error.failure(side),
            Self::Auth(error) => error.failure(side),
            Self::Refused { refusal, .. } => {
                let verdict = refusal.verdict();
                Failure::new(side, verdict.kind, self.to_string())
                    .with_hint(verdict.hint)
                    .with_wait(verdict.wait, verdict.named)
            }
            Self::Closed { .. } => Failure::new(side, Kind::Lost, self.to_string()),
            Self::Silent { .. } => Failure::new(side, Kind::Silent, self.to_string()),
            Self::Protocol { .. } => Failure::new(side, Kind::Protocol, self.to_string()),
            Self::NoStartTls { .. } => Failure::new(side, Kind::TlsMissing, self.to_string())
                .with_hint("try tls = \"implicit\" with port 993, or ask the provider how TLS is reached"),
            Self::Held(failure) => (**failure).clone(),
            Self::Local { .. } => Failure::new(None, Kind::State, self.to_string())
                .with_hint("make room on the disk of the state directory, then mailhaul resume goes on"),
            Self::Poisoned => Failure::new(side, Kind::Lost, self.to_string()),
        }
    }

    /// Says whether the server refused one command for itself, and nothing else happened: the connection can go on. Whoever
    /// is told to wait, or to sign in again, has been refused nothing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let for_itself = |kind: Kind| matches!(kind.act().1, Remedy::Again | Remedy::Skip | Remedy::Ask);
        matches!(self, Self::Refused { refusal, .. }
            if refusal.status != Status::Bye && for_itself(refusal.verdict().kind))
    }

    /// Adds the endpoint's hints to a refused sign-in.
    pub(super) fn at(self, endpoint: &Endpoint) -> Self {
        match self {
            Self::Closed { what, why } => {
                Self::Closed { what: format!("{what} at {}:{}", endpoint.host, endpoint.port), why }
            }
            Self::Silent { what, waited } => {
                Self::Silent { what: format!("{what} at {}:{}", endpoint.host, endpoint.port), waited }
            }
            other => other,
        }
    }
}
