//! A chain of layers as one directory, for kernels that stack fewer than the chain has.
//!
//! Files are hard links to those of the layers, as the kernel never writes to a lower directory: a container that
//! changes one, its mode or its owner included, gets a copy. `ID/m` is what layer ID shows with everything below it;
//! it goes with the layer. It appears whole and on the disk, or not at all.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_arch::pretend;
use berth_arch::root_dir::RootDir;
use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;

use super::DIFF;
use super::form::Entry;
use crate::diff::AUFS;
use crate::error::At;
use crate::folder::Folder;
use crate::tree::{self, Directories, Found, Meta, Walk};
use crate::{Error, LayerId, Result, Usage, Whiteouts};

const FLAT: &str = "m";
/// While it is made.
const UNFINISHED: &str = "m.new";

/// The flattened directory of `chain` (nearest first, not empty), relative to the driver's folder; made if it is missing.
pub(super) fn flattened(folder: &Folder, form: Whiteouts, chain: &[LayerId]) -> Result<String> {
    let name = format!("{}/{FLAT}", chain[0]);
    if exists(folder.fd(), &name) {
        return Ok(name);
    }
    let path = folder.layer_path(&chain[0]);
    let layer = tree::open_dir(folder.fd(), OsStr::new(chain[0].as_str())).at("open", &path)?;
    // Several containers may want it at once; the lock goes with the descriptor.
    rustix::fs::flock(&layer, FlockOperation::LockExclusive).at("lock", &path)?;
    if !exists(&layer, FLAT) {
        // One at a time: a chain may have more layers than a process may have files open.
        let sources = Sources { folder, chain };
        make(&layer, form, &sources).map_err(|source| {
            let _ = tree::remove_tree(layer.as_fd(), OsStr::new(UNFINISHED));
            Error::Io { action: "flatten the layers below", path, source }
        })?;
    }
    Ok(name)
}

/// What the flattened directory of layer `id`, if there is one, takes beside the layers: files that are links to theirs
/// take nothing.
pub(super) fn usage(folder: &Folder, id: &LayerId) -> Result<Usage> {
    let top = match folder.open_in(id, FLAT) {
        Err(Error::NotFound(_)) => return Ok(Usage::default()),
        other => other?,
    };
    let measured = tree::usage_by(top, &|_, _, meta| match meta.is_dir() || meta.nlink == 1 {
        true => Ok(meta.blocks * 512),
        false => Ok(0),
    });
    measured.at("measure", folder.layer_path(id).join(FLAT))
}

fn exists(directory: &OwnedFd, name: &str) -> bool {
    rustix::fs::accessat(directory, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
}

fn make(layer: &OwnedFd, form: Whiteouts, sources: &Sources<'_>) -> io::Result<()> {
    // What a crash left.
    tree::remove_tree(layer.as_fd(), OsStr::new(UNFINISHED))?;
    rustix::fs::mkdirat(layer, UNFINISHED, Mode::RWXU)?;
    let open = || tree::open_dir(layer, OsStr::new(UNFINISHED));
    Flattener { form, sources, target: Directories::new(RootDir::from_fd(open()?)), directories: HashMap::new() }
        .run()?;
    tree::sync_tree(open()?)?;
    rustix::fs::renameat(layer, UNFINISHED, layer, FLAT)?;
    Ok(rustix::fs::fsync(layer)?)
}

/// The layers of a chain, nearest first.
struct Sources<'a> {
    folder: &'a Folder,
    chain: &'a [LayerId],
}

impl Sources<'_> {
    fn open(&self, index: usize) -> io::Result<RootDir> {
        let name = format!("{}/{DIFF}", self.chain[index]);
        Ok(RootDir::from_fd(tree::open_dir(self.folder.fd(), OsStr::new(&name))?))
    }
}

struct Flattener<'a> {
    form: Whiteouts,
    sources: &'a Sources<'a>,
    target: Directories<RootDir>,
    /// Which source a directory has its attributes of: the nearest that has it.
    directories: HashMap<PathBuf, usize>,
}

impl Flattener<'_> {
    fn run(mut self) -> io::Result<()> {
        for index in (0..self.sources.chain.len()).rev() {
            let source = self.sources.open(index)?;
            let mut walk = Walk::new(&source)?;
            self.directories.insert(PathBuf::new(), index);
            while let Some(found) = walk.next()? {
                self.entry(index, &found).map_err(|error| about(&found.path, &error))?;
            }
        }
        // Attributes come when nothing is put into the directories any more.
        let mut directories: Vec<(usize, PathBuf)> =
            std::mem::take(&mut self.directories).into_iter().map(|(path, index)| (index, path)).collect();
        directories.sort_unstable();
        for layer in directories.chunk_by(|(one, _), (other, _)| one == other) {
            let mut source = Directories::new(self.sources.open(layer[0].0)?);
            for (_, path) in layer {
                self.finish(&mut source, path).map_err(|error| about(path, &error))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, index: usize, found: &Found) -> io::Result<()> {
        if self.form == Whiteouts::Aufs && found.path.iter().any(|part| part.as_bytes().starts_with(AUFS)) {
            return Ok(());
        }
        let (to, _) = self.target.parent(&found.path)?;
        let forget = match self.form.read(found.directory.as_fd(), &found.name, &found.meta)? {
            Entry::Books => false,
            Entry::Hides(name) => {
                tree::remove_tree(to.as_fd(), name)?;
                true
            }
            Entry::Shows if found.meta.is_dir() => {
                self.directories.insert(found.path.clone(), index);
                self.directory(found, to.as_fd())?
            }
            Entry::Shows => {
                tree::remove_tree(to.as_fd(), &found.name)?;
                link(found, to.as_fd())?;
                false
            }
        };
        if forget {
            self.target.forget();
        }
        Ok(())
    }

    /// True if a directory was removed for it.
    fn directory(&self, found: &Found, to: BorrowedFd<'_>) -> io::Result<bool> {
        let below = Meta::find(to, &found.name)?;
        let merges = match &below {
            Some(below) => below.is_dir() && !self.form.is_opaque(&*found.directory, &found.name)?,
            None => false,
        };
        if !merges {
            tree::remove_tree(to, &found.name)?;
            rustix::fs::mkdirat(to, &found.name, Mode::RWXU)?;
        }
        Ok(below.is_some() && !merges)
    }

    fn finish(&mut self, source: &mut Directories<RootDir>, path: &Path) -> io::Result<()> {
        let (to, name) = match self.target.parent(path) {
            // A layer above has something else there.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
                return Ok(());
            }
            to => to?,
        };
        if !Meta::find(&to, name)?.is_some_and(|found| found.is_dir()) {
            return Ok(());
        }
        let (from, _) = source.parent(path)?;
        let meta = Meta::at(&from, name)?;
        tree::apply(from.as_fd(), to.as_fd(), name, name, &meta, false)
    }
}

/// A hard link, or a copy where the file system has no more or does not let us.
fn link(found: &Found, to: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::fs::linkat(&*found.directory, &found.name, to, &found.name, AtFlags::empty()) {
        Err(Errno::MLINK | Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {
            tree::copy_entry(found, to, false, &mut !pretend::without("reflink"))
        }
        answer => Ok(answer?),
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
