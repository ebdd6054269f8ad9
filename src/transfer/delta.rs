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
//!
//! Records are read window by window.

use super::account::Account;
use super::flags::is_proven;
use super::folder::{FolderEnd, Pass};
use super::open::{on_source, on_target};
use super::pool::Lease;
use super::unchanged::{Remembered, end, holds_the_same, is_target_same, remaining, remembered};
use super::windows::Windows;
use crate::checkpoint::{FolderSummary, Watermark};
use crate::failure::Failure;
use crate::imap::{Changes, ImapError, Opened, Source, Target};
use crate::mail::{Fate, FolderState, Listing, Record, Stage, Uid, UidValidity, Unsorted};
use crate::plan::is_another;

/// So many of the highest known messages are looked at: where they all have gone the folder is listed whole.
const NAMED: usize = 8;

/// The source, listed by what changed.
pub(super) struct Delta<'s> {
    /// What was known when the folder was left.
    remembered: Remembered<'s>,
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

impl Delta<'_> {
    /// Says whether nothing has changed that a copy or a person would notice.
    fn is_idle(&self) -> bool {
        let messages = self.remembered.before.source.messages as usize;
        !self.has_new && self.changed.is_empty() && self.listing.len() == messages
    }
}

/// Within what a source is asked for changes.
struct Bounds {
    validity: UidValidity,
    /// From here on messages are new.
    was_next: Uid,
    last: Uid,
}

/// Records of the messages that were there when the folder was left, ascending.
struct Known<'a> {
    windows: Windows<'a>,
    left: &'a [Uid],
}

impl Known<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Record>>, Failure> {
        let mut records = self.windows.next().await?;
        if let Some(records) = &mut records {
            records.retain(|record| self.left.binary_search(&record.source_uid).is_err());
        }
        Ok(records)
    }
}

impl<'a> Pass<'a> {
    /// Opens the source and lists it by what changed. None: it has to be listed whole.
    pub(super) async fn open_source_by_delta(&mut self) -> Result<Option<(Lease<Source>, Opened, Delta<'a>)>, Failure> {
        let Some(remembered) = remembered(self.account, self.survey, self.pair) else { return Ok(None) };
        if self.account.mode.rebuild {
            return Ok(None);
        }
        let mut source = self.account.source.take().await?;
        let opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        // Once: who breaks off over it, or tells too much at once, would do so each time.
        self.memory.delta_tried = true;
        match self.source_delta(&mut source, &opened, remembered).await? {
            Some(delta) => Ok(Some((source, opened, delta))),
            None => {
                self.account.source.keep(source);
                Ok(None)
            }
        }
    }

    /// Gives the folder's end where the source turned out to be as it was, and so is the target.
    pub(super) async fn idle(&self, opened: &Opened, delta: &Delta<'_>) -> Result<Option<FolderEnd>, Failure> {
        let Remembered { known, before } = delta.remembered;
        let idle = delta.is_idle() && is_target_same(self.pair, &before);
        let end = end(known, opened.state).filter(|_| idle);
        if end.is_some() && opened.state != before.source {
            // Changed and changed back: the next run need not look again.
            let now = Watermark { source: opened.state, ..before };
            self.account.ledger.remember(self.row.id, now, known.left.clone()).await?;
        }
        Ok(end)
    }

    /// Lists an open source folder by what changed in it. None: that is not known, or not for certain.
    async fn source_delta(
        &self,
        source: &mut Lease<Source>,
        opened: &Opened,
        remembered: Remembered<'a>,
    ) -> Result<Option<Delta<'a>>, Failure> {
        let Some(bounds) = self.bounds(&remembered, opened).await? else { return Ok(None) };
        let named = self.highest(&remembered, bounds.validity).await?;
        let (before, now) = (remembered.before.source, opened.state);
        let changes = match ask(source, (&before, &now), &bounds, &named).await {
            Err(error) if error.is_refusal() => return Ok(None),
            other => other.map_err(on_source)?,
        };
        let Some(changes) = changes else { return Ok(None) };
        let mut joining = Joining::new(self.account, remembered, &changes, &named);
        let mut known = self.known(&remembered, bounds.validity);
        while let Some(records) = known.next().await? {
            records.iter().for_each(|record| joining.take(record));
        }
        let lists_all = before.highest_modseq.is_none();
        Ok(joining.finish(bounds.was_next, now.messages, lists_all))
    }

    /// None: what the ledger knows cannot stand for what is there.
    async fn bounds(&self, remembered: &Remembered<'_>, opened: &Opened) -> Result<Option<Bounds>, Failure> {
        let (ledger, folder) = (&self.account.ledger, self.row.id);
        let (before, now) = (remembered.before.source, opened.state);
        let (Some(was_next), Some(next)) = (before.uid_next, now.uid_next) else { return Ok(None) };
        let Some(last) = Uid::new(next.value() - 1) else { return Ok(None) };
        let same_epoch = before.uid_validity == now.uid_validity && !opened.uid_not_sticky;
        let Some(validity) = now.uid_validity.filter(|_| same_epoch && was_next <= next) else { return Ok(None) };
        if !is_plain(remembered.known, before.messages)
            || !ledger.surplus(folder).await?.is_empty()
            || !ledger.suspects(folder).await?.is_empty()
            // What those have copied is taken over with a listing of all.
            || !ledger.namesakes(folder, validity).await?.is_empty()
        {
            return Ok(None);
        }
        Ok(Some(Bounds { validity, was_next, last }))
    }

    fn known<'k>(&'k self, remembered: &Remembered<'k>, validity: UidValidity) -> Known<'k> {
        Known { windows: Windows::of(&self.account.ledger, self.row.id, validity), left: &remembered.known.left.uids }
    }

    /// Gives the highest of the messages that were there, ascending.
    async fn highest(&self, remembered: &Remembered<'_>, validity: UidValidity) -> Result<Vec<Uid>, Failure> {
        let (mut known, mut highest) = (self.known(remembered, validity), Vec::new());
        while let Some(records) = known.next().await? {
            highest.extend(records.iter().map(|record| record.source_uid));
            highest.drain(..highest.len().saturating_sub(NAMED));
        }
        Ok(highest)
    }

    /// Lists an open target folder by what is known of it, with the flags that changed ones have there now. None: it is not
    /// known.
    pub(super) async fn target_delta(
        &self,
        target: &mut Lease<Target>,
        opened: &Opened,
        delta: Delta<'_>,
    ) -> Result<Option<Listing>, Failure> {
        let Remembered { known, before } = delta.remembered;
        let same = holds_the_same(&before.target, &opened.state) && !opened.uid_not_sticky;
        // Mail that we do not know of may be a copy of what is new. So may be the copy of what has gone: what is matched with
        // that is proven by what the target lists, not by what was known of it.
        let none_left = known.left.uids.is_empty() && !delta.has_gone;
        let all_known = none_left && delta.copies.len() == opened.state.messages as usize;
        if !same || delta.has_new && !all_known {
            return Ok(None);
        }
        let mut listing = delta.copies;
        if delta.changed.is_empty() {
            return Ok(Some(listing));
        }
        let now = match target.session.entries(&delta.changed).await {
            Err(ImapError::Refused { .. }) => return Ok(None),
            other => other.map_err(on_target)?,
        };
        for uid in delta.changed {
            let Some(copy) = now.get(uid) else { return Ok(None) };
            listing.push(uid, copy.size, copy.date, copy.flags.clone());
        }
        Ok(Some(listing))
    }
}

/// Asks an open source folder what has changed in it; of the named messages all. None: there is no asking that would tell.
async fn ask(
    source: &mut Lease<Source>,
    (before, now): (&FolderState, &FolderState),
    bounds: &Bounds,
    named: &[Uid],
) -> Result<Option<Changes>, ImapError> {
    let session = &mut source.session;
    match (before.highest_modseq, now.highest_modseq) {
        (Some(since), Some(highest)) if since < highest => session.changes(since, bounds.last, named).await,
        // Only the target has changed.
        (Some(_), Some(_)) if before == now => session.entries(named).await.map(|seen| Some(Changes::of(seen))),
        (None, None) if (before.uid_next, before.messages) == (now.uid_next, now.messages) => {
            session.flags(bounds.last, named).await.map(|seen| Some(Changes::of(seen)))
        }
        _ => Ok(None),
    }
}

/// What is known and what was told, being made one.
struct Joining<'c, 's> {
    account: &'c Account,
    changes: &'c Changes,
    named: &'c [Uid],
    delta: Delta<'s>,
    copies: Unsorted,
    /// Known messages of which the source told something and not that they are gone.
    told: usize,
    /// Those of them that were asked for by name.
    looked_at: usize,
    /// One that was asked for by name is another message by now, or was not told of.
    is_other: bool,
}

impl<'c, 's> Joining<'c, 's> {
    fn new(account: &'c Account, remembered: Remembered<'s>, changes: &'c Changes, named: &'c [Uid]) -> Self {
        let delta = Delta {
            remembered,
            listing: Listing::default(),
            has_new: false,
            has_gone: false,
            changed: Vec::new(),
            copies: Listing::default(),
        };
        let copies = Unsorted::default();
        Self { account, changes, named, delta, copies, told: 0, looked_at: 0, is_other: false }
    }

    fn take(&mut self, record: &Record) {
        let copy = record.target.filter(|_| has_copy(record)).map(|(_, uid)| uid);
        if let Some(uid) = copy {
            self.copies.push(uid, Some(record.size), record.date, record.flags.clone());
        }
        if self.changes.is_gone(record.source_uid) {
            self.delta.has_gone = true;
            return;
        }
        let seen = self.changes.seen.get(record.source_uid);
        self.told += usize::from(seen.is_some());
        if self.named.binary_search(&record.source_uid).is_ok() {
            self.looked_at += 1;
            self.is_other |= seen.is_none_or(|entry| is_another(record.date, entry.date));
        }
        let flags = seen.map_or(&record.flags, |entry| entry.flags);
        self.delta.listing.push(record.source_uid, Some(record.size), record.date, flags.clone());
        let unsendable = is_proven(record.evidence) && flags.unsendable().next().is_some();
        if !self.account.carried(flags).same(&record.flags) || unsendable {
            self.delta.changed.extend(copy);
        }
    }

    /// `lists_all`: the source was asked for all of its messages. None: what is known and what was told do not fit.
    fn finish(self, was_next: Uid, messages: u32, lists_all: bool) -> Option<Delta<'s>> {
        let Self { changes, mut delta, .. } = self;
        let (seen, here) = (&changes.seen, delta.listing.len());
        let (old, all) = (seen.uids().below(was_next), seen.len());
        // What had a number by then is known, or gone since.
        let known = seen.uids().range(0, old).filter(|uid| !changes.is_gone(*uid)).count() == self.told;
        // Of those that are there the highest must be among those that were looked at, and all of these must be theirs.
        let same = !self.is_other && (self.looked_at > 0 || here == 0);
        let whole = !lists_all || (self.told, seen.len()) == (here, here);
        if !known || !same || !whole || here + all - old != messages as usize {
            return None;
        }
        delta.has_new = old < all;
        for entry in seen.range(old, all) {
            delta.listing.push(entry.uid, entry.size, entry.date, entry.flags.clone());
        }
        delta.copies = self.copies.finish();
        delta.changed.sort_unstable();
        Some(delta)
    }
}

fn has_copy(record: &Record) -> bool {
    matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted)) && record.target.is_some()
}

/// Says whether the records stand for exactly the messages that were listed, and each of them is on the target or was removed
/// there: of what was refused the ledger does not know the flags.
fn is_plain(known: &FolderSummary, messages: u32) -> bool {
    let Some((fates, _)) = remaining(known) else { return false };
    let good = |fate: &Fate| matches!(fate, Fate::Copied | Fate::Adopted | Fate::Removed);
    known.totals.intended.messages == 0 && fates.keys().all(good) && fates.values().sum::<u64>() == u64::from(messages)
}
