//! What a server says of our haste, heard in every status line of a connection and heeded before every command.
//!
//! Secret: that the words can stand in any answer, an OK among them, whatever was asked. One place hears them and one place
//! waits, so that no command is forgotten. Decides nothing: how long is for whoever is told.

use super::session::{End, Session};
use super::token::starts_with;
use crate::provider::{Slower, Status, slower};
use std::pin::Pin;
use std::sync::Arc;

/// A wait until a server may be asked again.
pub type Pause<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Knows when a server may be asked again: shared by all connections that it speaks to alike.
pub trait Haste: Send + Sync {
    /// Gives the wait before the next command; None: there is none.
    fn pause(&self) -> Option<Pause<'_>>;
    /// Learns that the server asks for less.
    fn heard(&self, slower: Slower);
}

/// One connection's part: what it hears before it knows whom to tell is kept.
#[derive(Default)]
pub(super) struct Heed {
    haste: Option<Arc<dyn Haste>>,
    early: Option<Slower>,
}

impl Heed {
    /// Takes a line from the server, whatever it is.
    pub(super) fn hear(&mut self, line: &[u8]) {
        let Some((status, words)) = status_line(line) else { return };
        let Some(slower) = slower(status, words) else { return };
        match &self.haste {
            Some(haste) => haste.heard(slower),
            None => self.early = Some(slower),
        }
    }

    /// Waits until a command may be sent.
    pub(super) async fn ready(&self) {
        // Heard meanwhile by another connection, it may be longer.
        while let Some(pause) = self.haste.as_ref().and_then(|haste| haste.pause()) {
            pause.await;
        }
    }

    /// Says whether one would have to wait.
    pub(super) fn is_held(&self) -> bool {
        self.haste.as_ref().is_some_and(|haste| haste.pause().is_some())
    }

    fn tell(&mut self, haste: Arc<dyn Haste>) {
        if let Some(early) = self.early.take() {
            haste.heard(early);
        }
        self.haste = Some(haste);
    }
}

impl<E: End> Session<E> {
    /// Tells `haste` from now on what the server says of it, and waits for it before each command.
    pub fn heed(&mut self, haste: Arc<dyn Haste>) {
        self.connection.wire.reader.heed.tell(haste);
    }
}

/// Gives status and words of a tagged or untagged status line; None: it is another.
fn status_line(line: &[u8]) -> Option<(Status, &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    let rest = &line[at + 1..];
    let known = [(&b"OK"[..], Status::Ok), (b"NO", Status::No), (b"BAD", Status::Bad), (b"BYE", Status::Bye)];
    // Exchange glues BAD to what follows.
    let is =
        |word: &[u8]| starts_with(rest, word) && (word == b"BAD" || matches!(rest.get(word.len()), Some(b' ' | b'[')));
    known.into_iter().find(|(word, _)| is(word)).map(|(word, status)| (status, &rest[word.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Default)]
    struct Ear(Mutex<Vec<Slower>>);

    impl Haste for Ear {
        fn pause(&self) -> Option<Pause<'_>> {
            None
        }

        fn heard(&self, slower: Slower) {
            self.0.lock().unwrap().push(slower);
        }
    }

    #[test]
    fn every_status_line_is_heard_and_nothing_else() {
        let for_seconds = |seconds| Some(Slower::For(Duration::from_secs(seconds)));
        for (line, expected) in [
            (&b"A1 OK Success [THROTTLED]"[..], Some(Slower::Somewhat)),
            (b"A1 OK [THROTTLED] Append completed.", Some(Slower::Somewhat)),
            (b"A1 OK[THROTTLED] Append completed.", Some(Slower::Somewhat)),
            (b"* OK [THROTTLED] still here", Some(Slower::Somewhat)),
            (b"A1 BAD Request is throttled. Suggested Backoff Time: 7000 milliseconds", for_seconds(7)),
            (b"A1 BADRequest is throttled. Suggested Backoff Time: 7000 milliseconds", for_seconds(7)),
            (b"* BAD Request is throttled. Suggested Backoff Time: 7000 milliseconds", for_seconds(7)),
            (b"* BYE Request is throttled. Suggested Backoff Time: 7000 milliseconds", for_seconds(7)),
            (b"A1 NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", for_seconds(3600)),
            (b"* LIST () \"/\" \"[THROTTLED]\"", None),
            (b"* OKAY [THROTTLED]", None),
            (b"* 7 FETCH (FLAGS ($[THROTTLED]))", None),
            (b"+ [THROTTLED]", None),
            (b"A1 OK done", None),
            (b"", None),
        ] {
            let (ear, mut heed) = (Arc::new(Ear::default()), Heed::default());
            heed.tell(ear.clone());
            heed.hear(line);
            assert_eq!(ear.0.lock().unwrap().first().copied(), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_is_heard_while_signing_in_is_told_afterwards() {
        let (ear, mut heed) = (Arc::new(Ear::default()), Heed::default());
        heed.hear(b"A1 OK [THROTTLED] Logged in");
        heed.tell(ear.clone());
        heed.tell(ear.clone());
        assert_eq!(*ear.0.lock().unwrap(), [Slower::Somewhat]);
    }
}
