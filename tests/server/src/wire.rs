//! Bytes in and out of one connection.
//!
//! Secret: buffers, TLS, and the faults that concern the connection alone. Output is collected and sent when input runs
//! out, so that pipelined commands cost few system calls; with faults or `split_bytes` it is sent as it comes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Shared;
use crate::faults::{Act, Event, Point};
use crate::log::Moved;

/// The connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End;

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End
    }
}

/// What a connection runs over.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Memory(DuplexStream),
    /// In between, while TLS is made, and after the end.
    Gone,
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr, $gone:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Stream::Memory(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Gone => $gone,
        }
    };
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf), gone())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf), gone())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx), gone())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx), gone())
    }
}

/// A line, or what came instead of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its CRLF.
    Whole(Vec<u8>),
    /// Ended in LF without CR.
    BareLf,
    /// Longer than allowed and skipped; how it began.
    TooLong(Vec<u8>),
}

/// Output is sent when so much of it has come together.
const OUT_BYTES: usize = 64 * 1024;
/// Read at once; a TLS record holds 16 KiB, a literal comes in many.
const READ_BYTES: usize = 64 * 1024;
/// Input kept while stalled; beyond this the client feels the stall in its own socket.
const STALLED_BYTES_MAX: usize = 1024 * 1024;
/// Written at once where traffic is noted.
const NOTED_BYTES: usize = 8 * 1024;
/// Enough of a line to find its tag.
fn beginning(line: &[u8]) -> Vec<u8> {
    line[..line.len().min(64)].to_vec()
}

/// How long a closed connection is listened to; on loopback the client's FIN comes at once.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// One connection.
pub(crate) struct Wire {
    stream: Stream,
    shared: Arc<Shared>,
    pub(crate) connection: u64,
    pub(crate) user: Option<String>,
    /// Read and not yet consumed from `start` on.
    input: Vec<u8>,
    start: usize,
    pub(crate) out: Vec<u8>,
    /// Whether the client reads no more.
    deaf: bool,
    sent: u64,
    received: u64,
}

impl Wire {
    pub(crate) fn new(stream: Stream, shared: Arc<Shared>, connection: u64) -> Self {
        Wire {
            stream,
            shared,
            connection,
            user: None,
            input: Vec::new(),
            start: 0,
            out: Vec::new(),
            deaf: false,
            sent: 0,
            received: 0,
        }
    }

    /// Bytes consumed so far: what was read and used, not what waits in the buffer.
    pub(crate) fn consumed(&self) -> u64 {
        self.received - (self.input.len() - self.start) as u64
    }

    /// Makes TLS; what was received in plain text is thrown away.
    pub(crate) async fn accept_tls(&mut self, acceptor: &TlsAcceptor) -> Result<(), End> {
        self.input.clear();
        self.start = 0;
        match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Tcp(tcp) => {
                self.stream = Stream::Tls(Box::new(acceptor.accept(tcp).await?));
                Ok(())
            }
            _ => Err(End),
        }
    }

    pub(crate) fn can_start_tls(&self) -> bool {
        matches!(self.stream, Stream::Tcp(_))
    }

    /// The next line; at the end of input the connection is over.
    pub(crate) async fn read_line(&mut self, bytes_max: usize) -> Result<Line, End> {
        let mut searched = 0;
        let mut too_long = None;
        loop {
            let unread = &self.input[self.start..];
            if let Some(at) = unread[searched..].iter().position(|&byte| byte == b'\n') {
                let line = &unread[..searched + at];
                self.start += line.len() + 1;
                if line.len() > bytes_max && too_long.is_none() {
                    too_long = Some(beginning(line));
                }
                return Ok(match (too_long, line.strip_suffix(b"\r")) {
                    (Some(beginning), _) => Line::TooLong(beginning),
                    (None, Some(line)) => Line::Whole(line.to_vec()),
                    (None, None) => Line::BareLf,
                });
            }
            searched = unread.len();
            if searched > bytes_max {
                too_long.get_or_insert_with(|| beginning(unread));
                self.start = self.input.len();
                searched = 0;
            }
            self.fill().await?;
        }
    }

    /// Reads `size` bytes of a literal into `sink`, if there is one.
    pub(crate) async fn read_exact(&mut self, size: u64, mut sink: Option<&mut Vec<u8>>) -> Result<(), End> {
        let mut left = size;
        while left > 0 {
            if self.start == self.input.len() {
                self.fill().await?;
            }
            let unread = &self.input[self.start..];
            let take = usize::try_from(left).map_or(unread.len(), |left| left.min(unread.len()));
            if let Some(sink) = &mut sink {
                sink.extend_from_slice(&unread[..take]);
            }
            self.start += take;
            left -= take as u64;
        }
        Ok(())
    }

    /// Sends what is to be sent and reads more. Nothing is lost if it is dropped while it reads.
    pub(crate) async fn fill(&mut self) -> Result<(), End> {
        self.flush().await?;
        if self.read_more().await? == 0 { Err(End) } else { Ok(()) }
    }

    async fn read_more(&mut self) -> Result<usize, End> {
        self.input.drain(..self.start);
        self.start = 0;
        self.input.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.input).await?;
        self.received += read as u64;
        self.shared.log.count(|stats| stats.bytes_in += read as u64);
        self.moved(Moved { received: read as u64, ..Moved::default() });
        Ok(read)
    }

    fn moved(&self, moved: Moved) {
        if self.shared.config.logs_traffic {
            self.shared.log.moved(self.user.as_deref(), moved);
        }
    }

    /// Adds a line to the output.
    pub(crate) fn put(&mut self, line: impl AsRef<[u8]>) {
        self.out.extend_from_slice(line.as_ref());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Sends output if much has come together.
    pub(crate) async fn flush_some(&mut self) -> Result<(), End> {
        if self.out.len() >= OUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends all output.
    pub(crate) async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.send(&out).await
    }

    /// Sends a body literal, after `{n}` was put into the output.
    pub(crate) async fn send_body(&mut self, body: &[u8]) -> Result<(), End> {
        self.shared.log.count(|stats| stats.bodies_sent += 1);
        self.moved(Moved { messages: 1, ..Moved::default() });
        if !self.shared.faults.any() && body.len() < OUT_BYTES {
            self.out.extend_from_slice(body);
            return self.flush_some().await;
        }
        let size = body.len() as u64;
        let marks = self.shared.faults.marks(|point| point.in_body(size), 0, size);
        let mut done = 0;
        for at in marks {
            let end = usize::try_from(at).map_err(|_| End)?;
            self.out.extend_from_slice(&body[done..end]);
            done = end;
            self.flush().await?;
            self.act(Event::FetchLiteral(at, size)).await?;
        }
        self.flush().await?;
        self.send(&body[done..]).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mark = |point: &Point| if let Point::ResponseBytes(at) = point { Some(*at) } else { None };
        let marks = self.shared.faults.marks(mark, self.sent + 1, self.sent + bytes.len() as u64);
        let before = self.sent;
        let mut done = 0;
        for at in marks {
            let end = usize::try_from(at - before).map_err(|_| End)?;
            self.write(&bytes[done..end]).await;
            done = end;
            // Boxed: an act may send bytes of its own.
            Box::pin(self.act(Event::ResponseBytes(at))).await?;
        }
        self.write(&bytes[done..]).await;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        if !self.deaf {
            self.shared.log.count(|stats| stats.bytes_out += bytes.len() as u64);
            // What was received is executed even if nobody is there to be told: so it is with a killed client whose last
            // bytes the kernel delivers.
            self.deaf = self.try_write_noted(bytes).await.is_err();
        }
    }

    /// Writes, and notes what the client has taken, piece by piece.
    async fn try_write_noted(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.shared.config.logs_traffic {
            return self.try_write(bytes).await;
        }
        for piece in bytes.chunks(NOTED_BYTES) {
            self.try_write(piece).await?;
            self.moved(Moved { sent: piece.len() as u64, ..Moved::default() });
        }
        Ok(())
    }

    async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(piece) = self.shared.config.split_bytes else {
            self.stream.write_all(bytes).await?;
            return self.stream.flush().await;
        };
        for piece in bytes.chunks(piece.max(1)) {
            self.stream.write_all(piece).await?;
            self.stream.flush().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Tells the rules of an event, does what concerns the connection, and gives the rest.
    pub(crate) async fn act(&mut self, event: Event<'_>) -> Result<Vec<Act>, End> {
        let replied = matches!(event, Event::AfterReply(_));
        let acts = self.shared.faults.fire(event, self.connection, self.user.as_deref());
        if acts.is_empty() {
            return Ok(acts);
        }
        let mut rest = Vec::new();
        for act in acts {
            if replied && !matches!(act, Act::Garbage(_)) {
                let out = std::mem::take(&mut self.out);
                self.write(&out).await;
            }
            match act {
                Act::Drop => return Err(self.cut().await),
                Act::Reset => return Err(self.reset()),
                Act::HalfClose => return Err(self.half_close().await),
                Act::Stall => self.stall().await?,
                Act::Bye(text) => {
                    self.write(format!("* BYE {text}\r\n").as_bytes()).await;
                    return Err(self.close().await);
                }
                // In one piece with what waits: after STARTTLS's OK that is how injected plain text comes.
                Act::Garbage(bytes) => {
                    let mut out = std::mem::take(&mut self.out);
                    out.extend_from_slice(&bytes);
                    self.write(&out).await;
                }
                Act::Delay(time) => tokio::time::sleep(time).await,
                Act::Hold(gate) => gate.pass().await,
                act => rest.push(act),
            }
        }
        Ok(rest)
    }

    /// Closes in good order, with TLS's own goodbye.
    pub(crate) async fn close(&mut self) -> End {
        // The other side may be gone already.
        let _ = self.stream.shutdown().await;
        self.drain();
        End
    }

    /// Closes as a dying process does: FIN, but no goodbye of TLS.
    pub(crate) async fn cut(&mut self) -> End {
        let _ = match &mut self.stream {
            Stream::Tls(tls) => tls.get_mut().0.shutdown().await,
            other => other.shutdown().await,
        };
        self.drain();
        End
    }

    /// Leaves the stream to a task that swallows what still comes: a socket closed with unread input sends RST, and that
    /// would destroy replies on their way to the client.
    fn drain(&mut self) {
        let mut stream = std::mem::replace(&mut self.stream, Stream::Gone);
        self.shared.spawn(async move {
            let mut sink = tokio::io::sink();
            let _ = tokio::time::timeout(DRAIN_TIME, tokio::io::copy(&mut stream, &mut sink)).await;
        });
    }

    fn reset(&mut self) -> End {
        match &self.stream {
            Stream::Tcp(tcp) => {
                let _ = tcp.set_zero_linger();
            }
            Stream::Tls(tls) => {
                let _ = tls.get_ref().0.set_zero_linger();
            }
            Stream::Memory(_) | Stream::Gone => {}
        }
        self.stream = Stream::Gone;
        End
    }

    async fn half_close(&mut self) -> End {
        if self.stream.shutdown().await.is_ok() {
            loop {
                self.start = self.input.len();
                if !matches!(self.read_more().await, Ok(1..)) {
                    break;
                }
            }
        }
        End
    }

    async fn stall(&mut self) -> Result<(), End> {
        let mut released = self.shared.faults.released();
        loop {
            if self.input.len() - self.start >= STALLED_BYTES_MAX {
                let _ = released.changed().await;
                return Ok(());
            }
            tokio::select! {
                _ = released.changed() => return Ok(()),
                read = self.read_more() => if read? == 0 { return Err(End) },
            }
        }
    }
}
