//! Commands about folders: CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, NAMESPACE, quota.

use super::{Answer, Session, Stop, no, ok, refusal};
use crate::names;
use crate::parser::{Cursor, Syntax, put_astring};
use crate::store::{Account, Folder, FolderSpec, StoreError};

/// What STATUS can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusItem {
    Messages,
    UidNext,
    UidValidity,
    Unseen,
    Recent,
    HighestModSeq,
    Size,
    AppendLimit,
}

impl Session {
    /// Refuses names outside the namespace, and with `strict_utf7` those that are not modified UTF-7.
    pub(super) fn check_name(&self, account: &Account, name: &[u8]) -> Result<(), Stop> {
        let layout = account.layout();
        if !layout.holds(name) {
            let text = format!(
                "[NONEXISTENT] Client tried to access nonexistent namespace. \
                 (Mailbox name should probably be prefixed with: {})",
                String::from_utf8_lossy(&layout.prefix)
            );
            return Err(no(&text).into());
        }
        if self.shared.config.strict_utf7 && !names::is_modified_utf7(name) {
            return Err(no("[CANNOT] Mailbox name is not valid modified UTF-7.").into());
        }
        Ok(())
    }

    /// Refuses names that the configuration names for this command.
    pub(super) fn check_refused(&self, verb: &str, name: &[u8]) -> Result<(), Stop> {
        let holds = |part: &str| name.windows(part.len()).any(|window| window == part.as_bytes());
        let refused = self.shared.config.refused_names.iter().find(|(of, part, _)| of == verb && holds(part));
        match refused {
            Some((.., text)) => Err(super::Reply(text.clone()).into()),
            None => Ok(()),
        }
    }

    /// Reads a mailbox name that is the only argument.
    fn only_mailbox(&self, mut cursor: Cursor<'_>, account: &Account) -> Result<Vec<u8>, Stop> {
        cursor.space()?;
        let name = cursor.mailbox()?;
        cursor.end()?;
        self.check_name(account, &name)?;
        Ok(name)
    }

    pub(super) fn create(&mut self, mut cursor: Cursor<'_>, account: &Account) -> Answer {
        cursor.space()?;
        let mut name = cursor.mailbox()?;
        let mut special_use = Vec::new();
        if self.features().special_use && cursor.eat(b' ') {
            cursor.expect(b'(')?;
            if !cursor.eat_word("USE ") {
                return Err(Syntax("Unknown CREATE parameter").into());
            }
            special_use = cursor.list(|cursor| {
                cursor.expect(b'\\')?;
                Ok(format!("\\{}", cursor.atom()?))
            })?;
            cursor.expect(b')')?;
        }
        cursor.end()?;
        self.check_name(account, &name)?;
        let known = ["\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk", "\\Sent", "\\Trash"];
        if special_use.iter().any(|wanted| !known.iter().any(|known| known.eq_ignore_ascii_case(wanted))) {
            return Err(no("[USEATTR] Unknown special use.").into());
        }
        self.check_refused("CREATE", &name)?;
        let layout = account.layout();
        // RFC 3501 section 6.3.3: a separator at the end says that names below it are to come.
        if name.last() == Some(&layout.separator) {
            name.pop();
        }
        let doubled = name.windows(2).any(|pair| pair == [layout.separator; 2]);
        if name.is_empty() || doubled || name.first() == Some(&layout.separator) {
            return Err(no("[CANNOT] Invalid mailbox name.").into());
        }
        let revived = account.write(|folders| {
            let folder = folders.find_mut(layout, &name).filter(|folder| !folder.selectable())?;
            folder.attributes.clear();
            folder.special_use = special_use.clone();
            Some(())
        });
        if revived.is_none() {
            account.create_folder(FolderSpec { name, special_use, ..FolderSpec::default() })?;
        }
        Ok(ok("Create completed."))
    }

    pub(super) async fn delete(&mut self, cursor: Cursor<'_>, account: &Account) -> Answer {
        let name = self.only_mailbox(cursor, account)?;
        let id = account.read(|folders| folders.find(account.layout(), &name).map(|folder| folder.id));
        account.delete(&name)?;
        if id.is_some_and(|id| self.selected.as_ref().is_some_and(|selected| selected.is(id))) {
            self.selected = None;
            self.wire.put("* BYE Selected mailbox was deleted, have to disconnect.");
            self.wire.flush().await?;
            self.wire.close().await;
            return Err(Stop::End);
        }
        Ok(ok("Delete completed."))
    }

    pub(super) fn rename(&mut self, mut cursor: Cursor<'_>, account: &Account) -> Answer {
        cursor.space()?;
        let from = cursor.mailbox()?;
        cursor.space()?;
        let to = cursor.mailbox()?;
        cursor.end()?;
        self.check_name(account, &from)?;
        self.check_name(account, &to)?;
        if account.layout().is_below(&to, &from) {
            return Err(no("[CANNOT] A mailbox can't be moved below itself.").into());
        }
        account.rename(&from, &to)?;
        Ok(ok("Rename completed."))
    }

    pub(super) fn subscribe(&mut self, cursor: Cursor<'_>, account: &Account) -> Answer {
        let name = self.only_mailbox(cursor, account)?;
        if account.folder(&name).is_none() {
            return Err(refusal(StoreError::Missing, "[NONEXISTENT] ").into());
        }
        account.subscribe(&name);
        Ok(ok("Subscribe completed."))
    }

    pub(super) fn unsubscribe(&mut self, cursor: Cursor<'_>, account: &Account) -> Answer {
        let name = self.only_mailbox(cursor, account)?;
        // RFC 3501 section 6.3.7 leaves it open what happens to a name that was not subscribed.
        account.unsubscribe(&name);
        Ok(ok("Unsubscribe completed."))
    }

    pub(super) fn status(&mut self, mut cursor: Cursor<'_>, account: &Account) -> Answer {
        cursor.space()?;
        let name = cursor.mailbox()?;
        cursor.space()?;
        let items = self.status_items(&mut cursor)?;
        cursor.end()?;
        self.check_name(account, &name)?;
        self.check_refused("STATUS", &name)?;
        self.put_status(account, &name, &items)?;
        Ok(ok("Status completed."))
    }

    /// Reads `(MESSAGES UIDNEXT …)`.
    pub(super) fn status_items(&mut self, cursor: &mut Cursor<'_>) -> Result<Vec<StatusItem>, Syntax> {
        let (condstore, size) = (self.features().condstore, self.features().status_size);
        let limit = self.features().append_limit.is_some();
        let items = cursor.list(|cursor| {
            Ok(match cursor.word()?.as_str() {
                "MESSAGES" => StatusItem::Messages,
                "UIDNEXT" => StatusItem::UidNext,
                "UIDVALIDITY" => StatusItem::UidValidity,
                "UNSEEN" => StatusItem::Unseen,
                "RECENT" => StatusItem::Recent,
                "HIGHESTMODSEQ" if condstore => StatusItem::HighestModSeq,
                "SIZE" if size => StatusItem::Size,
                "APPENDLIMIT" if limit => StatusItem::AppendLimit,
                _ => return Err(Syntax("Unknown status item")),
            })
        })?;
        if items.is_empty() {
            return Err(Syntax("Empty status list"));
        }
        self.condstore |= items.contains(&StatusItem::HighestModSeq);
        Ok(items)
    }

    pub(super) fn put_status(
        &mut self,
        account: &Account,
        name: &[u8],
        items: &[StatusItem],
    ) -> Result<(), StoreError> {
        let line = account.read(|folders| -> Result<Vec<u8>, StoreError> {
            let folder = folders.selectable(account.layout(), name)?;
            let mut line = b"* STATUS ".to_vec();
            put_astring(&mut line, &account.layout().tidy(name), self.shared.config.hostile_names_as_literals);
            let parts: Vec<String> = items.iter().map(|item| self.status_item(folder, *item)).collect();
            line.extend_from_slice(format!(" ({})", parts.join(" ")).as_bytes());
            Ok(line)
        })?;
        self.wire.put(line);
        Ok(())
    }

    fn status_item(&self, folder: &Folder, item: StatusItem) -> String {
        let unseen = || folder.messages.iter().filter(|message| !message.has("\\Seen")).count();
        let recent = || folder.messages.iter().filter(|message| message.uid >= folder.first_recent).count();
        match item {
            StatusItem::Messages => format!("MESSAGES {}", folder.messages.len()),
            StatusItem::UidNext => format!("UIDNEXT {}", self.orders.uid_next(folder.uid_next)),
            StatusItem::UidValidity => format!("UIDVALIDITY {}", folder.uid_validity),
            StatusItem::Unseen => format!("UNSEEN {}", unseen()),
            StatusItem::Recent => format!("RECENT {}", recent()),
            StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", folder.highest_modseq),
            StatusItem::Size => format!("SIZE {}", folder.bytes()),
            StatusItem::AppendLimit => format!("APPENDLIMIT {}", self.features().append_limit.unwrap_or(0)),
        }
    }

    pub(super) fn namespace(&mut self, cursor: Cursor<'_>) -> Answer {
        cursor.end()?;
        let layout = self.shared.store.layout();
        let mut line = b"* NAMESPACE ((".to_vec();
        crate::parser::put_string(&mut line, &layout.prefix);
        line.push(b' ');
        crate::parser::put_separator(&mut line, layout.separator);
        line.extend_from_slice(b")) NIL NIL");
        self.wire.put(line);
        Ok(ok("Namespace completed."))
    }

    pub(super) fn quota_root(&mut self, cursor: Cursor<'_>, account: &Account) -> Answer {
        let name = self.only_mailbox(cursor, account)?;
        if account.folder(&name).is_none() {
            return Err(StoreError::Missing.into());
        }
        let mut line = b"* QUOTAROOT ".to_vec();
        put_astring(&mut line, &name, self.shared.config.hostile_names_as_literals);
        line.extend_from_slice(b" \"User quota\"");
        self.wire.put(line);
        self.put_quota(account);
        Ok(ok("Getquotaroot completed."))
    }

    pub(super) fn quota(&mut self, mut cursor: Cursor<'_>, account: &Account) -> Answer {
        cursor.space()?;
        let root = cursor.astring()?;
        cursor.end()?;
        if root != b"User quota" {
            return Err(no("[NONEXISTENT] No such quota root.").into());
        }
        self.put_quota(account);
        Ok(ok("Getquota completed."))
    }

    fn put_quota(&mut self, account: &Account) {
        let limit = self.shared.config.quota_bytes.unwrap_or_default();
        // RFC 9208 section 5.1: STORAGE counts in units of 1024 bytes.
        let line = format!("* QUOTA \"User quota\" (STORAGE {} {})", account.bytes().div_ceil(1024), limit / 1024);
        self.wire.put(line);
    }

    /// The refusal of bytes that do not fit any more.
    pub(super) fn over_quota(&self, account: &Account, more: u64) -> Result<(), Stop> {
        match self.shared.config.quota_bytes {
            Some(limit) if account.bytes() + more > limit => {
                Err(no("[OVERQUOTA] Quota exceeded (mailbox for user is full)").into())
            }
            _ => Ok(()),
        }
    }
}
