//! Proof at the end of a pass: metadata of every copied message is read back and compared, the bytes of a sample and of
//! every message that some server is known to alter in silence. Then everything is counted.

use super::copy::{self, Task};
use super::folder::{FolderEnd, Windows, list};
use super::pool::Lease;
use super::reconcile::digests;
use crate::checkpoint::LossKind;
use crate::failure::{Failure, Kind};
use crate::imap::{ImapError, Target};
use crate::mail::{Digest, Evidence, Fate, FolderState, Listing, Record, Side, Stage, Uid};
use crate::plan::{self, Difference, Proof};
use std::collections::BTreeMap;

fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// Proves what this pass and those before it left unproven, counts, and gives the target's state after the last change.
///
/// `before`: the target's listing before anything was appended; `from`: UIDs from here on may be new.
pub(super) async fn prove(
    task: &Task<'_>,
    mut target: Lease<Target>,
    from: Uid,
    before: &Listing,
) -> Result<(FolderEnd, Option<FolderState>), Failure> {
    let opened = target.session.examine(task.target_name).await.map_err(on_target)?;
    if opened.state.uid_validity != task.target_validity {
        let text = format!("prove folder \"{}\": the target has numbered it anew meanwhile", task.path);
        return Err(Failure::new(Side::Target, Kind::Lost, text));
    }
    let new = list(&mut target.session, from, opened.state).await.map_err(on_target)?;
    let listed = Listed { before, new: &new, from };
    let mut to_read = Vec::new();
    let estimates = target.session.family().quirks().size_is_estimate;
    let mut windows = Windows::of(&task.account.ledger, task.folder, task.source_validity);
    while let Some(records) = windows.next().await? {
        let mut proofs = Vec::new();
        for record in records.iter().filter(|record| unproven(record)) {
            let proof = prove_one(task, &listed, record, estimates);
            tell(task, record, &proof).await?;
            if proof.evidence == Evidence::None {
                continue;
            }
            let sampled = record.digest.is_some_and(|digest| in_sample(digest, task.account.sample));
            match (record.target, record.digest) {
                // Nothing is proven of it before its bytes are read: killed in between, they would never be.
                (Some((_, target_uid)), Some(digest)) if sampled || record.risky || altered_size(&proof) => {
                    to_read.push(ToRead {
                        source_uid: record.source_uid,
                        target_uid,
                        digest,
                        evidence: proof.evidence,
                    });
                }
                _ => proofs.push((record.source_uid, proof.evidence)),
            }
        }
        task.account.ledger.prove(task.folder, task.source_validity, proofs).await?;
    }
    read_back(task, &mut target, &listed, to_read).await?;
    let state = target.session.status(task.target_name).await.ok();
    task.account.target.keep(target);
    task.account.ledger.flush().await?;
    let end = count(task).await?;
    Ok((end, state))
}

/// A copy whose bytes are read back.
struct ToRead {
    source_uid: Uid,
    target_uid: Uid,
    digest: Digest,
    /// What its metadata have shown.
    evidence: Evidence,
}

struct Listed<'a> {
    before: &'a Listing,
    new: &'a Listing,
    from: Uid,
}

impl Listed<'_> {
    fn get(&self, uid: Uid) -> Option<crate::mail::Entry<'_>> {
        if uid >= self.from { self.new.get(uid) } else { self.before.get(uid) }
    }
}

fn unproven(record: &Record) -> bool {
    matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted))
        && record.evidence == Evidence::None
        && record.target.is_some()
}

fn prove_one(task: &Task<'_>, listed: &Listed<'_>, record: &Record, estimates: bool) -> Proof {
    let copy = record
        .target
        .filter(|(validity, _)| Some(*validity) == task.target_validity)
        .and_then(|(_, uid)| listed.get(uid));
    plan::prove(record.size, &record.flags, record.date, copy, estimates)
}

fn altered_size(proof: &Proof) -> bool {
    proof.differences.iter().any(|difference| matches!(difference, Difference::Size(..)))
}

/// Always the same messages for the same bytes: the digest itself is the die.
fn in_sample(digest: Digest, sample: f64) -> bool {
    let die = u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]]);
    f64::from(die) < sample * 4_294_967_296.0
}

async fn tell(task: &Task<'_>, record: &Record, proof: &Proof) -> Result<(), Failure> {
    for difference in &proof.differences {
        let (kind, what) = match difference {
            // It may have been moved in this minute by a rule or its user; the next run finds it removed.
            Difference::Missing => continue,
            Difference::Size(sent, copied) => {
                (LossKind::Bytes, format!("{sent} bytes were sent and the target tells {copied}"))
            }
            Difference::FlagsLost(flags) => (LossKind::Keyword, format!("the target did not keep: {flags}")),
            Difference::Date(sent, copied) => {
                (LossKind::Date, format!("dated {sent} at the source, {copied} on the target"))
            }
        };
        copy::note_change(task, record.source_uid, kind, what).await?;
    }
    Ok(())
}

/// Reads the bytes of some copies back.
async fn read_back(
    task: &Task<'_>,
    target: &mut Lease<Target>,
    listed: &Listed<'_>,
    to_read: Vec<ToRead>,
) -> Result<(), Failure> {
    let mut uids: Vec<Uid> = to_read.iter().map(|one| one.target_uid).collect();
    uids.sort_unstable();
    let account = task.account;
    let found = digests(account, &mut target.session, &account.target.brake, &uids, listed.new).await?;
    let found: BTreeMap<Uid, Digest> = found.into_iter().collect();
    let mut proofs = Vec::new();
    for ToRead { source_uid, target_uid, digest, evidence } in to_read {
        match found.get(&target_uid) {
            // What differs otherwise stays told: equal bytes with other flags are not a complete copy.
            Some(copied) if *copied == digest && evidence == Evidence::MetadataEqual => {
                proofs.push((source_uid, Evidence::BytesEqual))
            }
            Some(copied) if *copied != digest => {
                proofs.push((source_uid, Evidence::BytesAltered));
                let what = "the target stored other bytes than were sent".to_owned();
                copy::note_change(task, source_uid, LossKind::Bytes, what).await?;
            }
            Some(_) => proofs.push((source_uid, evidence)),
            // A refusal of this minute is no loss: nothing is proven, the account is not complete, the next run asks again.
            None => {}
        }
    }
    Ok(account.ledger.prove(task.folder, task.source_validity, proofs).await?)
}

/// Counts the source's messages by fate, and those on the target by evidence.
async fn count(task: &Task<'_>) -> Result<FolderEnd, Failure> {
    let mut end = FolderEnd::default();
    let mut windows = Windows::of(&task.account.ledger, task.folder, task.source_validity);
    while let Some(records) = windows.next().await? {
        for record in records.iter().filter(|record| task.listing.get(record.source_uid).is_some()) {
            let Stage::Settled(fate) = record.stage else { continue };
            *end.fates.entry(fate).or_default() += 1;
            if matches!(fate, Fate::Copied | Fate::Adopted) {
                *end.evidence.entry(record.evidence).or_default() += 1;
            }
        }
    }
    end.unsettled = task.listing.len() as u64 - end.fates.values().sum::<u64>();
    Ok(end)
}
