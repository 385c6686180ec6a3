//! Control calls of file systems that grow and of block devices that give back what they hold.

#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// EXT4_IOC_RESIZE_FS (3.3), in blocks.
const RESIZE_EXT4: Opcode = opcode::write::<u64>(b'f', 16);
/// XFS_IOC_FSGROWFSDATA.
const GROW_XFS: Opcode = opcode::write::<Grow>(b'X', 110);
/// XFS_IOC_FSGEOMETRY_V1.
const GEOMETRY_XFS: Opcode = opcode::read::<Geometry>(b'X', 100);
/// BLKDISCARD, of a start and a length in bytes.
const DISCARD: Opcode = opcode::none(0x12, 119);

/// struct xfs_growfs_data: without padding on i686, as there.
#[repr(C)]
struct Grow {
    blocks: u64,
    inodes_percent: u32,
}

/// struct xfs_fsop_geom_v1.
#[repr(C)]
struct Geometry {
    block_size: u32,
    unused: [u32; 6],
    inodes_percent: u32,
    sizes: [u64; 4],
    uuid: [u8; 16],
    rest: [u32; 7],
}

/// Lets the mounted ext4 that `top` is in have so many bytes. Takes CAP_SYS_RESOURCE.
pub(super) fn grow_ext4(top: impl AsFd, bytes: u64, block: u64) -> Result<(), Errno> {
    // SAFETY: the call takes 64 bits.
    unsafe { ioctl(top, Setter::<RESIZE_EXT4, u64>::new(bytes / block)) }
}

/// As [`grow_ext4`], an xfs. Takes CAP_SYS_ADMIN.
pub(super) fn grow_xfs(top: impl AsFd, bytes: u64) -> Result<(), Errno> {
    let mut found =
        Geometry { block_size: 0, unused: [0; 6], inodes_percent: 0, sizes: [0; 4], uuid: [0; 16], rest: [0; 7] };
    // SAFETY: the structure is this call's, and any bytes in it are a value.
    unsafe { ioctl(&top, Updater::<GEOMETRY_XFS, Geometry>::new(&mut found)) }?;
    let grow = Grow {
        blocks: bytes.checked_div(found.block_size.into()).ok_or(Errno::IO)?,
        inodes_percent: found.inodes_percent,
    };
    // SAFETY: the structure is this call's.
    unsafe { ioctl(top, Setter::<GROW_XFS, Grow>::new(grow)) }
}

/// Gives back all that a block device of so many bytes holds. What it holds with others stays theirs.
pub(super) fn discard(device: impl AsFd, bytes: u64) -> Result<(), Errno> {
    // SAFETY: the call takes two numbers of 64 bits.
    unsafe { ioctl(device, Updater::<DISCARD, [u64; 2]>::new(&mut [0, bytes])) }
}
