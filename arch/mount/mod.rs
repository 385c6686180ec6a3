//! One mount, as a value: what storage drivers return and isolation backends perform.
//!
//! `options.rs` turns mount(8)'s words into flags, `perform.rs` makes the system calls (and nothing else, so
//! that it can run between clone and exec), `overlay.rs` is the way round the one page of options that mount(2)
//! takes, `info.rs` reads /proc/self/mountinfo.

mod info;
mod options;
mod overlay;
mod part;
mod perform;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use rustix::mount::{MountPropagationFlags, UnmountFlags};

pub use info::{MountInfo, find_mount, holder, mounts, parse_mounts};
pub use options::words;
pub use part::part_with_mounts;
pub use perform::Prepared;

/// A mount to be made. Paths may exceed what fits a page of options: `base` is entered first, so that the
/// source and the options can name things relative to it (overlay's layers are given that way).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// `overlay`, `tmpfs`, `bind` (with `rec` among the options for a recursive one), ...
    pub fstype: String,
    pub source: PathBuf,
    /// Below the root that is being assembled; `/` is the root itself.
    pub target: PathBuf,
    /// In mount(8)'s words: `ro`, `nosuid`, `lowerdir=a:b`, ...
    pub options: Vec<String>,
    /// The working directory against which relative names in `source` and `options` are resolved.
    pub base: Option<PathBuf>,
}

/// Takes `path` (a mount point) and everything below it out of the propagation of mounts. A system call only.
pub fn make_rprivate(path: impl rustix::path::Arg) -> rustix::io::Result<()> {
    rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

/// As [`make_rprivate`], but mounts of the parent namespace still arrive.
pub fn make_rslave(path: impl rustix::path::Arg) -> rustix::io::Result<()> {
    rustix::mount::mount_change(path, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
}

/// Takes the mount at `path` out of the tree now, and lets go of it when its last user does (MNT_DETACH). A link
/// as last component is not followed. A system call only.
pub fn umount_detach(path: impl rustix::path::Arg) -> rustix::io::Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}
