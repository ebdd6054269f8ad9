//! STORE and UID STORE, with UNCHANGEDSINCE (RFC 7162 section 3.1.3).

use std::collections::BTreeSet;

use super::selected::Selected;
use super::{Answer, Session, no, ok};
use crate::parser::{Cursor, Syntax, compress};
use crate::store::{Account, Folder, Message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Replace,
    Add,
    Remove,
}

impl How {
    fn apply(self, old: &Message, change: &[String]) -> Vec<String> {
        let named = |flag: &&String| change.iter().any(|other| other.eq_ignore_ascii_case(flag));
        match self {
            How::Replace => change.to_vec(),
            How::Add => old.flags.iter().chain(change).cloned().collect(),
            How::Remove => old.flags.iter().filter(|flag| !named(flag)).cloned().collect(),
        }
    }
}

/// A STORE as read.
struct Change {
    how: How,
    silent: bool,
    flags: Vec<String>,
    unchanged_since: Option<u64>,
}

impl Session {
    pub(super) async fn store(
        &mut self,
        mut cursor: Cursor<'_>,
        account: &Account,
        selected: &mut Selected,
        by_uid: bool,
    ) -> Answer {
        cursor.space()?;
        let set = cursor.set()?;
        cursor.space()?;
        let mut change = read_change(&mut cursor, self.features().condstore)?;
        self.condstore |= change.unchanged_since.is_some();
        if selected.read_only {
            return Err(no("[READ-ONLY] Mailbox is read-only.").into());
        }
        if change.how != How::Remove {
            change.flags = self.permitted(change.flags)?;
        }
        let places = selected.pick(&set, by_uid)?;
        let outcome = account.write(|folders| {
            let folder = selected.folder_mut(folders)?;
            let (stored, refused) = apply(folder, selected, &places, &change, by_uid);
            Some((stored, refused, self.new_keywords(folder, selected)))
        });
        let Some((stored, refused, keywords)) = outcome else {
            return Err(no("[UNAVAILABLE] The mailbox is gone.").into());
        };
        for line in keywords {
            self.wire.put(line);
        }
        let complete = stored.len() + refused.len() == places.len();
        for (place, message) in stored {
            selected.told.insert(message.uid);
            let uid = by_uid.then(|| format!("UID {}", message.uid));
            let flags = (!change.silent).then(|| Selected::flags(&message, selected.view[place].recent));
            let modseq = self.condstore.then(|| format!("MODSEQ ({})", message.modseq));
            if flags.is_some() || modseq.is_some() {
                let parts: Vec<String> = [uid, modseq, flags].into_iter().flatten().collect();
                self.wire.put(format!("* {} FETCH ({})", place + 1, parts.join(" ")));
                self.wire.flush_some().await?;
            }
        }
        if !refused.is_empty() {
            return Ok(ok(&format!("[MODIFIED {}] Conditional store failed.", compress(&refused))));
        }
        if !complete {
            return Ok(ok("[EXPUNGEISSUED] Some messages were already expunged."));
        }
        Ok(ok("Store completed."))
    }
}

/// Stores, and gives the messages as they are now and the numbers of those changed by others.
fn apply(
    folder: &mut Folder,
    selected: &Selected,
    places: &[usize],
    change: &Change,
    by_uid: bool,
) -> (Vec<(usize, Message)>, Vec<u32>) {
    let mut stored = Vec::new();
    let mut refused = Vec::new();
    // One mod-sequence for the whole command, taken when the first message changes.
    let mut modseq = None;
    for &place in places {
        let uid = selected.view[place].uid;
        let Some(old) = folder.message(uid).cloned() else { continue };
        if change.unchanged_since.is_some_and(|since| old.modseq > since) {
            refused.push(if by_uid { uid } else { u32::try_from(place + 1).unwrap_or(u32::MAX) });
            continue;
        }
        let flags = change.how.apply(&old, &change.flags);
        let keys = |flags: &[String]| flags.iter().map(|flag| flag.to_ascii_lowercase()).collect::<BTreeSet<_>>();
        if keys(&flags) != keys(&old.flags) {
            let modseq = *modseq.get_or_insert_with(|| folder.next_modseq());
            folder.set_flags(uid, flags, modseq);
        }
        stored.extend(folder.message(uid).map(|message| (place, Message::clone(message))));
    }
    (stored, refused)
}

fn read_change(cursor: &mut Cursor<'_>, condstore: bool) -> Result<Change, Syntax> {
    let mut unchanged_since = None;
    if cursor.eat(b'(') {
        if !condstore || !cursor.eat_word("UNCHANGEDSINCE ") {
            return Err(Syntax("Unknown STORE modifier"));
        }
        unchanged_since = Some(cursor.number()?);
        cursor.expect(b')')?;
        cursor.space()?;
    }
    let how = match cursor.peek() {
        Some(b'+') => How::Add,
        Some(b'-') => How::Remove,
        _ => How::Replace,
    };
    if how != How::Replace {
        cursor.eat(if how == How::Add { b'+' } else { b'-' });
    }
    let silent = match cursor.word()?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(Syntax("Unknown STORE item")),
    };
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') {
        cursor.flag_list()?
    } else {
        let mut flags = vec![cursor.flag()?];
        while cursor.eat(b' ') {
            flags.push(cursor.flag()?);
        }
        flags
    };
    cursor.end()?;
    Ok(Change { how, silent, flags, unchanged_since })
}
