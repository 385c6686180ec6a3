//! Deletes trees of any depth with few descriptors, without leaving the file system or following a link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;

use super::{DIRECTORY, Meta, open_same_mount, os, system};

/// How many directories are open at once. What lies deeper is moved up to the top and deleted from there.
const DEPTH: usize = 48;
/// How often others may put something into what was empty.
const OTHERS: usize = 1000;

/// Removes `name` in `parent` with everything below it. Not there is removed. A mount point below it is an
/// error (EBUSY), or with a whole subvolume of btrfs taken off; nothing behind it is touched. Subvolumes that a container made
/// are removed like directories.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let meta = match Meta::find(parent, name)? {
        Some(meta) => meta,
        None => return Ok(()),
    };
    if !meta.is_dir() {
        return unlink(parent, name, AtFlags::empty());
    }
    // Whoever removes it at the same time may be ahead anywhere.
    done_if_gone(open_for_emptying(parent, name, meta.dev).and_then(|top| remove_top(parent, name, &top)))
}

fn done_if_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the open directory `top`, which may be a subvolume of btrfs.
fn remove_top(parent: BorrowedFd<'_>, name: &OsStr, top: &OwnedFd) -> io::Result<()> {
    let meta = Meta::of(top)?;
    if system::removed_as_one(parent, name, top, &meta)? {
        return Ok(());
    }
    let mut remover = Remover { top: top.as_fd(), dev: meta.dev, moved: 0 };
    let mut others = 0;
    loop {
        let before = remover.moved;
        remover.empty(top, 0)?;
        if remover.moved != before {
            continue;
        }
        match unlink(parent, name, AtFlags::REMOVEDIR) {
            // Somebody else has moved something up.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && others < OTHERS => others += 1,
            removed => return removed,
        }
    }
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
        done_if_gone(self.remove_full(dir, name, depth))
    }

    fn remove_full(&mut self, dir: &OwnedFd, name: &OsStr, depth: usize) -> io::Result<()> {
        let child = open_for_emptying(dir.as_fd(), name, self.dev)?;
        if Meta::of(&child)?.dev != self.dev {
            return remove_top(dir.as_fd(), name, &child);
        }
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
fn open_for_emptying(parent: BorrowedFd<'_>, name: &OsStr, dev: u64) -> io::Result<OwnedFd> {
    match open_same_mount(parent, name, dev) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_same_mount(parent, name, dev)
        }
        other => other,
    }
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

/// Takes off what keeps root from deleting: the immutable and append-only flags (chattr(1), chflags(1)) of the directory and
/// the entry, and a directory's missing write permission. Best effort; the deletion says what is left.
fn clear_flags(parent: BorrowedFd<'_>, name: &OsStr) {
    if let Ok(own) = rustix::fs::openat(parent, ".", DIRECTORY, Mode::empty()) {
        system::clear_flags(&own);
        let _ = rustix::fs::fchmod(&own, Mode::RWXU);
    }
    let is_plain =
        Meta::at(parent, name).is_ok_and(|meta| matches!(meta.kind(), FileType::RegularFile | FileType::Directory));
    if is_plain
        && let Ok(fd) = rustix::fs::openat(parent, name, DIRECTORY - rustix::fs::OFlags::DIRECTORY, Mode::empty())
    {
        system::clear_flags(&fd);
    }
}
