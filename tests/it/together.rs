//! Several messages in one command (MULTIAPPEND, RFC 3502): one that is refused takes none of the others along.

use crate::identity::{dated, two_of};
use crate::support::client::Client;
use crate::support::haul::{Haul, Side};
use crate::support::judge::judge;
use crate::support::{Cyrus, Dovecot, cyrus, dovecot};
use mailhaul::mail::Fate;
use mailhaul::transfer::Ending;
use mailhaul_testserver::{Act, Config, Nth, Point};
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_takes_nobody_along() {
    const MESSAGES: usize = 400;
    let two = two_of(Config::plain("u"), Config::plain("u")).await;
    two.source.account("u").create("before").unwrap();
    for at in 0..MESSAGES {
        two.give("before", dated(format!("Subject: {at}\r\n\r\nbody {at}\r\n"), at));
    }
    assert_eq!(two.haul.run().await.copied(), MESSAGES as u64);
    // How many go together depends on what is ready; had each gone alone, there would be a command for each.
    let appends = two.target.stats().appends;
    assert!(appends < MESSAGES as u64, "{appends} commands");
    for at in 0..MESSAGES {
        let kind = if at % 40 == 7 { "bad" } else { "good" };
        two.give("INBOX", dated(format!("Subject: {kind} {at}\r\n\r\nbody {at}\r\n"), at));
    }
    let refusal = Act::Reply("NO rejected by policy".to_owned());
    two.target.faults().add(Point::AppendContaining(b"Subject: bad".to_vec()), Nth::All, refusal);
    let ran = two.haul.run().await;
    let end = &ran.end.accounts[0];
    let fates = (end.fates[&Fate::Copied], end.fates[&Fate::Refused]);
    assert_eq!((end.ending, fates), (Ending::Exceptions, (390 + MESSAGES as u64, 10)));
    let there: Vec<_> = two.target.account("u").messages("INBOX").unwrap();
    let bodies: BTreeSet<&[u8]> = there.iter().map(|message| &message.body[..]).collect();
    assert_eq!((there.len(), bodies.len()), (390, 390), "each once");
    assert_eq!(two.haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_and_refused_with_others_is_not_sent_again() {
    const MESSAGES: usize = 300;
    let two = two_of(Config::plain("u"), Config::plain("u")).await;
    for at in 0..MESSAGES {
        two.give("INBOX", dated(format!("Subject: {at}\r\n\r\nbody {at}\r\n"), at));
    }
    two.target.faults().add(Point::command("APPEND"), Nth::Only(3), Act::RefuseHalf);
    let ran = two.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Complete, "{:#?}", ran.end);
    let there: Vec<_> = two.target.account("u").messages("INBOX").unwrap();
    let bodies: BTreeSet<&[u8]> = there.iter().map(|message| &message.body[..]).collect();
    assert_eq!((there.len(), bodies.len()), (MESSAGES, MESSAGES), "each once");
    assert_eq!(two.haul.run().await.copied(), 0);
}

/// All are full of commands, some are refused: nobody carries out what follows a refused one in its command.
async fn assert_no_byte_is_a_command(source: &Dovecot, target: Side, user: &str, refused: usize, client: &mut Client) {
    let before = client.list().len();
    let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), target).user("anna", user);
    let ran = haul.run().await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.fates[&Fate::Copied], end.fates[&Fate::Refused]), (60, refused as u64), "{end:#?}");
    judge(&haul, &mut source.client("anna"), client).await.assert_true();
    assert_eq!(client.list().len(), before, "no folder was made by a line of a message");
    assert_eq!(haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_real_servers_no_byte_of_those_around_a_refused_one_is_a_command() {
    let commands = "x1 CREATE Taken\r\nx2 DELETE INBOX\r\nx3 LOGOUT\r\n";
    let fill = |client: &mut Client, bad: &[u8]| {
        for at in 0..60 {
            let message = format!("Subject: {at}\r\n\r\nbody {at}\r\n{}", commands.repeat(at % 7 * 10 + 1));
            client.store("INBOX", "\\Seen", "01-Feb-2021 03:04:05 +0100", message.as_bytes());
            if at % 20 == 9 {
                client.store("INBOX", "", "01-Feb-2021 03:04:05 +0100", bad);
            }
        }
    };
    let options = dovecot::Options {
        quota: Some(dovecot::Quota { storage: "100M", message_max: "5k" }),
        ..dovecot::Options::default()
    };
    if let (Some(source), Some(target)) =
        (Dovecot::start_or_skip(dovecot::Options::default()), Dovecot::start_or_skip(options))
    {
        let large = format!("Subject: large\r\n\r\n{}", commands.repeat(200));
        fill(&mut source.client("anna"), large.as_bytes());
        let side = Side::tls(target.imaps(), &target.ca_file());
        assert_no_byte_is_a_command(&source, side, "anna", 3, &mut target.client("anna")).await;
    }
    if let (Some(source), Some(target)) =
        (Dovecot::start_or_skip(dovecot::Options::default()), Cyrus::start_or_skip(cyrus::Options::default()))
    {
        let headless = format!("a line that is no field\r\n\r\n{}", commands.repeat(50));
        fill(&mut source.client("anna"), headless.as_bytes());
        let side = Side::tls(target.imaps(), &target.ca_file());
        assert_no_byte_is_a_command(&source, side, "u0001", 3, &mut target.client("u0001")).await;
    }
}
