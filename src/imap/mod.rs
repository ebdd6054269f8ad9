//! The wire: bytes to messages to sessions.

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
