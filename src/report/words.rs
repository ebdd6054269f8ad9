//! The words and numbers of everything people read. One word per thing, the same in every table.

use crate::checkpoint::AccountState;
use crate::failure::harmless;
use crate::mail::{Evidence, Fate};
use crate::plan::{Because, Left};
use crate::transfer::{Ending, Level};
use std::time::{Duration, SystemTime};

/// Gives a number with its thousands apart: `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Gives a number with what it counts: `1 message`, `2 messages`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Gives a size in the largest unit that leaves a digit before the point: `1.2 GiB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Gives a time in its two largest units: `42s`, `3m 05s`, `2h 05m`, `3d 04h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Gives an instant as RFC 3339 in UTC, to the second.
pub(super) fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Makes a text fit for a terminal, at any length: it goes word by word through [`harmless`].
pub(super) fn clean(text: &str) -> String {
    text.split(' ').map(|word| harmless(word.as_bytes())).collect::<Vec<_>>().join(" ")
}

/// Puts a name between quotes, fit for a terminal.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", clean(name))
}

/// Gives what became of messages, as it follows their number.
pub(super) fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Copied => "copied",
        Fate::Adopted => "there already",
        Fate::Excluded => "left out by a rule",
        Fate::Refused => "refused by the target",
        Fate::Unreadable => "unreadable at the source",
        Fate::Gone => "gone from the source",
        Fate::Removed => "removed on the target by their user",
        Fate::Missing => "missing on the target",
    }
}

/// Gives what stands behind it, as it follows their number.
pub(super) fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::None => "unproven",
        Evidence::Counted => "counted only",
        Evidence::MetadataEqual => "with equal size, flags and date",
        Evidence::BytesEqual => "with equal bytes",
        Evidence::BytesAltered => "with bytes altered by the target",
    }
}

/// Gives how an account stands at the end of a run.
pub(super) fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Exceptions => "complete with exceptions",
        Ending::Stopped => "stopped",
        Ending::Parked => "parked",
        Ending::Failed => "failed",
    }
}

/// Gives where an account stands by the ledger.
pub(super) fn state(state: &AccountState) -> &'static str {
    match state {
        AccountState::New => "not begun",
        AccountState::Running { .. } => "running",
        AccountState::Waiting { .. } => "waiting",
        AccountState::Complete { .. } => "complete",
        AccountState::Exceptions { .. } => "complete with exceptions",
        AccountState::Interrupted => "interrupted",
        AccountState::Failed(_) => "failed",
        AccountState::Parked { .. } => "parked",
    }
}

/// Gives why a folder has another name on the target; empty where it has the same.
pub(super) fn because(because: Because) -> &'static str {
    match because {
        Because::Same => "",
        Because::Before => "where an earlier run put it",
        Because::Rule => "by a rule",
        Because::Role => "by its role",
        Because::Layout => "as the target lays folders out",
        Because::Folded => "the target takes both names for one",
        Because::Escaped => "the target cannot hold its name",
        Because::Shortened => "its name is too long",
        Because::Refused => "the target refused its name",
        Because::Collision => "its place is taken",
    }
}

/// Gives why a folder is left out.
pub(super) fn left(left: Left) -> &'static str {
    match left {
        Left::NoMail => "holds no mail",
        Left::Rule => "a rule of the job",
        Left::Shared => "belongs to others",
    }
}

/// Gives what a level of verifying compares.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::Counts => "compared: whether there is a copy",
        Level::Headers => "compared: size, flags and date of every copy",
        Level::Bytes => "compared: size, flags and date of every copy, and bytes as told",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((counted(1, "message"), counted(2, "message")), ("1 message".into(), "2 messages".into()));
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (seconds, text) in [(0, "0s"), (42, "42s"), (185, "3m 05s"), (7500, "2h 05m"), (273_600, "3d 04h")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn no_name_can_steer_a_terminal_and_none_is_cut() {
        assert_eq!(clean("a \u{1b}[31mb  c"), "a \u{fffd}[31mb  c");
        assert_eq!(quoted("x\u{202e}y"), "\"x\u{fffd}y\"");
        let long = "word ".repeat(200);
        assert_eq!(clean(&long), long);
    }
}
