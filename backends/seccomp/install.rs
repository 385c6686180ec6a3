//! Putting a filter in force: system calls only, so that it can be done between clone and exec.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::bpf::Instruction;

// linux/seccomp.h
const SET_MODE_FILTER: libc::c_uint = 1;
const NEW_LISTENER: u32 = 8;

/// seccomp(2) with NEW_LISTENER (5.0): who reads from the descriptor decides about the calls that the filter leaves to it.
pub(super) fn install_with_listener(program: &[Instruction], flags: u32) -> io::Result<OwnedFd> {
    let listener = by_seccomp(program, flags | NEW_LISTENER)?;
    // SAFETY: the kernel has just opened it for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// seccomp(2) with `flags`; without those that the kernel does not know; prctl(2) before 3.17.
pub(super) fn install(program: &[Instruction], flags: u32) -> io::Result<()> {
    match by_seccomp(program, flags).map(drop) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && flags != 0 => by_seccomp(program, 0).map(drop),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => by_prctl(program),
        other => other,
    }
}

fn descriptor(program: &[Instruction]) -> io::Result<libc::sock_fprog> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    Ok(libc::sock_fprog { len, filter: program.as_ptr().cast_mut() })
}

fn by_seccomp(program: &[Instruction], flags: u32) -> io::Result<c_int> {
    let descriptor = descriptor(program)?;
    // SAFETY: the kernel copies the `len` instructions that `filter` points to, which `program` keeps alive, and
    // writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags as libc::c_uint, &raw const descriptor) };
    if result >= 0 { Ok(result as c_int) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn by_prctl(program: &[Instruction]) -> io::Result<()> {
    let descriptor = descriptor(program)?;
    // SAFETY: as above.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::c_ulong::from(libc::SECCOMP_MODE_FILTER), &raw const descriptor, 0, 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
