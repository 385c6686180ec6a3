//! Deletes trees of any depth with few descriptors, without leaving the file system or following a link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_arch::pretend;
use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, ResolveFlags};
use rustix::io::Errno;

use super::{DIRECTORY, Meta, os};

/// How many directories are open at once. What lies deeper is moved up to the top and deleted from there.
const DEPTH: usize = 48;

/// Removes `name` in `parent` with everything below it. Not there is removed. A mount point below it is an
/// error (EBUSY), and nothing behind it is touched.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let meta = match Meta::find(parent, name)? {
        Some(meta) => meta,
        None => return Ok(()),
    };
    if !meta.is_dir() {
        return unlink(parent, name, AtFlags::empty());
    }
    let top = open_same_mount(parent, name, meta.dev)?;
    let mut remover = Remover { top: top.as_fd(), dev: meta.dev, moved: 0 };
    loop {
        let before = remover.moved;
        remover.empty(&top, 0)?;
        if remover.moved == before {
            break;
        }
    }
    unlink(parent, name, AtFlags::REMOVEDIR)
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    dev: u64,
    moved: u64,
}

impl Remover<'_> {
    fn empty(&mut self, dir: &OwnedFd, depth: usize) -> io::Result<()> {
        let mut stream = Dir::read_from(dir)?;
        while let Some(entry) = stream.read() {
            let entry = entry?;
            let name = os(entry.file_name());
            if name == "." || name == ".." {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Unknown => Meta::find(dir, name)?.is_some_and(|meta| meta.is_dir()),
                kind => kind == FileType::Directory,
            };
            if !is_dir {
                unlink(dir.as_fd(), name, AtFlags::empty())?;
            } else if depth == DEPTH {
                self.move_up(dir, name)?;
            } else {
                self.remove_dir(dir, name, depth)?;
            }
        }
        Ok(())
    }

    fn remove_dir(&mut self, dir: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
        // Most directories of a thrown-away layer are empty.
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(_) => {}
        }
        let child = open_same_mount(dir.as_fd(), name, self.dev)?;
        self.empty(&child, depth + 1)?;
        drop(child);
        unlink(dir.as_fd(), name, AtFlags::REMOVEDIR)
    }

    fn move_up(&mut self, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let aside = OsString::from(format!(".berth-{}", self.moved));
            match rustix::fs::renameat(dir, name, self.top, &aside) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Opens a directory for emptying, if it is on the same mount as its parent.
fn open_same_mount(parent: BorrowedFd<'_>, name: &OsStr, dev: u64) -> io::Result<OwnedFd> {
    let fd = match open_no_xdev(parent, name) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_no_xdev(parent, name)?
        }
        other => other?,
    };
    if Meta::of(&fd)?.dev != dev {
        return Err(Errno::BUSY.into());
    }
    Ok(fd)
}

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

fn open_no_xdev(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    if !NO_OPENAT2.load(Ordering::Relaxed) && !pretend::without("openat2") {
        let flags = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        match rustix::fs::openat2(parent, name, DIRECTORY, Mode::empty(), flags) {
            Ok(fd) => return Ok(fd),
            Err(Errno::XDEV) => return Err(Errno::BUSY.into()),
            Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
            Err(error) => return Err(error.into()),
        }
    }
    let fd = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    // A bind mount of the same file system has the same device number; the list of mounts tells.
    if is_mount_point(&fd)? {
        return Err(Errno::BUSY.into());
    }
    Ok(fd)
}

/// Whether the open directory is the root of a mount: its `mnt_id` (fdinfo, 3.15) differs from that of `..`.
/// Older kernels have the device number alone.
fn is_mount_point(fd: &OwnedFd) -> io::Result<bool> {
    let above = rustix::fs::openat(fd, "..", DIRECTORY, Mode::empty())?;
    match (mount_id(fd), mount_id(&above)) {
        (Some(own), Some(above)) => Ok(own != above),
        _ => Ok(false),
    }
}

fn mount_id(fd: &OwnedFd) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd.as_raw_fd().to_string())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

fn unlink(parent: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) => {
            clear_flags(parent, name);
            Ok(rustix::fs::unlinkat(parent, name, flags)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes off what keeps root from deleting: the immutable and append-only flags (chattr(1)) of the directory and
/// the entry, and a directory's missing write permission. Best effort; the deletion says what is left.
fn clear_flags(parent: BorrowedFd<'_>, name: &OsStr) {
    let clear = |fd: &OwnedFd| {
        if let Ok(flags) = rustix::fs::ioctl_getflags(fd) {
            let _ = rustix::fs::ioctl_setflags(fd, flags - IFlags::IMMUTABLE - IFlags::APPEND);
        }
    };
    if let Ok(own) = rustix::fs::openat(parent, ".", DIRECTORY, Mode::empty()) {
        clear(&own);
        let _ = rustix::fs::fchmod(&own, Mode::RWXU);
    }
    let is_plain =
        Meta::at(parent, name).is_ok_and(|meta| matches!(meta.kind(), FileType::RegularFile | FileType::Directory));
    if is_plain
        && let Ok(fd) = rustix::fs::openat(parent, name, DIRECTORY - rustix::fs::OFlags::DIRECTORY, Mode::empty())
    {
        clear(&fd);
    }
}
