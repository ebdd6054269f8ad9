//! Does the source give the same bytes twice? Some make a message anew at each FETCH (Proton Bridge, Outlook's stores):
//! what was copied is then one of many forms of it, which no later comparison of bytes will find again.
//!
//! Looked at is one message per folder and pass, a small one. Nothing follows from it but that it is said. And does it still
//! number its messages as it did? Under another UIDVALIDITY nothing that was fetched is what it was taken for.

use super::bytes::digests;
use super::copy::{self, Task};
use super::pool::Lease;
use crate::checkpoint::LossKind;
use crate::failure::{Failure, Kind};
use crate::imap::Source;
use crate::mail::{Digest, Side, Uid};
use crate::rows::Rows;

/// The smallest of so many.
const LOOKED_AT: usize = 10_000;

/// Opens the source's folder once more, and fetches one of these messages again: it may be of those that are being copied.
/// None: it does not come.
///
/// # Errors
/// The folder was numbered anew.
pub(super) async fn look_again(
    task: &Task<'_>,
    uids: &Rows<Uid>,
    source: &mut Lease<Source>,
) -> Result<Option<(Uid, Digest)>, Failure> {
    if task.source_lasts {
        match source.session.examine(task.source_name).await {
            Ok(opened) if opened.state.uid_validity != Some(task.source_validity) => {
                return Err(numbered_anew(task.path, Side::Source));
            }
            Ok(_) => {}
            // It is gone, or closed in this minute: the next pass finds out.
            Err(error) if error.is_refusal() => return Ok(None),
            Err(error) => return Err(error.failure(Side::Source)),
        }
    }
    let size = |uid: &Uid| task.listing.get(*uid).and_then(|entry| entry.size).filter(|size| *size > 0);
    let small = uids.iter().take(LOOKED_AT).min_by_key(|uid| size(uid).unwrap_or(u64::MAX));
    let Some(uid) = small else { return Ok(None) };
    let account = task.account;
    let again = digests(account, &mut source.session, &account.source.brake, &[uid], task.listing).await?;
    Ok(again.first().copied())
}

/// Compares what was fetched again with what was copied.
pub(super) async fn compare(task: &Task<'_>, again: Option<(Uid, Digest)>) -> Result<(), Failure> {
    let Some((uid, digest)) = again else { return Ok(()) };
    let record = task.account.ledger.record(task.folder, task.source_validity, uid).await?;
    match record.and_then(|record| record.digest) {
        Some(copied) if digest != copied => {
            let what = "the source is not stable: it gives other bytes each time it is asked for this message";
            copy::note_change(task, uid, LossKind::Bytes, what.to_owned()).await
        }
        _ => Ok(()),
    }
}

pub(super) fn numbered_anew(path: &str, side: Side) -> Failure {
    Failure::new(side, Kind::Lost, format!("go on in folder \"{path}\": the {side} has numbered it anew meanwhile"))
}
