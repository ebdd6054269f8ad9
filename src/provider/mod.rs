//! What is known of server families, as data: where they are, what their words mean, how they name folders, what they
//! do to a message.
//!
//! Secret: the lore. No other room branches on a provider's name; each asks here and gets a kind, a number or a yes.
//!
//! Invariants: pure functions over tables that are read from top to bottom, first match wins. Each row says where it is
//! known from, or is guessed and says so. Never: input or output, a decision about what happens next.

mod family;
mod names;
mod preset;
mod role;
mod words;

pub use family::{Family, Quirks, family, sign_in_hint};
pub use names::{Fold, NameRules};
pub use preset::{DayQuota, Preset, day_quota, preset, preset_names};
pub use role::role_of_name;
pub use words::{
    Crowd, Phase, Slower, Status, Verdict, Words, already_exists, classify, connections_max, crowd, refuses_name,
    says_missing, slower,
};
