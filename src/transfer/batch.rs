//! All that is to be copied in one pass: in one stream while that goes well, in smaller ones around what breaks it.

use super::copy::{self, Copied, Dress, Task};
use super::folder::Pass;
use super::memory::Memory;
use super::open::{lasts, on_source, on_target};
use super::otherwise::Refused;
use super::pool::Lease;
use super::stable;
use crate::checkpoint::Ending;
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{APART, Refusal, Source, Target};
use crate::mail::{Side, Uid, UidValidity};
use crate::plan::{Attempt, Order};
use crate::rows::Rows;
use std::collections::VecDeque;

/// How often the connection may break over one message sent alone before it counts as refused.
const STRIKES_MAX: u32 = 2;
/// How many passes in a row a source may put off before its messages are asked for one by one.
const HELD_UP_MAX: u32 = 2;
/// Messages in a row that are blamed for what a target says of their folder.
const BLAMED_MAX: u32 = 3;
/// Messages that can be under way together, from the source's first answer to the target's: among them is the one that
/// breaks a connection.
const SUSPECTS_MAX: usize = 512;

/// Messages to be copied, in their order.
#[derive(Default)]
struct Sorted {
    /// The connection breaks over them.
    struck: Vec<Uid>,
    /// Refused when the connection broke: tried before all others.
    refused: Vec<Uid>,
    /// None of the others waits for those.
    late: Vec<Uid>,
    /// Only what can have been under way together is suspect.
    suspects: Rows<Uid>,
    rest: Rows<Uid>,
}

impl Pass<'_> {
    /// Copies, then tries those that were refused once more, each alone and otherwise dressed.
    pub(super) async fn copy_all(
        &mut self,
        task: &Task<'_>,
        uids: &Rows<Uid>,
        source: Lease<Source>,
        target: &mut Lease<Target>,
    ) -> Result<Option<Lease<Source>>, Failure> {
        if uids.is_empty() {
            return Ok(Some(source));
        }
        // A connection that keeps breaking is broken by some message, and who keeps being unavailable may be so for one: alone,
        // it shows itself.
        let careful = self.memory.fruitless >= STRIKES_MAX || self.memory.held_up >= HELD_UP_MAX;
        let Sorted { struck, refused, late, suspects, rest } = self.sorted(uids, careful);
        let careful = careful && struck.is_empty();
        self.settle_struck(task, struck).await?;
        let mut source = Some(source);
        for uid in refused {
            let Some(refused) = self.memory.refused.remove(&uid) else { continue };
            source = Box::pin(self.try_otherwise(task, uid, refused, source, target)).await?;
        }
        let mut copied = Copied::default();
        let parts = [(suspects, careful, 1), (rest, false, self.memory.together)];
        let (mut parts, mut acknowledged) = (VecDeque::from(parts), 0);
        while let Some((uids, careful, together)) = parts.pop_front() {
            if uids.is_empty() {
                continue;
            }
            self.stopped()?;
            let lease = self.source_again(task.source_validity, source.take()).await?;
            let last = parts.is_empty() && late.is_empty();
            let attempt = Attempt::default();
            let lanes = !careful && !self.memory.single && self.account.order != Order::Exact;
            let dress = Dress { careful, together, keeping: &self.memory.shown.keeping, attempt, last, lanes };
            let (lease, part) = Box::pin(copy::copy(task, &uids, dress, lease, target)).await;
            source = lease;
            self.checked = part.checked;
            self.advanced |= part.acknowledged > 0;
            self.memory.short |= part.short;
            self.strike(careful, &part);
            if part.acknowledged > 0 {
                (self.memory.takes, self.memory.blamed, self.done) = (true, 0, true);
                self.memory.held_up = 0;
            }
            if careful && let Some(blamed) = part.blamed {
                self.blame(task, blamed).await?;
            }
            copied.refused.extend(part.refused);
            copied.unread.extend(part.unread);
            acknowledged += part.acknowledged;
            if !part.apart.is_empty() && part.failure.is_none() {
                self.none_is_there(task, acknowledged, target).await?;
            }
            // One of them is refused: the fewer go together, the fewer it takes along.
            parts.push_front((part.apart.into_iter().collect(), false, together / APART));
            if let Some(failure) = part.failure {
                // Who is asked to wait, or gives way, has broken nothing.
                let broke = failure.remedy() == Remedy::Reconnect;
                self.memory.single |= broke;
                self.hold_up(&failure, source.is_some(), part.unfetched);
                if broke && failure.side == Some(Side::Target) {
                    self.memory.together = 1;
                }
                let refused = copied.refused.into_iter();
                self.memory.refused.extend(refused.map(|(uid, refused)| (uid, Refused::first(refused))));
                return Err(failure);
            }
        }
        if !copied.unread.is_empty() || !copied.refused.is_empty() {
            self.checked = None;
        }
        self.stopped()?;
        for uid in std::mem::take(&mut copied.unread).into_keys().chain(late) {
            self.stopped()?;
            source = Box::pin(self.read_again(task, uid, source, target)).await?;
        }
        for (uid, refused) in std::mem::take(&mut copied.refused) {
            source = Box::pin(self.try_otherwise(task, uid, Refused::first(refused), source, target)).await?;
        }
        self.memory.later.take().map_or(Ok(source), Err)
    }

    /// Sorts messages by what earlier passes have learnt of them.
    fn sorted(&self, uids: &Rows<Uid>, careful: bool) -> Sorted {
        let Memory { strikes, refused, put_off, .. } = &*self.memory;
        let is_struck = |uid: Uid| strikes.get(&uid).is_some_and(|strikes| strikes.0 >= STRIKES_MAX);
        let mut sorted = Sorted { struck: uids.iter().filter(|uid| is_struck(*uid)).collect(), ..Sorted::default() };
        let careful = careful && sorted.struck.is_empty();
        for uid in uids.iter().filter(|uid| !is_struck(*uid)) {
            if refused.contains_key(&uid) {
                sorted.refused.push(uid);
            } else if put_off.contains_key(&uid) {
                sorted.late.push(uid);
            } else if careful && sorted.suspects.len() < SUSPECTS_MAX {
                sorted.suspects.push(uid);
            } else {
                sorted.rest.push(uid);
            }
        }
        sorted
    }

    /// Messages that were refused together are not there (RFC 3502, 3): some servers may store the first of them all the same.
    /// Then the next pass looks which these are, and from now on each goes alone.
    async fn none_is_there(
        &mut self,
        task: &Task<'_>,
        acknowledged: u64,
        target: &mut Lease<Target>,
    ) -> Result<(), Failure> {
        let state = match target.session.status(task.target_name).await {
            Err(error) if error.is_refusal() => return Ok(()),
            state => state.map_err(on_target)?,
        };
        if u64::from(state.messages) <= u64::from(task.target_messages) + acknowledged {
            return Ok(());
        }
        self.memory.together = 1;
        let text = format!("append to folder \"{}\": it holds more than the target has acknowledged", self.pair.target);
        Err(Failure::new(Side::Target, Kind::Lost, text))
    }

    /// Lists those that break the connection. The culprits are known then: their neighbours go as fast as ever.
    async fn settle_struck(&mut self, task: &Task<'_>, struck: Vec<Uid>) -> Result<(), Failure> {
        if struck.is_empty() {
            return Ok(());
        }
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
        (self.memory.fruitless, self.advanced, self.done) = (0, true, true);
        Ok(())
    }

    /// A folder that takes others and refuses this one alone, whatever it says of itself, refuses the message.
    async fn blame(
        &mut self,
        task: &Task<'_>,
        (uid, refusal, subject): (Uid, Refusal, copy::Subject),
    ) -> Result<(), Failure> {
        let times = self.memory.accused.entry(uid).or_default();
        *times += 1;
        if *times < STRIKES_MAX || !self.memory.takes || self.memory.blamed == BLAMED_MAX {
            return Ok(());
        }
        let refused = (uid, Ending::Refused, Kind::MessageRefused, refusal.text(), subject);
        copy::settle_failed(task, vec![refused]).await?;
        self.memory.blamed += 1;
        (self.memory.fruitless, self.advanced, self.done) = (0, true, true);
        Ok(())
    }

    fn stopped(&self) -> Result<(), Failure> {
        match self.account.stop.is_cancelled() {
            true => Err(Failure::new(None, Kind::Stopped, "go on: asked to stop")),
            false => Ok(()),
        }
    }

    pub(super) fn strike(&mut self, careful: bool, copied: &Copied) {
        // Who is asked to wait has not broken anything.
        let broke = |failure: &&Failure| careful && failure.remedy() == Remedy::Reconnect;
        let Some(failure) = copied.failure.as_ref().filter(broke) else { return };
        let (uid, side) = match failure.side {
            Some(Side::Target) => (copied.unanswered, Side::Target),
            _ => (copied.unfetched, Side::Source),
        };
        if let Some(uid) = uid {
            let strikes = self.memory.strikes.entry(uid).or_insert((0, side));
            *strikes = (strikes.0 + 1, side);
        }
    }

    pub(super) async fn source_again(
        &self,
        validity: UidValidity,
        source: Option<Lease<Source>>,
    ) -> Result<Lease<Source>, Failure> {
        if let Some(source) = source {
            return Ok(source);
        }
        let mut source = self.account.source.take_beside().await?;
        let opened = source.session.examine(&self.pair.source.name).await.map_err(on_source)?;
        match lasts(&opened) && opened.state.uid_validity == Some(validity) {
            true => Ok(source),
            false => Err(stable::numbered_anew(&self.pair.source.path.to_string(), Side::Source)),
        }
    }
}
