//! A socket that acknowledges small answers at once.
//!
//! A server that answers in two small segments may send the second one only when the first is acknowledged (Nagle, RFC 896), and
//! a system that has nothing to send acknowledges after 40 ms or more (RFC 1122, 4.2.3.2). Courier answers so: OK, then "+".

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, Join, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes that came at once, at most: more of them are acknowledged soon anyway.
const SMALL: usize = 512;

pub(super) type Socket = Join<Prompt, OwnedWriteHalf>;

/// Makes a socket that does so.
pub(super) fn prompt(socket: TcpStream) -> Socket {
    let (read, write) = socket.into_split();
    tokio::io::join(Prompt(read), write)
}

#[derive(Debug)]
pub(super) struct Prompt(OwnedReadHalf);

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        #[cfg(target_os = "linux")]
        if (1..=SMALL).contains(&(buffer.filled().len() - before)) {
            // It lasts until something is sent. Refused, all is as without it.
            let _ = self.0.as_ref().set_quickack(true);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_is_small_is_acknowledged_at_once_and_no_other() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (near, mut far) = (near.unwrap(), far.unwrap().0);
        let mut near = Prompt(near.into_split().0);
        for (bytes, at_once) in [(2 * SMALL, false), (SMALL, true)] {
            near.0.as_ref().set_quickack(false).unwrap();
            far.write_all(&vec![b'a'; bytes]).await.unwrap();
            near.0.readable().await.unwrap();
            assert_eq!(near.read(&mut vec![0; 2 * bytes]).await.unwrap(), bytes);
            assert_eq!(near.0.as_ref().quickack().unwrap(), at_once, "{bytes} bytes");
        }
    }
}
