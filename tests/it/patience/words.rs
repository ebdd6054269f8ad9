//! What is done about the words of a refusal, from one end to the other.

use super::*;
use mailhaul::failure::Kind;

const SIGN_IN: &str = "AUTHENTICATE";
const ERROR: &str = "NO [SERVERBUG] Internal error occurred. Refer to server log for more information.";

fn asked(server: &Server, start: &str) -> Vec<Instant> {
    server.log().iter().filter(|logged| logged.line.contains(start)).map(|logged| logged.at).collect()
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_servers_own_over_a_folder_is_asked_about_again() {
    for (at_source, verb) in
        [(true, "EXAMINE"), (true, "UID FETCH"), (true, "LIST"), (false, "EXAMINE"), (false, "SELECT"), (false, "LIST")]
    {
        for tries in [1, 3] {
            let lines = Lines::new(Config::plain("u"), Config::plain("u"));
            fill(&lines, "u", 3, 4);
            let haul = haul(&["u"], "[limits]\nconnections = 1");
            let server = if at_source { &lines.source } else { &lines.target };
            let rule = server.faults().add(Point::command(verb), Nth::First(tries), Act::Reply(ERROR.to_owned()));
            let ran = lines.run(&haul).await;
            assert!(ran.end.accounts[0].folders_failed.is_empty(), "{verb} {tries}: {:#?}", ran.end);
            ran.assert_complete();
            assert_eq!(server.faults().fired(rule), tries, "{verb}");
            assert!(bodies(&lines.source, "u") == bodies(&lines.target, "u"), "{verb} {tries}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_over_which_a_server_errs_for_good_is_left_out_and_the_others_arrive() {
    let lines = Lines::new(Config::plain("u").refusing("EXAMINE", "Folder 1", ERROR), Config::plain("u"));
    fill(&lines, "u", 3, 4);
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 1")).await;
    let end = &ran.end.accounts[0];
    let failed: Vec<_> = end.folders_failed.iter().map(|(folder, failure)| (folder.as_str(), failure.kind)).collect();
    assert_eq!((end.ending, failed), (Ending::Exceptions, vec![("Folder 1", Kind::FolderRefused)]));
    assert_eq!(end.fates, [(Fate::Copied, 8)].into());
    assert_eq!(asked(&lines.source, "EXAMINE \"Folder 1\"").len(), 4, "once, and three times again");

    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill(&lines, "u", 1, 4);
    let rule = lines.target.faults().add(Point::command("LIST"), Nth::All, Act::Reply(ERROR.to_owned()));
    let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 1")).await;
    assert_eq!(ran.end.accounts[0].ending, Ending::Failed, "{:#?}", ran.end);
    assert!(lines.target.faults().fired(rule) <= 9, "{}", lines.target.faults().fired(rule));
}

#[tokio::test(start_paused = true)]
async fn a_target_without_room_for_a_folder_is_full_and_a_source_never_is() {
    for words in ["NO Not enough disk quota", "NO [OVERQUOTA] Quota exceeded", "NO Mailbox is full"] {
        let lines = Lines::new(Config::plain("u"), Config::plain("u"));
        fill(&lines, "u", 3, 4);
        lines.target.faults().add(Point::command("CREATE"), Nth::All, Act::Reply(words.to_owned()));
        let ran = lines.run(&haul(&["u"], "[limits]\nconnections = 1")).await;
        let end = &ran.end.accounts[0];
        let kind = end.failure.as_ref().map(|failure| failure.kind);
        assert_eq!((end.ending, kind), (Ending::Failed, Some(Kind::MailboxFull)), "{words}: {end:#?}");
        assert!(!ran.events.iter().any(|event| matches!(event, Event::FolderRenamed { .. })), "{words}");
    }
    // Folders that cannot be listed at sign-in are listed again.
    for (verb, times) in [("EXAMINE", 1), ("UID FETCH", 1), ("LIST", 2)] {
        let lines = Lines::new(Config::plain("u"), Config::plain("u"));
        fill(&lines, "u", 2, 4);
        let slow = Act::Reply("NO [OVERQUOTA] slow down".to_owned());
        lines.source.faults().add(Point::command(verb), Nth::First(times), slow);
        let begin = Instant::now();
        lines.run(&haul_for("30min", &["u"], "[limits]\nconnections = 1")).await.assert_complete();
        assert!(begin.elapsed() >= Duration::from_secs(3600), "{verb}: {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_looks_like_a_refused_sign_in_is_waited_for() {
    for words in [
        "NO LOGIN failed: too many requests",
        "NO LOGIN failed: too many concurrent connections",
        "NO Too many connections from your IP",
    ] {
        let lines = Lines::new(Config::plain("u"), Config::plain("u"));
        fill(&lines, "u", 2, 4);
        let rule = lines.source.faults().add(Point::command(SIGN_IN), Nth::First(3), Act::Reply(words.to_owned()));
        lines.run(&haul(&["u"], "[limits]\nconnections = 2")).await.assert_complete();
        assert_eq!(lines.source.faults().fired(rule), 3, "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_locked_this_machine_out_is_left_alone_by_all() {
    let locked = || Act::Reply("NO Too many invalid logon attempts.".to_owned());
    // It has signed in before: that is no reason to doubt these words.
    let lines = Lines::new(Config::plain("u"), Config::plain("u"));
    fill(&lines, "u", 4, 40);
    let options = "[limits]\nconnections = 1\n[limits.host]\nconnections = 1";
    let rule = lines.source.faults().add(Point::command(SIGN_IN), Nth::From(2), locked());
    lines.source.faults().add(Point::command("UID FETCH"), Nth::Only(3), Act::Drop);
    let ran = lines.run(&haul_for("6h", &["u"], options)).await;
    let end = &ran.end.accounts[0];
    assert_eq!(end.failure.as_ref().map(|failure| failure.kind), Some(Kind::LockedOut), "{end:#?}");
    assert_eq!(lines.source.faults().fired(rule), 1);

    // The others wait, for an hour at the least, and for another where it still hangs up, and then go on by themselves; what
    // was waited is no reason to give up over anything else.
    let users = ["a", "b", "c"];
    let config = || users[1..].iter().fold(Config::plain("a"), |config, user| config.user(user, "pass"));
    let lines = Lines::new(config(), config());
    users.iter().for_each(|user| fill(&lines, user, 1, 4));
    lines.source.faults().add(Point::command(SIGN_IN), Nth::Only(1), locked());
    lines.source.faults().add(Point::command(SIGN_IN), Nth::Only(2), Act::Drop);
    lines.source.faults().add(Point::command("LIST"), Nth::Only(1), Act::Drop);
    let begin = Instant::now();
    let ran = lines.run(&haul_for("1h", &users, options)).await;
    let endings: Vec<_> = ran.end.accounts.iter().map(|end| end.ending).collect();
    let count = |ending| endings.iter().filter(|one| **one == ending).count();
    assert_eq!((count(Ending::Failed), count(Ending::Complete)), (1, 2), "{:?}", ran.end);
    let soon = |at: &&Instant| at.duration_since(begin) < Duration::from_secs(3600);
    assert_eq!(asked(&lines.source, SIGN_IN).iter().filter(soon).count(), 1);
    assert!(begin.elapsed() >= Duration::from_secs(2 * 3600), "{:?}", begin.elapsed());
}
