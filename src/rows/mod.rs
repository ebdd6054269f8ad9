//! Many small values in little memory: in a file without a name once they are more than a few.
//!
//! Secret: where the values lie. What a mailbox of a million comes to is decided from its rows, and none of the rooms that
//! decide has to know that they are not in memory.
//!
//! A disk that takes no more keeps the rest in memory. A file that cannot be read again, or gives what was never put, is a
//! panic: nothing may be decided from rows that are not known, and a panic ends the account that it is in, whose state is in
//! the ledger.

mod sorting;

pub use sorting::Sorting;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of rows that are kept in memory.
const KEPT_BYTES: usize = 32 << 10;
/// Bytes of a row, at most.
pub const ROW_BYTES_MAX: usize = 64;
/// Bytes that are read at once where rows are gone through.
const READ_BYTES: usize = 2 << 10;

/// A value of a fixed size.
pub trait Row: Copy {
    /// Bytes of one, at most [`ROW_BYTES_MAX`].
    const BYTES: usize;

    /// Writes it into so many bytes.
    fn pack(&self, to: &mut [u8]);

    /// Reads what [`Self::pack`] has written. None: it has not written that. Wherever there is a value that cannot be, zeros
    /// are none: a disk that lost what was written gives them.
    fn unpack(from: &[u8]) -> Option<Self>;
}

/// So many rows are kept in memory.
const fn kept<T: Row>() -> usize {
    const { assert!(T::BYTES <= ROW_BYTES_MAX) };
    KEPT_BYTES / T::BYTES
}

/// So many are read at once.
const fn block<T: Row>() -> usize {
    READ_BYTES / T::BYTES
}

/// A file, and what was read of it last: rows are mostly asked for in their order.
#[derive(Debug)]
struct Aside {
    file: File,
    /// Bytes of rows, from the row `first` on.
    read: Vec<u8>,
    first: usize,
}

/// Rows, by their number from 0 on.
#[derive(Debug)]
pub struct Rows<T> {
    /// The first of them, in a file.
    aside: usize,
    file: Option<Mutex<Aside>>,
    /// The disk takes no more.
    is_full: bool,
    /// Those behind them.
    here: Vec<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { aside: 0, file: None, is_full: false, here: Vec::new() }
    }
}

impl<T: Row> Rows<T> {
    /// Gives how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.aside + self.here.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts one behind all others.
    pub fn push(&mut self, row: T) {
        if self.here.len() >= kept::<T>() && !self.is_full {
            self.is_full = self.set_aside().is_err();
        }
        self.here.push(row);
    }

    /// Gives the row with this number.
    ///
    /// # Panics
    /// There is none, or it cannot be read again.
    #[must_use]
    pub fn get(&self, at: usize) -> T {
        match (at.checked_sub(self.aside), &self.file) {
            (None, Some(file)) => {
                let mut file = lock(file);
                let first = at / block::<T>() * block::<T>();
                if file.first != first || file.read.len() <= (at - first) * T::BYTES {
                    let mut read = std::mem::take(&mut file.read);
                    read.resize(block::<T>().min(self.aside - first) * T::BYTES, 0);
                    file.read_at(first * T::BYTES, &mut read);
                    (file.read, file.first) = (read, first);
                }
                row(&file.read, at - first)
            }
            (behind, _) => self.here[behind.unwrap_or(at)],
        }
    }

    /// Puts another row in the place of this one.
    ///
    /// # Panics
    /// There is none, or they cannot be read again.
    pub fn set(&mut self, at: usize, row: T) {
        let mut bytes = [0; ROW_BYTES_MAX];
        row.pack(&mut bytes[..T::BYTES]);
        if at < self.aside && self.write(at, &bytes[..T::BYTES]).is_err() {
            // On some disks even that needs room.
            self.here = self.iter().collect();
            (self.aside, self.file, self.is_full) = (0, None, true);
        }
        if let Some(behind) = at.checked_sub(self.aside) {
            self.here[behind] = row;
        }
    }

    /// Keeps the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.here.truncate(count.saturating_sub(self.aside));
        self.aside = self.aside.min(count);
    }

    /// Gives all of them in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        self.range(0, self.len())
    }

    /// Gives those from one number to before another.
    #[must_use]
    pub fn range(&self, from: usize, to: usize) -> Iter<'_, T> {
        let to = to.min(self.len());
        Iter { rows: self, at: from.min(to), end: to, read: Vec::new(), first: 0, of: PhantomData }
    }

    /// Gives how many of the first there are of which this is so, where it is so of none behind one of which it is not.
    pub fn partition_point(&self, is_so: impl Fn(T) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if is_so(self.get(middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    fn set_aside(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = tempfile::tempfile_in(place())?;
            self.file = Some(Mutex::new(Aside { file, read: Vec::new(), first: 0 }));
        }
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let mut at = self.aside;
        for rows in self.here.chunks(block::<T>()) {
            bytes.resize(rows.len() * T::BYTES, 0);
            bytes.chunks_exact_mut(T::BYTES).zip(rows).for_each(|(bytes, row)| row.pack(bytes));
            self.write(at, &bytes)?;
            at += rows.len();
        }
        self.aside = at;
        self.here.clear();
        Ok(())
    }

    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut aside = lock(file);
        aside.read.clear();
        aside.file.seek(SeekFrom::Start((at * T::BYTES) as u64))?;
        aside.file.write_all(bytes)
    }
}

impl Aside {
    fn read_at(&mut self, at: usize, bytes: &mut [u8]) {
        let read = self.file.seek(SeekFrom::Start(at as u64)).and_then(|_| self.file.read_exact(bytes));
        if let Err(error) = read {
            lost(&error.to_string());
        }
    }
}

fn lock(file: &Mutex<Aside>) -> MutexGuard<'_, Aside> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one of the rows that lie there.
fn row<T: Row>(bytes: &[u8], at: usize) -> T {
    match T::unpack(&bytes[at * T::BYTES..][..T::BYTES]) {
        Some(row) => row,
        None => lost("it is not what was written"),
    }
}

impl<T: Row> FromIterator<T> for Rows<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut rows = Self::default();
        all.into_iter().for_each(|row| rows.push(row));
        rows
    }
}

/// Where files without a name lie: the place for large ones, where there is one, since the other may be memory.
fn place() -> PathBuf {
    let large = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR").is_none() && large.is_dir() {
        true => large.to_owned(),
        false => std::env::temp_dir(),
    }
}

/// See the room's own words.
fn lost(why: &str) -> ! {
    panic!("cannot read again what was set aside in {}: {why}", place().display());
}

/// Some rows in order. Each reads for itself: many may go over the same rows.
#[derive(Debug)]
pub struct Iter<'r, T> {
    rows: &'r Rows<T>,
    at: usize,
    end: usize,
    /// Bytes read, beginning with the row `first`.
    read: Vec<u8>,
    first: usize,
    of: PhantomData<T>,
}

impl<T: Row> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.at == self.end {
            return None;
        }
        let at = self.at;
        self.at += 1;
        if at >= self.rows.aside {
            return Some(self.rows.here[at - self.rows.aside]);
        }
        let read = self.first + self.read.len() / T::BYTES;
        if !(self.first..read).contains(&at)
            && let Some(file) = &self.rows.file
        {
            let count = block::<T>().min(self.rows.aside.min(self.end) - at);
            self.read.resize(count * T::BYTES, 0);
            lock(file).read_at(at * T::BYTES, &mut self.read);
            self.first = at;
        }
        Some(row(&self.read, at - self.first))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.at, Some(self.end - self.at))
    }
}

impl<T: Row> ExactSizeIterator for Iter<'_, T> {}

/// Numbers: any can be.
macro_rules! number {
    ($($number:ty)*) => {$(
        impl Row for $number {
            const BYTES: usize = size_of::<Self>();

            fn pack(&self, to: &mut [u8]) {
                to.copy_from_slice(&self.to_le_bytes());
            }

            fn unpack(from: &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(from.try_into().ok()?))
            }
        }
    )*};
}

number!(u32 u64 i64);

/// Two rows, one behind the other.
impl<A: Row, B: Row> Row for (A, B) {
    const BYTES: usize = A::BYTES + B::BYTES;

    fn pack(&self, to: &mut [u8]) {
        let (first, second) = to.split_at_mut(A::BYTES);
        self.0.pack(first);
        self.1.pack(second);
    }

    fn unpack(from: &[u8]) -> Option<Self> {
        let (first, second) = from.split_at(A::BYTES);
        Some((A::unpack(first)?, B::unpack(second)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_was_put_wherever_they_lie() {
        for count in [0, 1, kept::<u32>(), kept::<u32>() + 1, 3 * kept::<u32>() + 17] {
            let all: Vec<u32> = (0..count as u32).map(|at| at.wrapping_mul(2_654_435_761)).collect();
            let mut rows: Rows<u32> = all.iter().copied().collect();
            assert_eq!((rows.len(), rows.file.is_some()), (count, count > kept::<u32>()));
            assert!(rows.iter().eq(all.iter().copied()));
            for at in (0..count).step_by(9973) {
                assert_eq!(rows.get(at), all[at]);
            }
            let (from, to) = (count / 3, count - count / 4);
            assert!(rows.range(from, to).eq(all[from..to].iter().copied()));
            assert_eq!(rows.range(from, to).len(), to - from);
            if count > 0 {
                rows.set(count / 2, 7);
                rows.set(count - 1, 9);
                assert_eq!(
                    (rows.get(count - 1), rows.iter().nth(count / 2).unwrap()),
                    (9, if count > 1 { 7 } else { 9 })
                );
            }
            rows.truncate(to);
            rows.push(5);
            assert_eq!((rows.len(), rows.get(to), rows.iter().last()), (to + 1, 5, Some(5)));
        }
    }

    #[test]
    fn a_disk_that_takes_no_more_keeps_the_rest_in_memory() {
        let mut rows = Rows::<u32> { is_full: true, ..Rows::default() };
        let all = 0..2 * kept::<u32>() as u32 + 5;
        all.clone().for_each(|row| rows.push(row));
        assert!(rows.file.is_none() && rows.iter().eq(all));
    }

    /// What lies in the file is changed behind its back.
    fn spoilt(spoil: impl Fn(&File)) -> Rows<u32> {
        let rows: Rows<u32> = (1..2 * kept::<u32>() as u32).collect();
        let beside = tempfile::NamedTempFile::new().unwrap();
        let mut aside = rows.file.as_ref().unwrap().lock().unwrap();
        aside.file.seek(SeekFrom::Start(0)).unwrap();
        io::copy(&mut aside.file, &mut beside.as_file()).unwrap();
        // It can be read and not be written.
        aside.file = File::open(beside.path()).unwrap();
        spoil(&beside.reopen().unwrap());
        drop(aside);
        rows
    }

    #[test]
    fn rows_that_cannot_be_changed_in_their_file_are_taken_back() {
        let mut rows = spoilt(|_| {});
        rows.set(5, 7);
        rows.push(9);
        assert!(rows.file.is_none() && (rows.get(4), rows.get(5), rows.iter().last()) == (5, 7, Some(9)));
    }

    #[test]
    #[should_panic(expected = "cannot read again what was set aside in ")]
    fn rows_that_are_gone_from_their_file_are_not_made_up() {
        let _ = spoilt(|file| file.set_len(10).unwrap()).get(5);
    }

    #[test]
    #[should_panic(expected = "it is not what was written")]
    fn zeros_in_the_place_of_rows_are_not_taken_for_rows() {
        let rows: Rows<One> = std::iter::repeat_n(One, 2 * KEPT_BYTES).collect();
        rows.file.as_ref().unwrap().lock().unwrap().file.set_len(0).unwrap();
        rows.file.as_ref().unwrap().lock().unwrap().file.set_len(KEPT_BYTES as u64).unwrap();
        let _ = rows.iter().next();
    }

    #[derive(Debug, Clone, Copy)]
    struct One;

    impl Row for One {
        const BYTES: usize = 1;

        fn pack(&self, to: &mut [u8]) {
            to[0] = 1;
        }

        fn unpack(from: &[u8]) -> Option<Self> {
            (from == [1]).then_some(Self)
        }
    }

    #[test]
    fn what_is_in_order_is_found_by_halves() {
        let rows: Rows<u32> = (0..2 * kept::<u32>() as u32).map(|at| at * 2).collect();
        let last = rows.len() as u32 - 1;
        for (sought, at) in [(0, 0), (1, 1), (last, last.div_ceil(2)), (last * 2, last), (last * 2 + 1, last + 1)] {
            assert_eq!(rows.partition_point(|row| row < sought), at as usize);
        }
    }
}
