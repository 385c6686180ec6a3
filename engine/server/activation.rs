//! Sockets that a service manager has opened for this process (sd_listen_fds(3)).
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_core::{Error, Result};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// The first that is not one of the three streams.
const FIRST: i32 = 3;
/// More than a unit has any use for.
const MOST: i32 = 1024;

/// The sockets that were passed on, in their order; none if they were meant for another process. To be called before
/// this process opens anything.
pub fn given_sockets() -> Result<Vec<OwnedFd>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST);
    (FIRST..FIRST + count).map(take).collect()
}

/// A copy that the programs this process starts do not get, in the place of one that they would.
fn take(number: i32) -> Result<OwnedFd> {
    let wrong = |error: rustix::io::Errno| {
        Error::InvalidArgument(format!("LISTEN_FDS: descriptor {number} was announced and cannot be taken: {error}"))
    };
    // SAFETY: nothing was opened yet, so the number is either what was passed on, which nobody else in this process owns,
    // or not open at all, which fcntl(2) and fcntl(2) alone is told and answers with EBADF.
    let passed = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = rustix::io::fcntl_dupfd_cloexec(passed, FIRST).map_err(wrong)?;
    rustix::io::fcntl_setfd(passed, rustix::io::FdFlags::CLOEXEC).map_err(wrong)?;
    Ok(copy)
}

/// What kind of address a socket listens on; an error that says what is wrong with one that cannot be served.
pub(crate) fn family(socket: impl AsFd) -> Result<AddressFamily, &'static str> {
    let socket = socket.as_fd();
    let listens =
        sockopt::socket_acceptconn(socket) == Ok(true) && sockopt::socket_type(socket) == Ok(SocketType::STREAM);
    if !listens {
        return Err("it is not a listening stream socket (ListenStream=, Accept=no)");
    }
    match rustix::net::getsockname(socket).map(|address| address.address_family()) {
        Ok(family) if [AddressFamily::UNIX, AddressFamily::INET, AddressFamily::INET6].contains(&family) => Ok(family),
        _ => Err("it is neither a unix nor an internet socket"),
    }
}
