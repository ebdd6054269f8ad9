//! Known ways in which migrations go wrong, by their numbers, each with the end that is owed.

mod flags;
