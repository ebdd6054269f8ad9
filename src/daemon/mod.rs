//! Many jobs for long.

use crate::config::DaemonConfig;
use crate::failure::Failure;
use crate::net::Dial;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Why the daemon ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DaemonError(Failure);

impl DaemonError {
    /// Gives what failed.
    #[must_use]
    pub fn failure(&self) -> Failure {
        self.0.clone()
    }
}

/// Runs jobs until asked to stop.
///
/// # Errors
/// When it cannot go on.
pub async fn serve(
    _config: DaemonConfig,
    _state: &Path,
    _dial: Arc<dyn Dial>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    stop.cancelled().await;
    Ok(())
}
