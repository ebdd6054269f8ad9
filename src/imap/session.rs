//! Sessions: what may be asked of a source, and what of a target.
//!
//! Invariant: `Session<Source>` has no method that changes anything on the server; that is so by type.

use super::body::{Recipients, field};
use super::connection::{Capabilities, Connection, Part, numbered, numeric_code, pairs};
use super::error::{ImapError, Refusal};
use super::folders::Namespace;
use super::pipeline::{self, Window};
use super::signin::{self, Opening};
use super::survey::Ahead;
use super::token::{Response, Tokens, Value, starts_with};
use super::wire::Broken;
use crate::mail::{
    Digest, Flags, FolderState, Growing, InternalDate, KEY_FIELDS, Listing, ModSeq, Role, Side, Uid, UidValidity,
    WireName, header_digest,
};
use crate::provider::{Family, Phase, Status, already_exists};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

/// Of a session that only reads.
#[derive(Debug)]
pub enum Source {}

/// Of a session that may append.
#[derive(Debug)]
pub enum Target {}

/// The two ends, as types.
pub trait End: Send + Sync + 'static {
    /// The same as a value.
    const SIDE: Side;
}

impl End for Source {
    const SIDE: Side = Side::Source;
}

impl End for Target {
    const SIDE: Side = Side::Target;
}

/// A signed-in connection to one end of an account. Owned by one task at a time.
pub struct Session<E> {
    pub(super) connection: Connection,
    pub(super) namespace: Option<Namespace>,
    /// The folders as they were listed at sign-in.
    pub(super) ahead: Option<Ahead>,
    pub(super) family: Family,
    /// The server tells what is gone since a modification sequence (QRESYNC, RFC 7162, 3.2).
    pub(super) tells_vanished: bool,
    /// One command at a time, and none at sign-in that the server can do without.
    pub(super) apart: bool,
    /// How the open folder was opened; None: none is.
    pub(super) open: Option<Verb>,
    end: PhantomData<fn() -> E>,
}

/// Control commands that name a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Examine,
    Select,
    Create,
    Subscribe,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Examine => "EXAMINE",
            Self::Select => "SELECT",
            Self::Create => "CREATE",
            Self::Subscribe => "SUBSCRIBE",
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::Examine | Self::Select => Phase::Open,
            Self::Create | Self::Subscribe => Phase::Create,
        }
    }
}

/// What a folder said when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Counts and identity.
    pub state: FolderState,
    /// What can be kept there; None: the server did not say.
    pub permanent: Option<Permanent>,
    /// UIDs do not last beyond this session (UIDNOTSTICKY, RFC 4315).
    pub uid_not_sticky: bool,
}

/// PERMANENTFLAGS (RFC 9051, 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permanent {
    /// These are kept.
    pub flags: Flags,
    /// New keywords too (`\*`).
    pub any_keyword: bool,
}

/// Flags named in one command at the most: with a set of UIDs they stay far below the 8,000 bytes that RFC 7162, 4, has
/// clients keep to.
pub const FLAG_BYTES_MAX: usize = 4000;
/// At most this many UIDs are asked for in one command.
const UIDS_PER_COMMAND: usize = 500;
/// Messages of one folder: ten times the largest known; 200 MB of listing.
const MESSAGES_MAX: u32 = 10_000_000;
/// Bytes of answers that brought a new set of flags, in one folder, where 200 kB of keywords are much.
const FLAGS_OF_FOLDER_MAX: usize = 64 << 20;
/// Of a header with recipients; a list of a thousand addresses fits in.
const RECIPIENTS_MAX: usize = 64 * 1024;
/// Commands under way at once while metadata is listed.
const WINDOW: Window = Window { most: 4, refill: 3 };

impl<E: End> Session<E> {
    /// Connects and signs in.
    ///
    /// # Errors
    /// Whatever hinders it: see [`ImapError`].
    pub async fn open(opening: Opening<'_>) -> Result<Self, ImapError> {
        let apart = opening.manners.are_apart();
        let (connection, greeting) = signin::open(opening).await?;
        let mut session = Self {
            connection,
            namespace: None,
            ahead: None,
            family: Family::Unknown,
            tells_vanished: false,
            apart,
            open: None,
            end: PhantomData,
        };
        let introduced = session.introduce(&greeting, opening.lists && !apart).await;
        if introduced.is_err() {
            opening.manners.broke_off(session.capabilities());
        }
        introduced.map(|()| session)
    }

    /// Makes one that is signed in.
    #[cfg(test)]
    pub(super) fn over(connection: Connection) -> Self {
        Self {
            connection,
            namespace: None,
            ahead: None,
            family: Family::Dovecot,
            tells_vanished: false,
            apart: false,
            open: None,
            end: PhantomData,
        }
    }

    /// Gives what the server says it can do.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.connection.capabilities
    }

    /// Says whether the last command came to its end, so that another can follow.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.connection.poisoned
    }

    /// Gives the family of servers this one belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.connection.capabilities.has(name)
    }

    /// Opens a folder read-only (EXAMINE).
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn examine(&mut self, folder: &WireName) -> Result<Opened, ImapError> {
        self.open_folder(Verb::Examine, folder).await
    }

    async fn open_folder(&mut self, verb: Verb, folder: &WireName) -> Result<Opened, ImapError> {
        let what = format!("open folder \"{folder}\"");
        // One that is refused leaves no folder open (RFC 9051, 6.3.2).
        self.open = None;
        let responses = self.named(&what, verb, folder).await?;
        self.open = Some(verb);
        Ok(parse_opened(&responses))
    }

    /// Leaves the open folder and expunges nothing: by UNSELECT (RFC 3691), else by CLOSE, which is safe only for a folder
    /// that was opened by EXAMINE (RFC 9051, 6.4.1).
    ///
    /// # Errors
    /// A broken connection.
    pub async fn leave(&mut self) -> Result<(), ImapError> {
        let command = match self.open {
            None => return Ok(()),
            Some(_) if self.has("UNSELECT") || self.has("IMAP4REV2") => "UNSELECT",
            Some(Verb::Examine) => "CLOSE",
            Some(_) => return Ok(()),
        };
        self.open = None;
        match self.connection.command("leave the folder", Phase::Other, &[Part::Text(command)], |_| {}).await {
            Err(error) if !error.is_refusal() => Err(error),
            _ => Ok(()),
        }
    }

    /// Runs a control command that names a folder: by async-imap where the name is printable ASCII, which modified UTF-7
    /// always is; a server's raw 8-bit name goes as a literal.
    async fn named(&mut self, what: &str, verb: Verb, folder: &WireName) -> Result<Vec<Response>, ImapError> {
        let phase = verb.phase();
        let name = match std::str::from_utf8(folder.as_bytes()) {
            Ok(name) if super::connection::quotable(name.as_bytes()) => name,
            _ => {
                let mut responses = Vec::new();
                let command = [Part::Text(verb.as_str()), Part::Text(" "), Part::Name(folder.as_bytes())];
                self.connection.command(what, phase, &command, |response| responses.push(response.clone())).await?;
                return Ok(responses);
            }
        };
        let mut session = self.connection.session.take().ok_or(ImapError::Poisoned)?;
        let ended = match verb {
            Verb::Examine => self.connection.control(what, phase, session.examine(name)).await.map(|ended| ended.1),
            Verb::Select => self.connection.control(what, phase, session.select(name)).await.map(|ended| ended.1),
            Verb::Create => self.connection.control(what, phase, session.create(name)).await.map(|ended| ended.1),
            Verb::Subscribe => self.connection.control(what, phase, session.subscribe(name)).await.map(|ended| ended.1),
        };
        self.connection.session = Some(session);
        ended
    }

    /// Keeps the connection alive, and learns of changes.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn noop(&mut self) -> Result<(), ImapError> {
        self.connection.command("keep the connection", Phase::Other, &[Part::Text("NOOP")], |_| {}).await.map(drop)
    }

    /// Says goodbye. Whatever happens then is of no interest.
    pub async fn logout(mut self) {
        if let Some(mut session) = self.connection.session.take() {
            let wait = std::time::Duration::from_secs(5);
            let goodbye = self.connection.control("sign out", Phase::Other, session.logout());
            drop(tokio::time::timeout(wait, goodbye).await);
        }
    }

    /// Lists UID, flags, date and size of all messages of the open folder with UIDs from `first` to `last`.
    ///
    /// `messages`: about how many there are, for cutting the range so that one answer stays small.
    ///
    /// # Errors
    /// A refusal, a broken connection: what has been listed by then is not given.
    pub async fn listing(&mut self, first: Uid, last: Uid, messages: u32) -> Result<Listing, ImapError> {
        let what = "list messages";
        if first > last {
            return Ok(Listing::default());
        }
        if messages > MESSAGES_MAX {
            return Err(too_many(MESSAGES_MAX as usize, "messages in one folder").during(what));
        }
        /// One command's answer: about 1 MB of text.
        const MESSAGES_PER_COMMAND: u32 = 10_000;
        let width = (last.value() - first.value()) / (messages / MESSAGES_PER_COMMAND + 1) + 1;
        let mut commands = Vec::new();
        let mut from = first.value();
        loop {
            let to = from.saturating_add(width - 1).min(last.value());
            commands.push(format!("UID FETCH {from}:{to} (UID FLAGS INTERNALDATE RFC822.SIZE)"));
            if to == last.value() {
                break;
            }
            from = to + 1;
        }
        let mut gathered = Gathering::default();
        let whole = self.pipeline(what, commands, |response| {
            if let Some(seen) = parse_fetch(response)
                && let Some(uid) = seen.uid.filter(|uid| (first..=last).contains(uid))
            {
                gathered.take(uid, seen, response.text.len())
            } else {
                Ok(())
            }
        });
        whole.await?;
        gathered.listed(what)
    }

    /// Fetches the digests of the header's key fields ([`header_digest`]) of some messages of the open folder.
    ///
    /// A message the server does not answer for is not among them; one without key fields has None.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn headers(&mut self, uids: &[Uid]) -> Result<Vec<(Uid, Option<Digest>)>, ImapError> {
        let fields = KEY_FIELDS.join(" ").to_ascii_uppercase();
        let commands = uids.chunks(UIDS_PER_COMMAND);
        let commands =
            commands.flat_map(uid_sets).map(|set| format!("UID FETCH {set} (UID BODY.PEEK[HEADER.FIELDS ({fields})])"));
        let mut asked = uids.to_vec();
        asked.sort_unstable();
        let mut found = vec![None; asked.len()];
        let whole = self.pipeline("read headers", commands.collect(), |response| {
            if let Some(seen) = parse_fetch(response)
                && let (Some(uid), Some(header)) = (seen.uid, seen.header)
                && let Ok(at) = asked.binary_search(&uid)
            {
                found[at].get_or_insert_with(|| header_digest(&header));
            }
            Ok(())
        });
        whole.await?;
        Ok(asked.into_iter().zip(found).filter_map(|(uid, header)| Some((uid, header?))).collect())
    }

    /// Fetches what people know some messages of the open folder by: Subject and Date field, made harmless; either may be
    /// empty. A message the server does not answer for is not among them.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn subjects(&mut self, uids: &[Uid]) -> Result<Vec<(Uid, String, String)>, ImapError> {
        let commands = uids.chunks(UIDS_PER_COMMAND).flat_map(uid_sets);
        let commands =
            commands.map(|set| format!("UID FETCH {set} (UID BODY.PEEK[HEADER.FIELDS (SUBJECT DATE)])")).collect();
        let mut found = BTreeMap::new();
        let whole = self.pipeline("read subjects", commands, |response| {
            if let Some(seen) = parse_fetch(response)
                && let (Some(uid), Some(header)) = (seen.uid, seen.header)
                && uids.binary_search(&uid).is_ok()
            {
                found.entry(uid).or_insert_with(|| (field(&header, b"subject"), field(&header, b"date")));
            }
            Ok(())
        });
        whole.await?;
        Ok(found.into_iter().map(|(uid, (subject, date))| (uid, subject, date)).collect())
    }

    /// Gives to whom the newest `count` messages of the open folder are addressed.
    ///
    /// # Errors
    /// A refusal, a broken connection.
    pub async fn recipients(&mut self, state: FolderState, count: u32) -> Result<Vec<Recipients>, ImapError> {
        let mut found = Vec::new();
        if state.messages == 0 {
            return Ok(found);
        }
        let first = state.messages.saturating_sub(count) + 1;
        let fields = "TO CC DISPOSITION-NOTIFICATION-TO RETURN-RECEIPT-TO";
        let command = format!("FETCH {first}:{} (BODY.PEEK[HEADER.FIELDS ({fields})])", state.messages);
        let whole = self.pipeline("read recipients", vec![command], |response| {
            if let Some(header) = parse_fetch(response).and_then(|seen| seen.header)
                && found.len() < count as usize
            {
                found.push(Recipients::read(&header[..header.len().min(RECIPIENTS_MAX)]));
            }
            Ok(())
        });
        whole.await?;
        Ok(found)
    }

    /// Gives how many commands may be under way: one, where the server is known to lose others or to break off.
    pub(super) fn window(&self, window: Window) -> Window {
        if self.family.quirks().pipelines && !self.apart { window } else { Window { most: 1, refill: 0 } }
    }

    /// Sends commands with a few under way at once; every one must end with OK.
    pub(super) async fn pipeline(
        &mut self,
        what: &str,
        commands: Vec<String>,
        mut take: impl FnMut(&Response) -> Result<(), Broken>,
    ) -> Result<(), ImapError> {
        let window = self.window(WINDOW);
        let mut refused = None;
        let pipeline =
            pipeline::run(&mut self.connection, (what, Phase::Fetch), commands, window, |event| match event {
                pipeline::Event::Response(response) => take(response),
                pipeline::Event::Ended(_, completion) if completion.status != Status::Ok => {
                    refused.get_or_insert(completion);
                    Ok(())
                }
                pipeline::Event::Ended(..) => Ok(()),
            });
        pipeline.await?;
        match refused {
            None => Ok(()),
            Some(completion) => Err(ImapError::Refused {
                what: what.to_owned(),
                refusal: Refusal { phase: Phase::Open, status: completion.status, words: completion.words },
            }),
        }
    }
}

/// A listing in the making.
#[derive(Default)]
pub(super) struct Gathering {
    listing: Growing,
    flag_bytes: usize,
    /// CommuniGate gives the first of the items and passes over the rest: no flags are not the same as no answer.
    without_flags: BTreeSet<Uid>,
}

impl Gathering {
    /// Gives what was listed, in order.
    pub(super) fn finish(self) -> Listing {
        self.listing.finish()
    }

    /// Gives the same where each message came with the flags it was asked for.
    pub(super) fn listed(self, what: &str) -> Result<Listing, ImapError> {
        match self.without_flags.first() {
            Some(uid) => {
                let text = format!("it lists message {uid} without the flags it was asked for");
                Err(Broken::Protocol(text).during(what))
            }
            None => Ok(self.finish()),
        }
    }

    pub(super) fn take(&mut self, uid: Uid, seen: Fetch, bytes: usize) -> Result<(), Broken> {
        // Flags alone are news of a message, not its entry: they must not wipe out what is known of it.
        let news = seen.size.is_none() && seen.date.is_none();
        let known = (news || seen.flags.is_none()) && self.listing.has(uid);
        match seen.flags.is_some() {
            true => drop(self.without_flags.remove(&uid)),
            false if !known => drop(self.without_flags.insert(uid)),
            false => {}
        }
        if news && known {
            return Ok(());
        }
        let sets = self.listing.flag_sets();
        self.listing.push(uid, seen.size, seen.date, seen.flags.unwrap_or_default());
        self.flag_bytes += if self.listing.flag_sets() > sets { bytes } else { 0 };
        if self.flag_bytes > FLAGS_OF_FOLDER_MAX {
            return Err(too_many(FLAGS_OF_FOLDER_MAX, "bytes of flags in one folder"));
        }
        match self.listing.places() > MESSAGES_MAX as usize {
            true => Err(too_many(MESSAGES_MAX as usize, "messages in one folder")),
            false => Ok(()),
        }
    }
}

fn too_many(bound: usize, of: &str) -> Broken {
    Broken::Protocol(format!("more than {bound} {of}"))
}

impl Session<Target> {
    /// Opens a folder for changes (SELECT): for STORE and EXPUNGE alone.
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn select(&mut self, folder: &WireName) -> Result<Opened, ImapError> {
        self.open_folder(Verb::Select, folder).await
    }

    /// Creates a folder; one that is there already is fine. `role` is asked for where the server can set it (RFC 6154).
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn create(&mut self, folder: &WireName, role: Option<Role>) -> Result<(), ImapError> {
        let what = format!("create folder \"{folder}\"");
        if let Some(role) = self.settable(role) {
            let suffix = role_suffix(role);
            let command = [Part::Text("CREATE "), Part::Name(folder.as_bytes()), Part::Text(&suffix)];
            match self.connection.command(&what, Phase::Create, &command, |_| {}).await {
                Ok(_) => return Ok(()),
                // Another folder may have that role already: a folder without it will do.
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        match self.named(&what, Verb::Create, folder).await {
            Err(ImapError::Refused { refusal, .. }) if already_exists(&refusal.words) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Gives the role where the server can set it.
    pub(super) fn settable(&self, role: Option<Role>) -> Option<Role> {
        role.filter(|role| !matches!(role, Role::Inbox | Role::Important) && self.has("CREATE-SPECIAL-USE"))
    }

    /// Subscribes to a folder.
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn subscribe(&mut self, folder: &WireName) -> Result<(), ImapError> {
        let what = format!("subscribe to folder \"{folder}\"");
        self.named(&what, Verb::Subscribe, folder).await.map(drop)
    }

    /// Adds and removes flags of messages in the selected folder; nothing else about them changes (RFC 9051, 6.4.6).
    ///
    /// `flags`: at most [`FLAG_BYTES_MAX`] when written. `unchanged_since`: messages that changed after this are left as
    /// they are (RFC 7162, 3.1.3); not asked for where the server offers no CONDSTORE. Gives those, ascending.
    ///
    /// # Errors
    /// A refusal, or a broken connection: sets before the refused one are done.
    pub async fn store(
        &mut self,
        uids: &[Uid],
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Vec<Uid>, ImapError> {
        let sign = if change == FlagChange::Add { '+' } else { '-' };
        let conditional = self.has("CONDSTORE") || self.has("QRESYNC") || self.has("IMAP4REV2");
        let since = unchanged_since.filter(|_| conditional);
        let since = since.map(|since| format!("(UNCHANGEDSINCE {}) ", since.value())).unwrap_or_default();
        let mut modified = Vec::new();
        for part in uids.chunks(UIDS_PER_COMMAND) {
            for set in uid_sets(part) {
                let command = format!("UID STORE {set} {since}{sign}FLAGS.SILENT ({flags})");
                let stored =
                    self.connection.command("change flags", Phase::Other, &[Part::Text(&command)], |_| {}).await;
                match stored {
                    Ok(words) => modified.extend(modified_of(&words, part)),
                    // Some of them changed and others are gone (RFC 7162, 3.1.3, example 5).
                    Err(ImapError::Refused { refusal, .. }) if starts_with(&refusal.words, MODIFIED) => {
                        modified.extend(modified_of(&refusal.words, part));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        modified.sort_unstable();
        modified.dedup();
        Ok(modified)
    }
}

impl Session<Target> {
    /// Says whether single messages can be expunged ([`Self::expunge`]).
    #[must_use]
    pub fn can_expunge(&self) -> bool {
        self.has("UIDPLUS") || self.has("IMAP4REV2")
    }

    /// Removes messages of the selected folder that have `\\Deleted`, and no other (UID EXPUNGE, RFC 4315 section 2.1): for
    /// servers with UIDPLUS or IMAP4rev2 alone.
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn expunge(&mut self, uids: &[Uid]) -> Result<(), ImapError> {
        for set in uids.chunks(UIDS_PER_COMMAND).flat_map(uid_sets) {
            let command = format!("UID EXPUNGE {set}");
            self.connection.command("remove messages", Phase::Other, &[Part::Text(&command)], |_| {}).await?;
        }
        Ok(())
    }
}

/// What CREATE has behind the name for a role (RFC 6154, 3).
pub(super) fn role_suffix(role: Role) -> String {
    format!(" (USE (\\{role}))")
}

const MODIFIED: &[u8] = b"[MODIFIED ";

/// Reads `[MODIFIED 4,6:9]`: which of those asked for it names.
fn modified_of<'a>(words: &'a [u8], asked: &'a [Uid]) -> impl Iterator<Item = Uid> + use<'a> {
    let inside = if starts_with(words, MODIFIED) { &words[MODIFIED.len()..] } else { &[] };
    let inside = inside.split(|byte| *byte == b']').next().and_then(|set| std::str::from_utf8(set).ok()).unwrap_or("");
    let ranges: Vec<(u32, u32)> = inside
        .split(',')
        .filter_map(|range| {
            let (first, last) = uid_range(range)?;
            Some(if first <= last { (first, last) } else { (last, first) })
        })
        .collect();
    asked.iter().copied().filter(move |uid| ranges.iter().any(|(first, last)| (*first..=*last).contains(&uid.value())))
}

/// Reads `4` or `6:9`, whichever way round.
pub(super) fn uid_range(range: &str) -> Option<(u32, u32)> {
    let (first, last) = range.split_once(':').unwrap_or((range, range));
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

/// Which way flags change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagChange {
    /// +FLAGS
    Add,
    /// -FLAGS
    Remove,
}

/// Writes UIDs as sets such as `1:4,7`, each short enough for the strictest server (RFC 2683: 1,000 bytes a command).
pub(super) fn uid_sets(uids: &[Uid]) -> Vec<String> {
    const SET_MAX: usize = 800;
    let mut sets = vec![String::new()];
    let mut at = 0;
    while at < uids.len() {
        let first = uids[at];
        while at + 1 < uids.len() && uids[at + 1].value() == uids[at].value() + 1 {
            at += 1;
        }
        let range = if uids[at] == first { first.to_string() } else { format!("{first}:{}", uids[at]) };
        if sets.last().is_some_and(|set| set.len() + range.len() >= SET_MAX) {
            sets.push(String::new());
        }
        if let Some(set) = sets.last_mut() {
            if !set.is_empty() {
                set.push(',');
            }
            set.push_str(&range);
        }
        at += 1;
    }
    sets.retain(|set| !set.is_empty());
    sets
}

/// What one FETCH response told.
#[derive(Debug, Default)]
pub(super) struct Fetch {
    pub(super) uid: Option<Uid>,
    pub(super) flags: Option<Flags>,
    pub(super) date: Option<InternalDate>,
    pub(super) size: Option<u64>,
    /// Of BODY[HEADER…].
    pub(super) header: Option<Vec<u8>>,
    /// Of BODY[].
    pub(super) body: BodySeen,
}

/// How BODY[] came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum BodySeen {
    #[default]
    Absent,
    Nil,
    Inline(Vec<u8>),
    Streamed,
}

pub(super) fn parse_fetch(response: &Response) -> Option<Fetch> {
    let (_, mut tokens) = numbered(response, b"FETCH")?;
    let values = tokens.value()?;
    let mut fetch = Fetch::default();
    for (name, value) in pairs(values.list()?) {
        match name.as_slice() {
            b"UID" => fetch.uid = value.number().and_then(Uid::new),
            b"FLAGS" => fetch.flags = value.list().map(|flags| Flags::from_wire(flags.iter().filter_map(Value::name))),
            b"INTERNALDATE" => fetch.date = value.text().and_then(InternalDate::parse),
            b"RFC822.SIZE" => fetch.size = value.number(),
            b"BODY[]" => {
                fetch.body = match value {
                    Value::Body => BodySeen::Streamed,
                    Value::String(bytes) => BodySeen::Inline(bytes.to_vec()),
                    _ => BodySeen::Nil,
                }
            }
            name if name.starts_with(b"BODY[HEADER") => fetch.header = value.text().map(<[u8]>::to_vec),
            _ => {}
        }
    }
    Some(fetch)
}

pub(super) fn parse_status(values: &[Value<'_>]) -> FolderState {
    let mut state = FolderState::default();
    for (name, value) in pairs(values) {
        match name.as_slice() {
            b"MESSAGES" => state.messages = value.number().unwrap_or_default(),
            b"UIDNEXT" => state.uid_next = value.number().and_then(Uid::new),
            b"UIDVALIDITY" => state.uid_validity = value.number().and_then(UidValidity::new),
            b"HIGHESTMODSEQ" => state.highest_modseq = value.number().and_then(ModSeq::new),
            _ => {}
        }
    }
    state
}

pub(super) fn parse_opened(responses: &[Response]) -> Opened {
    let mut opened = Opened { state: FolderState::default(), permanent: None, uid_not_sticky: false };
    for response in responses {
        if let Some((messages, _)) = numbered(response, b"EXISTS") {
            opened.state.messages = messages;
        }
        let Some(words) = response.text.strip_prefix(b"* OK ").or_else(|| response.text.strip_prefix(b"* NO ")) else {
            continue;
        };
        let narrow = |name| numeric_code(words, name).and_then(|value| u32::try_from(value).ok());
        if let Some(value) = narrow(b"UIDVALIDITY") {
            opened.state.uid_validity = UidValidity::new(value);
        } else if let Some(value) = narrow(b"UIDNEXT") {
            opened.state.uid_next = Uid::new(value);
        } else if let Some(value) = numeric_code(words, b"HIGHESTMODSEQ") {
            opened.state.highest_modseq = ModSeq::new(value);
        } else if starts_with(words, b"[UIDNOTSTICKY]") {
            opened.uid_not_sticky = true;
        } else if starts_with(words, b"[PERMANENTFLAGS ") {
            // Within a list, as in FETCH: there a keyword may hold a parenthesis.
            let inside = Response { text: [b"(", &words[16..]].concat(), literals: Vec::new() };
            let values = Tokens::new(&inside).value();
            let list = values.as_ref().and_then(Value::list).and_then(|values| values.first()?.list());
            let flags: Vec<&[u8]> = list.unwrap_or_default().iter().filter_map(Value::name).collect();
            let any_keyword = flags.contains(&&b"\\*"[..]);
            opened.permanent = Some(Permanent { flags: Flags::from_wire(flags), any_keyword });
        }
    }
    opened
}

#[cfg(test)]
mod tests;
