//! The system calls that only a monitor needs and that the wrappers lack.
#![allow(unsafe_code)]

/// close_range(2); the same number on every architecture.
const SYS_CLOSE_RANGE: libc::c_long = 436;

/// Closes every descriptor from 3 up. Only for the first act of a process: whoever owned one of them would be left
/// with a number that is somebody else's.
pub(crate) fn close_inherited() {
    if !berth_arch::pretend::without("close_range") {
        // SAFETY: integers only. Nothing in this process has opened a descriptor yet, so nobody owns what is closed.
        if unsafe { libc::syscall(SYS_CLOSE_RANGE, 3, libc::c_uint::MAX, 0) } == 0 {
            return;
        }
    }
    let listed: Vec<i32> = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (3..1024).collect(),
    };
    for fd in listed.into_iter().filter(|&fd| fd > 2) {
        // SAFETY: as above; the descriptor of the listing itself is closed by now, and EBADF is harmless.
        unsafe { libc::close(fd) };
    }
}

/// The number of a child that has ended and is not yet waited for; it stays so.
pub(crate) fn ended_child() -> Option<i32> {
    // SAFETY: all zeroes are a valid siginfo_t, which is plain data.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a siginfo_t of our own that outlives the call.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) } != 0 {
        return None;
    }
    // SAFETY: waitid fills in the fields of SIGCHLD, or leaves zeroes when no child has ended.
    let pid = unsafe { info.si_pid() };
    (pid != 0).then_some(pid)
}
