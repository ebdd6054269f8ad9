//! Several connections share one large folder where that is of use; nothing that is promised of one changes by it.

use crate::identity::{Two, dated, two_of};
use crate::limits::World;
use crate::support::haul::{Haul, Side};
use mailhaul::transfer::{Ending, Event};
use mailhaul_testserver::{Act, Config, Nth, Point};
use std::collections::BTreeSet;
use std::time::Duration;

const MESSAGES: usize = 2000;

/// Takes its time over each of these commands.
async fn slow(at_source: Option<u64>, at_target: Option<u64>) -> Two {
    // Whose folders take several at once.
    slow_to("Dovecot ready.", at_source, at_target).await
}

async fn slow_to(greeting: &str, at_source: Option<u64>, at_target: Option<u64>) -> Two {
    let mut target = Config::plain("u");
    target.greeting = greeting.to_owned();
    let two = two_of(Config::plain("u"), target).await;
    for at in 0..MESSAGES {
        let body = format!("Subject: {at}\r\n\r\n{}\r\n", "so it goes. ".repeat(600));
        two.give("INBOX", dated(body, at));
    }
    let delay = |millis| Act::Delay(Duration::from_millis(millis));
    if let Some(millis) = at_source {
        two.source.faults().add(Point::command("UID FETCH"), Nth::First(30), delay(millis));
    }
    if let Some(millis) = at_target {
        two.target.faults().add(Point::command("APPEND"), Nth::First(30), delay(millis));
    }
    two
}

/// Every message is there once. Gives the subjects in the target's order.
fn assert_each_once(two: &Two) -> Vec<usize> {
    let there = two.target.account("u").messages("INBOX").unwrap();
    let subjects: Vec<usize> = there
        .iter()
        .map(|message| {
            let text = String::from_utf8_lossy(&message.body);
            text.lines().next().unwrap().trim_start_matches("Subject: ").parse().unwrap()
        })
        .collect();
    let distinct: BTreeSet<usize> = subjects.iter().copied().collect();
    assert_eq!((subjects.len(), distinct.len()), (MESSAGES, MESSAGES));
    subjects
}

fn at_once(two: &Two) -> (usize, usize) {
    let most = |server: &mailhaul_testserver::Server| server.stats().most_at_once.values().copied().max().unwrap_or(0);
    (most(&two.source), most(&two.target))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_waited_for_is_read_over_several_connections() {
    let two = slow(Some(1000), None).await;
    two.haul.run().await.assert_complete();
    assert_each_once(&two);
    let (source, target) = at_once(&two);
    assert!((2..=4).contains(&source) && target == 1, "{source} and {target}");
    assert_eq!(two.haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_waited_for_is_written_over_several_connections() {
    let two = slow(None, Some(400)).await;
    two.haul.run().await.assert_complete();
    assert_each_once(&two);
    let (source, target) = at_once(&two);
    assert!((2..=4).contains(&target) && source == 1, "{source} and {target}");
    assert_eq!(two.haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_which_it_is_not_known_whether_it_can_gets_one() {
    let two = slow_to("ready", None, Some(100)).await;
    two.haul.run().await.assert_complete();
    assert_eq!(at_once(&two), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_the_exact_order_gets_it() {
    let mut two = slow(Some(300), Some(20)).await;
    two.haul = two.haul.on_top("order = \"exact\"");
    two.haul.run().await.assert_complete();
    assert_eq!(assert_each_once(&two), (0..MESSAGES).collect::<Vec<_>>());
    assert_eq!(at_once(&two), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_beside_others_loses_nothing_and_brings_nothing_twice() {
    for (at_source, at_target) in [(Some(1000), None), (None, Some(400))] {
        let two = slow(at_source, at_target).await;
        let far = Point::FetchBody(1500);
        two.source.faults().add(far, Nth::Only(1), Act::Drop);
        two.target.faults().add(Point::AppendContaining(b"Subject: 900\r\n".to_vec()), Nth::Only(1), Act::SwallowReply);
        let ran = two.haul.run().await;
        assert_eq!(ran.end.accounts[0].ending, Ending::Complete, "{:#?}", ran.end);
        assert_each_once(&two);
        assert_eq!(two.haul.run().await.copied(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_no_further_connection_is_asked_once() {
    let two = slow(Some(700), None).await;
    let verbs = ["LOGIN", "AUTHENTICATE"];
    for verb in verbs {
        let refusal = Act::Reply("NO [LIMIT] too many connections".to_owned());
        two.source.faults().add(Point::command(verb), Nth::From(2), refusal);
    }
    two.haul.run().await.assert_complete();
    assert_each_once(&two);
    let asked = two.source.log().iter().filter(|logged| verbs.contains(&logged.verb.as_str())).count();
    assert_eq!(asked, 2, "sign-ins");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_share_a_host_take_their_part_and_ask_for_nothing_back() {
    const USERS: usize = 6;
    let names: Vec<String> = (0..USERS).map(|at| format!("u{at}")).collect();
    let config = || names.iter().fold(Config::plain("u"), |config, name| config.user(name, "pass"));
    let source = mailhaul_testserver::Server::start(config()).await.unwrap();
    let target = mailhaul_testserver::Server::start(config()).await.unwrap();
    target.faults().add(Point::command("APPEND"), Nth::All, Act::Delay(Duration::from_millis(20)));
    let mut haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .with("[limits.host]\nconnections = 8\n[transfer]\naccounts = 6");
    for name in &names {
        // Who has more goes on with what the others leave.
        for folder in 0..if name == "u0" { 40 } else { 5 } {
            let folder = format!("f{folder}");
            source.account(name).create(&folder).unwrap();
            for at in 0..20 {
                let message = dated(format!("Subject: {name} {folder} {at}\r\n\r\n{at}\r\n"), at);
                source.account(name).add(&folder, message).unwrap();
            }
        }
        haul = haul.user(name, name);
    }
    let ran = haul.run().await;
    ran.assert_complete();
    assert_eq!(ran.copied(), (40 + 5 * 5) * 20);
    for stats in [source.stats(), target.stats()] {
        assert!(stats.most_open <= 8 && stats.most_at_once["u0"] > 1 && stats.most_at_once["u1"] == 1, "{stats:?}");
    }
    // Had they taken what they could, each would have been asked for some of it.
    let waits = ran.events.iter().filter(|event| matches!(event, Event::Waiting { .. })).count();
    assert_eq!(waits, 0);
    assert!(source.log().iter().filter(|logged| logged.verb == "EXAMINE").count() <= (40 + 5 * 5) * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_folder_is_listed_while_the_copies_of_one_are_proven_over_no_more_connections() {
    let mut two = two_of(Config::plain("u"), Config::plain("u")).await;
    let folders = ["INBOX", "a", "b", "c"];
    for folder in folders {
        if folder != "INBOX" {
            two.source.account("u").create(folder).unwrap();
        }
        for at in 0..20 {
            two.give(folder, dated(format!("Subject: {folder} {at}\r\n\r\nso it goes\r\n"), at));
        }
    }
    two.haul = two.haul.with("[limits]\nconnections = 1");
    // Nothing else of the target is read in messages: what is there was just made.
    let held = two.target.faults().hold(Point::command("UID FETCH"), Nth::Only(1));
    let opened = || {
        let log = two.source.log();
        let names =
            log.iter().filter(|logged| logged.verb == "EXAMINE").map(|logged| logged.line.split_once(' ').unwrap().1);
        names.map(str::to_owned).collect::<BTreeSet<String>>().len()
    };
    let (ran, in_time) = tokio::join!(two.haul.run(), async {
        held.reached().await;
        let next = async {
            while opened() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), next).await;
        held.release();
        in_time
    });
    in_time.unwrap();
    ran.assert_complete();
    assert_eq!(ran.copied(), folders.len() as u64 * 20);
    assert_eq!(at_once(&two), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_next_folder_is_fetched_when_all_of_one_has_come_however_long_it_goes_out() {
    let world = World::new(&["u"], "[limits]\nconnections = 3");
    for folder in ["a", "b", "c", "d", "e"] {
        world.source.account("u").create(folder).unwrap();
        world.fill_folder("u", folder, 20, 300);
    }
    let held = world.target.faults().hold(Point::command("APPEND"), Nth::All);
    let coming = world.source.faults().hold(Point::FetchBody(20), Nth::First(2));
    let fetched = || world.source.log().iter().filter(|logged| logged.line.contains("1:20 (UID BODY.PEEK[])")).count();
    let (ran, (early, took)) = tokio::join!(world.run(), async {
        coming.reached().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let early = fetched();
        coming.release();
        let begun = tokio::time::Instant::now();
        while fetched() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        held.release();
        (early, begun.elapsed())
    });
    ran.assert_complete();
    assert_eq!(early, 2, "a connection is kept for the next");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sides_that_allow_other_numbers_of_connections_come_to_an_end_with_no_more_than_theirs() {
    for (at_source, at_target) in [(4, 2), (2, 4), (1, 3), (3, 1)] {
        takes_at_most(at_source, at_target).await;
    }
}

async fn takes_at_most(at_source: usize, at_target: usize) {
    let mut two = two_of(Config::plain("u"), Config::plain("u")).await;
    for folder in 0..12 {
        let name = format!("f{folder}");
        two.source.account("u").create(&name).unwrap();
        for at in 0..30 {
            two.give(&name, dated(format!("Subject: {folder} {at}\r\n\r\nso it goes\r\n"), at));
        }
    }
    two.target.faults().add(Point::command("APPEND"), Nth::All, Act::Delay(Duration::from_millis(20)));
    let limits = format!("[limits.source]\nconnections = {at_source}\n[limits.target]\nconnections = {at_target}");
    two.haul = two.haul.with(&limits);
    let ran = two.haul.run().await;
    ran.assert_complete();
    assert_eq!(ran.copied(), 12 * 30);
    let (source, target) = at_once(&two);
    assert!(source <= at_source && target <= at_target, "{source} and {target}");
    assert!(source.max(target) > 1, "{source} and {target}");
    assert!(!ran.events.iter().any(|event| matches!(event, Event::Waiting { .. })));
}
