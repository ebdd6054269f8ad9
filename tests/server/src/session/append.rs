//! APPEND, with LITERAL+, MULTIAPPEND and all that can be refused.
//!
//! Secret: how a refused command is read to its end. A refusal is said at once where the client waits for `+`; where it
//! does not wait, the bytes are on their way and are thrown away first. Messages are stored together or not at all
//! (RFC 3502).

use super::selected::Selected;
use super::{Answer, Command, Commit, Reply, Session, Stop, bad, no, ok};
use crate::config::Doubles;
use crate::dates;
use crate::faults::Event;
use crate::log::Moved;
use crate::mime;
use crate::parser::{Announced, Cursor, Syntax, Text, announced, compress};
use crate::store::{Account, Folder, NewMessage, StoreError};
use crate::wire::Line;

/// What is said of a message before its literal.
struct Head {
    flags: Vec<String>,
    date: Option<String>,
    literal: Announced,
}

/// A command as far as it was received.
struct Incoming {
    mailbox: Vec<u8>,
    messages: Vec<NewMessage>,
    bytes: u64,
    refused: Option<Reply>,
}

impl Session {
    pub(super) async fn append(&mut self, command: &mut Command) -> Answer {
        let Some(account) = self.account.clone() else {
            self.skip_literals(&command.text.bytes).await?;
            return Err(bad("Error in IMAP command received by server.").into());
        };
        let mut line = command.text.bytes[command.arguments..].to_vec();
        let mailbox = self.append_mailbox(command, &mut line).await?;
        let mut incoming = Incoming { mailbox, messages: Vec::new(), bytes: 0, refused: None };
        loop {
            let head = match read_head(&line) {
                Ok(head) => head,
                Err(refused) => return self.refuse_line(&line, incoming.refused.unwrap_or(refused)).await,
            };
            if let Some(refused) = self.refuses(head.literal) {
                return self.refuse_line(&line, refused).await;
            }
            if incoming.refused.is_none() {
                incoming.refused = self.refuse_head(&account, &incoming, &head);
            }
            if self.shared.config.executes_refused_literals
                && let Some(refused) = incoming.refused.take_if(|refused| refused.is_bad())
            {
                return self.refuse_line(&line, refused).await;
            }
            if head.literal.synchronising
                && let Some(refused) = incoming.refused
            {
                return Err(refused.into());
            }
            let before = self.wire.consumed();
            self.append_message(&mut incoming, head).await?;
            line = match self.wire.read_line(self.shared.config.line_bytes_max).await? {
                Line::Whole(line) => line,
                Line::BareLf | Line::TooLong(_) => return Err(bad("Error in IMAP command APPEND.").into()),
            };
            self.shared.log.add(command.logged, &line, self.wire.consumed() - before);
            if line.is_empty() {
                break;
            }
            if !self.features().multiappend {
                return self.refuse_line(&line, bad("Error in IMAP command APPEND: Unexpected arguments.")).await;
            }
        }
        match incoming.refused.take() {
            Some(refused) => Err(refused.into()),
            None => self.commit(&account, incoming).await,
        }
    }

    /// Takes the mailbox's name from the line, which may go on behind a literal.
    async fn append_mailbox(&mut self, command: &Command, line: &mut Vec<u8>) -> Result<Vec<u8>, Stop> {
        let as_literal = announced(line).filter(|_| line.starts_with(b" {"));
        if let Some(literal) = as_literal {
            if let Some(refused) = self.refuses(literal) {
                self.skip_literals(line).await?;
                return Err(refused.into());
            }
            let mut name = Vec::new();
            self.read_literal(&command.verb, literal, Some(&mut name)).await?;
            let Line::Whole(rest) = self.wire.read_line(self.shared.config.line_bytes_max).await? else {
                return Err(bad("Error in IMAP command APPEND.").into());
            };
            self.shared.log.add(command.logged, &rest, (name.len() + rest.len() + 2) as u64);
            *line = rest;
            return Ok(name);
        }
        let text = Text { bytes: line.clone(), literals: Vec::new() };
        let mut cursor = Cursor::new(&text, 0);
        match cursor.space().and_then(|()| cursor.mailbox()) {
            Ok(name) => {
                *line = line.split_off(line.len() - cursor.left());
                Ok(name)
            }
            Err(syntax) => {
                let Err(stop) = self.refuse_line(line, reply_of(syntax)).await else { return Err(Stop::End) };
                Err(stop)
            }
        }
    }

    /// Ends the command in the middle of a line that cannot be accepted.
    async fn refuse_line(&mut self, line: &[u8], refused: Reply) -> Answer {
        if !self.shared.config.executes_refused_literals {
            self.skip_literals(line).await?;
        }
        Err(refused.into())
    }

    /// Why a message is refused before its literal is seen.
    fn refuse_head(&self, account: &Account, incoming: &Incoming, head: &Head) -> Option<Reply> {
        let missing = || match self.check_name(account, &incoming.mailbox) {
            Err(stop) => Err(stop),
            Ok(()) => account.read(|folders| {
                folders
                    .selectable(account.layout(), &incoming.mailbox)
                    .map(|_| ())
                    .map_err(|error| try_create(error).into())
            }),
        };
        let too_big = || match self.features().append_limit {
            Some(limit) if head.literal.size > limit => {
                Err(no("[TOOBIG] Message size exceeds fixed maximum message size.").into())
            }
            _ => Ok(()),
        };
        let refused = missing()
            .and_then(|()| too_big())
            .and_then(|()| self.over_quota(account, incoming.bytes + head.literal.size))
            .and_then(|()| self.permitted(head.flags.clone()).map(|_| ()).map_err(Stop::from));
        match refused {
            Err(Stop::Reply(reply)) => Some(reply),
            _ => None,
        }
    }

    /// Reads a message's literal and adds it to the others, or finds why it is refused.
    async fn append_message(&mut self, incoming: &mut Incoming, head: Head) -> Result<(), Stop> {
        let keep = incoming.refused.is_none();
        let mut bytes = Vec::new();
        if keep {
            // A size that memory cannot hold is left to grow, and then to end, by itself.
            let _ = bytes.try_reserve_exact(usize::try_from(head.literal.size).unwrap_or(0));
        }
        match self.read_literal("APPEND", head.literal, keep.then_some(&mut bytes)).await {
            Ok(()) => {}
            Err(Stop::Reply(reply)) => incoming.refused = Some(reply),
            Err(Stop::End) => return Err(Stop::End),
        }
        if incoming.refused.is_none() {
            incoming.refused = self.refuse_body(&bytes);
        }
        if incoming.refused.is_some() {
            return Ok(());
        }
        if self.shared.config.munge_eight_bit_headers {
            let header_len = mime::header_len(&bytes);
            bytes[..header_len].iter_mut().filter(|byte| **byte >= 0x80).for_each(|byte| *byte = b'X');
        }
        if self.shared.config.nul_becomes_80 {
            bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0x80);
        }
        incoming.bytes += bytes.len() as u64;
        incoming.messages.push(NewMessage {
            body: bytes.into(),
            flags: self.permitted(head.flags)?,
            date: head.date.filter(|_| self.shared.config.dates_kept),
            uid: None,
        });
        Ok(())
    }

    fn refuse_body(&self, bytes: &[u8]) -> Option<Reply> {
        let config = &self.shared.config;
        if config.refuse_empty && bytes.is_empty() {
            return Some(no("Can't save a zero byte message."));
        }
        if config.refuse_nul && bytes.contains(&0) {
            return Some(no("Message contains NUL characters"));
        }
        let bare =
            |bytes: &[u8]| bytes.first() == Some(&b'\n') || bytes.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r');
        (config.refuse_bare_lf && bare(bytes)).then(|| no("Message contains bare newlines"))
    }

    async fn commit(&mut self, account: &Account, incoming: Incoming) -> Answer {
        let Incoming { mailbox, mut messages, .. } = incoming;
        let id = account.read(|folders| folders.find(account.layout(), &mailbox).map(|folder| folder.id));
        let is_examined = |selected: &Selected| selected.read_only && id.is_some_and(|id| selected.is(id));
        if self.shared.config.refuse_append_while_examined && self.selected.as_ref().is_some_and(is_examined) {
            return Err(no("Current box is selected READ-ONLY.").into());
        }
        if self.shared.faults.any() {
            let bodies: Vec<&[u8]> = messages.iter().map(|message| &*message.body).collect();
            if let Some(reply) = self.fire(Event::Append(&bodies)).await? {
                return Err(reply.into());
            }
        }
        let (shared, user) = (self.shared.clone(), self.wire.user.clone());
        let store = move |account: &Account, mailbox: &[u8], messages: Vec<NewMessage>| {
            let (count, bytes) = (messages.len(), messages.iter().map(|message| message.body.len()).sum::<usize>());
            let stored = account.write(|folders| -> Result<(u32, Vec<u32>), StoreError> {
                let folder = folders.selectable_mut(account.layout(), mailbox)?;
                let doubles = shared.config.doubles;
                Ok((folder.uid_validity, messages.into_iter().map(|message| keep(folder, message, doubles)).collect()))
            })?;
            shared.log.count(|stats| {
                stats.appends += 1;
                stats.messages_stored += count as u64;
                stats.bytes_stored += bytes as u64;
            });
            if shared.config.logs_traffic {
                shared.log.moved(user.as_deref(), Moved { messages: count as u64, ..Moved::default() });
            }
            Ok::<_, StoreError>(stored)
        };
        match std::mem::replace(&mut self.orders.commit, Commit::Now) {
            Commit::Now => {}
            late @ (Commit::Late(_) | Commit::Held(_)) => {
                let account = account.clone();
                self.shared.spawn(async move {
                    match late {
                        Commit::Held(gate) => gate.pass().await,
                        Commit::Late(time) => tokio::time::sleep(time).await,
                        _ => {}
                    }
                    // The folder may be gone by then.
                    let _ = store(&account, &mailbox, messages);
                });
                self.wire.cut().await;
                return Err(Stop::End);
            }
            Commit::Half => {
                match messages.len() {
                    1 => halve(&mut messages[0]),
                    count => messages.truncate(count / 2),
                }
                // Nobody is there to be told.
                let _ = store(account, &mailbox, messages);
                self.wire.cut().await;
                return Err(Stop::End);
            }
            Commit::KeepHalf => messages.iter_mut().for_each(halve),
            Commit::RefuseHalf => {
                messages.truncate(messages.len() / 2);
                if !messages.is_empty() {
                    store(account, &mailbox, messages).map_err(try_create)?;
                }
                return Err(no("Not all of them.").into());
            }
        }
        let (uid_validity, uids) = store(account, &mailbox, messages).map_err(try_create)?;
        if self.features().uidplus {
            return Ok(ok(&format!("[APPENDUID {uid_validity} {}] Append completed.", compress(&uids))));
        }
        Ok(ok("Append completed."))
    }
}

pub(super) fn try_create(error: StoreError) -> Reply {
    super::refusal(error, "[TRYCREATE] ")
}

/// Stores a message, or takes it for one that is there; gives the UID that is told.
fn keep(folder: &mut Folder, message: NewMessage, doubles: Doubles) -> u32 {
    let ids = |body: &[u8]| mime::values(body, b"Message-ID");
    let first = match doubles {
        Doubles::Kept => None,
        _ => Some(ids(&message.body))
            .filter(|wanted| !wanted.is_empty())
            .and_then(|wanted| folder.messages.iter().find(|one| ids(&one.body) == wanted))
            .map(|one| one.uid),
    };
    match first {
        None => folder.push(message),
        Some(uid) if doubles == Doubles::TakenForTheFirst => uid,
        Some(_) => {
            folder.uid_next += 1;
            folder.uid_next - 1
        }
    }
}

fn halve(message: &mut NewMessage) {
    message.body = message.body[..message.body.len() / 2].into();
}

fn reply_of(syntax: Syntax) -> Reply {
    bad(&format!("Error in IMAP command APPEND: {}.", syntax.0))
}

/// Reads `SP [flag-list SP] [date-time SP] literal`.
fn read_head(line: &[u8]) -> Result<Head, Reply> {
    let text = Text { bytes: line.to_vec(), literals: Vec::new() };
    let mut cursor = Cursor::new(&text, 0);
    let mut read = || -> Result<Head, Syntax> {
        cursor.space()?;
        let mut flags = Vec::new();
        if cursor.peek() == Some(b'(') {
            flags = cursor.flag_list()?;
            cursor.space()?;
        }
        let mut date = None;
        if cursor.peek() == Some(b'"') {
            let text = String::from_utf8(cursor.quoted()?).map_err(|_| Syntax("Invalid internal date"))?;
            dates::instant(&text).ok_or(Syntax("Invalid internal date"))?;
            cursor.space()?;
            date = Some(text);
        }
        let rest = &line[line.len() - cursor.left()..];
        match announced(rest) {
            Some(literal) if rest.starts_with(b"{") => Ok(Head { flags, date, literal }),
            _ => Err(Syntax("Expected a literal")),
        }
    };
    read().map_err(reply_of)
}
