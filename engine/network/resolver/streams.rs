//! Clients that ask over TCP: any number of questions each, one after the other or all at once.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, accept_with, send};

use super::forward::{receive_framed, take_framed};
use super::kind;
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};

/// At once; one more, and the one that was silent for longest goes.
const MOST: usize = 32;
/// After which silence a client goes.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// Questions of one client that are not answered yet, and octets that it has not taken: then it is not read from.
const QUESTIONS: usize = 32;
const BACKLOG: usize = 128 * 1024;
/// A question is short; whoever announces more does not mean well.
const LONGEST: usize = 4096;

#[derive(Debug)]
struct Stream {
    socket: OwnedFd,
    flags: EventFlags,
    input: Vec<u8>,
    output: Vec<u8>,
    open: usize,
    /// It has no more questions.
    ended: bool,
    used: Instant,
}

#[derive(Debug)]
pub(super) struct Streams {
    streams: Slab<Stream>,
    /// Not later than the first one goes.
    look_at: Option<Instant>,
}

impl Streams {
    pub(super) const fn new() -> Self {
        Self { streams: Slab::new(), look_at: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// An error is that of accept(2).
    pub(super) fn accept(&mut self, listener: &OwnedFd, reactor: &Reactor, now: Instant) -> Result<(), Errno> {
        for _ in 0..MOST {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => return Err(errno),
                Err(_) => continue,
            };
            while self.streams.len() >= MOST {
                let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.used).map(|(key, _)| key);
                oldest.and_then(|key| self.streams.remove(key));
            }
            // Who cannot be watched is closed.
            let _ = self.streams.insert(|key| {
                reactor.add(socket.as_fd(), Token { kind: kind::STREAM, key }, EventFlags::IN)?;
                let (input, output) = (Vec::new(), Vec::new());
                Ok::<_, Errno>(Stream {
                    socket,
                    flags: EventFlags::IN,
                    input,
                    output,
                    open: 0,
                    ended: false,
                    used: now,
                })
            });
            self.look_at.get_or_insert(now + IDLE);
        }
        Ok(())
    }

    /// A client has something to say or takes something again. Its next questions.
    pub(super) fn attend(&mut self, key: Key, flags: EventFlags, now: Instant) -> Vec<Vec<u8>> {
        let Some(stream) = self.streams.get_mut(key) else { return Vec::new() };
        stream.used = now;
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.streams.remove(key);
            return Vec::new();
        }
        if flags.contains(EventFlags::IN) && stream.is_heard() {
            match receive_framed(&stream.socket, &mut stream.input) {
                Ok(()) => {}
                Err(Errno::NOTCONN) => stream.ended = true,
                Err(_) => {
                    self.streams.remove(key);
                    return Vec::new();
                }
            }
        }
        self.questions(key)
    }

    /// What has been asked and may be answered now.
    pub(super) fn questions(&mut self, key: Key) -> Vec<Vec<u8>> {
        let mut questions = Vec::new();
        let Some(stream) = self.streams.get_mut(key) else { return questions };
        while stream.is_heard() {
            if let [high, low, ..] = stream.input[..]
                && usize::from(u16::from_be_bytes([high, low])) > LONGEST
            {
                self.streams.remove(key);
                return Vec::new();
            }
            let Some(question) = take_framed(&mut stream.input) else { break };
            stream.open += 1;
            questions.push(question);
        }
        questions
    }

    /// The answer to one question; None if it is not worth one.
    pub(super) fn answer(&mut self, key: Key, bytes: Option<&[u8]>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.open = stream.open.saturating_sub(1);
        if let Some(bytes) = bytes
            && let Ok(length) = u16::try_from(bytes.len())
        {
            stream.output.extend_from_slice(&length.to_be_bytes());
            stream.output.extend_from_slice(bytes);
        }
    }

    /// Sends what can be sent, and waits for what comes next.
    pub(super) fn settle(&mut self, key: Key, reactor: &Reactor) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let over = match stream.flush() {
            Ok(()) => stream.ended && stream.open == 0 && stream.output.is_empty(),
            Err(_) => true,
        };
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, stream.is_heard() && !stream.ended);
        flags.set(EventFlags::OUT, !stream.output.is_empty());
        let token = Token { kind: kind::STREAM, key };
        if over || flags != stream.flags && reactor.modify(stream.socket.as_fd(), token, flags).is_err() {
            self.streams.remove(key);
            return;
        }
        stream.flags = flags;
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        for key in self.streams.keys() {
            if self.streams.get(key).is_some_and(|stream| now >= stream.used + IDLE) {
                self.streams.remove(key);
            }
        }
        self.look_at = self.streams.iter().map(|(_, stream)| stream.used + IDLE).min();
    }
}

impl Stream {
    fn is_heard(&self) -> bool {
        self.open < QUESTIONS && self.output.len() < BACKLOG
    }

    fn flush(&mut self) -> Result<(), Errno> {
        let mut sent = 0;
        while sent < self.output.len() {
            match send(&self.socket, &self.output[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => sent += length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.output.drain(..sent);
        Ok(())
    }
}
