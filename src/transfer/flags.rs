//! Flags of messages that are on the target: changes are stored, read back, and then taken for the new base.
//!
//! Invariant: a base is moved only after the target was seen. Killed before, the next pass does the same again.

use super::copy::{self, Task};
use super::folder::Pass;
use super::open::on_target;
use super::pool::Lease;
use super::stable::numbered_anew;
use super::windows::{Windows, windows};
use crate::checkpoint::LossKind;
use crate::failure::{Failure, Scope};
use crate::imap::{FLAG_BYTES_MAX, FlagChange, ImapError, Opened, Target};
use crate::mail::{Evidence, Fate, Flags, Listing, ModSeq, Side, Stage, Uid, Uids};
use crate::plan::{self, FlagChanges, Keeping, Merge, Rebase};
use crate::rows::Rows;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often messages are looked at that others change at the same time; what is left then is for the next run.
const ROUNDS_MAX: u32 = 3;

/// What the target has shown of what it keeps, in this run.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) keeping: Keeping,
    /// Messages whose date was refused, with the target's words.
    pub(super) undated: BTreeMap<Uid, String>,
}

/// What changing flags came to.
#[derive(Default)]
pub(super) struct Changed {
    /// The target as it was after the last change; None: nothing was changed.
    pub(super) listing: Option<Listing>,
    /// Others kept changing some messages meanwhile: their turn comes with the next run.
    pub(super) raced: bool,
}

/// A message on which the target does not have what the merge asks for.
struct Left {
    source_uid: Uid,
    target_uid: Uid,
    merge: Merge,
    evidence: Evidence,
}

/// One round of STOREs.
#[derive(Default)]
struct Round {
    /// Changed by us: their modification sequence says nothing of others any more.
    touched: BTreeSet<Uid>,
    /// Changed by others since they were looked at, and left as they are.
    raced: BTreeSet<Uid>,
}

impl Pass<'_> {
    /// Learns what the target's folder keeps, where something is to be sent that it may not. Only SELECT tells it: a folder
    /// that is open read-only keeps nothing.
    pub(super) async fn ask_permanent(
        &mut self,
        uids: &Rows<Uid>,
        listing: &Listing,
        opened: &Opened,
        target: &mut Lease<Target>,
    ) -> Result<(), Failure> {
        self.note_permanent(opened);
        let flagged = |uid| listing.get(uid).is_some_and(|entry| !self.account.carried(entry.flags).is_empty());
        if self.memory.shown.keeping.is_told() || !uids.iter().any(flagged) {
            return Ok(());
        }
        match target.session.select(self.target_name).await {
            Ok(opened) => self.note_permanent(&opened),
            // One that may only be appended to: then it is tried.
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(on_target(error)),
        }
        Ok(())
    }

    pub(super) fn note_permanent(&mut self, opened: &Opened) {
        if let Some(permanent) = &opened.permanent {
            self.memory.shown.keeping.tell(&permanent.flags, permanent.any_keyword);
        }
    }

    /// Adds to `changes` what messages still lack that were sent with less than they have, or found after a crash.
    pub(super) async fn complete_flags(
        &self,
        task: &Task<'_>,
        before: &Listing,
        changes: &mut FlagChanges,
    ) -> Result<(), Failure> {
        changes.sort();
        let planned: Uids = changes.rebases().map(|rebase| rebase.source_uid).collect();
        let mut windows = Windows::of(&task.account.ledger, task.folder, task.source_validity);
        while let Some(records) = windows.next().await? {
            for record in &records {
                let target = record.target.filter(|(validity, _)| Some(*validity) == task.target_validity);
                let is_planned = planned.has(record.source_uid);
                let copied = record.stage == Stage::Settled(Fate::Copied) && !is_planned;
                if let (true, Some((_, target)), Some(entry)) = (copied, target, task.listing.get(record.source_uid)) {
                    let now = before.get(target).map_or(&record.flags, |copy| copy.flags);
                    changes.note(record.source_uid, target, &record.flags, &task.account.carried(entry.flags), now);
                }
            }
        }
        Ok(())
    }

    /// Carries changes out, sorted, reads the target back, notes what it has not done, and moves the base of every message.
    ///
    /// `since`: the target's modification sequence before it was listed for the plan.
    pub(super) async fn change_flags(
        &mut self,
        task: &Task<'_>,
        changes: &FlagChanges,
        since: Option<ModSeq>,
        target: &mut Lease<Target>,
    ) -> Result<Changed, Failure> {
        let mut changed = Changed { listing: None, raced: false };
        let mut raced = BTreeSet::new();
        if !changes.is_idle() {
            let (listing, left, others) = self.store_all(task, changes, since, target).await?;
            // A part of it says nothing of the rest.
            (changed.listing, raced) = ((!self.by_delta).then_some(listing), others);
            changed.raced = left.iter().any(|left| raced.contains(&left.target_uid));
            self.note_left(task, left.iter().filter(|left| !raced.contains(&left.target_uid))).await?;
        }
        let agreed = changes.rebases().filter(|rebase| !raced.contains(&rebase.target_uid));
        for window in windows(agreed.map(|rebase| (rebase.source_uid, rebase.flags.clone()))) {
            task.account.ledger.rebase(task.folder, task.source_validity, window).await?;
        }
        Ok(changed)
    }

    /// Stores, looks, and goes on with what others changed in between. Gives how the target is then, what it has not done,
    /// and the messages that others were still changing.
    async fn store_all(
        &mut self,
        task: &Task<'_>,
        changes: &FlagChanges,
        since: Option<ModSeq>,
        target: &mut Lease<Target>,
    ) -> Result<(Listing, Vec<Left>, BTreeSet<Uid>), Failure> {
        let mut opened = target.session.select(task.target_name).await.map_err(on_target)?;
        if opened.state.uid_validity != task.target_validity {
            return Err(numbered_anew(&self.pair.source.path.to_string(), Side::Target));
        }
        self.note_permanent(&opened);
        let mut raced = self.store_round(changes, since, target).await?;
        let mut rounds = 1;
        loop {
            if !raced.is_empty() {
                opened = target.session.select(task.target_name).await.map_err(on_target)?;
            }
            let listing = match self.by_delta {
                true => target.session.entries(&Vec::from_iter(&changes.targets())).await.map_err(on_target)?,
                false => target.session.list(Uid::FIRST, opened.state).await.map_err(on_target)?,
            };
            let left = left_undone(task, changes, &listing).await?;
            raced.retain(|uid| left.iter().any(|left| left.target_uid == *uid));
            if raced.is_empty() || rounds == ROUNDS_MAX {
                return Ok((listing, left, raced));
            }
            let mut open = FlagChanges::default();
            for Left { target_uid, merge, .. } in left.iter().filter(|left| raced.contains(&left.target_uid)) {
                open.ask(*target_uid, merge.clone());
            }
            raced = self.store_round(&open, opened.state.highest_modseq, target).await?;
            rounds += 1;
        }
    }

    /// Stores once. Gives the messages that others have changed since.
    async fn store_round(
        &mut self,
        changes: &FlagChanges,
        since: Option<ModSeq>,
        target: &mut Lease<Target>,
    ) -> Result<BTreeSet<Uid>, Failure> {
        let mut round = Round::default();
        let add = changes.add.iter().map(|(flags, uids)| (FlagChange::Add, flags, uids));
        let remove = changes.remove.iter().map(|(flags, uids)| (FlagChange::Remove, flags, uids));
        for (change, flags, uids) in add.chain(remove) {
            let mut parts = VecDeque::from(match change {
                FlagChange::Add => self.memory.shown.keeping.storable(flags).parts(FLAG_BYTES_MAX),
                FlagChange::Remove => flags.parts(FLAG_BYTES_MAX),
            });
            while let Some(part) = parts.pop_front() {
                match store(target, &mut round, uids, (change, &part), since).await {
                    Err(ImapError::Refused { what, refusal }) => {
                        let words = refusal.text();
                        let failure = ImapError::refused(what, refusal).failure(Side::Target);
                        if !matches!(failure.scope(), Scope::Message | Scope::Folder) {
                            return Err(failure);
                        }
                        // One of several must not cost the others.
                        match part.singles() {
                            singles if singles.len() > 1 => parts.extend(singles),
                            _ if change == FlagChange::Add => self.memory.shown.keeping.refuse(&part, words),
                            _ => {}
                        }
                    }
                    other => other.map_err(on_target)?,
                }
            }
        }
        Ok(round.raced)
    }

    async fn note_left<'l>(&self, task: &Task<'_>, left: impl Iterator<Item = &'l Left>) -> Result<(), Failure> {
        let mut counted = Vec::new();
        for Left { source_uid, merge, evidence, .. } in left {
            note_lost(task, *source_uid, &merge.remove, |_| "the target did not take it away".to_owned()).await?;
            // Who is not proven yet is told of at the end of the pass.
            if *evidence != Evidence::None {
                note_lost(task, *source_uid, &merge.add, |flag| self.memory.shown.keeping.why(flag)).await?;
            }
            counted.extend(is_proven(*evidence).then_some((*source_uid, Evidence::Counted)));
        }
        Ok(task.account.ledger.prove(task.folder, task.source_validity, counted).await?)
    }
}

/// Stores flags that are refused together or not at all.
async fn store(
    target: &mut Lease<Target>,
    round: &mut Round,
    uids: &[Uid],
    (change, flags): (FlagChange, &Flags),
    since: Option<ModSeq>,
) -> Result<(), ImapError> {
    let open = uids.iter().filter(|uid| !round.raced.contains(uid));
    let (again, first): (Vec<Uid>, Vec<Uid>) = open.partition(|uid| round.touched.contains(uid));
    for (mut uids, since) in [(first, since), (again, None)] {
        // Neighbours make ranges.
        uids.sort_unstable();
        let modified = target.session.store(&uids, change, flags, since).await?;
        round.touched.extend(uids.iter().filter(|uid| modified.binary_search(uid).is_err()));
        round.raced.extend(modified);
    }
    Ok(())
}

/// Compares what the target lists with what the merge of each message asks for.
async fn left_undone(task: &Task<'_>, changes: &FlagChanges, listing: &Listing) -> Result<Vec<Left>, Failure> {
    let mut wanted = changes.rebases().peekable();
    let mut left = Vec::new();
    let mut windows = Windows::of(&task.account.ledger, task.folder, task.source_validity);
    while let Some(records) = windows.next().await? {
        for record in &records {
            // Both are in the order of source UIDs.
            while wanted.next_if(|rebase| rebase.source_uid < record.source_uid).is_some() {}
            let Some(rebase) = wanted.next_if(|rebase| rebase.source_uid == record.source_uid) else { continue };
            let Rebase { source_uid, target_uid, flags } = rebase;
            // One that is gone was taken away by its user.
            let Some(copy) = listing.get(target_uid) else { continue };
            let merge = plan::merge_flags(&record.flags, flags, copy.flags);
            if merge != Merge::default() {
                left.push(Left { source_uid, target_uid, merge, evidence: record.evidence });
            }
        }
    }
    Ok(left)
}

/// Says whether nothing was found wanting so far.
pub(super) fn is_proven(evidence: Evidence) -> bool {
    matches!(evidence, Evidence::MetadataEqual | Evidence::BytesEqual)
}

/// Notes flags that a message has not got, sort by sort and reason by reason; each flag once, whatever happens in between.
pub(super) async fn note_lost(
    task: &Task<'_>,
    uid: Uid,
    lost: &Flags,
    why: impl Fn(&Flags) -> String,
) -> Result<(), Failure> {
    if lost.is_empty() {
        return Ok(());
    }
    let known = task.account.ledger.losses_of(task.folder, task.source_validity, uid).await?;
    let known: BTreeSet<&str> =
        known.iter().filter_map(|(_, text)| text.rsplit_once(": ")).flat_map(|(_, names)| names.split(' ')).collect();
    let mut reasons: BTreeMap<(LossKind, String), Vec<String>> = BTreeMap::new();
    for flag in lost.singles() {
        let name = flag.to_string();
        let kind = if flag.system_only().is_empty() { LossKind::Keyword } else { LossKind::SystemFlag };
        if !known.contains(name.as_str()) {
            reasons.entry((kind, why(&flag))).or_default().push(name);
        }
    }
    for ((kind, why), names) in reasons {
        copy::note_change(task, uid, kind, format!("{why}: {}", names.join(" "))).await?;
    }
    Ok(())
}
