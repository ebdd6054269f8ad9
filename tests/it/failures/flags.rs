//! 31 to 46: flags, keywords and dates.

use crate::support::haul::{Haul, Ran, Side};
use crate::support::{Cyrus, Dovecot, compare, cyrus, dovecot};
use mailhaul::checkpoint::{Ledger, LossKind};
use mailhaul::mail::Fate;
use mailhaul::transfer::{Ending, Event, Mode};
use mailhaul_testserver::{Act, Config, Features, Keywords, Literals, Message, NewMessage, Nth, Point, Server};

/// A mailbox on each side, whose inboxes matter.
struct Case {
    source: Server,
    target: Server,
    haul: Haul,
}

impl Case {
    async fn new(target: Config) -> Self {
        Self::from(Config::plain("u"), target).await
    }

    async fn from(source: Config, target: Config) -> Self {
        let source = Server::start(source).await.unwrap();
        let target = Server::start(target).await.unwrap();
        let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port()))
            .user("u", "u")
            .with("[transfer]\ntimeout = \"5s\"\noutage = \"60s\"\n[limits]\nconnections = 1");
        Self { source, target, haul }
    }

    fn add(&self, text: &str, flags: &str, date: &str) -> u32 {
        self.source.account("u").add("INBOX", message(text).flags(flags).date(date)).unwrap()
    }

    fn copies(&self) -> Vec<Message> {
        self.target.account("u").messages("INBOX").unwrap()
    }

    /// Flags and keywords of each copy.
    fn flags(&self) -> Vec<String> {
        self.copies().iter().map(|copy| copy.flags.join(" ")).collect()
    }

    fn target_lines(&self, verb: &str) -> Vec<String> {
        let lines = self.target.log().into_iter();
        lines.filter(|logged| logged.verb == verb).map(|logged| logged.line).collect()
    }

    /// Runs, and shows that another run has nothing to do, tells nothing again and comes to the same end.
    async fn settle(&self, ending: Ending) -> Ran {
        let ran = self.haul.run().await;
        assert_eq!(ran.end.accounts[0].ending, ending, "{:#?}", ran.events);
        let losses = losses(&self.haul).await;
        self.target.clear_log();
        for mode in [Mode::default(), Mode { retry: true, ..Mode::default() }] {
            let again = self.haul.run_in(mode).await;
            assert_eq!(again.end.accounts[0].ending, ending, "the next run: {:#?}", again.events);
            assert_eq!((again.copied(), changes(&again)), (0, Vec::<String>::new()));
        }
        let changing = ["APPEND", "UID STORE", "STORE", "EXPUNGE", "UID EXPUNGE"];
        assert!(changing.iter().all(|verb| self.target_lines(verb).is_empty()), "{:#?}", self.target.log());
        assert_eq!(self::losses(&self.haul).await, losses);
        ran
    }
}

const DATE: &str = " 1-Feb-2021 03:04:05 +0100";

fn message(text: &str) -> NewMessage {
    NewMessage::new(format!("Subject: {text}\r\n\r\n{text}\r\n").into_bytes())
}

fn changes(ran: &Ran) -> Vec<String> {
    let what = |event: &Event| match event {
        Event::MessageChanged { uid, what, .. } => Some(format!("{uid}: {what}")),
        _ => None,
    };
    ran.events.iter().filter_map(what).collect()
}

/// What the ledger lists as lost: UID, sort, text.
async fn losses(haul: &Haul) -> Vec<(u32, LossKind, String)> {
    let ledger = Ledger::open(&haul.state()).unwrap();
    let account = ledger.accounts().await.unwrap()[0].id;
    let losses = ledger.losses(account, 0, 10_000).await.unwrap();
    ledger.close().await.unwrap();
    losses.into_iter().map(|loss| (loss.source_uid.value(), loss.kind, loss.text)).collect()
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::plain("u");
    change(&mut config);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_recent_is_never_sent_and_the_rest_is_exact() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Recent \\Seen \\Answered Junk", DATE);
    case.settle(Ending::Complete).await;
    assert_eq!(case.flags(), ["\\Answered \\Seen Junk"]);
    assert_eq!(losses(&case.haul).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_and_f33_no_append_names_a_flag_that_no_client_may_set() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Recent \\Seen \\FORWARDED $NOTJUNK", DATE);
    case.haul.run().await;
    let lines = case.target_lines("APPEND");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("(\\Seen $NOTJUNK)"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_keywords_go_as_they_came_without_a_backslash() {
    let case = Case::new(Config::plain("u")).await;
    let uid = case.add("one", "$NOTJUNK NonJunk $label1", DATE);
    case.haul.run().await.assert_complete();
    // At once: not after a refusal that was made good.
    let sent = case.target_lines("APPEND");
    assert!(sent.len() == 1 && sent[0].contains("($label1 $NOTJUNK NonJunk)"), "{sent:?}");
    case.settle(Ending::Complete).await;
    assert_eq!(case.flags(), ["$NOTJUNK $label1 NonJunk"]);
    case.source.account("u").set_flags("INBOX", uid, &["$NOTJUNK", "$label2"]).unwrap();
    case.haul.run().await.assert_complete();
    let stored = case.target_lines("UID STORE");
    assert!(stored.len() == 2 && stored[0].contains("+FLAGS.SILENT ($label2)"), "{stored:?}");
    assert!(stored[1].contains("-FLAGS.SILENT ($label1 NonJunk)"), "{stored:?}");
    assert_eq!(case.flags(), ["$NOTJUNK $label2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_invented_system_flags_are_not_sent_and_are_listed() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Seen \\X-EON-HAS-ATTACHMENT \\Indexed", DATE);
    case.add("two", "\\Seen", DATE);
    let ran = case.settle(Ending::Exceptions).await;
    assert_eq!((ran.copied(), case.flags()), (2, vec!["\\Seen".to_owned(), "\\Seen".to_owned()]));
    let lost = |flag: &str| (1, LossKind::SystemFlag, format!("no client may set it: {flag}"));
    assert_eq!(losses(&case.haul).await, [lost("\\Indexed"), lost("\\X-EON-HAS-ATTACHMENT")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f33_an_invented_flag_that_comes_later_is_listed_once() {
    let case = Case::new(Config::plain("u")).await;
    let uid = case.add("one", "\\Seen", DATE);
    case.settle(Ending::Complete).await;
    case.source.account("u").set_flags("INBOX", uid, &["\\Seen", "\\Forwarded"]).unwrap();
    case.settle(Ending::Exceptions).await;
    assert_eq!(losses(&case.haul).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_a_refused_keyword_costs_itself_alone_and_is_listed_with_the_words() {
    for (words, literals) in [
        ("BAD Parse Error", Literals::Plus),
        ("BAD Parse Error", Literals::Synchronising),
        ("NO [CANNOT] no such keyword", Literals::Plus),
        ("NO [CANNOT] no such keyword", Literals::Minus),
    ] {
        let refused = Keywords::AllOrRefuse(vec!["domain.com".into()], words.into());
        let case = Case::new(config(|config| {
            (config.keywords, config.features.literals) = (refused, literals);
        }))
        .await;
        for number in 0..40 {
            let flags = if number % 2 == 0 { "\\Seen Junk domain.com $X-ME-Annot-2" } else { "\\Flagged Junk" };
            case.add(&number.to_string(), flags, DATE);
        }
        let ran = case.haul.run().await;
        let sent = case.target_lines("APPEND").len();
        // Where the literal is on its way with a NO, each is refused once in company and then sent once more.
        assert!(sent <= 40 + 20 * 2 + 6, "{words}: {sent} APPENDs");
        assert!(case.target.stats().connections < 12, "{words}: {:?}", case.target.stats());
        let end = &ran.end.accounts[0];
        assert_eq!((end.fates[&Fate::Copied], end.ending), (40, Ending::Exceptions), "{words}");
        let mut flags = case.flags();
        flags.sort();
        flags.dedup();
        assert_eq!(flags, ["\\Flagged Junk", "\\Seen $X-ME-Annot-2 Junk"], "{words}");
        let losses = losses(&case.haul).await;
        assert_eq!(losses.len(), 20, "{words}: {losses:#?}");
        let text = format!("refused by the target ({words}): domain.com");
        assert!(losses.iter().all(|(_, kind, lost)| (*kind, lost) == (LossKind::Keyword, &text)), "{losses:#?}");
        case.settle(Ending::Exceptions).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_a_target_that_hangs_up_over_a_keyword_gets_the_message_without_it() {
    let refused = Keywords::AllOrRefuse(vec!["domain.com".into()], "BAD Parse Error".into());
    let case = Case::new(config(|config| {
        (config.keywords, config.features.literals) = (refused, Literals::Synchronising);
    }))
    .await;
    case.add("one", "\\Seen domain.com", DATE);
    // It answers each of them and hangs up, whatever the answer was.
    case.target.faults().add(Point::after_reply("APPEND"), Nth::All, Act::Drop);
    let ran = case.settle(Ending::Exceptions).await;
    assert_eq!((ran.copied(), case.flags()), (1, vec!["\\Seen".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_a_target_without_uidplus_keeps_what_was_not_to_blame() {
    let refused = Keywords::AllOrRefuse(vec!["domain.com".into()], "NO no such keyword".into());
    let case = Case::new(config(|config| {
        (config.keywords, config.features) = (refused, Features::bare());
    }))
    .await;
    case.add("one", "\\Seen domain.com a-b", DATE);
    case.settle(Ending::Exceptions).await;
    assert_eq!(case.flags(), ["\\Seen a-b"]);
    assert_eq!(losses(&case.haul).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_f38_what_went_out_with_less_gets_the_rest_also_after_a_kill() {
    let refused = Keywords::AllOrRefuse(vec!["domain.com".into()], "BAD Parse Error".into());
    let case = Case::new(config(|config| config.keywords = refused)).await;
    case.add("one", "\\Seen domain.com a-b", DATE);
    // Refused in company, refused alone, taken without them.
    let held = case.target.faults().hold(Point::after_execute("APPEND"), Nth::Only(3));
    case.haul.run_dropped_at(held).await;
    assert_eq!(case.flags(), ["\\Seen"]);
    case.settle(Ending::Exceptions).await;
    assert_eq!(case.flags(), ["\\Seen a-b"]);
    assert_eq!(losses(&case.haul).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_a_refusal_that_passes_costs_no_keyword() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Seen domain.com Junk", DATE);
    case.target.faults().add(Point::command("APPEND"), Nth::First(2), Act::Reply("NO not just now".into()));
    case.settle(Ending::Complete).await;
    assert_eq!(case.flags(), ["\\Seen Junk domain.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_keywords_refused_by_a_later_store_are_listed_and_not_tried_in_every_run() {
    let refused = Keywords::AllOrRefuse(vec!["domain.com".into()], "BAD Parse Error".into());
    let case = Case::new(config(|config| config.keywords = refused)).await;
    let uids = [case.add("one", "", DATE), case.add("two", "", DATE)];
    case.settle(Ending::Complete).await;
    for uid in uids {
        case.source.account("u").set_flags("INBOX", uid, &["\\Answered", "domain.com", "Junk"]).unwrap();
    }
    case.settle(Ending::Exceptions).await;
    assert_eq!(case.flags(), ["\\Answered Junk", "\\Answered Junk"]);
    let text = "refused by the target (BAD Parse Error): domain.com".to_owned();
    assert_eq!(losses(&case.haul).await, uids.map(|uid| (uid, LossKind::Keyword, text.clone())));
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_keywords_that_are_no_atoms_cost_themselves_alone() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "gr\u{fc}n \"quoted\" 50% a(b $Forwarded", DATE);
    case.add("two", "\\Seen", DATE);
    let ran = case.settle(Ending::Exceptions).await;
    assert_eq!((ran.copied(), case.flags()), (2, vec!["$Forwarded quoted".to_owned(), "\\Seen".to_owned()]));
    let losses = losses(&case.haul).await;
    assert_eq!(losses.len(), 3, "{losses:#?}");
    assert!(losses.iter().all(|(uid, kind, _)| (*uid, *kind) == (1, LossKind::Keyword)), "{losses:#?}");
    assert!(losses.iter().any(|(.., text)| text.contains("gr\\xc3\\xbcn")), "{losses:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f35_a_bracket_in_a_keyword_is_asked_for_and_never_breaks_the_connection() {
    let case = Case::new(config(|config| config.executes_refused_literals = true)).await;
    case.add("one", "\\Seen a]b", DATE);
    let ran = case.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    assert_eq!(case.flags(), ["\\Seen"]);
    // Its bytes were never taken for commands.
    assert!(case.target.log().iter().all(|logged| !logged.line.contains("Subject:")), "{:#?}", case.target.log());
    assert_eq!(losses(&case.haul).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_what_permanent_flags_leave_out_is_not_sent_and_is_listed() {
    let case = Case::new(config(|config| config.permanent_flags = Some("\\Answered \\Seen Junk".into()))).await;
    case.add("one", "\\Seen \\Flagged junk Other", DATE);
    let ran = case.settle(Ending::Exceptions).await;
    assert_eq!((ran.copied(), case.flags()), (1, vec!["\\Seen junk".to_owned()]));
    let why = "the target's folder keeps no such flag, as its PERMANENTFLAGS say";
    let lost = |kind, flag: &str| (1, kind, format!("{why}: {flag}"));
    let expected = [lost(LossKind::Keyword, "Other"), lost(LossKind::SystemFlag, "\\Flagged")];
    assert_eq!(losses(&case.haul).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_without_permanent_flags_everything_is_tried() {
    for (permanent, select) in [("", None), ("\\*", Some("NO [NOPERM] append only"))] {
        let case = Case::new(config(|config| config.permanent_flags = Some(permanent.into()))).await;
        if let Some(words) = select {
            case.target.faults().add(Point::command("SELECT"), Nth::All, Act::Reply(words.into()));
        }
        case.add("one", "\\Seen \\Flagged Other", DATE);
        case.settle(Ending::Complete).await;
        assert_eq!(case.flags(), ["\\Flagged \\Seen Other"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f37_the_flags_of_a_message_count_not_those_that_the_folder_tells() {
    let case = Case::new(Config::plain("u")).await;
    let lie = || Act::Garbage(b"* FLAGS (\\Seen)\r\n".to_vec());
    case.source.faults().add(Point::after_execute("EXAMINE"), Nth::All, lie());
    case.target.faults().add(Point::after_execute("SELECT"), Nth::All, lie());
    case.target.faults().add(Point::after_execute("EXAMINE"), Nth::All, lie());
    case.add("one", "\\Flagged Untold", DATE);
    case.settle(Ending::Complete).await;
    assert_eq!(case.flags(), ["\\Flagged Untold"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_what_the_target_drops_in_silence_is_found_by_reading_back() {
    let dropped: Vec<String> = (26..40).map(|number| format!("keyword{number}")).collect();
    let case = Case::new(config(|config| config.keywords = Keywords::AllBut(dropped))).await;
    let all: Vec<String> = (0..40).map(|number| format!("keyword{number}")).collect();
    case.add("one", &all.join(" "), DATE);
    case.settle(Ending::Exceptions).await;
    let losses = losses(&case.haul).await;
    assert_eq!(losses.len(), 1, "{losses:#?}");
    assert!(losses[0].2.starts_with("the target did not keep it: keyword26 keyword27 "), "{losses:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_more_keywords_than_a_line_holds_arrive_in_parts() {
    const LINE_MAX: usize = 5000;
    let case = Case::new(Config::plain("u")).await;
    let mut all: Vec<String> = (0..300).map(|number| format!("keyword-of-some-length-{number:03}")).collect();
    case.add("one", &format!("{} \\Seen", all.join(" ")), DATE);
    case.haul.run().await.assert_complete();
    let (sent, stored) = (case.target_lines("APPEND"), case.target_lines("UID STORE"));
    assert_eq!((sent.len(), stored.len() > 1), (1, true));
    assert!(sent.iter().chain(&stored).all(|line| line.len() < LINE_MAX), "{sent:?} {stored:?}");
    case.settle(Ending::Complete).await;
    all.insert(0, "\\Seen".to_owned());
    assert_eq!(case.flags(), [all.join(" ")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_dovecot_refuses_a_long_keyword_and_takes_the_message() {
    let Some(target) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let source = Server::start(Config::plain("u")).await.unwrap();
    let long = "k".repeat(60);
    let many: Vec<String> = (0..30).map(|number| format!("keyword{number}")).collect();
    for (text, flags) in [("one", format!("\\Seen Junk {long}")), ("two", many.join(" ")), ("three", "a]b".to_owned())]
    {
        source.account("u").add("INBOX", message(text).flags(&flags).date(DATE)).unwrap();
    }
    let haul = Haul::new(Side::plain(source.port()), Side::tls(target.imaps(), &target.ca_file())).user("u", "anna");
    let ran = haul.run().await;
    let mut copies = target.client("anna").fetch_all("INBOX");
    copies.sort_by_key(|copy| copy.size);
    let losses = losses(&haul).await;
    assert_eq!((ran.copied(), copies.len()), (3, 3), "{:#?}", ran.events);
    assert!(losses.iter().any(|(uid, kind, text)| *uid == 1 && *kind == LossKind::Keyword && text.ends_with(&long)));
    // Whatever else it does not keep is listed.
    for (number, flags) in [(1u32, format!("Junk {long}")), (2, many.join(" ")), (3, "a]b".to_owned())] {
        let kept = copies
            .iter()
            .find(|copy| String::from_utf8_lossy(&copy.body).contains(["one", "two", "three"][number as usize - 1]));
        let kept = &kept.unwrap().flags;
        for keyword in flags.split(' ').filter(|keyword| !kept.iter().any(|one| one.eq_ignore_ascii_case(keyword))) {
            let listed = losses.iter().any(|(uid, _, text)| *uid == number && text.contains(keyword));
            assert!(listed, "{number} {keyword}: {losses:#?}");
        }
    }
    assert_eq!(haul.run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f39_flags_are_in_the_append_and_a_copy_that_lacks_them_is_found() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Seen \\Flagged Junk", DATE);
    case.settle(Ending::Complete).await;
    let case = Case::new(config(|config| config.keywords = Keywords::AllBut(vec!["\\Seen".into()]))).await;
    case.add("one", "\\Seen \\Flagged Junk", DATE);
    case.haul.run().await;
    assert!(case.target_lines("APPEND")[0].contains("(\\Seen \\Flagged Junk)"));
    case.settle(Ending::Exceptions).await;
    let expected = (1, LossKind::SystemFlag, "the target did not keep it: \\Seen".to_owned());
    assert_eq!(losses(&case.haul).await, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_a_space_at_the_end_of_a_list_is_no_flag() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Flagged", DATE);
    case.add("two", "", DATE);
    // In the midst of the listing, as iCloud writes it.
    let news = Act::Garbage(
        b"* 2 FETCH (FLAGS (\\Seen ) UID 2 INTERNALDATE \" 1-Feb-2021 03:04:05 +0100\" RFC822.SIZE 21)\r\n".to_vec(),
    );
    case.source.faults().add(Point::after_execute("UID FETCH"), Nth::Only(1), news);
    case.haul.run().await.assert_complete();
    assert_eq!(case.flags(), ["\\Flagged", "\\Seen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_deleted_messages_are_copied_without_the_flag_and_nothing_is_expunged() {
    for (deleted, flags) in [(false, "\\Seen"), (true, "\\Deleted \\Seen")] {
        let mut case = Case::new(Config::plain("u")).await;
        case.haul.extra = case.haul.extra.replace("[transfer]\n", &format!("[transfer]\ncopy_deleted = {deleted}\n"));
        case.add("one", "\\Seen \\Deleted", DATE);
        case.settle(Ending::Complete).await;
        assert_eq!(case.flags(), [flags]);
        assert_eq!(case.source.account("u").messages("INBOX").unwrap().len(), 1);
        for verb in ["EXPUNGE", "UID EXPUNGE", "CLOSE", "DELETE"] {
            assert!(case.target_lines(verb).is_empty(), "{verb}");
            assert!(case.source.log().iter().all(|logged| logged.verb != verb), "{verb}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_later_changes_at_the_source_arrive_without_a_copy_and_those_on_the_target_stay() {
    for (at_source, condstore) in [(true, true), (true, false), (false, true), (false, false)] {
        let offering = |yes| config(|config| config.features.condstore = yes);
        let case = Case::from(offering(at_source), offering(condstore)).await;
        let uids: Vec<u32> = (0..3).map(|number| case.add(&number.to_string(), "Old", DATE)).collect();
        case.settle(Ending::Complete).await;
        let (source, target) = (case.source.account("u"), case.target.account("u"));
        source.set_flags("INBOX", uids[0], &["\\Seen", "\\Answered"]).unwrap();
        source.set_flags("INBOX", uids[1], &["\\Seen", "Old"]).unwrap();
        target.set_flags("INBOX", 1, &["Old", "Mine"]).unwrap();
        target.set_flags("INBOX", 3, &["\\Flagged"]).unwrap();
        case.target.clear_log();
        let ran = case.haul.run().await;
        ran.assert_complete();
        assert_eq!(ran.copied(), 0);
        assert_eq!(case.flags(), ["\\Answered \\Seen Mine", "\\Seen Old", "\\Flagged"]);
        let stores = case.target_lines("UID STORE");
        assert!(stores.iter().all(|line| line.contains(" +FLAGS") || line.contains(" -FLAGS")), "{stores:?}");
        assert_eq!(stores.iter().filter(|line| line.contains("UNCHANGEDSINCE")).count() > 0, condstore, "{stores:?}");
        case.settle(Ending::Complete).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_what_the_user_changes_while_flags_are_stored_is_looked_at_again() {
    let case = Case::new(Config::plain("u")).await;
    let uid = case.add("one", "Old", DATE);
    case.settle(Ending::Complete).await;
    case.source.account("u").set_flags("INBOX", uid, &["\\Seen"]).unwrap();
    let held = case.target.faults().hold(Point::command("UID STORE"), Nth::Only(1));
    let change = async {
        held.reached().await;
        case.target.account("u").set_flags("INBOX", 1, &["Mine"]).unwrap();
        held.release();
    };
    case.target.clear_log();
    let (ran, ()) = tokio::join!(case.haul.run(), change);
    ran.assert_complete();
    assert_eq!(case.flags(), ["\\Seen Mine"]);
    // The second look shows that there is nothing left to take away.
    let stores = case.target_lines("UID STORE");
    assert!(stores.len() == 2 && stores.iter().all(|line| line.contains("UNCHANGEDSINCE")), "{stores:?}");
    assert!(stores.iter().all(|line| line.contains("+FLAGS")), "{stores:?}");
    case.settle(Ending::Complete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_store_that_is_ok_and_does_nothing_is_found() {
    let case = Case::new(config(|config| config.keywords = Keywords::AllBut(vec!["Junk".into()]))).await;
    let uid = case.add("one", "\\Seen", DATE);
    case.settle(Ending::Complete).await;
    case.source.account("u").set_flags("INBOX", uid, &["\\Answered", "Junk"]).unwrap();
    case.settle(Ending::Exceptions).await;
    assert_eq!(case.flags(), ["\\Answered"]);
    let expected = (1, LossKind::Keyword, "the target did not keep it: Junk".to_owned());
    assert_eq!(losses(&case.haul).await, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_message_that_was_there_before_gets_flags_and_loses_none() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "\\Seen Junk", DATE);
    case.target.account("u").add("INBOX", message("one").flags("\\Flagged Mine").date(DATE)).unwrap();
    let ran = case.settle(Ending::Complete).await;
    assert_eq!((ran.copied(), case.flags()), (0, vec!["\\Flagged \\Seen Junk Mine".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_on_dovecot_and_cyrus_changes_arrive_under_condstore() {
    let source = Server::start(Config::plain("u")).await.unwrap();
    let dovecot = Dovecot::start_or_skip(dovecot::Options::default());
    let cyrus = Cyrus::start_or_skip(cyrus::Options::default());
    let dovecot = dovecot.as_ref().map(|server| (server.imaps(), server.ca_file(), "anna", server.address()));
    let cyrus = cyrus.as_ref().map(|server| (server.imaps(), server.ca_file(), "u0001", server.address()));
    let account = source.account("u");
    for (text, flags) in [("one", "Old"), ("two", "Old")] {
        account.add("INBOX", message(text).flags(flags).date(DATE)).unwrap();
    }
    for (port, ca, user, address) in [dovecot, cyrus].into_iter().flatten() {
        account.set_flags("INBOX", 1, &["Old"]).unwrap();
        account.set_flags("INBOX", 2, &["Old"]).unwrap();
        let haul = Haul::new(Side::plain(source.port()), Side::tls(port, &ca)).user("u", user);
        haul.run().await.assert_complete();
        let mut client = crate::support::client::Client::sign_in(&address, user, "pass");
        client.select("INBOX");
        client.ok("UID STORE 1 +FLAGS (Mine)");
        client.ok("UNSELECT");
        account.set_flags("INBOX", 1, &["\\Seen", "New"]).unwrap();
        account.set_flags("INBOX", 2, &["\\Answered", "Old"]).unwrap();
        let ran = haul.run().await;
        ran.assert_complete();
        assert_eq!(ran.copied(), 0);
        let mut flags: Vec<Vec<String>> = client.fetch_all("INBOX").into_iter().map(|copy| copy.flags).collect();
        flags.iter_mut().for_each(|flags| {
            flags.retain(|flag| flag != "\\Recent");
            flags.sort();
        });
        assert_eq!(flags, [vec!["Mine", "New", "\\Seen"], vec!["Old", "\\Answered"]], "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f43_the_date_is_sent_and_one_that_the_target_does_not_keep_is_listed() {
    let case = Case::new(Config::plain("u")).await;
    case.add("one", "", DATE);
    case.settle(Ending::Complete).await;
    assert_eq!(case.copies()[0].date, DATE);
    let case = Case::new(config(|config| config.dates_kept = false)).await;
    case.add("one", "", DATE);
    case.settle(Ending::Exceptions).await;
    let losses = losses(&case.haul).await;
    assert_eq!((losses.len(), losses[0].1), (1, LossKind::Date), "{losses:#?}");
    assert!(losses[0].2.starts_with(&format!("dated {DATE} at the source, ")), "{losses:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f44_a_date_that_is_none_is_not_sent_and_is_listed() {
    for date in ["00-Jan-0000 00:00:00 +0000", "yesterday", ""] {
        let case = Case::new(Config::plain("u")).await;
        case.add("one", "", date);
        case.settle(Ending::Exceptions).await;
        assert_eq!(case.copies().len(), 1);
        let losses = losses(&case.haul).await;
        assert_eq!((losses.len(), losses[0].1), (1, LossKind::Date), "{losses:#?}");
        assert!(losses[0].2.starts_with("the source gives no date that can be read"), "{losses:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f44_an_odd_date_is_sent_where_it_is_legal_and_its_literal_waits_for_leave() {
    let case = Case::new(config(|config| config.executes_refused_literals = true)).await;
    for date in ["30-Dec-1899 00:00:00 +0000", " 1-Jan-0001 12:00:00 +0000", "31-Dec-9999 12:00:00 +0000"] {
        case.add(date, "", date);
    }
    case.settle(Ending::Complete).await;
    let mut dates: Vec<String> = case.copies().into_iter().map(|copy| copy.date).collect();
    dates.sort();
    assert_eq!(dates, [" 1-Jan-0001 12:00:00 +0000", "30-Dec-1899 00:00:00 +0000", "31-Dec-9999 12:00:00 +0000"]);
    let case = Case::new(Config::plain("u")).await;
    case.add("odd", "", "30-Dec-1899 00:00:00 +0000");
    case.add("usual", "", DATE);
    case.haul.run().await;
    let lines = case.target_lines("APPEND");
    let ends = |line: &String| (line.contains("1899"), line.trim_end().ends_with("+}"));
    assert_eq!(lines.iter().map(ends).collect::<Vec<_>>(), [(true, false), (false, true)], "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f44_a_date_that_is_refused_costs_the_date_alone_and_is_listed_with_the_words() {
    let refused = "BAD Invalid internal date";
    for literals in [Literals::Plus, Literals::Synchronising] {
        let case = Case::new(config(|config| config.features.literals = literals)).await;
        case.add("one", "", DATE);
        case.target.faults().add(Point::command("APPEND"), Nth::First(2), Act::Reply(refused.into()));
        case.settle(Ending::Exceptions).await;
        assert_eq!(case.copies().len(), 1);
        let losses = losses(&case.haul).await;
        assert_eq!((losses.len(), losses[0].1), (1, LossKind::Date), "{losses:#?}");
        assert!(losses[0].2.contains(refused) && losses[0].2.contains(DATE), "{losses:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f44_odd_dates_arrive_at_dovecot_and_cyrus_or_are_listed() {
    let dovecot = Dovecot::start_or_skip(dovecot::Options::default());
    let cyrus = Cyrus::start_or_skip(cyrus::Options::default());
    let dovecot = dovecot.as_ref().map(|server| (server.imaps(), server.ca_file(), "anna", server.address()));
    let cyrus = cyrus.as_ref().map(|server| (server.imaps(), server.ca_file(), "u0001", server.address()));
    let dates =
        ["30-Dec-1899 00:00:00 +0000", " 1-Jan-0001 12:00:00 +0000", "31-Dec-9999 12:00:00 +0000", "nonsense", DATE];
    let source = Server::start(Config::plain("u")).await.unwrap();
    for (number, date) in dates.iter().enumerate() {
        source.account("u").add("INBOX", message(&format!("number {number}")).date(date)).unwrap();
    }
    for (port, ca, user, address) in [dovecot, cyrus].into_iter().flatten() {
        let haul = Haul::new(Side::plain(source.port()), Side::tls(port, &ca)).user("u", user);
        let ran = haul.run().await;
        assert_eq!((ran.copied(), ran.end.accounts[0].ending), (5, Ending::Exceptions), "{user}: {:#?}", ran.events);
        let losses = losses(&haul).await;
        let copies = crate::support::client::Client::sign_in(&address, user, "pass").fetch_all("INBOX");
        assert_eq!(copies.len(), 5);
        for (number, date) in dates.iter().enumerate() {
            let subject = format!("number {number}");
            let copy = copies.iter().find(|copy| String::from_utf8_lossy(&copy.body).contains(&subject)).unwrap();
            let listed = losses.iter().any(|(uid, kind, _)| (*uid, *kind) == (number as u32 + 1, LossKind::Date));
            let kept = compare::instant(&copy.internal_date) == compare::instant(date);
            assert_ne!(kept, listed, "{user}: {date} became {}: {losses:#?}", copy.internal_date);
        }
        assert_eq!(haul.run().await.copied(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f45_every_form_of_day_and_zone_is_read_and_the_exact_form_is_sent() {
    let case = Case::new(Config::plain("u")).await;
    for (date, sent) in [
        ("5-Feb-2021 03:04:05 +0100", "\" 5-Feb-2021 03:04:05 +0100\""),
        ("05-Feb-2021 03:04:06 -1200", "\" 5-Feb-2021 03:04:06 -1200\""),
        (" 5-feb-2021 03:04:07 +1400", "\" 5-Feb-2021 03:04:07 +1400\""),
        ("15-FEB-2021 03:04:08 +0545", "\"15-Feb-2021 03:04:08 +0545\""),
    ] {
        case.target.clear_log();
        case.add(date, "", date);
        case.haul.run().await.assert_complete();
        let lines = case.target_lines("APPEND");
        assert!(lines.len() == 1 && lines[0].contains(sent), "{date}: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f46_instants_are_compared_not_zones() {
    let case = Case::new(config(|config| config.zone_kept = false)).await;
    case.add("one", "", "31-Dec-2020 23:30:00 -0700");
    case.settle(Ending::Complete).await;
    assert_eq!(losses(&case.haul).await, []);
    let Some(target) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let haul =
        Haul::new(Side::plain(case.source.port()), Side::tls(target.imaps(), &target.ca_file())).user("u", "anna");
    haul.run().await.assert_complete();
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_a_loss_and_its_exit_are_the_same_after_a_kill() {
    let refused = Keywords::AllOrRefuse(vec!["domain.com".into()], "BAD Parse Error".into());
    for at in [Point::command("UID STORE"), Point::after_execute("UID STORE"), Point::after_execute("APPEND")] {
        let case = Case::new(config(|config| config.keywords = refused.clone())).await;
        for number in 0..4 {
            case.add(&number.to_string(), "\\Seen domain.com a-b", DATE);
        }
        let held = case.target.faults().hold(at.clone(), Nth::Only(1));
        case.haul.run_dropped_at(held).await;
        case.target.faults().clear();
        case.settle(Ending::Exceptions).await;
        assert_eq!(case.flags(), ["\\Seen a-b"; 4], "{at:?}");
        let losses = losses(&case.haul).await;
        assert_eq!(losses.len(), 4, "{at:?}: {losses:#?}");
    }
}
