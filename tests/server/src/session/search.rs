//! SEARCH and UID SEARCH, with ESEARCH's RETURN (RFC 4731).

use std::ops::RangeInclusive;

use super::selected::{Known, Selected};
use super::{Answer, Session, Stop, no, ok};
use crate::dates;
use crate::mime;
use crate::parser::{Cursor, Set, Syntax, compress, resolve};
use crate::store::{Account, Message};

/// Keys may be nested so deep; more is refused rather than recursed into.
const DEPTH_MAX: usize = 50;

enum Key {
    All(Vec<Key>),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    Flag(String),
    Recent(bool),
    New,
    Numbers(Set),
    Uids(Set),
    Field(Vec<u8>, Vec<u8>),
    Body(Vec<u8>),
    Text(Vec<u8>),
    Larger(u64),
    Smaller(u64),
    Day(RangeInclusive<i64>),
    ModSeq(u64),
}

#[derive(Debug, Default)]
struct Returns {
    min: bool,
    max: bool,
    count: bool,
    all: bool,
}

impl Session {
    pub(super) fn search(
        &mut self,
        mut cursor: Cursor<'_>,
        account: &Account,
        selected: &Selected,
        by_uid: bool,
    ) -> Answer {
        cursor.space()?;
        let returns = if self.features().esearch && cursor.eat_word("RETURN ") {
            let returns = read_returns(&mut cursor)?;
            cursor.space()?;
            Some(returns)
        } else {
            None
        };
        if cursor.eat_word("CHARSET ") {
            let charset = cursor.astring()?.to_ascii_uppercase();
            cursor.space()?;
            if charset != b"UTF-8" && charset != b"US-ASCII" {
                return Err(no("[BADCHARSET (US-ASCII UTF-8)] Unknown charset.").into());
            }
        }
        let condstore = self.features().condstore;
        let mut keys = vec![read_key(&mut cursor, condstore, 0)?];
        while cursor.eat(b' ') {
            keys.push(read_key(&mut cursor, condstore, 0)?);
        }
        cursor.end()?;
        let by_modseq = keys.iter().any(|key| matches!(key, Key::ModSeq(_)));
        self.condstore |= by_modseq;
        let key = Key::All(keys);
        let found = account.read(|folders| {
            let folder = selected.folder(folders)?;
            let mut found = Vec::new();
            let mut highest = 0;
            let count = u32::try_from(selected.view.len()).unwrap_or(u32::MAX);
            let largest = selected.view.last().map_or(0, |known| known.uid);
            for (known, number) in selected.view.iter().zip(1..) {
                let Some(message) = folder.message(known.uid) else { continue };
                let candidate = Candidate { message, known, number, count, largest };
                if candidate.meets(&key) {
                    found.push(if by_uid { known.uid } else { number });
                    highest = message.modseq.max(highest);
                }
            }
            Some((found, highest))
        });
        let (found, highest) = found.ok_or(Stop::Reply(no("[UNAVAILABLE] The mailbox is gone.")))?;
        let modseq = (by_modseq && !found.is_empty()).then_some(highest);
        match returns {
            Some(returns) => self.put_esearch(&returns, &found, modseq, by_uid),
            None => {
                let numbers: String = found.iter().map(|number| format!(" {number}")).collect();
                let modseq = modseq.map_or_else(String::new, |modseq| format!(" (MODSEQ {modseq})"));
                self.wire.put(format!("* SEARCH{numbers}{modseq}"));
            }
        }
        Ok(ok("Search completed."))
    }

    fn put_esearch(&mut self, returns: &Returns, found: &[u32], modseq: Option<u64>, by_uid: bool) {
        let mut line = format!("* ESEARCH (TAG \"{}\")", self.orders.tag);
        if by_uid {
            line.push_str(" UID");
        }
        let (first, last) = (found.first(), found.last());
        if let (true, Some(min)) = (returns.min, first) {
            line.push_str(&format!(" MIN {min}"));
        }
        if let (true, Some(max)) = (returns.max, last) {
            line.push_str(&format!(" MAX {max}"));
        }
        if returns.all && !found.is_empty() {
            line.push_str(&format!(" ALL {}", compress(found)));
        }
        if returns.count {
            line.push_str(&format!(" COUNT {}", found.len()));
        }
        if let Some(modseq) = modseq {
            line.push_str(&format!(" MODSEQ {modseq}"));
        }
        self.wire.put(line);
    }
}

fn read_returns(cursor: &mut Cursor<'_>) -> Result<Returns, Syntax> {
    let words = cursor.list(Cursor::word)?;
    let mut returns = Returns { all: words.is_empty(), ..Returns::default() };
    for word in words {
        match word.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "COUNT" => returns.count = true,
            "ALL" => returns.all = true,
            _ => return Err(Syntax("Unknown RETURN option")),
        }
    }
    Ok(returns)
}

fn read_key(cursor: &mut Cursor<'_>, condstore: bool, depth: usize) -> Result<Key, Syntax> {
    if depth > DEPTH_MAX {
        return Err(Syntax("Search keys nested too deep"));
    }
    if cursor.peek() == Some(b'(') {
        return cursor.list(|cursor| read_key(cursor, condstore, depth + 1)).map(Key::All);
    }
    if cursor.at_set() {
        return cursor.set().map(Key::Numbers);
    }
    let flag = |name: &str| Key::Flag(format!("\\{name}"));
    let not = |key| Key::Not(Box::new(key));
    let word = cursor.word()?;
    let key = match word.as_str() {
        "ALL" => Key::All(Vec::new()),
        "ANSWERED" | "DELETED" | "DRAFT" | "FLAGGED" | "SEEN" => flag(&word),
        "UNANSWERED" | "UNDELETED" | "UNDRAFT" | "UNFLAGGED" | "UNSEEN" => not(flag(&word[2..])),
        "NEW" => Key::New,
        "OLD" => Key::Recent(false),
        "RECENT" => Key::Recent(true),
        word => {
            cursor.space()?;
            return read_key_with_argument(word, cursor, condstore, depth);
        }
    };
    Ok(key)
}

fn read_key_with_argument(word: &str, cursor: &mut Cursor<'_>, condstore: bool, depth: usize) -> Result<Key, Syntax> {
    let day = |cursor: &mut Cursor<'_>| {
        let text = String::from_utf8(cursor.astring()?).map_err(|_| Syntax("Invalid date"))?;
        dates::search_day(&text).ok_or(Syntax("Invalid date"))
    };
    Ok(match word {
        "NOT" => Key::Not(Box::new(read_key(cursor, condstore, depth + 1)?)),
        "OR" => {
            let one = read_key(cursor, condstore, depth + 1)?;
            cursor.space()?;
            Key::Or(Box::new(one), Box::new(read_key(cursor, condstore, depth + 1)?))
        }
        "UID" => Key::Uids(cursor.set()?),
        "KEYWORD" => Key::Flag(cursor.atom()?.to_owned()),
        "UNKEYWORD" => Key::Not(Box::new(Key::Flag(cursor.atom()?.to_owned()))),
        "HEADER" => {
            let field = cursor.astring()?;
            cursor.space()?;
            Key::Field(field, cursor.astring()?)
        }
        "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Field(word.as_bytes().to_vec(), cursor.astring()?),
        "BODY" => Key::Body(cursor.astring()?),
        "TEXT" => Key::Text(cursor.astring()?),
        "LARGER" => Key::Larger(cursor.number()?),
        "SMALLER" => Key::Smaller(cursor.number()?),
        "BEFORE" => Key::Day(i64::MIN..=day(cursor)? - 1),
        "SINCE" => Key::Day(day(cursor)?..=i64::MAX),
        "ON" => {
            let day = day(cursor)?;
            Key::Day(day..=day)
        }
        "MODSEQ" if condstore => Key::ModSeq(cursor.number()?),
        _ => return Err(Syntax("Unknown search key")),
    })
}

struct Candidate<'a> {
    message: &'a Message,
    known: &'a Known,
    number: u32,
    count: u32,
    largest: u32,
}

impl Candidate<'_> {
    fn meets(&self, key: &Key) -> bool {
        let message = self.message;
        match key {
            Key::All(keys) => keys.iter().all(|key| self.meets(key)),
            Key::Not(key) => !self.meets(key),
            Key::Or(one, other) => self.meets(one) || self.meets(other),
            Key::Flag(flag) => message.has(flag),
            Key::Recent(recent) => self.known.recent == *recent,
            Key::New => self.known.recent && !message.has("\\Seen"),
            Key::Numbers(set) => resolve(set, self.count).iter().any(|range| range.contains(&self.number)),
            Key::Uids(set) => resolve(set, self.largest).iter().any(|range| range.contains(&message.uid)),
            Key::Field(name, wanted) => {
                mime::values(&message.body, name).iter().any(|value| mime::holds(value, wanted))
            }
            Key::Body(wanted) => mime::holds(mime::text(&message.body), wanted),
            Key::Text(wanted) => mime::holds(&message.body, wanted),
            Key::Larger(size) => message.body.len() as u64 > *size,
            Key::Smaller(size) => (message.body.len() as u64) < *size,
            Key::Day(days) => dates::local_day(&message.date).is_some_and(|day| days.contains(&day)),
            Key::ModSeq(modseq) => message.modseq >= *modseq,
        }
    }
}
