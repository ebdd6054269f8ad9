//! Daily allowances: never more than there is, whatever dies.

use super::*;
use std::ops::ControlFlow;

const DAY: i64 = 1_762_041_600;

const HOUR: i64 = 3600;

/// One of 24 hours, among such.
fn day(begins: i64) -> Day {
    Day { before: begins - 86_400, begins, ends: begins + 86_400 }
}

fn owner(user: Option<&str>) -> AllowanceOwner {
    AllowanceOwner { side: Side::Target, host: "new.example".to_owned(), user: user.map(str::to_owned) }
}

#[tokio::test]
async fn an_allowance_is_let_go_once() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let (a, b) = (owner(Some("a")), owner(Some("b")));
    assert_eq!(ledger.lease(&a, day(DAY), (10, 60), 100).await.unwrap(), 60);
    assert_eq!(ledger.lease(&a, day(DAY), (50, 60), 100).await.unwrap(), 0, "less than the least is no use");
    assert_eq!(ledger.lease(&a, day(DAY), (10, 60), 100).await.unwrap(), 40);
    assert_eq!(ledger.lease(&a, day(DAY), (0, 60), 100).await.unwrap(), 0);
    assert_eq!(ledger.lease(&b, day(DAY), (10, 60), 100).await.unwrap(), 60, "another user has another allowance");
    assert_eq!(ledger.lease(&owner(None), day(DAY), (10, 60), 100).await.unwrap(), 60);
    let source = AllowanceOwner { side: Side::Source, ..a.clone() };
    assert_eq!(ledger.lease(&source, day(DAY), (10, 60), 100).await.unwrap(), 60, "and the other direction");
    ledger.give_back(&a, DAY, 25).await.unwrap();
    assert_eq!(ledger.spent(&a, day(DAY)).await.unwrap(), 75);
    ledger.close().await.unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.lease(&a, day(DAY), (1, 60), 100).await.unwrap(), 25, "a restart goes on where it was");
    assert_eq!(ledger.lease(&a, day(DAY + 86_400), (10, 60), 100).await.unwrap(), 60, "tomorrow");
    assert_eq!(ledger.lease(&a, day(DAY + HOUR), (1, 60), 100).await.unwrap(), 0, "a day that overlaps with both");
    ledger.close().await.unwrap();
}

/// Spends a day whole, then asks for the bytes of another.
async fn left_after(first: Day, other: Day) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let a = owner(Some("a"));
    assert_eq!(ledger.lease(&a, first, (1, 100), 100).await.unwrap(), 100);
    let left = ledger.lease(&a, other, (1, 100), 100).await.unwrap();
    assert_eq!(ledger.spent(&a, other).await.unwrap(), 100);
    ledger.close().await.unwrap();
    left
}

#[tokio::test]
async fn a_day_has_all_of_its_allowance_however_long_the_one_before_was() {
    for hours in [23, 24, 25] {
        let first = Day { ends: DAY + hours * HOUR, ..day(DAY) };
        let next = Day { before: DAY, ..day(first.ends) };
        assert_eq!(left_after(first, next).await, 100, "{hours}");
        assert_eq!(left_after(next, first).await, 100, "{hours}: the clock was set back");
    }
}

#[tokio::test]
async fn a_day_that_begins_at_another_hour_now_shares_with_those_it_overlaps() {
    let spring = Day { ends: DAY + 23 * HOUR, ..day(DAY) };
    let autumn = Day { ends: DAY + 25 * HOUR, ..day(DAY) };
    for (first, other, expected) in [
        (day(DAY), day(DAY + 23 * HOUR), 0),
        (day(DAY), day(DAY - 23 * HOUR), 0),
        (day(DAY), day(DAY + 24 * HOUR + 60), 100),
        (day(DAY), day(DAY - HOUR / 2), 0),
        // The new day is the short one, or the long one, or comes after it.
        (day(DAY + 22 * HOUR), spring, 0),
        (day(DAY + 23 * HOUR + 60), spring, 100),
        (day(DAY + 24 * HOUR + 60), autumn, 0),
        (day(DAY + HOUR), Day { before: DAY, ..day(spring.ends) }, 0),
    ] {
        assert_eq!(left_after(first, other).await, expected, "{first:?} {other:?}");
    }
}

#[tokio::test]
async fn old_days_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let a = owner(Some("a"));
    for number in 0..20 {
        ledger.lease(&a, day(DAY + number * 86_400), (1, 60), 100).await.unwrap();
    }
    assert_eq!(ledger.spent(&a, day(DAY)).await.unwrap(), 0);
    assert_eq!(ledger.spent(&a, day(DAY + 15 * 86_400)).await.unwrap(), 60);
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
            while let Ok(bytes) = ledger.lease(&owner(Some("a")), day(DAY), (1, 7), 100).await {
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
