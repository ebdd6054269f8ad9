//! What programs read: one JSON object per event and line, and documents for everything else.
//!
//! Invariant: whatever stands in a name or a server's words, no byte of the output steers a terminal: what could is
//! escaped, and the value stays the same.

use super::words::stamp;
use crate::failure::steers;
use crate::transfer::Event;
use serde::Serialize;
use std::io::{self, Write};
use std::time::SystemTime;

#[derive(Serialize)]
struct Stamped<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

/// The last line of a run.
#[derive(Serialize)]
struct RunEnded<'a> {
    time: String,
    event: &'static str,
    code: u8,
    meaning: &'a str,
    next: &'a [String],
}

/// Gives an event as one line, without its end.
pub(super) fn event(event: &Event, now: SystemTime) -> String {
    line(&Stamped { time: stamp(now), event })
}

/// Gives the last line of a run: the exit code, what it means and what to type next.
#[must_use]
pub fn run_ended(now: SystemTime, code: u8, meaning: &str, next: &[String]) -> String {
    line(&RunEnded { time: stamp(now), event: "run-ended", code, meaning, next })
}

/// Gives a value on one line, without its end.
pub(super) fn line(value: &impl Serialize) -> String {
    // Only a map whose keys are no text could fail, and no type here has one.
    escaped(serde_json::to_string(value).unwrap_or_default())
}

/// Gives a value as a document that a person can read too.
#[must_use]
pub fn document(value: &impl Serialize) -> String {
    escaped(serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

/// Writes a line and hands it on at once.
pub(super) fn put(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(format!("{text}\n").as_bytes())?;
    out.flush()
}

/// Escapes what serde leaves: such characters stand within strings only.
fn escaped(text: String) -> String {
    // The line ends of a document are ours: within strings they are escaped already.
    let steers = |c: char| c != '\n' && steers(c);
    if !text.contains(steers) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Failure, Kind};
    use crate::mail::{Evidence, Fate, Side};
    use crate::transfer::Ending;
    use std::time::Duration;

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
    }

    #[test]
    fn an_event_is_one_object_with_its_time() {
        let done = Event::AccountDone {
            account: "info".into(),
            ending: Ending::Failed,
            failure: Some(Failure::new(Side::Source, Kind::Unreachable, "connect").with_hint("check the port")),
            fates: [(Fate::Copied, 3)].into(),
            evidence: [(Evidence::MetadataEqual, 3)].into(),
            surplus: 0,
        };
        insta::assert_snapshot!(event(&done, at()), @r#"{"time":"2026-01-02T03:04:05Z","event":"account-done","account":"info","ending":"failed","failure":{"side":"source","kind":"unreachable","text":"connect","hint":"check the port"},"fates":{"copied":3},"evidence":{"metadata-equal":3},"surplus":0}"#);
        let copied =
            Event::Copied { account: "a".into(), folder: "x\u{9b}31m\u{202e}\u{1b}".into(), messages: 2, bytes: 9 };
        insta::assert_snapshot!(event(&copied, at()), @r#"{"time":"2026-01-02T03:04:05Z","event":"copied","account":"a","folder":"x\u009b31m\u202e\u001b","messages":2,"bytes":9}"#);
        let back: serde_json::Value = serde_json::from_str(&event(&copied, at())).unwrap();
        assert_eq!(back["folder"], "x\u{9b}31m\u{202e}\u{1b}");
        let copied = Event::Copied { account: "\u{e0041}\u{61c}".into(), folder: "".into(), messages: 2, bytes: 9 };
        let line = event(&copied, at());
        assert!(line.is_ascii(), "{line}");
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["account"], "\u{e0041}\u{61c}");
        let next = ["mailhaul resume".to_owned()];
        insta::assert_snapshot!(run_ended(at(), 4, "stopped", &next), @r#"{"time":"2026-01-02T03:04:05Z","event":"run-ended","code":4,"meaning":"stopped","next":["mailhaul resume"]}"#);
    }
}
