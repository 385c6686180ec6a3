//! Layers as subvolumes of btrfs: a new one is a snapshot of its parent, made in the time of one transaction.
//!
//! `root/btrfs/ID/d` is a subvolume with the merged tree. All is done by control calls (`ioctl.rs`); the program `btrfs`
//! is not needed. `subvolume.rs` removes, `search.rs` reads the file system's trees, `generation.rs` finds by them what a
//! layer took and changed, `quota.rs` limits.

mod generation;
mod ioctl;
mod probe;
mod quota;
mod search;
pub(crate) mod subvolume;
#[cfg(test)]
pub(crate) mod testing;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::diff::compare_open;
use crate::error::At;
use crate::folder::Folder;
use crate::tree;
use crate::{Access, Change, Differ, Driver, Entry, Error, LayerId, LayerOptions, Result, Usage, Whiteouts};

pub(crate) const ENTRY: Entry =
    Entry { name: NAME, probe: probe::probe, unasked: probe::probe, open, options: None, caution: None };

const NAME: &str = "btrfs";
const TREE: &str = "d";
/// Made and removed again to bring what was written to `d` to the disk.
const FLUSH: &str = "f";

#[derive(Debug)]
struct Btrfs {
    folder: Folder,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    let (folder, _) = Folder::open(root, NAME)?;
    Ok(Box::new(Btrfs { folder }))
}

impl Btrfs {
    fn tree(&self, id: &LayerId) -> PathBuf {
        self.folder.layer_path(id).join(TREE)
    }

    fn fill(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        let path = self.tree(id);
        let folder = self.open_layer(id)?;
        let quotas = options.size.map(|_| quota::turn_on(&folder)).transpose().map_err(cannot_limit)?;
        match parents.first() {
            Some(parent) => {
                let source = self.folder.open_in(parent, TREE)?;
                ioctl::snapshot(source, &folder, OsStr::new(TREE), false).at("make a snapshot at", &path)?;
            }
            None => {
                ioctl::create(&folder, OsStr::new(TREE)).at("create the subvolume", &path)?;
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::chmodat(&folder, TREE, mode, AtFlags::empty()).at("set the mode of", &path)?;
            }
        }
        if let (Some(size), Some(mode)) = (options.size, quotas) {
            quota::limit(self.folder.open_in(id, TREE)?, mode, size).map_err(cannot_limit)?;
        }
        Ok(())
    }

    /// The folder that the subvolume is in.
    fn open_layer(&self, id: &LayerId) -> Result<OwnedFd> {
        tree::open_dir(self.folder.fd(), OsStr::new(id.as_str())).at("open", self.folder.layer_path(id))
    }

    /// Brings what was written to the layer to the disk, and nothing of other layers: a snapshot takes along what its
    /// source has, and is there when its transaction is. Full quotas would count through every reference for it.
    fn flush(&self, id: &LayerId) -> Result<OwnedFd> {
        let top = self.folder.open_in(id, TREE)?;
        let folder = self.open_layer(id)?;
        let sync = || -> io::Result<()> {
            if quota::mode(&top).is_ok_and(|mode| mode != quota::Mode::Full) {
                let name = OsStr::new(FLUSH);
                // An interrupted call left it.
                subvolume::destroy(std::os::fd::AsFd::as_fd(&folder), name)?;
                if ioctl::snapshot(&top, &folder, name, true).is_ok() {
                    return Ok(ioctl::destroy(&folder, name)?);
                }
            }
            tree::sync_tree(top.try_clone()?)
        };
        sync().at("sync", self.tree(id))?;
        Ok(top)
    }
}

/// Quotas are the file system's, and take the right to change it.
fn cannot_limit(error: io::Error) -> Error {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "quotas of btrfs take root on the host",
        Some(libc::ENOTTY | libc::ENOSYS | libc::EOPNOTSUPP) => "the kernel has no quotas for btrfs",
        _ => "turn them on by hand: btrfs quota enable",
    };
    Error::Unsupported(format!("--storage-opt size: limit a subvolume of btrfs by quotas: {error} ({remedy})"))
}

impl Driver for Btrfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        self.folder.create(id)?;
        self.fill(id, parents, options).inspect_err(|_| {
            let _ = self.remove(id);
        })
    }

    fn mounts(&self, id: &LayerId, _parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        Ok(vec![self.folder.bind(id, TREE, access)])
    }

    fn commit(&self, id: &LayerId) -> Result<()> {
        self.flush(id).map(drop)
    }

    fn usage(&self, id: &LayerId) -> Result<Usage> {
        let top = self.flush(id)?;
        match generation::usage(&top) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => tree::usage_by(top, &|directory, name, meta| {
                if meta.kind() != rustix::fs::FileType::RegularFile || meta.blocks == 0 {
                    return Ok(0);
                }
                Ok(ioctl::unshared(tree::open_file(directory, name)?)?)
            }),
            other => other,
        }
        .at("measure", self.tree(id))
    }

    fn remove(&self, id: &LayerId) -> Result<()> {
        let quotas = quota::mode(self.folder.fd()).is_ok_and(|mode| mode != quota::Mode::Off);
        let number = match quotas {
            true => self.folder.open_in(id, TREE).ok().and_then(|top| ioctl::subvolume_of(top).ok()),
            false => None,
        };
        if let Some(number) = number {
            quota::lift(self.folder.fd(), number);
        }
        self.folder.remove(id)?;
        if quotas {
            let _ = quota::forget(self.folder.fd(), number);
        }
        Ok(())
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
        Some(self)
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        probe::status(self.folder.fd()).map(|quotas| ("Quotas", quotas.to_owned())).into_iter().collect()
    }
}

impl Differ for Btrfs {
    /// Compares with the nearest parent what can have changed, and everything where that is not known.
    fn changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
    ) -> Result<()> {
        let top = self.flush(id)?;
        let below = parents.first().map(|parent| self.folder.open_in(parent, TREE)).transpose()?;
        let touched = match &below {
            Some(below) => match generation::touched(&top, below) {
                Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => None,
                other => other.at("search for changes of", self.tree(id))?,
            },
            None => None,
        };
        compare_open(below, top, touched.as_ref(), visit).at("compare", self.tree(id))
    }
}
