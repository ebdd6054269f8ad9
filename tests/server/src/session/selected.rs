//! The mailbox at hand: SELECT, EXAMINE, the client's view of it, its news, CLOSE, EXPUNGE, IDLE.
//!
//! Secret: how the client's message numbers follow what happens to the folder. The view is the list of UIDs the client
//! knows; it changes only when the client is told.

use std::collections::{BTreeSet, HashSet};

use super::{Answer, Session, Stop, no, ok};
use crate::config::Keywords;
use crate::parser::{Cursor, Set, Syntax, resolve};
use crate::store::{Account, Folder, Message, StoreError};
use crate::wire::{End, Line};

/// One message the client knows of; its number is its place in the view, from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) uid: u32,
    pub(super) recent: bool,
}

#[derive(Debug)]
pub(crate) struct Selected {
    id: u64,
    /// None: whatever it is.
    uid_validity: Option<u32>,
    pub(super) read_only: bool,
    /// UIDs upwards.
    pub(super) view: Vec<Known>,
    /// The client was told of changes up to here.
    seen_modseq: u64,
    expunges_seen: u64,
    keywords_told: usize,
    /// Changed by this session and told already.
    pub(super) told: HashSet<u32>,
}

impl Selected {
    /// The folder, if it still is the one that was selected.
    pub(super) fn folder<'a>(&self, folders: &'a crate::store::Mailboxes) -> Option<&'a Folder> {
        folders.by_id(self.id).filter(|folder| self.uid_validity.is_none_or(|opened| opened == folder.uid_validity))
    }

    pub(super) fn folder_mut<'a>(&self, folders: &'a mut crate::store::Mailboxes) -> Option<&'a mut Folder> {
        folders.by_id_mut(self.id).filter(|folder| self.uid_validity.is_none_or(|opened| opened == folder.uid_validity))
    }

    pub(super) fn is(&self, id: u64) -> bool {
        self.id == id
    }

    /// Places in the view that a set means; a message number that is not there is an error, a UID is not.
    pub(super) fn pick(&self, set: &Set, by_uid: bool) -> Result<Vec<usize>, Syntax> {
        let count = self.view.len();
        let mut marked = vec![false; count];
        if by_uid {
            let largest = self.view.last().map_or(0, |known| known.uid);
            for range in resolve(set, largest) {
                let from = self.view.partition_point(|known| known.uid < *range.start());
                let to = self.view.partition_point(|known| known.uid <= *range.end());
                marked[from..to.max(from)].fill(true);
            }
        } else {
            for range in resolve(set, u32::try_from(count).unwrap_or(u32::MAX)) {
                let (from, to) = (*range.start() as usize, *range.end() as usize);
                if from == 0 || to > count {
                    return Err(Syntax("Invalid messageset"));
                }
                marked[from - 1..to].fill(true);
            }
        }
        Ok((0..count).filter(|&at| marked[at]).collect())
    }

    /// Removes what is marked `\Deleted`, in silence.
    pub(super) fn close(&self, account: &Account) {
        if !self.read_only {
            account.write(|folders| self.folder_mut(folders).map(|folder| folder.expunge(&deleted(folder, None))));
        }
    }

    pub(super) fn expunge(&self, account: &Account, set: Option<&Set>) -> Answer {
        if self.read_only {
            return Err(no("[READ-ONLY] Mailbox is read-only.").into());
        }
        let wanted = match set {
            Some(set) => Some(self.pick(set, true)?.into_iter().map(|at| self.view[at].uid).collect()),
            None => None,
        };
        account.write(|folders| {
            self.folder_mut(folders).map(|folder| folder.expunge(&deleted(folder, wanted.as_ref())));
        });
        Ok(ok("Expunge completed."))
    }

    /// How FETCH tells a message's flags.
    pub(super) fn flags(message: &Message, recent: bool) -> String {
        let recent = if recent { Some("\\Recent") } else { None };
        let flags: Vec<&str> = message.flags.iter().map(String::as_str).chain(recent).collect();
        format!("FLAGS ({})", flags.join(" "))
    }
}

fn deleted(folder: &Folder, wanted: Option<&BTreeSet<u32>>) -> BTreeSet<u32> {
    let uids = folder.messages.iter().filter(|message| message.has("\\Deleted")).map(|message| message.uid);
    uids.filter(|uid| wanted.is_none_or(|wanted| wanted.contains(uid))).collect()
}

const SYSTEM: &str = "\\Answered \\Flagged \\Deleted \\Seen \\Draft";

fn flags_line(folder: &Folder) -> String {
    let keywords: String = folder.keywords.iter().map(|keyword| format!(" {keyword}")).collect();
    format!("* FLAGS ({SYSTEM}{keywords})")
}

impl Session {
    fn permanent_flags(&self, folder: &Folder) -> String {
        if let Some(flags) = &self.shared.config.permanent_flags {
            return match flags.as_str() {
                "" => "* OK Nothing is said of flags.".to_owned(),
                flags => format!("* OK [PERMANENTFLAGS ({flags})] Flags permitted."),
            };
        }
        let flags = match &self.shared.config.keywords {
            Keywords::Any | Keywords::AllBut(_) | Keywords::AllOrRefuse(..) => {
                let keywords: String = folder.keywords.iter().map(|keyword| format!(" {keyword}")).collect();
                format!("{SYSTEM}{keywords} \\*")
            }
            Keywords::Only(list) | Keywords::OnlyOrRefuse(list, _) => {
                list.iter().fold(SYSTEM.to_owned(), |line, keyword| format!("{line} {keyword}"))
            }
        };
        format!("* OK [PERMANENTFLAGS ({flags})] Flags permitted.")
    }

    pub(super) fn select(&mut self, mut cursor: Cursor<'_>, account: &Account, read_only: bool) -> Answer {
        cursor.space()?;
        let name = cursor.mailbox()?;
        if cursor.eat(b' ') {
            let condstore = self.features().condstore;
            cursor.list(|cursor| match cursor.word()?.as_str() {
                "CONDSTORE" if condstore => Ok(()),
                _ => Err(Syntax("Unknown parameter")),
            })?;
            self.condstore = true;
        }
        cursor.end()?;
        if self.selected.take().is_some() {
            self.wire.put("* OK [CLOSED] Previous mailbox closed.");
        }
        self.check_name(account, &name)?;
        self.check_refused(if read_only { "EXAMINE" } else { "SELECT" }, &name)?;
        let layout = account.layout().clone();
        let (lasting, follows) = (self.shared.config.uids_last, self.shared.config.follows_new_uids);
        let lines_and_selected = account.write(|folders| -> Result<_, StoreError> {
            let folder = folders.selectable_mut(&layout, &name)?;
            if !lasting {
                folder.reorder();
            }
            let first_recent = if read_only { folder.first_recent } else { folder.take_recent() };
            let known =
                |message: &std::sync::Arc<Message>| Known { uid: message.uid, recent: message.uid >= first_recent };
            let selected = Selected {
                id: folder.id,
                uid_validity: (!follows).then_some(folder.uid_validity),
                read_only,
                view: folder.messages.iter().map(known).collect(),
                seen_modseq: folder.highest_modseq,
                expunges_seen: folder.expunges,
                keywords_told: folder.keywords.len(),
                told: HashSet::new(),
            };
            Ok((self.describe(folder, &selected), selected))
        });
        let (lines, selected) = lines_and_selected?;
        for line in lines {
            self.wire.put(line);
        }
        self.selected = Some(selected);
        Ok(ok(if read_only { "[READ-ONLY] Examine completed." } else { "[READ-WRITE] Select completed." }))
    }

    fn describe(&self, folder: &Folder, selected: &Selected) -> Vec<String> {
        let permanent = if selected.read_only {
            "* OK [PERMANENTFLAGS ()] Read-only mailbox.".to_owned()
        } else {
            self.permanent_flags(folder)
        };
        let recent = selected.view.iter().filter(|known| known.recent).count();
        let mut lines = vec![
            flags_line(folder),
            permanent,
            format!("* {} EXISTS", folder.messages.len()),
            format!("* {recent} RECENT"),
        ];
        if let Some(at) = folder.messages.iter().position(|message| !message.has("\\Seen")) {
            lines.push(format!("* OK [UNSEEN {}] First unseen.", at + 1));
        }
        lines.push(format!("* OK [UIDVALIDITY {}] UIDs valid", folder.uid_validity));
        lines.push(format!("* OK [UIDNEXT {}] Predicted next UID", self.orders.uid_next(folder.uid_next)));
        if !self.shared.config.uids_last {
            lines.push("* NO [UIDNOTSTICKY] Non-persistent UIDs".to_owned());
        }
        if self.features().condstore {
            lines.push(format!("* OK [HIGHESTMODSEQ {}] Highest", folder.highest_modseq));
        }
        lines
    }

    /// Tells the client what happened to its mailbox; without `expunges`, removals wait.
    pub(super) async fn sync(&mut self, expunges: bool) -> Result<(), End> {
        let (Some(account), Some(mut selected)) = (self.account.clone(), self.selected.take()) else {
            return Ok(());
        };
        let unchanged = account.read(|folders| {
            selected.folder(folders).map(|folder| {
                folder.highest_modseq == selected.seen_modseq
                    && (!expunges || folder.expunges == selected.expunges_seen)
                    && folder.keywords.len() == selected.keywords_told
            })
        });
        if unchanged == Some(true) {
            self.selected = Some(selected);
            return Ok(());
        }
        let news = account.write(|folders| {
            let folder = selected.folder_mut(folders)?;
            Some(self.news(folder, &mut selected, expunges))
        });
        let Some(news) = news else {
            self.wire.put("* BYE IMAP session state is inconsistent, please relogin.");
            self.wire.flush().await?;
            return Err(self.wire.close().await);
        };
        for line in news {
            self.wire.put(line);
        }
        self.selected = Some(selected);
        Ok(())
    }

    /// Tells of keywords the client has not seen yet, before a message has them.
    pub(super) fn new_keywords(&self, folder: &Folder, selected: &mut Selected) -> Vec<String> {
        let mut lines = Vec::new();
        if folder.keywords.len() != selected.keywords_told {
            selected.keywords_told = folder.keywords.len();
            lines.push(flags_line(folder));
            if !selected.read_only {
                lines.push(self.permanent_flags(folder));
            }
        }
        lines
    }

    fn news(&self, folder: &mut Folder, selected: &mut Selected, expunges: bool) -> Vec<String> {
        let mut lines = self.new_keywords(folder, selected);
        if expunges && folder.expunges != selected.expunges_seen {
            selected.expunges_seen = folder.expunges;
            for at in (0..selected.view.len()).rev() {
                let uid = selected.view[at].uid;
                if folder.message(uid).is_none() {
                    selected.view.remove(at);
                    let line = if self.qresync { format!("* VANISHED {uid}") } else { format!("* {} EXPUNGE", at + 1) };
                    lines.push(line);
                }
            }
        }
        let last = selected.view.last().map_or(0, |known| known.uid);
        let known_count = selected.view.len();
        let new_from = folder.messages.partition_point(|message| message.uid <= last);
        for message in &folder.messages[new_from..] {
            let recent = message.uid >= folder.first_recent;
            selected.view.push(Known { uid: message.uid, recent });
        }
        if selected.view.len() > known_count {
            if !selected.read_only {
                folder.take_recent();
            }
            lines.push(format!("* {} EXISTS", selected.view.len()));
            lines.push(format!("* {} RECENT", selected.view.iter().filter(|known| known.recent).count()));
        }
        if folder.highest_modseq != selected.seen_modseq {
            for uid in folder.changed_since(selected.seen_modseq) {
                let known = &selected.view[..known_count];
                let (Ok(at), Some(message)) =
                    (known.binary_search_by_key(&uid, |known| known.uid), folder.message(uid))
                else {
                    continue;
                };
                if !selected.told.contains(&uid) {
                    let flags = Selected::flags(message, known[at].recent);
                    let modseq = if self.condstore { format!(" MODSEQ ({})", message.modseq) } else { String::new() };
                    lines.push(format!("* {} FETCH ({flags}{modseq})", at + 1));
                }
            }
            selected.seen_modseq = folder.highest_modseq;
        }
        selected.told.clear();
        lines
    }

    pub(super) async fn idle(&mut self, cursor: Cursor<'_>) -> Answer {
        cursor.end()?;
        self.wire.put("+ idling");
        let mut changed = self.account.as_ref().map(|_| self.shared.store.watch()).ok_or(Stop::End)?;
        loop {
            self.sync(true).await?;
            self.wire.flush().await?;
            tokio::select! {
                line = self.wire.read_line(self.shared.config.line_bytes_max) => {
                    return match line? {
                        Line::Whole(line) if line.eq_ignore_ascii_case(b"DONE") => Ok(ok("Idle completed.")),
                        _ => Err(super::bad("Expected DONE.").into()),
                    };
                }
                // The store lives as long as this session.
                _ = changed.changed() => {}
            }
        }
    }
}
