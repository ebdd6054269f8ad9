//! Each switch: what CAPABILITY says, and that commands obey.

mod dialogue;

use dialogue::{Client, check, message, server, server_with};
use mailhaul_testserver::{Config, Doubles, Features, Layout, Literals, Mechanism, TlsMode};

async fn capabilities(change: impl FnOnce(&mut Features)) -> String {
    Client::signed_in(&server_with(change)).await.run("CAPABILITY").await
}

#[tokio::test]
async fn capability_follows_the_switches() {
    type Switch = fn(&mut Features);
    let switches: [(&str, Switch); 18] = [
        ("UIDPLUS", |f| f.uidplus = false),
        ("LITERAL+", |f| f.literals = Literals::Synchronising),
        ("MULTIAPPEND", |f| f.multiappend = false),
        ("CONDSTORE", |f| f.condstore = false),
        ("SPECIAL-USE", |f| f.special_use = false),
        ("LIST-STATUS", |f| f.list_status = false),
        ("LIST-EXTENDED", |f| f.list_extended = false),
        ("LIST-STATUS", |f| f.list_extended = false),
        ("CHILDREN", |f| f.children = false),
        ("NAMESPACE", |f| f.namespace = false),
        (" ID ", |f| f.id = false),
        ("UNSELECT", |f| f.unselect = false),
        ("ENABLE", |f| f.enable = false),
        ("SASL-IR", |f| f.sasl_ir = false),
        ("ESEARCH", |f| f.esearch = false),
        ("IDLE", |f| f.idle = false),
        ("MOVE", |f| f.moves = false),
        ("STATUS=SIZE", |f| f.status_size = false),
    ];
    let all = capabilities(|_| {}).await;
    for (word, switch) in switches {
        assert!(all.contains(word), "{word} is not in {all}");
        let without = capabilities(switch).await;
        assert!(!without.contains(word), "{word} is in {without}");
    }
    assert!(capabilities(|f| f.literals = Literals::Minus).await.contains("LITERAL- "));
    assert!(capabilities(|f| f.append_limit = Some(9)).await.contains("APPENDLIMIT=9"));
    let bare = capabilities(|f| *f = Features::bare()).await;
    assert_eq!(bare, "* CAPABILITY IMAP4rev1\na OK Capability completed.");
}

#[tokio::test]
async fn commands_obey_the_switches() {
    let server = server_with(|features| *features = Features::bare());
    server.account("u").create("t").unwrap();
    check(
        &server,
        r#"C: a NAMESPACE
        S: a BAD …
        C: a ID NIL
        S: a BAD …
        C: a ENABLE CONDSTORE
        S: a BAD …
        C: a IDLE
        S: a BAD …
        C: a LIST "" * RETURN (CHILDREN)
        S: a BAD …
        C: a LIST "" *
        S: * LIST () "/" INBOX
        S: * LIST () "/" t
        S: a OK …
        C: a STATUS INBOX (HIGHESTMODSEQ)
        S: a BAD …
        C: a STATUS INBOX (SIZE)
        S: a BAD …
        C: a CREATE s (USE (\Sent))
        S: a BAD …
        C: a SELECT INBOX (CONDSTORE)
        S: a BAD …"#,
    )
    .await;
    let without_ir = server_with(|features| features.sasl_ir = false);
    Client::to(&without_ir).play("S: * OK …\nC: a AUTHENTICATE PLAIN AHUAcGFzcw==\nS: a BAD …").await;
}

#[tokio::test]
async fn commands_in_a_mailbox_obey_the_switches() {
    let server = server_with(|features| *features = Features::bare());
    let account = server.account("u");
    account.create("t").unwrap();
    account.add("INBOX", message("x").flags("\\Deleted")).unwrap();
    check(
        &server,
        r#"C: a SELECT INBOX
        S: * FLAGS …
        S: * OK [PERMANENTFLAGS …
        S: * 1 EXISTS
        S: * 1 RECENT
        S: * OK [UNSEEN 1] …
        S: * OK [UIDVALIDITY …
        S: * OK [UIDNEXT 2] …
        S: a OK …
        C: a UID FETCH 1 MODSEQ
        S: a BAD …
        C: a UID FETCH 1 UID (CHANGEDSINCE 1)
        S: a BAD …
        C: a UID STORE 1 (UNCHANGEDSINCE 1) FLAGS ()
        S: a BAD …
        C: a UID COPY 1 t
        S: a OK Copy completed.
        C: a UID MOVE 1 t
        S: a BAD …
        C: a UID EXPUNGE 1
        S: a BAD …
        C: a UNSELECT
        S: a BAD …
        C: a UID SEARCH RETURN (COUNT) ALL
        S: a BAD …
        C: a APPEND t {1}
        S: + OK
        C: x
        S: a OK Append completed.
        C: a APPEND t {1}
        S: + OK
        C: x {1}
        S: a BAD …
        C: a APPEND t {1+}
        C: x
        S: a BAD …
        C: a SELECT {1+}
        C: t
        S: a BAD …
        C: a NOOP
        S: a OK …"#,
    )
    .await;
    assert_eq!(account.messages("t").unwrap().len(), 2);
}

#[tokio::test]
async fn literal_minus_is_for_small_literals() {
    let server = server_with(|features| features.literals = Literals::Minus);
    let (small, large) = ("x".repeat(4096), "x".repeat(4097));
    check(
        &server,
        &format!(
            "C: a APPEND INBOX {{4096+}}\nC: {small}\nS: a OK …\nC: a APPEND INBOX {{4097+}}\nC: {large}\n\
             S: a BAD [TOOBIG] …\nC: a NOOP\nS: a OK …"
        ),
    )
    .await;
}

#[tokio::test]
async fn sizes_and_quota_are_enforced() {
    let server = server(|config| {
        config.features.append_limit = Some(10);
        config.quota_bytes = Some(25);
    });
    let account = server.account("u");
    account.create("t").unwrap();
    check(
        &server,
        r#"C: a APPEND INBOX {11}
        S: a NO [TOOBIG] …
        C: a APPEND INBOX {11+}
        C: 01234567890
        S: a NO [TOOBIG] …
        C: a APPEND INBOX {10+}
        C: 0123456789 {10+}
        C: 0123456789 {10+}
        C: 0123456789
        S: a NO [OVERQUOTA] Quota exceeded (mailbox for user is full)
        C: a APPEND INBOX {10+}
        C: 0123456789 {10+}
        C: 0123456789
        S: a OK …
        C: a APPEND INBOX {6}
        S: a NO [OVERQUOTA] …
        C: a EXAMINE INBOX
        S: * FLAGS …
        S: * OK …
        S: * 2 EXISTS
        S: * 2 RECENT
        S: * OK …
        S: * OK …
        S: * OK …
        S: * OK …
        S: a OK …
        C: a COPY 1 t
        S: a NO [OVERQUOTA] …"#,
    )
    .await;
    assert_eq!(account.bytes(), 20);
}

#[tokio::test]
async fn messages_are_refused_or_altered_as_elsewhere() {
    let cyrus = server(|config| {
        config.refuse_nul = true;
        config.refuse_bare_lf = true;
        config.munge_eight_bit_headers = true;
    });
    let mut client = Client::signed_in(&cyrus).await;
    for (body, reply) in [
        (&b"a\0b"[..], "a NO Message contains NUL characters"),
        (b"a\nb", "a NO Message contains bare newlines"),
        (b"\nb", "a NO Message contains bare newlines"),
    ] {
        client.send(format!("a APPEND INBOX {{{}+}}\r\n", body.len())).await;
        client.send([body, b"\r\n"].concat()).await;
        assert_eq!(client.answer("a").await, reply);
    }
    client.send(b"a APPEND INBOX {13+}\r\nS: \xe4\xf6\r\n\r\n\xfc\r\n.\r\n").await;
    assert!(client.answer("a").await.starts_with("a OK"));
    assert_eq!(&*cyrus.account("u").messages("INBOX").unwrap()[0].body, b"S: XX\r\n\r\n\xfc\r\n.");
    let dovecot = server(|config| {
        config.nul_becomes_80 = true;
        config.zone_kept = false;
    });
    let mut client = Client::signed_in(&dovecot).await;
    client.send(b"a APPEND INBOX \"01-Jan-2020 00:30:00 +0200\" {3+}\r\na\0b\r\n").await;
    client.answer("a").await;
    assert_eq!(&*dovecot.account("u").messages("INBOX").unwrap()[0].body, b"a\x80b");
    client.run("EXAMINE INBOX").await;
    client
        .play("C: a FETCH 1 INTERNALDATE\nS: * 1 FETCH (INTERNALDATE \"31-Dec-2019 22:30:00 +0000\")\nS: a OK …")
        .await;
    let lenient = server(|config| config.refuse_empty = false);
    check(&lenient, "C: a APPEND INBOX {0+}\nC: \nS: a OK …").await;
    assert_eq!(lenient.account("u").count(), 1);
}

#[tokio::test]
async fn refused_literals_can_be_read_as_commands() {
    let server = server(|config| config.executes_refused_literals = true);
    check(&server, "C: a APPEND INBOX \"nonsense\" {17+}\nC: x CREATE injected\nS: a BAD …\nS: x OK Create completed.")
        .await;
    assert!(server.account("u").folder("injected").is_some());
}

#[tokio::test]
async fn names_can_be_read_strictly_or_blindly() {
    check(
        &server(|config| config.strict_utf7 = true),
        "C: a CREATE R&D\nS: a NO [CANNOT] …\nC: a CREATE R&-D\nS: a OK …\nC: a APPEND &x {1}\nS: a NO [CANNOT] …",
    )
    .await;
    check(
        &server(|config| config.layout = Layout { case_blind: true, ..Layout::default() }),
        "C: a CREATE Trash\nS: a OK …\nC: a CREATE trash\nS: a NO [ALREADYEXISTS] …\n\
         C: a APPEND TRASH {1+}\nC: x\nS: a OK …\nC: a LIST \"\" tr*\n\
         S: * LIST (\\HasNoChildren) \"/\" Trash\nS: a OK …",
    )
    .await;
    let literal = server(|config| config.hostile_names_as_literals = true);
    literal.account("u").create("a\"b").unwrap();
    check(&literal, "C: a LIST \"\" a%\nS: * LIST (\\HasNoChildren) \"/\" {3}\nS: a\"b\nS: a OK …").await;
}

#[tokio::test]
async fn connections_are_counted_for_each_user() {
    let server = server(|config| {
        *config = std::mem::take(config).user("v", "pass");
        config.connections_per_user = Some(2);
    });
    let one = Client::signed_in(&server).await;
    let two = Client::signed_in(&server).await;
    Client::to(&server)
        .play(
            "S: * OK …\nC: a LOGIN u pass\nS: a NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded \
             (mail_max_userip_connections=2)\nC: a LOGIN v pass\nS: a OK …",
        )
        .await;
    assert_eq!(server.stats().most_at_once.get("u"), Some(&2));
    let mut two = two;
    two.play("C: a LOGOUT\nS: * BYE …\nS: a OK …\nEND").await;
    Client::signed_in(&server).await;
    drop(one);
    let other_words = dialogue::server(|config| {
        config.connections_per_user = Some(0);
        config.too_many_text = Some("BYE Too many connections".to_owned());
    });
    Client::to(&other_words).play("S: * OK …\nC: a LOGIN u pass\nS: * BYE Too many connections\nEND").await;
}

#[tokio::test]
async fn sign_in_follows_the_configuration() {
    let server = server(|config| {
        config.mechanisms = vec![Mechanism::XOauth2];
        config.login = false;
        config.announce_capabilities = false;
        config.greeting = "Server ready proxy1.mail.example".to_owned();
        config.extra_capabilities = vec!["X-GM-EXT-1".to_owned()];
    });
    server.set_tokens("u", &["t1"]);
    Client::to(&server)
        .play(
            "S: * OK Server ready proxy1.mail.example\nC: a CAPABILITY\n\
             S: * CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ LOGINDISABLED AUTH=XOAUTH2\nS: a OK …\n\
             C: a LOGIN u pass\nS: a NO [CANNOT] …\nC: a AUTHENTICATE PLAIN AHUAcGFzcw==\nS: a NO [CANNOT] …\n\
             C: a AUTHENTICATE XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQxAQE=\nS: a OK Logged in",
        )
        .await;
    server.set_tokens("u", &["t2"]);
    Client::to(&server)
        .play("S: * OK …\nC: a AUTHENTICATE XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQxAQE=\nS: + …\nC: \nS: a NO …")
        .await;
    server.set_password("new", "pw");
    let config = Config { tls: TlsMode::None, ..Config::default() };
    let empty = mailhaul_testserver::Server::in_memory(config).unwrap();
    empty.set_password("new", "pw");
    Client::to(&empty).play("S: * OK …\nC: a LOGIN new pw\nS: a OK …").await;
}

#[tokio::test]
async fn a_message_id_that_is_there_may_be_kept_out() {
    let append = "C: a APPEND INBOX {15+}\nC: Message-ID: <a>\n";
    for (doubles, told, stored) in [(Doubles::Kept, 2, 3), (Doubles::Dropped, 2, 2), (Doubles::TakenForTheFirst, 1, 2)]
    {
        let server = server(|config| config.doubles = doubles);
        let mut client = Client::signed_in(&server).await;
        client.play(&format!("{append}S: a OK [APPENDUID 1600000001 1] …")).await;
        client.play(&format!("{append}S: a OK [APPENDUID 1600000001 {told}] …")).await;
        client.play("C: a APPEND INBOX {15+}\nC: Message-ID: <b>\nS: a OK …").await;
        assert_eq!(server.account("u").messages("INBOX").unwrap().len(), stored, "{doubles:?}");
    }
}

#[tokio::test]
async fn output_can_be_split_anywhere() {
    for piece in [1, 2, 3, 7] {
        let server = server(|config| config.split_bytes = Some(piece));
        server.account("u").add("INBOX", message("abc\r\ndef")).unwrap();
        let mut client = Client::signed_in(&server).await;
        client.run("EXAMINE INBOX").await;
        client.play("C: a FETCH 1 (UID BODY.PEEK[])\nS: * 1 FETCH (UID 1 BODY[] {8}\nS: abc\nS: def)\nS: a OK …").await;
    }
}
