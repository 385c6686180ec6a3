//! The socket options by which iptables-legacy reads its tables; no library has them.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES` of linux/netfilter_ipv4/ip_tables.h; those of IPv6 are the same.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

/// `struct ipt_getinfo`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    name: [u8; 32],
    pub(super) valid_hooks: u32,
    pub(super) hook_entry: [u32; 5],
    pub(super) underflow: [u32; 5],
    pub(super) num_entries: u32,
    pub(super) size: u32,
}

/// Where `struct ipt_get_entries` has its entries: behind name and size, aligned for 64-bit counters.
const ENTRIES: usize = 36usize.next_multiple_of(align_of::<u64>());

/// What the table's size and hooks are. Loads the table's module, so look first whether it is there.
pub(super) fn info(v6: bool, table: &str) -> Result<Info, Errno> {
    let mut info = Info {
        name: table_name(table),
        valid_hooks: 0,
        hook_entry: [0; 5],
        underflow: [0; 5],
        num_entries: 0,
        size: 0,
    };
    // SAFETY: `Info` is plain integers without padding, so any bytes may be written over it, and it outlives the call.
    let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut info).cast::<u8>(), size_of::<Info>()) };
    get(v6, GET_INFO, bytes)?;
    Ok(info)
}

/// The table's entries, one behind the other. `AGAIN` if its size is no more `size`.
pub(super) fn entries(v6: bool, table: &str, size: u32) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; ENTRIES + size as usize];
    bytes[..32].copy_from_slice(&table_name(table));
    bytes[32..36].copy_from_slice(&size.to_ne_bytes());
    get(v6, GET_ENTRIES, &mut bytes)?;
    Ok(bytes.split_off(ENTRIES))
}

fn table_name(table: &str) -> [u8; 32] {
    let mut name = [0; 32];
    name.iter_mut().take(31).zip(table.bytes()).for_each(|(to, from)| *to = from);
    name
}

fn get(v6: bool, option: libc::c_int, bytes: &mut [u8]) -> Result<(), Errno> {
    let (family, level, protocol) = if v6 {
        (AddressFamily::INET6, libc::IPPROTO_IPV6, ipproto::ICMPV6)
    } else {
        (AddressFamily::INET, libc::IPPROTO_IP, ipproto::RAW)
    };
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `bytes`, which is that long and ours alone.
    let answer =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, bytes.as_mut_ptr().cast(), &raw mut length) };
    if answer == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}
