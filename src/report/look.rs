//! What looking came to: checks and plans.

use super::paint::Paint;
use super::sentences::failure_lines;
use super::table::{Align, Table};
use super::words::{because, bytes, clean, count, counted, left, quoted};
use crate::failure::Failure;
use crate::plan::Left;
use crate::transfer::{AccountCheck, AccountPlan, Ending, FolderCheck, FolderForecast, SideCheck};

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
        page.failures(&check.failures);
    }
    page.text
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
        page.failures(&plan.failures);
    }
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
        let check = AccountCheck { account: "info".into(), seen: None, failures: vec![unreachable()] };
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
}
