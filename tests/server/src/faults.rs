//! What goes wrong on purpose: rules of where, how often and what.
//!
//! Secret: how occurrences are counted. A rule names a [`Point`] in the life of a connection, which of its occurrences are
//! meant ([`Nth`], counted over all connections unless told otherwise) and an [`Act`]. Several rules at one point act in
//! the order they were added. A [`Held`] stops the server at a point until the test says go on, so that no test sleeps.
//!
//! ```
//! # use mailhaul_testserver::{Act, Nth, Point, Rule, Faults};
//! # let faults = Faults::default();
//! // The third APPEND is executed, but its OK is lost with the connection.
//! let rule = faults.push(Rule::new(Point::command("APPEND"), Nth::Only(3), Act::SwallowReply));
//! assert_eq!(faults.fired(rule), 0);
//! ```

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A place in the life of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The connection was accepted; not a byte was sent, TLS not begun.
    Connect,
    /// Before the greeting, TLS done.
    Greeting,
    /// A command's first line is there, nothing is executed. The verb is in upper case, with UID as its own word
    /// (`UID FETCH`); `*` is any.
    Command(String),
    /// The command was executed; neither its tagged reply nor its last untagged ones were sent.
    AfterExecute(String),
    /// The tagged reply of a command was sent.
    AfterReply(String),
    /// In mid-literal: this many bytes of a literal of the command were received; 0 is right after it was announced
    /// (and, if it is synchronising, asked for).
    Literal(String, u64),
    /// Half of a literal of the command was received, however long it is.
    LiteralHalf(String),
    /// So many bytes were sent on the connection.
    ResponseBytes(u64),
    /// So many bytes of a body literal were sent; literals that are shorter are passed over. 0 is after `{n}`.
    FetchLiteral(u64),
    /// Half of a body literal was sent, however long it is.
    FetchHalf,
    /// FETCH is about to tell of this UID.
    FetchUid(u32),
    /// FETCH is about to give the body of this UID.
    FetchBody(u32),
    /// An APPEND, received in full and about to be stored, has a message that holds these bytes.
    AppendContaining(Vec<u8>),
}

impl Point {
    /// Before a command is executed.
    pub fn command(verb: &str) -> Self {
        Point::Command(verb.to_ascii_uppercase())
    }

    /// After a command was executed, before it is answered.
    pub fn after_execute(verb: &str) -> Self {
        Point::AfterExecute(verb.to_ascii_uppercase())
    }

    /// After a command was answered.
    pub fn after_reply(verb: &str) -> Self {
        Point::AfterReply(verb.to_ascii_uppercase())
    }

    /// In the middle of a command's literal.
    pub fn literal(verb: &str, after: u64) -> Self {
        Point::Literal(verb.to_ascii_uppercase(), after)
    }

    /// The places of literals in general; those at a fixed byte are for who knows the message.
    fn of(event: &Event<'_>) -> Vec<Point> {
        match *event {
            Event::Connect => vec![Point::Connect],
            Event::Greeting => vec![Point::Greeting],
            Event::Command(verb) => vec![Point::command(verb)],
            Event::AfterExecute(verb) => vec![Point::after_execute(verb)],
            Event::AfterReply(verb) => vec![Point::after_reply(verb)],
            Event::Literal(verb, at, size) => {
                let begin = (at == 0).then(|| Point::literal(verb, 0));
                begin.into_iter().chain((at == size / 2).then(|| Point::LiteralHalf(verb.to_owned()))).collect()
            }
            Event::FetchLiteral(at, size) => {
                let begin = (at == 0).then_some(Point::FetchLiteral(0));
                begin.into_iter().chain((at == size / 2).then_some(Point::FetchHalf)).collect()
            }
            Event::ResponseBytes(_) | Event::FetchUid(_) | Event::FetchBody(_) | Event::Append(_) => Vec::new(),
        }
    }

    /// Where in a literal of so many bytes the point lies, for one that a client sends.
    pub(crate) fn in_literal(&self, size: u64) -> Option<u64> {
        match self {
            Point::Literal(_, at) => Some(*at),
            Point::LiteralHalf(_) => Some(size / 2),
            _ => None,
        }
    }

    /// The same for a body literal that the server sends.
    pub(crate) fn in_body(&self, size: u64) -> Option<u64> {
        match self {
            Point::FetchLiteral(at) => Some(*at),
            Point::FetchHalf => Some(size / 2),
            _ => None,
        }
    }

    fn meets(&self, event: &Event<'_>) -> bool {
        let named = |verb: &String, word: &str| verb == "*" || verb == word;
        match (self, event) {
            (Point::Connect, Event::Connect) | (Point::Greeting, Event::Greeting) => true,
            (Point::Command(verb), Event::Command(word))
            | (Point::AfterExecute(verb), Event::AfterExecute(word))
            | (Point::AfterReply(verb), Event::AfterReply(word)) => named(verb, word),
            (Point::Literal(verb, at), Event::Literal(word, now, _)) => at == now && named(verb, word),
            (Point::LiteralHalf(verb), Event::Literal(word, now, size)) => *now == size / 2 && named(verb, word),
            (Point::FetchHalf, Event::FetchLiteral(now, size)) => *now == size / 2,
            (Point::ResponseBytes(at), Event::ResponseBytes(now))
            | (Point::FetchLiteral(at), Event::FetchLiteral(now, _)) => at == now,
            (Point::FetchUid(uid), Event::FetchUid(now)) | (Point::FetchBody(uid), Event::FetchBody(now)) => uid == now,
            (Point::AppendContaining(needle), Event::Append(bodies)) => {
                bodies.iter().any(|body| contains(body, needle))
            }
            _ => false,
        }
    }
}

/// Which occurrences of a point are meant, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nth {
    /// This one.
    Only(u64),
    /// Each n-th one.
    Every(u64),
    /// This one and all after it.
    From(u64),
    /// Up to this one.
    First(u64),
    /// All.
    All,
}

impl Nth {
    fn meets(self, count: u64) -> bool {
        match self {
            Nth::Only(n) => count == n,
            Nth::Every(n) => n > 0 && count.is_multiple_of(n),
            Nth::From(n) => count >= n,
            Nth::First(n) => count <= n,
            Nth::All => true,
        }
    }
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Act {
    /// The connection is closed.
    Drop,
    /// The connection is closed with RST (TCP only; in memory it is dropped).
    Reset,
    /// The server's half is closed; what the client still sends is read and ignored.
    HalfClose,
    /// Silence, with the connection open, until [`Faults::release`]; then it goes on. Ends if the client leaves first.
    Stall,
    /// The command is not executed (at [`Point::AfterExecute`]: was) and answered with this status and text, such as
    /// `NO [LIMIT] x`. At [`Point::Greeting`] it is the greeting's status and text.
    Reply(String),
    /// `* BYE text`, then close.
    Bye(String),
    /// These bytes are sent, then it goes on.
    Garbage(Vec<u8>),
    /// The command is executed, its reply is not sent, the connection is closed.
    SwallowReply,
    /// At [`Point::Command`] of APPEND: it is received in full, the connection is closed, and the messages are stored
    /// this much later.
    CommitLate(Duration),
    /// See [`Faults::withhold`].
    #[doc(hidden)]
    CommitHeld(Arc<Gate>),
    /// At [`Point::Command`] of APPEND: the first half of a MULTIAPPEND's messages is stored, of a single message its
    /// first half; then the connection is closed.
    CommitHalf,
    /// At [`Point::Command`] of APPEND: of each message the first half is stored, and the answer is OK.
    KeepHalf,
    /// At [`Point::Command`] of APPEND: the first half of a MULTIAPPEND's messages is stored, and the answer is NO, against
    /// RFC 3502.
    RefuseHalf,
    /// The user's folder of this name is numbered anew under a new UIDVALIDITY.
    ChangeUidValidity(Vec<u8>),
    /// Time passes. What the client sent is executed afterwards even if it has left by then.
    Delay(Duration),
    /// At [`Point::Command`] of FETCH, STATUS, SELECT, EXAMINE: the answer is not true.
    Lie(Lie),
    /// See [`Faults::hold`].
    #[doc(hidden)]
    Hold(Arc<Gate>),
}

/// A false answer, for all messages or those of a range of UIDs.
#[derive(Debug, Clone)]
pub struct Lie {
    /// What is said.
    pub what: Falsehood,
    /// Of which messages.
    pub uids: RangeInclusive<u32>,
}

/// What a [`Lie`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Falsehood {
    /// RFC822.SIZE is off by so much.
    SizeDelta(i64),
    /// RFC822.SIZE is left out.
    NoSize,
    /// `BODY[] NIL`.
    NilBody,
    /// `BODY[] ""`.
    EmptyBody,
    /// Each fetch gives other bytes: a header line with a running number is put in front.
    OtherBytesEachFetch,
    /// UIDNEXT is this.
    UidNext(u32),
    /// The message is left out of FETCH's answers.
    Hidden,
    /// Of the items asked for, FETCH gives the first and passes over the rest, as CommuniGate has done.
    FirstItemOnly,
}

impl Act {
    /// A lie about every message.
    pub fn lie(what: Falsehood) -> Self {
        Act::Lie(Lie { what, uids: 1..=u32::MAX })
    }

    /// A lie about one message.
    pub fn lie_about(uid: u32, what: Falsehood) -> Self {
        Act::Lie(Lie { what, uids: uid..=uid })
    }
}

/// Where, how often, what.
#[derive(Debug, Clone)]
pub struct Rule {
    at: Point,
    nth: Nth,
    act: Act,
    user: Option<String>,
    each_connection: bool,
}

impl Rule {
    /// Makes a rule counted over all connections of the server.
    pub fn new(at: Point, nth: Nth, act: Act) -> Self {
        Rule { at, nth, act, user: None, each_connection: false }
    }

    /// Counts occurrences for each connection by itself.
    pub fn per_connection(mut self) -> Self {
        self.each_connection = true;
        self
    }

    /// Looks only at connections this user is signed in on.
    pub fn for_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }
}

/// Names a rule that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleId(u64);

/// The rules of a server. Cloning gives another handle to the same rules.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Saves taking the lock where there are no rules.
    any: AtomicBool,
    rules: Mutex<Rules>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Rules {
    active: Vec<Active>,
    /// What has happened, and how often; None: nobody wants to know.
    record: Option<BTreeMap<Point, u64>>,
    fired: HashMap<RuleId, u64>,
    next: u64,
}

#[derive(Debug)]
struct Active {
    id: RuleId,
    rule: Rule,
    count: u64,
    counts: HashMap<u64, u64>,
}

/// What just happened, as sessions tell it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    Connect,
    Greeting,
    Command(&'a str),
    AfterExecute(&'a str),
    AfterReply(&'a str),
    /// Verb, byte, size.
    Literal(&'a str, u64, u64),
    ResponseBytes(u64),
    /// Byte, size.
    FetchLiteral(u64, u64),
    FetchUid(u32),
    FetchBody(u32),
    Append(&'a [&'a [u8]]),
}

impl Faults {
    /// Adds a rule.
    pub fn push(&self, rule: Rule) -> RuleId {
        let mut rules = self.lock();
        let id = RuleId(rules.next);
        rules.next += 1;
        rules.active.push(Active { id, rule, count: 0, counts: HashMap::new() });
        self.inner.any.store(true, Ordering::SeqCst);
        id
    }

    /// Adds a rule from its three parts.
    pub fn add(&self, at: Point, nth: Nth, act: Act) -> RuleId {
        self.push(Rule::new(at, nth, act))
    }

    /// Stops the server at a point until [`Held::release`].
    pub fn hold(&self, at: Point, nth: Nth) -> Held {
        let gate = Arc::new(Gate::default());
        self.push(Rule::new(at, nth, Act::Hold(gate.clone())));
        Held { gate }
    }

    /// Stops an APPEND between its last byte and the store: its connection is closed, and its messages are stored when
    /// the test lets them go.
    pub fn withhold(&self, nth: Nth) -> Held {
        let gate = Arc::new(Gate::default());
        self.push(Rule::new(Point::command("APPEND"), nth, Act::CommitHeld(gate.clone())));
        Held { gate }
    }

    /// Begins to note what happens from now on; what was noted before is forgotten.
    pub fn record(&self) {
        self.lock().record = Some(BTreeMap::new());
        self.inner.any.store(true, Ordering::SeqCst);
    }

    /// Gives the points that were come to since [`Faults::record`], and how often: each of these occurrences can be met
    /// by a rule in a run like this one. Of literals their begin and their middle are noted.
    pub fn recorded(&self) -> Vec<(Point, u64)> {
        let rules = self.lock();
        rules.record.iter().flatten().map(|(point, count)| (point.clone(), *count)).collect()
    }

    /// How often a rule has acted.
    pub fn fired(&self, id: RuleId) -> u64 {
        self.lock().fired.get(&id).copied().unwrap_or(0)
    }

    /// Takes a rule away.
    pub fn remove(&self, id: RuleId) {
        self.lock().active.retain(|active| active.id != id);
    }

    /// Takes all rules away and lets go what is stalled or held.
    pub fn clear(&self) {
        let mut rules = self.lock();
        for active in rules.active.drain(..) {
            if let Act::Hold(gate) | Act::CommitHeld(gate) = active.rule.act {
                gate.open();
            }
        }
        rules.record = None;
        self.inner.any.store(false, Ordering::SeqCst);
        drop(rules);
        self.release();
    }

    /// Lets go on all connections stalled now.
    pub fn release(&self) {
        self.inner.released.send_modify(|count| *count += 1);
    }

    pub(crate) fn any(&self) -> bool {
        self.inner.any.load(Ordering::Relaxed)
    }

    /// Counts an event and gives what it brings.
    pub(crate) fn fire(&self, event: Event<'_>, connection: u64, user: Option<&str>) -> Vec<Act> {
        if !self.any() {
            return Vec::new();
        }
        let mut guard = self.lock();
        let Rules { active, fired, record, .. } = &mut *guard;
        if let Some(record) = record {
            Point::of(&event).into_iter().for_each(|point| *record.entry(point).or_default() += 1);
        }
        let mut acts = Vec::new();
        for active in active {
            let rule = &active.rule;
            if rule.user.is_some() && rule.user.as_deref() != user || !rule.at.meets(&event) {
                continue;
            }
            let count =
                if rule.each_connection { active.counts.entry(connection).or_default() } else { &mut active.count };
            *count += 1;
            if rule.nth.meets(*count) {
                *fired.entry(active.id).or_default() += 1;
                acts.push(rule.act.clone());
            }
        }
        acts
    }

    /// The places in `from..=to` at which a rule wants to be told of a count, upwards.
    pub(crate) fn marks(&self, mark: impl Fn(&Point) -> Option<u64>, from: u64, to: u64) -> Vec<u64> {
        if !self.any() {
            return Vec::new();
        }
        let rules = self.lock();
        let wanted = rules.active.iter().filter_map(|active| mark(&active.rule.at));
        let mut marks: Vec<u64> = wanted.filter(|at| (from..=to).contains(at)).collect();
        if rules.record.is_some() {
            let general = [Point::Literal(String::new(), 0), Point::LiteralHalf(String::new())];
            let bodies = [Point::FetchLiteral(0), Point::FetchHalf];
            marks.extend(general.iter().chain(&bodies).filter_map(&mark));
        }
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    pub(crate) fn released(&self) -> watch::Receiver<u64> {
        self.inner.released.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a connection waits for the test.
#[derive(Debug)]
pub struct Gate {
    arrived: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { arrived: watch::Sender::new(0), open: watch::Sender::new(false) }
    }
}

impl Gate {
    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        // An error means that the gate is gone, and then nobody can hold it shut.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    fn open(&self) {
        self.open.send_replace(true);
    }
}

/// The test's hand on a stopped server; dropping it lets the server go on.
#[derive(Debug)]
pub struct Held {
    gate: Arc<Gate>,
}

impl Held {
    /// Waits until a connection has come to the point.
    pub async fn reached(&self) {
        self.reached_times(1).await;
    }

    /// Waits until so many connections have come to the point.
    pub async fn reached_times(&self, times: u64) {
        let _ = self.gate.arrived.subscribe().wait_for(|count| *count >= times).await;
    }

    /// Lets all that wait, and all that come later, go on.
    pub fn release(&self) {
        self.gate.open();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.open();
    }
}

fn contains(body: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return true };
    let mut at = 0;
    while let Some(found) = body[at..].iter().position(|&byte| byte == first) {
        at += found + 1;
        if body[at..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(nth: Nth) -> Vec<usize> {
        let faults = Faults::default();
        faults.add(Point::command("noop"), nth, Act::Drop);
        (1..=6).filter(|_| !faults.fire(Event::Command("NOOP"), 1, None).is_empty()).collect()
    }

    #[test]
    fn occurrences_are_counted_from_one() {
        let mut faults = Vec::new();
        for nth in [Nth::Only(2), Nth::Every(3), Nth::From(5), Nth::First(2), Nth::All] {
            faults.push(fired(nth).len());
        }
        assert_eq!(faults, [1, 2, 2, 2, 6]);
    }

    #[test]
    fn a_rule_can_count_for_each_connection_or_look_at_one_user() {
        let faults = Faults::default();
        faults.push(Rule::new(Point::command("*"), Nth::Only(1), Act::Drop).per_connection());
        assert_eq!(faults.fire(Event::Command("A"), 1, None).len(), 1);
        assert_eq!(faults.fire(Event::Command("A"), 2, None).len(), 1);
        assert_eq!(faults.fire(Event::Command("A"), 2, None).len(), 0);
        faults.clear();
        let rule = faults.push(Rule::new(Point::Greeting, Nth::All, Act::Drop).for_user("u"));
        assert_eq!(faults.fire(Event::Greeting, 1, None).len(), 0);
        assert_eq!(faults.fire(Event::Greeting, 1, Some("u")).len(), 1);
        assert_eq!(faults.fired(rule), 1);
    }

    #[test]
    fn marks_are_those_inside_the_stretch() {
        let faults = Faults::default();
        for at in [10, 5, 20] {
            faults.add(Point::ResponseBytes(at), Nth::All, Act::Drop);
        }
        let mark = |point: &Point| if let Point::ResponseBytes(at) = point { Some(*at) } else { None };
        assert_eq!(faults.marks(mark, 6, 20), [10, 20]);
    }

    #[test]
    fn what_is_recorded_can_be_met() {
        let events = [Event::Command("APPEND"), Event::Literal("APPEND", 0, 9), Event::Literal("APPEND", 4, 9)];
        let faults = Faults::default();
        faults.record();
        events.iter().for_each(|event| drop(faults.fire(*event, 1, None)));
        let recorded = faults.recorded();
        assert_eq!(recorded.len(), 3, "{recorded:?}");
        faults.clear();
        assert!(faults.recorded().is_empty());
        let rules: Vec<RuleId> =
            recorded.into_iter().map(|(at, count)| faults.add(at, Nth::Only(count), Act::Drop)).collect();
        events.iter().for_each(|event| drop(faults.fire(*event, 1, None)));
        assert!(rules.into_iter().all(|rule| faults.fired(rule) == 1));
    }

    #[test]
    fn bytes_are_found_anywhere() {
        assert!(contains(b"xxvirus", b"virus") && contains(b"a", b"") && contains(b"vvirus", b"virus"));
        assert!(!contains(b"viru", b"virus"));
    }
}
