//! packet(7): frames of an interface, as they are.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::refused;
use crate::{Probe, pretend};

const HINT: &str = "needs a kernel with CONFIG_PACKET, and CAP_NET_RAW: run berth as root";

/// Opens one, of no protocol: nothing arrives at it.
pub fn probe() -> Probe {
    if pretend::without("packet-socket") {
        return Probe::pretended("packet-socket");
    }
    match rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None) {
        Ok(_) => Probe::available(()),
        Err(error @ Errno::AFNOSUPPORT) => {
            refused("open a packet socket", error, "build the kernel with CONFIG_PACKET")
        }
        Err(error) => refused("open a packet socket", error, HINT),
    }
}
