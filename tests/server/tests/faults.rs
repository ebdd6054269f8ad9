//! Each act shown once, and each point.

mod dialogue;

use std::io::ErrorKind;
use std::time::Duration;

use dialogue::{Client, message, server};
use mailhaul_testserver::{Act, Config, Falsehood, Nth, Point, Rule, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const APPEND: &str = "C: a APPEND INBOX {4+}\nC: abcd";

fn count(server: &Server) -> usize {
    server.account("u").count()
}

#[tokio::test]
async fn a_connection_is_dropped_before_or_after_the_deed() {
    let server = server(|_| {});
    let faults = server.faults();
    let before = faults.add(Point::command("APPEND"), Nth::Only(2), Act::Drop);
    let after = faults.add(Point::after_execute("APPEND"), Nth::Only(2), Act::Drop);
    let mut client = Client::signed_in(&server).await;
    client.play(&format!("{APPEND}\nS: a OK …\n{APPEND}\nEND")).await;
    assert_eq!((faults.fired(before), faults.fired(after), count(&server)), (1, 0, 1));
    // Rules count over all connections: this is the second one executed.
    Client::signed_in(&server).await.play(&format!("{APPEND}\nEND")).await;
    assert_eq!((faults.fired(before), faults.fired(after), count(&server)), (1, 1, 2));
    faults.remove(after);
    Client::signed_in(&server).await.play(&format!("{APPEND}\nS: a OK …")).await;
}

#[tokio::test]
async fn a_reply_can_be_swallowed() {
    let server = server(|_| {});
    server.faults().add(Point::command("APPEND"), Nth::Only(2), Act::SwallowReply);
    let mut client = Client::signed_in(&server).await;
    client.play(&format!("{APPEND}\n{APPEND}\n{APPEND}\nS: a OK …\nEND")).await;
    assert_eq!(count(&server), 2);
}

#[tokio::test]
async fn a_reply_can_be_another() {
    let server = server(|_| {});
    let faults = server.faults();
    faults.add(Point::command("APPEND"), Nth::Only(1), Act::Reply("NO [LIMIT] x".to_owned()));
    faults.add(Point::command("APPEND"), Nth::Only(2), Act::Reply("BAD y".to_owned()));
    faults.add(Point::after_execute("APPEND"), Nth::Only(1), Act::Reply("NO z".to_owned()));
    faults.add(Point::Greeting, Nth::Only(2), Act::Reply("BYE not today".to_owned()));
    let mut client = Client::signed_in(&server).await;
    // Refused before the literal is asked for; refused with the literal on its way; refused after the deed.
    client.play("C: a APPEND INBOX {4}\nS: a NO [LIMIT] x").await;
    client.play(&format!("{APPEND} {{2+}}\nC: xy\nS: a BAD y\n{APPEND}\nS: a NO z\nC: a NOOP\nS: a OK …")).await;
    assert_eq!(count(&server), 1);
    Client::to(&server).play("S: * BYE not today").await;
}

#[tokio::test]
async fn bye_and_garbage_are_said() {
    let server = server(|_| {});
    let faults = server.faults();
    faults.add(Point::command("NOOP"), Nth::Only(1), Act::Garbage(b"\x00\xff junk\r\n".to_vec()));
    faults.add(Point::command("NOOP"), Nth::Only(2), Act::Bye("Session invalidated - AccessTokenExpired".to_owned()));
    let mut client = Client::signed_in(&server).await;
    client.send("a NOOP\r\n").await;
    assert_eq!(client.line().await.unwrap(), b"\x00\xff junk");
    client.play("S: a OK …\nC: a NOOP\nS: * BYE Session invalidated - AccessTokenExpired\nEND").await;
}

#[tokio::test]
async fn a_connection_can_end_before_it_begins() {
    let server = Server::start(Config::plain("u")).await.unwrap();
    let faults = server.faults();
    faults.add(Point::Connect, Nth::Only(1), Act::Drop);
    faults.add(Point::Connect, Nth::Only(2), Act::Reset);
    let connect = || async { TcpStream::connect(server.addr()).await.unwrap() };
    let mut byte = [0];
    assert_eq!(connect().await.read(&mut byte).await.unwrap(), 0);
    assert_eq!(connect().await.read(&mut byte).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    Client::over(connect().await).play("S: * OK …").await;
}

#[tokio::test]
async fn a_half_closed_connection_swallows_what_is_sent() {
    let server = Server::start(Config::plain("u")).await.unwrap();
    server.faults().add(Point::command("NOOP"), Nth::All, Act::HalfClose);
    let mut tcp = TcpStream::connect(server.addr()).await.unwrap();
    tcp.write_all(b"a NOOP\r\n").await.unwrap();
    let mut read = Vec::new();
    tcp.read_to_end(&mut read).await.unwrap();
    assert!(read.starts_with(b"* OK") && !read.ends_with(b"completed.\r\n"));
    let before = server.stats().bytes_in;
    tcp.write_all(&[b'x'; 100_000]).await.unwrap();
    tcp.shutdown().await.unwrap();
    while server.stats().open > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stats().bytes_in - before, 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_says_nothing_until_it_is_released() {
    let server = server(|_| {});
    let faults = server.faults();
    faults.add(Point::command("NOOP"), Nth::First(2), Act::Stall);
    let mut client = Client::signed_in(&server).await;
    client.send("a NOOP\r\n").await;
    assert!(tokio::time::timeout(Duration::from_secs(600), client.line()).await.is_err());
    faults.release();
    client.play("S: a OK …").await;
    client.send("a NOOP\r\n").await;
    assert!(tokio::time::timeout(Duration::from_secs(600), client.line()).await.is_err());
    // Leaving ends it, and frees the place.
    drop(client);
    while server.stats().open > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn the_server_waits_for_the_test() {
    let server = server(|_| {});
    let held = server.faults().hold(Point::after_execute("APPEND"), Nth::Only(1));
    let mut client = Client::signed_in(&server).await;
    client.play(APPEND).await;
    held.reached().await;
    assert_eq!(count(&server), 1);
    held.release();
    client.play("S: a OK …").await;
}

#[tokio::test]
async fn what_was_sent_lands_after_the_client_has_gone() {
    let server = server(|_| {});
    let held = server.faults().hold(Point::command("APPEND"), Nth::Only(1));
    let mut client = Client::signed_in(&server).await;
    client.play(&format!("{APPEND}\n{APPEND}\n{APPEND}")).await;
    held.reached().await;
    drop(client);
    assert_eq!(count(&server), 0);
    drop(held);
    while server.stats().open > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&server), 3);
}

#[tokio::test(start_paused = true)]
async fn a_commit_can_come_late() {
    let server = server(|_| {});
    server.faults().add(Point::command("APPEND"), Nth::Only(1), Act::CommitLate(Duration::from_secs(30)));
    Client::signed_in(&server).await.play(&format!("{APPEND}\nEND")).await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(count(&server), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((count(&server), server.stats().appends), (1, 1));
}

#[tokio::test]
async fn half_can_be_stored() {
    let server = server(|_| {});
    let faults = server.faults();
    faults.add(Point::command("APPEND"), Nth::First(2), Act::CommitHalf);
    faults.add(Point::command("APPEND"), Nth::Only(3), Act::KeepHalf);
    Client::signed_in(&server).await.play(&format!("{APPEND} {{2+}}\nC: xy {{1+}}\nC: z {{1+}}\nC: z\nEND")).await;
    let bodies = || {
        let messages = server.account("u").messages("INBOX").unwrap();
        messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(), ["abcd", "xy"]);
    Client::signed_in(&server).await.play(&format!("{APPEND}\nEND")).await;
    assert_eq!(bodies()[2..], ["ab"]);
    Client::signed_in(&server).await.play(&format!("{APPEND}\nS: a OK [APPENDUID 1600000001 4] …")).await;
    assert_eq!(bodies()[3..], ["ab"]);
}

#[tokio::test]
async fn a_connection_can_end_in_mid_literal() {
    let server = server(|_| {});
    let faults = server.faults();
    faults.add(Point::literal("APPEND", 2), Nth::Only(1), Act::Drop);
    faults.add(Point::literal("APPEND", 0), Nth::Only(2), Act::Reply("NO [OVERQUOTA] full".to_owned()));
    let mut client = Client::signed_in(&server).await;
    client.send("a APPEND INBOX {4+}\r\nab").await;
    client.play("END").await;
    Client::signed_in(&server)
        .await
        .play(&format!("{APPEND} {{1+}}\nC: x\nS: a NO [OVERQUOTA] full\n{APPEND}\nS: a OK …"))
        .await;
    assert_eq!(count(&server), 1);
}

#[tokio::test]
async fn a_connection_can_end_in_mid_answer() {
    let server = server(|_| {});
    let account = server.account("u");
    for text in ["0123456789", "abc", "0123456789"] {
        account.add("INBOX", message(text)).unwrap();
    }
    let faults = server.faults();
    faults.add(Point::FetchLiteral(4), Nth::Only(2), Act::Drop);
    let mut client = Client::signed_in(&server).await;
    client.run("EXAMINE INBOX").await;
    client.send("a FETCH 1:3 BODY.PEEK[]\r\n").await;
    let wanted =
        "* 1 FETCH (BODY[] {10}\r\n0123456789)\r\n* 2 FETCH (BODY[] {3}\r\nabc)\r\n* 3 FETCH (BODY[] {10}\r\n0123";
    assert_eq!(String::from_utf8(client.rest().await).unwrap(), wanted);
    faults.clear();
    faults.push(Rule::new(Point::ResponseBytes(7), Nth::Only(1), Act::Drop));
    assert_eq!(Client::to(&server).rest().await, b"* OK [C");
}

#[tokio::test]
async fn one_message_can_be_the_bad_one() {
    let server = server(|_| {});
    let account = server.account("u");
    for text in ["one", "two", "three"] {
        account.add("INBOX", message(text)).unwrap();
    }
    let faults = server.faults();
    let refuse = Act::Reply("NO [UNAVAILABLE] UID FETCH Server error while fetching messages".to_owned());
    faults.add(Point::FetchUid(2), Nth::All, refuse);
    let virus = Act::Reply("NO Message refused because it contains a virus".to_owned());
    faults.add(Point::AppendContaining(b"virus".to_vec()), Nth::All, virus);
    let mut client = Client::signed_in(&server).await;
    client.run("EXAMINE INBOX").await;
    client
        .play(
            "C: a UID FETCH 1:3 UID\nS: * 1 FETCH (UID 1)\nS: a NO [UNAVAILABLE] …\n\
             C: a UID FETCH 3 UID\nS: * 3 FETCH (UID 3)\nS: a OK …\n\
             C: a APPEND INBOX {7+}\nC: a virus {1+}\nC: x\nS: a NO Message refused because it contains a virus",
        )
        .await;
    assert_eq!(account.count(), 3);
}

#[tokio::test]
async fn lies_are_told() {
    let server = server(|_| {});
    let account = server.account("u");
    for text in ["one", "two", "three", "four"] {
        account.add("INBOX", message(text)).unwrap();
    }
    let faults = server.faults();
    let fetch = || Point::command("FETCH");
    faults.add(fetch(), Nth::All, Act::lie_about(1, Falsehood::SizeDelta(-2)));
    faults.add(fetch(), Nth::All, Act::lie_about(2, Falsehood::NoSize));
    faults.add(fetch(), Nth::All, Act::lie_about(2, Falsehood::NilBody));
    faults.add(fetch(), Nth::All, Act::lie_about(3, Falsehood::EmptyBody));
    faults.add(fetch(), Nth::All, Act::lie_about(4, Falsehood::Hidden));
    faults.add(Point::command("EXAMINE"), Nth::All, Act::lie(Falsehood::UidNext(99)));
    faults.add(Point::command("UID FETCH"), Nth::All, Act::lie(Falsehood::OtherBytesEachFetch));
    let mut client = Client::signed_in(&server).await;
    assert!(client.run("EXAMINE INBOX").await.contains("[UIDNEXT 99]"));
    client
        .play(
            "C: a FETCH 1:4 (RFC822.SIZE BODY.PEEK[])\nS: * 1 FETCH (RFC822.SIZE 1 BODY[] {3}\nS: one)\n\
             S: * 2 FETCH (BODY[] NIL)\nS: * 3 FETCH (RFC822.SIZE 5 BODY[] \"\")\nS: a OK …",
        )
        .await;
    let one = client.run("UID FETCH 1 BODY.PEEK[]").await;
    let other = client.run("UID FETCH 1 BODY.PEEK[]").await;
    assert!(one.contains("X-Fetched: ") && other.contains("X-Fetched: ") && one != other, "{one} {other}");
}

#[tokio::test]
async fn uid_validity_changes_on_command() {
    let server = server(|_| {});
    let account = server.account("u");
    account.add("INBOX", message("x").uid(7)).unwrap();
    server.faults().add(Point::command("EXAMINE"), Nth::Only(1), Act::ChangeUidValidity(b"INBOX".to_vec()));
    let mut client = Client::signed_in(&server).await;
    let answer = client.run("EXAMINE INBOX").await;
    assert!(answer.contains("[UIDVALIDITY 1600000002]") && answer.contains("[UIDNEXT 2]"), "{answer}");
}

#[tokio::test]
async fn rules_can_look_at_one_user() {
    let server = server(|config| *config = std::mem::take(config).user("v", "pass"));
    server.faults().push(Rule::new(Point::command("*"), Nth::Only(1), Act::Drop).for_user("v").per_connection());
    Client::signed_in(&server).await.play("C: a NOOP\nS: a OK …").await;
    for _ in 0..2 {
        Client::to(&server).play("S: * OK …\nC: a LOGIN v pass\nS: a OK …\nC: a NOOP\nEND").await;
    }
}
