//! A set of UIDs, as runs: a million that follow one another take no more than a few.

use super::Uid;
use crate::rows::Sorting;

/// UIDs that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: Uid,
    /// How many UIDs the runs before it have.
    before: u32,
}

/// UIDs, ascending, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uids {
    runs: Vec<Run>,
    count: u32,
}

impl Uids {
    /// Gives how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one: at little cost where it comes behind all others.
    pub fn insert(&mut self, uid: Uid) {
        match self.last() {
            Some(last) if uid == last => {}
            Some(last) if uid < last => {
                if !self.has(uid) {
                    let at = self.below(uid);
                    *self = self.range(0, at).chain([uid]).chain(self.range(at, self.len())).collect();
                }
            }
            Some(last) if last.value().checked_add(1) == Some(uid.value()) => self.count += 1,
            _ => {
                self.runs.push(Run { first: uid, before: self.count });
                self.count += 1;
            }
        }
    }

    /// Gives the lowest.
    #[must_use]
    pub fn first(&self) -> Option<Uid> {
        self.runs.first().map(|run| run.first)
    }

    /// Gives the highest.
    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        let run = self.runs.last()?;
        Some(run.at(self.count - run.before - 1))
    }

    /// Says whether this one is among them.
    #[must_use]
    pub fn has(&self, uid: Uid) -> bool {
        self.position(uid).is_some()
    }

    /// Gives how many are lower than this one, if it is among them.
    #[must_use]
    pub fn position(&self, uid: Uid) -> Option<usize> {
        let at = self.runs.partition_point(|run| run.first <= uid).checked_sub(1)?;
        let run = self.runs[at];
        let into = uid.value() - run.first.value();
        (into < self.end(at) - run.before).then_some((run.before + into) as usize)
    }

    /// Gives how many are lower than this one.
    #[must_use]
    pub fn below(&self, uid: Uid) -> usize {
        let Some(at) = self.runs.partition_point(|run| run.first < uid).checked_sub(1) else { return 0 };
        let run = self.runs[at];
        (run.before + (uid.value() - run.first.value()).min(self.end(at) - run.before)) as usize
    }

    /// Gives the one with so many below it.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Uid> {
        let position = u32::try_from(position).ok().filter(|position| *position < self.count)?;
        let at = self.runs.partition_point(|run| run.before <= position) - 1;
        let run = self.runs[at];
        Some(run.at(position - run.before))
    }

    /// Gives all of them, ascending.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len())
    }

    /// Gives those from one position to before another, ascending.
    #[must_use]
    pub fn range(&self, from: usize, to: usize) -> Iter<'_> {
        let to = to.min(self.len()) as u32;
        let at = (from as u32).min(to);
        let run = self.runs.partition_point(|run| run.before <= at).saturating_sub(1);
        Iter { uids: self, run, at, to }
    }

    /// Gives those that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut others = other.iter().peekable();
        let mut union = Self::default();
        for uid in self {
            union.extend(std::iter::from_fn(|| others.next_if(|other| *other < uid)));
            union.insert(uid);
            others.next_if_eq(&uid);
        }
        union.extend(others);
        union
    }

    /// Keeps the lowest `count`.
    pub fn truncate(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.count);
        self.runs.truncate(self.runs.partition_point(|run| run.before < count));
        self.count = count;
    }

    /// The number of UIDs up to and with those of the run at this place.
    fn end(&self, at: usize) -> u32 {
        self.runs.get(at + 1).map_or(self.count, |next| next.before)
    }
}

impl Run {
    /// The UID that comes `into` places behind the first.
    fn at(self, into: u32) -> Uid {
        Uid::new(self.first.value() + into).unwrap_or(Uid::LAST)
    }
}

impl FromIterator<Uid> for Uids {
    /// Cheap where they come in order.
    fn from_iter<I: IntoIterator<Item = Uid>>(all: I) -> Self {
        let mut uids = Self::default();
        uids.extend(all);
        uids
    }
}

impl From<Sorting<Uid>> for Uids {
    fn from(sorting: Sorting<Uid>) -> Self {
        sorting.finish().iter().collect()
    }
}

impl Extend<Uid> for Uids {
    fn extend<I: IntoIterator<Item = Uid>>(&mut self, all: I) {
        all.into_iter().for_each(|uid| self.insert(uid));
    }
}

impl<'u> IntoIterator for &'u Uids {
    type Item = Uid;
    type IntoIter = Iter<'u>;

    fn into_iter(self) -> Iter<'u> {
        self.iter()
    }
}

/// Some UIDs, ascending.
#[derive(Debug, Clone)]
pub struct Iter<'u> {
    uids: &'u Uids,
    run: usize,
    at: u32,
    to: u32,
}

impl Iterator for Iter<'_> {
    type Item = Uid;

    fn next(&mut self) -> Option<Uid> {
        if self.at == self.to {
            return None;
        }
        if self.at == self.uids.end(self.run) {
            self.run += 1;
        }
        let run = self.uids.runs[self.run];
        let uid = run.at(self.at - run.before);
        self.at += 1;
        Some(uid)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.to - self.at) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    proptest! {
        #[test]
        fn a_set_of_uids_is_what_a_set_is(
            all in prop::collection::vec(prop_oneof![4 => 1u32..60, 1 => (u32::MAX - 5)..], 0..60),
            (from, to, sought) in (0usize..70, 0usize..70, 1u32..70),
        ) {
            let set: BTreeSet<Uid> = all.iter().map(|value| uid(*value)).collect();
            let mut uids: Uids = all.iter().map(|value| uid(*value)).collect();
            let listed: Vec<Uid> = set.iter().copied().collect();
            prop_assert!(uids.iter().eq(listed.iter().copied()) && uids.iter().len() == listed.len());
            prop_assert_eq!(&uids, &listed.iter().copied().collect::<Uids>());
            prop_assert_eq!((uids.first(), uids.last()), (listed.first().copied(), listed.last().copied()));
            for sought in [uid(sought), Uid::LAST, Uid::FIRST] {
                prop_assert_eq!(uids.position(sought), listed.binary_search(&sought).ok());
                prop_assert_eq!(uids.below(sought), listed.partition_point(|uid| *uid < sought));
            }
            prop_assert_eq!(uids.get(from), listed.get(from).copied());
            let (first, end) = (from.min(listed.len()), to.min(listed.len()));
            prop_assert!(uids.range(from, to).eq(listed[first.min(end)..end].iter().copied()));
            let other: Uids = all.iter().filter(|value| *value % 3 == 0).map(|value| uid(value / 2 + 1)).collect();
            prop_assert_eq!(uids.union(&other), uids.iter().chain(&other).collect::<Uids>());
            uids.truncate(to);
            prop_assert_eq!(uids, listed[..end].iter().copied().collect::<Uids>());
        }
    }
}
