//! Secrets and where they come from; the strings by which they sign in (SASL).
//!
//! Secret: the secrets. They show in no log, error, argument list, state or report.
//!
//! Invariants: nothing here that holds a secret prints it; every buffer a secret passed through is wiped. A source is
//! read when a connection first needs it, and once for all that wait. Never: a shell, a secret on a command line.

mod error;
mod keychain;
mod sasl;
mod source;

pub use error::AuthError;
pub use keychain::Keychain;
pub use sasl::{InitialResponse, oauthbearer, plain, xoauth2};

use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// A password or token. Prints as `Secret(…)`, is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Gives the secret itself: for the wire and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// AUTHENTICATE PLAIN where offered, else LOGIN.
    Password(SecretSource),
    /// An OAuth access token: OAUTHBEARER where offered, else XOAUTH2. Got again when it has expired.
    Token(SecretSource),
}

impl Credential {
    /// Gives where the secret comes from.
    #[must_use]
    pub fn source(&self) -> &SecretSource {
        match self {
            Self::Password(source) | Self::Token(source) => source,
        }
    }
}

/// Who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Whose mailbox it is: what the ledger knows the account by.
    pub user: String,
    /// Who proves it, where that is someone else: an administrator (authentication identity of SASL PLAIN; `user` is then
    /// the authorization identity, RFC 4616).
    pub admin: Option<String>,
    /// By what.
    pub credential: Credential,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_secret_is_ever_printed(secret in "[a-zA-Z0-9!-/]{6,40}") {
            let source = SecretSource::Plain(Secret::new(secret.clone()));
            let argv = vec!["program".to_owned(), secret.clone()];
            let command = SecretSource::Command { argv, directory: PathBuf::from("/dir") };
            let token = Credential::Token(command.clone());
            let sign_in = SignIn { user: "u".to_owned(), admin: None, credential: Credential::Password(source.clone()) };
            let response = plain("", "u", &Secret::new(secret.clone())).unwrap();
            let printed = [
                format!("{source:?} {command:?} {token:?} {sign_in:#?} {response:?} {:?}", response.base64()),
                format!("{} {}", source.describe(), command.describe()),
                format!("{:?}", Keychain::new(&sign_in.credential)),
            ];
            for text in printed {
                prop_assert!(!text.contains(&secret), "{}", text);
            }
        }

        #[test]
        fn an_unfit_secret_is_refused_without_being_told(start in "[a-z]{9,12}", code in 0_u8..2) {
            let bad = Secret::new(format!("{start}{}", char::from(code)));
            for error in [xoauth2("u", &bad).unwrap_err(), oauthbearer("u", "h", 1, &bad).unwrap_err()] {
                let text = format!("{error} {error:?}");
                prop_assert!(!text.contains(&start), "{}", text);
            }
        }
    }
}
