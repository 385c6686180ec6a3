//! Which mounts see each other, and mounts that are let go of.

use rustix::mount::{MountPropagationFlags, UnmountFlags};

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
