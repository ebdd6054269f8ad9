//! Judging what both servers show after the fact: the fate of every source message, what stands behind it, and whether the
//! numbers add up.
//!
//! What counts is what is there now. A record explains: that a message was refused, that a copy was proven before it was
//! taken away, which flags both sides had agreed on. It never stands in for a copy.

use super::matching::same_instant;
use crate::mail::{Entry, Evidence, Fate, Flags, InternalDate, Record, Side, Stage, UidValidity};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How complete something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Everything asked for is on the target, as far as was looked.
    #[default]
    Complete,
    /// What is not has a reason that is known and listed.
    Explained,
    /// Something is missing or differs and nothing explains it.
    Incomplete,
}

/// What became of a source message for which there is no copy to be seen, where the record alone does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// No run has come to it.
    Untried,
    /// It arrived after the last run began.
    Arrived,
    /// It was being sent when a run was interrupted.
    Interrupted,
    /// The target said that it has it, and nobody ever saw it there.
    Unseen,
    /// The folder that held its copy is not on the target.
    FolderGone,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untried => "no run has come to it",
            Self::Arrived => "it arrived after the last run began",
            Self::Interrupted => "it was being sent when a run was interrupted",
            Self::Unseen => "the target acknowledged it and does not show it",
            Self::FolderGone => "the folder of its copy is not on the target",
        })
    }
}

/// What is known of the place where a copy should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The folder is on the target.
    pub there: bool,
    /// Its UIDVALIDITY.
    pub validity: Option<UidValidity>,
}

/// Decides the fate of a source message. `copy`: one is on the target now. `arrived`: after the last run began.
#[must_use]
pub fn fate(record: Option<&Record>, copy: bool, place: Place, arrived: bool) -> (Fate, Option<Absence>) {
    let missing = |why| (Fate::Missing, Some(why));
    let Some(record) = record else {
        return match (copy, arrived) {
            (true, _) => (Fate::Adopted, None),
            (false, true) => missing(Absence::Arrived),
            (false, false) => missing(Absence::Untried),
        };
    };
    match record.stage {
        Stage::Settled(fate @ (Fate::Copied | Fate::Adopted)) if copy => (fate, None),
        // A digest stands where we have sent it.
        _ if copy && record.digest.is_some() => (Fate::Copied, None),
        _ if copy => (Fate::Adopted, None),
        Stage::Settled(fate @ (Fate::Refused | Fate::Unreadable | Fate::Excluded)) => (fate, None),
        Stage::Settled(Fate::Removed) if record.target.is_some() => (Fate::Removed, None),
        _ if !place.there && record.target.is_some() => missing(Absence::FolderGone),
        Stage::Settled(Fate::Copied | Fate::Adopted) if was_there(record, place) => (Fate::Removed, None),
        Stage::Intended => missing(Absence::Interrupted),
        Stage::Settled(_) => missing(Absence::Unseen),
    }
}

/// Says whether a look has shown the copy where the record says it is. Under another UIDVALIDITY nothing is known of it.
fn was_there(record: &Record, place: Place) -> bool {
    let known = record.target.is_some_and(|(validity, _)| Some(validity) == place.validity);
    known && record.evidence != Evidence::None
}

/// How a copy differs from its source message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Bytes at the source, on the target.
    Size(u64, u64),
    /// The copy lacks these.
    FlagsLost(Flags),
    /// The source has taken these away since, the copy has them still.
    FlagsKept(Flags),
    /// Instants differ: at the source, on the target.
    Date(InternalDate, InternalDate),
    /// The bytes differ.
    Bytes,
    /// This side gives no body to compare.
    NoBody(Side),
    /// The source gives other bytes than when the copy was made; the copy has those.
    SourceChanged,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(source, target) => write!(f, "{source} bytes at the source, {target} on the target"),
            Self::FlagsLost(flags) => write!(f, "the copy lacks: {flags}"),
            Self::FlagsKept(flags) => write!(f, "the source has no longer, the copy has: {flags}"),
            Self::Date(source, target) => write!(f, "dated {source} at the source, {target} on the target"),
            Self::Bytes => f.write_str("the copy has other bytes"),
            Self::NoBody(side) => write!(f, "the {side} gives no body to compare"),
            Self::SourceChanged => {
                f.write_str("the source gives other bytes than when it was copied; the copy has those")
            }
        }
    }
}

/// What a run has listed as lost of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its bytes are other ones.
    pub bytes: bool,
    /// Its date is another one.
    pub date: bool,
    /// These flags.
    pub flags: Flags,
}

impl Listed {
    /// Says whether this is why a copy differs.
    #[must_use]
    pub fn explains(&self, flaw: &Flaw) -> bool {
        match flaw {
            Flaw::Size(..) | Flaw::Bytes => self.bytes,
            Flaw::FlagsLost(flags) => flags.without(&self.flags).is_empty(),
            Flaw::Date(..) => self.date,
            Flaw::SourceChanged => true,
            Flaw::FlagsKept(_) | Flaw::NoBody(_) => false,
        }
    }
}

/// What comparing the metadata of a message and its copy came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// What differs.
    pub flaws: Vec<Flaw>,
    /// Set on the target by its user; no flaw.
    pub added: Flags,
    /// Taken away on the target by its user; no flaw.
    pub taken: Flags,
}

/// Compares metadata. `carried`: the source's flags that are carried over. `base`: the flags on which both sides had agreed,
/// where that was proven. `estimates`: sizes say nothing.
#[must_use]
pub fn compare(
    source: Entry<'_>,
    carried: &Flags,
    copy: Entry<'_>,
    base: Option<&Flags>,
    listed: &Listed,
    estimates: bool,
) -> Compared {
    let mut flaws = Vec::new();
    if let (Some(one), Some(other)) = (source.size, copy.size)
        && one != other
        && !estimates
    {
        flaws.push(Flaw::Size(one, other));
    }
    let lacking = carried.without(copy.flags);
    let extra = copy.flags.without(carried);
    // What was there once and was never listed as lost, somebody took away.
    let taken = base.map(|base| lacking.common(base).without(&listed.flags)).unwrap_or_default();
    let kept = base.map(|base| extra.common(base)).unwrap_or_default();
    let lost = lacking.without(&taken);
    if !lost.is_empty() {
        flaws.push(Flaw::FlagsLost(lost));
    }
    if !kept.is_empty() {
        flaws.push(Flaw::FlagsKept(kept.clone()));
    }
    if let (Some(one), Some(other)) = (source.date, copy.date)
        && !same_instant(source.date, copy.date)
    {
        flaws.push(Flaw::Date(one, other));
    }
    Compared { flaws, added: extra.without(&kept), taken }
}

/// Gives how complete one message is.
#[must_use]
pub fn standing(fate: Fate, flaws: &[Flaw], listed: &Listed) -> Standing {
    match fate {
        Fate::Copied | Fate::Adopted if flaws.is_empty() => Standing::Complete,
        Fate::Copied | Fate::Adopted if flaws.iter().all(|flaw| listed.explains(flaw)) => Standing::Explained,
        Fate::Copied | Fate::Adopted | Fate::Missing => Standing::Incomplete,
        Fate::Refused | Fate::Unreadable | Fate::Removed => Standing::Explained,
        // Left out as the job asks for; gone from the source while it was looked at.
        Fate::Excluded | Fate::Gone => Standing::Complete,
    }
}

/// The numbers of a folder, counted each for itself so that they can contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sums {
    /// Messages the source says it has.
    pub said: u64,
    /// Messages it lists.
    pub messages: u64,
    /// Those by fate.
    pub fates: BTreeMap<Fate, u64>,
    /// Those on the target by evidence.
    pub evidence: BTreeMap<Evidence, u64>,
    /// Messages the target lists.
    pub target_messages: u64,
    /// Of those: copies of what the source lists, each counted once.
    pub copies: u64,
    /// Of those: copies of other folders or accounts that go to the same place.
    pub others: u64,
    /// Of those: copies of what has left the source since.
    pub outlived: u64,
    /// Of those: nothing at the source stands for them. No loss.
    pub surplus: u64,
}

impl Sums {
    /// Counts one source message.
    pub fn count(&mut self, fate: Fate, evidence: Evidence) {
        *self.fates.entry(fate).or_default() += 1;
        if matches!(fate, Fate::Copied | Fate::Adopted) {
            *self.evidence.entry(evidence).or_default() += 1;
        }
    }

    /// Gives how many have a fate.
    #[must_use]
    pub fn of(&self, fate: Fate) -> u64 {
        self.fates.get(&fate).copied().unwrap_or_default()
    }

    /// Adds those of another folder.
    pub fn add(&mut self, other: &Self) {
        other.fates.iter().for_each(|(fate, count)| *self.fates.entry(*fate).or_default() += count);
        other.evidence.iter().for_each(|(evidence, count)| *self.evidence.entry(*evidence).or_default() += count);
        self.said += other.said;
        self.messages += other.messages;
        self.target_messages += other.target_messages;
        self.copies += other.copies;
        self.others += other.others;
        self.outlived += other.outlived;
        self.surplus += other.surplus;
    }

    /// Gives every sum that does not close, as a sentence each. Empty: all of them close.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        let there = self.of(Fate::Copied) + self.of(Fate::Adopted);
        let on_target = self.copies + self.others + self.outlived + self.surplus;
        let fates = self.fates.values().sum();
        let evidence = self.evidence.values().sum();
        [
            (self.messages, self.said, "messages listed by the source", "the number it says it has"),
            (fates, self.messages, "fates", "messages listed by the source"),
            (evidence, there, "pieces of evidence", "messages that are on the target"),
            (self.copies, there, "copies on the target", "messages that are on the target"),
            (on_target, self.target_messages, "target messages accounted for", "messages the target lists"),
        ]
        .into_iter()
        .filter(|(one, other, ..)| one != other)
        .map(|(one, other, what, than)| format!("{one} {what}, but {other}: {than}"))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Digest, Uid};

    fn epoch(value: u32) -> UidValidity {
        UidValidity::new(value).unwrap()
    }

    fn record(stage: Stage, target: Option<u32>, evidence: Evidence, sent: bool) -> Record {
        Record {
            source_uid: Uid::FIRST,
            stage,
            target: target.map(|validity| (epoch(validity), Uid::FIRST)),
            floor: None,
            size: 1,
            digest: sent.then_some(Digest([0; 32])),
            header: None,
            date: None,
            flags: Flags::default(),
            risky: false,
            evidence,
        }
    }

    #[test]
    fn a_fate_is_what_the_servers_show_and_a_record_only_explains_it() {
        use Evidence::{MetadataEqual, None as Unproven};
        let settled = Stage::Settled;
        let table = [
            (None, true, (Fate::Adopted, None)),
            (None, false, (Fate::Missing, Some(Absence::Untried))),
            (Some((settled(Fate::Copied), Some(1), Unproven, true)), true, (Fate::Copied, None)),
            (Some((settled(Fate::Copied), Some(1), MetadataEqual, true)), false, (Fate::Removed, None)),
            // Acknowledged and never seen: nobody can have removed it.
            (Some((settled(Fate::Copied), Some(1), Unproven, true)), false, (Fate::Missing, Some(Absence::Unseen))),
            (Some((settled(Fate::Copied), None, Unproven, true)), false, (Fate::Missing, Some(Absence::Unseen))),
            // The target has numbered the folder anew: its old UIDs prove nothing.
            (
                Some((settled(Fate::Copied), Some(2), MetadataEqual, true)),
                false,
                (Fate::Missing, Some(Absence::Unseen)),
            ),
            (Some((settled(Fate::Removed), Some(1), Unproven, true)), false, (Fate::Removed, None)),
            (Some((settled(Fate::Removed), None, Unproven, true)), false, (Fate::Missing, Some(Absence::Unseen))),
            (Some((settled(Fate::Refused), None, Unproven, false)), false, (Fate::Refused, None)),
            // Somebody has put it there by hand.
            (Some((settled(Fate::Refused), None, Unproven, false)), true, (Fate::Adopted, None)),
            (Some((settled(Fate::Unreadable), None, Unproven, false)), false, (Fate::Unreadable, None)),
            (Some((Stage::Intended, None, Unproven, true)), false, (Fate::Missing, Some(Absence::Interrupted))),
            (Some((Stage::Intended, None, Unproven, true)), true, (Fate::Copied, None)),
            (Some((settled(Fate::Missing), None, Unproven, true)), false, (Fate::Missing, Some(Absence::Unseen))),
        ];
        let place = Place { there: true, validity: Some(epoch(1)) };
        for (known, copy, expected) in table {
            let known = known.map(|(stage, target, evidence, sent)| record(stage, target, evidence, sent));
            assert_eq!(fate(known.as_ref(), copy, place, false), expected, "{known:?} {copy}");
        }
        assert_eq!(fate(None, false, place, true), (Fate::Missing, Some(Absence::Arrived)));
        let copied = record(settled(Fate::Copied), Some(1), MetadataEqual, true);
        let gone = Place { there: false, validity: None };
        assert_eq!(fate(Some(&copied), false, gone, false), (Fate::Missing, Some(Absence::FolderGone)));
        let accepted = record(settled(Fate::Removed), Some(1), Unproven, true);
        assert_eq!(fate(Some(&accepted), false, gone, false), (Fate::Removed, None));
    }

    #[test]
    fn what_the_targets_user_changed_is_told_apart_from_what_was_lost() {
        let check = |base: Option<&str>, source: &str, target: &str, listed: &str| {
            let (source, target) = (Flags::parse(source), Flags::parse(target));
            let entry = |flags| Entry { uid: Uid::FIRST, size: Some(1), date: None, flags };
            let base = base.map(Flags::parse);
            let listed = Listed { flags: Flags::parse(listed), ..Listed::default() };
            let compared = compare(entry(&source), &source, entry(&target), base.as_ref(), &listed, false);
            let flaws: Vec<String> = compared.flaws.iter().map(ToString::to_string).collect();
            (flaws.join("; "), compared.added.to_string(), compared.taken.to_string())
        };
        let told = |flaws: &str, added: &str, taken: &str| (flaws.to_owned(), added.to_owned(), taken.to_owned());
        assert_eq!(check(Some("a"), "a", "", ""), told("", "", "a"));
        assert_eq!(check(Some("a"), "a", "", "a"), told("the copy lacks: a", "", ""));
        assert_eq!(check(None, "a", "", ""), told("the copy lacks: a", "", ""));
        assert_eq!(check(Some(""), "a", "", ""), told("the copy lacks: a", "", ""));
        assert_eq!(check(Some("a"), "", "a b", ""), told("the source has no longer, the copy has: a", "b", ""));
        assert_eq!(check(None, "", "b", ""), told("", "b", ""));
    }

    #[test]
    fn only_what_is_listed_explains_a_difference() {
        let lost = |flags: &str| [Flaw::FlagsLost(Flags::parse(flags))];
        let listed = Listed { flags: Flags::parse("a b"), ..Listed::default() };
        assert_eq!(standing(Fate::Copied, &[], &listed), Standing::Complete);
        assert_eq!(standing(Fate::Copied, &lost("a"), &listed), Standing::Explained);
        assert_eq!(standing(Fate::Copied, &lost("a c"), &listed), Standing::Incomplete);
        assert_eq!(standing(Fate::Copied, &[Flaw::Bytes], &listed), Standing::Incomplete);
        assert_eq!(
            standing(Fate::Adopted, &[Flaw::Bytes], &Listed { bytes: true, ..listed.clone() }),
            Standing::Explained
        );
        assert_eq!(standing(Fate::Missing, &[], &listed), Standing::Incomplete);
        assert_eq!(standing(Fate::Refused, &[], &listed), Standing::Explained);
        assert_eq!(standing(Fate::Excluded, &[], &listed), Standing::Complete);
    }

    #[test]
    fn every_sum_that_is_broken_on_purpose_is_named() {
        let mut sums = Sums { said: 4, messages: 4, target_messages: 5, copies: 2, surplus: 3, ..Sums::default() };
        sums.count(Fate::Copied, Evidence::Counted);
        sums.count(Fate::Adopted, Evidence::BytesEqual);
        sums.count(Fate::Refused, Evidence::None);
        sums.count(Fate::Missing, Evidence::None);
        assert_eq!(sums.open(), Vec::<String>::new());
        let broken = |change: fn(&mut Sums)| {
            let mut sums = sums.clone();
            change(&mut sums);
            sums.open().join(" | ")
        };
        insta::assert_snapshot!(broken(|sums| sums.said += 1), @"4 messages listed by the source, but 5: the number it says it has");
        insta::assert_snapshot!(broken(|sums| *sums.fates.get_mut(&Fate::Missing).unwrap() = 0), @"3 fates, but 4: messages listed by the source");
        insta::assert_snapshot!(broken(|sums| *sums.evidence.get_mut(&Evidence::Counted).unwrap() = 0), @"1 pieces of evidence, but 2: messages that are on the target");
        insta::assert_snapshot!(broken(|sums| (sums.copies, sums.surplus) = (1, 4)), @"1 copies on the target, but 2: messages that are on the target");
        insta::assert_snapshot!(broken(|sums| sums.surplus -= 1), @"4 target messages accounted for, but 5: messages the target lists");
    }
}
