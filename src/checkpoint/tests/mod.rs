//! The ledger as a whole, on real files.

mod allowances;
mod damage;
mod file;
mod locks;
mod model;
mod people;
mod records;
mod upkeep;

use super::*;
use crate::imap::Appended;
use crate::mail::{
    Day, Digest, Evidence, Flags, FolderPath, InternalDate, Record, Side, Stage, Uid, UidValidity, WireName,
};

pub(super) fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

pub(super) fn validity(value: u32) -> UidValidity {
    UidValidity::new(value).unwrap()
}

pub(super) fn key(source_user: &str, target_user: &str) -> AccountKey {
    AccountKey::new("Old.example.", 993, source_user, "new.example", 993, target_user)
}

pub(super) fn job(name: &str) -> JobReference {
    JobReference {
        name: name.to_owned(),
        path: format!("/jobs/{name}.toml").into(),
        digest: Digest([7; 32]),
        account_name: "Info".to_owned(),
    }
}

/// A record as it stands before its APPEND, with a value in every column.
pub(super) fn intent(number: u32) -> Record {
    Record {
        source_uid: uid(number),
        stage: Stage::Intended,
        target: None,
        floor: Some((validity(9), uid(1000))),
        size: 10 * u64::from(number),
        digest: Some(Digest([number as u8; 32])),
        header: Some(Digest([!(number as u8); 32])),
        date: InternalDate::new(-5 + i64::from(number), -90),
        flags: Flags::parse("\\Seen $Forwarded a]b"),
        risky: number.is_multiple_of(3),
        evidence: Evidence::None,
    }
}

pub(super) fn acknowledged(target: Option<(u32, u32)>) -> Landed {
    Landed::Acknowledged(Appended::for_test(target.map(|(epoch, number)| (validity(epoch), uid(number)))))
}

pub(super) async fn inbox(ledger: &Ledger, account: AccountId) -> FolderId {
    let inbox = WireName::new("INBOX");
    ledger.folder(account, &inbox, &inbox, &FolderPath::inbox()).await.unwrap().id
}

/// A ledger in a new directory, with one account and its inbox.
pub(super) async fn begin() -> (tempfile::TempDir, Ledger, AccountId, FolderId) {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let account = ledger.account(&key("info", "info"), job("acme")).await.unwrap();
    let folder = inbox(&ledger, account).await;
    (directory, ledger, account, folder)
}
