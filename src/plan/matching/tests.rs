use super::*;
use crate::mail::digest;
use proptest::prelude::*;

fn uid(value: u32) -> Uid {
    Uid::new(value).unwrap()
}

/// A message in a test: header and body; its size is that of both.
type Message = (&'static str, &'static str);

fn size(message: Message) -> u64 {
    (message.0.len() + message.1.len()) as u64
}

fn header(message: Message) -> Option<Digest> {
    (!message.0.is_empty()).then(|| digest(message.0.as_bytes()))
}

fn bytes(message: Message) -> Digest {
    digest(format!("{}\r\n\r\n{}", message.0, message.1).as_bytes())
}

/// Blanks are what is added on the way.
fn likeness(message: Message) -> Digest {
    digest(format!("{}\r\n\r\n{}", message.0, message.1.replace(' ', "")).as_bytes())
}

fn entry<'a>(at: u32, message: Message, flags: &'a Flags) -> Entry<'a> {
    Entry { uid: uid(at), size: Some(size(message)), date: None, flags }
}

/// Plays the caller; gives `source:target:evidence` and how many bodies had to be read.
fn run(needs: Vec<Need>, source: &[Message], target: &[Message]) -> (Vec<String>, usize) {
    let none = Flags::default();
    let offers = (1..).zip(target).map(|(at, message)| Offer::new(entry(at, *message, &none))).collect();
    let mut matching = Matching::new(needs, offers, false);
    let mut read = 0;
    for _ in 0..3 {
        let questions = matching.questions();
        read += questions.source_bytes.len() + questions.target_bytes.len();
        let at = |uid: &Uid| uid.value() as usize - 1;
        questions.source_headers.iter().for_each(|uid| matching.source_header(*uid, header(source[at(uid)])));
        questions.target_headers.iter().for_each(|uid| matching.target_header(*uid, header(target[at(uid)])));
        for uid in &questions.source_bytes {
            matching.source_bytes(*uid, bytes(source[at(uid)]), likeness(source[at(uid)]));
        }
        for uid in &questions.target_bytes {
            matching.target_bytes(*uid, bytes(target[at(uid)]), likeness(target[at(uid)]));
        }
        matching.asked(&questions);
    }
    assert!(matching.questions().is_empty());
    let found = matching.finish().found;
    (found.iter().map(|one| format!("{}:{}:{:?}", one.source_uid, one.target_uid, one.evidence)).collect(), read)
}

fn new(source: &[Message]) -> Vec<Need> {
    let none = Flags::default();
    (1..).zip(source).map(|(at, message)| Need::new(entry(at, *message, &none))).collect()
}

#[test]
fn one_message_on_each_side_needs_no_bytes() {
    let source = [("h1", "a"), ("h2", "b")];
    assert_eq!(run(new(&source), &source, &[("h2", "b"), ("h9", "x")]), (vec!["2:1:MetadataEqual".into()], 0));
}

#[test]
fn equal_headers_with_other_bodies_are_told_apart_by_bytes() {
    let source = [("h", "95%"), ("h", "96%")];
    let (found, _) = run(new(&source), &source, &[("h", "96%")]);
    assert_eq!(found, ["2:1:BytesEqual"]);
}

#[test]
fn ten_identical_copies_claim_as_many_as_there_are() {
    let source = [("h", "a"); 10];
    let (found, _) = run(new(&source), &source, &[("h", "a"); 7]);
    assert_eq!(found.len(), 7);
}

#[test]
fn messages_without_header_are_matched_by_bytes() {
    let source = [("", "aa"), ("", "bb")];
    let (found, _) = run(new(&source), &source, &[("", "bb")]);
    assert_eq!(found, ["2:1:BytesEqual"]);
}

#[test]
fn a_single_altered_copy_is_adopted_and_two_are_not_guessed_at() {
    let source = [("h", "abc")];
    assert_eq!(run(new(&source), &source, &[("h", "abX")]).0, ["1:1:MetadataEqual"]);
    assert_eq!(run(new(&source), &source, &[("h", "abcd")]).0, ["1:1:BytesAltered"]);
    let source = [("h", "abc"), ("h", "abd")];
    assert_eq!(run(new(&source), &source, &[("h", "x"), ("h", "y")]).0, Vec::<String>::new());
}

#[test]
fn what_a_tool_has_changed_on_the_way_is_told_apart_by_what_stays() {
    let source = [("h", "95%"), ("h", "96%"), ("", "x"), ("", "y")];
    let (found, _) = run(new(&source), &source, &[("h", "9 6%"), ("", "y "), ("h", "9 7%")]);
    assert_eq!(found, ["2:1:BytesAltered", "4:2:BytesAltered"]);
    // Equal bytes go before alike ones.
    let (found, _) = run(new(&source[..1]), &source, &[("h", "9 5%"), ("h", "95%")]);
    assert_eq!(found, ["1:2:BytesEqual"]);
}

#[test]
fn as_many_altered_copies_as_messages_are_adopted_by_header_and_instant() {
    let none = Flags::default();
    let dated = |at, seconds| Entry { uid: uid(at), size: None, date: InternalDate::new(seconds, 0), flags: &none };
    let check = |source: &[i64], target: &[i64]| {
        let needs = (1..).zip(source).map(|(at, seconds)| Need::new(dated(at, *seconds))).collect();
        let offers = (1..).zip(target).map(|(at, seconds)| Offer::new(dated(at, *seconds))).collect();
        let mut matching = Matching::new(needs, offers, false);
        let header = digest(b"h");
        (1..10).for_each(|at| matching.source_header(uid(at), Some(header)));
        (1..10).for_each(|at| matching.target_header(uid(at), Some(header)));
        let bytes = |side: &str, at: u32| digest(format!("{side}{at}").as_bytes());
        (1..10).for_each(|at| matching.source_bytes(uid(at), bytes("s", at), bytes("s", at)));
        (1..10).for_each(|at| matching.target_bytes(uid(at), bytes("t", at), bytes("t", at)));
        let found = matching.finish().found;
        found.iter().map(|one| format!("{}:{}", one.source_uid, one.target_uid)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(check(&[5, 5, 7], &[7, 5, 5]), "1:2 2:3 3:1");
    assert_eq!(check(&[5, 5], &[5]), "");
    assert_eq!(check(&[5, 5], &[5, 5, 5]), "");
    assert_eq!(check(&[5, 6], &[5, 5]), "");
}

#[test]
fn only_what_resembles_an_offer_is_asked_about_where_few_are_there() {
    let none = Flags::default();
    let entry =
        |size, seconds| Entry { uid: uid(1), size: Some(size), date: InternalDate::new(seconds, 0), flags: &none };
    let one = [Offer::new(entry(100, 50))];
    let few = Likely::among(&one, 1000);
    for (size, seconds, expected) in [(100, 1, true), (7, 50, true), (78, 1, true), (74, 1, true), (99, 1, false)] {
        assert_eq!(few.has(&entry(size, seconds)), expected, "{size}, {seconds}");
    }
    assert!(Likely::among(&one, 10).has(&entry(7, 7)) && !Likely::among(&[], 0).has(&entry(7, 7)));
}

fn sent(at: u32, claim: Claim, message: Message, floor: u32) -> Need {
    Need::sent(&record(at, message), claim, bytes(message), uid(floor))
}

fn record(at: u32, message: Message) -> Record {
    Record {
        source_uid: uid(at),
        stage: crate::mail::Stage::Intended,
        target: None,
        floor: None,
        size: size(message),
        digest: Some(bytes(message)),
        header: header(message),
        date: None,
        flags: Flags::default(),
        risky: false,
        evidence: Evidence::None,
    }
}

#[test]
fn twins_claim_their_own_copies() {
    let twin = ("h", "a");
    let date = |at| InternalDate::new(at, 0);
    let need = |at, flags: &str| Record { date: date(i64::from(at)), flags: Flags::parse(flags), ..record(at, twin) };
    let needs = [need(1, ""), need(2, ""), need(3, "\\Seen"), need(4, "")];
    let needs = needs.iter().map(|one| Need::sent(one, Claim::Intended, bytes(twin), uid(1))).collect();
    let flags = [Flags::default(), Flags::parse("\\Seen")];
    let offer =
        |at, seconds, flags| Offer::new(Entry { uid: uid(at), size: Some(size(twin)), date: date(seconds), flags });
    let mut matching = Matching::new(needs, vec![offer(1, 3, &flags[1]), offer(2, 2, &flags[0])], false);
    for at in [1, 2] {
        matching.target_header(uid(at), header(twin));
        matching.target_bytes(uid(at), bytes(twin), bytes(twin));
    }
    let found: Vec<_> =
        matching.finish().found.iter().map(|one| (one.source_uid.value(), one.target_uid.value())).collect();
    assert_eq!(found, [(2, 2), (3, 1)]);
}

#[test]
fn who_was_acknowledged_claims_before_who_was_intended() {
    let needs = vec![sent(1, Claim::Intended, ("h", "a"), 1), sent(2, Claim::Acknowledged, ("h", "a"), 1)];
    assert_eq!(run(needs, &[("h", "a"); 2], &[("h", "a")]).0, ["2:1:BytesEqual"]);
}

#[test]
fn who_was_intended_takes_no_copy_that_is_a_displaced_twins_own() {
    let (twin, flagged) = (("h", "a"), Flags::parse("\\Flagged"));
    let need = |at, claim, flags: &str| {
        Need::sent(&Record { flags: Flags::parse(flags), ..record(at, twin) }, claim, bytes(twin), uid(1))
    };
    let needs = vec![need(1, Claim::Displaced, "\\Flagged"), need(2, Claim::Intended, "\\Seen")];
    let offer = Offer::new(Entry { uid: uid(1), size: Some(size(twin)), date: None, flags: &flagged });
    let mut matching = Matching::new(needs, vec![offer], false);
    matching.target_header(uid(1), header(twin));
    matching.target_bytes(uid(1), bytes(twin), bytes(twin));
    let matched = matching.finish();
    assert_eq!(matched.found.iter().map(|one| one.source_uid).collect::<Vec<_>>(), [uid(1)]);
    assert_eq!(matched.absent, [(uid(2), Claim::Intended)]);
}

#[test]
fn new_mail_never_takes_the_copy_of_an_acknowledged_twin() {
    // The target's user has marked the copy, as the source's new twin is marked.
    let marked = Flags::parse("\\Flagged");
    let new = Need::new(Entry { uid: uid(2), size: Some(size(("h", "a"))), date: None, flags: &marked });
    let needs = vec![sent(1, Claim::Acknowledged, ("h", "a"), 1), new];
    let offer = Offer::new(Entry { uid: uid(1), size: Some(size(("h", "a"))), date: None, flags: &marked });
    let mut matching = Matching::new(needs, vec![offer], false);
    matching.source_header(uid(2), header(("h", "a")));
    matching.target_header(uid(1), header(("h", "a")));
    matching.source_bytes(uid(2), bytes(("h", "a")), likeness(("h", "a")));
    matching.target_bytes(uid(1), bytes(("h", "a")), likeness(("h", "a")));
    let matched = matching.finish();
    assert_eq!(matched.found.iter().map(|one| one.source_uid).collect::<Vec<_>>(), [uid(1)]);
    assert_eq!(matched.absent, [(uid(2), Claim::New)]);
}

#[test]
fn nothing_below_the_floor_is_ours() {
    let needs = vec![sent(1, Claim::Intended, ("h", "a"), 2)];
    assert_eq!(run(needs.clone(), &[("h", "a")], &[("h", "a")]).0, Vec::<String>::new());
    assert_eq!(run(needs, &[("h", "a")], &[("h", "a"), ("h", "a")]).0, ["1:2:BytesEqual"]);
}

#[test]
fn what_we_sent_is_found_though_the_target_altered_it() {
    let needs = vec![sent(1, Claim::Intended, ("h", "a\0b"), 1)];
    assert_eq!(run(needs, &[("h", "a\0b")], &[("h", "aXb")]).0, ["1:1:BytesAltered"]);
}

proptest! {
    #[test]
    fn every_target_message_is_claimed_once_at_most_and_equal_bytes_always_pair(
        source in prop::collection::vec((prop::sample::select(vec!["", "h", "i"]), prop::sample::select(vec!["a", "b", "cc"])), 0..8),
        target in prop::collection::vec((prop::sample::select(vec!["", "h", "i"]), prop::sample::select(vec!["a", "b", "cc"])), 0..8),
        kinds in prop::collection::vec(0..3u8, 8),
    ) {
        let needs = source.iter().zip(1..).zip(&kinds).map(|((message, at), kind)| match kind {
            0 => sent(at, Claim::Acknowledged, *message, 1),
            1 => sent(at, Claim::Intended, *message, 1),
            _ => Need::new(entry(at, *message, &Flags::default())),
        }).collect();
        let (found, _) = run(needs, &source, &target);
        let taken: BTreeSet<_> = found.iter().map(|one| one.split(':').nth(1).unwrap().to_owned()).collect();
        prop_assert_eq!(taken.len(), found.len());
        // As many pairs as a multiset intersection of bytes demands, at the least.
        let mut left = target.clone();
        let common = source.iter().filter(|message| {
            left.iter().position(|other| other == *message).map(|at| left.remove(at)).is_some()
        }).count();
        prop_assert!(found.len() >= common, "{:?} {}", found, common);
    }
}
