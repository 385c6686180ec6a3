//! Sessions: a client's datagrams to one of our addresses have a socket of their own towards the target, so that the
//! target's answers find the way back, from the address that was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, SocketType};

use super::sys::{Batch, Local};
use super::{hold, kind};
use crate::namespace::socket_at_home;
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};

/// Batches that one socket may have before others have their turn.
const BATCHES: usize = 1;
/// Most datagrams fit into a page; what longer ones took is given back soon.
const USUAL: usize = 8 * 1024;

/// Who talks to which port, and to which of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    port: Key,
    address: SocketAddr,
    local: Option<Local>,
}

#[derive(Debug)]
struct Session {
    client: Client,
    socket: OwnedFd,
    used: Instant,
}

#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Slab<Session>,
    clients: HashMap<Client, Key>,
    batch: Option<Batch>,
    /// Not later than the first session ends.
    look_at: Option<Instant>,
    idle: Duration,
    pub(super) most: usize,
}

impl Sessions {
    pub(super) fn new(idle: Duration, most: usize) -> Self {
        let (sessions, clients) = (Slab::new(), HashMap::new());
        Self { sessions, clients, batch: None, look_at: None, idle, most }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Datagrams have arrived at a port. Without a target they are taken and forgotten, so that they fill nothing.
    pub(super) fn clients_spoke(
        &mut self,
        port: Key,
        socket: BorrowedFd<'_>,
        target: Option<SocketAddr>,
        reactor: &Reactor,
        now: Instant,
    ) {
        let Some(mut batch) = self.take_batch() else { return };
        for _ in 0..BATCHES {
            let Ok(count) = batch.receive(socket) else { break };
            let client = |index: usize| {
                let datagram = &batch.datagrams[index];
                datagram.peer.map(|address| Client { port, address, local: datagram.local })
            };
            let mut first = 0;
            while let Some(target) = target
                && first < count
            {
                // Those of one client that came in a row go on together.
                let run = (first + 1..count).find(|next| client(*next) != client(first)).unwrap_or(count);
                if let Some(client) = client(first)
                    && let Some(session) = self.session(client, target, reactor, now)
                {
                    send(&batch, session, first..run, None);
                }
                first = run;
            }
            if count < super::sys::BATCH {
                break;
            }
        }
        self.batch = Some(batch);
    }

    /// The target has answered. `socket_of` a port is where answers leave from.
    pub(super) fn target_spoke<'a>(
        &mut self,
        key: Key,
        socket_of: impl Fn(Key) -> Option<BorrowedFd<'a>>,
        now: Instant,
    ) {
        let Some(mut batch) = self.take_batch() else { return };
        if let Some(session) = self.sessions.get_mut(key)
            && let Some(public) = socket_of(session.client.port)
        {
            for _ in 0..BATCHES {
                match batch.receive(session.socket.as_fd()) {
                    Ok(count) => {
                        session.used = now;
                        send(&batch, public, 0..count, Some((session.client.address, session.client.local)));
                        if count < super::sys::BATCH {
                            break;
                        }
                    }
                    // The target has no such port: now. It is told once, and the session stays.
                    Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => {}
                    Err(_) => break,
                }
            }
        }
        self.batch = Some(batch);
    }

    /// Ends sessions that nobody uses any more.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        for key in self.sessions.keys() {
            if self.sessions.get(key).is_some_and(|session| now >= session.used + self.idle) {
                self.end(key);
            }
        }
        self.look_at = self.sessions.iter().map(|(_, session)| session.used + self.idle).min();
        if self.sessions.len() == 0 {
            self.batch = None;
        }
    }

    /// Ends the sessions of one port, or all.
    pub(super) fn clear(&mut self, port: Option<Key>) {
        for key in self.sessions.keys() {
            if self.sessions.get(key).is_some_and(|session| port.is_none_or(|port| session.client.port == port)) {
                self.end(key);
            }
        }
        if self.sessions.len() == 0 {
            self.look_at = None;
            self.batch = None;
        }
    }

    /// After a turn.
    pub(super) fn trim(&mut self) {
        if self.sessions.len() == 0 {
            self.batch = None;
        }
        if let Some(batch) = &mut self.batch {
            batch.trim(USUAL);
        }
    }

    /// Makes room: the one that was silent for longest goes. False if there is none.
    pub(super) fn end_oldest(&mut self) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| key);
        oldest.is_some_and(|key| {
            self.end(key);
            true
        })
    }

    fn end(&mut self, key: Key) {
        if let Some(session) = self.sessions.remove(key) {
            self.clients.remove(&session.client);
        }
    }

    fn take_batch(&mut self) -> Option<Batch> {
        self.batch.take().or_else(|| Batch::new().ok())
    }

    /// The client's session, a new one if it has none. None if none can be had: then its datagrams are lost, as
    /// datagrams may be.
    fn session(
        &mut self,
        client: Client,
        target: SocketAddr,
        reactor: &Reactor,
        now: Instant,
    ) -> Option<BorrowedFd<'_>> {
        let key = match self.clients.get(&client) {
            Some(key) => *key,
            None => self.begin(client, target, reactor, now)?,
        };
        let session = self.sessions.get_mut(key)?;
        session.used = now;
        Some(session.socket.as_fd())
    }

    fn begin(&mut self, client: Client, target: SocketAddr, reactor: &Reactor, now: Instant) -> Option<Key> {
        while self.sessions.len() >= self.most.max(1) {
            self.end_oldest();
        }
        let mut socket = socket_at_home(SocketType::DGRAM, target.is_ipv6());
        if matches!(socket, Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) && self.end_oldest() {
            socket = socket_at_home(SocketType::DGRAM, target.is_ipv6());
        }
        let socket = socket.ok()?;
        net::connect(&socket, &target).ok()?;
        hold::widen(&socket);
        let begin = |key| {
            reactor.add(socket.as_fd(), Token { kind: kind::SESSION, key }, EventFlags::IN)?;
            Ok::<_, Errno>(Session { client, socket, used: now })
        };
        let key = self.sessions.insert(begin).ok()?;
        self.clients.insert(client, key);
        let ends = now + self.idle;
        self.look_at = Some(self.look_at.map_or(ends, |at| at.min(ends)));
        Some(key)
    }
}

/// Sends all that can be sent now; a socket that is full loses the rest, as a network would.
fn send(
    batch: &Batch,
    socket: BorrowedFd<'_>,
    mut range: std::ops::Range<usize>,
    to: Option<(SocketAddr, Option<Local>)>,
) {
    let mut refusals = 0;
    while !range.is_empty() {
        match batch.send(socket, range.clone(), to) {
            Ok(sent) => {
                range.start += sent.max(1);
                refusals = 0;
            }
            Err(Errno::INTR) => {}
            // About a former datagram, and reported in this one's place: once each.
            Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) if refusals < 2 => refusals += 1,
            Err(Errno::AGAIN) => return,
            // This one cannot be sent (too long for the way, say), others may.
            Err(_) => {
                range.start += 1;
                refusals = 0;
            }
        }
    }
}
