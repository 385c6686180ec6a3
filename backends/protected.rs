//! This program as a file that no container can write to.
//!
//! A program in a container may be `/proc/self/exe`, a script whose interpreter that is, or may look at a process
//! that is just being put into the container: each gets hold of berth's own file (CVE-2019-5736), and root in a
//! container without a user namespace may write to it as soon as nothing runs it any more. A monitor that was
//! executed from what is given here shows a file that is read-only in itself. Without it there remains that the file
//! is busy (ETXTBSY) while a monitor runs, which outlives all processes of its container. Linux 6.11 and 6.12 do not
//! enforce that, and have the mount.

use std::io;
use std::os::fd::OwnedFd;

use berth_arch::pretend;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mount::OpenTreeFlags;

use crate::namespace::set_read_only;

const PROGRAM: &str = "/proc/self/exe";

/// Opens it, to be executed as /proc/self/fd/N: a read-only mount of the file alone that is attached nowhere (5.12, a few
/// microseconds). Close-on-exec. `None` on older kernels and without CAP_SYS_ADMIN.
pub fn protected_program() -> Option<OwnedFd> {
    if pretend::without("mount-api") { None } else { read_only_mount().ok() }
}

/// A copy of it in memory that nobody can change any more (3.17), for who does not stay until the container's last process has
/// ended and has no [`protected_program`]. `None` on older kernels.
pub fn sealed_program() -> Option<OwnedFd> {
    if pretend::without("memfd") { None } else { sealed_copy().ok() }
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let copy = rustix::fs::memfd_create(c"berth", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = std::fs::File::from(copy);
    io::copy(&mut std::fs::File::open(PROGRAM)?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(copy.into())
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, PROGRAM, flags)?;
    set_read_only(&tree)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_sealed_program_runs_and_cannot_be_written() {
        if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
            return println!("skipped: without a registration QEMU's user mode runs no second program");
        }
        runs_and_cannot_be_written(&sealed_copy().unwrap());
    }

    #[test]
    fn a_protected_program_runs_and_cannot_be_written() {
        match read_only_mount() {
            Ok(program) => runs_and_cannot_be_written(&program),
            Err(error) => println!("skipped: {error}"),
        }
    }

    fn runs_and_cannot_be_written(program: &OwnedFd) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), program.as_raw_fd());
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        assert!(opened.and_then(|mut file| file.write_all(b"x")).is_err());
        let output = Command::new(&path).arg("--list").output().unwrap();
        assert!(output.status.success());
    }
}
