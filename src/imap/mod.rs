//! The wire: bytes to messages to sessions.
//!
//! Secret: the protocol. async-imap is the control plane (sign-in, EXAMINE, SELECT, CREATE, SUBSCRIBE, LOGOUT) behind a
//! bridge that shows it nothing but how its commands ended; LIST, STATUS, NAMESPACE, FETCH and APPEND are our own data
//! plane on the same stream. Invariants: a command succeeded only if its tagged OK was seen; a future dropped in
//! mid-command poisons its connection; a source session has no method that changes anything; memory is bounded whatever a
//! server sends. Never decides, never retries.

mod append;
mod body;
mod changes;
mod connection;
mod deflate;
mod error;
mod fetch;
mod folders;
mod haste;
mod incoming;
mod look;
mod pipeline;
#[cfg(doctest)]
pub mod proofs;
mod room;
#[cfg(test)]
mod said;
mod session;
mod signin;
mod survey;
mod token;
mod utf7;
mod wire;

pub use append::{APART, Answer, Destination, KEEP_ALIVE, Outgoing, TOGETHER_MAX};
pub use body::{Body, BodyRoom, Recipients, Traits};
pub use changes::Changes;
pub use connection::Capabilities;
pub use error::{ImapError, Refusal};
pub use fetch::{Brake, CommandBrake, Fetched, RefusedFetch, Wanted};
pub use folders::Namespace;
pub use haste::{Haste, Pause};
pub use incoming::Incoming;
pub use look::Look;
pub use session::{End, FLAG_BYTES_MAX, FlagChange, Opened, Permanent, Session, Source, Target};
pub use signin::{Manners, Opening};

use crate::mail::{Uid, UidValidity};

/// Proof that the target answered an APPEND with its tagged OK. Nothing else can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// From APPENDUID (RFC 4315); None where the server gave none or one that does not fit.
    target: Option<(UidValidity, Uid)>,
}

impl Appended {
    /// Gives where the message is, where the server said so.
    #[must_use]
    pub fn target(&self) -> Option<(UidValidity, Uid)> {
        self.target
    }

    /// Makes one for tests of rooms that take it as proof.
    #[cfg(test)]
    pub(crate) fn for_test(target: Option<(UidValidity, Uid)>) -> Self {
        Self { target }
    }
}
