//! Which software answers, and what it is known to do.

/// A kind of server that behaves alike wherever it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Family {
    Gmail,
    /// Exchange of any version, Microsoft 365 and Outlook.com.
    Exchange,
    Dovecot,
    Cyrus,
    Courier,
    Zimbra,
    /// Yahoo and AOL.
    Yahoo,
    ICloud,
    HMailServer,
    ProtonBridge,
    Stalwart,
    James,
    Domino,
    Unknown,
}

/// What a family does that the standard does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// The longest command line it takes, in bytes, without literals.
    pub command_line_max: usize,
    /// RFC822.SIZE is an estimate: the literal has the length.
    pub size_is_estimate: bool,
    /// INTERNALDATE comes back with the zone it was given with; else only the instant is the same.
    pub keeps_zone: bool,
    /// INTERNALDATE comes back as the instant it was given.
    pub keeps_date: bool,
    /// It stores something other than bytes and makes the message anew at each FETCH.
    pub alters_bytes: bool,
    /// It drops a message that it has already, and answers OK.
    pub deduplicates: bool,
    /// It reads commands sent before the answer to the one before; else the window is one, literals synchronise.
    pub pipelines: bool,
    /// Several connections may append to one folder at once.
    pub shares: bool,
    /// Users' own keywords are kept.
    pub keywords: bool,
    /// How many messages of a folder it shows, newest first; None: all.
    pub folder_messages_max: Option<u32>,
}

const STANDARD: Quirks = Quirks {
    // RFC 2683, 3.2.1.5 asks servers for 8000.
    command_line_max: 8000,
    size_is_estimate: false,
    // Measured: Dovecot 2.3 Maildir gives "+0000" for "+0200". Whoever keeps it has to be named.
    keeps_zone: false,
    keeps_date: true,
    alters_bytes: false,
    deduplicates: false,
    pipelines: true,
    shares: true,
    keywords: true,
    folder_messages_max: None,
};

impl Family {
    /// Gives what this family is known to do.
    #[must_use]
    pub fn quirks(self) -> Quirks {
        match self {
            // APPEND of an exact duplicate is OK with a new UID, and there is one message: imapsync FAQ.Gmail.
            Self::Gmail => Quirks { deduplicates: true, ..STANDARD },
            // Exchange 2007 to Exchange Online. MAPI store: EnableExactRFC822Size is off (Set-ImapSettings). PERMANENTFLAGS
            // without \*, another keyword is "BAD Command Argument Error. 11": MailKit exchange/*.txt, node-imap 602.
            Self::Exchange => Quirks { size_is_estimate: true, alters_bytes: true, keywords: false, ..STANDARD },
            // Yahoo: lines beyond about 1,000 bytes fail, folders end at the 10,000 newest: imapsync FAQ.Yahoo.
            Self::Yahoo => Quirks { command_line_max: 1000, folder_messages_max: Some(10_000), ..STANDARD },
            // Bridge 3, gluon: decrypts and builds anew; the date argument of APPEND goes unused; three flags survive
            // (internal/services/imapservice/connector.go); sizes of zero (imapsync 163).
            Self::ProtonBridge => Quirks {
                size_is_estimate: true,
                keeps_date: false,
                alters_bytes: true,
                keywords: false,
                shares: false,
                ..STANDARD
            },
            // 5.x: PERMANENTFLAGS has the five system flags (IMAP/IMAPCommandSELECT.cpp).
            Self::HMailServer => Quirks { keywords: false, shares: false, ..STANDARD },
            // Drops a command that follows a non-synchronising literal: apache/james-project 3144, 2026-08.
            Self::James => Quirks { pipelines: false, shares: false, ..STANDARD },
            // 12.0 and 14.0 rewrite the domain of Message-ID: imapsync FAQ.Domino.
            Self::Domino => Quirks { alters_bytes: true, shares: false, ..STANDARD },
            // Courier 5.0 stores other bytes of one message in twenty-five of the odd ones, and says OK: measured.
            Self::Courier => Quirks { alters_bytes: true, ..STANDARD },
            // Zimbra 8.8: a request is cut at 10 KB (ImapHandler.java). Within the standard.
            Self::Zimbra | Self::Dovecot | Self::Cyrus | Self::Stalwart => STANDARD,
            // Nothing measured. GNU imap4d, one of those without a name, keeps a folder in one file.
            Self::ICloud => STANDARD,
            Self::Unknown => Quirks { shares: false, ..STANDARD },
        }
    }
}

/// Tells the family by what the server says of itself: its greeting, its capabilities, its answer to ID (RFC 2971), each
/// of which may be empty.
#[must_use]
pub fn family(greeting: &[u8], capabilities: &[&str], id: &[(String, String)]) -> Family {
    let greeting = greeting.to_ascii_lowercase();
    let named = |name: &[u8]| {
        memchr::memmem::find(&greeting, name).is_some()
            || id.iter().any(|(key, value)| {
                ["name", "vendor"].iter().any(|known| key.eq_ignore_ascii_case(known))
                    && memchr::memmem::find(value.to_ascii_lowercase().as_bytes(), name).is_some()
            })
    };
    let offers = |name: &str| capabilities.iter().any(|capability| capability.eq_ignore_ascii_case(name));
    // Capabilities first: hosts rewrite greetings, and a proxy (Dovecot's, most often) greets for what stands behind it.
    SIGNS
        .iter()
        .find(|(_, only, _)| only.iter().any(|name| offers(name)))
        .or_else(|| SIGNS.iter().find(|(_, _, names)| names.iter().any(|name| named(name.as_bytes()))))
        .map_or(Family::Unknown, |(family, _, _)| *family)
}

/// For each family the capabilities that only it has, and what it calls itself in a greeting or in ID, in lower case.
/// From recorded dialogues (MailKit's test resources) and the servers' sources.
#[rustfmt::skip]
const SIGNS: &[(Family, &[&str], &[&str])] = &[
    (Family::Gmail, &["X-GM-EXT-1"], &["gimap"]),
    (Family::Exchange,
        &["CLIENTACCESSRULES", "CLIENTNETWORKPRESENCELOCATION", "BACKENDAUTHENTICATE", "XPROXY3"],
        &["microsoft exchange", "microsoft.exchange"]),
    (Family::Yahoo, &["XYMHIGHESTMODSEQ"], &["yahoo"]),
    // XAPPLEPUSHSERVICE alone says little: Cyrus and Dovecot can be taught it.
    (Family::ICloud, &["XAPPLELITERAL"], &["iscream", "icloud"]),
    (Family::ProtonBridge, &[], &["gluon session", "proton mail bridge", "protonmail bridge"]),
    (Family::Zimbra, &[], &["zimbra"]),
    (Family::Courier, &["ACL2=UNION"], &["courier-imap"]),
    (Family::Cyrus, &[], &["cyrus imap"]),
    (Family::Stalwart, &[], &["stalwart"]),
    (Family::James, &[], &["james imap4rev1"]),
    (Family::Domino, &[], &["domino imap4"]),
    (Family::HMailServer, &[], &["imaprev1", "hmailserver"]),
    (Family::Dovecot, &[], &["dovecot"]),
];

/// Says what to do about a refused sign-in, by host, family and the server's words.
#[must_use]
pub fn sign_in_hint(host: &str, family: Family, text: &[u8]) -> &'static str {
    let host = host.to_ascii_lowercase();
    let text = text.to_ascii_lowercase();
    let at = |ends: &[&str]| ends.iter().any(|end| host == *end || host.strip_suffix(end).is_some_and(is_parent));
    let says = |words: &str| memchr::memmem::find(&text, words.as_bytes()).is_some();
    match family {
        _ if at(&["office365.com", "outlook.com", "hotmail.com", "partner.outlook.cn"]) => {
            "Microsoft takes no passwords for IMAP: use token = { command = [...] }, and check that IMAP is on for the \
             mailbox and that the token is for it"
        }
        _ if says("web browser") || says("webalert") || says("web login required") => {
            "sign in once with a web browser and confirm what it asks, then run again"
        }
        Family::Gmail => "use an app password (it needs 2-step verification) or a token; check that IMAP is on",
        _ if at(&["gmail.com", "googlemail.com"]) => {
            "use an app password (it needs 2-step verification) or a token; check that IMAP is on"
        }
        _ if family == Family::Yahoo || at(&["yahoo.com", "aol.com"]) => {
            "make an app password in the account's security settings; the usual password is refused for IMAP"
        }
        _ if family == Family::ICloud || at(&["mail.me.com"]) => {
            "make an app-specific password at account.apple.com, and try the name without @icloud.com"
        }
        _ if at(&["zoho.com", "zoho.eu", "zoho.in", "gmx.net", "gmx.com", "web.de"]) => {
            "check user and password, and that IMAP is switched on in the account's settings on the web"
        }
        _ if at(&["fastmail.com"]) => "use an app password: the usual password is refused for IMAP",
        _ if at(&["titan.email", "secureserver.net"]) => {
            "check user and password, and that third-party access is on in the webmail's settings"
        }
        Family::ProtonBridge => "use the password that Bridge shows for the account, not the account's own",
        Family::Exchange => {
            "check user and password (DOMAIN\\user or the full address), that IMAP is on for the mailbox, and that the \
             connection uses TLS"
        }
        _ if says("too many invalid") || says("too many failed") || says("blacklisted") => {
            "the host has locked this machine out: wait, then check user and password before the next run"
        }
        _ if says("[expired]") || says("password must be changed") => "the password has expired: set a new one",
        _ => "check user and password in the job file",
    }
}

fn is_parent(rest: &str) -> bool {
    rest.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_what_they_say() {
        let check = |greeting: &str, capabilities: &str, id: &[(&str, &str)], expected| {
            let capabilities: Vec<_> = capabilities.split_whitespace().collect();
            let id: Vec<_> = id.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            assert_eq!(family(greeting.as_bytes(), &capabilities, &id), expected, "{greeting}");
        };
        check("* OK Gimap ready for requests from 192.0.2.1 i9if7359725qay.199", "IMAP4rev1 XLIST", &[], Family::Gmail);
        check("", "IMAP4rev1 x-gm-ext-1", &[], Family::Gmail);
        check("* OK The Microsoft Exchange IMAP4 service is ready. [TQBX]", "", &[], Family::Exchange);
        check("* OK hello", "IMAP4 CLIENTACCESSRULES CHILDREN", &[], Family::Exchange);
        check(
            "* OK [CAPABILITY IMAP4rev1] IMAP4rev1 Hello",
            "IMAP4rev1 XYMHIGHESTMODSEQ X-MSG-EXT",
            &[],
            Family::Yahoo,
        );
        check("* OK (2428B47-26126cfe23cd) p00-iscream-f9f7bf749-qjr87", "XAPPLEPUSHSERVICE", &[], Family::ICloud);
        check("* OK IMAP ready", "XAPPLEPUSHSERVICE QRESYNC", &[("name", "Cyrus IMAPD")], Family::Cyrus);
        check("* OK imap.example Cyrus IMAP v2.3.13 server ready", "", &[], Family::Cyrus);
        check("* OK Courier-IMAP ready. Copyright 1998-2011", "", &[], Family::Courier);
        check("* OK ready", "ACL ACL2=UNION", &[], Family::Courier);
        check("* OK mail.example Zimbra IMAP4rev1 server ready", "", &[], Family::Zimbra);
        check("* OK Proton Mail Bridge 03.08.01 - gluon session ID 3", "", &[], Family::ProtonBridge);
        check("* OK Stalwart IMAP4rev2 at your service.", "", &[], Family::Stalwart);
        check("* OK JAMES IMAP4rev1 Server mail is ready.", "", &[], Family::James);
        check("* OK Domino IMAP4 Server Release 9.0.1FP9 ready", "", &[], Family::Domino);
        check("* OK IMAPrev1", "IMAP4 IMAP4rev1 RIGHTS=texk", &[], Family::HMailServer);
        check("* OK [CAPABILITY IMAP4rev1] Dovecot (Debian) ready.", "", &[], Family::Dovecot);
        check("* OK ready", "", &[("NAME", "Dovecot")], Family::Dovecot);
        check("* OK Server ready proxy1.mail.iad3a.rsapps.net", "IMAP4rev1 LITERAL+", &[], Family::Unknown);
        check("", "", &[("support-url", "dovecot")], Family::Unknown);
    }

    #[test]
    fn a_refused_sign_in_leads_somewhere() {
        let check = |host: &str, family, text: &str, part: &str| {
            let hint = sign_in_hint(host, family, text.as_bytes());
            assert!(hint.contains(part), "{host}: {hint}");
        };
        check("outlook.office365.com", Family::Unknown, "LOGIN failed.", "takes no passwords");
        check("notoutlook.com", Family::Unknown, "LOGIN failed.", "check user and password");
        check("imap.gmail.com", Family::Unknown, "[ALERT] Application-specific password required", "app password");
        check("imap.gmail.com", Family::Gmail, "[ALERT] Please log in via your web browser", "web browser");
        check("imap.mail.yahoo.com", Family::Unknown, "", "app password");
        check("imap.mail.me.com", Family::Unknown, "", "app-specific password");
        check("mail.example", Family::Exchange, "LOGIN failed.", "DOMAIN\\user");
        check("mail.example", Family::Dovecot, "[AUTHENTICATIONFAILED] Authentication failed.", "in the job file");
        check("mail.example", Family::HMailServer, "Too many invalid logon attempts.", "locked this machine out");
    }

    #[test]
    fn what_rebuilds_messages_is_known() {
        assert!(Family::Exchange.quirks().alters_bytes && Family::ProtonBridge.quirks().alters_bytes);
        assert!(!Family::Dovecot.quirks().alters_bytes && !Family::Gmail.quirks().alters_bytes);
        assert_eq!(Family::Yahoo.quirks().command_line_max, 1000);
        assert!(!Family::James.quirks().pipelines);
    }
}
