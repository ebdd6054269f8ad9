//! A small IMAP client for tests: blocking, lenient, and without a line of the engine.
//!
//! It sends what it is told and gives back what came, as [`Value`]s; literals are bytes. Silence, the end of the stream and
//! nonsense are errors of [`io`]; the methods that tests use most panic on them instead, with the command and the answer.

use super::response::{Fetched, Reply, Response, Status, Value, literal_length, parse};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A server that says nothing for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Where a server of a test listens, on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// TCP port.
    pub(crate) port: u16,
    /// With TLS from the first byte: the authority to trust, in PEM.
    pub(crate) authority: Option<PathBuf>,
}

impl Address {
    /// Gives the address of a port without TLS.
    pub(crate) fn plain(port: u16) -> Self {
        Self { port, authority: None }
    }

    /// Gives the address of a port with implicit TLS, for the name `localhost`.
    pub(crate) fn tls(port: u16, authority: &Path) -> Self {
        Self { port, authority: Some(authority.to_owned()) }
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    greeting: Response,
    last_tag: u32,
}

/// One message as a server shows it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) uid: u32,
    /// As written but sorted, without `\Recent`.
    pub(crate) flags: Vec<String>,
    /// As written, without quotes.
    pub(crate) internal_date: String,
    /// RFC822.SIZE.
    pub(crate) size: u64,
    /// BODY[].
    pub(crate) body: Vec<u8>,
}

/// One answer of LIST or LSUB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Lower case, such as `\noselect`.
    pub(crate) attributes: Vec<String>,
    /// None for NIL.
    pub(crate) separator: Option<char>,
    /// As on the wire.
    pub(crate) name: String,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", address.port))?;
        socket.set_read_timeout(Some(SILENCE_MAX))?;
        socket.set_write_timeout(Some(SILENCE_MAX))?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &address.authority {
            None => Box::new(socket),
            Some(authority) => Box::new(encrypt(socket, authority)?),
        };
        let mut client = Self { stream: BufReader::new(stream), greeting: Response::default(), last_tag: 0 };
        client.greeting = client.read()?;
        Ok(client)
    }

    /// Connects and signs in with LOGIN. Panics if either fails.
    pub(crate) fn sign_in(address: &Address, user: &str, password: &str) -> Self {
        let mut client = Self::connect(address).unwrap_or_else(|error| panic!("port {}: {error}", address.port));
        client.ok(&format!("LOGIN {} {}", quote(user), quote(password)));
        client
    }

    /// Gives what the server said first.
    pub(crate) fn greeting(&self) -> &Response {
        &self.greeting
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Reads one response, with its literals: untagged, tagged or a continuation.
    pub(crate) fn read(&mut self) -> io::Result<Response> {
        let mut bytes = Vec::new();
        loop {
            let begin = bytes.len();
            self.stream.read_until(b'\n', &mut bytes)?;
            if !bytes.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
            }
            // What follows a status is text for people: it may end in anything.
            let Some(length) = literal_length(&bytes[begin..]).filter(|_| Status::of(&bytes).is_none()) else { break };
            let begin = bytes.len();
            bytes.resize(begin + length, 0);
            self.stream.read_exact(&mut bytes[begin..])?;
        }
        parse(&bytes)
    }

    /// Sends a command under a new tag and gives the tag, without waiting for the answer.
    pub(crate) fn begin(&mut self, command: impl AsRef<[u8]>) -> io::Result<String> {
        self.last_tag += 1;
        let tag = format!("t{}", self.last_tag);
        let line = [tag.as_bytes(), b" ", command.as_ref(), b"\r\n"].concat();
        self.send(&line)?;
        Ok(tag)
    }

    /// Reads up to the tagged response.
    pub(crate) fn finish(&mut self, tag: &str) -> io::Result<Reply> {
        let mut untagged = Vec::new();
        loop {
            let response = self.read()?;
            if response.tag == tag {
                return Ok(Reply { untagged, done: response });
            }
            untagged.push(response);
        }
    }

    /// Sends a command and reads its answer, whatever it is. Literals in it must be non-synchronising.
    pub(crate) fn command(&mut self, command: impl AsRef<[u8]>) -> io::Result<Reply> {
        let tag = self.begin(command)?;
        self.finish(&tag)
    }

    /// Like [`Client::command`]; panics unless the answer is OK.
    pub(crate) fn ok(&mut self, command: &str) -> Reply {
        self.expect(command, Status::Ok)
    }

    /// Like [`Client::command`]; panics unless the answer is NO.
    pub(crate) fn no(&mut self, command: &str) -> Reply {
        self.expect(command, Status::No)
    }

    /// Like [`Client::command`]; panics unless the answer is of this status.
    pub(crate) fn expect(&mut self, command: &str, status: Status) -> Reply {
        let shown = command.lines().next().unwrap_or_default();
        let reply = self.command(command).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(reply.done.status, Some(status), "{shown}: {}", reply.done);
        reply
    }

    /// Appends a message with a synchronising literal. `flags` as in `\Seen $Label`, `date` without quotes; either may be
    /// empty.
    pub(crate) fn append(&mut self, folder: &str, flags: &str, date: &str, body: &[u8]) -> io::Result<Reply> {
        let tag = self.begin(format!("APPEND {} {}{{{}}}", quote(folder), append_options(flags, date), body.len()))?;
        // Cyrus takes the line end behind a literal of no bytes for a command, and complains of it now.
        let mut answer = self.read()?;
        while answer.tag == "*" {
            answer = self.read()?;
        }
        if answer.tag != "+" {
            return Ok(Reply { untagged: Vec::new(), done: answer });
        }
        self.send(body)?;
        self.send(b"\r\n")?;
        self.finish(&tag)
    }

    /// Appends a message; panics unless the answer is OK.
    pub(crate) fn store(&mut self, folder: &str, flags: &str, date: &str, body: &[u8]) -> Reply {
        let reply = self.append(folder, flags, date, body).unwrap_or_else(|error| panic!("APPEND {folder}: {error}"));
        assert_eq!(reply.done.status, Some(Status::Ok), "APPEND {folder}: {}", reply.done);
        reply
    }

    /// Gives the answers of `LIST "" "*"` in the order of names.
    pub(crate) fn list(&mut self) -> Vec<Listed> {
        self.listed("LIST")
    }

    /// Gives the answers of `LSUB "" "*"` in the order of names.
    pub(crate) fn lsub(&mut self) -> Vec<Listed> {
        self.listed("LSUB")
    }

    fn listed(&mut self, verb: &str) -> Vec<Listed> {
        let reply = self.ok(&format!("{verb} \"\" \"*\""));
        let mut listed: Vec<Listed> = reply.all(verb).map(Listed::of).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed
    }

    /// Asks for the STATUS of a folder, such as `MESSAGES UIDNEXT`; gives the values in the order of the items.
    pub(crate) fn status(&mut self, folder: &str, items: &str) -> Vec<u64> {
        let reply = self.ok(&format!("STATUS {} ({items})", quote(folder)));
        let answer = reply.all("STATUS").next().unwrap_or_else(|| panic!("no STATUS of {folder}"));
        let values = answer.values.get(2).map(Value::list).unwrap_or_default();
        let value_of = |item: &str| {
            let found = values.chunks(2).find(|pair| pair[0].text().eq_ignore_ascii_case(item));
            found.and_then(|pair| pair.get(1)?.number()).unwrap_or_else(|| panic!("no {item} in {answer}"))
        };
        items.split(' ').map(value_of).collect()
    }

    /// Opens a folder with EXAMINE; panics unless the answer is OK.
    pub(crate) fn examine(&mut self, folder: &str) -> Reply {
        self.ok(&format!("EXAMINE {}", quote(folder)))
    }

    /// Opens a folder with SELECT; panics unless the answer is OK.
    pub(crate) fn select(&mut self, folder: &str) -> Reply {
        self.ok(&format!("SELECT {}", quote(folder)))
    }

    /// Examines a folder and hands every message in it to `each`, with its bytes, in the server's order.
    pub(crate) fn fetch_each(&mut self, folder: &str, mut each: impl FnMut(Message)) {
        self.examine(folder);
        let tag = self.begin("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])").expect("FETCH is sent");
        loop {
            let response = self.read().unwrap_or_else(|error| panic!("FETCH in {folder}: {error}"));
            if response.tag == tag {
                assert_eq!(response.status, Some(Status::Ok), "FETCH in {folder}: {response}");
                return;
            }
            // An answer without a body tells of a flag that somebody changed meanwhile.
            if let Some(message) = Fetched::of(&response).and_then(|fetched| Message::of(&fetched)) {
                each(message);
            }
        }
    }

    /// Gives every message of a folder, with its bytes, in the server's order.
    pub(crate) fn fetch_all(&mut self, folder: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        self.fetch_each(folder, |message| messages.push(message));
        messages
    }

    /// Signs out and waits for the end of the connection.
    pub(crate) fn log_out(mut self) {
        self.ok("LOGOUT");
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

impl Message {
    /// Takes an answer of FETCH with all of it; None for any other.
    fn of(fetched: &Fetched) -> Option<Self> {
        Some(Self {
            uid: u32::try_from(fetched.uid()?).ok()?,
            flags: fetched.flags()?,
            internal_date: fetched.item("INTERNALDATE")?.text(),
            size: fetched.item("RFC822.SIZE")?.number()?,
            body: fetched.item("BODY[]")?.bytes().to_vec(),
        })
    }
}

impl Listed {
    fn of(response: &Response) -> Self {
        let [_, attributes, separator, name, ..] = response.values.as_slice() else { panic!("no listing: {response}") };
        Self {
            attributes: attributes.list().iter().map(|value| value.text().to_ascii_lowercase()).collect(),
            separator: if separator.is_nil() { None } else { separator.text().chars().next() },
            name: name.text(),
        }
    }
}

/// Writes a quoted string.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Writes what stands between folder and literal of an APPEND; `date` without quotes, either may be empty.
pub(crate) fn append_options(flags: &str, date: &str) -> String {
    let flags = if flags.is_empty() { String::new() } else { format!("({flags}) ") };
    let date = if date.is_empty() { String::new() } else { format!("\"{date}\" ") };
    flags + &date
}

fn encrypt(socket: TcpStream, authority: &Path) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, socket))
}
