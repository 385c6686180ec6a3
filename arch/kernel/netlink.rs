//! rtnetlink(7): a socket, and the kernel's answer about the loopback device.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::refused;
use crate::Probe;

const HINT: &str = "use a kernel with CONFIG_NET; only --network host and none are possible";

pub fn probe() -> Probe {
    match ask() {
        Ok(()) => Probe::available(()),
        Err(error) => refused("ask rtnetlink for the loopback device", error, HINT),
    }
}

/// RTM_GETLINK for index 1: `struct nlmsghdr` and `struct ifinfomsg` of linux/netlink.h and linux/rtnetlink.h.
fn ask() -> Result<(), Errno> {
    const RTM_GETLINK: u16 = 18;
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut request = [0; 32];
    request[..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[20..24].copy_from_slice(&1i32.to_ne_bytes());
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    if length >= 16 && kind == RTM_NEWLINK { Ok(()) } else { Err(Errno::PROTO) }
}
