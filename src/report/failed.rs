//! The messages that are not on the target, and what others lost on the way: read from the ledger page by page.

use super::advice::{Advice, advice};
use super::json;
use super::words::{bytes, clean, counted, fate, quoted, stamp};
use crate::checkpoint::{
    AccountSummary, Ledger, LedgerError, Loss, LossKind, Surplus, SurplusKind, SurplusNote, TroubleNote,
};
use crate::mail::{Fate, Stage};
use crate::transfer::Exported;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Messages read from the ledger at a time.
const PAGE: usize = 1000;
/// Messages shown of each sort of loss; programs get all.
const EXAMPLES_MAX: usize = 5;

/// Why a list could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It could not be written.
    #[error("write the list: {0}")]
    Output(#[from] io::Error),
}

/// Writes what did not arrive, account by account, for a person. Gives how many messages that were.
///
/// # Errors
/// When the ledger cannot be read or the list cannot be written.
pub async fn failed(ledger: &Ledger, accounts: &[AccountSummary], out: &mut (dyn Write + Send)) -> Result<u64, Untold> {
    let mut all = 0;
    for account in accounts {
        let name = clean(&account.job.account_name);
        let mut told = 0;
        let mut pages = Pages::default();
        while let Some(page) = pages.troubles(ledger, account).await? {
            for note in &page {
                if told == 0 {
                    writeln!(out, "{name}: not on the target:")?;
                }
                told += 1;
                write_trouble(out, note)?;
            }
        }
        if told > 0 {
            writeln!(out, "  {} in all\n", counted(told, "message"))?;
        }
        write_losses(out, ledger, account, &name).await?;
        write_surplus(out, ledger, account, &name).await?;
        all += told;
    }
    Ok(all)
}

/// Writes the same for programs, and all of it: a JSON object on each line. Gives how many messages did not arrive.
///
/// # Errors
/// As [`failed`].
pub async fn failed_json(
    ledger: &Ledger,
    accounts: &[AccountSummary],
    out: &mut (dyn Write + Send),
) -> Result<u64, Untold> {
    let mut all = 0;
    for account in accounts {
        let mut pages = Pages::default();
        while let Some(page) = pages.troubles(ledger, account).await? {
            all += page.len() as u64;
            for note in &page {
                writeln!(out, "{}", json::line(&Failed::new(account, note)))?;
            }
        }
        let mut pages = Pages::default();
        while let Some(page) = pages.losses(ledger, account).await? {
            for loss in &page {
                writeln!(out, "{}", json::line(&Changed::new(account, loss)))?;
            }
        }
        for note in ledger.surpluses(account.id).await? {
            writeln!(out, "{}", json::line(&TooMany::new(account, &note)))?;
        }
    }
    out.flush()?;
    Ok(all)
}

/// Gives what is to be known of a message that was, or could not be, saved as a file: a line of a manifest.
#[must_use]
pub fn manifest_line(exported: &Exported) -> String {
    let note = &exported.note;
    let (sha256, size) = match &exported.file {
        Ok(file) => (Some(file.digest.to_string()), file.size),
        Err(_) => (None, note.size),
    };
    let Advice { likely: cause, to_do: advice } = advice(&note.kind, &note.words);
    json::line(&Manifest {
        account: &exported.account,
        folder: note.path.to_string(),
        uid: note.source_uid.value(),
        uidvalidity: note.validity.value(),
        subject: &note.subject,
        date: &note.date_header,
        size,
        sha256,
        words: &note.words,
        cause,
        advice,
        file: exported.file.as_ref().ok().map(|file| file.name.as_str()),
        reason: exported.file.as_ref().err().map(String::as_str),
    })
}

#[derive(Serialize)]
struct Manifest<'a> {
    account: &'a str,
    folder: String,
    uid: u32,
    uidvalidity: u32,
    subject: &'a str,
    date: &'a str,
    size: u64,
    sha256: Option<String>,
    words: &'a str,
    cause: &'a str,
    advice: &'a str,
    file: Option<&'a str>,
    /// Why there is no file.
    reason: Option<&'a str>,
}

/// Where reading goes on.
#[derive(Default)]
struct Pages {
    after: u64,
}

impl Pages {
    async fn troubles(
        &mut self,
        ledger: &Ledger,
        account: &AccountSummary,
    ) -> Result<Option<Vec<TroubleNote>>, LedgerError> {
        let page = ledger.troubles(account.id, self.after, PAGE).await?;
        self.after = page.last().map_or(self.after, |last| last.number);
        Ok((!page.is_empty()).then_some(page))
    }

    async fn losses(&mut self, ledger: &Ledger, account: &AccountSummary) -> Result<Option<Vec<Loss>>, LedgerError> {
        let page = ledger.losses(account.id, self.after, PAGE).await?;
        self.after = page.last().map_or(self.after, |last| last.number);
        Ok((!page.is_empty()).then_some(page))
    }
}

fn write_trouble(out: &mut (dyn Write + Send), note: &TroubleNote) -> io::Result<()> {
    let Advice { likely, to_do } = advice(&note.kind, &note.words);
    let what = match note.stage {
        Stage::Intended => "being tried again",
        Stage::Settled(what) => fate(what),
    };
    let size = if note.size == 0 { "size unknown".to_owned() } else { bytes(note.size) };
    let date = if note.date_header.is_empty() { "date unknown".to_owned() } else { clean(&note.date_header) };
    let subject = match (note.subject.is_empty(), note.date_header.is_empty()) {
        (false, _) => quoted(&note.subject),
        (true, false) => "no subject".to_owned(),
        // A header was never seen.
        (true, true) => "subject unknown".to_owned(),
    };
    writeln!(out, "  {} uid {}: {what}", quoted(&note.path.to_string()), note.source_uid)?;
    writeln!(out, "    {subject} ({size}, {date})")?;
    writeln!(out, "    words: {}", clean(&note.words))?;
    writeln!(out, "    likely: {likely}")?;
    writeln!(out, "    to do: {to_do}")
}

async fn write_losses(
    out: &mut (dyn Write + Send),
    ledger: &Ledger,
    account: &AccountSummary,
    name: &str,
) -> Result<(), Untold> {
    let mut kinds: BTreeMap<LossKind, (u64, Vec<String>)> = BTreeMap::new();
    let mut pages = Pages::default();
    while let Some(page) = pages.losses(ledger, account).await? {
        for loss in page {
            let (number, examples) = kinds.entry(loss.kind).or_default();
            *number += 1;
            if examples.len() < EXAMPLES_MAX {
                let folder = quoted(&loss.path.to_string());
                examples.push(format!("{folder} uid {}: {}", loss.source_uid, clean(&loss.text)));
            }
        }
    }
    if kinds.is_empty() {
        return Ok(());
    }
    writeln!(out, "{name}: arrived, but not wholly as at the source:")?;
    for (kind, (number, examples)) in kinds {
        writeln!(out, "  {}: {}", lost(kind), counted(number, "message"))?;
        for example in &examples {
            writeln!(out, "    {example}")?;
        }
        if number > examples.len() as u64 {
            writeln!(out, "    … and {} more", number - examples.len() as u64)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

async fn write_surplus(
    out: &mut (dyn Write + Send),
    ledger: &Ledger,
    account: &AccountSummary,
    name: &str,
) -> Result<(), Untold> {
    let notes = ledger.surpluses(account.id).await?;
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(out, "{name}: too many on the target, left for you to remove:")?;
    for SurplusNote { path, surplus } in &notes {
        let what = match surplus.kind {
            SurplusKind::Copy => "a second copy",
            SurplusKind::Remnant => "a part",
        };
        let (folder, uid) = (quoted(&path.to_string()), surplus.source.1);
        writeln!(out, "  {folder} uid {uid}: {what} of it is the target's uid {}", surplus.target.1)?;
    }
    writeln!(out)?;
    Ok(())
}

fn lost(kind: LossKind) -> &'static str {
    match kind {
        LossKind::Keyword => "a keyword is not there",
        LossKind::SystemFlag => "a system flag is not there",
        LossKind::Date => "the date is another one, or none",
        LossKind::Zone => "the date is the same instant in another zone",
        LossKind::Bytes => "the target stored other bytes",
    }
}

#[derive(Serialize)]
struct TooMany<'a> {
    account: &'a str,
    what: &'static str,
    folder: String,
    uid: u32,
    uidvalidity: u32,
    target_uid: u32,
    target_uidvalidity: u32,
    kind: SurplusKind,
}

impl<'a> TooMany<'a> {
    fn new(account: &'a AccountSummary, note: &SurplusNote) -> Self {
        let Surplus { target, source, kind } = note.surplus;
        Self {
            account: &account.job.account_name,
            what: "surplus",
            folder: note.path.to_string(),
            uid: source.1.value(),
            uidvalidity: source.0.value(),
            target_uid: target.1.value(),
            target_uidvalidity: target.0.value(),
            kind,
        }
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    account: &'a str,
    what: &'static str,
    folder: String,
    uid: u32,
    uidvalidity: u32,
    /// None: it is being tried again.
    fate: Option<Fate>,
    kind: &'a str,
    words: &'a str,
    subject: &'a str,
    date: &'a str,
    size: u64,
    at: String,
    #[serde(flatten)]
    advice: Advice,
}

impl<'a> Failed<'a> {
    fn new(account: &'a AccountSummary, note: &'a TroubleNote) -> Self {
        Self {
            account: &account.job.account_name,
            what: "failed",
            folder: note.path.to_string(),
            uid: note.source_uid.value(),
            uidvalidity: note.validity.value(),
            fate: match note.stage {
                Stage::Intended => None,
                Stage::Settled(fate) => Some(fate),
            },
            kind: &note.kind,
            words: &note.words,
            subject: &note.subject,
            date: &note.date_header,
            size: note.size,
            at: stamp(note.at),
            advice: advice(&note.kind, &note.words),
        }
    }
}

#[derive(Serialize)]
struct Changed<'a> {
    account: &'a str,
    what: &'static str,
    folder: String,
    uid: u32,
    kind: LossKind,
    text: &'a str,
}

impl<'a> Changed<'a> {
    fn new(account: &'a AccountSummary, loss: &'a Loss) -> Self {
        Self {
            account: &account.job.account_name,
            what: "changed",
            folder: loss.path.to_string(),
            uid: loss.source_uid.value(),
            kind: loss.kind,
            text: &loss.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{AccountKey, Ending, JobReference, Settlement, Trouble};
    use crate::mail::{Digest, FolderPath, Uid, UidValidity, WireName};

    async fn ledger(directory: &std::path::Path) -> Ledger {
        let ledger = Ledger::open(directory).unwrap();
        let key = AccountKey::new("old.example", 993, "info", "new.example", 993, "info");
        let path = "/jobs/acme.toml".into();
        let job = JobReference { name: "acme".into(), path, digest: Digest([1; 32]), account_name: "info".into() };
        let account = ledger.account(&key, job).await.unwrap();
        let name = WireName::new("INBOX");
        let folder = ledger.folder(account, &name, &name, &FolderPath::inbox()).await.unwrap().id;
        let uid = |number| Uid::new(number).unwrap();
        let settle = |number, fate, kind: &str, words: &str| Settlement {
            source_uid: uid(number),
            fate,
            size: 41_943_040,
            date: None,
            trouble: Some(Trouble {
                kind: kind.into(),
                words: words.into(),
                subject: if number == 17 { "Grüße \u{1b}[31m".into() } else { String::new() },
                date_header: if number == 17 { "Mon, 1 Jan 2024 00:00:00 +0000".into() } else { String::new() },
                size: 41_943_040,
            }),
        };
        let validity = UidValidity::new(1).unwrap();
        let settled = vec![
            settle(17, Ending::Refused, "message-refused", "NO [LIMIT] message too large"),
            settle(18, Ending::Unreadable, "message-unreadable", "NO cannot be fetched"),
        ];
        ledger.settle(folder, validity, settled).await.unwrap();
        for number in 1..=7 {
            let text = "the target did not keep: $Work";
            ledger.note_loss(folder, validity, uid(number), LossKind::Keyword, text).await.unwrap();
        }
        ledger.flush().await.unwrap();
        ledger
    }

    #[tokio::test]
    async fn each_message_comes_with_words_likely_cause_and_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path()).await;
        let accounts = ledger.accounts().await.unwrap();
        let mut out = Vec::new();
        assert_eq!(failed(&ledger, &accounts, &mut out).await.unwrap(), 2);
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        info: not on the target:
          "INBOX" uid 17: refused by the target
            "Grüße �[31m" (40.0 MiB, Mon, 1 Jan 2024 00:00:00 +0000)
            words: NO [LIMIT] message too large
            likely: it is larger than the target takes
            to do: raise the target's limit for one message and try it again; else save it as a file (failed JOB --export DIR)
          "INBOX" uid 18: unreadable at the source
            subject unknown (40.0 MiB, date unknown)
            words: NO cannot be fetched
            likely: the source has lost its content, or cannot read it just now
            to do: try it again later; look at it in the old mail program, and ask the old provider to repair the mailbox
          2 messages in all

        info: arrived, but not wholly as at the source:
          a keyword is not there: 7 messages
            "INBOX" uid 1: the target did not keep: $Work
            "INBOX" uid 2: the target did not keep: $Work
            "INBOX" uid 3: the target did not keep: $Work
            "INBOX" uid 4: the target did not keep: $Work
            "INBOX" uid 5: the target did not keep: $Work
            … and 2 more
        "#);
    }

    #[tokio::test]
    async fn programs_get_all_of_it_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = ledger(directory.path()).await;
        let accounts = ledger.accounts().await.unwrap();
        let mut out = Vec::new();
        assert_eq!(failed_json(&ledger, &accounts, &mut out).await.unwrap(), 2);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 9);
        let mut first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        first["at"] = "then".into();
        insta::assert_snapshot!(first.to_string(), @r#"{"account":"info","at":"then","date":"Mon, 1 Jan 2024 00:00:00 +0000","fate":"refused","folder":"INBOX","kind":"message-refused","likely":"it is larger than the target takes","size":41943040,"subject":"Grüße \u001b[31m","to_do":"raise the target's limit for one message and try it again; else save it as a file (failed JOB --export DIR)","uid":17,"uidvalidity":1,"what":"failed","words":"NO [LIMIT] message too large"}"#);
        insta::assert_snapshot!(text.lines().last().unwrap(), @r#"{"account":"info","what":"changed","folder":"INBOX","uid":7,"kind":"keyword","text":"the target did not keep: $Work"}"#);
    }
}
