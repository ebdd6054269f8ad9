//! What the server keeps: accounts, folders, messages.
//!
//! Secret: how mail is held in memory, so that 20,000 messages or one of 100 MB cost no more than their bytes. Tests look
//! at it and change it through [`Account`]; sessions use the same rooms through a lock that is never held across an
//! await. A store outlives its server: start another one on it and the server was restarted.

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub(crate) use folder::Folder;
pub use folder::{Body, Message, NewMessage, normalise_flags};

use crate::generate::GeneratedFolder;

/// How names are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Hierarchy separator; 0: NIL, no folder within a folder.
    pub separator: u8,
    /// Prefix of the personal namespace, with the separator at its end; empty for none.
    pub prefix: Vec<u8>,
    /// Whether names that differ only in ASCII case are the same name.
    pub case_blind: bool,
    /// Parts of names on the wire that are taken for the same, the second for the first: what a normalising server does.
    pub alike: Vec<(String, String)>,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { separator: b'/', prefix: Vec::new(), case_blind: false, alike: Vec::new() }
    }
}

impl Layout {
    /// Gives `INBOX.` and `.`, as Courier and cPanel have it.
    pub fn inbox_dot() -> Self {
        Layout { separator: b'.', prefix: b"INBOX.".to_vec(), case_blind: false, alike: Vec::new() }
    }

    /// Tells whether two names are one mailbox: INBOX in any case, the prefix in any case, else byte by byte.
    pub(crate) fn same(&self, one: &[u8], other: &[u8]) -> bool {
        self.canonical(one) == self.canonical(other)
    }

    fn canonical(&self, name: &[u8]) -> Vec<u8> {
        if self.case_blind {
            return name.to_ascii_uppercase();
        }
        let mut name = self.tidy(name);
        for (one, other) in &self.alike {
            name = String::from_utf8_lossy(&name).replace(other, one).into_bytes();
        }
        name
    }

    /// The name with INBOX and the prefix in their own case.
    pub(crate) fn tidy(&self, name: &[u8]) -> Vec<u8> {
        if name.eq_ignore_ascii_case(b"INBOX") {
            return b"INBOX".to_vec();
        }
        match name.split_at_checked(self.prefix.len()) {
            Some((head, rest)) if head.eq_ignore_ascii_case(&self.prefix) => [&self.prefix, rest].concat(),
            _ => name.to_vec(),
        }
    }

    /// Tells whether a name lies in the personal namespace.
    pub(crate) fn holds(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"INBOX") || self.tidy(name).starts_with(&self.prefix)
    }

    /// The names above this one, the prefix itself left out.
    pub(crate) fn parents<'a>(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let (separator, skip) = (self.separator, self.prefix.len());
        name.iter()
            .enumerate()
            .filter(move |&(at, byte)| *byte == separator && at > 0 && at >= skip)
            .map(move |(at, _)| &name[..at])
    }

    pub(crate) fn is_below(&self, name: &[u8], parent: &[u8]) -> bool {
        name.len() > parent.len() && name[parent.len()] == self.separator && self.same(&name[..parent.len()], parent)
    }
}

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// No such folder.
    Missing,
    /// There is one already.
    Exists,
    /// The name exists, but holds no messages.
    NotSelectable,
    /// Folders lie below it, or it is INBOX.
    NotPossible,
    /// No such message.
    NoMessage,
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StoreError::Missing => "Mailbox doesn't exist",
            StoreError::Exists => "Mailbox already exists",
            StoreError::NotSelectable => "Mailbox isn't selectable",
            StoreError::NotPossible => "Mailbox can't be deleted or renamed",
            StoreError::NoMessage => "No such message",
        })
    }
}

impl std::error::Error for StoreError {}

/// All accounts of a server. Cloning gives another handle to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    accounts: BTreeMap<String, Mailboxes>,
    next_id: u64,
    next_validity: u32,
}

/// The folders of one account.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    pub(crate) folders: Vec<Folder>,
    pub(crate) subscribed: BTreeSet<Vec<u8>>,
}

impl Mailboxes {
    pub(crate) fn find(&self, layout: &Layout, name: &[u8]) -> Option<&Folder> {
        self.folders.iter().find(|folder| layout.same(&folder.name, name))
    }

    pub(crate) fn find_mut(&mut self, layout: &Layout, name: &[u8]) -> Option<&mut Folder> {
        self.folders.iter_mut().find(|folder| layout.same(&folder.name, name))
    }

    pub(crate) fn by_id(&self, id: u64) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == id)
    }

    pub(crate) fn by_id_mut(&mut self, id: u64) -> Option<&mut Folder> {
        self.folders.iter_mut().find(|folder| folder.id == id)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.folders.iter().map(Folder::bytes).sum()
    }

    pub(crate) fn selectable(&self, layout: &Layout, name: &[u8]) -> Result<&Folder, StoreError> {
        let folder = self.find(layout, name).ok_or(StoreError::Missing)?;
        if folder.selectable() { Ok(folder) } else { Err(StoreError::NotSelectable) }
    }

    pub(crate) fn selectable_mut(&mut self, layout: &Layout, name: &[u8]) -> Result<&mut Folder, StoreError> {
        let folder = self.find_mut(layout, name).ok_or(StoreError::Missing)?;
        if folder.selectable() { Ok(folder) } else { Err(StoreError::NotSelectable) }
    }
}

impl Store {
    /// Makes an empty store.
    pub fn new(layout: Layout) -> Self {
        let state = State { accounts: BTreeMap::new(), next_id: 1, next_validity: 1_600_000_001 };
        Store { inner: Arc::new(Inner { layout, state: Mutex::new(state), changed: watch::Sender::new(0) }) }
    }

    /// How names are built here.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// A user's account; made, with an empty INBOX, if it was not there.
    pub fn account(&self, user: &str) -> Account {
        let account = Account { store: self.clone(), user: user.to_owned() };
        let mut state = self.lock();
        if !state.accounts.contains_key(user) {
            state.accounts.insert(user.to_owned(), Mailboxes::default());
            let folder = state.new_folder(b"INBOX");
            if let Some(mailboxes) = state.accounts.get_mut(user) {
                mailboxes.folders.push(folder);
            }
        }
        drop(state);
        account
    }

    /// Names of all accounts.
    pub fn users(&self) -> Vec<String> {
        self.lock().accounts.keys().cloned().collect()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new_folder(&mut self, name: &[u8]) -> Folder {
        let folder = Folder::new(self.next_id, name, self.next_validity);
        self.next_id += 1;
        self.next_validity += 1;
        folder
    }
}

/// What a new folder is like.
#[derive(Debug, Clone, Default)]
pub struct FolderSpec {
    /// Name on the wire, prefix included.
    pub name: Vec<u8>,
    /// Attributes beside those the server works out, such as `\Noselect` or `\Marked`.
    pub attributes: Vec<String>,
    /// SPECIAL-USE attributes, such as `\Sent`.
    pub special_use: Vec<String>,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// Its UIDVALIDITY; the next unused one if none is given.
    pub uid_validity: Option<u32>,
}

impl FolderSpec {
    /// Describes an ordinary, unsubscribed folder.
    pub fn new(name: impl AsRef<[u8]>) -> Self {
        FolderSpec { name: name.as_ref().to_vec(), ..FolderSpec::default() }
    }

    /// Subscribes it.
    pub fn subscribed(mut self) -> Self {
        self.subscribed = true;
        self
    }

    /// Gives it a SPECIAL-USE attribute.
    pub fn special_use(mut self, attribute: &str) -> Self {
        self.special_use.push(attribute.to_owned());
        self
    }

    /// Gives it another attribute.
    pub fn attribute(mut self, attribute: &str) -> Self {
        self.attributes.push(attribute.to_owned());
        self
    }
}

/// What is known of a folder without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderInfo {
    /// Name on the wire.
    pub name: Vec<u8>,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// HIGHESTMODSEQ.
    pub highest_modseq: u64,
    /// How many messages it holds.
    pub messages: usize,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// SPECIAL-USE attributes.
    pub special_use: Vec<String>,
    /// Other attributes given to it.
    pub attributes: Vec<String>,
}

/// One user's mail, as tests see and change it. Names are wire names, prefix included.
#[derive(Debug, Clone)]
pub struct Account {
    store: Store,
    user: String,
}

impl Account {
    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Creates an ordinary folder.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.create_folder(FolderSpec::new(name))
    }

    /// Creates a folder as described.
    pub fn create_folder(&self, spec: FolderSpec) -> Result<(), StoreError> {
        let layout = self.store.layout();
        let mut state = self.store.lock();
        if state.accounts.get(&self.user).is_some_and(|mailboxes| mailboxes.find(layout, &spec.name).is_some()) {
            return Err(StoreError::Exists);
        }
        let mut folder = state.new_folder(&layout.tidy(&spec.name));
        let mailboxes = state.accounts.entry(self.user.clone()).or_default();
        if spec.subscribed {
            mailboxes.subscribed.insert(folder.name.clone());
        }
        folder.uid_validity = spec.uid_validity.unwrap_or(folder.uid_validity);
        folder.attributes = spec.attributes;
        folder.special_use = spec.special_use;
        mailboxes.folders.push(folder);
        drop(state);
        self.announce();
        Ok(())
    }

    /// Adds a message and gives its UID.
    pub fn add(&self, folder: impl AsRef<[u8]>, message: NewMessage) -> Result<u32, StoreError> {
        let layout = self.store.layout().clone();
        self.write(|mailboxes| Ok(mailboxes.selectable_mut(&layout, folder.as_ref())?.push(message)))
    }

    /// All messages of a folder, UIDs upwards.
    pub fn messages(&self, folder: impl AsRef<[u8]>) -> Result<Vec<Message>, StoreError> {
        self.read(|mailboxes| {
            let folder = mailboxes.selectable(self.store.layout(), folder.as_ref())?;
            Ok(folder.messages.iter().map(|message| Message::clone(message)).collect())
        })
    }

    /// All folders, in the order they were made.
    pub fn folders(&self) -> Vec<FolderInfo> {
        self.read(|mailboxes| mailboxes.folders.iter().map(|folder| info(mailboxes, folder)).collect())
    }

    /// One folder, if it is there.
    pub fn folder(&self, name: impl AsRef<[u8]>) -> Option<FolderInfo> {
        self.read(|mailboxes| mailboxes.find(self.store.layout(), name.as_ref()).map(|folder| info(mailboxes, folder)))
    }

    /// Removes messages for good; UIDs that are not there are passed over.
    pub fn expunge(&self, folder: impl AsRef<[u8]>, uids: &[u32]) -> Result<(), StoreError> {
        let layout = self.store.layout().clone();
        self.write(|mailboxes| {
            mailboxes.selectable_mut(&layout, folder.as_ref())?.expunge(&uids.iter().copied().collect());
            Ok(())
        })
    }

    /// Replaces a message's flags and keywords.
    pub fn set_flags(&self, folder: impl AsRef<[u8]>, uid: u32, flags: &[&str]) -> Result<(), StoreError> {
        let layout = self.store.layout().clone();
        self.write(|mailboxes| {
            let folder = mailboxes.selectable_mut(&layout, folder.as_ref())?;
            folder.message(uid).ok_or(StoreError::NoMessage)?;
            let modseq = folder.next_modseq();
            folder.set_flags(uid, flags.iter().map(|flag| (*flag).to_owned()).collect(), modseq);
            Ok(())
        })
    }

    /// Sets UIDVALIDITY, keeping UIDs.
    pub fn set_uid_validity(&self, folder: impl AsRef<[u8]>, value: u32) -> Result<(), StoreError> {
        let layout = self.store.layout().clone();
        self.write(|mailboxes| {
            mailboxes.selectable_mut(&layout, folder.as_ref())?.uid_validity = value;
            Ok(())
        })
    }

    /// Raises UIDVALIDITY by one and numbers all messages anew from 1, as a server does that lost its index.
    pub fn renumber(&self, folder: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let layout = self.store.layout().clone();
        self.write(|mailboxes| {
            mailboxes.selectable_mut(&layout, folder.as_ref())?.renumber();
            Ok(())
        })
    }

    /// Forgets every message above this UID and that their UIDs were ever given, as a server does that was restored from a
    /// backup.
    pub fn set_back(&self, folder: impl AsRef<[u8]>, last: u32) -> Result<(), StoreError> {
        let layout = self.store.layout().clone();
        self.write(|mailboxes| {
            mailboxes.selectable_mut(&layout, folder.as_ref())?.set_back(last);
            Ok(())
        })
    }

    /// Renames a folder and those below it; INBOX gives its messages away and stays (RFC 3501 section 6.3.5).
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        if from.eq_ignore_ascii_case(b"INBOX") {
            self.create(to)?;
            let layout = self.store.layout().clone();
            return self.write(|mailboxes| {
                let inbox = mailboxes.selectable_mut(&layout, b"INBOX")?;
                let uids = inbox.messages.iter().map(|message| message.uid).collect();
                let moved = inbox.expunge(&uids);
                let target = mailboxes.selectable_mut(&layout, to)?;
                for message in moved {
                    target.push(NewMessage::from(&*message));
                }
                Ok(())
            });
        }
        let layout = self.store.layout().clone();
        self.write(|mailboxes| {
            if mailboxes.find(&layout, to).is_some_and(|there| !layout.same(&there.name, from)) {
                return Err(StoreError::Exists);
            }
            let mut found = false;
            for folder in &mut mailboxes.folders {
                if layout.same(&folder.name, from) {
                    folder.name = layout.tidy(to);
                    found = true;
                } else if layout.is_below(&folder.name, from) {
                    folder.name = [&layout.tidy(to), &folder.name[from.len()..]].concat();
                    found = true;
                }
            }
            if found { Ok(()) } else { Err(StoreError::Missing) }
        })
    }

    /// Deletes a folder with its messages; those below it stay.
    pub fn delete(&self, name: impl AsRef<[u8]>) -> Result<(), StoreError> {
        let layout = self.store.layout().clone();
        let name = name.as_ref();
        if name.eq_ignore_ascii_case(b"INBOX") {
            return Err(StoreError::NotPossible);
        }
        self.write(|mailboxes| {
            let below = mailboxes.folders.iter().any(|folder| layout.is_below(&folder.name, name));
            let at = mailboxes.folders.iter().position(|folder| layout.same(&folder.name, name));
            match at {
                Some(at) if !below || mailboxes.folders[at].selectable() => {
                    mailboxes.folders.remove(at);
                    Ok(())
                }
                None if !below => Err(StoreError::Missing),
                _ => Err(StoreError::NotPossible),
            }
        })
    }

    /// Subscribes a name, which need not exist.
    pub fn subscribe(&self, name: impl AsRef<[u8]>) {
        let name = self.store.layout().tidy(name.as_ref());
        self.write(|mailboxes| mailboxes.subscribed.insert(name));
    }

    /// Removes a subscription; tells whether there was one.
    pub fn unsubscribe(&self, name: impl AsRef<[u8]>) -> bool {
        let name = self.store.layout().tidy(name.as_ref());
        self.write(|mailboxes| mailboxes.subscribed.remove(&name))
    }

    /// Bytes of all messages.
    pub fn bytes(&self) -> u64 {
        self.read(Mailboxes::bytes)
    }

    /// Number of all messages.
    pub fn count(&self) -> usize {
        self.read(|mailboxes| mailboxes.folders.iter().map(|folder| folder.messages.len()).sum())
    }

    /// Creates generated folders and puts their messages into them; a folder that is there is used.
    pub fn fill(&self, folders: &[GeneratedFolder]) -> Result<(), StoreError> {
        for folder in folders {
            let spec = FolderSpec {
                name: folder.wire_name.clone(),
                special_use: folder.special_use.iter().cloned().collect(),
                subscribed: folder.subscribed,
                ..FolderSpec::default()
            };
            match self.create_folder(spec) {
                Ok(()) => {}
                Err(StoreError::Exists) if folder.subscribed => self.subscribe(&folder.wire_name),
                Err(StoreError::Exists) => {}
                Err(error) => return Err(error),
            }
            for message in &folder.messages {
                self.add(&folder.wire_name, message.into())?;
            }
        }
        Ok(())
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.store.layout()
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Mailboxes) -> T) -> T {
        look(self.store.lock().accounts.entry(self.user.clone()).or_default())
    }

    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut Mailboxes) -> T) -> T {
        let result = change(self.store.lock().accounts.entry(self.user.clone()).or_default());
        self.announce();
        result
    }

    fn announce(&self) {
        self.store.inner.changed.send_modify(|version| *version += 1);
    }
}

fn info(mailboxes: &Mailboxes, folder: &Folder) -> FolderInfo {
    FolderInfo {
        name: folder.name.clone(),
        uid_validity: folder.uid_validity,
        uid_next: folder.uid_next,
        highest_modseq: folder.highest_modseq,
        messages: folder.messages.len(),
        subscribed: mailboxes.subscribed.contains(&folder.name),
        special_use: folder.special_use.clone(),
        attributes: folder.attributes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renaming_carries_the_folders_below() {
        let account = Store::new(Layout::default()).account("u");
        for name in ["a", "a/b", "a/b/c", "ab"] {
            account.create(name).unwrap();
        }
        account.rename("a", "z").unwrap();
        let names: Vec<_> = account.folders().into_iter().map(|f| String::from_utf8(f.name).unwrap()).collect();
        assert_eq!(names, ["INBOX", "z", "z/b", "z/b/c", "ab"]);
        assert_eq!(account.rename("z", "ab"), Err(StoreError::Exists));
        assert_eq!(account.rename("gone", "x"), Err(StoreError::Missing));
    }

    #[test]
    fn renaming_inbox_leaves_an_empty_one() {
        let account = Store::new(Layout::default()).account("u");
        account.add("inbox", NewMessage::new("x")).unwrap();
        account.rename("InBoX", "old").unwrap();
        assert!(account.messages("INBOX").unwrap().is_empty());
        assert_eq!(account.messages("old").unwrap().len(), 1);
    }

    #[test]
    fn uids_are_never_given_twice() {
        let account = Store::new(Layout::default()).account("u");
        let first = account.add("INBOX", NewMessage::new("x").uid(7)).unwrap();
        account.expunge("INBOX", &[first]).unwrap();
        assert_eq!((first, account.add("INBOX", NewMessage::new("y"))), (7, Ok(8)));
    }

    #[test]
    fn a_case_blind_store_knows_one_trash() {
        let account = Store::new(Layout { case_blind: true, ..Layout::default() }).account("u");
        account.create("Trash").unwrap();
        assert_eq!(account.create("trash"), Err(StoreError::Exists));
        assert_eq!(account.folder("TRASH").unwrap().name, b"Trash");
    }

    #[test]
    fn parents_leave_the_prefix_out() {
        let layout = Layout::inbox_dot();
        let parents: Vec<_> = layout.parents(b"INBOX.a.b.c").collect();
        assert_eq!(parents, [&b"INBOX.a"[..], b"INBOX.a.b"]);
    }
}
