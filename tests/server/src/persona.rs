//! Providers that cannot be had in a test, as far as they are known: what they announce, refuse and say.

use crate::config::{Config, Doubles, Features, Keywords, Literals};

impl Config {
    /// Gives Exchange Online, as MailKit's recorded dialogues and imapsync's FAQ.Office365 show it: no keywords, no UIDPLUS to
    /// rely on, sizes that are estimates, ten errors to a connection.
    pub fn exchange(user: &str) -> Self {
        let known = vec!["$MDNSent".to_owned()];
        Config {
            greeting: "The Microsoft Exchange IMAP4 service is ready. [TQBXADIAUABSADEAMABD]".to_owned(),
            id: Vec::new(),
            extra_capabilities: ["CLIENTACCESSRULES", "CLIENTNETWORKPRESENCELOCATION", "BACKENDAUTHENTICATE"]
                .map(str::to_owned)
                .to_vec(),
            features: Features {
                literals: Literals::Plus,
                children: true,
                namespace: true,
                id: true,
                unselect: true,
                sasl_ir: true,
                idle: true,
                moves: true,
                ..Features::bare()
            },
            keywords: Keywords::OnlyOrRefuse(known, "BAD Command Argument Error. 11".to_owned()),
            permanent_flags: Some("\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent".to_owned()),
            size_estimate: 371,
            connections_per_user: Some(16),
            errors_max: Some((10, "Connection closed. 14".to_owned())),
            ..Config::plain(user)
        }
    }

    /// Gives Gmail: one message of each Message-ID in a folder, fifteen connections, a largest message.
    pub fn gmail(user: &str) -> Self {
        Config {
            greeting: "Gimap ready for requests from 127.0.0.1 x12mb1234567abc".to_owned(),
            id: vec![("name".to_owned(), "GImap".to_owned()), ("vendor".to_owned(), "Google, Inc.".to_owned())],
            extra_capabilities: ["XLIST", "X-GM-EXT-1"].map(str::to_owned).to_vec(),
            features: Features {
                literals: Literals::Minus,
                multiappend: false,
                append_limit: Some(35_651_584),
                ..Features::default()
            },
            doubles: Doubles::TakenForTheFirst,
            connections_per_user: Some(15),
            too_many_text: Some("NO [ALERT] Too many simultaneous connections. (Failure)".to_owned()),
            ..Config::plain(user)
        }
    }
}
