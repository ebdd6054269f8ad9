//! Numbers that change and things that move: UIDVALIDITY, folders and messages, between runs and within them.

use crate::identity::{Two, dated, two, two_of};
use crate::recovery::content;
use mailhaul::mail::Fate;
use mailhaul::plan::Standing;
use mailhaul::transfer::{self, Ending, Level, Mode};
use mailhaul_testserver::{Act, Config, Features, Literals, NewMessage, Nth, Point};

/// Twins, headerless ones and gaps between UIDs on both sides.
async fn filled(features: Features) -> Two {
    let two = two_of(Config::plain("u"), Config { features, ..Config::plain("u") }).await;
    for at in 0..30 {
        two.give("INBOX", numbered(at));
    }
    two.source.account("u").expunge("INBOX", &[2, 5, 6, 11]).unwrap();
    let filler = two.has("INBOX", NewMessage::new("gone"));
    two.target.account("u").expunge("INBOX", &[filler]).unwrap();
    two
}

fn numbered(at: usize) -> NewMessage {
    let flags = if at.is_multiple_of(3) { "\\Seen" } else { "\\Flagged" };
    match at % 4 {
        0 => dated("Subject: twin\r\n\r\ntwin\r\n", 1),
        1 => dated(format!("\r\nwithout header {}\r\n", at / 8), 2),
        _ => dated(format!("Message-ID: <{at}@x>\r\nSubject: {at}\r\n\r\n{at}\r\n"), at),
    }
    .flags(flags)
}

fn weak() -> Features {
    Features { uidplus: false, multiappend: false, ..Features::default() }
}

/// Runs to the end, which is the same as always, and shows that nothing is left to do.
async fn assert_same(two: &Two, what: &str) {
    let ran = two.haul.run().await;
    ran.assert_complete();
    assert!(content(&two.source) == content(&two.target), "{what}: {} there", two.on_target("INBOX"));
    let again = two.haul.run().await;
    again.assert_complete();
    assert_eq!(again.copied(), 0, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f73_f74_another_uidvalidity_between_runs_is_reconciled_by_content() {
    for features in [Features::default(), weak()] {
        for (source, target) in [(true, false), (false, true), (true, true)] {
            let two = filled(features.clone()).await;
            two.haul.run().await.assert_complete();
            let change = |server: &mailhaul_testserver::Server, yes| {
                if yes {
                    server.account("u").renumber("INBOX").unwrap();
                }
            };
            change(&two.source, source);
            change(&two.target, target);
            let ran = two.haul.run().await;
            ran.assert_complete();
            assert_eq!(ran.copied(), 0, "source {source}, target {target}");
            assert!(content(&two.source) == content(&two.target), "source {source}, target {target}");
            // What came since is copied, and nothing else; and once more with both.
            two.give("INBOX", numbered(40));
            change(&two.source, true);
            change(&two.target, true);
            assert_same(&two, "later").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f73_another_uidvalidity_of_the_source_within_a_run_is_reconciled() {
    let act = Act::ChangeUidValidity(b"INBOX".to_vec());
    for features in [Features::default(), weak()] {
        for (at, nth) in [
            (Point::after_reply("EXAMINE"), 1),
            (Point::command("UID FETCH"), 1),
            (Point::command("UID FETCH"), 2),
            (Point::FetchUid(20), 1),
            (Point::FetchUid(20), 2),
            (Point::after_execute("UID FETCH"), 2),
            (Point::after_reply("UID FETCH"), 2),
            (Point::command("EXAMINE"), 2),
        ] {
            let two = filled(features.clone()).await;
            two.source.faults().add(at.clone(), Nth::Only(nth), act.clone());
            assert_same(&two, &format!("{at:?}, {nth}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f73_what_comes_under_new_numbers_is_not_taken_for_what_had_them() {
    let source = Config { follows_new_uids: true, ..Config::plain("u") };
    let two = two_of(source, Config::plain("u")).await;
    for at in 0..30 {
        two.give("INBOX", numbered(at));
    }
    two.source.account("u").expunge("INBOX", &[2, 5, 6, 11]).unwrap();
    // Between the listing and the bodies.
    let act = Act::ChangeUidValidity(b"INBOX".to_vec());
    two.source.faults().add(Point::command("UID FETCH"), Nth::Only(2), act);
    two.haul.run().await;
    let bodies = |server: &mailhaul_testserver::Server| {
        let messages = server.account("u").messages("INBOX").unwrap();
        let mut bodies: Vec<Vec<u8>> = messages.iter().map(|message| message.body.to_vec()).collect();
        bodies.sort();
        bodies
    };
    assert!(bodies(&two.source) == bodies(&two.target), "{} there", two.on_target("INBOX"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f74_another_uidvalidity_of_the_target_within_a_run_is_reconciled() {
    let act = Act::ChangeUidValidity(b"INBOX".to_vec());
    for features in [Features::default(), weak()] {
        for (at, nth) in [
            (Point::after_reply("EXAMINE"), 1),
            (Point::command("APPEND"), 1),
            (Point::command("APPEND"), 3),
            (Point::after_execute("APPEND"), 1),
            (Point::after_execute("APPEND"), 7),
            (Point::after_reply("APPEND"), 1),
            (Point::command("EXAMINE"), 2),
            (Point::after_reply("EXAMINE"), 2),
            (Point::command("UID FETCH"), 1),
            (Point::after_execute("UID FETCH"), 1),
        ] {
            let two = filled(features.clone()).await;
            two.target.faults().add(at.clone(), Nth::Only(nth), act.clone());
            assert_same(&two, &format!("{at:?}, {nth}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f73_f74_another_uidvalidity_between_a_crash_and_the_look_is_reconciled() {
    for features in [Features::default(), weak()] {
        for (source, target) in [(true, false), (false, true), (true, true)] {
            let two = filled(features.clone()).await;
            let held = two.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(1));
            two.haul.run_dropped_at(held).await;
            if source {
                two.source.account("u").renumber("INBOX").unwrap();
            }
            if target {
                two.target.account("u").renumber("INBOX").unwrap();
            }
            assert_same(&two, &format!("source {source}, target {target}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f74_another_uidvalidity_of_the_target_between_two_looks_is_reconciled() {
    let act = Act::ChangeUidValidity(b"INBOX".to_vec());
    for uidplus in [true, false] {
        // One by one: what was not asked for is not there.
        let features = Features { uidplus, literals: Literals::Synchronising, ..weak() };
        let two = filled(features).await;
        // Some twins have arrived and some have not; the ninth copy, a twin, is then where theirs was.
        let [during, held] = [8, 18].map(|nth| two.target.faults().hold(Point::command("APPEND"), Nth::Only(nth)));
        let theirs = async {
            during.reached().await;
            let theirs = two.has("INBOX", NewMessage::new("theirs"));
            during.release();
            theirs
        };
        let ((), theirs) = tokio::join!(two.haul.run_dropped_at(held), theirs);
        two.target.account("u").expunge("INBOX", &[theirs]).unwrap();
        two.target.faults().clear();
        two.target.faults().add(Point::command("EXAMINE"), Nth::Only(2), act.clone());
        assert_same(&two, "between two looks").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_user_removed_stays_removed_when_the_source_is_numbered_anew() {
    for seen_before in [true, false] {
        let two = filled(Features::default()).await;
        two.haul.run().await.assert_complete();
        two.target.account("u").expunge("INBOX", &[2, 3]).unwrap();
        if seen_before {
            two.haul.run().await;
        }
        let there = two.on_target("INBOX");
        for renumber in [true, false, true] {
            if renumber {
                two.source.account("u").renumber("INBOX").unwrap();
            }
            let ran = two.haul.run().await;
            assert_eq!((ran.copied(), two.on_target("INBOX")), (0, there), "seen before: {seen_before}");
            assert_eq!(ran.end.accounts[0].fates[&Fate::Removed], 2);
        }
        let (context, _events) = two.haul.context();
        let ledger = context.ledger.clone();
        let verdict = transfer::verify(context, Level::Headers, 0.0).await.remove(0);
        ledger.close().await.unwrap();
        assert_eq!((verdict.standing, verdict.totals.of(Fate::Removed)), (Standing::Explained, 2), "{verdict:#?}");
        two.haul.run_in(Mode { restore: true, ..Mode::default() }).await.assert_complete();
        assert!(content(&two.source) == content(&two.target));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f74_flags_are_never_stored_on_messages_that_were_numbered_anew() {
    let two = filled(Features::default()).await;
    two.haul.run().await.assert_complete();
    two.source.account("u").set_flags("INBOX", 15, &["\\Answered"]).unwrap();
    let act = Act::ChangeUidValidity(b"INBOX".to_vec());
    two.target.account("u").expunge("INBOX", &[2]).unwrap();
    two.target.faults().add(Point::command("SELECT"), Nth::Only(1), act);
    two.haul.run().await;
    let answered: Vec<Vec<u8>> = two
        .target
        .account("u")
        .messages("INBOX")
        .unwrap()
        .iter()
        .filter(|message| message.flags.iter().any(|flag| flag == "\\Answered"))
        .map(|message| message.body.to_vec())
        .collect();
    let messages = two.source.account("u").messages("INBOX").unwrap();
    let wanted = messages.iter().find(|message| message.uid == 15).unwrap().body.to_vec();
    assert!(answered.iter().all(|body| *body == wanted), "{} have it", answered.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn f75_messages_that_come_and_go_during_a_run_are_copied_once_or_gone() {
    for at in [Point::after_reply("EXAMINE"), Point::command("UID FETCH"), Point::after_reply("UID FETCH")] {
        let two = filled(Features::default()).await;
        let held = two.source.faults().hold(at.clone(), Nth::Only(1));
        let (context, _events) = two.haul.context();
        let ledger = context.ledger.clone();
        let running = tokio::spawn(mailhaul::transfer::run(context));
        held.reached().await;
        two.source.account("u").expunge("INBOX", &[20, 21]).unwrap();
        two.give("INBOX", dated("Subject: arrived\r\n\r\n", 3));
        two.has("INBOX", dated("Subject: theirs\r\n\r\n", 4));
        held.release();
        let end = running.await.unwrap();
        ledger.close().await.unwrap();
        let end = &end.accounts[0];
        assert!(matches!(end.ending, Ending::Complete | Ending::Exceptions), "{at:?}: {end:#?}");
        assert!(end.fates.keys().all(|fate| matches!(fate, Fate::Copied | Fate::Gone)), "{at:?}: {end:#?}");
        let gone = end.fates.get(&Fate::Gone).copied().unwrap_or(0);
        let ran = two.haul.run().await;
        ran.assert_complete();
        assert!(ran.copied() <= 1, "{at:?}: only what arrived");
        // What was fetched before it went is on the target and stays; what went before it was listed was never seen.
        let (left, theirs) = (26 - 2 + 1, 1);
        let stayed = two.on_target("INBOX") - left - theirs;
        assert!(matches!((gone, stayed), (0, 0 | 2) | (1, 1) | (2, 0)), "{at:?}: {gone} gone, {stayed} stayed");
        for message in two.source.account("u").messages("INBOX").unwrap() {
            let count = |server: &mailhaul_testserver::Server| {
                let messages = server.account("u").messages("INBOX").unwrap();
                messages.iter().filter(|one| one.body == message.body).count()
            };
            assert!(count(&two.target) >= count(&two.source) && count(&two.target) <= count(&two.source) + stayed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_moved_at_the_source_is_once_where_it_is_now_and_stays_where_it_was() {
    let two = two().await;
    for folder in ["A", "B"] {
        two.source.account("u").create(folder).unwrap();
    }
    let message = || dated("Message-ID: <moved@x>\r\n\r\nmoved\r\n", 1);
    let uid = two.give("A", message());
    two.haul.run().await.assert_complete();
    two.source.account("u").expunge("A", &[uid]).unwrap();
    two.give("B", message());
    for _ in 0..2 {
        two.haul.run().await.assert_complete();
        assert_eq!((two.on_target("A"), two.on_target("B")), (1, 1));
    }
    // Moved back, under another UID: what is there is it.
    two.source.account("u").expunge("B", &[1]).unwrap();
    two.give("A", message());
    let ran = two.haul.run().await;
    ran.assert_complete();
    assert_eq!((two.on_target("A"), two.on_target("B")), (1, 1), "{}", ran.copied());
}

#[tokio::test(flavor = "multi_thread")]
async fn f66_source_folders_created_renamed_and_deleted_during_a_run_are_reported_or_found_later() {
    let two = two().await;
    let source = two.source.account("u");
    for folder in ["Kept", "Deleted", "Renamed"] {
        source.create(folder).unwrap();
        for at in 0..5 {
            two.give(folder, dated(format!("Subject: {folder} {at}\r\n\r\n{at}\r\n"), at));
        }
    }
    // Several are opened side by side.
    let held = two.source.faults().hold(Point::command("EXAMINE"), Nth::All);
    let (context, _events) = two.haul.context();
    let ledger = context.ledger.clone();
    let running = tokio::spawn(mailhaul::transfer::run(context));
    held.reached().await;
    source.delete("Deleted").unwrap();
    source.rename("Renamed", "New name").unwrap();
    source.create("Created").unwrap();
    two.give("Created", dated("Subject: created\r\n\r\n", 1));
    held.release();
    let end = running.await.unwrap();
    ledger.close().await.unwrap();
    let mut told: Vec<&str> = end.accounts[0].folders_failed.iter().map(|(path, _)| path.as_str()).collect();
    told.sort_unstable();
    assert_eq!((end.accounts[0].ending, told), (Ending::Exceptions, vec!["Deleted", "Renamed"]));
    two.haul.run().await.assert_complete();
    for (folder, count) in [("Kept", 5), ("New name", 5), ("Created", 1), ("Renamed", 0), ("Deleted", 0)] {
        assert_eq!(two.on_target(folder), count, "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f66_target_folders_deleted_and_renamed_during_a_run_lose_nothing_in_silence() {
    for rename in [false, true] {
        let two = two_of(Config::plain("u"), Config { features: weak(), ..Config::plain("u") }).await;
        two.source.account("u").create("Work").unwrap();
        for at in 0..20 {
            two.give("Work", dated(format!("Subject: {at}\r\n\r\n{at}\r\n"), at));
        }
        let held = two.target.faults().hold(Point::command("APPEND"), Nth::Only(10));
        let (context, _events) = two.haul.context();
        let ledger = context.ledger.clone();
        let running = tokio::spawn(mailhaul::transfer::run(context));
        held.reached().await;
        match rename {
            true => two.target.account("u").rename("Work", "Mine").unwrap(),
            false => two.target.account("u").delete("Work").unwrap(),
        }
        held.release();
        let end = running.await.unwrap();
        ledger.close().await.unwrap();
        assert_eq!(end.accounts[0].ending, Ending::Exceptions, "{end:#?}");
        let ran = two.haul.run().await;
        assert_ne!(ran.end.accounts[0].ending, Ending::Complete, "copies are gone: {:#?}", ran.end);
        assert!(two.target.account("u").folder("Work").is_none(), "never made again unasked");
        two.haul.run_in(Mode { restore: true, ..Mode::default() }).await.assert_complete();
        assert_eq!(two.on_target("Work"), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_folder_that_is_closed_for_a_moment_is_not_taken_for_gone() {
    let two = two_of(Config::plain("u"), Config { features: weak(), ..Config::plain("u") }).await;
    two.source.account("u").create("Work").unwrap();
    for at in 0..20 {
        two.give("Work", dated(format!("Subject: {at}\r\n\r\n{at}\r\n"), at));
    }
    let held = two.target.faults().hold(Point::command("APPEND"), Nth::Only(10));
    let close = async {
        held.reached().await;
        two.target.faults().add(Point::command("APPEND"), Nth::Only(1), Act::Drop);
        let closed = Act::Reply("NO [INUSE] Mailbox in use, try again later".to_owned());
        two.target.faults().add(Point::command("EXAMINE"), Nth::Only(1), closed);
        held.release();
    };
    let (ran, ()) = tokio::join!(two.haul.run(), close);
    ran.assert_complete();
    assert_eq!(two.on_target("Work"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_set_back_and_gives_its_numbers_anew_loses_nothing() {
    for (source, target) in [(true, false), (false, true)] {
        let two = two().await;
        for at in 0..12 {
            two.give("INBOX", dated(format!("Subject: {at}\r\n\r\n{at}\r\n"), at));
        }
        two.haul.run().await.assert_complete();
        // The last two are lost, others come under their numbers.
        for (server, yes) in [(&two.source, source), (&two.target, target)] {
            if yes {
                server.account("u").set_back("INBOX", 10).unwrap();
                for at in 0..2 {
                    let message = NewMessage::new(format!("Subject: new {at}\r\n\r\nnew {at}\r\n").into_bytes());
                    server.account("u").add("INBOX", message.date("02-Feb-2022 02:02:02 +0000")).unwrap();
                }
            }
        }
        let ran = two.haul.run().await;
        ran.assert_complete();
        // What was copied before stays, what came since is copied; what the target has lost is sent again.
        assert_eq!((ran.copied(), two.on_target("INBOX")), (2, 14), "source {source}");
        let bodies = |server: &mailhaul_testserver::Server| {
            let messages = server.account("u").messages("INBOX").unwrap();
            messages.iter().map(|message| message.body.to_vec()).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(bodies(&two.source).is_subset(&bodies(&two.target)));
        let again = two.haul.run().await;
        assert_eq!(again.copied(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_that_a_source_has_lost_make_no_second_copies() {
    for adopted in [false, true] {
        let two = two().await;
        let text = |at: usize| format!("Subject: {at}\r\n\r\n{at}\r\n");
        for at in 0..12 {
            two.give("INBOX", dated(text(at), at));
            if adopted {
                two.has("INBOX", dated(text(at), at));
            }
        }
        two.haul.run().await.assert_complete();
        // The same messages under the same numbers, all of today.
        for _ in 0..2 {
            two.source.account("u").set_back("INBOX", 0).unwrap();
            (0..12).for_each(|at| assert!(two.give("INBOX", NewMessage::new(text(at).into_bytes())) > 0));
            let ran = two.haul.run().await;
            assert_eq!((ran.copied(), two.on_target("INBOX")), (0, 12), "adopted {adopted}: {:#?}", ran.end);
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_set_back_while_something_was_on_its_way_loses_nothing() {
    for uidplus in [true, false] {
        let features = Features { uidplus, multiappend: false, ..Features::default() };
        let two = two_of(Config::plain("u"), Config { features, ..Config::plain("u") }).await;
        for at in 0..6 {
            two.give("INBOX", dated(format!("Subject: {at}\r\n\r\n{at}\r\n"), at));
        }
        let held = two.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(4));
        two.haul.run_dropped_at(held).await;
        two.source.account("u").set_back("INBOX", 2).unwrap();
        for at in 0..4 {
            let message = NewMessage::new(format!("Subject: new {at}\r\n\r\nnew {at}\r\n").into_bytes());
            two.source.account("u").add("INBOX", message.date("02-Feb-2022 02:02:02 +0000")).unwrap();
        }
        two.haul.run().await;
        let there: Vec<Vec<u8>> =
            two.target.account("u").messages("INBOX").unwrap().iter().map(|one| one.body.to_vec()).collect();
        for message in two.source.account("u").messages("INBOX").unwrap() {
            let count = there.iter().filter(|body| **body == *message.body).count();
            assert_eq!(count, 1, "UIDPLUS {uidplus}: {}", message.body.escape_ascii());
        }
    }
}
