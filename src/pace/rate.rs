//! So much a second, and at other hours so much: rates with a time table.

use super::clock::unix;
use std::time::{Duration, SystemTime};

const DAY_SECONDS: i64 = 24 * 3600;

/// So much a second. Pure: what it is worth is asked with a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rate {
    /// Outside all windows. None: no limit.
    always: Option<f64>,
    /// The first that holds counts.
    windows: Vec<(Window, Option<f64>)>,
}

impl Rate {
    /// Makes a rate: `always`, but in a window what stands beside it; of windows that hold at once the first counts. None: no
    /// limit.
    #[must_use]
    pub fn new(always: Option<f64>, windows: Vec<(Window, Option<f64>)>) -> Self {
        Self { always, windows }
    }

    /// Says whether it never holds anything back.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.always.is_none() && self.windows.iter().all(|(_, rate)| rate.is_none())
    }

    /// Gives what holds at a time. None: no limit.
    #[must_use]
    pub fn at(&self, time: SystemTime) -> Option<f64> {
        self.windows.iter().find(|(window, _)| window.holds(time)).map_or(self.always, |(_, rate)| *rate)
    }

    /// Gives how long after `time` another rate may hold. None: this one always does.
    #[must_use]
    pub fn change_after(&self, time: SystemTime) -> Option<Duration> {
        self.windows.iter().map(|(window, _)| window.edge_after(time)).min()
    }
}

impl From<Option<f64>> for Rate {
    fn from(always: Option<f64>) -> Self {
        Self::new(always, Vec::new())
    }
}

/// Hours of some days of the week. Hours that end before they begin go on past midnight, into the day after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The days on which it begins.
    pub days: Days,
    /// Minutes after midnight, below 1440.
    pub from: u16,
    /// Minutes after midnight, not within; at most 1440, and never `from`.
    pub until: u16,
    /// Minutes east of Greenwich of the clock it is read on.
    pub utc_offset: i16,
}

impl Window {
    /// Says whether a time lies within.
    #[must_use]
    pub fn holds(&self, time: SystemTime) -> bool {
        let local = self.local(time);
        let (day, minute) = (local.div_euclid(DAY_SECONDS), local.rem_euclid(DAY_SECONDS) / 60);
        let (from, until) = (i64::from(self.from), i64::from(self.until));
        if from < until {
            return self.days.has(day) && (from..until).contains(&minute);
        }
        self.days.has(day) && minute >= from || self.days.has(day - 1) && minute < until
    }

    /// Gives how long it is until the clock next shows one of its hours, whatever the day.
    fn edge_after(&self, time: SystemTime) -> Duration {
        let second = self.local(time).rem_euclid(DAY_SECONDS);
        let until = |minute: u16| {
            let seconds = (i64::from(minute) * 60 - second).rem_euclid(DAY_SECONDS);
            if seconds == 0 { DAY_SECONDS } else { seconds }
        };
        let seconds = until(self.from).min(until(self.until));
        // The second that has begun already.
        let begun = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        Duration::from_secs(seconds.unsigned_abs()).saturating_sub(Duration::from_nanos(begun.into()))
    }

    fn local(&self, time: SystemTime) -> i64 {
        unix(time) + i64::from(self.utc_offset) * 60
    }
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// The whole week.
    pub const ALL: Self = Self(0b111_1111);

    /// Makes a set of days, Monday is 0.
    #[must_use]
    pub fn new(days: impl IntoIterator<Item = u8>) -> Self {
        Self(days.into_iter().fold(0, |set, day| set | 1 << (day % 7)))
    }

    /// `day`: days since 1970, whose first was a Thursday.
    fn has(self, day: i64) -> bool {
        self.0 >> (day + 3).rem_euclid(7) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[u8], from: (u16, u16), until: (u16, u16), utc_offset: i16) -> Window {
        let days = Days::new(days.iter().copied());
        Window { days, from: from.0 * 60 + from.1, until: until.0 * 60 + until.1, utc_offset }
    }

    /// Reads a time of November 2026, whose 2nd is a Monday.
    fn time(text: &str) -> SystemTime {
        humantime::parse_rfc3339(&format!("2026-11-{text}Z")).unwrap()
    }

    #[test]
    fn a_window_holds_on_its_days_and_hours() {
        let office = window(&[0, 1, 2, 3, 4], (8, 0), (18, 0), 0);
        let night = window(&[4], (22, 0), (6, 30), 0);
        let berlin = window(&[0], (0, 0), (24, 0), 60);
        let new_york = window(&[0], (9, 0), (17, 0), -300);
        for (window, at, expected) in [
            (office, "02T08:00:00", true),
            (office, "02T07:59:59", false),
            (office, "06T17:59:59", true),
            (office, "06T18:00:00", false),
            (office, "07T12:00:00", false),
            (office, "08T12:00:00", false),
            // Friday night, that is Friday evening and Saturday morning.
            (night, "06T22:00:00", true),
            (night, "07T06:29:59", true),
            (night, "07T06:30:00", false),
            (night, "06T06:00:00", false),
            (night, "07T22:30:00", false),
            (berlin, "01T22:59:59", false),
            (berlin, "01T23:00:00", true),
            (berlin, "02T22:59:59", true),
            (berlin, "02T23:00:00", false),
            (new_york, "02T14:00:00", true),
            (new_york, "02T13:59:59", false),
        ] {
            assert_eq!(window.holds(time(at)), expected, "{window:?} at {at}");
        }
    }

    #[test]
    fn the_first_window_that_holds_counts() {
        let morning = window(&[0], (8, 0), (12, 0), 0);
        let day = window(&[0, 1, 2, 3, 4, 5, 6], (6, 0), (20, 0), 0);
        let rate = Rate::new(Some(100.0), vec![(morning, Some(5.0)), (day, None)]);
        for (at, expected) in [
            ("02T09:00:00", Some(5.0)),
            ("02T07:00:00", None),
            ("02T12:00:00", None),
            ("03T09:00:00", None),
            ("03T05:59:59", Some(100.0)),
        ] {
            assert_eq!(rate.at(time(at)), expected, "{at}");
        }
        assert!(!rate.is_unlimited());
        assert!(Rate::new(None, vec![(day, None)]).is_unlimited());
    }

    #[test]
    fn the_next_change_is_an_edge_of_a_window() {
        let office = window(&[0, 1, 2, 3, 4], (8, 0), (18, 0), 0);
        let rate = Rate::new(None, vec![(office, Some(5.0))]);
        for (at, seconds) in [("02T07:59:59.250", 0.75), ("02T08:00:00", 36_000.0), ("02T19:00:00", 46_800.0)] {
            assert_eq!(rate.change_after(time(at)).unwrap().as_secs_f64(), seconds, "{at}");
        }
        assert_eq!(Rate::from(Some(1.0)).change_after(time("02T08:00:00")), None);
    }
}
