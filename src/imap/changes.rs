//! What changed in an open folder: by modification sequence where the server has one (RFC 7162), else by flags alone.

use super::connection::untagged;
use super::error::ImapError;
use super::session::{End, Gathering, Session, parse_fetch, uid_sets};
use crate::mail::{Listing, ModSeq, Uid};
use std::ops::RangeInclusive;

/// What a server tells of the time since a modification sequence.
#[derive(Debug, Default)]
pub struct Changes {
    /// What is new or has other flags, and all that was asked for by name.
    pub seen: Listing,
    /// What is gone, and perhaps numbers that never were; empty where the server does not tell. Ascending, none meets another.
    vanished: Vec<RangeInclusive<u32>>,
}

impl Changes {
    /// Gives what was seen, where nobody tells what is gone.
    #[must_use]
    pub fn of(seen: Listing) -> Self {
        Self { seen, vanished: Vec::new() }
    }

    /// Says whether a message is told to be gone.
    #[must_use]
    pub fn is_gone(&self, uid: Uid) -> bool {
        let at = self.vanished.partition_point(|range| *range.end() < uid.value());
        self.vanished.get(at).is_some_and(|range| range.contains(&uid.value()))
    }
}

const ALL: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE)";

impl<E: End> Session<E> {
    /// Lists what changed in the open folder after `since`, up to `last`; and these by name, whether they changed or not.
    /// None: more is gone than is worth keeping apart.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn changes(&mut self, since: ModSeq, last: Uid, named: &[Uid]) -> Result<Option<Changes>, ImapError> {
        let vanished = if self.tells_vanished { " VANISHED" } else { "" };
        let mut commands: Vec<String> = uid_sets(named).iter().map(|set| format!("UID FETCH {set} {ALL}")).collect();
        commands.push(format!("UID FETCH 1:{last} {ALL} (CHANGEDSINCE {}{vanished})", since.value()));
        self.gather("list changes", commands, last).await
    }

    /// Lists UID and flags of all messages of the open folder up to `last`, nothing else; of some all that a listing has.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn flags(&mut self, last: Uid, named: &[Uid]) -> Result<Listing, ImapError> {
        let mut commands = vec![format!("UID FETCH 1:{last} (UID FLAGS)")];
        commands.extend(uid_sets(named).iter().map(|set| format!("UID FETCH {set} {ALL}")));
        Ok(self.gather("list flags", commands, last).await?.unwrap_or_default().seen)
    }

    /// Lists some messages of the open folder.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn entries(&mut self, uids: &[Uid]) -> Result<Listing, ImapError> {
        let commands = uid_sets(uids).iter().map(|set| format!("UID FETCH {set} {ALL}")).collect();
        Ok(self.gather("list messages", commands, Uid::LAST).await?.unwrap_or_default().seen)
    }

    async fn gather(&mut self, what: &str, commands: Vec<String>, last: Uid) -> Result<Option<Changes>, ImapError> {
        let (mut gathered, mut vanished) = (Gathering::default(), Vanished::default());
        let whole = self.pipeline(what, commands, |response| {
            if let Some(tokens) = untagged(response, b"VANISHED") {
                vanished.take(tokens.rest());
                return Ok(());
            }
            match parse_fetch(response) {
                Some(seen) if seen.flags.is_some() => match seen.uid.filter(|uid| *uid <= last) {
                    Some(uid) => gathered.take(uid, seen, response.text.len()),
                    None => Ok(()),
                },
                _ => Ok(()),
            }
        });
        whole.await?;
        Ok(vanished.finish().map(|vanished| Changes { seen: gathered.finish(), vanished }))
    }
}

/// What is told to be gone, in the making.
#[derive(Default)]
struct Vanished {
    ranges: Vec<RangeInclusive<u32>>,
    too_many: bool,
}

impl Vanished {
    /// Ranges in all answers, 12 bytes each: twice as many as the longest line that is read can hold.
    const MAX: usize = 1_000_000;

    fn take(&mut self, words: &[u8]) {
        self.too_many |= self.ranges.len() > Self::MAX;
        if !self.too_many {
            self.ranges.extend(ranges(words));
        }
    }

    /// None: there are too many.
    fn finish(self) -> Option<Vec<RangeInclusive<u32>>> {
        let mut ranges = self.ranges;
        ranges.sort_unstable_by_key(|range| *range.start());
        ranges.dedup_by(|next, before| {
            let meet = *next.start() <= before.end().saturating_add(1);
            if meet {
                *before = *before.start()..=*before.end().max(next.end());
            }
            meet
        });
        (!self.too_many).then_some(ranges)
    }
}

/// Reads `(EARLIER) 1:4,7`.
fn ranges(words: &[u8]) -> impl Iterator<Item = RangeInclusive<u32>> + use<'_> {
    let words = words.trim_ascii();
    let set = words.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    set.split(|byte| *byte == b',').filter_map(|range| {
        let range = std::str::from_utf8(range).ok()?;
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        Some(first.min(last)..=first.max(last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_read_in_all_forms() {
        for (words, expected) in [
            (&b" (EARLIER) 41,43:116,118"[..], vec![41..=41, 43..=116, 118..=118]),
            (b" 5:3", vec![3..=5]),
            (b" (EARLIER) x,7", vec![7..=7]),
            (b"", vec![]),
        ] {
            assert_eq!(ranges(words).collect::<Vec<_>>(), expected, "{}", words.escape_ascii());
        }
    }

    #[test]
    fn what_is_gone_is_found_whatever_the_order_it_was_told_in() {
        let mut vanished = Vanished::default();
        for words in [&b" (EARLIER) 40:50,7,1:3"[..], b" 4,45:60", b" (EARLIER) 4294967295,100"] {
            vanished.take(words);
        }
        let changes = Changes { seen: Listing::default(), vanished: vanished.finish().unwrap() };
        assert_eq!(changes.vanished, [1..=4, 7..=7, 40..=60, 100..=100, u32::MAX..=u32::MAX]);
        let gone = |uid: &u32| changes.is_gone(Uid::new(*uid).unwrap());
        let found: Vec<u32> = (1..=120).chain([u32::MAX - 1, u32::MAX]).filter(gone).collect();
        let expected = (1..=4).chain([7]).chain(40..=60).chain([100, u32::MAX]);
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn too_many_that_are_gone_are_no_answer() {
        let mut vanished = Vanished::default();
        let words = (0..Vanished::MAX as u32 / 4).map(|at| format!("{}", 1 + 2 * at)).collect::<Vec<_>>().join(",");
        (0..5).for_each(|_| vanished.take(words.as_bytes()));
        assert!(!vanished.too_many);
        (0..2).for_each(|_| vanished.take(words.as_bytes()));
        assert!(vanished.finish().is_none());
    }
}
