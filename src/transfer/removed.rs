//! What has gone from the target since the last look: a user's tidying up, or something that a person has to judge.
//!
//! Invariant: where many copies are gone, or their whole folder, nothing is written to it before a person has said what
//! that means. A target that was numbered anew is none of these: what it holds is found by content.

use super::account::Account;
use super::open::Both;
use super::reconcile::answer;
use super::windows::Windows;
use crate::checkpoint::{Ending, FolderId, Settlement};
use crate::failure::{Failure, Kind};
use crate::mail::{Evidence, Fate, FolderPath, Listing, Record, Side, Stage, Uid, UidValidity};
use crate::plan::{self, FolderPlan, Joined, Likely, Matching, Need, Offer};
use std::collections::BTreeMap;

/// The failure of a folder of which so many copies are gone that a person has to say what that means.
fn ask(folder: &FolderPath, gone: u64, were: u64) -> Failure {
    let text = format!("take it that the user of \"{folder}\" removed {gone} of its {were} copied messages");
    Failure::new(Side::Target, Kind::CopiesGone, text).with_hint(
        "mailhaul run JOB --restore-removed copies them again, mailhaul run JOB --accept-removed takes them as removed \
         by their user",
    )
}

/// Refuses to go on where more is gone than a user tidies away.
pub(super) fn judge(account: &Account, folder: &FolderPath, plan: &FolderPlan) -> Result<(), Failure> {
    match plan.many_removed() {
        Some((gone, were)) if !account.mode.accept => Err(ask(folder, gone, were)),
        _ => Ok(()),
    }
}

/// Refuses to go on without a target folder that copies of ours were in.
pub(super) async fn judge_gone(account: &Account, folder: FolderId, path: &FolderPath) -> Result<(), Failure> {
    let copies = account.ledger.copies(folder).await?;
    if copies == 0 || account.mode.restore || account.mode.accept {
        return Ok(());
    }
    let text = format!("find folder \"{path}\": it is gone from the target, with the {copies} messages copied into it");
    Err(Failure { text, ..ask(path, copies, copies) })
}

/// Decides about a target folder that is not there: true where it is to be made. Where copies of ours were in it, a person
/// is asked; what its user removed with it is no reason to make it again.
pub(super) async fn may_create(
    account: &Account,
    folder: FolderId,
    path: &FolderPath,
    validity: UidValidity,
    listing: &Listing,
) -> Result<bool, Failure> {
    judge_gone(account, folder, path).await?;
    if account.mode.restore {
        return Ok(true);
    }
    let (mut removed, mut rest) = (0, listing.len() as u64);
    let mut windows = Windows::of(&account.ledger, folder, validity);
    while let Some(records) = windows.next().await? {
        let mut accepted = Vec::new();
        for record in records.iter().filter(|record| listing.has(record.source_uid)) {
            match record.stage {
                Stage::Settled(Fate::Copied | Fate::Adopted) => accepted.push(settlement(record.source_uid)),
                Stage::Settled(Fate::Removed) => removed += 1,
                Stage::Settled(_) => {}
                Stage::Intended => continue,
            }
            rest -= 1;
        }
        removed += accepted.len();
        account.ledger.settle(folder, validity, accepted).await?;
    }
    Ok(removed == 0 || rest > 0)
}

fn settlement(uid: Uid) -> Settlement {
    Settlement { source_uid: uid, fate: Ending::Removed, size: 0, date: None, trouble: None }
}

/// The source was numbered anew: what its user had removed from the target before then is known by content, and is not
/// copied again. Takes it out of what is absent, and gives what is to be written down of it.
pub(super) async fn recall(
    account: &Account,
    folder: FolderId,
    both: &mut Both,
    matched: &mut Joined,
) -> Result<Vec<Record>, Failure> {
    let Some(target_validity) = both.target_opened.state.uid_validity else { return Ok(Vec::new()) };
    if account.mode.restore || matched.new.is_empty() {
        return Ok(Vec::new());
    }
    let here = both.target_listing.uids().clone();
    let recalled = account.ledger.recall(folder, both.source_validity, target_validity, here).await?;
    if !account.mode.accept && plan::is_many(recalled.gone, recalled.were) {
        return Err(ask(&both.target_path, recalled.gone, recalled.were));
    }
    if recalled.removed.is_empty() {
        return Ok(Vec::new());
    }
    // Records of several epochs may have the same UID: each is numbered by its place.
    let offers: Vec<Offer> =
        recalled.removed.iter().zip(1..).filter_map(|(record, at)| Offer::recalled(record, Uid::new(at)?)).collect();
    let likely = Likely::among(&offers, usize::MAX);
    let needs: Vec<Need> = matched
        .new
        .iter()
        .filter_map(|uid| both.source_listing.get(uid))
        .filter(|entry| likely.has(entry))
        .map(Need::new)
        .collect();
    let mut matching = Matching::new(needs, offers, false);
    let source = (&mut both.source.session, &both.source_listing);
    answer(account, &mut matching, source, (&mut both.target.session, &both.target_listing)).await?;
    // Alike is not enough to leave mail behind.
    let found = matching.finish().found.into_iter().filter(|one| one.evidence == Evidence::BytesEqual);
    let removed: BTreeMap<Uid, Record> = found
        .filter_map(|one| {
            let known = recalled.removed.get(one.target_uid.value() as usize - 1)?;
            let date = both.source_listing.get(one.source_uid).and_then(|entry| entry.date);
            Some((one.source_uid, Record { source_uid: one.source_uid, date: date.or(known.date), ..known.clone() }))
        })
        .collect();
    matched.new = matched.new.iter().filter(|uid| !removed.contains_key(uid)).collect();
    Ok(removed.into_values().collect())
}
