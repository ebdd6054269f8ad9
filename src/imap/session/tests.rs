use super::*;

fn response(text: &[u8]) -> Response {
    Response { text: text.to_vec(), literals: Vec::new() }
}

#[test]
fn f42_modified_names_some_of_those_asked_for() {
    let asked: Vec<Uid> = (1..=12).filter_map(Uid::new).collect();
    for (words, expected) in [
        (&b"[MODIFIED 7,9] done"[..], vec![7, 9]),
        (b"[modified 3:5,99] done", vec![3, 4, 5]),
        (b"[MODIFIED 5:4] done", vec![4, 5]),
        (b"[MODIFIED x] done", vec![]),
        (b"[MODIFIED 7", vec![7]),
        (b"done [MODIFIED 7]", vec![]),
    ] {
        let found: Vec<u32> = modified_of(words, &asked).map(Uid::value).collect();
        assert_eq!(found, expected, "{}", words.escape_ascii());
    }
}

#[test]
fn f40_and_f35_flag_lists_of_lenient_servers_are_read() {
    for (flags, sendable, unsendable) in [
        (&b"\\Seen "[..], "\\Seen", 0),
        (b" \\Seen  $x", "\\Seen $x", 0),
        (b"\\Seen gr\xfcn a]b x(y", "\\Seen a]b", 2),
        (b"a[b $x body[y", "$x a[b body[y", 0),
        (b"", "", 0),
    ] {
        let text = [b"* 3 FETCH (FLAGS (", flags, b") UID 7 RFC822.SIZE 5)"].concat();
        let fetch = parse_fetch(&response(&text)).unwrap();
        let found = fetch.flags.unwrap();
        assert_eq!((found.to_string().as_str(), found.unsendable().count()), (sendable, unsendable));
        assert_eq!((fetch.uid, fetch.size), (Uid::new(7), Some(5)), "{}", text.escape_ascii());
    }
}

#[test]
fn f36_permanent_flags_are_read_or_missing() {
    let told = |line: &[u8]| parse_opened(&[response(line)]).permanent;
    let read = |line: &[u8]| told(line).map(|told| (told.flags.to_string(), told.any_keyword));
    let (seen, none) = (Some(("\\Seen Junk".to_owned(), true)), Some((String::new(), false)));
    assert_eq!(read(b"* OK [PERMANENTFLAGS (\\Seen Junk \\*)] limited"), seen);
    assert_eq!(read(b"* OK [PERMANENTFLAGS (\\Seen Junk \\* )] limited"), seen);
    assert_eq!(read(b"* OK [PERMANENTFLAGS (\\Seen x(y Junk \\*)] limited"), seen);
    assert_eq!(read(b"* OK [PERMANENTFLAGS ()] read-only"), none);
    assert_eq!(read(b"* OK [UIDNEXT 7] next"), None);
    assert_eq!(read(b"* FLAGS (\\Seen)"), None);
}

fn seen(flags: &str) -> Fetch {
    Fetch { flags: Some(Flags::parse(flags)), size: Some(1), ..Fetch::default() }
}

#[test]
fn a_listing_has_a_bound_in_flags_and_none_in_disorder() {
    let uid = |at: u32| Uid::new(at).unwrap();
    let mut gathered = Gathering::default();
    let mut known = (1..100).map(|at| gathered.take(uid(at), seen("a"), 1 << 20));
    assert!(known.all(|taken| taken.is_ok()), "one set of flags costs once");
    let mut new = (100..200).map(|at| gathered.take(uid(at), seen(&format!("k{at}")), 1 << 20));
    assert!(new.any(|taken| taken.is_err()));
    let mut gathered = Gathering::default();
    let mut disorder = (1..100).rev().map(|at| gathered.take(uid(at), seen(""), 1 << 20));
    assert!(disorder.all(|taken| taken.is_ok()));
    assert_eq!(gathered.finish().len(), 99);
}
