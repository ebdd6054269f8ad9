//! What an account's state says while it runs: that it does, or since when it waits for a host that is down.
//!
//! Each side tells of its own host; the state is made of both. An account that is only looked at has no state of ours.

use super::event::{Event, Events};
use crate::checkpoint::{AccountId, AccountState, Ledger};
use crate::failure::Failure;
use crate::mail::Side;
use crate::pace::Outage;
use std::sync::OnceLock;
use std::time::SystemTime;
use tokio::sync::Mutex;

/// Shared by both sides of an account.
pub(super) struct Standing {
    account: String,
    id: AccountId,
    ledger: Ledger,
    events: Events,
    /// Since when the account runs; None: its state is not ours to write.
    running: OnceLock<SystemTime>,
    /// Sides whose hosts are down, as they were told of. Held while the state is written: it follows what was told last.
    down: Mutex<Vec<(Side, Outage)>>,
}

impl Standing {
    pub(super) fn new(account: &str, id: AccountId, ledger: &Ledger, events: &Events) -> Self {
        Self {
            account: account.to_owned(),
            id,
            ledger: ledger.clone(),
            events: events.clone(),
            running: OnceLock::new(),
            down: Mutex::default(),
        }
    }

    /// From now on the account's state says so where it waits for a host.
    pub(super) fn runs(&self, since: SystemTime) {
        let _ = self.running.set(since);
    }

    /// Tells once that the host of a side is down.
    pub(super) async fn is_down(&self, side: Side, outage: &Outage) -> Result<(), Failure> {
        let mut down = self.down.lock().await;
        if down.iter().any(|(known, _)| *known == side) {
            return Ok(());
        }
        down.push((side, outage.clone()));
        let (account, why) = (self.account.clone(), outage.failure.text.clone());
        self.events.send(Event::Unreachable { account, side, since: outage.since, why }).await;
        self.write(&down).await
    }

    /// Tells that it is up again, where it was told to be down.
    pub(super) async fn is_up(&self, side: Side) -> Result<(), Failure> {
        let mut down = self.down.lock().await;
        let Some(at) = down.iter().position(|(known, _)| *known == side) else { return Ok(()) };
        down.remove(at);
        self.events.send(Event::Reachable { account: self.account.clone(), side }).await;
        self.write(&down).await
    }

    async fn write(&self, down: &[(Side, Outage)]) -> Result<(), Failure> {
        let Some(since) = self.running.get().copied() else { return Ok(()) };
        let state = match down.first() {
            None => AccountState::Running { since },
            Some((side, outage)) => {
                let why = outage.failure.text.clone();
                AccountState::Waiting { since, side: *side, outage: outage.since, why }
            }
        };
        Ok(self.ledger.set_account_state(self.id, state).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{AccountKey, JobReference};
    use crate::failure::Kind;

    #[tokio::test]
    async fn an_account_waits_until_both_hosts_are_up() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        let reference = JobReference {
            name: "j".into(),
            path: "j".into(),
            digest: crate::mail::Digest([0; 32]),
            account_name: "a".into(),
        };
        let id = ledger.account(&AccountKey::new("s", 1, "u", "t", 1, "u"), reference).await.unwrap();
        // Whom nobody runs is told to be interrupted.
        let _lock = ledger.lock(id).await.unwrap();
        let (events, mut told) = Events::channel();
        let standing = Standing::new("a", id, &ledger, &events);
        standing.runs(SystemTime::now());
        let outage = |side| {
            let failure = Failure::new(side, Kind::Unreachable, format!("reach the {side}"));
            Outage { since: SystemTime::now(), failure }
        };
        let state = async || {
            ledger.flush().await.unwrap();
            ledger.accounts().await.unwrap()[0].state.clone()
        };
        let waits = |state: &AccountState| match state {
            AccountState::Waiting { side, .. } => Some(*side),
            _ => None,
        };
        for (side, is_down, expected) in [
            (Side::Source, true, Some(Side::Source)),
            (Side::Target, true, Some(Side::Source)),
            (Side::Target, true, Some(Side::Source)),
            (Side::Source, false, Some(Side::Target)),
            (Side::Source, false, Some(Side::Target)),
            (Side::Target, false, None),
        ] {
            match is_down {
                true => standing.is_down(side, &outage(side)).await.unwrap(),
                false => standing.is_up(side).await.unwrap(),
            }
            assert_eq!(waits(&state().await), expected, "{side} {is_down}");
        }
        assert!(matches!(state().await, AccountState::Running { .. }));
        let mut count = 0;
        while told.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 4, "each once");
        ledger.close().await.unwrap();
    }
}
