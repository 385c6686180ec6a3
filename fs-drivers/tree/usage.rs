//! What a tree takes on the disk.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Usage;

use super::{Meta, names, open_dir, open_same_mount, os};

/// Says how many bytes a name in a directory takes.
type Bytes<'a> = &'a dyn Fn(BorrowedFd<'_>, &OsStr, &Meta) -> io::Result<u64>;

/// Allocated blocks and inodes of the tree `top`, hard links counted once. What vanishes meanwhile is left out.
pub(crate) fn usage(top: OwnedFd) -> io::Result<Usage> {
    usage_by(top, &|_, _, meta| Ok(meta.blocks * 512))
}

/// As [`usage`], with another way to count a name's bytes.
pub(crate) fn usage_by(top: OwnedFd, bytes: Bytes<'_>) -> io::Result<Usage> {
    let meta = Meta::of(&top)?;
    let total = Usage { bytes: bytes(top.as_fd(), OsStr::new("."), &meta)?, inodes: 1 };
    let mut count = Count { total, linked: HashSet::new(), bytes };
    count.walk(top.as_fd(), meta.dev, 0)?;
    Ok(count.total)
}

/// Deeper than this nothing is counted: each level holds a descriptor, and only an attack is that deep.
const DEPTH: usize = 400;

struct Count<'a> {
    total: Usage,
    linked: HashSet<(u64, u64)>,
    bytes: Bytes<'a>,
}

impl Count<'_> {
    fn walk(&mut self, dir: BorrowedFd<'_>, dev: u64, depth: usize) -> io::Result<()> {
        for name in names(dir)? {
            let name = os(&name);
            let Some(meta) = Meta::find(dir, name)? else { continue };
            if !meta.is_dir() && (meta.dev != dev || (meta.nlink > 1 && !self.linked.insert((dev, meta.ino)))) {
                continue;
            }
            let inner = match meta.is_dir() {
                true if meta.dev == dev => Some(open_dir(dir, name)),
                true => Some(open_same_mount(dir, name, dev)),
                false => None,
            };
            let inner = match inner.transpose() {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy) => continue,
                other => other?,
            };
            self.total.bytes += (self.bytes)(dir, name, &meta)?;
            self.total.inodes += 1;
            if let Some(inner) = inner.filter(|_| depth < DEPTH) {
                self.walk(inner.as_fd(), meta.dev, depth + 1)?;
            }
        }
        Ok(())
    }
}
