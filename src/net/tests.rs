//! Every way a connection fails, against servers on loopback.

use super::*;
use crate::failure::Kind;
use crate::mail::Side;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A certificate with its key, and the PEM of the authority that signed it (its own where none has).
struct Shown {
    der: CertificateDer<'static>,
    key: KeyPair,
    authority: tempfile::NamedTempFile,
}

impl Shown {
    fn signed(names: &[&str], years: (i32, i32)) -> Self {
        static AUTHORITIES: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = format!("authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let der = params_of(names, years).signed_by(&key, &authority).unwrap().der().clone();
        Self { der, key, authority: file(&authority.pem()) }
    }

    fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params_of(names, (2020, 2090)).self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), key, authority: file(&certificate.pem()) }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// Greets each connection inside TLS and sends back what comes.
    async fn serve(&self, address: &str) -> u16 {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        serve(address, move |socket| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                stream.write_all(b"* OK\r\n").await.unwrap();
                stream.flush().await.unwrap();
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        })
        .await
    }
}

fn params_of(names: &[&str], years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 2), date_time_ymd(years.1, 1, 2));
    params
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    address: &str,
    mut each: impl FnMut(tokio::net::TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(each(socket));
        }
    });
    port
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    let connect_timeout = Duration::from_secs(20);
    Endpoint { host: host.to_owned(), port, tls: Tls::Implicit, trust: Trust::default(), connect_timeout }
}

fn trusting(mut endpoint: Endpoint, shown: &Shown) -> Endpoint {
    endpoint.trust.ca_file = Some(shown.authority.path().to_owned());
    endpoint
}

async fn talks(network: &Network, endpoint: &Endpoint) {
    let mut io = network.dial(endpoint).await.unwrap();
    io.write_all(b"ping").await.unwrap();
    io.flush().await.unwrap();
    let mut heard = Vec::new();
    io.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"* OK\r\nping");
}

/// Dials in vain and gives the failure's kind and what is printed, with what differs between runs taken out.
async fn fails(endpoint: &Endpoint) -> (Kind, String) {
    let error = Network::new().dial(endpoint).await.unwrap_err();
    (error.kind(), print(&error, endpoint.port))
}

fn print(error: &NetError, port: u16) -> String {
    let mut text = error.failure(Side::Source).to_string().replace(&format!(":{port}"), ":PORT");
    while let Some(at) = text.find("sha256:").filter(|at| text[at + 7..].starts_with(|c: char| c.is_ascii_hexdigit())) {
        text.replace_range(at..at + 7 + 64, "SHA256");
    }
    text
}

#[tokio::test]
async fn a_trusted_server_is_talked_to_by_name_and_by_address() {
    let shown = Shown::signed(&["localhost", "127.0.0.1", "::1"], (2020, 2090));
    let network = Network::new();
    let port = shown.serve("127.0.0.1").await;
    for host in ["127.0.0.1", "localhost"] {
        talks(&network, &trusting(endpoint(host, port), &shown)).await;
    }
    if TcpListener::bind("[::1]:0").await.is_ok() {
        let port = shown.serve("::1").await;
        talks(&network, &trusting(endpoint("::1", port), &shown)).await;
    }
}

#[tokio::test]
async fn a_plain_socket_is_secured_later() {
    let shown = Shown::signed(&["localhost"], (2020, 2090));
    let port = shown.serve("127.0.0.1").await;
    let endpoint = Endpoint { tls: Tls::StartTls, ..trusting(endpoint("localhost", port), &shown) };
    let network = Network::new();
    let plain = network.dial(&endpoint).await.unwrap();
    let mut io = network.secure(plain, &endpoint).await.unwrap();
    let mut heard = [0; 6];
    io.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"* OK\r\n");
}

#[tokio::test]
async fn a_pin_replaces_names_dates_and_issuers() {
    let shown = Shown::signed(&["elsewhere.example"], (2001, 2002));
    let port = shown.serve("127.0.0.1").await;
    let mut endpoint = endpoint("127.0.0.1", port);
    endpoint.trust.pin = Some(shown.fingerprint());
    talks(&Network::new(), &endpoint).await;

    endpoint.trust.pin = Some(Fingerprint([7; 32]));
    let (kind, text) = fails(&endpoint).await;
    assert_eq!(kind, Kind::CertificateUntrusted);
    insta::assert_snapshot!(text, @r#"
    source: failed to trust the certificate of 127.0.0.1:PORT: it is not the pinned one, SHA256; its fingerprint is SHA256
      hint: if the host has changed its certificate, and says so: pin = "SHA256"
    "#);
}

#[tokio::test]
async fn a_pin_does_not_believe_who_lacks_the_key() {
    // The impostor shows the pinned certificate and has another key.
    let victim = Shown::self_signed(&["localhost"]);
    let endpoint = endpoint("localhost", 1);
    let trust = Trust { pin: Some(victim.fingerprint()), ..Trust::default() };
    let config = trust::Believed::default().config(&Endpoint { trust, ..endpoint }).await.unwrap();
    let impostor = KeyPair::generate().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(impostor.serialize_der()));
    let provider = rustls::crypto::ring::default_provider();
    let signer = provider.key_provider.load_private_key(key).unwrap();
    let stolen = rustls::sign::CertifiedKey::new(vec![victim.der.clone()], signer);
    let server = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let accept = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(theirs);
    let connect = tokio_rustls::TlsConnector::from(config).connect("localhost".try_into().unwrap(), ours);
    let (_, connected) = tokio::join!(accept, connect);
    assert!(connected.unwrap_err().to_string().contains("BadSignature"));
}

#[tokio::test]
async fn an_expired_certificate_is_told_with_its_end() {
    let shown = Shown::signed(&["127.0.0.1"], (2001, 2002));
    let port = shown.serve("127.0.0.1").await;
    let (kind, text) = fails(&trusting(endpoint("127.0.0.1", port), &shown)).await;
    assert_eq!(kind, Kind::CertificateExpired);
    insta::assert_snapshot!(text, @r#"
    source: failed to trust the certificate of 127.0.0.1:PORT: its time ended on 2002-01-02T00:00:00Z
      hint: ask the host to renew it, or believe exactly this one: pin = "SHA256"
    "#);
}

#[tokio::test]
async fn a_certificate_of_the_future_points_at_the_clock() {
    let shown = Shown::signed(&["127.0.0.1"], (2089, 2090));
    let port = shown.serve("127.0.0.1").await;
    let (kind, text) = fails(&trusting(endpoint("127.0.0.1", port), &shown)).await;
    assert_eq!(kind, Kind::CertificateExpired);
    insta::assert_snapshot!(text, @r"
    source: failed to trust the certificate of 127.0.0.1:PORT: its time has not begun, it begins on 2089-01-02T00:00:00Z
      hint: check this machine's clock
    ");
}

#[tokio::test]
async fn a_wrong_name_lists_the_right_ones() {
    let shown = Shown::signed(&["*.host.example", "mail.host.example", "192.0.2.1"], (2020, 2090));
    let port = shown.serve("127.0.0.1").await;
    let (kind, text) = fails(&trusting(endpoint("localhost", port), &shown)).await;
    assert_eq!(kind, Kind::CertificateName);
    insta::assert_snapshot!(text, @r#"
    source: failed to trust the certificate of localhost:PORT: it is for *.host.example, mail.host.example and 192.0.2.1 only
      hint: write host = "mail.host.example" if that is the same server, or believe exactly this certificate: pin = "SHA256"
    "#);
}

#[tokio::test]
async fn an_unknown_issuer_is_told_with_the_fingerprint() {
    let (shown, other) = (Shown::signed(&["localhost"], (2020, 2090)), Shown::signed(&["localhost"], (2020, 2090)));
    let port = shown.serve("127.0.0.1").await;
    let error = Network::new().dial(&trusting(endpoint("localhost", port), &other)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CertificateUntrusted);
    assert!(error.hint().contains(&shown.fingerprint().to_string()), "{}", error.hint());
    insta::assert_snapshot!(print(&error, port), @r#"
    source: failed to trust the certificate of localhost:PORT: it is self-signed or from an issuer not trusted here; its fingerprint is SHA256
      hint: name the host's authority with ca_file, or believe exactly this certificate: pin = "SHA256"
    "#);
}

#[tokio::test]
async fn a_self_signed_certificate_is_believed_only_where_it_is_named() {
    let (shown, other) = (Shown::self_signed(&["localhost"]), Shown::self_signed(&["localhost"]));
    let port = shown.serve("127.0.0.1").await;
    assert_eq!(fails(&trusting(endpoint("localhost", port), &other)).await.0, Kind::CertificateUntrusted);
    talks(&Network::new(), &trusting(endpoint("localhost", port), &shown)).await;
}

#[tokio::test]
async fn an_authoritys_own_certificate_serves_by_pin_only() {
    let key = KeyPair::generate().unwrap();
    let mut params = params_of(&["localhost"], (2020, 2090));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let shown = Shown { der: certificate.der().clone(), key, authority: file(&certificate.pem()) };
    let mut endpoint = trusting(endpoint("localhost", shown.serve("127.0.0.1").await), &shown);
    let (kind, text) = fails(&endpoint).await;
    assert_eq!(kind, Kind::CertificateUntrusted);
    insta::assert_snapshot!(text, @r#"
    source: failed to trust the certificate of localhost:PORT: it is self-signed and an authority's own, which no server may show; its fingerprint is SHA256
      hint: believe exactly this certificate, if it is the right one: pin = "SHA256"
    "#);
    endpoint.trust.pin = Some(shown.fingerprint());
    talks(&Network::new(), &endpoint).await;
}

#[tokio::test]
async fn an_authority_file_that_was_mended_counts_at_once() {
    let (shown, other) = (Shown::signed(&["localhost"], (2020, 2090)), Shown::signed(&["localhost"], (2020, 2090)));
    let port = shown.serve("127.0.0.1").await;
    let endpoint = trusting(endpoint("localhost", port), &other);
    let network = Network::new();
    assert_eq!(network.dial(&endpoint).await.unwrap_err().kind(), Kind::CertificateUntrusted);
    std::fs::copy(shown.authority.path(), other.authority.path()).unwrap();
    talks(&network, &endpoint).await;
}

#[tokio::test]
async fn an_authority_file_that_cannot_be_used_is_named() {
    let shown = Shown::self_signed(&["localhost"]);
    let port = shown.serve("127.0.0.1").await;
    let check = async |path: PathBuf, words: &str| {
        let mut endpoint = endpoint("localhost", port);
        endpoint.trust.ca_file = Some(path.clone());
        let (kind, text) = fails(&endpoint).await;
        assert_eq!(kind, Kind::CertificateUntrusted);
        assert!(text.contains(words) && text.contains(path.to_str().unwrap()), "{text}");
    };
    check("/does/not/exist.pem".into(), "No such file").await;
    let empty = file("hello");
    check(empty.path().to_owned(), "it holds no certificate in PEM").await;
    let broken = file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    check(broken.path().to_owned(), "certificate 1 cannot be used").await;
}

#[tokio::test]
async fn plain_text_on_a_tls_port_leads_to_starttls() {
    let port = serve("127.0.0.1", async |mut socket| {
        socket.write_all(b"* OK [CAPABILITY IMAP4rev1] ready\r\n").await.unwrap();
        socket.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let (kind, text) = fails(&endpoint("127.0.0.1", port)).await;
    assert_eq!(kind, Kind::TlsMissing);
    insta::assert_snapshot!(text, @r#"
    source: failed to begin TLS with 127.0.0.1:PORT: the server speaks plain text on this port
      hint: write tls = "starttls" and port = 143
    "#);
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_handshake_is_lost() {
    let port = serve("127.0.0.1", async |mut socket| {
        socket.read_exact(&mut [0; 16]).await.unwrap();
    })
    .await;
    let (kind, text) = fails(&endpoint("127.0.0.1", port)).await;
    assert_eq!(kind, Kind::Lost, "{text}");
}

#[tokio::test]
async fn a_closed_port_is_told_with_the_usual_ones() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let (kind, text) = fails(&endpoint("127.0.0.1", port)).await;
    assert_eq!(kind, Kind::Unreachable);
    insta::assert_snapshot!(text.replace(&port.to_string(), "PORT"), @r#"
    source: failed to connect to 127.0.0.1:PORT: nobody listens on that port
      hint: check host and port = PORT: IMAP is on 993 with tls = "implicit", on 143 with tls = "starttls"
    "#);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let port = serve("127.0.0.1", async |mut socket| {
        socket.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let endpoint = Endpoint { connect_timeout: Duration::from_millis(300), ..endpoint("127.0.0.1", port) };
    let (kind, text) = fails(&endpoint).await;
    assert_eq!(kind, Kind::Silent);
    insta::assert_snapshot!(text, @r"
    source: failed to begin TLS with 127.0.0.1:PORT: no answer within 300ms
      hint: the server took the connection and said nothing: check port and tls, or try again later
    ");
}

#[tokio::test]
async fn a_name_without_address_is_told() {
    let error = Network::new().dial(&endpoint("does-not-exist.invalid", 993)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::HostUnknown);
    // The words are the resolver's and differ between machines.
    let text = error.to_string();
    assert!(text.starts_with("look up does-not-exist.invalid:993: the name has no address ("), "{text}");
    insta::assert_snapshot!(error.hint(), @r#"check the spelling of host = "does-not-exist.invalid", and that this machine can look up names"#);
}

#[test]
fn texts_of_what_loopback_cannot_show() {
    let at = || Place { host: "2001:db8::1".to_owned(), port: 993 };
    let errors = [
        NetError::Unreachable { at: at(), words: "Network is unreachable".to_owned() },
        NetError::Silent { at: at(), step: Step::Connect, within: Duration::from_secs(30) },
        NetError::RootsMissing { at: at() },
        NetError::TlsFailed { at: at(), words: "the server found no cipher that both know".to_owned() },
        NetError::Lost { at: at(), words: "Connection reset by peer".to_owned() },
    ];
    let texts: Vec<_> = errors.iter().map(|error| error.failure(Side::Target).to_string()).collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    target: failed to connect to [2001:db8::1]:993: no way leads there (Network is unreachable)
      hint: check this machine's network, and host in the job file
    target: failed to connect to [2001:db8::1]:993: no answer within 30s
      hint: check host and port, and that no firewall stands between; connect_timeout sets how long to wait
    target: failed to trust the certificate of [2001:db8::1]:993: this machine has no list of trusted authorities
      hint: install the system's certificates (the package is often called ca-certificates), or name ca_file
    target: failed to begin TLS with [2001:db8::1]:993: the server found no cipher that both know
      hint: check port and tls; the server has to know TLS 1.2 or 1.3 with current ciphers
    target: failed to begin TLS with [2001:db8::1]:993: the connection broke (Connection reset by peer)
      hint: try again later; if it stays so, ask the host whether it blocks this machine's address
    ");
}

#[test]
fn a_fingerprint_reads_what_it_and_openssl_print() {
    let print = Fingerprint(std::array::from_fn(|i| u8::try_from(i * 8).unwrap()));
    let colons: Vec<_> = print.0.iter().map(|byte| format!("{byte:02X}")).collect();
    for text in [print.to_string(), colons.join(":"), format!("sha256 Fingerprint={}", colons.join(":"))] {
        assert_eq!(text.parse(), Ok(print), "{text}");
    }
    for text in ["", "sha256:", "zz", &colons.join("")[1..], &format!("{}0", colons.join("")), "é"] {
        assert_eq!(text.parse::<Fingerprint>(), Err(NotAFingerprint), "{text}");
    }
}
