//! Where a standalone container waits for its start: a socket in its owner's folder, which the first process listens
//! on since before its root changed. Whoever connects takes the creator's place at the channel.
//!
//! The name goes before the start is given, so that it is there exactly as long as the program has not been started; a
//! start that is killed between the two is the container's end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::report::Channel;

fn socket() -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// By the folder's descriptor: a path may be longer than a socket's address.
pub(super) fn with_address<T>(path: &Path, act: impl FnOnce(&SocketAddrUnix) -> Result<T>) -> Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(folder.as_fd().as_raw_fd().to_string()).join(name);
    act(&SocketAddrUnix::new(short)?)
}

/// Makes the gate at `path`.
pub(super) fn listen(path: &Path) -> Result<OwnedFd> {
    let socket = socket()?;
    with_address(path, |address| rustix::net::bind(&socket, address))?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// ENOENT if the container has been started, ECONNREFUSED if it has ended before.
pub(super) fn connect(path: &Path) -> Result<Channel> {
    let socket = socket()?;
    with_address(path, |address| rustix::io::retry_on_intr(|| rustix::net::connect(&socket, address)))?;
    Ok(Channel::from_fd(socket))
}

/// Waits for who starts the container. System calls only.
pub(super) fn wait(gate: OwnedFd) -> Result<Channel> {
    let starter = rustix::io::retry_on_intr(|| rustix::net::accept_with(&gate, SocketFlags::CLOEXEC))?;
    drop(gate);
    let channel = Channel::from_fd(starter);
    channel.wait_for_go()?;
    Ok(channel)
}
