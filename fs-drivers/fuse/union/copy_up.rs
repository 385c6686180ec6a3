//! Bringing files of lower layers into the upper one before they are changed.
//!
//! A copy is made in the work folder and renamed into its place when it is whole, so that a crash leaves the one or the
//! other. A lower file with several names is copied once, with all of its names.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;

use berth_arch::pretend;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Union;
use super::layers::{Place, UPPER, join};
use super::nodes::{Nodes, ROOT, Stack};
use crate::tree::{self, Meta};

impl Union {
    /// Makes sure that `id` is in the upper layer. `size`: how much of the data is wanted.
    pub(super) fn copy_up(&self, id: u64, size: Option<u64>) -> io::Result<()> {
        self.writable()?;
        if self.is_up(&self.nodes(), id)? {
            return Ok(());
        }
        let _one_at_a_time = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let (source, meta, layer) = {
            let nodes = self.nodes();
            if self.is_up(&nodes, id)? {
                return Ok(());
            }
            let source = nodes.place(&self.layers, id)?;
            let meta = source.meta()?;
            if meta.is_dir() {
                drop(nodes);
                return self.copy_up_directory(&mut self.nodes_mut(), id);
            }
            let source = match meta.kind() {
                FileType::RegularFile => Some(source.open(OFlags::RDONLY | OFlags::NONBLOCK)?),
                _ => None,
            };
            (source, meta, nodes.get(id)?.stack.top())
        };
        let others = if meta.nlink > 1 { self.paths_of(layer, &meta)? } else { Vec::new() };
        let fresh = self.layers.fresh()?;
        let copied = self
            .copy_to(&fresh, source.as_ref(), id, &meta, size)
            .and_then(|()| self.put_up(&fresh, id, &meta, &others));
        if copied.is_err() {
            let _ = fresh.unlink();
        }
        copied
    }

    /// Opens a node where it is now, and says in which layer that is.
    pub(super) fn open_at(&self, id: u64, flags: OFlags) -> io::Result<(OwnedFd, u16)> {
        let nodes = self.nodes();
        let layer = nodes.get(id)?.stack.top();
        Ok((nodes.place(&self.layers, id)?.open(flags)?, layer))
    }

    /// What was opened in `layer` may have been copied up before it was known to be open.
    pub(super) fn keep_up(&self, id: u64, layer: u16) -> io::Result<()> {
        if !self.layers.is_writable() || layer == UPPER || !self.is_up(&self.nodes(), id)? {
            return Ok(());
        }
        let (file, _) = self.open_at(id, OFlags::RDONLY | OFlags::NONBLOCK)?;
        self.handles().copied_up(id, &file);
        Ok(())
    }

    fn is_up(&self, nodes: &Nodes, id: u64) -> io::Result<bool> {
        Ok(nodes.get(id)?.stack.top() == UPPER)
    }

    /// A copy of the lower file at `fresh`, with everything but its times on the way.
    fn copy_to(
        &self,
        fresh: &Place<'_>,
        source: Option<&OwnedFd>,
        id: u64,
        meta: &Meta,
        size: Option<u64>,
    ) -> io::Result<()> {
        let name = fresh.name.as_c_str();
        let file = match source {
            Some(source) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(fresh, name, flags, Mode::RUSR | Mode::WUSR)?;
                let mut reflink = !pretend::without("reflink");
                tree::copy_data(source, &file, size.unwrap_or(u64::MAX).min(meta.size), &mut reflink)?;
                Some(file)
            }
            None => {
                let nodes = self.nodes();
                let place = nodes.place(&self.layers, id)?;
                match meta.kind() {
                    FileType::Symlink => rustix::fs::symlinkat(place.link_text()?.as_c_str(), fresh, name)?,
                    kind => rustix::fs::mknodat(fresh, name, kind, Mode::RUSR | Mode::WUSR, meta.rdev as _)?,
                }
                None
            }
        };
        self.copy_attributes(fresh, id, meta)?;
        self.layers.set_origin(fresh, id)?;
        match file {
            Some(file) => self.layers.settle(&file),
            None => Ok(()),
        }
    }

    fn copy_attributes(&self, to: &Place<'_>, id: u64, meta: &Meta) -> io::Result<()> {
        let nodes = self.nodes();
        self.copy_attributes_of(&nodes, to, id, meta)
    }

    fn copy_attributes_of(&self, nodes: &Nodes, to: &Place<'_>, id: u64, meta: &Meta) -> io::Result<()> {
        let from = nodes.place(&self.layers, id)?;
        if nodes.is_pinned(id) {
            // What has no name any more loses its attributes with the copy; owner, permissions and times it keeps.
            to.chown(Some(meta.uid), Some(meta.gid))?;
            if meta.kind() != FileType::Symlink {
                to.chmod(meta.mode)?;
            }
            return to.set_times(&meta.timestamps());
        }
        tree::apply(from.as_fd(), to.as_fd(), from.os_name(), to.os_name(), meta, false)
    }

    /// Puts the finished copy where the original's name is.
    fn put_up(&self, fresh: &Place<'_>, id: u64, meta: &Meta, others: &[Vec<u8>]) -> io::Result<()> {
        let mut nodes = self.nodes_mut();
        if nodes.is_pinned(id) {
            let pin = fresh.open(OFlags::PATH)?;
            let file = fresh.open(OFlags::RDONLY | OFlags::NONBLOCK)?;
            fresh.unlink()?;
            nodes.pin(id, pin);
            nodes.set_stack(id, Stack::File(UPPER));
            drop(nodes);
            self.handles().copied_up(id, &file);
            return Ok(());
        }
        let (parent, name) = {
            let node = nodes.get(id)?;
            (node.parent, node.name.clone())
        };
        self.copy_up_directory(&mut nodes, parent)?;
        let path = nodes.path(parent)?;
        let target = self.layers.place_in(UPPER, &path, &name)?;
        let above = self.layers.place(UPPER, &path)?;
        let before = above.meta()?;
        rename(fresh, &target)?;
        above.set_times(&before.timestamps())?;
        nodes.set_stack(id, Stack::File(UPPER));
        for name in others {
            self.name_up(&mut nodes, id, &target, name)?;
        }
        let file = match meta.kind() {
            FileType::RegularFile => Some(target.open(OFlags::RDONLY | OFlags::NONBLOCK)?),
            _ => None,
        };
        drop(nodes);
        if let Some(file) = file {
            self.handles().copied_up(id, &file);
        }
        Ok(())
    }

    /// As [`Self::copy_up`] for a directory, without what is in it, and for all above it.
    pub(super) fn copy_up_directory(&self, nodes: &mut Nodes, id: u64) -> io::Result<()> {
        self.writable()?;
        let mut missing = Vec::new();
        let mut here = id;
        while !self.is_up(nodes, here)? {
            // A removed directory takes nothing any more.
            if nodes.is_pinned(here) || here == ROOT {
                return Err(Errno::NOENT.into());
            }
            missing.push(here);
            here = nodes.get(here)?.parent;
        }
        for id in missing.into_iter().rev() {
            self.copy_one_directory(nodes, id)?;
        }
        Ok(())
    }

    fn copy_one_directory(&self, nodes: &mut Nodes, id: u64) -> io::Result<()> {
        let path = nodes.path(id)?;
        let parent = nodes.path(nodes.get(id)?.parent)?;
        let meta = nodes.place(&self.layers, id)?.meta()?;
        let above = self.layers.place(UPPER, &parent)?;
        let before = above.meta()?;
        let fresh = self.layers.fresh()?;
        let make = || -> io::Result<()> {
            rustix::fs::mkdirat(&fresh, fresh.name.as_c_str(), Mode::RWXU)?;
            self.copy_attributes_of(nodes, &fresh, id, &meta)?;
            self.layers.set_origin(&fresh, id)?;
            rename(&fresh, &self.layers.place(UPPER, &path)?)
        };
        if let Err(error) = make() {
            let _ = self.layers.remove_aside(&fresh);
            return Err(error);
        }
        above.set_times(&before.timestamps())?;
        let layers = nodes.get(id)?.stack.layers()?;
        let stack: Vec<u16> = [UPPER].iter().chain(layers).copied().collect();
        nodes.set_stack(id, Stack::directory(stack));
        Ok(())
    }

    /// Brings a whole directory up, as it is to be found elsewhere from now on: the layers below know the old place only.
    pub(super) fn copy_up_tree(&self, id: u64) -> io::Result<()> {
        self.copy_up(id, None)?;
        let mut waiting = vec![id];
        let mut directories = Vec::new();
        let mut given = Vec::new();
        let copied = (|| {
            while let Some(directory) = waiting.pop() {
                directories.push(directory);
                for name in self.names_in(directory)? {
                    // As the kernel does it, so that the node stays as long as it is needed.
                    let Some(found) = self.lookup(directory, &name)? else { continue };
                    given.push(found.id);
                    self.copy_up(found.id, None)?;
                    if found.is_dir() {
                        waiting.push(found.id);
                    }
                }
            }
            let mut nodes = self.nodes_mut();
            for directory in directories.into_iter().rev() {
                if nodes.get(directory)?.stack.layers()?.len() > 1 {
                    let place = self.layers.place(UPPER, &nodes.path(directory)?)?;
                    let times = place.meta()?.timestamps();
                    self.layers.set_opaque(&place)?;
                    self.layers.set_copies(&place)?;
                    place.set_times(&times)?;
                }
            }
            nodes.lifted(id);
            Ok(())
        })();
        let mut nodes = self.nodes_mut();
        for id in given {
            nodes.forget(id, 1);
        }
        copied
    }

    /// All paths by which a layer has a file. There is no way to ask for them but to look everywhere; a listing tells the
    /// numbers, so that is one call for some hundred names.
    fn paths_of(&self, layer: u16, meta: &Meta) -> io::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        let mut waiting = vec![Vec::new()];
        while let Some(directory) = waiting.pop() {
            let open = self.layers.place(layer, &directory)?.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            let mut stream = rustix::fs::Dir::new(open)?;
            while let Some(entry) = stream.read() {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let path = join(&directory, name);
                let is_dir = match entry.file_type() {
                    FileType::Unknown => self.layers.place(layer, &path)?.meta()?.is_dir(),
                    kind => kind == FileType::Directory,
                };
                if is_dir {
                    waiting.push(path);
                } else if entry.ino() == meta.ino {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    /// Gives a copy another name of the original, if the union shows that.
    fn name_up(&self, nodes: &mut Nodes, id: u64, copy: &Place<'_>, path: &[u8]) -> io::Result<()> {
        let mut names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let last = names.pop().unwrap_or_default();
        let mut given = Vec::new();
        let mut above = ROOT;
        let mut shown = true;
        for name in names {
            match self.find_below(nodes, above, name)? {
                Some(found) if found.is_dir() => {
                    nodes.give(found.id, above, name, &found.stack);
                    given.push(found.id);
                    above = found.id;
                }
                _ => {
                    shown = false;
                    break;
                }
            }
        }
        let linked = (|| {
            if !shown
                || !self
                    .find_below(nodes, above, last)?
                    .is_some_and(|found| found.id == id && found.stack.top() != UPPER)
            {
                return Ok(());
            }
            self.copy_up_directory(nodes, above)?;
            let path = nodes.path(above)?;
            let directory = self.layers.place(UPPER, &path)?;
            let before = directory.meta()?;
            copy.link_to(&self.layers.place_in(UPPER, &path, last)?)?;
            directory.set_times(&before.timestamps())
        })();
        for id in given {
            nodes.forget(id, 1);
        }
        linked
    }
}

pub(super) fn rename(from: &Place<'_>, to: &Place<'_>) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, from.name.as_c_str(), to, to.name.as_c_str())?)
}
