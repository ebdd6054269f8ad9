//! Job files: from TOML to a [`Job`] that cannot be wrong.
//!
//! Secret: the file's form. What was written ([`raw`]) and what it means are two steps; all errors of a file come at once,
//! each with file, line and key.

use crate::{auth::SignIn, mail::Digest, net::Endpoint, pace::Limits, plan, transfer};
use std::path::PathBuf;

/// A job: the mailbox pairs of one customer and how they are moved.
#[derive(Clone)]
pub struct Job {
    /// For people.
    pub name: String,
    /// Where it was read from, absolute.
    pub path: PathBuf,
    /// Of the file's bytes.
    pub digest: Digest,
    /// In what order messages are copied.
    pub order: plan::Order,
    /// What it says about folders.
    pub folders: plan::FolderRules,
    /// For each account on the source.
    pub source_limits: Limits,
    /// For each account on the target.
    pub target_limits: Limits,
    /// Connections to one host by all accounts together; None: no limit.
    pub host_connections: Option<usize>,
    /// How it is carried out.
    pub options: transfer::Options,
    /// At least one; no two with the same source or target mailbox.
    pub accounts: Vec<Account>,
    /// What is accepted and not advised, for the person who runs it.
    pub warnings: Vec<String>,
}

/// One mailbox pair.
#[derive(Clone)]
pub struct Account {
    /// For people: the source user, or `name` of the job file.
    pub name: String,
    /// Where mail is read.
    pub source: Mailbox,
    /// Where mail is written.
    pub target: Mailbox,
}

/// One end of an account.
#[derive(Clone)]
pub struct Mailbox {
    /// Its server.
    pub endpoint: Endpoint,
    /// Who signs in.
    pub sign_in: SignIn,
}
