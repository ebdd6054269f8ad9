//! What `verify` came to: a table whose rows add up, a line of judgement, and what has to be said of single messages.

use super::json;
use super::look::Page;
use super::paint::Paint;
use super::sentences::{of_evidence, of_fates};
use super::table::{Align, Table};
use super::words::{clean, count, counted, fate, left, level as of_level, quoted};
use crate::mail::Fate;
use crate::plan::{Standing, Sums};
use crate::transfer::{AccountVerdict, Ending, FolderVerdict, Level, MessageVerdict};
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Messages shown of each folder; the JSON document has more of them, the file of messages all.
const SHOWN_MAX: usize = 10;

/// The fates in the order of the table, with the heads of their columns: read along a row, it is a sum.
const FATES: [(Fate, &str); 8] = [
    (Fate::Copied, "= COPIED"),
    (Fate::Adopted, "+ THERE ALREADY"),
    (Fate::Excluded, "+ LEFT OUT"),
    (Fate::Refused, "+ REFUSED"),
    (Fate::Unreadable, "+ UNREADABLE"),
    (Fate::Gone, "+ GONE"),
    (Fate::Removed, "+ REMOVED"),
    (Fate::Missing, "+ MISSING"),
];

/// Gives what `verify` came to, account by account.
#[must_use]
pub fn verdicts(verdicts: &[AccountVerdict], level: Level, paint: Paint) -> String {
    let mut page = Page::new(paint);
    for verdict in verdicts {
        let ending = if verdict.failures.is_empty() { verdict.ending() } else { Ending::Failed };
        page.account(&verdict.account, ending, &judgement(verdict));
        if !verdict.folders.is_empty() {
            page.line(&format!("{}: {}", counted(verdict.totals.messages, "message"), of_fates(&verdict.totals.fates)));
            let evidence = of_evidence(&verdict.totals.evidence);
            page.line(&format!("{}: {}", of_level(level), if evidence.is_empty() { "nothing" } else { &evidence }));
        }
        page.lines(&table(verdict, level).lines());
        for folder in &verdict.folders {
            for line in notes(folder) {
                page.line(&format!("{} {line}", paint.warning("!")));
            }
        }
        page.failures(&verdict.failures);
    }
    page.text
}

/// Says on one line how complete an account is.
fn judgement(verdict: &AccountVerdict) -> String {
    let open = verdict.folders.iter().filter(|folder| !folder.open_sums.is_empty()).count() as u64;
    if open > 0 {
        return format!(
            "INCOMPLETE: the sums of {} DO NOT CLOSE; nothing said of them counts",
            counted(open, "folder")
        );
    }
    if !verdict.failures.is_empty() {
        return "not verified".to_owned();
    }
    let sums = &verdict.totals;
    let differ: u64 = verdict.folders.iter().map(|folder| folder.different).sum();
    let named = |number: u64, what: &str| (number > 0).then(|| format!("{} {what}", count(number)));
    let mut parts: Vec<String> = [Fate::Missing, Fate::Refused, Fate::Unreadable, Fate::Removed]
        .into_iter()
        .filter_map(|one| named(sums.of(one), fate(one)))
        .collect();
    parts.extend(named(differ, "different"));
    let folders: u64 = verdict.folders.iter().map(|folder| folder.notes.len() as u64).sum();
    parts.extend(named(folders, if folders == 1 { "note on a folder" } else { "notes on folders" }));
    match verdict.standing {
        Standing::Complete => "complete".to_owned(),
        Standing::Explained => format!("complete but for losses that are explained: {}", parts.join(", ")),
        Standing::Incomplete => format!("INCOMPLETE: {}", parts.join(", ")),
    }
}

fn table(verdict: &AccountVerdict, level: Level) -> Table {
    let mut columns = vec![("SOURCE", Align::Left), ("TARGET", Align::Left), ("MESSAGES", Align::Right)];
    columns.extend(FATES.map(|(_, head)| (head, Align::Right)));
    columns.extend([("DIFFERENT", Align::Right), ("BYTES READ", Align::Right), ("ON TARGET", Align::Right)]);
    columns.extend([("SURPLUS", Align::Right), ("ARRIVED", Align::Right)]);
    let mut table = Table::new(&columns);
    let unless_none = |number: u64| if number == 0 { String::new() } else { count(number) };
    let row = |source: String, target: String, sums: &Sums, different: u64, read: u64, arrived: u64| {
        let mut cells = vec![source, target, count(sums.messages)];
        // The first term of the sum is always there.
        cells.extend(FATES.map(|(fate, _)| match fate {
            Fate::Copied => count(sums.of(fate)),
            _ => unless_none(sums.of(fate)),
        }));
        cells.push(unless_none(different));
        cells.push(if level == Level::Bytes { count(read) } else { String::new() });
        cells.extend([count(sums.target_messages), unless_none(sums.surplus), unless_none(arrived)]);
        cells
    };
    let (mut different, mut read, mut arrived) = (0, 0, 0);
    for folder in &verdict.folders {
        let target = folder.left_out.map_or_else(|| clean(&folder.target), |why| format!("({})", left(why)));
        let (sums, source) = (&folder.sums, clean(&folder.source));
        table.row(row(source, target, sums, folder.different, folder.bytes_compared, folder.arrived));
        different += folder.different;
        read += folder.bytes_compared;
        arrived += folder.arrived;
    }
    if verdict.folders.len() > 1 {
        table.row(row("in all".to_owned(), String::new(), &verdict.totals, different, read, arrived));
    }
    table
}

/// Gives what has to be said of a folder, a line each.
fn notes(folder: &FolderVerdict) -> Vec<String> {
    let name = quoted(&folder.source);
    let mut lines: Vec<String> =
        folder.open_sums.iter().map(|sum| format!("{name}: THE SUM DOES NOT CLOSE: {}", clean(sum))).collect();
    lines.extend(folder.notes.iter().map(|note| format!("{name}: {}", clean(note))));
    for message in folder.listed.iter().take(SHOWN_MAX) {
        let how = message.how.iter().map(|how| clean(how)).collect::<Vec<_>>().join("; ");
        let how = if how.is_empty() { String::new() } else { format!(": {how}") };
        lines.push(format!("{name} uid {}: {}{how}", message.uid, fate(message.fate)));
    }
    let more = folder.listed_all.saturating_sub(SHOWN_MAX.min(folder.listed.len()) as u64);
    if more > 0 {
        lines.push(format!("{name}: … and {} more; --messages FILE lists all", count(more)));
    }
    if folder.sums.surplus > 0 {
        let uids: Vec<String> = folder.surplus_uids.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        let rest = if folder.sums.surplus > SHOWN_MAX as u64 { ", …" } else { "" };
        let number = counted(folder.sums.surplus, "message");
        lines.push(format!("{name}: the target has {number} more, no loss: uid {}{rest}", uids.join(", ")));
    }
    if folder.changed_by_user > 0 {
        let number = counted(folder.changed_by_user, "message");
        lines.push(format!("{name}: the target's user has changed flags of {number} since, no loss"));
    }
    lines
}

/// Writes every message it is told of, a JSON object on each line. Gives how many.
///
/// # Errors
/// When it cannot be written; whoever tells of messages then tells nobody.
pub async fn messages(mut told: mpsc::Receiver<MessageVerdict>, mut out: impl Write) -> io::Result<u64> {
    let mut number = 0;
    while let Some(message) = told.recv().await {
        writeln!(out, "{}", json::line(&message))?;
        number += 1;
    }
    out.flush()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Evidence;
    use crate::plan::Left;
    use crate::report::samples::unreachable;

    fn message(uid: u32, fate: Fate, how: &str, standing: Standing) -> MessageVerdict {
        MessageVerdict {
            account: "info".into(),
            folder: "INBOX".into(),
            uid,
            uidvalidity: Some(7),
            target_uid: (fate == Fate::Copied).then_some(uid + 100),
            fate,
            evidence: if fate == Fate::Copied { Evidence::BytesAltered } else { Evidence::None },
            standing,
            how: vec![how.to_owned()],
            sha256: None,
        }
    }

    fn folder(source: &str, fates: &[(Fate, u64)]) -> FolderVerdict {
        let fates: std::collections::BTreeMap<_, _> = fates.iter().copied().collect();
        let there = fates.get(&Fate::Copied).copied().unwrap_or(0) + fates.get(&Fate::Adopted).copied().unwrap_or(0);
        let messages = fates.values().sum();
        let evidence = [(Evidence::BytesEqual, there)].into();
        let sums = Sums {
            said: messages,
            messages,
            fates,
            evidence,
            target_messages: there,
            copies: there,
            ..Sums::default()
        };
        FolderVerdict {
            source: source.into(),
            target: source.into(),
            sums,
            bytes_compared: there,
            ..FolderVerdict::default()
        }
    }

    fn account(name: &str, standing: Standing, folders: Vec<FolderVerdict>) -> AccountVerdict {
        let mut totals = Sums::default();
        folders.iter().for_each(|folder| totals.add(&folder.sums));
        AccountVerdict { account: name.into(), standing, totals, folders, failures: Vec::new() }
    }

    #[test]
    fn a_verdict_is_a_table_that_adds_up_and_a_line_of_judgement() {
        let mut inbox = folder("INBOX", &[(Fate::Copied, 98), (Fate::Refused, 1), (Fate::Missing, 13)]);
        inbox.different = 1;
        inbox.listed =
            (1..=12).map(|uid| message(uid, Fate::Missing, "no run has come to it", Standing::Incomplete)).collect();
        inbox.listed.insert(0, message(99, Fate::Copied, "the copy has other \u{1b}[31m bytes", Standing::Incomplete));
        inbox.listed_all = 15;
        (inbox.sums.surplus, inbox.sums.target_messages, inbox.surplus_uids) = (2, 100, vec![7, 8]);
        inbox.notes.push("the folder is subscribed at the source and not on the target".into());
        let mut calendar = folder("Calendar", &[(Fate::Excluded, 40)]);
        (calendar.target, calendar.left_out) = (String::new(), Some(Left::Rule));
        let mut hindered = account("sales", Standing::Incomplete, Vec::new());
        hindered.failures.push(unreachable());
        let mut refused = folder("INBOX", &[(Fate::Copied, 9), (Fate::Refused, 1)]);
        refused.listed.push(message(3, Fate::Refused, "NO [LIMIT] too large", Standing::Explained));
        refused.listed_all = 1;
        let good = folder("INBOX", &[(Fate::Copied, 1_234), (Fate::Adopted, 5)]);
        let all = [
            account("info", Standing::Incomplete, vec![inbox, calendar]),
            account("office", Standing::Complete, vec![good]),
            account("boss", Standing::Explained, vec![refused]),
            hindered,
        ];
        insta::assert_snapshot!(verdicts(&all, Level::Bytes, Paint::plain()), @r#"
        ✗ info: INCOMPLETE: 13 missing on the target, 1 refused by the target, 1 different, 1 note on a folder
          152 messages: 98 copied, 40 left out by a rule, 1 refused by the target, 13 missing on the target
          compared: size, flags and date of every copy, and bytes as told: 98 with equal bytes
          SOURCE    TARGET               MESSAGES  = COPIED  + LEFT OUT  + REFUSED  + MISSING  DIFFERENT  BYTES READ  ON TARGET  SURPLUS
          INBOX     INBOX                     112        98                      1         13          1          98        100        2
          Calendar  (a rule of the job)        40         0          40                                            0          0
          in all                              152        98          40          1         13          1          98        100        2
          ! "INBOX": the folder is subscribed at the source and not on the target
          ! "INBOX" uid 99: copied: the copy has other �[31m bytes
          ! "INBOX" uid 1: missing on the target: no run has come to it
          ! "INBOX" uid 2: missing on the target: no run has come to it
          ! "INBOX" uid 3: missing on the target: no run has come to it
          ! "INBOX" uid 4: missing on the target: no run has come to it
          ! "INBOX" uid 5: missing on the target: no run has come to it
          ! "INBOX" uid 6: missing on the target: no run has come to it
          ! "INBOX" uid 7: missing on the target: no run has come to it
          ! "INBOX" uid 8: missing on the target: no run has come to it
          ! "INBOX" uid 9: missing on the target: no run has come to it
          ! "INBOX": … and 5 more; --messages FILE lists all
          ! "INBOX": the target has 2 messages more, no loss: uid 7, 8

        ✓ office: complete
          1,239 messages: 1,234 copied, 5 there already
          compared: size, flags and date of every copy, and bytes as told: 1,239 with equal bytes
          SOURCE  TARGET  MESSAGES  = COPIED  + THERE ALREADY  BYTES READ  ON TARGET
          INBOX   INBOX      1,239     1,234                5       1,239      1,239

        ! boss: complete but for losses that are explained: 1 refused by the target
          10 messages: 9 copied, 1 refused by the target
          compared: size, flags and date of every copy, and bytes as told: 9 with equal bytes
          SOURCE  TARGET  MESSAGES  = COPIED  + REFUSED  BYTES READ  ON TARGET
          INBOX   INBOX         10         9          1           9          9
          ! "INBOX" uid 3: refused by the target: NO [LIMIT] too large

        ✗ sales: not verified
          ✗ source: failed to connect to imap.old.example:993: connection refused
            hint: check host, port and tls in the job file
        "#);
    }

    #[test]
    fn a_sum_that_does_not_close_is_told_before_everything_else() {
        let mut inbox = folder("INBOX", &[(Fate::Copied, 9)]);
        inbox.sums.messages = 10;
        inbox.sums.said = 10;
        inbox.open_sums = inbox.sums.open();
        inbox.standing = Standing::Incomplete;
        let all = [account("info", Standing::Incomplete, vec![inbox])];
        insta::assert_snapshot!(verdicts(&all, Level::Headers, Paint::plain()), @r#"
        ✗ info: INCOMPLETE: the sums of 1 folder DO NOT CLOSE; nothing said of them counts
          10 messages: 9 copied
          compared: size, flags and date of every copy: 9 with equal bytes
          SOURCE  TARGET  MESSAGES  = COPIED  ON TARGET
          INBOX   INBOX         10         9          9
          ! "INBOX": THE SUM DOES NOT CLOSE: 9 fates, but 10: messages listed by the source
        "#);
    }

    #[tokio::test]
    async fn messages_are_written_one_by_one() {
        let (sender, receiver) = mpsc::channel(4);
        let (refused, altered) = (Fate::Refused, Fate::Copied);
        sender.send(message(3, refused, "NO \u{9b}31m", Standing::Explained)).await.unwrap();
        sender.send(message(4, altered, "the copy has other bytes", Standing::Incomplete)).await.unwrap();
        drop(sender);
        let mut out = Vec::new();
        assert_eq!(messages(receiver, &mut out).await.unwrap(), 2);
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {"account":"info","folder":"INBOX","uid":3,"uidvalidity":7,"target_uid":null,"fate":"refused","evidence":"none","standing":"explained","how":["NO \u009b31m"]}
        {"account":"info","folder":"INBOX","uid":4,"uidvalidity":7,"target_uid":104,"fate":"copied","evidence":"bytes-altered","standing":"incomplete","how":["the copy has other bytes"]}
        "#);
    }
}
