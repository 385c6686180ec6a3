//! The clone itself: `clone3`, else `clone`.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd};

use berth_arch::pretend;
use rustix::io::{Errno, Result};

/// The same on every architecture (include/uapi/asm-generic/unistd.h).
const SYS_CLONE3: c_long = 435;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of linux/sched.h, version 2 (5.7).
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What a clone that entered the group by itself saves the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    Yes,
    No,
}

/// A copy of this process in new namespaces (CLONE_NEW* and CLONE_PARENT in `flags`), which runs `child` and then
/// exits. `group` is entered on the way where the kernel can; the child is told. Returns the copy's number.
///
/// The copy may only make system calls: another thread may have held any lock, and what it buffers is the parent's.
pub(crate) fn spawn(flags: c_int, group: Option<BorrowedFd<'_>>, child: impl FnOnce(Entered)) -> Result<i32> {
    if !pretend::without("clone3") {
        let tries = if group.is_some() { [Entered::Yes, Entered::No].as_slice() } else { &[Entered::No] };
        for &entered in tries {
            match clone3(flags, group.filter(|_| entered == Entered::Yes)) {
                Ok(0) => run(child, entered),
                // Without the call, under a seccomp filter, or with a group that takes no processes that way.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG | Errno::BUSY | Errno::OPNOTSUPP) => {}
                answer => return answer,
            }
        }
    }
    match clone(flags, exit_signal(flags)) {
        Ok(0) => run(child, Entered::No),
        answer => answer,
    }
}

/// As [`spawn`], of a child that sends no signal when it ends: wait(2) does not know it unless it is told to (__WCLONE).
pub(super) fn spawn_unseen(child: impl FnOnce()) -> Result<i32> {
    match clone(0, 0) {
        Ok(0) => run(|_| child(), Entered::No),
        answer => answer,
    }
}

/// With CLONE_PARENT the copy has the exit signal of the caller.
fn exit_signal(flags: c_int) -> c_int {
    if flags & libc::CLONE_PARENT == 0 { libc::SIGCHLD } else { 0 }
}

fn run(child: impl FnOnce(Entered), entered: Entered) -> ! {
    child(entered);
    super::sys::exit(1)
}

fn clone3(flags: c_int, group: Option<BorrowedFd<'_>>) -> Result<i32> {
    let mut arguments =
        CloneArgs { flags: u64::from(flags as u32), exit_signal: exit_signal(flags) as u64, ..CloneArgs::default() };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork: the copy has its own memory and goes on with its own copy of this
    // stack. The arguments have the kernel's layout and their size is passed with them.
    let result = unsafe { libc::syscall(SYS_CLONE3, std::ptr::from_ref(&arguments), size_of::<CloneArgs>()) };
    number(result)
}

fn clone(flags: c_int, signal: c_int) -> Result<i32> {
    let none = std::ptr::null_mut::<c_int>();
    // SAFETY: as above, a fork. A null stack means the same stack in a copy; the three pointers are not looked at
    // without their flags, so their order, which differs between architectures, does not matter.
    let result = unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags | signal), none, none, none, none) };
    number(result)
}

#[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
fn number(result: c_long) -> Result<i32> {
    if result < 0 {
        return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
    }
    Ok(result as i32)
}

/// Kills and reaps a child that has not become what it should.
pub(crate) fn end(pid: i32) {
    // SAFETY: integers only; the child has not been reaped, so the number is still its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let _ = berth_arch::process::wait(pid);
}
