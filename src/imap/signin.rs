//! From an endpoint to a signed-in connection: greeting, STARTTLS, sign-in, capabilities.

use super::connection::{Capabilities, Connection, Line, Part, capability_code, sort_line, untagged};
use super::deflate::Deflated;
use super::error::{ImapError, Refusal};
use super::fetch::{CommandBrake, Turns, turn};
use super::token::{Response, starts_with};
use super::wire::{Broken, Wire};
use crate::auth::{self, Credential, InitialResponse, Keychain, Secret, SignIn};
use crate::net::{BoxedIo, Dial, Endpoint, Tls};
use crate::provider::{Phase, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What is needed to open one end of an account.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// How bytes get there.
    pub dial: &'a dyn Dial,
    /// Where.
    pub endpoint: &'a Endpoint,
    /// Who.
    pub sign_in: &'a SignIn,
    /// By what secret.
    pub keychain: &'a Keychain,
    /// Silence after which the connection counts as dead.
    pub timeout: Duration,
    /// All folders will be asked for: that goes along with what is asked at sign-in.
    pub lists: bool,
    /// What the server takes, as far as is known.
    pub manners: &'a Manners,
    /// What holds its commands back, from the first on; None: nothing does.
    pub commands: Option<&'a Arc<dyn CommandBrake>>,
}

/// How a server is spoken to: learnt by each sign-in for those after it.
#[derive(Debug, Default)]
pub struct Manners {
    apart: AtomicBool,
    compress: AtomicBool,
}

impl Manners {
    /// `compress`: the bytes are compressed where the server can do that (RFC 4978).
    #[must_use]
    pub fn new(compress: bool) -> Self {
        Self { apart: AtomicBool::new(false), compress: AtomicBool::new(compress) }
    }

    /// Says whether it is sent one command at a time, and none at sign-in that it can do without.
    pub(super) fn are_apart(&self) -> bool {
        self.apart.load(Ordering::Relaxed)
    }

    fn compress(&self, capabilities: &Capabilities) -> bool {
        self.compress.load(Ordering::Relaxed) && capabilities.has("COMPRESS=DEFLATE")
    }

    /// It broke off behind its sign-in. Compression may be why, or what it was asked at once: one is given up at a time.
    pub(super) fn broke_off(&self, capabilities: &Capabilities) {
        let given_up = if self.compress(capabilities) { (&self.compress, false) } else { (&self.apart, true) };
        given_up.0.store(given_up.1, Ordering::Relaxed);
    }
}

/// Opens a connection and signs in.
pub(super) async fn open(opening: Opening<'_>) -> Result<(Connection, Vec<u8>), ImapError> {
    let Opening { dial, endpoint, sign_in, keychain, timeout, commands, .. } = opening;
    let turns = commands.cloned();
    let secret = keychain.secret().await?;
    let io = dial.dial(endpoint).await?;
    // A server that accepts and says nothing is found out in the time a connection may take, not in that of a command.
    let mut wire = Wire::new(io, endpoint.connect_timeout.min(timeout));
    let (greeting, mut capabilities) = greet(&mut wire).await.map_err(|error| error.at(endpoint))?;
    if endpoint.tls == Tls::StartTls {
        let io = start_tls(wire, endpoint, dial, capabilities, &turns).await.map_err(|error| error.at(endpoint))?;
        wire = Wire::new(io, timeout);
        capabilities = None;
    }
    let (mut connection, near) = Connection::new(wire.io, timeout);
    connection.wire.reader = wire.reader;
    connection.wire.reader.set_timeout(timeout);
    connection.turns = turns;
    match capabilities {
        Some(capabilities) => connection.capabilities = capabilities,
        None => ask_capabilities(&mut connection, Phase::SignIn).await?,
    }
    let signed_in = enter(&mut connection, async_imap::Client::new(near), endpoint, sign_in, &secret).await;
    if let Err(ImapError::Refused { .. }) = &signed_in {
        keychain.forget(&secret).await;
    }
    signed_in.map_err(|error| without_secret(error, &secret))?;
    if opening.manners.compress(&connection.capabilities)
        && let Err(error) = compress(&mut connection).await
    {
        opening.manners.broke_off(&connection.capabilities);
        return Err(error);
    }
    Ok((connection, greeting))
}

/// Has the bytes compressed from here on, both ways; a server that refuses is not asked for more.
async fn compress(connection: &mut Connection) -> Result<(), ImapError> {
    let what = "compress the connection";
    match connection.command(what, Phase::Other, &[Part::Text("COMPRESS DEFLATE")], |_| {}).await {
        Err(error) if error.is_refusal() && !connection.poisoned => return Ok(()),
        asked => asked?,
    };
    // What has come behind the OK is compressed already.
    let begun = connection.wire.reader.take_rest();
    let io = std::mem::replace(&mut connection.wire.io, Box::new(tokio::io::empty()));
    connection.wire.io = Box::new(Deflated::new(io, &begun));
    Ok(())
}

/// Takes a secret that the server echoes out of its words, also where it stands in base64 within what SASL sent.
fn without_secret(error: ImapError, secret: &Secret) -> ImapError {
    let ImapError::Refused { what, mut refusal } = error else { return error };
    let words = String::from_utf8_lossy(&refusal.words).into_owned();
    let plain = words.replace(secret.expose(), "…");
    // Base64 of PLAIN, XOAUTH2 and the like: no word for people is that long.
    let sasl = |word: &str| {
        use base64::Engine;
        let decoded = base64::engine::general_purpose::STANDARD.decode(word.trim_matches(['"', '<', '>', '.', ',']));
        decoded.is_ok_and(|bytes| memchr::memmem::find(&bytes, secret.expose().as_bytes()).is_some())
    };
    let clean: Vec<&str> = plain.split(' ').map(|word| if sasl(word) { "…" } else { word }).collect();
    refusal.words = clean.join(" ").into_bytes();
    ImapError::Refused { what, refusal }
}

/// Reads the greeting; gives its words and the capabilities in it.
async fn greet(wire: &mut Wire) -> Result<(Vec<u8>, Option<Capabilities>), ImapError> {
    let what = "read the greeting";
    let response = wire.response().await.map_err(|broken| broken.during(what))?;
    let text = &response.text;
    let words = |status: &[u8]| text.get(2 + status.len()..).unwrap_or_default().trim_ascii().to_vec();
    if starts_with(text, b"* OK") {
        let words = words(b"OK");
        let capabilities = capability_code(&words);
        return Ok((words, capabilities));
    }
    if starts_with(text, b"* BYE") {
        let refusal = Refusal { phase: Phase::Greeting, status: Status::Bye, words: words(b"BYE") };
        return Err(ImapError::Refused { what: "connect".to_owned(), refusal });
    }
    let why = if starts_with(text, b"* PREAUTH") {
        "it has signed us in already as somebody (PREAUTH)".to_owned()
    } else {
        format!("it begins with \"{}\", which is no IMAP greeting", crate::failure::harmless(text))
    };
    Err(Broken::Protocol(why).during(what))
}

/// Asks for TLS. What the server sent in plain text behind its OK is refused, not carried over (CVE-2011-0411).
async fn start_tls(
    mut wire: Wire,
    endpoint: &Endpoint,
    dial: &dyn Dial,
    capabilities: Option<Capabilities>,
    turns: &Turns,
) -> Result<BoxedIo, ImapError> {
    let what = "start TLS";
    if capabilities.is_some_and(|known| !known.has("STARTTLS")) {
        return Err(ImapError::NoStartTls { host: format!("{}:{}", endpoint.host, endpoint.port) });
    }
    let broken = |broken: Broken| broken.during(what);
    turn(turns).await.map_err(broken)?;
    wire.write(b"S1 STARTTLS\r\n").await.map_err(broken)?;
    loop {
        let response = wire.response().await.map_err(broken)?;
        match sort_line(&response).map_err(broken)? {
            Line::Untagged => {}
            Line::Continuation => return Err(broken(Broken::Protocol("it asks for more".to_owned()))),
            Line::Tagged(_, completion) if completion.status == Status::Ok => break,
            Line::Tagged(..) => {
                return Err(ImapError::NoStartTls { host: format!("{}:{}", endpoint.host, endpoint.port) });
            }
        }
    }
    if !wire.reader.is_empty() {
        return Err(broken(Broken::Protocol("plain text came between its OK and the start of TLS".to_owned())));
    }
    Ok(dial.secure(wire.io, endpoint).await?)
}

pub(super) async fn ask_capabilities(connection: &mut Connection, phase: Phase) -> Result<(), ImapError> {
    let mut found = None;
    let command = [Part::Text("CAPABILITY")];
    let asked = connection.command("ask for capabilities", phase, &command, |response| {
        if let Some(tokens) = untagged(response, b"CAPABILITY") {
            found = Some(Capabilities::parse(tokens.rest()));
        }
    });
    asked.await?;
    connection.capabilities = found.unwrap_or_default();
    Ok(())
}

/// What is said in a SASL exchange: the first answer, then an end to whatever error the server explains.
struct Sasl {
    first: Option<Vec<u8>>,
    to_error: Vec<u8>,
}

impl async_imap::Authenticator for Sasl {
    type Response = Vec<u8>;

    fn process(&mut self, _: &[u8]) -> Vec<u8> {
        self.first.take().unwrap_or_else(|| std::mem::take(&mut self.to_error))
    }
}

async fn enter(
    connection: &mut Connection,
    client: async_imap::Client<tokio::io::DuplexStream>,
    endpoint: &Endpoint,
    sign_in: &SignIn,
    secret: &Secret,
) -> Result<(), ImapError> {
    let what = format!("sign in as {} at {}:{}", sign_in.user, endpoint.host, endpoint.port);
    let before = connection.capabilities.clone();
    let (session, untagged, words) = match choose(&before, endpoint, sign_in, secret)? {
        None => {
            let call = client.login(&sign_in.user, secret.expose());
            connection.control(&what, Phase::SignIn, call).await?
        }
        Some((mechanism, first)) => {
            let to_error = if mechanism == "OAUTHBEARER" { b"\x01".to_vec() } else { Vec::new() };
            if before.has("SASL-IR") {
                let command = zeroize::Zeroizing::new(format!("{mechanism} {}", first.base64().expose()));
                let call = client.authenticate(command.as_str(), Sasl { first: None, to_error });
                connection.control(&what, Phase::SignIn, call).await?
            } else {
                let call = client.authenticate(mechanism, Sasl { first: Some(first.bytes().to_vec()), to_error });
                connection.control(&what, Phase::SignIn, call).await?
            }
        }
    };
    let session = session.map_err(|(error, _)| Broken::Protocol(error.to_string()).during(&what))?;
    connection.session = Some(session);
    learn_capabilities(connection, &untagged, &words).await
}

/// Picks a SASL mechanism and its first message; None: LOGIN.
fn choose(
    capabilities: &Capabilities,
    endpoint: &Endpoint,
    sign_in: &SignIn,
    secret: &Secret,
) -> Result<Option<(&'static str, InitialResponse)>, ImapError> {
    let user = &sign_in.user;
    Ok(match &sign_in.credential {
        Credential::Token(_) if capabilities.has("AUTH=OAUTHBEARER") => {
            Some(("OAUTHBEARER", auth::oauthbearer(user, &endpoint.host, endpoint.port, secret)?))
        }
        Credential::Token(_) => Some(("XOAUTH2", auth::xoauth2(user, secret)?)),
        Credential::Password(_) => match &sign_in.admin {
            Some(admin) => Some(("PLAIN", auth::plain(user, admin, secret)?)),
            // A password beyond ASCII, or one a quoted string cannot hold, goes by PLAIN, which knows no such bounds.
            None if capabilities.has("AUTH=PLAIN") || capabilities.has("LOGINDISABLED") => {
                Some(("PLAIN", auth::plain("", user, secret)?))
            }
            None => None,
        },
    })
}

/// Servers show more after sign-in: most say it with their OK (RFC 9051, 7.1), the others are asked.
async fn learn_capabilities(
    connection: &mut Connection,
    responses: &[Response],
    words: &[u8],
) -> Result<(), ImapError> {
    let told = responses.iter().rev().find_map(|response| untagged(response, b"CAPABILITY"));
    match told {
        _ if capability_code(words).is_some() => Ok(()),
        Some(tokens) => {
            connection.capabilities = Capabilities::parse(tokens.rest());
            Ok(())
        }
        None => ask_capabilities(connection, Phase::Other).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_the_server_echoes_is_taken_out_of_its_words() {
        let secret = Secret::new("Zq7xSesame".to_owned());
        for words in ["[AUTHENTICATIONFAILED] no Zq7xSesame for anna", "bad: AGFubmEAWnE3eFNlc2FtZQ== sent"] {
            let refusal = Refusal { phase: Phase::SignIn, status: Status::No, words: words.as_bytes().to_vec() };
            let error = without_secret(ImapError::Refused { what: "sign in".to_owned(), refusal }, &secret);
            let text = error.to_string();
            assert!(!text.contains("Zq7x") && !text.contains("AGFub") && text.contains('…'), "{text}");
        }
    }
}
