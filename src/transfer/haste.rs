//! How fast one side of an account is gone at: its limits, and what its server says of our haste.

use super::allowance::Purses;
use crate::failure::{Failure, Kind};
use crate::imap::{Brake, CommandBrake, Haste, Pause};
use crate::mail::Side;
use crate::pace::{Hold, HostPace, Pacer};
use crate::provider::Slower;
use futures_util::future::BoxFuture;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The limits of a side, as the wire asks for them: the account's own, what it shares with others on the host, and what the
/// server has said.
#[derive(Clone)]
pub(super) struct PoolBrake {
    pub(super) account: Pacer,
    pub(super) host: HostPace,
    /// What pays for bodies that are fetched; None: they cost nothing.
    pub(super) fetched: Option<Purses>,
    /// What has paid for bodies, whoever asked it; takes back what has not moved.
    pub(super) paid: Option<Purses>,
    pub(super) heed: Heed,
    pub(super) end: End,
}

/// When bodies that are under way are given up: a while after a stop.
#[derive(Clone)]
pub(super) struct End {
    stop: CancellationToken,
    grace: Duration,
    since: Arc<OnceLock<Instant>>,
}

impl End {
    /// What a stop finds half moved may go on for so long.
    pub(super) fn after(stop: &CancellationToken, grace: Duration) -> Self {
        Self { stop: stop.clone(), grace, since: Arc::default() }
    }

    async fn come(&self) {
        self.stop.cancelled().await;
        // Every body asks again and again: the first after the stop sees it.
        tokio::time::sleep_until(*self.since.get_or_init(Instant::now) + self.grace).await;
    }
}

/// Waits for leave, which nobody needs any more after `end`.
async fn unless<T>(end: impl Future<Output = ()>, leave: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = end => Err(Failure::new(None, Kind::Stopped, "go on: asked to stop")),
        leave = leave => Ok(leave),
    }
}

impl PoolBrake {
    /// Gives the same for one who stops earlier than the account.
    pub(super) fn until(&self, stop: &CancellationToken) -> Self {
        Self { heed: Heed { stop: stop.clone(), ..self.heed.clone() }, ..self.clone() }
    }

    /// Some limit holds commands back.
    pub(super) fn holds_commands(&self) -> bool {
        self.account.holds_commands() || self.host.holds_commands()
    }
}

impl Brake for PoolBrake {
    async fn messages(&self, count: u32) -> Result<(), Failure> {
        let leave = async {
            loop {
                self.heed.pauses().await;
                let _leave = (self.account.messages(count).await, self.host.messages(count).await);
                if self.heed.pause().is_none() {
                    return;
                }
            }
        };
        unless(self.heed.stop.cancelled(), leave).await
    }

    async fn bytes(&self, count: u64) -> Result<(), Failure> {
        let leave = async {
            let _leave = (self.account.bytes(count).await, self.host.bytes(count).await);
        };
        unless(self.end.come(), leave).await
    }

    /// All take leaves in this order, or two would wait for each other.
    async fn ask(&self, messages: u32, bytes: u64) -> Result<Box<dyn Send>, Failure> {
        let Self { account, host, .. } = self;
        let leave = async {
            loop {
                self.heed.pauses().await;
                let of_account =
                    [account.messages(messages).await, account.bytes(bytes).await, account.commands(1).await];
                let of_host = [host.messages(messages).await, host.bytes(bytes).await, host.commands(1).await];
                if self.heed.pause().is_none() {
                    return (of_account, of_host);
                }
            }
        };
        Ok(Box::new(unless(self.heed.stop.cancelled(), leave).await?))
    }

    fn is_paced(&self) -> bool {
        [self.account.burst(), self.host.burst()].iter().any(|burst| *burst != (u32::MAX, u64::MAX))
    }

    fn is_held(&self) -> bool {
        self.heed.pause().is_some()
    }

    fn burst(&self) -> (u32, u64) {
        /// A command asks for no more than this part of a day's allowance, or what is left of it at the end is of no use.
        const PART_OF_DAY: u64 = 64;
        let (account, host) = (self.account.burst(), self.host.burst());
        let of_day = self.message_max().map_or(u64::MAX, |day| (day / PART_OF_DAY).max(1));
        (account.0.min(host.0), account.1.min(host.1).min(of_day))
    }

    async fn afford(&self, bytes: u64) -> Result<(), Failure> {
        match &self.fetched {
            Some(purses) => purses.spend(bytes).await,
            None => Ok(()),
        }
    }

    fn unused(&self, bytes: u64, since: Instant) {
        if let Some(purses) = &self.paid {
            purses.put_back(bytes, since);
        }
    }

    fn unfetched(&self, bytes: u64, since: Instant) {
        if let Some(purses) = &self.fetched {
            purses.put_back(bytes, since);
        }
    }

    fn message_max(&self) -> Option<u64> {
        self.fetched.as_ref()?.message_max()
    }
}

impl CommandBrake for PoolBrake {
    fn command(&self) -> BoxFuture<'_, Result<(), Failure>> {
        let leave = async {
            let _leave = (self.account.commands(1).await, self.host.commands(1).await);
        };
        Box::pin(unless(self.heed.stop.cancelled(), leave))
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

    /// Waits for the end of every pause.
    pub(super) async fn pauses(&self) {
        while let Some(pause) = self.pause() {
            pause.await;
        }
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
            Slower::Somewhat => self.hold.halve(),
        }
        let seconds = self.hold.left().unwrap_or_default().as_secs_f64().ceil();
        tracing::info!(account = self.account, side = %self.side, seconds, "the server asks for less haste");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::{HostPacers, Rates, WallClock};

    fn brake() -> PoolBrake {
        brake_at(&Rates::default())
    }

    fn brake_at(rates: &Rates) -> PoolBrake {
        let (hold, stop) = (Hold::default(), CancellationToken::new());
        PoolBrake {
            end: End::after(&stop, Duration::from_secs(10)),
            account: Pacer::new(rates, WallClock::default()),
            host: HostPacers::default().pace("a", &Rates::default()),
            fetched: None,
            paid: None,
            heed: Heed { account: "a".to_owned(), side: Side::Target, hold, stop },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_connection_hears_holds_back_the_next_message_of_another() {
        let (one, other) = (brake(), brake());
        let another = one.clone();
        one.heed.heard(Slower::For(Duration::from_secs(300)));
        let begin = Instant::now();
        other.messages(1).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO, "of another account");
        another.messages(1).await.unwrap();
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
        let (leave, ()) = tokio::join!(part.messages(1), stopping);
        assert!(leave.is_err() && part.messages(1).await.is_err());
        assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
        assert!(brake.heed.pause().is_some(), "the others wait");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait_for_a_limit_and_gives_no_leave() {
        let slow = || Some(0.001).into();
        let brake =
            brake_at(&Rates { messages_per_second: slow(), bytes_per_second: slow(), commands_per_second: slow() });
        let begin = Instant::now();
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            brake.heed.stop.cancel();
        };
        let timed = async |leave: Result<(), Failure>| (leave.err().map(|failure| failure.kind), begin.elapsed());
        let (messages, command, bytes, ()) = tokio::join!(
            async { timed(brake.messages(2).await).await },
            async {
                brake.command().await.ok();
                timed(brake.command().await).await
            },
            async { timed(brake.bytes(1 << 20).await).await },
            stopping
        );
        for (what, (kind, after), seconds) in [("messages", messages, 5), ("command", command, 5), ("bytes", bytes, 15)]
        {
            assert_eq!(kind, Some(Kind::Stopped), "{what}");
            assert_eq!(after.as_secs(), seconds, "{what}");
        }
        assert!(brake.bytes(1).await.is_err(), "what is under way has had its while");
    }
}
