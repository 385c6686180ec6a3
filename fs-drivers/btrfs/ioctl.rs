//! The control calls of btrfs (linux/btrfs.h) that this driver uses, and nothing above them.
//!
//! The layouts are the same for programs of 32 and of 64 bits: every field is of fixed size and stands at a multiple
//! of its size, and the sizes are checked below.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

const MAGIC: u8 = 0x94;

const SNAP_DESTROY: Opcode = opcode::write::<VolArgs>(MAGIC, 15);
const SUBVOL_CREATE: Opcode = opcode::write::<VolArgs>(MAGIC, 14);
const TREE_SEARCH: Opcode = opcode::read_write::<SearchArgs>(MAGIC, 17);
const INO_LOOKUP: Opcode = opcode::read_write::<LookupArgs>(MAGIC, 18);
const SNAP_CREATE_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 23);
const SUBVOL_SETFLAGS: Opcode = opcode::write::<u64>(MAGIC, 26);
const QUOTA_CTL: Opcode = opcode::read_write::<[u64; 2]>(MAGIC, 40);
const QGROUP_ASSIGN: Opcode = opcode::write::<[u64; 3]>(MAGIC, 41);
const QGROUP_CREATE: Opcode = opcode::write::<[u64; 2]>(MAGIC, 42);
/// Declared as one that reads, and writes.
const QGROUP_LIMIT: Opcode = opcode::read::<[u64; 6]>(MAGIC, 43);
const QUOTA_RESCAN_WAIT: Opcode = opcode::none(MAGIC, 46);
const SNAP_DESTROY_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 63);

/// BTRFS_SUBVOL_RDONLY.
const RDONLY: u64 = 1 << 1;
/// BTRFS_SUBVOL_SPEC_BY_ID.
const BY_ID: u64 = 1 << 4;
/// BTRFS_FIRST_FREE_OBJECTID: the inode number of every subvolume's top directory.
pub(crate) const TOP: u64 = 256;

/// struct btrfs_ioctl_vol_args.
#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// struct btrfs_ioctl_vol_args_v2. `name` begins with the number of the subvolume where that names it.
#[repr(C)]
struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// struct btrfs_ioctl_ino_lookup_args.
#[repr(C)]
struct LookupArgs {
    treeid: u64,
    objectid: u64,
    name: [u8; 4080],
}

/// struct btrfs_ioctl_search_key.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct SearchKey {
    pub(super) tree: u64,
    pub(super) min_objectid: u64,
    pub(super) max_objectid: u64,
    pub(super) min_offset: u64,
    pub(super) max_offset: u64,
    /// Of the blocks that the items are in.
    pub(super) min_transid: u64,
    pub(super) max_transid: u64,
    pub(super) min_type: u32,
    pub(super) max_type: u32,
    /// At most so many; then, how many were found.
    pub(super) items: u32,
    pub(super) unused: [u32; 9],
}

/// struct btrfs_ioctl_search_args: the key, and the items that were found.
#[repr(C)]
pub(super) struct SearchArgs {
    pub(super) key: SearchKey,
    pub(super) found: [u8; 3992],
}

/// struct fiemap with room for some extents (linux/fiemap.h).
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// struct fiemap_extent.
#[repr(C)]
#[derive(Clone, Copy)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_too: [u32; 3],
}

const EXTENTS: usize = 64;
/// Counts the structure without its extents.
const FIEMAP: Opcode = opcode::read_write::<[u64; 4]>(b'f', 11);

const _: () = assert!(size_of::<Fiemap>() == 32 + 56 * EXTENTS);
const _: () = assert!(size_of::<VolArgs>() == 4096 && size_of::<VolArgsV2>() == 4096);
const _: () = assert!(size_of::<LookupArgs>() == 4096 && size_of::<SearchArgs>() == 4096);

/// # Safety
/// `T` is the structure that the kernel takes for `OPCODE`, and any bytes in it are a value.
unsafe fn call<const OPCODE: Opcode, T>(fd: impl AsFd, value: &mut T) -> Result<(), Errno> {
    // SAFETY: the kernel reads and writes within one `T`, as the caller promises.
    unsafe { ioctl(fd, Updater::<OPCODE, T>::new(value)) }
}

/// A name of one component, as the kernel wants it.
fn fill(field: &mut [u8], name: &OsStr) -> Result<(), Errno> {
    let name = name.as_bytes();
    if name.is_empty() || name.len() >= field.len().min(256) || name.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    field[..name.len()].copy_from_slice(name);
    Ok(())
}

fn volume(name: &OsStr) -> Result<VolArgs, Errno> {
    let mut args = VolArgs { fd: 0, name: [0; 4088] };
    fill(&mut args.name, name)?;
    Ok(args)
}

/// Makes an empty subvolume, with the umask's permissions.
pub(super) fn create(directory: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let mut args = volume(name)?;
    // SAFETY: the structure is this call's.
    unsafe { call::<SUBVOL_CREATE, _>(directory, &mut args) }
}

/// Makes `name` a snapshot of the subvolume `source`. What was written to it is in the snapshot, which is on the disk
/// when this returns.
pub(super) fn snapshot(source: impl AsFd, directory: impl AsFd, name: &OsStr, read_only: bool) -> Result<(), Errno> {
    let fd = source.as_fd().as_raw_fd().into();
    let flags = if read_only { RDONLY } else { 0 };
    let mut args = VolArgsV2 { fd, transid: 0, flags, unused: [0; 4], name: [0; 4040] };
    fill(&mut args.name, name)?;
    // SAFETY: the structure is this call's, and its descriptor is open as long as `source` is borrowed.
    unsafe { call::<SNAP_CREATE_V2, _>(directory, &mut args) }
}

/// Removes the subvolume `name`. ENOTEMPTY if it has others in it; EPERM without the right.
pub(super) fn destroy(directory: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let mut args = volume(name)?;
    // SAFETY: the structure is this call's.
    unsafe { call::<SNAP_DESTROY, _>(directory, &mut args) }
}

/// As [`destroy`], by number (5.7): no name leads there.
pub(super) fn destroy_by_id(fd: impl AsFd, id: u64) -> Result<(), Errno> {
    let mut args = VolArgsV2 { fd: 0, transid: 0, flags: BY_ID, unused: [0; 4], name: [0; 4040] };
    args.name[..8].copy_from_slice(&id.to_ne_bytes());
    // SAFETY: the structure is this call's.
    unsafe { call::<SNAP_DESTROY_V2, _>(fd, &mut args) }
}

/// Takes a subvolume's read-only flag off.
pub(super) fn make_writable(top: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the call takes 64 bits of flags.
    unsafe { call::<SUBVOL_SETFLAGS, _>(top, &mut 0_u64) }
}

/// The number of the subvolume that the open file is in.
pub(super) fn subvolume_of(fd: impl AsFd) -> Result<u64, Errno> {
    let mut args = LookupArgs { treeid: 0, objectid: TOP, name: [0; 4080] };
    // SAFETY: the structure is this call's.
    unsafe { call::<INO_LOOKUP, _>(fd, &mut args) }?;
    Ok(args.treeid)
}

/// Items of a tree from one key to another, as many as fit.
pub(super) fn search(fd: impl AsFd, args: &mut SearchArgs) -> Result<(), Errno> {
    // SAFETY: the structure is this call's.
    unsafe { call::<TREE_SEARCH, _>(fd, args) }
}

/// Turns quotas on: simple ones (6.7), or full ones.
pub(super) fn quota_enable(fd: impl AsFd, simple: bool) -> Result<(), Errno> {
    // SAFETY: the call takes a command and a status.
    unsafe { call::<QUOTA_CTL, _>(fd, &mut [if simple { 4_u64 } else { 1 }, 0]) }
}

/// Waits until what was there when quotas were turned on has been counted.
pub(super) fn quota_rescan_wait(fd: impl AsFd) -> Result<(), Errno> {
    // SAFETY: the call takes nothing.
    unsafe { ioctl(fd, rustix::ioctl::NoArg::<QUOTA_RESCAN_WAIT>::new()) }
}

/// Makes or removes a quota group.
pub(super) fn qgroup(fd: impl AsFd, make: bool, group: u64) -> Result<(), Errno> {
    // SAFETY: the call takes whether to make it and its number.
    unsafe { call::<QGROUP_CREATE, _>(fd, &mut [make.into(), group]) }
}

/// Puts the quota group `member` into `group`.
pub(super) fn qgroup_assign(fd: impl AsFd, member: u64, group: u64) -> Result<(), Errno> {
    // SAFETY: the call takes whether to put it there, the member and the group.
    unsafe { call::<QGROUP_ASSIGN, _>(fd, &mut [1, member, group]) }
}

/// Limits what only the members of `group` have (BTRFS_QGROUP_LIMIT_MAX_EXCL) to so many bytes; `u64::MAX` lifts the limit.
pub(super) fn qgroup_limit(fd: impl AsFd, group: u64, bytes: u64) -> Result<(), Errno> {
    const MAX_EXCL: u64 = 1 << 1;
    // SAFETY: the call takes the group, which limits are meant, and four limits.
    unsafe { call::<QGROUP_LIMIT, _>(fd, &mut [group, MAX_EXCL, 0, bytes, 0, 0]) }
}

/// Bytes of the file that it shares with no other, after writing out what waits in memory. EOPNOTSUPP for what is no
/// regular file.
pub(super) fn unshared(file: impl AsFd) -> Result<u64, Errno> {
    const SYNC: u32 = 1;
    const LAST: u32 = 1;
    const SHARED: u32 = 0x2000;
    let none = Extent { logical: 0, physical: 0, length: 0, reserved: [0; 2], flags: 0, reserved_too: [0; 3] };
    let mut map = Fiemap {
        start: 0,
        length: u64::MAX,
        flags: SYNC,
        mapped: 0,
        room: EXTENTS as u32,
        reserved: 0,
        extents: [none; EXTENTS],
    };
    let mut bytes = 0_u64;
    loop {
        // SAFETY: the structure is this call's, with room for as many extents as it says.
        unsafe { call::<FIEMAP, _>(&file, &mut map) }?;
        let found = &map.extents[..EXTENTS.min(map.mapped as usize)];
        bytes += found.iter().filter(|extent| extent.flags & SHARED == 0).map(|extent| extent.length).sum::<u64>();
        match found.last() {
            Some(last) if last.flags & LAST == 0 => map.start = last.logical.saturating_add(last.length),
            _ => return Ok(bytes),
        }
        map.length = u64::MAX - map.start;
    }
}
