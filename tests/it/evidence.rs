//! What is said of a migration afterwards: verdicts, lists of what did not arrive, and what is done about it.

use crate::support::haul::{Haul, Side};
use mailhaul::mail::{Evidence, Fate};
use mailhaul::plan::Standing;
use mailhaul::transfer::{self, AccountVerdict, Ending, Level, MessageVerdict, Mode};
use mailhaul_testserver::{Act, Config, Falsehood, Features, FolderSpec, Keywords, NewMessage, Nth, Point, Server};
use std::collections::BTreeMap;

/// Two servers and a job between them.
struct Pair {
    source: Server,
    target: Server,
    haul: Haul,
}

const DATE: &str = " 1-Jan-2020 00:00:00 +0000";

async fn pair(target: Config) -> Pair {
    let source = Server::start(Config::plain("u")).await.unwrap();
    let target = Server::start(target).await.unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .user("u", "u")
        .with("[transfer]\ntimeout = \"3s\"\noutage = \"30s\"\nfirst_contact = \"5s\"");
    Pair { source, target, haul }
}

fn message(text: &str) -> NewMessage {
    NewMessage::new(format!("Message-ID: <{text}@x>\r\nSubject: {text}\r\n\r\n{text}\r\n").into_bytes())
        .date(DATE)
        .flags("\\Seen")
}

impl Pair {
    fn add(&self, folder: &str, messages: impl IntoIterator<Item = NewMessage>) -> Vec<u32> {
        messages.into_iter().map(|message| self.source.account("u").add(folder, message).unwrap()).collect()
    }

    async fn verify(&self, level: Level) -> (AccountVerdict, Vec<MessageVerdict>) {
        let (context, _events) = self.haul.context();
        let ledger = context.ledger.clone();
        let (sender, mut told) = tokio::sync::mpsc::channel(4);
        let collect = async {
            let mut messages = Vec::new();
            while let Some(message) = told.recv().await {
                messages.push(message);
            }
            messages
        };
        let (mut verdicts, messages) = tokio::join!(transfer::verify_telling(context, level, 1.0, sender), collect);
        ledger.close().await.unwrap();
        let verdict = verdicts.remove(0);
        for folder in &verdict.folders {
            assert_eq!(folder.open_sums, Vec::<String>::new(), "{folder:#?}");
            let told = messages.iter().filter(|message| message.folder == folder.source).count() as u64;
            assert_eq!(told, folder.sums.messages, "every source message is told of: {}", folder.source);
        }
        (verdict, messages)
    }

    /// Verifies, and checks the judgement and what the messages that are not complete are said to be.
    async fn check(&self, level: Level, standing: Standing, expected: &[(u32, Fate, Evidence)]) -> AccountVerdict {
        let (verdict, messages) = self.verify(level).await;
        let listed: Vec<(u32, Fate, Evidence)> = messages
            .iter()
            .filter(|message| message.standing != Standing::Complete)
            .map(|message| (message.uid, message.fate, message.evidence))
            .collect();
        assert_eq!((verdict.standing, &listed[..]), (standing, expected), "{level:?} {verdict:#?}");
        verdict
    }
}

fn fates(verdict: &AccountVerdict) -> BTreeMap<Fate, u64> {
    verdict.totals.fates.clone()
}

/// A target on which ten messages have arrived whole.
async fn ten() -> Pair {
    let pair = pair(Config::plain("u")).await;
    pair.add("INBOX", (0..10).map(|number| message(&format!("number {number}"))));
    pair.haul.run().await.assert_complete();
    pair
}

const LEVELS: [Level; 3] = [Level::Counts, Level::Headers, Level::Bytes];

#[tokio::test(flavor = "multi_thread")]
async fn each_level_claims_what_it_looked_at_and_no_more() {
    let pair = ten().await;
    for (level, evidence) in [
        (Level::Counts, Evidence::Counted),
        (Level::Headers, Evidence::MetadataEqual),
        (Level::Bytes, Evidence::BytesEqual),
    ] {
        let (verdict, messages) = pair.verify(level).await;
        assert!(verdict.is_good());
        assert_eq!(verdict.totals.evidence, [(evidence, 10)].into());
        assert!(messages.iter().all(|message| message.sha256.is_some() == (level == Level::Bytes)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fate_is_told_with_its_reason() {
    let target = Config { refuse_nul: true, nul_becomes_80: false, ..Config::plain("u") };
    let pair = pair(target).await;
    let source = pair.source.account("u");
    pair.target.account("u").add("INBOX", message("before")).unwrap();
    let uids = pair.add("INBOX", ["before", "copied", "poison \0", "taken", "later"].map(message));
    source.create("Calendar").unwrap();
    pair.add("Calendar", [message("appointment")]);
    source.create("Odd").unwrap();
    pair.add("Odd", [message("nil")]);
    let nil = Act::lie_about(1, Falsehood::NilBody);
    let pair = Pair { haul: pair.haul.with("[folders]\nexclude = [\"Calendar\"]"), ..pair };
    // The source gives no body for the only message of one folder.
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, nil);
    let ran = pair.haul.run().await;
    pair.source.faults().clear();
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    let target = pair.target.account("u");
    let taken = target.messages("INBOX").unwrap().iter().find(|one| one.body.ends_with(b"taken\r\n")).unwrap().uid;
    target.expunge("INBOX", &[taken]).unwrap();
    pair.add("INBOX", [message("arrived")]);
    let (verdict, messages) = pair.verify(Level::Headers).await;
    assert_eq!(
        fates(&verdict),
        [
            (Fate::Adopted, 1),
            (Fate::Copied, 2),
            (Fate::Excluded, 1),
            (Fate::Refused, 1),
            (Fate::Removed, 1),
            (Fate::Unreadable, 1),
            (Fate::Missing, 1)
        ]
        .into()
    );
    assert_eq!(verdict.standing, Standing::Incomplete);
    let how = |uid: u32| messages.iter().find(|one| one.folder == "INBOX" && one.uid == uid).unwrap().how.join("; ");
    assert!(how(uids[2]).contains("NUL"), "{}", how(uids[2]));
    assert_eq!(how(6), "it arrived after the last run began");
    pair.haul.run().await;
    let (verdict, _) = pair.verify(Level::Bytes).await;
    assert_eq!(verdict.standing, Standing::Explained, "{verdict:#?}");
    // Adopted by header and date, the bytes now read too.
    assert_eq!(verdict.totals.evidence, [(Evidence::BytesEqual, 4)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_taken_away_is_removed_and_explained_at_every_level() {
    let pair = ten().await;
    pair.target.account("u").expunge("INBOX", &[4]).unwrap();
    for level in LEVELS {
        pair.check(level, Standing::Explained, &[(4, Fate::Removed, Evidence::None)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_copies_taken_away_need_a_person() {
    let pair = pair(Config::plain("u")).await;
    pair.add("INBOX", (0..30).map(|number| message(&format!("number {number}"))));
    pair.haul.run().await.assert_complete();
    pair.target.account("u").expunge("INBOX", &(1..=11).collect::<Vec<_>>()).unwrap();
    let (verdict, _) = pair.verify(Level::Counts).await;
    assert_eq!((verdict.standing, fates(&verdict)[&Fate::Removed]), (Standing::Incomplete, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_that_differs_is_found_by_reading_bytes_alone() {
    let pair = ten().await;
    let target = pair.target.account("u");
    let copy = target.messages("INBOX").unwrap()[4].clone();
    let mut body = copy.body.to_vec();
    let last = body.len() - 3;
    body[last] ^= 1;
    target.expunge("INBOX", &[copy.uid]).unwrap();
    target.add("INBOX", NewMessage::new(body).date(DATE).flags("\\Seen")).unwrap();
    pair.check(Level::Counts, Standing::Complete, &[]).await;
    pair.check(Level::Headers, Standing::Complete, &[]).await;
    pair.check(Level::Bytes, Standing::Incomplete, &[(5, Fate::Copied, Evidence::BytesAltered)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_the_user_changed_is_no_loss_and_one_the_source_changed_is() {
    let pair = ten().await;
    pair.target.account("u").set_flags("INBOX", 3, &["\\Flagged"]).unwrap();
    pair.source.account("u").set_flags("INBOX", 7, &["\\Seen", "\\Answered"]).unwrap();
    pair.check(Level::Counts, Standing::Complete, &[]).await;
    for level in [Level::Headers, Level::Bytes] {
        let evidence = if level == Level::Bytes { Evidence::BytesEqual } else { Evidence::Counted };
        let verdict = pair.check(level, Standing::Incomplete, &[(7, Fate::Copied, evidence)]).await;
        assert_eq!(verdict.folders[0].changed_by_user, 1);
        assert_eq!(verdict.folders[0].listed[0].how, ["the copy lacks: \\Answered"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_differs_is_found_with_the_headers() {
    let pair = ten().await;
    let target = pair.target.account("u");
    let copy = target.messages("INBOX").unwrap()[0].clone();
    target.expunge("INBOX", &[copy.uid]).unwrap();
    target
        .add("INBOX", NewMessage::new(copy.body.to_vec()).date(" 2-Jan-2020 00:00:00 +0000").flags("\\Seen"))
        .unwrap();
    pair.check(Level::Counts, Standing::Complete, &[]).await;
    pair.check(Level::Headers, Standing::Incomplete, &[(1, Fate::Copied, Evidence::Counted)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_is_told_and_is_no_loss() {
    let pair = ten().await;
    let target = pair.target.account("u");
    let copy = target.messages("INBOX").unwrap()[0].clone();
    let uid = target.add("INBOX", NewMessage::new(copy.body.to_vec()).date(DATE)).unwrap();
    for level in LEVELS {
        let verdict = pair.check(level, Standing::Complete, &[]).await;
        assert_eq!((verdict.totals.surplus, &verdict.folders[0].surplus_uids[..]), (1, &[uid][..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_equal_messages_one_copy_is_one_missing() {
    let pair = pair(Config::plain("u")).await;
    pair.add("INBOX", [message("twin"), message("twin"), message("other")]);
    // Nothing is known of them: no run was ever made.
    for text in ["twin", "other"] {
        pair.target.account("u").add("INBOX", message(text)).unwrap();
    }
    for level in LEVELS {
        let (verdict, _) = pair.verify(level).await;
        assert_eq!(fates(&verdict), [(Fate::Adopted, 2), (Fate::Missing, 1)].into(), "{level:?}");
        assert_eq!(verdict.standing, Standing::Incomplete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_and_a_subscription_that_is_lost_are_noticed() {
    let pair = pair(Config::plain("u")).await;
    let source = pair.source.account("u");
    for folder in ["Empty", "Full", "Known"] {
        source.create_folder(FolderSpec::new(folder).subscribed()).unwrap();
    }
    pair.add("Full", [message("one"), message("two")]);
    pair.haul.run().await.assert_complete();
    pair.check(Level::Counts, Standing::Complete, &[]).await;
    let target = pair.target.account("u");
    target.delete("Empty").unwrap();
    target.delete("Full").unwrap();
    target.unsubscribe("Known");
    let (verdict, messages) = pair.verify(Level::Counts).await;
    let notes: Vec<(&str, &str)> = verdict
        .folders
        .iter()
        .flat_map(|folder| folder.notes.iter().map(|note| (folder.source.as_str(), note.as_str())))
        .collect();
    assert_eq!(
        notes,
        [
            ("Empty", "the folder is not on the target"),
            ("Full", "the folder is not on the target"),
            ("Known", "the folder is subscribed at the source and not on the target")
        ]
    );
    assert_eq!(verdict.standing, Standing::Incomplete);
    // More than one message is gone with it: nobody has said who did that.
    assert!(messages.iter().all(|one| one.fate == Fate::Missing && one.how[0].contains("not on the target")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_is_known_to_alter_is_explained_once_a_run_has_listed_it() {
    let pair = pair(Config { munge_eight_bit_headers: true, ..Config::plain("u") }).await;
    pair.add("INBOX", [message("plain"), NewMessage::new(b"Subject: gr\xfcn\r\n\r\nx\r\n".to_vec()).date(DATE)]);
    let ran = pair.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    pair.check(Level::Bytes, Standing::Explained, &[(2, Fate::Copied, Evidence::BytesAltered)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyword_the_target_does_not_keep_is_explained_once_a_run_has_listed_it() {
    let pair = pair(Config { keywords: Keywords::Only(Vec::new()), ..Config::plain("u") }).await;
    pair.add("INBOX", [message("plain"), message("marked").flags("$Work")]);
    let ran = pair.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    pair.check(Level::Headers, Standing::Explained, &[(2, Fate::Copied, Evidence::Counted)]).await;
    pair.source.account("u").set_flags("INBOX", 2, &["$Work", "\\Answered"]).unwrap();
    pair.check(Level::Headers, Standing::Incomplete, &[(2, Fate::Copied, Evidence::Counted)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_gives_other_bytes_each_time_is_compared_with_what_it_gave_then() {
    let pair = ten().await;
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie_about(2, Falsehood::OtherBytesEachFetch));
    pair.check(Level::Bytes, Standing::Explained, &[(2, Fate::Copied, Evidence::BytesEqual)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_or_enters_the_source_meanwhile_is_counted_apart() {
    let pair = ten().await;
    let held = pair.source.faults().hold(Point::command("UID FETCH"), Nth::Only(2));
    let verifying = pair.verify(Level::Bytes);
    let change = async {
        held.reached().await;
        pair.source.account("u").expunge("INBOX", &[3]).unwrap();
        pair.add("INBOX", [message("new"), message("newer")]);
        held.release();
    };
    let ((verdict, _), ()) = tokio::join!(verifying, change);
    assert_eq!(fates(&verdict), [(Fate::Copied, 9), (Fate::Gone, 1)].into(), "{verdict:#?}");
    assert_eq!((verdict.folders[0].arrived, verdict.standing), (2, Standing::Complete));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_while_bodies_are_read_is_replaced() {
    let pair = ten().await;
    for server in [&pair.source, &pair.target] {
        server.faults().add(Point::FetchLiteral(20), Nth::Only(4), Act::Reset);
    }
    pair.check(Level::Bytes, Standing::Complete, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_in_one_place_share_its_messages_out() {
    let pair = pair(Config { features: Features::default(), ..Config::plain("u") }).await;
    for folder in ["A/sub", "B"] {
        pair.source.account("u").create(folder).unwrap();
        pair.add(folder, [message("twin")]);
    }
    pair.target.account("u").create("Z/sub").unwrap();
    pair.target.account("u").add("Z/sub", message("twin")).unwrap();
    let pair = Pair { haul: pair.haul.with("[folders]\nrename = { A = \"Z\", B = \"Z/sub\" }"), ..pair };
    let (verdict, _) = pair.verify(Level::Headers).await;
    assert_eq!(fates(&verdict), [(Fate::Adopted, 1), (Fate::Missing, 1)].into(), "one copy stands for one message");
    pair.haul.run().await.assert_complete();
    pair.check(Level::Bytes, Standing::Complete, &[]).await;
}

/// Reads what is listed as not on the target: folder, UID, kind, subject, date, size, words.
async fn troubles(haul: &Haul) -> Vec<mailhaul::checkpoint::TroubleNote> {
    let ledger = mailhaul::checkpoint::Ledger::open(&haul.state()).unwrap();
    let account = ledger.accounts().await.unwrap().remove(0);
    let notes = ledger.troubles(account.id, 0, usize::MAX).await.unwrap();
    ledger.close().await.unwrap();
    notes
}

fn dated(text: &str) -> NewMessage {
    let body = format!("Date: Wed, 1 Jan 2020 00:00:00 +0000\r\nSubject: {text}\r\n\r\n{text}\r\n");
    NewMessage::new(body.into_bytes()).date(DATE)
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_84_no_number_of_refusals_ends_a_run_and_a_retry_submits_only_those() {
    let pair = pair(Config::plain("u").features(|features| features.multiappend = false)).await;
    let text =
        |number: usize| if number.is_multiple_of(2) { format!("bad {number}") } else { format!("good {number}") };
    pair.add("INBOX", (0..600).map(|number| dated(&text(number))));
    pair.source.account("u").create("Other").unwrap();
    pair.add("Other", [dated("good elsewhere")]);
    let refusal = Act::Reply("NO rejected by policy".to_owned());
    let rule = pair.target.faults().add(Point::AppendContaining(b"Subject: bad".to_vec()), Nth::All, refusal);
    let ran = pair.haul.run().await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.ending, end.fates[&Fate::Copied], end.fates[&Fate::Refused]), (Ending::Exceptions, 301, 300));
    let notes = troubles(&pair.haul).await;
    assert_eq!(notes.len(), 300);
    for note in &notes {
        assert!(note.subject.starts_with("bad") && note.date_header.starts_with("Wed") && note.size > 60, "{note:?}");
        assert_eq!(note.words, "NO rejected by policy");
    }
    // New mail and a changed flag are there when only those are tried again.
    pair.add("INBOX", [dated("good new")]);
    pair.add("Other", [dated("good newer")]);
    pair.source.account("u").set_flags("INBOX", 2, &["\\Flagged"]).unwrap();
    pair.target.faults().remove(rule);
    pair.target.clear_log();
    let retry = pair.haul.run_in(Mode { retry: true, ..Mode::default() }).await;
    assert_eq!(retry.copied(), 300);
    assert_eq!(retry.end.accounts[0].ending, Ending::Exceptions, "new mail is left to be copied");
    let touched = |verb: &str| pair.target.log().iter().filter(|one| one.verb == verb).count();
    assert_eq!((touched("APPEND"), touched("UID STORE"), touched("SELECT"), touched("CREATE")), (300, 0, 0, 0));
    let inbox = pair.target.account("u").messages("INBOX").unwrap();
    assert!(inbox.len() == 600 && inbox.iter().all(|one| !one.body.ends_with(b"good new\r\n")));
    assert!(troubles(&pair.haul).await.is_empty());
    pair.haul.run().await.assert_complete();
    let (verdict, _) = pair.verify(Level::Headers).await;
    assert_eq!((verdict.standing, fates(&verdict)), (Standing::Complete, [(Fate::Copied, 603)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_breaks_connections_costs_few_of_them_and_none_of_the_speed() {
    let pair = pair(Config::plain("u")).await;
    let text = |number: usize| if number == 250 { "poison".to_owned() } else { format!("good {number}") };
    pair.add("INBOX", (0..500).map(|number| dated(&text(number))));
    pair.target.faults().add(Point::AppendContaining(b"Subject: poison".to_vec()), Nth::All, Act::Reset);
    let ran = pair.haul.run().await;
    let end = &ran.end.accounts[0];
    assert_eq!((end.fates[&Fate::Copied], end.fates[&Fate::Refused]), (499, 1));
    let connections = pair.target.stats().connections;
    assert!(connections <= 9, "{connections} connections for one message among 500");
    // Sent alone, a message's literal is announced and waited for.
    let alone = pair.target.log().iter().filter(|one| one.verb == "APPEND" && !one.line.contains("+}")).count();
    assert!(alone <= 10, "{alone} messages were sent alone");
    let note = troubles(&pair.haul).await.remove(0);
    assert_eq!((note.source_uid.value(), note.subject.as_str()), (251, "poison"));
    assert!(note.size > 0 && note.date_header.starts_with("Wed"), "{note:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_is_named_by_the_source_where_it_can_be() {
    let pair = pair(Config::plain("u")).await;
    pair.add("INBOX", [dated("kept"), dated("taken"), dated("nil")]);
    pair.source.account("u").create("Odd").unwrap();
    pair.add("Odd", [dated("odd")]);
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie_about(3, Falsehood::NilBody));
    let refusal = Act::Reply("NO [CANNOT] invalid mailbox name".to_owned());
    pair.target.faults().add(Point::command("CREATE"), Nth::All, refusal);
    pair.haul.run().await;
    pair.target.account("u").expunge("INBOX", &[2]).unwrap();
    pair.haul.run().await;
    let notes = troubles(&pair.haul).await;
    let mut told: Vec<(String, String, String, u64)> =
        notes.iter().map(|one| (one.path.to_string(), one.kind.clone(), one.subject.clone(), one.size)).collect();
    told.sort();
    let size = |text: &str| dated(text).body.len() as u64;
    let told: Vec<(&str, &str, &str, u64)> = told
        .iter()
        .map(|(path, kind, subject, size)| (path.as_str(), kind.as_str(), subject.as_str(), *size))
        .collect();
    assert_eq!(
        told,
        [
            // The source gives nothing of it, nor its header.
            ("INBOX", "message-unreadable", "", size("nil")),
            ("INBOX", "removed", "taken", size("taken")),
            ("Odd", "folder-refused", "odd", size("odd")),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_messages_are_saved_byte_for_byte_and_nothing_a_server_says_leads_elsewhere() {
    use std::os::unix::fs::PermissionsExt as _;
    let pair = pair(Config::plain("u")).await;
    let hostile =
        NewMessage::new(b"Subject: ../../etc/\x00passwd\r\n\r\nbad \x00\xff\n.\r\nno end".to_vec()).date(DATE);
    pair.source.account("u").create("..").unwrap();
    pair.add("..", [hostile.clone()]);
    pair.add("INBOX", [dated("fine"), dated("bad large"), dated("bad nil"), dated("bad gone")]);
    let refusal = || Act::Reply("NO rejected by policy".to_owned());
    pair.target.faults().add(Point::AppendContaining(b"bad".to_vec()), Nth::All, refusal());
    pair.haul.run().await;
    pair.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie_about(3, Falsehood::NilBody));
    pair.source.account("u").expunge("INBOX", &[4]).unwrap();
    pair.target.clear_log();
    let before = pair.target.stats().connections;
    let directory = tempfile::tempdir().unwrap();
    let export = async || {
        let (context, _events) = pair.haul.context();
        let ledger = context.ledger.clone();
        let (sender, mut told) = tokio::sync::mpsc::channel(8);
        let failures = transfer::export(context, directory.path(), sender).await;
        assert!(failures.is_empty(), "{failures:?}");
        ledger.close().await.unwrap();
        let mut all = Vec::new();
        while let Some(one) = told.recv().await {
            all.push(one);
        }
        all.sort_by_key(|one| (one.note.path.to_string(), one.note.source_uid));
        all
    };
    let exported = export().await;
    assert_eq!(pair.target.stats().connections, before, "the target is not asked");
    let files: Vec<Result<Vec<u8>, &str>> = exported
        .iter()
        .map(|one| match &one.file {
            Ok(saved) => Ok(std::fs::read(directory.path().join(&saved.name)).unwrap()),
            Err(reason) => Err(reason.as_str()),
        })
        .collect();
    assert_eq!(
        files,
        [
            Ok(hostile.body.to_vec()),
            Ok(dated("bad large").body.to_vec()),
            Err("the source gives no body for it"),
            Err("it has left the source")
        ]
    );
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            name.ends_with(".eml") && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)),
            "{name}"
        );
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    // A file that is there and equal is as good as written; another is left alone.
    let name = exported[1].file.as_ref().unwrap().name.clone();
    std::fs::write(directory.path().join(&name), "mine").unwrap();
    let again = export().await;
    assert!(again[0].file.is_ok());
    assert_eq!(again[1].file, Err(format!("{name} is there already with other content")));
    assert_eq!(std::fs::read(directory.path().join(&name)).unwrap(), b"mine");
}

/// Types a command, and gives its exit code and what it printed.
async fn typed(haul: &Haul, arguments: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mailhaul"));
    command.args(arguments).arg("--state").arg(haul.state()).current_dir(haul.state().parent().unwrap());
    command.stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn f72_exit_codes_tell_complete_from_explained_from_incomplete() {
    let pair = pair(Config::plain("u")).await;
    pair.add("INBOX", [dated("good"), dated("bad")]);
    let refusal = Act::Reply("NO [LIMIT] message too large".to_owned());
    pair.target.faults().add(Point::AppendContaining(b"bad".to_vec()), Nth::All, refusal);
    pair.haul.job_file();
    assert_eq!(typed(&pair.haul, &["run", "job.toml"]).await.0, 3);
    let verify = ["verify", "job.toml", "--messages", "messages.jsonl"];
    let (code, text) = typed(&pair.haul, &verify).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("INBOX   INBOX          2         1          1          1"), "{text}");
    let written = std::fs::read_to_string(pair.haul.state().with_file_name("messages.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (lines.len(), &lines[1]["fate"], &lines[0]["evidence"]),
        (2, &"refused".into(), &"metadata-equal".into())
    );

    let (code, text) = typed(&pair.haul, &["failed", "job.toml", "--export", "lost"]).await;
    assert_eq!((code, text.lines().next()), (0, Some("1 message saved")), "{text}");
    let lost = pair.haul.state().with_file_name("lost");
    let manifest = std::fs::read_to_string(lost.join("manifest.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(manifest.trim_end()).unwrap();
    let bytes = std::fs::read(lost.join(line["file"].as_str().unwrap())).unwrap();
    assert_eq!(bytes, dated("bad").body.to_vec());
    assert_eq!(line["sha256"], mailhaul::mail::digest(&bytes).to_string());
    assert_eq!((&line["subject"], &line["uid"]), (&"bad".into(), &2.into()));
    assert!(line["cause"].as_str().unwrap().contains("larger than the target takes"), "{line}");

    pair.target.faults().clear();
    assert_eq!(typed(&pair.haul, &["run", "job.toml", "--failed"]).await.0, 0);
    let (code, text) = typed(&pair.haul, &["verify", "job.toml", "--level", "bytes"]).await;
    assert_eq!(code, 0, "{text}");
    pair.add("INBOX", [dated("newer")]);
    let (code, text) = typed(&pair.haul, &["verify", "job.toml", "--json"]).await;
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let folder = &document["accounts"][0]["folders"][0];
    assert_eq!((code, &folder["fates"]["missing"], &folder["messages"]), (6, &1.into(), &3.into()), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_accepted_as_removed_is_explained() {
    let pair = pair(Config::plain("u")).await;
    pair.source.account("u").create("Work").unwrap();
    for folder in ["INBOX", "Work"] {
        pair.add(folder, (0..20).map(|number| message(&format!("number {number}"))));
    }
    pair.haul.run().await.assert_complete();
    let target = pair.target.account("u");
    target.expunge("INBOX", &(1..=12).collect::<Vec<_>>()).unwrap();
    target.delete("Work").unwrap();
    let (verdict, _) = pair.verify(Level::Headers).await;
    assert_eq!(verdict.standing, Standing::Incomplete, "nobody has said who did that");
    let accepted = pair.haul.run_in(Mode { accept: true, ..Mode::default() }).await;
    assert_eq!(accepted.end.accounts[0].fates[&Fate::Removed], 32);
    for level in LEVELS {
        let (verdict, _) = pair.verify(level).await;
        assert_eq!((verdict.standing, verdict.totals.of(Fate::Removed)), (Standing::Explained, 32), "{verdict:#?}");
    }
    // What goes after that has to be judged anew.
    target.expunge("INBOX", &(13..=20).collect::<Vec<_>>()).unwrap();
    pair.add("INBOX", (0..4).map(|number| message(&format!("later {number}"))));
    pair.haul.run().await;
    let copies: Vec<u32> = target.messages("INBOX").unwrap().iter().map(|copy| copy.uid).collect();
    target.expunge("INBOX", &copies).unwrap();
    let (verdict, _) = pair.verify(Level::Headers).await;
    assert_eq!(verdict.standing, Standing::Explained, "few: {verdict:#?}");
}
