//! Sockets, names and TLS: from an [`Endpoint`] to bytes both ways.
//!
//! Secret: how a connection comes about. Knows nothing of mail. [`Dial`] is the one seam for tests.

use std::path::PathBuf;
use std::time::Duration;

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
