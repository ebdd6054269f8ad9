//! Reading commands, strictly: the grammar of RFC 3501 section 9.
//!
//! Secret: where one token ends. Input is a command's text with its literals beside it; what is not in the grammar is an
//! error whose words go into the BAD.

use std::ops::RangeInclusive;

/// Why a command cannot be read; the words for BAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax(pub(crate) &'static str);

/// A literal announced at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) size: u64,
    /// Whether the client waits for `+`.
    pub(crate) synchronising: bool,
}

/// The literal announced at the end of a line, if there is one.
pub(crate) fn announced(line: &[u8]) -> Option<Announced> {
    let inside = line.strip_suffix(b"}")?;
    let open = inside.iter().rposition(|&byte| byte == b'{')?;
    let inside = &inside[open + 1..];
    let (digits, synchronising) = match inside.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (inside, true),
    };
    Some(Announced { size: number(digits)?, synchronising })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// The text of a command, with its literals and where they belong.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    /// Place right behind `{n}`, and the bytes.
    pub(crate) literals: Vec<(usize, Vec<u8>)>,
}

/// A place in a command's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a Text,
    at: usize,
}

type Parsed<T> = Result<T, Syntax>;

/// Numbers or UIDs: ranges, with `*` as 0.
pub(crate) type Set = Vec<(u32, u32)>;

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a Text, at: usize) -> Self {
        Cursor { text, at }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.bytes[self.at..]
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest().len()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// The end of the command.
    pub(crate) fn end(&self) -> Parsed<()> {
        if self.is_done() { Ok(()) } else { Err(Syntax("Unexpected arguments")) }
    }

    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.eat(byte) {
            return Ok(());
        }
        Err(Syntax(match byte {
            b' ' => "Missing argument",
            b'(' => "Expected '('",
            b')' => "Expected ')'",
            _ => "Unexpected character",
        }))
    }

    pub(crate) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ')
    }

    /// Takes a word if it comes next, in any case.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn while_(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|&byte| !accept(byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    pub(crate) fn atom(&mut self) -> Parsed<&'a str> {
        let atom = self.while_(is_atom_char);
        match std::str::from_utf8(atom) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => Err(Syntax("Expected an atom")),
        }
    }

    /// An atom in upper case.
    pub(crate) fn word(&mut self) -> Parsed<String> {
        Ok(self.atom()?.to_ascii_uppercase())
    }

    pub(crate) fn number(&mut self) -> Parsed<u64> {
        number(self.while_(|byte| byte.is_ascii_digit())).ok_or(Syntax("Expected a number"))
    }

    /// Atom, quoted string or literal.
    pub(crate) fn astring(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.while_(|byte| is_atom_char(byte) || byte == b']') {
                [] => Err(Syntax("Expected a string")),
                atom => Ok(atom.to_vec()),
            },
        }
    }

    /// A LIST pattern.
    pub(crate) fn pattern(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.while_(|byte| is_atom_char(byte) || matches!(byte, b']' | b'*' | b'%')) {
                [] => Err(Syntax("Expected a pattern")),
                atom => Ok(atom.to_vec()),
            },
        }
    }

    /// Quoted string or literal.
    pub(crate) fn string(&mut self) -> Parsed<Vec<u8>> {
        if self.peek() == Some(b'{') { self.literal() } else { self.quoted() }
    }

    /// A string or NIL.
    pub(crate) fn nstring(&mut self) -> Parsed<Option<Vec<u8>>> {
        if self.eat_word("NIL") { Ok(None) } else { self.string().map(Some) }
    }

    pub(crate) fn quoted(&mut self) -> Parsed<Vec<u8>> {
        self.expect(b'"').map_err(|_| Syntax("Expected a string"))?;
        let mut value = Vec::new();
        loop {
            match self.peek() {
                None => return Err(Syntax("Missing '\"'")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(byte @ (b'"' | b'\\')) => value.push(byte),
                        _ => return Err(Syntax("Escaping is for '\"' and '\\' alone")),
                    }
                }
                Some(0 | b'\r' | b'\n') => return Err(Syntax("Control character in a quoted string")),
                Some(0x80..) => return Err(Syntax("8bit character in a quoted string")),
                Some(byte) => value.push(byte),
            }
            self.at += 1;
        }
    }

    fn literal(&mut self) -> Parsed<Vec<u8>> {
        let wrong = Syntax("Literal that is none");
        let close = self.rest().iter().position(|&byte| byte == b'}').ok_or(wrong)?;
        announced(&self.rest()[..=close]).ok_or(wrong)?;
        self.at += close + 1;
        let found = self.text.literals.iter().find(|(at, _)| *at == self.at);
        found.map(|(_, bytes)| bytes.clone()).ok_or(wrong)
    }

    pub(crate) fn mailbox(&mut self) -> Parsed<Vec<u8>> {
        self.astring()
    }

    /// A flag: `\Word` or a keyword.
    pub(crate) fn flag(&mut self) -> Parsed<String> {
        let system = self.eat(b'\\');
        let atom = self.atom().map_err(|_| Syntax("Expected a flag"))?;
        if !system {
            return Ok(atom.to_owned());
        }
        let known = ["Answered", "Flagged", "Deleted", "Seen", "Draft"];
        match known.iter().find(|flag| flag.eq_ignore_ascii_case(atom)) {
            Some(flag) => Ok(format!("\\{flag}")),
            None => Err(Syntax("Invalid system flag")),
        }
    }

    /// `(…)` with items separated by single spaces.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect(b'(')?;
        let mut items = Vec::new();
        if self.eat(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.space()?;
        }
    }

    pub(crate) fn flag_list(&mut self) -> Parsed<Vec<String>> {
        self.list(Self::flag)
    }

    /// `1:5,7,9:*`; `*` is given as 0.
    pub(crate) fn set(&mut self) -> Parsed<Set> {
        let mut ranges = Vec::new();
        loop {
            let from = self.set_number()?;
            let to = if self.eat(b':') { self.set_number()? } else { from };
            ranges.push((from, to));
            if !self.eat(b',') {
                return Ok(ranges);
            }
        }
    }

    fn set_number(&mut self) -> Parsed<u32> {
        if self.eat(b'*') {
            return Ok(0);
        }
        let digits = self.while_(|byte| byte.is_ascii_digit());
        let value = number(digits).and_then(|value| u32::try_from(value).ok());
        value.filter(|&value| value > 0 && digits[0] != b'0').ok_or(Syntax("Invalid message set"))
    }

    /// Whether a message set comes next.
    pub(crate) fn at_set(&self) -> bool {
        matches!(self.peek(), Some(b'0'..=b'9' | b'*'))
    }
}

/// The ranges of a set with `*` put in, smaller number first.
pub(crate) fn resolve(set: &Set, largest: u32) -> Vec<RangeInclusive<u32>> {
    let star = |number: u32| if number == 0 { largest } else { number };
    set.iter()
        .map(|&(from, to)| {
            let (from, to) = (star(from), star(to));
            from.min(to)..=from.max(to)
        })
        .collect()
}

pub(crate) fn is_atom_char(byte: u8) -> bool {
    (0x21..0x7f).contains(&byte) && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// Writes a string as atom, quoted string or literal, whichever can hold it.
pub(crate) fn put_astring(out: &mut Vec<u8>, value: &[u8], hostile_as_literal: bool) {
    let atom = !value.is_empty() && value.iter().all(|&byte| is_atom_char(byte)) && !value.eq_ignore_ascii_case(b"NIL");
    if atom {
        out.extend_from_slice(value);
    } else if hostile_as_literal && value.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        put_literal(out, value);
    } else {
        put_string(out, value);
    }
}

/// Writes a hierarchy separator; 0 is NIL.
pub(crate) fn put_separator(out: &mut Vec<u8>, separator: u8) {
    match separator {
        0 => out.extend_from_slice(b"NIL"),
        _ => put_string(out, &[separator]),
    }
}

/// Writes a string quoted, or as a literal if it has a byte that cannot be.
pub(crate) fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    if value.iter().any(|&byte| matches!(byte, 0 | b'\r' | b'\n' | 0x80..)) {
        return put_literal(out, value);
    }
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn put_literal(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
    out.extend_from_slice(value);
}

/// Writes numbers as a set, neighbours joined: `3:5,7`.
pub(crate) fn compress(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let written = parts.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}:{to}") });
    written.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Text {
        Text { bytes: bytes.as_bytes().to_vec(), literals: Vec::new() }
    }

    #[test]
    fn literals_are_announced_at_the_end_of_a_line() {
        let literal = |size, synchronising| Some(Announced { size, synchronising });
        assert_eq!(announced(b"a APPEND x {12}"), literal(12, true));
        assert_eq!(announced(b"a APPEND x {12+}"), literal(12, false));
        for line in ["a {12} ", "a {}", "a {+}", "a 12}", "a {1x}", "a {-1}", "a {9999999999999999999}"] {
            assert_eq!(announced(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn quoted_strings_are_read_strictly() {
        let read = |bytes: &str| Cursor::new(&text(bytes), 0).quoted().ok();
        assert_eq!(read(r#""a\"b\\c""#), Some(br#"a"b\c"#.to_vec()));
        for bad in [r#""a"#, r#""a\n""#, "\"\u{e4}\"", "\"a\rb\"", "a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_are_read_and_written() {
        let set = |bytes: &str| {
            let text = text(bytes);
            let mut cursor = Cursor::new(&text, 0);
            cursor.set().and_then(|set| cursor.end().map(|()| set)).ok()
        };
        assert_eq!(set("1:5,7,*:9"), Some(vec![(1, 5), (7, 7), (0, 9)]));
        for bad in ["", "0", "1:", "1,", "01", "4294967296", "1 2"] {
            assert_eq!(set(bad), None, "{bad}");
        }
        assert_eq!(compress(&[3, 4, 5, 7, 9, 10]), "3:5,7,9:10");
        assert_eq!(resolve(&vec![(0, 9), (2, 3)], 5), [5..=9, 2..=3]);
    }

    #[test]
    fn strings_are_written_in_the_plainest_form_that_holds_them() {
        let written = |value: &[u8], hostile| {
            let mut out = Vec::new();
            put_astring(&mut out, value, hostile);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(written(b"INBOX", false), "INBOX");
        assert_eq!(written(b"a b", false), "\"a b\"");
        assert_eq!(written(b"nil", false), "\"nil\"");
        assert_eq!(written(b"", false), "\"\"");
        assert_eq!(written(b"a\"b\\", false), "\"a\\\"b\\\\\"");
        assert_eq!(written(b"a\"b", true), "{3}\r\na\"b");
        assert_eq!(written(b"a\rb", false), "{3}\r\na\rb");
    }
}
