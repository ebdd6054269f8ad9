//! How many connections an account takes of those that its hosts let all accounts have together: as many as the others, so
//! that nobody has to be asked for one back; more, as others come to their end. Who is alone takes all at once; others begin
//! with one, and take one more every few seconds.

use crate::config::{Account, Job, Mailbox};
use crate::mail::Side;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// An account that is not alone takes one more after each of these: to sign in costs a host as much as hundreds of messages, and
/// accounts side by side use it as well as the connections of one.
pub(super) const GROWTH: Duration = Duration::from_secs(5);

/// Clones of the receiver hear whenever an account has ended.
pub(super) struct Shares {
    /// Accounts that have not ended, by host.
    left: watch::Sender<BTreeMap<String, usize>>,
    /// Accounts worked on at once.
    at_once: usize,
    /// Connections that a host lets all of them have.
    max: Option<usize>,
}

/// Gives what a host is known by to all who share its connections.
pub(super) fn host(side: Side, mailbox: &Mailbox) -> String {
    format!("{side} {}:{}", mailbox.endpoint.host.to_lowercase(), mailbox.endpoint.port)
}

fn hosts(account: &Account) -> [String; 2] {
    [host(Side::Source, &account.source), host(Side::Target, &account.target)]
}

impl Shares {
    pub(super) fn of(job: &Job) -> Self {
        let mut left = BTreeMap::new();
        for host in job.accounts.iter().flat_map(hosts) {
            *left.entry(host).or_default() += 1;
        }
        Self { left: watch::Sender::new(left), at_once: job.options.accounts.max(1), max: job.host_connections }
    }

    /// Gives the part of an account that has been at work for so long, on each of its hosts; at least 1.
    pub(super) fn part(&self, account: &Account, at_work: Duration) -> usize {
        let left = self.left.borrow();
        let sharing = hosts(account).iter().filter_map(|host| left.get(host)).copied().max().unwrap_or(1);
        let sharing = sharing.clamp(1, self.at_once);
        let grown = if sharing == 1 { usize::MAX } else { 1 + (at_work.as_secs() / GROWTH.as_secs()) as usize };
        self.max.map_or(usize::MAX, |max| max / sharing).min(grown).max(1)
    }

    /// Counts an account until what is given is dropped.
    pub(super) fn until_it_ends<'a>(&'a self, account: &'a Account) -> impl Drop + 'a {
        struct Counted<'a>(&'a Shares, &'a Account);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.left.send_modify(|left| {
                    for host in hosts(self.1) {
                        left.entry(host).and_modify(|count| *count = count.saturating_sub(1));
                    }
                });
            }
        }
        Counted(self, account)
    }

    pub(super) fn changes(&self) -> watch::Receiver<BTreeMap<String, usize>> {
        self.left.subscribe()
    }
}
