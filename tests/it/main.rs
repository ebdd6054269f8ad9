//! The integration tests: one binary, so that real servers and helpers are compiled once.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

mod conformance;
mod failures;
mod migrate;
mod names;
mod program;
mod recovery;
mod servers;
mod support;
