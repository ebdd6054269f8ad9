//! A server that says anything at all: every command of a session is answered with the next piece of the input.
//!
//! The input is cut at 0xFF. The first byte says in what pieces it arrives; the first piece is the greeting, every other one
//! answers a command that the client has written; a 0x00 in it stands for that command's tag. Nothing may panic, and with
//! the clock paused nothing can wait: what does not come to an end is found as a hang.

use futures_util::future::BoxFuture;
use mailhaul::auth::{Credential, Keychain, Secret, SecretSource, SignIn};
use mailhaul::failure::Failure;
use mailhaul::imap::{
    Body, BodyRoom, Brake, Destination, FlagChange, ImapError, Incoming, Manners, Opening, Outgoing, Session,
    TOGETHER_MAX, Target, Wanted,
};
use mailhaul::mail::{Flags, InternalDate, Side, Uid};
use mailhaul::net::{BoxedIo, Dial, Endpoint, NetError, Tls, Trust};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Tries one input.
pub(super) fn run(input: &[u8]) {
    let Some((step, script)) = input.split_first() else { return };
    let answers = script.split(|byte| *byte == 0xff).map(<[u8]>::to_vec).collect();
    let script = Script { step: usize::from(*step).max(1), answers, ready: VecDeque::new(), line: vec![], waker: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        if let Err(error) = talk(script).await {
            show(&error);
        }
    });
}

/// What is said of a failure is fit for a terminal.
fn show(error: &ImapError) {
    let failure = error.failure(Side::Source);
    // Line ends are ours: between what failed and the hint.
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!failure.to_string().contains(steers), "{failure:?}");
    assert!(!failure.text.contains('\n'), "{failure:?}");
}

struct Script {
    step: usize,
    answers: VecDeque<Vec<u8>>,
    ready: VecDeque<u8>,
    /// What the client has begun to write.
    line: Vec<u8>,
    waker: Option<Waker>,
}

impl Script {
    fn answer(&mut self, tag: &[u8]) {
        for byte in self.answers.pop_front().unwrap_or_default() {
            match byte {
                0 => self.ready.extend(tag),
                byte => self.ready.push_back(byte),
            }
        }
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready.is_empty() && !self.answers.is_empty() {
            self.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        for _ in 0..self.step.min(buffer.remaining()) {
            match self.ready.pop_front() {
                Some(byte) => buffer.put_slice(&[byte]),
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let tag = line.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
            self.answer(&tag);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Gives the script to whoever connects first.
struct Once(Mutex<Option<Script>>);

impl Dial for Once {
    fn dial<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        let mut script = self.0.lock().unwrap().take().unwrap();
        script.answer(b"");
        Box::pin(async { Ok(Box::new(script) as BoxedIo) })
    }

    fn secure<'a>(&'a self, io: BoxedIo, _: &'a Endpoint) -> BoxFuture<'a, Result<BoxedIo, NetError>> {
        Box::pin(async { Ok(io) })
    }
}

struct Free;

impl Brake for Free {
    async fn messages(&self, _: u32) -> Result<(), Failure> {
        Ok(())
    }
    async fn bytes(&self, _: u64) -> Result<(), Failure> {
        Ok(())
    }
    fn burst(&self) -> (u32, u64) {
        (u32::MAX, u64::MAX)
    }
}

async fn talk(script: Script) -> Result<(), ImapError> {
    let starttls = script.step.is_multiple_of(7);
    let dial = Once(Mutex::new(Some(script)));
    let connect_timeout = Duration::from_secs(1);
    let tls = if starttls { Tls::StartTls } else { Tls::None };
    let endpoint = Endpoint { host: "h".to_owned(), port: 143, tls, trust: Trust::default(), connect_timeout };
    let credential = Credential::Password(SecretSource::Plain(Secret::new("pass".to_owned())));
    let sign_in = SignIn { user: "u".to_owned(), admin: None, credential };
    let keychain = Keychain::new(&sign_in.credential);
    let timeout = Duration::from_secs(60);
    let (endpoint, sign_in, keychain) = (&endpoint, &sign_in, &keychain);
    let manners = &Manners::default();
    let opening = Opening { dial: &dial, endpoint, sign_in, keychain, timeout, lists: true, manners, commands: None };
    let mut session = Session::<Target>::open(opening).await?;
    let folders = session.folders().await?;
    let namespace = session.namespace().await?;
    let Some(folder) = folders.first() else { return Ok(()) };
    for folder in &folders {
        assert!(!folder.path.parts().is_empty());
        let _ = namespace.wire_name(&folder.path);
    }
    session.status(&folder.name).await?;
    let opened = session.examine(&folder.name).await?;
    let last = opened.state.uid_next.unwrap_or(Uid::FIRST);
    let listing = session.listing(Uid::FIRST, last, opened.state.messages).await?;
    assert!(listing.uids().iter().is_sorted_by(|one, other| one < other));
    let uids: Vec<Uid> = listing.uids().iter().take(20).collect();
    session.headers(&uids).await?;
    session.recipients(opened.state, 10).await?;
    let bodies = fetch(&mut session, &uids).await?;
    append(&mut session, &folder.name, bodies, &listing).await?;
    session.create(&folder.name, folder.role).await?;
    session.subscribe(&folder.name).await?;
    session.select(&folder.name).await?;
    drop(session.store(&uids, FlagChange::Add, &Flags::parse("\\Seen a"), None).await?);
    session.noop().await?;
    session.logout().await;
    Ok(())
}

async fn fetch(session: &mut Session<Target>, uids: &[Uid]) -> Result<Vec<(Uid, Body)>, ImapError> {
    let wanted: Vec<(Uid, u64)> = uids.iter().map(|uid| (*uid, 100)).collect();
    let room = BodyRoom::new(1 << 20, 64 * 1024, &std::env::temp_dir());
    let (out, mut fetched) = mpsc::channel(64);
    let missing = session.fetch_bodies(&Wanted::of(wanted.iter().copied()), &room, &Free, &out).await?;
    drop(out);
    let mut bodies = Vec::new();
    let mut seen = missing.iter().map(|(uids, _)| uids.len()).sum::<usize>();
    while let Some(one) = fetched.recv().await {
        assert!(uids.contains(&one.uid));
        seen += 1;
        bodies.extend(one.body.map(|body| (one.uid, body)));
    }
    assert_eq!(seen, uids.len(), "each message has come or has not, once");
    Ok(bodies)
}

async fn append(
    session: &mut Session<Target>,
    folder: &mailhaul::mail::WireName,
    bodies: Vec<(Uid, Body)>,
    listing: &mailhaul::mail::Listing,
) -> Result<(), ImapError> {
    let (give, incoming) = mpsc::channel(64);
    let (answers, mut answered) = mpsc::unbounded_channel();
    let sent = bodies.len();
    for (at, (uid, body)) in bodies.into_iter().enumerate() {
        let flags = listing.get(uid).map(|entry| entry.flags.clone()).unwrap_or_default();
        let date = listing.get(uid).and_then(|entry| entry.date).or(InternalDate::new(0, 0));
        let outgoing = Outgoing { source_uid: uid, flags, date, body, careful: at % 3 == 2 };
        drop(give.try_send(outgoing));
    }
    drop(give);
    let into = Destination { folder, validity: None, together: TOGETHER_MAX };
    let ended = session.append(into, &Incoming::of(incoming), &answers, &Free, &CancellationToken::new()).await;
    drop(answers);
    let mut count = 0;
    while answered.recv().await.is_some() {
        count += 1;
    }
    assert!(count <= sent && (ended.is_err() || count == sent), "one answer for each message");
    ended
}
