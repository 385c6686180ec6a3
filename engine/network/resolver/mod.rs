//! A container's name server: answers for the names of its networks, and passes other questions on.
//!
//! `message.rs` reads and writes, `answer.rs` has what is known here, `forward.rs` asks others, `streams.rs` are those
//! who ask over TCP, `sockets.rs` is where it is asked. The owner makes the two sockets, in the container's network namespace; questions go out from its
//! own. It polls [`Resolver::as_fd`] for input until [`Resolver::deadline`], and calls [`Resolver::turn`] when either
//! comes. What nobody can answer, or nobody may be asked, is SERVFAIL, as Docker's: a NXDOMAIN would be a lie.

mod answer;
mod forward;
mod message;
mod sockets;
mod streams;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, listen, recvfrom, sendto};
use rustix::process::{Resource, getrlimit};

use self::answer::Known;
use self::forward::{Answer, Forwardings};
use self::message::{Code, LONGEST, Query, Refused};
use self::streams::Streams;
use crate::plan;
use crate::reactor::{EventFlags, Key, Reactor, Token};

pub use self::sockets::{Sockets, bind};

/// Of [`Token`]s.
mod kind {
    pub(super) const DATAGRAMS: u8 = 0;
    pub(super) const LISTENER: u8 = 1;
    pub(super) const STREAM: u8 = 2;
    pub(super) const FORWARDING: u8 = 3;
}

/// Questions taken at once.
const DATAGRAMS: usize = 64;
/// A question over UDP; longer ones are none.
const QUESTION: usize = 4096;
const BACKLOG: i32 = 16;
/// Questions that others are being asked, each with a socket, unless the process may have few descriptors.
const FORWARDINGS: usize = 1024;
/// How long nobody is accepted when there are no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Datagram(SocketAddr),
    Stream(Key),
}

pub struct Resolver {
    reactor: Reactor,
    udp: OwnedFd,
    tcp: OwnedFd,
    known: Known,
    servers: Vec<SocketAddr>,
    forwardings: Forwardings,
    streams: Streams,
    /// Streams that have answers to be sent, or may ask further.
    touched: Vec<Key>,
    rest_until: Option<Instant>,
}

impl Resolver {
    /// Serves what comes to the two sockets, which are bound to where the container's questions arrive.
    pub fn new(plan: &plan::Resolver, udp: OwnedFd, tcp: OwnedFd) -> io::Result<Self> {
        let reactor = Reactor::new()?;
        rustix::io::ioctl_fionbio(&udp, true)?;
        rustix::io::ioctl_fionbio(&tcp, true)?;
        listen(&tcp, BACKLOG)?;
        for (socket, kind) in [(&udp, kind::DATAGRAMS), (&tcp, kind::LISTENER)] {
            reactor.add(socket.as_fd(), Token { kind, key: Key::NONE }, EventFlags::IN)?;
        }
        let mut resolver = Self {
            reactor,
            udp,
            tcp,
            known: Known::default(),
            servers: Vec::new(),
            forwardings: Forwardings::new(forwardings()),
            streams: Streams::new(),
            touched: Vec::new(),
            rest_until: None,
        };
        resolver.update(plan);
        Ok(resolver)
    }

    /// Other networks, links or servers from now on. Open questions go on.
    pub fn update(&mut self, plan: &plan::Resolver) {
        self.known = Known::new(plan);
        self.servers.clone_from(&plan.servers);
    }

    /// Readable when there is something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }

    /// When [`Resolver::turn`] is to be called though nothing is readable.
    pub fn deadline(&self) -> Option<Instant> {
        [self.forwardings.deadline(), self.streams.deadline(), self.rest_until].into_iter().flatten().min()
    }

    /// How many questions others are being asked.
    pub fn forwardings(&self) -> usize {
        self.forwardings.len()
    }

    /// Does what is ready. An error is the epoll descriptor's own, of which there is none in a sane process.
    pub fn turn(&mut self) -> io::Result<()> {
        self.turn_at(Instant::now())
    }

    /// For tests, which do not wait for the time.
    pub fn turn_at(&mut self, now: Instant) -> io::Result<()> {
        for (token, flags) in self.reactor.ready()? {
            match token.kind {
                kind::DATAGRAMS => self.read_datagrams(now),
                kind::LISTENER => {
                    if self.streams.accept(&self.tcp, &self.reactor, now).is_err() {
                        self.rest_until = Some(now + REST);
                        self.listen(EventFlags::empty());
                    }
                }
                kind::STREAM => {
                    let questions = self.streams.attend(token.key, flags, now);
                    self.serve(token.key, questions, now);
                }
                _ => {
                    if let Some(answer) = self.forwardings.attend(token.key, &self.servers, &self.reactor, now) {
                        self.give(answer);
                    }
                }
            }
        }
        for late in self.forwardings.expire(&self.servers, &self.reactor, now) {
            self.give(late);
        }
        while let Some(key) = self.touched.pop() {
            let questions = self.streams.questions(key);
            self.serve(key, questions, now);
        }
        self.streams.expire(now);
        if self.rest_until.is_some_and(|until| now >= until) {
            self.rest_until = None;
            self.listen(EventFlags::IN);
        }
        Ok(())
    }

    fn listen(&self, flags: EventFlags) {
        let token = Token { kind: kind::LISTENER, key: Key::NONE };
        // The socket is there as long as the resolver is.
        let _ = self.reactor.modify(self.tcp.as_fd(), token, flags);
    }

    fn read_datagrams(&mut self, now: Instant) {
        let mut buffer = [0; QUESTION + 1];
        for _ in 0..DATAGRAMS {
            let (length, peer) = match recvfrom(&self.udp, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, length, peer)) => (length, peer),
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) else { continue };
            if length <= QUESTION {
                self.ask(&buffer[..length], Asker::Datagram(peer), now);
            }
        }
    }

    /// The questions of one stream, until it has as many open as it may.
    fn serve(&mut self, key: Key, mut questions: Vec<Vec<u8>>, now: Instant) {
        while !questions.is_empty() {
            for question in &questions {
                self.ask(question, Asker::Stream(key), now);
            }
            questions = self.streams.questions(key);
        }
        self.streams.settle(key, &self.reactor);
        self.touched.retain(|touched| *touched != key);
    }

    /// Answers, or asks somebody who can.
    fn ask(&mut self, bytes: &[u8], asker: Asker, now: Instant) {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(Refused::Silently) => return self.reply(asker, None),
            Err(Refused::Answered(answer)) => return self.reply(asker, Some(&answer)),
        };
        if let Some((code, records)) = self.known.answer(&query) {
            let room = if matches!(asker, Asker::Stream(_)) { LONGEST } else { query.room() };
            return self.reply(asker, Some(&query.with_records(code, &records, room)));
        }
        if self.forwardings.is_own(&query) {
            return self.reply(asker, None);
        }
        for answer in self.forwardings.begin(&query, asker, &self.servers, &self.reactor, now) {
            self.give(answer);
        }
    }

    fn give(&mut self, answer: Answer) {
        // It was understood when it was asked.
        let Ok(query) = Query::parse(&answer.question) else { return self.reply(answer.asker, None) };
        let bytes = match answer.bytes {
            None => query.answer(Code::ServerFailure),
            Some(bytes) if matches!(answer.asker, Asker::Datagram(_)) && bytes.len() > query.room() => {
                query.truncated()
            }
            Some(bytes) => bytes,
        };
        self.reply(answer.asker, Some(&bytes));
    }

    fn reply(&mut self, asker: Asker, bytes: Option<&[u8]>) {
        match (asker, bytes) {
            (Asker::Stream(key), bytes) => {
                self.streams.answer(key, bytes);
                if self.touched.last() != Some(&key) {
                    self.touched.push(key);
                }
            }
            (Asker::Datagram(peer), Some(bytes)) => {
                // Lost if it cannot be sent now, as datagrams are; the client asks again.
                let _ = sendto(&self.udp, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &peer);
            }
            (Asker::Datagram(_), None) => {}
        }
    }
}

/// A quarter of the descriptors that the process may have.
fn forwardings() -> usize {
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(FORWARDINGS, |limit| usize::try_from(limit / 4).unwrap_or(FORWARDINGS));
    limit.clamp(1, FORWARDINGS)
}
