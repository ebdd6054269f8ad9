//! Daily allowances: never more than there is, whatever dies.

use super::*;
use std::ops::ControlFlow;

const DAY: i64 = 1_762_041_600;

fn owner(user: Option<&str>) -> AllowanceOwner {
    AllowanceOwner { side: Side::Target, host: "new.example".to_owned(), user: user.map(str::to_owned) }
}

#[tokio::test]
async fn an_allowance_is_let_go_once() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let (a, b) = (owner(Some("a")), owner(Some("b")));
    assert_eq!(ledger.lease(&a, DAY, (10, 60), 100).await.unwrap(), 60);
    assert_eq!(ledger.lease(&a, DAY, (50, 60), 100).await.unwrap(), 0, "less than the least is no use");
    assert_eq!(ledger.lease(&a, DAY, (10, 60), 100).await.unwrap(), 40);
    assert_eq!(ledger.lease(&a, DAY, (0, 60), 100).await.unwrap(), 0);
    assert_eq!(ledger.lease(&b, DAY, (10, 60), 100).await.unwrap(), 60, "another user has another allowance");
    assert_eq!(ledger.lease(&owner(None), DAY, (10, 60), 100).await.unwrap(), 60);
    let source = AllowanceOwner { side: Side::Source, ..a.clone() };
    assert_eq!(ledger.lease(&source, DAY, (10, 60), 100).await.unwrap(), 60, "and the other direction");
    ledger.give_back(&a, DAY, 25).await.unwrap();
    assert_eq!(ledger.spent(&a, DAY).await.unwrap(), 75);
    ledger.close().await.unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.lease(&a, DAY, (1, 60), 100).await.unwrap(), 25, "a restart goes on where it was");
    assert_eq!(ledger.lease(&a, DAY + 86_400, (10, 60), 100).await.unwrap(), 60, "tomorrow");
    assert_eq!(ledger.lease(&a, DAY + 3600, (1, 60), 100).await.unwrap(), 0, "a day that overlaps with both");
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn old_days_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let a = owner(Some("a"));
    for day in 0..20 {
        ledger.lease(&a, DAY + day * 86_400, (1, 60), 100).await.unwrap();
    }
    assert_eq!(ledger.spent(&a, DAY).await.unwrap(), 0);
    assert_eq!(ledger.spent(&a, DAY + 15 * 86_400).await.unwrap(), 60);
    ledger.close().await.unwrap();
}

/// Ends the ledger at a commit as a kill would, before or after it is durable.
struct Kill {
    at: u64,
    after: bool,
}

impl Steps for Kill {
    fn before_commit(&self, commit: u64) -> ControlFlow<()> {
        if commit == self.at && !self.after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn after_commit(&self, commit: u64) -> ControlFlow<()> {
        if commit == self.at && self.after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[tokio::test]
async fn whoever_is_killed_between_lease_and_use_overspends_nothing() {
    for after in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (mut given, mut kills) = (0, 0);
        loop {
            // Each life ends at its third commit; what it was not told of it cannot use.
            let ledger = Ledger::open_with(directory.path(), Kill { at: 3, after }).unwrap();
            let mut life = 0;
            while let Ok(bytes) = ledger.lease(&owner(Some("a")), DAY, (1, 7), 100).await {
                if bytes == 0 {
                    break;
                }
                life += bytes;
            }
            given += life;
            kills += 1;
            drop(ledger);
            if life == 0 || kills > 50 {
                break;
            }
        }
        assert!(given <= 100, "{given}");
        assert!(given >= if after { 60 } else { 98 }, "{given} after {kills} kills");
    }
}
