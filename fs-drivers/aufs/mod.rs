//! Layers shown as one tree by AUFS, an out-of-tree file system of kernels from 2.6 on (aufs.sourceforge.net, aufs(5)).
//!
//! `root/aufs/ID/d` is a layer's branch; what it hides are the files `.wh.NAME` in it. Branches are named relative to
//! `root/aufs`, so that the state folder's own path, in which AUFS could escape nothing, does not appear.
//! `options.rs` writes the options, a mount and as many remounts as a page each needs; `probe.rs` tries them.

mod options;
mod probe;

use std::io;
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;

use self::options::Found;
use crate::error::At;
use crate::folder::Folder;
use crate::stacked::{self, DIFF};
use crate::tree;
use crate::{Access, Change, Differ, Driver, Entry, Inheritor, LayerId, LayerOptions, Result, Usage, Whiteouts};

pub(crate) const ENTRY: Entry =
    Entry { name: NAME, probe: probe::probe, unasked: probe::probe, open, options: None, caution: None };

const NAME: &str = "aufs";

#[derive(Debug)]
struct Aufs {
    folder: Folder,
    found: Found,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    let (folder, _) = Folder::open(root, NAME)?;
    let found = folder.learn("found", || Ok(probe::look(root)?.to_string()))?;
    Ok(Box::new(Aufs { folder, found: found.parse()? }))
}

impl Aufs {
    fn diff(&self, id: &LayerId) -> PathBuf {
        self.folder.layer_path(id).join(DIFF)
    }
}

impl Driver for Aufs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        options.refuse_size(NAME)?;
        self.folder.create(id)?;
        stacked::create(&self.folder, id, parents).inspect_err(|_| {
            let _ = self.folder.remove(id);
        })
    }

    fn mounts(&self, id: &LayerId, parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        if parents.is_empty() {
            return Ok(vec![self.folder.bind(id, DIFF, access)]);
        }
        let below = stacked::lower(&self.folder, Whiteouts::Aufs, parents, self.found.branches - 1)?;
        Ok(options::mounts(self.folder.path(), &self.found, id, &below, access))
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

    fn whiteouts(&self) -> Whiteouts {
        Whiteouts::Aufs
    }

    fn directory(&self, id: &LayerId) -> Result<Option<PathBuf>> {
        self.folder.open_in(id, DIFF)?;
        Ok(Some(self.diff(id)))
    }

    fn inheritor(&self) -> Option<&dyn Inheritor> {
        Some(self)
    }

    fn differ(&self) -> Option<&dyn Differ> {
        Some(self)
    }
}

impl Inheritor for Aufs {
    fn inherit(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        stacked::inherit(&self.folder, id, parents)
    }
}

impl Differ for Aufs {
    fn changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
    ) -> Result<()> {
        stacked::changes(&self.folder, Whiteouts::Aufs, id, parents, visit)
    }
}
