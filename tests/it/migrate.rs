//! Whole migrations between servers, run by the library and compared by a client of the tests' own.

use crate::support::compare::{self, Comparison, Kind};
use crate::support::fill::{fill, joined, store};
use crate::support::haul::{Haul, Side};
use crate::support::{Cyrus, Dovecot, cyrus, dovecot};
use mailhaul::transfer::Ending;
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Config, NewMessage, Server};
use std::collections::BTreeSet;

async fn in_process(config: Config) -> (Server, Side) {
    let server = Server::start(config).await.unwrap();
    let side = Side::plain(server.port());
    (server, side)
}

/// What a Dovecot with Maildir can hold.
fn for_dovecot() -> GenerateOptions {
    GenerateOptions { deleted: false, ..GenerateOptions::default() }
}

/// What a Cyrus can hold.
fn for_cyrus() -> GenerateOptions {
    GenerateOptions { deleted: false, ..GenerateOptions::tame() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_mailbox_arrives_whole() {
    let (source, source_side) = in_process(Config::plain("u")).await;
    let (target, target_side) = in_process(Config::plain("u")).await;
    source.account("u").fill(&generate::mailbox(1, 500, &GenerateOptions::default())).unwrap();
    let haul = Haul::new(source_side, target_side).user("u", "u");
    let ran = haul.run().await;
    ran.assert_complete();
    assert_eq!(source.account("u").count(), target.account("u").count());
    let again = haul.run().await;
    again.assert_complete();
    assert_eq!(again.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_to_dovecot_is_equal_and_later_runs_copy_what_is_new() {
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let target = Dovecot::start(dovecot::Options { prefix: "INBOX.", separator: '.', ..Default::default() });
    let folders = generate::mailbox(2, 2000, &for_dovecot());
    assert!(folders.len() > 20);
    fill(&mut source.client("anna"), &folders, |path| joined("", '/', path));
    let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), Side::tls(target.imaps(), &target.ca_file()))
        .user("anna", "anna");
    let ran = haul.run().await;
    ran.assert_complete();
    assert_eq!(ran.copied(), 2000);
    compare::assert_same(&mut source.client("anna"), &mut target.client("anna"));

    let again = haul.run().await;
    again.assert_complete();
    assert_eq!(again.copied(), 0);

    let new = generate::mailbox(3, 60, &for_dovecot());
    let new: Vec<_> = new.iter().filter(|folder| !folder.messages.is_empty()).take(3).collect();
    for folder in &new {
        let message = &folder.messages[0];
        store(&mut source.client("anna"), &joined("", '/', &folder.path), message);
    }
    let third = haul.run().await;
    third.assert_complete();
    assert_eq!(third.copied(), 3);
    compare::assert_same(&mut source.client("anna"), &mut target.client("anna"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cyrus_to_dovecot_is_equal() {
    for alternative_namespace in [false, true] {
        let options = cyrus::Options { alternative_namespace, ..Default::default() };
        let Some(source) = Cyrus::start_or_skip(options) else { return };
        let Some(target) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
        let (prefix, separator) = if alternative_namespace { ("", '/') } else { ("INBOX.", '.') };
        let mut folders = generate::mailbox(4, 400, &GenerateOptions { headerless: false, ..for_cyrus() });
        // Cyrus itself refuses a semicolon.
        folders.retain(|folder| !folder.path.join("").contains(';'));
        fill(&mut source.client("u0001"), &folders, |path| joined(prefix, separator, path));
        let haul =
            Haul::new(Side::tls(source.imaps(), &source.ca_file()), Side::tls(target.imaps(), &target.ca_file()))
                .user("u0001", "anna");
        haul.run().await.assert_complete();
        compare::assert_same(&mut source.client("u0001"), &mut target.client("anna"));
        let again = haul.run().await;
        assert_eq!(again.copied(), 0, "{:#?}", again.events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecot_to_cyrus_is_equal_but_for_what_the_run_lists() {
    let Some(target) = Cyrus::start_or_skip(cyrus::Options::default()) else { return };
    let Some(source) = Dovecot::start_or_skip(dovecot::Options::default()) else { return };
    let options = GenerateOptions { nul: true, eight_bit_headers: true, ..for_cyrus() };
    fill(&mut source.client("anna"), &generate::mailbox(5, 400, &options), |path| joined("", '/', path));
    let haul = Haul::new(Side::tls(source.imaps(), &source.ca_file()), Side::tls(target.imaps(), &target.ca_file()))
        .user("anna", "u0001");
    let ran = haul.run().await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Exceptions);
    let differences = Comparison::default().differences(&mut source.client("anna"), &mut target.client("u0001"));
    let missing: BTreeSet<String> = differences
        .iter()
        .filter(|one| one.kind == Kind::Missing)
        .map(|one| format!("{} {}", one.folder, uid(&one.detail)))
        .collect();
    let listed = ran.listed();
    assert!(missing.is_subset(&listed), "not listed: {:?}", missing.difference(&listed));
    // Beside them: a folder that Cyrus refuses, whose messages are listed one by one, and parents that Cyrus makes.
    for one in &differences {
        let known = match one.kind {
            Kind::Missing | Kind::Surplus | Kind::FolderSurplus => true,
            Kind::FolderMissing | Kind::Subscription => one.folder.contains(';') || one.folder.contains("=3B"),
            Kind::Flags => false,
            Kind::Date => one.folder.contains(';') || listed.contains(&format!("{} {}", one.folder, uid(&one.detail))),
        };
        assert!(known, "{one}");
    }
    assert_eq!(haul.run().await.copied(), 0);
}

/// Reads the UID of a difference.
fn uid(detail: &str) -> &str {
    detail.strip_prefix("UID ").and_then(|rest| rest.split(',').next()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_a_rule_merges_keep_every_message_of_each() {
    let (source, source_side) = in_process(Config::plain("u")).await;
    let (target, target_side) = in_process(Config::plain("u")).await;
    for folder in ["A/sub", "B"] {
        source.account("u").create(folder).unwrap();
        for text in ["twin", "twin", folder] {
            let body = format!("Subject: {text}\r\n\r\n{text}\r\n").into_bytes();
            source.account("u").add(folder, NewMessage::new(body).date(" 1-Jan-2020 00:00:00 +0000")).unwrap();
        }
    }
    let haul = Haul::new(source_side, target_side)
        .user("u", "u")
        .with("[folders]\nrename = { A = \"Z\", B = \"Z/sub\" }\n[limits]\nconnections = 3");
    haul.run().await.assert_complete();
    assert_eq!(target.account("u").messages("Z/sub").unwrap().len(), 6);
    assert_eq!(haul.run().await.copied(), 0);
}
