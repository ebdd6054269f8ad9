//! Where log records go: standard error, above the live view.

use super::arguments::Global;
use super::exit::Exit;
use super::tell::Refusal;
use crate::report::Screen;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Begins to log what the arguments ask for.
pub(super) fn begin(global: &Global, screen: Screen) -> Result<(), Refusal> {
    let filter = match (global.verbose, &global.log_level) {
        (0, Some(filter)) => filter.as_str(),
        (0, None) => "warn",
        (1, _) => "warn,mailhaul=info",
        (2, _) => "info,mailhaul=debug",
        _ => "debug,mailhaul=trace",
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        let text = format!("failed to understand --log-level {filter:?}: {error}\n  hint: such as --log-level info");
        Refusal::new(Exit::Unusable, text)
    })?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(move || screen.clone());
    // A program that embeds this one may have begun to log by itself: that stays.
    let _ = if global.log_json { subscriber.json().finish().try_init() } else { subscriber.finish().try_init() };
    Ok(())
}
