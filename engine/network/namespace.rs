//! Acting in another network namespace.
//!
//! The bridges of containers and the host's ends of their pairs are at home: in this process's own namespace, or, where it
//! has no rights in that, in another one that it was told of once. Who has no rights at the place that he comes from
//! cannot return there; then a thread of its own goes, and ends there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sched::{CloneFlags, setns};
use rustix::io::Errno;
use rustix::net::SocketType;

use crate::{Error, Result};

static HOME: OnceLock<BorrowedFd<'static>> = OnceLock::new();

/// From now on, bridges are in `namespace`, and the own one is left only by threads that do not come back.
pub fn set_home(namespace: BorrowedFd<'static>) {
    let _ = HOME.set(namespace);
}

/// Whether home is elsewhere.
pub fn is_away() -> bool {
    HOME.get().is_some()
}

/// The network namespace of a process.
pub fn of_process(pid: i32) -> Result<File> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path).map_err(Error::io(format!("open {path}")))
}

/// Runs `f` where the bridges are. What it opens stays there.
pub fn at_home<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T> {
    match HOME.get() {
        Some(home) => one_way(*home, f),
        None => Ok(f()),
    }
}

/// Runs `f` in `namespace`; only the calling thread goes there, and comes back. What `f` opens stays there.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, f: impl FnOnce() -> T + Send) -> Result<T> {
    if is_away() {
        return one_way(namespace, f);
    }
    let home = File::open("/proc/thread-self/ns/net")
        // 3.17; before, a process had better have one thread.
        .or_else(|_| File::open("/proc/self/ns/net"))
        .map_err(Error::io("open the own network namespace"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(Error::io("enter a container's network namespace"))?;
    let value = f();
    if let Err(error) = setns(home.as_fd(), CloneFlags::CLONE_NEWNET) {
        // The kernel refuses no way back to whoever came from there; to go on in the wrong place would be worse.
        eprintln!("leave a container's network namespace: {error}");
        std::process::abort();
    }
    Ok(value)
}

fn one_way<T: Send>(namespace: BorrowedFd<'_>, f: impl FnOnce() -> T + Send) -> Result<T> {
    let there = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(Error::io("enter a network namespace"))?;
        Ok(f())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there);
        let ended = thread.map_err(Error::io("start a thread"))?.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sockets that were made in advance: the thread that makes one makes several.
struct Spare {
    kind: SocketType,
    is_ipv6: bool,
    sockets: Vec<OwnedFd>,
}

static SPARE: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

/// So many are made at once.
const BATCH: usize = 8;

/// A socket that reaches containers, not blocking.
pub(crate) fn socket_at_home(kind: SocketType, is_ipv6: bool) -> Result<OwnedFd, Errno> {
    use crate::relay::hold::socket;
    if !is_away() {
        return socket(kind, is_ipv6);
    }
    let mut all = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = match all.iter().position(|spare| spare.kind == kind && spare.is_ipv6 == is_ipv6) {
        Some(place) => place,
        None => {
            all.push(Spare { kind, is_ipv6, sockets: Vec::new() });
            all.len() - 1
        }
    };
    let spare = &mut all[place].sockets;
    if spare.is_empty() {
        let make = || (0..BATCH).map_while(|_| socket(kind, is_ipv6).ok()).collect();
        *spare = at_home(make).unwrap_or_default();
    }
    spare.pop().ok_or(Errno::MFILE)
}

/// Closes what was made in advance: there was no need for it for a while.
pub(crate) fn forget_spare_sockets() {
    if is_away() {
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
