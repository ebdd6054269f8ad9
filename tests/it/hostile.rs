//! What a server or a message does to us on purpose: commands within messages, answers without end, lies.

use crate::support::haul::{Haul, Side};
use crate::support::{Dovecot, dovecot};
use futures_util::future::BoxFuture;
use mailhaul::auth::{Credential, Keychain, Secret, SecretSource, SignIn};
use mailhaul::failure::Failure;
use mailhaul::imap::{BodyRoom, Brake, ImapError, Manners, Opening, Session, Source};
use mailhaul::mail::Uid;
use mailhaul::net::{BoxedIo, Dial, Endpoint, NetError, Tls, Trust};
use mailhaul_testserver::{Config, Keywords, NewMessage, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::mpsc;

/// A message whose lines are commands, each with a tag of its own.
const COMMANDS: &str = "evil1 NOOP\r\nevil2 CREATE Owned\r\nevil3 DELETE Keep\r\nevil4 SELECT INBOX\r\n\
    evil5 STORE 1:* +FLAGS (\\Deleted)\r\nevil6 EXPUNGE\r\n";

/// Mail whose APPEND line a server may refuse when the literal is under way already.
fn hostile_mail(server: &Server) {
    let account = server.account("u");
    let odd = [
        ("first", "01-Feb-2021 03:04:05 +0000"),
        ("year 1", "01-Jan-0001 00:00:00 +0000"),
        ("1900", "31-Dec-1900 23:59:59 -1200"),
        ("far", "31-Dec-9999 00:00:00 +0000"),
        ("zone", "01-Feb-2021 03:04:05 +2359"),
    ];
    let long = "k".repeat(300);
    for (what, date) in odd {
        for flags in ["", "\\Seen", "strange$%", &long, "k]x", "nil"] {
            let text = format!("Subject: {what} {}\r\n\r\n{COMMANDS}", &flags[..flags.len().min(9)]);
            // What the source's own rules forbid cannot come from it.
            let message = NewMessage::new(text.into_bytes()).flags(&flags.replace('%', "")).date(date);
            account.add("INBOX", message).unwrap();
        }
    }
}

fn haul(source: &Server, target: Side, user: &str) -> Haul {
    Haul::new(Side::plain(source.port()), target)
        .user("u", user)
        .with("[transfer]\ntimeout = \"5s\"\noutage = \"30s\"\nfirst_contact = \"5s\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_a_message_is_a_command_where_the_server_executes_refused_literals() {
    let source = Server::start(Config::plain("u")).await.unwrap();
    hostile_mail(&source);
    let keywords = Keywords::OnlyOrRefuse(vec![], "BAD Unknown keyword".to_owned());
    let config = Config { executes_refused_literals: true, keywords, ..Config::plain("u") };
    let target = Server::start(config).await.unwrap();
    target.account("u").create("Keep").unwrap();
    haul(&source, Side::plain(target.port()), "u").run().await;
    let executed: Vec<_> = target.log().into_iter().filter(|one| one.line.contains("evil")).collect();
    assert!(executed.is_empty(), "{executed:?}");
    assert_eq!(target.account("u").messages("INBOX").unwrap().len(), 30);
    assert!(target.account("u").messages("Keep").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_a_message_is_a_command_for_dovecot() {
    let Some(target) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let source = Server::start(Config::plain("u")).await.unwrap();
    hostile_mail(&source);
    target.client("other").ok("CREATE Keep");
    // It does execute them: what is refused here is a date, which no path of ours can send.
    let mut raw = target.client("other");
    let tag = raw.begin(format!("APPEND INBOX \"no date\" {{{}+}}", COMMANDS.len())).unwrap();
    raw.send(format!("{COMMANDS}\r\n").as_bytes()).unwrap();
    raw.finish(&tag).unwrap();
    raw.finish("evil6").unwrap();
    let names: Vec<String> = target.client("other").list().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, ["INBOX", "Owned"]);

    target.client("info").ok("CREATE Keep");
    let ran = haul(&source, Side::tls(target.imaps(), &target.ca_file()), "info").run().await;
    let listed = ran.listed().len() as u64;
    let mut client = target.client("info");
    let names: Vec<String> = client.list().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, ["INBOX", "Keep"]);
    let there = client.status("INBOX", "MESSAGES")[0];
    assert!(there + listed >= 30, "{there} there, {listed} listed");
}

/// What a hostile server says, piece by piece, in answer to one verb; everything else it does well.
struct Liar {
    verb: &'static str,
    /// Some: the next piece; None: that was all, a tagged OK follows.
    piece: Box<dyn Fn(u64) -> Option<Vec<u8>> + Send + Sync>,
}

impl Liar {
    fn new(verb: &'static str, piece: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { verb, piece: Box::new(piece) })
    }

    async fn serve(self: Arc<Self>, io: DuplexStream) {
        let (read, mut write) = tokio::io::split(io);
        let mut lines = BufReader::new(read).lines();
        let _ = write.write_all(b"* OK [CAPABILITY IMAP4rev1] hello\r\n").await;
        while let Ok(Some(line)) = lines.next_line().await {
            let (tag, rest) = line.split_once(' ').unwrap();
            if rest.starts_with(self.verb) {
                let mut number = 0;
                while let Some(piece) = (self.piece)(number) {
                    if write.write_all(&piece).await.is_err() {
                        return;
                    }
                    number += 1;
                }
            } else if write.write_all(usual(rest).as_bytes()).await.is_err() {
                return;
            }
            if write.write_all(format!("{tag} OK done\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn usual(command: &str) -> &'static str {
    match command.split(' ').next().unwrap() {
        "CAPABILITY" => "* CAPABILITY IMAP4rev1\r\n",
        "LIST" => "* LIST () \"/\" INBOX\r\n",
        "EXAMINE" => "* 3 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 4] x\r\n",
        "UID" if command.contains("RFC822.SIZE") => {
            "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 5)\r\n* 2 FETCH (UID 2 FLAGS () RFC822.SIZE 5)\r\n"
        }
        _ => "",
    }
}

struct Once(Arc<Liar>);

impl Dial for Once {
    fn dial<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(Arc::clone(&self.0).serve(far));
        Box::pin(async { Ok(Box::new(near) as BoxedIo) })
    }

    fn secure<'a>(&'a self, io: BoxedIo, _: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        Box::pin(async { Ok(io) })
    }
}

struct Free;

impl Brake for Free {
    async fn messages(&self, _: u32) -> Result<(), Failure> {
        Ok(())
    }
    async fn bytes(&self, _: u64) -> Result<(), Failure> {
        Ok(())
    }
    fn burst(&self) -> (u32, u64) {
        (u32::MAX, u64::MAX)
    }
}

/// Does all that a source is asked; gives the UIDs listed and those fetched.
async fn read_all(liar: Arc<Liar>) -> Result<(Vec<u32>, Vec<u32>), ImapError> {
    let dial = Once(liar);
    let (connect_timeout, trust) = (Duration::from_secs(5), Trust::default());
    let endpoint = Endpoint { host: "h".to_owned(), port: 143, tls: Tls::None, trust, connect_timeout };
    let credential = Credential::Password(SecretSource::Plain(Secret::new("p".to_owned())));
    let sign_in = SignIn { user: "u".to_owned(), admin: None, credential };
    let keychain = Keychain::new(&sign_in.credential);
    let timeout = Duration::from_secs(60);
    let (endpoint, sign_in, keychain) = (&endpoint, &sign_in, &keychain);
    let manners = &Manners::default();
    let opening = Opening { dial: &dial, endpoint, sign_in, keychain, timeout, lists: true, manners, commands: None };
    let mut session = Session::<Source>::open(opening).await?;
    let folders = session.folders().await?;
    let state = session.examine(&folders[0].name).await?.state;
    let last = state.uid_next.and_then(|next| Uid::new(next.value() - 1)).unwrap();
    let listing = session.listing(Uid::FIRST, last, state.messages).await?;
    session.headers(&Vec::from_iter(listing.uids())).await?;
    session.recipients(state, 10).await?;
    let wanted: Vec<(Uid, u64)> = listing.uids().iter().take(100).map(|uid| (uid, 5)).collect();
    let room = BodyRoom::new(1 << 20, 1 << 16, &std::env::temp_dir());
    let (out, mut fetched) = mpsc::channel(100);
    session.fetch_bodies(&mailhaul::imap::Wanted::of(wanted.iter().copied()), &room, &Free, &out).await?;
    drop(out);
    let mut came = Vec::new();
    while let Some(one) = fetched.recv().await {
        came.push(one.uid.value());
    }
    Ok((listing.uids().iter().map(|uid| uid.value()).collect(), came))
}

/// Says that reading from such a server ends, and by which bound.
async fn check_ends(liar: Arc<Liar>, bound: &str) {
    let error = read_all(liar).await.expect_err(bound).to_string();
    assert!(error.contains(bound), "{bound}: {error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_given_up() {
    let folder = |n: u64| Some(format!("* LIST () \"/\" \"{}{n}\"\r\n", "f".repeat(100_000)).into_bytes());
    check_ends(Liar::new("LIST", folder), "bytes in answer to one command").await;
    let folders = |n: u64| (n < 50_002).then(|| format!("* LIST () \"/\" f{n}\r\n").into_bytes());
    check_ends(Liar::new("LIST", folders), "folders").await;
    for verb in ["CAPABILITY", "LOGIN", "LIST", "LSUB", "EXAMINE"] {
        let others = |_| Some(format!("* 5 {}\r\n", "X".repeat(100_000)).into_bytes());
        check_ends(Liar::new(verb, others), "bytes in answer to one command").await;
        check_ends(Liar::new(verb, |_| Some(vec![b'x'; 1 << 16])), "a line of more than").await;
    }
    // As large as a server can say, and never coming.
    let huge = |n: u64| match n {
        0 => Some(b"* LIST () \"/\" {4294967295}\r\n".to_vec()),
        _ => Some(vec![b'x'; 1 << 16]),
    };
    check_ends(Liar::new("LIST", huge), "a literal of 4294967295 bytes").await;
    let many = |n: u64| Some(format!("{}{{1}}\r\nx", if n == 0 { "* LIST " } else { " " }).into_bytes());
    check_ends(Liar::new("LIST", many), "literals in one response").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_was_not_asked_is_no_answer() {
    for verb in ["LOGIN", "LIST", "EXAMINE", "UID FETCH"] {
        let other = |n: u64| (n == 0).then(|| b"Z9 OK done\r\n".to_vec());
        check_ends(Liar::new(verb, other), "an answer to \"Z9\"").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_literal_that_never_comes_is_given_up() {
    let verb = "UID FETCH 1:2 (UID BODY.PEEK[])";
    for (size, bound) in [(10_u64 << 30, "a literal of 10737418240"), (4_294_967_294, "said nothing for 1m")] {
        // One piece, then the server waits for the next command, which does not come.
        let piece = move |n: u64| (n == 0).then(|| format!("* 1 FETCH (UID 1 BODY[] {{{size}}}\r\nx").into_bytes());
        check_ends(Liar::new(verb, piece), bound).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_lies_neither_loops_nor_grows() {
    let line = |uid: u64| format!("* 1 FETCH (UID {uid} FLAGS () RFC822.SIZE 5)\r\n").into_bytes();
    let twice = move |n: u64| (n < 1000).then(|| line(1 + n % 3));
    assert_eq!(read_all(Liar::new("UID FETCH 1:3 (UID FLAGS", twice)).await.unwrap().0, [1, 2, 3]);
    let backwards = move |n: u64| (n < 3).then(|| line(3 - n));
    assert_eq!(read_all(Liar::new("UID FETCH 1:3 (UID FLAGS", backwards)).await.unwrap().0, [1, 2, 3]);
    let others = move |n: u64| (n < 100).then(|| line(n * 2 + 2));
    assert_eq!(read_all(Liar::new("UID FETCH 1:3 (UID FLAGS", others)).await.unwrap().0, [2]);
    let exists = |n: u64| (n == 0).then(|| b"* 4000000000 EXISTS\r\n* OK [UIDNEXT 4294967295] x\r\n".to_vec());
    check_ends(Liar::new("EXAMINE", exists), "messages in one folder").await;
    let nested = |n: u64| (n == 0).then(|| [b"* 1 FETCH ".to_vec(), vec![b'('; 500_000], b"\r\n".to_vec()].concat());
    assert_eq!(read_all(Liar::new("UID FETCH 1:3 (UID FLAGS", nested)).await.unwrap().0, Vec::<u32>::new());
}

#[tokio::test(start_paused = true)]
async fn bodies_that_were_not_asked_for_are_not_taken() {
    let piece = |n: u64| {
        let uid = [9, 1, 1, 7, 2][n as usize % 5];
        (n < 50).then(|| format!("* 1 FETCH (UID {uid} BODY[] {{5}}\r\nhello)\r\n").into_bytes())
    };
    let (_, came) = read_all(Liar::new("UID FETCH 1:2 (UID BODY.PEEK[])", piece)).await.unwrap();
    assert_eq!(came, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_state_directory() {
    let (source, target) = (Config::plain("../../escaped"), Config::plain("../../escaped"));
    let (source, target) = (Server::start(source).await.unwrap(), Server::start(target).await.unwrap());
    let account = source.account("../../escaped");
    for name in ["../../../escaped", "/tmp/mailhaul-escaped", "..", "&AAA-escaped", "a\\..\\escaped"] {
        let _ = account.create(name);
        let _ = account.add(name, NewMessage::new(b"Subject: ../../escaped\r\n\r\nx\r\n".to_vec()));
    }
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("../../escaped", "../../escaped");
    // What the target cannot hold is listed; the rest is copied.
    assert!(haul.run().await.copied() > 2);
    let state = haul.state();
    let mut names = Vec::new();
    let mut open = vec![state.parent().unwrap().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            names.push(path.strip_prefix(state.parent().unwrap()).unwrap().display().to_string());
            open.extend(path.is_dir().then_some(path));
        }
    }
    let known = |name: &String| {
        ["job.toml", "state", "state/locks", "state/locks/sound", "state/spool"].contains(&name.as_str())
            || name.starts_with("state/ledger.sqlite")
            || name.strip_prefix("state/locks/").is_some_and(|lock| lock.ends_with(".lock") && !lock.contains(".."))
    };
    assert!(names.iter().all(known), "{names:?}");
    assert!(!std::path::Path::new("/tmp/mailhaul-escaped").exists());
}
