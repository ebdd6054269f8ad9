//! The fence around the failures: a migration goes wrong in so many known ways, each has a number, and each number a test.
//!
//! A test carries its numbers at the front of its name: `f68_…`, `f73_f74_…`, `f31_and_f33_…`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const NUMBERS: std::ops::RangeInclusive<u32> = 1..=84;

/// Numbers that have no test, and why they cannot apply.
const REASONS: &[(u32, &str)] = &[];

/// What marks a test that is not run.
const LEFT_OUT: &str = "ignore";

/// Whoever walks a file of Rust finds its tests, however deep they are.
fn tests_of(items: &[syn::Item], found: &mut Vec<String>) {
    for item in items {
        match item {
            syn::Item::Fn(function) => {
                // `#[test]`, `#[tokio::test(…)]`; one that is ignored is none.
                let has = |name: &str| {
                    let named = |attribute: &syn::Attribute| attribute.path().segments.last().unwrap().ident == name;
                    function.attrs.iter().any(named)
                };
                if has("test") && !has(LEFT_OUT) {
                    found.push(function.sig.ident.to_string());
                }
            }
            syn::Item::Mod(module) => {
                if let Some((_, items)) = &module.content {
                    tests_of(items, found);
                }
            }
            _ => {}
        }
    }
}

/// The numbers at the front of a name.
fn numbers(name: &str) -> Vec<u32> {
    let number = |word: &str| word.strip_prefix('f').filter(|digits| digits.len() == 2)?.parse().ok();
    let words = name.split('_').filter(|word| *word != "and");
    words.map_while(number).collect()
}

fn walk(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests_of(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap().items, found);
        }
    }
}

/// What is wrong with the tests of these names and these reasons.
fn gaps(tests: &[String], reasons: &[(u32, &str)]) -> Vec<String> {
    let mut tested: BTreeMap<u32, &str> = BTreeMap::new();
    for test in tests {
        tested.extend(numbers(test).into_iter().map(|number| (number, test.as_str())));
    }
    let reasoned: BTreeSet<u32> = reasons.iter().map(|(number, _)| *number).collect();
    let known = |number: &u32| tested.contains_key(number) || reasoned.contains(number);
    let none = NUMBERS.filter(|number| !known(number)).map(|number| format!("{number} has neither test nor reason"));
    let both = reasoned
        .iter()
        .filter_map(|number| Some((number, tested.get(number)?)))
        .map(|(number, test)| format!("{number} has a reason to have no test, and {test}"));
    let strange = tested.keys().chain(&reasoned).filter(|number| !NUMBERS.contains(number));
    let strange = strange.map(|number| format!("{number} is the number of nothing"));
    none.chain(both).chain(strange).collect()
}

#[test]
fn every_number_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = Vec::new();
    walk(&root.join("src"), &mut tests);
    walk(&root.join("tests"), &mut tests);
    let gaps = gaps(&tests, REASONS);
    assert!(gaps.is_empty(), "\n{}\n", gaps.join("\n"));
}

#[test]
fn a_gap_is_found() {
    // Tests in all the shapes that there are, of which one never runs.
    let text = include_str!("data/numbered.txt").replace("LEFT_OUT", LEFT_OUT);
    let mut tests = Vec::new();
    tests_of(&syn::parse_file(&text).unwrap().items, &mut tests);
    let reasons: Vec<(u32, &str)> = (8..=84).chain([1]).map(|number| (number, "it cannot apply")).collect();
    assert_eq!(
        gaps(&tests, &reasons),
        [
            "5 has neither test nor reason",
            "7 has neither test nor reason",
            "1 has a reason to have no test, and f01_f02_a",
            "99 is the number of nothing",
        ]
    );
}
