//! What several sessions append, one command's worth each at a time.

use super::append::Outgoing;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

/// Where messages come from that are to be appended. Several sessions may take from it, each what goes into one command.
pub struct Incoming {
    queue: Arc<Mutex<mpsc::Receiver<Outgoing>>>,
    retired: CancellationToken,
}

impl Incoming {
    /// Takes what comes over a channel.
    #[must_use]
    pub fn of(queue: mpsc::Receiver<Outgoing>) -> Self {
        Self { queue: Arc::new(Mutex::new(queue)), retired: CancellationToken::new() }
    }

    /// Gives the same for a session beside the others, which takes nothing further when `retired` is cancelled.
    #[must_use]
    pub fn beside(&self, retired: CancellationToken) -> Self {
        Self { queue: Arc::clone(&self.queue), retired }
    }

    /// Nothing further is put into it.
    pub async fn close(&self) {
        self.queue.lock().await.close();
    }

    /// Gives the queue where nobody else waits at it.
    pub(super) fn try_lock(&self) -> Option<Taking<'_>> {
        self.queue.try_lock().ok().filter(|_| !self.retired.is_cancelled())
    }

    /// Gives the next message where it is there and nobody else waits for it.
    pub(super) fn try_next(&self) -> Option<Outgoing> {
        self.try_lock()?.try_recv().ok()
    }

    /// Waits for the next message. None: there will be none.
    pub(super) async fn next(&self) -> Option<Outgoing> {
        let next = async { self.queue.lock().await.recv().await };
        tokio::select! {
            biased;
            () = self.retired.cancelled() => None,
            next = next => next,
        }
    }
}

pub(super) type Taking<'a> = MutexGuard<'a, mpsc::Receiver<Outgoing>>;
