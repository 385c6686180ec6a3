//! The one system call that no library offers.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, ioctl};

/// SIOCOUTQ (unix(7), tcp(7)), the same number on all of our architectures.
const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// What was sent and not yet taken from the other end of a socket; `None` where that is not known.
pub(crate) fn unread_by_peer(socket: impl AsFd) -> Option<c_int> {
    // SAFETY: the kernel writes one int, and nothing else depends on it.
    unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }.ok()
}
