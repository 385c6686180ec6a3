//! Layers whose files are a container's with users of its own: shown so by a mount that maps the owners, or made so by a layer of
//! other owners upon them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use berth_arch::IdMap;
use berth_arch::mount::Mount;
use berth_arch::root_dir::RootDir;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use crate::diff::renumber;
use crate::error::At;
use crate::mount::{open_contents, with_mounted};
use crate::tree::{self, Meta, Walk};
use crate::{Access, Driver, LayerId, LayerOptions, Result};

/// The layers of the trial. No numbers in base 36, as the names of layers with a record are.
const BELOW: &str = "trial-below";
const ABOVE: &str = "trial-above";

const FILE: &str = "file";

/// Maps the owners of a driver's mounts.
pub fn map(mounts: &mut [Mount], map: &IdMap) {
    // Those that follow add to the first.
    if let Some(first) = mounts.first_mut() {
        first.map_owners(map);
    }
}

/// Whether this kernel and file system map the owners of what the driver shows: tried with two layers that are gone afterwards. The
/// error says why not. The caller holds a lock, and `map` has root.
pub fn try_map(driver: &dyn Driver, map: &IdMap) -> Result<()> {
    let [below, above]: [LayerId; 2] = [BELOW.parse()?, ABOVE.parse()?];
    let remove = || driver.remove(&above).and_then(|()| driver.remove(&below));
    // What a trial that was killed has left.
    remove()?;
    let tried = trial(driver, &below, &above, map);
    remove()?;
    tried
}

fn trial(driver: &dyn Driver, below: &LayerId, above: &LayerId, map: &IdMap) -> Result<()> {
    let options = LayerOptions::default();
    driver.prepare(below, &[], &options)?;
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let root = open_contents(driver, below, &[], Access::ReadWrite)?;
    rustix::fs::openat(&root, FILE, create, Mode::RUSR).at("create", Path::new(FILE))?;
    drop(root);
    driver.commit(below)?;
    let parents = std::slice::from_ref(below);
    driver.prepare(above, parents, &options)?;
    let mut mounts = driver.mounts(above, parents, Access::ReadWrite)?;
    self::map(&mut mounts, map);
    with_mounted(&mounts, |root| {
        let look = || {
            let found = Meta::at(rustix::fs::CWD, root.join(FILE).as_os_str())?;
            if Some((found.uid, found.gid)) == map.root() {
                return Ok(());
            }
            Err(io::Error::other(format!(
                "the owner is {}:{} in a mount that maps root to {map}",
                found.uid, found.gid
            )))
        };
        look()?;
        // From the layer below into the one above.
        rustix::fs::chmod(root.join(FILE), Mode::RWXU)?;
        look()
    })?
    .at("look at", Path::new(FILE))
}

/// Gives everything that the fresh layer `id` on `parents` shows to whom it belongs by `map`. A file of nobody who is mapped is an
/// error. Drivers that copy a file to change it do so with all.
pub fn give(driver: &dyn Driver, id: &LayerId, parents: &[LayerId], map: &IdMap) -> Result<()> {
    let mounts = driver.mounts(id, parents, Access::ReadWrite)?;
    let all = |root: &Path| -> io::Result<()> {
        let root = RootDir::open(root)?;
        let mut giver = Giver { map, linked: HashMap::new() };
        giver.give(Path::new("/"), root.as_fd(), OsStr::new("."), &Meta::of(&root)?)?;
        let mut walk = Walk::new(&root)?;
        while let Some(found) = walk.next()? {
            giver.give(&found.path, found.directory.as_fd(), &found.name, &found.meta)?;
        }
        Ok(())
    };
    with_mounted(&mounts, all)?.at("give to the container's users", Path::new(id.as_str()))
}

struct Giver<'a> {
    map: &'a IdMap,
    /// Of files with several names: device and number, and whose they were.
    linked: HashMap<(u64, u64), (u32, u32)>,
}

impl Giver<'_> {
    fn give(&mut self, path: &Path, directory: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut was = (meta.uid, meta.gid);
        if !meta.is_dir() && meta.nlink > 1 {
            let first = *self.linked.entry((meta.dev, meta.ino)).or_insert(was);
            // Given by another name of it. Overlay may have taken the names apart, then this one is still as it was.
            if first != was {
                return Ok(());
            }
            was = first;
        }
        let outside = self.map.user_outside(was.0).zip(self.map.group_outside(was.1));
        let (user, group) = outside.ok_or_else(|| {
            named(io::Error::other(format!(
                "its owner {}:{} is not among the users and groups of the container ({})",
                was.0, was.1, self.map
            )))
        })?;
        let xattrs = tree::list_xattrs(directory, name).map_err(named)?;
        let (uid, gid) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        let given = rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        given.map_err(|error| named(error.into()))?;
        // What a change of the owner takes away.
        if meta.kind() != FileType::Symlink && meta.mode & 0o6000 != 0 {
            let mode = meta.permissions();
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty()).map_err(|error| named(error.into()))?;
        }
        for (attribute, value) in xattrs {
            let mut new = value.clone();
            renumber(&attribute, &mut new, |id| self.map.user_outside(id), |id| self.map.group_outside(id));
            if new != value || attribute == b"security.capability" {
                tree::set_xattr(directory, name, &attribute, &new).map_err(named)?;
            }
        }
        Ok(())
    }
}
