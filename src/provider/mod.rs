//! What is known of server families, as data.
//!
//! Secret: the lore. No input or output; no other room branches on a provider's name.

/// Where a provider's mailboxes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What a job file calls it.
    pub name: &'static str,
    /// Its IMAP server.
    pub host: &'static str,
    /// TCP port.
    pub port: u16,
    /// STARTTLS instead of TLS from the first byte.
    pub starttls: bool,
}

/// Finds a provider by the name a job file gives it.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Lists the names a job file may give.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

const fn implicit(name: &'static str, host: &'static str) -> Preset {
    Preset { name, host, port: 993, starttls: false }
}

const PRESETS: &[Preset] = &[
    implicit("microsoft365", "outlook.office365.com"),
    implicit("outlook", "outlook.office365.com"),
    implicit("gmail", "imap.gmail.com"),
    implicit("google-workspace", "imap.gmail.com"),
    implicit("rackspace", "secure.emailsrvr.com"),
    implicit("yahoo", "imap.mail.yahoo.com"),
    implicit("aol", "imap.aol.com"),
    implicit("icloud", "imap.mail.me.com"),
    implicit("fastmail", "imap.fastmail.com"),
    implicit("zoho", "imap.zoho.com"),
    implicit("godaddy", "imap.secureserver.net"),
    implicit("titan", "imap.titan.email"),
    implicit("ionos", "imap.ionos.com"),
    implicit("hostinger", "imap.hostinger.com"),
    implicit("ovh", "ssl0.ovh.net"),
    implicit("gandi", "mail.gandi.net"),
    implicit("infomaniak", "mail.infomaniak.com"),
    implicit("gmx", "imap.gmx.net"),
    Preset { name: "proton-bridge", host: "127.0.0.1", port: 1143, starttls: true },
];
