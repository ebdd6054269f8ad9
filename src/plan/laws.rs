//! Laws of a folder's plan, tried on mailboxes of twins, of messages without headers and of equal headers with other bytes,
//! with mail that another tool had brought, and with servers and users that do what they like between two passes.
//!
//! The model plays the shell, the ledger and both servers; what is decided is decided by the planner alone.

use super::{Claim, FlagChanges, FolderPlan, Matching, Need, Offer, Sorter, carried, same_instant};
use crate::mail::{Digest, Evidence, Fate, Flags, InternalDate, Listing, Record, Stage, Uid, UidValidity, digest};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes, by number: header and length. Some share a header, some have none, two of those have one length.
const CONTENTS: [(Option<&str>, u64); 8] = [
    (Some("a"), 10),
    (Some("a"), 11),
    (Some("b"), 10),
    (None, 12),
    (None, 12),
    (Some("c"), 13),
    (Some("altered"), 14),
    (Some("refused"), 15),
];
/// These have one header.
const SHARED: [usize; 2] = [0, 1];
/// The target keeps other bytes than it was given of this one. There is one of it: twins that were altered cannot be told
/// from each other once no record speaks of them.
const ALTERED: usize = 6;
/// The target does not take this one.
const REFUSED: usize = 7;

const FLAGS: [&str; 5] = ["", "\\Seen", "\\Seen \\Deleted", "\\Flagged a", "a b"];

#[derive(Debug, Clone)]
struct Message {
    uid: Uid,
    content: usize,
    altered: bool,
    date: Option<InternalDate>,
    flags: Flags,
}

impl Message {
    fn header(&self) -> Option<Digest> {
        CONTENTS[self.content].0.map(|header| digest(header.as_bytes()))
    }

    fn bytes(&self) -> Digest {
        digest(&[self.content as u8, u8::from(self.altered)])
    }

    fn size(&self) -> u64 {
        CONTENTS[self.content].1 + u64::from(self.altered)
    }
}

/// What the target makes of one APPEND.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Acknowledged,
    /// Stored, and its OK never arrives.
    Unanswered,
    /// It never arrives.
    Lost,
}

/// What happens to an account over time. Numbers pick one of those there are.
#[derive(Debug, Clone)]
enum Step {
    /// A pass that ends after so many appends; the answers repeat.
    Pass(Vec<Answer>, usize),
    Arrive(usize, usize, u8),
    Flag(usize, usize),
    UserFlags(usize, usize),
    Expunge(usize),
    UserRemoves(usize),
    /// The target numbers its messages anew.
    Renumber,
    /// The ledger of an earlier day is put back.
    Restore(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let answer =
        prop::sample::select(vec![Answer::Acknowledged, Answer::Acknowledged, Answer::Unanswered, Answer::Lost]);
    let any = 0..20_usize;
    let pass = (prop::collection::vec(answer, 1..6), 0..10_usize).prop_map(|(answers, ends)| Step::Pass(answers, ends));
    let step = prop_oneof![
        6 => pass,
        3 => (0..6_usize, 0..FLAGS.len(), 0..3_u8).prop_map(|(content, flags, date)| Step::Arrive(content, flags, date)),
        2 => (any.clone(), 0..FLAGS.len()).prop_map(|(one, flags)| Step::Flag(one, flags)),
        1 => (any.clone(), 0..FLAGS.len()).prop_map(|(one, flags)| Step::UserFlags(one, flags)),
        1 => any.clone().prop_map(Step::Expunge),
        1 => any.clone().prop_map(Step::UserRemoves),
        1 => Just(Step::Renumber),
        1 => any.prop_map(Step::Restore),
    ];
    prop::collection::vec(step, 0..12)
}

/// Content, flags and date of each message; the altered one comes once at the most.
fn mailbox(contents: std::ops::Range<usize>, count: usize) -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    prop::collection::vec((contents, 0..FLAGS.len(), 0..3_u8), 0..count).prop_map(|mut all| {
        let mut seen = false;
        all.retain(|(content, ..)| *content != ALTERED || !std::mem::replace(&mut seen, true));
        all
    })
}

fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

#[derive(Debug)]
struct World {
    source: Vec<Message>,
    target: Vec<Message>,
    source_next: u32,
    target_next: u32,
    validity: u32,
    /// APPENDUID is given.
    uidplus: bool,
    ledger: BTreeMap<Uid, Record>,
    old_ledgers: Vec<BTreeMap<Uid, Record>>,
    /// How many the source ever had, and the target before us, by content.
    ever: [usize; CONTENTS.len()],
    before: [usize; CONTENTS.len()],
    /// Somebody took mail away: counts are no longer those of the source.
    taken: bool,
}

impl World {
    fn new(source: &[(usize, usize, u8)], target: &[(usize, usize, u8)], uidplus: bool) -> Self {
        let mut world = Self {
            source: vec![],
            target: vec![],
            source_next: 1,
            target_next: 1,
            validity: 1,
            uidplus,
            ledger: BTreeMap::new(),
            old_ledgers: vec![],
            ever: Default::default(),
            before: Default::default(),
            taken: false,
        };
        source.iter().for_each(|(content, flags, date)| world.arrive(*content, *flags, *date));
        for (content, flags, date) in target {
            world.before[*content] += 1;
            let message = message(*content, *flags, *date);
            world.store(message);
        }
        world
    }

    fn arrive(&mut self, content: usize, flags: usize, date: u8) {
        self.ever[content] += 1;
        self.source.push(Message { uid: uid(self.source_next), ..message(content, flags, date) });
        // UIDs have gaps.
        self.source_next += 1 + self.source_next % 3;
    }

    fn store(&mut self, message: Message) -> Uid {
        let uid = uid(self.target_next);
        self.target_next += 1;
        self.target.push(Message { uid, ..message });
        uid
    }

    fn validity(&self) -> UidValidity {
        UidValidity::new(self.validity).unwrap()
    }

    fn step(&mut self, step: &Step) {
        let pick = |all: &[Message], one: usize| (!all.is_empty()).then(|| one % all.len());
        match step {
            Step::Pass(answers, ends) => {
                self.old_ledgers.push(self.ledger.clone());
                self.pass(answers, *ends);
            }
            Step::Arrive(content, flags, date) => self.arrive(*content, *flags, *date),
            Step::Flag(one, flags) => {
                if let Some(at) = pick(&self.source, *one) {
                    self.source[at].flags = Flags::parse(FLAGS[*flags]);
                }
            }
            Step::UserFlags(one, flags) => {
                if let Some(at) = pick(&self.target, *one) {
                    self.target[at].flags = Flags::parse(FLAGS[*flags]);
                }
            }
            Step::Expunge(one) => {
                if let Some(at) = pick(&self.source, *one) {
                    self.source.remove(at);
                    self.taken = true;
                }
            }
            Step::UserRemoves(one) => {
                if let Some(at) = pick(&self.target, *one) {
                    self.target.remove(at);
                    self.taken = true;
                }
            }
            Step::Renumber => {
                self.validity += 1;
                (1..).zip(&mut self.target).for_each(|(number, message)| message.uid = uid(number));
                self.target_next = self.target.len() as u32 + 1;
            }
            Step::Restore(which) => {
                if let Some(at) = (!self.old_ledgers.is_empty()).then(|| which % self.old_ledgers.len()) {
                    self.ledger = self.old_ledgers[at].clone();
                }
            }
        }
    }

    /// Plans, and checks what holds for every plan.
    fn plan(&self) -> FolderPlan {
        let (source, target) = (listing(&self.source), listing(&self.target));
        let mut sorter = Sorter::new(&source, &target, Some(self.validity()));
        let records: Vec<Record> = self.ledger.values().cloned().collect();
        records.chunks(3).for_each(|window| sorter.records(window));
        let plan = sorter.finish();
        let listed = plan.needs.iter().filter(|need| source.get(need.source_uid()).is_some()).count();
        let settled: u64 = plan.settled.values().sum();
        assert_eq!(settled as usize + listed + plan.fresh.len(), source.len(), "each message once: {plan:?}");
        let doing: Vec<Uid> =
            plan.needs.iter().map(Need::source_uid).chain(&plan.fresh).chain(plan.removed.iter().copied()).collect();
        assert_distinct(&doing, "no message twice");
        assert!(plan.needs.is_sorted_by_key(Need::source_uid), "needs are in order: {plan:?}");
        let mut copied = plan.fresh.iter().chain(plan.removed.iter().copied());
        assert!(copied.all(|uid| source.has(uid)), "what left the source is at most looked for: {plan:?}");
        assert_flags(&plan.flags);
        plan
    }

    /// What the shell does with a plan; gives whether anything was done.
    fn pass(&mut self, answers: &[Answer], ends: usize) -> bool {
        let plan = self.plan();
        let (to_copy, found, adopted) = self.reconcile(&plan);
        let floor = Some((self.validity(), uid(self.target_next)));
        let mut answers = answers.iter().cycle();
        let mut sent = BTreeSet::new();
        for (at, source_uid) in to_copy.iter().enumerate() {
            assert!(sent.insert(*source_uid), "no message is sent twice in a pass");
            if at == ends {
                return true;
            }
            self.append(*source_uid, floor, *answers.next().unwrap());
        }
        self.change_flags(&plan.flags);
        self.change_flags(&adopted);
        // What is read back at the end of a pass.
        for record in self.ledger.values_mut() {
            let copy = record.target.and_then(|(_, uid)| self.target.iter().find(|message| message.uid == uid));
            record.evidence = match copy {
                Some(copy) if same_instant(copy.date, record.date) => Evidence::MetadataEqual,
                Some(_) => Evidence::Counted,
                None => record.evidence,
            };
        }
        !to_copy.is_empty() || found > 0 || plan.flags.rebases().len() + adopted.rebases().len() > 0
    }

    fn reconcile(&mut self, plan: &FolderPlan) -> (Vec<Uid>, usize, FlagChanges) {
        let source = listing(&self.source);
        let needs = plan.needs.iter().cloned().chain(plan.fresh.iter().map(|uid| Need::new(source.get(uid).unwrap())));
        let target = listing(&self.target);
        let offers = target.iter().filter(|entry| !plan.paired.has(entry.uid)).map(Offer::new);
        let offers: Vec<Offer> = offers.chain(plan.left.iter().map(|(_, offer)| offer.clone())).collect();
        let mut matching = Matching::new(needs.collect(), offers, false);
        self.answer(&mut matching);
        let matched = matching.finish();
        let claimed: Vec<Uid> = matched.found.iter().map(|one| one.target_uid).collect();
        let left: Vec<Uid> = plan.left.iter().map(|(_, offer)| offer.uid()).collect();
        let paired = plan.paired.iter().filter(|uid| !left.contains(uid)).collect();
        assert_distinct(&[claimed.clone(), matched.surplus, paired].concat(), "no copy is claimed twice");
        let asked = plan.needs.len() + plan.fresh.len();
        assert_eq!(matched.found.len() + matched.absent.len(), asked, "each is found or absent");
        let mut flags = FlagChanges::default();
        for one in &matched.found {
            let target = Some((self.validity(), one.target_uid));
            if one.claim == Claim::New {
                let (from, to) = (source.get(one.source_uid).unwrap(), self.at_target(one.target_uid).flags.clone());
                let wanted = carried(from.flags, false);
                flags.note(one.source_uid, one.target_uid, &Flags::default(), &wanted, &to);
                let mut record = self.record(one.source_uid);
                (record.stage, record.target) = (Stage::Settled(Fate::Adopted), target);
                (record.digest, record.header, record.flags) = (None, None, Flags::default());
                self.ledger.insert(one.source_uid, record);
            } else {
                let record = self.ledger.get_mut(&one.source_uid).unwrap();
                (record.stage, record.target) = (Stage::Settled(Fate::Copied), target);
            }
        }
        assert_flags(&flags);
        let mut to_copy = Vec::new();
        for (uid, claim) in matched.absent {
            match claim {
                Claim::New | Claim::Displaced => to_copy.push(uid),
                Claim::Intended => {
                    self.ledger.remove(&uid);
                    to_copy.extend(source.get(uid).map(|entry| entry.uid));
                }
                Claim::Acknowledged => self.settle(uid, Fate::Missing),
            }
        }
        to_copy.sort_unstable();
        plan.stale.iter().filter(|uid| to_copy.contains(uid)).for_each(|uid| self.settle(*uid, Fate::Gone));
        plan.removed.iter().for_each(|uid| self.settle(*uid, Fate::Removed));
        let placed = |uid: &Uid| matched.found.iter().any(|one| one.source_uid == *uid);
        let replaced = plan.left.iter().filter(|(uid, offer)| claimed.contains(&offer.uid()) && !placed(uid));
        replaced.for_each(|(uid, _)| self.settle(*uid, Fate::Gone));
        (to_copy, matched.found.len(), flags)
    }

    fn answer(&self, matching: &mut Matching) {
        for round in 0.. {
            let questions = matching.questions();
            if questions.is_empty() {
                return;
            }
            assert!(round < 3, "questions come to an end: {questions:?}");
            // A record of what has left the source is not asked for its bytes: there are none.
            let source = |uid: &Uid| self.source.iter().find(|message| message.uid == *uid);
            for uid in &questions.source_headers {
                source(uid).into_iter().for_each(|message| matching.source_header(*uid, message.header()));
            }
            for uid in &questions.source_bytes {
                source(uid)
                    .into_iter()
                    .for_each(|message| matching.source_bytes(*uid, message.bytes(), message.bytes()));
            }
            questions.target_headers.iter().for_each(|uid| matching.target_header(*uid, self.at_target(*uid).header()));
            for uid in &questions.target_bytes {
                let bytes = self.at_target(*uid).bytes();
                matching.target_bytes(*uid, bytes, bytes);
            }
            matching.asked(&questions);
        }
    }

    fn append(&mut self, source_uid: Uid, floor: Option<(UidValidity, Uid)>, answer: Answer) {
        let message = self.source.iter().find(|message| message.uid == source_uid).unwrap().clone();
        let landed = |record: &Record| matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted));
        assert!(!self.ledger.get(&source_uid).is_some_and(landed), "what has landed is not sent again");
        let record = Record { floor, ..self.record(source_uid) };
        self.ledger.insert(source_uid, record);
        if message.content == REFUSED {
            return self.settle(source_uid, Fate::Refused);
        }
        if answer == Answer::Lost {
            return;
        }
        let flags = carried(&message.flags, false);
        let target = self.store(Message { altered: message.content == ALTERED, flags, ..message });
        if answer == Answer::Acknowledged {
            let target = self.uidplus.then(|| (self.validity(), target));
            let record = self.ledger.get_mut(&source_uid).unwrap();
            (record.stage, record.target) = (Stage::Settled(Fate::Copied), target);
        }
    }

    fn record(&self, source_uid: Uid) -> Record {
        let message = self.source.iter().find(|message| message.uid == source_uid).unwrap();
        Record {
            source_uid,
            stage: Stage::Intended,
            target: None,
            floor: None,
            size: message.size(),
            digest: Some(message.bytes()),
            header: message.header(),
            date: message.date,
            flags: carried(&message.flags, false),
            risky: false,
            evidence: Evidence::None,
        }
    }

    fn settle(&mut self, uid: Uid, fate: Fate) {
        self.ledger.get_mut(&uid).unwrap().stage = Stage::Settled(fate);
    }

    fn change_flags(&mut self, changes: &FlagChanges) {
        for (flags, uids) in &changes.add {
            for message in self.target.iter_mut().filter(|message| uids.contains(&message.uid)) {
                message.flags = message.flags.union(flags);
            }
        }
        for (flags, uids) in &changes.remove {
            for message in self.target.iter_mut().filter(|message| uids.contains(&message.uid)) {
                message.flags = message.flags.without(flags);
            }
        }
        for rebase in changes.rebases() {
            self.ledger.get_mut(&rebase.source_uid).unwrap().flags = rebase.flags.clone();
        }
    }

    fn at_target(&self, uid: Uid) -> &Message {
        self.target.iter().find(|message| message.uid == uid).unwrap()
    }

    fn check_end(&self) {
        let plan = self.plan();
        assert!(plan.fresh.is_empty() && plan.needs.is_empty() && plan.stale.is_empty(), "{plan:?}");
        assert!(plan.flags.is_idle() && plan.flags.rebases().len() == 0, "flags come to rest: {plan:?}");
        let shared = |content: usize| SHARED.contains(&content) && SHARED.iter().any(|one| self.before[*one] > 0);
        for content in (0..CONTENTS.len()).filter(|content| !shared(*content)) {
            let (source, target) = (count(&self.source, content), count(&self.target, content));
            let (before, ever) = (self.before[content], self.ever[content]);
            assert!(target <= before.max(ever), "nothing twice: {content}: {target} of {ever}, {before} before us");
            let expected = if content == REFUSED { before } else { before.max(source) };
            let equal = target == expected;
            assert!(self.taken || equal, "nothing lost: {content}: {target} of {source}, {before} before us");
        }
        // One alone with this header was taken for an altered copy of the other: their sum is what counts.
        if SHARED.iter().any(|content| shared(*content)) {
            let sum = |of: &dyn Fn(usize) -> usize| SHARED.iter().map(|content| of(*content)).sum::<usize>();
            let (source, target) = (sum(&|one| count(&self.source, one)), sum(&|one| count(&self.target, one)));
            assert!(self.taken || target >= source, "nothing lost: {target} of {source}");
            assert!(target <= sum(&|one| self.before[one]) + sum(&|one| self.ever[one]), "nothing twice: {target}");
        }
        // Three-way merging never takes a flag from a message that has it at the source.
        for record in self.ledger.values() {
            let Some(source) = self.source.iter().find(|message| message.uid == record.source_uid) else { continue };
            if matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted)) {
                assert!(record.flags.same(&carried(&source.flags, false)), "{record:?}");
            }
        }
    }
}

fn count(all: &[Message], content: usize) -> usize {
    all.iter().filter(|message| message.content == content).count()
}

fn message(content: usize, flags: usize, date: u8) -> Message {
    let date = InternalDate::new(i64::from(date), 0).filter(|_| date > 0);
    Message { uid: Uid::FIRST, content, altered: false, date, flags: Flags::parse(FLAGS[flags]) }
}

fn listing(messages: &[Message]) -> Listing {
    let mut listing = Listing::default();
    for message in messages {
        listing.push(message.uid, Some(message.size()), message.date, message.flags.clone());
    }
    listing
}

fn assert_distinct(uids: &[Uid], what: &str) {
    let distinct: BTreeSet<&Uid> = uids.iter().collect();
    assert_eq!(distinct.len(), uids.len(), "{what}: {uids:?}");
}

/// No flag is added to a message and taken from it, and no message has a flag added twice.
fn assert_flags(changes: &FlagChanges) {
    for changes in [&changes.add, &changes.remove] {
        let uids: Vec<Uid> = changes.values().flatten().copied().collect();
        assert_distinct(&uids, "one change of each kind for a message");
    }
    for (add, added) in &changes.add {
        for (remove, _) in changes.remove.iter().filter(|(_, uids)| uids.iter().any(|uid| added.contains(uid))) {
            assert!(add.common(remove).is_empty(), "{changes:?}");
        }
    }
    assert_distinct(&changes.rebases().map(|rebase| rebase.source_uid).collect::<Vec<_>>(), "one base for a message");
}

/// Passes without a fault until nothing is left to do.
const PASSES_MAX: usize = 4;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_message_arrives_once_and_then_nothing_is_planned(
        source in mailbox(0..CONTENTS.len(), 10),
        target in mailbox(0..ALTERED, 6),
        steps in steps(),
        uidplus in any::<bool>(),
    ) {
        let mut world = World::new(&source, &target, uidplus);
        steps.iter().for_each(|step| world.step(step));
        let passes = (0..PASSES_MAX).take_while(|_| world.pass(&[Answer::Acknowledged], usize::MAX)).count();
        prop_assert!(passes < PASSES_MAX, "still at work: {:?}", world);
        world.check_end();
    }
}
