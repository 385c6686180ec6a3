//! Ethernet frames with IPv4 or IPv6 in them: reading, readdressing, and making those that the outside would have sent.
//! What is read comes from a container: every length is checked against what has arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
const V4: [u8; 2] = [0x08, 0x00];
const V6: [u8; 2] = [0x86, 0xdd];
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
/// Hops that what we make may take; it takes one.
const HOPS: u8 = 64;

/// IPPROTO_*.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP6: u8 = 58;
/// The header of a part of an IPv6 packet.
pub(super) const FRAGMENT: u8 = 44;

/// What the kernel says of a frame besides its octets: `struct virtio_net_hdr` of linux/virtio_net.h, in the machine's
/// order, in front of each frame that is sent or received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offload {
    flags: u8,
    /// VIRTIO_NET_HDR_GSO_*: to be cut into segments of `segment` octets.
    kind: u8,
    headers: u16,
    pub(super) segment: u16,
    sum_from: u16,
    sum_at: u16,
}

impl Offload {
    pub(super) const LENGTH: usize = 10;
    /// VIRTIO_NET_HDR_F_NEEDS_CSUM.
    const SUM_MISSING: u8 = 1;

    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let &[flags, kind, a, b, c, d, e, f, g, h] = octets.first_chunk()?;
        let number = |low, high| u16::from_ne_bytes([low, high]);
        let (headers, segment, sum_from, sum_at) = (number(a, b), number(c, d), number(e, f), number(g, h));
        Some(Self { flags, kind, headers, segment, sum_from, sum_at })
    }

    pub(super) fn write(&self, octets: &mut [u8]) {
        octets[0] = self.flags;
        octets[1] = self.kind;
        for (at, number) in [(2, self.headers), (4, self.segment), (6, self.sum_from), (8, self.sum_at)] {
            octets[at..at + 2].copy_from_slice(&number.to_ne_bytes());
        }
    }

    /// Whether the checksum covers the addresses only, and whoever sends the frame to a wire adds the rest.
    fn is_partial(&self) -> bool {
        self.flags & Self::SUM_MISSING != 0
    }

    fn partial(from: usize, at: usize) -> Self {
        Self { flags: Self::SUM_MISSING, sum_from: from as u16, sum_at: at as u16, ..Self::default() }
    }
}

/// Where things are in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// Where the transport's header begins, and the packet ends.
    transport: usize,
    end: usize,
    /// It is a part of a larger packet.
    pub(super) part: Option<Part>,
}

/// See RFC 791 and RFC 8200, 4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: u32,
    pub(super) offset: usize,
    pub(super) more: bool,
}

impl Layout {
    /// Of a frame whose transport's header is whole. None for everything that is nothing to us.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let mut layout = match frame[12..ETHERNET] {
            [0x08, 0x00] => Self::v4(packet)?,
            [0x86, 0xdd] => Self::v6(packet)?,
            _ => return None,
        };
        layout.transport += ETHERNET;
        layout.end += ETHERNET;
        let least = match layout.protocol {
            TCP => TCP_HEADER,
            UDP => UDP_HEADER,
            ICMP if layout.source.is_ipv4() => ICMP_HEADER,
            ICMP6 if layout.source.is_ipv6() => ICMP_HEADER,
            _ => return None,
        };
        (layout.part.is_some() || layout.end - layout.transport >= least).then_some(layout)
    }

    fn v4(packet: &[u8]) -> Option<Self> {
        let header: &[u8; V4_HEADER] = packet.first_chunk()?;
        let transport = usize::from(header[0] & 0x0f) * 4;
        let end = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || transport < V4_HEADER || end < transport || end > packet.len() {
            return None;
        }
        let place = u16::from_be_bytes([header[6], header[7]]);
        let (more, offset) = (place & 0x2000 != 0, usize::from(place & 0x1fff) * 8);
        let id = u16::from_be_bytes([header[4], header[5]]).into();
        let address = |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
        Some(Self {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            transport,
            end,
            part: (more || offset > 0).then_some(Part { id, offset, more }),
        })
    }

    /// Extension headers but that of a part are not looked behind: hosts do not send any with what is translated here.
    fn v6(packet: &[u8]) -> Option<Self> {
        let header: &[u8; V6_HEADER] = packet.first_chunk()?;
        let end = V6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || end > packet.len() {
            return None;
        }
        let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*header[at..].first_chunk::<16>()?)));
        let (source, destination) = (address(8)?, address(24)?);
        let (mut protocol, mut transport, mut part) = (header[6], V6_HEADER, None);
        if protocol == FRAGMENT {
            let &[next, _, high, low, a, b, c, d] = packet.get(V6_HEADER..end)?.first_chunk()?;
            let place = u16::from_be_bytes([high, low]);
            let (offset, more) = (usize::from(place & !7), place & 1 != 0);
            (protocol, transport) = (next, V6_HEADER + 8);
            part = (more || offset > 0).then_some(Part { id: u32::from_be_bytes([a, b, c, d]), offset, more });
        }
        Some(Self { source, destination, protocol, transport, end, part })
    }

    fn number(&self, frame: &[u8], at: usize) -> u16 {
        let at = self.transport + at;
        u16::from_be_bytes([frame[at], frame[at + 1]])
    }

    /// Of TCP and UDP.
    pub(super) fn from(&self, frame: &[u8]) -> SocketAddr {
        SocketAddr::new(self.source, self.number(frame, 0))
    }

    pub(super) fn to(&self, frame: &[u8]) -> SocketAddr {
        SocketAddr::new(self.destination, self.number(frame, 2))
    }

    pub(super) fn tcp_flags(&self, frame: &[u8]) -> TcpFlags {
        TcpFlags(frame[self.transport + 13])
    }

    /// Everything behind the network's headers.
    pub(super) fn transport<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.transport..self.end]
    }

    /// Gives a TCP segment other ends, of the same family.
    pub(super) fn readdress(&self, frame: &mut [u8], offload: &Offload, from: SocketAddr, to: SocketAddr) {
        let (at, length) = if from.is_ipv4() { (ETHERNET + 12, 8) } else { (ETHERNET + 8, 32) };
        let mut change = Sum::default();
        change.remove(&frame[at..at + length]);
        put_address(&mut frame[at..], from.ip());
        put_address(&mut frame[at + length / 2..], to.ip());
        change.add(&frame[at..at + length]);
        if from.is_ipv4() {
            change.apply(&mut frame[ETHERNET + 10..ETHERNET + 12]);
        }
        let transport = &mut frame[self.transport..];
        if offload.is_partial() {
            // So far it is the sum of the addresses, not yet its complement.
            change.apply_inverted(&mut transport[16..18]);
        } else {
            change.remove(&transport[..4]);
        }
        transport[..2].copy_from_slice(&from.port().to_be_bytes());
        transport[2..4].copy_from_slice(&to.port().to_be_bytes());
        if !offload.is_partial() {
            change.add(&transport[..4]);
            change.apply(&mut transport[16..18]);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpFlags(u8);

impl TcpFlags {
    pub(super) fn begins(self) -> bool {
        self.0 & 0x12 == 0x02
    }

    pub(super) fn ends(self) -> bool {
        self.0 & 0x01 != 0
    }

    pub(super) fn resets(self) -> bool {
        self.0 & 0x04 != 0
    }

    fn acknowledges(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// RFC 1071, and RFC 1624 for changes.
#[derive(Debug, Clone, Copy, Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, octets: &[u8]) {
        let mut pairs = octets.chunks_exact(2);
        for pair in &mut pairs {
            self.0 += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        if let [last] = pairs.remainder() {
            self.0 += u64::from(*last) << 8;
        }
    }

    /// Adds the complement. An even number of octets.
    fn remove(&mut self, octets: &[u8]) {
        for pair in octets.chunks_exact(2) {
            self.0 += u64::from(!u16::from_be_bytes([pair[0], pair[1]]));
        }
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    fn with(self, number: u16) -> Self {
        Self(self.0 + u64::from(number))
    }

    /// Changes a checksum by what was removed and added.
    fn apply(self, field: &mut [u8]) {
        let old = u16::from_be_bytes([field[0], field[1]]);
        field.copy_from_slice(&(!self.with(!old).folded()).to_be_bytes());
    }

    fn apply_inverted(self, field: &mut [u8]) {
        let old = u16::from_be_bytes([field[0], field[1]]);
        field.copy_from_slice(&self.with(old).folded().to_be_bytes());
    }

    /// Of the addresses, the protocol and the length of what they carry.
    fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Self {
        let mut sum = Self(u64::from(protocol) + length as u64);
        for address in [from, to] {
            match address {
                IpAddr::V4(address) => sum.add(&address.octets()),
                IpAddr::V6(address) => sum.add(&address.octets()),
            }
        }
        sum
    }
}

fn put_address(place: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => place[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => place[..16].copy_from_slice(&address.octets()),
    }
}

/// Makes frames as the container's gateway would send them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    /// The container's hardware address and the gateway's.
    pub(super) ends: [u8; 12],
    /// Octets of the longest packet that the wire takes.
    pub(super) mtu: usize,
}

impl Maker {
    /// The other way round than a frame of the container's.
    pub(super) fn answering(frame: &[u8], mtu: usize) -> Self {
        let mut ends = [0; 12];
        ends[..6].copy_from_slice(&frame[6..12]);
        ends[6..].copy_from_slice(&frame[..6]);
        Self { ends, mtu }
    }

    /// Whether the wire takes it as it is.
    pub(super) fn fits(&self, frame: &[u8]) -> bool {
        frame.len() <= ETHERNET + self.mtu
    }

    /// Turns a frame of the container's round, so that it comes back to it.
    pub(super) fn turn_round(self, frame: &mut [u8]) {
        frame[..12].copy_from_slice(&self.ends);
    }

    /// Into an empty `frame`: headers, with room for `length` octets behind them. Where those begin.
    fn begin(self, frame: &mut Vec<u8>, from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> usize {
        frame.clear();
        frame.extend_from_slice(&self.ends);
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend_from_slice(&V4);
                let total = ((V4_HEADER + length) as u16).to_be_bytes();
                // Not to be cut; nothing else has a use for the identification then (RFC 6864).
                frame.extend_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
                frame.extend_from_slice(&from.octets());
                frame.extend_from_slice(&to.octets());
                seal_v4(&mut frame[ETHERNET..]);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend_from_slice(&V6);
                let length = (length as u16).to_be_bytes();
                frame.extend_from_slice(&[0x60, 0, 0, 0, length[0], length[1], protocol, HOPS]);
                frame.extend_from_slice(&from.octets());
                frame.extend_from_slice(&to.octets());
            }
            _ => unreachable!("both ends of a packet are of one family"),
        }
        frame.len()
    }

    /// Puts a checksum at `sum_at` of what begins at `at`: of the addresses only, which the receiver takes as right, and
    /// of everything if the packet is still to be cut.
    fn finish(self, frame: &mut [u8], from: IpAddr, to: IpAddr, protocol: u8, (at, sum_at): (usize, usize)) -> Offload {
        let mut sum = Sum::pseudo(from, to, protocol, frame.len() - at);
        let (value, offload) = if self.fits(frame) {
            (sum.folded(), Offload::partial(at, sum_at))
        } else {
            sum.add(&frame[at..]);
            // Zero would say that there is none.
            (Some(!sum.folded()).filter(|sum| *sum != 0).unwrap_or(u16::MAX), Offload::default())
        };
        frame[at + sum_at..at + sum_at + 2].copy_from_slice(&value.to_be_bytes());
        offload
    }

    pub(super) fn udp(self, frame: &mut Vec<u8>, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Offload {
        let length = UDP_HEADER + payload.len();
        let at = self.begin(frame, from.ip(), to.ip(), UDP, length);
        frame.extend_from_slice(&from.port().to_be_bytes());
        frame.extend_from_slice(&to.port().to_be_bytes());
        frame.extend_from_slice(&(length as u16).to_be_bytes());
        frame.extend_from_slice(&[0; 2]);
        frame.extend_from_slice(payload);
        self.finish(frame, from.ip(), to.ip(), UDP, (at, 6))
    }

    /// The answer of whoever has no use for a segment.
    pub(super) fn reset(self, frame: &mut Vec<u8>, layout: &Layout, refused: &[u8]) -> Offload {
        let (from, to) = (layout.to(refused), layout.from(refused));
        let (segment, flags) = (layout.transport(refused), layout.tcp_flags(refused));
        let number = |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        let headers = usize::from(segment[12] >> 4) * 4;
        let length = segment.len().saturating_sub(headers) as u32 + u32::from(flags.begins()) + u32::from(flags.ends());
        let (sequence, acknowledged, flags) =
            if flags.acknowledges() { (number(8), 0, 0x04) } else { (0, number(4).wrapping_add(length), 0x14) };
        let at = self.begin(frame, from.ip(), to.ip(), TCP, TCP_HEADER);
        frame.extend_from_slice(&from.port().to_be_bytes());
        frame.extend_from_slice(&to.port().to_be_bytes());
        frame.extend_from_slice(&sequence.to_be_bytes());
        frame.extend_from_slice(&acknowledged.to_be_bytes());
        frame.extend_from_slice(&[(TCP_HEADER as u8 / 4) << 4, flags, 0, 0, 0, 0, 0, 0]);
        self.finish(frame, from.ip(), to.ip(), TCP, (at, 16))
    }

    /// An ICMP message whose `rest` is what follows its checksum.
    pub(super) fn icmp(self, frame: &mut Vec<u8>, from: IpAddr, to: IpAddr, kind: [u8; 2], rest: &[u8]) -> Offload {
        let protocol = if from.is_ipv4() { ICMP } else { ICMP6 };
        let at = self.begin(frame, from, to, protocol, 4 + rest.len());
        frame.extend_from_slice(&[kind[0], kind[1], 0, 0]);
        frame.extend_from_slice(rest);
        // ICMP for IPv4 has no addresses in its sum.
        let mut sum = if from.is_ipv4() { Sum::default() } else { Sum::pseudo(from, to, protocol, frame.len() - at) };
        sum.add(&frame[at..]);
        frame[at + 2..at + 4].copy_from_slice(&(!sum.folded()).to_be_bytes());
        Offload::default()
    }

    /// What was said did not get there.
    pub(super) fn unreachable(
        self,
        frame: &mut Vec<u8>,
        gateway: IpAddr,
        Said { protocol, from, to, head }: Said,
        reason: Unreachable,
    ) -> Offload {
        // As much of the packet as its sender needs to know whose it was.
        let mut quoted = Vec::with_capacity(64);
        self.begin(&mut quoted, from, to, protocol, head.len());
        quoted.extend_from_slice(&head);
        let rest = [&[0; 4], &quoted[ETHERNET..]].concat();
        // A port is missing at the host itself; the rest is the gateway's knowledge.
        let who = if reason == Unreachable::Port { to } else { gateway };
        self.icmp(frame, who, from, reason.kind(from.is_ipv4()), &rest)
    }
}

/// A packet of the container's, of which it is to hear something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) protocol: u8,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// The begin of the transport's header, by which its sender knows it: ports, and TCP's sequence number.
    pub(super) head: [u8; 8],
}

impl Said {
    pub(super) fn of(layout: &Layout, transport: &[u8]) -> Self {
        let head = transport.first_chunk().copied().unwrap_or_default();
        Self { protocol: layout.protocol, from: layout.source, to: layout.destination, head }
    }

    /// A datagram that is gone.
    pub(super) fn datagram(from: SocketAddr, to: SocketAddr) -> Self {
        let mut head = [0, 0, 0, 0, 0, UDP_HEADER as u8, 0, 0];
        head[..2].copy_from_slice(&from.port().to_be_bytes());
        head[2..4].copy_from_slice(&to.port().to_be_bytes());
        Self { protocol: UDP, from: from.ip(), to: to.ip(), head }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreachable {
    Network,
    Host,
    Port,
}

impl Unreachable {
    fn kind(self, v4: bool) -> [u8; 2] {
        match (v4, self) {
            (true, Self::Network) => [3, 0],
            (true, Self::Host) => [3, 1],
            (true, Self::Port) => [3, 3],
            (false, Self::Network) => [1, 0],
            (false, Self::Host) => [1, 3],
            (false, Self::Port) => [1, 4],
        }
    }
}

/// The header's own checksum.
pub(super) fn seal_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum = Sum::default();
    sum.add(&header[..V4_HEADER]);
    header[10..12].copy_from_slice(&(!sum.folded()).to_be_bytes());
}
