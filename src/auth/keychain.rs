//! One account side's secret, read once and shared by its connections.

use super::{AuthError, Credential, Secret, SecretSource};
use std::fmt;
use tokio::sync::Mutex;

/// Keeps the secret of one side of one account in memory.
///
/// Connections that ask while it is being read wait for that one reading. A token that has expired is forgotten and read
/// again; a password stays, since reading it again gives the same one.
pub struct Keychain {
    source: SecretSource,
    expires: bool,
    known: Mutex<Option<Secret>>,
}

impl Keychain {
    /// Makes a keychain that has read nothing yet.
    #[must_use]
    pub fn new(credential: &Credential) -> Self {
        let expires = matches!(credential, Credential::Token(_));
        Self { source: credential.source().clone(), expires, known: Mutex::new(None) }
    }

    /// Gives the secret, reading it if nobody has. A failed reading is not kept: the next to ask tries again.
    pub async fn secret(&self) -> Result<Secret, AuthError> {
        let mut known = self.known.lock().await;
        if let Some(secret) = &*known {
            return Ok(secret.clone());
        }
        Ok(known.insert(self.source.read().await?).clone())
    }

    /// Drops a token that the server called expired, unless another connection has a newer one already. Says whether
    /// asking again may give another secret: for a token yes, for a password no.
    pub async fn forget(&self, used: &Secret) -> bool {
        if self.expires {
            let mut known = self.known.lock().await;
            known.take_if(|secret| secret == used);
        }
        self.expires
    }
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keychain({})", self.source.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that gives another secret at each run: the number of runs so far.
    fn counter(directory: &tempfile::TempDir) -> SecretSource {
        let script = "echo x >> runs; wc -l < runs | tr -d ' '";
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        SecretSource::Command { argv, directory: directory.path().to_owned() }
    }

    #[tokio::test]
    async fn all_who_wait_share_one_reading() {
        let directory = tempfile::tempdir().unwrap();
        let keychain = Keychain::new(&Credential::Token(counter(&directory)));
        let (a, b, c) = tokio::join!(keychain.secret(), keychain.secret(), keychain.secret());
        assert_eq!([a.unwrap().expose(), b.unwrap().expose(), c.unwrap().expose()], ["1", "1", "1"]);
    }

    #[tokio::test]
    async fn an_expired_token_is_got_again_once() {
        let directory = tempfile::tempdir().unwrap();
        let keychain = Keychain::new(&Credential::Token(counter(&directory)));
        let old = keychain.secret().await.unwrap();
        // Two connections meet the expiry of the same token.
        assert!(keychain.forget(&old).await);
        assert_eq!(keychain.secret().await.unwrap().expose(), "2");
        assert!(keychain.forget(&old).await);
        assert_eq!(keychain.secret().await.unwrap().expose(), "2");
    }

    #[tokio::test]
    async fn a_password_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let keychain = Keychain::new(&Credential::Password(counter(&directory)));
        let used = keychain.secret().await.unwrap();
        assert!(!keychain.forget(&used).await);
        assert_eq!(keychain.secret().await.unwrap(), used);
    }

    #[tokio::test]
    async fn a_failed_reading_is_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let keychain = Keychain::new(&Credential::Password(SecretSource::File(path.clone())));
        assert!(keychain.secret().await.is_err());
        std::fs::write(path, "now").unwrap();
        assert_eq!(keychain.secret().await.unwrap().expose(), "now");
    }
}
