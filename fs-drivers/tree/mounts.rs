//! Where one mount ends and another begins.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_arch::pretend;
use rustix::fs::{Mode, ResolveFlags};
use rustix::io::Errno;

use super::{DIRECTORY, Meta};
use crate::btrfs::subvolume;

/// Opens the directory `name` if it is on the same mount as `parent`, whose device is `dev`; EBUSY if it is not. A
/// subvolume of btrfs has a device of its own and is on the same mount.
pub(crate) fn open_same_mount(parent: BorrowedFd<'_>, name: &OsStr, dev: u64) -> io::Result<OwnedFd> {
    let (fd, sure) = open_no_xdev(parent, name)?;
    let meta = Meta::of(&fd)?;
    if meta.dev != dev && !(sure && subvolume::is_top(&fd, &meta)?) {
        return Err(Errno::BUSY.into());
    }
    Ok(fd)
}

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// And whether the kernel could tell that it is no mount.
fn open_no_xdev(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<(OwnedFd, bool)> {
    if !NO_OPENAT2.load(Ordering::Relaxed) && !pretend::without("openat2") {
        let flags = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        match rustix::fs::openat2(parent, name, DIRECTORY, Mode::empty(), flags) {
            Ok(fd) => return Ok((fd, true)),
            Err(Errno::XDEV) => return Err(Errno::BUSY.into()),
            Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
            Err(error) => return Err(error.into()),
        }
    }
    let fd = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    // A bind mount of the same file system has the same device number; the list of mounts tells.
    match is_mount_point(&fd)? {
        Some(true) => Err(Errno::BUSY.into()),
        known => Ok((fd, known.is_some())),
    }
}

/// Whether the open directory is the root of a mount: its `mnt_id` (fdinfo, 3.15) differs from that of `..`.
/// Older kernels have the device number alone.
fn is_mount_point(fd: &OwnedFd) -> io::Result<Option<bool>> {
    let above = rustix::fs::openat(fd, "..", DIRECTORY, Mode::empty())?;
    Ok(mount_id(fd).zip(mount_id(&above)).map(|(own, above)| own != above))
}

fn mount_id(fd: &OwnedFd) -> Option<u64> {
    let info =
        std::fs::read_to_string(Path::new(&format!("{}info", super::descriptors())).join(fd.as_raw_fd().to_string()))
            .ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}
