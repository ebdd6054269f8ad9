//! A line to a server that takes its time: each byte arrives so much later than it was sent, and no more of them in a second
//! than the line carries. One line for all connections to a server, each direction by itself.

use crate::Result;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Carried in one piece, as a few packets are.
const PIECE: usize = 16 * 1024;
/// Pieces under way in one direction of a connection: more than any window that a server opens.
const UNDER_WAY: usize = 1024;

/// Open for as long as the process lives.
pub(crate) struct Line {
    port: u16,
}

#[derive(Clone)]
struct Direction {
    delay: Duration,
    bytes_per_second: f64,
    /// Until when the line is busy with what was sent.
    busy: Arc<Mutex<Instant>>,
}

impl Line {
    /// Leads to a port on 127.0.0.1.
    pub(crate) fn open(server: u16, delay: Duration, mbit: f64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let direction =
            || Direction { delay, bytes_per_second: mbit * 125_000.0, busy: Arc::new(Mutex::new(Instant::now())) };
        let (there, back) = (direction(), direction());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The handshake of TCP goes there and back once.
                std::thread::sleep(delay * 2);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let streams = (client.try_clone(), server.try_clone());
                let (Ok(from_client), Ok(from_server)) = streams else { continue };
                there.carry(from_client, server);
                back.carry(from_server, client);
            }
        });
        Ok(Self { port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Direction {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let _ = to.set_nodelay(true);
        let (pieces, arriving) = mpsc::sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
        let line = self.clone();
        std::thread::spawn(move || {
            let mut piece = vec![0; PIECE];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                if pieces.send((line.arrival(count), piece[..count].to_vec())).is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || {
            for (arrival, piece) in arriving {
                std::thread::sleep(arrival.saturating_duration_since(Instant::now()));
                if to.write_all(&piece).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// Gives when bytes arrive that are sent now.
    fn arrival(&self, bytes: usize) -> Instant {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = (*busy).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        *busy + self.delay
    }
}
