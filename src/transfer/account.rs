//! One account: both sides opened, folders mapped, folder passes run side by side, the end written down.

use super::allowance::Purses;
use super::event::{Ending, Event, Events};
use super::folder::{self, FolderEnd};
use super::lanes::Spare;
use super::pool::{Pool, PoolParts};
use super::shares::{self, GROWTH, Shares};
use super::standing::Standing;
pub(super) use super::survey::Survey;
use super::turns::Turns;
use super::{Context, Mode, audit, names};
use crate::checkpoint::{AccountId, AccountKey, AccountState, FailureNote, JobReference, Ledger, Surplus, Totals};
use crate::config;
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{BodyRoom, Source, Target};
use crate::mail::{Evidence, Fate, Flags, FolderPath, Side};
use crate::pace::{Gate, Limits, Patience};
use crate::plan::{self, FolderPair, Order};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What all folder passes of an account share.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) id: AccountId,
    pub(super) key: AccountKey,
    pub(super) ledger: Ledger,
    pub(super) events: Events,
    /// Of this account: ends with the job's, or when something stops the account.
    pub(super) stop: CancellationToken,
    /// When this run of it began.
    pub(super) began: SystemTime,
    pub(super) room: BodyRoom,
    pub(super) source: Pool<Source>,
    pub(super) target: Pool<Target>,
    pub(super) standing: Arc<Standing>,
    pub(super) patience: Patience,
    pub(super) mode: Mode,
    pub(super) order: Order,
    pub(super) sample: f64,
    pub(super) settle: std::time::Duration,
    pub(super) late: std::time::Duration,
    /// `\Deleted` is carried over.
    pub(super) deleted: bool,
    pub(super) spare: Spare,
    /// Folders that may be copied at once, each from a connection of its own: where one's copies are being proven, the next
    /// has its place.
    pub(super) turns: Turns,
}

/// How an account ended.
#[derive(Debug, Clone)]
pub struct AccountEnd {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub ending: Ending,
    /// What stopped it.
    pub failure: Option<Failure>,
    /// Folders that were given up.
    pub folders_failed: Vec<(String, Failure)>,
    /// Source messages by fate.
    pub fates: BTreeMap<Fate, u64>,
    /// Those on the target by evidence.
    pub evidence: BTreeMap<Evidence, u64>,
    /// Messages on the target that no source message stands behind: second copies, or parts of one.
    pub surplus: u64,
}

impl Account {
    /// Finds the account in the ledger and makes its pools.
    pub(super) async fn prepare(context: &Context, account: &config::Account) -> Result<Self, Failure> {
        let key = key(account);
        let reference = reference(&context.job, account);
        let ledger = context.ledger.clone();
        let id = ledger.account(&key, reference).await?;
        let stop = context.stop.child_token();
        let job = &context.job;
        let patience = Patience { outage: job.options.outage, first_contact: job.options.first_contact };
        let shared = &context.shared;
        let standing = Arc::new(Standing::new(&account.name, id, &ledger, &context.events));
        let parts = |side: Side, mailbox: &config::Mailbox, limits: &Limits, reached| {
            let host = shares::host(side, mailbox);
            let owner = match side {
                Side::Source => (key.source_host(), key.source_user()),
                Side::Target => (key.target_host(), key.target_user()),
            };
            let allowances = (mailbox.bytes_per_day, mailbox.host_bytes_per_day);
            PoolParts {
                account: account.name.clone(),
                mailbox: mailbox.clone(),
                limits: limits.clone(),
                host: shared.pacers.pace(&host, &job.host_rates),
                clock: shared.pacers.clock(),
                purses: Purses::new(&ledger, shared.pacers.clock(), side, owner, allowances),
                dial: Arc::clone(&shared.dial),
                gate: shared.hosts.gate(&host, job.host_connections),
                breaker: shared.hosts.breaker(&host),
                patience,
                timeout: job.options.timeout,
                events: context.events.clone(),
                stop: stop.clone(),
                ledger: ledger.clone(),
                id,
                standing: Arc::clone(&standing),
                reached,
            }
        };
        let source_reached = ledger.has_reached(id, Side::Source).await?;
        let target_reached = ledger.has_reached(id, Side::Target).await?;
        Ok(Self {
            name: account.name.clone(),
            source: Pool::new(parts(Side::Source, &account.source, &job.source_limits, source_reached)),
            target: Pool::new(parts(Side::Target, &account.target, &job.target_limits, target_reached)),
            standing,
            id,
            key,
            ledger,
            events: context.events.clone(),
            stop,
            began: SystemTime::now(),
            room: context.shared.room.part(),
            patience,
            mode: context.mode,
            order: job.order,
            sample: job.options.sample,
            settle: job.options.settle,
            late: job.options.late,
            deleted: job.options.deleted,
            spare: Spare::default(),
            turns: Turns::none(),
        })
    }

    /// Tells of a message that is too many on the target.
    pub(super) async fn tell_surplus(&self, path: &str, surplus: &Surplus, removed: bool) {
        let (account, folder) = (self.name.clone(), path.to_owned());
        let (uid, target_uid) = (surplus.source.1.value(), surplus.target.1.value());
        self.events.send(Event::Surplus { account, folder, uid, target_uid, kind: surplus.kind, removed }).await;
    }

    /// Gives the flags of a source message that are carried over.
    pub(super) fn carried(&self, flags: &Flags) -> Flags {
        plan::carried(flags, self.deleted)
    }

    /// A mailbox that cannot be opened after a sign-in that went well is one that nobody may open, most often; Exchange says the
    /// same where it is short of something for a minute. So it is asked again, twice in a row by each who meets it.
    pub(super) fn doubt(&self, failure: Failure, doubts: &mut u32) -> Failure {
        const DOUBTS_MAX: u32 = 2;
        const DOUBT: Duration = Duration::from_secs(30);
        if failure.kind != Kind::MailboxClosed || self.patience.outage.is_some_and(|outage| outage < DOUBT * 4) {
            return failure;
        }
        *doubts += 1;
        match *doubts {
            doubts if doubts <= DOUBTS_MAX => {
                Failure { kind: Kind::Unavailable, ..failure }.with_wait(Some(DOUBT * doubts), true)
            }
            _ => failure,
        }
    }

    /// Gives the gates of both hosts.
    pub(super) fn gates(&self) -> (Gate, Gate) {
        (self.source.gate(), self.target.gate())
    }

    /// Gives for how long a trouble has lasted, but for what was waited until a host took people from here again.
    pub(super) fn lasts(&self, trouble: Instant) -> Duration {
        self.source.lasts(trouble).min(self.target.lasts(trouble))
    }

    /// Waits on the side where it failed.
    pub(super) async fn wait(&self, delay: Duration, failure: &Failure) -> Result<(), Failure> {
        match failure.side {
            Some(Side::Target) => self.target.wait(delay, failure).await,
            _ => self.source.wait(delay, failure).await,
        }
    }
}

/// Gives what the ledger knows an account by.
#[must_use]
pub fn key(account: &config::Account) -> AccountKey {
    let (source, target) = (&account.source, &account.target);
    AccountKey::new(
        &source.endpoint.host,
        source.endpoint.port,
        &source.sign_in.user,
        &target.endpoint.host,
        target.endpoint.port,
        &target.sign_in.user,
    )
}

/// Gives what the ledger remembers of the job that an account belongs to.
pub(super) fn reference(job: &config::Job, account: &config::Account) -> JobReference {
    JobReference {
        name: job.name.clone(),
        path: job.path.clone(),
        digest: job.digest,
        account_name: account.name.clone(),
    }
}

/// Runs one account to its end, whatever that is.
pub(super) async fn run(context: &Context, account: &config::Account, shares: &Shares) -> AccountEnd {
    let name = account.name.clone();
    context.events.send(Event::AccountStarted { account: name.clone() }).await;
    let mut end = AccountEnd {
        name: name.clone(),
        ending: Ending::Complete,
        failure: None,
        folders_failed: Vec::new(),
        fates: BTreeMap::new(),
        evidence: BTreeMap::new(),
        surplus: 0,
    };
    if let Err(failure) = run_prepared(context, account, shares, &mut end).await {
        end.ending = ending(&failure);
        tell_parked(context, &name, &failure).await;
        end.failure = Some(failure);
    }
    context
        .events
        .send(Event::AccountDone {
            account: name,
            ending: end.ending,
            failure: end.failure.clone(),
            fates: end.fates.clone(),
            evidence: end.evidence.clone(),
            surplus: end.surplus,
        })
        .await;
    end
}

/// Tells of an account that has to wait for the day to return.
async fn tell_parked(context: &Context, account: &str, failure: &Failure) {
    if let (Kind::AllowanceSpent, Some(side), Some(wait)) = (failure.kind, failure.side, failure.wait) {
        let (seconds, why) = (wait.as_secs_f64().ceil() as u64, failure.text.clone());
        context.events.send(Event::Waiting { account: account.to_owned(), side, seconds, why }).await;
    }
}

/// Gives when an account may go on, where that is known. What was under way when a day was spent took its time: the wait runs
/// from now on.
fn parked_until(context: &Context, account: &Account, failure: &mut Failure) -> Option<SystemTime> {
    let now = context.shared.pacers.clock().now();
    if failure.kind == Kind::AllowanceSpent {
        let until = match failure.side {
            Some(Side::Target) => account.target.spent_until(),
            _ => account.source.spent_until(),
        };
        failure.wait = until.map(|until| until.duration_since(now).unwrap_or_default());
    }
    failure.wait.map(|wait| now + wait)
}

fn ending(failure: &Failure) -> Ending {
    match failure.remedy() {
        _ if failure.kind == Kind::Stopped => Ending::Stopped,
        Remedy::Ask | Remedy::Skip | Remedy::Refresh => Ending::Failed,
        Remedy::Later | Remedy::Reconnect | Remedy::FewerConnections | Remedy::Again => Ending::Parked,
    }
}

async fn run_prepared(
    context: &Context,
    account: &config::Account,
    shares: &Shares,
    end: &mut AccountEnd,
) -> Result<(), Failure> {
    let prepared = Arc::new(Account::prepare(context, account).await?);
    let (ledger, id) = (&prepared.ledger, prepared.id);
    let lock = ledger.lock(id).await?;
    // Nothing is changed before both have come to their end.
    prepared.standing.runs(prepared.began);
    let begun = ledger.set_account_state(id, AccountState::Running { since: prepared.began });
    let (begun, survey) = tokio::join!(begun, prepared.survey_patiently(&context.job.folders));
    begun?;
    let mut ran = match survey {
        Ok(survey) => run_folders(context, &prepared, survey, (account, shares), end).await,
        Err(failure) => Err(failure),
    };
    if ran.is_ok() {
        ran = finish(&prepared, end).await;
    }
    if ran.is_err() {
        // Folders that were left in the middle have told nothing: the ledger knows how far they came.
        (end.fates, end.evidence) = so_far(&prepared).await?;
    }
    let until = ran.as_mut().err().and_then(|failure| parked_until(context, &prepared, failure));
    // The job's own stop is told apart from a stop that a failure of this account caused.
    let state = match &ran {
        Ok(()) if end.ending == Ending::Complete => AccountState::Complete { at: SystemTime::now() },
        // What it did not find is left to be copied.
        Ok(()) if context.mode.rebuild => AccountState::Interrupted,
        Ok(()) => AccountState::Exceptions { at: SystemTime::now() },
        Err(failure) => match ending(failure) {
            Ending::Stopped => AccountState::Interrupted,
            Ending::Parked => AccountState::Parked { until, why: failure.text.clone() },
            Ending::Failed | Ending::Complete | Ending::Exceptions => AccountState::Failed(FailureNote::from(failure)),
        },
    };
    let ended = async {
        ledger.set_account_state(id, state).await?;
        ledger.flush().await
    };
    let (ended, ..) = tokio::join!(ended, prepared.source.close(), prepared.target.close());
    ended?;
    drop(lock);
    ran
}

/// Looks for what came late, and says whether the target holds anything that it should not.
async fn finish(account: &Account, end: &mut AccountEnd) -> Result<(), Failure> {
    if account.mode.rebuild {
        return Ok(());
    }
    let failed = audit::audit(account).await?;
    if !failed.is_empty() {
        end.ending = Ending::Exceptions;
        end.folders_failed.extend(failed);
    }
    end.surplus = account.ledger.surpluses(account.id).await?.len() as u64;
    if end.surplus > 0 {
        end.ending = Ending::Exceptions;
    }
    Ok(())
}

type Counts = (BTreeMap<Fate, u64>, BTreeMap<Evidence, u64>);

async fn so_far(account: &Account) -> Result<Counts, Failure> {
    let mut totals = Totals::default();
    account.ledger.folders(account.id).await?.iter().for_each(|folder| totals.add(&folder.totals));
    let fates = totals.fates.iter().map(|(fate, count)| (*fate, count.messages)).collect();
    let evidence = totals.evidence.iter().map(|(evidence, count)| (*evidence, count.messages)).collect();
    Ok((fates, evidence))
}

async fn run_folders(
    context: &Context,
    account: &Arc<Account>,
    survey: Survey,
    (config, shares): (&config::Account, &Shares),
    end: &mut AccountEnd,
) -> Result<(), Failure> {
    let (folders, warnings) = (survey.map.pairs.len(), survey.map.warnings.clone());
    account.events.send(Event::FoldersMapped { account: account.name.clone(), folders, warnings }).await;
    // All places are written down before the first folder is made: what the target then calls its roles moves none of them.
    let new = survey.map.pairs.iter().filter(|pair| survey.known(pair).is_none()).map(|pair| {
        let listed = pair.source.state.map(|state| state.messages.into());
        let target_name = names::target_name(pair, &survey.target_namespace);
        (pair.source.name.clone(), target_name, pair.source.path.clone(), listed)
    });
    account.ledger.begin_folders(account.id, new.collect()).await?;
    let survey = Arc::new(survey);
    let waiting = Arc::new(Mutex::new(by_target(&survey.map.pairs)));
    let limits = [&context.job.source_limits, &context.job.target_limits].map(|limits| limits.connections);
    let mut changes = shares.changes();
    let begun = Instant::now();
    let mut growth = tokio::time::interval_at(begun + GROWTH, GROWTH);
    let (mut running, mut stopped_by, mut had, mut turns) = (JoinSet::new(), None, [0, 0], 0);
    loop {
        // As many as it may have now; what no folder needs may be shared by those under way.
        let now = limits.map(|limit| limit.min(shares.part(config, begun.elapsed())));
        let left = waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
        let left = if account.stop.is_cancelled() { 0 } else { left };
        let unserved = (left + running.len()).saturating_sub(turns);
        let more = unserved.min(now[0].saturating_sub(had[0])).min(now[1].saturating_sub(had[1]));
        account.turns.add(more, turns + more, unserved);
        (turns, had) = (turns + more, had.map(|had| had + more));
        // As many again wait for their turn.
        for _ in 0..left.min((2 * turns).saturating_sub(running.len())) {
            running.spawn(work(Arc::clone(account), Arc::clone(&survey), Arc::clone(&waiting)));
        }
        for (side, at) in [(Side::Source, 0), (Side::Target, 1)] {
            account.spare.add(side, now[at].saturating_sub(had[at]));
            had[at] = had[at].max(now[at]);
        }
        account.source.share(had[0]);
        account.target.share(had[1]);
        let worker = tokio::select! {
            worker = running.join_next() => worker,
            Ok(()) = changes.changed() => continue,
            () = account.turns.give() => continue,
            _ = growth.tick(), if had != limits => continue,
        };
        let Some(worker) = worker else { break };
        let Ok(ends) = worker else {
            stopped_by.get_or_insert(Failure::new(None, Kind::State, "carry out a folder: its task ended"));
            // Another takes its place.
            continue;
        };
        if running.len() < turns {
            account.spare.add(Side::Source, 1);
            account.spare.add(Side::Target, 1);
        }
        for (path, folder) in ends {
            match folder {
                Ok(folder) => end.add(&folder),
                Err(failure) if failure.scope() == crate::failure::Scope::Folder => {
                    end.folders_failed.push((path, failure))
                }
                Err(failure) => prefer(&mut stopped_by, failure),
            }
        }
    }
    if !end.folders_failed.is_empty() {
        end.ending = Ending::Exceptions;
    }
    if account.stop.is_cancelled() {
        // Folders may be left that nobody has looked at.
        stopped_by.get_or_insert_with(|| Failure::new(None, Kind::Stopped, "go on: asked to stop"));
    }
    stopped_by.map_or(Ok(()), Err)
}

/// A failure explains a stop; a stop explains nothing.
fn prefer(known: &mut Option<Failure>, failure: Failure) {
    match known {
        Some(first) if first.kind != Kind::Stopped || failure.kind == Kind::Stopped => {}
        _ => *known = Some(failure),
    }
}

impl AccountEnd {
    /// The end of an account whose task broke.
    pub(super) fn broken(name: &str) -> Self {
        let text = "carry out the account: the program is at fault; please report this with the log";
        Self {
            name: name.to_owned(),
            ending: Ending::Failed,
            failure: Some(Failure::new(None, Kind::State, text)),
            folders_failed: Vec::new(),
            fates: BTreeMap::new(),
            evidence: BTreeMap::new(),
            surplus: 0,
        }
    }

    fn add(&mut self, folder: &FolderEnd) {
        folder.fates.iter().for_each(|(fate, count)| *self.fates.entry(*fate).or_default() += count);
        folder.evidence.iter().for_each(|(evidence, count)| *self.evidence.entry(*evidence).or_default() += count);
        if !folder.is_complete() {
            self.ending = Ending::Exceptions;
        }
    }
}

/// What waits for a worker: source folders that go into one target folder go one after the other, since each has to see
/// which of its messages the others hold.
type Waiting = VecDeque<VecDeque<FolderPair>>;

fn by_target(pairs: &[FolderPair]) -> Waiting {
    let mut waiting = Waiting::new();
    let mut places: BTreeMap<&FolderPath, usize> = BTreeMap::new();
    for pair in pairs {
        let place = *places.entry(&pair.target).or_insert(waiting.len());
        if place == waiting.len() {
            waiting.push_back(VecDeque::new());
        }
        waiting[place].push_back(pair.clone());
    }
    waiting
}

type Worked = Vec<(String, Result<FolderEnd, Failure>)>;

/// Takes folder after folder. A failure beyond one folder stops the account's other workers at their next safe point.
async fn work(account: Arc<Account>, survey: Arc<Survey>, waiting: Arc<Mutex<Waiting>>) -> Worked {
    let mut ends = Vec::new();
    let mut group = VecDeque::new();
    loop {
        if group.is_empty() {
            group = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default();
        }
        let Some(pair) = group.pop_front() else { return ends };
        let path = pair.source.path.to_string();
        let end = Box::pin(folder::run(&account, &survey, &pair)).await;
        match &end {
            Ok(done) => {
                account
                    .events
                    .send(Event::FolderDone {
                        account: account.name.clone(),
                        folder: path.clone(),
                        fates: done.fates.clone(),
                        evidence: done.evidence.clone(),
                        unchanged: done.unchanged,
                    })
                    .await;
            }
            Err(failure) if failure.scope() == crate::failure::Scope::Folder => {
                let (account_name, failure) = (account.name.clone(), failure.clone());
                account.events.send(Event::FolderFailed { account: account_name, folder: path.clone(), failure }).await;
            }
            Err(_) => account.stop.cancel(),
        }
        let ended = end.is_err() && account.stop.is_cancelled();
        ends.push((path, end));
        if ended {
            return ends;
        }
    }
}
