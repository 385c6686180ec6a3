//! The way to a tree's directories.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use berth_arch::root_dir::RootDir;
use rustix::fs::{Mode, OFlags};

use super::DIRECTORY;

/// The directories of a tree by their paths, in which no link is followed. The one that was asked for last is held: who goes through
/// the tree in order finds it, and those in it, without a way from the top. Depth costs neither descriptors nor stack. The top is not
/// held, which is open as the root.
pub(crate) struct Directories<R> {
    root: R,
    held: Option<(PathBuf, Rc<OwnedFd>)>,
    holds: bool,
}

impl<R: Borrow<RootDir>> Directories<R> {
    pub(crate) fn new(root: R) -> Self {
        Self { root, held: None, holds: true }
    }

    /// Of one tree of so many that are looked at together: of more than any image has, none is held, for want of descriptors.
    pub(crate) fn one_of(root: R, count: usize) -> Self {
        const MOST: usize = 128;
        Self { root, held: None, holds: count <= MOST }
    }

    pub(crate) fn root(&self) -> &RootDir {
        self.root.borrow()
    }

    /// The directory `path`, as a place (O_PATH).
    pub(crate) fn open(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        let directory = match &self.held {
            Some((held, directory)) if held == path => return Ok(directory.clone()),
            Some((held, directory)) if path.parent() == Some(held) => {
                let name = path.file_name().expect("what has a parent has a name");
                let flags = DIRECTORY | OFlags::PATH;
                rustix::fs::openat(directory, name, flags, Mode::empty())?
            }
            _ => self.root().parent_no_links(&path.join("x"))?.directory,
        };
        let directory = Rc::new(directory);
        if self.holds && !path.as_os_str().is_empty() {
            self.held = Some((path.to_path_buf(), directory.clone()));
        }
        Ok(directory)
    }

    /// The directory that `path` is in, and its name there; `.` for the top.
    pub(crate) fn parent<'p>(&mut self, path: &'p Path) -> io::Result<(Rc<OwnedFd>, &'p OsStr)> {
        let parent = self.open(path.parent().unwrap_or(Path::new("")))?;
        Ok((parent, path.file_name().unwrap_or(OsStr::new("."))))
    }

    /// A directory was removed that may be the one that is held.
    pub(crate) fn forget(&mut self) {
        self.held = None;
    }
}
