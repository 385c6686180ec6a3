//! Connections: a client, a target, and a flow each way. A side that ends tells the other (half-close); a side that
//! breaks breaks the other, after what it had said has arrived there.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{self, SocketType, sockopt};

use super::flow::{Flow, Pool, Stopped};
use super::{kind, sys};
use crate::namespace::socket_at_home;
use crate::reactor::{EventFlags, Key, Reactor, Token};

/// How long a target may take to answer.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How often it is looked whether the client of a broken target has all that was said, and how long it may take.
pub(super) const LINGER_STEP: Duration = Duration::from_millis(20);
const LINGER: Duration = Duration::from_secs(10);
/// When a silent peer is asked whether it is still there; a client whose machine has gone would stay for ever.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

pub(super) const CLIENT: usize = 0;
pub(super) const TARGET: usize = 1;

#[derive(Debug)]
struct Side {
    socket: OwnedFd,
    token: Token,
    /// At the reactor; `None`: not there.
    flags: Option<EventFlags>,
    /// It has hung up, which the reactor would report without end.
    hung_up: bool,
}

impl Side {
    fn watch(&mut self, reactor: &Reactor, flags: EventFlags) -> Result<(), Errno> {
        let wanted = if flags.is_empty() && self.hung_up { None } else { Some(flags) };
        if wanted == self.flags {
            return Ok(());
        }
        let socket = self.socket.as_fd();
        match (wanted, self.flags) {
            (None, _) => reactor.delete(socket)?,
            (Some(flags), None) => reactor.add(socket, self.token, flags)?,
            (Some(flags), Some(_)) => reactor.modify(socket, self.token, flags)?,
        }
        self.flags = wanted;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting {
        until: Instant,
    },
    Open,
    /// One side has broken; what it had said is still on its way to the other, which is then reset.
    Broken {
        side: usize,
    },
    /// All was given to the kernel, and the peer has yet to take it: a reset would overtake it.
    Lingering {
        side: usize,
        until: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    sides: [Side; 2],
    /// By the side that speaks.
    flows: [Flow; 2],
    state: State,
}

/// What becomes of a connection after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    Lingers,
    /// It is to be dropped.
    Over,
}

impl Connection {
    /// Begins to connect. Whoever was refused gives the client back to be reset.
    pub(super) fn begin(
        client: OwnedFd,
        target: SocketAddr,
        key: Key,
        reactor: &Reactor,
        now: Instant,
    ) -> Result<Self, OwnedFd> {
        let connect = || {
            let socket = socket_at_home(SocketType::STREAM, target.is_ipv6())?;
            for socket in [&client, &socket] {
                prepare(socket)?;
            }
            match net::connect(&socket, &target) {
                Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok::<_, Errno>(socket),
                Err(errno) => Err(errno),
            }
        };
        let Ok(socket) = connect() else { return Err(client) };
        let mut connection = Self::new(client, socket, key, State::Connecting { until: now + CONNECT });
        let flags = [EventFlags::empty(), EventFlags::OUT];
        if connection.sides.iter_mut().zip(flags).any(|(side, flags)| side.watch(reactor, flags).is_err()) {
            let [client, _] = connection.sides;
            return Err(client.socket);
        }
        Ok(connection)
    }

    /// Of two ends that are connected already. To be settled before anything else.
    pub(super) fn of(client: OwnedFd, target: OwnedFd, key: Key) -> Result<Self, Errno> {
        for socket in [&client, &target] {
            prepare(socket)?;
        }
        Ok(Self::new(client, target, key, State::Open))
    }

    fn new(client: OwnedFd, target: OwnedFd, key: Key, state: State) -> Self {
        let side = |socket, kind| Side { socket, token: Token { kind, key }, flags: None, hung_up: false };
        let sides = [side(client, kind::CLIENT), side(target, kind::TARGET)];
        Self { sides, flows: [Flow::new(), Flow::new()], state }
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// Something has happened on one side.
    pub(super) fn attend(
        &mut self,
        side: usize,
        flags: EventFlags,
        pool: &mut Pool,
        reactor: &Reactor,
        now: Instant,
    ) -> Fate {
        self.sides[side].hung_up |= flags.contains(EventFlags::HUP);
        if flags.contains(EventFlags::ERR) && !self.is_connecting() {
            self.broken(side);
        }
        match self.state {
            State::Connecting { .. } if side == CLIENT => {
                // No interest in it but that it is there.
                if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                    return self.reset();
                }
            }
            State::Connecting { .. } => match sockopt::socket_error(&self.sides[TARGET].socket) {
                Ok(Ok(())) => {
                    self.state = State::Open;
                    self.turn(CLIENT, pool);
                }
                _ => return self.reset(),
            },
            State::Open | State::Broken { .. } => {
                let both = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                if both || flags.contains(EventFlags::IN) {
                    self.turn(side, pool);
                }
                if both || flags.contains(EventFlags::OUT) {
                    self.turn(1 - side, pool);
                }
            }
            // Only an error is waited for, and the time.
            State::Lingering { side: left, .. } => {
                if flags.contains(EventFlags::ERR) && side == left {
                    return self.reset();
                }
            }
        }
        self.settle(reactor, now)
    }

    /// The time has come for what waits for it. Over, if it is over.
    pub(super) fn expire(&mut self, now: Instant) -> Fate {
        match self.state {
            State::Connecting { until } if now >= until => self.reset(),
            State::Lingering { side, until } => {
                if now >= until || sys::unsent(self.sides[side].socket.as_fd()) == 0 {
                    return self.reset();
                }
                Fate::Lingers
            }
            _ => Fate::Lives,
        }
    }

    /// Ends both sides with RST.
    pub(super) fn reset(&mut self) -> Fate {
        for side in &self.sides {
            reset_when_closed(&side.socket);
        }
        Fate::Over
    }

    /// Moves what `speaker` says.
    fn turn(&mut self, speaker: usize, pool: &mut Pool) {
        let [source, sink] = [speaker, 1 - speaker].map(|side| self.sides[side].socket.as_fd());
        match self.flows[speaker].turn(source, sink, pool) {
            Stopped::ForNow | Stopped::Finished => {}
            Stopped::SourceBroken => self.broken(speaker),
            Stopped::SinkBroken => {
                self.broken(1 - speaker);
                // What it had said before.
                if self.flows[1 - speaker].turn(
                    self.sides[1 - speaker].socket.as_fd(),
                    self.sides[speaker].socket.as_fd(),
                    pool,
                ) == Stopped::SinkBroken
                {
                    self.flows[1 - speaker].cut();
                }
            }
        }
    }

    fn broken(&mut self, side: usize) {
        match self.state {
            State::Broken { side: other } if other != side => self.flows.iter_mut().for_each(Flow::cut),
            State::Lingering { .. } => {}
            _ => {
                self.state = State::Broken { side };
                self.sides[side].hung_up = true;
                self.flows[side].break_off();
                self.flows[1 - side].cut();
            }
        }
    }

    /// After a turn: is it over, and if not, what is waited for?
    pub(super) fn settle(&mut self, reactor: &Reactor, now: Instant) -> Fate {
        match self.state {
            State::Broken { side } if !self.flows[side].wants_sink() && !self.flows[side].wants_source() => {
                let left = 1 - side;
                if sys::unsent(self.sides[left].socket.as_fd()) == 0 {
                    return self.reset();
                }
                self.state = State::Lingering { side: left, until: now + LINGER };
            }
            State::Open if self.flows.iter().all(|flow| flow.finished) => return Fate::Over,
            _ => {}
        }
        let lingers = matches!(self.state, State::Lingering { .. });
        for side in [CLIENT, TARGET] {
            let mut flags = EventFlags::empty();
            if self.is_connecting() {
                flags.set(EventFlags::OUT, side == TARGET);
            } else if !lingers {
                flags.set(EventFlags::IN, self.flows[side].wants_source());
                flags.set(EventFlags::OUT, self.flows[1 - side].wants_sink());
            }
            if self.sides[side].watch(reactor, flags).is_err() {
                return self.reset();
            }
        }
        if lingers { Fate::Lingers } else { Fate::Lives }
    }
}

fn prepare(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEP_ALIVE)
}

/// Makes the close that follows an RST instead of a FIN.
pub(crate) fn reset_when_closed(socket: &OwnedFd) {
    // It is closed anyway.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
