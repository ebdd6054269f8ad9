//! Events as lines with a time: for pipes and log files.

use super::json::put;
use super::sentences::sentences;
use super::words::{bytes, clean, counted, quoted, stamp};
use crate::transfer::Event;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// Between two lines that tell how much an account has copied.
const COPIED_EVERY: Duration = Duration::from_secs(10);

/// Messages of one account that are told one by one; a target that keeps no keyword would fill a disk with them.
const TOLD_MAX: u32 = 200;

/// What an account has copied, and what was told of it.
struct Tally {
    messages: u64,
    bytes: u64,
    told: SystemTime,
    /// Messages told one by one.
    singly: u32,
}

/// Writes events as lines. What cannot be written is lost: the run goes on.
pub(super) struct Lines<W> {
    out: W,
    tallies: HashMap<String, Tally>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, tallies: HashMap::new() }
    }

    pub(super) fn tell(&mut self, event: &Event, now: SystemTime) {
        let lines = match event {
            Event::Copied { account, folder, messages, bytes } => {
                self.copied(account, folder, *messages, *bytes, now).into_iter().collect()
            }
            Event::MessageFailed { account, .. } | Event::MessageChanged { account, .. } => {
                self.singly(account, event, now)
            }
            Event::AccountDone { account, .. } => {
                self.tallies.remove(account);
                sentences(event)
            }
            Event::AccountStarted { account } => {
                self.tally(account, now);
                sentences(event)
            }
            _ => sentences(event),
        };
        for line in lines {
            let _ = put(&mut self.out, &format!("{} {line}", stamp(now)));
        }
    }

    fn tally(&mut self, account: &str, now: SystemTime) -> &mut Tally {
        let begin = || Tally { messages: 0, bytes: 0, told: now, singly: 0 };
        self.tallies.entry(account.to_owned()).or_insert_with(begin)
    }

    fn singly(&mut self, account: &str, event: &Event, now: SystemTime) -> Vec<String> {
        let tally = self.tally(account, now);
        tally.singly = tally.singly.saturating_add(1);
        match tally.singly.cmp(&TOLD_MAX) {
            Ordering::Less => sentences(event),
            Ordering::Equal => {
                let mut lines = sentences(event);
                lines
                    .push(format!("{}: further messages are not told one by one; the ledger has them", clean(account)));
                lines
            }
            Ordering::Greater => Vec::new(),
        }
    }

    fn copied(&mut self, account: &str, folder: &str, messages: u64, size: u64, now: SystemTime) -> Option<String> {
        let tally = self.tally(account, now);
        tally.messages += messages;
        tally.bytes += size;
        // A clock that was set back must not silence the account.
        if now.duration_since(tally.told).is_ok_and(|since| since < COPIED_EVERY) {
            return None;
        }
        tally.told = now;
        let copied = counted(tally.messages, "message");
        Some(format!("{}: {copied} copied so far ({}), now in {}", clean(account), bytes(tally.bytes), quoted(folder)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::story;

    #[test]
    fn a_log_says_each_thing_once_and_thins_what_is_copied() {
        let mut lines = Lines::new(Vec::new());
        let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        for event in story() {
            lines.tell(&event, now);
            now += Duration::from_secs(4);
        }
        insta::assert_snapshot!(String::from_utf8(lines.out).unwrap(), @r#"
        2026-01-02T03:04:05Z acme: begins with 2 accounts
        2026-01-02T03:04:09Z info@acme.example: begins
        2026-01-02T03:04:13Z sales@acme.example: begins
        2026-01-02T03:04:17Z info@acme.example: 2 folders
        2026-01-02T03:04:17Z info@acme.example: warning: "a.b" goes to "a=2Eb": the target cannot hold its name as it is
        2026-01-02T03:04:21Z info@acme.example: "INBOX": 1,204 of 3,000 messages to copy (114.8 MiB)
        2026-01-02T03:04:25Z sales@acme.example: waits 42s for the source: failed to connect to a:993: refused
        2026-01-02T03:04:29Z info@acme.example: 100 messages copied so far (9.5 MiB), now in "INBOX"
        2026-01-02T03:04:41Z info@acme.example: "INBOX" uid 17: refused by the target: NO [LIMIT] message too large ("Quarterly �[31mnumbers", 40.0 MiB)
        2026-01-02T03:04:45Z info@acme.example: "INBOX" uid 18: the target did not keep: $Work
        2026-01-02T03:04:49Z info@acme.example: "INBOX": done: 2,999 copied, 1 refused by the target
        2026-01-02T03:04:57Z info@acme.example: "Odd��name": given up: target: failed to create it: NO not allowed
        2026-01-02T03:05:01Z info@acme.example: complete with exceptions: 2,999 copied, 12 there already, 1 refused by the target
        2026-01-02T03:05:05Z sales@acme.example: failed: source: failed to connect to imap.old.example:993: connection refused (check host, port and tls in the job file)
        2026-01-02T03:05:09Z acme: ended: 1 complete with exceptions, 1 failed
        "#);
    }

    #[test]
    fn a_log_does_not_grow_with_every_message() {
        let mut lines = Lines::new(Vec::new());
        let changed = story().into_iter().find(|event| matches!(event, Event::MessageChanged { .. })).unwrap();
        for _ in 0..1000 {
            lines.tell(&changed, SystemTime::UNIX_EPOCH);
        }
        let text = String::from_utf8(lines.out).unwrap();
        assert_eq!(text.lines().count(), TOLD_MAX as usize + 1);
        let last = "info@acme.example: further messages are not told one by one; the ledger has them";
        assert!(text.trim_end().ends_with(last), "{text}");
    }
}
