//! What tests need to be a container that makes subvolumes, and to look behind the driver.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;

use super::{ioctl, quota, subvolume};
use crate::tree;

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, tree::DIRECTORY, Mode::empty()).unwrap()
}

pub(crate) fn create(directory: &Path, name: &str) {
    ioctl::create(open(directory), OsStr::new(name)).unwrap();
}

/// A read-only one.
pub(crate) fn snapshot(source: &Path, directory: &Path, name: &str) {
    ioctl::snapshot(open(source), open(directory), OsStr::new(name), true).unwrap();
}

pub(crate) fn is_on_btrfs(path: &Path) -> bool {
    subvolume::is_btrfs(open(path)).unwrap()
}

pub(crate) fn full_quotas(path: &Path) {
    ioctl::quota_enable(open(path), false).unwrap();
    ioctl::quota_rescan_wait(open(path)).unwrap();
}

/// The subvolumes of the file system but the first, by a program, as searching may be pretended away.
pub(crate) fn count(path: &Path) -> usize {
    let listed = std::process::Command::new("btrfs").args(["subvolume", "list"]).arg(path).output().unwrap();
    assert!(listed.status.success());
    listed.stdout.iter().filter(|byte| **byte == b'\n').count()
}

/// The quota groups that are the driver's own.
pub(crate) fn groups(path: &Path) -> usize {
    quota::groups(open(path)).unwrap().len()
}
