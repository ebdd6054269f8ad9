//! What happens to happen in the tests of this room.

use crate::failure::{Failure, Kind};
use crate::mail::{Evidence, Fate, Side};
use crate::transfer::{AccountEnd, Ending, Event, JobEnd};

/// A run of two accounts in which most things happen once.
pub(super) fn story() -> Vec<Event> {
    let (info, sales) = (|| "info@acme.example".to_owned(), || "sales@acme.example".to_owned());
    let inbox = || "INBOX".to_owned();
    let copied =
        |messages: u64| Event::Copied { account: info(), folder: inbox(), messages, bytes: messages * 100_000 };
    vec![
        Event::JobStarted { job: "acme".into(), accounts: 2 },
        Event::AccountStarted { account: info() },
        Event::AccountStarted { account: sales() },
        Event::FoldersMapped {
            account: info(),
            folders: 2,
            warnings: vec!["\"a.b\" goes to \"a=2Eb\": the target cannot hold its name as it is".into()],
        },
        Event::FolderPlanned { account: info(), folder: inbox(), messages: 3000, to_copy: 1204, bytes: 1204 * 100_000 },
        Event::Waiting { account: sales(), side: Side::Source, seconds: 42, why: "connect to a:993: refused".into() },
        copied(100),
        copied(100),
        copied(100),
        Event::MessageFailed {
            account: info(),
            folder: inbox(),
            uid: 17,
            fate: Fate::Refused,
            subject: "Quarterly \u{1b}[31mnumbers".into(),
            size: 41_943_040,
            words: "NO [LIMIT] message too large".into(),
        },
        Event::MessageChanged {
            account: info(),
            folder: inbox(),
            uid: 18,
            what: "the target did not keep: $Work".into(),
        },
        Event::FolderDone {
            account: info(),
            folder: inbox(),
            fates: [(Fate::Copied, 2999), (Fate::Refused, 1)].into(),
            evidence: [(Evidence::MetadataEqual, 2999)].into(),
            unchanged: false,
        },
        Event::FolderDone {
            account: info(),
            folder: "Sent".into(),
            fates: [(Fate::Adopted, 12)].into(),
            evidence: [(Evidence::MetadataEqual, 12)].into(),
            unchanged: true,
        },
        Event::FolderFailed {
            account: info(),
            folder: "Odd\r\nname".into(),
            failure: Failure::new(Side::Target, Kind::FolderRefused, "create it: NO not allowed"),
        },
        Event::AccountDone {
            account: info(),
            ending: Ending::Exceptions,
            failure: None,
            fates: [(Fate::Copied, 2999), (Fate::Refused, 1), (Fate::Adopted, 12)].into(),
            evidence: [(Evidence::MetadataEqual, 3011)].into(),
            surplus: 0,
        },
        Event::AccountDone {
            account: sales(),
            ending: Ending::Failed,
            failure: Some(unreachable()),
            fates: [].into(),
            evidence: [].into(),
            surplus: 0,
        },
        Event::JobDone { job: "acme".into(), accounts: [(Ending::Exceptions, 1), (Ending::Failed, 1)].into() },
    ]
}

pub(super) fn unreachable() -> Failure {
    Failure::new(Side::Source, Kind::Unreachable, "connect to imap.old.example:993: connection refused")
        .with_hint("check host, port and tls in the job file")
}

/// How that run ended.
pub(super) fn end() -> JobEnd {
    let complete = AccountEnd {
        name: "office@acme.example".into(),
        ending: Ending::Complete,
        failure: None,
        folders_failed: Vec::new(),
        fates: [(Fate::Copied, 12_345)].into(),
        evidence: [(Evidence::MetadataEqual, 12_222), (Evidence::BytesEqual, 123)].into(),
        surplus: 0,
    };
    let exceptions = AccountEnd {
        name: "info@acme.example".into(),
        ending: Ending::Exceptions,
        failure: None,
        folders_failed: vec![(
            "Odd\u{1b}name".into(),
            Failure::new(Side::Target, Kind::FolderRefused, "create it: NO not allowed").with_hint("rename it"),
        )],
        fates: [(Fate::Copied, 2999), (Fate::Refused, 1), (Fate::Adopted, 12)].into(),
        evidence: [(Evidence::MetadataEqual, 3011)].into(),
        surplus: 0,
    };
    let failed = AccountEnd {
        name: "sales@acme.example".into(),
        ending: Ending::Failed,
        failure: Some(unreachable()),
        folders_failed: Vec::new(),
        fates: [].into(),
        evidence: [].into(),
        surplus: 0,
    };
    JobEnd { accounts: vec![complete, exceptions, failed] }
}
