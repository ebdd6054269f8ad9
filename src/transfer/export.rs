//! Messages that are not on the target, saved as files: their bytes as the source gives them, and nothing else.
//!
//! Invariants: only the source is signed in to, and it is only read; a file's name is made of numbers and a digest of ours,
//! so that nothing a server says leads out of the directory; a file that is there is never written over; a file is whole or
//! not there.

use super::Context;
use super::account::Account;
use super::check::each;
use super::pool::Lease;
use crate::checkpoint::TroubleNote;
use crate::config;
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{Body, Fetched, Source, Wanted};
use crate::mail::{Digest, FolderPath, Side, UidValidity, WireName, digest};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Messages read from the ledger at a time.
const PAGE: usize = 500;
/// How often one message is asked for over connections that break.
const TRIES_MAX: u32 = 2;

/// One listed message, saved or not.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Its account.
    pub account: String,
    /// Why it is listed.
    pub note: TroubleNote,
    /// Where it is now; else why it could not be saved.
    pub file: Result<Saved, String>,
}

/// A message in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// In the directory.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// Saves every message of the job that is listed as not on the target in `directory`, which has to be there, and tells of
/// each. Gives, for each account that could not be gone through, why.
pub async fn export(context: Context, directory: &Path, told: mpsc::Sender<Exported>) -> Vec<Failure> {
    let directory = directory.to_owned();
    let ended = each(context, move |context, account| one_account(context, account, directory.clone(), told.clone()));
    ended.await.into_iter().filter_map(Result::err).collect()
}

async fn one_account(
    context: Arc<Context>,
    config: config::Account,
    directory: PathBuf,
    told: mpsc::Sender<Exported>,
) -> Result<(), Failure> {
    let account = Account::prepare(&context, &config).await?;
    let names: BTreeMap<FolderPath, WireName> =
        account.ledger.folders(account.id).await?.into_iter().map(|folder| (folder.path, folder.source)).collect();
    let mut exporter = Exporter { account: &account, directory, names, open: None };
    let mut after = 0;
    loop {
        let page = account.ledger.troubles(account.id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.number;
        for note in page {
            if account.stop.is_cancelled() {
                return Err(Failure::new(None, Kind::Stopped, "go on: asked to stop"));
            }
            let file = exporter.one(&note).await?;
            // Nobody listening any more is no reason to stop.
            drop(told.send(Exported { account: account.name.clone(), note, file }).await);
        }
    }
    if let Some(open) = exporter.open {
        account.source.keep(open.lease);
    }
    account.source.close().await;
    Ok(())
}

struct Open {
    lease: Lease<Source>,
    path: FolderPath,
    /// None: it cannot be opened, in these words.
    validity: Result<UidValidity, String>,
}

struct Exporter<'a> {
    account: &'a Account,
    directory: PathBuf,
    /// Of folders, at the source.
    names: BTreeMap<FolderPath, WireName>,
    open: Option<Open>,
}

impl Exporter<'_> {
    /// Saves one message; a failure of the account ends it all, one of the message is told.
    async fn one(&mut self, note: &TroubleNote) -> Result<Result<Saved, String>, Failure> {
        let mut tries = 0;
        loop {
            let failure = match self.fetch(note).await {
                Ok(Ok(body)) => return Ok(self.save(note, body).await),
                Ok(Err(reason)) => return Ok(Err(reason)),
                Err(failure) => failure,
            };
            // The session is gone with it.
            self.open = None;
            tries += 1;
            match failure.remedy() {
                Remedy::Reconnect | Remedy::Later | Remedy::FewerConnections
                    if tries < TRIES_MAX && failure.kind != Kind::AllowanceSpent => {}
                Remedy::Reconnect if failure.kind == Kind::Lost || failure.kind == Kind::Silent => {
                    return Ok(Err("the connection breaks whenever it is fetched".to_owned()));
                }
                _ => return Err(failure),
            }
        }
    }

    async fn fetch(&mut self, note: &TroubleNote) -> Result<Result<Body, String>, Failure> {
        let mut open = self.open(note).await?;
        let validity = open.validity.clone();
        let (uid, room) = (note.source_uid, &self.account.room);
        let body = match validity {
            Err(reason) => Err(reason),
            Ok(now) if now != note.validity => {
                Err("the source has numbered its folder anew since; run the job, then export again".to_owned())
            }
            Ok(_) => {
                let (bodies, mut fetched) = mpsc::channel::<Fetched>(1);
                let brake = &self.account.source.brake;
                let wanted = Wanted::of([(uid, note.size)]);
                let refused = open.lease.session.fetch_bodies(&wanted, room, brake, &bodies).await;
                drop(bodies);
                let refused = refused.map_err(|error| error.failure(Side::Source))?;
                match (fetched.recv().await.and_then(|one| one.body), refused.into_iter().next()) {
                    (Some(body), _) => Ok(body),
                    (None, Some((_, Some(refusal)))) => Err(refusal.text()),
                    (None, _) => {
                        let listed = open.lease.session.listing(uid, uid, 1).await;
                        match listed.map_err(|error| error.failure(Side::Source))?.is_empty() {
                            true => Err("it has left the source".to_owned()),
                            false => Err("the source gives no body for it".to_owned()),
                        }
                    }
                }
            }
        };
        if open.lease.session.is_usable() {
            self.open = Some(open);
        }
        Ok(body)
    }

    /// Gives a session in which the message's folder is open, if it can be.
    async fn open(&mut self, note: &TroubleNote) -> Result<Open, Failure> {
        let mut lease = match self.open.take() {
            Some(open) if open.path == note.path => return Ok(open),
            Some(open) => open.lease,
            None => self.account.source.take().await?,
        };
        let validity = match self.names.get(&note.path) {
            None => Err("its folder is not known any more".to_owned()),
            Some(name) => match lease.session.examine(name).await {
                Ok(opened) => {
                    opened.state.uid_validity.ok_or_else(|| "the source gives its folder no lasting UIDs".to_owned())
                }
                Err(error) if error.is_refusal() => Err(error.to_string()),
                Err(error) => return Err(error.failure(Side::Source)),
            },
        };
        Ok(Open { lease, path: note.path.clone(), validity })
    }

    async fn save(&self, note: &TroubleNote, mut body: Body) -> Result<Saved, String> {
        let name = file_name(&self.account.id.to_string(), note);
        let saved = Saved { name: name.clone(), digest: body.digest(), size: body.length() };
        let hindered = |error: std::io::Error| format!("it cannot be written: {error}");
        let directory = self.directory.clone();
        // Its owner alone reads it; it has no name before it is whole.
        let part = tokio::task::spawn_blocking(move || tempfile::NamedTempFile::new_in(directory));
        let part = part.await.map_err(std::io::Error::other).and_then(|made| made).map_err(hindered)?;
        let mut file = tokio::fs::File::from_std(part.reopen().map_err(hindered)?);
        body.save(&mut file).await.map_err(hindered)?;
        file.sync_all().await.map_err(hindered)?;
        let (path, digest) = (self.directory.join(&name), saved.digest);
        let placed = tokio::task::spawn_blocking(move || match part.persist_noclobber(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => is_equal(&path, digest),
            Err(error) => Err(error.error),
        });
        match placed.await.map_err(std::io::Error::other).and_then(|placed| placed) {
            Ok(true) => Ok(saved),
            Ok(false) => Err(format!("{name} is there already with other content")),
            Err(error) => Err(hindered(error)),
        }
    }
}

/// Made of what is ours alone: numbers, and a digest of the folder's name.
fn file_name(account: &str, note: &TroubleNote) -> String {
    let folder = digest(note.path.parts().join("\0").as_bytes()).to_string();
    format!("{account}-{}-{}-{}.eml", &folder[..16], note.validity, note.source_uid)
}

/// Says whether a plain file holds these bytes.
fn is_equal(path: &Path, expected: Digest) -> std::io::Result<bool> {
    use sha2::Digest as _;
    if !path.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    let (mut file, mut sha, mut piece) = (std::fs::File::open(path)?, sha2::Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest(sha.finalize().into()) == expected),
            length => sha.update(&piece[..length]),
        }
    }
}
