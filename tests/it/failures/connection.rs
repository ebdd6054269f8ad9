//! Section E: connections, state and limits. Others of it are where their servers are: 66, 73 to 75 in `epochs`, 68, 72, 77,
//! 78 and 82 in `recovery`, 70 and 83 in `program`.

use crate::identity::{Two, dated, two, two_of};
use crate::recovery::content;
use crate::support::compare::{self, Comparison, Kind as Difference};
use crate::support::fill::{fill, joined};
use crate::support::haul::{Haul, Side};
use crate::support::judge::judge;
use crate::support::proxy::Proxy;
use crate::support::{Courier, Cyrus, Dovecot, courier, cyrus, dovecot};
use mailhaul::failure::Kind;
use mailhaul::mail::Fate;
use mailhaul::transfer::{Ending, Event, Mode};
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Act, Config, Doubles, Features, Literals, Nth, Point};
use std::time::Duration;

fn message(at: usize) -> Vec<u8> {
    format!("Message-ID: <{at}@x>\r\nSubject: {at}\r\n\r\nbody {at}\r\n").into_bytes()
}

fn single() -> Features {
    Features { multiappend: false, ..Features::default() }
}

async fn filled(target: Config, messages: usize) -> Two {
    let two = two_of(Config::plain("u"), target).await;
    for at in 0..messages {
        two.give("INBOX", dated(message(at), at));
    }
    two
}

async fn assert_equal(two: &Two, what: &str) {
    two.haul.run().await.assert_complete();
    assert!(content(&two.source) == content(&two.target), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f68_every_tenth_answer_lost_on_real_servers_makes_no_second_copy() {
    let options = GenerateOptions { deleted: false, headerless: false, ..GenerateOptions::tame() };
    let folders: Vec<_> = generate::mailbox(31, 200, &options)
        .into_iter()
        .filter(|folder| folder.path.join("").chars().all(|c| c.is_ascii_alphanumeric() || c == ' '))
        .collect();
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    fill(&mut source.client("anna"), &folders, |path| joined("", '/', path));
    let quick = "[transfer]\ntimeout = \"5s\"\nsettle = \"200ms\"";
    let side = |proxy: &Proxy| Side { password: "pass".to_owned(), ..Side::plain(proxy.port()) };
    if let Some(target) = Dovecot::start_or_skip(dovecot::Options::default()) {
        let proxy = Proxy::start(target.imap(), 10).await;
        let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), side(&proxy)).user("anna", "anna");
        haul.with(quick).run().await.assert_complete();
        assert!(proxy.lost() > 0);
        compare::assert_same(&mut source.client("anna"), &mut target.client("anna"));
    }
    if let Some(target) = Cyrus::start_or_skip(cyrus::Options::default()) {
        let proxy = Proxy::start(target.imap(), 10).await;
        let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), side(&proxy)).user("anna", "u0001");
        haul.with(quick).run().await.assert_complete();
        assert!(proxy.lost() > 0);
        compare::assert_same(&mut source.client("anna"), &mut target.client("u0001"));
    }
    if let Some(target) = Courier::start_or_skip(courier::Options::default()) {
        let proxy = Proxy::start(target.imap(), 10).await;
        let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), side(&proxy)).user("anna", "u0001");
        let haul = haul.with(quick);
        haul.run().await;
        assert!(proxy.lost() > 0);
        // It gives a line end to what has none: then one is missing for each that is too many.
        let found = Comparison::default().differences(&mut source.client("anna"), &mut target.client("u0001"));
        let count = |kind| found.iter().filter(|one| one.kind == kind).count();
        assert_eq!(count(Difference::Missing), count(Difference::Surplus), "{found:#?}");
        judge(&haul, &mut source.client("anna"), &mut target.client("u0001")).await.assert_true();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f69_two_copies_found_where_one_was_sent_are_no_reason_for_a_third() {
    for uidplus in [true, false] {
        let two = filled(Config { features: Features { uidplus, ..single() }, ..Config::plain("u") }, 1).await;
        let held = two.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(1));
        two.haul.run_dropped_at(held).await;
        two.has("INBOX", dated(message(0), 0));
        for _ in 0..2 {
            let ran = two.haul.run().await;
            assert_eq!(
                (ran.end.accounts[0].ending, ran.end.accounts[0].surplus),
                (Ending::Exceptions, 1),
                "it is told"
            );
            assert_eq!(two.on_target("INBOX"), 2, "UIDPLUS: {uidplus}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f71_a_second_run_with_nothing_new_appends_nothing_also_where_the_target_rewrites() {
    let rewriting = Config {
        munge_eight_bit_headers: true,
        nul_becomes_80: true,
        zone_kept: false,
        features: Features { uidplus: false, ..Features::default() },
        ..Config::plain("u")
    };
    let two = two_of(Config::plain("u"), rewriting).await;
    for (at, body) in
        [&b"Subject: gr\xfcn\r\n\r\na\0b\r\n"[..], b"\r\nno header\r\n", b"X-A: \xff\r\n\r\n\0"].iter().enumerate()
    {
        for _ in 0..2 {
            two.give("INBOX", dated(body.to_vec(), at));
        }
    }
    assert_eq!(two.haul.run().await.copied(), 6);
    two.target.clear_log();
    // Once with what is known, once with nothing but what is there.
    assert_eq!(two.haul.run().await.copied(), 0);
    std::fs::remove_dir_all(two.haul.state()).unwrap();
    assert_eq!(two.haul.run().await.copied(), 0);
    assert!(!two.target.log().iter().any(|logged| logged.verb == "APPEND"));
    assert_eq!(two.on_target("INBOX"), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn f71_what_a_target_writes_into_every_header_makes_no_second_copy() {
    const MESSAGES: usize = 20;
    let weak = Features { uidplus: false, ..single() };
    let two = filled(Config { features: weak, ..Config::plain("u") }, MESSAGES).await;
    let held = two.target.faults().hold(Point::command("EXAMINE"), Nth::Only(2));
    let rewrite = async {
        held.reached().await;
        let uids: Vec<u32> = (1..=MESSAGES as u32).collect();
        two.target.account("u").expunge("INBOX", &uids).unwrap();
        for at in 0..MESSAGES {
            two.has("INBOX", dated([b"X-Scanned: yes\r\n", &message(at)[..]].concat(), at));
        }
        held.release();
    };
    let (ran, ()) = tokio::join!(two.haul.run(), rewrite);
    let end = &ran.end.accounts[0];
    assert_eq!((ran.copied(), end.ending), (20, Ending::Exceptions), "it is told");
    assert_eq!((end.fates.len(), end.fates[&Fate::Copied]), (1, 20), "{end:#?}");
    // Once with what is known, once with nothing but what is there.
    assert_eq!(two.haul.run().await.copied(), 0);
    std::fs::remove_dir_all(two.haul.state()).unwrap();
    assert_eq!((two.haul.run().await.copied(), two.on_target("INBOX")), (0, MESSAGES));
}

#[tokio::test(flavor = "multi_thread")]
async fn f76_what_a_server_says_between_bodies_is_taken_for_no_body() {
    let two = filled(Config::plain("u"), 40).await;
    let noise = b"* 40 EXISTS\r\n* 3 FETCH (FLAGS (\\Seen) UID 4)\r\n* OK Still here\r\n* 9 FETCH (FLAGS ())\r\n\
        * 35 FETCH (FLAGS (\\Flagged) UID 35)\r\n";
    two.source.faults().add(Point::FetchUid(7), Nth::All, Act::Garbage(noise.to_vec()));
    two.source.faults().add(Point::FetchUid(30), Nth::All, Act::Garbage(noise.to_vec()));
    assert_eq!(two.haul.run().await.copied(), 40);
    let bodies = |server: &mailhaul_testserver::Server| -> Vec<Vec<u8>> {
        server.account("u").messages("INBOX").unwrap().iter().map(|message| message.body.to_vec()).collect()
    };
    assert_eq!(bodies(&two.source), bodies(&two.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn f77_a_limit_of_traffic_is_waited_for_and_is_no_full_mailbox() {
    let two = filled(Config { features: single(), ..Config::plain("u") }, 30).await;
    let words = "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)";
    let rule = two.target.faults().add(Point::command("APPEND"), Nth::From(10), Act::Reply(words.to_owned()));
    let ran = two.haul.run().await;
    // The wait is longer than this run's patience: nothing is listed as refused, and it goes on later.
    let end = &ran.end.accounts[0];
    assert_eq!((end.ending, end.failure.as_ref().unwrap().kind), (Ending::Parked, Kind::Throttled), "{end:#?}");
    assert!(!end.fates.contains_key(&Fate::Refused));
    two.target.faults().remove(rule);
    assert_equal(&two, "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f79_trycreate_at_random_is_tried_again_and_of_one_message_alone_it_is_that_messages_end() {
    let words = "NO [TRYCREATE] APPEND error finding folder";
    for features in [single(), Features { uidplus: false, ..Features::default() }] {
        let two = filled(Config { features, ..Config::plain("u") }, 30).await;
        two.target.faults().add(Point::command("APPEND"), Nth::Every(7), Act::Reply(words.to_owned()));
        assert_equal(&two, "at random").await;
    }
    let two = filled(Config { features: single(), ..Config::plain("u") }, 5).await;
    two.source.account("u").create("Other").unwrap();
    two.give("Other", dated(message(9), 9));
    let rule = two.target.faults().add(
        Point::AppendContaining(b"Subject: 3".to_vec()),
        Nth::All,
        Act::Reply(words.to_owned()),
    );
    let ran = two.haul.run().await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.ending, end.folders_failed.len(), two.on_target("Other")), (Ending::Exceptions, 0, 1), "{end:#?}");
    assert_eq!((end.fates[&Fate::Refused], end.fates[&Fate::Copied], two.on_target("INBOX")), (1, 5, 4), "{end:#?}");
    let told = |event: &Event| matches!(event, Event::MessageFailed { words, .. } if words.contains("TRYCREATE"));
    assert_eq!(ran.events.iter().filter(|event| told(event)).count(), 1);
    two.target.faults().remove(rule);
    two.haul.run_in(Mode { retry: true, ..Mode::default() }).await.assert_complete();
    assert_equal(&two, "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_numbers_itself_anew_and_refuses_is_not_asked_for_ever() {
    let two = filled(Config { features: single(), ..Config::plain("u") }, 8).await;
    let words = "NO [TRYCREATE] no such folder";
    let faults = two.target.faults();
    faults.add(Point::after_execute("APPEND"), Nth::All, Act::ChangeUidValidity(b"INBOX".to_vec()));
    faults.add(Point::command("APPEND"), Nth::From(4), Act::Reply(words.to_owned()));
    let ran = tokio::time::timeout(Duration::from_secs(60), two.haul.run()).await.expect("it ends");
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions, "{:#?}", ran.end);
}

#[tokio::test(flavor = "multi_thread")]
async fn f80_a_sign_in_that_ends_in_mid_run_is_renewed_or_stops_the_account_alone() {
    let bye = || Act::Bye("Session invalidated - AccessTokenExpired".to_owned());
    let two = filled(Config { features: single(), ..Config::plain("u") }, 30).await;
    two.target.faults().add(Point::command("APPEND"), Nth::Only(10), bye());
    two.source.faults().add(Point::command("UID FETCH"), Nth::Only(3), bye());
    assert_equal(&two, "renewed").await;

    for words in ["", "BAD User is authenticated but not connected."] {
        let two = filled(Config { features: single(), ..Config::plain("u") }, 30).await;
        two.target.faults().add(Point::command("APPEND"), Nth::Only(10), bye());
        let held = two.target.faults().hold(Point::command("APPEND"), Nth::Only(5));
        let (context, _events) = two.haul.context();
        let ledger = context.ledger.clone();
        let running = tokio::spawn(mailhaul::transfer::run(context));
        held.reached().await;
        let expected = match words {
            "" => {
                two.target.set_password("u", "another");
                Kind::SignInRefused
            }
            words => {
                two.target.faults().add(Point::command("EXAMINE"), Nth::All, Act::Reply(words.to_owned()));
                Kind::MailboxClosed
            }
        };
        held.release();
        let end = running.await.unwrap();
        ledger.close().await.unwrap();
        let end = &end.accounts[0];
        assert_eq!((end.ending, end.failure.as_ref().unwrap().kind), (Ending::Failed, expected), "{end:#?}");
        two.target.set_password("u", "pass");
        two.target.faults().clear();
        assert_equal(&two, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f81_no_byte_of_a_message_follows_a_refusal_that_came_before_it() {
    for literals in [Literals::Minus, Literals::Synchronising] {
        let features = Features { literals, ..single() };
        let strict = Config { features, executes_refused_literals: true, ..Config::plain("u") };
        let two = two_of(Config::plain("u"), strict).await;
        let commands = "x1 CREATE Taken\r\nx2 LOGOUT\r\n".repeat(300);
        for subject in ["refused", "taken"] {
            two.give("INBOX", dated(format!("Subject: {subject}\r\n\r\n{commands}"), 1));
        }
        for at in 0..5 {
            two.give("INBOX", dated(message(at), at));
        }
        let refusal = Act::Reply("NO [TOOBIG] too big".to_owned());
        two.target.faults().add(Point::command("APPEND"), Nth::First(1), refusal);
        assert_eq!(two.haul.run().await.copied(), 7);
        assert!(two.target.account("u").folder("Taken").is_none());
        let verbs: Vec<String> = two.target.log().into_iter().map(|logged| logged.verb).collect();
        assert!(!verbs.iter().any(|verb| verb == "CREATE"), "{verbs:?}");
        // One go for each, and one more for the refused one.
        let verbs = verbs.iter().filter(|verb| *verb == "APPEND").count();
        assert_eq!((verbs, two.on_target("INBOX")), (8, 7));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f82_a_limit_now_and_then_loses_nothing() {
    for words in ["NO [LIMIT] Too much at once, try again", "NO [INUSE] Mailbox is locked", "NO [UNAVAILABLE] Busy"] {
        let two = filled(Config { features: single(), ..Config::plain("u") }, 40).await;
        two.target.faults().add(Point::command("APPEND"), Nth::Every(9), Act::Reply(words.to_owned()));
        if words.contains("INUSE") {
            // It names ten seconds.
            two.target.faults().clear();
            two.target.faults().add(Point::command("APPEND"), Nth::Only(9), Act::Reply(words.to_owned()));
        }
        assert_equal(&two, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f83_a_source_that_hangs_up_on_who_is_idle_loses_nothing() {
    let idle = Config { idle_max: Some(Duration::from_millis(400)), ..Config::plain("u") };
    let source = mailhaul_testserver::Server::start(idle).await.unwrap();
    let target = mailhaul_testserver::Server::start(Config::plain("u")).await.unwrap();
    source.account("u").create("Second").unwrap();
    for at in 0..60 {
        source.account("u").add(if at < 40 { "INBOX" } else { "Second" }, dated(message(at), at)).unwrap();
    }
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("u", "u").with(
        "[transfer]\ntimeout = \"5s\"\noutage = \"30s\"\n[limits]\nconnections = 1\n[limits.target]\nmessages_per_second = 20",
    );
    haul.run().await.assert_complete();
    assert!(content(&source) == content(&target));
    assert!(source.stats().connections > 1, "it never hung up");
}

#[tokio::test(flavor = "multi_thread")]
async fn f84_no_number_of_refused_messages_ends_a_run_and_a_retry_submits_those_alone() {
    let two = two().await;
    for at in 0..150 {
        two.give("INBOX", dated(format!("Subject: bad {at}\r\n\r\n{at}\r\n"), at));
        if at % 10 == 0 {
            two.give("INBOX", dated(message(at), at));
        }
    }
    let rule = two.target.faults().add(
        Point::AppendContaining(b"Subject: bad".to_vec()),
        Nth::All,
        Act::Reply("NO Message rejected".to_owned()),
    );
    let ran = two.haul.run().await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.ending, end.fates[&Fate::Refused], end.fates[&Fate::Copied]), (Ending::Exceptions, 150, 15));
    assert_eq!(ran.listed().len(), 150, "every one is listed");
    two.target.faults().remove(rule);
    let ran = two.haul.run_in(Mode { retry: true, ..Mode::default() }).await;
    ran.assert_complete();
    assert_eq!((ran.copied(), two.on_target("INBOX")), (150, 165));
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_f79_what_is_acknowledged_and_not_shown_is_sent_once_however_many_passes_there_are() {
    let features = Features { uidplus: false, ..single() };
    let two = two_of(Config::plain("u"), Config { doubles: Doubles::Dropped, features, ..Config::plain("u") }).await;
    two.source.account("u").create("Work").unwrap();
    let text = |subject: &str| format!("Message-ID: <same@x>\r\nSubject: {subject}\r\n\r\n{subject}\r\n");
    for at in 0..6 {
        two.give("Work", dated(text(&at.to_string()), at));
    }
    two.give("Work", dated(message(99), 9));
    let refused = Act::Reply("NO [TRYCREATE] no such folder".to_owned());
    let rule = two.target.faults().add(Point::AppendContaining(b"Subject: 99".to_vec()), Nth::All, refused);
    let ran = two.haul.run().await;
    let fates = &ran.end.accounts[0].fates;
    assert_eq!((fates[&Fate::Missing], fates[&Fate::Copied], fates[&Fate::Refused]), (5, 1, 1), "{:#?}", ran.end);
    assert!(two.target.faults().fired(rule) > 2, "there were several passes");
    assert_eq!(two.target.stats().appends, 6, "executed, not refused");
}
