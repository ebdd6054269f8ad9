//! A client that only pipelines: what the servers allow, with no state, no checks and no second try.

use crate::Result;
use crate::support::dovecot::PASSWORD;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// Messages in one command, and commands without an answer.
const TOGETHER: usize = 50;
const COMMANDS: usize = 2;
/// Messages without an answer where each is a command.
const WINDOW: usize = 50;
/// Written at once.
const WRITE: usize = 128 * 1024;

/// Where a server is reached, with TLS.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) authority: PathBuf,
}

pub(crate) struct Client {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    last_tag: usize,
    waiting: VecDeque<String>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn sign_in(server: &Server, user: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&server.authority)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let socket = TcpStream::connect(("127.0.0.1", server.port))?;
        socket.set_nodelay(true)?;
        let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        connection.set_buffer_limit(None);
        let stream = BufReader::with_capacity(256 * 1024, StreamOwned::new(connection, socket));
        let mut client = Self { stream, last_tag: 0, waiting: VecDeque::new(), buffer: Vec::new() };
        client.line()?;
        client.ask(&format!("LOGIN {user} {PASSWORD}"))?;
        Ok(client)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line)? == 0 {
            return Err("the connection was closed".into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn tag(&mut self) -> String {
        self.last_tag += 1;
        format!("r{}", self.last_tag)
    }

    fn flush(&mut self) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(&self.buffer)?;
        stream.flush()?;
        self.buffer.clear();
        Ok(())
    }

    /// Sends a command and gives what came before its answer.
    fn ask(&mut self, command: &str) -> Result<Vec<String>> {
        let tag = self.tag();
        self.buffer.extend_from_slice(format!("{tag} {command}\r\n").as_bytes());
        self.flush()?;
        self.wait(&tag)
    }

    fn wait(&mut self, tag: &str) -> Result<Vec<String>> {
        let mut untagged = Vec::new();
        loop {
            let line = self.line()?;
            match line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                Some(rest) if rest.starts_with("OK") => return Ok(untagged),
                Some(_) => return Err(line.into()),
                None => untagged.push(line),
            }
        }
    }

    /// Waits until no more than so many commands have no answer.
    fn drain(&mut self, most: usize) -> Result<()> {
        while self.waiting.len() > most {
            let tag = self.waiting.pop_front().unwrap_or_default();
            self.wait(&tag)?;
        }
        Ok(())
    }

    fn folders(&mut self) -> Result<Vec<String>> {
        let lines = self.ask("LIST \"\" \"*\"")?;
        let lines = lines.iter().filter(|line| !line.to_lowercase().contains("\\noselect"));
        Ok(lines
            .filter_map(|line| line.split_once("\"/\" "))
            .map(|(_, name)| name.trim_matches('"').to_owned())
            .collect())
    }

    /// Adds a message to what goes into a folder.
    fn append(&mut self, folder: &str, dress: &str, body: &[u8], begun: &mut usize, together: usize) -> Result<()> {
        if *begun == 0 {
            let tag = self.tag();
            self.buffer.extend_from_slice(format!("{tag} APPEND \"{folder}\"").as_bytes());
            self.waiting.push_back(tag);
        }
        *begun += 1;
        self.buffer.extend_from_slice(format!(" {dress}{{{}+}}\r\n", body.len()).as_bytes());
        self.buffer.extend_from_slice(body);
        if *begun == together {
            self.end(begun)?;
            self.drain(if together > 1 { COMMANDS - 1 } else { WINDOW - 1 })?;
        } else if self.buffer.len() > WRITE {
            self.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, begun: &mut usize) -> Result<()> {
        if std::mem::take(begun) > 0 {
            self.buffer.extend_from_slice(b"\r\n");
            self.flush()?;
        }
        Ok(())
    }

    /// Puts messages of these sizes into a folder.
    pub(crate) fn fill(&mut self, folder: &str, sizes: &[usize]) -> Result<()> {
        if folder != "INBOX" {
            self.ask(&format!("CREATE \"{folder}\""))?;
        }
        let mut begun = 0;
        for (number, size) in sizes.iter().enumerate() {
            let mut body = format!(
                "From: Anna <anna@example.org>\r\nTo: Bert <bert@example.org>\r\nSubject: number {number} in {folder}\r\n\
                 Date: Mon, 01 Mar 2021 04:05:{:02} +0000\r\nMessage-ID: <{number}.{size}.{}@example.org>\r\n\r\n",
                number % 60,
                folder.replace(' ', "-")
            );
            while body.len() < *size {
                body.push_str("What is written here is read by nobody, and is as long as lines in letters are.\r\n");
            }
            let dress = format!("(\\Seen) \"01-Mar-2021 04:{:02}:{:02} +0000\" ", number / 60 % 60, number % 60);
            self.append(folder, &dress, body.as_bytes(), &mut begun, TOGETHER)?;
        }
        self.end(&mut begun)?;
        self.drain(0)
    }
}

/// Copies a whole mailbox, folder by folder, over one connection to each side.
pub(crate) fn copy((source, user): (&Server, &str), (target, copy): (&Server, &str), together: bool) -> Result<()> {
    let (mut from, mut to) = (Client::sign_in(source, user)?, Client::sign_in(target, copy)?);
    let together = if together { TOGETHER } else { 1 };
    for folder in from.folders()? {
        if folder != "INBOX" {
            to.ask(&format!("CREATE \"{folder}\""))?;
        }
        if from.ask(&format!("EXAMINE \"{folder}\""))?.iter().any(|line| line == "* 0 EXISTS") {
            continue;
        }
        let tag = from.tag();
        from.buffer.extend_from_slice(format!("{tag} UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])\r\n").as_bytes());
        from.flush()?;
        let (mut body, mut begun) = (Vec::new(), 0);
        loop {
            let line = from.line()?;
            if line.starts_with(&format!("{tag} ")) {
                if !line.contains(" OK ") {
                    return Err(line.into());
                }
                break;
            }
            let Some(size) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) else { continue };
            body.resize(size.1.parse()?, 0);
            from.stream.read_exact(&mut body)?;
            let inside = |begin: &str, end: char| {
                let rest = line.split_once(begin)?.1;
                rest.split_once(end).map(|(inside, _)| inside.replace("\\Recent", ""))
            };
            let flags = inside("FLAGS (", ')').unwrap_or_default();
            let date = inside("INTERNALDATE \"", '"').ok_or("no date")?;
            to.append(&folder, &format!("({}) \"{date}\" ", flags.trim()), &body, &mut begun, together)?;
        }
        to.end(&mut begun)?;
        to.drain(0)?;
    }
    Ok(())
}
