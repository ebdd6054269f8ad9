//! Bearer tokens that a Dovecot of the tests believes: JSON Web Tokens signed with HS256 (RFC 7519, RFC 2104).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

const KEY: &[u8; 32] = b"a key that signs tokens of tests";

/// Gives the key as Dovecot reads it from its file.
pub(super) fn key_file() -> String {
    STANDARD.encode(KEY)
}

/// Makes a token that says who `user` is, for so many seconds from now; negative: it is over.
pub(super) fn token(user: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs().cast_signed();
    let claims = serde_json::json!({
        "iss": "tests", "sub": user, "email": user, "iat": now - 3600, "nbf": now - 3600, "exp": now + seconds
    });
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(hmac(KEY, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| -> [u8; 64] { std::array::from_fn(|at| key.get(at).copied().unwrap_or(0) ^ with) };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
