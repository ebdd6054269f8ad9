//! What a run costs that finds little or nothing changed, and that it misses nothing for it.

use crate::support::dovecot;
use crate::support::fill::fill;
use crate::support::flights::Flights;
use crate::support::haul::{Haul, Side};
use crate::support::{Dovecot, compare};
use mailhaul::transfer::{Event, Mode};
use mailhaul_testserver::generate::{GenerateOptions, mailbox};
use mailhaul_testserver::{Act, Config, Falsehood, Features, NewMessage, Nth, Point, Rule, Server};
use std::collections::BTreeMap;

const FOLDERS: usize = 20;
const MESSAGES: usize = 20;
const FLIGHTS_MAX: u64 = 6;
/// How a whole folder is listed.
const WHOLE_OF: &str = "UID FETCH";
const WHOLE: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE)";

fn name(at: usize) -> String {
    if at == 0 { "INBOX".to_owned() } else { format!("Folder {at:02}") }
}

fn message(folder: usize, at: usize) -> NewMessage {
    let date = format!("{:2}-Mar-2020 10:{:02}:{:02} +0000", 1 + at % 28, folder, at % 60);
    let flags = ["", "\\Seen", "\\Seen $Forwarded", "\\Flagged"][at % 4];
    NewMessage::new(format!("Subject: {folder}/{at}\r\n\r\n{}\r\n", "x".repeat(at)).into_bytes())
        .flags(flags)
        .date(&date)
}

/// A source with mail in many folders, an empty target, and a job between them.
struct Pair {
    source: Server,
    target: Server,
    haul: Haul,
}

impl Pair {
    async fn start(features: Features) -> Self {
        let config = || Config { features: features.clone(), ..Config::plain("u") };
        let (source, target) = (Server::start(config()).await.unwrap(), Server::start(config()).await.unwrap());
        let account = source.account("u");
        for folder in 0..FOLDERS {
            if folder > 0 {
                account.create(name(folder)).unwrap();
            }
            for at in 0..MESSAGES {
                account.add(name(folder), message(folder, at)).unwrap();
            }
        }
        let sides = (Side::plain(source.port()), Side::plain(target.port()));
        let haul = Haul::new(sides.0, sides.1).user("u", "u").in_memory();
        let pair = Self { source, target, haul };
        pair.haul.run().await.assert_complete();
        pair
    }

    /// Runs once more; gives how many were copied and what each side was asked, by verb.
    async fn again(&self) -> (u64, [BTreeMap<String, usize>; 2]) {
        self.source.clear_log();
        self.target.clear_log();
        let ran = self.haul.run().await;
        ran.assert_complete();
        let verbs = |server: &Server| {
            let mut verbs = BTreeMap::new();
            server.log().into_iter().for_each(|one| *verbs.entry(one.verb).or_default() += 1);
            verbs
        };
        (ran.copied(), [verbs(&self.source), verbs(&self.target)])
    }

    /// Checks that a run opens no folder at all.
    async fn assert_idle(&self, what: &str) {
        let (copied, asked) = self.again().await;
        let opened = |verbs: &BTreeMap<String, usize>| verbs.contains_key("EXAMINE") || verbs.contains_key("SELECT");
        assert!(copied == 0 && !asked.iter().any(opened), "{what}: {copied} copied, {asked:#?}");
    }

    fn flags(&self, server: &Server, folder: &str, at: usize) -> Vec<String> {
        server.account("u").messages(folder).unwrap()[at].flags.clone()
    }
}

fn all_features() -> Features {
    Features { qresync: true, ..Features::default() }
}

fn without_condstore() -> Features {
    Features { condstore: false, ..Features::default() }
}

fn sums(verbs: &BTreeMap<String, usize>, of: &[&str]) -> usize {
    of.iter().filter_map(|verb| verbs.get(*verb)).sum()
}

/// The lines in which a folder was fetched.
fn fetched(server: &Server) -> Vec<String> {
    let lines = server.log().into_iter().filter(|one| one.verb == "UID FETCH");
    lines.map(|one| one.line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_costs_six_flights_at_dovecot() {
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let target = Dovecot::start(dovecot::Options::default());
    let mut folders = mailbox(7, FOLDERS * MESSAGES, &GenerateOptions { deleted: false, ..GenerateOptions::tame() });
    folders.truncate(FOLDERS);
    assert_eq!(folders.len(), FOLDERS);
    fill(&mut source.client("anna"), &folders, |path| crate::support::fill::joined("", '/', path));
    let (way_out, way_in) = (Flights::start(source.imap()).await, Flights::start(target.imap()).await);
    let sides = (Side::plain(way_out.port()), Side::plain(way_in.port()));
    let haul = Haul::new(sides.0, sides.1).user("anna", "anna");
    haul.run().await.assert_complete();
    compare::assert_same(&mut source.client("anna"), &mut target.client("anna"));
    for way in [&way_out, &way_in] {
        way.take();
    }
    let ran = haul.run().await;
    ran.assert_complete();
    let done = ran.events.iter().filter_map(|event| match event {
        Event::FolderDone { unchanged, .. } => Some(*unchanged),
        _ => None,
    });
    let done: Vec<bool> = done.collect();
    assert!(done.len() >= folders.len() && done.iter().all(|unchanged| *unchanged), "{done:?}");
    for (side, counted) in [("source", way_out.take()), ("target", way_in.take())] {
        println!("{side}: {counted:?}");
        assert_eq!(counted.connections, 1, "{side}");
        assert!((1..=FLIGHTS_MAX).contains(&counted.flights), "{side}: {counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_copy_of_a_folder_costs_few_flights() {
    const NEW: usize = 10;
    let config = || Config::plain("u");
    let (source, target) = (Server::start(config()).await.unwrap(), Server::start(config()).await.unwrap());
    let (way_out, way_in) = (Flights::start(source.port()).await, Flights::start(target.port()).await);
    let haul = Haul::new(Side::plain(way_out.port()), Side::plain(way_in.port()))
        .user("u", "u")
        .with("[limits]\nconnections = 1\n[transfer]\nsample = \"0%\"");
    haul.run().await.assert_complete();
    let idle = [way_out.take(), way_in.take()].map(|counted| counted.flights);
    let account = source.account("u");
    for folder in 1..=NEW {
        account.create(name(folder)).unwrap();
        account.subscribe(name(folder));
        for at in 0..5 {
            let date = "01-Mar-2020 10:00:00 +0000";
            let body = format!("Subject: {folder}/{at}\r\n\r\n{at}\r\n").into_bytes();
            account.add(name(folder), NewMessage::new(body).flags("\\Seen").date(date)).unwrap();
        }
    }
    assert_eq!(haul.run().await.copied(), 5 * NEW as u64);
    // At the source: opened and listed; fetched; opened once more; one fetched again. At the target: made, opened and
    // subscribed to; left; appended to, in two commands at the most; listed with its state.
    for (side, way, idle, most) in [("source", &way_out, idle[0], 4), ("target", &way_in, idle[1], 5)] {
        let counted = way.take();
        println!("{side}: {counted:?}, {idle} without");
        assert!(counted.flights <= idle + 2 + (most * NEW) as u64, "{side}: {counted:?}");
    }
    for folder in 1..=NEW {
        assert!(target.account("u").folder(name(folder)).unwrap().subscribed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_costs_few_flights_whatever_the_server_can_do() {
    let told = |announce_capabilities: bool, features: Features, most: u64| (announce_capabilities, features, most);
    for (announce_capabilities, features, most) in [
        // Sign-in; all questions; the end.
        told(true, all_features(), 3),
        // And STATUS of all folders.
        told(true, Features { list_status: false, ..Features::default() }, 4),
        told(true, Features { list_extended: false, list_status: false, ..Features::default() }, 4),
        // And capabilities before and after the sign-in, which takes two without SASL-IR.
        told(false, Features { sasl_ir: false, list_status: false, namespace: false, ..Features::default() }, 7),
    ] {
        let what = format!("{features:?}");
        let config = || Config { features: features.clone(), announce_capabilities, ..Config::plain("u") };
        let (source, target) = (Server::start(config()).await.unwrap(), Server::start(config()).await.unwrap());
        for folder in 0..FOLDERS {
            if folder > 0 {
                source.account("u").create(name(folder)).unwrap();
            }
            source.account("u").add(name(folder), message(folder, 1)).unwrap();
        }
        let (way_out, way_in) = (Flights::start(source.port()).await, Flights::start(target.port()).await);
        let haul = Haul::new(Side::plain(way_out.port()), Side::plain(way_in.port())).user("u", "u").in_memory();
        haul.run().await.assert_complete();
        for way in [&way_out, &way_in] {
            way.take();
        }
        haul.run().await.assert_complete();
        for counted in [way_out.take(), way_in.take()] {
            assert_eq!(counted.connections, 1, "{what}");
            assert!((1..=most).contains(&counted.flights), "{what}: {counted:?}");
        }
        // And names that may be one for the target cost one more.
        source.account("u").create("folder 01").unwrap();
        haul.run().await.assert_complete();
        for way in [&way_out, &way_in] {
            way.take();
        }
        haul.run().await.assert_complete();
        let counted = way_in.take();
        assert!(counted.flights <= most + 1, "{what}: {counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_changed_is_found_and_costs_its_folder_alone() {
    for features in [all_features(), Features { list_status: false, ..Features::default() }, without_condstore()] {
        let (what, condstore) = (format!("{features:?}"), features.condstore);
        let pair = Pair::start(features).await;
        let uid = pair.source.account("u").messages("Folder 03").unwrap()[5].uid;
        for flags in [&["\\Answered", "$Work"][..], &["\\Seen", "$Work"], &[]] {
            pair.source.account("u").set_flags("Folder 03", uid, flags).unwrap();
            let (copied, [source, target]) = pair.again().await;
            let now = pair.flags(&pair.target, "Folder 03", 5);
            assert_eq!((copied, now.join(" ")), (0, pair.flags(&pair.source, "Folder 03", 5).join(" ")), "{what}");
            // Without modification sequences each folder is read, by its flags.
            assert_eq!(source["EXAMINE"], if condstore { 1 } else { FOLDERS }, "{what}: {source:#?}");
            assert!(!fetched(&pair.source).contains(&format!("{WHOLE_OF} 1:* {WHOLE}")), "{what}");
            assert_eq!(sums(&target, &["EXAMINE", "SELECT"]), 3, "{what}: {target:#?}");
            assert_eq!(fetched(&pair.target).iter().filter(|line| line.contains(':')).count(), 0, "{what}");
        }
        if condstore {
            pair.assert_idle(&what).await;
        }
        // What the target's user changes stays.
        let uid = pair.target.account("u").messages("Folder 04").unwrap()[2].uid;
        pair.target.account("u").set_flags("Folder 04", uid, &["\\Draft"]).unwrap();
        let (_, [_, target]) = pair.again().await;
        assert_eq!(sums(&target, &["UID STORE"]), 0, "{what}: {target:#?}");
        assert_eq!(pair.flags(&pair.target, "Folder 04", 2), ["\\Draft"], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_and_changed_back_is_looked_at_once() {
    let pair = Pair::start(Features::default()).await;
    let account = pair.source.account("u");
    let old = account.messages("Folder 03").unwrap()[5].clone();
    account.set_flags("Folder 03", old.uid, &["\\Answered"]).unwrap();
    account.set_flags("Folder 03", old.uid, &old.flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let (copied, [source, target]) = pair.again().await;
    assert_eq!((copied, source["EXAMINE"], sums(&target, &["EXAMINE", "SELECT"])), (0, 1, 0));
    pair.assert_idle("changed back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_mail_is_copied_and_the_rest_of_its_folder_is_not_listed() {
    for features in [all_features(), Features::default(), without_condstore()] {
        let (what, condstore) = (format!("{features:?}"), features.condstore);
        let pair = Pair::start(features).await;
        pair.source.account("u").add("Folder 07", message(7, 77)).unwrap();
        let (copied, [source, _]) = pair.again().await;
        assert_eq!(copied, 1, "{what}");
        assert_eq!(pair.target.account("u").messages("Folder 07").unwrap().len(), MESSAGES + 1, "{what}");
        if condstore {
            assert!(source["EXAMINE"] <= 4, "{what}: {source:#?}");
            assert!(fetched(&pair.source).iter().any(|line| line.contains("CHANGEDSINCE")), "{what}");
            assert!(!fetched(&pair.source).contains(&format!("{WHOLE_OF} 1:* {WHOLE}")), "{what}");
            let listed = fetched(&pair.target);
            assert!(!listed.iter().any(|line| line.contains(" 1:")), "{what}: {listed:#?}");
            pair.assert_idle(&what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_expunged_at_the_source_is_noticed_once_and_costs_nothing_after() {
    for features in [all_features(), Features::default(), without_condstore()] {
        let (what, condstore) = (format!("{features:?}"), features.condstore);
        for adds in [false, true] {
            let pair = Pair::start(features.clone()).await;
            let account = pair.source.account("u");
            let uids: Vec<u32> = account.messages("Folder 02").unwrap().iter().map(|message| message.uid).collect();
            account.expunge("Folder 02", &[uids[3], uids[19]]).unwrap();
            if adds {
                account.add("Folder 02", message(2, 50)).unwrap();
                account.add("Folder 02", message(2, 51)).unwrap();
            }
            let (copied, [source, _]) = pair.again().await;
            assert_eq!(copied, if adds { 2 } else { 0 }, "{what}");
            // Nothing is removed from the target.
            let there = pair.target.account("u").messages("Folder 02").unwrap().len();
            assert_eq!(there, MESSAGES + copied as usize, "{what}");
            if condstore {
                assert!(source["EXAMINE"] <= 5, "{what}: {source:#?}");
                pair.assert_idle(&what).await;
            }
            let changed = account.messages("Folder 02").unwrap()[0].uid;
            account.set_flags("Folder 02", changed, &["$Later"]).unwrap();
            pair.again().await;
            assert_eq!(pair.flags(&pair.target, "Folder 02", 0), ["$Later"], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_targets_user_removed_or_added_is_noticed() {
    for features in [all_features(), without_condstore()] {
        let what = format!("{features:?}");
        let pair = Pair::start(features).await;
        let account = pair.target.account("u");
        let uid = account.messages("Folder 05").unwrap()[4].uid;
        account.expunge("Folder 05", &[uid]).unwrap();
        // As many as before: the count alone does not tell.
        account.add("Folder 05", message(5, 90)).unwrap();
        pair.source.clear_log();
        pair.target.clear_log();
        let ran = pair.haul.run().await;
        let fates = &ran.end.accounts[0].fates;
        assert_eq!(fates.get(&mailhaul::mail::Fate::Removed), Some(&1), "{what}: {fates:?}");
        assert_eq!(ran.copied(), 0, "{what}");
        assert_eq!(account.messages("Folder 05").unwrap().len(), MESSAGES, "{what}");
        // The same message on both sides, put there by their user: it is not copied over the one that is there.
        pair.source.account("u").add("Folder 05", message(5, 90)).unwrap();
        assert_eq!(pair.haul.run().await.copied(), 0, "{what}");
        assert_eq!(account.messages("Folder 05").unwrap().len(), MESSAGES, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_set_back_is_listed_whole() {
    for features in [all_features(), Features::default()] {
        let pair = Pair::start(features).await;
        let account = pair.source.account("u");
        account.set_back("Folder 06", 15).unwrap();
        // Six others under five of the numbers and one more: as if one had come in.
        for at in 60..66 {
            account.add("Folder 06", message(6, at)).unwrap();
        }
        let (copied, _) = pair.again().await;
        assert_eq!(copied, 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_survive_to_be_asked_what_changed_is_listed_whole() {
    // Legal, and longer than any line that is read.
    let gone: Vec<String> = (0..200_000_u32).map(|at| (1_000 + 2 * at).to_string()).collect();
    let gone = format!("* VANISHED (EARLIER) {}\r\n", gone.join(",")).into_bytes();
    for act in [Act::Drop, Act::Garbage(gone)] {
        let what = format!("{act:.20?}");
        let pair = Pair::start(all_features()).await;
        pair.source.account("u").add("Folder 07", message(7, 77)).unwrap();
        pair.source.faults().push(Rule::new(Point::command("UID FETCH"), Nth::Only(1), act));
        let (copied, _) = pair.again().await;
        assert_eq!(copied, 1, "{what}");
        let asked = fetched(&pair.source);
        assert!(asked.contains(&format!("{WHOLE_OF} 1:* {WHOLE}")), "{what}: {asked:#?}");
        pair.assert_idle(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_name_of_the_source_has_copied_is_not_copied_again() {
    let mut pair = Pair::start(all_features()).await;
    let (one, other) = (Side::plain(pair.source.port()), Side::plain(pair.source.port()));
    let other = Side { host: "localhost".to_owned(), ..other };
    let (source, target) = (pair.source.account("u"), pair.target.account("u"));
    pair.haul.take_from(other);
    source.add("Folder 07", message(7, 70)).unwrap();
    assert_eq!(pair.again().await.0, 1);
    // Its user tidies up: the first name would copy it once more.
    let copy = target.messages("Folder 07").unwrap().last().unwrap().uid;
    target.expunge("Folder 07", &[copy]).unwrap();
    source.add("Folder 07", message(7, 71)).unwrap();
    pair.haul.take_from(one);
    let ran = pair.haul.run().await;
    let fates = &ran.end.accounts[0].fates;
    assert_eq!((ran.copied(), fates.get(&mailhaul::mail::Fate::Removed)), (1, Some(&1)), "{fates:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_and_came_back_is_proven_by_what_the_target_lists() {
    for features in [all_features(), Features::default()] {
        let what = format!("{features:?}");
        let pair = Pair::start(features).await;
        let account = pair.source.account("u");
        let uid = account.messages("Folder 02").unwrap()[4].uid;
        account.expunge("Folder 02", &[uid]).unwrap();
        account.add("Folder 02", message(2, 4)).unwrap();
        let (copied, _) = pair.again().await;
        assert_eq!(copied, 0, "{what}");
        let whole = ["1:*", "1:20"].map(|set| format!("{WHOLE_OF} {set} {WHOLE}"));
        assert!(fetched(&pair.target).iter().any(|line| whole.contains(line)), "{what}");
        pair.assert_idle(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_under_a_number_that_was_promised_to_none_is_copied() {
    let pair = Pair::start(Features { list_status: false, ..Features::default() }).await;
    let account = pair.source.account("u");
    for verb in ["EXAMINE", "STATUS"] {
        pair.source.faults().push(Rule::new(Point::command(verb), Nth::All, Act::lie(Falsehood::UidNext(90))));
    }
    let uids: Vec<u32> = account.messages("Folder 02").unwrap().iter().map(|message| message.uid).collect();
    account.set_flags("Folder 02", uids[0], &["$First"]).unwrap();
    assert_eq!(pair.again().await.0, 0);
    // As many as there were, all below the next number.
    account.expunge("Folder 02", &[uids[5]]).unwrap();
    account.add("Folder 02", message(2, 80)).unwrap();
    assert_eq!(pair.again().await.0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_and_left_the_source_is_no_reason_to_list_all() {
    let pair = Pair::start(all_features()).await;
    let account = pair.source.account("u");
    let needle = b"Subject: 2/66".to_vec();
    pair.target.faults().push(Rule::new(
        Point::AppendContaining(needle),
        Nth::All,
        Act::Reply("NO [CANNOT] not this one".to_owned()),
    ));
    let uid = account.add("Folder 02", message(2, 66)).unwrap();
    assert_eq!(pair.haul.run().await.copied(), 0);
    account.expunge("Folder 02", &[uid]).unwrap();
    pair.haul.run().await.assert_complete();
    account.set_flags("Folder 02", account.messages("Folder 02").unwrap()[0].uid, &["$Later"]).unwrap();
    let (_, [source, _]) = pair.again().await;
    assert_eq!(source["EXAMINE"], 1, "{source:#?}");
    assert!(!fetched(&pair.source).contains(&format!("{WHOLE_OF} 1:* {WHOLE}")));
    assert_eq!(pair.flags(&pair.target, "Folder 02", 0), ["$Later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_targets_user_removes_while_it_is_proven_is_found_by_the_next_run() {
    for adds in [false, true] {
        let pair = Pair::start(all_features()).await;
        let (source, target) = (pair.source.account("u"), pair.target.account("u"));
        source.add("Folder 04", message(4, 44)).unwrap();
        let copy = target.messages("Folder 04").unwrap()[3].uid;
        // LIST tells the state of all folders; STATUS that of this one, when it is done.
        let held = pair.target.faults().hold(Point::command("STATUS"), Nth::Only(1));
        let remove = async {
            held.reached().await;
            target.expunge("Folder 04", &[copy]).unwrap();
            if adds {
                target.add("Folder 04", message(4, 99)).unwrap();
            }
            drop(held);
        };
        let (ran, ()) = tokio::join!(pair.haul.run(), remove);
        assert_eq!(ran.copied(), 1);
        let ran = pair.haul.run().await;
        let fates = &ran.end.accounts[0].fates;
        assert_eq!(fates.get(&mailhaul::mail::Fate::Removed), Some(&1), "{fates:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_carried_from_now_on_is_carried_though_nothing_changed() {
    let mut pair = Pair::start(all_features()).await;
    let account = pair.source.account("u");
    let uid = account.messages("Folder 03").unwrap()[5].uid;
    account.set_flags("Folder 03", uid, &["\\Deleted", "$Work"]).unwrap();
    for (carried, expected) in [("true", "$Work \\Deleted"), ("false", "$Work")] {
        pair.again().await;
        pair.haul.extra = format!("[transfer]\ncopy_deleted = {carried}\n");
        pair.again().await;
        let mut flags = pair.flags(&pair.target, "Folder 03", 5);
        flags.sort();
        assert_eq!(flags.join(" "), expected);
        pair.assert_idle(carried).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_source_does_not_open_the_target_is_signed_in_to_once() {
    let pair = Pair::start(all_features()).await;
    pair.source.faults().push(Rule::new(Point::command("LOGIN"), Nth::First(3), Act::Drop));
    pair.source.faults().push(Rule::new(Point::command("AUTHENTICATE"), Nth::First(3), Act::Drop));
    let connections = |server: &Server| server.stats().connections;
    let before = (connections(&pair.source), connections(&pair.target));
    pair.assert_idle("down").await;
    let now = (connections(&pair.source), connections(&pair.target));
    assert!(now.0 - before.0 >= 3, "{before:?} {now:?}");
    assert!(now.1 - before.1 <= 2, "{before:?} {now:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_breaks_off_over_its_first_questions_is_asked_less() {
    let pair = Pair::start(all_features()).await;
    pair.source.faults().push(Rule::new(Point::command("ENABLE"), Nth::All, Act::Drop));
    let account = pair.source.account("u");
    account.add("Folder 07", message(7, 77)).unwrap();
    let (copied, [source, _]) = pair.again().await;
    assert_eq!((copied, source.get("ENABLE")), (1, Some(&1)), "{source:#?}");
    pair.assert_idle("asked less").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_not_enabled_what_it_said_ok_to_is_not_asked_for_it() {
    let pair = Pair::start(all_features()).await;
    let reply = Act::Reply("OK enabled".to_owned());
    pair.source.faults().push(Rule::new(Point::command("ENABLE"), Nth::All, reply));
    pair.source.account("u").add("Folder 07", message(7, 77)).unwrap();
    assert_eq!(pair.again().await.0, 1);
    let asked = fetched(&pair.source);
    assert!(asked.iter().any(|line| line.contains("CHANGEDSINCE") && !line.contains("VANISHED")), "{asked:#?}");
    assert!(!asked.contains(&format!("{WHOLE_OF} 1:* {WHOLE}")), "{asked:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_source_is_not_counted_where_only_failed_messages_are_tried_again() {
    let pair = Pair::start(all_features()).await;
    let account = pair.source.account("u");
    let uid = account.messages("Folder 02").unwrap()[3].uid;
    account.expunge("Folder 02", &[uid]).unwrap();
    pair.again().await;
    let ran = pair.haul.run_in(Mode { retry: true, ..Mode::default() }).await;
    ran.assert_complete();
    let fates = &ran.end.accounts[0].fates;
    assert_eq!(fates.values().sum::<u64>(), (FOLDERS * MESSAGES - 1) as u64, "{fates:?}");
}
