//! Ways in which migrations are known to go wrong, by the numbers of the list that the project keeps: a test for each,
//! named after its number.

mod connection;
mod content;
mod flags;
mod folders;
