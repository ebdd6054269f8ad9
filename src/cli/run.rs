//! Migrating: one job after the other, shown while it goes on, summed up at its end.

use super::arguments::Run;
use super::exit::Exit;
use super::ground::{Ground, Kit, shell};
use super::jobs::{self, Typed};
use super::tell::{self, Refusal};
use crate::report::{self, Reporter};
use crate::transfer::{self, Ending, Events, JobEnd, Mode};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// `mailhaul run`.
pub(super) async fn run(ground: &Ground, arguments: &Run) -> Result<Exit, Refusal> {
    let jobs = jobs::load(&arguments.jobs)?;
    let mode = Mode {
        retry: arguments.failed,
        restore: arguments.restore_removed,
        accept: arguments.accept_removed,
        ..Mode::default()
    };
    carry_out(ground, jobs, mode, arguments.json, Vec::new()).await
}

/// Runs jobs one after the other. `before`: how others ended that could not be begun.
pub(super) async fn carry_out(
    ground: &Ground,
    jobs: Vec<Typed>,
    mode: Mode,
    json: bool,
    before: Vec<Exit>,
) -> Result<Exit, Refusal> {
    let kit = ground.kit(ground.ledger()?, &ground.state()?);
    let _signals = ground.heed_signals();
    let mut exits = before;
    let mut next = Vec::new();
    let mut not_begun = Vec::new();
    for Typed { path, job } in jobs {
        if ground.stop.is_cancelled() {
            not_begun.push(path);
            continue;
        }
        let name = job.name.clone();
        let end = Box::pin(one(ground, &kit, job, mode, json)).await?;
        exits.extend(end.accounts.iter().map(Exit::of_end));
        let commands = commands(ground, &path, &end);
        if !json {
            tell::print(&report::summary(&name, &end, &commands, ground.paint()))?;
        }
        next.extend(commands);
    }
    if !not_begun.is_empty() {
        exits.push(Exit::Stopped);
        next.push(not_begun_command(ground, &not_begun, json));
    }
    let exit = Exit::together(exits);
    if json {
        next.dedup();
        tell::print(&(report::run_ended(SystemTime::now(), exit.code(), exit.meaning(), &next) + "\n"))?;
    }
    kit.close().await?;
    Ok(exit)
}

async fn one(ground: &Ground, kit: &Kit, job: crate::config::Job, mode: Mode, json: bool) -> Result<JobEnd, Refusal> {
    let (events, inbox) = Events::channel();
    let context = kit.context(job, events, mode)?;
    let reporter = match (json, ground.live_paint()) {
        (true, _) => Reporter::json(std::io::stdout()),
        (false, Some(paint)) => Reporter::live(ground.screen.clone(), paint),
        (false, None) => Reporter::lines(ground.screen.clone()),
    };
    // A slow reader may block it: that must not take a worker of the run away.
    let runtime = tokio::runtime::Handle::current();
    let follower = tokio::task::spawn_blocking(move || runtime.block_on(reporter.follow(inbox)));
    let end = transfer::run(context).await;
    if follower.await.is_err() {
        tracing::error!("what was going on could not be shown to its end");
    }
    Ok(end)
}

/// Gives what to type next after a job.
fn commands(ground: &Ground, path: &Path, end: &JobEnd) -> Vec<String> {
    let has = |any: &[Ending]| end.accounts.iter().any(|account| any.contains(&account.ending));
    let path = shell(path);
    let mut commands = Vec::new();
    if has(&[Ending::Stopped, Ending::Parked, Ending::Failed]) {
        commands.push(ground.command("resume"));
    }
    if has(&[Ending::Exceptions]) {
        commands.push(ground.command(&format!("failed {path}")));
        commands.push(ground.command(&format!("run {path} --failed")));
    }
    if commands.is_empty() {
        commands.push(ground.command(&format!("verify {path}")));
    }
    commands
}

/// Says which jobs were not begun, and gives the command that begins them.
fn not_begun_command(ground: &Ground, paths: &[PathBuf], json: bool) -> String {
    let paths = paths.iter().map(|path| shell(path)).collect::<Vec<_>>().join(" ");
    let command = ground.command(&format!("run {paths}"));
    if !json {
        tell::note(&format!("stopped before these were begun: {paths}\n  hint: {command}"));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::AccountEnd;

    #[test]
    fn every_end_says_what_to_type_next() {
        let end = |endings: &[Ending]| JobEnd {
            accounts: endings
                .iter()
                .map(|ending| AccountEnd {
                    name: "a".into(),
                    ending: *ending,
                    failure: None,
                    folders_failed: Vec::new(),
                    fates: [].into(),
                    evidence: [].into(),
                    surplus: 0,
                })
                .collect(),
        };
        for (endings, typed) in [
            (&[Ending::Complete][..], "mailhaul verify 'my job.toml'"),
            (&[Ending::Complete, Ending::Parked], "mailhaul resume"),
            (&[Ending::Failed, Ending::Stopped], "mailhaul resume"),
            (
                &[Ending::Exceptions, Ending::Failed],
                "mailhaul resume; mailhaul failed 'my job.toml'; mailhaul run 'my job.toml' --failed",
            ),
        ] {
            let commands = commands(&Ground::new(None), Path::new("my job.toml"), &end(endings));
            assert_eq!(commands.join("; "), typed, "{endings:?}");
        }
    }
}
