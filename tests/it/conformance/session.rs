//! From the greeting to the farewell.

use super::{Site, mail};
use crate::support::client::quote;
use crate::support::response::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(super) fn greeting_is_an_untagged_ok(site: &Site) {
    let client = site.connect();
    assert_eq!((client.greeting().tag.as_str(), client.greeting().status), ("*", Some(Status::Ok)));
}

pub(super) fn capability_tells_how_to_sign_in_and_then_what_else_there_is(site: &Site) {
    let mut client = site.connect();
    let announced = |client: &mut crate::support::client::Client| -> Vec<String> {
        let reply = client.ok("CAPABILITY");
        let answer = reply.all("CAPABILITY").next().expect("an answer").clone();
        answer.values.iter().map(|value| value.text().to_uppercase()).collect()
    };
    let before = announced(&mut client);
    for capability in ["IMAP4REV1", "AUTH=PLAIN", "SASL-IR", "LITERAL+"] {
        assert!(before.iter().any(|one| one == capability), "no {capability} in {before:?}");
    }
    client.ok(&format!("LOGIN {} {}", quote(&site.user), quote(&site.password)));
    let after = announced(&mut client);
    let needed = [
        "IMAP4REV1",
        "LITERAL+",
        "UIDPLUS",
        "MULTIAPPEND",
        "CONDSTORE",
        "SPECIAL-USE",
        "LIST-EXTENDED",
        "LIST-STATUS",
        "NAMESPACE",
        "ID",
        "UNSELECT",
        "ENABLE",
    ];
    for capability in needed {
        assert!(after.iter().any(|one| one == capability), "no {capability} in {after:?}");
    }
}

pub(super) fn wrong_password_is_refused_by_code_and_the_right_one_is_taken_after(site: &Site) {
    let mut client = site.connect();
    let reply = client.no(&format!("LOGIN {} wrong", quote(&site.user)));
    site.assert_code(&reply, "AUTHENTICATIONFAILED");
    let reply = client.no(&format!("AUTHENTICATE PLAIN {}", plain(&site.user, "wrong")));
    site.assert_code(&reply, "AUTHENTICATIONFAILED");
    client.ok(&format!("LOGIN {} {}", quote(&site.user), quote(&site.password)));
}

fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}

pub(super) fn login_takes_quoted_strings_and_literals(site: &Site) {
    let (user, password) = (&site.user, &site.password);
    site.sign_in().ok("LIST \"\" \"*\"");
    let mut client = site.connect();
    client.ok(&format!("LOGIN {{{}+}}\r\n{user} {{{}+}}\r\n{password}", user.len(), password.len()));
    client.ok("LIST \"\" \"*\"");
}

pub(super) fn authenticate_plain_takes_an_initial_response(site: &Site) {
    let mut client = site.connect();
    client.ok(&format!("AUTHENTICATE PLAIN {}", plain(&site.user, &site.password)));
    client.ok("LIST \"\" \"*\"");
}

pub(super) fn authenticate_plain_asks_for_the_response(site: &Site) {
    let mut client = site.connect();
    let tag = client.begin("AUTHENTICATE PLAIN").unwrap();
    assert_eq!(client.read().unwrap().tag, "+");
    client.send(format!("{}\r\n", plain(&site.user, &site.password)).as_bytes()).unwrap();
    assert_eq!(client.finish(&tag).unwrap().done.status, Some(Status::Ok));
    client.ok("LIST \"\" \"*\"");
}

pub(super) fn authenticate_can_be_cancelled(site: &Site) {
    let mut client = site.connect();
    let tag = client.begin("AUTHENTICATE PLAIN").unwrap();
    assert_eq!(client.read().unwrap().tag, "+");
    client.send(b"*\r\n").unwrap();
    // BAD by RFC 9051, 6.2.2; Cyrus says NO.
    assert_ne!(client.finish(&tag).unwrap().done.status, Some(Status::Ok));
    client.ok(&format!("LOGIN {} {}", quote(&site.user), quote(&site.password)));
}

pub(super) fn nothing_is_open_before_sign_in(site: &Site) {
    for command in ["LIST \"\" \"*\"", "SELECT INBOX", "STATUS INBOX (MESSAGES)"] {
        // Dovecot closes the connection after three.
        let mut client = site.connect();
        let reply = client.command(command).unwrap();
        assert_ne!(reply.done.status, Some(Status::Ok), "{command}");
        assert_eq!(reply.all("LIST").count() + reply.all("STATUS").count(), 0);
    }
}

pub(super) fn namespace_names_the_personal_one(site: &Site) {
    let reply = site.sign_in().ok("NAMESPACE");
    let spaces = reply.all("NAMESPACE").next().expect("an answer");
    assert_eq!(spaces.values.len(), 4, "{spaces}");
    let personal = spaces.values[1].list()[0].list();
    assert_eq!((personal[0].text().as_str(), personal[1].text().as_str()), ("", "/"));
}

pub(super) fn id_is_answered(site: &Site) {
    let mut client = site.connect();
    client.ok("ID NIL");
    client.ok(&format!("LOGIN {} {}", quote(&site.user), quote(&site.password)));
    let reply = client.ok("ID (\"name\" \"a \\\"test\\\"\" \"version\" NIL)");
    assert_eq!(reply.all("ID").count(), 1);
}

pub(super) fn nonsense_is_bad_and_the_connection_goes_on(site: &Site) {
    let mut client = site.sign_in();
    for command in ["NONSENSE", "FETCH", "UID", "LIST", "STATUS INBOX", "UID NONSENSE 1"] {
        client.expect(command, Status::Bad);
    }
    client.ok("NOOP");
    client.examine("INBOX");
    client.expect("UID FETCH x FLAGS", Status::Bad);
    client.expect("UID FETCH 1 (NONSENSE)", Status::Bad);
    client.ok("NOOP");
}

pub(super) fn noop_shows_mail_of_another_connection(site: &Site) {
    let (mut watcher, mut writer) = (site.sign_in(), site.sign_in());
    watcher.examine("INBOX");
    writer.store("INBOX", "", "", &mail(1));
    let reply = watcher.ok("NOOP");
    let exists = reply.all("EXISTS").last().expect("EXISTS is told");
    assert_eq!(exists.values[0].number(), Some(1));
    assert_eq!(watcher.ok("UID FETCH 1:* (UID)").fetched().len(), 1);
}

pub(super) fn logout_says_bye_then_ok_then_ends(site: &Site) {
    let mut client = site.sign_in();
    let reply = client.ok("LOGOUT");
    let farewells: Vec<_> = reply.untagged.iter().filter(|response| response.status == Some(Status::Bye)).collect();
    assert_eq!(farewells.len(), 1);
    assert!(client.read().is_err(), "the connection is closed");
}
