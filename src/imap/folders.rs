//! Folder names and lists: namespaces, separators, LIST in its old and extended forms.

use super::connection::{ANSWER_BYTES_MAX, Capabilities, Connection, Part, untagged};
use super::error::ImapError;
use super::session::parse_status;
use super::token::{Response, Tokens, Value};
use super::utf7;
use super::wire::Broken;
use crate::mail::{Folder, FolderPath, FolderState, Role, WireName};
use crate::provider::{Family, Phase, role_of_name};
use std::collections::{BTreeMap, BTreeSet};

/// More folders than any mailbox has; a hostile server stops here.
const FOLDERS_MAX: usize = 50_000;

/// Where a server keeps our folders and others' (RFC 2342).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Before every folder of ours but the inbox: `INBOX.` or nothing.
    pub prefix: Vec<u8>,
    /// Between the parts of a name; None: flat.
    pub separator: Option<u8>,
    /// What begins so belongs to other users or is shared.
    pub foreign: Vec<Vec<u8>>,
}

impl Namespace {
    pub(super) fn parse(tokens: &mut Tokens<'_>) -> Self {
        let mut found = Self::default();
        let personal = tokens.value();
        if let Some((prefix, separator)) = personal.as_ref().and_then(Value::list).and_then(|all| entry(all.first()?)) {
            (found.prefix, found.separator) = (prefix, separator);
        }
        for others in [tokens.value(), tokens.value()].iter().flatten() {
            let prefixes = others.list().unwrap_or_default().iter().filter_map(entry).map(|(prefix, _)| prefix);
            found.foreign.extend(prefixes.filter(|prefix| !prefix.is_empty()));
        }
        found
    }

    /// Says whether folders of ours lie below the inbox's name, as with Courier.
    #[must_use]
    pub fn is_below_inbox(&self) -> bool {
        self.prefix.len() > 5 && WireName::new(&self.prefix[..5]).is_inbox()
    }

    /// Gives the path of a folder for people and rules.
    #[must_use]
    pub fn path(&self, name: &WireName) -> FolderPath {
        self.path_with(name, self.separator)
    }

    fn path_with(&self, name: &WireName, separator: Option<u8>) -> FolderPath {
        if name.is_inbox() {
            return FolderPath::inbox();
        }
        let bytes = name.as_bytes();
        let below_inbox = self.is_below_inbox() && super::token::starts_with(bytes, &self.prefix);
        let own = match bytes.strip_prefix(&self.prefix[..]) {
            Some(own) => own,
            None if below_inbox => &bytes[self.prefix.len()..],
            None => bytes,
        };
        let split = |name: &[u8]| -> Vec<String> {
            match separator {
                Some(separator) => name.split(|byte| *byte == separator).map(utf7::decode_any).collect(),
                None => vec![utf7::decode_any(name)],
            }
        };
        let mut parts = split(own);
        // Below the prefix the inbox's name is a name like others: its prefix keeps it apart from the inbox.
        if own.len() < bytes.len() && parts[0].eq_ignore_ascii_case("INBOX") {
            parts = split(bytes);
        }
        if parts[0].eq_ignore_ascii_case("INBOX") {
            parts[0] = "INBOX".to_owned();
        }
        FolderPath::new(parts)
    }

    /// Writes the name that a path has on this server. No part may hold the separator: that is the planner's care.
    #[must_use]
    pub fn wire_name(&self, path: &FolderPath) -> WireName {
        if path.is_inbox() {
            return WireName::new(*b"INBOX");
        }
        let has_prefix = self.is_below_inbox() && path.parts().first().is_some_and(|part| part == "INBOX");
        let mut name = if has_prefix { Vec::new() } else { self.prefix.clone() };
        for (at, part) in path.parts().iter().enumerate() {
            if at > 0 {
                name.extend(self.separator);
            }
            name.extend_from_slice(utf7::encode(part).as_bytes());
        }
        WireName::new(name)
    }
}

fn entry(value: &Value<'_>) -> Option<(Vec<u8>, Option<u8>)> {
    let pair = value.list()?;
    Some((pair.first()?.name()?.to_vec(), pair.get(1).and_then(|value| value.text()?.first().copied())))
}

/// What LIST told of one folder.
struct Listed {
    name: WireName,
    separator: Option<u8>,
    attributes: Vec<Vec<u8>>,
}

/// What answers to LIST, LSUB and their like have told so far.
#[derive(Default)]
pub(super) struct Telling {
    listed: Vec<Listed>,
    states: BTreeMap<WireName, FolderState>,
    subscribed: BTreeSet<WireName>,
    bytes: usize,
}

impl Telling {
    /// Takes an answer to LIST.
    pub(super) fn take(&mut self, response: &Response) {
        if let Some(one) = parse_list(response) {
            self.listed.push(one);
        } else if let Some((name, state)) = parse_state(response) {
            self.states.insert(fold(&name), state);
        }
    }

    /// Takes an answer to LSUB.
    pub(super) fn take_subscribed(&mut self, response: &Response) {
        if let Some(one) = parse_list(response).filter(|one| !one.is(b"\\Noselect")) {
            self.subscribed.insert(fold(&one.name));
        }
    }

    /// Counts an answer before it is taken; an error where there are too many.
    pub(super) fn count(&mut self, response: &Response) -> Result<(), Broken> {
        self.bytes += response.size();
        let most = [self.listed.len(), self.subscribed.len(), self.states.len()];
        if most.iter().any(|count| *count > FOLDERS_MAX) {
            return Err(Broken::Protocol(format!("more than {FOLDERS_MAX} folders")));
        }
        within_bounds(self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Gives the folders.
    pub(super) fn folders(self, namespace: &Namespace) -> Vec<Folder> {
        assemble(self.listed, &self.subscribed, &self.states, namespace)
    }
}

/// Refuses answers that are larger, all together, than any mailbox makes them.
pub(super) fn within_bounds(bytes: usize) -> Result<(), Broken> {
    match bytes > ANSWER_BYTES_MAX {
        true => Err(Broken::Protocol(format!("more than {ANSWER_BYTES_MAX} bytes in answer to one command"))),
        false => Ok(()),
    }
}

/// Says whether a server takes the extended LIST (RFC 5258) as it should.
pub(super) fn is_extended(capabilities: &Capabilities, family: Family) -> bool {
    capabilities.has("LIST-EXTENDED") && family != Family::ICloud
}

pub(super) async fn list(
    connection: &mut Connection,
    namespace: &Namespace,
    family: Family,
) -> Result<Vec<Folder>, ImapError> {
    let mut told = Telling::default();
    let mut with_subscriptions = is_extended(&connection.capabilities, family);
    if with_subscriptions {
        let command = extended_command(&connection.capabilities);
        match ask(connection, &command, &mut told, Telling::take).await {
            Err(error) if error.is_refusal() => told.listed.clear(),
            other => other?,
        }
    }
    if told.is_empty() {
        with_subscriptions = false;
        ask(connection, LIST, &mut told, Telling::take).await?;
    }
    if !with_subscriptions {
        match ask(connection, LSUB, &mut told, Telling::take_subscribed).await {
            Err(error) if error.is_refusal() => told.subscribed.clear(),
            other => other?,
        }
    }
    Ok(told.folders(namespace))
}

pub(super) const LIST: &str = "LIST \"\" \"*\"";
pub(super) const LSUB: &str = "LSUB \"\" \"*\"";

pub(super) fn extended_command(capabilities: &Capabilities) -> String {
    let mut options = vec!["SUBSCRIBED".to_owned()];
    if capabilities.has("SPECIAL-USE") {
        options.push("SPECIAL-USE".to_owned());
    }
    if capabilities.has("LIST-STATUS") {
        options.push(format!("STATUS {}", state_items(capabilities)));
    }
    format!("LIST \"\" \"*\" RETURN ({})", options.join(" "))
}

/// Gives what is asked of a folder's state, as STATUS takes it.
pub(super) fn state_items(capabilities: &Capabilities) -> &'static str {
    match capabilities.has("CONDSTORE") || capabilities.has("QRESYNC") {
        true => "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)",
        false => "(MESSAGES UIDNEXT UIDVALIDITY)",
    }
}

async fn ask(
    connection: &mut Connection,
    command: &str,
    told: &mut Telling,
    take: fn(&mut Telling, &Response),
) -> Result<(), ImapError> {
    let what = "list folders";
    let (mut broken, command) = (None, [Part::Text(command)]);
    let asked = connection.command(what, Phase::List, &command, |response| {
        if broken.is_none() {
            broken = told.count(response).err();
        }
        if broken.is_none() {
            take(told, response);
        }
    });
    asked.await?;
    broken.map_or(Ok(()), |broken| Err(broken.during(what)))
}

/// Reads `* STATUS name (…)`.
pub(super) fn parse_state(response: &Response) -> Option<(WireName, FolderState)> {
    let mut tokens = untagged(response, b"STATUS")?;
    let (name, values) = (tokens.value()?, tokens.value()?);
    Some((WireName::new(name.name()?), parse_status(values.list()?)))
}

fn parse_list(response: &Response) -> Option<Listed> {
    let mut tokens = untagged(response, b"LIST").or_else(|| untagged(response, b"LSUB"))?;
    let attributes = tokens.value()?;
    let attributes = attributes.list()?.iter().filter_map(|value| Some(value.name()?.to_vec())).collect();
    let separator = tokens.value()?.text().and_then(|text| text.first().copied());
    // Some servers leave the quotes away from names with spaces or backslashes: then the name is all that is left.
    let rest = tokens.rest().trim_ascii();
    let bare = !rest.is_empty() && rest[0] != b'"' && rest[0] != b'(' && response.literals.is_empty();
    let name = match bare && !rest.ends_with(b")") {
        true => rest.to_vec(),
        false => tokens.value()?.name()?.to_vec(),
    };
    Some(Listed { name: WireName::new(name), separator, attributes })
}

impl Listed {
    fn is(&self, attribute: &[u8]) -> bool {
        self.attributes.iter().any(|known| known.eq_ignore_ascii_case(attribute))
    }
}

/// The inbox has no case; every other name is itself.
pub(super) fn fold(name: &WireName) -> WireName {
    if name.is_inbox() { WireName::new(*b"INBOX") } else { name.clone() }
}

fn assemble(
    listed: Vec<Listed>,
    subscribed: &BTreeSet<WireName>,
    states: &BTreeMap<WireName, FolderState>,
    namespace: &Namespace,
) -> Vec<Folder> {
    let mut folders: BTreeMap<WireName, Folder> = BTreeMap::new();
    for one in listed {
        let key = fold(&one.name);
        let separator = one.separator.or(if one.name.is_inbox() { namespace.separator } else { None });
        let path = namespace.path_with(&one.name, separator);
        let role = if path.is_inbox() {
            Some(Role::Inbox)
        } else {
            one.attributes.iter().find_map(|attribute| Role::from_attribute(attribute))
        };
        let folder = Folder {
            selectable: !one.is(b"\\Noselect") && !one.is(b"\\NonExistent"),
            subscribed: one.is(b"\\Subscribed") || subscribed.contains(&key),
            shared: namespace.foreign.iter().any(|prefix| one.name.as_bytes().starts_with(prefix)),
            state: states.get(&key).copied(),
            name: one.name,
            path,
            separator,
            role,
        };
        folders.entry(key).or_insert(folder);
    }
    let mut folders: Vec<Folder> = folders.into_values().collect();
    if folders.iter().all(|folder| matches!(folder.role, None | Some(Role::Inbox))) {
        for folder in &mut folders {
            folder.role = folder.role.or_else(|| role_of_name(&folder.path));
        }
    }
    keep_first_of_each_role(&mut folders);
    folders
}

/// A role stands for one folder: where a server gives it to several, the first that a name confirms keeps it.
fn keep_first_of_each_role(folders: &mut [Folder]) {
    let mut best: BTreeMap<Role, usize> = BTreeMap::new();
    for (at, folder) in folders.iter().enumerate() {
        let Some(role) = folder.role else { continue };
        let confirmed = |at: usize| role_of_name(&folders[at].path) == Some(role);
        match best.get(&role) {
            Some(known) if confirmed(*known) || !confirmed(at) => {}
            _ => drop(best.insert(role, at)),
        }
    }
    for (at, folder) in folders.iter_mut().enumerate() {
        if folder.role.is_some_and(|role| best.get(&role) != Some(&at)) {
            folder.role = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Response {
        Response { text: text.as_bytes().to_vec(), literals: vec![] }
    }

    fn namespace(text: &str) -> Namespace {
        Namespace::parse(&mut untagged(&response(text), b"NAMESPACE").unwrap())
    }

    #[test]
    fn namespaces_are_read_in_all_forms() {
        let courier = namespace(r##"* NAMESPACE (("INBOX." ".")) NIL (("#shared." ".")("shared." "."))"##);
        assert_eq!((&courier.prefix[..], courier.separator), (&b"INBOX."[..], Some(b'.')));
        assert_eq!(courier.foreign, [b"#shared.".to_vec(), b"shared.".to_vec()]);
        let domino = namespace(r#"* NAMESPACE (("" "\\")) (("Other\\" "\\")) NIL"#);
        assert_eq!((&domino.prefix[..], domino.separator), (&b""[..], Some(b'\\')));
        assert_eq!(namespace("* NAMESPACE NIL NIL NIL"), Namespace::default());
    }

    fn check(namespace: &Namespace, wire: &str, parts: &[&str]) {
        let path = namespace.path(&WireName::new(wire));
        assert_eq!(path.parts(), parts, "{wire}");
    }

    #[test]
    fn paths_lose_prefix_and_separator_and_the_inbox_has_no_case() {
        let plain = Namespace { prefix: vec![], separator: Some(b'/'), foreign: vec![] };
        check(&plain, "inbox", &["INBOX"]);
        check(&plain, "Inbox/A", &["INBOX", "A"]);
        check(&plain, "B&APw-ro/R&-D", &["Büro", "R&D"]);
        check(&plain, "a.b", &["a.b"]);
        let courier = Namespace { prefix: b"INBOX.".to_vec(), separator: Some(b'.'), foreign: vec![] };
        check(&courier, "INBOX", &["INBOX"]);
        check(&courier, "INBOX.Sent.2019", &["Sent", "2019"]);
        check(&courier, "Inbox.Sent", &["Sent"]);
        check(&courier, "INBOX.INBOX", &["INBOX", "INBOX"]);
        check(&courier, "INBOX.inbox.x", &["INBOX", "inbox", "x"]);
        let mail = Namespace { prefix: b"Mail/".to_vec(), separator: Some(b'/'), foreign: vec![] };
        check(&mail, "Mail/inbox", &["Mail", "inbox"]);
        check(&Namespace::default(), "a/b.c", &["a/b.c"]);
    }

    #[test]
    fn a_path_gives_the_name_it_came_from() {
        let courier = Namespace { prefix: b"INBOX.".to_vec(), separator: Some(b'.'), foreign: vec![] };
        for wire in ["INBOX", "INBOX.Sent", "INBOX.B&APw-ro.x y", "INBOX.INBOX", "INBOX.inbox.x"] {
            let name = WireName::new(wire);
            assert_eq!(courier.wire_name(&courier.path(&name)), name);
        }
    }

    fn listed(text: &str) -> (String, Option<u8>) {
        let one = parse_list(&response(text)).unwrap();
        (String::from_utf8(one.name.as_bytes().to_vec()).unwrap(), one.separator)
    }

    #[test]
    fn list_lines_of_all_servers_are_read() {
        for (line, name, separator) in [
            (r#"* LIST (\HasNoChildren) "/" INBOX"#, "INBOX", Some(b'/')),
            (r#"* LIST () "." "a\"b\\c""#, "a\"b\\c", Some(b'.')),
            (r#"* LIST (\Noselect) "\\" "x\\y""#, "x\\y", Some(b'\\')),
            (r#"* LIST () NIL flat"#, "flat", None),
            (r#"* LIST () "/" NIL"#, "NIL", Some(b'/')),
            (r#"* LIST () "/" 200"#, "200", Some(b'/')),
            (r#"* LIST () "\\" Folder\Sub 1"#, "Folder\\Sub 1", Some(b'\\')),
            (r#"* LSUB () "/" "[Gmail]/x""#, "[Gmail]/x", Some(b'/')),
            (r#"* LIST () "/" "a" ("CHILDINFO" ("SUBSCRIBED"))"#, "a", Some(b'/')),
            (r#"* LIST () "/" a ("OLDNAME" ("b"))"#, "a", Some(b'/')),
        ] {
            assert_eq!(listed(line), (name.to_owned(), separator), "{line}");
        }
    }
}
