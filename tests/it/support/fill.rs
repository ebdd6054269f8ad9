//! Made-up mailboxes on real servers.

use super::client::Client;
use mailhaul_testserver::generate::{GeneratedFolder, GeneratedMessage};

/// Creates folders and appends their messages. Names are made by `name`, which is told the parts of a path.
pub(crate) fn fill(client: &mut Client, folders: &[GeneratedFolder], name: impl Fn(&[String]) -> String) {
    for folder in folders {
        let wire = name(&folder.path);
        if wire != "INBOX" {
            // A parent may have made it already.
            client.command(format!("CREATE {}", super::client::quote(&wire))).unwrap();
        }
        let verb = if folder.subscribed { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
        client.command(format!("{verb} {}", super::client::quote(&wire))).unwrap();
        for message in &folder.messages {
            store(client, &wire, message);
        }
    }
}

/// Appends one message.
pub(crate) fn store(client: &mut Client, folder: &str, message: &GeneratedMessage) {
    let flags: Vec<&str> = message.flags.iter().chain(&message.keywords).map(String::as_str).collect();
    client.store(folder, &flags.join(" "), &message.internaldate, &message.bytes);
}

/// Joins the parts of a path in modified UTF-7.
pub(crate) fn joined(prefix: &str, separator: char, path: &[String]) -> String {
    if path == ["INBOX"] {
        return "INBOX".to_owned();
    }
    let part = |part: &String| String::from_utf8(mailhaul_testserver::generate::modified_utf7(part)).unwrap();
    let parts: Vec<String> = path.iter().map(part).collect();
    format!("{prefix}{}", parts.join(&separator.to_string()))
}
