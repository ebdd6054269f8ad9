//! Mail over a line on which everything is compressed (COMPRESS=DEFLATE, RFC 4978).

use crate::support::dovecot;
use crate::support::fill::{fill, joined};
use crate::support::flights::Flights;
use crate::support::haul::{Haul, Side};
use crate::support::{Dovecot, compare};
use mailhaul_testserver::generate::{GenerateOptions, mailbox};
use mailhaul_testserver::{Act, Config, NewMessage, Nth, Point, Server};

const MESSAGES: usize = 400;

fn compressing() -> dovecot::Options {
    let extra = "protocol imap {\n  mail_plugins = $mail_plugins imap_zlib\n}\n".to_owned();
    dovecot::Options { extra, ..dovecot::Options::default() }
}

fn side(port: u16, compress: bool) -> Side {
    let plain = Side::plain(port);
    Side { tls: format!("{}\ncompress = {compress}", plain.tls), ..plain }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_takes_less_of_a_line_that_is_compressed_and_arrives_as_it_is() {
    let Some(source) = Dovecot::start_or_skip(compressing()) else { return };
    let target = Dovecot::start(compressing());
    let folders = mailbox(11, MESSAGES, &GenerateOptions { deleted: false, ..GenerateOptions::tame() });
    fill(&mut source.client("anna"), &folders, |path| joined("", '/', path));
    let mut took = Vec::new();
    for (user, compress) in [("plain", false), ("packed", true)] {
        let (way_out, way_in) = (Flights::start(source.imap()).await, Flights::start(target.imap()).await);
        let sides = (side(way_out.port(), compress), side(way_in.port(), compress));
        let haul = Haul::new(sides.0, sides.1).user("anna", user);
        haul.run().await.assert_complete();
        took.push([way_out.take().bytes, way_in.take().bytes]);
        compare::assert_same(&mut source.client("anna"), &mut target.client(user));
        let again = haul.run().await;
        again.assert_complete();
        assert_eq!(again.copied(), 0);
    }
    println!("bytes at the source and at the target: {:?} plain, {:?} packed", took[0], took[1]);
    for at in [0, 1] {
        assert!(took[1][at] * 3 < took[0][at] * 2, "{took:?}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_compress_is_not_asked_and_one_that_will_not_is_believed() {
    for announced in [&[][..], &["COMPRESS=DEFLATE".to_owned()]] {
        let config = || Config { extra_capabilities: announced.to_vec(), ..Config::plain("u") };
        let (source, target) = (Server::start(config()).await.unwrap(), Server::start(config()).await.unwrap());
        let mail = NewMessage::new(b"Subject: a\r\n\r\nb\r\n".to_vec());
        source.account("u").add("INBOX", mail).unwrap();
        let haul = Haul::new(side(source.port(), true), side(target.port(), true)).user("u", "u").in_memory();
        let ran = haul.run().await;
        ran.assert_complete();
        assert_eq!(ran.copied(), 1);
        for server in [&source, &target] {
            let asked = server.log().iter().any(|command| command.verb == "COMPRESS");
            assert_eq!(asked, !announced.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_agrees_and_does_not_compress_is_gone_on_with_as_it_is() {
    let config = || Config { extra_capabilities: vec!["COMPRESS=DEFLATE".to_owned()], ..Config::plain("u") };
    let (source, target) = (Server::start(config()).await.unwrap(), Server::start(config()).await.unwrap());
    source.account("u").add("INBOX", NewMessage::new(b"Subject: a\r\n\r\nb\r\n".to_vec())).unwrap();
    for server in [&source, &target] {
        server.faults().add(Point::command("COMPRESS"), Nth::All, Act::Reply("OK from now on".to_owned()));
    }
    let haul = Haul::new(side(source.port(), true), side(target.port(), true)).user("u", "u").in_memory();
    let ran = haul.run().await;
    ran.assert_complete();
    assert_eq!(ran.copied(), 1);
    // Both sides sign in side by side, and one that fails ends the other's sign-in before it could be learnt from.
    for server in [&source, &target] {
        let asked = server.log().iter().filter(|command| command.verb == "COMPRESS").count();
        assert!((1..=2).contains(&asked), "{asked}");
    }
}
