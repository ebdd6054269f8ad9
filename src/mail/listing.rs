//! What a folder holds: metadata of every message, a score of bytes each.

use super::{Flags, InternalDate, Uid};
use std::collections::{BTreeMap, BTreeSet};

/// One message in a [`Listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number in the folder.
    pub uid: Uid,
    /// RFC822.SIZE: some servers estimate, some give 0; None where the server gave none.
    pub size: Option<u64>,
    /// None where the server gave none or no date.
    pub date: Option<InternalDate>,
    /// Flags and keywords.
    pub flags: &'a Flags,
}

/// Metadata of the messages of a folder, in UID order, each UID once.
///
/// Kept as columns with the distinct flag sets apart: 20 bytes a message, so that a million fit into 20 MB.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    uids: Vec<Uid>,
    /// `LARGE`: in `large`.
    sizes: Vec<u32>,
    /// `NO_DATE` where there is none.
    dates: Vec<i64>,
    /// Index into `sets`.
    flags: Vec<u32>,
    sets: Vec<Flags>,
    /// Where a set stands in `sets`.
    index: BTreeMap<Flags, u32>,
    /// Sizes that 32 bits cannot hold.
    large: BTreeMap<Uid, u64>,
}

const LARGE: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;
const NO_DATE: i64 = i64::MIN;

impl Listing {
    /// Adds a message. One that came before is replaced: servers repeat themselves when flags change in mid-answer.
    pub fn push(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) {
        let Some(last) = self.uids.last().filter(|last| **last >= uid) else {
            return self.append(uid, size, date, flags);
        };
        let at = if *last == uid { Ok(self.uids.len() - 1) } else { self.uids.binary_search(&uid) };
        let (size, date, flags) = self.columns(uid, size, date, flags);
        match at {
            Ok(at) => (self.sizes[at], self.dates[at], self.flags[at]) = (size, date, flags),
            Err(at) => {
                self.uids.insert(at, uid);
                self.sizes.insert(at, size);
                self.dates.insert(at, date);
                self.flags.insert(at, flags);
            }
        }
    }

    fn append(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) {
        let (size, date, flags) = self.columns(uid, size, date, flags);
        self.uids.push(uid);
        self.sizes.push(size);
        self.dates.push(date);
        self.flags.push(flags);
    }

    fn columns(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) -> (u32, i64, u32) {
        let small = match size.map(|size| (size, u32::try_from(size))) {
            None => UNKNOWN,
            Some((_, Ok(small))) if small < UNKNOWN => small,
            Some((size, _)) => {
                self.large.insert(uid, size);
                LARGE
            }
        };
        (small, date.map_or(NO_DATE, InternalDate::pack), self.intern(flags))
    }

    fn intern(&mut self, flags: Flags) -> u32 {
        if let Some(at) = self.index.get(&flags) {
            return *at;
        }
        // There are no more sets than messages, and no more messages than UIDs.
        let at = self.sets.len() as u32;
        self.sets.push(flags.clone());
        self.index.insert(flags, at);
        at
    }

    /// Gives the number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// Says whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Gives the messages in UID order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        (0..self.uids.len()).map(|at| self.at(at))
    }

    /// Gives the message with this UID.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<Entry<'_>> {
        self.uids.binary_search(&uid).ok().map(|at| self.at(at))
    }

    /// Gives the UIDs, ascending.
    #[must_use]
    pub fn uids(&self) -> &[Uid] {
        &self.uids
    }

    /// Gives the sum of the sizes that are known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().filter_map(|entry| entry.size).sum()
    }

    /// Gives how many messages have UIDs below this one.
    #[must_use]
    pub fn below(&self, uid: Uid) -> usize {
        self.uids.partition_point(|known| *known < uid)
    }

    /// Keeps the first `count` messages.
    #[must_use]
    pub fn cut(mut self, count: usize) -> Self {
        self.uids.truncate(count);
        self.sizes.truncate(count);
        self.dates.truncate(count);
        self.flags.truncate(count);
        self
    }

    fn at(&self, at: usize) -> Entry<'_> {
        let uid = self.uids[at];
        let size = match self.sizes[at] {
            LARGE => self.large.get(&uid).copied(),
            UNKNOWN => None,
            size => Some(u64::from(size)),
        };
        let date = (self.dates[at] != NO_DATE).then(|| InternalDate::unpack(self.dates[at]));
        Entry { uid, size, date, flags: &self.sets[self.flags[at] as usize] }
    }
}

/// A listing of messages that come in any order: sorted once, since putting each into its place costs a copy of all behind
/// it.
#[derive(Debug, Default)]
pub struct Unsorted(Listing);

impl Unsorted {
    /// Adds a message. One with the same UID that came before is replaced.
    pub fn push(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) {
        self.0.append(uid, size, date, flags);
    }

    /// Sorts, column by column.
    #[must_use]
    pub fn finish(self) -> Listing {
        fn ordered<T: Copy>(column: &[T], order: &[u32]) -> Vec<T> {
            order.iter().map(|at| column[*at as usize]).collect()
        }
        let Self(mut listing) = self;
        // There are no more messages than UIDs, but for those that came several times.
        let mut order: Vec<u32> = (0..u32::try_from(listing.uids.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by_key(|at| (listing.uids[*at as usize], *at));
        order.dedup_by(|next, before| {
            let same = listing.uids[*next as usize] == listing.uids[*before as usize];
            if same {
                *before = *next;
            }
            same
        });
        listing.uids = ordered(&listing.uids, &order);
        listing.sizes = ordered(&listing.sizes, &order);
        listing.dates = ordered(&listing.dates, &order);
        listing.flags = ordered(&listing.flags, &order);
        listing
    }
}

/// A listing in the making, of messages that come in order but for some: these are sorted in at the end.
#[derive(Debug, Default)]
pub struct Growing {
    listing: Listing,
    /// What came behind a message of a higher UID.
    late: Unsorted,
    late_uids: BTreeSet<Uid>,
}

impl Growing {
    /// Adds a message. One with the same UID that came before is replaced.
    pub fn push(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) {
        if self.listing.uids.last().is_none_or(|last| *last < uid) || self.listing.get(uid).is_some() {
            self.listing.push(uid, size, date, flags);
        } else {
            self.late.push(uid, size, date, flags);
            self.late_uids.insert(uid);
        }
    }

    /// Says whether this message has come.
    #[must_use]
    pub fn has(&self, uid: Uid) -> bool {
        self.listing.get(uid).is_some() || self.late_uids.contains(&uid)
    }

    /// Gives how many places are taken: one that came late several times has several.
    #[must_use]
    pub fn places(&self) -> usize {
        self.listing.len() + self.late.0.len()
    }

    /// Gives how many sets of flags are kept.
    #[must_use]
    pub fn flag_sets(&self) -> usize {
        self.listing.sets.len() + self.late.0.sets.len()
    }

    /// Gives all of them in order.
    #[must_use]
    pub fn finish(self) -> Listing {
        let Self { mut listing, late: Unsorted(late), late_uids } = self;
        drop(late_uids);
        if late.is_empty() {
            return listing;
        }
        let sets: Vec<u32> = late.sets.into_iter().map(|flags| listing.intern(flags)).collect();
        listing.uids.extend(late.uids);
        listing.sizes.extend(late.sizes);
        listing.dates.extend(late.dates);
        listing.flags.extend(late.flags.iter().map(|at| sets[*at as usize]));
        listing.large.extend(late.large);
        Unsorted(listing).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    #[test]
    fn entries_come_in_uid_order_and_once() {
        let mut listing = Listing::default();
        for (number, size) in [(5, 10), (2, 20), (9, 30), (5, 40)] {
            listing.push(uid(number), Some(size), None, Flags::default());
        }
        let seen: Vec<_> = listing.iter().map(|entry| (entry.uid.value(), entry.size)).collect();
        assert_eq!(seen, [(2, Some(20)), (5, Some(40)), (9, Some(30))]);
        assert_eq!(listing.bytes(), 90);
    }

    #[test]
    fn what_comes_in_any_order_is_sorted_once() {
        let (mut unsorted, mut listing) = (Unsorted::default(), Listing::default());
        for (number, size) in
            [(5, Some(10)), (2, None), (9, Some(30)), (5, Some(1 << 40)), (1, Some(50)), (2, Some(60))]
        {
            let flags = Flags::parse(&format!("k{}", number % 3));
            unsorted.push(uid(number), size, InternalDate::new(i64::from(number), 0), flags.clone());
            listing.push(uid(number), size, InternalDate::new(i64::from(number), 0), flags);
        }
        assert!(unsorted.finish().iter().eq(listing.iter()));
    }

    #[test]
    fn every_set_of_flags_is_kept_however_many_there_are() {
        let mut listing = Listing::default();
        for number in 1..70_000 {
            listing.push(uid(number), None, None, Flags::parse(&format!("k{number}")));
        }
        for number in [1, 65_535, 65_536, 65_537, 69_999] {
            assert_eq!(listing.get(uid(number)).unwrap().flags.to_string(), format!("k{number}"));
        }
    }

    #[test]
    fn what_comes_late_is_put_into_its_place() {
        let (mut growing, mut listing) = (Growing::default(), Listing::default());
        for (number, size) in [
            (2, Some(1)),
            (5, None),
            (9, Some(1 << 40)),
            (1, Some(2)),
            (6, None),
            (10, Some(3)),
            (6, Some(1 << 41)),
            (5, Some(4)),
            (1, Some(5)),
        ] {
            assert_eq!(growing.has(uid(number)), listing.get(uid(number)).is_some());
            let flags = Flags::parse(&format!("k{}", number % 4));
            growing.push(uid(number), size, InternalDate::new(i64::from(number), 0), flags.clone());
            listing.push(uid(number), size, InternalDate::new(i64::from(number), 0), flags);
        }
        assert!(growing.finish().iter().eq(listing.iter()));
    }

    #[test]
    fn sizes_beyond_32_bits_and_unknown_ones_are_kept() {
        let mut listing = Listing::default();
        let edge = u64::from(u32::MAX);
        let sizes = [Some(0), Some(edge - 2), Some(edge - 1), Some(edge), Some(1 << 40), None];
        for (number, size) in (1..).zip(sizes) {
            listing.push(uid(number), size, InternalDate::new(-5, 60), Flags::parse("\\Seen x"));
        }
        assert_eq!(listing.iter().map(|entry| entry.size).collect::<Vec<_>>(), sizes);
        let entry = listing.get(uid(3)).unwrap();
        assert_eq!((entry.date, entry.flags), (InternalDate::new(-5, 60), &Flags::parse("x \\seen")));
    }
}
