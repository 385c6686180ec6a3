//! Walks a tree in order, however deep, with two open descriptors.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use berth_arch::root_dir::RootDir;
use rustix::fs::Mode;

use super::{Meta, names, open_dir, open_same_mount, os};

/// What a walk came to.
pub(crate) struct Found {
    /// Relative to the top.
    pub(crate) path: PathBuf,
    pub(crate) directory: Rc<OwnedFd>,
    pub(crate) name: OsString,
    pub(crate) meta: Meta,
}

/// Everything below a directory, sorted by name, parents before children, without the directory itself. Names that
/// vanish meanwhile are passed over; other mounts are not entered, and subvolumes of btrfs are.
pub(crate) struct Walk<'a> {
    root: &'a RootDir,
    levels: Vec<Level>,
    path: PathBuf,
    directory: Option<Rc<OwnedFd>>,
}

/// A directory that is being walked.
struct Level {
    dev: u64,
    /// What is left of it, last first.
    names: Vec<CString>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(root: &'a RootDir) -> io::Result<Self> {
        let top = rustix::fs::openat(root, ".", super::DIRECTORY, Mode::empty())?;
        let mut walk = Self { root, levels: Vec::new(), path: PathBuf::new(), directory: None };
        walk.enter(top)?;
        Ok(walk)
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let dev = level.dev;
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                self.path.pop();
                self.directory = None;
                continue;
            };
            let directory = match &self.directory {
                Some(directory) => directory.clone(),
                None => {
                    let found = self.root.parent_no_links(&self.path.join("x"))?;
                    Rc::new(found.directory)
                }
            };
            self.directory = Some(directory.clone());
            let name = os(&name).to_owned();
            let Some(meta) = Meta::find(&directory, &name)? else { continue };
            let path = self.path.join(&name);
            if meta.is_dir() {
                let inner = match meta.dev == dev {
                    true => open_dir(&directory, &name),
                    false => open_same_mount(directory.as_fd(), &name, dev),
                };
                match inner {
                    Ok(inner) => {
                        self.path.push(&name);
                        self.enter(inner)?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(Some(Found { path, directory, name, meta }));
        }
    }

    fn enter(&mut self, directory: OwnedFd) -> io::Result<()> {
        let mut found = names(directory.as_fd())?;
        found.reverse();
        self.levels.push(Level { dev: Meta::of(&directory)?.dev, names: found });
        self.directory = Some(Rc::new(directory));
        Ok(())
    }
}
