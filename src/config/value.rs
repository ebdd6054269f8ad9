//! From one written value to one that can be used: types, units and ranges.
//!
//! Each function is for one kind of value and says what it expected, with an example.

use super::error::{Fault, listed, nearest, shown};
use crate::net::{Fingerprint, Tls};
use crate::provider;
use std::time::Duration;
use toml::de::DeValue;

pub(super) type Read<T> = Result<T, Fault>;

/// Says that a value has another type than the one expected, without showing it.
pub(super) fn wrong_type(expected: &str, found: &DeValue<'_>) -> Fault {
    let article = if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    Fault::new(format!("expected {expected}, found {article} {}", found.type_str()))
}

/// A string of one line, not empty; `example` as it would be typed.
pub(super) fn text(value: &DeValue<'_>, example: &str) -> Read<String> {
    let Some(text) = value.as_str() else {
        return Err(wrong_type("a string", value).hint(format!("write it in quotes, such as {example}")));
    };
    line(text).map(str::to_owned).map_err(|fault| fault.hint(format!("write it on one line, such as {example}")))
}

/// Accepts one line of text: what goes into a command or onto a page.
pub(super) fn line(text: &str) -> Read<&str> {
    if text.trim().is_empty() {
        return Err(Fault::new("is empty").hint("fill it in, or remove it"));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err(Fault::new("holds a control character (a line end, a tab or NUL)").hint("write it on one line"));
    }
    Ok(text)
}

/// A user name.
pub(super) fn user(text: &str) -> Read<String> {
    let user = line(text)?;
    if user.trim() != user {
        return Err(Fault::new("begins or ends with a blank").hint("remove the blank"));
    }
    Ok(user.to_owned())
}

/// True or false.
pub(super) fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| wrong_type("true or false", value).hint("write true or false without quotes"))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Read<T> {
    let names = || words.iter().map(|(name, _)| *name);
    let Some(word) = value.as_str() else {
        let quoted: Vec<String> = names().map(shown).collect();
        return Err(wrong_type("a string", value).hint(format!("write {}", listed(quoted.iter().map(String::as_str)))));
    };
    if let Some((_, meaning)) = words.iter().find(|(name, _)| *name == word) {
        return Ok(*meaning);
    }
    let quoted: Vec<String> = names().map(shown).collect();
    let all = listed(quoted.iter().map(String::as_str));
    let fault = Fault::new(format!("expected {all}, found {}", shown(word)));
    Err(match nearest(word, names()) {
        Some(name) => fault.hint(format!("did you mean {}?", shown(name))),
        None => fault.hint(format!("write {all}")),
    })
}

/// How a connection is protected.
pub(super) fn tls(value: &DeValue<'_>) -> Read<Tls> {
    const WORDS: &[(&str, Tls)] = &[("implicit", Tls::Implicit), ("starttls", Tls::StartTls), ("none", Tls::None)];
    choice(value, WORDS).map_err(|fault| match value.as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("ssl" | "tls" | "imaps" | "on" | "yes" | "ssl/tls") => {
            fault.hint(r#"write "implicit" for TLS from the first byte, as on port 993"#)
        }
        Some("off" | "no" | "plain" | "plaintext") => fault.hint(r#"write "none""#),
        _ => fault,
    })
}

/// A server family by name.
pub(super) fn preset(value: &DeValue<'_>) -> Read<&'static provider::Preset> {
    let name = text(value, r#""gmail""#)?;
    provider::preset(&name).ok_or_else(|| {
        let fault = Fault::new(format!("no provider is called {}", shown(&name)));
        match nearest(&name, provider::preset_names()) {
            Some(near) => fault.hint(format!("did you mean {}?", shown(near))),
            None => fault
                .hint(format!("known are {}; for any other server write host = …", listed(provider::preset_names()))),
        }
    })
}

/// A TCP port.
pub(super) fn port(value: &DeValue<'_>) -> Read<u16> {
    match value {
        DeValue::Integer(_) => whole(value, 1, u16::MAX.into(), "993")
            .map(|port| u16::try_from(port).unwrap_or(u16::MAX))
            .map_err(|fault| fault.hint("IMAP is at 993 (implicit TLS) or 143 (STARTTLS)")),
        DeValue::String(_) => Err(wrong_type("an integer", value).hint("write the port without quotes, such as 993")),
        _ => Err(wrong_type("an integer", value).hint("write a port such as 993")),
    }
}

/// A whole number of a range.
pub(super) fn whole(value: &DeValue<'_>, least: u64, most: u64, example: &str) -> Read<u64> {
    let DeValue::Integer(integer) = value else {
        let fault = wrong_type("an integer", value);
        return Err(fault.hint(format!("write a whole number without quotes, such as {example}")));
    };
    // An integer too large for the type is out of range as well.
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        Fault::new(format!("{integer} is out of range: expected {least} to {most}"))
            .hint(format!("write a whole number such as {example}"))
    })
}

/// A number of things that may also be without limit.
pub(super) fn whole_or_unlimited(value: &DeValue<'_>, most: u64, example: &str) -> Read<Option<u64>> {
    if unlimited(value)? { Ok(None) } else { whole(value, 1, most, example).map(Some) }
}

/// Recognises the word that lifts a limit; another word is a fault where `value` is no quantity in quotes.
fn unlimited(value: &DeValue<'_>) -> Read<bool> {
    match value.as_str() {
        Some("unlimited") => Ok(true),
        Some(word)
            if matches!(word.to_ascii_lowercase().as_str(), "none" | "no" | "off" | "infinite" | "unlimited") =>
        {
            Err(Fault::new(format!("expected a number or \"unlimited\", found {}", shown(word)))
                .hint(r#"write "unlimited""#))
        }
        _ => Ok(false),
    }
}

/// Messages a second, or none for no limit.
pub(super) fn rate(value: &DeValue<'_>) -> Read<Option<f64>> {
    rate_of(value, "messages")
}

/// Commands a second, or none for no limit.
pub(super) fn command_rate(value: &DeValue<'_>) -> Read<Option<f64>> {
    rate_of(value, "commands")
}

fn rate_of(value: &DeValue<'_>, what: &str) -> Read<Option<f64>> {
    /// One in a thousand seconds, and more than any server takes.
    const RANGE: std::ops::RangeInclusive<f64> = 0.001..=100_000.0;
    if unlimited(value)? {
        return Ok(None);
    }
    let Some(number) = number(value) else {
        return Err(wrong_type("a number or \"unlimited\"", value).hint("write a number without quotes, such as 10"));
    };
    if !RANGE.contains(&number) {
        let fault = Fault::new(format!("{number} is out of range: expected 0.001 to 100000 {what} a second"));
        return Err(fault.hint(r#"write a number such as 10, or "unlimited""#));
    }
    Ok(Some(number))
}

/// Bytes a second, or none for no limit.
pub(super) fn byte_rate(value: &DeValue<'_>) -> Read<Option<f64>> {
    if unlimited(value)? {
        return Ok(None);
    }
    #[allow(clippy::cast_precision_loss, reason = "at most 2^40")]
    let rate = |bytes: u64| Some(bytes as f64);
    bytes(value, (1 << 10, 1 << 40), r#""1 MiB""#).map(rate).map_err(|mut fault| {
        if value.as_str().is_some_and(|text| text.contains("/s")) {
            fault.hint = r#"leave out "/s": it is always by the second"#.to_owned();
        }
        fault
    })
}

/// Bytes a day, or none for no limit.
pub(super) fn bytes_per_day(value: &DeValue<'_>) -> Read<Option<u64>> {
    if unlimited(value)? {
        return Ok(None);
    }
    bytes(value, (1 << 20, 1 << 50), r#""500 MB""#).map(Some).map_err(|mut fault| {
        if value.as_str().is_some_and(|text| text.contains('/')) {
            fault.hint = "leave out what follows the slash: it is always by the day".to_owned();
        }
        fault
    })
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "ranges are far below 2^52")]
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number as f64)
        }
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

/// A number of bytes: an integer, or a string with a unit; `range` includes both ends.
pub(super) fn bytes(value: &DeValue<'_>, range: (u64, u64), example: &str) -> Read<u64> {
    let hint = format!("write a size such as {example}");
    let size = match value {
        DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        DeValue::String(text) => Some(bytes_of(text.trim()).map_err(|mut fault| {
            if fault.hint.is_empty() {
                fault.hint.clone_from(&hint);
            }
            fault
        })?),
        _ => return Err(wrong_type("a size", value).hint(hint)),
    };
    match size {
        Some(size) if (range.0..=range.1).contains(&size) => Ok(size),
        _ => {
            Err(Fault::new(format!("out of range: expected {} to {}", size_text(range.0), size_text(range.1)))
                .hint(hint))
        }
    }
}

/// Units by name, in bytes; those of ten and those of two are different things.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

fn bytes_of(text: &str) -> Read<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let Ok(number) = number.replace('_', "").parse::<f64>() else {
        return Err(Fault::new(format!("expected a size, found {}", shown(text))));
    };
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let fault = Fault::new(format!("no unit of bytes is called {}", shown(unit)));
        let bits = unit.ends_with('b') || unit.contains("bit");
        return Err(fault.hint(if bits {
            "sizes are in bytes, not bits: write KiB, MiB, GiB, kB, MB or GB"
        } else {
            "write B, KiB, MiB, GiB, kB, MB or GB"
        }));
    };
    #[allow(clippy::cast_precision_loss, reason = "a factor is at most 2^40")]
    let size = number * *factor as f64;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; saturates, then out of range"
    )]
    Ok(size as u64)
}

fn size_text(size: u64) -> String {
    let mut units =
        UNITS.iter().filter(|(_, factor)| factor.is_power_of_two() && *factor > 1 && size.is_multiple_of(*factor));
    match units.next_back() {
        Some((name, factor)) if size > 0 => format!("{} {name}", size / factor),
        _ => format!("{size} B"),
    }
}

/// A time with its unit; `range` includes both ends.
pub(super) fn duration(value: &DeValue<'_>, range: (Duration, Duration), example: &str) -> Read<Duration> {
    let hint = format!("write a time such as {example}");
    let text = match value {
        DeValue::String(text) => text.trim(),
        DeValue::Integer(integer) => {
            let fault = wrong_type("a time with its unit", value);
            return Err(fault.hint(format!("write \"{integer}s\" for seconds")));
        }
        _ => return Err(wrong_type("a time", value).hint(hint)),
    };
    let time = humantime::parse_duration(text)
        .map_err(|_| Fault::new(format!("expected a time, found {}", shown(text))).hint(hint.clone()))?;
    if (range.0..=range.1).contains(&time) {
        return Ok(time);
    }
    let (least, most) = (humantime::format_duration(range.0), humantime::format_duration(range.1));
    Err(Fault::new(format!("{} is out of range: expected {least} to {most}", shown(text))).hint(hint))
}

/// How long an outage is waited out; none for ever.
pub(super) fn patience(value: &DeValue<'_>) -> Read<Option<Duration>> {
    /// Longer than a year is for ever.
    const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
    match value.as_str() {
        Some("forever") => Ok(None),
        Some(text) if nearest(text, ["forever"]).is_some() => {
            Err(Fault::new(format!("expected a time or \"forever\", found {}", shown(text))).hint(r#"write "forever""#))
        }
        _ => duration(value, (Duration::ZERO, YEAR), r#""1h" or "forever""#).map(Some),
    }
}

/// A part of the whole, 0 to 1: a percentage in quotes or a number.
pub(super) fn part(value: &DeValue<'_>) -> Read<f64> {
    let hint = r#"write "1%" or 0.01"#;
    let (part, written) = match value {
        DeValue::String(text) => {
            let percent = text.trim().strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
            let Some(percent) = percent else {
                let fault = Fault::new(format!("expected a percentage, found {}", shown(text)));
                return Err(fault.hint(hint));
            };
            (percent / 100.0, shown(text))
        }
        _ => match number(value) {
            Some(number) => (number, number.to_string()),
            None => return Err(wrong_type("a percentage or a number from 0 to 1", value).hint(hint)),
        },
    };
    if (0.0..=1.0).contains(&part) {
        return Ok(part);
    }
    let fault = Fault::new(format!("{written} is out of range: expected 0% to 100%, or 0 to 1"));
    let percent = value.as_str().is_none() && (1.0..=100.0).contains(&part);
    Err(fault.hint(if percent { format!("write \"{part}%\" or {}", part / 100.0) } else { hint.to_owned() }))
}

/// A certificate's SHA-256: `sha256:` and 64 hexadecimal digits, colons between pairs allowed.
pub(super) fn pin(value: &DeValue<'_>) -> Read<Fingerprint> {
    const EXAMPLE: &str = r#""sha256:HEX" with the 64 digits that `openssl x509 -noout -fingerprint -sha256` prints"#;
    let Some(text) = value.as_str() else {
        return Err(wrong_type("a string", value).hint(format!("write {EXAMPLE}")));
    };
    let text = text.trim();
    let Some((kind, digits)) = text.split_once(':').filter(|(kind, _)| kind.eq_ignore_ascii_case("sha256")) else {
        return Err(Fault::new("expected a fingerprint that begins with \"sha256:\"").hint(format!("write {EXAMPLE}")));
    };
    debug_assert_eq!(kind.len(), 6);
    let digits: String = if digits.contains(':') {
        if digits.split(':').any(|pair| pair.len() != 2) {
            return Err(Fault::new("has colons that are not between pairs of digits").hint(format!("write {EXAMPLE}")));
        }
        digits.replace(':', "")
    } else {
        digits.to_owned()
    };
    if let Some(odd) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(Fault::new(format!("{odd:?} is no hexadecimal digit")).hint(format!("write {EXAMPLE}")));
    }
    if digits.len() != 64 {
        let fault = Fault::new(format!("has {} hexadecimal digits, expected 64", digits.len()));
        return Err(fault.hint(format!("write {EXAMPLE}")));
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).unwrap_or_default();
        *byte = u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap_or_default();
    }
    Ok(Fingerprint(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_ten_and_of_two() {
        for (written, expected) in [
            ("512", 512),
            ("512 B", 512),
            ("300 KiB", 300 << 10),
            ("300KiB", 300 << 10),
            ("1_000 kB", 1_000_000),
            ("2 MB", 2_000_000),
            ("1.5 GB", 1_500_000_000),
            ("1 TiB", 1 << 40),
        ] {
            assert_eq!(bytes_of(written).unwrap(), expected, "{written}");
        }
        for written in ["", "MB", "1 mb", "1 Mbit", "one MB", "1.2.3 MB", "1 MB/s", "-1", "1e3", "inf", "1 M"] {
            assert!(bytes_of(written).is_err(), "{written}");
        }
    }

    #[test]
    fn sizes_are_said_in_the_largest_whole_unit() {
        for (size, expected) in
            [(0, "0 B"), (1000, "1000 B"), (1 << 10, "1 KiB"), (3 << 20, "3 MiB"), (1 << 40, "1 TiB")]
        {
            assert_eq!(size_text(size), expected);
        }
    }

    #[test]
    fn a_part_is_a_percentage_or_a_number() {
        let part = |text: &str| part(DeValue::parse(text).unwrap().get_ref()).ok();
        for (written, expected) in [
            ("\"1%\"", Some(0.01)),
            ("\"2.5 %\"", Some(0.025)),
            ("\"100%\"", Some(1.0)),
            ("0.01", Some(0.01)),
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("1.01", None),
            ("-0.1", None),
            ("nan", None),
            ("\"nan%\"", None),
            ("\"1\"", None),
            ("true", None),
        ] {
            assert_eq!(part(written), expected, "{written}");
        }
    }
}
