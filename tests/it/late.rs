//! What arrives late, twice or cut off: found before the account ends; what is ours beyond doubt is removed again, and the
//! rest is told.

use crate::support::haul::{Haul, Ran, Side};
use mailhaul::checkpoint::{AccountKey, FolderId, JobReference, Landed, Ledger, SurplusKind};
use mailhaul::mail::{Evidence, Flags, FolderPath, Record, Stage, Uid, UidValidity, WireName, digest};
use mailhaul::transfer::{Ending, Event, Mode};
use mailhaul_testserver::{Act, Config, Falsehood, Features, NewMessage, Nth, Point, Server};
use std::collections::BTreeMap;
use std::time::Duration;

/// In the inbox of the source.
const MESSAGES: usize = 20;

struct Pair {
    source: Server,
    target: Server,
    haul: Haul,
}

/// The target takes one message in each command: the n-th APPEND is the n-th message.
async fn pair(uidplus: bool) -> Pair {
    let features = Features { uidplus, ..Features::default() };
    pair_of(Config { features, ..Config::plain("u") }).await
}

async fn pair_of(target: Config) -> Pair {
    let target = target.features(|features| features.multiappend = false);
    let source = Server::start(Config::plain("u")).await.unwrap();
    let target = Server::start(target).await.unwrap();
    for number in 0..MESSAGES {
        let header = format!("Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nSubject: number {number}\r\n");
        let body = format!("{header}\r\nwith a body that has a middle\r\n");
        let message = NewMessage::new(body.into_bytes()).flags("\\Seen $Label");
        source.account("u").add("INBOX", message).unwrap();
    }
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .user("u", "u")
        .with("[transfer]\ntimeout = \"5s\"\nsettle = \"100ms\"\nlate = \"2s\"\n[limits]\nconnections = 1");
    Pair { source, target, haul }
}

/// What a run does where this happens to the sixth APPEND.
async fn with_sixth_append(act: Act, uidplus: bool) -> (Pair, Ran) {
    let pair = pair(uidplus).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), act);
    let ran = pair.haul.run().await;
    (pair, ran)
}

/// Later than the target is given to settle, earlier than the account ends.
fn late() -> Act {
    Act::CommitLate(Duration::from_millis(1200))
}

fn bodies(server: &Server) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for message in server.account("u").messages("INBOX").unwrap() {
        *counts.entry(message.body.to_vec()).or_default() += 1;
    }
    counts
}

fn surplus(ran: &Ran) -> Vec<(SurplusKind, bool)> {
    let told = |event: &Event| match event {
        Event::Surplus { kind, removed, .. } => Some((*kind, *removed)),
        _ => None,
    };
    ran.events.iter().filter_map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lands_after_it_was_sent_again_is_removed_where_it_is_ours_beyond_doubt() {
    let (pair, ran) = with_sixth_append(late(), true).await;
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, true)]);
    ran.assert_complete();
    assert_eq!(bodies(&pair.source), bodies(&pair.target));
    assert!(!pair.target.log().iter().any(|logged| logged.verb == "EXPUNGE"), "UID EXPUNGE alone");
    let again = pair.haul.run().await;
    again.assert_complete();
    assert_eq!((again.copied(), surplus(&again)), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f69_a_copy_that_lands_late_is_told_where_it_cannot_be_removed_alone() {
    let (pair, ran) = with_sixth_append(late(), false).await;
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, false)]);
    assert_eq!((ran.end.accounts[0].ending, ran.end.accounts[0].surplus), (Ending::Exceptions, 1));
    let again = pair.haul.run().await;
    assert_eq!((again.copied(), again.end.accounts[0].surplus), (0, 1), "until somebody removes it");
    let last = pair.target.account("u").messages("INBOX").unwrap().last().unwrap().uid;
    pair.target.account("u").expunge("INBOX", &[last]).unwrap();
    pair.haul.run().await.assert_complete();
    assert_eq!(bodies(&pair.source), bodies(&pair.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn f69_a_copy_that_lands_late_and_was_touched_by_its_user_stays() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let account = pair.target.account("u");
    let star = async {
        loop {
            let messages = account.messages("INBOX").unwrap_or_default();
            if let Some(one_too_many) = messages.get(MESSAGES) {
                return account.set_flags("INBOX", one_too_many.uid, &["\\Flagged"]).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (ran, ()) = tokio::join!(pair.haul.run(), star);
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, false)]);
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    assert_eq!(account.messages("INBOX").unwrap().len(), MESSAGES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_comes_in_meanwhile_is_no_surplus() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), Act::Reset);
    let held = pair.target.faults().hold(Point::command("APPEND"), Nth::Only(9));
    let account = pair.target.account("u");
    let deliver = async {
        held.reached().await;
        // One of the size of what was lost, one that begins like it.
        let like = account.messages("INBOX").unwrap()[0].body.to_vec();
        account.add("INBOX", NewMessage::new([&like[..like.len() - 3], b"!\r\n"].concat())).unwrap();
        account.add("INBOX", NewMessage::new(like[..like.len() - 20].to_vec())).unwrap();
        held.release();
    };
    let (ran, ()) = tokio::join!(pair.haul.run(), deliver);
    ran.assert_complete();
    assert_eq!((surplus(&ran), account.messages("INBOX").unwrap().len()), (vec![], MESSAGES + 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_message_that_its_connection_left_behind_is_told_and_the_whole_arrives() {
    for uidplus in [true, false] {
        let (pair, ran) = with_sixth_append(Act::CommitHalf, uidplus).await;
        assert_whole_and_remnant(&pair, &ran).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_message_that_the_target_called_whole_is_told_and_the_whole_arrives() {
    for uidplus in [true, false] {
        let (pair, ran) = with_sixth_append(Act::KeepHalf, uidplus).await;
        assert_whole_and_remnant(&pair, &ran).await;
    }
}

async fn assert_whole_and_remnant(pair: &Pair, ran: &Ran) {
    assert_eq!(surplus(ran), [(SurplusKind::Remnant, false)]);
    assert_eq!((ran.end.accounts[0].ending, ran.end.accounts[0].surplus), (Ending::Exceptions, 1));
    let (source, target) = (bodies(&pair.source), bodies(&pair.target));
    for (body, count) in &source {
        assert_eq!(target.get(body), Some(count), "{}", body.escape_ascii());
    }
    assert_eq!(target.values().sum::<usize>(), MESSAGES + 1, "and the remnant");
    let again = pair.haul.run_in(Mode { retry: true, ..Mode::default() }).await;
    assert_eq!((again.copied(), again.end.accounts[0].surplus), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cuts_off_every_message_is_sent_each_twice_at_the_most() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::All, Act::KeepHalf);
    let ran = pair.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    assert_eq!(pair.target.stats().messages_stored, 2 * MESSAGES as u64);
    pair.haul.run().await;
    assert_eq!(pair.target.stats().messages_stored, 2 * MESSAGES as u64, "a second run sends nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn f69_two_copies_where_one_was_sent_are_told_and_no_third_is_made() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), Act::SwallowReply);
    let held = pair.target.faults().hold(Point::command("EXAMINE"), Nth::Only(2));
    let account = pair.target.account("u");
    let double = async {
        held.reached().await;
        let last = account.messages("INBOX").unwrap().pop().unwrap();
        account.add("INBOX", NewMessage::new(last.body.to_vec()).flags("\\Seen $Label")).unwrap();
        held.release();
    };
    let (ran, ()) = tokio::join!(pair.haul.run(), double);
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, false)]);
    assert_eq!(
        (ran.end.accounts[0].ending, account.messages("INBOX").unwrap().len()),
        (Ending::Exceptions, MESSAGES + 1)
    );
    assert_eq!(pair.haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f69_the_copy_of_a_twin_that_has_no_place_yet_is_not_taken_for_a_late_one() {
    let pair = pair(false).await;
    for _ in 0..2 {
        let twin =
            NewMessage::new(b"Subject: twin\r\n\r\nthe same twice\r\n".to_vec()).date("2-Nov-2026 10:00:00 +0000");
        pair.source.account("u").add("INBOX", twin).unwrap();
    }
    // Each is sent, does not come, and is sent again; the first one has its place before the second one is.
    for nth in [1, 3] {
        pair.target.faults().add(Point::command("APPEND"), Nth::Only(MESSAGES as u64 + nth), Act::Drop);
    }
    let held = pair.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(MESSAGES as u64 + 2));
    let refuse = async {
        held.reached().await;
        // Where the second one went is not found out in this run.
        pair.source.faults().add(Point::command("EXAMINE"), Nth::All, Act::Reply("BAD what is this".to_owned()));
        held.release();
    };
    let (ran, ()) = tokio::join!(pair.haul.run(), refuse);
    assert_eq!((ran.end.accounts[0].ending, surplus(&ran)), (Ending::Exceptions, vec![]));
    assert_eq!(bodies(&pair.source), bodies(&pair.target));
    pair.source.faults().clear();
    let again = pair.haul.run().await;
    again.assert_complete();
    assert_eq!((again.copied(), surplus(&again)), (0, vec![]));
    assert_eq!(bodies(&pair.source), bodies(&pair.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_copy_of_a_message_that_has_no_other_is_taken_for_it_by_a_later_run() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    // It came, is not there yet, and is not taken a second time.
    let words = "NO it is much like another".to_owned();
    pair.target.faults().add(Point::AppendContaining(b"number 5\r\n".to_vec()), Nth::From(2), Act::Reply(words));
    let ran = pair.haul.run().await;
    assert_eq!((ran.end.accounts[0].ending, surplus(&ran)), (Ending::Exceptions, vec![]));
    assert_eq!(pair.target.account("u").messages("INBOX").unwrap().len(), MESSAGES, "it came late");
    pair.target.faults().clear();
    let again = pair.haul.run_in(Mode { retry: true, ..Mode::default() }).await;
    again.assert_complete();
    assert_eq!((again.copied(), bodies(&pair.source) == bodies(&pair.target)), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_closed_for_a_moment_at_the_last_look_is_asked_again() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let held = pair.target.faults().hold(Point::command("APPEND"), Nth::Only(MESSAGES as u64 + 1));
    let close = async {
        held.reached().await;
        // The folder is proven once more and then looked at for what came late.
        let closed = Act::Reply("NO [UNAVAILABLE] closed for a moment".to_owned());
        pair.target.faults().add(Point::command("EXAMINE"), Nth::Only(2), closed);
        held.release();
    };
    let (ran, ()) = tokio::join!(pair.haul.run(), close);
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, true)]);
    ran.assert_complete();
    assert_eq!(bodies(&pair.source), bodies(&pair.target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lands_late_is_found_also_where_the_source_was_numbered_anew_meanwhile() {
    for first_left in [false, true] {
        let pair = pair(true).await;
        pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
        let held = pair.target.faults().hold(Point::command("EXAMINE"), Nth::Only(2));
        pair.haul.run_dropped_at(held).await;
        pair.source.account("u").renumber("INBOX").unwrap();
        if first_left {
            pair.source.account("u").expunge("INBOX", &[1]).unwrap();
        }
        let ran = pair.haul.run().await;
        assert_eq!(surplus(&ran), [(SurplusKind::Copy, true)]);
        ran.assert_complete();
        assert_eq!(pair.target.account("u").messages("INBOX").unwrap().len(), MESSAGES);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f69_a_copy_that_lands_late_after_a_kill_is_told_also_where_the_host_has_another_name_meanwhile() {
    let mut pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let held = pair.target.faults().hold(Point::command("EXAMINE"), Nth::Only(2));
    pair.haul.run_dropped_at(held).await;
    pair.haul.take_from(Side { host: "localhost".to_owned(), ..Side::plain(pair.source.port()) });
    let ran = pair.haul.run().await;
    // What the first name waits for is not removed.
    assert_eq!((ran.end.accounts[0].ending, surplus(&ran)), (Ending::Exceptions, vec![(SurplusKind::Copy, false)]));
    assert_eq!(pair.target.account("u").messages("INBOX").unwrap().len(), MESSAGES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lands_late_and_altered_is_told() {
    let pair = pair_of(Config { nul_becomes_80: true, ..Config::plain("u") }).await;
    pair.source.account("u").add("INBOX", NewMessage::new(b"Subject: nul\r\n\r\n\0 nul\r\n".to_vec())).unwrap();
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(MESSAGES as u64 + 1), late());
    let ran = pair.haul.run().await;
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, false)]);
    assert_eq!(pair.target.account("u").messages("INBOX").unwrap().len(), MESSAGES + 2);
    assert_eq!(pair.haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_sent_again_whoever_had_its_number_before() {
    for uidplus in [true, false] {
        let (pair, ran) = with_sixth_append(Act::KeepHalf, uidplus).await;
        assert_whole_and_remnant(&pair, &ran).await;
        // The sixth message is another one now, and is cut off too.
        let source = pair.source.account("u");
        source.expunge("INBOX", &(1..=MESSAGES as u32).collect::<Vec<_>>()).unwrap();
        for number in 0..6 {
            let text = format!("Subject: later {number}\r\n\r\nwith a body that has a middle\r\n");
            source.add("INBOX", NewMessage::new(text.into_bytes())).unwrap();
        }
        source.renumber("INBOX").unwrap();
        assert_eq!(source.messages("INBOX").unwrap().last().unwrap().uid, 6);
        pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), Act::KeepHalf);
        let ran = pair.haul.run().await;
        assert_eq!((surplus(&ran), ran.end.accounts[0].surplus), (vec![(SurplusKind::Remnant, false)], 2));
        let target = bodies(&pair.target);
        assert!(bodies(&pair.source).keys().all(|body| target.get(body) == Some(&1)), "UIDPLUS {uidplus}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lands_late_stays_where_its_user_has_just_taken_away_the_other() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let account = pair.target.account("u");
    // Once it is asked what can be kept, then it is to remove.
    let held = pair.target.faults().hold(Point::command("SELECT"), Nth::Only(2));
    let take_away = async {
        held.reached().await;
        let messages = account.messages("INBOX").unwrap();
        let late = messages.last().unwrap();
        let kept = messages.iter().find(|one| one.body == late.body).unwrap();
        assert!(kept.uid < late.uid);
        account.expunge("INBOX", &[kept.uid]).unwrap();
        held.release();
    };
    let (ran, ()) = tokio::join!(pair.haul.run(), take_away);
    assert_eq!(bodies(&pair.source), bodies(&pair.target), "{:?}", surplus(&ran));
}

/// Another account that goes to the same mailbox is about to send this.
async fn another_intends(ledger: &Ledger, pair: &Pair, body: &[u8]) -> (FolderId, UidValidity, Uid) {
    let key = AccountKey::new("other.example", 993, "b", "127.0.0.1", pair.target.port(), "u");
    let job = JobReference {
        name: "other".to_owned(),
        path: "other.toml".into(),
        digest: digest(b"other"),
        account_name: "b".to_owned(),
    };
    let account = ledger.account(&key, job).await.unwrap();
    let inbox = WireName::new(b"INBOX".to_vec());
    let folder = ledger.folder(account, &inbox, &inbox, &FolderPath::inbox()).await.unwrap().id;
    let (validity, uid) = (UidValidity::new(1).unwrap(), Uid::FIRST);
    let record = Record {
        source_uid: uid,
        stage: Stage::Intended,
        target: None,
        floor: None,
        size: body.len() as u64,
        digest: Some(digest(body)),
        header: None,
        date: None,
        flags: Flags::default(),
        risky: false,
        evidence: Evidence::None,
    };
    ledger.intend(folder, validity, vec![record]).await.unwrap();
    (folder, validity, uid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_may_be_what_another_account_has_under_way_is_told_when_that_is_known() {
    let pair = pair(true).await;
    let body = pair.source.account("u").messages("INBOX").unwrap()[5].body.to_vec();
    let ledger = Ledger::open(&pair.haul.state()).unwrap();
    let (folder, validity, uid) = another_intends(&ledger, &pair, &body).await;
    ledger.clone().close().await.unwrap();
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let ran = pair.haul.run().await;
    assert_eq!((ran.copied(), surplus(&ran)), (MESSAGES as u64, vec![]));
    let ledger = Ledger::open(&pair.haul.state()).unwrap();
    ledger.retract(folder, validity, vec![uid]).await.unwrap();
    ledger.clone().close().await.unwrap();
    let again = pair.haul.run().await;
    assert_eq!((again.copied(), surplus(&again)), (0, vec![(SurplusKind::Copy, true)]));
    assert_eq!(bodies(&pair.source), bodies(&pair.target));
}

/// Another account that goes to the same mailbox sends the same, and gets its answer while what lies there is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_turns_out_to_be_another_accounts_stays() {
    let pair = pair(true).await;
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let last = MESSAGES as u32 + 1;
    let held = pair.target.faults().hold(Point::FetchBody(last), Nth::Only(1));
    let (context, mut told) = pair.haul.context();
    let ledger = context.ledger.clone();
    let other_account = async {
        held.reached().await;
        let late = pair.target.account("u").messages("INBOX").unwrap().pop().unwrap();
        let (folder, validity, uid) = another_intends(&ledger, &pair, &late.body).await;
        let numbered = pair.target.account("u").folder("INBOX").unwrap().uid_validity;
        let target = (UidValidity::new(numbered).unwrap(), Uid::new(late.uid).unwrap());
        ledger.landed(folder, validity, vec![(uid, Landed::Found { target, altered: false })]).await.unwrap();
        ledger.flush().await.unwrap();
        held.release();
    };
    let collect = async {
        let mut events = Vec::new();
        while let Some(event) = told.recv().await {
            events.push(event);
        }
        events
    };
    let (end, events, ()) = tokio::join!(mailhaul::transfer::run(context), collect, other_account);
    let ran = Ran { end, events };
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, false)]);
    assert_eq!(pair.target.account("u").messages("INBOX").unwrap().len(), MESSAGES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lands_late_from_a_source_that_gives_other_bytes_each_time_is_told() {
    let pair = pair(true).await;
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie(Falsehood::OtherBytesEachFetch));
    pair.target.faults().add(Point::command("APPEND"), Nth::Only(6), late());
    let ran = pair.haul.run().await;
    assert_eq!(surplus(&ran), [(SurplusKind::Copy, false)]);
    assert_eq!(pair.target.account("u").messages("INBOX").unwrap().len(), MESSAGES + 1);
}
