//! Proof at the end of a pass: metadata of every copied message is read back and compared, the bytes of a sample and of
//! every message that some server is known to alter in silence. Then everything is counted.

use super::bytes::digests_of;
use super::copy::{self, Task};
use super::flags::{Shown, is_proven, note_lost};
use super::folder::FolderEnd;
use super::pool::Lease;
use super::reconcile::NOT_SHOWN;
use super::windows::Windows;
use crate::checkpoint::{Ending, LossKind};
use crate::failure::{Failure, Kind};
use crate::imap::{ImapError, Look, Target};
use crate::mail::{Digest, Evidence, Fate, FolderState, Listing, Record, Side, Stage, Uid, UidValidity};
use crate::plan::{self, Difference, Proof};
use std::collections::{BTreeMap, BTreeSet};

/// Copies whose bytes are read back before the others are looked at: of each are some hundred bytes known.
const READ_AT_ONCE: usize = 1024;

fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// What proving came to.
pub(super) struct Proved {
    pub(super) end: FolderEnd,
    /// The target after the last change; None: it did not tell, or holds others than were listed.
    pub(super) state: Option<FolderState>,
    /// Copies with fewer bytes than were sent: cut off, or altered.
    pub(super) short: Vec<Short>,
}

/// A copy that has fewer bytes than were sent, and others.
pub(super) struct Short {
    pub(super) source_uid: Uid,
    pub(super) target: (UidValidity, Uid),
    /// Bytes sent.
    pub(super) size: u64,
    /// Bytes there, and what they are.
    pub(super) copied: (u64, Digest),
}

/// What the target held before messages were appended.
pub(super) struct Before<'a> {
    /// Made after the last change of flags; by delta, of what is known and what has changed.
    pub(super) listing: &'a Listing,
    /// UIDs from here on may be new.
    pub(super) from: Uid,
    /// How many messages there were below.
    pub(super) count: usize,
    /// About how many are new.
    pub(super) expected: Option<u32>,
}

/// Proves what this pass and those before it left unproven, counts, and gives the target's state after the last change.
pub(super) async fn prove(
    task: &Task<'_>,
    mut target: Lease<Target>,
    before: &Before<'_>,
    shown: &Shown,
) -> Result<Proved, Failure> {
    let (new, next, state) = list_new(task, &mut target, before).await?;
    let listed = Listed { before: before.listing, new: &new, from: before.from };
    let (mut to_read, mut short, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    // What was cut off once and sent again is not sent a third time.
    let surplus = task.account.ledger.surplus(task.folder).await?;
    let remnants: BTreeSet<(UidValidity, Uid)> = surplus.into_iter().map(|surplus| surplus.source).collect();
    let estimates = target.session.family().quirks().size_is_estimate;
    let mut windows = Windows::of(&task.account.ledger, task.folder, task.source_validity);
    while let Some(records) = windows.next().await? {
        let mut proofs = Vec::new();
        for record in records.iter().filter(|record| contradicted(task, record)) {
            // Its source has got something since that cannot be sent.
            tell_unsendable(task, record).await?;
            proofs.push((record.source_uid, Evidence::Counted));
        }
        for record in records.iter().filter(|record| unproven(record)) {
            let proof = prove_one(task, &listed, record, estimates);
            let may_be_cut =
                is_shorter(&proof) && !record.risky && !remnants.contains(&(task.source_validity, record.source_uid));
            tell(task, record, &proof, shown, may_be_cut).await?;
            if proof.evidence == Evidence::None {
                if record.stage == Stage::Settled(Fate::Copied) {
                    missing.push(record.clone());
                }
                continue;
            }
            let sampled = record.digest.is_some_and(|digest| in_sample(digest, task.account.sample));
            match (record.target, record.digest) {
                // Nothing is proven of it before its bytes are read: killed in between, they would never be.
                (Some(target), Some(digest)) if sampled || record.risky || altered_size(&proof) => {
                    to_read.push(ToRead {
                        source_uid: record.source_uid,
                        target,
                        size: record.size,
                        digest,
                        evidence: proof.evidence,
                        may_be_cut,
                    });
                }
                (Some(_), None) if record.risky => {
                    note_altered(task, record.source_uid).await?;
                    proofs.push((record.source_uid, Evidence::BytesAltered));
                }
                _ => proofs.push((record.source_uid, proof.evidence)),
            }
        }
        task.account.ledger.prove(task.folder, task.source_validity, proofs).await?;
        if to_read.len() >= READ_AT_ONCE {
            short.extend(read_back(task, &mut target, &listed, std::mem::take(&mut to_read)).await?);
        }
    }
    let missing = still_missing(task, &mut target, missing).await?;
    settle_missing(task, missing).await?;
    short.extend(read_back(task, &mut target, &listed, to_read).await?);
    // What came or went since it was listed is for the next run to find.
    let is_listed = |state: &FolderState| state.messages as usize == before.count + new.len() && state.uid_next == next;
    let state = match state {
        Some(state) => Some(state),
        None => target.session.status(task.target_name).await.ok(),
    };
    let state = state.filter(is_listed);
    task.account.target.keep(target);
    task.account.ledger.flush().await?;
    let end = count(task).await?;
    Ok(Proved { end, state, short })
}

/// Lists what is new, and gives the number that comes next, and the state if that takes no further turn.
async fn list_new(task: &Task<'_>, target: &mut Lease<Target>, before: &Before<'_>) -> Result<New, Failure> {
    if !task.target_lasts {
        // Opened again, it would have other UIDs; nothing was appended since it was listed.
        return Ok((Listing::default(), None, None));
    }
    let look = target.session.look(task.target_name, before.from, before.expected, true);
    let Look { opened, listing, state } = look.await.map_err(on_target)?;
    if opened.state.uid_validity != task.target_validity {
        let text = format!("prove folder \"{}\": the target has numbered it anew meanwhile", task.path);
        return Err(Failure::new(Side::Target, Kind::Lost, text));
    }
    Ok((listing, opened.state.uid_next, state))
}

type New = (Listing, Option<Uid>, Option<FolderState>);

/// A copy whose bytes are read back.
struct ToRead {
    source_uid: Uid,
    target: (UidValidity, Uid),
    size: u64,
    digest: Digest,
    /// What its metadata have shown.
    evidence: Evidence,
    may_be_cut: bool,
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

fn contradicted(task: &Task<'_>, record: &Record) -> bool {
    matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted))
        && is_proven(record.evidence)
        && task.listing.get(record.source_uid).is_some_and(|entry| entry.flags.unsendable().next().is_some())
}

fn prove_one(task: &Task<'_>, listed: &Listed<'_>, record: &Record, estimates: bool) -> Proof {
    let copy = record
        .target
        .filter(|(validity, _)| Some(*validity) == task.target_validity)
        .and_then(|(_, uid)| listed.get(uid));
    let source = task.listing.get(record.source_uid);
    let flags = source.map_or(record.flags.clone(), |source| record.flags.clone().with_unsendable_of(source.flags));
    plan::prove(record.size, &flags, record.date, copy, estimates)
}

fn altered_size(proof: &Proof) -> bool {
    proof.differences.iter().any(|difference| matches!(difference, Difference::Size(..)))
}

fn is_shorter(proof: &Proof) -> bool {
    proof.differences.iter().any(|difference| matches!(difference, Difference::Size(sent, copied) if copied < sent))
}

/// Always the same messages for the same bytes: the digest itself is the die.
fn in_sample(digest: Digest, sample: f64) -> bool {
    let die = u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]]);
    f64::from(die) < sample * 4_294_967_296.0
}

/// Notes what differs; of one that may be cut off its size is told when that is known.
async fn tell(task: &Task<'_>, record: &Record, proof: &Proof, shown: &Shown, may_be_cut: bool) -> Result<(), Failure> {
    for difference in &proof.differences {
        let (kind, what) = match difference {
            // Listed as what did not arrive.
            Difference::Missing => continue,
            Difference::Size(..) if may_be_cut => continue,
            Difference::Size(sent, copied) => {
                (LossKind::Bytes, format!("{sent} bytes were sent and the target tells {copied}"))
            }
            Difference::FlagsLost(flags) => {
                note_lost(task, record.source_uid, flags, |flag| shown.keeping.why(flag)).await?;
                continue;
            }
            Difference::Unsendable(_) => {
                tell_unsendable(task, record).await?;
                continue;
            }
            Difference::DateUnknown(copied) => {
                let copied = copied.map_or_else(|| "none".to_owned(), |copied| copied.to_string());
                (LossKind::Date, format!("the source gives no date that can be read, {copied} on the target"))
            }
            Difference::Date(sent, copied) => {
                let refused = shown.undated.get(&record.source_uid);
                let why = refused.map(|words| format!(", refused by the target ({words})")).unwrap_or_default();
                (LossKind::Date, format!("dated {sent} at the source{why}, {copied} on the target"))
            }
        };
        copy::note_change(task, record.source_uid, kind, what).await?;
    }
    Ok(())
}

/// Looks once more, after a while: some servers lag behind with what they list. What shows up is proven by the next run.
async fn still_missing(
    task: &Task<'_>,
    target: &mut Lease<Target>,
    mut missing: Vec<Record>,
) -> Result<Vec<Record>, Failure> {
    missing.retain(|record| {
        let here = record.target.is_some_and(|(validity, _)| Some(validity) == task.target_validity);
        here && task.listing.has(record.source_uid)
    });
    let uids = missing.iter().filter_map(|record| record.target.map(|(_, uid)| uid));
    let Some((first, last)) = uids.clone().min().zip(uids.max()).filter(|_| task.target_lasts) else {
        return Ok(missing);
    };
    tokio::time::sleep(task.account.settle).await;
    let opened = target.session.examine(task.target_name).await.map_err(on_target)?;
    let now = target.session.listing(first, last, opened.state.messages).await.map_err(on_target)?;
    missing.retain(|record| record.target.is_some_and(|(_, uid)| !now.has(uid)));
    Ok(missing)
}

/// The target said OK, said where, and does not list it: it drops what it takes for a double, or somebody was very quick.
/// Sending it again would go on for ever.
async fn settle_missing(task: &Task<'_>, missing: Vec<Record>) -> Result<(), Failure> {
    let missing = missing.into_iter().map(|record| {
        let words = NOT_SHOWN.to_owned();
        let subject = copy::Subject { size: record.size, ..copy::Subject::default() };
        (record.source_uid, Ending::Missing, Kind::Missing, words, subject)
    });
    copy::settle_failed(task, missing.collect()).await
}

/// Notes what no client may set, flag by flag.
async fn tell_unsendable(task: &Task<'_>, record: &Record) -> Result<(), Failure> {
    let entry = task.listing.get(record.source_uid);
    for flag in entry.iter().flat_map(|entry| entry.flags.unsendable()) {
        let invented = flag.starts_with('\\') && !flag.starts_with("\\x");
        let (kind, why) = match invented {
            true => (LossKind::SystemFlag, "no client may set it"),
            false => (LossKind::Keyword, "it cannot be written as a keyword"),
        };
        copy::note_change(task, record.source_uid, kind, format!("{why}: {flag}")).await?;
    }
    Ok(())
}

/// Reads the bytes of some copies back.
async fn read_back(
    task: &Task<'_>,
    target: &mut Lease<Target>,
    listed: &Listed<'_>,
    to_read: Vec<ToRead>,
) -> Result<Vec<Short>, Failure> {
    let size = |one: &ToRead| listed.get(one.target.1).and_then(|copy| copy.size).unwrap_or(one.size);
    let mut wanted: Vec<(Uid, u64)> = to_read.iter().map(|one| (one.target.1, size(one))).collect();
    wanted.sort_unstable();
    let account = task.account;
    let found = digests_of(account, &mut target.session, &account.target.brake, &wanted).await?;
    let found: BTreeMap<Uid, Digest> = found.into_iter().collect();
    let (mut proofs, mut short) = (Vec::new(), Vec::new());
    for ToRead { source_uid, target, size, digest, evidence, may_be_cut } in to_read {
        match found.get(&target.1) {
            Some(copied) if *copied != digest && may_be_cut => {
                let there = listed.get(target.1).and_then(|entry| entry.size).unwrap_or_default();
                short.push(Short { source_uid, target, size, copied: (there, *copied) });
            }
            // What differs otherwise stays told: equal bytes with other flags are not a complete copy.
            Some(copied) if *copied == digest && evidence == Evidence::MetadataEqual => {
                proofs.push((source_uid, Evidence::BytesEqual))
            }
            Some(copied) if *copied != digest => {
                proofs.push((source_uid, Evidence::BytesAltered));
                note_altered(task, source_uid).await?;
            }
            Some(_) => proofs.push((source_uid, evidence)),
            // A refusal of this minute is no loss: nothing is proven, the account is not complete, the next run asks again.
            None => {}
        }
    }
    account.ledger.prove(task.folder, task.source_validity, proofs).await?;
    Ok(short)
}

async fn note_altered(task: &Task<'_>, uid: Uid) -> Result<(), Failure> {
    let what = "the target stored other bytes than were sent".to_owned();
    copy::note_change(task, uid, LossKind::Bytes, what).await
}

/// Counts the source's messages by fate, and those on the target by evidence.
pub(super) async fn count(task: &Task<'_>) -> Result<FolderEnd, Failure> {
    let mut end = FolderEnd::default();
    let mut windows = Windows::of(&task.account.ledger, task.folder, task.source_validity);
    while let Some(records) = windows.next().await? {
        for record in &records {
            let Stage::Settled(fate) = record.stage else { continue };
            if !task.listing.has(record.source_uid) {
                end.left.add(record.source_uid, fate, record.evidence);
                continue;
            }
            *end.fates.entry(fate).or_default() += 1;
            if matches!(fate, Fate::Copied | Fate::Adopted) {
                *end.evidence.entry(record.evidence).or_default() += 1;
            }
        }
    }
    end.unsettled = task.listing.len() as u64 - end.fates.values().sum::<u64>();
    Ok(end)
}
