//! The integration tests: one binary, so that real servers and helpers are compiled once.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

mod compressed;
mod conformance;
mod corpus;
mod epochs;
mod evidence;
mod failures;
mod hostile;
mod identity;
mod lanes;
mod late;
mod limits;
mod many;
mod migrate;
mod names;
mod patience;
mod program;
mod recovery;
mod rerun;
mod seeds;
mod servers;
mod state;
mod support;
mod sweep;
mod together;
