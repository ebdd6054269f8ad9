//! Whom we believe, as rustls wants it: one client configuration for each [`Trust`].
//!
//! Invariants: a handshake signature is always verified, for a pinned certificate too. What was read from disk is read
//! again after a certificate was refused, so that a mended file counts without a restart.

use super::{Endpoint, Fingerprint, NetError, Place, Trust};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// What has been read from disk and built so far.
#[derive(Default)]
pub(super) struct Believed {
    roots: Option<Arc<RootCertStore>>,
    configs: HashMap<Trust, Arc<ClientConfig>>,
}

impl Believed {
    /// Gives the client configuration for an endpoint, built at its first use.
    pub(super) async fn config(&mut self, endpoint: &Endpoint) -> Result<Arc<ClientConfig>, NetError> {
        if let Some(config) = self.configs.get(&endpoint.trust) {
            return Ok(config.clone());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match endpoint.trust.pin {
            Some(pin) => Arc::new(Pinned { pin, provider: provider.clone() }),
            None => Arc::new(self.vouched(endpoint, &provider).await?),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| NetError::TlsFailed { at: Place::of(endpoint), words: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let config = Arc::new(config);
        self.configs.insert(endpoint.trust.clone(), config.clone());
        Ok(config)
    }

    /// Drops what was read, so that it is read again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The system's roots are read at once only where nobody else can vouch: that takes as long as a whole sign-in nearby.
    async fn vouched(&mut self, endpoint: &Endpoint, provider: &Arc<CryptoProvider>) -> Result<Vouched, NetError> {
        let Some(path) = endpoint.trust.ca_file.clone() else {
            let roots = self.system_roots(endpoint).await?;
            let system = verifier(roots, provider).ok_or_else(|| NetError::RootsMissing { at: Place::of(endpoint) })?;
            return Ok(Vouched { own: None, system: OnceLock::from(Some(system)), provider: provider.clone() });
        };
        let refused = |words| NetError::CaFile { at: Place::of(endpoint), path: path.clone(), words };
        let file = path.clone();
        let roots = blocking(endpoint, move || read_authorities(&file)).await?.map_err(refused)?;
        let own =
            verifier(Arc::new(roots), provider).ok_or_else(|| NetError::RootsMissing { at: Place::of(endpoint) })?;
        let system = self.roots.clone().map(|roots| verifier(roots, provider));
        let system = system.map(OnceLock::from).unwrap_or_default();
        Ok(Vouched { own: Some(own), system, provider: provider.clone() })
    }

    async fn system_roots(&mut self, endpoint: &Endpoint) -> Result<Arc<RootCertStore>, NetError> {
        if let Some(roots) = &self.roots {
            return Ok(roots.clone());
        }
        Ok(self.roots.insert(blocking(endpoint, read_system_roots).await?).clone())
    }
}

fn read_system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // One unreadable file or odd certificate among a hundred is the system's business.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
}

/// None: there is no root at all.
fn verifier(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().ok()
}

async fn blocking<T: Send + 'static>(
    endpoint: &Endpoint,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NetError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| NetError::TlsFailed { at: Place::of(endpoint), words: error.to_string() })
}

fn read_authorities(path: &Path) -> Result<RootCertStore, String> {
    /// Every authority of a whole system fits into a tenth of this.
    const BYTES_MAX: u64 = 4 << 20;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut pem = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut pem).map_err(|error| error.to_string())?;
    if pem.len() as u64 > BYTES_MAX {
        return Err(format!("it is larger than {BYTES_MAX} bytes"));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let unfit = |error: &dyn std::fmt::Display| format!("certificate {} cannot be used: {error}", index + 1);
        let certificate = certificate.map_err(|error| unfit(&error))?;
        roots.add(certificate).map_err(|error| unfit(&error))?;
    }
    if roots.is_empty() { Err("it holds no certificate in PEM".to_owned()) } else { Ok(roots) }
}

/// A certificate was not believed: why, and which it was.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Refusal {
    /// Of the certificate that was shown.
    pub(super) fingerprint: Fingerprint,
    /// Anything but `InvalidCertificate`: it is not the pinned one.
    pub(super) cause: rustls::Error,
}

impl Refusal {
    fn wrap(shown: &CertificateDer<'_>, cause: rustls::Error) -> rustls::Error {
        let refusal = Self { fingerprint: Fingerprint::of(shown), cause };
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// Believes what an authority vouches for, one of the job's own or one of the system's, and keeps the fingerprint of what it
/// refuses.
#[derive(Debug)]
struct Vouched {
    /// Of the job; asked first.
    own: Option<Arc<WebPkiServerVerifier>>,
    /// Of the system; read when it is needed. None: it has no roots.
    system: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
    provider: Arc<CryptoProvider>,
}

impl Vouched {
    fn verify(
        &self,
        check: impl Fn(&WebPkiServerVerifier) -> Result<ServerCertVerified, rustls::Error>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let stranger = || rustls::Error::from(CertificateError::UnknownIssuer);
        let of_own = self.own.as_ref().map_or_else(|| Err(stranger()), |own| check(own));
        let Err(cause) = of_own else { return of_own };
        let system = self.system.get_or_init(|| verifier(read_system_roots(), &self.provider));
        match system.as_ref().map(|system| check(system)) {
            Some(Ok(verified)) => Ok(verified),
            // Whose authority is known to one of the two is told by that one what is wrong.
            Some(Err(of_system)) if is_unknown(&cause) => Err(of_system),
            _ => Err(cause),
        }
    }
}

fn is_unknown(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
}

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(|one| one.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now))
            .map_err(|cause| Refusal::wrap(end_entity, cause))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Believes one certificate; whoever shows it still has to prove that the key is theirs.
#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(end_entity) == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Refusal::wrap(end_entity, rustls::Error::General("not the pinned certificate".to_owned())))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
