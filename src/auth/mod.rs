//! Secrets and where they come from; the strings by which they sign in (SASL).
//!
//! Secret: the secrets. They show in no log, error, argument list, state or report.

use std::fmt;
use std::path::PathBuf;

/// A password or token. Prints as `Secret(…)`, is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// Takes a secret in.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(zeroize::Zeroizing::new(value))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the job file itself: taken with a warning.
    Plain(Secret),
    /// An environment variable's value.
    Env(String),
    /// A file's first line; the path is absolute.
    File(PathBuf),
    /// The first line a program prints: argument vector, run without a shell, in `directory`.
    Command {
        /// Program and arguments; never empty.
        argv: Vec<String>,
        /// The job file's directory.
        directory: PathBuf,
    },
}

/// How an account proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// AUTHENTICATE PLAIN where offered, else LOGIN.
    Password(SecretSource),
    /// An OAuth access token: OAUTHBEARER where offered, else XOAUTH2. Got again when it has expired.
    Token(SecretSource),
}

/// Who signs in.
#[derive(Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Whose mailbox it is: what the ledger knows the account by.
    pub user: String,
    /// Who proves it, where that is someone else: an administrator (authentication identity of SASL PLAIN; `user` is then
    /// the authorization identity, RFC 4616).
    pub admin: Option<String>,
    /// By what.
    pub credential: Credential,
}
