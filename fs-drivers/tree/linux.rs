//! What Linux has of its own for trees: attributes by way of /proc, subvolumes, data in the kernel, renames that replace nothing.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_arch::pretend;
use rustix::fs::{AtFlags, IFlags, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use super::Meta;
use crate::btrfs::subvolume;

/// A name whose extended attributes are read and set. No system call takes a directory, a name and "do not follow" for
/// attributes; the descriptor's entry in /proc stands for the directory.
pub(super) struct Named(CString);

impl Named {
    pub(super) fn new(dir: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let mut path = format!("{}/{}/", super::descriptors(), dir.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        Ok(Self(CString::new(path)?))
    }

    /// The names of all attributes. Empty where the file system has none.
    pub(super) fn list(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut list = vec![0_u8; 512];
        let length = loop {
            match rustix::fs::llistxattr(&self.0, &mut list[..]) {
                Ok(length) => break length,
                Err(Errno::RANGE) if list.len() < 1 << 20 => list.resize(list.len() * 4, 0),
                Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            }
        };
        let names = list[..length].split(|b| *b == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    pub(super) fn get(&self, attribute: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0_u8; 256];
        loop {
            match rustix::fs::lgetxattr(&self.0, attribute, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    return Ok(Some(value));
                }
                Err(Errno::RANGE) if value.len() < 1 << 20 => value.resize(value.len() * 4, 0),
                Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn set(&self, attribute: &[u8], value: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::lsetxattr(&self.0, attribute, value, XattrFlags::empty())?)
    }

    pub(super) fn remove(&self, attribute: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::lremovexattr(&self.0, attribute)?)
    }
}

/// Of an open file.
pub(crate) fn set_open_xattr(file: &OwnedFd, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, attribute, value, XattrFlags::empty())?)
}

/// Whether the open directory `top` went with a single call, as a subvolume does; if it is one and did not, it is made writable.
pub(super) fn removed_as_one(parent: BorrowedFd<'_>, name: &OsStr, top: &OwnedFd, meta: &Meta) -> io::Result<bool> {
    if !subvolume::is_top(top, meta)? {
        return Ok(false);
    }
    if subvolume::destroy(parent, name)? {
        return Ok(true);
    }
    // One that is read-only already says so at the first file.
    let _ = subvolume::make_writable(top);
    Ok(false)
}

/// Takes the immutable and append-only flags (chattr(1)) off. Best effort.
pub(super) fn clear_flags(fd: &OwnedFd) {
    if let Ok(flags) = rustix::fs::ioctl_getflags(fd) {
        let _ = rustix::fs::ioctl_setflags(fd, flags - IFlags::IMMUTABLE - IFlags::APPEND);
    }
}

/// ENOSYS (before 2.6.39) and EPERM: each file has to be synced by itself.
pub(super) fn sync_file_system(fd: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::syncfs(fd)
}

/// FICLONE (4.5; btrfs, xfs).
pub(crate) fn clone_data(to: impl AsFd, from: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::ioctl_ficlone(to, from)
}

static NO_COPY_RANGE: AtomicBool = AtomicBool::new(false);

/// Copies in the kernel (4.5) as far as that goes; where the copy goes on.
pub(super) fn copy_in_kernel(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<u64> {
    let (mut source, mut target) = (start, start);
    while source < end && !NO_COPY_RANGE.load(Ordering::Relaxed) && !pretend::without("copy_file_range") {
        let length = usize::try_from(end - source).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), length) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            // Not known, forbidden, or not between these two: memory will do.
            Err(Errno::NOSYS | Errno::PERM | Errno::XDEV | Errno::INVAL | Errno::NOTSUP | Errno::BADF) => {
                NO_COPY_RANGE.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(source)
}

/// For a place that a container may be writing to: what has become a link meanwhile is not followed. (fchmodat(2) does, and
/// fchmodat2 came with 6.6.)
pub(super) fn chmod_itself(to: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> io::Result<()> {
    let file = rustix::fs::openat(to, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found: Meta = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH)?.into();
    if found.kind() != meta.kind() {
        return Err(io::Error::other("something else has taken its place"));
    }
    let path = format!("{}/{}", super::descriptors(), file.as_raw_fd());
    Ok(rustix::fs::chmod(path, meta.permissions())?)
}

/// Without replacing anything (renameat2, 3.15). ENOSYS and EINVAL: it cannot be had so.
pub(super) fn rename_new(from: BorrowedFd<'_>, name: &OsStr, target: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, name, target, name, RenameFlags::NOREPLACE)
}
