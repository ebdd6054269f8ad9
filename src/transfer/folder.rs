//! One folder: passes until one comes to its end. A pass begins by looking at both sides, so it can begin anywhere: after a
//! kill, after a lost connection, after nothing at all.

use super::account::{Account, Survey};
use super::copy::{self, Copied, Dress, Task};
use super::event::Event;
use super::pool::{Lease, delay};
use super::{names, prove, reconcile};
use crate::checkpoint::{Ending, FolderId, FolderRow, Ledger, LossKind, Watermark};
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{FlagChange, ImapError, Opened, Source, Target};
use crate::mail::{Evidence, Fate, FolderState, Listing, Record, Side, Stage, Uid, UidValidity, WireName};
use crate::pace::Backoff;
use crate::plan::{Because, FolderPair, FolderPlan, Order, Sorter};
use crate::provider::refuses_name;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Records read from the ledger at once.
pub(super) const WINDOW: usize = 4096;
/// How often a folder is tried over a refusal that is not of one message.
const FRUITLESS_MAX: u32 = 3;
/// How often the connection may break over one message sent alone before it counts as refused.
const STRIKES_MAX: u32 = 2;

/// The records of a folder in UID order, window by window, so that a million of them take the memory of one window.
pub(super) struct Windows<'a> {
    ledger: &'a Ledger,
    folder: FolderId,
    validity: UidValidity,
    from: Option<Uid>,
}

impl<'a> Windows<'a> {
    pub(super) fn of(ledger: &'a Ledger, folder: FolderId, validity: UidValidity) -> Self {
        Self { ledger, folder, validity, from: Some(Uid::FIRST) }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, Failure> {
        let Some(first) = self.from else { return Ok(None) };
        let records = self.ledger.records(self.folder, self.validity, first, WINDOW).await?;
        self.from = match records.last() {
            Some(last) if records.len() == WINDOW => last.source_uid.value().checked_add(1).and_then(Uid::new),
            _ => None,
        };
        Ok(Some(records))
    }
}

/// What a folder came to. Fates add up to the number of source messages.
#[derive(Debug, Clone, Default)]
pub(super) struct FolderEnd {
    pub(super) fates: BTreeMap<Fate, u64>,
    pub(super) evidence: BTreeMap<Evidence, u64>,
    /// Source messages without a fate, and those the source counts and does not list: no complete folder.
    pub(super) unsettled: u64,
    /// Both sides were as remembered: nothing was looked at.
    pub(super) unchanged: bool,
}

impl FolderEnd {
    /// Says whether every source message is on the target and that was read back.
    pub(super) fn is_complete(&self) -> bool {
        let there = |fate: &Fate| matches!(fate, Fate::Copied | Fate::Adopted | Fate::Excluded);
        let proven = |evidence: &Evidence| matches!(evidence, Evidence::MetadataEqual | Evidence::BytesEqual);
        self.unsettled == 0
            && self.fates.iter().all(|(fate, count)| *count == 0 || there(fate))
            && self.evidence.iter().all(|(evidence, count)| *count == 0 || proven(evidence))
    }
}

/// What is carried from one pass over a folder to the next.
#[derive(Default)]
struct Memory {
    /// Passes in a row that broke without getting anything done.
    fruitless: u32,
    /// The target's folder was not there before this run.
    created: bool,
    /// Both folders have been opened and listed.
    opened: bool,
    /// The target refused the folder for its name.
    name_refused: bool,
    /// How often, and on which side, the connection broke while a message was under way alone.
    strikes: BTreeMap<Uid, (u32, Side)>,
}

/// How a pass, or all of them, ended.
enum Passed {
    Done(FolderEnd),
    /// What was acknowledged and not placed is looked for by another pass, which has nothing else to do.
    Again,
    /// The target does not take the folder's name, and there is another to try.
    NameRefused(Failure),
}

/// Brings a folder to its end, under another name where the target refuses its own.
pub(super) async fn run(account: &Account, survey: &Survey, pair: &FolderPair) -> Result<FolderEnd, Failure> {
    let mut pair = pair.clone();
    loop {
        match passes(account, survey, &pair).await? {
            Passed::Done(end) => return Ok(end),
            Passed::Again => {}
            Passed::NameRefused(failure) => {
                pair.target = pair.otherwise.remove(0);
                (pair.because, pair.existing) = (Because::Refused, None);
                survey.moved(&pair);
                let (account_name, folder) = (account.name.clone(), pair.source.path.to_string());
                let (target, failure) = (pair.target.to_string(), failure.clone());
                account.events.send(Event::FolderRenamed { account: account_name, folder, target, failure }).await;
            }
        }
    }
}

/// Runs passes until one ends.
async fn passes(account: &Account, survey: &Survey, pair: &FolderPair) -> Result<Passed, Failure> {
    let target_name = names::target_name(pair, &survey.target_namespace);
    let row = account.ledger.folder(account.id, &pair.source.name, &target_name, &pair.source.path).await?;
    if let Some(end) = unchanged(account, survey, pair, &row).await? {
        return Ok(Passed::Done(end));
    }
    let mut memory = Memory::default();
    let mut backoff = Backoff::default();
    let mut trouble: Option<Instant> = None;
    loop {
        if account.stop.is_cancelled() {
            return Err(Failure::new(None, Kind::Stopped, "go on: asked to stop"));
        }
        let mut pass =
            Pass { account, survey, pair, target_name: &target_name, row: &row, memory: &mut memory, advanced: false };
        let failure = match pass.run().await {
            Ok(Passed::Again) => continue,
            Ok(end) => return Ok(end),
            Err(failure) => failure,
        };
        if pass.advanced {
            memory.fruitless = 0;
            trouble = None;
            backoff.reset();
        } else {
            memory.fruitless += 1;
        }
        match failure.remedy() {
            _ if account.stop.is_cancelled() => return Err(failure),
            // Some servers lose sight of a folder for a moment: it was open a while ago.
            Remedy::Skip
                if failure.side == Some(Side::Target) && memory.opened && memory.fruitless <= FRUITLESS_MAX => {}
            Remedy::Ask | Remedy::Skip => return Err(failure),
            // It was not one message that was refused: tried a few times, then it is the folder.
            Remedy::Again if memory.fruitless > FRUITLESS_MAX => {
                return Err(Failure { kind: Kind::FolderRefused, ..failure });
            }
            Remedy::Again | Remedy::Later | Remedy::FewerConnections | Remedy::Reconnect | Remedy::Refresh => {}
        }
        let since = trouble.get_or_insert_with(Instant::now).elapsed();
        let Some(delay) = delay(&failure, account.patience, since, true, &mut backoff) else { return Err(failure) };
        match failure.side {
            Some(Side::Target) => account.target.wait(delay, &failure).await?,
            _ => account.source.wait(delay, &failure).await?,
        }
    }
}

/// Finds out whether anything can have changed since the last pass that ended clean; if not, gives what is known.
async fn unchanged(
    account: &Account,
    survey: &Survey,
    pair: &FolderPair,
    row: &FolderRow,
) -> Result<Option<FolderEnd>, Failure> {
    let Some(remembered) = row.remembered.filter(|_| !account.mode.retry && !account.mode.restore) else {
        return Ok(None);
    };
    // Without a modification sequence a change of flags would not be seen.
    if remembered.source.highest_modseq.is_none() {
        return Ok(None);
    }
    let known = |folder: &crate::mail::Folder| folder.state;
    let target = survey.target_folders.iter().find(|folder| folder.path == pair.target);
    let source_state = match known(&pair.source) {
        Some(state) => state,
        None => {
            let mut lease = account.source.take().await?;
            let Ok(state) = lease.session.status(&pair.source.name).await else { return Ok(None) };
            account.source.keep(lease);
            state
        }
    };
    let target_state = match target {
        Some(folder) => match known(folder) {
            Some(state) => state,
            None => {
                let mut lease = account.target.take().await?;
                let Ok(state) = lease.session.status(&folder.name).await else { return Ok(None) };
                account.target.keep(lease);
                state
            }
        },
        None => return Ok(None),
    };
    let subscribed = target.is_some_and(|folder| folder.subscribed || !pair.source.subscribed);
    if source_state != remembered.source || target_state != remembered.target || !subscribed {
        return Ok(None);
    }
    let folders = account.ledger.folders(account.id).await?;
    let Some(summary) = folders.into_iter().find(|folder| folder.id == row.id) else { return Ok(None) };
    let fates: BTreeMap<Fate, u64> = summary
        .totals
        .fates
        .iter()
        .map(|(fate, count)| (*fate, count.messages))
        .filter(|(fate, _)| *fate != Fate::Gone)
        .collect();
    let evidence = summary.totals.evidence.iter().map(|(evidence, count)| (*evidence, count.messages)).collect();
    // Records of messages that left the source since would be counted too: then the folder is looked at.
    let sum: u64 = fates.values().sum();
    Ok((sum == u64::from(source_state.messages)).then_some(FolderEnd {
        fates,
        evidence,
        unsettled: 0,
        unchanged: true,
    }))
}

struct Pass<'a> {
    account: &'a Account,
    survey: &'a Survey,
    pair: &'a FolderPair,
    target_name: &'a WireName,
    row: &'a FolderRow,
    memory: &'a mut Memory,
    /// Something was got done that a further pass will not have to do.
    advanced: bool,
}

/// Both folders, opened and listed.
pub(super) struct Both {
    pub(super) source: Lease<Source>,
    pub(super) target: Lease<Target>,
    pub(super) source_state: FolderState,
    pub(super) source_validity: UidValidity,
    pub(super) target_opened: Opened,
    pub(super) source_listing: Listing,
    pub(super) target_listing: Listing,
}

impl Both {
    /// UIDNEXT before anything was appended, under the UIDVALIDITY it belongs to.
    fn floor(&self) -> Option<(UidValidity, Uid)> {
        let state = self.target_opened.state;
        Some((state.uid_validity?, state.uid_next?))
    }
}

fn on_source(error: ImapError) -> Failure {
    error.failure(Side::Source)
}

fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// Lists what the open folder holds below the UIDNEXT it was opened with. A listing shorter than the folder said it is gets
/// a second chance without that bound: some servers lag behind with UIDNEXT, some leave messages out.
pub(super) async fn list<E: crate::imap::End>(
    session: &mut crate::imap::Session<E>,
    first: Uid,
    state: FolderState,
) -> Result<Listing, ImapError> {
    if state.messages == 0 {
        return Ok(Listing::default());
    }
    let last = match state.uid_next {
        Some(next) => Uid::new(next.value() - 1),
        None => Some(Uid::LAST),
    };
    let listing = match last {
        Some(last) if last >= first => session.listing(first, last, state.messages).await?,
        _ => Listing::default(),
    };
    if first > Uid::FIRST || listing.len() >= state.messages as usize {
        return Ok(listing);
    }
    session.listing(first, Uid::LAST, state.messages).await
}

impl Pass<'_> {
    /// Goes over the folder once.
    async fn run(&mut self) -> Result<Passed, Failure> {
        let mut both = match self.open().await {
            Err(failure) if failure.kind == Kind::FolderRefused && failure.side == Some(Side::Target) => {
                return self.refused(failure).await;
            }
            other => other?,
        };
        self.memory.opened = true;
        let mut plan = self.sort(&both).await?;
        let reconciled = reconcile::reconcile(self.account, self.row.id, self.target_name, &mut both, &plan).await?;
        self.advanced |= reconciled.found > 0;
        plan.flags.extend(reconciled.flags);
        let path = self.pair.source.path.to_string();
        let mut uids = reconciled.to_copy;
        self.order(&mut uids, &both.source_listing);
        self.tell_plan(&path, &uids, &both.source_listing).await;
        let floor = both.floor();
        let Both { source, mut target, source_validity, source_listing, target_opened, .. } = both;
        let task = Task {
            account: self.account,
            folder: self.row.id,
            path: &path,
            source_validity,
            target_name: self.target_name,
            target_validity: target_opened.state.uid_validity,
            floor,
            listing: &source_listing,
            append_limit: target.session.capabilities().append_limit(),
        };
        let source = self.copy_all(&task, &uids, source, &mut target).await?;
        let source_state = both.source_state;
        if let Some(source) = source {
            self.account.source.keep(source);
        }
        if !self.account.ledger.unplaced(self.row.id, source_validity, Uid::FIRST, 1).await?.is_empty() {
            self.account.target.keep(target);
            return Ok(Passed::Again);
        }
        self.change_flags(&task, &plan, &mut target).await?;
        // What was listed before flags were changed says nothing of them.
        let from = floor.filter(|_| plan.flags.rebase.is_empty()).map_or(Uid::FIRST, |(_, uid)| uid);
        let (mut end, target_state) = prove::prove(&task, target, from, &both.target_listing).await?;
        end.unsettled += u64::from(source_state.messages).saturating_sub(source_listing.len() as u64);
        self.remember(source_state, target_state, &end).await?;
        Ok(Passed::Done(end))
    }

    /// Opens and lists the source, then the target, which is made where it is missing.
    async fn open(&mut self) -> Result<Both, Failure> {
        let (source, source_state, source_validity, source_listing) = self.open_source().await?;
        let mut target = self.account.target.take().await?;
        let target_opened = match self.open_target(&mut target).await {
            Err(failure) if failure.kind == Kind::FolderRefused && target.session.is_usable() => {
                // Many names may be refused: that is no reason to sign in for each.
                self.account.source.keep(source);
                self.account.target.keep(target);
                return Err(failure);
            }
            other => other?,
        };
        if target_opened.state.uid_validity.is_none() {
            let text = format!("open folder \"{}\": the target gives it no lasting UIDs", self.pair.target);
            return Err(Failure::new(Side::Target, Kind::FolderRefused, text));
        }
        let target_listing = list(&mut target.session, Uid::FIRST, target_opened.state).await.map_err(on_target)?;
        if target_listing.len() < target_opened.state.messages as usize {
            // What it leaves out would count as removed, or be copied twice.
            let (listed, said) = (target_listing.len(), target_opened.state.messages);
            let text = format!("list folder \"{}\": it says {said} messages and lists {listed}", self.pair.target);
            return Err(Failure::new(Side::Target, Kind::Protocol, text));
        }
        Ok(Both { source, target, source_state, source_validity, target_opened, source_listing, target_listing })
    }

    async fn open_source(&self) -> Result<(Lease<Source>, FolderState, UidValidity, Listing), Failure> {
        let mut source = self.account.source.take().await?;
        let mut opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        let no_uids = || {
            let text = format!("open folder \"{}\": the source gives it no lasting UIDs", self.pair.source.path);
            Failure::new(Side::Source, Kind::FolderRefused, text)
        };
        let source_validity = opened.state.uid_validity.filter(|_| !opened.uid_not_sticky).ok_or_else(no_uids)?;
        let mut source_listing = list(&mut source.session, Uid::FIRST, opened.state).await.map_err(on_source)?;
        if source_listing.len() < opened.state.messages as usize {
            // Its user may have taken some away in this moment: how many there are is asked again.
            opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
            source_listing = list(&mut source.session, Uid::FIRST, opened.state).await.map_err(on_source)?;
        }
        Ok((source, opened.state, source_validity, source_listing))
    }

    async fn open_target(&mut self, target: &mut Lease<Target>) -> Result<Opened, Failure> {
        if let Some(existing) = self.pair.existing.as_ref().filter(|folder| folder.selectable) {
            if !existing.subscribed {
                self.subscribe(target).await?;
            }
            return target.session.examine(self.target_name).await.map_err(on_target);
        }
        let opened = match target.session.examine(self.target_name).await {
            Ok(opened) => opened,
            Err(error) if error.is_refusal() => {
                let created = target.session.create(self.target_name, self.pair.role).await;
                created.map_err(|error| self.name_refused(error))?;
                self.memory.created = true;
                target.session.examine(self.target_name).await.map_err(|error| self.name_refused(error))?
            }
            Err(error) => return Err(on_target(error)),
        };
        let (path, validity) = (&self.pair.target, opened.state.uid_validity);
        let others = self.survey.places();
        if names::is_anothers(&mut target.session, self.target_name, path, validity, &others).await? {
            self.memory.name_refused = true;
            let text =
                format!("make folder \"{path}\": the target takes it for one that another source folder goes to");
            return Err(Failure::new(Side::Target, Kind::FolderRefused, text));
        }
        self.subscribe(target).await?;
        Ok(opened)
    }

    fn name_refused(&mut self, error: ImapError) -> Failure {
        let by_name = |refusal: &crate::imap::Refusal| refuses_name(&refusal.words);
        self.memory.name_refused = matches!(&error, ImapError::Refused { refusal, .. } if by_name(refusal));
        on_target(error)
    }

    async fn subscribe(&self, target: &mut Lease<Target>) -> Result<(), Failure> {
        if !self.pair.source.subscribed {
            return Ok(());
        }
        match target.session.subscribe(self.target_name).await {
            Err(error) if !error.is_refusal() => Err(on_target(error)),
            _ => Ok(()),
        }
    }

    /// The target will not have the folder: under another name, if that is why; else each of its messages is listed with the
    /// target's words. Not where something of it has been there before: then the refusal is of today, and a later run goes on.
    async fn refused(&self, failure: Failure) -> Result<Passed, Failure> {
        let account = self.account;
        let mut source = account.source.take().await?;
        let opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        let listing = list(&mut source.session, Uid::FIRST, opened.state).await.map_err(on_source)?;
        account.source.keep(source);
        let Some(source_validity) = opened.state.uid_validity else { return Err(failure) };
        let known = account.ledger.records(self.row.id, source_validity, Uid::FIRST, WINDOW).await?;
        let been_there = known.iter().any(|record| record.target.is_some() || record.stage == Stage::Intended);
        if self.pair.existing.is_some() || been_there {
            return Err(failure);
        }
        if self.memory.name_refused && !self.pair.otherwise.is_empty() {
            return Ok(Passed::NameRefused(failure));
        }
        if listing.is_empty() {
            return Err(failure);
        }
        let path = self.pair.source.path.to_string();
        let task = Task {
            account,
            folder: self.row.id,
            path: &path,
            source_validity,
            target_name: self.target_name,
            target_validity: None,
            floor: None,
            listing: &listing,
            append_limit: None,
        };
        for window in listing.uids().chunks(WINDOW) {
            let refused = window
                .iter()
                .map(|uid| (*uid, Ending::Refused, failure.kind, failure.text.clone(), copy::Subject::default()));
            copy::settle_failed(&task, refused.collect()).await?;
        }
        let (account, folder) = (account.name.clone(), path);
        self.account.events.send(Event::FolderFailed { account, folder, failure }).await;
        let fates = BTreeMap::from([(Fate::Refused, listing.len() as u64)]);
        Ok(Passed::Done(FolderEnd { fates, ..FolderEnd::default() }))
    }

    async fn sort(&self, both: &Both) -> Result<FolderPlan, Failure> {
        let account = self.account;
        let mut sorter = Sorter::new(&both.source_listing, &both.target_listing, both.target_opened.state.uid_validity)
            // What was refused with its folder goes with it now.
            .retrying(account.mode.retry || self.memory.created)
            .restoring(account.mode.restore)
            .with_deleted(account.deleted);
        let mut windows = Windows::of(&account.ledger, self.row.id, both.source_validity);
        while let Some(records) = windows.next().await? {
            sorter.records(&records);
        }
        Ok(sorter.finish())
    }

    fn order(&self, uids: &mut [Uid], listing: &Listing) {
        match self.account.order {
            Order::Oldest => uids.sort_unstable(),
            Order::Newest => {
                let instant = |uid: &Uid| listing.get(*uid).and_then(|entry| entry.date).map(|date| date.unix());
                uids.sort_by_cached_key(|uid| std::cmp::Reverse((instant(uid), *uid)));
            }
        }
    }

    async fn tell_plan(&self, path: &str, uids: &[Uid], listing: &Listing) {
        let bytes = uids.iter().filter_map(|uid| listing.get(*uid)?.size).sum();
        self.account
            .events
            .send(Event::FolderPlanned {
                account: self.account.name.clone(),
                folder: path.to_owned(),
                messages: listing.len() as u64,
                to_copy: uids.len() as u64,
                bytes,
            })
            .await;
    }

    /// Copies, then tries those that were refused once more, each alone and otherwise dressed.
    async fn copy_all(
        &mut self,
        task: &Task<'_>,
        uids: &[Uid],
        source: Lease<Source>,
        target: &mut Lease<Target>,
    ) -> Result<Option<Lease<Source>>, Failure> {
        if uids.is_empty() {
            return Ok(Some(source));
        }
        // A connection that keeps breaking is broken by some message: sent alone, it shows itself.
        let careful = self.memory.fruitless >= STRIKES_MAX;
        let (struck, uids): (Vec<Uid>, Vec<Uid>) =
            uids.iter().partition(|uid| self.memory.strikes.get(uid).is_some_and(|strikes| strikes.0 >= STRIKES_MAX));
        let struck = struck.into_iter().map(|uid| {
            let (ending, words) = match self.memory.strikes.get(&uid) {
                Some((_, Side::Source)) => {
                    (Ending::Unreadable, "the connection breaks whenever this message is fetched")
                }
                _ => (Ending::Refused, "the connection breaks whenever this message is sent"),
            };
            (uid, ending, Kind::Lost, words.to_owned(), copy::Subject::default())
        });
        copy::settle_failed(task, struck.collect()).await?;
        let (mut source, mut copied) =
            copy::copy(task, &uids, Dress { careful, ..Dress::default() }, source, target).await;
        self.advanced |= copied.acknowledged > 0;
        self.strike(careful, &copied);
        if let Some(failure) = copied.failure.take() {
            return Err(failure);
        }
        self.stopped()?;
        for uid in std::mem::take(&mut copied.unread).into_keys() {
            source = self.read_again(task, uid, source, target).await?;
        }
        for (uid, refused) in std::mem::take(&mut copied.refused) {
            source = self.try_otherwise(task, uid, refused, source, target).await?;
        }
        Ok(source)
    }

    fn stopped(&self) -> Result<(), Failure> {
        match self.account.stop.is_cancelled() {
            true => Err(Failure::new(None, Kind::Stopped, "go on: asked to stop")),
            false => Ok(()),
        }
    }

    fn strike(&mut self, careful: bool, copied: &Copied) {
        let Some(failure) = copied.failure.as_ref().filter(|_| careful) else { return };
        let (uid, side) = match failure.side {
            Some(Side::Target) => (copied.unanswered, Side::Target),
            _ => (copied.unfetched, Side::Source),
        };
        if let Some(uid) = uid {
            let strikes = self.memory.strikes.entry(uid).or_insert((0, side));
            *strikes = (strikes.0 + 1, side);
        }
    }

    async fn source_again(&self, source: Option<Lease<Source>>) -> Result<Lease<Source>, Failure> {
        if let Some(source) = source {
            return Ok(source);
        }
        let mut source = self.account.source.take().await?;
        source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        Ok(source)
    }

    /// Fetches one message alone that did not come in company.
    async fn read_again(
        &mut self,
        task: &Task<'_>,
        uid: Uid,
        source: Option<Lease<Source>>,
        target: &mut Lease<Target>,
    ) -> Result<Option<Lease<Source>>, Failure> {
        let mut source = self.source_again(source).await?;
        let listed = source.session.listing(uid, uid, 1).await.map_err(on_source)?;
        if listed.is_empty() {
            let gone = (
                uid,
                Ending::Gone,
                Kind::MessageUnreadable,
                "it has left the source".to_owned(),
                copy::Subject::default(),
            );
            copy::settle_failed(task, vec![gone]).await?;
            return Ok(Some(source));
        }
        let (source, mut copied) = copy::copy(task, &[uid], Dress::default(), source, target).await;
        if let Some(failure) = copied.failure.take() {
            return Err(failure);
        }
        if let Some((uid, refusal)) = copied.unread.pop_first() {
            let words = refusal.map_or_else(|| "the source gives no body for it".to_owned(), |refusal| refusal.text());
            let unreadable = (uid, Ending::Unreadable, Kind::MessageUnreadable, words, copy::Subject::default());
            copy::settle_failed(task, vec![unreadable]).await?;
        }
        match copied.refused.pop_first() {
            Some((uid, refused)) => self.try_otherwise(task, uid, refused, source, target).await,
            None => Ok(source),
        }
    }

    /// Sends one refused message alone: as it is, then without what a target may not take; then lists it.
    async fn try_otherwise(
        &mut self,
        task: &Task<'_>,
        uid: Uid,
        refused: (crate::imap::Refusal, copy::Subject),
        mut source: Option<Lease<Source>>,
        target: &mut Lease<Target>,
    ) -> Result<Option<Lease<Source>>, Failure> {
        let (mut refusal, mut subject) = refused;
        let too_big = task.append_limit.is_some_and(|limit| subject.size > limit);
        let attempts = if too_big { Vec::new() } else { dresses(task, uid) };
        for dress in attempts {
            let lease = self.source_again(source.take()).await?;
            let (lease, mut copied) = copy::copy(task, &[uid], dress, lease, target).await;
            source = lease;
            if let Some(failure) = copied.failure.take() {
                return Err(failure);
            }
            match copied.refused.pop_first() {
                Some((_, again)) => (refusal, subject) = again,
                None if copied.acknowledged > 0 => {
                    self.advanced = true;
                    note_dress(task, uid, dress, &refusal).await?;
                    return Ok(source);
                }
                None => return Ok(source),
            }
        }
        let refused = (uid, Ending::Refused, refusal.verdict().kind, refusal.text(), subject);
        copy::settle_failed(task, vec![refused]).await?;
        Ok(source)
    }

    async fn change_flags(
        &self,
        task: &Task<'_>,
        plan: &FolderPlan,
        target: &mut Lease<Target>,
    ) -> Result<(), Failure> {
        let changes = &plan.flags;
        if changes.rebase.is_empty() {
            return Ok(());
        }
        if !changes.add.is_empty() || !changes.remove.is_empty() {
            target.session.select(task.target_name).await.map_err(on_target)?;
            let add = changes.add.iter().map(|(flags, uids)| (FlagChange::Add, flags, uids));
            let remove = changes.remove.iter().map(|(flags, uids)| (FlagChange::Remove, flags, uids));
            for (change, flags, uids) in add.chain(remove) {
                match target.session.store(uids, change, flags).await {
                    // A flag that is refused costs the flag: it enters the base, or every run would try it again.
                    Err(error) if error.is_refusal() => {}
                    other => other.map_err(on_target)?,
                }
            }
        }
        Ok(self.account.ledger.rebase(task.folder, task.source_validity, changes.rebase.clone()).await?)
    }

    /// Remembers both sides as they are, where every message has its fate.
    async fn remember(&self, source: FolderState, target: Option<FolderState>, end: &FolderEnd) -> Result<(), Failure> {
        let clean = end.unsettled == 0 && end.evidence.get(&Evidence::None).is_none_or(|count| *count == 0);
        // EXAMINE told the source's state; STATUS may know a modification sequence that EXAMINE does not.
        let watermark = target.filter(|_| clean).map(|target| Watermark { source, target });
        Ok(self.account.ledger.set_watermark(self.row.id, watermark).await?)
    }
}

/// What a run would do in a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct FolderLook {
    pub(super) messages: u64,
    pub(super) to_copy: u64,
    pub(super) bytes: u64,
    pub(super) settled: u64,
    pub(super) matched: u64,
    pub(super) removed: u64,
    pub(super) flags: u64,
}

/// Looks at both sides of a folder and plans, and does nothing.
pub(super) async fn look(account: &Account, survey: &Survey, pair: &FolderPair) -> Result<FolderLook, Failure> {
    let target_name = names::target_name(pair, &survey.target_namespace);
    let row = account.ledger.folder(account.id, &pair.source.name, &target_name, &pair.source.path).await?;
    let mut memory = Memory::default();
    let pass =
        Pass { account, survey, pair, target_name: &target_name, row: &row, memory: &mut memory, advanced: false };
    let (source, source_state, source_validity, source_listing) = pass.open_source().await?;
    let mut target = account.target.take().await?;
    let (target_opened, target_listing) = match pair.existing.as_ref().filter(|folder| folder.selectable) {
        Some(_) => {
            let opened = target.session.examine(&target_name).await.map_err(on_target)?;
            let listing = list(&mut target.session, Uid::FIRST, opened.state).await.map_err(on_target)?;
            (opened, listing)
        }
        None => (Opened { state: FolderState::default(), permanent: None, uid_not_sticky: false }, Listing::default()),
    };
    let mut both =
        Both { source, target, source_state, source_validity, target_opened, source_listing, target_listing };
    let plan = pass.sort(&both).await?;
    let matched = reconcile::match_once(account, row.id, &mut both, &plan).await?;
    let to_copy: Vec<Uid> = matched.absent.iter().map(|(uid, _)| *uid).collect();
    let size = |uid: &Uid| both.source_listing.get(*uid).and_then(|entry| entry.size);
    let look = FolderLook {
        messages: both.source_listing.len() as u64,
        to_copy: to_copy.len() as u64,
        bytes: to_copy.iter().filter_map(size).sum(),
        settled: plan.settled.values().sum::<u64>() - plan.removed.len() as u64,
        matched: matched.found.len() as u64,
        removed: plan.removed.len() as u64,
        flags: plan.flags.rebase.len() as u64,
    };
    account.source.keep(both.source);
    account.target.keep(both.target);
    Ok(look)
}

/// The ways in which a refused message is tried, the most faithful first.
fn dresses(task: &Task<'_>, uid: Uid) -> Vec<Dress> {
    let entry = task.listing.get(uid);
    let keywords = entry.is_some_and(|entry| entry.flags.keywords().next().is_some());
    // Before 1970 and after 2037 some servers know no time.
    let odd_date = entry.and_then(|entry| entry.date).is_some_and(|date| !(0..2_145_916_800).contains(&date.unix()));
    let dress = |without_keywords, without_date| Dress { careful: true, without_keywords, without_date };
    let mut all = vec![dress(false, false)];
    if keywords {
        all.push(dress(true, false));
    }
    if odd_date {
        all.push(dress(false, true));
    }
    if keywords && odd_date {
        all.push(dress(true, true));
    }
    all
}

async fn note_dress(task: &Task<'_>, uid: Uid, dress: Dress, refusal: &crate::imap::Refusal) -> Result<(), Failure> {
    let entry = task.listing.get(uid);
    if dress.without_date
        && let Some(date) = entry.and_then(|entry| entry.date)
    {
        let what = format!("date refused by the target ({}): {date}", refusal.text());
        copy::note_change(task, uid, LossKind::Date, what).await?;
    }
    Ok(())
}
