//! The folder map: which source folder goes where.
//!
//! Invariants: two source folders never share a target folder unless a rule says so; the same listings and rules give the
//! same map; a name that the target cannot hold as it is gets another, and the map says so.

use super::FolderRules;
use super::glob::matches;
use crate::mail::{Folder, FolderPath, Role, WireName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the target's names are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetShape {
    /// Between parts; None: no folder within a folder.
    pub separator: Option<u8>,
    /// Personal folders lie below the inbox's name, as with Courier: there `INBOX/x` and `x` are one.
    pub below_inbox: bool,
}

/// Why a folder's path on the target is not the one it has at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// It is the same.
    Same,
    /// An earlier run put it there: where its mail is, the rest of it goes.
    Before,
    /// A rename rule.
    Rule,
    /// It, or a folder above it, has a role that another folder has on the target.
    Role,
    /// A part holds the target's separator, or lies where the target has no room for it.
    Separator,
    /// Another source folder goes there.
    Collision,
}

/// A source folder and its place on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderPair {
    /// As listed.
    pub source: Folder,
    /// Where its mail goes.
    pub target: FolderPath,
    /// The target's folder, where it is there already.
    pub existing: Option<Folder>,
    /// To be given to the folder when it is created.
    pub role: Option<Role>,
    /// Why it goes there.
    pub because: Because,
}

/// Why a source folder is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// It cannot be opened and holds no mail: a mere parent.
    NoMail,
    /// A rule of the job.
    Rule,
    /// It belongs to others, and the job does not ask for those.
    Shared,
}

/// Where everything goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderMap {
    /// The inbox first, then by path.
    pub pairs: Vec<FolderPair>,
    /// What is left out.
    pub left: Vec<(FolderPath, Left)>,
    /// For a person to read before the run.
    pub warnings: Vec<String>,
}

/// Makes the folder map. `before`: where an earlier run put source folders; only a rule of the job moves them elsewhere, since
/// what a target calls its roles changes once we have made its folders.
#[must_use]
pub fn folders(
    source: &[Folder],
    target: &[Folder],
    shape: TargetShape,
    rules: &FolderRules,
    before: &BTreeMap<WireName, FolderPath>,
) -> FolderMap {
    let mut map = FolderMap::default();
    let mut taken: Vec<&Folder> = Vec::new();
    for folder in source {
        match left(folder, rules) {
            Some(why) => map.left.push((folder.path.clone(), why)),
            None => taken.push(folder),
        }
    }
    taken.sort_by_key(|folder| (!folder.path.is_inbox(), folder.path.clone()));
    let places = Places::new(&taken, target, shape, rules, before);
    // Who has the better right to a place comes first: a rule, a role, the same name; then those that must step aside.
    let mut wishes: Vec<(usize, FolderPath, Because)> = Vec::new();
    for (at, folder) in taken.iter().enumerate() {
        let (path, because) = places.wish(folder);
        wishes.push((at, path, because));
    }
    wishes.sort_by_key(|(at, _, because)| (rank(*because), *at));
    let mut used: BTreeMap<FolderPath, usize> = BTreeMap::new();
    let mut pairs: Vec<(usize, FolderPair)> = Vec::new();
    for (at, wish, because) in wishes {
        let merged_by_rule = because == Because::Rule;
        let (path, because) = match used.contains_key(&wish) && !merged_by_rule {
            true => (places.aside(&wish, &used), Because::Collision),
            false => (wish, because),
        };
        used.entry(path.clone()).or_insert(at);
        let existing = places.existing(&path).cloned();
        let role = taken[at].role.filter(|role| *role != Role::Inbox && !places.target_roles.contains_key(role));
        pairs.push((at, FolderPair { source: taken[at].clone(), target: path, existing, role, because }));
    }
    pairs.sort_by_key(|(at, _)| *at);
    map.pairs = pairs.into_iter().map(|(_, pair)| pair).collect();
    warn(&mut map);
    map
}

fn rank(because: Because) -> u8 {
    match because {
        Because::Rule => 0,
        Because::Before => 1,
        Because::Role => 2,
        Because::Same => 3,
        Because::Separator | Because::Collision => 4,
    }
}

fn left(folder: &Folder, rules: &FolderRules) -> Option<Left> {
    let path = folder.path.to_string();
    if !folder.selectable {
        return Some(Left::NoMail);
    }
    if folder.shared && !rules.shared {
        return Some(Left::Shared);
    }
    let included = rules.include.is_empty() || rules.include.iter().any(|pattern| matches(pattern, &path));
    let excluded = rules.exclude.iter().any(|pattern| matches(pattern, &path));
    (!included || excluded).then_some(Left::Rule)
}

struct Places<'a> {
    target: &'a [Folder],
    target_roles: BTreeMap<Role, &'a FolderPath>,
    /// Source paths with a role that the target has too, and where they go; with all that lies below.
    roles: Vec<(&'a FolderPath, &'a FolderPath)>,
    rules: &'a FolderRules,
    before: &'a BTreeMap<WireName, FolderPath>,
    shape: TargetShape,
    /// Every path the source has, as the target would have it: nobody who steps aside may take one of them.
    wanted: BTreeSet<FolderPath>,
}

impl<'a> Places<'a> {
    fn new(
        taken: &[&'a Folder],
        target: &'a [Folder],
        shape: TargetShape,
        rules: &'a FolderRules,
        before: &'a BTreeMap<WireName, FolderPath>,
    ) -> Self {
        let usable = |folder: &&'a Folder| folder.selectable && !folder.shared;
        let role = |folder: &'a Folder| Some((folder.role?, &folder.path));
        let target_roles: BTreeMap<Role, &FolderPath> = target.iter().filter(usable).filter_map(role).collect();
        let mut roles: Vec<(&FolderPath, &FolderPath)> = Vec::new();
        for folder in taken {
            if let Some(place) = folder.role.and_then(|role| target_roles.get(&role))
                && folder.role != Some(Role::Inbox)
            {
                roles.push((&folder.path, place));
            }
        }
        roles.sort_by_key(|(path, _)| std::cmp::Reverse(path.parts().len()));
        let mut places = Self { target, target_roles, roles, rules, before, shape, wanted: BTreeSet::new() };
        places.wanted = taken.iter().map(|folder| places.wish(folder).0).collect();
        places
    }

    fn wish(&self, folder: &Folder) -> (FolderPath, Because) {
        let path = &folder.path;
        if let Some(place) = self.renamed(path) {
            return (self.held(&place).0, Because::Rule);
        }
        if let Some(place) = self.before.get(&folder.name) {
            return (place.clone(), if place == path { Because::Same } else { Because::Before });
        }
        if path.is_inbox() {
            return (path.clone(), Because::Same);
        }
        let under_role = self.roles.iter().find(|(role, place)| role.contains(path) && role != place);
        if let Some((role, place)) = under_role {
            return (self.held(&below(place, path, role.parts().len())).0, Because::Role);
        }
        match self.held(path) {
            (held, false) => (held, Because::Same),
            (held, true) => (held, Because::Separator),
        }
    }

    /// The longest rule wins; it moves all that lies below.
    fn renamed(&self, path: &FolderPath) -> Option<FolderPath> {
        let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let rules = self.rules.rename.iter().map(|(from, to)| (parts(from), parts(to)));
        let (from, to) = rules.filter(|(from, _)| path.parts().starts_with(from)).max_by_key(|(from, _)| from.len())?;
        Some(below(&FolderPath::new(to), path, from.len()))
    }

    /// Gives the path as the target can hold it, and whether it is another. A character that cannot stand becomes its
    /// full-width form (`.` becomes `．`): it reads the same and leads back.
    fn held(&self, path: &FolderPath) -> (FolderPath, bool) {
        let mut parts = path.parts().to_vec();
        if self.shape.below_inbox && parts.len() > 1 && parts[0] == "INBOX" {
            parts.remove(0);
        }
        match self.shape.separator.map(char::from) {
            Some(separator) => {
                let wide = wide(separator).to_string();
                parts.iter_mut().for_each(|part| *part = part.replace(separator, &wide));
            }
            None => parts = vec![parts.join(&wide('/').to_string())],
        }
        let held = FolderPath::new(parts);
        let other = held != *path;
        (held, other)
    }

    fn existing(&self, path: &FolderPath) -> Option<&Folder> {
        self.target.iter().find(|folder| folder.path == *path)
    }

    /// Finds a free name beside one that is taken: `Name (2)`.
    fn aside(&self, path: &FolderPath, used: &BTreeMap<FolderPath, usize>) -> FolderPath {
        let mut number = 2;
        loop {
            let mut parts = path.parts().to_vec();
            if let Some(last) = parts.last_mut() {
                last.push_str(&format!(" ({number})"));
            }
            let free = FolderPath::new(parts);
            if !used.contains_key(&free) && !self.wanted.contains(&free) {
                return free;
            }
            number += 1;
        }
    }
}

fn below(place: &FolderPath, path: &FolderPath, depth: usize) -> FolderPath {
    FolderPath::new([place.parts(), &path.parts()[depth..]].concat())
}

/// Gives the full-width form of a printable ASCII character (U+FF01 to U+FF5E).
fn wide(c: char) -> char {
    if c.is_ascii_graphic() { char::from_u32(c as u32 + 0xfee0).unwrap_or('_') } else { '_' }
}

fn warn(map: &mut FolderMap) {
    let mut by_case: BTreeMap<String, &FolderPair> = BTreeMap::new();
    for pair in &map.pairs {
        let (from, to) = (&pair.source.path, &pair.target);
        match pair.because {
            Because::Collision => {
                map.warnings.push(format!("\"{from}\" goes to \"{to}\": another folder has its place"))
            }
            Because::Separator => {
                map.warnings.push(format!("\"{from}\" goes to \"{to}\": the target cannot hold its name as it is"));
            }
            _ => {}
        }
        if let Some(other) = by_case.insert(to.to_string().to_lowercase(), pair)
            && other.target != *to
        {
            map.warnings.push(format!(
                "\"{}\" and \"{to}\" differ in case only: a target that does not tell them apart would merge them",
                other.target
            ));
        }
        if matches!(pair.source.role, Some(Role::All | Role::Flagged | Role::Important)) {
            map.warnings.push(format!(
                "\"{from}\" may show again what other folders hold: exclude it under [folders] if that is so"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(path: &str, role: Option<Role>) -> Folder {
        let path = FolderPath::new(path.split('|').map(str::to_owned).collect());
        let role = if path.is_inbox() { Some(Role::Inbox) } else { role };
        let name = WireName::new(path.to_string());
        Folder {
            name,
            path,
            separator: Some(b'/'),
            role,
            selectable: true,
            subscribed: true,
            shared: false,
            state: None,
        }
    }

    const SLASH: TargetShape = TargetShape { separator: Some(b'/'), below_inbox: false };
    const COURIER: TargetShape = TargetShape { separator: Some(b'.'), below_inbox: true };

    fn check(
        source: &[(&str, Option<Role>)],
        target: &[(&str, Option<Role>)],
        shape: TargetShape,
        rules: &FolderRules,
    ) -> Vec<String> {
        let list =
            |all: &[(&str, Option<Role>)]| all.iter().map(|(path, role)| folder(path, *role)).collect::<Vec<_>>();
        let map = folders(&list(source), &list(target), shape, rules, &BTreeMap::new());
        map.pairs
            .iter()
            .map(|pair| {
                format!("{} > {} {:?}", pair.source.path.parts().join("|"), pair.target.parts().join("|"), pair.because)
            })
            .collect()
    }

    #[test]
    fn the_same_path_where_nothing_stands_against_it() {
        let rules = FolderRules::default();
        assert_eq!(
            check(&[("A|B", None), ("INBOX", None)], &[], SLASH, &rules),
            ["INBOX > INBOX Same", "A|B > A|B Same"]
        );
    }

    #[test]
    fn roles_lead_to_the_targets_own_folder_with_all_below() {
        let source = [("Gesendet", Some(Role::Sent)), ("Gesendet|2019", None), ("Sent Items", None)];
        let target = [("Sent Items", Some(Role::Sent))];
        assert_eq!(
            check(&source, &target, SLASH, &FolderRules::default()),
            [
                "Gesendet > Sent Items Role",
                "Gesendet|2019 > Sent Items|2019 Role",
                "Sent Items > Sent Items (2) Collision"
            ]
        );
    }

    #[test]
    fn what_an_earlier_run_put_somewhere_stays_there_though_roles_have_changed() {
        let source = [folder("Gesendet", Some(Role::Sent)), folder("Sent", None)];
        let first = folders(&source, &[], SLASH, &FolderRules::default(), &BTreeMap::new());
        let before = first.pairs.iter().map(|pair| (pair.source.name.clone(), pair.target.clone())).collect();
        let target = [folder("Gesendet", None), folder("Sent", Some(Role::Sent))];
        let second = folders(&source, &target, SLASH, &FolderRules::default(), &before);
        let places = |map: &FolderMap| map.pairs.iter().map(|pair| pair.target.to_string()).collect::<Vec<_>>();
        assert_eq!(places(&first), places(&second));
    }

    #[test]
    fn a_separator_within_a_name_becomes_wide_and_merges_nothing() {
        let source = [("A.B", None), ("A．B", None), ("A|B", None)];
        assert_eq!(
            check(&source, &[], COURIER, &FolderRules::default()),
            ["A|B > A|B Same", "A.B > A．B (2) Collision", "A．B > A．B Same"]
        );
    }

    #[test]
    fn children_of_the_inbox_step_aside_where_both_would_be_one() {
        let source = [("INBOX", None), ("INBOX|x", None), ("x", None)];
        assert_eq!(
            check(&source, &[], COURIER, &FolderRules::default()),
            ["INBOX > INBOX Same", "INBOX|x > x (2) Collision", "x > x Same"]
        );
    }

    #[test]
    fn rules_rename_subtrees_and_may_merge() {
        let rename = vec![("Old".to_owned(), "Archive/Old".to_owned()), ("B".to_owned(), "A".to_owned())];
        let rules = FolderRules { rename, ..FolderRules::default() };
        assert_eq!(
            check(&[("Old|x", None), ("A", None), ("B", None)], &[], SLASH, &rules),
            ["A > A (2) Collision", "B > A Rule", "Old|x > Archive|Old|x Rule"]
        );
    }

    #[test]
    fn includes_excludes_and_shared_folders_are_said() {
        let rules = FolderRules { exclude: vec!["Calendar".into()], ..FolderRules::default() };
        let mut shared = folder("user|bob", None);
        shared.shared = true;
        let mut parent = folder("Parent", None);
        parent.selectable = false;
        let source = [folder("Calendar|x", None), shared, parent, folder("Parent|x", None)];
        let map = folders(&source, &[], SLASH, &rules, &BTreeMap::new());
        let left: Vec<_> = map.left.iter().map(|(path, why)| (path.to_string(), *why)).collect();
        assert_eq!(
            left,
            [("Calendar/x".into(), Left::Rule), ("user/bob".into(), Left::Shared), ("Parent".into(), Left::NoMail)]
        );
        assert_eq!(map.pairs.len(), 1);
    }

    proptest! {
        #[test]
        fn no_two_source_folders_share_a_target(
            source in prop::collection::btree_set("[aA./ (2)．]{1,4}(\\|[aA./]{1,3}){0,2}", 0..12),
            roles in prop::collection::vec(prop::option::of(0..3usize), 12),
            below_inbox: bool,
            separator in prop::option::of(prop::sample::select(vec![b'.', b'/'])),
        ) {
            const ROLES: [Role; 3] = [Role::Sent, Role::Trash, Role::Drafts];
            let mut seen = BTreeSet::new();
            let source: Vec<_> = source.iter().zip(roles).map(|(path, role)| {
                let role = role.map(|at| ROLES[at]).filter(|role| seen.insert(*role));
                folder(path, role)
            }).collect();
            let target = [folder("a", Some(Role::Sent)), folder("A", Some(Role::Trash))];
            let shape = TargetShape { separator, below_inbox };
            let map = folders(&source, &target, shape, &FolderRules::default(), &BTreeMap::new());
            prop_assert_eq!(map.pairs.len(), source.len());
            let places: BTreeSet<_> = map.pairs.iter().map(|pair| pair.target.clone()).collect();
            prop_assert_eq!(places.len(), source.len());
            if let Some(separator) = separator {
                for pair in &map.pairs {
                    prop_assert!(pair.target.parts().iter().all(|part| !part.contains(char::from(separator))));
                }
            }
        }
    }
}
