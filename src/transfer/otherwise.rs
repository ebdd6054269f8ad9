//! Messages that did not go through with the others: fetched again alone, sent alone, sent without what a target may not
//! take; what remains is listed with the server's words.

use super::bytes::digests;
use super::copy::{self, Task};
use super::folder::Pass;
use super::open::{on_source, on_target};
use super::pool::Lease;
use crate::checkpoint::Ending;
use crate::failure::{Failure, Kind};
use crate::imap::{Refusal, Source, Target};
use crate::mail::{Side, Uid};
use crate::plan::{self, Attempt};
use crate::provider::Status;
use crate::rows::Rows;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often a message is asked for alone that its source may give in a while, before it is listed: some of Yahoo's stay broken
/// for days.
const ALONE_MAX: u32 = 4;
/// And how long after the first time again; doubles.
const LATER_MIN: Duration = Duration::from_secs(10);

/// A message that the target refused for itself.
pub(super) struct Refused {
    refusal: Refusal,
    subject: copy::Subject,
    /// Attempts that were made since.
    made: usize,
}

impl Refused {
    pub(super) fn first((refusal, subject): (Refusal, copy::Subject)) -> Self {
        Self { refusal, subject, made: 0 }
    }
}

fn alone(uid: Uid) -> Rows<Uid> {
    Rows::from_iter([uid])
}

/// Says whether a source, whose connection goes on, calls itself unavailable.
fn puts_off(failure: &Failure, goes_on: bool) -> bool {
    goes_on && failure.side == Some(Side::Source) && failure.kind == Kind::Unavailable
}

impl Pass<'_> {
    /// Fetches one message alone that did not come in company.
    pub(super) async fn read_again(
        &mut self,
        task: &Task<'_>,
        uid: Uid,
        source: Option<Lease<Source>>,
        target: &mut Lease<Target>,
    ) -> Result<Option<Lease<Source>>, Failure> {
        let mut source = self.source_again(task.source_validity, source).await?;
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
        let dress = self.memory.dress(false, Attempt::default());
        let (source, mut copied) = Box::pin(copy::copy(task, &alone(uid), dress, source, target)).await;
        self.memory.short |= copied.short;
        if let Some(failure) = copied.failure.take() {
            let Some(mut lease) = source.filter(|_| puts_off(&failure, true)) else { return Err(failure) };
            self.memory.put_off.entry(uid).or_default();
            if !self.reads_another(task, &mut lease).await? {
                return Err(failure);
            }
            self.ask_later(task, uid, failure).await?;
            return Ok(Some(lease));
        }
        if let Some((uid, refusal)) = copied.unread.pop_first() {
            let words = refusal.as_ref().map_or_else(|| "the source gives no body for it".to_owned(), Refusal::text);
            let wait = refusal.and_then(|refusal| refusal.verdict().wait);
            let failure = Failure::new(Side::Source, Kind::MessageUnreadable, words).with_wait(wait, false);
            if wait.is_some() {
                self.ask_later(task, uid, failure).await?;
            } else {
                self.memory.put_off.remove(&uid);
                let unreadable = (uid, Ending::Unreadable, failure.kind, failure.text, copy::Subject::default());
                copy::settle_failed(task, vec![unreadable]).await?;
            }
        }
        match copied.refused.pop_first() {
            Some((uid, refused)) => {
                Box::pin(self.try_otherwise(task, uid, Refused::first(refused), source, target)).await
            }
            None => Ok(source),
        }
    }

    /// A source that calls itself unavailable is given time. Asked for messages one by one, it shows at which it does.
    pub(super) fn hold_up(&mut self, failure: &Failure, goes_on: bool, alone: Option<Uid>) {
        if !puts_off(failure, goes_on) {
            return;
        }
        match alone {
            Some(uid) => {
                self.memory.put_off.entry(uid).or_default();
                self.memory.held_up = 0;
            }
            None => self.memory.held_up += 1,
        }
    }

    /// Notes that a message was asked for alone in vain. It is asked for again after a while, some times; then it is listed.
    async fn ask_later(&mut self, task: &Task<'_>, uid: Uid, failure: Failure) -> Result<(), Failure> {
        let times = self.memory.put_off.entry(uid).or_default();
        *times += 1;
        let wait = failure.wait.unwrap_or_default().max(LATER_MIN);
        let is_patient = self.account.patience.outage.is_none_or(|outage| outage >= wait * (1 << ALONE_MAX));
        if *times < ALONE_MAX && is_patient {
            let failure = Failure { kind: Kind::Unavailable, ..failure }.with_wait(Some(wait), false);
            self.memory.later.get_or_insert(failure);
            return Ok(());
        }
        self.memory.put_off.remove(&uid);
        let unreadable = (uid, Ending::Unreadable, Kind::MessageUnreadable, failure.text, copy::Subject::default());
        copy::settle_failed(task, vec![unreadable]).await
    }

    /// Says whether the source gives another message in this moment: then it is not the source that is unavailable. Where
    /// there is no other, nothing tells.
    async fn reads_another(&self, task: &Task<'_>, source: &mut Lease<Source>) -> Result<bool, Failure> {
        /// The smallest, since one of them may be broken too.
        const OTHERS_MAX: usize = 3;
        let listed = task.listing.iter().filter(|entry| !self.memory.put_off.contains_key(&entry.uid));
        let mut others = BTreeSet::new();
        for entry in listed {
            others.insert((entry.size.unwrap_or(u64::MAX), entry.uid));
            if others.len() > OTHERS_MAX {
                others.pop_last();
            }
        }
        let (account, is_alone) = (self.account, others.is_empty());
        for (_, other) in others {
            let brake = &account.source.brake;
            match digests(account, &mut source.session, brake, &[other], task.listing).await {
                Ok(found) if found.is_empty() => {}
                Ok(_) => return Ok(true),
                Err(failure) if failure.kind == Kind::Unavailable && source.session.is_usable() => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(is_alone)
    }

    /// Sends one refused message alone: as it is, then without what a target may not take; then lists it.
    pub(super) async fn try_otherwise(
        &mut self,
        task: &Task<'_>,
        uid: Uid,
        refused: Refused,
        mut source: Option<Lease<Source>>,
        target: &mut Lease<Target>,
    ) -> Result<Option<Lease<Source>>, Failure> {
        let Refused { mut refusal, mut subject, mut made } = refused;
        let too_big = task.append_limit.is_some_and(|limit| subject.size > limit);
        let attempts = if too_big { Vec::new() } else { self.attempts(task, uid, &refusal) };
        for attempt in attempts.into_iter().skip(made) {
            // Some servers answer and hang up: then it is not the next attempt that breaks the connection.
            if let Err(error) = target.session.noop().await
                && !error.is_refusal()
            {
                self.memory.refused.insert(uid, Refused { refusal, subject, made });
                return Err(on_target(error));
            }
            made += 1;
            let lease = self.source_again(task.source_validity, source.take()).await?;
            let dress = self.memory.dress(true, attempt.clone());
            let (lease, mut copied) = Box::pin(copy::copy(task, &alone(uid), dress, lease, target)).await;
            source = lease;
            self.memory.short |= copied.short;
            self.strike(true, &copied);
            if let Some(failure) = copied.failure.take() {
                // Some servers answer and hang up: the next attempt is made by the next pass.
                if let Some((refusal, subject)) = copied.refused.remove(&uid) {
                    self.memory.refused.insert(uid, Refused { refusal, subject, made });
                }
                return Err(failure);
            }
            match copied.refused.pop_first() {
                Some((_, again)) => (refusal, subject) = again,
                None if copied.acknowledged > 0 => {
                    self.advanced = true;
                    let (shown, words) = (&mut self.memory.shown, refusal.text());
                    if attempt.without_date {
                        shown.undated.insert(uid, words.clone());
                    }
                    if !attempt.without.is_empty() {
                        shown.keeping.suspect(&attempt.without, words);
                    }
                    return Ok(source);
                }
                None => return Ok(source),
            }
        }
        let refused = (uid, Ending::Refused, refusal.verdict().kind, refusal.text(), subject);
        copy::settle_failed(task, vec![refused]).await?;
        Ok(source)
    }
    fn attempts(&self, task: &Task<'_>, uid: Uid, refusal: &Refusal) -> Vec<Attempt> {
        let Some(entry) = task.listing.get(uid) else { return vec![Attempt::default()] };
        let keeping = &self.memory.shown.keeping;
        let flags = keeping.storable(&keeping.unsuspected(&self.account.carried(entry.flags)));
        plan::attempts(&flags, entry.date, refusal.status == Status::Bad)
    }
}
