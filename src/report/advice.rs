//! What is probably behind a message that is not on the target, and what a consultant can do about it.
//!
//! Judged by the kind first and by the server's words second. The words are those that servers are known to say; what they
//! mean for a run has been decided elsewhere, here is only explained.

use serde::Serialize;

/// A guess that is called one, and a next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Advice {
    /// What is probably behind it.
    pub(super) likely: &'static str,
    /// What can be done.
    pub(super) to_do: &'static str,
}

/// Gives the first row of the table that fits.
pub(super) fn advice(kind: &str, words: &str) -> Advice {
    let words = words.to_lowercase();
    let row = ROWS.iter().find(|row| row.fits(kind, &words));
    row.map_or(UNKNOWN, |row| row.advice)
}

struct Row {
    /// Names of kinds; empty: any.
    kinds: &'static [&'static str],
    /// Any of these in the words, in lower case; empty: whatever they are.
    words: &'static [&'static str],
    advice: Advice,
}

impl Row {
    fn fits(&self, kind: &str, words: &str) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.words.is_empty() || self.words.iter().any(|word| words.contains(word)))
    }
}

const fn row(
    kinds: &'static [&'static str],
    words: &'static [&'static str],
    likely: &'static str,
    to_do: &'static str,
) -> Row {
    Row { kinds, words, advice: Advice { likely, to_do } }
}

const SAVE: &str = "save it as a file (failed JOB --export DIR) and hand it over, or import it with a mail program";
const UNKNOWN: Advice = Advice {
    likely: "not known beyond the server's words",
    to_do: "try it again; if the words stay the same, save it as a file (failed JOB --export DIR) and hand it over",
};

/// The most certain first.
const ROWS: &[Row] = &[
    row(
        &["removed"],
        &[],
        "its user, a rule or a filter of the target mailbox has moved or deleted it after it had arrived",
        "ask the user; to copy it again: run JOB --restore-removed",
    ),
    row(
        &["missing"],
        &[],
        "the target files or drops it by itself: spam, a duplicate it holds already, a rule of the mailbox",
        "look for it in the target's other folders; switch such rules off, then try it again",
    ),
    row(
        &["message-unreadable"],
        &["no body"],
        "the source lists the message and has lost its content",
        "look at it in the old mail program; ask the old provider to repair the mailbox or restore it from a backup",
    ),
    row(
        &["message-unreadable"],
        &[],
        "the source has lost its content, or cannot read it just now",
        "try it again later; look at it in the old mail program, and ask the old provider to repair the mailbox",
    ),
    row(
        &["lost"],
        &["is fetched"],
        "the source fails over this message: damaged content, or a fault of that server",
        "look at it in the old mail program and forward or save it there; ask the old provider to repair the mailbox",
    ),
    row(
        &["lost"],
        &[],
        "the target, or a virus scanner or firewall before it, breaks off over the content of this message",
        SAVE,
    ),
    row(&["mailbox-full"], &[], "the target mailbox is full", "make room there or raise its quota, then try it again"),
    row(
        &["folder-refused", "command-refused"],
        &["exist", "[alreadyexists]"],
        "the target has a folder of nearly the same name, or none where this one should lie",
        "give the folder another name under [folders] in the job file: rename = { \"Old\" = \"New\" }",
    ),
    row(
        &["folder-refused", "command-refused"],
        &["permission", "denied", "[noperm]", "not allowed", "acl"],
        "the mailbox may not make or fill this folder on the target",
        "ask the new provider for the right to it, or give it another name under [folders] in the job file",
    ),
    row(
        &["folder-refused", "command-refused"],
        &[],
        "the target does not take its folder, mostly because of a character in the name or its length",
        "give the folder another name under [folders] in the job file: rename = { \"Old\" = \"New\" }",
    ),
    row(
        &[],
        &["virus", "malware", "infected", "phish", "trojan"],
        "a virus scanner of the target stopped it",
        "look at the attachment first; if it is harmless, have the scanner pass it, then try it again",
    ),
    row(
        &[],
        &["spam", "policy", "content rejected", "blocked", "not allowed by"],
        "a filter or policy of the target stopped it",
        "have the filter pass it (or switch it off while moving), then try it again",
    ),
    row(
        &[],
        &["parse error", "system flag", "invalid flag", "flag list", "keyword", "command argument error"],
        "the target does not take one of its flags, its date, or a header it reads as it stores it",
        SAVE,
    ),
    row(
        &[],
        &["line too long", "line length", "lines longer", "command error. 10"],
        "a line of the message is longer than the target takes",
        SAVE,
    ),
    row(
        &[],
        &["toobig", "too big", "too large", "too long", "maximum", "size exceeds", "exceeds", "[limit]", "larger than"],
        "it is larger than the target takes",
        "raise the target's limit for one message and try it again; else save it as a file (failed JOB --export DIR)",
    ),
    row(
        &[],
        &["overquota", "quota", "server unavailable. 15"],
        "the target mailbox is full, or has taken as much as it may in a day",
        "make room there or wait for a day, then try it again",
    ),
    row(&[], &["nul char", " nul", "null"], "the message holds NUL bytes, which this target insists on refusing", SAVE),
    row(
        &[],
        &["bare newline", "bare lf", "line feed", "newline"],
        "the message has line ends that this target insists on refusing",
        SAVE,
    ),
    row(
        &[],
        &["invalid header", "non-ascii", "8bit", "8-bit", "header/body", "rfc5322", "rfc822", "invalid message"],
        "its header breaks a rule that this target insists on: letters beyond ASCII, a broken line, no end",
        SAVE,
    ),
    row(
        &[],
        &["empty", "zero length", "zero-length"],
        "the message is empty, and the target cannot hold such a one",
        "nothing is lost with it; look at it in the old mail program to be sure",
    ),
    row(
        &[],
        &["internaldate", "invalid date", "date-time", "bad date"],
        "its date is none that the target takes",
        SAVE,
    ),
    row(
        &[],
        &["unavailable", "try again", "temporary", "internal error", "server error", "inuse", "serverbug"],
        "the target failed over it in that moment",
        "try it again later",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_follows_kind_first_and_words_second() {
        for (kind, words, likely) in [
            ("message-refused", "NO [TOOBIG] no", "larger than the target takes"),
            ("message-refused", "NO [LIMIT] message too large", "larger than the target takes"),
            ("message-refused", "BAD maximum message size exceeded", "larger than the target takes"),
            ("message-refused", "NO Maximum size of appendable message has been exceeded", "larger than"),
            ("message-refused", "NO Message contains NUL characters", "NUL bytes"),
            ("message-refused", "NO Message contains bare newlines", "line ends"),
            ("message-refused", "NO Message contains invalid header", "its header breaks a rule"),
            ("message-refused", "BAD invalid rfc5322 message: x", "its header breaks a rule"),
            ("message-refused", "NO rejected by policy", "filter or policy"),
            ("message-refused", "NO message infected with Eicar", "virus scanner"),
            ("message-refused", "BAD Command Argument Error. 11", "one of its flags"),
            ("message-refused", "BAD Parse Error", "one of its flags"),
            ("message-refused", "BAD Command Error. 10", "a line of the message is longer"),
            ("message-refused", "NO Server Unavailable. 15", "the target mailbox is full"),
            ("message-refused", "NO Zero length message", "the message is empty"),
            ("message-refused", "NO [SERVERBUG] Internal error", "failed over it in that moment"),
            ("message-refused", "NO no", "not known"),
            ("message-unreadable", "the source gives no body for it", "has lost its content"),
            ("message-unreadable", "NO too large", "has lost its content"),
            ("lost", "the connection breaks whenever this message is sent", "breaks off over the content"),
            ("lost", "the connection breaks whenever this message is fetched", "the source fails over"),
            ("missing", "", "files or drops it by itself"),
            ("removed", "", "its user, a rule or a filter"),
            ("mailbox-full", "NO [OVERQUOTA]", "the target mailbox is full"),
            ("folder-refused", "create folder \"x\": NO bad name", "does not take its folder"),
            ("folder-refused", "NO [NOPERM] permission denied", "may not make or fill"),
        ] {
            let found = advice(kind, words).likely;
            assert!(found.contains(likely), "{kind} {words}: {found}");
        }
    }

    #[test]
    fn every_sentence_of_the_table_can_be_read_on_a_line() {
        for row in ROWS {
            for text in [row.advice.likely, row.advice.to_do] {
                assert!(text.len() < 120 && !text.ends_with('.'), "{text}");
            }
            assert!(row.words.iter().all(|word| **word == word.to_lowercase()));
        }
    }
}
