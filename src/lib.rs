//! mailhaul moves mailboxes from one IMAP server to another.
#![doc = ""]
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
pub mod transfer;
