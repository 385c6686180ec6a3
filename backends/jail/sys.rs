//! FreeBSD's system calls for jails, mounts, limits and what a program's process does before it is executed. All that is
//! `unsafe` in this backend is here. Constants that libc lacks are from the headers named beside them.
//!
//! What is meant for the time between fork and exec says so: it makes system calls and nothing else.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::ptr;

use rustix::io::Errno;

use super::parameters::{Parameters, Value};
use super::program::Limit;

/// sys/mount.h
const MNT_FORCE: c_int = 0x0008_0000;
/// Room for what the kernel says of a parameter (jail_set(2), nmount(2): `errmsg`).
const MESSAGE: usize = 256;

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

/// What the kernel refused, with its words if it had some.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) errno: Errno,
    pub(super) words: String,
}

impl From<Refused> for std::io::Error {
    fn from(refused: Refused) -> Self {
        let error = Self::from(refused.errno);
        if refused.words.is_empty() { error } else { Self::new(error.kind(), refused.words) }
    }
}

/// Names and values for jail_set(2) and nmount(2), which have the same form.
#[derive(Default)]
struct Pairs(Vec<(CString, Vec<u8>)>);

impl Pairs {
    fn push(&mut self, name: &str, value: Vec<u8>) -> Result<(), Errno> {
        self.0.push((CString::new(name).map_err(|_| Errno::INVAL)?, value));
        Ok(())
    }

    fn text(&mut self, name: &str, text: &[u8]) -> Result<(), Errno> {
        self.push(name, CString::new(text).map_err(|_| Errno::INVAL)?.into_bytes_with_nul())
    }

    /// Calls with all of them and room for the kernel's words.
    fn call(&mut self, call: impl FnOnce(*mut libc::iovec, u32) -> c_int) -> Result<c_int, Refused> {
        self.0.push((c"errmsg".to_owned(), vec![0; MESSAGE]));
        let mut vectors = Vec::with_capacity(self.0.len() * 2);
        for (name, value) in &mut self.0 {
            let name = name.as_bytes_with_nul();
            vectors.push(libc::iovec { iov_base: name.as_ptr().cast_mut().cast(), iov_len: name.len() });
            // A word without a value has no address either.
            let base = if value.is_empty() { ptr::null_mut() } else { value.as_mut_ptr().cast() };
            vectors.push(libc::iovec { iov_base: base, iov_len: value.len() });
        }
        let count = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
        check(call(vectors.as_mut_ptr(), count)).map_err(|errno| {
            let message = self.0.last().map(|(_, message)| message.as_slice()).unwrap_or_default();
            let words = CStr::from_bytes_until_nul(message).map(CStr::to_string_lossy).unwrap_or_default();
            Refused { errno, words: words.into_owned() }
        })
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { errno, words: String::new() }
    }
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
    // SAFETY: the vectors point into `pairs`, which outlives the call; their lengths are the values' own.
    pairs.call(|vectors, count| unsafe { libc::jail_set(vectors, count, libc::JAIL_CREATE) })
}

/// The number of the jail of that name and the path of its root, while it exists (jail_get(2)).
pub(super) fn jail_find(name: &str) -> Result<(i32, PathBuf), Refused> {
    let mut pairs = Pairs::default();
    pairs.text("name", name.as_bytes())?;
    pairs.push("path", vec![0; libc::PATH_MAX as usize])?;
    // SAFETY: as in `jail_create`; the path is written to its buffer, whose length is given.
    let number = pairs.call(|vectors, count| unsafe { libc::jail_get(vectors, count, 0) })?;
    let path = CStr::from_bytes_until_nul(&pairs.0[1].1).map_err(|_| Errno::NAMETOOLONG)?;
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

/// nmount(2) of `options` (`fstype`, `fspath` and others) with MNT_* flags.
pub(super) fn mount(options: &[(&str, &[u8])], flags: u32) -> Result<(), Refused> {
    let mut pairs = Pairs::default();
    for (name, value) in options {
        pairs.text(name, value)?;
    }
    // SAFETY: as in `jail_create`; names and values end with NUL.
    pairs.call(|vectors, count| unsafe { libc::nmount(vectors, count, flags as c_int) }).map(drop)
}

/// One of the host's mounts.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    id: [i32; 2],
    pub(super) kind: String,
    pub(super) on: PathBuf,
}

/// All mounts, in the order they were made (getfsstat(2)).
pub(super) fn mounts() -> Result<Vec<Mounted>, Errno> {
    // SAFETY: without a buffer the mounts are counted.
    let count = check(unsafe { libc::getfsstat(ptr::null_mut(), 0, libc::MNT_NOWAIT) })?;
    let room = usize::try_from(count).unwrap_or(0) + 16;
    let mut found: Vec<libc::statfs> = Vec::with_capacity(room);
    let bytes = (room * size_of::<libc::statfs>()) as libc::c_long;
    // SAFETY: the vector has room for the bytes that are given.
    let count = check(unsafe { libc::getfsstat(found.as_mut_ptr(), bytes, libc::MNT_NOWAIT) })?;
    // SAFETY: the kernel wrote that many records, and never more than there was room for.
    unsafe { found.set_len(usize::try_from(count).unwrap_or(0).min(room)) };
    let text = |field: &[c_char]| -> Vec<u8> { field.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect() };
    let mounted = |one: &libc::statfs| Mounted {
        // SAFETY: an fsid is two integers (sys/_types.h), which libc keeps to itself.
        id: unsafe { ptr::from_ref(&one.f_fsid).cast::<[i32; 2]>().read() },
        kind: String::from_utf8_lossy(&text(&one.f_fstypename)).into_owned(),
        on: PathBuf::from(OsString::from_vec(text(&one.f_mntonname))),
    };
    Ok(found.iter().map(mounted).collect())
}

/// unmount(2) by the file system's number, so that no name in a container leads to another one.
pub(super) fn unmount(mounted: &Mounted, force: bool) -> Result<(), Errno> {
    let name = CString::new(format!("FSID:{}:{}", mounted.id[0], mounted.id[1])).map_err(|_| Errno::INVAL)?;
    let flags = libc::MNT_BYFSID | if force { MNT_FORCE } else { 0 };
    // SAFETY: the name ends with NUL and outlives the call.
    check(unsafe { libc::unmount(name.as_ptr(), flags) }).map(drop)
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

/// Runs `act` in the directory `fd` and goes back. Its process has one thread, which the working directory belongs to.
pub(super) fn in_directory<T>(fd: &OwnedFd, act: impl FnOnce() -> T) -> Result<T, Errno> {
    use rustix::fs::{Mode, OFlags};
    let before = rustix::fs::open(c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // What a descriptor of O_PATH is good for is not certain; one to read from can be entered.
    let directory = rustix::fs::openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(&directory)?;
    let answer = act();
    rustix::process::fchdir(&before)?;
    Ok(answer)
}
