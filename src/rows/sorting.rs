//! Rows put in order, a part of them in memory at a time.

use super::{Iter, Row, Rows, kept};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Rows that come in any order. Those that come in order cost no more than [`Rows`].
#[derive(Debug)]
pub struct Sorting<T> {
    /// Runs in order, one behind the other.
    rows: Rows<T>,
    /// Where a run ends and another begins.
    ends: Vec<usize>,
    /// The last row of the last run.
    last: Option<T>,
    /// What is in no run yet.
    heap: Vec<T>,
}

impl<T> Default for Sorting<T> {
    fn default() -> Self {
        Self { rows: Rows::default(), ends: Vec::new(), last: None, heap: Vec::new() }
    }
}

impl<T: Row + Ord> Sorting<T> {
    /// Takes one more.
    pub fn push(&mut self, row: T) {
        if self.heap.len() >= kept::<T>() {
            self.end_run();
        }
        self.heap.push(row);
    }

    /// Gives how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() + self.heap.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn end_run(&mut self) {
        self.heap.sort_unstable();
        if self.last.is_some_and(|last| self.heap.first().is_some_and(|first| *first < last)) {
            self.ends.push(self.rows.len());
        }
        self.last = self.heap.last().copied();
        self.heap.drain(..).for_each(|row| self.rows.push(row));
    }

    /// Gives all of them in order, equal ones each.
    #[must_use]
    pub fn finish(mut self) -> Rows<T> {
        self.end_run();
        self.heap = Vec::new();
        if self.ends.is_empty() {
            return self.rows;
        }
        self.ends.push(self.rows.len());
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        let mut runs: Vec<Iter<'_, T>> =
            begins.zip(&self.ends).map(|(begin, end)| self.rows.range(begin, *end)).collect();
        let mut heads: BinaryHeap<Reverse<(T, usize)>> =
            runs.iter_mut().enumerate().filter_map(|(at, run)| Some(Reverse((run.next()?, at)))).collect();
        let mut sorted = Rows::default();
        while let Some(Reverse((row, at))) = heads.pop() {
            sorted.push(row);
            heads.extend(runs[at].next().map(|next| Reverse((next, at))));
        }
        sorted
    }
}

impl<T: Row + Ord> FromIterator<T> for Sorting<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut sorting = Self::default();
        sorting.extend(all);
        sorting
    }
}

impl<T: Row + Ord> Extend<T> for Sorting<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, all: I) {
        all.into_iter().for_each(|row| self.push(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_order_whatever_the_order_they_came_in() {
        const MANY: u32 = 5 * kept::<u32>() as u32 / 2;
        let orders: [fn(u32) -> u32; 4] =
            [|at| at, |at| MANY - at, |at| at.wrapping_mul(2_654_435_761) % MANY, |at| at % 1000];
        for (order, runs) in orders.into_iter().zip([1, 3, 3, 3]) {
            for count in [0, 1, 1000, MANY] {
                let mut all: Vec<u32> = (0..count).map(order).collect();
                let sorting: Sorting<u32> = all.iter().copied().collect();
                assert_eq!(sorting.len(), all.len());
                all.sort_unstable();
                assert!(sorting.ends.len() < runs);
                assert!(sorting.finish().iter().eq(all));
            }
        }
    }
}
