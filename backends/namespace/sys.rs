//! The system calls that neither rustix nor nix offer safely. Each is one call, without allocation, so that all of
//! them may be used between clone and exec.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::{Errno, Result};

use super::scheduling::{Policy, Processors};

fn check(result: c_long) -> Result<c_long> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(nix::errno::Errno::last_raw())
}

fn pointer(text: Option<&CStr>) -> *const c_char {
    text.map_or(ptr::null(), CStr::as_ptr)
}

/// mount(2) with its raw flags.
pub(super) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: c_ulong,
    data: Option<&CStr>,
) -> Result<()> {
    // SAFETY: every pointer is null or a C string that outlives the call; mount(2) only reads them.
    let result = unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(fstype), flags, pointer(data).cast()) };
    check(c_long::from(result)).map(drop)
}

/// Enters the namespaces that `fd` names: one of /proc/PID/ns, or several by a pidfd and flags (5.8).
pub(super) fn setns(fd: impl AsFd, kinds: c_int) -> Result<()> {
    // SAFETY: takes no pointers. The process has one thread, so no other one sees its namespaces change.
    check(c_long::from(unsafe { libc::setns(fd.as_fd().as_raw_fd(), kinds) })).map(drop)
}

pub(crate) fn unshare(kinds: c_int) -> Result<()> {
    // SAFETY: takes no pointers. `kinds` holds CLONE_NEW* only, never CLONE_FILES, so descriptors stay as they are.
    check(c_long::from(unsafe { libc::unshare(kinds) })).map(drop)
}

/// prctl(2) with plain numbers.
pub(super) fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> Result<c_int> {
    let zero: c_ulong = 0;
    // SAFETY: only called with options whose arguments are numbers; no pointer is passed.
    check(c_long::from(unsafe { libc::prctl(option, a, b, zero, zero) })).map(|value| value as c_int)
}

pub(super) fn personality(persona: c_ulong) -> Result<()> {
    // SAFETY: takes no pointers.
    check(c_long::from(unsafe { libc::personality(persona) })).map(drop)
}

/// Whether a filter around this process (Docker's, of its containers) keeps it from keyrings.
pub(crate) fn keyrings_are_forbidden() -> bool {
    const KEYCTL_GET_KEYRING_ID: libc::c_int = 0;
    const KEY_SPEC_SESSION_KEYRING: libc::c_int = -3;
    // SAFETY: integers only; nothing is made.
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) };
    check(answer) == Err(Errno::PERM)
}

/// A new anonymous session keyring, so that the caller's keys are out of reach.
pub(super) fn join_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) }).map(drop)
}

/// Default dispositions for all signals, and none blocked.
pub(crate) fn reset_signals() {
    // The kernel's `struct sigaction` has other fields on each architecture, but all zero is SIG_DFL without flags or
    // mask on each, and none is larger.
    let default = [0_u64; 8];
    const SET_SIZE: usize = size_of::<u64>();
    for signal in 1..=64 {
        // SAFETY: the kernel reads less than is there, and the default action runs no code of ours. Not by libc, which
        // keeps two numbers for itself; the answer for those that cannot be set is of no interest.
        unsafe {
            let none = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal as c_int, default.as_ptr(), none, SET_SIZE);
        }
    }
    // SAFETY: `none` is initialised by sigemptyset before it is read; the old mask is not asked for.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Writing to a pipe that nobody reads is an error and not a signal.
pub(super) fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Makes `fd` the descriptor `number`, not close-on-exec.
pub(crate) fn install(fd: BorrowedFd<'_>, number: c_int) -> Result<()> {
    // SAFETY: 0, 1 and 2 belong to nobody in the child; plans see to it that no descriptor of theirs is among them.
    check(c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// Waits for what the other end of the pipe `number` does: true when it is closed without a word.
pub(crate) fn hears_the_end(number: c_int) -> bool {
    // SAFETY: the caller has put the pipe there, and nothing else uses the number meanwhile.
    let pipe = unsafe { BorrowedFd::borrow_raw(number) };
    let mut word = [0; 1];
    matches!(rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut word)), Ok(0))
}

/// Waits for the lock of the file `number`: false when that has no name any more.
pub(crate) fn locks_what_is_there(number: c_int) -> bool {
    // SAFETY: as above.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    let locked = rustix::io::retry_on_intr(|| rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive));
    locked.is_ok() && rustix::fs::fstat(file).is_ok_and(|found| found.st_nlink > 0)
}

/// Arguments or environment in execve's form. Built before the clone; the strings live as long as it does.
pub(crate) struct Strings {
    _owned: Vec<std::ffi::CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    pub(crate) fn new(owned: Vec<std::ffi::CString>) -> Self {
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Self { _owned: owned, pointers }
    }
}

/// Children go when they end; nobody waits for them (SIGCHLD of sigaction(2)).
pub(super) fn ignore_children() {
    // SAFETY: the action runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Returns only if the program could not be executed.
pub(crate) fn execve(path: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: both arrays end in null and point to C strings that `Strings` owns.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_errno()
}

/// Ends the process at once: no exit handlers, no flushing of buffers that belong to the parent.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: _exit takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` up: close_range (5.9), else one by one as `listed`, /proc/self/fd of this
/// process, has them. Without both they stay until exec.
pub(crate) fn close_from(first: c_int, listed: Option<OwnedFd>) -> Result<()> {
    const SYS_CLOSE_RANGE: c_long = 436;
    if !berth_arch::pretend::without("close_range") {
        // SAFETY: only called right before exec, when no owned descriptor above `first` is used any more.
        let closed = unsafe { libc::syscall(SYS_CLOSE_RANGE, first as libc::c_uint, libc::c_uint::MAX, 0) };
        if closed == 0 {
            std::mem::forget(listed);
            return Ok(());
        }
    }
    let list = listed.ok_or(Errno::NOSYS)?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 2048];
    let mut entries = rustix::fs::RawDir::new(list.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse::<c_int>().ok());
        if let Some(number) = number.filter(|&number| number >= first && number != list.as_raw_fd()) {
            // SAFETY: as above; the list itself is closed last, by its owner.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Makes `fd` the close-on-exec descriptor `number` too, whatever that was before.
pub(super) fn install_cloexec(fd: BorrowedFd<'_>, number: c_int) -> Result<OwnedFd> {
    if fd.as_raw_fd() != number {
        // SAFETY: only called right before exec, when nothing else uses what `number` was.
        check(c_long::from(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) }))?;
    }
    // SAFETY: `number` is open, and nothing in this process closes it again before it execs or exits.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the working directory is below the root: a magic link may have led elsewhere.
pub(super) fn working_directory_is_inside() -> bool {
    let mut path = [0_u8; 4096];
    // SAFETY: the kernel writes at most the size that it is told.
    let result = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    // The kernel writes "(unreachable)" before one that is not.
    result < 0 && last_errno() == Errno::NAMETOOLONG || path[0] == b'/'
}

pub(super) fn set_io_priority(priority: c_int) -> Result<()> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: takes no pointers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}

/// sched_setattr(2) (3.14) for this process.
pub(super) fn set_scheduler(policy: &Policy) -> Result<()> {
    // SAFETY: the kernel reads as much as the structure says that it has.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(policy), 0) }).map(drop)
}

/// sched_setaffinity(2) for this process.
pub(super) fn set_processors(set: &Processors) -> Result<()> {
    // SAFETY: the size is that of the set, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&set.0), set.0.as_ptr()) }).map(drop)
}

/// Sets the loopback device of the present network namespace up; the kernel then gives it its addresses.
pub(super) fn start_loopback() -> Result<()> {
    // netdevice(7): these calls work on a socket of any family, and a kernel has this one surely.
    let family = rustix::net::AddressFamily::UNIX;
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, rustix::net::SocketType::DGRAM, flags, None)?;
    // SAFETY: all zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as c_char, b'o' as c_char]);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    check(c_long::from(result)).map(drop)
}

pub(super) fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length belong together; the call only reads.
    check(c_long::from(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })).map(drop)
}

pub(super) fn setdomainname(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length belong together; the call only reads.
    check(c_long::from(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })).map(drop)
}

/// TIOCGPTN: the number of a pseudo-terminal.
pub(super) fn terminal_number(controlling: BorrowedFd<'_>) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the kernel writes one unsigned int.
    let result = unsafe { libc::ioctl(controlling.as_raw_fd(), libc::TIOCGPTN, &mut number) };
    check(c_long::from(result)).map(|_| number)
}

/// Closes a descriptor of which another process has the original.
pub(super) fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: only called in a cloned child, which neither uses nor drops the value that owns the number: it ends
    // by exec or _exit.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// mount_setattr(2) (5.12) on the mount that `fd` names, attached or not.
pub(crate) fn set_read_only(fd: impl AsFd) -> Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    set_mount_attributes(fd, libc::AT_EMPTY_PATH, [MOUNT_ATTR_RDONLY, 0, 0, 0])
}

/// As [`set_read_only`], for the owners of what the mount shows, which is attached nowhere; `below`: of all mounts below it.
pub(super) fn map_owners(fd: impl AsFd, namespace: BorrowedFd<'_>, below: bool) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let flags = libc::AT_EMPTY_PATH | if below { AT_RECURSIVE } else { 0 };
    set_mount_attributes(fd, flags, [MOUNT_ATTR_IDMAP, 0, 0, namespace.as_raw_fd() as u64])
}

const AT_RECURSIVE: c_int = 0x8000;

/// `attributes` is `struct mount_attr` of linux/mount.h: set, clear, propagation, user namespace; the same on every architecture.
fn set_mount_attributes(fd: impl AsFd, flags: c_int, attributes: [u64; 4]) -> Result<()> {
    const SYS_MOUNT_SETATTR: c_long = 442;
    // SAFETY: the path is a C string, and the attributes are as long as the size that is passed with them.
    let result = unsafe {
        libc::syscall(
            SYS_MOUNT_SETATTR,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    check(result).map(drop)
}
