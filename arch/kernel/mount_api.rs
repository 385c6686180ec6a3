//! The mount calls by descriptor: fsopen, fsmount, move_mount, open_tree (5.2) and mount_setattr (5.12).

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, OpenTreeFlags};

use super::{absent, refused};
use crate::{Probe, sys};

const HINT: &str = "needs Linux 5.2 and root; mount is used instead";

/// The calls that work here.
pub fn probe() -> Probe<Vec<&'static str>> {
    if let Some(absent) = absent("mount-api", HINT) {
        return absent;
    }
    let opened = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC);
    if let Err(error) = opened {
        return refused("fsopen", error, HINT);
    }
    let mut calls = vec!["fsopen"];
    let tree = rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
    if tree.is_ok() {
        calls.push("open_tree");
    }
    if sys::mount_setattr_with_nothing() == Errno::INVAL {
        calls.push("mount_setattr");
    }
    Probe::available(calls)
}
