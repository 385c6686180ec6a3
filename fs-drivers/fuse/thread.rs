//! What threads and the process that serve have for themselves.

#![allow(unsafe_code)]

use std::cell::Cell;

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

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

/// Large pieces of memory are the kernel's again as soon as they are free, and zero without being touched. glibc stops doing so
/// at sizes that it has seen come and go, of which the buffers for requests are.
pub(super) fn give_large_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: an integer that the allocator keeps; called before there are other threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
    }
}
