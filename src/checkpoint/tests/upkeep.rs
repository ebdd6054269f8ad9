//! Backups, ledgers that are set aside, accounts that are forgotten, disks that are full.

use super::*;
use crate::failure::{Failure, Kind};
use crate::mail::Fate;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

fn complete() -> AccountState {
    AccountState::Complete { at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) }
}

async fn fill(ledger: &Ledger, folder: FolderId, from: u32, to: u32) {
    ledger.intend(folder, validity(1), (from..=to).map(intent).collect()).await.unwrap();
    let landed = (from..=to).map(|number| (uid(number), acknowledged(Some((9, number)))));
    ledger.landed(folder, validity(1), landed.collect()).await.unwrap();
}

#[tokio::test]
async fn a_backup_beside_a_run_is_a_ledger_of_that_moment() {
    let (directory, ledger, account, folder) = begin().await;
    let reader = Ledger::open_read_only(directory.path()).unwrap().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut handed_over = 0;
    for round in 0..5_u32 {
        fill(&ledger, folder, 1 + 100 * round, 100 + 100 * round).await;
        let going_on = tokio::spawn({
            let ledger = ledger.clone();
            async move {
                for number in 0..20 {
                    fill(&ledger, folder, 1000 * (round + 1) + number, 1000 * (round + 1) + number).await;
                }
            }
        });
        let path = elsewhere.path().join(format!("{round}/ledger.sqlite"));
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let source = if round % 2 == 0 { &ledger } else { &reader };
        let bytes = source.backup(&path, false).await.unwrap();
        going_on.await.unwrap();
        ledger.flush().await.unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (bytes, 0o600));
        let copy = Ledger::open(path.parent().unwrap()).unwrap();
        let totals = copy.accounts().await.unwrap().remove(0).totals;
        let known = totals.of(Fate::Copied).messages + totals.intended.messages;
        assert!(known >= handed_over && known <= handed_over + 120, "{known} of {handed_over}");
        handed_over += 120;
        fill(&copy, inbox(&copy, account).await, 7000, 7001).await;
        copy.close().await.unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert_eq!(left.len(), 5);
}

#[tokio::test]
async fn a_backup_takes_the_place_of_nothing_unless_it_is_told_to() {
    let (directory, ledger, ..) = begin().await;
    let file = directory.path().join("backup");
    std::fs::write(&file, "precious").unwrap();
    let error = ledger.backup(&file, false).await.unwrap_err();
    assert_eq!(error, LedgerError::Exists { path: file.clone() });
    assert!(Failure::from(error).hint.contains("--overwrite"));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    ledger.backup(&file, true).await.unwrap();
    assert!(std::fs::read(&file).unwrap().starts_with(b"SQLite format 3\0"));
    // The ledger itself is no place for its backup.
    let own = ledger.path().to_owned();
    assert!(matches!(ledger.backup(&own, true).await, Err(LedgerError::Exists { .. })));
    let nowhere = directory.path().join("none/backup");
    assert!(matches!(ledger.backup(&nowhere, false).await, Err(LedgerError::File { path, .. }) if path == nowhere));
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("mailhaul-backup")), "{names:?}");
}

#[tokio::test]
async fn what_is_set_aside_is_kept_and_its_accounts_are_known() {
    let (directory, ledger, account, folder) = begin().await;
    ledger.set_account_state(account, complete()).await.unwrap();
    ledger.account(&key("new", "new"), job("never begun")).await.unwrap();
    fill(&ledger, folder, 1, 2000).await;
    let error = Ledger::set_aside(directory.path()).unwrap_err();
    assert!(matches!(error, LedgerError::InUse { .. }), "{error:?}");
    assert_eq!(Failure::from(error).kind, Kind::AccountBusy);
    ledger.close().await.unwrap();

    // Damaged where the records are; the accounts are at the beginning.
    let file = directory.path().canonicalize().unwrap().join("ledger.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 40_000..].fill(0x5a);
    std::fs::write(&file, &bytes).unwrap();
    assert!(matches!(Ledger::open(directory.path()).unwrap_err(), LedgerError::Damaged { .. }));
    let aside = Ledger::set_aside(directory.path()).unwrap().unwrap();
    assert_eq!(std::fs::read(&aside.file).unwrap(), bytes);
    assert_eq!(aside.accounts, Some(vec![(key("info", "info"), job("acme"))]));
    assert!(!file.exists());
    assert_eq!(Ledger::set_aside(directory.path()).unwrap(), None);

    // A second one gets another name.
    std::fs::write(&file, "no ledger").unwrap();
    std::fs::write(file.with_extension("sqlite-wal"), "nor a log").unwrap();
    let second = Ledger::set_aside(directory.path()).unwrap().unwrap();
    assert_ne!(second.file, aside.file);
    assert_eq!(second.accounts, None);
    let log = format!("{}-wal", second.file.display());
    assert_eq!(
        (std::fs::read(&second.file).unwrap(), std::fs::read(log).unwrap()),
        (b"no ledger".to_vec(), b"nor a log".to_vec())
    );
    assert!(Ledger::open(directory.path()).unwrap().accounts().await.unwrap().is_empty());
}

#[tokio::test]
async fn accounts_that_cannot_be_trusted_are_not_taken_over() {
    let (directory, ledger, account, _) = begin().await;
    ledger.set_account_state(account, complete()).await.unwrap();
    ledger.close().await.unwrap();
    let file = directory.path().join("ledger.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    let path = b"/jobs/acme.toml";
    let at = bytes.windows(path.len()).position(|window| window == path).unwrap();
    bytes[at + 6] = b'A';
    std::fs::write(&file, &bytes).unwrap();
    let error = Ledger::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("what stands in its table accounts is not what was written"), "{error}");
    assert_eq!(Ledger::set_aside(directory.path()).unwrap().unwrap().accounts, None);
}

#[tokio::test]
async fn only_what_is_complete_and_idle_is_forgotten_and_leaves_no_trace() {
    let (directory, ledger, account, folder) = begin().await;
    let other = ledger.account(&key("sales", "sales"), job("acme")).await.unwrap();
    let others = inbox(&ledger, other).await;
    fill(&ledger, folder, 1, 300).await;
    fill(&ledger, others, 1, 30).await;
    ledger.note_loss(folder, validity(1), uid(1), LossKind::Keyword, "$ForgetMeToo").await.unwrap();
    let error = ledger.forget(account).await.unwrap_err();
    assert_eq!(error, LedgerError::Unfinished("Info".to_owned()));
    ledger.set_account_state(account, complete()).await.unwrap();
    let lock = ledger.lock(account).await.unwrap();
    assert!(matches!(ledger.forget(account).await.unwrap_err(), LedgerError::Busy { .. }));
    assert_eq!(ledger.accounts().await.unwrap().len(), 2);
    drop(lock);
    ledger.forget(account).await.unwrap();
    assert!(matches!(ledger.forget(account).await.unwrap_err(), LedgerError::Unknown(_)));
    let left = ledger.accounts().await.unwrap();
    assert_eq!((left.len(), left[0].id, left[0].totals.of(Fate::Copied).messages), (1, other, 30));
    let again = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
    assert!(again > other, "a number is never given twice");
    assert!(ledger.records(folder, validity(1), Uid::FIRST, 10).await.unwrap().is_empty());
    ledger.close().await.unwrap();
    let bytes = std::fs::read(directory.path().join("ledger.sqlite")).unwrap();
    assert!(!bytes.windows(12).any(|window| window == b"$ForgetMeToo"));
    Ledger::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_full_disk_ends_the_ledger_and_loses_nothing_that_was_promised() {
    let (directory, ledger, _, folder) = begin().await;
    fill(&ledger, folder, 1, 100).await;
    let limit = |connection: &Connection| {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        connection.pragma_update(None, "max_page_count", pages + 2)?;
        Ok(0)
    };
    ledger.write(limit).await.unwrap();
    let mut promised = 100;
    let error = loop {
        match ledger.intend(folder, validity(1), (promised + 1..=promised + 20).map(intent).collect()).await {
            Ok(()) => promised += 20,
            Err(error) => break error,
        }
        assert!(promised < 10_000);
    };
    let failure = Failure::from(error.clone());
    assert!(failure.text.contains("ledger.sqlite") && failure.text.contains("full"), "{failure}");
    assert!(failure.hint.contains("the disk has room") && failure.hint.contains("mailhaul resume"), "{failure}");
    // Nothing is believed after it.
    assert_eq!(ledger.intend(folder, validity(1), vec![intent(9000)]).await.unwrap_err(), error);
    assert_eq!(ledger.flush().await.unwrap_err(), error);
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    let known = ledger.records(folder, validity(1), Uid::FIRST, usize::MAX).await.unwrap();
    let uids: Vec<u32> = known.iter().map(|record| record.source_uid.value()).collect();
    assert_eq!(uids, (1..=promised).collect::<Vec<_>>());
    fill(&ledger, folder, 9000, 9100).await;
    ledger.close().await.unwrap();
}

/// A ledger of format 1, as mailhaul made it before there were sums.
fn of_format_1(directory: &Path) {
    let mut connection = Connection::open(directory.join("ledger.sqlite")).unwrap();
    schema::migrate(&mut connection, &schema::STEPS[..1]).unwrap();
    connection
        .execute_batch(
            "INSERT INTO accounts (source_host, source_user, target_host, target_user, name, job_name, job_path,
                 job_digest, state)
             VALUES ('old.example', 'info', 'new.example', 'info', 'Info', 'acme', x'2f6a', zeroblob(32), '{\"is\":\"new\"}');
             INSERT INTO folders (account, source, target, path, validity) VALUES (1, x'41', x'41', '[\"A\"]', 1);
             INSERT INTO records (folder, validity, uid, stage, evidence, size, flags) VALUES (1, 1, 5, 0, 0, 9, '');",
        )
        .unwrap();
    connection.close().unwrap();
}

#[tokio::test]
async fn a_ledger_of_an_older_format_is_lifted_whole() {
    let directory = tempfile::tempdir().unwrap();
    of_format_1(directory.path());
    let error = Ledger::open_read_only(directory.path()).unwrap_err();
    assert!(matches!(error, LedgerError::Older { found: 1, .. }), "{error:?}");
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.facts().await.unwrap().format, schema::newest(schema::STEPS));
    assert_eq!(ledger.accounts().await.unwrap()[0].totals.intended.messages, 1);
    fill(&ledger, FolderId(1), 6, 20).await;
    ledger.close().await.unwrap();
    Ledger::open(directory.path()).unwrap();
}

#[test]
fn a_lift_that_dies_in_the_middle_leaves_the_old_format() {
    let directory = tempfile::tempdir().unwrap();
    of_format_1(directory.path());
    // The whole of it is one transaction: this is what a kill before its commit leaves.
    let connection = Connection::open(directory.path().join("ledger.sqlite")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    sums::register(&connection).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection.pragma_update(None, "cache_size", 1).unwrap();
    connection.execute_batch(schema::STEPS[1].sql).unwrap();
    sums::install(&connection).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    let error = Ledger::open_read_only(copy.path()).unwrap_err();
    assert!(matches!(error, LedgerError::Older { found: 1, .. }), "{error:?}");
    Ledger::open(copy.path()).unwrap();
}
