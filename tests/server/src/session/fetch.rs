//! FETCH and UID FETCH.
//!
//! Secret: how answers are made without holding the store or copying bodies: messages are shared, each answer is sent
//! before the next one is made.

use std::sync::Arc;

use super::selected::Selected;
use super::{Answer, Session, Stop, no, ok};
use crate::dates;
use crate::faults::{Event, Falsehood};
use crate::mime;
use crate::parser::{Cursor, Syntax, put_astring, put_string};
use crate::store::{Account, Message};
use crate::wire::End;

/// What is asked of each message.
#[derive(Debug, Clone)]
enum Item {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    Structure(&'static str),
    ModSeq,
    Section(Section),
}

#[derive(Debug, Clone)]
struct Section {
    /// As the answer names it.
    label: Vec<u8>,
    part: Part,
    peek: bool,
    partial: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
enum Part {
    Whole,
    Header,
    Text,
    Fields(Vec<Vec<u8>>, bool),
    /// A part that a message taken as one text does not have.
    None,
}

/// A message to be told of.
struct Picked {
    place: usize,
    message: Arc<Message>,
    recent: bool,
    /// Whether this FETCH made it `\Seen`.
    seen_now: bool,
}

impl Session {
    pub(super) async fn fetch(
        &mut self,
        mut cursor: Cursor<'_>,
        account: &Account,
        selected: &mut Selected,
        by_uid: bool,
    ) -> Answer {
        cursor.space()?;
        let set = cursor.set()?;
        cursor.space()?;
        let mut items = self.items(&mut cursor)?;
        let (changed_since, vanished) = self.changed_since(&mut cursor, &mut items)?;
        cursor.end()?;
        if let Some(since) = changed_since.filter(|_| vanished) {
            if !by_uid || !self.qresync {
                return Err(Syntax("VANISHED is for UID FETCH after ENABLE QRESYNC").into());
            }
            self.tell_vanished(account, selected, &set, since);
        }
        if by_uid && !items.iter().any(|item| matches!(item, Item::Uid)) {
            items.insert(0, Item::Uid);
        }
        let places = selected.pick(&set, by_uid)?;
        let count = places.len();
        let sees = !selected.read_only && items.iter().any(|item| matches!(item, Item::Section(s) if !s.peek));
        let picked = if sees {
            account.write(|folders| pick_and_see(folders, selected, places))
        } else {
            account.read(|folders| {
                let folder = selected.folder(folders)?;
                Some(places.into_iter().filter_map(|at| picked(folder, selected, at)).collect::<Vec<_>>())
            })
        };
        let Some(picked) = picked else {
            return Err(no("[UNAVAILABLE] The mailbox is gone.").into());
        };
        let complete = picked.len() == count;
        for picked in picked {
            if changed_since.is_some_and(|since| picked.message.modseq <= since) {
                continue;
            }
            if picked.seen_now {
                selected.told.insert(picked.message.uid);
            }
            if self.shared.faults.any()
                && let Some(reply) = self.fire(Event::FetchUid(picked.message.uid)).await?
            {
                return Err(reply.into());
            }
            if self.shared.faults.any()
                && items.iter().any(|item| matches!(item, Item::Section(_)))
                && let Some(reply) = self.fire(Event::FetchBody(picked.message.uid)).await?
            {
                return Err(reply.into());
            }
            self.tell(&picked, &items).await?;
        }
        if complete {
            return Ok(ok("Fetch completed."));
        }
        Ok(ok("[EXPUNGEISSUED] Some messages were already expunged."))
    }

    /// Tells which UIDs of a set went after a mod-sequence (RFC 7162 section 3.2.6).
    fn tell_vanished(&mut self, account: &Account, selected: &Selected, set: &crate::parser::Set, since: u64) {
        let gone = account.read(|folders| selected.folder(folders).map(|folder| folder.gone_since(since)));
        let ranges: Vec<_> = crate::parser::resolve(set, u32::MAX).into_iter().collect();
        let asked = |uid: &u32| ranges.iter().any(|range| range.contains(uid));
        let gone: Vec<String> = gone.unwrap_or_default().iter().filter(|uid| asked(uid)).map(u32::to_string).collect();
        if !gone.is_empty() {
            self.wire.put(format!("* VANISHED (EARLIER) {}", gone.join(",")));
        }
    }

    fn changed_since(&mut self, cursor: &mut Cursor<'_>, items: &mut Vec<Item>) -> Result<(Option<u64>, bool), Stop> {
        let (mut since, mut vanished) = (None, false);
        if self.features().condstore && cursor.eat(b' ') {
            cursor.expect(b'(')?;
            if !cursor.eat_word("CHANGEDSINCE ") {
                return Err(Syntax("Unknown FETCH modifier").into());
            }
            since = Some(cursor.number()?);
            vanished = self.features().qresync && cursor.eat_word(" VANISHED");
            cursor.expect(b')')?;
            if !items.iter().any(|item| matches!(item, Item::ModSeq)) {
                items.push(Item::ModSeq);
            }
        }
        self.condstore |= items.iter().any(|item| matches!(item, Item::ModSeq));
        Ok((since, vanished))
    }

    fn items(&self, cursor: &mut Cursor<'_>) -> Result<Vec<Item>, Syntax> {
        if cursor.peek() == Some(b'(') {
            let items = cursor.list(|cursor| self.item(cursor))?;
            return if items.is_empty() { Err(Syntax("No FETCH items")) } else { Ok(items) };
        }
        let mut fast = vec![Item::Flags, Item::InternalDate, Item::Size];
        for (name, with_envelope, with_body) in [("ALL", true, false), ("FAST", false, false), ("FULL", true, true)] {
            let mut ahead = *cursor;
            if ahead.eat_word(name) && matches!(ahead.peek(), None | Some(b' ')) {
                *cursor = ahead;
                fast.extend(with_envelope.then_some(Item::Envelope));
                fast.extend(with_body.then_some(Item::Structure("BODY")));
                return Ok(fast);
            }
        }
        Ok(vec![self.item(cursor)?])
    }

    fn item(&self, cursor: &mut Cursor<'_>) -> Result<Item, Syntax> {
        let section = |label: &str, part, peek| {
            Item::Section(Section { label: label.as_bytes().to_vec(), part, peek, partial: None })
        };
        for (name, peek) in [("BODY.PEEK[", true), ("BODY[", false)] {
            if cursor.eat_word(name) {
                return read_section(cursor, peek).map(Item::Section);
            }
        }
        Ok(match cursor.word()?.as_str() {
            "UID" => Item::Uid,
            "FLAGS" => Item::Flags,
            "INTERNALDATE" => Item::InternalDate,
            "RFC822.SIZE" => Item::Size,
            "ENVELOPE" => Item::Envelope,
            "BODY" => Item::Structure("BODY"),
            "BODYSTRUCTURE" => Item::Structure("BODYSTRUCTURE"),
            "MODSEQ" if self.features().condstore => Item::ModSeq,
            "RFC822" => section("RFC822", Part::Whole, false),
            "RFC822.HEADER" => section("RFC822.HEADER", Part::Header, true),
            "RFC822.TEXT" => section("RFC822.TEXT", Part::Text, false),
            _ => return Err(Syntax("Unknown FETCH item")),
        })
    }

    /// Sends one message's answer.
    async fn tell(&mut self, picked: &Picked, items: &[Item]) -> Result<(), End> {
        let message = &picked.message;
        let lies: Vec<Falsehood> = self.orders.lies_about(message.uid).cloned().collect();
        if lies.contains(&Falsehood::Hidden) {
            return Ok(());
        }
        self.wire.out.extend_from_slice(format!("* {} FETCH (", picked.place + 1).as_bytes());
        let mut first = true;
        let flags_asked = items.iter().any(|item| matches!(item, Item::Flags));
        let flags_now = (picked.seen_now && !flags_asked).then_some(&Item::Flags);
        for item in items.iter().chain(flags_now) {
            if matches!(item, Item::Size) && lies.contains(&Falsehood::NoSize) {
                continue;
            }
            if !first && lies.contains(&Falsehood::FirstItemOnly) {
                break;
            }
            if !std::mem::take(&mut first) {
                self.wire.out.push(b' ');
            }
            match item {
                Item::Section(section) => self.tell_section(message, section, &lies).await?,
                item => self.tell_item(picked, item, &lies),
            }
        }
        self.wire.put(")");
        self.wire.flush_some().await
    }

    fn tell_item(&mut self, picked: &Picked, item: &Item, lies: &[Falsehood]) {
        let message = &picked.message;
        let (zone_kept, estimate) = (self.shared.config.zone_kept, self.shared.config.size_estimate);
        let out = &mut self.wire.out;
        match item {
            Item::Uid => out.extend_from_slice(format!("UID {}", message.uid).as_bytes()),
            Item::Flags => out.extend_from_slice(Selected::flags(message, picked.recent).as_bytes()),
            Item::ModSeq => out.extend_from_slice(format!("MODSEQ ({})", message.modseq).as_bytes()),
            Item::InternalDate => {
                let date = if zone_kept { message.date.clone() } else { dates::in_greenwich(&message.date) };
                out.extend_from_slice(b"INTERNALDATE ");
                put_string(out, date.as_bytes());
            }
            Item::Size => {
                let delta = lies.iter().find_map(|lie| match lie {
                    Falsehood::SizeDelta(delta) => Some(*delta),
                    _ => None,
                });
                let size = (message.body.len() as u64).saturating_add_signed(delta.unwrap_or(estimate));
                out.extend_from_slice(format!("RFC822.SIZE {size}").as_bytes());
            }
            Item::Envelope => {
                out.extend_from_slice(b"ENVELOPE ");
                out.extend_from_slice(&mime::envelope(&message.body));
            }
            Item::Structure(name) => {
                out.extend_from_slice(format!("{name} ").as_bytes());
                out.extend_from_slice(&mime::structure(&message.body));
            }
            // Told by itself.
            Item::Section(_) => {}
        }
    }

    async fn tell_section(&mut self, message: &Message, section: &Section, lies: &[Falsehood]) -> Result<(), End> {
        self.wire.out.extend_from_slice(&section.label);
        let nil = lies.contains(&Falsehood::NilBody) || matches!(section.part, Part::None);
        if nil || lies.contains(&Falsehood::EmptyBody) {
            self.wire.out.extend_from_slice(if nil { b" NIL" } else { b" \"\"" });
            return Ok(());
        }
        let other;
        let mut bytes: &[u8] = &message.body;
        if lies.contains(&Falsehood::OtherBytesEachFetch) {
            let number = self.shared.log.stats().bodies_sent;
            other = [format!("X-Fetched: {number}\r\n").as_bytes(), bytes].concat();
            bytes = &other;
        }
        let chosen;
        bytes = match &section.part {
            Part::Whole | Part::None => bytes,
            Part::Header => mime::header(bytes),
            Part::Text => mime::text(bytes),
            Part::Fields(names, with) => {
                chosen = mime::chosen_fields(bytes, names, *with);
                &chosen
            }
        };
        if let Some((offset, count)) = section.partial {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len() - from);
            bytes = &bytes[from..from + count];
        }
        self.wire.out.extend_from_slice(format!(" {{{}}}\r\n", bytes.len()).as_bytes());
        self.wire.send_body(bytes).await
    }
}

fn picked(folder: &crate::store::Folder, selected: &Selected, place: usize) -> Option<Picked> {
    let known = selected.view[place];
    let message = folder.message(known.uid)?.clone();
    Some(Picked { place, message, recent: known.recent, seen_now: false })
}

/// As [`picked`], and makes the messages `\Seen` that are not.
fn pick_and_see(folders: &mut crate::store::Mailboxes, selected: &Selected, places: Vec<usize>) -> Option<Vec<Picked>> {
    let folder = selected.folder_mut(folders)?;
    let mut all = Vec::new();
    for place in places {
        let Some(mut one) = picked(folder, selected, place) else { continue };
        if !one.message.has("\\Seen") {
            let mut flags = one.message.flags.clone();
            flags.push("\\Seen".to_owned());
            let modseq = folder.next_modseq();
            folder.set_flags(one.message.uid, flags, modseq);
            one.message = folder.message(one.message.uid)?.clone();
            one.seen_now = true;
        }
        all.push(one);
    }
    Some(all)
}

/// Reads what follows `BODY[` or `BODY.PEEK[`.
fn read_section(cursor: &mut Cursor<'_>, peek: bool) -> Result<Section, Syntax> {
    let mut label = b"BODY[".to_vec();
    let mut numbers = Vec::new();
    while matches!(cursor.peek(), Some(b'0'..=b'9')) {
        numbers.push(cursor.number()?);
        if !cursor.eat(b'.') {
            break;
        }
    }
    let path: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let mut name = path.join(".");
    let mut part = match (numbers.as_slice(), cursor.peek()) {
        ([], _) => Part::Whole,
        // A message that is one text has one part.
        ([1], _) => Part::Text,
        _ => Part::None,
    };
    if cursor.peek() != Some(b']') {
        let fields = [("HEADER.FIELDS.NOT ", false), ("HEADER.FIELDS ", true)];
        if let Some((word, with)) = fields.into_iter().find(|(word, _)| cursor.eat_word(word)) {
            name.push_str(word);
            let names = cursor.list(Cursor::astring)?;
            if names.is_empty() {
                return Err(Syntax("No header fields"));
            }
            label.extend_from_slice(name.as_bytes());
            name.clear();
            for (at, field) in names.iter().enumerate() {
                label.push(if at == 0 { b'(' } else { b' ' });
                put_astring(&mut label, field, false);
            }
            label.push(b')');
            part = if numbers.is_empty() { Part::Fields(names, with) } else { Part::None };
        } else {
            let (word, found) = [("HEADER", Part::Header), ("TEXT", Part::Text), ("MIME", Part::None)]
                .into_iter()
                .find(|(word, _)| cursor.eat_word(word))
                .ok_or(Syntax("Unknown section"))?;
            if word == "MIME" && numbers.is_empty() {
                return Err(Syntax("MIME needs a part"));
            }
            part = if numbers.is_empty() { found } else { Part::None };
            if !numbers.is_empty() {
                name.push('.');
            }
            name.push_str(word);
        }
    }
    cursor.expect(b']')?;
    label.extend_from_slice(name.as_bytes());
    label.push(b']');
    let mut partial = None;
    if cursor.eat(b'<') {
        let offset = cursor.number()?;
        cursor.expect(b'.')?;
        let count = cursor.number()?;
        if count == 0 {
            return Err(Syntax("Empty partial"));
        }
        cursor.expect(b'>')?;
        label.extend_from_slice(format!("<{offset}>").as_bytes());
        partial = Some((offset, count));
    }
    Ok(Section { label, part, peek, partial })
}
