//! What a server says, taken apart leniently: enough for tests to look at, with nothing refused that a server may send.

use std::fmt;
use std::io;

/// How a command ended, or what an untagged line says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

/// A piece of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// As written; NIL too.
    Atom(String),
    /// Without quotes and escapes.
    Quoted(Vec<u8>),
    Literal(Vec<u8>),
    List(Vec<Self>),
}

/// One response: a line, with the literals in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    /// `*`, `+` or a command's tag.
    pub(crate) tag: String,
    /// None for data.
    pub(crate) status: Option<Status>,
    /// What stands in brackets after the status, without them.
    pub(crate) code: Option<String>,
    /// What follows the tag, where that is data.
    pub(crate) values: Vec<Value>,
    /// The first line, for messages.
    line: String,
}

/// Everything that answers one command.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) untagged: Vec<Response>,
    /// The tagged response.
    pub(crate) done: Response,
}

/// One answer of FETCH.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    items: Vec<Value>,
}

impl Value {
    /// Gives the bytes of an atom or string; empty for a list.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Atom(text) => text.as_bytes(),
            Self::Quoted(bytes) | Self::Literal(bytes) => bytes,
            Self::List(_) => &[],
        }
    }

    /// Gives the bytes as text, with marks in place of what is no UTF-8.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Gives a number, where it is one.
    pub(crate) fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.bytes()).ok()?.parse().ok()
    }

    /// Gives the parts of a list; empty for anything else.
    pub(crate) fn list(&self) -> &[Self] {
        if let Self::List(values) = self { values } else { &[] }
    }

    /// Says whether this is NIL.
    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Atom(text) if text.eq_ignore_ascii_case("NIL"))
    }
}

impl Response {
    /// Says whether this is data of this name: `* LIST …`, `* 3 FETCH …`.
    pub(crate) fn is(&self, name: &str) -> bool {
        let named = |at: usize| self.values.get(at).is_some_and(|value| value.text().eq_ignore_ascii_case(name));
        let is_numbered = self.values.first().is_some_and(|value| value.number().is_some());
        self.tag == "*" && named(usize::from(is_numbered))
    }

    /// Says whether the response code begins with this word.
    pub(crate) fn has_code(&self, word: &str) -> bool {
        self.code_words().first().is_some_and(|first| first.eq_ignore_ascii_case(word))
    }

    /// Gives the words of the response code.
    pub(crate) fn code_words(&self) -> Vec<&str> {
        self.code.as_deref().unwrap_or_default().split_ascii_whitespace().collect()
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Reply {
    /// Gives all data of this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Response> {
        self.untagged.iter().filter(move |response| response.is(name))
    }

    /// Gives all answers of FETCH.
    pub(crate) fn fetched(&self) -> Vec<Fetched> {
        self.all("FETCH").filter_map(Fetched::of).collect()
    }

    /// Gives the words of the first response code of this name, tagged or untagged.
    pub(crate) fn code(&self, word: &str) -> Option<Vec<&str>> {
        let all = self.untagged.iter().chain([&self.done]);
        all.filter(|response| response.has_code(word)).map(Response::code_words).next()
    }
}

impl Fetched {
    /// Takes an answer of FETCH; None for anything else.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        let items = response.values.get(2).filter(|_| response.is("FETCH"))?;
        Some(Self { items: items.list().to_vec() })
    }

    /// Gives an item, such as `RFC822.SIZE` or `BODY[]`.
    pub(crate) fn item(&self, name: &str) -> Option<&Value> {
        let pair = self.items.chunks(2).find(|pair| pair[0].text().eq_ignore_ascii_case(name))?;
        pair.get(1)
    }

    /// Gives UID.
    pub(crate) fn uid(&self) -> Option<u64> {
        self.item("UID")?.number()
    }

    /// Gives FLAGS as written but sorted, without `\Recent`.
    pub(crate) fn flags(&self) -> Option<Vec<String>> {
        let flags = self.item("FLAGS")?.list().iter().map(Value::text);
        let mut flags: Vec<String> = flags.filter(|flag| !flag.eq_ignore_ascii_case("\\Recent")).collect();
        flags.sort();
        Some(flags)
    }
}

impl Status {
    /// Reads the status of a line, if it has one.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let word = line.split(|&byte| matches!(byte, b' ' | b'\r' | b'\n')).nth(1)?;
        match word.to_ascii_uppercase().as_slice() {
            b"OK" => Some(Self::Ok),
            b"NO" => Some(Self::No),
            b"BAD" => Some(Self::Bad),
            b"BYE" => Some(Self::Bye),
            b"PREAUTH" => Some(Self::Preauth),
            _ => None,
        }
    }
}

/// Reads how long the literal is that a line announces at its end.
pub(super) fn literal_length(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let digits = &line[line.iter().rposition(|&byte| byte == b'{')? + 1..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Takes a whole response apart.
pub(super) fn parse(bytes: &[u8]) -> io::Result<Response> {
    let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first).trim_end().to_owned();
    let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let mut response = Response { tag: tag.to_owned(), status: Status::of(bytes), ..Response::default() };
    if response.status.is_some() {
        let text = rest.split_once(' ').unwrap_or_default().1;
        response.code = text.strip_prefix('[').and_then(code).map(str::to_owned);
    } else if tag != "+" {
        let mut scanner = Scanner { bytes, at: tag.len() };
        response.values = scanner.values();
        if scanner.at < bytes.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unbalanced parentheses: {line}")));
        }
    }
    response.line = line;
    Ok(response)
}

/// Gives what stands before the closing bracket; one within quotes does not close.
fn code(text: &str) -> Option<&str> {
    let mut is_quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => is_quoted = !is_quoted,
            ']' if !is_quoted => return Some(&text[..at]),
            _ => (),
        }
    }
    None
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Reads up to the end or a closing parenthesis.
    fn values(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\r' | b'\n' => self.at += 1,
                b')' => break,
                b'(' => {
                    self.at += 1;
                    values.push(Value::List(self.values()));
                    if self.peek().is_none() {
                        break;
                    }
                    self.at += 1;
                }
                b'"' => values.push(self.quoted()),
                b'{' => values.push(self.literal()),
                _ => values.push(self.atom()),
            }
        }
        values
    }

    fn quoted(&mut self) -> Value {
        let mut text = Vec::new();
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                _ => text.push(byte),
            }
        }
        Value::Quoted(text)
    }

    fn literal(&mut self) -> Value {
        let rest = &self.bytes[self.at..];
        let line_length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        let Some(length) = literal_length(&rest[..line_length]) else { return self.atom() };
        let begin = self.at + line_length;
        self.at = (begin + length).min(self.bytes.len());
        Value::Literal(self.bytes[begin.min(self.at)..self.at].to_vec())
    }

    /// Reads an atom. In `BODY[HEADER.FIELDS (From)]` the brackets hold spaces and parentheses; in a keyword such as `a[b`
    /// they are characters.
    fn atom(&mut self) -> Value {
        let begin = self.at;
        while let Some(byte) = self.peek() {
            let so_far = &self.bytes[begin..self.at];
            match byte {
                b' ' | b'\r' | b'\n' | b'(' | b')' => break,
                b'[' if so_far.eq_ignore_ascii_case(b"BODY") || so_far.eq_ignore_ascii_case(b"BINARY") => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(|&byte| byte == b']').map_or(rest.len(), |end| end + 1);
                }
                _ => self.at += 1,
            }
        }
        Value::Atom(String::from_utf8_lossy(&self.bytes[begin..self.at]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(text: &str) -> Value {
        Value::Atom(text.into())
    }

    #[test]
    fn data_is_taken_apart_with_its_literals() {
        let bytes =
            b"* 3 FETCH (FLAGS (\\Seen a[b) UID 7 BODY[HEADER.FIELDS (From To)] {4}\r\n)(\"\n X \"a\\\"b\" Y NIL)\r\n";
        let response = parse(bytes).unwrap();
        assert!(response.is("fetch"));
        let fetched = Fetched::of(&response).unwrap();
        assert_eq!(fetched.flags().unwrap(), ["\\Seen", "a[b"]);
        assert_eq!(fetched.uid(), Some(7));
        assert_eq!(fetched.item("BODY[HEADER.FIELDS (FROM TO)]"), Some(&Value::Literal(b")(\"\n".to_vec())));
        assert_eq!(fetched.item("X"), Some(&Value::Quoted(b"a\"b".to_vec())));
        assert!(fetched.item("Y").unwrap().is_nil());
    }

    #[test]
    fn a_status_keeps_its_code_and_its_text_is_no_data() {
        let response = parse(b"t1 NO [X \"]\" (] you may (not) {3}\r\n").unwrap();
        assert_eq!((response.tag.as_str(), response.status), ("t1", Some(Status::No)));
        assert_eq!(response.code_words(), ["X", "\"]\"", "("]);
        assert_eq!(response.values, []);
        assert_eq!(parse(b"* BYE\r\n").unwrap().status, Some(Status::Bye));
        assert_eq!(parse(b"* OKAY x\r\n").unwrap().values, [atom("OKAY"), atom("x")]);
    }

    #[test]
    fn unbalanced_parentheses_are_refused() {
        assert!(parse(b"* LIST () NIL x)\r\n").is_err());
    }

    #[test]
    fn a_literal_is_announced_at_the_end_of_a_line() {
        for (line, expected) in
            [("x {12}\r\n", Some(12)), ("x {0}\n", Some(0)), ("x {a}\r\n", None), ("{1} x\r\n", None)]
        {
            assert_eq!(literal_length(line.as_bytes()), expected, "{line}");
        }
    }
}
