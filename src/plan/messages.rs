//! What is to be done in one folder: source listing, target listing and records, joined in UID order.

use super::matching::{Claim, Need, Offer};
use crate::mail::{
    Entry, Evidence, Fate, Flags, InternalDate, Listing, Record, Stage, SystemFlag, Uid, UidValidity, Uids,
};
use crate::rows::{Rows, Sorting};
use std::collections::BTreeMap;

/// What joining came to. Every source message is in exactly one of `settled`, `removed`, `needs`, `fresh`; where only failed
/// messages are tried again, others may be in none.
#[derive(Debug, Default)]
pub struct FolderPlan {
    /// Nothing to copy: how many by fate.
    pub settled: BTreeMap<Fate, u64>,
    /// Were on the target at the last look and are not now: their user took them away. Those of earlier looks are settled.
    pub removed: Vec<Uid>,
    /// Were on the target, in a place that is not known or no more: to be looked for before anything else. Ascending by
    /// source UID.
    pub needs: Vec<Need>,
    /// No record stands for these: to be matched where the target holds unknown mail, else to be copied.
    pub fresh: Uids,
    /// Flags to change on the target.
    pub flags: FlagChanges,
    /// Target messages that records of the current epochs stand for.
    pub paired: Uids,
    /// Counted as removed or missing, and there again: source UID and target UID.
    pub returned: Vec<(Uid, Uid)>,
    /// Copies of messages that have left the source, each with the UID it had there. They stay; where the same message comes
    /// back under another UID, this is its copy.
    pub left: Vec<(Uid, Offer)>,
    /// Of the fresh and the needs: a record says that they landed, in a place that is no more.
    pub stale: Vec<Uid>,
}

impl FolderPlan {
    /// Gives how many copies have gone from the target since the last look and how many there were, where so many are gone
    /// that a person has to say what that means: more than a tenth, and more than a few.
    #[must_use]
    pub fn many_removed(&self) -> Option<(u64, u64)> {
        let here = |fate: &Fate| self.settled.get(fate).copied().unwrap_or(0);
        let gone = self.removed.len() as u64;
        let were = here(&Fate::Copied) + here(&Fate::Adopted) + gone;
        is_many(gone, were).then_some((gone, were))
    }

    /// Lets go of what is done when the folder has been reconciled.
    pub fn forget_messages(&mut self) {
        (self.needs, self.fresh, self.paired, self.left) = <_>::default();
    }

    /// Gives what is looked for under this source UID.
    #[must_use]
    pub fn need(&self, source_uid: Uid) -> Option<&Need> {
        self.needs.binary_search_by_key(&source_uid, Need::source_uid).ok().map(|at| &self.needs[at])
    }
}

/// Says whether `gone` of `were` copies is more than a user's tidying up.
#[must_use]
pub fn is_many(gone: u64, were: u64) -> bool {
    /// So many may go at any time.
    const FEW: u64 = 10;
    gone > FEW && gone.saturating_mul(10) > were
}

/// Changes of flags, grouped so that one command serves many messages.
#[derive(Debug, Default)]
pub struct FlagChanges {
    /// To add, with the target UIDs.
    pub add: BTreeMap<Flags, Vec<Uid>>,
    /// To remove, with the target UIDs.
    pub remove: BTreeMap<Flags, Vec<Uid>>,
    /// Source UID, target UID, and which of the `bases`, of each source message whose flags at the source changed.
    rebase: Rows<(Uid, (Uid, u32))>,
    /// Each once: a million messages have a few.
    bases: Vec<Flags>,
    /// Where a base stands in `bases`.
    index: BTreeMap<Flags, u32>,
}

/// A message whose flags at the source are no longer those both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebase<'a> {
    /// At the source.
    pub source_uid: Uid,
    /// Its copy.
    pub target_uid: Uid,
    /// What the source has now: the base from then on.
    pub flags: &'a Flags,
}

/// What three-way merging asks of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merge {
    /// To add.
    pub add: Flags,
    /// To remove.
    pub remove: Flags,
}

/// Merges flag by flag: what the source changed since `base` is done on the target, what the target's user changed stays.
#[must_use]
pub fn merge_flags(base: &Flags, source: &Flags, target: &Flags) -> Merge {
    Merge { add: source.without(base).without(target), remove: base.without(source).common(target) }
}

/// Gives the flags of a source message that are carried over: `\\Deleted` only where the job asks for it.
#[must_use]
pub fn carried(flags: &Flags, deleted: bool) -> Flags {
    if deleted { flags.clone() } else { flags.clone().without_system(SystemFlag::Deleted) }
}

impl FlagChanges {
    /// Says whether the target has to change at all.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// Gives the messages whose flags at the source changed, with their new bases.
    pub fn rebases(&self) -> impl ExactSizeIterator<Item = Rebase<'_>> {
        self.rebase.iter().map(|(source_uid, (target_uid, base))| {
            let flags = &self.bases[base as usize];
            Rebase { source_uid, target_uid, flags }
        })
    }

    /// Puts them into the order of their source UIDs.
    pub fn sort(&mut self) {
        self.rebase = Sorting::from_iter(self.rebase.iter()).finish();
    }

    /// Gives the copies of messages whose flags at the source changed.
    #[must_use]
    pub fn targets(&self) -> Uids {
        Sorting::from_iter(self.rebases().map(|rebase| rebase.target_uid)).into()
    }

    /// Notes what one message needs, and its new base; nothing where the source has not changed it.
    pub fn note(&mut self, source_uid: Uid, target_uid: Uid, base: &Flags, source: &Flags, target: &Flags) {
        if source.same(base) {
            return;
        }
        self.ask(target_uid, merge_flags(base, source, target));
        let base = self.base(source);
        self.rebase.push((source_uid, (target_uid, base)));
    }

    fn base(&mut self, flags: &Flags) -> u32 {
        if let Some(known) = self.index.get(flags) {
            return *known;
        }
        // There are no more bases than messages, and no more messages than UIDs.
        let base = self.bases.len() as u32;
        self.bases.push(flags.clone());
        self.index.insert(flags.clone(), base);
        base
    }

    /// Asks for what a merge came to, and moves no base.
    pub fn ask(&mut self, target_uid: Uid, merge: Merge) {
        if !merge.add.is_empty() {
            self.add.entry(merge.add).or_default().push(target_uid);
        }
        if !merge.remove.is_empty() {
            self.remove.entry(merge.remove).or_default().push(target_uid);
        }
    }

    /// Takes over what another one notes.
    pub fn extend(&mut self, other: Self) {
        other.add.into_iter().for_each(|(flags, uids)| self.add.entry(flags).or_default().extend(uids));
        other.remove.into_iter().for_each(|(flags, uids)| self.remove.entry(flags).or_default().extend(uids));
        for (source_uid, (target_uid, base)) in other.rebase.iter() {
            let base = self.base(&other.bases[base as usize]);
            self.rebase.push((source_uid, (target_uid, base)));
        }
    }
}

/// Says whether these are the dates of two messages. A date never changes (RFC 9051, 2.3.3); of some servers it moves with
/// the zone they think they are in.
#[must_use]
pub fn is_another(known: Option<InternalDate>, now: Option<InternalDate>) -> bool {
    const QUARTER: u64 = 15 * 60;
    let (Some(known), Some(now)) = (known, now) else { return false };
    let apart = known.unix().abs_diff(now.unix());
    apart > 26 * 4 * QUARTER || !apart.is_multiple_of(QUARTER)
}

/// Gives the UIDs of messages by their dates downwards, of the same date by UID downwards, those without a date last.
#[must_use]
pub fn newest_first<'e>(entries: impl Iterator<Item = Entry<'e>>) -> Rows<Uid> {
    let mut sorting: Sorting<(u64, u32)> = Sorting::default();
    for entry in entries {
        // Of all instants, in their order; the last is nobody's.
        let instant = entry.date.map(|date| date.unix().cast_unsigned() ^ (1 << 63));
        sorting.push((!instant.unwrap_or(0), !entry.uid.value()));
    }
    sorting.finish().iter().filter_map(|(_, uid)| Uid::new(!uid)).collect()
}

fn has_landed(record: &Record) -> bool {
    matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted))
}

/// Joins records, window by window, with the two listings.
pub struct Sorter<'a> {
    source: &'a Listing,
    target: &'a Listing,
    target_validity: Option<UidValidity>,
    /// Refused and unreadable messages are tried again.
    retry: bool,
    /// But for these, ascending.
    not_again: Vec<Uid>,
    /// And nothing else is copied or changed.
    only_retry: bool,
    /// Messages that their user removed from the target are copied again.
    restore: bool,
    /// `\Deleted` is carried over.
    deleted: bool,
    /// The target's UIDs do not last: where records say that copies are means nothing.
    placeless: bool,
    plan: FolderPlan,
    /// Becomes the plan's.
    paired: Sorting<Uid>,
    /// Target UIDs of the plan's `left`, and of those whose content is not known.
    left: Vec<Uid>,
    /// Position in the source listing: all before it is sorted.
    at: usize,
}

impl<'a> Sorter<'a> {
    /// Begins. `target`: empty where the folder is not there yet.
    #[must_use]
    pub fn new(source: &'a Listing, target: &'a Listing, target_validity: Option<UidValidity>) -> Self {
        let plan = FolderPlan::default();
        Self {
            source,
            target,
            target_validity,
            retry: false,
            not_again: Vec::new(),
            only_retry: false,
            restore: false,
            deleted: false,
            placeless: false,
            plan,
            paired: Sorting::default(),
            left: Vec::new(),
            at: 0,
        }
    }

    /// Tries what was refused or unreadable again.
    #[must_use]
    pub fn retrying(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Does not try these again, ascending: they have had their turn.
    #[must_use]
    pub fn not_again(mut self, uids: Vec<Uid>) -> Self {
        self.not_again = uids;
        self
    }

    /// Leaves everything else as it is: new mail stays where it is, flags too.
    #[must_use]
    pub fn only_retrying(mut self, only: bool) -> Self {
        self.only_retry = only;
        self
    }

    /// Copies again what was removed from the target.
    #[must_use]
    pub fn restoring(mut self, restore: bool) -> Self {
        self.restore = restore;
        self
    }

    /// Carries `\Deleted` over too.
    #[must_use]
    pub fn with_deleted(mut self, deleted: bool) -> Self {
        self.deleted = deleted;
        self
    }

    /// Looks for everything by content: the target's UIDs do not last (UIDNOTSTICKY).
    #[must_use]
    pub fn placeless(mut self, placeless: bool) -> Self {
        self.placeless = placeless;
        self
    }

    /// Takes the next records, ascending by source UID and after all before.
    pub fn records(&mut self, window: &[Record]) {
        for record in window {
            let uids = self.source.uids();
            let below = uids.below(record.source_uid).max(self.at);
            uids.range(self.at, below).for_each(|uid| self.fresh(uid));
            let listed = uids.get(below) == Some(record.source_uid);
            self.at = below + usize::from(listed);
            self.sort(record, listed);
        }
    }

    /// Ends: what has no record is fresh.
    #[must_use]
    pub fn finish(mut self) -> FolderPlan {
        let uids = self.source.uids();
        uids.range(self.at, uids.len()).for_each(|uid| self.fresh(uid));
        let Self { mut plan, paired, left, .. } = self;
        plan.paired = paired.into();
        plan.left.retain(|(_, offer)| !plan.paired.has(offer.uid()));
        plan.paired = plan.paired.union(&Sorting::from_iter(left).into());
        plan
    }

    fn sort(&mut self, record: &Record, listed: bool) {
        let uid = record.source_uid;
        let place = record.target.filter(|_| !self.placeless);
        let target = place.filter(|(validity, _)| Some(*validity) == self.target_validity).map(|(_, uid)| uid);
        let now = self.source.get(uid).filter(|_| listed).and_then(|entry| entry.date);
        let had_its_turn = self.not_again.binary_search(&uid).is_ok();
        // An open intent is given up before.
        if is_another(record.date, now) && record.stage != Stage::Intended && !had_its_turn {
            return self.reused(record, target);
        }
        match (record.stage, target) {
            (Stage::Settled(fate @ (Fate::Copied | Fate::Adopted)), Some(target)) => {
                self.paired(record, fate, target, listed)
            }
            (Stage::Settled(Fate::Copied), None) if place.is_none() => {
                self.look_for(record, Claim::Acknowledged, listed)
            }
            (Stage::Intended, _) => self.look_for(record, Claim::Intended, listed),
            _ if !listed => {}
            // It is there after all, or again.
            (Stage::Settled(Fate::Removed | Fate::Missing), Some(target)) if self.target.has(target) => {
                self.plan.returned.push((uid, target));
                self.paired(record, Fate::Copied, target, listed);
            }
            (Stage::Settled(Fate::Excluded), _) => *self.plan.settled.entry(Fate::Excluded).or_default() += 1,
            (Stage::Settled(fate @ (Fate::Refused | Fate::Unreadable | Fate::Missing)), _) => {
                match self.retry && self.not_again.binary_search(&uid).is_err() {
                    true => self.plan.fresh.insert(uid),
                    false => *self.plan.settled.entry(fate).or_default() += 1,
                }
            }
            (Stage::Settled(Fate::Removed), _) if self.restore => self.displaced(record),
            (Stage::Settled(fate @ Fate::Removed), _) => *self.plan.settled.entry(fate).or_default() += 1,
            // Known only under a UIDVALIDITY that is no more: looked for by content.
            (Stage::Settled(Fate::Copied | Fate::Adopted), _) => self.displaced(record),
            (Stage::Settled(Fate::Gone), _) => self.fresh(uid),
        }
    }

    /// Its number is another message's now: a source that was set back to what it was once.
    fn reused(&mut self, record: &Record, target: Option<Uid>) {
        if has_landed(record) {
            self.plan.stale.push(record.source_uid);
        }
        // A copy whose bytes were never known is offered as unknown mail is.
        let there = target.filter(|target| self.target.has(*target));
        if let Some((target, offer)) = there.and_then(|target| Some((target, Offer::recalled(record, target)?))) {
            self.left.push(target);
            self.plan.left.push((record.source_uid, offer));
        }
        self.fresh(record.source_uid);
    }

    fn paired(&mut self, record: &Record, fate: Fate, target: Uid, listed: bool) {
        // The dates were proven to agree: the target was set back, and has given the number anew.
        let agreed = matches!(record.evidence, Evidence::MetadataEqual | Evidence::BytesEqual);
        let is_it = |entry: &Entry<'_>| !(agreed && is_another(record.date, entry.date));
        if listed && self.target.get(target).is_some_and(|entry| !is_it(&entry)) {
            return self.displaced(record);
        }
        let Some(entry) = self.target.get(target) else {
            match (listed, self.restore) {
                // It was acknowledged and never seen: nobody can have removed what was not there.
                (true, _) if fate == Fate::Copied && record.evidence == Evidence::None => {
                    self.look_for(record, Claim::Acknowledged, listed);
                }
                (true, true) => self.displaced(record),
                (true, false) => {
                    self.plan.removed.push(record.source_uid);
                    *self.plan.settled.entry(Fate::Removed).or_default() += 1;
                }
                (false, _) => {}
            }
            return;
        };
        let Some(source) = self.source.get(record.source_uid).filter(|_| listed) else {
            self.left.push(target);
            self.plan.left.extend(Offer::recalled(record, target).map(|offer| (record.source_uid, offer)));
            return;
        };
        self.paired.push(target);
        *self.plan.settled.entry(fate).or_default() += 1;
        let wanted = carried(source.flags, self.deleted);
        if !self.only_retry {
            self.plan.flags.note(record.source_uid, target, &record.flags, &wanted, entry.flags);
        }
    }

    fn fresh(&mut self, uid: Uid) {
        if !self.only_retry {
            self.plan.fresh.insert(uid);
        }
    }

    /// What we know of its content saves asking the source.
    fn displaced(&mut self, record: &Record) {
        self.plan.stale.push(record.source_uid);
        if self.only_retry && !self.restore {
            return;
        }
        match record.digest {
            Some(digest) => self.plan.needs.push(Need::sent(record, Claim::Displaced, digest, Uid::FIRST)),
            None => self.plan.fresh.insert(record.source_uid),
        }
    }

    fn look_for(&mut self, record: &Record, claim: Claim, listed: bool) {
        let uid = record.source_uid;
        // A floor of another epoch says nothing.
        let floor = record.floor.filter(|(validity, _)| Some(*validity) == self.target_validity).map(|(_, uid)| uid);
        match record.digest {
            Some(digest) => self.plan.needs.push(Need::sent(record, claim, digest, floor.unwrap_or(Uid::FIRST))),
            None if listed => self.plan.fresh.insert(uid),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Digest, Evidence};
    use proptest::prelude::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    fn epoch(value: u32) -> UidValidity {
        UidValidity::new(value).unwrap()
    }

    fn listing(messages: &[(u32, &str)]) -> Listing {
        let mut listing = Listing::default();
        messages.iter().for_each(|(at, flags)| listing.push(uid(*at), Some(1), None, Flags::parse(flags)));
        listing
    }

    fn record(at: u32, stage: Stage, target: Option<(u32, u32)>) -> Record {
        Record {
            source_uid: uid(at),
            stage,
            target: target.map(|(validity, at)| (epoch(validity), uid(at))),
            floor: None,
            size: 1,
            digest: Some(Digest([0; 32])),
            header: None,
            date: None,
            flags: Flags::parse("\\Seen"),
            risky: false,
            evidence: if target.is_some() { Evidence::MetadataEqual } else { Evidence::None },
        }
    }

    fn plan(source: &[(u32, &str)], target: &[(u32, &str)], records: &[Record]) -> FolderPlan {
        let (source, target) = (listing(source), listing(target));
        let mut sorter = Sorter::new(&source, &target, Some(epoch(1)));
        records.chunks(2).for_each(|window| sorter.records(window));
        sorter.finish()
    }

    fn numbers(uids: &Uids) -> Vec<u32> {
        uids.iter().map(Uid::value).collect()
    }

    const COPIED: Stage = Stage::Settled(Fate::Copied);

    #[test]
    fn a_finished_folder_plans_nothing() {
        let all: Vec<_> = (1..6).map(|at| (at, "\\Seen")).collect();
        let records: Vec<_> = (1..6).map(|at| record(at, COPIED, Some((1, at)))).collect();
        let plan = plan(&all, &all, &records);
        assert!(plan.fresh.is_empty() && plan.needs.is_empty() && plan.removed.is_empty());
        assert!(plan.flags.is_idle() && plan.flags.rebases().len() == 0);
        assert_eq!(numbers(&plan.paired), [1, 2, 3, 4, 5]);
        assert_eq!(plan.settled[&Fate::Copied], 5);
    }

    #[test]
    fn what_has_no_record_is_fresh() {
        let plan = plan(&[(1, ""), (3, "\\Seen"), (9, "")], &[(7, "\\Seen")], &[record(3, COPIED, Some((1, 7)))]);
        assert_eq!(numbers(&plan.fresh), [1, 9]);
    }

    #[test]
    fn what_the_user_removed_is_not_copied_again() {
        let plan = plan(&[(1, "")], &[], &[record(1, COPIED, Some((1, 7)))]);
        assert_eq!((plan.removed, plan.fresh.len()), (vec![uid(1)], 0));
    }

    #[test]
    fn another_epoch_on_the_target_is_matched_by_content_not_taken_for_removed() {
        let adopted = Record { digest: None, ..record(2, Stage::Settled(Fate::Adopted), Some((2, 8))) };
        let plan = plan(&[(1, ""), (2, "")], &[(7, "")], &[record(1, COPIED, Some((2, 7))), adopted]);
        assert_eq!((plan.needs.len(), numbers(&plan.fresh), plan.removed.len()), (1, vec![2], 0));
        assert_eq!(plan.stale, [uid(1), uid(2)]);
    }

    #[test]
    fn a_target_without_lasting_uids_is_looked_at_by_content_alone() {
        let (source, target) = (listing(&[(1, ""), (2, "")]), listing(&[(1, ""), (2, "")]));
        let adopted = Record { digest: None, ..record(2, Stage::Settled(Fate::Adopted), Some((1, 2))) };
        let mut sorter = Sorter::new(&source, &target, Some(epoch(1))).placeless(true);
        sorter.records(&[record(1, COPIED, Some((1, 1))), adopted]);
        let plan = sorter.finish();
        assert_eq!((plan.needs.len(), numbers(&plan.fresh), plan.paired.len()), (1, vec![2], 0));
    }

    #[test]
    fn the_copy_of_what_left_the_source_is_offered_to_what_comes_back() {
        let records =
            [record(1, COPIED, Some((1, 7))), record(2, COPIED, Some((1, 8))), record(3, COPIED, Some((1, 8)))];
        let plan = plan(&[(3, "\\Seen"), (4, "")], &[(7, ""), (8, "")], &records);
        let left: Vec<_> = plan.left.iter().map(|(uid, offer)| (uid.value(), offer.uid().value())).collect();
        assert_eq!((left, numbers(&plan.fresh), numbers(&plan.paired)), (vec![(1, 7)], vec![4], vec![7, 8]));
    }

    #[test]
    fn many_copies_that_went_at_once_are_told_from_a_few() {
        for (gone, were, many) in [(10, 20, false), (11, 20, true), (11, 110, false), (12, 119, true), (11, 11, true)] {
            let listed: Vec<_> = (1..=were).map(|at| (at, "")).collect();
            let records: Vec<_> = (1..=were).map(|at| record(at, COPIED, Some((1, at)))).collect();
            let expected = many.then_some((gone as u64, u64::from(were)));
            assert_eq!(plan(&listed, &listed[gone as usize..], &records).many_removed(), expected, "{gone} of {were}");
        }
        // Those of earlier looks were settled then.
        let removed: Vec<_> = (1..=20).map(|at| record(at, Stage::Settled(Fate::Removed), Some((1, at)))).collect();
        let listed: Vec<_> = (1..=20).map(|at| (at, "")).collect();
        let plan = plan(&listed, &[], &removed);
        assert_eq!((plan.many_removed(), plan.settled[&Fate::Removed], plan.removed.len()), (None, 20, 0));
    }

    #[test]
    fn what_was_intended_or_acknowledged_without_a_uid_is_looked_for() {
        let records = [record(1, Stage::Intended, None), record(2, COPIED, None), record(3, Stage::Intended, None)];
        let plan = plan(&[(1, ""), (2, "")], &[], &records);
        assert_eq!((plan.needs.len(), plan.fresh.len()), (3, 0));
    }

    #[test]
    fn refused_messages_are_tried_again_only_when_asked_for() {
        let records = [record(1, Stage::Settled(Fate::Refused), None)];
        let (source, target) = (listing(&[(1, "")]), Listing::default());
        for (retry, fresh) in [(false, 0), (true, 1)] {
            let mut sorter = Sorter::new(&source, &target, None).retrying(retry);
            sorter.records(&records);
            assert_eq!(sorter.finish().fresh.len(), fresh);
            let mut sorter = Sorter::new(&source, &target, None).retrying(retry).not_again(vec![uid(1)]);
            sorter.records(&records);
            assert_eq!(sorter.finish().fresh.len(), 0);
        }
    }

    proptest! {
        /// The specification, flag by flag: where the source has not moved since the base, the target stays as it is; where
        /// it has, the target becomes as the source.
        #[test]
        fn f42_a_merge_is_what_each_flag_by_itself_asks_for(base in 0usize..64, source in 0usize..64, target in 0usize..64) {
            const ALL: [&str; 6] = ["\\Seen", "\\Answered", "\\Draft", "$Forwarded", "Junk", "domain.com"];
            let set = |bits: usize| {
                let names: Vec<&str> = (0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| ALL[bit]).collect();
                Flags::parse(&names.join(" "))
            };
            let merge = merge_flags(&set(base), &set(source), &set(target));
            let after = set(target).without(&merge.remove).union(&merge.add);
            let wanted = (0..6).filter(|bit| {
                let (base, source, target) = (base >> bit & 1, source >> bit & 1, target >> bit & 1);
                (if source == base { target } else { source }) == 1
            });
            prop_assert!(after.same(&set(wanted.map(|bit| 1 << bit).sum())));
            // Only what changes is asked for, and nothing both ways.
            prop_assert!(merge.add.common(&set(target)).is_empty() && merge.remove.without(&set(target)).is_empty());
            // Done, and the source taken for the base, nothing is left to do.
            prop_assert_eq!(merge_flags(&set(source), &set(source), &after), Merge::default());
            prop_assert_eq!(merge_flags(&set(base), &set(source), &after), Merge::default());
            // Without a base nothing is taken away.
            prop_assert!(merge_flags(&Flags::default(), &set(source), &set(target)).remove.is_empty());
        }
    }

    #[test]
    fn where_only_failed_messages_are_tried_again_nothing_else_is() {
        let records = [
            record(1, Stage::Settled(Fate::Refused), None),
            record(2, COPIED, Some((1, 2))),
            record(3, COPIED, Some((9, 3))),
            record(4, Stage::Settled(Fate::Unreadable), None),
            record(5, Stage::Settled(Fate::Excluded), None),
            record(6, Stage::Settled(Fate::Missing), None),
        ];
        let source = listing(&[(1, ""), (2, "\\Seen a"), (3, ""), (4, ""), (5, ""), (6, ""), (7, "")]);
        let target = listing(&[(2, "\\Seen")]);
        // The third was placed under another UIDVALIDITY: it is looked for.
        for (only, fresh, needs, flags) in [(true, vec![1, 4, 6], 0, 0), (false, vec![1, 4, 6, 7], 1, 1)] {
            let mut sorter = Sorter::new(&source, &target, Some(epoch(1))).retrying(true).only_retrying(only);
            sorter.records(&records);
            let plan = sorter.finish();
            assert_eq!((numbers(&plan.fresh), plan.needs.len(), plan.flags.rebases().len()), (fresh, needs, flags));
        }
    }

    #[test]
    fn flags_merge_three_ways() {
        for (base, source, target, add, remove) in [
            ("", "\\Seen", "", "\\Seen", ""),
            ("\\Seen", "", "\\Seen \\Flagged", "", "\\Seen"),
            ("\\Seen", "\\Seen", "", "", ""),
            ("", "\\Seen", "\\Seen", "", ""),
            ("a", "b", "a c", "b", "a"),
            ("\\Seen", "\\Seen \\Answered", "\\Flagged", "\\Answered", ""),
        ] {
            let merge = merge_flags(&Flags::parse(base), &Flags::parse(source), &Flags::parse(target));
            assert_eq!(
                (merge.add.to_string(), merge.remove.to_string()),
                (add.into(), remove.into()),
                "{base}|{source}|{target}"
            );
        }
    }

    #[test]
    fn a_number_that_is_another_messages_now_says_nothing() {
        let listing = |dates: &[(u32, i64)]| {
            let mut listing = Listing::default();
            let flags = Flags::default();
            dates
                .iter()
                .for_each(|(at, unix)| listing.push(uid(*at), Some(1), InternalDate::new(*unix, 0), flags.clone()));
            listing
        };
        let dated = |at| Record { date: InternalDate::new(1000, 0), ..record(at, COPIED, Some((1, at))) };
        let refused =
            |at| Record { date: InternalDate::new(1000, 0), ..record(at, Stage::Settled(Fate::Refused), None) };
        // At the source: the same, one hour later by the server's clock, another; on the target: another.
        let source = listing(&[(1, 1000), (2, 4600), (3, 2001), (4, 1000), (5, 2001), (6, 1000)]);
        let target = listing(&[(1, 1000), (2, 1000), (3, 1000), (4, 2001)]);
        let mut sorter = Sorter::new(&source, &target, Some(epoch(1)));
        sorter.records(&[dated(1), dated(2), dated(3), dated(4), refused(5), refused(6)]);
        let plan = sorter.finish();
        assert_eq!((numbers(&plan.fresh), &plan.stale), (vec![3, 5], &vec![uid(3), uid(4)]), "{plan:?}");
        let needs: Vec<u32> = plan.needs.iter().map(|need| need.source_uid().value()).collect();
        let left: Vec<u32> = plan.left.iter().map(|(_, offer)| offer.uid().value()).collect();
        assert_eq!((needs, left, plan.settled[&Fate::Copied], plan.settled[&Fate::Refused]), (vec![4], vec![3], 2, 1));
        assert_eq!(plan.removed, []);
    }

    #[test]
    fn the_newest_come_first_and_those_without_a_date_last() {
        let mut listing = Listing::default();
        for (at, unix) in [(1, Some(50)), (2, None), (3, Some(-70)), (4, Some(90)), (5, Some(50)), (6, None)] {
            let date = unix.and_then(|unix| InternalDate::new(unix, 0));
            listing.push(uid(at), None, date, Flags::default());
        }
        let ordered: Vec<u32> = newest_first(listing.iter()).iter().map(Uid::value).collect();
        assert_eq!(ordered, [4, 5, 1, 3, 6, 2]);
    }

    #[test]
    fn deleted_at_the_source_is_not_carried_over() {
        let plan = plan(&[(1, "\\Seen \\Deleted")], &[(1, "\\Seen")], &[record(1, COPIED, Some((1, 1)))]);
        assert!(plan.flags.is_idle() && plan.flags.rebases().len() == 0);
    }

    #[test]
    fn many_are_more_than_a_tenth_and_more_than_a_few() {
        for (gone, were, many) in [(3, 5, false), (10, 10, false), (11, 110, false), (11, 109, true)] {
            assert_eq!(is_many(gone, were), many, "{gone} of {were}");
        }
    }

    #[test]
    fn what_was_acknowledged_and_never_seen_is_looked_for_and_not_called_removed() {
        let (source, target) = (listing(&[(1, ""), (2, "")]), listing(&[]));
        let unseen = record(1, Stage::Settled(Fate::Copied), Some((1, 10)));
        let seen =
            Record { evidence: Evidence::MetadataEqual, ..record(2, Stage::Settled(Fate::Copied), Some((1, 11))) };
        let mut sorter = Sorter::new(&source, &target, Some(epoch(1)));
        sorter.records(&[Record { evidence: Evidence::None, digest: Some(Digest([7; 32])), ..unseen }, seen]);
        let plan = sorter.finish();
        assert_eq!((plan.needs.len(), plan.removed), (1, vec![uid(2)]));
    }
}
