//! The system calls that only a monitor needs and that the wrappers lack.
#![allow(unsafe_code)]

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
