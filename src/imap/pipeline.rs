//! Several commands under way at once, answered in whatever order.

use super::connection::{Completion, Connection, Line, sort_line};
use super::error::ImapError;
use super::fetch::turn;
use super::token::Response;
use super::wire::{Broken, NoBodies};
use crate::provider::Phase;
use std::collections::BTreeSet;

/// What happened on the wire.
pub(super) enum Event<'a> {
    Response(&'a Response),
    /// A command ended.
    Ended(Completion),
}

/// Sends `commands`, at most `window` of them unanswered, until all have ended, or `take` has had enough.
pub(super) async fn run(
    connection: &mut Connection,
    what: &str,
    commands: Vec<String>,
    window: usize,
    mut take: impl FnMut(Event<'_>) -> Result<(), Broken>,
) -> Result<(), ImapError> {
    if std::mem::replace(&mut connection.poisoned, true) {
        return Err(ImapError::Poisoned);
    }
    let mut waiting = commands.into_iter();
    let mut under_way = BTreeSet::new();
    loop {
        let mut text = String::new();
        while under_way.len() < window
            && let Some(command) = waiting.next()
        {
            turn(&connection.turns).await;
            let tag = connection.next_tag();
            text.push_str(&format!("{tag} {command}\r\n"));
            under_way.insert(tag.into_bytes());
        }
        if under_way.is_empty() {
            break;
        }
        match step(connection, text.as_bytes(), &mut under_way, &mut take).await {
            Ok(()) => {}
            Err(broken) => return Err(connection.broken(what, Phase::Fetch, broken)),
        }
    }
    connection.poisoned = false;
    Ok(())
}

/// Writes what is to be written, then reads until one command has ended.
async fn step(
    connection: &mut Connection,
    text: &[u8],
    under_way: &mut BTreeSet<Vec<u8>>,
    take: &mut impl FnMut(Event<'_>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if !text.is_empty() {
        connection.wire.write(text).await?;
    }
    loop {
        let response = connection.wire.reader.response(&mut connection.wire.io, &mut NoBodies).await?;
        match sort_line(&response)? {
            Line::Untagged => {
                connection.note(std::slice::from_ref(&response));
                take(Event::Response(&response))?;
            }
            Line::Continuation => return Err(Broken::Protocol("it asks for more of a whole command".to_owned())),
            Line::Tagged(tag, completion) if under_way.remove(&tag) => {
                connection.wire.reader.heard();
                return take(Event::Ended(completion));
            }
            Line::Tagged(tag, _) => {
                let tag = crate::failure::harmless(&tag);
                return Err(Broken::Protocol(format!("an answer to \"{tag}\", which was not asked")));
            }
        }
    }
}
