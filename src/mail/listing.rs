//! What a folder holds: metadata of every message, a score of bytes each.

use super::{Flags, InternalDate, Uid, Uids};
use crate::rows::{Row, Rows, Sorting};
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

/// What is listed of a message beside its UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Columns {
    /// `LARGE`: in `large`.
    size: u32,
    /// `NO_DATE` where there is none.
    date: i64,
    /// Which of the `sets`, from 1 on.
    flags: u32,
}

const LARGE: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;
const NO_DATE: i64 = i64::MIN;

impl Row for Columns {
    const BYTES: usize = 16;

    fn pack(&self, to: &mut [u8]) {
        (self.date, (self.size, self.flags)).pack(to);
    }

    fn unpack(from: &[u8]) -> Option<Self> {
        let (date, (size, flags)) = Row::unpack(from)?;
        (flags > 0).then_some(Self { size, date, flags })
    }
}

/// Metadata of the messages of a folder, in UID order, each UID once.
///
/// UIDs are kept as runs, the distinct flag sets apart, and all else as [`Rows`]: a million messages take half a megabyte.
#[derive(Debug, Default)]
pub struct Listing {
    uids: Uids,
    rows: Rows<Columns>,
    sets: Vec<Flags>,
    /// Where a set stands in `sets`, from 1 on.
    index: BTreeMap<Flags, u32>,
    /// Sizes that 32 bits cannot hold.
    large: BTreeMap<Uid, u64>,
}

impl Listing {
    /// Adds a message. One that came before is replaced: servers repeat themselves when flags change in mid-answer. One that
    /// comes behind a higher one costs a copy of all that are higher: see [`Growing`].
    pub fn push(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) {
        let columns = self.columns(uid, size, date, flags);
        self.put(uid, columns);
    }

    fn put(&mut self, uid: Uid, columns: Columns) {
        if let Some(at) = self.uids.position(uid) {
            return self.rows.set(at, columns);
        }
        let mut at = self.uids.len();
        self.rows.push(columns);
        let place = self.uids.below(uid);
        while at > place {
            self.rows.set(at, self.rows.get(at - 1));
            at -= 1;
        }
        self.rows.set(place, columns);
        self.uids.insert(uid);
    }

    fn columns(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) -> Columns {
        let size = match size.map(|size| (size, u32::try_from(size))) {
            None => UNKNOWN,
            Some((_, Ok(small))) if small < UNKNOWN => small,
            Some((size, _)) => {
                self.large.insert(uid, size);
                LARGE
            }
        };
        Columns { size, date: date.map_or(NO_DATE, InternalDate::pack), flags: self.intern(flags) }
    }

    fn intern(&mut self, flags: Flags) -> u32 {
        if let Some(at) = self.index.get(&flags) {
            return *at;
        }
        self.sets.push(flags.clone());
        // There are no more sets than messages, and no more messages than UIDs.
        let at = self.sets.len() as u32;
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
        self.range(0, self.len())
    }

    /// Gives the messages from one position to before another, in UID order.
    pub fn range(&self, from: usize, to: usize) -> impl ExactSizeIterator<Item = Entry<'_>> {
        // There are as many rows as UIDs.
        self.uids.range(from, to).zip(self.rows.range(from, to)).map(|(uid, columns)| self.entry(uid, columns))
    }

    /// Gives the message with this UID.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<Entry<'_>> {
        self.uids.position(uid).map(|at| self.entry(uid, self.rows.get(at)))
    }

    /// Says whether there is a message with this UID.
    #[must_use]
    pub fn has(&self, uid: Uid) -> bool {
        self.uids.has(uid)
    }

    /// Gives the UIDs.
    #[must_use]
    pub fn uids(&self) -> &Uids {
        &self.uids
    }

    /// Gives the sum of the sizes that are known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.iter().filter_map(|entry| entry.size).sum()
    }

    /// Keeps the first `count` messages.
    #[must_use]
    pub fn cut(mut self, count: usize) -> Self {
        self.uids.truncate(count);
        self.rows.truncate(count);
        self
    }

    fn entry(&self, uid: Uid, columns: Columns) -> Entry<'_> {
        let size = match columns.size {
            LARGE => self.large.get(&uid).copied(),
            UNKNOWN => None,
            size => Some(u64::from(size)),
        };
        let date = (columns.date != NO_DATE).then(|| InternalDate::unpack(columns.date));
        Entry { uid, size, date, flags: &self.sets[columns.flags as usize - 1] }
    }
}

/// A listing in the making, of messages that come in any order: those that come behind one of a higher UID are sorted in at
/// the end.
#[derive(Debug, Default)]
pub struct Unsorted {
    listing: Listing,
    /// By UID and turn.
    late: Sorting<((Uid, u32), Columns)>,
}

impl Unsorted {
    /// Adds a message. One with the same UID that came before is replaced. Gives whether it is sorted in at the end.
    pub fn push(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) -> bool {
        let columns = self.listing.columns(uid, size, date, flags);
        let is_late = self.listing.uids.last().is_some_and(|last| uid < last) && !self.listing.has(uid);
        match is_late {
            // There are no more messages than UIDs, but for those that came several times.
            true => self.late.push(((uid, self.late.len() as u32), columns)),
            false => self.listing.put(uid, columns),
        }
        is_late
    }

    /// Gives all of them in order.
    #[must_use]
    pub fn finish(self) -> Listing {
        let Self { mut listing, late } = self;
        if late.is_empty() {
            return listing;
        }
        let (uids, rows) = (std::mem::take(&mut listing.uids), std::mem::take(&mut listing.rows));
        let mut early = uids.iter().zip(rows.iter()).peekable();
        for ((uid, _), columns) in late.finish().iter() {
            while let Some((uid, columns)) = early.next_if(|(early, _)| *early < uid) {
                listing.put(uid, columns);
            }
            listing.put(uid, columns);
        }
        early.for_each(|(uid, columns)| listing.put(uid, columns));
        listing
    }
}

/// The same of a server's answers, of which it is asked meanwhile what has come.
#[derive(Debug, Default)]
pub struct Growing {
    all: Unsorted,
    late: BTreeSet<Uid>,
}

impl Growing {
    /// Adds a message. One with the same UID that came before is replaced.
    pub fn push(&mut self, uid: Uid, size: Option<u64>, date: Option<InternalDate>, flags: Flags) {
        if self.all.push(uid, size, date, flags) {
            self.late.insert(uid);
        }
    }

    /// Says whether this message has come.
    #[must_use]
    pub fn has(&self, uid: Uid) -> bool {
        self.all.listing.has(uid) || self.late.contains(&uid)
    }

    /// Gives how many places are taken: one that came late several times has several.
    #[must_use]
    pub fn places(&self) -> usize {
        self.all.listing.len() + self.all.late.len()
    }

    /// Gives how many sets of flags are kept.
    #[must_use]
    pub fn flag_sets(&self) -> usize {
        self.all.listing.sets.len()
    }

    /// Gives all of them in order.
    #[must_use]
    pub fn finish(self) -> Listing {
        let Self { all, late } = self;
        drop(late);
        all.finish()
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
    fn a_listing_of_many_is_what_one_of_few_is() {
        const MANY: u32 = 200_000;
        let size = |number: u32| (!number.is_multiple_of(5)).then_some(u64::from(number) << (number % 12));
        let message = |number: u32| {
            let date = InternalDate::new(i64::from(number) * 977, 0);
            (uid(number), size(number), date, Flags::parse(&format!("k{}", number % 7)))
        };
        let scattered = |number: u32| number * 7919 % MANY + 1;
        let (mut growing, mut unsorted) = (Growing::default(), Unsorted::default());
        // Every third comes late; some come twice.
        for number in (1..=MANY).filter(|number| number % 3 > 0).chain((1..=MANY).filter(|number| number % 3 == 0)) {
            let (uid, size, date, flags) = message(number);
            growing.push(uid, Some(1), date, Flags::default());
            growing.push(uid, size, date, flags);
            let (uid, size, date, flags) = message(scattered(number));
            unsorted.push(uid, size, date, flags);
        }
        for listing in [growing.finish(), unsorted.finish()] {
            assert_eq!(listing.len(), MANY as usize);
            for (entry, number) in listing.iter().zip(1..) {
                let (uid, size, date, flags) = message(number);
                assert_eq!((entry.uid, entry.size, entry.date, entry.flags), (uid, size, date, &flags));
            }
            assert_eq!(listing.get(uid(MANY - 3)), listing.range(MANY as usize - 4, MANY as usize).next());
        }
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
