//! What a run would do in a folder: both sides are looked at, nothing is done.

use super::account::{Account, Survey};
use super::folder::Pass;
use super::memory::Memory;
use super::open::{Both, lasts, on_target};
use super::{names, reconcile, removed};
use crate::failure::Failure;
use crate::imap::Opened;
use crate::mail::{Fate, FolderState, Listing, Uid};
use crate::plan::{Claim, FolderPair};

/// What a run would do in a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct FolderLook {
    pub(super) messages: u64,
    pub(super) to_copy: u64,
    pub(super) bytes: u64,
    pub(super) settled: u64,
    pub(super) matched: u64,
    pub(super) removed: u64,
    pub(super) flags: u64,
}

/// Looks at both sides of a folder and plans, and does nothing.
pub(super) async fn look(account: &Account, survey: &Survey, pair: &FolderPair) -> Result<FolderLook, Failure> {
    let target_name = names::target_name(pair, &survey.target_namespace);
    let row = account.ledger.folder(account.id, &pair.source.name, &target_name, &pair.source.path).await?;
    let mut memory = Memory::default();
    let pass = Pass {
        account,
        survey,
        pair,
        target_name: &target_name,
        row: &row,
        memory: &mut memory,
        advanced: false,
        done: false,
        by_delta: false,
        checked: None,
        hung_up: false,
    };
    let (source, source_opened, source_validity, source_listing) =
        pass.open_source(account.source.take().await?).await?;
    if pair.existing.is_none()
        && let Err(failure) = removed::judge_gone(account, row.id, &pair.target).await
    {
        account.source.keep(source);
        return Err(failure);
    }
    let mut target = account.target.take().await?;
    let (target_opened, target_listing) = match pair.existing.as_ref().filter(|folder| folder.selectable) {
        Some(_) => {
            let expected = pair.existing.as_ref().and_then(|folder| folder.state).map(|state| state.messages);
            let look = target.session.look(&target_name, Uid::FIRST, expected, false).await.map_err(on_target)?;
            (look.opened, look.listing)
        }
        None => (Opened { state: FolderState::default(), permanent: None, uid_not_sticky: false }, Listing::default()),
    };
    let mut both = Both {
        source,
        target,
        source_state: source_opened.state,
        source_validity,
        source_lasts: lasts(&source_opened),
        target_path: pair.target.clone(),
        target_lasts: lasts(&target_opened) || pair.existing.is_none(),
        target_opened,
        source_listing,
        target_listing,
    };
    let looked = look_at(&pass, &mut both).await;
    account.source.keep(both.source);
    account.target.keep(both.target);
    looked
}

async fn look_at(pass: &Pass<'_>, both: &mut Both) -> Result<FolderLook, Failure> {
    let (account, folder) = (pass.account, pass.row.id);
    let plan = pass.sort(both).await?;
    removed::judge(account, &both.target_path, &plan)?;
    let mut matched = reconcile::match_once(account, folder, both, &plan).await?;
    let recalled = removed::recall(account, folder, both, &mut matched).await?.len() as u64;
    let absent = matched.absent.iter().filter(|(_, claim)| *claim != Claim::Acknowledged).map(|(uid, _)| *uid);
    let listed = |uid: &Uid| both.source_listing.has(*uid);
    let to_copy = matched.new.union(&absent.filter(listed).collect());
    let settled = plan.settled.get(&Fate::Removed).copied().unwrap_or(0);
    let size = |uid| both.source_listing.get(uid).and_then(|entry| entry.size);
    Ok(FolderLook {
        messages: both.source_listing.len() as u64,
        to_copy: to_copy.len() as u64,
        bytes: to_copy.iter().filter_map(size).sum(),
        settled: plan.settled.values().sum::<u64>() - settled,
        matched: matched.found.len() as u64,
        removed: settled + recalled,
        flags: plan.flags.rebases().len() as u64,
    })
}
