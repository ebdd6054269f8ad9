//! Messages out.

use super::{Site, mail};
use crate::support::client::Client;
use crate::support::compare::instant;
use crate::support::response::Fetched;

/// Signs in and leaves messages in the inbox; gives their UIDs.
fn with_mail(site: &Site, count: usize) -> (Client, Vec<u64>) {
    let mut client = site.sign_in();
    for number in 0..count {
        client.store("INBOX", "", "01-Feb-2021 03:04:05 +0100", &mail(number));
    }
    client.select("INBOX");
    let uids = uids(&client.ok("UID FETCH 1:* (UID)").fetched());
    assert_eq!(uids.len(), count);
    (client, uids)
}

fn uids(fetched: &[Fetched]) -> Vec<u64> {
    fetched.iter().map(|one| one.uid().expect("a UID")).collect()
}

pub(super) fn asked_items_are_given(site: &Site) {
    let (mut client, uids) = with_mail(site, 2);
    client.ok(&format!("UID STORE {} +FLAGS (\\Seen $Label)", uids[1]));
    let fetched = client.ok("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)").fetched();
    for (number, one) in fetched.iter().enumerate() {
        assert_eq!(one.uid(), Some(uids[number]));
        assert_eq!(one.item("RFC822.SIZE").unwrap().number(), Some(mail(number).len() as u64));
        let date = one.item("INTERNALDATE").unwrap().text();
        assert_eq!(instant(&date), instant("01-Feb-2021 03:04:05 +0100"));
        assert!(one.item("BODY[]").is_none());
    }
    assert_eq!(fetched[0].flags().unwrap(), Vec::<String>::new());
    assert_eq!(fetched[1].flags().unwrap(), ["$Label", "\\Seen"]);
    // By number in the folder, the UID is given only if it is asked for.
    assert_eq!(client.ok("FETCH 2 (RFC822.SIZE)").fetched()[0].uid(), None);
}

pub(super) fn peek_leaves_seen_alone(site: &Site) {
    let (mut client, uids) = with_mail(site, 1);
    let flags = |client: &mut Client| client.ok("FETCH 1 (FLAGS)").fetched()[0].flags().unwrap();
    let peeked = client.ok(&format!("UID FETCH {} (UID BODY.PEEK[])", uids[0])).fetched();
    assert_eq!(peeked[0].item("BODY[]").unwrap().bytes(), mail(0));
    assert_eq!(flags(&mut client), Vec::<String>::new());
    client.examine("INBOX");
    client.ok(&format!("UID FETCH {} (BODY[])", uids[0]));
    assert_eq!(flags(&mut client), Vec::<String>::new(), "EXAMINE changes nothing");
    client.select("INBOX");
    client.ok(&format!("UID FETCH {} (BODY[])", uids[0]));
    assert_eq!(flags(&mut client), ["\\Seen"]);
}

pub(super) fn parts_of_the_header_are_given(site: &Site) {
    let mut client = site.sign_in();
    let header = b"From: a@b.example\r\nSubject: one\r\n two\r\nX-Other: x\r\nReceived: 1\r\nReceived: 2\r\n\r\n";
    client.store("INBOX", "", "", &[header.as_slice(), b"Subject: not this\r\n"].concat());
    client.examine("INBOX");
    let fetched = client.ok("FETCH 1 (BODY.PEEK[HEADER])").fetched();
    assert_eq!(fetched[0].item("BODY[HEADER]").unwrap().bytes(), header);
    let fetched = client.ok("FETCH 1 (UID BODY.PEEK[HEADER.FIELDS (Subject RECEIVED Nothing)])").fetched();
    let fields = fetched[0].item("BODY[HEADER.FIELDS (SUBJECT RECEIVED NOTHING)]").unwrap().text();
    assert_eq!(fields, "Subject: one\r\n two\r\nReceived: 1\r\nReceived: 2\r\n\r\n");
}

pub(super) fn partial_bodies_are_given(site: &Site) {
    let (mut client, _) = with_mail(site, 1);
    let fetched = client.ok("FETCH 1 (BODY.PEEK[]<3.5>)").fetched();
    assert_eq!(fetched[0].item("BODY[]<3>").unwrap().bytes(), &mail(0)[3..8]);
    let fetched = client.ok("FETCH 1 (BODY.PEEK[]<10.100000>)").fetched();
    assert_eq!(fetched[0].item("BODY[]<10>").unwrap().bytes(), &mail(0)[10..]);
}

pub(super) fn ranges_have_gaps_and_a_star(site: &Site) {
    let (mut client, all) = with_mail(site, 6);
    client.ok(&format!("UID STORE {},{} +FLAGS.SILENT (\\Deleted)", all[1], all[4]));
    client.ok("EXPUNGE");
    let mut fetch = |range: String| uids(&client.ok(&format!("UID FETCH {range} (UID)")).fetched());
    assert_eq!(fetch(format!("{}:{}", all[0], all[5])), [all[0], all[2], all[3], all[5]]);
    assert_eq!(fetch(format!("{},{}:{},{}", all[0], all[1], all[2], all[5])), [all[0], all[2], all[5]]);
    assert_eq!(fetch(format!("{}:{}", all[3], all[2])), [all[2], all[3]], "backwards is the same");
    assert_eq!(fetch("*".into()), [all[5]]);
    assert_eq!(fetch(format!("{}:*", all[3])), [all[3], all[5]]);
    assert_eq!(fetch(format!("{}:*", all[5] + 100)), [all[5]], "the star is the last message, wherever it is");
    assert_eq!(fetch("1:4294967295".into()).len(), 4);
}

pub(super) fn a_missing_uid_is_ok_and_nothing(site: &Site) {
    let (mut client, all) = with_mail(site, 1);
    let missing = all[0] + 1;
    assert_eq!(client.ok(&format!("UID FETCH {missing} (UID FLAGS BODY.PEEK[])")).fetched().len(), 0);
    assert_eq!(client.ok(&format!("UID STORE {missing} +FLAGS (\\Seen)")).fetched().len(), 0);
}

pub(super) fn changedsince_gives_what_changed(site: &Site) {
    let (mut client, all) = with_mail(site, 3);
    let fetched = client.ok("UID FETCH 1:* (UID MODSEQ)").fetched();
    let modseq = |one: &Fetched| one.item("MODSEQ").expect("MODSEQ").list()[0].number().expect("a number");
    let highest = fetched.iter().map(modseq).max().unwrap();
    client.ok(&format!("UID STORE {} +FLAGS.SILENT (\\Flagged)", all[1]));
    let changed = client.ok(&format!("UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE {highest})")).fetched();
    assert_eq!(uids(&changed), [all[1]]);
    assert_eq!(changed[0].flags().unwrap(), ["\\Flagged"]);
    assert!(modseq(&changed[0]) > highest);
}

pub(super) fn search_finds_uids(site: &Site) {
    let (mut client, all) = with_mail(site, 4);
    client.ok(&format!("UID STORE {},{} +FLAGS.SILENT (\\Deleted)", all[0], all[2]));
    client.ok(&format!("UID EXPUNGE {}", all[0]));
    let mut search = |query: String| -> Vec<u64> {
        let reply = client.ok(&query);
        let values = reply.all("SEARCH").flat_map(|answer| answer.values[1..].iter());
        values.map(|value| value.number().expect("a number")).collect()
    };
    assert_eq!(search("UID SEARCH ALL".into()), all[1..]);
    assert_eq!(search("SEARCH ALL".into()), [1, 2, 3]);
    assert_eq!(search(format!("UID SEARCH UID {}:*", all[2])), all[2..]);
    assert_eq!(search("UID SEARCH DELETED".into()), [all[2]]);
    assert_eq!(search("UID SEARCH SEEN".into()), Vec::<u64>::new());
}
