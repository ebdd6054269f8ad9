//! Looking without touching: both sides of every account opened, folders mapped, what a run would do counted.

use super::account::{Account, Survey};
use super::forecast::{Ahead, Expected, MESSAGE_BYTES};
use super::look::{FolderLook, look};
use super::{Context, Ending};
use crate::config;
use crate::failure::Failure;
use crate::mail::{Folder, Side};
use crate::plan::FolderMap;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What `check` found out about one account.
#[derive(Debug, Clone, Serialize)]
pub struct AccountCheck {
    /// Its name.
    pub account: String,
    /// What was seen; None where it could not be opened.
    pub seen: Option<Seen>,
    /// What is left to do and when it will be done, by the numbers of messages on both sides; None: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What stands against a run.
    pub failures: Vec<Failure>,
}

/// Both sides of an account.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// The source.
    pub source: SideCheck,
    /// The target.
    pub target: SideCheck,
    /// Where every folder goes.
    pub folders: Vec<FolderCheck>,
    /// What is left out, and why.
    pub left: Vec<(String, crate::plan::Left)>,
    /// For a person to read before the run.
    pub warnings: Vec<String>,
}

/// One side of an account.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SideCheck {
    /// Folders that hold mail.
    pub folders: u64,
    /// Messages in them.
    pub messages: u64,
    /// The largest message the server takes, in bytes, where it says so.
    pub append_limit: Option<u64>,
    /// The server can say at once where it put a message (UIDPLUS).
    pub uidplus: bool,
    /// The server takes messages without a round trip each (LITERAL+).
    pub literal_plus: bool,
}

/// One folder and its place.
#[derive(Debug, Clone, Serialize)]
pub struct FolderCheck {
    /// Path at the source.
    pub source: String,
    /// Path on the target.
    pub target: String,
    /// Why it goes there.
    pub because: crate::plan::Because,
    /// Where it goes if the target refuses that name: the first of these that is not refused.
    pub if_refused: Vec<String>,
    /// Servers are known to refuse such a name.
    pub doubted: bool,
    /// It has to be made.
    pub create: bool,
    /// Messages at the source.
    pub messages: u64,
    /// Messages on the target.
    pub target_messages: u64,
}

/// What a run would do for one account.
#[derive(Debug, Clone, Serialize)]
pub struct AccountPlan {
    /// Its name.
    pub account: String,
    /// Folder by folder.
    pub folders: Vec<FolderForecast>,
    /// What is left out, and why.
    pub left: Vec<(String, crate::plan::Left)>,
    /// For a person to read before the run.
    pub warnings: Vec<String>,
    /// When what is to be copied will be; None: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// What stands against a run.
    pub failures: Vec<Failure>,
}

/// What a run would do in one folder.
#[derive(Debug, Clone, Serialize)]
pub struct FolderForecast {
    /// Path at the source.
    pub source: String,
    /// Path on the target.
    pub target: String,
    /// Why it goes there.
    pub because: crate::plan::Because,
    /// Where it goes if the target refuses that name: the first of these that is not refused.
    pub if_refused: Vec<String>,
    /// Servers are known to refuse such a name.
    pub doubted: bool,
    /// It has to be made.
    pub create: bool,
    /// Messages at the source.
    pub messages: u64,
    /// To be copied.
    pub to_copy: u64,
    /// Their bytes, by the sizes the source tells.
    pub bytes: u64,
    /// On the target already, by the ledger.
    pub settled: u64,
    /// Found on the target by content, or to be looked for after an interruption.
    pub matched: u64,
    /// Removed on the target by its user: not copied again.
    pub removed: u64,
    /// Flags to be changed on the target.
    pub flags: u64,
}

/// Opens both sides of every account and looks. Writes nothing on either.
pub async fn check(context: Context) -> Vec<AccountCheck> {
    let ahead = Ahead::of(&context);
    let mut checks = each(impatient(context), check_one).await;
    let left: Vec<_> = checks.iter().map(|check| check.seen.as_ref().map(Seen::left)).collect();
    match ahead.expected(&left).await {
        Ok(expected) => checks.iter_mut().zip(expected).for_each(|(check, expected)| check.expected = expected),
        Err(failure) => checks.iter_mut().for_each(|check| check.failures.push(failure.clone())),
    }
    checks
}

/// Finds out what a run would do, without doing it.
pub async fn plan(context: Context) -> Vec<AccountPlan> {
    let ahead = Ahead::of(&context);
    let mut plans = each(impatient(context), plan_one).await;
    let left: Vec<_> = plans.iter().map(AccountPlan::left_to_copy).collect();
    match ahead.expected(&left).await {
        Ok(expected) => plans.iter_mut().zip(expected).for_each(|(plan, expected)| plan.expected = expected),
        Err(failure) => plans.iter_mut().for_each(|plan| plan.failures.push(failure.clone())),
    }
    plans
}

/// Who looks wants to know that a host is down, not to wait until it is up.
fn impatient(mut context: Context) -> Context {
    let mut job = (*context.job).clone();
    job.options.outage = Some(job.options.first_contact);
    context.job = Arc::new(job);
    context
}

/// Runs something for all accounts, so many at once as the job allows; answers in the order of the job.
pub(super) async fn each<R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    context: Context,
    one: impl Fn(Arc<Context>, config::Account) -> F,
) -> Vec<R> {
    let context = Arc::new(context);
    let turns = Arc::new(Semaphore::new(context.job.options.accounts.max(1)));
    let mut running = JoinSet::new();
    for (at, account) in context.job.accounts.iter().cloned().enumerate() {
        let (context, turns) = (Arc::clone(&context), Arc::clone(&turns));
        let one = one(context, account);
        running.spawn(async move {
            let _turn = turns.acquire_owned().await;
            (at, one.await)
        });
    }
    let mut answers: Vec<(usize, R)> = running.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn check_one(context: Arc<Context>, account: config::Account) -> AccountCheck {
    let mut check = AccountCheck { account: account.name.clone(), seen: None, expected: None, failures: Vec::new() };
    let prepared = match Account::prepare(&context, &account).await {
        Ok(prepared) => prepared,
        Err(failure) => {
            check.failures.push(failure);
            return check;
        }
    };
    match Box::pin(see(&context, &prepared, &account)).await {
        Ok(seen) => check.seen = Some(seen),
        Err(failure) => {
            // Both sides are tried, so that one look tells of both.
            if failure.side == Some(Side::Source)
                && let Err(other) = prepared.target.take().await.map(|lease| prepared.target.keep(lease))
            {
                check.failures.push(other);
            }
            check.failures.insert(0, failure);
        }
    }
    prepared.source.close().await;
    prepared.target.close().await;
    check
}

async fn see(context: &Context, account: &Account, config: &config::Account) -> Result<Seen, Failure> {
    let survey = account.survey(&context.job.folders).await?;
    let mut source = account.source.take().await?;
    let mut target = account.target.take().await?;
    let mut folders = Vec::new();
    for pair in &survey.map.pairs {
        let messages = count(&mut source.session, &pair.source).await?;
        let target_messages = match &pair.existing {
            Some(folder) if folder.selectable => count(&mut target.session, folder).await?,
            _ => 0,
        };
        folders.push(FolderCheck {
            source: pair.source.path.to_string(),
            target: pair.target.to_string(),
            because: pair.because,
            if_refused: pair.otherwise.iter().map(ToString::to_string).collect(),
            doubted: pair.doubted,
            create: pair.existing.is_none(),
            messages,
            target_messages,
        });
    }
    let source_check = side(&source.session, &folders, |folder| folder.messages);
    let mut target_check = side(&target.session, &folders, |folder| folder.target_messages);
    target_check.messages = folders.iter().map(|folder| folder.target_messages).sum();
    let mut warnings = survey.map.warnings.clone();
    if target_check.messages > 100 && target_check.messages > 2 * source_check.messages {
        warnings.push(format!(
            "the target holds {} messages and the source {}: are source and target the right way round?",
            target_check.messages, source_check.messages
        ));
    }
    warnings.extend(newest(&mut source, &survey, &config.source.sign_in.user).await?);
    account.source.keep(source);
    account.target.keep(target);
    let left = left(&survey.map);
    Ok(Seen { source: source_check, target: target_check, folders, left, warnings })
}

async fn count<E: crate::imap::End>(session: &mut crate::imap::Session<E>, folder: &Folder) -> Result<u64, Failure> {
    if let Some(state) = folder.state {
        return Ok(u64::from(state.messages));
    }
    match session.status(&folder.name).await {
        Ok(state) => Ok(u64::from(state.messages)),
        Err(error) if error.is_refusal() => Ok(0),
        Err(error) => Err(error.failure(E::SIDE)),
    }
}

fn side<E: crate::imap::End>(
    session: &crate::imap::Session<E>,
    folders: &[FolderCheck],
    messages: impl Fn(&FolderCheck) -> u64,
) -> SideCheck {
    let capabilities = session.capabilities();
    SideCheck {
        folders: folders.len() as u64,
        messages: folders.iter().map(messages).sum(),
        append_limit: capabilities.append_limit(),
        uidplus: capabilities.has("UIDPLUS") || capabilities.has("IMAP4REV2"),
        literal_plus: capabilities.has("LITERAL+"),
    }
}

/// Looks at the newest mail of the inbox. Warns where it is addressed to somebody else, a sign of a swapped pair, and where
/// it asks for receipts, which some targets send once more (Exchange: imapsync FAQ.Exchange).
async fn newest(
    source: &mut super::pool::Lease<crate::imap::Source>,
    survey: &Survey,
    user: &str,
) -> Result<Vec<String>, Failure> {
    /// Enough to tell lists and aliases from a mailbox of somebody else.
    const LOOKED_AT: u32 = 50;
    let Some(inbox) = survey.map.pairs.iter().find(|pair| pair.source.path.is_inbox()) else { return Ok(Vec::new()) };
    let on_source = |error: crate::imap::ImapError| error.failure(Side::Source);
    let opened = source.session.examine(&inbox.source.name).await.map_err(on_source)?;
    let recipients = source.session.recipients(opened.state, LOOKED_AT).await.map_err(on_source)?;
    let name = user.split('@').next().unwrap_or(user).to_lowercase();
    let to_user = recipients.iter().filter(|to| to.fields.to_lowercase().contains(&name)).count();
    let receipts = recipients.iter().filter(|to| to.asks_receipt).count();
    let looked_at = recipients.len();
    let mut warnings = Vec::new();
    if looked_at >= 10 && to_user == 0 {
        warnings.push(format!(
            "none of the newest {looked_at} messages in the inbox is addressed to {user}: is this the right mailbox?"
        ));
    }
    if receipts > 0 {
        warnings.push(format!(
            "{receipts} of the newest {looked_at} messages in the inbox ask for a receipt when they are read, and are copied \
             as they are: some targets (Exchange) send it once more"
        ));
    }
    Ok(warnings)
}

fn left(map: &FolderMap) -> Vec<(String, crate::plan::Left)> {
    map.left.iter().map(|(path, why)| (path.to_string(), *why)).collect()
}

async fn plan_one(context: Arc<Context>, account: config::Account) -> AccountPlan {
    let mut plan = AccountPlan {
        account: account.name.clone(),
        folders: Vec::new(),
        left: Vec::new(),
        warnings: Vec::new(),
        expected: None,
        failures: Vec::new(),
    };
    let prepared = match Account::prepare(&context, &account).await {
        Ok(prepared) => prepared,
        Err(failure) => {
            plan.failures.push(failure);
            return plan;
        }
    };
    match prepared.survey(&context.job.folders).await {
        Ok(survey) => {
            plan.left = left(&survey.map);
            plan.warnings = survey.map.warnings.clone();
            for pair in &survey.map.pairs {
                match look(&prepared, &survey, pair).await {
                    Ok(look) => plan.folders.push(forecast(pair, &look)),
                    Err(failure) => plan.failures.push(failure),
                }
            }
        }
        Err(failure) => plan.failures.push(failure),
    }
    prepared.source.close().await;
    prepared.target.close().await;
    plan
}

fn forecast(pair: &crate::plan::FolderPair, look: &FolderLook) -> FolderForecast {
    FolderForecast {
        source: pair.source.path.to_string(),
        target: pair.target.to_string(),
        because: pair.because,
        if_refused: pair.otherwise.iter().map(ToString::to_string).collect(),
        doubted: pair.doubted,
        create: pair.existing.is_none(),
        messages: look.messages,
        to_copy: look.to_copy,
        bytes: look.bytes,
        settled: look.settled,
        matched: look.matched,
        removed: look.removed,
        flags: look.flags,
    }
}

impl Seen {
    /// Gives what the target does not seem to have yet: by numbers alone, and with bytes that messages have on average.
    fn left(&self) -> (u64, u64) {
        let left = |folder: &FolderCheck| folder.messages.saturating_sub(folder.target_messages);
        let messages = self.folders.iter().map(left).sum::<u64>();
        (messages, messages.saturating_mul(MESSAGE_BYTES))
    }
}

impl AccountPlan {
    /// Gives messages and bytes to be copied; None where not all folders could be looked at.
    fn left_to_copy(&self) -> Option<(u64, u64)> {
        let sum = |number: fn(&FolderForecast) -> u64| self.folders.iter().map(number).sum();
        self.failures.is_empty().then(|| (sum(|folder| folder.to_copy), sum(|folder| folder.bytes)))
    }
}

impl AccountCheck {
    /// Says whether a run can begin.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    /// Says how a run would end for this account before it began.
    #[must_use]
    pub fn ending(&self) -> Ending {
        if self.is_good() { Ending::Complete } else { Ending::Failed }
    }
}
