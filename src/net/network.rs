//! The real network: the system's resolver, TCP, TLS by rustls.
//!
//! ```text
//! name ─▶ addresses, families in turn ─▶ socket ─▶ TLS (implicit, or later by `secure`)
//! └───────────────── all within connect_timeout ─────────────────┘
//! ```

use super::prompt::{Socket, prompt};
use super::trust::Believed;
use super::{BoxedIo, Dial, Endpoint, Io, NetError, Place, Step, Tls};
use crate::failure::Kind;
use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// Read from a socket at once: rustls by itself takes a quarter of a record.
const READ: usize = 64 * 1024;

/// Makes real connections. One serves a whole process; roots and configurations are read once and shared.
#[derive(Default)]
pub struct Network {
    believed: Mutex<Believed>,
}

impl Network {
    /// Makes a network that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn config(&self, endpoint: &Endpoint) -> Result<Arc<rustls::ClientConfig>, NetError> {
        self.believed.lock().await.config(endpoint).await
    }

    async fn handshake(&self, io: impl Io + 'static, at: Attempt<'_>) -> Result<BoxedIo, NetError> {
        let endpoint = at.endpoint;
        let name = ServerName::try_from(endpoint.host.trim_end_matches('.').to_owned()).map_err(|_| {
            let words = "that is no name a certificate could be for".to_owned();
            NetError::TlsFailed { at: Place::of(endpoint), words }
        })?;
        let config = self.config(endpoint).await?;
        let io = BufReader::with_capacity(READ, io);
        let connecting = tokio_rustls::TlsConnector::from(config).connect(name, io);
        let stream = timeout_at(at.deadline, connecting)
            .await
            .map_err(|_| at.silent(Step::Handshake))?
            .map_err(|error| NetError::from_handshake(endpoint, &error));
        match stream {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                if matches!(error.kind(), Kind::CertificateUntrusted | Kind::CertificateExpired | Kind::CertificateName)
                {
                    self.believed.lock().await.forget();
                }
                Err(error)
            }
        }
    }
}

impl Dial for Network {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        Box::pin(async move {
            let at = Attempt::new(endpoint);
            match endpoint.tls {
                Tls::Implicit => {
                    // What is read from disk is read while the host is on its way.
                    let (socket, _) = tokio::join!(at.connect(), self.config(endpoint));
                    self.handshake(socket?, at).await
                }
                Tls::StartTls | Tls::None => Ok(Box::new(at.connect().await?) as BoxedIo),
            }
        })
    }

    fn secure<'a>(&'a self, io: BoxedIo, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        Box::pin(self.handshake(io, Attempt::new(endpoint)))
    }
}

/// One try: an endpoint and when its time is up.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    endpoint: &'a Endpoint,
    deadline: Instant,
}

impl<'a> Attempt<'a> {
    fn new(endpoint: &'a Endpoint) -> Self {
        /// Longer is as good as for ever, and an Instant cannot overflow by it.
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { endpoint, deadline: Instant::now() + endpoint.connect_timeout.min(DAY) }
    }

    fn silent(&self, step: Step) -> NetError {
        NetError::Silent { at: Place::of(self.endpoint), step, within: self.endpoint.connect_timeout }
    }

    /// Opens a socket to the first address that answers. Each gets an equal share of the time that is left.
    async fn connect(&self) -> Result<Socket, NetError> {
        let mut left = interleaved(self.addresses().await?);
        let mut worst: Option<NetError> = None;
        while let Some(address) = left.pop_front() {
            let rest = self.deadline.saturating_duration_since(Instant::now());
            let share = rest / u32::try_from(left.len() + 1).unwrap_or(u32::MAX);
            let error = match timeout_at(Instant::now() + share, open(address)).await {
                Ok(Ok(socket)) => return Ok(prompt(socket)),
                Ok(Err(error)) => NetError::from_connect(self.endpoint, &error),
                Err(_) => self.silent(Step::Connect),
            };
            worst = match worst {
                Some(known) if telling(&known) >= telling(&error) => Some(known),
                _ => Some(error),
            };
        }
        Err(worst.unwrap_or_else(|| NetError::HostUnknown {
            at: Place::of(self.endpoint),
            words: "the resolver gave an empty answer".to_owned(),
        }))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, NetError> {
        let name = (self.endpoint.host.as_str(), self.endpoint.port);
        let found = timeout_at(self.deadline, tokio::net::lookup_host(name))
            .await
            .map_err(|_| self.silent(Step::Name))?
            .map_err(|error| NetError::from_resolver(self.endpoint, &error))?;
        Ok(found.collect())
    }
}

/// Says how much an attempt tells about the host: a refusal comes from there, silence may, the rest is this machine's
/// (an address family without a way out).
fn telling(error: &NetError) -> u8 {
    match error {
        NetError::Refused { .. } => 2,
        NetError::Silent { .. } => 1,
        _ => 0,
    }
}

/// Puts the families in turn, the resolver's first choice first, so that one dead family costs one share of the time.
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    /// More would leave each too small a share; no mail host has more that differ.
    const ADDRESSES_MAX: usize = 8;
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return VecDeque::new() };
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let pairs = std::iter::from_fn(|| match (preferred.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    pairs.flatten().flatten().take(ADDRESSES_MAX).collect()
}

async fn open(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_keepalive(true)?;
    let stream = socket.connect(address).await?;
    // Commands are small and wait for answers.
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let check = |given: &[&str], expected: &[&str]| {
            let given = given.iter().map(|a| SocketAddr::new(a.parse().unwrap(), 1)).collect();
            let got: Vec<_> = interleaved(given).iter().map(|a| a.ip().to_string()).collect();
            assert_eq!(got, expected);
        };
        check(&[], &[]);
        check(&["::1", "::2", "1.1.1.1"], &["::1", "1.1.1.1", "::2"]);
        check(&["1.1.1.1", "2.2.2.2", "::1", "::2", "::3"], &["1.1.1.1", "::1", "2.2.2.2", "::2", "::3"]);
    }
}
