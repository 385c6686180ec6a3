//! Layers shown as one tree by the kernel's overlay file system (3.18; several lower layers since 4.0).
//!
//! `root/overlay/ID/d` holds what a layer changes, `ID/w` is the kernel's working directory, `ID/r` that of read-only
//! mounts where the kernel wants one, `ID/m` the flattened chain where it cannot stack it. Layers are mounted by names
//! relative to `root/overlay`, so that hundreds fit the one page of options that mount(2) takes and nothing in the
//! state folder's own path has to be escaped. `options.rs` decides the options, `probe.rs` tries them, `room.rs` says
//! how many layers go into one mount.

mod options;
mod probe;
mod room;

use std::io;

use berth_arch::mount::Mount;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::error::At;
use crate::folder::Folder;
use crate::stacked::{self, DIFF};
use crate::tree;
use crate::{Access, Change, Differ, Driver, Entry, LayerId, LayerOptions, Result, UnpackTarget, Usage, Whiteouts};

pub(crate) const ENTRY: Entry = Entry { name: NAME, probe: probe::probe, open, caution: None };

const NAME: &str = "overlay";
/// The kernel's working directory.
const WORK: &str = "w";
/// As [`WORK`] of a read-only mount: the layer may be mounted for writing at the same time.
const READ_WORK: &str = "r";
/// Marks a state whose layers keep overlay's books under `user.overlay.*`.
const USER_XATTR: &str = ".userxattr";

#[derive(Debug)]
struct Overlay {
    folder: Folder,
    form: Whiteouts,
    /// Whether the kernel stacks more than one lower layer.
    several: bool,
}

fn open(root: &std::path::Path) -> Result<Box<dyn Driver>> {
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
    let form = if user_xattr { Whiteouts::OverlayUser } else { Whiteouts::Overlay };
    let several = room::stacks_several(&folder, form)?;
    Ok(Box::new(Overlay { folder, form, several }))
}

impl Overlay {
    fn diff(&self, id: &LayerId) -> std::path::PathBuf {
        self.folder.layer_path(id).join(DIFF)
    }

    /// What is mounted for `id`, relative to the folder.
    fn stack(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<options::Stack> {
        let upper = |work: &str| Some((format!("{id}/{DIFF}"), format!("{id}/{work}")));
        let read_only = access == Access::ReadOnly;
        // Before 4.0 there is no mount without an upper directory.
        let alone = read_only && self.several;
        let own = usize::from(alone);
        let room = if self.several { room::of(id, parents) } else { 1 };
        let mut lower = stacked::lower(&self.folder, self.form, parents, room - own)?;
        if alone {
            lower.insert(0, format!("{id}/{DIFF}"));
        }
        let upper = match (read_only, alone) {
            (true, true) => None,
            (true, false) => {
                self.make_read_work(id).at("create", self.folder.layer_path(id).join(READ_WORK))?;
                upper(READ_WORK)
            }
            (false, _) => upper(WORK),
        };
        Ok(options::Stack { lower, upper })
    }

    fn make_read_work(&self, id: &LayerId) -> io::Result<()> {
        match rustix::fs::mkdirat(self.folder.fd(), format!("{id}/{READ_WORK}"), Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }
}

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        options.refuse_size(NAME, "the driver btrfs can, on a btrfs file system")?;
        self.folder.create(id)?;
        let fill = || {
            stacked::create(&self.folder, id, parents)?;
            self.folder.create_in(id, WORK, Mode::RWXU)
        };
        fill().inspect_err(|_| {
            let _ = self.folder.remove(id);
        })
    }

    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        if access != Access::ReadOnly {
            options::forget_volatile(self.folder.fd(), id);
        }
        // A layer with nothing below needs no overlay, which wants two directories at least.
        if parents.is_empty() {
            return Ok(vec![self.folder.bind(id, DIFF, access)]);
        }
        let stack = self.stack(id, parents, access)?;
        Ok(vec![options::mount(self.folder.path(), self.form, &stack, access)])
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
        Ok(UnpackTarget { directory: self.diff(id), whiteouts: self.form })
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

impl Differ for Overlay {
    fn changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
    ) -> Result<()> {
        stacked::changes(&self.folder, self.form, id, parents, visit)
    }
}
