//! What was written to a subvolume since it was made, by the numbers of transactions that btrfs keeps with everything.
//!
//! A snapshot shares all that was written in the transaction that made it or before. What was written later is in blocks of
//! later transactions, which a search finds without looking at the rest. All that is asked here is right for what is on
//! the disk: the caller writes the subvolume out first.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::ioctl::{self, TOP};
use super::search::{EXTENT_DATA, INODE_EXTREF, INODE_ITEM, INODE_REF, Item, Range, nested, search, subvolume};
use crate::Usage;
use crate::diff::Touched;
use crate::tree::Meta;

/// Data and inodes that subvolume `top` does not have from the one that it is a snapshot of, and those of subvolumes inside. An
/// extent counts whole and once as long as a part of it is in use, compressed as it is; metadata does not count.
pub(super) fn usage(top: &OwnedFd) -> io::Result<Usage> {
    let id = ioctl::subvolume_of(top)?;
    let shared = match subvolume(top, id)? {
        Some(found) if found.parent_uuid != [0; 16] => found.made_in,
        _ => 0,
    };
    let mut usage = Usage::default();
    let mut extents = HashSet::new();
    for tree in std::iter::once(id).chain(nested(top, id)?) {
        search(top, Range { since: shared + 1, ..Range::all(tree) }, &mut |item| {
            let is_new = item.u64_at(0).is_some_and(|generation| generation > shared);
            match item.kind {
                INODE_ITEM if is_new && links(item) > 0 => usage.inodes += 1,
                EXTENT_DATA if is_new => usage.bytes += extent(item, &mut extents).unwrap_or_default(),
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(usage)
}

/// Of struct btrfs_inode_item. A directory has one.
fn links(item: &Item<'_>) -> u32 {
    item.u32_at(40).unwrap_or_default()
}

/// Bytes on the disk of a struct btrfs_file_extent_item, if they were not counted yet.
fn extent(item: &Item<'_>, counted: &mut HashSet<u64>) -> Option<u64> {
    const INLINE: u8 = 0;
    const HEADER: usize = 21;
    if *item.data.get(20)? == INLINE {
        return Some((item.data.len() - HEADER) as u64);
    }
    let place = item.u64_at(21).filter(|&place| place > 0)?;
    counted.insert(place).then(|| item.u64_at(29)).flatten()
}

/// What may differ between the subvolume `top` and `below`, if the one is a snapshot of the other.
pub(super) fn touched(top: &OwnedFd, below: &OwnedFd) -> io::Result<Option<Touched>> {
    let (id, parent) = (ioctl::subvolume_of(top)?, ioctl::subvolume_of(below)?);
    let (Some(own), Some(parent)) = (subvolume(top, id)?, subvolume(top, parent)?) else { return Ok(None) };
    if own.parent_uuid != parent.uuid {
        return Ok(None);
    }
    let mut inodes = HashSet::new();
    // Names of theirs that were met, and how many there must be.
    let mut parents: Vec<u64> = Vec::new();
    let mut open: Option<(u64, u32, Vec<u64>)> = None;
    let mut unknown = Vec::new();
    let mut close = |open: &mut Option<(u64, u32, Vec<u64>)>| {
        if let Some((inode, links, found)) = open.take() {
            match (links, found.as_slice()) {
                // A single name is in a single directory, and here it is.
                (1, [parent]) => parents.push(*parent),
                _ => unknown.push(inode),
            }
        }
    };
    search(top, Range { since: own.made_in + 1, ..Range::all(id) }, &mut |item| {
        match item.kind {
            INODE_ITEM => {
                close(&mut open);
                if item.u64_at(8).is_none_or(|changed_in| changed_in > own.made_in) {
                    inodes.insert(item.objectid);
                    open = Some((item.objectid, links(item), Vec::new()));
                }
            }
            INODE_REF => {
                if let Some((_, _, found)) = open.as_mut().filter(|(inode, ..)| *inode == item.objectid) {
                    found.push(item.offset);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    close(&mut open);
    for inode in unknown {
        parents.extend(parents_of(top, id, inode)?);
    }
    let mut directories = HashSet::new();
    while let Some(directory) = parents.pop() {
        if directories.insert(directory) && directory != TOP {
            parents.extend(parents_of(top, id, directory)?);
        }
    }
    Ok(Some(Touched { dev: Meta::of(top.as_fd())?.dev, inodes, directories }))
}

/// The directories that have a name of the inode.
fn parents_of(top: &OwnedFd, tree: u64, inode: u64) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    search(top, Range::of(tree, inode, (INODE_REF, INODE_EXTREF)), &mut |item| {
        match item.kind {
            INODE_REF => found.push(item.offset),
            // What many names in one directory overflow to; its key is a hash.
            _ => found.push(item.u64_at(0).ok_or_else(|| io::Error::other("a name's entry is cut off"))?),
        }
        Ok(())
    })?;
    Ok(found)
}
