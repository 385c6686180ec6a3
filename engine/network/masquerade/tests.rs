use std::net::SocketAddr;

use super::packet::{ETHERNET, Layout, Maker, Offload, Said, TCP, UDP, Unreachable};

const MAKER: Maker = Maker { ends: [2; 12], mtu: 1500 };
/// To be cut, so that checksums are whole.
const SMALL: Maker = Maker { ends: [2; 12], mtu: 0 };

/// The sum of a packet with its addresses: all ones if its checksum is right.
fn sum(frame: &[u8], layout: &Layout) -> u16 {
    let body = layout.transport(frame);
    let addresses = if layout.source.is_ipv4() { &frame[ETHERNET + 12..ETHERNET + 20] } else { &frame[22..54] };
    let mut padded = [addresses, body].concat();
    padded.resize(padded.len().next_multiple_of(2), 0);
    let mut sum = u32::from(layout.protocol) + body.len() as u32;
    sum += padded.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn header_sum(frame: &[u8]) -> u16 {
    let pairs = frame[ETHERNET..ETHERNET + 20].chunks_exact(2);
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    ((sum >> 16) + (sum & 0xffff)) as u16
}

fn ends(v6: bool) -> [SocketAddr; 4] {
    let all = if v6 {
        ["[fd00::2]:4000", "[2001:db8::5]:443", "[2001:db8::5]:1024", "[fd00::2]:39999"]
    } else {
        ["172.17.0.2:4000", "192.0.2.5:443", "192.0.2.5:1024", "172.17.0.2:39999"]
    };
    all.map(|end| end.parse().unwrap())
}

#[test]
fn segments_get_other_ends_and_keep_right_checksums() {
    for v6 in [false, true] {
        let [from, to, alias, inside] = ends(v6);
        // A segment: the reset of one that never was.
        let mut datagram = Vec::new();
        SMALL.udp(&mut datagram, from, to, &[0x50; 30]);
        datagram[if v6 { 20 } else { 23 }] = TCP;
        for maker in [SMALL, MAKER] {
            let mut frame = Vec::new();
            let layout = Layout::of(&datagram).unwrap();
            let offload = maker.reset(&mut frame, &layout, &datagram);
            let layout = Layout::of(&frame).unwrap();
            assert_eq!((layout.from(&frame), layout.to(&frame)), (to, from));
            layout.readdress(&mut frame, &offload, alias, inside);
            let layout = Layout::of(&frame).unwrap();
            assert_eq!((layout.from(&frame), layout.to(&frame)), (alias, inside));
            if !v6 {
                assert_eq!(header_sum(&frame), 0xffff);
            }
            if offload == Offload::default() {
                assert_eq!(sum(&frame, &layout), 0xffff);
            } else {
                // As if it had been made for these ends.
                let mut fresh = Vec::new();
                let mut other = datagram.clone();
                Layout::of(&datagram).unwrap().readdress(&mut other, &Offload::default(), inside, alias);
                maker.reset(&mut fresh, &Layout::of(&other).unwrap(), &other);
                assert_eq!(frame[ETHERNET..], fresh[ETHERNET..]);
            }
        }
    }
}

#[test]
fn datagrams_and_refusals_are_whole() {
    for v6 in [false, true] {
        let [from, to, ..] = ends(v6);
        for length in [0, 1, 7, 512] {
            let mut frame = Vec::new();
            assert_eq!(SMALL.udp(&mut frame, from, to, &vec![7; length]), Offload::default());
            let layout = Layout::of(&frame).unwrap();
            assert_eq!((layout.protocol, layout.from(&frame), layout.to(&frame)), (UDP, from, to));
            assert_eq!(sum(&frame, &layout), 0xffff, "{length}");
        }
        let mut frame = Vec::new();
        MAKER.unreachable(&mut frame, to.ip(), Said::datagram(from, to), Unreachable::Port);
        let layout = Layout::of(&frame).unwrap();
        assert_eq!((layout.source, layout.destination), (to.ip(), from.ip()));
        // What is quoted is a packet by itself.
        let quoted = [&frame[..ETHERNET], &layout.transport(&frame)[8..]].concat();
        let quoted_layout = Layout::of(&quoted).unwrap();
        assert_eq!((quoted_layout.from(&quoted), quoted_layout.to(&quoted)), (from, to));
    }
}

#[test]
fn nothing_that_a_container_sends_is_read_beyond_its_end() {
    let [from, to, ..] = ends(false);
    let [from6, to6, ..] = ends(true);
    let mut frames = Vec::new();
    for (from, to) in [(from, to), (from6, to6)] {
        let mut frame = Vec::new();
        MAKER.udp(&mut frame, from, to, &[1; 40]);
        frames.push(frame.clone());
        frame[if from.is_ipv6() { 20 } else { 23 }] = TCP;
        frames.push(frame);
    }
    for frame in frames {
        for length in 0..=frame.len() {
            let short = &frame[..length];
            assert_eq!(Layout::of(short).is_some(), length == frame.len(), "{length}");
        }
        // Every octet of the headers with every value.
        for at in 12..ETHERNET + 48 {
            for value in 0..=u8::MAX {
                let mut other = frame.clone();
                other[at] = value;
                let Some(layout) = Layout::of(&other) else { continue };
                let _ = layout.transport(&other);
                if layout.part.is_none() && layout.protocol == TCP {
                    let mut made = Vec::new();
                    MAKER.reset(&mut made, &layout, &other);
                    let ends = if layout.source.is_ipv4() { (to, from) } else { (to6, from6) };
                    layout.readdress(&mut other, &Offload::default(), ends.0, ends.1);
                }
            }
        }
    }
}
