//! Idmapped mounts (mount_setattr(2), MOUNT_ATTR_IDMAP, 5.12), tried on a file system in memory (6.3) and on the
//! one that holds `/`. Forks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::{absent, refused};
use crate::id_map::Extent;
use crate::{IdMap, Probe, answers, child, pretend, sys};

const HINT: &str = "needs Linux 5.12 (6.3 for tmpfs), root and user namespaces";

/// The file systems that took a mapping.
pub fn probe() -> Probe<Vec<String>> {
    if pretend::without("idmap") {
        return Probe::pretended("idmap");
    }
    if let Some(absent) = absent("mount-api", HINT) {
        return absent;
    }
    answers::remembered_list("idmap", &super::root_device(), look)
}

fn look() -> Probe<Vec<String>> {
    let one = Extent { inside: 0, outside: 100_000, count: 1 };
    let map = IdMap::new(vec![one], vec![one]);
    let namespace = match map.map_err(|_| Errno::INVAL).and_then(|map| namespace(&map)) {
        Ok(namespace) => namespace,
        Err(error) => return refused("make a user namespace", error, HINT),
    };
    let root =
        crate::mount::mounts().unwrap_or_default().into_iter().rfind(|mount| mount.mount_point.as_os_str() == "/");
    let root = root.map_or_else(|| "/".to_owned(), |mount| mount.fstype);
    let mut found = Vec::new();
    let mut last = Errno::NOSYS;
    for (name, tree) in [("tmpfs".to_owned(), memory()), (root, whole_root())] {
        match tree.and_then(|tree| sys::mount_set_idmap(tree.as_fd(), namespace.as_fd())) {
            Ok(()) if !found.contains(&name) => found.push(name),
            Ok(()) => {}
            Err(error) => last = error,
        }
    }
    if found.is_empty() { refused("mount_setattr with MOUNT_ATTR_IDMAP", last, HINT) } else { Probe::available(found) }
}

/// Detached from the mount tree: it vanishes with its descriptor.
fn memory() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn whole_root() -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// A user namespace in which nobody lives, for its maps. Kept by its descriptor after its only process has ended. Forks.
pub fn namespace(map: &IdMap) -> Result<OwnedFd, Errno> {
    let child = child::Waiting::unshare(libc::CLONE_NEWUSER)?;
    for (file, extents) in [("uid_map", map.users()), ("gid_map", map.groups())] {
        let line = |one: &Extent| format!("{} {} {}\n", one.inside, one.outside, one.count);
        let lines: String = extents.iter().map(line).collect();
        // The kernel takes a map in one write.
        std::fs::write(format!("/proc/{}/{file}", child.pid()), lines)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    let path = format!("/proc/{}/ns/user", child.pid());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
