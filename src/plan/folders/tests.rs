use super::*;
use crate::provider::{Family, Fold};
use proptest::prelude::*;

fn folder(path: &str, role: Option<Role>) -> Folder {
    let path = FolderPath::new(path.split('|').map(str::to_owned).collect());
    let role = if path.is_inbox() { Some(Role::Inbox) } else { role };
    let name = WireName::new(path.to_string());
    Folder { name, path, separator: Some(b'/'), role, selectable: true, subscribed: true, shared: false, state: None }
}

const SLASH: TargetShape = TargetShape { separator: Some(b'/'), below_inbox: false, names: NameRules::STANDARD };
const COURIER: TargetShape = TargetShape { separator: Some(b'.'), below_inbox: true, names: NameRules::STANDARD };

fn check(
    source: &[(&str, Option<Role>)],
    target: &[(&str, Option<Role>)],
    shape: TargetShape,
    rules: &FolderRules,
) -> Vec<String> {
    let list = |all: &[(&str, Option<Role>)]| all.iter().map(|(path, role)| folder(path, *role)).collect::<Vec<_>>();
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
    assert_eq!(check(&[("A|B", None), ("INBOX", None)], &[], SLASH, &rules), ["INBOX > INBOX Same", "A|B > A|B Same"]);
}

#[test]
fn roles_lead_to_the_targets_own_folder_with_all_below() {
    let source = [("Gesendet", Some(Role::Sent)), ("Gesendet|2019", None), ("Sent Items", None)];
    let target = [("Sent Items", Some(Role::Sent))];
    assert_eq!(
        check(&source, &target, SLASH, &FolderRules::default()),
        ["Gesendet > Sent Items Role", "Gesendet|2019 > Sent Items|2019 Role", "Sent Items > Sent Items (2) Collision"]
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
fn a_separator_within_a_name_is_escaped_and_merges_nothing() {
    let source = [("A.B", None), ("A=2EB", None), ("A|B", None), ("A_B", None)];
    assert_eq!(
        check(&source, &[], COURIER, &FolderRules::default()),
        ["A|B > A|B Same", "A.B > A=2EB Escaped", "A=2EB > A=3D2EB Escaped", "A_B > A_B Same"]
    );
}

#[test]
fn children_of_the_inbox_step_aside_where_both_would_be_one() {
    let source = [("INBOX", None), ("INBOX|INBOX", None), ("INBOX|x", None), ("INBOX|y", None), ("x", None)];
    assert_eq!(
        check(&source, &[], COURIER, &FolderRules::default()),
        [
            "INBOX > INBOX Same",
            "INBOX|INBOX > =49NBOX Escaped",
            "INBOX|x > x (2) Collision",
            "INBOX|y > y Layout",
            "x > x Same"
        ]
    );
}

#[test]
fn the_inbox_is_the_inbox_at_the_top_only() {
    let source = [("INBOX", None), ("inbox", None), ("a|Inbox", None), ("Inbox2", None)];
    assert_eq!(
        check(&source, &[], SLASH, &FolderRules::default()),
        ["INBOX > INBOX Same", "Inbox2 > Inbox2 Same", "a|Inbox > a|Inbox Same", "inbox > =69nbox Escaped"]
    );
}

#[test]
fn a_target_without_a_separator_gets_flat_names() {
    let flat = TargetShape { separator: None, below_inbox: false, names: NameRules::STANDARD };
    let source = [("A|B", None), ("A/B", None), ("INBOX|x", None)];
    assert_eq!(
        check(&source, &[], flat, &FolderRules::default()),
        ["A|B > A/B Layout", "A/B > A=2FB Escaped", "INBOX|x > INBOX/x Layout"]
    );
}

const fn folding(case: Fold, form: Fold) -> TargetShape {
    let names = NameRules { case, form, ..NameRules::STANDARD };
    TargetShape { separator: Some(b'/'), below_inbox: false, names }
}

#[test]
fn names_that_the_target_takes_for_one_are_kept_apart_and_where_it_may_it_is_said() {
    let source = [("CASE", None), ("Case", None), ("case", None), ("Mu\u{308}ller", None), ("M\u{fc}ller", None)];
    let rules = FolderRules::default();
    assert_eq!(
        check(&source, &[], folding(Fold::Always, Fold::Always), &rules),
        [
            "CASE > CASE Same",
            "Case > Case (2) Collision",
            "Mu\u{308}ller > Mu\u{308}ller Same",
            "M\u{fc}ller > M\u{fc}ller (2) Collision",
            "case > case (3) Collision"
        ]
    );
    for fold in [Fold::Never, Fold::Unknown] {
        let same = check(&source, &[], folding(fold, fold), &rules);
        assert!(same.iter().all(|pair| pair.ends_with("Same")), "{same:?}");
        let source: Vec<Folder> = source.iter().map(|(path, _)| folder(path, None)).collect();
        let map = folders(&source, &[], folding(fold, fold), &rules, &BTreeMap::new());
        let doubted: Vec<String> =
            map.pairs.iter().filter(|pair| pair.doubted).map(|pair| pair.otherwise[0].to_string()).collect();
        let others = ["CASE (2)", "Case (3)", "Mu\u{308}ller (2)", "M\u{fc}ller (3)", "case (4)"];
        assert_eq!(doubted, if fold == Fold::Unknown { &others[..] } else { &[] });
        // Whatever is known: if the target takes them for one after all, each has a place of its own.
        let places: BTreeSet<_> =
            map.pairs.iter().flat_map(|pair| &pair.otherwise).map(|path| folded(path, true, true)).collect();
        assert_eq!(places.len(), map.pairs.iter().map(|pair| pair.otherwise.len()).sum::<usize>());
        assert!(map.pairs.iter().all(|pair| !pair.otherwise.is_empty()));
    }
}

#[test]
fn a_folder_that_the_target_has_in_other_letters_is_used() {
    let source = [("trash", None)];
    let target = [("Trash", None)];
    let rules = FolderRules::default();
    assert_eq!(check(&source, &target, folding(Fold::Always, Fold::Never), &rules), ["trash > Trash Folded"]);
    assert_eq!(check(&source, &target, folding(Fold::Never, Fold::Never), &rules), ["trash > trash Same"]);
}

#[test]
fn an_earlier_run_does_not_put_two_into_what_the_target_is_known_to_take_for_one() {
    let source = [folder("x", None), folder("y", None)];
    let place = |path: &str| FolderPath::new(vec![path.to_owned()]);
    let before = BTreeMap::from([(source[0].name.clone(), place("aA")), (source[1].name.clone(), place("aa"))]);
    let map =
        folders(&source, &[folder("Aa", None)], folding(Fold::Always, Fold::Never), &FolderRules::default(), &before);
    assert_ne!(map.pairs[0].target, map.pairs[1].target, "{map:?}");
}

#[test]
fn a_name_that_servers_refuse_has_others_to_fall_back_on_that_lead_back() {
    let source = [folder("a;b", None), folder("cur", None), folder("R&D", None)];
    let map = folders(&source, &[], SLASH, &FolderRules::default(), &BTreeMap::new());
    let pairs: Vec<String> = map
        .pairs
        .iter()
        .map(|pair| {
            assert!(pair.otherwise.iter().all(|path| original(path, SLASH).as_ref() == Some(&pair.source.path)));
            let others: Vec<String> = pair.otherwise.iter().map(ToString::to_string).collect();
            format!("{} {} {:?}", pair.target, others.join(" "), pair.doubted)
        })
        .collect();
    assert_eq!(pairs, ["R&D =52=26D false", "a;b a=3Bb =61=3Bb true", "cur =63ur false"]);
    // What was taken once is kept, and the map says why.
    let before = BTreeMap::from([(source[0].name.clone(), FolderPath::new(vec!["a=3Bb".into()]))]);
    let again = folders(&source, &[folder("a=3Bb", None)], SLASH, &FolderRules::default(), &before);
    let pair = again.pairs.iter().find(|pair| pair.source.name == source[0].name).unwrap();
    assert_eq!((pair.target.to_string(), pair.because), ("a=3Bb".into(), Because::Refused));
    assert!(pair.otherwise.is_empty() && again.warnings[0].contains("refused"), "{again:?}");
}

#[test]
fn what_stepped_aside_before_has_a_fall_back_of_its_own() {
    let source = [folder("CASE", None), folder("Case", None)];
    let before = BTreeMap::from([(source[1].name.clone(), FolderPath::new(vec!["Case (2)".into()]))]);
    let map = folders(&source, &[], folding(Fold::Unknown, Fold::Never), &FolderRules::default(), &before);
    let others: Vec<String> = map.pairs[1].otherwise.iter().map(ToString::to_string).collect();
    assert_eq!(others, ["=43ase=20=282=29"]);
}

#[test]
fn what_lies_on_the_target_under_the_escaped_name_already_is_used() {
    let map =
        folders(&[folder("a.b", None)], &[folder("a=2Eb", None)], COURIER, &FolderRules::default(), &BTreeMap::new());
    assert_eq!(map.pairs[0].existing.as_ref().map(|folder| folder.path.to_string()), Some("a=2Eb".into()));
}

#[test]
fn folders_that_an_earlier_run_told_apart_stay_where_they_are() {
    let source = [folder("Case", None), folder("case", None)];
    let before = source.iter().map(|folder| (folder.name.clone(), folder.path.clone())).collect();
    let map = folders(&source, &source, folding(Fold::Unknown, Fold::Unknown), &FolderRules::default(), &before);
    assert!(map.pairs.iter().all(|pair| pair.because == Because::Same), "{map:?}");
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

fn any_shape() -> impl Strategy<Value = TargetShape> {
    let fold = || prop::sample::select(vec![Fold::Never, Fold::Always, Fold::Unknown]);
    let families = vec![Family::Unknown, Family::Gmail, Family::Exchange, Family::Dovecot];
    let separator = prop::option::of(prop::sample::select(vec![b'.', b'/']));
    (separator, any::<bool>(), prop::sample::select(families), fold(), fold()).prop_map(
        |(separator, below_inbox, family, case, form)| {
            let names = NameRules { case, form, ..family.name_rules() };
            TargetShape { separator, below_inbox, names }
        },
    )
}

proptest! {
    #[test]
    fn no_two_source_folders_share_a_target(
        source in prop::collection::btree_set("([aA./ (2)=E~_é\u{301}]{0,4}|(?i)inbox|x{250,260})(\\|[aA./]{1,3}){0,2}", 0..12),
        target in prop::collection::btree_set("[aA=2E]{1,4}", 0..4),
        roles in prop::collection::vec(prop::option::of(0..3usize), 12),
        earlier in prop::collection::vec(prop::option::of("[aA=2E]{1,4}"), 12),
        renamed in prop::option::of("[aA]{1,2}"),
        shape in any_shape(),
    ) {
        const ROLES: [Role; 3] = [Role::Sent, Role::Trash, Role::Drafts];
        let mut seen = BTreeSet::new();
        let source: Vec<_> = source.iter().zip(roles).map(|(path, role)| {
            let role = role.map(|at| ROLES[at]).filter(|role| seen.insert(*role));
            folder(path, role)
        }).collect();
        let mut target: Vec<_> = target.iter().map(|path| folder(path, None)).collect();
        target.extend([folder("a", Some(Role::Sent)), folder("A", Some(Role::Trash))]);
        let rename = renamed.map(|to| ("aa".to_owned(), to)).into_iter().collect();
        let rules = FolderRules { rename, ..FolderRules::default() };
        let before: BTreeMap<_, _> = source.iter().zip(earlier).filter_map(|(folder, earlier)| {
            Some((folder.name.clone(), FolderPath::new(vec![earlier?])))
        }).collect();
        let map = folders(&source, &target, shape, &rules, &before);
        prop_assert_eq!(map.pairs.len(), source.len());
        prop_assert_eq!(&map, &folders(&source, &target, shape, &rules, &before));
        let all: BTreeSet<_> = map.pairs.iter().map(|pair| folded(&pair.target, true, true)).collect();
        let (mut places, mut tried) = (BTreeSet::new(), BTreeSet::new());
        for pair in map.pairs.iter().filter(|pair| pair.because != Because::Rule) {
            prop_assert!(places.insert(key(&pair.target, shape)), "{}", pair.target);
            for other in &pair.otherwise {
                let other = folded(other, true, true);
                prop_assert!(!all.contains(&other) && tried.insert(other));
            }
            prop_assert!(pair.target.is_inbox() == pair.source.path.is_inbox() || before.contains_key(&pair.source.name));
        }
    }
}
