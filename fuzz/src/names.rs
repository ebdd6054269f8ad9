//! Folder names of two servers, in whatever bytes: read, mapped to the other side, written there, and shown.
//!
//! The first four bytes are both separators and the shape of the target; then names, cut at line ends, those of the target
//! after an empty line.

use mailhaul::failure::harmless;
use mailhaul::imap::Namespace;
use mailhaul::mail::{Folder, FolderPath, Role, WireName};
use mailhaul::plan::{self, Because, FolderRules, TargetShape};
use mailhaul::provider::Family;
use std::collections::{BTreeMap, BTreeSet};

/// Tries one input.
pub(super) fn run(input: &[u8]) {
    let Some((&[from, to, shape, roles], names)) = input.split_first_chunk() else { return };
    let separator = |byte: u8| [None, Some(b'/'), Some(b'.'), Some(b'\\'), Some(b'|')][usize::from(byte) % 5];
    let below_inbox = shape & 1 == 1;
    let source_side = Namespace { prefix: vec![], separator: separator(from), foreign: vec![] };
    let prefix = if below_inbox { b"INBOX.".to_vec() } else { vec![] };
    let to = if below_inbox { Some(b'.') } else { separator(to) };
    let target_side = Namespace { prefix, separator: to, foreign: vec![] };
    let mut sides = names.splitn(2, |byte| *byte == 0xff);
    let mut read = |side: &Namespace| -> Vec<Folder> {
        let lines = sides.next().unwrap_or_default().split(|byte| *byte == b'\n');
        let mut known = BTreeSet::new();
        lines
            .filter(|name| known.insert(name.to_vec()))
            .take(40)
            .enumerate()
            .map(|(at, name)| folder(side, name, at, roles))
            .collect()
    };
    let (source, target) = (read(&source_side), read(&target_side));
    for folder in &source {
        check_name(&source_side, &folder.name);
    }
    let rules = FolderRules { shared: shape & 2 == 2, exclude: vec![pattern(&target)], ..FolderRules::default() };
    let shape = TargetShape { separator: to, below_inbox, names: Family::Unknown.name_rules() };
    let map = plan::folders(&source, &target, shape, &rules, &BTreeMap::new());
    assert_eq!(map.pairs.len() + map.left.len(), source.len(), "every folder is mapped or left");
    let mut used = BTreeSet::new();
    for pair in &map.pairs {
        assert!(used.insert(&pair.target), "two folders go to {:?}", pair.target);
        if pair.because != Because::Role && pair.because != Because::Collision {
            check_path(&target_side, &pair.target);
        }
    }
}

/// A pattern that a person could have meant, from a name of the target.
fn pattern(target: &[Folder]) -> String {
    target.last().map(|folder| folder.path.to_string()).filter(|text| text.contains('*')).unwrap_or_default()
}

fn folder(side: &Namespace, name: &[u8], at: usize, roles: u8) -> Folder {
    let name = WireName::new(name);
    let path = side.path(&name);
    let role = match (path.is_inbox(), usize::from(roles) % 8 == at) {
        (true, _) => Some(Role::Inbox),
        (false, true) => Some(Role::Sent),
        (false, false) => None,
    };
    let (selectable, subscribed, shared, state) = (true, false, false, None);
    Folder { name, path, separator: side.separator, role, selectable, subscribed, shared, state }
}

/// What is shown of a name steers no terminal; what a strict encoder wrote is written so again.
fn check_name(side: &Namespace, name: &WireName) {
    let shown = name.to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(!harmless(name.as_bytes()).contains(char::is_control));
    let path = side.path(name);
    let again = side.wire_name(&path);
    assert_eq!(side.path(&again), path, "{name:?} {again:?}");
}

/// A path made for the target is the path that the target will list.
fn check_path(side: &Namespace, path: &FolderPath) {
    let name = side.wire_name(path);
    assert!(name.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')), "{name:?}");
    assert_eq!(side.path(&name), *path, "{name:?}");
}
