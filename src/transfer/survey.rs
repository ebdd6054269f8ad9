//! What both sides look like before anything is done: signed in at once, listed in one turn each, mapped.
//!
//! Invariant: who has a place at the target has one at the source, or waits for none.

use super::account::Account;
use super::names;
use super::pool::{Lease, delay, insist};
use crate::checkpoint::{AccountSummary, FolderSummary, Totals, same_user};
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{End, ImapError, Namespace, Session, Source, Target};
use crate::mail::{Fate, Folder, FolderPath, Side, WireName};
use crate::pace::Backoff;
use crate::plan::{self, FolderMap, FolderPair, TargetShape};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// What both sides look like, before anything is done.
pub(super) struct Survey {
    /// With the states of both folders of a pair, where they may be as they were left.
    pub(super) map: FolderMap,
    pub(super) source_folders: Vec<Folder>,
    pub(super) target_namespace: Namespace,
    /// What the ledger knew of each place by then, by source and target name.
    known: BTreeMap<(WireName, WireName), FolderSummary>,
    /// Where source folders go, by path and by name on the target: grows where a name is refused.
    places: Mutex<Vec<(FolderPath, WireName)>>,
}

impl Survey {
    /// Gives where source folders go.
    pub(super) fn places(&self) -> Vec<(FolderPath, WireName)> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a folder goes elsewhere, for those that ask whose place is whose.
    pub(super) fn moved(&self, pair: &FolderPair) {
        let place = (pair.target.clone(), self.target_namespace.wire_name(&pair.target));
        self.places.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// Gives what the ledger knew of a pair when the run began; None: it had no such place.
    pub(super) fn known(&self, pair: &FolderPair) -> Option<&FolderSummary> {
        let target = names::target_name(pair, &self.target_namespace);
        let known = self.known.get(&(folded(&pair.source.name), folded(&target)))?;
        (known.path == pair.source.path).then_some(known)
    }
}

/// The inbox has no case.
fn folded(name: &WireName) -> WireName {
    if name.is_inbox() { WireName::new(*b"INBOX") } else { name.clone() }
}

/// One side: an open session, and the folders it has listed.
type Listed<E> = (Lease<E>, Vec<Folder>);

/// Waits until the source is open; false: it has lost its place at the host before.
async fn is_open(source_opens: &mut watch::Receiver<bool>) -> bool {
    source_opens.wait_for(|opens| !*opens).await.is_err()
}

async fn list<E: End>(mut lease: Lease<E>) -> Result<Listed<E>, Failure> {
    let folders = lease.session.folders().await.map_err(|error| error.failure(E::SIDE))?;
    Ok((lease, folders))
}

impl Account {
    /// As [`Self::survey`], however often a server asks to wait or the connection breaks, as long as patience lasts.
    pub(super) async fn survey_patiently(&self, rules: &plan::FolderRules) -> Result<Survey, Failure> {
        let (mut trouble, mut backoff, mut doubts, mut faults) = (None, Backoff::default(), 0, 0);
        loop {
            let began = Instant::now();
            let failure = match Box::pin(self.survey(rules)).await {
                Ok(survey) => return Ok(survey),
                Err(failure) => insist(self.doubt(failure, &mut doubts), &mut faults),
            };
            // What was waited within the attempt counts.
            let since = self.lasts(*trouble.get_or_insert(began));
            let reached = match failure.side {
                Some(Side::Target) => self.target.has_been_reached(),
                _ => self.source.has_been_reached(),
            };
            let again = matches!(failure.remedy(), Remedy::Later | Remedy::FewerConnections | Remedy::Reconnect)
                || failure.kind == Kind::FolderUnreadable;
            let delay = delay(&failure, self.patience, since, reached, &mut backoff).filter(|_| again);
            let Some(delay) = delay.filter(|_| !self.stop.is_cancelled()) else { return Err(failure) };
            self.wait(delay, &failure).await?;
        }
    }

    /// Signs in on both sides and decides where everything goes.
    pub(super) async fn survey(&self, rules: &plan::FolderRules) -> Result<Survey, Failure> {
        let mine = async { Ok(self.ledger.folders(self.id).await?) };
        let (mine, (source, source_folders), (mut target, target_folders)) = self.look_at_both(mine).await?;
        let on_target = |error: ImapError| error.failure(Side::Target);
        let target_namespace = target.session.namespace().await.map_err(on_target)?;
        let learned = names::learn(&mut target.session, &target_namespace, &source_folders, &target_folders);
        let (name_rules, told) = learned.await?;
        let shape = TargetShape {
            separator: target_namespace.separator,
            below_inbox: target_namespace.is_below_inbox(),
            names: name_rules,
        };
        let before = self.placed(&mine).await?;
        let before = before
            .into_iter()
            .filter(|folder| {
                let there = target_folders.iter().any(|known| known.name == folder.target);
                // A place that was refused is none.
                there || folder.totals.of(Fate::Refused).messages == 0 || has_landed(&folder.totals)
            })
            .map(|folder| (folder.source, target_namespace.path(&folder.target)))
            .collect();
        let mut map = plan::folders(&source_folders, &target_folders, shape, rules, &before);
        map.warnings.splice(0..0, told);
        let places = Mutex::new(names::places(&map.pairs, &target_namespace));
        let known = mine.into_iter().map(|folder| ((folder.source.clone(), folder.target.clone()), folder)).collect();
        let mut survey = Survey { map, source_folders, target_namespace, known, places };
        let (source, target) = self.ask_states(&mut survey, source, target).await?;
        self.source.keep(source);
        self.target.keep(target);
        Ok(survey)
    }

    /// Opens and lists both sides side by side, with something else that takes its time. The target is begun as soon as the
    /// source has its place at the host, and given up again where the source loses that: nobody waits in a circle. From then
    /// on it is left alone until the source is open.
    async fn look_at_both<T>(
        &self,
        beside: impl Future<Output = Result<T, Failure>>,
    ) -> Result<(T, Listed<Source>, Listed<Target>), Failure> {
        let opens = watch::Sender::new(false);
        let told = opens.subscribe();
        let source = async { list(self.source.take_telling(opens).await?).await };
        let target = self.at_target(told, || Box::pin(async { list(self.target.take().await?).await }));
        tokio::try_join!(beside, source, target)
    }

    /// Takes a session of the target, and does something with it, while the source opens one.
    pub(super) async fn at_target<'a, T>(
        &'a self,
        mut source_opens: watch::Receiver<bool>,
        act: impl Fn() -> BoxFuture<'a, Result<(Lease<Target>, T), Failure>>,
    ) -> Result<(Lease<Target>, T), Failure> {
        // An error of the channel: the source is open.
        if source_opens.wait_for(|opens| *opens).await.is_ok() {
            let mut acting = act();
            let done = tokio::select! {
                biased;
                is_open = is_open(&mut source_opens) => match is_open {
                    true => return acting.await,
                    false => None,
                },
                done = &mut acting => Some(done),
            };
            // What the target says is told when the source has had its turn: where both are down, that is one story.
            let in_time = done.is_some() && is_open(&mut source_opens).await;
            match done {
                Some(done) if in_time => return done,
                Some(Ok((lease, _))) => self.target.keep(lease),
                Some(Err(_)) | None => {}
            }
        }
        // However often the source is tried: the target is not asked for nothing twice.
        while source_opens.changed().await.is_ok() {}
        act().await
    }

    /// Asks for the states that LIST has not told, of folders that were left clean: all in one go, on both sides at once.
    async fn ask_states(
        &self,
        survey: &mut Survey,
        mut source: Lease<Source>,
        mut target: Lease<Target>,
    ) -> Result<(Lease<Source>, Lease<Target>), Failure> {
        let clean = |pair: &FolderPair| survey.known(pair).is_some_and(|known| known.remembered.is_some());
        let asked: Vec<bool> = survey.map.pairs.iter().map(clean).collect();
        let clean = survey.map.pairs.iter_mut().zip(asked).filter(|(_, asked)| *asked).map(|(pair, _)| pair);
        let (mut at_source, mut at_target) = (Vec::new(), Vec::new());
        for pair in clean {
            at_source.extend(Some(&mut pair.source).filter(|folder| folder.state.is_none()));
            at_target.extend(pair.existing.as_mut().filter(|folder| folder.state.is_none()));
        }
        tokio::try_join!(tell_states(&mut source.session, at_source), tell_states(&mut target.session, at_target))?;
        Ok((source, target))
    }

    /// Gives the folders that have their place. Where none has, those of the same mailbox under another name of its host: what
    /// the target calls its roles may come from them.
    async fn placed(&self, mine: &[FolderSummary]) -> Result<Vec<FolderSummary>, Failure> {
        if !mine.is_empty() {
            return Ok(mine.to_vec());
        }
        let (host, user) = (self.key.target_host(), self.key.target_user());
        let others = self.ledger.others_into(host, user, self.id).await?;
        let same = |other: &&AccountSummary| same_user(other.key.source_user(), self.key.source_user());
        match others.iter().rev().find(same) {
            Some(other) => Ok(self.ledger.folders(other.id).await?),
            None => Ok(Vec::new()),
        }
    }
}

/// Notes the state of each folder; none of one that does not tell it, which is looked at by opening it.
async fn tell_states<E: End>(session: &mut Session<E>, mut folders: Vec<&mut Folder>) -> Result<(), Failure> {
    if folders.is_empty() {
        return Ok(());
    }
    let names: Vec<WireName> = folders.iter().map(|folder| folder.name.clone()).collect();
    let states = match session.states(&names.iter().collect::<Vec<_>>()).await {
        Ok(states) => states,
        Err(ImapError::Protocol { .. }) if session.is_usable() => return Ok(()),
        Err(error) => return Err(error.failure(E::SIDE)),
    };
    for (folder, state) in folders.iter_mut().zip(states) {
        folder.state = state.ok();
    }
    Ok(())
}

fn has_landed(totals: &Totals) -> bool {
    let landed = [Fate::Copied, Fate::Adopted, Fate::Removed, Fate::Missing];
    totals.intended.messages + landed.iter().map(|fate| totals.of(*fate).messages).sum::<u64>() > 0
}
