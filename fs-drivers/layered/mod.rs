//! Layers that hold their changes only, in the form that overlay file systems have: what the overlay and the fuse drivers share.
//!
//! `root/NAME/ID/d` is what a layer changes, with whiteouts and opaque directories; `ID/w` is a working directory on the same
//! file system. `differ.rs` finds a layer's changes by a walk of its own directory alone.

mod differ;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, Uid};

use crate::error::At;
use crate::folder::Folder;
use crate::tree::{self, Meta};
use crate::{LayerId, Result, UnpackTarget, Usage, Whiteouts};

/// What the layer changes: the upper directory while it is written, a lower one afterwards.
pub(crate) const DIFF: &str = "d";
/// The working directory.
pub(crate) const WORK: &str = "w";
/// Marks a state whose layers keep the books under `user.overlay.*`.
const USER_XATTR: &str = ".userxattr";

#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) folder: Folder,
    pub(crate) user_xattr: bool,
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
        Ok(Self { folder, user_xattr })
    }

    fn opaque(&self) -> &'static str {
        if self.user_xattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
    }

    pub(crate) fn diff(&self, id: &LayerId) -> PathBuf {
        self.folder.layer_path(id).join(DIFF)
    }

    pub(crate) fn prepare(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        self.folder.create(id)?;
        self.fill(id, parents).inspect_err(|_| {
            let _ = self.folder.remove(id);
        })
    }

    fn fill(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        self.folder.create_in(id, DIFF, Mode::from_raw_mode(0o755))?;
        self.folder.create_in(id, WORK, Mode::RWXU)?;
        // The root of the merged tree has the attributes of the top layer's directory.
        if let Some(parent) = parents.first() {
            let below = self.diff(parent);
            let meta = Meta::at(self.folder.fd(), OsStr::new(&format!("{parent}/{DIFF}"))).at("look at", below)?;
            self.adopt(&format!("{id}/{DIFF}"), &meta).at("set attributes of", self.diff(id))?;
        }
        Ok(())
    }

    fn adopt(&self, name: &str, meta: &Meta) -> std::io::Result<()> {
        let fd = self.folder.fd();
        if (meta.uid, meta.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            rustix::fs::chownat(fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if meta.permissions() != Mode::from_raw_mode(0o755) {
            rustix::fs::chmodat(fd, name, meta.permissions(), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(fd, name, &meta.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn commit(&self, id: &LayerId) -> Result<()> {
        let top = self.folder.open_in(id, DIFF)?;
        tree::sync_tree(top).at("sync", self.diff(id))
    }

    pub(crate) fn usage(&self, id: &LayerId) -> Result<Usage> {
        tree::usage(self.folder.open_in(id, DIFF)?).at("measure", self.diff(id))
    }

    pub(crate) fn unpack_target(&self, id: &LayerId) -> Result<UnpackTarget> {
        self.folder.open_in(id, DIFF)?;
        let whiteouts = if self.user_xattr { Whiteouts::OverlayUser } else { Whiteouts::Overlay };
        Ok(UnpackTarget { directory: self.diff(id), whiteouts })
    }
}
