//! One folder: passes until one comes to its end. A pass begins by looking at both sides, so it can begin anywhere: after a
//! kill, after a lost connection, after nothing at all.

use super::account::{Account, Survey};
use super::copy::{self, Task};
use super::event::Event;
use super::flags::Changed;
use super::memory::Memory;
use super::open::{Both, Looked, lasts, on_source, on_target};
use super::pool::{Lease, delay};
use super::turns::Turn;
use super::unchanged::unchanged;
use super::windows::{Windows, windows};
use super::{failed, names, prove, reconcile, removed, resend, stable};
use crate::checkpoint::{Ending, FolderRow, Left, Watermark};
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{Opened, Source, TOGETHER_MAX, Target};
use crate::mail::{Digest, Evidence, Fate, FolderState, Listing, Side, Stage, Uid, UidValidity, Uids, WireName};
use crate::pace::Backoff;
use crate::plan::{self, Because, FolderPair, FolderPlan, Order, Sorter};
use crate::rows::Rows;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// How often a folder is tried over a refusal that is not of one message.
const FRUITLESS_MAX: u32 = 3;
/// How many passes in a row may break that have found something and sent nothing.
const VAIN_MAX: u32 = 12;
/// Passes that ask for a further one: one to find what was acknowledged, one to send what was cut off, and some over.
const AGAIN_MAX: u32 = 4;

/// What a folder came to. Fates add up to the number of source messages.
#[derive(Debug, Clone, Default)]
pub(super) struct FolderEnd {
    pub(super) fates: BTreeMap<Fate, u64>,
    pub(super) evidence: BTreeMap<Evidence, u64>,
    /// Source messages without a fate, and those the source counts and does not list: no complete folder.
    pub(super) unsettled: u64,
    /// Both sides were as remembered, or turned out to be: nothing was done.
    pub(super) unchanged: bool,
    /// Records of messages that are not on the source any more: counted in no fate.
    pub(super) left: Left,
}

impl FolderEnd {
    /// Says whether every source message is on the target and that was read back.
    pub(super) fn is_complete(&self) -> bool {
        let there = |fate: &Fate| matches!(fate, Fate::Copied | Fate::Adopted | Fate::Excluded | Fate::Gone);
        let proven = |evidence: &Evidence| matches!(evidence, Evidence::MetadataEqual | Evidence::BytesEqual);
        self.unsettled == 0
            && self.fates.iter().all(|(fate, count)| *count == 0 || there(fate))
            && self.evidence.iter().all(|(evidence, count)| *count == 0 || proven(evidence))
    }
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
        match Box::pin(passes(account, survey, &pair)).await? {
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
    if let Some(end) = unchanged(account, survey, pair) {
        return Ok(Passed::Done(end));
    }
    let target_name = names::target_name(pair, &survey.target_namespace);
    let row = account.ledger.folder(account.id, &pair.source.name, &target_name, &pair.source.path).await?;
    let mut memory = Memory { together: TOGETHER_MAX, ..Memory::default() };
    if account.mode.retry {
        memory.wait_for_turn(account).await?;
        if let Some(end) = failed::nothing_to_retry(account, pair, &row).await? {
            return Ok(Passed::Done(end));
        }
    }
    let (mut backoff, mut doubts) = (Backoff::default(), 0);
    let mut trouble: Option<Instant> = None;
    loop {
        let waited = memory.wait_for_turn(account).await?;
        // Others had the connections.
        trouble = trouble.map(|since| since + waited);
        let mut pass = Pass {
            account,
            survey,
            pair,
            target_name: &target_name,
            row: &row,
            memory: &mut memory,
            advanced: false,
            done: false,
            by_delta: false,
            checked: None,
            hung_up: false,
        };
        let failure = match Box::pin(pass.run()).await {
            // What was acknowledged and not placed is looked for by another pass; what arrived cut off is sent by it.
            Ok(Passed::Again) if pass.memory.again < AGAIN_MAX => {
                pass.memory.again += 1;
                continue;
            }
            Ok(Passed::Again) => {
                let text =
                    format!("bring folder \"{}\" to an end: the target shows other than it acknowledges", pair.target);
                return Err(Failure::new(Side::Target, Kind::FolderRefused, text));
            }
            Ok(end) => return Ok(end),
            Err(_) if pass.hung_up => continue,
            Err(failure) => account.doubt(failure, &mut doubts),
        };
        let (advanced, done) = (pass.advanced, pass.done);
        memory.vain = if done { 0 } else { memory.vain + 1 };
        // What is found again and again, where nothing lasts, is no progress.
        if done || advanced && memory.vain <= VAIN_MAX {
            (memory.fruitless, doubts) = (0, 0);
            trouble = None;
            backoff.reset();
        } else if !matches!(failure.remedy(), Remedy::Later | Remedy::FewerConnections | Remedy::Refresh) {
            // Who is asked to wait has found nothing out about any message.
            memory.fruitless += 1;
        }
        match failure.remedy() {
            _ if account.stop.is_cancelled() => return Err(failure),
            // Some servers lose sight of a folder for a moment: it was open a while ago.
            Remedy::Skip
                if failure.side == Some(Side::Target) && memory.opened && memory.fruitless <= FRUITLESS_MAX => {}
            Remedy::Ask | Remedy::Skip => return Err(failure),
            // It was not one message that was refused: tried a few times, then it is the folder.
            // What it says of this folder makes no sense, however often it is asked.
            Remedy::Reconnect if failure.kind == Kind::Protocol && memory.fruitless > FRUITLESS_MAX => {
                return Err(Failure { kind: Kind::FolderRefused, ..failure });
            }
            Remedy::Again if memory.fruitless > FRUITLESS_MAX => {
                return Err(Failure { kind: Kind::FolderRefused, ..failure });
            }
            Remedy::Again | Remedy::Later | Remedy::FewerConnections | Remedy::Reconnect | Remedy::Refresh => {}
        }
        let since = account.lasts(*trouble.get_or_insert_with(Instant::now));
        let Some(delay) = delay(&failure, account.patience, since, true, &mut backoff) else { return Err(failure) };
        account.wait(delay, &failure).await?;
    }
}

pub(super) struct Pass<'a> {
    pub(super) account: &'a Account,
    pub(super) survey: &'a Survey,
    pub(super) pair: &'a FolderPair,
    pub(super) target_name: &'a WireName,
    pub(super) row: &'a FolderRow,
    pub(super) memory: &'a mut Memory,
    /// Something was got done that a further pass will not have to do.
    pub(super) advanced: bool,
    /// And that cannot come undone: messages were acknowledged, or came to their end.
    pub(super) done: bool,
    /// The target was listed by what is known of it.
    pub(super) by_delta: bool,
    /// What [`stable::look_again`] gave after all else that was asked of the source.
    pub(super) checked: Option<Option<(Uid, Digest)>>,
    /// The source hung up while the folder waited for the target.
    pub(super) hung_up: bool,
}

/// What both folders were before anything was done.
struct Seen {
    source_state: FolderState,
    source_lasts: bool,
    target_opened: Opened,
    target_listing: Listing,
}

impl Pass<'_> {
    /// Goes over the folder once.
    async fn run(&mut self) -> Result<Passed, Failure> {
        if self.account.mode.rebuild && self.pair.existing.as_ref().is_none_or(|folder| !folder.selectable) {
            let (source, _, _, listing) = self.open_source(self.account.source.take().await?).await?;
            self.account.source.keep(source);
            return Ok(Passed::Done(FolderEnd { unsettled: listing.len() as u64, ..FolderEnd::default() }));
        }
        match Box::pin(self.open()).await {
            Ok(Looked::Idle(end)) => Ok(Passed::Done(end)),
            Ok(Looked::Gone) => self.removed_whole().await.map(Passed::Done),
            Ok(Looked::Both(both)) => Box::pin(self.bring_over(*both)).await,
            Err(failure) if failure.kind == Kind::FolderRefused && failure.side == Some(Side::Target) => {
                self.refused(failure).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// Decides what is to be done in the folder, and does it.
    async fn bring_over(&mut self, mut both: Both) -> Result<Passed, Failure> {
        self.begin(&both);
        self.forget_surplus(&both).await?;
        reconcile::suspect_earlier(self.account, self.row.id, &both).await?;
        let mut plan = self.sort(&both).await?;
        removed::judge(self.account, &self.pair.target, &plan)?;
        if !both.source_lasts {
            self.account.ledger.forget_records(self.row.id, both.source_validity).await?;
        }
        let path = self.pair.source.path.to_string();
        let place = reconcile::Place { folder: self.row.id, path: &path, target_name: self.target_name };
        let reconciled = reconcile::reconcile(self.account, &place, &mut both, &plan).await?;
        self.advanced |= reconciled.is_progress;
        plan.flags.extend(reconciled.flags);
        plan.forget_messages();
        if self.memory.created.is_some() {
            self.memory.turned = reconciled.to_copy.union(&self.memory.turned);
        }
        let uids = self.order(&reconciled.to_copy, &both.source_listing);
        drop(reconciled.to_copy);
        self.tell_plan(&path, &uids, &both.source_listing).await?;
        let floor = both.floor();
        let Both { source, mut target, source_listing, .. } = both;
        let append_limit = match uids.is_empty() {
            true => None,
            false => target.session.append_limit(self.target_name).await.map_err(on_target)?,
        };
        let seen = Seen {
            source_state: both.source_state,
            source_lasts: both.source_lasts,
            target_opened: both.target_opened,
            target_listing: both.target_listing,
        };
        let task = Task {
            account: self.account,
            folder: self.row.id,
            path: &path,
            source_validity: both.source_validity,
            target_name: self.target_name,
            target_validity: seen.target_opened.state.uid_validity,
            target_lasts: both.target_lasts,
            target_messages: seen.target_opened.state.messages,
            source_name: &self.pair.source.name,
            source_lasts: both.source_lasts,
            floor,
            listing: &source_listing,
            append_limit,
            turn: self.memory.turn.clone(),
        };
        let nothing_to_do = uids.is_empty() && plan.flags.add.is_empty() && plan.flags.remove.is_empty();
        if self.account.mode.rebuild && !nothing_to_do {
            // Nothing of the folder is proven: the next run does that, when it has done what is left.
            self.account.source.keep(source);
            self.account.target.keep(target);
            return prove::count(&task).await.map(Passed::Done);
        }
        if !Box::pin(self.copy_over(&task, &uids, &seen, source, &mut target)).await? {
            self.account.target.keep(target);
            return Ok(Passed::Again);
        }
        // What is left to do is between the ledger and the target.
        self.memory.turn.end();
        self.finish(&task, seen, (plan, reconciled.found, uids.len()), target).await
    }

    /// Under another UIDVALIDITY UIDs are those of other messages.
    fn begin(&mut self, both: &Both) {
        self.memory.opened = true;
        if !both.source_lasts || self.memory.epoch.replace(both.source_validity) != Some(both.source_validity) {
            self.memory.strikes.clear();
            self.memory.accused.clear();
            self.memory.put_off.clear();
            self.memory.turned = Uids::default();
            self.memory.refused.clear();
        }
    }

    /// Copies these messages. False: where some of them are is to be found by another pass.
    async fn copy_over(
        &mut self,
        task: &Task<'_>,
        uids: &Rows<Uid>,
        seen: &Seen,
        source: Lease<Source>,
        target: &mut Lease<Target>,
    ) -> Result<bool, Failure> {
        if task.target_lasts {
            self.ask_permanent(uids, task.listing, &seen.target_opened, target).await?;
        }
        let mut source = Box::pin(self.copy_all(task, uids, source, target)).await?;
        if let Some(source) = source.as_mut().filter(|_| !uids.is_empty()) {
            let again = match self.checked.take() {
                Some(again) => again,
                None => stable::look_again(task, uids, source).await?,
            };
            stable::compare(task, again).await?;
        }
        if let Some(source) = source {
            self.account.source.keep(source);
        }
        if !task.target_lasts && !uids.is_empty() {
            // Where it went is found by opening the folder again.
            self.memory.tried = true;
            return Ok(false);
        }
        let unplaced = self.account.ledger.unplaced(self.row.id, task.source_validity, Uid::FIRST, 1).await?;
        Ok(unplaced.is_empty())
    }

    /// Changes flags, proves what was copied, counts, and remembers how both sides were left.
    async fn finish(
        &mut self,
        task: &Task<'_>,
        mut seen: Seen,
        (mut plan, found, copied): (FolderPlan, usize, usize),
        mut target: Lease<Target>,
    ) -> Result<Passed, Failure> {
        // What was listed before flags were changed says nothing of them.
        let mut changed = Changed::default();
        let mut from = Uid::LAST;
        // Opened to be changed, a target without lasting UIDs would have others.
        if task.target_lasts {
            if self.memory.short || found > 0 {
                self.complete_flags(task, &seen.target_listing, &mut plan.flags).await?;
            }
            plan.flags.sort();
            if !plan.flags.is_idle() && !self.by_delta {
                // It is listed anew then, and two of a million messages are too many.
                seen.target_listing = Listing::default();
            }
            let since = seen.target_opened.state.highest_modseq;
            changed = self.change_flags(task, &plan.flags, since, &mut target).await?;
            from = task.floor.map_or(Uid::FIRST, |(_, uid)| uid);
        }
        let listing = changed.listing.as_ref().unwrap_or(&seen.target_listing);
        let count = match self.by_delta {
            // The listing leaves out what we do not know.
            true => seen.target_opened.state.messages as usize,
            false => listing.uids().below(from),
        };
        let below = if from == Uid::FIRST { count } else { 0 };
        let expected = u32::try_from(below + found + copied).ok();
        let before = prove::Before { listing, from, count, expected };
        let prove::Proved { mut end, state: target_state, short } =
            prove::prove(task, target, &before, &self.memory.shown).await?;
        if !short.is_empty() {
            self.memory.wait_for_turn(self.account).await?;
            resend::resend(task, &self.pair.source.name, short).await?;
            return Ok(Passed::Again);
        }
        if !self.account.ledger.nameless(self.row.id, task.source_validity, None, 1).await?.is_empty() {
            self.memory.wait_for_turn(self.account).await?;
            failed::name(task, &self.pair.source.name, None).await?;
        }
        end.unsettled += u64::from(seen.source_state.messages).saturating_sub(task.listing.len() as u64);
        if self.account.mode.retry {
            // Left as they are: what their records say is of a folder that is no more.
            end.unsettled += plan.stale.len() as u64;
        }
        let lasts = seen.source_lasts && task.target_lasts;
        self.remember(seen.source_state, target_state.filter(|_| lasts && !changed.raced), &end).await?;
        if lasts && end.unsettled == 0 {
            self.account.ledger.forget_others(self.row.id, task.source_validity).await?;
        }
        Ok(Passed::Done(end))
    }

    /// Counts a folder whose copies were removed with their folder.
    async fn removed_whole(&self) -> Result<FolderEnd, Failure> {
        let (source, _, source_validity, listing) = self.open_source(self.account.source.take().await?).await?;
        self.account.source.keep(source);
        let mut end = FolderEnd { unsettled: listing.len() as u64, ..FolderEnd::default() };
        let mut windows = Windows::of(&self.account.ledger, self.row.id, source_validity);
        while let Some(records) = windows.next().await? {
            for record in records.iter().filter(|record| listing.has(record.source_uid)) {
                let Stage::Settled(fate) = record.stage else { continue };
                *end.fates.entry(fate).or_default() += 1;
                end.unsettled -= 1;
            }
        }
        Ok(end)
    }

    /// The target will not have the folder: under another name, if that is why; else each of its messages is listed with the
    /// target's words. Not where something of it has been there before: then the refusal is of today, and a later run goes on.
    async fn refused(&self, failure: Failure) -> Result<Passed, Failure> {
        let account = self.account;
        let mut source = account.source.take().await?;
        let opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        let listing = source.session.list(Uid::FIRST, opened.state).await.map_err(on_source)?;
        let Some(source_validity) = opened.state.uid_validity else { return Err(failure) };
        let copies = account.ledger.copies(self.row.id).await?;
        let intended = account.ledger.intended(self.row.id, source_validity).await?;
        if self.pair.existing.is_some() || copies > 0 || !intended.is_empty() {
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
            target_lasts: true,
            target_messages: 0,
            source_name: &self.pair.source.name,
            source_lasts: lasts(&opened),
            floor: None,
            listing: &listing,
            append_limit: None,
            turn: Turn::default(),
        };
        for window in windows(listing.uids().iter()) {
            let refused = window
                .into_iter()
                .map(|uid| (uid, Ending::Refused, failure.kind, failure.text.clone(), copy::Subject::default()));
            copy::settle_failed(&task, refused.collect()).await?;
        }
        failed::name(&task, &self.pair.source.name, Some(source)).await?;
        let (account, folder) = (account.name.clone(), path);
        self.account.events.send(Event::FolderFailed { account, folder, failure }).await;
        let fates = BTreeMap::from([(Fate::Refused, listing.len() as u64)]);
        Ok(Passed::Done(FolderEnd { fates, ..FolderEnd::default() }))
    }

    /// Surplus that its user has taken away is none.
    async fn forget_surplus(&self, both: &Both) -> Result<(), Failure> {
        let validity = both.target_opened.state.uid_validity;
        let is_there = |(epoch, uid): (UidValidity, Uid)| Some(epoch) == validity && both.target_listing.has(uid);
        let known = self.account.ledger.surplus(self.row.id).await?;
        let gone = known.into_iter().map(|surplus| surplus.target).filter(|target| !is_there(*target)).collect();
        Ok(self.account.ledger.forget_surplus(self.row.id, gone).await?)
    }

    pub(super) async fn sort(&self, both: &Both) -> Result<FolderPlan, Failure> {
        let account = self.account;
        // What came to its end in this run has had its turn, but for what went with the folder before it was made again.
        let since = self.memory.created.unwrap_or(account.began);
        let mut ended = account.ledger.troubled_since(self.row.id, both.source_validity, since).await?;
        if self.memory.created.is_some() {
            ended.retain(|uid| self.memory.turned.has(*uid));
        }
        let mut sorter = Sorter::new(&both.source_listing, &both.target_listing, both.target_opened.state.uid_validity)
            // What was refused with its folder goes with it now.
            .retrying((account.mode.retry || self.memory.created.is_some()) && !self.memory.tried)
            .not_again(ended)
            .only_retrying(account.mode.retry)
            .restoring(account.mode.restore)
            .with_deleted(account.deleted)
            .placeless(!both.target_lasts);
        if !both.source_lasts {
            // What is known of its UIDs was said of others.
            return Ok(sorter.finish());
        }
        let mut windows = Windows::of(&account.ledger, self.row.id, both.source_validity);
        while let Some(records) = windows.next().await? {
            sorter.records(&records);
        }
        Ok(sorter.finish())
    }

    /// Gives them in the order in which they are to be copied.
    fn order(&self, uids: &Uids, listing: &Listing) -> Rows<Uid> {
        match self.account.order {
            Order::Oldest | Order::Exact => uids.iter().collect(),
            Order::Newest => plan::newest_first(uids.iter().filter_map(|uid| listing.get(uid))),
        }
    }

    async fn tell_plan(&self, path: &str, uids: &Rows<Uid>, listing: &Listing) -> Result<(), Failure> {
        self.account.ledger.set_listed(self.row.id, listing.len() as u64, listing.bytes()).await?;
        let bytes = uids.iter().filter_map(|uid| listing.get(uid)?.size).sum();
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
        Ok(())
    }

    /// Remembers both sides as they are, where every message has its fate.
    async fn remember(&self, source: FolderState, target: Option<FolderState>, end: &FolderEnd) -> Result<(), Failure> {
        // Where only failed messages were tried again, flags were not looked at.
        let clean = !self.account.mode.retry
            && end.unsettled == 0
            && end.evidence.get(&Evidence::None).is_none_or(|count| *count == 0);
        // EXAMINE told the source's state; STATUS may know a modification sequence that EXAMINE does not.
        match target.filter(|_| clean) {
            Some(target) => {
                let watermark = Watermark { source, target, deleted: self.account.deleted };
                Ok(self.account.ledger.remember(self.row.id, watermark, end.left.clone()).await?)
            }
            None => Ok(self.account.ledger.set_watermark(self.row.id, None).await?),
        }
    }
}
