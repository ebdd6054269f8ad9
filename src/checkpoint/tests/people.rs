//! Accounts, folders, and what people ask.

use super::*;
use crate::failure::{Failure, Kind};
use crate::mail::{Fate, FolderState, ModSeq, Side};
use std::time::{Duration, SystemTime};

fn trouble(words: &str) -> Trouble {
    Trouble {
        kind: "message-refused".to_owned(),
        words: words.to_owned(),
        subject: "Grüße".to_owned(),
        date_header: "Mon, 1 Jan 2024 00:00:00 +0000".to_owned(),
        size: 42,
    }
}

fn settlement(number: u32, fate: Ending, trouble: Option<Trouble>) -> Settlement {
    Settlement { source_uid: uid(number), fate, size: 42, date: InternalDate::new(9, 0), trouble }
}

#[test]
fn a_key_is_the_same_however_the_host_is_written() {
    for (host, port, expected) in [
        ("Mail.Example.", 993, "mail.example"),
        ("mail.example", 143, "mail.example"),
        ("mail.example", 1143, "mail.example:1143"),
        ("::1", 1143, "[::1]:1143"),
        ("::1", 993, "::1"),
    ] {
        let key = AccountKey::new(host, port, "A", host, port, "B");
        assert_eq!((key.source_host(), key.target_host()), (expected, expected));
        assert_eq!((key.source_user(), key.target_user()), ("A", "B"));
    }
}

#[tokio::test]
async fn an_account_is_found_again_under_another_job() {
    let (directory, ledger, account, _) = begin().await;
    let mut moved = job("acme 2");
    moved.path = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"/jobs/\xff.toml").into();
    assert_eq!(ledger.account(&key("info", "info"), moved.clone()).await.unwrap(), account);
    assert_ne!(ledger.account(&key("Info", "info"), job("acme")).await.unwrap(), account);
    ledger.close().await.unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let accounts = ledger.accounts().await.unwrap();
    assert_eq!(accounts.iter().map(|account| &account.job).collect::<Vec<_>>(), [&moved, &job("acme")]);
    assert_eq!(accounts[0].key, key("info", "info"));
    assert_eq!(accounts[0].state, AccountState::New);
}

#[tokio::test]
async fn every_state_of_an_account_comes_back() {
    let (directory, ledger, account, _) = begin().await;
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let failure = Failure::new(Side::Target, Kind::SignInRefused, "sign in: no").with_hint("check it");
    ledger.set_account_state(account, AccountState::Running { since: at }).await.unwrap();
    for state in [
        AccountState::Complete { at },
        AccountState::Exceptions { at },
        AccountState::Interrupted,
        AccountState::Failed(FailureNote::from(&failure)),
        AccountState::Parked { until: Some(at), why: "daily allowance".to_owned() },
        AccountState::Parked { until: None, why: String::new() },
    ] {
        ledger.set_account_state(account, state.clone()).await.unwrap();
        let reader = Ledger::open_read_only(directory.path()).unwrap().unwrap();
        let seen = reader.accounts().await.unwrap().remove(0);
        assert_eq!((seen.state, seen.started), (state, Some(at)));
        assert!(seen.ended.unwrap() >= at);
    }
    ledger.set_account_state(account, AccountState::Running { since: at }).await.unwrap();
    assert_eq!(ledger.accounts().await.unwrap()[0].ended, None);
    let unknown = ledger.set_account_state(AccountId(99), AccountState::Interrupted).await;
    assert_eq!(unknown, Err(LedgerError::Unknown("account 99".to_owned())));
    assert_eq!(FailureNote::from(&failure).kind, "sign-in-refused");
}

#[tokio::test]
async fn a_side_that_answered_once_is_remembered() {
    let (_directory, ledger, account, _) = begin().await;
    ledger.reached(account, Side::Target).await.unwrap();
    ledger.reached(account, Side::Target).await.unwrap();
    assert!(ledger.has_reached(account, Side::Target).await.unwrap());
    assert!(!ledger.has_reached(account, Side::Source).await.unwrap());
    assert!(ledger.reached(AccountId(99), Side::Source).await.is_err());
}

#[tokio::test]
async fn a_watermark_is_remembered_and_forgotten() {
    let (_directory, ledger, account, folder) = begin().await;
    let full = FolderState {
        messages: u32::MAX,
        uid_validity: UidValidity::new(u32::MAX),
        uid_next: Uid::new(u32::MAX),
        highest_modseq: ModSeq::new(u64::MAX),
    };
    let name = WireName::new("inbox");
    for mark in [
        Some(Watermark { source: full, target: FolderState::default(), deleted: false }),
        Some(Watermark { source: FolderState::default(), target: full, deleted: true }),
        None,
    ] {
        ledger.set_watermark(folder, mark).await.unwrap();
        let row = ledger.folder(account, &name, &name, &FolderPath::inbox()).await.unwrap();
        assert_eq!(row, FolderRow { id: folder, remembered: mark });
        assert_eq!(ledger.folders(account).await.unwrap()[0].remembered, mark);
    }
}

#[tokio::test]
async fn a_folder_sent_elsewhere_keeps_its_records_and_counts_once() {
    let (_directory, ledger, account, folder) = begin().await;
    let (inbox, archive) = (WireName::new("INBOX"), WireName::new(b"Arch\xffive".to_vec()));
    ledger.intend(folder, validity(1), vec![intent(1)]).await.unwrap();
    let moved = ledger.folder(account, &inbox, &archive, &FolderPath::inbox()).await.unwrap();
    assert_ne!(moved.id, folder);
    ledger.intend(moved.id, validity(1), vec![intent(1)]).await.unwrap();
    assert_eq!(ledger.intended(folder, validity(1)).await.unwrap().len(), 1);
    let folders = ledger.folders(account).await.unwrap();
    assert_eq!(folders.len(), 1);
    assert_eq!((folders[0].id, &folders[0].source, &folders[0].target), (moved.id, &inbox, &archive));
    assert_eq!(ledger.accounts().await.unwrap()[0].totals.intended.messages, 1);
    assert_eq!(ledger.folder(account, &inbox, &inbox, &FolderPath::inbox()).await.unwrap().id, folder);
    assert_eq!(ledger.folders(account).await.unwrap()[0].id, folder);
}

#[tokio::test]
async fn only_the_present_uidvalidity_counts() {
    let (_directory, ledger, account, folder) = begin().await;
    ledger.settle(folder, validity(1), vec![settlement(1, Ending::Refused, Some(trouble("no")))]).await.unwrap();
    ledger.note_loss(folder, validity(1), uid(1), LossKind::Date, "x").await.unwrap();
    assert_eq!(ledger.troubles(account, 0, 9).await.unwrap().len(), 1);
    ledger.settle(folder, validity(2), vec![settlement(1, Ending::Excluded, None)]).await.unwrap();
    let totals = ledger.accounts().await.unwrap().remove(0).totals;
    assert_eq!(totals.fates.into_keys().collect::<Vec<_>>(), [Fate::Excluded]);
    assert!(ledger.troubles(account, 0, 9).await.unwrap().is_empty());
    assert!(ledger.losses(account, 0, 9).await.unwrap().is_empty());
    let empty = FolderState { uid_validity: Some(validity(3)), ..FolderState::default() };
    ledger.set_watermark(folder, Some(Watermark { source: empty, target: empty, deleted: false })).await.unwrap();
    assert!(ledger.accounts().await.unwrap()[0].totals.fates.is_empty());
}

#[tokio::test]
async fn totals_add_up_by_fate_and_by_evidence() {
    let (_directory, ledger, account, folder) = begin().await;
    let epoch = validity(1);
    ledger.intend(folder, epoch, (1..=4).map(intent).collect()).await.unwrap();
    ledger.landed(folder, epoch, (1..=3).map(|n| (uid(n), acknowledged(Some((9, n))))).collect()).await.unwrap();
    ledger.prove(folder, epoch, vec![(uid(1), Evidence::BytesEqual), (uid(2), Evidence::MetadataEqual)]).await.unwrap();
    ledger.prove(folder, epoch, vec![(uid(4), Evidence::BytesEqual)]).await.unwrap();
    let mut huge = settlement(6, Ending::Unreadable, None);
    huge.size = u64::MAX;
    let lying = Settlement { source_uid: uid(7), ..huge.clone() };
    ledger.settle(folder, epoch, vec![settlement(5, Ending::Gone, None), huge, lying]).await.unwrap();
    let folders = ledger.folders(account).await.unwrap();
    let totals = &folders[0].totals;
    let count = |messages, bytes| Count { messages, bytes };
    assert_eq!(totals.intended, count(1, 40));
    assert_eq!(totals.of(Fate::Copied), count(3, 60));
    assert_eq!(totals.of(Fate::Gone), count(1, 42));
    assert_eq!(totals.of(Fate::Unreadable).messages, 2);
    assert_eq!(totals.of(Fate::Missing), Count::default());
    let evidence: Vec<_> = totals.evidence.iter().map(|(evidence, count)| (*evidence, count.messages)).collect();
    assert_eq!(evidence, [(Evidence::None, 1), (Evidence::MetadataEqual, 1), (Evidence::BytesEqual, 1)]);
    assert_eq!(&ledger.accounts().await.unwrap()[0].totals, totals);
    let record = ledger.record(folder, epoch, uid(4)).await.unwrap().unwrap();
    assert_eq!(record.evidence, Evidence::None, "what has not landed has nothing to prove");
}

#[tokio::test]
async fn a_trouble_is_listed_until_the_message_lands() {
    let (_directory, ledger, account, folder) = begin().await;
    let epoch = validity(1);
    let long = "ä".repeat(2000);
    let refused = |number, words: &str| settlement(number, Ending::Refused, Some(trouble(words)));
    ledger.settle(folder, epoch, vec![refused(1, "no"), refused(2, &long), refused(3, "no")]).await.unwrap();
    let listed = ledger.troubles(account, 0, 2).await.unwrap();
    assert_eq!(listed.iter().map(|note| note.source_uid).collect::<Vec<_>>(), [uid(1), uid(2)]);
    assert_eq!(listed[1].words.len(), 1000);
    assert_eq!((listed[0].subject.as_str(), listed[0].size, &listed[0].path), ("Grüße", 42, &FolderPath::inbox()));
    assert_eq!(listed[0].stage, Stage::Settled(Fate::Refused));
    assert_eq!(ledger.troubles(account, listed[1].number, 2).await.unwrap()[0].source_uid, uid(3));

    ledger.intend(folder, epoch, vec![intent(1), intent(2)]).await.unwrap();
    assert_eq!(ledger.troubles(account, 0, 1).await.unwrap()[0].stage, Stage::Intended);
    ledger.landed(folder, epoch, vec![(uid(1), acknowledged(None))]).await.unwrap();
    ledger.retract(folder, epoch, vec![uid(2)]).await.unwrap();
    ledger.settle(folder, epoch, vec![refused(3, "still no")]).await.unwrap();
    let left = ledger.troubles(account, 0, 9).await.unwrap();
    assert_eq!(
        left.iter().map(|note| (note.source_uid, note.words.as_str())).collect::<Vec<_>>(),
        [(uid(3), "still no")]
    );
    ledger.settle(folder, epoch, vec![settlement(3, Ending::Excluded, None)]).await.unwrap();
    assert!(ledger.troubles(account, 0, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_loss_is_noted_once() {
    let (_directory, ledger, account, folder) = begin().await;
    let epoch = validity(1);
    for _ in 0..3 {
        ledger.note_loss(folder, epoch, uid(1), LossKind::Keyword, "domain.com").await.unwrap();
        ledger.note_loss(folder, epoch, uid(1), LossKind::Zone, "+0200").await.unwrap();
    }
    let losses = ledger.losses(account, 0, 9).await.unwrap();
    let seen: Vec<_> = losses.iter().map(|loss| (loss.kind, loss.text.as_str())).collect();
    assert_eq!(seen, [(LossKind::Keyword, "domain.com"), (LossKind::Zone, "+0200")]);
    assert_eq!(ledger.losses(account, losses[0].number, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_settlement_keeps_what_is_known() {
    let (_directory, ledger, _, folder) = begin().await;
    let epoch = validity(1);
    ledger.intend(folder, epoch, vec![intent(1)]).await.unwrap();
    ledger.landed(folder, epoch, vec![(uid(1), acknowledged(Some((9, 4))))]).await.unwrap();
    ledger.prove(folder, epoch, vec![(uid(1), Evidence::BytesEqual)]).await.unwrap();
    ledger.rebase(folder, epoch, vec![(uid(1), Flags::parse("\\Answered"))]).await.unwrap();
    ledger.settle(folder, epoch, vec![settlement(1, Ending::Removed, None)]).await.unwrap();
    let expected = Record {
        stage: Stage::Settled(Fate::Removed),
        target: Some((validity(9), uid(4))),
        flags: Flags::parse("\\Answered"),
        ..intent(1)
    };
    assert_eq!(ledger.record(folder, epoch, uid(1)).await.unwrap().unwrap(), expected);
}
