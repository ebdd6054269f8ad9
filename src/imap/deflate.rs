//! COMPRESS=DEFLATE (RFC 4978): the connection's bytes, both ways, through DEFLATE.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once, packed; and packed at once before any of it goes out.
const PIECE: usize = 32 * 1024;

/// What the other end sends arrives unpacked; what is written goes out packed, at the latest when it is flushed.
pub(super) struct Deflated<T> {
    io: T,
    unpacking: Decompress,
    /// Packed, as it came.
    incoming: Box<[u8]>,
    /// Of these bytes: what is not unpacked yet.
    unread: (usize, usize),
    packing: Compress,
    /// Packed, on its way out.
    outgoing: Vec<u8>,
    /// Of these bytes.
    sent: usize,
    /// All that was written is in `outgoing`.
    is_flushed: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Deflated<T> {
    /// `begun`: what has been read of the compressed bytes already.
    pub(super) fn new(io: T, begun: &[u8]) -> Self {
        let mut incoming = begun.to_vec();
        incoming.resize(begun.len().max(PIECE), 0);
        Self {
            io,
            unpacking: Decompress::new(false),
            incoming: incoming.into_boxed_slice(),
            unread: (0, begun.len()),
            // A line that is faster than this needs no packing, and on a slower one a better level gains little.
            packing: Compress::new(Compression::fast(), false),
            outgoing: Vec::new(),
            sent: 0,
            is_flushed: true,
        }
    }

    /// Unpacks what is there; gives whether anything came of it, or the other end has ended the stream.
    fn unpack(&mut self, buffer: &mut ReadBuf<'_>) -> Result<bool> {
        let (start, end) = self.unread;
        let before = (self.unpacking.total_in(), self.unpacking.total_out());
        let room = buffer.initialize_unfilled();
        let status = self.unpacking.decompress(&self.incoming[start..end], room, FlushDecompress::Sync);
        let status = status.map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        let read = (self.unpacking.total_in() - before.0) as usize;
        let came = (self.unpacking.total_out() - before.1) as usize;
        buffer.advance(came);
        self.unread.0 += read;
        if read + came == 0 && start < end && status != Status::StreamEnd {
            return Err(Error::new(ErrorKind::InvalidData, "what came cannot be unpacked"));
        }
        Ok(came > 0 || status == Status::StreamEnd)
    }

    /// Packs some of these bytes, or what has to go out after all that was written. Nothing is left in the packer for want
    /// of room.
    fn pack(&mut self, mut bytes: &[u8], flush: FlushCompress) -> Result<()> {
        loop {
            self.outgoing.reserve(PIECE);
            let before = self.packing.total_in();
            let packed = self.packing.compress_vec(bytes, &mut self.outgoing, flush);
            packed.map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            bytes = &bytes[(self.packing.total_in() - before) as usize..];
            if bytes.is_empty() && self.outgoing.len() < self.outgoing.capacity() {
                return Ok(());
            }
        }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while self.sent < self.outgoing.len() {
            match Pin::new(&mut self.io).poll_write(context, &self.outgoing[self.sent..])? {
                Poll::Ready(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Poll::Ready(count) => self.sent += count,
                Poll::Pending => {
                    self.outgoing.drain(..std::mem::take(&mut self.sent));
                    return Poll::Pending;
                }
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Deflated<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // What was unpacked before and found no room comes without anything new.
        while !this.unpack(buffer)? {
            if this.unread.0 < this.unread.1 {
                continue;
            }
            let mut incoming = ReadBuf::new(&mut this.incoming);
            ready!(Pin::new(&mut this.io).poll_read(context, &mut incoming))?;
            this.unread = (0, incoming.filled().len());
            if this.unread.1 == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Deflated<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.outgoing.len() - self.sent >= PIECE {
            let all_sent = self.poll_send(context)?;
            // That the other end took something is enough: who writes gives it a certain time for each piece.
            if all_sent.is_pending() && self.outgoing.len() - self.sent >= PIECE {
                return Poll::Pending;
            }
        }
        let count = bytes.len().min(PIECE);
        self.is_flushed = false;
        self.pack(&bytes[..count], FlushCompress::None)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if !std::mem::replace(&mut self.is_flushed, true) {
            self.pack(&[], FlushCompress::Sync)?;
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_is_flushed_arrives_as_it_was_and_takes_less() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut near = Deflated::new(near, b"");
        let line = b"The quick brown fox jumps over the lazy dog.\r\n".repeat(1000);
        let mut far = Deflated::new(far, b"");
        for size in [1, 46, 460, line.len()] {
            near.write_all(&line[..size]).await.unwrap();
            near.flush().await.unwrap();
            let mut got = vec![0; size];
            far.read_exact(&mut got).await.unwrap();
            assert!(got == line[..size]);
        }
        near.write_all(&line).await.unwrap();
        near.flush().await.unwrap();
        let mut wire = vec![0; line.len()];
        // Beneath what unpacks it: what went over the wire.
        let packed = far.io.read(&mut wire).await.unwrap();
        assert!(packed < line.len() / 20, "{packed}");
    }

    /// However much waits when it is flushed, and however little the other end takes at once, nothing stays behind.
    #[tokio::test]
    async fn all_that_was_written_before_a_flush_arrives() {
        let mut random = fastrand::Rng::with_seed(4978);
        for capacity in [97, 1000, 8192, 1 << 20] {
            let (near, far) = tokio::io::duplex(capacity);
            let (mut near, mut far) = (Deflated::new(near, b""), Deflated::new(far, b""));
            for _ in 0..50 {
                let size = random.usize(1..60_000);
                // As hard to pack as base64, or as text.
                let letters = random.u8(2..64);
                let sent: Vec<u8> = (0..size).map(|_| b'0' + random.u8(..letters)).collect();
                let step = random.usize(1..=size);
                let sending = async {
                    for piece in sent.chunks(step) {
                        near.write_all(piece).await.unwrap();
                    }
                    near.flush().await.unwrap();
                };
                let mut got = vec![0; size];
                let arrived = async { far.read_exact(&mut got).await.unwrap() };
                let both = async { tokio::join!(sending, arrived) };
                let in_time = tokio::time::timeout(std::time::Duration::from_secs(20), both).await;
                assert!(in_time.is_ok(), "of {size} bytes in steps of {step} some stay behind, over {capacity}");
                assert!(got == sent);
            }
        }
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (mut near, far) = (Deflated::new(tokio::io::duplex(1 << 20).0, b""), tokio::io::duplex(1).0);
        near.write_all(b"* OK as soon as you asked\r\n").await.unwrap();
        assert!(near.pack(&[], FlushCompress::Sync).is_ok());
        let mut got = [0; 27];
        Deflated::new(far, &near.outgoing).read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"* OK as soon as you asked\r\n");
    }

    #[tokio::test]
    async fn what_is_no_deflate_is_an_error() {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        near.write_all(b"* BYE plain text\r\n\xff\xff\xff\xff").await.unwrap();
        drop(near);
        let mut got = Vec::new();
        assert!(Deflated::new(far, b"").read_to_end(&mut got).await.is_err());
    }
}
