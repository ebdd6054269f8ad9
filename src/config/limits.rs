//! What the tables of limits mean: one rate for each side and for hosts, with its time table.

use super::error::{Error, Fault};
use super::raw;
use super::reader::Given;
use super::times::TimeOfDay;
use crate::mail::Side;
use crate::pace::{DayAllowance, DayBegin, Days, Limits, Rate, Rates, Window};
use crate::provider;

/// One kind of rate in a table of limits, and in a window of its time table.
struct Key {
    base: fn(&raw::Limits) -> &Given<Option<f64>>,
    hours: fn(&raw::Hours) -> &Given<Option<f64>>,
}

const MESSAGES: Key = Key { base: |limits| &limits.messages_per_second, hours: |hours| &hours.messages_per_second };
const BYTES: Key = Key { base: |limits| &limits.bytes_per_second, hours: |hours| &hours.bytes_per_second };
const COMMANDS: Key = Key { base: |limits| &limits.commands_per_second, hours: |hours| &hours.commands_per_second };

/// The limits as they were written, and their defaults.
pub(super) struct Tables<'a> {
    written: &'a raw::Job,
    defaults: &'a raw::Job,
    utc_offset: i16,
}

impl<'a> Tables<'a> {
    /// Takes all tables; notes windows that say nothing.
    pub(super) fn new(written: &'a raw::Job, defaults: &'a raw::Job, errors: &mut Vec<Error>) -> Self {
        for table in [&written.limits, &written.source_limits, &written.target_limits, &written.host_limits] {
            table.times.iter().for_each(|hours| complain(hours, errors));
        }
        let utc_offset = written.utc_offset.or(&defaults.utc_offset).value().copied().unwrap_or_default();
        Self { written, defaults, utc_offset }
    }

    /// Gives the limits of one side: written for it, written for both, or the defaults in the same order.
    pub(super) fn side(&self, of: fn(&raw::Job) -> &raw::Limits) -> Option<Limits> {
        let tables = [of(self.written), &self.written.limits, of(self.defaults), &self.defaults.limits];
        let connections = tables.iter().find_map(|table| table.connections.value())?;
        Some(Limits { rates: self.rates(&tables)?, connections: usize::try_from(*connections).unwrap_or(usize::MAX) })
    }

    /// Gives the limits of hosts over all accounts; connections have their own place.
    pub(super) fn host(&self) -> Option<Rates> {
        self.rates(&[&self.written.host_limits, &self.defaults.host_limits])
    }

    /// Gives what one account may move in a day on a side: written, else what its host is known to allow.
    pub(super) fn bytes_per_day(&self, side: Side, host: &str) -> Option<DayAllowance> {
        let of = |job: &'a raw::Job| if side == Side::Source { &job.source_limits } else { &job.target_limits };
        let written = [of(self.written), &self.written.limits];
        let known = provider::day_quota(host);
        let begins = self.begins(written.iter().find_map(|table| table.day_begins.value().copied()), host);
        let bytes = match written.iter().find_map(|table| table.bytes_per_day.value()) {
            Some(written) => *written,
            None => known.map(|known| if side == Side::Source { known.down } else { known.up }),
        };
        Some(DayAllowance { bytes: bytes?, begins: begins? })
    }

    /// Gives what all accounts on a host may move in a day.
    pub(super) fn host_bytes_per_day(&self, host: &str) -> Option<DayAllowance> {
        let table = &self.written.host_limits;
        let begins = table.day_begins.or(&self.written.limits.day_begins);
        let begins = self.begins(begins.value().copied(), host);
        Some(DayAllowance { bytes: table.bytes_per_day.value().copied().flatten()?, begins: begins? })
    }

    /// Gives when a host's day begins: written, else as is known of its provider.
    fn begins(&self, written: Option<TimeOfDay>, host: &str) -> Option<DayBegin> {
        if written.is_none() && provider::day_quota(host).is_some() {
            return Some(DayBegin::Pacific);
        }
        let time = written.or_else(|| self.defaults.limits.day_begins.value().copied())?;
        Some(DayBegin::Utc(time.in_utc(self.utc_offset)))
    }

    fn rates(&self, tables: &[&raw::Limits]) -> Option<Rates> {
        Some(Rates {
            messages_per_second: self.rate(tables, &MESSAGES)?,
            bytes_per_second: self.rate(tables, &BYTES)?,
            commands_per_second: self.rate(tables, &COMMANDS)?,
        })
    }

    /// Goes through the tables, the first of which counts: a window replaces what any table says for no hours, or a rate for
    /// a side would take the hours of both away.
    fn rate(&self, tables: &[&raw::Limits], key: &Key) -> Option<Rate> {
        let hours = tables.iter().flat_map(|table| &table.times);
        let windows = hours.filter_map(|hours| Some((self.window(hours), *(key.hours)(hours).value()?))).collect();
        for table in tables {
            match (key.base)(table) {
                Given::Good(base) => return Some(Rate::new(base.value, windows)),
                Given::Bad => return None,
                Given::Absent => {}
            }
        }
        None
    }

    fn window(&self, hours: &raw::Hours) -> Window {
        let (from, until) = hours.hours.value().copied().unwrap_or((0, 24 * 60));
        Window { days: hours.days.value().copied().unwrap_or(Days::ALL), from, until, utc_offset: self.utc_offset }
    }
}

fn complain(hours: &raw::Hours, errors: &mut Vec<Error>) {
    if hours.days.is_absent() && hours.hours.is_absent() {
        let fault = Fault::new("says neither days nor hours");
        errors.push(hours.place.error(fault.hint(r#"write days = "mon-fri" or hours = "08:00-18:00", or both"#)));
    }
    if [&hours.messages_per_second, &hours.bytes_per_second, &hours.commands_per_second]
        .iter()
        .all(|rate| rate.is_absent())
    {
        let fault = Fault::new("says no limit for these hours");
        let hint = r#"write messages_per_second, bytes_per_second or commands_per_second: a number or "unlimited""#;
        errors.push(hours.place.error(fault.hint(hint)));
    }
}
