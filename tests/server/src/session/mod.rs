//! One connection from greeting to end.
//!
//! Secret: the order in which a command is read, executed and answered. Commands are read to their end whatever they
//! are, so that the next one is found; each is executed alone; the mailbox's news go out before the tagged reply
//! (RFC 3501 section 7). States: not authenticated → authenticated ⇄ selected → logout.

mod append;
mod auth;
mod copy;
mod fetch;
mod flags;
mod folders;
mod list;
mod search;
mod selected;

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Verdict;
use crate::config::{Features, Literals, TlsMode};
use crate::faults::{Act, Event, Falsehood, Gate, Lie, Point};
use crate::log::Logged;
use crate::parser::{Announced, Cursor, Syntax, Text, announced};
use crate::store::{Account, StoreError};
use crate::wire::{End, Line, Wire};
use crate::{Keywords, Mechanism, Shared};
use selected::Selected;

/// Longest literal of a command other than APPEND.
const LITERAL_BYTES_MAX: u64 = 64 * 1024;

/// Status and text of a tagged reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply(String);

impl Reply {
    fn is_bad(&self) -> bool {
        self.0.starts_with("BAD")
    }
}

fn ok(text: &str) -> Reply {
    Reply(format!("OK {text}"))
}

fn no(text: &str) -> Reply {
    Reply(format!("NO {text}"))
}

fn bad(text: &str) -> Reply {
    Reply(format!("BAD {text}"))
}

/// Why a command ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// With the connection.
    End,
    /// With this reply.
    Reply(Reply),
}

impl From<End> for Stop {
    fn from(_: End) -> Self {
        Stop::End
    }
}

impl From<Syntax> for Stop {
    fn from(syntax: Syntax) -> Self {
        Stop::Reply(bad(&format!("Error in IMAP command: {}.", syntax.0)))
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Reply(refusal(error, "[NONEXISTENT] "))
    }
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Stop::Reply(reply)
    }
}

type Answer = Result<Reply, Stop>;

fn refusal(error: StoreError, missing_code: &str) -> Reply {
    let code = match error {
        StoreError::Missing => missing_code,
        StoreError::Exists => "[ALREADYEXISTS] ",
        StoreError::NotPossible | StoreError::NotSelectable => "[CANNOT] ",
        StoreError::NoMessage => "",
    };
    no(&format!("{code}{error}."))
}

/// How APPEND shall store, by order of a fault.
#[derive(Debug, Clone)]
enum Commit {
    Now,
    Late(Duration),
    Held(Arc<Gate>),
    Half,
    KeepHalf,
    RefuseHalf,
}

/// What faults ordered for the command at hand.
#[derive(Debug)]
struct Orders {
    /// The command's own tag, which ESEARCH repeats.
    tag: String,
    reply: Option<Reply>,
    swallow: bool,
    commit: Commit,
    lies: Vec<Lie>,
}

impl Orders {
    fn new(tag: &str) -> Self {
        Orders { tag: tag.to_owned(), reply: None, swallow: false, commit: Commit::Now, lies: Vec::new() }
    }

    /// The lies told about one message.
    fn lies_about(&self, uid: u32) -> impl Iterator<Item = &Falsehood> {
        self.lies.iter().filter(move |lie| lie.uids.contains(&uid)).map(|lie| &lie.what)
    }

    fn uid_next(&self, truth: u32) -> u32 {
        let lie = self.lies.iter().find_map(|lie| if let Falsehood::UidNext(n) = lie.what { Some(n) } else { None });
        lie.unwrap_or(truth)
    }
}

/// A command that was begun.
#[derive(Debug)]
struct Command {
    tag: String,
    /// `UID FETCH` is one verb.
    verb: String,
    text: Text,
    /// Where the arguments begin: at the space behind the verb.
    arguments: usize,
    /// Its place in the log.
    logged: usize,
}

pub(crate) struct Session {
    wire: Wire,
    shared: Arc<Shared>,
    account: Option<Account>,
    selected: Option<Selected>,
    /// Whether the client has shown that it knows CONDSTORE (RFC 7162 section 3.1).
    condstore: bool,
    /// Whether it has enabled QRESYNC (RFC 7162 section 3.2).
    qresync: bool,
    secure: bool,
    start_tls: bool,
    /// The OK of the command at hand warns.
    warned: bool,
    /// How many commands were refused.
    errors: u32,
    orders: Orders,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            self.shared.log.sign_out(account.user());
        }
        self.shared.log.count(|stats| stats.open -= 1);
    }
}

impl Session {
    pub(crate) fn new(wire: Wire, shared: Arc<Shared>) -> Self {
        shared.log.count(|stats| {
            stats.connections += 1;
            stats.open += 1;
            stats.most_open = stats.most_open.max(stats.open);
        });
        let orders = Orders::new("");
        Session {
            wire,
            shared,
            account: None,
            selected: None,
            condstore: false,
            qresync: false,
            secure: false,
            start_tls: false,
            warned: false,
            errors: 0,
            orders,
        }
    }

    pub(crate) async fn run(mut self) {
        // The end of a connection is no error here.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), End> {
        self.wire.act(Event::Connect).await?;
        let open = self.shared.log.stats().open;
        if self.shared.config.connections_max.is_some_and(|max| open > max) {
            return Err(self.wire.close().await);
        }
        self.secure = self.shared.config.tls != TlsMode::StartTls || !self.wire.can_start_tls();
        if self.shared.config.tls == TlsMode::Implicit && self.wire.can_start_tls() {
            self.make_tls().await?;
        }
        let greeting = match self.fire(Event::Greeting).await? {
            Some(Reply(text)) => format!("* {text}"),
            None if self.shared.config.announce_capabilities => {
                format!("* OK [CAPABILITY {}] {}", self.capabilities(), self.shared.config.greeting)
            }
            None => format!("* OK {}", self.shared.config.greeting),
        };
        self.wire.put(greeting);
        loop {
            self.command().await?;
        }
    }

    async fn make_tls(&mut self) -> Result<(), End> {
        let shared = self.shared.clone();
        let acceptor = shared.tls.as_ref().ok_or(End)?;
        self.wire.accept_tls(acceptor).await?;
        self.secure = true;
        Ok(())
    }

    /// Reads one command, executes it, answers it.
    async fn command(&mut self) -> Result<(), End> {
        if self.shared.faults.any() {
            self.wire.flush().await?;
        }
        let before = self.wire.consumed();
        let idle_max = self.shared.config.idle_max.unwrap_or(Duration::MAX);
        let read = tokio::time::timeout(idle_max, self.wire.read_line(self.shared.config.line_bytes_max)).await;
        let Ok(read) = read else {
            self.wire.put("* BYE Disconnected for inactivity.");
            self.wire.flush().await?;
            return Err(self.wire.close().await);
        };
        let line = match read? {
            Line::Whole(line) => line,
            Line::BareLf => {
                self.wire.put("* BAD Error in IMAP command: line ended in LF without CR.");
                return Ok(());
            }
            Line::TooLong(beginning) => {
                let tag = split_command(&beginning).map_or("*".to_owned(), |(tag, _, _)| tag);
                self.wire.put(format!("{tag} BAD Error in IMAP command: line too long."));
                return Ok(());
            }
        };
        let Some((tag, verb, arguments)) = split_command(&line) else {
            let tag = read_tag(&line).unwrap_or("*");
            self.wire.put(format!("{tag} BAD Error in IMAP command received by server."));
            self.note(&line, String::new(), before);
            return self.skip_literals(&line).await;
        };
        let logged = self.note(&line, verb.clone(), before);
        let text = Text { bytes: line, literals: Vec::new() };
        let mut command = Command { tag, verb, text, arguments, logged };
        self.orders = Orders::new(&command.tag);
        let ordered = match self.fire(Event::Command(&command.verb)).await? {
            Some(reply) => Some(reply),
            None => self.over_budget(&command.verb),
        };
        let reply = match ordered {
            Some(reply) => {
                self.skip_literals(&command.text.bytes).await?;
                reply
            }
            None => match self.execute(&mut command).await {
                Ok(reply) | Err(Stop::Reply(reply)) => self.executed(&command.verb, reply).await?,
                Err(Stop::End) => return Err(End),
            },
        };
        self.answer(&command, reply).await
    }

    fn note(&mut self, line: &[u8], verb: String, before: u64) -> usize {
        let secret = matches!(verb.as_str(), "LOGIN" | "AUTHENTICATE");
        let shown = if secret {
            format!("{} {verb} ***", read_tag(line).unwrap_or_default())
        } else {
            String::from_utf8_lossy(line).into_owned()
        };
        self.shared.log.push(Logged {
            connection: self.wire.connection,
            user: self.wire.user.clone(),
            line: shown,
            verb,
            bytes_in: self.wire.consumed() - before,
            at: tokio::time::Instant::now(),
        })
    }

    /// What stands between a command's deed and its reply: the mailbox's news, and faults.
    async fn executed(&mut self, verb: &str, reply: Reply) -> Result<Reply, End> {
        // RFC 3501 section 7.4.1: no EXPUNGE while numbers are on their way.
        let expunges = !matches!(verb, "FETCH" | "STORE" | "SEARCH" | "UID FETCH" | "UID STORE" | "UID SEARCH");
        self.sync(expunges).await?;
        let other = self.fire(Event::AfterExecute(verb)).await?;
        if self.orders.swallow {
            return Err(self.wire.cut().await);
        }
        Ok(other.unwrap_or(reply))
    }

    /// Asks whether the user may still ask. Whoever leaves may.
    fn over_budget(&mut self, verb: &str) -> Option<Reply> {
        self.warned = false;
        let (Some(budget), Some(account)) = (&self.shared.config.budget, &self.account) else { return None };
        if verb == "LOGOUT" {
            return None;
        }
        match self.shared.budgets.ask(account.user(), budget) {
            Verdict::Granted => None,
            Verdict::Warned => {
                self.warned = true;
                None
            }
            Verdict::Refused(text) => Some(Reply(text)),
        }
    }

    async fn answer(&mut self, command: &Command, Reply(text): Reply) -> Result<(), End> {
        let verb = command.verb.as_str();
        let warning = if self.warned && text.starts_with("OK") { " [THROTTLED]" } else { "" };
        self.wire.put(format!("{} {text}{warning}", command.tag));
        self.fire(Event::AfterReply(verb)).await?;
        self.errors += u32::from(!text.starts_with("OK"));
        if let Some((_, words)) = self.shared.config.errors_max.as_ref().filter(|(max, _)| self.errors >= *max) {
            self.wire.put(format!("* BYE {words}"));
            self.wire.flush().await?;
            return Err(self.wire.close().await);
        }
        if self.start_tls {
            self.start_tls = false;
            self.wire.flush().await?;
            self.make_tls().await?;
        }
        if verb == "LOGOUT" {
            self.wire.flush().await?;
            return Err(self.wire.close().await);
        }
        self.wire.flush_some().await
    }

    /// Tells the rules of an event; what concerns the command goes into its orders, a reply comes back.
    async fn fire(&mut self, event: Event<'_>) -> Result<Option<Reply>, End> {
        for act in self.wire.act(event).await? {
            match act {
                Act::Reply(text) => self.orders.reply = Some(Reply(text)),
                Act::SwallowReply => self.orders.swallow = true,
                Act::CommitLate(time) => self.orders.commit = Commit::Late(time),
                Act::CommitHeld(gate) => self.orders.commit = Commit::Held(gate),
                Act::CommitHalf => self.orders.commit = Commit::Half,
                Act::KeepHalf => self.orders.commit = Commit::KeepHalf,
                Act::RefuseHalf => self.orders.commit = Commit::RefuseHalf,
                Act::Lie(lie) => self.orders.lies.push(lie),
                Act::ChangeUidValidity(folder) => {
                    if let Some(account) = &self.account {
                        // A folder that is not there has no UIDVALIDITY to change.
                        let _ = account.renumber(folder);
                    }
                }
                // The wire has done the others.
                _ => {}
            }
        }
        Ok(self.orders.reply.take())
    }

    /// Reads on to the end of a command that is refused: literals sent without waiting are thrown away.
    async fn skip_literals(&mut self, line: &[u8]) -> Result<(), End> {
        let mut next = announced(line);
        while let Some(Announced { size, synchronising: false }) = next {
            self.wire.read_exact(size, None).await?;
            next = match self.wire.read_line(self.shared.config.line_bytes_max).await? {
                Line::Whole(line) => announced(&line),
                Line::BareLf | Line::TooLong(_) => None,
            };
        }
        Ok(())
    }

    /// Reads on to the end of a command whose literal was just refused.
    async fn skip_line(&mut self, stop: &Stop) -> Result<(), End> {
        if matches!(stop, Stop::Reply(_))
            && let Line::Whole(line) = self.wire.read_line(self.shared.config.line_bytes_max).await?
        {
            self.skip_literals(&line).await?;
        }
        Ok(())
    }

    /// Reads the rest of a command other than APPEND.
    async fn read_rest(&mut self, command: &mut Command) -> Result<(), Stop> {
        let mut line_start = 0;
        while let Some(literal) = announced(&command.text.bytes[line_start..]) {
            if let Some(refused) = self.refuses(literal) {
                self.skip_literals(&command.text.bytes[line_start..]).await?;
                return Err(refused.into());
            }
            if literal.size > LITERAL_BYTES_MAX {
                self.skip_literals(&command.text.bytes[line_start..]).await?;
                return Err(bad("Error in IMAP command: literal too long.").into());
            }
            let before = self.wire.consumed();
            let mut bytes = Vec::new();
            if let Err(stop) = self.read_literal(&command.verb, literal, Some(&mut bytes)).await {
                self.skip_line(&stop).await?;
                return Err(stop);
            }
            line_start = command.text.bytes.len();
            command.text.literals.push((line_start, bytes));
            let Line::Whole(line) = self.wire.read_line(self.shared.config.line_bytes_max).await? else {
                return Err(bad("Error in IMAP command: line too long or ended in a bare LF.").into());
            };
            command.text.bytes.extend_from_slice(&line);
            let shown: &[u8] = if command.verb == "LOGIN" { b"" } else { &line };
            self.shared.log.add(command.logged, shown, self.wire.consumed() - before);
        }
        Ok(())
    }

    /// Why a literal may not be sent in this form, if so (RFC 7888).
    fn refuses(&self, literal: Announced) -> Option<Reply> {
        match self.shared.config.features.literals {
            _ if literal.synchronising => None,
            Literals::Plus => None,
            Literals::Minus if literal.size <= 4096 => None,
            Literals::Minus => Some(bad("[TOOBIG] Non-synchronizing literals are for 4096 bytes at most.")),
            Literals::Synchronising => Some(bad("Error in IMAP command: LITERAL+ is not offered.")),
        }
    }

    async fn read_literal(
        &mut self,
        verb: &str,
        literal: Announced,
        mut sink: Option<&mut Vec<u8>>,
    ) -> Result<(), Stop> {
        if literal.synchronising {
            self.wire.put("+ OK");
            self.wire.flush().await?;
        }
        let mark = |point: &Point| point.in_literal(literal.size);
        let mut done = 0;
        for at in self.shared.faults.marks(mark, 0, literal.size) {
            self.wire.read_exact(at - done, sink.as_deref_mut()).await?;
            done = at;
            if let Some(reply) = self.fire(Event::Literal(verb, at, literal.size)).await? {
                // Said in mid-literal; the rest of it is still coming.
                self.wire.read_exact(literal.size - done, None).await?;
                return Err(reply.into());
            }
        }
        self.wire.read_exact(literal.size - done, sink).await?;
        Ok(())
    }

    async fn execute(&mut self, command: &mut Command) -> Answer {
        if command.verb == "APPEND" {
            return self.append(command).await;
        }
        self.read_rest(command).await?;
        let cursor = Cursor::new(&command.text, command.arguments);
        let verb = command.verb.as_str();
        match verb {
            "CAPABILITY" => {
                cursor.end()?;
                self.wire.put(format!("* CAPABILITY {}", self.capabilities()));
                return Ok(ok("Capability completed."));
            }
            "NOOP" => return cursor.end().map(|()| ok("NOOP completed.")).map_err(Stop::from),
            "LOGOUT" => {
                cursor.end()?;
                self.wire.put("* BYE Logging out");
                return Ok(ok("Logout completed."));
            }
            "ID" if self.features().id => return self.id(cursor),
            _ => {}
        }
        match &self.account {
            None => self.execute_not_authenticated(verb, cursor, command.logged).await,
            Some(account) => {
                let account = account.clone();
                self.execute_authenticated(verb, cursor, account).await
            }
        }
    }

    async fn execute_not_authenticated(&mut self, verb: &str, cursor: Cursor<'_>, logged: usize) -> Answer {
        match verb {
            "STARTTLS" if !self.secure => {
                cursor.end()?;
                self.start_tls = true;
                Ok(ok("Begin TLS negotiation now."))
            }
            "LOGIN" => self.login(cursor).await,
            "AUTHENTICATE" => self.authenticate(cursor, logged).await,
            _ => Err(bad("Error in IMAP command received by server.").into()),
        }
    }

    async fn execute_authenticated(&mut self, verb: &str, cursor: Cursor<'_>, account: Account) -> Answer {
        let features = self.features().clone();
        match verb {
            "NAMESPACE" if features.namespace => self.namespace(cursor),
            "ENABLE" if features.enable => self.enable(cursor),
            "LIST" => self.list(cursor, &account).await,
            "LSUB" => self.lsub(cursor, &account),
            "SUBSCRIBE" => self.subscribe(cursor, &account),
            "UNSUBSCRIBE" => self.unsubscribe(cursor, &account),
            "CREATE" => self.create(cursor, &account),
            "DELETE" => self.delete(cursor, &account).await,
            "RENAME" => self.rename(cursor, &account),
            "STATUS" => self.status(cursor, &account),
            "SELECT" => self.select(cursor, &account, false),
            "EXAMINE" => self.select(cursor, &account, true),
            "IDLE" if features.idle => self.idle(cursor).await,
            "GETQUOTAROOT" if self.shared.config.quota_bytes.is_some() => self.quota_root(cursor, &account),
            "GETQUOTA" if self.shared.config.quota_bytes.is_some() => self.quota(cursor, &account),
            _ => {
                let Some(selected) = self.selected.take() else {
                    return Err(Self::unknown_without_mailbox(verb).into());
                };
                // Given back whatever happens, but for the commands that leave the mailbox.
                let (selected, answer) = self.execute_selected(verb, cursor, account, selected).await;
                self.selected = selected;
                answer
            }
        }
    }

    fn unknown_without_mailbox(verb: &str) -> Reply {
        let known = [
            "CHECK",
            "CLOSE",
            "UNSELECT",
            "EXPUNGE",
            "SEARCH",
            "FETCH",
            "STORE",
            "COPY",
            "MOVE",
            "UID FETCH",
            "UID STORE",
            "UID COPY",
            "UID MOVE",
            "UID SEARCH",
            "UID EXPUNGE",
        ];
        if known.contains(&verb) {
            bad("No mailbox selected.")
        } else {
            bad(&format!("Error in IMAP command {verb}: Unknown command."))
        }
    }

    async fn execute_selected(
        &mut self,
        verb: &str,
        mut cursor: Cursor<'_>,
        account: Account,
        mut selected: Selected,
    ) -> (Option<Selected>, Answer) {
        let features = self.features().clone();
        let by_uid = verb.starts_with("UID ");
        let answer = match verb {
            "CHECK" => cursor.end().map(|()| ok("Check completed.")).map_err(Stop::from),
            "CLOSE" => match cursor.end() {
                Ok(()) => {
                    selected.close(&account);
                    return (None, Ok(ok("Close completed.")));
                }
                Err(syntax) => Err(syntax.into()),
            },
            "UNSELECT" if features.unselect => match cursor.end() {
                Ok(()) => return (None, Ok(ok("Unselect completed."))),
                Err(syntax) => Err(syntax.into()),
            },
            "EXPUNGE" => cursor.end().map_err(Stop::from).and_then(|()| selected.expunge(&account, None)),
            "UID EXPUNGE" if features.uidplus => {
                let set = cursor.space().and_then(|()| cursor.set()).and_then(|set| cursor.end().map(|()| set));
                set.map_err(Stop::from).and_then(|set| selected.expunge(&account, Some(&set)))
            }
            "SEARCH" | "UID SEARCH" => self.search(cursor, &account, &selected, by_uid),
            "FETCH" | "UID FETCH" => self.fetch(cursor, &account, &mut selected, by_uid).await,
            "STORE" | "UID STORE" => self.store(cursor, &account, &mut selected, by_uid).await,
            "COPY" | "UID COPY" => self.copy(cursor, &account, &mut selected, by_uid, false),
            "MOVE" | "UID MOVE" if features.moves => self.copy(cursor, &account, &mut selected, by_uid, true),
            _ => Err(bad(&format!("Error in IMAP command {verb}: Unknown command.")).into()),
        };
        (Some(selected), answer)
    }

    fn features(&self) -> &Features {
        &self.shared.config.features
    }

    /// What CAPABILITY says at this moment.
    fn capabilities(&self) -> String {
        let config = &self.shared.config;
        let features = &config.features;
        let authenticated = self.account.is_some();
        let mut words: Vec<String> = vec!["IMAP4rev1".to_owned()];
        let mut add = |on: bool, word: &str| {
            if on {
                words.push(word.to_owned());
            }
        };
        add(features.sasl_ir, "SASL-IR");
        add(features.id, "ID");
        add(features.enable, "ENABLE");
        add(features.idle, "IDLE");
        add(features.literals == Literals::Plus, "LITERAL+");
        add(features.literals == Literals::Minus, "LITERAL-");
        if authenticated {
            for (on, word) in [
                (features.namespace, "NAMESPACE"),
                (features.unselect, "UNSELECT"),
                (features.children, "CHILDREN"),
                (features.uidplus, "UIDPLUS"),
                (features.multiappend, "MULTIAPPEND"),
                (features.condstore, "CONDSTORE"),
                (features.qresync, "QRESYNC"),
                (features.esearch, "ESEARCH"),
                (features.list_extended, "LIST-EXTENDED"),
                (features.list_extended && features.list_status, "LIST-STATUS"),
                (features.special_use, "SPECIAL-USE"),
                (features.special_use, "CREATE-SPECIAL-USE"),
                (features.moves, "MOVE"),
                (features.status_size, "STATUS=SIZE"),
                (config.quota_bytes.is_some(), "QUOTA"),
            ] {
                add(on, word);
            }
        } else {
            let mut mechanisms = config.mechanisms.clone();
            let hidden = !self.secure && !config.plaintext_auth;
            mechanisms.retain(|mechanism| !hidden || *mechanism != Mechanism::Plain);
            add(!self.secure, "STARTTLS");
            add(hidden || !config.login, "LOGINDISABLED");
            for mechanism in mechanisms {
                add(!hidden, &format!("AUTH={}", mechanism.name()));
            }
        }
        if let Some(limit) = features.append_limit {
            words.push(match features.append_limit_by_folder {
                true => "APPENDLIMIT".to_owned(),
                false => format!("APPENDLIMIT={limit}"),
            });
        }
        if authenticated {
            words.extend(config.extra_capabilities.iter().cloned());
        }
        words.join(" ")
    }

    fn id(&mut self, mut cursor: Cursor<'_>) -> Answer {
        cursor.space()?;
        if cursor.peek() == Some(b'(') {
            let parts = cursor.list(Cursor::nstring)?;
            if parts.len() % 2 != 0 || parts.iter().step_by(2).any(Option::is_none) {
                return Err(Syntax("ID wants pairs").into());
            }
        } else if !cursor.eat_word("NIL") {
            return Err(Syntax("ID wants a list or NIL").into());
        }
        cursor.end()?;
        let quoted = |text: &String| {
            let mut out = Vec::new();
            crate::parser::put_string(&mut out, text.as_bytes());
            String::from_utf8_lossy(&out).into_owned()
        };
        let pairs = self.shared.config.id.iter().map(|(field, value)| format!("{} {}", quoted(field), quoted(value)));
        let pairs = pairs.collect::<Vec<_>>().join(" ");
        self.wire.put(if pairs.is_empty() { "* ID NIL".to_owned() } else { format!("* ID ({pairs})") });
        Ok(ok("ID completed."))
    }

    fn enable(&mut self, mut cursor: Cursor<'_>) -> Answer {
        let mut enabled = String::new();
        while !cursor.is_done() {
            cursor.space()?;
            let word = cursor.word()?;
            if word == "CONDSTORE" && self.features().condstore && !enabled.contains("CONDSTORE") {
                self.condstore = true;
                enabled.push_str(" CONDSTORE");
            }
            if word == "QRESYNC" && self.features().qresync && !enabled.contains("QRESYNC") {
                (self.condstore, self.qresync) = (true, true);
                enabled.push_str(" QRESYNC");
            }
        }
        self.wire.put(format!("* ENABLED{enabled}"));
        Ok(ok("Enabled."))
    }

    /// Refuses keywords the configuration does not take, or leaves them out.
    fn permitted(&self, mut flags: Vec<String>) -> Result<Vec<String>, Reply> {
        let known = |list: &Vec<String>, flag: &String| {
            flag.starts_with('\\') || list.iter().any(|keyword| keyword.eq_ignore_ascii_case(flag))
        };
        match &self.shared.config.keywords {
            Keywords::Any => {}
            Keywords::Only(list) => flags.retain(|flag| known(list, flag)),
            Keywords::AllBut(list) => flags.retain(|flag| !list.iter().any(|out| out.eq_ignore_ascii_case(flag))),
            Keywords::AllOrRefuse(list, text) => {
                if flags.iter().any(|flag| !flag.starts_with('\\') && known(list, flag)) {
                    return Err(Reply(text.clone()));
                }
            }
            Keywords::OnlyOrRefuse(list, text) => {
                if !flags.iter().all(|flag| known(list, flag)) {
                    return Err(Reply(text.clone()));
                }
            }
        }
        Ok(flags)
    }
}

fn read_tag(line: &[u8]) -> Option<&str> {
    let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let tag = &line[..end];
    let valid = |&byte: &u8| (crate::parser::is_atom_char(byte) || byte == b']') && byte != b'+';
    if tag.is_empty() || !tag.iter().all(valid) { None } else { std::str::from_utf8(tag).ok() }
}

/// Tag, verb and where the arguments begin.
fn split_command(line: &[u8]) -> Option<(String, String, usize)> {
    let tag = read_tag(line)?;
    let mut end = tag.len();
    let mut verb = String::new();
    loop {
        let word_start = end + 1;
        let rest = line.get(word_start..)?;
        let len = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..len]).ok().filter(|word| !word.is_empty())?;
        if !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return None;
        }
        verb.push_str(&word.to_ascii_uppercase());
        end = word_start + len;
        if verb != "UID" {
            return Some((tag.to_owned(), verb, end));
        }
        verb.push(' ');
    }
}
