//! Days, hours and offsets, as people write them.

use super::error::{Fault, listed, nearest, shown};
use super::value::{Read, wrong_type};
use crate::pace::Days;
use toml::de::DeValue;

const DAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const HOURS_HINT: &str = r#"write hours = "08:00-18:00""#;
const OFFSET_HINT: &str = r#"write hours and minutes east of Greenwich, such as "+01:00" or "-08:00""#;
/// Minutes east of Greenwich that clocks have.
const OFFSETS: std::ops::RangeInclusive<i16> = -12 * 60..=14 * 60;
const DAY_MINUTES: u16 = 24 * 60;

fn text<'a>(value: &'a DeValue<'_>, hint: &str) -> Read<&'a str> {
    value.as_str().map(str::trim).ok_or_else(|| wrong_type("a string", value).hint(hint))
}

/// Days of the week: names and ranges of them, separated by commas.
pub(super) fn days(value: &DeValue<'_>) -> Read<Days> {
    const HINT: &str = r#"write days = "mon-fri" or "sat,sun""#;
    let mut days = Vec::new();
    for part in text(value, HINT)?.split(',') {
        let (from, until) = part.split_once('-').unwrap_or((part, part));
        let (from, until) = (day(from.trim(), HINT)?, day(until.trim(), HINT)?);
        let count = (until + 7 - from) % 7 + 1;
        days.extend((from..from + count).map(|day| day % 7));
    }
    Ok(Days::new(days))
}

fn day(word: &str, hint: &str) -> Read<u8> {
    let lower = word.to_lowercase();
    let is_meant = |(name, full): (&&str, &str)| lower == **name || lower == full;
    let full = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    match DAYS.iter().zip(full).position(is_meant) {
        Some(at) => Ok(at as u8),
        None => {
            let fault =
                Fault::new(format!("no day is called {}: expected {}", shown(word), listed(DAYS.iter().copied())));
            Err(match nearest(&lower, DAYS.iter().copied()) {
                Some(near) => fault.hint(format!("did you mean {}?", shown(near))),
                None => fault.hint(hint),
            })
        }
    }
}

/// Hours of a day, in minutes after midnight; those that end before they begin end on the next day.
pub(super) fn hours(value: &DeValue<'_>) -> Read<(u16, u16)> {
    let written = text(value, HOURS_HINT)?;
    let Some((from, until)) = written.split_once('-') else {
        return Err(Fault::new(format!("expected two times, found {}", shown(written))).hint(HOURS_HINT));
    };
    let (from, until) = (minute(from.trim(), HOURS_HINT)?, minute(until.trim(), HOURS_HINT)?);
    if from == until {
        let fault = Fault::new(format!("{} begins when it ends", shown(written)));
        return Err(fault.hint(r#"write "00:00-24:00" for the whole day"#));
    }
    if from == DAY_MINUTES {
        return Err(Fault::new("begins at 24:00").hint("a day begins at 00:00; 24:00 is its end"));
    }
    Ok((from, until))
}

/// A time of day, in minutes after midnight; 24:00 is the end of the day.
fn minute(text: &str, hint: &str) -> Read<u16> {
    let fault = || Fault::new(format!("no time of day is {}", shown(text))).hint(hint);
    let (hour, minute) = pair(text).ok_or_else(fault)?;
    match hour * 60 + minute {
        all if minute < 60 && all <= DAY_MINUTES => Ok(all),
        _ => Err(fault()),
    }
}

/// Reads two numbers of two digits at the most around a colon.
fn pair(text: &str) -> Option<(u16, u16)> {
    let (left, right) = text.split_once(':')?;
    let number = |text: &str, least: usize| -> Option<u16> {
        let fits = (least..=2).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
        if fits { text.parse().ok() } else { None }
    };
    Some((number(left, 1)?, number(right, 2)?))
}

/// A time of day, on a clock that is named or is the job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeOfDay {
    /// Minutes after midnight.
    pub(super) minute: u16,
    /// Minutes east of Greenwich; None: the job says.
    pub(super) utc_offset: Option<i16>,
}

impl TimeOfDay {
    /// Gives the minutes after midnight UTC.
    pub(super) fn in_utc(self, utc_offset: i16) -> u16 {
        let minute = i32::from(self.minute) - i32::from(self.utc_offset.unwrap_or(utc_offset));
        u16::try_from(minute.rem_euclid(i32::from(DAY_MINUTES))).unwrap_or_default()
    }
}

/// When a day begins: a time, and where need be the offset of the clock that shows it.
pub(super) fn day_begins(value: &DeValue<'_>) -> Read<TimeOfDay> {
    const HINT: &str = r#"write a time, such as "00:00", or a time and an offset, such as "00:00 -08:00""#;
    let written = text(value, HINT)?;
    let (time, rest) = written.split_once(' ').unwrap_or((written, ""));
    let utc_offset = match rest.trim() {
        "" => None,
        rest => Some(offset(rest)?),
    };
    Ok(TimeOfDay { minute: minute(time, HINT)? % DAY_MINUTES, utc_offset })
}

/// How far a clock is ahead of Greenwich, in minutes.
pub(super) fn utc_offset(value: &DeValue<'_>) -> Read<i16> {
    offset(text(value, OFFSET_HINT)?)
}

fn offset(text: &str) -> Read<i16> {
    let fault = || Fault::new(format!("no offset from UTC is {}", shown(text))).hint(OFFSET_HINT);
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return Err(fault()),
    };
    let (hours, minutes) = pair(rest).filter(|(_, minutes)| *minutes < 60).ok_or_else(fault)?;
    let offset = sign * i16::try_from(hours * 60 + minutes).unwrap_or(i16::MAX);
    if OFFSETS.contains(&offset) { Ok(offset) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> DeValue<'static> {
        DeValue::String(text.to_owned().into())
    }

    #[test]
    fn days_are_names_and_ranges() {
        for (written, expected) in [
            ("mon", vec![0]),
            ("mon-fri", vec![0, 1, 2, 3, 4]),
            ("Sat, Sunday", vec![5, 6]),
            ("fri-mon", vec![4, 5, 6, 0]),
            ("mon-sun", vec![0, 1, 2, 3, 4, 5, 6]),
            ("wed,mon-tue", vec![0, 1, 2]),
        ] {
            assert_eq!(days(&value(written)).unwrap(), Days::new(expected), "{written}");
        }
        for written in ["", "mo", "mon-", "weekdays", "mon fri", "mon,,tue"] {
            assert!(days(&value(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn hours_are_two_times() {
        for (written, expected) in
            [("08:00-18:00", (480, 1080)), ("22:30 - 6:00", (1350, 360)), ("00:00-24:00", (0, 1440))]
        {
            assert_eq!(hours(&value(written)).unwrap(), expected, "{written}");
        }
        for written in
            ["", "8-18", "08:00", "08:00-08:00", "24:00-08:00", "08:60-18:00", "08:00-25:00", "8:0-9:0", "+1:00-2:00"]
        {
            assert!(hours(&value(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn an_offset_is_ahead_or_behind() {
        for (written, expected) in [("+01:00", 60), ("-08:00", -480), ("+05:30", 330), ("+00:00", 0)] {
            assert_eq!(utc_offset(&value(written)).unwrap(), expected, "{written}");
        }
        for written in ["", "01:00", "+1", "+15:00", "-13:00", "CET", "+01:60"] {
            assert!(utc_offset(&value(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn a_day_begins_at_a_time_on_some_clock() {
        for (written, expected) in
            [("00:00", 0), ("08:00", 480), ("00:00 -08:00", 480), ("00:00 +01:00", 1380), ("24:00 +00:00", 0)]
        {
            assert_eq!(day_begins(&value(written)).unwrap().in_utc(0), expected, "{written}");
        }
        assert_eq!(day_begins(&value("00:00")).unwrap().in_utc(60), 1380, "the job's own clock");
        for written in ["", "midnight", "00:00 PST", "-08:00", "00:00-08:00"] {
            assert!(day_begins(&value(written)).is_err(), "{written}");
        }
    }
}
