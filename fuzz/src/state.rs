//! A ledger that something has damaged: opened to be read and to be written, it works or is refused.
//!
//! The input is a list of changes to a small ledger, six bytes each: what to do, where (three bytes), two bytes more. What it
//! then says may be wrong; it may not panic, and it may not keep anybody waiting.

use mailhaul::checkpoint::{AccountKey, Ending, JobReference, Ledger, LedgerError, Settlement};
use mailhaul::mail::{Digest, Evidence, Flags, FolderPath, InternalDate, Record, Stage, Uid, UidValidity, WireName};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Where the ledger lies that is damaged: in memory where there is such a place.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).build().unwrap().block_on(work)
}

/// The bytes of a ledger with a bit of everything, and of the log beside it.
static WHOLE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let directory = scratch();
    block_on(async {
        let ledger = Ledger::open(directory.path()).unwrap();
        fill(&ledger, 1).await.unwrap();
        drop(ledger);
        let closed = std::fs::read(directory.path().join(FILE)).unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        fill(&ledger, 2).await.unwrap();
        let log = std::fs::read(directory.path().join(LOG)).unwrap();
        [closed, log]
    })
});

const FILE: &str = "ledger.sqlite";
const LOG: &str = "ledger.sqlite-wal";

fn key(number: u32) -> AccountKey {
    AccountKey::new("a.example", 993, &format!("user{number}"), "b.example", 993, "user")
}

async fn fill(ledger: &Ledger, number: u32) -> Result<(), LedgerError> {
    let path = PathBuf::from("/jobs/job.toml");
    let job =
        JobReference { name: "job".to_owned(), path, digest: Digest([1; 32]), account_name: format!("u{number}") };
    let account = ledger.account(&key(number), job).await?;
    let inbox = WireName::new("INBOX");
    let folder = ledger.folder(account, &inbox, &inbox, &FolderPath::inbox()).await?.id;
    let Some(epoch) = UidValidity::new(7) else { return Ok(()) };
    let record = |uid: u32| {
        Some(Record {
            source_uid: Uid::new(uid)?,
            stage: Stage::Intended,
            target: None,
            floor: Some((epoch, Uid::FIRST)),
            size: 100,
            digest: Some(Digest([uid as u8; 32])),
            header: None,
            date: InternalDate::new(1000, 60),
            flags: Flags::parse("\\Seen a"),
            risky: uid.is_multiple_of(2),
            evidence: Evidence::None,
        })
    };
    ledger.intend(folder, epoch, (1..20).filter_map(record).collect()).await?;
    let ended = |uid| Settlement { source_uid: uid, fate: Ending::Excluded, size: 3, date: None, trouble: None };
    ledger.settle(folder, epoch, (30..40).filter_map(Uid::new).map(ended).collect()).await?;
    ledger.flush().await
}

/// Tries one input.
pub(super) fn run(input: &[u8]) {
    let [mut file, mut log] = WHOLE.clone();
    let mut with_log = false;
    for change in input.chunks_exact(6).take(64) {
        let at = u32::from_be_bytes([0, change[1], change[2], change[3]]) as usize;
        let wanted = if change[0] & 0x80 == 0 { &mut file } else { &mut log };
        with_log |= change[0] & 0x80 != 0;
        damage(wanted, change[0] & 0x7f, at, [change[4], change[5]]);
    }
    let directory = scratch();
    std::fs::write(directory.path().join(FILE), file).unwrap();
    if with_log {
        std::fs::write(directory.path().join(LOG), log).unwrap();
    }
    block_on(async {
        // What is wrong is told; what it is, is not the question here.
        if let Ok(Some(ledger)) = Ledger::open_read_only(directory.path()) {
            drop(look(&ledger).await);
        }
        if let Ok(ledger) = Ledger::open(directory.path()) {
            drop(look(&ledger).await);
            drop(fill(&ledger, 3).await);
            drop(look(&ledger).await);
            drop(ledger.close().await);
        }
    });
}

fn damage(bytes: &mut Vec<u8>, what: u8, at: usize, with: [u8; 2]) {
    if bytes.is_empty() {
        return;
    }
    let at = at % bytes.len();
    // Most of what matters stands at the begin of a page.
    let page = at / PAGE * PAGE;
    match what % 6 {
        0 => bytes[at] = with[0],
        1 => bytes[at] ^= with[0] | 1,
        2 => bytes.truncate(at),
        3 => bytes[page..].iter_mut().take(PAGE).for_each(|byte| *byte = 0),
        4 => {
            let from = usize::from(with[0]) * PAGE % bytes.len() / PAGE * PAGE;
            let copy: Vec<u8> = bytes[from..].iter().take(PAGE).copied().collect();
            bytes[page..].iter_mut().zip(copy).for_each(|(byte, other)| *byte = other);
        }
        _ => {
            let begin = 100.min(bytes.len() - page);
            bytes[page + usize::from(with[1]) % begin] = with[0];
        }
    }
}

/// SQLite's own size of a page.
const PAGE: usize = 4096;

async fn look(ledger: &Ledger) -> Result<(), LedgerError> {
    for account in ledger.accounts().await? {
        for folder in ledger.folders(account.id).await? {
            assert!(folder.path.parts().len() < 1000);
        }
        ledger.troubles(account.id, 0, 100).await?;
        ledger.losses(account.id, 0, 100).await?;
    }
    Ok(())
}
