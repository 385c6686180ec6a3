//! What a thread that serves has for itself.

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
