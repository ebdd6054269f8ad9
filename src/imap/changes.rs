//! What changed in an open folder: by modification sequence where the server has one (RFC 7162), else by flags alone.

use super::connection::untagged;
use super::error::ImapError;
use super::session::{End, Gathering, Session, parse_fetch, uid_sets};
use super::wire::Broken;
use crate::mail::{Listing, ModSeq, Uid};
use std::ops::RangeInclusive;

/// What a server tells of the time since a modification sequence.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// What is new or has other flags, and all that was asked for by name.
    pub seen: Listing,
    /// What is gone, and perhaps numbers that never were; empty where the server does not tell.
    pub vanished: Vec<RangeInclusive<u32>>,
}

impl Changes {
    /// Says whether a message is told to be gone.
    #[must_use]
    pub fn is_gone(&self, uid: Uid) -> bool {
        self.vanished.iter().any(|range| range.contains(&uid.value()))
    }
}

const ALL: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE)";

impl<E: End> Session<E> {
    /// Lists what changed in the open folder after `since`, up to `last`; and these by name, whether they changed or not.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn changes(&mut self, since: ModSeq, last: Uid, named: &[Uid]) -> Result<Changes, ImapError> {
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
        Ok(self.gather("list flags", commands, last).await?.seen)
    }

    /// Lists some messages of the open folder.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn entries(&mut self, uids: &[Uid]) -> Result<Listing, ImapError> {
        let commands = uid_sets(uids).iter().map(|set| format!("UID FETCH {set} {ALL}")).collect();
        Ok(self.gather("list messages", commands, Uid::LAST).await?.seen)
    }

    async fn gather(&mut self, what: &str, commands: Vec<String>, last: Uid) -> Result<Changes, ImapError> {
        /// Ranges of UIDs in all answers: a set of them fits into a line.
        const RANGES_MAX: usize = 1_000_000;
        let (mut gathered, mut vanished) = (Gathering::default(), Vec::new());
        let whole = self.pipeline(what, commands, |response| {
            if let Some(tokens) = untagged(response, b"VANISHED") {
                vanished.extend(ranges(tokens.rest()));
                return match vanished.len() > RANGES_MAX {
                    true => Err(Broken::Protocol(format!("more than {RANGES_MAX} ranges of messages that are gone"))),
                    false => Ok(()),
                };
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
        Ok(Changes { seen: gathered.finish(), vanished })
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
}
