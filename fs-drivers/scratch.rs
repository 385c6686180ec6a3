//! A folder to try things in, on the file system that will be used.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::error::At;
use crate::{Result, tree};

/// A folder below a state root. Gone when dropped.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root).at("create", root)?;
        let path = root.join(format!(".probe-{}-{:?}", std::process::id(), std::thread::current().id()));
        let path = PathBuf::from(path.to_string_lossy().replace(['(', ')'], ""));
        fs::DirBuilder::new().mode(0o700).create(&path).at("create", &path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let (Some(root), Some(name)) = (self.path.parent(), self.path.file_name())
            && let Ok(fd) = rustix::fs::open(root, tree::DIRECTORY, Mode::empty())
        {
            let _ = tree::remove_tree(fd.as_fd(), name);
        }
    }
}
