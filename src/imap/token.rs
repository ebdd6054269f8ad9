//! Responses taken apart: atoms, strings, lists. Lenient, since servers are.
//!
//! Invariants: never reads past the response, never recurses deeper than `DEPTH_MAX`, never panics on any bytes.

use std::borrow::Cow;

/// Deeper nesting than any response we ask for; a hostile one ends as an unreadable value.
const DEPTH_MAX: usize = 16;

/// One response, its literals taken out of the text.
///
/// `text` is the line without its end; where a literal stood, [`MARK`] stands and `literals` holds offset and content.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) text: Vec<u8>,
    pub(crate) literals: Vec<(usize, Literal)>,
}

impl Response {
    /// Gives how many bytes are kept of it.
    pub(crate) fn size(&self) -> usize {
        let kept = |literal: &Literal| if let Literal::Inline(bytes) = literal { bytes.len() } else { 0 };
        self.text.len() + self.literals.iter().map(|(_, literal)| kept(literal)).sum::<usize>()
    }
}

/// Stands in the text for a literal's `{n}`; only its offset counts, a server may send the same byte.
pub(crate) const MARK: u8 = 1;

/// What a literal held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    /// Its bytes; cut where it was longer than an inline literal may be.
    Inline(Vec<u8>),
    /// A message body that went elsewhere.
    Body,
}

/// One value of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Also NIL and numbers; `BODY[HEADER.FIELDS (A B)]<0>` is one atom.
    Atom(&'a [u8]),
    /// A quoted string, unescaped, or an inline literal.
    String(Cow<'a, [u8]>),
    /// A literal that went elsewhere.
    Body,
    List(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// Gives an atom or a string; NIL is none.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => None,
            Self::Atom(atom) => Some(atom),
            Self::String(string) => Some(string),
            Self::Body | Self::List(_) => None,
        }
    }

    /// Gives a string or any atom, `NIL` included: a mailbox may be called so.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(atom) => Some(atom),
            Self::String(string) => Some(string),
            Self::Body | Self::List(_) => None,
        }
    }

    pub(crate) fn number<N: std::str::FromStr>(&self) -> Option<N> {
        std::str::from_utf8(self.text()?).ok()?.parse().ok()
    }

    pub(crate) fn list(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }
}

/// Reads the values of a response one by one.
pub(crate) struct Tokens<'a> {
    response: &'a Response,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(response: &'a Response) -> Self {
        Self { response, at: 0 }
    }

    /// Takes a word up to the next space; what follows it is looked at by the caller.
    pub(crate) fn word(&mut self) -> &'a [u8] {
        self.skip_spaces();
        let rest = self.rest();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Gives what has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.response.text.get(self.at..).unwrap_or_default()
    }

    /// Takes the next value; None at the end, at a closing parenthesis, or where nothing can be made of it.
    pub(crate) fn value(&mut self) -> Option<Value<'a>> {
        self.value_within(0)
    }

    fn value_within(&mut self, depth: usize) -> Option<Value<'a>> {
        self.skip_spaces();
        if let Some((_, literal)) = self.response.literals.iter().find(|(at, _)| *at == self.at) {
            // The offset is taken by its literal once: step over the mark that stands for it.
            self.at += 1;
            return Some(match literal {
                Literal::Inline(bytes) => Value::String(Cow::Borrowed(bytes)),
                Literal::Body => Value::Body,
            });
        }
        match self.rest().first()? {
            b'(' => {
                self.at += 1;
                self.list_within(depth + 1)
            }
            b')' => None,
            b'"' => Some(self.quoted()),
            _ => Some(self.atom(depth)),
        }
    }

    fn list_within(&mut self, depth: usize) -> Option<Value<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut values = Vec::new();
        while let Some(value) = self.value_within(depth) {
            values.push(value);
        }
        self.skip_spaces();
        if self.rest().first() == Some(&b')') {
            self.at += 1;
        }
        Some(Value::List(values))
    }

    fn quoted(&mut self) -> Value<'a> {
        self.at += 1;
        let rest = self.rest();
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(end) if rest[end] == b'"' => {
                self.at += end + 1;
                Value::String(Cow::Borrowed(&rest[..end]))
            }
            _ => self.unescaped(),
        }
    }

    /// What is left of a quoted string, without its backslashes.
    fn unescaped(&mut self) -> Value<'a> {
        let mut out = Vec::new();
        while let Some(byte) = self.rest().first() {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    out.extend(self.rest().first());
                    self.at += 1;
                }
                byte => out.push(*byte),
            }
        }
        Value::String(Cow::Owned(out))
    }

    /// An atom ends at a space or a parenthesis, but not within the brackets of `BODY[…]` and `BINARY[…]`. Elsewhere a
    /// bracket means nothing: a keyword may hold an unbalanced one. In a list within a list, where flags are, a parenthesis
    /// in mid-word belongs to the word: lenient servers keep such keywords.
    fn atom(&mut self, depth: usize) -> Value<'a> {
        let rest = self.rest();
        let section =
            depth < 2 && [&b"BODY["[..], b"BODY.PEEK[", b"BINARY["].iter().any(|name| starts_with(rest, name));
        let mut within = false;
        let end = rest.iter().position(|byte| {
            within = section && (*byte == b'[' || within && *byte != b']');
            !within && (matches!(byte, b' ' | b')') || *byte == b'(' && depth < 2)
        });
        let mut end = end.unwrap_or(rest.len()).max(1);
        if let Some((literal, _)) =
            self.response.literals.iter().find(|(at, _)| (self.at + 1..self.at + end).contains(at))
        {
            end = literal - self.at;
        }
        self.at += end;
        Value::Atom(&rest[..end])
    }

    fn skip_spaces(&mut self) {
        while self.rest().first() == Some(&b' ') {
            self.at += 1;
        }
    }
}

/// Compares without regard to ASCII case.
pub(crate) fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(text: &[u8]) -> Response {
        Response { text: text.to_vec(), literals: vec![] }
    }

    fn show(value: &Value<'_>) -> String {
        match value {
            Value::Atom(atom) => atom.escape_ascii().to_string(),
            Value::String(string) => format!("<{}>", string.escape_ascii()),
            Value::Body => "BODY!".into(),
            Value::List(values) => format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(" ")),
        }
    }

    fn check(text: &str, expected: &str) {
        let response = response(text.as_bytes());
        let mut tokens = Tokens::new(&response);
        let mut all = vec![];
        while let Some(value) = tokens.value() {
            all.push(show(&value));
        }
        assert_eq!(all.join(" "), expected, "{text}");
    }

    #[test]
    fn responses_as_servers_write_them_are_read() {
        check(r#"(\HasNoChildren) "/" "a\"b\\c""#, r#"[\\HasNoChildren] </> <a\"b\\c>"#);
        check(r#"() NIL NIL"#, "[] NIL NIL");
        check(r#"(UID 5 FLAGS (\Seen ) X)"#, r"[UID 5 FLAGS [\\Seen] X]");
        check(r#"(FLAGS (a]b [c $d) UID 1)"#, "[FLAGS [a]b [c $d] UID 1]");
        check(r#"(BODY[HEADER.FIELDS (DATE FROM)] "x" UID 9)"#, "[BODY[HEADER.FIELDS (DATE FROM)] <x> UID 9]");
        check(r#"(BODY[]<0> NIL)"#, "[BODY[]<0> NIL]");
        check("(\"unterminated", "[<unterminated>]");
        check("((a) (b", "[[a] [b]]");
    }

    #[test]
    fn literals_stand_where_they_stood() {
        let response = Response {
            text: b"(UID 1 BODY[] \x01 X \x01)".to_vec(),
            literals: vec![(14, Literal::Body), (18, Literal::Inline(b"a)b".to_vec()))],
        };
        assert_eq!(show(&Tokens::new(&response).value().unwrap()), "[UID 1 BODY[] BODY! X <a)b>]");
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(text in prop::collection::vec(any::<u8>(), 0..200), literals in prop::collection::vec(0usize..200, 0..3)) {
            let literals = literals.into_iter().map(|at| (at, Literal::Body)).collect();
            let response = Response { text, literals };
            let mut tokens = Tokens::new(&response);
            let mut values = 0;
            while tokens.value().is_some() {
                values += 1;
                prop_assert!(values <= 400);
            }
        }
    }
}
