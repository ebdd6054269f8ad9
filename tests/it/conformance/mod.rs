//! What an IMAP server does, check by check. A real server and the one in the process pass the same list, so that the
//! latter cannot drift.
//!
//! A check gets a [`Site`] with a mailbox that is empty and its own. It compares behaviour, never the words of a text.
//! Names have no prefix, and `/` between their parts.

mod append;
mod fetch;
mod folders;
mod session;
mod store;

use crate::support::client::{Address, Client};
use crate::support::response::Reply;
use crate::support::{Courier, Cyrus, Dovecot, courier, cyrus, dovecot};
use std::any::Any;
use std::sync::{Mutex, OnceLock};

/// A server and an empty mailbox on it.
pub(crate) struct Site {
    pub(crate) address: Address,
    pub(crate) user: String,
    pub(crate) password: String,
    /// Whether refusals carry the codes of RFC 5530, and `.SILENT` is silent: what Dovecot does and Cyrus does not.
    pub(crate) is_exact: bool,
    /// Whatever must live as long as the check.
    pub(crate) _server: Option<Box<dyn Any>>,
}

impl Site {
    fn connect(&self) -> Client {
        Client::connect(&self.address).expect("a connection")
    }

    fn sign_in(&self) -> Client {
        Client::sign_in(&self.address, &self.user, &self.password)
    }

    /// Checks a response code: that it is this one, or none where the server gives none.
    fn assert_code(&self, reply: &Reply, word: &str) {
        let is_silent = !self.is_exact && reply.done.code.is_none();
        assert!(is_silent || reply.done.has_code(word), "no {word}: {}", reply.done);
    }

    /// Does something on a connection of its own.
    fn sign_in_and(&self, act: impl FnOnce(&mut Client)) {
        let mut client = self.sign_in();
        act(&mut client);
        client.log_out();
    }
}

/// Makes a module of tests, one for each check, on the sites that a function gives; it is called with a name that is
/// unique to the check, and gives None where it has said why there is no such server.
macro_rules! conform {
    ($module:ident, $site:path) => {
        conform! { @ $module, $site,
            session: greeting_is_an_untagged_ok
                capability_tells_how_to_sign_in_and_then_what_else_there_is
                wrong_password_is_refused_by_code_and_the_right_one_is_taken_after
                login_takes_quoted_strings_and_literals
                authenticate_plain_takes_an_initial_response
                authenticate_plain_asks_for_the_response
                authenticate_can_be_cancelled
                nothing_is_open_before_sign_in
                namespace_names_the_personal_one
                id_is_answered
                nonsense_is_bad_and_the_connection_goes_on
                noop_shows_mail_of_another_connection
                logout_says_bye_then_ok_then_ends;
            folders: list_shows_each_folder_once_with_its_separator
                list_of_nothing_gives_the_separator
                list_percent_stops_at_the_separator
                list_returns_subscriptions_and_status
                list_returns_special_use
                subscriptions_come_and_go
                create_makes_nested_folders
                create_of_an_existing_folder_is_alreadyexists
                delete_removes_a_folder_and_a_missing_one_is_nonexistent
                names_hold_quotes_backslashes_and_ampersands
                examine_of_a_missing_folder_is_refused
                examine_tells_all_and_changes_nothing
                select_is_read_write
                status_counts
                status_of_a_missing_folder_is_refused
                uidvalidity_stays_and_uidnext_grows
                unselect_closes_without_expunging;
            append: a_synchronising_literal_is_asked_for
                a_non_synchronising_literal_is_not
                flags_keywords_and_date_are_kept
                bytes_are_kept
                appenduid_is_what_fetch_shows
                a_missing_folder_is_trycreate
                multiappend_gives_a_range_of_uids
                multiappend_stores_all_or_nothing
                pipelined_appends_are_answered_in_order;
            fetch: asked_items_are_given
                peek_leaves_seen_alone
                parts_of_the_header_are_given
                partial_bodies_are_given
                ranges_have_gaps_and_a_star
                a_missing_uid_is_ok_and_nothing
                changedsince_gives_what_changed
                search_finds_uids;
            store: flags_are_added_and_removed
                silent_says_nothing
                examined_folders_are_not_changed
                unchangedsince_fails_with_modified
                uid_expunge_removes_only_what_is_named
        }
    };
    ($module:ident, $site:path, $($room:ident: $($check:ident)+);+) => {
        conform! { @ $module, $site, $($room: $($check)+);+ }
    };
    (@ $module:ident, $site:path, $($room:ident: $($check:ident)+);+) => {
        mod $module {
            $(mod $room {
                $(#[test]
                fn $check() {
                    let name = concat!(stringify!($room), "-", stringify!($check));
                    let Some(site) = $site(name) else { return };
                    crate::conformance::$room::$check(&site);
                })+
            })+
        }
    };
}

conform!(on_dovecot, super::super::dovecot);
conform!(on_cyrus, super::super::cyrus);
conform!(in_process, super::super::in_process);

// Courier has neither LITERAL+, MULTIAPPEND, CONDSTORE, SPECIAL-USE, LIST-EXTENDED, ESEARCH, UNSELECT nor SASL-IR, and no
// folder beside those below INBOX: what needs one of them cannot be checked. ID before sign-in is refused, a range
// backwards is empty, and HEADER.FIELDS is named otherwise in the answer.
conform!(on_courier, super::super::courier,
    session: greeting_is_an_untagged_ok
        authenticate_plain_asks_for_the_response
        noop_shows_mail_of_another_connection
        logout_says_bye_then_ok_then_ends;
    append: a_synchronising_literal_is_asked_for
        flags_keywords_and_date_are_kept;
    fetch: asked_items_are_given
        peek_leaves_seen_alone
        partial_bodies_are_given
        a_missing_uid_is_ok_and_nothing
        search_finds_uids;
    store: flags_are_added_and_removed
        uid_expunge_removes_only_what_is_named
);

/// One Dovecot for all checks of this process; it dies with it.
fn dovecot(check: &str) -> Option<Site> {
    static SERVER: OnceLock<Dovecot> = OnceLock::new();
    if !crate::support::is_available(Dovecot::available()) {
        return None;
    }
    let server = SERVER.get_or_init(|| Dovecot::start(dovecot::Options::default()));
    let (user, password) = (check.to_owned(), dovecot::PASSWORD.to_owned());
    Some(Site { address: server.address(), user, password, is_exact: true, _server: None })
}

/// One Cyrus for all checks of this process; it dies with it.
fn cyrus(_check: &str) -> Option<Site> {
    const USERS: usize = 100;
    static SERVER: OnceLock<Cyrus> = OnceLock::new();
    static GIVEN: Mutex<usize> = Mutex::new(0);
    if !crate::support::is_available(Cyrus::available()) {
        return None;
    }
    let options = cyrus::Options { alternative_namespace: true, users: USERS, ..Default::default() };
    let server = SERVER.get_or_init(|| Cyrus::start(options));
    let mut given = GIVEN.lock().unwrap();
    *given += 1;
    assert!(*given <= USERS, "more checks than users");
    let (user, password) = (format!("u{given:04}"), cyrus::PASSWORD.to_owned());
    Some(Site { address: server.address(), user, password, is_exact: false, _server: None })
}

/// One Courier for all checks of this process; it dies with it.
fn courier(_check: &str) -> Option<Site> {
    const USERS: usize = 40;
    static SERVER: OnceLock<Courier> = OnceLock::new();
    static GIVEN: Mutex<usize> = Mutex::new(0);
    if !crate::support::is_available(Courier::available()) {
        return None;
    }
    let server = SERVER.get_or_init(|| Courier::start(courier::Options { users: USERS, ..Default::default() }));
    let mut given = GIVEN.lock().unwrap();
    *given += 1;
    assert!(*given <= USERS, "more checks than users");
    let (user, password) = (format!("u{given:04}"), courier::PASSWORD.to_owned());
    Some(Site { address: server.address(), user, password, is_exact: false, _server: None })
}

/// The server in the process, one for each check.
fn in_process(check: &str) -> Option<Site> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server =
        runtime.block_on(mailhaul_testserver::Server::start(mailhaul_testserver::Config::plain(check))).unwrap();
    let (user, password) = (check.to_owned(), "pass".to_owned());
    let address = Address::plain(server.port());
    Some(Site { address, user, password, is_exact: true, _server: Some(Box::new((server, runtime))) })
}

/// A small message that says which one it is.
fn mail(number: usize) -> Vec<u8> {
    format!("From: a@b.example\r\nSubject: number {number}\r\n\r\nText {number}\r\n").into_bytes()
}
