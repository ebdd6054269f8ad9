//! What is asked of every server first, in as few turns as it allows: who it is, where it keeps folders, which there are,
//! what they are like.
//!
//! Invariant: whatever one answer lacks is asked for again by itself, so that nothing here changes what is found, only how
//! many turns it takes.

use super::connection::{Capabilities, Part, untagged};
use super::error::{ImapError, Refusal};
use super::folders::{self, LIST, LSUB, Namespace, Telling};
use super::pipeline::{self, Window};
use super::session::{End, Session};
use super::token::{Response, Tokens, Value};
use super::wire::Broken;
use crate::mail::{Folder, FolderState, Side, WireName};
use crate::provider::{Phase, Status, family};

/// STATUS of many folders: half of a window is answered in the time the other half takes to get there. Courier, the slowest
/// that was measured, takes 60 ms for so many.
const STATES: Window = Window { most: 64, refill: 32 };
/// Of the few questions asked at sign-in none waits for another.
const FIRST: Window = Window { most: 8, refill: 0 };

/// Folders that were listed as the session signed in. Good for as long as nothing else is asked.
pub(super) struct Ahead {
    /// Commands sent by then.
    asked: u64,
    folders: Vec<Folder>,
}

/// What is asked at sign-in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Enable,
    Id,
    Namespace,
    Separator,
    List,
    Subscribed,
}

/// What was answered by then.
#[derive(Default)]
struct Answers {
    id: Vec<(String, String)>,
    namespace: Option<Namespace>,
    separator: Option<u8>,
    telling: Telling,
    /// QRESYNC is on.
    enabled: bool,
    /// Something was refused: it is asked for again when it is needed.
    refused: bool,
}

impl Answers {
    /// `asked`: the oldest question without an answer.
    fn take(&mut self, asked: Option<First>, response: &Response) -> Result<(), Broken> {
        self.telling.count(response)?;
        if let Some(tokens) = untagged(response, b"ENABLED") {
            self.enabled |= tokens.rest().split(|byte| *byte == b' ').any(|word| word.eq_ignore_ascii_case(b"QRESYNC"));
        } else if let Some(mut tokens) = untagged(response, b"ID") {
            self.id = read_id(&mut tokens);
        } else if let Some(mut tokens) = untagged(response, b"NAMESPACE") {
            self.namespace = Some(Namespace::parse(&mut tokens));
        } else if asked == Some(First::Separator) {
            self.separator = read_separator(response).or(self.separator);
        } else if asked == Some(First::Subscribed) {
            self.telling.take_subscribed(response);
        } else {
            self.telling.take(response);
        }
        Ok(())
    }
}

impl<E: End> Session<E> {
    /// Tells the server who we are, and asks the same (RFC 2971). With `lists` all that [`Self::folders`] asks goes along,
    /// since none of it waits for an answer.
    pub(super) async fn introduce(&mut self, greeting: &[u8], lists: bool) -> Result<(), ImapError> {
        let of = |capabilities: &Capabilities, id: &[(String, String)]| {
            family(greeting, &capabilities.iter().collect::<Vec<_>>(), id)
        };
        self.family = of(&self.connection.capabilities, &[]);
        let extended = folders::is_extended(&self.connection.capabilities, self.family);
        let questions = self.first_questions(lists, extended);
        if questions.is_empty() {
            return Ok(());
        }
        let (mut answers, mut ended) = (Answers::default(), 0);
        let commands = questions.iter().map(|(_, command)| command).collect();
        let what = if lists { "list folders" } else { "exchange ID" };
        let phase = if lists { Phase::List } else { Phase::Other };
        let window = self.window(FIRST);
        let asked = pipeline::run(&mut self.connection, (what, phase), commands, window, |event| match event {
            pipeline::Event::Response(response) => answers.take(questions.get(ended).map(|one| one.0), response),
            pipeline::Event::Ended(at, completion) => {
                // Who answers out of turn leaves it open what belongs to what.
                let question = questions[at].0;
                let fine = completion.status == Status::Ok;
                let fits = at == ended && (fine || matches!(question, First::Id | First::Enable));
                answers.refused |= !fits;
                ended += 1;
                Ok(())
            }
        });
        asked.await?;
        self.tells_vanished = answers.enabled;
        self.family = of(&self.connection.capabilities, &answers.id);
        let as_it_should = extended == folders::is_extended(&self.connection.capabilities, self.family);
        if !lists || answers.refused || !as_it_should || answers.telling.is_empty() {
            return Ok(());
        }
        let namespace = match (answers.namespace, answers.separator) {
            (Some(namespace), _) if namespace.separator.is_some() => namespace,
            (None, Some(separator)) => Namespace { separator: Some(separator), ..Namespace::default() },
            // Flat, or told elsewhere: that takes further questions.
            _ => return Ok(()),
        };
        let folders = answers.telling.folders(&namespace);
        self.namespace = Some(namespace);
        self.ahead = Some(Ahead { asked: self.connection.asked, folders });
        Ok(())
    }

    fn first_questions(&self, lists: bool, extended: bool) -> Vec<(First, String)> {
        let mut questions = Vec::new();
        // Before any folder is open (RFC 5161, 3.1).
        if !self.apart && self.has("QRESYNC") && self.has("ENABLE") && E::SIDE == Side::Source {
            questions.push((First::Enable, "ENABLE QRESYNC".to_owned()));
        }
        if self.has("ID") {
            let id = format!("ID (\"name\" \"mailhaul\" \"version\" \"{}\")", env!("CARGO_PKG_VERSION"));
            questions.push((First::Id, id));
        }
        if !lists {
            return questions;
        }
        questions.push(match self.has("NAMESPACE") {
            true => (First::Namespace, "NAMESPACE".to_owned()),
            false => (First::Separator, "LIST \"\" \"\"".to_owned()),
        });
        match extended {
            true => questions.push((First::List, folders::extended_command(&self.connection.capabilities))),
            false => questions.extend([(First::List, LIST.to_owned()), (First::Subscribed, LSUB.to_owned())]),
        }
        questions
    }

    /// Gives the personal namespace (RFC 2342), asked for once.
    ///
    /// # Errors
    /// A broken connection; a refusal counts as an empty prefix.
    pub async fn namespace(&mut self) -> Result<Namespace, ImapError> {
        if let Some(known) = &self.namespace {
            return Ok(known.clone());
        }
        let mut found = None;
        if self.has("NAMESPACE") {
            let command = [Part::Text("NAMESPACE")];
            // Names are made of it: what is refused once may be refused by chance.
            for _ in 0..2 {
                let asked = self.connection.command("ask for namespaces", Phase::List, &command, |response| {
                    if let Some(mut tokens) = untagged(response, b"NAMESPACE") {
                        found = Some(Namespace::parse(&mut tokens));
                    }
                });
                match asked.await {
                    Err(error) if error.is_refusal() => {}
                    other => {
                        other?;
                        break;
                    }
                }
            }
        }
        let mut namespace = found.unwrap_or_default();
        if namespace.separator.is_none() {
            namespace.separator = self.root_separator().await?;
        }
        Ok(self.namespace.insert(namespace).clone())
    }

    /// Asks `LIST "" ""`, which gives the separator (RFC 9051, 6.3.9).
    async fn root_separator(&mut self) -> Result<Option<u8>, ImapError> {
        let mut separator = None;
        let command = [Part::Text("LIST \"\" \"\"")];
        let asked = self.connection.command("ask for the separator", Phase::List, &command, |response| {
            separator = read_separator(response).or(separator);
        });
        match asked.await {
            Err(error) if !error.is_refusal() => Err(error),
            _ => Ok(separator),
        }
    }

    /// Lists all folders with role, subscription and, where LIST-STATUS is offered, state.
    ///
    /// # Errors
    /// A refusal or a broken connection: a list without its tagged OK is no list.
    pub async fn folders(&mut self) -> Result<Vec<Folder>, ImapError> {
        let asked = self.connection.asked;
        if let Some(ahead) = self.ahead.take().filter(|ahead| ahead.asked == asked && self.is_usable()) {
            return Ok(ahead.folders);
        }
        let namespace = self.namespace().await?;
        folders::list(&mut self.connection, &namespace, self.family).await
    }

    /// Asks what a folder is like without opening it (STATUS).
    ///
    /// # Errors
    /// A refusal, or a broken connection.
    pub async fn status(&mut self, folder: &WireName) -> Result<FolderState, ImapError> {
        let mut found = None;
        let items = format!(" {}", folders::state_items(&self.connection.capabilities));
        let command = [Part::Text("STATUS "), Part::Name(folder.as_bytes()), Part::Text(&items)];
        let what = format!("ask for the state of folder \"{folder}\"");
        let asked = self.connection.command(&what, Phase::Open, &command, |response| {
            found = folders::parse_state(response).map(|(_, state)| state).or(found);
        });
        asked.await?;
        found.ok_or_else(|| Broken::Protocol("its OK came without a STATUS".to_owned()).during(what))
    }

    /// Asks what many folders are like, one question behind the other without waiting. Gives in their order what was told, or
    /// how it was refused.
    ///
    /// # Errors
    /// A broken connection.
    pub async fn states(&mut self, folders: &[&WireName]) -> Result<Vec<Result<FolderState, Refusal>>, ImapError> {
        let items = folders::state_items(&self.connection.capabilities);
        let mut states: Vec<Option<Result<FolderState, Refusal>>> = vec![None; folders.len()];
        let name = |at: &usize| self.connection.one_line(&[Part::Text("STATUS "), Part::Name(folders[*at].as_bytes())]);
        // A name that has to wait for the server's go-ahead is asked for by itself.
        let (quick, slow): (Vec<usize>, Vec<usize>) = (0..folders.len()).partition(|at| name(at).is_some());
        let commands: Vec<Vec<u8>> =
            quick.iter().filter_map(name).map(|command| [&command, &b" "[..], items.as_bytes()].concat()).collect();
        let what = "ask for the states of folders";
        let (mut told, mut bytes, window) = (None, 0, self.window(STATES));
        let asked = pipeline::run(&mut self.connection, (what, Phase::Open), commands, window, |event| {
            match event {
                pipeline::Event::Response(response) => {
                    bytes += response.size();
                    folders::within_bounds(bytes)?;
                    told = folders::parse_state(response).or(told.take());
                }
                pipeline::Event::Ended(at, completion) => {
                    states[quick[at]] = match (completion.status, told.take()) {
                        (Status::Ok, Some((_, state))) => Some(Ok(state)),
                        (Status::Ok, None) => None,
                        (status, _) => Some(Err(Refusal { phase: Phase::Open, status, words: completion.words })),
                    };
                }
            }
            Ok(())
        });
        asked.await?;
        for at in slow {
            states[at] = match self.status(folders[at]).await {
                Ok(state) => Some(Ok(state)),
                Err(ImapError::Refused { refusal, .. }) => Some(Err(refusal)),
                Err(error) => return Err(error),
            };
        }
        states
            .into_iter()
            .map(|state| state.ok_or_else(|| Broken::Protocol("its OK came without a STATUS".to_owned()).during(what)))
            .collect()
    }

    /// Gives the largest message that may be appended to a folder, in bytes, where the server says so: for all folders in
    /// its capabilities, or for each in its STATUS (RFC 7889, 3 and 4).
    ///
    /// # Errors
    /// A broken connection; a refusal is no limit.
    pub async fn append_limit(&mut self, folder: &WireName) -> Result<Option<u64>, ImapError> {
        let known = self.capabilities().append_limit();
        if known.is_some() || !self.has("APPENDLIMIT") {
            return Ok(known);
        }
        let mut limit = None;
        let command = [Part::Text("STATUS "), Part::Name(folder.as_bytes()), Part::Text(" (APPENDLIMIT)")];
        let what = format!("ask for the largest message of folder \"{folder}\"");
        let asked = self.connection.command(&what, Phase::Open, &command, |response| {
            if let Some(mut tokens) = untagged(response, b"STATUS") {
                tokens.value();
                let values = tokens.value();
                let pairs = values.as_ref().and_then(Value::list).map(super::connection::pairs).into_iter().flatten();
                limit =
                    pairs.filter(|(name, _)| name.as_slice() == b"APPENDLIMIT").find_map(|(_, value)| value.number());
            }
        });
        match asked.await {
            Err(error) if !error.is_refusal() => Err(error),
            _ => Ok(limit),
        }
    }
}

fn read_id(tokens: &mut Tokens<'_>) -> Vec<(String, String)> {
    let Some(Value::List(values)) = tokens.value() else { return Vec::new() };
    let text = |value: &Value<'_>| String::from_utf8_lossy(value.name().unwrap_or_default()).into_owned();
    values.chunks_exact(2).map(|pair| (text(&pair[0]).to_lowercase(), text(&pair[1]))).collect()
}

fn read_separator(response: &Response) -> Option<u8> {
    let mut tokens = untagged(response, b"LIST")?;
    tokens.value();
    tokens.value().and_then(|value| value.text()?.first().copied())
}
