//! The words as servers send them, and what they mean.

use super::*;
use super::{Kind as K, Phase as P, Status as S};
use proptest::prelude::*;

fn verdict(phase: Phase, status: Status, text: &str) -> Verdict {
    classify(&Words { phase, status, text: text.as_bytes() })
}

fn check(cases: &[(Phase, Status, &str, Kind, Option<u64>)]) {
    for &(phase, status, text, kind, seconds) in cases {
        let got = verdict(phase, status, text);
        assert_eq!((got.kind, got.wait), (kind, seconds.map(Duration::from_secs)), "{phase:?} {status:?} {text}");
    }
}

#[test]
fn exchange() {
    let throttled = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
    let got = verdict(P::Append, S::Bad, throttled);
    assert_eq!((got.kind, got.wait), (K::Throttled, Some(Duration::from_millis(299_961))));
    assert_eq!(verdict(P::Fetch, S::No, "Request is throttled.").wait, None);
    #[rustfmt::skip]
    check(&[
        (P::Append, S::No, "Server Unavailable. 15", K::Unavailable, Some(60)),
        (P::Fetch, S::No, "Server Unavailable. 15", K::Unavailable, Some(60)),
        (P::Open, S::Bad, "User is authenticated but not connected.", K::MailboxClosed, None),
        (P::Other, S::Bye, "Connection is closed. 13", K::Lost, None),
        (P::Other, S::Bye, "Connection closed. 14", K::Lost, None),
        (P::Append, S::Bye, "Session invalidated - AccessTokenExpired", K::TokenExpired, None),
        (P::SignIn, S::No, "AUTHENTICATE failed.", K::SignInRefused, None),
        (P::SignIn, S::No, "LOGIN failed.", K::SignInRefused, None),
        (P::Append, S::Bad, "Command Argument Error. 11", K::MessageRefused, None),
        (P::Other, S::Bad, "Command Argument Error. 12", K::CommandRefused, None),
        (P::Append, S::No, "Maximum size of appendable message has been exceeded.", K::MessageRefused, None),
        (P::SignIn, S::Bad, "Command received in Invalid state.", K::SignInRefused, None),
        (P::Append, S::Bad, "Command received in Invalid state.", K::Lost, None),
        (P::Open, S::No, "Folder name is reserved", K::FolderRefused, None),
        (P::Fetch, S::No, "The requested message could not be converted to an RFC-822 compatible format.", K::MessageUnreadable, None),
        (P::SignIn, S::No, "[REFERRAL imap://other/] There is no replica for that mailbox on this server.", K::MailboxClosed, None),
    ]);
}

#[test]
fn gmail() {
    #[rustfmt::skip]
    check(&[
        (P::SignIn, S::No, "[ALERT] Too many simultaneous connections. (Failure)", K::TooManyConnections, Some(60)),
        (P::Fetch, S::No, "[OVERQUOTA] Account exceeded command or bandwidth limits. abc123 (Failure)", K::Throttled, Some(3600)),
        (P::Append, S::No, "Account exceeded command or bandwidth limits. [OVERQUOTA]", K::Throttled, Some(3600)),
        (P::SignIn, S::No, "[OVERQUOTA] Account exceeded command or bandwidth limits.", K::Throttled, Some(3600)),
        (P::Fetch, S::Bye, "Session expired, please login again.", K::Lost, None),
        (P::List, S::No, "System Error (Failure)", K::Unavailable, Some(30)),
        (P::Fetch, S::Bye, "System Error", K::Unavailable, Some(30)),
        (P::SignIn, S::No, "[UNAVAILABLE] Temporary System Error", K::Unavailable, Some(30)),
        (P::SignIn, S::No, "[AUTHENTICATIONFAILED] Invalid credentials (Failure)", K::SignInRefused, None),
        (P::SignIn, S::No, "[ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)", K::SignInRefused, None),
        (P::SignIn, S::No, "[ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)", K::SignInRefused, None),
        (P::SignIn, S::No, "[WEBALERT https://accounts.google.com/signin] Web login required.", K::SignInRefused, None),
        (P::Open, S::No, "[NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)", K::FolderRefused, None),
        (P::Open, S::No, "[CANNOT] Folder contains excess whitespace (Failure)", K::FolderRefused, None),
    ]);
}

#[test]
fn less_haste_is_asked_for_anywhere_in_any_status_line() {
    let seconds = |seconds| Some(Slower::For(Duration::from_secs(seconds)));
    let backoff = "Request is throttled. Suggested Backoff Time: 92415 milliseconds";
    for (status, text, expected) in [
        (S::Ok, "Success [THROTTLED]", Some(Slower::Somewhat)),
        (S::Ok, "[THROTTLED] Fetch completed (0.001 + 0.000 secs).", Some(Slower::Somewhat)),
        (S::Ok, "[APPENDUID 7 12] (Success) [THROTTLED]", Some(Slower::Somewhat)),
        (S::Ok, "[APPENDUID 1 2] (Success)", None),
        (S::Ok, "FETCH completed. Request is throttled. Suggested Backoff Time: 2000 milliseconds", seconds(2)),
        (S::Ok, "Account exceeded command or bandwidth limits.", Some(Slower::Somewhat)),
        (S::Bad, backoff, Some(Slower::For(Duration::from_millis(92_415)))),
        (S::Bye, backoff, Some(Slower::For(Duration::from_millis(92_415)))),
        (S::No, "[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", seconds(3600)),
        (S::No, "later [THROTTLED]", seconds(60)),
        (S::No, "Request is throttled.", Some(Slower::Somewhat)),
        // A full mailbox is asked on: it is read all the same.
        (S::No, "[OVERQUOTA] Quota exceeded (mailbox for user is full)", None),
        (S::Bye, "Too many requests", seconds(60)),
        (S::No, "[UNAVAILABLE] Busy", None),
    ] {
        assert_eq!(slower(status, text.as_bytes()), expected, "{status:?} {text}");
    }
}

#[test]
fn whose_connections_are_too_many_is_told_by_the_words() {
    let dovecot = "[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=16)";
    for (text, expected) in [
        (dovecot, Crowd::Account(Some(16))),
        ("[LIMIT] Maximum number of connections from user+IP exceeded", Crowd::Account(None)),
        ("[ALERT] Too many simultaneous connections. (Failure)", Crowd::Account(None)),
        ("Too many open connections (11 of 10 from 192.0.2.1, 3 of 50 for info)", Crowd::Host),
        ("Too many open connections (3 of 50 from 192.0.2.1, 11 of 10 for info)", Crowd::Account(Some(10))),
        ("[ALERT] Maximum connection limit reached for 192.0.2.1", Crowd::Host),
        ("[LIMIT] Too many connections from your IP", Crowd::Host),
        // Nothing tells it, and it is one user who is refused.
        ("[LIMIT] Too many concurrent connections", Crowd::Account(None)),
        ("Too many open connections (?)", Crowd::Account(None)),
        ("", Crowd::Account(None)),
    ] {
        assert_eq!(crowd(P::SignIn, text.as_bytes()), expected, "{text}");
        assert_eq!(crowd(P::Greeting, text.as_bytes()), Crowd::Host, "nobody has signed in: {text}");
    }
}

#[test]
fn yahoo_and_icloud() {
    #[rustfmt::skip]
    check(&[
        (P::Fetch, S::No, "[UNAVAILABLE] UID FETCH Server error while fetching messages", K::MessageUnreadable, Some(10)),
        (P::Fetch, S::No, "[UNAVAILABLE] UID FETCH Server error - Please try again later", K::MessageUnreadable, Some(10)),
        (P::Fetch, S::No, "[UNAVAILABLE] Service is temporarily not available", K::Unavailable, Some(30)),
        (P::Append, S::Bad, "[CLIENTBUG] Additional arguments found after last expected argument", K::MessageRefused, None),
        (P::SignIn, S::No, "[AUTHENTICATIONFAILED] LOGIN Invalid credentials", K::SignInRefused, None),
        (P::SignIn, S::Bad, "[UNAVAILABLE] Service temporarily unavailable", K::Unavailable, None),
        (P::SignIn, S::No, "[AUTHENTICATIONFAILED] Authentication failed", K::SignInRefused, None),
        (P::Append, S::Bad, "Cannot upload message, TOOBIG", K::MessageRefused, None),
    ]);
}

#[test]
fn dovecot() {
    let connections =
        "[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=16)";
    assert_eq!(connections_max(connections.as_bytes()), Some(16));
    assert_eq!(connections_max(b"mail_max_userip_connections=99999999999999999999"), None);
    #[rustfmt::skip]
    check(&[
        (P::SignIn, S::No, connections, K::TooManyConnections, Some(30)),
        (P::SignIn, S::No, "[LIMIT] Maximum number of connections from user+IP exceeded", K::TooManyConnections, Some(30)),
        (P::SignIn, S::No, "[LIMIT] Limit reached", K::TooManyConnections, Some(60)),
        (P::SignIn, S::No, "[UNAVAILABLE] Temporary authentication failure. [mail1:2026-11-22 10:00:00]", K::Unavailable, Some(60)),
        (P::SignIn, S::No, "[UNAVAILABLE] Account is temporarily unavailable.", K::Unavailable, Some(300)),
        (P::SignIn, S::No, "[UNAVAILABLE] Internal error occurred. Refer to server log for more information.", K::Unavailable, Some(60)),
        (P::Fetch, S::No, "[SERVERBUG] Internal error occurred. Refer to server log for more information. [2026-11-22 10:00:00]", K::MessageUnreadable, Some(10)),
        (P::Open, S::No, "[SERVERBUG] Internal error occurred. Refer to server log for more information. [2026-11-22 10:00:00]", K::FolderUnreadable, Some(10)),
        (P::List, S::No, "[SERVERBUG] Internal error occurred.", K::FolderUnreadable, Some(10)),
        (P::Create, S::No, "[SERVERBUG] Internal error occurred.", K::FolderRefused, None),
        (P::Append, S::No, "[SERVERBUG] Internal error occurred. Refer to server log for more information. [2026-11-22 10:00:00]", K::MessageRefused, None),
        (P::Append, S::No, "[INUSE] Timeout while waiting for lock", K::Unavailable, Some(10)),
        (P::Append, S::No, "[OVERQUOTA] Quota exceeded (mailbox for user is full)", K::MailboxFull, None),
        (P::Append, S::No, "Not enough disk quota", K::MailboxFull, None),
        (P::Append, S::No, "[ALERT] Mailbox is full / Blocks limit exceeded / Inode limit exceeded", K::MailboxFull, None),
        (P::Append, S::No, "[OVERQUOTA] Too many messages in the mailbox", K::MailboxFull, None),
        (P::Create, S::No, "[OVERQUOTA] Over it", K::MailboxFull, None),
        (P::Create, S::No, "Not enough disk quota", K::MailboxFull, None),
        (P::Create, S::No, "[ALERT] Mailbox is full", K::MailboxFull, None),
        (P::Create, S::No, "Mailbox is full / Blocks limit exceeded / Inode limit exceeded", K::MailboxFull, None),
        (P::Create, S::No, "Quota exceeded (mailbox for user is full)", K::MailboxFull, None),
        (P::Create, S::No, "Over quota", K::MailboxFull, None),
        (P::Create, S::No, "Too many messages in the mailbox", K::MailboxFull, None),
        (P::Append, S::No, "[LIMIT] Mail size is larger than the maximum size allowed by server configuration", K::MessageRefused, None),
        (P::Append, S::No, "[TOOBIG] Message size is too large", K::MessageRefused, None),
        (P::Other, S::Bye, "Disconnected for inactivity.", K::Lost, None),
        (P::Other, S::Bye, "Too many invalid IMAP commands.", K::Protocol, None),
        (P::Append, S::No, "[TRYCREATE] Mailbox doesn't exist: Sent", K::FolderRefused, None),
        (P::SignIn, S::No, "[AUTHENTICATIONFAILED] Authentication failed.", K::SignInRefused, None),
        (P::SignIn, S::No, "[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", K::TlsMissing, None),
    ]);
}

#[test]
fn cyrus_courier_and_zimbra() {
    #[rustfmt::skip]
    check(&[
        (P::SignIn, S::No, "Too many open connections (11 of 10 from 192.0.2.1, 11 of 10 for info)", K::TooManyConnections, Some(30)),
        (P::Append, S::No, "Message contains NUL characters", K::MessageRefused, None),
        (P::Append, S::No, "Message contains bare newlines", K::MessageRefused, None),
        (P::Append, S::No, "Message contains invalid header", K::MessageRefused, None),
        (P::Append, S::No, "Message contains non-ASCII characters in headers", K::MessageRefused, None),
        (P::Append, S::No, "Message has no header/body separator", K::MessageRefused, None),
        (P::Append, S::No, "[LIMIT] Too many user flags in mailbox", K::MessageRefused, None),
        (P::Append, S::No, "[LIMIT] Too many identical emails", K::MessageRefused, None),
        (P::Append, S::No, "Message size exceeds fixed limit", K::MessageRefused, None),
        (P::Append, S::Bad, "maximum message size exceeded", K::MessageRefused, None),
        (P::Append, S::No, "Over quota", K::MailboxFull, None),
        (P::Open, S::No, "Server(s) unavailable to complete operation", K::Unavailable, Some(30)),
        (P::Open, S::No, "Retry operation", K::Unavailable, Some(10)),
        (P::Open, S::No, "Mailbox is locked", K::Unavailable, Some(10)),
        (P::Open, S::No, "Mailbox is currently reserved", K::Unavailable, Some(10)),
        (P::Open, S::No, "Mailbox has an invalid format", K::FolderRefused, None),
        (P::Fetch, S::No, "Mailbox format corruption detected", K::FolderRefused, None),
        (P::Greeting, S::Bye, "[ALERT] Maximum connection limit reached for 192.0.2.1", K::TooManyConnections, Some(60)),
        (P::Fetch, S::Bye, "Zimbra IMAP4rev1 server closing connection", K::Lost, None),
        (P::SignIn, S::No, "[ALERT] account undergoing maintenance; please try again later", K::Unavailable, Some(600)),
        (P::SignIn, S::No, "[ALERT] password must be changed before IMAP login permitted", K::SignInRefused, None),
        (P::SignIn, S::No, "account does not have IMAP access enabled", K::SignInRefused, None),
        (P::Append, S::No, "APPEND failed", K::MessageRefused, None),
        (P::Append, S::Bad, "Invalid system flag \\FORWARDED", K::MessageRefused, None),
        (P::Append, S::No, "APPEND Invalid flag list", K::MessageRefused, None),
        (P::Other, S::No, "Error in IMAP command received by server.", K::CommandRefused, None),
        (P::Append, S::No, "Message refused because it contains a virus", K::MessageRefused, None),
    ]);
}

#[test]
fn smaller_servers() {
    #[rustfmt::skip]
    check(&[
        (P::Append, S::No, "Your quota has been exceeded.", K::MailboxFull, None),
        (P::Append, S::No, "Message size exceeds fixed maximum message size. Size: 20480 KB, Max size: 10240 KB", K::MessageRefused, None),
        (P::Create, S::No, "Your quota has been exceeded.", K::MailboxFull, None),
        (P::SignIn, S::Bye, "Too many invalid logon attempts.", K::LockedOut, Some(3600)),
        (P::Append, S::No, "[MESSAGELIMIT 10] Too many messages to append, try a smaller subset.", K::MessageRefused, None),
        (P::SignIn, S::Bye, "Too many requests", K::Throttled, Some(60)),
        (P::SignIn, S::No, "[LIMIT] Too many concurrent connections", K::TooManyConnections, Some(60)),
        (P::SignIn, S::No, "LOGIN failed: too many requests", K::Throttled, Some(60)),
        (P::SignIn, S::No, "LOGIN failed: too many concurrent connections", K::TooManyConnections, Some(60)),
        (P::SignIn, S::No, "[AUTHENTICATIONFAILED] Too many requests", K::Throttled, Some(60)),
        (P::SignIn, S::No, "Too many connections from your IP", K::TooManyConnections, Some(60)),
        (P::Greeting, S::Bye, "Sorry, too many connections", K::TooManyConnections, Some(60)),
        (P::Open, S::No, "Too many connections", K::TooManyConnections, Some(60)),
        (P::Append, S::No, "could not append message: message size exceeds limits", K::MessageRefused, None),
        (P::Append, S::No, "operation not allowed", K::MessageRefused, None),
        (P::Append, S::Bad, "invalid rfc5322 message: missing header From", K::MessageRefused, None),
        (P::SignIn, S::No, "LOGIN DENIED -- COUNTRY IS BLACKLISTED", K::SignInRefused, None),
    ]);
}

#[test]
fn codes_of_the_standard_count_wherever_they_stand() {
    #[rustfmt::skip]
    check(&[
        (P::Open, S::No, "busy [UNAVAILABLE]", K::Unavailable, None),
        (P::Open, S::No, "[INUSE] mailbox in use", K::Unavailable, Some(10)),
        (P::SignIn, S::No, "[INUSE] no more connections", K::TooManyConnections, Some(30)),
        (P::SignIn, S::No, "[AUTHORIZATIONFAILED] admin may not act as info", K::MailboxClosed, None),
        (P::SignIn, S::No, "[EXPIRED] password", K::SignInRefused, None),
        (P::SignIn, S::No, "[CONTACTADMIN] ask", K::SignInRefused, None),
        (P::Open, S::No, "[NOPERM] no", K::FolderRefused, None),
        (P::Open, S::No, "[CORRUPTION] x", K::FolderRefused, None),
        (P::Fetch, S::No, "[EXPUNGEISSUED] some are gone", K::MessageUnreadable, Some(10)),
        (P::Fetch, S::No, "[OVERQUOTA] slow down", K::Throttled, Some(3600)),
        (P::List, S::No, "[OVERQUOTA] slow down", K::Throttled, Some(3600)),
        (P::Open, S::No, "[OVERQUOTA] slow down", K::Throttled, Some(3600)),
        (P::Create, S::No, "[OVERQUOTA]", K::MailboxFull, None),
        (P::Append, S::No, "[OVERQUOTA]", K::MailboxFull, None),
        (P::Other, S::No, "[THROTTLED] later", K::Throttled, Some(60)),
        (P::Fetch, S::Bye, "[UNAVAILABLE] shutting down", K::Unavailable, None),
    ]);
}

#[test]
fn unknown_words_are_judged_by_the_phase() {
    #[rustfmt::skip]
    check(&[
        (P::Greeting, S::Bye, "no", K::Unavailable, None),
        (P::SignIn, S::No, "no", K::SignInRefused, None),
        (P::SignIn, S::Bye, "bye", K::Lost, None),
        (P::List, S::No, "no", K::FolderRefused, None),
        (P::Open, S::Bad, "no", K::FolderRefused, None),
        (P::Create, S::No, "no", K::FolderRefused, None),
        (P::Fetch, S::No, "no", K::CommandRefused, None),
        (P::Append, S::No, "no", K::MessageRefused, None),
        (P::Append, S::Bye, "bye", K::Lost, None),
        (P::Other, S::Bad, "no", K::CommandRefused, None),
    ]);
}

#[test]
fn a_folder_named_like_an_outage_is_none() {
    #[rustfmt::skip]
    check(&[
        (P::Open, S::No, "[NONEXISTENT] Mailbox doesn't exist: System Error", K::FolderRefused, None),
        (P::Open, S::No, "Mailbox doesn't exist: Over quota", K::FolderRefused, None),
        (P::Open, S::No, "Mailbox doesn't exist: Too many requests", K::FolderRefused, None),
        (P::Create, S::No, "Permission denied: Over quota", K::FolderRefused, None),
        (P::Create, S::No, "[CANNOT] Invalid name: Mailbox is full", K::FolderRefused, None),
        (P::Open, S::No, "Mailbox doesn't exist: Too many connections", K::FolderRefused, None),
        (P::Open, S::No, "[ALERT] [SERVERBUG] System Error", K::Unavailable, Some(30)),
    ]);
}

#[test]
fn a_folder_that_is_there_is_no_failure_of_create() {
    for text in ["Mailbox already exists", "[ALREADYEXISTS] x", "[ALREADYEXISTS] Duplicate folder name (Failure)"] {
        assert!(already_exists(text.as_bytes()), "{text}");
    }
    assert!(!already_exists(b"Folder name is reserved"));
}

#[test]
fn a_time_without_end_is_a_day() {
    let text = format!("Request is throttled. Suggested Backoff Time: {} milliseconds", u64::MAX);
    assert_eq!(verdict(P::Fetch, S::Bad, &text).wait, Some(Duration::from_secs(86_400)));
    assert_eq!(verdict(P::Fetch, S::Bad, &text.replace("18446744073709551615", "9".repeat(40).as_str())).wait, None);
}

#[test]
fn every_row_can_be_reached() {
    for (index, row) in TABLE.iter().enumerate() {
        assert_eq!(row.text, row.text.to_ascii_lowercase());
        let line = row.text.replace('*', " x ").replace('^', "[alert] ");
        let reached = ALL.iter().any(|&phase| {
            let first = TABLE.iter().position(|row| row.fits(phase, line.as_bytes()));
            first == Some(index)
        });
        assert!(reached, "hidden by an earlier row: {}", row.text);
        assert!(WAITS.contains(&row.kind) || matches!(row.wait, Wait::Untold), "{}", row.text);
    }
}

/// Those that come with a time.
const WAITS: [Kind; 6] =
    [K::Throttled, K::Unavailable, K::TooManyConnections, K::LockedOut, K::MessageUnreadable, K::FolderUnreadable];

const ALL: [Phase; 8] = [P::Greeting, P::SignIn, P::List, P::Open, P::Create, P::Fetch, P::Append, P::Other];

proptest! {
    #[test]
    fn any_line_is_judged(text in proptest::collection::vec(any::<u8>(), 0..200), phase in 0..ALL.len()) {
        for status in [S::Ok, S::No, S::Bad, S::Bye] {
            let got = classify(&Words { phase: ALL[phase], status, text: &text });
            prop_assert!(WAITS.contains(&got.kind) || got.wait.is_none());
            let _ = (slower(status, &text), already_exists(&text), connections_max(&text), crowd(ALL[phase], &text));
        }
    }
}
