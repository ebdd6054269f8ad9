//! What messages hold, and what servers do to it: numbers 1 to 30.

use crate::support::client::{Address, Client};
use crate::support::compare;
use crate::support::haul::{Haul, Ran, Side};
use crate::support::judge::{Judged, judge};
use crate::support::{Dovecot, dovecot};
use mailhaul::checkpoint::Ledger;
use mailhaul::mail::{Evidence, Fate};
use mailhaul::transfer::{self, Ending, Event};
use mailhaul_testserver::{Act, Config, Doubles, Falsehood, Features, NewMessage, Nth, Point, Server};

/// Messages at a source in this process, and a target that does what the case is about.
struct Case {
    source: Server,
    target: Server,
    haul: Haul,
}

const DATE: &str = "01-Feb-2021 03:04:05 +0100";
const BEFORE: &[u8] = b"Subject: before\r\n\r\nbefore\r\n";
const AFTER: &[u8] = b"Subject: after\r\n\r\nafter\r\n";

impl Case {
    /// UIDs count from 1 in the order of `messages`.
    async fn new(messages: &[&[u8]], target: Config) -> Self {
        Self::from(Config::plain("u"), messages, target).await
    }

    async fn from(source: Config, messages: &[&[u8]], target: Config) -> Self {
        let source = Server::start(source).await.unwrap();
        let target = Server::start(target).await.unwrap();
        for message in messages {
            source.account("u").add("INBOX", NewMessage::new(message.to_vec()).date(DATE)).unwrap();
        }
        let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
            .user("u", "u")
            .with("[transfer]\ntimeout = \"1s\"\noutage = \"60s\"\n[limits]\nconnections = 2");
        Self { source, target, haul }
    }

    fn lie(&self, what: Falsehood) {
        self.source.faults().add(Point::command("UID FETCH"), Nth::All, Act::lie(what));
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.target.account("u").messages("INBOX").unwrap().iter().map(|message| message.body.to_vec()).collect()
    }

    /// Every word of the run is judged by what both servers give.
    async fn judged(&self) -> Judged {
        let client = |server: &Server| Client::sign_in(&Address::plain(server.port()), "u", "pass");
        let judged = judge(&self.haul, &mut client(&self.source), &mut client(&self.target)).await;
        judged.assert_true();
        judged
    }

    /// All arrive as they are, and a second run has nothing to do.
    async fn assert_exact(&self) -> Ran {
        let ran = self.haul.run().await;
        ran.assert_complete();
        self.source.faults().clear();
        let judged = self.judged().await;
        assert_eq!(judged.altered, 0);
        assert_eq!(self.bodies().len() as u64, judged.count());
        let again = self.haul.run().await;
        again.assert_complete();
        assert_eq!(again.copied(), 0);
        ran
    }

    /// The second of three messages has this fate and is listed with these words; the others arrive, each once.
    async fn assert_second_is(&self, fate: Fate, words: &str) {
        let ran = self.haul.run().await;
        let end = &ran.end.accounts[0];
        assert_eq!(end.ending, Ending::Exceptions, "{end:#?}");
        assert_eq!((end.fates.get(&fate), end.fates.get(&Fate::Copied)), (Some(&1), Some(&2)), "{end:#?}");
        let failed: Vec<_> = ran.events.iter().filter(|event| matches!(event, Event::MessageFailed { .. })).collect();
        let [Event::MessageFailed { uid: 2, words: said, .. }] = failed.as_slice() else { panic!("{failed:#?}") };
        assert!(said.contains(words), "{said}");
        assert_eq!(self.bodies(), [BEFORE, AFTER]);
        let again = self.haul.run().await;
        assert_eq!((again.copied(), again.end.accounts[0].ending), (0, Ending::Exceptions));
        self.source.faults().clear();
        self.judged().await;
    }

    /// As [`Self::assert_exact`]; then, with nothing known of it and one copy gone, that one alone is copied.
    async fn assert_told_apart(&self) {
        self.assert_exact().await;
        let whole = self.bodies();
        std::fs::remove_dir_all(self.haul.state()).unwrap();
        let target = self.target.account("u");
        let uid = target.messages("INBOX").unwrap()[0].uid;
        target.expunge("INBOX", &[uid]).unwrap();
        assert_eq!(self.haul.run().await.copied(), 1);
        let mut bodies = self.bodies();
        bodies.rotate_right(1);
        assert_eq!(bodies, whole);
        self.judged().await;
    }

    /// What a look says before anything is done.
    async fn warnings(&self) -> Vec<String> {
        let (context, _events) = self.haul.context();
        let ledger = context.ledger.clone();
        let checked = transfer::check(context).await.remove(0);
        ledger.close().await.unwrap();
        checked.seen.unwrap().warnings
    }

    /// What is listed as not on the target: UID and size.
    async fn troubles(&self) -> Vec<(u32, u64)> {
        let ledger = Ledger::open(&self.haul.state()).unwrap();
        let account = ledger.accounts().await.unwrap().remove(0).id;
        let troubles = ledger.troubles(account, 0, usize::MAX).await.unwrap();
        ledger.close().await.unwrap();
        troubles.iter().map(|trouble| (trouble.source_uid.value(), trouble.size)).collect()
    }

    /// All arrive, and those copies that have other bytes are said to have.
    async fn assert_altered(&self, count: u64) {
        let ran = self.haul.run().await;
        assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions, "{:#?}", ran.end);
        let judged = self.judged().await;
        assert_eq!((judged.altered, judged.fates[&(Fate::Copied, Evidence::BytesAltered)]), (count, count), "{judged}");
        assert_eq!(self.haul.run().await.copied(), 0);
    }
}

fn target() -> Config {
    Config::plain("u")
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_nul_is_kept_or_said_to_be_altered_or_refused() {
    let nul: &[u8] = b"Subject: NUL\r\n\r\na\0b\0\0\0\r\n";
    Case::new(&[BEFORE, nul, AFTER], target()).await.assert_exact().await;
    Case::new(&[BEFORE, nul, AFTER], Config { nul_becomes_80: true, ..target() }).await.assert_altered(1).await;
    let strict = Config { refuse_nul: true, ..target() };
    Case::new(&[BEFORE, nul, AFTER], strict).await.assert_second_is(Fate::Refused, "NUL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_f68_an_altered_copy_is_listed_also_where_its_answer_was_lost() {
    let nul: &[u8] = b"Subject: NUL\r\n\r\na\0b\0\0\0\r\n";
    for uidplus in [true, false] {
        let features = Features { uidplus, ..Features::default() };
        let altering = Config { nul_becomes_80: true, features, ..target() };
        let case = Case::new(&[BEFORE, nul, AFTER], altering.clone()).await;
        case.target.faults().add(Point::after_execute("APPEND"), Nth::Only(2), Act::Drop);
        case.assert_altered(1).await;
        assert_eq!(case.bodies().len(), 3);
        // With nothing known of it, one of another size is adopted; and listed all the same.
        let account = case.target.account("u");
        let copy = account.messages("INBOX").unwrap().into_iter().find(|one| one.body.contains(&0x80)).unwrap();
        account.expunge("INBOX", &[copy.uid]).unwrap();
        account.add("INBOX", NewMessage::new([&copy.body[..], b"\r\n"].concat()).date(DATE)).unwrap();
        std::fs::remove_dir_all(case.haul.state()).unwrap();
        let ran = case.haul.run().await;
        assert_eq!((ran.copied(), ran.end.accounts[0].ending), (0, Ending::Exceptions), "{:#?}", ran.end);
        let judged = case.judged().await;
        assert_eq!((judged.altered, judged.fates[&(Fate::Adopted, Evidence::BytesAltered)]), (1, 1), "{judged}");
        // So it is where the target has numbered them anew, which never were sent as far as is known.
        account.renumber("INBOX").unwrap();
        let ran = case.haul.run().await;
        assert_eq!((ran.copied(), ran.end.accounts[0].ending), (0, Ending::Exceptions), "{:#?}", ran.end);
        let judged = case.judged().await;
        assert_eq!(judged.altered, 1, "{judged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_a_bare_line_feed_is_sent_as_it_is() {
    let bare: &[u8] = b"Subject: bare\n\nline\nfeeds\n";
    Case::new(&[BEFORE, bare, AFTER], target()).await.assert_exact().await;
    let strict = Config { refuse_bare_lf: true, ..target() };
    Case::new(&[BEFORE, bare, AFTER], strict).await.assert_second_is(Fate::Refused, "bare newlines").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_munged_header_of_the_same_size_is_found() {
    let raw: &[u8] = b"Subject: gr\xfc\xdfe\r\n\r\nx\r\n";
    Case::new(&[BEFORE, raw, AFTER], target()).await.assert_exact().await;
    let munging = Config { munge_eight_bit_headers: true, ..target() };
    Case::new(&[BEFORE, raw, AFTER], munging).await.assert_altered(1).await;
}

const POISON: &[u8] = b"Subject: poison\r\n\r\npoison\r\n";

/// A target that does this whenever it gets the poison.
async fn poisoned(act: Act) -> Case {
    let case = Case::new(&[BEFORE, POISON, AFTER], target()).await;
    case.target.faults().add(Point::AppendContaining(b"poison".to_vec()), Nth::All, act);
    case
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_is_read_back_where_the_target_is_known_to_alter() {
    let domino = Config { greeting: "Domino IMAP4 Server Release 14.0".to_owned(), ..target() };
    let case = Case::new(&[BEFORE, AFTER], domino).await;
    case.assert_exact().await;
    assert_eq!(case.judged().await.fates[&(Fate::Copied, Evidence::BytesEqual)], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_message_that_ends_the_connection_is_isolated() {
    let case = poisoned(Act::Bye("Invalid character in literal".to_owned())).await;
    case.assert_second_is(Fate::Refused, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_a_line_that_the_target_does_not_take_is_that_messages_end() {
    let case = poisoned(Act::Reply("BAD Command Error. 10".to_owned())).await;
    case.assert_second_is(Fate::Refused, "Command Error. 10").await;
    let tries = case.target.log().iter().filter(|logged| logged.verb == "APPEND").count();
    assert!(tries < 12, "{tries} tries");
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_long_header_lines_arrive_as_they_are() {
    let header =
        |length: usize| [b"Authentication-Results: ", "a".repeat(length).as_bytes(), b"\r\n\r\nx\r\n"].concat();
    let folded = [b"Subject: x\r\n", " folded\r\n".repeat(40_000).as_bytes(), b"\r\nx\r\n"].concat();
    // Of these the ledger knows no more than the beginning of the header: found again they are all the same.
    let late = [&b"Subject: x\r\n"[..], &header(300_000)[..300_026], b"To: a@x\r\n\r\nx\r\n"].concat();
    let case = Case::new(&[&header(20_000), &header(300_000), &folded, &late], target()).await;
    case.assert_exact().await;
    case.target.account("u").renumber("INBOX").unwrap();
    assert_eq!(case.haul.run().await.copied(), 0);
    assert_eq!(case.judged().await.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_what_is_too_large_is_listed_and_the_others_arrive() {
    let large = [b"Subject: large\r\n\r\n", "x".repeat(5000).as_bytes()].concat();
    let messages: [&[u8]; 3] = [BEFORE, &large, AFTER];
    for by_folder in [false, true] {
        let limited = target().features(|features| {
            features.multiappend = false;
            features.append_limit = Some(4000);
            features.append_limit_by_folder = by_folder;
        });
        let case = Case::new(&messages, limited).await;
        case.assert_second_is(Fate::Refused, "4000").await;
        let sent: u64 = case.target.stats().appends;
        assert_eq!(sent, 2, "known beforehand: it is not sent");
        assert!(!case.target.log().iter().any(|logged| logged.line.contains("{5")));
    }
    for reply in ["NO [TOOBIG] Message too large", "NO Maximum message size exceeded", "NO [LIMIT] too large"] {
        let act = Act::Reply(reply.to_owned());
        assert_too_large(&messages, act, &reply[reply.find(' ').unwrap() + 1..]).await;
    }
    assert_too_large(&messages, Act::Bye("Message too large".to_owned()), "").await;
}

/// The second is refused by its answer, and listed with its size.
async fn assert_too_large(messages: &[&[u8]; 3], act: Act, words: &str) {
    let case = Case::new(messages, target()).await;
    case.target.faults().add(Point::AppendContaining(b"xxxxx".to_vec()), Nth::All, act);
    case.assert_second_is(Fate::Refused, words).await;
    assert_eq!(case.troubles().await, [(2, messages[1].len() as u64)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_an_append_without_an_answer_is_given_up() {
    let case = poisoned(Act::Garbage(b"* BAD command line limit exceeded\r\n".to_vec())).await;
    case.target.faults().add(Point::AppendContaining(b"poison".to_vec()), Nth::All, Act::Stall);
    case.assert_second_is(Fate::Refused, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_a_size_of_zero_is_no_reason_to_skip() {
    let case = Case::new(&[BEFORE, AFTER], target()).await;
    case.lie(Falsehood::SizeDelta(-1_000_000));
    case.assert_exact().await;
    let empty = Case::new(&[BEFORE, b"", AFTER], target()).await;
    empty.assert_second_is(Fate::Refused, "zero byte").await;
    Case::new(&[BEFORE, b"", AFTER], Config { refuse_empty: false, ..target() }).await.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_the_literal_is_the_truth_whatever_the_size_says() {
    for delta in [12_891, 29, -7, -20] {
        let case = Case::new(&[BEFORE, AFTER], target()).await;
        case.lie(Falsehood::SizeDelta(delta));
        case.assert_exact().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_missing_size_is_no_missing_message() {
    let case = Case::new(&[BEFORE, AFTER], target()).await;
    case.lie(Falsehood::NoSize);
    case.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_no_body_is_asked_for_again_and_then_listed() {
    let second = |nth, what| (Point::command("UID FETCH"), nth, Act::lie_about(2, what));
    let once = Case::new(&[BEFORE, POISON, AFTER], target()).await;
    // The listing is the first; the bodies are the second.
    let (at, nth, act) = second(Nth::Only(2), Falsehood::NilBody);
    once.source.faults().add(at, nth, act);
    once.assert_exact().await;
    let never = Case::new(&[BEFORE, POISON, AFTER], target()).await;
    let (at, nth, act) = second(Nth::All, Falsehood::NilBody);
    never.source.faults().add(at, nth, act);
    never.assert_second_is(Fate::Unreadable, "no body").await;
    let empty = Case::new(&[BEFORE, POISON, AFTER], target()).await;
    let (at, nth, act) = second(Nth::All, Falsehood::EmptyBody);
    empty.source.faults().add(at, nth, act);
    empty.assert_second_is(Fate::Refused, "zero byte").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_messages_without_headers_arrive_once_and_unchanged() {
    let messages: [&[u8]; 4] = [b"no header at all\r\n", b"\r\nan empty header\r\n", b"no header at all\r\n", b"x"];
    Case::new(&messages, target()).await.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_equal_headers_with_other_bodies_are_other_messages() {
    let warning = |text: &str| format!("Subject: quota\r\nMessage-ID: <q@x>\r\nDate: x\r\n\r\n{text}\r\n").into_bytes();
    // The same length, so that nothing but the bytes tells them apart.
    Case::new(&[&warning("90 %"), &warning("95 %"), &warning("99 %")], target()).await.assert_told_apart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_one_message_id_on_two_messages_is_two_messages() {
    let messages: [&[u8]; 2] =
        [b"Message-ID: <a@x>\r\nSubject: 1\r\n\r\nx", b"Message-ID: <a@x>\r\nSubject: 2\r\n\r\ny"];
    Case::new(&messages, target()).await.assert_told_apart().await;
    // Nor is one taken for the other where that is all there is, of the same size and date.
    let case = Case::new(&messages[..1], target()).await;
    case.target.account("u").add("INBOX", NewMessage::new(messages[1].to_vec()).date(DATE)).unwrap();
    let ran = case.haul.run().await;
    ran.assert_complete();
    assert_eq!((ran.copied(), case.bodies()), (1, vec![messages[1].to_vec(), messages[0].to_vec()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_ten_equal_messages_stay_ten() {
    let case = Case::new(&[BEFORE; 10], target()).await;
    // Also where the answer to every third is lost.
    case.target.faults().add(Point::command("APPEND"), Nth::Every(3), Act::SwallowReply);
    case.assert_exact().await;
    assert_eq!(case.bodies().len(), 10);
    Case::new(&[BEFORE; 10], target()).await.assert_told_apart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_what_the_target_takes_for_a_double_is_listed_and_not_sent_again() {
    let message = |text: &str| format!("Message-ID: <a@x>\r\nSubject: a\r\n\r\n{text}\r\n").into_bytes();
    let (first, same, other) = (message("first"), message("first"), message("longer than it"));
    for (uidplus, doubles) in [(true, Doubles::Dropped), (true, Doubles::TakenForTheFirst), (false, Doubles::Dropped)] {
        let gmail = Config { doubles, ..target() }.features(|features| features.uidplus = uidplus);
        let case = Case::new(&[&first, BEFORE, &same, &other, AFTER], gmail).await;
        let ran = case.haul.run().await;
        let end = &ran.end.accounts[0];
        let what = format!("UIDPLUS {uidplus}, {doubles:?}: {end:#?}");
        assert_eq!(end.ending, Ending::Exceptions, "{what}");
        assert_eq!((end.fates.get(&Fate::Missing), end.fates.get(&Fate::Copied)), (Some(&2), Some(&3)), "{what}");
        let told = |event: &Event| matches!(event, Event::MessageFailed { fate: Fate::Missing, .. });
        assert_eq!(ran.events.iter().filter(|event| told(event)).count(), 2, "{what}");
        let sizes: u64 = [&same, &other].map(|message| message.len() as u64).iter().sum();
        assert_eq!(case.troubles().await.iter().map(|(_, size)| size).sum::<u64>(), sizes, "{what}");
        assert_eq!(case.bodies().len(), 3, "{what}");
        let appends = case.target.stats().appends;
        assert!(appends <= 5, "each is sent once: {what}");
        for _ in 0..2 {
            let again = case.haul.run().await;
            assert_eq!((again.copied(), again.end.accounts[0].ending), (0, Ending::Exceptions), "{what}");
        }
        assert_eq!(case.target.stats().appends, appends, "{what}");
        case.judged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_an_odd_message_id_decides_nothing() {
    let long = format!("<{}@x>", "m".repeat(3000));
    let ids: [&[u8]; 5] = [b"<[x]@..>", b"<>", b"", b"\xfc<\xff>", long.as_bytes()];
    let messages: Vec<Vec<u8>> =
        ids.iter().map(|id| [b"Message-ID: ", *id, b"\r\nSubject: x\r\n\r\nx\r\n"].concat()).collect();
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    Case::new(&messages, target()).await.assert_told_apart().await;
    // Nor where they were copied before by somebody else.
    let case = Case::new(&messages, target()).await;
    for message in &messages {
        case.target.account("u").add("INBOX", NewMessage::new(message.to_vec()).date(DATE)).unwrap();
    }
    assert_eq!(case.haul.run().await.copied(), 0);
    assert_eq!(case.judged().await.of(Fate::Adopted), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_the_date_is_internaldate_whatever_the_header_says() {
    let dates: [&[u8]; 4] = [b"Date: 12-FEB-25\r\n", b"Date: nonsense\r\n", b"Date: \r\n", b""];
    let messages: Vec<Vec<u8>> = dates.iter().map(|date| [*date, b"Subject: x\r\n\r\nx\r\n"].concat()).collect();
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let case = Case::new(&messages, target()).await;
    case.assert_exact().await;
    let kept = case.target.account("u").messages("INBOX").unwrap();
    assert!(kept.iter().all(|message| compare::instant(&message.date) == compare::instant(DATE)), "{:?}", kept[0].date);
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_a_blank_subject_is_copied_or_listed() {
    let blank: &[u8] = b"Subject:\r\nFrom: a\r\n\r\nblank\r\n";
    Case::new(&[BEFORE, blank, AFTER], target()).await.assert_exact().await;
    let case = Case::new(&[BEFORE, blank, AFTER], target()).await;
    let refusal = Act::Reply("NO Empty subject".to_owned());
    case.target.faults().add(Point::AppendContaining(b"blank".to_vec()), Nth::All, refusal);
    case.assert_second_is(Fate::Refused, "Empty subject").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_draft_that_exchange_refuses_is_listed_and_the_run_goes_on() {
    let case = poisoned(Act::Reply("BAD Command Argument Error. 11".to_owned())).await;
    case.assert_second_is(Fate::Refused, "Argument Error. 11").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f22_a_read_receipt_is_still_asked_for() {
    let receipt: &[u8] = b"Disposition-Notification-To: a@x\r\nReturn-Receipt-To: a@x\r\nSubject: x\r\n\r\nx\r\n";
    let case = Case::new(&[receipt, BEFORE, b"disposition-notification-to:\r\n a@x\r\n\r\nx"], target()).await;
    case.assert_exact().await;
    let warnings = case.warnings().await;
    assert!(warnings.iter().any(|line| line.contains("2 of the newest 3") && line.contains("receipt")), "{warnings:?}");
    assert_eq!(Case::new(&[BEFORE], target()).await.warnings().await, [""; 0]);
    // Who is told that it was read is not whom it is for.
    let to_others: &[u8] = b"Disposition-Notification-To: u@x\r\nTo: b@x\r\n\r\nx";
    let warnings = Case::new(&[to_others; 10], target()).await.warnings().await;
    assert!(warnings.iter().any(|line| line.contains("is addressed to u:")), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f23_what_mailbox_files_use_is_content() {
    let messages: [&[u8]; 3] = [
        b"From a@x Mon Jan  5 10:00:00 2015\r\nSubject: x\r\n\r\nx\r\n",
        b"Status: RO\r\nX-UID: 1\r\nContent-Length: 1\r\nX-Keywords: a\r\nSubject: x\r\n\r\nFrom here\r\n>From there\r\n",
        b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\nX-IMAP: 1 2\r\n\r\nx\r\n",
    ];
    Case::new(&messages, target()).await.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_text_that_looks_like_imap_is_text() {
    let messages: [&[u8]; 4] = [
        b")\r\nA1 OK done\r\n* BYE\r\n+ go\r\n",
        b"Subject: {12}\r\n\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n{10}",
        b"{10}\r\n",
        b"Subject: x\r\n\r\na1 DELETE INBOX\r\na2 LOGOUT\r\n)\r\n",
    ];
    for split_bytes in [None, Some(1), Some(7)] {
        let slow = Config { split_bytes, ..Config::plain("u") };
        Case::from(slow.clone(), &messages, slow).await.assert_exact().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_no_final_line_end_is_added() {
    let messages: [&[u8]; 3] = [b"Subject: x\r\n\r\nno end", b"Subject: only a header", AFTER];
    Case::new(&messages, target()).await.assert_exact().await;
    // Yahoo: the APPEND after such a one fails.
    let case = Case::new(&[BEFORE, b"Subject: x\r\n\r\nno end", AFTER], target()).await;
    let broken = Act::Reply("BAD Invalid command".to_owned());
    case.target.faults().add(Point::AppendContaining(b"Subject: after".to_vec()), Nth::First(1), broken);
    case.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f26_a_lost_carriage_return_is_said() {
    let messages: [&[u8]; 4] =
        [b"Subject: x\r\n\r\na\r\r\nb\r\n", b"Subject: x\r\n\r\nends\r", b"Subject: x\r\n\r\na\rb\rc\r\n", BEFORE];
    Case::new(&messages, target()).await.assert_exact().await;
    let Some(real) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let mut case = Case::new(&messages, target()).await;
    case.haul = Haul::new(Side::plain(case.source.port()), Side::tls(real.imaps(), &real.ca_file())).user("u", "u");
    let ran = case.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    let mut source = Client::sign_in(&Address::plain(case.source.port()), "u", "pass");
    let judged = judge(&case.haul, &mut source, &mut real.client("u")).await;
    judged.assert_true();
    assert!(judged.altered >= 2, "{judged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_nothing_that_a_server_has_to_parse_is_asked_for() {
    let case = Case::new(&[BEFORE, AFTER], target()).await;
    // A look beforehand, copies, copies that are found again, and one that is listed by its name.
    case.warnings().await;
    case.assert_told_apart().await;
    let target = case.target.account("u");
    target.expunge("INBOX", &[target.messages("INBOX").unwrap()[0].uid]).unwrap();
    assert_eq!(case.haul.run().await.end.accounts[0].fates[&Fate::Removed], 1);
    let asked = |server: &Server| -> Vec<String> {
        let lines = server.log().into_iter().filter(|logged| logged.verb.ends_with("FETCH")).map(|logged| logged.line);
        lines.map(|line| line.split_once(" (").unwrap().1.to_owned()).collect()
    };
    let source = asked(&case.source);
    for fields in ["(TO CC ", "(MESSAGE-ID DATE ", "(SUBJECT DATE)"] {
        assert!(source.iter().any(|line| line.contains(fields)), "{fields}: {source:?}");
    }
    for line in source.into_iter().chain(asked(&case.target)) {
        // Without what is in brackets.
        let items: String = line.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
        let plain = ["UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK"];
        assert!(items.trim_end_matches(')').split(' ').all(|item| plain.contains(&item)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_a_source_that_gives_other_bytes_each_time_is_told_and_copied_once() {
    let case = Case::new(&[BEFORE, POISON, AFTER], target()).await;
    case.lie(Falsehood::OtherBytesEachFetch);
    let ran = case.haul.run().await;
    let unstable = |event: &Event| matches!(event, Event::MessageChanged { what, .. } if what.contains("not stable"));
    assert_eq!(ran.events.iter().filter(|event| unstable(event)).count(), 1, "{:#?}", ran.events);
    assert_eq!(ran.end.accounts[0].fates[&Fate::Copied], 3);
    let again = case.haul.run().await;
    assert_eq!((again.copied(), case.bodies().len()), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_a_message_beyond_memory_goes_through_a_file() {
    let parts = "--b\r\nContent-Type: text/plain\r\n\r\npart\r\n".repeat(25_000);
    let many = [b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", parts.as_bytes(), b"--b--\r\n"].concat();
    let huge = [b"Subject: huge\r\n\r\n", "0123456789abcde\n".repeat(1_500_000).as_bytes()].concat();
    let mut case = Case::new(&[BEFORE, &many, &huge, AFTER], target()).await;
    let memory = "[transfer]\nmemory = \"1 MiB\"\nspool_above = \"64 KiB\"";
    case.haul = Haul::new(Side::plain(case.source.port()), Side::plain(case.target.port())).user("u", "u").with(memory);
    case.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_an_answer_without_what_was_asked_for_is_no_empty_message() {
    let impatient = |case: &Case| {
        let haul = Haul::new(Side::plain(case.source.port()), Side::plain(case.target.port())).user("u", "u");
        haul.with("[transfer]\noutage = \"1s\"")
    };
    // Passed over once: it is asked for again. Passed over each time: it is listed, and nothing goes out in its place.
    let lenient = || Config { refuse_empty: false, ..target() };
    let passed_over = Act::lie_about(2, Falsehood::FirstItemOnly);
    let once = Case::new(&[BEFORE, POISON, AFTER], lenient()).await;
    once.source.faults().add(Point::command("UID FETCH"), Nth::Only(2), passed_over.clone());
    once.assert_exact().await;
    let never = Case::new(&[BEFORE, POISON, AFTER], lenient()).await;
    // It is listed by itself in between.
    for nth in [2, 4] {
        never.source.faults().add(Point::command("UID FETCH"), Nth::Only(nth), passed_over.clone());
    }
    never.assert_second_is(Fate::Unreadable, "no body").await;
    let bodies = Case::new(&[BEFORE, AFTER], lenient()).await;
    // The listing is whole, the bodies are not.
    bodies.source.faults().add(Point::command("UID FETCH"), Nth::From(2), passed_over);
    let ran = impatient(&bodies).run().await;
    assert_ne!(ran.end.accounts[0].ending, Ending::Complete, "{:#?}", ran.end);
    assert_eq!(bodies.bodies(), [BEFORE]);
    let listing = Case::new(&[BEFORE, AFTER], target()).await;
    listing.lie(Falsehood::FirstItemOnly);
    let haul = impatient(&listing);
    let ran = haul.run().await;
    assert_ne!(ran.end.accounts[0].ending, Ending::Complete, "{:#?}", ran.end);
    assert!(listing.bodies().is_empty(), "not without their flags and dates");
    listing.source.faults().clear();
    haul.run().await.assert_complete();
}
