//! Mounts whose owners are mapped (mount_setattr(2), MOUNT_ATTR_IDMAP, 5.12): who owns a file below is somebody else above.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::{FsOwner, IdMap, kernel, sys};

/// Made before the mount.
#[derive(Debug)]
pub(super) struct Owners {
    namespace: OwnedFd,
    root: (u32, u32),
}

/// What of a mount gets the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is bound.
    Source,
    /// The folder that the layers of an overlay are in (5.19): overlay itself takes no mapping.
    Layers,
    /// The new file system.
    Whole,
}

impl Owners {
    /// `text`: see [`crate::IdMap`]. Forks.
    pub(super) fn new(text: &str) -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, format!("map owners: {what}"));
        let map: IdMap = text.parse().map_err(invalid)?;
        let root = map.root().ok_or_else(|| invalid("root is not among them".to_owned()))?;
        Ok(Self { namespace: kernel::idmap::namespace(&map)?, root })
    }

    /// Makes at `target` the mount that `make` makes. System calls only. With [`Part::Layers`], the working directory holds the
    /// layers and is afterwards in a mount of them that stays below the new one.
    pub(super) fn perform(
        &self,
        part: Part,
        source: &CStr,
        target: &CStr,
        make: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match part {
            Part::Source => self.attach(clone(source)?, target),
            Part::Layers => {
                self.attach(clone(c".")?, target)?;
                rustix::process::chdir(target)?;
                // Overlay works in its folders as who mounted it.
                let _root = FsOwner::new(self.root.0, self.root.1)?;
                make()
            }
            Part::Whole => {
                make()?;
                let tree = clone(target)?;
                unmount(target, UnmountFlags::DETACH)?;
                self.attach(tree, target)
            }
        }
    }

    fn attach(&self, tree: OwnedFd, target: &CStr) -> Result<(), Errno> {
        sys::mount_set_idmap(tree.as_fd(), self.namespace.as_fd())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(tree.as_fd(), c"", CWD, target, flags)
    }
}

/// Attached nowhere. EPERM and the like come from kernels and filters without the call.
fn clone(path: &CStr) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}
