//! Comparing both sides, beyond what a run proves by itself. Reads only.

use super::Context;
use super::account::Account;
use super::check::each;
use super::folder::{WINDOW, Windows, list};
use super::reconcile::{answer, digests};
use crate::config;
use crate::failure::{Failure, Kind};
use crate::imap::{ImapError, Opened, Source, Target};
use crate::mail::{Digest, FolderPath, Listing, Side, Uid};
use crate::plan::{self, Difference, FolderPair, Matching, Need, Offer};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How closely both sides are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every source message has a copy, by the ledger, else by header.
    Counts,
    /// Size, flags and date of every copy agree too.
    Headers,
    /// The bytes of every copy, or of a sample, were read on both sides and agree too.
    Bytes,
}

/// What verifying an account came to.
#[derive(Debug, Clone, Serialize)]
pub struct AccountVerdict {
    /// Its name.
    pub account: String,
    /// Folder by folder.
    pub folders: Vec<FolderVerdict>,
    /// What hindered it.
    pub failures: Vec<Failure>,
}

/// What verifying a folder came to. `messages` is the sum of `paired` and the number of `missing`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FolderVerdict {
    /// Path at the source.
    pub source: String,
    /// Path on the target.
    pub target: String,
    /// At the source.
    pub messages: u64,
    /// On the target.
    pub target_messages: u64,
    /// With a copy.
    pub paired: u64,
    /// Whose bytes were compared and are equal.
    pub bytes_equal: u64,
    /// Source UIDs without a copy.
    pub missing: Vec<u32>,
    /// Source UIDs of messages that differ, and how.
    pub different: Vec<(u32, String)>,
}

impl AccountVerdict {
    /// Says whether nothing is missing and nothing differs.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
            && self.folders.iter().all(|folder| folder.missing.is_empty() && folder.different.is_empty())
    }
}

/// Compares both sides of every account. `sample`: the part of the messages whose bytes are compared, 0 to 1.
pub async fn verify(context: Context, level: Level, sample: f64) -> Vec<AccountVerdict> {
    each(context, |context, account| verify_one(context, account, level, sample)).await
}

async fn verify_one(context: Arc<Context>, account: config::Account, level: Level, sample: f64) -> AccountVerdict {
    let mut verdict = AccountVerdict { account: account.name.clone(), folders: Vec::new(), failures: Vec::new() };
    let prepared = match Account::prepare(&context, &account).await {
        Ok(prepared) => prepared,
        Err(failure) => {
            verdict.failures.push(failure);
            return verdict;
        }
    };
    match prepared.survey(&context.job.folders).await {
        Ok(survey) => {
            for pair in &survey.map.pairs {
                match folder(&prepared, pair, level, sample).await {
                    Ok(folder) => verdict.folders.push(folder),
                    Err(failure) => verdict.failures.push(failure),
                }
            }
        }
        Err(failure) => verdict.failures.push(failure),
    }
    prepared.source.close().await;
    prepared.target.close().await;
    verdict
}

fn on_source(error: ImapError) -> Failure {
    error.failure(Side::Source)
}

fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// A listing that leaves messages out proves nothing of them.
fn whole(side: Side, path: &FolderPath, opened: &Opened, listing: &Listing) -> Result<(), Failure> {
    let (said, listed) = (opened.state.messages as usize, listing.len());
    if listed >= said {
        return Ok(());
    }
    let text = format!("verify folder \"{path}\": the server says {said} messages and lists {listed}");
    Err(Failure::new(side, Kind::Protocol, text).with_hint("run it again; mail may have been taken away meanwhile"))
}

struct Open<'a> {
    account: &'a Account,
    source: super::pool::Lease<Source>,
    target: super::pool::Lease<Target>,
    source_listing: Listing,
    target_listing: Listing,
}

async fn folder(account: &Account, pair: &FolderPair, level: Level, sample: f64) -> Result<FolderVerdict, Failure> {
    let mut verdict = FolderVerdict {
        source: pair.source.path.to_string(),
        target: pair.target.to_string(),
        ..FolderVerdict::default()
    };
    let mut source = account.source.take().await?;
    let opened = source.session.examine(&pair.source.name).await.map_err(on_source)?;
    let source_listing = list(&mut source.session, Uid::FIRST, opened.state).await.map_err(on_source)?;
    whole(Side::Source, &pair.source.path, &opened, &source_listing)?;
    verdict.messages = source_listing.len() as u64;
    let Some(existing) = pair.existing.as_ref().filter(|folder| folder.selectable) else {
        verdict.missing = source_listing.uids().iter().map(|uid| uid.value()).collect();
        account.source.keep(source);
        return Ok(verdict);
    };
    let mut target = account.target.take().await?;
    let target_opened = target.session.examine(&existing.name).await.map_err(on_target)?;
    let target_listing = list(&mut target.session, Uid::FIRST, target_opened.state).await.map_err(on_target)?;
    whole(Side::Target, &pair.target, &target_opened, &target_listing)?;
    verdict.target_messages = target_listing.len() as u64;
    let row = account.ledger.folder(account.id, &pair.source.name, &existing.name, &pair.source.path).await?;
    let mut pairs: BTreeMap<Uid, (Uid, Option<Digest>)> = BTreeMap::new();
    if let Some(validity) = opened.state.uid_validity {
        let mut windows = Windows::of(&account.ledger, row.id, validity);
        while let Some(records) = windows.next().await? {
            for record in &records {
                if let Some((epoch, uid)) = record.target
                    && Some(epoch) == target_opened.state.uid_validity
                    && target_listing.get(uid).is_some()
                    && source_listing.get(record.source_uid).is_some()
                {
                    pairs.insert(record.source_uid, (uid, record.digest));
                }
            }
        }
    }
    let mut open = Open { account, source, target, source_listing, target_listing };
    open.match_rest(&mut pairs).await?;
    verdict.paired = pairs.len() as u64;
    verdict.missing =
        open.source_listing.uids().iter().filter(|uid| !pairs.contains_key(uid)).map(|uid| uid.value()).collect();
    if level >= Level::Headers {
        open.compare_metadata(&pairs, &mut verdict);
    }
    if level == Level::Bytes {
        open.compare_bytes(&pairs, sample, &mut verdict).await?;
    }
    verdict.different.sort();
    account.source.keep(open.source);
    account.target.keep(open.target);
    Ok(verdict)
}

impl Open<'_> {
    /// What the ledger does not know is looked for by content.
    async fn match_rest(&mut self, pairs: &mut BTreeMap<Uid, (Uid, Option<Digest>)>) -> Result<(), Failure> {
        let held: BTreeSet<Uid> = pairs.values().map(|(uid, _)| *uid).collect();
        let needs: Vec<Need> =
            self.source_listing.iter().filter(|entry| !pairs.contains_key(&entry.uid)).map(Need::new).collect();
        let offers: Vec<Offer> =
            self.target_listing.iter().filter(|entry| !held.contains(&entry.uid)).map(Offer::new).collect();
        let estimates = self.target.session.family().quirks().size_is_estimate;
        let mut matching = Matching::new(needs, offers, estimates);
        let source = (&mut self.source.session, &self.source_listing);
        answer(self.account, &mut matching, source, (&mut self.target.session, &self.target_listing)).await?;
        let found = matching.finish().found;
        pairs.extend(found.into_iter().map(|one| (one.source_uid, (one.target_uid, None))));
        Ok(())
    }

    async fn source_digests(&mut self, uids: &[Uid]) -> Result<Vec<(Uid, Digest)>, Failure> {
        digests(self.account, &mut self.source.session, &self.account.source.brake, uids, &self.source_listing).await
    }

    async fn target_digests(&mut self, uids: &[Uid]) -> Result<Vec<(Uid, Digest)>, Failure> {
        digests(self.account, &mut self.target.session, &self.account.target.brake, uids, &self.target_listing).await
    }

    fn compare_metadata(&self, pairs: &BTreeMap<Uid, (Uid, Option<Digest>)>, verdict: &mut FolderVerdict) {
        let estimates = self.target.session.family().quirks().size_is_estimate
            || self.source.session.family().quirks().size_is_estimate;
        for (source_uid, (target_uid, _)) in pairs {
            let Some(entry) = self.source_listing.get(*source_uid) else { continue };
            let flags = self.account.carried(entry.flags);
            let copy = self.target_listing.get(*target_uid);
            let size = entry.size.or(copy.and_then(|copy| copy.size)).unwrap_or(0);
            let proof = plan::prove(size, &flags, entry.date, copy, estimates);
            let extra = copy.map(|copy| copy.flags.without(&flags)).unwrap_or_default();
            for difference in &proof.differences {
                verdict.different.push((source_uid.value(), describe(difference)));
            }
            if !extra.is_empty() {
                verdict.different.push((source_uid.value(), format!("the copy also has: {extra}")));
            }
        }
    }

    async fn compare_bytes(
        &mut self,
        pairs: &BTreeMap<Uid, (Uid, Option<Digest>)>,
        sample: f64,
        verdict: &mut FolderVerdict,
    ) -> Result<(), Failure> {
        let chosen: Vec<(Uid, Uid)> = pairs
            .iter()
            .filter(|(uid, (_, digest))| in_sample(**uid, *digest, sample))
            .map(|(source, (target, _))| (*source, *target))
            .collect();
        for window in chosen.chunks(WINDOW) {
            let source: Vec<Uid> = window.iter().map(|(source, _)| *source).collect();
            let mut target: Vec<Uid> = window.iter().map(|(_, target)| *target).collect();
            target.sort_unstable();
            let source: BTreeMap<Uid, Digest> = self.source_digests(&source).await?.into_iter().collect();
            let target: BTreeMap<Uid, Digest> = self.target_digests(&target).await?.into_iter().collect();
            for (source_uid, target_uid) in window {
                let what = match (source.get(source_uid), target.get(target_uid)) {
                    (Some(source), Some(target)) if source == target => {
                        verdict.bytes_equal += 1;
                        continue;
                    }
                    (Some(_), Some(_)) => "the copy has other bytes",
                    (None, _) => "the source gives no body for it",
                    (_, None) => "the target gives no body for the copy",
                };
                verdict.different.push((source_uid.value(), what.to_owned()));
            }
        }
        Ok(())
    }
}

fn in_sample(uid: Uid, digest: Option<Digest>, sample: f64) -> bool {
    let bytes = digest.unwrap_or_else(|| crate::mail::digest(&uid.value().to_be_bytes())).0;
    let die = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    f64::from(die) < sample * 4_294_967_296.0
}

fn describe(difference: &Difference) -> String {
    match difference {
        Difference::Missing => "the copy is gone".to_owned(),
        Difference::Size(source, target) => format!("{source} bytes at the source, {target} on the target"),
        Difference::FlagsLost(flags) => format!("the copy lacks: {flags}"),
        Difference::Unsendable(flags) => format!("no client may set: {}", flags.join(" ")),
        Difference::DateUnknown(_) => "the source gives no date".to_owned(),
        Difference::Date(source, target) => format!("dated {source} at the source, {target} on the target"),
    }
}
