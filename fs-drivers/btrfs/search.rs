//! Reads the trees of a btrfs file system (BTRFS_IOC_TREE_SEARCH), which takes CAP_SYS_ADMIN on the host.

use std::io;
use std::os::fd::AsFd;

use berth_arch::pretend;
use rustix::io::Errno;

use super::ioctl::{self, SearchArgs, SearchKey};

/// Numbers of trees and types of items (linux/btrfs_tree.h).
pub(super) const ROOT_TREE: u64 = 1;
pub(super) const QUOTA_TREE: u64 = 8;
pub(super) const INODE_ITEM: u32 = 1;
pub(super) const INODE_REF: u32 = 12;
pub(super) const INODE_EXTREF: u32 = 13;
pub(super) const EXTENT_DATA: u32 = 108;
pub(super) const ROOT_ITEM: u32 = 132;
const ROOT_REF: u32 = 156;

/// struct btrfs_ioctl_search_header: transid, objectid, offset, type and length.
const HEADER: usize = 32;

/// One item of a tree.
pub(super) struct Item<'a> {
    pub(super) objectid: u64,
    pub(super) kind: u32,
    pub(super) offset: u64,
    /// Empty if it was too long to be handed over.
    pub(super) data: &'a [u8],
}

impl Item<'_> {
    /// The 64 bits at `position`.
    pub(super) fn u64_at(&self, position: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.data.get(position..position + 8)?.try_into().ok()?))
    }

    pub(super) fn u32_at(&self, position: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.data.get(position..position + 4)?.try_into().ok()?))
    }
}

/// Where to look.
#[derive(Clone, Copy)]
pub(super) struct Range {
    /// 0: the subvolume of the open file.
    pub(super) tree: u64,
    pub(super) objectids: (u64, u64),
    pub(super) kinds: (u32, u32),
    pub(super) offsets: (u64, u64),
    /// Leaves out what is in blocks that were written in transactions before this one. What is in a newer block may
    /// itself be older.
    pub(super) since: u64,
}

impl Range {
    pub(super) const fn all(tree: u64) -> Self {
        Self { tree, objectids: (0, u64::MAX), kinds: (0, u32::MAX), offsets: (0, u64::MAX), since: 0 }
    }

    /// All items of one object with these types.
    pub(super) const fn of(tree: u64, objectid: u64, kinds: (u32, u32)) -> Self {
        Self { objectids: (objectid, objectid), kinds, ..Self::all(tree) }
    }
}

/// Calls `visit` with each item from the least key of the range to the greatest, in order. A key is compared as a
/// whole: between two objects, items of every type come.
pub(super) fn search(
    fd: impl AsFd,
    range: Range,
    visit: &mut dyn FnMut(&Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if pretend::without("btrfs-search") {
        return Err(Errno::PERM.into());
    }
    let mut args = SearchArgs {
        key: SearchKey {
            tree: range.tree,
            min_objectid: range.objectids.0,
            max_objectid: range.objectids.1,
            min_offset: range.offsets.0,
            max_offset: range.offsets.1,
            min_transid: range.since,
            max_transid: u64::MAX,
            min_type: range.kinds.0,
            max_type: range.kinds.1,
            items: 0,
            unused: [0; 9],
        },
        found: [0; 3992],
    };
    loop {
        args.key.items = 4096;
        ioctl::search(&fd, &mut args)?;
        let mut rest = &args.found[..];
        let mut last = None;
        for _ in 0..args.key.items {
            let Some((header, behind)) = rest.split_at_checked(HEADER) else { return Err(Errno::IO.into()) };
            let header = Item { objectid: 0, kind: 0, offset: 0, data: header };
            let field = |position| header.u64_at(position).unwrap_or_default();
            let (objectid, offset) = (field(8), field(16));
            let (kind, length) = (header.u32_at(24).unwrap_or_default(), header.u32_at(28).unwrap_or_default());
            let Some((data, behind)) = behind.split_at_checked(length as usize) else {
                return Err(Errno::IO.into());
            };
            visit(&Item { objectid, kind, offset, data })?;
            last = Some((objectid, kind, offset));
            rest = behind;
        }
        let Some(next) = last.and_then(following) else { return Ok(()) };
        (args.key.min_objectid, args.key.min_type, args.key.min_offset) = next;
        let end = (range.objectids.1, range.kinds.1, range.offsets.1);
        if next > end {
            return Ok(());
        }
    }
}

/// The next key. Types have eight bits.
fn following((objectid, kind, offset): (u64, u32, u64)) -> Option<(u64, u32, u64)> {
    match (offset.checked_add(1), kind < 255) {
        (Some(offset), _) => Some((objectid, kind, offset)),
        (None, true) => Some((objectid, kind + 1, 0)),
        (None, false) => Some((objectid.checked_add(1)?, 0, 0)),
    }
}

/// What the file system knows of a subvolume (struct btrfs_root_item).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subvolume {
    pub(super) uuid: [u8; 16],
    /// Of the subvolume that it is a snapshot of; zeros if it is none.
    pub(super) parent_uuid: [u8; 16],
    /// The transaction that it was made in: what it shares with its parent was written in that one or before.
    pub(super) made_in: u64,
}

/// `None` if there is no such subvolume, or a kernel before 3.6 made it.
pub(super) fn subvolume(fd: impl AsFd, id: u64) -> io::Result<Option<Subvolume>> {
    let mut found = None;
    search(fd, Range::of(ROOT_TREE, id, (ROOT_ITEM, ROOT_ITEM)), &mut |item| {
        let uuid = |position: usize| item.data.get(position..position + 16)?.try_into().ok();
        if let (Some(uuid), Some(parent_uuid), Some(made_in)) = (uuid(0xf7), uuid(0x107), item.u64_at(0x12f)) {
            found = Some(Subvolume { uuid, parent_uuid, made_in }).filter(|found| found.uuid != [0; 16]);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The subvolumes inside of subvolume `id`, however deep, each after the one that it is in.
pub(super) fn nested(fd: impl AsFd, id: u64) -> io::Result<Vec<u64>> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(&id) = found.get(next) {
        search(&fd, Range::of(ROOT_TREE, id, (ROOT_REF, ROOT_REF)), &mut |item| {
            found.push(item.offset);
            Ok(())
        })?;
        next += 1;
    }
    found.remove(0);
    Ok(found)
}
