//! What changes in a folder.

use super::{Site, mail};
use crate::support::client::Client;
use crate::support::response::{Reply, Status};

/// Signs in, leaves two messages in the inbox and selects it; gives their UIDs.
fn with_two(site: &Site) -> (Client, [u64; 2]) {
    let mut client = site.sign_in();
    for number in 0..2 {
        client.store("INBOX", "\\Seen", "", &mail(number));
    }
    client.select("INBOX");
    let fetched = client.ok("UID FETCH 1:* (UID)").fetched();
    let uids = [fetched[0].uid().unwrap(), fetched[1].uid().unwrap()];
    (client, uids)
}

fn flags(client: &mut Client, uid: u64) -> Vec<String> {
    let fetched = client.ok(&format!("UID FETCH {uid} (FLAGS)")).fetched();
    fetched.iter().find(|one| one.uid() == Some(uid)).expect("the message").flags().expect("FLAGS")
}

pub(super) fn flags_are_added_and_removed(site: &Site) {
    let (mut client, [first, second]) = with_two(site);
    let reply = client.ok(&format!("UID STORE {first} +FLAGS (\\Flagged $Label)"));
    let told = reply.fetched();
    let told = told.iter().find(|one| one.uid() == Some(first)).expect("the change is told, with the UID");
    assert_eq!(told.flags().unwrap(), ["$Label", "\\Flagged", "\\Seen"]);
    client.ok(&format!("UID STORE {first} -FLAGS (\\Seen \\Answered)"));
    assert_eq!(flags(&mut client, first), ["$Label", "\\Flagged"]);
    assert_eq!(flags(&mut client, second), ["\\Seen"]);
    client.ok(&format!("UID STORE {first}:{second} FLAGS (\\Draft)"));
    assert_eq!(flags(&mut client, first), ["\\Draft"]);
    assert_eq!(flags(&mut client, second), ["\\Draft"]);
    client.log_out();
    let mut client = site.sign_in();
    client.examine("INBOX");
    assert_eq!(flags(&mut client, first), ["\\Draft"], "kept");
}

pub(super) fn silent_says_nothing(site: &Site) {
    let (mut client, [first, _]) = with_two(site);
    let reply = client.ok(&format!("UID STORE {first} +FLAGS.SILENT (\\Flagged)"));
    // With CONDSTORE in use a server may tell the new MODSEQ, but not the flags.
    let is_silent = |reply: &Reply| !site.is_exact || reply.fetched().iter().all(|one| one.flags().is_none());
    assert!(is_silent(&reply));
    assert_eq!(flags(&mut client, first), ["\\Flagged", "\\Seen"]);
    let reply = client.ok(&format!("UID STORE {first} -FLAGS.SILENT (\\Seen)"));
    assert!(is_silent(&reply));
    assert_eq!(flags(&mut client, first), ["\\Flagged"]);
}

pub(super) fn examined_folders_are_not_changed(site: &Site) {
    let (mut client, [first, _]) = with_two(site);
    client.ok(&format!("UID STORE {first} +FLAGS.SILENT (\\Deleted)"));
    client.examine("INBOX");
    for command in [format!("UID STORE {first} +FLAGS (\\Flagged)"), format!("UID EXPUNGE {first}"), "EXPUNGE".into()] {
        // Some refuse; Dovecot says OK and does nothing.
        let reply = client.command(&command).unwrap();
        assert_ne!(reply.done.status, Some(Status::Bad), "{command}: {}", reply.done);
        assert_eq!(reply.all("EXPUNGE").count(), 0);
    }
    client.ok("UNSELECT");
    client.examine("INBOX");
    assert_eq!(flags(&mut client, first), ["\\Deleted", "\\Seen"]);
}

pub(super) fn unchangedsince_fails_with_modified(site: &Site) {
    let (mut client, [first, second]) = with_two(site);
    let fetched = client.ok("UID FETCH 1:* (UID MODSEQ)").fetched();
    let modseqs = fetched.iter().map(|one| one.item("MODSEQ").expect("MODSEQ").list()[0].number().unwrap());
    let known = modseqs.max().unwrap();
    site.sign_in_and(|other| {
        other.select("INBOX");
        other.ok(&format!("UID STORE {first} +FLAGS.SILENT (\\Flagged)"));
    });
    let reply =
        client.command(format!("UID STORE {first},{second} (UNCHANGEDSINCE {known}) +FLAGS.SILENT ($Late)")).unwrap();
    // OK by RFC 7162, NO by the one before it.
    assert!(matches!(reply.done.status, Some(Status::Ok | Status::No)), "{}", reply.done);
    assert_eq!(reply.code("MODIFIED").expect("MODIFIED")[1], first.to_string());
    assert_eq!(flags(&mut client, first), ["\\Flagged", "\\Seen"]);
    assert_eq!(flags(&mut client, second), ["$Late", "\\Seen"]);
}

pub(super) fn uid_expunge_removes_only_what_is_named(site: &Site) {
    let (mut client, [first, second]) = with_two(site);
    client.ok(&format!("UID STORE {first}:{second} +FLAGS.SILENT (\\Deleted)"));
    let reply = client.ok(&format!("UID EXPUNGE {second}"));
    assert_eq!(reply.all("EXPUNGE").count(), 1);
    let left = client.ok("UID FETCH 1:* (UID)").fetched();
    assert_eq!(left.iter().map(|one| one.uid().unwrap()).collect::<Vec<_>>(), [first]);
    // Not marked as deleted, not removed.
    client.ok(&format!("UID STORE {first} -FLAGS.SILENT (\\Deleted)"));
    let reply = client.ok(&format!("UID EXPUNGE {first}"));
    assert_eq!(reply.all("EXPUNGE").count(), 0);
}
