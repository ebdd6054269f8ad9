//! What families are known to make of folder names.

use super::Family;

/// Whether two names that differ in one way only are one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// They are two.
    Never,
    /// They are one.
    Always,
    /// Nobody has looked.
    Unknown,
}

/// What the parts of a name cannot be. What is not known is tried, and found out by the server's refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRules {
    /// No part holds one of these.
    pub refused: &'static str,
    /// No part begins with one of these.
    pub refused_first: &'static str,
    /// No part has a space at an end, two in a row, or one that is not U+0020.
    pub tidy_spaces: bool,
    /// No part at the top is one of these, in lower case.
    pub reserved: &'static [&'static str],
    /// The longest part in bytes, in modified UTF-7 and in UTF-8.
    pub part_max: usize,
    /// The longest name in bytes of modified UTF-7, without the prefix.
    pub name_max: usize,
    /// Names that differ in case.
    pub case: Fold,
    /// Names that differ in Unicode's normal form (UAX 15): one letter `ü`, or `u` and two dots.
    pub form: Fold,
}

impl NameRules {
    /// Nothing known. Every name fits into one command of the strictest server (RFC 2683: 1,000 bytes).
    pub const STANDARD: Self = Self {
        refused: "",
        refused_first: "",
        tidy_spaces: false,
        reserved: &[],
        part_max: 900,
        name_max: 900,
        case: Fold::Unknown,
        form: Fold::Unknown,
    };
}

impl Family {
    /// Gives what this family is known to make of names.
    #[must_use]
    pub fn name_rules(self) -> NameRules {
        const STANDARD: NameRules = NameRules::STANDARD;
        match self {
            // "Folder contains excess whitespace", `^`: imapsync FAQ.Gmail. No-break and ideographic spaces: Google's
            // help 6254288. A label has 225 characters: Google's help 118708.
            Self::Gmail => NameRules { refused: "^", tidy_spaces: true, name_max: 225, ..STANDARD },
            // `trash` beside `Trash` is "Mailbox already exists", "Files" is reserved: imapsync FAQ.Office365. A space at the
            // end ends the session of Exchange 2007: imapsync FAQ.Exchange.
            Self::Exchange => NameRules { tidy_spaces: true, reserved: &["files"], case: Fold::Always, ..STANDARD },
            // 2.3.19, measured: a name that begins with `~` and a part of more than 255 bytes are refused; case and form
            // count. 2.4 can normalise (mailbox_list_normalize_names_to_nfc): seen when the second folder is created.
            Self::Dovecot => {
                NameRules { refused_first: "~", part_max: 255, case: Fold::Never, form: Fold::Never, ..STANDARD }
            }
            // 3.6, measured: `Case` and `case` are two.
            Self::Cyrus => NameRules { case: Fold::Never, ..STANDARD },
            // Names are names of directories, as they came.
            Self::Courier => NameRules { case: Fold::Never, form: Fold::Never, ..STANDARD },
            _ => STANDARD,
        }
    }
}
