//! Layers in the form that overlay file systems have, with a working directory each: what the overlay and the fuse drivers
//! share. `root/NAME/ID/d` is what a layer changes, `ID/w` a working directory on the same file system.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};

use super::DIFF;
use crate::error::At;
use crate::folder::Folder;
use crate::tree;
use crate::{Change, Differ, Inheritor, LayerId, Result, Usage, Whiteouts};

/// The working directory.
pub(crate) const WORK: &str = "w";
/// Marks a state whose layers keep the books under `user.overlay.*`.
const USER_XATTR: &str = ".userxattr";

#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) folder: Folder,
    pub(crate) form: Whiteouts,
}

impl Layered {
    pub(crate) fn open(root: &Path, name: &str) -> Result<Self> {
        let (folder, made) = Folder::open(root, name)?;
        let marker = folder.path().join(USER_XATTR);
        let user_xattr = if made {
            let needed = !tree::sets_trusted(folder.fd()).at("set attributes of", folder.path())?;
            if needed {
                std::fs::write(&marker, "").at("create", &marker)?;
            }
            needed
        } else {
            rustix::fs::accessat(folder.fd(), USER_XATTR, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
        };
        let form = if user_xattr { Whiteouts::OverlayUser } else { Whiteouts::Overlay };
        Ok(Self { folder, form })
    }

    pub(crate) fn diff(&self, id: &LayerId) -> PathBuf {
        self.folder.layer_path(id).join(DIFF)
    }

    pub(crate) fn prepare(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        self.folder.create(id)?;
        let fill = || {
            super::create(&self.folder, id, parents)?;
            self.folder.create_in(id, WORK, Mode::RWXU)
        };
        fill().inspect_err(|_| {
            let _ = self.folder.remove(id);
        })
    }

    pub(crate) fn commit(&self, id: &LayerId) -> Result<()> {
        let top = self.folder.open_in(id, DIFF)?;
        tree::sync_tree(top).at("sync", self.diff(id))
    }

    pub(crate) fn usage(&self, id: &LayerId) -> Result<Usage> {
        let own = tree::usage(self.folder.open_in(id, DIFF)?).at("measure", self.diff(id))?;
        let flat = super::flatten::usage(&self.folder, id)?;
        Ok(Usage { bytes: own.bytes + flat.bytes, inodes: own.inodes + flat.inodes })
    }

    pub(crate) fn directory(&self, id: &LayerId) -> Result<PathBuf> {
        self.folder.open_in(id, DIFF)?;
        Ok(self.diff(id))
    }
}

impl Differ for Layered {
    fn changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
    ) -> Result<()> {
        super::changes(&self.folder, self.form, id, parents, visit)
    }
}

impl Inheritor for Layered {
    fn inherit(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        super::inherit(&self.folder, id, parents)
    }
}
