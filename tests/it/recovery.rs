//! What a network, a server or a user can do in mid-run, and the end that is the same every time.

use crate::identity::{dated, two_of};
use crate::support::haul::{Haul, Ran, Side};
use mailhaul::failure::Kind;
use mailhaul::mail::{Evidence, Fate};
use mailhaul::transfer::{Ending, Event, Level, Mode};
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Act, Falsehood, Nth, Point};
use mailhaul_testserver::{Config, Features, Literals, NewMessage, Server};
use std::collections::BTreeMap;
use std::time::Duration;

/// Two servers with a mailbox of 120 messages at the source.
struct Pair {
    source: Server,
    target: Server,
    haul: Haul,
}

async fn pair(target_features: Features) -> Pair {
    let source = Server::start(Config::plain("u")).await.unwrap();
    // As strict as Courier about what is open while something is appended.
    let strict = Config { refuse_append_while_examined: true, features: target_features, ..Config::plain("u") };
    let target = Server::start(strict).await.unwrap();
    let options = GenerateOptions { deleted: false, ..GenerateOptions::default() };
    source.account("u").fill(&generate::mailbox(7, 120, &options)).unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .user("u", "u")
        .with("[transfer]\ntimeout = \"3s\"\noutage = \"60s\"\nfirst_contact = \"5s\"\n[limits]\nconnections = 2");
    Pair { source, target, haul }
}

/// Folder by folder, how often each message is there: flags and bytes.
pub(crate) type Content = BTreeMap<String, BTreeMap<(Vec<String>, Vec<u8>), usize>>;

pub(crate) fn content(server: &Server) -> Content {
    let account = server.account("u");
    let mut all = BTreeMap::new();
    for folder in account.folders() {
        let messages = account.messages(&folder.name).unwrap_or_default();
        if messages.is_empty() {
            continue;
        }
        let counts: &mut BTreeMap<_, usize> = all.entry(folder.name.escape_ascii().to_string()).or_default();
        for message in messages {
            let mut flags: Vec<String> = message.flags.iter().map(|flag| flag.to_lowercase()).collect();
            flags.retain(|flag| flag != "\\recent");
            flags.sort();
            *counts.entry((flags, message.body.to_vec())).or_default() += 1;
        }
    }
    all
}

/// Runs to the end and shows that every message is there as often as at the source, and that nothing is left to do.
async fn assert_ends_equal(pair: &Pair, what: &str) {
    let ran = pair.haul.run().await;
    ran.assert_complete();
    let (source, target) = (content(&pair.source), content(&pair.target));
    for (folder, messages) in &source {
        let there = target.get(folder).cloned().unwrap_or_default();
        for ((flags, body), count) in messages {
            let found = there.get(&(flags.clone(), body.clone())).copied().unwrap_or(0);
            assert_eq!(found, *count, "{what}: {folder}: {flags:?} {}", body.escape_ascii());
        }
    }
    assert!(source == target, "{what}: the target holds more than the source");
    pair.source.faults().clear();
    pair.target.faults().clear();
    let again = pair.haul.run().await;
    again.assert_complete();
    assert_eq!(again.copied(), 0, "{what}");
}

/// The target with everything, and without what makes it easy.
fn targets() -> [(&'static str, Features); 3] {
    let plain = Features { uidplus: false, ..Features::default() };
    let weak = Features {
        unselect: false,
        literals: Literals::Synchronising,
        multiappend: false,
        condstore: false,
        ..plain.clone()
    };
    [("full", Features::default()), ("without UIDPLUS", plain), ("weak", weak)]
}

async fn check_target_fault(name: &str, rules: &[(Point, Nth, Act)]) {
    for (target, features) in targets() {
        let pair = pair(features).await;
        for (at, nth, act) in rules {
            pair.target.faults().add(at.clone(), *nth, act.clone());
        }
        assert_ends_equal(&pair, &format!("{name}, target {target}")).await;
    }
}

async fn check_source_fault(name: &str, rules: &[(Point, Nth, Act)]) {
    let pair = pair(Features::default()).await;
    for (at, nth, act) in rules {
        pair.source.faults().add(at.clone(), *nth, act.clone());
    }
    assert_ends_equal(&pair, name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f68_a_lost_acknowledgement_makes_no_second_copy() {
    check_target_fault("lost OK", &[(Point::command("APPEND"), Nth::Every(10), Act::SwallowReply)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_or_in_an_append_is_made_good() {
    check_target_fault("dropped", &[(Point::command("APPEND"), Nth::Every(40), Act::Drop)]).await;
    check_target_fault("reset", &[(Point::after_execute("APPEND"), Nth::Every(30), Act::Reset)]).await;
    check_target_fault("in the literal", &[(Point::literal("APPEND", 10), Nth::Every(35), Act::Reset)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_lands_after_the_connection_died_is_not_sent_again() {
    let late = Act::CommitLate(Duration::from_millis(900));
    check_target_fault("late", &[(Point::command("APPEND"), Nth::Only(30), late)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_the_target_is_not_waited_for_for_ever() {
    check_target_fault("silent", &[(Point::after_execute("APPEND"), Nth::Only(20), Act::Stall)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f77_a_stated_wait_is_obeyed_and_nothing_is_lost() {
    let throttled = "BAD Request is throttled. Suggested Backoff Time: 700 milliseconds";
    let rules = [(Point::command("APPEND"), Nth::Only(10), Act::Reply(throttled.to_owned()))];
    check_target_fault("throttled", &rules).await;
    let (pair, throttled) = (pair(Features::default()).await, throttled.replace("700", "2000"));
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(10), Act::Reply(throttled));
    let ran = pair.haul.run().await;
    ran.assert_complete();
    let waits = |event: &Event| matches!(event, Event::Waiting { seconds: 2, why, .. } if why.contains("throttled"));
    assert!(ran.events.iter().any(waits), "{:#?}", ran.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_in_mid_run_is_followed_by_a_new_session() {
    check_target_fault("bye", &[(Point::command("APPEND"), Nth::Only(40), Act::Bye("Session expired".into()))]).await;
    check_source_fault(
        "bye at the source",
        &[(Point::command("UID FETCH"), Nth::Only(9), Act::Bye("shutting down".into()))],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_breaks_stalls_or_talks_nonsense_is_asked_again() {
    check_source_fault("cut in a body", &[(Point::FetchLiteral(20), Nth::Every(30), Act::Reset)]).await;
    check_source_fault("silent", &[(Point::command("UID FETCH"), Nth::Only(12), Act::Stall)]).await;
    let garbage = Act::Garbage(b"\x00\xff* 1 FETCH ((((\r\nX nonsense\r\n".to_vec());
    check_source_fault("garbage", &[(Point::command("UID FETCH"), Nth::Only(15), garbage)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_fetch_is_tried_alone() {
    let refusal = "NO [UNAVAILABLE] UID FETCH Server error while fetching messages".to_owned();
    check_source_fault("refused", &[(Point::command("UID FETCH"), Nth::Only(20), Act::Reply(refusal))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f82_too_many_connections_mean_fewer_not_none() {
    let source = Server::start(Config { connections_per_user: Some(1), ..Config::plain("u") }).await.unwrap();
    let target = Server::start(Config { connections_per_user: Some(1), ..Config::plain("u") }).await.unwrap();
    source.account("u").fill(&generate::mailbox(8, 60, &GenerateOptions::default())).unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .user("u", "u")
        .with("[limits]\nconnections = 4\n[transfer]\noutage = \"60s\"");
    haul.run().await.assert_complete();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_either_server_is_waited_out() {
    let mut pair = pair(Features::default()).await;
    let held = pair.target.faults().hold(Point::command("APPEND"), Nth::Only(30));
    let (port, store) = (pair.target.port(), pair.target.store().clone());
    let (context, _events) = pair.haul.context();
    let running = tokio::spawn(mailhaul::transfer::run(context));
    held.reached().await;
    let stopped = std::mem::replace(&mut pair.target, Server::start(Config::plain("other")).await.unwrap());
    stopped.stop().await;
    // Long enough for some tries to fail.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    pair.target = Server::start_with(Config { port, ..Config::plain("u") }, store).await.unwrap();
    let end = running.await.unwrap();
    assert_eq!(end.accounts[0].ending, Ending::Complete, "{end:#?}");
    assert_ends_equal(&pair, "outage").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f78_a_full_target_stops_its_account_and_a_later_run_goes_on() {
    let source = Server::start(Config::plain("u")).await.unwrap();
    source
        .account("u")
        .fill(&generate::mailbox(9, 80, &GenerateOptions { deleted: false, ..Default::default() }))
        .unwrap();
    let target = Server::start(Config { quota_bytes: Some(15_000), ..Config::plain("u") }).await.unwrap();
    let (port, store) = (target.port(), target.store().clone());
    let haul = Haul::new(Side::plain(source.port()), Side::plain(port)).user("u", "u");
    let ran = haul.run().await;
    let account = &ran.end.accounts[0];
    assert_eq!(account.ending, Ending::Failed);
    assert_eq!(account.failure.as_ref().unwrap().kind, Kind::MailboxFull);
    target.stop().await;
    let target = Server::start_with(Config { port, ..Config::plain("u") }, store).await.unwrap();
    haul.run().await.assert_complete();
    assert_eq!(content(&source), content(&target));
}

#[tokio::test]
async fn a_run_that_is_killed_as_it_begins_can_be_gone_on_with() {
    let pair = pair(Features::default()).await;
    let (context, mut events) = pair.haul.context();
    let ledger = context.ledger.clone();
    let running = tokio::spawn(mailhaul::transfer::run(context));
    assert!(matches!(events.recv().await, Some(Event::JobStarted { .. })), "the first thing that anybody hears");
    running.abort();
    let _ = running.await;
    let known = ledger.accounts().await.unwrap();
    assert_ne!(known[0].state, mailhaul::checkpoint::AccountState::New, "begun: resume takes it up");
    ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_nothing_half_done() {
    let pair = pair(Features::default()).await;
    let held = pair.target.faults().hold(Point::command("APPEND"), Nth::Only(25));
    let (context, _events) = pair.haul.context();
    let stop = context.stop.clone();
    let ledger = context.ledger.clone();
    let running = tokio::spawn(mailhaul::transfer::run(context));
    held.reached().await;
    stop.cancel();
    held.release();
    let end = running.await.unwrap();
    assert_eq!(end.accounts[0].ending, Ending::Stopped);
    ledger.close().await.unwrap();
    assert_ends_equal(&pair, "stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_account_does_not_stop_the_others() {
    let source = Server::start(Config::plain("good").user("bad", "other")).await.unwrap();
    let target = Server::start(Config::plain("good").user("bad", "pass")).await.unwrap();
    source.account("good").fill(&generate::mailbox(10, 40, &GenerateOptions::default())).unwrap();
    let haul =
        Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("bad", "bad").user("good", "good");
    let ran = haul.run().await;
    assert_eq!(ran.end.accounts[0].failure.as_ref().unwrap().kind, Kind::SignInRefused);
    assert_eq!(ran.end.accounts[1].ending, Ending::Complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_the_source_lists_and_does_not_give_is_listed_as_unreadable() {
    let pair = pair(Features::default()).await;
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie_about(1, Falsehood::NilBody));
    let ran = pair.haul.run().await;
    let end = &ran.end.accounts[0];
    let first = content(&pair.source).len() as u64;
    assert_eq!(end.ending, Ending::Exceptions);
    assert_eq!((end.fates[&Fate::Unreadable], end.fates[&Fate::Copied]), (first, 120 - first));
    pair.source.faults().clear();
    let retry = pair.haul.run_in(Mode { retry: true, ..Mode::default() }).await;
    retry.assert_complete();
    assert_eq!(content(&pair.source), content(&pair.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn f72_a_source_that_counts_more_than_it_lists_is_never_complete() {
    let pair = pair(Features::default()).await;
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie_about(1, Falsehood::Hidden));
    let ran = pair.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    let (context, _events) = pair.haul.context();
    let ledger = context.ledger.clone();
    let verdict = mailhaul::transfer::verify(context, Level::Counts, 1.0).await;
    assert!(!verdict[0].is_good(), "what is not listed is not verified");
    ledger.close().await.unwrap();
    pair.source.faults().clear();
    assert_ends_equal(&pair, "listed later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f72_what_was_not_read_back_or_is_other_than_it_was_is_never_complete() {
    for nul_becomes_80 in [false, true] {
        let two = two_of(Config::plain("u"), Config { nul_becomes_80, ..Config::plain("u") }).await;
        two.give("INBOX", dated("Subject: odd\r\n\r\n\0\r\n", 1));
        // The first lists.
        let refused = Act::Reply("NO [SERVERBUG] try again".to_owned());
        two.target.faults().add(Point::command("UID FETCH"), Nth::From(2), refused);
        let ends = |ran: &Ran| (ran.end.accounts[0].ending, ran.end.accounts[0].evidence.clone());
        assert_eq!(ends(&two.haul.run().await), (Ending::Exceptions, BTreeMap::from([(Evidence::None, 1)])));
        two.target.faults().clear();
        let (ending, evidence) = match nul_becomes_80 {
            false => (Ending::Complete, Evidence::BytesEqual),
            true => (Ending::Exceptions, Evidence::BytesAltered),
        };
        assert_eq!(ends(&two.haul.run().await), (ending, BTreeMap::from([(evidence, 1)])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_breaks_the_connection_is_refused_and_its_neighbours_arrive() {
    let pair = pair(Features::default()).await;
    let poison = b"Subject: poison\r\n\r\npoison\r\n";
    pair.source.account("u").add("INBOX", NewMessage::new(poison.to_vec())).unwrap();
    pair.target.faults().add(Point::AppendContaining(b"Subject: poison".to_vec()), Nth::All, Act::Reset);
    let ran = pair.haul.run().await;
    let end = &ran.end.accounts[0];
    assert_eq!(
        (end.ending, end.fates[&Fate::Refused], end.fates[&Fate::Copied]),
        (Ending::Exceptions, 1, 120),
        "{end:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_breaks_the_source_is_unreadable_and_the_rest_arrives() {
    let pair = pair(Features::default()).await;
    let poison = [&b"Subject: poison\r\n\r\n"[..], &b"x".repeat(300_000), b"\r\n"].concat();
    pair.source.account("u").add("INBOX", NewMessage::new(poison)).unwrap();
    pair.source.faults().add(Point::FetchLiteral(250_000), Nth::All, Act::Reset);
    let ran = pair.haul.run().await;
    let end = &ran.end.accounts[0];
    let fates = (end.fates.get(&Fate::Unreadable), end.fates.get(&Fate::Copied));
    assert_eq!((end.ending, fates), (Ending::Exceptions, (Some(&1), Some(&120))), "{end:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_is_no_silence() {
    let source = Server::start(Config::plain("u")).await.unwrap();
    let target = Server::start(Config::plain("u")).await.unwrap();
    let body = [&b"Subject: long\r\n\r\n"[..], &b"x".repeat(40_000), b"\r\n"].concat();
    source.account("u").add("INBOX", NewMessage::new(body)).unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .user("u", "u")
        .with("[transfer]\ntimeout = \"1s\"\n[limits.target]\nbytes_per_second = \"10 KiB\"");
    let ran = haul.run().await;
    ran.assert_complete();
    assert!(!ran.events.iter().any(|event| matches!(event, mailhaul::transfer::Event::Waiting { .. })));
}
