//! Exit codes: what a script can rely on.

use crate::failure::{Failure, Kind};
use crate::transfer::{AccountCheck, AccountEnd, AccountPlan, AccountVerdict, Ending};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// How a command ended. The numbers stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for is done.
    Complete = 0,
    /// The program is at fault, or its output cannot be written.
    Internal = 1,
    /// A job file or the command line cannot be used; nothing was connected to.
    Unusable = 2,
    /// Done but for messages or folders that are listed.
    Exceptions = 3,
    /// Stopped by a signal.
    Stopped = 4,
    /// A server asks to wait for longer than this run does.
    Parked = 5,
    /// Verified, and something is missing or differs that nothing explains.
    Incomplete = 6,
    /// A sign-in was refused.
    SignInRefused = 10,
    /// A host's name has no address.
    HostUnknown = 11,
    /// Nobody listens, or no way leads there.
    Unreachable = 12,
    /// A server says nothing.
    Silent = 13,
    /// A certificate has expired, or is not valid yet.
    CertificateExpired = 14,
    /// A certificate is for other names.
    CertificateName = 15,
    /// Nobody who is trusted has signed a certificate.
    CertificateUntrusted = 16,
    /// A server offers no TLS where the job asks for it.
    TlsMissing = 17,
    /// TLS failed otherwise.
    TlsFailed = 18,
    /// A connection was lost and did not come back.
    Lost = 19,
    /// A password or token could not be got while running.
    SecretMissing = 20,
    /// A mailbox cannot be opened.
    MailboxClosed = 21,
    /// The target mailbox is full.
    MailboxFull = 22,
    /// A host takes no further connection, for too long.
    TooManyConnections = 23,
    /// Another process has the account.
    AccountBusy = 24,
    /// The ledger or the state directory cannot be used.
    State = 25,
    /// Source and target are the same mailbox.
    SameMailbox = 26,
    /// What a server sends is no IMAP.
    Protocol = 27,
    /// A server refused a folder or a command that an account cannot do without.
    CommandRefused = 28,
    /// Accounts failed for different reasons.
    Mixed = 30,
}

impl Exit {
    /// All of them, ascending.
    pub const ALL: [Self; 27] = [
        Self::Complete,
        Self::Internal,
        Self::Unusable,
        Self::Exceptions,
        Self::Stopped,
        Self::Parked,
        Self::Incomplete,
        Self::SignInRefused,
        Self::HostUnknown,
        Self::Unreachable,
        Self::Silent,
        Self::CertificateExpired,
        Self::CertificateName,
        Self::CertificateUntrusted,
        Self::TlsMissing,
        Self::TlsFailed,
        Self::Lost,
        Self::SecretMissing,
        Self::MailboxClosed,
        Self::MailboxFull,
        Self::TooManyConnections,
        Self::AccountBusy,
        Self::State,
        Self::SameMailbox,
        Self::Protocol,
        Self::CommandRefused,
        Self::Mixed,
    ];

    /// Gives the number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Gives what it means, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Complete => "complete: everything asked for is done",
            Self::Internal => "the program is at fault, or its output cannot be written",
            Self::Unusable => "a job file or the command line cannot be used; nothing was connected to",
            Self::Exceptions => "done but for messages or folders that are listed",
            Self::Stopped => "stopped by a signal; mailhaul resume goes on",
            Self::Parked => {
                "a server or a day's allowance asks to wait longer than this run does; mailhaul resume goes on"
            }
            Self::Incomplete => "verified: something is missing or differs that nothing explains; it is listed",
            Self::SignInRefused => "a sign-in was refused",
            Self::HostUnknown => "a host's name has no address",
            Self::Unreachable => "a connection was refused, or no way leads to the host",
            Self::Silent => "a server accepted the connection and says nothing",
            Self::CertificateExpired => "a certificate has expired, or is not valid yet",
            Self::CertificateName => "a certificate is for other names",
            Self::CertificateUntrusted => "nobody who is trusted has signed a certificate, or it is not the pinned one",
            Self::TlsMissing => "a server offers no TLS where the job asks for it",
            Self::TlsFailed => "TLS failed otherwise",
            Self::Lost => "a connection was lost and did not come back",
            Self::SecretMissing => "a password or token could not be got while running",
            Self::MailboxClosed => "signed in, but the mailbox cannot be opened",
            Self::MailboxFull => "the target mailbox is full",
            Self::TooManyConnections => "a host took no further connection for too long",
            Self::AccountBusy => "another process has the account",
            Self::State => "the ledger or the state directory cannot be used",
            Self::SameMailbox => "source and target are the same mailbox",
            Self::Protocol => "what a server sends is no IMAP",
            Self::CommandRefused => "a server refused a folder or a command that cannot be done without",
            Self::Mixed => "accounts failed for different reasons",
        }
    }

    /// Gives the code of an account that a failure stopped.
    #[must_use]
    pub fn of_kind(kind: Kind) -> Self {
        match kind {
            Kind::HostUnknown => Self::HostUnknown,
            Kind::Unreachable => Self::Unreachable,
            Kind::Silent => Self::Silent,
            Kind::Lost => Self::Lost,
            Kind::CertificateExpired => Self::CertificateExpired,
            Kind::CertificateName => Self::CertificateName,
            Kind::CertificateUntrusted => Self::CertificateUntrusted,
            Kind::TlsFailed => Self::TlsFailed,
            Kind::TlsMissing => Self::TlsMissing,
            Kind::SecretMissing => Self::SecretMissing,
            Kind::SignInRefused | Kind::LockedOut | Kind::TokenExpired => Self::SignInRefused,
            Kind::MailboxClosed => Self::MailboxClosed,
            Kind::TooManyConnections => Self::TooManyConnections,
            Kind::Throttled | Kind::Unavailable | Kind::AllowanceSpent => Self::Parked,
            Kind::MailboxFull => Self::MailboxFull,
            Kind::Protocol => Self::Protocol,
            Kind::MessageRefused | Kind::MessageUnreadable | Kind::Missing | Kind::CopiesGone => Self::Exceptions,
            Kind::FolderRefused | Kind::FolderUnreadable | Kind::CommandRefused => Self::CommandRefused,
            Kind::SameMailbox => Self::SameMailbox,
            Kind::AccountBusy => Self::AccountBusy,
            Kind::State => Self::State,
            Kind::Stopped => Self::Stopped,
        }
    }

    /// Gives the code of one account's end.
    #[must_use]
    pub fn of_end(end: &AccountEnd) -> Self {
        let by_failure = end.failure.as_ref().map(|failure| Self::of_kind(failure.kind));
        match end.ending {
            Ending::Complete => Self::Complete,
            Ending::Exceptions => Self::Exceptions,
            Ending::Stopped => Self::Stopped,
            Ending::Parked => by_failure.unwrap_or(Self::Parked),
            Ending::Failed => by_failure.unwrap_or(Self::Internal),
        }
    }

    /// Gives the code of one account's check.
    #[must_use]
    pub fn of_check(check: &AccountCheck) -> Self {
        Self::of_failures(&check.failures)
    }

    /// Gives the code of one account's plan.
    #[must_use]
    pub fn of_plan(plan: &AccountPlan) -> Self {
        Self::of_failures(&plan.failures)
    }

    /// Gives the code of one account's verdict.
    #[must_use]
    pub fn of_verdict(verdict: &AccountVerdict) -> Self {
        match Self::of_failures(&verdict.failures) {
            Self::Complete => Self::of_verified(verdict.ending()),
            exit => exit,
        }
    }

    fn of_verified(ending: Ending) -> Self {
        match ending {
            Ending::Complete => Self::Complete,
            Ending::Exceptions => Self::Exceptions,
            Ending::Stopped | Ending::Parked | Ending::Failed => Self::Incomplete,
        }
    }

    fn of_failures(failures: &[Failure]) -> Self {
        Self::together(failures.iter().map(|failure| Self::of_kind(failure.kind)))
    }

    /// Gives the code of several accounts together: failed beats parked beats stopped beats
    /// incomplete beats exceptions.
    #[must_use]
    pub fn together(exits: impl IntoIterator<Item = Self>) -> Self {
        let all: BTreeSet<Self> = exits.into_iter().collect();
        let mut failed = all.iter().filter(|exit| exit.is_failure());
        match (failed.next(), failed.next()) {
            (Some(_), Some(_)) => Self::Mixed,
            (Some(exit), None) => *exit,
            (None, _) => [Self::Unusable, Self::Parked, Self::Stopped, Self::Incomplete, Self::Exceptions]
                .into_iter()
                .find(|exit| all.contains(exit))
                .unwrap_or(Self::Complete),
        }
    }

    fn is_failure(self) -> bool {
        match self {
            Self::Complete | Self::Unusable | Self::Exceptions | Self::Stopped | Self::Parked | Self::Incomplete => {
                false
            }
            Self::Internal => true,
            _ => self >= Self::SignInRefused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Gives the table of all codes, a line each.
pub(super) fn table() -> String {
    Exit::ALL.iter().map(|exit| format!("  {:>2}  {}\n", exit.code(), exit.meaning())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Side;

    #[test]
    fn codes_are_what_they_are_documented_to_be() {
        assert!(Exit::ALL.is_sorted());
        insta::assert_snapshot!(table(), @"
         0  complete: everything asked for is done
         1  the program is at fault, or its output cannot be written
         2  a job file or the command line cannot be used; nothing was connected to
         3  done but for messages or folders that are listed
         4  stopped by a signal; mailhaul resume goes on
         5  a server or a day's allowance asks to wait longer than this run does; mailhaul resume goes on
         6  verified: something is missing or differs that nothing explains; it is listed
        10  a sign-in was refused
        11  a host's name has no address
        12  a connection was refused, or no way leads to the host
        13  a server accepted the connection and says nothing
        14  a certificate has expired, or is not valid yet
        15  a certificate is for other names
        16  nobody who is trusted has signed a certificate, or it is not the pinned one
        17  a server offers no TLS where the job asks for it
        18  TLS failed otherwise
        19  a connection was lost and did not come back
        20  a password or token could not be got while running
        21  signed in, but the mailbox cannot be opened
        22  the target mailbox is full
        23  a host took no further connection for too long
        24  another process has the account
        25  the ledger or the state directory cannot be used
        26  source and target are the same mailbox
        27  what a server sends is no IMAP
        28  a server refused a folder or a command that cannot be done without
        30  accounts failed for different reasons
        ");
    }

    #[test]
    fn every_kind_of_failure_has_its_code() {
        for (kind, code) in [
            (Kind::SignInRefused, 10),
            (Kind::LockedOut, 10),
            (Kind::TokenExpired, 10),
            (Kind::HostUnknown, 11),
            (Kind::Unreachable, 12),
            (Kind::Silent, 13),
            (Kind::CertificateExpired, 14),
            (Kind::CertificateName, 15),
            (Kind::CertificateUntrusted, 16),
            (Kind::TlsMissing, 17),
            (Kind::TlsFailed, 18),
            (Kind::Lost, 19),
            (Kind::SecretMissing, 20),
            (Kind::MailboxClosed, 21),
            (Kind::MailboxFull, 22),
            (Kind::TooManyConnections, 23),
            (Kind::AccountBusy, 24),
            (Kind::State, 25),
            (Kind::SameMailbox, 26),
            (Kind::Protocol, 27),
            (Kind::CommandRefused, 28),
            (Kind::FolderRefused, 28),
            (Kind::FolderUnreadable, 28),
            (Kind::Throttled, 5),
            (Kind::Unavailable, 5),
            (Kind::AllowanceSpent, 5),
            (Kind::Stopped, 4),
            (Kind::MessageRefused, 3),
            (Kind::MessageUnreadable, 3),
        ] {
            assert_eq!(Exit::of_kind(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn the_worst_end_names_the_code_of_all() {
        let check = |codes: &[Exit], together: Exit| {
            assert_eq!(Exit::together(codes.iter().copied()), together, "{codes:?}");
            assert_eq!(Exit::together(codes.iter().rev().copied()), together, "{codes:?}");
        };
        check(&[], Exit::Complete);
        check(&[Exit::Complete, Exit::Exceptions], Exit::Exceptions);
        check(&[Exit::Incomplete, Exit::Exceptions], Exit::Incomplete);
        check(&[Exit::Stopped, Exit::Exceptions], Exit::Stopped);
        check(&[Exit::Stopped, Exit::Parked, Exit::Exceptions], Exit::Parked);
        check(&[Exit::Parked, Exit::Silent, Exit::Stopped], Exit::Silent);
        check(&[Exit::Silent, Exit::Silent], Exit::Silent);
        check(&[Exit::Silent, Exit::Lost, Exit::Complete], Exit::Mixed);
        check(&[Exit::Internal, Exit::Lost], Exit::Mixed);
        check(&[Exit::Unusable, Exit::Parked], Exit::Unusable);
        check(&[Exit::Unusable, Exit::State], Exit::State);
    }

    #[test]
    fn an_account_ends_with_the_code_of_what_stopped_it() {
        let end = |ending, kind: Option<Kind>| AccountEnd {
            name: "a".into(),
            ending,
            failure: kind.map(|kind| Failure::new(Side::Source, kind, "x")),
            folders_failed: Vec::new(),
            fates: [].into(),
            evidence: [].into(),
            surplus: 0,
        };
        for (ending, kind, code) in [
            (Ending::Complete, None, 0),
            (Ending::Exceptions, None, 3),
            (Ending::Stopped, Some(Kind::Stopped), 4),
            (Ending::Parked, Some(Kind::Throttled), 5),
            (Ending::Parked, Some(Kind::Unreachable), 12),
            (Ending::Parked, None, 5),
            (Ending::Failed, Some(Kind::SignInRefused), 10),
            (Ending::Failed, None, 1),
        ] {
            assert_eq!(Exit::of_end(&end(ending, kind)).code(), code, "{ending:?} {kind:?}");
        }
        for (ending, code) in [(Ending::Complete, 0), (Ending::Exceptions, 3), (Ending::Failed, 6)] {
            assert_eq!(Exit::of_verified(ending).code(), code, "{ending:?}");
        }
    }
}
