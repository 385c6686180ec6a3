//! TCP: a connection that a container begins is made from the host first, and once it stands the container's own kernel
//! is led to believe that it stands there too: its segments come back to a socket of ours in its network namespace,
//! with the addresses exchanged, and what that socket and the host's say to each other is relayed. So no TCP is spoken
//! here, and a refusal is a refusal.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, SocketType, sockopt};

use super::kind;
use super::packet::{Offload, TcpFlags};
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};
use crate::relay::hold;

/// After both ends have said that it is over, what is late is still led to them.
const AFTERMATH: Duration = Duration::from_secs(10);
/// How long a connection that stands may wait until the container's kernel takes it.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// The relay asks silent ends every two minutes whether they are there: one that says nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(600);
/// How often it is looked who has gone.
const ROUND: Duration = Duration::from_secs(5);
/// Connections that may be under way to being made, and flows in all, most of which may be over.
const CONNECTING: usize = 1024;
const MOST: usize = 16_384;
/// Aliases of one address.
const ALIASES: usize = 16_384;

#[derive(Debug)]
enum State {
    /// From the host; with the container's first segment.
    Connecting { socket: OwnedFd, first: Box<[u8]>, offload: Offload },
    /// It stands, and the container's kernel has the first segment.
    Standing(OwnedFd),
    /// The relay has it.
    Relayed,
}

#[derive(Debug)]
pub(super) struct Flow {
    /// The container's end and the outside's.
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// The port that stands for the outside's end and the container's port at our socket inside.
    alias: u16,
    state: State,
    /// Which end has said that it is over: the container, and our socket inside.
    ended: [bool; 2],
    until: Instant,
}

impl Flow {
    /// A segment was led on.
    pub(super) fn passes(&mut self, by_container: bool, flags: TcpFlags, now: Instant) {
        if flags.resets() {
            self.ended = [true; 2];
        } else if flags.ends() {
            self.ended[usize::from(!by_container)] = true;
        }
        self.until = now
            + match self.state {
                _ if self.is_over() => AFTERMATH,
                State::Relayed => SILENCE,
                _ => HANDSHAKE,
            };
    }

    /// What stands for the outside's end inside.
    pub(super) fn outside(&self) -> SocketAddr {
        SocketAddr::new(self.to.ip(), self.alias)
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    fn is_over(&self) -> bool {
        self.ended == [true; 2]
    }
}

/// What became of a connection from the host, with the container's first segment of it.
#[derive(Debug)]
pub(super) enum Connected {
    /// The address is what stands for the outside's end inside.
    Stands(Box<[u8]>, Offload, SocketAddr),
    Refused(Box<[u8]>, Errno),
}

#[derive(Debug)]
pub(super) struct Flows {
    flows: Slab<Flow>,
    by_ends: HashMap<(SocketAddr, SocketAddr), Key>,
    by_alias: HashMap<(IpAddr, u16), Key>,
    connecting: usize,
    standing: usize,
    next_alias: u16,
    look_at: Option<Instant>,
}

impl Flows {
    pub(super) fn new() -> Self {
        let (by_ends, by_alias) = (HashMap::new(), HashMap::new());
        Self { flows: Slab::new(), by_ends, by_alias, connecting: 0, standing: 0, next_alias: 1024, look_at: None }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Sockets of the host's, those that the relay has left out.
    pub(super) fn sockets(&self) -> usize {
        self.connecting + self.standing
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// The flow of a segment of the container's.
    pub(super) fn of(&mut self, from: SocketAddr, to: SocketAddr) -> Option<&mut Flow> {
        self.flows.get_mut(*self.by_ends.get(&(from, to))?)
    }

    /// The flow of a segment of our socket inside.
    pub(super) fn aliased(&mut self, to: SocketAddr) -> Option<&mut Flow> {
        self.flows.get_mut(*self.by_alias.get(&(to.ip(), to.port()))?)
    }

    /// A first segment: true if it is one more of a flow that is known, which leads it on; the remains of a former flow
    /// with these ends make way.
    pub(super) fn knows(&mut self, from: SocketAddr, to: SocketAddr) -> bool {
        match self.by_ends.get(&(from, to)).copied() {
            Some(key) if self.flows.get(key).is_some_and(Flow::is_over) => {
                self.end(key);
                false
            }
            found => found.is_some(),
        }
    }

    /// Begins to connect. AGAIN if there is no room: the container tries again.
    pub(super) fn begin(
        &mut self,
        (from, to): (SocketAddr, SocketAddr),
        first: (&[u8], Offload),
        reactor: &Reactor,
        now: Instant,
    ) -> Result<(), Errno> {
        if self.connecting >= CONNECTING || self.flows.len() >= MOST {
            return Err(Errno::AGAIN);
        }
        let alias = self.free_alias(to.ip()).ok_or(Errno::AGAIN)?;
        let socket = hold::socket(SocketType::STREAM, to.is_ipv6())?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let key = self.flows.insert(|key| {
            reactor.add(socket.as_fd(), Token { kind: kind::CONNECTING, key }, EventFlags::OUT)?;
            let state = State::Connecting { socket, first: first.0.into(), offload: first.1 };
            // The kernel gives up by itself.
            Ok::<_, Errno>(Flow { from, to, alias, state, ended: [false; 2], until: now + SILENCE })
        })?;
        self.by_ends.insert((from, to), key);
        self.by_alias.insert((to.ip(), alias), key);
        self.connecting += 1;
        self.look_at.get_or_insert(now + ROUND);
        Ok(())
    }

    pub(super) fn connected(&mut self, key: Key, reactor: &Reactor, now: Instant) -> Option<Connected> {
        let flow = self.flows.get_mut(key)?;
        let State::Connecting { socket, first, offload } = std::mem::replace(&mut flow.state, State::Relayed) else {
            return None;
        };
        self.connecting -= 1;
        let _ = reactor.delete(socket.as_fd());
        if let Err(errno) = sockopt::socket_error(&socket).unwrap_or_else(Err) {
            self.end(key);
            return Some(Connected::Refused(first, errno));
        }
        self.standing += 1;
        flow.state = State::Standing(socket);
        flow.until = now + HANDSHAKE;
        Some(Connected::Stands(first, offload, flow.outside()))
    }

    /// The container does not wait for it any more.
    pub(super) fn give_up(&mut self, from: SocketAddr, to: SocketAddr) {
        self.by_ends.get(&(from, to)).copied().into_iter().for_each(|key| self.end(key));
    }

    /// The host's socket for what the container's kernel has connected to us from `peer`.
    pub(super) fn take(&mut self, peer: SocketAddr, now: Instant) -> Option<OwnedFd> {
        let flow = self.aliased(peer)?;
        match std::mem::replace(&mut flow.state, State::Relayed) {
            State::Standing(socket) => {
                flow.until = now + SILENCE;
                self.standing -= 1;
                Some(socket)
            }
            other => {
                flow.state = other;
                None
            }
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        for key in self.flows.keys() {
            if self.flows.get(key).is_some_and(|flow| now >= flow.until) {
                self.end(key);
            }
        }
        self.look_at = (self.flows.len() > 0).then(|| now + ROUND);
    }

    fn end(&mut self, key: Key) {
        let Some(flow) = self.flows.remove(key) else { return };
        self.by_ends.remove(&(flow.from, flow.to));
        self.by_alias.remove(&(flow.to.ip(), flow.alias));
        match flow.state {
            State::Connecting { .. } => self.connecting -= 1,
            State::Standing(_) => self.standing -= 1,
            State::Relayed => {}
        }
    }

    /// In turn, so that none is used again soon.
    fn free_alias(&mut self, address: IpAddr) -> Option<u16> {
        for _ in 0..ALIASES {
            let alias = self.next_alias;
            self.next_alias = alias.checked_add(1).unwrap_or(1024);
            if !self.by_alias.contains_key(&(address, alias)) {
                return Some(alias);
            }
        }
        None
    }
}
