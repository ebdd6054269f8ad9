//! What makes a second run nearly free: a folder of which both sides are as they were is not opened.

use super::account::{Account, Survey};
use super::folder::FolderEnd;
use crate::checkpoint::{FolderSummary, Watermark};
use crate::mail::{Evidence, Fate, FolderState};
use crate::plan::FolderPair;
use std::collections::BTreeMap;

/// Finds out whether anything can have changed since the last pass that ended clean; if not, gives what is known. Asks nobody.
pub(super) fn unchanged(account: &Account, survey: &Survey, pair: &FolderPair) -> Option<FolderEnd> {
    let Remembered { known, before } = remembered(account, survey, pair)?;
    let source = pair.source.state?;
    // Without a modification sequence a change of flags would not be seen.
    source.highest_modseq?;
    if source != before.source || !is_target_same(pair, &before) {
        return None;
    }
    end(known, source)
}

/// What the last pass over a folder left.
#[derive(Clone, Copy)]
pub(super) struct Remembered<'s> {
    pub(super) known: &'s FolderSummary,
    /// What both sides were.
    pub(super) before: Watermark,
}

/// Gives what the last pass over a folder left, where it ended clean and nothing more is asked of this one.
pub(super) fn remembered<'s>(account: &Account, survey: &'s Survey, pair: &FolderPair) -> Option<Remembered<'s>> {
    let known = survey.known(pair)?;
    let before = known.remembered.filter(|_| !account.mode.retry && !account.mode.restore)?;
    if before.deleted != account.deleted {
        return None;
    }
    Some(Remembered { known, before })
}

/// Says whether the target holds the messages that it held.
pub(super) fn is_target_same(pair: &FolderPair, remembered: &Watermark) -> bool {
    let Some(folder) = pair.existing.as_ref() else { return false };
    let subscribed = folder.subscribed || !pair.source.subscribed;
    subscribed && folder.state.is_some_and(|now| holds_the_same(&remembered.target, &now))
}

/// Nothing was added, since that moves UIDNEXT; so nothing is gone, since that moves MESSAGES. What was set back to an
/// earlier state and has got as many since is told by its modification sequence alone.
pub(super) fn holds_the_same(before: &FolderState, now: &FolderState) -> bool {
    let plain = |state: &FolderState| Some((state.uid_validity?, state.uid_next?, state.messages));
    plain(before).is_some() && plain(before) == plain(now) && before.highest_modseq == now.highest_modseq
}

/// Gives what became of a folder's messages; None where the records are not exactly those of the source's messages.
pub(super) fn end(known: &FolderSummary, source: FolderState) -> Option<FolderEnd> {
    let (fates, evidence) = remaining(known)?;
    // Records of messages that left the source since would be counted too: then the folder is looked at.
    let sum: u64 = fates.values().sum();
    let end = FolderEnd { fates, evidence, unchanged: true, ..FolderEnd::default() };
    (sum == u64::from(source.messages) && known.totals.intended.messages == 0).then_some(end)
}

/// Messages by what became of them, and by the proof of those that were copied.
pub(super) type Counts = (BTreeMap<Fate, u64>, BTreeMap<Evidence, u64>);

/// Counts records without those of messages that had left the source when the folder was left, or are told to be gone. None:
/// more have left than there are.
pub(super) fn remaining(known: &FolderSummary) -> Option<Counts> {
    let mut fates: BTreeMap<Fate, u64> = known.totals.fates.iter().map(|(of, count)| (*of, count.messages)).collect();
    fates.remove(&Fate::Gone);
    let evidence = known.totals.evidence.iter().map(|(of, count)| (*of, count.messages));
    let mut evidence: BTreeMap<Evidence, u64> = evidence.collect();
    for (fate, of, left) in &known.left.counts {
        let here = fates.get_mut(fate)?;
        *here = here.checked_sub(*left)?;
        if matches!(fate, Fate::Copied | Fate::Adopted) {
            let here = evidence.get_mut(of)?;
            *here = here.checked_sub(*left)?;
        }
    }
    fates.retain(|_, count| *count > 0);
    evidence.retain(|_, count| *count > 0);
    Some((fates, evidence))
}
