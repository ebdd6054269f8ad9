//! Messages whose header one message has on each side, and whose listings agree: paired before all others, from rows, since
//! that is what a mailbox of a million comes to that another tool has copied. [`Matching`] gets the rest, in memory.
//!
//! Invariant: what is paired here, [`Matching`] would pair, and nothing that it does with the rest depends on that.

use super::{Claim, Joining, Mark, Match, Matching, Need, Offer, same_instant};
use crate::mail::{Digest, Evidence, Listing, Uid};
use crate::rows::{Row, Sorting};
use std::collections::BTreeSet;
use std::iter::Peekable;

impl Row for Mark {
    const BYTES: usize = 16;

    fn pack(&self, to: &mut [u8]) {
        to.copy_from_slice(&self.0);
    }

    fn unpack(from: &[u8]) -> Option<Self> {
        from.try_into().ok().map(Self)
    }
}

/// Pairing of one folder. Both sides are told in any order.
#[derive(Debug)]
pub struct Singles<'a> {
    source: &'a Listing,
    target: &'a Listing,
    /// Source messages that are known from their records; ascending.
    needs: &'a [Need],
    /// The target tells sizes that are not those of the bytes.
    estimates: bool,
    /// New and displaced source messages, by header.
    here: Sorting<(Mark, Uid)>,
    /// Target messages, by header; 1: it is to be read before anything claims it.
    there: Sorting<(Mark, (Uid, u32))>,
    /// Source messages of which no header is known.
    headerless: Vec<Uid>,
    /// What others have that are matched in the same folder: nothing of these headers is paired here.
    others: Vec<Mark>,
    /// Whose bytes [`Matching`] may ask for because of another message's size.
    sizes: BTreeSet<Option<u64>>,
    /// Target messages to be looked at closely; true: each is to be read before anything claims it.
    rest: Vec<(Uid, Option<Mark>, bool)>,
}

/// What is found out about a message: its header digest, None where it has no key fields.
type Told = (Uid, Option<Digest>);

impl<'a> Singles<'a> {
    /// Begins. `needs`, ascending, and `offers` are known already.
    #[must_use]
    pub fn new(
        (source, target): (&'a Listing, &'a Listing),
        (needs, offers): (&'a [Need], &[Offer]),
        estimates: bool,
    ) -> Self {
        let mut others: Vec<Mark> = offers.iter().filter_map(|offer| offer.header.some()).collect();
        let (mut here, mut sizes) = (Sorting::default(), BTreeSet::new());
        for need in needs {
            match (need.claim, need.header.some()) {
                (Claim::New | Claim::Displaced, Some(header)) => here.push((header, need.source_uid)),
                (_, header) => {
                    others.extend(header);
                    sizes.insert(need.size);
                }
            }
        }
        others.sort_unstable();
        let (there, headerless, rest) = (Sorting::default(), Vec::new(), Vec::new());
        Self { source, target, needs, estimates, here, there, headerless, others, sizes, rest }
    }

    /// Tells what has come of the new source messages that were asked for. Both ascending.
    pub fn source(&mut self, asked: &[Uid], told: &[Told]) {
        for (source_uid, header) in answers(asked, told) {
            match header {
                Some(header) => self.here.push((header, source_uid)),
                None => {
                    self.headerless.push(source_uid);
                    self.sizes.insert(self.source.get(source_uid).and_then(|entry| entry.size));
                }
            }
        }
    }

    /// Tells what has come of the target messages that were asked for. Both ascending. `is_exact`: see [`Offer::exact`].
    pub fn target(&mut self, asked: &[Uid], told: &[Told], is_exact: impl Fn(Uid) -> bool) {
        for (uid, header) in answers(asked, told).filter(|(uid, _)| self.target.has(*uid)) {
            let exact = is_exact(uid);
            match header {
                Some(header) => self.there.push((header, (uid, u32::from(exact)))),
                None => self.rest.push((uid, None, exact)),
            }
        }
    }

    /// Ends: what is decided is told, and the matching of the rest, which has `offers` too, is given.
    #[must_use]
    pub fn finish(mut self, offers: Vec<Offer>, joining: &mut Joining) -> Matching {
        let (here, there) = (std::mem::take(&mut self.here).finish(), std::mem::take(&mut self.there).finish());
        let (mut here, mut there) = (here.iter().peekable(), there.iter().peekable());
        let (mut found, mut open) = (BTreeSet::new(), Vec::new());
        while let Some(header) = next(&mut here, &mut there) {
            let sources = with(&mut here, header);
            let copies = with(&mut there, header);
            if let (&[source_uid], &[(target_uid, 0)]) = (&sources[..], &copies[..])
                && !self.is_others(header)
                && self.takes(source_uid, target_uid)
            {
                let need = self.need(source_uid);
                let claim = need.map_or(Claim::New, Need::claim);
                found.extend(need.map(Need::source_uid));
                joining.found(Match { source_uid, target_uid, claim, evidence: Evidence::MetadataEqual });
                continue;
            }
            let nobodys = sources.is_empty() && !self.is_others(header);
            for (uid, exact) in &copies {
                match nobodys && !self.is_apart(*uid) {
                    true => joining.surplus(*uid),
                    false => self.rest.push((*uid, Some(header), *exact == 1)),
                }
            }
            let is_open = !copies.is_empty() || self.is_others(header);
            for uid in sources.into_iter().filter(|uid| self.need(*uid).is_none()) {
                match is_open {
                    true => open.push((uid, Some(header))),
                    false => joining.absent(uid, Claim::New),
                }
            }
        }
        let known = self.needs.iter().filter(|need| !found.contains(&need.source_uid)).cloned();
        let open = open.into_iter().chain(self.headerless.into_iter().map(|uid| (uid, None)));
        let open = open.filter_map(|(uid, header)| Some(Need::new(self.source.get(uid)?).headed(header)));
        let rest = self.rest.into_iter().filter_map(|(uid, header, exact)| {
            let offer = if exact { Offer::exact } else { Offer::new };
            Some(offer(self.target.get(uid)?).headed(header))
        });
        Matching::new(known.chain(open).collect(), offers.into_iter().chain(rest).collect(), self.estimates)
    }

    fn takes(&self, source_uid: Uid, target_uid: Uid) -> bool {
        let Some(copy) = self.target.get(target_uid).filter(|copy| !self.sizes.contains(&copy.size)) else {
            return false;
        };
        let known = self.need(source_uid).map(|need| (need.size, need.date));
        let listed = || self.source.get(source_uid).map(|entry| (entry.size, entry.date));
        let Some((size, date)) = known.or_else(listed) else { return false };
        same_instant(date, copy.date) && (size.is_some() && size == copy.size || self.estimates)
    }

    /// Its bytes may be asked for because of its size.
    fn is_apart(&self, target_uid: Uid) -> bool {
        self.target.get(target_uid).is_some_and(|copy| self.sizes.contains(&copy.size))
    }

    fn is_others(&self, header: Mark) -> bool {
        self.others.binary_search(&header).is_ok()
    }

    fn need(&self, source_uid: Uid) -> Option<&'a Need> {
        self.needs.binary_search_by_key(&source_uid, Need::source_uid).ok().map(|at| &self.needs[at])
    }
}

/// The lowest header that any of them has.
fn next<A, B>(
    here: &mut Peekable<impl Iterator<Item = (Mark, A)>>,
    there: &mut Peekable<impl Iterator<Item = (Mark, B)>>,
) -> Option<Mark> {
    let (here, there) = (here.peek().map(|row| row.0), there.peek().map(|row| row.0));
    here.into_iter().chain(there).min()
}

/// Takes all that have this header.
fn with<T>(rows: &mut Peekable<impl Iterator<Item = (Mark, T)>>, header: Mark) -> Vec<T> {
    std::iter::from_fn(|| rows.next_if(|row| row.0 == header)).map(|row| row.1).collect()
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
    use super::super::{Joined, Matched};
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

            let (mut singles, mut joining) = (Singles::new((&here, &there), (&needs, &left), estimates), Joining::default());
            fresh.chunks(3).for_each(|asked| singles.source(asked, &told(&source, asked)));
            offered.chunks(3).for_each(|asked| singles.target(asked, &told(&target, asked), is_exact));
            let mut matching = singles.finish(left, &mut joining);
            answer(&mut matching, &source, &target);
            joining.extend(matching.finish());
            let Joined { found, mut absent, new, surplus, doubles } = joining.finish();
            absent.extend(new.iter().map(|uid| (uid, Claim::New)));
            absent.sort_unstable();
            let (found, surplus) = (found.iter().collect(), surplus.iter().collect());
            alone.absent.sort_unstable();
            prop_assert_eq!(Matched { found, absent, surplus, doubles }, alone);
        }
    }
}
