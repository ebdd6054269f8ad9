//! What is kept of what has been done, when the file is damaged, gone, old, copied, or has no room: whatever it is, nothing
//! arrives twice, and it is said what to do.

use crate::support::haul::{Haul, Side};
use crate::support::skip;
use mailhaul::checkpoint::Ledger;
use mailhaul::transfer::{self, Ending};
use mailhaul_testserver::generate::{self, GenerateOptions};
use mailhaul_testserver::{Config, NewMessage, Nth, Point, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Two servers, and the program between them.
struct Scene {
    source: Server,
    target: Server,
    haul: Haul,
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn scene(messages: usize) -> Scene {
    let source = Server::start(Config::plain("u")).await.unwrap();
    let target = Server::start(Config::plain("u")).await.unwrap();
    let options = GenerateOptions { deleted: false, ..GenerateOptions::default() };
    source.account("u").fill(&generate::mailbox(31, messages, &options)).unwrap();
    let haul = Haul::new(Side::plain(source.port()), Side::plain(target.port())).user("u", "u");
    haul.job_file();
    Scene { source, target, haul }
}

impl Scene {
    fn file(&self, name: &str) -> PathBuf {
        self.haul.state().join(name)
    }

    fn job(&self) -> PathBuf {
        self.haul.state().with_file_name("job.toml")
    }

    /// A command line; JOB stands for the job file.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
        for word in line.split(' ') {
            if word == "JOB" {
                command.arg(self.job())
            } else {
                command.arg(word)
            };
        }
        command.arg("--state").arg(self.haul.state()).current_dir(self.haul.state().parent().unwrap());
        command.env_clear().env("HOME", self.haul.state().parent().unwrap()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Ended {
        ended(&mut self.command(line))
    }

    /// Runs a command that has to succeed, and gives what it prints.
    fn done(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Runs the job, which has to end complete, and gives how many messages were copied.
    fn copied(&self) -> u64 {
        let events = self.done("run JOB --json");
        let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == "copied").map(|event| event["messages"].as_u64().unwrap()).sum()
    }

    fn standing(&self) -> String {
        let accounts: Value = serde_json::from_str(&self.done("status --json")).unwrap();
        accounts[0]["state"].as_str().unwrap_or_default().to_owned()
    }

    fn assert_equal(&self) {
        let (source, target) = (content(&self.source), content(&self.target));
        for (message, count) in &source {
            let there = target.get(message).copied().unwrap_or(0);
            assert_eq!(there, *count, "{}: {}", message.0, message.1.escape_ascii());
        }
        assert_eq!(target.len(), source.len());
    }

    /// Gives the damaged bytes that stand in the file now.
    fn damage(&self) -> Vec<u8> {
        let path = self.file("ledger.sqlite");
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        bytes[end - 4096..].fill(0x5a);
        fs::write(path, &bytes).unwrap();
        bytes
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Folder by folder, how often each message is there.
fn content(server: &Server) -> BTreeMap<(String, Vec<u8>), usize> {
    let account = server.account("u");
    let mut all = BTreeMap::new();
    for folder in account.folders() {
        for message in account.messages(&folder.name).unwrap_or_default() {
            *all.entry((folder.name.escape_ascii().to_string(), message.body.to_vec())).or_default() += 1;
        }
    }
    all
}

fn mail(text: &str) -> NewMessage {
    NewMessage::new(format!("Subject: {text}\r\n\r\n{text}\r\n").into_bytes()).date(" 1-Jan-2020 00:00:00 +0000")
}

fn replace(scene: &Scene, with: &Path) {
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(scene.file(name));
    }
    fs::copy(with, scene.file("ledger.sqlite")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_doubles_nothing() {
    let scene = scene(60).await;
    assert_eq!(scene.copied(), 60);
    let backup = scene.file("../yesterday");
    let written = scene.done(&format!("state backup {}", backup.display()));
    assert!(written.contains("read back and found whole"), "{written}");

    let source = scene.source.account("u");
    for number in 0..40 {
        // Ten of them are twins.
        source.add("INBOX", mail(&format!("later {}", number % 30))).unwrap();
    }
    let first = source.messages("INBOX").unwrap()[0].uid;
    source.set_flags("INBOX", first, &["\\Flagged", "changed"]).unwrap();
    assert_eq!(scene.copied(), 40);
    replace(&scene, &backup);
    assert_eq!(scene.copied(), 0);
    scene.assert_equal();
    assert_eq!(scene.copied(), 0);
    let kept = scene.target.account("u").messages("INBOX").unwrap();
    assert!(kept.iter().any(|message| message.has("changed") && message.has("\\Flagged")));
    assert_eq!(scene.standing(), "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_is_refused_rebuilt_and_nothing_arrives_twice() {
    let scene = scene(80).await;
    assert_eq!(scene.copied(), 80);
    let damaged = scene.damage();
    for line in ["run JOB", "resume", "status", "failed JOB", "verify JOB", "plan JOB", "state", "state backup x"] {
        let ended = scene.run(line);
        assert_eq!(ended.code, 25, "{line}: {}{}", ended.stdout, ended.stderr);
        for words in ["ledger.sqlite", "damaged", "mailhaul state rebuild"] {
            assert!(ended.stderr.contains(words), "{line}: {}", ended.stderr);
        }
    }
    scene.target.clear_log();
    let told = scene.done("state rebuild JOB");
    assert!(told.contains("all 80 messages are on the target"), "{told}");
    assert!(told.contains("removed from the target"), "{told}");
    let said = |verb: &str| scene.target.log().iter().any(|command| command.verb == verb);
    assert!(said("EXAMINE"));
    for verb in ["APPEND", "UID STORE", "CREATE", "SUBSCRIBE", "SELECT"] {
        assert!(!said(verb), "{verb}");
    }
    let aside = fs::read_dir(scene.haul.state()).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<PathBuf> = aside.filter(|path| path.to_string_lossy().contains("ledger-aside-")).collect();
    assert!(aside.iter().any(|path| fs::read(path).unwrap() == damaged), "{aside:?}");
    assert_eq!(scene.standing(), "complete");
    scene.done("verify JOB --level bytes");
    assert_eq!(scene.copied(), 0);
    scene.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_writes_down_what_is_there_and_leaves_the_rest_to_the_next_run() {
    let scene = scene(50).await;
    assert_eq!(scene.copied(), 50);
    let source = scene.source.account("u");
    source.create("Later").unwrap();
    for number in 0..5 {
        source.add("Later", mail(&format!("folder that is not there {number}"))).unwrap();
        source.add("INBOX", mail(&format!("message that is not there {number}"))).unwrap();
    }
    let other = source.folders().into_iter().find(|folder| folder.name != b"INBOX" && folder.messages > 0).unwrap();
    let first = source.messages(&other.name).unwrap()[0].uid;
    source.set_flags(&other.name, first, &["\\Flagged", "later"]).unwrap();
    scene.damage();
    let told = scene.done("state rebuild JOB");
    assert!(told.contains("taken over: which accounts there are (1)") || told.contains("cannot be trusted"), "{told}");
    assert!(told.contains("u: 50 messages are on the target; the rest is left for the next run"), "{told}");
    assert_eq!(scene.target.account("u").count(), 50);
    assert!(scene.target.account("u").folder("Later").is_none());
    assert_eq!(scene.standing(), "interrupted");
    scene.done("resume");
    scene.assert_equal();
    let kept = scene.target.account("u").messages(&other.name).unwrap();
    assert!(kept.iter().any(|message| message.has("later")), "a flag that was left is added");
    assert_eq!(scene.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_without_a_job_lets_resume_go_on_by_itself() {
    let scene = scene(40).await;
    assert_eq!(scene.copied(), 40);
    // The last page holds no account.
    scene.damage();
    let told = scene.done("state rebuild");
    assert!(told.contains("taken over: which accounts there are (1), and their job files"), "{told}");
    assert_eq!(scene.standing(), "interrupted");
    scene.done("resume");
    assert_eq!(scene.standing(), "complete");
    scene.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_ledger_is_not_rebuilt_by_accident() {
    let scene = scene(10).await;
    assert_eq!(scene.copied(), 10);
    let ended = scene.run("state rebuild JOB");
    assert_eq!(ended.code, 25, "{}", ended.stdout);
    assert!(ended.stderr.contains("nothing is wrong with it") && ended.stderr.contains("--force"), "{}", ended.stderr);
    assert_eq!(scene.standing(), "complete");
    // One that is gone is begun anew, and one that is foreign is set aside.
    fs::remove_file(scene.file("ledger.sqlite")).unwrap();
    scene.done("state rebuild JOB");
    assert_eq!(scene.standing(), "complete");
    fs::write(scene.file("ledger.sqlite"), "Dear diary").unwrap();
    let ended = scene.run("run JOB");
    assert_eq!(ended.code, 25);
    assert!(
        ended.stderr.contains("it is no SQLite database") && ended.stderr.contains("state rebuild"),
        "{}",
        ended.stderr
    );
    scene.done("state rebuild JOB");
    scene.done("state rebuild JOB --force");
    assert_eq!((scene.standing().as_str(), scene.copied()), ("complete", 0));
}

/// Stops a run in the middle of its messages.
async fn stopped_in_the_middle(scene: &Scene) -> (Vec<u8>, Vec<u8>) {
    let held = scene.target.faults().hold(Point::command("APPEND"), Nth::Only(30));
    let (context, _events) = scene.haul.context();
    let (stop, ledger) = (context.stop.clone(), context.ledger.clone());
    let running = tokio::spawn(transfer::run(context));
    held.reached().await;
    let read = |name| fs::read(scene.file(name)).unwrap();
    let copy = (read("ledger.sqlite"), read("ledger.sqlite-wal"));
    stop.cancel();
    held.release();
    assert_eq!(running.await.unwrap().accounts[0].ending, Ending::Stopped);
    ledger.close().await.unwrap();
    scene.target.faults().clear();
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_by_hand_during_a_run_doubles_nothing() {
    for with_log in [true, false] {
        let scene = scene(90).await;
        let (database, log) = stopped_in_the_middle(&scene).await;
        fs::write(scene.file("ledger.sqlite"), database).unwrap();
        if with_log {
            fs::write(scene.file("ledger.sqlite-wal"), log).unwrap();
        }
        let ended = scene.run("run JOB");
        if ended.code == 25 {
            scene.done("state rebuild JOB");
            scene.done("run JOB");
        } else {
            assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
        }
        scene.assert_equal();
        assert_eq!(scene.copied(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_the_account() {
    let scene = scene(90).await;
    let held = scene.target.faults().hold(Point::command("APPEND"), Nth::Only(30));
    let (context, _events) = scene.haul.context();
    let ledger = context.ledger.clone();
    let running = tokio::spawn(transfer::run(context));
    held.reached().await;
    let ended = scene.run("run JOB");
    assert_eq!(ended.code, 24, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains(&format!("process {} has it", std::process::id())), "{}", ended.stdout);
    for line in ["state rebuild JOB --force", "state rebuild --force"] {
        let ended = scene.run(line);
        assert_eq!(ended.code, 24, "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("another process has it open"), "{}", ended.stderr);
    }
    let backup = scene.file("../during");
    scene.done(&format!("state backup {}", backup.display()));
    scene.done("status");
    held.release();
    assert_eq!(running.await.unwrap().accounts[0].ending, Ending::Complete);
    ledger.close().await.unwrap();
    scene.assert_equal();
    // The backup was made in the middle: what came after it is found by content.
    replace(&scene, &backup);
    scene.done("run JOB");
    scene.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_a_run_that_can_say_so_and_nothing_arrives_twice() {
    let scene = scene(400).await;
    scene.done("plan JOB");
    // A limit on the length of files is a disk that fills up, without needing a disk.
    let mut arguments = vec!["-c".into(), "trap '' XFSZ; ulimit -f 120; exec \"$0\" \"$@\"".into()];
    let limited = scene.command("run JOB");
    arguments.push(limited.get_program().to_owned());
    arguments.extend(limited.get_args().map(ToOwned::to_owned));
    let mut shell = Command::new("sh");
    shell.args(arguments).env_clear().env("HOME", scene.haul.state().parent().unwrap()).stdin(Stdio::null());
    let ended = ended(&mut shell);
    assert_eq!(ended.code, 25, "{}{}", ended.stdout, ended.stderr);
    let all = format!("{}{}", ended.stdout, ended.stderr);
    for words in ["ledger.sqlite", "see that the disk has room", "mailhaul resume"] {
        assert!(all.contains(words), "{words}: {all}");
    }
    let arrived = scene.target.account("u").count();
    assert!(arrived < 400, "{arrived}");
    scene.done("run JOB");
    scene.assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_read_only_is_refused_with_its_name() {
    let scene = scene(5).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailhaul"));
    let ended = ended(command.arg("run").arg(scene.job()).args(["--state", "/proc/mailhaul"]).stdin(Stdio::null()));
    assert_eq!(ended.code, 25, "{}", ended.stderr);
    assert!(ended.stderr.contains("/proc/mailhaul") && ended.stderr.contains("--state DIR"), "{}", ended.stderr);

    assert_eq!(scene.copied(), 5);
    let lock = |mode: u32| {
        for name in ["ledger.sqlite", "locks", "."] {
            fs::set_permissions(scene.file(name), std::os::unix::fs::PermissionsExt::from_mode(mode | 0o100)).unwrap();
        }
    };
    lock(0o400);
    let may_write = fs::write(scene.file("probe"), "").is_ok();
    if may_write {
        skip("a_place_that_is_read_only_is_refused_with_its_name", "this user may write everywhere");
    } else {
        let ended = scene.run("run JOB");
        lock(0o600);
        assert_eq!(ended.code, 25, "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains("ledger.sqlite") && ended.stderr.contains("may write"), "{}", ended.stderr);
    }
    lock(0o600);
    assert_eq!(scene.copied(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_forgets_what_is_complete_after_it_was_named() {
    let scene = scene(30).await;
    assert_eq!(scene.copied(), 30);
    let shown = scene.done("state");
    assert!(shown.contains("accounts  1: 1 complete\nmessages  30\n"), "{shown}");
    assert!(shown.contains(&scene.file("ledger.sqlite").canonicalize().unwrap().display().to_string()), "{shown}");

    let unnamed = scene.run("state purge JOB");
    assert_eq!(unnamed.code, 2, "{}", unnamed.stdout);
    assert!(unnamed.stderr.contains("type u to forget") && unnamed.stderr.contains("--yes"), "{}", unnamed.stderr);
    assert_eq!(scene.run("state purge --account nobody --yes").code, 2);
    assert_eq!(scene.run("state purge").code, 2);
    assert_eq!(scene.done("state purge JOB --older-than 1 --yes"), "there is nothing to forget\n");
    assert_eq!(scene.standing(), "complete");

    {
        let ledger = Ledger::open(&scene.haul.state()).unwrap();
        let id = ledger.accounts().await.unwrap()[0].id;
        let _lock = ledger.lock(id).await.unwrap();
        let ended = scene.run("state purge JOB --yes");
        assert_eq!(ended.code, 24, "{}{}", ended.stdout, ended.stderr);
        ledger.close().await.unwrap();
    }
    let name = scene.file("../answer");
    fs::write(&name, "u\n").unwrap();
    let forgotten = ended(scene.command("state purge --account u").stdin(fs::File::open(&name).unwrap()));
    assert_eq!(forgotten.code, 0, "{}", forgotten.stderr);
    assert!(forgotten.stdout.contains("forgotten: u of test (u at 127.0.0.1:"), "{}", forgotten.stdout);
    assert!(forgotten.stdout.contains(": 30 messages\n"), "{}", forgotten.stdout);
    assert_eq!(scene.done("status"), "nothing has been run yet\n");
    assert_eq!(scene.copied(), 0);
    scene.assert_equal();
}
