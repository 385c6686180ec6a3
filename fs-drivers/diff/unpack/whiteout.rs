//! Whiteouts in the form that the driver keeps them in. They hide what the layers below have, never what the same
//! archive brings, whatever the order (OCI image specification, "Whiteouts").

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode};

use super::place::Places;
use crate::Whiteouts;
use crate::tree::{self, Meta};

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
            _ => b"trusted.overlay.opaque",
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
