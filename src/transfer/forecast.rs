//! When a job will be done, from what is left of each account and the limits it has.

use crate::checkpoint::{AccountState, AccountSummary, FolderSummary, Ledger};
use crate::config::{Account, Job};
use crate::failure::Failure;
use crate::mail::{Fate, Side};
use crate::pace::{self, DayAllowance, HostLane, Lane, Limits, Load, Outlook, WallClock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes that a message is taken to have where nobody has said: the mean of ordinary mailboxes, attachments included.
pub const MESSAGE_BYTES: u64 = 75_000;
/// Messages and bytes a second that a connection is taken to move where no limit says less.
pub const CONNECTION_SPEED: (f64, f64) = (pace::CONNECTION_MESSAGES, pace::CONNECTION_BYTES);

/// What is to be expected of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Messages left to copy.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it will be done, if it begins now; None: not within ten years.
    #[serde(serialize_with = "as_text")]
    pub done: Option<SystemTime>,
    /// How many seconds that is from now.
    pub seconds: Option<u64>,
    /// Folders that nobody has looked at yet: what is in them comes on top.
    pub folders_unknown: u64,
}

fn as_text<S: serde::Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&humantime::format_rfc3339_seconds(*time)),
        None => serializer.serialize_none(),
    }
}

/// Gives what is to be expected of the accounts of a job, by the ledger alone; None: it is done, or nothing is known of it.
/// `known`: what the ledger knows of accounts.
///
/// # Errors
/// The ledger cannot be read.
pub async fn expected(
    job: Arc<Job>,
    ledger: &Ledger,
    known: &[AccountSummary],
) -> Result<Vec<Option<Expected>>, Failure> {
    let (mut left, mut unknown) = (Vec::new(), Vec::new());
    for account in &job.accounts {
        let key = super::key(account);
        let open = |one: &&AccountSummary| one.key == key && one.state != AccountState::New && !is_done(&one.state);
        let folders = match known.iter().find(open) {
            Some(one) => ledger.folders(one.id).await?,
            None => Vec::new(),
        };
        left.push((!folders.is_empty()).then(|| left_of(&folders)));
        unknown.push(folders.iter().filter(|folder| folder.listed.is_none()).count() as u64);
    }
    let ahead = Ahead { job, ledger: ledger.clone(), clock: WallClock::default() };
    let mut expected = ahead.expected(&left).await?;
    for (expected, unknown) in expected.iter_mut().zip(unknown) {
        if let Some(expected) = expected {
            expected.folders_unknown = unknown;
        }
    }
    Ok(expected)
}

fn is_done(state: &AccountState) -> bool {
    matches!(state, AccountState::Complete { .. } | AccountState::Exceptions { .. })
}

/// Gives messages and bytes that were listed in folders and have come to no end.
fn left_of(folders: &[FolderSummary]) -> (u64, u64) {
    let ended = |folder: &FolderSummary| {
        let fates = folder.totals.fates.iter().filter(|(fate, _)| **fate != Fate::Gone);
        fates.fold((0, 0), |sum: (u64, u64), (_, count)| (sum.0 + count.messages, sum.1 + count.bytes))
    };
    let all = folders.iter().map(ended).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let mean = all.1.checked_div(all.0).filter(|mean| *mean > 0).unwrap_or(MESSAGE_BYTES);
    let left = folders.iter().filter_map(|folder| {
        let ((messages, bytes), ended) = (folder.listed?, ended(folder));
        let messages = messages.saturating_sub(ended.0);
        let bytes = bytes.map_or(messages.saturating_mul(mean), |bytes| bytes.saturating_sub(ended.1));
        Some((messages, if messages > 0 { bytes } else { 0 }))
    });
    left.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1.saturating_add(one.1)))
}

/// All that a forecast stands on, but for what is left.
pub(super) struct Ahead {
    job: Arc<Job>,
    ledger: Ledger,
    clock: WallClock,
}

impl Ahead {
    pub(super) fn of(context: &super::Context) -> Self {
        let (job, ledger) = (Arc::clone(&context.job), context.ledger.clone());
        Self { job, ledger, clock: context.shared.pacers.clock() }
    }

    /// Gives what is to be expected of each account of the job; `left`: messages and bytes, None where that is not known.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(super) async fn expected(&self, left: &[Option<(u64, u64)>]) -> Result<Vec<Option<Expected>>, Failure> {
        let now = self.clock.now();
        let known = || self.job.accounts.iter().zip(left).filter_map(|(account, left)| Some((account, (*left)?)));
        let (mut loads, mut hosts) = (Vec::new(), BTreeMap::new());
        for (account, (messages, bytes)) in known() {
            let source = self.lane(account, Side::Source, now, &mut hosts).await?;
            let target = self.lane(account, Side::Target, now, &mut hosts).await?;
            loads.push(Load { messages, bytes, lanes: [source, target] });
        }
        let done = pace::forecast(&Outlook { now, at_once: self.job.options.accounts, loads, hosts });
        let mut expected = known().zip(done).map(|((_, (messages, bytes)), done)| {
            let seconds = done.map(|done| done.duration_since(now).unwrap_or_default().as_secs());
            Expected { messages, bytes, done, seconds, folders_unknown: 0 }
        });
        Ok(left.iter().map(|left| left.and_then(|_| expected.next())).collect())
    }

    async fn lane(
        &self,
        account: &Account,
        side: Side,
        now: SystemTime,
        hosts: &mut BTreeMap<String, HostLane>,
    ) -> Result<Lane, Failure> {
        let key = super::key(account);
        let (mailbox, limits, name, user): (_, &Limits, _, _) = match side {
            Side::Source => (&account.source, &self.job.source_limits, key.source_host(), key.source_user()),
            Side::Target => (&account.target, &self.job.target_limits, key.target_host(), key.target_user()),
        };
        let host = format!("{side} {}:{}", mailbox.endpoint.host, mailbox.endpoint.port);
        if !hosts.contains_key(&host) {
            let day = self.day(mailbox.host_bytes_per_day, (side, name, None), now).await?;
            let lane = HostLane { rates: self.job.host_rates.clone(), connections: self.job.host_connections, day };
            hosts.insert(host.clone(), lane);
        }
        let day = self.day(mailbox.bytes_per_day, (side, name, Some(user)), now).await?;
        Ok(Lane { rates: limits.rates.clone(), connections: limits.connections, day, host })
    }

    async fn day(
        &self,
        allowance: Option<DayAllowance>,
        (side, host, user): (Side, &str, Option<&str>),
        now: SystemTime,
    ) -> Result<Option<(DayAllowance, u64)>, Failure> {
        let Some(allowance) = allowance else { return Ok(None) };
        let owner = super::allowance::owner(side, host, user);
        Ok(Some((allowance, self.ledger.spent(&owner, allowance.whole_day(now)).await?)))
    }
}
