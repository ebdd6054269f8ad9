//! Finding what is on the target already: after a crash, after a lost answer, after another tool.
//!
//! The planner asks, this fetches, until it has no questions. A message that was sent and cannot be found counts as absent
//! only after a second look at a target that has stopped changing: the kernel may still deliver what a killed process
//! wrote, and the server commit it after the first look.

use super::account::Account;
use super::event::Event;
use super::open::Both;
use super::windows::windows;
use super::{bytes, removed};
use crate::checkpoint::Ending as Fated;
use crate::checkpoint::{FolderId, Landed, Settlement, Surplus, SurplusKind, Suspect, Trouble};
use crate::failure::Failure;
use crate::imap::{End, Session, Source, Target};
use crate::mail::{
    Digest, Entry, Evidence, Fate, Flags, Listing, Record, Side, Stage, Uid, UidValidity, Uids, WireName,
};
use crate::plan::{
    Claim, FlagChanges, FolderPlan, Joined, Joining, Likely, Match, Matching, Need, Offer, Singles, is_another,
};
use crate::rows::Rows;
use std::collections::BTreeSet;

/// Looks at a target that never comes to rest, since mail arrives there all the time or its counts are lies: a minute of them
/// has seen what was still under way.
const LOOKS_MAX: usize = 30;

/// Headers asked for at once: their digests take little, and the turns in between are few.
const HEADERS_AT_ONCE: usize = 2048;

/// Of a message whose APPEND was answered with OK, and that is not there.
pub(super) const NOT_SHOWN: &str = "the target acknowledged it and does not show it";

/// The folder that is reconciled.
pub(super) struct Place<'a> {
    pub(super) folder: FolderId,
    /// For people.
    pub(super) path: &'a str,
    pub(super) target_name: &'a WireName,
}

/// What reconciling came to.
#[derive(Debug, Default)]
pub(super) struct Reconciled {
    /// Not on the target: to be copied.
    pub(super) to_copy: Uids,
    /// Found there and written down.
    pub(super) found: usize,
    /// Some of them had no place before: where the target numbers itself anew all the time, they lose it again.
    pub(super) is_progress: bool,
    /// What adopted messages lack of the source's flags.
    pub(super) flags: FlagChanges,
}

/// Matches what the plan could not place with target messages that no record stands for, and writes down what it finds.
pub(super) async fn reconcile(
    account: &Account,
    place: &Place<'_>,
    both: &mut Both,
    plan: &FolderPlan,
) -> Result<Reconciled, Failure> {
    let mut matched = match_once(account, place.folder, both, plan).await?;
    let mut looks = 1;
    while looks < LOOKS_MAX
        && matched.absent.iter().any(|(_, claim)| *claim == Claim::Intended)
        && target_moved(account, both, place.target_name).await?
    {
        looks += 1;
        matched = match_once(account, place.folder, both, plan).await?;
    }
    clear_arrived(account, place.folder, both, &matched).await?;
    cut_off(account, place, both, plan, &mut matched).await?;
    if let Some(validity) = both.target_opened.state.uid_validity {
        let doubles = matched.doubles.iter().map(|(source_uid, uid)| Surplus {
            target: (validity, *uid),
            source: (both.source_validity, *source_uid),
            kind: SurplusKind::Copy,
        });
        let doubles: Vec<Surplus> = doubles.collect();
        for surplus in &doubles {
            account.tell_surplus(place.path, surplus, false).await;
        }
        account.ledger.note_surplus(place.folder, doubles).await?;
    }
    let recalled = removed::recall(account, place.folder, both, &mut matched).await?;
    account.ledger.removed_before(place.folder, both.source_validity, recalled).await?;
    let missing: Vec<Uid> =
        matched.absent.iter().filter(|(_, claim)| *claim == Claim::Acknowledged).map(|(uid, _)| *uid).collect();
    let reconciled = write_down(account, place.folder, both, plan, matched).await?;
    tell_missing(account, place.path, &missing, &both.source_listing).await;
    Ok(reconciled)
}

/// What was on its way when the source numbered its messages anew is looked for under its new numbers, as new mail is. It
/// may arrive yet: after it was sent once more.
pub(super) async fn suspect_earlier(account: &Account, folder: FolderId, both: &Both) -> Result<(), Failure> {
    let Some(validity) = both.target_opened.state.uid_validity else { return Ok(()) };
    let (ledger, floor) = (&account.ledger, (validity, Uid::FIRST));
    let counts = both.source_lasts.then_some(both.source_validity);
    ledger.give_up_earlier(folder, counts, floor).await?;
    // The same of one whose number is another message's now.
    let open = ledger.intended(folder, both.source_validity).await?;
    let date = |uid: Uid| both.source_listing.get(uid).and_then(|entry| entry.date);
    let other = |record: &&Record| is_another(record.date, date(record.source_uid));
    let other = open.iter().filter(other).map(|record| record.source_uid).collect();
    Ok(ledger.give_up(folder, both.source_validity, floor, other).await?)
}

/// What was sent under other numbers and is found now does not come any more: it has come. One copy is one of them.
async fn clear_arrived(account: &Account, folder: FolderId, both: &mut Both, matched: &Joined) -> Result<(), Failure> {
    let Some(validity) = both.target_opened.state.uid_validity else { return Ok(()) };
    let mut suspects = account.ledger.suspects(folder).await?;
    suspects.retain(|suspect| suspect.source.0 != both.source_validity || !both.source_lasts);
    if suspects.is_empty() {
        return Ok(());
    }
    let known = account.ledger.paired(folder, validity).await?;
    let is_new = |uid: &Uid| known.binary_search(uid).is_err();
    let listing = &both.target_listing;
    let may_be = |suspect: &Suspect, uid: Uid| suspect.floor.0 == validity && suspect.floor.1 <= uid;
    let fits = |uid: &Uid| {
        let size = listing.get(*uid).and_then(|copy| copy.size);
        suspects.iter().any(|suspect| may_be(suspect, *uid) && Some(suspect.size) == size)
    };
    let found = matched.found.iter().filter(|one| one.claim == Claim::New).map(|one| one.target_uid);
    let mut found: Vec<Uid> = found.filter(is_new).filter(fits).collect();
    found.sort_unstable();
    let mut read = bytes::digests(account, &mut both.target.session, &account.target.brake, &found, listing).await?;
    let mut arrived = Vec::new();
    for suspect in suspects {
        let is_it = |(uid, digest): &(Uid, Digest)| *digest == suspect.digest && may_be(&suspect, *uid);
        if let Some(at) = read.iter().position(is_it) {
            read.swap_remove(at);
            arrived.push(suspect.id);
        }
    }
    Ok(account.ledger.clear_suspects(arrived).await?)
}

/// Finds out which messages the target called whole and holds in part: these are sent once more.
async fn cut_off(
    account: &Account,
    place: &Place<'_>,
    both: &mut Both,
    plan: &FolderPlan,
    matched: &mut Joined,
) -> Result<(), Failure> {
    let known = account.ledger.surplus(place.folder).await?;
    let Some(validity) = both.target_opened.state.uid_validity else { return Ok(()) };
    let acknowledged = matched.absent.iter().filter(|(_, claim)| *claim == Claim::Acknowledged);
    let acknowledged: BTreeSet<Uid> = acknowledged.map(|(uid, _)| *uid).collect();
    let absent = |need: &&Need| acknowledged.contains(&need.source_uid());
    let needs: Vec<&Need> = plan
        .needs
        .iter()
        .filter(absent)
        // What was cut off once and sent again is not sent a third time.
        .filter(|need| !known.iter().any(|surplus| surplus.source == (both.source_validity, need.source_uid())))
        .collect();
    if needs.is_empty() {
        return Ok(());
    }
    let listing = &both.target_listing;
    let fits = |uid: &Uid| listing.get(*uid).is_some_and(|copy| needs.iter().any(|need| need.may_be_cut_to(copy)));
    let strays: Vec<Uid> = matched.surplus.iter().filter(fits).collect();
    if strays.is_empty() {
        return Ok(());
    }
    let wanted: Vec<(Uid, u64)> = needs.iter().map(|need| (need.source_uid(), need.size().unwrap_or(0))).collect();
    let lengths: BTreeSet<u64> = strays.iter().filter_map(|uid| listing.get(*uid)?.size).collect();
    let beginnings =
        bytes::beginnings(account, &mut both.source.session, &account.source.brake, &wanted, |_| &lengths).await?;
    let mut there = bytes::digests(account, &mut both.target.session, &account.target.brake, &strays, listing).await?;
    let mut cut = Vec::new();
    for (source_uid, beginnings) in beginnings {
        let is_cut = |(uid, digest): &(Uid, Digest)| {
            let size = listing.get(*uid).and_then(|copy| copy.size).unwrap_or_default();
            beginnings.get(&size) == Some(digest)
        };
        let Some(at) = there.iter().position(is_cut) else { continue };
        let target = (validity, there.swap_remove(at).0);
        cut.push(Surplus { target, source: (both.source_validity, source_uid), kind: SurplusKind::Remnant });
    }
    for (uid, claim) in &mut matched.absent {
        if cut.iter().any(|surplus| surplus.source.1 == *uid) {
            *claim = Claim::New;
        }
    }
    for surplus in &cut {
        account.tell_surplus(place.path, surplus, false).await;
    }
    Ok(account.ledger.cut_off(place.folder, cut).await?)
}

/// Looks again after a while; if the target has changed, lists it anew.
async fn target_moved(account: &Account, both: &mut Both, target_name: &WireName) -> Result<bool, Failure> {
    let on_target = |error: crate::imap::ImapError| error.failure(Side::Target);
    tokio::select! {
        () = tokio::time::sleep(account.settle) => {}
        () = account.stop.cancelled() => {
            return Err(Failure::new(None, crate::failure::Kind::Stopped, "go on: asked to stop"));
        }
    }
    let before = both.target_opened.state;
    if !both.target_lasts {
        // Opened again, it would have other UIDs.
        let now = both.target.session.status(target_name).await.map_err(on_target)?;
        return match now.messages == before.messages {
            true => Ok(false),
            false => {
                let text = format!("look at folder \"{target_name}\" again: it has changed meanwhile");
                Err(Failure::new(Side::Target, crate::failure::Kind::Lost, text))
            }
        };
    }
    let opened = both.target.session.examine(target_name).await.map_err(on_target)?;
    if opened.state == before {
        return Ok(false);
    }
    if opened.state.uid_validity != before.uid_validity {
        let text = format!("look at folder \"{target_name}\" again: the target has numbered it anew meanwhile");
        return Err(Failure::new(Side::Target, crate::failure::Kind::Lost, text));
    }
    both.target_opened = opened;
    both.target_listing = Listing::default();
    both.target_listing = both.target.session.list(Uid::FIRST, both.target_opened.state).await.map_err(on_target)?;
    Ok(true)
}

pub(super) async fn match_once(
    account: &Account,
    folder: FolderId,
    both: &mut Both,
    plan: &FolderPlan,
) -> Result<Joined, Failure> {
    let offered = offered(account, folder, both, plan).await?;
    let likely = likely(&offered, both, plan);
    let (mut like, mut joining) = (Uids::default(), Joining::default());
    for entry in plan.fresh.iter().filter_map(|uid| both.source_listing.get(uid)) {
        match likely.has(&entry) {
            true => like.insert(entry.uid),
            false => joining.absent(entry.uid, Claim::New),
        }
    }
    drop(likely);
    let nobody = plan.needs.is_empty() && like.is_empty();
    if nobody || offered.is_empty() && plan.left.is_empty() {
        plan.needs.iter().for_each(|need| joining.absent(need.source_uid(), need.claim()));
        like.iter().for_each(|uid| joining.absent(uid, Claim::New));
        offered.iter().for_each(|uid| joining.surplus(uid));
    } else {
        match_offered(account, folder, both, plan, (like, offered), &mut joining).await?;
    }
    let mut matched = joining.finish();
    if !plan.left.is_empty() {
        let left: BTreeSet<Uid> = plan.left.iter().map(|(_, offer)| offer.uid()).collect();
        matched.surplus = matched.surplus.iter().filter(|uid| !left.contains(uid)).collect();
        matched.doubles.retain(|(_, uid)| !left.contains(uid));
    }
    Ok(matched)
}

/// Looks at what is offered, as it is listed.
fn likely(offered: &Uids, both: &Both, plan: &FolderPlan) -> Likely {
    let listed = offered.iter().filter_map(|uid| both.target_listing.get(uid)).map(|entry| (entry.size, entry.date));
    let left = plan.left.iter().map(|(_, offer)| (offer.size(), offer.date()));
    Likely::of(listed.chain(left), offered.len() + plan.left.len(), plan.fresh.len())
}

/// Matches what the plan needs, and `like`, with what is offered: all that is known by its record, and `offered`.
async fn match_offered(
    account: &Account,
    folder: FolderId,
    both: &mut Both,
    plan: &FolderPlan,
    (like, offered): (Uids, Uids),
    joining: &mut Joining,
) -> Result<(), Failure> {
    // What another name of this mailbox has put there is held too, and not by another.
    let held = match both.target_opened.state.uid_validity.filter(|_| !offered.is_empty()) {
        Some(validity) => account.ledger.held_by_namesakes(folder, validity).await?,
        None => Vec::new(),
    };
    let left = plan.left.iter().map(|(_, offer)| offer.clone()).collect();
    let source = (&mut both.source.session, &both.source_listing);
    let target = (&mut both.target.session, &both.target_listing);
    join(account, (source, target), (&plan.needs, left), (like, offered), &held, joining).await
}

/// Both sides of an open folder, with what they list.
type Sides<'s> = ((&'s mut Session<Source>, &'s Listing), (&'s mut Session<Target>, &'s Listing));

/// Matches `needs`, and the source's `like`, with `offers`, and the target's `offered`. `held`: of the offered, those that
/// another account has put there; ascending.
pub(super) async fn join(
    account: &Account,
    ((source, source_listing), (target, target_listing)): Sides<'_>,
    (needs, offers): (&[Need], Vec<Offer>),
    (like, offered): (Uids, Uids),
    held: &[Uid],
    joining: &mut Joining,
) -> Result<(), Failure> {
    let estimates = target.family().quirks().size_is_estimate;
    let mut singles = Singles::new((source_listing, target_listing), (needs, &offers), estimates);
    for from in (0..like.len()).step_by(HEADERS_AT_ONCE) {
        let asked: Vec<Uid> = like.range(from, from + HEADERS_AT_ONCE).collect();
        singles.source(&asked, &headers(source, &asked).await?);
    }
    for from in (0..offered.len()).step_by(HEADERS_AT_ONCE) {
        let asked: Vec<Uid> = offered.range(from, from + HEADERS_AT_ONCE).collect();
        singles.target(&asked, &headers(target, &asked).await?, |uid| held.binary_search(&uid).is_ok());
    }
    drop((like, offered));
    let mut matching = singles.finish(offers, joining);
    answer(account, &mut matching, (source, source_listing), (target, target_listing)).await?;
    joining.extend(matching.finish());
    Ok(())
}

/// Finds out whatever matching asks, until it has no questions.
pub(super) async fn answer(
    account: &Account,
    matching: &mut Matching,
    (source, source_listing): (&mut Session<Source>, &Listing),
    (target, target_listing): (&mut Session<Target>, &Listing),
) -> Result<(), Failure> {
    loop {
        let questions = matching.questions();
        if questions.is_empty() {
            return Ok(());
        }
        for (uid, header) in headers(source, &questions.source_headers).await? {
            matching.source_header(uid, header);
        }
        for (uid, header) in headers(target, &questions.target_headers).await? {
            matching.target_header(uid, header);
        }
        let brake = &account.source.brake;
        for (uid, digest, likeness) in
            bytes::alike(account, source, brake, &questions.source_bytes, source_listing).await?
        {
            matching.source_bytes(uid, digest, likeness);
        }
        let brake = &account.target.brake;
        for (uid, digest, likeness) in
            bytes::alike(account, target, brake, &questions.target_bytes, target_listing).await?
        {
            matching.target_bytes(uid, digest, likeness);
        }
        matching.asked(&questions);
    }
}

/// Target messages that no record of this account, or of another into the same mailbox, stands for.
async fn offered(account: &Account, folder: FolderId, both: &Both, plan: &FolderPlan) -> Result<Uids, Failure> {
    if both.target_listing.is_empty() || plan.needs.is_empty() && plan.fresh.is_empty() {
        return Ok(Uids::default());
    }
    let validity = both.target_opened.state.uid_validity;
    let mut held = match validity {
        Some(validity) => account.ledger.held_by_others(folder, validity).await?,
        None => Vec::new(),
    };
    let surplus = account.ledger.surplus(folder).await?;
    held.extend(
        surplus.iter().map(|surplus| surplus.target).filter(|(epoch, _)| Some(*epoch) == validity).map(|at| at.1),
    );
    held.sort_unstable();
    let unknown = |uid: &Uid| !plan.paired.has(*uid) && held.binary_search(uid).is_err();
    Ok(both.target_listing.uids().iter().filter(unknown).collect())
}

async fn headers<E: End>(session: &mut Session<E>, uids: &[Uid]) -> Result<Vec<(Uid, Option<Digest>)>, Failure> {
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    session.headers(uids).await.map_err(|error| error.failure(E::SIDE))
}

/// What was acknowledged without its place, and is nowhere.
async fn tell_missing(account: &Account, path: &str, missing: &[Uid], listing: &Listing) {
    for uid in missing {
        let failed = Event::MessageFailed {
            account: account.name.clone(),
            folder: path.to_owned(),
            uid: uid.value(),
            fate: Fate::Missing,
            // The source is asked for it where all that is listed gets its name.
            subject: String::new(),
            size: listing.get(*uid).and_then(|entry| entry.size).unwrap_or(0),
            words: NOT_SHOWN.to_owned(),
        };
        account.events.send(failed).await;
    }
}

/// A kill in between leads to the same end: what is not on record by then is looked for by the next pass.
async fn write_down(
    account: &Account,
    folder: FolderId,
    both: &Both,
    plan: &FolderPlan,
    matched: Joined,
) -> Result<Reconciled, Failure> {
    let (ledger, validity) = (&account.ledger, both.source_validity);
    let found = matched.found.len();
    let is_progress = matched.found.iter().any(|one| one.claim != Claim::Displaced);
    let mut flags = FlagChanges::default();
    if let Some(target_validity) = both.target_opened.state.uid_validity {
        note_landed(account, folder, (both, target_validity), plan, &matched.found).await?;
        flags = adopt(account, folder, (both, target_validity), &matched.found).await?;
    }
    let (mut known, mut retract, mut missing) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (uid, claim) in matched.absent {
        let listed = both.source_listing.has(uid);
        match claim {
            Claim::New | Claim::Displaced => drop(known.insert(uid)),
            Claim::Intended => {
                retract.push(uid);
                known.extend(listed.then_some(uid));
            }
            // It was acknowledged, and is not there: sending it again would go on for ever with a target that drops what
            // it thinks it has.
            Claim::Acknowledged => missing.push(uid),
        }
    }
    let to_copy = matched.new.union(&known.into_iter().collect());
    // What was looked for in vain may arrive yet: it is looked for once more before the account ends.
    let floor = both.target_opened.state.uid_validity.map(|validity| (validity, Uid::FIRST));
    match floor {
        Some(floor) => ledger.give_up(folder, validity, floor, retract).await?,
        None => ledger.retract(folder, validity, retract).await?,
    }
    let size = |uid: Uid| both.source_listing.get(uid).and_then(|entry| entry.size).unwrap_or(0);
    let ended = |source_uid: Uid, fate| Settlement { source_uid, fate, size: 0, date: None, trouble: None };
    let troubled = |uid: Uid, fate, kind: &str, words: &str| Settlement {
        trouble: Some(Trouble {
            kind: kind.to_owned(),
            words: words.to_owned(),
            subject: String::new(),
            date_header: String::new(),
            size: size(uid),
        }),
        ..ended(uid, fate)
    };
    let missing = missing.into_iter().map(|uid| troubled(uid, Fated::Missing, "missing", NOT_SHOWN));
    settle(account, folder, validity, missing).await?;
    // The ledger lets no message be intended that it holds for landed.
    let lost = plan.stale.iter().filter(|uid| to_copy.has(**uid)).copied();
    let replaced = replaced(plan, &matched.found);
    settle(account, folder, validity, lost.chain(replaced).map(|uid| ended(uid, Fated::Gone))).await?;
    let words = "its copy was there and has been taken away";
    let removed = plan.removed.iter().map(|uid| troubled(*uid, Fated::Removed, "removed", words));
    settle(account, folder, validity, removed).await?;
    Ok(Reconciled { to_copy, found, is_progress, flags })
}

/// Writes down where messages are that were sent before.
async fn note_landed(
    account: &Account,
    folder: FolderId,
    (both, target_validity): (&Both, UidValidity),
    plan: &FolderPlan,
    found: &Rows<Match>,
) -> Result<(), Failure> {
    let landed = found.iter().filter(|one| one.claim != Claim::New).map(|one| {
        // Where it is is known now; its flags and date are proven at the end of the pass, like everybody's.
        // One with fewer bytes may have been cut off: that is found out there too.
        let size = both.target_listing.get(one.target_uid).and_then(|entry| entry.size);
        let sent = plan.need(one.source_uid).and_then(Need::size);
        let altered =
            one.evidence == Evidence::BytesAltered && size.zip(sent).is_none_or(|(there, sent)| there >= sent);
        (one.source_uid, Landed::Found { target: (target_validity, one.target_uid), altered })
    });
    let returned = plan.returned.iter().map(|(uid, target_uid)| {
        let target = (target_validity, *target_uid);
        (*uid, Landed::Found { target, altered: false })
    });
    for window in windows(landed.chain(returned)) {
        account.ledger.landed(folder, both.source_validity, window).await?;
    }
    Ok(())
}

/// Writes down what was there before. Gives what it lacks of the source's flags.
async fn adopt(
    account: &Account,
    folder: FolderId,
    (both, target_validity): (&Both, UidValidity),
    found: &Rows<Match>,
) -> Result<FlagChanges, Failure> {
    let mut flags = FlagChanges::default();
    for window in windows(found.iter().filter(|one| one.claim == Claim::New)) {
        let mut theirs = Vec::new();
        for one in window {
            let Some(source) = both.source_listing.get(one.source_uid) else { continue };
            let wanted = account.carried(source.flags);
            let copy = both.target_listing.get(one.target_uid);
            // What both have is the base at once.
            let has_all = |wanted: &Flags| copy.is_some_and(|copy| wanted.without(copy.flags).is_empty());
            let base = Some(wanted.clone()).filter(|wanted| !wanted.same(&Flags::default()) && has_all(wanted));
            if let (None, Some(copy)) = (&base, copy) {
                flags.note(one.source_uid, one.target_uid, &Flags::default(), &wanted, copy.flags);
            }
            theirs.push(adopted(source, base.unwrap_or_default(), (target_validity, one.target_uid), one.evidence));
        }
        account.ledger.adopt(folder, both.source_validity, theirs).await?;
    }
    Ok(flags)
}

async fn settle(
    account: &Account,
    folder: FolderId,
    validity: UidValidity,
    settlements: impl Iterator<Item = Settlement>,
) -> Result<(), Failure> {
    for window in windows(settlements) {
        account.ledger.settle(folder, validity, window).await?;
    }
    Ok(())
}

/// Gives the messages that have left the source and whose copy is now another's.
fn replaced<'p>(plan: &'p FolderPlan, found: &Rows<Match>) -> impl Iterator<Item = Uid> + use<'p> {
    let (mut uids, mut copies) = (BTreeSet::new(), BTreeSet::new());
    for (uid, offer) in &plan.left {
        uids.insert(*uid);
        copies.insert(offer.uid());
    }
    let taken: BTreeSet<Uid> = found.iter().map(|one| one.target_uid).filter(|uid| copies.contains(uid)).collect();
    // Where the number is another message's by now, what was found for that one is on record already.
    let placed: BTreeSet<Uid> = found.iter().map(|one| one.source_uid).filter(|uid| uids.contains(uid)).collect();
    plan.left
        .iter()
        .filter(move |(uid, offer)| taken.contains(&offer.uid()) && !placed.contains(uid))
        .map(|(uid, _)| *uid)
}

/// The record of a message that was there before. Where its copy lacks flags it has no base of them: the source's are added,
/// none is removed.
fn adopted(entry: Entry<'_>, flags: Flags, target: (UidValidity, Uid), evidence: Evidence) -> Record {
    Record {
        source_uid: entry.uid,
        stage: Stage::Settled(Fate::Adopted),
        target: Some(target),
        floor: None,
        size: entry.size.unwrap_or(0),
        digest: None,
        header: None,
        date: entry.date,
        flags,
        risky: evidence == Evidence::BytesAltered,
        // It is proven with everybody's, once its flags have been added.
        evidence: Evidence::None,
    }
}
