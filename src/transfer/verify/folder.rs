//! One folder on both sides: copies found, messages judged, numbers added up.

use super::{Asked, FolderVerdict, KEPT_MAX, Level, MessageVerdict};
use crate::checkpoint::{FolderRow, LossKind};
use crate::failure::{Failure, Kind, Remedy};
use crate::imap::{End, ImapError, Opened, Source, Target};
use crate::mail::{
    Digest, Entry, Evidence, Fate, Flags, Listing, Record, Side, Stage, Uid, UidValidity, Uids, WireName,
};
use crate::pace::Backoff;
use crate::plan::{self, Absence, Flaw, FolderPair, Joining, Likely, Listed, Match, Place};
use crate::rows::{Rows, Sorting};
use crate::transfer::account::{Account, Survey};
use crate::transfer::bytes::digests;
use crate::transfer::namesake;
use crate::transfer::pool::{Lease, Pool, delay};
use crate::transfer::reconcile::join;
use crate::transfer::windows::{WINDOW, Windows};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Messages judged at once.
const JUDGED_AT_ONCE: usize = 1024;
/// Bodies read between two safe points: what a broken connection costs.
const READ_AT_ONCE: usize = 256;
/// How often the same bodies are asked for over connections that break.
const TRIES_MAX: u32 = 3;

fn on_source(error: ImapError) -> Failure {
    error.failure(Side::Source)
}

/// One side of a folder, open and listed.
struct Half<'a, E> {
    pool: &'a Pool<E>,
    /// None: the connection broke.
    lease: Option<Lease<E>>,
    name: WireName,
    opened: Opened,
    listing: Listing,
    /// The sizes it tells are not those of the bytes it gives.
    estimates: bool,
}

impl<'a, E: End> Half<'a, E> {
    async fn open(pool: &'a Pool<E>, name: &WireName) -> Result<Self, Failure> {
        let failed = |error: ImapError| error.failure(E::SIDE);
        let mut lease = pool.take().await?;
        let mut opened = lease.session.examine(name).await.map_err(failed)?;
        let mut listing = lease.session.list(Uid::FIRST, opened.state).await.map_err(failed)?;
        if listing.len() < opened.state.messages as usize {
            // Its user may have taken some away in this moment: how many there are is asked again.
            opened = lease.session.examine(name).await.map_err(failed)?;
            listing = lease.session.list(Uid::FIRST, opened.state).await.map_err(failed)?;
        }
        let estimates = lease.session.family().quirks().size_is_estimate;
        Ok(Self { pool, lease: Some(lease), name: name.clone(), opened, listing, estimates })
    }

    fn validity(&self) -> Option<UidValidity> {
        self.opened.state.uid_validity.filter(|_| !self.opened.uid_not_sticky)
    }

    /// Gives the session, opened anew where it broke.
    async fn session(&mut self) -> Result<Lease<E>, Failure> {
        if let Some(lease) = self.lease.take() {
            return Ok(lease);
        }
        let mut lease = self.pool.take().await?;
        let opened = lease.session.examine(&self.name).await.map_err(|error| error.failure(E::SIDE))?;
        if opened.state.uid_validity != self.opened.state.uid_validity {
            let text = format!("verify folder \"{}\": it was numbered anew meanwhile", self.name);
            return Err(Failure::new(E::SIDE, Kind::Protocol, text).with_hint("run it again"));
        }
        Ok(lease)
    }

    /// Reads bodies for their digests, over as many connections as it takes while some come.
    async fn digests(&mut self, account: &Account, uids: &[Uid]) -> Result<BTreeMap<Uid, Digest>, Failure> {
        let mut tries = 0;
        let (began, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            let mut lease = self.session().await?;
            let failure = match digests(account, &mut lease.session, &self.pool.brake, uids, &self.listing).await {
                Ok(found) => {
                    self.lease = lease.session.is_usable().then_some(lease);
                    return Ok(found.into_iter().collect());
                }
                Err(failure) => failure,
            };
            tries += 1;
            let again = matches!(failure.remedy(), Remedy::Reconnect | Remedy::Later | Remedy::FewerConnections);
            let pause = delay(&failure, account.patience, began.elapsed(), true, &mut backoff);
            let Some(pause) = pause.filter(|_| again && tries < TRIES_MAX) else { return Err(failure) };
            self.pool.wait(pause, &failure).await?;
        }
    }

    fn close(self) {
        if let Some(lease) = self.lease {
            self.pool.keep(lease);
        }
    }
}

/// Both sides of a folder. The target's is not there where it has no such folder.
struct Both<'a> {
    account: &'a Account,
    asked: &'a Asked,
    path: String,
    row: FolderRow,
    source: Half<'a, Source>,
    target: Option<Half<'a, Target>>,
    /// Messages that have a copy, and where that is.
    copies: Rows<(Uid, Uid)>,
    /// Those of them whose copies were found by content and have other bytes.
    altered: Uids,
    /// Target messages that are copies or were.
    claimed: Uids,
    /// Target messages that stand for what is no longer at the source; ascending.
    outlived: Vec<Uid>,
    /// Target messages that stand for messages of other folders or accounts; ascending.
    others: Vec<Uid>,
}

/// Compares one folder. `taken`: target messages that other folders into the same place have; this one's are added.
pub(super) async fn verify(
    account: &Account,
    survey: &Survey,
    pair: &FolderPair,
    asked: &Asked,
    taken: &mut Uids,
) -> Result<FolderVerdict, Failure> {
    let mut verdict = FolderVerdict {
        source: pair.source.path.to_string(),
        target: pair.target.to_string(),
        ..FolderVerdict::default()
    };
    let existing = pair.existing.as_ref().filter(|folder| folder.selectable);
    let target_name = match &pair.existing {
        Some(folder) => folder.name.clone(),
        None => survey.target_namespace.wire_name(&pair.target),
    };
    let row = account.ledger.folder(account.id, &pair.source.name, &target_name, &pair.source.path).await?;
    let source = Half::open(&account.source, &pair.source.name).await?;
    let target = match existing {
        Some(folder) => Some(whole(Half::open(&account.target, &folder.name).await?)?),
        None => None,
    };
    verdict.sums.messages = source.listing.len() as u64;
    // A server that lists more than it says was caught by mail arriving in between.
    verdict.sums.said = u64::from(source.opened.state.messages).max(verdict.sums.messages);
    let mut both = Both {
        account,
        asked,
        path: verdict.source.clone(),
        row,
        source,
        target,
        copies: Rows::default(),
        altered: Uids::default(),
        claimed: Uids::default(),
        outlived: Vec::new(),
        others: Vec::new(),
    };
    if let Some(validity) = both.source.validity() {
        let mut lease = both.source.session().await?;
        namesake::take_over(account, both.row.id, &mut lease, validity, &both.source.listing).await?;
        both.source.lease = lease.session.is_usable().then_some(lease);
    }
    both.pair_by_ledger(taken).await?;
    both.pair_by_content().await?;
    both.judge(&mut verdict).await?;
    both.count_target(&mut verdict, taken);
    both.count_arrivals(&mut verdict).await?;
    match existing {
        None if verdict.sums.messages > 0 && verdict.sums.of(Fate::Refused) == verdict.sums.messages => {
            verdict.notes.push("the target refused the folder".to_owned());
        }
        None if verdict.sums.messages > 0 && verdict.sums.of(Fate::Removed) == verdict.sums.messages => {
            verdict.notes.push("the folder was removed from the target with all that was in it".to_owned());
        }
        None => verdict.object("the folder is not on the target".to_owned()),
        Some(folder) if pair.source.subscribed && !folder.subscribed => {
            verdict.object("the folder is subscribed at the source and not on the target".to_owned());
        }
        Some(_) => {}
    }
    both.source.close();
    if let Some(target) = both.target {
        target.close();
    }
    verdict.close();
    Ok(verdict)
}

/// A target listing that leaves messages out says nothing of what is missing.
fn whole(half: Half<'_, Target>) -> Result<Half<'_, Target>, Failure> {
    let (said, listed) = (half.opened.state.messages as usize, half.listing.len());
    if listed >= said {
        return Ok(half);
    }
    let text = format!("verify folder \"{}\": the server says {said} messages and lists {listed}", half.name);
    Err(Failure::new(Side::Target, Kind::Protocol, text)
        .with_hint("run it again; mail may have been taken away meanwhile"))
}

impl Both<'_> {
    /// Pairs what the ledger knows a place of, where the target shows a message in that place.
    async fn pair_by_ledger(&mut self, taken: &Uids) -> Result<(), Failure> {
        let Some(target) = &self.target else { return Ok(()) };
        if let Some(validity) = target.validity() {
            self.others = self.account.ledger.held_by_others(self.row.id, validity).await?;
        }
        self.others.extend(taken);
        self.others.sort_unstable();
        self.others.dedup();
        self.others.retain(|uid| target.listing.has(*uid));
        let (Some(validity), Some(target_validity)) = (self.source.validity(), target.validity()) else {
            return Ok(());
        };
        let (mut claims, mut copies) = (Sorting::default(), Sorting::default());
        let mut windows = Windows::of(&self.account.ledger, self.row.id, validity);
        while let Some(records) = windows.next().await? {
            for record in &records {
                let Some((epoch, uid)) = record.target else { continue };
                let there = epoch == target_validity && target.listing.has(uid);
                if there && self.others.binary_search(&uid).is_err() {
                    claims.push((uid, record.source_uid));
                }
            }
        }
        for (uid, source_uid) in claims.finish().iter() {
            // Twice in the ledger is once on the target.
            if self.claimed.last() == Some(uid) {
                continue;
            }
            self.claimed.insert(uid);
            match self.source.listing.has(source_uid) {
                true => copies.push((source_uid, uid)),
                false => self.outlived.push(uid),
            }
        }
        self.copies = copies.finish();
        Ok(())
    }

    /// What the ledger does not know is looked for by content.
    async fn pair_by_content(&mut self) -> Result<(), Failure> {
        let Some(target) = &mut self.target else { return Ok(()) };
        let is_free = |uid: &Uid| !self.claimed.has(*uid) && self.others.binary_search(uid).is_err();
        let offered: Uids = target.listing.uids().iter().filter(is_free).collect();
        let entries = offered.iter().filter_map(|uid| target.listing.get(uid)).map(|entry| (entry.size, entry.date));
        let alone = self.source.listing.len() - self.copies.len();
        let likely = Likely::of(entries, offered.len(), alone);
        let mut copies = self.copies.iter().peekable();
        let is_alone = |entry: &Entry<'_>| copies.next_if(|(uid, _)| *uid == entry.uid).is_none();
        let alone = self.source.listing.iter().filter(is_alone);
        let like: Uids = alone.filter(|entry| likely.has(entry)).map(|entry| entry.uid).collect();
        if like.is_empty() || offered.is_empty() {
            return Ok(());
        }
        let (mut source_lease, mut target_lease) = (self.source.session().await?, target.session().await?);
        let source = (&mut source_lease.session, &self.source.listing);
        let sides = (source, (&mut target_lease.session, &target.listing));
        let mut joining = Joining::default();
        join(self.account, sides, (&[], Vec::new()), (like, offered), &[], &mut joining).await?;
        self.source.lease = source_lease.session.is_usable().then_some(source_lease);
        target.lease = target_lease.session.is_usable().then_some(target_lease);
        let found = joining.finish().found;
        let is_altered = |one: &Match| one.evidence == Evidence::BytesAltered;
        self.altered = found.iter().filter(is_altered).map(|one| one.source_uid).collect();
        let copies = self.copies.iter().chain(found.iter().map(|one| (one.source_uid, one.target_uid)));
        self.copies = Sorting::from_iter(copies).finish();
        self.claimed = self.claimed.union(&Sorting::from_iter(found.iter().map(|one| one.target_uid)).into());
        Ok(())
    }

    async fn judge(&mut self, verdict: &mut FolderVerdict) -> Result<(), Failure> {
        let (mut from, all) = (0, self.source.listing.len());
        while from < all {
            let to = (from + JUDGED_AT_ONCE).min(all);
            let known = self.known(from, to).await?;
            let uids = self.source.listing.uids().range(from, to);
            let mut judged: Vec<Judged> = uids.map(|uid| self.judge_one(uid, &known)).collect();
            if self.asked.level == Level::Bytes {
                self.compare_bytes(&mut judged, &known, verdict).await?;
            }
            for one in judged {
                verdict.changed_by_user += u64::from(one.by_user);
                let judged = |record: &Record| record.stage == Stage::Settled(Fate::Removed);
                let since = one.fate == Fate::Removed && !known.records.get(&one.uid).is_some_and(judged);
                verdict.removed_since += u64::from(since);
                let message = self.tell(one, &known);
                verdict.take(&message);
                self.asked.tell(message).await;
            }
            from = to;
        }
        Ok(())
    }

    /// Reads what the ledger knows of a stretch of the listing.
    async fn known(&self, from: usize, to: usize) -> Result<Known, Failure> {
        let (uids, ledger) = (self.source.listing.uids(), &self.account.ledger);
        let mut known = Known::default();
        let ends = uids.get(from).zip(uids.get(to - 1));
        let Some((first, last)) = ends else { return Ok(known) };
        let copies = self.copies.partition_point(|(uid, _)| uid < first);
        let copies = self.copies.range(copies, self.copies.len());
        known.copies = copies.take_while(|(uid, _)| *uid <= last).collect();
        let Some(validity) = self.source.validity() else { return Ok(known) };
        let mut next = Some(first);
        while let Some(first) = next.filter(|first| *first <= last) {
            let records = ledger.records(self.row.id, validity, first, WINDOW).await?;
            next = match records.last() {
                Some(end) if records.len() == WINDOW => Uid::new(end.source_uid.value().saturating_add(1)),
                _ => None,
            };
            let listed = records.into_iter().filter(|record| record.source_uid <= last && uids.has(record.source_uid));
            known.records.extend(listed.map(|record| (record.source_uid, record)));
        }
        known.words = ledger.words(self.row.id, validity, (first, last)).await?;
        for loss in ledger.lost(self.row.id, validity, (first, last)).await? {
            let listed = known.listed.entry(loss.source_uid).or_default();
            match loss.kind {
                LossKind::Bytes => listed.bytes = true,
                LossKind::Date => listed.date = true,
                LossKind::Zone => {}
                LossKind::Keyword | LossKind::SystemFlag => {
                    let named = loss.text.replace([',', '"', '(', ')'], " ");
                    listed.flags = listed.flags.union(&Flags::parse(&named));
                }
            }
        }
        Ok(known)
    }

    fn judge_one(&self, uid: Uid, known: &Known) -> Judged {
        let record = known.records.get(&uid);
        let place = Place { there: self.target.is_some(), validity: self.target.as_ref().and_then(Half::validity) };
        let last_run = self.row.remembered.and_then(|watermark| watermark.source.uid_next);
        let arrived = last_run.is_some_and(|next| uid >= next);
        let copy = known.copies.get(&uid).copied();
        let (fate, absence) = plan::fate(record, copy.is_some(), place, arrived);
        let mut judged = Judged::new(uid, copy, fate, absence);
        let Some(target) = self.target.as_ref().filter(|_| judged.copy.is_some()) else { return judged };
        judged.evidence = Evidence::Counted;
        if self.altered.has(uid) {
            judged.evidence = Evidence::BytesAltered;
            judged.flaws.push(Flaw::Bytes);
        }
        if self.asked.level >= Level::Headers {
            self.compare_metadata(&mut judged, record, target, known);
        }
        judged
    }

    fn compare_metadata(&self, judged: &mut Judged, record: Option<&Record>, target: &Half<'_, Target>, known: &Known) {
        let copy = judged.copy.and_then(|copy| target.listing.get(copy));
        let (Some(mut source), Some(copy)) = (self.source.listing.get(judged.uid), copy) else { return };
        // Where the body was fetched its length is known; what a source tells of it is not always true.
        source.size = record.filter(|record| record.digest.is_some()).map(|record| record.size).or(source.size);
        let estimates = target.estimates || self.source.estimates;
        let proven = |record: &&Record| matches!(record.evidence, Evidence::MetadataEqual | Evidence::BytesEqual);
        let base = record.filter(proven).map(|record| &record.flags);
        let carried = self.account.carried(source.flags);
        let compared = plan::compare(source, &carried, copy, base, known.listed(judged.uid), estimates);
        if compared.flaws.is_empty() && judged.evidence == Evidence::Counted {
            judged.evidence = Evidence::MetadataEqual;
        }
        judged.by_user = !compared.added.is_empty() || !compared.taken.is_empty();
        if !compared.taken.is_empty() {
            judged.how.push(format!("taken away by the target's user: {}", compared.taken));
        }
        if !compared.added.is_empty() {
            judged.how.push(format!("added on the target: {}", compared.added));
        }
        judged.flaws.extend(compared.flaws);
    }

    async fn compare_bytes(
        &mut self,
        judged: &mut [Judged],
        known: &Known,
        verdict: &mut FolderVerdict,
    ) -> Result<(), Failure> {
        let digest = |uid: &Uid| known.records.get(uid).and_then(|record| record.digest);
        let mut chosen: Vec<&mut Judged> = judged
            .iter_mut()
            .filter(|one| one.copy.is_some() && in_sample(one.uid, digest(&one.uid), self.asked.sample))
            .collect();
        for window in chosen.chunks_mut(READ_AT_ONCE) {
            let uids: Vec<Uid> = window.iter().map(|one| one.uid).collect();
            let source = self.source.digests(self.account, &uids).await?;
            let mut copies: Vec<Uid> = window.iter().filter_map(|one| one.copy).collect();
            copies.sort_unstable();
            let Some(target) = &mut self.target else { return Ok(()) };
            let target = target.digests(self.account, &copies).await?;
            for one in window {
                let sent = digest(&one.uid);
                let (now, copy) = (source.get(&one.uid), one.copy.and_then(|copy| target.get(&copy)));
                verdict.bytes_compared += u64::from(now.or(sent.as_ref()).is_some() && copy.is_some());
                one.sha256 = now.copied();
                one.bytes(now, copy, sent);
                if now.is_none() && self.has_left(one.uid).await? {
                    one.gone();
                }
            }
        }
        Ok(())
    }

    /// Says whether a fresh listing of the source no longer has a message.
    async fn has_left(&mut self, uid: Uid) -> Result<bool, Failure> {
        let mut lease = self.source.session().await?;
        let listing = lease.session.listing(uid, uid, 1).await.map_err(on_source)?;
        self.source.lease = Some(lease);
        Ok(listing.is_empty())
    }

    fn tell(&self, judged: Judged, known: &Known) -> MessageVerdict {
        let Judged { uid, copy, fate, evidence, flaws, mut how, absence, sha256, .. } = judged;
        let listed = known.listed(uid);
        let told = flaws.iter().map(|flaw| {
            let known = if listed.explains(flaw) { " (listed by a run)" } else { "" };
            format!("{flaw}{known}")
        });
        how.extend(told.collect::<Vec<_>>());
        how.extend(absence.map(|why| why.to_string()));
        if matches!(fate, Fate::Refused | Fate::Unreadable | Fate::Removed | Fate::Missing)
            && let Some(words) = known.words.get(&uid)
        {
            how.push(words.clone());
        }
        MessageVerdict {
            account: self.account.name.clone(),
            folder: self.path.clone(),
            uid: uid.value(),
            uidvalidity: self.source.opened.state.uid_validity.map(UidValidity::value),
            target_uid: copy.map(Uid::value),
            fate,
            evidence,
            standing: plan::standing(fate, &flaws, listed),
            how,
            sha256: sha256.map(|digest| digest.to_string()),
        }
    }

    /// Counts the target's messages by what they stand for, from its listing.
    fn count_target(&self, verdict: &mut FolderVerdict, taken: &mut Uids) {
        let Some(target) = &self.target else { return };
        let accounted = |uid: &Uid| self.claimed.has(*uid) || self.others.binary_search(uid).is_ok();
        let surplus: Uids = target.listing.uids().iter().filter(|uid| !accounted(uid)).collect();
        let sums = &mut verdict.sums;
        sums.target_messages = target.listing.len() as u64;
        (sums.copies, sums.others) = (self.copies.len() as u64, self.others.len() as u64);
        (sums.outlived, sums.surplus) = (self.outlived.len() as u64, surplus.len() as u64);
        verdict.surplus_uids = surplus.iter().take(KEPT_MAX).map(Uid::value).collect();
        // What left the source in this moment still has its copy.
        let gone = verdict.sums.of(Fate::Gone).min(verdict.sums.copies);
        (verdict.sums.copies, verdict.sums.outlived) = (verdict.sums.copies - gone, verdict.sums.outlived + gone);
        *taken = taken.union(&Sorting::from_iter(self.copies.iter().map(|(_, copy)| copy)).into());
    }

    /// Counts what has arrived at the source since it was opened.
    async fn count_arrivals(&mut self, verdict: &mut FolderVerdict) -> Result<(), Failure> {
        let Some(next) = self.source.opened.state.uid_next else { return Ok(()) };
        let mut lease = self.source.session().await?;
        let now = lease.session.examine(&self.source.name).await.map_err(on_source)?;
        let moved = now.state.uid_next.is_none_or(|now| now > next);
        if moved && now.state.uid_validity == self.source.opened.state.uid_validity {
            let arrived = lease.session.listing(next, Uid::LAST, now.state.messages).await.map_err(on_source)?;
            let new = arrived.uids().iter().filter(|uid| !self.source.listing.has(*uid));
            verdict.arrived = new.count() as u64;
        }
        self.source.lease = Some(lease);
        Ok(())
    }
}

/// What the ledger knows of a stretch of a folder.
#[derive(Default)]
struct Known {
    copies: BTreeMap<Uid, Uid>,
    records: BTreeMap<Uid, Record>,
    words: BTreeMap<Uid, String>,
    listed: BTreeMap<Uid, Listed>,
}

impl Known {
    fn listed(&self, uid: Uid) -> &Listed {
        const NOTHING: &Listed = &Listed { bytes: false, date: false, flags: Flags::NONE };
        self.listed.get(&uid).unwrap_or(NOTHING)
    }
}

/// One source message, on the way to its verdict.
struct Judged {
    uid: Uid,
    copy: Option<Uid>,
    fate: Fate,
    absence: Option<Absence>,
    evidence: Evidence,
    flaws: Vec<Flaw>,
    by_user: bool,
    how: Vec<String>,
    sha256: Option<Digest>,
}

impl Judged {
    fn new(uid: Uid, copy: Option<Uid>, fate: Fate, absence: Option<Absence>) -> Self {
        Self {
            uid,
            copy,
            fate,
            absence,
            evidence: Evidence::None,
            flaws: Vec::new(),
            by_user: false,
            how: Vec::new(),
            sha256: None,
        }
    }

    /// Takes what reading both bodies came to. `sent`: what the source gave when the copy was made.
    fn bytes(&mut self, now: Option<&Digest>, copy: Option<&Digest>, sent: Option<Digest>) {
        self.flaws.retain(|flaw| *flaw != Flaw::Bytes);
        let flaw = match (now, copy) {
            (_, None) => Some(Flaw::NoBody(Side::Target)),
            (Some(now), Some(copy)) if now == copy => None,
            (Some(_), Some(copy)) if sent == Some(*copy) => Some(Flaw::SourceChanged),
            (None, Some(copy)) if sent == Some(*copy) => None,
            (None, Some(_)) if sent.is_none() => Some(Flaw::NoBody(Side::Source)),
            _ => Some(Flaw::Bytes),
        };
        match flaw {
            None | Some(Flaw::SourceChanged) => self.evidence = Evidence::BytesEqual,
            Some(Flaw::Bytes) => self.evidence = Evidence::BytesAltered,
            _ => {}
        }
        if now.is_none() && flaw.is_none() {
            self.how.push("the source gives no body now; the copy has the bytes it gave then".to_owned());
        }
        self.flaws.extend(flaw);
    }

    /// It left the source while it was looked at.
    fn gone(&mut self) {
        (self.fate, self.evidence) = (Fate::Gone, Evidence::None);
        self.flaws.clear();
    }
}

/// Always the same messages for the same bytes: the digest itself is the die.
fn in_sample(uid: Uid, digest: Option<Digest>, sample: f64) -> bool {
    let bytes = digest.unwrap_or_else(|| crate::mail::digest(&uid.value().to_be_bytes())).0;
    let die = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    f64::from(die) < sample * 4_294_967_296.0
}
