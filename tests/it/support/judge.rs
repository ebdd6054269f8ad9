//! Is what a run says of each message true? Judged from the bytes that both servers give, fetched by a client that
//! shares nothing with the engine; the ledger's word is what is judged.

use super::client::{Client, quote};
use super::haul::Haul;
use super::response::Status;
use mailhaul::checkpoint::{FolderSummary, Ledger, LossKind};
use mailhaul::mail::{Digest, Evidence, Fate, Record, Stage, Uid, UidValidity};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the judge found.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Source messages by fate and evidence.
    pub(crate) fates: BTreeMap<(Fate, Evidence), u64>,
    /// Whose copy has other bytes, as the run says too.
    pub(crate) altered: u64,
    /// What the run says and is not so, or is so and the run does not say.
    pub(crate) lies: Vec<String>,
}

impl Judged {
    /// Gives how many source messages there are.
    pub(crate) fn count(&self) -> u64 {
        self.fates.values().sum()
    }

    /// Gives how many have a fate.
    pub(crate) fn of(&self, fate: Fate) -> u64 {
        self.fates.iter().filter(|((found, _), _)| *found == fate).map(|(_, count)| count).sum()
    }

    /// Panics with every lie.
    pub(crate) fn assert_true(&self) {
        assert!(self.lies.is_empty(), "{} lies:\n{}", self.lies.len(), self.lies.join("\n"));
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages", self.count())?;
        self.fates.iter().try_for_each(|((fate, evidence), count)| write!(f, ", {count} {fate:?}/{evidence:?}"))
    }
}

/// A folder as its server gives it: digests by UID.
struct Bytes {
    validity: u64,
    messages: BTreeMap<u32, Digest>,
}

fn read(client: &mut Client, folder: &str) -> Bytes {
    let reply = client.command(format!("STATUS {} (UIDVALIDITY)", quote(folder))).expect("STATUS is answered");
    if reply.done.status != Some(Status::Ok) {
        // What is not there holds nothing.
        return Bytes { validity: 0, messages: BTreeMap::new() };
    }
    let validity = client.status(folder, "UIDVALIDITY")[0];
    let mut messages = BTreeMap::new();
    client.fetch_each(folder, |message| {
        let digest = Digest(sha2::Sha256::digest(&message.body).into());
        assert!(messages.insert(message.uid, digest).is_none(), "{folder}: UID {} twice", message.uid);
    });
    assert_eq!(client.status(folder, "MESSAGES")[0], messages.len() as u64, "{folder}: STATUS and FETCH disagree");
    Bytes { validity, messages }
}

/// Compares what the ledger of the only account says of every source message with the bytes on both sides.
pub(crate) async fn judge(haul: &Haul, source: &mut Client, target: &mut Client) -> Judged {
    let ledger = Ledger::open(&haul.state()).unwrap();
    let account = ledger.accounts().await.unwrap().remove(0).id;
    let mut listed: BTreeSet<(String, Uid)> = BTreeSet::new();
    for trouble in ledger.troubles(account, 0, usize::MAX).await.unwrap() {
        listed.insert((trouble.path.to_string(), trouble.source_uid));
    }
    let mut changed = BTreeSet::new();
    for loss in ledger.losses(account, 0, usize::MAX).await.unwrap() {
        let place = (loss.path.to_string(), loss.source_uid);
        if loss.kind == LossKind::Bytes {
            changed.insert(place.clone());
        }
        listed.insert(place);
    }
    let mut judged = Judged::default();
    for folder in ledger.folders(account).await.unwrap() {
        let there = read(source, &String::from_utf8_lossy(folder.source.as_bytes()));
        let copies = read(target, &String::from_utf8_lossy(folder.target.as_bytes()));
        let validity = UidValidity::new(u32::try_from(there.validity).unwrap()).unwrap();
        let records = ledger.records(folder.id, validity, Uid::FIRST, usize::MAX).await.unwrap();
        Court { folder: &folder, there: &there, copies: &copies, listed: &listed, changed: &changed }
            .hear(&records, &mut judged);
    }
    ledger.close().await.unwrap();
    judged
}

struct Court<'a> {
    folder: &'a FolderSummary,
    there: &'a Bytes,
    copies: &'a Bytes,
    listed: &'a BTreeSet<(String, Uid)>,
    changed: &'a BTreeSet<(String, Uid)>,
}

impl Court<'_> {
    fn hear(&self, records: &[Record], judged: &mut Judged) {
        let mut spoken: BTreeSet<u32> = BTreeSet::new();
        let mut claimed: BTreeSet<u32> = BTreeSet::new();
        for record in records {
            let uid = record.source_uid.value();
            let Some(bytes) = self.there.messages.get(&uid) else { continue };
            spoken.insert(uid);
            let lie = match record.stage {
                Stage::Intended => Some("it has no fate".to_owned()),
                Stage::Settled(fate) => {
                    *judged.fates.entry((fate, record.evidence)).or_default() += 1;
                    self.weigh(record, fate, *bytes, &mut claimed, &mut judged.altered)
                }
            };
            let told = lie.map(|lie| format!("{} UID {uid}: {lie}: {record:?}", self.folder.path));
            judged.lies.extend(told);
        }
        let lie = |uid: &u32, text: &str| format!("{} UID {uid}: {text}", self.folder.path);
        let silent = self.there.messages.keys().filter(|uid| !spoken.contains(uid));
        judged.lies.extend(silent.map(|uid| lie(uid, "the ledger does not know it")));
        let surplus = self.copies.messages.keys().filter(|uid| !claimed.contains(uid));
        judged.lies.extend(surplus.map(|uid| lie(uid, "on the target, and no source message's copy")));
    }

    /// Gives what is wrong with what is said of one message.
    fn weigh(
        &self,
        record: &Record,
        fate: Fate,
        bytes: Digest,
        claimed: &mut BTreeSet<u32>,
        altered: &mut u64,
    ) -> Option<String> {
        let place = (self.folder.path.to_string(), record.source_uid);
        if !matches!(fate, Fate::Copied | Fate::Adopted) {
            return (!self.listed.contains(&place)).then(|| format!("{fate:?} and not listed"));
        }
        let Some((validity, target_uid)) = record.target else { return Some("nobody knows where it is".to_owned()) };
        let Some(copy) = self.copies.messages.get(&target_uid.value()) else {
            return Some(format!("there is no UID {target_uid} on the target"));
        };
        if u64::from(validity.value()) != self.copies.validity || !claimed.insert(target_uid.value()) {
            return Some(format!("UID {target_uid} of the target is not its own"));
        }
        if record.digest.is_some_and(|digest| digest != bytes) {
            return Some("the ledger has another digest than the source gives".to_owned());
        }
        let equal = *copy == bytes;
        *altered += u64::from(!equal);
        match record.evidence {
            Evidence::BytesEqual | Evidence::MetadataEqual if !equal => Some("altered in silence".to_owned()),
            Evidence::BytesAltered if equal => Some("the bytes are the same".to_owned()),
            Evidence::None => Some("nothing stands behind it".to_owned()),
            _ if equal == self.changed.contains(&place) => Some("listed wrongly".to_owned()),
            Evidence::Counted if !self.listed.contains(&place) => Some("less than equal and not listed".to_owned()),
            _ => None,
        }
    }
}
