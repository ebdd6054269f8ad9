//! What is to be done in one folder: source listing, target listing and records, joined in UID order.

use super::matching::{Claim, Need};
use crate::mail::{Fate, Flags, Listing, Record, Stage, SystemFlag, Uid, UidValidity};
use std::collections::BTreeMap;

/// What joining came to. Every source message is counted in `settled`, or is in exactly one of `needs` and `fresh`.
#[derive(Debug, Clone, Default)]
pub struct FolderPlan {
    /// Nothing to copy: how many by fate.
    pub settled: BTreeMap<Fate, u64>,
    /// Of the settled: were on the target and are not now, since their user took them away.
    pub removed: Vec<Uid>,
    /// Sent, and where they are is not known: to be looked for before anything else.
    pub needs: Vec<Need>,
    /// No record stands for these: to be matched where the target holds unknown mail, else to be copied.
    pub fresh: Vec<Uid>,
    /// Flags to change on the target.
    pub flags: FlagChanges,
    /// Target messages that records of the current epochs stand for; ascending.
    pub paired: Vec<Uid>,
    /// Sent, unknown, and no longer at the source.
    pub gone: Vec<Uid>,
    /// Of the fresh: a record says that they landed, in a place that is no more.
    pub stale: Vec<Uid>,
}

/// Changes of flags, grouped so that one command serves many messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagChanges {
    /// To add, with the target UIDs.
    pub add: BTreeMap<Flags, Vec<Uid>>,
    /// To remove, with the target UIDs.
    pub remove: BTreeMap<Flags, Vec<Uid>>,
    /// The new base of each source message whose flags at the source changed.
    pub rebase: Vec<(Uid, Flags)>,
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
    /// Notes what one message needs, and its new base; nothing where the source has not changed it.
    pub fn note(&mut self, source_uid: Uid, target_uid: Uid, base: &Flags, source: &Flags, target: &Flags) {
        if source.same(base) {
            return;
        }
        let merge = merge_flags(base, source, target);
        if !merge.add.is_empty() {
            self.add.entry(merge.add).or_default().push(target_uid);
        }
        if !merge.remove.is_empty() {
            self.remove.entry(merge.remove).or_default().push(target_uid);
        }
        self.rebase.push((source_uid, source.clone()));
    }

    /// Takes over what another one notes.
    pub fn extend(&mut self, other: Self) {
        other.add.into_iter().for_each(|(flags, uids)| self.add.entry(flags).or_default().extend(uids));
        other.remove.into_iter().for_each(|(flags, uids)| self.remove.entry(flags).or_default().extend(uids));
        self.rebase.extend(other.rebase);
    }
}

/// Joins records, window by window, with the two listings.
pub struct Sorter<'a> {
    source: &'a Listing,
    target: &'a Listing,
    target_validity: Option<UidValidity>,
    /// Refused and unreadable messages are tried again.
    retry: bool,
    /// Messages that their user removed from the target are copied again.
    restore: bool,
    /// `\Deleted` is carried over.
    deleted: bool,
    plan: FolderPlan,
    /// Position in the source listing: all before it is sorted.
    at: usize,
}

impl<'a> Sorter<'a> {
    /// Begins. `target`: empty where the folder is not there yet.
    #[must_use]
    pub fn new(source: &'a Listing, target: &'a Listing, target_validity: Option<UidValidity>) -> Self {
        let plan = FolderPlan::default();
        Self { source, target, target_validity, retry: false, restore: false, deleted: false, plan, at: 0 }
    }

    /// Tries what was refused or unreadable again.
    #[must_use]
    pub fn retrying(mut self, retry: bool) -> Self {
        self.retry = retry;
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

    /// Takes the next records, ascending by source UID and after all before.
    pub fn records(&mut self, window: &[Record]) {
        for record in window {
            let uids = self.source.uids();
            while self.at < uids.len() && uids[self.at] < record.source_uid {
                self.plan.fresh.push(uids[self.at]);
                self.at += 1;
            }
            let listed = uids.get(self.at) == Some(&record.source_uid);
            if listed {
                self.at += 1;
            }
            self.sort(record, listed);
        }
    }

    /// Ends: what has no record is fresh.
    #[must_use]
    pub fn finish(mut self) -> FolderPlan {
        self.plan.fresh.extend(&self.source.uids()[self.at..]);
        self.plan.paired.sort_unstable();
        self.plan
    }

    fn sort(&mut self, record: &Record, listed: bool) {
        let uid = record.source_uid;
        let target = record.target.filter(|(validity, _)| Some(*validity) == self.target_validity).map(|(_, uid)| uid);
        match (record.stage, target) {
            (Stage::Settled(fate @ (Fate::Copied | Fate::Adopted)), Some(target)) => {
                self.paired(record, fate, target, listed)
            }
            (Stage::Settled(Fate::Copied), None) if record.target.is_none() => {
                self.look_for(record, Claim::Acknowledged, listed)
            }
            (Stage::Intended, _) => self.look_for(record, Claim::Intended, listed),
            _ if !listed => {}
            (Stage::Settled(fate @ (Fate::Refused | Fate::Unreadable | Fate::Excluded | Fate::Missing)), _) => {
                match self.retry {
                    true => self.plan.fresh.push(uid),
                    false => *self.plan.settled.entry(fate).or_default() += 1,
                }
            }
            (Stage::Settled(Fate::Removed), Some(target)) if self.target.get(target).is_some() => {
                self.paired(record, Fate::Copied, target, listed);
            }
            (Stage::Settled(Fate::Removed), _) => self.removed(uid),
            // Known only under a UIDVALIDITY that is no more: looked for by content.
            (Stage::Settled(Fate::Copied | Fate::Adopted), _) => self.stale(uid),
            (Stage::Settled(Fate::Gone), _) => self.plan.fresh.push(uid),
        }
    }

    fn paired(&mut self, record: &Record, fate: Fate, target: Uid, listed: bool) {
        let Some(entry) = self.target.get(target) else {
            if listed {
                self.removed(record.source_uid);
            }
            return;
        };
        self.plan.paired.push(target);
        let Some(source) = self.source.get(record.source_uid).filter(|_| listed) else { return };
        *self.plan.settled.entry(fate).or_default() += 1;
        let wanted =
            if self.deleted { source.flags.clone() } else { source.flags.clone().without_system(SystemFlag::Deleted) };
        if wanted.same(&record.flags) {
            return;
        }
        let merge = merge_flags(&record.flags, &wanted, entry.flags);
        if !merge.add.is_empty() {
            self.plan.flags.add.entry(merge.add).or_default().push(target);
        }
        if !merge.remove.is_empty() {
            self.plan.flags.remove.entry(merge.remove).or_default().push(target);
        }
        self.plan.flags.rebase.push((record.source_uid, wanted));
    }

    fn stale(&mut self, uid: Uid) {
        self.plan.stale.push(uid);
        self.plan.fresh.push(uid);
    }

    fn removed(&mut self, uid: Uid) {
        if self.restore {
            self.stale(uid);
        } else {
            self.plan.removed.push(uid);
            *self.plan.settled.entry(Fate::Removed).or_default() += 1;
        }
    }

    fn look_for(&mut self, record: &Record, claim: Claim, listed: bool) {
        let uid = record.source_uid;
        if !listed {
            self.plan.gone.push(uid);
        }
        // A floor of another epoch says nothing.
        let floor = record.floor.filter(|(validity, _)| Some(*validity) == self.target_validity).map(|(_, uid)| uid);
        match record.digest {
            Some(digest) => self.plan.needs.push(Need::sent(record, claim, digest, floor.unwrap_or(Uid::FIRST))),
            None if listed => self.plan.fresh.push(uid),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Digest, Evidence};

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
            evidence: Evidence::None,
        }
    }

    fn plan(source: &[(u32, &str)], target: &[(u32, &str)], records: &[Record]) -> FolderPlan {
        let (source, target) = (listing(source), listing(target));
        let mut sorter = Sorter::new(&source, &target, Some(epoch(1)));
        records.chunks(2).for_each(|window| sorter.records(window));
        sorter.finish()
    }

    fn numbers(uids: &[Uid]) -> Vec<u32> {
        uids.iter().map(|uid| uid.value()).collect()
    }

    const COPIED: Stage = Stage::Settled(Fate::Copied);

    #[test]
    fn a_finished_folder_plans_nothing() {
        let all: Vec<_> = (1..6).map(|at| (at, "\\Seen")).collect();
        let records: Vec<_> = (1..6).map(|at| record(at, COPIED, Some((1, at)))).collect();
        let plan = plan(&all, &all, &records);
        assert!(plan.fresh.is_empty() && plan.needs.is_empty() && plan.removed.is_empty());
        assert_eq!(plan.flags, FlagChanges::default());
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
        assert_eq!((numbers(&plan.removed), plan.fresh.len()), (vec![1], 0));
    }

    #[test]
    fn another_epoch_on_the_target_is_matched_by_content_not_taken_for_removed() {
        let plan = plan(&[(1, "")], &[(7, "")], &[record(1, COPIED, Some((2, 7)))]);
        assert_eq!((numbers(&plan.fresh), plan.removed.len()), (vec![1], 0));
    }

    #[test]
    fn what_was_intended_or_acknowledged_without_a_uid_is_looked_for() {
        let records = [record(1, Stage::Intended, None), record(2, COPIED, None), record(3, Stage::Intended, None)];
        let plan = plan(&[(1, ""), (2, "")], &[], &records);
        assert_eq!((plan.needs.len(), plan.fresh.len(), numbers(&plan.gone)), (3, 0, vec![3]));
    }

    #[test]
    fn refused_messages_are_tried_again_only_when_asked_for() {
        let records = [record(1, Stage::Settled(Fate::Refused), None)];
        let (source, target) = (listing(&[(1, "")]), Listing::default());
        for (retry, fresh) in [(false, 0), (true, 1)] {
            let mut sorter = Sorter::new(&source, &target, None).retrying(retry);
            sorter.records(&records);
            assert_eq!(sorter.finish().fresh.len(), fresh);
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
    fn deleted_at_the_source_is_not_carried_over() {
        let plan = plan(&[(1, "\\Seen \\Deleted")], &[(1, "\\Seen")], &[record(1, COPIED, Some((1, 1)))]);
        assert_eq!(plan.flags, FlagChanges::default());
    }
}
