//! Tries subvolumes for real: one made, one snapshot of it, both removed, in a scratch folder of the state.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use berth_arch::{Probe, pretend};
use rustix::fs::{Mode, OFlags};

use super::quota::{self, Mode as Quotas};
use super::{ioctl, search, subvolume};
use crate::error::At;
use crate::ground::Scratch;
use crate::{Result, tree};

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without(super::NAME) {
        return Probe::pretended(super::NAME);
    }
    match look(root) {
        Ok(answer) => answer,
        Err(error) => Probe::unavailable(error.to_string(), hint(&error)),
    }
}

fn hint(error: &crate::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error.io_kind() {
        Some(PermissionDenied) => "run as root, or mount the file system with user_subvol_rm_allowed",
        Some(ReadOnlyFilesystem) => "mount the file system for writing: mount -o remount,rw",
        _ => "look at the kernel's log for errors of btrfs",
    }
}

fn look(root: &Path) -> Result<Probe<Vec<String>>> {
    let scratch = Scratch::new(root)?;
    let folder = rustix::fs::open(scratch.path(), tree::DIRECTORY, Mode::empty()).at("open", scratch.path())?;
    if !subvolume::is_btrfs(&folder).at("look at", root)? {
        return Ok(Probe::unavailable(
            format!("{} is not on a btrfs file system", root.display()),
            "put the state folder on one (--root), or mount one there",
        ));
    }
    try_snapshot(&folder)?;
    let mut found = vec!["snapshots".to_owned()];
    if search::subvolume(&folder, ioctl::subvolume_of(&folder).at("look at", root)?).is_ok() {
        found.push("changes by generation".to_owned());
    }
    Ok(Probe::available(found))
}

/// What is said of quotas; `None` if that cannot be known.
pub(super) fn status(folder: &OwnedFd) -> Option<&'static str> {
    Some(match quota::mode(folder).ok()? {
        Quotas::Off => "off",
        Quotas::Simple => "simple",
        Quotas::Full => "full",
    })
}

fn try_snapshot(folder: &OwnedFd) -> Result<()> {
    let (made, copy) = (OsStr::new("made"), OsStr::new("snapshot"));
    ioctl::create(folder, made).at("create a subvolume in", "a scratch folder")?;
    let top = tree::open_dir(folder, made).at("open", "a new subvolume")?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(&top, "file", flags, Mode::RUSR).at("create a file in", "a new subvolume")?;
    ioctl::snapshot(&top, folder, copy, false).at("make a snapshot of", "a new subvolume")?;
    let inner = tree::open_dir(folder, copy).at("open", "a snapshot")?;
    rustix::fs::statat(&inner, "file", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).at("look for a file in", "a snapshot")?;
    for name in [made, copy] {
        tree::remove_tree(folder.as_fd(), name).at("remove", "a subvolume")?;
    }
    Ok(())
}
