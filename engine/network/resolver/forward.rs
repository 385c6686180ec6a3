//! Questions that others answer: each has a socket of its own, so that the kernel picks a random port for it and takes
//! nothing from anybody but the server that was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::rand::{GetRandomFlags, getrandom};

use super::message::{LONGEST, Query, Reply, judge};
use super::{Asker, kind};
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};

/// What one server has for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How often somebody is asked at least: a datagram may get lost also where there is but one server.
const TRIES: usize = 2;
/// Of an answer over UDP; whatever is longer, the client is to ask for over TCP.
const DATAGRAM: usize = 8 * 1024;

#[derive(Debug)]
enum Way {
    Datagram,
    /// What is left to be sent, with its length before it; and what has come.
    Stream {
        output: Vec<u8>,
        input: Vec<u8>,
    },
}

#[derive(Debug)]
struct Forwarding {
    asker: Asker,
    /// With our ID in place of the asker's.
    question: Vec<u8>,
    id: [u8; 2],
    tries: usize,
    since: Instant,
    socket: OwnedFd,
    way: Way,
}

/// What is to be told to whom.
pub(super) struct Answer {
    pub(super) asker: Asker,
    /// The question as it was asked, and its answer; None: nobody knows.
    pub(super) question: Vec<u8>,
    pub(super) bytes: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Forwardings {
    open: Slab<Forwarding>,
    /// In order, since all are patient for as long; some may be over.
    deadlines: VecDeque<(Instant, Key)>,
    most: usize,
}

impl Forwardings {
    pub(super) fn new(most: usize) -> Self {
        Self { open: Slab::new(), deadlines: VecDeque::new(), most }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(until, _)| *until)
    }

    /// Whether this question is one that we are asking: then a server leads back to us.
    pub(super) fn is_own(&self, query: &Query<'_>) -> bool {
        self.open.iter().any(|(_, own)| own.question == query.bytes)
    }

    /// Asks the first server. An answer at once: there is nobody to ask, or somebody had to make room.
    pub(super) fn begin(
        &mut self,
        query: &Query<'_>,
        asker: Asker,
        servers: &[SocketAddr],
        reactor: &Reactor,
        now: Instant,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.open.len() >= self.most
            && let Some((_, key)) =
                self.open.iter().map(|(key, open)| (open.since, key)).min_by_key(|(since, _)| *since)
        {
            answers.extend(self.open.remove(key).map(Forwarding::give_up));
        }
        let id = query.id.to_be_bytes();
        let mut question = query.bytes.to_vec();
        question[..2].copy_from_slice(&random_id());
        if self.deadlines.len() > 2 * self.open.len() + 64 {
            self.deadlines.retain(|(_, key)| self.open.get(*key).is_some());
        }
        let asked = Asked { asker, question, id, tries: 0, since: now };
        answers.extend(self.ask(asked, servers.len(), servers, reactor, now));
        answers
    }

    /// Asks the next server that can be reached at all, until there have been so many tries.
    fn ask(
        &mut self,
        mut asked: Asked,
        tries: usize,
        servers: &[SocketAddr],
        reactor: &Reactor,
        now: Instant,
    ) -> Option<Answer> {
        while !servers.is_empty() && asked.tries < tries {
            let server = servers[asked.tries % servers.len()];
            asked.tries += 1;
            let Ok((socket, way)) = asked.send(server) else { continue };
            let flags = match way {
                Way::Datagram => EventFlags::IN,
                Way::Stream { .. } => EventFlags::OUT,
            };
            // What cannot be watched is not waited for.
            let begun = self.open.insert(|key| {
                match reactor.add(socket.as_fd(), Token { kind: kind::FORWARDING, key }, flags) {
                    Ok(()) => Ok(asked.wait(socket, way)),
                    Err(_) => Err(asked),
                }
            });
            return match begun {
                Ok(key) => {
                    self.deadlines.push_back((now + PATIENCE, key));
                    None
                }
                Err(asked) => Some(asked.give_up()),
            };
        }
        Some(asked.give_up())
    }

    /// A server has answered, or the kernel for it.
    pub(super) fn attend(
        &mut self,
        key: Key,
        servers: &[SocketAddr],
        reactor: &Reactor,
        now: Instant,
    ) -> Option<Answer> {
        let forwarding = self.open.get_mut(key)?;
        match forwarding.receive(key, reactor) {
            Ok(bytes) => {
                let forwarding = self.open.remove(key)?;
                let answer = forwarding.give_up();
                Some(Answer { bytes: Some(bytes), ..answer })
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            // Nobody is there, or nobody who knows.
            Err(_) => {
                let asked = self.open.remove(key)?.into_asked();
                self.ask(asked, servers.len(), servers, reactor, now)
            }
        }
    }

    pub(super) fn expire(&mut self, servers: &[SocketAddr], reactor: &Reactor, now: Instant) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some((until, key)) = self.deadlines.front().copied() {
            if self.open.get(key).is_some() && now < until {
                break;
            }
            self.deadlines.pop_front();
            if let Some(late) = self.open.remove(key) {
                answers.extend(self.ask(late.into_asked(), servers.len().max(TRIES), servers, reactor, now));
            }
        }
        answers
    }
}

/// A question between two servers.
struct Asked {
    asker: Asker,
    question: Vec<u8>,
    id: [u8; 2],
    tries: usize,
    since: Instant,
}

impl Asked {
    fn send(&self, server: SocketAddr) -> Result<(OwnedFd, Way), Errno> {
        let is_stream = matches!(self.asker, Asker::Stream(_));
        let family = if server.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let kind = if is_stream { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        match net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if is_stream {
            let length = u16::try_from(self.question.len()).map_err(|_| Errno::MSGSIZE)?;
            let output = [&length.to_be_bytes()[..], &self.question].concat();
            return Ok((socket, Way::Stream { output, input: Vec::new() }));
        }
        net::send(&socket, &self.question, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok((socket, Way::Datagram))
    }

    fn wait(self, socket: OwnedFd, way: Way) -> Forwarding {
        let Self { asker, question, id, tries, since } = self;
        Forwarding { asker, question, id, tries, since, socket, way }
    }

    fn give_up(mut self) -> Answer {
        self.question[..2].copy_from_slice(&self.id);
        Answer { asker: self.asker, question: self.question, bytes: None }
    }
}

impl Forwarding {
    fn into_asked(self) -> Asked {
        let Self { asker, question, id, tries, since, .. } = self;
        Asked { asker, question, id, tries, since }
    }

    fn give_up(self) -> Answer {
        self.into_asked().give_up()
    }

    /// The answer, with the asker's ID. AGAIN if there is none yet.
    fn receive(&mut self, key: Key, reactor: &Reactor) -> Result<Vec<u8>, Errno> {
        let mut bytes = match &mut self.way {
            Way::Datagram => {
                let mut buffer = [0; DATAGRAM];
                loop {
                    let (_, read) = net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT)?;
                    match judge(&buffer[..read], &self.question) {
                        // Longer than any asker's room, who is told to come by TCP.
                        Reply::Answer => break buffer[..read].to_vec(),
                        Reply::Failure => return Err(Errno::CONNREFUSED),
                        Reply::Foreign => {}
                    }
                }
            }
            Way::Stream { output, input } => {
                if !output.is_empty() {
                    let sent = net::send(&self.socket, output, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                    output.drain(..sent);
                    if output.is_empty() {
                        reactor.modify(self.socket.as_fd(), Token { kind: kind::FORWARDING, key }, EventFlags::IN)?;
                    }
                    return Err(Errno::AGAIN);
                }
                let received = receive_framed(&self.socket, input);
                let Some(bytes) = take_framed(input) else {
                    received?;
                    return Err(Errno::AGAIN);
                };
                if judge(&bytes, &self.question) != Reply::Answer {
                    return Err(Errno::CONNREFUSED);
                }
                bytes
            }
        };
        bytes[..2].copy_from_slice(&self.id);
        Ok(bytes)
    }
}

/// Reads what is there. An end is NOTCONN: nothing more will come.
pub(super) fn receive_framed(socket: &OwnedFd, input: &mut Vec<u8>) -> Result<(), Errno> {
    let mut buffer = [0; 4096];
    // One message and the beginning of the next are enough for once.
    while input.len() < LONGEST + 2 {
        match net::recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Errno::NOTCONN),
            Ok((_, length)) => input.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A message that is there as a whole, without its length (RFC 1035, 4.2.2).
pub(super) fn take_framed(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*input.first()?, *input.get(1)?]));
    let message = input.get(2..2 + length)?.to_vec();
    input.drain(..2 + length);
    Some(message)
}

/// Not to be guessed by who would answer in a server's place.
fn random_id() -> [u8; 2] {
    let mut id = [0; 2];
    if getrandom(&mut id, GetRandomFlags::NONBLOCK) == Ok(2) {
        return id;
    }
    // Before 3.17. The standard library's keys come from the same source, by way of /dev/urandom.
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(Instant::now()) as u16).to_be_bytes()
}
