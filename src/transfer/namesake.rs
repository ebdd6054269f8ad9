//! The same mailbox under another name of its host: an address in place of a name that is gone, an alias, another port.
//!
//! The ledger knows a mailbox by host and user, so another name begins anew, and what the first one copied would count as
//! another mailbox's mail. What it knows is taken over where the source shows the same messages: under the same user,
//! folder, UIDVALIDITY and UIDs, of the same dates and sizes.

use super::folder::Windows;
use crate::checkpoint::{FolderId, Ledger};
use crate::failure::Failure;
use crate::mail::{Listing, UidValidity};
use crate::plan::same_instant;

/// Takes over what another account knows of this folder's messages, where it is the same folder.
pub(super) async fn take_over(
    ledger: &Ledger,
    folder: FolderId,
    validity: UidValidity,
    listing: &Listing,
) -> Result<(), Failure> {
    for other in ledger.namesakes(folder, validity).await? {
        if is_same(ledger, other, validity, listing).await? {
            ledger.inherit(folder, other, validity).await?;
        }
    }
    Ok(())
}

/// No date may differ; sizes may, since some servers tell others than those of the bytes they give.
async fn is_same(ledger: &Ledger, other: FolderId, validity: UidValidity, listing: &Listing) -> Result<bool, Failure> {
    let (mut listed, mut of_size) = (0_u64, 0_u64);
    let mut windows = Windows::of(ledger, other, validity);
    while let Some(records) = windows.next().await? {
        for record in records {
            let Some(entry) = listing.get(record.source_uid) else { continue };
            if !same_instant(record.date, entry.date) {
                return Ok(false);
            }
            listed += 1;
            of_size += u64::from(entry.size == Some(record.size));
        }
    }
    Ok(of_size > listed / 2)
}
