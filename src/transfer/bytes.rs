//! Reading whole messages for what their bytes come to, without keeping them.

use super::account::Account;
use super::haste::PoolBrake;
use crate::failure::Failure;
use crate::imap::{End, Fetched, Session, Wanted};
use crate::mail::{Digest, Listing, Uid};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

/// Bodies on their way to be digested.
const BODIES_MAX: usize = 16;

/// Fetches whole messages for their digests alone; what is refused is asked for once more, alone. What does not come has
/// none.
pub(super) async fn digests<E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &PoolBrake,
    uids: &[Uid],
    listing: &Listing,
) -> Result<Vec<(Uid, Digest)>, Failure> {
    digests_of(account, session, brake, &sized(uids, listing)).await
}

/// The same where sizes are known otherwise; UIDs ascending.
pub(super) async fn digests_of<E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &PoolBrake,
    wanted: &[(Uid, u64)],
) -> Result<Vec<(Uid, Digest)>, Failure> {
    let (bodies, mut fetched) = mpsc::channel::<Fetched>(BODIES_MAX);
    let collect = async {
        let mut found = Vec::new();
        while let Some(Fetched { uid, body }) = fetched.recv().await {
            found.extend(body.map(|body| (uid, body.digest())));
        }
        found
    };
    let (ended, found) = tokio::join!(fetch(account, session, brake, wanted, bodies), collect);
    ended.map(|()| found)
}

/// Fetches whole messages for digest and [`crate::mail::Likeness`], as [`digests`] does.
pub(super) async fn alike<E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &PoolBrake,
    uids: &[Uid],
    listing: &Listing,
) -> Result<Vec<(Uid, Digest, Digest)>, Failure> {
    let (bodies, mut fetched) = mpsc::channel::<Fetched>(BODIES_MAX);
    let collect = async {
        let mut found = Vec::new();
        while let Some(Fetched { uid, body }) = fetched.recv().await {
            let Some(mut body) = body else { continue };
            let digest = body.digest();
            // A spool file that cannot be read again leaves it with what is known.
            found.push((uid, digest, body.likeness().await.unwrap_or(digest)));
        }
        found
    };
    let wanted = sized(uids, listing);
    let (ended, found) = tokio::join!(fetch(account, session, brake, &wanted, bodies), collect);
    ended.map(|()| found)
}

/// Fetches whole messages for the digests of their beginnings of these lengths, of those that are longer.
pub(super) async fn beginnings<'l, E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &PoolBrake,
    wanted: &[(Uid, u64)],
    lengths: impl Fn(Uid) -> &'l BTreeSet<u64>,
) -> Result<Vec<(Uid, BTreeMap<u64, Digest>)>, Failure> {
    let (bodies, mut fetched) = mpsc::channel::<Fetched>(BODIES_MAX);
    let collect = async {
        let mut found = Vec::new();
        while let Some(Fetched { uid, body }) = fetched.recv().await {
            let Some(mut body) = body else { continue };
            let mut beginnings = BTreeMap::new();
            for length in lengths(uid) {
                if *length >= body.length() {
                    break;
                }
                // What cannot be read proves nothing.
                let Ok((digest, says_more)) = body.beginning(*length).await else { break };
                // Some servers take away empty lines at the end: nothing was cut off.
                if says_more {
                    beginnings.insert(*length, digest);
                }
            }
            found.push((uid, beginnings));
        }
        found
    };
    let (ended, found) = tokio::join!(fetch(account, session, brake, wanted, bodies), collect);
    ended.map(|()| found)
}

fn sized(uids: &[Uid], listing: &Listing) -> Vec<(Uid, u64)> {
    let size = |uid: &Uid| listing.get(*uid).and_then(|entry| entry.size).unwrap_or(0);
    uids.iter().map(|uid| (*uid, size(uid))).collect()
}

async fn fetch<E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &PoolBrake,
    wanted: &[(Uid, u64)],
    bodies: mpsc::Sender<Fetched>,
) -> Result<(), Failure> {
    if wanted.is_empty() {
        return Ok(());
    }
    let failed = |error: crate::imap::ImapError| error.failure(E::SIDE);
    let refused = session
        .fetch_bodies(&Wanted::of(wanted.iter().copied()), &account.room, brake, &bodies)
        .await
        .map_err(failed)?;
    let refused: BTreeSet<Uid> = refused.into_iter().flat_map(|(uids, _)| uids).collect();
    // A refusal of this moment must not make bytes unknown: a copy of ours would pass for altered, or for another's.
    for one in wanted.iter().filter(|(uid, _)| refused.contains(uid)) {
        session.fetch_bodies(&Wanted::of([*one]), &account.room, brake, &bodies).await.map_err(failed)?;
    }
    Ok(())
}
