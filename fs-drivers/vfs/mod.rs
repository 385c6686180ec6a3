//! A whole copy of the tree for each layer: works on every file system, without a mount of its own.
//!
//! `root/vfs/ID/d` is the merged tree. Data is shared with the parent where the file system can (reflink on btrfs
//! and xfs), otherwise each layer costs the size of the whole image.

use std::path::{Path, PathBuf};

use berth_arch::Probe;
use berth_arch::mount::Mount;
use rustix::fs::Mode;

use crate::error::At;
use crate::folder::Folder;
use crate::tree::{self, Copier};
use crate::{Access, Differ, Driver, Entry, Error, LayerId, LayerOptions, Result, Usage, Whiteouts, full};

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    probe,
    unasked: probe,
    open,
    options: None,
    caution: Some(
        "vfs copies every file of the image for each layer and container: slow, and where the file system cannot share blocks \
         (reflink) it takes the space each time",
    ),
};

const NAME: &str = "vfs";
const TREE: &str = "d";

#[derive(Debug)]
struct Vfs {
    folder: Folder,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    let (folder, _) = Folder::open(root, NAME)?;
    Ok(Box::new(Vfs { folder }))
}

fn probe(root: &Path) -> Probe<Vec<String>> {
    let trial = || -> std::io::Result<bool> {
        std::fs::create_dir_all(root)?;
        let from = scratch(root)?;
        rustix::io::pwrite(&from, b"x", 0)?;
        Ok(!berth_arch::pretend::without("reflink") && tree::clone_data(scratch(root)?, &from).is_ok())
    };
    match trial() {
        Ok(true) => Probe::available(vec!["reflink".to_owned()]),
        Ok(false) => Probe::available(vec!["full copies".to_owned()]),
        Err(error) => {
            let reason = format!("create a file in {}: {error}", root.display());
            Probe::unavailable(reason, "give a state folder that can be written (--root)")
        }
    }
}

/// A file without a name.
fn scratch(root: &Path) -> std::io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::OFlags;
    let path = root.join(format!(".probe-{}", std::process::id()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::remove_file(&path)?;
    Ok(fd)
}

impl Vfs {
    fn tree(&self, id: &LayerId) -> PathBuf {
        self.folder.layer_path(id).join(TREE)
    }

    /// Bytes of `parent` that are not in its copy `id` yet.
    fn missing(&self, id: &LayerId, parent: &LayerId) -> u64 {
        let taken = |id| self.usage(id).map(|usage| usage.bytes).unwrap_or_default();
        taken(parent).saturating_sub(taken(id))
    }

    fn fill(&self, id: &LayerId, parents: &[LayerId]) -> Result<()> {
        self.folder.create_in(id, TREE, Mode::from_raw_mode(0o755))?;
        if let Some(parent) = parents.first() {
            let source = self.folder.open_in(parent, TREE)?;
            let copier = Copier::new(self.folder.open_in(id, TREE)?);
            copier.copy(source).map_err(|(path, source)| Error::Io {
                action: "copy",
                path: self.tree(parent).join(path),
                source: full::tell(source, self.missing(id, parent)),
            })?;
        }
        Ok(())
    }
}

impl Driver for Vfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        options.refuse_size(NAME)?;
        self.folder.create(id)?;
        self.fill(id, parents).inspect_err(|_| {
            let _ = self.folder.remove(id);
        })
    }

    fn mounts(&self, id: &LayerId, _parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        Ok(vec![self.folder.bind(id, TREE, access)])
    }

    fn commit(&self, id: &LayerId) -> Result<()> {
        tree::sync_tree(self.folder.open_in(id, TREE)?).at("sync", self.tree(id))
    }

    fn usage(&self, id: &LayerId) -> Result<Usage> {
        tree::usage(self.folder.open_in(id, TREE)?).at("measure", self.tree(id))
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
        Whiteouts::Apply
    }

    fn directory(&self, id: &LayerId) -> Result<Option<PathBuf>> {
        self.folder.open_in(id, TREE)?;
        Ok(Some(self.tree(id)))
    }

    fn differ(&self) -> Option<&dyn Differ> {
        None
    }
}
