//! Providers by name.

/// Where a provider's mailboxes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What a job file calls it.
    pub name: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// Its IMAP server.
    pub host: &'static str,
    /// TCP port.
    pub port: u16,
    /// STARTTLS instead of TLS from the first byte.
    pub starttls: bool,
    /// Where this is known from.
    pub source: &'static str,
}

/// Finds a provider by the name a job file gives it, or by an alias; case does not count.
#[must_use]
pub fn preset(name: &str) -> Option<&'static Preset> {
    let called = |known: &&'static str| known.eq_ignore_ascii_case(name.trim());
    PRESETS.iter().find(|preset| called(&preset.name) || preset.aliases.iter().any(called))
}

/// Lists the names a job file may give, without aliases.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// What a provider lets one mailbox move by IMAP in a day, which begins at midnight on the Pacific coast of the United States.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayQuota {
    /// Bytes fetched.
    pub down: u64,
    /// Bytes appended.
    pub up: u64,
}

/// Gives the daily quota of a provider's mailboxes, by the host they are reached at.
#[must_use]
pub fn day_quota(host: &str) -> Option<DayQuota> {
    QUOTAS
        .iter()
        .find(|(known, ..)| known.iter().any(|known| known.eq_ignore_ascii_case(host)))
        .map(|(_, quota, _)| *quota)
}

/// Hosts, quota, and where it is known from.
const QUOTAS: &[(&[&str], DayQuota, &str)] = &[(
    &["imap.gmail.com", "imap.googlemail.com"],
    DayQuota { down: 2_500_000_000, up: 500_000_000 },
    "support.google.com/a/answer/1071518: bandwidth limits, per day: download via IMAP 2500 MB, upload via IMAP 500 MB",
)];

const fn implicit(
    name: &'static str,
    host: &'static str,
    aliases: &'static [&'static str],
    source: &'static str,
) -> Preset {
    Preset { name, aliases, host, port: 993, starttls: false, source }
}

/// Written for years in Thunderbird's database of providers.
const ISPDB: &str = "Thunderbird ISPDB, github.com/thunderbird/autoconfig, 2026-03";
/// Named by the provider's own help pages, which were not read again for this table.
const VENDOR: &str = "the provider's help pages, from memory";

#[rustfmt::skip]
const PRESETS: &[Preset] = &[
    implicit("microsoft365", "outlook.office365.com", &["m365", "office365", "microsoft", "exchange-online"],
        "learn.microsoft.com, authenticate an IMAP, POP or SMTP application by using OAuth, 2026-06"),
    implicit("outlook", "outlook.office365.com", &["outlook.com", "hotmail", "live", "msn"], ISPDB),
    implicit("gmail", "imap.gmail.com", &["googlemail"], ISPDB),
    implicit("google-workspace", "imap.gmail.com", &["google", "workspace", "gsuite"], "developers.google.com/gmail/imap"),
    implicit("rackspace", "secure.emailsrvr.com", &["rackspace-email", "emailsrvr"], ISPDB),
    implicit("yahoo", "imap.mail.yahoo.com", &["ymail"], ISPDB),
    implicit("aol", "imap.aol.com", &[], ISPDB),
    implicit("icloud", "imap.mail.me.com", &["me.com", "mac.com", "apple"], "github.com/chatmail/provider-db, icloud"),
    implicit("fastmail", "imap.fastmail.com", &[], "github.com/simonrob/email-oauth2-proxy, emailproxy.config, 2026-04"),
    implicit("zoho", "imap.zoho.com", &[], ISPDB),
    implicit("godaddy", "imap.secureserver.net", &[], "imapsync FAQ.GoDaddy"),
    implicit("titan", "imap.titan.email", &[], "a public list of Titan endpoints; for resellers of Titan but GoDaddy"),
    implicit("ionos", "imap.ionos.com", &["1and1", "1und1"], VENDOR),
    implicit("hostinger", "imap.hostinger.com", &[], VENDOR),
    implicit("ovh", "ssl0.ovh.net", &[], ISPDB),
    implicit("gandi", "mail.gandi.net", &[], ISPDB),
    implicit("infomaniak", "mail.infomaniak.com", &[], VENDOR),
    implicit("gmx", "imap.gmx.net", &["gmx.net", "gmx.de"], ISPDB),
    implicit("web.de", "imap.web.de", &["webde"], ISPDB),
    Preset {
        name: "proton-bridge", aliases: &["proton", "protonmail"], host: "127.0.0.1", port: 1143, starttls: true,
        source: "github.com/ProtonMail/proton-bridge, heartbeat.go: the default port; its certificate is self-signed",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_preset_is_found_by_name_and_alias_in_any_case() {
        let check = |name: &str, host: Option<&str>| assert_eq!(preset(name).map(|p| p.host), host, "{name}");
        check("microsoft365", Some("outlook.office365.com"));
        check(" M365 ", Some("outlook.office365.com"));
        check("Web.de", Some("imap.web.de"));
        check("PROTON", Some("127.0.0.1"));
        check("", None);
        check("micro", None);
    }

    #[test]
    fn no_two_presets_share_a_name() {
        let mut seen = HashSet::new();
        for preset in PRESETS {
            for name in preset.aliases.iter().chain([&preset.name]) {
                assert!(seen.insert(*name), "{name}");
                assert_eq!(name.to_ascii_lowercase(), *name);
            }
            assert!(!preset.source.is_empty() && !preset.host.is_empty());
        }
        assert_eq!(preset_names().count(), 20);
    }
}
