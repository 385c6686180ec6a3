//! Children for trials: what a probe must not do to this process, a copy of it does and ends.
//!
//! Only probes that say "Forks" use them. The child has one thread and this process's memory at that moment, so
//! it makes system calls and nothing else.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use crate::sys;

/// clone(2) as fork. Namespaces are left afterwards, not made with it: programs under qemu-user can do only that.
///
/// # Safety
/// In the child (0) only system calls may be made, and it must end with `_exit`: other threads may have held
/// locks of the allocator or of the C library when it was made (rustix runtime.rs, `kernel_fork`).
unsafe fn fork() -> Result<i32, Errno> {
    let flags = libc::c_long::from(libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack the child goes on on a copy of this stack; the other
    // arguments are unused without their flags, in whatever order the architecture has them.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(last_error()),
        pid => i32::try_from(i128::from(pid)).map_err(|_| Errno::OVERFLOW),
    }
}

fn last_error() -> Errno {
    // SAFETY: errno's address is valid for this thread as long as it runs.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Waits for a child that `fork` made; its exit code.
fn wait(pid: i32) -> Result<i32, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the status is written to a variable of ours.
        match unsafe { libc::waitpid(pid, &raw mut status, 0) } {
            -1 if last_error() == Errno::INTR => {}
            -1 => return Err(last_error()),
            _ if libc::WIFEXITED(status) => return Ok(libc::WEXITSTATUS(status)),
            _ => return Err(Errno::CANCELED),
        }
    }
}

/// Runs `body` in a child that has unshared `flags` (CLONE_NEW*), and returns what it returned. `body` makes system
/// calls only. Error numbers fit an exit code: the highest is 133.
pub(crate) fn in_child(flags: i32, body: fn() -> Result<(), Errno>) -> Result<(), Errno> {
    // SAFETY: `body` makes system calls only, by this function's contract, and `_exit` ends the child.
    let pid = unsafe { fork()? };
    if pid == 0 {
        let code = sys::unshare(flags).and_then(|()| body()).map_or_else(Errno::raw_os_error, |()| 0);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) }
    }
    match wait(pid)? {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code)),
    }
}

/// A child in namespaces of its own that waits until this is dropped, or this process has ended.
pub(crate) struct Waiting {
    pid: i32,
    end: Option<OwnedFd>,
}

impl Waiting {
    pub(crate) fn unshare(flags: i32) -> Result<Self, Errno> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ((end_reader, end), (answer, answer_writer)) = (pipe()?, pipe()?);
        // SAFETY: the child makes system calls only, and `_exit` ends it.
        let pid = unsafe { fork()? };
        if pid == 0 {
            let mut byte = [sys::unshare(flags).map_or_else(|error| error.raw_os_error() as u8, |()| 0)];
            // SAFETY: the child's own copy of the descriptor, which nobody closes again: nothing is dropped here.
            unsafe { libc::close(end.as_raw_fd()) };
            let _ = rustix::io::write(&answer_writer, &byte);
            let _ = rustix::io::read(&end_reader, &mut byte);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        drop(answer_writer);
        let child = Self { pid, end: Some(end) };
        let mut byte = [0];
        match rustix::io::read(&answer, &mut byte)? {
            1 if byte == [0] => Ok(child),
            1 => Err(Errno::from_raw_os_error(byte[0].into())),
            _ => Err(Errno::CANCELED),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end.take();
        let _ = wait(self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_reports_its_error_number() {
        assert_eq!(in_child(0, || Ok(())), Ok(()));
        assert_eq!(in_child(0, || Err(Errno::HOSTUNREACH)), Err(Errno::HOSTUNREACH));
    }

    #[test]
    fn what_a_child_does_stays_with_it() {
        assert_eq!(in_child(0, || rustix::process::chdir(c"/proc")), Ok(()));
        assert_ne!(std::env::current_dir().unwrap(), std::path::Path::new("/proc"));
    }

    #[test]
    fn a_waiting_child_ends_with_its_holder() {
        let child = Waiting::unshare(0).unwrap();
        let pid = child.pid();
        assert!(crate::process::Process::open(pid, None).unwrap().is_alive());
        drop(child);
        assert!(crate::process::Process::open(pid, None).is_err());
    }
}
