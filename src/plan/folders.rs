//! The folder map: which source folder goes where.
//!
//! Invariants: two source folders never share a target folder unless a rule says so, also on a target that folds names; the
//! same listings and rules give the same map; a name that the target cannot hold as it is gets another, and the map says so.

use super::FolderRules;
use super::glob::matches;
use super::names::{Care, doubtful_key, fit, folded, key, original};
use crate::mail::{Folder, FolderPath, Role, WireName};
use crate::provider::NameRules;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the target's names are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetShape {
    /// Between parts; None: no folder within a folder.
    pub separator: Option<u8>,
    /// Personal folders lie below the inbox's name, as with Courier: there `INBOX/x` and `x` are one.
    pub below_inbox: bool,
    /// What its names cannot be, and which of them it takes for one.
    pub names: NameRules,
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
    /// The target lays its folders out otherwise: all below the inbox, or none within another.
    Layout,
    /// The target has it in other letters, and takes both for one.
    Folded,
    /// It holds what the target does not: escaped, so that [`original`] leads back.
    Escaped,
    /// The target has no room for the whole name; the end of the short one is a digest of it.
    Shortened,
    /// The target refused its own name.
    Refused,
    /// Another source folder goes there, or to what the target takes or may take for the same.
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
    /// To be tried, one after the other, where the target refuses a name or takes it for another folder's; none is another
    /// folder's. All but `Name (2)` lead back by [`original`]. Empty where the folder is there.
    pub otherwise: Vec<FolderPath>,
    /// Servers are known to refuse such names: the first of `otherwise` may become its place.
    pub doubted: bool,
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
    let mut wishes: Vec<(usize, Wish)> = taken.iter().map(|folder| places.wish(folder)).enumerate().collect();
    wishes.sort_by_key(|(at, wish)| (wish.rank(), *at));
    let mut used = Used::default();
    let mut pairs: Vec<(usize, Wish, FolderPair)> = Vec::new();
    for (at, mut wish) in wishes {
        // A rule may merge.
        if wish.because != Because::Rule && used.keys.contains(&key(&wish.path, shape)) {
            wish = places.aside(&wish, &used);
        }
        used.insert(&wish.path, shape);
        let existing = places.existing(&wish.path);
        let role = taken[at].role.filter(|role| *role != Role::Inbox && !places.target_roles.contains_key(role));
        let target = existing.map_or_else(|| wish.path.clone(), |folder| folder.path.clone());
        let because = if target == wish.path { wish.because } else { Because::Folded };
        let otherwise = if existing.is_some() || wish.path.is_inbox() { Vec::new() } else { wish.otherwise(shape) };
        let doubted = otherwise.first().is_some_and(|first| *first == wish.fitted(shape, Care::Doubtful));
        let source = taken[at].clone();
        let pair = FolderPair { source, target, existing: existing.cloned(), role, because, otherwise, doubted };
        pairs.push((at, wish, pair));
    }
    let siblings = Siblings::among(pairs.iter().map(|(.., pair)| &pair.target), shape);
    for (_, wish, pair) in pairs.iter_mut().filter(|(.., pair)| !pair.otherwise.is_empty()) {
        if siblings.any_of(&pair.target) && pair.because != Because::Rule {
            let aside = places.aside(wish, &used).path;
            let doubtful = siblings.doubtful_of(&pair.target, shape);
            pair.doubted |= doubtful;
            pair.otherwise.insert(if doubtful { 0 } else { pair.otherwise.len() }, aside);
        }
        pair.otherwise.retain(|path| used.take(path));
        pair.doubted &= !pair.otherwise.is_empty();
    }
    pairs.sort_by_key(|(at, ..)| *at);
    map.pairs = pairs.into_iter().map(|(.., pair)| pair).collect();
    warn(&mut map);
    map
}

/// How many go to what a target could take for one folder.
struct Siblings {
    folded: BTreeMap<FolderPath, u32>,
    doubtful: BTreeMap<FolderPath, u32>,
}

impl Siblings {
    fn among<'a>(paths: impl Iterator<Item = &'a FolderPath>, shape: TargetShape) -> Self {
        let mut siblings = Self { folded: BTreeMap::new(), doubtful: BTreeMap::new() };
        for path in paths {
            *siblings.folded.entry(folded(path, true, true)).or_default() += 1;
            *siblings.doubtful.entry(doubtful_key(path, shape)).or_default() += 1;
        }
        siblings
    }

    fn any_of(&self, path: &FolderPath) -> bool {
        self.folded.get(&folded(path, true, true)).is_some_and(|count| *count > 1)
    }

    fn doubtful_of(&self, path: &FolderPath, shape: TargetShape) -> bool {
        self.doubtful.get(&doubtful_key(path, shape)).is_some_and(|count| *count > 1)
    }
}

/// Where a folder would go if it were alone.
struct Wish {
    /// The target's own path, under which `tail` lies; both together are what was wished for before anything was escaped.
    place: Vec<String>,
    tail: Vec<String>,
    /// As the target can hold it.
    path: FolderPath,
    because: Because,
    /// An earlier run put it there.
    before: bool,
}

impl Wish {
    fn new(place: &[String], tail: &[String], shape: TargetShape, because: Because) -> Self {
        let fitted = fit(place, tail, shape, Care::Known);
        let as_wished = fitted.path.parts() == [place, tail].concat();
        let because = match because {
            Because::Same | Because::Layout if fitted.shortened => Because::Shortened,
            Because::Same if as_wished => Because::Same,
            // Joined only, where nothing lies within another.
            Because::Same | Because::Layout
                if original(&fitted.path, shape).is_some_and(|path| path.to_string() == fitted.path.to_string()) =>
            {
                Because::Layout
            }
            Because::Same | Because::Layout => Because::Escaped,
            other => other,
        };
        Self { place: place.to_vec(), tail: tail.to_vec(), path: fitted.path, because, before: false }
    }

    /// Stays as it is.
    fn settled(path: FolderPath, because: Because) -> Self {
        Self { place: path.parts().to_vec(), tail: Vec::new(), path, because, before: false }
    }

    fn fitted(&self, shape: TargetShape, care: Care) -> FolderPath {
        fit(&self.place, &self.tail, shape, care).path
    }

    /// What is tried where the target refuses the name.
    fn otherwise(&self, shape: TargetShape) -> Vec<FolderPath> {
        let mut all = Vec::new();
        for care in [Care::Doubtful, Care::Everything] {
            let path = self.fitted(shape, care);
            if path != self.path && !all.contains(&path) {
                all.push(path);
            }
        }
        all
    }

    fn rank(&self) -> u8 {
        match self.because {
            Because::Rule => 0,
            _ if self.before => 1,
            Because::Role => 2,
            Because::Same => 3,
            Because::Layout => 4,
            _ => 5,
        }
    }
}

/// The target's folders that source folders go to, or may go to.
#[derive(Default)]
struct Used {
    /// As the target is known to take them.
    keys: BTreeSet<FolderPath>,
    /// As any target takes them.
    folded: BTreeSet<FolderPath>,
}

impl Used {
    fn insert(&mut self, path: &FolderPath, shape: TargetShape) {
        self.keys.insert(key(path, shape));
        self.folded.insert(folded(path, true, true));
    }

    /// Takes a path; false where somebody has what any target could take for the same.
    fn take(&mut self, path: &FolderPath) -> bool {
        self.folded.insert(folded(path, true, true))
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
    /// Every path the source has, as any target would take it: nobody who steps aside may take one of them.
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
        places.wanted = taken.iter().map(|folder| folded(&places.wish(folder).path, true, true)).collect();
        places
    }

    fn wish(&self, folder: &Folder) -> Wish {
        let path = &folder.path;
        if let Some(place) = self.renamed(path) {
            return match place.is_inbox() || self.listed(&place).is_some() {
                true => Wish::settled(place, Because::Rule),
                false => self.own(&place, Because::Rule),
            };
        }
        let natural = self.natural(path);
        let Some(place) = self.before.get(&folder.name) else { return natural };
        if *place == natural.path {
            return Wish { before: true, ..natural };
        }
        let because = match natural.otherwise(self.shape).contains(place) {
            true if original(place, self.shape).is_none() => Because::Shortened,
            true => Because::Refused,
            false => {
                // What else to try is told by the name it has there.
                let because = if place == path { Because::Same } else { Because::Before };
                let named = original(place, self.shape).unwrap_or_else(|| place.clone());
                let tail = named.parts().to_vec();
                return Wish { place: Vec::new(), tail, path: place.clone(), because, before: true };
            }
        };
        Wish { path: place.clone(), because, before: true, ..natural }
    }

    /// Without rules and without an earlier run.
    fn natural(&self, path: &FolderPath) -> Wish {
        if path.is_inbox() {
            return Wish::settled(path.clone(), Because::Same);
        }
        let under_role = self.roles.iter().find(|(role, place)| role.contains(path) && role != place);
        match under_role {
            Some((role, place)) => {
                Wish::new(place.parts(), &path.parts()[role.parts().len()..], self.shape, Because::Role)
            }
            None => self.own(path, Because::Same),
        }
    }

    fn own(&self, path: &FolderPath, because: Because) -> Wish {
        match path.parts() {
            [inbox, tail @ ..] if self.shape.below_inbox && inbox == "INBOX" && !tail.is_empty() => {
                let because = if because == Because::Same { Because::Layout } else { because };
                Wish::new(&[], tail, self.shape, because)
            }
            parts => Wish::new(&[], parts, self.shape, because),
        }
    }

    /// The longest rule wins; it moves all that lies below.
    fn renamed(&self, path: &FolderPath) -> Option<FolderPath> {
        let parts = |text: &str| {
            let mut parts: Vec<String> = text.split('/').map(str::to_owned).collect();
            if parts[0].eq_ignore_ascii_case("INBOX") {
                parts[0] = "INBOX".to_owned();
            }
            parts
        };
        let rules = self.rules.rename.iter().map(|(from, to)| (parts(from), parts(to)));
        let (from, to) = rules.filter(|(from, _)| path.parts().starts_with(from)).max_by_key(|(from, _)| from.len())?;
        Some(below(&FolderPath::new(to), path, from.len()))
    }

    fn listed(&self, path: &FolderPath) -> Option<&'a Folder> {
        self.target.iter().find(|folder| folder.path == *path)
    }

    /// Gives the target's folder of this path, or the one that it is known to take for the same.
    fn existing(&self, path: &FolderPath) -> Option<&'a Folder> {
        let alike = || {
            let wanted = key(path, self.shape);
            self.target.iter().find(|folder| key(&folder.path, self.shape) == wanted)
        };
        self.listed(path).or_else(alike)
    }

    /// Finds a free name beside one that is taken: `Name (2)`.
    fn aside(&self, wish: &Wish, used: &Used) -> Wish {
        let mut number = 2;
        loop {
            let (mut place, mut tail) = (wish.place.clone(), wish.tail.clone());
            if tail.is_empty() {
                tail.extend(place.pop());
            }
            if let Some(last) = tail.last_mut() {
                last.push_str(&format!(" ({number})"));
            }
            let free = Wish { because: Because::Collision, ..Wish::new(&place, &tail, self.shape, Because::Collision) };
            let as_taken = folded(&free.path, true, true);
            if !used.folded.contains(&as_taken) && !self.wanted.contains(&as_taken) {
                return free;
            }
            number += 1;
        }
    }
}

fn below(place: &FolderPath, path: &FolderPath, depth: usize) -> FolderPath {
    FolderPath::new([place.parts(), &path.parts()[depth..]].concat())
}

fn warn(map: &mut FolderMap) {
    for pair in &map.pairs {
        let (from, to) = (&pair.source.path, &pair.target);
        let why = match pair.because {
            Because::Collision => "another folder has its place, or a name that the target takes for the same",
            Because::Escaped => "the target cannot hold its name as it is",
            Because::Shortened => "the target has no room for its name; the state keeps which is which",
            Because::Refused => "the target refused its name",
            _ => "",
        };
        if !why.is_empty() {
            map.warnings.push(format!("\"{from}\" goes to \"{to}\": {why}"));
        }
        if matches!(pair.source.role, Some(Role::All | Role::Flagged | Role::Important)) {
            map.warnings.push(format!(
                "\"{from}\" may show again what other folders hold: exclude it under [folders] if that is so"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
