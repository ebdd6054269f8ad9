//! What became of messages, and when it is durable.

use super::*;
use crate::mail::Fate;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, PoisonError};
use std::time::Duration;

const EPOCH: u32 = 3;

async fn stage(ledger: &Ledger, folder: FolderId, number: u32) -> Option<Stage> {
    ledger.record(folder, validity(EPOCH), uid(number)).await.unwrap().map(|record| record.stage)
}

/// Opens what a power cut would leave: a copy of the files as they are now, without the index of the log.
fn after_power_cut(directory: &Path) -> (tempfile::TempDir, Ledger) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
        if directory.join(name).exists() {
            std::fs::copy(directory.join(name), copy.path().join(name)).unwrap();
        }
    }
    let ledger = Ledger::open(copy.path()).unwrap();
    (copy, ledger)
}

/// Dies at one commit, as a kill does.
struct DieAt {
    before: Option<u64>,
    after: Option<u64>,
}

impl Steps for DieAt {
    fn before_commit(&self, commit: u64) -> ControlFlow<()> {
        if self.before == Some(commit) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn after_commit(&self, commit: u64) -> ControlFlow<()> {
        if self.after == Some(commit) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[tokio::test]
async fn every_column_of_an_intent_comes_back_after_reopening() {
    let (directory, ledger, account, folder) = begin().await;
    let mut bare = intent(8);
    (bare.floor, bare.digest, bare.header, bare.date) = (None, None, None, None);
    (bare.flags, bare.size) = (Flags::default(), u64::MAX);
    let written = vec![intent(3), intent(5), bare];
    ledger.intend(folder, validity(EPOCH), written.clone()).await.unwrap();
    ledger.close().await.unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.account(&key("info", "info"), job("acme")).await.unwrap(), account);
    assert_eq!(inbox(&ledger, account).await, folder);
    let mut expected = written;
    // SQLite's numbers end at 2^63 - 1.
    expected[2].size = i64::MAX as u64;
    assert_eq!(ledger.intended(folder, validity(EPOCH)).await.unwrap(), expected);
    assert_eq!(ledger.intended(folder, validity(EPOCH + 1)).await.unwrap(), []);
}

#[tokio::test]
async fn an_intent_outlives_a_power_cut_as_soon_as_it_returned() {
    let (directory, ledger, _, folder) = begin().await;
    for number in 1..=5 {
        ledger.intend(folder, validity(EPOCH), vec![intent(number)]).await.unwrap();
        let (_copy, revived) = after_power_cut(directory.path());
        assert_eq!(revived.intended(folder, validity(EPOCH)).await.unwrap().len(), number as usize);
    }
}

#[tokio::test]
async fn landed_rides_the_next_commit() {
    let (directory, ledger, _, folder) = begin().await;
    ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
    ledger.landed(folder, validity(EPOCH), vec![(uid(1), acknowledged(Some((9, 77))))]).await.unwrap();
    ledger.intend(folder, validity(EPOCH), vec![intent(2)]).await.unwrap();
    let (_copy, revived) = after_power_cut(directory.path());
    let record = revived.record(folder, validity(EPOCH), uid(1)).await.unwrap().unwrap();
    assert_eq!(record.stage, Stage::Settled(Fate::Copied));
    assert_eq!(record.target, Some((validity(9), uid(77))));
    assert_eq!(stage(&revived, folder, 2).await, Some(Stage::Intended));
}

#[tokio::test]
async fn landed_becomes_durable_by_itself() {
    struct Tell(std::sync::mpsc::Sender<u64>);
    impl Steps for Tell {
        fn after_commit(&self, commit: u64) -> ControlFlow<()> {
            let _ = self.0.send(commit);
            ControlFlow::Continue(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let (told, commits) = std::sync::mpsc::channel();
    let ledger = Ledger::open_with(directory.path(), Tell(told)).unwrap();
    let account = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
    let folder = inbox(&ledger, account).await;
    ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
    while commits.try_recv().is_ok() {}
    ledger.landed(folder, validity(EPOCH), vec![(uid(1), acknowledged(None))]).await.unwrap();
    commits.recv_timeout(Duration::from_secs(10)).unwrap();
    let (_copy, revived) = after_power_cut(directory.path());
    assert_eq!(stage(&revived, folder, 1).await, Some(Stage::Settled(Fate::Copied)));
}

#[tokio::test]
async fn a_kill_loses_what_was_not_committed_and_nothing_else() {
    // Commits 1 to 3 are the account, the folder and the first intent.
    for (die, survives) in
        [(DieAt { before: Some(4), after: None }, false), (DieAt { before: None, after: Some(4) }, true)]
    {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_with(directory.path(), die).unwrap();
        let account = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
        let folder = inbox(&ledger, account).await;
        ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
        let error = ledger.intend(folder, validity(EPOCH), vec![intent(2)]).await.unwrap_err();
        assert_eq!(error, LedgerError::Closed);
        assert_eq!(ledger.intend(folder, validity(EPOCH), vec![intent(3)]).await.unwrap_err(), LedgerError::Closed);
        assert_eq!(ledger.flush().await.unwrap_err(), LedgerError::Closed);
        drop(ledger);
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(stage(&ledger, folder, 1).await, Some(Stage::Intended));
        assert_eq!(stage(&ledger, folder, 2).await.is_some(), survives);
        assert_eq!(stage(&ledger, folder, 3).await, None);
    }
}

#[tokio::test]
async fn dropping_the_last_handle_writes_what_is_queued() {
    let (directory, ledger, _, folder) = begin().await;
    ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
    ledger.landed(folder, validity(EPOCH), vec![(uid(1), acknowledged(None))]).await.unwrap();
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(stage(&ledger, folder, 1).await, Some(Stage::Settled(Fate::Copied)));
}

#[tokio::test]
async fn a_closed_ledger_says_so_on_every_handle() {
    let (directory, ledger, _, folder) = begin().await;
    let other = ledger.clone();
    ledger.close().await.unwrap();
    let refused = other.intend(folder, validity(EPOCH), vec![intent(1)]).await;
    assert_eq!(refused.unwrap_err(), LedgerError::Closed);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.iter().filter(|name| name.to_string_lossy().starts_with("ledger")).count(), 1, "{left:?}");
}

#[tokio::test]
async fn what_landed_is_not_intended_again() {
    let (_directory, ledger, _, folder) = begin().await;
    ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
    ledger.landed(folder, validity(EPOCH), vec![(uid(1), acknowledged(None))]).await.unwrap();
    let again = ledger.intend(folder, validity(EPOCH), vec![intent(2), intent(1)]).await;
    assert_eq!(again.unwrap_err(), LedgerError::Landed { uid: uid(1), fate: Fate::Copied });
    assert_eq!(stage(&ledger, folder, 2).await, None, "the batch is refused as a whole");
    let removed = Settlement { source_uid: uid(1), fate: Ending::Removed, size: 0, date: None, trouble: None };
    ledger.settle(folder, validity(EPOCH), vec![removed]).await.unwrap();
    ledger.intend(folder, validity(EPOCH), vec![intent(2), intent(1)]).await.unwrap();
    assert_eq!(ledger.intended(folder, validity(EPOCH)).await.unwrap(), [intent(1), intent(2)]);
}

#[tokio::test]
async fn the_floor_of_an_open_intent_never_rises() {
    let (_directory, ledger, _, folder) = begin().await;
    let floor = |floor: Option<(u32, u32)>| {
        let mut record = intent(1);
        record.floor = floor.map(|(epoch, number)| (validity(epoch), uid(number)));
        record
    };
    for (given, kept) in [
        (Some((9, 50)), Some((9, 50))),
        (Some((9, 60)), Some((9, 50))),
        (Some((9, 40)), Some((9, 40))),
        (Some((10, 90)), Some((10, 90))),
        (None, None),
        (Some((10, 5)), None),
    ] {
        ledger.intend(folder, validity(EPOCH), vec![floor(given)]).await.unwrap();
        let record = ledger.record(folder, validity(EPOCH), uid(1)).await.unwrap().unwrap();
        assert_eq!(record, floor(kept), "{given:?}");
    }
    ledger.retract(folder, validity(EPOCH), vec![uid(1)]).await.unwrap();
    ledger.intend(folder, validity(EPOCH), vec![floor(Some((10, 95)))]).await.unwrap();
    assert_eq!(ledger.intended(folder, validity(EPOCH)).await.unwrap(), [floor(Some((10, 95)))]);
}

#[tokio::test]
async fn an_acknowledgement_without_intent_is_found_out() {
    let (_directory, ledger, _, folder) = begin().await;
    ledger.landed(folder, validity(EPOCH), vec![(uid(1), acknowledged(None))]).await.unwrap();
    assert_eq!(ledger.flush().await.unwrap_err(), LedgerError::NotIntended { uid: uid(1) });
    ledger.flush().await.unwrap();
    assert_eq!(stage(&ledger, folder, 1).await, None);
}

#[tokio::test]
async fn an_acknowledgement_without_a_place_waits_for_a_look() {
    let (_directory, ledger, _, folder) = begin().await;
    let epoch = validity(EPOCH);
    ledger.intend(folder, epoch, vec![intent(1), intent(2)]).await.unwrap();
    let both = vec![(uid(1), acknowledged(None)), (uid(2), acknowledged(Some((9, 20))))];
    ledger.landed(folder, epoch, both).await.unwrap();
    let unplaced = ledger.unplaced(folder, epoch, Uid::FIRST, 10).await.unwrap();
    assert_eq!(unplaced.iter().map(|record| record.source_uid).collect::<Vec<_>>(), [uid(1)]);
    let target = (validity(9), uid(21));
    let found = Landed::Found { target, altered: true };
    ledger.landed(folder, epoch, vec![(uid(1), found)]).await.unwrap();
    assert!(ledger.unplaced(folder, epoch, Uid::FIRST, 10).await.unwrap().is_empty());
    let record = ledger.record(folder, epoch, uid(1)).await.unwrap().unwrap();
    assert_eq!((record.stage, record.evidence), (Stage::Settled(Fate::Copied), Evidence::None));
    assert!(record.risky, "its bytes are read back");
    assert_eq!(ledger.paired(folder, validity(9)).await.unwrap(), [uid(20), uid(21)]);
}

#[tokio::test]
async fn adopted_mail_needs_a_place_and_holds_it() {
    let (_directory, ledger, _, folder) = begin().await;
    let epoch = validity(EPOCH);
    assert!(ledger.adopt(folder, epoch, vec![intent(1)]).await.is_err());
    let mut theirs = intent(1);
    (theirs.target, theirs.evidence, theirs.floor) = (Some((validity(9), uid(4))), Evidence::MetadataEqual, None);
    theirs.flags = Flags::default();
    ledger.adopt(folder, epoch, vec![theirs.clone()]).await.unwrap();
    theirs.stage = Stage::Settled(Fate::Adopted);
    assert_eq!(ledger.record(folder, epoch, uid(1)).await.unwrap().unwrap(), theirs);
    assert!(matches!(ledger.intend(folder, epoch, vec![intent(1)]).await, Err(LedgerError::Landed { .. })));
    assert_eq!(ledger.paired(folder, validity(9)).await.unwrap(), [uid(4)]);
    // What was never sent has other bytes, or not: that is said of the copy, and goes with it.
    let unsent = Record { source_uid: uid(3), digest: None, risky: true, ..theirs };
    ledger.adopt(folder, epoch, vec![unsent]).await.unwrap();
    for altered in [false, true] {
        let found = Landed::Found { target: (validity(10), uid(4)), altered };
        ledger.landed(folder, epoch, vec![(uid(3), found)]).await.unwrap();
        assert_eq!(ledger.record(folder, epoch, uid(3)).await.unwrap().unwrap().risky, altered);
    }
    assert_eq!(ledger.paired(folder, validity(10)).await.unwrap(), [uid(4)]);
}

#[tokio::test]
async fn one_target_uid_is_held_for_all_that_go_into_its_folder() {
    let (_directory, ledger, account, folder) = begin().await;
    let (inbox, sent) = (WireName::new("INBOX"), WireName::new("Sent"));
    let path = FolderPath::new(vec!["Sent".to_owned()]);
    let merged = ledger.folder(account, &sent, &inbox, &path).await.unwrap().id;
    let elsewhere = ledger.folder(account, &WireName::new("b"), &sent, &path).await.unwrap().id;
    let other = ledger.account(&key("sales", "INFO"), job("acme")).await.unwrap();
    let others = ledger.folder(other, &sent, &WireName::new("Inbox"), &path).await.unwrap().id;
    for (id, epoch, number) in [(folder, 3, 30), (folder, 4, 10), (merged, 3, 20), (elsewhere, 3, 5), (others, 3, 40)] {
        let mut theirs = intent(number);
        theirs.target = Some((validity(9), uid(number)));
        ledger.adopt(id, validity(epoch), vec![theirs]).await.unwrap();
    }
    let all = [uid(10), uid(20), uid(30), uid(40)];
    assert_eq!(ledger.paired(folder, validity(9)).await.unwrap(), all);
    assert_eq!(ledger.paired(merged, validity(9)).await.unwrap(), all);
    assert_eq!(ledger.paired(elsewhere, validity(9)).await.unwrap(), [uid(5)]);
}

#[tokio::test]
async fn records_come_in_windows_by_uid() {
    let (_directory, ledger, _, folder) = begin().await;
    let epoch = validity(EPOCH);
    ledger.intend(folder, epoch, [9, 2, 7, 4, 1].map(intent).to_vec()).await.unwrap();
    let (mut from, mut seen) = (Uid::FIRST, Vec::new());
    loop {
        let window = ledger.records(folder, epoch, from, 2).await.unwrap();
        let Some(last) = window.last() else { break };
        from = uid(last.source_uid.value() + 1);
        seen.extend(window.iter().map(|record| record.source_uid.value()));
    }
    assert_eq!(seen, [1, 2, 4, 7, 9]);
}

#[tokio::test]
async fn a_late_acknowledgement_is_seen_by_the_next_read() {
    let (_directory, ledger, _, folder) = begin().await;
    for number in 1..=50 {
        ledger.intend(folder, validity(EPOCH), vec![intent(number)]).await.unwrap();
        ledger.landed(folder, validity(EPOCH), vec![(uid(number), acknowledged(None))]).await.unwrap();
        assert!(ledger.intended(folder, validity(EPOCH)).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn writers_that_wait_together_are_committed_together() {
    /// Holds the fourth commit until everybody has asked.
    struct Gather(Arc<(Mutex<bool>, Condvar)>, Arc<AtomicU64>);
    impl Steps for Gather {
        fn before_commit(&self, commit: u64) -> ControlFlow<()> {
            self.1.store(commit, Ordering::SeqCst);
            if commit == 4 {
                let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
                drop(self.0.1.wait_while(open, |open| !*open).unwrap());
            }
            ControlFlow::Continue(())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let (gate, commits) = (Arc::new((Mutex::new(false), Condvar::new())), Arc::new(AtomicU64::new(0)));
    let ledger = Ledger::open_with(directory.path(), Gather(Arc::clone(&gate), Arc::clone(&commits))).unwrap();
    let account = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
    let folder = inbox(&ledger, account).await;
    ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
    let asked = Arc::new(tokio::sync::Barrier::new(101));
    let mut writers = tokio::task::JoinSet::new();
    for number in 2..=101 {
        let (ledger, asked) = (ledger.clone(), Arc::clone(&asked));
        writers.spawn(async move {
            // The request is on its way after the first poll.
            let mut writing = std::pin::pin!(ledger.intend(folder, validity(EPOCH), vec![intent(number)]));
            assert!(futures_util::poll!(&mut writing).is_pending());
            asked.wait().await;
            writing.await
        });
    }
    asked.wait().await;
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(ledger.intended(folder, validity(EPOCH)).await.unwrap().len(), 101);
    let commits = commits.load(Ordering::SeqCst);
    assert!(commits < 50, "100 writers took {commits} commits");
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_the_ledger_writes() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let account = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
    let folder = inbox(&ledger, account).await;
    for number in 1..=20 {
        let writing = ledger.intend(folder, validity(EPOCH), vec![intent(number)]);
        tokio::time::timeout(Duration::from_millis(1), writing).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_does_not_exist_fails_one_request_alone() {
    let (_directory, ledger, _, folder) = begin().await;
    let stranger = ledger.intend(FolderId(4711), validity(EPOCH), vec![intent(1)]).await;
    assert!(matches!(stranger.unwrap_err(), LedgerError::Unknown(_)));
    ledger.intend(folder, validity(EPOCH), vec![intent(1)]).await.unwrap();
    let known: BTreeSet<_> =
        ledger.intended(folder, validity(EPOCH)).await.unwrap().iter().map(|r| r.source_uid).collect();
    assert_eq!(known.len(), 1);
}
