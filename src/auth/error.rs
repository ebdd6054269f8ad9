//! Why a secret could not be got or used, without the secret.

use crate::failure::{Failure, Kind};
use crate::mail::Side;
use std::time::Duration;

/// Why a secret could not be got or used. `from` is [`SecretSource::describe`](super::SecretSource::describe); the texts
/// are fragments after "failed to".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum AuthError {
    /// The environment variable does not exist.
    #[error("get the secret from {from}: it is not set")]
    NotSet { from: String },
    /// The file cannot be read, the program not started.
    #[error("get the secret from {from}: {words}")]
    Unreadable { from: String, words: String },
    /// There is nothing on the first line.
    #[error("get the secret from {from}: {}", if *.program { "it printed nothing" } else { "it is empty" })]
    Empty { from: String, program: bool },
    /// More than any secret.
    #[error("get the secret from {from}: there are more than {max} bytes")]
    TooLarge { from: String, max: usize },
    /// No UTF-8, or control codes in it.
    #[error("get the secret from {from}: it is not one line of text")]
    NotText { from: String },
    /// The program said that it failed.
    #[error("get the secret from {from}: it ended with {status}{}", said(.words))]
    Failed { from: String, status: String, words: String },
    /// The program did not end.
    #[error("get the secret from {from}: it did not end within {}", humantime::format_duration(*.within))]
    Endless { from: String, within: Duration },
    /// A user name or secret has a byte that the sign-in cannot carry.
    #[error("sign in: the {part} {words}")]
    Unfit { part: &'static str, words: &'static str },
}

impl AuthError {
    /// Gives what to type or check next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotSet { .. } => "set it in the environment that this program is started from".to_owned(),
            Self::Unreadable { .. } => {
                "check the path and that this user may read it; it counts from the job file's directory".to_owned()
            }
            Self::Empty { .. } | Self::NotText { .. } | Self::TooLarge { .. } => {
                "the password or token has to be its first line".to_owned()
            }
            Self::Failed { .. } | Self::Endless { .. } => {
                "run it by hand in the job file's directory: it has to print the secret without asking anything"
                    .to_owned()
            }
            Self::Unfit { part, .. } => format!("check the {part} in the job file, and where it comes from"),
        }
    }

    /// Makes the failure that is reported.
    #[must_use]
    pub fn failure(&self, side: Side) -> Failure {
        Failure::new(side, Kind::SecretMissing, self.to_string()).with_hint(self.hint())
    }
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(" and said: {words}") }
}
