//! A folder of more messages than memory is to hold rows of: nothing of it is other than in a small one.

use crate::support::haul::{Haul, Side};
use mailhaul::mail::Evidence;
use mailhaul_testserver::{Config, NewMessage, Server};
use std::collections::{BTreeMap, BTreeSet};

/// More than any rows that stay in memory, twice in the case of most.
const MANY: usize = 24_000;
const NEW: usize = 3;

fn message(at: usize) -> NewMessage {
    let (day, hour, minute) = (1 + at * 7 % 28, at % 24, at * 11 % 60);
    let date = format!("{day:2}-Mar-2020 {hour:02}:{minute:02}:{:02} +0000", at % 60);
    let text = format!("Message-ID: <{at}@example.org>\r\nSubject: {at}\r\n\r\n{}\r\n", "x".repeat(at % 97));
    NewMessage::new(text.into_bytes()).flags(["", "\\Seen", "\\Flagged Work", "\\Answered"][at % 4]).date(&date)
}

/// Bodies with their flags and dates, and how often each is there.
fn held(server: &Server) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for message in server.account("u").messages("INBOX").unwrap() {
        let flags = BTreeSet::from_iter(message.flags);
        let whole = format!("{} {flags:?} {}", message.body.escape_ascii(), message.date);
        *held.entry(whole).or_default() += 1;
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_copied_adopted_and_gone_on_with_as_a_small_one_is() {
    let source = Server::start(Config::plain("u")).await.unwrap();
    let target = Server::start(Config::plain("u")).await.unwrap();
    for at in 0..MANY {
        source.account("u").add("INBOX", message(at)).unwrap();
    }
    let haul = || Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("u", "u").in_memory();
    let first = haul().on_top("order = \"newest\"").with("[transfer]\nsample = \"100%\"");
    let ran = first.run().await;
    ran.assert_complete();
    assert_eq!(ran.copied(), MANY as u64);
    assert_eq!(ran.end.accounts[0].evidence, [(Evidence::BytesEqual, MANY as u64)].into());
    assert!(held(&source) == held(&target) && held(&target).values().all(|count| *count == 1));
    // From another state nothing is known of them: they are there already.
    let other = haul();
    let ran = other.run().await;
    ran.assert_complete();
    assert_eq!(ran.copied(), 0);
    for at in MANY..MANY + NEW {
        source.account("u").add("INBOX", message(at)).unwrap();
    }
    for haul in [other, first] {
        haul.run().await.assert_complete();
    }
    assert!(held(&source) == held(&target) && held(&target).len() == MANY + NEW);
}
