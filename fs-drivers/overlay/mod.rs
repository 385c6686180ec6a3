//! Layers shown as one tree by the kernel's overlay file system (3.18; several lower layers since 4.0).
//!
//! Layers are kept as `layered/` has them. They are mounted
//! by names relative to `root/overlay`, so that hundreds fit the one page of options that mount(2) takes.
//! `options.rs` decides the options, `probe.rs` tries them.

mod options;
mod probe;

use std::path::Path;

use berth_arch::mount::Mount;

use crate::layered::Layered;
use crate::{Access, Differ, Driver, Entry, LayerId, Result, UnpackTarget, Usage};

pub(crate) const ENTRY: Entry = Entry { name: NAME, probe: probe::probe, open, caution: None };

const NAME: &str = "overlay";

#[derive(Debug)]
struct Overlay {
    layered: Layered,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Overlay { layered: Layered::open(root, NAME)? }))
}

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        self.layered.prepare(id, parents)
    }

    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        let Layered { folder, user_xattr } = &self.layered;
        if access != Access::ReadOnly {
            options::forget_volatile(folder.fd(), id);
        }
        Ok(vec![options::mount(folder.path(), *user_xattr, id, parents, access)])
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

    fn unpack_target(&self, id: &LayerId) -> Result<UnpackTarget> {
        self.layered.unpack_target(id)
    }

    fn differ(&self) -> Option<&dyn Differ> {
        Some(&self.layered)
    }
}
