//! Messages that did not go through with the others: fetched again alone, sent alone, sent without what a target may not
//! take; what remains is listed with the server's words.

use super::copy::{self, Dress, Task};
use super::folder::{Pass, on_source};
use super::pool::Lease;
use crate::checkpoint::{Ending, LossKind};
use crate::failure::{Failure, Kind};
use crate::imap::{Source, Target};
use crate::mail::Uid;

impl Pass<'_> {
    /// Fetches one message alone that did not come in company.
    pub(super) async fn read_again(
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
    pub(super) async fn try_otherwise(
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
