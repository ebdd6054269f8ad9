//! The list of ways in which migrations go wrong, by number.

mod connection;
