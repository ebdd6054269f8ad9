//! Names, and what is told about a folder.

use super::{Site, mail};
use crate::support::client::quote;
use crate::support::response::{Reply, Response, Status};

pub(super) fn list_shows_each_folder_once_with_its_separator(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    client.ok("CREATE Zoo");
    let listed = client.list();
    let names: Vec<&str> = listed.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["INBOX", "Work", "Zoo"]);
    assert!(listed.iter().all(|one| one.separator == Some('/')));
    assert!(listed.iter().all(|one| !one.attributes.contains(&"\\noselect".to_owned())));
}

pub(super) fn list_of_nothing_gives_the_separator(site: &Site) {
    let reply = site.sign_in().ok("LIST \"\" \"\"");
    let answers: Vec<&Response> = reply.all("LIST").collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].values[2].text(), "/");
    assert_eq!(answers[0].values[3].text(), "");
    assert!(has_attribute(answers[0], "\\Noselect"));
}

fn has_attribute(listed: &Response, attribute: &str) -> bool {
    listed.values[1].list().iter().any(|value| value.text().eq_ignore_ascii_case(attribute))
}

fn names(reply: &Reply, verb: &str) -> Vec<String> {
    let mut names: Vec<String> = reply.all(verb).map(|listed| listed.values[3].text()).collect();
    names.sort();
    names
}

pub(super) fn list_percent_stops_at_the_separator(site: &Site) {
    let mut client = site.sign_in();
    for name in ["Work", "Work/one", "Work/one/deep", "Work/two"] {
        client.ok(&format!("CREATE {name}"));
    }
    assert_eq!(names(&client.ok("LIST \"\" \"%\""), "LIST"), ["INBOX", "Work"]);
    assert_eq!(names(&client.ok("LIST \"\" \"Work/%\""), "LIST"), ["Work/one", "Work/two"]);
    assert_eq!(names(&client.ok("LIST \"\" \"Work/one\""), "LIST"), ["Work/one"]);
    assert_eq!(names(&client.ok("LIST \"\" \"Nowhere\""), "LIST"), Vec::<String>::new());
}

pub(super) fn list_returns_subscriptions_and_status(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Read");
    client.ok("CREATE Unread");
    client.ok("SUBSCRIBE Read");
    client.store("Read", "", "", &mail(1));
    let reply = client.ok("LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY))");
    assert_eq!(names(&reply, "LIST"), ["INBOX", "Read", "Unread"]);
    for listed in reply.all("LIST") {
        let is_subscribed = has_attribute(listed, "\\Subscribed");
        match listed.values[3].text().as_str() {
            "Read" => assert!(is_subscribed),
            "Unread" => assert!(!is_subscribed),
            _ => (),
        }
    }
    assert_eq!(reply.all("STATUS").count(), 3);
    for status in reply.all("STATUS") {
        let name = status.values[1].text();
        let told: Vec<(String, u64)> = pairs(status);
        let asked = client.status(&name, "MESSAGES UIDNEXT UIDVALIDITY");
        for (item, expected) in ["MESSAGES", "UIDNEXT", "UIDVALIDITY"].into_iter().zip(asked) {
            assert!(told.contains(&(item.to_owned(), expected)), "{name}: {item} {expected} in {told:?}");
        }
    }
}

fn pairs(status: &Response) -> Vec<(String, u64)> {
    let values = status.values[2].list().chunks(2);
    values.map(|pair| (pair[0].text().to_uppercase(), pair[1].number().expect("a number"))).collect()
}

pub(super) fn list_returns_special_use(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Sent (USE (\\Sent))");
    client.ok("CREATE Other");
    let reply = client.ok("LIST \"\" \"*\" RETURN (SPECIAL-USE)");
    let special: Vec<String> = reply
        .all("LIST")
        .filter(|listed| has_attribute(listed, "\\Sent"))
        .map(|listed| listed.values[3].text())
        .collect();
    assert_eq!(special, ["Sent"]);
}

pub(super) fn subscriptions_come_and_go(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    client.ok("CREATE Play");
    let is_listed = |reply: &Reply, name: &str| names(reply, "LSUB").iter().any(|one| one == name);
    client.ok("SUBSCRIBE Work");
    client.ok("SUBSCRIBE Work");
    let reply = client.ok("LSUB \"\" \"*\"");
    assert!(is_listed(&reply, "Work") && !is_listed(&reply, "Play"));
    client.ok("UNSUBSCRIBE Work");
    client.ok("SUBSCRIBE Play");
    let reply = client.ok("LSUB \"\" \"*\"");
    assert!(!is_listed(&reply, "Work") && is_listed(&reply, "Play"));
    assert!(names(&client.ok("LIST \"\" \"*\""), "LIST").contains(&"Work".to_owned()), "only the subscription went");
}

pub(super) fn create_makes_nested_folders(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE one/two/three");
    let listed = client.list();
    let deepest = listed.iter().find(|one| one.name == "one/two/three").expect("it is listed");
    assert!(!deepest.attributes.contains(&"\\noselect".to_owned()));
    client.store("one/two/three", "", "", &mail(1));
    assert_eq!(client.status("one/two/three", "MESSAGES"), [1]);
    // Whether the server made it with the first or not.
    client.command("CREATE one").unwrap();
    assert_eq!(client.status("one", "MESSAGES"), [0]);
}

pub(super) fn create_of_an_existing_folder_is_alreadyexists(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    client.store("Work", "", "", &mail(1));
    for name in ["Work", "INBOX"] {
        let reply = client.no(&format!("CREATE {name}"));
        site.assert_code(&reply, "ALREADYEXISTS");
    }
    assert_eq!(client.status("Work", "MESSAGES"), [1]);
}

pub(super) fn delete_removes_a_folder_and_a_missing_one_is_nonexistent(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    client.ok("DELETE Work");
    assert!(client.list().iter().all(|one| one.name != "Work"));
    let reply = client.no("DELETE Work");
    site.assert_code(&reply, "NONEXISTENT");
}

pub(super) fn names_hold_quotes_backslashes_and_ampersands(site: &Site) {
    let mut client = site.sign_in();
    // Names that not every server stores are refused with NO, and the connection goes on.
    for name in ["say \"hi\"", "back\\slash", "R&-D", "&BD8EQAQ4BDIENQRC-", "a b (c) [d] 'e'"] {
        let as_literal = format!("{{{}+}}\r\n{name}", name.len());
        let reply = client.command(format!("CREATE {as_literal}")).unwrap();
        if reply.done.status == Some(Status::No) {
            assert!(name.contains(['"', '\\']), "{name}: {}", reply.done);
            client.ok("NOOP");
            continue;
        }
        assert_eq!(reply.done.status, Some(Status::Ok), "{name}: {}", reply.done);
        assert!(client.list().iter().any(|one| one.name == name), "{name} in {:?}", client.list());
        client.ok(&format!("SUBSCRIBE {}", quote(name)));
        assert!(client.lsub().iter().any(|one| one.name == name), "{name} in {:?}", client.lsub());
        client.store(name, "", "", &mail(1));
        assert_eq!(client.status(name, "MESSAGES"), [1]);
        client.ok(&format!("EXAMINE {as_literal}"));
    }
}

pub(super) fn examine_of_a_missing_folder_is_refused(site: &Site) {
    let mut client = site.sign_in();
    for verb in ["EXAMINE", "SELECT"] {
        let reply = client.no(&format!("{verb} Nowhere"));
        assert_missing(&reply);
    }
}

/// Dovecot 2.3 gives no code here, unlike for DELETE; it may be NONEXISTENT and no other.
fn assert_missing(reply: &Reply) {
    assert!(reply.done.code.is_none() || reply.done.has_code("NONEXISTENT"), "{}", reply.done);
}

pub(super) fn examine_tells_all_and_changes_nothing(site: &Site) {
    let mut client = site.sign_in();
    client.store("INBOX", "", "", &mail(1));
    client.store("INBOX", "", "", &mail(2));
    let expected = client.status("INBOX", "UIDVALIDITY UIDNEXT HIGHESTMODSEQ");
    for _ in 0..2 {
        let reply = client.examine("INBOX");
        assert!(reply.done.has_code("READ-ONLY"), "{}", reply.done);
        assert_eq!(reply.all("EXISTS").next().expect("EXISTS").values[0].number(), Some(2));
        assert_eq!(reply.all("RECENT").next().expect("RECENT").values[0].number(), Some(2));
        let flags: Vec<String> =
            reply.all("FLAGS").next().expect("FLAGS").values[1].list().iter().map(|flag| flag.text()).collect();
        for flag in ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"] {
            assert!(flags.iter().any(|one| one.eq_ignore_ascii_case(flag)), "{flag} in {flags:?}");
        }
        let told = ["UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ"].map(|code| number(&reply, code));
        assert_eq!(told.to_vec(), expected);
        client.ok("UNSELECT");
    }
}

fn number(reply: &Reply, code: &str) -> u64 {
    let words = reply.code(code).unwrap_or_else(|| panic!("no {code}"));
    words[1].parse().expect("a number")
}

pub(super) fn select_is_read_write(site: &Site) {
    let reply = site.sign_in().select("INBOX");
    assert!(reply.done.has_code("READ-WRITE"), "{}", reply.done);
    let permanent = reply.code("PERMANENTFLAGS").expect("PERMANENTFLAGS").join(" ");
    for flag in ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "\\*"] {
        assert!(permanent.to_lowercase().contains(&flag.to_lowercase()), "{flag} in {permanent}");
    }
}

pub(super) fn status_counts(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    let uidnext = client.status("Work", "UIDNEXT")[0];
    assert_eq!(client.status("Work", "MESSAGES UNSEEN"), [0, 0]);
    client.store("Work", "\\Seen", "", &mail(1));
    client.store("Work", "", "", &mail(2));
    assert_eq!(client.status("Work", "MESSAGES UNSEEN UIDNEXT"), [2, 1, uidnext + 2]);
    let modseq = client.status("Work", "HIGHESTMODSEQ")[0];
    client.select("Work");
    client.ok("UID STORE 1:* +FLAGS.SILENT (\\Flagged)");
    client.ok("UNSELECT");
    assert!(client.status("Work", "HIGHESTMODSEQ")[0] > modseq);
}

pub(super) fn status_of_a_missing_folder_is_refused(site: &Site) {
    let reply = site.sign_in().no("STATUS Nowhere (MESSAGES)");
    assert_missing(&reply);
}

pub(super) fn uidvalidity_stays_and_uidnext_grows(site: &Site) {
    let mut client = site.sign_in();
    client.ok("CREATE Work");
    let first = client.status("Work", "UIDVALIDITY UIDNEXT");
    client.store("Work", "", "", &mail(1));
    client.log_out();
    let mut client = site.sign_in();
    assert_eq!(client.status("Work", "UIDVALIDITY UIDNEXT"), [first[0], first[1] + 1]);
    client.select("Work");
    client.ok("UID STORE 1:* +FLAGS (\\Deleted)");
    client.ok("EXPUNGE");
    client.ok("UNSELECT");
    assert_eq!(client.status("Work", "UIDVALIDITY UIDNEXT MESSAGES"), [first[0], first[1] + 1, 0]);
}

pub(super) fn unselect_closes_without_expunging(site: &Site) {
    let mut client = site.sign_in();
    client.store("INBOX", "\\Deleted", "", &mail(1));
    client.select("INBOX");
    client.ok("UNSELECT");
    let reply = client.command("UID FETCH 1:* (UID)").unwrap();
    assert_ne!(reply.done.status, Some(Status::Ok), "nothing is selected");
    assert_eq!(client.status("INBOX", "MESSAGES"), [1]);
}
