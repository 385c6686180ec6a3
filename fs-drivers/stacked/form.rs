//! How a layer's directory says that it hides something of the layers below.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use crate::Whiteouts;
use crate::diff::{AUFS, OPAQUE, WHITEOUT};
use crate::tree::{self, Meta};

/// What a layer has at a name.
pub(super) enum Own {
    Shows(Meta),
    /// Whatever the layers below have there is gone.
    Hides,
}

/// What an entry of a layer's directory is.
pub(super) enum Entry<'a> {
    Shows,
    Hides(&'a OsStr),
    /// The file system's own books, or what it marks its own directory with.
    Books,
}

impl Whiteouts {
    /// What the entry `name` stands for.
    pub(super) fn read<'a>(self, directory: BorrowedFd<'_>, name: &'a OsStr, meta: &Meta) -> io::Result<Entry<'a>> {
        Ok(match (self, name.as_bytes()) {
            (Self::Aufs, bytes) if bytes.starts_with(AUFS) => Entry::Books,
            (Self::Aufs, bytes) => match bytes.strip_prefix(WHITEOUT) {
                Some(hidden) => Entry::Hides(OsStr::from_bytes(hidden)),
                None => Entry::Shows,
            },
            (Self::Overlay | Self::OverlayUser, _) if tree::is_whiteout(directory, name, meta)? => Entry::Hides(name),
            _ => Entry::Shows,
        })
    }

    /// The names that a layer's directory shows or hides.
    pub(super) fn names(self, directory: BorrowedFd<'_>) -> io::Result<BTreeSet<CString>> {
        let names = tree::names(directory)?.into_iter();
        if self != Self::Aufs {
            return Ok(names.collect());
        }
        let meant = names.filter(|name| !name.to_bytes().starts_with(AUFS)).map(|name| {
            match name.to_bytes().strip_prefix(WHITEOUT) {
                Some(hidden) => CString::new(hidden).expect("file names have no NUL"),
                None => name,
            }
        });
        Ok(meant.collect())
    }

    /// What a layer has at `name` in one of its directories. `None`: nothing, so that the layers below show through.
    pub(super) fn find(self, directory: impl AsFd, name: &OsStr) -> io::Result<Option<Own>> {
        let directory = directory.as_fd();
        if self == Self::Aufs {
            if name.as_bytes().starts_with(WHITEOUT) {
                return Ok(None);
            }
            if has(directory, &[WHITEOUT, name.as_bytes()].concat())? {
                return Ok(Some(Own::Hides));
            }
        }
        let Some(meta) = Meta::find(directory, name)? else { return Ok(None) };
        Ok(Some(match self.read(directory, name, &meta)? {
            Entry::Hides(_) => Own::Hides,
            _ => Own::Shows(meta),
        }))
    }

    /// Whether the layer's directory `name` hides what the layers below have in theirs.
    pub(crate) fn is_opaque(self, parent: impl AsFd, name: &OsStr) -> io::Result<bool> {
        let attribute = match self {
            Self::Overlay => "trusted.overlay.opaque",
            Self::OverlayUser => "user.overlay.opaque",
            Self::Aufs => return has(tree::open_dir(parent, name)?.as_fd(), OPAQUE),
            Self::Apply => return Ok(false),
        };
        Ok(tree::get_xattr(parent, name, attribute)?.as_deref() == Some(b"y"))
    }
}

fn has(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    match Meta::find(directory, OsStr::from_bytes(name)) {
        // A name too long to be hidden is not.
        Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) => Ok(false),
        found => Ok(found?.is_some()),
    }
}
