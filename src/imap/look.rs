//! A folder opened, and listed or made, in one turn: what would take a round trip each is asked behind one another.
//!
//! Invariant: what comes of it is what the same commands give one by one. Where a server takes one command at a time, they
//! are sent so.

use super::connection::{Completion, Part, UNTAGGED_MAX, too_much};
use super::error::{ImapError, Refusal};
use super::folders::{parse_state, state_items};
use super::pipeline::{self, Event, Window};
use super::session::{End, Gathering, Opened, Session, Target, Verb, parse_fetch, parse_opened, role_suffix};
use super::token::Response;
use super::wire::Broken;
use crate::mail::{FolderState, Listing, Role, Uid, WireName};
use crate::provider::{Phase, Status, already_exists};

/// More messages than these are listed in pieces, when the folder has said how many there are.
const AT_ONCE: u32 = 10_000;
/// All go out together: none of them waits for another.
const TOGETHER: Window = Window { most: 4, refill: 0 };

/// A folder as it was when it was opened, with what it lists.
pub struct Look {
    /// What it said.
    pub opened: Opened,
    /// Messages below the UIDNEXT it was opened with.
    pub listing: Listing,
    /// Its STATUS behind the listing, if it was asked for and told.
    pub state: Option<FolderState>,
}

impl<E: End> Session<E> {
    /// Opens a folder read-only and lists its messages from UID `first` on, as [`Self::examine`] and [`Self::list`] do: in one
    /// turn, where no more than 10,000 are expected and some are. `state`: its STATUS too, where that takes no further turn
    /// or is asked for in any case.
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn look(
        &mut self,
        folder: &WireName,
        first: Uid,
        expected: Option<u32>,
        state: bool,
    ) -> Result<Look, ImapError> {
        let examine = self.connection.one_line(&[Part::Text("EXAMINE "), Part::Name(folder.as_bytes())]);
        let at_once = self.window(TOGETHER).most > 1 && expected.is_some_and(|count| (1..=AT_ONCE).contains(&count));
        match examine.filter(|_| at_once) {
            Some(examine) => self.look_at_once(folder, examine, first, state).await,
            None => {
                let opened = self.examine(folder).await?;
                let listing = self.list(first, opened.state).await?;
                let state = if state { self.status(folder).await.ok() } else { None };
                Ok(Look { opened, listing, state })
            }
        }
    }

    async fn look_at_once(
        &mut self,
        folder: &WireName,
        examine: Vec<u8>,
        first: Uid,
        state: bool,
    ) -> Result<Look, ImapError> {
        let list = format!("UID FETCH {first}:* (UID FLAGS INTERNALDATE RFC822.SIZE)").into_bytes();
        let mut commands = vec![examine, list];
        let status = [Part::Text("STATUS "), Part::Name(folder.as_bytes())];
        if let Some(status) = self.connection.one_line(&status).filter(|_| state) {
            let items = state_items(&self.connection.capabilities);
            commands.push([&status, &b" "[..], items.as_bytes()].concat());
        }
        let mut seen = Seen::new(first, 1, [Phase::Open; 3]);
        // One that is refused leaves no folder open (RFC 9051, 6.3.2).
        self.open = None;
        let what = format!("open folder \"{folder}\"");
        let window = self.window(TOGETHER);
        pipeline::run(&mut self.connection, (&what, Phase::Open), commands, window, |event| seen.take(event)).await?;
        let Seen { responses, refused: [examine, list, _], gathered, state, .. } = seen;
        if let Some(refusal) = examine {
            return Err(ImapError::Refused { what, refusal });
        }
        self.open = Some(Verb::Examine);
        let opened = parse_opened(&responses);
        if opened.state.messages == 0 {
            // Some refuse to list nothing.
            return Ok(Look { opened, listing: Listing::default(), state });
        }
        if let Some(refusal) = list {
            return Err(ImapError::Refused { what: "list messages".to_owned(), refusal });
        }
        let all = gathered.listed("list messages")?;
        let below = all.uids().below(opened.state.uid_next.unwrap_or(Uid::LAST));
        // Some servers lag behind with UIDNEXT.
        let listing = match first == Uid::FIRST && below < opened.state.messages as usize {
            true => all,
            false => all.cut(below),
        };
        Ok(Look { opened, listing, state })
    }

    /// Lists what the open folder holds from UID `first` on, below the UIDNEXT it was opened with. A listing shorter than the
    /// folder said it is gets a second chance without that bound: some servers lag behind with UIDNEXT, some leave messages
    /// out.
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn list(&mut self, first: Uid, state: FolderState) -> Result<Listing, ImapError> {
        if state.messages == 0 {
            return Ok(Listing::default());
        }
        let last = match state.uid_next {
            Some(next) => Uid::new(next.value() - 1),
            None => Some(Uid::LAST),
        };
        let listing = match last {
            Some(last) if last >= first => self.listing(first, last, state.messages).await?,
            _ => Listing::default(),
        };
        if first > Uid::FIRST || listing.len() >= state.messages as usize {
            return Ok(listing);
        }
        self.listing(first, Uid::LAST, state.messages).await
    }
}

impl Session<Target> {
    /// Makes a folder, opens it for changes, and subscribes to it if asked to: in one turn. None: that takes several, or there
    /// is such a folder; then it is not subscribed to. `role`: as for [`Self::create`].
    ///
    /// # Errors
    /// It is not made, or cannot be opened; a broken connection.
    pub async fn make(
        &mut self,
        folder: &WireName,
        role: Option<Role>,
        subscribe: bool,
    ) -> Result<Option<Opened>, ImapError> {
        let named = |verb: &str| self.connection.one_line(&[Part::Text(verb), Part::Name(folder.as_bytes())]);
        let (Some(mut create), Some(select)) = (named("CREATE "), named("SELECT ")) else { return Ok(None) };
        if let Some(role) = self.settable(role) {
            create.extend_from_slice(role_suffix(role).as_bytes());
        }
        let mut commands = vec![create, select];
        commands.extend(named("SUBSCRIBE ").filter(|_| subscribe));
        if self.window(TOGETHER).most == 1 {
            return Ok(None);
        }
        let mut seen = Seen::new(Uid::FIRST, 2, [Phase::Create, Phase::Open, Phase::Create]);
        self.open = None;
        let what = format!("create folder \"{folder}\"");
        let window = self.window(TOGETHER);
        pipeline::run(&mut self.connection, (&what, Phase::Open), commands, window, |event| seen.take(event)).await?;
        let Seen { responses, refused: [create, select, subscribed], .. } = seen;
        if let Some(refusal) = create {
            let is_there = select.is_none() || already_exists(&refusal.words);
            if select.is_none() {
                self.open = Some(Verb::Select);
            }
            if subscribe && subscribed.is_none() && !is_there {
                let command = [Part::Text("UNSUBSCRIBE "), Part::Name(folder.as_bytes())];
                match self.connection.command(&what, Phase::Other, &command, |_| {}).await {
                    Err(error) if !error.is_refusal() => return Err(error),
                    _ => {}
                }
            }
            return if is_there { Ok(None) } else { Err(ImapError::Refused { what, refusal }) };
        }
        if let Some(refusal) = select {
            return Err(ImapError::Refused { what: format!("open folder \"{folder}\""), refusal });
        }
        self.open = Some(Verb::Select);
        Ok(Some(parse_opened(&responses)))
    }
}

/// What was told in one turn.
struct Seen {
    first: Uid,
    /// Commands that have ended.
    ended: usize,
    /// The first of them open the folder; what is told until they have ended is told of it.
    opening: usize,
    responses: Vec<Response>,
    bytes: usize,
    gathered: Gathering,
    state: Option<FolderState>,
    /// What each command does.
    phases: [Phase; 3],
    /// By command.
    refused: [Option<Refusal>; 3],
}

impl Seen {
    fn new(first: Uid, opening: usize, phases: [Phase; 3]) -> Self {
        Self {
            first,
            ended: 0,
            opening,
            responses: Vec::new(),
            bytes: 0,
            gathered: Gathering::default(),
            state: None,
            phases,
            refused: [None, None, None],
        }
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), Broken> {
        let response = match event {
            Event::Response(response) => response,
            Event::Ended(at, completion) => {
                let Completion { status, words } = completion;
                if status != Status::Ok {
                    self.refused[at] = Some(Refusal { phase: self.phases[at], status, words });
                }
                self.ended += 1;
                return Ok(());
            }
        };
        if let Some(seen) = parse_fetch(response) {
            return match seen.uid.filter(|uid| *uid >= self.first) {
                Some(uid) => self.gathered.take(uid, seen, response.text.len()),
                None => Ok(()),
            };
        }
        if let Some((_, state)) = parse_state(response) {
            self.state = Some(state);
        } else if self.ended < self.opening {
            self.bytes += response.size();
            self.responses.push(response.clone());
        }
        match self.bytes > UNTAGGED_MAX {
            true => Err(too_much(UNTAGGED_MAX)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::imap::Source;
    use crate::imap::connection::Connection;
    use std::time::Duration;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::task::JoinHandle;

    /// Answers each command by its verb, `#` standing for the tag, and gives the verbs it was asked.
    fn server<E: End>(answers: &'static [(&'static str, &'static str)]) -> (Session<E>, JoinHandle<Vec<String>>) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (connection, _bridge) = Connection::new(Box::new(near), Duration::from_secs(5));
        let task = tokio::spawn(async move {
            let (mut far, mut asked, mut line) = (BufReader::new(far), Vec::new(), String::new());
            while far.read_line(&mut line).await.unwrap_or(0) > 0 {
                let (tag, command) = line.trim_end().split_once(' ').unwrap();
                let (verb, answer) = answers.iter().find(|(verb, _)| command.starts_with(verb)).unwrap();
                let answer = format!("{}\r\n", answer.replace('#', tag).replace('|', "\r\n"));
                asked.push((*verb).to_owned());
                if far.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
                line.clear();
            }
            asked
        });
        (Session::over(connection), task)
    }

    fn folder() -> WireName {
        WireName::new(*b"f")
    }

    async fn listed(answers: &'static [(&'static str, &'static str)], first: u32) -> Result<Vec<u32>, ImapError> {
        let (mut session, _task) = server::<Source>(answers);
        let look = session.look(&folder(), Uid::new(first).unwrap(), Some(3), false).await;
        assert!(session.is_usable());
        look.map(|look| look.listing.uids().iter().map(|uid| uid.value()).collect())
    }

    #[tokio::test]
    async fn what_is_at_or_above_uidnext_is_not_listed_unless_uidnext_lags_behind() {
        const LIST: &str = "* 1 FETCH (UID 3 FLAGS ())|* 2 FETCH (UID 5 FLAGS ())|* 3 FETCH (UID 8 FLAGS ())|\
                            * 4 EXISTS|* 4 FETCH (UID 9 FLAGS ())|# OK done";
        let opened = |text| [("EXAMINE", text), ("UID FETCH", LIST)];
        let listed_by = async |answers: [(&'static str, &'static str); 2], first| {
            listed(Box::leak(Box::new(answers)), first).await.unwrap()
        };
        assert_eq!(listed_by(opened("* 3 EXISTS|* OK [UIDNEXT 9] n|# OK done"), 1).await, [3, 5, 8]);
        assert_eq!(listed_by(opened("* 4 EXISTS|* OK [UIDNEXT 5] n|# OK done"), 1).await, [3, 5, 8, 9]);
        // The last message comes for any `n:*`.
        assert_eq!(listed_by(opened("* 3 EXISTS|* OK [UIDNEXT 9] n|# OK done"), 4).await, [5, 8]);
        assert_eq!(listed_by(opened("* 4 EXISTS|# OK done"), 1).await, [3, 5, 8, 9]);
    }

    #[tokio::test]
    async fn a_refusal_is_that_of_the_command_it_was_given_to() {
        let closed = &[("EXAMINE", "# NO [NOPERM] closed"), ("UID FETCH", "# BAD nothing is open")];
        let words = |error: ImapError| error.to_string();
        assert!(listed(closed, 1).await.map_err(words).unwrap_err().contains("closed"));
        let unlisted = &[("EXAMINE", "* 3 EXISTS|# OK done"), ("UID FETCH", "# NO not now")];
        assert!(listed(unlisted, 1).await.map_err(words).unwrap_err().contains("not now"));
        let empty = &[("EXAMINE", "* 0 EXISTS|# OK done"), ("UID FETCH", "# BAD no messages")];
        assert_eq!(listed(empty, 1).await.unwrap(), [0_u32; 0]);
    }

    #[tokio::test]
    async fn nobodys_mailbox_is_full_by_reading() {
        const SLOW: &str = "# NO [OVERQUOTA] slow down";
        let kind = |error: ImapError| error.failure(Source::SIDE).kind;
        let closed = &[("EXAMINE", SLOW), ("UID FETCH", "# BAD nothing is open")];
        assert_eq!(listed(closed, 1).await.map_err(kind).unwrap_err(), Kind::Throttled);
        let (mut session, _task) = server::<Source>(&[("EXAMINE", "* 3 EXISTS|# OK done"), ("UID FETCH", SLOW)]);
        let look = session.look(&folder(), Uid::FIRST, Some(3), false).await;
        assert_eq!(look.map(drop).map_err(kind).unwrap_err(), Kind::Throttled);
        let listing = session.listing(Uid::FIRST, Uid::LAST, 3).await;
        assert_eq!(listing.map(drop).map_err(kind).unwrap_err(), Kind::Throttled);
        assert_eq!(session.headers(&[Uid::FIRST]).await.map_err(kind).unwrap_err(), Kind::Throttled);
        const OPENED: &str = "* OK [UIDVALIDITY 7] v|# OK done";
        for (create, select, expected) in [
            (SLOW, "# NO [NONEXISTENT] none", Kind::MailboxFull),
            ("# NO Not enough disk quota", "# NO [NONEXISTENT] none", Kind::MailboxFull),
            ("# OK done", SLOW, Kind::Throttled),
        ] {
            let answers = [("CREATE", create), ("SELECT", select), ("SUBSCRIBE", OPENED), ("UNSUBSCRIBE", OPENED)];
            let (mut session, _task) = server::<Target>(Box::leak(Box::new(answers)));
            let made = session.make(&folder(), None, true).await;
            assert_eq!(made.map(drop).map_err(kind).unwrap_err(), expected);
        }
    }

    #[tokio::test]
    async fn what_is_not_made_is_not_subscribed_to_and_what_is_there_is_left_as_it_is() {
        const OPENED: &str = "* OK [PERMANENTFLAGS (\\Seen \\*)] p|* OK [UIDVALIDITY 7] v|# OK done";
        const DONE: &str = "# OK done";
        let made = async |create, select| {
            let answers = [("CREATE", create), ("SELECT", select), ("SUBSCRIBE", DONE), ("UNSUBSCRIBE", DONE)];
            let (mut session, task) = server::<Target>(Box::leak(Box::new(answers)));
            let made = session.make(&folder(), None, true).await;
            drop(session);
            (made, task.await.unwrap())
        };
        let (opened, asked) = made(DONE, OPENED).await;
        assert!(opened.unwrap().unwrap().permanent.unwrap().any_keyword);
        assert_eq!(asked, ["CREATE", "SELECT", "SUBSCRIBE"]);
        let (refused, asked) = made("# NO [CANNOT] no", "# NO [NONEXISTENT] none").await;
        assert!(refused.unwrap_err().to_string().contains("[CANNOT]"));
        assert_eq!(asked, ["CREATE", "SELECT", "SUBSCRIBE", "UNSUBSCRIBE"]);
        for create in ["# NO [ALREADYEXISTS] it is there", "# NO what"] {
            let (there, asked) = made(create, OPENED).await;
            assert!(there.unwrap().is_none());
            assert_eq!(asked, ["CREATE", "SELECT", "SUBSCRIBE"]);
        }
    }
}
