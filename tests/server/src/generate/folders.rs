//! The tree of folders.

use super::{GenerateOptions, GeneratedFolder, modified_utf7};

/// A name, its SPECIAL-USE attribute, whether it is subscribed.
type Row = (&'static [&'static str], Option<&'static str>, bool);

/// Names every server should hold. No dot, no slash: one of them is the separator.
const TAME: &[Row] = &[
    (&["INBOX"], None, true),
    (&["Sent"], Some("\\Sent"), true),
    (&["Drafts"], Some("\\Drafts"), true),
    (&["Trash"], Some("\\Trash"), true),
    (&["Junk"], Some("\\Junk"), true),
    (&["Archive"], None, true),
    (&["Archive", "2019"], None, true),
    (&["Archive", "2019", "Q1"], None, false),
    (&["Archive", "2020"], None, true),
    (&["Gesendete Objekte"], None, true),
    (&["Entwürfe"], None, true),
    (&["Éléments supprimés"], None, false),
    (&["日本語"], None, true),
    (&["日本語", "受信箱"], None, true),
    (&["Почта"], None, true),
    (&["Почта", "Работа"], None, true),
    (&["Ελληνικά"], None, true),
    (&["עברית"], None, true),
    (&["العربية"], None, true),
    (&["हिन्दी"], None, true),
    (&["한국어"], None, true),
    (&["R&D"], None, true),
    (&["Tom & Jérôme"], None, true),
    (&["A&-B"], None, true),
    (&["two  spaces"], None, true),
    (&["(parens)"], None, true),
    (&["[brackets]"], None, true),
    (&["comma, semicolon; colon"], None, true),
    (&["NIL"], None, true),
    (&["200"], None, true),
    (&["Projects", "Ünïcode & Co", "deep", "deeper", "deepest"], None, false),
    (&["Unsubscribed"], None, false),
    (&["Empty"], None, true),
    (&["Empty", "nested"], None, false),
];

/// Names that some servers refuse or take for others.
const WILD: &[Row] = &[
    (&["quote\"inside"], None, true),
    (&["back\\slash"], None, true),
    (&["\\\"both\\\""], None, true),
    (&["100% *sure*"], None, true),
    (&["{7}"], None, true),
    (&["😀 emoji"], None, true),
    (&["trailing space "], None, true),
    (&[" leading space"], None, true),
    (&["Case"], None, true),
    (&["case"], None, false),
    (&["caf\u{e9}"], None, true),
    (&["cafe\u{301}"], None, true),
    (&["Empty \"quoted\""], None, true),
];

pub(super) fn tree(options: &GenerateOptions) -> Vec<GeneratedFolder> {
    let wild: &[Row] = if options.tame { &[] } else { WILD };
    let rows = TAME.iter().chain(wild);
    rows.map(|(path, special_use, subscribed)| GeneratedFolder {
        path: path.iter().map(|part| (*part).to_owned()).collect(),
        wire_name: wire_name(path, options),
        subscribed: *subscribed,
        special_use: special_use.map(str::to_owned),
        messages: Vec::new(),
    })
    .collect()
}

fn wire_name(path: &[&str], options: &GenerateOptions) -> Vec<u8> {
    if path == ["INBOX"] {
        return b"INBOX".to_vec();
    }
    let parts: Vec<Vec<u8>> = path.iter().map(|part| modified_utf7(part)).collect();
    [&options.layout.prefix[..], &parts.join(&options.layout.separator)].concat()
}
