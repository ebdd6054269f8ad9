//! INTERNALDATE: read strictly, told as an instant.
//!
//! Secret: the calendar. A date is kept as the text it came in; the instant is worked out when asked for.

/// Seconds since 1970-01-01 00:00 +0000 of an RFC 3501 `date-time` without its quotes, or None if it is none.
///
/// `" 7-Feb-1994 21:52:25 -0800"`: the day is two digits or a space and a digit. A day that the month does not have,
/// a leap second or a zone of more than 23 hours 59 minutes is refused.
pub fn instant(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 26 || !bytes.is_ascii() {
        return None;
    }
    let shape = [(2, b'-'), (6, b'-'), (11, b' '), (14, b':'), (17, b':'), (20, b' ')];
    if shape.iter().any(|&(at, byte)| bytes[at] != byte) {
        return None;
    }
    let day = if bytes[0] == b' ' { number(&bytes[1..2])? } else { number(&bytes[0..2])? };
    let month = month(&text[3..6])?;
    let year = number(&bytes[7..11])?;
    let (hour, minute, second) = (number(&bytes[12..14])?, number(&bytes[15..17])?, number(&bytes[18..20])?);
    let (zone_hours, zone_minutes) = (number(&bytes[22..24])?, number(&bytes[24..26])?);
    let sign = match bytes[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let valid = (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && zone_hours < 24
        && zone_minutes < 60;
    valid.then(|| {
        let local = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        local - sign * (zone_hours * 3600 + zone_minutes * 60)
    })
}

/// The `date-time` of an instant, seen from a zone that is `zone_minutes` east of Greenwich.
pub fn format(instant: i64, zone_minutes: i64) -> String {
    let local = instant + zone_minutes * 60;
    let (day_number, rest) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (year, month, day) = civil(day_number);
    let sign = if zone_minutes < 0 { '-' } else { '+' };
    let zone = zone_minutes.abs();
    format!(
        "{day:2}-{}-{year:04} {:02}:{:02}:{:02} {sign}{:02}{:02}",
        MONTHS[(month - 1) as usize],
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        zone / 60,
        zone % 60
    )
}

/// The same instant as the text says, in +0000.
pub(crate) fn in_greenwich(text: &str) -> String {
    instant(text).map_or_else(|| text.to_owned(), |at| format(at, 0))
}

/// Day number (days since 1970-01-01) of a search `date` such as `1-Feb-1994`.
pub(crate) fn search_day(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (day, month_name, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (day, month, year) = (number(day.trim().as_bytes())?, month(month_name)?, number(year.as_bytes())?);
    (parts.next().is_none() && (1..=days_in(year, month)).contains(&day)).then(|| days(year, month, day))
}

/// Day number of a `date-time` in its own zone, which is what SEARCH SINCE compares.
pub(crate) fn local_day(text: &str) -> Option<i64> {
    instant(text)?;
    let bytes = text.as_bytes();
    let day = if bytes[0] == b' ' { number(&bytes[1..2])? } else { number(&bytes[0..2])? };
    Some(days(number(&bytes[7..11])?, month(&text[3..6])?, day))
}

/// Now, in +0000.
pub(crate) fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs().cast_signed(), 0)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

fn month(name: &str) -> Option<i64> {
    MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name)).map(|at| at as i64 + 1)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01, counting years from March so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(day_number: i64) -> (i64, i64, i64) {
    let shifted = day_number + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era_days = shifted.rem_euclid(146_097);
    let of_era = (of_era_days - of_era_days / 1460 + of_era_days / 36_524 - of_era_days / 146_096) / 365;
    let of_year = of_era_days - (365 * of_era + of_era / 4 - of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_those_of_the_calendar() {
        assert_eq!(instant("01-Jan-1970 00:00:00 +0000"), Some(0));
        assert_eq!(instant(" 7-Feb-1994 21:52:25 -0800"), Some(760_686_745));
        assert_eq!(instant("29-Feb-2000 12:00:00 +0545"), Some(951_804_900));
        assert_eq!(instant("31-Dec-1969 23:59:59 +0000"), Some(-1));
    }

    #[test]
    fn malformed_dates_are_refused() {
        for text in [
            "7-Feb-1994 21:52:25 -0800",
            "31-Feb-1994 21:52:25 -0800",
            "29-Feb-1900 21:52:25 -0800",
            "00-Jan-1994 21:52:25 -0800",
            "07-Foo-1994 21:52:25 -0800",
            "07-Feb-1994 24:52:25 -0800",
            "07-Feb-1994 21:52:25 0800",
            "07-Feb-1994 21:52:25 -08000",
            "07-Feb-94 21:52:25 -0800",
            "",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn format_and_instant_are_inverse() {
        let mut at = -2_000_000_000_i64;
        while at < 4_000_000_000 {
            for zone in [-720, -210, 0, 60, 345, 840] {
                assert_eq!(instant(&format(at, zone)), Some(at));
            }
            at += 86_400 * 13 + 4567;
        }
    }

    #[test]
    fn search_days_are_those_of_the_messages_own_zone() {
        assert_eq!(search_day("1-Jan-1970"), Some(0));
        assert_eq!(local_day("02-Jan-1970 00:30:00 +0200"), Some(1));
        assert_eq!(search_day("1-Jan-1970x"), None);
    }
}
