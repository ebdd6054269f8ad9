//! Messages in.

use super::{Site, mail};
use crate::support::client::Client;
use crate::support::compare::instant;
use crate::support::response::Status;

const DATE: &str = "01-Feb-2021 03:04:05 +0100";

pub(super) fn a_synchronising_literal_is_asked_for(site: &Site) {
    let mut client = site.sign_in();
    let body = mail(1);
    let tag = client.begin(format!("APPEND INBOX {{{}}}", body.len())).unwrap();
    assert_eq!(client.read().unwrap().tag, "+");
    client.send(&body).unwrap();
    client.send(b"\r\n").unwrap();
    assert_eq!(client.finish(&tag).unwrap().done.status, Some(Status::Ok));
    assert_eq!(client.fetch_all("INBOX")[0].body, body);
}

pub(super) fn a_non_synchronising_literal_is_not(site: &Site) {
    let mut client = site.sign_in();
    let body = mail(1);
    let reply = client.command(append("INBOX", &body)).unwrap();
    assert_eq!(reply.done.status, Some(Status::Ok));
    assert!(reply.untagged.iter().all(|response| response.tag != "+"));
    assert_eq!(client.fetch_all("INBOX")[0].body, body);
}

fn append(folder: &str, body: &[u8]) -> Vec<u8> {
    [format!("APPEND {folder} {{{}+}}\r\n", body.len()).as_bytes(), body].concat()
}

pub(super) fn flags_keywords_and_date_are_kept(site: &Site) {
    let mut client = site.sign_in();
    client.store("INBOX", "\\Seen \\Flagged \\Answered \\Draft \\Deleted $Forwarded Label_1", DATE, &mail(1));
    client.store("INBOX", "", "31-Dec-1999 23:59:59 -0830", &mail(2));
    let messages = client.fetch_all("INBOX");
    let mut flags: Vec<String> = messages[0].flags.iter().map(|flag| flag.to_lowercase()).collect();
    flags.sort();
    assert_eq!(flags, ["$forwarded", "\\answered", "\\deleted", "\\draft", "\\flagged", "\\seen", "label_1"]);
    assert_eq!(messages[1].flags, Vec::<String>::new());
    assert_eq!(instant(&messages[0].internal_date), instant(DATE));
    assert_eq!(instant(&messages[1].internal_date), instant("31-Dec-1999 23:59:59 -0830"));
}

pub(super) fn bytes_are_kept(site: &Site) {
    let mut client = site.sign_in();
    let long = [b"Subject: long\r\n\r\n".as_slice(), &[b'x'; 100_000], b"\r\n"].concat();
    let bodies: [&[u8]; 6] = [
        b"Subject: \r\n\r\n)\r\nt1 OK done\r\n* BYE\r\n{10}\r\n",
        b"Subject: ends like a literal\r\n\r\n{3}",
        b"Subject: eight bits\r\n\r\n\xe4\xff\x80 \x01\x7f\r\n",
        b"Subject: no end of line\r\n\r\nText",
        b"Subject: no body\r\n\r\n",
        &long,
    ];
    for body in bodies {
        client.store("INBOX", "", "", body);
    }
    let messages = client.fetch_all("INBOX");
    assert_eq!(messages.len(), bodies.len());
    for (message, body) in messages.iter().zip(bodies) {
        assert_eq!(message.body.escape_ascii().to_string(), body.escape_ascii().to_string());
        assert_eq!(message.size, body.len() as u64);
    }
}

pub(super) fn appenduid_is_what_fetch_shows(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    for number in 1..=3 {
        let reply = client.store("Work", "", "", &mail(number));
        let code = reply.done.code_words();
        assert_eq!(code[0], "APPENDUID");
        let messages = client.fetch_all("Work");
        assert_eq!(code[1], client.status("Work", "UIDVALIDITY")[0].to_string());
        assert_eq!(code[2], messages.last().unwrap().uid.to_string());
        assert_eq!(messages.last().unwrap().body, mail(number));
    }
}

pub(super) fn a_missing_folder_is_trycreate(site: &Site) {
    let mut client = site.sign_in();
    let reply = client.append("Nowhere", "", "", &mail(1)).unwrap();
    assert_eq!(reply.done.status, Some(Status::No));
    assert!(reply.done.has_code("TRYCREATE"), "{}", reply.done);
    let reply = client.command(append("Nowhere", &mail(1))).unwrap();
    assert_eq!(reply.done.status, Some(Status::No), "{}", reply.done);
    assert!(reply.done.has_code("TRYCREATE"), "{}", reply.done);
    client.ok("NOOP");
    assert!(client.list().iter().all(|one| one.name != "Nowhere"));
}

pub(super) fn multiappend_gives_a_range_of_uids(site: &Site) {
    let mut client = site.sign_in();
    let flags = ["", "(\\Seen) ", "(\\Flagged $Label) "];
    let mut command = b"APPEND INBOX".to_vec();
    for (number, flags) in flags.iter().enumerate() {
        let body = mail(number);
        command.extend_from_slice(format!(" {flags}\"{DATE}\" {{{}+}}\r\n", body.len()).as_bytes());
        command.extend_from_slice(&body);
    }
    let reply = client.command(command).unwrap();
    assert_eq!(reply.done.status, Some(Status::Ok), "{}", reply.done);
    let messages = client.fetch_all("INBOX");
    let (first, last) = (messages[0].uid, messages[2].uid);
    assert_eq!(reply.done.code_words()[2], format!("{first}:{last}"));
    for (number, message) in messages.iter().enumerate() {
        assert_eq!(message.body, mail(number));
        assert_eq!(instant(&message.internal_date), instant(DATE));
    }
    assert_eq!(messages[1].flags, ["\\Seen"]);
    assert_eq!(messages[2].flags.len(), 2);
}

pub(super) fn multiappend_stores_all_or_nothing(site: &Site) {
    let mut client = site.sign_in();
    let uidvalidity = client.status("INBOX", "UIDVALIDITY");
    for refused in ["\"99-Foo-2021 03:04:05 +0100\" {5}", "(\\Seen)", "nonsense"] {
        let body = mail(1);
        let tag = client.begin(format!("APPEND INBOX {{{}}}", body.len())).unwrap();
        assert_eq!(client.read().unwrap().tag, "+");
        client.send(&body).unwrap();
        client.send(format!(" {refused}\r\n").as_bytes()).unwrap();
        let reply = client.finish(&tag).unwrap();
        assert!(matches!(reply.done.status, Some(Status::No | Status::Bad)), "{refused}: {}", reply.done);
        client.ok("NOOP");
        assert_eq!(client.status("INBOX", "MESSAGES"), [0], "{refused}");
    }
    client.store("INBOX", "", "", &mail(2));
    assert_eq!(client.status("INBOX", "MESSAGES"), [1]);
    assert_eq!(client.status("INBOX", "UIDVALIDITY"), uidvalidity);
}

pub(super) fn pipelined_appends_are_answered_in_order(site: &Site) {
    let mut client = site.sign_in();
    let tags: Vec<String> = (0..10).map(|number| client.begin(append("INBOX", &mail(number))).unwrap()).collect();
    let uids: Vec<u32> = tags.iter().map(|tag| appended_uid(&mut client, tag)).collect();
    assert!(uids.is_sorted_by(|one, next| one < next), "{uids:?}");
    let messages = client.fetch_all("INBOX");
    assert_eq!(messages.iter().map(|message| message.uid).collect::<Vec<_>>(), uids);
    assert!(messages.iter().enumerate().all(|(number, message)| message.body == mail(number)));
}

/// Reads the next tagged response, which must be this one's, and gives its APPENDUID.
fn appended_uid(client: &mut Client, tag: &str) -> u32 {
    loop {
        let response = client.read().unwrap();
        if response.tag == "*" {
            continue;
        }
        assert_eq!((response.tag.as_str(), response.status), (tag, Some(Status::Ok)), "{response}");
        return response.code_words()[2].parse().unwrap();
    }
}
