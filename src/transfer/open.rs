//! Both folders of a pass, opened and listed; the target's is made where it is missing.

use super::account::Account;
use super::folder::{FolderEnd, Pass};
use super::pool::Lease;
use super::{names, namesake, removed};
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{Brake as _, ImapError, KEEP_ALIVE, Look, Opened, Source, Target};
use crate::mail::{FolderPath, FolderState, Listing, Side, Uid, UidValidity, Uids};
use crate::provider::{refuses_name, says_missing};
use std::pin::pin;
use std::time::SystemTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A source folder that was opened and listed.
pub(super) type SourceOpened = (Lease<Source>, Opened, UidValidity, Listing);

/// What opening a folder on both sides came to.
pub(super) enum Looked {
    Both(Box<Both>),
    /// The target's user removed the folder, and there is nothing to be put into it.
    Gone,
    /// Nothing has changed after all.
    Idle(FolderEnd),
}

/// Both folders, opened and listed.
pub(super) struct Both {
    pub(super) source: Lease<Source>,
    pub(super) target: Lease<Target>,
    pub(super) source_state: FolderState,
    /// Where the source's UIDs do not last: of this pass alone.
    pub(super) source_validity: UidValidity,
    pub(super) source_lasts: bool,
    pub(super) target_path: FolderPath,
    pub(super) target_opened: Opened,
    pub(super) target_lasts: bool,
    pub(super) source_listing: Listing,
    pub(super) target_listing: Listing,
}

impl Both {
    /// UIDNEXT before anything was appended, under the UIDVALIDITY it belongs to.
    pub(super) fn floor(&self) -> Option<(UidValidity, Uid)> {
        let state = self.target_opened.state;
        Some((state.uid_validity?, state.uid_next?))
    }
}

/// Stands for the UIDVALIDITY of a folder that has none.
const UNNUMBERED: UidValidity = UidValidity::FIRST;

/// Says whether UIDs mean the same when the folder is opened again.
pub(super) fn lasts(opened: &Opened) -> bool {
    opened.state.uid_validity.is_some() && !opened.uid_not_sticky
}

pub(super) fn on_source(error: ImapError) -> Failure {
    error.failure(Side::Source)
}

pub(super) fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// Keeps a session alive that waits for something, which may come and the session break all the same. False: its server has
/// hung up.
async fn keep_alive<T>(
    account: &Account,
    lease: &mut Lease<Source>,
    wait: impl Future<Output = T>,
    come: &mut Option<T>,
) -> Result<bool, Failure> {
    let mut wait = pin!(wait);
    while come.is_none() {
        *come = tokio::time::timeout(KEEP_ALIVE, wait.as_mut()).await.ok();
        if come.is_some() || account.source.brake.is_held() {
            continue;
        }
        let noop = lease.session.noop();
        // What is waited for may have the turn of everybody: it goes on beside a server that is slow to answer.
        let beside = async {
            *come = Some(wait.as_mut().await);
            std::future::pending().await
        };
        let answered = tokio::select! {
            answered = noop => answered,
            never = beside => match never {},
        };
        match answered.map_err(on_source) {
            Ok(()) => {}
            // Whatever it says when it hangs up, it says of this connection.
            Err(failure) if !lease.session.is_usable() && failure.remedy() != Remedy::Ask => return Ok(false),
            Err(failure) => return Err(failure),
        }
    }
    Ok(true)
}

fn is_missing(error: &ImapError) -> bool {
    matches!(error, ImapError::Refused { refusal, .. } if says_missing(&refusal.words))
}

impl Pass<'_> {
    /// Opens and lists the source, then the target, which is made where it is missing.
    pub(super) async fn open(&mut self) -> Result<Looked, Failure> {
        let delta = if self.memory.delta_tried { None } else { self.open_source_by_delta().await? };
        let (source, mut target, delta) = match delta {
            Some((mut source, opened, mut delta)) => {
                if let Some(end) = self.idle(&opened, &delta).await? {
                    self.account.source.keep(source);
                    return Ok(Looked::Idle(end));
                }
                let validity = opened.state.uid_validity.unwrap_or(UNNUMBERED);
                let listing = std::mem::take(&mut delta.listing);
                let target = self.take_target_beside(&mut source).await?;
                ((source, opened, validity, listing), target, Some(delta))
            }
            None => {
                let (source, target) = self.open_source_and_take().await?;
                (source, target, None)
            }
        };
        let (source, source_opened, source_validity, source_listing) = source;
        let opened = match self.open_target(&mut target, source_validity, &source_listing, delta.is_none()).await {
            Err(failure) if failure.kind == Kind::FolderRefused && target.session.is_usable() => {
                // Many names may be refused: that is no reason to sign in for each.
                self.account.source.keep(source);
                self.account.target.keep(target);
                return Err(failure);
            }
            other => other?,
        };
        let Some((mut target_opened, listed)) = opened else {
            self.account.source.keep(source);
            self.account.target.keep(target);
            return Ok(Looked::Gone);
        };
        let target_lasts = lasts(&target_opened);
        let by_delta = match delta {
            Some(delta) => self.target_delta(&mut target, &target_opened, delta).await?,
            None => None,
        };
        self.by_delta = by_delta.is_some();
        target_opened.state.uid_validity.get_or_insert(UNNUMBERED);
        let target_listing = match by_delta.or(listed) {
            Some(listing) => listing,
            None => target.session.list(Uid::FIRST, target_opened.state).await.map_err(on_target)?,
        };
        if !self.by_delta {
            self.lists_all(&target_listing, &target_opened)?;
        }
        Ok(Looked::Both(Box::new(Both {
            source,
            target,
            source_state: source_opened.state,
            source_validity,
            source_lasts: lasts(&source_opened),
            target_path: self.pair.target.clone(),
            target_opened,
            target_lasts,
            source_listing,
            target_listing,
        })))
    }

    fn lists_all(&self, listing: &Listing, opened: &Opened) -> Result<(), Failure> {
        if listing.len() < opened.state.messages as usize {
            // What it leaves out would count as removed, or be copied twice.
            let (listed, said) = (listing.len(), opened.state.messages);
            let text = format!("list folder \"{}\": it says {said} messages and lists {listed}", self.pair.target);
            return Err(Failure::new(Side::Target, Kind::Protocol, text));
        }
        Ok(())
    }

    /// Opens and lists the source, while a session of the target is taken: from when the source has its place at the host.
    async fn open_source_and_take(&mut self) -> Result<(SourceOpened, Lease<Target>), Failure> {
        let (opens, failed, taken) = (watch::Sender::new(false), CancellationToken::new(), CancellationToken::new());
        let told = opens.subscribe();
        let open = async {
            let mut opened = self.open_source(self.account.source.take_telling(opens).await?).await?;
            // Copies of another folder may be read back for long.
            let alive = keep_alive(self.account, &mut opened.0, taken.cancelled(), &mut None).await?;
            Ok(alive.then_some(opened))
        };
        let opening = async {
            let opened = open.await;
            if !matches!(opened, Ok(Some(_))) {
                failed.cancel();
            }
            opened
        };
        let taking = async {
            let _taken = taken.clone().drop_guard();
            tokio::select! {
                target = self.account.at_target(told, || Box::pin(async { Ok((self.account.target.take().await?, ())) })) => {
                    Some(target.map(|(target, ())| target))
                }
                () = failed.cancelled() => None,
            }
        };
        match tokio::join!(opening, taking) {
            (Ok(Some(source)), Some(Ok(target))) => Ok((source, target)),
            (Ok(Some((source, ..))), Some(Err(failure))) => {
                self.account.source.keep(source);
                Err(failure)
            }
            (Ok(None), Some(Err(failure))) => Err(failure),
            (opened, target) => {
                if let Some(Ok(target)) = target {
                    self.account.target.keep(target);
                }
                Err(opened.err().unwrap_or_else(|| self.hung_up()))
            }
        }
    }

    /// Takes a session of the target while one of the source is open.
    async fn take_target_beside(&mut self, source: &mut Lease<Source>) -> Result<Lease<Target>, Failure> {
        let mut come = None;
        let alive = keep_alive(self.account, source, self.account.target.take(), &mut come).await;
        match (alive, come) {
            (Ok(true), Some(target)) => target,
            (_, Some(Err(failure))) => Err(failure),
            (alive, target) => {
                if let Some(Ok(target)) = target {
                    self.account.target.keep(target);
                }
                alive?;
                self.memory.delta_tried = false;
                Err(self.hung_up())
            }
        }
    }

    /// While another folder had the target: nothing of this one is found out by that. Where the target takes nobody, it is that
    /// which is waited for, and patience ends.
    fn hung_up(&mut self) -> Failure {
        self.hung_up = !self.account.target.is_down();
        let (side, kind) = if self.hung_up { (Side::Source, Kind::Lost) } else { (Side::Target, Kind::Unavailable) };
        Failure::new(side, kind, "wait for a session of the target: the source hung up meanwhile")
    }

    pub(super) async fn open_source(&self, mut source: Lease<Source>) -> Result<SourceOpened, Failure> {
        let expected = self.pair.source.state.map(|state| state.messages);
        let look = source.session.look(&self.pair.source.name, Uid::FIRST, expected, false);
        let Look { mut opened, listing: mut source_listing, .. } = look.await.map_err(on_source)?;
        if source_listing.len() < opened.state.messages as usize {
            // Its user may have taken some away in this moment: how many there are is asked again.
            opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
            source_listing = source.session.list(Uid::FIRST, opened.state).await.map_err(on_source)?;
        }
        let source_validity = opened.state.uid_validity.unwrap_or(UNNUMBERED);
        if lasts(&opened) {
            namesake::take_over(self.account, self.row.id, &mut source, source_validity, &source_listing).await?;
        }
        Ok((source, opened, source_validity, source_listing))
    }

    /// Opens the target's folder, which is made where it is missing; with what it holds where that takes no further turn, and
    /// is asked for. None: see [`Looked::Gone`].
    async fn open_target(
        &mut self,
        target: &mut Lease<Target>,
        source_validity: UidValidity,
        source_listing: &Listing,
        list: bool,
    ) -> Result<Option<(Opened, Option<Listing>)>, Failure> {
        if let Some(existing) = self.pair.existing.as_ref().filter(|folder| folder.selectable) {
            if !existing.subscribed {
                self.subscribe(target).await?;
            }
            if !list {
                return target
                    .session
                    .examine(self.target_name)
                    .await
                    .map(|opened| Some((opened, None)))
                    .map_err(on_target);
            }
            let expected = existing.state.map(|state| state.messages);
            let look = target.session.look(self.target_name, Uid::FIRST, expected, false).await;
            return look.map(|look| Some((look.opened, Some(look.listing)))).map_err(on_target);
        }
        let made = match self.pair.existing.is_none() && !self.memory.opened {
            true => self.make(target).await?,
            false => None,
        };
        let is_made = made.is_some();
        let opened = match made {
            Some(opened) => Some(opened),
            None => self.find_or_create(target, source_validity, source_listing).await?,
        };
        let Some(opened) = opened else { return Ok(None) };
        let (path, validity) = (&self.pair.target, opened.state.uid_validity);
        let others = self.survey.places();
        if names::is_anothers(&mut target.session, self.target_name, path, validity, &others).await? {
            self.memory.name_refused = true;
            let text =
                format!("make folder \"{path}\": the target takes it for one that another source folder goes to");
            return Err(Failure::new(Side::Target, Kind::FolderRefused, text));
        }
        if !is_made {
            self.subscribe(target).await?;
        }
        Ok(Some((opened, None)))
    }

    /// Makes a folder of which neither the target nor the ledger knows. None: it cannot be done at once.
    async fn make(&mut self, target: &mut Lease<Target>) -> Result<Option<Opened>, Failure> {
        if self.account.mode.rebuild || !self.account.ledger.is_unknown(self.row.id).await? {
            return Ok(None);
        }
        let subscribe = self.pair.source.subscribed;
        match target.session.make(self.target_name, self.pair.role, subscribe).await {
            // What is refused once may be refused by chance.
            Err(ImapError::Refused { refusal, .. }) if refuses_name(&refusal.words) => Ok(None),
            // What was made and is not there was not made under this name.
            Err(error) if is_missing(&error) => Err(self.name_refused(error)),
            Ok(Some(opened)) => {
                self.note_permanent(&opened);
                self.memory.created = Some(SystemTime::now());
                self.memory.turned = Uids::default();
                Ok(Some(opened))
            }
            other => other.map_err(on_target),
        }
    }

    /// None: see [`Looked::Gone`].
    async fn find_or_create(
        &mut self,
        target: &mut Lease<Target>,
        source_validity: UidValidity,
        source_listing: &Listing,
    ) -> Result<Option<Opened>, Failure> {
        let opened = match target.session.examine(self.target_name).await {
            Ok(opened) => opened,
            Err(error) if error.is_refusal() => {
                let (path, failure) = (&self.pair.target, on_target(error));
                let known = self.memory.created.is_some() || self.account.ledger.copies(self.row.id).await? > 0;
                // Closed for a moment is not gone.
                if failure.kind != Kind::FolderRefused || known && self.is_listed(target).await? {
                    return Err(failure);
                }
                if !removed::may_create(self.account, self.row.id, path, source_validity, source_listing).await? {
                    return Ok(None);
                }
                self.create(target).await.map_err(|error| self.name_refused(error))?;
                self.memory.created = Some(SystemTime::now());
                self.memory.turned = Uids::default();
                match target.session.examine(self.target_name).await {
                    // What was made and is not there was not made under this name.
                    Err(error) if is_missing(&error) => return Err(self.name_refused(error)),
                    other => other.map_err(on_target)?,
                }
            }
            Err(error) => return Err(on_target(error)),
        };
        Ok(Some(opened))
    }

    async fn is_listed(&self, target: &mut Lease<Target>) -> Result<bool, Failure> {
        let folders = target.session.folders().await.map_err(on_target)?;
        Ok(folders.iter().any(|folder| folder.selectable && folder.name == *self.target_name))
    }

    /// Makes the folder. What is refused once may be refused by chance: only twice is it the name.
    async fn create(&self, target: &mut Lease<Target>) -> Result<(), ImapError> {
        match target.session.create(self.target_name, self.pair.role).await {
            Err(ImapError::Refused { refusal, .. }) if refuses_name(&refusal.words) => {
                target.session.create(self.target_name, self.pair.role).await
            }
            other => other,
        }
    }

    fn name_refused(&mut self, error: ImapError) -> Failure {
        let by_name = |refusal: &crate::imap::Refusal| refuses_name(&refusal.words);
        self.memory.name_refused = matches!(&error, ImapError::Refused { refusal, .. } if by_name(refusal));
        on_target(error)
    }

    async fn subscribe(&self, target: &mut Lease<Target>) -> Result<(), Failure> {
        if !self.pair.source.subscribed || self.account.mode.rebuild {
            return Ok(());
        }
        match target.session.subscribe(self.target_name).await {
            Err(error) if !error.is_refusal() => Err(on_target(error)),
            _ => Ok(()),
        }
    }
}
