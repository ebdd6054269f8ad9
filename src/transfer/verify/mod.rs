//! Comparing both sides, beyond what a run proves by itself. Reads only.
//!
//! Every source message gets its fate and what stands behind it, from what both servers show now; the ledger explains what
//! is not there. Messages are judged window by window and handed on one by one.

mod folder;

use super::account::{Account, Survey};
use super::check::each;
use super::{Context, Ending};
use crate::config;
use crate::failure::{Failure, Kind};
use crate::mail::{Evidence, Fate, FolderPath, Side, Uid, Uids};
use crate::plan::{self, Left, Standing, Sums};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

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

/// What verifying one source message came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageVerdict {
    /// Its account.
    pub account: String,
    /// Its folder's path at the source.
    pub folder: String,
    /// Its UID there.
    pub uid: u32,
    /// What that UID belongs to; None: the source gives no lasting UIDs.
    pub uidvalidity: Option<u32>,
    /// Its copy on the target.
    pub target_uid: Option<u32>,
    /// What became of it.
    pub fate: Fate,
    /// What stands behind it, as far as was looked now.
    pub evidence: Evidence,
    /// How complete it is.
    pub standing: Standing,
    /// What differs, why it is not there, what the target's user changed; a sentence each.
    pub how: Vec<String>,
    /// SHA-256 of the source's bytes, where they were read now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What verifying an account came to.
#[derive(Debug, Clone, Serialize)]
pub struct AccountVerdict {
    /// Its name.
    pub account: String,
    /// The worst of its folders; Incomplete where something hindered it.
    pub standing: Standing,
    /// Of all its folders together.
    pub totals: Sums,
    /// Folder by folder.
    pub folders: Vec<FolderVerdict>,
    /// What hindered it.
    pub failures: Vec<Failure>,
}

/// What verifying a folder came to. Its fates add up to its messages: see [`Self::open_sums`].
#[derive(Debug, Clone, Default, Serialize)]
pub struct FolderVerdict {
    /// Path at the source.
    pub source: String,
    /// Path on the target; empty for a folder that is left out.
    pub target: String,
    /// How complete it is.
    pub standing: Standing,
    /// Why nothing of it is carried over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Left>,
    /// The numbers.
    #[serde(flatten)]
    pub sums: Sums,
    /// Sums that do not close: nothing said of this folder can be believed.
    pub open_sums: Vec<String>,
    /// Whose bytes were compared.
    pub bytes_compared: u64,
    /// Copies that differ.
    pub different: u64,
    /// Copies whose flags the target's user has changed since; no loss.
    pub changed_by_user: u64,
    /// Of those removed: gone since the last run, so that no run has judged how many they are.
    pub removed_since: u64,
    /// Arrived at the source while it was compared; counted apart.
    pub arrived: u64,
    /// What concerns the folder as a whole, a sentence each.
    pub notes: Vec<String>,
    /// Target UIDs that nothing at the source stands for: the first of them.
    pub surplus_uids: Vec<u32>,
    /// The messages that are not simply complete: the first of them.
    pub listed: Vec<MessageVerdict>,
    /// How many those are in all.
    pub listed_all: u64,
}

/// Messages and UIDs that are kept of each folder: all of them go to whoever listens to the messages.
const KEPT_MAX: usize = 100;

impl AccountVerdict {
    /// Says whether every source message is on the target as it should be, as far as was looked.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.standing == Standing::Complete
    }

    /// Gives the end it stands for: Exceptions where all that is not there is explained, Failed where something is not.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self.standing {
            Standing::Complete => Ending::Complete,
            Standing::Explained => Ending::Exceptions,
            Standing::Incomplete => Ending::Failed,
        }
    }

    fn conclude(&mut self) {
        self.folders.iter().for_each(|folder| self.totals.add(&folder.sums));
        let worst = self.folders.iter().map(|folder| folder.standing).max().unwrap_or_default();
        self.standing = if self.failures.is_empty() { worst } else { Standing::Incomplete };
    }
}

impl FolderVerdict {
    /// Takes one message into the numbers, and keeps it where something is to be said of it.
    fn take(&mut self, message: &MessageVerdict) {
        self.sums.count(message.fate, message.evidence);
        self.standing = self.standing.max(message.standing);
        if message.standing == Standing::Complete {
            return;
        }
        self.listed_all += 1;
        self.different += u64::from(matches!(message.fate, Fate::Copied | Fate::Adopted));
        if self.listed.len() < KEPT_MAX {
            self.listed.push(message.clone());
        }
    }

    /// Notes something that stands against completeness of the folder as a whole.
    fn object(&mut self, note: String) {
        self.notes.push(note);
        self.standing = Standing::Incomplete;
    }

    /// Adds everything up. A sum that does not close is worse than anything it could say.
    fn close(&mut self) {
        self.open_sums = self.sums.open();
        if !self.open_sums.is_empty() {
            self.standing = Standing::Incomplete;
        }
        let gone = self.removed_since;
        let were = self.sums.of(Fate::Copied) + self.sums.of(Fate::Adopted) + gone;
        if plan::is_many(gone, were) {
            self.object(format!("{gone} of {were} copies were taken away: a person has to say who did that"));
        }
    }
}

/// Compares both sides of every account. `sample`: the part of the messages whose bytes are compared, 0 to 1.
pub async fn verify(context: Context, level: Level, sample: f64) -> Vec<AccountVerdict> {
    let asked = Asked { level, sample, messages: None };
    each(context, |context, account| verify_one(context, account, asked.clone())).await
}

/// As [`verify`], and tells of every source message as it is judged.
pub async fn verify_telling(
    context: Context,
    level: Level,
    sample: f64,
    messages: mpsc::Sender<MessageVerdict>,
) -> Vec<AccountVerdict> {
    let asked = Asked { level, sample, messages: Some(messages) };
    each(context, |context, account| verify_one(context, account, asked.clone())).await
}

/// What was asked for.
#[derive(Clone)]
struct Asked {
    level: Level,
    sample: f64,
    messages: Option<mpsc::Sender<MessageVerdict>>,
}

impl Asked {
    async fn tell(&self, message: MessageVerdict) {
        if let Some(messages) = &self.messages {
            // Nobody listening any more is no reason to stop.
            drop(messages.send(message).await);
        }
    }
}

/// Target messages that folders which share a place have taken.
type Taken = BTreeMap<FolderPath, Uids>;

async fn verify_one(context: Arc<Context>, account: config::Account, asked: Asked) -> AccountVerdict {
    let mut verdict = AccountVerdict {
        account: account.name.clone(),
        standing: Standing::Complete,
        totals: Sums::default(),
        folders: Vec::new(),
        failures: Vec::new(),
    };
    let prepared = match Account::prepare(&context, &account).await {
        Ok(prepared) => prepared,
        Err(failure) => {
            verdict.failures.push(failure);
            verdict.conclude();
            return verdict;
        }
    };
    match prepared.survey(&context.job.folders).await {
        Ok(survey) => every_folder(&prepared, &survey, &asked, &mut verdict).await,
        Err(failure) => verdict.failures.push(failure),
    }
    prepared.source.close().await;
    prepared.target.close().await;
    verdict.conclude();
    verdict
}

async fn every_folder(account: &Account, survey: &Survey, asked: &Asked, verdict: &mut AccountVerdict) {
    let mut taken = Taken::new();
    for pair in &survey.map.pairs {
        let shared = survey.map.pairs.iter().filter(|other| other.target == pair.target).count() > 1;
        let mut none = Uids::default();
        let taken = if shared { taken.entry(pair.target.clone()).or_default() } else { &mut none };
        match folder::verify(account, survey, pair, asked, taken).await {
            Ok(folder) => verdict.folders.push(folder),
            Err(failure) => verdict.failures.push(failure),
        }
        if account.stop.is_cancelled() {
            verdict.failures.push(Failure::new(None, Kind::Stopped, "go on: asked to stop"));
            return;
        }
    }
    for (path, why) in survey.map.left.iter().filter(|(_, why)| *why != Left::NoMail) {
        match left_out(account, survey, path, *why, asked).await {
            Ok(folder) => verdict.folders.push(folder),
            Err(failure) => verdict.failures.push(failure),
        }
    }
}

/// Counts a folder that is left out; where somebody listens, its messages are named too.
async fn left_out(
    account: &Account,
    survey: &Survey,
    path: &FolderPath,
    why: Left,
    asked: &Asked,
) -> Result<FolderVerdict, Failure> {
    let mut verdict = FolderVerdict { source: path.to_string(), left_out: Some(why), ..FolderVerdict::default() };
    let Some(folder) = survey.source_folders.iter().find(|folder| folder.path == *path) else { return Ok(verdict) };
    let on_source = |error: crate::imap::ImapError| error.failure(Side::Source);
    let mut source = account.source.take().await?;
    if asked.messages.is_none() {
        match source.session.status(&folder.name).await {
            Ok(state) => {
                (verdict.sums.said, verdict.sums.messages) = (state.messages.into(), state.messages.into());
                verdict.sums.fates.insert(Fate::Excluded, state.messages.into());
            }
            Err(error) if error.is_refusal() => verdict.notes.push(format!("not counted: {error}")),
            Err(error) => return Err(on_source(error)),
        }
    } else {
        match source.session.examine(&folder.name).await {
            Ok(opened) => {
                let listing = source.session.list(Uid::FIRST, opened.state).await;
                let listing = listing.map_err(on_source)?;
                verdict.sums.said = u64::from(opened.state.messages).max(listing.len() as u64);
                verdict.sums.messages = listing.len() as u64;
                for uid in listing.uids() {
                    let message = MessageVerdict {
                        account: account.name.clone(),
                        folder: path.to_string(),
                        uid: uid.value(),
                        uidvalidity: opened.state.uid_validity.map(|validity| validity.value()),
                        target_uid: None,
                        fate: Fate::Excluded,
                        evidence: Evidence::None,
                        standing: Standing::Complete,
                        how: Vec::new(),
                        sha256: None,
                    };
                    verdict.take(&message);
                    asked.tell(message).await;
                }
            }
            Err(error) if error.is_refusal() => verdict.notes.push(format!("not counted: {error}")),
            Err(error) => return Err(on_source(error)),
        }
    }
    account.source.keep(source);
    verdict.close();
    Ok(verdict)
}
