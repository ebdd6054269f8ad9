//! The command line: arguments to calls, errors to text and exit codes.
//!
//! Secret: what is typed, where state lies when nobody says, which signal means what. Results go to standard output,
//! everything else to standard error. A reader that goes away is no error. No other room knows an exit code.

mod arguments;
mod exit;
mod ground;
mod jobs;
mod log;
mod look;
mod resume;
mod run;
mod save;
mod start;
mod state;
mod tell;

pub use exit::Exit;

use arguments::{Arguments, Command};
use clap::Parser as _;
use ground::Ground;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;
use tell::Refusal;

/// What is still running when a command has ended, such as a look-up of a name, is waited for so long at the most.
const LEFT_BEHIND_MAX: Duration = Duration::from_millis(500);

/// Does what the arguments say; the first of them is the program's name. Ends as `std::process::exit` with the code
/// would, and does end the process itself when a second signal asks for that.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors. What cannot be written cannot be helped.
            let _ = error.print();
            return if error.use_stderr() { Exit::Unusable } else { Exit::Complete }.into();
        }
    };
    match start(arguments) {
        Ok(exit) => exit.into(),
        Err(refusal) => {
            tell::error(&refusal.text);
            refusal.exit.into()
        }
    }
}

fn start(arguments: Arguments) -> Result<Exit, Refusal> {
    let Arguments { global, command } = arguments;
    let ground = Ground::new(global.state.clone());
    log::begin(&global, ground.screen.clone())?;
    let command = match command {
        Command::Init(arguments) => return start::init(&arguments),
        Command::ExitCodes => return tell::print(&exit::table()).map(|()| Exit::Complete),
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .map_err(|error| Refusal::new(Exit::Internal, format!("failed to begin: {error}")))?;
    let ended = runtime.block_on(carry_out(command, &ground));
    runtime.shutdown_timeout(LEFT_BEHIND_MAX);
    ended
}

/// Half of the processors: the ledger has a thread of its own, and mail moves as fast as servers do. More threads wake each
/// other up more often than they help.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

async fn carry_out(command: Command, ground: &Ground) -> Result<Exit, Refusal> {
    match command {
        Command::Init(_) | Command::ExitCodes => Ok(Exit::Complete),
        Command::Check(arguments) => Box::pin(look::check(ground, &arguments)).await,
        Command::Plan(arguments) => Box::pin(look::plan(ground, &arguments)).await,
        Command::Verify(arguments) => Box::pin(look::verify(ground, &arguments)).await,
        Command::Run(arguments) => Box::pin(run::run(ground, &arguments)).await,
        Command::Resume(arguments) => Box::pin(resume::resume(ground, &arguments)).await,
        Command::Status(arguments) => tell::status(ground, &arguments).await,
        Command::Failed(arguments) => match &arguments.export {
            Some(directory) => Box::pin(save::export(ground, &arguments.job, directory)).await,
            None => tell::failed(ground, &arguments).await,
        },
        Command::State(arguments) => Box::pin(state::state(ground, arguments)).await,
        Command::Daemon(arguments) => Box::pin(start::daemon(ground, &arguments)).await,
    }
}
