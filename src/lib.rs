//! mailhaul moves mailboxes from one IMAP server to another: every message once, byte for byte, with its flags, keywords,
//! date and folder, and then proves it.
//!
//! # How the data goes
//! ```text
//! JOB.toml ─config─▶ Job ─▶ transfer::run
//!                             │ a pool of sessions per side, held back by pace
//!    Listing (source) ─┐      │
//!    Listing (target) ─┼─▶ plan ─▶ what to copy, match, change     pure; printed, it is the dry run
//!    ledger records  ──┘      │
//!         ▲                   ▼
//!         │       fetch ▶ intend ▶ append ▶ landed ▶ prove ─▶ Event ─▶ report ─▶ terminal, JSON, exit code
//!         └── checkpoint ◀──┴────────┴─────────┘
//! ```
//! A pass over a folder looks before it acts, so it can begin anywhere: after a kill, after a lost connection, after
//! nothing at all. Recovery is no mode of its own; it is the next pass.
//!
//! # The rooms, lowest first
//! - [`rows`]: many small values in little memory.
//! - [`mail`]: the nouns, as RFC 9051 names them. Values only.
//! - [`failure`]: what went wrong, how much it stops, what is done about it: one exhaustive match.
//! - [`net`]: from an endpoint to bytes both ways: names, sockets, TLS and whom we believe.
//! - [`provider`]: all lore of server families as data: hosts, phrases, folder names, habits.
//! - [`auth`]: secrets and where they come from, the strings by which they sign in.
//! - [`imap`]: the wire: async-imap for control, our own data plane for everything that moves mail.
//! - [`plan`]: what is right to do, decided from values: folder map, messages, matching by content, flags, verdicts.
//! - [`checkpoint`]: what survives a crash: intents, what landed, fates, evidence, locks.
//! - [`pace`]: when may we ask again: rates by the hour, a day's allowance, connections, backoff, patience; forecasts.
//! - [`config`]: job files, from TOML to a [`config::Job`] that cannot be wrong.
//! - [`transfer`]: the shell that carries out what `plan` decided, and tells what happens.
//! - [`report`]: events, ledger and verdicts as people and programs read them.
//! - [`daemon`]: a directory of job files, run for as long as the process lives.
//! - [`cli`]: arguments in, text and exit code out.
//!
//! Who may import whom is a table in `tests/architecture.rs`, and a test.
//!
//! # What is never so
//! - Nothing is appended before its intent is durable ([`checkpoint::Ledger::intend`]).
//! - Nothing counts as copied without the target's tagged OK ([`imap::Appended`], which nothing else can make) or a look
//!   that found it.
//! - A source session has no method that changes anything, by type ([`imap::Session`]).
//! - A command did not succeed unless its tagged OK was seen; a session dropped in mid-command is not used again.
//! - A target message stands for one source message at the most.
//! - A second source folder goes into a target folder only where a rule of the job says so.
//! - No byte of a message and no word of a server is read as a command, a path, markup or a terminal code.
//! - No secret is in a log, an error, an argument list, the state or a report.
//!
//! # Embedding
//! [`config::load`] reads a job, [`checkpoint::Ledger::open`] the state, [`transfer::Shared::over_network`] the way out;
//! [`transfer::run`] does the rest and tells it as [`transfer::Event`]s. `examples/quickstart.rs` shows it from outside.

pub mod auth;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod failure;
pub mod imap;
pub mod mail;
pub mod net;
pub mod pace;
pub mod plan;
pub mod provider;
pub mod report;
pub mod rows;
pub mod transfer;
