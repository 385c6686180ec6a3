//! Datagrams that are longer than the wire: those of the container's that came in parts are put together, and what is
//! for it is cut. RFC 791 and RFC 8200, 4.5.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::packet::{ETHERNET, Layout, Part};

/// How long the rest of a datagram may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Datagrams under way, and octets of each.
const MOST: usize = 32;
const LONGEST: usize = 65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Whose {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug)]
struct Pile {
    /// By their place, without overlap: whoever sends parts that overlap means no good (RFC 5722).
    parts: Vec<(usize, Vec<u8>)>,
    /// Known when the last part is there.
    length: Option<usize>,
    until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Parts {
    piles: HashMap<Whose, Pile>,
}

impl Parts {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.piles.values().map(|pile| pile.until).min()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.piles.retain(|_, pile| now < pile.until);
    }

    /// The whole, if this part was the last that it lacked.
    pub(super) fn add(&mut self, layout: &Layout, part: Part, octets: &[u8], now: Instant) -> Option<Vec<u8>> {
        let Layout { source, destination, protocol, .. } = *layout;
        let whose = Whose { source, destination, protocol, id: part.id };
        let end = part.offset + octets.len();
        if octets.is_empty() || end > LONGEST || (part.more && !octets.len().is_multiple_of(8)) {
            return None;
        }
        if self.piles.len() >= MOST && !self.piles.contains_key(&whose) {
            self.expire(now);
            if self.piles.len() >= MOST {
                return None;
            }
        }
        let empty = || Pile { parts: Vec::new(), length: None, until: now + PATIENCE };
        let pile = self.piles.entry(whose).or_insert_with(empty);
        let place = pile.parts.partition_point(|(offset, _)| *offset < part.offset);
        let after =
            place.checked_sub(1).is_none_or(|last| pile.parts[last].0 + pile.parts[last].1.len() <= part.offset);
        let before = pile.parts.get(place).is_none_or(|(offset, _)| end <= *offset);
        let within = pile.length.is_none_or(|length| end <= length && part.more);
        if !(after && before && within) {
            self.piles.remove(&whose);
            return None;
        }
        pile.parts.insert(place, (part.offset, octets.to_vec()));
        if !part.more {
            pile.length = Some(end);
        }
        let there: usize = pile.parts.iter().map(|(_, octets)| octets.len()).sum();
        if pile.length != Some(there) {
            return None;
        }
        let pile = self.piles.remove(&whose)?;
        Some(pile.parts.into_iter().flat_map(|(_, octets)| octets).collect())
    }
}

/// Cuts a frame whose packet is longer than `mtu` and whose checksums are whole; `each` gets the parts.
pub(super) fn cut(frame: &[u8], mtu: usize, id: u32, mut each: impl FnMut(&[u8])) {
    let v4 = frame[12..ETHERNET] == [0x08, 0x00];
    let header = if v4 { 20 } else { 40 };
    let (head, body) = frame.split_at(ETHERNET + header);
    let extension = if v4 { 0 } else { 8 };
    let Some(most @ 8..) = mtu.checked_sub(header + extension).map(|most| most / 8 * 8) else { return };
    let mut part = Vec::with_capacity(ETHERNET + mtu);
    let count = body.len().div_ceil(most);
    for (number, octets) in body.chunks(most).enumerate() {
        let (offset, more) = (number * most, number + 1 < count);
        part.clear();
        part.extend_from_slice(head);
        let packet = &mut part[ETHERNET..];
        if v4 {
            packet[2..4].copy_from_slice(&((header + octets.len()) as u16).to_be_bytes());
            packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            packet[6..8].copy_from_slice(&((offset / 8) as u16 | u16::from(more) << 13).to_be_bytes());
            super::packet::seal_v4(packet);
        } else {
            packet[4..6].copy_from_slice(&((extension + octets.len()) as u16).to_be_bytes());
            let next = std::mem::replace(&mut packet[6], super::packet::FRAGMENT);
            part.extend_from_slice(&[next, 0]);
            part.extend_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
            part.extend_from_slice(&id.to_be_bytes());
        }
        part.extend_from_slice(octets);
        each(&part);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::packet::{Maker, UDP};
    use super::*;

    fn there_and_back(from: &str, to: &str) {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let payload: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
        let mut frame = Vec::new();
        let maker = Maker { ends: [2; 12], mtu: 1500 };
        maker.udp(&mut frame, from, to, &payload);
        let mut cuts = Vec::new();
        cut(&frame, 1500, 7, |part| cuts.push(part.to_vec()));
        assert_eq!(cuts.len(), 4);
        let now = Instant::now();
        let mut parts = Parts::default();
        let mut whole = None;
        // In another order than they were made.
        for cut in cuts.iter().rev() {
            assert!(cut.len() <= ETHERNET + 1500 && whole.is_none());
            let layout = Layout::of(cut).unwrap();
            assert_eq!((layout.source, layout.destination, layout.protocol), (from.ip(), to.ip(), UDP));
            whole = parts.add(&layout, layout.part.unwrap(), layout.transport(cut), now);
        }
        let whole = whole.unwrap();
        assert_eq!(&whole[8..], payload);
        assert_eq!(whole, frame[frame.len() - whole.len()..]);
        assert!(parts.piles.is_empty());
    }

    #[test]
    fn what_is_cut_can_be_put_together() {
        there_and_back("192.0.2.1:53", "10.0.0.2:4000");
        there_and_back("[2001:db8::1]:53", "[fd00::2]:4000");
    }

    #[test]
    fn parts_that_overlap_or_never_end_are_forgotten() {
        let mut frame = Vec::new();
        let ends = ["192.0.2.1:53", "10.0.0.2:4000"].map(|end| end.parse().unwrap());
        Maker { ends: [2; 12], mtu: 1500 }.udp(&mut frame, ends[0], ends[1], &[1; 3000]);
        let mut cuts = Vec::new();
        cut(&frame, 1500, 7, |part| cuts.push(part.to_vec()));
        let now = Instant::now();
        let mut parts = Parts::default();
        let mut add = |cut: &[u8], shift: usize, now| {
            let layout = Layout::of(cut).unwrap();
            let part = layout.part.unwrap();
            parts.add(&layout, Part { offset: part.offset - shift, ..part }, layout.transport(cut), now)
        };
        assert_eq!(add(&cuts[0], 0, now), None);
        assert_eq!(add(&cuts[1], 8, now), None);
        assert_eq!(add(&cuts[1], 0, now), None);
        assert_eq!(add(&cuts[2], 0, now), None, "the first went with the one that overlapped");
        parts.expire(now + PATIENCE);
        assert_eq!(parts.deadline(), None);
    }
}
