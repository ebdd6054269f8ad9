//! Events, summaries of the ledger, plans and verdicts, as people and programs read them.
//!
//! Secret: the words, the numbers and the look. Invariants: no name, subject or server's words steer a terminal; nothing
//! here slows a run but a reader that does not read, or ends it; colour is never the only bearer of a meaning. Knows no
//! command line: what to type next is given to it.

mod advice;
mod board;
mod failed;
mod json;
mod ledger;
mod lines;
mod live;
mod look;
mod paint;
mod sentences;
mod summary;
mod table;
mod verdict;
mod words;

#[cfg(test)]
mod samples;

pub use failed::{Untold, failed, failed_json, manifest_line};
pub use json::{document, run_ended};
pub use ledger::{status, status_json};
pub use live::Screen;
pub use look::{checks, outlook, plans};
pub use paint::Paint;
pub use summary::summary;
pub use verdict::{messages, verdicts};

use crate::transfer::Event;
use std::io::Write;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Between two looks of the live view.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Follows a run and shows it, in one of three forms.
pub struct Reporter {
    form: Form,
}

enum Form {
    Live(Box<live::Live>),
    Lines(lines::Lines<Box<dyn Write + Send>>),
    Json(Box<dyn Write + Send>),
}

impl Reporter {
    /// Shows a live view on a terminal.
    #[must_use]
    pub fn live(screen: Screen, paint: Paint) -> Self {
        Self { form: Form::Live(Box::new(live::Live::new(screen, paint))) }
    }

    /// Writes a line for each thing that matters, with its time.
    #[must_use]
    pub fn lines(out: impl Write + Send + 'static) -> Self {
        Self { form: Form::Lines(lines::Lines::new(Box::new(out))) }
    }

    /// Writes one JSON object for each event, on a line of its own.
    #[must_use]
    pub fn json(out: impl Write + Send + 'static) -> Self {
        Self { form: Form::Json(Box::new(out)) }
    }

    /// Shows events until nobody sends any more. What cannot be written is lost: a run does not end because nobody reads.
    pub async fn follow(mut self, mut events: mpsc::Receiver<Event>) {
        let mut tick = tokio::time::interval(DRAW_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.tell(&event, SystemTime::now()),
                    None => return,
                },
                _ = tick.tick(), if matches!(self.form, Form::Live(_)) => self.draw(),
            }
        }
    }

    fn tell(&mut self, event: &Event, now: SystemTime) {
        match &mut self.form {
            Form::Live(live) => live.tell(event),
            Form::Lines(lines) => lines.tell(event, now),
            Form::Json(out) => drop(json::put(out, &json::event(event, now))),
        }
    }

    fn draw(&mut self) {
        if let Form::Live(live) = &mut self.form {
            live.draw();
        }
    }
}
