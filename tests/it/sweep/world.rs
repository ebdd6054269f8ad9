//! The smallest mailbox that crosses every kind of boundary, two servers in memory around it, and what is left at the end.

use crate::support::compare::instant;
use crate::support::haul::{Haul, Ran, Side as End};
use futures_util::future::BoxFuture;
use mailhaul::checkpoint::{Ledger, Steps};
use mailhaul::mail::{Evidence, Fate, Side};
use mailhaul::net::{BoxedIo, Dial, Endpoint, NetError};
use mailhaul::transfer::{Event, Mode};
use mailhaul_testserver::{
    Config, Features, FolderSpec, Layout, Literals, NewMessage, Nth, Point, Server, Store, TlsMode,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// What the servers of a sweep can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    uidplus: bool,
    literals: Literals,
    multiappend: bool,
    condstore: bool,
    connections: usize,
}

/// Every pair of what a target may or may not offer.
pub(super) const SHAPES: [Shape; 6] = [
    Shape::new("everything", true, Literals::Plus, true, true, 1),
    Shape::new("no UIDPLUS, CONDSTORE, MULTIAPPEND", false, Literals::Plus, false, false, 2),
    Shape::new("LITERAL-, no MULTIAPPEND", true, Literals::Minus, false, true, 1),
    Shape::new("LITERAL-, no UIDPLUS, CONDSTORE", false, Literals::Minus, true, false, 1),
    Shape::new("synchronising, no CONDSTORE", true, Literals::Synchronising, true, false, 2),
    Shape::new("synchronising, no UIDPLUS, MULTIAPPEND", false, Literals::Synchronising, false, true, 1),
];

impl Shape {
    const fn new(
        name: &'static str,
        uidplus: bool,
        literals: Literals,
        multiappend: bool,
        condstore: bool,
        connections: usize,
    ) -> Self {
        Self { name, uidplus, literals, multiappend, condstore, connections }
    }

    pub(super) fn has_uidplus(&self) -> bool {
        self.uidplus
    }

    /// How many messages of the inbox go in one command at the most.
    pub(super) fn together(&self) -> usize {
        if self.multiappend && self.literals != Literals::Synchronising { 4 } else { 1 }
    }

    /// How many APPENDs go to the inbox before the one that is refused.
    pub(super) fn appends(&self) -> u64 {
        if self.together() > 1 { 3 } else { 7 }
    }

    pub(super) fn source(&self) -> Config {
        Config { features: Features { condstore: self.condstore, ..Features::default() }, ..Config::plain("u") }
    }

    /// As strict as Courier about what is open, as Cyrus about NUL, with names built otherwise than at the source.
    pub(super) fn target(&self) -> Config {
        let features = Features {
            uidplus: self.uidplus,
            literals: self.literals,
            multiappend: self.multiappend,
            condstore: self.condstore,
            ..Features::default()
        };
        Config {
            features,
            refuse_append_while_examined: true,
            refuse_nul: true,
            layout: Layout::inbox_dot(),
            tls: TlsMode::None,
            ..Config::plain("u")
        }
    }
}

/// A step at which there is something to stop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// 0: the first; 1: the one after something has changed.
    pub(super) pass: usize,
    pub(super) at: At,
    /// Counted from 1 in this pass.
    pub(super) nth: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    Server(Side, Point),
    BeforeCommit,
    AfterCommit,
}

impl Spot {
    /// What kind of step it is.
    pub(super) fn kind(&self) -> &'static str {
        match &self.at {
            At::BeforeCommit => "before a commit",
            At::AfterCommit => "after a commit",
            At::Server(_, Point::Connect | Point::Greeting) => "greeting",
            At::Server(_, Point::Command(_)) => "command",
            At::Server(_, Point::AfterExecute(_)) => "after execution",
            At::Server(_, Point::AfterReply(_)) => "after reply",
            At::Server(_, Point::FetchLiteral(_) | Point::FetchHalf) => "fetched literal",
            At::Server(..) => "literal",
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass {}: ", self.pass + 1)?;
        match &self.at {
            At::Server(side, point) => {
                write!(f, "{side}: ")?;
                match point {
                    Point::Command(verb) => write!(f, "command {verb}")?,
                    Point::AfterExecute(verb) => write!(f, "after execution of {verb}")?,
                    Point::AfterReply(verb) => write!(f, "after reply to {verb}")?,
                    Point::Literal(verb, _) => write!(f, "literal of {verb}")?,
                    Point::LiteralHalf(verb) => write!(f, "half a literal of {verb}")?,
                    Point::FetchLiteral(_) => write!(f, "body")?,
                    Point::FetchHalf => write!(f, "half a body")?,
                    other => write!(f, "{other:?}")?,
                }
            }
            At::BeforeCommit => write!(f, "before commit")?,
            At::AfterCommit => write!(f, "after commit")?,
        }
        write!(f, " #{}", self.nth)
    }
}

/// Two servers with their mail, and a job between them.
pub(super) struct World {
    pub(super) source: Arc<Server>,
    pub(super) target: Arc<Server>,
    pub(super) haul: Haul,
}

/// What a run has come to, when nothing more is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Left {
    /// Folder by folder, how often each message is there.
    pub(super) mail: BTreeMap<String, BTreeMap<String, usize>>,
    pub(super) subscribed: BTreeSet<String>,
    pub(super) fates: BTreeMap<Fate, u64>,
    pub(super) evidence: BTreeMap<Evidence, u64>,
    /// What stopped the account.
    pub(super) failure: Option<String>,
}

/// How a run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its future is dropped; what the ledger was told becomes durable.
    Drop,
    /// As by a kill: what is not durable at that moment never will be.
    Cut,
}

/// Stops the ledger, or lets it be.
struct Hook {
    at: Option<(At, u64)>,
    dead: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
    hit: watch::Sender<bool>,
}

impl Hook {
    fn pass(&self, at: &At, commit: u64) -> ControlFlow<()> {
        if self.at.as_ref().is_some_and(|(when, nth)| when == at && *nth == commit) {
            self.hit.send_replace(true);
            return ControlFlow::Break(());
        }
        if self.dead.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Steps for Hook {
    fn before_commit(&self, commit: u64) -> ControlFlow<()> {
        self.commits.store(commit, Ordering::SeqCst);
        self.pass(&At::BeforeCommit, commit)
    }

    fn after_commit(&self, commit: u64) -> ControlFlow<()> {
        self.pass(&At::AfterCommit, commit)
    }
}

/// The way to servers in memory.
struct Wires {
    source: (u16, Arc<Server>),
    target: (u16, Arc<Server>),
}

impl Dial for Wires {
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        let server = if endpoint.port == self.source.0 { &self.source.1 } else { &self.target.1 };
        assert!(endpoint.port == self.source.0 || endpoint.port == self.target.0, "{endpoint:?}");
        Box::pin(async move { Ok(Box::new(server.connect()) as BoxedIo) })
    }

    fn secure<'a>(&'a self, _: BoxedIo, endpoint: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        panic!("TLS was not asked for: {endpoint:?}")
    }
}

fn message(text: &str, flags: &str, day: u32) -> NewMessage {
    NewMessage::new(text.as_bytes().to_vec()).flags(flags).date(&format!("{day:02}-Mar-2021 04:05:06 +0100"))
}

fn subject(subject: &str) -> String {
    format!("From: a@x\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x>\r\n\r\n{subject}\r\n")
}

/// Fills the source, and the target with what is there beforehand.
fn fill(source: &Store, target: &Store) {
    let (source, target) = (source.account("u"), target.account("u"));
    let add = |folder: &str, one: NewMessage| assert!(source.add(folder, one).is_ok());
    source.create_folder(FolderSpec::new("Sent").subscribed()).unwrap();
    source.create_folder(FolderSpec::new("New/Deep").subscribed()).unwrap();
    source.create("a.b").unwrap();
    target.create("INBOX.Sent").unwrap();
    add("INBOX", message(&subject("first"), "\\Seen", 1));
    add("INBOX", message(&subject("twin"), "", 2));
    add("INBOX", message(&subject("twin"), "", 2));
    add("INBOX", message("no header, only text\r\n", "\\Seen", 3));
    add("INBOX", message(&subject("keywords"), "\\Flagged $Forwarded work", 4));
    add("INBOX", message("\r\n", "", 5));
    add("INBOX", message(&format!("{}{}", subject("long"), "0123456789\r\n".repeat(420)), "\\Answered", 6));
    add("INBOX", message(&format!("{}\0\r\n", subject("refused")), "", 7));
    add("INBOX", message(&subject("adopted"), "\\Seen", 8));
    target.add("INBOX", message(&subject("adopted"), "", 8)).unwrap();
    add("Sent", message(&subject("sent"), "\\Seen", 9));
    add("a.b", message(&subject("mapped"), "\\Draft", 10));
    add("New/Deep", message(&subject("deep"), "", 11));
}

/// What happens between the first pass and the second: at the source, and by the target's user.
fn change(source: &Store, target: &Store) {
    let (source, target) = (source.account("u"), target.account("u"));
    let find = |account: &mailhaul_testserver::Account, text: &str| {
        let messages = account.messages("INBOX").unwrap();
        messages.iter().find(|message| message.body.starts_with(subject(text).as_bytes())).unwrap().uid
    };
    source.set_flags("INBOX", find(&source, "first"), &["\\Seen", "\\Answered", "later"]).unwrap();
    source.add("Sent", message(&subject("arrived later"), "\\Seen", 12)).unwrap();
    target.set_flags("INBOX", find(&target, "long"), &["\\Answered", "\\Flagged"]).unwrap();
    target.expunge("INBOX", &[find(&target, "keywords")]).unwrap();
}

impl World {
    /// Two servers in memory, reached by a job that believes in these ports.
    pub(super) fn new(shape: &Shape) -> Self {
        let stores = (Store::new(Layout::default()), Store::new(Layout::inbox_dot()));
        let world = Self::on(shape, &stores, (1, 2));
        world.fill();
        world
    }

    /// Puts the mail where it is at the beginning.
    pub(super) fn fill(&self) {
        fill(self.source.store(), self.target.store());
    }

    /// The same on stores that others have too, with ports that others listen on.
    pub(super) fn on(shape: &Shape, stores: &(Store, Store), ports: (u16, u16)) -> Self {
        let source = Server::in_memory_with(shape.source(), stores.0.clone()).unwrap();
        let target = Server::in_memory_with(shape.target(), stores.1.clone()).unwrap();
        let options = "[transfer]\ntimeout = \"10s\"\noutage = \"5m\"\nfirst_contact = \"30s\"\nsample = \"50%\"";
        let haul = Haul::new(End::plain(ports.0), End::plain(ports.1))
            .in_memory()
            .user("u", "u")
            .with(&format!("{options}\n[limits]\nconnections = {}", shape.connections));
        Self { source: Arc::new(source), target: Arc::new(target), haul }
    }

    pub(super) fn server(&self, side: Side) -> &Server {
        if side == Side::Source { &self.source } else { &self.target }
    }

    fn wires(&self) -> Arc<dyn Dial> {
        let ports = self.haul.ports();
        Arc::new(Wires { source: (ports.0, self.source.clone()), target: (ports.1, self.target.clone()) })
    }

    /// Lets happen what happens before the second pass.
    pub(super) fn change(&self) {
        change(self.source.store(), self.target.store());
    }

    pub(super) async fn run(&self) -> Ran {
        self.run_in(Mode::default()).await
    }

    pub(super) async fn run_in(&self, mode: Mode) -> Ran {
        let ledger = Ledger::open(&self.haul.state()).unwrap();
        let ran = self.haul.run_over(ledger.clone(), self.wires(), mode).await;
        ledger.close().await.unwrap();
        ran
    }

    /// Runs until the spot is reached, and stops there: no result. The servers then execute what they have received.
    pub(super) async fn run_until(&self, spot: &Spot, stop: Stop) -> Option<Ran> {
        let (dead, commits) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (hit, mut hits) = watch::channel(false);
        let at = (!matches!(spot.at, At::Server(..))).then(|| (spot.at.clone(), spot.nth));
        let hook = Hook { at, dead: dead.clone(), commits, hit };
        let ledger = Ledger::open_with(&self.haul.state(), hook).unwrap();
        let held = match &spot.at {
            At::Server(side, point) => Some(self.server(*side).faults().hold(point.clone(), Nth::Only(spot.nth))),
            _ => None,
        };
        let run = async {
            let ran = self.haul.run_over(ledger.clone(), self.wires(), Mode::default()).await;
            // The last commits may be those of closing.
            let closed = ledger.clone().close().await;
            (ran, closed.is_ok())
        };
        let reached = async {
            match &held {
                Some(held) => held.reached().await,
                None => drop(hits.wait_for(|hit| *hit).await),
            }
        };
        let ran = tokio::select! {
            biased;
            () = reached => None,
            (ran, closed) = run => closed.then_some(ran),
        };
        if ran.is_none() {
            dead.store(stop == Stop::Cut, Ordering::SeqCst);
            everybody_waits().await;
            // Already dead where it was stopped at a commit.
            let _ = ledger.close().await;
        }
        drop(held);
        self.source.faults().clear();
        self.target.faults().clear();
        everybody_waits().await;
        ran
    }

    /// Runs a pass without disturbing it, and gives the steps it has.
    pub(super) async fn record(&self, pass: usize) -> (Ran, Vec<Spot>) {
        let commits = Arc::new(AtomicU64::new(0));
        let hook = Hook { at: None, dead: Arc::default(), commits: commits.clone(), hit: watch::channel(false).0 };
        self.source.faults().record();
        self.target.faults().record();
        let ledger = Ledger::open_with(&self.haul.state(), hook).unwrap();
        let ran = self.haul.run_over(ledger.clone(), self.wires(), Mode::default()).await;
        ledger.close().await.unwrap();
        let mut spots = Vec::new();
        for side in [Side::Source, Side::Target] {
            for (point, count) in self.server(side).faults().recorded() {
                spots.extend((1..=count).map(|nth| Spot { pass, at: At::Server(side, point.clone()), nth }));
            }
            self.server(side).faults().clear();
        }
        for at in [At::BeforeCommit, At::AfterCommit] {
            let count = commits.load(Ordering::SeqCst);
            spots.extend((1..=count).map(|nth| Spot { pass, at: at.clone(), nth }));
        }
        (ran, spots)
    }

    /// What was asked of the servers, where only few cases are tried.
    pub(super) fn story(&self) -> String {
        if std::env::var_os("MAILHAUL_SWEEP_ONLY").is_none() {
            return String::new();
        }
        let all = [("source", &self.source), ("target", &self.target)].map(|(side, server)| {
            let lines = server.log().into_iter();
            lines.map(|line| format!("{side} {}: {}\n", line.connection, line.line)).collect::<String>()
        });
        all.concat()
    }

    /// What is on the target, and what the last run has said of it.
    pub(super) fn left(&self, ran: &Ran) -> Left {
        let account = self.target.account("u");
        let mut left = Left { mail: mail(&self.target), ..Left::default() };
        for folder in account.folders().into_iter().filter(|folder| folder.subscribed) {
            left.subscribed.insert(folder.name.escape_ascii().to_string());
        }
        let end = &ran.end.accounts[0];
        (left.fates, left.evidence) = (end.fates.clone(), end.evidence.clone());
        left.failure = end.failure.as_ref().map(ToString::to_string);
        left
    }

    /// One more run, which must find nothing to do, and what is left then.
    pub(super) async fn settled(&self) -> Result<Left, String> {
        self.target.clear_log();
        let ran = self.run().await;
        let planned: u64 = ran.events.iter().map(planned).sum();
        let writes = ["APPEND", "CREATE", "UID STORE", "STORE", "UID EXPUNGE", "EXPUNGE", "SUBSCRIBE", "DELETE"];
        let written: Vec<String> = self.target.log().into_iter().map(|command| command.line).collect();
        let written: Vec<&String> =
            written.iter().filter(|line| writes.iter().any(|verb| line.contains(&format!(" {verb} ")))).collect();
        if planned + ran.copied() > 0 || !written.is_empty() {
            return Err(format!("a further run planned {planned}, copied {}, wrote {written:?}", ran.copied()));
        }
        Ok(self.left(&ran))
    }
}

/// Waits until everybody else waits for the clock, or for the test.
pub(super) async fn everybody_waits() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn planned(event: &Event) -> u64 {
    if let Event::FolderPlanned { to_copy, .. } = event { *to_copy } else { 0 }
}

/// Gives all mail of a server: bytes, flags, date.
fn mail(server: &Server) -> BTreeMap<String, BTreeMap<String, usize>> {
    let account = server.account("u");
    let mut all: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for folder in account.folders() {
        let items = all.entry(folder.name.escape_ascii().to_string()).or_default();
        for message in account.messages(&folder.name).unwrap_or_default() {
            let mut flags: Vec<String> = message.flags.iter().map(|flag| flag.to_lowercase()).collect();
            flags.retain(|flag| flag != "\\recent");
            flags.sort();
            let mut hasher = DefaultHasher::new();
            message.body.hash(&mut hasher);
            let begin = message.body[..message.body.len().min(45)].escape_ascii();
            let label =
                format!("{begin} {:016x} {} {:?}", hasher.finish(), flags.join(" "), instant(&message.date).unwrap());
            *items.entry(label).or_default() += 1;
        }
    }
    all
}

impl Left {
    /// Says what is other than expected; nothing if all is the same.
    pub(super) fn differences(&self, expected: &Left) -> String {
        let mut lines = String::new();
        let folders: BTreeSet<&String> = self.mail.keys().chain(expected.mail.keys()).collect();
        let none = BTreeMap::new();
        for folder in folders {
            let (is, should) = (self.mail.get(folder), expected.mail.get(folder));
            if is.is_none() != should.is_none() {
                lines += &format!("{folder}: there {}, expected {}\n", is.is_some(), should.is_some());
            }
            let (is, should) = (is.unwrap_or(&none), should.unwrap_or(&none));
            for item in is.keys().chain(should.keys()).collect::<BTreeSet<_>>() {
                let (is, should) = (is.get(item).unwrap_or(&0), should.get(item).unwrap_or(&0));
                if is != should {
                    lines += &format!("{folder}: {is} times, expected {should}: {item}\n");
                }
            }
        }
        let mut differ = |what: &str, is: String, should: String| {
            if is != should {
                lines += &format!("{what}: {is}, expected {should}\n");
            }
        };
        differ("subscribed", format!("{:?}", self.subscribed), format!("{:?}", expected.subscribed));
        differ("fates", format!("{:?}", self.fates), format!("{:?}", expected.fates));
        differ("evidence", format!("{:?}", self.evidence), format!("{:?}", expected.evidence));
        differ("failure", format!("{:?}", self.failure), format!("{:?}", expected.failure));
        lines
    }
}
