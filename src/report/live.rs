//! The live view: the board's lines at the lower end of a terminal, what is worth keeping above them.
//!
//! Invariant: however a run ends, the lines are taken away and the terminal is as it was.

use super::board::Board;
use super::paint::Paint;
use super::sentences::{account_done, sentences};
use crate::transfer::Event;
use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Instant;

/// Messages of one account that are told above the live lines; all of them are in the ledger.
const TOLD_MAX: u32 = 10;

/// Standard error, shared between the live lines and whatever else is written there. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Screen {
    bars: MultiProgress,
}

impl Default for Screen {
    fn default() -> Self {
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()) }
    }
}

impl Screen {
    /// Writes a line where it stays. What cannot be written is lost.
    pub fn line(&self, text: &str) {
        let mut writer = self.clone();
        let _ = writer.write_all(format!("{text}\n").as_bytes());
    }

    /// Takes the live lines away.
    pub fn clear(&self) {
        let _ = self.bars.clear();
    }
}

/// Whole lines at a time, as a log writes them.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().write_all(bytes).map(|()| bytes.len());
        if self.bars.is_hidden() { write() } else { self.bars.suspend(write) }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows events on a terminal.
pub(super) struct Live {
    screen: Screen,
    paint: Paint,
    board: Board,
    bar: Option<ProgressBar>,
    told: HashMap<String, u32>,
}

impl Live {
    pub(super) fn new(screen: Screen, paint: Paint) -> Self {
        screen.bars.set_draw_target(ProgressDrawTarget::stderr());
        Self { screen, paint, board: Board::new(Instant::now()), bar: None, told: HashMap::new() }
    }

    pub(super) fn tell(&mut self, event: &Event) {
        self.board.tell(event, Instant::now());
        let kept = self.kept(event);
        if !kept.is_empty() {
            self.draw();
        }
        for line in kept {
            // Nothing else can be done about a terminal that is gone.
            let _ = self.screen.bars.println(line);
        }
    }

    /// Gives what stays to be read above the live lines.
    fn kept(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::AccountDone { account, ending, failure, fates, .. } => {
                self.told.remove(account);
                let line = account_done(account, *ending, failure.as_ref(), fates);
                vec![format!("{} {line}", self.paint.mark(*ending))]
            }
            Event::FolderFailed { .. } | Event::FolderRenamed { .. } => self.marked(sentences(event)),
            // The first line is the number of folders.
            Event::FoldersMapped { .. } => self.marked(sentences(event).split_off(1)),
            Event::MessageFailed { account, .. } => {
                let told = self.told.entry(account.clone()).or_default();
                *told += 1;
                match *told {
                    0..=TOLD_MAX => self.marked(sentences(event)),
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    fn marked(&self, lines: Vec<String>) -> Vec<String> {
        lines.into_iter().map(|line| format!("{} {line}", self.paint.warning("!"))).collect()
    }

    /// Shows what is true now.
    pub(super) fn draw(&mut self) {
        let (rows, width) = Term::stderr().size();
        let lines = self.board.lines(Instant::now(), (rows.into(), width.into()));
        // One bar of many lines, so that they change together.
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.screen.bars.add(ProgressBar::new_spinner().with_style(style))
        });
        bar.set_message(lines.join("\n"));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.screen.clear();
        self.screen.bars.set_draw_target(ProgressDrawTarget::hidden());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::story;

    #[test]
    fn what_a_person_must_see_stays_above() {
        let mut live = Live::new(Screen::default(), Paint::plain());
        live.screen.bars.set_draw_target(ProgressDrawTarget::hidden());
        let kept: Vec<String> = story().iter().flat_map(|event| live.kept(event)).collect();
        insta::assert_snapshot!(kept.join("\n"), @r#"
        ! info@acme.example: warning: "a.b" goes to "a=2Eb": the target cannot hold its name as it is
        ! info@acme.example: "INBOX" uid 17: refused by the target: NO [LIMIT] message too large ("Quarterly �[31mnumbers", 40.0 MiB)
        ! info@acme.example: "Odd��name": given up: target: failed to create it: NO not allowed
        ! info@acme.example: complete with exceptions: 2,999 copied, 12 there already, 1 refused by the target
        ✗ sales@acme.example: failed: source: failed to connect to imap.old.example:993: connection refused (check host, port and tls in the job file)
        "#);
        let failed = story().into_iter().find(|event| matches!(event, Event::MessageFailed { .. })).unwrap();
        let told: usize = (0..100).map(|_| live.kept(&failed).len()).sum();
        assert_eq!(told, TOLD_MAX as usize);
    }
}
