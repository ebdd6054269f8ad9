//! What a folder holds: metadata of every message, a score of bytes each.

use super::{Flags, InternalDate, Uid};
use std::collections::BTreeMap;

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
    /// `u32::MAX`: in `large`.
    sizes: Vec<u32>,
    /// `NO_DATE` where there is none.
    dates: Vec<i64>,
    /// Index into `sets`.
    flags: Vec<u32>,
    sets: Vec<Flags>,
    /// Where a set stands in `sets`.
    index: BTreeMap<Flags, u32>,
    /// Sizes that 32 bits cannot hold, and the unknown ones (None), by UID.
    large: BTreeMap<Uid, Option<u64>>,
}

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
        let small = match size.and_then(|size| u32::try_from(size).ok()) {
            Some(size) if size < u32::MAX => size,
            _ => {
                self.large.insert(uid, size);
                u32::MAX
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

    /// Gives how many distinct sets of flags there are.
    #[must_use]
    pub fn flag_sets(&self) -> usize {
        self.sets.len()
    }

    /// Takes over messages, by UID ascending, that may lie anywhere between these: in one go, since putting each into its
    /// place costs a copy of all behind it.
    #[must_use]
    pub fn merged(self, others: BTreeMap<Uid, (Option<u64>, Option<InternalDate>, Flags)>) -> Self {
        if others.is_empty() {
            return self;
        }
        let mut merged = Self::default();
        let mut others = others.into_iter().peekable();
        for entry in self.iter() {
            while let Some((uid, (size, date, flags))) = others.next_if(|(uid, _)| *uid < entry.uid) {
                merged.push(uid, size, date, flags);
            }
            merged.push(entry.uid, entry.size, entry.date, entry.flags.clone());
        }
        others.for_each(|(uid, (size, date, flags))| merged.push(uid, size, date, flags));
        merged
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
            u32::MAX => self.large.get(&uid).copied().flatten(),
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
    fn merging_keeps_order() {
        let mut listing = Listing::default();
        [2, 5, 9].iter().for_each(|at| listing.push(uid(*at), Some(1), None, Flags::default()));
        let late = [1, 6, 10].map(|at| (uid(at), (Some(2), None, Flags::default())));
        let merged = listing.merged(late.into());
        let seen: Vec<_> = merged.iter().map(|entry| (entry.uid.value(), entry.size.unwrap())).collect();
        assert_eq!(seen, [(1, 2), (2, 1), (5, 1), (6, 2), (9, 1), (10, 2)]);
    }

    #[test]
    fn sizes_beyond_32_bits_and_unknown_ones_are_kept() {
        let mut listing = Listing::default();
        let sizes = [Some(0), Some(u64::from(u32::MAX)), Some(1 << 40), None];
        for (number, size) in (1..).zip(sizes) {
            listing.push(uid(number), size, InternalDate::new(-5, 60), Flags::parse("\\Seen x"));
        }
        assert_eq!(listing.iter().map(|entry| entry.size).collect::<Vec<_>>(), sizes);
        let entry = listing.get(uid(3)).unwrap();
        assert_eq!((entry.date, entry.flags), (InternalDate::new(-5, 60), &Flags::parse("x \\seen")));
    }
}
