//! Renaming.

use std::io;

use fuser::RenameFlags;
use rustix::fs::RenameFlags as Flags;
use rustix::io::Errno;

use super::Union;
use super::copy_up::rename;
use super::find::Found;
use super::layers::{Place, UPPER};
use super::names::{exchange, is_unknown};
use super::nodes::Nodes;

/// A name in a directory.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) parent: u64,
    pub(super) name: &'a [u8],
}

impl Union {
    pub(super) fn rename(&self, from: At<'_>, to: At<'_>, flags: RenameFlags) -> io::Result<()> {
        self.writable()?;
        let exchanges = flags.contains(RenameFlags::RENAME_EXCHANGE);
        // Whiteouts are the union's own.
        if flags.contains(RenameFlags::RENAME_WHITEOUT) {
            return Err(Errno::INVAL.into());
        }
        // Looked up as the kernel does it, so that both are nodes as long as this lasts.
        let source = self.lookup(from.parent, from.name)?.ok_or(Errno::NOENT)?;
        let target = self.lookup(to.parent, to.name);
        let renamed = match &target {
            Ok(target) => self.rename_known(from, to, exchanges, flags, &source, target.as_ref()),
            Err(_) => Ok(()),
        };
        let mut nodes = self.nodes_mut();
        nodes.forget(source.id, 1);
        if let Some(target) = target? {
            nodes.forget(target.id, 1);
        }
        renamed
    }

    fn rename_known(
        &self,
        from: At<'_>,
        to: At<'_>,
        exchanges: bool,
        flags: RenameFlags,
        source: &Found,
        target: Option<&Found>,
    ) -> io::Result<()> {
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && target.is_some() {
            return Err(Errno::EXIST.into());
        }
        if exchanges && target.is_none() {
            return Err(Errno::NOENT.into());
        }
        if target.is_some_and(|target| target.id == source.id) {
            return Ok(());
        }
        self.bring_up(source)?;
        if exchanges && let Some(target) = target {
            self.bring_up(target)?;
        }
        if !exchanges && target.is_some_and(Found::is_linked_below) {
            self.part_links(to.parent, to.name)?;
        }
        let mut nodes = self.nodes_mut();
        self.copy_up_directory(&mut nodes, from.parent)?;
        self.copy_up_directory(&mut nodes, to.parent)?;
        let place = |nodes: &Nodes, at: At<'_>| self.layers.place_in(UPPER, &nodes.path(at.parent)?, at.name);
        let (old, new) = (place(&nodes, from)?, place(&nodes, to)?);
        // Where the layers below may have a directory of that name, it is not to be mixed with them.
        self.separate(&nodes, source, to, &old)?;
        self.note_copy(&mut nodes, source.id, &old, to.parent)?;
        if exchanges {
            let target = target.ok_or(Errno::NOENT)?;
            self.separate(&nodes, target, from, &new)?;
            self.note_copy(&mut nodes, target.id, &new, from.parent)?;
            exchange(&old, &new)?;
            nodes.moved(source.id, to.parent, to.name);
            nodes.moved(target.id, from.parent, from.name);
            return Ok(());
        }
        if let Some(target) = target {
            if target.is_dir() && !self.is_empty(&nodes, target.id)? {
                return Err(Errno::NOTEMPTY.into());
            }
            self.let_go(&mut nodes, to.parent, to.name, target)?;
            if target.is_dir() && target.stack.top() == UPPER {
                self.clear_whiteouts(&new)?;
            }
        }
        let hides = self.is_below(&nodes, from.parent, from.name)?;
        self.put(&old, &new, hides, source.is_dir())?;
        nodes.moved(source.id, to.parent, to.name);
        Ok(())
    }

    /// Everything that moves is in the upper layer.
    fn bring_up(&self, found: &Found) -> io::Result<()> {
        if found.is_dir() {
            if found.stack.layers()? != [UPPER] {
                self.copy_up_tree(found.id)?;
            }
            return Ok(());
        }
        self.copy_up(found.id, None)
    }

    fn separate(&self, nodes: &Nodes, moving: &Found, to: At<'_>, place: &Place<'_>) -> io::Result<()> {
        if moving.is_dir() && nodes.get(to.parent)?.stack.layers()?.len() > 1 && !self.layers.is_opaque(place)? {
            let times = place.meta()?.timestamps();
            self.layers.set_opaque(place)?;
            place.set_times(&times)?;
        }
        Ok(())
    }

    /// `hides`: the layers below have something at the old name.
    fn put(&self, old: &Place<'_>, new: &Place<'_>, hides: bool, is_dir: bool) -> io::Result<()> {
        let covered = match new.find()? {
            Some(meta) => self.layers.is_whiteout(new, &meta)?,
            None => false,
        };
        if covered && is_dir {
            match exchange(old, new) {
                // The whiteout is at the old name now, where it may be of use again.
                Ok(()) if hides => return Ok(()),
                Ok(()) => return old.unlink(),
                Err(error) if is_unknown(&error) => new.unlink()?,
                Err(error) => return Err(error),
            }
        }
        if !hides {
            return rename(old, new);
        }
        let (from, to) = (old.name.as_c_str(), new.name.as_c_str());
        match rustix::fs::renameat_with(old, from, new, to, Flags::WHITEOUT) {
            Ok(()) => Ok(()),
            Err(error) if is_unknown(&error.into()) => {
                rename(old, new)?;
                self.layers.make_whiteout(old)
            }
            Err(error) => Err(error.into()),
        }
    }
}
