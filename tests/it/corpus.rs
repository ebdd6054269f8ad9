//! Every message between real servers has one fate and its evidence, and both are right by an independent comparison of
//! bytes: real mail and torture messages where the corpus lies beside the project, and mail that is made here.

use crate::support::client::{Address, Client, quote};
use crate::support::haul::{Haul, Side};
use crate::support::judge::{Judged, judge};
use crate::support::launch::{Kind, Launched};
use crate::support::response::Status;
use crate::support::{nasty, skip};
use mailhaul::mail::Fate;
use mailhaul::transfer::Event;
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Config, NewMessage};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// A message and how it is stored: flags, date, bytes.
struct Letter {
    flags: String,
    date: String,
    bytes: Vec<u8>,
}

impl Letter {
    fn new(bytes: Vec<u8>) -> Self {
        Self { flags: String::new(), date: "01-Feb-2021 03:04:05 +0100".to_owned(), bytes }
    }
}

/// Messages by folder.
type Mail = BTreeMap<String, Vec<Letter>>;

fn corpus_directory() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    std::env::var_os("MAILHAUL_CORPUS").map_or(beside, PathBuf::from)
}

/// Reads the corpus, one folder per directory; empty where there is none.
fn corpus() -> Mail {
    let mut mail = Mail::new();
    let Ok(manifest) = std::fs::read_to_string(corpus_directory().join("MANIFEST.tsv")) else {
        skip("corpus", &format!("no test mail in {}", corpus_directory().display()));
        return mail;
    };
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let column = |name| names.iter().position(|one| *one == name).unwrap();
    let (file, sha) = (column("file"), column("append_sha256"));
    // A line that begins with nothing goes on with the features of the one before.
    for line in lines.filter(|line| !line[file].is_empty()) {
        let bytes = with_crlf(&std::fs::read(corpus_directory().join(line[file])).unwrap());
        assert_eq!(format!("{:x}", Sha256::digest(&bytes)), line[sha], "{}", line[file]);
        let folder = line[file].split('/').next().unwrap().to_owned();
        mail.entry(folder).or_default().push(Letter::new(bytes));
    }
    mail
}

/// Puts a CR before every LF that has none.
fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
            whole.push(b'\r');
        }
        whole.push(*byte);
    }
    whole
}

/// The corpus, and mail that is not in it.
fn mail() -> Mail {
    let mut mail = corpus();
    for seed in [11, 12] {
        let options =
            GenerateOptions { nul: true, eight_bit_headers: true, bare_lf: true, deleted: false, ..Default::default() };
        let folders = generate::mailbox(seed, 200, &options);
        let letters = folders.iter().flat_map(|folder| &folder.messages).map(|message| {
            let flags: Vec<&str> = message.flags.iter().chain(&message.keywords).map(String::as_str).collect();
            Letter { flags: flags.join(" "), date: message.internaldate.clone(), bytes: message.bytes.clone() }
        });
        mail.insert(format!("made-{seed}"), letters.collect());
    }
    for seed in [21, 22] {
        mail.insert(format!("nasty-{seed}"), nasty::mail(seed, 300).into_iter().map(Letter::new).collect());
    }
    mail
}

/// A server in this process that gives the odd ones of all messages as they are: what no real server gives.
async fn anything() -> (mailhaul_testserver::Server, Source) {
    let server = mailhaul_testserver::Server::start(Config::plain("u0001")).await.unwrap();
    let account = server.account("u0001");
    let mut taken = 0;
    let plain = |folder: &str| !["made", "nasty", "synthetic"].iter().any(|odd| folder.starts_with(odd));
    for (folder, letters) in mail().into_iter().filter(|(folder, _)| !plain(folder)) {
        account.create(&folder).unwrap();
        for letter in letters {
            let message = NewMessage::new(letter.bytes).flags(&letter.flags).date(&letter.date);
            account.add(&folder, message).unwrap();
            taken += 1;
        }
    }
    let address = Address::plain(server.port());
    let client = Box::new(move || Client::sign_in(&address, "u0001", "pass"));
    let side = Side::plain(server.port());
    (server, Source { server: client, side, user: "u0001", taken })
}

/// A server that holds all of [`mail`] that it takes, filled once for all tests that read it.
struct Source {
    server: Box<dyn Fn() -> Client + Send + Sync>,
    side: Side,
    user: &'static str,
    taken: usize,
}

fn filled<K: Kind + 'static>(name: &str, user: &'static str, prefix: &str) -> Option<Source>
where
    Launched<K>: Send + Sync,
{
    let server = Launched::<K>::start_or_skip(K::Options::default())?;
    let side = Side::tls(server.imaps(), &server.ca_file());
    let mut client = server.client(user);
    let (mut taken, mut refused) = (0, BTreeMap::<String, usize>::new());
    for (folder, letters) in mail() {
        let folder = format!("{prefix}{folder}");
        client.ok(&format!("CREATE {}", quote(&folder)));
        for letter in letters {
            let reply = client.append(&folder, &letter.flags, &letter.date, &letter.bytes);
            let shown = || letter.bytes[..letter.bytes.len().min(300)].escape_ascii().to_string();
            let reply = reply.unwrap_or_else(|error| panic!("{folder}: {error}: {}", shown()));
            match reply.done.status {
                Some(Status::Ok) => taken += 1,
                _ => *refused.entry(reply.done.to_string().splitn(3, ' ').last().unwrap().to_owned()).or_default() += 1,
            }
        }
    }
    println!(
        "{name} as the source takes {taken} messages and refuses {}: {refused:#?}",
        refused.values().sum::<usize>()
    );
    Some(Source { server: Box::new(move || server.client(user)), side, user, taken })
}

fn dovecot() -> Option<&'static Source> {
    static SOURCE: OnceLock<Option<Source>> = OnceLock::new();
    SOURCE.get_or_init(|| filled::<crate::support::dovecot::Dovecot23>("Dovecot", "u0001", "")).as_ref()
}

fn cyrus() -> Option<Source> {
    filled::<crate::support::cyrus::Cyrus36>("Cyrus", "u0001", "INBOX.")
}

fn courier() -> Option<Source> {
    filled::<crate::support::courier::Courier5>("Courier", "u0001", "INBOX.")
}

/// Migrates everything and has each word of the run judged; a second run copies nothing.
async fn check<K: Kind>(what: &str, source: &Source) -> Option<Judged> {
    let target = Launched::<K>::start_or_skip(K::Options::default())?;
    let haul = Haul::new(source.side.clone(), Side::tls(target.imaps(), &target.ca_file()))
        .user(source.user, "u0001")
        .with("[limits]\nconnections = 4");
    let ran = haul.run().await;
    let judged = judge(&haul, &mut (source.server)(), &mut target.client("u0001")).await;
    println!("{what}: {judged}; {} altered", judged.altered);
    let waits = ran.events.iter().filter(|event| matches!(event, Event::Waiting { .. })).count();
    assert_eq!(waits, 0, "{what}: no message breaks a connection: {:#?}", ran.end);
    judged.assert_true();
    assert_eq!(judged.count(), source.taken as u64, "{:#?}", ran.end);
    assert_eq!(judged.of(Fate::Copied) + judged.of(Fate::Refused), judged.count(), "{judged}");
    let again = haul.run().await;
    assert_eq!(again.copied(), 0, "{what}: a second run copies nothing");
    judge(&haul, &mut (source.server)(), &mut target.client("u0001")).await.assert_true();
    Some(judged)
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_to_dovecot() {
    let Some(source) = dovecot() else { return };
    let Some(judged) = check::<crate::support::dovecot::Dovecot23>("Dovecot to Dovecot", source).await else { return };
    // What consists of line ends alone it gives as an empty message, and takes none.
    assert_eq!((judged.altered, judged.of(Fate::Refused)), (0, 2), "{judged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_to_cyrus() {
    let Some(source) = dovecot() else { return };
    let Some(judged) = check::<crate::support::cyrus::Cyrus36>("Dovecot to Cyrus", source).await else { return };
    assert!(judged.altered > 0 && judged.of(Fate::Refused) > 0, "{judged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_to_courier() {
    let Some(source) = dovecot() else { return };
    let Some(judged) = check::<crate::support::courier::Courier5>("Dovecot to Courier", source).await else { return };
    assert!(judged.altered > 0, "{judged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cyrus_to_dovecot() {
    let Some(source) = cyrus() else { return };
    check::<crate::support::dovecot::Dovecot23>("Cyrus to Dovecot", &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn courier_to_dovecot() {
    let Some(source) = courier() else { return };
    check::<crate::support::dovecot::Dovecot23>("Courier to Dovecot", &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_courier_holds_already_is_adopted_by_its_headers() {
    let Some(target) = Launched::<crate::support::courier::Courier5>::start_or_skip(Default::default()) else { return };
    let source = mailhaul_testserver::Server::start(Config::plain("u0001")).await.unwrap();
    let haul =
        || Haul::new(Side::plain(source.port()), Side::tls(target.imaps(), &target.ca_file())).user("u0001", "u0001");
    for number in 0..5 {
        let body = format!("Subject: {number}\r\nMessage-ID: <{number}@x>\r\nDate: x\r\n\r\nno end").into_bytes();
        let message = NewMessage::new(body).date("01-Feb-2021 03:04:05 +0100");
        source.account("u0001").add("INBOX", message).unwrap();
    }
    assert_eq!(haul().run().await.copied(), 5);
    // Another state knows nothing of them, and their bytes and sizes differ by now.
    assert_eq!(haul().run().await.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_to_dovecot() {
    let (_server, source) = anything().await;
    check::<crate::support::dovecot::Dovecot23>("Anything to Dovecot", &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_to_cyrus() {
    let (_server, source) = anything().await;
    check::<crate::support::cyrus::Cyrus36>("Anything to Cyrus", &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_to_courier() {
    let (_server, source) = anything().await;
    check::<crate::support::courier::Courier5>("Anything to Courier", &source).await;
}
