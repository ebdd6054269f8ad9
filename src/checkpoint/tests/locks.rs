//! Who works on an account.

use super::*;
use crate::failure::{Failure, Kind};
use crate::mail::Side;
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn the_second_one_is_told_who_has_the_account() {
    let (directory, ledger, account, _) = begin().await;
    let begin = SystemTime::now();
    let lock = ledger.lock(account).await.unwrap();
    let second = Ledger::open(directory.path()).unwrap();
    let error = second.lock(account).await.unwrap_err();
    let LedgerError::Busy { pid, since, what } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(since.unwrap() + Duration::from_secs(1) > begin, "{since:?}");
    assert_eq!(what, "for /jobs/acme.toml into info at new.example");
    assert_eq!(Failure::from(error).kind, Kind::AccountBusy);
    drop(lock);
    second.lock(account).await.unwrap();
}

#[tokio::test]
async fn two_sources_into_one_mailbox_exclude_each_other() {
    let (_directory, ledger, account, _) = begin().await;
    let rival = ledger.account(&key("sales", "INFO"), job("rival")).await.unwrap();
    let neighbour = ledger.account(&key("sales", "sales"), job("acme")).await.unwrap();
    let lock = ledger.lock(account).await.unwrap();
    let error = ledger.lock(rival).await.unwrap_err();
    assert!(error.to_string().contains("for /jobs/acme.toml into info"), "{error}");
    let _neighbour = ledger.lock(neighbour).await.unwrap();
    drop(lock);
    let _rival = ledger.lock(rival).await.unwrap();
    let others = ledger.others_into("new.example", "info", account).await.unwrap();
    assert_eq!(others.iter().map(|other| (other.id, other.job.name.as_str())).collect::<Vec<_>>(), [(rival, "rival")]);
    assert!(ledger.others_into("new.example", "sales", neighbour).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_running_account_that_nobody_holds_was_interrupted() {
    let (directory, ledger, account, _) = begin().await;
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let waiting =
        AccountState::Waiting { since, side: Side::Source, outage: since, why: "connect to a:993: refused".to_owned() };
    for running in [AccountState::Running { since }, waiting] {
        let lock = ledger.lock(account).await.unwrap();
        ledger.set_account_state(account, running.clone()).await.unwrap();
        let reader = Ledger::open_read_only(directory.path()).unwrap().unwrap();
        for _ in 0..100 {
            assert_eq!(reader.accounts().await.unwrap()[0].state, running);
        }
        drop(lock);
        assert_eq!(reader.accounts().await.unwrap()[0].state, AccountState::Interrupted);
        let _lock = ledger.lock(account).await.unwrap();
        let found = &reader.accounts().await.unwrap()[0];
        assert_eq!((&found.state, found.started), (&running, Some(since)));
    }
}

#[tokio::test]
async fn looking_whether_a_lock_is_free_keeps_nobody_out() {
    let (directory, ledger, account, _) = begin().await;
    let since = SystemTime::now();
    ledger.set_account_state(account, AccountState::Running { since }).await.unwrap();
    let reader = Ledger::open_read_only(directory.path()).unwrap().unwrap();
    let looking = tokio::spawn(async move {
        for _ in 0..300 {
            reader.accounts().await.unwrap();
        }
    });
    while !looking.is_finished() {
        drop(ledger.lock(account).await.unwrap());
    }
    looking.await.unwrap();
}

#[tokio::test]
async fn a_stranger_has_no_lock() {
    let (_directory, ledger, ..) = begin().await;
    assert_eq!(ledger.lock(AccountId(99)).await.unwrap_err(), LedgerError::Unknown("account 99".to_owned()));
}
