//! The file: who may read it, what is refused.

use super::*;
use crate::failure::{Failure, Kind};
use crate::mail::Fate;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().canonicalize().unwrap().join("ledger.sqlite")
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn open_error(directory: &Path) -> LedgerError {
    Ledger::open(directory).err().unwrap()
}

/// Changes a closed ledger behind its back.
async fn doctored(change: impl FnOnce(&Path)) -> (tempfile::TempDir, LedgerError) {
    let (directory, ledger, _, folder) = begin().await;
    for window in 0..20 {
        let records = (1..=100).map(|number| intent(100 * window + number)).collect();
        ledger.intend(folder, validity(1), records).await.unwrap();
    }
    ledger.close().await.unwrap();
    change(&path(&directory));
    let before = std::fs::read(path(&directory)).unwrap();
    let error = open_error(directory.path());
    assert_eq!(std::fs::read(path(&directory)).unwrap(), before, "a file that is refused is not touched");
    (directory, error)
}

#[tokio::test]
async fn only_the_owner_can_read_the_state() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state/mailhaul");
    let ledger = Ledger::open(&directory).unwrap();
    let account = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
    let _lock = ledger.lock(account).await.unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("locks")), 0o700);
    let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend(std::fs::read_dir(directory.join("locks")).unwrap().map(|entry| entry.unwrap().path()));
    files.retain(|path| path.is_file());
    assert_eq!(files.len(), 5, "{files:?}");
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{}", file.display()));
}

#[tokio::test]
async fn a_ledger_that_others_could_read_is_closed_to_them() {
    let (directory, ledger, ..) = begin().await;
    ledger.close().await.unwrap();
    std::fs::set_permissions(path(&directory), PermissionsExt::from_mode(0o644)).unwrap();
    let _ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(mode(&path(&directory)), 0o600);
}

#[tokio::test]
async fn a_newer_format_names_the_version_that_reads_it() {
    let (_directory, error) = doctored(|path| {
        let connection = Connection::open(path).unwrap();
        connection.execute("UPDATE meta SET value = '0.9.0' WHERE key = 'needs'", []).unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        connection.close().unwrap();
    })
    .await;
    assert!(matches!(error, LedgerError::Newer { found: 7, known: 2, .. }), "{error:?}");
    let failure = Failure::from(error);
    assert_eq!((failure.kind, failure.hint.as_str()), (Kind::State, "use mailhaul 0.9.0 or later"));
    assert!(failure.text.ends_with("it has format 7, and this mailhaul knows formats up to 2"), "{}", failure.text);
}

#[test]
fn an_old_format_is_brought_forward_in_one_step_or_not_at_all() {
    use schema::{Step, migrate, needs};
    let good = [
        Step { needs: "0.1.0", sql: "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE a (x);" },
        Step { needs: "0.2.0", sql: "ALTER TABLE a ADD COLUMN y DEFAULT 5;" },
        Step { needs: "0.3.0", sql: "CREATE TABLE b AS SELECT y FROM a;" },
    ];
    let bad = [Step { ..good[0] }, Step { ..good[1] }, Step { needs: "0.3.0", sql: "DROP TABLE a; nonsense;" }];
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, &good[..1]).unwrap();
    connection.execute("INSERT INTO a (x) VALUES (1)", []).unwrap();
    assert!(migrate(&mut connection, &bad).is_err());
    let version = |connection: &Connection| -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    assert_eq!((version(&connection), needs(&connection).as_str()), (1, "0.1.0"));
    migrate(&mut connection, &good).unwrap();
    assert_eq!((version(&connection), needs(&connection).as_str()), (3, "0.3.0"));
    assert_eq!(connection.query_row("SELECT y FROM b", [], |row| row.get::<_, i64>(0)).unwrap(), 5);
    migrate(&mut connection, &good).unwrap();
}

#[tokio::test]
async fn what_is_no_ledger_is_refused_and_left_alone() {
    let (_directory, error) = doctored(|path| std::fs::write(path, "Dear diary, today I").unwrap()).await;
    assert!(matches!(&error, LedgerError::Foreign { .. }), "{error:?}");
    assert!(error.to_string().ends_with("it is no SQLite database"), "{error}");

    let (_directory, error) = doctored(|path| {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "application_id", 1).unwrap();
        connection.close().unwrap();
    })
    .await;
    assert!(error.to_string().ends_with("it is the SQLite database of another program"), "{error}");
}

#[tokio::test]
async fn a_damaged_ledger_is_refused_and_never_made_anew() {
    let cut =
        |to: u64| move |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(to).unwrap();
    for length in [0, 10, 4096, 40_000] {
        let (_directory, error) = doctored(cut(length)).await;
        assert!(matches!(error, LedgerError::Damaged { .. }), "{length}: {error:?}");
        assert_eq!(Failure::from(error).kind, Kind::State);
    }
}

#[tokio::test]
async fn damage_inside_is_found_when_it_is_read() {
    let (directory, ledger, _, folder) = begin().await;
    let records = (1..=2000).map(intent).collect();
    ledger.intend(folder, validity(1), records).await.unwrap();
    ledger.close().await.unwrap();
    let mut bytes = std::fs::read(path(&directory)).unwrap();
    let pages = bytes.len() / 4096;
    bytes[4096 * (pages / 2)..4096 * (pages - 1)].fill(0x5a);
    std::fs::write(path(&directory), bytes).unwrap();
    let error = match Ledger::open(directory.path()) {
        Ok(ledger) => ledger.records(folder, validity(1), Uid::FIRST, usize::MAX).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = open_error(&file.join("state"));
    assert!(matches!(&error, LedgerError::Directory { path, .. } if path.ends_with("file/state")), "{error:?}");
    assert!(error.hint().contains("--state"));
}

#[tokio::test]
async fn reading_beside_a_writer_sees_what_is_durable_and_changes_nothing() {
    let missing = tempfile::tempdir().unwrap();
    assert!(Ledger::open_read_only(missing.path()).unwrap().is_none());
    assert!(Ledger::open_read_only(&missing.path().join("none")).unwrap().is_none());

    let (directory, ledger, account, folder) = begin().await;
    let reader = Ledger::open_read_only(directory.path()).unwrap().unwrap();
    for number in 1..=3 {
        ledger.intend(folder, validity(1), vec![intent(number)]).await.unwrap();
        assert_eq!(reader.accounts().await.unwrap()[0].totals.intended.messages, u64::from(number));
    }
    assert_eq!(reader.retract(folder, validity(1), vec![uid(1)]).await.unwrap_err(), LedgerError::ReadOnly);
    assert_eq!(
        reader.landed(folder, validity(1), vec![(uid(1), acknowledged(None))]).await,
        Err(LedgerError::ReadOnly)
    );
    reader.flush().await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(reader.folders(account).await.unwrap().len(), 1);
    reader.close().await.unwrap();
    let late = Ledger::open_read_only(directory.path()).unwrap().unwrap();
    assert_eq!(late.accounts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_processes_can_write_one_ledger() {
    let (directory, ledger, _, folder) = begin().await;
    let second = Ledger::open(directory.path()).unwrap();
    let account = second.account(&key("sales", "sales"), job("acme")).await.unwrap();
    let other = inbox(&second, account).await;
    for number in 1..=20 {
        let write = |ledger: Ledger, folder| async move {
            ledger.intend(folder, validity(1), vec![intent(number)]).await.unwrap();
            ledger.landed(folder, validity(1), vec![(uid(number), acknowledged(None))]).await.unwrap();
        };
        tokio::join!(write(ledger.clone(), folder), write(second.clone(), other));
    }
    ledger.flush().await.unwrap();
    second.flush().await.unwrap();
    for totals in ledger.accounts().await.unwrap().iter().map(|account| &account.totals) {
        assert_eq!(totals.of(Fate::Copied).messages, 20);
    }
}

#[test]
fn many_that_begin_at_once_begin_the_same_ledger() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Ledger::open(directory.path()).unwrap());
        }
    });
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
