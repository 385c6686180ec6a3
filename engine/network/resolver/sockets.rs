//! The sockets of a resolver, in the container's network namespace.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use crate::firewall::redirect;
use crate::{Error, Result};

#[derive(Debug)]
pub struct Sockets {
    pub udp: OwnedFd,
    pub tcp: OwnedFd,
}

const PORT: u16 = 53;

/// In the calling thread's network namespace, which has to be a container's: sockets to which questions to `address`
/// come. Port 53 itself is left to the container's programs, which may serve names at every address, where a packet
/// filter can lead questions elsewhere; else it is taken.
pub fn bind(address: Ipv4Addr) -> Result<Sockets> {
    if let Ok((sockets, port)) = both(address, 0)
        && redirect::names(address, PORT, port).is_ok()
    {
        return Ok(sockets);
    }
    let refused = Error::io(format!("answer names at {address}:{PORT}"));
    both(address, PORT).map(|(sockets, _)| sockets).map_err(refused)
}

/// UDP and TCP on the same port; 0 for any that both can have.
fn both(address: Ipv4Addr, port: u16) -> std::io::Result<(Sockets, u16)> {
    let mut last = None;
    for _ in 0..16 {
        let udp = UdpSocket::bind((address, port))?;
        let port = udp.local_addr()?.port();
        match TcpListener::bind((address, port)) {
            Ok(tcp) => return Ok((Sockets { udp: udp.into(), tcp: tcp.into() }, port)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}
