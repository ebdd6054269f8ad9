//! LIST in all its forms, and LSUB.
//!
//! Secret: which names there are. A name above a folder exists as `\Noselect` even if nobody created it; a subscription
//! outlives its folder.

use std::collections::BTreeMap;

use super::folders::StatusItem;
use super::{Answer, Session, ok};
use crate::names::matches;
use crate::parser::{Cursor, Syntax, put_astring, put_separator};
use crate::store::{Account, Layout, Mailboxes};

/// What a LIST asks for (RFC 5258, RFC 5819, RFC 6154).
#[derive(Debug, Default)]
struct Wanted {
    extended: bool,
    only_subscribed: bool,
    only_special_use: bool,
    recursive_match: bool,
    tell_subscribed: bool,
    tell_children: bool,
    tell_special_use: bool,
    status: Option<Vec<StatusItem>>,
}

/// A name with what is known of it.
#[derive(Debug, Default)]
struct Entry {
    exists: bool,
    selectable: bool,
    attributes: Vec<String>,
    special_use: Vec<String>,
    subscribed: bool,
    subscribed_below: bool,
    has_children: bool,
}

impl Session {
    pub(super) async fn list(&mut self, mut cursor: Cursor<'_>, account: &Account) -> Answer {
        cursor.space()?;
        let mut wanted = Wanted::default();
        let extended = self.features().list_extended;
        if extended && cursor.peek() == Some(b'(') {
            self.selection(&mut cursor, &mut wanted)?;
            cursor.space()?;
        }
        let reference = cursor.mailbox()?;
        cursor.space()?;
        let patterns = if extended && cursor.peek() == Some(b'(') {
            wanted.extended = true;
            cursor.list(Cursor::pattern)?
        } else {
            vec![cursor.pattern()?]
        };
        if extended && cursor.eat(b' ') {
            self.returns(&mut cursor, &mut wanted)?;
        }
        cursor.end()?;
        if !wanted.extended && patterns == [b""] {
            self.put_root();
            return Ok(ok("List completed."));
        }
        let layout = account.layout();
        let patterns: Vec<Vec<u8>> = patterns.iter().map(|pattern| [&reference[..], pattern].concat()).collect();
        let entries = account.read(|folders| entries(folders, layout));
        for (name, entry) in entries {
            if !patterns.iter().any(|pattern| meets(layout, pattern, &name)) {
                continue;
            }
            let by_child = wanted.recursive_match && entry.subscribed_below && !entry.subscribed;
            let chosen = match (wanted.only_subscribed, wanted.only_special_use) {
                (true, _) => entry.subscribed || by_child,
                (false, true) => !entry.special_use.is_empty(),
                (false, false) => entry.exists || entry.has_children,
            };
            if !chosen {
                continue;
            }
            let line = self.list_line(layout, &name, &entry, &wanted, by_child);
            self.wire.put(line);
            if let Some(items) = wanted.status.as_ref().filter(|_| entry.exists && entry.selectable) {
                // Deleted in between: then there is nothing to tell.
                let _ = self.put_status(account, &name, items);
            }
            self.wire.flush_some().await?;
        }
        Ok(ok("List completed."))
    }

    fn put_root(&mut self) {
        let mut line = b"* LIST (\\Noselect) ".to_vec();
        put_separator(&mut line, self.shared.store.layout().separator);
        line.extend_from_slice(b" \"\"");
        self.wire.put(line);
    }

    fn selection(&self, cursor: &mut Cursor<'_>, wanted: &mut Wanted) -> Result<(), Syntax> {
        let special_use = self.features().special_use;
        let words = cursor.list(Cursor::word)?;
        wanted.extended = true;
        for word in &words {
            match word.as_str() {
                "SUBSCRIBED" => wanted.only_subscribed = true,
                "RECURSIVEMATCH" => wanted.recursive_match = true,
                "REMOTE" => {}
                "SPECIAL-USE" if special_use => wanted.only_special_use = true,
                _ => return Err(Syntax("Unknown select option")),
            }
        }
        if wanted.recursive_match && !wanted.only_subscribed {
            return Err(Syntax("RECURSIVEMATCH needs another option"));
        }
        wanted.tell_subscribed = wanted.only_subscribed;
        wanted.tell_special_use = wanted.only_special_use;
        Ok(())
    }

    fn returns(&mut self, cursor: &mut Cursor<'_>, wanted: &mut Wanted) -> Result<(), Syntax> {
        if !cursor.eat_word("RETURN ") {
            return Err(Syntax("Expected RETURN"));
        }
        wanted.extended = true;
        let (special_use, list_status) = (self.features().special_use, self.features().list_status);
        cursor.list(|cursor| {
            match cursor.word()?.as_str() {
                "SUBSCRIBED" => wanted.tell_subscribed = true,
                "CHILDREN" => wanted.tell_children = true,
                "SPECIAL-USE" if special_use => wanted.tell_special_use = true,
                "STATUS" if list_status => {
                    cursor.space()?;
                    wanted.status = Some(self.status_items(cursor)?);
                }
                _ => return Err(Syntax("Unknown return option")),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn list_line(&self, layout: &Layout, name: &[u8], entry: &Entry, wanted: &Wanted, by_child: bool) -> Vec<u8> {
        let features = self.features();
        let mut attributes = entry.attributes.clone();
        if !entry.exists {
            attributes.push(if wanted.extended { "\\NonExistent" } else { "\\Noselect" }.to_owned());
        }
        // Without options the answer is as full as a plain LIST may be (RFC 3348, RFC 6154 section 2).
        if features.children && (wanted.tell_children || !wanted.extended) {
            attributes.push(if entry.has_children { "\\HasChildren" } else { "\\HasNoChildren" }.to_owned());
        }
        if entry.subscribed && wanted.tell_subscribed {
            attributes.push("\\Subscribed".to_owned());
        }
        if features.special_use && (wanted.tell_special_use || !wanted.extended) {
            attributes.extend(entry.special_use.iter().cloned());
        }
        let mut line = format!("* LIST ({}) ", attributes.join(" ")).into_bytes();
        put_separator(&mut line, layout.separator);
        line.push(b' ');
        let name = if name == b"INBOX" { self.shared.config.inbox_name.as_bytes() } else { name };
        put_astring(&mut line, name, self.shared.config.hostile_names_as_literals);
        if by_child {
            line.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
        }
        line
    }

    pub(super) fn lsub(&mut self, mut cursor: Cursor<'_>, account: &Account) -> Answer {
        cursor.space()?;
        let reference = cursor.mailbox()?;
        cursor.space()?;
        let pattern = cursor.pattern()?;
        cursor.end()?;
        let pattern = [reference, pattern].concat();
        let layout = account.layout();
        for (name, entry) in account.read(|folders| entries(folders, layout)) {
            // RFC 3501 section 6.3.9: with `%`, a name above a subscribed one is told as \Noselect.
            let stands_in = !entry.subscribed && entry.subscribed_below && pattern.ends_with(b"%");
            if !(entry.subscribed || stands_in) || !meets(layout, &pattern, &name) {
                continue;
            }
            let attributes = if stands_in { "\\Noselect" } else { "" };
            let mut line = format!("* LSUB ({attributes}) ").into_bytes();
            put_separator(&mut line, layout.separator);
            line.push(b' ');
            put_astring(&mut line, &name, self.shared.config.hostile_names_as_literals);
            self.wire.put(line);
        }
        Ok(ok("Lsub completed."))
    }
}

fn meets(layout: &Layout, pattern: &[u8], name: &[u8]) -> bool {
    if layout.case_blind {
        return matches(&pattern.to_ascii_uppercase(), &name.to_ascii_uppercase(), layout.separator);
    }
    // INBOX is INBOX in any case, in a pattern too.
    let pattern_upper = pattern.to_ascii_uppercase();
    matches(pattern, name, layout.separator) || name == b"INBOX" && matches(&pattern_upper, name, layout.separator)
}

fn entries(folders: &Mailboxes, layout: &Layout) -> BTreeMap<Vec<u8>, Entry> {
    let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    for folder in &folders.folders {
        let entry = entries.entry(folder.name.clone()).or_default();
        entry.exists = true;
        entry.selectable = folder.selectable();
        entry.attributes = folder.attributes.clone();
        entry.special_use = folder.special_use.clone();
    }
    for name in &folders.subscribed {
        entries.entry(name.clone()).or_default().subscribed = true;
    }
    let names: Vec<(Vec<u8>, bool, bool)> =
        entries.iter().map(|(name, entry)| (name.clone(), entry.exists, entry.subscribed)).collect();
    for (name, exists, subscribed) in names {
        let inbox = name.starts_with(&layout.prefix) && layout.prefix.starts_with(b"INBOX");
        let parents = layout.parents(&name).chain(inbox.then_some(&b"INBOX"[..]).filter(|above| *above != name));
        for parent in parents {
            let entry = entries.entry(parent.to_vec()).or_default();
            entry.has_children |= exists;
            entry.subscribed_below |= subscribed;
        }
    }
    entries
}
