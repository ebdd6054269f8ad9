//! Messages whose header one message has on each side, and whose listings agree: paired before all others, at a few bytes
//! each, since that is what a mailbox of a million comes to that another tool has copied, or that its target has numbered
//! anew. [`Matching`] gets the rest.
//!
//! Invariant: what is paired here, [`Matching`] would pair, and nothing that it does with the rest depends on that.

use super::{Claim, Mark, Match, Matched, Matching, Need, Offer, same_instant};
use crate::mail::{Digest, Entry, Evidence, Listing, Uid};
use std::collections::BTreeSet;

/// A source message that is new or displaced, found by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    header: Mark,
    source_uid: Uid,
    /// The first target message with this header.
    copy: Option<Uid>,
}

/// Pairing of one folder: first all of the source is told, then all of the target.
#[derive(Debug)]
pub struct Singles<'a> {
    source: &'a Listing,
    target: &'a Listing,
    /// Source messages that are known from their records; ascending.
    needs: &'a [Need],
    /// The target tells sizes that are not those of the bytes.
    estimates: bool,
    /// In order once the target's turn has come.
    rows: Vec<Row>,
    /// Source messages of which no header is known.
    headerless: Vec<Uid>,
    /// What others have that are matched in the same folder: nothing of these headers is paired here.
    others: Vec<Mark>,
    /// Whose bytes [`Matching`] may ask for because of another message's size.
    sizes: BTreeSet<Option<u64>>,
    /// Target messages to be looked at closely; true: each is to be read before anything claims it.
    rest: Vec<(Uid, Option<Mark>, bool)>,
    /// Target messages that are nobody's.
    surplus: Vec<Uid>,
}

/// What is found out about a message: its header digest, None where it has no key fields.
type Told = (Uid, Option<Digest>);

impl<'a> Singles<'a> {
    /// Begins. `needs`, ascending, and `offers` are known already; `fresh`: so many new messages may be told.
    #[must_use]
    pub fn new(
        (source, target): (&'a Listing, &'a Listing),
        (needs, offers): (&'a [Need], &[Offer]),
        fresh: usize,
        estimates: bool,
    ) -> Self {
        let mut others: Vec<Mark> = offers.iter().filter_map(|offer| offer.header.some()).collect();
        let (mut rows, mut sizes) = (Vec::with_capacity(fresh + needs.len()), BTreeSet::new());
        for need in needs {
            match (need.claim, need.header.some()) {
                (Claim::New | Claim::Displaced, Some(header)) => {
                    rows.push(Row { header, source_uid: need.source_uid, copy: None });
                }
                (_, header) => {
                    others.extend(header);
                    sizes.insert(need.size);
                }
            }
        }
        others.sort_unstable();
        let (headerless, rest, surplus) = (Vec::new(), Vec::new(), Vec::new());
        Self { source, target, needs, estimates, rows, headerless, others, sizes, rest, surplus }
    }

    /// Tells what has come of the new source messages that were asked for. Both ascending.
    pub fn source(&mut self, asked: &[Uid], told: &[Told]) {
        for (source_uid, header) in answers(asked, told) {
            match header {
                Some(header) => self.rows.push(Row { header, source_uid, copy: None }),
                None => {
                    self.headerless.push(source_uid);
                    self.sizes.insert(self.source.get(source_uid).and_then(|entry| entry.size));
                }
            }
        }
    }

    /// Ends the source's turn.
    pub fn turn(&mut self) {
        self.rows.sort_unstable();
    }

    /// Tells what has come of the target messages that were asked for. Both ascending. `is_exact`: see [`Offer::exact`].
    pub fn target(&mut self, asked: &[Uid], told: &[Told], is_exact: impl Fn(Uid) -> bool) {
        for (uid, header) in answers(asked, told) {
            let exact = is_exact(uid);
            let Some(copy) = self.target.get(uid) else { continue };
            let apart = self.sizes.contains(&copy.size);
            match header.map(|header| self.seek(header)) {
                Some(Sought::Nobody) if !apart => self.surplus.push(uid),
                Some(Sought::One(at)) if !apart && !exact && self.takes(at, copy) => self.rows[at].copy = Some(uid),
                _ => self.rest.push((uid, header, exact)),
            }
        }
    }

    fn takes(&self, at: usize, copy: Entry<'_>) -> bool {
        let Row { source_uid, copy: None, .. } = self.rows[at] else { return false };
        let known = self.need(source_uid).map(|need| (need.size, need.date));
        let listed = || self.source.get(source_uid).map(|entry| (entry.size, entry.date));
        let Some((size, date)) = known.or_else(listed) else { return false };
        same_instant(date, copy.date) && (size.is_some() && size == copy.size || self.estimates)
    }

    fn need(&self, source_uid: Uid) -> Option<&'a Need> {
        self.needs.binary_search_by_key(&source_uid, Need::source_uid).ok().map(|at| &self.needs[at])
    }

    fn seek(&self, header: Mark) -> Sought {
        if self.others.binary_search(&header).is_ok() {
            return Sought::Several;
        }
        let at = self.rows.partition_point(|row| row.header < header);
        let has = |at: usize| self.rows.get(at).is_some_and(|row| row.header == header);
        match (has(at), has(at + 1)) {
            (true, false) => Sought::One(at),
            (true, true) => Sought::Several,
            (false, _) => Sought::Nobody,
        }
    }

    /// Ends: what is decided, and the matching of the rest, which has `offers` too.
    #[must_use]
    pub fn finish(mut self, offers: Vec<Offer>) -> (Matched, Matching) {
        self.part_twins();
        let mut headers: Vec<Mark> = self.rest.iter().filter_map(|(_, header, _)| *header).collect();
        headers.extend_from_slice(&self.others);
        headers.sort_unstable();
        let mut decided = Matched { surplus: std::mem::take(&mut self.surplus), ..Matched::default() };
        decided.found.reserve_exact(self.rows.iter().filter(|row| row.copy.is_some()).count());
        let mut open = Vec::new();
        for Row { header, source_uid, copy } in std::mem::take(&mut self.rows) {
            let need = self.need(source_uid);
            if let Some(target_uid) = copy {
                let (claim, evidence) = (need.map_or(Claim::New, Need::claim), Evidence::MetadataEqual);
                decided.found.push(Match { source_uid, target_uid, claim, evidence });
            } else if need.is_none() && headers.binary_search(&header).is_ok() {
                open.push((source_uid, Some(header)));
            } else if need.is_none() {
                decided.absent.push((source_uid, Claim::New));
            }
        }
        decided.found.sort_unstable_by_key(|one| one.source_uid);
        let is_found = |uid: &Uid| decided.found.binary_search_by_key(uid, |one| one.source_uid).is_ok();
        let known = self.needs.iter().filter(|need| !is_found(&need.source_uid)).cloned();
        let open = open.into_iter().chain(self.headerless.into_iter().map(|uid| (uid, None)));
        let open = open.filter_map(|(uid, header)| Some(Need::new(self.source.get(uid)?).headed(header)));
        let rest = self.rest.into_iter().filter_map(|(uid, header, exact)| {
            let offer = if exact { Offer::exact } else { Offer::new };
            Some(offer(self.target.get(uid)?).headed(header))
        });
        let (needs, offers) = (known.chain(open).collect(), offers.into_iter().chain(rest).collect());
        let matching = Matching::new(needs, offers, self.estimates);
        (decided, matching)
    }

    /// A header that a second message has on the target pairs nobody here.
    fn part_twins(&mut self) {
        for at in 0..self.rest.len() {
            if let Some(header) = self.rest[at].1
                && let Sought::One(row) = self.seek(header)
                && let Some(copy) = self.rows[row].copy.take()
            {
                self.rest.push((copy, Some(header), false));
            }
        }
    }
}

/// Who has a header at the source.
enum Sought {
    Nobody,
    /// At this place.
    One(usize),
    /// Several, or one that is not paired here.
    Several,
}

/// Puts to each UID that was asked for what was told of it.
fn answers<'t>(asked: &'t [Uid], told: &'t [Told]) -> impl Iterator<Item = (Uid, Option<Mark>)> + use<'t> {
    asked.iter().map(|uid| {
        let header = told.binary_search_by_key(uid, |told| told.0).ok().and_then(|at| told[at].1);
        (*uid, header.map(Mark::of))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Flags, InternalDate, Record, Stage, digest};
    use proptest::prelude::*;

    /// Header, body, date, whether it is known or exact.
    type Message = (Option<u8>, u8, Option<i64>, u8);

    fn uid(at: usize) -> Uid {
        Uid::new(u32::try_from(at).unwrap() + 1).unwrap()
    }

    fn header(message: Message) -> Option<Digest> {
        message.0.map(|header| digest(&[header]))
    }

    fn bytes(message: Message) -> Digest {
        digest(format!("{:?} {}", message.0, message.1).as_bytes())
    }

    /// Bodies that are alike have one size.
    fn likeness(message: Message) -> Digest {
        digest(format!("{:?} like {}", message.0, message.1 / 2).as_bytes())
    }

    fn listing(messages: &[Message]) -> Listing {
        let mut listing = Listing::default();
        for (at, (_, body, date, _)) in messages.iter().enumerate() {
            let size = (*body < 6).then_some(u64::from(body / 2));
            let date = date.and_then(|date| InternalDate::new(date, 0));
            listing.push(uid(at), size, date, Flags::parse(["", "\\Seen"][at % 2]));
        }
        listing
    }

    fn record(at: usize, message: Message) -> Record {
        Record {
            source_uid: uid(at),
            stage: Stage::Intended,
            target: None,
            floor: None,
            size: u64::from(message.1 / 2),
            digest: Some(bytes(message)),
            header: header(message),
            date: message.2.and_then(|date| InternalDate::new(date, 0)),
            flags: Flags::default(),
            risky: false,
            evidence: Evidence::None,
        }
    }

    fn answer(matching: &mut Matching, source: &[Message], target: &[Message]) {
        let at = |uid: &Uid| uid.value() as usize - 1;
        loop {
            let questions = matching.questions();
            if questions.is_empty() {
                return;
            }
            // Those of body 7 do not come.
            let answered = |message: &Message| message.1 != 7;
            for uid in &questions.source_headers {
                Some(source[at(uid)])
                    .filter(answered)
                    .into_iter()
                    .for_each(|one| matching.source_header(*uid, header(one)));
            }
            for uid in &questions.target_headers {
                Some(target[at(uid)])
                    .filter(answered)
                    .into_iter()
                    .for_each(|one| matching.target_header(*uid, header(one)));
            }
            for uid in &questions.source_bytes {
                let come = Some(source[at(uid)]).filter(answered).into_iter();
                come.for_each(|one| matching.source_bytes(*uid, bytes(one), likeness(one)));
            }
            for uid in &questions.target_bytes {
                let come = Some(target[at(uid)]).filter(answered).into_iter();
                come.for_each(|one| matching.target_bytes(*uid, bytes(one), likeness(one)));
            }
            matching.asked(&questions);
        }
    }

    fn told(messages: &[Message], uids: &[Uid]) -> Vec<Told> {
        let come = uids.iter().map(|uid| (*uid, messages[uid.value() as usize - 1])).filter(|(_, one)| one.1 != 7);
        come.map(|(uid, one)| (uid, header(one))).collect()
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let header = prop_oneof![4 => (0..12u8).prop_map(Some), 1 => Just(None)];
        let date = prop_oneof![1 => Just(None), 6 => (0..2i64).prop_map(Some)];
        prop::collection::vec((header, 0..8u8, date, 0..8u8), 0..14)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_comes_to_what_matching_alone_comes_to(
            source in messages(),
            target in messages(),
            (estimates, plain) in (any::<bool>(), any::<bool>()),
        ) {
            let (here, there) = (listing(&source), listing(&target));
            let kind = |message: Message| if plain { 7 } else { message.3 };
            let sent = source.iter().enumerate().filter_map(|(at, message)| {
                let claim = match kind(*message) {
                    0 => Claim::Acknowledged,
                    1 => Claim::Intended,
                    2 => Claim::Displaced,
                    _ => return None,
                };
                Some(Need::sent(&record(at, *message), claim, bytes(*message), uid(at / 4)))
            });
            let needs: Vec<Need> = sent.collect();
            let fresh: Vec<Uid> = (0..source.len()).filter(|at| kind(source[*at]) > 2).map(uid).collect();
            let known = target.iter().enumerate().filter(|(_, one)| kind(**one) == 0);
            let left: Vec<Offer> = known.filter_map(|(at, one)| Offer::recalled(&record(at, *one), uid(at))).collect();
            let offered: Vec<Uid> = (0..target.len()).filter(|at| kind(target[*at]) > 0).map(uid).collect();
            let is_exact = |uid: Uid| kind(target[uid.value() as usize - 1]) == 1;

            let all = needs.iter().cloned().chain(fresh.iter().map(|uid| Need::new(here.get(*uid).unwrap())));
            let offers = offered.iter().map(|uid| match is_exact(*uid) {
                true => Offer::exact(there.get(*uid).unwrap()),
                false => Offer::new(there.get(*uid).unwrap()),
            });
            let mut alone = Matching::new(all.collect(), offers.chain(left.iter().cloned()).collect(), estimates);
            if fresh.len() + needs.len() == 0 || offered.len() + left.len() == 0 {
                return Ok(());
            }
            answer(&mut alone, &source, &target);
            let mut alone = alone.finish();

            let mut singles = Singles::new((&here, &there), (&needs, &left), fresh.len(), estimates);
            fresh.chunks(3).for_each(|asked| singles.source(asked, &told(&source, asked)));
            singles.turn();
            offered.chunks(3).for_each(|asked| singles.target(asked, &told(&target, asked), is_exact));
            let (decided, mut matching) = singles.finish(left);
            answer(&mut matching, &source, &target);
            let mut matched = matching.finish();
            matched.extend(decided);

            alone.absent.sort_unstable_by_key(|absent| absent.0);
            matched.absent.sort_unstable_by_key(|absent| absent.0);
            prop_assert_eq!(matched, alone);
        }
    }
}
