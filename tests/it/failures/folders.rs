//! Folders and their names.

use crate::support::haul::{Haul, Ran, Side};
use mailhaul::plan::{Because, Left};
use mailhaul::transfer::{self, AccountCheck, AccountPlan, Ending, Event};
use mailhaul_testserver::{Account, Act, Config, FolderSpec, Layout, NewMessage, Nth, Point, Server};
use std::collections::BTreeMap;

/// Two servers in this process and a job between them.
struct Move {
    source: Server,
    target: Server,
    haul: Haul,
}

fn plain() -> Config {
    Config::plain("u")
}

fn dotted() -> Config {
    plain().with_layout(Layout { separator: b'.', ..Layout::default() })
}

fn courier() -> Config {
    plain().with_layout(Layout::inbox_dot())
}

impl Move {
    async fn new(source: Config, target: Config) -> Self {
        let (source, target) = (Server::start(source).await.unwrap(), Server::start(target).await.unwrap());
        let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("u", "u");
        Self { source, target, haul }
    }

    /// Makes folders, each with a message whose subject is the folder's name.
    fn fill(self, names: &[&str]) -> Self {
        names.iter().for_each(|name| put(&self.source.account("u"), name));
        self
    }

    async fn check(&self) -> AccountCheck {
        let (context, _events) = self.haul.context();
        let ledger = context.ledger.clone();
        let check = transfer::check(context).await.remove(0);
        ledger.close().await.unwrap();
        check
    }

    async fn plan(&self) -> AccountPlan {
        let (context, _events) = self.haul.context();
        let ledger = context.ledger.clone();
        let plan = transfer::plan(context).await.remove(0);
        ledger.close().await.unwrap();
        plan
    }

    /// Runs, demands that all is well, and gives where each message is.
    async fn complete(&self) -> Vec<String> {
        self.haul.run().await.assert_complete();
        let arrived = self.arrived();
        let again = self.haul.run().await;
        again.assert_complete();
        assert_eq!(again.copied(), 0);
        arrived
    }

    /// Gives `subject > folder` for every message on the target.
    fn arrived(&self) -> Vec<String> {
        let account = self.target.account("u");
        let mut arrived = Vec::new();
        for folder in account.folders() {
            let name = String::from_utf8(folder.name.clone()).unwrap();
            for message in account.messages(&folder.name).unwrap_or_default() {
                let text = String::from_utf8_lossy(&message.body).into_owned();
                let subject = text.lines().next().unwrap().trim_start_matches("Subject: ").to_owned();
                arrived.push(format!("{subject} > {name}"));
            }
        }
        arrived.sort();
        arrived
    }

    /// Puts these lines in place of what the source answers.
    fn says(&self, verb: &str, lines: &str) {
        let faults = self.source.faults();
        faults.add(Point::command(verb), Nth::All, Act::Garbage(lines.as_bytes().to_vec()));
        faults.add(Point::command(verb), Nth::All, Act::Reply("OK Completed.".to_owned()));
    }

    fn asked(&self, verb: &str) -> Vec<String> {
        self.target.log().into_iter().filter(|logged| logged.verb == verb).map(|logged| logged.line).collect()
    }
}

fn put(account: &Account, name: &str) {
    let _there_already = account.create_folder(FolderSpec::new(name).subscribed());
    account.add(name, NewMessage::new(format!("Subject: {name}\r\n\r\n{name}\r\n").into_bytes())).unwrap();
}

/// Gives the folders of refused messages.
fn refused(ran: &Ran) -> Vec<String> {
    let folder = |event: &Event| match event {
        Event::MessageFailed { folder, .. } => Some(folder.clone()),
        _ => None,
    };
    ran.events.iter().filter_map(folder).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f47_a_dot_where_the_target_separates_by_it_neither_splits_nor_merges() {
    let names = ["Person K.", "Person K=2E", "Bestellungen.Hardware", "Bestellungen/Hardware"];
    let moved = Move::new(plain(), dotted()).await.fill(&names);
    let plan = moved.plan().await;
    assert_eq!(moved.asked("CREATE"), [""; 0]);
    let told = plan.folders.iter().find(|folder| folder.source == "Person K.").unwrap();
    assert_eq!((told.target.as_str(), told.because), ("Person K=2E", Because::Escaped));
    assert_eq!(
        moved.complete().await,
        [
            "Bestellungen.Hardware > Bestellungen=2EHardware",
            "Bestellungen/Hardware > Bestellungen.Hardware",
            "Person K. > Person K=2E",
            "Person K=2E > Person K=3D2E"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f48_a_slash_within_a_name_and_an_underscore_stay_two_folders() {
    let moved = Move::new(dotted(), plain()).await.fill(&["A/B", "A_B", "A.B"]);
    assert_eq!(moved.complete().await, ["A.B > A/B", "A/B > A=2FB", "A_B > A_B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f49_the_prefix_of_each_side_is_its_own() {
    let moved = Move::new(plain(), courier()).await.fill(&["x/y", "INBOX/z"]);
    assert_eq!(moved.complete().await, ["INBOX/z > INBOX.z", "x/y > INBOX.x.y"]);
    let moved = Move::new(courier(), plain()).await.fill(&["INBOX.x.y", "INBOX.INBOX"]);
    assert_eq!(moved.complete().await, ["INBOX.INBOX > INBOX/INBOX", "INBOX.x.y > x/y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f50_there_is_one_inbox_however_it_is_written() {
    let moved = Move::new(Config { inbox_name: "Inbox".to_owned(), ..plain() }, plain()).await.fill(&["INBOX"]);
    assert_eq!(moved.complete().await, ["INBOX > INBOX"]);
    assert_eq!(moved.asked("CREATE"), [""; 0]);
    // Below the prefix it is a name like others, and must not become the inbox.
    let moved = Move::new(courier(), dotted()).await.fill(&["INBOX", "INBOX.Inbox"]);
    assert_eq!(moved.complete().await, ["INBOX > INBOX", "INBOX.Inbox > INBOX.Inbox"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f51_names_that_differ_in_case_stay_two_folders_and_check_says_so() {
    let blind = || plain().with_layout(Layout { case_blind: true, ..Layout::default() });
    let moved = Move::new(plain(), blind()).await.fill(&["Folder", "folder"]);
    moved.target.account("u").create("Other").unwrap();
    let warnings = moved.check().await.seen.unwrap().warnings;
    assert!(warnings[0].contains("differ in case only for one"), "{warnings:?}");
    for verb in ["CREATE", "APPEND", "SUBSCRIBE", "RENAME", "DELETE"] {
        assert_eq!(moved.asked(verb), [""; 0]);
    }
    assert_eq!(moved.complete().await, ["Folder > Folder", "folder > folder (2)"]);

    let moved = Move::new(plain(), plain()).await.fill(&["Folder", "folder"]);
    moved.target.account("u").create("Other").unwrap();
    assert_eq!(moved.check().await.seen.unwrap().warnings, [""; 0]);
    assert_eq!(moved.complete().await, ["Folder > Folder", "folder > folder"]);

    // Nothing there to ask by.
    let seen = Move::new(plain(), blind()).await.fill(&["Folder", "folder"]).check().await.seen.unwrap();
    assert!(seen.warnings[0].contains("may take"), "{:?}", seen.warnings);
    let doubted = seen.folders.iter().filter(|folder| folder.doubted).map(|folder| folder.if_refused[0].as_str());
    assert_eq!(doubted.collect::<Vec<_>>(), ["Folder (2)", "folder (3)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f51_a_target_that_folds_case_against_all_that_is_known_of_it_gets_no_two_folders_in_one() {
    // It calls itself Dovecot, which folds no case.
    let target = Config { id: vec![("name".to_owned(), "Dovecot".to_owned())], ..plain() }
        .with_layout(Layout { case_blind: true, ..Layout::default() });
    for answer in ["", "OK Create completed.", "NO [ALREADYEXISTS] Mailbox already exists"] {
        let moved = Move::new(plain(), target.clone()).await.fill(&["Folder", "folder", "FOLDER"]);
        if !answer.is_empty() {
            moved.target.faults().add(Point::after_execute("CREATE"), Nth::All, Act::Reply(answer.to_owned()));
        }
        let arrived = moved.complete().await;
        let folders: BTreeMap<_, _> =
            arrived.iter().filter_map(|line| line.split_once(" > ")).map(|(a, b)| (b, a)).collect();
        assert_eq!((arrived.len(), folders.len()), (3, 3), "{arrived:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f52_spaces_that_the_target_refuses_are_escaped_and_told() {
    let names = ["Trailing ", " leading", "two  spaces", "a b"];
    let expected = [" leading > =20leading", "Trailing  > Trailing=20", "a b > a b", "two  spaces > two =20spaces"];
    // Known of this family.
    let moved = Move::new(plain(), Config { greeting: "Gimap ready".to_owned(), ..plain() }).await.fill(&names);
    assert_eq!(moved.complete().await, expected);
    // Found out.
    let target = plain()
        .refusing("CREATE", "  ", "NO [CANNOT] Folder contains excess whitespace")
        .refusing("CREATE", " leading", "NO [CANNOT] Folder contains excess whitespace")
        .refusing("CREATE", "Trailing ", "NO [CANNOT] Folder contains excess whitespace");
    let moved = Move::new(plain(), target).await.fill(&names);
    let plan = moved.plan().await;
    let doubted = plan.folders.iter().filter(|folder| folder.doubted);
    let doubted: Vec<&str> = doubted.map(|folder| folder.if_refused[0].as_str()).collect();
    assert_eq!(doubted, ["=20leading", "Trailing=20", "two =20spaces"]);
    assert_eq!(moved.complete().await, expected);
    let plan = moved.plan().await;
    let refused: Vec<_> = plan.folders.iter().filter(|folder| folder.because == Because::Refused).collect();
    assert_eq!(refused.len(), 3, "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f53_a_folder_that_was_created_and_is_not_there_gets_no_message() {
    let moved = Move::new(plain(), Config { strict_utf7: true, ..plain() }).await.fill(&["B&APw-ro", "INBOX"]);
    assert_eq!(moved.complete().await, ["B&APw-ro > B&APw-ro", "INBOX > INBOX"]);

    let moved = Move::new(plain(), plain()).await.fill(&["B&APw-ro", "INBOX"]);
    moved.target.faults().add(Point::command("CREATE"), Nth::All, Act::Reply("OK Create completed.".to_owned()));
    let ran = moved.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    assert_eq!(refused(&ran), ["Büro"]);
    assert_eq!(moved.arrived(), ["INBOX > INBOX"]);
    assert!(moved.asked("APPEND").iter().all(|line| line.contains("INBOX")));

    let moved = Move::new(plain(), plain()).await.fill(&["B&APw-ro", "INBOX"]);
    moved.target.faults().add(Point::command("CREATE"), Nth::First(2), Act::Reply("OK Create completed.".to_owned()));
    assert_eq!(moved.complete().await, ["B&APw-ro > =42=C3=BCro", "INBOX > INBOX"], "under a name that it keeps");
}

#[tokio::test(flavor = "multi_thread")]
async fn f54_an_ampersand_is_encoded_and_where_it_is_refused_it_costs_nothing_else() {
    let names = ["VALERIA&-MATTEO", "R&-D", "AT&--T"];
    let moved = Move::new(plain(), Config { strict_utf7: true, ..plain() }).await.fill(&names);
    assert_eq!(moved.complete().await, ["AT&--T > AT&--T", "R&-D > R&-D", "VALERIA&-MATTEO > VALERIA&-MATTEO"]);
    // Refused in every form: that folder's messages are listed, and those alone.
    let target = plain().refusing("CREATE", "R&-D", "NO [CANNOT] no").refusing("CREATE", "=52", "NO [CANNOT] no");
    let moved = Move::new(plain(), target).await.fill(&names);
    let ran = moved.haul.run().await;
    assert_eq!(refused(&ran), ["R&D"]);
    assert_eq!(moved.arrived().len(), 2);
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
}

#[tokio::test(flavor = "multi_thread")]
async fn f55_names_that_differ_in_normal_form_stay_two_folders_and_check_says_so() {
    const NFC: &str = "M&APw-ller";
    const NFD: &str = "Mu&Awg-ller";
    let layout = Layout { alike: vec![("&APw-".into(), "u&Awg-".into())], ..Layout::default() };
    for (layout, told, second) in [(layout, "normal form only for one", "M&APw-ller (2)"), (Layout::default(), "", NFC)]
    {
        let moved = Move::new(plain(), plain().with_layout(layout)).await.fill(&[NFC, NFD]);
        moved.target.account("u").create("B&APw-ro").unwrap();
        let warnings = moved.check().await.seen.unwrap().warnings.join("\n");
        assert_eq!((warnings.contains("normal form"), warnings.contains(told)), (!told.is_empty(), true), "{warnings}");
        assert_eq!(moved.asked("CREATE"), [""; 0]);
        assert_eq!(moved.complete().await, [format!("{NFC} > {second}"), format!("{NFD} > {NFD}")]);
    }
    // Nothing there to ask by: it is told, and found out before anything is filled.
    let alike = Layout { alike: vec![("&APw-".into(), "u&Awg-".into())], ..Layout::default() };
    for (layout, other) in [(alike, "M&APw-ller (3)"), (Layout::default(), NFC)] {
        let moved = Move::new(plain(), plain().with_layout(layout)).await.fill(&[NFC, NFD]);
        let seen = moved.check().await.seen.unwrap();
        assert!(seen.warnings[0].contains("may take"), "{:?}", seen.warnings);
        assert_eq!(seen.folders.iter().filter(|folder| folder.doubted).count(), 2);
        let arrived = moved.complete().await;
        let one = [format!("{NFC} > {other}"), format!("{NFD} > {NFD}")];
        // Which of them comes first is open.
        let two = [format!("{NFC} > {NFC}"), format!("{NFD} > Mu&Awg-ller (2)")];
        assert!(arrived == one || arrived == two, "{arrived:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f56_names_that_look_like_syntax_are_read() {
    let names = ["NIL", "200", "[Gmail]/x", "quote\"inside", "back\\slash", "Folder\\Sub 1", "(a", "{12}", "{12+}"];
    for hostile_names_as_literals in [false, true] {
        let moved = Move::new(Config { hostile_names_as_literals, ..plain() }, plain()).await.fill(&names);
        let mut expected: Vec<String> = names.iter().map(|name| format!("{name} > {name}")).collect();
        expected.sort();
        assert_eq!(moved.complete().await, expected);
    }
    // Nor does every server write the quotes.
    let names = ["200", "Folder\\Sub 1", "NIL", "[Gmail]/x", "back\\slash", "two  words"];
    let moved = Move::new(plain(), plain()).await.fill(&names);
    moved.says("LIST", &names.iter().map(|name| format!("* LIST () \"/\" {name}\r\n")).collect::<String>());
    assert_eq!(moved.complete().await, names.map(|name| format!("{name} > {name}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn f57_a_target_without_a_separator_gets_flat_names() {
    let flat = || plain().with_layout(Layout { separator: 0, ..Layout::default() });
    let moved = Move::new(dotted(), flat()).await.fill(&["a.b", "a/b", "INBOX.c"]);
    assert_eq!(moved.complete().await, ["INBOX.c > INBOX/c", "a.b > a/b", "a/b > a=2Fb"]);
    let moved = Move::new(flat(), plain()).await.fill(&["a.b", "a/b"]);
    assert_eq!(moved.complete().await, ["a.b > a.b", "a/b > a=2Fb"]);
    // A separator is that of its folder.
    let moved = Move::new(plain(), plain()).await.fill(&["INBOX", "a.b", "a/b"]);
    moved.says("LIST", "* LIST () NIL INBOX\r\n* LIST () \".\" a.b\r\n* LIST () NIL a/b\r\n");
    assert_eq!(moved.complete().await, ["INBOX > INBOX", "a.b > a/b", "a/b > a=2Fb"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f58_children_of_parents_that_hold_no_mail_are_copied() {
    let moved = Move::new(plain(), plain()).await.fill(&["gone/child", "closed/child"]);
    moved.source.account("u").create_folder(FolderSpec::new("closed").attribute("\\Noselect")).unwrap();
    assert_eq!(moved.complete().await, ["closed/child > closed/child", "gone/child > gone/child"]);
    // There the parent is one that holds no mail, and the source's does.
    let moved = Move::new(plain(), plain()).await.fill(&["p", "p/child"]);
    moved.target.account("u").create_folder(FolderSpec::new("p").attribute("\\Noselect")).unwrap();
    assert_eq!(moved.complete().await, ["p > p", "p/child > p/child"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f59_a_folder_that_nobody_may_open_costs_nothing_else() {
    let source = plain().refusing("EXAMINE", "theirs", "NO [NOPERM] Permission denied");
    let moved = Move::new(source, plain()).await.fill(&["a", "theirs", "z"]);
    let ran = moved.haul.run().await;
    assert_eq!(moved.arrived(), ["a > a", "z > z"]);
    let failed: Vec<_> = ran.end.accounts[0].folders_failed.iter().map(|(folder, _)| folder.as_str()).collect();
    assert_eq!((failed, ran.end.accounts[0].ending), (vec!["theirs"], Ending::Exceptions));
    // On the target: listed, and no other name is tried, since it is none of its name's fault.
    let target = plain().refusing("CREATE", "a;", "NO [NOPERM] Permission denied");
    let moved = Move::new(plain(), target).await.fill(&["a;", "z"]);
    let ran = moved.haul.run().await;
    assert_eq!((refused(&ran), moved.arrived()), (vec!["a;".to_owned()], vec!["z > z".to_owned()]));
    assert_eq!(moved.asked("CREATE").len(), 2);
    // What is others' is left alone, unless the job asks for it.
    for shared in [false, true] {
        let mut moved = Move::new(plain(), plain()).await.fill(&["a", "Others/anna/b"]);
        moved.says("NAMESPACE", "* NAMESPACE ((\"\" \"/\")) ((\"Others/\" \"/\")) NIL\r\n");
        moved.haul = moved.haul.with(&format!("[folders]\nshared = {shared}"));
        let left = moved.check().await.seen.unwrap().left;
        assert_eq!(left.contains(&("Others/anna/b".to_owned(), Left::Shared)), !shared, "{left:?}");
        let expected = ["Others/anna/b > Others/anna/b", "a > a"];
        assert_eq!(moved.complete().await, expected[usize::from(!shared)..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f60_a_folder_that_is_there_already_is_used_as_it_is() {
    let moved = Move::new(plain(), plain()).await.fill(&["Junk Mail"]);
    put(&moved.target.account("u"), "Junk Mail");
    let ran = moved.haul.run().await;
    ran.assert_complete();
    assert_eq!((moved.asked("CREATE").len(), moved.arrived().len()), (0, 1));
    // It came while nobody looked.
    let moved = Move::new(plain(), plain()).await.fill(&["Junk Mail"]);
    let answer = Act::Reply("NO Mailbox already exists".to_owned());
    moved.target.faults().add(Point::after_execute("CREATE"), Nth::All, answer);
    assert_eq!(moved.complete().await, ["Junk Mail > Junk Mail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f61_folders_of_one_role_go_to_the_targets_own_and_never_two_into_one() {
    let mut source = plain();
    source.features.special_use = false;
    let moved = Move::new(source, plain()).await.fill(&["Gesendete Elemente", "Gesendet", "Entw&APw-rfe", "Sent"]);
    moved.target.account("u").create_folder(FolderSpec::new("Sent Items").special_use("\\Sent")).unwrap();
    moved.target.account("u").create_folder(FolderSpec::new("Drafts").special_use("\\Drafts")).unwrap();
    let planned = moved.plan().await;
    let arrived = moved.complete().await;
    let places: std::collections::BTreeSet<_> =
        arrived.iter().filter_map(|line| line.split_once(" > ")).map(|(_, to)| to).collect();
    assert_eq!((arrived.len(), places.len()), (4, 4), "{arrived:?}");
    assert!(arrived.contains(&"Entw&APw-rfe > Drafts".to_owned()) && places.contains("Sent Items"), "{arrived:?}");
    assert!(planned.folders.iter().any(|folder| folder.target == "Sent Items" && folder.because == Because::Role));
}

#[tokio::test(flavor = "multi_thread")]
async fn f62_names_too_long_or_with_odd_spaces_are_told_before_the_run() {
    let (long, deep) = ("x".repeat(255), (1..=20).map(|depth| format!("d{depth}")).collect::<Vec<_>>().join("/"));
    let names = [long.as_str(), &deep, "ideographic&MAA-space", "nbsp&AKA-name"];
    let moved = Move::new(plain(), Config { greeting: "Gimap ready".to_owned(), ..plain() }).await.fill(&names);
    let seen = moved.check().await.seen.unwrap();
    let told: Vec<Because> =
        seen.folders.iter().filter(|folder| folder.because != Because::Same).map(|folder| folder.because).collect();
    assert_eq!(told, [Because::Escaped, Because::Escaped, Because::Shortened]);
    assert_eq!(seen.warnings.len(), 3, "{:?}", seen.warnings);
    let arrived = moved.complete().await;
    assert!(arrived.contains(&format!("{deep} > {deep}")), "{arrived:?}");
    assert!(arrived.contains(&"nbsp&AKA-name > nbsp=C2=A0name".to_owned()), "{arrived:?}");
    let short = arrived.iter().find_map(|line| line.strip_prefix(&format!("{long} > "))).unwrap();
    assert!(short.len() <= 225 && short.contains("=_"), "{short}");
    // Where it is not known, it is found out.
    let moved =
        Move::new(plain(), plain().refusing("CREATE", &"x".repeat(226), "NO [CANNOT] too long")).await.fill(&names);
    assert_eq!(moved.complete().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn f63_labels_are_folders_and_what_shows_all_again_is_named() {
    for excluded in [false, true] {
        let mut moved = Move::new(plain(), plain()).await.fill(&["INBOX", "Label"]);
        let account = moved.source.account("u");
        account.create_folder(FolderSpec::new("[Gmail]").attribute("\\Noselect")).unwrap();
        account.create_folder(FolderSpec::new("[Gmail]/All Mail").special_use("\\All")).unwrap();
        for name in ["INBOX", "Label"] {
            let body = format!("Subject: {name}\r\n\r\n{name}\r\n").into_bytes();
            account.add("[Gmail]/All Mail", NewMessage::new(body)).unwrap();
        }
        if excluded {
            moved.haul = moved.haul.with("[folders]\nexclude = [\"[Gmail]/All Mail\"]");
        }
        let warnings = moved.check().await.seen.unwrap().warnings.join("\n");
        assert_eq!(warnings.contains("may show again"), !excluded, "{warnings}");
        assert_eq!(moved.complete().await.len(), if excluded { 2 } else { 4 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f64_subscriptions_are_copied() {
    for list_extended in [false, true] {
        let source = plain().features(|features| features.list_extended = list_extended);
        let moved = Move::new(source, courier()).await.fill(&["seen", "there"]);
        let account = moved.source.account("u");
        account.create("unseen").unwrap();
        moved.target.account("u").create("INBOX.there").unwrap();
        moved.haul.run().await.assert_complete();
        let folders = moved.target.account("u").folders();
        let subscribed = |name: &str| folders.iter().find(|folder| folder.name == name.as_bytes()).unwrap().subscribed;
        assert!(subscribed("INBOX.seen") && subscribed("INBOX.there") && !subscribed("INBOX.unseen"));
        account.subscribe("unseen");
        moved.haul.run().await.assert_complete();
        assert!(moved.target.account("u").folder("INBOX.unseen").unwrap().subscribed, "also where nothing else is new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f65_folders_of_other_things_are_copied_if_they_open_and_else_listed() {
    let source = plain().refusing("EXAMINE", "Tasks", "NO not a mail folder").refusing("STATUS", "Tasks", "NO no");
    let source = source.features(|features| features.list_status = false);
    let moved = Move::new(source, plain()).await.fill(&["Calendar", "Contacts/x", "Tasks", "Sync Issues"]);
    let seen = moved.check().await.seen.unwrap();
    let counted: Vec<u64> = seen.folders.iter().map(|folder| folder.messages).collect();
    assert_eq!((counted, seen.folders[4].source.as_str()), (vec![0, 1, 1, 1, 0], "Tasks"));
    let ran = moved.haul.run().await;
    assert_eq!(moved.arrived(), ["Calendar > Calendar", "Contacts/x > Contacts/x", "Sync Issues > Sync Issues"]);
    assert_eq!(ran.end.accounts[0].folders_failed[0].0, "Tasks");
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
}

#[tokio::test(flavor = "multi_thread")]
async fn f67_no_command_is_longer_than_the_strictest_server_takes() {
    // RFC 2683, 3.2.1.5; Yahoo holds to it.
    const LINE_MAX: usize = 1000;
    let moved = Move::new(plain(), plain()).await;
    let (source, target) = (moved.source.account("u"), moved.target.account("u"));
    for at in 0..2000_u32 {
        // Not two in a row: no set becomes a range.
        let message =
            NewMessage::new(format!("Subject: {at}\r\n\r\n{at}\r\n").into_bytes()).uid(2_000_000_000 + 2 * at);
        if at % 2 == 0 {
            target.add("INBOX", message.clone()).unwrap();
        }
        source.add("INBOX", message).unwrap();
    }
    moved.haul.run().await.assert_complete();
    for message in source.messages("INBOX").unwrap() {
        source.set_flags("INBOX", message.uid, &["\\Seen"]).unwrap();
    }
    moved.haul.run().await.assert_complete();
    for server in [&moved.source, &moved.target] {
        // Where a literal ends, another line begins.
        for logged in server.log() {
            let longest = logged.line.split('}').map(str::len).max().unwrap();
            assert!(longest <= LINE_MAX, "{longest} bytes: {}", logged.line);
        }
    }
    let stores = moved.asked("UID STORE");
    assert!(stores.iter().filter(|line| line.contains(',')).count() > 10, "{stores:?}");
    // In a row they are one range.
    source.create("Row").unwrap();
    for at in 0..500_u32 {
        source.add("Row", NewMessage::new(format!("Subject: {at}\r\n\r\n{at}\r\n").into_bytes())).unwrap();
    }
    moved.haul.run().await.assert_complete();
    (1..=500).for_each(|uid| source.set_flags("Row", uid, &["\\Seen"]).unwrap());
    moved.target.clear_log();
    moved.haul.run().await.assert_complete();
    let stores = moved.asked("UID STORE");
    assert!(matches!(&stores[..], [one] if one.contains("UID STORE 1:500 ")), "{stores:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f79_a_folder_lost_from_sight_for_a_moment_is_tried_again_and_then_listed() {
    let lost = || Act::Reply("NO [TRYCREATE] APPEND error finding folder".to_owned());
    let moved = Move::new(plain(), plain()).await.fill(&["a", "b"]);
    moved.target.faults().add(Point::command("APPEND"), Nth::Only(1), lost());
    assert_eq!(moved.complete().await, ["a > a", "b > b"]);

    let moved = Move::new(plain(), plain()).await.fill(&["a"]);
    moved.target.faults().add(Point::command("APPEND"), Nth::All, lost());
    let ran = moved.haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    assert_eq!(ran.end.accounts[0].folders_failed[0].0, "a");
    moved.target.faults().clear();
    assert_eq!(moved.complete().await, ["a > a"]);
}
