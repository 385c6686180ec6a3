//! What the standard library cannot do for us safely.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// One lock, pieces of 64 KiB from the kernel, and what was freed is given back.
#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Gives the child the signal mask `mask` instead of the blocked one that it would inherit.
pub(crate) fn unblock_in_child(command: &mut Command, mask: SigSet) {
    // SAFETY: the closure runs between fork and exec; sigprocmask(2) is async-signal-safe and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
            Ok(())
        });
    }
}

/// One heap for all threads: a heap each costs more than the few threads of a short process ever win by it.
pub(crate) fn share_the_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: called before the first thread is started; mallopt(3) only sets numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// For a process that soon ends: what was freed is kept for what comes next instead of being given back to the kernel.
pub(crate) fn keep_the_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: as above; the numbers are bytes.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
        libc::mallopt(libc::M_TOP_PAD, 1 << 20);
    }
}
