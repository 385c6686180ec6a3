//! This program as a file that no container can write to.
//!
//! A program in a container may be `/proc/self/exe`, a script whose interpreter that is, or may look at a process
//! that is just being put into the container: each gets hold of berth's own file (CVE-2019-5736), and root in a
//! container without a user namespace may write to it as soon as nothing runs it any more. A monitor that was
//! executed from what is given here shows a file that is read-only in itself. Without it there remains that the file
//! is busy (ETXTBSY) as long as any monitor runs, which Linux 6.11 and 6.12 do not enforce.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use berth_arch::pretend;
use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::namespace::set_read_only;

const PROGRAM: &str = "/proc/self/exe";

/// Opens it, to be executed as /proc/self/fd/N: a read-only mount of the file alone that is attached nowhere (5.12,
/// a few microseconds), else a sealed copy in memory (3.17, as large as the program). Close-on-exec. Unsupported on
/// older kernels and without CAP_SYS_ADMIN and memfd.
pub fn protected_program() -> io::Result<OwnedFd> {
    let file = File::open(PROGRAM)?;
    if is_protected(&file) {
        return Ok(file.into());
    }
    if let Some(tree) = cheaply_protected_program() {
        return Ok(tree);
    }
    if pretend::without("memfd") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    sealed_copy(file)
}

/// As [`protected_program`], for each start of a monitor: the mount, which costs microseconds, and never the copy, which
/// costs as much memory as the program is long. `None` where there is no such mount.
pub fn cheaply_protected_program() -> Option<OwnedFd> {
    if pretend::without("mount-api") { None } else { read_only_mount().ok() }
}

fn is_protected(file: &File) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
        || rustix::fs::fstatvfs(file).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, PROGRAM, flags)?;
    set_read_only(&tree)?;
    Ok(tree)
}

fn sealed_copy(mut file: File) -> io::Result<OwnedFd> {
    let copy = rustix::fs::memfd_create("berth", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut file, &mut copy)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, all)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    use super::*;

    fn runs_and_cannot_be_written(fd: &OwnedFd) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        assert!(opened.and_then(|mut file| file.write_all(b"x")).is_err());
        let output = Command::new(&path).arg("--list").output().unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn a_protected_program_runs_and_cannot_be_written() {
        runs_and_cannot_be_written(&protected_program().unwrap());
    }

    #[test]
    fn a_sealed_copy_runs_and_cannot_be_written() {
        let copy = sealed_copy(File::open(PROGRAM).unwrap()).unwrap();
        assert!(is_protected(&File::from(copy.try_clone().unwrap())));
        runs_and_cannot_be_written(&copy);
    }
}
