//! Layers as datasets of ZFS: a new one is a clone of its parent's snapshot.
//!
//! A layer is the dataset `PARENT/berth-.../ID` (`dataset.rs`), mounted only where it is used, and the folder `root/zfs/ID`. That
//! comes first and goes last, on the disk too, as it is in the same pool: it makes layers known without a call of a program, its
//! lock tells whether one still works on the layer, and its file names the parent. All is done by the program `zfs`
//! (`program.rs`), as the kernel's interface is no stable one. A call takes some milliseconds, so they are counted: one to make
//! a layer, one to seal it and one to remove it.

mod dataset;
mod probe;
mod program;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        use linux as system;
    } else {
        mod freebsd;
        use freebsd as system;
    }
}

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use rustix::fs::{Mode, OFlags};

pub(crate) use self::dataset::is_control;
use self::dataset::{Datasets, random};
use self::program::{destroy, hold, zfs, zpool};
use crate::diff::{Kinship, compare_kin};
use crate::error::At;
use crate::folder::Folder;
use crate::mount::with_mounted;
use crate::tree;
use crate::{Access, Change, Differ, Driver, Entry, Error, LayerId, LayerOptions, Result, Usage, Whiteouts};

pub(crate) const ENTRY: Entry =
    Entry { name: NAME, probe: probe::probe, unasked: probe::probe, open, options: None, caution: None };

const NAME: &str = "zfs";
/// In a layer's folder: the name of its nearest parent, if it has one, and a newline.
const PARENT: &str = "parent";
/// The snapshot that children are clones of.
const SEALED: &str = "sealed";

#[derive(Debug)]
struct Zfs {
    folder: Folder,
    datasets: Datasets,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Zfs::open(root)?))
}

impl Zfs {
    fn open(root: &Path) -> Result<Self> {
        let (folder, _) = Folder::open(root, NAME)?;
        let datasets = Datasets::of(&folder)?;
        Ok(Self { folder, datasets })
    }

    /// The nearest parent of a layer that is there.
    fn parent(&self, id: &LayerId) -> Result<Option<LayerId>> {
        let path = self.folder.layer_path(id).join(PARENT);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::NotFound(id.to_string())),
            other => other.at("read", &path)?,
        };
        match text.strip_suffix('\n') {
            None => Err(Error::NotFound(id.to_string())),
            Some("") => Ok(None),
            Some(parent) => parent.parse().map(Some),
        }
    }

    /// The layer's folder, locked. Programs that work on the layer get the lock too, so that who comes after a crash waits for
    /// those that it left.
    fn hold(&self, name: &OsStr) -> Result<OwnedFd> {
        let path = self.folder.path().join(name);
        let folder = tree::open_dir(self.folder.fd(), name).at("open", &path)?;
        hold(&folder).at("lock", &path)?;
        Ok(folder)
    }

    fn fill(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        let held = self.hold(OsStr::new(id.as_str()))?;
        let quota = options.size.map(|size| format!("quota={size}"));
        let quota: &[&str] = match &quota {
            Some(quota) => &["-o", quota],
            None => &[],
        };
        let path = self.folder.layer_path(id).join(PARENT);
        let parent = parents.first().map_or("", LayerId::as_str);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        // Before the dataset, whose making brings this to the disk as well.
        rustix::fs::openat(&held, PARENT, flags, Mode::RUSR | Mode::WUSR)
            .and_then(|file| rustix::io::write(&file, format!("{parent}\n").as_bytes()))
            .at("write", path)?;
        match parents.first() {
            None => self.create(id, quota, &held),
            Some(parent) => self.clone(id, parent, quota, &held),
        }
    }

    fn create(&self, id: &LayerId, quota: &[&str], held: &OwnedFd) -> Result<()> {
        let dataset = self.datasets.layer(id);
        let create = || zfs(&[&["create"], quota, &[&dataset]].concat(), Some(held));
        match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.datasets.create_base(self.folder.path()).at("create", &self.datasets.base)?;
                create()
            }
            other => other,
        }
        .at("create", &dataset)
        .map(drop)
    }

    fn clone(&self, id: &LayerId, parent: &LayerId, quota: &[&str], held: &OwnedFd) -> Result<()> {
        let dataset = self.datasets.layer(id);
        let clone = |snapshot: &str| zfs(&[&["clone"], quota, &[snapshot, &dataset]].concat(), Some(held));
        match clone(&self.datasets.snapshot(parent, SEALED)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not sealed: as it is now, by a snapshot that goes with the clone.
                self.parent(parent)?;
                let snapshot = self.datasets.snapshot(parent, &random().at("get random bytes for", &dataset)?);
                zfs(&["snapshot", &snapshot], Some(held)).at("make a snapshot", &snapshot)?;
                let cloned = clone(&snapshot);
                zfs(&["destroy", "-d", &snapshot], Some(held)).at("let go of the snapshot", &snapshot)?;
                cloned
            }
            other => other,
        }
        .at("clone to", &dataset)
        .map(drop)
    }

    /// What was written through memory maps waits outside of ZFS, where neither a snapshot nor a file's times know of it.
    fn sync(&self, id: &LayerId) -> Result<()> {
        let dataset = self.datasets.layer(id);
        let sync = |root: &Path| system::sync(&rustix::fs::open(root, tree::DIRECTORY, Mode::empty())?);
        with_mounted(&[self.mount(&dataset)], sync)?.at("sync", &dataset)
    }

    /// Makes the snapshot for children. Where one is, those that are clones of it keep it.
    fn seal(&self, id: &LayerId) -> Result<()> {
        let held = self.hold(OsStr::new(id.as_str()))?;
        let sealed = self.datasets.snapshot(id, SEALED);
        let again = || -> io::Result<()> {
            let old = format!("{sealed}-{}", random()?);
            zfs(&["rename", &sealed, &old], Some(&held))?;
            zfs(&["snapshot", &sealed], Some(&held))?;
            zfs(&["destroy", "-d", &old], Some(&held)).map(drop)
        };
        match zfs(&["snapshot", &sealed], Some(&held)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => again(),
            other => other.map(drop),
        }
        .at("make a snapshot", &sealed)
    }

    /// Inodes in use in a dataset, as of what is on the disk: those of its own books among them, the same number in each.
    fn inodes(&self, dataset: String) -> Result<u64> {
        let counted =
            with_mounted(&[self.mount(&dataset)], |root| rustix::fs::statvfs(root))?.at("look at", dataset)?;
        Ok(counted.f_files.saturating_sub(counted.f_ffree))
    }

    fn mount(&self, dataset: &str) -> Mount {
        Mount {
            fstype: NAME.to_owned(),
            source: dataset.into(),
            target: "/".into(),
            options: Vec::new(),
            base: Some(self.folder.path().to_owned()),
        }
    }
}

impl Driver for Zfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        self.folder.create(id)?;
        self.fill(id, parents, options).map_err(|error| {
            if error.io_kind() == Some(ErrorKind::AlreadyExists) {
                // A dataset without a folder is not ours to destroy unasked: a rollback of the parent leaves such.
                let _ = self.folder.remove(id);
                return Error::Conflict(id.to_string());
            }
            let _ = self.remove(id);
            error
        })
    }

    /// Datasets are mounted for writing always, and what shows them is made read-only: mounted both ways at once they are
    /// refused.
    fn mounts(&self, id: &LayerId, _parents: &[LayerId], access: Access) -> Result<Vec<Mount>> {
        let mount = self.mount(&self.datasets.layer(id));
        let read_only = Mount {
            fstype: "bind".to_owned(),
            options: ["remount", "bind", "ro"].map(str::to_owned).to_vec(),
            ..mount.clone()
        };
        Ok(if access == Access::ReadOnly { vec![mount, read_only] } else { vec![mount] })
    }

    fn commit(&self, id: &LayerId) -> Result<()> {
        self.parent(id)?;
        self.sync(id)?;
        self.seal(id)
    }

    /// ZFS counts for a dataset what was written to it, and goes on to when clones of it share that. The counts are those
    /// of the last transaction, so this ends the present one.
    fn usage(&self, id: &LayerId) -> Result<Usage> {
        let parent = self.parent(id)?;
        let dataset = self.datasets.layer(id);
        // Without the right to, or before 0.7, the count is some seconds old.
        let _ = zpool(&["sync", self.datasets.pool()]);
        let used = zfs(&["get", "-Hp", "-o", "value", "used", &dataset], None).at("measure", &dataset)?;
        let bytes = used.trim().parse().map_err(io::Error::other).at("measure", &dataset)?;
        // The dataset around the layers is empty for good.
        let (below, own) = match &parent {
            Some(parent) => (self.datasets.layer(parent), 0),
            None => (self.datasets.base.clone(), 1),
        };
        let inodes = (self.inodes(dataset)? + own).saturating_sub(self.inodes(below)?);
        Ok(Usage { bytes, inodes })
    }

    /// The dataset goes at once, and then its folder.
    fn remove(&self, id: &LayerId) -> Result<()> {
        let held = match self.hold(OsStr::new(id.as_str())) {
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => None,
            other => Some(other?),
        };
        let dataset = self.datasets.layer(id);
        destroy(&dataset, held.as_ref()).at("destroy", dataset)?;
        self.folder.remove(id)
    }

    /// Folders, and datasets without one, but for those that are being removed.
    fn list(&self) -> Result<Vec<LayerId>> {
        let mut found = self.folder.list()?;
        let base = &self.datasets.base;
        let text = match zfs(&["list", "-H", "-o", "name", "-d", "1", "-t", "filesystem", base], None) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            other => other.at("list", base)?,
        };
        let prefix = format!("{base}/");
        let going = self.folder.removed()?;
        let datasets = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok());
        found.extend(datasets.filter(|id| !going.contains(id)));
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn sweep(&self) -> Result<()> {
        self.folder.sweep_after(&|aside, layer| {
            let id: LayerId = layer.parse()?;
            // The dataset is the folder's of its own name, if there is one again.
            if self.folder.open_in(&id, ".").is_err() {
                let held = match self.hold(OsStr::new(aside)) {
                    Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(true),
                    other => other?,
                };
                let dataset = self.datasets.layer(&id);
                destroy(&dataset, Some(&held)).at("destroy", dataset)?;
            }
            Ok(true)
        })
    }

    fn dismantle(&self) -> Result<()> {
        let base = &self.datasets.base;
        destroy(base, None).at("destroy", base)
    }

    fn whiteouts(&self) -> Whiteouts {
        Whiteouts::Apply
    }

    fn directory(&self, id: &LayerId) -> Result<Option<PathBuf>> {
        self.parent(id).map(|_| None)
    }

    fn differ(&self) -> Option<&dyn Differ> {
        Some(self)
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        probe::status(&self.datasets)
    }
}

impl Differ for Zfs {
    /// Compares the trees by what their inodes say. `zfs diff` tells one of a file's names alone, calls a rename what an
    /// archive needs two names for, and wants mounts that the host sees.
    fn changes(
        &self,
        id: &LayerId,
        parents: &[LayerId],
        visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
    ) -> Result<()> {
        self.parent(id)?;
        self.sync(id)?;
        compare_kin(self, id, parents, Kinship::Clone, visit)
    }
}
