//! Published ports without the kernel's help: one relay for all ports of a container, in its monitor's poll loop.
//!
//! `hold.rs` makes the public sockets, `tcp.rs` has connections and `flow.rs` one direction of one, `udp.rs` sessions,
//! `sys.rs` datagrams by the batch. The owner polls [`Relay::as_fd`] for input until [`Relay::deadline`], and calls
//! [`Relay::turn`] when either comes. A turn never waits, and does a bounded amount of work. SIGPIPE must be ignored,
//! as it is in every Rust program: splice(2) knows no MSG_NOSIGNAL.

mod flow;
pub(crate) mod hold;
mod sys;
mod tcp;
mod udp;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, listen};
use rustix::process::{Resource, getrlimit};

use self::flow::Pool;
pub use self::hold::{hold, local_port};
pub(crate) use self::tcp::reset_when_closed;
use self::tcp::{Connection, Fate};
use self::udp::Sessions;
use crate::Protocol;
use crate::namespace;
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};

/// Of [`Token`]s.
mod kind {
    pub(super) const PORT: u8 = 0;
    pub(super) const CLIENT: u8 = 1;
    pub(super) const TARGET: u8 = 2;
    pub(super) const SESSION: u8 = 3;
}

/// Connections taken at once from one port.
const ACCEPTS: usize = 32;
/// Looks at what is ready in one turn, which is cheaper than as many turns.
const LOOKS: usize = 4;
/// How long nobody is accepted when the kernel has no descriptor or no memory for it.
const REST: Duration = Duration::from_millis(100);
/// Descriptors that are left to the relay's owner.
const OTHERS: u64 = 128;

/// How much one relay may have open. What the process may open at all limits it further.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Further clients wait in the kernel's queue.
    pub connections: usize,
    /// Clients of UDP ports. Beyond that, the one that was silent for longest is forgotten.
    pub sessions: usize,
    /// After which time of silence a client of a UDP port is forgotten.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16_384, sessions: 1024, idle: Duration::from_secs(90) }
    }
}

/// A port of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortId(Key);

#[derive(Debug)]
struct Port {
    protocol: Protocol,
    socket: OwnedFd,
    target: Option<SocketAddr>,
    /// Nobody is accepted for now.
    rests: bool,
}

pub struct Relay {
    reactor: Reactor,
    limits: Limits,
    ports: Slab<Port>,
    /// With the port that they came to; without one, they were made by somebody else ([`Relay::join`]).
    connections: Slab<(Option<Key>, Connection)>,
    pool: Pool,
    sessions: Sessions,
    /// Those that may still be connecting, the oldest first.
    connecting: VecDeque<(Instant, Key)>,
    lingering: Vec<Key>,
    linger_until: Option<Instant>,
    rest_until: Option<Instant>,
    /// Some port rests because of the limit.
    full: bool,
}

impl Relay {
    pub fn new() -> io::Result<Self> {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> io::Result<Self> {
        Ok(Self {
            reactor: Reactor::new()?,
            limits,
            ports: Slab::new(),
            connections: Slab::new(),
            pool: Pool::new(),
            sessions: Sessions::new(limits.idle, limits.sessions),
            connecting: VecDeque::new(),
            lingering: Vec::new(),
            linger_until: None,
            rest_until: None,
            full: false,
        })
    }

    /// Relays what comes to `socket`, bound to a public address ([`hold`]), to `target`; while that is None, connections
    /// are reset and datagrams forgotten. Unsupported for SCTP.
    pub fn add(&mut self, protocol: Protocol, socket: OwnedFd, target: Option<SocketAddr>) -> io::Result<PortId> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        match protocol {
            Protocol::Tcp => listen(&socket, hold::BACKLOG)?,
            Protocol::Udp => {
                sys::tell_addresses(&socket, hold::local_address(&socket)?.is_ipv6())?;
                hold::widen(&socket);
            }
            Protocol::Sctp => return Err(hold::unsupported()),
        }
        let key = self.ports.insert(|key| {
            self.reactor.add(socket.as_fd(), Token { kind: kind::PORT, key }, EventFlags::IN)?;
            Ok::<_, Errno>(Port { protocol, socket, target, rests: false })
        })?;
        Ok(PortId(key))
    }

    /// Relays between two sockets that are connected already.
    pub fn join(&mut self, client: OwnedFd, target: OwnedFd, now: Instant) {
        let reactor = &self.reactor;
        let begin = |own| Connection::of(client, target, own).map(|connection| (None, connection));
        let Ok(key) = self.connections.insert(begin) else { return };
        if let Some((_, connection)) = self.connections.get_mut(key) {
            let fate = connection.settle(reactor, now);
            self.settle(key, fate, now);
        }
    }

    /// Where a port leads from now on. What is connected to the former target ends with a reset.
    pub fn retarget(&mut self, port: PortId, target: Option<SocketAddr>) {
        if let Some(port) = self.ports.get_mut(port.0) {
            port.target = target;
        }
        self.end_connections(Some(port.0));
    }

    /// The container has ended: so does every connection, and no port leads anywhere. The sockets stay and hold their
    /// ports.
    pub fn clear(&mut self) {
        for key in self.ports.keys() {
            if let Some(port) = self.ports.get_mut(key) {
                port.target = None;
            }
        }
        self.end_connections(None);
    }

    /// Ends everything and gives the sockets back, in no order.
    pub fn release(&mut self) -> Vec<OwnedFd> {
        self.clear();
        self.rest_until = None;
        self.full = false;
        let ports: Vec<Port> = self.ports.keys().into_iter().filter_map(|key| self.ports.remove(key)).collect();
        // Others may have them open, so that closing them here would not take them out.
        ports
            .into_iter()
            .map(|port| {
                let _ = self.reactor.delete(port.socket.as_fd());
                port.socket
            })
            .collect()
    }

    /// Takes one port out and gives its socket back.
    pub fn remove(&mut self, port: PortId) -> Option<OwnedFd> {
        self.end_connections(Some(port.0));
        let port = self.ports.remove(port.0)?;
        let _ = self.reactor.delete(port.socket.as_fd());
        Some(port.socket)
    }

    /// Readable when there is something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }

    /// When [`Relay::turn`] is to be called though nothing is readable.
    pub fn deadline(&self) -> Option<Instant> {
        let connecting = self.connecting.front().map(|(until, _)| *until);
        [connecting, self.linger_until, self.rest_until, self.sessions.deadline()].into_iter().flatten().min()
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Does what is ready. An error is the epoll descriptor's own, of which there is none in a sane process; everything
    /// else ends a connection at most.
    pub fn turn(&mut self) -> io::Result<()> {
        self.turn_at(Instant::now())
    }

    /// For tests, which do not wait for the time.
    pub fn turn_at(&mut self, now: Instant) -> io::Result<()> {
        for _ in 0..LOOKS {
            let ready = self.reactor.ready()?;
            if ready.is_empty() {
                break;
            }
            for (token, flags) in ready {
                self.attend(token, flags, now);
            }
        }
        self.expire(now);
        self.sessions.trim();
        if self.connections.len() == 0 {
            self.pool.clear();
            if self.sessions.len() == 0 {
                namespace::forget_spare_sockets();
            }
        }
        Ok(())
    }

    fn attend(&mut self, token: Token, flags: EventFlags, now: Instant) {
        match token.kind {
            kind::PORT => {
                let Some(port) = self.ports.get(token.key) else { return };
                if port.protocol == Protocol::Tcp {
                    return self.accept(token.key, now);
                }
                self.sessions.most = room(self.connections.len() * 2, self.limits.sessions);
                self.sessions.clients_spoke(token.key, port.socket.as_fd(), port.target, &self.reactor, now);
            }
            kind::SESSION => {
                let socket_of = |key| self.ports.get(key).map(|port| port.socket.as_fd());
                self.sessions.target_spoke(token.key, socket_of, now);
            }
            kind => {
                let side = if kind == kind::CLIENT { tcp::CLIENT } else { tcp::TARGET };
                let Some((_, connection)) = self.connections.get_mut(token.key) else { return };
                let fate = connection.attend(side, flags, &mut self.pool, &self.reactor, now);
                self.settle(token.key, fate, now);
            }
        }
    }

    fn settle(&mut self, key: Key, fate: Fate, now: Instant) {
        match fate {
            Fate::Lives => {}
            Fate::Lingers => {
                if !self.lingering.contains(&key) {
                    self.lingering.push(key);
                    self.linger_until.get_or_insert(now + tcp::LINGER_STEP);
                }
            }
            Fate::Over => {
                self.connections.remove(key);
                if self.full {
                    self.full = false;
                    self.wake_ports();
                }
            }
        }
    }

    fn accept(&mut self, key: Key, now: Instant) {
        let most = room(self.sessions.len(), self.limits.connections);
        for _ in 0..ACCEPTS {
            let Some(port) = self.ports.get_mut(key) else { return };
            if self.connections.len() >= most {
                self.full = true;
                return rest(&self.reactor, key, port);
            }
            let client = match accept_with(&port.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(client) => client,
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.rest_until.get_or_insert(now + REST);
                    return rest(&self.reactor, key, port);
                }
                // The client's trouble, as accept(2) lists them.
                Err(_) => continue,
            };
            let Some(target) = port.target else {
                tcp::reset_when_closed(&client);
                continue;
            };
            let begin = |own| Ok((Some(key), Connection::begin(client, target, own, &self.reactor, now)?));
            match self.connections.insert(begin) {
                Ok(own) => self.connecting.push_back((now + tcp::CONNECT, own)),
                Err(client) => tcp::reset_when_closed(&client),
            }
        }
    }

    fn wake_ports(&mut self) {
        for key in self.ports.keys() {
            if let Some(port) = self.ports.get_mut(key)
                && port.rests
            {
                port.rests = false;
                let token = Token { kind: kind::PORT, key };
                let _ = self.reactor.modify(port.socket.as_fd(), token, EventFlags::IN);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.rest_until.is_some_and(|until| now >= until) {
            self.rest_until = None;
            self.wake_ports();
        }
        while let Some((until, key)) = self.connecting.front().copied() {
            let fate = match self.connections.get_mut(key) {
                Some((_, connection)) if connection.is_connecting() && now < until => break,
                Some((_, connection)) => connection.expire(now),
                None => Fate::Lives,
            };
            self.connecting.pop_front();
            self.settle(key, fate, now);
        }
        if self.linger_until.is_some_and(|until| now >= until) {
            self.linger_until = None;
            for key in std::mem::take(&mut self.lingering) {
                if let Some((_, connection)) = self.connections.get_mut(key) {
                    let fate = connection.expire(now);
                    self.settle(key, fate, now);
                }
            }
        }
        self.sessions.expire(now);
    }

    fn end_connections(&mut self, port: Option<Key>) {
        for key in self.connections.keys() {
            if let Some((own, connection)) = self.connections.get_mut(key)
                && (port.is_none() || port == *own)
            {
                connection.reset();
                self.connections.remove(key);
            }
        }
        self.sessions.clear(port);
        if self.connections.len() == 0 {
            self.connecting.clear();
            self.lingering.clear();
            self.linger_until = None;
            self.pool.clear();
        }
        if std::mem::take(&mut self.full) {
            self.wake_ports();
        }
    }
}

/// How many connections (which take two descriptors), or half as many sessions as there could be (so that they leave
/// room for connections), besides `used` descriptors of the relay's own.
pub(crate) fn room(used: usize, most: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return most };
    let left = limit.saturating_sub(OTHERS.min(limit / 2));
    let left = usize::try_from(left).unwrap_or(usize::MAX).saturating_sub(used);
    most.min((left / 2).max(1))
}

fn rest(reactor: &Reactor, key: Key, port: &mut Port) {
    port.rests = true;
    let _ = reactor.modify(port.socket.as_fd(), Token { kind: kind::PORT, key }, EventFlags::empty());
}
