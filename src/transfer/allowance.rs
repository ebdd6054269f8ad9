//! A provider's daily allowances, as the ledger keeps them: of one account on one side, and of a host.

use crate::checkpoint::{AllowanceOwner, Ledger};
use crate::failure::{Failure, Kind};
use crate::mail::Side;
use crate::pace::{Book, DayAllowance, Purse, Slice, Unpaid, WallClock};
use futures_util::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

/// One owner's page of the ledger.
struct Page {
    ledger: Ledger,
    owner: AllowanceOwner,
}

impl Book for Page {
    fn lease(&self, slice: Slice) -> BoxFuture<'_, Result<u64, Failure>> {
        let Slice { day, least, wanted, allowance } = slice;
        Box::pin(async move { Ok(self.ledger.lease(&self.owner, day, (least, wanted), allowance).await?) })
    }

    fn give_back(&self, day: i64, bytes: u64) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.ledger.give_back(&self.owner, day, bytes).await?) })
    }
}

/// Everything that must be able to pay before a byte moves; empty where no day has a limit. Clones share it.
#[derive(Clone)]
pub(super) struct Purses {
    side: Side,
    purses: Arc<[Purse]>,
    /// When what was found to be spent last returns.
    until: Arc<Mutex<Option<SystemTime>>>,
}

impl Purses {
    /// Takes an account's own allowance and that of its host.
    pub(super) fn new(
        ledger: &Ledger,
        clock: WallClock,
        side: Side,
        (host, user): (&str, &str),
        (own, shared): (Option<DayAllowance>, Option<DayAllowance>),
    ) -> Self {
        let purse = |allowance: DayAllowance, user: Option<&str>| {
            let owner = owner(side, host, user);
            Purse::new(allowance, clock, Box::new(Page { ledger: ledger.clone(), owner }))
        };
        let own = own.map(|allowance| purse(allowance, Some(user)));
        let until = Arc::default();
        Self { side, until, purses: own.into_iter().chain(shared.map(|allowance| purse(allowance, None))).collect() }
    }

    /// Pays for `bytes`, which may then move.
    ///
    /// # Errors
    /// An allowance is spent, and the failure says until when; or the ledger cannot be written. Nothing is paid then.
    pub(super) async fn spend(&self, bytes: u64) -> Result<(), Failure> {
        for (at, purse) in self.purses.iter().enumerate() {
            let Err(unpaid) = purse.spend(bytes).await else { continue };
            for paid in &self.purses[..at] {
                paid.refund(bytes).await;
            }
            return Err(match unpaid {
                Unpaid::Book(failure) => failure,
                Unpaid::Spent { until, wait } => {
                    *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                    let what = if self.side == Side::Source { "fetch" } else { "send" };
                    let (limit, until) = (said(purse.allowance().bytes), humantime::format_rfc3339_seconds(until));
                    let text = format!("{what} more today: the {limit} of bytes_per_day are spent until {until}");
                    Failure::new(self.side, Kind::AllowanceSpent, text).with_wait(Some(wait), true)
                }
            });
        }
        Ok(())
    }

    /// Takes back what was paid for after `since` and has not moved.
    pub(super) fn put_back(&self, bytes: u64, since: Instant) {
        self.purses.iter().for_each(|purse| purse.put_back(bytes, since));
    }

    /// Gives when what was found to be spent returns.
    pub(super) fn until(&self) -> Option<SystemTime> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the bytes of the largest message that can ever be paid for. None: any can.
    pub(super) fn message_max(&self) -> Option<u64> {
        self.purses.iter().map(|purse| purse.allowance().bytes).min()
    }

    /// Writes down that what is left is there for others.
    pub(super) async fn give_back(&self) {
        for purse in self.purses.iter() {
            if let Err(error) = purse.give_back().await {
                // Whoever else writes to the ledger stops over it; a part of the day is lost, nothing else.
                tracing::debug!(%error, "what is left of a day's allowance was not given back");
            }
        }
    }
}

/// Gives the name in the ledger of who has an allowance: whatever the case in which a job file writes it.
pub(super) fn owner(side: Side, host: &str, user: Option<&str>) -> AllowanceOwner {
    AllowanceOwner { side, host: host.to_lowercase(), user: user.map(str::to_lowercase) }
}

fn said(bytes: u64) -> String {
    match bytes {
        1_000_000.. => format!("{} MB", bytes / 1_000_000),
        _ => format!("{bytes} bytes"),
    }
}
