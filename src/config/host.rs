//! Names of servers: what may be written as a host, and when two are the same.

use super::error::{Fault, shown};
use super::value::Read;
use std::net::IpAddr;

/// Reads a host: a name or an address. Gives it in lower case, without a trailing dot or brackets.
pub(super) fn host(text: &str) -> Read<String> {
    if text.trim().is_empty() {
        return Err(Fault::new("is empty").hint(r#"write the server's name, such as "imap.example.com""#));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if let Some(fault) = more_than_a_host(text) {
        return Err(fault);
    }
    if !text.is_ascii() {
        let fault = Fault::new(format!("{} has letters outside ASCII", shown(text)));
        return Err(fault.hint("write the name's ASCII form, which begins with xn--"));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    // RFC 1035, 2.3.4.
    if name.len() > 253 || !name.split('.').all(label_fits) {
        let fault = Fault::new(format!("{} is no host name and no address", shown(text)));
        return Err(fault.hint(r#"write the server's name, such as "imap.example.com""#));
    }
    // What looks like an address and is none (RFC 3696, 2: a top-level domain is not all digits).
    if name.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit())) {
        return Err(Fault::new(format!("{} is no host name and no address", shown(text)))
            .hint("an IPv4 address has four numbers from 0 to 255"));
    }
    Ok(name)
}

/// Recognises what is pasted with the host: a scheme, a user, a path, a port, brackets.
fn more_than_a_host(text: &str) -> Option<Fault> {
    let fault = |what: &str, hint: String| Some(Fault::new(format!("{} {what}", shown(text))).hint(hint));
    if let Some((_, rest)) = text.split_once("://") {
        let bare = rest.split(['/', ':']).next().unwrap_or_default();
        return fault(
            "is a URL, not a host",
            format!("write host = {}; the port and tls have keys of their own", shown(bare)),
        );
    }
    if text.contains(char::is_whitespace) {
        return fault("holds a blank", "write the server's name alone".to_owned());
    }
    if let Some((_, domain)) = text.split_once('@') {
        return fault(
            "is a mail address, not a host",
            format!("write the IMAP server's name, perhaps {}", shown(&format!("imap.{domain}"))),
        );
    }
    if let Some((bare, _)) = text.split_once('/') {
        return fault("holds a path", format!("write host = {}", shown(bare)));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (bare, port) = inner.split_once(']').unwrap_or((inner, ""));
        let port = port.strip_prefix(':').map(|port| format!(" and port = {port}")).unwrap_or_default();
        return fault("has brackets", format!("write host = {}{port}", shown(bare)));
    }
    match text.split_once(':') {
        Some((bare, port)) if !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()) => {
            fault("holds a port", format!("write host = {} and port = {port}", shown(bare)))
        }
        _ => None,
    }
}

/// Says whether a host is this machine. `host` as [`host`] gives it.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => address.to_canonical().is_loopback(),
        Ok(address) => address.is_loopback(),
        // RFC 6761, 6.3.
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_brought_into_one_form() {
        for (written, expected) in [
            ("IMAP.Example.COM", "imap.example.com"),
            ("imap.example.com.", "imap.example.com"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("mail_1.example", "mail_1.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(host(written).unwrap(), expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(64);
        for written in [
            "",
            " ",
            "imap://a.example",
            "a.example:993",
            "a.example/INBOX",
            "user@a.example",
            "[::1]",
            "[::1]:993",
            "a b",
            "a..b",
            "-a.example",
            "bücher.example",
            "1.2.3",
            "1.2.3.4.5",
            "999.1.1.1",
            "fe80::1%eth0",
            "a\r\nb",
            ".",
            &long,
        ] {
            assert!(host(written).is_err(), "{written:?}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for (written, expected) in [
            ("localhost", true),
            ("LOCALHOST.", true),
            ("a.localhost", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("localhost.example.com", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&host(written).unwrap()), expected, "{written}");
        }
    }
}
