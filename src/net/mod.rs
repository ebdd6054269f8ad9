//! Sockets, names and TLS: from an [`Endpoint`] to bytes both ways.
//!
//! Secret: how a connection comes about. Knows nothing of mail. [`Dial`] is the one seam for tests.
//!
//! Invariants: whatever comes back from [`Dial::dial`] for [`Tls::Implicit`], and from [`Dial::secure`] always, is
//! protected and its certificate is believed. Everything ends within the endpoint's `connect_timeout`. Never: a weaker
//! protection than asked for, a second try, a log line.

mod error;
mod network;
mod prompt;
mod trust;

#[cfg(test)]
mod tests;

pub use error::{Mistrust, NetError, Place, Step};
pub use network::Network;

use futures_util::future::BoxFuture;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls {
    /// TLS from the first byte (RFC 8314), port 993.
    Implicit,
    /// Plain text up to STARTTLS, port 143.
    StartTls,
    /// None: towards loopback, or where the job asks for it by name.
    None,
}

/// SHA-256 of a server's end-entity certificate in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Takes the fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(der).into())
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits: what a job file takes as a pin.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no SHA-256 fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints it")]
pub struct NotAFingerprint;

/// Reads 64 hexadecimal digits of any case, with or without colons or spaces, after an optional `sha256:` or what
/// openssl prints before its own (`sha256 Fingerprint=`).
impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = ["sha256 fingerprint=", "sha-256:", "sha256:"]
            .iter()
            .find_map(|prefix| lower.strip_prefix(prefix))
            .unwrap_or(&lower);
        let mut nibbles = digits.chars().filter(|c| !matches!(c, ':' | ' ')).map(|c| c.to_digit(16));
        let mut nibble = || nibbles.next().flatten().and_then(|n| u8::try_from(n).ok()).ok_or(NotAFingerprint);
        let mut bytes = [0; 32];
        for byte in &mut bytes {
            *byte = nibble()? << 4 | nibble()?;
        }
        if nibbles.next().is_some() { Err(NotAFingerprint) } else { Ok(Self(bytes)) }
    }
}

/// Whom we believe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Certificates in PEM, trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Exactly this certificate and no other: neither names, dates nor issuers are looked at then.
    pub pin: Option<Fingerprint>,
}

/// Where a server is and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// Whom we believe.
    pub trust: Trust,
    /// For name, connection, handshake together.
    pub connect_timeout: Duration,
}

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// Bytes both ways, over whatever carries them.
pub type BoxedIo = Box<dyn Io>;

impl fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

/// Makes connections. [`Network`] is the real one; tests bring their own.
pub trait Dial: Send + Sync {
    /// Connects: with TLS for [`Tls::Implicit`], else to the plain socket.
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>>;

    /// Begins TLS on a plain connection, after the server's OK to STARTTLS (RFC 9051, 6.2.1). Bytes the caller has read
    /// beyond that OK are its own to refuse.
    fn secure<'a>(&'a self, io: BoxedIo, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>>;
}
