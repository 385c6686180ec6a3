//! File systems of volumes: mounted where only this monitor and its container see them, so that they end with both. In
//! the host's network, which the container's may not be.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use berth_arch::mount::{Mount, Prepared, find_mount, mounts};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::MountPropagationFlags;

use super::Monitor;
use crate::config::MonitorConfig;
use crate::protocol::{Refusal, RefusalKind};

/// Before the container is made, in a process with one thread.
pub(super) fn mount_all(config: &MonitorConfig) -> Result<(), Refusal> {
    if config.mounts.is_empty() {
        return Ok(());
    }
    let failed = |what: String, error: &dyn std::fmt::Display| Refusal {
        kind: RefusalKind::Failed,
        message: format!("{what}: {error}"),
    };
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| failed("make a mount namespace for volumes".to_owned(), &error))?;
    // The mount that holds the places alone: what the host mounts elsewhere goes on arriving, and what the container is
    // to pass on goes on leaving.
    let table = mounts().map_err(|error| failed("read /proc/self/mountinfo".to_owned(), &error))?;
    let run = std::fs::canonicalize(&config.run_folder).unwrap_or_else(|_| config.run_folder.clone());
    if let Some(holder) = find_mount(&table, &run) {
        rustix::mount::mount_change(&holder.mount_point, MountPropagationFlags::PRIVATE)
            .map_err(|error| failed(format!("make {} private", holder.mount_point.display()), &error))?;
    }
    config.mounts.iter().try_for_each(|mount| {
        let what = || format!("failed to mount local volume: mount {} ({})", mount.source.display(), mount.fstype);
        perform(mount).map_err(|error| failed(what(), &error))
    })
}

fn perform(mount: &Mount) -> std::io::Result<()> {
    let target = CString::new(mount.target.as_os_str().as_bytes())?;
    Ok(Prepared::new(mount)?.perform(&target)?)
}

impl Monitor {
    pub(super) fn volumes_unmounted(&mut self) {
        for volume in self.config.volumes.clone() {
            let attributes =
                [("container", self.config.id.to_string()), ("driver", volume.driver)].map(|(k, v)| (k.to_owned(), v));
            self.event_of("volume", "unmount", volume.name, attributes.into_iter().collect());
        }
    }
}
