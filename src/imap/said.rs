//! What servers say when they refuse, line by line as it comes over the wire, and what is made of it. The rows are those of
//! the table that the classifier was written after; the words alone are tested where they are judged.

use super::connection::{Connection, Part};
use crate::failure::Kind as K;
use crate::mail::Side;
use crate::provider::Phase as P;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// What was being done, the server's lines (`#` stands for the tag), what it means, the time to wait in milliseconds. Behind
/// an untagged last line the server hangs up.
type Row = (P, &'static str, K, Option<u64>);

async fn check(rows: &[Row]) {
    for (phase, lines, kind, wait) in rows {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut connection, _near) = Connection::new(Box::new(near), Duration::from_secs(5));
        let server = async {
            let (read, mut write) = tokio::io::split(far);
            let mut command = String::new();
            BufReader::new(read).read_line(&mut command).await.unwrap();
            let tag = command.split(' ').next().unwrap();
            write.write_all(lines.replace('#', tag).as_bytes()).await.unwrap();
            write.write_all(b"\r\n").await.unwrap();
        };
        let command = [Part::Text("ASK")];
        let (answered, ()) = tokio::join!(connection.command("ask", *phase, &command, |_| {}), server);
        let failure = answered.expect_err(lines).failure(Side::Target);
        let expected = (*kind, wait.map(Duration::from_millis));
        assert_eq!((failure.kind, failure.wait), expected, "{phase:?} {lines}");
    }
}

#[tokio::test]
async fn exchange_says() {
    #[rustfmt::skip]
    check(&[
        (P::Append, "# BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", K::Throttled, Some(92_415)),
        (P::Fetch, "# BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds", K::Throttled, Some(299_961)),
        (P::Fetch, "# BADRequest is throttled. Suggested Backoff Time: 3012345 milliseconds", K::Throttled, Some(3_012_345)),
        (P::Open, "# NO Request is throttled. Suggested Backoff Time: 178755 milliseconds", K::Throttled, Some(178_755)),
        (P::SignIn, "* BYE Request is throttled. Suggested Backoff Time: 201317 milliseconds", K::Throttled, Some(201_317)),
        (P::Append, "# BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n* BYE Connection closed. 14", K::Throttled, Some(92_415)),
        (P::Append, "# NO Server Unavailable. 15", K::Unavailable, Some(60_000)),
        (P::Fetch, "# BAD Server Unavailable. 15", K::Unavailable, Some(60_000)),
        (P::Open, "# BAD User is authenticated but not connected.", K::MailboxClosed, None),
        (P::List, "# BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14", K::MailboxClosed, None),
        (P::Other, "* BYE Connection is closed. 13", K::Lost, None),
        (P::Other, "* BYE Connection closed. 14", K::Lost, None),
        (P::Append, "* BYE Session invalidated - AccessTokenExpired", K::TokenExpired, None),
        (P::SignIn, "# NO AUTHENTICATE failed.", K::SignInRefused, None),
        (P::SignIn, "# NO LOGIN failed.", K::SignInRefused, None),
        (P::Append, "# BAD Command Argument Error. 11", K::MessageRefused, None),
        (P::Append, "# BAD Command Argument Error. 12", K::MessageRefused, None),
        (P::Other, "# BAD Command Argument Error. 11", K::CommandRefused, None),
        (P::Append, "# NO Maximum size of appendable message has been exceeded.", K::MessageRefused, None),
        (P::Append, "# BAD Command received in Invalid state.", K::Lost, None),
        (P::SignIn, "# BAD Command received in Invalid state.", K::SignInRefused, None),
        (P::Open, "# NO Folder name is reserved", K::FolderRefused, None),
        (P::Fetch, "# NO The requested message could not be converted to an RFC-822 compatible format.", K::MessageUnreadable, None),
        (P::Open, "# NO [REFERRAL imap://anna@other.example/] There is no replica for that mailbox on this server.", K::MailboxClosed, None),
    ]).await;
}

#[tokio::test]
async fn gmail_says() {
    #[rustfmt::skip]
    check(&[
        (P::SignIn, "# NO [ALERT] Too many simultaneous connections. (Failure)", K::TooManyConnections, Some(60_000)),
        (P::Fetch, "# NO [OVERQUOTA] Account exceeded command or bandwidth limits. x11-20020a05600c (Failure)", K::Throttled, Some(3_600_000)),
        (P::Append, "# NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", K::Throttled, Some(3_600_000)),
        (P::SignIn, "# NO [ALERT] Account exceeded command or bandwidth limits. (Failure)", K::Throttled, Some(3_600_000)),
        (P::List, "* BYE [OVERQUOTA] Account exceeded command or bandwidth limits.", K::Throttled, Some(3_600_000)),
        (P::Fetch, "* BYE Session expired, please login again.", K::Lost, None),
        (P::List, "# NO System Error (Failure)", K::Unavailable, Some(30_000)),
        (P::Fetch, "* BYE System Error", K::Unavailable, Some(30_000)),
        (P::SignIn, "# NO [UNAVAILABLE] Temporary System Error", K::Unavailable, Some(30_000)),
        (P::SignIn, "# NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", K::SignInRefused, None),
        (P::SignIn, "# NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)", K::SignInRefused, None),
        (P::SignIn, "# NO [ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)", K::SignInRefused, None),
        (P::SignIn, "* NO [WEBALERT https://accounts.google.com/signin/continue] Web login required.\r\n# NO [ALERT] Web login required. (Failure)", K::SignInRefused, None),
        (P::Open, "# NO [NONEXISTENT] Unknown Mailbox: [Gmail] (now in authenticated state) (Failure)", K::FolderRefused, None),
        (P::Open, "# NO [CANNOT] Folder contains excess whitespace (Failure)", K::FolderRefused, None),
    ]).await;
}

#[tokio::test]
async fn yahoo_icloud_and_zoho_say() {
    #[rustfmt::skip]
    check(&[
        (P::Fetch, "# NO [UNAVAILABLE] UID FETCH Server error while fetching messages", K::MessageUnreadable, Some(10_000)),
        (P::Fetch, "# NO [UNAVAILABLE] UID FETCH Server error - Please try again later", K::MessageUnreadable, Some(10_000)),
        (P::Fetch, "# NO [UNAVAILABLE] UID FETCH Service is temporarily not available", K::Unavailable, Some(30_000)),
        (P::Append, "# BAD [CLIENTBUG] Additional arguments found after last expected argument", K::MessageRefused, None),
        (P::SignIn, "# NO [AUTHENTICATIONFAILED] LOGIN Invalid credentials", K::SignInRefused, None),
        (P::SignIn, "# BAD [UNAVAILABLE] Service temporarily unavailable", K::Unavailable, None),
        (P::SignIn, "# NO [AUTHENTICATIONFAILED] Authentication failed", K::SignInRefused, None),
        (P::Append, "# BAD Cannot upload message, TOOBIG", K::MessageRefused, None),
    ]).await;
}

#[tokio::test]
async fn dovecot_says() {
    #[rustfmt::skip]
    check(&[
        (P::SignIn, "# NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=16)", K::TooManyConnections, Some(30_000)),
        (P::SignIn, "* BYE [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", K::TooManyConnections, Some(30_000)),
        (P::SignIn, "# NO [LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", K::TooManyConnections, Some(30_000)),
        (P::SignIn, "# NO [UNAVAILABLE] Temporary authentication failure. [mail1:2026-11-22 10:00:00]", K::Unavailable, Some(60_000)),
        (P::SignIn, "# NO [UNAVAILABLE] Internal error occurred. Refer to server log for more information.", K::Unavailable, Some(60_000)),
        (P::SignIn, "# NO [UNAVAILABLE] Account is temporarily unavailable.", K::Unavailable, Some(300_000)),
        (P::Fetch, "# NO [SERVERBUG] Internal error occurred. Refer to server log for more information. [2026-11-22 10:00:00] (0.001 + 0.000 secs).", K::MessageUnreadable, Some(10_000)),
        (P::Open, "# NO [SERVERBUG] Internal error occurred. Refer to server log for more information. [2026-11-22 10:00:00]", K::FolderUnreadable, Some(10_000)),
        (P::Append, "# NO [SERVERBUG] Internal error occurred. Refer to server log for more information. [2026-11-22 10:00:00]", K::MessageRefused, None),
        (P::Append, "# NO [INUSE] Timeout while waiting for lock (60.1 + 0.000 secs).", K::Unavailable, Some(10_000)),
        (P::Append, "# NO [OVERQUOTA] Quota exceeded (mailbox for user is full) (0.001 + 0.000 secs).", K::MailboxFull, None),
        (P::Append, "# NO Not enough disk quota", K::MailboxFull, None),
        (P::Append, "# NO [ALERT] Mailbox is full / Blocks limit exceeded / Inode limit exceeded", K::MailboxFull, None),
        (P::Append, "# NO [OVERQUOTA] Too many messages in the mailbox", K::MailboxFull, None),
        (P::Append, "# NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration", K::MessageRefused, None),
        (P::Append, "# NO [TOOBIG] Message size is too large", K::MessageRefused, None),
        (P::Other, "* BYE Disconnected for inactivity.", K::Lost, None),
        (P::Other, "* BYE Disconnected: Idle for too long", K::Lost, None),
        (P::Other, "* BYE Autologout; idle for too long", K::Lost, None),
        (P::Other, "* BYE Too many invalid IMAP commands.", K::Protocol, None),
        (P::Append, "# NO [TRYCREATE] Mailbox doesn't exist: Sent (0.001 + 0.000 secs).", K::FolderRefused, None),
        (P::SignIn, "# NO [AUTHENTICATIONFAILED] Authentication failed.", K::SignInRefused, None),
        (P::SignIn, "# NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.", K::TlsMissing, None),
        (P::SignIn, "* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS.\r\n# NO [LOGINDISABLED] Use STARTTLS", K::TlsMissing, None),
    ]).await;
}

#[tokio::test]
async fn cyrus_courier_and_zimbra_say() {
    #[rustfmt::skip]
    check(&[
        (P::SignIn, "# NO Too many open connections (11 of 10 from 192.0.2.1, 11 of 10 for info)", K::TooManyConnections, Some(30_000)),
        (P::Append, "# NO Message contains NUL characters", K::MessageRefused, None),
        (P::Append, "# NO Message contains bare newlines", K::MessageRefused, None),
        (P::Append, "# NO Message contains invalid header", K::MessageRefused, None),
        (P::Append, "# NO Message contains non-ASCII characters in headers", K::MessageRefused, None),
        (P::Append, "# NO Message has no header/body separator", K::MessageRefused, None),
        (P::Append, "# NO [LIMIT] Too many user flags in mailbox", K::MessageRefused, None),
        (P::Append, "# NO [LIMIT] Too many identical emails", K::MessageRefused, None),
        (P::Append, "# NO Message size exceeds fixed limit", K::MessageRefused, None),
        (P::Append, "# BAD maximum message size exceeded", K::MessageRefused, None),
        (P::Append, "# NO [OVERQUOTA] Over quota", K::MailboxFull, None),
        (P::Open, "# NO Server(s) unavailable to complete operation", K::Unavailable, Some(30_000)),
        (P::Open, "# NO Retry operation", K::Unavailable, Some(10_000)),
        (P::Append, "# NO Mailbox is locked", K::Unavailable, Some(10_000)),
        (P::Open, "# NO Mailbox is currently reserved", K::Unavailable, Some(10_000)),
        (P::Open, "# NO Mailbox has an invalid format", K::FolderRefused, None),
        (P::Fetch, "# NO Mailbox format corruption detected", K::FolderRefused, None),
        (P::Greeting, "* BYE [ALERT] Maximum connection limit reached for 192.0.2.1", K::TooManyConnections, Some(60_000)),
        (P::Fetch, "* BYE Zimbra IMAP4rev1 server closing connection", K::Lost, None),
        (P::Fetch, "* BYE mail.example Zimbra IMAP4rev1 server terminating connection", K::Lost, None),
        (P::SignIn, "# NO [ALERT] account undergoing maintenance; please try again later", K::Unavailable, Some(600_000)),
        (P::SignIn, "# NO [ALERT] password must be changed before IMAP login permitted", K::SignInRefused, None),
        (P::SignIn, "# NO account does not have IMAP access enabled", K::SignInRefused, None),
        (P::Append, "# NO APPEND failed", K::MessageRefused, None),
    ]).await;
}

#[tokio::test]
async fn smaller_servers_say() {
    #[rustfmt::skip]
    check(&[
        (P::Append, "# NO Your quota has been exceeded.", K::MailboxFull, None),
        (P::Append, "# NO Message size exceeds fixed maximum message size. Size: 20480 KB, Max size: 10240 KB", K::MessageRefused, None),
        // hMailServer gives no status to it, and hangs up.
        (P::SignIn, "* Too many invalid logon attempts.", K::LockedOut, Some(3_600_000)),
        (P::Append, "# NO [MESSAGELIMIT 100 4711] Too many messages to append, try a smaller subset.", K::MessageRefused, None),
        (P::Append, "# NO Too many messages to append, try a smaller subset.", K::MessageRefused, None),
        (P::SignIn, "* BYE Too many requests", K::Throttled, Some(60_000)),
        (P::SignIn, "# NO [LIMIT] Too many requests", K::Throttled, Some(60_000)),
        (P::SignIn, "# NO LOGIN failed: too many requests", K::Throttled, Some(60_000)),
        (P::SignIn, "# NO LOGIN failed: too many concurrent connections", K::TooManyConnections, Some(60_000)),
        (P::SignIn, "# NO Too many connections from your IP", K::TooManyConnections, Some(60_000)),
        (P::SignIn, "# NO [LIMIT] Too many concurrent connections", K::TooManyConnections, Some(60_000)),
        (P::Append, "# NO could not append message: message size exceeds limits", K::MessageRefused, None),
        (P::Append, "# NO operation not allowed", K::MessageRefused, None),
        (P::Append, "# BAD invalid rfc5322 message: missing header From", K::MessageRefused, None),
        (P::Append, "# NO Message refused because it contains a virus", K::MessageRefused, None),
        (P::Append, "# BAD Invalid system flag \\FORWARDED", K::MessageRefused, None),
        (P::Append, "# NO APPEND Invalid flag list", K::MessageRefused, None),
        (P::Other, "# NO Error in IMAP command received by server.", K::CommandRefused, None),
        (P::Other, "# BAD Invalid system flag \\FORWARDED", K::CommandRefused, None),
        // A small host that hides its limit so: whether it is one is told by what went before.
        (P::SignIn, "# NO login incorrect", K::SignInRefused, None),
    ]).await;
}

#[tokio::test]
async fn codes_of_the_standard_are_said_anywhere() {
    #[rustfmt::skip]
    check(&[
        (P::Append, "# NO [TRYCREATE] no such folder", K::FolderRefused, None),
        (P::SignIn, "# NO [AUTHORIZATIONFAILED] admin may not act as info", K::MailboxClosed, None),
        (P::SignIn, "# NO [EXPIRED] That password isn't valid any more", K::SignInRefused, None),
        (P::SignIn, "# NO Connect by TLS first [PRIVACYREQUIRED]", K::TlsMissing, None),
        (P::SignIn, "# NO [CONTACTADMIN] ask", K::SignInRefused, None),
        (P::Open, "# NO [CONTACTADMIN] ask", K::FolderRefused, None),
        (P::Append, "# NO [CONTACTADMIN] ask", K::MessageRefused, None),
        (P::Open, "# NO [NOPERM] no", K::FolderRefused, None),
        (P::Append, "# NO [CANNOT] no", K::MessageRefused, None),
        (P::Open, "# NO[INUSE] mailbox in use", K::Unavailable, Some(10_000)),
        (P::Open, "# NO mailbox in use [INUSE]", K::Unavailable, Some(10_000)),
        (P::List, "# NO busy [UNAVAILABLE]", K::Unavailable, None),
        (P::SignIn, "# NO [SERVERBUG] x", K::Unavailable, None),
        (P::Fetch, "# NO [SERVERBUG] x", K::MessageUnreadable, Some(10_000)),
        (P::Open, "# NO [CORRUPTION] x", K::FolderRefused, None),
        (P::Fetch, "# NO [EXPUNGEISSUED] some are gone", K::MessageUnreadable, Some(10_000)),
        (P::Fetch, "# NO slow down (Failure) [THROTTLED]", K::Throttled, Some(60_000)),
        (P::Fetch, "* BYE [UNAVAILABLE] Server shutting down.", K::Unavailable, None),
    ]).await;
}

#[tokio::test]
async fn a_connection_that_ends_without_a_word_is_lost() {
    check(&[(P::Append, "* 4 EXISTS", K::Lost, None), (P::Fetch, "* 1 FETCH (BODY[] {10}\r\nabc", K::Lost, None)])
        .await;
}

#[tokio::test]
async fn who_is_told_to_wait_or_to_sign_in_again_has_been_refused_nothing() {
    for (lines, refusal) in [
        ("# BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds", false),
        ("# NO [OVERQUOTA] Account exceeded command or bandwidth limits.", false),
        ("# NO AccessTokenExpired", false),
        ("# BAD Command received in Invalid state.", false),
        ("# NO [UNAVAILABLE] Busy", false),
        ("# BAD [INUSE] Locked", false),
        ("# NO [LIMIT] Too many connections", false),
        ("# NO [NOPERM] no", true),
        ("# BAD Command Argument Error. 11", true),
    ] {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut connection, _near) = Connection::new(Box::new(near), Duration::from_secs(5));
        let (_read, mut write) = tokio::io::split(far);
        write.write_all(format!("{}\r\n", lines.replace('#', "X1")).as_bytes()).await.unwrap();
        let error = connection.command("ask", P::Other, &[Part::Text("ASK")], |_| {}).await.unwrap_err();
        assert_eq!(error.is_refusal(), refusal, "{lines}");
    }
}
