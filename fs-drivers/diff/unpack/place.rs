//! Where entries go: names inside the layer's directory, resolved by descriptors.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use berth_arch::root_dir::RootDir;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{modified, split};
use crate::Whiteouts;
use crate::tree::{self, Meta};

struct Last {
    path: Box<[u8]>,
    directory: OwnedFd,
    /// No part of the path is a link.
    plain: bool,
}

pub(super) struct Places {
    pub(super) root: RootDir,
    pub(super) whiteouts: Whiteouts,
    /// The directory that the last entry went into; archives are mostly sorted.
    last: Option<Last>,
    /// Inodes that this archive made: its own whiteouts do not hide them. Only where the directory also holds what
    /// the layers below brought.
    own: HashSet<u64>,
    /// In AUFS's form: what is to be hidden when all is there, as a whiteout may not stand beside what it hides.
    pub(super) hidden: HashSet<Box<[u8]>>,
}

impl Places {
    pub(super) fn new(root: RootDir, whiteouts: Whiteouts) -> Self {
        Self { root, whiteouts, last: None, own: HashSet::new(), hidden: HashSet::new() }
    }

    /// The tree itself, without any layer's conventions.
    pub(super) fn in_tree(root: RootDir) -> Self {
        Self::new(root, Whiteouts::Apply)
    }

    /// The directory `path`, made where it is missing. Links in it are followed inside the layer.
    pub(super) fn directory(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        Ok(self.last(path)?.directory.as_fd())
    }

    /// Whether `path` leads to the same directory whatever becomes of links.
    pub(super) fn is_plain(&mut self, path: &[u8]) -> io::Result<bool> {
        Ok(self.last(path)?.plain)
    }

    fn last(&mut self, path: &[u8]) -> io::Result<&Last> {
        if self.last.as_ref().is_none_or(|last| *last.path != *path) {
            let directory = match self.reach(path) {
                Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) && self.whiteouts != Whiteouts::Apply => {
                    self.uncover(path)?;
                    self.reach(path)?
                }
                other => other?,
            };
            let plain = self.root.parent_no_links(&Path::new(OsStr::from_bytes(path)).join("x")).is_ok();
            self.last = Some(Last { path: path.into(), directory, plain });
        }
        Ok(self.last.as_ref().expect("just set"))
    }

    /// Makes directories of whiteouts in `path`: the archive brings something below a name that it hides, and no entry
    /// for the directory itself.
    fn uncover(&mut self, path: &[u8]) -> io::Result<()> {
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(index, _)| index);
        for end in slashes.chain([path.len()]) {
            let (parent, name) = split(&path[..end]);
            let name = OsStr::from_bytes(name);
            let above = self.directory(parent)?;
            if let Some(found) = Meta::find(above, name)?
                && tree::is_whiteout(above, name, &found)?
            {
                self.make_directory(parent, name, |_, _| Ok(()))?;
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::chmodat(self.directory(parent)?, name, mode, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn reach(&self, path: &[u8]) -> io::Result<OwnedFd> {
        if path.is_empty() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(&self.root, ".", flags, Mode::empty())?);
        }
        self.root.create_dir_all(Path::new(OsStr::from_bytes(path)), Mode::from_raw_mode(0o755))
    }

    /// A name has gone that the remembered directory may have been reached by.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Makes the directory, or takes the one that is there. True in the second case. `replaced` gets something else
    /// that is there before it is removed.
    pub(super) fn make_directory(
        &mut self,
        parent: &[u8],
        name: &OsStr,
        replaced: impl FnOnce(BorrowedFd<'_>, &Meta) -> io::Result<()>,
    ) -> io::Result<bool> {
        let directory = self.directory(parent)?;
        match rustix::fs::mkdirat(directory, name, Mode::RWXU) {
            Ok(()) => return Ok(false),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let found = Meta::at(directory, name)?;
        if found.is_dir() {
            return Ok(true);
        }
        replaced(directory, &found)?;
        let hides = self.whiteouts != Whiteouts::Apply && tree::is_whiteout(self.directory(parent)?, name, &found)?;
        self.remove(parent, name, &found)?;
        rustix::fs::mkdirat(self.directory(parent)?, name, Mode::RWXU)?;
        if hides {
            // The layers below were hidden by a whiteout of this archive, and stay so.
            self.set_opaque(parent, name)?;
        }
        Ok(false)
    }

    /// A hard link to `target`, which is resolved inside the layer and not followed if it is a link itself.
    pub(super) fn link(&mut self, target: &[u8], parent: &[u8], name: &OsStr) -> io::Result<()> {
        let found = self.root.parent(Path::new(OsStr::from_bytes(target)))?;
        let meta = Meta::at(&found.directory, &found.name)?;
        if meta.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        if self.whiteouts != Whiteouts::Apply && tree::is_whiteout(&found.directory, &found.name, &meta)? {
            return Err(Errno::NOENT.into());
        }
        let directory = self.directory(parent)?;
        Ok(rustix::fs::linkat(&found.directory, &found.name, directory, name, AtFlags::empty())?)
    }

    /// Removes what is at `name`, a whole tree if it is one.
    pub(super) fn remove(&mut self, parent: &[u8], name: &OsStr, found: &Meta) -> io::Result<()> {
        let directory = self.directory(parent)?;
        if found.is_dir() {
            tree::remove_tree(directory, name)?;
            self.forget();
        } else {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            if found.kind() == rustix::fs::FileType::Symlink {
                self.forget();
            }
        }
        Ok(())
    }

    /// Notes that the entry at `path` came from this archive.
    pub(super) fn made(&mut self, path: &[u8]) -> io::Result<()> {
        if self.whiteouts == Whiteouts::Apply {
            let (parent, name) = split(path);
            let inode = Meta::at(self.directory(parent)?, OsStr::from_bytes(name))?.ino;
            self.own.insert(inode);
        }
        Ok(())
    }

    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    pub(super) fn is_own(&self, found: &Meta) -> bool {
        self.own.contains(&found.ino)
    }

    pub(super) fn set_directory_time(&mut self, path: &[u8], mtime: (i64, u32)) -> io::Result<()> {
        let found = match self.root.parent(Path::new(OsStr::from_bytes(path))) {
            Ok(found) => found,
            // Replaced by something else since.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if Meta::find(&found.directory, &found.name)?.is_some_and(|meta| meta.is_dir()) {
            rustix::fs::utimensat(&found.directory, &found.name, &modified(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}
