//! Colours and marks: never the only bearer of a meaning, so that they can be left away.

use crate::transfer::Ending;

/// Whether what is read is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// For files, pipes, and people who said NO_COLOR.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    /// For a terminal.
    #[must_use]
    pub fn coloured() -> Self {
        Self { colour: true }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.wrapped("32", text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.wrapped("33", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrapped("31", text)
    }

    /// The mark of how something ended.
    pub(super) fn mark(self, ending: Ending) -> String {
        match ending {
            Ending::Complete => self.good("✓"),
            Ending::Exceptions | Ending::Stopped | Ending::Parked => self.warning("!"),
            Ending::Failed => self.bad("✗"),
        }
    }

    fn wrapped(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
