//! Each command family once, as exact dialogues.

mod dialogue;

use dialogue::{Client, check, message, server, server_with};
use mailhaul_testserver::{FolderSpec, Keywords, Layout, Store};

const FLAGS: &str = "S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)";
const PERMANENT: &str = "S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags permitted.";

#[tokio::test]
async fn signing_in() {
    let server = server(|config| {
        let changed = std::mem::take(config).token("u", "tok").admin("root", "toor");
        *config = changed;
    });
    Client::to(&server)
        .play(
            r#"S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] …
            C: a LOGIN u wrong
            S: a NO [AUTHENTICATIONFAILED] Authentication failed.
            C: a SELECT INBOX
            S: a BAD …
            C: a LOGIN {1}
            S: + OK
            C: u {4+}
            C: pass
            S: a OK [CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ NAMESPACE UNSELECT CHILDREN UIDPLUS …
            C: a LOGOUT
            S: * BYE Logging out
            S: a OK Logout completed.
            END"#,
        )
        .await;
    for (sent, wanted) in [
        ("C: a AUTHENTICATE PLAIN AHUAcGFzcw==", "S: a OK …"),
        ("C: a AUTHENTICATE PLAIN\nS: + \nC: AHUAcGFzcw==", "S: a OK …"),
        ("C: a AUTHENTICATE PLAIN\nS: + \nC: *", "S: a BAD …"),
        ("C: a AUTHENTICATE PLAIN AHUAd3Jvbmc=", "S: a NO [AUTHENTICATIONFAILED] …"),
        // u for root, root for u, root for nobody
        ("C: a AUTHENTICATE PLAIN cm9vdAB1AHBhc3M=", "S: a NO [AUTHORIZATIONFAILED] …"),
        ("C: a AUTHENTICATE PLAIN dQByb290AHRvb3I=", "S: a OK …"),
        ("C: a AUTHENTICATE PLAIN bm9ib2R5AHJvb3QAdG9vcg==", "S: a NO [AUTHORIZATIONFAILED] …"),
        // user=u^Aauth=Bearer tok^A^A, and the same with a wrong token
        ("C: a AUTHENTICATE XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHRvawEB", "S: a OK …"),
        (
            "C: a AUTHENTICATE XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIGJhZAEB\nS: + eyJ…\nC: ",
            "S: a NO [AUTHENTICATIONFAILED] …",
        ),
        ("C: a AUTHENTICATE OAUTHBEARER bixhPXUsAWF1dGg9QmVhcmVyIHRvawEB", "S: a OK …"),
        (
            "C: a AUTHENTICATE OAUTHBEARER bixhPXUsAWF1dGg9QmVhcmVyIGJhZAEB\nS: + eyJ…\nC: AQ==",
            "S: a NO [AUTHENTICATIONFAILED] …",
        ),
        ("C: a AUTHENTICATE GSSAPI", "S: a NO …"),
    ] {
        Client::to(&server).play(&format!("S: * OK …\n{sent}\n{wanted}")).await;
    }
}

#[tokio::test]
async fn small_commands() {
    check(
        &server(|config| config.quota_bytes = Some(10 * 1024)),
        r#"C: a NOOP
        S: a OK NOOP completed.
        C: b CAPABILITY
        S: * CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ NAMESPACE UNSELECT CHILDREN UIDPLUS MULTIAPPEND CONDSTORE ESEARCH LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE MOVE STATUS=SIZE QUOTA
        S: b OK Capability completed.
        C: c NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: c OK Namespace completed.
        C: d ID ("name" "x" "version" NIL)
        S: * ID ("name" "mailhaul-testserver")
        S: d OK ID completed.
        C: e ENABLE CONDSTORE X-NONE
        S: * ENABLED CONDSTORE
        S: e OK Enabled.
        C: f GETQUOTAROOT INBOX
        S: * QUOTAROOT INBOX "User quota"
        S: * QUOTA "User quota" (STORAGE 0 10)
        S: f OK Getquotaroot completed.
        C: g NOSUCH
        S: g BAD Error in IMAP command NOSUCH: Unknown command.
        C: +h NOOP
        S: * BAD …
        C: i  NOOP
        S: i BAD …
        C: j NOOP x
        S: j BAD …
        C: k FETCH 1 FLAGS
        S: k BAD No mailbox selected.
        C: l CHECK
        S: l BAD No mailbox selected."#,
    )
    .await;
}

#[tokio::test]
async fn folders_are_listed_in_every_form() {
    let server = server(|_| {});
    let account = server.account("u");
    for spec in [
        FolderSpec::new("Sent").special_use("\\Sent").subscribed(),
        FolderSpec::new("a/b").subscribed(),
        FolderSpec::new("quote\"back\\slash"),
        FolderSpec::new("with space"),
        FolderSpec::new(b"raw \xe4"),
    ] {
        account.create_folder(spec).unwrap();
    }
    check(
        &server,
        r#"C: a LIST "" *
        S: * LIST (\HasNoChildren) "/" INBOX
        S: * LIST (\HasNoChildren \Sent) "/" Sent
        S: * LIST (\Noselect \HasChildren) "/" a
        S: * LIST (\HasNoChildren) "/" a/b
        S: * LIST (\HasNoChildren) "/" "quote\"back\\slash"
        S: * LIST (\HasNoChildren) "/" {5}
        S: raw …
        S: * LIST (\HasNoChildren) "/" "with space"
        S: a OK List completed.
        C: b LIST "" ""
        S: * LIST (\Noselect) "/" ""
        S: b OK List completed.
        C: c LIST "a/" %
        S: * LIST (\HasNoChildren) "/" a/b
        S: c OK List completed.
        C: d LIST "" "inbox"
        S: * LIST (\HasNoChildren) "/" INBOX
        S: d OK List completed.
        C: e LSUB "" "*"
        S: * LSUB () "/" Sent
        S: * LSUB () "/" a/b
        S: e OK Lsub completed.
        C: f LSUB "" %
        S: * LSUB () "/" Sent
        S: * LSUB (\Noselect) "/" a
        S: f OK Lsub completed.
        C: g LIST "" ("S%" "a%") RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES UIDNEXT))
        S: * LIST (\HasNoChildren \Subscribed \Sent) "/" Sent
        S: * STATUS Sent (MESSAGES 0 UIDNEXT 1)
        S: * LIST (\NonExistent \HasChildren) "/" a
        S: g OK List completed.
        C: h LIST (SUBSCRIBED) "" *
        S: * LIST (\Subscribed) "/" Sent
        S: * LIST (\Subscribed) "/" a/b
        S: h OK List completed.
        C: i LIST (SPECIAL-USE) "" *
        S: * LIST (\Sent) "/" Sent
        S: i OK List completed.
        C: j LIST (SUBSCRIBED RECURSIVEMATCH) "" %
        S: * LIST (\Subscribed) "/" Sent
        S: * LIST (\NonExistent) "/" a ("CHILDINFO" ("SUBSCRIBED"))
        S: j OK List completed.
        C: k LIST (NONSENSE) "" *
        S: k BAD …"#,
    )
    .await;
}

#[tokio::test]
async fn folders_are_made_renamed_subscribed_and_deleted() {
    let server = server(|_| {});
    check(
        &server,
        r#"C: a CREATE x/y
        S: a OK Create completed.
        C: a CREATE x/y
        S: a NO [ALREADYEXISTS] Mailbox already exists.
        C: a CREATE inbox
        S: a NO [ALREADYEXISTS] Mailbox already exists.
        C: a CREATE Gone (USE (\Trash))
        S: a OK Create completed.
        C: a CREATE Bad (USE (\Nonsense))
        S: a NO [USEATTR] …
        C: a CREATE z/
        S: a OK Create completed.
        C: a CREATE z
        S: a NO [ALREADYEXISTS] Mailbox already exists.
        C: a SUBSCRIBE x/y
        S: a OK Subscribe completed.
        C: a SUBSCRIBE nowhere
        S: a NO [NONEXISTENT] Mailbox doesn't exist.
        C: a RENAME x w
        S: a OK Rename completed.
        C: a RENAME w z
        S: a NO [ALREADYEXISTS] Mailbox already exists.
        C: a RENAME w w/below
        S: a NO [CANNOT] …
        C: a DELETE w
        S: a NO [CANNOT] …
        C: a DELETE w/y
        S: a OK Delete completed.
        C: a DELETE w/y
        S: a NO [NONEXISTENT] Mailbox doesn't exist.
        C: a DELETE INBOX
        S: a NO [CANNOT] …
        C: a LIST (SUBSCRIBED) "" *
        S: * LIST (\NonExistent \Subscribed) "/" x/y
        S: a OK List completed.
        C: a UNSUBSCRIBE x/y
        S: a OK Unsubscribe completed.
        C: a STATUS z (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ SIZE)
        S: * STATUS z (MESSAGES 0 RECENT 0 UIDNEXT 1 UIDVALIDITY 1600000004 UNSEEN 0 HIGHESTMODSEQ 1 SIZE 0)
        S: a OK Status completed.
        C: a STATUS z (NONSENSE)
        S: a BAD …
        C: a STATUS nowhere (MESSAGES)
        S: a NO [NONEXISTENT] Mailbox doesn't exist."#,
    )
    .await;
}

#[tokio::test]
async fn a_prefix_is_kept_to() {
    let server = server(|config| config.layout = Layout::inbox_dot());
    check(
        &server,
        r#"C: a NAMESPACE
        S: * NAMESPACE (("INBOX." ".")) NIL NIL
        S: a OK Namespace completed.
        C: a CREATE Sent
        S: a NO [NONEXISTENT] Client tried to access nonexistent namespace. (Mailbox name should probably be prefixed with: INBOX.)
        C: a CREATE inbox.Sent
        S: a OK Create completed.
        C: a LIST "" "*"
        S: * LIST (\HasChildren) "." INBOX
        S: * LIST (\HasNoChildren) "." INBOX.Sent
        S: a OK List completed."#,
    )
    .await;
}

#[tokio::test]
async fn mailboxes_are_opened_to_read_or_to_change() {
    let server = server(|_| {});
    let account = server.account("u");
    account.add("INBOX", message("Subject: 1\r\n\r\n1").flags("\\Seen")).unwrap();
    account.add("INBOX", message("Subject: 2\r\n\r\n2").flags("$Forwarded").uid(7)).unwrap();
    let answer = |permanent: &str, recent: u32| {
        format!(
            "S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)\n{permanent}\nS: * 2 EXISTS\n\
             S: * {recent} RECENT\nS: * OK [UNSEEN 2] First unseen.\nS: * OK [UIDVALIDITY 1600000001] UIDs valid\n\
             S: * OK [UIDNEXT 8] Predicted next UID\nS: * OK [HIGHESTMODSEQ 3] Highest"
        )
    };
    let read_only = "S: * OK [PERMANENTFLAGS ()] Read-only mailbox.";
    let read_write =
        "S: * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded \\*)] Flags permitted.";
    let dialogue = [
        "C: a EXAMINE INBOX",
        &answer(read_only, 2),
        "S: a OK [READ-ONLY] Examine completed.",
        "C: a STORE 1 +FLAGS (\\Flagged)",
        "S: a NO [READ-ONLY] Mailbox is read-only.",
        "C: a FETCH 2 BODY[TEXT]",
        "S: * 2 FETCH (BODY[TEXT] {1}",
        "S: 2)",
        "S: a OK Fetch completed.",
        "C: a EXPUNGE",
        "S: a NO [READ-ONLY] Mailbox is read-only.",
        "C: a SELECT INBOX (CONDSTORE)",
        "S: * OK [CLOSED] Previous mailbox closed.",
        &answer(read_write, 2),
        "S: a OK [READ-WRITE] Select completed.",
        "C: a FETCH 1:2 FLAGS",
        "S: * 1 FETCH (FLAGS (\\Seen \\Recent))",
        "S: * 2 FETCH (FLAGS ($Forwarded \\Recent))",
        "S: a OK Fetch completed.",
        "C: a UNSELECT",
        "S: a OK Unselect completed.",
        "C: a EXAMINE INBOX",
        &answer(read_only, 0),
        "S: a OK [READ-ONLY] Examine completed.",
        "C: a SELECT nowhere",
        "S: * OK [CLOSED] Previous mailbox closed.",
        "S: a NO [NONEXISTENT] Mailbox doesn't exist.",
        "C: a CHECK",
        "S: a BAD No mailbox selected.",
    ];
    check(&server, &dialogue.join("\n")).await;
    assert!(!account.messages("INBOX").unwrap()[1].has("\\Seen"), "EXAMINE changed \\Seen");
}

#[tokio::test]
async fn messages_are_fetched_in_every_form() {
    let server = server(|_| {});
    let account = server.account("u");
    account.add("INBOX", message("From: a@b.c\r\nSubject: s\r\nX: 1\r\n\r\nbody").flags("\\Seen kw")).unwrap();
    account.add("INBOX", message("no header").uid(5)).unwrap();
    check(
        &server,
        r#"C: a EXAMINE INBOX
        S: * FLAGS …
        S: * OK [PERMANENTFLAGS …
        S: * 2 EXISTS
        S: * 2 RECENT
        S: * OK [UNSEEN 2] …
        S: * OK [UIDVALIDITY …
        S: * OK [UIDNEXT 6] …
        S: * OK [HIGHESTMODSEQ 3] …
        S: a OK …
        C: a UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ)
        S: * 1 FETCH (UID 1 FLAGS (\Seen kw \Recent) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 37 MODSEQ (2))
        S: * 2 FETCH (UID 5 FLAGS (\Recent) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 9 MODSEQ (3))
        S: a OK Fetch completed.
        C: a UID FETCH 5 BODY.PEEK[]
        S: * 2 FETCH (UID 5 BODY[] {9}
        S: no header)
        S: a OK Fetch completed.
        C: a FETCH 1 (BODY.PEEK[HEADER] BODY.PEEK[]<2.5> RFC822.HEADER)
        S: * 1 FETCH (BODY[HEADER] {33}
        S: From: a@b.c
        S: Subject: s
        S: X: 1
        S: 
        S:  BODY[]<2> {5}
        S: om: a RFC822.HEADER {33}
        S: From: a@b.c
        S: Subject: s
        S: X: 1
        S: 
        S: )
        S: a OK Fetch completed.
        C: a FETCH 1 BODY.PEEK[HEADER.FIELDS (subject x)]
        S: * 1 FETCH (BODY[HEADER.FIELDS (subject x)] {20}
        S: Subject: s
        S: X: 1
        S: 
        S: )
        S: a OK Fetch completed.
        C: a FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (subject x)]
        S: * 1 FETCH (BODY[HEADER.FIELDS.NOT (subject x)] {15}
        S: From: a@b.c
        S: 
        S: )
        S: a OK Fetch completed.
        "#,
    )
    .await;
}

#[tokio::test]
async fn messages_that_are_not_there_are_told_of_by_number_alone() {
    let server = server(|_| {});
    let account = server.account("u");
    account.add("INBOX", message("From: a@b.c\r\nSubject: s\r\n\r\n").flags("\\Seen kw")).unwrap();
    account.add("INBOX", message("no header").uid(5)).unwrap();
    let mut client = Client::signed_in(&server).await;
    client.run("EXAMINE INBOX").await;
    client
        .play(
        r#"C: a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 2)
        S: * 2 FETCH (UID 5 FLAGS (\Recent) MODSEQ (3))
        S: a OK Fetch completed.
        C: a FETCH 1 ENVELOPE
        S: * 1 FETCH (ENVELOPE (NIL "s" ((NIL NIL "a" "b.c")) ((NIL NIL "a" "b.c")) ((NIL NIL "a" "b.c")) NIL NIL NIL NIL NIL))
        S: a OK Fetch completed.
        C: a FETCH 1 FAST
        S: * 1 FETCH (FLAGS (\Seen kw \Recent) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 27)
        S: a OK Fetch completed.
        C: a FETCH 3 FLAGS
        S: a BAD Error in IMAP command: Invalid messageset.
        C: a UID FETCH 3 FLAGS
        S: a OK Fetch completed.
        C: a UID FETCH 100:* UID
        S: * 2 FETCH (UID 5)
        S: a OK Fetch completed.
        C: a FETCH 1 (FLAGS
        S: a BAD …
        C: a FETCH 1 BODY.PEEK[NONSENSE]
        S: a BAD …"#,
    )
    .await;
}

#[tokio::test]
async fn reading_marks_seen_and_flags_are_stored() {
    let server = server(|_| {});
    let account = server.account("u");
    for text in ["one", "two", "three"] {
        account.add("INBOX", message(text)).unwrap();
    }
    let mut client = Client::signed_in(&server).await;
    client.run("SELECT INBOX").await;
    client
        .play(
            r#"C: a FETCH 1 BODY[]
            S: * 1 FETCH (BODY[] {3}
            S: one FLAGS (\Seen \Recent))
            S: a OK Fetch completed.
            C: a STORE 1:2 +FLAGS (\Flagged $New)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $New)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $New \*)] Flags permitted.
            S: * 1 FETCH (FLAGS (\Flagged \Seen $New \Recent))
            S: * 2 FETCH (FLAGS (\Flagged $New \Recent))
            S: a OK Store completed.
            C: a UID STORE 2 -FLAGS.SILENT ($new)
            S: a OK Store completed.
            C: a UID STORE 2 FLAGS \Draft
            S: * 2 FETCH (UID 2 FLAGS (\Draft \Recent))
            S: a OK Store completed.
            C: a UID STORE 1:2 (UNCHANGEDSINCE 6) +FLAGS.SILENT (\Deleted)
            S: * 1 FETCH (UID 1 MODSEQ (9))
            S: a OK [MODIFIED 2] Conditional store failed.
            C: a STORE 1 +FLAGS (\Nonsense)
            S: a BAD …
            C: a STORE 1 +FLAGS (\Recent)
            S: a BAD …
            C: a STORE 3 FLAGS ()
            S: * 3 FETCH (MODSEQ (4) FLAGS (\Recent))
            S: a OK Store completed."#,
        )
        .await;
    assert_eq!(account.messages("INBOX").unwrap()[0].flags, ["\\Flagged", "\\Deleted", "\\Seen", "$New"]);
}

#[tokio::test]
async fn messages_are_expunged_copied_and_moved() {
    let server = server(|_| {});
    let account = server.account("u");
    account.create("t").unwrap();
    for number in 1..=6 {
        let flags = if number % 2 == 0 { "\\Deleted" } else { "" };
        account.add("INBOX", message(&format!("{number}")).flags(flags)).unwrap();
    }
    let mut client = Client::signed_in(&server).await;
    client.run("SELECT INBOX").await;
    client
        .play(
            r#"C: a UID EXPUNGE 1:3
            S: * 2 EXPUNGE
            S: a OK Expunge completed.
            C: a UID COPY 1,3:4 t
            S: a OK [COPYUID 1600000002 1,3:4 1:3] Copy completed.
            C: a COPY 1 nowhere
            S: a NO [TRYCREATE] Mailbox doesn't exist.
            C: a UID MOVE 3 t
            S: * OK [COPYUID 1600000002 3 4] Moved UIDs.
            S: * 2 EXPUNGE
            S: a OK Move completed.
            C: a EXPUNGE
            S: * 4 EXPUNGE
            S: * 2 EXPUNGE
            S: a OK Expunge completed.
            C: a STORE 1 +FLAGS.SILENT (\Deleted)
            S: a OK Store completed.
            C: a CLOSE
            S: a OK Close completed."#,
        )
        .await;
    let uids = |folder: &str| account.messages(folder).unwrap().iter().map(|m| m.uid).collect::<Vec<_>>();
    assert_eq!((uids("INBOX"), uids("t")), (vec![5], vec![1, 2, 3, 4]));
}

#[tokio::test]
async fn messages_are_searched() {
    let server = server(|_| {});
    let account = server.account("u");
    account.add("INBOX", message("Message-ID: <x@y>\r\nSubject: Hello\r\n\r\nabc").flags("\\Seen kw")).unwrap();
    account.add("INBOX", message("Subject: other\r\n\r\ndef").uid(9)).unwrap();
    account.add("INBOX", message("x").date("01-Jan-2020 00:30:00 +0100")).unwrap();
    let mut client = Client::signed_in(&server).await;
    client.run("EXAMINE INBOX").await;
    for (keys, found) in [
        ("UID SEARCH ALL", "* SEARCH 1 9 10"),
        ("SEARCH ALL", "* SEARCH 1 2 3"),
        ("SEARCH UID 9:*", "* SEARCH 2 3"),
        ("UID SEARCH 2", "* SEARCH 9"),
        ("SEARCH SEEN", "* SEARCH 1"),
        ("SEARCH UNSEEN NOT 3", "* SEARCH 2"),
        ("SEARCH KEYWORD KW", "* SEARCH 1"),
        ("UID SEARCH HEADER Message-ID <x@y>", "* SEARCH 1"),
        ("SEARCH OR SUBJECT hello (SUBJECT other UNSEEN)", "* SEARCH 1 2"),
        ("SEARCH SINCE 1-Jan-2020", "* SEARCH 3"),
        ("SEARCH BEFORE 1-Jan-2020 LARGER 30", "* SEARCH 1"),
        ("SEARCH BODY DEF", "* SEARCH 2"),
        ("SEARCH CHARSET UTF-8 TEXT \"hello\"", "* SEARCH 1"),
        ("SEARCH DELETED", "* SEARCH"),
        ("SEARCH MODSEQ 3", "* SEARCH 2 3 (MODSEQ 4)"),
        ("UID SEARCH RETURN (MIN MAX COUNT ALL) ALL", "* ESEARCH (TAG \"a\") UID MIN 1 MAX 10 ALL 1,9:10 COUNT 3"),
        ("UID SEARCH RETURN (COUNT) DELETED", "* ESEARCH (TAG \"a\") UID COUNT 0"),
    ] {
        assert_eq!(client.run(keys).await, format!("{found}\na OK Search completed."), "{keys}");
    }
    assert!(client.run("SEARCH NONSENSE").await.starts_with("a BAD"));
    assert!(client.run("SEARCH CHARSET KOI8-R ALL").await.starts_with("a NO [BADCHARSET"));
}

#[tokio::test]
async fn messages_are_appended_in_every_form() {
    let server = server(|_| {});
    check(
        &server,
        r#"C: a APPEND INBOX {3}
        S: + OK
        C: one
        S: a OK [APPENDUID 1600000001 1] Append completed.
        C: a APPEND INBOX (\Seen $Forwarded) " 7-Feb-1994 21:52:25 -0800" {3+}
        C: two
        S: a OK [APPENDUID 1600000001 2] Append completed.
        C: a APPEND {5+}
        C: INBOX (\Flagged) {5+}
        C: th
        C: r {4}
        S: + OK
        C: four "17-Jul-1996 02:44:25 -0700" {4+}
        C: five
        S: a OK [APPENDUID 1600000001 3:5] Append completed.
        C: a APPEND nowhere {3}
        S: a NO [TRYCREATE] Mailbox doesn't exist.
        C: b APPEND nowhere {3+}
        C: one
        S: b NO [TRYCREATE] Mailbox doesn't exist.
        C: c APPEND INBOX (\Nonsense) {3+}
        C: one
        S: c BAD …
        C: d APPEND INBOX "31-Feb-1994 21:52:25 -0800" {16+}
        C: x CREATE injected
        S: d BAD Error in IMAP command APPEND: Invalid internal date.
        C: e APPEND INBOX {3+}
        C: six ~{5+}
        C: seven
        S: e BAD …
        C: f APPEND INBOX {0+}
        C: 
        S: f NO Can't save a zero byte message.
        C: g NOOP
        S: g OK NOOP completed."#,
    )
    .await;
    let account = server.account("u");
    let messages = account.messages("INBOX").unwrap();
    let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"th\r\nr", b"four", b"five"]);
    assert_eq!(messages[1].flags, ["\\Seen", "$Forwarded"]);
    assert_eq!(messages[1].date, " 7-Feb-1994 21:52:25 -0800");
    assert_eq!(messages[4].date, "17-Jul-1996 02:44:25 -0700");
    assert!(account.folder("injected").is_none());
    let stats = server.stats();
    assert_eq!((stats.appends, stats.messages_stored, stats.bytes_stored), (3, 5, 19));
}

#[tokio::test]
async fn multiappend_is_all_or_nothing() {
    let server = server(|config| config.refuse_nul = true);
    check(
        &server,
        "C: a APPEND INBOX {3+}\nC: one {3+}\nC: t\0o {5+}\nC: three\nS: a NO Message contains NUL characters\n\
         C: b APPEND INBOX {3}\nS: + OK\nC: t\0o {5}\nS: b NO Message contains NUL characters",
    )
    .await;
    assert_eq!(server.account("u").count(), 0);
}

#[tokio::test]
async fn commands_may_be_pipelined() {
    let server = server(|_| {});
    let mut client = Client::signed_in(&server).await;
    let all: String = (0..50).map(|n| format!("p{n} APPEND INBOX {{4+}}\r\n{n:04}\r\n")).collect();
    client.send(all + "q SELECT INBOX\r\nr UID FETCH 49:* (UID BODY.PEEK[])\r\n").await;
    for number in 0..50 {
        let uid = number + 1;
        client.play(&format!("S: p{number} OK [APPENDUID 1600000001 {uid}] …")).await;
    }
    client.answer("q").await;
    let wanted = "* 49 FETCH (UID 49 BODY[] {4}\n0048)\n* 50 FETCH (UID 50 BODY[] {4}\n0049)\nr OK Fetch completed.";
    assert_eq!(client.answer("r").await, wanted);
}

#[tokio::test]
async fn other_sessions_are_told_of_news() {
    let server = server(|_| {});
    let account = server.account("u");
    account.add("INBOX", message("1")).unwrap();
    account.add("INBOX", message("2")).unwrap();
    let mut client = Client::signed_in(&server).await;
    client.run("SELECT INBOX").await;
    account.expunge("INBOX", &[1]).unwrap();
    account.add("INBOX", message("3")).unwrap();
    account.set_flags("INBOX", 2, &["\\Seen"]).unwrap();
    client
        .play(
            r#"C: a FETCH 1:2 UID
            S: * 2 FETCH (UID 2)
            S: * 3 EXISTS
            S: * 3 RECENT
            S: * 2 FETCH (FLAGS (\Seen \Recent))
            S: a OK [EXPUNGEISSUED] Some messages were already expunged.
            C: a NOOP
            S: * 1 EXPUNGE
            S: a OK NOOP completed.
            C: a IDLE
            S: + idling"#,
        )
        .await;
    account.add("INBOX", message("4")).unwrap();
    client.play("S: * 3 EXISTS\nS: * 3 RECENT\nC: DONE\nS: a OK Idle completed.").await;
    account.renumber("INBOX").unwrap();
    client.play("C: a NOOP\nS: * BYE IMAP session state is inconsistent, please relogin.\nEND").await;
    let mut client = Client::signed_in(&server).await;
    client.run("SELECT INBOX").await;
    client.play("C: a NOOP\nS: a OK NOOP completed.").await;
    assert_eq!(account.folder("INBOX").unwrap().uid_validity, 1_600_000_002);
}

#[tokio::test]
async fn an_empty_mailbox_can_be_examined() {
    let flags = [FLAGS, PERMANENT].join("\n");
    let dialogue = format!(
        "C: a SELECT inbox\n{flags}\nS: * 0 EXISTS\nS: * 0 RECENT\nS: * OK [UIDVALIDITY 1600000001] UIDs valid\n\
         S: * OK [UIDNEXT 1] Predicted next UID\nS: * OK [HIGHESTMODSEQ 1] Highest\n\
         S: a OK [READ-WRITE] Select completed.\nC: a UID FETCH 1:* FLAGS\nS: a OK Fetch completed.\n\
         C: a FETCH 1:* FLAGS\nS: a BAD …\nC: a UID SEARCH ALL\nS: * SEARCH\nS: a OK …"
    );
    check(&server(|_| {}), &dialogue).await;
}

#[tokio::test]
async fn bad_lines_do_not_lose_the_step() {
    let server = server(|config| config.line_bytes_max = 100);
    let long = "x".repeat(300);
    check(
        &server,
        &format!(
            "C: a NOOP {long}\nS: a BAD Error in IMAP command: line too long.\nC: b NOOP\nS: b OK NOOP completed."
        ),
    )
    .await;
    let mut client = Client::signed_in(&server).await;
    client.send("a NOOP\nb NOOP\r\n").await;
    client.play("S: * BAD …\nS: b OK NOOP completed.").await;
}

#[tokio::test]
async fn keywords_follow_the_configuration() {
    let kept = || vec!["$Forwarded".to_owned()];
    let dropping = server(|config| config.keywords = Keywords::Only(kept()));
    let append = "C: a APPEND INBOX ($Forwarded Other \\Seen) {1+}\nC: x\n";
    check(&dropping, &format!("{append}S: a OK …\nC: a EXAMINE INBOX\nS: * FLAGS …")).await;
    assert_eq!(dropping.account("u").messages("INBOX").unwrap()[0].flags, ["\\Seen", "$Forwarded"]);
    let mut client = Client::signed_in(&dropping).await;
    let select = client.run("SELECT INBOX").await;
    assert!(select.contains("[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Forwarded)]"), "{select}");
    let refusing =
        server(|config| config.keywords = Keywords::OnlyOrRefuse(kept(), "BAD Command Argument Error. 11".to_owned()));
    check(&refusing, &format!("{append}S: a BAD Command Argument Error. 11\nC: b NOOP\nS: b OK …")).await;
    assert_eq!(refusing.account("u").count(), 0);
}

#[tokio::test]
async fn a_store_outlives_its_server() {
    let store = Store::new(Layout::default());
    let first = mailhaul_testserver::Server::in_memory_with(mailhaul_testserver::Config::plain("u"), store.clone());
    check(&first.unwrap(), "C: a APPEND INBOX {1+}\nC: x\nS: a OK [APPENDUID 1600000001 1] …").await;
    let second = server_with(|_| {});
    assert_eq!(second.account("u").count(), 0);
    let second = mailhaul_testserver::Server::in_memory_with(mailhaul_testserver::Config::plain("u"), store).unwrap();
    assert_eq!(second.account("u").count(), 1);
}
