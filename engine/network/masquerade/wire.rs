//! The wire to a container: a packet socket at the host's end of its pair, which sees what the container sends besides
//! the bridge, and puts on it what the outside answers.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use ipnet::IpNet;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use super::packet::Offload;
use crate::route::address_octets;

/// The longest frame that a kernel hands out, with what it says of it.
pub(super) const FRAME: usize = 64 * 1024 + 256;
/// Room for frames that wait: a large one takes more than its octets.
const QUEUE: libc::c_int = 4 * 1024 * 1024;

/// PACKET_OUTGOING of linux/if_packet.h.
const OUTGOING: u32 = 4;
/// SKF_AD_OFF + SKF_AD_PKTTYPE of linux/filter.h.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4) as u32;

#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// At the interface of that index. What the container sends into its own subnets is left to the bridge.
    pub(super) fn open(index: u32, subnets: &[IpNet]) -> Result<Self, Errno> {
        // Of no protocol until it is bound: nothing of other interfaces arrives.
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = answer(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: a descriptor that was just made, and belongs to nobody else.
        let wire = Self { socket: unsafe { OwnedFd::from_raw_fd(fd) } };
        wire.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
        for force in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            // Less does too.
            let _ = wire.set(libc::SOL_SOCKET, force, &QUEUE);
        }
        let mut filter = filter(subnets);
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        wire.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        // SAFETY: integers and octets, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as i32;
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the kernel reads one sockaddr_ll, which lives longer than the call.
        answer(unsafe { libc::bind(wire.socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(wire)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> Result<(), Errno> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the kernel reads one T (and a filter's instructions behind it), which live longer than the call.
        answer(unsafe {
            libc::setsockopt(self.socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
        })
        .map(drop)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// One frame, with an [`Offload`] in front. AGAIN when there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(&self.socket, buffer, RecvFlags::DONTWAIT).map(|(length, _)| length)
    }

    /// A full queue loses it, as a wire would.
    pub(super) fn send(&self, offload: &Offload, frame: &[u8]) {
        let mut head = [0; Offload::LENGTH];
        offload.write(&mut head);
        let both = [IoSlice::new(&head), IoSlice::new(frame)];
        let _ = sendmsg(&self.socket, &both, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT);
    }
}

fn answer(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 {
        // SAFETY: errno's address is valid for this thread as long as it runs.
        return Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }));
    }
    Ok(result)
}

/// A filter in the kernel's classic language: what comes from the container, is IPv4 or IPv6, and leads out of `subnets`.
fn filter(subnets: &[IpNet]) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_ABS;
    const WORD: u32 = LOAD | libc::BPF_W;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const DESTINATION: [u32; 2] = [30, 38];
    let line = |code: u32, value: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value };
    // Goes on behind the next `skip` lines if it is something else.
    let unless = |value: u32, skip: usize| libc::sock_filter { jf: skip as u8, ..line(EQUAL, value) };
    let (drop, take) = (line(libc::BPF_RET | libc::BPF_K, 0), line(libc::BPF_RET | libc::BPF_K, u32::MAX));

    let mut program = vec![line(WORD, PACKET_TYPE), unless(OUTGOING, 1), drop, line(LOAD | libc::BPF_H, 12)];
    for (family, at) in [(libc::ETH_P_IP, DESTINATION[0]), (libc::ETH_P_IPV6, DESTINATION[1])] {
        let mut block = Vec::new();
        for subnet in subnets.iter().filter(|subnet| subnet.addr().is_ipv4() == (family == libc::ETH_P_IP)) {
            let words = |octets: Vec<u8>| -> Vec<u32> {
                octets.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect()
            };
            let (network, mask) = (words(address_octets(subnet.network())), words(address_octets(subnet.netmask())));
            let all = network.iter().zip(&mask).enumerate().filter(|(_, (_, mask))| **mask != 0);
            let all: Vec<_> = all.map(|(place, (network, mask))| (place as u32 * 4, *network, *mask)).collect();
            for (done, (offset, network, mask)) in all.iter().enumerate() {
                let left = (all.len() - done - 1) * 3 + 1;
                let and = line(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, *mask);
                block.extend([line(WORD, at + offset), and, unless(*network, left)]);
            }
            block.push(drop);
        }
        block.push(take);
        program.push(unless(family as u32, block.len()));
        program.extend(block);
    }
    program.push(drop);
    program
}
