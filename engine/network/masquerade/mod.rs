//! The way out where no packet filter translates addresses: what a container sends to the outside is taken from its
//! interface's other end, and sent by the monitor from sockets of the host's; to the outside it is the host that asks.
//!
//! `wire.rs` is the way to the container's frames and `packet.rs` reads and makes them, `parts.rs` those that are longer
//! than the wire; `flows.rs` has TCP, `datagrams.rs` UDP and ICMP's echoes, `reach.rs` says what is outside. Nothing is
//! to be seen inside but a listening socket. The owner polls [`Masquerade::as_fd`] for input until
//! [`Masquerade::deadline`], and calls [`Masquerade::turn`] when either comes.

mod datagrams;
mod flows;
mod packet;
mod parts;
mod reach;
mod wire;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use berth_arch::Probe;
use berth_arch::kernel::packet_socket;
use ipnet::IpNet;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use self::datagrams::{ANSWERS, Answer, Pair, Sessions};
use self::flows::{Connected, Flows};
use self::packet::{ICMP, ICMP6, Layout, Maker, Offload, Said, TCP, UDP, Unreachable};
use self::parts::Parts;
use self::reach::{Map, Reach};
use self::wire::{FRAME, Wire};
use crate::attach::{Inside, host_interface};
use crate::namespace;
use crate::plan::{Endpoint, Protocol};
use crate::reactor::{EventFlags, Key, Reactor, Slab, Token};
use crate::relay::{self, Relay, hold};
use crate::route::Route;
use crate::{Error, Result};

/// Of [`Token`]s.
mod kind {
    pub(super) const WIRE: u8 = 0;
    pub(super) const LISTENER: u8 = 1;
    pub(super) const CONNECTING: u8 = 2;
    pub(super) const SESSION: u8 = 3;
    pub(super) const RELAY: u8 = 4;
}

/// Frames taken at once, and looks at what is ready in one turn.
const FRAMES: usize = 64;
const LOOKS: usize = 4;
const ACCEPTS: usize = 32;
/// Connections at once, each with two descriptors, unless the process may have fewer.
const CONNECTIONS: usize = 8192;

pub struct Masquerade {
    endpoint: String,
    reactor: Reactor,
    wire: Wire,
    /// In the container's network namespace, one for each of its addresses.
    listeners: Slab<(OwnedFd, SocketAddr)>,
    own: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    mtu: usize,
    map: Map,
    flows: Flows,
    sessions: Sessions,
    parts: Parts,
    relay: Relay,
    /// Known when the container has said something.
    maker: Option<Maker>,
    buffer: Vec<u8>,
    made: Vec<u8>,
    /// Of what is cut.
    next_id: u32,
}

/// Whether there is such a way: what it takes has to be had where the bridges are.
pub fn probe() -> Result<Probe> {
    namespace::at_home(packet_socket::probe)
}

impl Masquerade {
    /// For the endpoint of a bridge network that is the container's way out.
    pub fn new(endpoint: &Endpoint, inside: &Inside) -> Result<Self> {
        if let Some(reason) = probe()?.reason() {
            return Err(Error::Unavailable(reason.to_owned()));
        }
        let refused = |errno: Errno| Error::io("translate what leaves the container")(errno);
        let name = host_interface(&endpoint.id);
        let link = Route::home()?.link(&name)?;
        let link = link.ok_or_else(|| Error::NotFound(format!("the interface {name} is gone")))?;
        let subnets: Vec<IpNet> = endpoint.addresses.iter().map(IpNet::trunc).collect();
        let wire = namespace::at_home(|| Wire::open(link.index, &subnets))?
            .map_err(Error::io(format!("open a packet socket at {name}")))?;
        let reactor = Reactor::new().map_err(refused)?;
        let relay = Relay::new().map_err(Error::io("make the relay of what leaves the container"))?;
        reactor.add(wire.as_fd(), Token { kind: kind::WIRE, key: Key::NONE }, EventFlags::IN).map_err(refused)?;
        reactor.add(relay.as_fd(), Token { kind: kind::RELAY, key: Key::NONE }, EventFlags::IN).map_err(refused)?;
        let mut listeners = Slab::new();
        for address in endpoint.addresses.iter().map(IpNet::addr) {
            let action = format!("listen at {address} inside the container");
            let socket =
                inside.within(|| hold(Protocol::Tcp, SocketAddr::new(address, 0)))?.map_err(Error::io(action))?;
            let own = hold::local_address(&socket).map_err(Error::io("read an address"))?;
            let add = |key| {
                reactor.add(socket.as_fd(), Token { kind: kind::LISTENER, key }, EventFlags::IN)?;
                Ok((socket, own))
            };
            listeners.insert(add).map_err(refused)?;
        }
        Ok(Self {
            endpoint: endpoint.id.clone(),
            reactor,
            wire,
            listeners,
            own: endpoint.addresses.clone(),
            gateways: endpoint.gateways.clone(),
            mtu: link.mtu as usize,
            map: Map::new()?,
            flows: Flows::new(),
            sessions: Sessions::new(),
            parts: Parts::default(),
            relay,
            maker: None,
            buffer: Vec::new(),
            made: Vec::new(),
            next_id: 1,
        })
    }

    /// Whether it is for this endpoint, as it is.
    pub fn is_of(&self, endpoint: &Endpoint) -> bool {
        (&self.endpoint, &self.own, &self.gateways) == (&endpoint.id, &endpoint.addresses, &endpoint.gateways)
    }

    /// Readable when there is something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }

    /// When [`Masquerade::turn`] is to be called though nothing is readable.
    pub fn deadline(&self) -> Option<Instant> {
        let all = [self.flows.deadline(), self.sessions.deadline(), self.parts.deadline(), self.relay.deadline()];
        all.into_iter().flatten().min()
    }

    /// Does what is ready. An error is the epoll descriptor's own.
    pub fn turn(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        if self.buffer.is_empty() {
            self.buffer = vec![0; FRAME];
        }
        for _ in 0..LOOKS {
            let ready = self.reactor.ready()?;
            if ready.is_empty() {
                break;
            }
            for (token, _) in ready {
                match token.kind {
                    kind::WIRE => self.take_frames(now),
                    kind::LISTENER => self.accept(token.key, now),
                    kind::CONNECTING => self.connected(token.key, now),
                    kind::SESSION => self.answered(token.key, now),
                    // Below.
                    _ => {}
                }
            }
            self.relay.turn()?;
        }
        self.flows.expire(now);
        self.sessions.expire(now);
        self.parts.expire(now);
        if self.flows.len() + self.sessions.len() == 0 {
            (self.buffer, self.made) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    fn take_frames(&mut self, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..FRAMES {
            let length = match self.wire.receive(&mut buffer) {
                Ok(length) => length.min(buffer.len()),
                Err(Errno::AGAIN) => break,
                // Of one frame, or of an interface that goes.
                Err(_) => continue,
            };
            let Some((head, frame)) = buffer[..length].split_at_mut_checked(Offload::LENGTH) else { continue };
            if let (Some(offload), Some(layout)) = (Offload::read(head), Layout::of(frame)) {
                self.attend(frame, &offload, &layout, now);
            }
        }
        self.buffer = buffer;
    }

    /// A frame of the container's.
    fn attend(&mut self, frame: &mut [u8], offload: &Offload, layout: &Layout, now: Instant) {
        // Nobody is answered under an address that is another's.
        if !self.own.iter().any(|own| own.addr() == layout.source)
            || self.own.iter().any(|own| own.contains(&layout.destination))
        {
            return;
        }
        self.maker = Some(Maker::answering(frame, self.mtu));
        match (layout.protocol, layout.part) {
            (TCP, None) => self.segment(frame, offload, layout, now),
            (TCP, Some(_)) => {}
            (_, None) => self.datagram(layout, layout.transport(frame), usize::from(offload.segment), now),
            (_, Some(part)) => {
                if let Some(whole) = self.parts.add(layout, part, layout.transport(frame), now) {
                    self.datagram(layout, &whole, 0, now);
                }
            }
        }
    }

    fn segment(&mut self, frame: &mut [u8], offload: &Offload, layout: &Layout, now: Instant) {
        let (from, to, flags) = (layout.from(frame), layout.to(frame), layout.tcp_flags(frame));
        let ours = self.listeners.iter().any(|(_, (_, own))| *own == from);
        if !ours && flags.begins() && !self.flows.knows(from, to) {
            return self.begin(frame, offload, layout, now);
        }
        let inside = self.listener(to.is_ipv6());
        let flow = if ours { self.flows.aliased(to) } else { self.flows.of(from, to) };
        let Some(flow) = flow else {
            // Of a connection that is no more; the host's own are known to the host.
            if !flags.resets() && (ours || self.map.find(to.ip(), now) == Reach::Outside) {
                self.reset(frame, layout);
            }
            return;
        };
        if flow.is_connecting() {
            if flags.resets() {
                self.flows.give_up(from, to);
            }
            return;
        }
        flow.passes(!ours, flags, now);
        let ends = if ours { Some((flow.to, flow.from)) } else { inside.map(|inside| (flow.outside(), inside)) };
        if let (Some((from, to)), Some(maker)) = (ends, self.maker) {
            layout.readdress(frame, offload, from, to);
            maker.turn_round(frame);
            self.wire.send(offload, frame);
        }
    }

    fn listener(&self, v6: bool) -> Option<SocketAddr> {
        self.listeners.iter().map(|(_, (_, own))| *own).find(|own| own.is_ipv6() == v6)
    }

    /// The first segment of a connection.
    fn begin(&mut self, frame: &[u8], offload: &Offload, layout: &Layout, now: Instant) {
        let ends = (layout.from(frame), layout.to(frame));
        match self.map.find(ends.1.ip(), now) {
            Reach::Host | Reach::Nobody => {}
            Reach::NoRoute => self.refuse(frame, layout, Errno::NETUNREACH),
            Reach::Outside => {
                let open = self.flows.sockets() + self.relay.connections();
                if open >= relay::room(self.sessions.len(), CONNECTIONS) {
                    return;
                }
                if let Err(errno) = self.flows.begin(ends, (frame, *offload), &self.reactor, now) {
                    self.refuse(frame, layout, errno);
                }
            }
        }
    }

    fn connected(&mut self, key: Key, now: Instant) {
        match self.flows.connected(key, &self.reactor, now) {
            Some(Connected::Stands(mut first, offload, outside)) => {
                let inside = self.listener(outside.is_ipv6());
                if let (Some(layout), Some(inside), Some(maker)) = (Layout::of(&first), inside, self.maker) {
                    layout.readdress(&mut first, &offload, outside, inside);
                    maker.turn_round(&mut first);
                    self.wire.send(&offload, &first);
                }
            }
            Some(Connected::Refused(first, errno)) => {
                if let Some(layout) = Layout::of(&first) {
                    self.refuse(&first, &layout, errno);
                }
            }
            None => {}
        }
    }

    /// Tells the container why a connection cannot be made, if it is to know.
    fn refuse(&mut self, frame: &[u8], layout: &Layout, errno: Errno) {
        match errno {
            Errno::CONNREFUSED | Errno::CONNRESET => self.reset(frame, layout),
            _ => self.unreachable(Said::of(layout, layout.transport(frame)), errno),
        }
    }

    fn reset(&mut self, frame: &[u8], layout: &Layout) {
        let Some(maker) = self.maker else { return };
        let offload = maker.reset(&mut self.made, layout, frame);
        self.wire.send(&offload, &self.made);
    }

    fn unreachable(&mut self, said: Said, errno: Errno) {
        let reason = match errno {
            Errno::CONNREFUSED => Unreachable::Port,
            Errno::NETUNREACH => Unreachable::Network,
            Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM => Unreachable::Host,
            // It may go better another time, of which nothing is to be said.
            _ => return,
        };
        let gateway = self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == said.from.is_ipv4());
        if let (Some(gateway), Some(maker)) = (gateway, self.maker) {
            let offload = maker.unreachable(&mut self.made, gateway, said, reason);
            self.wire.send(&offload, &self.made);
        }
    }

    /// What the container's kernel has connected to our socket inside.
    fn accept(&mut self, key: Key, now: Instant) {
        for _ in 0..ACCEPTS {
            let Some((listener, _)) = self.listeners.get(key) else { return };
            let (client, peer) = match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((client, peer)) => (client, peer.and_then(|peer| SocketAddr::try_from(peer).ok())),
                // Without descriptors it waits for a moment: the flows that are there were counted.
                Err(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return,
                Err(_) => continue,
            };
            // Somebody inside who found the socket has no business with it.
            match peer.and_then(|peer| self.flows.take(SocketAddr::new(peer.ip(), peer.port()), now)) {
                Some(target) => self.relay.join(client, target, now),
                None => relay::reset_when_closed(&client),
            }
        }
    }

    /// UDP or ICMP; `segment`: the container's kernel has left it to others to cut its payload.
    fn datagram(&mut self, layout: &Layout, transport: &[u8], segment: usize, now: Instant) {
        let Some(&[a, b, c, d, e, f, ..]) = transport.first_chunk::<8>() else { return };
        let number = |high, low| u16::from_be_bytes([high, low]);
        let (pair, payload) = match layout.protocol {
            UDP => {
                let Some(payload) = transport.get(8..usize::from(number(e, f)).min(transport.len())) else { return };
                let from = SocketAddr::new(layout.source, number(a, b));
                (Pair { from, to: SocketAddr::new(layout.destination, number(c, d)), echo: false }, payload)
            }
            ICMP | ICMP6 if [a, b] == [if layout.protocol == ICMP { 8 } else { 128 }, 0] => {
                (datagrams::echo(layout.source, layout.destination, number(e, f)), transport)
            }
            _ => return,
        };
        if !self.sessions.knows(&pair) {
            match self.map.find(pair.to.ip(), now) {
                Reach::Outside => {}
                Reach::NoRoute => return self.unreachable(Said::of(layout, transport), Errno::NETUNREACH),
                Reach::Host | Reach::Nobody => return,
            }
        }
        let step = if segment == 0 || pair.echo { payload.len().max(1) } else { segment };
        let mut rest = payload;
        loop {
            let (next, others) = rest.split_at(step.min(rest.len()));
            if let Err(errno) = self.sessions.say(pair, next, &self.reactor, now) {
                return self.unreachable(Said::of(layout, transport), errno);
            }
            if others.is_empty() {
                return;
            }
            rest = others;
        }
    }

    fn answered(&mut self, key: Key, now: Instant) {
        let Some(maker) = self.maker else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..ANSWERS {
            let Some((Pair { from, to, .. }, answer)) = self.sessions.hear(key, &mut buffer, now) else { break };
            let offload = match answer {
                Answer::Payload(payload) => maker.udp(&mut self.made, to, from, payload),
                Answer::Echo(rest) => {
                    let kind = if to.is_ipv4() { [0, 0] } else { [129, 0] };
                    let rest = [&from.port().to_be_bytes(), rest].concat();
                    maker.icmp(&mut self.made, to.ip(), from.ip(), kind, &rest)
                }
                Answer::Refused(errno) => {
                    self.unreachable(Said::datagram(from, to), errno);
                    continue;
                }
            };
            if maker.fits(&self.made) {
                self.wire.send(&offload, &self.made);
            } else {
                self.next_id = self.next_id.wrapping_add(1);
                parts::cut(&self.made, self.mtu, self.next_id, |part| self.wire.send(&Offload::default(), part));
            }
        }
        self.buffer = buffer;
    }
}
