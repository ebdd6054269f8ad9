//! The same mailbox under another name of its host: an address in place of a name that is gone, an alias, another port.
//!
//! The ledger knows a mailbox by host and user, so another name begins anew. What the first one knows is taken over where
//! the source shows the same messages: under the same user, folder, UIDVALIDITY and UIDs, of the same dates and sizes, and
//! some of them with the same bytes. Where it does not, copies are found by content, as those of any other tool are.

use super::account::Account;
use super::bytes::digests;
use super::pool::Lease;
use super::windows::Windows;
use crate::checkpoint::FolderId;
use crate::failure::Failure;
use crate::imap::Source;
use crate::mail::{Digest, Listing, Uid, UidValidity};

/// Messages whose bytes are compared.
const READ: usize = 8;

/// Takes over what another account knows of the messages that this open folder lists, where it is the same folder.
pub(super) async fn take_over(
    account: &Account,
    folder: FolderId,
    source: &mut Lease<Source>,
    validity: UidValidity,
    listing: &Listing,
) -> Result<(), Failure> {
    let ledger = &account.ledger;
    for other in ledger.namesakes(folder, validity).await? {
        let known = known(account, source, other, validity, listing).await?;
        let uids: Vec<Uid> = known.iter().map(|(uid, _)| *uid).collect();
        let read = digests(account, &mut source.session, &account.source.brake, &uids, listing).await?;
        if read.is_empty() || !read.iter().all(|one| known.contains(one)) {
            continue;
        }
        let mut windows = Windows::of(ledger, other, validity);
        while let Some(records) = windows.next().await? {
            // What the source does not list may be another message's number by now.
            let listed = records.iter().map(|record| record.source_uid).filter(|uid| listing.has(*uid));
            ledger.inherit(folder, other, validity, listed.collect()).await?;
        }
    }
    Ok(())
}

/// Compares what is known of the other's messages with the listing, and gives some of them, with their digests; none where
/// something differs. No date may; some sizes may, since servers tell others than those of the bytes they give.
async fn known(
    account: &Account,
    source: &Lease<Source>,
    other: FolderId,
    validity: UidValidity,
    listing: &Listing,
) -> Result<Vec<(Uid, Digest)>, Failure> {
    let estimates = source.session.family().quirks().size_is_estimate;
    let (mut listed, mut of_size) = (0_usize, 0_usize);
    let mut some = Vec::new();
    let mut windows = Windows::of(&account.ledger, other, validity);
    while let Some(records) = windows.next().await? {
        for record in records {
            let Some(entry) = listing.get(record.source_uid) else { continue };
            let instants = (record.date.map(|date| date.unix()), entry.date.map(|date| date.unix()));
            if instants.0.is_none() || instants.0 != instants.1 {
                return Ok(Vec::new());
            }
            listed += 1;
            of_size += usize::from(estimates || entry.size == Some(record.size));
            some.extend(record.digest.map(|digest| (record.source_uid, digest)));
            // Ever fewer of them, so that those that stay are spread over all.
            if some.len() == 2 * READ {
                some = some.into_iter().step_by(2).collect();
            }
        }
    }
    some.truncate(READ);
    Ok(if of_size > listed / 2 { some } else { Vec::new() })
}
