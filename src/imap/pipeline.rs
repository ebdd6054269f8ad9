//! Several commands under way at once, answered in whatever order.

use super::connection::{Completion, Connection, Line, sort_line};
use super::error::ImapError;
use super::fetch::turn;
use super::token::Response;
use super::wire::{Broken, NoBodies};
use crate::provider::Phase;
use std::collections::BTreeMap;

/// What happened on the wire.
pub(super) enum Event<'a> {
    Response(&'a Response),
    /// A command ended: its place among those given, and how.
    Ended(usize, Completion),
}

/// How many commands may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) most: usize,
    /// More are sent when no more than so many are left: each sending costs a turn where answers are waited for.
    pub(super) refill: usize,
}

/// Written at once at the most: less than any server's receive buffer, so that neither side waits for the other to read.
const BYTES_MAX: usize = 8 * 1024;

/// Sends `commands`, no more of them unanswered than the window allows, until all have ended, or `take` has had enough.
pub(super) async fn run<C: AsRef<[u8]>>(
    connection: &mut Connection,
    (what, phase): (&str, Phase),
    commands: Vec<C>,
    window: Window,
    mut take: impl FnMut(Event<'_>) -> Result<(), Broken>,
) -> Result<(), ImapError> {
    if std::mem::replace(&mut connection.poisoned, true) {
        return Err(ImapError::Poisoned);
    }
    let mut waiting = commands.iter().enumerate();
    let mut under_way = BTreeMap::new();
    loop {
        let (mut text, mut size) = (Vec::new(), 0);
        let refill = under_way.len() <= window.refill;
        while refill
            && under_way.len() < window.most
            && size < BYTES_MAX
            && let Some((at, command)) = waiting.next()
        {
            if let Err(broken) = turn(&connection.turns).await {
                return Err(connection.broken(what, phase, broken));
            }
            let tag = connection.next_tag().into_bytes();
            let line = [&tag, &b" "[..], command.as_ref(), b"\r\n"].concat();
            size += line.len();
            text.extend_from_slice(&line);
            under_way.insert(tag, at);
            // Kept back, those whose turn it was would go out in one burst.
            if connection.turns.is_some()
                && let Err(broken) = connection.wire.write(&std::mem::take(&mut text)).await
            {
                return Err(connection.broken(what, phase, broken));
            }
        }
        if under_way.is_empty() {
            break;
        }
        match step(connection, &text, &mut under_way, &mut take).await {
            Ok(()) => {}
            Err(broken) => return Err(connection.broken(what, phase, broken)),
        }
    }
    connection.poisoned = false;
    Ok(())
}

/// Writes what is to be written, then reads until one command has ended.
async fn step(
    connection: &mut Connection,
    text: &[u8],
    under_way: &mut BTreeMap<Vec<u8>, usize>,
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
            Line::Tagged(tag, completion) => {
                let Some(at) = under_way.remove(&tag) else {
                    let tag = crate::failure::harmless(&tag);
                    return Err(Broken::Protocol(format!("an answer to \"{tag}\", which was not asked")));
                };
                connection.wire.reader.heard();
                return take(Event::Ended(at, completion));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::imap::CommandBrake;
    use futures_util::future::BoxFuture;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::time::Instant;

    struct EachSecond;

    impl CommandBrake for EachSecond {
        fn command(&self) -> BoxFuture<'_, Result<(), Failure>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_goes_out_when_its_turn_comes() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut connection, _bridge) = Connection::new(Box::new(near), Duration::from_secs(60));
        connection.turns = Some(Arc::new(EachSecond));
        let begin = Instant::now();
        let server = tokio::spawn(async move {
            let (mut far, mut came) = (BufReader::new(far), Vec::new());
            let mut line = String::new();
            while came.len() < 6 && far.read_line(&mut line).await.unwrap() > 0 {
                came.push(begin.elapsed().as_secs());
                let tag = line.split(' ').next().unwrap();
                far.write_all(format!("{tag} OK done\r\n").as_bytes()).await.unwrap();
                line.clear();
            }
            came
        });
        let window = Window { most: 6, refill: 5 };
        run(&mut connection, ("ask", Phase::Other), vec!["NOOP"; 6], window, |_| Ok(())).await.unwrap();
        assert_eq!(server.await.unwrap(), [1, 2, 3, 4, 5, 6]);
    }
}
