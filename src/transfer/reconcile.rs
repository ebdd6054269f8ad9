//! Finding what is on the target already: after a crash, after a lost answer, after another tool.
//!
//! The planner asks, this fetches, until it has no questions. A message that was sent and cannot be found counts as absent
//! only after a second look at a target that has stopped changing: the kernel may still deliver what a killed process
//! wrote, and the server commit it after the first look.

use super::account::Account;
use super::folder::{Both, list};
use crate::checkpoint::Ending as Fated;
use crate::checkpoint::{FolderId, Found, Landed, Settlement};
use crate::failure::Failure;
use crate::imap::{End, Fetched, RefusedFetch, Session, Source, Target};
use crate::mail::{Digest, Entry, Evidence, Fate, Flags, InternalDate, Listing, Record, Side, Stage, Uid, WireName};
use crate::plan::{Claim, FlagChanges, FolderPlan, Matched, Matching, Need, Offer};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;

/// For how long a target must not change before what is absent counts as absent.
const SETTLE: Duration = Duration::from_secs(2);
/// Bodies on their way to be digested.
const BODIES_MAX: usize = 16;

/// What reconciling came to.
#[derive(Debug, Default)]
pub(super) struct Reconciled {
    /// Not on the target: to be copied.
    pub(super) to_copy: Vec<Uid>,
    /// Found there and written down.
    pub(super) found: usize,
    /// What adopted messages lack of the source's flags.
    pub(super) flags: FlagChanges,
}

/// Matches what the plan could not place with target messages that no record stands for, and writes down what it finds.
pub(super) async fn reconcile(
    account: &Account,
    folder: FolderId,
    target_name: &WireName,
    both: &mut Both,
    plan: &FolderPlan,
) -> Result<Reconciled, Failure> {
    let mut matched = match_once(account, folder, both, plan).await?;
    while matched.absent.iter().any(|(_, claim)| *claim == Claim::Intended)
        && target_moved(account, both, target_name).await?
    {
        matched = match_once(account, folder, both, plan).await?;
    }
    write_down(account, folder, both, plan, matched).await
}

/// Looks again after a while; if the target has changed, lists it anew.
async fn target_moved(account: &Account, both: &mut Both, target_name: &WireName) -> Result<bool, Failure> {
    let on_target = |error: crate::imap::ImapError| error.failure(Side::Target);
    tokio::select! {
        () = tokio::time::sleep(SETTLE) => {}
        () = account.stop.cancelled() => {
            return Err(Failure::new(None, crate::failure::Kind::Stopped, "go on: asked to stop"));
        }
    }
    let before = both.target_opened.state;
    let opened = both.target.session.examine(target_name).await.map_err(on_target)?;
    if opened.state == before {
        return Ok(false);
    }
    if opened.state.uid_validity != before.uid_validity {
        let text = format!("look at folder \"{target_name}\" again: the target has numbered it anew meanwhile");
        return Err(Failure::new(Side::Target, crate::failure::Kind::Lost, text));
    }
    both.target_opened = opened;
    both.target_listing =
        list(&mut both.target.session, Uid::FIRST, both.target_opened.state).await.map_err(on_target)?;
    Ok(true)
}

pub(super) async fn match_once(
    account: &Account,
    folder: FolderId,
    both: &mut Both,
    plan: &FolderPlan,
) -> Result<Matched, Failure> {
    let offered = offered(account, folder, both, plan).await?;
    // Only what has the size or the instant of something there can be it: a single welcome mail on the target must not
    // cost the headers of a whole mailbox.
    let sizes: HashSet<Option<u64>> = offered.iter().map(|entry| entry.size).collect();
    let instants: HashSet<i64> = offered.iter().filter_map(|entry| entry.date).map(InternalDate::unix).collect();
    let fits = |entry: &Entry<'_>| {
        sizes.contains(&entry.size) || entry.date.is_none_or(|date| instants.contains(&date.unix()))
    };
    let (like, unlike): (Vec<Entry<'_>>, Vec<Entry<'_>>) =
        plan.fresh.iter().filter_map(|uid| both.source_listing.get(*uid)).partition(fits);
    let unlike: Vec<Uid> = unlike.iter().map(|entry| entry.uid).collect();
    let fresh = like.into_iter().map(Need::new);
    let needs: Vec<Need> = plan.needs.iter().cloned().chain(fresh).collect();
    let offers: Vec<Offer> = offered.into_iter().map(Offer::new).collect();
    let estimates = both.target.session.family().quirks().size_is_estimate;
    let mut matching = Matching::new(needs, offers, estimates);
    let source = (&mut both.source.session, &both.source_listing);
    answer(account, &mut matching, source, (&mut both.target.session, &both.target_listing)).await?;
    let mut matched = matching.finish();
    matched.absent.extend(unlike.into_iter().map(|uid| (uid, Claim::New)));
    Ok(matched)
}

/// Finds out whatever matching asks, until it has no questions.
pub(super) async fn answer(
    account: &Account,
    matching: &mut Matching,
    (source, source_listing): (&mut Session<Source>, &Listing),
    (target, target_listing): (&mut Session<Target>, &Listing),
) -> Result<(), Failure> {
    loop {
        let questions = matching.questions();
        if questions.is_empty() {
            return Ok(());
        }
        for (uid, header) in headers(source, &questions.source_headers).await? {
            matching.source_header(uid, header);
        }
        for (uid, header) in headers(target, &questions.target_headers).await? {
            matching.target_header(uid, header);
        }
        let brake = &account.source.brake;
        for (uid, digest) in digests(account, source, brake, &questions.source_bytes, source_listing).await? {
            matching.source_bytes(uid, digest);
        }
        let brake = &account.target.brake;
        for (uid, digest) in digests(account, target, brake, &questions.target_bytes, target_listing).await? {
            matching.target_bytes(uid, digest);
        }
        matching.asked(&questions);
    }
}

/// Target messages that no record of this account, or of another into the same mailbox, stands for.
async fn offered<'b>(
    account: &Account,
    folder: FolderId,
    both: &'b Both,
    plan: &FolderPlan,
) -> Result<Vec<Entry<'b>>, Failure> {
    if both.target_listing.is_empty() || plan.needs.is_empty() && plan.fresh.is_empty() {
        return Ok(Vec::new());
    }
    let held = match both.target_opened.state.uid_validity {
        Some(validity) => account.ledger.held_by_others(folder, validity).await?,
        None => Vec::new(),
    };
    let unknown = both
        .target_listing
        .iter()
        .filter(|entry| plan.paired.binary_search(&entry.uid).is_err() && held.binary_search(&entry.uid).is_err());
    Ok(unknown.collect())
}

async fn headers<E: End>(session: &mut Session<E>, uids: &[Uid]) -> Result<Vec<(Uid, Option<Digest>)>, Failure> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    session.headers(uids).await.map_err(|error| error.failure(E::SIDE))
}

/// Fetches whole messages for their digests alone; what is refused is asked for once more, alone. What does not come has
/// none.
pub(super) async fn digests<E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &super::pool::PoolBrake,
    uids: &[Uid],
    listing: &Listing,
) -> Result<Vec<(Uid, Digest)>, Failure> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let size = |uid: &Uid| listing.get(*uid).and_then(|entry| entry.size).unwrap_or(0);
    let wanted: Vec<(Uid, u64)> = uids.iter().map(|uid| (*uid, size(uid))).collect();
    let (mut found, refused) = digests_once(account, session, brake, &wanted).await?;
    // A refusal of this moment must not make bytes unknown: a copy of ours would pass for altered, or for another's.
    for uid in refused.into_iter().flat_map(|(uids, _)| uids) {
        found.extend(digests_once(account, session, brake, &[(uid, size(&uid))]).await?.0);
    }
    Ok(found)
}

async fn digests_once<E: End>(
    account: &Account,
    session: &mut Session<E>,
    brake: &super::pool::PoolBrake,
    wanted: &[(Uid, u64)],
) -> Result<(Vec<(Uid, Digest)>, Vec<RefusedFetch>), Failure> {
    let (bodies, mut fetched) = mpsc::channel::<Fetched>(BODIES_MAX);
    let collect = async {
        let mut found = Vec::new();
        while let Some(Fetched { uid, body }) = fetched.recv().await {
            found.extend(body.map(|body| (uid, body.digest())));
        }
        found
    };
    let fetch = async {
        let ended = session.fetch_bodies(wanted, &account.room, brake, &bodies).await;
        drop(bodies);
        ended
    };
    let (ended, found) = tokio::join!(fetch, collect);
    let refused = ended.map_err(|error| error.failure(E::SIDE))?;
    Ok((found, refused))
}

async fn write_down(
    account: &Account,
    folder: FolderId,
    both: &Both,
    plan: &FolderPlan,
    matched: Matched,
) -> Result<Reconciled, Failure> {
    let (ledger, validity) = (&account.ledger, both.source_validity);
    let found = matched.found.len();
    let mut flags = FlagChanges::default();
    if let Some(target_validity) = both.target_opened.state.uid_validity {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for one in &matched.found {
            let target = (target_validity, one.target_uid);
            if one.claim == Claim::New {
                theirs.extend(adopted(both, one.source_uid, target, one.evidence));
                let source = both.source_listing.get(one.source_uid);
                if let (Some(source), Some(copy)) = (source, both.target_listing.get(one.target_uid)) {
                    flags.note(
                        one.source_uid,
                        one.target_uid,
                        &Flags::default(),
                        &account.carried(source.flags),
                        copy.flags,
                    );
                }
            } else {
                // Where it is is known now; its flags and date are proven at the end of the pass, like everybody's.
                let altered = one.evidence == Evidence::BytesAltered;
                let evidence = if altered { Evidence::BytesAltered } else { Evidence::None };
                let landed = Landed::Adopted { target, evidence, found: Found::Ours };
                ours.push((one.source_uid, landed));
            }
        }
        ledger.landed(folder, validity, ours).await?;
        ledger.adopt(folder, validity, theirs).await?;
    }
    let mut to_copy = Vec::new();
    let (mut retract, mut settle) = (Vec::new(), Vec::new());
    for (uid, claim) in matched.absent {
        let listed = both.source_listing.get(uid).is_some();
        match claim {
            Claim::New => to_copy.push(uid),
            Claim::Intended => {
                retract.push(uid);
                to_copy.extend(listed.then_some(uid));
            }
            // It was acknowledged, and is not there: sending it again would go on for ever with a target that drops what
            // it thinks it has.
            Claim::Acknowledged => settle.push(Settlement {
                source_uid: uid,
                fate: Fated::Missing,
                size: 0,
                date: None,
                trouble: Some(crate::checkpoint::Trouble {
                    kind: "missing".to_owned(),
                    words: "the target acknowledged it and does not show it".to_owned(),
                    subject: String::new(),
                    date_header: String::new(),
                    size: 0,
                }),
            }),
        }
    }
    to_copy.sort_unstable();
    ledger.retract(folder, validity, retract).await?;
    ledger.settle(folder, validity, settle).await?;
    // The ledger lets no message be intended that it holds for landed.
    let lost = plan.stale.iter().filter(|uid| to_copy.binary_search(uid).is_ok());
    let ended = |uid: &Uid, fate| Settlement { source_uid: *uid, fate, size: 0, date: None, trouble: None };
    ledger.settle(folder, validity, lost.map(|uid| ended(uid, Fated::Gone)).collect()).await?;
    ledger.settle(folder, validity, plan.removed.iter().map(|uid| ended(uid, Fated::Removed)).collect()).await?;
    Ok(Reconciled { to_copy, found, flags })
}

/// The record of a message that was there before. It has no base of flags: the source's are added, none is removed.
fn adopted(both: &Both, uid: Uid, target: (crate::mail::UidValidity, Uid), evidence: Evidence) -> Option<Record> {
    let entry = both.source_listing.get(uid)?;
    Some(Record {
        source_uid: uid,
        stage: Stage::Settled(Fate::Adopted),
        target: Some(target),
        floor: None,
        size: entry.size.unwrap_or(0),
        digest: None,
        header: None,
        date: entry.date,
        flags: Flags::default(),
        risky: false,
        // Its flags are proven with everybody's, once they have been added.
        evidence: if evidence == Evidence::BytesAltered { evidence } else { Evidence::None },
    })
}
