//! The mounts of a container that are the host's: all of them at or below one place that nothing else is mounted on, so
//! that the kernel's own table is the list of what is to be undone, whoever died over it.

use std::path::{Path, PathBuf};

use berth_arch::mount::{make_rslave, umount_detach};

use crate::namespace::setup;
use crate::{Error, Result};

/// More than one on top of the other come from creators that were killed.
const STACKED: usize = 16;

/// The mount point as the kernel's table has it: its folders are the engine's own, so no link in them is a container's.
pub(super) fn of(mount_point: &Path) -> Result<PathBuf> {
    let place = mount_point.canonicalize().map_err(setup(format!("resolve {}", mount_point.display())))?;
    if place.parent().is_none() {
        return Err(Error::InvalidArgument("mount point /: it is the host's root".into()));
    }
    Ok(place)
}

/// What is below is so only while something is at the place itself.
pub(super) fn is_mounted(place: &Path) -> Result<bool> {
    let table = berth_arch::mount::mounts().map_err(setup("read /proc/self/mountinfo"))?;
    Ok(table.iter().any(|mount| mount.mount_point == place))
}

/// Takes off everything that is mounted at or below `place`, in one step for each mount at the place itself: what is below
/// goes along, and no name below it is looked up. Idempotent.
pub(super) fn clear(place: &Path) -> Result<()> {
    for _ in 0..STACKED {
        if !is_mounted(place)? {
            return Ok(());
        }
        // Or what is taken off a volume here would be taken off the volume itself.
        make_rslave(place).map_err(setup(format!("part the mounts below {} from others", place.display())))?;
        umount_detach(place).map_err(setup(format!("unmount {}", place.display())))?;
    }
    Err(Error::Unavailable(format!("unmount {}: somebody else mounts on it", place.display())))
}
