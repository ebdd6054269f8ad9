//! What makes a second run nearly free: a folder of which both sides are as they were is not opened.

use super::account::{Account, Survey};
use super::folder::FolderEnd;
use crate::checkpoint::FolderRow;
use crate::failure::Failure;
use crate::mail::{Fate, Folder};
use crate::plan::FolderPair;
use std::collections::BTreeMap;

/// Finds out whether anything can have changed since the last pass that ended clean; if not, gives what is known.
pub(super) async fn unchanged(
    account: &Account,
    survey: &Survey,
    pair: &FolderPair,
    row: &FolderRow,
) -> Result<Option<FolderEnd>, Failure> {
    let Some(remembered) = row.remembered.filter(|_| !account.mode.retry && !account.mode.restore) else {
        return Ok(None);
    };
    // Without a modification sequence a change of flags would not be seen.
    if remembered.source.highest_modseq.is_none() {
        return Ok(None);
    }
    let known = |folder: &Folder| folder.state;
    let target = survey.target_folders.iter().find(|folder| folder.path == pair.target);
    let source_state = match known(&pair.source) {
        Some(state) => state,
        None => {
            let mut lease = account.source.take().await?;
            let Ok(state) = lease.session.status(&pair.source.name).await else { return Ok(None) };
            account.source.keep(lease);
            state
        }
    };
    let target_state = match target {
        Some(folder) => match known(folder) {
            Some(state) => state,
            None => {
                let mut lease = account.target.take().await?;
                let Ok(state) = lease.session.status(&folder.name).await else { return Ok(None) };
                account.target.keep(lease);
                state
            }
        },
        None => return Ok(None),
    };
    let subscribed = target.is_some_and(|folder| folder.subscribed || !pair.source.subscribed);
    if source_state != remembered.source || target_state != remembered.target || !subscribed {
        return Ok(None);
    }
    let folders = account.ledger.folders(account.id).await?;
    let Some(summary) = folders.into_iter().find(|folder| folder.id == row.id) else { return Ok(None) };
    let fates: BTreeMap<Fate, u64> = summary
        .totals
        .fates
        .iter()
        .map(|(fate, count)| (*fate, count.messages))
        .filter(|(fate, _)| *fate != Fate::Gone)
        .collect();
    let evidence = summary.totals.evidence.iter().map(|(evidence, count)| (*evidence, count.messages)).collect();
    // Records of messages that left the source since would be counted too: then the folder is looked at.
    let sum: u64 = fates.values().sum();
    Ok((sum == u64::from(source_state.messages)).then_some(FolderEnd {
        fates,
        evidence,
        unsettled: 0,
        unchanged: true,
    }))
}
