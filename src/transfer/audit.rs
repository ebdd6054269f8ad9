//! The last look before an account ends: whether something arrived late, twice or cut off.
//!
//! A connection that died may have left a message in the kernel or in the server; it can be stored after it was looked for
//! in vain and sent again. Such a second copy is removed where it is provably ours: at or above the floor it was sent
//! under, equal in bytes, flags and date, while the copy that the ledger knows is in its place. Whatever is not provable is
//! listed and left alone. Nothing else is ever removed from a target, and this by UID EXPUNGE alone (RFC 4315).

use super::account::Account;
use super::bytes::{beginnings, digests};
use super::pool::{Lease, delay, insist};
use crate::checkpoint::{FolderSummary, Surplus, SurplusKind, Suspect};
use crate::failure::{Failure, Kind, Remedy, Scope};
use crate::imap::{FlagChange, ImapError, Source, Target};
use crate::mail::{Digest, Fate, Flags, Listing, Record, Side, Stage, SystemFlag, Uid, UidValidity};
use crate::pace::Backoff;
use crate::plan::same_instant;
use crate::provider::says_missing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// What has not come for so long does not come any more.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Waits until nothing can come late any more, then looks. Does nothing where no answer was ever lost.
///
/// Gives the folders that could not be looked at: the next run does that.
pub(super) async fn audit(account: &Account) -> Result<Vec<(String, Failure)>, Failure> {
    let folders = account.ledger.suspected(account.id).await?;
    let mut failed = Vec::new();
    if folders.is_empty() {
        return Ok(failed);
    }
    wait_for_late(account, &folders).await?;
    for folder in &folders {
        let (mut backoff, mut doubts, mut faults) = (Backoff::default(), 0, 0);
        let began = Instant::now();
        while let Err(failure) = look(account, folder).await {
            let failure = insist(account.doubt(failure, &mut doubts), &mut faults);
            match failure.remedy() {
                _ if account.stop.is_cancelled() => return Err(failure),
                Remedy::Ask | Remedy::Skip if failure.scope() == Scope::Folder => {
                    failed.push((folder.path.to_string(), failure));
                    break;
                }
                Remedy::Ask | Remedy::Skip => return Err(failure),
                Remedy::Again | Remedy::Later | Remedy::FewerConnections | Remedy::Reconnect | Remedy::Refresh => {}
            }
            let Some(delay) = delay(&failure, account.patience, account.lasts(began), true, &mut backoff) else {
                return Err(failure);
            };
            account.wait(delay, &failure).await?;
        }
    }
    Ok(failed)
}

async fn wait_for_late(account: &Account, folders: &[FolderSummary]) -> Result<(), Failure> {
    let mut wait = Duration::ZERO;
    for folder in folders {
        let suspects = account.ledger.suspects(folder.id).await?;
        // A clock that was set back makes nobody wait longer.
        let left = |suspect: &Suspect| account.late.saturating_sub(suspect.since.elapsed().unwrap_or_default());
        wait = suspects.iter().filter(|suspect| suspect.looked.is_none()).map(left).fold(wait, Duration::max);
    }
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = account.stop.cancelled() => Err(Failure::new(None, Kind::Stopped, "go on: asked to stop")),
    }
}

fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// One folder with suspects, open on the target.
struct Audit<'a> {
    account: &'a Account,
    folder: &'a FolderSummary,
    target: Lease<Target>,
    validity: UidValidity,
    listing: Listing,
    /// UIDs mean something else each time the folder is opened.
    renumbers: bool,
    /// Target messages that nobody stands for, with their digests where they were read.
    strays: BTreeMap<Uid, Option<Digest>>,
}

async fn look(account: &Account, folder: &FolderSummary) -> Result<(), Failure> {
    let ledger = &account.ledger;
    let suspects = ledger.suspects(folder.id).await?;
    let source = account.source.take().await?;
    let mut target = account.target.take().await?;
    let (state, renumbers) = match target.session.examine(&folder.target).await {
        Ok(opened) => (opened.state, opened.uid_not_sticky),
        // No folder, nothing in it.
        Err(ImapError::Refused { refusal, .. }) if says_missing(&refusal.words) => {
            account.source.keep(source);
            account.target.keep(target);
            return Ok(ledger.clear_suspects(suspects.iter().map(|suspect| suspect.id).collect()).await?);
        }
        Err(error) => return Err(on_target(error)),
    };
    let (suspects, old): (Vec<Suspect>, Vec<Suspect>) =
        suspects.into_iter().partition(|suspect| Some(suspect.floor.0) == state.uid_validity && !is_over(suspect));
    ledger.clear_suspects(old.iter().map(|suspect| suspect.id).collect()).await?;
    // The pass that finds out comes before this: in the next run, where it came to no end in this one.
    let in_doubt = ledger.in_doubt(folder.id).await?;
    let suspects: Vec<Suspect> = suspects.into_iter().filter(|suspect| !in_doubt.contains(&suspect.id)).collect();
    let news = suspects.iter().any(|suspect| suspect.looked.is_none() || suspect.looked != state.uid_next);
    let Some(validity) = state.uid_validity.filter(|_| news) else {
        account.source.keep(source);
        account.target.keep(target);
        return Ok(());
    };
    let listing = target.session.list(Uid::FIRST, state).await.map_err(on_target)?;
    let held = ledger.paired(folder.id, validity).await?;
    let floor = suspects.iter().map(|suspect| suspect.floor.1).min().unwrap_or(Uid::LAST);
    let stray = |uid: &Uid| *uid >= floor && held.binary_search(uid).is_err();
    let strays = listing.uids().iter().filter(stray).map(|uid| (uid, None)).collect();
    let mut audit = Audit { account, folder, target, validity, listing, renumbers, strays };
    audit.read(&suspects).await?;
    let (copies, left) = audit.copies(suspects);
    let altered = audit.altered(&left).await?;
    let remnants = audit.remnants(&left, source).await?;
    for (suspect, uid) in copies {
        audit.settle_copy(&suspect, uid).await?;
    }
    for surplus in altered.into_iter().chain(remnants) {
        audit.note(surplus).await?;
    }
    account.target.keep(audit.target);
    Ok(ledger.looked_for(left.iter().map(|suspect| suspect.id).collect(), state.uid_next).await?)
}

fn is_over(suspect: &Suspect) -> bool {
    suspect.since.elapsed().is_ok_and(|age| age > KEPT)
}

/// Says whether this may be the beginning of what was sent: a server dates even what it cuts off as it was told.
fn may_be_cut(suspect: &Suspect, uid: Uid, listing: &Listing) -> bool {
    uid >= suspect.floor.1
        && listing.get(uid).is_some_and(|entry| {
            entry.size.is_some_and(|size| size < suspect.size) && same_instant(entry.date, suspect.date)
        })
}

impl Audit<'_> {
    /// Reads what may be one of the suspects, by its size.
    async fn read(&mut self, suspects: &[Suspect]) -> Result<(), Failure> {
        let estimates = self.target.session.family().quirks().size_is_estimate;
        let fits = |uid: &Uid| {
            suspects.iter().any(|suspect| {
                let size = self.listing.get(*uid).and_then(|entry| entry.size);
                *uid >= suspect.floor.1
                    && (estimates || size == Some(suspect.size) || may_be_cut(suspect, *uid, &self.listing))
            })
        };
        let uids: Vec<Uid> = self.strays.keys().copied().filter(fits).collect();
        let brake = &self.account.target.brake;
        for (uid, digest) in digests(self.account, &mut self.target.session, brake, &uids, &self.listing).await? {
            self.strays.insert(uid, Some(digest));
        }
        Ok(())
    }

    /// Pairs suspects with strays of equal bytes; gives these, and the suspects that are left.
    fn copies(&mut self, suspects: Vec<Suspect>) -> (Vec<(Suspect, Uid)>, Vec<Suspect>) {
        let (mut copies, mut left) = (Vec::new(), Vec::new());
        for suspect in suspects {
            let equal =
                |(uid, digest): &(&Uid, &Option<Digest>)| **uid >= suspect.floor.1 && **digest == Some(suspect.digest);
            match self.strays.iter().find(equal).map(|(uid, _)| *uid) {
                Some(uid) => {
                    self.strays.remove(&uid);
                    copies.push((suspect, uid));
                }
                None => left.push(suspect),
            }
        }
        (copies, left)
    }

    /// Finds strays that the target has altered just as it has the copy that the ledger knows.
    async fn altered(&mut self, suspects: &[Suspect]) -> Result<Vec<Surplus>, Failure> {
        let (account, folder) = (self.account, self.folder.id);
        let mut found = Vec::new();
        for suspect in suspects {
            let record = account.ledger.record(folder, suspect.source.0, suspect.source.1).await?;
            let copy = record.filter(|record| self.has_its_copy(record)).and_then(|record| record.target);
            let Some(copy) = copy.and_then(|(_, uid)| self.listing.get(uid)) else { continue };
            let fits = |uid: &&Uid| {
                let stray = self.listing.get(**uid).filter(|_| **uid >= suspect.floor.1);
                stray.is_some_and(|stray| stray.size == copy.size && same_instant(stray.date, suspect.date))
            };
            let mut uids: Vec<Uid> = self.strays.keys().filter(fits).copied().collect();
            if uids.is_empty() {
                continue;
            }
            uids.push(copy.uid);
            uids.sort_unstable();
            let session = &mut self.target.session;
            let read = digests(account, session, &account.target.brake, &uids, &self.listing).await?;
            let known = read.iter().find(|(uid, _)| *uid == copy.uid).map(|(_, digest)| *digest);
            let twin = read.iter().find(|(uid, digest)| *uid != copy.uid && Some(*digest) == known);
            if let Some((uid, _)) = twin {
                self.strays.remove(uid);
                let target = (self.validity, *uid);
                found.push(Surplus { target, source: suspect.source, kind: SurplusKind::Copy });
            }
        }
        Ok(found)
    }

    /// Finds strays that are the beginning of a suspect.
    async fn remnants(&mut self, suspects: &[Suspect], mut source: Lease<Source>) -> Result<Vec<Surplus>, Failure> {
        let on_source = |error: ImapError| error.failure(Side::Source);
        let mut found = Vec::new();
        let cut: Vec<&Suspect> = suspects
            .iter()
            .filter(|suspect| self.strays.keys().any(|uid| may_be_cut(suspect, *uid, &self.listing)))
            .collect();
        if !cut.is_empty() {
            let opened = source.session.examine(&self.folder.source).await.map_err(on_source)?;
            let wanted: BTreeMap<Uid, u64> = cut
                .iter()
                .filter(|suspect| Some(suspect.source.0) == opened.state.uid_validity)
                .map(|suspect| (suspect.source.1, suspect.size))
                .collect();
            let wanted: Vec<(Uid, u64)> = wanted.into_iter().collect();
            let lengths: BTreeSet<u64> = self.strays.keys().filter_map(|uid| self.listing.get(*uid)?.size).collect();
            let account = self.account;
            let prefixes =
                beginnings(account, &mut source.session, &account.source.brake, &wanted, |_| &lengths).await?;
            for suspect in cut {
                let Some((_, beginnings)) = prefixes.iter().find(|(uid, _)| *uid == suspect.source.1) else { continue };
                let is_cut = |(uid, digest): &(&Uid, &Option<Digest>)| {
                    let size = self.listing.get(**uid).and_then(|entry| entry.size).unwrap_or_default();
                    may_be_cut(suspect, **uid, &self.listing)
                        && digest.is_some_and(|digest| beginnings.get(&size) == Some(&digest))
                };
                if let Some(uid) = self.strays.iter().find(is_cut).map(|(uid, _)| *uid) {
                    self.strays.remove(&uid);
                    let target = (self.validity, uid);
                    found.push(Surplus { target, source: suspect.source, kind: SurplusKind::Remnant });
                }
            }
        }
        self.account.source.keep(source);
        Ok(found)
    }

    /// Removes a second copy that is provably ours; lists any other.
    async fn settle_copy(&mut self, suspect: &Suspect, uid: Uid) -> Result<(), Failure> {
        let surplus = Surplus { target: (self.validity, uid), source: suspect.source, kind: SurplusKind::Copy };
        let ledger = &self.account.ledger;
        let own = ledger.record(self.folder.id, suspect.source.0, suspect.source.1).await?;
        let alike = match self.folder.validity {
            Some(validity) => ledger.of_bytes(self.folder.id, validity, suspect.digest).await?,
            None => Vec::new(),
        };
        // Numbered anew, it is one of those of equal bytes, whichever.
        let renumbered = self.folder.validity != Some(suspect.source.0);
        let has_copy = |record: &Record| self.has_its_copy(record);
        if !(own.as_ref().is_some_and(has_copy) || renumbered && alike.iter().any(has_copy)) {
            // It is the only one: the next run finds it.
            return Ok(ledger.clear_suspects(vec![suspect.id]).await?);
        }
        // What was sent again with other bytes, or was there before, is not among those of equal bytes.
        let is_one_of_them = renumbered || own.is_some_and(|own| alike.contains(&own));
        let kept: Vec<Uid> = alike.iter().filter_map(|record| Some(record.target?.1)).collect();
        let removed =
            is_one_of_them && self.is_provably_ours(suspect, &alike, uid).await? && self.remove(uid, &kept).await?;
        if removed {
            self.account.tell_surplus(&self.folder.path.to_string(), &surplus, true).await;
        } else {
            self.note(surplus).await?;
        }
        Ok(self.account.ledger.clear_suspects(vec![suspect.id]).await?)
    }

    /// `alike`: the source's messages of these bytes.
    async fn is_provably_ours(&self, suspect: &Suspect, alike: &[Record], uid: Uid) -> Result<bool, Failure> {
        let Some(copy) = self.listing.get(uid) else { return Ok(false) };
        // A kill between its two steps leaves a removal half done, as this flag.
        let flags = copy.flags.clone().without_system(SystemFlag::Deleted);
        let sent = suspect.flags.clone().without_system(SystemFlag::Deleted);
        let as_sent = flags.same(&sent) && same_instant(copy.date, suspect.date);
        if !as_sent || !self.target.session.can_expunge() || self.renumbers {
            return Ok(false);
        }
        // Another folder or account that goes there may have sent the same, and wait for it.
        if self.account.ledger.is_awaited(self.folder.id, suspect.digest).await? {
            return Ok(false);
        }
        // What it waited for a moment ago may be this one, in its place by now.
        if self.account.ledger.paired(self.folder.id, self.validity).await?.binary_search(&uid).is_ok() {
            return Ok(false);
        }
        // Every message of these bytes has its own copy in its place: nobody needs this one.
        Ok(alike.iter().all(|record| self.has_its_copy(record)))
    }

    fn has_its_copy(&self, record: &Record) -> bool {
        matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted))
            && record.target.is_some_and(|(validity, uid)| validity == self.validity && self.listing.get(uid).is_some())
    }

    /// Removes one message while these are there.
    async fn remove(&mut self, uid: Uid, kept: &[Uid]) -> Result<bool, Failure> {
        let session = &mut self.target.session;
        let opened = match session.select(&self.folder.target).await {
            Err(error) if error.is_refusal() => return Ok(false),
            other => other.map_err(on_target)?,
        };
        if opened.state.uid_validity != Some(self.validity) || opened.uid_not_sticky {
            return Ok(false);
        }
        // Still what it was when it was listed.
        let now = session.listing(uid, uid, 1).await.map_err(on_target)?;
        if now.get(uid) != self.listing.get(uid) {
            return Ok(false);
        }
        // Its user may have seen two of them, and have taken away the other in this moment.
        for kept in kept {
            if session.listing(*kept, *kept, 1).await.map_err(on_target)?.is_empty() {
                return Ok(false);
            }
        }
        let mut deleted = Flags::default();
        deleted.insert(SystemFlag::Deleted);
        let removed = async {
            drop(session.store(&[uid], FlagChange::Add, &deleted, None).await?);
            session.expunge(&[uid]).await
        };
        match removed.await {
            Ok(()) => Ok(session.listing(uid, uid, 1).await.map_err(on_target)?.is_empty()),
            Err(error) if error.is_refusal() => Ok(false),
            Err(error) => Err(on_target(error)),
        }
    }

    async fn note(&self, surplus: Surplus) -> Result<(), Failure> {
        self.account.ledger.note_surplus(self.folder.id, vec![surplus.clone()]).await?;
        self.account.tell_surplus(&self.folder.path.to_string(), &surplus, false).await;
        Ok(())
    }
}
