//! Which target message is which source message, by content, where no UID says so.
//!
//! On multisets: a target message is claimed once at most. Equal bytes go before everything else; who was acknowledged
//! before the crash claims first, then who was intended, then new mail. A header alone pairs only where exactly one
//! message on each side has it; two messages of equal headers and other bodies stay two.
//!
//! Called in rounds: [`Matching::questions`] names what must be known, the caller finds it out and tells it, until there
//! are no questions.

use crate::mail::{Digest, Entry, Evidence, Flags, InternalDate, Record, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Something that may have to be fetched to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known<T> {
    No,
    /// It was asked for and cannot be had.
    Never,
    Yes(T),
}

impl<T: Copy> Known<Option<T>> {
    fn some(self) -> Option<T> {
        match self {
            Self::Yes(value) => value,
            Self::No | Self::Never => None,
        }
    }
}

/// Who claims first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The target said OK and not where.
    Acknowledged,
    /// It was sent and no answer is known.
    Intended,
    /// Nothing is known of it.
    New,
}

/// A source message that looks for its copy.
#[derive(Debug, Clone)]
pub struct Need {
    source_uid: Uid,
    claim: Claim,
    size: Option<u64>,
    date: Option<InternalDate>,
    /// Of its flags: twins are told apart by them.
    flags: u64,
    header: Known<Option<Digest>>,
    digest: Known<Digest>,
    floor: Uid,
}

impl Need {
    /// Gives its number at the source.
    #[must_use]
    pub fn source_uid(&self) -> Uid {
        self.source_uid
    }

    /// A message we sent: its digests are in the ledger. No target UID below `floor` can be its copy.
    #[must_use]
    pub fn sent(record: &Record, claim: Claim, digest: Digest, floor: Uid) -> Self {
        Self {
            source_uid: record.source_uid,
            claim,
            size: Some(record.size),
            date: record.date,
            flags: mark(&record.flags),
            header: Known::Yes(record.header),
            digest: Known::Yes(digest),
            floor,
        }
    }

    /// A message of which only the listing is known.
    #[must_use]
    pub fn new(entry: Entry<'_>) -> Self {
        Self {
            source_uid: entry.uid,
            claim: Claim::New,
            size: entry.size,
            date: entry.date,
            flags: mark(entry.flags),
            header: Known::No,
            digest: Known::No,
            floor: Uid::FIRST,
        }
    }
}

/// A target message that no record claims.
#[derive(Debug, Clone)]
pub struct Offer {
    target_uid: Uid,
    size: Option<u64>,
    date: Option<InternalDate>,
    flags: u64,
    header: Known<Option<Digest>>,
    digest: Known<Digest>,
}

/// Stands for a set of flags, of what can be sent.
fn mark(flags: &Flags) -> u64 {
    let mut hasher = DefaultHasher::new();
    flags.to_string().to_ascii_lowercase().hash(&mut hasher);
    hasher.finish()
}

impl Offer {
    /// A message of which only the listing is known.
    #[must_use]
    pub fn new(entry: Entry<'_>) -> Self {
        Self {
            target_uid: entry.uid,
            size: entry.size,
            date: entry.date,
            flags: mark(entry.flags),
            header: Known::No,
            digest: Known::No,
        }
    }
}

/// A source message found on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// At the source.
    pub source_uid: Uid,
    /// Its copy.
    pub target_uid: Uid,
    /// How it claimed.
    pub claim: Claim,
    /// What shows that they are the same.
    pub evidence: Evidence,
}

/// What must be found out for matching to go on. UIDs ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Digests of key fields at the source.
    pub source_headers: Vec<Uid>,
    /// Digests of key fields on the target.
    pub target_headers: Vec<Uid>,
    /// Digests of whole messages at the source.
    pub source_bytes: Vec<Uid>,
    /// Digests of whole messages on the target.
    pub target_bytes: Vec<Uid>,
}

impl Questions {
    /// Says whether everything is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Matching of one folder.
#[derive(Debug, Clone)]
pub struct Matching {
    needs: BTreeMap<Uid, Need>,
    offers: BTreeMap<Uid, Offer>,
    /// The target tells sizes that are not those of the bytes.
    estimates: bool,
}

/// What matching came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// Found, by source UID.
    pub found: Vec<Match>,
    /// Not on the target, by source UID, with how they claimed.
    pub absent: Vec<(Uid, Claim)>,
    /// Target messages that nobody claimed.
    pub surplus: Vec<Uid>,
}

impl Matching {
    /// Begins. `estimates`: the target's sizes are not those of the bytes it gives.
    #[must_use]
    pub fn new(needs: Vec<Need>, offers: Vec<Offer>, estimates: bool) -> Self {
        let needs = needs.into_iter().map(|need| (need.source_uid, need)).collect();
        let offers = offers.into_iter().map(|offer| (offer.target_uid, offer)).collect();
        Self { needs, offers, estimates }
    }

    /// Tells the header digest of a source message; None: it has no key fields.
    pub fn source_header(&mut self, uid: Uid, header: Option<Digest>) {
        if let Some(need) = self.needs.get_mut(&uid) {
            need.header = Known::Yes(header);
        }
    }

    /// Tells the header digest of a target message; None: it has no key fields.
    pub fn target_header(&mut self, uid: Uid, header: Option<Digest>) {
        if let Some(offer) = self.offers.get_mut(&uid) {
            offer.header = Known::Yes(header);
        }
    }

    /// Tells the digest of a source message.
    pub fn source_bytes(&mut self, uid: Uid, digest: Digest) {
        if let Some(need) = self.needs.get_mut(&uid) {
            need.digest = Known::Yes(digest);
        }
    }

    /// Tells the digest of a target message.
    pub fn target_bytes(&mut self, uid: Uid, digest: Digest) {
        if let Some(offer) = self.offers.get_mut(&uid) {
            offer.digest = Known::Yes(digest);
        }
    }

    /// Tells that what was asked and has not been told cannot be had.
    pub fn asked(&mut self, questions: &Questions) {
        fn never<T>(known: &mut Known<T>) {
            if matches!(known, Known::No) {
                *known = Known::Never;
            }
        }
        for (uid, need) in &mut self.needs {
            if questions.source_headers.binary_search(uid).is_ok() {
                never(&mut need.header);
            }
            if questions.source_bytes.binary_search(uid).is_ok() {
                never(&mut need.digest);
            }
        }
        for (uid, offer) in &mut self.offers {
            if questions.target_headers.binary_search(uid).is_ok() {
                never(&mut offer.header);
            }
            if questions.target_bytes.binary_search(uid).is_ok() {
                never(&mut offer.digest);
            }
        }
    }

    /// Names what must be known next; empty: [`Self::finish`] can decide.
    #[must_use]
    pub fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        if self.offers.is_empty() || self.needs.is_empty() {
            return questions;
        }
        let unknown = |need: &&Need| need.header == Known::No;
        questions.source_headers = self.needs.values().filter(unknown).map(|need| need.source_uid).collect();
        let unknown = |offer: &&Offer| offer.header == Known::No;
        questions.target_headers = self.offers.values().filter(unknown).map(|offer| offer.target_uid).collect();
        if !questions.is_empty() {
            return questions;
        }
        let (mut source, mut target) = (BTreeSet::new(), BTreeSet::new());
        for group in self.groups().values().filter(|group| !self.is_plain(group)) {
            source.extend(group.needs.iter().filter(|uid| self.needs[uid].digest == Known::No));
            target.extend(group.offers.iter().filter(|uid| self.offers[uid].digest == Known::No));
        }
        questions.source_bytes = source.into_iter().collect();
        questions.target_bytes = target.into_iter().collect();
        questions
    }

    /// Decides.
    #[must_use]
    pub fn finish(self) -> Matched {
        let mut matched = Matched::default();
        let mut taken: BTreeSet<Uid> = BTreeSet::new();
        let mut found: BTreeMap<Uid, Match> = BTreeMap::new();
        let groups = self.groups();
        for group in groups.values().filter(|group| self.is_plain(group)) {
            self.claim(&mut found, &mut taken, group.needs[0], group.offers[0], Evidence::MetadataEqual);
        }
        self.claim_equal_bytes(&mut found, &mut taken);
        self.claim_altered(&groups, &mut found, &mut taken);
        for need in self.needs.values() {
            match found.get(&need.source_uid) {
                Some(one) => matched.found.push(*one),
                None => matched.absent.push((need.source_uid, need.claim)),
            }
        }
        matched.surplus = self.offers.keys().filter(|uid| !taken.contains(uid)).copied().collect();
        matched
    }

    fn claim(
        &self,
        found: &mut BTreeMap<Uid, Match>,
        taken: &mut BTreeSet<Uid>,
        need: Uid,
        offer: Uid,
        evidence: Evidence,
    ) {
        if !found.contains_key(&need) && taken.insert(offer) {
            let claim = self.needs[&need].claim;
            found.insert(need, Match { source_uid: need, target_uid: offer, claim, evidence });
        }
    }

    /// In the order of claims, then of UIDs on both sides; the closest first.
    fn claim_equal_bytes(&self, found: &mut BTreeMap<Uid, Match>, taken: &mut BTreeSet<Uid>) {
        let mut by_digest: BTreeMap<Digest, Vec<Uid>> = BTreeMap::new();
        for offer in self.offers.values() {
            if let Known::Yes(digest) = offer.digest {
                by_digest.entry(digest).or_default().push(offer.target_uid);
            }
        }
        // Twins differ in date and flags: each claims its own copy before anybody takes what is left.
        let own = |need: &Need, offer: &Offer| same_instant(need.date, offer.date) && need.flags == offer.flags;
        let dated = |need: &Need, offer: &Offer| same_instant(need.date, offer.date);
        type Fits<'f> = &'f dyn Fn(&Need, &Offer) -> bool;
        let rounds: [Fits<'_>; 3] = [&own, &dated, &|_, _| true];
        // Who was acknowledged is there for certain: had new mail first choice, its twin's copy would be gone for it.
        for claim in [Claim::Acknowledged, Claim::Intended, Claim::New] {
            for fits in rounds {
                for need in self.needs.values().filter(|need| need.claim == claim) {
                    let Known::Yes(digest) = need.digest else { continue };
                    let candidates = by_digest.get(&digest).map(Vec::as_slice).unwrap_or_default();
                    let free =
                        |uid: &&Uid| **uid >= need.floor && !taken.contains(uid) && fits(need, &self.offers[uid]);
                    if let Some(offer) = candidates.iter().find(free) {
                        self.claim(found, taken, need.source_uid, *offer, Evidence::BytesEqual);
                    }
                }
            }
        }
    }

    /// What is left has other bytes on the target: our own messages claim by header and instant; new mail only where one
    /// is left on each side.
    fn claim_altered(
        &self,
        groups: &BTreeMap<Key, Group>,
        found: &mut BTreeMap<Uid, Match>,
        taken: &mut BTreeSet<Uid>,
    ) {
        for group in groups.iter().filter(|(key, _)| matches!(key, Key::Header(_))).map(|(_, group)| group) {
            let mut needs: Vec<&Need> = group
                .needs
                .iter()
                .map(|uid| &self.needs[uid])
                .filter(|need| !found.contains_key(&need.source_uid))
                .collect();
            needs.sort_by_key(|need| (need.claim, need.source_uid));
            for need in &needs {
                let fits = |uid: &&Uid| {
                    !taken.contains(uid) && **uid >= need.floor && same_instant(need.date, self.offers[uid].date)
                };
                let fitting: Vec<&Uid> = group.offers.iter().filter(fits).collect();
                let alone = needs.len() == 1 && fitting.len() == 1;
                if let Some(offer) = fitting.first()
                    && (need.claim != Claim::New || alone)
                {
                    self.claim(found, taken, need.source_uid, **offer, Evidence::BytesAltered);
                }
            }
        }
    }

    /// One message on each side with this header, and what the listings say agrees: no byte need be read. One that may or
    /// may not have been sent is always looked at closely.
    fn is_plain(&self, group: &Group) -> bool {
        let ([need], [offer]) = (&group.needs[..], &group.offers[..]) else { return false };
        let (need, offer) = (&self.needs[need], &self.offers[offer]);
        let sizes = need.size.is_some() && need.size == offer.size;
        need.claim == Claim::New && group.header && same_instant(need.date, offer.date) && (sizes || self.estimates)
    }

    /// Who may be whom: equal headers, or equal sizes where there is no header or where we sent it ourselves.
    fn groups(&self) -> BTreeMap<Key, Group> {
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        let offered: BTreeSet<Digest> = self.offers.values().filter_map(|offer| offer.header.some()).collect();
        for need in self.needs.values() {
            let header = need.header.some();
            if let Some(header) = header {
                let group = groups.entry(Key::Header(header)).or_default();
                group.header = true;
                group.needs.push(need.source_uid);
            }
            let by_size = match need.claim {
                Claim::New => header.is_none(),
                // The target may have altered the header of what it took.
                Claim::Acknowledged => header.is_none_or(|header| !offered.contains(&header)),
                Claim::Intended => true,
            };
            if by_size {
                groups.entry(Key::Size(need.size)).or_default().needs.push(need.source_uid);
            }
        }
        for offer in self.offers.values() {
            if let Some(header) = offer.header.some()
                && let Some(group) = groups.get_mut(&Key::Header(header))
            {
                group.offers.push(offer.target_uid);
            }
            if let Some(group) = groups.get_mut(&Key::Size(offer.size)) {
                group.offers.push(offer.target_uid);
            }
        }
        groups.retain(|_, group| !group.offers.is_empty());
        groups
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Header(Digest),
    Size(Option<u64>),
}

#[derive(Debug, Default)]
struct Group {
    header: bool,
    needs: Vec<Uid>,
    offers: Vec<Uid>,
}

/// Compares instants; a side without a date says nothing against it.
pub(super) fn same_instant(left: Option<InternalDate>, right: Option<InternalDate>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => left.unix() == right.unix(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::digest;
    use proptest::prelude::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    /// A message in a test: header and body; its size is that of both.
    type Message = (&'static str, &'static str);

    fn size(message: Message) -> u64 {
        (message.0.len() + message.1.len()) as u64
    }

    fn header(message: Message) -> Option<Digest> {
        (!message.0.is_empty()).then(|| digest(message.0.as_bytes()))
    }

    fn bytes(message: Message) -> Digest {
        digest(format!("{}\r\n\r\n{}", message.0, message.1).as_bytes())
    }

    fn entry<'a>(at: u32, message: Message, flags: &'a Flags) -> Entry<'a> {
        Entry { uid: uid(at), size: Some(size(message)), date: None, flags }
    }

    /// Plays the caller; gives `source:target:evidence` and how many bodies had to be read.
    fn run(needs: Vec<Need>, source: &[Message], target: &[Message]) -> (Vec<String>, usize) {
        let none = Flags::default();
        let offers = (1..).zip(target).map(|(at, message)| Offer::new(entry(at, *message, &none))).collect();
        let mut matching = Matching::new(needs, offers, false);
        let mut read = 0;
        for _ in 0..3 {
            let questions = matching.questions();
            read += questions.source_bytes.len() + questions.target_bytes.len();
            let at = |uid: &Uid| uid.value() as usize - 1;
            questions.source_headers.iter().for_each(|uid| matching.source_header(*uid, header(source[at(uid)])));
            questions.target_headers.iter().for_each(|uid| matching.target_header(*uid, header(target[at(uid)])));
            questions.source_bytes.iter().for_each(|uid| matching.source_bytes(*uid, bytes(source[at(uid)])));
            questions.target_bytes.iter().for_each(|uid| matching.target_bytes(*uid, bytes(target[at(uid)])));
            matching.asked(&questions);
        }
        assert!(matching.questions().is_empty());
        let found = matching.finish().found;
        (found.iter().map(|one| format!("{}:{}:{:?}", one.source_uid, one.target_uid, one.evidence)).collect(), read)
    }

    fn new(source: &[Message]) -> Vec<Need> {
        let none = Flags::default();
        (1..).zip(source).map(|(at, message)| Need::new(entry(at, *message, &none))).collect()
    }

    #[test]
    fn one_message_on_each_side_needs_no_bytes() {
        let source = [("h1", "a"), ("h2", "b")];
        assert_eq!(run(new(&source), &source, &[("h2", "b"), ("h9", "x")]), (vec!["2:1:MetadataEqual".into()], 0));
    }

    #[test]
    fn equal_headers_with_other_bodies_are_told_apart_by_bytes() {
        let source = [("h", "95%"), ("h", "96%")];
        let (found, _) = run(new(&source), &source, &[("h", "96%")]);
        assert_eq!(found, ["2:1:BytesEqual"]);
    }

    #[test]
    fn ten_identical_copies_claim_as_many_as_there_are() {
        let source = [("h", "a"); 10];
        let (found, _) = run(new(&source), &source, &[("h", "a"); 7]);
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn messages_without_header_are_matched_by_bytes() {
        let source = [("", "aa"), ("", "bb")];
        let (found, _) = run(new(&source), &source, &[("", "bb")]);
        assert_eq!(found, ["2:1:BytesEqual"]);
    }

    #[test]
    fn a_single_altered_copy_is_adopted_and_two_are_not_guessed_at() {
        let source = [("h", "abc")];
        assert_eq!(run(new(&source), &source, &[("h", "abX")]).0, ["1:1:MetadataEqual"]);
        assert_eq!(run(new(&source), &source, &[("h", "abcd")]).0, ["1:1:BytesAltered"]);
        let source = [("h", "abc"), ("h", "abd")];
        assert_eq!(run(new(&source), &source, &[("h", "x"), ("h", "y")]).0, Vec::<String>::new());
    }

    fn sent(at: u32, claim: Claim, message: Message, floor: u32) -> Need {
        Need::sent(&record(at, message), claim, bytes(message), uid(floor))
    }

    fn record(at: u32, message: Message) -> Record {
        Record {
            source_uid: uid(at),
            stage: crate::mail::Stage::Intended,
            target: None,
            floor: None,
            size: size(message),
            digest: Some(bytes(message)),
            header: header(message),
            date: None,
            flags: Flags::default(),
            risky: false,
            evidence: Evidence::None,
        }
    }

    #[test]
    fn twins_claim_their_own_copies() {
        let twin = ("h", "a");
        let date = |at| InternalDate::new(at, 0);
        let need =
            |at, flags: &str| Record { date: date(i64::from(at)), flags: Flags::parse(flags), ..record(at, twin) };
        let needs = [need(1, ""), need(2, ""), need(3, "\\Seen"), need(4, "")];
        let needs = needs.iter().map(|one| Need::sent(one, Claim::Intended, bytes(twin), uid(1))).collect();
        let flags = [Flags::default(), Flags::parse("\\Seen")];
        let offer =
            |at, seconds, flags| Offer::new(Entry { uid: uid(at), size: Some(size(twin)), date: date(seconds), flags });
        let mut matching = Matching::new(needs, vec![offer(1, 3, &flags[1]), offer(2, 2, &flags[0])], false);
        for at in [1, 2] {
            matching.target_header(uid(at), header(twin));
            matching.target_bytes(uid(at), bytes(twin));
        }
        let found: Vec<_> =
            matching.finish().found.iter().map(|one| (one.source_uid.value(), one.target_uid.value())).collect();
        assert_eq!(found, [(2, 2), (3, 1)]);
    }

    #[test]
    fn who_was_acknowledged_claims_before_who_was_intended() {
        let needs = vec![sent(1, Claim::Intended, ("h", "a"), 1), sent(2, Claim::Acknowledged, ("h", "a"), 1)];
        assert_eq!(run(needs, &[("h", "a"); 2], &[("h", "a")]).0, ["2:1:BytesEqual"]);
    }

    #[test]
    fn new_mail_never_takes_the_copy_of_an_acknowledged_twin() {
        // The target's user has marked the copy, as the source's new twin is marked.
        let marked = Flags::parse("\\Flagged");
        let new = Need::new(Entry { uid: uid(2), size: Some(size(("h", "a"))), date: None, flags: &marked });
        let needs = vec![sent(1, Claim::Acknowledged, ("h", "a"), 1), new];
        let offer = Offer::new(Entry { uid: uid(1), size: Some(size(("h", "a"))), date: None, flags: &marked });
        let mut matching = Matching::new(needs, vec![offer], false);
        matching.source_header(uid(2), header(("h", "a")));
        matching.target_header(uid(1), header(("h", "a")));
        matching.source_bytes(uid(2), bytes(("h", "a")));
        matching.target_bytes(uid(1), bytes(("h", "a")));
        let matched = matching.finish();
        assert_eq!(matched.found.iter().map(|one| one.source_uid).collect::<Vec<_>>(), [uid(1)]);
        assert_eq!(matched.absent, [(uid(2), Claim::New)]);
    }

    #[test]
    fn nothing_below_the_floor_is_ours() {
        let needs = vec![sent(1, Claim::Intended, ("h", "a"), 2)];
        assert_eq!(run(needs.clone(), &[("h", "a")], &[("h", "a")]).0, Vec::<String>::new());
        assert_eq!(run(needs, &[("h", "a")], &[("h", "a"), ("h", "a")]).0, ["1:2:BytesEqual"]);
    }

    #[test]
    fn what_we_sent_is_found_though_the_target_altered_it() {
        let needs = vec![sent(1, Claim::Intended, ("h", "a\0b"), 1)];
        assert_eq!(run(needs, &[("h", "a\0b")], &[("h", "aXb")]).0, ["1:1:BytesAltered"]);
    }

    proptest! {
        #[test]
        fn every_target_message_is_claimed_once_at_most_and_equal_bytes_always_pair(
            source in prop::collection::vec((prop::sample::select(vec!["", "h", "i"]), prop::sample::select(vec!["a", "b", "cc"])), 0..8),
            target in prop::collection::vec((prop::sample::select(vec!["", "h", "i"]), prop::sample::select(vec!["a", "b", "cc"])), 0..8),
            kinds in prop::collection::vec(0..3u8, 8),
        ) {
            let needs = source.iter().zip(1..).zip(&kinds).map(|((message, at), kind)| match kind {
                0 => sent(at, Claim::Acknowledged, *message, 1),
                1 => sent(at, Claim::Intended, *message, 1),
                _ => Need::new(entry(at, *message, &Flags::default())),
            }).collect();
            let (found, _) = run(needs, &source, &target);
            let taken: BTreeSet<_> = found.iter().map(|one| one.split(':').nth(1).unwrap().to_owned()).collect();
            prop_assert_eq!(taken.len(), found.len());
            // As many pairs as a multiset intersection of bytes demands, at the least.
            let mut left = target.clone();
            let common = source.iter().filter(|message| {
                left.iter().position(|other| other == *message).map(|at| left.remove(at)).is_some()
            }).count();
            prop_assert!(found.len() >= common, "{:?} {}", found, common);
        }
    }
}
