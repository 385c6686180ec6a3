//! FreeBSD's system calls for jails, limits and what a program's process does before it is executed. All that is
//! `unsafe` in this backend is here; mounts are in `arch`.
//!
//! What is meant for the time between fork and exec says so: it makes system calls and nothing else.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use berth_arch::pairs::{Call, Pairs, Refused};
use rustix::io::Errno;

use super::parameters::{Parameters, Value};
use super::program::Limit;

unsafe extern "C" {
    /// rctl_add_rule(2); all four have the same form.
    fn rctl_add_rule(rule: *const c_char, length: usize, out: *mut c_char, room: usize) -> c_int;
    fn rctl_remove_rule(filter: *const c_char, length: usize, out: *mut c_char, room: usize) -> c_int;
    fn rctl_get_racct(filter: *const c_char, length: usize, out: *mut c_char, room: usize) -> c_int;
}

fn last_error() -> Errno {
    // SAFETY: errno's address is valid for this thread as long as it runs.
    Errno::from_raw_os_error(unsafe { *libc::__error() })
}

fn check(answer: c_int) -> Result<c_int, Errno> {
    if answer < 0 { Err(last_error()) } else { Ok(answer) }
}

/// jail_set(2) with JAIL_CREATE; the jail's number. EEXIST if there is one of that name.
pub(super) fn jail_create(parameters: &Parameters) -> Result<i32, Refused> {
    let mut pairs = Pairs::default();
    for (name, value) in parameters.iter() {
        match value {
            Value::Text(text) => pairs.text(name, text.as_bytes())?,
            Value::Number(number) => pairs.push(name, number.to_ne_bytes().to_vec())?,
            Value::Set => pairs.push(name, Vec::new())?,
            Value::Share(share) => pairs.push(name, (*share as c_int).to_ne_bytes().to_vec())?,
            Value::Addresses4(list) => pairs.push(name, list.iter().flat_map(|one| one.octets()).collect())?,
            Value::Addresses6(list) => pairs.push(name, list.iter().flat_map(|one| one.octets()).collect())?,
        }
    }
    pairs.call(Call::JailSet, libc::JAIL_CREATE)
}

/// The number of the jail of that name and the path of its root, while it exists (jail_get(2)).
pub(super) fn jail_find(name: &str) -> Result<(i32, PathBuf), Refused> {
    let mut pairs = Pairs::default();
    pairs.text("name", name.as_bytes())?;
    pairs.push("path", vec![0; libc::PATH_MAX as usize])?;
    let number = pairs.call(Call::JailGet, 0)?;
    let path = pairs.get(c"path").and_then(|path| CStr::from_bytes_until_nul(path).ok()).ok_or(Errno::NAMETOOLONG)?;
    Ok((number, PathBuf::from(OsStr::from_bytes(path.to_bytes()))))
}

/// jail_remove(2): kills what is left in it. EINVAL if there is no such jail.
pub(super) fn jail_remove(jail: i32) -> Result<(), Errno> {
    // SAFETY: an integer.
    check(unsafe { libc::jail_remove(jail) }).map(drop)
}

/// jail_attach(2), for a child: its root and working directory are the jail's then. A system call only.
pub(super) fn jail_attach(jail: i32) -> Result<(), Errno> {
    // SAFETY: an integer.
    check(unsafe { libc::jail_attach(jail) }).map(drop)
}

/// ENOSYS without `kern.racct.enable`.
pub(super) fn add_rule(rule: &str) -> Result<(), Errno> {
    let rule = CString::new(rule).map_err(|_| Errno::INVAL)?;
    // SAFETY: the rule and its length with the NUL; the second buffer is unused (rctl_add_rule(2)).
    check(unsafe { rctl_add_rule(rule.as_ptr(), rule.as_bytes_with_nul().len(), ptr::null_mut(), 0) }).map(drop)
}

/// ESRCH if none is like that.
pub(super) fn remove_rules(filter: &str) -> Result<(), Errno> {
    let filter = CString::new(filter).map_err(|_| Errno::INVAL)?;
    // SAFETY: as in `add_rule`.
    check(unsafe { rctl_remove_rule(filter.as_ptr(), filter.as_bytes_with_nul().len(), ptr::null_mut(), 0) }).map(drop)
}

/// What the subject uses, as text.
pub(super) fn used(filter: &str) -> Result<String, Errno> {
    let filter = CString::new(filter).map_err(|_| Errno::INVAL)?;
    let mut text = vec![0u8; 4096];
    let (out, room) = (text.as_mut_ptr().cast(), text.len());
    // SAFETY: both buffers have the lengths that are given, and outlive the call.
    check(unsafe { rctl_get_racct(filter.as_ptr(), filter.as_bytes_with_nul().len(), out, room) })?;
    let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::RANGE)?;
    Ok(text.to_string_lossy().into_owned())
}

/// cpuset_setaffinity(2) of all processes of a jail.
pub(super) fn set_processors(jail: i32, processors: &[usize]) -> Result<(), Errno> {
    // CPU_MAXSIZE of sys/_cpuset.h: 1024 bits since 14, 256 before, and the kernel wants the size of its own set.
    let mut mask = [0u64; 16];
    for &processor in processors {
        *mask.get_mut(processor / 64).ok_or(Errno::INVAL)? |= 1 << (processor % 64);
    }
    let (level, which) = (libc::CPU_LEVEL_WHICH, libc::CPU_WHICH_JAIL);
    let set = |bytes: usize| {
        // SAFETY: the mask has at least that many bytes, is aligned as the kernel's longs are, and is only read.
        check(unsafe { libc::cpuset_setaffinity(level, which, jail.into(), bytes, mask.as_ptr().cast()) }).map(drop)
    };
    match set(size_of_val(&mask)) {
        Err(Errno::RANGE) if mask[4..].iter().all(|&word| word == 0) => set(32),
        answer => answer,
    }
}

/// Whether the kernel can keep a process from getting privileges (procctl(2), PROC_NO_NEW_PRIVS_STATUS).
pub(super) fn has_no_new_privileges() -> bool {
    let mut status: c_int = 0;
    procctl(libc::PROC_NO_NEW_PRIVS_STATUS, &mut status).is_ok()
}

/// Of this process. A system call only.
fn procctl(command: c_int, argument: &mut c_int) -> Result<(), Errno> {
    let argument = ptr::from_mut(argument).cast::<c_void>();
    // SAFETY: the commands that are used here take one integer; 0 is this process.
    check(unsafe { libc::procctl(libc::P_PID, 0, command, argument) }).map(drop)
}

/// This process gets no privileges by executing something. A system call only.
pub(super) fn no_new_privileges() -> Result<(), Errno> {
    procctl(libc::PROC_NO_NEW_PRIVS_CTL, &mut { libc::PROC_NO_NEW_PRIVS_ENABLE })
}

/// This process gets `signal` when its parent ends. A system call only.
pub(super) fn die_with_parent(signal: i32) -> Result<(), Errno> {
    procctl(libc::PROC_PDEATHSIG_CTL, &mut { signal })
}

/// fork(2), for a process with one thread. `child` runs in the child and makes system calls only; when it returns, the child ends.
pub(super) fn fork(child: impl FnOnce()) -> Result<i32, Errno> {
    // SAFETY: the caller has one thread, and the child makes system calls only, by this function's contract.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        exit(127);
    }
    check(pid)
}

/// Closes a child's own copy of a descriptor of its parent's. A system call only.
pub(super) fn close(fd: BorrowedFd<'_>) {
    // SAFETY: the copy is the child's, which drops nothing and never uses its owner again.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Ends a child without running anything of its parent's. A system call only.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: ends this process.
    unsafe { libc::_exit(code) }
}

/// SIGKILL for every process that this one may signal, but itself (kill(2) of -1): in a jail, all of that. A system call only.
pub(super) fn kill_all() {
    // SAFETY: integers only.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Descriptors from `first` up go at the exec: where close_range(2) marks none (before 14), up to the limit one by one. System
/// calls only.
pub(super) fn cloexec_from(first: i32) {
    // SAFETY: three integers; only a descriptor flag is changed.
    if unsafe { libc::close_range(first.unsigned_abs(), u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int) } == 0 {
        return;
    }
    // SAFETY: no argument.
    let end = unsafe { libc::getdtablesize() };
    for fd in first..end {
        // SAFETY: integers only; FD_CLOEXEC takes nothing from an owner of the descriptor.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// dup2(2) onto a number that nobody owns in a child before exec. A system call only.
pub(super) fn install(fd: BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: what had the number belongs to the parent's side of this child, which ends or is executed without using it.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// The terminal behind `fd` is this session's. A system call only.
pub(super) fn take_terminal(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the request has no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Every signal as it is by default, and none blocked. System calls only.
pub(super) fn default_signals() {
    // SAFETY: records of numbers and a null handler, for which zero is a value (SIG_DFL is 0); refused numbers do not matter.
    unsafe {
        let action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        for signal in 1..=126 {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        let mut none: libc::sigset_t = MaybeUninit::zeroed().assume_init();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// setrlimit(2), where no limit is the highest number that is positive (RLIM_INFINITY). A system call only.
pub(super) fn set_limit(limit: &Limit) -> Result<(), Errno> {
    let value = |value: u64| i64::try_from(value).unwrap_or(i64::MAX) as libc::rlim_t;
    let pair = libc::rlimit { rlim_cur: value(limit.soft), rlim_max: value(limit.hard) };
    // SAFETY: the record outlives the call.
    check(unsafe { libc::setrlimit(limit.resource, &raw const pair) }).map(drop)
}

/// The groups, of which the first is the process's own, and then the user; the file mode mask. System calls only.
pub(super) fn become_user(user: u32, groups: &[u32], umask: u16) -> Result<(), Errno> {
    let group = groups.first().copied().ok_or(Errno::INVAL)?;
    // SAFETY: the list has the length that is given; the rest are integers.
    unsafe {
        libc::umask(umask);
        check(libc::setgroups(groups.len() as c_int, groups.as_ptr()))?;
        check(libc::setgid(group))?;
        check(libc::setuid(user)).map(drop)
    }
}

/// Words for execve(2): pointers to strings and a null pointer after them.
pub(super) struct Words {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl Words {
    pub(super) fn new(strings: &[CString]) -> Self {
        let strings = strings.to_vec();
        let pointers = strings.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// execve(2); returns only if it was refused. A system call only.
pub(super) fn execute(program: &CStr, arguments: &Words, environment: &Words) -> Errno {
    // SAFETY: both lists end with a null pointer, and their strings live beside them.
    unsafe { libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_error()
}
