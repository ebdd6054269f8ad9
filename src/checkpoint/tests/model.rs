//! Whatever is done in whatever order, the ledger says what a plain map says, also after a kill.

use super::*;
use crate::mail::Fate;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One thing to do; numbers are UIDs.
#[derive(Debug, Clone)]
enum Do {
    Intend(Vec<u32>, u32),
    Acknowledge(u32, Option<u32>),
    Find(u32, u32, bool),
    Adopt(u32, u32),
    Settle(u32, Ending, bool),
    Prove(u32, Evidence),
    Rebase(u32, &'static str),
    Retract(u32),
    Flush,
    Reopen,
}

fn anything() -> impl Strategy<Value = Do> {
    let one = || 1..12_u32;
    let ending = prop::sample::select(vec![Ending::Excluded, Ending::Refused, Ending::Gone, Ending::Removed]);
    let evidence = prop::sample::select(vec![Evidence::Counted, Evidence::BytesEqual, Evidence::BytesAltered]);
    let flags = prop::sample::select(vec!["", "\\Seen", "\\Draft a b"]);
    prop_oneof![
        4 => (prop::collection::btree_set(one(), 1..5), one())
            .prop_map(|(uids, floor)| Do::Intend(uids.into_iter().collect(), floor)),
        4 => (one(), prop::option::of(one())).prop_map(|(uid, target)| Do::Acknowledge(uid, target)),
        1 => (one(), one(), any::<bool>()).prop_map(|(uid, target, altered)| Do::Find(uid, target, altered)),
        1 => (one(), one()).prop_map(|(uid, target)| Do::Adopt(uid, target)),
        2 => (one(), ending, any::<bool>()).prop_map(|(uid, ending, trouble)| Do::Settle(uid, ending, trouble)),
        1 => (one(), evidence).prop_map(|(uid, evidence)| Do::Prove(uid, evidence)),
        1 => (one(), flags).prop_map(|(uid, flags)| Do::Rebase(uid, flags)),
        1 => one().prop_map(Do::Retract),
        1 => Just(Do::Flush),
        1 => Just(Do::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    records: BTreeMap<u32, Record>,
    troubles: BTreeSet<u32>,
}

fn landed(record: &Record) -> bool {
    matches!(record.stage, Stage::Settled(Fate::Copied | Fate::Adopted))
}

const TARGET: u32 = 9;

impl Model {
    fn apply(&mut self, step: &Do) {
        match step {
            Do::Intend(uids, floor) => self.intend(uids, *floor),
            Do::Acknowledge(number, target) => {
                // A place that stands for another message is none.
                let held = |place: &(UidValidity, Uid)| {
                    self.records.values().any(|record| {
                        let other = record.source_uid != uid(*number) && record.stage != Stage::Intended;
                        other && record.target == Some(*place)
                    })
                };
                let place = target.map(|target| (validity(TARGET), uid(target))).filter(|place| !held(place));
                let open = self.records.get_mut(number);
                let open = open.filter(|record| matches!(record.stage, Stage::Intended | Stage::Settled(Fate::Copied)));
                let Some(record) = open else { return };
                (record.stage, record.evidence) = (Stage::Settled(Fate::Copied), Evidence::None);
                record.target = place.or(record.target);
                self.troubles.remove(number);
            }
            Do::Find(number, target, altered) => {
                let Some(record) = self.records.get_mut(number) else { return };
                (record.stage, record.evidence) = (Stage::Settled(Fate::Copied), Evidence::None);
                record.risky = *altered || record.risky && record.digest.is_some();
                record.target = Some((validity(TARGET), uid(*target)));
                self.troubles.remove(number);
            }
            Do::Adopt(number, target) => {
                let mut record = theirs(*number, *target);
                (record.stage, record.floor) = (Stage::Settled(Fate::Adopted), None);
                self.records.insert(*number, record);
                self.troubles.remove(number);
            }
            Do::Settle(number, ending, trouble) => {
                let record = self.records.entry(*number).or_insert_with(|| bare(*number));
                (record.stage, record.evidence) = (Stage::Settled((*ending).into()), Evidence::None);
                record.target = record.target.filter(|_| *ending != Ending::Gone);
                if *trouble {
                    self.troubles.insert(*number)
                } else {
                    self.troubles.remove(number)
                };
            }
            Do::Prove(number, evidence) => {
                let proven = self.records.get_mut(number).filter(|record| landed(record));
                proven.into_iter().for_each(|record| record.evidence = *evidence);
            }
            Do::Rebase(number, flags) => {
                self.records.get_mut(number).into_iter().for_each(|record| record.flags = Flags::parse(flags));
            }
            Do::Retract(number) => {
                if self.records.get(number).is_some_and(|record| record.stage == Stage::Intended) {
                    self.records.remove(number);
                    self.troubles.remove(number);
                }
            }
            Do::Flush | Do::Reopen => {}
        }
    }

    fn intend(&mut self, uids: &[u32], floor: u32) {
        if uids.iter().any(|number| self.records.get(number).is_some_and(landed)) {
            return;
        }
        for number in uids {
            let old = self.records.get(number).filter(|record| record.stage == Stage::Intended);
            let kept = old.and_then(|record| record.floor);
            let record = with_floor(*number, kept.map_or(floor, |(_, kept)| kept.value().min(floor)));
            self.records.insert(*number, record);
        }
    }
}

fn with_floor(number: u32, floor: u32) -> Record {
    Record { floor: Some((validity(TARGET), uid(floor))), ..intent(number) }
}

fn theirs(number: u32, target: u32) -> Record {
    let target = Some((validity(TARGET), uid(target)));
    Record { target, evidence: Evidence::MetadataEqual, ..intent(number) }
}

/// What a settlement alone says of a message.
fn bare(number: u32) -> Record {
    let (floor, digest, header, date, flags) = (None, None, None, InternalDate::new(4, 0), Flags::default());
    Record { floor, digest, header, date, flags, size: 5, risky: false, ..intent(number) }
}

fn settlement(number: u32, fate: Ending, trouble: bool) -> Settlement {
    let words = Trouble {
        kind: "k".to_owned(),
        words: String::new(),
        subject: String::new(),
        date_header: String::new(),
        size: 1,
    };
    let trouble = trouble.then_some(words);
    Settlement { source_uid: uid(number), fate, size: 5, date: InternalDate::new(4, 0), trouble }
}

async fn act(ledger: &Ledger, folder: FolderId, step: &Do) {
    let epoch = validity(1);
    match step {
        Do::Intend(uids, floor) => {
            let records = uids.iter().map(|number| with_floor(*number, *floor)).collect();
            match ledger.intend(folder, epoch, records).await {
                Ok(()) | Err(LedgerError::Landed { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        Do::Acknowledge(number, target) => {
            let landed = acknowledged(target.map(|target| (TARGET, target)));
            ledger.landed(folder, epoch, vec![(uid(*number), landed)]).await.unwrap();
        }
        Do::Find(number, target, altered) => {
            let target = (validity(TARGET), uid(*target));
            let landed = Landed::Found { target, altered: *altered };
            ledger.landed(folder, epoch, vec![(uid(*number), landed)]).await.unwrap();
        }
        Do::Adopt(number, target) => ledger.adopt(folder, epoch, vec![theirs(*number, *target)]).await.unwrap(),
        Do::Settle(number, ending, trouble) => {
            ledger.settle(folder, epoch, vec![settlement(*number, *ending, *trouble)]).await.unwrap();
        }
        Do::Prove(number, evidence) => ledger.prove(folder, epoch, vec![(uid(*number), *evidence)]).await.unwrap(),
        Do::Rebase(number, flags) => {
            ledger.rebase(folder, epoch, vec![(uid(*number), Flags::parse(flags))]).await.unwrap();
        }
        Do::Retract(number) => ledger.retract(folder, epoch, vec![uid(*number)]).await.unwrap(),
        // What was refused in the queue is reported here; the model knows it from the records.
        Do::Flush => drop(ledger.flush().await),
        Do::Reopen => {}
    }
}

async fn agree(ledger: &Ledger, account: AccountId, folder: FolderId, model: &Model) {
    let epoch = validity(1);
    let records = ledger.records(folder, epoch, Uid::FIRST, 100).await.unwrap();
    assert_eq!(records, model.records.values().cloned().collect::<Vec<_>>());
    let open: Vec<_> = records.iter().filter(|record| record.stage == Stage::Intended).cloned().collect();
    assert_eq!(ledger.intended(folder, epoch).await.unwrap(), open);
    let held: BTreeSet<_> = records.iter().filter_map(|record| record.target.map(|(_, uid)| uid)).collect();
    assert_eq!(ledger.paired(folder, validity(TARGET)).await.unwrap(), held.into_iter().collect::<Vec<_>>());
    let listed = ledger.troubles(account, 0, 100).await.unwrap();
    let listed: BTreeSet<_> = listed.iter().map(|note| note.source_uid.value()).collect();
    assert_eq!(listed, model.troubles);
    let totals = ledger.accounts().await.unwrap().remove(0).totals;
    assert_eq!(totals.intended.messages, open.len() as u64);
    let settled: u64 = totals.fates.values().map(|count| count.messages).sum();
    assert_eq!(settled as usize, records.len() - open.len());
    let proven: u64 = totals.evidence.values().map(|count| count.messages).sum();
    assert_eq!(proven as usize, records.iter().filter(|record| landed(record)).count());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_is_a_map(steps in prop::collection::vec(anything(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let (directory, mut ledger, account, folder) = begin().await;
            let mut model = Model::default();
            for step in &steps {
                model.apply(step);
                act(&ledger, folder, step).await;
                if matches!(step, Do::Reopen) {
                    drop(ledger);
                    ledger = Ledger::open(directory.path()).unwrap();
                }
                agree(&ledger, account, folder, &model).await;
            }
        });
    }
}
