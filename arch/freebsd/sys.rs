//! The system calls of FreeBSD that rustix lacks, or for which it needs `unsafe` itself: sysctl(3), kqueue(2) for the end of a
//! process, kill(2).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;

pub(super) fn last_error() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// The raw value; `None` if there is none of that name, or if it is not for this user to read.
pub(super) fn sysctl(name: &str) -> Option<Vec<u8>> {
    let name = CString::new(name).ok()?;
    let mut length = 0;
    // SAFETY: the name ends with NUL; without a buffer only the length is written.
    if unsafe { libc::sysctlbyname(name.as_ptr(), ptr::null_mut(), &raw mut length, ptr::null(), 0) } != 0 {
        return None;
    }
    let mut value = vec![0u8; length];
    // SAFETY: the buffer has the length that is given, and both outlive the call.
    let answer =
        unsafe { libc::sysctlbyname(name.as_ptr(), value.as_mut_ptr().cast(), &raw mut length, ptr::null(), 0) };
    value.truncate(length);
    (answer == 0).then_some(value)
}

/// The kernel's record of processes: `what` and `argument` as in sysctl(3), KERN_PROC. What ends meanwhile is left out.
pub(super) fn processes(what: i32, argument: i32) -> Result<Vec<libc::kinfo_proc>, Errno> {
    const SIZE: usize = size_of::<libc::kinfo_proc>();
    let mib = [libc::CTL_KERN, libc::KERN_PROC, what, argument];
    loop {
        let mut length = 0;
        // SAFETY: four numbers; without a buffer only the length is written.
        if unsafe { libc::sysctl(mib.as_ptr(), 4, ptr::null_mut(), &raw mut length, ptr::null(), 0) } != 0 {
            return Err(last_error());
        }
        // Room for some that are started meanwhile.
        let count = length / SIZE + 16;
        let mut found: Vec<libc::kinfo_proc> = Vec::with_capacity(count);
        length = count * SIZE;
        // SAFETY: the vector has room for the bytes that are given as its length.
        if unsafe { libc::sysctl(mib.as_ptr(), 4, found.as_mut_ptr().cast(), &raw mut length, ptr::null(), 0) } == 0 {
            // SAFETY: the kernel wrote that many whole records (ki_structsize is checked by whoever reads them).
            unsafe { found.set_len(length / SIZE) };
            // A kernel whose records have another size is not understood.
            let whole = found.iter().all(|process| usize::try_from(process.ki_structsize) == Ok(SIZE));
            return if whole { Ok(found) } else { Err(Errno::NOTSUP) };
        }
        match last_error() {
            Errno::NOMEM => {}
            error => return Err(error),
        }
    }
}

/// A queue that becomes readable when the process `pid` has ended (kqueue(2), EVFILT_PROC). ESRCH if there is none.
pub(super) fn watch_exit(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no argument; the descriptor is a new one that nobody else owns.
    let queue = unsafe {
        match libc::kqueue() {
            -1 => return Err(last_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    rustix::io::fcntl_setfd(&queue, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: a record of numbers and one pointer, for which zero is a value.
    let mut change: libc::kevent = unsafe { MaybeUninit::zeroed().assume_init() };
    change.ident = usize::try_from(pid).map_err(|_| Errno::SRCH)?;
    change.filter = libc::EVFILT_PROC;
    change.flags = libc::EV_ADD;
    change.fflags = libc::NOTE_EXIT;
    // SAFETY: one change is read and no event is written; both outlive the call.
    match unsafe { libc::kevent(queue.as_raw_fd(), &raw const change, 1, ptr::null_mut(), 0, ptr::null()) } {
        -1 => Err(last_error()),
        _ => Ok(queue),
    }
}

/// Whether the queue has something to say.
pub(super) fn is_readable(queue: BorrowedFd<'_>) -> bool {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(queue, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(1))
}

/// kill(2) with any number, real-time signals and 0 included.
pub(super) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    match unsafe { libc::kill(pid, signal) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}
