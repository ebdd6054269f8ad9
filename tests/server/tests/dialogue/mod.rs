//! A raw client that plays written dialogues.

// Each test binary uses a part of it; a helper that fails is a test that fails.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use mailhaul_testserver::{Config, Features, NewMessage, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Either kind of stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection and what was read ahead on it.
pub(crate) struct Client {
    stream: Box<dyn Io>,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn over(stream: impl Io + 'static) -> Self {
        Client { stream: Box::new(stream), input: Vec::new() }
    }

    /// A fresh in-memory connection.
    pub(crate) fn to(server: &Server) -> Self {
        Client::over(server.connect())
    }

    /// In memory, greeted and signed in as `u`, password `pass`.
    pub(crate) async fn signed_in(server: &Server) -> Self {
        let mut client = Client::to(server);
        client.play("S: * OK …\nC: a LOGIN u pass\nS: a OK …").await;
        client
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line without its CRLF; None at the end of the connection.
    pub(crate) async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.input[..end].to_vec();
                self.input.drain(..end + 2);
                return Some(line);
            }
            if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// Exactly so many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            assert!(matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)), "the connection ended");
        }
        let rest = self.input.split_off(count);
        std::mem::replace(&mut self.input, rest)
    }

    /// All bytes up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {}
        std::mem::take(&mut self.input)
    }

    /// Reads up to the tagged reply; all lines, lossily, joined by `\n`.
    pub(crate) async fn answer(&mut self, tag: &str) -> String {
        let mut all = String::new();
        loop {
            let line = self.line().await.unwrap_or_else(|| panic!("connection ended after {all:?}"));
            let line = String::from_utf8_lossy(&line).into_owned();
            all.push_str(&line);
            if line.starts_with(&format!("{tag} ")) {
                return all;
            }
            all.push('\n');
        }
    }

    /// Sends a command under the tag `a` and gives all that comes back.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        self.send(format!("a {command}\r\n")).await;
        self.answer("a").await
    }

    /// Plays a dialogue: `C: ` lines are sent, `S: ` lines must come, one that ends in `…` need only begin so;
    /// `END` is the end of the connection. Lines that are none of these are passed over.
    pub(crate) async fn play(&mut self, dialogue: &str) {
        for (number, step) in dialogue.lines().map(str::trim_start).enumerate() {
            if let Some(sent) = step.strip_prefix("C: ") {
                self.send(format!("{sent}\r\n")).await;
            } else if let Some(wanted) = step.strip_prefix("S: ") {
                let line = tokio::time::timeout(Duration::from_secs(20), self.line()).await;
                let line = line.unwrap_or_else(|_| panic!("line {number}: nothing came, expected {wanted:?}"));
                let line = line.unwrap_or_else(|| panic!("line {number}: the connection ended, expected {wanted:?}"));
                let line = String::from_utf8_lossy(&line).into_owned();
                match wanted.strip_suffix('…') {
                    Some(start) => assert!(line.starts_with(start), "line {number}: {line:?}, expected {wanted:?}"),
                    None => assert_eq!(line, wanted, "line {number}"),
                }
            } else if step == "END" {
                assert_eq!(self.line().await, None, "line {number}");
            }
        }
    }
}

/// A server without a socket; user `u`, password `pass`.
pub(crate) fn server(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::plain("u");
    change(&mut config);
    Server::in_memory(config).unwrap()
}

/// A server with some features changed.
pub(crate) fn server_with(change: impl FnOnce(&mut Features)) -> Server {
    server(|config| change(&mut config.features))
}

/// Signs in and plays a dialogue.
pub(crate) async fn check(server: &Server, dialogue: &str) {
    Client::signed_in(server).await.play(dialogue).await;
}

pub(crate) fn message(text: &str) -> NewMessage {
    NewMessage::new(text).date("17-Jul-1996 02:44:25 -0700")
}

/// What a client needs to trust a server.
pub(crate) fn trusting(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A TLS handshake, with the server's name as the client wants it.
pub(crate) async fn handshake(server: &Server, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(server.addr()).await?;
    trusting(server.ca_pem()).connect(ServerName::try_from(name).unwrap(), tcp).await
}

/// Sends plain text, reads up to the OK of the command tagged `a`, then makes TLS.
pub(crate) async fn start_tls(server: &Server, sent: &str) -> (String, std::io::Result<Client>) {
    let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
    let mut read = String::new();
    tcp.write_all(sent.as_bytes()).await.unwrap();
    while !read.contains("\na OK") || !read.ends_with('\n') {
        let mut buffer = [0; 1024];
        let count = tcp.read(&mut buffer).await.unwrap();
        read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    let name = ServerName::try_from("localhost").unwrap();
    let tls = trusting(server.ca_pem()).connect(name, tcp).await;
    (read, tls.map(Client::over))
}
