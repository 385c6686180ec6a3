//! `tmpcopyup`: what the root has at a place is copied into the tmpfs that is mounted there. System calls only.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};
use rustix::io::{Errno, Result};

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// Each level has its buffers on the stack.
const DEPTH: usize = 32;

/// Copies directories, files and links with their owners and modes.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let from = rustix::fs::openat(from, c".", READ | OFlags::DIRECTORY, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    directory(from, to, DEPTH)?;
    adopt(to, c".", &stat)
}

fn directory(from: OwnedFd, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth == 0 {
        return Err(Errno::NAMETOOLONG);
    }
    let mut space = [MaybeUninit::uninit(); 4096];
    let list = rustix::fs::openat(&from, c".", READ | OFlags::DIRECTORY, Mode::empty())?;
    let mut entries = RawDir::new(list, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                let inner = rustix::fs::openat(&from, name, READ | OFlags::DIRECTORY, Mode::empty())?;
                let copy = rustix::fs::openat(to, name, READ | OFlags::DIRECTORY, Mode::empty())?;
                directory(inner, copy.as_fd(), depth - 1)?;
            }
            FileType::RegularFile => file(from.as_fd(), to, name)?,
            FileType::Symlink => link(from.as_fd(), to, name)?,
            // Sockets, pipes and devices are not files that a program ships.
            _ => continue,
        }
        adopt(to, name, &stat)?;
    }
    Ok(())
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let source = rustix::fs::openat(from, name, READ | OFlags::NONBLOCK, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
    while rustix::fs::sendfile(&target, &source, None, 1 << 30)? > 0 {}
    Ok(())
}

fn link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let mut text = [0_u8; 4096];
    let length = rustix::fs::readlinkat_raw(from, name, &mut text[..4095])?;
    text[length] = 0;
    let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::INVAL)?;
    rustix::fs::symlinkat(text, to, name)
}

fn adopt(directory: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    rustix::fs::chmodat(directory, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())
}
