//! Copies a tree with everything that a layer keeps of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_arch::pretend;
use berth_arch::root_dir::RootDir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Uid};
use rustix::io::Errno;

use super::{Directories, Found, Meta, Walk, list_xattrs, open_file, set_xattr, system};

/// Copies one tree into an existing empty directory: owners, permissions, times, attributes, hard links, devices,
/// holes. Data is shared where the file system can (reflink).
pub(crate) struct Copier {
    target: Directories<RootDir>,
    /// (device, inode) of a source with several names, and the name it was copied to.
    linked: HashMap<(u64, u64), PathBuf>,
    /// Copied directories get their attributes when nothing is put into them any more.
    directories: Vec<PathBuf>,
    /// Whether data can be shared, as far as is known.
    reflink: bool,
    /// Extended attributes that the target cannot keep are left out.
    lenient: bool,
}

impl Copier {
    pub(crate) fn new(target: OwnedFd) -> Self {
        Self {
            target: Directories::new(RootDir::from_fd(target)),
            linked: HashMap::new(),
            directories: vec![PathBuf::new()],
            reflink: !pretend::without("reflink"),
            lenient: false,
        }
    }

    /// For a target that may be any file system.
    pub(crate) fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// The failing path is relative to the tree.
    pub(crate) fn copy(mut self, source: OwnedFd) -> Result<(), (PathBuf, io::Error)> {
        let source = RootDir::from_fd(source);
        let at_top = |error| (PathBuf::new(), error);
        let mut walk = Walk::new(&source).map_err(at_top)?;
        while let Some(found) = walk.next().map_err(at_top)? {
            self.entry(&found).map_err(|error| (found.path.clone(), error))?;
        }
        let mut source = Directories::new(&source);
        for path in std::mem::take(&mut self.directories).iter().rev() {
            self.finish(&mut source, path).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }

    fn finish(&mut self, source: &mut Directories<&RootDir>, path: &Path) -> io::Result<()> {
        let ((from, name), (to, _)) = (source.parent(path)?, self.target.parent(path)?);
        let meta = Meta::at(&from, name)?;
        apply(from.as_fd(), to.as_fd(), name, name, &meta, self.lenient)
    }

    fn entry(&mut self, found: &Found) -> io::Result<()> {
        let (to, name) = self.target.parent(&found.path)?;
        let meta = &found.meta;
        if !meta.is_dir() && meta.nlink > 1 {
            if let Some(first) = self.linked.get(&(meta.dev, meta.ino)) {
                let first = self.target.root().parent_no_links(first)?;
                return Ok(rustix::fs::linkat(&first.directory, &first.name, to, name, AtFlags::empty())?);
            }
            self.linked.insert((meta.dev, meta.ino), found.path.clone());
        }
        if meta.is_dir() {
            self.directories.push(found.path.clone());
            return Ok(rustix::fs::mkdirat(to, name, Mode::RWXU)?);
        }
        copy_entry(found, to.as_fd(), self.lenient, &mut self.reflink)
    }
}

/// Copies what is no directory, with its attributes, to its name in `to`. `reflink`: see [`Copier`].
pub(crate) fn copy_entry(found: &Found, to: BorrowedFd<'_>, lenient: bool, reflink: &mut bool) -> io::Result<()> {
    let (from, name, meta) = (found.directory.as_fd(), found.name.as_os_str(), &found.meta);
    match meta.kind() {
        FileType::RegularFile => {
            let source = open_file(from, name)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            copy_data(&source, &target, meta.size, reflink)?;
        }
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(text.as_c_str(), to, name)?;
        }
        kind => rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, meta.rdev as _)?,
    }
    apply(from, to, name, name, meta, lenient)
}

/// `own` is the name in `from`, `name` the one in `to`. Owner first: it takes setuid bits and capabilities away. Times last.
pub(crate) fn apply(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    own: &OsStr,
    name: &OsStr,
    meta: &Meta,
    lenient: bool,
) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if meta.kind() != FileType::Symlink {
        if lenient {
            system::chmod_itself(to, name, meta)?;
        } else {
            rustix::fs::chmodat(to, name, meta.permissions(), AtFlags::empty())?;
        }
    }
    for (attribute, value) in list_xattrs(from, own)? {
        match set_xattr(to, name, &attribute, &value) {
            Err(error) if lenient && error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(rustix::fs::utimensat(to, name, &meta.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Brings `size` bytes over: a shared extent (FICLONE, 4.5; btrfs, xfs), else each stretch of data by
/// `copy_file_range` (4.5), else through memory. Holes stay holes. `reflink` says whether to try the first, and is
/// cleared when this file system cannot.
pub(crate) fn copy_data(from: &OwnedFd, to: &OwnedFd, size: u64, reflink: &mut bool) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    if *reflink {
        match system::clone_data(to, from) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::PERM | Errno::XDEV) => *reflink = false,
            // Of this file alone (btrfs: its checksums are off).
            Err(_) => {}
        }
    }
    rustix::fs::ftruncate(to, size)?;
    let mut position = 0;
    while position < size {
        let Some((start, end)) = next_data(from, position, size)? else { break };
        copy_range(from, to, start, end)?;
        position = end;
    }
    Ok(())
}

/// The next stretch of data in `position..size`; `None` if only a hole is left. Where SEEK_DATA (3.1) is not
/// known everything is data.
pub(crate) fn next_data(fd: impl AsFd, position: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(&fd, SeekFrom::Data(position)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((position, size))),
        Err(error) => return Err(error.into()),
    };
    if start >= size {
        return Ok(None);
    }
    let end = rustix::fs::seek(&fd, SeekFrom::Hole(start)).unwrap_or(size).min(size);
    Ok(Some((start, end.max(start + 1))))
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let mut source = system::copy_in_kernel(from, to, start, end)?;
    let mut buffer = vec![0; usize::try_from(end - source).unwrap_or(usize::MAX).min(128 << 10)];
    while source < end {
        let wanted = usize::try_from(end - source).unwrap_or(usize::MAX).min(buffer.len());
        let read = rustix::io::pread(from, &mut buffer[..wanted], source)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut written = 0;
        while written < read {
            written += rustix::io::pwrite(to, &buffer[written..read], source + written as u64)?;
        }
        source += read as u64;
    }
    Ok(())
}
