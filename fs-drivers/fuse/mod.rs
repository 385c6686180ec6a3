//! Layers shown as one tree by a file system of our own in user space (FUSE, 2.6.14).
//!
//! Layers are kept as the overlay driver keeps them. `union/` is the file system, `options.rs` what a mount of it says,
//! `activation.rs` opens the device and starts who serves it: threads of this process for a look of the engine's own, a process
//! (`server.rs`) for a container. The connection ends with the last mount, and the server with it.

#![deny(unsafe_op_in_unsafe_fn)]

mod activation;
mod linger;
mod options;
mod probe;
mod server;
mod thread;
mod union;
mod workers;

use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;

pub use self::activation::{Activation, Starting, Waiting};
pub use self::options::TYPE;
pub use self::server::{ROLE, main};
use crate::stacked::Layered;
use crate::{Access, Differ, Driver, Entry, Inheritor, LayerId, LayerOptions, Result, Usage, Whiteouts};

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    probe: probe::probe,
    unasked: probe::probe,
    open,
    options: None,
    caution: Some("fuse serves every file through a process: it takes no more space than overlay and is slower"),
};

const NAME: &str = "fuse";

#[derive(Debug)]
struct Fuse {
    layered: Layered,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Fuse { layered: Layered::open(root, NAME)? }))
}

impl Driver for Fuse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        options.refuse_size(NAME)?;
        self.layered.prepare(id, parents)
    }

    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        let Layered { folder, form } = &self.layered;
        Ok(vec![options::mount(folder.path(), *form == Whiteouts::OverlayUser, id, parents, access)])
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
}
