//! Messages that did not go through with the others: fetched again alone, sent alone, sent without what a target may not
//! take; what remains is listed with the server's words.

use super::copy::{self, Copied, Task};
use super::folder::{Pass, on_source, on_target};
use super::pool::Lease;
use crate::checkpoint::Ending;
use crate::failure::{Failure, Kind, Scope};
use crate::imap::{ImapError, Refusal, Source, Target};
use crate::mail::{Side, Uid};
use crate::plan::{self, Attempt};
use crate::provider::Status;

/// How often in one folder a source that calls itself unavailable is waited for before the message is taken for the reason.
const SPARED_MAX: u32 = 3;

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
        let (source, mut copied) = copy::copy(task, &[uid], dress, source, target).await;
        self.memory.short |= copied.short;
        if let Some(failure) = copied.failure.take() {
            return Err(failure);
        }
        self.is_put_off(&copied)?;
        if let Some((uid, refusal)) = copied.unread.pop_first() {
            let words = refusal.map_or_else(|| "the source gives no body for it".to_owned(), |refusal| refusal.text());
            let unreadable = (uid, Ending::Unreadable, Kind::MessageUnreadable, words, copy::Subject::default());
            copy::settle_failed(task, vec![unreadable]).await?;
        }
        match copied.refused.pop_first() {
            Some((uid, refused)) => self.try_otherwise(task, uid, Refused::first(refused), source, target).await,
            None => Ok(source),
        }
    }

    /// Says whether the source has refused no message but put us off. One that calls itself unavailable again and again may mean
    /// a message all the same.
    pub(super) fn is_put_off(&mut self, copied: &Copied) -> Result<(), Failure> {
        for refusal in copied.unread.values().flatten() {
            let failure = ImapError::refused("fetch messages".to_owned(), refusal.clone()).failure(Side::Source);
            let is_put_off = match failure.kind {
                Kind::Unavailable => {
                    self.memory.spared += 1;
                    self.memory.spared <= SPARED_MAX
                }
                _ => failure.scope() > Scope::Folder,
            };
            if is_put_off {
                return Err(failure);
            }
        }
        Ok(())
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
            let (lease, mut copied) = copy::copy(task, &[uid], dress, lease, target).await;
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
