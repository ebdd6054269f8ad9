//! What a target makes of folder names, found out by looking: nothing is written for it.

use crate::failure::Failure;
use crate::imap::{ImapError, Namespace, Session, Target};
use crate::mail::{Folder, FolderPath, Side, UidValidity, WireName};
use crate::plan::{FolderPair, folded};
use crate::provider::{Fold, NameRules};
use std::collections::BTreeMap;
use unicode_normalization::UnicodeNormalization;

fn on_target(error: ImapError) -> Failure {
    error.failure(Side::Target)
}

/// In what two names may differ and yet be one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Difference {
    Case,
    Form,
}

impl Difference {
    fn folded(self, path: &FolderPath) -> FolderPath {
        folded(path, self == Self::Case, self == Self::Form)
    }

    /// Gives the path with its last part otherwise in this respect; None where it cannot be.
    fn other(self, path: &FolderPath) -> Option<FolderPath> {
        let (last, above) = path.parts().split_last()?;
        let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        let other: String = match self {
            Self::Case => last.chars().map(swap).collect(),
            Self::Form => {
                Some(last.nfd().collect::<String>()).filter(|nfd| nfd != last).unwrap_or_else(|| last.nfc().collect())
            }
        };
        (other != *last).then(|| FolderPath::new([above, &[other]].concat()))
    }
}

/// Gives what the target makes of names, and what to tell a person of it. It is asked only where it matters: where two
/// folders of both sides could be taken for one.
pub(super) async fn learn(
    session: &mut Session<Target>,
    namespace: &Namespace,
    source: &[Folder],
    target: &[Folder],
) -> Result<(NameRules, Vec<String>), Failure> {
    let mut rules = session.family().name_rules();
    let mut told = Vec::new();
    let all: Vec<&FolderPath> = source.iter().chain(target).map(|folder| &folder.path).collect();
    if !has_siblings(&all, |path| folded(path, true, true)) {
        return Ok((rules, told));
    }
    let mut questions =
        [Difference::Case, Difference::Form].map(|difference| Question::new(difference, namespace, target));
    ask(session, &mut questions).await?;
    for question in questions {
        let difference = question.difference;
        let known = if difference == Difference::Case { rules.case } else { rules.form };
        // What it does counts for more than what its family is known for.
        let found = match question.answer {
            Fold::Unknown => known,
            found => found,
        };
        if has_siblings(&all, |path| difference.folded(path)) {
            told.extend(sentence(difference, found).map(str::to_owned));
        }
        match difference {
            Difference::Case => rules.case = found,
            Difference::Form => rules.form = found,
        }
    }
    Ok((rules, told))
}

fn sentence(difference: Difference, found: Fold) -> Option<&'static str> {
    match (difference, found) {
        (_, Fold::Never) => None,
        (Difference::Case, Fold::Always) => Some("the target takes folder names that differ in case only for one"),
        (Difference::Form, Fold::Always) => {
            Some("the target takes folder names that differ in Unicode's normal form only for one")
        }
        (Difference::Case, Fold::Unknown) => {
            Some("the target may take folder names that differ in case only for one: then one gets another")
        }
        (Difference::Form, Fold::Unknown) => Some(
            "the target may take folder names that differ in Unicode's normal form only for one: then one gets another",
        ),
    }
}

fn has_siblings(paths: &[&FolderPath], folded: impl Fn(&FolderPath) -> FolderPath) -> bool {
    let mut seen: BTreeMap<FolderPath, &FolderPath> = BTreeMap::new();
    paths.iter().any(|path| *seen.entry(folded(path)).or_insert(path) != *path)
}

/// Whether the target takes names for one that differ so.
struct Question {
    difference: Difference,
    answer: Fold,
    /// Folders that are there, each with a name that is not: asked for by both.
    names: Vec<(WireName, WireName)>,
}

impl Question {
    fn new(difference: Difference, namespace: &Namespace, target: &[Folder]) -> Self {
        /// A folder may be closed to us; one that answers is enough.
        const ASKED_MAX: usize = 3;
        let paths: Vec<&FolderPath> = target.iter().map(|folder| &folder.path).collect();
        if has_siblings(&paths, |path| difference.folded(path)) {
            return Self { difference, answer: Fold::Never, names: Vec::new() };
        }
        let own = target.iter().filter(|folder| {
            folder.selectable && !folder.path.is_inbox() && namespace.wire_name(&folder.path) == folder.name
        });
        let other =
            |folder: &Folder| Some((folder.name.clone(), namespace.wire_name(&difference.other(&folder.path)?)));
        Self { difference, answer: Fold::Unknown, names: own.filter_map(other).take(ASKED_MAX).collect() }
    }
}

/// Asks for folders that are there by names that are not, all in one go.
async fn ask(session: &mut Session<Target>, questions: &mut [Question]) -> Result<(), Failure> {
    let names: Vec<&WireName> =
        questions.iter().flat_map(|question| &question.names).flat_map(|(own, other)| [own, other]).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut states = session.states(&names).await.map_err(on_target)?.into_iter();
    for question in questions {
        for _ in 0..question.names.len() {
            let (Some(Ok(known)), Some(found)) = (states.next(), states.next()) else { continue };
            if question.answer == Fold::Unknown {
                let same = found.is_ok_and(|found| known.uid_validity == found.uid_validity);
                question.answer = if same { Fold::Always } else { Fold::Never };
            }
        }
    }
    Ok(())
}

/// Says whether a folder that was opened by this name is the one that another source folder goes to: the target took both
/// names for one and did not say so. `others`: where all source folders go.
pub(super) async fn is_anothers(
    session: &mut Session<Target>,
    name: &WireName,
    path: &FolderPath,
    validity: Option<UidValidity>,
    others: &[(FolderPath, WireName)],
) -> Result<bool, Failure> {
    let key = loose(path);
    let mut shared = false;
    for (other, other_name) in others {
        if other_name != name && loose(other) == key {
            match session.status(other_name).await {
                Ok(state) => shared |= state.uid_validity == validity,
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(on_target(error)),
            }
        }
    }
    // Two folders may well have one UIDVALIDITY; then both are listed.
    Ok(shared && !session.folders().await.map_err(on_target)?.iter().any(|folder| folder.name == *name))
}

/// Letters and digits alone: more than any target is known to take for the same.
fn loose(path: &FolderPath) -> String {
    path.to_string().nfkd().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Gives where all source folders go, by path and by name on the target.
pub(super) fn places(pairs: &[FolderPair], namespace: &Namespace) -> Vec<(FolderPath, WireName)> {
    pairs.iter().map(|pair| (pair.target.clone(), target_name(pair, namespace))).collect()
}

/// Gives the name of a pair's target folder: as it is listed, or as it will be made.
pub(super) fn target_name(pair: &FolderPair, namespace: &Namespace) -> WireName {
    match &pair.existing {
        Some(folder) => folder.name.clone(),
        None => namespace.wire_name(&pair.target),
    }
}
