//! How the filter comes into force, and its listener to the supervisor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::filter;
use crate::profiles::Profile;
use crate::supervise;

/// The descriptor by which the supervisor listens.
pub(crate) const LISTENER: RawFd = 3;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The kernel that runs has rights that the older one does not know, and which nobody could give up there.
fn forget_capabilities(last: u32) {
    for number in last + 1..=63 {
        // SAFETY: integers only; the first that there is not ends it.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } < 0 {
            break;
        }
    }
}

/// Puts the filter in force for this process; afterwards it has the rights of who called it. The supervisor, where one is
/// needed, is nobody's child.
pub(crate) fn put_in_force(profile: &'static Profile) -> io::Result<()> {
    let Some(kernel) = profile.kernel else {
        install(profile, 0)?;
        return give_up_rights();
    };
    forget_capabilities(kernel.last_capability());
    let (ours, theirs) = pair()?;
    let own = std::process::id();
    // SAFETY: this process has one thread, so the copy may do anything.
    match check(unsafe { libc::fork() }.into())? {
        0 => {
            drop(ours);
            // SAFETY: as above.
            match unsafe { libc::fork() } {
                0 => supervise::become_it(profile, own, &theirs),
                // SAFETY: it only ends.
                pid => unsafe { libc::_exit(i32::from(pid < 0)) },
            }
        }
        pid => {
            drop(theirs);
            let mut status = 0;
            // SAFETY: the status is a variable of ours.
            check(unsafe { libc::waitpid(pid as i32, &raw mut status, 0) }.into())?;
        }
    }
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = install(profile, flags)?;
    // SAFETY: it was just opened for us.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    offer(&ours, &listener)?;
    give_up_rights()
}

fn give_up_rights() -> io::Result<()> {
    // SAFETY: integers only.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    // SAFETY: integers only.
    check(unsafe { libc::setresgid(group, group, group) }.into())?;
    // SAFETY: integers only.
    check(unsafe { libc::setresuid(user, user, user) }.into())?;
    Ok(())
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel fills both elements.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) }.into())?;
    // SAFETY: they were just opened for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Without PR_SET_NO_NEW_PRIVS, which takes root: programs that get rights by being executed (newuidmap) are to get them.
fn install(profile: &Profile, flags: libc::c_ulong) -> io::Result<RawFd> {
    let code = filter::compile(profile);
    let len = u16::try_from(code.len()).map_err(|_| io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog { len, filter: code.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the instructions, which live until the end of this function.
    let made = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Ok(check(made)? as RawFd)
}

/// Calls that take descriptors along wait for the supervisor already: it fetches the one that it is told the number of.
fn offer(socket: &OwnedFd, listener: &OwnedFd) -> io::Result<()> {
    let number = listener.as_raw_fd().to_ne_bytes();
    // SAFETY: four bytes that live as long as the call.
    check(unsafe { libc::write(socket.as_raw_fd(), number.as_ptr().cast(), 4) } as libc::c_long)?;
    let mut done = [0u8; 1];
    // SAFETY: one byte of ours.
    match check(unsafe { libc::read(socket.as_raw_fd(), done.as_mut_ptr().cast(), 1) } as libc::c_long)? {
        1 => Ok(()),
        _ => Err(io::Error::other("the supervisor has ended")),
    }
}

/// What was offered by process `pid`, as [`LISTENER`] of this one. Answers before it is used: nobody waits for longer.
pub(crate) fn fetch(pid: u32, socket: &OwnedFd) -> io::Result<()> {
    let mut number = [0u8; 4];
    // SAFETY: four bytes of ours.
    if check(unsafe { libc::read(socket.as_raw_fd(), number.as_mut_ptr().cast(), 4) } as libc::c_long)? != 4 {
        return Err(io::Error::other("the program has ended"));
    }
    // SAFETY: integers only.
    let process = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: integers only.
    let got = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, i32::from_ne_bytes(number), 0) })?;
    // SAFETY: one byte that lives as long as the call.
    check(unsafe { libc::write(socket.as_raw_fd(), b"!".as_ptr().cast(), 1) } as libc::c_long)?;
    // SAFETY: integers only; whatever has that number is not used any more, for this process becomes another program. The
    // copy is not close-on-exec, as what is fetched always is.
    check(unsafe { libc::dup2(got as RawFd, LISTENER) }.into())?;
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(LISTENER, libc::F_SETFD, 0) }.into())?;
    Ok(())
}
