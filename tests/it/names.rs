//! Names of folders between servers that build them otherwise: every folder arrives under its own name or under one that
//! was told before, and no message is lost for a name.

use crate::support::client::Client;
use crate::support::fill::joined;
use crate::support::haul::{Haul, Side};
use crate::support::{Cyrus, Dovecot, cyrus, dovecot, skip};
use mailhaul::imap::Namespace;
use mailhaul::mail::{FolderPath, WireName};
use mailhaul::plan::{Because, TargetShape, original};
use mailhaul::provider::NameRules;
use mailhaul::transfer::{self, FolderForecast};
use mailhaul_testserver::{Account, Config, FolderSpec, Layout, NewMessage, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads the paths of the corpus, where it lies beside the project.
fn corpus() -> Option<Vec<Vec<String>>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/folders.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        skip(std::thread::current().name().unwrap_or("a test"), "the corpus of folder names is not here");
        return None;
    };
    let path = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["path"].as_array().unwrap().iter().map(|part| part.as_str().unwrap().to_owned()).collect()
    };
    let paths: Vec<Vec<String>> = text.lines().map(path).collect();
    assert_eq!(paths.len(), 109);
    Some(paths)
}

/// Every way of building names that is known: separator and prefix; 0 is NIL.
const LAYOUTS: [(u8, &str); 6] = [(b'/', ""), (b'.', ""), (b'.', "INBOX."), (b'/', "INBOX/"), (b'\\', ""), (0, "")];

fn layout((separator, prefix): (u8, &str)) -> Layout {
    Layout { separator, prefix: prefix.as_bytes().to_vec(), ..Layout::default() }
}

/// Writes a path as a server of this layout has it; None where it cannot.
fn wire(path: &[String], (separator, prefix): (u8, &str)) -> Option<String> {
    if separator == 0 && path.len() > 1 {
        return None;
    }
    let prefix = if path[0] == "INBOX" { "" } else { prefix };
    Some(joined(prefix, char::from(separator), path))
}

/// Makes a folder with a message that says which one it is; gives the subjects by name.
fn fill(account: &Account, names: &[String]) -> BTreeMap<String, String> {
    let mut subjects = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        // Some names meet where the separator of this server lies within another's part.
        if account.create_folder(FolderSpec::new(name).subscribed()).is_ok() {
            let subject = format!("folder {at}");
            account.add(name, NewMessage::new(format!("Subject: {subject}\r\n\r\n{at}\r\n").into_bytes())).unwrap();
            subjects.insert(name.clone(), subject);
        }
    }
    subjects
}

/// Gives names of folders by the subjects in them.
type Arrived = BTreeMap<String, Vec<String>>;

fn in_account(account: &Account) -> Arrived {
    let mut arrived = Arrived::new();
    for folder in account.folders() {
        for message in account.messages(&folder.name).unwrap_or_default() {
            let name = String::from_utf8(folder.name.clone()).unwrap();
            arrived.entry(subject(&message.body)).or_default().push(name);
        }
    }
    arrived
}

fn on_server(client: &mut Client) -> Arrived {
    let mut arrived = Arrived::new();
    for listed in client.list() {
        if !listed.attributes.iter().any(|attribute| attribute == "\\noselect") {
            client.fetch_each(&listed.name, |message| {
                arrived.entry(subject(&message.body)).or_default().push(listed.name.clone());
            });
        }
    }
    arrived
}

fn subject(body: &[u8]) -> String {
    String::from_utf8_lossy(body).lines().next().unwrap_or_default().trim_start_matches("Subject: ").to_owned()
}

fn namespace((separator, prefix): (u8, &str)) -> Namespace {
    let separator = Some(separator).filter(|separator| *separator != 0);
    Namespace { prefix: prefix.as_bytes().to_vec(), separator, foreign: Vec::new() }
}

/// A migration of the corpus, judged.
struct Case {
    source: (u8, &'static str),
    target: (u8, &'static str),
    haul: Haul,
    subjects: BTreeMap<String, String>,
}

impl Case {
    async fn plan(&self) -> BTreeMap<String, FolderForecast> {
        let (context, _events) = self.haul.context();
        let ledger = context.ledger.clone();
        let plans = transfer::plan(context).await;
        ledger.close().await.unwrap();
        assert_eq!(plans[0].failures, Vec::new());
        plans[0].folders.iter().map(|folder| (folder.source.clone(), folder.clone())).collect()
    }

    /// Plans, runs, and checks that everything is where the plan said.
    async fn check(&self, arrived: impl FnOnce() -> Arrived) {
        let planned = self.plan().await;
        let ran = self.haul.run().await;
        ran.assert_complete();
        let arrived = arrived();
        let (from, to) = (namespace(self.source), namespace(self.target));
        let shape =
            TargetShape { separator: to.separator, below_inbox: to.is_below_inbox(), names: NameRules::STANDARD };
        let again = self.plan().await;
        let mut places = BTreeSet::new();
        for (name, subject) in &self.subjects {
            let path = from.path(&WireName::new(name.as_bytes()));
            let [place] = &arrived.get(subject).unwrap_or_else(|| panic!("{path} is nowhere"))[..] else {
                panic!("{path} is in {:?}", arrived[subject])
            };
            assert!(places.insert(place.clone()), "{place} holds two folders");
            let place = to.path(&WireName::new(place.as_bytes()));
            let told = &planned[&path.to_string()];
            let as_told = told.target == place.to_string() || told.if_refused.contains(&place.to_string());
            assert!(as_told, "{path} is in {place}, and the plan said {told:?}");
            let told = &again[&path.to_string()];
            assert_eq!(told.target, place.to_string(), "the next plan says otherwise: {told:?}");
            match told.because {
                Because::Collision | Because::Before | Because::Shortened | Because::Folded => {}
                Because::Same => assert_eq!(place, path),
                _ => assert_eq!(original(&place, shape), Some(beside_inbox(&path, shape)), "{path} {told:?}"),
            }
        }
        assert_eq!(self.haul.run().await.copied(), 0);
    }
}

/// Below the inbox and beside it are one where all folders lie below it.
fn beside_inbox(path: &FolderPath, shape: TargetShape) -> FolderPath {
    match path.parts() {
        [inbox, tail @ ..] if shape.below_inbox && inbox == "INBOX" && !tail.is_empty() => {
            FolderPath::new(tail.to_vec())
        }
        _ => path.clone(),
    }
}

/// A source in this process that has the whole corpus, as far as its layout can.
async fn source(of: (u8, &'static str)) -> Option<(Server, BTreeMap<String, String>)> {
    let paths = corpus()?;
    let server = Server::start(Config::plain("u").with_layout(layout(of))).await.unwrap();
    let names: Vec<String> = paths.iter().filter_map(|path| wire(path, of)).collect();
    let subjects = fill(&server.account("u"), &names);
    assert!(subjects.len() > 95, "{}", subjects.len());
    Some((server, subjects))
}

async fn between(from: (u8, &'static str), to: (u8, &'static str), change: impl FnOnce(Config) -> Config) {
    let Some((source, subjects)) = source(from).await else { return };
    let target = Server::start(change(Config::plain("u").with_layout(layout(to)))).await.unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("u", "u");
    let case = Case { source: from, target: to, haul, subjects };
    case.check(|| in_account(&target.account("u"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_arrives_between_all_layouts() {
    for from in LAYOUTS {
        for to in LAYOUTS {
            between(from, to, |config| config).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_arrives_where_case_is_folded() {
    between(LAYOUTS[0], LAYOUTS[2], |mut config| {
        config.layout.case_blind = true;
        config
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_arrives_where_names_are_refused_in_all_kinds_of_ways() {
    between(LAYOUTS[0], LAYOUTS[0], |config| {
        let refused = ["(", "{", "\"", "\\", "%", "*", " ", "&2D3", "cur", "NIL", "#"];
        let config = refused.into_iter().fold(config, |config, part| config.refusing("CREATE", part, "NO [CANNOT] no"));
        // Made, and not there.
        let config = ["EXAMINE", "SELECT"]
            .into_iter()
            .fold(config, |config, verb| config.refusing(verb, "~", "NO [NONEXISTENT] none"));
        config.refusing("CREATE", ";", "BAD what")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_arrives_at_a_dovecot() {
    for (to, mail_location) in
        [((b'/', ""), "maildir:~/Maildir"), ((b'.', "INBOX."), "maildir:~/Maildir"), ((b'/', ""), "mdbox:~/mdbox")]
    {
        for from in [LAYOUTS[0], LAYOUTS[2]] {
            let options =
                dovecot::Options { separator: char::from(to.0), prefix: to.1, mail_location, ..Default::default() };
            let Some(target) = Dovecot::start_or_skip(options) else { return };
            let Some((source, subjects)) = source(from).await else { return };
            let side = Side::tls(target.imaps(), &target.ca_file());
            let haul = Haul::new(Side::plain(source.port()), side).user("u", "anna");
            Case { source: from, target: to, haul, subjects }.check(|| on_server(&mut target.client("anna"))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_arrives_at_a_cyrus() {
    for (to, alternative_namespace) in [((b'.', "INBOX."), false), ((b'/', ""), true)] {
        let Some(target) = Cyrus::start_or_skip(cyrus::Options { alternative_namespace, ..Default::default() }) else {
            return;
        };
        let Some((source, subjects)) = source(LAYOUTS[0]).await else { return };
        let side = Side::tls(target.imaps(), &target.ca_file());
        let haul = Haul::new(Side::plain(source.port()), side).user("u", "u0001");
        Case { source: LAYOUTS[0], target: to, haul, subjects }.check(|| on_server(&mut target.client("u0001"))).await;
    }
}
