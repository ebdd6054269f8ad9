//! Are two mailboxes the same? Judged from what their servers say, without a line of the engine.
//!
//! Compared are folders, subscriptions, and in each folder the messages as a multiset: SHA-256 of the bytes, flags and
//! keywords regardless of case and without `\Recent`, INTERNALDATE as an instant. Names are compared as paths: without the
//! personal namespace's prefix, joined by `/`. What cannot be opened (`\Noselect`) is no folder.

use super::client::{Client, Message};
use super::response::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

type Rename = Box<dyn Fn(&str) -> Option<String>>;

/// How two mailboxes are compared: as they are, but for what is added here.
#[derive(Default)]
pub(crate) struct Comparison {
    rename: Option<Rename>,
    allowed: Vec<(String, String)>,
}

/// Something that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// The folder's path on the target.
    pub(crate) folder: String,
    /// Of which message and how, for people and for [`Comparison::allow`].
    pub(crate) detail: String,
}

/// What is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A folder is only on the source.
    FolderMissing,
    /// A folder is only on the target.
    FolderSurplus,
    /// A folder is subscribed on one side only.
    Subscription,
    /// A message is on the source more often than on the target.
    Missing,
    /// A message is on the target more often than on the source.
    Surplus,
    /// The same bytes have other flags.
    Flags,
    /// The same bytes have another date.
    Date,
}

/// All that is compared of one mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mailbox {
    pub(crate) folders: BTreeMap<String, Vec<Item>>,
    pub(crate) subscribed: BTreeSet<String>,
}

/// All that is compared of one message, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    digest: [u8; 32],
    /// Seconds since 1970.
    instant: i64,
    /// Lower case.
    flags: BTreeSet<String>,
    label: String,
}

impl Comparison {
    /// Maps a source path to the target path where it is expected; None: it is not compared.
    pub(crate) fn rename(mut self, rename: impl Fn(&str) -> Option<String> + 'static) -> Self {
        self.rename = Some(Box::new(rename));
        self
    }

    /// Allows differences in a folder of the target whose detail holds this text, such as a subject or a digest; all with
    /// an empty text.
    pub(crate) fn allow(mut self, folder: &str, text: &str) -> Self {
        self.allowed.push((folder.to_owned(), text.to_owned()));
        self
    }

    /// Reads both mailboxes and gives what differs and is not allowed.
    pub(crate) fn differences(&self, source: &mut Client, target: &mut Client) -> Vec<Difference> {
        self.between(&Mailbox::read(source), &Mailbox::read(target))
    }

    /// Reads both mailboxes; panics with a line for every difference that is not allowed.
    pub(crate) fn assert_same(&self, source: &mut Client, target: &mut Client) {
        let differences = self.differences(source, target);
        let lines: Vec<String> = differences.iter().take(LINES_MAX).map(Difference::to_string).collect();
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), lines.join("\n"));
    }

    /// Gives what differs between two mailboxes that were read, and is not allowed.
    pub(crate) fn between(&self, source: &Mailbox, target: &Mailbox) -> Vec<Difference> {
        let source = self.renamed(source);
        let mut differences = Vec::new();
        let paths: BTreeSet<&String> = source.folders.keys().chain(target.folders.keys()).collect();
        for path in paths {
            let difference = |kind, detail: &str| Difference { kind, folder: path.clone(), detail: detail.to_owned() };
            match (source.folders.get(path), target.folders.get(path)) {
                (Some(source), Some(target)) => differences.extend(in_folder(path, source, target)),
                (Some(_), None) => differences.push(difference(Kind::FolderMissing, "the folder is not on the target")),
                _ => differences.push(difference(Kind::FolderSurplus, "the folder is not on the source")),
            }
        }
        for path in source.subscribed.symmetric_difference(&target.subscribed) {
            let side = if source.subscribed.contains(path) { "source" } else { "target" };
            let detail = format!("subscribed on the {side} only");
            differences.push(Difference { kind: Kind::Subscription, folder: path.clone(), detail });
        }
        differences.retain(|difference| !self.is_allowed(difference));
        differences
    }

    fn is_allowed(&self, difference: &Difference) -> bool {
        self.allowed.iter().any(|(folder, text)| *folder == difference.folder && difference.detail.contains(text))
    }

    fn renamed(&self, mailbox: &Mailbox) -> Mailbox {
        let Some(rename) = &self.rename else { return mailbox.clone() };
        let mut renamed = Mailbox::default();
        for (path, items) in &mailbox.folders {
            // Two folders may be meant for one.
            if let Some(path) = rename(path) {
                renamed.folders.entry(path).or_default().extend(items.iter().cloned());
            }
        }
        renamed.subscribed = mailbox.subscribed.iter().filter_map(|path| rename(path)).collect();
        renamed
    }
}

/// Reads both mailboxes; panics with a line for every difference.
pub(crate) fn assert_same(source: &mut Client, target: &mut Client) {
    Comparison::default().assert_same(source, target);
}

/// Lines shown when much differs; the rest would say nothing new.
const LINES_MAX: usize = 60;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}: {}", self.kind, self.folder, self.detail)
    }
}

impl Mailbox {
    /// Reads all of it.
    pub(crate) fn read(client: &mut Client) -> Self {
        let names = Names::read(client);
        let mut mailbox = Self::default();
        for listed in client.lsub() {
            mailbox.subscribed.extend(names.path(&listed.name));
        }
        for listed in client.list() {
            let is_folder = !listed.attributes.iter().any(|one| one == "\\noselect" || one == "\\nonexistent");
            let Some(path) = names.path(&listed.name).filter(|_| is_folder) else { continue };
            let mut items = Vec::new();
            client.fetch_each(&listed.name, |message| items.push(Item::of(&message)));
            let counted = client.status(&listed.name, "MESSAGES")[0];
            assert_eq!(counted, items.len() as u64, "{}: STATUS and FETCH disagree", listed.name);
            mailbox.folders.insert(path, items);
        }
        mailbox
    }

    /// Gives how many messages there are in all folders.
    pub(crate) fn count(&self) -> usize {
        self.folders.values().map(Vec::len).sum()
    }
}

/// How a server writes names.
struct Names {
    prefix: String,
    separator: Option<char>,
    /// Prefixes of other people's folders and shared ones.
    foreign: Vec<String>,
}

impl Names {
    fn read(client: &mut Client) -> Self {
        let reply = client.ok("NAMESPACE");
        let spaces = reply.all("NAMESPACE").next().expect("NAMESPACE is answered");
        let prefixes = |at: usize| spaces.values.get(at).map(Value::list).unwrap_or_default().iter().map(Value::list);
        let personal = prefixes(1).next().expect("a personal namespace");
        let foreign = prefixes(2).chain(prefixes(3)).map(|space| space[0].text()).filter(|prefix| !prefix.is_empty());
        let separator = if personal[1].is_nil() { None } else { personal[1].text().chars().next() };
        Self { prefix: personal[0].text(), separator, foreign: foreign.collect() }
    }

    /// Gives the path of a name; None for what belongs to others.
    fn path(&self, name: &str) -> Option<String> {
        if self.foreign.iter().any(|prefix| name.starts_with(prefix.as_str())) {
            return None;
        }
        if name.eq_ignore_ascii_case("INBOX") {
            return Some("INBOX".into());
        }
        let path = name.strip_prefix(self.prefix.as_str()).unwrap_or(name);
        Some(self.separator.map_or_else(|| path.to_owned(), |separator| path.replace(separator, "/")))
    }
}

impl Item {
    fn of(message: &Message) -> Self {
        let instant = instant(&message.internal_date)
            .unwrap_or_else(|| panic!("INTERNALDATE of UID {}: {:?}", message.uid, message.internal_date));
        let digest: [u8; 32] = Sha256::digest(&message.body).into();
        let label = format!(
            "UID {}, {} bytes, {}, sha256 {}",
            message.uid,
            message.body.len(),
            subject(&message.body),
            hex(&digest)
        );
        let flags = message.flags.iter().map(|flag| flag.to_ascii_lowercase()).collect();
        Self { digest, instant, flags, label }
    }

    fn facts(&self) -> (i64, &BTreeSet<String>) {
        (self.instant, &self.flags)
    }
}

/// Compares the messages of two folders as multisets.
fn in_folder(path: &str, source: &[Item], target: &[Item]) -> Vec<Difference> {
    let mut by_digest: BTreeMap<[u8; 32], (Vec<&Item>, Vec<&Item>)> = BTreeMap::new();
    for item in source {
        by_digest.entry(item.digest).or_default().0.push(item);
    }
    for item in target {
        by_digest.entry(item.digest).or_default().1.push(item);
    }
    let mut differences = Vec::new();
    let mut add = |kind, detail| differences.push(Difference { kind, folder: path.to_owned(), detail });
    for (mut source, mut target) in by_digest.into_values() {
        remove_equal(&mut source, &mut target);
        let both = source.len().min(target.len());
        for (source, target) in source.iter().zip(&target) {
            if source.instant != target.instant {
                let by = target.instant - source.instant;
                add(Kind::Date, format!("{}: later by {by} s on the target", source.label));
            }
            if source.flags != target.flags {
                add(Kind::Flags, format!("{}: {:?} became {:?}", source.label, source.flags, target.flags));
            }
        }
        source[both..].iter().for_each(|item| add(Kind::Missing, item.label.clone()));
        target[both..].iter().for_each(|item| add(Kind::Surplus, item.label.clone()));
    }
    differences
}

/// Removes pairs that agree in everything, so that what is left are the fewest differences.
fn remove_equal(source: &mut Vec<&Item>, target: &mut Vec<&Item>) {
    source.retain(|item| {
        let found = target.iter().position(|other| other.facts() == item.facts());
        found.map(|at| target.swap_remove(at)).is_none()
    });
}

/// Gives the subject line, or what there is of it, fit to be printed.
fn subject(body: &[u8]) -> String {
    let header = body.split(|&byte| byte == b'\n').take_while(|line| !line.is_empty() && *line != b"\r");
    let is_subject = |line: &&[u8]| line.len() >= 8 && line[..8].eq_ignore_ascii_case(b"Subject:");
    let subject = header.into_iter().find(is_subject).map(|line| line[8..].trim_ascii());
    format!("\"{}\"", subject.unwrap_or_default().iter().take(80).copied().collect::<Vec<u8>>().escape_ascii())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Reads a date such as ` 1-Feb-2021 03:04:05 +0100` as seconds since 1970.
pub(crate) fn instant(date: &str) -> Option<i64> {
    let mut parts = date.split_ascii_whitespace();
    let (day, time, zone) = (parts.next()?, parts.next()?, parts.next()?);
    let day: Vec<&str> = day.split('-').collect();
    let [day, month, year] = day.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))?;
    let time: Vec<i64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hours, minutes, seconds] = time.as_slice() else { return None };
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone: i64 = zone.get(1..5)?.parse().ok()?;
    let zone = sign * (zone / 100 * 60 + zone % 100);
    let days = days_since_1970(year.parse().ok()?, month, day.parse().ok()?);
    Some(((days * 24 + hours) * 60 + minutes - zone) * 60 + seconds)
}

/// `month` counts from 0.
fn days_since_1970(year: i64, month: usize, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    // Years that are over when this month's leap day has come.
    let over = if month < 2 { year - 1 } else { year };
    let leap_days = |years: i64| years / 4 - years / 100 + years / 400;
    (year - 1970) * 365 + leap_days(over) - leap_days(1969) + BEFORE[month] + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(body: &str, date: &str, flags: &str) -> Item {
        Item::of(&Message {
            uid: 1,
            flags: flags.split_whitespace().map(str::to_owned).collect(),
            internal_date: date.to_owned(),
            size: 0,
            body: body.as_bytes().to_vec(),
        })
    }

    const DAY: &str = "01-Feb-2021 03:04:05 +0100";

    fn kinds(source: &[Item], target: &[Item]) -> Vec<Kind> {
        in_folder("INBOX", source, target).into_iter().map(|difference| difference.kind).collect()
    }

    #[test]
    fn a_date_is_an_instant() {
        let table = [
            ("01-Jan-1970 00:00:00 +0000", 0),
            (" 1-Feb-2021 03:04:05 +0100", 1_612_145_045),
            ("29-Feb-2000 23:59:59 -0830", 951_899_399),
            ("31-Dec-1969 23:59:59 +0000", -1),
            ("01-Mar-1900 00:00:00 +0000", -2_203_891_200),
            ("31-Dec-9999 00:00:00 +0000", 253_402_214_400),
        ];
        for (date, expected) in table {
            assert_eq!(instant(date), Some(expected), "{date}");
        }
        assert_eq!(instant("01-Foo-2000 00:00:00 +0000"), None);
    }

    #[test]
    fn order_case_of_flags_and_zone_do_not_matter() {
        let source = [item("a", DAY, "\\Seen $Label"), item("b", DAY, "")];
        let target = [item("b", "31-Jan-2021 18:04:05 -0800", ""), item("a", DAY, "$label \\seen")];
        assert_eq!(kinds(&source, &target), []);
    }

    #[test]
    fn each_difference_is_found() {
        let (plain, seen, later) =
            (item("a", DAY, ""), item("a", DAY, "\\Seen"), item("a", "01-Feb-2021 03:04:06 +0100", ""));
        let table: [(&[&Item], &[&Item], &[Kind]); 7] = [
            (&[&plain], &[], &[Kind::Missing]),
            (&[], &[&plain], &[Kind::Surplus]),
            (&[&plain], &[&plain, &plain], &[Kind::Surplus]),
            (&[&plain, &plain], &[&plain], &[Kind::Missing]),
            (&[&plain, &seen], &[&seen, &seen], &[Kind::Flags]),
            (&[&plain, &seen], &[&seen, &later], &[Kind::Date]),
            (&[&plain], &[&item("b", DAY, "")], &[Kind::Missing, Kind::Surplus]),
        ];
        for (source, target, expected) in table {
            let owned = |items: &[&Item]| items.iter().map(|&item| item.clone()).collect::<Vec<_>>();
            let mut found = kinds(&owned(source), &owned(target));
            found.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn folders_and_subscriptions_are_compared_as_renamed_and_allowed() {
        let mailbox = |folders: &[&str], subscribed: &[&str]| Mailbox {
            folders: folders
                .iter()
                .map(|&path| (path.to_owned(), vec![item("Subject: one\r\n\r\n", DAY, "")]))
                .collect(),
            subscribed: subscribed.iter().map(|&path| path.to_owned()).collect(),
        };
        let source = mailbox(&["INBOX", "Sent Items", "Trash"], &["INBOX", "Sent Items"]);
        let target = mailbox(&["INBOX", "Sent"], &["INBOX"]);
        let comparison = Comparison::default().rename(|path| match path {
            "Sent Items" => Some("Sent".into()),
            "Trash" => None,
            other => Some(other.into()),
        });
        let found = comparison.between(&source, &target);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "Subscription in Sent: subscribed on the source only");
        assert_eq!(comparison.allow("Sent", "subscribed").between(&source, &target), []);
        let found = Comparison::default().between(&source, &target);
        let kinds: Vec<Kind> = found.iter().map(|difference| difference.kind).collect();
        assert_eq!(kinds, [Kind::FolderSurplus, Kind::FolderMissing, Kind::FolderMissing, Kind::Subscription]);
    }

    #[test]
    fn names_are_compared_as_paths() {
        let names = Names { prefix: "INBOX.".into(), separator: Some('.'), foreign: vec!["user.".into()] };
        let table = [("inbox", Some("INBOX")), ("INBOX.a.b", Some("a/b")), ("user.x", None), ("Odd", Some("Odd"))];
        for (name, expected) in table {
            assert_eq!(names.path(name).as_deref(), expected, "{name}");
        }
    }
}
