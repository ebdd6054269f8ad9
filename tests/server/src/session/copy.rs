//! COPY and MOVE, by number and by UID.

use std::sync::Arc;

use super::append::try_create;
use super::selected::Selected;
use super::{Answer, Session, no, ok};
use crate::parser::{Cursor, compress};
use crate::store::{Account, Message, NewMessage, StoreError};

impl Session {
    pub(super) fn copy(
        &mut self,
        mut cursor: Cursor<'_>,
        account: &Account,
        selected: &mut Selected,
        by_uid: bool,
        moves: bool,
    ) -> Answer {
        cursor.space()?;
        let set = cursor.set()?;
        cursor.space()?;
        let name = cursor.mailbox()?;
        cursor.end()?;
        self.check_name(account, &name)?;
        if moves && selected.read_only {
            return Err(no("[READ-ONLY] Mailbox is read-only.").into());
        }
        let places = selected.pick(&set, by_uid)?;
        let messages: Option<Vec<Arc<Message>>> = account.read(|folders| {
            folders.selectable(account.layout(), &name).ok()?;
            let folder = selected.folder(folders)?;
            Some(places.iter().filter_map(|&at| folder.message(selected.view[at].uid).cloned()).collect())
        });
        let messages = messages.ok_or_else(|| try_create(StoreError::Missing))?;
        if messages.is_empty() {
            return Ok(ok("No messages found."));
        }
        if !moves {
            self.over_quota(account, messages.iter().map(|message| message.body.len() as u64).sum())?;
        }
        let sources: Vec<u32> = messages.iter().map(|message| message.uid).collect();
        let copied = account.write(|folders| -> Result<(u32, Vec<u32>), StoreError> {
            let target = folders.selectable_mut(account.layout(), &name)?;
            let uids = messages.iter().map(|message| target.push(NewMessage::from(&**message))).collect();
            let uid_validity = target.uid_validity;
            if moves && let Some(folder) = selected.folder_mut(folders) {
                folder.expunge(&sources.iter().copied().collect());
            }
            Ok((uid_validity, uids))
        });
        let (uid_validity, targets) = copied.map_err(try_create)?;
        let code = if self.features().uidplus {
            format!("[COPYUID {uid_validity} {} {}] ", compress(&sources), compress(&targets))
        } else {
            String::new()
        };
        if moves {
            // RFC 6851 section 4.3: before the EXPUNGEs, so in an untagged OK.
            self.wire.put(format!("* OK {code}Moved UIDs."));
            return Ok(ok("Move completed."));
        }
        Ok(ok(&format!("{code}Copy completed.")))
    }
}
