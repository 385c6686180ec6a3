//! The few system calls that rustix lacks, or for which it needs `unsafe` itself. Each is a thin shim: numbers
//! and pointers are made and judged here and nowhere else.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The kernel's numbers above 423 are the same on every architecture that berth is made for.
const SYS_PIDFD_SEND_SIGNAL: libc::c_long = 424;
const SYS_CLONE3: u32 = 435;
const SYS_CLOSE_RANGE: libc::c_long = 436;
const SYS_MOUNT_SETATTR: libc::c_long = 442;

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

fn check(refused: bool) -> Result<(), Errno> {
    if !refused {
        return Ok(());
    }
    // SAFETY: errno's address is valid for this thread as long as it runs.
    Err(Errno::from_raw_os_error(unsafe { *libc::__errno_location() }))
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC (5.11), from `first` to the highest.
pub(crate) fn close_range_cloexec(first: u32) -> Result<(), Errno> {
    // SAFETY: three integers; only a descriptor flag is changed, so no owned descriptor becomes invalid.
    check(unsafe { libc::syscall(SYS_CLOSE_RANGE, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) } < 0)
}

/// close_range(2) (5.9), from `first` to the highest. Only for the first act of a process: whoever owned one of them would
/// be left with a number that is somebody else's.
pub(crate) fn close_range(first: u32) -> Result<(), Errno> {
    // SAFETY: integers only; by the contract nobody owns what is closed.
    check(unsafe { libc::syscall(SYS_CLOSE_RANGE, first, libc::c_uint::MAX, 0) } < 0)
}

/// As [`close_range`], for one.
pub(crate) fn close(fd: i32) {
    // SAFETY: an integer; as above. EBADF is harmless.
    unsafe { libc::close(fd) };
}

/// FD_CLOEXEC by number; EBADF if there is no such descriptor.
pub(crate) fn set_cloexec(fd: i32) -> Result<(), Errno> {
    // SAFETY: integers only; FD_CLOEXEC takes nothing from an owner of the descriptor.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0)
}

/// kill(2) with any number, real-time signals and 0 included.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::kill(pid, signal) } < 0)
}

/// PTRACE_DETACH of a child that is stopped with `status` (wait(2)), which gets the signal that it stopped for; but not
/// the SIGTRAP of an exec, which only the traced have.
pub(crate) fn let_go(pid: i32, status: i32) {
    let signal = match libc::WSTOPSIG(status) {
        libc::SIGTRAP => 0,
        signal => signal as usize,
    };
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: no memory of either process is touched; ESRCH if it is not this process's to let go.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, none, signal) };
}

/// pidfd_send_signal(2) (5.1).
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no siginfo is passed, which the kernel allows; the descriptor is borrowed for the call.
    check(unsafe { libc::syscall(SYS_PIDFD_SEND_SIGNAL, pidfd.as_raw_fd(), signal, none, 0) } < 0)
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) (5.12).
fn mount_setattr(fd: i32, path: &CStr, flags: u32, attributes: &MountAttr) -> Result<(), Errno> {
    if crate::pretend::without("mount-api") {
        return Err(Errno::NOSYS);
    }
    let (path, pointer) = (path.as_ptr(), std::ptr::from_ref(attributes));
    // SAFETY: the path is NUL-terminated, the structure has the size that is given, and both outlive the call.
    check(unsafe { libc::syscall(SYS_MOUNT_SETATTR, fd, path, flags, pointer, size_of::<MountAttr>()) } < 0)
}

/// The mount at `target` and all below it become read-only. ENOSYS before 5.12.
pub(crate) fn mount_set_read_only_below(target: &CStr) -> Result<(), Errno> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const AT_RECURSIVE: u32 = 0x8000;
    let attributes = MountAttr { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, userns_fd: 0 };
    mount_setattr(libc::AT_FDCWD, target, AT_RECURSIVE, &attributes)
}

/// Maps a detached mount by a user namespace.
pub(crate) fn mount_set_idmap(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    if crate::pretend::without("idmap") {
        return Err(Errno::NOSYS);
    }
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    const AT_EMPTY_PATH: u32 = 0x1000;
    let userns_fd = u64::from(namespace.as_raw_fd().unsigned_abs());
    let attributes = MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns_fd };
    mount_setattr(tree.as_raw_fd(), c"", AT_EMPTY_PATH, &attributes)
}

/// How the kernel refuses an unknown flag: EINVAL if it has the call.
pub(crate) fn mount_setattr_with_nothing() -> Errno {
    let attributes = MountAttr { set: u64::MAX, clear: 0, propagation: 0, userns_fd: 0 };
    mount_setattr(-1, c"", u32::MAX, &attributes).err().unwrap_or(Errno::INVAL)
}

/// How the kernel refuses clone3(2) with arguments of size 0: EINVAL if it has the call (5.3).
pub(crate) fn clone3_with_nothing() -> Errno {
    refusal(SYS_CLONE3, [0; 5])
}

/// How a system call is refused whose arguments the kernel refuses before it does anything: EINVAL if it has the call.
pub(crate) fn refusal(number: u32, [a, b, c, d, e]: [isize; 5]) -> Errno {
    // SAFETY: callers give arguments that mean nothing; pointers among them are null, which the kernel checks.
    let answer = unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e) };
    check(answer < 0).err().unwrap_or(Errno::PERM)
}

/// A seccomp filter that answers ENOSYS to these calls of this ABI, for this process and what it starts; EACCES without
/// CAP_SYS_ADMIN, as no promise is made about new privileges.
pub(crate) fn answer_nosys_to(calls: &[RangeInclusive<u32>]) -> Result<(), Errno> {
    const LOAD: u16 = 0x20; // LD | W | ABS
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_ABOVE: u16 = 0x25;
    const JUMP_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    // linux/seccomp.h: offsets in struct seccomp_data.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![
        step(LOAD, ARCHITECTURE, 0, 0),
        step(JUMP_EQUAL, crate::cpu::native_abis()[0].audit_arch, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(LOAD, NUMBER, 0, 0),
    ];
    for call in calls {
        filter.push(step(JUMP_AT_LEAST, *call.start(), 0, 2));
        filter.push(step(JUMP_ABOVE, *call.end(), 1, 0));
        filter.push(step(RETURN, refuse, 0, 0));
    }
    filter.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: the kernel copies the instructions, which outlive the call.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } < 0)
}

/// setfsuid(2): what it was before. A number that is not taken changes nothing, and is not told.
pub(crate) fn set_fs_user(user: u32) -> u32 {
    // SAFETY: an integer; the thread's own rights change, and no memory.
    unsafe { libc::setfsuid(user) }.cast_unsigned()
}

/// setfsgid(2), as above.
pub(crate) fn set_fs_group(group: u32) -> u32 {
    // SAFETY: as above.
    unsafe { libc::setfsgid(group) }.cast_unsigned()
}

/// unshare(2), for a child that makes a trial or a test's own thread.
pub(crate) fn unshare(flags: i32) -> Result<(), Errno> {
    // SAFETY: an integer; callers are children or threads that part with the others on purpose.
    check(unsafe { libc::unshare(flags) } < 0)
}

/// How the kernel refuses a seccomp filter at address 0: EFAULT if it has filters (prctl(2)).
pub(crate) fn seccomp_filter_from_nowhere() -> Errno {
    let (mode, none) = (libc::c_ulong::from(libc::SECCOMP_MODE_FILTER), std::ptr::null::<libc::sock_fprog>());
    // SAFETY: the kernel reads the filter with its checked copy, which fails for a null pointer; nothing is set.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, none) } < 0).err().unwrap_or(Errno::INVAL)
}

/// SECCOMP_GET_ACTION_AVAIL (4.14).
pub(crate) fn seccomp_has_action(action: u32) -> Result<(), Errno> {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    // SAFETY: the kernel reads four bytes, which outlive the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) } < 0)
}

/// A mount namespace for the calling thread alone, nothing of which reaches the others; for tests.
#[cfg(test)]
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    unshare(libc::CLONE_NEWNS)?;
    crate::mount::make_rprivate(c"/")
}
