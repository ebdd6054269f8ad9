//! What looking came to: checks and plans.

use super::paint::Paint;
use super::sentences::failure_lines;
use super::table::{Align, Table};
use super::words::{because, bytes, clean, count, counted, left, quoted, span, stamp};
use crate::failure::Failure;
use crate::plan::Left;
use crate::transfer::{
    AccountCheck, AccountPlan, CONNECTION_SPEED, Ending, Expected, FolderCheck, FolderForecast, MESSAGE_BYTES,
    SideCheck,
};
use std::time::Duration;

/// Gives what `check` found, account by account.
#[must_use]
pub fn checks(checks: &[AccountCheck], paint: Paint) -> String {
    let mut page = Page::new(paint);
    for check in checks {
        page.account(&check.account, check.ending(), if check.is_good() { "ready" } else { "not ready" });
        if let Some(seen) = &check.seen {
            page.line(&side("source", &seen.source));
            page.line(&side("target", &seen.target));
            page.lines(&folders(&seen.folders).lines());
            page.left(&seen.left);
            page.warnings(&seen.warnings);
        }
        if let Some(expected) = &check.expected {
            page.line(&ahead(expected));
        }
        page.failures(&check.failures);
    }
    let expected: Vec<&Expected> = checks.iter().filter_map(|check| check.expected.as_ref()).collect();
    let size = format!("a folder lacks as many messages as the target has fewer, of {} each", bytes(MESSAGE_BYTES));
    page.all_ahead(&expected, &size);
    page.text
}

/// Gives what is left of accounts by name, and when it will be done; empty where nothing is.
#[must_use]
pub fn outlook(accounts: &[(&str, Expected)]) -> String {
    let mut page = Page::new(Paint::plain());
    for (name, expected) in accounts {
        page.line(&format!("{}: {}", clean(name), ahead(expected)));
    }
    let expected: Vec<&Expected> = accounts.iter().map(|(_, expected)| expected).collect();
    page.all_ahead(&expected, "");
    page.text
}

/// Says what is left of an account and until when.
fn ahead(expected: &Expected) -> String {
    let messages = counted(expected.messages, "message");
    let besides = match expected.folders_unknown {
        0 => String::new(),
        folders => format!(", and what is in {} not looked at yet", counted(folders, "folder")),
    };
    match expected.messages {
        0 => format!("left to copy: nothing{besides}"),
        _ => format!("left to copy: {messages}, {}{besides}: {}", bytes(expected.bytes), done_by(expected)),
    }
}

fn done_by(expected: &Expected) -> String {
    match (expected.done, expected.seconds) {
        (Some(done), Some(seconds)) => {
            format!("done by {}, in {} if it begins now", stamp(done), span(Duration::from_secs(seconds)))
        }
        _ => "not done within ten years: the limits are too low".to_owned(),
    }
}

fn side(name: &str, side: &SideCheck) -> String {
    let mut parts = vec![counted(side.folders, "folder"), counted(side.messages, "message")];
    if let Some(limit) = side.append_limit {
        parts.push(format!("takes messages up to {}", bytes(limit)));
    }
    let offers: Vec<&str> = [(side.uidplus, "UIDPLUS"), (side.literal_plus, "LITERAL+")]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
        .collect();
    if !offers.is_empty() {
        parts.push(format!("offers {}", offers.join(", ")));
    }
    format!("{name}: {}", parts.join(", "))
}

fn folders(folders: &[FolderCheck]) -> Table {
    let mut table = Table::new(&[
        ("SOURCE", Align::Left),
        ("TARGET", Align::Left),
        ("MESSAGES", Align::Right),
        ("ON TARGET", Align::Right),
        ("NOTE", Align::Left),
    ]);
    for folder in folders {
        table.row([
            clean(&folder.source),
            clean(&folder.target),
            count(folder.messages),
            count(folder.target_messages),
            note(folder.create, because(folder.because), folder.if_refused.first().filter(|_| folder.doubted)),
        ]);
    }
    table
}

fn note(create: bool, why: &str, if_refused: Option<&String>) -> String {
    let new = if create { "new" } else { "" };
    let otherwise = if_refused.map(|path| format!("{} if that is refused", quoted(path))).unwrap_or_default();
    [new, why, &otherwise].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Gives what a run would do, account by account.
#[must_use]
pub fn plans(plans: &[AccountPlan], paint: Paint) -> String {
    let mut page = Page::new(paint);
    for plan in plans {
        let sum = |number: fn(&FolderForecast) -> u64| plan.folders.iter().map(number).sum::<u64>();
        let to_copy = counted(sum(|folder| folder.to_copy), "message");
        let ending = if plan.failures.is_empty() { Ending::Complete } else { Ending::Failed };
        page.account(&plan.account, ending, &format!("{to_copy} to copy, {}", bytes(sum(|folder| folder.bytes))));
        page.lines(&forecasts(&plan.folders).lines());
        page.left(&plan.left);
        page.warnings(&plan.warnings);
        if let Some(expected) = plan.expected.as_ref().filter(|expected| expected.messages > 0) {
            page.line(&done_by(expected));
        }
        page.failures(&plan.failures);
    }
    let expected: Vec<&Expected> = plans.iter().filter_map(|plan| plan.expected.as_ref()).collect();
    page.all_ahead(&expected, "");
    page.text
}

fn forecasts(folders: &[FolderForecast]) -> Table {
    let mut table = Table::new(&[
        ("SOURCE", Align::Left),
        ("TARGET", Align::Left),
        ("MESSAGES", Align::Right),
        ("TO COPY", Align::Right),
        ("SIZE", Align::Right),
        ("DONE", Align::Right),
        ("TO LOOK FOR", Align::Right),
        ("REMOVED", Align::Right),
        ("FLAGS", Align::Right),
        ("NOTE", Align::Left),
    ]);
    let unless_none = |number: u64| if number == 0 { String::new() } else { count(number) };
    for folder in folders {
        table.row([
            clean(&folder.source),
            clean(&folder.target),
            count(folder.messages),
            count(folder.to_copy),
            bytes(folder.bytes),
            unless_none(folder.settled),
            unless_none(folder.matched),
            unless_none(folder.removed),
            unless_none(folder.flags),
            note(folder.create, because(folder.because), folder.if_refused.first().filter(|_| folder.doubted)),
        ]);
    }
    table
}

/// A text that grows account by account.
pub(super) struct Page {
    pub(super) text: String,
    paint: Paint,
}

impl Page {
    pub(super) fn new(paint: Paint) -> Self {
        Self { text: String::new(), paint }
    }

    pub(super) fn account(&mut self, name: &str, ending: Ending, words: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&format!("{} {}: {words}\n", self.paint.mark(ending), clean(name)));
    }

    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&format!("  {line}\n"));
    }

    pub(super) fn lines(&mut self, lines: &[String]) {
        lines.iter().for_each(|line| self.line(line));
    }

    /// Says when all accounts will be done, and what that rests on; `besides`: what else it rests on, may be empty.
    fn all_ahead(&mut self, expected: &[&Expected], besides: &str) {
        let open: Vec<_> = expected.iter().filter(|expected| expected.messages > 0).collect();
        let Some(latest) = open.iter().max_by_key(|one| (one.done.is_none(), one.done)) else { return };
        let (messages, speed) = CONNECTION_SPEED;
        let speed = format!(
            "each connection moves {messages} messages and {} a second where no limit says less",
            bytes(speed as u64)
        );
        let rests: Vec<&str> = [besides, &speed].into_iter().filter(|text| !text.is_empty()).collect();
        self.text.push_str(&format!("\nall accounts: {}\n  taken that {}\n", done_by(latest), rests.join(", ")));
    }

    fn left(&mut self, folders: &[(String, Left)]) {
        for (folder, why) in folders {
            self.line(&format!("left out: {} ({})", quoted(folder), left(*why)));
        }
    }

    fn warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            let mark = self.paint.warning("!");
            self.line(&format!("{mark} {}", clean(warning)));
        }
    }

    pub(super) fn failures(&mut self, failures: &[Failure]) {
        for failure in failures {
            let mark = self.paint.bad("✗");
            self.line(&format!("{mark} {}", failure_lines(failure).join("\n    ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Because;
    use crate::report::json::document;
    use crate::report::samples::unreachable;

    #[test]
    fn a_check_shows_both_sides_and_where_everything_goes() {
        let target =
            SideCheck { folders: 2, messages: 3, append_limit: Some(36_700_160), uidplus: true, literal_plus: true };
        let source = SideCheck { folders: 2, messages: 12_385, ..SideCheck::default() };
        let folder = |source: &str, target: &str, because, create, messages| FolderCheck {
            source: source.into(),
            target: target.into(),
            because,
            if_refused: vec!["a=3Bb".to_owned()],
            doubted: source == "a;b",
            create,
            messages,
            target_messages: if create { 0 } else { 3 },
        };
        let rows = [
            folder("INBOX", "INBOX", Because::Same, false, 12_345),
            folder("Gesendet", "Sent Items", Because::Role, true, 40),
            folder("受信箱/a.b", "受信箱/a=2Eb", Because::Escaped, true, 0),
            folder("a;b", "a;b", Because::Same, true, 0),
        ];
        let mut page = Page::new(Paint::plain());
        page.account("info", Ending::Complete, "ready");
        page.line(&side("source", &source));
        page.line(&side("target", &target));
        page.lines(&folders(&rows).lines());
        page.left(&[("Calendar".into(), Left::Rule)]);
        page.warnings(&["is this the right mailbox?".into()]);
        insta::assert_snapshot!(page.text, @r#"
        ✓ info: ready
          source: 2 folders, 12,385 messages
          target: 2 folders, 3 messages, takes messages up to 35.0 MiB, offers UIDPLUS, LITERAL+
          SOURCE      TARGET        MESSAGES  ON TARGET  NOTE
          INBOX       INBOX           12,345          3
          Gesendet    Sent Items          40          0  new, by its role
          受信箱/a.b  受信箱/a=2Eb         0          0  new, the target cannot hold its name
          a;b         a;b                  0          0  new, "a=3Bb" if that is refused
          left out: "Calendar" (a rule of the job)
          ! is this the right mailbox?
        "#);
    }

    #[test]
    fn a_check_that_failed_says_on_which_side_and_what_to_do() {
        let check = AccountCheck { account: "info".into(), seen: None, expected: None, failures: vec![unreachable()] };
        insta::assert_snapshot!(checks(std::slice::from_ref(&check), Paint::plain()), @"
        ✗ info: not ready
          ✗ source: failed to connect to imap.old.example:993: connection refused
            hint: check host, port and tls in the job file
        ");
        insta::assert_snapshot!(document(&[check]), @r#"
        [
          {
            "account": "info",
            "seen": null,
            "failures": [
              {
                "side": "source",
                "kind": "unreachable",
                "text": "connect to imap.old.example:993: connection refused",
                "hint": "check host, port and tls in the job file"
              }
            ]
          }
        ]
        "#);
    }

    #[test]
    fn a_plan_is_a_table_of_folders() {
        let folder = |source: &str, to_copy, create| FolderForecast {
            source: source.into(),
            target: source.into(),
            because: Because::Same,
            if_refused: Vec::new(),
            doubted: false,
            create,
            messages: 12_345,
            to_copy,
            bytes: to_copy * 80_000,
            settled: 12_345 - to_copy,
            matched: 0,
            removed: 2,
            flags: 0,
        };
        let plan = AccountPlan {
            account: "info".into(),
            folders: vec![folder("INBOX", 0, false), folder("Entwürfe", 12_345, true)],
            left: vec![("Shared/All".into(), Left::Shared)],
            warnings: Vec::new(),
            expected: None,
            failures: Vec::new(),
        };
        insta::assert_snapshot!(plans(std::slice::from_ref(&plan), Paint::plain()), @r#"
        ✓ info: 12,345 messages to copy, 941.8 MiB
          SOURCE    TARGET    MESSAGES  TO COPY       SIZE    DONE  REMOVED  NOTE
          INBOX     INBOX       12,345        0        0 B  12,345        2
          Entwürfe  Entwürfe    12,345   12,345  941.8 MiB                2  new
          left out: "Shared/All" (belongs to others)
        "#);
        assert!(document(&[plan]).contains("\"to_copy\": 12345"));
    }

    #[test]
    fn a_forecast_says_when_and_what_it_rests_on() {
        let expected = |messages: u64, hours: Option<u64>| Expected {
            messages,
            bytes: messages * MESSAGE_BYTES,
            done: hours.map(|hours| std::time::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + hours * 3600)),
            seconds: hours.map(|hours| hours * 3600),
            folders_unknown: 0,
        };
        let check = |account: &str, expected: Expected| AccountCheck {
            account: account.into(),
            seen: None,
            expected: Some(expected),
            failures: Vec::new(),
        };
        let all = [check("info", expected(12_345, Some(50))), check("new", expected(0, Some(0)))];
        insta::assert_snapshot!(checks(&all, Paint::plain()), @"
        ✓ info: ready
          left to copy: 12,345 messages, 883.0 MiB: done by 2026-01-04T05:04:05Z, in 2d 02h if it begins now

        ✓ new: ready
          left to copy: nothing

        all accounts: done by 2026-01-04T05:04:05Z, in 2d 02h if it begins now
          taken that a folder lacks as many messages as the target has fewer, of 73.2 KiB each, each connection moves 20 messages and 2.0 MiB a second where no limit says less
        ");
        let never = [check("info", expected(12_345, None))];
        insta::assert_snapshot!(checks(&never, Paint::plain()), @"
        ✓ info: ready
          left to copy: 12,345 messages, 883.0 MiB: not done within ten years: the limits are too low

        all accounts: not done within ten years: the limits are too low
          taken that a folder lacks as many messages as the target has fewer, of 73.2 KiB each, each connection moves 20 messages and 2.0 MiB a second where no limit says less
        ");
        let unknown = Expected { folders_unknown: 2, ..expected(12_345, Some(50)) };
        insta::assert_snapshot!(outlook(&[("info", unknown)]), @"
          info: left to copy: 12,345 messages, 883.0 MiB, and what is in 2 folders not looked at yet: done by 2026-01-04T05:04:05Z, in 2d 02h if it begins now

        all accounts: done by 2026-01-04T05:04:05Z, in 2d 02h if it begins now
          taken that each connection moves 20 messages and 2.0 MiB a second where no limit says less
        ");
        assert_eq!(outlook(&[]), "");
        assert!(document(&all).contains("\"done\": \"2026-01-04T05:04:05Z\""), "{}", document(&all));
    }
}
