//! What a tree takes on the disk.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Usage;

use super::{Meta, names, open_dir, os};

/// Allocated blocks and inodes of the tree `top`, hard links counted once. What vanishes meanwhile is left out.
pub(crate) fn usage(top: OwnedFd) -> io::Result<Usage> {
    let mut total = Usage::default();
    let mut linked = HashSet::new();
    let meta = Meta::of(&top)?;
    total.bytes += meta.blocks * 512;
    total.inodes += 1;
    walk(top.as_fd(), meta.dev, &mut total, &mut linked, 0)?;
    Ok(total)
}

/// Deeper than this nothing is counted: each level holds a descriptor, and only an attack is that deep.
const DEPTH: usize = 400;

fn walk(dir: BorrowedFd<'_>, dev: u64, total: &mut Usage, linked: &mut HashSet<u64>, depth: usize) -> io::Result<()> {
    for name in names(dir)? {
        let Some(meta) = Meta::find(dir, os(&name))? else { continue };
        if meta.dev != dev || (!meta.is_dir() && meta.nlink > 1 && !linked.insert(meta.ino)) {
            continue;
        }
        total.bytes += meta.blocks * 512;
        total.inodes += 1;
        if meta.is_dir() && depth < DEPTH {
            match open_dir(dir, os(&name)) {
                Ok(child) => walk(child.as_fd(), dev, total, linked, depth + 1)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
