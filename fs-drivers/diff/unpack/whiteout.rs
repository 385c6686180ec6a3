//! Whiteouts in the form that the driver keeps them in. They hide what the layers below have, never what the same
//! archive brings, whatever the order (OCI image specification, "Whiteouts").

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::place::Places;
use super::split;
use crate::Whiteouts;
use crate::diff::{AUFS_NAME_MAX, OPAQUE, WHITEOUT};
use crate::tree::{self, Meta};
use crate::zfs;

impl Places {
    /// Hides `name` of the layers below.
    pub(super) fn hide(&mut self, parent: &[u8], name: &OsStr) -> io::Result<()> {
        if self.whiteouts == Whiteouts::Apply {
            let directory = self.directory(parent)?;
            let Some(found) = Meta::find(directory, name)? else { return Ok(()) };
            let directory = rustix::io::dup(directory)?;
            let answer = self.clear_entry(directory.as_fd(), name, &found).map(drop);
            self.forget();
            return answer;
        }
        if self.whiteouts == Whiteouts::Aufs {
            self.directory(parent)?;
            self.hidden.insert(join(parent, name.as_bytes()).into());
            return Ok(());
        }
        let space = if self.whiteouts == Whiteouts::OverlayUser { "user.overlay." } else { "trusted.overlay." };
        let directory = self.directory(parent)?;
        match tree::make_whiteout(directory, name, space) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match Meta::at(directory, name)?.is_dir() {
                true => self.set_opaque(parent, name),
                false => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    /// In AUFS's form: makes the whiteouts, except of what the archive brought itself. Its directories hide all that was
    /// in the ones below.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        for path in std::mem::take(&mut self.hidden) {
            let (parent, name) = split(&path);
            let directory = match self.directory(parent) {
                // The archive has a file there by now: nothing below it is left to hide.
                Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => continue,
                directory => directory?,
            };
            match Meta::find(directory, OsStr::from_bytes(name))? {
                None => create_empty(directory, &[WHITEOUT, name].concat())?,
                Some(found) if found.is_dir() => self.set_opaque(parent, OsStr::from_bytes(name))?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Why the driver cannot have `path` in a layer, if it cannot.
    pub(super) fn reserved(&self, path: &[u8]) -> Option<&'static str> {
        let first = path.split(|&byte| byte == b'/').next().unwrap_or_default();
        if zfs::is_control(&self.root, first.strip_prefix(WHITEOUT).unwrap_or(first)) {
            return Some("that is where ZFS shows snapshots in the root of a layer; another storage driver takes it");
        }
        if self.whiteouts != Whiteouts::Aufs {
            return None;
        }
        let (parent, name) = split(path);
        let mut above = parent.split(|&byte| byte == b'/');
        if above.any(|part| part.starts_with(WHITEOUT)) {
            return Some("it lies in a directory whose name begins with .wh., which AUFS keeps for whiteouts");
        }
        let name = name.strip_prefix(WHITEOUT).unwrap_or(name);
        (name.len() > AUFS_NAME_MAX || parent.split(|&byte| byte == b'/').any(|part| part.len() > AUFS_NAME_MAX))
            .then_some("its name is longer than the 242 bytes that AUFS takes; another storage driver takes it")
    }

    /// Hides everything that the layers below have in the directory `path`.
    pub(super) fn make_opaque(&mut self, path: &[u8]) -> io::Result<()> {
        if self.whiteouts != Whiteouts::Apply {
            return self.set_opaque(path, OsStr::new("."));
        }
        self.directory(path)?;
        let directory = self.open_for_reading(path)?;
        let answer = self.clear(directory.as_fd()).map(drop);
        self.forget();
        answer
    }

    pub(super) fn set_opaque(&mut self, parent: &[u8], name: &OsStr) -> io::Result<()> {
        let attribute: &[u8] = match self.whiteouts {
            Whiteouts::OverlayUser => b"user.overlay.opaque",
            Whiteouts::Aufs => {
                let directory = tree::open_dir(self.directory(parent)?, name)?;
                return create_empty(directory.as_fd(), OPAQUE);
            }
            Whiteouts::Overlay | Whiteouts::Apply => b"trusted.overlay.opaque",
        };
        tree::set_xattr(self.directory(parent)?, name, attribute, b"y")
    }

    fn open_for_reading(&mut self, path: &[u8]) -> io::Result<std::os::fd::OwnedFd> {
        Ok(rustix::fs::openat(self.directory(path)?, ".", tree::DIRECTORY, Mode::empty())?)
    }

    /// Removes what this archive has not brought. True if nothing is left.
    fn clear(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        let mut empty = true;
        for name in tree::names(directory)? {
            let name = tree::os(&name);
            if let Some(found) = Meta::find(directory, name)? {
                empty &= self.clear_entry(directory, name, &found)?;
            }
        }
        Ok(empty)
    }

    fn clear_entry(&self, directory: BorrowedFd<'_>, name: &OsStr, found: &Meta) -> io::Result<bool> {
        let own = self.is_own(found);
        if !found.is_dir() {
            if !own {
                rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            }
            return Ok(!own);
        }
        let empty = if self.has_own() { self.clear(tree::open_dir(directory, name)?.as_fd())? } else { true };
        if own || !empty {
            return Ok(false);
        }
        tree::remove_tree(directory, name)?;
        Ok(true)
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn create_empty(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::RGRP | Mode::ROTH)?;
    Ok(())
}
