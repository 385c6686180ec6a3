//! What has no connections: UDP, and questions whether somebody is there (ICMP echo). Whoever asks somebody has a socket
//! of the host's for it, until nothing was said for a while.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, send};

use super::kind;
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};
use crate::relay::hold;

/// After which silence the outside's answers are not awaited any more.
const IDLE: Duration = Duration::from_secs(120);
/// Sockets; beyond that, the one that was silent for longest is given up.
const MOST: usize = 1024;
/// Answers to one socket before others have their turn.
pub(super) const ANSWERS: usize = 32;

/// Who says something to whom. Of an echo, the ports are its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) echo: bool,
}

#[derive(Debug)]
struct Session {
    pair: Pair,
    socket: OwnedFd,
    /// What it hears has the network's header in front, and is everybody's.
    raw: bool,
    used: Instant,
}

/// What has come for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Payload(&'a [u8]),
    /// What follows an echo's identifier: its number, and what was sent along.
    Echo(&'a [u8]),
    Refused(Errno),
}

#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Slab<Session>,
    by_pair: HashMap<Pair, Key>,
    look_at: Option<Instant>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { sessions: Slab::new(), by_pair: HashMap::new(), look_at: None }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn knows(&self, pair: &Pair) -> bool {
        self.by_pair.contains_key(pair)
    }

    /// Sends it from the host. An error is what the container is to hear of it.
    pub(super) fn say(&mut self, pair: Pair, payload: &[u8], reactor: &Reactor, now: Instant) -> Result<(), Errno> {
        let key = match self.by_pair.get(&pair) {
            Some(key) => *key,
            None => self.begin(pair, reactor, now)?,
        };
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        session.used = now;
        // An error of a former one is reported first.
        for _ in 0..2 {
            match send(&session.socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::INTR) => {}
                _ => break,
            }
        }
        Ok(())
    }

    /// What the outside says in a session, one after the other, until there is no more for now.
    pub(super) fn hear<'a>(&mut self, key: Key, buffer: &'a mut [u8], now: Instant) -> Option<(Pair, Answer<'a>)> {
        let session = self.sessions.get_mut(key)?;
        loop {
            let length = match recv(&session.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(errno @ (Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH)) => {
                    return Some((session.pair, Answer::Refused(errno)));
                }
                Err(_) => return None,
            };
            if !session.pair.echo {
                session.used = now;
                return Some((session.pair, Answer::Payload(&buffer[..length])));
            }
            let Some(from) = echo_reply(&buffer[..length], session.pair, session.raw) else { continue };
            session.used = now;
            return Some((session.pair, Answer::Echo(&buffer[from..length])));
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        for key in self.sessions.keys() {
            if self.sessions.get(key).is_some_and(|session| now >= session.used + IDLE) {
                self.end(key);
            }
        }
        self.look_at = self.sessions.iter().map(|(_, session)| session.used + IDLE).min();
    }

    fn begin(&mut self, pair: Pair, reactor: &Reactor, now: Instant) -> Result<Key, Errno> {
        while self.sessions.len() >= MOST {
            self.end_oldest();
        }
        let mut made = socket(pair);
        if matches!(made, Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) {
            self.end_oldest();
            made = socket(pair);
        }
        let (socket, raw) = made?;
        net::connect(&socket, &pair.to)?;
        let key = self.sessions.insert(|key| {
            reactor.add(socket.as_fd(), Token { kind: kind::SESSION, key }, EventFlags::IN)?;
            Ok::<_, Errno>(Session { pair, socket, raw, used: now })
        })?;
        self.by_pair.insert(pair, key);
        self.look_at.get_or_insert(now + IDLE);
        Ok(key)
    }

    fn end_oldest(&mut self) {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| key);
        oldest.into_iter().for_each(|key| self.end(key));
    }

    fn end(&mut self, key: Key) {
        if let Some(session) = self.sessions.remove(key) {
            self.by_pair.remove(&session.pair);
        }
    }
}

/// And whether it is a raw one: echoes need one where net.ipv4.ping_group_range keeps the others from this user.
fn socket(pair: Pair) -> Result<(OwnedFd, bool), Errno> {
    let v6 = pair.to.is_ipv6();
    if !pair.echo {
        return Ok((hold::socket(SocketType::DGRAM, v6)?, false));
    }
    let (family, protocol) =
        if v6 { (AddressFamily::INET6, ipproto::ICMPV6) } else { (AddressFamily::INET, ipproto::ICMP) };
    let make = |kind| net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, Some(protocol));
    make(SocketType::DGRAM).map(|socket| (socket, false)).or_else(|_| Ok((make(SocketType::RAW)?, true)))
}

/// Where an answer's number begins, if it is one to this session.
fn echo_reply(octets: &[u8], pair: Pair, raw: bool) -> Option<usize> {
    let v6 = pair.to.is_ipv6();
    let at = if raw && !v6 { usize::from(octets.first()? & 0x0f) * 4 } else { 0 };
    let &[kind, _, _, _, high, low] = octets.get(at..)?.first_chunk()?;
    let reply = if v6 { 129 } else { 0 };
    // The kernel has given the others an identifier of its own.
    let ours = !raw || u16::from_be_bytes([high, low]) == pair.from.port();
    (kind == reply && ours).then_some(at + 6)
}

/// An echo's pair.
pub(super) fn echo(from: IpAddr, to: IpAddr, identifier: u16) -> Pair {
    Pair { from: SocketAddr::new(from, identifier), to: SocketAddr::new(to, 0), echo: true }
}
