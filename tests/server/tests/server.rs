//! The server as a whole: sockets, TLS, stop and restart, log.

mod dialogue;

use std::time::Duration;

use dialogue::{Client, handshake, message, server, start_tls};
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Act, Ca, CertKind, Config, Layout, Nth, Point, Server, TlsMode};
use tokio::net::TcpStream;

#[tokio::test]
async fn implicit_tls_is_trusted_through_the_ca() {
    let server = Server::start(Config::with_user("u", "pass")).await.unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let mut client = Client::over(handshake(&server, name).await.unwrap());
        client.play("S: * OK …\nC: a LOGIN u pass\nS: a OK …\nC: a LOGOUT\nS: * BYE …\nS: a OK …\nEND").await;
    }
}

#[tokio::test]
async fn bad_certificates_are_bad_each_in_its_way() {
    for (kind, wanted) in [
        (CertKind::Expired, "Expired"),
        (CertKind::WrongName, "NotValidForName"),
        (CertKind::SelfSigned, "UnknownIssuer"),
    ] {
        let server = Server::start(Config::with_user("u", "pass").with_certificate(kind)).await.unwrap();
        let error = format!("{:?}", handshake(&server, "localhost").await.map(|_| ()).unwrap_err());
        assert!(error.contains(wanted), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn two_servers_share_an_authority() {
    let ca = Ca::new().unwrap();
    let one = Server::start(Config::with_user("u", "pass").with_ca(&ca)).await.unwrap();
    let two = Server::start(Config::with_user("u", "pass").with_ca(&ca)).await.unwrap();
    assert_eq!((one.ca_pem(), two.ca_pem()), (ca.pem(), ca.pem()));
    assert_ne!(one.port(), two.port());
    handshake(&two, "localhost").await.unwrap();
}

#[tokio::test]
async fn starttls_throws_away_what_came_in_plain_text() {
    let server = Server::start(Config::with_user("u", "pass").with_tls(TlsMode::StartTls)).await.unwrap();
    let mut plain = Client::over(TcpStream::connect(server.addr()).await.unwrap());
    plain
        .play(
            "S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ STARTTLS LOGINDISABLED] …\n\
             C: a LOGIN u pass\nS: a NO [PRIVACYREQUIRED] …",
        )
        .await;
    let (_, client) = start_tls(&server, "a STARTTLS\r\nb NOOP\r\n").await;
    client
        .unwrap()
        .play(
            "C: c CAPABILITY\nS: * CAPABILITY IMAP4rev1 SASL-IR ID ENABLE IDLE LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 …\n\
             S: c OK …\nC: d STARTTLS\nS: d BAD …\nC: e LOGIN u pass\nS: e OK …",
        )
        .await;
}

#[tokio::test]
async fn plain_text_can_be_injected_behind_starttls() {
    let server = Server::start(Config::with_user("u", "pass").with_tls(TlsMode::StartTls)).await.unwrap();
    server.faults().add(Point::after_reply("STARTTLS"), Nth::All, Act::Garbage(b"* OK injected\r\n".to_vec()));
    let (read, _) = start_tls(&server, "a STARTTLS\r\n").await;
    assert!(read.ends_with("* OK injected\r\n"), "{read}");
}

#[tokio::test]
async fn a_stopped_server_leaves_its_port_and_can_come_back() {
    let config = Config::plain("u");
    let server = Server::start(config.clone()).await.unwrap();
    let (port, store) = (server.port(), server.store().clone());
    let mut client = Client::over(TcpStream::connect(server.addr()).await.unwrap());
    client.play("S: * OK …\nC: a LOGIN u pass\nS: a OK …\nC: a APPEND INBOX {1+}\nC: x\nS: a OK …").await;
    let addr = server.addr();
    server.stop().await;
    client.play("END").await;
    assert!(TcpStream::connect(addr).await.is_err());
    let server = Server::start_with(config.with_port(port), store).await.unwrap();
    assert_eq!(server.port(), port);
    let mut client = Client::over(TcpStream::connect(server.addr()).await.unwrap());
    client.play("S: * OK …\nC: a LOGIN u pass\nS: a OK …\nC: a STATUS INBOX (MESSAGES)").await;
    client.play("S: * STATUS INBOX (MESSAGES 1)\nS: a OK …").await;
}

#[tokio::test]
async fn a_dropped_server_ends_its_connections() {
    let server = server(|_| {});
    let mut client = Client::signed_in(&server).await;
    drop(server);
    client.play("END").await;
}

#[tokio::test]
async fn the_log_tells_all_but_secrets() {
    let server = server(|_| {});
    server.account("u").create("b").unwrap();
    let mut client = Client::signed_in(&server).await;
    client.play("C: a APPEND INBOX (\\Seen) {3+}\nC: abc {4}\nS: + OK\nC: defg\nS: a OK …").await;
    client.play("C: a LOGIN {1+}\nC: u pass\nS: a BAD …\nC: a uid fetch 1 FLAGS\nS: a BAD …").await;
    Client::to(&server).play("S: * OK …\nC: a AUTHENTICATE PLAIN\nS: + \nC: AHUAcGFzcw==\nS: a OK …").await;
    let log = server.log();
    let lines: Vec<&str> = log.iter().map(|logged| logged.line.as_str()).collect();
    assert_eq!(
        lines,
        ["a LOGIN ***", "a APPEND INBOX (\\Seen) {3+} {4}", "a LOGIN ***", "a uid fetch 1 FLAGS", "a AUTHENTICATE ***"]
    );
    let append = &log[1];
    assert_eq!((append.verb.as_str(), append.connection, append.user.as_deref()), ("APPEND", 1, Some("u")));
    // The command line, the literals, the line between them and the empty one behind.
    assert_eq!(append.bytes_in, 29 + 3 + 6 + 4 + 2);
    assert_eq!(log[3].verb, "UID FETCH");
    let stats = server.stats();
    assert_eq!((stats.appends, stats.messages_stored, stats.bytes_stored), (1, 2, 7));
    assert_eq!((stats.connections, stats.commands), (2, 5));
    server.clear_log();
    assert!(server.log().is_empty());
}

#[tokio::test]
async fn a_generated_mailbox_is_served_as_it_was_made() {
    for layout in [Layout::default(), Layout::inbox_dot()] {
        let server = server(|config| config.layout = layout.clone());
        let options =
            GenerateOptions { layout, nul: true, eight_bit_headers: true, bare_lf: true, ..Default::default() };
        let folders = generate::mailbox(11, 400, &options);
        let account = server.account("u");
        account.fill(&folders).unwrap();
        assert_eq!(account.count(), 400);
        let mut client = Client::signed_in(&server).await;
        let subscribed = client.run("LIST (SUBSCRIBED) \"\" *").await.matches("* LIST").count();
        assert_eq!(subscribed, folders.iter().filter(|folder| folder.subscribed).count());
        for folder in &folders {
            client.send(format!("a EXAMINE {{{}+}}\r\n", folder.wire_name.len())).await;
            client.send([&folder.wire_name[..], b"\r\n"].concat()).await;
            let answer = client.answer("a").await;
            assert!(answer.contains(&format!("* {} EXISTS\n", folder.messages.len())), "{answer}");
            for (message, uid) in folder.messages.iter().zip(1..) {
                client.send(format!("f UID FETCH {uid} (INTERNALDATE BODY.PEEK[])\r\n")).await;
                let head = client.line().await.unwrap();
                let wanted = format!(
                    "* {uid} FETCH (UID {uid} INTERNALDATE \"{}\" BODY[] {{{}}}",
                    message.internaldate,
                    message.bytes.len()
                );
                assert_eq!(String::from_utf8(head).unwrap(), wanted);
                assert!(client.exactly(message.bytes.len()).await == message.bytes, "{}", message.kind);
                client.play("S: )\nS: f OK …").await;
            }
        }
    }
}

#[tokio::test]
async fn large_messages_and_mailboxes_go_through() {
    let server = server(|_| {});
    let mut client = Client::signed_in(&server).await;
    let size = 20 * 1024 * 1024;
    let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    client.send(format!("a APPEND INBOX {{{size}+}}\r\n")).await;
    client.send(&body).await;
    client.send("\r\n").await;
    assert!(client.answer("a").await.starts_with("a OK [APPENDUID 1600000001 1]"));
    client.run("EXAMINE INBOX").await;
    client.send("a UID FETCH 1 BODY.PEEK[]\r\n").await;
    client.play(&format!("S: * 1 FETCH (UID 1 BODY[] {{{size}}}")).await;
    assert!(client.exactly(size).await == body);
    client.play("S: )\nS: a OK …").await;
    let account = server.account("u");
    account.create("many").unwrap();
    for number in 0..5000 {
        account.add("many", message(&format!("{number}"))).unwrap();
    }
    client.run("EXAMINE many").await;
    let listing = client.run("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE)").await;
    assert_eq!(listing.lines().count(), 5001);
}

#[tokio::test(start_paused = true)]
async fn time_is_the_runtimes() {
    let server = server(|_| {});
    server.faults().add(Point::command("NOOP"), Nth::Only(1), Act::Delay(Duration::from_secs(3600)));
    let mut client = Client::signed_in(&server).await;
    let before = tokio::time::Instant::now();
    client.send("a NOOP\r\n").await;
    assert_eq!(client.line().await.unwrap(), b"a OK NOOP completed.");
    assert_eq!(before.elapsed(), Duration::from_secs(3600));
}
