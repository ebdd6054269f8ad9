//! The end of a run, for a person: each account, what became of its messages, what to do about the rest.

use super::paint::Paint;
use super::sentences::{failure_lines, of_endings, of_evidence, of_fates};
use super::words::{clean, counted, ending, quoted};
use crate::transfer::{AccountEnd, Ending, JobEnd};
use std::collections::BTreeMap;

/// Gives the summary of a job. `next`: what to type next, may be empty.
#[must_use]
pub fn summary(job: &str, end: &JobEnd, next: &[String], paint: Paint) -> String {
    let mut endings: BTreeMap<Ending, u64> = BTreeMap::new();
    end.accounts.iter().for_each(|account| *endings.entry(account.ending).or_default() += 1);
    let accounts = counted(end.accounts.len() as u64, "account");
    let mut text = format!("{}: {accounts}: {}\n\n", clean(job), of_endings(&endings));
    for account in &end.accounts {
        for line in account_lines(account, paint) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if !next.is_empty() {
        text.push_str("\nnext:\n");
        next.iter().for_each(|command| text.push_str(&format!("  {}\n", clean(command))));
    }
    text
}

fn account_lines(account: &AccountEnd, paint: Paint) -> Vec<String> {
    let mark = paint.mark(account.ending);
    let mut lines = vec![format!("{mark} {}: {}", clean(&account.name), ending(account.ending))];
    let messages: u64 = account.fates.values().sum();
    if messages > 0 {
        lines.push(format!("    {}: {}", counted(messages, "message"), of_fates(&account.fates)));
    }
    let evidence = of_evidence(&account.evidence);
    if !evidence.is_empty() {
        lines.push(format!("    on the target: {evidence}"));
    }
    if account.surplus > 0 {
        lines.push(format!(
            "    {} too many on the target: left for you to remove",
            counted(account.surplus, "message")
        ));
    }
    // Whoever asked to stop knows why.
    if let Some(failure) = account.failure.as_ref().filter(|_| account.ending != Ending::Stopped) {
        lines.extend(failure_lines(failure).into_iter().map(|line| format!("    {line}")));
    }
    for (folder, failure) in &account.folders_failed {
        let told = failure_lines(failure);
        lines.push(format!("    folder {}: {}", quoted(folder), told.join("\n      ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::end;

    #[test]
    fn a_summary_says_how_each_account_ended_and_what_to_type_next() {
        let next = ["mailhaul resume".to_owned(), "mailhaul failed acme.toml".to_owned()];
        insta::assert_snapshot!(summary("acme", &end(), &next, Paint::plain()), @r#"
        acme: 3 accounts: 1 complete, 1 complete with exceptions, 1 failed

        ✓ office@acme.example: complete
            12,345 messages: 12,345 copied
            on the target: 12,222 with equal size, flags and date, 123 with equal bytes
        ! info@acme.example: complete with exceptions
            3,012 messages: 2,999 copied, 12 there already, 1 refused by the target
            on the target: 3,011 with equal size, flags and date
            folder "Odd�name": target: failed to create it: NO not allowed
              hint: rename it
        ✗ sales@acme.example: failed
            source: failed to connect to imap.old.example:993: connection refused
            hint: check host, port and tls in the job file

        next:
          mailhaul resume
          mailhaul failed acme.toml
        "#);
        let only = JobEnd { accounts: end().accounts.split_off(2) };
        insta::assert_snapshot!(summary("acme", &only, &[], Paint::coloured()).escape_debug().to_string(), @r"acme: 1 account: 1 failed\n\n\u{1b}[31m✗\u{1b}[0m sales@acme.example: failed\n    source: failed to connect to imap.old.example:993: connection refused\n    hint: check host, port and tls in the job file\n");
    }
}
