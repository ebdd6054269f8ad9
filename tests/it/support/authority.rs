//! Certificates made on the spot: one authority per process, and what a server may show that is good or bad.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::sync::OnceLock;

/// What a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Certificate {
    /// For `localhost`, `127.0.0.1` and `::1`, signed by the authority.
    #[default]
    Good,
    /// Like `Good`, but its days were over in 2020.
    Expired,
    /// Signed by the authority, for `other.example` alone.
    WrongName,
    /// For the right names, signed by nobody else.
    SelfSigned,
}

/// A certificate and its key in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs certificates; tests trust it.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Gives this process's own.
    pub(crate) fn of_process() -> &'static Self {
        static AUTHORITY: OnceLock<Authority> = OnceLock::new();
        AUTHORITY.get_or_init(Self::new)
    }

    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("the authority's certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Gives the certificate to trust.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes what a server shows.
    pub(crate) fn issue(&self, kind: Certificate) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let names: &[&str] = match kind {
            Certificate::WrongName => &["other.example"],
            _ => &["localhost", "127.0.0.1", "::1"],
        };
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names of hosts");
        params.distinguished_name.push(DnType::CommonName, names[0].as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if kind == Certificate::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let signed = match kind {
            Certificate::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        Pair { certificate: signed.expect("a certificate").pem(), key: key.serialize_pem() }
    }
}
