//! Public sockets: what holds a published port against every other program, from the moment it is published.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use super::sys;
use crate::Protocol;

/// Of the kernel's queue of connections that nobody has accepted yet; it takes less if net.core.somaxconn is less.
pub(super) const BACKLOG: i32 = 4096;
/// Octets of datagrams that wait.
const QUEUE: usize = 1024 * 1024;

/// A socket at a public address: port 0 is any free one ([`local_port`]). A TCP socket listens, since a bound one
/// could be overtaken; a UDP socket tells which of the host's addresses each datagram was sent to.
///
/// AddrInUse if any other socket has the port; Unsupported for SCTP.
pub fn hold(protocol: Protocol, address: SocketAddr) -> io::Result<OwnedFd> {
    match protocol {
        Protocol::Tcp => listen(address),
        Protocol::Udp => {
            let socket = bind(SocketType::DGRAM, address, false)?;
            sys::tell_addresses(&socket, address.is_ipv6())?;
            Ok(socket)
        }
        Protocol::Sctp => Err(unsupported()),
    }
}

pub fn local_port(socket: impl AsFd) -> io::Result<u16> {
    Ok(local_address(socket)?.port())
}

pub(crate) fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(net::getsockname(socket)?)?)
}

pub(super) fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "sctp ports are published by the kernel only and cannot be relayed")
}

/// Room for what arrives while the relay's process waits for its turn, which the system's default has for a few
/// milliseconds only. Memory is taken by what is there, not by the room.
pub(super) fn widen(socket: &OwnedFd) {
    // Beyond net.core.rmem_max with CAP_NET_ADMIN; else up to it, and the default does too.
    let _ = net::sockopt::set_socket_recv_buffer_size_force(socket, QUEUE)
        .or_else(|_| net::sockopt::set_socket_recv_buffer_size(socket, QUEUE));
}

pub(crate) fn socket(kind: SocketType, is_ipv6: bool) -> rustix::io::Result<OwnedFd> {
    let family = if is_ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

fn bind(kind: SocketType, address: SocketAddr, reuse: bool) -> rustix::io::Result<OwnedFd> {
    let socket = socket(kind, address.is_ipv6())?;
    if address.is_ipv6() {
        // Its sister for IPv4 is a socket of its own.
        net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if reuse {
        net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// With SO_REUSEADDR two programs may bind one port as long as neither listens, so it is tried without first. That is
/// also refused by what remains of connections of the port's former owner, which must not keep anybody out.
fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = match bind(SocketType::STREAM, address, false) {
        Err(Errno::ADDRINUSE) if has_connections(address.port()) => bind(SocketType::STREAM, address, true)?,
        other => other?,
    };
    // What is accepted inherits it: without, its remains would keep us ourselves out the next time.
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether the kernel knows connections, live or in TIME_WAIT, with this port as their own. Sockets that are only bound
/// are not in its tables. If the tables cannot be read, the kernel's word on the second try has to do.
fn has_connections(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let mut known = false;
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = std::fs::read_to_string(path) else { continue };
        known = true;
        let mut lines = table.lines().map(|line| line.split_ascii_whitespace());
        // Number, own address, the other's, state: Documentation/networking/proc_net_tcp.rst.
        if lines.any(|mut fields| {
            fields.nth(1).is_some_and(|own| own.ends_with(&suffix))
                && fields.nth(1).is_some_and(|state| state != LISTEN)
        }) {
            return true;
        }
    }
    !known
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn refusal(protocol: Protocol, address: SocketAddr) -> io::ErrorKind {
        hold(protocol, address).unwrap_err().kind()
    }

    #[test]
    fn a_held_port_is_nobody_elses_in_either_order() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let first = hold(protocol, any()).unwrap();
            let address = local_address(&first).unwrap();
            assert_eq!(refusal(protocol, address), io::ErrorKind::AddrInUse);
            let everywhere = SocketAddr::new("0.0.0.0".parse().unwrap(), address.port());
            assert_eq!(refusal(protocol, everywhere), io::ErrorKind::AddrInUse);
        }
        // As other programs do it: the standard library sets SO_REUSEADDR for TCP.
        let other = TcpListener::bind(any()).unwrap();
        assert_eq!(refusal(Protocol::Tcp, other.local_addr().unwrap()), io::ErrorKind::AddrInUse);
        let held = hold(Protocol::Tcp, any()).unwrap();
        let error = TcpListener::bind(local_address(&held).unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let other = UdpSocket::bind(any()).unwrap();
        assert_eq!(refusal(Protocol::Udp, other.local_addr().unwrap()), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_that_another_has_bound_but_does_not_listen_on_is_refused() {
        let other = bind(SocketType::STREAM, any(), true).unwrap();
        assert_eq!(refusal(Protocol::Tcp, local_address(&other).unwrap()), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn what_remains_of_connections_does_not_keep_the_port() {
        for _ in 0..2 {
            let first = hold(Protocol::Tcp, any()).unwrap();
            let address = local_address(&first).unwrap();
            let client = TcpStream::connect(address).unwrap();
            let accepted = net::accept(&first).unwrap();
            // Closed on this side first, so that TIME_WAIT is here.
            drop(accepted);
            drop(first);
            drop(client);
            let again = hold(Protocol::Tcp, address).unwrap();
            TcpStream::connect(address).unwrap();
            drop(again);
        }
    }

    #[test]
    fn both_families_have_the_same_port_each() {
        let Ok(six) = hold(Protocol::Tcp, "[::]:0".parse().unwrap()) else { return };
        let port = local_port(&six).unwrap();
        hold(Protocol::Tcp, SocketAddr::new("0.0.0.0".parse().unwrap(), port)).unwrap();
    }

    #[test]
    fn sctp_is_refused_with_the_reason() {
        let error = hold(Protocol::Sctp, any()).unwrap_err();
        assert!(error.kind() == io::ErrorKind::Unsupported && error.to_string().contains("sctp"), "{error}");
    }
}
