//! Whatever has happened to the file: every answer is right, or there is none and it is said what to do.

use super::*;
use crate::failure::Failure;
use crate::mail::{Fate, Side};
use std::time::SystemTime;

const PAGE: usize = 4096;
const DATABASE: &str = "ledger.sqlite";
const LOG: &str = "ledger.sqlite-wal";

/// The files of a ledger as a kill leaves them, the state at every commit in order, and the database as it once was.
struct Left {
    database: Vec<u8>,
    log: Vec<u8>,
    states: Vec<String>,
    before: Vec<u8>,
}

/// Reads everything that can be asked.
async fn everything(ledger: &Ledger) -> Result<String, LedgerError> {
    let mut all = Vec::new();
    for account in ledger.accounts().await? {
        all.push(format!("{account:?}"));
        for folder in ledger.folders(account.id).await? {
            let same = ledger.folder(account.id, &folder.source, &folder.target, &folder.path).await?;
            all.push(format!("{folder:?} {same:?}"));
            for epoch in 1..=2 {
                all.push(format!("{:?}", ledger.records(folder.id, validity(epoch), Uid::FIRST, usize::MAX).await?));
                all.push(format!("{:?}", ledger.intended(folder.id, validity(epoch)).await?));
                all.push(format!("{:?}", ledger.unplaced(folder.id, validity(epoch), Uid::FIRST, usize::MAX).await?));
            }
            all.push(format!("{:?}", ledger.paired(folder.id, validity(9)).await?));
        }
        all.push(format!("{:?}", ledger.troubles(account.id, 0, usize::MAX).await?));
        all.push(format!("{:?}", ledger.losses(account.id, 0, usize::MAX).await?));
        all.push(format!("{:?}", ledger.has_reached(account.id, Side::Source).await?));
    }
    Ok(all.join("\n"))
}

fn read(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(name)).unwrap_or_default()
}

/// A little of everything: two accounts, three folders, every stage.
async fn fill(ledger: &Ledger, states: &mut Vec<String>) -> Vec<FolderId> {
    states.push(everything(ledger).await.unwrap());
    let mut folders = Vec::new();
    for user in ["info", "sales"] {
        let account = ledger.account(&key(user, user), job("acme")).await.unwrap();
        states.push(everything(ledger).await.unwrap());
        ledger.reached(account, Side::Source).await.unwrap();
        states.push(everything(ledger).await.unwrap());
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        ledger.set_account_state(account, AccountState::Complete { at: since }).await.unwrap();
        states.push(everything(ledger).await.unwrap());
        folders.push(inbox(ledger, account).await);
        states.push(everything(ledger).await.unwrap());
    }
    folders
}

async fn work(ledger: &Ledger, folder: FolderId, from: u32, states: &mut Vec<String>) {
    let epoch = validity(1);
    ledger.intend(folder, epoch, (from..from + 60).map(intent).collect()).await.unwrap();
    states.push(everything(ledger).await.unwrap());
    let landed = |number: u32| (uid(number), acknowledged((!number.is_multiple_of(7)).then_some((9, number + 500))));
    ledger.landed(folder, epoch, (from..from + 40).map(landed).collect()).await.unwrap();
    ledger.flush().await.unwrap();
    states.push(everything(ledger).await.unwrap());
    let trouble = Trouble {
        kind: "refused".to_owned(),
        words: "NO too large".to_owned(),
        subject: "s".repeat(200),
        date_header: "now".to_owned(),
        size: 9,
    };
    let settle = |number| Settlement {
        source_uid: uid(number),
        fate: Ending::Refused,
        size: 5,
        date: None,
        trouble: Some(trouble.clone()),
    };
    ledger.settle(folder, epoch, (from + 40..from + 50).map(settle).collect()).await.unwrap();
    states.push(everything(ledger).await.unwrap());
    ledger.note_loss(folder, epoch, uid(from), LossKind::Keyword, "$Odd").await.unwrap();
    ledger.flush().await.unwrap();
    states.push(everything(ledger).await.unwrap());
}

/// Works, folds the log into the file in between and at the end as asked, and takes what a kill would leave.
async fn left(closed: bool) -> Left {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut states = Vec::new();
    let folders = fill(&ledger, &mut states).await;
    for round in 0..3 {
        work(&ledger, folders[round % 2], 1 + 100 * round as u32, &mut states).await;
    }
    let other = Connection::open(directory.path().join(DATABASE)).unwrap();
    other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    let before = read(directory.path(), DATABASE);
    for round in 3..5 {
        work(&ledger, folders[round % 2], 1 + 100 * round as u32, &mut states).await;
    }
    drop(other);
    if closed {
        ledger.close().await.unwrap();
    }
    let (database, log) = (read(directory.path(), DATABASE), read(directory.path(), LOG));
    assert_eq!(log.is_empty(), closed);
    Left { database, log, states, before }
}

enum Came {
    Right,
    /// The state of an earlier commit: what a power cut would have left.
    Earlier,
    Refused,
}

/// Opens these files, reads everything, goes on.
async fn check(what: &str, left: &Left, database: &[u8], log: &[u8]) -> Came {
    // In memory where there is such a place: thousands of ledgers are not to wait for a disk.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for (name, bytes) in [(DATABASE, database), (LOG, log)] {
        if !bytes.is_empty() || name == DATABASE {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
    }
    let ledger = match Ledger::open(directory.path()) {
        Ok(ledger) => ledger,
        Err(error) => {
            let failure = Failure::from(error);
            assert!(failure.text.contains(DATABASE), "{what}: {failure}");
            assert!(failure.hint.contains("mailhaul state rebuild"), "{what}: {failure}");
            let kept = (read(directory.path(), DATABASE), read(directory.path(), LOG));
            assert!(kept == (database.to_vec(), log.to_vec()), "{what}: a file that is refused is not touched");
            return Came::Refused;
        }
    };
    let all = everything(&ledger).await.unwrap_or_else(|error| panic!("{what}: found out too late: {error}"));
    let at = left.states.iter().rposition(|state| *state == all);
    let at = at.unwrap_or_else(|| panic!("{what}: a wrong answer"));
    // Where there is a folder, a further record goes in, and is there after opening again.
    if at > 4 {
        let folder = FolderId(1);
        ledger.intend(folder, validity(1), vec![intent(9000)]).await.unwrap();
        ledger.close().await.unwrap();
        // Read whole, as if it were another file.
        std::fs::remove_file(directory.path().join("locks/sound")).unwrap();
        let ledger =
            Ledger::open(directory.path()).unwrap_or_else(|error| panic!("{what}: broken by going on: {error}"));
        assert!(ledger.record(folder, validity(1), uid(9000)).await.unwrap().is_some(), "{what}");
    }
    if at + 1 == left.states.len() { Came::Right } else { Came::Earlier }
}

/// Always the same noise.
fn noise(seed: usize) -> impl FnMut() -> u8 {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    }
}

type Damage = (&'static str, fn(&mut [u8], usize));

const DAMAGES: [Damage; 6] = [
    ("zeroed", |page, _| page.fill(0)),
    ("noise", |page, at| page.fill_with(noise(at))),
    ("second half zeroed", |page, _| page[PAGE / 2..].fill(0)),
    ("second half noise", |page, at| page[PAGE / 2..].fill_with(noise(at))),
    ("first half zeroed", |page, _| page[..PAGE / 2].fill(0)),
    ("last sector noise", |page, at| page[PAGE - 512..].fill_with(noise(at))),
];

#[tokio::test]
async fn a_damaged_page_of_the_file_is_a_refusal_or_harmless() {
    let left = left(true).await;
    let pages = left.database.len() / PAGE;
    assert!(pages > 30, "{pages}");
    assert!(matches!(check("whole", &left, &left.database, &[]).await, Came::Right));
    let (mut refused, mut right) = (0, 0);
    let mut count = |came| match came {
        Came::Right => right += 1,
        Came::Refused => refused += 1,
        Came::Earlier => panic!("nothing of it is in a log"),
    };
    for page in 0..pages {
        let range = page * PAGE..(page + 1) * PAGE;
        for (name, damage) in DAMAGES {
            let mut database = left.database.clone();
            damage(&mut database[range.clone()], page);
            count(check(&format!("page {page} {name}"), &left, &database, &[]).await);
        }
        let mut database = left.database.clone();
        database[range.clone()].copy_from_slice(left.before.get(range.clone()).unwrap_or(&[0; PAGE]));
        count(check(&format!("page {page} as it was before"), &left, &database, &[]).await);
        for length in [page * PAGE, page * PAGE + PAGE / 2] {
            count(check(&format!("cut to {length}"), &left, &left.database[..length], &[]).await);
        }
        let mut place = noise(page);
        for _ in 0..16 {
            let at = range.start + (usize::from(place()) << 8 | usize::from(place())) % PAGE;
            let mut database = left.database.clone();
            database[at] ^= 1 << (place() % 8);
            count(check(&format!("byte {at} flipped"), &left, &database, &[]).await);
        }
    }
    println!("{pages} pages: {refused} refused, {right} harmless");
    // What no row uses may hold anything.
    assert!(refused > right, "{refused} refused, {right} harmless");
}

#[tokio::test]
async fn a_damaged_page_beside_a_log_is_a_refusal_or_harmless() {
    let left = left(false).await;
    assert!(matches!(check("whole", &left, &left.database, &left.log).await, Came::Right));
    for page in 0..left.database.len() / PAGE {
        for (name, damage) in DAMAGES {
            let mut database = left.database.clone();
            damage(&mut database[page * PAGE..(page + 1) * PAGE], page);
            let came = check(&format!("page {page} {name}"), &left, &database, &left.log).await;
            assert!(!matches!(came, Came::Earlier), "page {page} {name}");
        }
    }
}

#[tokio::test]
async fn a_damaged_log_is_a_refusal_or_as_if_the_power_had_gone_earlier() {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + PAGE;
    let left = left(false).await;
    let frames = (left.log.len() - HEADER) / FRAME;
    let mut earlier = 0;
    for frame in 0..frames {
        let begin = HEADER + frame * FRAME;
        for (name, damage) in [DAMAGES[0], DAMAGES[5]] {
            let mut log = left.log.clone();
            damage(&mut log[begin + 24..begin + FRAME], frame);
            earlier += u32::from(matches!(
                check(&format!("frame {frame} {name}"), &left, &left.database, &log).await,
                Came::Earlier
            ));
        }
        for length in [begin, begin + FRAME / 2] {
            check(&format!("log cut to {length}"), &left, &left.database, &left.log[..length]).await;
        }
    }
    for at in 0..HEADER {
        let mut log = left.log.clone();
        log[at] ^= 0x10;
        check(&format!("byte {at} of the log"), &left, &left.database, &log).await;
    }
    println!("{frames} frames: {earlier} earlier");
    assert!(earlier > 0);
}

#[tokio::test]
async fn a_log_that_is_gone_is_a_refusal_or_an_earlier_state() {
    let left = left(false).await;
    assert!(!matches!(check("without its log", &left, &left.database, &[]).await, Came::Right));
}

#[tokio::test]
async fn a_log_without_its_file_is_refused_and_kept() {
    let left = left(false).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(LOG), &left.log).unwrap();
    for error in [Ledger::open(directory.path()).err(), Ledger::open_read_only(directory.path()).err()] {
        let failure = Failure::from(error.unwrap());
        assert!(failure.text.contains("it is gone, and its log"), "{failure}");
        assert!(failure.hint.contains("mailhaul state rebuild"), "{failure}");
    }
    assert_eq!(read(directory.path(), LOG), left.log);
    assert!(!directory.path().join(DATABASE).exists());
}

#[tokio::test]
async fn an_index_of_the_log_that_is_garbage_does_no_harm() {
    let left = left(false).await;
    for length in [10, 32 << 10, 100_000] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(DATABASE), &left.database).unwrap();
        std::fs::write(directory.path().join(LOG), &left.log).unwrap();
        let mut garbage = vec![0; length];
        garbage.fill_with(noise(length));
        std::fs::write(directory.path().join("ledger.sqlite-shm"), garbage).unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(&everything(&ledger).await.unwrap(), left.states.last().unwrap());
    }
}

#[tokio::test]
async fn a_copy_of_the_files_while_they_are_written_is_never_believed_wrongly() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut states = Vec::new();
    let folders = fill(&ledger, &mut states).await;
    let mut copies = Vec::new();
    for round in 0..8 {
        // Plain cp takes the file now, or half of it now and half of it later; some take the log, some do not.
        let now = read(directory.path(), DATABASE);
        work(&ledger, folders[round % 2], 1 + 100 * round as u32, &mut states).await;
        let other = Connection::open(directory.path().join(DATABASE)).unwrap();
        other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        drop(other);
        let (later, log) = (read(directory.path(), DATABASE), read(directory.path(), LOG));
        let middle = now.len() / 2 / PAGE * PAGE;
        let torn = [&now[..middle], &later[middle..]].concat();
        copies.extend([(now.clone(), Vec::new()), (now, log.clone()), (torn.clone(), Vec::new()), (torn, log)]);
    }
    let left = Left { database: Vec::new(), log: Vec::new(), states, before: Vec::new() };
    for (number, (database, log)) in copies.iter().enumerate() {
        check(&format!("copy {number}"), &left, database, log).await;
    }
}

/// What is done to a file that was closed well, and how it is opened then.
async fn reopened(damage: impl FnOnce(&Path)) -> Result<Ledger, LedgerError> {
    let directory = tempfile::tempdir().unwrap().keep();
    let ledger = Ledger::open(&directory).unwrap();
    let folders = fill(&ledger, &mut Vec::new()).await;
    work(&ledger, folders[0], 1, &mut Vec::new()).await;
    ledger.close().await.unwrap();
    damage(&directory);
    let opened = Ledger::open(&directory);
    std::fs::remove_dir_all(directory).unwrap();
    opened
}

/// Flips bytes in every page of the file, in place.
fn spoil(directory: &Path) {
    let path = directory.join(DATABASE);
    let mut bytes = std::fs::read(&path).unwrap();
    for page in 1..bytes.len() / PAGE {
        bytes[page * PAGE + PAGE - 100..][..50].fill_with(noise(page));
    }
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_file_that_was_closed_well_and_written_since_is_read_whole() {
    assert!(reopened(|_| {}).await.is_ok());
    // At once: the clock of the file system may not even have moved.
    for _ in 0..20 {
        assert!(matches!(reopened(spoil).await, Err(LedgerError::Damaged { .. })));
    }
    // By a program that puts the time back, as tar and cp -p do.
    let put_back = |directory: &Path| {
        let path = directory.join(DATABASE);
        let modified = path.metadata().unwrap().modified().unwrap();
        spoil(directory);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    };
    let waiting = |directory: &Path| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        put_back(directory);
    };
    assert!(matches!(reopened(waiting).await, Err(LedgerError::Damaged { .. })));
    // Another file in its place.
    let replaced = |directory: &Path| {
        let other = directory.join("other");
        std::fs::copy(directory.join(DATABASE), &other).unwrap();
        let modified = directory.join(DATABASE).metadata().unwrap().modified().unwrap();
        std::fs::rename(other, directory.join(DATABASE)).unwrap();
        spoil(directory);
        let file = std::fs::File::options().write(true).open(directory.join(DATABASE)).unwrap();
        file.set_modified(modified).unwrap();
    };
    assert!(matches!(reopened(replaced).await, Err(LedgerError::Damaged { .. })));
}

/// Changes a sealed file in a way that the file system does not see, as a disk does that rots: by sealing it again.
async fn rotten(sql: &str, looked: SystemTime) -> Result<Ledger, LedgerError> {
    reopened(|directory| {
        let connection = Connection::open(directory.join(DATABASE)).unwrap();
        let triggers: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let definitions: Vec<String> = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        triggers.iter().for_each(|name| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
        connection.execute_batch(sql).unwrap();
        definitions.iter().for_each(|sql| connection.execute_batch(sql).unwrap());
        connection.close().unwrap();
        let place = super::super::file::Place::resolve(directory).unwrap();
        place.seal().put(looked);
    })
    .await
}

#[tokio::test]
async fn what_an_unchanged_run_stands_on_is_compared_each_time_and_the_rest_each_day() {
    let (now, day) = (SystemTime::now(), std::time::Duration::from_secs(24 * 3600));
    let damaged = |opened: Result<Ledger, LedgerError>| matches!(opened, Err(LedgerError::Damaged { .. }));
    assert!(damaged(rotten("UPDATE folders SET watermark = '[]'", now).await));
    assert!(damaged(rotten("UPDATE accounts SET job_name = 'other'", now).await));
    let records = "UPDATE records SET size = size + 1 WHERE uid = 3";
    assert!(!damaged(rotten(records, now).await), "the seal was not believed");
    assert!(damaged(rotten(records, now - day).await));
    assert!(damaged(rotten(records, now + day).await));
}

#[tokio::test]
async fn every_change_of_every_table_enters_the_sums() {
    let (directory, ledger, account, folder) = begin().await;
    work(&ledger, folder, 1, &mut Vec::new()).await;
    let mut theirs = intent(2);
    theirs.target = Some((validity(9), uid(77)));
    // Takes the place of a row that has a trouble.
    theirs.source_uid = uid(41);
    ledger.adopt(folder, validity(1), vec![theirs]).await.unwrap();
    ledger.prove(folder, validity(1), vec![(uid(3), Evidence::BytesEqual)]).await.unwrap();
    ledger.rebase(folder, validity(1), vec![(uid(3), Flags::default())]).await.unwrap();
    ledger.retract(folder, validity(1), vec![uid(55)]).await.unwrap();
    ledger.set_account_state(account, AccountState::Interrupted).await.unwrap();
    ledger.set_watermark(folder, None).await.unwrap();
    let totals = ledger.accounts().await.unwrap().remove(0).totals;
    assert_eq!((totals.of(Fate::Adopted).messages, totals.of(Fate::Refused).messages), (1, 9));
    ledger.close().await.unwrap();
    let connection = Connection::open(directory.path().join(DATABASE)).unwrap();
    assert_eq!(sums::complaint(&connection).unwrap(), None);
}
