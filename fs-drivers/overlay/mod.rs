//! Layers shown as one tree by the kernel's overlay file system (3.18; several lower layers since 4.0).
//!
//! `root/overlay/ID/d` holds what a layer changes, `ID/w` is the kernel's working directory. Layers are mounted
//! by names relative to `root/overlay`, so that hundreds fit the one page of options that mount(2) takes.
//! `options.rs` decides the options, `probe.rs` tries them, `differ.rs` finds a layer's changes by a walk of its
//! own directory alone.

mod differ;
mod options;
mod probe;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use rustix::fs::{AtFlags, Gid, Mode, Uid};

use crate::error::At;
use crate::folder::Folder;
use crate::tree::{self, Meta};
use crate::{Access, Differ, Driver, Entry, LayerId, LayerOptions, Result, UnpackTarget, Usage, Whiteouts};

pub(crate) const ENTRY: Entry = Entry { name: NAME, probe: probe::probe, open, caution: None };

const NAME: &str = "overlay";
/// What the layer changes: the upper directory while it is written, a lower one afterwards.
const DIFF: &str = "d";
/// The kernel's working directory.
const WORK: &str = "w";
/// Marks a state whose layers keep overlay's books under `user.overlay.*`.
const USER_XATTR: &str = ".userxattr";

#[derive(Debug)]
struct Overlay {
    folder: Folder,
    user_xattr: bool,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    let (folder, made) = Folder::open(root, NAME)?;
    let marker = folder.path().join(USER_XATTR);
    let user_xattr = if made {
        let needed = !probe::sets_trusted(folder.fd()).at("set attributes of", folder.path())?;
        if needed {
            std::fs::write(&marker, "").at("create", &marker)?;
        }
        needed
    } else {
        rustix::fs::accessat(folder.fd(), USER_XATTR, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    };
    Ok(Box::new(Overlay { folder, user_xattr }))
}

impl Overlay {
    fn opaque(&self) -> &'static str {
        if self.user_xattr { "user.overlay.opaque" } else { "trusted.overlay.opaque" }
    }

    fn diff(&self, id: &LayerId) -> PathBuf {
        self.folder.layer_path(id).join(DIFF)
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
}

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        options.refuse_size(NAME, "the driver btrfs can, on a btrfs file system")?;
        self.folder.create(id)?;
        self.fill(id, parents).inspect_err(|_| {
            let _ = self.folder.remove(id);
        })
    }

    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        if access != Access::ReadOnly {
            options::forget_volatile(self.folder.fd(), id);
        }
        Ok(vec![options::mount(self.folder.path(), self.user_xattr, id, parents, access)])
    }

    fn commit(&self, id: &LayerId) -> Result<()> {
        let top = self.folder.open_in(id, DIFF)?;
        tree::sync_tree(top).at("sync", self.diff(id))
    }

    fn usage(&self, id: &LayerId) -> Result<Usage> {
        tree::usage(self.folder.open_in(id, DIFF)?).at("measure", self.diff(id))
    }

    fn remove(&self, id: &LayerId) -> Result<()> {
        self.folder.remove(id)
    }

    fn list(&self) -> Result<Vec<LayerId>> {
        self.folder.list()
    }

    fn sweep(&self) -> Result<()> {
        self.folder.sweep()
    }

    fn unpack_target(&self, id: &LayerId) -> Result<UnpackTarget> {
        self.folder.open_in(id, DIFF)?;
        let whiteouts = if self.user_xattr { Whiteouts::OverlayUser } else { Whiteouts::Overlay };
        Ok(UnpackTarget { directory: self.diff(id), whiteouts })
    }

    fn differ(&self) -> Option<&dyn Differ> {
        Some(self)
    }

    /// Docker's names; the first two the probe has seen to.
    fn status(&self) -> Vec<(&'static str, String)> {
        let yes_or_no = |answer: bool| answer.to_string();
        vec![
            ("Supports d_type", yes_or_no(true)),
            ("Native Overlay Diff", yes_or_no(true)),
            ("Using metacopy", yes_or_no(false)),
            ("userxattr", yes_or_no(self.user_xattr)),
        ]
    }
}
