//! Which target message is which source message, by content, where no UID says so.
//!
//! On multisets: a target message is claimed once at most. Equal bytes go before everything else; who was acknowledged
//! before the crash claims first, then who was intended and who stood under other numbers, each its own copy before a
//! twin's, then new mail. Bytes that differ as servers and tools are known to alter them ([`crate::mail::Likeness`]) go
//! next. A header alone pairs new mail only where as many messages have it on each side, of the same instants; two messages
//! of equal headers and other bodies stay two.
//!
//! Called in rounds: [`Matching::questions`] names what must be known, the caller finds it out and tells it, until there
//! are no questions.

mod joined;
mod singles;

pub use joined::{Joined, Joining};
pub use singles::Singles;

use crate::mail::{Digest, Entry, Evidence, Flags, InternalDate, Record, Uid};
use std::collections::{BTreeMap, BTreeSet, HashSet};
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

/// The first half of a header's digest: as good as all of it where millions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark([u8; 16]);

impl Mark {
    fn of(digest: Digest) -> Self {
        let mut mark = [0; 16];
        mark.copy_from_slice(&digest.0[..16]);
        Self(mark)
    }
}

/// Who claims first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// The target said OK and not where.
    Acknowledged,
    /// It was sent and no answer is known.
    Intended,
    /// It was there, in a place that is no more.
    Displaced,
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
    header: Known<Option<Mark>>,
    digest: Known<Digest>,
    /// Known where the bytes were read here.
    likeness: Option<Digest>,
    floor: Uid,
}

impl Need {
    /// Gives its number at the source.
    #[must_use]
    pub fn source_uid(&self) -> Uid {
        self.source_uid
    }

    /// Gives how it claims.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim
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
            header: Known::Yes(record.header.map(Mark::of)),
            digest: Known::Yes(digest),
            likeness: None,
            floor,
        }
    }

    /// Says whether a target message may be its beginning, cut off: a server dates even that as it was told.
    #[must_use]
    pub fn may_be_cut_to(&self, copy: Entry<'_>) -> bool {
        let shorter = self.size.zip(copy.size).is_some_and(|(sent, there)| there < sent);
        copy.uid >= self.floor && shorter && same_instant(self.date, copy.date)
    }

    /// Gives its size in bytes, where it is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
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
            likeness: None,
            floor: Uid::FIRST,
        }
    }

    fn headed(self, header: Option<Mark>) -> Self {
        Self { header: Known::Yes(header), ..self }
    }
}

/// A target message that no record claims.
#[derive(Debug, Clone)]
pub struct Offer {
    target_uid: Uid,
    size: Option<u64>,
    date: Option<InternalDate>,
    flags: u64,
    header: Known<Option<Mark>>,
    digest: Known<Digest>,
    likeness: Option<Digest>,
    /// Its bytes are read before anything claims it.
    exact: bool,
}

/// Stands for a set of flags, of what can be sent.
fn mark(flags: &Flags) -> u64 {
    let mut hasher = DefaultHasher::new();
    flags.to_string().to_ascii_lowercase().hash(&mut hasher);
    hasher.finish()
}

impl Offer {
    /// Gives where it is.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.target_uid
    }

    /// Gives its size in bytes, where it is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Gives its date, where it is known.
    #[must_use]
    pub fn date(&self) -> Option<InternalDate> {
        self.date
    }

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
            likeness: None,
            exact: false,
        }
    }

    fn headed(self, header: Option<Mark>) -> Self {
        Self { header: Known::Yes(header), ..self }
    }

    /// As [`Self::new`], of a copy that another account has put there: another message is easily alike, and is not it.
    #[must_use]
    pub fn exact(entry: Entry<'_>) -> Self {
        Self { exact: true, ..Self::new(entry) }
    }

    /// A message known from its record, which need not be asked about; None where its bytes were never known.
    #[must_use]
    pub fn recalled(record: &Record, target_uid: Uid) -> Option<Self> {
        Some(Self {
            target_uid,
            size: Some(record.size),
            date: record.date,
            flags: mark(&record.flags),
            header: Known::Yes(record.header.map(Mark::of)),
            digest: Known::Yes(record.digest?),
            likeness: None,
            exact: false,
        })
    }
}

/// Which source messages may be among those that are offered, by their listings alone: a single welcome mail on the target
/// must not cost the headers of a whole mailbox.
pub struct Likely {
    sizes: HashSet<Option<u64>>,
    instants: HashSet<i64>,
    all: bool,
}

impl Likely {
    /// Looks at what is offered to `fresh` messages.
    #[must_use]
    pub fn among(offers: &[Offer], fresh: usize) -> Self {
        Self::of(offers.iter().map(|offer| (offer.size, offer.date)), offers.len(), fresh)
    }

    /// The same, of `count` sizes and dates.
    #[must_use]
    pub fn of(offered: impl Iterator<Item = (Option<u64>, Option<InternalDate>)>, count: usize, fresh: usize) -> Self {
        /// Where the target holds at least this part of what is looked for, another tool has been there: it may have
        /// given other dates and other bytes.
        const FILLED: usize = 10;
        let all = count > 0 && count >= fresh / FILLED;
        let mut likely = Self { sizes: HashSet::new(), instants: HashSet::new(), all };
        for (size, date) in offered.take_while(|_| !all) {
            likely.sizes.insert(size);
            likely.instants.extend(date.map(InternalDate::unix));
        }
        likely
    }

    /// Says whether this one may be.
    #[must_use]
    pub fn has(&self, entry: &Entry<'_>) -> bool {
        /// Bytes that mbsync's mark adds, and imapsync's Message-ID with a UID of one to ten digits.
        const ADDED: [u64; 11] = [22, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35];
        let grown = |size: u64| ADDED.iter().any(|added| self.sizes.contains(&Some(size + added)));
        self.all
            || self.sizes.contains(&entry.size)
            || entry.date.is_none_or(|date| self.instants.contains(&date.unix()))
            || entry.size.is_some_and(grown)
    }
}

/// A source message found on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Of these, what has the bytes of a message that was sent and found elsewhere: source UID and target UID.
    pub doubles: Vec<(Uid, Uid)>,
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
            need.header = Known::Yes(header.map(Mark::of));
        }
    }

    /// Tells the header digest of a target message; None: it has no key fields.
    pub fn target_header(&mut self, uid: Uid, header: Option<Digest>) {
        if let Some(offer) = self.offers.get_mut(&uid) {
            offer.header = Known::Yes(header.map(Mark::of));
        }
    }

    /// Tells the digest and the likeness of a source message.
    pub fn source_bytes(&mut self, uid: Uid, digest: Digest, likeness: Digest) {
        if let Some(need) = self.needs.get_mut(&uid) {
            (need.digest, need.likeness) = (Known::Yes(digest), Some(likeness));
        }
    }

    /// Tells the digest and the likeness of a target message.
    pub fn target_bytes(&mut self, uid: Uid, digest: Digest, likeness: Digest) {
        if let Some(offer) = self.offers.get_mut(&uid) {
            (offer.digest, offer.likeness) = (Known::Yes(digest), Some(likeness));
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
        let digest = |need: &Need| known(need.digest);
        self.claim_equal(&mut found, &mut taken, (&digest, &|offer| known(offer.digest)), Evidence::BytesEqual);
        let likeness = |need: &Need| need.likeness;
        self.claim_equal(&mut found, &mut taken, (&likeness, &|offer| offer.likeness), Evidence::BytesAltered);
        self.claim_altered(&groups, &mut found, &mut taken);
        for need in self.needs.values() {
            match found.get(&need.source_uid) {
                Some(one) => matched.found.push(*one),
                None => matched.absent.push((need.source_uid, need.claim)),
            }
        }
        matched.surplus = self.offers.keys().filter(|uid| !taken.contains(uid)).copied().collect();
        matched.doubles = self.doubles(&matched.surplus, &found);
        matched
    }

    /// Gives those of `surplus` that are another copy of a message that was sent and was found elsewhere, each with its source
    /// UID.
    fn doubles(&self, surplus: &[Uid], found: &BTreeMap<Uid, Match>) -> Vec<(Uid, Uid)> {
        let mut sent: BTreeMap<Digest, Vec<&Need>> = BTreeMap::new();
        for need in self.needs.values() {
            let is_sent = matches!(need.claim, Claim::Acknowledged | Claim::Intended);
            if let Some(digest) = known(need.digest).filter(|_| is_sent && found.contains_key(&need.source_uid)) {
                sent.entry(digest).or_default().push(need);
            }
        }
        let double = |offer: &Uid| {
            let needs = sent.get(&known(self.offers[offer].digest)?)?;
            let need = needs.iter().find(|need| *offer >= need.floor)?;
            Some((need.source_uid, *offer))
        };
        surplus.iter().filter_map(double).collect()
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
    fn claim_equal(
        &self,
        found: &mut BTreeMap<Uid, Match>,
        taken: &mut BTreeSet<Uid>,
        (of_need, of_offer): Compared<'_>,
        evidence: Evidence,
    ) {
        let mut by_digest: BTreeMap<Digest, Vec<Uid>> = BTreeMap::new();
        for offer in self.offers.values() {
            if let Some(digest) = of_offer(offer) {
                by_digest.entry(digest).or_default().push(offer.target_uid);
            }
        }
        // Twins differ in date and flags: each claims its own copy before anybody takes what is left.
        let own = |need: &Need, offer: &Offer| same_instant(need.date, offer.date) && need.flags == offer.flags;
        let dated = |need: &Need, offer: &Offer| same_instant(need.date, offer.date);
        type Fits<'f> = &'f dyn Fn(&Need, &Offer) -> bool;
        let rounds: [Fits<'_>; 3] = [&own, &dated, &|_, _| true];
        // Who was acknowledged is there for certain: had new mail first choice, its twin's copy would be gone for it.
        // Who was intended may not be there: before it takes a twin's copy, a displaced twin has its own.
        for claims in [&[Claim::Acknowledged][..], &[Claim::Displaced, Claim::Intended], &[Claim::New]] {
            for (fits, claim) in rounds.iter().flat_map(|fits| claims.iter().map(move |claim| (fits, *claim))) {
                for need in self.needs.values().filter(|need| need.claim == claim) {
                    let Some(digest) = of_need(need).filter(|_| !found.contains_key(&need.source_uid)) else {
                        continue;
                    };
                    let candidates = by_digest.get(&digest).map(Vec::as_slice).unwrap_or_default();
                    let free =
                        |uid: &&Uid| **uid >= need.floor && !taken.contains(uid) && fits(need, &self.offers[uid]);
                    if let Some(offer) = candidates.iter().find(free) {
                        self.claim(found, taken, need.source_uid, *offer, evidence);
                    }
                }
            }
        }
    }

    /// What is left has other bytes on the target: our own messages claim by header and instant; new mail only where as
    /// many are left on each side.
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
            let (new, ours): (Vec<&Need>, Vec<&Need>) = needs.into_iter().partition(|need| need.claim == Claim::New);
            for need in ours {
                let fits = |uid: &&Uid| {
                    let offer = &self.offers[uid];
                    let free = !taken.contains(uid) && !offer.exact;
                    free && **uid >= need.floor && same_instant(need.date, offer.date)
                };
                if let Some(offer) = group.offers.iter().find(fits) {
                    self.claim(found, taken, need.source_uid, *offer, Evidence::BytesAltered);
                }
            }
            let left: Vec<&Offer> = group
                .offers
                .iter()
                .map(|uid| &self.offers[uid])
                .filter(|offer| !offer.exact && !taken.contains(&offer.target_uid))
                .collect();
            let unique = group.needs.len() == 1 && group.offers.len() == 1;
            for (need, offer) in left_over(&new, &left, unique) {
                self.claim(found, taken, need.source_uid, offer.target_uid, Evidence::BytesAltered);
            }
        }
    }

    /// One message on each side with this header, and what the listings say agrees: no byte need be read. One that may or
    /// may not have been sent is always looked at closely.
    fn is_plain(&self, group: &Group) -> bool {
        let ([need], [offer]) = (&group.needs[..], &group.offers[..]) else { return false };
        let (need, offer) = (&self.needs[need], &self.offers[offer]);
        let sizes = need.size.is_some() && need.size == offer.size;
        matches!(need.claim, Claim::New | Claim::Displaced)
            && group.header
            && same_instant(need.date, offer.date)
            && (sizes || self.estimates)
            && !offer.exact
            // What is known of the copy's bytes is worth reading the source's.
            && matches!(offer.digest, Known::No | Known::Never)
    }

    /// Who may be whom: equal headers, or none; or equal sizes where there is no header or where we sent it ourselves.
    fn groups(&self) -> BTreeMap<Key, Group> {
        let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
        let offered: BTreeSet<Mark> = self.offers.values().filter_map(|offer| offer.header.some()).collect();
        for need in self.needs.values() {
            let header = need.header.some();
            if let Some(header) = header {
                let group = groups.entry(Key::Header(header)).or_default();
                group.header = true;
                group.needs.push(need.source_uid);
            }
            let by_size = match need.claim {
                Claim::New | Claim::Displaced => header.is_none(),
                // The target may have altered the header of what it took.
                Claim::Acknowledged => header.is_none_or(|header| !offered.contains(&header)),
                Claim::Intended => true,
            };
            if by_size {
                groups.entry(Key::Size(need.size)).or_default().needs.push(need.source_uid);
            }
            if header.is_none() {
                groups.entry(Key::Headerless).or_default().needs.push(need.source_uid);
            }
        }
        for offer in self.offers.values() {
            let key = offer.header.some().map_or(Key::Headerless, Key::Header);
            if let Some(group) = groups.get_mut(&key) {
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
    Header(Mark),
    Headerless,
    Size(Option<u64>),
}

/// What of both is compared.
type Compared<'c> = (&'c dyn Fn(&Need) -> Option<Digest>, &'c dyn Fn(&Offer) -> Option<Digest>);

fn known(digest: Known<Digest>) -> Option<Digest> {
    match digest {
        Known::Yes(digest) => Some(digest),
        Known::No | Known::Never => None,
    }
}

/// Pairs messages of equal headers that are left over, where each has one of its own instant and none remains on either
/// side: then the target's count is the source's. `unique`: there never were more; then a date may be unknown.
fn left_over<'n>(needs: &[&'n Need], offers: &[&'n Offer], unique: bool) -> Vec<(&'n Need, &'n Offer)> {
    if let [need] = needs {
        let dated = |offer: &Offer| need.date.is_some() && offer.date.is_some();
        let mut fitting = offers.iter().filter(|offer| same_instant(need.date, offer.date) && (unique || dated(offer)));
        return match (fitting.next(), fitting.next()) {
            (Some(offer), None) => vec![(*need, *offer)],
            _ => Vec::new(),
        };
    }
    let instant = |date: Option<InternalDate>| date.map(InternalDate::unix);
    let (mut needs, mut offers) = (needs.to_vec(), offers.to_vec());
    needs.sort_by_key(|need| (instant(need.date), need.size, need.source_uid));
    offers.sort_by_key(|offer| (instant(offer.date), offer.size, offer.target_uid));
    let alike = needs.len() == offers.len()
        && needs
            .iter()
            .zip(&offers)
            .all(|(need, offer)| need.date.is_some() && instant(need.date) == instant(offer.date));
    if alike { needs.into_iter().zip(offers).collect() } else { Vec::new() }
}

#[derive(Debug, Default)]
struct Group {
    header: bool,
    needs: Vec<Uid>,
    offers: Vec<Uid>,
}

/// Compares instants; a side without a date says nothing against it.
#[must_use]
pub fn same_instant(left: Option<InternalDate>, right: Option<InternalDate>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => left.unix() == right.unix(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
