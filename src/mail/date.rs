//! INTERNALDATE: an instant and the zone it was written in.

use std::fmt;

/// The date a server gives a message (RFC 9051, 2.3.3), kept with its zone so that it is sent as it was read.
///
/// Two dates are the same where their instants are: servers such as Dovecot's Maildir do not keep the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InternalDate {
    /// Seconds since 1970-01-01T00:00:00Z.
    unix: i64,
    /// Minutes east of Greenwich, -1439..=1439.
    zone: i16,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 86_400;

impl InternalDate {
    /// Makes a date from an instant in seconds since 1970 and a zone in minutes east of Greenwich.
    ///
    /// None where the local date would lie outside the years 1 to 9999, which is all that four digits can say.
    #[must_use]
    pub fn new(unix: i64, zone: i16) -> Option<Self> {
        let local = unix.checked_add(i64::from(zone) * 60)?;
        let (year, ..) = civil(local.div_euclid(DAY));
        ((1..=9999).contains(&year) && zone.abs() < 1440).then_some(Self { unix, zone })
    }

    /// Reads `" 1-Feb-2021 03:04:05 +0100"` and its lenient forms: no leading space, one digit, any case.
    ///
    /// None for what is no date: day 0, 30 February, year 0, hour 24. A leap second counts as the second after.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim();
        let (date, rest) = text.split_once(' ')?;
        let (time, zone) = rest.trim().split_once(' ')?;
        let mut date = date.splitn(3, '-');
        let day = number(date.next()?, 1..=2)?;
        let month = date.next()?;
        let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as i64 + 1;
        let year = number(date.next()?, 4..=4)?;
        let mut time = time.splitn(3, ':').map(|part| number(part, 2..=2));
        let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
        let zone = parse_zone(zone.trim())?;
        if year < 1 || day < 1 || day > month_days(year, month) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let local = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        Self::new(local - i64::from(zone) * 60, zone)
    }

    /// Gives seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix(self) -> i64 {
        self.unix
    }

    /// Gives the zone in minutes east of Greenwich.
    #[must_use]
    pub fn zone(self) -> i16 {
        self.zone
    }

    /// Says whether every server knows the time: before 1970 and after 2037 some do not.
    #[must_use]
    pub fn is_usual(self) -> bool {
        (0..2_145_916_800).contains(&self.unix)
    }

    /// Packs instant and zone into one number; [`Self::unpack`] is its inverse.
    pub(super) fn pack(self) -> i64 {
        (self.unix << 12) | i64::from(self.zone + 2048)
    }

    pub(super) fn unpack(packed: i64) -> Self {
        Self { unix: packed >> 12, zone: (packed & 0xfff) as i16 - 2048 }
    }
}

/// The exact form of RFC 9051's `date-time`, without quotes: two places for the day, the first of them a space.
impl fmt::Display for InternalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.unix + i64::from(self.zone) * 60;
        let (year, month, day) = civil(local.div_euclid(DAY));
        let second = local.rem_euclid(DAY);
        let (sign, zone) = if self.zone < 0 { ('-', -self.zone) } else { ('+', self.zone) };
        write!(
            f,
            "{day:>2}-{}-{year:04} {:02}:{:02}:{:02} {sign}{:02}{:02}",
            MONTHS[month as usize - 1],
            second / 3600,
            second / 60 % 60,
            second % 60,
            zone / 60,
            zone % 60
        )
    }
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    (digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn parse_zone(text: &str) -> Option<i16> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = number(&text[1..], 4..=4)? as i16;
    let (hours, minutes) = (digits / 100, digits % 100);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1]
}

/// A provider's day: when it begins, and when those beside it do; in seconds since 1970. It has 23 hours where the clocks go
/// forward, and 25 where they go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// When the day before it began.
    pub before: i64,
    /// When it begins: its name.
    pub begins: i64,
    /// When the next one begins.
    pub ends: i64,
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, counted in years that begin in March.
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_in_every_form_servers_use() {
        for (text, unix, zone) in [
            ("17-Jul-1996 02:44:25 -0700", 837_596_665, -420),
            (" 1-Jan-1970 00:00:00 +0000", 0, 0),
            ("1-Jan-1970 00:00:00 +0000", 0, 0),
            ("01-jan-1970 00:00:00 +0000", 0, 0),
            ("30-Dec-1899 00:00:00 +0000", -2_209_161_600, 0),
            ("29-Feb-2024 23:59:60 +1400", 1_709_200_800, 840),
        ] {
            let date = InternalDate::parse(text.as_bytes()).unwrap();
            assert_eq!((date.unix(), date.zone()), (unix, zone), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "00-Jan-0000 00:00:00 +0000",
            "00-Jan-2000 00:00:00 +0000",
            "30-Feb-2020 00:00:00 +0000",
            "1-Jan-2020 24:00:00 +0000",
            "1-Jan-2020 00:00:00",
            "1-Jan-20 00:00:00 +0000",
            "1-Foo-2020 00:00:00 +0000",
            "1-Jan-2020 00:00:00 +9999",
            "\u{ff11}-Jan-2020 00:00:00 +0000",
        ] {
            assert_eq!(InternalDate::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_day_of_one_digit_is_written_with_a_space() {
        assert_eq!(
            InternalDate::parse(b"5-Feb-2021 03:04:05 +0100").unwrap().to_string(),
            " 5-Feb-2021 03:04:05 +0100"
        );
    }

    proptest! {
        #[test]
        fn every_date_survives_writing_and_packing(unix in -62_135_000_000i64..253_402_000_000, zone in -839i16..=839) {
            if let Some(date) = InternalDate::new(unix, zone) {
                prop_assert_eq!(InternalDate::parse(date.to_string().as_bytes()), Some(date));
                prop_assert_eq!(InternalDate::unpack(date.pack()), date);
            }
        }

        /// RFC 9051, 9: `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`.
        #[test]
        fn f45_every_date_is_written_as_the_grammar_has_it(unix in any::<i64>(), zone in any::<i16>(), near in any::<bool>()) {
            let unix = if near { unix.rem_euclid(253_402_300_800 + 62_135_596_800) - 62_135_596_800 } else { unix };
            let zone = if near { zone.rem_euclid(2879) - 1439 } else { zone };
            if let Some(date) = InternalDate::new(unix, zone) {
                let text = date.to_string();
                let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
                let month = MONTHS.iter().find(|month| text[3..].starts_with(*month)).copied().unwrap_or("none");
                let sign = if zone < 0 { '-' } else { '+' };
                let day = if text.starts_with(' ') { " 9" } else { "99" };
                prop_assert_eq!(shape, format!("{day}-{month}-9999 99:99:99 {sign}9999"));
                prop_assert!(text[..2].trim() != "0" && &text[..1] != "0" && &text[7..11] != "0000", "{}", text);
                prop_assert!(text[12..14] < *"24" && text[15..17] < *"60" && text[18..20] < *"60", "{}", text);
                prop_assert!(text[22..24] < *"24" && text[24..26] < *"60", "{}", text);
            }
        }
    }
}
