//! Acting in another network namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sched::{CloneFlags, setns};

use crate::{Error, Result};

/// The network namespace of a process.
pub fn of_process(pid: i32) -> Result<File> {
    let path = format!("/proc/{pid}/ns/net");
    File::open(&path).map_err(Error::io(format!("open {path}")))
}

/// Runs `f` in `namespace`; only the calling thread goes there, and comes back. What `f` opens stays there.
pub fn within<T>(namespace: BorrowedFd<'_>, f: impl FnOnce() -> T) -> Result<T> {
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
