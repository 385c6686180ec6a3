//! What Linux tells of ZFS.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use berth_arch::kernel::filesystem::presence;
use berth_arch::mount;

use super::NAME;
use crate::tree::Meta;

/// ZFS_SUPER_MAGIC (sys/fs/zfs.h of OpenZFS).
const MAGIC: u64 = 0x2fc1_2fc1;

/// ZFSCTL_INO_ROOT (sys/zfs_ctldir.h).
pub(super) const CONTROL_INODE: u64 = 0xffff_ffff_ffff;

/// Why the kernel has no such file system, and what to do.
pub(super) fn is_missing() -> Option<(&'static str, &'static str)> {
    presence(NAME, NAME).is_none().then_some((
        "zfs is neither in /proc/filesystems nor among the modules",
        "install the module of OpenZFS (zfs-dkms, or a kernel that comes with it)",
    ))
}

pub(super) fn is_zfs(fd: impl AsFd) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff;
    Ok(magic == MAGIC)
}

/// The dataset whose file system the open folder is on, as a mount that is seen here says.
pub(super) fn dataset_of(folder: &OwnedFd) -> io::Result<Option<String>> {
    let meta = Meta::of(folder)?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    let device = (rustix::fs::major(meta.dev as _) as u32, rustix::fs::minor(meta.dev as _) as u32);
    let found = mount::mounts()?.into_iter().find(|mount| mount.fstype == "zfs" && mount.device == device);
    Ok(found.and_then(|mount| mount.source.into_string().ok()))
}

/// Who has the dataset mounted.
pub(super) fn holder(dataset: &str) -> Option<String> {
    mount::holder(|mount| mount.fstype == "zfs" && mount.source == dataset)
}

pub(super) fn version() -> Option<String> {
    std::fs::read_to_string("/sys/module/zfs/version").ok().map(|text| text.trim().to_owned())
}

pub(super) use berth_arch::random::fill as random;

pub(super) fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}
