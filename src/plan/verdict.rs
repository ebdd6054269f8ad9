//! Judging a copy by what was read back.

use super::matching::same_instant;
use crate::mail::{Entry, Evidence, Flags, InternalDate};

/// What differs between a source message and its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The target does not list it.
    Missing,
    /// Lengths in bytes: at the source, on the target.
    Size(u64, u64),
    /// The copy lacks these.
    FlagsLost(Flags),
    /// The source holds what no client may send, as [`Flags::unsendable`] gives it.
    Unsendable(Vec<String>),
    /// Instants differ: at the source, on the target.
    Date(InternalDate, InternalDate),
    /// The source gives no date that could be read; on the target: what it chose.
    DateUnknown(Option<InternalDate>),
}

/// What reading metadata back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// [`Evidence::MetadataEqual`] where size, flags and date agree, else less.
    pub evidence: Evidence,
    /// What does not agree.
    pub differences: Vec<Difference>,
}

/// Compares what the copy has to have with what the target lists. `estimates`: the target's sizes say nothing.
#[must_use]
pub fn prove(size: u64, flags: &Flags, date: Option<InternalDate>, copy: Option<Entry<'_>>, estimates: bool) -> Proof {
    let Some(copy) = copy else {
        return Proof { evidence: Evidence::None, differences: vec![Difference::Missing] };
    };
    let mut differences = Vec::new();
    if let Some(copied) = copy.size.filter(|copied| !estimates && *copied != size) {
        differences.push(Difference::Size(size, copied));
    }
    let lost = flags.without(copy.flags);
    if !lost.is_empty() {
        differences.push(Difference::FlagsLost(lost));
    }
    differences.extend(unsendable(flags));
    match (date, copy.date) {
        (Some(sent), Some(copied)) if !same_instant(date, copy.date) => {
            differences.push(Difference::Date(sent, copied));
        }
        (None, copied) => differences.push(Difference::DateUnknown(copied)),
        _ => {}
    }
    let evidence = if differences.is_empty() { Evidence::MetadataEqual } else { Evidence::Counted };
    Proof { evidence, differences }
}

/// Gives what a source message has that cannot be sent.
#[must_use]
pub fn unsendable(flags: &Flags) -> Option<Difference> {
    let lost: Vec<String> = flags.unsendable().map(str::to_owned).collect();
    (!lost.is_empty()).then_some(Difference::Unsendable(lost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Uid;

    #[test]
    fn only_full_agreement_counts_as_equal_metadata() {
        let (sent, copied) = (Flags::parse("\\Seen a"), Flags::parse("\\Seen A b"));
        let date = InternalDate::new(1000, 60);
        let copy = |size, flags, date| Some(Entry { uid: Uid::FIRST, size, date, flags });
        let check = |copy, estimates| prove(5, &sent, date, copy, estimates).differences;
        assert_eq!(check(copy(Some(5), &copied, InternalDate::new(1000, 0)), false), []);
        assert_eq!(check(copy(Some(6), &copied, date), false), [Difference::Size(5, 6)]);
        assert_eq!(check(copy(Some(6), &copied, date), true), []);
        let seen = Flags::parse("\\Seen");
        assert_eq!(check(copy(Some(5), &seen, date), false), [Difference::FlagsLost(Flags::parse("a"))]);
        assert_eq!(check(copy(Some(5), &copied, InternalDate::new(1001, 60)), false).len(), 1);
        assert_eq!(check(None, false), [Difference::Missing]);
        let odd = Flags::parse("\\Seen a \\Forwarded");
        let proof = prove(5, &odd, date, copy(Some(5), &copied, date), false);
        assert_eq!(proof.differences, [Difference::Unsendable(vec!["\\Forwarded".to_owned()])]);
        assert_eq!(proof.evidence, Evidence::Counted);
        let proof = prove(5, &sent, None, copy(Some(5), &copied, date), false);
        assert_eq!((proof.evidence, proof.differences), (Evidence::Counted, vec![Difference::DateUnknown(date)]));
    }
}
