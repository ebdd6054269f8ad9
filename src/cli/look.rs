//! Commands that look and change nothing: check, plan, verify.

use super::arguments::{Check, Closeness, OneJob, Verify};
use super::exit::Exit;
use super::ground::{Ground, Kit};
use super::jobs::{self, Typed};
use super::tell::{self, Refusal};
use crate::checkpoint::Ledger;
use crate::config::Job;
use crate::report::{self, Reporter};
use crate::transfer::{self, Context, Events, Mode};
use serde::Serialize;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// One job's answer, for programs.
#[derive(Serialize)]
struct Answer<'a, T> {
    job: &'a str,
    job_file: String,
    accounts: &'a [T],
}

impl<'a, T: Serialize> Answer<'a, T> {
    fn document(typed: (&'a str, &PathBuf), accounts: &'a [T]) -> String {
        let (job, path) = typed;
        report::document(&Answer { job, job_file: path.display().to_string(), accounts })
    }
}

/// `mailhaul check`.
pub(super) async fn check(ground: &Ground, arguments: &Check) -> Result<Exit, Refusal> {
    let jobs = jobs::load(&arguments.jobs)?;
    let _signals = ground.heed_signals();
    let mut exits = Vec::new();
    let several = jobs.len() > 1;
    for Typed { path, job } in jobs {
        let name = job.name.clone();
        let place = Place::passing(ground)?;
        let checks = place.look(job, ground, transfer::check).await?;
        exits.extend(checks.iter().map(Exit::of_check));
        if arguments.json {
            tell::print(&Answer::document((&name, &path), &checks))?;
        } else {
            let head = if several { format!("{}\n", path.display()) } else { String::new() };
            let tail = if several { "\n" } else { "" };
            tell::print(&format!("{head}{}{tail}", report::checks(&checks, ground.paint())))?;
        }
    }
    Ok(Exit::together(exits))
}

/// `mailhaul plan`.
pub(super) async fn plan(ground: &Ground, arguments: &OneJob) -> Result<Exit, Refusal> {
    let Typed { path, job } = jobs::load_one(&arguments.job)?;
    let _signals = ground.heed_signals();
    let name = job.name.clone();
    let place = Place::knowing(ground)?;
    let plans = place.look(job, ground, transfer::plan).await?;
    place.close().await?;
    tell::print(&match arguments.json {
        true => Answer::document((&name, &path), &plans),
        false => report::plans(&plans, ground.paint()),
    })?;
    Ok(Exit::together(plans.iter().map(Exit::of_plan)))
}

/// `mailhaul verify`.
pub(super) async fn verify(ground: &Ground, arguments: &Verify) -> Result<Exit, Refusal> {
    if arguments.sample.is_some() && arguments.level != Closeness::Bytes {
        let text = "--sample says how many messages are read whole\n  hint: add --level bytes, or leave it away";
        return Err(Refusal::new(Exit::Unusable, text));
    }
    let Typed { path, job } = jobs::load_one(&arguments.job)?;
    let _signals = ground.heed_signals();
    let name = job.name.clone();
    let (level, sample) = (arguments.level.into(), arguments.sample.unwrap_or(1.0));
    // Opened before anything is connected to: hours later is late for a typing error.
    let file = arguments.messages.as_deref().map(create).transpose()?;
    let place = Place::knowing(ground)?;
    let verdicts = match file {
        None => place.look(job, ground, |context| transfer::verify(context, level, sample)).await?,
        Some(file) => {
            let (sender, told) = mpsc::channel(MESSAGES_WAITING_MAX);
            let looked = place.look(job, ground, |context| transfer::verify_telling(context, level, sample, sender));
            let (verdicts, written) = tokio::join!(looked, report::messages(told, BufWriter::new(file)));
            written?;
            verdicts?
        }
    };
    place.close().await?;
    tell::print(&match arguments.json {
        true => Answer::document((&name, &path), &verdicts),
        false => report::verdicts(&verdicts, level, ground.paint()),
    })?;
    Ok(Exit::together(verdicts.iter().map(Exit::of_verdict)))
}

/// Messages that wait to be written.
const MESSAGES_WAITING_MAX: usize = 256;

/// Makes a file that only its owner reads: it holds what servers say of mail.
fn create(path: &Path) -> Result<File, Refusal> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| {
        Refusal::new(Exit::Unusable, format!("failed to write {}: {error}\n  hint: name another file", path.display()))
    })
}

/// Where looking is done.
struct Place {
    kit: Kit,
    /// Goes away with it.
    _passing: Option<TempDir>,
}

impl Place {
    /// Makes a place that goes away again and knows nothing of what has been done.
    fn passing(ground: &Ground) -> Result<Self, Refusal> {
        let directory = tempfile::tempdir()
            .map_err(|error| Refusal::new(Exit::State, format!("failed to make a temporary directory: {error}")))?;
        let kit = ground.kit(Ledger::open(directory.path())?, directory.path());
        Ok(Self { kit, _passing: Some(directory) })
    }

    /// Finds the place where it is kept what has been done; a passing one where nothing has been.
    fn knowing(ground: &Ground) -> Result<Self, Refusal> {
        if ground.ledger_to_read()?.is_none() {
            return Self::passing(ground);
        }
        Ok(Self { kit: ground.kit(ground.ledger()?, &ground.state()?), _passing: None })
    }

    /// Looks, and says meanwhile when a server is waited for.
    async fn look<T, F: Future<Output = T>>(
        &self,
        job: Job,
        ground: &Ground,
        look: impl FnOnce(Context) -> F,
    ) -> Result<T, Refusal> {
        let (events, inbox) = Events::channel();
        let context = self.kit.context(job, events, Mode::default())?;
        let follower = Reporter::lines(ground.screen.clone()).follow(inbox);
        let follower = AbortOnDropHandle::new(tokio::spawn(follower));
        let seen = look(context).await;
        // Nobody sends any more. Should it have panicked, there is nothing left to show.
        let _ = follower.await;
        Ok(seen)
    }

    async fn close(self) -> Result<(), Refusal> {
        self.kit.close().await
    }
}
