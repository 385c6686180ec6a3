//! An asker over TCP: messages with their length before them (RFC 1035, 4.2.2), several of them one after the other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

/// Without a question or an answer.
const IDLE: Duration = Duration::from_secs(10);
/// Bytes of answers that may wait for an asker who does not read.
const WAITING: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    received: Vec<u8>,
    out: Vec<u8>,
    /// No more questions will come.
    closed: bool,
    pub until: Instant,
}

impl Stream {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, received: Vec::new(), out: Vec::new(), closed: false, until: Instant::now() + IDLE }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn interest(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, !self.closed && self.out.len() < WAITING);
        flags.set(EventFlags::OUT, !self.out.is_empty());
        flags
    }

    /// Nothing more to hear or to say.
    pub(super) fn is_done(&self) -> bool {
        self.closed && self.out.is_empty()
    }

    pub(super) fn answer(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&bytes[..usize::from(length)]);
        self.until = Instant::now() + IDLE;
    }

    /// Sends and receives what can be; whole questions, and whether the asker is still there.
    pub(super) fn turn(&mut self) -> (Vec<Vec<u8>>, bool) {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(length) if length > 0 => drop(self.out.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => return (Vec::new(), false),
            }
        }
        let mut buffer = [0; 4096];
        // One read a turn: an asker who sends without end does not keep others waiting.
        if !self.closed && self.out.len() < WAITING {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return (Vec::new(), false),
            }
        }
        let mut questions = Vec::new();
        while let Some(length) = self.received.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
            && self.received.len() >= 2 + length
        {
            questions.push(self.received[2..2 + length].to_vec());
            self.received.drain(..2 + length);
            self.until = Instant::now() + IDLE;
        }
        (questions, true)
    }
}
