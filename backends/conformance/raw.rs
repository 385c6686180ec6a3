//! What the tests need of the kernel and no library offers safely.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A copy that programs inherit.
pub(crate) fn inheritable(file: &File) -> OwnedFd {
    // SAFETY: dup takes a number and returns a new one, which nobody else owns.
    unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) }
}

/// Makes the system call `number` without arguments and returns its error.
pub(crate) fn call(number: i64) -> i32 {
    // SAFETY: the tests pass numbers that no kernel has.
    let result = unsafe { libc::syscall(number as libc::c_long) };
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// A mount namespace of this process's own: what a failed test leaves mounted goes with it.
pub(crate) fn own_mounts() {
    use rustix::mount::{MountPropagationFlags as Propagation, mount_change};
    // SAFETY: integers only; no thread shares what is changed.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    mount_change("/", Propagation::PRIVATE | Propagation::REC).unwrap();
}

/// A mount namespace of this process's own in which everything is shared, and `folder` a mount.
pub(crate) fn own_shared_mounts(folder: &Path) {
    use rustix::mount::{MountPropagationFlags as Propagation, mount_bind, mount_change};
    own_mounts();
    mount_bind(folder, folder).unwrap();
    mount_change("/", Propagation::SHARED | Propagation::REC).unwrap();
}

/// And so does every copy.
pub(crate) fn fork_for_ever() -> ! {
    loop {
        // SAFETY: the process has one thread, and does nothing else.
        unsafe { libc::fork() };
    }
}

/// Runs `child` in a fork and returns its number.
pub(crate) fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: a test's process has one thread, so the copy may do everything.
    match unsafe { libc::fork() } {
        0 => {
            child();
            // SAFETY: takes an integer; the copy's destructors are the original's business.
            unsafe { libc::_exit(0) }
        }
        pid => pid,
    }
}

/// Takes everything from this process that is root's.
pub(crate) fn become_user(number: u32) {
    // SAFETY: integers, and an empty list; no thread shares what is changed.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(number, number, number), 0);
        assert_eq!(libc::setresuid(number, number, number), 0);
    }
}

/// A user namespace of this process's own, and the mounts in it.
pub(crate) fn own_users() {
    // SAFETY: integers only; no thread shares what is changed.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }, 0);
}
