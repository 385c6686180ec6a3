//! File trees by descriptors: what drivers and `diff/` share.
//!
//! Every name in a layer is hostile. Nothing here follows a symbolic link or crosses a mount, and nothing is
//! named by a path that another process could bend in between.

mod copy;
mod directories;
mod remove;
mod sync;
mod usage;
mod walk;
mod whiteout;
mod xattr;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        mod mounts;
        use linux as system;
        pub(crate) use mounts::open_same_mount;
        pub(crate) use xattr::sets_trusted;
    } else {
        mod freebsd;
        use freebsd as system;
        pub(crate) use freebsd::open_same_mount;
    }
}

pub(crate) use copy::{Copier, apply, copy_data, copy_entry, next_data};
pub(crate) use directories::Directories;
pub(crate) use remove::remove_tree;
pub(crate) use sync::sync_tree;
pub(crate) use system::{clone_data, set_open_xattr};
pub(crate) use usage::{usage, usage_by};
pub(crate) use walk::{Found, Walk};
pub(crate) use whiteout::{is_whiteout, make_whiteout};
pub(crate) use xattr::{Xattrs, get_xattr, is_kept, is_overlay_private, list_xattrs, remove_xattrs_but, set_xattr};

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

/// The attributes of a file that a layer keeps, in the widest types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) nlink: u64,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u64,
    pub(crate) size: u64,
    /// Of 512 bytes.
    pub(crate) blocks: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) atime: (i64, u32),
    /// Of the last change of anything, which no program sets.
    pub(crate) ctime: (i64, u32),
}

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
impl From<Stat> for Meta {
    fn from(s: Stat) -> Self {
        Self {
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            nlink: s.st_nlink as u64,
            mode: s.st_mode as u32,
            uid: s.st_uid as u32,
            gid: s.st_gid as u32,
            rdev: s.st_rdev as u64,
            size: s.st_size as u64,
            blocks: s.st_blocks as u64,
            mtime: (s.st_mtime as i64, s.st_mtime_nsec as u32),
            atime: (s.st_atime as i64, s.st_atime_nsec as u32),
            ctime: (s.st_ctime as i64, s.st_ctime_nsec as u32),
        }
    }
}

impl Meta {
    pub(crate) fn at(dir: impl AsFd, name: &OsStr) -> io::Result<Self> {
        Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
    }

    /// `None` if there is no such name.
    pub(crate) fn find(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Self>> {
        match Self::at(dir, name) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn of(fd: impl AsFd) -> io::Result<Self> {
        Ok(rustix::fs::fstat(fd)?.into())
    }

    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode as _)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(crate) fn permissions(&self) -> Mode {
        Mode::from_raw_mode((self.mode & 0o7777) as _)
    }

    pub(crate) fn timestamps(&self) -> Timestamps {
        timestamps(self.atime, self.mtime)
    }
}

pub(crate) fn timestamps(atime: (i64, u32), mtime: (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: atime.0, tv_nsec: atime.1 as _ },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: mtime.1 as _ },
    }
}

#[cfg(target_os = "linux")]
/// Where /proc lists the calling thread's descriptors: threads that serve a file system have their own.
pub(crate) fn descriptors() -> String {
    format!("/proc/self/task/{}/fd", rustix::thread::gettid().as_raw_nonzero())
}

pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `name` itself, never what it links to.
pub(crate) fn open_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())?)
}

/// Opens the regular file `name` for reading. Not blocking, as it may have become a fifo in between.
pub(crate) fn open_file(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode as _) != FileType::RegularFile {
        return Err(io::Error::other("is no regular file any more"));
    }
    Ok(fd)
}

/// The names in a directory, sorted by bytes, without `.` and `..`.
pub(crate) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut stream = Dir::read_from(dir)?;
    while let Some(entry) = stream.read() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn os(name: &std::ffi::CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

/// Renames without replacing anything; where the kernel cannot say that, a look has to do.
pub(crate) fn rename_new(from: BorrowedFd<'_>, name: &OsStr, target: BorrowedFd<'_>) -> Result<(), Errno> {
    match system::rename_new(from, name, target) {
        Err(Errno::NOSYS | Errno::INVAL) => {}
        other => return other,
    }
    match rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rustix::fs::renameat(from, name, target, name),
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}
