//! Does the source give the same bytes twice? Some make a message anew at each FETCH (Proton Bridge, Outlook's stores):
//! what was copied is then one of many forms of it, which no later comparison of bytes will find again.
//!
//! Looked at is one message per folder and pass, a small one. Nothing follows from it but that it is said.

use super::bytes::digests;
use super::copy::{self, Task};
use super::pool::Lease;
use crate::checkpoint::LossKind;
use crate::failure::Failure;
use crate::imap::Source;
use crate::mail::Uid;

/// Fetches one of the messages that were copied again.
pub(super) async fn look_again(task: &Task<'_>, uids: &[Uid], source: &mut Lease<Source>) -> Result<(), Failure> {
    let size = |uid: &Uid| task.listing.get(*uid).and_then(|entry| entry.size).filter(|size| *size > 0);
    let Some(uid) = uids.iter().copied().min_by_key(|uid| size(uid).unwrap_or(u64::MAX)) else { return Ok(()) };
    let account = task.account;
    let record = account.ledger.record(task.folder, task.source_validity, uid).await?;
    let Some(copied) = record.and_then(|record| record.digest) else { return Ok(()) };
    let again = digests(account, &mut source.session, &account.source.brake, &[uid], task.listing).await?;
    match again.first() {
        Some((_, digest)) if *digest != copied => {
            let what = "the source is not stable: it gives other bytes each time it is asked for this message";
            copy::note_change(task, uid, LossKind::Bytes, what.to_owned()).await
        }
        _ => Ok(()),
    }
}
