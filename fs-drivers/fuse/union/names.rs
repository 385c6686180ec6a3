//! Making and removing names in directories.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::super::thread::set_umask;
use super::Union;
use super::copy_up::rename;
use super::find::Found;
use super::layers::{Place, UPPER};
use super::nodes::{Nodes, Stack};
use super::rename::At;

/// What is to be made.
pub(super) enum New<'a> {
    Directory,
    File(OFlags),
    Link(&'a OsStr),
    Node(FileType, u64),
}

/// Who makes it, and how it is to be.
pub(super) struct Maker {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) umask: u32,
}

impl Union {
    /// Makes `name`; of a regular file: open as asked for.
    pub(super) fn make(
        &self,
        At { parent, name }: At<'_>,
        new: &New<'_>,
        maker: &Maker,
    ) -> io::Result<(Found, Option<OwnedFd>)> {
        let mut nodes = self.nodes_mut();
        self.copy_up_directory(&mut nodes, parent)?;
        let path = nodes.path(parent)?;
        let target = self.layers.place_in(UPPER, &path, name)?;
        let above = self.layers.place(UPPER, &path)?;
        let file = match make_at(&target, new, maker, &above, false) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                self.make_over_whiteout(&target, new, maker, &above)?
            }
            made => made?,
        };
        let stat = target.stat()?;
        let id = self.layers.number(UPPER, &stat.into());
        let stack = match new {
            New::Directory => Stack::Own,
            _ => Stack::File(UPPER),
        };
        nodes.give(id, parent, name, &stack);
        Ok((Found { id, stat, stack }, file))
    }

    fn make_over_whiteout(
        &self,
        target: &Place<'_>,
        new: &New<'_>,
        maker: &Maker,
        above: &Place<'_>,
    ) -> io::Result<Option<OwnedFd>> {
        if !self.layers.is_whiteout(target, &target.meta()?)? {
            return Err(Errno::EXIST.into());
        }
        let is_dir = matches!(new, New::Directory);
        // What is made aside does not inherit the directory's default ACL.
        if above.get_attribute(OsStr::new("system.posix_acl_default"), &mut []).is_ok() {
            target.unlink()?;
            let file = make_at(target, new, maker, above, false)?;
            if is_dir {
                self.layers.set_opaque(target)?;
            }
            return Ok(file);
        }
        let fresh = self.layers.fresh()?;
        let made = make_at(&fresh, new, maker, above, true).and_then(|file| {
            if is_dir {
                self.layers.set_opaque(&fresh)?;
            }
            self.replace_whiteout(&fresh, target, is_dir)?;
            Ok(file)
        });
        made.inspect_err(|_| drop(self.layers.remove_aside(&fresh)))
    }

    /// Puts what was made aside over a whiteout.
    fn replace_whiteout(&self, fresh: &Place<'_>, target: &Place<'_>, is_dir: bool) -> io::Result<()> {
        if !is_dir {
            return rename(fresh, target);
        }
        // A directory takes the place of nothing but a directory.
        match exchange(fresh, target) {
            Ok(()) => {
                let _ = fresh.unlink();
                Ok(())
            }
            Err(error) if is_unknown(&error) => {
                target.unlink()?;
                rename(fresh, target)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn link(&self, id: u64, parent: u64, name: &[u8]) -> io::Result<Found> {
        self.copy_up(id, None)?;
        let mut nodes = self.nodes_mut();
        self.copy_up_directory(&mut nodes, parent)?;
        let source = nodes.place(&self.layers, id)?;
        let target = self.layers.place_in(UPPER, &nodes.path(parent)?, name)?;
        self.note_copy(&mut nodes, id, &source, parent)?;
        match target.find()? {
            Some(meta) if self.layers.is_whiteout(&target, &meta)? => {
                let fresh = self.layers.fresh()?;
                source.link_to(&fresh)?;
                rename(&fresh, &target).inspect_err(|_| drop(fresh.unlink()))?;
            }
            Some(_) => return Err(Errno::EXIST.into()),
            None => source.link_to(&target)?,
        }
        let stack = nodes.get(id)?.stack.clone();
        nodes.give(id, parent, name, &stack);
        Ok(Found { id, stat: target.stat()?, stack })
    }

    /// Before a directory gets another name of `id`, which is at `place` now: see [`Stack::Own`].
    pub(super) fn note_copy(&self, nodes: &mut Nodes, id: u64, place: &Place<'_>, parent: u64) -> io::Result<()> {
        if nodes.get(parent)?.stack != Stack::Own || self.layers.number(UPPER, &place.meta()?) == id {
            return Ok(());
        }
        let directory = self.layers.place(UPPER, &nodes.path(parent)?)?;
        self.layers.set_copies(&directory)?;
        nodes.set_stack(parent, Stack::directory([UPPER]));
        Ok(())
    }

    pub(super) fn unlink(&self, parent: u64, name: &[u8]) -> io::Result<()> {
        self.writable()?;
        let mut nodes = self.nodes_mut();
        let mut found = self.find_below(&nodes, parent, name)?.ok_or(Errno::NOENT)?;
        if found.is_linked_below() {
            drop(nodes);
            self.part_links(parent, name)?;
            nodes = self.nodes_mut();
            found = self.find_below(&nodes, parent, name)?.ok_or(Errno::NOENT)?;
        }
        if found.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        let below = self.is_below(&nodes, parent, name)?;
        if below {
            self.copy_up_directory(&mut nodes, parent)?;
        }
        self.let_go(&mut nodes, parent, name, &found)?;
        let target = self.layers.place_in(UPPER, &nodes.path(parent)?, name)?;
        match (found.stack.top() == UPPER, below) {
            (true, false) => target.unlink(),
            (false, _) => self.layers.make_whiteout(&target),
            (true, true) => {
                let fresh = self.layers.fresh()?;
                self.layers.make_whiteout(&fresh)?;
                rename(&fresh, &target).inspect_err(|_| drop(fresh.unlink()))
            }
        }
    }

    /// Before a name goes that is one of several of a lower file: all of them are brought up, so that those that stay know how
    /// many they are.
    pub(super) fn part_links(&self, parent: u64, name: &[u8]) -> io::Result<()> {
        let found = {
            let nodes = self.nodes();
            self.find_below(&nodes, parent, name)?
        };
        if !found.is_some_and(|found| found.is_linked_below()) {
            return Ok(());
        }
        let Some(found) = self.lookup(parent, name)? else { return Ok(()) };
        let copied = self.copy_up(found.id, None);
        self.nodes_mut().forget(found.id, 1);
        copied
    }

    /// Before a name goes: if the kernel knows what it led to by it, it stays reachable.
    pub(super) fn let_go(&self, nodes: &mut Nodes, parent: u64, name: &[u8], found: &Found) -> io::Result<()> {
        let Some(node) = nodes.find(found.id) else { return Ok(()) };
        if nodes.is_pinned(found.id) {
            return Ok(());
        }
        if node.parent == parent && *node.name == *name {
            let pin = nodes.place(&self.layers, found.id)?.open(OFlags::PATH)?;
            nodes.pin(found.id, pin);
        }
        Ok(())
    }

    pub(super) fn remove_directory(&self, parent: u64, name: &[u8]) -> io::Result<()> {
        self.writable()?;
        let mut nodes = self.nodes_mut();
        let found = self.find_below(&nodes, parent, name)?.ok_or(Errno::NOENT)?;
        if !found.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        // For the look into it.
        nodes.give(found.id, parent, name, &found.stack);
        let removed = self.remove_known_directory(&mut nodes, parent, name, &found);
        nodes.forget(found.id, 1);
        removed
    }

    fn remove_known_directory(&self, nodes: &mut Nodes, parent: u64, name: &[u8], found: &Found) -> io::Result<()> {
        if !self.is_empty(nodes, found.id)? {
            return Err(Errno::NOTEMPTY.into());
        }
        let below = self.is_below(nodes, parent, name)?;
        if below {
            self.copy_up_directory(nodes, parent)?;
        }
        let target = self.layers.place_in(UPPER, &nodes.path(parent)?, name)?;
        self.let_go(nodes, parent, name, found)?;
        if found.stack.top() != UPPER {
            return self.layers.make_whiteout(&target);
        }
        if !below {
            match rustix::fs::unlinkat(&target, target.name.as_c_str(), AtFlags::REMOVEDIR) {
                // Whiteouts are left in it.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
        let aside = self.layers.fresh()?;
        if below {
            self.layers.make_whiteout(&aside)?;
            match exchange(&aside, &target) {
                Ok(()) => {}
                Err(error) if is_unknown(&error) => {
                    aside.unlink()?;
                    rename(&target, &aside)?;
                    self.layers.make_whiteout(&target)?;
                }
                Err(error) => return Err(error),
            }
        } else {
            rename(&target, &aside)?;
        }
        self.layers.remove_aside(&aside)
    }

    /// Takes the whiteouts out of an empty directory of the upper layer, which hides what is below by itself then.
    pub(super) fn clear_whiteouts(&self, place: &Place<'_>) -> io::Result<()> {
        self.layers.set_opaque(place)?;
        let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        for name in crate::tree::names(directory.as_fd())? {
            rustix::fs::unlinkat(&directory, OsStr::from_bytes(name.as_bytes()), AtFlags::empty())?;
        }
        Ok(())
    }
}

/// `aside`: not in the directory `above` that it is made for.
fn make_at(
    place: &Place<'_>,
    new: &New<'_>,
    maker: &Maker,
    above: &Place<'_>,
    aside: bool,
) -> io::Result<Option<OwnedFd>> {
    let name = place.name.as_c_str();
    let mode = Mode::from_raw_mode((maker.mode & 0o7777) as _);
    // The kernel below applies it, or a default ACL in its stead.
    set_umask(maker.umask);
    let mut file = None;
    match new {
        New::Directory => rustix::fs::mkdirat(place, name, mode)?,
        New::File(flags) => {
            let flags = *flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            file = Some(rustix::fs::openat(place, name, flags, mode)?);
        }
        New::Link(text) => rustix::fs::symlinkat(*text, place, name)?,
        New::Node(kind, device) => rustix::fs::mknodat(place, name, *kind, mode, *device as _)?,
    }
    adopt(place, new, maker, above, aside).inspect_err(|_| {
        let flags = if matches!(new, New::Directory) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let _ = rustix::fs::unlinkat(place, name, flags);
    })?;
    Ok(file)
}

/// Owner and group as if the asking process itself had made it there.
fn adopt(place: &Place<'_>, new: &New<'_>, maker: &Maker, above: &Place<'_>, aside: bool) -> io::Result<()> {
    if (maker.uid, maker.gid) == (0, 0) && !aside {
        return Ok(());
    }
    let parent = above.meta()?;
    let inherits = parent.mode & 0o2000 != 0;
    place.chown(Some(maker.uid), Some(if inherits { parent.gid } else { maker.gid }))?;
    let mode = place.meta()?.mode & 0o7777;
    match new {
        New::Directory if inherits => place.chmod(mode | 0o2000),
        New::Directory | New::Link(_) => Ok(()),
        // The change of the owner has taken them away.
        _ if maker.mode & 0o6000 != 0 => place.chmod(mode | maker.mode & 0o6000),
        _ => Ok(()),
    }
}

pub(super) fn exchange(one: &Place<'_>, other: &Place<'_>) -> io::Result<()> {
    let (from, to) = (one.name.as_c_str(), other.name.as_c_str());
    Ok(rustix::fs::renameat_with(one, from, other, to, RenameFlags::EXCHANGE)?)
}

/// renameat2 came with 3.15, and file systems learned its flags one by one.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM))
}
