//! The first and only client message of each SASL mechanism we speak.

use super::{AuthError, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

/// A client's initial response before base64. Prints as `InitialResponse(…)`, is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct InitialResponse(Zeroizing<Vec<u8>>);

impl InitialResponse {
    /// Gives the bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives them in base64, as AUTHENTICATE takes them (RFC 9051, 6.2.2).
    #[must_use]
    pub fn base64(&self) -> Secret {
        Secret::new(STANDARD.encode(&*self.0))
    }
}

impl fmt::Debug for InitialResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InitialResponse(…)")
    }
}

/// Makes the message of PLAIN (RFC 4616). `authzid` is whose mailbox it is, empty for `authcid`'s own; `authcid` is who
/// proves it.
pub fn plain(authzid: &str, authcid: &str, password: &Secret) -> Result<InitialResponse, AuthError> {
    let parts = [("user", authzid), (USER, authcid), (PASSWORD, password.expose())];
    for (part, text) in parts {
        carries(part, text, &['\0'])?;
    }
    for (part, text) in &parts[1..] {
        not_empty(part, text)?;
    }
    Ok(joined(&[authzid, "\0", authcid, "\0", password.expose()]))
}

/// Makes the message of XOAUTH2. On refusal the server sends a challenge (JSON in base64) and waits for an empty line.
pub fn xoauth2(user: &str, token: &Secret) -> Result<InitialResponse, AuthError> {
    for (part, text) in [(USER, user), (TOKEN, token.expose())] {
        not_empty(part, text)?;
        carries(part, text, OAUTH_SEPARATORS)?;
    }
    Ok(joined(&["user=", user, "\x01auth=Bearer ", token.expose(), "\x01\x01"]))
}

/// Makes the message of OAUTHBEARER (RFC 7628, 3.1), the user escaped as RFC 5801, 4 says. On refusal the server sends a
/// challenge and waits for `AQ==`.
pub fn oauthbearer(user: &str, host: &str, port: u16, token: &Secret) -> Result<InitialResponse, AuthError> {
    for (part, text) in [(USER, user), ("host", host), (TOKEN, token.expose())] {
        not_empty(part, text)?;
        carries(part, text, OAUTH_SEPARATORS)?;
    }
    let (user, port) = (user.replace('=', "=3D").replace(',', "=2C"), port.to_string());
    let token = token.expose();
    Ok(joined(&["n,a=", &user, ",\x01host=", host, "\x01port=", &port, "\x01auth=Bearer ", token, "\x01\x01"]))
}

const USER: &str = "user";
const PASSWORD: &str = "password";
const TOKEN: &str = "token";
const OAUTH_SEPARATORS: &[char] = &['\0', '\x01'];

/// Joins without leaving copies behind: the buffer never grows.
fn joined(parts: &[&str]) -> InitialResponse {
    let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    InitialResponse(bytes)
}

fn carries(part: &'static str, text: &str, separators: &[char]) -> Result<(), AuthError> {
    if text.contains(separators) {
        Err(AuthError::Unfit { part, words: "has a control code that the sign-in uses itself" })
    } else {
        Ok(())
    }
}

fn not_empty(part: &'static str, text: &str) -> Result<(), AuthError> {
    if text.is_empty() { Err(AuthError::Unfit { part, words: "is empty" }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn messages_are_as_their_documents_show() {
        // RFC 4616, 4.
        let own = plain("", "tim", &secret("tanstaaftanstaaf")).unwrap();
        assert_eq!(own.bytes(), b"\0tim\0tanstaaftanstaaf");
        let other = plain("Ursel", "Kurt", &secret("xipj3plmq")).unwrap();
        assert_eq!(other.bytes(), b"Ursel\0Kurt\0xipj3plmq");
        assert_eq!(other.base64().expose(), "VXJzZWwAS3VydAB4aXBqM3BsbXE=");
        // RFC 7628, 4.1.
        let bearer = oauthbearer("user@example.com", "server.example.com", 143, &secret("vF9dft4qmT")).unwrap();
        let shown = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT\x01\x01";
        assert_eq!(bearer.bytes(), shown.as_bytes());
        let google = xoauth2("someuser@example.com", &secret("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")).unwrap();
        let shown = "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==";
        assert_eq!(google.base64().expose(), shown);
    }

    #[test]
    fn a_user_with_separators_is_escaped() {
        let bearer = oauthbearer("a=b,c", "h", 993, &secret("t")).unwrap();
        assert!(bearer.bytes().starts_with(b"n,a=a=3Db=2Cc,\x01"));
    }

    #[test]
    fn what_the_message_cannot_carry_is_refused() {
        assert!(plain("a\0b", "c", &secret("d")).is_err());
        assert!(plain("", "c\0", &secret("d")).is_err());
        assert!(plain("", "c", &secret("d\0")).is_err());
        assert!(plain("", "", &secret("d")).is_err());
        assert!(plain("", "c", &secret("")).is_err());
        assert!(plain("", "c\x01", &secret("d\x01")).is_ok());
        assert!(xoauth2("a\x01", &secret("t")).is_err());
        assert!(xoauth2("a", &secret("t\x01auth=Bearer other")).is_err());
        assert!(oauthbearer("a", "h\x01", 1, &secret("t")).is_err());
        assert!(oauthbearer("a", "h", 1, &secret("")).is_err());
    }

    proptest! {
        #[test]
        fn plain_has_exactly_three_parts(authzid in ".{0,9}", authcid in ".{1,9}", password in ".{1,9}") {
            if let Ok(message) = plain(&authzid, &authcid, &secret(&password)) {
                let parts: Vec<_> = message.bytes().split(|&byte| byte == 0).collect();
                prop_assert_eq!(parts, [authzid.as_bytes(), authcid.as_bytes(), password.as_bytes()]);
            }
        }
    }
}
