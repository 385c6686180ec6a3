//! What a runtime sees of the host: where v1 and v2 of control groups are mounted beside each other, v1 alone. No runtime
//! uses both, and some refuse to run there.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use berth_arch::mount::umount_detach;
use rustix::mount::{MountPropagationFlags, mount_change};

use crate::cgroup::unified_beside_v1;
use crate::namespace::{setup, sys};
use crate::{Error, Result};

/// Made before the fork, entered after it.
#[derive(Debug, Default)]
pub(super) struct View {
    /// A mount to take off, and the one that it is mounted on.
    hidden: Option<(CString, CString)>,
}

impl View {
    pub(super) fn new() -> Result<Self> {
        let Some(unified) = unified_beside_v1() else { return Ok(Self::default()) };
        let table = berth_arch::mount::mounts().map_err(setup("read /proc/self/mountinfo"))?;
        let below = unified.parent().and_then(|parent| berth_arch::mount::find_mount(&table, parent));
        let below = below.map_or(Path::new("/"), |mount| &mount.mount_point);
        Ok(Self { hidden: Some((text(&unified)?, text(below)?)) })
    }

    /// System calls only. What cannot be hidden is left for the runtime to judge.
    pub(super) fn enter(&self) {
        let Some((mount, below)) = &self.hidden else { return };
        if sys::unshare(libc::CLONE_NEWNS).is_err() {
            return;
        }
        // Taken off here and nowhere else; all other mounts go on as they are, shared ones shared.
        let private = |path: &CString| mount_change(path.as_c_str(), MountPropagationFlags::PRIVATE);
        if private(below).is_ok() && private(mount).is_ok() {
            let _ = umount_detach(mount.as_c_str());
        }
    }
}

fn text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::InvalidArgument(format!("mount point {}", path.display())))
}
