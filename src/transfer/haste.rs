//! How fast one side of an account is gone at: its limits, and what its server says of our haste.

use crate::imap::{Brake, Haste, Pause};
use crate::mail::Side;
use crate::pace::{Hold, Limits, Pacer};
use crate::provider::Slower;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The limits of a side, as the wire asks for them.
#[derive(Clone)]
pub(super) struct PoolBrake {
    pacer: Pacer,
    burst: (u32, u64),
    pub(super) heed: Heed,
}

impl PoolBrake {
    pub(super) fn new(limits: &Limits, heed: Heed) -> Self {
        let messages = limits.messages_per_second.map_or(u32::MAX, |rate| rate.max(1.0) as u32);
        Self { pacer: Pacer::new(limits), burst: (messages, limits.bytes_per_second.unwrap_or(u64::MAX)), heed }
    }

    /// Gives the same for one who stops earlier than the account.
    pub(super) fn until(&self, stop: &CancellationToken) -> Self {
        Self { heed: Heed { stop: stop.clone(), ..self.heed.clone() }, ..self.clone() }
    }
}

impl Brake for PoolBrake {
    async fn messages(&self, count: u32) {
        for _ in 0..count {
            self.pacer.message().await;
        }
        while let Some(pause) = self.heed.pause() {
            pause.await;
        }
    }

    async fn bytes(&self, count: u64) {
        self.pacer.bytes(count).await;
    }

    fn burst(&self) -> (u32, u64) {
        self.burst
    }
}

/// What all connections of a side hear is kept by all of them, until somebody stops.
#[derive(Clone)]
pub(super) struct Heed {
    pub(super) account: String,
    pub(super) side: Side,
    pub(super) hold: Hold,
    pub(super) stop: CancellationToken,
}

impl Heed {
    /// Nothing is asked for this long.
    pub(super) fn keep(&self, time: Duration) {
        self.hold.keep(time);
    }
}

impl Haste for Heed {
    fn pause(&self) -> Option<Pause<'_>> {
        // Whoever is stopping has nothing to wait for.
        if self.stop.is_cancelled() {
            return None;
        }
        self.hold.left()?;
        Some(Box::pin(async {
            tokio::select! {
                () = self.hold.over() => {}
                () = self.stop.cancelled() => {}
            }
        }))
    }

    fn heard(&self, slower: Slower) {
        match slower {
            Slower::For(time) => self.hold.keep(time),
            Slower::Somewhat => self.hold.grow(),
        }
        let seconds = self.hold.left().unwrap_or_default().as_secs_f64().ceil();
        tracing::info!(account = self.account, side = %self.side, seconds, "the server asks for less haste");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn brake() -> PoolBrake {
        let (hold, stop) = (Hold::default(), CancellationToken::new());
        let limits = Limits { messages_per_second: None, bytes_per_second: None, connections: 1 };
        PoolBrake::new(&limits, Heed { account: "a".to_owned(), side: Side::Target, hold, stop })
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_connection_hears_holds_back_the_next_message_of_another() {
        let (one, other) = (brake(), brake());
        let another = one.clone();
        one.heed.heard(Slower::For(Duration::from_secs(300)));
        let begin = Instant::now();
        other.messages(1).await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "of another account");
        another.messages(1).await;
        assert!(begin.elapsed() >= Duration::from_secs(300), "kept whole: {:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waits_for_nothing() {
        let brake = brake();
        let stop = CancellationToken::new();
        let part = brake.until(&stop);
        brake.heed.heard(Slower::For(Duration::from_secs(3600)));
        let begin = Instant::now();
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.cancel();
        };
        tokio::join!(part.messages(1), stopping);
        part.messages(1).await;
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        assert!(brake.heed.pause().is_some(), "the others wait");
    }
}
