//! What threads and the process that serve have for themselves.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

use crate::tree;

/// Without /proc: as many descriptors are looked for.
const MOST: RawFd = 4096;

/// The umask of what this thread makes next. Threads share one, unless they part with the others first.
pub(super) fn set_umask(mask: u32) {
    thread_local!(static APART: Cell<bool> = const { Cell::new(false) });
    if !APART.get() {
        // SAFETY: CLONE_FS takes nothing from other threads and leaves the descriptors shared; the threads that serve a union
        // name files by descriptors and absolute paths alone, so that nothing relies on a common working directory.
        let parted = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) };
        APART.set(parted.is_ok());
    }
    rustix::process::umask(Mode::from_raw_mode((mask & 0o777) as _));
}

/// Parts the calling thread from the descriptors of the process, and leaves it the standard ones and a copy of `device` alone: what
/// it had of pipes and locks would keep them open.
pub(super) fn own_descriptors(device: &OwnedFd) -> io::Result<OwnedFd> {
    // Before getrandom(2) (3.17) the library opens /dev/urandom at the first map, and reads from that number ever after.
    let _ = std::hash::RandomState::new();
    // SAFETY: the thread was started for this and has nothing of the process's descriptors but `device`, which is the same file
    // in both tables.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FILES) }?;
    let device = rustix::io::fcntl_dupfd_cloexec(device, 3)?;
    let listed: Vec<RawFd> = match std::fs::read_dir(tree::descriptors()) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (3..MOST).collect(),
    };
    for fd in listed.into_iter().filter(|&fd| fd > 2 && fd != device.as_raw_fd() && !is_urandom(fd)) {
        // SAFETY: of this thread's table, in which nobody owns it.
        unsafe { libc::close(fd) };
    }
    Ok(device)
}

fn is_urandom(fd: RawFd) -> bool {
    // SAFETY: all zeros is a valid stat.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills a structure of ours; a number that is not open is refused.
    let looked = unsafe { libc::fstat(fd, &raw mut found) } == 0;
    looked && found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == libc::makedev(1, 9)
}

/// Large pieces of memory are the kernel's again as soon as they are free, and zero without being touched. glibc stops doing so
/// at sizes that it has seen come and go, of which the buffers for requests are.
pub(super) fn give_large_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: an integer that the allocator keeps; called before there are other threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
    }
}
