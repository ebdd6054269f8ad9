//! A folder by what changed in it since the last pass that ended clean, where that is known beyond doubt: what the ledger
//! knows stands for what the servers need not list again. Wherever a proof is wanting the folder is listed whole.
//!
//! ```text
//! source   UIDVALIDITY as it was, and
//!            HIGHESTMODSEQ moved on: new, changed and vanished messages are told, and the count agrees
//!            no HIGHESTMODSEQ: UIDNEXT and MESSAGES as they were; every UID is read with its flags
//!          and the highest known UIDs still are the messages they were (a server that was set back gives them anew),
//!          no message is told that had a number by then and is unknown,
//!          and no other name of the mailbox knows of messages that this one does not
//! target   UIDVALIDITY, UIDNEXT, MESSAGES as they were; for new mail also: it holds nothing that we do not know, and none
//!          has gone from the source that may have come back under another number
//! ```

use super::flags::is_proven;
use super::folder::{FolderEnd, Pass, Windows, on_source, on_target};
use super::pool::Lease;
use super::unchanged::{end, holds_the_same, is_target_same, remembered};
use crate::checkpoint::{FolderSummary, Watermark};
use crate::failure::Failure;
use crate::imap::{Changes, ImapError, Opened, Source, Target};
use crate::mail::{Fate, Listing, Record, Stage, Uid};
use crate::plan::is_another;
use std::collections::BTreeSet;

/// So many of the highest known messages are looked at: where they all have gone the folder is listed whole.
const NAMED: usize = 8;

/// The source, listed by what changed.
pub(super) struct Delta {
    /// All of it.
    pub(super) listing: Listing,
    /// There are messages that were not there before.
    has_new: bool,
    /// Some that were there are not any more.
    has_gone: bool,
    /// Copies of messages that have other flags now, by target UID.
    changed: Vec<Uid>,
    /// Every copy that the ledger knows of, by target UID.
    copies: Listing,
}

impl Delta {
    /// Says whether nothing has changed that a copy or a person would notice.
    pub(super) fn is_idle(&self, messages: u32) -> bool {
        !self.has_new && self.changed.is_empty() && self.listing.len() == messages as usize
    }
}

impl Pass<'_> {
    /// Opens the source and lists it by what changed. None: it has to be listed whole.
    pub(super) async fn open_source_by_delta(&mut self) -> Result<Option<(Lease<Source>, Opened, Delta)>, Failure> {
        if remembered(self.account, self.survey, self.pair).is_none() || self.account.mode.rebuild {
            return Ok(None);
        }
        let mut source = self.account.source.take().await?;
        let opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        // Once: who breaks off over it, or tells too much at once, would do so each time.
        self.memory.delta_tried = true;
        match self.source_delta(&mut source, &opened).await? {
            Some(delta) => Ok(Some((source, opened, delta))),
            None => {
                self.account.source.keep(source);
                Ok(None)
            }
        }
    }

    /// Gives the folder's end where the source turned out to be as it was, and so is the target.
    pub(super) async fn idle(&self, opened: &Opened, delta: &Delta) -> Result<Option<FolderEnd>, Failure> {
        let Some((known, before)) = remembered(self.account, self.survey, self.pair) else { return Ok(None) };
        let idle = delta.is_idle(before.source.messages) && is_target_same(self.pair, &before);
        let end = end(known, opened.state).filter(|_| idle);
        if end.is_some() && opened.state != before.source {
            // Changed and changed back: the next run need not look again.
            let now = Watermark { source: opened.state, ..before };
            self.account.ledger.remember(self.row.id, now, known.left.clone()).await?;
        }
        Ok(end)
    }

    /// Lists an open source folder by what changed in it. None: that is not known, or not for certain.
    pub(super) async fn source_delta(
        &self,
        source: &mut Lease<Source>,
        opened: &Opened,
    ) -> Result<Option<Delta>, Failure> {
        let (account, folder) = (self.account, self.row.id);
        let Some((known, before)) = remembered(account, self.survey, self.pair) else { return Ok(None) };
        let (before, now) = (before.source, opened.state);
        let same_epoch = before.uid_validity.is_some() && before.uid_validity == now.uid_validity;
        let (Some(was_next), Some(next)) = (before.uid_next, now.uid_next) else { return Ok(None) };
        let Some(last) = Uid::new(next.value() - 1) else { return Ok(None) };
        if !same_epoch || opened.uid_not_sticky || was_next > next || !is_plain(known, before.messages) {
            return Ok(None);
        }
        if !account.ledger.surplus(folder).await?.is_empty() || !account.ledger.suspects(folder).await?.is_empty() {
            return Ok(None);
        }
        // What those have copied is taken over with a listing of all.
        if let Some(validity) = now.uid_validity
            && !account.ledger.namesakes(folder, validity).await?.is_empty()
        {
            return Ok(None);
        }
        let records = self.records_of(known, opened).await?;
        let named: Vec<Uid> = records.iter().rev().take(NAMED).map(|record| record.source_uid).collect();
        let named: Vec<Uid> = named.into_iter().rev().collect();
        let changes = match (before.highest_modseq, now.highest_modseq) {
            (Some(since), Some(highest)) if since < highest => source.session.changes(since, last, &named).await,
            // Only the target has changed.
            (Some(_), Some(_)) if before == now => {
                source.session.entries(&named).await.map(|seen| Some(Changes::of(seen)))
            }
            (None, None) if (was_next, before.messages) == (next, now.messages) => {
                source.session.flags(last, &named).await.map(|seen| Some(Changes::of(seen)))
            }
            _ => return Ok(None),
        };
        let changes = match changes {
            Err(error) if error.is_refusal() => return Ok(None),
            other => other.map_err(on_source)?,
        };
        let Some(changes) = changes else { return Ok(None) };
        if before.highest_modseq.is_none() && !lists_all(&changes, &records) {
            return Ok(None);
        }
        Ok(self.joined(&records, &named, &changes, (was_next, now.messages)))
    }

    /// Gives the records of the messages that were listed when the folder was left, ascending.
    async fn records_of(&self, known: &FolderSummary, opened: &Opened) -> Result<Vec<Record>, Failure> {
        let Some(validity) = opened.state.uid_validity else { return Ok(Vec::new()) };
        let mut windows = Windows::of(&self.account.ledger, self.row.id, validity);
        let mut all = Vec::new();
        while let Some(mut records) = windows.next().await? {
            records.retain(|record| known.left.uids.binary_search(&record.source_uid).is_err());
            all.extend(records);
        }
        Ok(all)
    }

    fn joined(
        &self,
        records: &[Record],
        named: &[Uid],
        changes: &Changes,
        (was_next, messages): (Uid, u32),
    ) -> Option<Delta> {
        let here: Vec<&Record> = records.iter().filter(|record| !changes.is_gone(record.source_uid)).collect();
        let new: Vec<_> = changes.seen.iter().filter(|entry| entry.uid >= was_next).collect();
        if here.len() + new.len() != messages as usize {
            return None;
        }
        // Of those that are there the highest must be among those that were looked at, and all of these must be theirs.
        let looked_at: Vec<&&Record> =
            here.iter().filter(|record| named.binary_search(&record.source_uid).is_ok()).collect();
        let is_it = |record: &&&Record| {
            changes.seen.get(record.source_uid).is_some_and(|entry| !is_another(record.date, entry.date))
        };
        if looked_at.is_empty() && !here.is_empty() || !looked_at.iter().all(is_it) {
            return None;
        }
        let known =
            |uid: &Uid| changes.is_gone(*uid) || records.binary_search_by_key(uid, |record| record.source_uid).is_ok();
        if !changes.seen.uids().iter().take_while(|uid| **uid < was_next).all(known) {
            return None;
        }
        let mut delta = Delta {
            listing: Listing::default(),
            has_new: !new.is_empty(),
            has_gone: here.len() < records.len(),
            changed: Vec::new(),
            copies: Listing::default(),
        };
        for record in here {
            let (size, date) = (Some(record.size), record.date);
            let seen = changes.seen.get(record.source_uid);
            let flags = seen.map_or(&record.flags, |entry| entry.flags);
            delta.listing.push(record.source_uid, size, date, flags.clone());
            let unsendable = is_proven(record.evidence) && flags.unsendable().next().is_some();
            if !self.account.carried(flags).same(&record.flags) || unsendable {
                delta.changed.extend(record.target.filter(|_| has_copy(record)).map(|(_, uid)| uid));
            }
        }
        for entry in new {
            delta.listing.push(entry.uid, entry.size, entry.date, entry.flags.clone());
        }
        let copies: BTreeSet<(Uid, usize)> = records
            .iter()
            .enumerate()
            .filter(|(_, record)| has_copy(record))
            .filter_map(|(at, record)| Some((record.target?.1, at)))
            .collect();
        for (uid, at) in copies {
            delta.copies.push(uid, Some(records[at].size), records[at].date, records[at].flags.clone());
        }
        delta.changed.sort_unstable();
        Some(delta)
    }

    /// Lists an open target folder by what is known of it, with the flags that changed ones have there now. None: it is not
    /// known.
    pub(super) async fn target_delta(
        &self,
        target: &mut Lease<Target>,
        opened: &Opened,
        delta: &Delta,
    ) -> Result<Option<Listing>, Failure> {
        let Some((known, before)) = remembered(self.account, self.survey, self.pair) else { return Ok(None) };
        let same = holds_the_same(&before.target, &opened.state) && !opened.uid_not_sticky;
        // Mail that we do not know of may be a copy of what is new. So may be the copy of what has gone: what is matched with
        // that is proven by what the target lists, not by what was known of it.
        let none_left = known.left.uids.is_empty() && !delta.has_gone;
        let all_known = none_left && delta.copies.len() == opened.state.messages as usize;
        if !same || delta.has_new && !all_known {
            return Ok(None);
        }
        let now = match delta.changed.is_empty() {
            true => Listing::default(),
            false => match target.session.entries(&delta.changed).await {
                Err(ImapError::Refused { .. }) => return Ok(None),
                other => other.map_err(on_target)?,
            },
        };
        let mut listing = Listing::default();
        for copy in delta.copies.iter() {
            let copy = match delta.changed.binary_search(&copy.uid) {
                Ok(_) => match now.get(copy.uid) {
                    Some(now) => now,
                    None => return Ok(None),
                },
                Err(_) => copy,
            };
            listing.push(copy.uid, copy.size, copy.date, copy.flags.clone());
        }
        Ok(Some(listing))
    }
}

fn has_copy(record: &Record) -> bool {
    matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted)) && record.target.is_some()
}

/// Says whether the records stand for exactly the messages that were listed, and each of them is on the target or was removed
/// there: of what was refused the ledger does not know the flags.
fn is_plain(known: &FolderSummary, messages: u32) -> bool {
    let here = |fate: Fate| {
        let left: u64 = known.left.counts.iter().filter(|(of, ..)| *of == fate).map(|(.., count)| *count).sum();
        known.totals.of(fate).messages.saturating_sub(left)
    };
    // Gone was none of these messages: each of them is accounted for without.
    let others = [Fate::Excluded, Fate::Refused, Fate::Unreadable, Fate::Missing];
    known.totals.intended.messages == 0
        && others.iter().all(|fate| here(*fate) == 0)
        && here(Fate::Copied) + here(Fate::Adopted) + here(Fate::Removed) == u64::from(messages)
}

fn lists_all(changes: &Changes, records: &[Record]) -> bool {
    changes.seen.len() == records.len()
        && changes.seen.uids().iter().zip(records).all(|(uid, record)| *uid == record.source_uid)
}
