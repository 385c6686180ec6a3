//! Datagrams in batches with the address that they were sent to: recvmmsg(2) and sendmmsg(2), which rustix lacks and for
//! which nix allocates each time; and memory that is given back without being unmapped.
#![allow(unsafe_code)]

use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;

/// Datagrams of one call.
pub(super) const BATCH: usize = 32;
/// No datagram is longer: the length in UDP's header has 16 bits.
const SLOT: usize = 64 * 1024;
/// Room for one in6_pktinfo and its header, in units of a header's alignment.
const CONTROL: usize = 8;

nix::ioctl_read_bad!(siocoutq, libc::TIOCOUTQ, libc::c_int);

/// Octets that a TCP socket has not sent, or that the other end has not acknowledged.
pub(super) fn unsent(socket: BorrowedFd<'_>) -> usize {
    let mut octets = 0;
    // SAFETY: the kernel writes one int at the address given, which is ours for the call.
    let answer = unsafe { siocoutq(socket.as_raw_fd(), &raw mut octets) };
    answer.map_or(0, |_| usize::try_from(octets).unwrap_or(0))
}

/// Makes datagrams come with the address that they were sent to, so that answers can leave from it.
pub(super) fn tell_addresses(socket: &OwnedFd, is_ipv6: bool) -> Result<(), Errno> {
    let (level, option) =
        if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let (on, length): (libc::c_int, _) = (1, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel reads one int, which lives longer than the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

fn last_errno() -> Errno {
    // SAFETY: errno's address is valid for this thread as long as it runs.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Which of the host's addresses a datagram was sent to; the interface only where the address alone says too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Local {
    pub(super) address: IpAddr,
    pub(super) interface: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram {
    length: usize,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<Local>,
}

/// One slot for each datagram of a batch. A page that no datagram has reached takes no memory.
#[derive(Debug)]
pub(super) struct Batch {
    slots: NonNull<u8>,
    pub(super) datagrams: Vec<Datagram>,
    longest: usize,
}

// SAFETY: the mapping is private to its one owner, and belongs to no thread.
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new() -> Result<Self, Errno> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping anywhere touches no memory that is in use.
        let slots = unsafe { libc::mmap(null_mut(), BATCH * SLOT, access, kind, -1, 0) };
        if slots == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let slots = NonNull::new(slots.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { slots, datagrams: Vec::with_capacity(BATCH), longest: 0 })
    }

    /// Gives the memory back that datagrams longer than most have taken.
    pub(super) fn trim(&mut self, over: usize) {
        if self.longest > over {
            self.longest = 0;
            self.datagrams.clear();
            // SAFETY: the whole of our own mapping, of whose contents nothing is used any more; it stays mapped.
            unsafe { libc::madvise(self.slots.as_ptr().cast(), BATCH * SLOT, libc::MADV_DONTNEED) };
        }
    }

    fn slot(&self, index: usize, length: usize) -> libc::iovec {
        debug_assert!(index < BATCH && length <= SLOT);
        // SAFETY: within the mapping, as callers count to BATCH only.
        let base = unsafe { self.slots.as_ptr().add(index * SLOT) };
        libc::iovec { iov_base: base.cast(), iov_len: length }
    }

    /// Takes what has arrived, at most a batch. AGAIN if nothing has.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.datagrams.clear();
        let mut names = [const { MaybeUninit::<libc::sockaddr_storage>::uninit() }; BATCH];
        let mut controls = [[0u64; CONTROL]; BATCH];
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|index| self.slot(index, SLOT));
        // SAFETY: integers and pointers, for which zero is a value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for index in 0..BATCH {
            let header = &mut headers[index].msg_hdr;
            header.msg_name = names[index].as_mut_ptr().cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = controls[index].as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&controls[index]) as _;
        }
        let count = receive_all(socket, &mut headers)?;
        for header in &headers[..count] {
            let length = (header.msg_len as usize).min(SLOT);
            self.longest = self.longest.max(length);
            // SAFETY: the kernel has filled the header, whose name and control are the arrays above, still alive.
            let (peer, local) = unsafe { (peer(&header.msg_hdr), local(&header.msg_hdr)) };
            self.datagrams.push(Datagram { length, peer, local });
        }
        Ok(count)
    }

    /// Sends datagrams of the last batch: to whom the socket is connected, or to `to` from one of our addresses. How
    /// many were taken; an error is the first one's.
    pub(super) fn send(
        &self,
        socket: BorrowedFd<'_>,
        range: Range<usize>,
        to: Option<(SocketAddr, Option<Local>)>,
    ) -> Result<usize, Errno> {
        let mut name = to.map(|(peer, _)| encode(peer));
        let mut control = [0u64; CONTROL];
        let control_length = to.and_then(|(_, local)| local).map_or(0, |local| put_local(&mut control, local));
        let count = range.len().min(BATCH);
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|index| self.slot(index, 0));
        // SAFETY: integers and pointers, for which zero is a value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (place, index) in range.take(count).enumerate() {
            vectors[place] = self.slot(index, self.datagrams[index].length);
            let header = &mut headers[place].msg_hdr;
            if let Some((name, length)) = &mut name {
                header.msg_name = std::ptr::from_mut(name).cast();
                header.msg_namelen = *length;
            }
            header.msg_iov = &raw mut vectors[place];
            header.msg_iovlen = 1;
            if control_length > 0 {
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = control_length as _;
            }
        }
        send_all(socket, &mut headers[..count])
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: our own mapping, to which no reference is left.
        unsafe { libc::munmap(self.slots.as_ptr().cast(), BATCH * SLOT) };
    }
}

/// recvmmsg (2.6.33).
fn receive_all(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> Result<usize, Errno> {
    let fd = socket.as_raw_fd();
    if !berth_arch::pretend::without("mmsg") {
        let count = headers.len() as libc::c_uint;
        // SAFETY: the callers' headers point to live arrays of the lengths that they give; no time-out is passed.
        let received = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _, null_mut()) };
        match usize::try_from(received) {
            Ok(count) => return Ok(count),
            Err(_) if last_errno() != Errno::NOSYS => return Err(last_errno()),
            Err(_) => {}
        }
    }
    for (index, header) in headers.iter_mut().enumerate() {
        // SAFETY: as above.
        let received = unsafe { libc::recvmsg(fd, &raw mut header.msg_hdr, libc::MSG_DONTWAIT) };
        match libc::c_uint::try_from(received) {
            Ok(length) => header.msg_len = length,
            Err(_) if index > 0 => return Ok(index),
            Err(_) => return Err(last_errno()),
        }
    }
    Ok(headers.len())
}

/// sendmmsg (3.0).
fn send_all(socket: BorrowedFd<'_>, headers: &mut [libc::mmsghdr]) -> Result<usize, Errno> {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    if !berth_arch::pretend::without("mmsg") {
        // SAFETY: the caller's headers point to live arrays of the lengths that they give.
        let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as libc::c_uint, flags as _) };
        match usize::try_from(sent) {
            Ok(count) => return Ok(count),
            Err(_) if last_errno() != Errno::NOSYS => return Err(last_errno()),
            Err(_) => {}
        }
    }
    for (index, header) in headers.iter().enumerate() {
        // SAFETY: as above.
        if unsafe { libc::sendmsg(fd, &raw const header.msg_hdr, flags) } < 0 {
            return if index > 0 { Ok(index) } else { Err(last_errno()) };
        }
    }
    Ok(headers.len())
}

/// # Safety
/// `header.msg_name` points to `header.msg_namelen` octets that the kernel wrote, in room for a sockaddr_storage.
unsafe fn peer(header: &libc::msghdr) -> Option<SocketAddr> {
    let length = header.msg_namelen as usize;
    if length < size_of::<libc::sa_family_t>() {
        return None;
    }
    // SAFETY: a family begins every address, and a sockaddr_storage is aligned for each of them.
    let family = libc::c_int::from(unsafe { *header.msg_name.cast::<libc::sa_family_t>() });
    match family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the kernel says that it wrote one.
            let address = unsafe { *header.msg_name.cast::<libc::sockaddr_in>() };
            let ip = IpAddr::from(address.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip, u16::from_be(address.sin_port)))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: the kernel says that it wrote one.
            let address = unsafe { *header.msg_name.cast::<libc::sockaddr_in6>() };
            let (ip, port) = (Ipv6Addr::from(address.sin6_addr.s6_addr), u16::from_be(address.sin6_port));
            Some(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// # Safety
/// `header.msg_control` points to `header.msg_controllen` octets that the kernel wrote.
unsafe fn local(header: &libc::msghdr) -> Option<Local> {
    // SAFETY: the caller's promise; CMSG_NXTHDR stays within what the header says there is.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the macros have found room for a header there.
        let control = unsafe { &*next };
        match (control.cmsg_level, control.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel puts an in_pktinfo into this message; it need not be aligned.
                let info = unsafe { libc::CMSG_DATA(next).cast::<libc::in_pktinfo>().read_unaligned() };
                // The address to answer from, which for a broadcast is not the one that was sent to.
                let address = IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                return Some(Local { address, interface: 0 });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel puts an in6_pktinfo into this message; it need not be aligned.
                let info = unsafe { libc::CMSG_DATA(next).cast::<libc::in6_pktinfo>().read_unaligned() };
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex as u32 } else { 0 };
                // Nobody can answer from a group's address; the kernel picks one.
                return (!address.is_multicast()).then_some(Local { address: address.into(), interface });
            }
            _ => {}
        }
        // SAFETY: as above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    None
}

fn encode(address: SocketAddr) -> (libc::sockaddr_in6, libc::socklen_t) {
    // SAFETY: integers only, for which zero is a value.
    let mut six: libc::sockaddr_in6 = unsafe { zeroed() };
    match address {
        SocketAddr::V6(address) => {
            six.sin6_family = libc::AF_INET6 as _;
            six.sin6_port = address.port().to_be();
            six.sin6_addr.s6_addr = address.ip().octets();
            six.sin6_scope_id = address.scope_id();
            (six, size_of::<libc::sockaddr_in6>() as _)
        }
        SocketAddr::V4(address) => {
            // SAFETY: as above.
            let mut four: libc::sockaddr_in = unsafe { zeroed() };
            four.sin_family = libc::AF_INET as _;
            four.sin_port = address.port().to_be();
            four.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            // SAFETY: the longer of the two structures has room for the shorter, and both are plain integers.
            unsafe { std::ptr::from_mut(&mut six).cast::<libc::sockaddr_in>().write(four) };
            (six, size_of::<libc::sockaddr_in>() as _)
        }
    }
}

/// One control message; its length.
fn put_local(control: &mut [u64; CONTROL], local: Local) -> usize {
    fn put<T>(control: &mut [u64; CONTROL], level: libc::c_int, kind: libc::c_int, value: T) -> usize {
        let length = size_of::<T>() as libc::c_uint;
        // SAFETY: arithmetic only.
        let (space, whole) = unsafe { (libc::CMSG_SPACE(length) as usize, libc::CMSG_LEN(length)) };
        debug_assert!(space <= size_of_val(control));
        let header = control.as_mut_ptr().cast::<libc::cmsghdr>();
        // SAFETY: the array is aligned for the header, and longer than header and value, whose types are plain.
        unsafe {
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = whole as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        space
    }
    match local.address {
        IpAddr::V4(address) => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
            let none = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: none };
            put(control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(address) => {
            let address = libc::in6_addr { s6_addr: address.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: local.interface as _ };
            put(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}
