//! Signing in: LOGIN and AUTHENTICATE.

use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Answer, Session, Stop, bad, no, ok};
use crate::config::{Mechanism, User};
use crate::parser::{Cursor, Syntax};
use crate::wire::Line;

/// Longest answer to a challenge; tokens of some kilobytes are usual.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

const FAILED: &str = "[AUTHENTICATIONFAILED] Authentication failed.";

impl Session {
    pub(super) async fn login(&mut self, mut cursor: Cursor<'_>) -> Answer {
        cursor.space()?;
        let user = cursor.astring()?;
        cursor.space()?;
        let password = cursor.astring()?;
        cursor.end()?;
        if !self.shared.config.login {
            return Err(no("[CANNOT] LOGIN is disabled.").into());
        }
        self.require_privacy()?;
        let user = String::from_utf8_lossy(&user).into_owned();
        if !self.knows(&user, |known| known.password.as_deref().map(str::as_bytes) == Some(&password)) {
            return Err(no(FAILED).into());
        }
        self.sign_in(user).await
    }

    pub(super) async fn authenticate(&mut self, mut cursor: Cursor<'_>, logged: usize) -> Answer {
        cursor.space()?;
        let name = cursor.word()?;
        let initial = if cursor.eat(b' ') { Some(cursor.base64()?) } else { None };
        cursor.end()?;
        let offered = self.shared.config.mechanisms.iter().copied().find(|mechanism| mechanism.name() == name);
        let Some(mechanism) = offered else {
            return Err(no("[CANNOT] Unsupported authentication mechanism.").into());
        };
        self.require_privacy()?;
        let response = match initial {
            Some(_) if !self.features().sasl_ir => {
                return Err(bad("Error in IMAP command AUTHENTICATE: SASL-IR is not offered.").into());
            }
            Some(text) => text,
            None => self.challenge("", logged).await?,
        };
        // RFC 4959: a single equals sign is an empty response.
        let response = if response == b"=" { Vec::new() } else { decode(&response)? };
        match mechanism {
            Mechanism::Plain => self.sasl_plain(&response).await,
            Mechanism::XOauth2 | Mechanism::OauthBearer => self.sasl_bearer(mechanism, &response, logged).await,
        }
    }

    /// Sends a challenge and reads what the client says to it.
    async fn challenge(&mut self, challenge: &str, logged: usize) -> Result<Vec<u8>, Stop> {
        let before = self.wire.consumed();
        self.wire.put(format!("+ {challenge}"));
        match self.wire.read_line(ANSWER_BYTES_MAX).await? {
            Line::Whole(line) if line == b"*" => Err(bad("Authentication aborted by client.").into()),
            Line::Whole(line) => {
                self.shared.log.add(logged, b"", self.wire.consumed() - before);
                Ok(line)
            }
            Line::BareLf | Line::TooLong(_) => Err(bad("Authentication answer cannot be read.").into()),
        }
    }

    async fn sasl_plain(&mut self, response: &[u8]) -> Answer {
        let mut parts = response.split(|&byte| byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let (Some(authzid), Some(user), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(no(FAILED).into());
        };
        if !self.knows(&user, |known| known.password.as_ref() == Some(&password)) {
            return Err(no(FAILED).into());
        }
        if authzid.is_empty() || authzid == user {
            return self.sign_in(user).await;
        }
        if !self.knows(&user, |known| known.admin) || !self.shared.store.users().contains(&authzid) {
            return Err(no("[AUTHORIZATIONFAILED] Authorization failed.").into());
        }
        self.sign_in(authzid).await
    }

    async fn sasl_bearer(&mut self, mechanism: Mechanism, response: &[u8], logged: usize) -> Answer {
        let credentials = read_bearer(mechanism, response);
        let accepted = credentials.filter(|(user, token)| self.knows(user, |known| known.tokens.contains(token)));
        if let Some((user, _)) = accepted {
            return self.sign_in(user).await;
        }
        // RFC 7628 section 3.2.2: the error is a challenge, which the client must answer before it is told NO.
        let (error, dummy) = match mechanism {
            Mechanism::OauthBearer => (r#"{"status":"invalid_token","scope":"mail"}"#, &b"AQ=="[..]),
            _ => (r#"{"status":"400","schemes":"Bearer","scope":"https://mail.example/"}"#, &b""[..]),
        };
        let answer = self.challenge(&BASE64.encode(error), logged).await?;
        if answer != dummy && !answer.is_empty() {
            return Err(bad("Unexpected answer to an authentication error.").into());
        }
        Err(no(FAILED).into())
    }

    fn require_privacy(&self) -> Result<(), Stop> {
        if self.secure || self.shared.config.plaintext_auth {
            return Ok(());
        }
        Err(no("[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.").into())
    }

    fn knows(&self, name: &str, proves: impl Fn(&User) -> bool) -> bool {
        let users = self.shared.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.iter().any(|user| user.name == name && proves(user))
    }

    async fn sign_in(&mut self, user: String) -> Answer {
        let limit = self.shared.config.connections_per_user;
        if !self.shared.log.sign_in(&user, limit) {
            let text = self.shared.config.too_many_text.clone().unwrap_or_else(|| {
                format!(
                    "NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded \
                     (mail_max_userip_connections={})",
                    limit.unwrap_or_default()
                )
            });
            if text.starts_with("BYE") {
                self.wire.put(format!("* {text}"));
                self.wire.flush().await?;
                self.wire.close().await;
                return Err(Stop::End);
            }
            return Err(super::Reply(text).into());
        }
        self.account = Some(self.shared.store.account(&user));
        self.wire.user = Some(user);
        if self.shared.config.announce_capabilities {
            Ok(ok(&format!("[CAPABILITY {}] Logged in", self.capabilities())))
        } else {
            Ok(ok("Logged in"))
        }
    }
}

fn decode(text: &[u8]) -> Result<Vec<u8>, Stop> {
    BASE64.decode(text).map_err(|_| bad("Invalid base64 data in an authentication answer.").into())
}

/// User and token of an initial client response.
fn read_bearer(mechanism: Mechanism, response: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(response).ok()?;
    let mut parts = text.split('\x01');
    let user = match mechanism {
        // RFC 7628 section 3.1: a GS2 header, n,a=user,
        Mechanism::OauthBearer => {
            let header = parts.next()?.strip_prefix("n,a=")?.strip_suffix(',')?;
            header.replace("=2C", ",").replace("=3D", "=")
        }
        _ => parts.next()?.strip_prefix("user=")?.to_owned(),
    };
    let token = parts.by_ref().find_map(|part| part.strip_prefix("auth=Bearer "))?;
    // Two separators end it.
    text.ends_with("\x01\x01").then(|| (user, token.to_owned()))
}

impl Cursor<'_> {
    fn base64(&mut self) -> Result<Vec<u8>, Syntax> {
        let mut text = Vec::new();
        while let Some(byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=')) = self.peek() {
            text.push(byte);
            self.eat(byte);
        }
        if text.is_empty() { Err(Syntax("Expected base64")) } else { Ok(text) }
    }
}
