//! What a job means: the written keys over the defaults, checked against each other and against what lies around.

use super::error::{Error, Fault, Place, shown};
use super::limits::Tables;
use super::mailboxes::{self, Mailboxes};
use super::raw;
use super::reader::{Given, SECRET_FORMS, Written};
use super::{Account, Context, Job, Patience, folders};
use crate::mail::{Digest, Side};
use crate::transfer::Options;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is known of a job file before it is read.
pub(super) struct Origin<'a> {
    pub(super) path: &'a Path,
    pub(super) absolute: PathBuf,
    pub(super) digest: Digest,
    pub(super) context: &'a Context,
}

/// Gives a file's meaning; None with errors noted.
pub(super) fn job(
    written: &raw::Job,
    accounts: &[raw::Account],
    defaults: &raw::Job,
    origin: &Origin<'_>,
    errors: &mut Vec<Error>,
) -> Option<Job> {
    let mut warnings = Warnings::default();
    let folders = folders::rules(&written.folders, &defaults.folders, errors);
    let options = options(&written.transfer, &defaults.transfer, origin.context.patience, errors);
    let limits = Tables::new(written, defaults, errors);
    let mut accounts = self::accounts(written, accounts, defaults, origin, &mut warnings, errors);
    for account in accounts.iter_mut().flatten() {
        for (side, mailbox) in [(Side::Source, &mut account.source), (Side::Target, &mut account.target)] {
            mailbox.bytes_per_day = limits.bytes_per_day(side, &mailbox.endpoint.host);
            mailbox.host_bytes_per_day = limits.host_bytes_per_day(&mailbox.endpoint.host);
        }
    }
    let stem = || origin.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let host_connections = written.host_connections.or(&defaults.host_connections);
    Some(Job {
        name: written.name.value().cloned().or_else(stem).unwrap_or_else(|| "job".to_owned()),
        path: origin.absolute.clone(),
        digest: origin.digest,
        order: *written.order.or(&defaults.order).value()?,
        folders: folders?,
        source_limits: limits.side(|job| &job.source_limits)?,
        target_limits: limits.side(|job| &job.target_limits)?,
        host_rates: limits.host()?,
        host_connections: host_connections.value()?.map(to_usize),
        options: options?,
        accounts: accounts?,
        warnings: warnings.into_texts(origin.context),
    })
}

fn options(
    written: &raw::Transfer,
    defaults: &raw::Transfer,
    patience: Patience,
    errors: &mut Vec<Error>,
) -> Option<Options> {
    let spool_above = written.spool_above.or(&defaults.spool_above);
    let memory = written.memory.or(&defaults.memory);
    if let (Some(spool), Some(room)) = (spool_above.good(), memory.good())
        && spool.value > room.value
    {
        let place = if written.memory.good().is_some() { &room.place } else { &spool.place };
        let fault = Fault::new("spool_above is more than memory: a message below it would not fit");
        errors.push(place.error(fault.hint("lower spool_above or raise memory")));
        return None;
    }
    let outage = match (&written.outage, patience) {
        (Given::Absent, Patience::Daemon) => None,
        _ => *written.outage.or(&defaults.outage).value()?,
    };
    let time = |written: &Given<Duration>, default| written.or(default).value().copied();
    Some(Options {
        accounts: to_usize(*written.accounts.or(&defaults.accounts).value()?),
        outage,
        first_contact: time(&written.first_contact, &defaults.first_contact)?,
        timeout: time(&written.timeout, &defaults.timeout)?,
        settle: time(&written.settle, &defaults.settle)?,
        late: time(&written.late, &defaults.late)?,
        sample: *written.sample.or(&defaults.sample).value()?,
        spool_above: *spool_above.value()?,
        deleted: *written.copy_deleted.or(&defaults.copy_deleted).value()?,
        memory: *memory.value()?,
    })
}

/// Counts that were read in a range far below any address space.
fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn accounts(
    written: &raw::Job,
    raw_accounts: &[raw::Account],
    defaults: &raw::Job,
    origin: &Origin<'_>,
    warnings: &mut Warnings,
    errors: &mut Vec<Error>,
) -> Option<Vec<Account>> {
    let before = errors.len();
    let mut source = Mailboxes::new(Side::Source, &written.source, &defaults.source, origin.context);
    let mut target = Mailboxes::new(Side::Target, &written.target, &defaults.target, origin.context);
    let mut accounts = Vec::with_capacity(raw_accounts.len());
    for raw in raw_accounts {
        let source = source.mailbox(raw, warnings, errors);
        let target = target.mailbox(raw, warnings, errors);
        if let (Some(source), Some(target)) = (source, target) {
            let name = raw.name.value().cloned().unwrap_or_default();
            accounts.push((raw, Account { name, source, target }));
        }
    }
    mailboxes::distinct(&accounts, warnings, errors);
    names(&mut accounts, errors);
    (errors.len() == before).then(|| accounts.into_iter().map(|(_, account)| account).collect())
}

/// Names the accounts that were given no name, so that a person can tell all of them apart.
fn names(accounts: &mut [(&raw::Account, Account)], errors: &mut Vec<Error>) {
    let mut taken: HashMap<String, usize> = HashMap::new();
    for (raw, account) in accounts.iter() {
        let Some(Written { value, place }) = raw.name.good() else { continue };
        if let Some(line) = taken.insert(value.clone(), place.line) {
            let fault = Fault::new(format!("another account is called {} (line {line})", shown(&account.name)));
            errors.push(
                place.error(fault.hint("give each account a name of its own, or none: then its user is its name")),
            );
        }
    }
    if !errors.is_empty() {
        return;
    }
    for (raw, account) in accounts.iter_mut().filter(|(raw, _)| raw.name.is_absent()) {
        let user = &account.source.sign_in.user;
        let candidates = [user.clone(), format!("{user} at {}", account.source.endpoint.host)];
        let numbered = (2..).map(|number| format!("{user} ({number})"));
        let free = candidates.into_iter().chain(numbered).find(|name| !taken.contains_key(name));
        account.name = free.unwrap_or_default();
        taken.insert(account.name.clone(), raw.place.line);
    }
}

/// What is accepted and not advised.
#[derive(Default)]
pub(super) struct Warnings {
    texts: Vec<String>,
    said: HashSet<String>,
    /// Where secrets are written out.
    plain: Vec<Place>,
}

impl Warnings {
    /// Notes something; said twice, it is told once.
    pub(super) fn add(&mut self, place: &Place, fault: impl Into<Fault>) {
        let text = place.error(fault).to_string();
        if self.said.insert(text.clone()) {
            self.texts.push(text);
        }
    }

    /// Notes a secret that is written out; to be called once for each.
    pub(super) fn add_plain(&mut self, place: &Place) {
        self.plain.push(place.clone());
    }

    /// Gives the texts; secrets that are written out become one, since forty lines of it would hide the others.
    fn into_texts(mut self, context: &Context) -> Vec<String> {
        if let Some(first) = self.plain.first().cloned() {
            let what = match self.plain.len() {
                1 => "a secret is written in the file itself".to_owned(),
                count => format!("{count} secrets, this one and others below, are written in the file itself"),
            };
            let open = context.surroundings.secret_file(&first.file).is_ok_and(|file| file.is_open_to_others);
            let others = if open { ", which others on this machine may read" } else { "" };
            self.add(&first, Fault::new(format!("{what}{others}")).hint(format!("better {SECRET_FORMS}")));
        }
        self.texts
    }
}
