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
use std::path::PathBuf;

use berth_arch::mount::Mount;
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::At;
use crate::stacked::{self, DIFF, Layered, WORK};
use crate::{Access, Differ, Driver, Entry, Inheritor, LayerId, LayerOptions, Result, Usage, Whiteouts};

pub(crate) const ENTRY: Entry =
    Entry { name: NAME, probe: probe::probe, unasked: probe::probe, open, options: None, caution: None };

const NAME: &str = "overlay";
/// As [`WORK`] of a read-only mount: the layer may be mounted for writing at the same time.
const READ_WORK: &str = "r";

#[derive(Debug)]
struct Overlay {
    layered: Layered,
    /// Whether the kernel stacks more than one lower layer.
    several: bool,
}

fn open(root: &std::path::Path) -> Result<Box<dyn Driver>> {
    let layered = Layered::open(root, NAME)?;
    let several = room::stacks_several(&layered.folder, layered.form)?;
    Ok(Box::new(Overlay { layered, several }))
}

impl Overlay {
    /// What is mounted for `id`, relative to the folder.
    fn stack(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<options::Stack> {
        let upper = |work: &str| Some((format!("{id}/{DIFF}"), format!("{id}/{work}")));
        let read_only = access == Access::ReadOnly;
        // Before 4.0 there is no mount without an upper directory.
        let alone = read_only && self.several;
        let own = usize::from(alone);
        let room = if self.several { room::of(id, parents) } else { 1 };
        let mut lower = stacked::lower(&self.layered.folder, self.layered.form, parents, room - own)?;
        if alone {
            lower.insert(0, format!("{id}/{DIFF}"));
        }
        let upper = match (read_only, alone) {
            (true, true) => None,
            (true, false) => {
                self.make_read_work(id).at("create", self.layered.folder.layer_path(id).join(READ_WORK))?;
                upper(READ_WORK)
            }
            (false, _) => upper(WORK),
        };
        Ok(options::Stack { lower, upper })
    }

    fn make_read_work(&self, id: &LayerId) -> io::Result<()> {
        match rustix::fs::mkdirat(self.layered.folder.fd(), format!("{id}/{READ_WORK}"), Mode::RWXU) {
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
        options.refuse_size(NAME)?;
        self.layered.prepare(id, parents)
    }

    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        if access != Access::ReadOnly {
            options::forget_volatile(self.layered.folder.fd(), id);
        }
        // A layer with nothing below needs no overlay, which wants two directories at least.
        if parents.is_empty() {
            return Ok(vec![self.layered.folder.bind(id, DIFF, access)]);
        }
        let stack = self.stack(id, parents, access)?;
        Ok(vec![options::mount(self.layered.folder.path(), self.layered.form, &stack, access)])
    }

    fn commit(&self, id: &LayerId) -> Result<()> {
        self.layered.commit(id)
    }

    fn usage(&self, id: &LayerId) -> Result<Usage> {
        self.layered.usage(id)
    }

    fn remove(&self, id: &LayerId) -> Result<()> {
        self.layered.folder.remove(id)
    }

    fn list(&self) -> Result<Vec<LayerId>> {
        self.layered.folder.list()
    }

    fn sweep(&self) -> Result<()> {
        self.layered.folder.sweep()
    }

    fn whiteouts(&self) -> Whiteouts {
        self.layered.form
    }

    fn directory(&self, id: &LayerId) -> Result<Option<PathBuf>> {
        self.layered.directory(id).map(Some)
    }

    fn inheritor(&self) -> Option<&dyn Inheritor> {
        Some(&self.layered)
    }

    fn differ(&self) -> Option<&dyn Differ> {
        Some(&self.layered)
    }

    /// Docker's names; the first two the probe has seen to.
    fn status(&self) -> Vec<(&'static str, String)> {
        let yes_or_no = |answer: bool| answer.to_string();
        vec![
            ("Supports d_type", yes_or_no(true)),
            ("Native Overlay Diff", yes_or_no(true)),
            ("Using metacopy", yes_or_no(false)),
            ("userxattr", yes_or_no(self.layered.form == Whiteouts::OverlayUser)),
        ]
    }
}
