//! Which ports processes have opened, by the kernel's tables and their descriptors (proc_net(5), proc_pid_fd(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Protocol;

/// TCP_LISTEN, and what a UDP socket without a peer has, of net/tcp_states.h.
const LISTEN: &str = "0A";
const UNCONNECTED: &str = "07";

/// Where one of the processes `pids`, which are in this process's network, takes what comes to `port`: an address to
/// connect to. `None` while none of them has the port open.
pub fn find(pids: &[i32], protocol: Protocol, port: u16) -> Option<SocketAddr> {
    let (tables, state) = match protocol {
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], LISTEN),
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
        Protocol::Sctp => return None,
    };
    let tables = tables.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let found: Vec<Open> = tables.flat_map(|text| open(&text, state, port)).collect();
    if found.is_empty() {
        return None;
    }
    let names: Vec<String> = found.iter().map(|open| format!("socket:[{}]", open.inode)).collect();
    for pid in pids {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(link) = std::fs::read_link(entry.path()) else { continue };
            if let Some(index) = names.iter().position(|name| link.as_os_str() == name.as_str()) {
                return Some(reachable(found[index].place));
            }
        }
    }
    None
}

struct Open {
    place: SocketAddr,
    inode: u64,
}

fn open(table: &str, state: &str, port: u16) -> Vec<Open> {
    let line = |line: &str| {
        // Number, own address, the other's, state, queues, timer, retransmissions, user, timeout, inode.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let place = address(fields.get(1)?)?;
        let inode = fields.get(9)?.parse().ok()?;
        (fields.get(3) == Some(&state) && place.port() == port).then_some(Open { place, inode })
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Addresses are words of the machine's own order, ports are not.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |start: usize| Some(u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (index, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(index * 8)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Whoever takes every address takes the loopback's.
fn reachable(place: SocketAddr) -> SocketAddr {
    let address = match place.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, place.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn own() -> [i32; 1] {
        [i32::try_from(std::process::id()).unwrap()]
    }

    #[test]
    fn what_a_process_has_opened_is_found_and_what_others_have_is_not() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let found = find(&own(), Protocol::Tcp, port).unwrap();
            assert!(found.ip().is_loopback() && found.port() == port, "{address}: {found}");
            std::net::TcpStream::connect(found).unwrap();
            assert_eq!(find(&[1], Protocol::Tcp, port), None);
            assert_eq!(find(&own(), Protocol::Udp, port), None);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(find(&own(), Protocol::Udp, socket.local_addr().unwrap().port()), socket.local_addr().ok());
    }
}
