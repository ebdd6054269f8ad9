//! Messages that are listed as not on the target: what they are called, and folders that have none of them.

use super::account::Account;
use super::copy::Task;
use super::folder::FolderEnd;
use super::pool::Lease;
use super::unchanged::{Counts, remaining};
use crate::checkpoint::FolderRow;
use crate::failure::Failure;
use crate::imap::Source;
use crate::mail::{Fate, Side, Uid, WireName};
use crate::plan::FolderPair;

/// Where only failed messages are tried again, a folder without any is left alone: given is what is known of it. Unsettled
/// is what it holds beyond that, and at least one where it is not as it was.
pub(super) async fn nothing_to_retry(
    account: &Account,
    pair: &FolderPair,
    row: &FolderRow,
) -> Result<Option<FolderEnd>, Failure> {
    let folders = account.ledger.folders(account.id).await?;
    let known = folders.into_iter().find(|folder| folder.id == row.id);
    let counts = known.as_ref().map_or_else(|| Some(Counts::default()), remaining);
    let Some((fates, evidence)) = counts else { return Ok(None) };
    let failed = [Fate::Refused, Fate::Unreadable, Fate::Missing].map(|fate| fates.get(&fate).copied().unwrap_or(0));
    let intended = known.map_or(0, |known| known.totals.intended.messages);
    if intended + failed.iter().sum::<u64>() > 0 {
        return Ok(None);
    }
    let mut lease = account.source.take().await?;
    let Ok(state) = lease.session.status(&pair.source.name).await else { return Ok(None) };
    account.source.keep(lease);
    let unsettled = match row.remembered {
        Some(watermark) if watermark.source == state => 0,
        _ => u64::from(state.messages).saturating_sub(fates.values().sum::<u64>()).max(1),
    };
    Ok(Some(FolderEnd { fates, evidence, unsettled, unchanged: true, ..FolderEnd::default() }))
}

/// Asks the source what messages are called that are listed and of which that is not known. One that breaks the connection
/// for it too stays without a name. `source`: a session in which the folder is open; kept afterwards.
pub(super) async fn name(task: &Task<'_>, folder: &WireName, source: Option<Lease<Source>>) -> Result<(), Failure> {
    /// What one message that breaks the connection costs the others.
    const ASKED_AT_ONCE: usize = 100;
    let (account, mut lease, mut after) = (task.account, source, None);
    let ledger = &account.ledger;
    loop {
        let uids = ledger.nameless(task.folder, task.source_validity, after, ASKED_AT_ONCE).await?;
        let Some(last) = uids.last().filter(|_| !account.stop.is_cancelled()) else { break };
        after = Some(*last);
        let mut source = match lease.take() {
            Some(source) => source,
            None => {
                let mut source = account.source.take().await?;
                source.session.examine(folder).await.map_err(|error| error.failure(Side::Source))?;
                source
            }
        };
        match source.session.subjects(&uids).await {
            Ok(named) => {
                let size = |uid: &Uid| task.listing.get(*uid).and_then(|entry| entry.size).unwrap_or(0);
                let named = named.into_iter().map(|(uid, subject, date)| {
                    let size = size(&uid);
                    (uid, subject, date, size)
                });
                ledger.name_troubles(task.folder, task.source_validity, named.collect()).await?;
                lease = Some(source);
            }
            Err(error) => tracing::info!(folder = task.path, %error, "the source does not tell subjects"),
        }
    }
    if let Some(source) = lease {
        account.source.keep(source);
    }
    Ok(())
}
