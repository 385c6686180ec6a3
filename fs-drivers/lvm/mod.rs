//! Layers as thin devices of device-mapper, each with a file system of its own: a new one is a snapshot of its parent.
//!
//! `root/lvm/ID/device` says which thin device the layer is (`record.rs`). All is done by control calls (`dm.rs`, `thin.rs`); the
//! programs of LVM are not needed, and LVM's books (its transaction number among them) stay as they are. `pool.rs` opens the
//! pool, `loops.rs` makes one of files, `template.rs` the empty file system that lowest layers are snapshots of, `space.rs` watches
//! what is left, `activation.rs` makes a device while somebody mounts it: the kernel takes it away after the last user, so
//! that no device stays behind, however its users end. `settings.rs` keeps what the configuration asks for.
//!
//! The driver's lock is held over every change of the pool, so that an interrupted one is seen as such by the next holder.

mod activation;
mod control;
mod dm;
mod filesystem;
mod held;
mod loops;
mod node;
mod options;
mod pool;
mod probe;
mod record;
mod release;
mod settings;
mod space;
mod template;
#[cfg(test)]
pub(crate) mod testing;
mod thin;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use berth_arch::mount::Mount;
use rustix::io::Errno;

pub use self::activation::activate;
use self::dm::Control;
pub use self::held::Held;
use self::pool::Pool;
use self::record::{Record, Totals};
use self::settings::{Settings, Source};
use crate::error::At;
use crate::folder::Folder;
use crate::mount::with_mounted;
use crate::{Access, Differ, Driver, Entry, Error, LayerId, LayerOptions, Result, Usage, Whiteouts, size};

pub(crate) const ENTRY: Entry = Entry {
    name: NAME,
    probe: probe::probe,
    unasked: probe::unasked,
    open,
    options: Some(&options::OPTIONS),
    caution: None,
};

const NAME: &str = "lvm";

/// Bytes of a layer's file system, as Docker's `dm.basesize`. It takes what is written to it.
const LAYER_SIZE: u64 = 10 << 30;
/// Percent, as Docker's `dm.min_free_space`.
const MIN_FREE: u8 = 10;

/// As often a number is tried that turns out to be somebody else's.
const NUMBERS_TRIED: u32 = 64;

#[derive(Debug)]
struct Lvm {
    folder: Folder,
    settings: Settings,
    /// A pool in files, once it was needed.
    pool: Mutex<Option<Arc<Pool>>>,
}

/// A device that is suspended, and stays.
struct Frozen {
    device: String,
    _held: Held,
}

fn open(root: &Path) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Lvm::open(root)?))
}

/// Held over every change of the pool.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    file.lock().at("lock", path)?;
    Ok(file)
}

impl Lvm {
    fn open(root: &Path) -> Result<Self> {
        let (folder, _) = Folder::open(root, NAME)?;
        let settings = match Settings::read(folder.path())? {
            Some(settings) => settings,
            None => {
                let _lock = lock(folder.path())?;
                match Settings::read(folder.path())? {
                    Some(settings) => settings,
                    None => {
                        let new = Settings::new()?;
                        new.write(folder.path())?;
                        new
                    }
                }
            }
        };
        Ok(Self { folder, settings, pool: Mutex::default() })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// device-mapper's name of the layer's device, while there is one.
    fn device_name(&self, name: &str) -> String {
        format!("berth-{}-{name}", self.settings.tag)
    }

    fn record(&self, name: &str) -> Result<Record> {
        Record::read(self.path(), name)
    }

    /// Calls `f` with the pool and the lock.
    fn with_pool<T>(&self, f: impl FnOnce(&Control, &Pool) -> Result<T>) -> Result<T> {
        let control = node::control(self.path())?;
        let _lock = lock(self.path())?;
        let pool = self.open_pool(&control)?;
        f(&control, &pool)
    }

    fn open_pool(&self, control: &Control) -> Result<Arc<Pool>> {
        let mut kept = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*kept {
            return Ok(pool.clone());
        }
        let pool = Arc::new(pool::open(self.path(), &self.settings, control)?);
        if self.settings.pool == Source::Files {
            *kept = Some(pool.clone());
        }
        Ok(pool)
    }

    /// Makes the device of the folder `name`: a snapshot of `parent`'s, or an empty one. The record comes first, so that no
    /// device is without one; what it names is then looked for, and made anew if it is somebody else's.
    fn make_device(&self, name: &str, record: Record) -> Result<Record> {
        let origin =
            record.parent.as_deref().map(|parent| Ok::<_, Error>((parent, self.record(parent)?))).transpose()?;
        self.with_pool(|control, pool| {
            space::check(self, control, pool)?;
            let frozen = match &origin {
                // What is sealed is not written to.
                Some((parent, found)) if found.sealed.is_none() => self.freeze(control, parent)?,
                _ => None,
            };
            let made = self.claim(name, &record, &mut |number| match &origin {
                Some((_, found)) => thin::snapshot(control, &pool.name, number, found.device),
                None => thin::create(control, &pool.name, number),
            });
            if let Some(frozen) = frozen {
                control.resume(&frozen.device).at("resume", &frozen.device)?;
            }
            made
        })
    }

    fn claim(&self, name: &str, record: &Record, make: &mut dyn FnMut(u32) -> Result<(), Errno>) -> Result<Record> {
        for _ in 0..NUMBERS_TRIED {
            let record = Record { device: thin::any_number()?, ..record.clone() };
            record.write(self.path(), name)?;
            match make(record.device) {
                Ok(()) => return Ok(record),
                Err(error) => {
                    // Before anything else: it names what is not ours.
                    Record::withdraw(self.path(), name)?;
                    if error != Errno::EXIST {
                        return Err(error).at("make a thin device for", self.path().join(name));
                    }
                }
            }
        }
        Err(Errno::EXIST).at("find a free number in the thin pool for", self.path().join(name))
    }

    /// Holds back what is written to the layer's device, if it is there.
    fn freeze(&self, control: &Control, name: &str) -> Result<Option<Frozen>> {
        let device = self.device_name(name);
        // One that is just going is waited for: what was written to it is in the pool then.
        while let Some(info) = control.info(&device).at("look for", &device)?.filter(|info| info.is_live) {
            if let Some(held) = Held::new(self.path(), control, &device, info.device)? {
                control.suspend(&device).at("suspend", &device)?;
                return Ok(Some(Frozen { device, _held: held }));
            }
        }
        Ok(None)
    }

    fn fill(&self, id: &LayerId, parents: &[LayerId], options: &LayerOptions) -> Result<()> {
        let name = id.as_str();
        let parent = match parents.first() {
            Some(parent) => parent.as_str().to_owned(),
            None => template::find(self)?,
        };
        let below = self.record(&parent)?;
        let bytes = self.size(&below, options)?;
        let grows = bytes > below.bytes;
        let record = self.make_device(name, Record { parent: Some(parent), bytes, sealed: None, ..below })?;
        if grows { self.grow(name, &record) } else { Ok(()) }
    }

    /// Bytes that the layer's file system is to have. It cannot have less than what it is a snapshot of.
    fn size(&self, below: &Record, options: &LayerOptions) -> Result<u64> {
        let asked = options.size.map_or(below.bytes, |size| size.next_multiple_of(thin::BLOCK));
        if asked < below.bytes {
            return Err(Error::Unsupported(format!(
                "--storage-opt size: a layer is as large as the file system of its image, {} here, or larger (for smaller ones, set \
                 {}size in berth.toml before the image is loaded)",
                size::show(below.bytes),
                settings::PREFIX
            )));
        }
        Ok(asked)
    }

    fn grow(&self, name: &str, record: &Record) -> Result<()> {
        let path = self.path().join(name);
        let kind = record.filesystem;
        let grown = with_mounted(&self.mount(name, Access::ReadWrite), |root| kind.grow(root, record.bytes))?;
        grown
            .or_else(|_| kind.grow_offline(self.activate(name)?.path()).at("enlarge the file system of", &path))
            .map_err(|error| {
                Error::Unsupported(format!(
                    "--storage-opt size: {error} (it takes CAP_SYS_RESOURCE, or the program resize2fs)"
                ))
            })
    }

    /// The mounts that show the folder `name`'s device. A file system that may be mounted for writing elsewhere is mounted for
    /// writing here too, as it is one, and what is seen of it is made read-only.
    fn mount(&self, name: &str, access: Access) -> Vec<Mount> {
        let word = activation::word(access);
        let device = Mount {
            fstype: activation::TYPE.to_owned(),
            source: name.into(),
            target: "/".into(),
            options: vec![word.to_owned()],
            base: Some(self.path().to_owned()),
        };
        let read_only = Mount {
            fstype: "bind".to_owned(),
            source: "none".into(),
            target: "/".into(),
            options: vec!["remount".to_owned(), "ro".to_owned()],
            base: None,
        };
        std::iter::once(device).chain((access == Access::ReadOnly).then_some(read_only)).collect()
    }

    /// Writes out what the layer's file system has in memory, by a mount of it, and measures.
    fn measure(&self, name: &str, access: Access) -> Result<Totals> {
        let inodes = with_mounted(&self.mount(name, access), |root| -> std::io::Result<u64> {
            crate::tree::sync_tree(rustix::fs::open(root, crate::tree::DIRECTORY, rustix::fs::Mode::empty())?)?;
            let found = rustix::fs::statvfs(root)?;
            Ok(found.f_files.saturating_sub(found.f_ffree))
        })?
        .at("measure", self.path().join(name))?;
        let held = self.activate(name)?;
        held.sync().at("sync", self.path().join(name))?;
        let device = self.device_name(name);
        let status = node::control(self.path())?.status(&device).at("ask for the status of", &device)?;
        let sectors = status.as_ref().and_then(thin::mapped).unwrap_or_default();
        Ok(Totals { sectors, inodes })
    }

    /// Brings the folder `name`'s file system to the disk and closes it.
    fn seal(&self, name: &str) -> Result<()> {
        let record = self.record(name)?;
        if record.sealed.is_some() {
            return Ok(());
        }
        let sealed = Some(self.measure(name, Access::ReadWrite)?);
        Record { sealed, ..record }.write(self.path(), name)
    }

    fn totals(&self, name: &str) -> Result<Totals> {
        match self.record(name)?.sealed {
            Some(totals) => Ok(totals),
            None => self.measure(name, Access::ReadOnly),
        }
    }
}

impl Driver for Lvm {
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
        Ok(self.mount(id.as_str(), access))
    }

    fn commit(&self, id: &LayerId) -> Result<()> {
        self.seal(id.as_str())
    }

    /// What the layer has more than what it is a snapshot of. What it has written over counts as its parent's.
    fn usage(&self, id: &LayerId) -> Result<Usage> {
        let record = self.record(id.as_str())?;
        let own = self.totals(id.as_str())?;
        let below = record.parent.as_deref().map(|parent| self.totals(parent)).transpose()?;
        let below = below.unwrap_or(Totals { sectors: 0, inodes: 0 });
        // Of a lowest layer, the top directory counts.
        let top = u64::from(record.parent.as_deref().is_some_and(template::is));
        Ok(Usage {
            bytes: own.sectors.saturating_sub(below.sectors) * thin::SECTOR,
            inodes: (own.inodes + top).saturating_sub(below.inodes),
        })
    }

    fn remove(&self, id: &LayerId) -> Result<()> {
        self.folder.remove_after(id, &|aside| release::device(self, aside, id.as_str()))
    }

    fn list(&self) -> Result<Vec<LayerId>> {
        self.folder.list()
    }

    fn sweep(&self) -> Result<()> {
        release::sweep(self)
    }

    /// A pool in files goes with its last device.
    fn dismantle(&self) -> Result<()> {
        template::remove_all(self)
    }

    fn whiteouts(&self) -> Whiteouts {
        Whiteouts::Apply
    }

    fn directory(&self, id: &LayerId) -> Result<Option<PathBuf>> {
        self.record(id.as_str()).map(|_| None)
    }

    fn differ(&self) -> Option<&dyn Differ> {
        None
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        space::report(self)
    }
}
