//! Mounts whose owners are mapped (mount_setattr(2), 5.12): who owns a file below is somebody else above.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use berth_arch::IdMap as Map;
use berth_arch::id_map::Extent;
use oci_spec::runtime::{LinuxIdMapping, Mount};
use rustix::io::Result;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::plan::Owners;
use super::process::setup;
use super::sys;
use crate::Error;

/// A bind mount's mapping.
pub(super) struct IdMap {
    /// A user namespace in which nobody lives, for its maps.
    namespace: OwnedFd,
    /// What is mounted below is bound, too.
    whole: bool,
    /// And has the mapping.
    below: bool,
}

impl IdMap {
    /// The one that `mount` asks for by its words or its mappings; the container's own without the latter. The words `idmap` and
    /// `ridmap` are taken out of `words`.
    pub(super) fn new(mount: &Mount, words: &mut Vec<String>, owners: &Owners<'_>) -> crate::Result<Option<Self>> {
        let is_word = |word: &String| matches!(word.as_str(), "idmap" | "ridmap");
        let below = words.iter().any(|word| word == "ridmap");
        let asked = words.iter().any(is_word);
        words.retain(|word| !is_word(word));
        let of_mount = (mount.uid_mappings().as_ref(), mount.gid_mappings().as_ref());
        let (users, groups) = match of_mount {
            (None, None) if !asked => return Ok(None),
            (None, None) => (owners.users(), owners.groups()),
            own => own,
        };
        let refuse = |why: &str| {
            let target = mount.destination().display();
            Err(Error::InvalidArgument(format!("mount {target}: owners cannot be mapped: {why}")))
        };
        let (Some(users), Some(groups)) = (users, groups) else {
            return refuse("it needs uidMappings and gidMappings, its own or the container's");
        };
        if !super::actions::is_bind(mount) {
            return refuse("it is no bind mount");
        }
        let whole = words.iter().any(|word| matches!(word.as_str(), "rbind" | "rec"));
        Ok(Some(Self { namespace: namespace(users, groups, mount.destination())?, whole, below }))
    }

    /// Binds `source` at `place`. System calls only.
    pub(super) fn bind(&self, source: &CStr, place: &CStr) -> Result<()> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, self.whole);
        let tree = open_tree(rustix::fs::CWD, source, flags)?;
        sys::map_owners(&tree, self.namespace.as_fd(), self.below)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        move_mount(tree.as_fd(), c"", rustix::fs::CWD, place, flags)
    }
}

fn namespace(users: &[LinuxIdMapping], groups: &[LinuxIdMapping], target: &Path) -> crate::Result<OwnedFd> {
    let extents = |list: &[LinuxIdMapping]| {
        let extent =
            |one: &LinuxIdMapping| Extent { inside: one.container_id(), outside: one.host_id(), count: one.size() };
        list.iter().map(extent).collect()
    };
    let map = Map::new(extents(users), extents(groups)).map_err(|what| {
        Error::InvalidArgument(format!("mount {}: owners cannot be mapped: {what}", target.display()))
    })?;
    berth_arch::kernel::idmap::namespace(&map).map_err(setup("make a user namespace for a mount's owners"))
}
