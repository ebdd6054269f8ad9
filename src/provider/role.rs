//! Well-known folder names, for servers that give no SPECIAL-USE attributes (RFC 6154).
//!
//! Known from what mail programs and hosts create: Outlook and Exchange ("Sent Items" and its translations), Apple Mail
//! ("Sent Messages"), Thunderbird and Dovecot ("Sent"), GMX, Yahoo.

use crate::mail::{FolderPath, Role};

/// Tells a folder's role by its name. Only for a folder directly under the personal root: deeper ones are a user's own.
#[must_use]
pub fn role_of_name(path: &FolderPath) -> Option<Role> {
    if path.is_inbox() {
        return Some(Role::Inbox);
    }
    let [name] = path.parts() else { return None };
    let name = name.trim().to_lowercase();
    NAMES.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(role, _)| *role)
}

/// In lower case. A line per language: English, German, French, Spanish, Italian, Dutch, Polish, Portuguese, Russian,
/// Japanese, then Swedish, Danish, Norwegian, Finnish, Czech.
#[rustfmt::skip]
const NAMES: &[(Role, &[&str])] = &[
    (Role::Sent, &[
        "sent", "sent items", "sent messages", "sent mail", "sent-mail",
        "gesendet", "gesendete elemente", "gesendete objekte", "gesendete nachrichten", "gesendete",
        "envoyés", "éléments envoyés", "messages envoyés", "courrier envoyé", "objets envoyés",
        "enviados", "elementos enviados", "mensajes enviados", "correo enviado",
        "posta inviata", "inviati", "inviata", "messaggi inviati", "elementi inviati",
        "verzonden", "verzonden items", "verzonden berichten", "verzonden e-mail",
        "wysłane", "elementy wysłane", "wysłane wiadomości",
        "itens enviados", "mensagens enviadas", "enviadas", "enviado",
        "отправленные", "отправленные письма",
        "送信済み", "送信済みアイテム", "送信済みメール", "送信済みトレイ", "送信済みメッセージ",
        "skickat", "skickade objekt", "skickade meddelanden",
        "sendt", "sendt post", "sendte elementer", "sendte meldinger", "sendt e-mail",
        "lähetetyt", "lähetetyt viestit",
        "odeslané", "odeslaná pošta", "odeslané položky",
    ]),
    (Role::Drafts, &[
        "drafts", "draft",
        "entwürfe", "entwurf",
        "brouillons", "brouillon",
        "borradores", "borrador",
        "bozze", "bozza",
        "concepten",
        "wersje robocze", "kopie robocze", "szkice", "robocze",
        "rascunhos", "rascunho",
        "черновики",
        "下書き",
        "utkast",
        "kladder", "kladde",
        "luonnokset",
        "koncepty", "rozepsané",
    ]),
    (Role::Trash, &[
        "trash", "bin", "deleted", "deleted items", "deleted messages", "trash can",
        "papierkorb", "gelöscht", "gelöschte elemente", "gelöschte objekte", "gelöschte nachrichten",
        "corbeille", "éléments supprimés", "messages supprimés", "objets supprimés",
        "papelera", "elementos eliminados", "mensajes eliminados", "papelera de reciclaje",
        "cestino", "posta eliminata", "messaggi eliminati", "elementi eliminati",
        "prullenbak", "verwijderde items", "verwijderde berichten", "verwijderd",
        "kosz", "elementy usunięte", "usunięte",
        "lixeira", "lixo", "itens excluídos", "itens eliminados", "mensagens excluídas",
        "корзина", "удаленные", "удалённые",
        "ゴミ箱", "ごみ箱", "削除済みアイテム", "削除済みメッセージ",
        "papperskorg", "papperskorgen", "borttaget", "borttagna objekt",
        "papirkurv", "slettet post", "slettede elementer", "slettede meldinger",
        "roskakori", "poistetut",
        "koš", "odstraněná pošta", "odstraněné položky",
    ]),
    (Role::Junk, &[
        "junk", "junk email", "junk e-mail", "junk mail", "spam", "bulk", "bulk mail",
        "spamverdacht", "junk-e-mail", "unerwünscht", "unerwünschte werbung",
        "courrier indésirable", "indésirables", "pourriel", "pourriels",
        "correo no deseado", "correo basura", "no deseado",
        "posta indesiderata", "indesiderata",
        "ongewenste e-mail", "ongewenst", "ongewenste berichten",
        "wiadomości-śmieci", "wiadomości śmieci", "niechciane",
        "lixo eletrônico", "lixo eletrónico", "correio eletrónico não solicitado",
        "нежелательная почта", "спам",
        "迷惑メール",
        "skräppost",
        "uønsket mail", "uønsket e-mail", "søppelpost", "søppel-e-post",
        "roskaposti",
        "nevyžádaná pošta",
    ]),
    (Role::Archive, &[
        "archive", "archives",
        "archiv",
        "archivo", "archivados",
        "archivio",
        "archief",
        "archiwum",
        "arquivo", "arquivo morto", "arquivados",
        "архив",
        "アーカイブ",
        "arkiv",
        "arkisto",
        "archivované",
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn role(parts: &[&str]) -> Option<Role> {
        role_of_name(&FolderPath::new(parts.iter().map(|&part| part.to_owned()).collect()))
    }

    #[test]
    fn names_of_each_language_are_known_in_any_case() {
        for (name, expected) in [
            ("INBOX", Role::Inbox),
            ("Sent Items", Role::Sent),
            ("SENT", Role::Sent),
            ("Gesendete Elemente", Role::Sent),
            ("Éléments envoyés", Role::Sent),
            ("ОТПРАВЛЕННЫЕ", Role::Sent),
            ("送信済み", Role::Sent),
            ("Draft", Role::Drafts),
            ("Entwürfe", Role::Drafts),
            ("Borradores", Role::Drafts),
            ("Deleted Messages", Role::Trash),
            ("Papierkorb", Role::Trash),
            ("Elementy usunięte", Role::Trash),
            ("Bulk", Role::Junk),
            ("Spamverdacht", Role::Junk),
            ("Junk-E-Mail", Role::Junk),
            ("Archief", Role::Archive),
            ("Arquivo Morto", Role::Archive),
        ] {
            assert_eq!(role(&[name]), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_users_own_folder_has_no_role() {
        for parts in [&["Projects"][..], &["Projects", "Sent"], &["INBOX", "Sent"], &[""], &["Sent to Bob"], &[]] {
            assert_eq!(role(parts), None, "{parts:?}");
        }
    }

    #[test]
    fn no_name_has_two_roles() {
        let mut seen = HashSet::new();
        for name in NAMES.iter().flat_map(|(_, names)| *names) {
            assert!(seen.insert(*name), "{name}");
            assert_eq!(name.to_lowercase(), *name);
        }
    }
}
