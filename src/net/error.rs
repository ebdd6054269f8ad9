//! Why a connection did not come about, in words a person can act on.
//!
//! Secret: how the errors of the resolver, the kernel and rustls map to ours. Each text is a fragment after "failed to",
//! names host and port, and comes with what to type or check next.

use super::trust::Refusal;
use super::{Endpoint, Fingerprint, Tls};
use crate::failure::{Failure, Kind, harmless};
use crate::mail::Side;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, InvalidMessage};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

/// Host and port, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Place {
    /// Gives where an endpoint is.
    #[must_use]
    pub fn of(endpoint: &Endpoint) -> Self {
        Self { host: endpoint.host.clone(), port: endpoint.port }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Asking for the host's addresses.
    Name,
    /// Opening the socket.
    Connect,
    /// Agreeing on TLS.
    Handshake,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "look up",
            Self::Connect => "connect to",
            Self::Handshake => "begin TLS with",
        })
    }
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistrust {
    /// No authority we trust has signed it; it may have signed itself.
    Issuer,
    /// It is an authority's own: webpki takes none from a server.
    Authority,
    /// It is not the pinned one.
    Pin(Fingerprint),
    /// Something else, in rustls' words.
    Other(String),
}

impl fmt::Display for Mistrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer => f.write_str("it is self-signed or from an issuer not trusted here"),
            Self::Authority => f.write_str("it is self-signed and an authority's own, which no server may show"),
            Self::Pin(expected) => write!(f, "it is not the pinned one, {expected}"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Why a connection did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NetError {
    /// The name has no address, or the resolver does not answer.
    #[error("look up {at}: the name has no address ({words})")]
    HostUnknown { at: Place, words: String },
    /// Nobody listens there.
    #[error("connect to {at}: nobody listens on that port")]
    Refused { at: Place },
    /// No way leads there.
    #[error("connect to {at}: no way leads there ({words})")]
    Unreachable { at: Place, words: String },
    /// No answer within the time allowed.
    #[error("{step} {at}: no answer within {}", humantime::format_duration(*.within))]
    Silent { at: Place, step: Step, within: Duration },
    /// The connection broke before it was ready.
    #[error("begin TLS with {at}: the connection broke ({words})")]
    Lost { at: Place, words: String },
    /// The certificate's time is over.
    #[error("trust the certificate of {at}: its time ended{}", on(.when))]
    CertificateExpired { at: Place, when: Option<SystemTime>, fingerprint: Fingerprint },
    /// The certificate's time has not begun.
    #[error("trust the certificate of {at}: its time has not begun{}", from(.when))]
    CertificateEarly { at: Place, when: Option<SystemTime>, fingerprint: Fingerprint },
    /// The certificate is for other names.
    #[error("trust the certificate of {at}: {}", for_names(.names))]
    CertificateName { at: Place, names: Vec<String>, fingerprint: Fingerprint },
    /// Nobody we trust vouches for the certificate.
    #[error("trust the certificate of {at}: {why}; its fingerprint is {fingerprint}")]
    CertificateUntrusted { at: Place, why: Mistrust, fingerprint: Fingerprint },
    /// The file of further authorities cannot be used.
    #[error("read the certificates for {at} from {}: {words}", .path.display())]
    CaFile { at: Place, path: PathBuf, words: String },
    /// Neither the system nor the job names anybody to trust.
    #[error("trust the certificate of {at}: this machine has no list of trusted authorities")]
    RootsMissing { at: Place },
    /// The handshake failed otherwise.
    #[error("begin TLS with {at}: {words}")]
    TlsFailed { at: Place, words: String },
    /// The server speaks plain text where TLS was to begin.
    #[error("begin TLS with {at}: the server speaks plain text on this port")]
    TlsMissing { at: Place },
}

impl NetError {
    /// Gives what kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::HostUnknown { .. } => Kind::HostUnknown,
            Self::Refused { .. } | Self::Unreachable { .. } => Kind::Unreachable,
            Self::Silent { .. } => Kind::Silent,
            Self::Lost { .. } => Kind::Lost,
            Self::CertificateExpired { .. } | Self::CertificateEarly { .. } => Kind::CertificateExpired,
            Self::CertificateName { .. } => Kind::CertificateName,
            Self::CertificateUntrusted { .. } | Self::CaFile { .. } | Self::RootsMissing { .. } => {
                Kind::CertificateUntrusted
            }
            Self::TlsFailed { .. } => Kind::TlsFailed,
            Self::TlsMissing { .. } => Kind::TlsMissing,
        }
    }

    /// Gives what to type or check next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::HostUnknown { at, .. } => {
                format!("check the spelling of host = \"{}\", and that this machine can look up names", at.host)
            }
            Self::Refused { at } => format!(
                "check host and port = {}: IMAP is on 993 with tls = \"implicit\", on 143 with tls = \"starttls\"",
                at.port
            ),
            Self::Unreachable { .. } => "check this machine's network, and host in the job file".to_owned(),
            Self::Silent { step: Step::Name, .. } => "check this machine's name servers".to_owned(),
            Self::Silent { step: Step::Connect, .. } => {
                "check host and port, and that no firewall stands between; connect_timeout sets how long to wait"
                    .to_owned()
            }
            Self::Silent { step: Step::Handshake, .. } => {
                "the server took the connection and said nothing: check port and tls, or try again later".to_owned()
            }
            Self::Lost { .. } => {
                "try again later; if it stays so, ask the host whether it blocks this machine's address".to_owned()
            }
            Self::CertificateExpired { fingerprint, .. } => {
                format!("ask the host to renew it, or believe exactly this one: pin = \"{fingerprint}\"")
            }
            Self::CertificateEarly { .. } => "check this machine's clock".to_owned(),
            Self::CertificateName { names, fingerprint, .. } => match usable(names) {
                Some(name) => format!(
                    "write host = \"{name}\" if that is the same server, or believe exactly this certificate: \
                     pin = \"{fingerprint}\""
                ),
                None => format!("believe exactly this certificate, if it is the right one: pin = \"{fingerprint}\""),
            },
            Self::CertificateUntrusted { why: Mistrust::Pin(_), fingerprint, .. } => {
                format!("if the host has changed its certificate, and says so: pin = \"{fingerprint}\"")
            }
            Self::CertificateUntrusted { why: Mistrust::Authority, fingerprint, .. } => {
                format!("believe exactly this certificate, if it is the right one: pin = \"{fingerprint}\"")
            }
            Self::CertificateUntrusted { fingerprint, .. } => format!(
                "name the host's authority with ca_file, or believe exactly this certificate: pin = \"{fingerprint}\""
            ),
            Self::CaFile { .. } => "check ca_file: it holds certificates in PEM".to_owned(),
            Self::RootsMissing { .. } => {
                "install the system's certificates (the package is often called ca-certificates), or name ca_file"
                    .to_owned()
            }
            Self::TlsFailed { .. } => {
                "check port and tls; the server has to know TLS 1.2 or 1.3 with current ciphers".to_owned()
            }
            Self::TlsMissing { .. } => "write tls = \"starttls\" and port = 143".to_owned(),
        }
    }

    /// Makes the failure that is reported.
    #[must_use]
    pub fn failure(&self, side: Side) -> Failure {
        Failure::new(side, self.kind(), self.to_string()).with_hint(self.hint())
    }

    pub(super) fn from_resolver(endpoint: &Endpoint, error: &io::Error) -> Self {
        Self::HostUnknown { at: Place::of(endpoint), words: plain(error) }
    }

    pub(super) fn from_connect(endpoint: &Endpoint, error: &io::Error) -> Self {
        let at = Place::of(endpoint);
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { at },
            _ => Self::Unreachable { at, words: plain(error) },
        }
    }

    /// Reads what tokio-rustls gives when a handshake fails.
    pub(super) fn from_handshake(endpoint: &Endpoint, error: &io::Error) -> Self {
        let at = Place::of(endpoint);
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Lost { at, words: plain(error) };
        };
        match tls {
            // The `*` of a greeting is no type of TLS record. After STARTTLS the server has just agreed to TLS, so
            // there it is a fault.
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) if endpoint.tls == Tls::Implicit => {
                Self::TlsMissing { at }
            }
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Refusal>() {
                    Some(refusal) => Self::from_refusal(endpoint, refusal),
                    None => Self::TlsFailed { at, words: words(tls) },
                }
            }
            _ => Self::TlsFailed { at, words: words(tls) },
        }
    }

    fn from_refusal(endpoint: &Endpoint, refusal: &Refusal) -> Self {
        let (at, fingerprint) = (Place::of(endpoint), refusal.fingerprint);
        let untrusted = |why| Self::CertificateUntrusted { at: at.clone(), why, fingerprint };
        let rustls::Error::InvalidCertificate(cause) = &refusal.cause else {
            return match endpoint.trust.pin {
                Some(expected) => untrusted(Mistrust::Pin(expected)),
                None => untrusted(Mistrust::Other(words(&refusal.cause))),
            };
        };
        match cause {
            CertificateError::Expired => Self::CertificateExpired { at, when: None, fingerprint },
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::CertificateExpired { at, when: wall(*not_after), fingerprint }
            }
            CertificateError::NotValidYet => Self::CertificateEarly { at, when: None, fingerprint },
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::CertificateEarly { at, when: wall(*not_before), fingerprint }
            }
            CertificateError::NotValidForName => Self::CertificateName { at, names: Vec::new(), fingerprint },
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names = presented.iter().filter_map(|name| presented_name(name)).collect();
                Self::CertificateName { at, names, fingerprint }
            }
            // A bad signature in the chain: an authority of the trusted one's name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => untrusted(Mistrust::Issuer),
            CertificateError::Other(other) if is_authority(other) => untrusted(Mistrust::Authority),
            other => untrusted(Mistrust::Other(harmless(other.to_string().as_bytes()))),
        }
    }
}

fn is_authority(error: &rustls::OtherError) -> bool {
    // rustls hands webpki's own error through; its name is all there is without depending on webpki.
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

/// Reads one name out of webpki's `DnsName("mail.example")` or `IpAddress(192.0.2.1)`; other sorts name no server.
fn presented_name(name: &str) -> Option<String> {
    let name = name.strip_suffix(')')?;
    let dns = name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix('"'));
    dns.or_else(|| name.strip_prefix("IpAddress(")).map(|name| harmless(name.as_bytes()))
}

/// Finds a name that can be written as a host: no wildcard.
fn usable(names: &[String]) -> Option<&String> {
    names.iter().find(|name| !name.contains('*') && !name.contains('"'))
}

fn for_names(names: &[String]) -> String {
    /// Shared hosts list a hundred; the first ones show whose it is.
    const NAMES_MAX: usize = 8;
    match names {
        [] => "it names no host".to_owned(),
        [only] => format!("it is for {only} only"),
        _ if names.len() > NAMES_MAX => {
            format!("it is for {} and {} others", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX)
        }
        [.., last] => format!("it is for {} and {last} only", names[..names.len() - 1].join(", ")),
    }
}

fn from(when: &Option<SystemTime>) -> String {
    when.map_or_else(String::new, |_| format!(", it begins{}", on(when)))
}

fn on(when: &Option<SystemTime>) -> String {
    when.map_or_else(String::new, |when| format!(" on {}", humantime::format_rfc3339_seconds(when)))
}

/// Gives a time of a certificate, if a calendar of four-digit years holds it.
fn wall(time: UnixTime) -> Option<SystemTime> {
    /// 9999-12-31T23:59:59Z.
    const SECONDS_MAX: u64 = 253_402_300_799;
    let seconds = time.as_secs();
    (seconds <= SECONDS_MAX).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}

fn words(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, Error};
    match error {
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "the server knows neither TLS 1.2 nor 1.3".to_owned()
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "the server found no cipher that both know".to_owned()
        }
        other => harmless(other.to_string().as_bytes()),
    }
}

/// Gives an error of the system without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // "failed to lookup address information: …" would follow our own "failed to".
    harmless(text.rsplit(": ").next().unwrap_or(text).as_bytes())
}
