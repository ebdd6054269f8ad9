//! What was on the target before: by another tool, by a lost run, by a user who took it away again.

use crate::recovery::content;
use crate::support::haul::{Haul, Ran, Side};
use crate::support::{Dovecot, dovecot};
use mailhaul::failure::Kind;
use mailhaul::mail::{Evidence, Fate};
use mailhaul::transfer::{Ending, Mode};
use mailhaul_testserver::{Act, Config, Features, NewMessage, Nth, Point, Server};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Two empty servers of one user and a job between them.
pub(crate) struct Two {
    pub(crate) source: Server,
    pub(crate) target: Server,
    pub(crate) haul: Haul,
}

pub(crate) async fn two_of(source: Config, target: Config) -> Two {
    let source = Server::start(source).await.unwrap();
    let target = Server::start(target).await.unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
        .user("u", "u")
        .with("[transfer]\ntimeout = \"3s\"\noutage = \"20s\"\nsettle = \"100ms\"");
    Two { source, target, haul }
}

pub(crate) async fn two() -> Two {
    two_of(Config::plain("u"), Config::plain("u")).await
}

impl Two {
    pub(crate) fn give(&self, folder: &str, message: NewMessage) -> u32 {
        self.source.account("u").add(folder, message).unwrap()
    }

    pub(crate) fn has(&self, folder: &str, message: NewMessage) -> u32 {
        self.target.account("u").add(folder, message).unwrap()
    }

    pub(crate) fn on_target(&self, folder: &str) -> usize {
        self.target.account("u").messages(folder).map_or(0, |messages| messages.len())
    }

    /// Runs; nothing may have been copied.
    async fn copies_nothing(&self, what: &str) -> Ran {
        let before = content(&self.target);
        let ran = self.haul.run().await;
        assert_eq!(ran.copied(), 0, "{what}: {:#?}", ran.end);
        let bodies = |content: &crate::recovery::Content| -> Vec<Vec<u8>> {
            content.values().flatten().flat_map(|((_, body), count)| vec![body.clone(); *count]).collect()
        };
        let (mut before, mut after) = (bodies(&before), bodies(&content(&self.target)));
        before.sort();
        after.sort();
        assert!(before == after, "{what}: the target holds something else now");
        ran
    }
}

pub(crate) fn dated(body: impl Into<Vec<u8>>, day: usize) -> NewMessage {
    NewMessage::new(body.into()).date(&format!("{:2}-Mar-2020 01:02:03 +0100", day % 28 + 1))
}

/// Messages of every kind that tools treat in their own way.
fn kinds() -> Vec<Vec<u8>> {
    let headers = "From: a@x.example\r\nTo: b@y.example\r\nDate: Mon, 2 Mar 2020 01:02:03 +0100\r\n";
    let mut all: Vec<Vec<u8>> = (0..6)
        .map(|at| format!("Message-ID: <{at}@x>\r\n{headers}Subject: {at}\r\n\r\nbody {at}\r\n").into_bytes())
        .collect();
    // Without Message-ID and Received, alone and with a twin of another body.
    all.push(format!("{headers}Subject: draft\r\n\r\none\r\n").into_bytes());
    all.push(format!("{headers}Subject: twin\r\n\r\nfirst\r\n").into_bytes());
    all.push(format!("{headers}Subject: twin\r\n\r\nother\r\n").into_bytes());
    // Without any header.
    all.push(b"\r\nonly a body\r\n".to_vec());
    all.push(b"\r\nonly another body\r\n".to_vec());
    // Bare line feeds, twice of the same header.
    all.push(b"Message-ID: <lf@x>\nSubject: lf\n\nsome\nlines\n".to_vec());
    all.push(b"Message-ID: <lf@x>\nSubject: lf\n\nother\nlines of text\n".to_vec());
    all.push(b"\nno header\nand bare\nline feeds\n".to_vec());
    all
}

/// What imapsync makes of a message: bare LF becomes CRLF, and what has neither Message-Id nor Received gets a Message-Id.
fn by_imapsync(message: &[u8], uid: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let has = |name: &[u8]| message.to_ascii_lowercase().windows(name.len()).any(|window| window == name);
    if !has(b"message-id:") && !has(b"received:") {
        out.extend_from_slice(format!("Message-Id: <{uid}@imapsync>\r\n").as_bytes());
    }
    for (at, byte) in message.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || message[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

/// What mbsync makes of a message: its mark at the end of the header.
fn by_mbsync(message: &[u8], at: usize) -> Vec<u8> {
    let message = String::from_utf8(by_imapsync(message, 0)).unwrap().replace("Message-Id: <0@imapsync>\r\n", "");
    let (header, body) = match message.strip_prefix("\r\n") {
        Some(body) => ("", body),
        None => message.split_once("\r\n\r\n").map(|(header, body)| (&message[..header.len() + 2], body)).unwrap(),
    };
    format!("{header}X-TUID: abcdefgh+{:03}\r\n\r\n{body}", at % 1000).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_imapsync_has_copied_is_adopted() {
    let two = two().await;
    for (at, message) in kinds().into_iter().enumerate() {
        let uid = two.give("INBOX", dated(message.clone(), at).flags("\\Seen"));
        // It changes flags as it likes, and may have copied in another order.
        two.has("INBOX", dated(by_imapsync(&message, uid), at).flags("\\Flagged"));
    }
    let ran = two.copies_nothing("imapsync").await;
    let end = &ran.end.accounts[0];
    assert_eq!(end.fates, BTreeMap::from([(Fate::Adopted, 14)]));
    assert_eq!(end.evidence[&Evidence::BytesAltered], 8, "what was changed on the way is said so: {end:?}");
    two.copies_nothing("a second run").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mbsync_has_copied_is_adopted_though_it_kept_no_date() {
    let two = two().await;
    for (at, message) in kinds().into_iter().enumerate() {
        two.give("INBOX", dated(message.clone(), at));
        two.has("INBOX", NewMessage::new(by_mbsync(&message, at)).date(" 1-Nov-2024 10:00:00 +0000"));
    }
    let ran = two.copies_nothing("mbsync").await;
    assert_eq!(ran.end.accounts[0].fates, BTreeMap::from([(Fate::Adopted, 14)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_filled_target_gets_the_other_half_and_only_that() {
    let two = two().await;
    for (at, message) in kinds().into_iter().enumerate() {
        let uid = two.give("INBOX", dated(message.clone(), at));
        if at % 2 == 0 {
            two.has("INBOX", dated(by_imapsync(&message, uid), at));
        }
    }
    let ran = two.haul.run().await;
    assert_eq!((ran.copied(), two.on_target("INBOX")), (7, 14));
    two.copies_nothing("a second run").await;
}

/// Gives a program of another tool, where it is installed. Where it is not, the imitation above has to do.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("{name} is not installed: its work is imitated only");
    }
    found
}

/// Two Dovecots, the source filled; a tool fills the target; then nothing is left to copy. `differ`: how many messages the
/// tool leaves out.
async fn check_tool(fill: impl FnOnce(&Dovecot, &Dovecot, &Path), left_out: u64) {
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let target = Dovecot::start(dovecot::Options::default());
    let mut client = source.client("anna");
    let messages: Vec<Vec<u8>> = kinds().iter().map(|message| by_imapsync(message, 0)).collect();
    // Dovecot itself turns LF into CRLF when it stores.
    for (at, message) in messages.iter().enumerate() {
        let text = String::from_utf8(message.clone()).unwrap().replace("Message-Id: <0@imapsync>\r\n", "");
        let date = format!("{:02}-Mar-2020 01:02:03 +0100", at + 1);
        client.store("INBOX", if at % 2 == 0 { "\\Seen" } else { "" }, &date, text.as_bytes());
    }
    let scratch = tempfile::tempdir().unwrap();
    fill(&source, &target, scratch.path());
    let filled = target.client("anna").status("INBOX", "MESSAGES")[0];
    assert_eq!(filled, messages.len() as u64 - left_out, "the tool left out something else");
    let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), Side::tls(target.imaps(), &target.ca_file()))
        .user("anna", "anna");
    let ran = haul.run().await;
    assert_eq!(ran.copied(), left_out, "{:#?}", ran.end);
    assert_eq!(target.client("anna").status("INBOX", "MESSAGES")[0], messages.len() as u64);
    assert_eq!(haul.run().await.copied(), 0);
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_mbsync_has_copied_is_adopted() {
    let Some(mbsync) = tool("mbsync") else { return };
    let fill = |source: &Dovecot, target: &Dovecot, scratch: &Path| {
        let mut file = String::new();
        for (name, port) in [("src", source.imap()), ("dst", target.imap())] {
            // The word for "no TLS" differs between versions; both are known by the later ones.
            file += &format!(
                "IMAPAccount {name}\nHost 127.0.0.1\nPort {port}\nUser anna\nPass {}\nSSLType None\nAuthMechs LOGIN\n\n\
                 IMAPStore {name}\nAccount {name}\n\n",
                dovecot::PASSWORD
            );
        }
        file += "Channel c\nFar :src:\nNear :dst:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState ";
        file += &format!("{}/\n", scratch.display());
        std::fs::write(scratch.join("rc"), file).unwrap();
        run(Command::new(&mbsync).arg("-c").arg(scratch.join("rc")).args(["-q", "c"]).env("HOME", scratch));
    };
    check_tool(fill, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_imapsync_has_copied_is_adopted() {
    let Some(imapsync) = tool("imapsync") else { return };
    let fill = |source: &Dovecot, target: &Dovecot, scratch: &Path| {
        let mut command = Command::new(&imapsync);
        for (number, port) in [(1, source.imap()), (2, target.imap())] {
            for (option, value) in
                [("host", "127.0.0.1".to_owned()), ("port", port.to_string()), ("user", "anna".to_owned())]
            {
                command.arg(format!("--{option}{number}")).arg(value);
            }
            command.args([format!("--password{number}"), dovecot::PASSWORD.to_owned(), format!("--notls{number}")]);
        }
        let pid = scratch.join("pid");
        command.args(["--addheader", "--syncduplicates", "--nolog", "--noreleasecheck", "--tmpdir"]).arg(scratch);
        run(command.arg("--pidfile").arg(pid).current_dir(scratch).env("HOME", scratch));
    };
    check_tool(fill, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn multisets_end_as_they_are_at_the_source() {
    let header = "Message-ID: <same@x>\r\nSubject: quota\r\n";
    // At the source, on the target before, on the target after.
    for (what, at_source, before, after) in [
        ("ten identical copies", vec!["a"; 10], vec![], 10),
        ("equal headers and other bytes", vec!["95%", "96%"], vec![], 2),
        ("equal headers, one of them there", vec!["95%", "96%"], vec!["96%"], 2),
        ("three and one", vec!["a"; 3], vec!["a"], 3),
        ("three and five", vec!["a"; 3], vec!["a"; 5], 5),
    ] {
        for header in [header, ""] {
            let two = two().await;
            let message = |body: &str| dated(format!("{header}\r\n{body}\r\n"), 1);
            for body in &at_source {
                two.give("INBOX", message(body));
            }
            for body in &before {
                two.has("INBOX", message(body));
            }
            two.haul.run().await.assert_complete();
            assert_eq!(two.on_target("INBOX"), after, "{what}, {header}");
            let ran = two.copies_nothing(what).await;
            ran.assert_complete();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_messages_one_was_acknowledged_before_the_crash() {
    for uidplus in [true, false] {
        for stop_at in 1..=4 {
            let features = Features { uidplus, multiappend: false, ..Features::default() };
            let two = two_of(Config::plain("u"), Config { features, ..Config::plain("u") }).await;
            for _ in 0..4 {
                two.give("INBOX", dated("Subject: twin\r\n\r\ntwin\r\n", 1));
            }
            // Stored, and the answer never read: the run is dropped there.
            let held = two.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(stop_at));
            two.haul.run_dropped_at(held).await;
            two.haul.run().await.assert_complete();
            assert_eq!(two.on_target("INBOX"), 4, "UIDPLUS {uidplus}, stopped at {stop_at}");
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_state_doubles_nothing() {
    for (what, renumber) in [("as they were", false), ("numbered anew", true)] {
        let two = two().await;
        let give = |from: usize, to: usize| {
            for at in from..to {
                two.give("INBOX", dated(format!("Subject: {at}\r\n\r\n{}\r\n", at / 2), at));
                two.give("INBOX", dated("\r\nthe same each time\r\n", 1));
            }
        };
        give(0, 10);
        two.haul.run().await.assert_complete();
        let backup = tempfile::tempdir().unwrap();
        copy_directory(&two.haul.state(), backup.path());
        give(10, 20);
        two.haul.run().await.assert_complete();
        copy_directory(backup.path(), &two.haul.state());
        give(20, 25);
        if renumber {
            two.source.account("u").renumber("INBOX").unwrap();
            two.target.account("u").renumber("INBOX").unwrap();
        }
        let ran = two.haul.run().await;
        assert_eq!((ran.copied(), two.on_target("INBOX")), (10, 50), "{what}: {:#?}", ran.end);
        assert!(content(&two.source) == content(&two.target), "{what}");
        two.copies_nothing(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lasting_uids_everything_goes_by_content() {
    for (what, source, target) in [("source", false, true), ("target", true, false), ("both", false, false)] {
        for uidplus in [true, false] {
            let features = Features { uidplus, ..Features::default() };
            let sides = (
                Config { uids_last: source, ..Config::plain("u") },
                Config { uids_last: target, features, ..Config::plain("u") },
            );
            let two = two_of(sides.0, sides.1).await;
            for (at, message) in kinds().into_iter().enumerate() {
                two.give("INBOX", dated(message, at).flags(if at % 3 == 0 { "\\Seen" } else { "" }));
                two.give("INBOX", dated("\r\nthe same each time\r\n", 1));
            }
            let ran = two.haul.run().await;
            assert_eq!((ran.copied(), two.on_target("INBOX")), (28, 28), "{what}: {:#?}", ran.end);
            assert!(content(&two.source) == content(&two.target), "{what}");
            ran.assert_complete();
            two.copies_nothing(what).await;
            two.give("INBOX", dated("Subject: late\r\n\r\n", 9));
            // An answer that is lost is no reason to send it twice.
            two.target.faults().add(Point::command("APPEND"), Nth::Only(1), Act::SwallowReply);
            two.haul.run().await.assert_complete();
            assert_eq!(two.on_target("INBOX"), 29, "{what}");
        }
    }
}

async fn filled(messages: usize) -> Two {
    let two = two().await;
    two.source.account("u").create("Work").unwrap();
    for at in 0..messages {
        two.give("Work", dated(format!("Subject: {at}\r\n\r\n{at}\r\n"), at));
    }
    two.give("INBOX", dated("Subject: inbox\r\n\r\n", 1));
    two.haul.run().await.assert_complete();
    two
}

fn uids(range: std::ops::RangeInclusive<u32>) -> Vec<u32> {
    range.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_removed_copies_are_their_users_choice() {
    let two = filled(40).await;
    two.target.account("u").expunge("Work", &uids(3..=7)).unwrap();
    for _ in 0..2 {
        let ran = two.copies_nothing("removed").await;
        assert_eq!(ran.end.accounts[0].fates[&Fate::Removed], 5);
    }
    let mode = Mode { restore: true, ..Mode::default() };
    assert_eq!(two.haul.run_in(mode).await.copied(), 5);
    assert!(content(&two.source) == content(&two.target));
}

/// Says what a run told of folders that it gave up.
fn given_up(ran: &Ran) -> Vec<(String, Kind, String)> {
    let failures = &ran.end.accounts[0].folders_failed;
    failures.iter().map(|(path, failure)| (path.clone(), failure.kind, failure.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_tenth_gone_needs_a_person() {
    let two = filled(100).await;
    two.target.account("u").expunge("Work", &uids(1..=11)).unwrap();
    two.give("Work", dated("Subject: new\r\n\r\n", 1));
    two.give("INBOX", dated("Subject: new\r\n\r\n", 1));
    for _ in 0..2 {
        let ran = two.haul.run().await;
        let told = given_up(&ran);
        assert_eq!((told.len(), told[0].0.as_str(), told[0].1), (1, "Work", Kind::CopiesGone), "{told:?}");
        for part in ["11 of its 100", "--restore-removed", "--accept-removed"] {
            assert!(told[0].2.contains(part), "{part}: {}", told[0].2);
        }
        assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
        assert_eq!((two.on_target("Work"), two.on_target("INBOX")), (89, 2), "other folders go on, this one not");
    }
    let ran = two.haul.run_in(Mode { accept: true, ..Mode::default() }).await;
    assert_eq!((ran.copied(), two.on_target("Work"), given_up(&ran).len()), (1, 90, 0));
    assert_eq!(ran.end.accounts[0].fates[&Fate::Removed], 11);
    let ran = two.copies_nothing("it was said once").await;
    assert!(given_up(&ran).is_empty());
    let ran = two.haul.run_in(Mode { restore: true, ..Mode::default() }).await;
    ran.assert_complete();
    assert_eq!(two.on_target("Work"), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_folder_that_is_gone_is_not_filled_again_unasked() {
    for restore in [true, false] {
        let two = filled(20).await;
        two.target.account("u").delete("Work").unwrap();
        two.give("INBOX", dated("Subject: new\r\n\r\n", 1));
        let ran = two.haul.run().await;
        let told = given_up(&ran);
        assert_eq!((told.len(), told[0].1), (1, Kind::CopiesGone), "{told:?}");
        assert!(told[0].2.contains("20 messages"), "{}", told[0].2);
        assert!(two.target.account("u").folder("Work").is_none());
        assert_eq!(two.on_target("INBOX"), 2);
        let ran = two.haul.run_in(Mode { restore, accept: !restore, ..Mode::default() }).await;
        assert!(given_up(&ran).is_empty(), "{:?}", given_up(&ran));
        if restore {
            ran.assert_complete();
            assert_eq!(two.on_target("Work"), 20);
            continue;
        }
        assert_eq!(ran.end.accounts[0].fates[&Fate::Removed], 20);
        two.copies_nothing("accepted").await;
        assert!(two.target.account("u").folder("Work").is_none(), "nothing is left for it");
        two.give("Work", dated("Subject: new\r\n\r\n", 1));
        let ran = two.haul.run().await;
        assert_eq!((ran.copied(), two.on_target("Work")), (1, 1), "new mail has to go somewhere");
    }
}

/// The same source, by another name.
fn by_name(two: &Two) -> Side {
    Side { host: "localhost".to_owned(), ..Side::plain(two.source.port()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_mailbox_under_another_name_of_its_host_is_not_copied_again() {
    let mut two = filled(30).await;
    two.target.account("u").expunge("Work", &uids(1..=3)).unwrap();
    two.haul.take_from(by_name(&two));
    let plan = plan(&two).await;
    assert_eq!(plan.folders.iter().map(|folder| (folder.to_copy, folder.removed)).max(), Some((0, 3)), "{plan:#?}");
    two.give("Work", dated("Subject: new\r\n\r\n", 1));
    let ran = two.haul.run().await;
    assert_eq!((ran.copied(), two.on_target("Work")), (1, 28), "{:#?}", ran.end);
    assert_eq!(ran.end.accounts[0].fates[&Fate::Removed], 3, "what its user removed is known too");
    let (context, _events) = two.haul.context();
    let ledger = context.ledger.clone();
    let verdict = mailhaul::transfer::verify(context, mailhaul::transfer::Level::Bytes, 1.0).await.remove(0);
    ledger.close().await.unwrap();
    assert_eq!((verdict.totals.of(Fate::Missing), verdict.totals.others), (0, 0), "{verdict:#?}");
    two.copies_nothing("under the other name").await;
    two.haul.take_from(Side::plain(two.source.port()));
    two.give("Work", dated("Subject: newer\r\n\r\n", 1));
    two.haul.run().await;
    assert_eq!(two.on_target("Work"), 29, "under the first name again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_goes_on_under_another_name_of_its_source() {
    for uidplus in [true, false] {
        for stop_at in [1, 4, 9] {
            let features = Features { uidplus, multiappend: false, ..Features::default() };
            let mut two = two_of(Config::plain("u"), Config { features, ..Config::plain("u") }).await;
            for at in 0..12 {
                two.give("INBOX", dated(format!("Subject: twin\r\n\r\n{}\r\n", at / 2), 1));
            }
            let held = two.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(stop_at));
            two.haul.run_dropped_at(held).await;
            two.haul.take_from(by_name(&two));
            two.haul.run().await.assert_complete();
            assert_eq!(two.on_target("INBOX"), 12, "UIDPLUS {uidplus}, stopped at {stop_at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mailbox_of_the_same_user_is_not_taken_for_the_same() {
    let mut two = two().await;
    let other = Server::start(Config::plain("u")).await.unwrap();
    for at in 0..20 {
        // The same numbers, sizes and dates: the bytes are others, of all but one.
        let message = |host: &str| dated(format!("Subject: {at}\r\n\r\n{host}\r\n"), at);
        two.give("INBOX", message("one"));
        other.account("u").add("INBOX", message(if at == 7 { "one" } else { "two" })).unwrap();
    }
    let validity = |server: &Server| server.account("u").folder("INBOX").unwrap().uid_validity;
    assert_eq!(validity(&two.source), validity(&other));
    two.haul.run().await.assert_complete();
    two.haul.take_from(Side::plain(other.port()));
    let ran = two.haul.run().await;
    ran.assert_complete();
    assert_eq!((ran.copied(), two.on_target("INBOX")), (19, 39), "what is equal is there already");
}

async fn plan(two: &Two) -> mailhaul::transfer::AccountPlan {
    let (context, _events) = two.haul.context();
    let ledger = context.ledger.clone();
    let plan = mailhaul::transfer::plan(context).await.remove(0);
    ledger.close().await.unwrap();
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_asks_where_a_run_would_ask() {
    let two = filled(100).await;
    let target = two.target.account("u");
    target.expunge("Work", &uids(1..=11)).unwrap();
    let asked = plan(&two).await;
    assert_eq!(asked.failures.iter().map(|failure| failure.kind).collect::<Vec<_>>(), [Kind::CopiesGone], "{asked:#?}");
    // The same, where the source has numbered it anew since.
    two.source.account("u").renumber("Work").unwrap();
    let asked = plan(&two).await;
    assert_eq!(asked.failures.len(), 1, "{asked:#?}");
    target.delete("Work").unwrap();
    let asked = plan(&two).await;
    assert_eq!(asked.failures.len(), 1, "{asked:#?}");
    assert!(asked.failures[0].hint.contains("--accept-removed"));
    two.haul.run_in(Mode { accept: true, ..Mode::default() }).await;
    let said = plan(&two).await;
    assert_eq!(said.failures.len(), 0, "{said:#?}");
    assert_eq!(said.folders.iter().map(|folder| folder.to_copy).sum::<u64>(), 0, "{said:#?}");
}
