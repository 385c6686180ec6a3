//! What FreeBSD tells of ZFS.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use berth_arch::{mount, sysctl};

/// ZFSCTL_INO_ROOT (FreeBSD's sys/zfs_ctldir.h).
pub(super) const CONTROL_INODE: u64 = 1;

/// Why the kernel has no such file system, and what to do.
pub(super) fn is_missing() -> Option<(&'static str, &'static str)> {
    version().is_none().then_some(("the module zfs is not loaded", "load it (kldload zfs)"))
}

pub(super) fn is_zfs(fd: impl AsFd) -> io::Result<bool> {
    Ok(mount::mount_of(fd)?.kind == "zfs")
}

/// The dataset whose file system the open folder is on.
pub(super) fn dataset_of(folder: &OwnedFd) -> io::Result<Option<String>> {
    Ok(mount::mount_of(folder)?.source.into_string().ok())
}

/// Where the dataset is mounted.
pub(super) fn holder(dataset: &str) -> Option<String> {
    let found = mount::mounted().ok()?.into_iter().find(|mounted| mounted.kind == "zfs" && mounted.source == dataset);
    found.map(|mounted| mounted.on.display().to_string())
}

pub(super) fn version() -> Option<String> {
    sysctl::text("vfs.zfs.version.module")
}

pub(super) fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// There is no such call. What waits outside of ZFS is written out when the mount that this was called in is taken off.
pub(super) fn sync(folder: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(folder)?)
}
