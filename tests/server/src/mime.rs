//! Parts of a message as FETCH and SEARCH want them: header, text, chosen fields, a plain envelope.

use crate::parser::put_string;

/// Where the header ends: behind the empty line, or at the end of a message that has none.
pub(crate) fn header_len(message: &[u8]) -> usize {
    let mut at = 0;
    while at < message.len() {
        let line_end = message[at..].iter().position(|&byte| byte == b'\n').map_or(message.len(), |end| at + end + 1);
        if matches!(&message[at..line_end], b"\r\n" | b"\n") {
            return line_end;
        }
        at = line_end;
    }
    message.len()
}

/// The header with its empty line.
pub(crate) fn header(message: &[u8]) -> &[u8] {
    &message[..header_len(message)]
}

/// What follows the header.
pub(crate) fn text(message: &[u8]) -> &[u8] {
    &message[header_len(message)..]
}

/// The fields of a header, each with its folded lines.
fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < header.len() {
        let end = header[at..].iter().position(|&byte| byte == b'\n').map_or(header.len(), |end| at + end + 1);
        let folded = matches!(header[at], b' ' | b'\t') && at > start;
        if !folded && at > start {
            fields.push(&header[start..at]);
            start = at;
        }
        if matches!(&header[at..end], b"\r\n" | b"\n") {
            return fields;
        }
        at = end;
    }
    if at > start {
        fields.push(&header[start..at]);
    }
    fields
}

fn name(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == b':').unwrap_or(field.len());
    field[..end].trim_ascii_end()
}

/// HEADER.FIELDS, or HEADER.FIELDS.NOT: the fields with (without) these names in their order, and an empty line.
pub(crate) fn chosen_fields(message: &[u8], names: &[Vec<u8>], with: bool) -> Vec<u8> {
    let mut chosen = Vec::new();
    for field in fields(header(message)) {
        if names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name(field))) == with {
            chosen.extend_from_slice(field);
        }
    }
    chosen.extend_from_slice(b"\r\n");
    chosen
}

/// Values of all fields of one name, unfolded.
pub(crate) fn values(message: &[u8], wanted: &[u8]) -> Vec<Vec<u8>> {
    let named = fields(header(message)).into_iter().filter(|field| name(field).eq_ignore_ascii_case(wanted));
    named
        .map(|field| {
            let value = field.splitn(2, |&byte| byte == b':').nth(1).unwrap_or_default();
            let unfolded: Vec<u8> = value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            unfolded.trim_ascii().to_vec()
        })
        .collect()
}

/// Tells whether a text holds another, ASCII case aside.
pub(crate) fn holds(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

/// ENVELOPE in a plain form: addresses are told apart only where they are simple.
pub(crate) fn envelope(message: &[u8]) -> Vec<u8> {
    let mut out = vec![b'('];
    let first = |field: &str| values(message, field.as_bytes()).into_iter().next();
    let put = |out: &mut Vec<u8>, value: Option<Vec<u8>>| match value {
        Some(value) => put_string(out, &value),
        None => out.extend_from_slice(b"NIL"),
    };
    put(&mut out, first("Date"));
    out.push(b' ');
    put(&mut out, first("Subject"));
    let from = first("From");
    for field in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
        out.push(b' ');
        // RFC 3501 section 7.4.2: Sender and Reply-To default to From.
        let value = match field {
            "Sender" | "Reply-To" => first(field).or_else(|| from.clone()),
            field => first(field),
        };
        addresses(&mut out, value.as_deref());
    }
    out.push(b' ');
    put(&mut out, first("In-Reply-To"));
    out.push(b' ');
    put(&mut out, first("Message-ID"));
    out.push(b')');
    out
}

fn addresses(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let wanted = |address: &&[u8]| !address.trim_ascii().is_empty();
    let list: Vec<&[u8]> = value.unwrap_or_default().split(|&byte| byte == b',').filter(wanted).collect();
    if list.is_empty() {
        return out.extend_from_slice(b"NIL");
    }
    out.push(b'(');
    for address in list {
        let address = address.trim_ascii();
        let (display, route) = match address.iter().position(|&byte| byte == b'<') {
            Some(at) => {
                (address[..at].trim_ascii(), address[at + 1..].split(|&b| b == b'>').next().unwrap_or_default())
            }
            None => (&[][..], address),
        };
        let (local, domain) = match route.iter().rposition(|&byte| byte == b'@') {
            Some(at) => (&route[..at], &route[at + 1..]),
            None => (route, &[][..]),
        };
        let display = display.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(display);
        out.push(b'(');
        for (at, part) in [Some(display), None, Some(local), Some(domain)].into_iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            match part {
                Some(part) if !part.is_empty() => put_string(out, part),
                _ => out.extend_from_slice(b"NIL"),
            }
        }
        out.push(b')');
    }
    out.push(b')');
}

/// BODYSTRUCTURE of a message taken as one plain text.
pub(crate) fn structure(message: &[u8]) -> Vec<u8> {
    let text = text(message);
    let lines = text.iter().filter(|&&byte| byte == b'\n').count();
    let mut out = b"(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"8BIT\" ".to_vec();
    out.extend_from_slice(format!("{} {lines})", text.len()).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"From: Ann <ann@x.example>\r\nSubject: a\r\n b\r\nX: 1\r\n\r\nbody\r\n";

    #[test]
    fn header_and_text_are_the_whole() {
        for message in [MESSAGE, b"", b"\r\nonly body", b"no: body", b"a: b\n\nx", b"\n"] {
            assert_eq!([header(message), text(message)].concat(), message);
        }
        assert_eq!(text(MESSAGE), b"body\r\n");
        assert_eq!(header(b"\r\nonly body"), b"\r\n");
    }

    #[test]
    fn fields_are_chosen_with_their_folds() {
        let names = [b"subject".to_vec()];
        assert_eq!(chosen_fields(MESSAGE, &names, true), b"Subject: a\r\n b\r\n\r\n");
        assert_eq!(chosen_fields(MESSAGE, &names, false), b"From: Ann <ann@x.example>\r\nX: 1\r\n\r\n");
        assert_eq!(chosen_fields(b"", &names, false), b"\r\n");
        assert_eq!(values(MESSAGE, b"SUBJECT"), [b"a b"]);
    }

    #[test]
    fn envelopes_name_the_sender_thrice() {
        let address = "((\"Ann\" NIL \"ann\" \"x.example\"))";
        let expected = format!("(NIL \"a b\" {address} {address} {address} NIL NIL NIL NIL NIL)");
        assert_eq!(String::from_utf8(envelope(MESSAGE)).unwrap(), expected);
    }
}
